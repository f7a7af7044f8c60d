"""How a game is asked: within a budget, in tiles that fit in memory."""

import torch
from torch import Tensor

from baselines.arguments import whole
from baselines.coalitions import MAX_ENUMERABLE_PLAYERS
from baselines.finiteness import all_finite
from baselines.game import Game

TILE_CELLS = 2**17
"""Cells (explicands x coalitions x players) asked for at once on a CPU, about an L2 cache."""

DEVICE_TILE_CELLS = 2**24
"""The same on an accelerator."""


def check_budget(budget: int, least: int = 2, why: str = "both ends of a game") -> int:
    """Refuse a budget that buys nothing.

    Args:
        budget: Coalitions per explicand.
        least: The smallest that works.
        why: What the least pays for.

    Returns:
        The budget as an int.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is less than `least`.
    """
    count = whole(budget, "budget", "a whole number of coalitions per explicand")
    if count < least:
        raise ValueError(f"budget={budget}; {why} cost {least}, so pass budget >= {least}.")
    return count


def is_enumerable(n_players: int, budget: int) -> bool:
    """Whether the budget pays for all coalitions."""
    return n_players <= MAX_ENUMERABLE_PLAYERS and 2**n_players <= budget


def ask(game: Game, coalitions: Tensor, chunk_size: int | None = None) -> Tensor:
    """Values of coalitions, asked in tiles that shrink when memory runs out.

    Args:
        game: Games of `b` explicands.
        coalitions: Bool `(m, n)` shared by the explicands, or `(b, m, n)`.
        chunk_size: Coalitions asked for at once; by default as many as fit `TILE_CELLS`. The
            values do not depend on it beyond rounding.

    Returns:
        `(b, m, k)` in the game's dtype, detached.

    Raises:
        TypeError: If `chunk_size` is no whole number.
        ValueError: If `chunk_size` is not positive, or a value is not finite.
        MemoryError, torch.OutOfMemoryError: If not even one coalition fits.
    """
    chunk_size = None if chunk_size is None else whole(chunk_size, "chunk_size")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}; it must be 1 or more.")
    if coalitions.ndim == 2:
        coalitions = coalitions[None]
    m = coalitions.shape[1]
    chunk = chunk_size or _tile(game)
    parts, start = [], 0
    while start < m:
        try:
            part = game(coalitions[:, start : start + chunk])
        except (MemoryError, torch.OutOfMemoryError):
            if chunk == 1:
                raise
            chunk = max(1, min(chunk, m - start) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        parts.append(part.detach())
        start += chunk
    values = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    if not all_finite(values):
        raise ValueError("game returned NaN or infinity; every coalition needs a finite value.")
    return values


def _tile(game: Game) -> int:
    """Coalitions per call, even so that both members of a pair share a tile."""
    device = getattr(getattr(game, "x", None), "device", None)
    cells = TILE_CELLS if device is None or device.type == "cpu" else DEVICE_TILE_CELLS
    cells = getattr(game, "tile_cells", cells)  # a game that packs its rows takes many at once
    return max(2, cells // max(1, game.n_explicands * game.n_players) // 2 * 2)


def active_players(game: Game) -> Tensor | None:
    """The game's `player_mask` `(b, n)` on the CPU, or None when no player is padding."""
    mask = getattr(game, "player_mask", None)
    if mask is None or bool(mask.all()):
        return None
    return mask.cpu()
