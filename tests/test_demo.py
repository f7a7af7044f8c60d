"""The main job, small and whole: what it leaves behind, and that a killed run continues."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from baselines.explanation import Explanation
from bench import demo
from bench.frames import take_target
from bench.rivals import fit_rivals, measure, score_model, with_baseline
from bench.standings import COLUMNS
from harsanyi import HarsanyiClassifier

LEFT = {
    "accuracy.parquet", "explanations.safetensors", "leaderboard.parquet", "model", "report.html",
    "rows.parquet", "run.json",
}  # fmt: skip


def small_table(task="classification"):
    random = np.random.default_rng(1)
    frame = pd.DataFrame(random.normal(size=(90, 4)), columns=list("abcd"))
    frame["e"] = random.choice(["u", "v"], 90)
    score = frame["a"] * 2 + (frame["e"] == "u") - frame["b"]
    frame["y"] = np.where(score > 0.3, "yes", "no") if task == "classification" else score
    frame.loc[::9, "c"] = np.nan
    return take_target(frame, "y")


def small_run(folder, task="classification", **words):
    from rich.console import Console

    words = {"settings": {"epochs": 4}, "judged": 4, "console": Console(quiet=True), **words}
    return demo.run_demo(small_table(task), "small", folder, command="test", **words)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return small_run(tmp_path_factory.mktemp("demo"))


def test_a_run_leaves_model_explanations_leaderboard_and_page(done):
    assert {path.name for path in done.folder.iterdir()} == LEFT
    model = HarsanyiClassifier.from_pretrained(done.folder / "model")
    explanation = Explanation.load(done.folder / "explanations.safetensors")
    rows = pd.read_parquet(done.folder / "rows.parquet")
    assert torch.equal(model.explain(rows).values, explanation.values)
    assert explanation.exact
    board = pd.read_parquet(done.folder / "leaderboard.parquet")
    assert tuple(board.columns) == COLUMNS
    said = json.loads((done.folder / "run.json").read_text())["made"]
    assert set(said) >= {"command", "commit", "versions", "hardware", "date"}


def test_the_leaderboard_sets_the_model_beside_sampling_at_three_budgets(done):
    board = done.leaderboard.set_index("method")
    assert list(board.index[board.index.str.startswith("permutation")].sort_values()) == sorted(
        f"permutation @ {times * 5}" for times in demo.BUDGETS
    )
    assert board.loc["HarsanyiNet", "explains"] == "own"
    assert board.loc["HarsanyiNet", "nrmse"] < 1e-5
    assert board.loc["HarsanyiNet", "spearman"] > 0.999
    # so small a model may come out additive, which sampling then gets right up to rounding
    assert board.loc["permutation @ 25", "nrmse"] > board.loc["HarsanyiNet", "nrmse"] - 1e-5
    assert (board["seconds"] > 0).all()


def test_models_are_scored_whole_and_half_masked(done):
    assert [score.model for score in done.accuracy] == [
        "HarsanyiNet", "logistic regression", "MLP", "boosted trees",
    ]  # fmt: skip
    for score in done.accuracy:
        assert score.score_lo <= score.score <= score.score_hi
        assert 0 <= score.masked_score <= 1


def test_the_same_run_gives_the_same_figures(done, tmp_path):
    again = small_run(tmp_path)
    columns = ["method", "nrmse", "spearman", "evals"]
    pd.testing.assert_frame_equal(again.leaderboard[columns], done.leaderboard[columns])
    for one, two in zip(again.accuracy, done.accuracy, strict=True):
        assert (one.score, one.masked_score) == (two.score, two.masked_score)


def test_a_regression_runs_too(tmp_path):
    done = small_run(tmp_path, task="regression")
    assert {score.metric for score in done.accuracy} == {"R2"}
    assert done.accuracy[1].model == "ridge regression"
    assert "R2" in done.page.read_text()


def test_absent_cells_hold_the_baseline_and_present_ones_stay():
    rows = pd.DataFrame({"i": [1, 2], "f": [0.5, np.nan], "w": ["x", "y"]})
    present = np.array([[True, False, True], [False, True, False]])
    filled = with_baseline(rows, present, np.array([9.5, 7.0, "z"], dtype=object))
    assert filled["i"].tolist() == [1.0, 9.5]
    assert filled["f"].iloc[0] == 7.0
    assert np.isnan(filled["f"].iloc[1])
    assert filled["w"].tolist() == ["x", "z"]
    assert with_baseline(rows, None, None) is rows


def test_every_model_is_masked_alike_and_half():
    table = small_table()
    seen = []

    def predict(rows, present):
        seen.append(present)
        return np.full(len(rows), "yes")

    for _ in range(2):
        score_model("m", predict, table, np.arange(20), 0.0, seed=5)
    one, two = seen[1:6], seen[7:]
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
    assert {tuple(np.unique(mask.sum(1))) for mask in one} == {(3,)}  # of 5 players
    assert not (one[0] == one[1]).all()


def test_rivals_learn_from_numbers_words_and_missing_cells():
    table = small_table()
    for name, (model, _) in fit_rivals(table, np.arange(70)).items():
        predicted = model.predict(table.X.iloc[70:])
        assert measure("classification", table.y[70:], predicted) > 0.6, name


def test_measures_are_what_they_say():
    truth = np.array([1.0, 2.0, 3.0])
    assert measure("regression", truth, truth) == 1
    assert measure("regression", truth, np.full(3, 2.0)) == 0
    assert np.isnan(measure("regression", np.ones(3), truth))


def start(out):
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "bench.demo", "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_the_demo_killed_in_training_continues_to_the_same_model(tmp_path):
    began = time.monotonic()
    whole = start(tmp_path / "whole")
    said, _ = whole.communicate(timeout=400)
    assert whole.returncode == 0, said
    seconds = time.monotonic() - began

    killed = start(tmp_path / "killed")
    patience = time.monotonic() + 120
    while not list((tmp_path / "killed").rglob("checkpoint-*/**/*.safetensors")):
        assert killed.poll() is None
        assert time.monotonic() < patience
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    assert not (tmp_path / "killed" / "model").exists()

    again = start(tmp_path / "killed")
    said, _ = again.communicate(timeout=400)
    assert again.returncode == 0, said
    assert "continuing a training that was interrupted" in said
    assert {path.name for path in (tmp_path / "killed").iterdir()} == LEFT
    one, two = (
        load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "killed")
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert seconds < 180 * max(1, 2 / (os.cpu_count() or 1))


@pytest.mark.slow
def test_on_breast_cancer_the_demo_is_not_below_logistic_regression_by_a_point(tmp_path):
    table = demo.breast_cancer()
    from rich.console import Console

    done = demo.run_demo(
        table, "Breast cancer", tmp_path, command="test", judged=4, truth_budget=4000,
        console=Console(quiet=True),
    )  # fmt: skip
    scores = {score.model: score.score for score in done.accuracy}
    assert scores["HarsanyiNet"] >= scores["logistic regression"] - 0.01
