"""p(y | x, z): what a predictor says of an input of which a selection is shown.

Axes inside the likelihood are the paper's: `m` outer draws, `l` draws inside the logarithm, and
`r` imputations (its K); imputers are called as everywhere, on `(b, (m l), n)` coalitions.
"""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amortized.lex.gradients import Gradient, log_mean_exp
from amortized.lex.inputs import as_answers, as_labels
from baselines import Imputer


class Likelihood(nn.Module):
    """The half of LEX below the masks: an imputer, one or several predictors, and a law of y.

    Args:
        predictors: Map rows, and masks where they have a `mask_channel`, to `(rows, outputs)`.
        imputer: Fills in what is not selected.
        gradient: Estimator that will ask; pathwise ones need the answer differentiable in masks.
        task: `"classification"` or `"regression"`.
        groups: Player of each flattened feature, -1 where it is never shown; None makes each
            feature a player.
        classes: Class labels in the order of the outputs.
        max_rows: Most rows a predictor sees at once.
    """

    def __init__(
        self,
        predictors: nn.Module | Sequence[nn.Module],
        imputer: Imputer,
        gradient: Gradient,
        task: str,
        groups: Tensor | None,
        classes: Sequence[Any] | None,
        max_rows: int | None,
    ) -> None:
        super().__init__()
        members = [predictors] if isinstance(predictors, nn.Module) else list(predictors)
        if not members:
            raise ValueError("predictor is an empty list; LEX needs at least one.")
        self.predictors = nn.ModuleList(members)
        self.imputer: Any = imputer
        self.gradient = gradient
        self.task = task
        self.max_rows = max_rows
        self.classes = None if classes is None else list(classes)
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=task == "regression")
        self.register_buffer("groups", groups)
        self.groups: Tensor | None

    def log_probs(
        self,
        x: Tensor,
        z: Tensor,
        generator: torch.Generator | None = None,
        relaxed: Tensor | None = None,
        owners: Tensor | None = None,
    ) -> Tensor:
        """What the predictor says of `x` completed from each mask.

        Args:
            x: Explicands `(b, *features)`.
            z: Bool masks `(m, l, b, n)`.
            generator: Source of the imputations.
            relaxed: Masks in [0, 1] by which inputs are mixed, to be differentiable in them.
            owners: `(b,)` predictor to ask about each row; None asks all and averages.

        Returns:
            `(m, l, b, r, outputs)`: log-probabilities of classes, or means in a regression.
        """
        m, l, b, _ = z.shape
        coalitions = self.feature_masks(rearrange(z, "m l b n -> b (m l) n"))
        with torch.no_grad():
            rows = self.imputer(x, coalitions, generator)  # (b, (m l), r, *features)
        shown = coalitions.reshape(b, m * l, 1, *x.shape[1:])
        if relaxed is not None:
            # what a present feature would be mixed with has to be drawn too: as if nothing were
            # present, since the draw for this mask returns the feature itself
            with torch.no_grad():
                nothing = torch.zeros_like(coalitions[:, :1])
                filling = self.imputer(x, nothing, generator)
            weight = self.feature_masks(rearrange(relaxed, "m l b n -> b (m l) n"))
            weight = weight.reshape(b, m * l, 1, *x.shape[1:])
            filling = torch.where(shown, filling, rows)
            rows, shown = self.mixed(x, filling, weight), weight
        r = rows.shape[2]
        flat = rows.reshape(b * m * l * r, *x.shape[1:])
        masks = None
        if self.uses_masks:
            masks = shown.expand(rows.shape).reshape(flat.shape)
        asked = None if owners is None else owners.repeat_interleave(m * l * r)
        answers = self._predict(flat, masks, asked)
        return rearrange(answers, "(b m l r) c -> m l b r c", b=b, m=m, l=l)

    def mixed(self, x: Tensor, filling: Tensor, weight: Tensor) -> Tensor:
        """Rows `(b, (m l), r, *features)` between what is shown and what would be filled in."""
        return weight * x[:, None, None] + (1 - weight) * filling

    @property
    def uses_masks(self) -> bool:
        """Whether the predictor sees the masks beside the rows."""
        return any(getattr(member, "mask_channel", False) for member in self.predictors)

    def feature_masks(self, masks: Tensor) -> Tensor:
        """Masks of players `(..., n)` as masks of flattened features; -1 is never shown."""
        if self.groups is None:
            return masks
        shown = nn.functional.pad(masks, (0, 1))  # a last player, absent, whose number is -1
        return shown[..., self.groups.reshape(-1)]

    def _predict(self, rows: Tensor, masks: Tensor | None, owners: Tensor | None) -> Tensor:
        """Answers `(rows, outputs)`, in pieces of `max_rows`."""
        size = self.max_rows or max(1, len(rows))
        if len(rows) <= size:
            return self._answer(rows, masks, owners)
        pieces = []
        for start in range(0, len(rows), size):
            part = (
                rows[start : start + size],
                None if masks is None else masks[start : start + size],
                None if owners is None else owners[start : start + size],
            )
            if (
                torch.is_grad_enabled()
            ):  # activations are computed again, so that memory is bounded
                pieces.append(checkpoint(self._answer, *part, use_reentrant=False))
            else:
                pieces.append(self._answer(*part))
        return torch.cat([piece for piece in pieces if isinstance(piece, Tensor)])

    def _answer(self, rows: Tensor, masks: Tensor | None, owners: Tensor | None) -> Tensor:
        if owners is not None and len(self.predictors) > 1:
            answers: Tensor | None = None
            for position, member in enumerate(self.predictors):
                mine = owners == position
                part = self._one(member, rows[mine], None if masks is None else masks[mine])
                if answers is None:
                    answers = part.new_empty((len(rows), part.shape[1]))
                answers = answers.index_put((mine,), part)
            assert answers is not None  # there is at least one predictor
            return answers
        parts = torch.stack([self._one(member, rows, masks) for member in self.predictors])
        if len(parts) == 1:
            return parts[0]
        return parts.mean(0) if self.task == "regression" else log_mean_exp(parts, 0)

    def _one(self, member: nn.Module, rows: Tensor, masks: Tensor | None) -> Tensor:
        logits = member(rows, masks) if getattr(member, "mask_channel", False) else member(rows)
        if self.task == "regression":
            return logits
        return torch.log_softmax(logits, -1)

    def value(
        self,
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        owners: Tensor | None = None,
    ) -> Callable[..., Tensor]:
        """log p(y | x, z) as a function of masks, for the gradient estimators.

        Args:
            x: Explicands `(b, *features)`.
            y: Class positions `(b,)`, soft labels `(b, c)`, or real answers `(b,)`.
            generator: Source of the imputations.
            owners: `(b,)` predictor to ask about each row, or None.

        Returns:
            `value(z, relaxed=None)`: `(m, l, b)`, or `(m, l, b, c)` under soft labels.
        """
        moving = self.gradient.pathwise or self.predictor_moves

        def evaluate(z: Tensor, relaxed: Tensor | None = None) -> Tensor:
            with torch.set_grad_enabled(moving and torch.is_grad_enabled()):
                answers = self.log_probs(x, z, generator, relaxed, owners)
                return self._score(answers, y)

        return evaluate

    def _score(self, answers: Tensor, y: Tensor) -> Tensor:
        """log of the mean likelihood over imputations: `(m, l, b)` or `(m, l, b, c)`."""
        if self.task == "regression":
            scale = self.log_scale.exp()
            away = (y[:, None] - answers[..., 0]) / scale
            log_p = -0.5 * away**2 - self.log_scale - 0.5 * math.log(2 * math.pi)
            return self._mean_imputation(log_p, 3)
        log_p = self._mean_imputation(answers, 3)  # (m, l, b, c)
        if y.ndim == 2:
            return log_p
        index = y.expand(log_p.shape[:-1])[..., None]
        return log_p.gather(-1, index)[..., 0]

    def _mean_imputation(self, log_p: Tensor, dim: int) -> Tensor:
        weights = getattr(self.imputer, "weights", None)
        if weights is None:
            return log_mean_exp(log_p, dim)
        shape = [1] * log_p.ndim
        shape[dim] = len(weights)
        return torch.logsumexp(
            log_p + weights.to(log_p).clamp(min=1e-30).log().reshape(shape), dim
        )

    @property
    def predictor_moves(self) -> bool:
        """Whether the predictor has trainable parameters now."""
        moves = any(parameter.requires_grad for parameter in self.predictors.parameters())
        return moves or self.log_scale.requires_grad

    def encode(self, y: Any) -> Tensor:  # noqa: ANN401 - labels of any kind
        """Labels as the likelihood takes them.

        Args:
            y: Classes, soft labels `(b, c)` (rows of probabilities), or real answers.

        Returns:
            Int64 class positions `(b,)`, float soft labels `(b, c)`, or float answers `(b,)`.

        Raises:
            ValueError: If a class is unknown, or a number is not finite.
        """
        if self.task == "regression":
            return as_answers(y, self.log_scale)
        return as_labels(y, self.classes, self.log_scale)


def with_draws(imputer: Imputer, imputations: int | None) -> Any:  # noqa: ANN401 - still an imputer
    """A copy of the imputer with its number of draws set, where it draws."""
    if imputations is None or not isinstance(imputer, nn.Module):
        return imputer
    settable = "n_draws" in imputer.__dict__
    if not settable:
        return imputer
    copied = copy.copy(imputer)
    copied.n_draws = imputations  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    return copied
