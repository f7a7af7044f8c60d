"""The selection suite: every selector on data whose relevant players are known.

One cell is one problem, method and seed, and one shard of a resumable job.

    harsanyi bench --suite selection --tables syn4,syn6 --models lex,l2x --seeds 3 --out FOLDER
"""

import dataclasses
import functools
import time
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from baselines import shards
from bench.cells import Grid
from bench.leakage import encoded
from bench.problems.selections import PROBLEMS, SelectionProblem
from bench.rationale_suite import TEXT_ENTRIES, TEXTS, judge_texts
from bench.selection_box import ENUMERABLE, Box, Enumerated, enumerate_objective
from bench.selection_methods import ABLATIONS, ENTRIES, Entry, Fitted, Floats, Selected
from bench.selection_metrics import (
    EvalX,
    auroc,
    average_precision,
    fdr,
    fpr,
    leaks,
    mask_probe,
    stability,
    top,
    tpr_at_k,
)

if TYPE_CHECKING:
    import pandas as pd

MEASURES = (
    *("tpr_at_k", "auroc", "auprc", "tpr", "fdr", "fpr", "rate", "inclusion_rate"),
    *("own_accuracy", "evalx_accuracy", "evalx_at_k", "evalx_loss_at_k", "gap", "leaks"),
    *("encoded", "probe_accuracy", "kl_at_k", "objective_gap", "stability", "between", "within"),
    *("train_seconds", "explain_ms"),
)
"""What a cell measures. `evalx_*` are by an independent judge; `gap` is the method's own accuracy
less the judge's on the same selections; `encoded` is what being selected tells of the label, in
nats, beyond the values shown; `leaks` flags either; `at_k` shows as many players as matter, or as were asked
for; `kl_at_k` is the box's answer to that, against its answer to all; `probe_accuracy` guesses the
label from the mask alone; `stability` is the rank correlation of two seeds of a selector on the
first seed's data. What a method or problem does not have is left out."""

TABULAR = ("syn4", "syn5", "syn6", "syn6-rho0.7", "switch", "hypercubes", "noise-only")
DEFAULT = (*TABULAR, "panels-digits")
"""Problems of a run that names none: those that need no file."""

_ROWS = ENTRIES | ABLATIONS
METHODS = {**_ROWS, **TEXT_ENTRIES}
SCORED_ROWS = 2000
ENCODED_ROWS = 6000
"""Test rows on which what a selection encodes is measured: the scored ones and others."""
OBJECTIVE_ROWS = 50


def plan_selection(
    folder: str | PathLike[str],
    *,
    problems: Sequence[str] = DEFAULT,
    methods: Sequence[str] = tuple(ENTRIES),
    seeds: int = 3,
) -> shards.Plan:
    """Write down which cells are to be judged, or see that a folder holds the same.

    Args:
        folder: Where the cells lie.
        problems: Names of problems.
        methods: Names of methods; a cell of a method that does not take a problem stays empty.
        seeds: Draws of data and weights per problem.

    Returns:
        The plan.

    Raises:
        ValueError: If a name is unknown, or the folder holds other cells.
    """
    known = (*PROBLEMS, *TEXTS)
    return _grid().plan(folder, (problems, known), (methods, tuple(METHODS)), seeds)


def run_selection(plan: shards.Plan, *, progress: bool = True) -> list[int]:
    """Judge the cells that are not judged yet.

    Args:
        plan: From `plan_selection`.
        progress: Show a bar of cells.

    Returns:
        Numbers of the cells that this call judged.
    """
    return _grid().run(plan, progress=progress)


def _grid() -> Grid:
    return Grid("selection suite", "problem", "method", MEASURES, judge_selection)


def judge_selection(problem_name: str, method: str, seed: int) -> dict[str, float]:
    """Fit one method on one problem and measure its selections.

    Args:
        problem_name: A problem of the suite.
        method: A method of the suite.
        seed: Of data and weights.

    Returns:
        Measure -> number; those that a method does not have are left out, all of them where it
        does not take the problem.
    """
    if problem_name in TEXTS:
        return judge_texts(problem_name, method, seed) if method in TEXT_ENTRIES else {}
    if method not in _ROWS:
        return {}
    entry, setting = _ROWS[method], prepared(problem_name, seed)
    problem, judge = setting.problem, setting.judge
    if not _takes(entry, problem):
        return {}
    rows = slice(entry.rows or SCORED_ROWS)
    x, y, truth = problem.X_test[rows], problem.y_test[rows], problem.truth_test[rows]
    start = time.process_time()
    fitted = entry.method(problem, setting.box, seed)
    train_seconds = time.process_time() - start
    if entry.explains == "box":
        train_seconds += setting.box_seconds
    start = time.perf_counter()
    found = fitted(x, y)
    explain_ms = 1000 * (time.perf_counter() - start) / len(x)
    asked = max(1, round(problem.rate * problem.n_players))
    at_k = top(found.scores, truth.sum(1) if problem.asked_rate is None else asked)
    measures = _support(found, truth) | {
        "evalx_at_k": judge.accuracy(x, y, at_k),
        "evalx_loss_at_k": judge.loss(x, y, at_k),
        "kl_at_k": setting.box.divergence(x[:500], at_k[:500]),
        "train_seconds": train_seconds,
        "explain_ms": explain_ms,
        "between": found.between,
        "within": found.within,
    }
    if found.selected is not None:
        nats = _encoded(fitted, found, problem)
        measures |= _own(found, judge, x, y, nats) | {"encoded": nats}
    if setting.objective is not None:
        shown = (at_k if found.selected is None else found.selected)[:OBJECTIVE_ROWS]
        measures["objective_gap"] = setting.objective.gap(shown)
    if entry.learned and seed == 0 and problem.X.ndim == 2:
        again = entry.method(problem, setting.box, seed + 1000)(x[:500], y[:500])
        measures["stability"] = stability([found.scores[:500], again.scores])
    return {name: value for name, value in measures.items() if np.isfinite(value)}


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """What all methods of a problem and seed share.

    Args:
        problem: The data.
        box: The model that post-hoc methods explain.
        box_seconds: CPU-seconds of its training.
        judge: EVAL-X, of rows that no method sees where the problem has any.
        objective: Values of every selection of the first rows, where their law is known.
    """

    problem: SelectionProblem
    box: Box
    box_seconds: float
    judge: EvalX
    objective: Enumerated | None


