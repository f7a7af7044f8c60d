"""A selection rate that is held, not bargained for.

Maximising the likelihood at a given mean rate has the same stationary points as paying a price per
player, if the price is right. Steering that price (dual ascent) overshoots: the selector empties
before the price comes down again. So the rate is made a constraint instead. One level is taken off
all logits of a batch such that their mean inclusion is the asked rate, and gradients flow through
the level, which projects them onto the directions that keep the rate.
"""

import torch
from torch import Tensor

NOBODY = -1e4
"""Logit of padding: a player that does not exist is never selected."""

WARM_UP = 0.15
"""Share of the steps over which rate or price move from nothing asked to what is asked."""


def rate_level(logits: Tensor, rate: float) -> Tensor:
    """The level to take off Bernoulli logits so that their mean inclusion is the rate.

    Players that do not exist (padding, logits of `NOBODY`) count in no mean.

    Args:
        logits: Any shape, finite.
        rate: Asked mean of `sigmoid(logits - level)`, strictly between 0 and 1.

    Returns:
        Scalar in the dtype of the logits, differentiable in them: its gradient is that of the
        implicit function.
    """
    logits = logits[logits > NOBODY / 2]
    fixed = logits.detach().double()
    low, high = fixed.min() - 40, fixed.max() + 40
    for _ in range(60):
        middle = (low + high) / 2
        above = torch.sigmoid(fixed - middle).mean() > rate
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    level = ((low + high) / 2).to(logits.dtype)
    inclusion = torch.sigmoid(logits - level)
    slope = (inclusion * (1 - inclusion)).mean().detach().clamp(min=1e-12)
    # zero in value, so that only the gradient of this Newton step is added
    step = (inclusion.mean() - inclusion.mean().detach()) / slope
    return level + step
