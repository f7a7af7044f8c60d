"""What a run of cells will cost, said before it starts, from cells that were measured before.

Every judged cell leaves a line in the run's folder. Cells of a suite that were never measured are
forecast from stored ones: a product of what each of their words (table, model, ...) cost before.

    python -m bench.forecast FOLDER...      # keep what runs measured as the stored costs
"""

import contextlib
import json
import math
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from baselines import shards
from baselines.files import atomic_write
from bench.costs import cpu_clock
from bench.provenance import provenance

FILE = "costs.jsonl"
"""In the folder of a run: one line for each cell, `{"cell": ..., "name": ...,
"cpu_seconds": ..., "commit": ..., "date": ..., "hardware": ...}`; `cell` is `name` without seed."""

STORED = Path(__file__).resolve().parent / "cell_costs.json"
"""Kind of run -> cell without its seed -> CPU-seconds."""

Costs = dict[str, float]


@dataclass(frozen=True)
class Forecast:
    """What is left of a run.

    Args:
        cells: All cells of the run.
        left: Cells that are not judged yet.
        known: Of those, cells with a forecast.
        cpu_seconds: Of the cells with a forecast together.
        measured: Cells that this run itself has measured.
    """

    cells: int
    left: int
    known: int
    cpu_seconds: float
    measured: int

    def __str__(self) -> str:
        if not self.left:
            return f"{self.cells} cells, all judged"
        words = f"{self.cells} cells, {self.left} of them to judge"
        if not self.known:
            return f"{words}; none like them was measured yet, the bar will say how long"
        source = f"{self.measured} cells of this run" if self.measured else "earlier runs"
        of = "" if self.known == self.left else f" for {self.known} of them"
        return f"{words}: about {spoken(self.cpu_seconds)} of CPU time{of}, going by {source}"


def spoken(seconds: float) -> str:
    """A time in the unit that suits it.

    Args:
        seconds: Not negative.
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def without_seed(cell: Sequence[str]) -> str:
    """A cell by the words that its cost depends on.

    Args:
        cell: Such as `("adult", "harsanyi", "3")`.
    """
    return "/".join(word for word in cell if not re.fullmatch(r"\d+", word))


@contextlib.contextmanager
def cost_noted(folder: Path, cell: Sequence[str]) -> Iterator[None]:
    """Note what judging a cell takes, child processes included.

    Args:
        folder: Of the run.
        cell: Its words.
    """
    start = cpu_clock()
    yield
    said = {"cell": without_seed(cell), "cpu_seconds": cpu_clock() - start}
    line = json.dumps({**said, "name": "/".join(cell), **provenance()})
    with open(folder / FILE, "a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def read_costs(folder: Path) -> Costs:
    """Median CPU-seconds of each cell that a run has measured; a torn line counts for nothing.

    Args:
        folder: Of the run.
    """
    found: dict[str, list[float]] = {}
    path = folder / FILE
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            found.setdefault(str(said["cell"]), []).append(float(said["cpu_seconds"]))
    return {cell: statistics.median(seconds) for cell, seconds in found.items()}


def stored_costs(kind: str) -> Costs:
    """What earlier runs of a suite measured, as the package knows it.

    Args:
        kind: Name of the suite.
    """
    if not STORED.is_file():
        return {}
    return json.loads(STORED.read_text(encoding="utf-8"))["cells"].get(kind, {})


def guess(cell: str, known: Mapping[str, float]) -> float:
    """CPU-seconds of a cell: its own median, else the product of what its words cost elsewhere.

    Args:
        cell: Without its seed.
        known: Cells that were measured.

    Returns:
        Seconds; NaN where no measured cell shares a word with it.
    """
    if cell in known:
        return known[cell]
    logs = {name: math.log(max(seconds, 1e-3)) for name, seconds in known.items()}
    mean = statistics.fmean(logs.values()) if logs else math.nan
    effects = []
    for word in cell.split("/"):
        alike = [value for name, value in logs.items() if word in name.split("/")]
        effects += [statistics.fmean(alike) - mean] if alike else []
    return math.exp(mean + sum(effects)) if effects else math.nan


def forecast(plan: shards.Plan, cells: Sequence[Sequence[str]]) -> Forecast:
    """What is left of a run, by its own cells first and stored ones for the rest.

    Args:
        plan: Whose shards are the cells.
        cells: Their words, in order.
    """
    known = stored_costs(str(plan.config.get("kind", "")))
    left = [without_seed(cells[item]) for item in shards.pending(plan)]
    return foretell(left, len(cells), read_costs(plan.folder), known)


def foretell(left: Sequence[str], cells: int, own: Costs, known: Costs) -> Forecast:
    """What is left of a run, from what cells like its own did cost.

    Args:
        left: Cells that are not judged yet, without their seeds.
        cells: How many the run has in all.
        own: What cells of this run have cost.
        known: What cells of other runs have cost.
    """
    seconds = (guess(cell, known | own) for cell in left)
    found = [one for one in seconds if not math.isnan(one)]
    return Forecast(cells, len(left), len(found), sum(found), len(own))


def say_forecast(plan: shards.Plan, cells: Sequence[Sequence[str]]) -> None:
    """Say on the terminal what a run will do before it does it.

    Args:
        plan: Whose shards are the cells.
        cells: Their words, in order.
    """
    print(f"{plan.folder}: {forecast(plan, cells)}", file=sys.stderr)


def store(folders: Iterable[Path]) -> Path:
    """Keep what runs have measured in the package, over what it knew.

    Args:
        folders: Of runs.

    Returns:
        The file.
    """
    cells: dict[str, Costs] = {}
    if STORED.is_file():
        cells = json.loads(STORED.read_text(encoding="utf-8"))["cells"]
    for folder in folders:
        kind = str(shards.open_job(folder).config["kind"])
        rounded = {cell: float(f"{value:.3g}") for cell, value in read_costs(folder).items()}
        cells[kind] = cells.get(kind, {}) | rounded
    said = {"made": dict(provenance()), "cells": cells}
    atomic_write(STORED, (json.dumps(said, indent=1, sort_keys=True) + "\n").encode())
    return STORED


if __name__ == "__main__":
    print(f"wrote {store(map(Path, sys.argv[1:]))}")
