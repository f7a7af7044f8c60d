"""What a bar chart shows of an Explanation: the right row and output, the largest players, labels."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from baselines.canvas import clean, number
from baselines.explanation import Explanation


@dataclasses.dataclass(frozen=True)
class Bars:
    """The rows of a bar chart, largest first, the last one summing what was left out."""

    row: int
    output: int
    labels: list[str]
    values: np.ndarray
    half_widths: np.ndarray | None


def largest_bars(
    explanation: Explanation,
    row: int,
    output: int | str | None,
    max_players: int,
    shown: Sequence[str] | None,
) -> Bars:
    """The `max_players` largest values of one explicand, and the sum of the others."""
    row = row_position(explanation, row)
    position = output_of_row(explanation, row, output)
    names, values, errors = real_players(explanation, row, position)
    words = _shown(explanation, row, shown)
    order = np.argsort(-np.abs(values), kind="stable")  # ties keep the players' order
    kept, rest = order[: at_least_one(max_players)], order[max_players:]
    if len(rest) == 1:  # one bar for one player says more than "1 other"
        kept, rest = order, order[:0]
    labels = [label(names[i], words[i] if words else None) for i in kept]
    drawn = values[kept]
    if len(rest):
        labels.append(f"{len(rest)} others")
        drawn = np.append(drawn, values[rest].sum())
    half_widths = None
    if errors is not None:
        half_widths = 1.96 * errors[kept]
        if len(rest):  # the error of a sum is not known from those of its terms
            half_widths = np.append(half_widths, np.nan)
    return Bars(row, position, labels, drawn, half_widths)


def row_position(explanation: Explanation, row: int) -> int:
    """A row from 0 to `b - 1`, or a ValueError."""
    if not -len(explanation) <= row < len(explanation):
        raise ValueError(f"row={row} is out of range; there are {len(explanation)} explicands.")
    return row % len(explanation)


def at_least_one(max_players: int) -> int:
    """The number of players to draw, or a ValueError."""
    if max_players < 1:
        raise ValueError(f"max_players={max_players}; draw at least 1.")
    return max_players


def output_of_row(explanation: Explanation, row: int, output: int | str | None) -> int:
    """The output asked for, else the last of one or two, else the largest for this explicand."""
    if output is not None:
        return explanation.output_position(output)
    if explanation.shape[2] <= 2:
        return explanation.shape[2] - 1
    total = explanation.values[row].sum(0)
    if explanation.base_values is not None:
        total = total + explanation.base_values[row]
    return int(total.argmax())


def output_of_all(explanation: Explanation, output: int | str | None, values: np.ndarray) -> int:
    """The output asked for, else the last of one or two, else the one that moves most."""
    if output is not None:
        return explanation.output_position(output)
    if explanation.shape[2] <= 2:
        return explanation.shape[2] - 1
    return int(np.abs(values).mean((0, 1)).argmax())


def real_players(
    explanation: Explanation, row: int, output: int
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Names, values and standard errors of the players of one row, padding left out."""
    values = as_numpy(explanation.values[row, :, output])
    errors = explanation.std_errors
    errors = None if errors is None else as_numpy(errors[row, :, output])
    names = list(explanation.player_names(row))
    if explanation.player_mask is not None:
        real = explanation.player_mask[row].cpu().numpy()
        values = values[real]
        errors = None if errors is None else errors[real]
        names = (
            names
            if len(names) == len(values)
            else [name for name, keep in zip(names, real, strict=False) if keep]
        )
    elif explanation.is_ragged:
        values = values[: len(names)]
        errors = None if errors is None else errors[: len(names)]
    return names, values, errors


def tabular_data(explanation: Explanation) -> np.ndarray | None:
    """The data `(b, n)` where each player has one number, else None."""
    data = explanation.data
    if data is None or tuple(data.shape) != explanation.shape[:2] or explanation.is_ragged:
        return None
    return as_numpy(data)


def _shown(explanation: Explanation, row: int, shown: Sequence[str] | None) -> list[str] | None:
    n = explanation.shape[1]
    if shown is not None:
        if len(shown) != n:
            raise ValueError(f"shown has {len(shown)} feature values; there are {n} players.")
        mask = explanation.player_mask
        real = [True] * n if mask is None else mask[row].tolist()
        return [str(value) for value, keep in zip(shown, real, strict=True) if keep]
    data = tabular_data(explanation)
    if data is None or explanation.player_mask is not None:
        return None
    kinds = explanation.categories or [()] * n
    return [_in_words(value, labels) for value, labels in zip(data[row], kinds, strict=True)]


def _in_words(value: float, labels: Sequence[str]) -> str:
    """A cell of `data` as a reader knows it: a category's label, a number, or that it is missing."""
    if np.isnan(value):
        return "missing"
    if not labels:
        return number(value)
    return labels[int(value)] if 0 <= value < len(labels) else "unknown"


def ordered_data(explanation: Explanation) -> np.ndarray | None:
    """The data `(b, n)` with NaN for categories, whose codes have no order; None without data."""
    data = tabular_data(explanation)
    if data is None or explanation.categories is None:
        return data
    unordered = np.array([len(labels) > 0 for labels in explanation.categories])
    return np.where(unordered, np.nan, data)


def as_numpy(tensor: Any) -> np.ndarray:  # noqa: ANN401 - a tensor on any device
    """Float64 on the CPU."""
    return tensor.detach().double().cpu().numpy()


def label(name: str, value: str | None = None) -> str:
    """The name of a bar, its feature value beside it where there is one."""
    return clean(name) if value is None else f"{clean(name, 26)} = {clean(value, 16)}"
