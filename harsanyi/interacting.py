"""Interaction indices of a game from its dividends, its boxes and its product games."""

from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.interactions import Interactions
from harsanyi.expansion import boxes_in_index
from harsanyi.indices import AGGREGATED, bernoulli, check_index, diagonal_rule, size_table
from harsanyi.quadrature import Products, product_derivatives
from harsanyi.subsets import (
    all_of_size,
    contained_sums,
    masks,
    merged,
    occurring,
    refuse_beyond,
)

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends

Sums = tuple[Tensor, Tensor]  # sets (p, n) and values (b, p, k)


def interactions(dividends: "Dividends", index: str, order: int, max_subsets: int) -> Interactions:
    """Interactions of every set of 1 to `order` players that occurs together.

    Args:
        dividends: The game.
        index: SII, k-SII, STII, FSII, BII or FBII.
        order: Largest size of a set.
        max_subsets: Most sets to list.

    Returns:
        Interactions, exact for the game.

    Raises:
        ValueError: If the index or order is unknown, or there are more than `max_subsets` sets.
    """
    n = dividends.n_players
    check_index(index, order, n)
    sizes = range(1, min(order, n) + 1)
    found: dict[int, list[Sums]] = {
        s: [_terms_in_index(dividends, index, order, s, max_subsets)] for s in sizes
    }
    for part in dividends.boxes:
        for s in sizes:
            refuse_beyond(
                len(part.features) * comb(part.features.shape[1], s), s, 16 * max_subsets
            )
            found[s].append(boxes_in_index(part, index, order, s, n))
    for part in dividends.products:
        for s, sums in _products_in_index(part, index, order, max_subsets).items():
            found[s].append(sums)
    sets, values = [], []
    for s in sizes:
        listed = torch.cat([sums[0] for sums in found[s]])
        dtype = found[s][0][1].dtype
        given = torch.cat([sums[1].to(dtype) for sums in found[s]], 1)
        once, total = merged(listed, given, s)
        sets.append(once)
        values.append(total)
        refuse_beyond(sum(len(some) for some in sets), s, max_subsets)
    return Interactions(
        torch.cat(sets) if sets else dividends.terms[:0],
        torch.cat(values, 1) if values else dividends.term_values[:, :0],
        index=index,
        order=order,
        base_values=dividends.base_values,
        players=dividends.players,
        outputs=dividends.outputs,
        game=dividends.game,
        method="dividends",
        exact=True,
    )


def _terms_in_index(dividends: "Dividends", index: str, order: int, s: int, limit: int) -> Sums:
    terms, values = dividends.terms, dividends.term_values
    sizes = terms.sum(1)
    table = torch.as_tensor(
        size_table(index, order, s, dividends.n_players), dtype=values.dtype, device=values.device
    )
    weights = table[sizes]
    counted = weights != 0
    terms, values = terms[counted], values[:, counted] * weights[counted, None]
    subsets = occurring(terms, s, limit)
    return subsets, contained_sums(values, terms, subsets)


def _products_in_index(part: Products, index: str, order: int, limit: int) -> dict[int, Sums]:
    n = part.factors.shape[2]
    players = part.support.any(0).nonzero().flatten()
    m = len(players)
    sizes = range(1, min(order, m) + 1)
    refuse_beyond(sum(comb(m, s) for s in sizes), order, limit)
    factors = part.factors[..., players]
    base = AGGREGATED.get(index, index)
    degree = part.degree
    raw = {
        s: product_derivatives(part.weights, factors, s, diagonal_rule(base, order, s, degree))
        for s in sizes
    }
    sets = {s: all_of_size(range(m), s, players.device) for s in sizes}
    answer: dict[int, Sums] = {}
    for s in sizes:
        values = raw[s]
        for t in range(s + 1, len(sizes) + 1) if index in AGGREGATED else ():
            share = float(bernoulli(t - s)) if index == "k-SII" else (-0.5) ** (t - s)
            if share:
                values = values + share * _sums_over_larger(raw[t], sets[t], s, m, len(sets[s]))
        answer[s] = masks(players[sets[s]], n), values
    return answer


def _sums_over_larger(values: Tensor, larger: Tensor, s: int, m: int, n_sets: int) -> Tensor:
    """For each set of s players, the sum of the values of the larger sets around it."""
    slots = torch.tensor(list(combinations(range(larger.shape[1]), s)), device=larger.device)
    inner = larger[:, slots]  # (p, ways, s)
    places = _lexicographic_rank(inner, m)
    total = values.new_zeros(values.shape[0], n_sets, values.shape[2])
    for way in range(places.shape[1]):
        total = total.index_add(1, places[:, way], values)
    return total


def _lexicographic_rank(sets: Tensor, m: int) -> Tensor:
    """Place of sorted sets `(..., s)` of m players in the lexicographic list of their size."""
    s = sets.shape[-1]
    ways = torch.tensor(
        [[comb(j, i) for j in range(m + 1)] for i in range(s + 1)], device=sets.device
    )
    # rank from the end: the sets after this one choose their later members from what is left
    after = torch.stack([ways[s - i, m - 1 - sets[..., i]] for i in range(s)]).sum(0)
    return comb(m, s) - 1 - after
