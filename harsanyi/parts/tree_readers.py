"""Trees of scikit-learn, LightGBM and XGBoost in one neutral form, split for split.

Every numeric test becomes `x <= cut` in float64 (XGBoost's float32 comparison included, exactly)
and every categorical test a set of codes, each with the way of a missing cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harsanyi.parts.tree_walks import SHIFT
from harsanyi.parts.trees import DEEPEST

LEAF = -1


@dataclass
class Tree:
    """One tree as arrays over its nodes, the root first.

    Args:
        player: Column tested at a node, -1 at a leaf.
        cut: Largest number that goes left.
        codes: Category codes that go left and codes known at the node, None for a number.
        missing_left: Where a missing cell (or an unknown code) goes.
        children: Left and right node `(m, 2)`.
        value: Value of a leaf.
    """

    player: np.ndarray
    cut: np.ndarray
    codes: list[tuple[frozenset[int], frozenset[int]] | None]
    missing_left: np.ndarray
    children: np.ndarray
    value: np.ndarray


@dataclass
class Forest:
    """Trees of all margins.

    Args:
        n_players: Columns of a raw row.
        trees: For every margin its trees.
        bias: Constant of every margin `(margins,)`, float64.
    """

    n_players: int
    trees: list[list[Tree]]
    bias: Tensor

    @property
    def n_margins(self) -> int:
        """Raw outputs of the library's model."""
        return len(self.trees)


@dataclass
class _Tables:
    literals: dict[tuple, int] = field(default_factory=lambda: {("true",): 0})
    rows: list[tuple[int, float, int, bool]] = field(
        default_factory=lambda: [(0, np.inf, -1, True)]
    )
    sets: dict[tuple[frozenset[int], frozenset[int], bool], int] = field(default_factory=dict)

    def literal(self, tree: Tree, node: int) -> int:
        player, missing = int(tree.player[node]), bool(tree.missing_left[node])
        codes = tree.codes[node]
        if codes is None:
            key: tuple = (player, float(tree.cut[node]), missing)
            number = -1
        else:
            number = self.sets.setdefault((*codes, missing), len(self.sets))
            key = (player, number)
        if key not in self.literals:
            self.literals[key] = len(self.rows)
            cut = float(tree.cut[node]) if codes is None else np.inf
            self.rows.append((player, cut, number, missing))
        return self.literals[key]


def compile_forest(forest: Forest) -> dict[str, Tensor]:
    """The buffers of `TreePart`, without its readout and baseline.

    Args:
        forest: Trees of any shape up to depth 8; margins with fewer trees get trees of zero.

    Returns:
        The buffers by name.

    Raises:
        ValueError: If a tree is deeper than 8.
    """
    depth = max([1, *(_depth(tree) for trees in forest.trees for tree in trees)])
    if depth > DEEPEST:
        raise ValueError(
            f"A tree of depth {depth} cannot be read as boxes of at most {DEEPEST} tests; train "
            "the model with max_depth=6."
        )
    count = max([1, *(len(trees) for trees in forest.trees)])
    nodes = np.zeros((forest.n_margins * count, 2**depth - 1), dtype=np.int32)
    values = np.zeros((forest.n_margins * count, 2**depth))
    tables = _Tables()
    for margin, trees in enumerate(forest.trees):
        for i, tree in enumerate(trees):
            _fill(tree, depth, tables, nodes[margin * count + i], values[margin * count + i])
    player, cut, number, missing = (list(column) for column in zip(*tables.rows, strict=True))
    return {
        "nodes": torch.from_numpy(nodes),
        "values": torch.from_numpy(values),
        "literal_player": torch.tensor(player, dtype=torch.int64),
        "literal_cut": torch.tensor(cut, dtype=torch.float64).view(torch.int64),
        "literal_set": torch.tensor(number, dtype=torch.int64),
        "literal_missing": torch.tensor(missing, dtype=torch.bool),
        "sets": _set_table(tables),
    }


def _depth(tree: Tree) -> int:
    depth, level = 0, [0]
    while level := [c for i in level if tree.player[i] != LEAF for c in tree.children[i].tolist()]:
        depth += 1
        if depth > DEEPEST:
            break
    return depth


