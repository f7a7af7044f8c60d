"""Moments of independent units, mergeable in any grouping, and what they say of errors."""

import dataclasses

import torch
from torch import Tensor


@dataclasses.dataclass
class PairMoments:
    """Count, mean and squared deviations of independent units, mergeable in any grouping.

    Args:
        count: Units so far.
        mean: Float64 `(b, n, k)`.
        squares: Float64 `(b, n, k)`, sum of squared deviations from the mean.
        scale: `(b, 1, k)`, largest absolute value of the game met so far.
    """

    count: int
    mean: Tensor
    squares: Tensor
    scale: Tensor

    @classmethod
    def of(cls, units: Tensor, scale: Tensor) -> "PairMoments":
        """Moments of units `(b, u, n, k)`."""
        mean = units.mean(1)
        return cls(units.shape[1], mean, (units - mean[:, None]).square().sum(1), scale)

    def merge(self, other: "PairMoments") -> "PairMoments":
        """Moments of both sets of units; Chan et al. (1979), eq. 2.1."""
        count = self.count + other.count
        shift = other.mean - self.mean
        return PairMoments(
            count,
            self.mean + shift * (other.count / count),
            self.squares + other.squares + shift.square() * (self.count * other.count / count),
            torch.maximum(self.scale, other.scale),
        )

    def std_errors(self, dtype: torch.dtype, least: int = 2) -> tuple[Tensor, Tensor] | None:
        """Standard errors of the mean, infinite where the units do not differ, and where that is.

        Args:
            dtype: The game's dtype, whose rounding decides what counts as a difference.
            least: Units below which nothing is said.

        Returns:
            `(b, n, k)` errors and a bool mask, or None below `least` units.
        """
        if self.count < least:
            return None
        spread = (self.squares / (self.count - 1)).sqrt()
        still = spread <= 32 * torch.finfo(dtype).eps * self.scale
        errors = spread / self.count**0.5
        return torch.where(still, torch.inf, errors), still
