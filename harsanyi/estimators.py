"""HarsanyiClassifier and HarsanyiRegressor: estimators that explain themselves exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin  # pyright: ignore[reportMissingTypeStubs]

from baselines.torch_calls import from_array
from harsanyi.columns import Unknown
from harsanyi.losses import COALITION_WEIGHT
from harsanyi.rows import as_frame, class_codes, row_weights
from harsanyi.table import Absence
from harsanyi.table_estimator import TableEstimator, torch_dtype
from harsanyi.teachers import Teacher, loss_report, soft_targets

if TYPE_CHECKING:
    from harsanyi.presets import Preset


class HarsanyiClassifier(ClassifierMixin, TableEstimator):
    """A classifier whose every prediction comes with exact Shapley values of its logits.

    The game is v(S) = `logits(X, present=S)`. In `absence="mask"`, the default, only the mask
    decides who is absent, so a value that happens to equal the baseline keeps its say; on data
    where most rows share a column's mode, `absence="baseline"` would give that column a value of
    zero in all of them.

    Args:
        preset: "chen2023" for the published Harsanyi-MLP with its blocks alive,
            "chen2023-released" for it as published, dead blocks included; None for the recipe for
            tables.
        parts: Kinds of parts to use, such as ("gated", "trees"); the recipe's choice when None.
        bags: Bags per part; the recipe's choice when None. 1 means 2: one to judge the other.
        absence: "mask", "baseline" (absent, too, when a cell equals `baseline_`) or "marginal"
            (averaged over the training rows, where every part can).
        baseline: "mean" (mode for a category), "learned" (of the cells that occur in a column, the
            one that changes an additive model's outputs least), or one raw row, in order or by
            name. Trees substitute it for absent cells; the other parts learn what absence is
            worth, and read it only to tell who is absent in `absence="baseline"`.
        unknown: "error" refuses a category that training did not show, "missing" treats it as
            missing.
        coalition_weight: Share of the loss on random coalitions.
        epochs: Passes over the rows at most; None fits them to their number.
        batch_size: Rows per step.
        learning_rate: Peak learning rate.
        weight_decay: AdamW's.
        validation_fraction: Rows held out to choose epochs and the mixture of parts; 0 judges on
            the training rows.
        patience: Epochs without improvement after which training stops.
        dtype: "float32" or "float64".
        checkpoint_dir: Folder from which a killed fit continues.
        progress: Show bars.
        random_state: Seed; the same seed gives the same model.
        class_weight: "balanced", or weights by class.

    Attributes:
        classes_: Labels in the order of the logit columns.
        players_: Names of the players, one per column of X.
        baseline_: One raw row.
        net_: The HarsanyiNet.
        columns_: What is known of the columns.
        measures_: What was measured on the held-out rows: score, half-masked score, exactness,
            additivity gap, order spectrum.
        distillation_: With a teacher: what the student loses.

    Source: Chen et al. (2023) for the idea; parts as their own files say.

    Example:
        >>> import numpy as np
        >>> from harsanyi import HarsanyiClassifier
        >>> X = np.random.default_rng(0).normal(size=(120, 3))
        >>> model = HarsanyiClassifier(parts=("additive",), bags=1, epochs=3, random_state=0)
        >>> e = model.fit(X, np.where(X[:, 0] > 0, "yes", "no")).explain(X[:2])
        >>> e.values.shape, e.exact  # two rows, three players, one output per class
        (torch.Size([2, 3, 2]), True)
        >>> np.allclose(e.values.sum(1) + e.base_values, model.logits(X[:2]), atol=1e-5)
        True
    """

    _problem_type = "classification"

    def __init__(
        self,
        *,
        preset: Preset | None = None,
        parts: Sequence[str] | None = None,
        bags: int | None = None,
        absence: Absence = "mask",
        baseline: Literal["mean", "learned"] | Sequence[Any] | Mapping[str, Any] = "mean",
        unknown: Unknown = "error",
        coalition_weight: float = COALITION_WEIGHT,
        epochs: int | None = None,
        batch_size: int = 256,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        validation_fraction: float = 0.15,
        patience: int = 20,
        dtype: str = "float32",
        checkpoint_dir: str | PathLike[str] | None = None,
        progress: bool = False,
        random_state: Any = None,  # noqa: ANN401
        class_weight: Literal["balanced"] | Mapping[Any, float] | None = None,
    ) -> None:
        super().__init__(
            preset=preset,
            parts=parts,
            bags=bags,
            absence=absence,
            baseline=baseline,
            unknown=unknown,
            coalition_weight=coalition_weight,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            validation_fraction=validation_fraction,
            patience=patience,
            dtype=dtype,
            checkpoint_dir=checkpoint_dir,
            progress=progress,
            random_state=random_state,
        )
        self.class_weight = class_weight

    classes_: np.ndarray

    def fit(
        self,
        X: Any,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        sample_weight: Any = None,  # noqa: ANN401
        *,
        teacher: Teacher | None = None,
    ) -> Self:
        """Learn from labels, or from a teacher's probabilities.

        Args:
            X: Frame or array: numbers, categories, missing values.
            y: Labels; with a teacher they are only used to compare accuracies.
            sample_weight: Weight of each row.
            teacher: A fitted classifier, a function of X, or its probabilities `(b, k)`.

        Returns:
            self.

        Raises:
            ValueError: If lengths differ, there is one class only, or a value cannot be used.
        """
        frame = as_frame(self, X, reset=True)
        classes, codes = class_codes(self, X, y, teacher)
        probabilities = None
        if teacher is not None:
            probabilities, classes = soft_targets(teacher, X, classes)
        self.classes_ = classes
        weight = row_weights(sample_weight, X, self.class_weight, y)
        self._fit(
            frame,
            codes if probabilities is None else probabilities,
            weight,
            1 if len(classes) == 2 else len(classes),
            codes if probabilities is None else probabilities.argmax(1),
            [str(label) for label in classes],
        )
        if probabilities is not None:
            self.distillation_ = loss_report(self.predict_proba(X), probabilities, codes)
        return self

    def logits(self, X: Any, present: Any = None) -> np.ndarray:  # noqa: ANN401
        """The game: logits with only some players present.

        Args:
            X: Frame or array; columns that a frame lacks are absent players.
            present: Bool `(b, n)` or `(n,)`, true = present; None means everybody.

        Returns:
            `(b, k)`, one column per class in the order of `classes_`; two columns sum to zero.
        """
        return self._values(*self._rows(X, present))

    def decision_function(self, X: Any) -> np.ndarray:  # noqa: ANN401
        """Log-odds `(b,)` of the second of two classes, or logits `(b, k)`."""
        logits = self._values(self.encode(X), None)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: ANN401
        """Probabilities `(b, k)`, the softmax of the logits."""
        return from_array(self._values(self.encode(X), None)).softmax(-1).numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: ANN401
        """Labels `(b,)`: the class of the largest logit."""
        logits = self._values(self.encode(X), None)  # first, so that an unfitted model says so
        return self.classes_[logits.argmax(1)]


class HarsanyiRegressor(RegressorMixin, TableEstimator):
    """A regressor whose every prediction comes with exact Shapley values.

    The game is v(S) = `outputs(X, present=S)`, in units of the target. Arguments and attributes
    are those of `HarsanyiClassifier`, without classes.

    Example:
        >>> import numpy as np
        >>> from harsanyi import HarsanyiRegressor
        >>> X = np.random.default_rng(0).normal(size=(120, 3))
        >>> model = HarsanyiRegressor(parts=("additive",), bags=1, epochs=3, random_state=0)
        >>> e = model.fit(X, 2 * X[:, 0]).explain(X[:2])
        >>> e.values.shape, e.exact
        (torch.Size([2, 3, 1]), True)
    """

    _problem_type = "regression"

    def fit(
        self,
        X: Any,  # noqa: ANN401
        y: Any = None,  # noqa: ANN401
        sample_weight: Any = None,  # noqa: ANN401
        *,
        teacher: Teacher | None = None,
    ) -> Self:
        """Learn from targets, or from a teacher's predictions.

        Args:
            X: Frame or array: numbers, categories, missing values.
            y: Targets `(b,)`; with a teacher they are only used to compare errors.
            sample_weight: Weight of each row.
            teacher: A fitted regressor, a function of X, or its predictions `(b,)`.

        Returns:
            self.

        Raises:
            ValueError: If lengths differ or a value cannot be used.
        """
        from harsanyi.rows import numeric_targets
        from harsanyi.teachers import numeric_report, predictions

        frame = as_frame(self, X, reset=True)
        truth = None if y is None and teacher is not None else numeric_targets(self, X, y)
        targets = truth if teacher is None else predictions(teacher, X)
        assert targets is not None  # one of the two was given, or numeric_targets raised
        reach = np.abs(targets).max()
        most = torch.finfo(torch_dtype(self.dtype)).max ** 0.5  # squares must be finite
        if not reach < most:
            raise ValueError(
                f"y reaches {reach:.3g}; {self.dtype} takes less than {most:.0e}. Rescale it, or "
                "pass dtype='float64'."
            )
        weight = row_weights(sample_weight, X, None, None)
        total = max(weight.sum(), np.finfo(float).tiny)
        centre = float((targets * weight).sum() / total)
        scale = float(np.sqrt((np.square(targets - centre) * weight).sum() / total)) or 1.0
        name = str(getattr(y, "name", None) or "y")
        self._fit(frame, (targets[:, None] - centre) / scale, weight, 1, None, [name])
        with torch.no_grad():  # back to units of the target
            self.net_.mixture.mul_(scale)
            self.net_.bias.mul_(scale).add_(centre)
        if teacher is not None:
            self.distillation_ = numeric_report(self.predict(X), targets, truth)
        return self

    def outputs(self, X: Any, present: Any = None) -> np.ndarray:  # noqa: ANN401
        """The game: predictions `(b, 1)` with only some players present.

        Args:
            X: Frame or array; columns that a frame lacks are absent players.
            present: Bool `(b, n)` or `(n,)`, true = present; None means everybody.
        """
        return self._values(*self._rows(X, present))

    def predict(self, X: Any) -> np.ndarray:  # noqa: ANN401
        """Predictions `(b,)`."""
        return self._values(self.encode(X), None)[:, 0]
