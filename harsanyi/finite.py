"""The one check of numbers at the door: floating point, and finite."""

import torch
from torch import Tensor


def check_floating(name: str, tensor: Tensor, owner: str) -> None:
    """Refuses what is no floating-point tensor of finite numbers.

    Args:
        name: The argument's name.
        tensor: What was passed for it.
        owner: Who asks.

    Raises:
        TypeError: If it is not a floating-point tensor.
        ValueError: If it holds NaN or infinity.
    """
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = getattr(tensor, "dtype", type(tensor).__name__)
        raise TypeError(f"{owner} got {name} of type {kind}; pass a floating-point tensor.")
    if not torch.isfinite(tensor.detach()).all():
        raise ValueError(f"{owner} got NaN or infinity in {name}; every number must be finite.")
