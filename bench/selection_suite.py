"""The selection suite: every selector on data whose relevant players are known.

One cell is one problem, method and seed, and one shard of a resumable job.

    harsanyi bench --suite selection --tables syn4,syn6 --models lex,l2x --seeds 3 --out FOLDER
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amortized import LEX, presets
from amortized.lex.gradients import Reinforce
from baselines import BaselineImputer, GaussianImputer, shards
from bench.cells import Grid
from bench.problems.selections import PROBLEMS, SelectionProblem
from bench.selection_metrics import (
    EvalX,
    auroc,
    fdr,
    fpr,
    leaks,
    top,
    tpr_at_k,
)

if TYPE_CHECKING:
    import pandas as pd

MEASURES = (
    *("tpr_at_k", "auroc", "tpr", "fdr", "fpr", "rate", "inclusion_rate"),
    *("own_accuracy", "evalx_accuracy"),
    *("evalx_at_k", "evalx_loss_at_k", "gap", "leaks", "train_seconds", "explain_ms"),
)
"""What a cell measures. `evalx_*` are by an independent judge; `gap` is the method's own accuracy
less the judge's on the same selections; `at_k` shows as many players as matter."""

TABULAR = ("syn4", "syn5", "syn6", "syn6-rho0.7", "switch", "hypercubes")
SCORED_ROWS = 2000
SAMPLED_ROWS = 200


@dataclasses.dataclass(frozen=True)
class Selected:
    """What a method says of the scored rows.

    Args:
        scores: `(b, n)`; larger is more relevant.
        selected: Its selection, bool `(b, n)`, or None where it only ranks.
        own_accuracy: Of its own predictor on its selections, or NaN.
        inclusion_rate: Its mean inclusion probability, or NaN.
    """

    scores: NDArray[np.float64]
    selected: NDArray[np.bool_] | None = None
    own_accuracy: float = float("nan")
    inclusion_rate: float = float("nan")


Fitted = Callable[[NDArray[np.float64], NDArray[np.int64]], Selected]
Method = Callable[[SelectionProblem, int], Fitted]


def _lex(make: Callable[[SelectionProblem], dict[str, Any]]) -> Method:
    def fit(problem: SelectionProblem, seed: int) -> Fitted:
        n = problem.X.shape[1]
        lex = LEX.for_tabular(n, problem.n_classes, random_state=seed, **make(problem))
        lex.fit(problem.X, problem.y, random_state=seed)

        def answer(x: NDArray[np.float64], y: NDArray[np.int64]) -> Selected:
            chosen = lex.select(x)
            mode = chosen.mode
            own = _own_accuracy(lex, x, y, mode)
            rate = float(chosen.mean.detach().mean())
            return Selected(chosen.logits.detach().double().numpy(), mode.numpy(), own, rate)

        return answer

    return fit


def _own_accuracy(lex: LEX, x: NDArray[np.float64], y: NDArray[np.int64], mode: Tensor) -> float:
    """How often the method's predictor is right when shown its own selection."""
    rows = lex.rows(x)
    with torch.no_grad():
        answers = lex.log_probs(rows, mode[None, None], torch.Generator().manual_seed(0))
        p = answers[0, 0].exp().mean(1)
    return float((p.argmax(-1).numpy() == y).mean())


def _zero_surrogate(problem: SelectionProblem) -> dict[str, Any]:
    return {
        "imputer": BaselineImputer(0.0),
        "gradient": Reinforce(),
        "regime": "surrogate",
        "target_rate": problem.rate,
        "imputations": None,
    }


def _harsanyi(problem: SelectionProblem, seed: int) -> Fitted:
    from harsanyi import HarsanyiClassifier

    model = HarsanyiClassifier(random_state=seed).fit(problem.X, problem.y)

    def answer(x: NDArray[np.float64], y: NDArray[np.int64]) -> Selected:
        values = model.explain(x).values
        label = torch.from_numpy(model.predict(x).astype(np.int64))
        shown = values.gather(2, label[:, None, None].expand(-1, values.shape[1], 1))[..., 0]
        return Selected(shown.abs().double().numpy())

    return answer


