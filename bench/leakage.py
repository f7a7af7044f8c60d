"""Leakage: what the choice of players says of the label beyond what the players say.

A selector that saw the whole row can write the label into *which* players it shows. EVAL-X (see
`selection_metrics`) tells p(y | x_S) without an accomplice; a probe that is also shown the mask may
then do no better. Its excess AUC is what leaked.
"""

import numpy as np
from numpy.typing import NDArray

from bench.intervals import Interval

Floats = NDArray[np.float64]

FOLDS, RESAMPLES = 5, 500


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
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2 or np.bincount(codes).min() < FOLDS:
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
        if len(np.unique(codes[rows])) == len(classes):
            found.append(_auc(both[rows], codes[rows]) - _auc(alone[rows], codes[rows]))
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(value), float(low), float(high))


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
    from scipy.stats import rankdata

    areas = []
    for label in range(probabilities.shape[1]):
        inside = codes == label
        ones, zeros = inside.sum(), (~inside).sum()
        above = rankdata(probabilities[:, label])[inside].sum() - ones * (ones + 1) / 2
        areas.append(above / (ones * zeros))
    return float(np.mean(areas))
