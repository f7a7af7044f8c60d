"""Lists of coalitions: each once, those of one size that occur in others, and sums per coalition."""

from collections.abc import Iterable
from itertools import combinations
from math import comb

import torch
from einops import rearrange
from torch import Tensor

from baselines.coalitions import coalition_index, unique_coalitions

_TILE = 2**23  # numbers held at once in one intermediate


def distinct(coalitions: Tensor) -> tuple[Tensor, Tensor]:
    """Each coalition once, and where every given one went.

    Args:
        coalitions: Bool `(u, n)`, any n.

    Returns:
        Bool `(q, n)` in a fixed order and int64 `(u,)` places in it.
    """
    n = coalitions.shape[1]
    if not 0 < n <= 62:
        found, where = unique_coalitions(coalitions)
        return found, where.to(coalitions.device)
    keys, where = torch.unique(coalition_index(coalitions), return_inverse=True)
    bits = torch.arange(n, device=keys.device)
    return (keys[:, None] >> bits) & 1 == 1, where


def merged(coalitions: Tensor, values: Tensor, size: int | None = None) -> tuple[Tensor, Tensor]:
    """Coalitions once each, with the sum of what was given for them.

    Args:
        coalitions: Bool `(u, n)`.
        values: `(b, u, k)`.
        size: Members of every coalition where all have as many, which is faster for many players.

    Returns:
        Bool `(q, n)` and `(b, q, k)`.
    """
    n = coalitions.shape[1]
    if size and len(coalitions) and n**size < 2**62:
        members = coalitions.nonzero()[:, 1].reshape(-1, size)
        places = n ** torch.arange(size - 1, -1, -1, device=members.device)
        keys, where = torch.unique((members * places).sum(1), return_inverse=True)
        found = masks(keys[:, None] // places % n, n)
    else:
        found, where = distinct(coalitions)
    sums = values.new_zeros(values.shape[0], found.shape[0], values.shape[2])
    return found, sums.index_add(1, where, values)


def masks(positions: Tensor, n_players: int) -> Tensor:
    """Sets given by position `(p, s)` as bool masks `(p, n)`."""
    blank = torch.zeros(positions.shape[0], n_players, dtype=torch.bool, device=positions.device)
    return blank.scatter_(1, positions, True)


def all_of_size(players: Iterable[int], size: int, device: torch.device) -> Tensor:
    """All sets of `size` of the given players, lexicographic, as int64 positions `(p, size)`."""
    listed = list(combinations(players, size))
    return torch.tensor(listed, dtype=torch.int64, device=device).reshape(len(listed), size)


def occurring(coalitions: Tensor, size: int, limit: int) -> Tensor:
    """Sets of `size` players that some coalition contains.

    Args:
        coalitions: Bool `(u, n)`.
        size: Players per set.
        limit: Most sets to list.

    Returns:
        Bool `(p, n)`.

    Raises:
        ValueError: If more than `limit` sets would have to be listed.
    """
    n = coalitions.shape[1]
    device = coalitions.device
    used = coalitions.any(0).nonzero().flatten()
    if size == 1:
        return masks(used[:, None], n)
    if size == 2:
        met = coalitions.double()
        pairs = ((met.T @ met) > 0).triu(1).nonzero()
        refuse_beyond(len(pairs), size, limit)
        return masks(pairs, n)
    sizes = coalitions.sum(1)
    listed = sum(comb(t, size) for t in sizes.tolist())
    every = comb(len(used), size)
    if every <= listed:
        refuse_beyond(every, size, limit)
        return masks(all_of_size(used.tolist(), size, device), n)
    refuse_beyond(listed, size, limit)
    found = [torch.zeros(0, n, dtype=torch.bool, device=device)]
    for t in sizes[sizes >= size].unique().tolist():
        members = coalitions[sizes == t].nonzero()[:, 1].reshape(-1, t)
        slots = all_of_size(range(t), size, device)
        found.append(masks(members[:, slots].reshape(-1, size), n))
    return distinct(torch.cat(found))[0]


def refuse_beyond(count: int, size: int, limit: int) -> None:
    """Raises a ValueError when `count` sets of `size` players are more than `limit`."""
    if count > limit:
        raise ValueError(
            f"Interactions of {size} players need {count} sets, more than max_subsets={limit}; "
            "ask for a lower order, regroup the players, or raise max_subsets."
        )


def contained_sums(values: Tensor, coalitions: Tensor, subsets: Tensor) -> Tensor:
    """For each set, the sum of the values of the coalitions that contain it, as matrix products.

    Args:
        values: `(b, u, k)`.
        coalitions: Bool `(u, n)`.
        subsets: Bool `(p, n)`, all of one size, at least 1.

    Returns:
        `(b, p, k)`.
    """
    b, _, k = values.shape
    if len(subsets) == 0:
        return values.new_zeros(b, 0, k)
    rows = rearrange(values, "b u k -> (b k) u")
    holders = coalitions.T.contiguous()  # (n, u): the coalitions each player is in
    size = int(subsets[:1].sum())
    answers = []
    for tile in subsets.split(max(1, _TILE // max(1, coalitions.shape[0]))):
        members = tile.nonzero()[:, 1].reshape(len(tile), size)
        around = holders[members[:, 0]]  # (p, u)
        for slot in range(1, size):
            around &= holders[members[:, slot]]
        answers.append(rows @ around.T.to(values.dtype))
    return rearrange(torch.cat(answers, 1), "(b k) p -> b p k", b=b, k=k)
