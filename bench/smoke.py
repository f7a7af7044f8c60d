"""The smoke suite: every architecture, metric and part of the report once, in a minute or two.

    harsanyi bench --suite smoke --out FOLDER

Its data is embedded (scikit-learn's breast cancer, a formula game, digits), its trainings are cut
short, so its figures say that everything runs and nothing of how well.
"""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.architecture_suite import architecture_job, finish_job
from bench.architectures import ARCHITECTURES, Effort
from bench.board_jobs import BoardJob, Cell, Judged
from bench.problems.tabular import Table

if TYPE_CHECKING:
    import pandas as pd

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
        return judge_contender(*cell, rows=3, truth_budget=2_000, command=command)

    cells = [(game, contender) for game in GAMES for contender in CONTENDERS]
    cells.append((GAMES[-1], "exact"))  # the only one with few enough players
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
        models: Architectures by commas; all when empty.
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
    chosen = tuple(listed(models, ARCHITECTURES))
    architectures, games = smoke_jobs(chosen, command)
    plan = games.plan(Path(folder) / "games")
    games.run(plan)
    return finish_job(
        architectures,
        folder,
        title="Smoke: every architecture, metric and part of the report",
        lead="Trainings are cut short: the figures say that everything runs, not how well.",
        command=command,
        more=[one.evaluation for _, one in games.judged(plan)],
        shown=examples(),
    )


def examples() -> dict[str, Any]:
    """Explanations of a text and of an image, for the page's heat map and overlay."""
    import torch
    from sklearn.datasets import load_digits

    from baselines import BaselineImputer, MaskedGame, permutation_shapley
    from baselines.explanation import Explanation
    from baselines.imagery import patches

    bunch: Any = load_digits()
    images = torch.from_numpy(bunch.images[:2]).double()[:, None] / 16
    means = torch.from_numpy(bunch.images[bunch.target == bunch.target[0]].mean(0)).double() / 16

    def likeness(x: torch.Tensor) -> torch.Tensor:
        return (x * means).flatten(1).sum(1)

    game = MaskedGame(
        likeness, images, BaselineImputer(torch.zeros(1, 8, 8)), groups=patches((1, 8, 8), 4)
    )
    found = permutation_shapley(game, budget=64)
    image = Explanation(
        found.values, game="likeness to a digit", method="permutation", data=images
    )
    words = ("a", "film", "that", "is", "not", "good", "at", "all")
    score = torch.tensor([[0.0, 0.1, 0.0, 0.0, -1.2, 0.4, -0.3, -0.1]])
    text = Explanation(
        score[..., None],
        game="a lexicon",
        method="lexicon",
        players=(words,),
        player_mask=torch.ones(1, len(words), dtype=torch.bool),
    )
    return {"image": image, "text": text}