def _fill(tree: Tree, depth: int, tables: _Tables, nodes: np.ndarray, values: np.ndarray) -> None:
    """Write one tree into its heap; the first level of a player is kept beside the literal."""
    stack: list[tuple[int, int, int, tuple[int, ...]]] = [(0, 0, 0, ())]
    while stack:
        node, level, position, path = stack.pop()
        if tree.player[node] == LEAF:
            values[position << (depth - level)] = tree.value[node]
            continue
        player = int(tree.player[node])
        first = path.index(player) if player in path else level
        nodes[2**level - 1 + position] = tables.literal(tree, node) << SHIFT | first
        for side in (0, 1):
            child = int(tree.children[node, side])
            stack.append((child, level + 1, 2 * position + side, (*path, player)))


def _set_table(tables: _Tables) -> Tensor:
    codes = [c for left, known, _ in tables.sets for c in left | known]
    table = torch.zeros(len(tables.sets), max(codes, default=-1) + 1, dtype=torch.bool)
    for (left, known, missing), row in tables.sets.items():
        table[row] = missing  # a code the library did not know goes the way of a missing cell
        table[row, sorted(known)] = False
        table[row, sorted(left)] = True
    return table


def read_hist_gradient_boosting(model: Any) -> Forest:  # noqa: ANN401
    """Trees of a fitted HistGradientBoosting model of scikit-learn.

    Args:
        model: A fitted classifier or regressor; categorical columns hold codes 0, 1, 2, ...

    Returns:
        Its trees; `bias` is the model's own constant.
    """
    order, encoded = column_order(model), {}
    if getattr(model, "_preprocessor", None) is not None:
        encoder = model._preprocessor.named_transformers_["encoder"]
        for i, categories in enumerate(encoder.categories_):
            codes = [int(c) for c in categories if not np.isnan(c)]
            encoded[i] = codes
    trees: list[list[Tree]] = [[] for _ in model._predictors[0]]
    for iteration in model._predictors:
        for margin, predictor in enumerate(iteration):
            trees[margin].append(_hist_tree(predictor, order, encoded))
    bias = torch.as_tensor(np.array(model._baseline_prediction, dtype=np.float64)).flatten()
    return Forest(int(model.n_features_in_), trees, bias)


def column_order(model: Any) -> np.ndarray:  # noqa: ANN401
    """The column of every feature of a fitted HistGradientBoosting model, categories first."""
    if getattr(model, "_preprocessor", None) is None:
        return np.arange(model.n_features_in_)
    categorical = np.asarray(model.is_categorical_)
    return np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])


