"""Whether all numbers are finite, seen in one pass where they are."""

from math import isfinite

import torch
from torch import Tensor


def all_finite(values: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity.

    A finite sum has finite terms; only a sum that overflowed costs the full look.
    """
    return isfinite(float(values.detach().sum())) or bool(torch.isfinite(values).all())
