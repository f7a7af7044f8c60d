"""Additive terms: one function per player, piecewise linear in a number, a table for a category.

v(S) = sum over the members of S of f_i(x_i), so a player's term is its only dividend and its
Shapley value. With `absent="mean"` an absent player is worth the mean of its term over the
training rows instead of 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from harsanyi.features import PlayerFeatures

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends


class AdditivePart(nn.Module):
    """A generalised additive model of the players.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        cardinalities: Categories per player, 0 for a number; all numbers when None.
        bins: Ramps per number.
        absent: "zero", or "mean" for the mean term over the training rows.

    Raises:
        ValueError: If `absent` is neither, or the cardinalities are not one per player.
    """

    means: Tensor

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        cardinalities: list[int] | None = None,
        bins: int = 8,
        absent: Literal["zero", "mean"] = "zero",
    ) -> None:
        super().__init__()
        cardinalities = cardinalities or [0] * n_players
        if len(cardinalities) != n_players:
            raise ValueError(
                f"cardinalities has {len(cardinalities)} entries; one per player is needed, "
                f"{n_players}."
            )
        if absent not in ("zero", "mean"):
            raise ValueError(f"absent={absent!r}; choose 'zero' or 'mean'.")
        self.n_players, self.n_outputs = n_players, n_outputs
        self.absent = absent
        self.absences = frozenset({"marginal"} if absent == "mean" else {"baseline", "mask"})
        self.spec: dict[str, Any] = {
            "kind": "additive",
            "cardinalities": list(cardinalities),
            "bins": bins,
            "absent": absent,
        }
        self.features = PlayerFeatures(cardinalities, bins)
        self.weights = nn.Parameter(torch.zeros(self.features.n_features, n_outputs))
        self.register_buffer("means", torch.zeros(n_players, n_outputs))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Set all terms to zero, from where training a linear part starts best."""
        self.weights.zero_()

    def fit_encoder(self, x: Tensor) -> AdditivePart:
        """Take the statistics of the columns from raw rows `(b, n)`; returns self."""
        self.features.fit(x)
        return self

    @torch.no_grad()
    def fit_means(self, x: Tensor, weight: Tensor | None = None) -> AdditivePart:
        """Take every term's mean over raw training rows `(b, n)`; call it again after training."""
        share = x.new_ones(x.shape[0]) if weight is None else weight
        share = (share / share.sum()).to(self.weights)
        present = torch.ones_like(x, dtype=torch.bool)
        features = share @ self.features(x, present)
        self.means.copy_(self._by_player(features[None])[0])
        return self

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Value `(b, k)` of raw rows `(b, n)` with the players `present`, bool `(b, n)`."""
        value = self.features(x, present) @ self.weights
        if self.absent == "mean":
            value = value + (~present).to(value.dtype) @ self.means
        return value

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)`: each player's own term, less what its absence is worth."""
        terms = self._by_player(self.features(x, present))
        if self.absent == "mean":
            terms = terms - present[..., None].to(terms.dtype) * self.means
        return terms

    def attribute(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value `(b, k)`, Shapley values `(b, n, k)` and the value of nobody from one reading."""
        features = self.features(x, present)
        value, shapley = features @ self.weights, self._by_player(features)
        if self.absent == "zero":
            return value, shapley, torch.zeros_like(value)
        there = present.to(value.dtype)
        value = value + (1 - there) @ self.means
        return value, shapley - there[..., None] * self.means, self.means.sum(0).expand_as(value)

    def terms(self, x: Tensor, present: Tensor) -> Dividends:
        """The part as one dividend per player."""
        from harsanyi.dividends import Dividends

        base = self.means.sum(0) if self.absent == "mean" else self.means.new_zeros(self.n_outputs)
        singles = torch.eye(self.n_players, dtype=torch.bool, device=x.device)
        return Dividends(singles, self.shapley(x, present), base.expand(x.shape[0], -1))

    def _by_player(self, features: Tensor) -> Tensor:
        """Sums of weighted features by their owner, `(b, n, k)`."""
        weighted = features[..., None] * self.weights
        terms = weighted.new_zeros(features.shape[0], self.n_players, self.n_outputs)
        return terms.index_add(1, self.features.owner, weighted)
