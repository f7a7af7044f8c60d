"""Small black boxes on tables: what a problem's game is played on."""

from typing import Any

import numpy as np
import torch

from bench.problems.tabular import Table

MODELS = ("logistic", "mlp", "boosted")


def fit_box(kind: str, table: Table, rows: np.ndarray, *, seed: int = 0) -> Any:  # noqa: ANN401
    """A scikit-learn pipeline fitted on coded rows of a table.

    Args:
        kind: One of `MODELS`; linear regression stands in for logistic on numeric targets.
        table: The data set.
        rows: Positions of the training rows.
        seed: Seed of weights and of early stopping.

    Returns:
        A fitted pipeline from coded rows `(b, n)`, as `coded` makes them.

    Raises:
        ValueError: If there is no such model.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    if kind not in MODELS:
        raise ValueError(f"model {kind!r} is not one of {MODELS}.")
    categories = [i for i, c in enumerate(table.X.columns) if c in table.categorical]
    numbers = [i for i in range(table.X.shape[1]) if i not in categories]
    x = coded(table)[rows]
    if kind == "boosted":
        model = _boosted(table.task, categories, x, seed)
        return model.fit(x, table.y[rows])
    encode = ColumnTransformer(
        [
            (
                "numbers",
                make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
                numbers,
            ),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ],
        sparse_threshold=0.0,
    )
    return make_pipeline(encode, _smooth(kind, table.task, seed)).fit(x, table.y[rows])


def coded(table: Table) -> np.ndarray:
    """Rows as numbers, one column per player: categories by their place in sorted order.

    Args:
        table: The data set.

    Returns:
        Float64 `(rows, n)`; missing numbers stay NaN, a missing category has a code of its own.
    """
    columns = []
    for name in table.X.columns:
        column = table.X[name]
        if name in table.categorical:
            text = column.astype(object).where(column.notna(), "").astype(str)
            codes = np.unique(text.to_numpy(dtype=str), return_inverse=True)[1]
            columns.append(codes.astype(np.float64))
        else:
            columns.append(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.stack(columns, 1)


def reference(table: Table, rows: np.ndarray) -> torch.Tensor:
    """The baseline of a table: mean of a number, commonest code of a category.

    Args:
        table: The data set.
        rows: Positions of the training rows.

    Returns:
        Float64 `(n,)`.
    """
    x = coded(table)[rows]
    baseline = np.nanmean(x, axis=0)
    for i, name in enumerate(table.X.columns):
        if name in table.categorical:
            values, counts = np.unique(x[:, i], return_counts=True)
            baseline[i] = values[counts.argmax()]
    return torch.from_numpy(baseline)


def _smooth(kind: str, task: str, seed: int) -> Any:  # noqa: ANN401 - a scikit-learn estimator
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.preprocessing import StandardScaler

    if kind == "logistic":
        return LogisticRegression(max_iter=2000) if task == "classification" else Ridge()
    words = {"hidden_layer_sizes": (64, 32), "early_stopping": True, "random_state": seed}
    if task == "classification":
        return MLPClassifier(**words)
    return TransformedTargetRegressor(MLPRegressor(**words), transformer=StandardScaler())


def _boosted(task: str, categories: list[int], x: np.ndarray, seed: int) -> Any:  # noqa: ANN401
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    # boosting takes at most 255 categories; a column of more is read as a number
    few = [i for i in categories if np.nanmax(x[:, i]) < 255]
    words = {"categorical_features": few or None, "random_state": seed, "early_stopping": True}
    if task == "classification":
        return HistGradientBoostingClassifier(**words)
    return HistGradientBoostingRegressor(**words)
