"""Laws of resumable judging: what is stored is what was judged; a killed run ends the same."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from bench import evaluate, ground_truth, leaderboard, sampled
from bench.board_jobs import BoardJob, Judged, pack, unpack
from bench.judging import judge_problem
from bench.problems.synthetic import airport
from bench.standings import UNREPEATED


def judged(contender="permutation_shapley", budget=30):
    problem = airport(6, b=3)
    found = evaluate(
        sampled(contender, budget), problem, ground_truth(problem), name=contender, repeats=2
    )
    rows = pd.DataFrame({"a": [1.5, None, 3.0], "w": ["x", "y", None]})
    return Judged(found, {"loss": np.arange(4.0)}, rows)


def test_what_is_unpacked_makes_the_same_leaderboard():
    one = judged()
    two = unpack(pack(one))
    boards = [leaderboard([side.evaluation]) for side in (one, two)]
    pd.testing.assert_frame_equal(*boards)
    assert two.answers["loss"].tolist() == [0, 1, 2, 3]
    assert two.rows["w"].tolist()[:2] == ["x", "y"]
    assert torch.equal(two.evaluation.explanation.values, one.evaluation.explanation.values)
    for metric, scores in one.evaluation.scores.items():
        np.testing.assert_array_equal(two.evaluation.scores[metric], scores)


def test_equal_content_is_packed_into_equal_bytes():
    one = judged()
    assert pack(one) == pack(unpack(pack(one)))


def test_a_job_that_was_interrupted_judges_each_cell_once(tmp_path):
    asked = []

    def judge(cell):
        if len(asked) == 2:
            asked.append("stop")
            raise KeyboardInterrupt
        asked.append(cell)
        return judged(cell[0])

    cells = [("permutation_shapley",), ("kernel_shap",), ("leverage_shap",)]
    job = BoardJob("test", cells, judge, {"a": 1})
    with pytest.raises(KeyboardInterrupt):
        job.run(job.plan(tmp_path), progress=False)
    assert job.run(job.plan(tmp_path), progress=False) == [2]
    assert [cell for cell, _ in job.judged(job.plan(tmp_path))] == cells
    assert asked == [*cells[:2], "stop", cells[2]]
    with pytest.raises(ValueError, match="another job: a "):
        BoardJob("test", cells, judge, {"a": 2}).plan(tmp_path)


def repeated(folder):
    """The columns that a run repeats, as bytes: equal bits, not equal to a tolerance."""
    board = pd.read_parquet(folder / "leaderboard.parquet")
    # a commit may be made meanwhile, and these programs have no command line
    board = board.drop(columns=[*UNREPEATED, "commit", "command"])
    return board.to_csv(index=False, float_format="%a")


PROGRAMS = {
    "a problem": """
import sys
from pathlib import Path
from bench.judging import judge_problem
judge_problem("synthetic/glove", Path(sys.argv[1]), rows=2, progress=False)
""",
    "architectures": """
import dataclasses, sys
from bench.architecture_suite import architecture_job, finish_job
from bench.smoke import EFFORT, small_table
effort = dataclasses.replace(EFFORT, nulls=False)
names = ("amortized", "harsanyi", "lex")
job = architecture_job(("classes",), names, effort=effort, loader=small_table)
finish_job(job, sys.argv[1], title="killed", lead="", command="", progress=False)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_a_run_killed_at_any_moment_ends_in_the_same_leaderboard(program, tmp_path):
    """Three kills; `$HARSANYI_KILLS` asks for more. Half of the cells are taken away after each, so
    that there is something left to be killed in: of twenty kills about half find some cells judged
    and others not, the rest an import or the writing of tables and page."""
    kills = int(os.environ.get("HARSANYI_KILLS", "3"))
    whole = tmp_path / "whole"
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", program, str(whole)], check=True)
    took = time.monotonic() - start
    cells = len(list((whole / "shards").glob("*.safetensors")))
    chance, folder, done, amid = random.Random(0), tmp_path / "killed", 0, 0
    while done < kills:
        process = subprocess.Popen([sys.executable, "-c", program, str(folder)])
        try:
            process.wait(took * chance.uniform(0.3, 0.9))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            done += 1
            judged = sorted((folder / "shards").glob("*.safetensors"))
            amid += 0 < len(judged) < cells
            for shard in chance.sample(judged, len(judged) // 2):
                shard.unlink()
        else:  # finished before the kill: another run begins
            assert process.returncode == 0
            assert repeated(folder) == repeated(whole)
            folder = tmp_path / f"killed-{done}"
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True)
    assert repeated(folder) == repeated(whole)
    assert amid or kills < 10


def test_judging_a_problem_twice_asks_nothing_the_second_time(tmp_path, monkeypatch):
    first = judge_problem("synthetic/glove", tmp_path, rows=2, progress=False)
    monkeypatch.setattr("bench.judging.judge_contender", None)
    second = judge_problem("synthetic/glove", tmp_path, rows=2, progress=False)
    pd.testing.assert_frame_equal(first, second)
