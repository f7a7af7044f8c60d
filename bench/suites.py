"""The tabular suite: every model on every table and seed, resumable, judged in pairs.

One cell is one table, model and seed, and one shard of a job; run it in any number of processes,
as often as needed:

    harsanyi bench --suite tabular --tables adult,yeast --seeds 5 --out FOLDER
"""

import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from baselines import shards
from baselines.coalitions import stream
from bench.cells import Grid
from bench.problems.tabular import TABLES, load, split
from bench.provenance import provenance
from bench.suite_models import MODELS, Suited, fit_suited

if TYPE_CHECKING:
    import pandas as pd

    from bench.problems.tabular import Table

MEASURES = (
    *("n_rows", "n_players", "n_test", "score", "masked_score", "log_loss", "auroc", "rmse"),
    *("fit_seconds", "predict_seconds", "explain_seconds", "exactness", "additivity_gap"),
    *("order_1", "order_2", "order_3", "order_4", "order_more"),
)
"""What a cell measures. `score` is accuracy or R2; seconds are CPU-seconds, which a busy machine
changes little, and those of predicting and explaining are per row; `exactness` is the largest
difference from enumeration of the public game over at most 10 players, relative to max(1, |v|)."""

MASK_DRAWS = 20
MASKED_ROWS = 1000
EXPLAINED_ROWS = 256
ENUMERATED_PLAYERS = 10


def plan_suite(
    folder: str | PathLike[str],
    *,
    tables: Sequence[str] = tuple(TABLES),
    models: Sequence[str] = tuple(MODELS),
    seeds: int = 5,
) -> shards.Plan:
    """Write down which cells are to be judged, or see that a folder holds the same.

    Args:
        folder: Where the cells lie.
        tables: Names of tables, cheapest order first or as given.
        models: Names of models.
        seeds: Splits per table.

    Returns:
        The plan.

    Raises:
        ValueError: If a name is unknown, or the folder holds other cells.
    """
    return _grid().plan(folder, (tables, tuple(TABLES)), (models, tuple(MODELS)), seeds)


def run_suite(plan: shards.Plan, *, progress: bool = True) -> list[int]:
    """Judge the cells that are not judged yet.

    Args:
        plan: From `plan_suite`.
        progress: Show a bar of cells.

    Returns:
        Numbers of the cells that this call judged.
    """
    return _grid().run(plan, progress=progress)


def _grid() -> Grid:
    return Grid("tabular suite", "table", "model", MEASURES, judge)


def judge(table_name: str, model_name: str, seed: int) -> dict[str, float]:
    """Fit one model on one split and measure it.

    Args:
        table_name: A table of the suite.
        model_name: A model of the suite.
        seed: Of split, fit and masks.

    Returns:
        Measure -> number; those that a model or task does not have are left out.
    """
    table = load(table_name)
    parts = split(table, seed)
    learn = np.sort(np.concatenate([parts.train, parts.validation]))
    start = time.process_time()
    fitted = fit_suited(model_name, table, learn, seed)
    fit_seconds = time.process_time() - start
    rows, truth = table.X.iloc[parts.test], table.y[parts.test]
    start = time.process_time()
    answers = fitted.predict(rows)
    found = {
        "n_rows": len(table.y),
        "n_players": table.X.shape[1],
        "n_test": len(truth),
        "fit_seconds": fit_seconds,
        "predict_seconds": (time.process_time() - start) / len(truth),
        "score": score_of(table.task, truth, answers),
        "masked_score": masked_score(fitted, table, parts.test, seed),
    }
    if table.task == "classification":
        found |= _probability_measures(fitted, rows, truth)
    else:
        found["rmse"] = float(np.sqrt(np.mean((truth - answers) ** 2)))
    return found | _explanation_measures(fitted, rows.iloc[:EXPLAINED_ROWS], seed)


def suite_frame(plan: shards.Plan) -> "pd.DataFrame":
    """The cells judged so far.

    Args:
        plan: From `plan_suite` or `shards.open_job`.

    Returns:
        One row per cell: table, task, model, seed and the measures, NaN where not measured.
    """
    return _grid().frame(plan)


def score_of(task: str, truth: np.ndarray, answers: np.ndarray) -> float:
    """Accuracy, or R2 where the task is "regression"."""
    from sklearn.metrics import accuracy_score, r2_score

    return float((accuracy_score if task == "classification" else r2_score)(truth, answers))


