"""From a data frame or an array to raw float64 rows: one player per column, categories as codes.

Nothing is scaled here, so that a baseline can be compared with raw values, and nothing is guessed:
an infinite number and a category that training did not show are errors.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from harsanyi.table import Column

Unknown = Literal["error", "missing"]

FARTHEST = 1e150
"""Numbers of larger size have squares, or sums of squares, beyond float64."""


def learn_columns(frame: Any) -> tuple[Column, ...]:  # noqa: ANN401 - a pandas frame
    """Names, kinds and categories of the columns of a frame.

    Columns of dtype object, category, string and bool are categories, unless an object column
    holds numbers only; a category is known when it occurs.

    Args:
        frame: A pandas DataFrame.

    Returns:
        One Column per column.

    Raises:
        TypeError: If a column is neither numbers nor categories, such as dates.
        ValueError: If two columns have one name.
    """
    names = check_names(frame)
    return tuple(_learn(name, frame.iloc[:, i]) for i, name in enumerate(names))


def check_names(frame: Any) -> list[str]:  # noqa: ANN401
    """Names of a frame's columns, once no two are alike.

    Args:
        frame: A pandas DataFrame.

    Raises:
        ValueError: If two columns have one name.
    """
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"X has several columns named {twice}; a player needs a name of its own.")
    return names


def _learn(name: str, column: Any) -> Column:  # noqa: ANN401
    from pandas.api import types

    if types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype):
        if types.is_complex_dtype(column.dtype):
            raise TypeError(f"column {name!r} of X is complex; pass real numbers.")
        return Column(name)
    is_category = (
        types.is_object_dtype(column.dtype)
        or types.is_string_dtype(column.dtype)
        or types.is_bool_dtype(column.dtype)
        or isinstance(column.dtype, _categorical())
    )
    if not is_category:
        raise TypeError(
            f"column {name!r} of X has dtype {column.dtype}; pass numbers, strings, booleans or "
            "categories (a date becomes a number with .astype('int64'))."
        )
    known = column[column.notna()]
    if types.is_object_dtype(column.dtype) and len(known) and all(map(_is_number, known)):
        return Column(name)
    strange = next((value for value in known if isinstance(value, (list, dict, set))), None)
    if strange is not None:
        raise TypeError(
            f"column {name!r} of X holds a {type(strange).__name__}; pass numbers, strings, "
            "booleans or categories, one per cell."
        )
    labels = {_label(value) for value in known}
    if not labels:
        return Column(name)  # wholly missing: a number that is never known
    try:
        ordered = sorted(labels)
    except TypeError:
        ordered = sorted(labels, key=lambda label: (type(label).__name__, label))
    return Column(name, tuple(ordered))


def encode_frame(
    frame: Any,  # noqa: ANN401
    columns: Sequence[Column],
    unknown: Unknown = "error",
) -> np.ndarray:
    """Raw rows of a frame whose columns are `columns`, in this order.

    Args:
        frame: A pandas DataFrame.
        columns: What `learn_columns` learned.
        unknown: What to do with a category that is not known: "error", or "missing" to treat it as
            a missing value.

    Returns:
        `(b, n)` float64: numbers, codes, NaN for missing.

    Raises:
        ValueError: If a category is unknown, a number is infinite or not a number at all.
    """
    if unknown not in ("error", "missing"):
        raise ValueError(f"unknown={unknown!r}; pass 'error' or 'missing'.")
    rows = np.empty((len(frame), len(columns)), dtype=np.float64)
    for i, column in enumerate(columns):
        values = frame.iloc[:, i]
        rows[:, i] = (
            _codes(values, column, unknown)
            if column.is_category
            else _numbers(values, column.name)
        )
    return rows


def check_reach(rows: np.ndarray, columns: Sequence[Column]) -> None:
    """Refuse numbers that a fit cannot square and sum.

    Args:
        rows: Training rows `(b, n)`.
        columns: The players.

    Raises:
        ValueError: If a number is beyond `FARTHEST`, naming its column.
    """
    far = np.abs(np.nan_to_num(rows)).max(0, initial=0.0) > FARTHEST
    if far.any():
        i = int(far.argmax())
        raise ValueError(
            f"column {columns[i].name!r} of X holds {np.nanmax(np.abs(rows[:, i])):.3g}; a fit "
            f"takes numbers up to {FARTHEST:.0e}. Rescale it."
        )


def category_code(value: Any, column: Column) -> float:  # noqa: ANN401
    """Code of one label, NaN for a missing one.

    Raises:
        ValueError: If the label is unknown.
    """
    from pandas import isna

    if isna(value):
        return float("nan")
    if _label(value) not in column.categories:
        raise ValueError(
            f"{value!r} is no category of {column.name!r}; known are "
            f"{list(column.categories[:8])}."
        )
    return float(column.categories.index(_label(value)))


def _codes(values: Any, column: Column, unknown: Unknown) -> np.ndarray:  # noqa: ANN401
    code = {label: position for position, label in enumerate(column.categories)}
    # by distinct value: a column of a million rows has few
    positions, distinct = values.factorize(use_na_sentinel=True)
    table = np.array([code.get(_label(value), -1) for value in distinct] + [np.nan])
    if unknown == "error" and (table == -1).any():
        strangers = [value for value, at in zip(distinct, table, strict=False) if at == -1]
        raise ValueError(
            f"column {column.name!r} of X holds {strangers[:3]}, unknown from training; known are "
            f"{list(column.categories[:8])}. Pass unknown='missing' to treat them as missing."
        )
    return np.where(table == -1, np.nan, table)[positions]


def _numbers(values: Any, name: str) -> np.ndarray:  # noqa: ANN401
    try:
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"column {name!r} of X was a number in training and now is not ({error})."
        ) from error
    if np.isinf(numbers).any():
        raise ValueError(
            f"column {name!r} of X holds infinity; replace it by a number, or NaN for missing."
        )
    return numbers


def _label(value: Any) -> Any:  # noqa: ANN401
    """A category as JSON can hold it."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, (str, int, float, bool)) else str(value)


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, (int, float, np.number)) and not isinstance(value, (bool, np.bool_))


def _categorical() -> type:
    from pandas import CategoricalDtype

    return CategoricalDtype
