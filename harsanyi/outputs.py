"""What every Harsanyi model of transformers returns, and how labels meet its logits."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.utils.generic import ModelOutput

from harsanyi.losses import prediction_loss
from harsanyi.table import ProblemType


@dataclass
class HarsanyiOutput(ModelOutput):
    """What a Harsanyi model returns.

    Attributes:
        loss: Scalar, when labels were given.
        logits: `(b, k)`.
        shapley_values: `(b, n, k)`, exact for the model's own game.
        base_values: `(b, k)`, the logits with nobody present.
        additivity_gap: `(b, k)`, sum of the values minus what it should be, as measured.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    shapley_values: Tensor | None = None
    base_values: Tensor | None = None
    additivity_gap: Tensor | None = None


def explained(
    logits: Tensor, shapley: Tensor, base: Tensor, loss: Tensor | None
) -> HarsanyiOutput:
    """The output of a pass that explains itself, its additivity gap measured.

    Args:
        logits: `(b, k)`.
        shapley: `(b, n, k)`.
        base: `(b, k)`.
        loss: Scalar, where there were labels.
    """
    return HarsanyiOutput(
        loss=loss,
        logits=logits,
        shapley_values=shapley,
        base_values=base,
        additivity_gap=shapley.sum(1) - (logits - base),
    )


def given(output: HarsanyiOutput, return_dict: bool | None) -> HarsanyiOutput | tuple[Any, ...]:
    """The output in the form asked for: a tuple when `return_dict` is False."""
    return output.to_tuple() if return_dict is False else output


def problem_of(config: Any) -> ProblemType:  # noqa: ANN401 - any config of transformers
    """The kind of problem a config names; all that is no regression is classification."""
    return "regression" if config.problem_type == "regression" else "classification"


def targets_of(labels: Tensor, problem: ProblemType) -> Tensor:
    """Labels as losses take them: classes `(b,)`, or numbers `(b, k)` from `(b,)` or `(b, k)`."""
    return labels.reshape(len(labels), -1) if problem == "regression" else labels


def label_loss(logits: Tensor, labels: Tensor, problem: ProblemType) -> Tensor:
    """Mean cross-entropy or squared error of logits `(b, k)`; see `prediction_loss`."""
    return prediction_loss(logits, targets_of(labels, problem), problem_type=problem)
