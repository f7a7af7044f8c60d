"""Intervals: bootstrap over explicands, and over runs where there are several."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2_000
"""Bootstrap resamples; drawn from a fixed key, so that a table is the same bits every time."""


CELLS = 2**22
"""Most resampled scores held at once."""


class Interval(NamedTuple):
    """A number and how sure it is."""

    value: float
    low: float
    high: float


def mean_interval(
    scores: np.ndarray,
    *,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Mean over explicands and runs with its bootstrap interval.

    Args:
        scores: `(s, b)`, runs by explicands; explicands that are NaN in any run are left out.
        bounds: Least and largest possible score. Where all scores are equal a bootstrap has no
            width; with bounds the interval then is what so many equal scores allow.
        confidence: Probability of the interval.

    Returns:
        Mean, low and high. NaN bounds mean unknown: fewer than two explicands.

    Source: BCa, Efron (1987); runs and explicands resampled independently, Owen (2007).
    """
    return ratio_interval(scores, None, bounds=bounds, confidence=confidence)


def ratio_interval(
    scores: np.ndarray,
    scale: np.ndarray | None,
    *,
    bounds: tuple[float, float] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Mean score over mean scale with its bootstrap interval.

    Args:
        scores: `(s, b)`.
        scale: `(b,)`, or None for a plain mean.
        bounds: As for `mean_interval`.
        confidence: Probability of the interval.

    Returns:
        Ratio, low and high; NaN where the mean scale is not positive.
    """
    kept = ~np.isnan(scores).any(0)
    scores = scores[:, kept]
    scale = np.ones(scores.shape[1]) if scale is None else scale[kept]
    s, b = scores.shape
    if b == 0 or scale.mean() <= 0:
        return Interval(np.nan, np.nan, np.nan)

    unit = float(np.abs(scores).max()) or 1.0  # cubes of 1e-30 would be zero in the bootstrap
    scores = scores / unit

    def ratio(rows: np.ndarray, runs: np.ndarray | None = None, axis: int = -1) -> np.ndarray:
        rows = rows.astype(int)
        if runs is None:
            top = scores.mean(0)[rows].mean(axis)
        else:
            top = scores[runs.astype(int)[..., :, None], rows[..., None, :]].mean((-2, -1))
        return top / scale[rows].mean(axis)

    value = float(unit * scores.mean() / scale.mean())
    if b < 2:
        return Interval(value, np.nan, np.nan)
    if np.ptp(scores) == 0 and np.ptp(scale) == 0:
        return _alike(value, b, bounds, confidence)
    samples = (np.arange(b),) if s == 1 else (np.arange(b), np.arange(s))
    low, high = _bootstrap(samples, ratio, "BCa" if s == 1 else "percentile", confidence)
    return Interval(value, unit * low, unit * high)


def _bootstrap(
    samples: tuple[np.ndarray, ...],
    statistic: Callable[..., np.ndarray],
    method: str,
    confidence: float,
) -> tuple[float, float]:
    with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # answered below
        found = stats.bootstrap(
            samples,
            statistic,
            n_resamples=RESAMPLES,
            vectorized=True,
            batch=max(1, CELLS // max(map(len, samples))),
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(0),
        ).confidence_interval
    if method == "BCa" and not np.isfinite([found.low, found.high]).all():
        return _bootstrap(samples, statistic, "percentile", confidence)
    return float(found.low), float(found.high)


def _alike(
    value: float, b: int, bounds: tuple[float, float] | None, confidence: float
) -> Interval:
    """If all of b scores sit on a bound, the mean is within so much of it (exact binomial)."""
    if bounds is None:
        return Interval(value, value, value)
    reach = (bounds[1] - bounds[0]) * (1 - ((1 - confidence) / 2) ** (1 / b))
    return Interval(value, max(bounds[0], value - reach), min(bounds[1], value + reach))
