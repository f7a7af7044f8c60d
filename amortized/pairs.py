"""Antithetic pairs of orders whose randomness belongs to the example, not to the batch.

Pair p of an example is a function of the example's key and of p alone, so labels can be made in
any batch, by any process and in any number of sittings, and added up afterwards.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from baselines.coalitions import all_coalitions, prefixes, stream
from baselines.exact import shapley_weights
from baselines.game import Game

PURPOSE = 61
"""Separates these orders from other uses of a key."""

CELLS = 2**24
"""Most mask cells (examples x coalitions x players) that are asked for at once."""


def pair_orders(key: int, n_players: int, start: int, stop: int) -> Tensor:
    """Orders of the pairs `start` to `stop` of one example; each pair is an order and its reverse.

    Args:
        key: The example's key.
        n_players: Its players `n`.
        start: First pair, included.
        stop: Last pair, excluded.

    Returns:
        Int64 `(stop - start, n)`, which does not depend on how a range is cut into calls.
    """
    draws = [stream(key, pair, PURPOSE).random(n_players) for pair in range(start, stop)]
    if not draws:
        return torch.zeros((0, n_players), dtype=torch.int64)
    return torch.from_numpy(np.argsort(np.stack(draws), axis=-1, kind="stable"))


def is_exact(n_players: int, stop: int) -> bool:
    """Whether asking for all coalitions costs no more than all pairs up to `stop`."""
    return 2 ** min(n_players, 62) <= 2 + 2 * max(0, n_players - 1) * stop


def pair_sums(
    game: Game, keys: Sequence[int], start: Sequence[int], stop: Sequence[int]
) -> dict[str, Tensor]:
    """Sums and sums of squares of marginal contributions over pairs of orders.

    Where all coalitions cost no more than the pairs, they are asked for instead and the sums are
    those of as many exact pairs.

    Args:
        game: Games of `b` examples; ragged ones have a `player_mask`.
        keys: Key of each example.
        start: First pair of each example.
        stop: Its last pair, excluded.

    Returns:
        `sums` and `squares` float64 `(b, n, k)`, `pairs` int64 `(b,)`, `exact` bool `(b,)`,
        `empty` and `grand` `(b, k)` in the game's dtype, `coalitions` int64 `(b,)` asked for,
        both ends included, and `player_mask` bool `(b, n)`.

    Raises:
        ValueError: If the lists do not fit the game, or the game returns NaN or infinity.
    """
    b, n = game.n_explicands, game.n_players
    if not len(keys) == len(start) == len(stop) == b:
        raise ValueError(
            f"{len(keys)} keys, {len(start)} starts and {len(stop)} stops for {b} examples; each "
            "needs one of each."
        )
    mask = getattr(game, "player_mask", None)
    mask = torch.ones(b, n, dtype=torch.bool) if mask is None else mask.cpu()
    players = [mask[row].nonzero().flatten() for row in range(b)]
    counts = [len(who) for who in players]
    exact = torch.tensor([is_exact(*each) for each in zip(counts, stop, strict=True)])
    ends = _ask(game, torch.stack([torch.zeros_like(mask), mask], 1))  # (b, 2, k)
    total = ends.new_zeros((b, n, ends.shape[-1]), dtype=torch.float64)
    squares = total.clone()
    sittings = [0 if exact[row] else stop[row] - start[row] for row in range(b)]
    step = max(1, CELLS // max(1, b * 2 * max(1, n - 1) * n))
    for offset in range(0, max(sittings, default=0), step):
        orders = [
            pair_orders(
                keys[row], counts[row], start[row] + offset, _end(start, stop, row, offset, step)
            )
            if sittings[row] > offset
            else None
            for row in range(b)
        ]
        for row, parts in enumerate(_contributions(game, mask, players, orders, ends)):
            if parts is not None:
                total[row, players[row]] += parts.sum(0)
                squares[row, players[row]] += parts.square().sum(0)
    pairs = torch.tensor([z - a for a, z in zip(start, stop, strict=True)])
    if exact.any():
        values = _enumerate(game, mask, players, exact)
        weight = torch.where(exact, pairs, 0)[:, None, None].to(values)
        total, squares = total + weight * values, squares + weight * values.square()
    asked = [
        2**count if sure else 2 + 2 * max(0, count - 1) * pair
        for count, sure, pair in zip(counts, exact.tolist(), pairs.tolist(), strict=True)
    ]
    return {
        "sums": total.cpu(),
        "squares": squares.cpu(),
        "pairs": pairs,
        "exact": exact,
        "empty": ends[:, 0].cpu(),
        "grand": ends[:, 1].cpu(),
        "coalitions": torch.tensor(asked),
        "player_mask": mask,
    }


def _end(start: Sequence[int], stop: Sequence[int], row: int, offset: int, step: int) -> int:
    return min(start[row] + offset + step, stop[row])


def _contributions(
    game: Game,
    mask: Tensor,
    players: Sequence[Tensor],
    orders: Sequence[Tensor | None],
    ends: Tensor,
) -> list[Tensor | None]:
    """Mean contributions `(p, n, k)` of every pair, for each example with orders."""
    inner = [None if one is None else prefixes(one)[:, 1:-1] for one in orders]
    most = max((2 * one.shape[0] * one.shape[1] for one in inner if one is not None), default=0)
    # a list that is shorter is filled with grand coalitions, which a game that looks pays once
    asked = mask[:, None].repeat(1, most, 1)
    for row, one in enumerate(inner):
        if one is None or not len(players[row]):
            continue
        both = torch.stack([one, ~one], 2)  # a prefix and its complement
        flat = rearrange(both, "p c two n -> (p c two) n")
        asked[row, : len(flat), players[row]] = flat
    values = _ask(game, asked).double() if most else ends[:, :0].double()
    found: list[Tensor | None] = []
    for row, one in enumerate(orders):
        if one is None or inner[row] is None:
            found.append(None)
            continue
        p, n = one.shape
        delta = (ends[row, 1] - ends[row, 0]).double().expand(p, 1, -1)
        line = values[row, : 2 * p * max(0, n - 1)]
        line = rearrange(line, "(p c two) k -> p c two k", p=p, two=2)
        odd = line[:, :, 0] - line[:, :, 1]
        steps = torch.cat([-delta, odd, delta], 1).diff(dim=1) / 2  # (p, n, k), in order
        place = one.to(steps.device)[..., None].expand(-1, -1, steps.shape[-1])
        found.append(torch.zeros_like(steps).scatter_(1, place, steps))
    return found


def _enumerate(game: Game, mask: Tensor, players: Sequence[Tensor], rows: Tensor) -> Tensor:
    """Exact values `(b, n, k)` of some examples, 0 elsewhere."""
    chosen = rows.nonzero().flatten().tolist()
    tables = {row: all_coalitions(len(players[row])) for row in chosen if len(players[row])}
    most = max((len(table) for table in tables.values()), default=1)
    asked = mask[:, None].repeat(1, most, 1)
    for row, table in tables.items():
        asked[row, : len(table), players[row]] = table
    values = _ask(game, asked).double()
    found = values.new_zeros((*mask.shape, values.shape[-1]))
    for row, table in tables.items():
        weights = shapley_weights(table).to(values)  # (m, n)
        found[row, players[row]] = torch.einsum("mk,mn->nk", values[row, : len(table)], weights)
    return found


def _ask(game: Game, coalitions: Tensor) -> Tensor:
    values = game(coalitions).detach()
    if not bool(torch.isfinite(values).all()):
        bad = (~torch.isfinite(values)).flatten(1).any(-1).nonzero().flatten().tolist()
        raise ValueError(f"game returned NaN or infinity for examples {bad[:5]} of this batch.")
    return values


def merge_sums(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sums over disjoint pairs of the same example added up; what is exact stays exact.

    Args:
        parts: For one example: `sums`, `squares` `(n, k)`, `pairs`, `coalitions` and `exact`.

    Returns:
        The same fields for all pairs together; others from the first part.
    """
    sure = [part for part in parts if bool(part["exact"])]
    if sure:
        return dict(sure[0])
    merged = dict(parts[0])
    for part in parts[1:]:
        for name in ("sums", "squares", "pairs"):
            merged[name] = merged[name] + part[name]
        merged["coalitions"] = merged["coalitions"] + part["coalitions"] - 2  # both ends again
    return merged
