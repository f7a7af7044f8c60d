"""Sampling until the answer is good enough: intervals that hold at whatever time one looks.

Antithetic pairs on what an odd-GP surrogate leaves unexplained; confidence sequences decide when
to stop and which of the largest attributions are certain.
"""

import dataclasses
from math import log, sqrt
from numbers import Real

import torch
from torch import Tensor

from baselines.arguments import check_game, is_a, whole
from baselines.asking import active_players, ask, check_budget
from baselines.coalitions import key_from
from baselines.designs import sample_pairs
from baselines.estimates import Estimate
from baselines.evaluation import explanation_of
from baselines.exact import MAX_PLAYERS, exact_shapley
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.gp import Surrogate
from baselines.orders import draw_pairs, pair_contributions, shuffled_orders
from baselines.sampling import GROUP_CELLS

LEVEL = 0.05
"""Chance that any interval of an explicand's output is ever wrong."""

FIRST_PAIRS = 64
"""Pairs before the first look: the sequence is asymptotic."""

GROWTH = 1.25
"""Factor between looks."""

SURROGATE_PER_PLAYER = 10
"""Coalitions per player that the surrogate is fitted on, at most a fifth of the budget."""

JOINT_CELLS = 2**24
"""Largest covariance between players that is kept; beyond it ranks use single intervals."""


