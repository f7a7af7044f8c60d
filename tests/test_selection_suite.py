"""Laws of the selection suite and of `harsanyi train lex`."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from amortized import LEX
from baselines import BaselineImputer, Explanation
from bench import (
    metrics,
    rationale_suite,
    selection_box,
    selection_methods,
    selection_metrics,
    selection_suite,
)
from bench.cli import app
from bench.problems.selections import hypercubes, noise_only, syn
from bench.selection_page import selection_page


@pytest.fixture
def tiny(monkeypatch):
    """The suite on a few hundred rows, with networks that are trained for a moment."""
    problems = selection_suite.PROBLEMS
    monkeypatch.setitem(problems, "syn4", lambda seed: syn(4, rows=600, test_rows=300, seed=seed))
    monkeypatch.setitem(problems, "noise-only", lambda seed: noise_only(rows=600, test_rows=400))
    monkeypatch.setattr(selection_suite, "OBJECTIVE_ROWS", 3)
    short = {"epochs": 3, "predictor_epochs": 3}
    monkeypatch.setattr(selection_methods, "_effort", lambda problem: short)
    monkeypatch.setattr(selection_metrics.EvalX, "epochs", 3)
    monkeypatch.setattr(selection_box, "EPOCHS", 3)
    selection_suite.prepared.cache_clear()
    yield
    selection_suite.prepared.cache_clear()


def test_cells_are_judged_once_and_tabled(tiny, tmp_path):
    plan = selection_suite.plan_selection(
        tmp_path, problems=["syn4"], methods=["random", "l2"], seeds=2
    )
    assert len(selection_suite.run_selection(plan, progress=False)) == 4
    assert selection_suite.run_selection(plan, progress=False) == []
    frame = selection_suite.selection_frame(plan)
    assert list(frame["method"]) == ["random", "l2"] * 2
    random = frame[frame["method"] == "random"]
    assert (random["tpr_at_k"] - 4 / 11).abs().max() < 0.06
    assert (random["auroc"] - 0.5).abs().max() < 0.05
    assert random["rate"].isna().all()
    assert (frame["objective_gap"] >= 0).all()
    assert (frame["kl_at_k"] > 0).all()
    page = selection_page(frame, {"commit": "abc", "date": "today"}, "command")
    assert "## syn4 (2 seeds)" in page
    assert "| random | nobody |" in page


@pytest.mark.parametrize(("method", "rate"), [("lex", 4 / 11), ("lex-40", 0.4)])
def test_a_selector_is_measured_at_its_own_selection(tiny, method, rate):
    row = selection_suite.judge_selection("syn4", method, 0)
    assert set(row) == set(selection_suite.MEASURES)
    assert abs(row["inclusion_rate"] - rate) < 0.03
    assert row["gap"] == row["own_accuracy"] - row["evalx_accuracy"]
    assert -1 <= row["stability"] <= 1
    assert 0 <= row["between"] < row["within"] <= 0.25


def test_where_nothing_matters_there_is_no_support_to_recover(tiny):
    row = selection_suite.judge_selection("noise-only", "lex", 1)
    assert "tpr_at_k" not in row
    assert {"own_accuracy", "evalx_accuracy", "gap", "leaks", "probe_accuracy"} <= set(row)
    assert row["evalx_accuracy"] < 0.6  # in a moment nothing is learned, and then the shares speak
    frame = pd.DataFrame([{"problem": "noise-only", "method": "lex", "explains": "box"} | row])
    page = selection_page(frame.assign(seed=0), {}, "command")
    assert "encoded | flagged |" in page
    flagged = page.strip().splitlines()[-1].split(" | ")
    assert flagged[page.splitlines()[-3].split(" | ").index("flagged")] in ("yes", "no")
    assert selection_suite.judge_selection("noise-only", "shapley", 1) == {}


def test_a_selection_that_spells_the_label_is_flagged_and_the_right_one_is_not(tiny, monkeypatch):
    """Its own predictor reads nothing: the flag is for whoever looks."""

    def answers(spelling):
        def answer(x, y):
            truth = selection_suite.PROBLEMS["syn4"](seed=1).truth_test.copy()
            truth[:, 6:8] |= spelling & (np.stack([y == 1, y == 0], 1))
            return selection_methods.Selected(truth.astype(float), truth, own_accuracy=0.5)

        return selection_methods.Entry(lambda problem, box, seed: answer, "own", learned=False)

    for name, spelling in (("spells", True), ("right", False)):
        monkeypatch.setitem(selection_suite._ROWS, name, answers(spelling))
        row = selection_suite.judge_selection("syn4", name, 1)
        assert row["leaks"] == spelling
        assert (row["encoded"] > selection_metrics.ENCODED) == spelling


def test_a_method_that_does_not_take_a_problem_leaves_its_cell_empty(tiny):
    assert selection_suite.judge_selection("panels-digits", "harsanyi", 0) == {}
    assert selection_suite.judge_selection("syn4", "lex-words", 0) == {}


def test_the_box_is_one_for_a_problem_and_a_seed(tiny):
    problem = selection_suite.PROBLEMS["syn4"](seed=0)
    one, two = (selection_box.Box(problem, 0) for _ in range(2))
    x = torch.from_numpy(problem.X_test[:5])
    assert torch.equal(one.probabilities(x), two.probabilities(x))
    everything = np.ones((5, 11), dtype=bool)
    assert one.divergence(problem.X_test[:5], everything) < 1e-6
    assert one.divergence(problem.X_test[:5], ~everything) > 1e-6


def test_the_best_of_all_selections_has_no_gap():
    problem = syn(4, rows=10, test_rows=10)
    x = problem.X_test[:3]
    every = selection_box.enumerate_objective(problem, x, draws=16)
    assert every.values.shape == (3, 2**11)
    assert every.gap(every.best) == pytest.approx(0)
    nothing = every.gap(np.zeros((3, 11), bool))
    assert nothing == pytest.approx((every.values.max(1) - every.values[:, 0]).mean())
    assert nothing > 0
    with pytest.raises(ValueError, match="no known law"):
        selection_box.enumerate_objective(hypercubes(rows=10, test_rows=10), x[:, :8])


def test_correlated_features_are_enumerated_under_their_own_law():
    """Given its neighbours at correlation .9, a hidden feature is no longer free."""
    problem = syn(6, rows=10, test_rows=10, rho=0.9)
    independent = dataclasses.replace(problem, covariance=np.eye(11))
    ours, other = (
        selection_box.enumerate_objective(p, problem.X_test[:1], price=0.0, draws=64).values
        for p in (problem, independent)
    )
    assert ours[0, -1] == pytest.approx(other[0, -1])  # everything shown: one answer
    assert np.abs(ours - other).max() > 0.05


def test_the_texts_of_a_text_problem_are_scored_word_by_word():
    truth = [np.array([True, False]), np.array([False, True, False])]
    scores = np.array([[2.0, 1.0, 9.0], [0.0, 3.0, 1.0]])  # 9 belongs to padding
    assert rationale_suite._scored(scores, truth)["tpr_at_k"] == 1
    # the second passage scores 2 on average, the first 1.5 though its first word is the best
    passages = [np.array([0, 0, 1, 1])]
    one = np.array([[3.0, 0.0, 2.0, 2.0]])
    marks = [np.array([False, False, True, True])]
    assert rationale_suite._scored(one, marks, passages)["auroc"] == 1
    assert rationale_suite._scored(one, marks)["auroc"] == 0.5
    rows = torch.tensor([[5, 6, 0], [5, 6, 7]])
    shown = rationale_suite.top_words(torch.from_numpy(scores), rows, [1, 2])
    assert shown.tolist() == [[True, False, False], [False, True, True]]


def test_an_error_against_shapley_values_is_refused_and_says_what_fits():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3))
    selector = LEX.for_tabular(3, 2, imputer=BaselineImputer(0.0), width=4, random_state=0)
    chosen = selector.explain(x)
    truth = Explanation(torch.zeros(20, 3, 1), estimand="shapley", game="g", exact=True)
    with pytest.raises(metrics.NotComparable, match="tpr_at_k") as refused:
        metrics.squared_error(chosen, truth)
    assert "auroc" in str(refused.value)
    assert "estimand 'selection'" in str(refused.value)


def test_unknown_names_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"problems \['syn9'\]"):
        selection_suite.plan_selection(tmp_path, problems=["syn9"])
    with pytest.raises(ValueError, match=r"methods \['lime'\]"):
        selection_suite.plan_selection(tmp_path, methods=["lime"])


def test_the_command_line_trains_and_explains_a_selector(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 4)), columns=list("abcd"))
    frame["kind"] = rng.choice(["x", "y"], 300)
    frame["label"] = np.where(frame["a"] > 0, "up", "down")
    data = tmp_path / "data.csv"
    frame.to_csv(data, index=False)
    run = CliRunner().invoke(
        app,
        [
            *("train", "lex", str(data), "--target", "label", "--rate", "0.4", "--json"),
            *("--out", str(tmp_path / "model")),
        ],
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.output.strip().splitlines()[-1])
    assert abs(said["rate"] - 0.4) < 0.05
    assert next(iter(said["inclusion"])) == "a"
    assert not list((tmp_path / "model").glob("checkpoint*"))
    out, page = tmp_path / "e.safetensors", tmp_path / "page.html"
    run = CliRunner().invoke(
        app,
        ["explain", str(tmp_path / "model"), str(data), "--out", str(out), "--html", str(page)],
    )
    assert run.exit_code == 0, run.output
    assert out.is_file()
    assert "<svg" in page.read_text() or "data:image" in page.read_text()
    run = CliRunner().invoke(
        app, ["train", "lex", str(data), "--target", "label", "--rate", "1.5", "--json"]
    )
    assert run.exit_code == 2
    assert "target_rate=1.5" in run.output
