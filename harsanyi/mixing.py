"""The mixture: one weight per kind of part, none negative, from what they say out of bag."""

from __future__ import annotations

import torch
from torch import Tensor

from harsanyi.bags import SMALL, Folds, Grown

PULL = 1.0  # strength of the pull to equal shares, in rows
MASKED = 0.2  # share of coalitions against that in training, in the mixture's loss
SLIGHT = 0.01  # a smaller share is left out


def mix(folds: Folds, grown: list[Grown], steps: int = 60) -> Tensor:
    """Weights that minimise the out-of-bag loss, and never do worse than one part alone.

    Args:
        folds: Rows and bags.
        grown: The kinds of parts.
        steps: Steps of L-BFGS.

    Returns:
        Non-negative weights `(kinds,)`, float64, of sum 1.
    """
    full = torch.stack([part.full for part in grown])
    masked = torch.stack([part.masked for part in grown])
    count, share = len(grown), folds.coalition_weight
    if len(folds.table) >= SMALL:  # enough rows to tell parts apart, and whole rows come first
        share *= MASKED

    def loss(weights: Tensor) -> Tensor:
        def blend(outputs: Tensor) -> Tensor:
            return torch.einsum("p,pbk->bk", weights, outputs)

        return folds.loss(blend(full), blend(masked), share)

    even = torch.full((count,), 1 / count, dtype=torch.float64)
    unit = float(loss(even).clamp(min=1e-300))
    free = torch.zeros(count, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        weights = free.softmax(0)
        pull = (weights - even).square().sum() * PULL / len(folds.table)
        value = loss(weights) / unit + pull
        value.backward()
        return value

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        weights = free.softmax(0)
        weights = torch.where(weights > SLIGHT, weights, 0.0)
        candidates = [weights / weights.sum(), *torch.eye(count, dtype=torch.float64)]
        return min(candidates, key=lambda some: float(loss(some))).clone()
