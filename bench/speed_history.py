"""Speed history: a run of the speed suites against the stored one, machine against machine.

`make bench` leaves pytest-benchmark's JSON in `out/speed/speed.json`; `harsanyi report out/speed`
sets it beside `docs/results/speed.json`, which `make bench STORE=1` replaces.
"""

import dataclasses
import json
import math
import statistics
from os import PathLike
from pathlib import Path
from typing import Any

from baselines.files import atomic_write
from bench.pages import Cell, Table

FILE = "speed.json"
SLOWER = 1.3
"""A benchmark is a regression when it slowed down by this factor more than the others did."""


@dataclasses.dataclass(frozen=True)
class Speeds:
    """The fastest round of every benchmark of a run.

    Args:
        seconds: Name -> least seconds of a round: what load on a machine changes least.
        extra: Name -> what the benchmark noted beside its time, such as accuracy.
        made: Commit, machine, date.
    """

    seconds: dict[str, float]
    extra: dict[str, dict[str, Any]]
    made: dict[str, str]


def stored_run() -> Path | None:
    """The stored run of a source tree, or None where there is none."""
    path = Path(__file__).resolve().parents[1] / "docs" / "results" / FILE
    return path if path.is_file() else None


def read_speeds(path: str | PathLike[str]) -> Speeds:
    """A run from pytest-benchmark's JSON, or from what `store` wrote.

    Args:
        path: The file.

    Raises:
        ValueError: If it is neither.
    """
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
        if "seconds" in said:
            return Speeds(said["seconds"], said["extra"], said["made"])
        runs = {run["fullname"]: run for run in said["benchmarks"]}
        commit = said.get("commit_info", {})
        machine = said.get("machine_info", {})
        made = {
            "commit": str(commit.get("id", ""))[:12] + ("+" if commit.get("dirty") else ""),
            "machine": str(machine.get("cpu", {}).get("brand_raw", machine.get("machine", ""))),
            "date": str(said.get("datetime", "")),
        }
        return Speeds(
            {name: float(run["stats"]["min"]) for name, run in runs.items()},
            {name: dict(run.get("extra_info", {})) for name, run in runs.items()},
            made,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is truncated or no run of the speed suites ({error}); make bench writes one."
        ) from error


def store(run: str | PathLike[str], path: str | PathLike[str]) -> Speeds:
    """Keep a run in the small form that is committed.

    Args:
        run: pytest-benchmark's JSON.
        path: File to write.

    Returns:
        The run.
    """
    speeds = read_speeds(run)
    said = dataclasses.asdict(speeds)
    atomic_write(Path(path), (json.dumps(said, indent=1, sort_keys=True) + "\n").encode())
    return speeds


def slowdowns(now: Speeds, before: Speeds) -> dict[str, float]:
    """How much slower each benchmark became than the machine did.

    Args:
        now: A run.
        before: An earlier one, maybe of another machine.

    Returns:
        Name -> ratio of seconds over the median ratio of all benchmarks that both have; with
        fewer than three of those, the plain ratio.
    """
    shared = [name for name in now.seconds if before.seconds.get(name, 0) > 0]
    ratios = {name: now.seconds[name] / before.seconds[name] for name in shared}
    machine = statistics.median(ratios.values()) if len(ratios) >= 3 else 1.0
    return {name: ratio / machine for name, ratio in ratios.items()}


def regressions(now: Speeds, before: Speeds) -> list[str]:
    """Benchmarks that slowed down by `SLOWER` more than the others, the worst first.

    Args:
        now: A run.
        before: An earlier one.
    """
    found = slowdowns(now, before)
    slow = [name for name, ratio in found.items() if ratio > SLOWER]
    return sorted(slow, key=lambda name: -found[name])


def speed_table(now: Speeds, before: Speeds | None = None) -> Table:
    """A run beside an earlier one, regressions first.

    Args:
        now: A run.
        before: An earlier one, or None.

    Returns:
        A table for terminal and page.
    """
    ratios = {} if before is None else slowdowns(now, before)
    columns = [
        ("benchmark", "benchmark", "test of bench/speed"),
        ("ms", "ms", "fastest round"),
        ("ms before", "ms before", "fastest round of the stored run"),
        ("slower", "slower by", "factor beyond what the machine itself is slower by"),
        ("verdict", "verdict", f"regression: slower by more than {SLOWER}"),
        ("noted", "noted beside it", "accuracy, ratios to the bare forward"),
    ]
    rows = []
    for name in sorted(now.seconds, key=lambda name: -ratios.get(name, 0.0)):
        earlier = float("nan") if before is None else before.seconds.get(name, float("nan"))
        ratio = ratios.get(name, float("nan"))
        verdict = "new" if math.isnan(ratio) else "regression" if ratio > SLOWER else "as before"
        noted = ", ".join(
            f"{key} {_brief(value)}" for key, value in now.extra.get(name, {}).items()
        )
        short = name.rpartition("/")[2]
        rows.append(
            [
                Cell(short, short),
                Cell(f"{1000 * now.seconds[name]:.3g}", 1000 * now.seconds[name]),
                Cell("" if math.isnan(earlier) else f"{1000 * earlier:.3g}", 1000 * earlier),
                Cell("" if math.isnan(ratio) else f"{ratio:.2f}", ratio),
                Cell(verdict, verdict),
                Cell(noted, noted),
            ]
        )
    note = "No stored run to compare with."
    if before is not None:
        words = ", ".join(f"{key} {value}" for key, value in before.made.items())
        note = f"Stored run: {words}."
    return Table("Speed", columns, rows, note)


def _brief(value: Any) -> str:  # noqa: ANN401 - what a benchmark noted
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def compared(path: str | PathLike[str]) -> Table:
    """A run beside the stored one, where there is one.

    Args:
        path: pytest-benchmark's JSON.
    """
    kept = stored_run()
    return speed_table(read_speeds(path), None if kept is None else read_speeds(kept))


if __name__ == "__main__":
    import sys

    store(sys.argv[1], sys.argv[2])
    print(f"stored {sys.argv[2]}")
