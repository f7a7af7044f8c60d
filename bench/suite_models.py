"""The models of the tabular suite, each with one way to be fitted, asked and explained."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from bench.problems.tabular import Table

TRIALS = 10
"""Settings that tuned boosting tries, each judged on a fifth of its rows."""

FEW_ROWS = 5_000
"""Tables up to this size train their MLP for all its epochs."""


class Suited:
    """A fitted model of the suite.

    Args:
        model: The scikit-learn estimator inside.
        baseline: One raw row `(n,)`, which stands for absent cells where a model knows no absence.
    """

    def __init__(self, model: Any, baseline: np.ndarray) -> None:  # noqa: ANN401
        self.model = model
        self.baseline = baseline

    def predict(self, rows: Any, present: np.ndarray | None = None) -> np.ndarray:  # noqa: ANN401
        """Labels or numbers `(b,)`, with only some players present `(b, n)`."""
        from bench.rivals import with_baseline

        if present is None:
            return np.asarray(self.model.predict(rows))
        if hasattr(self.model, "logits"):
            return self.model.classes_[self.model.logits(rows, present=present).argmax(1)]
        if hasattr(self.model, "outputs"):
            return self.model.outputs(rows, present=present)[:, 0]
        return np.asarray(self.model.predict(with_baseline(rows, present, self.baseline)))

    def probabilities(self, rows: Any) -> np.ndarray:  # noqa: ANN401
        """`(b, k)`, in the order of `model.classes_`."""
        return np.asarray(self.model.predict_proba(rows))


def fit_suited(name: str, table: "Table", rows: np.ndarray, seed: int) -> Suited:
    """Fit a model of the suite.

    Args:
        name: A key of `MODELS` or `EXTRA_MODELS`.
        table: The data set.
        rows: Positions of the rows to learn from; what a model holds out it takes from these.
        seed: Of everything random in the fit.

    Returns:
        The fitted model.

    Raises:
        ValueError: If there is no such model.
        ImportError: If it needs a package that is not installed, naming the extra.
    """
    from sklearn.exceptions import ConvergenceWarning

    known = MODELS | EXTRA_MODELS
    if name not in known:
        raise ValueError(f"model {name!r} is not in the suite; it has {', '.join(known)}.")
    X, y = table.X.iloc[rows], table.y[rows]
    model = known[name](table, seed)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # stopped by its epochs, as most run it
        model.fit(X, y)
    return Suited(model, _usual_row(X))


def _rival(place: int, table: "Table", seed: int) -> Any:  # noqa: ANN401
    from bench.rivals import pipelines

    made = pipelines(table, seed)  # pyright: ignore[reportArgumentType] - a Table has all it reads
    return list(made.values())[place]


def _linear(table: "Table", seed: int) -> Any:  # noqa: ANN401
    return _rival(0, table, seed)


def _mlp(table: "Table", seed: int) -> Any:  # noqa: ANN401
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    pipeline = _rival(1, table, seed)
    step = pipeline.steps[-1][0]
    # a tenth of a small table is too few rows to stop by
    stops = len(table.y) > FEW_ROWS
    pipeline.set_params(**{f"{step}__early_stopping": stops, f"{step}__alpha": 1e-2})
    if table.task == "classification":
        return pipeline
    return TransformedTargetRegressor(pipeline, transformer=StandardScaler())


def _tuned_boosting(table: "Table", seed: int) -> Any:  # noqa: ANN401
    from sklearn.model_selection import RandomizedSearchCV, ShuffleSplit, StratifiedShuffleSplit

    pipeline = _rival(2, table, seed)
    step = pipeline.steps[-1][0]
    space = {
        "learning_rate": [0.03, 0.06, 0.1, 0.2],
        "max_leaf_nodes": [7, 15, 31, 63],
        "min_samples_leaf": [5, 20, 50],
        "l2_regularization": [0.0, 0.1, 1.0, 10.0],
    }
    pipeline.set_params(**{f"{step}__max_iter": 1000, f"{step}__early_stopping": True})
    one_split = StratifiedShuffleSplit if table.task == "classification" else ShuffleSplit
    return RandomizedSearchCV(
        pipeline,
        {f"{step}__{option}": values for option, values in space.items()},
        n_iter=TRIALS,
        cv=one_split(1, test_size=0.2, random_state=seed),
        scoring="neg_log_loss" if table.task == "classification" else "r2",
        random_state=seed,
    )


def _ebm(table: "Table", seed: int) -> Any:  # noqa: ANN401
    try:
        from interpret.glassbox import ExplainableBoostingClassifier, ExplainableBoostingRegressor
    except ImportError as error:
        raise ImportError(
            "the EBM of the suite needs interpret; install it with "
            "pip install 'harsanyi[interpret]'."
        ) from error
    if table.task == "classification":
        return ExplainableBoostingClassifier(random_state=seed, n_jobs=1)
    return ExplainableBoostingRegressor(random_state=seed, n_jobs=1)


def _harsanyi(**words: Any) -> Callable[["Table", int], Any]:  # noqa: ANN401
    def make(table: "Table", seed: int) -> Any:  # noqa: ANN401
        from harsanyi import HarsanyiClassifier, HarsanyiRegressor

        kind = HarsanyiClassifier if table.task == "classification" else HarsanyiRegressor
        return kind(random_state=seed, unknown="missing", **words)

    return make


MODELS: dict[str, Callable[["Table", int], Any]] = {
    "linear": _linear,
    "mlp": _mlp,
    "boosting": _tuned_boosting,
    "ebm": _ebm,
    "chen2023": _harsanyi(preset="chen2023"),
    "harsanyi": _harsanyi(),
}
"""Name -> maker of an unfitted estimator: logistic or ridge regression, an MLP, tuned
HistGradientBoosting, EBM, the published Harsanyi-MLP, and ours with its defaults."""

EXTRA_MODELS = {"chen2023-released": _harsanyi(preset="chen2023-released")}
"""What only the comparison of recipes fits: the published net as it was released."""


def _usual_row(frame: Any) -> np.ndarray:  # noqa: ANN401 - a pandas frame
    row = np.empty(frame.shape[1], dtype=object)
    for i, name in enumerate(frame.columns):
        column = frame[name]
        row[i] = column.mean() if column.dtype.kind in "iufb" else column.mode().iloc[0]
    return row
