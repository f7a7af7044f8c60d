"""What demo and command line do with a model of a user's table: fit, score, explain, pick rows."""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.frames import UserTable, unseen_cells

if TYPE_CHECKING:
    import pandas as pd

    from baselines.explanation import Explanation


def fit_model(
    table: UserTable,
    train: np.ndarray,
    folder: Path,
    seed: int,
    settings: dict[str, Any],
    say: Callable[[str], None] = print,
) -> tuple[Any, float]:
    """A HarsanyiClassifier or HarsanyiRegressor; a fit that was killed in this folder continues.

    Args:
        table: Rows and targets.
        train: Row numbers to train on.
        folder: Where the checkpoint lies until `clear_checkpoints`.
        seed: Seed of the fit.
        settings: More keyword arguments for the estimator.
        say: Told when a fit continues.

    Returns:
        The fitted estimator and the seconds this call took.
    """
    from harsanyi.estimators import HarsanyiClassifier, HarsanyiRegressor

    kind = HarsanyiClassifier if table.task == "classification" else HarsanyiRegressor
    X: Any = table.X.iloc[train]
    # Named by what is fitted, so that another table in the same folder starts afresh.
    words = json.dumps([table.task, seed, list(map(str, X.columns)), settings], default=str)
    digest = hashlib.sha256(
        words.encode() + X.to_csv().encode() + "\n".join(map(str, table.y[train])).encode()
    )
    checkpoint = folder / f"checkpoint-{digest.hexdigest()[:12]}"
    if checkpoint.is_dir():
        say("continuing a training that was interrupted")
    start = time.perf_counter()
    model = kind(random_state=seed, checkpoint_dir=checkpoint, progress=True, **settings).fit(
        X, table.y[train]
    )
    return model, time.perf_counter() - start


def accept_unseen(model: Any, table: UserTable, train: np.ndarray, test: np.ndarray) -> str:  # noqa: ANN401
    """Let a fitted model take rare words of the test rows for missing, and say how many there are.

    A saved model refuses words it was not trained on unless told otherwise; a held-out score is
    about all held-out rows.

    Args:
        model: Fitted estimator; its `unknown` becomes `"missing"`.
        table: Rows and targets.
        train: Row numbers it was trained on.
        test: Row numbers it will be asked about.

    Returns:
        A sentence, or nothing when there are none.
    """
    model.unknown = "missing"
    count = unseen_cells(table, train, test)
    words = "test cells hold words that the training rows did not show; they count as missing"
    return f"{count} {words}" if count else ""


def clear_checkpoints(folder: Path) -> None:
    """Remove what a finished run no longer needs to continue.

    Args:
        folder: Of the run.
    """
    for left in folder.glob("checkpoint-*"):
        shutil.rmtree(left)


def own_prediction(model: Any) -> Any:  # noqa: ANN401 - either estimator
    """What the model predicts with some players absent, by its own statement of absence.

    Args:
        model: Fitted estimator.

    Returns:
        A function of rows and presence `(b, n)` (or None) to predictions `(b,)`.
    """

    def predict(rows: "pd.DataFrame", present: np.ndarray | None) -> np.ndarray:
        if hasattr(model, "classes_"):
            return model.classes_[model.logits(rows, present=present).argmax(1)]
        return model.outputs(rows, present=present)[:, 0]

    return predict


def explain_rows(model: Any, rows: "pd.DataFrame") -> tuple["Explanation", float]:  # noqa: ANN401
    """Explanation of the rows, and the milliseconds that one row took.

    Args:
        model: Fitted estimator.
        rows: Rows to explain.
    """
    start = time.perf_counter()
    explanation = model.explain(rows)
    milliseconds = 1000 * (time.perf_counter() - start) / len(rows)
    return with_spectrum(explanation, model, rows), milliseconds


def with_spectrum(
    explanation: "Explanation",
    model: Any,  # noqa: ANN401 - either estimator
    rows: "pd.DataFrame",
    most: int = 32,
) -> "Explanation":
    """The explanation with the model's mean order spectrum, over the first rows.

    Args:
        explanation: Of the rows.
        model: Fitted estimator.
        rows: What was explained.
        most: Rows whose dividends are looked at.
    """
    if "order_spectrum" in explanation.diagnostics or not hasattr(model, "dividends"):
        return explanation
    dividends = model.dividends(rows.iloc[:most])
    try:
        spectrum = dividends.order_spectrum().mean((0, 2))
    except ValueError:  # too many coalitions to write out: part by part is a closed form
        spectrum = dividends.term_spectrum().mean((0, 2))
    diagnostics = {**explanation.diagnostics, "order_spectrum": spectrum[None]}
    return dataclasses.replace(explanation, diagnostics=diagnostics)


def telling_rows(
    model: Any,  # noqa: ANN401 - either estimator
    rows: "pd.DataFrame",
    y: np.ndarray | None = None,
) -> list[tuple[int, str]]:
    """Rows that say more than the first three, and why: the surest, the least sure, a mistake.

    Args:
        model: Fitted estimator.
        rows: Rows that may be shown.
        y: Their targets, for the mistake; or None.
    """
    if not hasattr(model, "dividends"):  # a selector has no scores to be sure or unsure by
        return [(row, "") for row in range(min(3, len(rows)))]
    predicted = model.predict(rows)
    if hasattr(model, "classes_"):
        logits = np.sort(model.logits(rows), axis=1)
        margin = logits[:, -1] - logits[:, -2]
        found = {"the surest": int(margin.argmax()), "the least sure": int(margin.argmin())}
        wrong = np.flatnonzero(predicted != y) if y is not None else []
        if len(wrong):
            worst = int(wrong[margin[wrong].argmax()])
            found[f"the surest mistake (it is {y[worst]})"] = worst  # pyright: ignore[reportOptionalSubscript]
    else:
        found = {"the highest": int(predicted.argmax()), "the lowest": int(predicted.argmin())}
        if y is not None:
            found["the furthest off"] = int(np.abs(predicted - y).argmax())
    return list({row: (row, why) for why, row in found.items()}.values())
