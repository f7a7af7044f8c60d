"""What an amortized explainer is trained on: one family, from stored labels to fresh coalitions.

With H the sum of 1/j for j below n, and z drawn with Shapley's weights, a single coalition gives
the unbiased label phi' + 2 H (z - |z|/n) (v(z) - v(none) - z phi') for any efficient phi'. With
phi' the prediction itself its regression has FastSHAP's gradient, so all of these are one family.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

Play = Callable[[Tensor], Tensor]
"""Bool coalitions `(b, m, n)` of a batch -> values `(b, m, k)`."""


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the explainer says of a batch.

    Args:
        values: `(b, n, k)`, normalised.
        log_scales: `(b, n, k)`, logarithm of the predicted standard error, or None.
        ends: `(b, 2, k)`, predicted v(none) and v(all).
        mask: Bool `(b, n)`.
    """

    values: Tensor
    log_scales: Tensor | None
    ends: Tensor
    mask: Tensor


@dataclasses.dataclass(frozen=True)
class Batch:
    """What is known of a batch.

    Args:
        inputs: What the encoder reads.
        values: Labels `(b, n, k)`.
        mask: Bool `(b, n)`.
        variance: `(b, k)`, squared standard error of the labels; NaN where unknown.
        ends: `(b, 2, k)`, v(none) and v(all).
        play: Asks the games of this batch, or None where there is no model.
    """

    inputs: dict[str, Tensor]
    values: Tensor
    mask: Tensor
    variance: Tensor
    ends: Tensor
    play: Play | None = None


