"""Random games in factors, and their values straight from the definition, one coalition at a time."""

import math
from itertools import combinations

import torch
from torch import Tensor

from baselines.coalitions import all_coalitions
from harsanyi import Boxes, Dividends, Products

KINDS = ("terms", "products", "boxes", "all")


def random_game(
    kind: str,
    n: int,
    *,
    b: int = 3,
    k: int = 2,
    seed: int = 0,
    width: int = 4,
    dtype: torch.dtype = torch.float64,
    **options,
) -> Dividends:
    """A game of one kind of part, or of all; repeats, empty terms and dead boxes included."""
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype)

    def coins(share, *shape):
        return torch.rand(*shape, generator=draw) < share

    u = 9 if kind in ("terms", "all") else 0
    terms = coins(min(0.4, 4 / n), u, n)
    if u:
        terms[-1], terms[-2] = False, terms[0]
    products, boxes = [], []
    if kind in ("products", "all"):
        products.append(Products(normal(3, k), 0.6 * normal(b, 3, n) * coins(0.8, 3, n)))
    if kind in ("boxes", "all"):
        width = min(width, n)
        features = torch.stack([torch.randperm(n, generator=draw)[:width] for _ in range(7)])
        features[0, width // 2 :] = -1
        inside, absent = coins(0.5, b, 7, width), coins(0.35, b, 7, width)
        inside[:, 0, -1] = absent[:, 0, -1] = True  # on padding when there is any: ignored
        boxes.append(Boxes(features, inside, absent, normal(7, k)))
    return Dividends(
        terms, normal(b, u, k), normal(b, k), products=products, boxes=boxes, **options
    )


def value_by_definition(game: Dividends, coalition: list[int], row: int, output: int) -> float:
    """v(S) of one explicand and output, in plain Python."""
    present = set(coalition)
    total = float(game.constant[row, output])
    for term, member in enumerate(game.terms.tolist()):
        if {i for i, is_in in enumerate(member) if is_in} <= present:
            total += float(game.term_values[row, term, output])
    for part in game.products:
        for r in range(part.weights.shape[0]):
            factors = [1 + float(part.factors[row, r, i]) for i in present]
            total += float(part.weights[r, output]) * math.prod(factors)
    for part in game.boxes:
        for t, players in enumerate(part.features.tolist()):
            slots = [(s, i) for s, i in enumerate(players) if i >= 0]
            met = all(i in present for s, i in slots if part.inside[row, t, s])
            met &= all(i not in present for s, i in slots if part.absent[row, t, s])
            total += float(part.values[t, output]) * met
    return total


def table(game: Dividends) -> Tensor:
    """Values `(b, 2**n, k)` by definition, in the order of `all_coalitions`."""
    n = game.n_players
    sets = [row.nonzero().flatten().tolist() for row in all_coalitions(n)]
    cells = [
        [[value_by_definition(game, s, row, out) for out in range(game.n_outputs)] for s in sets]
        for row in range(game.n_explicands)
    ]
    shape = game.n_explicands, 2**n, game.n_outputs
    return torch.tensor(cells, dtype=torch.float64).reshape(shape)


def semivalue(values: Tensor, n: int, weight) -> Tensor:
    """sum over S without i of weight(|S|) (v(S + i) - v(S)), `(b, n, k)`, term by term."""
    answer = torch.zeros(values.shape[0], n, values.shape[2], dtype=torch.float64)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for chosen in combinations(others, size):
                low = sum(1 << j for j in chosen)
                gain = values[:, low | 1 << i] - values[:, low]
                answer[:, i] += weight(size) * gain
    return answer


def shapley_by_definition(values: Tensor, n: int) -> Tensor:
    """Shapley values `(b, n, k)` of a table."""
    return semivalue(
        values, n, lambda s: math.factorial(s) * math.factorial(n - s - 1) / math.factorial(n)
    )


def banzhaf_by_definition(values: Tensor, n: int) -> Tensor:
    """Banzhaf values `(b, n, k)` of a table."""
    return semivalue(values, n, lambda s: 2.0 ** (1 - n))


def moebius(values: Tensor, n: int) -> Tensor:
    """Dividends `(b, 2**n, k)` of a table, by inclusion and exclusion."""
    answer = values.clone()
    index = torch.arange(2**n)
    for i in range(n):
        has = (index >> i & 1).bool()
        answer[:, has] = answer[:, has] - answer[:, index[has] ^ (1 << i)]
    return answer


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-10) -> None:
    """Equal to `tolerance` relative to the larger of 1 and the largest expected number."""
    assert actual.shape == expected.shape
    if expected.numel():
        actual, expected = actual.detach(), expected.detach()
        scale = max(1.0, float(expected.abs().max()))
        assert float((actual - expected).abs().max()) <= tolerance * scale
