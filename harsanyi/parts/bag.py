"""A bag of players: each one's vector counts by itself.

v(S) = sum of f(x_i) over i in S, so a player's term is its only dividend and its Shapley value.
Order does not matter; an absent player and a deleted one are the same.
"""

from typing import Any

import torch
from torch import Tensor, nn

from harsanyi.parts.sequences import Terms, draw, linear


class BagPart(nn.Module):
    """The sum of one learned function of each player.

    Args:
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.
        hidden: Units of a layer between vector and term; 0 makes the term linear.
    """

    deletes = True

    def __init__(self, width: int, n_outputs: int, *, hidden: int = 0) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.spec: dict[str, Any] = {"kind": "bag", "hidden": hidden}
        self.inner = linear(width, hidden, bias=True) if hidden else None
        self.read = linear(hidden or width, n_outputs)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        draw(self, generator)

    def forward(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)`."""
        there = present[..., None].to(x.dtype)
        if self.inner is None:  # summing first is cheaper
            return self.read((x * there).sum(1))
        return self.read((nn.functional.gelu(self.inner(x)) * there).sum(1))

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values and the value of nobody."""
        z = x if self.inner is None else nn.functional.gelu(self.inner(x))
        own = self.read(z) * present[..., None]
        value = own.sum(1)
        return value, own, torch.zeros_like(value)

    def terms(self, x: Tensor, present: Tensor, real: Tensor) -> Terms:
        """One dividend per player."""
        n = x.shape[1]
        own = self.attribute(x, present, real)[1]
        return torch.eye(n, dtype=torch.bool, device=x.device), own
