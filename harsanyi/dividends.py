"""Dividends: a game written as a sum of few simple games, and everything that follows for free.

v(S) = sum of the dividends of the coalitions inside S (Harsanyi, 1963). Shapley values, every
interaction index and the value of any coalition are linear in them: no model is called again.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from baselines.coalitions import check_coalitions
from harsanyi.boxes import Boxes
from harsanyi.expansion import expanded_boxes, expanded_products, product_terms
from harsanyi.quadrature import Products, _check_floating
from harsanyi.subsets import merged

__all__ = ["Boxes", "Dividends", "Products"]

_TILE = 2**23  # numbers held at once in one intermediate


class Dividends:
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
    ) -> None:
        _check_terms(coalitions, values)
        b, _, k = values.shape
        n = coalitions.shape[1]
        if base_values is None:
            base_values = values.new_zeros(b, k)
        _check_floating("base_values", base_values, "Dividends")
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
            "_terms": coalitions,
            "_term_values": _accumulated(values),
            "_constant": _accumulated(base_values),
            "products": tuple(products),
            "boxes": tuple(boxes),
            "players": None if players is None else tuple(players),
            "outputs": None if outputs is None else tuple(outputs),
            "max_terms": max_terms,
        }
        self.__dict__.update(set_once)

    _terms: Tensor
    _term_values: Tensor
    _constant: Tensor
    products: tuple[Products, ...]
    boxes: tuple[Boxes, ...]
    players: tuple[str, ...] | None
    outputs: tuple[str, ...] | None
    max_terms: int

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        raise AttributeError(
            f"Dividends are immutable; make new ones instead of setting {name!r}."
        )

    def __repr__(self) -> str:
        return (
            f"Dividends(b={self.n_explicands}, n={self.n_players}, k={self.n_outputs}, "
            f"terms={self._terms.shape[0]}, "
            f"products={sum(p.weights.shape[0] for p in self.products)}, "
            f"boxes={sum(b.features.shape[0] for b in self.boxes)})"
        )

    def __len__(self) -> int:
        return self.n_explicands

    @property
    def n_explicands(self) -> int:
        """Explicands `b`."""
        return self._term_values.shape[0]

    @property
    def n_players(self) -> int:
        """Players `n`."""
        return self._terms.shape[1]

    @property
    def n_outputs(self) -> int:
        """Outputs `k`."""
        return self._term_values.shape[2]

    @cached_property
    def base_values(self) -> Tensor:
        """v(none), `(b, k)`, with what products and boxes pay for the empty coalition."""
        empty = ~self._terms.any(1)
        base = self._constant + self._term_values[:, empty].sum(1)
        for part in (*self.products, *self.boxes):
            base = base + part.base()
        return base

    @cached_property
    def _explicit(self) -> tuple[Tensor, Tensor]:
        real = self._terms.any(1)
        sets, values = [self._terms[real]], [self._term_values[:, real]]
        bound = sum(product_terms(part) for part in self.products)
        if bound > self.max_terms:
            raise self._too_many(bound)
        written = [expanded_products(part) for part in self.products]
        written += [expanded_boxes(part, self.n_players) for part in self.boxes]
        for found, dividends in written:
            sets.append(found)
            values.append(dividends.to(self._term_values.dtype))
        coalitions, sums = merged(torch.cat(sets), torch.cat(values, 1))
        if (self.products or self.boxes) and len(coalitions) > self.max_terms:
            raise self._too_many(len(coalitions))
        return coalitions, sums

    def _too_many(self, count: int) -> ValueError:
        return ValueError(
            f"Written out, these dividends have {count} coalitions, more than max_terms="
            f"{self.max_terms}. shapley, banzhaf, interactions and value need no writing out; "
            "else regroup the players or raise max_terms."
        )

    @property
    def coalitions(self) -> Tensor:
        """Coalitions that carry dividends, bool `(u, n)`, each once, none empty.

        Raises:
            ValueError: If products or boxes would make more than `max_terms` of them.
        """
        return self._explicit[0]

    @property
    def values(self) -> Tensor:
        """Dividends `(b, u, k)` of `coalitions`."""
        return self._explicit[1]

    def shapley(self) -> Tensor:
        """Shapley values `(b, n, k)`: each dividend shared equally by its members.

        Source: Harsanyi (1963); products by Gauss-Legendre nodes on Owen's (1972) diagonal.
        """
        sizes = self._terms.sum(1, keepdim=True).clamp(min=1)
        total = self._shared(self._terms.to(self._term_values.dtype) / sizes)
        for part in self.products:
            total = total + part.shapley()
        for part in self.boxes:
            total = total + part.singles("SII", self.n_players)
        return total

    def banzhaf(self) -> Tensor:
        """Banzhaf values `(b, n, k)`: mean marginal contribution over all coalitions."""
        sizes = self._terms.sum(1, keepdim=True).clamp(min=1).to(self._term_values.dtype)
        total = self._shared(self._terms.to(self._term_values.dtype) * 2 ** (1 - sizes))
        for part in self.products:
            total = total + part.banzhaf()
        for part in self.boxes:
            total = total + part.singles("BII", self.n_players)
        return total

    def _shared(self, shares: Tensor) -> Tensor:
        return (self._term_values.mT @ shares).mT  # (b, k, u) @ (u, n)

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
        total = self._constant[:, None] + self._term_value(coalitions)
        for part in (*self.products, *self.boxes):
            total = total + part.value(coalitions)
        return total

    def _term_value(self, coalitions: Tensor) -> Tensor:
        values, dtype = self._term_values, self._term_values.dtype
        b, u, k = values.shape
        if u == 0 or b == 0:
            return values.new_zeros(b, coalitions.shape[1], k)
        members = self._terms.to(dtype).T  # (n, u)
        answers = []
        for tile in coalitions.split(max(1, _TILE // (u * coalitions.shape[0])), 1):
            whole = ((~tile).to(dtype) @ members) == 0  # (1 or b, m, u)
            answers.append(whole.to(dtype) @ values)
        return torch.cat(answers, 1) if answers else values.new_zeros(b, 0, k)

    @staticmethod
    def sum(games: Iterable["Dividends"]) -> "Dividends":
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
        constant = games[0]._constant
        for game in games[1:]:
            constant = constant + game._constant
        dtype = constant.dtype
        return Dividends(
            torch.cat([d._terms for d in games]),
            torch.cat([d._term_values.to(dtype) for d in games], 1),
            constant,
            products=[part for d in games for part in d.products],
            boxes=[part for d in games for part in d.boxes],
            max_terms=max(d.max_terms for d in games),
            **names,
        )


def _accumulated(tensor: Tensor) -> Tensor:
    """Half precision is widened: sums over many terms would lose what they are exact for."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _check_terms(coalitions: Tensor, values: Tensor) -> None:
    if not isinstance(coalitions, Tensor) or coalitions.dtype != torch.bool:
        kind = getattr(coalitions, "dtype", type(coalitions).__name__)
        raise TypeError(f"Dividends got coalitions of type {kind}; pass bool, true = member.")
    _check_floating("values", values, "Dividends")
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
