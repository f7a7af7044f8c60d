"""Shapley values as mean marginal contributions over random orders, with standard errors.

Orders come in antithetic pairs: an order and its reverse share every coalition with the other's
complement, so a pair is exact for games without interactions of more than two players, and the
pair is the unit whose spread gives an honest standard error.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.arguments import check_game
from baselines.asking import active_players, ask, check_budget, is_enumerable
from baselines.coalitions import key_from
from baselines.estimates import Estimate
from baselines.evaluation import enumerate_rest, estimate, explanation_of
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.memory import MEMO_CELLS, Memory
from baselines.moments import PairMoments
from baselines.orders import (
    OrderMaker,
    both_ends,
    draw_pairs,
    orthogonal_orders,
    pair_coalitions,
    pair_contributions,
    partial_order,
    pick_orders,
    shuffled_orders,
)

GROUP_CELLS = 2**22
"""Most mask or value cells of a group of pairs that is held at once."""


def permutation_shapley(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Shapley values as mean marginal contributions over antithetic pairs of random orders.

    Unbiased once the budget holds one whole order, `n + 1`; below that the players between two
    evaluated prefixes of the order share what they add. What is left after whole pairs is not
    spent.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included; a pair of orders costs
            `2 (n - 1)`.
        generator: Source of the random orders.
        chunk_size: Coalitions asked for at once; changes no mask, and values by rounding only.

    Returns:
        Values `(b, n, k)` in units of the game. From two pairs on, `std_errors` is the standard
        deviation of the pair means over the root of their number; it is infinite where all
        pairs agree, since a spread of zero then says nothing, and `diagnostics["zero_spread"]`
        marks these.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Castro et al. (2009); antithetic pairs, Mitchell et al. (2022), sec. 4.

    Example:
        >>> import torch
        >>> from baselines import TableGame, permutation_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> permutation_shapley(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return sample_orders(
        game,
        budget,
        shuffled_orders,
        method="permutation_shapley",
        generator=generator,
        chunk_size=chunk_size,
    )


def orthogonal_shapley(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Shapley values over orders that spread evenly: orthogonal directions and their reverses.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the random rotations.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, unbiased from `n + 1` coalitions on. The
        `n - 1` pairs of a rotation depend on each other, so `std_errors` are over rotations and
        are None below eight whole ones.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Mitchell et al. (2022), sec. 4.3 (orthogonal spherical codes).

    Example:
        >>> import torch
        >>> from baselines import TableGame, orthogonal_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> orthogonal_shapley(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return sample_orders(
        game,
        budget,
        orthogonal_orders,
        method="orthogonal_shapley",
        unit=lambda n: max(1, n - 1),
        generator=generator,
        chunk_size=chunk_size,
    )


def sample_orders(
    game: Game,
    budget: int,
    orders: OrderMaker,
    *,
    method: str,
    unit: Callable[[int], int] | None = None,
    estimand: str = "shapley",
    enumerate_small: bool = True,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Mean marginal contributions over antithetic pairs of the orders that a function draws.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand.
        orders: Draws the orders of a block.
        method: Name of the estimator.
        unit: Pairs that depend on each other, given n; 1 by default.
        estimand: What a value stands for.
        enumerate_small: Whether a budget that pays for all coalitions buys the exact Shapley
            values; false where the orders average to something else.
        generator: Source of the key.
        chunk_size: Coalitions asked for at once.

    Returns:
        An Explanation that `more` can continue.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.
    """
    check_game(game)
    if active_players(game) is not None:
        return estimate(
            game,
            budget,
            lambda n, spend, key: _OrderDesign(n, spend, key, orders, unit),
            method=method,
            generator=generator,
            chunk_size=chunk_size,
            estimand=estimand,
        )
    budget, key = check_budget(budget), key_from(generator)
    if enumerate_small and is_enumerable(game.n_players, budget):
        return enumerate_rest(game, None, None, chunk_size)
    size = unit(game.n_players) if unit else 1
    run = _Run(game, orders, method, estimand, key, chunk_size, size, enumerate_small)
    return run.upto(budget)


