"""Games whose Shapley values are known in closed form, each derived apart from the estimators.

A `Known` holds a game and its truth; `table` games list all values, `Rule` games compute them, so
that games with many players have known answers too.
"""

import dataclasses
from collections.abc import Callable
from itertools import combinations
from math import comb, factorial

import torch
from torch import Tensor

from baselines import TableGame
from baselines.coalitions import all_coalitions, check_coalitions


class Rule:
    """A game given by a function from coalitions `(b or 1, m, n)` to values `(b, m, k)`.

    It counts what it is asked, and keeps every coalition it saw when `remember` is set.
    """

    def __init__(self, rule, b: int, n: int, k: int, *, player_mask=None, remember=False):
        self.rule, self.n_explicands, self.n_players, self.n_outputs = rule, b, n, k
        self.player_mask, self.players, self.description = player_mask, None, "rule"
        self.n_evals, self.asked, self.remember = 0, 0, remember
        self.seen: list[Tensor] = []

    def __call__(self, coalitions: Tensor) -> Tensor:
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        self.asked += coalitions.shape[1]
        self.n_evals += self.n_explicands * coalitions.shape[1]
        if self.remember:
            self.seen.append(coalitions.clone())
        return self.rule(coalitions)


@dataclasses.dataclass(frozen=True)
class Known:
    """A game maker, since games count, and the values `(b, n, k)` it must get."""

    name: str
    make: Callable[[], TableGame | Rule]
    truth: Tensor


def tabulate(rule, n: int, b: int, k: int) -> Tensor:
    """Values `(b, 2**n, k)` of a rule."""
    return rule(all_coalitions(n)[None]).expand(b, 2**n, k).clone()


def unanimity(members: Tensor, coefficients: Tensor) -> Known:
    """v(S) = sum of the coefficients whose members are all in S; each is shared equally.

    Args:
        members: Bool `(u, n)`.
        coefficients: `(b, u, k)`.
    """

    def rule(s: Tensor) -> Tensor:
        inside = (~s[..., None, :] & members).sum(-1) == 0  # (b or 1, m, u)
        inside = inside.to(coefficients.dtype).expand(len(coefficients), -1, -1)
        return inside @ coefficients

    share = members.to(coefficients.dtype)
    share = share / share.sum(1, keepdim=True).clamp(min=1)
    b, _, k = coefficients.shape
    truth = torch.einsum("buk,un->bnk", coefficients, share)
    return Known("unanimity", lambda: Rule(rule, b, members.shape[1], k), truth)


def random_unanimity(n: int, terms: int, sizes, seed: int, b: int = 3, k: int = 2) -> Known:
    """Random members of the given sizes and uniform coefficients in (-1, 1)."""
    g = torch.Generator().manual_seed(seed)
    members = torch.zeros(terms, n, dtype=torch.bool)
    for row in members:
        size = sizes[int(torch.randint(len(sizes), (), generator=g))]
        row[torch.randperm(n, generator=g)[:size]] = True
    coefficients = torch.rand(b, terms, k, generator=g, dtype=torch.float64) * 2 - 1
    return unanimity(members, coefficients)


def additive(n: int, b: int = 3, k: int = 2, seed: int = 0) -> Known:
    """v(S) = sum of its members' weights, which are their values."""
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(b, n, k, generator=g, dtype=torch.float64)
    base = torch.randn(b, 1, k, generator=g, dtype=torch.float64)

    def rule(s: Tensor) -> Tensor:
        return s.to(weights).expand(b, -1, -1) @ weights + base

    return Known("additive", lambda: Rule(rule, b, n, k), weights)


def airport(costs: Tensor) -> Known:
    """v(S) = the largest cost in S; each stretch of runway is shared by those who need it."""
    n = len(costs)

    def rule(s: Tensor) -> Tensor:
        return torch.where(s, costs, 0.0).amax(-1, keepdim=True)

    ordered, place = costs.sort()
    steps = torch.diff(ordered, prepend=costs.new_zeros(1)) / torch.arange(n, 0, -1)
    truth = torch.empty_like(costs).scatter_(0, place, steps.cumsum(0))
    return Known("airport", lambda: Rule(rule, 1, n, 1), truth[None, :, None])


