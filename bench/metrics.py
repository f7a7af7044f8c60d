"""Metrics: pure functions of explanations, one number per explicand.

A metric that compares with a truth refuses an explanation of another estimand or of another game,
and says which metrics fit. Where the truth was sampled its own noise is taken off (squared error),
stated as a ceiling (rank agreement) or counted as ties (top k, signs). That is only right when
truth and contender drew their coalitions independently, which `bench.truth` sees to.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from baselines.explanation import Explanation
from bench.comparable import EFFICIENT, NotComparable, check_comparable, fitting, real_players
from bench.truth_noise import as_array, doubt, variance


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
    gap = as_array(explanation.values) - as_array(truth.values)
    return _player_mean(gap**2 - variance(truth), truth)


def squared_scale(truth: Explanation) -> np.ndarray:
    """Mean squared Shapley value, less the truth's own variance: what errors are relative to.

    Args:
        truth: Values `(b, n, k)`.

    Returns:
        `(b,)`, mean over real players and outputs.
    """
    return _player_mean(as_array(truth.values) ** 2 - variance(truth), truth)


def noise_floor(truth: Explanation) -> np.ndarray:
    """Mean variance of the truth itself: squared errors far below it cannot be told apart.

    Args:
        truth: Values `(b, n, k)` with standard errors, or exact.

    Returns:
        `(b,)`, zero for an exact truth.
    """
    return _player_mean(variance(truth), truth)


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
    return _rank_correlation(
        as_array(explanation.values), as_array(truth.values), real_players(truth)
    )


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
    values, mask = as_array(truth.values), real_players(truth)
    if truth.exact or truth.std_errors is None:
        return np.where(np.isnan(_rank_correlation(values, values, mask)), np.nan, 1.0)
    if "halves" in truth.diagnostics:
        halves = as_array(truth.diagnostics["halves"])
        r = np.clip(_rank_correlation(halves[:, 0], halves[:, 1], mask), 0.0, 1.0)
        return np.sqrt(2 * r / (1 + r))
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((draws, *values.shape)) * np.sqrt(variance(truth))
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
    given = np.where(mask[..., None], np.abs(as_array(explanation.values)), -1.0)
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
    size = np.abs(as_array(truth.values[row]))  # (n, k)
    real = real_players(truth)[row]
    pairs = max(1, real.sum() * (real.sum() - 1) // 2)
    width = stats.norm.ppf(1 - (1 - confidence) / (2 * pairs)) * doubt(truth, row)
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
    values, mask = as_array(truth.values), real_players(truth)[..., None]
    size = np.where(mask, np.abs(values), 0.0)
    width = stats.norm.ppf((1 + confidence) / 2) * doubt(truth)
    counted = (size >= large * size.max(1, keepdims=True)) & (size > width) & mask
    wrong = counted & (np.sign(as_array(explanation.values)) != np.sign(values))
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
            f"fault of {explanation.method!r}. {fitting(explanation)}"
        )
    empty, grand = (as_array(end) for end in ends)
    gap = np.abs(as_array(explanation.values).sum(1) - (grand - empty))
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
    runs = np.stack([as_array(one.values) for one in explanations])
    spread = _player_mean(runs.var(0, ddof=1), first)
    size = _player_mean((runs**2).mean(0), first)
    return np.sqrt(_ratio(spread, size, empty=0.0))


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
