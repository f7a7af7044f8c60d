"""Labels of texts: classes of any kind in a fixed order, or numbers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from harsanyi.vocabulary import Text


def plain_labels(labels: Sequence[Any]) -> list[Any]:
    return [y.item() if isinstance(y, np.generic | Tensor) else y for y in labels]


def check_labels(texts: Sequence[Text], labels: Sequence[Any]) -> None:
    if not texts:
        raise ValueError("texts is empty; training and scoring need at least one.")
    if not hasattr(labels, "__len__"):
        raise TypeError(f"labels is a {type(labels).__name__}; pass one label for each text.")
    if len(texts) != len(labels):
        raise ValueError(f"there are {len(texts)} texts and {len(labels)} labels; pass one each.")
    if any(y is None or (isinstance(y, float) and math.isnan(y)) for y in plain_labels(labels)):
        raise ValueError("labels holds missing values (None or NaN); drop these rows.")


def classes_of(labels: Sequence[Any]) -> list[Any]:
    given = plain_labels(labels)
    for row, y in enumerate(given):
        if not isinstance(y, str | int | bool | float):
            raise TypeError(f"labels[{row}] is a {type(y).__name__}; pass strings or numbers.")
    found = set(given)
    if len(found) < 2:
        raise ValueError(f"labels has one class only ({found}); a classifier needs at least 2.")
    return sorted(found, key=lambda y: (isinstance(y, str), y))


def label_names(classes: list[Any] | None) -> dict[str, Any]:
    names = ["output"] if classes is None else [str(label) for label in classes]
    return {
        "classes": classes,
        "n_outputs": len(names),
        "outputs": names,
        "id2label": dict(enumerate(names)),
        "label2id": {name: i for i, name in enumerate(names)},
    }


def is_regression(problem_type: str | None) -> bool:
    if problem_type not in (None, "regression", "single_label_classification"):
        raise ValueError(f"problem_type={problem_type!r}; pass 'regression' or None.")
    return problem_type == "regression"