class Objective(Protocol):
    """A loss of predictions, the mean over a batch."""

    @property
    def online(self) -> bool:
        """Whether it asks the games of the batch and ignores stored labels."""
        ...

    def __call__(
        self, said: Prediction, batch: Batch, scale: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Loss of a batch; `scale` `(k,)` is the unit that values are measured in."""
        ...


@dataclasses.dataclass(frozen=True)
class MeanSquares:
    """Squared error against stored labels, mean over the players of each example.

    Source: Yang et al. (2023); Covert et al. (2024).
    """

    online: bool = dataclasses.field(default=False, init=False)

    def __call__(
        self, said: Prediction, batch: Batch, scale: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error in units of `scale`."""
        return player_mean(((said.values - batch.values) / scale).square(), batch.mask)


@dataclasses.dataclass(frozen=True)
class KnownNoise:
    """Gaussian likelihood of labels whose own error is known: trains the predicted error, too.

    A label differs from the prediction by the explainer's error, which it predicts, and by the
    label's, which the store knows; unknown ones count as zero.

    Source: Seitzer et al. (2022), sec. 3, for what the plain likelihood does to the mean.
    """

    online: bool = dataclasses.field(default=False, init=False)

    def __call__(
        self, said: Prediction, batch: Batch, scale: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Negative log-likelihood per player and output, less its constant."""
        if said.log_scales is None:
            raise ValueError("objective 'nll' needs an explainer with uncertainty=True.")
        noise = (batch.variance.nan_to_num(0.0) / scale.square())[:, None]
        own = (2 * (said.log_scales - scale.log())).exp()
        gap = ((said.values - batch.values) / scale).square()
        # Values learn at the level of error that all share: weighed by its own predicted error, a
        # hard player would be given up for noise before it is learned (Seitzer et al., 2022).
        level = player_mean(own.detach(), batch.mask)
        spread = own + noise
        told = spread.log() + gap.detach() / spread
        return player_mean((gap / (level + noise) + told) / 2, batch.mask)


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """FastSHAP: weighted least squares on fresh coalitions, no labels.

    Args:
        coalitions: Drawn for each example of a batch, in complementary pairs.
        penalty: Weight of the squared gap to v(all) - v(none), for explainers that do not
            normalise.

    Source: Jethani et al. (2022), eq. 5.
    """

    coalitions: int = 8
    penalty: float = 0.0
    online: bool = dataclasses.field(default=True, init=False)

    def __call__(
        self, said: Prediction, batch: Batch, scale: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Squared error of the values, up to a constant: 2 H times the kernel-weighted loss."""
        masks, asked, harmonic = _draw(batch, self.coalitions, generator)
        sums = torch.einsum("bmn,bnk->bmk", masks.to(said.values), said.values)
        gap = (asked - batch.ends[:, :1] - sums) / scale
        count = batch.mask.sum(1).clamp(min=1)
        loss = 2 * harmonic * gap.square().mean((1, 2)) / count
        if self.penalty:
            whole = batch.ends[:, 1] - batch.ends[:, 0]
            loss = loss + self.penalty * ((said.values.sum(1) - whole) / scale).square().mean(1)
        return loss.mean()


@dataclasses.dataclass(frozen=True)
class ControlVariate:
    """Regression on fresh unbiased labels around the explainer's own prediction.

    Args:
        coalitions: Drawn for each example of a batch, in complementary pairs.
    """

    coalitions: int = 8
    online: bool = dataclasses.field(default=True, init=False)

    def __call__(
        self, said: Prediction, batch: Batch, scale: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Mean squared error in units of `scale`."""
        masks, asked, harmonic = _draw(batch, self.coalitions, generator)
        label = control_variate_labels(
            said.values.detach(), masks, asked - batch.ends[:, :1], batch.mask, harmonic
        ).mean(1)
        return player_mean(((said.values - label) / scale).square(), batch.mask)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "mse": MeanSquares,
    "nll": KnownNoise,
    "fastshap": LeastSquares,
    "control-variate": ControlVariate,
}
"""Objectives by name."""


def make_objective(name: str | Objective, **words: Any) -> Objective:  # noqa: ANN401
    """An objective by name.

    Args:
        name: "mse", "nll", "fastshap", "control-variate", or an objective.
        words: Keyword arguments of its class.

    Raises:
        ValueError: If there is no such objective.
    """
    if not isinstance(name, str):
        return name
    if name not in OBJECTIVES:
        raise ValueError(f"objective={name!r} is unknown; use one of {tuple(OBJECTIVES)}.")
    return OBJECTIVES[name](**words)


def player_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the players of each example, then over outputs and examples.

    Args:
        values: `(b, n, k)`.
        mask: Bool `(b, n)`.
    """
    real = mask[..., None].to(values)
    return ((values * real).sum(1) / real.sum(1).clamp(min=1)).mean()


def normalise(
    values: Tensor,
    whole: Tensor,
    mask: Tensor | None,
    how: str = "additive",
    log_scales: Tensor | None = None,
) -> Tensor:
    """Values that sum to v(all) - v(none).

    Args:
        values: `(b, n, k)`.
        whole: `(b, k)`, v(all) - v(none).
        mask: Bool `(b, n)`; None where nobody is padding.
        how: "none" leaves them; "additive" moves all players alike; "precision" moves those most
            whose predicted variance is largest.
        log_scales: `(b, n, k)`, for "precision".

    Returns:
        `(b, n, k)`, padding at 0.

    Raises:
        ValueError: If the way is unknown, or "precision" has no predicted errors.

    Source: Ruiz et al. (1998), eq. 24, for the additive one.
    """
    real: Tensor | float = 1.0
    if mask is not None:
        real = mask[..., None].to(values)
        values = values * real
    if how == "none":
        return values
    gap = (whole - values.sum(1))[:, None]
    if how == "additive":
        share = real / (
            values.shape[1] if mask is None else mask.sum(1)[:, None, None].clamp(min=1)
        )
    elif how == "precision":
        if log_scales is None:
            raise ValueError("normalizer='precision' needs an explainer with uncertainty=True.")
        # errors do not answer for the sum: only the values learn from it
        weight = (2 * (log_scales - log_scales.amax(1, keepdim=True))).exp().detach() * real
        share = weight / weight.sum(1, keepdim=True).clamp(min=1e-30)
    else:
        raise ValueError(f"normalizer={how!r} is unknown; use none, additive or precision.")
    return values + share * gap


def harmonic_number(counts: Tensor) -> Tensor:
    """H, the sum of 1/j for j from 1 to n - 1, for each number of players `(b,)`."""
    most = int(counts.max()) if len(counts) else 0
    table = torch.zeros(max(most, 1) + 1, dtype=torch.float64)
    table[2:] = (1 / torch.arange(1, max(most, 1), dtype=torch.float64)).cumsum(0)
    return table[counts.cpu()].to(counts.device)


def kernel_coalitions(
    mask: Tensor, coalitions: int, generator: torch.Generator | None = None
) -> Tensor:
    """Coalitions with Shapley's weights, in complementary pairs.

    Sizes have probability in proportion to 1 / (s (n - s)); of a size all coalitions are alike.

    Args:
        mask: Bool `(b, n)`, who plays.
        coalitions: Even number of coalitions `m` for each example.
        generator: Source of the draws, on the CPU.

    Returns:
        Bool `(b, m, n)`; of an example with one player, the empty and the grand one.

    Raises:
        ValueError: If the number is not positive and even.
    """
    if coalitions < 2 or coalitions % 2:
        raise ValueError(f"coalitions={coalitions}; complementary pairs need an even number.")
    real = mask.cpu()
    b, n = real.shape
    half = coalitions // 2
    counts = real.sum(1)
    size = torch.arange(n, dtype=torch.float64)
    inside = (size >= 1) & (size < counts[:, None])
    weight = torch.where(inside, 1 / (size * (counts[:, None] - size)).clamp(min=1), 0.0)
    weight[:, 0] = torch.where(counts < 2, 1.0, weight[:, 0])
    sizes = torch.multinomial(weight, half, replacement=True, generator=generator)
    scores = torch.rand((b, half, n), generator=generator, dtype=torch.float64)
    scores = scores.masked_fill(~real[:, None], 2.0)
    place = scores.argsort(-1).argsort(-1)
    chosen = place < sizes[..., None]
    pairs = torch.stack([chosen, ~chosen & real[:, None]], 2).flatten(1, 2)
    return pairs.to(mask.device)


def control_variate_labels(
    around: Tensor, masks: Tensor, values: Tensor, mask: Tensor, harmonic: Tensor
) -> Tensor:
    """One unbiased label for every coalition drawn with Shapley's weights.

    Args:
        around: Efficient values `(b, n, k)` that serve as control variate.
        masks: Bool coalitions `(b, m, n)`.
        values: `(b, m, k)`, v(z) - v(none).
        mask: Bool `(b, n)`.
        harmonic: `(b,)`.

    Returns:
        `(b, m, n, k)`; whatever `around` is, their mean over draws tends to the Shapley values.
    """
    z = masks.to(around)
    rest = values - torch.einsum("bmn,bnk->bmk", z, around)
    count = mask.sum(1).clamp(min=1).to(around)[:, None, None]
    lean = (z - z.sum(-1, keepdim=True) / count) * mask[:, None].to(around)
    step = 2 * harmonic.to(around)[:, None, None, None] * lean[..., None] * rest[:, :, None]
    return around[:, None] + step


def _draw(
    batch: Batch, coalitions: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Coalitions, their values, and H of each example."""
    if batch.play is None:
        raise ValueError("this objective asks the model: pass fit(..., model=...).")
    masks = kernel_coalitions(batch.mask, coalitions, generator)
    values = batch.play(masks).to(batch.values)
    return masks, values, harmonic_number(batch.mask.sum(1)).to(batch.values)
