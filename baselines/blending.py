"""Present entries of an explicand bit for bit, a filling elsewhere: what every imputer ends in.

A choice by mask branches at each cell, and a random mask is mispredicted half of the time. The same
choice by bits, `filling ^ ((x ^ filling) & mask)`, has no branch and is 3 to 20 times faster.
"""

import torch
from torch import Tensor

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of the size of an entry, in bytes."""


def blend(present: Tensor, x: Tensor, filling: Tensor) -> Tensor:
    """`torch.where(present, x, filling)`, faster where no gradient is asked for.

    Args:
        present: Bool, broadcasting to the answer; an expanded first axis is looked at once.
        x: Entries that stay.
        filling: Entries of absent features; moved to the device of `x` and, where that is
            floating point, into its dtype.

    Returns:
        The three broadcast against each other; entries of `x` keep their bits, NaN included.
    """
    filling = filling.to(x) if x.is_floating_point() else filling.to(x.device)
    plain = x.dtype == filling.dtype and not (x.is_complex() or x.dtype == torch.bool)
    if not plain or x.requires_grad or filling.requires_grad:
        return torch.where(present, x, filling)
    kind = _INTEGERS[x.element_size()]
    if len(present) > 1 and present.stride(0) == 0:
        present = present[:1]  # shared by the explicands: one conversion serves them all
    mask = present.to(kind).neg_()  # all bits where present, none where absent
    other = filling.view(kind)
    return (x.view(kind) ^ other).bitwise_and(mask).bitwise_xor_(other).view(x.dtype)
