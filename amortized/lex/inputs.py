"""Rows and labels as LEX takes them: checked once, at the door."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_rows(
    x: Any,  # noqa: ANN401 - an array, a data frame or a tensor
    name: str,
    like: Tensor,
    features: Sequence[int] | None = None,
) -> Tensor:
    """Explicands as a float tensor, once they are sure to be finite.

    Args:
        x: `(b, *features)`: an array, a data frame or a tensor.
        name: What to call it in an error.
        like: Tensor whose dtype and device the rows take.
        features: The shape that the model's rows have; None takes any.

    Returns:
        `(b, *features)`.

    Raises:
        TypeError: If it holds no numbers.
        ValueError: If it has fewer than two axes or other features than the model's, or an entry
            is not finite.
    """
    given = getattr(x, "to_numpy", lambda: x)()
    try:
        if isinstance(given, np.ndarray) and not given.flags.writeable:
            given = given.copy()  # torch has no read-only tensors
        tensor = torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} is no array of numbers ({error}).") from error
    if tensor.ndim < 2:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; it needs (b, *features).")
    if features is not None and tensor.shape[1:] != torch.Size(features):
        axes = ", ".join(map(str, ("b", *features)))
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}; this model takes ({axes}).")
    tensor = tensor.to(device=like.device, dtype=like.dtype)
    if not torch.isfinite(tensor).all():
        bad = (~torch.isfinite(tensor)).flatten(1).any(-1).nonzero().flatten().tolist()
        raise ValueError(
            f"{name} holds NaN or infinity in rows {bad[:5]}; LEX needs complete rows. Fill them "
            "in first, for instance with a mean and an indicator column."
        )
    return tensor


def as_answers(y: Any, like: Tensor) -> Tensor:  # noqa: ANN401 - array, series or tensor
    """Real answers `(b,)` of a regression.

    Raises:
        ValueError: If one is not finite.
    """
    given = getattr(y, "to_numpy", lambda: y)()
    answers = torch.as_tensor(given, dtype=like.dtype, device=like.device).reshape(-1)
    if not torch.isfinite(answers).all():
        raise ValueError("y holds NaN or infinity; a regression needs finite answers.")
    return answers


def as_labels(y: Any, classes: Sequence[Any] | None, like: Tensor) -> Tensor:  # noqa: ANN401
    """Class positions, or soft labels.

    Args:
        y: Classes `(b,)`, or rows of probabilities `(b, c)`.
        classes: Class labels in the order of the outputs.
        like: Tensor whose device and, for soft labels, dtype the answer takes.

    Returns:
        Int64 `(b,)`, or float `(b, c)` whose rows sum to 1.

    Raises:
        ValueError: If a class is unknown, or a row is no distribution.
    """
    given = getattr(y, "to_numpy", lambda: y)()
    if getattr(given, "ndim", 1) == 2:
        soft = torch.as_tensor(given, dtype=like.dtype, device=like.device)
        total = soft.sum(-1)
        if not torch.isfinite(soft).all() or soft.min() < 0 or (total - 1).abs().max() > 1e-3:
            raise ValueError("y has two axes, so it needs rows of probabilities that sum to 1.")
        return soft / total[:, None]
    if classes is None:
        raise ValueError("this LEX has no classes yet; call fit, or pass classes=.")
    position = {plain(label): index for index, label in enumerate(classes)}
    labels = [plain(label) for label in (given.tolist() if hasattr(given, "tolist") else given)]
    unknown = sorted({str(label) for label in labels if label not in position})
    if unknown:
        raise ValueError(f"y holds classes that were not fitted: {unknown[:5]}.")
    return torch.tensor([position[label] for label in labels], device=like.device)


def plain(label: Any) -> Any:  # noqa: ANN401 - numpy scalars become Python's
    """A label as a plain Python value, which JSON can hold."""
    return label.item() if hasattr(label, "item") else label
