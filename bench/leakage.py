"""Leakage: what the choice of players says of the label beyond what the players say.

A selector that saw the whole row can write the label into *which* players it shows. EVAL-X (see
`selection_metrics`) tells p(y | x_S) without an accomplice; a probe that is also shown the mask may
then do no better. Its excess AUC is what leaked. Where rows are short, `encoded` asks the same in
nats and of the values that were shown, without a judge.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from bench.intervals import Interval

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FOLDS, RESAMPLES = 5, 500

EXCHANGES, FEWEST = 4, 20
"""Selections of other rows under which each row is seen, and rows that each class needs."""


def leak_excess(
    masks: NDArray[np.bool_],
    log_probs: Floats,
    y: NDArray[np.int64],
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """AUC of a probe on judge and mask, less that of a probe on the judge alone.

    Both are logistic regressions, fitted and scored on different rows; the interval is a paired
    bootstrap over rows.

    Args:
        masks: What was selected, bool `(b, n)`.
        log_probs: log p(y | x_S) of an independent judge, `(b, classes)`.
        y: Labels `(b,)` from 0.
        seed: Of folds and bootstrap.
        confidence: Probability of the interval.

    Returns:
        Excess, low and high; above zero is a leak. NaN where a class has fewer rows than folds.

    Raises:
        ValueError: If the shapes disagree.

    Source: the test of Jethani et al. (2023), "Don't be fooled: label leakage in explanation
    methods", as an area; the judge is EVAL-X, Jethani et al. (2021).
    """
    if masks.ndim != 2 or len(masks) != len(log_probs) or len(y) != len(masks):
        raise ValueError(
            f"masks have shape {masks.shape}, log_probs {log_probs.shape}, y {y.shape}; the first "
            "axes must agree, masks being (b, n)."
        )
    codes = _coded(y, FOLDS)
    if codes is None:
        return Interval(np.nan, np.nan, np.nan)
    judged = log_probs - log_probs.max(1, keepdims=True)
    judged = np.clip(judged, -20.0, 0.0)
    alone = _out_of_fold(judged, codes, seed)
    both = _out_of_fold(np.concatenate([judged, masks.astype(np.float64)], 1), codes, seed)
    value = _auc(both, codes) - _auc(alone, codes)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES):
        rows = rng.integers(0, len(codes), len(codes))
        if len(np.unique(codes[rows])) == codes.max() + 1:
            found.append(_auc(both[rows], codes[rows]) - _auc(alone[rows], codes[rows]))
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(low), float(high))


def encoded(
    x: Floats,
    shown: NDArray[np.bool_],
    selected: NDArray[np.bool_],
    y: NDArray[np.int64],
    *,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Nats that the event of being selected tells of the label beyond the values shown.

    A selection encodes where p(y | x_S, S was selected) is not p(y | x_S). Two boosted trees see
    the shown values and the mask; one learns from the selections as they were made, the other from
    the same rows under selections of other rows, which cannot know their labels. What the first
    predicts better, on rows that neither saw, is encoded. An honest selection whose mask goes with
    the label tells nothing more, where the values that decided it are shown.

    Args:
        x: Rows `(b, d)`, finite.
        shown: The features each selection shows, bool `(b, d)`.
        selected: The selections, bool `(b, n)`.
        y: Labels `(b,)` from 0.
        seed: Of folds and of the exchange.
        confidence: Probability of the interval.

    Returns:
        Nats, low and high; the value is about zero, and may fall below it, where nothing is
        encoded. NaN where a class has fewer than `FEWEST` rows.

    Raises:
        ValueError: If the shapes disagree.

    Source: Puli, Nguyen and Ranganath (2024), the definition of encoding; the estimate is ours.
    """
    if x.ndim != 2 or x.shape != shown.shape or not len(x) == len(selected) == len(y):
        raise ValueError(
            f"x has shape {x.shape}, shown {shown.shape}, selected {selected.shape}, y {y.shape}; "
            "x and shown must both be (b, d), and all need the same rows."
        )
    codes = _coded(y, FEWEST)
    if codes is None:
        return Interval(np.nan, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    first = np.zeros(len(x), dtype=bool)
    for code in range(codes.max() + 1):  # both halves hold every class
        rows = rng.permutation(np.flatnonzero(codes == code))
        first[rows[: len(rows) // 2]] = True
    gain = np.empty(len(x))
    hidden = x.min() - 1.0 - np.ptp(x)  # a value that no shown feature has

    def view(rows: Rows, copies: int) -> tuple[Floats, Rows]:
        """What a probe sees of rows, under their own selections or `copies` of others', and codes."""
        masks = [rng.permutation(rows) for _ in range(copies)] or [rows]
        every, of = np.tile(rows, len(masks)), np.concatenate(masks)
        values = np.where(shown[of], x[every], hidden)
        return np.concatenate([values, selected[of].astype(np.float64)], 1), codes[every]

    for inside in (first, ~first):
        fit, held = rng.permutation(np.flatnonzero(inside)), np.flatnonzero(~inside)
        stop, learn = fit[: len(fit) // 5], fit[len(fit) // 5 :]
        ask, answers = view(held, 0)
        told, untold = (
            _boosted(view(learn, copies), view(stop, copies), ask) for copies in (0, EXCHANGES)
        )
        gain[held] = (told - untold)[np.arange(len(held)), answers]
    half = stats.norm.ppf((1 + confidence) / 2) * gain.std() / np.sqrt(len(gain))
    return Interval(float(gain.mean()), float(gain.mean() - half), float(gain.mean() + half))


def _coded(y: NDArray[np.int64], fewest: int) -> Rows | None:
    """Labels as 0 to classes - 1; None where there is one class, or one of fewer rows than needed."""
    codes = np.unique(y, return_inverse=True)[1]
    counts = np.bincount(codes)
    return codes if len(counts) > 1 and counts.min() >= fewest else None


def _boosted(learn: tuple[Floats, Rows], stop: tuple[Floats, Rows], ask: Floats) -> Floats:
    """Log-probabilities `(b, classes)` of boosted trees, none below one in a thousand."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    settings: dict[str, Any] = {"max_iter": 150, "max_leaf_nodes": 15, "early_stopping": True}
    trees = HistGradientBoostingClassifier(random_state=0, **settings)
    with threadpool_limits(1, "openmp"):  # on so few rows threads wait for each other
        trees.fit(*learn, X_val=stop[0], y_val=stop[1])
        return np.log(trees.predict_proba(ask).clip(1e-3))


def _out_of_fold(features: Floats, codes: NDArray[np.int64], seed: int) -> Floats:
    """Class probabilities `(b, classes)`, each row's by a probe that never saw it."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.zeros((len(codes), codes.max() + 1))
    for fit, held in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(
        features, codes
    ):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        probe.fit(features[fit], codes[fit])
        found[held] = probe.predict_proba(features[held])
    return found


def _auc(probabilities: Floats, codes: NDArray[np.int64]) -> float:
    """Mean over classes of one class against the others, ties counting half."""
    areas = []
    for label in range(probabilities.shape[1]):
        inside = codes == label
        ones, zeros = inside.sum(), (~inside).sum()
        above = stats.rankdata(probabilities[:, label])[inside].sum() - ones * (ones + 1) / 2
        areas.append(above / (ones * zeros))
    return float(np.mean(areas))
