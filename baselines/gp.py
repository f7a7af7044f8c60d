"""Odd-GP: a Gaussian process on the odd part of a game, corrected by least squares.

The prior sees coalitions through their Hamming distance only, so the posterior mean is one linear
map from values to attributions, which serves every explicand and every output of a batch.
"""

import torch
from einops import rearrange
from torch import Tensor

from baselines.designs import CACHE, PairSample, sample_pairs
from baselines.estimates import Estimate
from baselines.evaluation import estimate
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.priors import NOISE_FLOOR, ORDERS, Prior, choose_prior, distances, waves
from baselines.regression import Jackknife, PairOperator, half_differences, least_squares
from baselines.torch_calls import cholesky, cholesky_ex

DENSE = 4096
"""Pairs that enter the Gaussian process itself; the correction takes in all of them."""

LOOKED_AT = 256
"""Pairs whose leave-one-out residuals enter the standard errors."""

CORRECT_FROM = 40
"""The least squares correction is on from this many coalitions per player."""


def odd_gp(
    game: Game,
    budget: int,
    *,
    prior: Prior | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Shapley values as the posterior mean of a Gaussian process on complementary pairs.

    Only the odd part of a game moves its Shapley values. Its Walsh coefficients get independent
    normal priors whose variance depends on their order; from forty coalitions per player on, least
    squares on the residuals removes what the prior got wrong, so that the answer converges to
    the exact one under any prior.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        prior: Hyper-parameters; chosen by marginal likelihood, pooled over the batch, when None.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game; `std_errors` by the delete-one jackknife from
        `4 n` coalitions on; the prior in `diagnostics["prior"]`: orders 1, 3, 5, 7 and noise.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: nearest relatives ShaplEIG (2026) and OddSHAP (2026); fixed-prior exactness by
        regression adjustment, Witter et al. (2025).

    Example:
        >>> import torch
        >>> from baselines import TableGame, odd_gp
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> odd_gp(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return estimate(
        game,
        budget,
        lambda n, spend, key: OddGPDesign(n, spend, key, prior),
        method="odd_gp",
        generator=generator,
        chunk_size=chunk_size,
    )


class OddGPDesign:
    """The pairs of an odd-GP and, once values are known, its operator.

    Args:
        n_players: Number of players `n >= 2`.
        budget: Coalitions per explicand.
        key: Stream key.
        prior: Fixed hyper-parameters, or None to choose them.
        law: Sampling law of the sizes.
    """

    def __init__(
        self, n_players: int, budget: int, key: int, prior: Prior | None, law: str = "leverage"
    ) -> None:
        self.sample = sample_pairs(n_players, (budget - 2) // 2, key, law)
        self.correct = budget >= CORRECT_FROM * n_players
        self.prior = prior
        self.coalitions = self.sample.coalitions

    def solve(self, values: Tensor, *, finite: bool = True) -> Estimate:
        """The posterior mean of the attributions; `finite` as in `PairOperator.solve`."""
        halves = half_differences(values)
        prior = self.prior or choose_prior(self.sample, halves)
        answer = self.operator(prior).apply(halves, len(values), finite=finite)
        told = torch.tensor([*prior.table, prior.noise], dtype=torch.float64)
        return Estimate(
            _additive_exactly(self.sample, halves, answer.values),
            answer.std_errors,
            None,
            {"prior": told},
        )

    def operator(self, prior: Prior) -> PairOperator:
        """The linear map of one prior, kept for the next call."""
        return CACHE.get(
            ("odd gp", self.sample.name, self.correct, prior),
            lambda: _operator(self.sample, self.coalitions, prior, self.correct),
        )


class Surrogate:
    """The posterior mean of an odd-GP as a game of its own, whose Shapley values are known.

    Args:
        sample: Pairs that were evaluated.
        values: Float64 `(b, 2 + 2 p, k)` of the sample's coalitions.
        prior: Hyper-parameters, chosen by marginal likelihood when None.
    """

    def __init__(self, sample: PairSample, values: Tensor, prior: Prior | None = None) -> None:
        halves = half_differences(values)[: DENSE + 1]
        self.prior = prior or choose_prior(sample, halves)
        signs = torch.cat([torch.ones(1, sample.n_players).double(), sample.signs])
        self.signs = signs[: DENSE + 1].to(values.device)
        noise = torch.diag(_noise(len(self.signs), self.prior)).to(values.device)
        factor = _cholesky(_kernel(self.signs, self.signs, self.prior) + noise)
        self.weights = torch.cholesky_solve(halves, factor)  # (q + 1, b * k)
        found = _covariance(self.signs, self.prior) @ self.weights
        self.values = rearrange(found, "n (b k) -> b n k", b=len(values))

    def odd(self, coalitions: Tensor, b: int) -> Tensor:
        """Half the difference between coalitions `(m, n)` and their complements, `(b, m, k)`."""
        signs = coalitions.to(self.signs.device).double() * 2 - 1
        parts = [
            _kernel(part, self.signs, self.prior) @ self.weights
            for part in torch.split(signs, DENSE)
        ]
        return rearrange(torch.cat(parts), "m (b k) -> b m k", b=b)


def _additive_exactly(sample: PairSample, halves: Tensor, values: Tensor) -> Tensor:
    """Where least squares fits every pair to rounding the game is additive, and solved by it."""
    n, p = sample.n_players, len(sample)
    if p < n:
        return values
    found = CACHE.get(("squares", sample.name), lambda: least_squares(sample)).to(halves.device)
    fit = found @ halves  # (n, b * k)
    near = 1e-10 * halves.abs().amax(0)
    for pairs in (slice(0, n + 1), slice(None)):  # a few pairs tell most games from additive ones
        signs = sample.signs[pairs].to(halves.device)
        left = (signs @ fit).div_(2).sub_(halves[1:][pairs]).abs_().amax(0)
        plain = left <= near
        if not bool(plain.any()):
            return values
    b = len(values)
    fit, plain = rearrange(fit, "n (b k) -> b n k", b=b), rearrange(plain, "(b k) -> b 1 k", b=b)
    return torch.where(plain, fit, values)


def _operator(sample: PairSample, rows: Tensor, prior: Prior, correct: bool) -> PairOperator:
    n, p = sample.n_players, len(sample)
    signs = torch.cat([torch.ones(1, n, dtype=torch.float64), sample.signs])
    inner = signs[: DENSE + 1]
    noise = _noise(len(inner), prior)
    factor = _cholesky(_kernel(inner, inner, prior) + torch.diag(noise))
    cross = _covariance(inner, prior)  # (n, q + 1)
    matrix = torch.zeros(n, p + 1, dtype=torch.float64)
    matrix[:, : len(inner)] = torch.cholesky_solve(cross.T, factor).T
    squares = (
        CACHE.get(("squares", sample.name), lambda: least_squares(sample)) if correct else None
    )
    if squares is not None:
        matrix = _corrected(matrix, squares, signs, inner, factor, noise, prior)
    if squares is not None and p >= n:
        # what the prior shrinks of the additive part goes back, so additive games are exact
        matrix = matrix + (torch.eye(n, dtype=torch.float64) - matrix @ signs / 2) @ squares
    total = torch.zeros(p + 1, dtype=torch.float64)
    total[0] = 2.0
    matrix = matrix + (total - matrix.sum(0)) / n  # efficiency, against rounding
    errors = _jackknife(sample, matrix, factor) if 2 * n <= p <= DENSE else None
    return PairOperator(rows, matrix, errors)


def _jackknife(sample: PairSample, matrix: Tensor, factor: Tensor) -> Jackknife:
    """Leave-one-out residuals of a Gaussian process, (C o)_j / C_jj, at evenly spread pairs."""
    p = len(sample)
    rows = torch.linspace(0, p - 1, min(p, LOOKED_AT)).round().long()
    columns = torch.zeros(p + 1, len(rows), dtype=torch.float64)
    columns[rows + 1, torch.arange(len(rows))] = 1.0
    inverse = torch.cholesky_solve(columns, factor).T  # (q, p + 1)
    residuals = inverse / inverse.gather(1, rows[:, None] + 1)
    # the prior carries errors across sizes, so a size that was used up keeps some of its own
    unseen = sample.unseen.sqrt()[rows]
    squares = matrix[:, rows + 1].square() * (p / len(rows))
    return Jackknife(residuals, None, None, squares, squares * unseen)


def _corrected(
    matrix: Tensor,
    squares: Tensor,
    signs: Tensor,
    inner: Tensor,
    factor: Tensor,
    noise: Tensor,
    prior: Prior,
) -> Tensor:
    """Add the least squares of the residuals that the posterior leaves at the pairs."""
    q = len(inner)
    if len(signs) == q:
        left = torch.cholesky_solve((squares * noise).T, factor).T  # residuals are noise * C o
        return matrix + left
    onto = torch.zeros(len(squares), q, dtype=torch.float64)
    for start in range(0, len(signs), DENSE):
        part = slice(start, start + DENSE)
        onto += squares[:, part] @ _kernel(signs[part], inner, prior)
    matrix = matrix + squares
    matrix[:, :q] -= torch.cholesky_solve(onto.T, factor).T
    return matrix


def _noise(size: int, prior: Prior) -> Tensor:
    level = max(prior.noise, NOISE_FLOOR * sum(prior.table))
    noise = torch.full((size,), level, dtype=torch.float64)
    noise[0] = 0.0  # the ends are known: this is what makes the posterior efficient
    return noise


def _cholesky(covariance: Tensor) -> Tensor:
    factor, failed = cholesky_ex(covariance)
    if not bool(failed):
        return factor
    jitter = 1e-10 * covariance.diagonal().mean()
    return cholesky(covariance + jitter * torch.eye(len(covariance)).double())


def _kernel(left: Tensor, right: Tensor, prior: Prior) -> Tensor:
    table = torch.tensor(prior.table, dtype=torch.float64) @ waves(left.shape[1], ORDERS)
    return table.to(left.device)[distances(left, right)]


def _covariance(signs: Tensor, prior: Prior) -> Tensor:
    """Prior covariance `(n, p)` of each player's value with the odd part at each coalition."""
    n = signs.shape[1]
    usable = [variance * (order <= n) for variance, order in zip(prior.table, ORDERS, strict=True)]
    table = torch.tensor(usable, dtype=torch.float64) @ waves(n - 1, (0, 2, 4, 6))
    absent = (n - signs.sum(1, keepdim=True)) / 2 - (1 - signs) / 2  # among the other players
    return (2 / n) * (signs * table.to(signs.device)[absent.round().long()]).T
