"""Which interactions an odd-GP expects: its hyper-parameters, and how games choose them.

The likelihood of many priors costs one product: it is looked at in the eigenbasis of the default
prior's kernel, where the kernels of all orders are nearly diagonal. Basis and spectra depend on no
game and are kept, so that a single explicand's choice takes a tenth of a millisecond.
"""

import dataclasses
from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from baselines.designs import CACHE, PairSample
from baselines.torch_calls import eigenvectors

ORDERS = (1, 3, 5, 7)
"""Orders of interaction with a variance of their own."""

TUNED_PAIRS = (160, 400)
TUNED_COLUMNS = 32
"""Pairs (more of them when columns are few) and (explicand, output) columns on which the
hyper-parameters are chosen."""

LATTICE = ((1e-3, 1e-2, 0.1, 1.0, 10.0), (1e-3, 0.03, 1.0), (1e-3, 0.03, 1.0))
NOISES = (1e-5, 1e-3, 0.03, 1.0)
"""Variances of the orders 3, 5 and 7, and of the noise, that compete. A finer lattice does no
better: errors hardly move within a factor of three, and the likelihood takes order 7 for noise."""

VAGUE = 2.0
"""Standard deviation of the logarithm of a hyper-parameter around the default prior."""

NOISE_FLOOR = 1e-8


@dataclasses.dataclass(frozen=True)
class Prior:
    """How much each order of interaction of the odd part varies, next to order 1.

    Args:
        orders: Relative variances of the orders 3, 5 and 7.
        noise: Relative variance of everything above, as white noise.

    Example:
        >>> import torch
        >>> from baselines import Prior, TableGame, odd_gp
        >>> game = TableGame(torch.arange(8.0)[None, :, None])
        >>> odd_gp(game, 6, prior=Prior()).values.sum().round()  # the same prior for every batch
        tensor(7.)
    """

    orders: tuple[float, float, float] = (0.1, 0.03, 0.01)
    noise: float = 0.01

    def __post_init__(self) -> None:
        numbers = (*self.orders, self.noise)
        if len(self.orders) != 3 or not all(0 <= number < float("inf") for number in numbers):
            raise ValueError(
                f"orders={self.orders}, noise={self.noise}; a prior needs three finite variances "
                "for the orders 3, 5, 7 and one for the noise, none negative."
            )

    @property
    def table(self) -> tuple[float, float, float, float]:
        """Variances of the orders 1, 3, 5 and 7."""
        return (1.0, *self.orders)


def choose_prior(sample: PairSample, halves: Tensor) -> Prior:
    """Hyper-parameters of greatest marginal likelihood, each column scaled on its own.

    Args:
        sample: Pairs `(p, n)`.
        halves: `(p + 1, c)` half differences, ends first.

    Returns:
        One of a lattice of priors, so that like games share an operator.
    """
    columns = torch.linspace(0, halves.shape[1] - 1, min(TUNED_COLUMNS, halves.shape[1]))
    size = _tuned_pairs(len(sample), len(columns))
    data = halves[1 : size + 1]
    if halves.shape[1] > len(columns):
        data = data[:, columns.round().long().to(halves.device)]
    data = data.cpu()
    if len(sample) < 4:
        return Prior()
    spectra = CACHE.get(("spectra", sample.name, size), lambda: _spectra(sample, size))
    power = spectra.inverse @ (spectra.basis @ data).square_()  # (g, c)
    power = power[:, power[0] > 0]
    if power.shape[1] == 0:
        return Prior()
    loss = spectra.volume * power.shape[1] + power.log_().sum(1) * (size / 2) + spectra.doubt
    return spectra.priors[int(loss.argmin())]


def _tuned_pairs(n_pairs: int, n_columns: int) -> int:
    """How many of the first pairs are looked at: fewer where there are more columns."""
    least, most = TUNED_PAIRS
    return int(min(n_pairs, most, max(least * (TUNED_COLUMNS / n_columns) ** 0.5, n_pairs / 4)))


@dataclasses.dataclass(frozen=True)
class _Spectra:
    """The lattice's priors on a sample: nearly diagonal covariances in one basis.

    Args:
        priors: The `g` priors.
        basis: `(q, q)`, rows that whiten the pairs.
        inverse: `(g, q)`, one over the variances along the rows.
        volume: `(g,)`, half the logarithms of their products.
        doubt: `(g,)`, minus the logarithm of what one believes of each prior beforehand.
    """

    priors: tuple[Prior, ...]
    basis: Tensor
    inverse: Tensor
    volume: Tensor
    doubt: Tensor


def _spectra(sample: PairSample, size: int) -> _Spectra:
    n, signs = sample.n_players, sample.signs[:size]
    kernels = waves(n, ORDERS)[:, distances(signs, signs)]  # (4, q, q)
    active = [order <= n for order in ORDERS[1:]]
    choices = [row if use else (0.0,) for row, use in zip(LATTICE, active, strict=True)]
    grid = product(*choices, NOISES)
    priors = tuple(Prior((third, fifth, seventh), noise) for third, fifth, seventh, noise in grid)
    default = torch.tensor(Prior().table, dtype=torch.float64)
    basis = eigenvectors(torch.einsum("d,dpq->pq", default, kernels))
    diagonal = torch.stack([((kernel @ basis) * basis).sum(0) for kernel in kernels])  # (4, q)
    tables = torch.tensor([prior.table for prior in priors], dtype=torch.float64)
    noise = torch.tensor([[prior.noise] for prior in priors], dtype=torch.float64)
    variance = (tables @ diagonal).clamp(min=NOISE_FLOOR) + noise
    numbers = torch.cat([tables[:, 1:][:, active], noise], 1).log()
    usual = (*(v for v, use in zip(Prior().orders, active, strict=True) if use), Prior().noise)
    away = (numbers - torch.tensor(usual, dtype=torch.float64).log()) / VAGUE
    return _Spectra(
        priors,
        basis.T.contiguous(),
        1 / variance,
        variance.log().sum(1) / 2,
        away.square().sum(1) / 2,
    )


def waves(n: int, orders: Sequence[int]) -> Tensor:
    """Normalised Krawtchouk polynomials: mean product of `order` signs at each distance.

    Args:
        n: Number of players.
        orders: Orders of interaction; those above `n` give zeros.

    Returns:
        Float64 `(len(orders), n + 1)` over Hamming distances 0 to n.
    """
    distance = torch.arange(n + 1, dtype=torch.float64)
    last, this = torch.zeros(n + 1, dtype=torch.float64), torch.ones(n + 1, dtype=torch.float64)
    found = [this]
    for order in range(max(orders)):
        if order >= n:
            following = torch.zeros_like(this)
        else:
            following = ((n - 2 * distance) * this - order * last) / (n - order)
        last, this = this, following
        found.append(this)
    return torch.stack([found[order] for order in orders])


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Hamming distances, int64 `(p, q)`, of signs `(p, n)` and `(q, n)`."""
    n = left.shape[1]
    return ((n - left @ right.T) / 2).round().long()
