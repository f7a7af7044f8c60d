"""Boosted trees of small depth as a part: every leaf is a box, and a box is an AND of players.

v(S) runs the trees on the row whose absent cells are replaced by `baseline`. For one row a leaf
is then a game in closed form: with A the players whose cell lies in the leaf's box only as given
and C those whose cell lies in it only at the baseline, v(S) = value [A in S] [no member of C in S].
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from harsanyi.float64 import held, hold, overwrite
from harsanyi.parts.tree_descent import DEAD, STATES, Descent, read_descent, state_weights
from harsanyi.parts.tree_walks import SHIFT, WalksTrees, box_weights, pick

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends
    from harsanyi.parts.tree_readers import Forest

DEEPEST = 8  # a walk's state has two bits a level, and SHIFT bits tell the levels apart
ROWS = 256  # that go through the trees together
CELLS = 2**17  # leaves times rows that are worked on at once: small enough for a cache
FEW = 8  # rows that walk one by one


class TreePart(WalksTrees, nn.Module):
    """Boosted trees, their outputs and exact Shapley values.

    All structure is in integer buffers (cuts and the baseline as the bits of a float64), so a
    change of the module's dtype never moves a split. A tree is a complete binary heap of `depth`
    levels; a node holds a literal, and a true literal goes left. Literal 0 is always true: it
    fills the places below an early leaf.

    Args:
        n_players: Players `n`, the columns of a raw row.
        n_outputs: Outputs `k` of the part.
        n_margins: Outputs of the trees before `readout` mixes them into the part's.
        n_trees: Trees per margin.
        depth: Levels of splits, at most 8.
        n_literals: Distinct tests.
        n_sets: Distinct category sets among the tests.
        n_codes: Category codes `0 .. n_codes - 1` that a set tells apart.
        max_items: Walks held in memory at once; rows are processed in chunks of about this many.
    """

    nodes: Tensor
    literal_player: Tensor
    literal_cut: Tensor
    literal_set: Tensor
    literal_missing: Tensor
    sets: Tensor
    values: Tensor
    readout: Tensor
    absences = frozenset({"baseline", "mask"})

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        n_margins: int = 1,
        n_trees: int = 1,
        depth: int = 6,
        n_literals: int = 1,
        n_sets: int = 0,
        n_codes: int = 0,
        max_items: int = 2**19,
    ) -> None:
        super().__init__()
        if not 1 <= depth <= DEEPEST:
            raise ValueError(
                f"Trees of depth {depth} cannot be read as boxes; grow them with a depth of at "
                f"most {DEEPEST} (max_depth=6 is the default of the recipe)."
            )
        self.n_players, self.n_outputs = n_players, n_outputs
        self.n_margins, self.n_trees, self.depth = n_margins, n_trees, depth
        self.n_literals, self.n_sets, self.n_codes = n_literals, n_sets, n_codes
        self.max_items = max_items
        trees = n_margins * n_trees
        float64 = torch.float64
        self.register_buffer("nodes", torch.zeros(trees, 2**depth - 1, dtype=torch.int32))
        self.register_buffer("literal_player", torch.zeros(n_literals, dtype=torch.int64))
        self.register_buffer("literal_cut", torch.zeros(n_literals, dtype=torch.int64))
        self.register_buffer("literal_set", torch.full((n_literals,), -1, dtype=torch.int64))
        self.register_buffer("literal_missing", torch.ones(n_literals, dtype=torch.bool))
        self.register_buffer("sets", torch.zeros(n_sets, n_codes, dtype=torch.bool))
        self.register_buffer("values", torch.zeros(trees, 2**depth, dtype=float64))
        self.register_buffer("readout", torch.zeros(n_margins, n_outputs, dtype=float64))
        hold(self, "baseline", torch.zeros(n_players, dtype=float64))
        self._static: tuple[Any, ...] | None = None
        self._read_trees: tuple[Any, dict[int, list[Descent]]] | None = None

    @classmethod
    def from_forest(
        cls, forest: Forest, baseline: Tensor, readout: Tensor | None = None
    ) -> TreePart:
        """Compile trees read from a library.

        Args:
            forest: Trees as `tree_readers` give them.
            baseline: The row of absent cells, float64 `(n,)`.
            readout: Weights `(margins, k)` from the trees' margins to the outputs; the identity
                when None.

        Returns:
            The part. The forest's own constant is not in it: see `forest.bias`.
        """
        from harsanyi.parts.tree_readers import compile_forest

        margins = forest.n_margins
        readout = torch.eye(margins, dtype=torch.float64) if readout is None else readout
        tables = compile_forest(forest)
        part = cls(
            n_players=forest.n_players,
            n_outputs=readout.shape[1],
            n_margins=margins,
            n_trees=tables["nodes"].shape[0] // margins,
            depth=tables["nodes"].shape[1].bit_length(),
            n_literals=tables["literal_player"].shape[0],
            n_sets=tables["sets"].shape[0],
            n_codes=tables["sets"].shape[1],
        )
        part.load_state_dict(
            {
                **tables,
                "readout": readout.double(),
                "baseline_bits": part.baseline_bits,
            }
        )
        overwrite(part, "baseline", baseline)
        return part

    @property
    def spec(self) -> dict[str, Any]:
        """What `harsanyi.parts.build` needs to make an empty part of this shape."""
        names = ("n_margins", "n_trees", "depth", "n_literals", "n_sets", "n_codes", "max_items")
        return {"kind": "trees"} | {name: getattr(self, name) for name in names}

    @property
    def baseline(self) -> Tensor:
        """The row of absent cells, float64 `(n,)`."""
        return held(self, "baseline")

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """v(S) of each row for S = `present`.

        Args:
            x: Raw rows `(b, n)`, float64, NaN for missing, category codes as numbers.
            present: Present players, bool `(b, n)`.

        Returns:
            Outputs `(b, k)`.
        """
        levels = self._levels()[0]
        outputs = []
        for rows in self._chunks(x.shape[0]):
            bits = self._bits(torch.where(present[rows], x[rows], self.baseline))
            b = bits.shape[0]
            start = torch.arange(b, dtype=torch.int32, device=x.device)[:, None] * self.n_literals
            flat = bits.flatten()
            position = torch.arange(len(self.nodes), dtype=torch.int32, device=x.device)
            position = position.expand(b, -1)
            for level in levels:
                literal = pick(level, position) >> SHIFT
                true = pick(flat, literal + start)
                position = 2 * position + 1 - true
            leaf = pick(self.values.flatten(), position)
            margins = leaf.to(self._sum_dtype()).reshape(b, self.n_margins, -1).sum(-1)
            outputs.append(self._read(margins))
        return torch.cat(outputs) if outputs else x.new_zeros(0, self.n_outputs)

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Exact Shapley values of the game below `(x, present)`.

        All rows go through all trees together, see `tree_descent`; a few of them, and a program
        that is exported and cannot look at the trees beforehand, walk row by row.

        Args:
            x: Raw rows `(b, n)`, float64.
            present: Present players, bool `(b, n)`; the others are worth exactly 0.

        Returns:
            Values `(b, n, k)`.
        """
        if torch.compiler.is_exporting() or len(x) < FEW:
            return self._shapley_by_walks(x, present)
        out = []
        weights = state_weights(self.depth).to(x.device)
        for rows, mask in zip(x.split(ROWS), present.split(ROWS), strict=True):
            b = len(rows)
            differs, descents = self._differs(rows, mask), self._descents(b)
            phi = weights.new_zeros(self.n_margins * self.n_players + 1, b)
            widest = max(len(descent.values) for descent in descents)
            room = weights.new_empty(3, 2, widest * b)
            for descent in descents:
                descent.pay(differs, weights, phi, room)
            out.append(self._read(rearrange(phi[:-1], "(g n) b -> b n g", g=self.n_margins)))
        return torch.cat(out)

    def term_mass(self, x: Tensor, present: Tensor) -> Tensor:
        """Sum of the absolute dividends of all leaves by order.

        A leaf that asks for a players and against c has C(c, j) dividends of order a + j.

        Args:
            x: Raw rows `(b, n)`, float64.
            present: Players of the game, bool `(b, n)`.

        Returns:
            `(b, n, k)`, order s at s - 1.
        """
        orders = self.depth + 1
        # the dividends of a leaf by its two counts, order s at s - 1; an order beyond n has none
        spread = torch.zeros(orders, DEAD, self.depth, dtype=torch.float64, device=x.device)
        for a in range(orders):
            for c in range(orders - a):
                for j in range(c + 1):
                    if a + j:
                        spread[a, c, a + j - 1] = math.comb(c, j)
        out = []
        for rows, mask in zip(x.split(ROWS), present.split(ROWS), strict=True):
            b = len(rows)
            differs = self._differs(rows, mask)
            mass = spread.new_zeros(self.n_margins * spread[..., 0].numel() * b)
            for descent in self._descents(b):
                state, _ = descent.states(differs)
                case = descent.margins * orders * DEAD + descent.needs // STATES * DEAD
                case = (case + state.clamp(max=DEAD - 1)) * b + torch.arange(b, device=x.device)
                mass.index_add_(0, case.flatten(), descent.values.abs().expand(-1, b).flatten())
            mass = rearrange(mass, "(g a c b) -> b g a c", g=self.n_margins, a=orders, b=b)
            readout = self.readout.abs().to(mass.dtype)
            found = torch.einsum("bgac,acs,gk->bsk", mass, spread, readout)
            full = mass.new_zeros(b, self.n_players, self.n_outputs)
            kept = min(self.depth, self.n_players)
            full[:, :kept] = found[:, :kept]
            out.append(full.to(self.values.dtype))
        return torch.cat(out) if out else x.new_zeros(0, self.n_players, self.n_outputs)

    def terms(self, x: Tensor, present: Tensor) -> Dividends:
        """The game below `(x, present)` as boxes.

        Args:
            x: Raw rows `(b, n)`, float64.
            present: Present players, bool `(b, n)`.

        Returns:
            Dividends whose boxes are the leaves that at least one row can reach.
        """
        from harsanyi.dividends import Boxes, Dividends

        features, inside, absent, values, constant = self.boxes(x, present)
        b, n = x.shape
        return Dividends(
            torch.zeros(0, n, dtype=torch.bool, device=x.device),
            values.new_zeros(b, 0, self.n_outputs),
            constant,
            boxes=(Boxes(features, inside, absent, values),),
        )

    def _bits(self, x: Tensor) -> Tensor:
        """Truth of every literal on raw rows, uint8 `(b, literals)`."""
        cell = x.double().index_select(1, self.literal_player)
        true = cell <= self.literal_cut.view(torch.float64)
        missing = cell.isnan()
        if self.n_sets:
            tests = (self.literal_set >= 0).nonzero()[:, 0]
            code = cell[:, tests].nan_to_num(-1.0, -1.0, -1.0).long()
            known = (code >= 0) & (code < self.n_codes)
            row = self.literal_set[tests] * self.n_codes
            true[:, tests] = self.sets.flatten()[row + code.clamp(0, self.n_codes - 1)]
            missing[:, tests] = ~known
        return torch.where(missing, self.literal_missing, true).to(torch.uint8)

    def _differs(self, x: Tensor, present: Tensor) -> Tensor:
        """Where a literal is true of the row and not of the baseline or the other way round.

        Uint8 `(literals, b)`; 0 for absent players.
        """
        given = self._bits(torch.where(present, x, self.baseline))
        return (given ^ self._bits(self.baseline[None])).T.contiguous()

    def _descents(self, b: int) -> list[Descent]:
        """The trees read against the baseline, in groups that suit `b` rows; kept until one changes."""
        bits: Any = self.baseline_bits  # a view of it made in inference mode has no version
        fixed = (self.nodes, self.values, self.literal_cut, self.sets, bits)
        key = tuple((t.data_ptr(), t._version, t.device, t.dtype) for t in fixed)
        if self._read_trees is None or self._read_trees[0] != key:
            self._read_trees = (key, {})
        trees = len(self.nodes)
        leaves = 1 + int((self.nodes >> SHIFT > 0).sum()) // trees  # of a tree
        size = 2 ** max(3, (CELLS // (b * leaves)).bit_length())
        groups = self._read_trees[1]
        if size not in groups:
            literals = [level.reshape(trees, -1) >> SHIFT for level in self._levels()[0]]
            margins = torch.arange(self.n_margins, device=self.nodes.device).repeat_interleave(
                self.n_trees
            )
            passes = self._bits(self.baseline[None])[0].bool()
            groups[size] = [
                read_descent(
                    [level[i : i + size].long() for level in literals],
                    self.values[i : i + size].to(self._sum_dtype()),
                    margins[i : i + size],
                    self.literal_player,
                    passes,
                    self.n_players,
                    self.n_margins,
                )
                for i in range(0, trees, size)
            ]
        return groups[size]

    def _levels(self) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
        """Per level the nodes and their players; Shapley weights; all players; lowest bits."""
        if torch.compiler.is_compiling():  # a traced tensor has no address to know it by
            return self._flattened()
        key = (self.nodes.data_ptr(), self.nodes._version, self.nodes.device)
        if self._static is None or self._static[0] != key:
            self._static = (key, self._flattened())
        return self._static[1]

    def _flattened(self) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
        levels, players = [], []
        for j in range(self.depth):
            level = self.nodes[:, 2**j - 1 : 2 ** (j + 1) - 1].flatten()
            levels.append(level)
            players.append(self.literal_player[(level >> SHIFT).long()].int())
        device = self.nodes.device
        everyone = self.literal_player[(self.nodes.flatten() >> SHIFT).long()].int()
        lowest = [max(0, (i & -i).bit_length() - 1) for i in range(2**self.depth)]
        weights = box_weights(self.depth).to(device)
        return levels, players, weights, everyone, torch.tensor(lowest, device=device).int()

    def _chunks(self, b: int, fork: int = 1) -> Iterator[slice]:
        if torch.compiler.is_exporting():  # a program takes any number of rows, in one piece
            return iter([slice(None)])
        step = max(1, self.max_items // (fork * max(1, len(self.nodes))))
        step = min(step, (2**31 - 1) // max(1, self.n_literals, self.n_margins * self.n_players))
        return (slice(i, i + step) for i in range(0, b, step))

    def _sum_dtype(self) -> torch.dtype:
        return torch.float64  # thousands of leaves add up; the sum is rounded once, at the end

    def _read(self, margins: Tensor) -> Tensor:
        readout = self.readout.to(margins.dtype)
        return torch.einsum("...g,gk->...k", margins, readout).to(self.values.dtype)
