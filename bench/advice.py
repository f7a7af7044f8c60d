"""Advice: which method fits which need, read off what a run measured."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bench.pages import Cell, Table
from bench.pictures import ROUNDING, cost_of

if TYPE_CHECKING:
    import pandas as pd

CLOSE = 0.1
"""Error up to which a reader's picture of an explanation does not change."""

Row = Mapping[str, Any]


def which_method(
    board: "pd.DataFrame", architectures: "pd.DataFrame | None" = None, *, close: float = CLOSE
) -> Table:
    """A table from need to method, with the figures that speak for it.

    Args:
        board: From `bench.leaderboard`.
        architectures: From `bench.architecture_tables.summary`, or None.
        close: Error that counts as close enough.

    Returns:
        One row per need that a judged method meets; none is invented.
    """
    records: list[Row] = board.to_dict("records")  # pyright: ignore[reportAssignmentType]
    box = [row for row in records if row["explains"] == "box" and math.isfinite(row["nrmse"])]
    own = [] if architectures is None else architectures.to_dict("records")
    found: list[tuple[str, str, str]] = []

    def add(need: str, method: str | None, why: str) -> None:
        if method is not None:
            found.append((need, method, why))

    exact = _by_method([r for r in own if r["explains"] == "own" and r["nrmse"] <= ROUNDING])
    best = _best(exact, lambda rows: _mean(rows, "score"))
    add(
        "I may choose the model, and want exact values with it",
        best,
        ""
        if best is None
        else f"score {_mean(exact[best], 'score'):.3f}, "
        f"price {_mean(exact[best], 'price'):+.3f} against the black box, "
        f"{1000 * _mean(exact[best], 'cpu_seconds'):.2g} ms per row",
    )
    selectors = _by_method([r for r in own if r["method_class"] == "selected"])
    best = _best(selectors, lambda rows: _mean(rows, "evalx_score"))
    add(
        "I may choose the model, and want to show a few columns only",
        best,
        ""
        if best is None
        else f"an independent reader of its columns is right in "
        f"{100 * _mean(selectors[best], 'evalx_score'):.0f} %, "
        f"leak {_mean(selectors[best], 'leak_excess'):+.3f} AUC",
    )
    methods = _by_method(box)
    near = {name: rows for name, rows in methods.items() if _mean(rows, "nrmse") <= close}
    best = _best(near, lambda rows: -_mean_cost(rows))
    add(
        f"I have a model, and an error of {100 * close:.0f} % is close enough",
        best,
        ""
        if best is None
        else f"error {_mean(near[best], 'nrmse'):.2g} at "
        f"{_mean_cost(near[best]):,.0f} evaluations per row, the fewest",
    )
    best = _best(methods, lambda rows: (-round(_mean(rows, "nrmse"), 7), -_mean_cost(rows)))
    add(
        "I have a model, and want the least error",
        best,
        ""
        if best is None
        else f"error {_mean(methods[best], 'nrmse'):.2g} at "
        f"{_mean_cost(methods[best]):,.0f} evaluations per row",
    )
    cheapest = min((_mean_cost(rows) for rows in methods.values()), default=math.nan)
    poor = {n: r for n, r in methods.items() if _mean_cost(r) <= 1.5 * cheapest}
    if len(methods) > len(poor):
        best = _best(poor, lambda rows: -_mean(rows, "nrmse"))
        add(
            "I have a model, and every evaluation is dear",
            best,
            ""
            if best is None
            else f"error {_mean(poor[best], 'nrmse'):.2g} at only "
            f"{_mean_cost(poor[best]):,.0f} evaluations per row",
        )
    learned = _by_method([r for r in [*records, *own] if r.get("method_class") == "amortized"])
    best = _best(learned, lambda rows: -_mean(rows, "nrmse"))
    add(
        "I have a model, and millions of rows to explain",
        best,
        ""
        if best is None
        else f"error {_mean(learned[best], 'nrmse'):.2g}, "
        f"{1000 * _mean(learned[best], 'cpu_seconds'):.2g} ms per row once trained",
    )
    columns = [
        ("need", "need", "what you have and want"),
        ("method", "method", "the judged method that meets it best"),
        ("why", "figures of this run", "means over its problems"),
    ]
    return Table("Which method for me", columns, [[Cell(w, w) for w in row] for row in found])


def _by_method(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by method, of the methods that were judged on as many problems as any other."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["method"], []).append(row)
    most = max((len(members) for members in found.values()), default=0)
    return {name: members for name, members in found.items() if len(members) == most}


def _best(methods: Mapping[str, Sequence[Row]], score: Callable[[Any], Any]) -> str | None:
    """The method with the largest score; the first of equal ones."""
    scored = {name: score(rows) for name, rows in methods.items()}
    known = {n: v for n, v in scored.items() if isinstance(v, tuple) or not math.isnan(v)}
    return max(known, key=lambda name: known[name]) if known else None


def _mean(rows: Sequence[Row], name: str) -> float:
    values = [row[name] for row in rows if math.isfinite(row[name])]
    return sum(values) / len(values) if values else math.nan


def _mean_cost(rows: Sequence[Row]) -> float:
    costs = [cost_of(row) for row in rows]
    return sum(costs) / len(costs)
