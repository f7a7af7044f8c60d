"""Metrics: pure functions of explanations, one number per explicand.

A metric that compares with a truth refuses an explanation of another estimand or of another game,
and says which metrics fit. Where the truth was sampled its own noise is taken off (squared error),
stated as a ceiling (rank agreement) or counted as ties (top k, signs). That is only right when
truth and contender drew their coalitions independently, which `bench.truth` sees to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy import stats

from baselines.explanation import Explanation

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
            f"truth has {truth.estimand!r}: their difference is no error. {_fitting(explanation)}"
        )
    named = explanation.game and truth.game and explanation.game != truth.game
    if named and not _same_ends(explanation, truth):
        raise NotComparable(
            f"explanation by {explanation.method!r} is of the game {explanation.game!r}, the "
            f"truth is of {truth.game!r}: judge a model against truth of its own game "
            f"(bench.own_problem). {_fitting(explanation)}"
        )
    if explanation.values.shape != truth.values.shape:
        raise NotComparable(
            f"explanation has values {tuple(explanation.values.shape)}, the truth "
            f"{tuple(truth.values.shape)}: explain the same explicands, players and outputs. "
            f"{_fitting(explanation)}"
        )
    ours, theirs = explanation.players, truth.players
    if ours is not None and theirs is not None and _words(ours) != _words(theirs):
        raise NotComparable(
            f"explanation has players {_words(ours)[:5]}, the truth {_words(theirs)[:5]}: put "
            f"them in the same order. {_fitting(explanation)}"
        )
    if not np.array_equal(real_players(explanation), real_players(truth)):
        raise NotComparable("explanation and truth do not agree on which players are padding.")
    if not truth.exact and truth.std_errors is None:
        raise NotComparable(
            f"truth by {truth.method!r} is neither exact nor has standard errors, so its noise "
            "is unknown and cannot be taken for zero; use bench.ground_truth."
        )
    if truth.std_errors is not None and not (_known_errors(truth) | _silent(truth)).all():
        raise NotComparable(
            f"truth by {truth.method!r} has unknown (non-finite) standard errors; give it a "
            "larger budget."
        )


def squared_error(explanation: Explanation, truth: Explanation) -> np.ndarray:
    """Mean squared error, less the truth's own variance.

    Unbiased for the error against the unknown exact values; below zero where the error is smaller
    than the truth's noise.

    Args:
        explanation: Values `(b, n, k)`.
        truth: Exact, or with standard errors from draws of its own.

    Returns:
        `(b,)`, mean over real players and outputs, in squared units of the game.

    Raises:
        NotComparable: If the two do not stand for the same numbers.
    """
    check_comparable(explanation, truth)
    gap = _array(explanation.values) - _array(truth.values)
    return _player_mean(gap**2 - _variance(truth), truth)


def squared_scale(truth: Explanation) -> np.ndarray:
    """Mean squared Shapley value, less the truth's own variance: what errors are relative to.

    Args:
        truth: Values `(b, n, k)`.

    Returns:
        `(b,)`, mean over real players and outputs.
    """
    return _player_mean(_array(truth.values) ** 2 - _variance(truth), truth)


def noise_floor(truth: Explanation) -> np.ndarray:
    """Mean variance of the truth itself: squared errors far below it cannot be told apart.

    Args:
        truth: Values `(b, n, k)` with standard errors, or exact.

    Returns:
        `(b,)`, zero for an exact truth.
    """
    return _player_mean(_variance(truth), truth)


def spearman(explanation: Explanation, truth: Explanation) -> np.ndarray:
    """Spearman's rank correlation over the players, mean over outputs.

    Args:
        explanation: Values `(b, n, k)`.
        truth: What they are judged against.

    Returns:
        `(b,)`; NaN for explicands whose truth has the same value for every player in every
        output, since nothing is there to be ranked. A constant explanation of a truth that has an
        order scores 0.

    Raises:
        NotComparable: If the two do not stand for the same numbers.
    """
    check_comparable(explanation, truth)
    return _rank_correlation(_array(explanation.values), _array(truth.values), real_players(truth))


def spearman_ceiling(truth: Explanation, *, draws: int = 16, seed: int = 0) -> np.ndarray:
    """The rank correlation that a flawless explainer would reach with this truth.

    From two independent halves of the truth where it keeps them (diagnostic `halves`, values
    `(b, 2, n, k)`): with split-half correlation r the reliability of their mean is 2 r / (1 + r),
    and the ceiling its square root. Otherwise by drawing again around the truth with its standard
    errors.

    Args:
        truth: Exact, or with standard errors.
        draws: Redraws, for a truth without halves.
        seed: Key of the redraws.

    Returns:
        `(b,)`, 1 for an exact truth, NaN where the truth has no order.

    Source: Spearman (1910) and Brown (1910) on split halves.
    """
    values, mask = _array(truth.values), real_players(truth)
    if truth.exact or truth.std_errors is None:
        return np.where(np.isnan(_rank_correlation(values, values, mask)), np.nan, 1.0)
    if "halves" in truth.diagnostics:
        halves = _array(truth.diagnostics["halves"])
        r = np.clip(_rank_correlation(halves[:, 0], halves[:, 1], mask), 0.0, 1.0)
        return np.sqrt(2 * r / (1 + r))
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((draws, *values.shape)) * np.sqrt(_variance(truth))
    again = [_rank_correlation(values, values + one, mask) for one in noise]
    return np.clip(np.mean(again, axis=0), 0.0, 1.0)


def top_k(
    explanation: Explanation, truth: Explanation, *, k: int = 3, confidence: float = 0.95
) -> np.ndarray:
    """Share of the explanation's k largest players that the truth does not contradict.

    Players count by magnitude. The truth ranks one above another only where it is sure: their gap
    exceeds the sum of their half-widths at a level shared among all pairs, which is safe whatever
    the correlation of their errors. All else counts as a tie, and either side of a tie is right.

    Args:
        explanation: Values `(b, n, k)`.
        truth: Exact, or with standard errors.
        k: Players that a reader is shown; all of them when there are fewer.
        confidence: Probability that every certified order of an explicand and output is right.

    Returns:
        `(b,)` from 0 to 1, mean over outputs.

    Raises:
        NotComparable: If the two do not stand for the same numbers.
        ValueError: If `k` is not positive.
    """
    check_comparable(explanation, truth)
    if k < 1:
        raise ValueError(f"k={k}; the top k needs at least one player.")
    mask = real_players(truth)
    given = np.where(mask[..., None], np.abs(_array(explanation.values)), -1.0)
    better, worse = _certified_counts(truth, confidence)  # each (b, n, outputs)
    size = np.minimum(k, mask.sum(1))  # (b,)
    place = np.argsort(np.argsort(-given, axis=1, kind="stable"), axis=1)
    chosen = (place < size[:, None, None]) & mask[..., None]
    # certified out: k others surely rank above; certified in: at most k - 1 others may
    out = better >= size[:, None, None]
    rivals = mask.sum(1)[:, None, None] - 1 - worse
    sure = (rivals < size[:, None, None]) & mask[..., None]
    wrong = np.maximum((chosen & out).sum(1), (sure & ~chosen).sum(1))
    return (1 - wrong / size[:, None]).mean(-1)


def certified_above(truth: Explanation, row: int, *, confidence: float = 0.95) -> np.ndarray:
    """Which players of one explicand surely have a larger magnitude than which others.

    Args:
        truth: Exact, or with standard errors.
        row: Position of the explicand.
        confidence: Probability, per output, that all certified orders are right.

    Returns:
        Bool `(n, n, k)`: entry `i, j` is true when player i is certified above player j.
    """
    size = np.abs(_array(truth.values[row]))  # (n, k)
    real = real_players(truth)[row]
    pairs = max(1, real.sum() * (real.sum() - 1) // 2)
    width = stats.norm.ppf(1 - (1 - confidence) / (2 * pairs)) * _doubt(truth, row)
    # rounding, too, is no difference between players
    slack = 1e-12 * size.max(0, initial=0.0)
    gap = size[:, None] - size
    both = (real[:, None] & real)[..., None]
    return (gap > width[:, None] + width + slack) & both


def _certified_counts(truth: Explanation, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """How many players surely rank above, and below, each player `(b, n, k)`.

    Explicand by explicand, since all pairs of all of them would not fit the memory.
    """
    rows = [certified_above(truth, row, confidence=confidence) for row in range(len(truth))]
    return np.stack([row.sum(0) for row in rows]), np.stack([row.sum(1) for row in rows])


def sign_errors(
    explanation: Explanation,
    truth: Explanation,
    *,
    large: float = 0.25,
    confidence: float = 0.95,
) -> np.ndarray:
    """Share of the large values whose sign is wrong.

    Args:
        explanation: Values `(b, n, k)`.
        truth: Exact, or with standard errors; a value whose sign it is not sure of is left out.
        large: Values of at least this share of the largest magnitude of their explicand and
            output count as large.
        confidence: Level at which the truth must be sure of a sign.

    Returns:
        `(b,)` from 0 to 1; NaN for explicands without a large value.

    Raises:
        NotComparable: If the two do not stand for the same numbers.
    """
    check_comparable(explanation, truth)
    values, mask = _array(truth.values), real_players(truth)[..., None]
    size = np.where(mask, np.abs(values), 0.0)
    width = stats.norm.ppf((1 + confidence) / 2) * _doubt(truth)
    counted = (size >= large * size.max(1, keepdims=True)) & (size > width) & mask
    wrong = counted & (np.sign(_array(explanation.values)) != np.sign(values))
    return _ratio(wrong.sum((1, 2)), counted.sum((1, 2)))


def efficiency_gap(explanation: Explanation, ends: tuple[Any, Any]) -> np.ndarray:
    """How far the values are from summing to v(all) - v(none).

    Args:
        explanation: Values `(b, n, k)` of an estimand that is efficient by definition.
        ends: v(none) and v(all) of the game, each `(b, k)`, from the game itself.

    Returns:
        `(b,)`, the largest gap over outputs, relative to max(1, |v(all)|).

    Raises:
        NotComparable: If the estimand does not sum to v(all) - v(none).
    """
    if explanation.estimand not in EFFICIENT:
        raise NotComparable(
            f"estimand {explanation.estimand!r} does not sum to v(all) - v(none), so a gap is no "
            f"fault of {explanation.method!r}. {_fitting(explanation)}"
        )
    empty, grand = (_array(end) for end in ends)
    gap = np.abs(_array(explanation.values).sum(1) - (grand - empty))
    return (gap / np.maximum(1.0, np.abs(grand))).max(-1)


def seed_sensitivity(explanations: Sequence[Explanation]) -> np.ndarray:
    """Standard deviation of the values between runs with different seeds, relative to their size.

    Args:
        explanations: Two or more runs on the same explicands, values `(b, n, k)`.

    Returns:
        `(b,)`: root mean square standard deviation over the root mean square value; 0 where all
        values are 0.

    Raises:
        ValueError: If there are fewer than two runs.
        NotComparable: If the runs do not stand for the same numbers.
    """
    if len(explanations) < 2:
        raise ValueError(
            f"{len(explanations)} run says nothing of seeds; pass two or more (evaluate(..., "
            "repeats=2))."
        )
    first = explanations[0]
    for other in explanations[1:]:
        if other.estimand != first.estimand or other.values.shape != first.values.shape:
            raise NotComparable("runs with other estimands or shapes cannot differ by seed alone.")
    runs = np.stack([_array(one.values) for one in explanations])
    spread = _player_mean(runs.var(0, ddof=1), first)
    size = _player_mean((runs**2).mean(0), first)
    return np.sqrt(_ratio(spread, size, empty=0.0))


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
        np.stack([_array(base), _array(base) + _array(side.values).sum(1)])
        for base, side in zip(bases, (explanation, truth), strict=True)
    ]
    return bool(np.allclose(ends[0], ends[1], rtol=SAME_END, atol=SAME_END))


def _array(values: Any) -> np.ndarray:  # noqa: ANN401 - a tensor of any device, or an array
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _variance(truth: Explanation) -> np.ndarray:
    """Unbiased estimate of the truth's variance: zero where its draws showed no spread."""
    return np.where(_silent(truth), 0.0, _doubt(truth)) ** 2


