"""The suite's results in words: scores, paired differences to boosting, ranks, exactness."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from baselines.shards import atomic_write
from bench.markdown import markdown
from bench.problems.tabular import TABLES

if TYPE_CHECKING:
    import pandas as pd

    from baselines.shards import Plan

REFERENCE = "boosting"
NONE = "-"
"""What stands for a number that there is none of."""


def paired(frame: "pd.DataFrame", one: str, two: str, measure: str = "score") -> "pd.DataFrame":
    """Differences between two models on the same splits.

    Args:
        frame: From `suite_frame`.
        one: A model.
        two: Another.
        measure: A measure of which more is better.

    Returns:
        Per table: `mean` of `one - two` over the seeds that both have, its standard error `se`
        (NaN for one seed), and `seeds`.
    """
    wide = frame.pivot_table(index=["table", "seed"], columns="model", values=measure)
    if one not in wide or two not in wide:
        return (
            wide.iloc[:0].groupby("table").size().to_frame("seeds").assign(mean=np.nan, se=np.nan)
        )
    difference: Any = wide[one] - wide[two]
    gap = difference.dropna().groupby("table")
    return gap.agg(mean="mean", se="sem", seeds="size")


def verdict(frame: "pd.DataFrame", one: str, two: str) -> dict[str, float]:
    """One model against another over the tables.

    Args:
        frame: From `suite_frame`.
        one: A model.
        two: Another.

    Returns:
        `tables`, `not_worse` (mean difference not below minus one standard error), `better` and
        `worse` (by the mean), and the two-sided `p` of Wilcoxon's signed-rank test over tables
        (NaN for fewer than 6, where it cannot reach 0.05).
    """
    gaps = paired(frame, one, two)
    mean, se = gaps["mean"].to_numpy(), np.nan_to_num(gaps["se"].to_numpy())
    p = np.nan
    if len(mean) >= 6 and np.any(mean != 0):
        p = float(np.asarray(stats.wilcoxon(mean))[1])
    return {
        "tables": len(mean),
        "not_worse": int((mean >= -se).sum()),
        "better": int((mean > 0).sum()),
        "worse": int((mean < 0).sum()),
        "p": p,
    }


def mean_ranks(frame: "pd.DataFrame") -> "pd.Series":
    """Mean rank of each model by score, over the tables that all models have; 1 is best.

    Args:
        frame: From `suite_frame`.
    """
    wide = frame.pivot_table(index="table", columns="model", values="score").dropna()
    return wide.rank(axis=1, ascending=False).mean().sort_values()


def write_suite(
    frame: "pd.DataFrame",
    path: str | PathLike[str],
    *,
    plan: "Plan",
    made: Mapping[str, str],
) -> None:
    """Write the cells as parquet beside the job, and what they say as Markdown.

    Args:
        frame: From `suite_frame`.
        path: Markdown file.
        plan: The job of the cells.
        made: Hardware, commit and date.

    Raises:
        ValueError: If no cell has been judged yet.
    """
    if frame.empty:
        raise ValueError(f"no cell of {plan.folder} has been judged; run the suite first.")
    frame.to_parquet(plan.folder / "cells.parquet")
    atomic_write(Path(path), describe(frame, plan, made).encode())


def describe(frame: "pd.DataFrame", plan: "Plan", made: Mapping[str, str]) -> str:
    """The Markdown of the results.

    Args:
        frame: From `suite_frame`.
        plan: The job of the cells.
        made: Hardware, commit and date.
    """
    said = plan.config
    models = [m for m in said["models"] if m in set(frame["model"])]
    command = (
        f"harsanyi bench --suite tabular --tables {','.join(said['tables'])} "
        f"--models {','.join(said['models'])} --seeds {said['seeds']}"
    )
    sections = [
        "# Tabular suite",
        _origin(command, made, len(frame), plan.n_items),
        "## Score\n\nAccuracy (R2 for regression), mean ± standard deviation over seeds.\n\n"
        + _grid(frame, models, "score"),
        _against(frame, models),
        "## Half of the players absent\n\nThe same score with a random half of the players absent "
        "(20 masks, at most 1000 test rows): absent in the model's own sense for Harsanyi models, "
        "replaced by the mean or mode for the others.\n\n" + _grid(frame, models, "masked_score"),
        "## Log loss (RMSE for regression)\n\n" + _grid(_losses(frame), models, "loss"),
        "## AUROC\n\n" + _grid(frame.dropna(subset="auroc"), models, "auroc"),
        "## CPU-seconds to fit\n\n" + _grid(frame, models, "fit_seconds", "{:.1f}"),
        _explanations(frame),
        _published(plan),
        _notes(frame),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _origin(command: str, made: Mapping[str, str], done: int, planned: int) -> str:
    return (
        f"`{command}`\n\n"
        f"Commit {made['commit']}, {made['date']}, {made['hardware']}.\n"
        f"{done} of {planned} cells judged."
    )


def _losses(frame: "pd.DataFrame") -> "pd.DataFrame":
    return frame.assign(loss=frame["log_loss"].fillna(frame["rmse"]))


def _grid(frame: "pd.DataFrame", models: list[str], measure: str, form: str = "{:.4f}") -> str:
    rows = [["table", *models]]
    for table, part in frame.groupby("table", sort=False):
        cells = [str(table)]
        for model in models:
            values = part.loc[part["model"] == model, measure].dropna()
            mean = form.format(values.mean()) if len(values) else NONE
            spread = f" ± {form.format(values.std())}" if len(values) > 1 else ""
            cells.append(mean + spread)
        rows.append(cells)
    return markdown(rows)


def _against(frame: "pd.DataFrame", models: list[str]) -> str:
    """Each model against tuned boosting, table by table and in all."""
    if REFERENCE not in models or len(models) < 2:
        return ""
    rows = [["model", "tables", "not worse by 1 SE", "better", "worse", "Wilcoxon p", "mean rank"]]
    ranks = mean_ranks(frame)
    for model in models:
        found = verdict(frame, model, REFERENCE) if model != REFERENCE else None
        rank = f"{ranks[model]:.2f}" if model in ranks else NONE
        if found is None:
            rows.append([model, *[NONE] * 5, rank])
            continue
        p = f"{found['p']:.3f}" if np.isfinite(found["p"]) else NONE
        counts = [str(found[name]) for name in ("tables", "not_worse", "better", "worse")]
        rows.append([model, *counts, p, rank])
    gaps = [["table", *(m for m in models if m != REFERENCE)]]
    per_model = {m: paired(frame, m, REFERENCE) for m in models if m != REFERENCE}
    for table in dict.fromkeys(frame["table"]):
        cells = [str(table)]
        for found in per_model.values():
            there = table in found.index and found.loc[table, "seeds"] > 0
            cells.append(_gap(found.loc[table]) if there else NONE)
        gaps.append(cells)
    return (
        "## Against tuned boosting\n\nMean paired difference in score over seeds, with its "
        "standard error.\n\n" + markdown(gaps) + "\n\n" + markdown(rows)
    )


def _gap(row: "pd.Series") -> str:
    spread = f" ± {row['se']:.4f}" if np.isfinite(row["se"]) else ""
    return f"{row['mean']:+.4f}{spread}"


def _explanations(frame: "pd.DataFrame") -> str:
    """Exactness, speed and orders of what explains itself: worst or mean over tables and seeds."""
    rows = [["model", "exactness (worst)", "additivity gap (worst)", "ms per row", *_ORDERS]]
    for model, part in frame.groupby("model", sort=False):
        timed: Any = part.dropna(subset="explain_seconds")
        if timed.empty:
            continue
        worst = [_small(float(timed[name].max())) for name in ("exactness", "additivity_gap")]
        shares = [timed[name].mean() for name in _ORDERS.values()]
        rows.append(
            [
                str(model),
                *worst,
                f"{1e3 * timed['explain_seconds'].mean():.3g}",
                *(f"{share:.1%}" if np.isfinite(share) else NONE for share in shares),
            ]
        )
    if len(rows) == 1:
        return ""
    return (
        "## Explanations\n\nLargest difference from enumeration of the public game (10 players at "
        "most, the others absent), relative to max(1, |v|); milliseconds to explain one row in a "
        "batch of 256; share of the absolute dividends by order.\n\n" + markdown(rows)
    )


_ORDERS = {
    "order 1": "order_1",
    "2": "order_2",
    "3": "order_3",
    "4": "order_4",
    "more": "order_more",
}


def _small(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else NONE


def _published(plan: "Plan") -> str:
    """The published recipe beside ours, where the folder holds such a run."""
    from baselines.plans import open_job
    from bench.published_suite import published_frame, published_tables

    folder = plan.folder / "published"
    if not folder.is_dir():
        return ""
    frame = published_frame(open_job(folder))
    return "" if frame.empty else "## The paper's recipe beside ours\n\n" + published_tables(frame)


def _notes(frame: "pd.DataFrame") -> str:
    from bench.problems.tabular import load

    said = [(name, load(name).notes) for name in dict.fromkeys(frame["table"]) if name in TABLES]
    lines = [f"- {name}: {notes}" for name, notes in said if notes]
    return "## Tables\n\n" + "\n".join(lines) if lines else ""
