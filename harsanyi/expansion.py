"""Boxes and products written out as explicit dividends, one per coalition."""

import torch
from einops import einsum, rearrange
from torch import Tensor

from harsanyi.boxes import Boxes
from harsanyi.quadrature import Products, real_part
from harsanyi.subsets import distinct, masks

_TILE = 2**22  # numbers held at once in one intermediate
_RUN = 16  # places per set from which a matrix product pays
_WORK = 2**24  # subsets of boxes looked at before likes are put together


def boxes_in_index(
    boxes: Boxes, index: str, order: int, size: int, n_players: int
) -> tuple[Tensor, Tensor]:
    """Interaction values of a sum of boxes, for every set of `size` players of one box.

    Args:
        boxes: The boxes.
        index: Name of the index.
        order: Largest size of a set.
        size: Players per set.
        n_players: Players `n` of the game.

    Returns:
        Bool `(p, n)`, each set once, and values `(b, p, k)`.
    """
    positions, owners = boxes.sets_of(size)
    found, where = distinct(masks(positions, n_players))
    b, k = boxes.inside.shape[0], boxes.values.shape[1]
    if len(positions) == 0 or b == 0:
        return found, boxes.values.new_zeros(b, len(found), k)
    by_set = where.argsort(stable=True)
    paid = boxes.values[owners[by_set]]
    rows = max(1, _TILE // max(1, len(positions) * k))
    tiles = torch.arange(b, device=positions.device).split(rows)
    sums = []
    for chosen in tiles:
        some = boxes if len(tiles) == 1 else boxes.rows(chosen)
        weights = some.set_weights(index, order, size)[by_set]  # (p, b)
        sums.append(_sums_by_set(weights, paid, where[by_set], len(found)))
    return found, torch.cat(sums)


def _sums_by_set(weights: Tensor, paid: Tensor, where: Tensor, n_sets: int) -> Tensor:
    """Sum of weights times values over the places of each set: `(p, b)`, `(p, k)` to `(b, q, k)`.

    Places are sorted by set: few long runs go through matrix products, many short ones one by one.
    """
    if n_sets * _RUN < len(where):
        counts = where.bincount(minlength=n_sets).tolist()
        runs = zip(weights.split(counts), paid.split(counts), strict=True)
        return torch.stack([left.T @ right for left, right in runs], 1)
    terms = einsum(weights, paid, "p b, p k -> p b k")
    sums = terms.new_zeros(n_sets, *terms.shape[1:]).index_add(0, where, terms)
    return rearrange(sums, "q b k -> b q k")


def expanded_boxes(boxes: Boxes, n_players: int) -> tuple[Tensor, Tensor]:
    """Dividends of a sum of boxes.

    [A in S][C not in S] has the dividend (-1)^|T - A| on each T between A and A + C.

    Args:
        boxes: The boxes.
        n_players: Players `n` of the game.

    Returns:
        Bool `(u, n)`, each coalition once, and values `(b, u, k)`; coalitions that no explicand
        reaches are left out, and so is the empty one.

    Raises:
        ValueError: If the boxes have too many subsets to look at.
    """
    t, d = boxes.features.shape
    subsets = int((2.0 ** boxes.real.sum(-1)).sum()) if t else 0
    if subsets > _WORK:
        raise ValueError(
            f"Writing out {t} boxes looks at {subsets} subsets, more than {_WORK}; use the closed "
            "forms (shapley, banzhaf, interactions, value) or fewer boxes."
        )
    found, values = [], []
    for size in range(1, d + 1):
        # STII of the order of the widest box is the dividend itself
        sets, dividends = boxes_in_index(boxes, "STII", d, size, n_players)
        reached = (dividends.detach() != 0).any(-1).any(0)
        found.append(sets[reached])
        values.append(dividends[:, reached])
    if not found:
        return _nothing(n_players, boxes.inside.shape[0], boxes.values)
    return torch.cat(found), torch.cat(values, 1)


def product_terms(products: Products) -> int:
    """Upper bound on the coalitions that the dividends of a product game fall on."""
    supports = distinct(products.support)[0]
    return sum(2**s - 1 for s in supports.sum(-1).tolist())


def expanded_products(products: Products) -> tuple[Tensor, Tensor]:
    """Dividends of a product game: prod over T of the factors, for every T of every support.

    Args:
        products: The products; their `product_terms` must be few enough to list.

    Returns:
        Bool `(u, n)`, each coalition once, and values `(b, u, k)`; the empty one is left out.
    """
    b, r, n = products.factors.shape
    found = []
    for support in distinct(products.support)[0]:
        players = support.nonzero().flatten()
        bits = torch.arange(1, 2 ** len(players), device=players.device)
        mask = torch.zeros(len(bits), n, dtype=torch.bool, device=players.device)
        mask[:, players] = (
            bits[:, None] >> torch.arange(len(players), device=bits.device)
        ) & 1 == 1
        found.append(mask)
    if not found or b == 0:
        return _nothing(n, b, real_part(products.weights))
    sets = distinct(torch.cat(found))[0]
    values = []
    for tile in sets.split(max(1, _TILE // max(1, b * r * n))):
        factors = torch.where(tile[:, None], products.factors[:, None], 1.0).prod(-1)
        values.append(real_part(einsum(factors, products.weights, "b u r, r k -> b u k")))
    return sets, torch.cat(values, 1) if values else real_part(products.weights).new_zeros(
        b, 0, products.weights.shape[1]
    )


def _nothing(n_players: int, n_explicands: int, like: Tensor) -> tuple[Tensor, Tensor]:
    sets = torch.zeros(0, n_players, dtype=torch.bool, device=like.device)
    return sets, like.new_zeros(n_explicands, 0, like.shape[-1])
