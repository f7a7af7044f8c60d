"""Ratio games: 1 / D as a short sum of exponentials, so that softmax weights become product games.

1 / D = integral of exp(-t D) over t > 0. With t = exp(x - exp(-x)) the trapezoidal rule converges so
fast that tens of nodes serve all D of a range; each exponential of a sum is a product.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _nodes(octaves: int, tolerance: float) -> tuple[np.ndarray, np.ndarray, float]:
    largest = 2.0**octaves
    denominators = np.exp(np.linspace(0, math.log(largest), 600))
    low = -math.log(math.log(4 * largest / tolerance))
    goal = high = math.log(math.log(4 / tolerance))
    for _ in range(60):  # solves high - exp(-high) = goal
        high = goal + math.exp(-high)
    error = math.inf
    rates, weights = np.zeros(0), np.zeros(0)
    for m in range(8, 512):
        x = np.linspace(low, high, m)
        rates = np.exp(x - np.exp(-x))
        weights = (x[1] - x[0]) * (1 + np.exp(-x)) * rates
        sums = np.exp(-denominators[:, None] * rates) @ weights
        error = float(np.abs(denominators * sums - 1).max())
        if error <= tolerance:
            break
    return rates, weights, error


def reciprocal(largest: float, tolerance: float, like: Tensor) -> tuple[Tensor, Tensor, float]:
    """Rates and weights with 1 / D = sum of weight * exp(-rate * D) for D from 1 to `largest`.

    Args:
        largest: Largest D, at least 1.
        tolerance: Relative error to stay below; what the dtype of `like` rounds is added.
        like: Gives dtype and device.

    Returns:
        Rates `(q,)`, weights `(q,)`, and the relative error as measured on a dense grid of D.

    Raises:
        ValueError: If `largest` is below 1 or the tolerance is not between 0 and 1.

    Source: Beylkin and Monzon (2010), with a double-exponential change of variable.
    """
    if not (math.isfinite(largest) and largest >= 1):
        raise ValueError(f"largest is {largest}; denominators start at 1 and are finite.")
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance is {tolerance}; it must be between 0 and 1.")
    tolerance = max(tolerance, 4 * torch.finfo(like.dtype).eps)
    rates, weights, error = _nodes(max(1, math.ceil(math.log2(largest))), tolerance)
    return like.new_tensor(rates), like.new_tensor(weights), error
