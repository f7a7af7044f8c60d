"""Sensitivity: how far an explanation moves when its explicand moves a little."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import stream
from baselines.explanation import Explanation
from bench.comparable import NotComparable


def max_sensitivity(
    explainer: Any,  # noqa: ANN401 - an Explainer
    x: Any,  # noqa: ANN401 - rows of any container
    *,
    radius: float = 0.02,
    draws: int = 8,
    seed: int = 0,
    words: Callable[[], dict[str, Any]] = dict,
) -> np.ndarray:
    """Largest relative change of the values among neighbours of each explicand.

    Neighbours differ by uniform noise of at most `radius` standard deviations in every number;
    words, whole-number columns and missing cells stay as they are. A sampling explainer should be
    given the same draws each time (`words`), so that its own noise is no sensitivity.

    Args:
        explainer: Has `explain(x)`.
        x: Tensor, array or frame of `b` rows.
        radius: Reach of the noise, in standard deviations of a column.
        draws: Neighbours of each explicand.
        seed: Key of the noise.
        words: Function of nothing to keyword arguments of `explain`, made anew for each call.

    Returns:
        `(b,)`, ||e(x') - e(x)|| / ||e(x)|| at the worst neighbour; 0 where all values are zero.

    Raises:
        TypeError: If the rows hold no numbers that could be moved.
        ValueError: If `draws` is not positive.
        NotComparable: If a neighbour's explanation has another shape.

    Source: Yeh et al. (2019), definition 3.1, by Monte Carlo as they do.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}; sensitivity needs at least one neighbour.")
    first: Explanation = explainer.explain(x, **words())
    values = first.values.detach().cpu().double()
    size = values.flatten(1).norm(dim=1)
    worst = torch.zeros(len(values), dtype=torch.float64)
    for draw in range(draws):
        moved: Explanation = explainer.explain(neighbours(x, radius, seed, draw), **words())
        if moved.values.shape != first.values.shape:
            raise NotComparable(
                f"values have shape {tuple(first.values.shape)} at x and "
                f"{tuple(moved.values.shape)} beside it; sensitivity needs the same players."
            )
        gap = (moved.values.detach().cpu().double() - values).flatten(1).norm(dim=1)
        worst = torch.maximum(worst, gap)
    return torch.where(size > 0, worst / size, torch.where(worst > 0, torch.inf, 0.0)).numpy()


def neighbours(x: Any, radius: float, seed: int, draw: int) -> Any:  # noqa: ANN401
    """The rows with uniform noise on their numbers, in the container they came in.

    Args:
        x: Tensor, array or frame of `b` rows.
        radius: Reach of the noise in standard deviations of a column, over the rows.
        seed: Key of the noise.
        draw: Which neighbours.

    Raises:
        TypeError: If there are no numbers to move.
    """
    rng = stream(seed, draw, purpose=61)
    if hasattr(x, "columns"):
        numeric = [name for name in x.columns if x[name].dtype.kind == "f"]
        if not numeric:
            raise TypeError("x has no column of real numbers; sensitivity moves numbers.")
        moved = x.copy()
        moved[numeric] = _noisy(x[numeric].to_numpy(dtype=np.float64), radius, rng)
        return moved
    if isinstance(x, Tensor):
        if not x.is_floating_point():
            raise TypeError(f"x is a tensor of {x.dtype}; sensitivity moves real numbers.")
        noise = _noisy(x.detach().cpu().double().numpy(), radius, rng)
        return torch.from_numpy(noise).to(x)
    if isinstance(x, np.ndarray) and x.dtype.kind == "f":
        return _noisy(x, radius, rng).astype(x.dtype)
    raise TypeError(f"x is a {type(x).__name__}; sensitivity moves rows of real numbers.")


def _noisy(rows: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    spread = np.nan_to_num(np.nanstd(rows, axis=0, keepdims=True))
    return rows + radius * spread * rng.uniform(-1, 1, rows.shape)
