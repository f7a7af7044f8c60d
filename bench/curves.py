"""Curves: what a game's value does when players leave or join in the order of an explanation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import stream
from baselines.explanation import Explanation
from bench.comparable import NotComparable, real_players
from bench.problems.problem import Problem

INFIDELITY_COALITIONS = 64


def removal_curve(
    explanation: Explanation,
    game: Any,  # noqa: ANN401 - Game
    *,
    order: str = "deletion",
) -> np.ndarray:
    """Value of the explicand's top output as its most important players leave, or join.

    Args:
        explanation: Values `(b, n, k)` of any estimand; with one output for a game of many it is
            read as importance for the top one.
        game: The game to play, under whatever imputer; `n` players.
        order: `"deletion"` from the grand coalition, `"insertion"` from the empty one.

    Returns:
        `(b, n + 1)`, padding leaving or joining last.

    Raises:
        ValueError: If `order` is neither.
        NotComparable: If the game has other explicands or players.
    """
    if order not in ("deletion", "insertion"):
        raise ValueError(f"order={order!r}; pass 'deletion' or 'insertion'.")
    top, values = _top_output(explanation, game)
    b, n = values.shape
    values = values.masked_fill(~torch.from_numpy(real_players(explanation)), -torch.inf)
    place = torch.sort(values, dim=1, descending=True, stable=True).indices.argsort(1)
    steps = torch.arange(n + 1)[None, :, None]
    chosen = place[:, None] < steps  # (b, m, n): the first players of the order
    coalitions = ~chosen if order == "deletion" else chosen
    curve = game(_within(coalitions, game)).cpu().double()
    return curve[torch.arange(b)[:, None], torch.arange(n + 1), top[:, None]].numpy()


def deletion(explanation: Explanation, game: Any) -> np.ndarray:  # noqa: ANN401 - Game
    """Area under the deletion curve above v(none): less is better.

    Args:
        explanation: Values `(b, n, k)` of any estimand.
        game: The game to play.

    Returns:
        `(b,)` in units of the game.

    Source: Petsiuk, Das and Saenko (2018), here on any game's absence.
    """
    curve = removal_curve(explanation, game, order="deletion")
    return _area(curve) - curve[:, -1]


def insertion(explanation: Explanation, game: Any) -> np.ndarray:  # noqa: ANN401 - Game
    """Area under the insertion curve above v(none): more is better.

    Args:
        explanation: Values `(b, n, k)` of any estimand.
        game: The game to play.

    Returns:
        `(b,)` in units of the game.

    Source: Petsiuk, Das and Saenko (2018), here on any game's absence.
    """
    curve = removal_curve(explanation, game, order="insertion")
    return _area(curve) - curve[:, 0]


def infidelity(
    explanation: Explanation,
    game: Any,  # noqa: ANN401 - Game
    *,
    size: int = INFIDELITY_COALITIONS,
    seed: int = 0,
) -> np.ndarray:
    """Mean squared difference between what leaves with players and what their values say.

    Args:
        explanation: Values `(b, n, k)` that are in units of the game's output.
        game: The game to play.
        size: Random coalitions, their sizes uniform from 0 to n - 1.
        seed: Key of the coalitions, which all explicands and contenders share.

    Returns:
        `(b,)`, mean over coalitions, for the explicand's top output.

    Source: Yeh et al. (2019), definition 2.1, with removal as the perturbation.
    """
    top, values = _top_output(explanation, game)
    b, n = values.shape
    draws = stream(seed, 0, purpose=97)
    place = torch.from_numpy(draws.random((size, n)).argsort(1).argsort(1))
    kept = place < torch.from_numpy(draws.integers(0, n, (size, 1)))
    coalitions = torch.cat([torch.ones(1, n, dtype=torch.bool), kept])
    played = game(_within(coalitions[None], game)).cpu().double()
    v = played[torch.arange(b)[:, None], torch.arange(size + 1), top[:, None]]
    left = torch.einsum("bn,mn->bm", values, (~kept).double())
    return (left - (v[:, :1] - v[:, 1:])).square().mean(1).numpy()


def removal_scores(explanation: Explanation, game: Any, *, seed: int = 0) -> dict[str, np.ndarray]:  # noqa: ANN401
    """Insertion, deletion and infidelity of one explanation under one game.

    Args:
        explanation: Values `(b, n, k)`.
        game: The game to play.
        seed: Key of the coalitions of `infidelity`.

    Returns:
        Metric -> `(b,)`.
    """
    return {
        "insertion": insertion(explanation, game),
        "deletion": deletion(explanation, game),
        "infidelity": infidelity(explanation, game, seed=seed),
    }


def removal_games(problem: Problem, *, seed: int = 0) -> dict[str, Callable[[Any], Any]]:
    """The games that insertion, deletion and infidelity are played under, one per absence.

    Args:
        problem: One whose model and background are known has all four.
        seed: Key of the conditional imputer's draws.

    Returns:
        Name -> explicands to Game: `own`, the problem's game, and for a model on tensors
        `baseline` (mean of the background), `marginal` and `conditional` (Gaussian).
    """
    games: dict[str, Callable[[Any], Any]] = {"own": problem.game}
    if problem.model is None or not isinstance(problem.background, Tensor):
        return games
    from baselines.game import MaskedGame
    from baselines.gaussian import GaussianImputer
    from baselines.imputers import BaselineImputer, MarginalImputer

    rows = problem.background
    imputers = {
        "baseline": BaselineImputer(rows.nanmean(0)),
        "marginal": MarginalImputer(rows),
    }
    if rows.isfinite().all():
        imputers["conditional"] = GaussianImputer.fit(rows)

    def played(imputer: Any) -> Callable[[Any], Any]:  # noqa: ANN401 - an Imputer
        return lambda x: MaskedGame(problem.model, x, imputer)

    return games | {name: played(imputer) for name, imputer in imputers.items()}


def _top_output(explanation: Explanation, game: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    """Position of each explicand's largest output `(b,)` and its values `(b, n)`."""
    b, n, k = explanation.shape
    if (game.n_explicands, game.n_players) != (b, n) or k not in (1, game.n_outputs):
        raise NotComparable(
            f"explanation has values {(b, n, k)}, the game {game.n_explicands} explicands, "
            f"{game.n_players} players and {game.n_outputs} outputs; play the explained rows."
        )
    everyone = torch.ones(1, 1, n, dtype=torch.bool)
    top = game(_within(everyone, game))[:, 0].argmax(-1).cpu()
    values = explanation.values.detach().cpu().double()
    column = top if k > 1 else torch.zeros_like(top)
    return top, values[torch.arange(b), :, column]


def _within(coalitions: Tensor, game: Any) -> Tensor:  # noqa: ANN401 - Game
    mask = getattr(game, "player_mask", None)
    return coalitions if mask is None else coalitions.to(mask.device) & mask[:, None]


def _area(curve: np.ndarray) -> np.ndarray:
    return np.trapezoid(curve, axis=1) / (curve.shape[1] - 1)
