"""Distillation: a black box as the teacher of an exact student, and what the student loses."""

from typing import Any

import numpy as np

Teacher = Any
"""A fitted estimator, a function of X, or the answers themselves."""


def soft_targets(
    teacher: Teacher,
    X: Any,  # noqa: ANN401
    classes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """A teacher's probabilities and the labels of their columns.

    Args:
        teacher: A fitted classifier with `predict_proba`, a function of X, or probabilities.
        X: Rows.
        classes: Labels found in y; empty when there is no y.

    Returns:
        Probabilities `(b, k)`, float64, and labels `(k,)`.

    Raises:
        TypeError: If the teacher cannot answer.
        ValueError: If its answers are no probabilities, or its classes differ from those of y.
    """
    if hasattr(teacher, "predict_proba"):
        answers = teacher.predict_proba(X)
    elif callable(teacher):
        answers = teacher(X)
    else:
        answers = teacher
    p = _array(answers)
    if p.ndim == 1:
        p = np.stack([1 - p, p], 1)
    if p.ndim != 2 or len(p) != len(X) or p.shape[1] < 2:
        raise ValueError(
            f"teacher gave shape {p.shape}; probabilities (b, k) are needed for {len(X)} rows."
        )
    if not np.isfinite(p).all() or (p < 0).any() or (np.abs(p.sum(1) - 1) > 1e-3).any():
        raise ValueError("teacher's answers are no probabilities; rows must be >= 0 and sum to 1.")
    p = p / p.sum(1, keepdims=True)
    own = getattr(teacher, "classes_", None)
    labels = np.asarray(own) if own is not None else classes
    if len(labels) == 0:
        labels = np.arange(p.shape[1])
    if len(labels) != p.shape[1]:
        raise ValueError(
            f"teacher has {p.shape[1]} columns for classes {np.asarray(labels).tolist()}."
        )
    if len(classes) and not np.isin(classes, labels).all():
        raise ValueError(
            f"y holds classes {np.asarray(classes).tolist()}; the teacher knows "
            f"{np.asarray(labels).tolist()}."
        )
    return p, labels


def predictions(teacher: Teacher, X: Any) -> np.ndarray:  # noqa: ANN401
    """A teacher's numbers `(b,)`, float64.

    Raises:
        ValueError: If they are not one finite number per row.
    """
    if hasattr(teacher, "predict"):
        answers = teacher.predict(X)
    elif callable(teacher):
        answers = teacher(X)
    else:
        answers = teacher
    values = _array(answers).reshape(-1)
    if len(values) != len(X) or not np.isfinite(values).all():
        raise ValueError(
            f"teacher gave {len(values)} numbers for {len(X)} rows; one finite number per row is "
            "needed."
        )
    return values


def _array(answers: Any) -> np.ndarray:  # noqa: ANN401
    try:
        if hasattr(answers, "detach"):
            answers = answers.detach().cpu().numpy()
        return np.asarray(answers, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"teacher is a {type(answers).__name__} that gives no numbers; pass a fitted "
            "estimator, a function of X, or an array."
        ) from error


def loss_report(
    student: np.ndarray, teacher: np.ndarray, codes: np.ndarray | None = None
) -> dict[str, float]:
    """What a student classifier loses against its teacher on some rows.

    Args:
        student: Probabilities `(b, k)`.
        teacher: Probabilities `(b, k)`.
        codes: True classes `(b,)`, if known.

    Returns:
        Share of equal decisions, mean Kullback-Leibler divergence in nats and, with the truth, the
        accuracies and what the student loses of the teacher's.
    """
    p, q = np.clip(teacher, 1e-12, 1), np.clip(student.astype(np.float64), 1e-12, 1)
    report = {
        "agreement": float((p.argmax(1) == q.argmax(1)).mean()),
        "divergence": float((p * (np.log(p) - np.log(q))).sum(1).mean()),
    }
    if codes is not None and len(codes) == len(p):
        right = float((p.argmax(1) == codes).mean())
        own = float((q.argmax(1) == codes).mean())
        report |= {"teacher_accuracy": right, "accuracy": own, "accuracy_lost": right - own}
    return report


def numeric_report(
    student: np.ndarray, teacher: np.ndarray, truth: np.ndarray | None = None
) -> dict[str, float]:
    """What a student regressor loses against its teacher on some rows.

    Args:
        student: Predictions `(b,)`.
        teacher: Predictions `(b,)`.
        truth: Targets `(b,)`, if known.

    Returns:
        Share of the teacher's variance explained and, with the truth, both R2 and their
        difference.
    """

    def r2(target: np.ndarray, answer: np.ndarray) -> float:
        spread = np.square(target - target.mean()).sum()
        return float(1 - np.square(target - answer).sum() / spread) if spread > 0 else 0.0

    report = {"agreement": r2(teacher, student)}
    if truth is not None:
        right, own = r2(truth, teacher), r2(truth, student)
        report |= {"teacher_r2": right, "r2": own, "r2_lost": right - own}
    return report
