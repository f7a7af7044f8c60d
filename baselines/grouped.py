"""Owen values: players come in groups, and the members of a group join one after another."""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
import torch
from torch import Tensor

from baselines.arguments import check_game
from baselines.asking import active_players, ask, check_budget
from baselines.coalitions import key_from, stream
from baselines.estimates import Estimate
from baselines.evaluation import explanation_of
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.groups import member_lists
from baselines.orders import BLOCK
from baselines.sampling import sample_orders
from baselines.torch_calls import from_array

LISTED = 2**20
"""Most coalitions that are listed for an exact answer."""


def owen(
    game: Game,
    groups: Mapping[str, Sequence[int]] | Sequence[Sequence[int]],
    budget: int = 2_000,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Owen values: mean marginal contributions over the orders that keep groups together.

    Args:
        game: Games of `b` explicands and `n` players, none of them padding.
        groups: Positions of the players of each group, by name or in order; players in no group
            are groups of their own.
        budget: Most coalitions to evaluate per explicand, both ends included; 2,000 by
            default, which is exact up to four groups of six players.
        generator: Source of the random orders.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game; the members of a group sum to its Shapley value
        in the game of groups. Exact when the budget pays for every coalition that such an order
        can meet, else over antithetic pairs of orders, with `std_errors` over pairs.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2, groups overlap, are empty or name no player, or the
            game is ragged.

    Source: Owen (1977); sampling, Saavedra-Nieves et al. (2018).

    Example:
        >>> import torch
        >>> from baselines import TableGame, owen
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> owen(game, {"pair": [0, 1], "alone": [2]}, budget=8).values[0, :, 0]
        tensor([2.2500, 3.2500, 4.5000])
    """
    budget = check_budget(budget)
    check_game(game)
    if active_players(game) is not None:
        raise ValueError("the game is ragged; Owen values need the same groups in every row.")
    parts = _partition(groups, game.n_players)
    if _n_coalitions(parts) <= min(budget, LISTED):
        return _exact(game, parts, generator, chunk_size)
    return sample_orders(
        game,
        budget,
        lambda n, key, block: _orders(parts, n, key, block),
        method="owen",
        estimand="owen",
        enumerate_small=False,
        generator=generator,
        chunk_size=chunk_size,
    )


def _partition(
    groups: Mapping[str, Sequence[int]] | Sequence[Sequence[int]], n: int
) -> list[list[int]]:
    parts = member_lists(groups)
    flat = sorted(player for part in parts for player in part)
    if any(not part for part in parts) or len(set(flat)) != len(flat):
        raise ValueError(f"groups={parts}; each needs a player, and none may be in two groups.")
    if flat and not (0 <= flat[0] and flat[-1] < n):
        raise ValueError(f"groups name players {flat[0]} to {flat[-1]}; there are 0 to {n - 1}.")
    return parts + [[player] for player in range(n) if player not in set(flat)]


def _n_coalitions(parts: list[list[int]]) -> int:
    """How many coalitions leave at most one group incomplete."""
    others = 2 ** (len(parts) - 1)
    return 2 ** len(parts) + sum(others * (2 ** len(part) - 2) for part in parts)


def _orders(parts: list[list[int]], n: int, key: int, block: int) -> Tensor:
    """A block of orders: groups in random order, members of each in random order."""
    draws = stream(key, block).random((BLOCK, len(parts) + n))
    orders = np.empty((BLOCK, n), dtype=np.int64)
    owner = np.empty(n, dtype=np.int64)
    for group, part in enumerate(parts):
        owner[part] = group
    for row, draw in enumerate(draws):
        orders[row] = np.lexsort((draw[len(parts) :], draw[: len(parts)][owner]))
    return from_array(orders)


def _exact(
    game: Game,
    parts: list[list[int]],
    generator: torch.Generator | None,
    chunk_size: int | None,
) -> Explanation:
    key_from(generator)  # an exact answer moves the generator as a sampled one does
    rows, weights = _weights(parts, game.n_players)
    values = ask(game, rows, chunk_size)
    linear = weights.to(values.device)
    found = torch.einsum("bmk,mn->bnk", values.double(), linear)
    return explanation_of(
        game,
        Estimate(found, exact=True),
        values[:, [0, -1]],
        method="owen by enumeration",
        n_evals=len(rows),
        estimand="owen",
    )


def _weights(parts: list[list[int]], n: int) -> tuple[Tensor, Tensor]:
    """Coalitions `(m, n)`, the empty one first and the grand one last, and the map `(m, n)` from
    their values to Owen values."""
    masks = [sum(1 << player for player in part) for part in parts]
    found: dict[int, np.ndarray] = {}

    def add(coalition: int, player: int, weight: float) -> None:
        found.setdefault(coalition, np.zeros(n))[player] += weight

    for group, part in enumerate(parts):
        others = [mask for i, mask in enumerate(masks) if i != group]
        for chosen in range(2 ** len(others)):
            outside = sum(mask for i, mask in enumerate(others) if chosen >> i & 1)
            q, g = chosen.bit_count(), len(parts)
            outer = 1.0 / (g * comb(g - 1, q))
            for inner in range(2 ** len(part)):
                t = inner.bit_count()
                inside = sum(1 << player for j, player in enumerate(part) if inner >> j & 1)
                for j, player in enumerate(part):
                    if inner >> j & 1:
                        weight = outer / (len(part) * comb(len(part) - 1, t - 1))
                    else:
                        weight = -outer / (len(part) * comb(len(part) - 1, t))
                    add(outside + inside, player, weight)
    codes = sorted(found)
    bits = np.array([[code >> i & 1 for i in range(n)] for code in codes], dtype=bool)
    return from_array(bits), from_array(np.stack([found[code] for code in codes]))
