"""Regression adjustment: a proxy's exact Shapley values, corrected on what the proxy leaves.

The proxy is fitted on other pairs than those it is corrected on, so that a proxy that learnt its
data by heart is not believed.
"""

import dataclasses

import torch
from einops import rearrange
from torch import Tensor

from baselines.boosting import boost
from baselines.estimates import Estimate
from baselines.evaluation import estimate
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.gp import OddGPDesign
from baselines.regression import least_squares_design

FOLDS = 5

TREES, DEPTH, RATE = 60, 5, 0.2
"""Size and pace of the boosted proxy."""

CANDIDATE_FROM = 20
"""Coalitions per player from which `shapley` lets trees compete with the odd-GP."""

CANDIDATE_CELLS = 2**18
"""Most (column, coalition) cells on which it does: beyond, fitting trees costs minutes."""


def regression_adjusted(
    game: Game,
    budget: int,
    *,
    proxy: str = "auto",
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Shapley values of a cross-fitted proxy plus least squares on its held-out residuals.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        proxy: `"linear"`, `"trees"` (boosted symmetric trees, fitted to each explicand and
            output), or `"auto"`, which takes for each of them the one of smaller error on held
            out pairs.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, with `std_errors` from `4 n` coalitions on and
        `diagnostics["trees"]`, bool `(b, k)`: where trees were used. With the linear proxy this
        is `leverage_shap`. Below 5 pairs there is nothing to hold out and the proxy is linear.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2 or the proxy unknown.

    Source: Witter, Liu and Musco (2025), alg. 1, with least squares in place of Monte Carlo.

    Example:
        >>> import torch
        >>> from baselines import TableGame, regression_adjusted
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> regression_adjusted(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    if proxy not in ("auto", "linear", "trees"):
        raise ValueError(f"proxy={proxy!r}; pass 'auto', 'linear' or 'trees'.")
    return estimate(
        game,
        budget,
        lambda n, spend, key: _AdjustedDesign(n, (spend - 2) // 2, key, proxy),
        method=f"regression_adjusted({proxy})",
        generator=generator,
        chunk_size=chunk_size,
    )


class _AdjustedDesign:
    """Least squares, plain and on what trees leave."""

    def __init__(self, n_players: int, n_pairs: int, key: int, proxy: str) -> None:
        self.operator = least_squares_design(n_players, n_pairs, key, "leverage")
        self.coalitions = self.operator.coalitions
        self.proxy = proxy if n_pairs >= FOLDS else "linear"

    def solve(self, values: Tensor) -> Estimate:
        plain = self.operator.solve(values)
        if self.proxy == "linear":
            used = torch.zeros(len(values), values.shape[-1], dtype=torch.bool)
            return dataclasses.replace(plain, diagnostics={"trees": used})
        known, left = cross_fit(self.coalitions, values)
        trees = self.operator.solve(left, finite=False)
        trees = dataclasses.replace(trees, values=trees.values + known)
        better = torch.ones(len(values), values.shape[-1], dtype=torch.bool, device=values.device)
        if self.proxy == "auto":
            pairs = values[:, 2::2] - values[:, 3::2]
            signs = self.coalitions[2::2].to(values) * 2 - 1
            fitted = torch.einsum("pn,bnk->bpk", signs, plain.values)
            held_out = (left[:, 2::2] - left[:, 3::2]).square().sum(1)
            better = held_out < (pairs - fitted).square().sum(1)
        return choose(plain, trees, better, {"trees": better})


def cross_fit(coalitions: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Fit trees on all but a fifth of the pairs, five times.

    Args:
        coalitions: Bool `(2 + 2 p, n)`: ends, then pairs.
        values: `(b, 2 + 2 p, k)` of these.

    Returns:
        Mean Shapley values `(b, n, k)` of the five fits, and the values that are left over when
        each pair's own is predicted by the fit that did not see it, `(b, 2 + 2 p, k)`.
    """
    m, k = values.shape[1:]
    targets = rearrange(values, "b m k -> (b k) m").cpu()
    scale = targets.abs().amax(1, keepdim=True).clamp(min=1e-300)
    fold = torch.arange((m - 2) // 2).repeat_interleave(2) % FOLDS
    fold = torch.cat([torch.full((2,), -1), fold])
    left, known, ends = targets.clone(), torch.zeros(1), torch.zeros(1)
    for part in range(FOLDS):
        fit = boost(
            coalitions,
            targets / scale,
            weights=(fold != part).double(),
            trees=TREES,
            depth=DEPTH,
            rate=RATE,
        )
        guess = fit.predict(coalitions) * scale
        left[:, fold == part] -= guess[:, fold == part]
        known = known + fit.shapley() * scale / FOLDS
        ends = ends + guess[:, :2] / FOLDS
    left[:, :2] -= ends
    back = rearrange(left, "(b k) m -> b m k", k=k).to(values.device)
    return rearrange(known, "(b k) n -> b n k", k=k).to(values.device), back


def choose(plain: Estimate, other: Estimate, better: Tensor, facts: dict[str, Tensor]) -> Estimate:
    """The other estimate where `better` `(b, k)` says so."""
    place = better[:, None]
    errors = None
    if plain.std_errors is not None and other.std_errors is not None:
        errors = torch.where(place, other.std_errors, plain.std_errors)
    return Estimate(torch.where(place, other.values, plain.values), errors, None, facts)


class ChosenDesign:
    """An odd-GP, or trees with an odd-GP on what they leave, by the error each expects of itself.

    Args:
        n_players: Number of players `n >= 2`.
        budget: Coalitions per explicand.
        key: Stream key.
    """

    def __init__(self, n_players: int, budget: int, key: int) -> None:
        self.gp = OddGPDesign(n_players, budget, key, None)
        self.coalitions = self.gp.coalitions
        self.compete = budget >= CANDIDATE_FROM * n_players

    def solve(self, values: Tensor) -> Estimate:
        plain = self.gp.solve(values)
        cells = values.shape[0] * values.shape[1] * values.shape[2]
        if not self.compete or plain.std_errors is None or cells > CANDIDATE_CELLS:
            return dataclasses.replace(plain, method="shapley: odd_gp")
        known, left = cross_fit(self.coalitions, values)
        other = self.gp.solve(left, finite=False)
        other = dataclasses.replace(other, values=other.values + known)
        assert other.std_errors is not None  # the same design gave the plain ones
        # held-out errors carried to the attributions; a tie goes to the simpler one
        better = other.std_errors.square().sum(1) < 0.7 * plain.std_errors.square().sum(1)
        chosen = choose(plain, other, better, {**plain.diagnostics, "trees": better})
        share = float(better.double().mean())
        names = "odd_gp" if share == 0 else f"trees + odd_gp on {share:.0%}, odd_gp on the rest"
        return dataclasses.replace(chosen, method=f"shapley: {names}")
