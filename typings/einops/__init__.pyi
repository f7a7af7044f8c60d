# The functions of einops that are used here, for tensors of torch: einops' own types leave
# the function that `reduce` may be given without arguments.

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

def rearrange(tensor: Tensor | Sequence[Tensor], pattern: str, **axes_lengths: int) -> Tensor: ...
def reduce(
    tensor: Tensor | Sequence[Tensor],
    pattern: str,
    reduction: Literal["min", "max", "sum", "mean", "prod", "any", "all"],
    **axes_lengths: int,
) -> Tensor: ...
def repeat(tensor: Tensor | Sequence[Tensor], pattern: str, **axes_lengths: int) -> Tensor: ...
def einsum(*tensors_and_pattern: Tensor | str) -> Tensor: ...
