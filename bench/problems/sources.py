"""Tables by name: those of the suite, a file of the user's, a data set of the hub."""

import functools
from pathlib import Path
from typing import Any

from bench.problems.tabular import TABLES, Table, load

HUB = "hub:"


@functools.lru_cache(maxsize=4)
def table_by_name(name: str) -> Table:
    """A table by name.

    Args:
        name: One of the suite's; `FILE.csv:TARGET` (or TSV, or parquet) with the column to predict;
            `hub:OWNER/NAME:TARGET` for the training part of a data set read through `datasets`,
            `hub:OWNER/NAME@REVISION:TARGET` for one revision of it.

    Returns:
        The table; missing values stay missing.

    Raises:
        ValueError: If there is no such table, or the target cannot be used.
        FileNotFoundError: If there is no such file.
    """
    if name in TABLES:
        return load(name)
    place, _, target = name.rpartition(":")
    if place.startswith(HUB) and target:
        return _table(_hub_frame(place.removeprefix(HUB)), target, place)
    if place and Path(place).suffix in (".csv", ".tsv", ".gz", ".parquet"):
        from bench.frames import read_frame

        return _table(read_frame(place), target, place)
    raise ValueError(
        f"table {name!r} is unknown; choose from {', '.join(TABLES)}, or pass FILE.csv:TARGET or "
        "hub:OWNER/NAME:TARGET."
    )


def is_named_table(name: str) -> bool:
    """Whether a name is one of the suite's tables or has the form of a file or hub table.

    Args:
        name: As `table_by_name` takes it.
    """
    return name in TABLES or ":" in name


def _table(frame: Any, target: str, place: str) -> Table:  # noqa: ANN401 - a pandas frame
    from bench.frames import take_target

    found = take_target(frame, target, name=place)
    stem = Path(place).name.split(".")[0]
    X: Any = found.X.rename(columns=str)
    return Table(stem, X, found.y, found.task, notes=found.notes)


def _hub_frame(name: str) -> Any:  # noqa: ANN401 - a pandas frame
    """The training part of a hub data set, or the only part it has; no code of it is run."""
    import datasets

    repository, _, revision = name.partition("@")
    try:
        found: Any = datasets.load_dataset(repository, revision=revision or None)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        raise ValueError(
            f"data set {repository!r} cannot be read from the hub or its cache ({error}); pass "
            "the path of a file instead."
        ) from error
    parts = found if isinstance(found, dict) else {"train": found}
    return parts.get("train", next(iter(parts.values()))).to_pandas()