@functools.lru_cache(maxsize=1)  # cells come problem by problem
def prepared(problem_name: str, seed: int) -> Setting:
    """Data, box, judge and enumerated objective of a problem and seed."""
    problem = PROBLEMS[problem_name](seed=seed)
    start = time.process_time()
    box = Box(problem, seed)
    seconds = time.process_time() - start
    judge = EvalX(*_judging_rows(problem), seed=seed, groups=problem.groups)
    known = problem.covariance is not None and problem.n_players <= ENUMERABLE
    rows = problem.X_test[:OBJECTIVE_ROWS]
    return Setting(
        problem, box, seconds, judge, enumerate_objective(problem, rows) if known else None
    )


def _judging_rows(problem: SelectionProblem) -> tuple[Floats, NDArray[np.int64]]:
    """Test rows that are not scored, where there are enough of them; else the training rows."""
    if len(problem.X_test) < 2 * SCORED_ROWS:
        return problem.X, problem.y
    return problem.X_test[SCORED_ROWS:], problem.y_test[SCORED_ROWS:]


def _takes(entry: Entry, problem: SelectionProblem) -> bool:
    """Whether a method can read a problem: images, or features that must not be shown."""
    if problem.X.ndim > 2:
        return entry.images
    hides = problem.groups is not None and bool((problem.groups < 0).any())
    return not hides or entry.selects


def _support(found: Selected, truth: np.ndarray) -> dict[str, float]:
    """How well the players that matter are found; nothing where none does."""
    if not truth.any():
        return {}
    measures = {
        "tpr_at_k": float(tpr_at_k(found.scores, truth).mean()),
        "auroc": float(np.nanmean(auroc(found.scores, truth))),
        "auprc": float(average_precision(found.scores, truth).mean()),
    }
    if found.selected is None:
        return measures
    return measures | {
        "tpr": float(((found.selected & truth).sum(1) / truth.sum(1)).mean()),
        "fdr": float(fdr(found.selected, truth).mean()),
        "fpr": float(fpr(found.selected, truth).mean()),
    }


def _encoded(fitted: Fitted, found: Selected, problem: SelectionProblem) -> float:
    """What a selection tells beyond the values shown; NaN of images and of many players."""
    assert found.selected is not None  # the caller asked
    if problem.X.ndim > 2 or problem.n_players > ENUMERABLE:
        return float("nan")
    x, y = problem.X_test[:ENCODED_ROWS], problem.y_test[:ENCODED_ROWS]
    selected, known = found.selected, len(found.selected)
    if len(x) > known:
        more = fitted(x[known:], y[known:]).selected
        assert more is not None  # it selects
        selected = np.concatenate([selected, more])
    return encoded(x, problem.feature_masks(selected), selected, y).value


def _own(
    found: Selected, judge: EvalX, x: Floats, y: NDArray[np.int64], nats: float
) -> dict[str, float]:
    """What a selection tells its own predictor, an independent judge, and by itself."""
    assert found.selected is not None  # the caller asked
    judged = judge.accuracy(x, y, found.selected)
    measures = {
        "rate": float(found.selected.mean()),
        "inclusion_rate": found.inclusion_rate,
        "own_accuracy": found.own_accuracy,
        "evalx_accuracy": judged,
        "gap": found.own_accuracy - judged,
        "leaks": float(leaks(found.own_accuracy, judged, nats)),
    }
    if found.selected.shape[1] <= ENUMERABLE:
        measures["probe_accuracy"] = mask_probe(found.selected, y)
    return measures


def selection_frame(plan: shards.Plan) -> "pd.DataFrame":
    """The cells judged so far.

    Args:
        plan: From `plan_selection`.

    Returns:
        One row per cell that a method takes: problem, method, explains, seed and the measures, NaN
        where not measured.
    """
    frame: Any = _grid().frame(plan)
    frame = frame[frame["auroc"].notna() | frame["evalx_at_k"].notna()].reset_index(drop=True)
    frame.insert(2, "explains", [METHODS[method].explains for method in frame["method"]])
    return frame
