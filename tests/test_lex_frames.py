"""Laws of LEX on data frames: one player per column, files, refusals."""

import numpy as np
import pandas as pd
import pytest
import torch

from amortized import LEXForTables


def frame(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    number = rng.normal(size=rows)
    gaps = np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows))
    color = rng.choice(["red", "green", "blue"], rows)
    noise = rng.normal(size=rows)
    y = np.where((number > 0) ^ (color == "red"), "yes", "no")
    return pd.DataFrame({"number": number, "gaps": gaps, "color": color, "noise": noise}), y


@pytest.fixture(scope="module")
def fitted():
    X, y = frame(1500)
    return LEXForTables(0.5, epochs=20).fit(X, y)


def test_columns_are_players_and_the_useful_ones_are_selected(fitted):
    X, y = frame(300, seed=1)
    e = fitted.explain(X)
    assert e.shape == (300, 4, 1)
    assert e.player_names() == ("number", "gaps", "color", "noise")
    assert abs(e.values.mean() - 0.5) < 0.03
    mean = e.values[..., 0].mean(0)
    assert min(mean[0], mean[2]) > max(mean[1], mean[3]) + 0.3
    assert (fitted.predict(X) == y).mean() > 0.85


def test_a_saved_model_answers_with_the_same_bits(fitted, tmp_path):
    X, _ = frame(20, seed=2)
    fitted.save_pretrained(tmp_path)
    again = LEXForTables.from_pretrained(tmp_path)
    assert torch.equal(again.explain(X).values, fitted.explain(X).values)
    assert (again.predict(X) == fitted.predict(X)).all()
    # columns are found by name, and others are left aside
    assert torch.equal(
        again.explain(X.assign(extra=1).iloc[:, ::-1]).values, fitted.explain(X).values
    )
    (tmp_path / "columns.json").write_text("{")
    with pytest.raises(ValueError, match=r"columns\.json is truncated"):
        LEXForTables.from_pretrained(tmp_path)


def test_regression_answers_in_raw_units():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(600, 3)), columns=list("abc"))
    y = 1000 + 50 * X["a"].to_numpy()
    model = LEXForTables(0.4, "regression", epochs=10).fit(X, y)
    assert np.corrcoef(model.predict(X), y)[0, 1] > 0.8
    assert abs(model.predict(X).mean() - 1000) < 15
    assert model.explain(X).values[..., 0].mean(0).argmax() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X: X.drop(columns="color"), r"lacks the columns \['color'\]"),
        (lambda X: X.assign(color="purple"), "unseen in training: .'purple'"),
        (lambda X: X.assign(number="three"), "it was numbers"),
        (lambda X: X.assign(number=np.inf), "infinity"),
        (lambda X: X.assign(number=np.nan), "training had none"),
    ],
)
def test_rows_that_do_not_fit_are_refused(fitted, change, words):
    with pytest.raises(ValueError, match=words):
        fitted.explain(change(frame(5)[0]))


def test_tables_without_content_are_refused():
    X, y = frame(30)
    with pytest.raises(ValueError, match="rows and columns"):
        LEXForTables().fit(X.iloc[:0], y[:0])
    with pytest.raises(ValueError, match="'empty' of X is empty"):
        LEXForTables().fit(X.assign(empty=np.nan), y)
    with pytest.raises(ValueError, match="one class"):
        LEXForTables().fit(X, np.array(["no"] * 30))
    with pytest.raises(ValueError, match="not fitted"):
        LEXForTables().explain(X)
    with pytest.raises(ValueError, match="'number' of X holds infinity"):
        LEXForTables().fit(X.assign(number=np.inf), y)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_with_every_column_shown_the_scores_are_those_of_the_prediction(task):
    X = frame(200)[0].drop(columns="gaps")
    y = np.where(X["number"] > 0, "yes", "no")
    if task == "regression":
        y = 1000 + 50 * X["number"].to_numpy()
    model = LEXForTables(0.5, task, epochs=1, predictor_epochs=30).fit(X, y)
    shown, hidden = (np.full(X.shape, all_) for all_ in (True, False))
    said = model.scores(X, shown)
    if task == "regression":  # raw units
        assert said.shape == (200, 1)
        assert np.corrcoef(said[:, 0], y)[0, 1] > 0.95
        assert abs(said.mean() - 1000) < 10
    else:
        assert np.exp(said).sum(1) == pytest.approx(1, abs=1e-5)
        assert (np.array(["no", "yes"])[said.argmax(1)] == y).mean() > 0.9
    assert np.ptp(model.scores(X, hidden), 0).max() < np.ptp(said, 0).max()
