"""Laws of forecasts: a run says what it will cost, by what cells like its own did cost."""

import json
import math

import pytest

from bench.cells import Grid
from bench.forecast import (
    FILE,
    STORED,
    forecast,
    guess,
    read_costs,
    spoken,
    store,
    stored_costs,
    without_seed,
)


def burn(row, column, seed):
    return {"score": float(len(row) + len(column) + seed)}


ROWS, COLUMNS = ("a", "bb"), ("x", "yy")
GRID = Grid("test of forecasts", "row", "column", ("score",), burn)


def plan(folder, seeds=2):
    return GRID.plan(folder, (ROWS, ROWS), (COLUMNS, COLUMNS), seeds)


def cells(seeds=2):
    return [
        (row, column, str(seed)) for seed in range(seeds) for row in ROWS for column in COLUMNS
    ]


def test_a_run_says_what_is_left_before_it_starts_and_notes_what_cells_took(tmp_path, capsys):
    job = plan(tmp_path)
    GRID.run(job)
    assert "8 cells, 8 of them to judge; none like them was measured" in capsys.readouterr().err
    assert set(read_costs(tmp_path)) == {"a/x", "a/yy", "bb/x", "bb/yy"}
    assert len((tmp_path / FILE).read_text().splitlines()) == 8
    GRID.run(job)
    assert "8 cells, all judged" in capsys.readouterr().err
    GRID.run(job, progress=False)
    assert capsys.readouterr().err == ""


def test_cells_cost_what_they_did_and_others_the_product_of_their_words():
    known = {"a/x": 1.0, "a/y": 10.0, "b/x": 100.0}
    assert guess("b/x", known) == 100.0
    whole = {"a/x": 1.0, "a/y": 10.0, "b/x": 100.0, "b/y": 1000.0}
    assert guess("b/y", {**whole, "c/x": 10.0, "c/y": 100.0}) == 1000.0
    assert guess("b/new", whole) == pytest.approx(math.sqrt(100 * 1000))
    assert math.isnan(guess("c/z", known))
    assert math.isnan(guess("a/x", {}))


def test_the_forecast_is_the_sum_over_what_is_left(tmp_path):
    job = plan(tmp_path)
    lines = [
        {"cell": name, "cpu_seconds": seconds} for name, seconds in [("a/x", 2), ("bb/yy", 8)]
    ]
    words = [json.dumps(line) for line in lines]
    (tmp_path / FILE).write_text("\n".join([*words, '{"cell": "a/yy", "cpu_sec']))
    found = forecast(job, cells())
    # words a, x cost half the mean of 4, words bb, yy twice: a/yy and bb/x the mean
    assert found.cpu_seconds == pytest.approx(2 * (2 + 8 + 4 + 4))
    assert (found.cells, found.left, found.known, found.measured) == (8, 8, 8, 2)
    assert "about 36 seconds of CPU time, going by 2 cells of this run" in str(found)


def test_seeds_are_no_part_of_what_a_cell_costs():
    assert without_seed(("synthetic/airport", "kernel-shap@20n", "3")) == (
        "synthetic/airport/kernel-shap@20n"
    )


def test_times_are_spoken_in_the_unit_that_suits_them():
    assert [spoken(s) for s in (5, 300, 36_000)] == ["5 seconds", "5 minutes", "10.0 hours"]


def test_stored_costs_are_positive_and_say_where_they_are_from():
    said = json.loads(STORED.read_text(encoding="utf-8"))
    assert said["made"]["commit"]
    assert said["cells"]
    assert all(seconds > 0 for suite in said["cells"].values() for seconds in suite.values())


def test_what_runs_have_measured_is_kept_beside_what_was_known(tmp_path, monkeypatch):
    known = tmp_path / "costs.json"
    monkeypatch.setattr("bench.forecast.STORED", known)
    first, second = (plan(tmp_path / name, seeds=1) for name in ("first", "second"))
    for job, seconds in ((first, 1.23456), (second, 70.0)):
        line = {"cell": "a/x", "cpu_seconds": seconds}
        (job.folder / FILE).write_text(json.dumps(line) + "\n")
    assert stored_costs("test of forecasts") == {}
    assert store([first.folder]) == known
    assert stored_costs("test of forecasts") == {"a/x": 1.23}
    line = {"cell": "bb/yy", "cpu_seconds": 9.0}
    (second.folder / FILE).write_text(json.dumps(line) + "\n")
    store([second.folder])
    assert stored_costs("test of forecasts") == {"a/x": 1.23, "bb/yy": 9.0}
    assert stored_costs("another suite") == {}
    assert "commit" in json.loads(known.read_text())["made"]
