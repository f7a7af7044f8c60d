"""The forms in which captum's users hand over inputs, targets and masks, and take back scores.

Every explainer of this package answers `attribute(inputs, target=...)` with tensors like the
inputs, so that a captum user changes one import; `explain(x)` is the same answer for all outputs.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from einops import rearrange
from torch import Tensor

Inputs = Tensor | tuple[Tensor, ...]
Target = int | Sequence[int] | Tensor | None


def as_tuple(inputs: Inputs, name: str = "inputs") -> tuple[Tensor, ...]:
    """One or several input tensors as a tuple, once they are sure to be explicands.

    Args:
        inputs: `(b, *features)`, or a tuple of such tensors with the same `b`.
        name: What the caller calls them.

    Returns:
        A tuple of tensors.

    Raises:
        TypeError: If they are no floating-point tensors.
        ValueError: If one has no rows or features or is not finite, or their rows differ.
    """
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    for part in parts:
        if not isinstance(part, Tensor) or not part.is_floating_point():
            received = getattr(part, "dtype", type(part).__name__)
            raise TypeError(f"{name} holds {received}; floating-point tensors are needed.")
        if part.ndim < 2 or part.numel() == 0 or len(part) != len(parts[0]):
            raise ValueError(
                f"{name} has shape {tuple(part.shape)}; (b, *features) with at least one explicand "
                "and one feature is needed, and the same b for all inputs."
            )
        if not bool(torch.isfinite(part).all()):
            raise ValueError(f"{name} holds NaN or infinity; this explainer needs finite rows.")
    # what inference mode made can enter no graph
    return tuple(part.clone() if part.is_inference() else part for part in parts)


def flatten(parts: Sequence[Tensor]) -> Tensor:
    """Several tensors `(b, *features, ...)` side by side as `(b, n)`."""
    return torch.cat([rearrange(part, "b ... -> b (...)") for part in parts], -1)


def unflatten(rows: Tensor, like: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Rows `(rows, n)` cut into tensors whose features are shaped as those of `like`."""
    sizes = [part[0].numel() for part in like]
    return tuple(
        piece.reshape(len(rows), *part.shape[1:]).to(part.dtype)
        for piece, part in zip(rows.split(sizes, -1), like, strict=True)
    )


def take_target(values: Tensor, target: Target) -> Tensor:
    """The explained output of each explicand.

    Args:
        values: `(b, n, k)`.
        target: Output, one for all explicands or one each; None when there is one output.

    Returns:
        `(b, n)`.

    Raises:
        ValueError: If a target is missing, out of range, or not one per explicand.
    """
    index = target_index(target, len(values), values.shape[-1]).to(values.device)
    return values.gather(-1, index[:, None, None].expand(-1, values.shape[1], 1))[..., 0]


def target_index(target: Target, n_explicands: int, n_outputs: int) -> Tensor:
    """Position of the explained output, int64 `(b,)`.

    Args:
        target: Output, one for all explicands or one each; None when there is one output.
        n_explicands: Explicands `b`.
        n_outputs: Outputs `k`.

    Returns:
        Int64 `(b,)`.

    Raises:
        ValueError: If a target is missing, out of range, or not one per explicand.
    """
    if target is None:
        if n_outputs != 1:
            raise ValueError(
                f"the model has {n_outputs} outputs; say which one with target=0, ..., "
                f"{n_outputs - 1}, or use explain(x) for all of them."
            )
        target = 0
    index = torch.as_tensor(target)
    if (
        index.is_floating_point()
        or index.dtype == torch.bool
        or index.numel()
        not in (
            1,
            n_explicands,
        )
    ):
        raise ValueError(f"target={target!r}; one integer is needed, or one per explicand.")
    if int(index.min()) < -n_outputs or int(index.max()) >= n_outputs:
        raise ValueError(f"target={target!r} is out of range; there are {n_outputs} outputs.")
    return (index.long().reshape(-1) % n_outputs).expand(n_explicands)


def one_each(given: object, count: int) -> tuple[Any, ...]:
    """A tuple as it is; anything else as often as it is needed.

    Args:
        given: A tuple with one entry for each input, or one thing for all.
        count: Number of inputs.

    Returns:
        A tuple.
    """
    return cast("tuple[Any, ...]", given) if isinstance(given, tuple) else (given,) * count


def as_extra(given: object) -> tuple[Any, ...]:
    """What a model is called with after its inputs, in captum's form, as a tuple.

    Args:
        given: A tuple, one argument, or None for none.

    Returns:
        The arguments.
    """
    return () if given is None else one_each(given, 1)


def joined_model(
    model: Callable[..., Tensor], like: Sequence[Tensor], extra: tuple[object, ...] = ()
) -> Callable[[Tensor], Tensor]:
    """A model of several inputs as a model of one, whose rows hold them side by side.

    Args:
        model: Called with as many tensors as there are inputs, then with `extra`.
        like: The inputs.
        extra: Further arguments, the same for every row.

    Returns:
        A model of rows `(rows, n)`.
    """

    def joined(rows: Tensor) -> Tensor:
        return model(*unflatten(rows, like), *extra)

    joined.__name__ = getattr(model, "__name__", type(model).__name__)
    return joined
