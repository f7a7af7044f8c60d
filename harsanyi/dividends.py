"""Dividends: a game written as a sum of few simple games, and everything that follows for free.

v(S) = sum of the dividends of the coalitions inside S (Harsanyi, 1963). Shapley values, every
interaction index and the value of any coalition are linear in them: no model is called again.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.torch_calls import as_list
from harsanyi.boxes import Boxes
from harsanyi.curves import SufficientSet, curve, player_order, smallest_sufficient_set
from harsanyi.expansion import expanded_boxes, expanded_products, product_terms
from harsanyi.factored import FactoredGame
from harsanyi.interacting import interactions
from harsanyi.quadrature import Products
from harsanyi.spectrum import order_spectrum, term_spectrum
from harsanyi.subsets import merged

if TYPE_CHECKING:
    from baselines.interactions import Interactions

__all__ = ["Boxes", "Dividends", "Products"]


class Dividends(FactoredGame):
    """A game as explicit dividends, product games and tree boxes; immutable.

    Built, added, combined, regrouped and valued as `FactoredGame` says; here is what is read
    from the dividends themselves.

    Source: Harsanyi (1963); Grabisch and Roubens (1999) for indices as sums of dividends.

    Example:
        >>> import torch
        >>> from harsanyi import Dividends
        >>> coalitions = torch.tensor([[True, False], [True, True]])
        >>> d = Dividends(coalitions, torch.tensor([[[1.0], [4.0]]]), torch.zeros(1, 1))
        >>> d.shapley()[0, :, 0]  # the pair's 4 is shared
        tensor([3., 2.])
        >>> d.value(torch.tensor([[[False, True], [True, True]]]))[0, :, 0]
        tensor([0., 5.])
    """

    @cached_property
    def _explicit(self) -> tuple[Tensor, Tensor]:
        real = self.terms.any(1)
        sets, values = [self.terms[real]], [self.term_values[:, real]]
        bound = sum(product_terms(part) for part in self.products)
        if bound > self.max_terms:
            raise self._too_many(bound)
        written = [expanded_products(part) for part in self.products]
        written += [expanded_boxes(part, self.n_players) for part in self.boxes]
        for found, dividends in written:
            sets.append(found)
            values.append(dividends.to(self.term_values.dtype))
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

    def interactions(
        self, index: str = "k-SII", order: int = 2, *, max_subsets: int = 2**18
    ) -> "Interactions":
        """Interactions of every set of 1 to `order` players, exact for the game.

        Explicit dividends go through matrix products, boxes and products through closed forms;
        nothing is written out. Cost grows with the sets listed.

        Args:
            index: SII, k-SII, STII, FSII, BII or FBII.
            order: Largest size of a set.
            max_subsets: Most sets to list.

        Returns:
            Interactions with the sets that occur; all others are 0.

        Raises:
            ValueError: If the index is unknown, the order is not between 1 and n, or there are
                more than `max_subsets` sets.

        Source: Grabisch and Roubens (1999); Lundberg et al. (2020) and Bordt and von Luxburg
            (2023) for k-SII; Sundararajan et al. (2020); Tsai et al. (2023).
        """
        return interactions(self, index, order, max_subsets)

    def top(
        self, m: int = 10, row: int = 0, output: int | str = 0
    ) -> list[tuple[tuple[str, ...], float]]:
        """The coalitions of largest absolute dividend of one explicand.

        Args:
            m: How many, at most.
            row: Position of the explicand.
            output: Name or position of the output.

        Returns:
            Pairs (names of the members, dividend), largest first.

        Raises:
            ValueError: If row, output or `m` is out of range, or `max_terms` is passed.
        """
        if m < 0:
            raise ValueError(f"m is {m}; ask for 0 or more coalitions.")
        place, names = self._output(output), self.player_names()
        game = self.select([self._row(row)])
        sets, values = game.coalitions, game.values[0, :, place].detach()
        order = values.abs().argsort(descending=True, stable=True)[:m]
        members: list[list[int]] = [as_list(row.nonzero().flatten()) for row in sets[order]]
        return [
            (tuple(names[i] for i in which), float(value))
            for which, value in zip(members, values[order], strict=True)
        ]

    def order_spectrum(self) -> Tensor:
        """Share of the absolute dividends at each order, `(b, n, k)`: order s stands at s - 1.

        Dividends on the same coalition are added up first, so products and boxes are written
        out; where that is refused, `term_spectrum` is the closed form that does without.

        Raises:
            ValueError: If that would make more than `max_terms` coalitions.
        """
        return order_spectrum(self)

    def term_spectrum(self) -> Tensor:
        """Share of each order `(b, n, k)` in the terms, products and boxes taken one by one.

        The same as `order_spectrum` but for what cancels between parts on the same coalition;
        complex products count by their moduli.
        """
        return term_spectrum(self)

    def uninformative_mass(self) -> Tensor:
        """Share `(b, k)` of the absolute dividends that all n players split equally.

        Raises:
            ValueError: If writing out would make more than `max_terms` coalitions.
        """
        return self.order_spectrum()[:, -1]

    def deletion_curve(
        self,
        row: int = 0,
        output: int | str = 0,
        order: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """v as players leave the grand coalition one by one.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.
            order: Positions in the order of leaving; None takes the largest Shapley value first.

        Returns:
            `(n + 1,)`, from v(all) to v(none).

        Raises:
            ValueError: If row, output or order is out of range.
        """
        row, place = self._row(row), self._output(output)
        return curve(self, row, place, player_order(self, row, place, order), delete=True)

    def insertion_curve(
        self,
        row: int = 0,
        output: int | str = 0,
        order: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """v as players join the empty coalition one by one; arguments as `deletion_curve`.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.
            order: Positions in the order of joining; None takes the largest Shapley value first.

        Returns:
            `(n + 1,)`, from v(none) to v(all).

        Raises:
            ValueError: If row, output or order is out of range.
        """
        row, place = self._row(row), self._output(output)
        return curve(self, row, place, player_order(self, row, place, order), delete=False)

    def smallest_sufficient_set(
        self,
        row: int = 0,
        output: int | str = 0,
        *,
        share: float = 0.9,
        threshold: float | None = None,
        budget: int = 2**16,
    ) -> SufficientSet:
        """The fewest players that alone keep an output where all of them put it.

        Found greedily among the players that matter; then all smaller sets are looked at, unless
        they are more than `budget`, and the answer says which. No model is called.

        Args:
            row: Position of the explicand.
            output: Name or position of the output; use `margin` first to keep a decision.
            share: Share of v(all) - v(none) to keep.
            threshold: In place of a share: stay on this value's side, as v(all) does.
            budget: Most smaller coalitions to look at.

        Returns:
            The set, its value, the goal, and whether it is certainly the smallest.

        Raises:
            ValueError: If row, output, share or budget is out of range.
        """
        row, place = self._row(row), self._output(output)
        return smallest_sufficient_set(self, row, place, share, threshold, budget)
