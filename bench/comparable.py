"""When two explanations stand for the same numbers, so that a distance between them is an error."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.explanation import Explanation
from bench.truth_noise import as_array, known_errors, silent

TRUTH_METRICS = ("squared_error", "spearman", "top_k", "sign_errors")
"""Metrics that need a truth of the same estimand and of the same game."""

FREE_METRICS = ("efficiency_gap", "seed_sensitivity", "insertion", "deletion", "infidelity")
"""Metrics that need no truth; `efficiency_gap` fits estimands that sum to v(all) - v(none)."""

EFFICIENT = ("shapley", "owen")
"""Estimands whose values sum to v(all) - v(none) by definition."""


SAME_END = 1e-4
"""Relative difference up to which the ends of two games are the same but for rounding."""


class NotComparable(ValueError):
    """Two explanations do not stand for the same numbers, so no distance between them is one.

    Example:
        >>> from bench import NotComparable
        >>> issubclass(NotComparable, ValueError)
        True
    """


def check_comparable(explanation: Explanation, truth: Explanation) -> None:
    """Refuse to compare explanations of different estimands, games, shapes or players.

    Args:
        explanation: What a contender answered, values `(b, n, k)`.
        truth: What it is judged against.

    Raises:
        NotComparable: If estimand, game, shape, players or padding differ, or if a sampled truth
            has no standard errors; the message names the metrics that fit. Games of different
            names are taken for one where v(none) and v(all) agree for every explicand.
    """
    if explanation.estimand != truth.estimand:
        raise NotComparable(
            f"explanation by {explanation.method!r} has estimand {explanation.estimand!r}, the "
            f"truth has {truth.estimand!r}: their difference is no error. {fitting(explanation)}"
        )
    named = explanation.game and truth.game and explanation.game != truth.game
    if named and not _same_ends(explanation, truth):
        raise NotComparable(
            f"explanation by {explanation.method!r} is of the game {explanation.game!r}, the "
            f"truth is of {truth.game!r}: judge a model against truth of its own game "
            f"(bench.own_problem). {fitting(explanation)}"
        )
    if explanation.values.shape != truth.values.shape:
        raise NotComparable(
            f"explanation has values {tuple(explanation.values.shape)}, the truth "
            f"{tuple(truth.values.shape)}: explain the same explicands, players and outputs. "
            f"{fitting(explanation)}"
        )
    ours, theirs = explanation.players, truth.players
    if ours is not None and theirs is not None and _words(ours) != _words(theirs):
        raise NotComparable(
            f"explanation has players {_words(ours)[:5]}, the truth {_words(theirs)[:5]}: put "
            f"them in the same order. {fitting(explanation)}"
        )
    if not np.array_equal(real_players(explanation), real_players(truth)):
        raise NotComparable("explanation and truth do not agree on which players are padding.")
    if not truth.exact and truth.std_errors is None:
        raise NotComparable(
            f"truth by {truth.method!r} is neither exact nor has standard errors, so its noise "
            "is unknown and cannot be taken for zero; use bench.ground_truth."
        )
    if truth.std_errors is not None and not (known_errors(truth) | silent(truth)).all():
        raise NotComparable(
            f"truth by {truth.method!r} has unknown (non-finite) standard errors; give it a "
            "larger budget."
        )


def real_players(explanation: Explanation) -> np.ndarray:
    """Which players are no padding.

    Args:
        explanation: Values `(b, n, k)`.

    Returns:
        Bool `(b, n)`.
    """
    if explanation.player_mask is None:
        return np.ones(explanation.shape[:2], dtype=bool)
    return explanation.player_mask.detach().cpu().numpy()


def _same_ends(explanation: Explanation, truth: Explanation) -> bool:
    """Whether two explanations state the same v(none) and v(all), whatever they call their game."""
    bases = explanation.base_values, truth.base_values
    if explanation.values.shape != truth.values.shape or explanation.estimand not in EFFICIENT:
        return False
    if bases[0] is None or bases[1] is None:
        return False
    ends = [
        np.stack([as_array(base), as_array(base) + as_array(side.values).sum(1)])
        for base, side in zip(bases, (explanation, truth), strict=True)
    ]
    return bool(np.allclose(ends[0], ends[1], rtol=SAME_END, atol=SAME_END))


def _words(players: Sequence[Any]) -> list[Any]:
    return [p if isinstance(p, str) else tuple(map(str, p)) for p in players]


def fitting(explanation: Explanation) -> str:
    """Which metrics fit an explanation, in a sentence or two."""
    fit = [m for m in FREE_METRICS if m != "efficiency_gap" or explanation.estimand in EFFICIENT]
    if explanation.estimand == "selection":
        return (
            "A selection is a probability, not an effect. Metrics that fit it, in "
            "bench.selection_metrics: tpr_at_k, auroc, average_precision, fdr, fpr against known "
            f"selections, EvalX and stability without; of bench.metrics: {', '.join(fit)}."
        )
    return (
        f"Metrics that fit it without this truth (truth=None): {', '.join(fit)}; "
        f"{', '.join(TRUTH_METRICS)} need a truth of estimand {explanation.estimand!r} of its "
        "own game."
    )
