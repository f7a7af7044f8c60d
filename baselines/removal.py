"""RemovalExplainer: model, imputer and estimator, the three choices of a removal-based explanation.

Covert, Lundberg and Lee (2021) sort some twenty-five explainers by these choices: how a feature is
removed (the imputer), what is explained (the model's output), and how its worth is summed up (the
estimator).
"""

import dataclasses
import inspect
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from einops import rearrange
from torch import Tensor

from baselines.attribution import (
    Inputs,
    Target,
    as_extra,
    flatten,
    joined_model,
    one_each,
    take_target,
    unflatten,
)
from baselines.explanation import Explanation
from baselines.game import MaskedGame
from baselines.groups import Groups
from baselines.imputers import BaselineImputer, Imputer

Estimator = Callable[..., Explanation]


class RemovalExplainer:
    """Explains a model by removing features and watching its output.

    Args:
        model: Maps a tensor `(rows, *features)` to `(rows,)` or `(rows, k)`; a torch module, or
            anything else through `from_callable`.
        imputer: Fills in absent features.
        estimator: Game to explanation, such as `permutation_shapley`; `shapley` when None, which
            picks by players and budget, 2,000 coalitions where the options name none.
        groups: Features that form one player together, as in `MaskedGame`.
        players: Names of the players; group names by default.
        outputs: Names of the outputs.
        max_rows: Most model rows held at once.
        options: Keyword arguments of the estimator, such as `budget` and `generator`.

    Raises:
        TypeError: If the imputer or the estimator cannot be called.

    Source: Covert, Lundberg and Lee (2021), sec. 3.

    Example:
        >>> import torch
        >>> from baselines import RemovalExplainer
        >>> from baselines import BaselineImputer, exact_shapley
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> RemovalExplainer(model, BaselineImputer(0.0), exact_shapley).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    def __init__(
        self,
        model: Callable[..., Tensor],
        imputer: Imputer,
        estimator: Estimator | None = None,
        *,
        groups: Groups | None = None,
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        max_rows: int | None = None,
        **options: Any,  # noqa: ANN401 - the estimator's own
    ) -> None:
        if not callable(imputer):
            raise TypeError(f"imputer is a {type(imputer).__name__} that cannot be called.")
        if estimator is None:
            from baselines import shapley

            estimator = shapley
            if not options.keys() & {"budget", "tolerance", "certify_top_k"}:
                options["budget"] = 2000
        if not callable(estimator):
            raise TypeError(f"estimator is a {type(estimator).__name__} that cannot be called.")
        self.model = model
        self.imputer = imputer
        self.estimator = estimator
        self.groups = groups
        self.players = players
        self.outputs = outputs
        self.max_rows = max_rows
        self.options = options

    def game(self, x: Tensor) -> MaskedGame:
        """The game this explainer plays.

        Args:
            x: Explicands `(b, *features)`.

        Returns:
            A game of `b` explicands.
        """
        return MaskedGame(
            self.model,
            x,
            self.imputer,
            groups=self.groups,
            players=self.players,
            outputs=self.outputs,
            max_rows=self.max_rows,
        )

    def explain(self, x: Tensor) -> Explanation:
        """Worth of every player for every output.

        Args:
            x: Explicands `(b, *features)`.

        Returns:
            The estimator's Explanation, values `(b, n, k)`, with `x` as its data.
        """
        answer = self.estimator(self.game(x), **self.options)
        return dataclasses.replace(answer, data=x) if answer.data is None else answer

    def attribute(
        self,
        inputs: Inputs,
        baselines: Any = None,  # noqa: ANN401 - a number, a tensor or a tuple of them
        target: Target = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        feature_mask: Any = None,  # noqa: ANN401 - a tensor or a tuple of them
        n_samples: int | None = None,
        perturbations_per_eval: int | None = None,
        return_input_shape: bool = True,
        show_progress: bool = False,
    ) -> Any:  # noqa: ANN401 - a tensor for a tensor, a tuple for a tuple
        """Worth of every feature for one output, in captum's form.

        Args:
            inputs: Explicands `(b, *features)`, or a tuple of them for a model of several inputs.
            baselines: Values of absent features: a number, `(*features)`, or a tuple of these.
                None takes the explainer's imputer, which sees several inputs side by side.
            target: Explained output, one for all explicands or one each; None for one output.
            additional_forward_args: What the model is called with after the inputs, the same for
                every row.
            feature_mask: Player of each feature, an integer tensor `(*features)` or `(1,
                *features)`, or a tuple of them; None takes the explainer's groups.
            n_samples: Coalitions per explicand, the estimator's budget; None takes the
                explainer's own.
            perturbations_per_eval: Coalitions of all explicands that the model sees at once;
                None fills the memory budget.
            return_input_shape: Give every feature the worth of its player; False gives `(b, n)`
                for the players themselves.
            show_progress: Show a bar of the model's rows.

        Returns:
            A tensor like `inputs`, or a tuple of them; every feature of a player has its worth.

        Raises:
            ValueError: If shapes do not fit, the target does not exist, the estimator has no
                budget to set, or `perturbations_per_eval` is not positive.
        """
        rows = self._rows_at_once(perturbations_per_eval, inputs)
        options = self.options
        if n_samples is not None:
            if "budget" not in inspect.signature(self.estimator).parameters:
                name = getattr(self.estimator, "__name__", type(self.estimator).__name__)
                raise ValueError(
                    f"n_samples={n_samples}, but {name} takes no budget; leave it out."
                )
            options = options | {"budget": n_samples}
        parts = inputs if isinstance(inputs, tuple) else (inputs,)
        extra = as_extra(additional_forward_args)
        groups, imputer = self.groups, self.imputer
        x = parts[0]
        model: Callable[[Tensor], Tensor] = self.model
        if extra:
            model = lambda rows: self.model(rows, *extra)
        if len(parts) > 1:
            x, model = flatten(parts), joined_model(self.model, parts, extra)
        if baselines is not None:
            given = one_each(baselines, len(parts))
            imputer = BaselineImputer(_joined_row(given, parts).reshape(x.shape[1:]))
        if feature_mask is not None:
            given = one_each(feature_mask, 1)
            groups = _joined_row(given, parts).long().reshape(x.shape[1:])
        with watched(model, show_progress) as seen:
            own = RemovalExplainer(seen, imputer, self.estimator, groups=groups, max_rows=rows)
            game = own.game(x)
            values = take_target(self.estimator(game, **options).values, target)
        if not return_input_shape:
            return values
        if game.membership is not None:
            values = values[:, game.membership.to(values.device)]
        scores = unflatten(values, parts)
        return scores if isinstance(inputs, tuple) else scores[0]

    def _rows_at_once(self, perturbations_per_eval: int | None, inputs: Inputs) -> int | None:
        if perturbations_per_eval is None:
            return self.max_rows
        if perturbations_per_eval < 1:
            raise ValueError(
                f"perturbations_per_eval={perturbations_per_eval}; one coalition at a time is the "
                "least."
            )
        x = inputs[0] if isinstance(inputs, tuple) else inputs
        return perturbations_per_eval * len(x)


@contextmanager
def watched(
    model: Callable[[Tensor], Tensor], shown: bool
) -> Generator[Callable[[Tensor], Tensor]]:
    """The model, with a bar of the rows that it answers where one is wanted.

    Args:
        model: Of rows.
        shown: Whether to show the bar.

    Yields:
        What to call in its place.
    """
    if not shown:
        yield model
        return
    from tqdm.auto import tqdm

    with tqdm(unit=" rows") as bar:

        def counted(rows: Tensor) -> Tensor:
            answer = model(rows)
            bar.update(len(rows))
            return answer

        yield counted


def _joined_row(given: Sequence[Any], parts: Sequence[Tensor]) -> Tensor:
    """Numbers or tensors `(*features)` or `(1, *features)`, one per input, as one row `(n,)`."""
    import torch

    rows: list[Tensor] = []
    for value, part in zip(given, parts, strict=True):
        value = torch.as_tensor(value, device=part.device)
        if value.ndim == part.ndim and len(value) > 1:
            raise ValueError(
                f"a tensor of shape {tuple(value.shape)} differs between explicands; one row "
                f"{tuple(part.shape[1:])} shared by all is needed."
            )
        rows.append(rearrange(value.expand(1, *part.shape[1:]), "o ... -> o (...)")[0])
    return torch.cat(rows)
