"""The selection suite as Markdown: medians over seeds, one table per problem."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = {
    "tpr_at_k": "TPR@k",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "fdr": "FDR",
    "fpr": "FPR",
    "rate": "rate",
    "own_accuracy": "own acc.",
    "evalx_at_k": "judged at k",
    "gap": "gap",
    "encoded": "encoded",
    "leaks": "flagged",
    "probe_accuracy": "mask alone",
    "kl_at_k": "KL@k",
    "objective_gap": "objective gap",
    "stability": "stability",
    "between": "between",
    "within": "within",
    "train_seconds": "CPU s",
    "explain_ms": "ms/row",
}

PLAIN = ("encoded", "kl_at_k", "objective_gap", "train_seconds", "explain_ms", "between", "within")
"""Measures in units of their own: nats, variances, seconds, milliseconds."""

ABOUT = (
    "Medians over seeds, in percent but for what has a unit. TPR@k, AUROC and AUPRC do not depend "
    "on a threshold; FDR, FPR, rate, own accuracy and gap are at the method's own selection. `encoded` "
    "is what being selected tells of the label beyond the values shown, in nats. A gap over 10 "
    "points (own predictor above the independent judge), or more than .2 nats encoded, is flagged "
    "as a leak; `mask alone` "
    "is the accuracy of a tree that sees which players were selected and nothing else. KL@k, in "
    "nats, is of the box's answer to the k best-ranked players, absent ones imputed: rank it among "
    "those that explain the `box`, since `own` explain another model and floors nobody's. The "
    "objective gap, in nats, is to the best of all selections under the data's own law at .005 a "
    "player; enumeration may lie below the truth in TPR, so the gap and TPR@k are two questions. "
    "Between and within split the variance of the predicted class by imputation. CPU seconds "
    "include the box."
)


def selection_page(frame: "pd.DataFrame", made: dict[str, Any], command: str) -> str:
    """Medians over seeds as Markdown tables, one per problem, with how they were made.

    Args:
        frame: From `selection_frame`.
        made: Commit, hardware, date.
        command: What made the cells.
    """
    by = f"Made by `{command}`, commit {made.get('commit')}, {made.get('hardware')}, "
    lines = ["# Selections", "", ABOUT, "", f"{by}{made.get('date')}."]
    for problem in frame["problem"].unique():
        part = frame[frame["problem"] == problem]
        lines += ["", *problem_table(problem, part)]
    return "\n".join(lines) + "\n"


def problem_table(problem: str, part: Any) -> list[str]:  # noqa: ANN401 - a data frame
    """One problem's heading and table; columns that nobody has are left out.

    Args:
        problem: Its name.
        part: Its cells.
    """
    columns = [name for name in COLUMNS if name in part and part[name].notna().any()]
    grouped: Any = part.groupby(["method", "explains"], sort=False)[columns].median()
    seeds = part["seed"].nunique()
    lines = [f"## {problem} ({seeds} seed{'s' if seeds > 1 else ''})", ""]
    lines.append("| method | explains | " + " | ".join(COLUMNS[name] for name in columns) + " |")
    lines.append("| --- | --- |" + " ---: |" * len(columns))
    first = "tpr_at_k" if "tpr_at_k" in columns else "evalx_at_k"
    for (method, explains), row in grouped.sort_values(first, ascending=False).iterrows():
        cells = [_cell(name, float(row[name])) for name in columns]
        lines.append(f"| {method} | {explains} | " + " | ".join(cells) + " |")
    return lines


def _cell(name: str, value: float) -> str:
    if np.isnan(value):
        return "-"
    if name == "leaks":
        return "yes" if value > 0.5 else "no"
    return f"{value:.3g}" if name in PLAIN else f"{100 * value:.1f}"
