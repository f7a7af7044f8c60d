"""HarsanyiClassifier and HarsanyiRegressor: estimators that explain themselves exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from harsanyi.columns import Unknown, check_reach, encode_frame, learn_columns
from harsanyi.fitting import Schedule
from harsanyi.losses import COALITION_WEIGHT
from harsanyi.measures import measure, out_of_bag
from harsanyi.net import HarsanyiNet
from harsanyi.rows import (
    as_frame,
    baseline_row,
    class_codes,
    completed,
    raw_row,
    row_weights,
    split_rows,
)
from harsanyi.table import Absence, Column, Table
from harsanyi.teachers import Teacher, loss_report, soft_targets

if TYPE_CHECKING:
    from baselines.explanation import Explanation
    from baselines.interactions import Interactions
    from harsanyi.dividends import Dividends
    from harsanyi.presets import Preset


SPECTRUM_ROWS = 16
"""Rows whose order spectrum comes along with an explanation, evenly spaced."""


class _HarsanyiEstimator(BaseEstimator):
    """What classifier and regressor share: columns, baseline, the net and its game."""

    _problem_type: Literal["classification", "regression"]

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
        random_state: Any = None,  # noqa: ANN401 - scikit-learn's kinds of seed
    ) -> None:
        self.preset = preset
        self.parts = parts
        self.bags = bags
        self.absence = absence
        self.baseline = baseline
        self.unknown = unknown
        self.coalition_weight = coalition_weight
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.dtype = dtype
        self.checkpoint_dir = checkpoint_dir
        self.progress = progress
        self.random_state = random_state

    preset: Preset | None
    absence: Absence
    unknown: Unknown
    net_: HarsanyiNet
    columns_: tuple[Column, ...]
    players_: list[str]
    baseline_: np.ndarray
    measures_: dict[str, Any]
    n_features_in_: int

    def __sklearn_tags__(self) -> Any:  # noqa: ANN401
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    def encode(self, X: Any) -> Tensor:  # noqa: ANN401
        """Raw rows in the form `net_` takes them.

        Args:
            X: Frame or array of the columns the model was fitted on.

        Returns:
            `(b, n)`, float64: numbers as they are, category codes, NaN for missing.

        Raises:
            ValueError: If columns differ, a number is infinite or a category unknown.
        """
        check_is_fitted(self, "net_")
        frame = as_frame(self, X, reset=False)
        return torch.from_numpy(encode_frame(frame, self.columns_, self.unknown))

    def _rows(self, X: Any, present: Any) -> tuple[Tensor, Tensor | None]:  # noqa: ANN401
        """Raw rows and their mask; named columns that a frame lacks are absent players."""
        check_is_fitted(self, "net_")
        X, lacking = completed(X, self.players_, hasattr(self, "feature_names_in_"))
        x = self.encode(X).to(self.net_.bias.device)
        mask = _mask(present, x)
        if not any(lacking):
            return x, mask
        there = ~torch.tensor(lacking, device=x.device).expand(x.shape)
        return x, there if mask is None else mask & there

    def _values(self, x: Tensor, mask: Tensor | None) -> np.ndarray:
        x = x.to(self.net_.bias.device)
        mask = None if mask is None else mask.to(x.device)
        with torch.no_grad():
            step = self.net_.max_rows
            pieces = [
                self.net_(rows, None if mask is None else mask[i * step : i * step + len(rows)])
                for i, rows in enumerate(x.split(step))
            ]
        values = torch.cat(pieces).cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()

    def explain(self, X: Any, present: Any = None) -> Explanation:  # noqa: ANN401
        """Exact Shapley values of the model's own game, all outputs at once.

        Args:
            X: Frame or array; columns that a frame lacks are absent players, of value 0.
            present: Players of the game, bool `(b, n)` or `(n,)`; the others stay absent.

        Returns:
            Values `(b, n, k)` in units of the outputs (logits for a classifier) and base values;
            diagnostics hold the additivity gap `(b, k)` and the order spectrum `(rows, n, k)` of up
            to 16 rows, evenly spaced, the share of each order in the absolute dividends of the
            parts (`net_.order_spectrum(encode(X))` has it of all rows). A wave has dividends of
            every order, its mass at order s the elementary symmetric polynomial of degree s of
            |e^(ia) - 1| over its angles a: dividends of opposite signs are not netted, so the tail
            of high orders is an upper bound on what a sum over waves leaves there.
        """
        x, mask = self._rows(X, present)
        explanation = self.net_.explain(x, mask)
        some = torch.linspace(0, len(x) - 1, min(len(x), SPECTRUM_ROWS)).long().to(x.device)
        return replace(
            explanation,
            diagnostics={
                **explanation.diagnostics,
                "order_spectrum": self.net_.order_spectrum(
                    x[some], None if mask is None else mask[some]
                ),
            },
        )

    def dividends(self, X: Any, present: Any = None) -> Dividends:  # noqa: ANN401
        """The game of each row as dividends, from which every index follows without a model call.

        Args:
            X: Frame or array; columns that a frame lacks are absent players.
            present: Players of the game, bool `(b, n)` or `(n,)`.

        Returns:
            Dividends; `value(S)` is the model's output on the coalition S.
        """
        x, mask = self._rows(X, present)
        return self.net_.dividends(x, mask)

    def interactions(self, X: Any, index: str = "k-SII", order: int = 2) -> Interactions:  # noqa: ANN401
        """Exact interactions of the rows under an index, up to an order."""
        return self.dividends(X).interactions(index, order)

    def save_pretrained(self, directory: str | PathLike[str]) -> None:
        """Write `config.json`, `model.safetensors` and a model card.

        Args:
            directory: Folder to make; `from_pretrained` and transformers' `AutoModel` read it.
        """
        from harsanyi.saving import save_estimator

        check_is_fitted(self, "net_")
        save_estimator(self, directory)

    @classmethod
    def from_pretrained(cls, directory: str | PathLike[str]) -> Self:
        """Read what `save_pretrained` wrote.

        Args:
            directory: The folder.

        Returns:
            A fitted estimator with equal outputs and explanations.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated or corrupt, of another version, or of another kind
                of model.
        """
        from harsanyi.saving import load_estimator

        return load_estimator(cls, directory)

    def _fit(
        self,
        frame: Any,  # noqa: ANN401 - a pandas frame
        targets: np.ndarray,
        weight: np.ndarray,
        n_outputs: int,
        strata: np.ndarray | None,
        outputs: list[str],
    ) -> None:
        """Grow a net on the rows of a frame that has been checked against `targets`."""
        self.columns_ = learn_columns(frame)
        self.players_ = [column.name for column in self.columns_]
        rows = encode_frame(frame, self.columns_, self.unknown)
        check_reach(rows, self.columns_)
        kept = weight > 0
        if not kept.any():
            raise ValueError("every weight in sample_weight is zero; at least one row must count.")
        rows, targets, weight = rows[kept], targets[kept], weight[kept]
        baseline = baseline_row(self.baseline, rows, weight, self.columns_)
        table = Table(
            x=torch.from_numpy(rows),
            y=torch.from_numpy(targets),
            weight=torch.from_numpy(weight / weight.mean()),
            columns=self.columns_,
            n_outputs=n_outputs,
            problem_type=self._problem_type,
            absence=self.absence,
            baseline=torch.from_numpy(baseline),
        )
        key = _key(self.random_state)
        if isinstance(self.baseline, str) and self.baseline == "learned":
            from harsanyi.learned_baseline import learned_baseline

            table = replace(table, baseline=learned_baseline(table, key))
        train, validation = split_rows(
            len(rows), self.validation_fraction, None if strata is None else strata[kept], key
        )
        self.net_ = self._grow(table.rows(train), table.rows(validation), key)
        self.net_.config.outputs = outputs
        self.net_.sign()
        self._adopt_baseline()
        # a net grown in bags has seen the validation rows, so its scores are those out of bag
        order = torch.cat([torch.as_tensor(train), torch.as_tensor(validation)])
        measures = measure(self.net_, table.rows(validation), key=key)
        self.measures_ = measures | out_of_bag(self.net_, table.rows(order))

    def _grow(self, train: Table, validation: Table, key: int) -> HarsanyiNet:
        schedule = Schedule(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            coalition_weight=self.coalition_weight,
            patience=self.patience,
        )
        options = {
            "schedule": schedule,
            "dtype": _torch_dtype(self.dtype),
            "key": key,
            "checkpoint_dir": self.checkpoint_dir,
            "progress": self.progress,
        }
        if self.preset is not None:
            from harsanyi.presets import grow_published

            return grow_published(train, validation, self.preset, **options)
        from harsanyi.recipe import check_recipe, grow

        check_recipe(self.parts, self.bags)
        parts = None if self.parts is None else tuple(self.parts)
        return grow(train, validation, parts=parts, bags=self.bags, **options)

    def _adopt_baseline(self) -> None:
        self.baseline_ = raw_row(self.net_.baseline.cpu().numpy(), self.columns_)


class HarsanyiClassifier(ClassifierMixin, _HarsanyiEstimator):
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
        return torch.from_numpy(self._values(self.encode(X), None)).softmax(-1).numpy()

    def predict(self, X: Any) -> np.ndarray:  # noqa: ANN401
        """Labels `(b,)`: the class of the largest logit."""
        logits = self._values(self.encode(X), None)  # first, so that an unfitted model says so
        return self.classes_[logits.argmax(1)]


class HarsanyiRegressor(RegressorMixin, _HarsanyiEstimator):
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
        most = torch.finfo(_torch_dtype(self.dtype)).max ** 0.5  # squares must be finite
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


def _mask(present: Any, x: Tensor) -> Tensor | None:  # noqa: ANN401
    if present is None:
        return None
    mask = present if isinstance(present, Tensor) else np.asarray(present)
    if mask.dtype not in (torch.bool, np.dtype(bool)):
        raise TypeError(f"present has dtype {mask.dtype}; pass a bool mask, true = present.")
    mask = mask if isinstance(mask, Tensor) else torch.from_numpy(mask.copy())
    if mask.shape not in (x.shape, x.shape[1:], (1, x.shape[1])):
        raise ValueError(
            f"present has shape {tuple(mask.shape)}; X has {tuple(x.shape)}, and one flag per "
            "cell or per player is needed."
        )
    return mask.to(x.device).expand(x.shape)


def _key(random_state: Any) -> int:  # noqa: ANN401
    """A seed from any of scikit-learn's kinds; None takes fresh entropy, no global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    if isinstance(random_state, (int, np.integer)):
        if not 0 <= random_state < 2**62:
            raise ValueError(f"random_state={random_state}; pass an int from 0 to 2**62 - 1.")
        return int(random_state)
    if isinstance(random_state, (np.random.RandomState,)):
        return int(random_state.randint(2**31 - 1))
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**31))
    raise TypeError(
        f"random_state is a {type(random_state).__name__}; pass an int, a RandomState or None."
    )


def _torch_dtype(name: str) -> torch.dtype:
    dtypes = {"float32": torch.float32, "float64": torch.float64}
    if name not in dtypes:
        raise ValueError(f"dtype={name!r}; fit in 'float32' or 'float64' (cast net_ afterwards).")
    return dtypes[name]
