"""The one check of numbers at the door: floating point, and finite."""

import torch
from torch import Tensor


def check_floating(name: str, tensor: Tensor, owner: str, *, or_complex: bool = False) -> None:
    """Refuses what is no floating-point tensor of finite numbers.

    Args:
        name: The argument's name.
        tensor: What was passed for it.
        owner: Who asks.
        or_complex: Whether complex numbers will do.

    Raises:
        TypeError: If it is not a floating-point tensor.
        ValueError: If it holds NaN or infinity.
    """
    fits = isinstance(tensor, Tensor) and (
        tensor.is_floating_point() or (or_complex and tensor.is_complex())
    )
    if not fits:
        kind = getattr(tensor, "dtype", type(tensor).__name__)
        raise TypeError(f"{owner} got {name} of type {kind}; pass a floating-point tensor.")
    if not torch.isfinite(tensor.detach()).all():
        raise ValueError(f"{owner} got NaN or infinity in {name}; every number must be finite.")
