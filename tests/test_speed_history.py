"""Laws of the speed history: a slow machine is no regression, a slow benchmark is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import write_report
from bench.speed_history import (
    Speeds,
    read_speeds,
    regressions,
    slowdowns,
    speed_table,
    store,
    stored_run,
)

ROOT = Path(__file__).resolve().parents[1]


def run(**seconds):
    return Speeds(seconds, {"a": {"rmse": 0.1}}, {"commit": "abc"})


def test_a_machine_that_is_slower_as_a_whole_shows_no_regression():
    before, now = run(a=1.0, b=2.0, c=3.0), run(a=2.0, b=4.0, c=6.0)
    assert regressions(now, before) == []
    assert set(slowdowns(now, before).values()) == {1.0}


def test_a_benchmark_that_alone_became_slower_is_a_regression():
    before, now = run(a=1.0, b=2.0, c=3.0), run(a=1.0, b=4.0, c=3.0, new=1.0)
    assert regressions(now, before) == ["b"]
    rows = speed_table(now, before).rows
    assert [row[4].text for row in rows] == ["regression", "as before", "as before", "new"]
    assert [row[4].text for row in speed_table(now).rows] == ["new"] * 4


def raw(folder, **seconds):
    said = {
        "benchmarks": [
            {"fullname": name, "stats": {"min": value}, "extra_info": {"rmse": 1e-3}}
            for name, value in seconds.items()
        ],
        "commit_info": {"id": "0123456789abcdef", "dirty": True},
        "machine_info": {"cpu": {"brand_raw": "<b>fast</b>"}},
        "datetime": "today",
    }
    (folder / "speed.json").write_text(json.dumps(said))
    return folder / "speed.json"


def test_a_stored_run_reads_back_as_it_was(tmp_path):
    path = raw(tmp_path, x=0.5)
    kept = store(path, tmp_path / "kept.json")
    assert read_speeds(tmp_path / "kept.json") == kept == read_speeds(path)
    assert kept.made["commit"] == "0123456789ab+"
    assert kept.seconds == {"x": 0.5}


def test_a_report_shows_regressions_against_the_stored_run(tmp_path, monkeypatch):
    kept = tmp_path / "kept.json"
    store(raw(tmp_path, a=1.0, b=1.0, c=1.0), kept)
    raw(tmp_path, a=1.0, b=9.0, c=1.0)
    monkeypatch.setattr("bench.report.stored_run", lambda: kept)
    page = write_report(tmp_path).read_text()
    assert "1 of 3 benchmarks are slower" in page
    assert "regression" in page
    assert "<b>fast" not in page


def test_a_torn_run_says_so(tmp_path):
    (tmp_path / "speed.json").write_text("{")
    with pytest.raises(ValueError, match="truncated or no run"):
        read_speeds(tmp_path / "speed.json")


@pytest.mark.slow
def test_a_run_of_the_speed_suites_leaves_a_history(tmp_path):
    """One cheap benchmark, few rounds: that it runs and is reported, not how fast it is."""
    words = ["-m", "pytest", "-q", "-o", "addopts=-p no:dash", "--benchmark-only"]
    words += ["--benchmark-min-rounds=1", "--benchmark-max-time=0.01", "-x"]
    test = "bench/speed/test_harsanyi.py::test_values_and_forward_by_batch_size"
    words += [f"--benchmark-json={tmp_path / 'speed.json'}", test]
    kept = {name: value for name, value in os.environ.items() if "XDIST" not in name}
    environment = kept | {"OMP_NUM_THREADS": "1"}  # not a worker of ours: it measures
    subprocess.run([sys.executable, *words], cwd=ROOT, check=True, env=environment)
    now = read_speeds(tmp_path / "speed.json")
    assert now.seconds
    assert "How fast" in write_report(tmp_path).read_text()


def test_the_stored_run_of_the_tree_is_readable():
    kept = stored_run()
    if kept is None:
        pytest.skip("no run is stored; make bench STORE=1 stores one")
    assert read_speeds(kept).seconds
