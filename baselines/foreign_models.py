"""Models that speak numpy: functions and fitted estimators as maps from tensors to tensors."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from baselines.game import Model
from baselines.torch_calls import from_array


def from_callable(f: Any, output: str = "proba", *, columns: Sequence[str] | None = None) -> Model:  # noqa: ANN401
    """A numpy function or a scikit-learn estimator as a model that maps tensors to tensors.

    Args:
        f: A function of an array `(rows, *features)`, or a fitted estimator (scikit-learn,
            xgboost, lightgbm, ...) with `predict_proba`, `decision_function` or `predict`.
        output: Scale of the answer. `"proba"` takes probabilities (a regressor's prediction, a
            function's value as it is); `"logit"` takes log-odds: the decision function where the
            estimator has one, else log p clipped at 1e-12, two columns for two classes.
        columns: Column names, for estimators that were fitted on a DataFrame.

    Returns:
        A callable from a tensor `(rows, *features)` to a float64 tensor `(rows, k)` on the same
        device.

    Raises:
        TypeError: If `f` can neither be called nor predict.
        ValueError: If `output` is neither `"proba"` nor `"logit"`.

    Example:
        >>> import numpy as np, torch
        >>> from sklearn.linear_model import LogisticRegression
        >>> from baselines import from_callable
        >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> model = from_callable(LogisticRegression().fit(X, [0, 0, 1, 1]), output="logit")
        >>> model(torch.tensor([[1.5]], dtype=torch.float64)).shape
        torch.Size([1, 1])
    """
    if output not in ("proba", "logit"):
        raise ValueError(f"output={output!r}; pass 'proba' or 'logit'.")
    answer = _answer(f, output)

    def model(x: Tensor) -> Tensor:
        rows: Any = x.detach().cpu().numpy()
        if columns is not None:
            import pandas as pd  # pyright: ignore[reportMissingTypeStubs]

            rows = pd.DataFrame(rows, columns=list(columns))
        values = np.asarray(answer(rows), dtype=np.float64)
        return from_array(values.reshape(len(values), -1).copy()).to(x.device)

    model.__name__ = getattr(f, "__name__", type(f).__name__)
    return model


def _answer(f: Any, output: str) -> Callable[[Any], Any]:  # noqa: ANN401
    def log_odds(probabilities: Any) -> np.ndarray:  # noqa: ANN401
        p = np.clip(np.asarray(probabilities, dtype=np.float64), 1e-12, 1 - 1e-12)
        if p.ndim == 2 and p.shape[1] > 1:
            return np.log(p)
        return np.log(p) - np.log1p(-p)

    if output == "logit" and hasattr(f, "decision_function"):
        return f.decision_function
    if hasattr(f, "predict_proba"):
        if output == "proba":
            return f.predict_proba
        return lambda rows: log_odds(f.predict_proba(rows))
    if hasattr(f, "inplace_predict"):  # an xgboost Booster, whose predict takes its own matrices
        scale = "value" if output == "proba" else "margin"
        return lambda rows: f.inplace_predict(rows, predict_type=scale)
    if hasattr(f, "predict"):
        return f.predict
    if callable(f):
        return f if output == "proba" else lambda rows: log_odds(f(rows))
    raise TypeError(f"f is a {type(f).__name__}; pass a function or a fitted estimator.")
