"""One softmax self-attention layer without positions, exact to a stated tolerance.

    v(S) = sum over heads and i in S of  sum_j [w_ij u_ij] / (1 + sum_j w_ij),   j in S

w_ij = exp(score of query i for key j), u_ij what i makes of j's value vector; the 1 is a sink, so that
nobody may attend to nobody. A ratio is a sum of product games (ratios.py), and those have their
Shapley values on the diagonal (quadrature.py). An absent player and a deleted one are the same.
"""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from harsanyi.chains import Rule
from harsanyi.parts.sequences import draw, linear
from harsanyi.quadrature import exact_nodes, legendre_rule
from harsanyi.ratios import reciprocal

_TILE = 2**22
_BOUND = 3.0  # of a score: the rates that a denominator needs grow with its range


class AttentionPart(nn.Module):
    """Self-attention of static vectors with a gated linear readout.

    Args:
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.
        heads: Attention heads.
        head_width: Numbers per query, key and value.
        tolerance: Relative error of the softmax denominators in attributions and interactions.

    Raises:
        ValueError: If a number is out of range.
    """

    deletes = True

    def __init__(
        self,
        width: int,
        n_outputs: int,
        *,
        heads: int = 2,
        head_width: int = 16,
        tolerance: float = 1e-12,
    ) -> None:
        super().__init__()
        if heads < 1 or head_width < 1:
            raise ValueError(f"heads={heads}, head_width={head_width}; both must be at least 1.")
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance={tolerance}; pass a number between 0 and 1.")
        self.n_outputs, self.heads, self.head_width = n_outputs, heads, head_width
        self.tolerance = tolerance
        self.spec: dict[str, Any] = {
            "kind": "attention",
            "heads": heads,
            "head_width": head_width,
            "tolerance": tolerance,
        }
        self.map = linear(width, 4 * heads * head_width)
        self.read = nn.Parameter(torch.zeros(heads, head_width, n_outputs))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        draw(self, generator)
        if not self.read.is_meta:
            self.read.data.normal_(0, self.head_width**-0.5, generator=generator)

    def _weights(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """w `(b, h, i, j)`, 0 for absent keys; values `(b, h, j, c)`; gates `(b, h, i, c)`."""
        query, key, value, gate = rearrange(
            self.map(x), "b n (p h c) -> p b h n c", p=4, h=self.heads
        )
        score = query @ key.mT * self.head_width**-0.5
        w = (_BOUND * torch.tanh(score / _BOUND)).exp()
        return w * present[:, None, None].to(w.dtype), value, 1 + gate

    def forward(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)`."""
        w, value, gate = self._weights(x, present)
        mean = (w @ value) / (1 + w.sum(-1, keepdim=True))
        there = present[:, None, :, None].to(x.dtype)
        return torch.einsum("bhic,hck->bk", mean * gate * there, self.read)

    def _pulls(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """w `(b, h, i, j)` and w u `(b, h, i, j, k)`; rows of absent queries are 0."""
        w, value, gate = self._weights(x, present)
        asks = present[:, None, :, None].to(w.dtype)
        u = torch.einsum("bhic,bhjc,hck->bhijk", gate * asks, value, self.read)
        return w, w[..., None] * u

    def derivatives(
        self, x: Tensor, present: Tensor, real: Tensor, size: int, rule: Rule
    ) -> Tensor:
        """Derivatives `(b, n choose size, k)` along the diagonal, summed over a rule."""
        b, n, _ = x.shape
        w, pull = self._pulls(x, present)
        rates, shares, _ = reciprocal(self._largest(w), self.tolerance, x)
        own = torch.eye(n, dtype=torch.bool, device=x.device)
        other_pull = pull.masked_fill(own[..., None], 0.0)
        other_w = w.masked_fill(own, 0.0)
        self_w, self_pull = w.diagonal(dim1=2, dim2=3), pull.diagonal(dim1=2, dim2=3).mT
        width = n if size == 1 else n * (n - 1) // 2
        total = x.new_zeros(b, width, self.n_outputs)
        held = max(1, b * self.heads * n * n * (self.n_outputs + 2) * (n if size == 2 else 1))
        step = max(1, _TILE // held)
        for first in range(0, len(rates), step):
            rate = rates[first : first + step]
            share = shares[first : first + step] * torch.exp(
                -rate * (1 + self_w[..., None])
            )  # (b, h, i, t)
            away = torch.exp(-rate * other_w[..., None])  # (b, h, i, j, t)
            for at, weight in rule:
                level = 1 + at * (away - 1)
                scale = weight * share * level.prod(-2)
                ratio = (away - 1) / level
                gain = other_pull[..., None, :] * (away / level)[..., None]  # (b, h, i, j, t, k)
                if size == 1:
                    total = total + _single(at, scale, ratio, gain, self_pull)
                else:
                    total = total + _double(at, scale, ratio, gain, self_pull)
        return total

    def _largest(self, w: Tensor) -> float:
        return 1 + (float(w.detach().sum(-1).max()) if w.numel() else 0.0)

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values to `error_bound`, and the value of nobody."""
        value = self(x, present, real)
        nodes = exact_nodes(int(present.sum(1).max()) if len(x) else 0)
        rule = legendre_rule(nodes)
        found = [
            self.derivatives(x[i : i + 16], present[i : i + 16], real[i : i + 16], 1, rule)
            for i in range(0, len(x), 16)
        ]
        empty = x.new_zeros(0, x.shape[1], self.n_outputs)
        return value, torch.cat([empty, *found]), torch.zeros_like(value)

    def error_bound(self, x: Tensor, present: Tensor) -> Tensor:
        """A bound `(b, k)` on the error of every Shapley value, rounding aside.

        The game in use differs from the softmax by the relative error of the denominators, and a
        mean of pulls is at most the largest of them.
        """
        if not x.shape[1]:
            return x.new_zeros(len(x), self.n_outputs)
        w, pull = self._pulls(x, present)
        _, _, error = reciprocal(self._largest(w), self.tolerance, x)
        sizes = (pull / w.clamp(min=torch.finfo(w.dtype).tiny)[..., None]).abs()
        return 2 * error * sizes.amax(3).sum((1, 2))


def _single(at: float, scale: Tensor, ratio: Tensor, gain: Tensor, own: Tensor) -> Tensor:
    """Derivatives towards each player: as the query that asks, and as a key of all others."""
    worth = own[..., None, :] + at * gain.sum(3)  # (b, h, i, t, k): all keys but j, and the query
    asking = torch.einsum("bhit,bhitk->bik", scale, worth)
    keyed = at * (
        torch.einsum("bhit,bhijt,bhitk->bjk", scale, ratio, worth)
        + torch.einsum("bhit,bhijtk->bjk", scale, gain)
        - at * torch.einsum("bhit,bhijt,bhijtk->bjk", scale, ratio, gain)
    )
    return asking + keyed


def _double(at: float, scale: Tensor, ratio: Tensor, gain: Tensor, own: Tensor) -> Tensor:
    """Derivatives towards pairs i < j: two keys of a third query, or a query and its key."""
    n = ratio.shape[3]
    worth = own[..., None, :] + at * gain.sum(3)
    scaled = scale[..., None, :] * ratio  # (b, h, i, m, t)
    both = torch.einsum("bhimt,bhilt,bhitk->bmlk", scaled, ratio, worth)
    cross = torch.einsum("bhimt,bhiltk->bmlk", scaled, gain)
    twice = torch.einsum("bhimt,bhilt,bhimtk->bmlk", scaled, ratio, gain)
    keys = at * (both + cross + cross.transpose(1, 2) - at * (twice + twice.transpose(1, 2)))
    asks = torch.einsum("bhijt,bhitk->bijk", scaled, worth)
    asks = asks + torch.einsum("bhit,bhijtk->bijk", scale, gain)
    asks = asks - at * torch.einsum("bhijt,bhijtk->bijk", scaled, gain)
    pairs = keys + asks + asks.transpose(1, 2)
    first, second = torch.triu_indices(n, n, 1)
    return pairs[:, first, second]
