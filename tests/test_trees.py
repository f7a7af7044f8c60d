"""Laws of trees as a part: the library's own numbers, and Shapley values equal to enumeration."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from torch import Tensor

from baselines.exact import exact_shapley
from baselines.game import PresenceGame
from harsanyi.float64 import overwrite
from harsanyi.parts import build
from harsanyi.parts.tree_readers import (
    Forest,
    Tree,
    largest_below,
    read_hist_gradient_boosting,
    read_lightgbm,
    read_xgboost,
)
from harsanyi.parts.tree_walks import box_weights
from harsanyi.parts.trees import FEW, TreePart
from harsanyi.spectrum import term_mass

N = 8
CATEGORY = 3


def rows(seed: int, count: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, one column of codes, missing cells; three classes and a number to predict."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(count, N))
    X[:, CATEGORY] = rng.integers(0, 7, count)
    X[:, 5] = rng.integers(0, 3, count)
    full = X.copy()
    X[rng.random(X.shape) < 0.06] = np.nan
    score = full[:, 0] * full[:, 1] + np.sin(full[:, CATEGORY]) + (full[:, 2] > 0) * full[:, 5]
    return X, np.digitize(score, [-0.5, 1.0]), score + 0.1 * rng.normal(size=count)


def grow(seed: int, task: str) -> tuple[TreePart, Forest, Any, np.ndarray]:
    X, labels, target = rows(seed)
    kind: Any = (
        HistGradientBoostingClassifier if task == "classes" else HistGradientBoostingRegressor
    )
    model = kind(max_iter=12, max_depth=6, categorical_features=[CATEGORY], random_state=seed)
    model.fit(X, labels if task == "classes" else target)
    forest = read_hist_gradient_boosting(model)
    baseline = torch.tensor(np.nanmean(X, 0))
    baseline[CATEGORY] = 2.0
    return TreePart.from_forest(forest, baseline), forest, model, X


def brute(part: TreePart, x: Tensor) -> Tensor:
    return exact_shapley(PresenceGame(lambda x, present: part(x, present), x)).values


def everyone(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


def relative(gap: Tensor, v: Tensor) -> float:
    return float((gap.abs() / v.abs().max().clamp(min=1)).max())


@pytest.mark.parametrize("task", ["classes", "number"])
@pytest.mark.parametrize("seed", range(3))
def test_forward_equals_hist_gradient_boosting(seed: int, task: str) -> None:
    part, forest, model, X = grow(seed, task)
    x = torch.tensor(X)
    strange = x[:50].clone()
    strange[:25, CATEGORY], strange[25:, CATEGORY] = 99.0, -1.0  # codes never seen
    strange[:, 0] = torch.tensor([np.inf, -np.inf] * 25)
    for batch in (x, strange):
        ours = part(batch, everyone(batch)) + forest.bias
        theirs = torch.tensor(model._raw_predict(batch.nan_to_num(nan=torch.nan).numpy()))
        assert relative(ours - theirs, theirs) <= 1e-12


def test_a_cell_on_a_cut_goes_the_librarys_way() -> None:
    part, forest, model, X = grow(0, "number")
    tree = forest.trees[0][0]
    player, cut = int(tree.player[0]), float(tree.cut[0])
    x = torch.tensor(X[:3])
    x[:, player] = torch.tensor([np.nextafter(cut, -np.inf), cut, np.nextafter(cut, np.inf)])
    theirs = torch.tensor(model._raw_predict(x.numpy()))
    assert relative(part(x, everyone(x)) + forest.bias - theirs, theirs) <= 1e-12


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
def test_forward_equals_lightgbm(objective: str) -> None:
    lightgbm: Any = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    X, labels, target = rows(1)
    y = {"binary": labels > 0, "multiclass": labels, "regression": target}[objective]
    options: dict[str, Any] = {
        "objective": objective,
        "max_depth": 6,
        "verbose": -1,
        "num_threads": 1,
    }
    if objective == "multiclass":
        options["num_class"] = 3
    data = lightgbm.Dataset(X, y, categorical_feature=[CATEGORY], free_raw_data=False)
    model = lightgbm.train(options, data, 12)
    forest = read_lightgbm(model)
    part = TreePart.from_forest(forest, torch.zeros(N))
    clean = torch.tensor(X)
    strange = clean[:40].clone()
    strange[:, CATEGORY] = 99.0
    for x in (clean, strange):
        theirs = torch.tensor(model.predict(x.numpy(), raw_score=True)).reshape(len(x), -1)
        assert relative(part(x, everyone(x)) + forest.bias - theirs, theirs) <= 1e-12


def test_lightgbm_without_missing_training_cells_reads_nan_as_zero() -> None:
    lightgbm: Any = pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    X, _, target = rows(2)
    X = np.nan_to_num(X, nan=0.3)
    options: dict[str, Any] = {
        "objective": "regression",
        "max_depth": 5,
        "verbose": -1,
        "num_threads": 1,
    }
    model = lightgbm.train(options, lightgbm.Dataset(X, target), 8)
    part = TreePart.from_forest(read_lightgbm(model), torch.zeros(N))
    x = torch.tensor(X[:60])
    x[:, :3] = np.nan
    theirs = torch.tensor(model.predict(x.numpy(), raw_score=True))[:, None]
    assert relative(part(x, everyone(x)) - theirs, theirs) <= 1e-12


@pytest.mark.parametrize("objective", ["binary", "multiclass", "regression"])
def test_forward_equals_xgboost(objective: str) -> None:
    xgboost: Any = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    X, labels, target = rows(3)
    y = {"binary": (labels > 0).astype(int), "multiclass": labels, "regression": target}[objective]
    kind = xgboost.XGBRegressor if objective == "regression" else xgboost.XGBClassifier
    model = kind(n_estimators=10, max_depth=5, n_jobs=1).fit(X, y)
    forest = read_xgboost(model)
    part = TreePart.from_forest(forest, torch.zeros(N))
    x = torch.tensor(X)
    theirs = torch.tensor(model.predict(X, output_margin=True), dtype=torch.float64)
    theirs = theirs.reshape(len(x), -1)
    # XGBoost adds leaves up in float32; a wrong turn would cost far more than rounding
    assert relative(part(x, everyone(x)) + forest.bias - theirs, theirs) <= 2e-6


def test_float32_cuts_split_every_float64_as_rounding_would() -> None:
    rng = np.random.default_rng(0)
    cut = np.concatenate([rng.normal(size=300), [0.0, 1.0, -2.0, 1e-40]]).astype(np.float32)
    bound = largest_below(cut)
    for steps in range(-3, 4):
        x = bound.copy()
        for _ in range(abs(steps)):
            x = np.nextafter(x, np.inf if steps > 0 else -np.inf)
        assert ((x.astype(np.float32) < cut) == (x <= bound)).all()
        assert (x <= bound).all() == (steps <= 0)


@pytest.mark.parametrize("task", ["classes", "number"])
@pytest.mark.parametrize("seed", range(5))
def test_shapley_values_equal_enumeration(seed: int, task: str) -> None:
    part, _, _, X = grow(seed, task)
    x = torch.tensor(X[:3])
    expected = brute(part, x)
    assert expected.abs().max() > 0.01
    assert relative(part.shapley(x, everyone(x)) - expected, expected) <= 1e-10


@pytest.mark.parametrize("task", ["classes", "number"])
def test_many_rows_have_the_values_of_rows_alone(task: str) -> None:
    part, _, _, X = grow(4, task)
    x = torch.tensor(X[: FEW + 13])
    present = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.8
    together = part.shapley(x, present)
    alone = torch.cat([part.shapley(x[i : i + 1], present[i : i + 1]) for i in range(len(x))])
    assert (together - alone).abs().max() <= 1e-13
    assert (together[~present] == 0).all()
    few = x[:FEW]
    assert (part.shapley(few, everyone(few)) - brute(part, few)).abs().max() <= 1e-12


def test_trees_that_change_are_read_anew() -> None:
    part, _, _, X = grow(5, "number")
    x = torch.tensor(X[: FEW + 1])
    before = part.shapley(x, everyone(x))
    assert torch.equal(part.shapley(x, everyone(x)), before)
    with torch.inference_mode():
        assert torch.equal(part.shapley(x, everyone(x)), before)
    part.values.mul_(2)
    assert torch.equal(part.shapley(x, everyone(x)), 2 * before)
    overwrite(part, "baseline", x[0])
    values = part.shapley(x, everyone(x))
    assert (values[0] == 0).all()
    assert (values[1:] - part.shapley(x[1:2], everyone(x[1:2]))[0]).abs()[0].max() <= 1e-13
    assert (part.to(torch.float32).shapley(x, everyone(x)) - values).abs().max() <= 1e-6


def test_the_mass_of_each_order_is_that_of_the_boxes() -> None:
    part, _, _, X = grow(6, "classes")
    x = torch.tensor(X[:9])
    listed = term_mass(part.terms(x, everyone(x)))
    assert (part.term_mass(x, everyone(x)) - listed).abs().max() <= 1e-12


def test_values_are_efficient_on_a_thousand_rows() -> None:
    part, _, _, X = grow(0, "classes")
    x = torch.tensor(X[:1000])
    v, base = part(x, everyone(x)), part(x, ~everyone(x))
    gap = part.shapley(x, everyone(x)).sum(1) - (v - base)
    assert relative(gap, v) <= 1e-12


def test_boxes_are_the_game() -> None:
    part, _, _, X = grow(1, "classes")
    x = torch.tensor(X[:3])
    d = part.terms(x, everyone(x))
    coalitions = torch.rand(3, 40, N, generator=torch.Generator().manual_seed(1)) < 0.5
    cells = x[:, None].expand(-1, 40, -1).reshape(-1, N)
    expected = part(cells, coalitions.reshape(-1, N)).reshape(3, 40, -1)
    assert relative(d.value(coalitions) - expected, expected) <= 1e-12
    assert relative(d.shapley() - part.shapley(x, everyone(x)), expected) <= 1e-12


def test_a_cell_equal_to_the_baseline_is_worth_nothing() -> None:
    part, _, _, X = grow(2, "number")
    x = torch.tensor(X[:20])
    x[:, [0, 2]] = part.baseline[[0, 2]]
    phi = part.shapley(x, everyone(x))
    assert (phi[:, [0, 2]] == 0).all()
    assert (phi[:, 1] != 0).any()
    same = part.baseline.expand(4, -1)
    assert (part.shapley(same, everyone(same)) == 0).all()


def test_a_missing_baseline_is_a_value_like_any_other() -> None:
    part, forest, _, X = grow(2, "number")
    baseline = part.baseline.clone()
    baseline[[0, CATEGORY]] = torch.nan
    part = TreePart.from_forest(forest, baseline)
    x = torch.tensor(X[:3])
    expected = brute(part, x)
    assert relative(part.shapley(x, everyone(x)) - expected, expected) <= 1e-10


def test_players_that_are_not_present_never_count() -> None:
    part, _, _, X = grow(3, "classes")
    x = torch.tensor(X[:3])
    present = everyone(x)
    present[:, [0, CATEGORY]] = False
    phi = part.shapley(x, present)
    assert (phi[:, [0, CATEGORY]] == 0).all()
    other = x.clone()
    other[:, [0, CATEGORY]] = 1e9
    assert torch.equal(part(x, present), part(other, present))
    assert torch.equal(phi, part.shapley(other, present))
    game = PresenceGame(
        lambda rows, present: part(rows, present), torch.where(present, x, part.baseline)
    )
    assert relative(phi - exact_shapley(game).values, phi) <= 1e-10


def hand_made(player: list[int], cut: list[float], value: list[float]) -> Tree:
    """A complete tree of depth 2 over the given tests."""
    return Tree(
        player=np.array([*player, -1, -1, -1, -1]),
        cut=np.array([*cut, 0.0, 0.0, 0.0, 0.0]),
        codes=[None] * 7,
        missing_left=np.zeros(7, dtype=bool),
        children=np.array([[1, 2], [3, 4], [5, 6], [3, 3], [4, 4], [5, 5], [6, 6]]),
        value=np.array([0.0, 0.0, 0.0, *value]),
    )


def test_a_leaf_that_no_coalition_reaches_is_never_paid() -> None:
    # x and the baseline both pass the first test on the right, so leaves 1 and 2 are dead.
    tree = hand_made([0, 1, 1], [-9.0, 0.0, 0.0], [1e6, -1e6, 3.0, 5.0])
    part = TreePart.from_forest(Forest(2, [[tree]], torch.zeros(1)), torch.zeros(2) + 1.0)
    x = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    assert part.shapley(x, everyone(x)).tolist() == [[[0.0], [-2.0]]]
    values = part.boxes(x, everyone(x))[3]
    assert set(values.flatten().tolist()) == {3.0, 5.0}


def test_two_tests_of_one_player_are_one_condition() -> None:
    tree = hand_made([0, 0, 1], [0.0, -5.0, 0.0], [1.0, 2.0, 4.0, 8.0])
    part = TreePart.from_forest(Forest(2, [[tree]], torch.zeros(1)), torch.tensor([-9.0, 3.0]))
    x = torch.tensor([[-1.0, -1.0], [1.0, -1.0]], dtype=torch.float64)
    expected = brute(part, x)
    assert torch.allclose(part.shapley(x, everyone(x)), expected, atol=1e-15)
    assert part.shapley(x[:1], everyone(x[:1])).tolist() == [[[1.0], [0.0]]]


def test_weights_of_a_box_are_its_games_shapley_values() -> None:
    table = box_weights(3).reshape(2, -1)
    state = 0b100_011  # two players must be present, one absent
    assert table[:, state].tolist() == pytest.approx([1 / 6, -2 / 6])


def test_chunks_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    part, _, _, X = grow(4, "classes")
    x = torch.tensor(X[:50])
    few = x[: FEW - 1]
    whole, phi, walked = (part(x, everyone(x)), *(part.shapley(z, everyone(z)) for z in (x, few)))
    part.max_items = 1
    monkeypatch.setattr("harsanyi.parts.trees.CELLS", 1)
    monkeypatch.setattr("harsanyi.parts.trees.ROWS", 7)
    assert torch.equal(part(x, everyone(x)), whole)
    assert (part.shapley(x, everyone(x)) - phi).abs().max() <= 1e-13
    assert torch.equal(part.shapley(few, everyone(few)), walked)
    none = x[:0]
    assert part.shapley(none, everyone(none)).shape == (0, N, 3)


def test_a_part_comes_back_from_its_spec_and_its_file() -> None:
    part, _, _, X = grow(5, "classes")
    back: Any = build(part.spec, N, 3)
    back.load_state_dict(load(save(part.state_dict())))
    x = torch.tensor(X[:20])
    assert torch.equal(back(x, everyone(x)), part(x, everyone(x)))
    assert torch.equal(back.shapley(x, everyone(x)), part.shapley(x, everyone(x)))


def test_a_cast_to_float32_moves_no_split() -> None:
    part, _, _, X = grow(6, "number")
    x = torch.tensor(X)
    single = copy.deepcopy(part).float()
    v = part(x, everyone(x))
    assert single(x, everyone(x)).dtype == torch.float32
    assert relative(single(x, everyone(x)) - v, v) <= 1e-5
    assert relative(single.shapley(x, everyone(x)) - part.shapley(x, everyone(x)), v) <= 1e-5


def test_deep_trees_are_refused() -> None:
    X, _, target = rows(0)
    noise = np.random.default_rng(0).normal(size=len(target))
    model = HistGradientBoostingRegressor(max_iter=1, max_leaf_nodes=900, min_samples_leaf=1)
    forest = read_hist_gradient_boosting(model.fit(X, noise))
    with pytest.raises(ValueError, match="max_depth"):
        TreePart.from_forest(forest, torch.zeros(N))
