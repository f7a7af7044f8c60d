"""Coalitions as boolean masks (true = present): how they are listed, indexed, drawn and packed.

Randomness is counter-based: a stream is a pure function of (key, block), so the masks of a block
never depend on how many blocks were drawn before it, by whom, on which device or in what chunks.
"""

import numpy as np
import torch
from torch import Tensor

MAX_ENUMERABLE_PLAYERS = 30
"""Beyond this many players a list of all coalitions no longer fits an ordinary memory."""


def all_coalitions(n_players: int, start: int = 0, stop: int | None = None) -> Tensor:
    """All coalitions in the order of their index, or a contiguous range of them.

    Args:
        n_players: Number of players `n`, 0 to 30.
        start: First index, included.
        stop: Last index, excluded; `2**n` when None.

    Returns:
        Bool `(stop - start, n)`; row `j` holds the coalition of index `start + j`, whose player
        `i` is present when bit `2**i` is set.

    Raises:
        ValueError: If `n_players` is negative or too large to enumerate.
    """
    if not 0 <= n_players <= MAX_ENUMERABLE_PLAYERS:
        raise ValueError(
            f"n_players={n_players} gives 2**{n_players} coalitions; enumeration needs 0 to "
            f"{MAX_ENUMERABLE_PLAYERS} players, so use a sampling estimator."
        )
    end = 2**n_players if stop is None else stop
    index = torch.arange(start, end, dtype=torch.int64)
    return (index[:, None] >> torch.arange(n_players)) & 1 == 1


def coalition_index(coalitions: Tensor) -> Tensor:
    """Index of each coalition: the sum of `2**i` over its present players.

    Args:
        coalitions: Bool `(..., n)` with `n <= 62`.

    Returns:
        Int64 `(...)`.

    Raises:
        ValueError: If there are more players than an int64 can index; pack them instead.
    """
    n_players = coalitions.shape[-1]
    if n_players > 62:
        raise ValueError(
            f"coalitions of {n_players} players do not fit an int64 index; use pack() beyond 62."
        )
    powers = torch.ones(n_players, dtype=torch.int64, device=coalitions.device)
    return (coalitions.long() * (powers << torch.arange(n_players, device=powers.device))).sum(-1)


def pack(coalitions: Tensor) -> np.ndarray:
    """Coalitions as bits, eight players a byte, for any number of players.

    Args:
        coalitions: Bool `(..., n)`.

    Returns:
        Uint8 array `(..., ceil(n / 8))`; two coalitions are equal when their bytes are.
    """
    return np.packbits(coalitions.cpu().numpy(), axis=-1, bitorder="little")


def unpack(packed: np.ndarray, n_players: int) -> Tensor:
    """The coalitions that `pack` packed.

    Args:
        packed: Uint8 `(..., ceil(n / 8))`.
        n_players: Number of players `n`.

    Returns:
        Bool `(..., n)`.
    """
    bits = np.unpackbits(packed, axis=-1, count=n_players, bitorder="little")
    return torch.from_numpy(bits.astype(bool))


def unique_coalitions(coalitions: Tensor) -> tuple[Tensor, Tensor]:
    """Each distinct coalition once, and where every given one went.

    Args:
        coalitions: Bool `(m, n)`, any `n`.

    Returns:
        Bool `(q, n)` of distinct coalitions in a fixed order, and int64 `(m,)` with
        `distinct[where] == coalitions`.
    """
    if coalitions.shape[-1] == 0:
        return coalitions[:1], torch.zeros(len(coalitions), dtype=torch.int64)
    packed, where = np.unique(pack(coalitions), axis=0, return_inverse=True)
    distinct = unpack(packed, coalitions.shape[-1])
    return distinct.to(coalitions.device), torch.from_numpy(where.reshape(-1))


def key_from(generator: torch.Generator | None) -> int:
    """The key of a counter-based stream: one int64 drawn from the caller's generator.

    Args:
        generator: Advanced by one draw; None means key 0 and no generator is touched.

    Returns:
        A non-negative int below `2**63`.

    Raises:
        TypeError: If it is no torch.Generator.
    """
    if generator is None:
        return 0
    if not isinstance(generator, torch.Generator):
        raise TypeError(
            f"generator is a {type(generator).__name__}; pass a torch.Generator, such as "
            "torch.Generator().manual_seed(0), or None."
        )
    drawn = torch.randint(0, 2**63 - 1, (), generator=generator, device=generator.device)
    return int(drawn)


def stream(key: int, block: int, purpose: int = 0) -> np.random.Generator:
    """The random numbers of one block: a pure function of its arguments.

    Args:
        key: From `key_from`.
        block: Counter of the block, 0 or more.
        purpose: Separates independent uses of one key.

    Returns:
        A numpy Generator over Philox 4x64 (Salmon et al., 2011), whose 256-bit counter starts
        at `(0, 0, block, purpose)`, so that streams of different blocks never overlap.
    """
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, block, purpose]))


def random_orders(n_players: int, size: int, key: int, block: int) -> Tensor:
    """Uniform random orders of the players.

    Args:
        n_players: Number of players `n`.
        size: Orders in a block.
        key: Stream key.
        block: Block counter.

    Returns:
        Int64 `(size, n)`, each row a permutation of `0..n-1`.
    """
    draws = stream(key, block).random((size, n_players))
    return torch.from_numpy(np.argsort(draws, axis=-1, kind="stable"))


def prefixes(orders: Tensor) -> Tensor:
    """The coalitions an order walks through: its first 0, 1, ..., n players.

    Args:
        orders: Int64 `(p, n)` permutations.

    Returns:
        Bool `(p, n + 1, n)`, from the empty to the grand coalition.
    """
    n_players = orders.shape[-1]
    place = torch.empty_like(orders).scatter_(
        -1, orders, torch.arange(n_players, device=orders.device).expand_as(orders)
    )
    return place[:, None, :] < torch.arange(n_players + 1, device=orders.device)[:, None]


def check_coalitions(coalitions: Tensor, n_explicands: int, n_players: int) -> None:
    """Refuse masks that a game cannot read.

    Args:
        coalitions: What the caller passed as coalitions.
        n_explicands: The game's `b`.
        n_players: The game's `n`.

    Raises:
        TypeError: If `coalitions` is not a bool tensor.
        ValueError: If its shape is not `(b, m, n)` or `(1, m, n)`.
    """
    if not isinstance(coalitions, Tensor) or coalitions.dtype != torch.bool:
        received = getattr(coalitions, "dtype", type(coalitions).__name__)
        raise TypeError(f"coalitions are {received}; a game needs a bool tensor, true = present.")
    if (
        coalitions.ndim != 3
        or coalitions.shape[-1] != n_players
        or coalitions.shape[0] not in (1, n_explicands)
    ):
        raise ValueError(
            f"coalitions have shape {tuple(coalitions.shape)}; this game needs "
            f"(b, m, n) = ({n_explicands}, m, {n_players}) or (1, m, {n_players}) to share them."
        )
