"""Imputers: they fill in the absent features of an explicand and never call a model.

Present entries are returned bit for bit, even beside NaN.
"""

from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from torch import Tensor, nn


@runtime_checkable
class Imputer(Protocol):
    """Fills in absent features.

    An imputer may also carry `n_draws` (its number of imputations `r`, 1 if absent), by which a
    game keeps inside its memory budget, and `weights` `(r,)`, which sum to 1.
    """

    def __call__(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Impute.

        Args:
            x: Explicands `(b, *features)`.
            coalitions: Bool `(b, m, n)` over the `n` flattened features, true = present.
            generator: Source of the draws, for imputers that draw.

        Returns:
            `(b, m, r, *features)`.
        """
        ...


class BaselineImputer(nn.Module):
    """Absent features take the values of one reference input.

    Args:
        baseline: `(*features)`, or a number for all features.

    Raises:
        ValueError: On a call whose `x` has other features than the baseline.
    """

    description = "baseline imputer"
    n_draws = 1

    def __init__(self, baseline: Tensor | float) -> None:
        super().__init__()
        self.register_buffer("baseline", torch.as_tensor(baseline))
        self.baseline: Tensor

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, 1, *features)` of `x` `(b, *features)`."""
        present = feature_mask(x, coalitions)
        baseline = _beside(self.baseline, x)
        if baseline.ndim and baseline.shape != x.shape[1:]:
            raise ValueError(
                f"baseline has shape {tuple(baseline.shape)}; x needs one of {tuple(x.shape[1:])}."
            )
        return torch.where(present, x[:, None], baseline)[:, :, None]


class MarginalImputer(nn.Module):
    """Absent features take the values of each background row in turn.

    Args:
        background: `(r, *features)`.
        weights: `(r,)`, non-negative, scaled here to sum to 1; None weighs rows alike.

    Raises:
        ValueError: If the background is empty or the weights do not fit it.

    Source: interventional value function, Janzing, Minorics and Bloebaum (2020).
    """

    description = "marginal imputer"

    def __init__(self, background: Tensor, weights: Tensor | None = None) -> None:
        super().__init__()
        background = torch.as_tensor(background)
        if background.ndim < 2 or len(background) == 0:
            raise ValueError(
                f"background has shape {tuple(background.shape)}; it needs (r, *features), r >= 1."
            )
        if weights is not None:
            weights = torch.as_tensor(weights, dtype=torch.float64)
            if weights.shape != (len(background),):
                raise ValueError(
                    f"weights have shape {tuple(weights.shape)}; one per background row is needed: "
                    f"({len(background)},)."
                )
            if not (torch.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
                raise ValueError("weights must be finite, non-negative, and not all zero.")
            weights = weights / weights.sum()
        self.register_buffer("background", background)
        self.register_buffer("weights", weights)
        self.background: Tensor
        self.weights: Tensor | None

    @property
    def n_draws(self) -> int:
        """Imputations `r` per coalition: the background rows."""
        return len(self.background)

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`."""
        if x.shape[1:] != self.background.shape[1:]:
            raise ValueError(
                f"x has features {tuple(x.shape[1:])}; the background has "
                f"{tuple(self.background.shape[1:])}."
            )
        present = feature_mask(x, coalitions)
        return torch.where(present[:, :, None], x[:, None, None], _beside(self.background, x))


def _beside(filling: Tensor, x: Tensor) -> Tensor:
    """Fill-in values on the device of `x` and, where `x` is floating point, in its dtype."""
    return filling.to(x) if x.is_floating_point() else filling.to(x.device)


def feature_mask(x: Tensor, coalitions: Tensor) -> Tensor:
    """Coalitions of flattened features in the shape of the features.

    Args:
        x: Explicands `(b, *features)`.
        coalitions: Bool `(b, m, n)`, `n` the number of flattened features.

    Returns:
        Bool `(b, m, *features)`.

    Raises:
        TypeError: If the coalitions are not bool.
        ValueError: If their shape does not fit `x`.
    """
    if coalitions.dtype != torch.bool:
        raise TypeError(f"coalitions are {coalitions.dtype}; an imputer needs bool masks.")
    n_features = x[0].numel() if len(x) else rearrange(x, "b ... -> b (...)").shape[1]
    if (
        coalitions.ndim != 3
        or coalitions.shape[-1] != n_features
        or coalitions.shape[0] not in (1, len(x))
    ):
        raise ValueError(
            f"coalitions have shape {tuple(coalitions.shape)}; x of shape {tuple(x.shape)} needs "
            f"(b, m, n) = ({len(x)}, m, {n_features})."
        )
    return coalitions.reshape(*coalitions.shape[:2], *x.shape[1:])
