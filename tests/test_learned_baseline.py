"""Laws of a learned baseline: it occurs in its column, and no cell that occurs changes less."""

import numpy as np
import pandas as pd
import pytest
import torch

from harsanyi import HarsanyiClassifier, HarsanyiRegressor
from tests.test_harsanyi_estimator import definition_error, table

QUICK = {"bags": 2, "epochs": 2, "random_state": 0}
EFFECTS = {"low": -1.0, "middle": 0.1, "high": 2.0}


def additive_frame(b: int = 400) -> tuple[pd.DataFrame, np.ndarray]:
    """Terms whose mean is far from the term at the mode or the mean."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "kind": rng.choice(list(EFFECTS), b, p=[0.6, 0.2, 0.2]),
            "wave": rng.uniform(-1, 2, b),
            "idle": rng.normal(size=b),
        }
    )
    return frame, (frame["kind"].map(EFFECTS) + 3 * frame["wave"].abs()).to_numpy()


def test_a_learned_baseline_changes_the_outputs_least_of_all_cells():
    frame, y = additive_frame()
    model = HarsanyiRegressor(**QUICK, parts=("additive",), baseline="learned").fit(frame, y)
    row = dict(zip(frame.columns, model.baseline_, strict=True))
    terms = frame["kind"].map(EFFECTS)
    assert row["kind"] == min(EFFECTS, key=lambda name: abs(EFFECTS[name] - terms.mean()))
    assert row["kind"] != frame["kind"].mode()[0]
    # |x| of mean 5/6 is far from |mean x| = 1/2; ramps follow it up to their corners
    assert abs(abs(row["wave"]) - frame["wave"].abs().mean()) < 0.1
    assert row["wave"] in set(frame["wave"])


@pytest.mark.parametrize("absence", ["mask", "baseline"])
def test_values_are_exact_with_a_learned_baseline(absence, tmp_path):
    frame, y = table()
    options = {**QUICK, "dtype": "float64", "absence": absence, "baseline": "learned"}
    model = HarsanyiClassifier(**options).fit(frame, y)
    assert definition_error(model, frame[:3]) <= 1e-10
    for i, column in enumerate(model.columns_):
        assert not column.is_category or model.baseline_[i] in column.categories
    model.save_pretrained(tmp_path)
    loaded = HarsanyiClassifier.from_pretrained(tmp_path)
    assert loaded.baseline == "learned"
    assert list(loaded.baseline_) == list(model.baseline_)
    assert torch.equal(loaded.explain(frame[:5]).values, model.explain(frame[:5]).values)


def test_a_column_that_says_nothing_keeps_a_typical_cell():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.normal(size=300), "flat": 7.0, "gone": np.nan})
    y = frame["x"].to_numpy() * 2
    model = HarsanyiRegressor(**QUICK, parts=("additive",), baseline="learned").fit(frame, y)
    assert model.baseline_[1] == 7.0
    assert np.isnan(model.baseline_[2])


def test_marginal_absence_has_no_baseline_to_learn():
    frame, y = additive_frame(60)
    with pytest.raises(ValueError, match="baseline='learned'"):
        HarsanyiRegressor(**QUICK, absence="marginal", baseline="learned").fit(frame, y)
    with pytest.raises(ValueError, match="baseline='best'"):
        HarsanyiRegressor(**QUICK, baseline="best").fit(frame, y)
