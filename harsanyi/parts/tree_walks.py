"""Walks through trees, row by row, with the given and the baseline's cells at once.

They list the leaves that some coalition reaches, as boxes; and they are what a few rows are served
by best, and a program that is exported, which cannot look at the trees beforehand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harsanyi.indices import box_table

SHIFT = 3  # bits of a node that hold the level where its player is first met


class WalksTrees:
    """The half of a TreePart that walks."""

    def _shapley_by_walks(self: Any, x: Tensor, present: Tensor) -> Tensor:
        """The same row by row: each walks every tree with the given and the baseline cells at once.

        It forks where they part, so only leaves that some coalition reaches are visited.
        """
        _, _, weights, players, lowest = self._levels()
        size = self.n_margins * self.n_players
        out = []
        for rows in self._chunks(x.shape[0], fork=16):
            b = x[rows].shape[0]
            row, leaf, state = self._walk(x[rows], present[rows])
            value = pick(self.values.flatten(), leaf).to(self._sum_dtype())
            weights = weights.to(value.dtype)
            margin = leaf // (self.n_trees << self.depth)
            start = row * size + margin * self.n_players
            phi = value.new_zeros(b * size)
            tree, leaf = leaf >> self.depth, leaf & (2**self.depth - 1) | 2**self.depth
            rest = (state | state >> self.depth) & (2**self.depth - 1)
            items = (start, tree * (2**self.depth - 1) - 1, leaf, state, value, rest)
            for turn in range(self.depth):
                # one member of every item at a time, the one met first; at first all items, as
                # those without members have no weight
                items = items if turn == 0 else _where(rest > 0, items)
                start, tree, leaf, state, value, rest = items
                level = pick(lowest, rest)
                node = tree + (leaf >> (self.depth - level))
                case = state + ((state >> self.depth + level & 1) << 2 * self.depth)
                phi.index_add_(0, start + pick(players, node), value * pick(weights, case))
                rest = rest & (rest - 1)
                items = (start, tree, leaf, state, value, rest)
            phi = phi.reshape(b, self.n_margins, self.n_players).transpose(1, 2)
            out.append(self._read(phi))
        return torch.cat(out) if out else x.new_zeros(0, self.n_players, self.n_outputs)

    def boxes(
        self: Any, x: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The leaves that can be reached, as boxes.

        Args:
            x: Raw rows `(b, n)`, float64.
            present: Present players, bool `(b, n)`.

        Returns:
            Features `(t, d)` padded with -1; inside and absent `(b, t, d)` (a leaf that is dead
            for a row has a player in both); values `(t, k)`; constants `(b, k)` of the leaves
            that hold with nobody and everybody. `v(S)` is the constant plus the sum of the values
            of boxes whose inside members are all in S and whose absent members are not.
        """
        b = x.shape[0]
        row, leaf, state = self._walk(x, present)
        value = pick(self.values.flatten(), leaf).to(self._sum_dtype())
        margin = (leaf // (self.n_trees << self.depth)).long()
        fixed = state == 0
        constant = value.new_zeros(b, self.n_margins)
        constant.index_put_((row[fixed].long(), margin[fixed]), value[fixed], accumulate=True)
        row, leaf, state = row[~fixed], leaf[~fixed], state[~fixed]
        reached, box = torch.unique(leaf, return_inverse=True)
        features, duplicate = self._path(reached)
        shape = (b, len(reached), self.depth)
        # A leaf no walk of a row reached is dead there: its first player is in both masks.
        first = torch.arange(self.depth, device=x.device) == 0
        inside, absent = first.expand(shape).clone(), first.expand(shape).clone()
        level = torch.arange(self.depth, dtype=torch.int32, device=x.device)
        inside[row.long(), box] = (state[:, None] >> level & 1).bool()
        absent[row.long(), box] = (state[:, None] >> (self.depth + level) & 1).bool()
        features = features.masked_fill(duplicate, -1)
        margin = (reached // (self.n_trees << self.depth)).long()
        values = pick(self.values.flatten(), reached).to(self._sum_dtype())
        values = values[:, None] * self.readout.to(values.dtype)[margin]
        base = self._read(constant)
        return features, inside, absent, values, base

    def _walk(self: Any, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, leaves and states of every pair of a row and a leaf that some coalition reaches.

        Bit `j` of a state says that the player first met at level `j` must be present, bit
        `depth + j` that it must be absent.
        """
        levels = self._levels()[0]
        given = self._bits(torch.where(present, x, self.baseline)).int()
        base = self._bits(self.baseline[None]).int()
        bits = (given << self.depth + 1 | base << self.depth + 2).flatten()
        turns = fork_turns(self.depth).to(x.device)
        met = 1 | 1 << self.depth
        b, trees = x.shape[0], len(self.nodes)
        start = torch.arange(b, dtype=torch.int32, device=x.device) * self.n_literals
        start = start.repeat_interleave(trees)
        position = torch.arange(trees, dtype=torch.int32, device=x.device).repeat(b)
        state = torch.zeros_like(start)
        for level in levels:
            node = pick(level, position)
            first = node & (2**SHIFT - 1)
            both = pick(bits, start + (node >> SHIFT))
            turn = pick(turns, (state >> first) & met | both)
            position = torch.add(turn & 1, position, alpha=2)
            at = (turn > 1).nonzero()[:, 0]
            forked = 1 << pick(first, at)
            before = pick(state, at)
            state.index_copy_(0, at, before | forked)
            # the twin goes where the baseline's cell goes, to the other side
            state = torch.cat([state, before | forked << self.depth])
            position = torch.cat([position, pick(position, at) ^ 1])
            start = torch.cat([start, pick(start, at)])
        return start // max(1, self.n_literals), position, state

    def _path(self: Any, leaf: Tensor) -> tuple[Tensor, Tensor]:
        """Players `(t, d)` met on the way to leaves, and where a player was met before."""
        levels, players = self._levels()[:2]
        met, again = [], []
        for j, (level, player) in enumerate(zip(levels, players, strict=True)):
            node = leaf >> (self.depth - j)
            met.append(pick(player, node).long())
            again.append((pick(level, node) & (2**SHIFT - 1)) < j)
        return torch.stack(met, -1), torch.stack(again, -1)


def fork_turns(depth: int) -> Tensor:
    """Where a walk goes at a node, by what it knows.

    Args:
        depth: Levels of the tree.

    Returns:
        Int32 `(2**(depth + 3),)`, by bit 0 (the player is present), bit `depth` (it is absent), bit
        `depth + 1` (its given cell goes left) and bit `depth + 2` (the baseline's does): bit 0 for
        right, bit 1 for a fork, the given cell's way first.
    """
    index = torch.arange(2 ** (depth + 3), dtype=torch.int32)
    taken, dropped, given, base = (index >> i & 1 for i in (0, depth, depth + 1, depth + 2))
    fork = (given ^ base) & ~(taken | dropped) & 1
    left = given ^ ((given ^ base) & dropped)
    return 1 - left | fork << 1


def box_weights(depth: int) -> Tensor:
    """Shapley weights of a member of A, then of C, for every state of a walk.

    Args:
        depth: Levels; a state has `2 * depth` bits, first A's, then C's.

    Returns:
        Weights `(2 * 4**depth,)`, float64: (a-1)! c! / (a+c)! and -a! (c-1)! / (a+c)!.
    """
    size = torch.tensor([i.bit_count() for i in range(2**depth)])
    return member_weights(depth)[:, size[None, :], size[:, None]].flatten()


def member_weights(depth: int) -> Tensor:
    """Shapley weights of a player that must be present, then of one that must be absent.

    Args:
        depth: Most players of a leaf.

    Returns:
        Weights `(2, depth + 1, depth + 1)`, float64, by the numbers a and c of such players:
        (a-1)! c! / (a+c)! and -a! (c-1)! / (a+c)!.
    """
    others = torch.from_numpy(box_table("SII", 1, 1, depth - 1))  # less the player itself
    table = torch.zeros(2, depth + 1, depth + 1, dtype=torch.float64)
    table[0, 1:, :depth] = others
    table[1, :depth, 1:] -= others
    return table


def _where(kept: Tensor, items: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    at = kept.nonzero()[:, 0]
    return tuple(pick(item, at) for item in items)


def pick(table: Tensor, index: Tensor) -> Tensor:
    """Entries of a flat table at an index of any shape."""
    return table.index_select(0, index.flatten()).reshape(index.shape)