def masked_score(fitted: Suited, table: "Table", test: np.ndarray, seed: int) -> float:
    """Score with a random half of the players absent, mean over masks.

    Args:
        fitted: A model of the suite.
        table: The data set.
        test: Positions of the test rows.
        seed: Of the rows and masks drawn.
    """
    rng = stream(seed, 0, purpose=41)
    chosen = np.sort(rng.permutation(test)[:MASKED_ROWS])
    rows, truth = table.X.iloc[chosen], table.y[chosen]
    n = rows.shape[1]
    scores = []
    for _ in range(MASK_DRAWS):
        present = rng.random((len(rows), n)).argsort(1) < (n + 1) // 2
        scores.append(score_of(table.task, truth, fitted.predict(rows, present)))
    return float(np.mean(scores))


def _probability_measures(fitted: Suited, rows: Any, truth: np.ndarray) -> dict[str, float]:  # noqa: ANN401
    from sklearn.metrics import log_loss, roc_auc_score

    classes = fitted.model.classes_
    p = np.clip(fitted.probabilities(rows).astype(np.float64), 1e-15, 1)
    p /= p.sum(1, keepdims=True)
    found = {"log_loss": float(log_loss(truth, p, labels=classes))}
    if len(np.unique(truth)) == len(classes):  # undefined for a class without test rows
        score = p[:, 1] if len(classes) == 2 else p
        found["auroc"] = float(
            roc_auc_score(truth, score, multi_class="ovr", average="macro", labels=classes)
        )
    return found


def _explanation_measures(fitted: Suited, rows: Any, seed: int) -> dict[str, float]:  # noqa: ANN401
    """How fast and how exactly a model explains itself; nothing for one that does not."""
    model = fitted.model
    if hasattr(model, "explain_local"):  # EBM: its terms are its explanation
        start = time.process_time()
        model.explain_local(rows)
        return {"explain_seconds": (time.process_time() - start) / len(rows)}
    if not hasattr(model, "explain"):
        return {}
    model.explain(rows)  # so that compiled kernels are counted in neither
    start = time.process_time()
    explanation = model.explain(rows)
    seconds = (time.process_time() - start) / len(rows)
    from bench.problems.own import own_problem

    game = own_problem(model, rows, name="suite").game()
    empty, grand = game.ends()
    gap = (explanation.values.sum(1) - (grand - empty)).abs() / grand.abs().clamp(min=1)
    found = {
        "explain_seconds": seconds,
        "additivity_gap": float(gap.max()),
        "exactness": _exactness(model, rows.iloc[:3], seed),
    }
    spectrum = list(model.measures_["order_spectrum"])
    for order in range(1, 5):
        found[f"order_{order}"] = float(sum(spectrum[order - 1 : order]))
    return found | {"order_more": float(sum(spectrum[4:]))}


def _exactness(model: Any, rows: Any, seed: int) -> float:  # noqa: ANN401
    """Largest difference from enumeration of the public game, most players absent if many."""
    from baselines.exact import exact_shapley
    from bench.problems.own import OpenGame

    n = rows.shape[1]
    chosen = np.sort(stream(seed, 0, purpose=42).permutation(n)[:ENUMERATED_PLAYERS])
    answer = model.logits if hasattr(model, "logits") else model.outputs

    def restricted(x: Any, *, present: np.ndarray) -> np.ndarray:  # noqa: ANN401
        mask = np.zeros((len(present), n), dtype=bool)
        mask[:, chosen] = present
        return answer(x, present=mask)

    alone = np.isin(np.arange(n), chosen)
    ours = model.explain(rows, present=alone).values[:, torch.from_numpy(chosen)].double()
    game = OpenGame(restricted, rows, len(chosen))
    truth = exact_shapley(game).values.double()
    everyone = torch.ones(1, 1, len(chosen), dtype=torch.bool)
    scale = float(game(everyone).abs().max())
    return float((ours - truth).abs().max()) / max(1.0, scale)


def finish(
    folder: str | PathLike[str],
    *,
    tables: str = "",
    models: str = "",
    seeds: int | None = None,
    command: str = "",
) -> tuple["pd.DataFrame", Path]:
    """Plan the suite, judge what is not judged yet, and write its tables.

    Args:
        folder: Where cells, `cells.parquet` and `tabular.md` lie.
        tables: Names separated by commas; all when empty.
        models: Names separated by commas; all when empty.
        seeds: Splits per table, 5 when None.
        command: Not needed: the page tells it from the plan.

    Returns:
        The cells, and the Markdown page.

    Raises:
        ValueError: If there is no such table or model.
    """
    from bench.registry import listed
    from bench.suite_tables import write_suite

    plan = plan_suite(
        folder, tables=listed(tables, TABLES), models=listed(models, MODELS), seeds=seeds or 5
    )
    run_suite(plan)
    frame, page = suite_frame(plan), plan.folder / "tabular.md"
    write_suite(frame, page, plan=plan, made=provenance())
    return frame, page
