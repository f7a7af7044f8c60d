"""A baseline learned from rows and targets: the value of each column that says least.

A baseline stands for "unknown", so the best one changes outputs least when it is written into a
cell. For a sum of terms, the mean square change of writing c into column i is the variance of its
term plus the squared distance of the term at c from its mean: c is the cell whose term is nearest
to the mean term. The terms are those of a quick additive fit, and only cells that occur are
candidates, so that a category's baseline is a real category.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harsanyi.bags import deal
from harsanyi.table import Table

ROWS = 5000
"""Rows the quick fit sees, drawn by the key."""


@torch.no_grad()
def learned_baseline(table: Table, key: int = 0) -> Tensor:
    """The row of cells that change an additive model's outputs least, one column at a time.

    Args:
        table: Training rows; its baseline breaks ties and stays where a column was never known.
        key: Key of the random choices.

    Returns:
        Raw row `(n,)`, float64.

    Raises:
        ValueError: If the table's absence is "marginal", which substitutes no baseline.
    """
    from harsanyi.smooth import grow_linear

    if table.absence == "marginal":
        raise ValueError(
            "baseline='learned' has no meaning with absence='marginal', which averages absent "
            "cells over the training rows; pass baseline='mean'."
        )
    generator = torch.Generator().manual_seed(key)
    drawn = torch.randperm(len(table), generator=generator)[:ROWS].sort().values
    few = table.rows(drawn)
    with torch.enable_grad():
        part = grow_linear(deal(few, 2, 0.0, key), key=key).parts[0]
    everybody = torch.ones_like(few.x, dtype=torch.bool)
    terms = part.shapley(few.x, everybody)  # pyright: ignore[reportCallIssue]
    weight = few.weight[:, None, None] / few.weight.sum()
    change = (terms - (terms * weight).sum(0)).square().sum(-1)  # (b, n)
    known = ~few.x.isnan()
    scale = change.where(known, 0.0).amax(0).clamp(min=1e-300)
    # of cells that change nothing worth mentioning, the one nearest to the typical cell
    distance = (few.x - table.baseline).abs().nan_to_num(nan=0.0)
    distance = distance / distance.amax(0).clamp(min=1e-300)
    cost = torch.where(known, change / scale + 1e-9 * distance, torch.inf)
    best = few.x.gather(0, cost.argmin(0)[None])[0]
    return torch.where(known.any(0), best, table.baseline)