def _sampled_shapley(problem: SelectionProblem, seed: int) -> Fitted:
    """|Shapley value| of a multilayer perceptron's logit, absent players by 32 training rows."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from baselines import MarginalImputer, MaskedGame, compress, from_callable, shapley

    net: Any = make_pipeline(
        StandardScaler(), MLPClassifier((100, 100), early_stopping=True, random_state=seed)
    ).fit(problem.X, problem.y)
    generator = torch.Generator().manual_seed(seed)
    background = problem.X[compress(problem.X, 32, generator=generator)]

    def answer(x: NDArray[np.float64], y: NDArray[np.int64]) -> Selected:
        game = MaskedGame(
            from_callable(net, output="logit"),
            torch.from_numpy(x),
            MarginalImputer(torch.from_numpy(background)),
        )
        values = shapley(game, budget=20 * x.shape[1]).values
        return Selected(values[..., -1].abs().double().numpy())

    return answer


def _random(problem: SelectionProblem, seed: int) -> Fitted:
    return lambda x, y: Selected(np.random.default_rng(seed).random(x.shape))


def _magnitude(problem: SelectionProblem, seed: int) -> Fitted:
    centre, spread = problem.X.mean(0), problem.X.std(0)
    return lambda x, y: Selected(np.abs(x - centre) / spread)


METHODS: dict[str, Method] = {
    "lex": _lex(lambda p: presets.lex_fixed(GaussianImputer.fit(p.X), p.rate)),
    "lex-joint": _lex(lambda p: presets.lex_joint(GaussianImputer.fit(p.X), p.rate)),
    "lex-one": _lex(
        lambda p: presets.lex_fixed(GaussianImputer.fit(p.X), p.rate) | {"imputations": 1}
    ),
    "zero-surrogate": _lex(_zero_surrogate),
    "l2x": _lex(lambda p: presets.l2x(k=max(1, round(p.rate * p.n_players)))),
    "invase": _lex(lambda p: presets.invase()),
    "realx": _lex(lambda p: presets.realx()),
    "harsanyi": _harsanyi,
    "shapley": _sampled_shapley,
    "magnitude": _magnitude,
    "random": _random,
}
"""Methods by name. `lex-one` has a single imputation; `magnitude` and `random` are floors."""

OWN_MODEL = ("harsanyi",)
"""Methods that explain a model of their own; the others explain a predictor trained alike."""


def plan_selection(
    folder: str | PathLike[str],
    *,
    problems: Sequence[str] = TABULAR,
    methods: Sequence[str] = tuple(METHODS),
    seeds: int = 3,
) -> shards.Plan:
    """Write down which cells are to be judged, or see that a folder holds the same.

    Args:
        folder: Where the cells lie.
        problems: Names of problems with rows of numbers.
        methods: Names of methods.
        seeds: Draws of data and weights per problem.

    Returns:
        The plan.

    Raises:
        ValueError: If a name is unknown, or the folder holds other cells.
    """
    known = [name for name in PROBLEMS if not name.startswith("panels")]
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
        Measure -> number; those that a method does not have are left out.
    """
    problem = PROBLEMS[problem_name](seed=seed)
    rows = SAMPLED_ROWS if method == "shapley" else SCORED_ROWS
    x, y, truth = problem.X_test[:rows], problem.y_test[:rows], problem.truth_test[:rows]
    start = time.process_time()
    fitted = METHODS[method](problem, seed)
    train_seconds = time.process_time() - start
    start = time.perf_counter()
    found = fitted(x, y)
    explain_ms = 1000 * (time.perf_counter() - start) / len(x)
    judge = EvalX(problem.X, problem.y, seed=seed)
    at_k = top(found.scores, truth.sum(1))
    measures = {
        "tpr_at_k": float(tpr_at_k(found.scores, truth).mean()),
        "auroc": float(np.nanmean(auroc(found.scores, truth))),
        "evalx_at_k": judge.accuracy(x, y, at_k),
        "evalx_loss_at_k": judge.loss(x, y, at_k),
        "train_seconds": train_seconds,
        "explain_ms": explain_ms,
    }
    if found.selected is not None:
        judged = judge.accuracy(x, y, found.selected)
        measures |= {
            "tpr": float(((found.selected & truth).sum(1) / truth.sum(1)).mean()),
            "fdr": float(fdr(found.selected, truth).mean()),
            "fpr": float(fpr(found.selected, truth).mean()),
            "rate": float(found.selected.mean()),
            "inclusion_rate": found.inclusion_rate,
            "own_accuracy": found.own_accuracy,
            "evalx_accuracy": judged,
            "gap": found.own_accuracy - judged,
            "leaks": float(leaks(found.own_accuracy, judged)),
        }
    return measures


def selection_frame(plan: shards.Plan) -> "pd.DataFrame":
    """The cells judged so far.

    Args:
        plan: From `plan_selection`.

    Returns:
        One row per cell: problem, method, explains, seed and the measures, NaN where not measured.
    """
    frame = _grid().frame(plan)
    explains = ["own" if method in OWN_MODEL else "box" for method in frame["method"]]
    frame.insert(2, "explains", explains)
    return frame


def selection_page(frame: "pd.DataFrame", made: dict[str, Any], command: str) -> str:
    """Medians over seeds as Markdown tables, one per problem, with how they were made.

    Args:
        frame: From `selection_frame`.
        made: Commit, hardware, date.
        command: What made the cells.
    """
    about = (
        "Medians over seeds; in percent but for seconds and milliseconds. TPR@k and AUROC do not "
        "depend on a threshold; FDR, rate, own accuracy and gap are at the method's own "
        "selection. A gap over 10 points (own predictor above the independent judge) is flagged as "
        "a leak. Fidelity is ranked within `box` only: `own` explains another model."
    )
    by = f"Made by `{command}`, commit {made.get('commit')}, {made.get('hardware')}, "
    lines = ["# Selections", "", about, "", f"{by}{made.get('date')}."]
    columns = {
        "tpr_at_k": "TPR@k",
        "auroc": "AUROC",
        "fdr": "FDR",
        "rate": "rate",
        "own_accuracy": "own acc.",
        "evalx_at_k": "judged acc. at k",
        "gap": "gap",
        "leaks": "leaks",
        "train_seconds": "CPU s",
        "explain_ms": "ms/row",
    }
    for problem in frame["problem"].unique():
        part: Any = frame[frame["problem"] == problem]
        medians: Any = part.groupby(["method", "explains"], sort=False)[list(columns)].median()
        seeds = part["seed"].nunique()
        lines += ["", f"## {problem} ({seeds} seed{'s' if seeds > 1 else ''})", ""]
        lines.append("| method | explains | " + " | ".join(columns.values()) + " |")
        lines.append("| --- | --- |" + " ---: |" * len(columns))
        ranked = medians.sort_values("tpr_at_k", ascending=False)
        for (method, explains), row in ranked.iterrows():
            cells = [_cell(name, float(row[name])) for name in columns]
            lines.append(f"| {method} | {explains} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(name: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    if name == "leaks":
        return "yes" if value > 0.5 else "no"
    if name in ("train_seconds", "explain_ms"):
        return f"{value:.3g}"
    return f"{100 * value:.1f}"
