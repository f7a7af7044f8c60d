"""The smoke suite: every architecture, metric and part of the report, end to end."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.architectures import ARCHITECTURES
from bench.cli import app
from bench.faults import BAD_INPUT
from bench.null_tests import LIMITS
from bench.smoke import CONTENDERS, GAMES, TEXTS, small_table
from bench.standings import NUMBERS

UNSEEN = ("joules", "peak_memory")
"""What a machine may not count."""


@pytest.mark.slow
def test_the_smoke_suite_touches_every_architecture_metric_and_part_of_the_page(tmp_path):
    done = CliRunner().invoke(app, ["bench", "--suite", "smoke", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    board = pd.read_parquet(tmp_path / "leaderboard.parquet")
    frame = pd.read_parquet(tmp_path / "architectures.parquet")
    assert list(frame["method"]) == list(ARCHITECTURES)
    assert {*GAMES, TEXTS} <= set(board["problem"])
    assert set(CONTENDERS) <= set(board["method"])
    unmeasured = [n for n in NUMBERS if n not in UNSEEN and board[n].isna().all()]
    assert unmeasured == []
    assert set(board["modality"]) == {"tabular", "game", "text"}
    assert {"structural", "sampled", "amortized", "selected", "enumerated"} <= set(
        board["method_class"]
    )
    assert (board["command"].str.len() > 0).all()
    exact = frame.set_index("method").loc[["harsanyi", "chen2023", "ebm"], "nrmse"]
    assert (exact < 1e-5).all()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for heading in (
        "Which method for me",
        "What interpretability costs",
        "Who is right, and at what cost",
        "More measures",
        "Where each row comes from",
        "Examples: image",
        "Examples: text",
        "How this page was made",
    ):
        assert heading in page
    assert page.count("<img") >= 6
    assert 'class="heatmap"' in page
    again = CliRunner().invoke(app, ["bench", "--suite", "smoke", "--out", str(tmp_path)])
    assert again.exit_code == 0
    repeated = pd.read_parquet(tmp_path / "leaderboard.parquet")
    pd.testing.assert_frame_equal(repeated, board)  # nothing is judged twice


def test_its_tables_are_small_and_embedded():
    for name, task in (("classes", "classification"), ("numbers", "regression")):
        table = small_table(name)
        assert table.task == task
        assert len(table.y) == len(table.X) == 200
        assert np.isfinite(table.X.to_numpy()).all()
    with pytest.raises(ValueError, match="classes and numbers"):
        small_table("other")


def test_it_takes_no_tables():
    done = CliRunner().invoke(app, ["bench", "--suite", "smoke", "--tables", "adult"])
    assert done.exit_code == BAD_INPUT


def test_every_null_test_has_a_limit_and_a_column():
    assert {f"null_{name}" for name in LIMITS} <= set(NUMBERS)
