"""From what a scikit-learn user passes to checked rows, targets, weights, baseline and split."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harsanyi.columns import category_code, check_names
from harsanyi.table import Column


def as_frame(estimator: Any, X: Any, *, reset: bool) -> Any:  # noqa: ANN401
    """X as a pandas frame, its width and names checked against the fit (or learned, with `reset`).

    Args:
        estimator: The estimator; gets `n_features_in_` and `feature_names_in_`.
        X: Frame, array, or nested lists.
        reset: Whether this is the fit.

    Returns:
        A DataFrame with one column per player; unnamed ones are x0, x1, ...

    Raises:
        TypeError: If X is sparse or holds objects that are no labels.
        ValueError: If X is empty, of another width, or has other column names or one twice.
    """
    import pandas as pd
    from sklearn.utils.validation import validate_data

    if isinstance(X, pd.DataFrame):
        frame: Any = X  # scikit-learn's own hints admit no frame
        check_names(frame)
        validate_data(estimator, frame, reset=reset, skip_check_array=True)
        if X.shape[0] == 0 or X.shape[1] == 0:
            raise ValueError(
                f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s) "
                f"(shape={X.shape}) while a minimum of 1 is required: X needs rows and columns."
            )
        return X
    if _has_strings(X):
        frame = pd.DataFrame(np.asarray(X, dtype=object))  # columns 0, 1, ...: no names
        validate_data(estimator, frame, reset=reset, skip_check_array=True)
    else:
        rows = validate_data(
            estimator, X, reset=reset, dtype=np.float64, ensure_all_finite="allow-nan"
        )
        frame = pd.DataFrame(rows)
    frame.columns = [f"x{i}" for i in range(frame.shape[1])]
    return frame


def completed(X: Any, players: Sequence[str], named: bool) -> tuple[Any, list[bool]]:  # noqa: ANN401
    """A frame with the columns it lacks put in as missing, and which these are.

    Args:
        X: Frame or array.
        players: Names of all columns, in order.
        named: Whether the fit saw names.

    Returns:
        The frame with all columns in order if it lacks some, else X as it is; one flag per player.

    Raises:
        ValueError: If it has none of the columns, or columns that the fit did not see.
    """
    import pandas as pd

    nothing = [False] * len(players)
    if not named or not isinstance(X, pd.DataFrame) or X.shape[1] >= len(players):
        return X, nothing
    strangers = [str(name) for name in X.columns if name not in players]
    if strangers or X.shape[1] == 0:
        raise ValueError(
            f"X has columns {strangers} unknown from training; it may lack columns, whose players "
            f"are then absent, but those it has must be among {list(players)[:8]}."
        )
    lacking = [name not in X.columns for name in players]
    return X.reindex(columns=list(players)), lacking


def _has_strings(X: Any) -> bool:  # noqa: ANN401
    array = X if isinstance(X, np.ndarray) else None
    if isinstance(X, (list, tuple)) and X and isinstance(X[0], (list, tuple)):
        return any(isinstance(cell, str) for row in X for cell in row)
    if array is None or array.ndim != 2:
        return False
    if array.dtype.kind == "U":
        return True
    return array.dtype.kind == "O" and any(isinstance(cell, str) for cell in array.ravel())


def class_codes(
    estimator: Any,  # noqa: ANN401
    X: Any,  # noqa: ANN401
    y: Any,  # noqa: ANN401
    teacher: Any = None,  # noqa: ANN401
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and their codes.

    Args:
        estimator: For the message when `y` is missing.
        X: Rows, for their number.
        y: Labels, or None beside a teacher.
        teacher: Whether one is there.

    Returns:
        Sorted labels `(k,)` and int64 codes `(b,)`; both empty without `y`.

    Raises:
        ValueError: If lengths differ, `y` is continuous or missing, or holds one class.
    """
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_consistent_length, column_or_1d

    if y is None and teacher is not None:
        return np.empty(0), np.empty(0, dtype=np.int64)
    y = column_or_1d(_required(estimator, y), warn=True)
    check_consistent_length(X, y)
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2 and teacher is None:
        raise ValueError(
            f"y holds one class only ({classes[0]!r}); a classifier needs at least two classes."
        )
    return classes, codes.astype(np.int64)


def numeric_targets(estimator: Any, X: Any, y: Any) -> np.ndarray:  # noqa: ANN401
    """Targets `(b,)` as finite float64.

    Raises:
        ValueError: If lengths differ or a target is missing or infinite.
    """
    from sklearn.utils import check_array
    from sklearn.utils.validation import check_consistent_length, column_or_1d

    y = column_or_1d(_required(estimator, y), warn=True)
    check_consistent_length(X, y)
    y = check_array(y, ensure_2d=False, input_name="y", dtype="numeric")
    return y.astype(np.float64)


def _required(estimator: Any, y: Any) -> Any:  # noqa: ANN401
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None. Pass y, or a teacher."
        )
    return y


