"""Laws of a user's own explainer: its mistakes cost seconds, are named, and cost nobody else."""

import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.contenders import contender_from
from bench.guests import FEW, GuestFailed, try_out
from bench.judging import judge_problem
from bench.problems.synthetic import airport

FAILS = """
from baselines import permutation_shapley


class Picky:
    def __init__(self, problem):
        self.problem = problem

    def explain(self, x):
        if len(x) > {most}:
            raise KeyError("too many")
        return permutation_shapley(self.problem.game(x), 80)


def explainer(problem):
    return Picky(problem)
"""


def guest(tmp_path, program: str) -> str:
    (tmp_path / "mine.py").write_text(program)
    return f"{tmp_path / 'mine.py'}:explainer"


def test_a_guest_that_raises_is_named_with_its_line_before_anything_is_judged(tmp_path):
    name = guest(tmp_path, FAILS.format(most=0))
    with pytest.raises(GuestFailed, match=r"mine\.py:explainer raised KeyError .* at line 11"):
        judge_problem("synthetic/airport", tmp_path / "run", rows=3, guest=name, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_guest_that_fails_later_costs_the_others_nothing(tmp_path):
    name = guest(tmp_path, FAILS.format(most=FEW))
    with pytest.raises(GuestFailed, match=r"raised KeyError .* others are in .*report\.html"):
        judge_problem("synthetic/airport", tmp_path / "run", rows=3, guest=name, progress=False)
    board = pd.read_parquet(tmp_path / "run" / "leaderboard.parquet")
    assert len(board) >= 8
    assert name not in set(board["method"])
    (tmp_path / "mine.py").write_text(FAILS.format(most=9))
    again = tmp_path / "again"
    board = judge_problem("synthetic/airport", again, rows=3, guest=name, progress=False)
    assert name in set(board["method"])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("def explainer(x, y):\n    return x", r"takes \(x, y\); .*explainer\(problem\)"),
        ("def explainer(problem):\n    return 3", r"raised TypeError .*int without explain"),
        (
            "class E:\n    def explain(self, x):\n        return x\nexplainer = E()",
            r"explain returned a .*must return a baselines\.Explanation",
        ),
    ],
)
def test_a_guest_of_another_shape_is_told_what_a_contender_is(program, words, tmp_path):
    name = guest(tmp_path, program)
    with pytest.raises(GuestFailed, match=words):
        try_out(name, contender_from(name), airport(4, b=3))


def test_a_file_that_cannot_be_imported_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"mine\.py cannot be imported: it raised NameError"):
        contender_from(guest(tmp_path, "explainer = nothing"))


def test_at_the_command_line_a_guest_that_raises_is_one_line_and_exit_code_2(tmp_path):
    name = guest(tmp_path, FAILS.format(most=0))
    words = ["bench", name, "--problem", "synthetic/airport", "--out", str(tmp_path / "run")]
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 2
    assert said.stderr.strip().count("\n") == 0
    assert "mine.py:explainer raised KeyError" in said.stderr
