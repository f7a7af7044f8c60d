"""`harsanyi train lex`: a selector for a user's table, judged on held-out rows."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from amortized.lex.frames import LEXForTables
from bench.frames import UserTable
from bench.user_models import clear_checkpoints


def train_lex(
    table: UserTable,
    train: np.ndarray,
    test: np.ndarray,
    out: Path,
    rate: float,
    seed: int,
    *,
    epochs: int | None = None,
    progress: bool = True,
) -> tuple[dict[str, Any], str]:
    """Train, score and save a LEX; a training that was killed in this folder continues.

    Args:
        table: Rows and targets.
        train: Row numbers to train on.
        test: Row numbers to score.
        out: Folder of the model.
        rate: Share of columns to select.
        seed: Of everything.
        epochs: Passes of the selector, and most of the predictor; None lets the rows decide.
        progress: Show bars.

    Returns:
        Facts for programs, and the same in words.

    Raises:
        ValueError: If the rate is not strictly between 0 and 1, or the table has unusable cells.
    """
    checkpoint = out / "checkpoint-lex"
    model = LEXForTables(
        rate, table.task, epochs=epochs, predictor_epochs=epochs, random_state=seed,
        progress=progress, checkpoint_dir=checkpoint,
    )  # fmt: skip
    start = time.perf_counter()
    X: Any = table.X
    model.fit(X.iloc[train], table.y[train])
    seconds = time.perf_counter() - start
    answers = model.predict(X.iloc[test])
    if table.task == "classification":
        metric, score = "accuracy", float((answers == table.y[test]).mean())
    else:
        from sklearn.metrics import r2_score

        metric, score = "R2", float(r2_score(table.y[test], answers))
    inclusion = model.explain(X.iloc[test]).values[..., 0].mean(0)
    model.save_pretrained(out)
    clear_checkpoints(out)
    order = inclusion.argsort(descending=True).tolist()
    shown = ", ".join(f"{model.players_[i]} {float(inclusion[i]):.2f}" for i in order[:5])
    facts = {
        "model": str(out),
        "task": table.task,
        "metric": metric,
        "score": score,
        "rate": float(inclusion.mean()),
        "seconds": seconds,
        "inclusion": {model.players_[i]: float(inclusion[i]) for i in order},
        "notes": table.notes,
    }
    words = (
        f"{table.task}, {len(train):,} rows, {len(model.players_)} columns"
        + (f" ({table.notes})" if table.notes else "")
        + f"\n{metric} {score:.4f} on {len(test):,} held-out rows from selections of "
        f"{facts['rate']:.0%} of the columns; most often selected: {shown}"
        + f"\nmodel written to {out}"
    )
    return facts, words
