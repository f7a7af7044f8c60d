"""Matrix products: a state walks through the players in order, and an absent one is the identity.

    h_i = h_(i-1) + (h_(i-1) A_i + b_i)        v(S) = h_n . ends + sum of h_(i-1) . c_i, i in S

Only the players in S take a step, so leaving a player out and deleting it are the same thing. Scaling
each player's step by p gives the multilinear extension; on its diagonal all derivatives are polynomials
of degree below n, integrated by the law of quadrature.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from einops import einsum, rearrange, repeat
from torch import Tensor

from baselines.torch_calls import norm
from harsanyi.finite import check_floating
from harsanyi.quadrature import ellipses, exact_nodes, fewest_nodes, legendre_rule, log_tail

_TILE = 2**23  # numbers held at once in one intermediate

Rule = Sequence[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class MatrixProducts:
    """Matrix-product games of `b` explicands with `n` players each and a state of size `d`.

    A player whose steps, drives and reads are all zero is a dummy; so are padded players.

    Attributes:
        start: State `(b, d)` before the first player.
        steps: A `(b, n, d, d)`, what a player's presence adds to the identity.
        drives: b `(b, n, d)`, what it adds to the state.
        reads: c `(b, n, d, k)`, what it reads off the state it meets.
        ends: `(d, k)`, what is read off the last state.

    Raises:
        TypeError: If a tensor is not floating point.
        ValueError: If shapes disagree or a number is not finite.

    Source: tensor trains as games, Marzouk et al. (2025); the diagonal, Owen (1972).

    Example:
        >>> import torch
        >>> from harsanyi import MatrixProducts
        >>> game = MatrixProducts(  # one number as state: v = (1 + 1)(1 + 2) with both present
        ...     start=torch.ones(1, 1),
        ...     steps=torch.tensor([1.0, 2.0]).view(1, 2, 1, 1),
        ...     drives=torch.zeros(1, 2, 1),
        ...     reads=torch.zeros(1, 2, 1, 1),
        ...     ends=torch.ones(1, 1),
        ... )
        >>> game.shapley()[0, :, 0]
        tensor([2., 3.])
    """

    start: Tensor
    steps: Tensor
    drives: Tensor
    reads: Tensor
    ends: Tensor

    def __post_init__(self) -> None:
        for name in ("start", "steps", "drives", "reads", "ends"):
            check_floating(name, getattr(self, name), "MatrixProducts")
        if self.steps.ndim != 4 or self.ends.ndim != 2:
            raise ValueError(
                f"MatrixProducts got steps {tuple(self.steps.shape)} and ends "
                f"{tuple(self.ends.shape)}; they must be (b, n, d, d) and (d, k)."
            )
        b, n, d, _ = self.steps.shape
        k = self.ends.shape[1]
        wanted = {
            "start": (b, d),
            "steps": (b, n, d, d),
            "drives": (b, n, d),
            "reads": (b, n, d, k),
            "ends": (d, k),
        }
        for name, shape in wanted.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(
                    f"MatrixProducts got {name} {tuple(getattr(self, name).shape)}; with steps "
                    f"{tuple(self.steps.shape)} they must be {shape}."
                )

    @cached_property
    def support(self) -> Tensor:
        """Players `(b, n)` that are no dummies."""
        moved = (self.steps != 0).any(-1).any(-1) | (self.drives != 0).any(-1)
        return moved | (self.reads != 0).any(-1).any(-1)

    @property
    def degree(self) -> int:
        """Most players that one explicand depends on."""
        return int(self.support.sum(1).max()) if len(self.steps) else 0

    def base(self) -> Tensor:
        """v(none), `(b, k)`."""
        return self.start @ self.ends

    def value(self, coalitions: Tensor) -> Tensor:
        """v(S) of any coalitions.

        Args:
            coalitions: Bool `(1 or b, m, n)`, true = present.

        Returns:
            Values `(b, m, k)`.
        """
        b, n, d, _ = self.steps.shape
        step = max(1, _TILE // max(1, b * (d + self.ends.shape[1]) * 4))
        answers = [self.start.new_zeros(b, 0, self.ends.shape[1])]
        for tile in torch.split(coalitions, step, 1):
            there = tile.to(self.start.dtype)
            state = repeat(self.start, "b d -> b m d", m=tile.shape[1])
            total = 0.0
            for i in range(n):
                here = there[:, :, i, None]
                total = total + here * (state @ self.reads[:, i])
                state = state + here * self._move(state, i)
            answers.append(state @ self.ends + total)
        return torch.cat(answers, 1)

    def _move(self, state: Tensor, i: int) -> Tensor:
        """What player i adds to states `(b, m, d)`."""
        return torch.baddbmm(self.drives[:, i, None], state, self.steps[:, i])

    def derivatives(self, size: int, rule: Rule) -> Tensor:
        """Derivatives along the diagonal, summed over a rule, for all sets of one size.

        Args:
            size: Players per set, 1 or 2.
            rule: Pairs (point in [0, 1], weight).

        Returns:
            `(b, n choose size, k)`, sets in lexicographic order.

        Raises:
            ValueError: If `size` is another one.
        """
        if size not in (1, 2):
            raise ValueError(
                f"size is {size}; matrix products have derivatives of 1 or 2 players."
            )
        b, n, d, _ = self.steps.shape
        k, q = self.ends.shape[1], len(rule)
        per_node = max(1, n * d * (n if size == 2 else 2 + k))
        some = max(1, _TILE // per_node)  # nodes at once, of one explicand at least
        rows = max(1, some // max(1, q))
        width = n if size == 1 else n * (n - 1) // 2
        found = [self.start.new_zeros(0, width, k)]
        for first in range(0, b, rows):
            part = self.only(slice(first, first + rows))
            walk = part._singles if size == 1 else part._pairs
            pieces = [walk(rule[i : i + some]) for i in range(0, q, some)]
            found.append(torch.stack(pieces).sum(0) if len(pieces) > 1 else pieces[0])
        return torch.cat(found)

    def only(self, rows: slice) -> "MatrixProducts":
        """The games of some explicands, unchecked."""
        copy = object.__new__(type(self))
        copy.__dict__.update(
            start=self.start[rows],
            steps=self.steps[rows],
            drives=self.drives[rows],
            reads=self.reads[rows],
            ends=self.ends,
        )
        return copy

    def _forwards(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """States met and moves made `(b, n, q, d)` at each point of the diagonal."""
        state = repeat(self.start, "b d -> b q d", q=len(points))
        states: list[Tensor] = []
        moves: list[Tensor] = []
        for i in range(self.steps.shape[1]):
            move = self._move(state, i)
            states.append(state)
            moves.append(move)
            state = torch.addcmul(state, points[:, None], move)
        if not states:
            empty = state[:, None][:, :0]
            return empty, empty
        return torch.stack(states, 1), torch.stack(moves, 1)

    def _backwards(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Sensitivities to the state after each player, and their change at it, `(b, n, (q k), d)`."""
        b, n = self.steps.shape[:2]
        k, q = self.ends.shape[1], len(points)
        after = repeat(self.ends, "d k -> b (q k) d", b=b, q=q)
        level = repeat(points, "q -> (q k) 1", k=k)
        back = self.steps.mT
        reads = repeat(self.reads, "b n d k -> b n (q k) d", q=q)
        afters: list[Tensor] = []
        changes: list[Tensor] = []
        for i in range(n - 1, -1, -1):
            change = torch.baddbmm(reads[:, i], after, back[:, i])
            afters.append(after)
            changes.append(change)
            after = torch.addcmul(after, level, change)
        if not afters:
            empty = after[:, None][:, :0]
            return empty, empty
        return torch.stack(afters[::-1], 1), torch.stack(changes[::-1], 1)

    def _singles(self, rule: Rule) -> Tensor:
        points, weights = self._rule(rule)
        states, moves = self._forwards(points)
        afters, _ = self._backwards(points)
        afters = rearrange(afters, "b n (q k) d -> b n q k d", q=len(points))
        after = einsum(moves * weights[:, None], afters, "b n q d, b n q k d -> b n k")
        mean = einsum(states, weights, "b n q d, q -> b n d")
        return after + einsum(mean, self.reads, "b n d, b n d k -> b n k")

    def _pairs(self, rule: Rule) -> Tensor:
        b, n, d, _ = self.steps.shape
        points, weights = self._rule(rule)
        _, moves = self._forwards(points)
        _, changes = self._backwards(points)
        changes = rearrange(changes, "b n (q k) d -> b n q k d", q=len(points))
        columns: list[Tensor] = []  # of player j: all sets (i, j) with i < j
        carried = moves.new_zeros(b, 0, len(points), d)
        for j in range(n):
            here = changes[:, j] * weights[:, None, None]
            columns.append(einsum(carried, here, "b i q d, b q k d -> b i k"))
            flat = rearrange(carried, "b i q d -> b (i q) d") @ self.steps[:, j]
            moved = rearrange(flat, "b (i q) d -> b i q d", q=len(points))
            carried = torch.addcmul(carried, points[:, None], moved)
            carried = torch.cat([carried, moves[:, j, None]], 1)
        order = sorted((i, j) for j in range(n) for i in range(j))
        place = [j * (j - 1) // 2 + i for i, j in order]
        return torch.cat([*columns, changes.new_zeros(b, 0, changes.shape[3])], 1)[:, place]

    def _rule(self, rule: Rule) -> tuple[Tensor, Tensor]:
        points, weights = self.start.new_tensor(rule).T
        return points.contiguous(), weights.contiguous()

    def shapley(self, n_nodes: int | None = None) -> Tensor:
        """Shapley values `(b, n, k)`, exact unless fewer than ceil(degree / 2) nodes are asked."""
        n_nodes = exact_nodes(self.degree) if n_nodes is None else n_nodes
        return self.derivatives(1, legendre_rule(n_nodes))

    def banzhaf(self) -> Tensor:
        """Banzhaf values `(b, n, k)`: one node, at 1/2."""
        return self.derivatives(1, [(0.5, 1.0)])

    @cached_property
    def _sizes(self) -> Tensor:
        """Log bounds `(ellipses, b, n, k)` of the integrand on each ellipse.

        Norms take the place of matrices: |h| grows by |I + zA| and |z b|, sensitivities likewise.
        """
        reach = self.start.new_tensor([reach for _, reach in ellipses()])[:, None]
        size = _norm(self.steps)  # (b, n)
        middle = _norm(self.steps / 2 + torch.eye(self.steps.shape[-1]).to(self.steps))
        growth = middle + reach[..., None] / 2 * size  # (e, b, n)
        far = (1 + reach) / 2  # |z|
        drives, reads = norm(self.drives, -1), norm(self.reads, -2)  # (b, n), (b, n, k)
        n = size.shape[1]
        state = norm(self.start, -1).expand(len(reach), -1)
        states: list[Tensor] = []
        for i in range(n):
            states.append(state)
            state = growth[:, :, i] * state + far * drives[:, i]
        after = norm(self.ends, 0).expand(len(reach), len(size), -1)
        afters: list[Tensor] = []
        for i in range(n - 1, -1, -1):
            afters.append(after)
            after = growth[:, :, i, None] * after + far[..., None] * reads[:, i]
        if not states:
            return size.new_zeros(len(reach), len(size), 0, self.ends.shape[1])
        met, later = torch.stack(states, 2), torch.stack(afters[::-1], 2)
        bound = (met * size + drives)[..., None] * later + met[..., None] * reads
        return bound.nan_to_num(nan=math.inf, posinf=math.inf).log()

    @torch.no_grad()
    def error_bound(self, n_nodes: int) -> Tensor:
        """A bound on the error of `shapley(n_nodes)`; 0 where that many nodes are exact.

        The integrand is bounded on ellipses with foci 0 and 1 through norms of the matrices, and
        the smallest bound over a ladder of ellipses is taken. Rounding is not part of it.

        Args:
            n_nodes: Nodes on the diagonal, at least 1.

        Returns:
            `(b, n, k)`, in units of the outputs.

        Raises:
            ValueError: If `n_nodes` is below 1.

        Source: Trefethen (2008), theorem 4.5.
        """
        if n_nodes < 1:
            raise ValueError(f"n_nodes is {n_nodes}; a quadrature needs at least 1 node.")
        tails = self.start.new_tensor([log_tail(n_nodes, rho) for rho, _ in ellipses()])
        bound = (self._sizes + tails[:, None, None, None]).amin(0).exp()
        players = self.support.sum(1)[:, None, None]
        return torch.where(players > 2 * n_nodes, bound, torch.zeros_like(bound))

    def nodes_for(self, tolerance: float) -> int:
        """Fewest nodes whose error bound is at most `tolerance` for every value.

        Args:
            tolerance: Largest error allowed, in units of the outputs; 0 asks for exactness.

        Returns:
            A number of nodes between 1 and ceil(degree / 2).

        Raises:
            ValueError: If `tolerance` is negative or not a number.
        """
        return fewest_nodes(self.error_bound, exact_nodes(self.degree), tolerance)


def _norm(matrices: Tensor) -> Tensor:
    """An upper bound of the spectral norm that costs one pass: the root of |M|_1 |M|_inf."""
    size = matrices.abs()
    return (size.sum(-1).amax(-1) * size.sum(-2).amax(-1)).sqrt()
