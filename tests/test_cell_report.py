"""Laws of the page of a suite's cells: every suite has one, and it says what the cells say."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cell_report import (
    FILE,
    cells_section,
    headline_table,
    made_table,
    means,
    measures_table,
    words_of,
)
from bench.cli import app
from bench.report import write_report


def cells(**more):
    """Two problems, two methods, two seeds; one method has no score on one problem."""
    rows = [
        {"table": table, "model": model, "seed": seed, "score": score + 0.1 * seed, "rows": 10.0}
        for table, scores in {"a": (0.5, 0.6), "b": (0.7, math.nan)}.items()
        for model, score in zip(("one", "two"), scores, strict=True)
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows).assign(**more)


def test_cells_are_averaged_over_seeds_and_counted():
    found = means(cells())
    assert words_of(cells()) == ["table", "model"]
    np.testing.assert_allclose(found["score"], [0.55, 0.65, 0.75, math.nan])
    assert found["seeds"].tolist() == [2] * 4


def test_the_headline_has_a_row_per_problem_and_a_column_per_method():
    table = headline_table(cells())
    assert [heading for _, heading, _ in table.columns] == ["table", "one", "two"]
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "0.5500", "0.6500"],
        ["b", "0.7500", "–"],  # noqa: RUF001 - an en dash, as tables have it
    ]
    assert "2 seeds" in table.note


def test_a_word_of_the_method_makes_no_row_of_its_own():
    frame = cells(tpr_at_k=0.5).drop(columns="score")
    frame.insert(2, "explains", np.where(frame["model"] == "one", "own", "box"))
    table = headline_table(frame)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a", "0.5000", "0.5000"],
        ["b", "0.5000", "0.5000"],
    ]
    assert "explains" in [heading for _, heading, _ in measures_table(frame).columns]


def test_a_budget_tells_cells_apart_and_errors_stay_short():
    frame = pd.DataFrame(
        {
            "problem": ["p"] * 4,
            "budget": [10, 10, 20, 20],
            "contender": ["x", "y"] * 2,
            "mse": [0.012345, 1e-9, 0.001, 0.5],
        }
    )
    table = headline_table(frame)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["p", "10", "0.012", "1e-09"],
        ["p", "20", "0.001", "0.5"],
    ]
    assert len(measures_table(frame).rows) == 4


def test_a_frame_without_a_known_measure_is_no_run():
    with pytest.raises(ValueError, match="score, tpr_at_k, mse"):
        headline_table(cells().drop(columns="score"))


def test_the_picture_says_how_far_each_method_is_from_the_best(tmp_path):
    (picture,) = cells_section(cells(), tmp_path).pictures
    assert picture.alt == "Median score less the best of the problem: one -0.05; two 0"
    alone = cells_section(cells()[lambda frame: frame["model"] == "one"], tmp_path)
    assert not alone.pictures


def test_a_torn_line_of_costs_hides_no_other(tmp_path):
    assert made_table(tmp_path) is None
    said = {"cell": "a/one", "name": "a/one/0", "cpu_seconds": 2.5, "commit": "abc", "date": "d"}
    old = {"cell": "a/two", "cpu_seconds": 1.0}
    lines = [json.dumps(said), '{"cell": "a/tw', json.dumps(old)]
    (tmp_path / "costs.jsonl").write_text("\n".join(lines))
    table = made_table(tmp_path)
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["a/one/0", "abc", "d", "2.5"],
        ["a/two", "", "", "1"],
    ]


def test_a_run_of_a_suite_of_cells_is_reported_like_any_other(tmp_path):
    out, page = str(tmp_path), tmp_path / "page.html"
    words = ["bench", "--suite", "text", "--tables", "text/templates", "--seeds", "1"]
    words += ["--models", "permutation@50,occlusion", "--out", out]
    run = CliRunner().invoke(app, words)
    assert run.exit_code == 0, run.output
    told = CliRunner().invoke(app, ["report", out, "--html", str(page)])
    assert told.exit_code == 0, told.output
    assert "permutation@50" in told.stdout
    text = page.read_text()
    assert "Suite: text" in text
    assert "text/templates/permutation@50/0" in text
    assert "Where each cell comes from" in text
    assert "<img" not in text  # occlusion has no error to be drawn beside
    judged = json.loads((tmp_path / "run.json").read_text())["made"]
    assert {"command", "commit", "date", "hardware", "versions"} <= set(judged)


def test_hostile_names_of_cells_are_words(tmp_path):
    evil = "<script>alert(1)</script>"
    cells(table=evil).to_parquet(tmp_path / FILE)
    assert evil not in write_report(tmp_path).read_text()
