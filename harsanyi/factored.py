"""A game kept in factors: explicit terms, product games and boxes, closed under addition.

Shapley and Banzhaf values and the value of any coalition are linear in the parts, and each part
has its own closed form; nothing is ever written out here.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from baselines.coalitions import check_coalitions
from harsanyi.boxes import Boxes
from harsanyi.finite import check_floating
from harsanyi.quadrature import Products
from harsanyi.regrouping import Groups, regrouped

_TILE = 2**23  # numbers held at once in one intermediate
_FIELDS = (
    "terms",
    "term_values",
    "constant",
    "products",
    "boxes",
    "players",
    "outputs",
    "max_terms",
    "game",
)


class FactoredGame:
    """A game as explicit dividends, product games and tree boxes; immutable.

    v(S) = base + sum of `values` over the `coalitions` inside S + the products' v(S) + the boxes'
    v(S). Products and boxes stay factored: only `coalitions` and `values` write them out.

    Args:
        coalitions: Bool `(u, n)`, true = member; repeats are added up, empty rows are constants.
        values: Dividends `(b, u, k)` in units of the outputs.
        base_values: Constant `(b, k)` of the game, before what products and boxes pay for the
            empty coalition; None means 0. The attribute of this name is all of v(none).
        products: Product games to add.
        boxes: Boxes to add.
        players: `n` names, or None.
        outputs: `k` names, or None.
        max_terms: Most explicit coalitions that `coalitions` and `values` may write out.
        game: The value function in words.

    Raises:
        TypeError: If a tensor has the wrong type.
        ValueError: If shapes or counts disagree, or a number is not finite.

    Source: Harsanyi (1963); Grabisch and Roubens (1999) for indices as sums of dividends.
    """

    def __init__(
        self,
        coalitions: Tensor,
        values: Tensor,
        base_values: Tensor | None = None,
        *,
        products: Sequence[Products] = (),
        boxes: Sequence[Boxes] = (),
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        max_terms: int = 2**16,
        game: str = "",
    ) -> None:
        _check_terms(coalitions, values)
        b, _, k = values.shape
        n = coalitions.shape[1]
        if base_values is None:
            base_values = values.new_zeros(b, k)
        check_floating("base_values", base_values, "Dividends")
        if tuple(base_values.shape) != (b, k):
            raise ValueError(
                f"Dividends got base_values {tuple(base_values.shape)}; values {tuple(values.shape)}"
                f" need (b, k) = ({b}, {k})."
            )
        for part in products:
            _check_part("products", part.factors.shape[0], part.weights.shape[1], b, k)
            if part.factors.shape[2] != n:
                raise ValueError(
                    f"Dividends got products over {part.factors.shape[2]} players; the coalitions "
                    f"have {n}."
                )
        for part in boxes:
            _check_part("boxes", part.inside.shape[0], part.values.shape[1], b, k)
            if part.features.numel() and int(part.features.max()) >= n:
                raise ValueError(
                    f"Dividends got boxes that name player {int(part.features.max())}; there are "
                    f"{n}, counted from 0."
                )
        for name, given, count in (("players", players, n), ("outputs", outputs, k)):
            if given is not None and len(given) != count:
                raise ValueError(f"Dividends got {len(given)} {name} for {count}.")
        if max_terms < 1:
            raise ValueError(f"max_terms is {max_terms}; it must be at least 1.")
        set_once = {
            "terms": coalitions,
            "term_values": _accumulated(values),
            "constant": _accumulated(base_values),
            "products": tuple(products),
            "boxes": tuple(boxes),
            "players": None if players is None else tuple(players),
            "outputs": None if outputs is None else tuple(outputs),
            "max_terms": max_terms,
            "game": game,
        }
        self.__dict__.update(set_once)

    terms: Tensor
    term_values: Tensor
    constant: Tensor
    products: tuple[Products, ...]
    boxes: tuple[Boxes, ...]
    players: tuple[str, ...] | None
    outputs: tuple[str, ...] | None
    max_terms: int
    game: str

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        raise AttributeError(
            f"Dividends are immutable; make new ones instead of setting {name!r}."
        )

    def __repr__(self) -> str:
        return (
            f"Dividends(b={self.n_explicands}, n={self.n_players}, k={self.n_outputs}, "
            f"terms={self.terms.shape[0]}, "
            f"products={sum(p.weights.shape[0] for p in self.products)}, "
            f"boxes={sum(b.features.shape[0] for b in self.boxes)})"
        )

    def __len__(self) -> int:
        return self.n_explicands

    @property
    def n_explicands(self) -> int:
        """Explicands `b`."""
        return self.term_values.shape[0]

    @property
    def n_players(self) -> int:
        """Players `n`."""
        return self.terms.shape[1]

    @property
    def n_outputs(self) -> int:
        """Outputs `k`."""
        return self.term_values.shape[2]

    @cached_property
    def base_values(self) -> Tensor:
        """v(none), `(b, k)`, with what products and boxes pay for the empty coalition."""
        empty = ~self.terms.any(1)
        base = self.constant + self.term_values[:, empty].sum(1)
        for part in (*self.products, *self.boxes):
            base = base + part.base()
        return base

    def shapley(self) -> Tensor:
        """Shapley values `(b, n, k)`: each dividend shared equally by its members.

        Source: Harsanyi (1963); products by Gauss-Legendre nodes on Owen's (1972) diagonal.
        """
        sizes = self.terms.sum(1, keepdim=True).clamp(min=1)
        total = self._shared(self.terms.to(self.term_values.dtype) / sizes)
        for part in self.products:
            total = total + part.shapley()
        for part in self.boxes:
            total = total + part.singles("SII", self.n_players)
        return total

    def banzhaf(self) -> Tensor:
        """Banzhaf values `(b, n, k)`: mean marginal contribution over all coalitions."""
        sizes = self.terms.sum(1, keepdim=True).clamp(min=1).to(self.term_values.dtype)
        total = self._shared(self.terms.to(self.term_values.dtype) * 2 ** (1 - sizes))
        for part in self.products:
            total = total + part.banzhaf()
        for part in self.boxes:
            total = total + part.singles("BII", self.n_players)
        return total

    def _shared(self, shares: Tensor) -> Tensor:
        return (self.term_values.mT @ shares).mT  # (b, k, u) @ (u, n)

    def value(self, coalitions: Tensor) -> Tensor:
        """v(S) of any coalitions, the base included, without a model call.

        Args:
            coalitions: Bool `(1 or b, m, n)`, true = present.

        Returns:
            Values `(b, m, k)` in units of the outputs.

        Raises:
            TypeError: If `coalitions` is not a bool tensor.
            ValueError: If its shape is another one.
        """
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        total = self.constant[:, None] + self._term_value(coalitions)
        for part in (*self.products, *self.boxes):
            total = total + part.value(coalitions)
        return total

    def _term_value(self, coalitions: Tensor) -> Tensor:
        values, dtype = self.term_values, self.term_values.dtype
        b, u, k = values.shape
        if u == 0 or b == 0:
            return values.new_zeros(b, coalitions.shape[1], k)
        members = self.terms.to(dtype).T  # (n, u)
        answers = []
        for tile in coalitions.split(max(1, _TILE // (u * coalitions.shape[0])), 1):
            whole = ((~tile).to(dtype) @ members) == 0  # (1 or b, m, u)
            answers.append(whole.to(dtype) @ values)
        return torch.cat(answers, 1) if answers else values.new_zeros(b, 0, k)

    def regroup(self, groups: Groups) -> Self:
        """The game over groups of players: a group is present when all its members are.

        Args:
            groups: `{name: members}`, members by name or position, in at most one group each.

        Returns:
            Dividends whose players are the groups in the order given, then the ungrouped ones.

        Raises:
            ValueError: If a group is empty, a member unknown or in two groups, or a name taken.
        """
        return regrouped(self, groups)

    def combine(
        self, weights: Tensor | Sequence[float], outputs: Sequence[str] | None = None
    ) -> Self:
        """The game of fixed linear combinations of the outputs, such as a margin.

        Args:
            weights: `(k,)` for one combination or `(k, j)` for j of them.
            outputs: Their names, or None.

        Returns:
            Dividends with j outputs, parts kept factored.

        Raises:
            TypeError: If `weights` is a function: only fixed weights keep values exact.
            ValueError: If the weights do not fit the outputs or are not finite.
        """
        if callable(weights) or isinstance(weights, str):
            raise TypeError(
                "combine takes fixed weights; a function of the outputs is another game, whose "
                "values need exact_shapley or an estimator."
            )
        matrix = torch.as_tensor(weights, dtype=self.constant.dtype, device=self.constant.device)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
        if matrix.ndim != 2 or matrix.shape[0] != self.n_outputs:
            raise ValueError(
                f"weights have shape {tuple(matrix.shape)}; they need one row per output, "
                f"{self.n_outputs}."
            )
        check_floating("weights", matrix, "combine")
        return type(self)(
            self.terms,
            self.term_values @ matrix.to(self.term_values.dtype),
            self.constant @ matrix,
            products=[
                Products(part.weights @ matrix.to(part.weights.dtype), part.factors)
                for part in self.products
            ],
            boxes=[part.paying(part.values @ matrix.to(part.values.dtype)) for part in self.boxes],
            players=self.players,
            outputs=outputs,
            max_terms=self.max_terms,
            game=self.game,
        )

    def margin(self, output: int | str, other: int | str) -> Self:
        """The game of one output minus another, with one output.

        Args:
            output: Name or position of the output.
            other: Name or position of what is subtracted.

        Returns:
            Dividends with `k = 1`.

        Raises:
            ValueError: If there is no such output.
        """
        names = self.output_names()
        first, second = self._output(output), self._output(other)
        weights = torch.zeros(self.n_outputs)
        weights[first] += 1
        weights[second] -= 1
        return self.combine(weights, [f"{names[first]} - {names[second]}"])

    def probabilities(self) -> NoReturn:
        """Refused: softmax probabilities are no linear function of the outputs.

        Raises:
            ValueError: Always, saying what to do instead.
        """
        raise ValueError(
            "Dividends are exact for the outputs (logits) and fixed linear combinations of them "
            "(combine, margin), not for softmax probabilities. For these, explain the probability "
            "game itself with baselines.exact_shapley or baselines.permutation_shapley."
        )

    def select(self, rows: slice | Sequence[int] | Tensor) -> Self:
        """The game of some of the explicands.

        Args:
            rows: A slice, positions, or a bool mask over the `b` explicands.

        Returns:
            Dividends of these rows in this order.
        """
        index = torch.arange(len(self))[rows if isinstance(rows, slice) else torch.as_tensor(rows)]
        index = index.to(self.constant.device)
        return self.replaced(
            term_values=self.term_values[index],
            constant=self.constant[index],
            products=tuple(Products(part.weights, part.factors[index]) for part in self.products),
            boxes=tuple(part.only(index) for part in self.boxes),
        )

    def replaced(self, **changes: Any) -> Self:  # noqa: ANN401
        """A copy with some of its fields replaced, unchecked; for the algebra's own use."""
        copy = object.__new__(type(self))
        copy.__dict__.update({name: self.__dict__[name] for name in _FIELDS} | changes)
        return copy

    def player_names(self) -> tuple[str, ...]:
        """Names of the players, `player 0`, ... where none were given."""
        if self.players is None:
            return tuple(f"player {i}" for i in range(self.n_players))
        return tuple(str(name) for name in self.players)

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, `output 0`, ... where none were given."""
        if self.outputs is None:
            return tuple(f"output {i}" for i in range(self.n_outputs))
        return tuple(str(name) for name in self.outputs)

    def _output(self, output: int | str) -> int:
        names = self.output_names()
        if isinstance(output, str) and output in names:
            return names.index(output)
        if isinstance(output, str) or not -len(names) <= output < len(names):
            raise ValueError(f"output={output!r} is not one of {names}.")
        return output % len(names)

    def _row(self, row: int) -> int:
        if not -len(self) <= row < len(self):
            raise ValueError(f"row={row} is out of range; there are {len(self)} explicands.")
        return row % len(self)

    def __mul__(self, scale: float | Tensor) -> Self:
        """The game with every output times one number."""
        return self.replaced(
            term_values=self.term_values * scale,
            constant=self.constant * scale,
            products=tuple(Products(p.weights * scale, p.factors) for p in self.products),
            boxes=tuple(part.paying(part.values * scale) for part in self.boxes),
        )

    __rmul__ = __mul__

    def __add__(self, other: Self) -> Self:
        """The sum of two games."""
        return self.sum([self, other])

    @classmethod
    def sum(cls, games: Iterable[Self]) -> Self:
        """The sum of games over the same players, explicands and outputs.

        Args:
            games: At least one.

        Returns:
            Their sum, parts kept factored; names come from the first game that has them.

        Raises:
            ValueError: If there is no game, or they disagree in shape or in names.
        """
        games = list(games)
        if not games:
            raise ValueError("Dividends.sum got no games; pass at least one.")
        shapes = {(d.n_explicands, d.n_players, d.n_outputs) for d in games}
        if len(shapes) > 1:
            raise ValueError(
                f"Dividends.sum got games of (b, n, k) {sorted(shapes)}; all must agree."
            )
        names: dict[str, Any] = {}
        for which in ("players", "outputs"):
            given = {getattr(d, which) for d in games} - {None}
            if len(given) > 1:
                raise ValueError(f"Dividends.sum got games with different {which}: {given}.")
            names[which] = next(iter(given), None)
        constant = games[0].constant
        for game in games[1:]:
            constant = constant + game.constant
        dtype = constant.dtype
        return cls(
            torch.cat([d.terms for d in games]),
            torch.cat([d.term_values.to(dtype) for d in games], 1),
            constant,
            products=[part for d in games for part in d.products],
            boxes=[part for d in games for part in d.boxes],
            max_terms=max(d.max_terms for d in games),
            game=next((d.game for d in games if d.game), ""),
            **names,
        )


def _accumulated(tensor: Tensor) -> Tensor:
    """Half precision is widened: sums over many terms would lose what they are exact for."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _check_terms(coalitions: Tensor, values: Tensor) -> None:
    if not isinstance(coalitions, Tensor) or coalitions.dtype != torch.bool:
        kind = getattr(coalitions, "dtype", type(coalitions).__name__)
        raise TypeError(f"Dividends got coalitions of type {kind}; pass bool, true = member.")
    check_floating("values", values, "Dividends")
    if coalitions.ndim != 2 or values.ndim != 3 or values.shape[1] != coalitions.shape[0]:
        raise ValueError(
            f"Dividends got coalitions {tuple(coalitions.shape)} and values {tuple(values.shape)};"
            " they must be (u, n) and (b, u, k)."
        )


def _check_part(name: str, rows: int, outputs: int, b: int, k: int) -> None:
    if (rows, outputs) != (b, k):
        raise ValueError(
            f"Dividends got {name} with (b, k) = ({rows}, {outputs}); values need ({b}, {k})."
        )
