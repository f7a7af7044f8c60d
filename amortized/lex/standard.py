"""Standardisation that lives inside a network, so that it takes raw rows."""

import torch
from torch import Tensor, nn


class Standardise(nn.Module):
    """Subtract the mean and divide by the standard deviation of the training data.

    Args:
        shape: `(*features)`; statistics are kept per feature.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))
        self.mean: Tensor
        self.scale: Tensor

    def learn(self, x: Tensor) -> None:
        """Take mean and deviation from rows `(b, *features)`; a constant feature keeps scale 1.

        Images share one mean and deviation per channel, so that border pixels do not explode.
        """
        rows = x.double()
        axes = (0, *range(2, x.ndim)) if x.ndim > 2 else (0,)
        mean = rows.mean(axes, keepdim=x.ndim > 2)
        scale = rows.std(axes, correction=0, keepdim=x.ndim > 2)
        scale = torch.where(scale > 1e-12 * (1 + mean.abs()), scale, torch.ones_like(scale))
        if x.ndim > 2:
            mean, scale = mean[0], scale[0]
        self.mean.copy_(mean.expand_as(self.mean))
        self.scale.copy_(scale.expand_as(self.scale))

    def forward(self, x: Tensor) -> Tensor:
        """Standardised rows in the dtype of the network."""
        return ((x - self.mean) / self.scale).to(self.mean.dtype)
