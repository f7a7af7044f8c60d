"""Laws of teachers: what may teach, what it may say, and what a student is told of its loss."""

import numpy as np
import pandas as pd
import pytest
import torch

from harsanyi.columns import learn_columns
from harsanyi.teachers import loss_report, numeric_report, predictions, soft_targets

X = np.zeros((3, 2))
NONE = np.array([])


class Judge:
    classes_ = np.array(["no", "yes"])

    def predict_proba(self, X):
        return np.full((len(X), 2), 0.5)


@pytest.mark.parametrize(
    "teacher",
    [Judge(), lambda X: np.full(len(X), 0.5), torch.full((3, 2), 0.5), [[1, 1], [1, 1], [1, 1]]],
)
def test_an_estimator_a_function_and_numbers_teach_alike(teacher):
    if isinstance(teacher, list):
        teacher = np.array(teacher) / 2
    p, labels = soft_targets(teacher, X, NONE)
    np.testing.assert_allclose(p, 0.5)
    assert list(labels) == (["no", "yes"] if isinstance(teacher, Judge) else [0, 1])


@pytest.mark.parametrize(
    ("answers", "classes", "error", "words"),
    [
        (np.full((2, 2), 0.5), NONE, ValueError, r"shape \(2, 2\)"),
        (np.ones((3, 1)), NONE, ValueError, r"shape \(3, 1\)"),
        (np.full((3, 2), 0.7), NONE, ValueError, "no probabilities"),
        (np.full((3, 2), np.nan), NONE, ValueError, "no probabilities"),
        (np.full((3, 2), 0.5), np.array([0, 1, 2]), ValueError, "2 columns for classes"),
        ("words", NONE, TypeError, "gives no numbers"),
        (Judge(), np.array(["maybe"]), ValueError, r"y holds classes \['maybe'\]"),
    ],
)
def test_answers_that_are_no_probabilities_are_refused(answers, classes, error, words):
    with pytest.raises(error, match=words):
        soft_targets(answers, X, classes)


@pytest.mark.parametrize("answers", [np.ones(2), np.array([1.0, np.inf, 0.0])])
def test_numbers_of_a_teacher_are_one_finite_per_row(answers):
    assert list(predictions(torch.ones(3, 1), X)) == [1, 1, 1]
    with pytest.raises(ValueError, match="one finite number per row"):
        predictions(answers, X)


def test_a_student_that_answers_as_its_teacher_loses_nothing():
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]])
    said = loss_report(p, p, np.array([0, 1, 0]))
    assert said["agreement"] == 1
    assert said["divergence"] == pytest.approx(0)
    assert said["accuracy_lost"] == 0
    assert said["accuracy"] == pytest.approx(2 / 3)
    assert set(loss_report(p, p)) == {"agreement", "divergence"}
    numbers = np.arange(3.0)
    assert numeric_report(numbers, numbers, numbers)["r2_lost"] == 0
    assert numeric_report(numbers, np.ones(3))["agreement"] == 0  # a teacher that never varies


@pytest.mark.parametrize(
    ("cells", "error", "words"),
    [
        ([1j, 2j, 3j], TypeError, "column 'a' of X is complex"),
        (pd.to_datetime(["2020-01-01"] * 3), TypeError, "column 'a' of X has dtype datetime"),
        ([[1], [2], [3]], TypeError, "column 'a' of X holds a list"),
    ],
)
def test_columns_that_are_neither_numbers_nor_categories_are_named(cells, error, words):
    with pytest.raises(error, match=words):
        learn_columns(pd.DataFrame({"a": cells}))


def test_columns_of_one_name_are_named():
    with pytest.raises(ValueError, match=r"several columns named \['a'\]"):
        learn_columns(pd.DataFrame(np.zeros((2, 2)), columns=["a", "a"]))


def test_numbers_written_as_objects_are_numbers_and_mixed_labels_have_an_order():
    frame = pd.DataFrame({"n": pd.Series([1, 2.5, None], dtype=object), "m": ["b", 1, "a"]})
    numbers, mixed = learn_columns(frame)
    assert not numbers.is_category
    assert len(mixed.categories) == 3
