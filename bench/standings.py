"""Standings: evaluations as one table whose columns never change order or type."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

from baselines.explanation import Explanation
from baselines.torch_calls import as_list
from bench.evaluation import Evaluation, paired_difference
from bench.intervals import Interval
from bench.null_tests import LIMITS

if TYPE_CHECKING:
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

SUITE_VERSION = "2"

TIMED = ("seconds", "cpu_seconds", "flops", "peak_memory", "joules")
"""What an explanation costs; all but `flops` differ from run to run."""

UNREPEATED = (
    *("seconds", "cpu_seconds", "peak_memory", "joules", "train_seconds", "break_even"),
    *("hardware", "date"),
)
"""Columns that a run repeated on another day may change; every other one it repeats bit for bit."""

# Metric -> column; each has `_lo` and `_hi` beside it.
MEASURED = {
    "squared_error": "mse",
    "relative_error": "relative_error",
    "spearman": "spearman",
    "top_k": "top_k",
    "sign_errors": "sign_errors",
}
CURVES = tuple(
    f"{metric}_{imputer}"
    for metric in ("insertion", "deletion", "infidelity")
    for imputer in ("own", "baseline", "marginal", "conditional")
)
WORDS = (
    *("suite_version", "problem", "game_id", "task", "modality", "scale", "value_function"),
    *("explains", "method", "method_class", "estimand", "truth_kind", "truth_method"),
)
NUMBERS = (
    *("n_explicands", "n_players", "n_outputs", "background_rows", "truth_evals"),
    *("truth_reliability", "noise_floor", "model_score", "reference_score"),
    *("price", "price_lo", "price_hi", "masked_score"),
    *(f"{column}{end}" for column in MEASURED.values() for end in ("", "_lo", "_hi")),
    *("rmse", "nrmse", "spearman_ceiling", "spearman_ceiled", "efficiency_gap"),
    *(
        "seed_sensitivity",
        "max_sensitivity",
        *CURVES,
        "imputer_rank_tau",
        "rank",
        "gap_to_best",
        "gap_to_best_lo",
        "gap_to_best_hi",
    ),
    *("leak_excess", "leak_excess_lo", "leak_excess_hi", "evalx_score", "rationale_auprc"),
    *(f"order_{size}" for size in ("1", "2", "3", "4", "more")),
    *("uninformative_mass", "additivity_gap", "nulls_passed", "nulls_run"),
    *(f"null_{name}" for name in LIMITS),
    *("budget", "evals", "model_rows", "evals_claimed", "repeats", "seed", "train_seconds"),
    *("break_even", *TIMED),
)
FLAGS = ("exact", "at_floor")
MADE = ("hardware", "commit", "date", "command")
COLUMNS = (*WORDS, *FLAGS, *NUMBERS, *MADE)
"""Columns of every leaderboard, in order: words, flags, float64 numbers, words."""


def leaderboard(evaluations: Sequence[Evaluation]) -> "pd.DataFrame":
    """The table of several contenders, the most faithful of each game first.

    Fidelity is ranked only within one game (`game_id`): `rank`, and `gap_to_best`, the paired
    difference in squared error to the best one of that game, stand for nothing across games. An
    unmeasured number is NaN. `at_floor` marks errors that are not 3 times above the truth's own
    noise, among which no order is declared.

    Args:
        evaluations: One per contender, problem and budget.

    Returns:
        A DataFrame with the columns `COLUMNS`; write it with `to_parquet`.

    Raises:
        ValueError: If there are no evaluations.

    Example:
        >>> from bench import evaluate, ground_truth, leaderboard, sampled
        >>> from bench.problems.catalogue import named_problem
        >>> airport = named_problem("synthetic/airport")
        >>> def judged(name):
        ...     explainer = sampled(name, budget=40)(airport)
        ...     return evaluate(explainer, airport, ground_truth(airport), name=name)
        >>> table = leaderboard([judged("permutation_shapley"), judged("kernel_shap")])
        >>> len(table)
        2
    """
    import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

    if not evaluations:
        raise ValueError("evaluations is empty; a leaderboard needs one.")
    rows = [_row(one) for one in evaluations]
    games: dict[str, list[int]] = {}
    for i, one in enumerate(evaluations):
        if "squared_error" in one.scores:
            games.setdefault(one.game_id, []).append(i)
    for members in games.values():
        members = sorted(members, key=lambda i: (rows[i]["mse"], i))
        for rank, i in enumerate(members, start=1):
            gap = paired_difference(evaluations[i], evaluations[members[0]])
            rows[i] |= {"rank": rank, **_spread("gap_to_best", gap)}
    for game in {one.game_id for one in evaluations}:
        members = [row for row in rows if row["game_id"] == game]
        for row in members:
            row["imputer_rank_tau"] = imputer_rank_tau(members)
    table: Any = pd.DataFrame(rows, columns=list(COLUMNS))  # pandas types its columns in part
    for column in NUMBERS:
        table[column] = table[column].astype("float64")
    for column in FLAGS:
        table[column] = table[column].astype("bool")
    for column in (*WORDS, *MADE):
        table[column] = table[column].astype("str")
    return table.sort_values(["problem", "game_id", "rank", "method"], kind="stable").reset_index(
        drop=True
    )


def imputer_rank_tau(rows: Sequence[Mapping[str, Any]], metric: str = "deletion") -> float:
    """How far the order of the methods of one game stays the same whatever fills absent players.

    Args:
        rows: Rows of a leaderboard, one per method.
        metric: `"deletion"`, `"insertion"` or `"infidelity"`.

    Returns:
        Kendall's tau between the orders under two imputers, mean over all pairs of imputers; NaN
        with fewer than two methods or imputers. At 1 the choice of imputer decides nothing.
    """
    columns = [name for name in CURVES if name.startswith(f"{metric}_")]
    scores = np.array([[row.get(name, np.nan) for name in columns] for row in rows])
    scores = scores[:, np.isfinite(scores).all(0)]
    if len(rows) < 2 or scores.shape[1] < 2:
        return np.nan
    library: Any = stats  # scipy declares no types
    taus = [
        np.asarray(library.kendalltau(scores[:, i], scores[:, j]))[0]
        for i in range(scores.shape[1])
        for j in range(i)
    ]
    return float(np.mean(taus))


def _row(one: Evaluation) -> dict[str, Any]:
    explanation, truth = one.explanation, one.truth
    b, n, k = explanation.shape
    row: dict[str, Any] = {
        "suite_version": SUITE_VERSION,
        "problem": one.problem.name,
        "game_id": one.game_id,
        "task": one.problem.task,
        "modality": one.problem.modality,
        "scale": one.problem.scale,
        "value_function": one.problem.value_function,
        "explains": one.explains,
        "method": one.method,
        "method_class": method_class(one),
        "estimand": explanation.estimand,
        "exact": explanation.exact,
        "n_explicands": b,
        "n_players": n,
        "n_outputs": k,
        "background_rows": one.problem.background_rows,
        "truth_kind": "none" if truth is None else "exact" if truth.exact else "sampled",
        "truth_method": "" if truth is None else truth.method,
        "truth_evals": np.nan if truth is None else truth.n_evals,
    }
    for metric, column in MEASURED.items():
        row |= _spread(column, one.interval(metric))
    for metric in ("efficiency_gap", "seed_sensitivity", "max_sensitivity", *CURVES):
        row[metric] = one.mean(metric)
    row |= _diagnosed(explanation)
    ceiling = _mean(one.ceilings.get("spearman"))
    floor = _mean(one.ceilings.get("squared_error"))
    row |= {
        "rmse": np.sqrt(max(row["mse"], 0.0)) if "squared_error" in one.scores else np.nan,
        "nrmse": np.sqrt(max(row["relative_error"], 0.0))
        if np.isfinite(row["relative_error"])
        else np.nan,
        "noise_floor": floor,
        "truth_reliability": ceiling**2,
        "spearman_ceiling": ceiling,
        "spearman_ceiled": row["spearman"] / ceiling if ceiling > 0 else np.nan,
        "at_floor": bool(floor > 0 and row["mse"] < 3 * floor),
    }
    unsaid = dict.fromkeys((*WORDS, *MADE), "")
    return unsaid | row | {name: one.facts[name] for name in COLUMNS if name in one.facts}


def method_class(one: Evaluation) -> str:
    """How a contender comes by its values.

    Args:
        one: An evaluation.

    Returns:
        `"structural"` for a model that is exact by construction, `"enumerated"`, `"sampled"`,
        `"selected"`, or `"heuristic"`; whoever made the evaluation may have said another in
        its facts, such as `"amortized"`.
    """
    if "method_class" in one.facts:
        return str(one.facts["method_class"])
    if one.explanation.exact:
        return "structural" if one.explains == "own" else "enumerated"
    if one.explanation.estimand == "selection":
        return "selected"
    sampled = one.explanation.estimand in ("shapley", "owen", "banzhaf")
    return "sampled" if sampled else "heuristic"


def _diagnosed(explanation: Explanation) -> dict[str, float]:
    """Columns that an explanation brings along: order spectrum and additivity gap."""
    found: dict[str, float] = {}
    gap = explanation.diagnostics.get("additivity_gap")
    if gap is not None:
        found["additivity_gap"] = float(gap.abs().max())
    spectrum = explanation.diagnostics.get("order_spectrum")
    if spectrum is not None and spectrum.ndim >= 1:
        by_order = spectrum.mean(-1) if spectrum.ndim == 3 else spectrum
        shares: list[float] = as_list(by_order.double().reshape(-1, by_order.shape[-1]).mean(0))
        found |= {f"order_{size}": sum(shares[size - 1 : size]) for size in range(1, 5)}
        found |= {"order_more": sum(shares[4:]), "uninformative_mass": shares[-1]}
    return found


def _spread(column: str, interval: Interval) -> dict[str, float]:
    return {column: interval.value, f"{column}_lo": interval.low, f"{column}_hi": interval.high}


def _mean(values: "np.ndarray | None") -> float:
    if values is None or np.isnan(values).all():
        return np.nan
    return float(np.nanmean(values))
