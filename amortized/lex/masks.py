"""Laws of z: how a selector's logits become random selections of players.

A law turns logits `(b, n)` and uniform noise into hard masks; where a gradient estimator asks for
it, also into relaxed ones. Letters follow the paper: `m` outer draws, `l` draws inside the log.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import torch
from einops import reduce
from torch import Tensor
from torch.nn import functional as F

from baselines.arguments import whole
from baselines.coalitions import all_coalitions

MAX_ENUMERATED = 2**16
"""Most masks that a law lists one by one."""

TINY = 1e-6
"""Uniform noise stays this far from 0 and 1, so that its logarithms stay finite in float32."""

EXACT_INCLUSION = 128
"""Most players for which inclusion under a fixed size is integrated; beyond, it is sampled."""


class MaskLaw(Protocol):
    """A distribution over masks of `n` players, given logits."""

    def noise(self, logits: Tensor, m: int, l: int, generator: torch.Generator | None) -> Tensor:
        """Uniform noise for `m x l` masks per row, from which `hard` and `relaxed` are functions."""
        ...

    def hard(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Bool masks `(m, l, b, n)` drawn from the law."""
        ...

    def relaxed(self, logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Masks in [0, 1] `(m, l, b, n)`, differentiable in the logits, of the same noise."""
        ...

    def log_prob(self, logits: Tensor, z: Tensor) -> Tensor:
        """Log-probability `(m, l, b)` of bool masks `(m, l, b, n)`."""
        ...

    def support(self, n_players: int) -> Tensor:
        """Every mask of positive probability, bool `(q, n)`."""
        ...

    def inclusion(self, logits: Tensor) -> Tensor:
        """Probability `(b, n)` that each player is selected."""
        ...

    def expected_size(self, logits: Tensor) -> Tensor:
        """Expected number of selected players `(b,)`, differentiable where it varies."""
        ...

    def mode(self, logits: Tensor) -> Tensor:
        """The selection `(b, n)` shown to a person: bool, without noise."""
        ...


@dataclass(frozen=True)
class Bernoulli:
    """Independent selections with probability sigmoid(logit).

    Source: Senetaire et al. (2023); INVASE, Yoon et al. (2019); relaxation, Maddison et al. (2017).
    """

    def noise(self, logits: Tensor, m: int, l: int, generator: torch.Generator | None) -> Tensor:
        """Uniform `(m, l, b, n)`."""
        return uniform(logits, (m, l, *logits.shape), generator)

    def hard(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Bool masks `(m, l, b, n)`: present where logit + logistic noise is positive."""
        return logits + torch.logit(noise) > 0

    def relaxed(self, logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Binary concrete masks `(m, l, b, n)`, above 1/2 exactly where `hard` is true."""
        return torch.sigmoid((logits + torch.logit(noise)) / temperature)

    def log_prob(self, logits: Tensor, z: Tensor) -> Tensor:
        """Log-probability `(m, l, b)`: sum of z logit - softplus(logit)."""
        return (z * logits - F.softplus(logits)).sum(-1)

    def support(self, n_players: int) -> Tensor:
        """All `2**n` masks.

        Raises:
            ValueError: If there are too many to list.
        """
        if 2**n_players > MAX_ENUMERATED:
            raise ValueError(
                f"{n_players} players have 2**{n_players} masks; enumeration lists at most "
                f"{MAX_ENUMERATED:,}. Use another gradient, such as Reinforce."
            )
        return all_coalitions(n_players)

    def inclusion(self, logits: Tensor) -> Tensor:
        """Sigmoid of the logits `(b, n)`."""
        return torch.sigmoid(logits)

    def expected_size(self, logits: Tensor) -> Tensor:
        """Sum of the inclusion probabilities `(b,)`."""
        return torch.sigmoid(logits).sum(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """Players more likely selected than not `(b, n)`."""
        return logits > 0

    def redraw(self, logits: Tensor, z: Tensor, noise: Tensor) -> Tensor:
        """Noise given the mask it led to, as REBAR's control variate needs it.

        Args:
            logits: `(b, n)`.
            z: Bool masks `(m, l, b, n)`.
            noise: Fresh uniform noise `(m, l, b, n)`.

        Returns:
            Noise `(m, l, b, n)` with `hard(logits, redrawn) == z`, distributed as noise given z,
            and differentiable in the logits.

        Source: Tucker et al. (2017), appendix: with theta = sigmoid(logit), v theta + 1 - theta
        where z is true, v (1 - theta) where it is false.
        """
        theta = torch.sigmoid(logits)
        redrawn = torch.where(z, noise * theta + (1 - theta), noise * (1 - theta))
        return redrawn.clamp(TINY**2, 1 - torch.finfo(redrawn.dtype).eps)


@dataclass(frozen=True)
class TopK:
    """Exactly `k` players, drawn one after another without replacement (Plackett-Luce).

    Args:
        k: Size of every selection, 1 or more.

    Raises:
        ValueError: If `k` is below 1, or above the number of players of the logits.

    Source: Gumbel top-k, Kool, van Hoof and Welling (2019); relaxation, Amos, Koltun and Kolter
        (2019), whose masks keep within [0, 1] and to size k at any temperature.
    """

    k: int

    def __post_init__(self) -> None:
        _check_size(self.k)

    def noise(self, logits: Tensor, m: int, l: int, generator: torch.Generator | None) -> Tensor:
        """Uniform `(m, l, b, n)`."""
        self._check(logits)
        return uniform(logits, (m, l, *logits.shape), generator)

    def hard(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Bool masks `(m, l, b, n)` of the `k` largest perturbed logits."""
        return _largest(logits + _gumbel(noise), self.k)

    def relaxed(self, logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Masks `(m, l, b, n)` in [0, 1] that sum to `k`: sigmoids of the scores above a level.

        The level is found by bisection; a last Newton step carries its gradient.
        """
        scores = (logits + _gumbel(noise)) / temperature
        if self.k == logits.shape[-1]:
            return torch.ones_like(scores) + 0 * scores  # keeps the graph, whose gradient is zero
        low, high = scores.detach().amin(-1) - 40, scores.detach().amax(-1) + 40
        for _ in range(60):
            level = (low + high) / 2
            above = torch.sigmoid(scores.detach() - level[..., None]).sum(-1) > self.k
            low, high = torch.where(above, level, low), torch.where(above, high, level)
        level = ((low + high) / 2)[..., None]
        mask = torch.sigmoid(scores - level)
        slope = (mask * (1 - mask)).detach().sum(-1, keepdim=True).clamp(min=1e-30)
        return torch.sigmoid(scores - level - (mask.sum(-1, keepdim=True) - self.k) / slope)

    def log_prob(self, logits: Tensor, z: Tensor) -> Tensor:
        """Log-probability `(m, l, b)` of the *set*, all k! orders at once.

        With exponential clocks of rates w = exp(logit), the set is the first k to ring, so its
        probability is the integral of W exp(-W t) prod_(i in z)(1 - exp(-w_i t)), W the rates
        outside. In log-time the integrand is smooth and dies off doubly exponentially, so that the
        trapezoid rule is exact to rounding.
        """
        self._check(logits)
        if self.k == logits.shape[-1]:
            return torch.zeros(z.shape[:-1], dtype=logits.dtype, device=logits.device)
        every = logits.expand(z.shape)
        outside = torch.logsumexp(every.masked_fill(z, -math.inf), -1, keepdim=True)
        log_times = _log_times(0.0, 0.0, logits)  # of t in units of 1/W
        # log(1 - exp(-y)) of y = w_i t, with y itself where it is too small to be subtracted
        y = (log_times[:, None] + (every - outside)[..., None, :]).clamp(max=80.0)  # (..., t, n)
        rung = torch.where(y < -15, y, torch.log(-torch.expm1(-torch.exp(y.clamp(min=-15.0)))))
        rung = rung.masked_fill(~z[..., None, :], 0.0).sum(-1)
        density = log_times - torch.exp(log_times) + rung
        return torch.logsumexp(density, -1) + torch.log(log_times[1] - log_times[0])

    def support(self, n_players: int) -> Tensor:
        """All C(n, k) masks.

        Raises:
            ValueError: If there are too many to list, or fewer than `k` players.
        """
        count = math.comb(n_players, self.k)
        if not 1 <= count <= MAX_ENUMERATED:
            raise ValueError(
                f"{n_players} players have {count:,} selections of {self.k}; enumeration lists "
                f"1 to {MAX_ENUMERATED:,}. Use another gradient, such as Reinforce."
            )
        members = torch.tensor(list(combinations(range(n_players), self.k)))
        return torch.zeros(count, n_players, dtype=torch.bool).scatter_(1, members, True)

    def inclusion(self, logits: Tensor) -> Tensor:
        """Probability `(b, n)` of being among the first `k`; rows sum to `k`.

        Integrated to rounding up to 128 players; beyond, the mean of 1,024 fixed draws.
        """
        self._check(logits)
        n = logits.shape[-1]
        if n > EXACT_INCLUSION:
            draws = self.noise(logits, 1024, 1, torch.Generator(logits.device).manual_seed(0))
            return self.hard(logits, draws).to(logits.dtype).mean((0, 1))
        rows = [_race_inclusion(row, self.k) for row in logits.detach().double()]
        return torch.stack(rows).to(logits.dtype) if rows else torch.zeros_like(logits)

    def expected_size(self, logits: Tensor) -> Tensor:
        """`k`, whatever the logits `(b,)`."""
        return torch.full_like(logits[..., 0], float(self.k))

    def mode(self, logits: Tensor) -> Tensor:
        """The `k` players of largest logits `(b, n)`."""
        self._check(logits)
        return _largest(logits, self.k)

    def _check(self, logits: Tensor) -> None:
        if self.k > logits.shape[-1]:
            raise ValueError(f"k={self.k} exceeds the {logits.shape[-1]} players of the selector.")


@dataclass(frozen=True)
class ConcreteTopK:
    """L2X's law: the union of `k` independent draws of one player, hence at most `k` players.

    Args:
        k: Number of draws, 1 or more.

    Raises:
        ValueError: If `k` is below 1, or above the number of players of the logits.

    Source: Chen, Song, Wainwright and Jordan (2018), eq. 5.
    """

    k: int

    def __post_init__(self) -> None:
        _check_size(self.k)

    def noise(self, logits: Tensor, m: int, l: int, generator: torch.Generator | None) -> Tensor:
        """Uniform `(m, l, b, k, n)`: one race for each draw."""
        if self.k > logits.shape[-1]:
            raise ValueError(f"k={self.k} exceeds the {logits.shape[-1]} players of the selector.")
        b, n = logits.shape
        return uniform(logits, (m, l, b, self.k, n), generator)

    def hard(self, logits: Tensor, noise: Tensor) -> Tensor:
        """Bool masks `(m, l, b, n)`: the winners of the `k` races."""
        return _largest(logits[:, None] + _gumbel(noise), 1).any(-2)

    def relaxed(self, logits: Tensor, noise: Tensor, temperature: float) -> Tensor:
        """Masks `(m, l, b, n)` in [0, 1]: the largest of `k` concrete draws, player by player."""
        draws = torch.softmax((logits[:, None] + _gumbel(noise)) / temperature, -1)
        return reduce(draws, "m l b k n -> m l b n", "max")

    def log_prob(self, logits: Tensor, z: Tensor) -> Tensor:
        """Log-probability `(m, l, b)` of a union of `k` draws, by inclusion-exclusion over it.

        Raises:
            ValueError: If a mask has more than 16 players, whose 2**16 parts are too many.
        """
        size = int(z.sum(-1).max())
        if size > 16:
            raise ValueError(f"a mask of {size} players has too many parts; use Pathwise.")
        log_p = torch.log_softmax(logits, -1).expand(z.shape)
        members = _largest_positions(z, size)  # (m, l, b, size)
        weight = log_p.gather(-1, members).exp() * z.gather(-1, members)
        parts = all_coalitions(size).to(logits.device)
        mass = torch.einsum("mlbs,qs->mlbq", weight, parts.to(weight)) ** self.k
        # padding members have weight 0: counting their sign once leaves each real part once
        real = z.gather(-1, members)
        counts = torch.einsum("mlbs,qs->mlbq", real.to(weight), parts.to(weight))
        sign = 1 - 2 * ((z.sum(-1)[..., None] - counts) % 2)
        padded = (parts & ~real[..., None, :]).any(-1)
        return torch.log((mass * sign).masked_fill(padded, 0.0).sum(-1).clamp(min=1e-300))

    def support(self, n_players: int) -> Tensor:
        """All masks of 1 to `k` players.

        Raises:
            ValueError: If there are too many to list.
        """
        masks = Bernoulli().support(n_players)
        size = masks.sum(-1)
        return masks[(size >= 1) & (size <= self.k)]

    def inclusion(self, logits: Tensor) -> Tensor:
        """1 - (1 - p)^k with p the softmax of the logits `(b, n)`."""
        return 1 - (1 - torch.softmax(logits, -1)) ** self.k

    def expected_size(self, logits: Tensor) -> Tensor:
        """Sum of the inclusion probabilities `(b,)`, at most `k`."""
        return self.inclusion(logits).sum(-1)

    def mode(self, logits: Tensor) -> Tensor:
        """The `k` players of largest logits `(b, n)`, as L2X selects at test time."""
        return _largest(logits, self.k)


def uniform(like: Tensor, shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Uniform noise in the dtype and on the device of `like`, away from 0 and 1."""
    device = like.device if generator is None else generator.device
    noise = torch.rand(shape, dtype=like.dtype, device=device, generator=generator)
    return noise.to(like.device).clamp(TINY, 1 - TINY)


def _gumbel(noise: Tensor) -> Tensor:
    return -torch.log(-torch.log(noise))


def _check_size(k: int) -> None:
    if whole(k, "k") < 1:
        raise ValueError(f"k={k}; a selection needs at least one player.")


def _largest_positions(scores: Tensor, k: int) -> Tensor:
    return scores.to(torch.float64).topk(k, -1).indices


def _largest(scores: Tensor, k: int) -> Tensor:
    """Mask of the `k` largest scores; exactly `k`, also among ties."""
    chosen = torch.zeros(scores.shape, dtype=torch.bool, device=scores.device)
    return chosen.scatter_(-1, scores.topk(k, -1).indices, True)


def _log_times(slowest: float, fastest: float, like: Tensor) -> Tensor:
    """Nodes in log-time for clocks whose log-rates lie between `slowest` and `fastest`.

    The integrands are analytic in a strip of half-width pi/2 around the real line, so the
    trapezoid rule of step h errs by exp(-pi^2 / h) (Trefethen and Weideman, 2014).
    """
    reach, step = (38.0, 0.3) if like.dtype == torch.float64 else (20.0, 0.6)
    first, last = -reach - fastest, 3.8 - slowest
    size = 1 + round((last - first) / step)
    return torch.linspace(first, last, size, dtype=like.dtype, device=like.device)


def _race_inclusion(logits: Tensor, k: int) -> Tensor:
    """P(player i rings among the first k of n exponential clocks) for one row, `(n,)`.

    Given i's time t, how many others rang before is Poisson-binomial; its distribution function
    comes from the discrete Fourier transform of a product over the others, which prefix and suffix
    products give for all i at once.
    """
    n = len(logits)
    if k >= n:
        return torch.ones_like(logits)
    log_times = _log_times(float(logits.min()), float(logits.max()), logits)
    step = log_times[1] - log_times[0]
    rate = torch.exp(log_times[:, None] + logits)  # (t, n), w_i t
    rung = -torch.expm1(-rate)
    frequency = torch.arange(n, dtype=logits.dtype, device=logits.device) * (2 * math.pi / n)
    turn = torch.polar(torch.ones_like(frequency), frequency)
    factor = 1 + rung[:, None, :] * (turn[:, None] - 1)  # (t, f, n)
    before = torch.cumprod(F.pad(factor, (1, 0), value=1.0)[..., :-1], -1)
    after = torch.cumprod(F.pad(factor, (0, 1), value=1.0)[..., 1:].flip(-1), -1).flip(-1)
    others = before * after  # (t, f, n) generating function of the others' count
    geometric = torch.stack([turn.conj() ** j for j in range(k)]).sum(0)  # (f,)
    fewer = torch.einsum("tfn,f->tn", others, geometric).real / n  # P(count <= k - 1)
    return (rate * torch.exp(-rate) * fewer).sum(0) * step
