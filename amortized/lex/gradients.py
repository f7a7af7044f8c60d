"""Gradients through z: estimators of d/d logits of E_z log (mean over l of p(y | x, z_l)).

Each returns a loss whose gradient is the estimate, and which also carries the predictor's ordinary
gradient through the likelihood. What is biased says so.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from einops import rearrange
from torch import Tensor

from amortized.lex.masks import MAX_ENUMERATED, Bernoulli, MaskLaw, uniform


class LogLikelihood(Protocol):
    """log p(y | x, z) of masks, as LEX evaluates it under its imputer."""

    def __call__(self, z: Tensor, relaxed: Tensor | None = None) -> Tensor:
        """Evaluate masks.

        Args:
            z: Bool masks `(m, l, b, n)`.
            relaxed: Masks in [0, 1] of the same shape, through which the answer is then
                differentiable: inputs are mixed by them instead of chosen by `z`.

        Returns:
            `(m, l, b)` log-likelihoods, or `(m, l, b, c)` log-probabilities of every class when
            labels are soft; the mean over imputations is already inside the logarithm.
        """
        ...


@dataclass(frozen=True)
class Drawn:
    """What one estimate hands to the training loop.

    Args:
        loss: `(b,)`, to be minimised; its gradient estimates that of minus the bound.
        bound: `(b,)`, the estimated bound on log p(y | x), detached.
    """

    loss: Tensor
    bound: Tensor


@dataclass(frozen=True)
class Objective:
    """The bound on log p(y | x) whose gradient is wanted, and where.

    Args:
        law: Law of the masks.
        logits: Selector's logits `(b, n)`.
        value: log p(y | x, z).
        m: Draws outside the logarithm, whose mean is taken.
        l: Draws inside the logarithm.
        generator: Source of the masks.
        control: `(b,)` baseline that does not depend on the masks, for estimators that take one.
        targets: Soft labels `(b, c)`, when `value` answers `(m, l, b, c)`.
    """

    law: MaskLaw
    logits: Tensor
    value: LogLikelihood
    m: int = 1
    l: int = 1
    generator: torch.Generator | None = None
    control: Tensor | None = None
    targets: Tensor | None = None

    def noise(self) -> Tensor:
        """Fresh noise of the law for `m x l` masks."""
        return self.law.noise(self.logits, self.m, self.l, self.generator)

    def bound(self, w: Tensor, dim: int = 1) -> Tensor:
        """log of the mean likelihood over the inner draws, and its mean under soft labels.

        Args:
            w: Log-likelihoods `(m, l, b)`, or log-probabilities `(m, l, b, c)` with soft labels.
            dim: Axis of the inner draws.

        Returns:
            `(m, b)`: the mean over draws is taken first, then the cross-entropy.
        """
        bound = log_mean_exp(w, dim)
        return bound if self.targets is None else (self.targets * bound).sum(-1)


class Gradient(Protocol):
    """An estimator of the gradient through z."""

    pathwise: bool

    def __call__(self, at: Objective) -> Drawn:
        """Estimate.

        Args:
            at: What is to be differentiated, and where.

        Returns:
            Loss and bound, `(b,)` each.
        """
        ...


def log_mean_exp(values: Tensor, dim: int) -> Tensor:
    """log of the mean of exp(values): the mean is over probabilities, never over their logs.

    Args:
        values: Log-probabilities.
        dim: Axis to average over.

    Returns:
        `values` without that axis.
    """
    return torch.logsumexp(values, dim) - math.log(values.shape[dim])


@dataclass(frozen=True)
class Enumeration:
    """The exact gradient, from every combination of masks. Unbiased, no variance, `q**l` masks."""

    pathwise = False

    def __call__(self, at: Objective) -> Drawn:
        """Loss and bound `(b,)`; draws and their generator change nothing.

        Raises:
            ValueError: If there are too many combinations to list.
        """
        support = at.law.support(at.logits.shape[-1]).to(at.logits.device)
        if len(support) ** at.l > MAX_ENUMERATED:
            raise ValueError(
                f"{len(support)} masks taken {at.l} at a time are more than {MAX_ENUMERATED:,} "
                "combinations; use l=1 or another gradient."
            )
        z = support[:, None, None].expand(-1, 1, len(at.logits), -1)  # (q, 1, b, n)
        w, log_p = at.value(z)[:, 0], at.law.log_prob(at.logits, z)[:, 0]  # (q, b)
        picks = torch.cartesian_prod(*[torch.arange(len(support), device=at.logits.device)] * at.l)
        picks = picks.reshape(-1, at.l)
        bound = at.bound(w[picks])
        loss = -(log_p[picks].sum(1).exp() * bound).sum(0)
        return Drawn(loss, -loss.detach())


@dataclass(frozen=True)
class Reinforce:
    """The score-function gradient. Unbiased; its variance depends on the baseline.

    Args:
        baseline: `"leave-one-out"` (the other outer draws' mean; needs m >= 2), `"network"` (the
            `control` of a full-input predictor, as INVASE has it) or `"none"`.

    Raises:
        ValueError: If the baseline is unknown.

    Source: Williams (1992); leave-one-out, Kool, van Hoof and Welling (2019); network baseline,
        Yoon et al. (2019).
    """

    baseline: str = "leave-one-out"
    pathwise = False

    def __post_init__(self) -> None:
        if self.baseline not in ("leave-one-out", "network", "none"):
            raise ValueError(
                f"baseline={self.baseline!r}; use 'leave-one-out', 'network' or 'none'."
            )

    def __call__(self, at: Objective) -> Drawn:
        """Loss and bound `(b,)`.

        Raises:
            ValueError: If leave-one-out has a single draw, or the network's control is missing.
        """
        z = at.law.hard(at.logits, at.noise())
        reward = at.bound(at.value(z))  # (m, b)
        fixed = reward.detach()
        if self.baseline == "leave-one-out":
            if at.m < 2:
                raise ValueError(f"leave-one-out needs m >= 2 outer draws, not m={at.m}.")
            fixed = (fixed - fixed.mean(0)) * (at.m / (at.m - 1))
        elif self.baseline == "network":
            if at.control is None:
                raise ValueError("baseline='network' needs a control: a predictor on full inputs.")
            fixed = fixed - at.control.detach()
        score = at.law.log_prob(at.logits, z).sum(1)
        return Drawn(-(fixed * score + reward).mean(0), reward.detach().mean(0))


@dataclass(frozen=True)
class Vimco:
    """The score-function gradient of the l-draw bound with a baseline for each draw. Unbiased.

    Source: Mnih and Rezende (2016): a draw's log-likelihood is replaced by the mean of the others'.
    """

    pathwise = False

    def __call__(self, at: Objective) -> Drawn:
        """Loss and bound `(b,)`.

        Raises:
            ValueError: If there is a single inner draw.
        """
        l = at.l
        if l < 2:
            raise ValueError(f"Vimco needs l >= 2 inner draws, not l={l}; use Reinforce.")
        z = at.law.hard(at.logits, at.noise())
        w = at.value(z)  # (m, l, b) or (m, l, b, c)
        bound = at.bound(w)
        fixed = w.detach()
        others = (fixed.sum(1, keepdim=True) - fixed) / (l - 1)
        diagonal = torch.eye(l, dtype=torch.bool, device=w.device).reshape(
            l, l, *[1] * (w.ndim - 2)
        )
        replaced = torch.where(diagonal, others[:, :, None], fixed[:, None])  # (m, l, l', b, ...)
        advantage = bound.detach()[:, None] - at.bound(replaced, 2)
        score = (advantage * at.law.log_prob(at.logits, z)).sum(1)
        return Drawn(-(score + bound).mean(0), bound.detach().mean(0))


@dataclass(frozen=True)
class Rebar:
    """Score function with a concrete relaxation as control variate. Unbiased for Bernoulli masks.

    Args:
        temperature: Of the relaxation.
        coefficient: Weight of the control variate; unbiased at any.

    Raises:
        ValueError: If the temperature is not positive.

    Source: Tucker et al. (2017), eq. 6, with the conditional draw of its appendix.
    """

    temperature: float = 0.5
    coefficient: float = 1.0
    pathwise = True

    def __post_init__(self) -> None:
        _positive_temperature(self.temperature)

    def __call__(self, at: Objective) -> Drawn:
        """Loss and bound `(b,)`.

        Raises:
            TypeError: If the masks are not independent Bernoulli.
        """
        if not isinstance(at.law, Bernoulli):
            raise TypeError(
                f"Rebar redraws noise given a Bernoulli mask; {at.law} has another law. Use "
                "Pathwise or Reinforce."
            )
        noise = at.noise()
        z = at.law.hard(at.logits, noise)
        fresh = uniform(at.logits, tuple(noise.shape), at.generator)
        redrawn = at.law.redraw(at.logits, z, fresh)
        soft = at.law.relaxed(at.logits, noise, self.temperature)
        soft_given_z = at.law.relaxed(at.logits, redrawn, self.temperature)
        reward = at.bound(at.value(z))
        relaxed = at.bound(at.value(soft > 0.5, soft))
        given_z = at.bound(at.value(soft_given_z > 0.5, soft_given_z))
        score = at.law.log_prob(at.logits, z).sum(1)
        c = self.coefficient
        advantage = (reward - c * given_z).detach()
        return Drawn(
            -(advantage * score + reward + c * _path(relaxed - given_z)).mean(0),
            reward.detach().mean(0),
        )


@dataclass(frozen=True)
class Pathwise:
    """Ordinary gradients through relaxed masks. Biased; the bias shrinks with the temperature.

    Args:
        temperature: Of the relaxation.
        straight_through: Evaluate hard masks and differentiate as if they were relaxed.

    Raises:
        ValueError: If the temperature is not positive.

    Source: Maddison et al. (2017); Jang et al. (2017); straight-through, Bengio et al. (2013).
    """

    temperature: float = 0.3
    straight_through: bool = False
    pathwise = True

    def __post_init__(self) -> None:
        _positive_temperature(self.temperature)

    def __call__(self, at: Objective) -> Drawn:
        """Loss and bound `(b,)`; the bound is that of the masks it evaluated."""
        noise = at.noise()
        soft = at.law.relaxed(at.logits, noise, self.temperature)
        z = at.law.hard(at.logits, noise)
        if self.straight_through:
            soft = z.to(soft) + (soft - soft.detach())
        bound = at.bound(at.value(z, soft)).mean(0)
        return Drawn(-bound, bound.detach())


@dataclass(frozen=True)
class Imle:
    """Implicit differentiation: the mask moved by a step against the loss. Biased.

    Args:
        strength: Length of the step, lambda in the paper.

    Raises:
        ValueError: If the strength is not positive.

    Source: Niepert, Minervini and Franceschi (2021), perturb-and-MAP with the same noise twice.
    """

    strength: float = 10.0
    pathwise = True

    def __post_init__(self) -> None:
        if not self.strength > 0:
            raise ValueError(f"strength={self.strength}; it must be positive.")

    def __call__(self, at: Objective) -> Drawn:
        """Loss and bound `(b,)`."""
        noise = at.noise()
        z = at.law.hard(at.logits, noise)
        moved = _Moved.apply(at.logits, noise, at.law, self.strength)
        bound = at.bound(at.value(z, moved)).mean(0)
        return Drawn(-bound, bound.detach())


class _Moved(torch.autograd.Function):
    """Hard masks forward; backward, (mask - mask of logits moved against the gradient) / step."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, noise: Tensor, law: MaskLaw, strength: float) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(logits, noise)
        ctx.law, ctx.strength = law, strength
        return law.hard(logits, noise).to(logits.dtype)

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        logits, noise = ctx.saved_tensors
        slope = grad[0]  # (m, l, b, n)
        m, l = slope.shape[:2]
        # each draw moves its own logits: fold the draws into the batch, one draw a row
        alone = rearrange(logits - ctx.strength * slope, "m l b n -> (m l b) n")
        folded = rearrange(noise, "m l b ... -> 1 1 (m l b) ...")
        moved = ctx.law.hard(alone, folded)[0, 0]
        moved = rearrange(moved, "(m l b) n -> m l b n", m=m, l=l).to(slope)
        here = ctx.law.hard(logits, noise).to(slope)
        return ((here - moved) / ctx.strength).sum((0, 1)), None, None, None


def _path(difference: Tensor) -> Tensor:
    """Zero in value, the difference in gradient: control variates must not shift the loss."""
    return difference - difference.detach()


def _positive_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature={temperature}; it must be positive.")


__all__ = [
    "Drawn",
    "Enumeration",
    "Gradient",
    "Imle",
    "LogLikelihood",
    "Objective",
    "Pathwise",
    "Rebar",
    "Reinforce",
    "Vimco",
    "log_mean_exp",
]
