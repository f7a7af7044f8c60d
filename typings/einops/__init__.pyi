# The functions of einops that are used here: tensors to tensors, arrays to arrays. einops' own
# types leave the function that `reduce` may be given without arguments.

from collections.abc import Sequence
from typing import Literal, TypeVar

import numpy as np
from torch import Tensor

_Array = TypeVar("_Array", Tensor, np.ndarray)

def rearrange(tensor: _Array | Sequence[_Array], pattern: str, **axes_lengths: int) -> _Array: ...
def reduce(
    tensor: _Array | Sequence[_Array],
    pattern: str,
    reduction: Literal["min", "max", "sum", "mean", "prod", "any", "all"],
    **axes_lengths: int,
) -> _Array: ...
def repeat(tensor: _Array | Sequence[_Array], pattern: str, **axes_lengths: int) -> _Array: ...
def einsum(*tensors_and_pattern: Tensor | str) -> Tensor: ...
