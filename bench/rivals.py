"""The models a table is usually given to, and how right they stay when half of a row is absent."""

import dataclasses
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from bench.frames import UserTable

RIVALS = ("logistic regression", "MLP", "boosted trees")
MASK_DRAWS = 5
"""Random masks per test row in the half-masked score."""


@dataclasses.dataclass(frozen=True)
class Score:
    """How right one model is on the test rows.

    Args:
        model: Its name.
        metric: `"accuracy"` or `"R2"`.
        score: On the test rows.
        score_lo: Lower end of its 95 % bootstrap interval over test rows.
        score_hi: Upper end.
        masked_score: With a random half of the players absent.
        fit_seconds: Wall clock of the fit.
    """

    model: str
    metric: str
    score: float
    score_lo: float
    score_hi: float
    masked_score: float
    fit_seconds: float


def fit_rivals(
    table: "UserTable", train: np.ndarray, seed: int = 0
) -> dict[str, tuple[Any, float]]:
    """Logistic (or ridge) regression, an MLP and boosted trees, each with its usual preparation.

    Args:
        table: Rows and targets.
        train: Row numbers to train on.
        seed: Seed of MLP and trees.

    Returns:
        Name -> fitted pipeline and the seconds its fit took.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    fitted = {}
    for name, model in pipelines(table, seed).items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            # An MLP stopped by its epochs is the rival as most people run it.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(table.X.iloc[train], table.y[train])
        fitted[name] = (model, time.perf_counter() - start)
    return fitted


def score_model(
    name: str,
    predict: Callable[["pd.DataFrame", np.ndarray | None], np.ndarray],
    table: "UserTable",
    test: np.ndarray,
    fit_seconds: float,
    seed: int = 0,
) -> Score:
    """Score on test rows, whole and half masked, by the same masks for every model.

    Args:
        name: Of the model.
        predict: Rows and presence `(b, n)` (or None) to predictions `(b,)`.
        table: Rows and targets.
        test: Row numbers to test on.
        fit_seconds: What the fit took.
        seed: Seed of masks and bootstrap.

    Returns:
        A Score.
    """
    rows, truth = table.X.iloc[test], table.y[test]
    random = np.random.default_rng(seed)
    halves = np.tile(np.arange(rows.shape[1]) % 2 == 0, (MASK_DRAWS * len(rows), 1))
    masks = random.permuted(halves, axis=1)
    masks = masks.reshape(MASK_DRAWS, len(rows), -1)
    whole = predict(rows, None)
    masked = [measure(table.task, truth, predict(rows, mask)) for mask in masks]
    resampled = random.integers(len(truth), size=(1000, len(truth)))
    draws = [measure(table.task, truth[i], whole[i]) for i in resampled]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Score(
        model=name,
        metric="accuracy" if table.task == "classification" else "R2",
        score=measure(table.task, truth, whole),
        score_lo=float(low),
        score_hi=float(high),
        masked_score=float(np.mean(masked)),
        fit_seconds=fit_seconds,
    )


def measure(task: str, truth: np.ndarray, predicted: np.ndarray) -> float:
    """Accuracy, or R2 (NaN where the truth does not vary).

    Args:
        task: `"classification"` or `"regression"`.
        truth: `(b,)`.
        predicted: `(b,)`.
    """
    if task == "classification":
        return float((truth == predicted).mean())
    spread = np.square(truth - truth.mean()).sum()
    return float(1 - np.square(truth - predicted).sum() / spread) if spread > 0 else float("nan")


def with_baseline(rows: "pd.DataFrame", present: np.ndarray | None, baseline: Any) -> Any:  # noqa: ANN401
    """Rows whose absent cells hold the baseline, for models that know no absence.

    Args:
        rows: `b` rows.
        present: Bool `(b, n)`, true = present; None leaves the rows as they are.
        baseline: One raw row `(n,)`.

    Returns:
        A frame like `rows`.
    """
    if present is None:
        return rows
    filled = rows.copy()
    for i, column in enumerate(rows.columns):
        kept: Any = rows[column]
        if kept.dtype.kind in "iub":
            kept = kept.astype(float)  # a mean of whole numbers is none
        value = float(baseline[i]) if kept.dtype.kind == "f" else baseline[i]
        filled[column] = kept.where(present[:, i], value)
    return filled


def pipelines(table: "UserTable", seed: int) -> dict[str, Any]:
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

    numbers = make_column_selector(dtype_include=["number", "bool"])
    words = make_column_selector(dtype_exclude=["number", "bool"])

    def scaled() -> Any:  # noqa: ANN401 - a scikit-learn transformer
        return make_column_transformer(
            (make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), numbers),
            (OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=100), words),
        )

    codes = make_column_transformer(
        ("passthrough", numbers),
        (
            OrdinalEncoder(
                handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=250
            ),
            words,
        ),
    )
    is_word: Any = [False] * len(numbers(table.X)) + [True] * len(words(table.X))
    hidden = {"hidden_layer_sizes": (64, 64), "early_stopping": True, "random_state": seed}
    if table.task == "classification":
        models = (
            LogisticRegression(max_iter=2000),
            MLPClassifier(max_iter=200, **hidden),
            HistGradientBoostingClassifier(categorical_features=is_word, random_state=seed),
        )
    else:
        models = (
            RidgeCV(np.logspace(-3, 3, 13)),
            MLPRegressor(max_iter=200, **hidden),
            HistGradientBoostingRegressor(categorical_features=is_word, random_state=seed),
        )
    linear = RIVALS[0] if table.task == "classification" else "ridge regression"
    return {
        linear: make_pipeline(scaled(), models[0]),
        RIVALS[1]: make_pipeline(scaled(), models[1]),
        RIVALS[2]: make_pipeline(codes, models[2]),
    }
