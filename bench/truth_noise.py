"""How sure a truth is of each number: its noise, where it was sampled."""

from typing import Any

import numpy as np
import torch

from baselines.explanation import Explanation


def as_array(values: Any) -> np.ndarray:  # noqa: ANN401 - a tensor of any device, or an array
    """Numbers in float64."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def variance(truth: Explanation) -> np.ndarray:
    """Unbiased estimate of the truth's variance: zero where its draws showed no spread."""
    return np.where(silent(truth), 0.0, doubt(truth)) ** 2


def doubt(truth: Explanation, rows: slice | int = slice(None)) -> np.ndarray:
    """Standard errors to be safe by, infinite where unknown."""
    if truth.exact or truth.std_errors is None:
        return np.zeros(as_array(truth.values[rows]).shape)
    return as_array(truth.std_errors[rows])


def silent(truth: Explanation) -> np.ndarray:
    """Where a sampled truth saw no spread, which is no certainty that there is none."""
    flagged = truth.diagnostics.get("zero_spread")
    if flagged is None or truth.exact:
        return np.zeros(truth.shape, dtype=bool)
    return np.broadcast_to(flagged.detach().cpu().numpy().astype(bool), truth.shape)


def known_errors(truth: Explanation) -> np.ndarray:
    """Where the standard errors are finite."""
    return np.isfinite(doubt(truth))
