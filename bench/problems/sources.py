"""Tables by name: those of the suite, a file of the user's, a data set of the hub."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.problems.tabular import TABLES, Table, load

HUB = "hub:"

NHANES_YEARS = 10.0
"""Of follow-up within which a death counts."""


@functools.lru_cache(maxsize=4)
def table_by_name(name: str) -> Table:
    """A table by name.

    Args:
        name: One of the suite's, or of `MORE_TABLES`; `FILE.csv:TARGET` (or TSV, or parquet) with the column to predict;
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
    if name in MORE_TABLES:
        return MORE_TABLES[name]()
    place, _, target = name.rpartition(":")
    if place.startswith(HUB) and target:
        return _table(_hub_frame(place.removeprefix(HUB)), target, place)
    if place and Path(place).suffix in (".csv", ".tsv", ".gz", ".parquet"):
        from bench.frames import read_frame

        return _table(read_frame(place), target, place)
    raise ValueError(
        f"table {name!r} is unknown; choose from {', '.join((*TABLES, *MORE_TABLES))}, or pass FILE.csv:TARGET or "
        "hub:OWNER/NAME:TARGET."
    )


def is_named_table(name: str) -> bool:
    """Whether a name is one of the suite's tables or has the form of a file or hub table.

    Args:
        name: As `table_by_name` takes it.
    """
    return name in TABLES or name in MORE_TABLES or ":" in name


def _nhanes() -> Table:
    """NHANES I: who died within ten years, of those who were followed so long or died before.

    The file gives years until death, negative for those alive when last seen.
    """
    import pandas as pd

    from bench.problems.tabular import data_folder

    folder = data_folder() / "tabular"
    paths = [folder / f"NHANESI_subset_{part}.csv.gz" for part in "Xy"]
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"nhanes needs {path}; set HARSANYI_DATA to the data folder.")
    X, y = (pd.read_csv(path, index_col=0) for path in paths)
    years = y.iloc[:, -1].to_numpy()
    known = np.flatnonzero((years > 0) | (-years >= NHANES_YEARS))
    died = np.where((years > 0) & (years < NHANES_YEARS), "died", "lived")
    rows: Any = X.iloc[known].reset_index(drop=True)
    notes = f"{len(years) - len(known)} rows censored within {NHANES_YEARS:.0f} years are left out"
    return Table("nhanes", rows, died[known], "classification", notes=notes)


MORE_TABLES: dict[str, Callable[[], Table]] = {"nhanes": _nhanes}
"""Tables of the data folder that are not in the suite."""


def _table(frame: Any, target: str, place: str) -> Table:  # noqa: ANN401 - a pandas frame
    from bench.frames import take_target

    found = take_target(frame, target, name=place)
    stem = Path(place).name.split(".")[0]
    X: Any = found.X.rename(columns=str)
    return Table(stem, X, found.y, found.task, notes=found.notes)


def _hub_frame(name: str) -> Any:  # noqa: ANN401 - a pandas frame
    """The training part of a hub data set, or the only part it has; no code of it is run."""
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    repository, _, revision = name.partition("@")
    try:
        found: Any = datasets.load_dataset(repository, revision=revision or None)
    except (OSError, ValueError, DatasetNotFoundError) as error:
        raise ValueError(
            f"data set {repository!r} cannot be read from the hub or its cache ({error}); pass "
            "the path of a file instead."
        ) from error
    parts = found if isinstance(found, dict) else {"train": found}
    return parts.get("train", next(iter(parts.values()))).to_pandas()
