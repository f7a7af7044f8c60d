"""What HarsanyiClassifier and HarsanyiRegressor share: columns, baseline, a net and its game."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from harsanyi.columns import Unknown, check_reach, encode_frame, learn_columns
from harsanyi.fitting import Schedule
from harsanyi.losses import COALITION_WEIGHT
from harsanyi.measures import measure, out_of_bag
from harsanyi.net import HarsanyiNet
from harsanyi.recipe import check_recipe
from harsanyi.rows import as_frame, baseline_row, completed, raw_row, split_rows
from harsanyi.table import Absence, Column, Table

if TYPE_CHECKING:
    from baselines.explanation import Explanation
    from baselines.interactions import Interactions
    from harsanyi.dividends import Dividends
    from harsanyi.presets import Preset

SPECTRUM_ROWS = 16
"""Rows whose order spectrum comes along with an explanation, evenly spaced."""


class TableEstimator(BaseEstimator):
    """An estimator whose predictions are a game over the columns of a table.

    Arguments and attributes are those of `HarsanyiClassifier`.
    """

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
        check_recipe(self.parts, self.bags, self.preset)
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
            "dtype": torch_dtype(self.dtype),
            "key": key,
            "checkpoint_dir": self.checkpoint_dir,
            "progress": self.progress,
        }
        if self.preset is not None:
            from harsanyi.presets import grow_published

            return grow_published(train, validation, self.preset, **options)
        from harsanyi.recipe import grow

        parts = None if self.parts is None else tuple(self.parts)
        return grow(train, validation, parts=parts, bags=self.bags, **options)

    def _adopt_baseline(self) -> None:
        self.baseline_ = raw_row(self.net_.baseline.cpu().numpy(), self.columns_)


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


def torch_dtype(name: str) -> torch.dtype:
    """The dtype of weights that estimators call by `name`.

    Raises:
        ValueError: If they cannot be fitted in it.
    """
    dtypes = {"float32": torch.float32, "float64": torch.float64}
    if name not in dtypes:
        raise ValueError(f"dtype={name!r}; fit in 'float32' or 'float64' (cast net_ afterwards).")
    return dtypes[name]
