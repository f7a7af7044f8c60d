"""Tables that a report shows: leaderboard, accuracy, architectures, where each row comes from."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.pages import Cell, Table
from bench.pictures import cost_of

if TYPE_CHECKING:
    import pandas as pd

MISSING = "–"  # noqa: RUF001 - an en dash, as tables have it


def leaderboard_table(board: "pd.DataFrame") -> Table:
    """The columns of a leaderboard that a person reads first.

    Args:
        board: From `bench.leaderboard`.

    Returns:
        A table for terminal and page, in the order of the leaderboard.
    """
    records = board.to_dict("records")
    several = len({row["problem"] for row in records}) > 1
    columns = [
        *([("problem", "problem", "data and model that are explained")] if several else []),
        ("contender", "contender", "method, and its budget where it has one"),
        ("of", "explains", "own: a model explains itself; box: a method explains a given model"),
        ("error", "error", "root of squared error over squared true values, 0 is perfect"),
        ("95 % int.", "95 % interval", "of the error, over explained rows"),
        ("rank", "rank agreement", "Spearman correlation with the true values, 1 is perfect"),
        ("evals", "evaluations", "coalitions per row, counted where they are asked, else stated"),
        ("ms/row", "ms per row", "wall-clock time to explain one row"),
    ]
    rows = []
    for row in records:
        low, high = (math.sqrt(max(row[f"relative_error_{end}"], 0.0)) for end in ("lo", "hi"))
        interval = f"{short(low)}…{short(high)}" if math.isfinite(high) else MISSING
        rows.append(
            [
                *([Cell(row["problem"], row["problem"])] if several else []),
                Cell(row["method"], row["method"]),
                Cell(row["explains"], row["explains"]),
                Cell(short(row["nrmse"]) + ("*" if row["at_floor"] else ""), row["nrmse"]),
                Cell(interval, high),
                Cell(_fixed(row["spearman"], 4), row["spearman"]),
                Cell(_evaluations(row), cost_of(row)),
                Cell(short(1000 * row["seconds"]), 1000 * row["seconds"]),
            ]
        )
    truths = {
        f"{row['truth_kind']} ({row['truth_method']}, {_count(row['truth_evals'])} evaluations)"
        for row in records
        if row["truth_kind"] != "none"
    }
    note = f"Truth: {', '.join(sorted(truths))}." if truths else "No truth was given."
    if any(row["at_floor"] for row in records):
        note += " * not clearly above the noise of the truth, so not told apart from 0."
    if any(not math.isfinite(row["evals"]) and row["evals_claimed"] for row in records):
        note += " † as the model states it, in passes of its own."
    return Table("Leaderboard", columns, rows, note)


def accuracy_table(accuracy: "pd.DataFrame") -> Table:
    """Models on the same split: score, score with half of the players masked, seconds to fit.

    Args:
        accuracy: Columns `model`, `score`, `score_lo`, `score_hi`, `masked_score`, `fit_seconds`
            and `metric` (`accuracy` or `R2`).

    Returns:
        A table for terminal and page.
    """
    metric = str(accuracy["metric"].iloc[0])
    show = _percent if metric == "accuracy" else lambda value: _fixed(value, 3)
    columns = [
        ("model", "model", "trained on the same rows"),
        (metric, metric, "on the test rows"),
        ("95 % interval", "95 % interval", "over test rows, by bootstrap"),
        ("half masked", "half masked", f"{metric} with a random half of the players absent"),
        ("fit s", "seconds to fit", "wall clock"),
    ]
    rows = [
        [
            Cell(row["model"], row["model"]),
            Cell(show(row["score"]), row["score"]),
            Cell(f"{show(row['score_lo'])}…{show(row['score_hi'])}", row["score_lo"]),
            Cell(show(row["masked_score"]), row["masked_score"]),
            Cell(_fixed(row["fit_seconds"], 1), row["fit_seconds"]),
        ]
        for row in accuracy.to_dict("records")
    ]
    note = (
        "Half masked: the same random masks for each model; an absent value becomes the baseline."
    )
    return Table("Accuracy", columns, rows, note)


def architecture_table(frame: "pd.DataFrame") -> Table:
    """What each architecture costs in accuracy, time and model rows, and how right it explains.

    Args:
        frame: From `bench.architecture_tables.summary`.

    Returns:
        A table for terminal and page.
    """
    several = len({*frame["table"]}) > 1
    columns = [
        *([("table", "table", "data set")] if several else []),
        ("architecture", "architecture", "trained on the same rows as the others"),
        ("of", "explains", "own: a model explains itself; box: a method explains the black box"),
        ("score", "score", "accuracy or R2 on the test rows"),
        ("half masked", "half masked", "score with a random half of the columns absent"),
        ("price", "price of interpretability", "score of the black box less this one's"),
        ("95 % int.", "95 % interval", "of the price, over the same test rows, or over folds"),
        ("error", "explanation error", "root of squared error over squared true values"),
        ("leak", "leak", "AUC that a probe gains from seeing which players are shown"),
        ("judged", "judged", "accuracy of an independent reader of the shown players"),
        ("train s", "seconds to train", "CPU time, labels for the training included"),
        ("ms/row", "ms per row", "CPU time to explain one row"),
        ("rows", "model rows", "rows of the model that one explanation asks"),
        ("nulls", "null tests", "passed, of those that were run"),
    ]
    rows = []
    for row in frame.to_dict("records"):
        interval = MISSING
        if math.isfinite(row["price_lo"]):
            interval = f"{row['price_lo']:+.3f}…{row['price_hi']:+.3f}"
        passed = MISSING
        if math.isfinite(row["nulls_run"]):
            passed = f"{row['nulls_passed']:.0f} of {row['nulls_run']:.0f}"
        rows.append(
            [
                *([Cell(row["table"], row["table"])] if several else []),
                Cell(row["method"], row["method"]),
                Cell(row["explains"], row["explains"]),
                Cell(_fixed(row["score"], 3), row["score"]),
                Cell(_fixed(row["masked_score"], 3), row["masked_score"]),
                Cell(_signed(row["price"]), row["price"]),
                Cell(interval, row["price_lo"]),
                Cell(short(row["nrmse"]) + ("*" if row.get("at_floor") else ""), row["nrmse"]),
                Cell(_signed(row["leak_excess"]), row["leak_excess"]),
                Cell(_fixed(row["evalx_score"], 3), row["evalx_score"]),
                Cell(short(row["train_seconds"]), row["train_seconds"]),
                Cell(short(1000 * row["cpu_seconds"]), 1000 * row["cpu_seconds"]),
                Cell(_count(row["model_rows"]), row["model_rows"]),
                Cell(passed, row["nulls_passed"]),
            ]
        )
    note = "A selection has no error: it is no Shapley value. Ranks hold within one table only."
    if any(row.get("at_floor") for row in frame.to_dict("records")):
        note += " * not clearly above the noise of the truth, so not told apart from 0."
    return Table("Architectures", columns, rows, note)


MEASURES: tuple[tuple[str, str, str], ...] = (
    ("top_k", "top 3", "share of its three largest players that the truth does not contradict"),
    ("sign_errors", "sign errors", "share of the large values with a wrong sign"),
    ("efficiency_gap", "efficiency gap", "how far the values are from summing to the output"),
    ("seed_sensitivity", "seeds", "relative spread of the values between seeds"),
    ("max_sensitivity", "sensitivity", "largest relative change when a row moves a little"),
    *(
        (f"{metric}_{imputer}", f"{metric}, {imputer}", words)
        for metric, words in (
            ("insertion", "area as players join in its order: more is better"),
            ("deletion", "area as players leave in its order: less is better"),
            ("infidelity", "squared difference between what leaves and what the values say"),
        )
        for imputer in ("own", "baseline", "marginal", "conditional")
    ),
    ("imputer_rank_tau", "imputer tau", "1: the imputer does not decide the order of methods"),
    ("evalx_score", "judged", "accuracy of an independent reader of the shown players"),
    ("leak_excess", "leak", "AUC that a probe gains from seeing which players are shown"),
    ("rationale_auprc", "rationales", "average precision for the words that people marked"),
    ("order_1", "order 1", "share of the dividends that are single effects"),
    ("order_2", "order 2", "share of the dividends of pairs"),
    ("uninformative_mass", "all players", "share of the dividend of all players together"),
    ("nulls_passed", "nulls passed", "null tests passed"),
    ("nulls_run", "nulls run", "null tests run"),
    ("model_rows", "model rows", "rows of the model that one explanation asks"),
    ("flops", "FLOPs", "floating-point operations of one explanation, where torch runs the model"),
    ("cpu_seconds", "CPU s", "CPU-seconds of one explanation"),
    ("peak_memory", "peak bytes", "memory above what was held before, all rows together"),
    ("joules", "joules", "energy of one explanation, where the machine counts it"),
    ("break_even", "break-even", "explanations after which the training has paid for itself"),
)
"""Column of a leaderboard, heading, and a sentence that explains it."""


def measures_table(board: "pd.DataFrame") -> Table | None:
    """Every other measure that at least one contender has.

    Args:
        board: From `bench.leaderboard`.

    Returns:
        A table of one row per contender, or None where nothing was measured.
    """
    measured = board.columns[board.notna().any().to_numpy()]
    kept = [m for m in MEASURES if m[0] in measured]
    if not kept:
        return None
    columns = [
        ("problem", "problem", "data and model that are explained"),
        ("contender", "contender", "method, and its budget where it has one"),
        *((heading, heading, words) for _, heading, words in kept),
    ]
    rows = [
        [
            Cell(row["problem"], row["problem"]),
            Cell(row["method"], row["method"]),
            *(Cell(short(row[name]), row[name]) for name, _, _ in kept),
        ]
        for row in board.to_dict("records")
    ]
    return Table("More measures", columns, rows, folded=True)


def provenance_table(board: "pd.DataFrame") -> Table:
    """By which command, from which commit, on what and when each row was made.

    Args:
        board: From `bench.leaderboard`.
    """
    columns = [
        ("problem", "problem", "data and model that are explained"),
        ("contender", "contender", "method, and its budget where it has one"),
        ("command", "command", "makes this row again"),
        ("commit", "commit", "of the source tree; + where files differed from it"),
        ("hardware", "hardware", "processor, threads, accelerator"),
        ("date", "date", "UTC"),
        ("seed", "seed", "of the contender's draws"),
        ("game", "game", "hash of rows, model and value function"),
    ]
    rows = [
        [
            *(Cell(row[n], row[n]) for n in ("problem", "method", "command", "commit")),
            *(Cell(row[n], row[n]) for n in ("hardware", "date")),
            Cell(_count(row["seed"]), row["seed"]),
            Cell(row["game_id"], row["game_id"]),
        ]
        for row in board.to_dict("records")
    ]
    return Table("Where each row comes from", columns, rows, folded=True)


def short(value: float, digits: int = 2) -> str:
    """A number to a few digits, a dash for what is not finite.

    Args:
        value: The number.
        digits: Significant ones.
    """
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if 99.5 <= abs(value) < 1e6 else f"{value:.{digits}g}"


def _signed(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{value:+.3f}"


def _fixed(value: float, digits: int) -> str:
    return MISSING if not math.isfinite(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{100 * value:.1f}%"


def _evaluations(row: Mapping[str, Any]) -> str:
    counted = math.isfinite(row["evals"])
    return _count(cost_of(row)) + ("" if counted or not row["evals_claimed"] else "†")


def _count(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{value:,.0f}"