def _hist_tree(predictor: Any, order: np.ndarray, encoded: dict[int, list[int]]) -> Tree:  # noqa: ANN401
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    bitsets = predictor.raw_left_cat_bitsets
    codes: list[tuple[frozenset[int], frozenset[int]] | None] = []
    for node in nodes:
        if node["is_leaf"] or not node["is_categorical"]:
            codes.append(None)
            continue
        known = encoded[int(node["feature_idx"])]
        words = bitsets[int(node["bitset_idx"])]
        left = frozenset(c for i, c in enumerate(known) if int(words[i // 32]) >> (i % 32) & 1)
        codes.append((left, frozenset(known)))
    return Tree(
        player=np.where(leaf, LEAF, order[np.where(leaf, 0, nodes["feature_idx"])]),
        cut=nodes["num_threshold"].astype(np.float64),
        codes=codes,
        missing_left=nodes["missing_go_to_left"].astype(bool),
        children=np.stack([nodes["left"], nodes["right"]], -1).astype(np.int64),
        value=nodes["value"].astype(np.float64),
    )


def read_lightgbm(model: Any) -> Forest:  # noqa: ANN401
    """Trees of a fitted LightGBM booster or of its scikit-learn wrapper.

    Args:
        model: A `lightgbm.Booster`, `LGBMClassifier` or `LGBMRegressor`.

    Returns:
        Its trees; the margins are those of `predict(raw_score=True)`.

    Raises:
        ValueError: If the model averages its trees (random forest) or has linear leaves.
    """
    booster = getattr(model, "booster_", model)
    dump = booster.dump_model()
    margins = int(dump["num_tree_per_iteration"])
    if dump.get("average_output"):
        raise ValueError("A LightGBM random forest averages its trees; read a boosted model.")
    trees: list[list[Tree]] = [[] for _ in range(margins)]
    for i, info in enumerate(dump["tree_info"]):
        trees[i % margins].append(_lightgbm_tree(info["tree_structure"]))
    bias = torch.zeros(margins, dtype=torch.float64)
    return Forest(int(dump["max_feature_idx"]) + 1, trees, bias)


def _lightgbm_tree(root: dict[str, Any]) -> Tree:
    rows: list[tuple[int, float, Any, bool, list[int], float]] = []

    def visit(node: dict[str, Any]) -> int:
        at = len(rows)
        if "leaf_value" in node:
            if "leaf_const" in node or "leaf_coeff" in node:
                raise ValueError(
                    "A LightGBM model with linear leaves has no boxes; linear_tree=False."
                )
            rows.append((LEAF, np.inf, None, True, [at, at], float(node["leaf_value"])))
            return at
        kind, missing = node["decision_type"], node["missing_type"]
        player = int(node["split_feature"])
        if kind == "==":
            left = frozenset(int(c) for c in str(node["threshold"]).split("||"))
            rows.append((player, np.inf, (left, left), False, [0, 0], 0.0))
        else:
            cut = float(node["threshold"])
            if missing == "Zero":
                raise ValueError("LightGBM's zero_as_missing is not a test of one threshold.")
            # Without missing values in training LightGBM reads NaN as zero.
            nan_left = bool(node["default_left"]) if missing == "NaN" else cut >= 0.0
            rows.append((player, cut, None, nan_left, [0, 0], 0.0))
        children = [visit(node["left_child"]), visit(node["right_child"])]
        rows[at][4][:] = children
        return at

    visit(root)
    return _tree_of_rows(rows)


def read_xgboost(model: Any) -> Forest:  # noqa: ANN401
    """Trees of a fitted XGBoost booster or of its scikit-learn wrapper.

    Args:
        model: An `xgboost.Booster`, `XGBClassifier` or `XGBRegressor` with tree boosters and
            numeric splits.

    Returns:
        Its trees; the margins are those of `predict(output_margin=True)`. XGBoost rounds a cell
        to float32 and tests `x < cut`; the cuts here give the same side for every float64.

    Raises:
        ValueError: If a split is categorical or the booster is not gbtree.
    """
    import json

    booster = model.get_booster() if hasattr(model, "get_booster") else model
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    if learner["gradient_booster"]["name"] != "gbtree":
        raise ValueError(f"Only gbtree is read, not {learner['gradient_booster']['name']}.")
    grown = learner["gradient_booster"]["model"]
    facts = learner["learner_model_param"]
    margins = max(1, int(facts["num_class"]))
    trees: list[list[Tree]] = [[] for _ in range(margins)]
    for margin, tree in zip(grown["tree_info"], grown["trees"], strict=True):
        trees[margin].append(_xgboost_tree(tree))
    score = np.atleast_1d(np.array(json.loads(str(facts["base_score"])), dtype=np.float64))
    if learner["objective"]["name"] == "binary:logistic":
        score = np.log(score) - np.log1p(-score)
    bias = torch.as_tensor(np.broadcast_to(score, margins).copy())
    return Forest(int(facts["num_feature"]), trees, bias)


def _xgboost_tree(tree: dict[str, Any]) -> Tree:
    if any(tree["split_type"]):
        raise ValueError("XGBoost's categorical splits are not read; train on encoded numbers.")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    leaf = left < 0
    cut = np.array(tree["split_conditions"], dtype=np.float32)
    return Tree(
        player=np.where(leaf, LEAF, np.array(tree["split_indices"])),
        cut=largest_below(cut),
        codes=[None] * len(leaf),
        missing_left=np.array(tree["default_left"]).astype(bool),
        children=np.stack([left, right], -1).astype(np.int64),
        value=cut.astype(np.float64),
    )


def largest_below(cut: np.ndarray) -> np.ndarray:
    """The largest float64 that, rounded to float32, is below a float32 cut.

    Args:
        cut: Cuts, float32.

    Returns:
        Cuts, float64: `float32(x) < cut` exactly when `x <= result`.
    """
    below = np.nextafter(cut, np.float32(-np.inf))
    middle = (below.astype(np.float64) + cut.astype(np.float64)) / 2
    rounds_down = middle.astype(np.float32) < cut
    return np.where(rounds_down, middle, np.nextafter(middle, -np.inf))


def _tree_of_rows(rows: Sequence[tuple[int, float, Any, bool, list[int], float]]) -> Tree:
    player, cut, codes, missing, children, value = zip(*rows, strict=True)
    return Tree(
        player=np.array(player),
        cut=np.array(cut, dtype=np.float64),
        codes=list(codes),
        missing_left=np.array(missing, dtype=bool),
        children=np.array(children, dtype=np.int64),
        value=np.array(value, dtype=np.float64),
    )
