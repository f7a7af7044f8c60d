"""The logical AND of a unit: off as soon as one member of its field is absent.

The presence gate asks the flags of the players and is exact in floating point. The value gate of
the paper asks whether the children's *values* are zero; in exact arithmetic the two agree, but a
value that should cancel to zero may come out as a rounding residual that depends on the batch
shape, and then the paper's gate opens.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor

ValueGate = Literal["tanh", "tanh_mean", "hard"]
Gate = Literal["presence", "tanh", "tanh_mean", "hard"]


def straight_through(tau: Tensor, beta: float = 1.0) -> Tensor:
    """Indicator of `tau > 0` whose gradient is that of a steep sigmoid's.

    Args:
        tau: Any shape; zero is not selected.
        beta: Scale of the gradient.

    Returns:
        Zeros and ones in the dtype of `tau`; backward multiplies by
        `beta * sigmoid(tau) * (1 - sigmoid(tau))`, finite for any finite `tau`.

    Source: Chen et al. (2023), sec. 3.3, in a form that does not overflow.
    """
    soft = beta * torch.sigmoid(tau)
    return (tau > 0).to(tau.dtype) + (soft - soft.detach())


def presence_gate(present: Tensor, fields: Tensor) -> Tensor:
    """Which units have their whole field present.

    Args:
        present: Bool `(b, n)`.
        fields: Bool `(u, n)`; an empty field is always whole.

    Returns:
        Bool `(u, b)`.
    """
    # float32 counts of absent members are exact below 2**24; zero is exact in any float
    missing = fields.to(torch.float32) @ rearrange(~present, "b n -> n b").to(torch.float32)
    return missing == 0


def value_gate(z: Tensor, children: Tensor, gamma: float, kind: ValueGate = "tanh") -> Tensor:
    """AND over children of "value is not zero", hard or as a product of `tanh(gamma |z|)`.

    A child at exactly zero closes every kind of gate exactly, so all three are exact in exact
    arithmetic; none is safe against values that cancel to zero up to rounding.

    Args:
        z: Children `(b, c)`.
        children: `(u, c)` of zeros and ones, carrying the gradient of their indicator.
        gamma: Steepness.
        kind: "tanh" is the product, "tanh_mean" the geometric mean over the children, "hard" the
            indicator, which has no gradient.

    Returns:
        `(b, u)` in [0, 1], one for a unit without children.

    Source: Chen et al. (2023), eq. 6 (hard) and sec. 3.3 (geometric mean); their code (product).
    """
    members = children.detach()
    soft = z.abs() if kind == "hard" else torch.tanh(gamma * z.abs())
    closed = (soft == 0).to(z.dtype)
    whole = (closed @ members.T == 0).to(z.dtype)
    if kind == "hard":
        return whole
    logs = (soft + closed).log()  # arithmetic, since masks at random mispredict branches
    total = logs @ members.T
    if children.requires_grad:
        # nothing now; backward to an indicator what its factor 1 - indicator * (1 - soft) would
        # give, which stays finite where log(soft) does not
        total = total + (soft - 1).detach() @ (children - members).T
    if kind == "tanh_mean":
        total = total / members.sum(-1).clamp(min=1)
    return whole * total.exp()
