"""Shapley values as weighted least squares on coalitions: KernelSHAP and its kin.

A pair of complementary coalitions enters as one row: the difference of their values, which only
the odd part of the game moves. The sum of the values is held to v(all) - v(none).
"""

import dataclasses

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from baselines.coalitions import stream
from baselines.designs import CACHE, PairSample, first_seen, interleave, sample_pairs
from baselines.estimates import Estimate
from baselines.evaluation import estimate
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.moments import PairMoments
from baselines.torch_calls import eigenvalues, from_array, pinv, solve


def kernel_shap(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """KernelSHAP: least squares on pairs drawn by the Shapley kernel, without replacement.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game; consistent, with a bias that vanishes like
        1 / budget. Below `2 n` coalitions the least-norm answer. `std_errors` from `4 n` on.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Lundberg and Lee (2017), thm. 2; pairs, Covert and Lee (2021), sec. 3.3.

    Example:
        >>> import torch
        >>> from baselines import TableGame, kernel_shap
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> kernel_shap(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return _least_squares(game, budget, "kernel", "kernel_shap", generator, chunk_size)


def leverage_shap(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """LeverageSHAP: least squares on pairs drawn by leverage score, every size alike.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game; consistent. Below `2 n` coalitions the
        least-norm answer. `std_errors` from `4 n` on.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Musco and Witter (2025), alg. 1.

    Example:
        >>> import torch
        >>> from baselines import TableGame, leverage_shap
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> leverage_shap(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return _least_squares(game, budget, "leverage", "leverage_shap", generator, chunk_size)


def unbiased_kernel_shap(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Unbiased KernelSHAP: the exact matrix of the regression, only its right side sampled.

    Unbiased at every budget from 4 on, but of far larger variance than `kernel_shap`, since the
    linear part of the game is not taken out.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game; `std_errors` over independent pairs.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Covert and Lee (2021), sec. 3.2.

    Example:
        >>> import torch
        >>> from baselines import TableGame, unbiased_kernel_shap
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> unbiased_kernel_shap(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return estimate(
        game,
        budget,
        lambda n, spend, key: _UnbiasedDesign(n, (spend - 2) // 2, key),
        method="unbiased_kernel_shap",
        generator=generator,
        chunk_size=chunk_size,
    )


def _least_squares(
    game: Game,
    budget: int,
    law: str,
    method: str,
    generator: torch.Generator | None,
    chunk_size: int | None,
) -> Explanation:
    return estimate(
        game,
        budget,
        lambda n, spend, key: least_squares_design(n, (spend - 2) // 2, key, law),
        method=method,
        generator=generator,
        chunk_size=chunk_size,
    )


@dataclasses.dataclass(frozen=True)
class PairOperator:
    """A linear map from half differences of pairs to attributions, with its errors.

    Args:
        coalitions: Bool `(2 + 2 p, n)`.
        matrix: Float64 `(n, p + 1)`: what half the difference of the ends, and then of each
            pair, adds to each value.
        errors: What the standard errors take, or None where they make no sense.
    """

    coalitions: Tensor
    matrix: Tensor
    errors: "Jackknife | None"

    def solve(self, values: Tensor, *, finite: bool = True) -> Estimate:
        """Attributions and, by the delete-one jackknife, their errors.

        Args:
            values: Float64 `(b, 2 + 2 p, k)` of the coalitions.
            finite: Whether a size all of whose pairs were drawn has no error left; false for
                residuals of a proxy that differs from pair to pair.

        Returns:
            Attributions `(b, n, k)`.
        """
        return self.apply(half_differences(values), len(values), finite=finite)

    def apply(self, halves: Tensor, b: int, *, finite: bool = True) -> Estimate:
        """The same from half differences `(p + 1, b * k)`."""
        found = self.matrix.to(halves.device) @ halves
        parts = [found]
        if self.errors is not None:
            parts.append(self.errors(halves, found, finite))
        answer = rearrange(parts, "part n (b k) -> part b n k", b=b)
        return Estimate(answer[0], answer[1] if len(parts) > 1 else None)


@dataclasses.dataclass(frozen=True)
class Jackknife:
    """Standard errors of a linear smoother from what it loses when one pair is left out.

    Leaving out pair j moves value i by the operator's entry (i, j) times the leave-one-out
    residual of pair j, so no smoother is fitted again.

    Args:
        residuals: `(q, p + 1)`, the leave-one-out residuals of `q` of the pairs given the half
            differences; or None for least squares, whose residuals follow from its answer.
        signs: `(p, n)` for least squares, half the signs times `scale`; else None.
        scale: `(p, 1)` for least squares, one over the share of each pair that its own value
            does not explain; else None.
        squares: `(n, q)`, squared entries of the operator, raised so that `q` pairs stand for all.
        finite: `(n, q)`, the same times what is left of the variance of each pair's size, 0 when
            all were drawn.
    """

    residuals: Tensor | None
    signs: Tensor | None
    scale: Tensor | None
    squares: Tensor
    finite: Tensor

    def __call__(self, halves: Tensor, found: Tensor, finite: bool = True) -> Tensor:
        """Errors `(n, c)` from half differences `(p + 1, c)` and attributions `(n, c)`.

        Infinite where every pair is fitted to rounding: there is then nothing to learn from.
        """
        if self.residuals is not None:
            left = self.residuals.to(halves.device) @ halves
        else:
            assert self.signs is not None  # the other kind of smoother
            assert self.scale is not None  # comes with the signs
            own = halves[1:] * self.scale.to(halves.device)
            left = torch.addmm(own, self.signs.to(halves.device), found, alpha=-1)
        squares = (self.finite if finite else self.squares).to(halves.device)
        still = left.abs().amax(0) <= 1e-12 * halves.abs().amax(0)
        errors = (squares @ left.square_()).sqrt_()
        return errors.masked_fill_(still, torch.inf)


def half_differences(values: Tensor) -> Tensor:
    """Half the difference within each pair, the ends first.

    Args:
        values: `(b, 2 + 2 p, k)` in the order of `PairSample.coalitions`.

    Returns:
        `(p + 1, b * k)`, the odd part of the game.
    """
    pairs = rearrange(values, "b (p side) k -> side p b k", side=2)
    halves = values.new_empty(pairs.shape[1:])
    torch.sub(pairs[0], pairs[1], out=halves).mul_(0.5)
    halves[0].neg_()  # the empty coalition comes before the grand one
    return halves.flatten(1)


def least_squares_design(n_players: int, n_pairs: int, key: int, law: str) -> PairOperator:
    """The weighted least squares estimator on a sample of pairs, kept for the next call.

    Args:
        n_players: Number of players `n >= 2`.
        n_pairs: Number of pairs `p`.
        key: Stream key.
        law: Name of the sampling law.

    Returns:
        The design and its operator.
    """

    def make() -> PairOperator:
        sample = sample_pairs(n_players, n_pairs, key, law)
        matrix = least_squares(sample)
        errors = None
        if n_pairs >= 2 * n_players:
            signs = sample.signs
            own = (signs * matrix[:, 1:].T).sum(1, keepdim=True) / 2
            squares = matrix[:, 1:].square()
            scale = 1 / (1 - own).clamp(min=1e-6)
            errors = Jackknife(None, signs * scale / 2, scale, squares, squares * sample.unseen)
        return PairOperator(sample.coalitions, matrix, errors)

    return CACHE.get(("least squares", n_players, n_pairs, key, law), make)


def least_squares(sample: PairSample) -> Tensor:
    """The operator of weighted least squares under the efficiency constraint.

    Args:
        sample: Pairs `(p, n)`.

    Returns:
        Float64 `(n, p + 1)` on half differences, ends first; its columns sum to 0, the first to
        2. The least-norm solution where the pairs do not determine all values.

    Source: notation of Musco and Witter (2025), eq. 7, for pairs.
    """
    n, signs = sample.n_players, sample.signs
    mean = signs.mean(1, keepdim=True)
    rows = signs - mean  # efficiency: values move only within the hyperplane of sum 0
    weighted = rows.T * sample.kernel  # (n, p)
    gram = weighted @ rows
    level = gram.diagonal().mean().clamp(min=1e-300)
    if len(sample) >= n and _is_full(gram + level / n):
        operator = solve(gram + level / n, weighted)
    else:
        operator = pinv(gram, rtol=1e-10) @ weighted
    operator = operator - operator.mean(0)
    ends = (1 / n - operator @ mean)[:, 0]
    return torch.cat([ends[:, None], operator], 1) * 2


def _is_full(gram: Tensor) -> bool:
    spectrum = eigenvalues(gram)
    return bool(spectrum[0] > 1e-9 * spectrum[-1])


class _UnbiasedDesign:
    """Independent pairs from the Shapley kernel; repeats count twice and are asked for once."""

    def __init__(self, n_players: int, n_pairs: int, key: int) -> None:
        sizes = np.arange(1, n_players)
        law = 1.0 / (sizes * (n_players - sizes))
        law = law / law.sum()
        both = float((law * sizes * (sizes - 1)).sum() / (n_players * (n_players - 1)))
        self.alpha = 0.5 - both  # eigenvalue of E[z z'] away from the ones
        blocks = [
            stream(key, block).random((64, n_players + 1)) for block in range(-(-n_pairs // 64))
        ]
        draws = np.concatenate(blocks)[:n_pairs] if blocks else np.zeros((0, n_players + 1))
        size = sizes[np.searchsorted(law.cumsum(), draws[:, 0]).clip(0, n_players - 2)]
        limit = np.take_along_axis(np.sort(draws[:, 1:], 1), size[:, None] - 1, 1)
        self.members = from_array(draws[:, 1:] <= limit)
        distinct, self.place, self.flipped = first_seen(self.members)
        self.coalitions = interleave(distinct)

    def solve(self, values: Tensor) -> Estimate:
        n = self.members.shape[1]
        share = (values[:, 1] - values[:, 0])[:, None] / n
        if len(self.members) == 0:
            return Estimate(share.expand(-1, n, -1).clone())
        z = self.members.to(values)[..., None]
        own = 2 * self.place.to(values.device) + self.flipped.to(values.device)
        other = own + 1 - 2 * self.flipped.to(values.device)
        first = (values[:, 2:][:, own] - values[:, :1])[:, :, None]
        second = (values[:, 2:][:, other] - values[:, :1])[:, :, None]
        right = (z * first + (1 - z) * second) / 2  # (b, p, n, k)
        units = share[:, None] + (right - right.mean(2, keepdim=True)) / self.alpha
        moments = PairMoments.of(units, values.abs().amax(1, keepdim=True))
        found = moments.std_errors(values.dtype)
        return Estimate(moments.mean, None if found is None else found[0])
