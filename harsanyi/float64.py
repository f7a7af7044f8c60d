"""Constants that stay float64 whatever dtype a module is cast to: raw baselines and thresholds.

`module.half()` and `from_pretrained(dtype=...)` cast every floating buffer. A baseline rounded
that way would no longer equal the raw rows it is compared with, so these constants are stored as
their bits.
"""

import torch
from torch import Tensor, nn


def hold(module: nn.Module, name: str, value: Tensor) -> None:
    """Register `value` on `module` as the persistent int64 buffer `<name>_bits`.

    Args:
        module: Owner of the constant.
        name: Name to read it back by.
        value: Any real tensor; kept as float64, NaN included.
    """
    module.register_buffer(f"{name}_bits", value.detach().double().contiguous().view(torch.int64))


def held(module: nn.Module, name: str) -> Tensor:
    """The float64 constant that `hold` registered under `name`, in its own shape."""
    return getattr(module, f"{name}_bits").view(torch.float64)


def overwrite(module: nn.Module, name: str, value: Tensor) -> None:
    """Replace the constant `name` in place by `value`, of the same shape."""
    bits = getattr(module, f"{name}_bits")
    bits.copy_(value.detach().double().contiguous().view(torch.int64))