def _doubt(truth: Explanation, rows: slice | int = slice(None)) -> np.ndarray:
    """Standard errors to be safe by, infinite where unknown."""
    if truth.exact or truth.std_errors is None:
        return np.zeros(_array(truth.values[rows]).shape)
    return _array(truth.std_errors[rows])


def _silent(truth: Explanation) -> np.ndarray:
    """Where a sampled truth saw no spread, which is no certainty that there is none."""
    silent = truth.diagnostics.get("zero_spread")
    if silent is None or truth.exact:
        return np.zeros(truth.shape, dtype=bool)
    return np.broadcast_to(silent.detach().cpu().numpy().astype(bool), truth.shape)


def _known_errors(truth: Explanation) -> np.ndarray:
    return np.isfinite(_doubt(truth))


def _player_mean(values: np.ndarray, explanation: Explanation) -> np.ndarray:
    mask = np.broadcast_to(real_players(explanation)[..., None], values.shape)
    return _ratio(np.where(mask, values, 0.0).sum((1, 2)), mask.sum((1, 2)), empty=0.0)


def _ratio(top: np.ndarray, bottom: np.ndarray, empty: float = np.nan) -> np.ndarray:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.full_like(top, empty), where=bottom > 0)


def _rank_correlation(ours: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Spearman per explicand over real players, mean over the outputs whose truth has an order."""
    hole = ~np.broadcast_to(mask[..., None], truth.shape)
    middle = (mask.sum(1)[:, None, None] + 1) / 2
    ranks = []
    for side in (ours, truth):
        # what differs by rounding only is a tie
        largest = np.abs(side).max(1, keepdims=True, initial=0.0)
        coarse = np.round(np.divide(side, largest, out=np.zeros_like(side), where=largest > 0), 9)
        placed = stats.rankdata(np.where(hole, np.inf, coarse), axis=1)  # padding ranks last
        ranks.append(np.where(hole, 0.0, placed - middle))
    power = [(r**2).sum(1) for r in ranks]
    ordered = power[1] > 0
    rho = _ratio((ranks[0] * ranks[1]).sum(1), np.sqrt(power[0] * power[1]), empty=0.0)
    return _ratio(np.where(ordered, rho, 0.0).sum(1), ordered.sum(1))


def _words(players: Sequence[Any]) -> list[Any]:
    return [p if isinstance(p, str) else tuple(map(str, p)) for p in players]


def _fitting(explanation: Explanation) -> str:
    fit = [m for m in FREE_METRICS if m != "efficiency_gap" or explanation.estimand in EFFICIENT]
    if explanation.estimand == "selection":
        return (
            "A selection is a probability, not an effect. Metrics that fit it, in "
            "bench.selection_metrics: tpr_at_k, auroc, average_precision, fdr, fpr against known "
            f"selections, EvalX and stability without; of this module: {', '.join(fit)}."
        )
    return (
        f"Metrics that fit it without this truth (truth=None): {', '.join(fit)}; "
        f"{', '.join(TRUTH_METRICS)} need a truth of estimand {explanation.estimand!r} of its "
        "own game."
    )
