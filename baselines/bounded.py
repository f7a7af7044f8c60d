"""Games whose interactions are of bounded order: exact from few, fixed coalitions.

The mean marginal contribution at coalition size s is a polynomial in s whose degree is the order
of interaction minus one; four sizes determine a cubic, and the cubic its mean over all sizes.
"""

from itertools import combinations

import torch
from torch import Tensor

from baselines.arguments import check_game
from baselines.asking import active_players, ask
from baselines.estimates import Estimate
from baselines.evaluation import enumerate_rest, explanation_of
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.interactions import Interactions
from baselines.pairwise import pair_interactions, shapley_interactions
from baselines.reuse import share_the_rest


def bounded_order_shapley(game: Game, *, chunk_size: int | None = None) -> Explanation:
    """Shapley values from `n**2 + n + 2` fixed coalitions, exact up to interactions of four.

    Args:
        game: Games of `b` explicands and `n` players, none of them padding.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game: exact for games without interactions of more
        than four players, and else deterministic, off by what the larger interactions add.
        Flagged exact only where `2**n` coalitions cost no more and were enumerated. What the
        cubic misses of v(all) - v(none), 0 for such games, is shared equally and reported as
        `diagnostics["order_gap"]`.

    Raises:
        ValueError: If the game is ragged.

    Source: order 2, Fumagalli et al. (2026), PolySHAP; interpolation in the size, Owen (1972).

    Example:
        >>> import torch
        >>> from baselines import TableGame, bounded_order_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> bounded_order_shapley(game).values[0, :, 0]
        tensor([2.3333, 3.3333, 4.3333])
    """
    check_game(game)
    n = game.n_players
    if active_players(game) is not None:
        raise ValueError("the game is ragged; pass explicands with equally many players.")
    rows, pairs = _extreme_coalitions(n)
    if 2**n <= len(rows):
        return enumerate_rest(game, None, None, chunk_size)
    values = ask(game, rows, chunk_size)
    v = values.double()
    found = _cubic_mean(v, pairs, n)
    total = v[:, 1] - v[:, 0]
    gap = found.sum(1) - total
    return explanation_of(
        game,
        Estimate(share_the_rest(found, total), None, None, {"order_gap": gap}),
        values[:, :2],
        method="bounded_order_shapley",
        n_evals=len(rows),
    )


def bounded_order_interactions(game: Game, *, chunk_size: int | None = None) -> Interactions:
    """k-SII of order 2 from `n**2 + n + 2` fixed coalitions, pairs exact up to order three.

    Args:
        game: Games of `b` explicands and `n >= 3` players, none of them padding.
        chunk_size: Coalitions asked for at once.

    Returns:
        Single players and pairs `(b, n + n (n - 1) / 2, k)`; they sum to v(all) - v(none).

    Raises:
        ValueError: If the game is ragged or has fewer than three players.

    Source: as `bounded_order_shapley`; a pair's mean second difference is linear in the size of
        the coalition for interactions of up to three players.

    Example:
        >>> import torch
        >>> from baselines import TableGame, bounded_order_interactions
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> bounded_order_interactions(game)[(0, 1)]
        tensor([[1.5000]])
    """
    check_game(game)
    n = game.n_players
    if n < 3 or active_players(game) is not None:
        raise ValueError(f"the game is ragged or has {n} players; 3 or more are needed.")
    rows, pairs = _extreme_coalitions(n)
    if 2**n <= len(rows):
        return shapley_interactions(game, 2**n, chunk_size=chunk_size)
    values = ask(game, rows, chunk_size)
    v = values.double()
    low, high, one, without = _by_kind(v, pairs, n)
    i, j = torch.tensor(pairs, device=v.device).T
    bottom = low - one[:, i] - one[:, j] + v[:, :1]
    top = v[:, 1:2] - without[:, i] - without[:, j] + high
    both = (bottom + top) / 2  # (b, u, k)
    single = share_the_rest(_cubic_mean(v, pairs, n), v[:, 1] - v[:, 0])
    return pair_interactions(
        game,
        single,
        both,
        index="k-SII",
        base_values=values[:, 0],
        method="bounded_order_interactions",
        n_evals=len(rows),
    )


def _extreme_coalitions(n: int) -> tuple[Tensor, list[tuple[int, int]]]:
    """Coalitions of 0, n, 1, n - 1, 2 and n - 2 players, in this order."""
    pairs = list(combinations(range(n), 2))
    single = torch.eye(n, dtype=torch.bool)
    double = torch.zeros(len(pairs), n, dtype=torch.bool)
    for row, players in enumerate(pairs):
        double[row, list(players)] = True
    ends = torch.tensor([[False], [True]]).expand(2, n)
    return torch.cat([ends, single, ~single, double, ~double]), pairs


def _by_kind(
    v: Tensor, pairs: list[tuple[int, int]], n: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values of pairs, of all but pairs, of single players and of all but one."""
    u = len(pairs)
    one, without = v[:, 2 : 2 + n], v[:, 2 + n : 2 + 2 * n]
    low = v[:, 2 + 2 * n : 2 + 2 * n + u]
    return low, v[:, 2 + 2 * n + u :], one, without


def _cubic_mean(v: Tensor, pairs: list[tuple[int, int]], n: int) -> Tensor:
    """Mean marginal contribution over all sizes, by the cubic through sizes 0, 1, n - 2, n - 1."""
    low, high, one, without = _by_kind(v, pairs, n)
    touch = torch.zeros(len(pairs), n, dtype=v.dtype, device=v.device)
    for row, players in enumerate(pairs):
        touch[row, list(players)] = 1.0
    base, total = v[:, :1], v[:, 1:2]
    first = one - base
    # marginals of i next to each j, averaged: v(ij) - v(j), and v(all but j) - v(all but ij)
    pair_sum = torch.einsum("buk,un->bnk", low, touch)
    second = (pair_sum - (one.sum(1, keepdim=True) - one)) / (n - 1)
    lack_sum = torch.einsum("buk,un->bnk", high, touch)
    third = ((without.sum(1, keepdim=True) - without) - lack_sum) / (n - 1)
    last = total - without
    weights = _mean_weights(n)
    return weights[0] * first + weights[1] * second + weights[2] * third + weights[3] * last


def _mean_weights(n: int) -> list[float]:
    """Mean over 0 to n - 1 of each Lagrange polynomial through 0, 1, n - 2 and n - 1."""
    nodes = [0, 1, n - 2, n - 1]
    means: list[float] = []
    for own in nodes:
        total = 0.0
        for size in range(n):
            term = 1.0
            for other in nodes:
                if other != own:
                    term *= (size - other) / (own - other)
            total += term
        means.append(total / n)
    return means
