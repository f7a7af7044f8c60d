"""The main job: train on a table, explain its test rows, judge the explanations, write it all down.

    python -m bench.demo                                  # breast cancer
    python -m bench.demo --data file.csv --target column  # a table of your own

A run that was killed continues from its last finished epoch when started again.
"""

import dataclasses
import importlib.metadata
import json
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from baselines.shards import atomic_write
from bench.frames import UserTable, read_frame, split_table, take_target
from bench.provenance import provenance
from bench.rivals import Score, fit_rivals, score_model, with_baseline
from bench.user_models import (
    accept_unseen,
    clear_checkpoints,
    explain_rows,
    fit_model,
    own_prediction,
    telling_rows,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console


BUDGETS = (5, 20, 100)
"""Coalitions per player and row that sampling is given."""
JUDGED, TRUTH_BUDGET = 24, 10_000
"""Rows that are judged, and coalitions per row behind their sampled truth."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What a run left behind.

    Args:
        folder: Where model, explanations, tables and page lie.
        accuracy: A Score per model, HarsanyiNet first.
        leaderboard: From `bench.leaderboard`.
        page: The HTML page.
        seconds: Wall clock of all of it.
    """

    folder: Path
    accuracy: Sequence[Score]
    leaderboard: "pd.DataFrame"
    page: Path
    seconds: float


def breast_cancer() -> UserTable:
    """The default table: scikit-learn's breast cancer, 569 rows of 30 numbers, labels in words."""
    from sklearn.datasets import load_breast_cancer

    bunch: Any = load_breast_cancer(as_frame=True)
    frame = bunch.data.assign(diagnosis=np.asarray(bunch.target_names)[bunch.target])
    return take_target(frame, "diagnosis")


def run_demo(
    table: UserTable,
    name: str,
    folder: Path,
    *,
    command: str,
    seed: int = 0,
    judged: int = JUDGED,
    truth_budget: int = TRUTH_BUDGET,
    settings: dict[str, Any] | None = None,
    console: "Console | None" = None,
) -> Run:
    """Train, score, explain, judge and report.

    Args:
        table: Rows and targets.
        name: Title of the run.
        folder: Where everything is written.
        command: The command that repeats the run.
        seed: Seed of split, models and sampling.
        judged: Test rows whose explanations are judged.
        truth_budget: Coalitions per judged row behind sampled truth (above 16 players).
        settings: More keyword arguments for the estimator.
        console: Where to print; the terminal by default.

    Returns:
        What was made.
    """
    from rich.console import Console

    from bench.report import write_parquet, write_report
    from bench.report_tables import accuracy_table, leaderboard_table

    console = console or Console()
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    train, test = split_table(table, seed=seed)
    split = (
        f"{len(train):,} rows to train on, {len(test):,} to test on, {table.X.shape[1]} columns"
    )
    _say(console, f"{name}: {split}" + (f"; {table.notes}" if table.notes else ""))

    _say(console, "1/4 training HarsanyiNet")
    model, seconds = fit_model(table, train, folder, seed, settings or {}, partial(_say, console))
    model.save_pretrained(folder / "model")
    unseen = accept_unseen(model, table, train, test)
    if unseen:
        _say(console, unseen)
    _say(console, "2/4 logistic regression, MLP and boosted trees on the same rows")
    scores = score_all(model, seconds, table, train, test, seed)
    accuracy = _frame([dataclasses.asdict(score) for score in scores])
    write_parquet(folder / "accuracy.parquet", accuracy)
    console.print(accuracy_table(accuracy).rich())

    _say(console, "3/4 explaining the test rows")
    rows = table.X.iloc[test].reset_index(drop=True)
    explanation, milliseconds = explain_rows(model, rows)
    explanation.save(folder / "explanations.safetensors")
    write_parquet(folder / "rows.parquet", storable(rows))
    gap = explanation.diagnostics.get("additivity_gap")
    closes = (
        "" if gap is None else f"; values sum to the output up to {float(gap.abs().max()):.1e}"
    )
    _say(console, f"{len(rows):,} rows, {milliseconds:.2g} ms each{closes}")

    _say(console, "4/4 judging explanations against ground truth")
    board = judge(model, rows, table.y[test], name, judged, truth_budget, seed)
    write_parquet(folder / "leaderboard.parquet", board)
    console.print(leaderboard_table(board).rich())

    note = {
        "title": f"{name}: exact explanations, and how sampling compares",
        "lead": f"A HarsanyiNet that predicts {table.target} and explains itself exactly.",
        "split": split + ". " + table.notes,
        "examples": telling_rows(model, rows, table.y[test]),
        "made": {"command": command, **provenance(), "versions": versions()},
    }
    atomic_write(folder / "run.json", json.dumps(note, indent=1).encode())
    page = write_report(folder)
    clear_checkpoints(folder)
    seconds = time.perf_counter() - start
    _say(console, f"done in {seconds:.0f} s; open {page}")
    return Run(folder, scores, board, page, seconds)


def score_all(
    model: Any,  # noqa: ANN401 - either estimator
    fit_seconds: float,
    table: UserTable,
    train: np.ndarray,
    test: np.ndarray,
    seed: int,
) -> list[Score]:
    """HarsanyiNet and its rivals on the same test rows and masks.

    Args:
        model: Fitted estimator.
        fit_seconds: What its fit took.
        table: Rows and targets.
        train: Row numbers the rivals train on.
        test: Row numbers all are scored on.
        seed: Seed of rivals and masks.
    """
    own = own_prediction(model)
    scores = [score_model("HarsanyiNet", own, table, test, fit_seconds, seed)]
    for name, (rival, seconds) in fit_rivals(table, train, seed).items():

        def predict(
            rows: "pd.DataFrame",
            present: np.ndarray | None,
            rival: Any = rival,  # noqa: ANN401 - a pipeline
        ) -> np.ndarray:
            return rival.predict(with_baseline(rows, present, model.baseline_))

        scores.append(score_model(name, predict, table, test, seconds, seed))
    return scores


def judge(
    model: Any,  # noqa: ANN401 - either estimator
    rows: "pd.DataFrame",
    y: np.ndarray,
    name: str,
    judged: int,
    truth_budget: int,
    seed: int,
) -> "pd.DataFrame":
    """Leaderboard of the model's own explanations and of sampling on the same network.

    Args:
        model: Fitted estimator.
        rows: Test rows, of which the first `judged` are judged.
        y: Their targets.
        name: Name of the problem.
        judged: How many.
        truth_budget: Coalitions per row behind sampled truth.
        seed: Seed of truth and sampling.
    """
    from bench import evaluate, ground_truth, leaderboard, own_problem, sampled

    few = rows.iloc[:judged]
    problem = own_problem(model, few, y[: len(few)], name=name)
    truth = ground_truth(problem, budget=truth_budget, seed=seed, progress=True)
    evaluations = [evaluate(model, problem, truth, name="HarsanyiNet", seed=seed)]
    for times in BUDGETS:
        budget = max(times * rows.shape[1], 4)
        contender = sampled("permutation_shapley", budget)
        evaluations.append(
            evaluate(contender, problem, truth, name=f"permutation @ {budget}", seed=seed)
        )
    return leaderboard(evaluations)


def versions() -> str:
    """Python and the packages that figures depend on, with their versions."""
    names = ("harsanyi", "torch", "numpy", "scikit-learn", "transformers")
    found = [f"Python {platform.python_version()}"]
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue  # run from a source tree that was never installed
    return ", ".join(found)


def _frame(records: list[dict[str, Any]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(records)


def storable(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows that parquet can hold: columns of mixed kinds become words."""
    mixed = [column for column in rows.columns if rows[column].dtype.kind == "O"]
    return rows.astype(dict.fromkeys(mixed, "string")).rename(columns=str)


def _say(console: "Console", words: str) -> None:
    from rich.text import Text

    console.print(Text(words), highlight=False)


def command_line() -> str:
    """The command that started this process, to be repeated by others."""
    arguments = [shlex.quote(word) for word in sys.argv[1:]]
    program = "python -m bench.demo" if sys.argv[0].endswith("demo.py") else "harsanyi"
    return " ".join([program, *arguments])


def main(
    data: Annotated[
        Path | None, typer.Option(help="A CSV with a header; else breast cancer.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Its column to predict.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("out/demo"),
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of split, models and sampling.")] = 0,
    debug: Annotated[bool, typer.Option(help="Show the whole traceback of an error.")] = False,
) -> None:
    """Train, explain and judge, on breast cancer or on your table."""
    from bench.faults import friendly

    with friendly(debug):
        if data is None and target is not None:
            raise ValueError(f"target={target!r} needs a table: pass --data file.csv too.")
        if data is not None and target is None:
            raise ValueError(f"which column of {data} is to be predicted? Pass --target COLUMN.")
        if data is None:
            table, name = breast_cancer(), "Breast cancer"
        else:
            table = take_target(read_frame(data), str(target), task, name=data.name)
            name = data.name.split(".")[0]
        run_demo(table, name, out, command=command_line(), seed=seed)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app()
