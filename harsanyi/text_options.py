"""What people pass to text nets, checked: options of training, seeds, and who is present."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def check_options(width: int, batch_size: int, dropout: float, coalition_weight: float) -> None:
    """Check the options that no other file does.

    Raises:
        TypeError: If a count is no integer.
        ValueError: If one is out of range.
    """
    for name, count in (("width", width), ("batch_size", batch_size)):
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            raise TypeError(f"{name}={count!r}; pass an integer.")
        if count < 1:
            raise ValueError(f"{name}={count}; it must be at least 1.")
    for name, share in (("dropout", dropout), ("coalition_weight", coalition_weight)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share!r}; it is a share, from 0 to 1.")


def presence(present: Any, real: Tensor, players: Sequence[Sequence[str]]) -> Tensor:  # noqa: ANN401
    """Flags as a bool tensor over the padded players.

    Args:
        present: Bool tensor `(b, n)`, or one list of flags for each text; None means everybody.
        real: Bool `(b, n)`, false for padding.
        players: Names of each text's players.

    Returns:
        Bool `(b, n)`, false for padding.

    Raises:
        TypeError: If flags are neither booleans nor 0 and 1.
        ValueError: If they do not fit the texts.
    """
    if present is None:
        return real
    if not isinstance(present, Tensor):
        if len(present) != len(real):
            raise ValueError(f"present has {len(present)} rows; there are {len(real)} texts.")
        mask = torch.zeros_like(real)
        for place, row in enumerate(present):
            flags = flags_of(row, place)
            if flags.ndim != 1 or len(flags) not in (len(players[place]), real.shape[1]):
                raise ValueError(
                    f"present[{place}] has shape {tuple(flags.shape)}; the text has "
                    f"{len(players[place])} players, {list(players[place])[:8]}."
                )
            mask[place, : len(flags)] = flags
        return mask & real
    if present.dtype != torch.bool:
        raise TypeError(f"present is {present.dtype}; pass a bool mask, true = present.")
    if present.shape not in (real.shape, real.shape[1:], (1, real.shape[1])):
        raise ValueError(
            f"present has shape {tuple(present.shape)}; the texts need {tuple(real.shape)}."
        )
    return present.to(real.device) & real


def flags_of(row: Any, place: int) -> Tensor:  # noqa: ANN401
    """One row of `present` as a bool tensor.

    Args:
        row: Booleans, or 0 and 1.
        place: Its number, for the message.

    Raises:
        TypeError: If there is anything else in it.
    """
    flags = np.asarray(row)
    numbers_too = flags.dtype.kind in "iu" and bool(np.isin(flags, (0, 1)).all())
    if flags.size and flags.dtype != bool and not numbers_too:
        raise TypeError(f"present[{place}] is {row!r:.60}; pass flags True and False.")
    return torch.from_numpy(flags.astype(bool))


def check_finite(numbers_: Tensor) -> Tensor:
    """Targets of a regression, if they are finite.

    Raises:
        ValueError: If one is NaN or infinite.
    """
    bad = [place for place, y in enumerate(numbers_.flatten().tolist()) if not math.isfinite(y)]
    if bad:
        raise ValueError(f"labels[{bad[0]}] is NaN or infinite; drop these rows.")
    return numbers_
