"""Tables of architectures: prices paired on the same rows, means over folds, the page."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.architectures import REFERENCE
from bench.board_jobs import Cell, Judged
from bench.costs import break_even
from bench.evaluation import Evaluation
from bench.intervals import Interval, mean_interval
from bench.pictures import ROUNDING

if TYPE_CHECKING:
    import pandas as pd

ABOUT = (
    "Score: accuracy or R2 on the test rows, whole and with a random half of the columns absent. "
    "Price: score of the black box less the architecture's, on the same test rows, "
    "with a 95 % interval: paired over rows for one or two folds, over folds (Student's t) for more; below "
    "zero the architecture is the better model. Methods that explain the black box have its score, and "
    "so no price. Error: root of squared error over squared true values, against truth of the model's "
    "own game (`own`) or of the black box (`box`); * marks what the truth's own noise cannot tell "
    "from no error; a selection is no Shapley value and has none. Leak: AUC that a probe gains from "
    "seeing which players are shown, with the mean of the folds' 95 % intervals; below zero they only "
    "add noise to the probe. Judged: accuracy of an independent reader of a quarter of the players, or "
    "of the method's own selection. Both are for classes only. Times are CPU-seconds of one process; "
    "training includes the box and the labels of an explainer that is trained on it."
)


def with_prices(judged: Sequence[tuple[Cell, Judged]]) -> list[Evaluation]:
    """Evaluations with the price of interpretability of each: what accuracy it costs.

    Args:
        judged: Cells `(table, seed, architecture)` and what judging them gave.

    Returns:
        Evaluations whose facts hold `reference_score` and `price`, `price_lo`, `price_hi`: loss
        less the reference's on the same test rows, with a paired bootstrap interval; those of
        amortized explainers `break_even` too, against the sampling that explains the same box.
    """
    references = {cell[:2]: one for cell, one in judged if cell[2] == REFERENCE}
    found = []
    for cell, one in judged:
        facts = dict(one.evaluation.facts)
        if cell[:2] in references:
            theirs = references[cell[:2]].answers["loss"]
            gap = price_interval([one.answers["loss"] - theirs])
            facts |= {"reference_score": 1 - float(theirs.mean()), "price": gap.value}
            facts |= {"price_lo": gap.low, "price_hi": gap.high}
            other = references[cell[:2]].evaluation.facts
            if facts["method_class"] == "amortized":
                extra = facts["train_seconds"] - other["train_seconds"]
                facts["break_even"] = break_even(extra, facts["cpu_seconds"], other["cpu_seconds"])
        found.append(dataclasses.replace(one.evaluation, facts=facts))
    return found


def price_interval(gaps: Sequence[np.ndarray]) -> Interval:
    """Mean of paired losses over folds with its interval.

    Args:
        gaps: Of each fold the differences of its test rows; folds of three or more weigh alike.

    Returns:
        Over test rows for one or two folds, whose spread nobody knows; over folds for more, which
        is wider and honest about the training's own chance; beyond 7 folds by bootstrap, below by
        Student's t.
    """
    from scipy import stats

    if len(gaps) < 3:
        return mean_interval(np.concatenate(gaps)[None])
    means = np.array([gap.mean() for gap in gaps])
    if len(means) > 7:
        return mean_interval(means[None])
    reach = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return Interval(float(means.mean()), float(means.mean() - reach), float(means.mean() + reach))


def summary(judged: Sequence[tuple[Cell, Judged]]) -> "pd.DataFrame":
    """One row for each table and architecture, over its folds.

    Args:
        judged: Cells and what judging them gave.

    Returns:
        Columns `table`, `method`, `metric`, `explains`, `seeds`, `score`, `masked_score`, `price`,
        `price_lo`, `price_hi`, `nrmse`, `at_floor`, `spearman`, `leak_excess` with its ends, `evalx_score`,
        `train_seconds`, `seconds`, `cpu_seconds`, `model_rows`, `nulls_passed`, `nulls_run`.
    """
    import pandas as pd

    from bench.standings import leaderboard

    losses_of = {cell: one.answers["loss"] for cell, one in judged}
    boards: dict[tuple[str, str], list[Any]] = {}
    for cell, one in judged:
        row = leaderboard([one.evaluation]).iloc[0]
        boards.setdefault((cell[0], cell[2]), []).append((cell, row))
    found = []
    for (table, method), members in boards.items():
        rows = pd.DataFrame([row for _, row in members])
        pairs = [(cell, (cell[0], cell[1], REFERENCE)) for cell, _ in members]
        gaps = [losses_of[one] - losses_of[two] for one, two in pairs if two in losses_of]
        price = price_interval(gaps) if gaps else Interval(np.nan, np.nan, np.nan)
        means: Mapping[str, Any] = rows[list(_MEANS)].mean(numeric_only=True).to_dict()
        found.append(
            {
                "table": table,
                "method": method,
                "metric": "accuracy" if rows["task"].iloc[0] == "classification" else "R2",
                "explains": rows["explains"].iloc[0],
                "method_class": rows["method_class"].iloc[0],
                "seeds": len(rows),
                "score": means["model_score"],
                "price": price.value,
                "price_lo": price.low,
                "price_hi": price.high,
                "at_floor": bool(rows["at_floor"].all()),
                "commit": ", ".join(sorted({*rows["commit"]})),
                **means,
            }
        )
    return pd.DataFrame(found)


_MEANS = (
    *("model_score", "masked_score", "nrmse", "spearman", "efficiency_gap", "seed_sensitivity"),
    *("max_sensitivity", "leak_excess", "leak_excess_lo", "leak_excess_hi", "evalx_score"),
    *("train_seconds", "seconds", "cpu_seconds", "model_rows", "evals", "flops", "peak_memory"),
    *("nulls_passed", "nulls_run"),
)


def summary_page(frame: "pd.DataFrame", made: Mapping[str, Any], command: str) -> str:
    """The summary as Markdown.

    Args:
        frame: From `summary`.
        made: Commit, hardware, date.
        command: What made it.
    """
    commits = ", ".join(dict.fromkeys(frame["commit"]))
    lines = [
        "# Architectures on the same folds",
        "",
        (
            f"`{command}`, judged at commit {commits}, {made.get('hardware')}; this page at "
            f"{made.get('commit')}, {made.get('date')}."
        ),
        "",
        ABOUT,
    ]
    columns = {
        "method": "architecture",
        "explains": "explains",
        "score": "score",
        "masked_score": "half masked",
        "price": "price",
        "nrmse": "error",
        "leak_excess": "leak",
        "evalx_score": "judged",
        "train_seconds": "train s",
        "cpu_seconds": "ms per row",
        "model_rows": "model rows",
    }
    for table in frame["table"].unique():
        part: Any = frame[frame["table"] == table]
        metric, seeds = part["metric"].iloc[0], int(part["seeds"].max())
        folds = f"{seeds} fold{'s' if seeds > 1 else ''}"
        lines += ["", f"## {table} ({metric}, {folds})", ""]
        lines.append("| " + " | ".join(columns.values()) + " |")
        lines.append("| --- | --- |" + " ---: |" * (len(columns) - 2))
        for row in part.to_dict("records"):
            cells = [_cell(name, row) for name in columns]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(name: str, row: Mapping[str, Any]) -> str:
    value = row[name]
    if isinstance(value, str):
        return value
    if not np.isfinite(value):
        return "-"
    if name == "price" and row["explains"] == "box":
        return "0"
    if name == "nrmse":
        return f"{value:.3g}{' *' if row['at_floor'] and value > ROUNDING else ''}"
    if name in ("price", "leak_excess"):
        low, high = row[f"{name}_lo"], row[f"{name}_hi"]
        return f"{value:.3f} ({low:.3f} to {high:.3f})" if np.isfinite(low) else f"{value:.3f}"
    if name == "cpu_seconds":
        return f"{1000 * value:.3g}"
    return f"{value:.3f}" if name.endswith("score") or name == "score" else f"{value:.3g}"
