"""Boosted trees on coalitions, many games at once, with their Shapley values in closed form.

Trees are symmetric: every node of a level asks about the same player, so that finding a split is
a matrix product over coalitions and a leaf is a box of present and absent players.
"""

import dataclasses
from math import factorial

import torch
from torch import Tensor

COLUMN_CELLS = 2**24
"""Most (column, leaf, coalition) cells held at once."""


@dataclasses.dataclass(frozen=True)
class BoostedBoxes:
    """Sums of symmetric trees, one sum for each column.

    Args:
        base: `(c,)`, the value all trees add to.
        players: Int64 `(t, c, d)`, the player each level of a tree asks about, all different.
        leaves: `(t, c, 2**d)`, leaf values; bit `l` of a leaf is set when the player of level
            `l` is present.
        n_players: Number of players `n`.
    """

    base: Tensor
    players: Tensor
    leaves: Tensor
    n_players: int

    def predict(self, coalitions: Tensor) -> Tensor:
        """Values `(c, m)` of coalitions `(m, n)`."""
        found = self.base[:, None].expand(-1, len(coalitions)).clone()
        present = coalitions.T.long()  # (n, m)
        for players, leaves in zip(self.players, self.leaves, strict=True):
            leaf = torch.zeros(len(players), len(coalitions), dtype=torch.int64)
            for level in range(players.shape[1]):
                leaf += present[players[:, level]] << level
            found += leaves.gather(1, leaf)
        return found

    def shapley(self) -> Tensor:
        """Shapley values `(c, n)`.

        A leaf asks for a present and d - a absent players. Its present players get
        (a - 1)! (d - a)! / d! of its value each, its absent ones lose a! (d - a - 1)! / d!.
        """
        depth = self.players.shape[-1]
        share = leaf_shares(depth).to(self.leaves)
        given = self.leaves @ share  # (t, c, d)
        found = torch.zeros(len(self.base), self.n_players).to(self.leaves)
        for players, gains in zip(self.players, given, strict=True):
            found.scatter_add_(1, players, gains)
        return found


def leaf_shares(depth: int) -> Tensor:
    """What each level's player gets of a leaf's value, float64 `(2**depth, depth)`."""
    shares = torch.zeros(2**depth, depth, dtype=torch.float64)
    for leaf in range(2**depth):
        a = leaf.bit_count()
        for level in range(depth):
            if leaf >> level & 1:
                weight = factorial(a - 1) * factorial(depth - a)
            else:
                weight = -factorial(a) * factorial(depth - a - 1)
            shares[leaf, level] = weight / factorial(depth)
    return shares


def boost(
    coalitions: Tensor,
    targets: Tensor,
    *,
    weights: Tensor | None = None,
    trees: int = 100,
    depth: int = 4,
    rate: float = 0.2,
    smoothing: float = 1.0,
) -> BoostedBoxes:
    """Fit boosted symmetric trees by least squares.

    Args:
        coalitions: Bool `(m, n)`.
        targets: `(c, m)`, one game in each row.
        weights: `(m,)` weights of the coalitions, 0 leaves one out; 1 by default.
        trees: Number of trees.
        depth: Players a tree asks about, at most `n`.
        rate: Share of each tree's fit that is kept.
        smoothing: Coalitions of value 0 added to each leaf.

    Returns:
        The sums of trees.
    """
    m, n = coalitions.shape
    depth = min(depth, n)
    present = coalitions.to(targets.dtype)
    weight = torch.ones(m).to(targets) if weights is None else weights.to(targets)
    step = max(1, COLUMN_CELLS // (2**depth * m))
    parts = [
        _boost(present, part, weight, trees, depth, rate, smoothing)
        for part in targets.split(step)
    ]
    base, players, leaves = zip(*parts, strict=True)
    return BoostedBoxes(torch.cat(base), torch.cat(players, 1), torch.cat(leaves, 1), n)


def _boost(
    present: Tensor,
    targets: Tensor,
    weight: Tensor,
    trees: int,
    depth: int,
    rate: float,
    smoothing: float,
) -> tuple[Tensor, Tensor, Tensor]:
    base = (targets * weight).sum(1) / weight.sum()
    left = targets - base[:, None]
    players, leaves = [], []
    for _ in range(trees):
        chosen, leaf = _grow(present, left * weight, weight, depth, smoothing)
        total = torch.zeros(len(left), 2**depth).to(left)
        count = torch.zeros_like(total)
        total.scatter_add_(1, leaf, left * weight)
        count.scatter_add_(1, leaf, weight.expand_as(left))
        value = rate * total / (count + smoothing)
        left = left - value.gather(1, leaf)
        players.append(chosen)
        leaves.append(value)
    return base, torch.stack(players), torch.stack(leaves)


def _grow(
    present: Tensor, pull: Tensor, weight: Tensor, depth: int, smoothing: float
) -> tuple[Tensor, Tensor]:
    """The players `(c, depth)` that explain most, level by level, and each row's leaf `(c, m)`."""
    c, m = pull.shape
    leaf = torch.zeros(c, m, dtype=torch.int64)
    chosen: list[Tensor] = []
    inside = present.T.bool()  # (n, m)
    for level in range(depth):
        cells = 2**level
        spot = torch.arange(cells)[None, :, None] == leaf[:, None]  # (c, cells, m)
        pulls = torch.where(spot, pull[:, None], 0.0)
        counts = torch.where(spot, weight.expand(c, 1, m), 0.0)
        pull_in, count_in = pulls @ present, counts @ present  # (c, cells, n)
        pull_out = pulls.sum(-1, keepdim=True) - pull_in
        count_out = counts.sum(-1, keepdim=True) - count_in
        gain = pull_in.square() / (count_in + smoothing)
        gain = (gain + pull_out.square() / (count_out + smoothing)).sum(1)  # (c, n)
        for player in chosen:
            gain.scatter_(1, player[:, None], -torch.inf)
        best = gain.argmax(1)
        chosen.append(best)
        leaf = leaf + (inside[best].long() << level)
    return torch.stack(chosen, 1), leaf
