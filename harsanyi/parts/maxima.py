"""A max-pool head: channels of learned scores, each worth its largest one present.

v(S) = sum over channels of weight * (max(floor, largest score in S) - floor). Order does not matter;
an absent player and a deleted one are the same.
"""

from typing import Any

import torch
from einops import einsum
from torch import Tensor, nn

from harsanyi.maxima import Rule, maximum_derivatives, maximum_pairs, maximum_shapley
from harsanyi.parts.sequences import draw, linear


class MaximumPart(nn.Module):
    """Max-pooling of learned scores with a linear readout.

    Args:
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.
        channels: Scores per player.
    """

    deletes = True

    def __init__(self, width: int, n_outputs: int, *, channels: int = 64) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.spec: dict[str, Any] = {"kind": "maximum", "channels": channels}
        self.map = linear(width, channels)
        self.floor = nn.Parameter(torch.zeros(channels))
        self.read = linear(channels, n_outputs)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the weights; floors start at 0."""
        draw(self, generator)
        if not self.floor.is_meta:
            self.floor.data.zero_()

    def _scores(self, x: Tensor, present: Tensor) -> Tensor:
        """Scores `(b, c, n)`, minus infinity for the absent."""
        return self.map(x).mT.masked_fill(~present[:, None], -torch.inf)

    def forward(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)`."""
        if x.shape[1] == 0:
            return x.new_zeros(len(x), self.n_outputs)
        best = self._scores(x, present).amax(-1)
        return self.read(torch.maximum(best, self.floor) - self.floor)

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values and the value of nobody."""
        shares = maximum_shapley(self._scores(x, present), self.floor)  # (b, c, n)
        value = self(x, present, real)
        return value, self.read(shares.mT), torch.zeros_like(value)

    def derivatives(
        self, x: Tensor, present: Tensor, real: Tensor, size: int, rule: Rule
    ) -> Tensor:
        """Derivatives `(b, n choose size, k)` along the diagonal, summed over a rule."""
        scores = self._scores(x, present)
        floor = self.floor.expand(scores.shape[:2])
        if size == 1:
            return self.read(maximum_derivatives(scores, floor, rule).mT)
        pairs = einsum(
            maximum_pairs(scores, floor, rule), self.read.weight, "b c i j, k c -> b i j k"
        )
        n = x.shape[1]
        first, second = torch.triu_indices(n, n, 1)
        return pairs[:, first, second]
