"""The smoke suite: every architecture, metric and part of the report once, in a minute or two.

    harsanyi bench --suite smoke --out FOLDER

Its data is embedded (scikit-learn's breast cancer, a formula game, digits), its trainings are cut
short, so its figures say that everything runs and nothing of how well.
"""

import dataclasses
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.architecture_suite import architecture_job, finish_job, installed
from bench.architectures import ARCHITECTURES, Effort
from bench.board_jobs import BoardJob, Cell, Judged
from bench.problems.tabular import Table

if TYPE_CHECKING:
    import pandas as pd

    from baselines.explanation import Explanation

EFFORT = Effort(
    box="logistic",
    judged=3,
    leaked=50,
    truth_budget=600,
    budget=8,
    epochs=2,
    labelled=40,
    pairs=1,
    rounds=30,
    judge_epochs=3,
    nulls=True,
    settings={"parts": ("additive",), "bags": 1},
)
ROWS, COLUMNS = 200, 6
TEXTS = "text/templates"
GAMES = ("synthetic/unanimity", "synthetic/airport", "synthetic/glove", "exact/net-12")
CONTENDERS = ("permutation@5n", "kernel-shap@5n", "leverage-shap@5n", "odd-gp@5n", "shapley@5n")


def small_table(name: str) -> Table:
    """A few rows and columns of scikit-learn's breast cancer, or its numbers as a regression.

    Args:
        name: `"classes"` or `"numbers"`.

    Raises:
        ValueError: If it is neither.
    """
    from sklearn.datasets import load_breast_cancer

    if name not in ("classes", "numbers"):
        raise ValueError(f"the smoke suite has the tables classes and numbers, not {name!r}.")
    bunch: Any = load_breast_cancer(as_frame=True)
    frame = bunch.data.iloc[:ROWS, :COLUMNS]
    if name == "numbers":
        return Table(name, frame.iloc[:, 1:], frame.iloc[:, 0].to_numpy(), "regression")
    labels = np.asarray(bunch.target_names)[bunch.target.to_numpy()[:ROWS]].astype(str)
    return Table(name, frame, labels, "classification")


def smoke_jobs(
    architectures: tuple[str, ...] = tuple(ARCHITECTURES), command: str = ""
) -> tuple[BoardJob, BoardJob]:
    """The two jobs of the suite: architectures on a small table, estimators on games.

    Args:
        architectures: Keys of `ARCHITECTURES`.
        command: What repeats the run.
    """
    from bench.judging import judge_contender

    models = architecture_job(
        ("classes",),
        architectures,
        effort=EFFORT,
        loader=small_table,
        command=command,
        kind="smoke, architectures",
    )

    def judge(cell: Cell) -> Judged:
        found = judge_contender(*cell, rows=3, truth_budget=2_000, command=command)
        return with_marks(found) if cell[0] == TEXTS else found

    cells = [(game, contender) for game in GAMES for contender in CONTENDERS]
    cells.append((GAMES[-1], "exact"))  # the only one with few enough players
    cells.append((TEXTS, CONTENDERS[0]))
    return models, BoardJob("smoke, games", cells, judge)


def finish(
    folder: str | PathLike[str],
    *,
    tables: str = "",
    models: str = "",
    seeds: int | None = None,
    command: str = "",
) -> tuple["pd.DataFrame", Path]:
    """Run the suite and write its report.

    Args:
        folder: Where cells, tables and page lie.
        tables: Not taken: the suite has its own.
        models: Architectures by commas; when empty all whose libraries are installed.
        seeds: Not taken.
        command: What repeats the run.

    Returns:
        The summary of the architectures, and the Markdown page.

    Raises:
        ValueError: If `tables` or `seeds` is given.
    """
    from bench.registry import listed

    if tables or seeds is not None:
        raise ValueError("the smoke suite has its own data and one seed; pass neither.")
    chosen = tuple(listed(models, ()) or installed())
    architectures, games = smoke_jobs(chosen, command)
    plan = games.plan(Path(folder) / "games")
    games.run(plan)
    judged = {cell: one.evaluation for cell, one in games.judged(plan)}
    texts = judged[TEXTS, CONTENDERS[0]].explanation
    return finish_job(
        architectures,
        folder,
        title="Smoke: every architecture, metric and part of the report",
        lead="Trainings are cut short: the figures say that everything runs, not how well.",
        command=command,
        more=list(judged.values()),
        shown={"image": digits(), "text": texts},
    )


def with_marks(judged: Judged) -> Judged:
    """A judged explanation of texts with its agreement with the words that truly matter.

    Args:
        judged: Of a problem whose truth is exact.
    """
    from bench.rationales import rationale_auprc

    one = judged.evaluation
    assert one.truth is not None  # the rule of the templates is known
    marks = (one.truth.values.abs() > 1e-9).any(-1).numpy()
    agreement = float(np.nanmean(rationale_auprc(one.explanation, marks)))
    facts = {**one.facts, "rationale_auprc": agreement}
    return dataclasses.replace(judged, evaluation=dataclasses.replace(one, facts=facts))


def digits() -> "Explanation":
    """Two digits explained by patches, for the page's overlay."""
    import torch
    from sklearn.datasets import load_digits

    from baselines import BaselineImputer, MaskedGame, permutation_shapley
    from baselines.imagery import patches

    bunch: Any = load_digits()
    images = torch.from_numpy(bunch.images[:2]).double()[:, None] / 16
    mean = torch.from_numpy(bunch.images[bunch.target == bunch.target[0]].mean(0)).double() / 16

    def likeness(x: torch.Tensor) -> torch.Tensor:
        return (x * mean).flatten(1).sum(1)

    black = BaselineImputer(torch.zeros(1, 8, 8))
    game = MaskedGame(likeness, images, black, groups=patches((1, 8, 8), 4))
    return dataclasses.replace(permutation_shapley(game, budget=64), data=images)
