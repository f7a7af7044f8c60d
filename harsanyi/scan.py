"""Which players interact: the sets met on the paths of a boosting model, ranked by gain."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch

from harsanyi.growing import Shape, fit_boosting
from harsanyi.parts.subsets import LARGEST, SubsetPart
from harsanyi.table import Table


def interacting_fields(
    table: Table, most: int = 64, *, trees: int = 150, key: int = 0
) -> list[list[int]]:
    """Sets of two to four players that trees of the table split on together.

    A split's gain goes to the set of players on the path down to it. A set inside a larger one
    of the list is left out unless it has the larger gain itself.

    Args:
        table: Training rows.
        most: Sets at most.
        trees: Trees of the scan.
        key: Key of its random choices.

    Returns:
        Positions, of largest gain first; single players where trees never split on two.
    """
    gains: dict[frozenset[int], float] = defaultdict(float)
    shape = Shape(leaves=12, min_rows=max(5, min(20, len(table) // 50)), learning_rate=0.1)
    for model, order in fit_boosting(table, shape, trees, key):
        for iteration in model._predictors:
            for predictor in iteration:
                _add_gains(predictor.nodes, order, gains)
    ranked = sorted(gains, key=lambda field: (-gains[field], sorted(field)))
    chosen: list[frozenset[int]] = []
    for field in ranked:
        if len(field) > 1 and not any(field < larger for larger in chosen):
            chosen.append(field)
    fields = [sorted(field) for field in chosen[:most]]
    return fields or [[player] for player in range(min(most, table.n_players))]


def _add_gains(nodes: Any, order: Any, gains: dict[frozenset[int], float]) -> None:  # noqa: ANN401
    stack: list[tuple[int, frozenset[int]]] = [(0, frozenset())]
    while stack:
        at, path = stack.pop()
        if nodes["is_leaf"][at]:
            continue
        path = path | {int(order[nodes["feature_idx"][at]])}
        if len(path) <= LARGEST:
            gains[path] += float(nodes["gain"][at])
        stack += [(int(nodes[side][at]), path) for side in ("left", "right")]


def subset_part(table: Table, *, most: int = 64, generator: torch.Generator) -> SubsetPart:
    """An untrained part whose units read the sets of a scan.

    Args:
        table: Training rows.
        most: Units at most.
        generator: Source of the weights and of the scan's choices.
    """
    key = int(torch.randint(0, 2**31, (), generator=generator))
    fields = interacting_fields(table, most, key=key)
    part = SubsetPart(
        table.n_players,
        table.n_outputs,
        units=len(fields),
        size=max(map(len, fields)),
        cardinalities=table.cardinalities,
    )
    part.reset_parameters(generator)
    return part.connect(fields).fit_encoder(table.x)
