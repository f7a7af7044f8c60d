"""The sixteen tables of the suite: raw frames, targets, and one split rule for everybody.

A table keeps its rows as a pandas frame with the columns' own types, so that every model makes
its own encoding of categories and missing values.
"""
# ruff: noqa: ANN401 - pandas cannot say whether an index gives a frame or a series

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

RAREST = 5  # a class with fewer rows cannot be in every part of a 60/20/20 split
ADULT = (
    "age workclass fnlwgt education education-num marital-status occupation relationship race "
    "sex capital-gain capital-loss hours-per-week native-country income"
)
MAGIC = "fLength fWidth fSize fConc fConc1 fAsym fM3Long fM3Trans fAlpha fDist class"


@dataclass(frozen=True)
class Table:
    """A data set as a frame of raw columns.

    Args:
        name: Name in the suite.
        X: Rows, one column per player; text columns are categories, NaN is missing.
        y: Targets, labels as strings or numbers as float64.
        task: "classification" or "regression".
        n_train: Rows at the head that are the official training part, None without one.
        notes: What was dropped or changed, in words.
    """

    name: str
    X: pd.DataFrame
    y: np.ndarray
    task: str
    n_train: int | None = None
    notes: str = ""

    @property
    def categorical(self) -> list[str]:
        """Names of the columns that hold categories."""
        return [c for c in self.X.columns if self.X[c].dtype.kind not in "fiub"]


