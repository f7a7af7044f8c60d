"""The text suite: explainers of text classifiers on known and real targets, resumable.

    harsanyi bench --suite text --out FOLDER

One cell is one problem, explainer and seed. Shapley estimators are judged against truth; what
stands for something else is judged by what removing its highest words does. Targets of the data
folder are trained on first use.
"""

import functools
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines import shards
from baselines.explanation import Explanation
from bench.cells import Grid
from bench.contenders import Contender, sampled
from bench.problems.problem import Problem

if TYPE_CHECKING:
    import pandas as pd

TEXTS = 12
"""Texts that a cell explains."""

TRUTH_BUDGET = 20_000
EXACT_UP_TO = 13

PROBLEMS = ("text/templates", "templates/bert2", "sst2/bert2", "agnews/bert2", "yelp/bert2")
"""Problems of a run that names none; any text problem may be named."""

MEASURES = (
    *("mse", "spearman", "ceiling", "top_3", "sign_errors", "efficiency_gap"),
    *("insertion", "deletion", "evaluations", "model_rows", "ms_per_text"),
)
"""What a cell measures. `mse` is the true one, relative to the mean squared value; `ceiling` is the
rank correlation that a flawless explainer would reach; insertion is the area under the predicted
class's value as the highest players come in, deletion as they go; milliseconds are of CPU."""


def _explainers() -> dict[str, Contender]:
    from bench.amortized_contender import amortized, amortized_refined
    from bench.text_contenders import embedding_gradients, word_rollout

    return {
        "permutation@50": sampled("permutation_shapley", 50),
        "permutation@200": sampled("permutation_shapley", 200),
        "permutation@2000": sampled("permutation_shapley", 2000),
        "kernel-shap@200": sampled("kernel_shap", 200),
        "kernel-shap@2000": sampled("kernel_shap", 2000),
        "leverage-shap@200": sampled("leverage_shap", 200),
        "amortized": amortized,
        "amortized+2": amortized_refined,
        "lime@200": sampled("lime", 200),
        "occlusion": sampled("occlusion"),
        "integrated-gradients": embedding_gradients,
        "attention-rollout": word_rollout,
    }


EXPLAINERS = (
    *("permutation@50", "permutation@200", "permutation@2000"),
    *("kernel-shap@200", "kernel-shap@2000", "leverage-shap@200"),
    *("amortized", "amortized+2", "lime@200", "occlusion"),
    *("integrated-gradients", "attention-rollout"),
)
"""Explainers of the suite."""


def plan_text(
    folder: str | PathLike[str],
    *,
    problems: Sequence[str] = PROBLEMS,
    explainers: Sequence[str] = EXPLAINERS,
    seeds: int = 3,
) -> shards.Plan:
    """Write down which cells are to be judged, or see that a folder holds the same.

    Args:
        folder: Where the cells lie.
        problems: Names of text problems.
        explainers: Names of explainers.
        seeds: Runs of each; targets and texts stay the same.

    Returns:
        The plan.

    Raises:
        ValueError: If a name is unknown, or the folder holds other cells.
    """
    from bench.problems.text import text_problem_names

    return _grid().plan(folder, (problems, text_problem_names()), (explainers, EXPLAINERS), seeds)


def run_text(plan: shards.Plan, *, progress: bool = True) -> list[int]:
    """Judge the cells that are not judged yet.

    Args:
        plan: From `plan_text`.
        progress: Show a bar of cells.

    Returns:
        Numbers of the cells that this call judged.
    """
    return _grid().run(plan, progress=progress)


def text_frame(plan: shards.Plan) -> "pd.DataFrame":
    """The cells judged so far.

    Args:
        plan: From `plan_text`.

    Returns:
        One row per cell: problem, explainer, seed and the measures, NaN where not measured.
    """
    return _grid().frame(plan)


def judge(problem_name: str, explainer: str, seed: int) -> dict[str, float]:
    """Run one explainer on one problem and measure it.

    Args:
        problem_name: A text problem.
        explainer: An explainer of the suite.
        seed: Of what it draws.

    Returns:
        Measure -> number; those that do not apply are left out. Nothing for an explainer that
        looks inside a model where the problem is a rule.
    """
    from bench import metrics
    from bench.comparable import NotComparable
    from bench.evaluation import evaluate

    problem, truth = _judged(problem_name)
    if problem.model is None and _looks_inside(explainer):
        return {}
    contender = _explainers()[explainer](problem)
    words: dict[str, Any] = {"name": explainer, "seed": seed, "games": {"own": problem.game}}
    try:
        found = evaluate(contender, problem, truth, **words)
    except NotComparable:  # it stands for something else than Shapley values
        found = evaluate(contender, problem, None, **words)
    scores = {name: float(np.nanmean(value)) for name, value in found.scores.items()}
    told = {
        "spearman": scores.get("spearman"),
        "top_3": scores.get("top_k"),
        "sign_errors": scores.get("sign_errors"),
        "efficiency_gap": scores.get("efficiency_gap"),
        "insertion": scores.get("insertion_own"),
        "deletion": scores.get("deletion_own"),
        "evaluations": float(found.facts["evals"]),
        "model_rows": float(found.facts["model_rows"]),
        "ms_per_text": 1000 * float(found.facts["cpu_seconds"]),
    }
    if "squared_error" in scores:
        scale = float(np.mean(metrics.squared_scale(truth)))
        told["mse"] = scores["squared_error"] / scale
        told["ceiling"] = float(np.nanmean(metrics.spearman_ceiling(truth)))
    return {
        name: value for name, value in told.items() if value is not None and np.isfinite(value)
    }


def text_page(frame: "pd.DataFrame", made: dict[str, Any], command: str) -> str:
    """Means over seeds as Markdown tables, one per problem, with how they were made.

    Args:
        frame: From `text_frame`.
        made: Commit, hardware, date.
        command: What made the cells.
    """
    about = (
        f"{TEXTS} texts a problem, words dropped, logits. Relative true MSE and rank correlation "
        "are to exact or independently sampled Shapley values; insertion (higher is better) and "
        "deletion (lower is better) of the predicted class fit every estimand. An amortized "
        "explainer's training is not in its milliseconds."
    )
    by = f"Made by `{command}`, commit {made.get('commit')}, {made.get('hardware')}, "
    lines = ["# Texts", "", about, "", f"{by}{made.get('date')}."]
    for problem in frame["problem"].unique():
        part: Any = frame[frame["problem"] == problem].drop(columns=["problem", "seed"])
        means = part.groupby("explainer", sort=False).mean()
        lines += ["", f"## {problem} ({frame['seed'].nunique()} seeds)", ""]
        lines.append("| explainer | " + " | ".join(m.replace("_", " ") for m in MEASURES) + " |")
        lines.append("| --- |" + " ---: |" * len(MEASURES))
        for name, row in means.sort_values("mse", na_position="last").iterrows():
            if row.isna().all():
                continue
            cells = ["-" if np.isnan(row[m]) else f"{row[m]:.3g}" for m in MEASURES]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@functools.lru_cache(maxsize=1)
def _judged(name: str) -> tuple[Problem, Explanation]:
    """A problem and its truth, kept while its cells are judged one after the other."""
    from bench.problems.catalogue import named_problem
    from bench.truth import ground_truth

    problem = named_problem(name, b=TEXTS)
    return problem, ground_truth(problem, budget=TRUTH_BUDGET, exact_up_to=EXACT_UP_TO)


def _looks_inside(explainer: str) -> bool:
    return explainer.startswith(("integrated", "attention", "amortized"))


def _grid() -> Grid:
    return Grid("text suite", "problem", "explainer", MEASURES, judge)
