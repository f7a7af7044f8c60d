"""Arguments that are refused by name rather than by what they break later."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import torch
from torch import Tensor


def is_a(given: object, *kinds: type) -> bool:
    """Whether an argument is what its type says: callers need not run a type checker.

    Args:
        given: What the caller passed.
        kinds: Classes, one of which it must be of.
    """
    return isinstance(given, kinds)


def whole(given: Any, name: str, what: str = "a whole number") -> int:  # noqa: ANN401
    """A count as an int; `200.0` counts, a bool does not.

    Args:
        given: What the caller passed.
        name: Of the argument, for the message.
        what: What it should be.

    Raises:
        TypeError: If it is no whole number.
    """
    try:
        if not isinstance(given, bool | str) and int(given) == given:
            return int(given)
    except (TypeError, ValueError, OverflowError):  # None, NaN, infinity
        pass
    raise TypeError(f"{name}={given!r}; pass {what}.")


def real(given: Any, name: str) -> float:  # noqa: ANN401
    """A finite number as a float; neither words nor flags are numbers.

    Args:
        given: What the caller passed.
        name: Of the argument, for the message.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is NaN or infinite.
    """
    if isinstance(given, bool | str | bytes) or not hasattr(given, "__float__"):
        raise TypeError(f"{name}={given!r}; pass a number.")
    number = float(given)
    if not isfinite(number):
        raise ValueError(f"{name}={number}; pass a finite number.")
    return number


def as_tensor(given: Any, name: str, dtype: torch.dtype | None = None) -> Tensor:  # noqa: ANN401
    """Numbers, an array or a tensor as a tensor.

    Args:
        given: What the caller passed.
        name: Of the argument, for the message.
        dtype: To convert to, or None to keep its own.

    Raises:
        TypeError: If it is nothing of the kind.
    """
    try:
        return torch.as_tensor(given, dtype=dtype)
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(
            f"{name} is a {type(given).__name__}; pass a number, an array or a tensor of numbers."
        ) from error


def refuse_misfit(model: object, x: Tensor, name: str = "x") -> None:
    """Say that a model's weights are of another kind than its rows; asked once a call has failed.

    Args:
        model: What was called; anything but an nn.Module is let pass.
        x: What it was called with.
        name: Of the argument, for the message.

    Raises:
        TypeError: If dtypes differ.
        ValueError: If devices differ.
    """
    if not is_a(model, torch.nn.Module):
        return
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)  # pyright: ignore[reportAttributeAccessIssue]
    if weight is None:
        return
    if weight.device != x.device:
        raise ValueError(
            f"{name} is on {x.device}, the model on {weight.device}; move one of them, such as "
            f"{name}.to({str(weight.device)!r})."
        )
    if weight.dtype != x.dtype:
        raise TypeError(
            f"{name} is {x.dtype}, the model's weights are {weight.dtype}; convert one of them, "
            f"such as {name}.to({weight.dtype})."
        )


def check_game(game: Any) -> None:  # noqa: ANN401
    """Refuse what cannot be played.

    Raises:
        TypeError: If it lacks what every game has.
    """
    if not callable(game) or not hasattr(game, "n_players") or not hasattr(game, "n_explicands"):
        raise TypeError(
            f"game is a {type(game).__name__}; pass a game, such as MaskedGame(model, x, imputer), "
            "or wrap a function of coalitions with CallableGame, or a shapiq game with from_shapiq."
        )


def positions(rows: slice | Sequence[int] | Tensor, size: int) -> Tensor:
    """Which of `size` rows a slice, positions or a bool mask names.

    Args:
        rows: What the caller passed.
        size: How many rows there are.

    Returns:
        Int64 positions.

    Raises:
        TypeError: If they are nothing of the kind.
        ValueError: If one is out of range, or a mask has another length.
    """
    if isinstance(rows, slice):
        return torch.arange(size)[rows]
    index = as_tensor(rows, "rows").cpu().reshape(-1)
    if index.numel() == 0:
        index = index.long()
    if index.dtype == torch.bool:
        if len(index) != size:
            raise ValueError(f"rows are a mask of {len(index)}; there are {size} rows.")
        return index.nonzero().flatten()
    if index.is_floating_point() or index.is_complex():
        raise TypeError(f"rows are {index.dtype}; pass positions or a bool mask.")
    if index.numel() and not -size <= int(index.min()) <= int(index.max()) < size:
        raise ValueError(
            f"rows hold {index.tolist()[:10]}; there are {size} rows, 0 to {size - 1}."
        )
    return index.long() % max(1, size)
