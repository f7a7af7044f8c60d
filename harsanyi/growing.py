"""Growing of boosted trees: bagged, categories native, on masked copies of the rows too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harsanyi.bags import SMALL, Folds, Grown
from harsanyi.losses import prediction_loss, random_coalitions
from harsanyi.parts.tree_readers import Forest, column_order, read_hist_gradient_boosting
from harsanyi.parts.trees import TreePart
from harsanyi.table import Table

MOST_CODES = 252  # categories or cuts of a column; a histogram has 255 bins and missing
COPIED = 12_000  # rows with their masked copies, beyond which there is one copy a row


@dataclass(frozen=True)
class Shape:
    """How trees are grown.

    Attributes:
        leaves: Most leaves of a tree; its depth is at most 6.
        min_rows: Fewest rows in a leaf.
        learning_rate: Share of a tree's fit that counts.
        columns: Share of the columns tried at a split.
        l2: Penalty on leaf values.
    """

    leaves: int = 31
    min_rows: int = 20
    learning_rate: float = 0.06
    columns: float = 1.0
    l2: float = 4.0


def shapes(rows: int, margins: int) -> list[Shape]:
    """Shapes worth trying on so many rows, small ones for small tables.

    Args:
        rows: Rows to learn from.
        margins: Trees of one step; with several, steps are fewer and longer.
    """
    rate = 0.2 if margins > 2 else 0.12
    if rows >= SMALL:
        return [Shape(14, 20, rate / 2), Shape(31, 20, rate / 2, 0.7)]
    middle = Shape(14, 10, rate, 0.5)
    return [middle] if margins > 2 else [Shape(5, 8, rate, 0.5), middle]


def grow_trees(folds: Folds, *, copies_weight: float, key: int, most_trees: int = 1500) -> Grown:
    """Boosted trees of every bag, of the shape that did best on the first bags.

    Every other bag splits categories by their codes' order instead of by sets of codes: bags that
    differ more are worth more together.

    Args:
        folds: Rows and bags.
        copies_weight: Weight of all masked copies of a row against the row.
        key: Key of the random choices.
        most_trees: Trees of a bag, about, at most.

    Returns:
        One part with the trees of all bags, and its out-of-bag outputs.
    """
    margins = folds.table.n_outputs
    if margins > 3:  # every step of many classes is many trees already
        folds = folds.merged(4)
    most_trees = max(100, most_trees // margins)
    tried = shapes(len(folds.table), margins)
    edges = bin_edges(folds.table)
    probes = 2
    first = [
        [_bag(folds, edges, bag, shape, copies_weight, key, most_trees) for bag in range(probes)]
        for shape in tried
    ]
    rows = torch.cat([folds.outside(bag) for bag in range(probes)])
    best = min(range(len(tried)), key=lambda i: float(_outside_loss(folds, first[i], rows)))
    forests = first[best] + [
        _bag(folds, edges, bag, tried[best], copies_weight, key, most_trees)
        for bag in range(probes, folds.n_bags)
    ]
    return _assemble(folds, forests)


@dataclass(frozen=True)
class _Bag:
    forest: Forest
    full: Tensor
    masked: Tensor


def _outside_loss(folds: Folds, bags: list[_Bag], rows: Tensor) -> Tensor:
    table = folds.table.rows(rows)
    full = torch.cat([bag.full for bag in bags])
    return prediction_loss(full, table.y, table.weight, table.problem_type)


def _assemble(folds: Folds, bags: list[_Bag]) -> Grown:
    table, k = folds.table, folds.table.n_outputs
    merged = Forest(
        table.n_players,
        [[tree for bag in bags for tree in bag.forest.trees[margin]] for margin in range(k)],
        torch.stack([bag.forest.bias for bag in bags]).mean(0),
    )
    readout = torch.eye(k, dtype=torch.float64) / len(bags)
    part = TreePart.from_forest(merged, table.baseline, readout)
    full, masked = torch.empty(2, len(table), k, dtype=torch.float64)
    for i, bag in enumerate(bags):
        rows = folds.outside(i)
        full[rows], masked[rows] = bag.full, bag.masked
    return Grown([part], merged.bias, full, masked)


def bin_edges(table: Table) -> list[np.ndarray]:
    """Cuts of every number, the same for all bags: between values, or between quantiles.

    Args:
        table: All rows.

    Returns:
        Ascending float64 cuts per column, at most 254, in small tables 65; none for a category.
    """
    edges = []
    most = MOST_CODES if len(table) >= SMALL else 63
    baseline = table.baseline.tolist()
    columns = zip(table.x.T.numpy(), table.cardinalities, baseline, strict=True)
    for column, size, absent in columns:
        known = np.sort(column[~np.isnan(column)])
        values = np.unique(known)
        if size:
            values = values[:0]
        elif len(values) > most + 1:
            ranks = np.linspace(0, len(known) - 1, most + 1).round().astype(int)
            values = np.unique(known[ranks])
        cuts = (values[:-1] + values[1:]) / 2
        if not size and not np.isnan(absent):
            # the baseline has a bin of its own, so that trees can tell an absent cell
            cuts = np.unique([*cuts, np.nextafter(absent, -np.inf), absent])
        edges.append(cuts)
    return edges


def _binned(x: Tensor, edges: list[np.ndarray], cardinalities: list[int]) -> np.ndarray:
    """Rows as the library sees them: the number of cuts below a number; codes stay."""
    columns = x.T.numpy().copy()
    for column, cuts, size in zip(columns, edges, cardinalities, strict=True):
        if not size:
            known = ~np.isnan(column)
            column[known] = np.searchsorted(cuts, column[known], side="left")
    return columns.T


def _learnable(rows: np.ndarray) -> np.ndarray:
    """Rows in which a column without any known cell is constant: the library bins no empty one."""
    return np.where(np.isnan(rows).all(0), 0.0, rows)


def _unbinned(forest: Forest, edges: list[np.ndarray], cardinalities: list[int]) -> Forest:
    """The same trees with cuts in raw numbers: x <= cuts[j] means at most j cuts are below x.

    Codes were not binned, so cuts between codes stay.
    """
    for trees in forest.trees:
        for tree in trees:
            for node in np.flatnonzero(tree.player >= 0):
                if tree.codes[node] is None and not cardinalities[tree.player[node]]:
                    cuts = edges[tree.player[node]]
                    # an infinite cut parts missing cells from all numbers
                    place = min(np.floor(tree.cut[node]), len(cuts))
                    tree.cut[node] = cuts[int(place)] if place < len(cuts) else np.inf
    return forest


def _bag(
    folds: Folds,
    edges: list[np.ndarray],
    bag: int,
    shape: Shape,
    copies_weight: float,
    key: int,
    most_trees: int,
) -> _Bag:
    table = folds.table
    inside, outside = folds.inside(bag), folds.outside(bag)
    generator = torch.Generator().manual_seed(key + 1000 * bag)
    train = with_copies(table.rows(inside), copies_weight, generator)
    held = with_copies(table.rows(outside), copies_weight, generator)
    forests = [
        _boost(train, held, edges, target, shape, key + bag, most_trees)
        for target in _targets(table)
    ]
    forest = Forest(
        table.n_players,
        [trees for grown in forests for trees in grown.trees],
        torch.cat([grown.bias for grown in forests]),
    )
    part = TreePart.from_forest(forest, table.baseline)
    x = table.x[outside]
    full = part(x, torch.ones_like(x, dtype=torch.bool)) + forest.bias
    return _Bag(forest, full, part(x, folds.coalitions[outside]) + forest.bias)


def with_copies(table: Table, copies_weight: float, generator: torch.Generator) -> Table:
    """A table with masked copies of its rows, absent cells replaced by the baseline.

    Args:
        table: Rows.
        copies_weight: Weight of all copies of a row against the row; 0 makes none.
        generator: Source of the coalitions.

    Returns:
        The rows, then copies: one of each row in large tables, up to 3 in small ones.
    """
    if copies_weight == 0:
        return table
    b, n = table.x.shape
    copies = int(min(3, max(1, COPIED // max(1, b) - 1)))
    masks = [random_coalitions(b, n, generator) for _ in range(copies)]
    masked = [torch.where(mask, table.x, table.baseline) for mask in masks]
    weight = table.weight * (copies_weight / copies)
    return Table(
        x=torch.cat([table.x, *masked]),
        y=torch.cat([table.y] * (copies + 1)),
        weight=torch.cat([table.weight] + [weight] * copies),
        columns=table.columns,
        n_outputs=table.n_outputs,
        problem_type=table.problem_type,
        absence=table.absence,
        baseline=table.baseline,
    )


def _targets(table: Table) -> list[int | None]:
    """What is boosted: the classes at once, or one column of numbers (or soft logits) each."""
    if table.problem_type == "classification" and not table.y.is_floating_point():
        return [None]
    return list(range(table.n_outputs))


def _numbers(table: Table, column: int) -> np.ndarray:
    y = table.y.reshape(len(table), -1)
    if table.problem_type == "regression":
        return y[:, column].numpy()
    logs = y.clamp(1e-4, 1.0).log()
    if table.n_outputs == 1:
        return (logs[:, 1] - logs[:, 0]).numpy()
    return (logs[:, column] - logs.mean(-1)).numpy()


def _boost(
    train: Table,
    held: Table,
    edges: list[np.ndarray],
    target: int | None,
    shape: Shape,
    key: int,
    most_trees: int,
) -> Forest:
    margins = train.n_outputs if target is None else 1
    y = _aim(train, target)
    if len(np.unique(y)) < 2:
        constant = 0.0 if target is None else float(y[0])
        bias = torch.full((margins,), constant, dtype=torch.float64)
        return Forest(train.n_players, [[] for _ in range(margins)], bias)
    if target is None:  # a class whose rows were all held out has no margin to be judged by
        held = held.rows(torch.from_numpy(np.flatnonzero(np.isin(held.y.numpy(), y))))
    model = _model(train, target, shape, most_trees, key, native=key % 2 == 0)
    if len(held):
        model.set_params(early_stopping=True, n_iter_no_change=20)
        judge = {
            "X_val": _binned(held.x, edges, held.cardinalities),
            "y_val": _aim(held, target),
            "sample_weight_val": held.weight.numpy(),
        }
    else:
        model.set_params(early_stopping=False, max_iter=min(most_trees, 20))
        judge = {}
    model.fit(
        _learnable(_binned(train.x, edges, train.cardinalities)),
        y,
        sample_weight=train.weight.numpy(),
        **judge,
    )
    forest = _unbinned(read_hist_gradient_boosting(model), edges, train.cardinalities)
    return _all_classes(forest, model, train) if target is None else forest


def fit_boosting(table: Table, shape: Shape, trees: int, key: int) -> list[tuple[Any, np.ndarray]]:
    """Boosting models of all targets of a table, for what their trees say about the columns.

    Args:
        table: Training rows.
        shape: How trees are grown.
        trees: Trees per margin.
        key: Key of the random choices.

    Returns:
        Fitted models of scikit-learn on binned columns, each with the column of every feature.
    """
    edges, fitted = bin_edges(table), []
    for target in _targets(table):
        y = _aim(table, target)
        if len(np.unique(y)) < 2:
            continue
        model = _model(table, target, shape, trees, key)
        rows = _learnable(_binned(table.x, edges, table.cardinalities))
        model.set_params(early_stopping=False)
        fitted.append(
            (model.fit(rows, y, sample_weight=table.weight.numpy()), column_order(model))
        )
    return fitted


def _aim(table: Table, target: int | None) -> np.ndarray:
    return table.y.numpy() if target is None else _numbers(table, target)


def _model(
    table: Table, target: int | None, shape: Shape, trees: int, key: int, native: bool = True
) -> Any:  # noqa: ANN401
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    kind: Any = HistGradientBoostingClassifier if target is None else HistGradientBoostingRegressor
    sets = [native and 0 < size <= MOST_CODES for size in table.cardinalities]
    return kind(
        max_iter=trees,
        learning_rate=shape.learning_rate,
        max_leaf_nodes=shape.leaves,
        max_depth=6,
        min_samples_leaf=shape.min_rows,
        l2_regularization=shape.l2,
        max_features=shape.columns,
        categorical_features=sets if any(sets) else None,
        random_state=key % 2**32,
    )


def _all_classes(forest: Forest, model: Any, table: Table) -> Forest:  # noqa: ANN401
    """Margins of all classes of the table, where a bag did not see some of them."""
    k = table.n_outputs
    if k == 1 or len(model.classes_) == k:
        return forest
    trees: list[list[Any]] = [[] for _ in range(k)]
    bias = torch.full((k,), float(forest.bias.min()) - 2.0, dtype=torch.float64)
    if len(model.classes_) == 2:  # one margin, the log-odds of the second against the first
        first, second = (int(label) for label in model.classes_)
        bias[:] = min(0.0, float(forest.bias[0])) - 2.0
        trees[second], bias[second], bias[first] = forest.trees[0], forest.bias[0], 0.0
        return Forest(forest.n_players, trees, bias)
    for margin, label in enumerate(model.classes_):
        trees[int(label)], bias[int(label)] = forest.trees[margin], forest.bias[margin]
    return Forest(forest.n_players, trees, bias)
