"""A user's table: read it, check it, take the target out, split it; every fault has a sentence."""

import csv
import difflib
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

MOST_CLASSES = 30
"""Distinct whole numbers up to which a numeric target is taken for labels."""


@dataclass(frozen=True)
class UserTable:
    """Rows and target of a user's file.

    Args:
        X: One column per player.
        y: Labels as strings, or targets as float64.
        task: `"classification"` or `"regression"`.
        target: Name of the target column.
        notes: What was left out, in words.
    """

    X: "pd.DataFrame"
    y: np.ndarray
    task: str
    target: str
    notes: str = ""


def read_frame(path: str | PathLike[str]) -> "pd.DataFrame":
    """A CSV, TSV (either may be gzipped) or parquet file as a frame.

    Args:
        path: File with a header of distinct column names.

    Returns:
        The rows; `?` and empty cells are missing, spaces around words are dropped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is empty, no table, or has two columns of one name.
    """
    import pandas as pd

    path = Path(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "no such file"
        raise FileNotFoundError(f"{path}: {what}; pass a CSV, TSV or parquet file.")
    if path.suffix == ".parquet":
        frame = _parquet(path)
    else:
        separator = "\t" if ".tsv" in path.suffixes else ","
        _check_header(path, separator)
        try:
            frame = pd.read_csv(
                path, sep=separator, na_values=["?"], skipinitialspace=True, low_memory=False
            )
        except (pd.errors.ParserError, UnicodeDecodeError, ValueError, OSError, EOFError) as error:
            raise ValueError(
                f"{path} is no readable table ({_first_line(error)}); save it as CSV with commas, "
                "a header line and UTF-8 text."
            ) from error
    if frame.empty:
        raise ValueError(f"{path} has columns but zero rows; a table needs rows.")
    return frame


def take_target(
    frame: "pd.DataFrame", target: str, task: str = "auto", *, name: str = "data"
) -> UserTable:
    """Separate the target from the features and find out what kind of task it is.

    Args:
        frame: From `read_frame`.
        target: Column to predict.
        task: `"classification"`, `"regression"`, or `"auto"`: words, booleans and few whole
            numbers are labels.
        name: What error messages call the table.

    Returns:
        Rows whose target is known, and their targets.

    Raises:
        ValueError: If the target is missing, constant, unusable for the task, or all there is.
    """
    import pandas as pd

    if task not in ("auto", "classification", "regression"):
        raise ValueError(f"task={task!r}; use auto, classification or regression.")
    if target not in frame.columns:
        raise ValueError(f"{name} has no column {target!r}{_nearest(target, list(frame.columns))}")
    X: Any = frame.drop(columns=[target])
    if X.shape[1] == 0:
        raise ValueError(f"{name} has no column but the target {target!r}; it needs features.")
    labels: Any = frame[target]
    known = labels.notna().to_numpy()
    notes = "" if known.all() else f"{(~known).sum()} rows without {target} are left out"
    X, labels = X[known].reset_index(drop=True), labels[known].reset_index(drop=True)
    if len(labels) == 0:
        raise ValueError(f"target {target!r} of {name} is empty in every row.")
    if task == "auto":
        task = "classification" if _looks_like_labels(labels) else "regression"
    if labels.nunique() < 2:
        raise ValueError(
            f"target {target!r} of {name} holds one value only ({labels.iloc[0]!r}); there is "
            "nothing to learn. Classification needs at least two classes."
        )
    if task == "regression":
        numbers: Any = pd.to_numeric(labels, errors="coerce")
        if numbers.isna().any():
            odd = labels[numbers.isna()].iloc[0]
            raise ValueError(
                f"target {target!r} of {name} holds {odd!r}, which is no number; use "
                "--task classification."
            )
        return UserTable(X, numbers.to_numpy(dtype=np.float64), task, target, notes)
    words = labels.astype(str).str.strip().to_numpy(dtype=str)
    if len(np.unique(words)) > max(MOST_CLASSES, len(words) // 3):
        raise ValueError(
            f"target {target!r} of {name} has {len(np.unique(words))} classes in {len(words)} "
            "rows; is it an identifier? Name another --target, or use --task regression."
        )
    return UserTable(X, words, task, target, notes)


def split_table(
    table: UserTable, test_share: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and to test on; classes keep their shares where they can.

    Args:
        table: From `take_target`.
        test_share: Share of rows to test on.
        seed: Which of the random cuts.

    Returns:
        Two sorted arrays.

    Raises:
        ValueError: If the share is not between 0 and 1, or there are fewer than 10 rows.
    """
    from sklearn.model_selection import train_test_split

    if not 0 < test_share < 1:
        raise ValueError(f"test_share={test_share}; it must lie between 0 and 1, such as 0.2.")
    if len(table.y) < 10:
        raise ValueError(
            f"{len(table.y)} rows are too few to train and test on; bring 10 or more."
        )
    strata = None
    if table.task == "classification":
        _, counts = np.unique(table.y, return_counts=True)
        n_test = int(np.ceil(test_share * len(table.y)))
        fits = len(counts) <= min(n_test, len(table.y) - n_test)
        strata = table.y if counts.min() >= 2 and fits else None
    rows = np.arange(len(table.y))
    train, test = train_test_split(rows, test_size=test_share, random_state=seed, stratify=strata)
    return np.sort(train), np.sort(test)


def unseen_cells(table: UserTable, train: np.ndarray, test: np.ndarray) -> int:
    """How many test cells hold a word that the training rows did not show.

    Args:
        table: From `take_target`.
        train: Row numbers to train on.
        test: Row numbers to test on.
    """
    count = 0
    for column in table.X.columns:
        cells: Any = table.X[column]
        if cells.dtype.kind not in "iuf":
            held = cells.iloc[test].dropna()
            count += int((~held.isin(cells.iloc[train])).sum())
    return count


def pick_columns(frame: "pd.DataFrame", players: Sequence[str], *, name: str) -> "pd.DataFrame":
    """The columns a model was trained on, in its order; others are left aside.

    Args:
        frame: Rows to explain.
        players: The model's players.
        name: What error messages call the table.

    Raises:
        ValueError: If a column is missing, naming it.
    """
    absent = [player for player in players if player not in frame.columns]
    if absent:
        raise ValueError(
            f"{name} lacks {len(absent)} of the model's {len(players)} columns: "
            f"{', '.join(map(repr, absent[:5]))}{', ...' if len(absent) > 5 else ''}. It has "
            f"{', '.join(map(repr, list(frame.columns)[:8]))}."
        )
    return frame.loc[:, list(players)]


def _parquet(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise ValueError(f"{path} is no parquet file ({_first_line(error)}).") from error


def _check_header(path: Path, separator: str) -> None:
    """Refuse what pandas would repair in silence: repeated and empty column names."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file, delimiter=separator), [])
    except (UnicodeDecodeError, OSError, EOFError, csv.Error) as error:
        raise ValueError(
            f"{path} is no readable table ({_first_line(error)}); save it as CSV with commas, a "
            "header line and UTF-8 text."
        ) from error
    names = [name.strip() for name in header]
    if not any(names):
        raise ValueError(f"{path} is empty; a table needs a header line and rows.")
    if len(names) == 1 and names[0].count(";"):
        raise ValueError(
            f"{path} has one column named {names[0][:40]!r}; its cells are parted by semicolons. "
            "Save it as CSV with commas."
        )
    if "" in names:
        raise ValueError(
            f"{path} has no name for column {names.index('') + 1}; each column is a player and "
            "needs one. (A row index from pandas is left out by to_csv(index=False).)"
        )
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"{path} has several columns named {', '.join(map(repr, repeated[:5]))}; each column "
            "is a player and needs a name of its own. Rename them in the header line."
        )


def _looks_like_labels(labels: Any) -> bool:  # noqa: ANN401 - a pandas series
    if labels.dtype.kind not in "iuf":
        return True
    whole = (labels == labels.round()).all()
    return bool(whole and labels.nunique() <= min(MOST_CLASSES, max(2, len(labels) // 10)))


def _nearest(target: str, columns: list[Any]) -> str:
    names = [str(column) for column in columns]
    near = difflib.get_close_matches(target, names, n=1)
    if near:
        return f"; did you mean {near[0]!r}?"
    listed = ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")
    return f"; it has {listed}."


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