def sample_until(
    game: Game,
    *,
    tolerance: float | None,
    max_budget: int,
    certify_top_k: int | None = None,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Shapley values sampled until every interval is narrow enough, or the budget is spent.

    Args:
        game: Games of `b` explicands and `n` players, none of them padding.
        tolerance: Stop when each half-width is at most `tolerance * ||phi||_2 / sqrt(n)` of its
            explicand and output; None stops when the ranks asked for are certain.
        max_budget: Most coalitions per explicand.
        certify_top_k: Ranks, by absolute value, to certify.
        generator: Source of the random orders.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)`, unbiased given the surrogate, with `std_errors` over pairs. In the
        diagnostics: `half_widths` `(b, n, k)` of intervals that all hold at every time with
        probability 95 % per explicand and output (asymptotically), `converged` bool `(b, k)`,
        and with `certify_top_k` the players `top` `(b, K, k)` by falling absolute value and
        `certain_ranks` bool `(b, K, k)`. Exact where enumeration costs less.

    Raises:
        TypeError: If `max_budget` or `certify_top_k` is no whole number, or `tolerance` no number.
        ValueError: If an argument is out of range, or the game is ragged.

    Source: Waudby-Smith et al. (2024), thm. 2.2 (asymptotic confidence sequences); control
        variates on pairs, Mitchell et al. (2022); ranks by paired differences, Kolpaczki et al.
        (2025).

    Example:
        >>> import torch
        >>> from baselines import TableGame, sample_until
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> sample_until(game, tolerance=0.01, max_budget=100).values[0, :, 0]
        tensor([2.3333, 3.3333, 4.3333])
    """
    check_game(game)
    n = game.n_players
    if tolerance is None and certify_top_k is None:
        raise ValueError("tolerance and certify_top_k are both None; pass at least one of them.")
    if tolerance is not None and not is_a(tolerance, Real):
        raise TypeError(f"tolerance={tolerance!r}; pass a positive number, such as 0.01.")
    if tolerance is not None and not 0 < tolerance < float("inf"):
        raise ValueError(f"tolerance={tolerance}; pass a positive number, such as 0.01.")
    if certify_top_k is not None:
        certify_top_k = whole(certify_top_k, "certify_top_k")
    if certify_top_k is not None and not 1 <= certify_top_k < max(2, n):
        raise ValueError(f"certify_top_k={certify_top_k}; {n} players have 1 to {n - 1} ranks.")
    if active_players(game) is not None:
        raise ValueError("the game is ragged; pass a budget instead of a tolerance.")
    least = 2 if n <= 2 else 2 + 4 * (n - 1)
    check_budget(max_budget, least, f"two pairs of orders of {n} players")
    run = _Run(game, tolerance, certify_top_k, key_from(generator), chunk_size)
    return run.finish(max_budget)


@dataclasses.dataclass
class _Moments:
    """Count, mean and squared deviations of pairs, with their products where these are kept."""

    count: int
    mean: Tensor  # (b, n, k)
    squares: Tensor  # (b, n, k)
    products: Tensor | None  # (b, k, n, n)

    @classmethod
    def of(cls, units: Tensor, joint: bool) -> "_Moments":
        mean = units.mean(1)
        away = units - mean[:, None]  # (b, p, n, k)
        products = torch.einsum("bpik,bpjk->bkij", away, away) if joint else None
        return cls(units.shape[1], mean, away.square().sum(1), products)

    def merge(self, other: "_Moments") -> "_Moments":
        count = self.count + other.count
        shift = other.mean - self.mean
        weight = self.count * other.count / count
        products = None
        if self.products is not None and other.products is not None:
            turned = torch.einsum("bik,bjk->bkij", shift, shift)
            products = self.products + other.products + turned * weight
        return _Moments(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + shift.square() * weight,
            products,
        )


class _Run:
    """A live run: the surrogate, and the moments of pairs on what it leaves."""

    def __init__(
        self,
        game: Game,
        tolerance: float | None,
        top: int | None,
        key: int,
        chunk_size: int | None,
    ) -> None:
        self.game, self.tolerance, self.top = game, tolerance, top
        self.key, self.chunk_size = key, chunk_size
        self.asked, self.surrogate = 0, None
        self.moments: _Moments | None = None
        self.raw: _Moments | None = None  # of the game itself, surrogate or not

    def _first_look(self) -> int:
        return 2 + 2 * FIRST_PAIRS * (self.game.n_players - 1)

    def _begin(self, max_budget: int) -> None:
        """Ask for the ends, and for a first sample that the surrogate is fitted on."""
        game, n = self.game, self.game.n_players
        spend = min(SURROGATE_PER_PLAYER * n, max_budget // 5)
        if n <= MAX_PLAYERS:
            spend = min(spend, 2**n // 4)
        n_pairs = max(0, (spend - 2) // 2)
        sample = sample_pairs(n, n_pairs, self.key) if n > 1 else None
        rows = (
            torch.tensor([[False], [True]]).expand(2, n) if sample is None else sample.coalitions
        )
        values = ask(game, rows, self.chunk_size)
        self.ends, self.asked = values[:, :2], len(rows)
        if sample is not None and n_pairs >= 2 * n:
            self.surrogate = Surrogate(sample, values.double())

    def finish(self, max_budget: int) -> Explanation:
        """Sample until done; the exact answer instead, once sampling would cost as much."""
        n = self.game.n_players
        if n <= MAX_PLAYERS and self.asked == 0 and 2**n <= min(max_budget, self._first_look()):
            return self._exact()
        if self.asked == 0:
            self._begin(max_budget)
        pairs = 0 if self.moments is None else self.moments.count
        limit = pairs + (max_budget - self.asked) // (2 * (n - 1))
        while pairs < limit:
            pairs = min(limit, max(FIRST_PAIRS, int(pairs * GROWTH) + 1))
            wanted = self.asked + (pairs - self._count) * 2 * (n - 1)
            # sampling on would cost as much as all coalitions
            if n <= MAX_PLAYERS and self.asked + 2**n <= max_budget and wanted >= 2**n:
                return self._exact()
            self._sample(pairs)
            if self._done():
                break
        return self._explain(max_budget)

    @property
    def _count(self) -> int:
        return 0 if self.moments is None else self.moments.count

    def _exact(self) -> Explanation:
        answer = exact_shapley(self.game, chunk_size=self.chunk_size)
        spent = answer.n_evals + self.asked
        b, _, k = answer.values.shape
        facts = {"half_widths": torch.zeros_like(answer.values)}
        facts["converged"] = torch.ones(b, k, dtype=torch.bool, device=answer.values.device)
        if self.top is not None:
            size = answer.values.abs()
            facts["top"] = size.argsort(dim=1, descending=True, stable=True)[:, : self.top]
            ordered = size.sort(1, descending=True).values
            apart = ordered[:, :-1] > ordered[:, 1:]
            apart = torch.cat([torch.ones_like(apart[:, :1]), apart], 1)
            facts["certain_ranks"] = apart[:, : self.top] & apart[:, 1 : self.top + 1]
        return dataclasses.replace(
            answer, n_evals=spent, diagnostics={**answer.diagnostics, **facts}
        )

    def _sample(self, upto: int) -> None:
        n, (b, _, k) = self.game.n_players, self.ends.shape
        cost = 2 * (n - 1)
        group = max(1, GROUP_CELLS // max(1, cost * max(n, b * k)))
        joint = self.top is not None and b * k * n * n <= JOINT_CELLS
        while self._count < upto:
            count = min(group, upto - self._count)
            orders, rows = draw_pairs(
                shuffled_orders, n, self.key, self._count, self._count + count
            )
            values = ask(self.game, rows, self.chunk_size).double()
            self.asked += len(rows)
            units = pair_contributions(orders, values, self.ends.double())
            raw = _Moments.of(units, False)
            self.raw = raw if self.raw is None else self.raw.merge(raw)
            if self.surrogate is not None:
                units = units + self._expected(orders, rows)
            part = _Moments.of(units, joint)
            self.moments = part if self.moments is None else self.moments.merge(part)

    def _expected(self, orders: Tensor, rows: Tensor) -> Tensor:
        """What the surrogate's values exceed its own pair contributions by: mean zero."""
        surrogate = self.surrogate
        assert surrogate is not None  # the caller looked
        b = len(self.ends)
        odd = surrogate.odd(rows[0::2], b)  # (b, p (n - 1), k)
        values = torch.stack([odd, -odd], 2).flatten(1, 2)
        ends = surrogate.odd(torch.ones(1, rows.shape[1], dtype=torch.bool), b)
        known = pair_contributions(orders, values, torch.cat([-ends, ends], 1))
        return surrogate.values[:, None] - known

    def _reach(self, chance: float, squares: Tensor) -> Tensor:
        """Half-widths of sequences that each fail with at most this chance, at any time."""
        t = self._count
        # rho makes the width least at four times the first look; app. B.2
        rho2 = (-2 * log(chance) + log(-2 * log(chance) + 1)) / (4 * FIRST_PAIRS)
        inside = t * rho2 + 1
        factor = sqrt(2 * inside / (t * t * rho2) * log(sqrt(inside) / chance))
        return (squares / (t - 1)).sqrt() * factor

    def _still(self) -> Tensor:
        """Where pairs of the game do not differ beyond rounding, so that no spread says a thing."""
        assert self.raw is not None  # sampled before
        scale = self.ends.double().abs().amax(1, keepdim=True)
        spread = (self.raw.squares / (self.raw.count - 1)).sqrt()
        return spread <= 64 * torch.finfo(self.ends.dtype).eps * scale

    def _unseen(self, chance: float) -> Tensor:
        """What a player whose pairs never differed may still hide, 0 for all others.

        The second term of the empirical Bernstein bound (Maurer and Pontil, 2009, thm. 4), with
        the sum of all absolute attributions as the range of a pair.
        """
        assert self.raw is not None  # sampled before
        span = self.raw.mean.abs().sum(1, keepdim=True)
        hidden = span * (7 * log(2 / chance) / (3 * (self.raw.count - 1)))
        return torch.where(self._still(), hidden, 0.0)

    def _widths(self) -> Tensor:
        assert self.moments is not None  # sampled before
        chance = LEVEL / self.game.n_players
        return self._reach(chance, self.moments.squares) + self._unseen(chance)

    def _converged(self) -> Tensor:
        assert self.moments is not None  # sampled before
        n = self.game.n_players
        size = self.moments.mean.square().sum(1).sqrt() / n**0.5
        aim = (self.tolerance or 0.0) * size
        return (self._widths() <= aim[:, None]).all(1)

    def _done(self) -> bool:
        if self._count < 2:
            return False
        if self.tolerance is not None:
            return bool(self._converged().all())
        return bool(self._ranks()[1].all())

    def _ranks(self) -> tuple[Tensor, Tensor]:
        """Players `(b, K, k)` by falling absolute value, and which of these ranks are certain."""
        moments, top = self.moments, self.top
        assert moments is not None  # sampled before
        assert top is not None  # the caller looked
        n = moments.mean.shape[1]
        order = moments.mean.abs().argsort(dim=1, descending=True, stable=True)
        chance = LEVEL / (2 * top * n)  # about top * n comparisons, with either sign of the loser
        mean = moments.mean.gather(1, order)
        sign = mean.sign()
        width = None
        if moments.products is None:
            width = self._reach(chance, moments.squares).gather(1, order)
        unseen = self._unseen(chance).gather(1, order)
        split: list[Tensor] = []
        for cut in range(1, top + 1):
            lead, rest = slice(cut - 1, cut), slice(cut, None)
            level = (mean * sign)[:, lead]
            apart = torch.ones_like(level[:, 0], dtype=torch.bool)
            for turn in (1.0, -1.0):
                gap = level - turn * mean[:, rest]
                if width is not None:
                    reach = width[:, lead] + width[:, rest]
                else:
                    reach = self._joint(chance, order, sign, cut, turn)
                reach = reach + unseen[:, lead] + unseen[:, rest]
                apart = apart & (gap > reach).all(1)
            split.append(apart)
        cuts = torch.stack(split, 1)  # (b, K, k): each leader is above all that follow it
        # a rank is certain when all before it are: a wrong one must then beat the true one
        return order[:, :top], cuts.int().cummin(1).values.bool()

    def _joint(self, chance: float, order: Tensor, sign: Tensor, cut: int, turn: float) -> Tensor:
        """Half-widths of the leader's size minus a follower's, from their paired differences."""
        moments = self.moments
        assert moments is not None  # sampled before
        assert moments.products is not None  # the caller looked
        lead = order[:, cut - 1]  # (b, k)
        rest = order[:, cut:]  # (b, f, k)
        rows = moments.products.gather(
            2, lead[:, :, None, None].expand(-1, -1, 1, moments.products.shape[-1])
        )[:, :, 0]  # (b, k, n)
        cross = rows.gather(2, rest.transpose(1, 2)).transpose(1, 2)  # (b, f, k)
        own = moments.squares.gather(1, order[:, cut - 1 : cut])
        other = moments.squares.gather(1, rest)
        both = own + other - 2 * turn * sign[:, cut - 1 : cut] * cross
        return self._reach(chance, both.clamp(min=0.0))

    def _explain(self, max_budget: int) -> Explanation:
        moments = self.moments
        assert moments is not None  # the budget pays for two pairs
        widths = self._widths()
        facts: dict[str, Tensor] = {"half_widths": widths, "n_pairs": torch.tensor(moments.count)}
        if self.tolerance is not None:
            facts["converged"] = self._converged()
        if self.top is not None:
            facts["top"], facts["certain_ranks"] = self._ranks()
            if self.tolerance is None:
                facts["converged"] = facts["certain_ranks"].all(1)
        spread = (moments.squares / (moments.count - 1)).sqrt()
        still = self._still()
        facts["zero_spread"] = still
        errors = torch.where(still, torch.inf, spread / moments.count**0.5)
        state = dict(self.__dict__)

        def more(extra: int) -> Explanation:
            run = _Run.__new__(_Run)
            run.__dict__.update(state)
            return run.finish(max_budget + check_budget(extra, 0))

        helper = "" if self.surrogate is None else " with an odd-GP control variate"
        return explanation_of(
            self.game,
            Estimate(moments.mean, errors, None, facts),
            self.ends,
            method=f"permutation_shapley until certain{helper}",
            n_evals=self.asked,
            continuation=more,
        )
