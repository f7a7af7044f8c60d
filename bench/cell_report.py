"""The cells of a suite as a part of the report: who did how well on what, and by which command.

A suite of cells leaves `cells.parquet` (one row per cell, words first, then numbers), `run.json`
and `costs.jsonl` (what each cell cost, at which commit and when).
"""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.files import atomic_write
from bench.forecast import FILE as COSTS
from bench.pages import Cell, Section, Table
from bench.pictures import Picture, picture, spread_plot
from bench.report_tables import MISSING, short

if TYPE_CHECKING:
    import pandas as pd

FILE = "cells.parquet"

HEADLINES: dict[str, str] = {
    "score": "accuracy or R2 on the test rows, higher is better",
    "tpr_at_k": "share of the players that matter among the best ranked, higher is better",
    "mse": "squared error as a share of the squared values, lower is better",
}
"""Measure that stands for a suite, the first that its cells have -> what it is."""

KEYS = ("budget",)
"""Columns of numbers that tell cells apart, as words do."""


def note_run(folder: Path, suite: str, command: str) -> None:
    """Write down how a run of cells was made, for `harsanyi report`.

    Args:
        folder: Of the run.
        suite: Its name.
        command: What repeats it.
    """
    from bench.demo import versions
    from bench.provenance import provenance

    made = {"command": command, **provenance(), "versions": versions()}
    lead = "Every cell is one row, column and seed of the suite; numbers are means over seeds."
    note = {"title": f"Suite: {suite}", "lead": lead, "made": made}
    atomic_write(folder / "run.json", json.dumps(note, indent=1).encode())


def words_of(frame: "pd.DataFrame") -> list[str]:
    """Columns that say which cell it is, but for its seed: problem, method, then the budget.

    Args:
        frame: Cells of a suite.
    """
    words = [name for name in frame.columns if frame[name].dtype.kind in "OUT"]
    return [*words, *_keys(frame)]


def means(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Means over seeds, with how many there are of each.

    Args:
        frame: Cells of a suite.

    Returns:
        One row per cell without its seed: its words, the measures that anything has, `seeds`.
    """
    words = words_of(frame)
    numbers = [
        n for n in frame.columns if n not in (*words, "seed") and bool(frame[n].notna().any())
    ]
    grouped: Any = frame.groupby(words, sort=False, dropna=False)
    return grouped[numbers].mean().assign(seeds=grouped.size()).reset_index()


def headline_table(frame: "pd.DataFrame") -> Table:
    """The measure that stands for the suite: a row per problem, a column per method.

    Args:
        frame: Cells of a suite.

    Returns:
        A table for terminal and page.

    Raises:
        ValueError: If the cells have no such measure.
    """
    measure, found = _headline(frame), means(frame)
    row, column = words_of(frame)[:2]  # further words, such as `explains`, are of the method
    places = [row, *_keys(frame)]
    names = list(dict.fromkeys(found[column]))
    known = {
        (*(one[name] for name in places), one[column]): float(one[measure])
        for one in found.to_dict("records")
    }
    show = short if measure == "mse" else _share
    rows = []
    for place in dict.fromkeys(zip(*(found[name] for name in places), strict=True)):
        values = [known.get((*place, name), math.nan) for name in names]
        rows.append([_word(one) for one in place] + [Cell(show(v), v) for v in values])
    heads = [(name, name, "of the suite") for name in places]
    columns = [*heads, *((name, name, HEADLINES[measure]) for name in names)]
    seeds = sorted({int(n) for n in found["seeds"]})
    spoken = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    note = f"{measure}: {HEADLINES[measure]}. Means over {spoken} seed{'s' * (seeds[-1] > 1)}."
    return Table(measure, columns, rows, note)


def measures_table(frame: "pd.DataFrame") -> Table:
    """Every measure of every cell.

    Args:
        frame: Cells of a suite.
    """
    found, words = means(frame), words_of(frame)
    numbers = [name for name in found.columns if name not in words]
    columns = [(n, n.replace("_", " "), "of the suite") for n in (*words, *numbers)]
    rows = [
        [
            *(_word(one[n]) for n in words),
            *(Cell(short(one[n], 3), float(one[n])) for n in numbers),
        ]
        for one in found.to_dict("records")
    ]
    return Table("Every measure", columns, rows, folded=True)


def made_table(folder: Path) -> Table | None:
    """At which commit and when each cell was judged, and what it took.

    Args:
        folder: Of the run.

    Returns:
        A folded table, or None where the run noted nothing.
    """
    rows, path = [], folder / COSTS
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line torn by a kill
            said: Mapping[str, Any] = json.loads(line)
            seconds = float(said["cpu_seconds"])
            words = [str(said.get(name, "")) for name in ("name", "commit", "date")]
            words[0] = words[0] or str(said["cell"])
            rows.append([*map(_word, words), Cell(short(seconds), seconds)])
    columns = [
        ("cell", "cell", "row, column and seed"),
        ("commit", "commit", "of the source tree; + where files differed from it"),
        ("date", "date", "UTC"),
        ("CPU s", "CPU s", "that judging it took"),
    ]
    return Table("Where each cell comes from", columns, rows, folded=True) if rows else None


def cells_section(frame: "pd.DataFrame", folder: Path) -> Section:
    """The cells of a run: the headline, its picture, all measures, where they come from.

    Args:
        frame: Cells of a suite.
        folder: Of the run.
    """
    made = made_table(folder)
    return Section(
        "Who did how well on what",
        "",
        [headline_table(frame), measures_table(frame), *([made] if made else [])],
        _pictures(frame),
    )


def _pictures(frame: "pd.DataFrame") -> Sequence[Picture]:
    measure, found = _headline(frame), means(frame)
    row, column = words_of(frame)[:2]
    drawn: Any = found[found[measure].notna()]
    if drawn[column].nunique() < 2:
        return []
    places: Any = drawn.groupby([row, *_keys(frame)], sort=False)[measure]
    if measure == "mse":
        said, gap = "error over the least of the problem", drawn[measure] / places.transform("min")
    else:
        said, gap = (
            f"{measure} less the best of the problem",
            drawn[measure] - places.transform("max"),
        )
    drawn = drawn.assign(gap=gap)
    middle = drawn.groupby(column, sort=False)["gap"].median()
    alt = f"Median {said}: " + "; ".join(f"{name} {value:.3g}" for name, value in middle.items())
    caption = "A faint dot is one problem, the large one their median."
    return [picture(spread_plot(drawn, column, "gap", said), alt, caption)]


def _keys(frame: "pd.DataFrame") -> list[str]:
    return [name for name in KEYS if name in frame.columns]


def _headline(frame: "pd.DataFrame") -> str:
    for name in HEADLINES:
        if name in frame.columns:
            return name
    raise ValueError(f"these cells have none of {', '.join(HEADLINES)}; it is no run of a suite.")


def _share(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else MISSING


def _word(value: Any) -> Cell:  # noqa: ANN401 - a word, or a number that tells cells apart
    return Cell(str(value), value if isinstance(value, (int, float)) else str(value))
