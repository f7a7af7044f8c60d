"""Random orders of the players, and the coalitions and contributions along them.

Orders come in antithetic pairs: an order and its reverse share every coalition with the other's
complement, so one half of a pair names all coalitions of both.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import prefixes, random_orders, stream
from baselines.designs import CACHE

BLOCK = 64
"""Orders drawn from one block of a stream."""

OrderMaker = Callable[[int, int, int], Tensor]
"""`orders(n_players, key, block)`: the orders `(p, n)` of one block."""


def shuffled_orders(n_players: int, key: int, block: int) -> Tensor:
    """One block of independent uniform orders, int64 `(64, n)`."""
    return random_orders(n_players, BLOCK, key, block)


def orthogonal_orders(n_players: int, key: int, block: int) -> Tensor:
    """Orders that a random orthonormal basis of the hyperplane `sum = 0` sorts players into.

    Args:
        n_players: Number of players `n`.
        key: Stream key.
        block: Block counter.

    Returns:
        Int64 `(n - 1, n)`; each order alone is uniform.
    """
    if n_players == 1:
        return torch.zeros((1, 1), dtype=torch.int64)
    draws = stream(key, block).standard_normal((n_players, n_players - 1))
    basis, triangle = np.linalg.qr(draws - draws.mean(0))
    basis = basis * np.sign(np.diag(triangle))  # makes the rotation uniform
    return torch.from_numpy(np.argsort(basis.T, axis=-1, kind="stable").copy())


def draw_pairs(
    orders: OrderMaker, n_players: int, key: int, start: int, stop: int
) -> tuple[Tensor, Tensor]:
    """Orders `start` to `stop` of a stream and their inner coalitions, kept for the next call.

    Args:
        orders: Draws the orders of a block; one of this file's, if it is to be kept.
        n_players: Number of players `n`.
        key: Stream key.
        start: First order, included.
        stop: Last order, excluded.

    Returns:
        Int64 `(stop - start, n)`, and bool coalitions as `pair_coalitions` gives them.
    """

    def make() -> tuple[Tensor, Tensor]:
        drawn = pick_orders(orders, n_players, key, start, stop)
        return drawn, pair_coalitions(drawn)

    if orders not in (shuffled_orders, orthogonal_orders):
        return make()  # a closure of one call: nobody asks for it again
    return CACHE.get(("orders", orders, n_players, key, start, stop), make)


def pick_orders(orders: OrderMaker, n_players: int, key: int, start: int, stop: int) -> Tensor:
    """Orders `start` to `stop` of a stream of blocks.

    Args:
        orders: Draws the orders of a block.
        n_players: Number of players `n`.
        key: Stream key.
        start: First order, included.
        stop: Last order, excluded.

    Returns:
        Int64 `(stop - start, n)`, which does not depend on how a range is cut into calls.
    """
    size = len(orders(n_players, key, 0))
    first, last = start // size, (stop - 1) // size
    blocks = [orders(n_players, key, block) for block in range(first, last + 1)]
    return torch.cat(blocks)[start - first * size : stop - first * size]


def both_ends(n_players: int) -> Tensor:
    """The empty and the grand coalition, bool `(2, n)`."""
    return torch.tensor([[False], [True]]).expand(2, n_players)


def pair_coalitions(orders: Tensor) -> Tensor:
    """The inner coalitions of orders and of their reverses.

    Args:
        orders: Int64 `(p, n)`.

    Returns:
        Bool `(p * (n - 1) * 2, n)`: each inner prefix followed by its complement, which is a
        prefix of the reverse order.
    """
    inner = prefixes(orders)[:, 1:-1]  # (p, n - 1, n)
    return torch.stack([inner, ~inner], 2).reshape(-1, orders.shape[-1])


def pair_contributions(orders: Tensor, values: Tensor, ends: Tensor) -> Tensor:
    """Mean marginal contribution of each player over each order and its reverse.

    Args:
        orders: Int64 `(p, n)`.
        values: `(b, p * (n - 1) * 2, k)` of the coalitions of `pair_coalitions`.
        ends: `(b, 2, k)` of the empty and the grand coalition.

    Returns:
        `(b, p, n, k)`, summing over players to the difference of the ends.
    """
    p, n = orders.shape
    b, k = len(values), values.shape[-1]
    odd = (values[:, 0::2] - values[:, 1::2]).reshape(b, p, n - 1, k)
    delta = (ends[:, 1] - ends[:, 0])[:, None, None].expand(b, p, 1, k)
    steps = torch.cat([-delta, odd, delta], 2).diff(dim=2) / 2  # (b, p, n, k) in order
    place = torch.argsort(orders, dim=-1).to(values.device)
    return steps[:, torch.arange(p, device=values.device)[:, None], place]


def partial_order(order: Tensor, budget: int) -> tuple[Tensor, Tensor]:
    """What a budget below one pair buys of a single order.

    Args:
        order: Int64 `(1, n)`.
        budget: Coalitions per explicand, both ends included.

    Returns:
        Bool `(c, n)` inner prefixes at about even distances, a larger budget's including a
        smaller one's, and float64 `(c + 1, n)`: how each step between prefixes is shared among
        the players that join in it.
    """
    n = order.shape[-1]
    inner = min(budget - 2, n - 1)
    cuts = _spread_positions(n)[:inner].sort().values
    lines = prefixes(order)[0]
    marks = torch.cat([torch.zeros(1, dtype=torch.int64), cuts, torch.tensor([n])])
    joined = (lines[marks[1:]] & ~lines[marks[:-1]]).double()
    return lines[cuts], joined / joined.sum(1, keepdim=True)


def _spread_positions(n: int) -> Tensor:
    """The positions 1 to n - 1, each next one far from those before (van der Corput, 1935)."""
    bits = max(1, (n - 1).bit_length())
    position = torch.arange(2**bits)
    mirrored = sum(((position >> i) & 1) << (bits - 1 - i) for i in range(bits))
    mirrored = torch.as_tensor(mirrored)
    return mirrored[(mirrored >= 1) & (mirrored <= n - 1)]