def row_weights(sample_weight: Any, X: Any, class_weight: Any, y: Any) -> np.ndarray:  # noqa: ANN401
    """Weights `(b,)`, float64: of rows times of classes.

    Raises:
        ValueError: If a weight is negative or not finite, or their number is another.
    """
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.validation import _num_samples

    b = _num_samples(X)
    weight = np.ones(b) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (b,):
        raise ValueError(f"sample_weight has shape {weight.shape}; X has {b} rows, so ({b},).")
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError("sample_weight must be finite and not negative.")
    if class_weight is not None and y is not None:
        weight = weight * compute_sample_weight(class_weight, y)
        if not np.isfinite(weight).all() or (weight < 0).any():
            raise ValueError(f"class_weight={class_weight!r}; weights must be finite, 0 or more.")
    with np.errstate(over="ignore"):
        total = weight.sum()
    if np.isinf(total):
        raise ValueError("sample_weight is too large to be summed; divide it by its mean.")
    return weight


def split_rows(b: int, fraction: float, strata: np.ndarray | None, key: int) -> tuple[Any, Any]:
    """Positions of training and validation rows, as int64 tensors.

    Args:
        b: Rows.
        fraction: Share held out; 0 validates on the training rows, as do fewer than 10 rows.
        strata: Class of each row, kept in proportion where every class has two rows.
        key: Seed.

    Raises:
        ValueError: If the fraction is not in [0, 1).
    """
    import torch
    from sklearn.model_selection import train_test_split

    if not 0 <= fraction < 1:
        raise ValueError(f"validation_fraction={fraction}; it must be in [0, 1).")
    everything = torch.arange(b)
    held = round(fraction * b)
    if held == 0 or b < 10:
        return everything, everything
    if strata is not None:
        counts = np.unique(strata, return_counts=True)[1]
        if counts.min() < 2 or held < len(counts) or b - held < len(counts):
            strata = None
    train, validation = train_test_split(
        everything.numpy(), test_size=held, stratify=strata, random_state=key % 2**32
    )
    return torch.from_numpy(np.sort(train)), torch.from_numpy(np.sort(validation))


def baseline_row(
    given: Any,  # noqa: ANN401
    rows: np.ndarray,
    weight: np.ndarray,
    columns: Sequence[Column],
) -> np.ndarray:
    """The baseline as one encoded row.

    Args:
        given: "mean", or one raw row: a sequence in the order of the columns, or a mapping by name
            whose missing names take the mean or mode. "learned" starts from the mean, too.
        rows: Training rows `(b, n)`, encoded.
        weight: Their weights.
        columns: The players.

    Returns:
        `(n,)`, float64; NaN where a column was never known.

    Raises:
        TypeError: If `given` is neither a word nor a row.
        ValueError: If the row has another length, a name or category is unknown, or a number is
            infinite.
    """
    row = np.array(
        [_typical(rows[:, i], weight, column) for i, column in enumerate(columns)],
        dtype=np.float64,
    )
    if isinstance(given, str):
        if given not in ("mean", "learned"):
            raise ValueError(f"baseline={given!r}; pass 'mean', 'learned' or one raw row.")
        return row
    if hasattr(given, "to_dict") and not isinstance(given, Mapping):
        if getattr(given, "ndim", 2) == 2:
            if len(given) != 1:
                raise ValueError(f"baseline is a frame of {len(given)} rows; pass one raw row.")
            given = given.iloc[0]
        given = given.to_dict()
    if not isinstance(given, Mapping):
        if not hasattr(given, "__iter__"):
            raise TypeError(
                f"baseline is a {type(given).__name__}; pass 'mean', 'learned' or one raw row, a "
                "sequence in the order of the columns or a mapping by name."
            )
        values = list(given)
        if len(values) != len(columns):
            raise ValueError(f"baseline has {len(values)} entries; X has {len(columns)} columns.")
        given = dict(zip((column.name for column in columns), values, strict=True))
    position = {column.name: i for i, column in enumerate(columns)}
    strangers = sorted(str(name) for name in given if str(name) not in position)
    if strangers:
        raise ValueError(f"baseline names {strangers}; X has no such columns.")
    for name, value in given.items():
        i = position[str(name)]
        row[i] = _encoded(value, columns[i])
    return row


def _typical(values: np.ndarray, weight: np.ndarray, column: Column) -> float:
    known = ~np.isnan(values)
    if not known.any():
        return float("nan")
    if column.is_category:
        counts = np.bincount(values[known].astype(int), weight[known])
        return float(counts.argmax())
    if (weight == weight[0]).all():
        return float(values[known].mean())
    return float(np.average(values[known], weights=weight[known]))


def _encoded(value: Any, column: Column) -> float:  # noqa: ANN401
    if column.is_category:
        return category_code(value, column)
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"baseline of {column.name!r} is {value!r}; a number is needed."
        ) from error
    if np.isinf(number):
        raise ValueError(f"baseline of {column.name!r} is infinite; pass a number or NaN.")
    return number


def raw_row(encoded: np.ndarray, columns: Sequence[Column]) -> np.ndarray:
    """An encoded row as raw values: float64 if all are numbers, else objects with labels."""
    if not any(column.is_category for column in columns):
        return encoded.astype(np.float64).copy()
    row = np.empty(len(columns), dtype=object)
    for i, column in enumerate(columns):
        code = encoded[i]
        known = column.is_category and not np.isnan(code)
        row[i] = column.categories[int(code)] if known else float(code)
    return row
