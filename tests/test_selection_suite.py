"""Laws of the selection suite and of `harsanyi train lex`."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bench import selection_suite
from bench.cli import app
from bench.problems.selections import syn


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(
        selection_suite.PROBLEMS, "syn4", lambda seed: syn(4, rows=600, test_rows=300, seed=seed)
    )


def test_cells_are_judged_once_and_tabled(tiny, tmp_path):
    plan = selection_suite.plan_selection(
        tmp_path, problems=["syn4"], methods=["random", "magnitude"], seeds=2
    )
    assert len(selection_suite.run_selection(plan, progress=False)) == 4
    assert selection_suite.run_selection(plan, progress=False) == []
    frame = selection_suite.selection_frame(plan)
    assert list(frame["method"]) == ["random", "magnitude"] * 2
    random = frame[frame["method"] == "random"]
    assert (random["tpr_at_k"] - 4 / 11).abs().max() < 0.06
    assert (random["auroc"] - 0.5).abs().max() < 0.05
    assert random["rate"].isna().all()
    page = selection_suite.selection_page(frame, {"commit": "abc", "date": "today"}, "command")
    assert "## syn4 (2 seeds)" in page
    assert "| random | box |" in page


def test_a_selector_is_measured_at_its_own_selection(tiny, monkeypatch):
    row = selection_suite.judge_selection("syn4", "lex", 0)
    assert set(row) == set(selection_suite.MEASURES)
    assert abs(row["inclusion_rate"] - 4 / 11) < 0.03
    assert row["gap"] == row["own_accuracy"] - row["evalx_accuracy"]


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
