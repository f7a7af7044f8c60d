"""The one call: the best known estimator for a game and a budget, and what was chosen."""

import torch

from baselines.adjusted import ChosenDesign
from baselines.arguments import check_game
from baselines.asking import active_players, check_budget, is_enumerable
from baselines.evaluation import enumerate_rest, estimate
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.sampling import permutation_shapley
from baselines.stopping import sample_until


def shapley(
    game: Game,
    budget: int | None = None,
    *,
    tolerance: float | None = None,
    max_budget: int | None = None,
    certify_top_k: int | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Shapley values by the best known estimator for the number of players and the budget.

    With a budget: enumeration where it pays for all coalitions; antithetic permutations below
    2.5 coalitions per player, where regressions are under-determined; else an odd-GP, against
    which boosted trees compete from 20 coalitions per player on, where the batch is small enough,
    by held-out error. With a tolerance or ranks to certify: sampling until they are reached.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        tolerance: Instead of a budget: stop when every anytime half-width is at most
            `tolerance * ||phi||_2 / sqrt(n)`.
        max_budget: With `tolerance` or `certify_top_k`, the most coalitions per explicand;
            100,000 by default.
        certify_top_k: Say which of the first ranks by absolute value are certain.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, with standard errors where the budget gives
        some; `method` says what was chosen. See `sample_until` for what a tolerance adds.

    Raises:
        TypeError: If a budget is no whole number.
        ValueError: If both a budget and a stopping rule are given, or neither, or one is out of
            range.

    Example:
        >>> import torch
        >>> from baselines import TableGame, shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> shapley(game, budget=8).values[0, :, 0]
        tensor([2.3333, 3.3333, 4.3333])
        >>> shapley(game, budget=8).exact
        True
    """
    stopping = tolerance is not None or certify_top_k is not None
    if (budget is None) != stopping:
        raise ValueError(
            f"budget={budget}, tolerance={tolerance}, certify_top_k={certify_top_k}; pass either "
            "a budget, or a tolerance or ranks to certify with max_budget."
        )
    if budget is None:
        return sample_until(
            game,
            tolerance=tolerance,
            max_budget=100_000 if max_budget is None else max_budget,
            certify_top_k=certify_top_k,
            generator=generator,
            chunk_size=chunk_size,
        )
    if max_budget is not None:
        raise ValueError(f"max_budget={max_budget} goes with a tolerance; the budget is {budget}.")
    check_game(game)
    budget = check_budget(budget)
    n = game.n_players
    if active_players(game) is None and is_enumerable(n, budget):
        return enumerate_rest(game, None, None, chunk_size)
    if 2 * (budget - 2) < 5 * n:
        return permutation_shapley(game, budget, generator=generator, chunk_size=chunk_size)
    return estimate(
        game,
        budget,
        ChosenDesign,
        method="shapley",
        generator=generator,
        chunk_size=chunk_size,
    )