class _Run:
    """A live run over pairs: what was evaluated, and the moments so far."""

    def __init__(
        self,
        game: Game,
        orders: OrderMaker,
        method: str,
        estimand: str,
        key: int,
        chunk_size: int | None,
        unit: int,
        enumerate_small: bool,
    ) -> None:
        self.game, self.orders, self.method, self.estimand = game, orders, method, estimand
        self.key, self.chunk_size, self.unit = key, chunk_size, unit
        self.asked, self.pairs = 0, 0
        self.ends: Tensor = torch.empty(0)  # (b, 2, k), asked for with the first coalitions
        self.moments: PairMoments | None = None
        self.rest: list[Tensor] = []  # pairs of a unit that is not complete yet
        self.early: tuple[Tensor, Tensor] | None = None
        self.memo: Memory | None = None
        if enumerate_small and 2 ** min(game.n_players, 40) <= MEMO_CELLS:
            self._remember()

    def _remember(self) -> None:
        """Ask for the ends at once, and keep all values if the game is small."""
        everyone = both_ends(self.game.n_players)
        self.ends, self.asked = ask(self.game, everyone, self.chunk_size), 2
        if len(self.ends) * 2**self.game.n_players * self.ends.shape[-1] <= MEMO_CELLS:
            self.memo = Memory(self.game, self.chunk_size, everyone, self.ends)

    def upto(self, budget: int) -> Explanation:
        """The explanation of the first pairs that the budget pays for."""
        n = self.game.n_players
        if self.memo is not None and is_enumerable(n, budget):
            return enumerate_rest(self.game, *self.memo.known(), self.chunk_size)
        cost = 2 * (n - 1)
        wanted = (budget - 2) // cost if cost else 1
        if wanted == 0:
            return self._partial(budget)
        b, k = self.game.n_explicands, self.ends.shape[-1] if self.asked else 1
        group = max(1, GROUP_CELLS // max(1, cost * max(n, b * k)))
        while self.pairs < wanted:
            # the first pair alone, if a part of it is at hand
            self._add(1 if self.early is not None else min(group, wanted - self.pairs))
            self.early = None
        return self._explain(budget)

    def _add(self, count: int) -> None:
        start, stop = self.pairs, self.pairs + count
        orders, rows = draw_pairs(self.orders, self.game.n_players, self.key, start, stop)
        values = self._values(rows).double()
        ends = self.ends.double()
        parts = pair_contributions(orders, values, ends)
        scale = _scale(ends)
        if len(rows):
            scale = torch.maximum(scale, _scale(values))
        self.pairs = stop
        if self.unit > 1:
            parts = torch.cat([*self.rest, parts], 1)
            whole = parts.shape[1] // self.unit * self.unit
            self.rest = [parts[:, whole:]]
            parts = torch.unflatten(parts[:, :whole], 1, (-1, self.unit)).mean(2)
        if parts.shape[1]:
            moments = PairMoments.of(parts, scale)
            self.moments = moments if self.moments is None else self.moments.merge(moments)

    def _values(self, rows: Tensor) -> Tensor:
        """Values `(b, m, k)`, asking for none that is at hand; the ends with the first ones."""
        if not self.asked:
            everyone = both_ends(self.game.n_players)
            values = ask(self.game, torch.cat([everyone, rows]), self.chunk_size)
            self.asked = 2 + len(rows)
            self.ends = values[:, :2]
            return values[:, 2:]
        if self.memo is not None:
            before = self.memo.n_seen
            values = self.memo.ask(rows)
            self.asked += self.memo.n_seen - before
            return values
        if not len(rows):  # a budget that pays for the ends alone
            return self.ends[:, :0]
        if self.early is None:
            self.asked += len(rows)
            return ask(self.game, rows, self.chunk_size)
        seen, known = self.early  # prefixes of the first order, from a budget below one pair
        same = (rows[:, None] == seen).all(-1)
        old = same.any(1)
        values = known.new_empty((len(known), len(rows), known.shape[-1]))
        values[:, old.to(known.device)] = known[:, same[old].long().argmax(1).to(known.device)]
        fresh = rows[~old]
        self.asked += len(fresh)
        if len(fresh):
            values[:, (~old).to(known.device)] = ask(self.game, fresh, self.chunk_size)
        return values

    def _explain(self, budget: int) -> Explanation:
        moments, rest = self.moments, self.rest[0] if self.rest else None
        diagnostics: dict[str, Tensor] = {}
        errors = None
        if moments is None:
            assert rest is not None  # the pairs of the first unit
            values = rest.mean(1)
        else:
            values = moments.mean
            found = moments.std_errors(self.ends.dtype, least_units(self.unit))
            if found is not None:
                errors, diagnostics["zero_spread"] = found
            if rest is not None and rest.shape[1]:
                whole = moments.count * self.unit
                values = (values * whole + rest.sum(1)) / (whole + rest.shape[1])
        diagnostics["n_pairs"] = torch.tensor(self.pairs)
        return self._wrap(Estimate(values, errors, None, diagnostics), budget)

    def _partial(self, budget: int) -> Explanation:
        """One order at most: its marginals, or equal shares between the prefixes evaluated."""
        order = self.orders(self.game.n_players, self.key, 0)[:1]
        rows, shares = partial_order(order, budget)
        values = self._values(rows)
        if self.memo is None and len(rows):
            self.early = (rows, values)
        line = torch.cat([self.ends[:, :1], values, self.ends[:, 1:]], 1).double()
        answer = Estimate(torch.einsum("bmk,mn->bnk", line.diff(dim=1), shares.to(line.device)))
        return self._wrap(answer, budget)

    def _wrap(self, answer: Estimate, budget: int) -> Explanation:
        state = dict(self.__dict__)  # a snapshot, so that one explanation can be continued twice

        def more(extra: int) -> Explanation:
            run = _Run.__new__(_Run)
            run.__dict__.update(state)
            if run.memo is not None:
                run.memo = run.memo.copy()
            return run.upto(budget + check_budget(extra, 0))

        return explanation_of(
            self.game,
            answer,
            self.ends,
            method=self.method,
            n_evals=self.asked,
            estimand=self.estimand,
            key=self.key,
            continuation=more,
        )


class _OrderDesign:
    """Pairs of orders as one design, for ragged games; the same pairs as a run draws."""

    def __init__(
        self,
        n_players: int,
        budget: int,
        key: int,
        orders: OrderMaker,
        unit: Callable[[int], int] | None,
    ) -> None:
        self.unit = unit(n_players) if unit else 1
        pairs = (budget - 2) // (2 * (n_players - 1))
        everyone = both_ends(n_players)
        if pairs == 0:
            self.orders = None
            rows, self.shares = partial_order(orders(n_players, key, 0)[:1], budget)
        else:
            self.orders = pick_orders(orders, n_players, key, 0, pairs)
            rows = pair_coalitions(self.orders)
        self.coalitions = torch.cat([everyone, rows])

    def solve(self, values: Tensor) -> Estimate:
        ends, values = values[:, :2], values[:, 2:]
        if self.orders is None:
            line = torch.cat([ends[:, :1], values, ends[:, 1:]], 1)
            shares = self.shares.to(line.device)
            return Estimate(torch.einsum("bmk,mn->bnk", line.diff(dim=1), shares))
        parts = pair_contributions(self.orders, values, ends)
        mean = parts.mean(1)
        whole = parts.shape[1] // self.unit * self.unit
        units = torch.unflatten(parts[:, :whole], 1, (-1, self.unit)).mean(2)
        found = None
        if units.shape[1] > 1:
            moments = PairMoments.of(units, _scale(values))
            found = moments.std_errors(values.dtype, least_units(self.unit))
        return Estimate(mean, None if found is None else found[0])


def least_units(unit: int) -> int:
    """Units that a standard error needs: two pairs, but eight of the few large ones."""
    return 2 if unit == 1 else 8


def _scale(values: Tensor) -> Tensor:
    return values.double().abs().amax(1, keepdim=True)
