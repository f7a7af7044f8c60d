"""Bags: every part is grown once per fold, on the other folds, and judged on its own.

So each training row has a prediction by models that never saw it, whole and on a random
coalition, from which early stopping, settings and the mixture are chosen without losing a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from harsanyi.losses import prediction_loss
from harsanyi.table import Table

SMALL = 5000  # rows below which parts are grown and mixed as for a small table


@dataclass(frozen=True)
class Folds:
    """Rows of a table dealt into bags, with one coalition per row to judge by.

    Attributes:
        table: All rows.
        bag: The bag that leaves a row out, int64 `(b,)`.
        n_bags: How many there are.
        coalitions: One coalition per row to judge by, players kept with probability 1/2, `(b, n)`.
        coalition_weight: Share of the loss on coalitions.
    """

    table: Table
    bag: Tensor
    n_bags: int
    coalitions: Tensor
    coalition_weight: float

    def inside(self, bag: int) -> Tensor:
        """Rows a bag learns from."""
        return (self.bag != bag).nonzero()[:, 0]

    def outside(self, bag: int) -> Tensor:
        """Rows a bag is judged on."""
        return (self.bag == bag).nonzero()[:, 0]

    def merged(self, n_bags: int) -> Folds:
        """The same rows in at most so many bags, each leaving out what several bags leave out."""
        n_bags = min(n_bags, self.n_bags)
        return replace(self, bag=self.bag % n_bags, n_bags=n_bags)

    def loss(self, full: Tensor, masked: Tensor, share: float | None = None) -> Tensor:
        """Loss of out-of-bag outputs `(b, k)` on whole rows and, with its share, on coalitions."""
        table = self.table
        losses = [
            prediction_loss(outputs, table.y, table.weight, table.problem_type)
            for outputs in (full, masked)
        ]
        share = self.coalition_weight if share is None else share
        return (1 - share) * losses[0] + share * losses[1]


@dataclass(frozen=True)
class Grown:
    """A kind of part after growing: modules to add up, and what they say out of bag.

    Attributes:
        parts: Modules whose sum, with `bias`, is the mean of the bags.
        bias: Constant `(k,)`, float64.
        full: Out-of-bag outputs on whole rows `(b, k)`, float64.
        masked: The same on the folds' coalitions.
        share: What every module is multiplied by.
    """

    parts: list[nn.Module]
    bias: Tensor
    full: Tensor
    masked: Tensor
    share: float = 1.0


def deal(table: Table, n_bags: int, coalition_weight: float, key: int) -> Folds:
    """Deal rows into bags, the classes (or the target's order) spread evenly.

    Args:
        table: Rows to deal.
        n_bags: Bags, at least 2; fewer if there are fewer rows.
        coalition_weight: Share of the loss on coalitions.
        key: Key of the random choices.

    Returns:
        The folds.
    """
    b, n = table.x.shape
    generator = torch.Generator().manual_seed(key)
    n_bags = max(2, min(n_bags, b))
    shuffled = torch.randperm(b, generator=generator)
    y = table.y
    if y.is_floating_point():
        target = y.argmax(-1) if table.problem_type == "classification" else y.reshape(b, -1)[:, 0]
    else:
        target = y
    order = shuffled[target[shuffled].argsort(stable=True)]
    bag = torch.empty(b, dtype=torch.int64)
    # a block of n_bags neighbours in the order of the target meets all bags once
    blocks = torch.arange(b) // n_bags
    shift = torch.randint(0, n_bags, (int(blocks.max()) + 1,), generator=generator)
    bag[order] = (torch.arange(b) + shift[blocks]) % n_bags
    halves = torch.rand(b, n, generator=generator) < 0.5
    return Folds(table, bag, n_bags, halves, coalition_weight)
