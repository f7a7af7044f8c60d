"""Designs: which coalitions an estimator asks for, and how their values become attributions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from baselines.coalitions import all_coalitions
from baselines.exact import shapley_weights


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a design makes of the values of its coalitions.

    Args:
        values: Float64 `(b, n, k)`.
        std_errors: `(b, n, k)`, or None where none were estimated.
        method: Words that replace the estimator's name when the design chose among several.
        diagnostics: Named tensors.
        exact: True only if all coalitions were seen.
    """

    values: Tensor
    std_errors: Tensor | None = None
    method: str | None = None
    diagnostics: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    exact: bool = False


class Design(Protocol):
    """Coalitions to evaluate, and the map from their values to attributions."""

    @property
    def coalitions(self) -> Tensor:
        """Bool `(m, n)`; row 0 is the empty and row 1 the grand coalition."""
        ...

    def solve(self, values: Tensor) -> Estimate:
        """Attributions `(b, n, k)` from float64 values `(b, m, k)` of the coalitions."""
        ...


DesignMaker = Callable[[int, int, int], Design]
"""`make(n_players, budget, key)`; a larger budget must give a design that begins with the rows of
a smaller one, which is what lets an explanation be continued."""


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """The design of all coalitions, for players few enough.

    Args:
        n_players: Number of players `n`.
        weights: Linear map `(m, n)` from values to attributions, given the coalitions.
    """

    n_players: int
    weights: Callable[[Tensor], Tensor] = shapley_weights

    @property
    def coalitions(self) -> Tensor:
        """All `2**n`, the empty one first and the grand one second."""
        rows = all_coalitions(self.n_players)
        return torch.cat([rows[:1], rows[-1:], rows[1:-1]])

    def solve(self, values: Tensor) -> Estimate:
        """Exact attributions."""
        weights = self.weights(self.coalitions).to(values.device)
        return Estimate(torch.einsum("bmk,mn->bnk", values, weights), exact=True)
