"""Tables, settings and files that are rough but real: rare classes, empty columns, damaged models."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from harsanyi import HarsanyiClassifier, HarsanyiRegressor

QUICK = {"random_state": 0, "bags": 2, "epochs": 1}
PARTS = ("additive", "trees")


def table(seed: int = 0, b: int = 60) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(b, 3)), columns=["a", "b", "c"])
    return X, (X["a"] + X["b"] > 0).to_numpy().astype(int)


def is_sound(model: HarsanyiClassifier, X: pd.DataFrame) -> bool:
    """Finite everywhere, and efficient."""
    nobody = model.logits(X, present=np.zeros(X.shape[1], bool))
    change = model.logits(X) - nobody
    total = model.explain(X).values.sum(1).numpy()
    return bool(np.isfinite(change).all() and np.abs(total - change).max() < 1e-4)


@pytest.mark.parametrize("parts", [PARTS, None, ("trees", "subsets")])
@pytest.mark.parametrize("bags", [2, 4])
def test_a_class_of_one_row_can_be_learned_beside_others(parts, bags):
    X, y = table()
    y[7] = 2
    model = HarsanyiClassifier(**{**QUICK, "bags": bags}, parts=parts).fit(X, y)
    assert list(model.classes_) == [0, 1, 2]
    assert model.logits(X).shape == (60, 3)
    assert is_sound(model, X)
    rare = model.predict(X) == 2
    assert rare.mean() < 0.2  # one row of sixty must not take over
    assert model.score(X, y) > 0.7


@pytest.mark.parametrize("parts", [PARTS, None, ("trees", "subsets")])
@pytest.mark.parametrize("known", [0, 1])
def test_a_column_without_known_cells_can_be_a_player(parts, known):
    X, y = table()
    X["a"] = np.where(np.arange(60) < known, X["a"], np.nan)
    assert is_sound(HarsanyiClassifier(**QUICK, parts=parts).fit(X, y), X)
    if known == 0:  # its baseline is missing, so that it is never present
        model = HarsanyiClassifier(**QUICK, parts=parts, absence="baseline").fit(X, y)
        assert np.isnan(model.baseline_[0])
        assert model.explain(X).values[:, 0].abs().max() == 0


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("epochs", -1, ValueError),
        ("epochs", 0, ValueError),
        ("bags", 0, ValueError),
        ("bags", -1, ValueError),
        ("bags", 1.5, TypeError),
        ("bags", "a", TypeError),
        ("parts", [], ValueError),
        ("parts", "trees", TypeError),
        ("random_state", 2**70, ValueError),
        ("random_state", -1, ValueError),
        ("epochs", "many", TypeError),
        ("batch_size", 0, ValueError),
        ("batch_size", 2.5, TypeError),
        ("learning_rate", float("nan"), ValueError),
        ("learning_rate", float("inf"), ValueError),
        ("weight_decay", -1.0, ValueError),
        ("coalition_weight", -1, ValueError),
        ("coalition_weight", 2, ValueError),
        ("coalition_weight", float("nan"), ValueError),
        ("coalition_weight", "half", TypeError),
        ("patience", -1, ValueError),
        ("baseline", 3, TypeError),
        ("baseline", "median", ValueError),
        ("baseline", pd.DataFrame({"a": []}), ValueError),
        ("baseline", pd.DataFrame({"a": [1.0, 2.0]}), ValueError),
        ("baseline", [0.0, float("inf"), 0.0], ValueError),
        ("baseline", [0.0], ValueError),
        ("random_state", "0", TypeError),
        ("class_weight", {0: -1, 1: 1}, ValueError),
    ],
)
def test_settings_out_of_range_are_refused_by_name(name, value, kind):
    X, y = table()
    with pytest.raises(kind, match=name):
        HarsanyiClassifier(**{**QUICK, "parts": ("additive",), name: value}).fit(X, y)


@pytest.mark.parametrize("cell", [[1], {"a": 1}, {1}])
def test_cells_that_hold_several_things_are_refused_with_their_column(cell):
    X, y = table()
    X["many"] = [cell] * len(X)
    with pytest.raises(TypeError, match="'many'"):
        HarsanyiClassifier(**QUICK, parts=("additive",)).fit(X, y)


@pytest.mark.parametrize("scale", [1e308, -1e160])
def test_numbers_whose_squares_overflow_are_refused_with_column_and_limit(scale):
    X, y = table()
    X["a"] = X["a"] * 0 + scale
    X.loc[X.index[0], "a"] = 0.0
    with pytest.raises(ValueError, match=r"'a' of X .*1e\+150"):
        HarsanyiClassifier(**QUICK).fit(X, y)


def test_a_far_number_after_the_fit_is_explained_like_any():
    X, y = table()
    model = HarsanyiClassifier(**QUICK).fit(X, y)
    far = X.copy()
    far["a"] = 1e308
    assert is_sound(model, far)


@pytest.mark.parametrize("present", ["a", [1, 0], 1.0])
def test_a_mask_of_another_kind_is_refused_by_name(present):
    X, y = table()
    model = HarsanyiClassifier(**QUICK, parts=("additive",)).fit(X, y)
    with pytest.raises(TypeError, match="present"):
        model.explain(X, present=present)


def test_weights_too_large_to_sum_are_refused():
    X, y = table()
    with pytest.raises(ValueError, match="sample_weight"):
        HarsanyiClassifier(**QUICK).fit(X, y, sample_weight=np.full(60, 1e307))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    X, y = table()
    X["c"] = np.where(X["c"] > 0, "high", "low")
    folder = tmp_path_factory.mktemp("rough") / "model"
    model = HarsanyiClassifier(**QUICK, parts=("additive",)).fit(X, y)
    model.save_pretrained(folder)
    return folder, model, X


def test_an_explanation_beside_a_model_leaves_the_model_readable(saved, tmp_path):
    folder, model, X = saved
    copy = shutil.copytree(folder, tmp_path / "model")
    model.explain(X).save(copy / "values.safetensors")
    again = HarsanyiClassifier.from_pretrained(copy)
    assert np.array_equal(again.logits(X), model.logits(X))


def without(name):
    return lambda config: config["estimator"].pop(name)


def reversed_in(name):
    def damage(config):
        owner = config["estimator"] if name == "classes" else config
        turned = owner[name][::-1] if name != "categories" else [c[::-1] for c in owner[name]]
        assert turned != owner[name]
        owner[name] = turned

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        without("classes"),
        without("named"),
        lambda config: config["estimator"].update(classes=[0, 1, 2]),
        lambda config: config.update(categories=[[], [], []]),
        lambda config: config.update(categories=None),
        lambda config: config.update(players=["a", "b"]),
        reversed_in("players"),
        reversed_in("outputs"),
        reversed_in("classes"),
        reversed_in("categories"),
        lambda config: config["id2label"].update({"0": "no", "1": "yes"}),
    ],
)
def test_a_config_that_does_not_fit_is_refused(damage, saved, tmp_path):
    copy = shutil.copytree(saved[0], tmp_path / "model")
    config = json.loads((copy / "config.json").read_text())
    damage(config)
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config"):
        HarsanyiClassifier.from_pretrained(copy)


def test_weights_that_hold_nan_are_refused(saved, tmp_path):
    copy = shutil.copytree(saved[0], tmp_path / "model")
    state = load_file(copy / "model.safetensors")
    state["net.bias"] = torch.full_like(state["net.bias"], float("nan"))
    save_file(state, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"NaN in net\.bias"):
        HarsanyiClassifier.from_pretrained(copy)


@pytest.mark.parametrize("scale", [1e60, 1e300])
def test_targets_beyond_the_range_of_the_dtype_are_refused(scale):
    X, _ = table()
    with pytest.raises(ValueError, match="y "):
        HarsanyiRegressor(**QUICK, parts=("additive",)).fit(X, X["a"] * scale)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (",a,y\n0,1,u\n1,2,v\n", "no name for column 1"),
        ("a,,y\n0,1,u\n1,2,v\n", "no name for column 2"),
        ("a;b;y\n0;1;u\n1;2;v\n", "semicolons"),
    ],
)
def test_a_header_that_names_no_player_is_refused(tmp_path, text, words):
    from bench.frames import read_frame

    path = tmp_path / "data.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_frame(path)


@pytest.mark.parametrize("form", ["frame", "series", "list", "mapping"])
def test_a_baseline_is_one_row_in_any_form(form):
    X, y = table()
    row = {"a": 0.5, "b": -1.0, "c": 2.0}
    given = {
        "frame": pd.DataFrame([row]),
        "series": pd.Series(row),
        "list": list(row.values()),
        "mapping": row,
    }[form]
    model = HarsanyiClassifier(**QUICK, parts=("additive",), baseline=given).fit(X, y)
    assert model.baseline_.tolist() == list(row.values())


@pytest.mark.parametrize("kind", [np.random.RandomState, np.random.default_rng])
def test_a_generator_for_a_seed_gives_the_same_model_and_is_not_stored(kind, tmp_path):
    X, y = table()
    settings = {**QUICK, "parts": ("additive",)}
    one, two = (
        HarsanyiClassifier(**{**settings, "random_state": kind(7)}).fit(X, y) for _ in range(2)
    )
    assert np.array_equal(one.logits(X), two.logits(X))
    one.save_pretrained(tmp_path)
    again = HarsanyiClassifier.from_pretrained(tmp_path)
    assert np.array_equal(again.logits(X), one.logits(X))
    assert again.random_state is None