def glove(left: int, right: int) -> Known:
    """v(S) = pairs of a left and a right glove in S; truth by counting orders."""
    n = left + right

    def rule(s: Tensor) -> Tensor:
        a, z = s[..., :left].sum(-1), s[..., left:].sum(-1)
        return torch.minimum(a, z).double()[..., None]

    def value(side: int, other: int) -> float:  # mean marginal of one owner of a side
        total = 0.0
        for a in range(side):  # gloves of the own side already there
            for z in range(other + 1):
                size = a + z
                if a < z:
                    ways = comb(side - 1, a) * comb(other, z)
                    total += ways * factorial(size) * factorial(n - 1 - size) / factorial(n)
        return total

    both = [value(left, right)] * left + [value(right, left)] * right
    truth = torch.tensor(both, dtype=torch.float64)
    return Known("glove", lambda: Rule(rule, 1, n, 1), truth[None, :, None])


def voting(weights: list[int], quota: int) -> Known:
    """v(S) = 1 when the weights in S reach the quota; truth counts pivots by dynamic programming."""
    n = len(weights)
    tensor = torch.tensor(weights)

    def rule(s: Tensor) -> Tensor:
        return ((s * tensor).sum(-1, keepdim=True) >= quota).double()

    truth = []
    for i, own in enumerate(weights):
        ways = [[0] * (sum(weights) + 1) for _ in range(n)]  # [size][weight]
        ways[0][0] = 1
        for j, w in enumerate(weights):
            if j != i:
                for size in range(n - 2, -1, -1):
                    for weight in range(sum(weights) - w, -1, -1):
                        ways[size + 1][weight + w] += ways[size][weight]
        truth.append(
            sum(
                sum(ways[size][max(0, quota - own) : quota])
                * factorial(size)
                * factorial(n - 1 - size)
                / factorial(n)
                for size in range(n)
            )
        )
    values = torch.tensor(truth, dtype=torch.float64)[None, :, None]
    return Known("voting", lambda: Rule(rule, 1, n, 1), values)


def random_table(n: int, seed: int = 0, b: int = 3, k: int = 2) -> Known:
    """Independent normal values; truth by the subset formula, player by player."""
    g = torch.Generator().manual_seed(seed)
    table = torch.randn(b, 2**n, k, generator=g, dtype=torch.float64)
    truth = torch.zeros(b, n, k, dtype=torch.float64)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            weight = factorial(size) * factorial(n - 1 - size) / factorial(n)
            for subset in combinations(others, size):
                index = sum(2**j for j in subset)
                truth[:, i] += weight * (table[:, index + 2**i] - table[:, index])
    return Known("random table", lambda: TableGame(table), truth)


def with_dummy(n: int, seed: int = 0, b: int = 3, k: int = 2) -> Known:
    """A random table of n - 1 players and a last one that changes nothing and is worth 0."""
    known = random_table(n - 1, seed, b, k)
    table = known.make().values
    truth = torch.cat([known.truth, torch.zeros(b, 1, k, dtype=torch.float64)], 1)
    return Known("dummy", lambda: TableGame(torch.cat([table, table], 1)), truth)


def symmetric(n: int, seed: int = 0, b: int = 3, k: int = 2) -> Known:
    """v(S) depends on the size of S only, so that players share equally."""
    g = torch.Generator().manual_seed(seed)
    by_size = torch.randn(b, n + 1, k, generator=g, dtype=torch.float64)

    def rule(s: Tensor) -> Tensor:
        size = s.sum(-1).expand(b, -1)
        return by_size.gather(1, size[..., None].expand(-1, -1, k))

    truth = (by_size[:, -1:] - by_size[:, :1]).expand(b, n, k) / n
    return Known("symmetric", lambda: Rule(rule, b, n, k), truth)


def small_games() -> list[Known]:
    """Games of at most 9 players, one of every kind."""
    return [
        random_unanimity(8, 20, (1, 2, 3, 5, 8), seed=1),
        additive(7),
        airport(torch.tensor([1.0, 4.0, 2.0, 8.0, 2.0, 3.0], dtype=torch.float64)),
        glove(3, 5),
        voting([4, 3, 2, 2, 1, 1], 7),
        random_table(7, seed=2),
        with_dummy(7, seed=3),
        symmetric(9),
    ]
