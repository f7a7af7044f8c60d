"""Banzhaf values and every other semivalue: mean marginal contributions under any law of sizes.

A linear proxy takes out what is additive; each coalition then stands for those of its size that
were not drawn, so that the answer is exact once all are.
"""

from collections.abc import Callable
from functools import lru_cache
from math import comb, lgamma

import numpy as np
import torch
from torch import Tensor

from baselines.arguments import as_tensor, check_game
from baselines.designs import PairSample, sample_pairs
from baselines.estimates import Estimate
from baselines.evaluation import estimate
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.torch_calls import as_list, distinct, pinv

Weights = tuple[float, ...]
"""Probabilities that a player joins 0, 1, ..., n - 1 others."""

LawMaker = Callable[[int], Weights]
"""The law for each number of players."""


def banzhaf(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Banzhaf values: mean marginal contributions to uniformly random coalitions.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, exact when `2**n <= budget`; they need not sum
        to v(all) - v(none). `std_errors` where every size drawn from has two pairs.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Banzhaf (1965); regression on uniform pairs, Liu et al. (2024), Kernel Banzhaf.

    Example:
        >>> import torch
        >>> from baselines import TableGame, banzhaf
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> banzhaf(game, budget=8).values[0, :, 0]
        tensor([2.2500, 3.2500, 4.2500])
    """
    laws = _law_of("banzhaf", 0.0, 0.0)
    return _semivalue(game, budget, laws, "banzhaf", "banzhaf", generator, chunk_size)


def beta_shapley(
    game: Game,
    budget: int,
    *,
    alpha: float,
    beta: float,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Beta Shapley values: marginal contributions under a beta law of the coalition size.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        alpha: Larger puts more weight on small coalitions; 1 and 1 give Shapley values.
        beta: Larger puts more weight on large coalitions.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, exact when `2**n <= budget`.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2, or alpha or beta is not positive.

    Source: Kwon and Zou (2022), eq. 5.

    Example:
        >>> import torch
        >>> from baselines import TableGame, beta_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> beta_shapley(game, budget=8, alpha=1.0, beta=1.0).values[0, :, 0]  # Beta(1, 1) is Shapley
        tensor([2.3333, 3.3333, 4.3333])
    """
    if not (0 < alpha < float("inf") and 0 < beta < float("inf")):
        raise ValueError(f"alpha={alpha}, beta={beta}; both must be positive and finite.")
    name = f"beta_shapley(alpha={alpha:g}, beta={beta:g})"
    laws = _law_of("beta", float(alpha), float(beta))
    return _semivalue(game, budget, laws, name, "semivalue", generator, chunk_size)


def semivalue(
    game: Game,
    budget: int,
    sizes: Tensor,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Mean marginal contributions to coalitions whose size follows a given law.

    Args:
        game: Games of `b` explicands and `n` players, none of them padding.
        budget: Coalitions to evaluate per explicand, both ends included.
        sizes: `(n,)` probabilities that a player joins 0, 1, ..., n - 1 others.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, exact when `2**n <= budget`.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2, or `sizes` are no `n` probabilities.

    Source: Dubey, Neyman and Weber (1981).

    Example:
        >>> import torch
        >>> from baselines import TableGame, semivalue
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> semivalue(game, budget=8, sizes=torch.tensor([0.25, 0.5, 0.25])).values[0, :, 0]  # Banzhaf's
        tensor([2.2500, 3.2500, 4.2500])
    """
    check_game(game)
    law = as_tensor(sizes, "sizes", torch.float64)
    fits = law.shape == (game.n_players,) and bool((law >= 0).all())
    if not fits or abs(float(law.sum()) - 1) > 1e-6:
        raise ValueError(
            f"sizes have shape {tuple(law.shape)} and sum {float(law.sum()):g}; pass "
            f"{game.n_players} probabilities of joining 0 to {game.n_players - 1} others."
        )
    given: Weights = tuple(as_list(law))

    def laws(n: int) -> Weights:
        if n != len(given):
            raise ValueError("sizes fit no ragged game; use banzhaf or beta_shapley.")
        return given

    return _semivalue(game, budget, laws, "semivalue", "semivalue", generator, chunk_size)


def _semivalue(
    game: Game,
    budget: int,
    laws: LawMaker,
    method: str,
    estimand: str,
    generator: torch.Generator | None,
    chunk_size: int | None,
) -> Explanation:
    return estimate(
        game,
        budget,
        lambda n, spend, key: _SemivalueDesign(n, (spend - 2) // 2, key, laws(n)),
        method=method,
        generator=generator,
        chunk_size=chunk_size,
        estimand=estimand,
        weights=lambda coalitions: _weights(coalitions, laws(coalitions.shape[-1])),
    )


def _law_of(kind: str, alpha: float, beta: float) -> LawMaker:
    def laws(n: int) -> Weights:
        return _size_law(kind, n, alpha, beta)

    return laws


@lru_cache(maxsize=256)
def _size_law(kind: str, n: int, alpha: float, beta: float) -> Weights:
    """Probabilities of joining 0 to n - 1 others."""
    if kind == "banzhaf":
        return tuple(comb(n - 1, s) / 2 ** (n - 1) for s in range(n))
    # beta-binomial, mirrored so that a large alpha favours small coalitions
    logs = [
        lgamma(n) - lgamma(s + 1) - lgamma(n - s)
        + lgamma(s + beta) + lgamma(n - 1 - s + alpha) - lgamma(n - 1 + alpha + beta)
        + lgamma(alpha + beta) - lgamma(alpha) - lgamma(beta)
        for s in range(n)
    ]  # fmt: skip
    law = np.exp(logs)
    return tuple((law / law.sum()).tolist())


def _per_coalition(law: Weights) -> tuple[Tensor, Tensor]:
    """What a member and a stranger of a coalition of each size 0 to n get of its value, times
    the number of coalitions of this size."""
    n = len(law)
    joined = [0.0] + [law[s - 1] * n / s for s in range(1, n + 1)]
    apart = [law[s] * n / (n - s) for s in range(n)] + [0.0]
    return torch.tensor(joined, dtype=torch.float64), torch.tensor(apart, dtype=torch.float64)


def _weights(coalitions: Tensor, law: Weights) -> Tensor:
    """The linear map `(m, n)` from values of all coalitions to semivalues."""
    n = len(law)
    joined, apart = _per_coalition(law)
    count = torch.tensor([float(comb(n, s)) for s in range(n + 1)], dtype=torch.float64)
    size = coalitions.sum(-1)
    member, stranger = (joined / count)[size][:, None], (apart / count)[size][:, None]
    return torch.where(coalitions, member, -stranger)


class _SemivalueDesign:
    """A linear proxy, and the semivalue of what it leaves."""

    def __init__(self, n_players: int, n_pairs: int, key: int, law: Weights) -> None:
        n = n_players
        joined, apart = _per_coalition(law)
        size = torch.arange(n + 1).double()
        # optimal mass of a size when residuals are alike: root of the squared weights
        mass = (size * joined.square() + (n - size) * apart.square()).sqrt()
        both = [
            float(mass[s] + (mass[n - s] if 2 * s != n else 0.0)) for s in range(1, n // 2 + 1)
        ]
        floor = 1e-9 * max(both)
        mass = tuple(max(part, floor) for part in both)
        self.sample = sample_pairs(n, n_pairs, key, mass)
        self.coalitions = self.sample.coalitions
        self.proxy = _proxy(self.sample, mass)
        self.last = law[-1]
        pools, drawn = self.sample.pools, self.sample.drawn
        sizes = self.coalitions.sum(1)[2:]
        total = torch.tensor([float(comb(n, s)) for s in range(n + 1)], dtype=torch.float64)
        stands = (pools / drawn).repeat_interleave(2) / total[sizes]
        member, stranger = (joined[sizes] * stands)[:, None], (apart[sizes] * stands)[:, None]
        self.weights = torch.where(self.coalitions[2:], member, -stranger)  # (2 p, n)

    def solve(self, values: Tensor) -> Estimate:
        n = self.coalitions.shape[1]
        base, total = values[:, :1], values[:, 1:2] - values[:, :1]
        pairs = (values[:, 2::2] - values[:, 3::2]) / 2
        data = torch.cat([total / 2, pairs], 1)  # (b, p + 1, k)
        linear = torch.einsum("np,bpk->bnk", self.proxy.to(values.device), data)
        inner = self.coalitions[2:].to(values)
        left = values[:, 2:] - base - torch.einsum("mn,bnk->bmk", inner, linear)
        weights = self.weights.to(values.device)
        # the grand coalition stands for itself; the proxy has the value of the empty one
        grand = (total - linear.sum(1, keepdim=True)) * self.last
        found = linear + torch.einsum("bmk,mn->bnk", left, weights) + grand
        if n < 2 or not len(self.sample):
            return Estimate(found)
        return Estimate(found, self._errors(left, weights))

    def _errors(self, left: Tensor, weights: Tensor) -> Tensor | None:
        """Of a stratified sample: the spread of pairs within each size, unseen ones counted."""
        sample = self.sample
        if bool(((sample.drawn < 2) & (sample.unseen > 0)).any()):
            return None
        b, n, k = len(left), weights.shape[1], left.shape[-1]
        square = left.new_zeros((b, n, k))
        for size in distinct(sample.sizes):
            rows = (sample.sizes == size).nonzero().flatten()
            unseen = float(sample.unseen[rows[0]])
            if unseen <= 0:
                continue
            first, second = (2 * rows).to(left.device), (2 * rows + 1).to(left.device)
            units = (
                left[:, first, None] * weights[first][None, :, :, None]
                + left[:, second, None] * weights[second][None, :, :, None]
            )
            square += units.var(1) * len(rows) * unseen
        return square.sqrt()


def _proxy(sample: PairSample, mass: tuple[float, ...]) -> Tensor:
    """Least squares `(n, p + 1)` on half differences under the law of the sample itself."""
    n, signs = sample.n_players, sample.signs
    weight = torch.tensor(mass, dtype=torch.float64)[sample.sizes - 1] / sample.drawn
    rows = signs / 2
    weighted = rows.T * weight
    gram = weighted @ rows
    solver = pinv(gram, rtol=1e-10) @ weighted  # (n, p)
    return torch.cat([torch.zeros(n, 1, dtype=torch.float64), solver], 1)
