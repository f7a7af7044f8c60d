"""Shapley values of boosted trees against one fixed row, for many explicands at once.

Absent cells come from one row, the baseline, so a split sends the absent player one way for good.
A leaf that lies the other way at some splits needs their players present, whatever the explicand:
its `a` is known beforehand. An explicand adds one bit per split, whether its own cell goes the
other way there, and so who must be absent. All rows therefore go through all trees together, by
whole levels: bits and counts downwards, sums of leaves upwards, and a split pays its player

    phi += [cell goes the other way] * (what leaves on the baseline's side pay an absent player)
           + what leaves on the other side pay a present one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harsanyi.parts.tree_walks import member_weights

DEAD = 16  # added to a count of absent players where no coalition reaches a node
STATES = 256  # of one byte: counts below DEAD, and the dead


@dataclass(frozen=True)
class Level:
    """The nodes of one level of some trees: splits and leaves.

    Attributes:
        splits: Positions `(m,)` among the level's nodes.
        leaves: Positions of the others.
        literals: Test of each split `(m,)`.
        stays: `(m, 1)`, what a cell that goes the other way adds to the state of the baseline's
            side: 1 for another absent player, DEAD where the path needs the player present.
        again: Splits `(p,)` whose player stood at a split above on the baseline's side, with the
            literal there `(p,)`; one pair per level above where there are any.
        targets: Row of the answer that each split pays into.
    """

    splits: Tensor
    leaves: Tensor
    literals: Tensor
    stays: Tensor
    again: list[tuple[Tensor, Tensor]]
    targets: Tensor


@dataclass(frozen=True)
class Descent:
    """Some trees read against the baseline, level by level.

    Attributes:
        levels: From the root down; the last has leaves alone.
        needs: STATES times the players `a` that each leaf needs, int32 `(t, 1)`, leaves in order
            of levels.
        values: What leaves pay, float64 `(t, 1)`.
        margins: Margin of each leaf, `(t, 1)`.
    """

    levels: list[Level]
    needs: Tensor
    values: Tensor
    margins: Tensor

    def states(self, differs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """State of every leaf, and at every split whose player goes the other way there first.

        Args:
            differs: Uint8 `(literals, b)`, 1 where an explicand's cell and the baseline's part.

        Returns:
            Players that must be absent, or at least DEAD, uint8 `(t, b)`; per level uint8 `(m, b)`.
        """
        first = self.levels[0]
        state = differs.new_zeros(len(first.splits) + len(first.leaves), differs.shape[1])
        leaves, forks = [], []
        for level in self.levels:
            leaves.append(state.index_select(0, level.leaves))
            away = differs.index_select(0, level.literals)
            for at, before in level.again:
                here = away.index_select(0, at) & ~differs.index_select(0, before)
                away.index_copy_(0, at, here)
            forks.append(away)
            state = state.index_select(0, level.splits)
            # the other side is out of reach for a cell that stays: a byte wraps around at STATES
            other = away.mul(STATES - DEAD).add_(DEAD).add_(state)
            state = torch.cat([state.add_(away.mul(level.stays)), other])
        return torch.cat(leaves), forks

    def pay(self, differs: Tensor, weights: Tensor, answer: Tensor, room: Tensor) -> None:
        """Add the Shapley values of these trees to an answer.

        Args:
            differs: As `states` takes it.
            weights: From `state_weights`, `(2, (depth + 1) * STATES)`.
            answer: `(margins * n + 1, b)`, changed in place; the last row takes what is nobody's.
            room: Memory to work in, `(3, 2, at least t * b)`: asking for it anew costs more than
                what is done in it.
        """
        state, forks = self.states(differs)
        t, b = state.shape
        case = (self.needs + state).flatten()
        paid = room[0, :, : t * b]  # to a player that must be present, and to one absent
        for kind in (0, 1):
            torch.index_select(weights[kind], 0, case, out=paid[kind])
        paid = paid.view(2, t, b).mul_(self.values)
        end, below = t, paid[:, t:]
        for height, (level, away) in enumerate(zip(self.levels[::-1], forks[::-1], strict=True)):
            m, own = len(level.splits), len(level.leaves)
            here = room[1 + height % 2, :, : (m + own) * b].view(2, m + own, b)
            for kind in (0, 1):
                here[kind].index_copy_(0, level.leaves, paid[kind, end - own : end])
                here[kind].index_copy_(0, level.splits, below[kind, :m] + below[kind, m:])
            answer.index_add_(0, level.targets, (below[1, :m] * away).add_(below[0, m:]))
            end, below = end - own, here


def read_descent(
    literals: list[Tensor],
    values: Tensor,
    margins: Tensor,
    literal_player: Tensor,
    passes: Tensor,
    n_players: int,
    n_margins: int,
) -> Descent:
    """Read heaps of trees against the baseline.

    Args:
        literals: Literal of every node, `(trees, 2**level)` per level; 0 stands below a leaf.
        values: What the places of the last level pay, `(trees, 2**depth)`.
        margins: Margin of each tree.
        literal_player: Player of each literal.
        passes: Whether the baseline's cell passes each literal, bool; who passes goes left.
        n_players: Players `n`.
        n_margins: All margins.
    """
    depth, nobody = len(literals), n_margins * n_players
    device = values.device
    heap = torch.arange(len(values), device=device)  # positions in a level, all trees in one row
    path = heap.new_zeros(len(heap), 0)  # literals above a node
    kept = path.bool()  # whether the node is on the baseline's side of them
    needs = heap.new_zeros(len(heap))
    levels, leaf_needs, leaf_at = [], [], []
    for j in range(depth + 1):
        literal = literals[j].flatten()[heap] if j < depth else torch.zeros_like(heap)
        splits, leaves = (literal > 0).nonzero()[:, 0], (literal == 0).nonzero()[:, 0]
        leaf_needs.append(needs[leaves])
        leaf_at.append(heap[leaves] << (depth - j))  # below a leaf everything goes left
        literal, heap, needs = literal[splits], heap[splits], needs[splits]
        path, kept = path[splits], kept[splits]
        player = literal_player[literal]
        same = literal_player[path] == player[:, None]
        present = (same & ~kept).any(1)
        again = same & kept & ~present[:, None]
        pairs = [(at, path[at, i]) for i in range(j) if len(at := again[:, i].nonzero()[:, 0])]
        target = margins[heap >> j] * n_players + player
        levels.append(
            Level(
                splits=splits,
                leaves=leaves,
                literals=literal,
                stays=torch.where(present, DEAD, 1).to(torch.uint8)[:, None],
                again=pairs,
                targets=torch.where(present, nobody, target),
            )
        )
        left = 2 * heap + (~passes[literal]).long()
        heap = torch.cat([left, left ^ 1])
        needs = torch.cat([needs, needs + (~present).long()])
        path = torch.cat([path, literal[:, None]], 1).repeat(2, 1)
        side = torch.arange(2, device=device).repeat_interleave(len(left))[:, None] == 0
        kept = torch.cat([kept.repeat(2, 1), side], 1)
    at = torch.cat(leaf_at)
    return Descent(
        levels,
        needs=torch.cat(leaf_needs).int()[:, None] * STATES,
        values=values.flatten()[at][:, None],
        margins=margins[at >> depth][:, None],
    )


def state_weights(depth: int) -> Tensor:
    """`member_weights` by the state of a leaf.

    Args:
        depth: Most players of a leaf.

    Returns:
        Weights `(2, (depth + 1) * STATES)`, float64, at a * STATES + c; 0 for the dead.
    """
    table = torch.zeros(2, depth + 1, STATES, dtype=torch.float64)
    table[..., : depth + 1] = member_weights(depth)
    return table.flatten(1)
