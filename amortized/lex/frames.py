"""LEX for data frames: columns as players, whatever cells they are encoded in."""

import json
import math
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from amortized.lex.inputs import plain
from amortized.lex.lex import LEX
from baselines import DonorImputer, Explanation, GaussianImputer
from baselines.files import atomic_write
from baselines.folders import read_words, reading
from baselines.torch_calls import from_array

FORMAT = "harsanyi-lex-table/1"


class LEXForTables:
    """LEX on a data frame with numbers, categories and missing values, one player per column.

    A number is one cell, its mean where it is missing, and a second cell that says so in columns
    with missing values; a category is a cell per value. Absent columns are drawn by a Gaussian
    conditional where all cells are numbers, else from donor rows.

    Args:
        target_rate: Share of columns to select on average.
        task: `"classification"` or `"regression"`.
        epochs: Passes of the selector over the rows; None lets the number of rows decide.
        predictor_epochs: Most passes of the predictor; None lets the number of rows decide.
        random_state: Seed of everything.
        progress: Show bars.
        checkpoint_dir: Folder from which a killed training goes on.
        settings: Keywords of `LEX.for_tabular` that replace imputer and rate, such as
            `presets.l2x(k=4)`.

    Source: Senetaire, Garreau, Frellsen and Mattei (2023).

    Example:
        >>> import pandas as pd
        >>> from amortized import LEXForTables
        >>> X = pd.DataFrame({"age": range(40), "city": ["north", "south"] * 20})
        >>> model = LEXForTables(target_rate=0.5, epochs=1, predictor_epochs=1)
        >>> model.fit(X, ["yes" if age > 19 else "no" for age in X["age"]]).explain(X[:3]).players
        ['age', 'city']
    """

    def __init__(
        self,
        target_rate: float = 0.2,
        task: str = "classification",
        *,
        epochs: int | None = None,
        predictor_epochs: int | None = None,
        random_state: int | None = 0,
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.settings = settings
        self.target_rate = target_rate
        self.task = task
        self.epochs = epochs
        self.predictor_epochs = predictor_epochs
        self.random_state = random_state
        self.progress = progress
        self.checkpoint_dir = checkpoint_dir
        self.columns_: list[dict[str, Any]] = []
        self.scale_ = (0.0, 1.0)
        self.lex_: LEX | None = None

    @property
    def players_(self) -> list[str]:
        """Names of the columns."""
        return [column["name"] for column in self.columns_]

    def fit(self, X: Any, y: Any) -> Self:  # noqa: ANN401 - a data frame and its column
        """Train on a frame and its labels or answers.

        Args:
            X: Frame with a column per player.
            y: Labels, or finite answers in a regression.

        Returns:
            The model itself.

        Raises:
            ValueError: If there are no rows or columns, a column is empty, or y has one class.
        """
        if len(X) == 0 or X.shape[1] == 0:
            raise ValueError(f"X has shape {X.shape}; training needs rows and columns.")
        self.columns_ = [_column(X, position) for position in range(X.shape[1])]
        cells = self._cells(X)
        widths = [len(_names(column)) for column in self.columns_]
        groups = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(widths))
        numeric = all(column["values"] is None and not column["gaps"] for column in self.columns_)
        imputer = (GaussianImputer if numeric else DonorImputer).fit(cells)
        answers: Any = np.asarray(y)
        if self.task == "regression":
            answers = answers.astype(np.float64)
            spread = float(answers.std())
            self.scale_ = (float(answers.mean()), spread if spread > 0 else 1.0)
            answers = (answers - self.scale_[0]) / self.scale_[1]
        n_classes = None if self.task == "regression" else len(set(answers.tolist()))
        settings = self.settings or {"imputer": imputer, "target_rate": self.target_rate}
        self.lex_ = LEX.for_tabular(
            cells.shape[1],
            n_classes,
            groups=groups,
            players=self.players_,
            random_state=self.random_state,
            **settings,
        ).fit(
            cells,
            answers,
            epochs=self.epochs,
            predictor_epochs=self.predictor_epochs,
            random_state=self.random_state,
            progress=self.progress,
            checkpoint_dir=self.checkpoint_dir,
        )
        return self

    def explain(self, X: Any) -> Explanation:  # noqa: ANN401 - a data frame
        """Inclusion probabilities of the columns, values `(b, n, 1)`, as `LEX.explain`."""
        return self._fitted().explain(self._cells(X))

    def scores(self, X: Any, present: np.ndarray) -> np.ndarray:  # noqa: ANN401 - a data frame
        """What the predictor says when only some columns are shown, imputations averaged.

        Args:
            X: Frame of `b` rows.
            present: Shown columns, bool `(b, n)`.

        Returns:
            Log-probabilities `(b, c)`, or means `(b, 1)` in a regression.
        """
        lex = self._fitted()
        rows, shown = lex.rows(self._cells(X)), from_array(np.asarray(present, dtype=bool))
        with torch.no_grad():
            found = lex.log_probs(rows, shown[None, None], torch.Generator().manual_seed(0))[0, 0]
        if self.task == "regression":
            return found.mean(1).numpy() * self.scale_[1] + self.scale_[0]
        return found.exp().mean(1).log().numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: ANN401 - a data frame
        """Labels or answers `(b,)`, from the mixture over selections."""
        lex = self._fitted()
        answer = lex.predict_proba(self._cells(X)).numpy()
        if self.task == "regression":
            return answer[:, 0] * self.scale_[1] + self.scale_[0]
        assert lex.classes is not None  # a fitted classifier has classes
        return np.asarray(lex.classes)[answer.argmax(1)]

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the LEX and `columns.json` into a folder.

        Args:
            folder: Made if missing.
        """
        self._fitted().save_pretrained(folder)
        words = {
            "format": FORMAT,
            "task": self.task,
            "target_rate": self.target_rate,
            "scale": self.scale_,
            "columns": self.columns_,
        }
        atomic_write(Path(folder) / "columns.json", json.dumps(words, indent=1).encode())

    @classmethod
    def from_pretrained(cls, folder: str | PathLike[str]) -> Self:
        """Read a model that `save_pretrained` wrote.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated, corrupt, or of another version.
        """
        with reading(folder, "LEX for tables", ("columns.json",)) as path:
            words = read_words(path / "columns.json", FORMAT)
            model = cls(words["target_rate"], words["task"])
            model.columns_ = words["columns"]
            model.scale_ = (float(words["scale"][0]), float(words["scale"][1]))
        model.lex_ = LEX.from_pretrained(folder)
        return model

    def _fitted(self) -> LEX:
        if self.lex_ is None:
            raise ValueError("this LEXForTables is not fitted yet; call fit.")
        return self.lex_

    def _cells(self, X: Any) -> Tensor:  # noqa: ANN401 - a data frame
        absent = [name for name in self.players_ if name not in set(map(str, X.columns))]
        if absent:
            raise ValueError(f"X lacks the columns {absent[:5]}.")
        by_name = {str(name): X.iloc[:, position] for position, name in enumerate(X.columns)}
        blocks = [_encode(by_name[column["name"]], column) for column in self.columns_]
        return from_array(np.concatenate(blocks, 1))


def _column(X: Any, position: int) -> dict[str, Any]:  # noqa: ANN401 - a data frame
    series = X.iloc[:, position]
    known = series.dropna()
    name = str(X.columns[position])
    if len(known) == 0:
        raise ValueError(f"column {name!r} of X is empty; drop it.")
    gaps = len(known) < len(series)
    if series.dtype.kind in "iuf":
        mean = float(known.astype(np.float64).mean())
        if not math.isfinite(mean):
            raise ValueError(f"column {name!r} of X holds infinity; put missing values instead.")
        return {"name": name, "values": None, "mean": mean, "gaps": gaps}
    values = sorted({str(plain(value)) for value in known})
    return {"name": name, "values": values, "mean": None, "gaps": gaps}


def _names(column: dict[str, Any]) -> list[str]:
    """What a column's cells stand for."""
    if column["values"] is None:
        return ["value", "missing"] if column["gaps"] else ["value"]
    return column["values"]


def _encode(series: Any, column: dict[str, Any]) -> np.ndarray:  # noqa: ANN401 - a pandas series
    name, missing = column["name"], series.isna().to_numpy()
    if column["values"] is None:
        if series.dtype.kind not in "iufO" or (series.dtype.kind == "O" and not missing.all()):
            raise ValueError(f"column {name!r} holds {series.dtype}; it was numbers in training.")
        numbers = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isinf(numbers).any():
            raise ValueError(f"column {name!r} holds infinity; put missing values instead.")
        if missing.any() and not column["gaps"]:
            raise ValueError(f"column {name!r} has missing values; training had none. Fill them.")
        filled: list[np.ndarray] = [np.where(missing, column["mean"], numbers)]
        return np.stack([*filled, missing.astype(float)] if column["gaps"] else filled, 1)
    words = np.array([str(plain(value)) for value in series], dtype=object)
    unknown = sorted(set(words[~missing]) - set(column["values"]))
    if unknown:
        raise ValueError(f"column {name!r} holds categories unseen in training: {unknown[:5]}.")
    cells = np.stack([(words == value) & ~missing for value in column["values"]], 1)
    return cells.astype(np.float64)  # a missing category is a row of zeros