class Split(NamedTuple):
    """Row numbers of the three parts."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def data_folder() -> Path:
    """Where the data sets lie.

    Returns:
        `$HARSANYI_DATA`, else `../shared/data` beside the repository.

    Raises:
        FileNotFoundError: If neither is a folder.
    """
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("HARSANYI_DATA") or beside)
    if not folder.is_dir():
        raise FileNotFoundError(f"No data folder at {folder}; set HARSANYI_DATA to it.")
    return folder


def load(name: str, folder: Path | None = None) -> Table:
    """One table of the suite.

    Args:
        name: A name in `TABLES`.
        folder: The data folder; `data_folder()` when None.

    Returns:
        The table, its classes with fewer than 5 rows dropped.

    Raises:
        ValueError: If the name is not in the suite.
        FileNotFoundError: If the table's file is not in the folder.
    """
    if name not in TABLES:
        raise ValueError(f"No table {name!r} in the suite; it has {', '.join(TABLES)}.")
    return _drop_rare_classes(TABLES[name](folder))


def split(table: Table, seed: int) -> Split:
    """Train, validation and test rows.

    Official test rows stay the test part and a fifth of the official training rows is the
    validation part; a table without an official split is cut 60/20/20. Classes keep their shares.

    Args:
        table: The table to cut.
        seed: Which of the random cuts.

    Returns:
        Row numbers of the three parts, each sorted.
    """
    from sklearn.model_selection import train_test_split

    def cut(rows: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        labels = table.y[rows] if table.task == "classification" else None
        keep, held = train_test_split(rows, test_size=share, random_state=seed, stratify=labels)
        return np.sort(keep), np.sort(held)

    rows = np.arange(len(table.y))
    if table.n_train is not None:
        train, validation = cut(rows[: table.n_train], 0.2)
        return Split(train, validation, rows[table.n_train :])
    rest, test = cut(rows, 0.2)
    train, validation = cut(rest, 0.25)
    return Split(train, validation, test)


def _drop_rare_classes(table: Table) -> Table:
    if table.task != "classification":
        return table
    classes, counts = np.unique(table.y, return_counts=True)
    rare = classes[counts < RAREST]
    if not len(rare):
        return table
    keep = ~np.isin(table.y, rare)
    said = f"dropped {int((~keep).sum())} rows of classes {', '.join(map(str, rare))}"
    notes = "; ".join(filter(None, (table.notes, said)))
    n_train = None if table.n_train is None else int(keep[: table.n_train].sum())
    X: Any = table.X[keep].reset_index(drop=True)
    return Table(table.name, X, table.y[keep], table.task, n_train, notes)


def _read(folder: Path | None, file: str, **options: Any) -> Any:
    import pandas as pd

    path = (folder or data_folder()) / "tabular" / file
    if not path.is_file():
        raise FileNotFoundError(f"The suite needs {path}; set HARSANYI_DATA to the data folder.")
    return pd.read_csv(path, **options)


def _classify(name: str, frame: Any, target: str, **facts: Any) -> Table:
    y = frame[target].astype(str).to_numpy(dtype=str)
    X: Any = frame.drop(columns=[target])
    return Table(name, X, y, "classification", **facts)


def _regress(name: str, frame: Any, target: str, notes: str = "") -> Table:
    y = frame[target].to_numpy(dtype=np.float64)
    return Table(name, frame.drop(columns=[target]), y, "regression", notes=notes)


def _adult(folder: Path | None) -> Table:
    import pandas as pd

    options: dict[str, Any] = {"names": ADULT.split(), "skipinitialspace": True, "na_values": "?"}
    train = _read(folder, "adult.data.gz", **options)
    test = _read(folder, "adult.test.gz", skiprows=1, **options)
    test["income"] = test["income"].str.rstrip(".")
    both = pd.concat([train, test], ignore_index=True)
    return _classify("adult", both, "income", n_train=len(train), notes="official split")


def _yeast(folder: Path | None) -> Table:
    frame = _read(folder, "yeast.data", sep="\t", comment="#")
    return _classify("yeast", frame.loc[:, "mcg":"location"], "location")


def _tvnews(channel: str) -> Callable[[Path | None], Table]:
    def load_channel(folder: Path | None) -> Table:
        frame = _read(folder, f"tvnews_{channel}.csv.gz")
        measured = frame["Spectral_Centroid_Mean"] != 0
        notes = f"dropped {int((~measured).sum())} rows whose sound was not measured"
        kept = frame[measured].reset_index(drop=True)
        return _classify(f"tvnews-{channel.lower()}", kept, "label", notes=notes)

    return load_channel


def _magic(folder: Path | None) -> Table:
    return _classify("magic", _read(folder, "magic04.data.gz", names=MAGIC.split()), "class")


def _california(folder: Path | None) -> Table:
    return _regress("california", _read(folder, "california_housing.csv.gz"), "MedHouseVal")


def _bike(folder: Path | None) -> Table:
    return _regress("bike", _read(folder, "bike.csv.gz"), "count")


def _communities(folder: Path | None) -> Table:
    frame = _read(folder, "CommViolPredUnnormalizedData.txt.gz", na_values="?")
    frame = frame.dropna(subset=["ViolentCrimesPerPop"]).reset_index(drop=True)
    X = frame.iloc[:, 5:-18].dropna(axis=1)
    y = frame["ViolentCrimesPerPop"].to_numpy(dtype=np.float64)
    return Table("communities", X, y, "regression", notes="complete columns only")


def _wine_quality(folder: Path | None) -> Table:
    return _regress("wine-quality", _read(folder, "winequality-white.csv.gz", sep=";"), "quality")


def _plain(name: str, missing: str | None = None) -> Callable[[Path | None], Table]:
    def load_plain(folder: Path | None) -> Table:
        frame = _read(folder, f"{name}.csv.gz", na_values=missing, keep_default_na=True)
        return _classify(name, frame, "target")

    return load_plain


def _builtin(name: str, loader: str, task: str) -> Callable[[Path | None], Table]:
    def load_builtin(_: Path | None) -> Table:
        from sklearn import datasets

        bunch = getattr(datasets, loader)(as_frame=True)
        X, y = bunch.data, bunch.target.to_numpy()
        y = y.astype(str) if task == "classification" else y.astype(np.float64)
        return Table(name, X, y, task)

    return load_builtin


TABLES: dict[str, Callable[[Path | None], Table]] = {
    "adult": _adult,
    "yeast": _yeast,
    "tvnews-bbc": _tvnews("BBC"),
    "tvnews-ndtv": _tvnews("NDTV"),
    "magic": _magic,
    "california": _california,
    "bike": _bike,
    "communities": _communities,
    "wine-quality": _wine_quality,
    "nursery": _plain("nursery"),
    "ionosphere": _plain("ionosphere"),
    "thyroid": _plain("thyroid"),
    "mushroom": _plain("mushroom"),
    "digits": _builtin("digits", "load_digits", "classification"),
    "breast-cancer": _builtin("breast-cancer", "load_breast_cancer", "classification"),
    "diabetes": _builtin("diabetes", "load_diabetes", "regression"),
}
