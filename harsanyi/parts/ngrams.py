"""n-gram AND units: a small network on a few neighbouring slots, open when all of them are present.

An absent player keeps its slot: its neighbours do not become each other's neighbours. A unit on one
window is a dividend of exactly that window.
"""

from collections.abc import Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from harsanyi.parts.sequences import Terms, draw, linear

PATTERNS = ((0, 1), (0, 2), (0, 1, 2))


class NgramPart(nn.Module):
    """Vector units on windows of fixed offsets, the same at every place.

    Args:
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.
        patterns: Offsets of each kind of window, ascending from 0; [0, 2] skips a slot.
        channels: Units per window.

    Raises:
        ValueError: If a pattern does not start at 0 or does not ascend.
    """

    deletes = False

    def __init__(
        self,
        width: int,
        n_outputs: int,
        *,
        patterns: Sequence[Sequence[int]] = PATTERNS,
        channels: int = 32,
    ) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.patterns = [list(pattern) for pattern in patterns]
        for pattern in self.patterns:
            if not pattern or pattern[0] != 0 or sorted(set(pattern)) != pattern:
                raise ValueError(
                    f"pattern {pattern} must ascend from offset 0, as [0, 1, 2] does."
                )
        self.spec: dict[str, Any] = {
            "kind": "ngrams",
            "patterns": self.patterns,
            "channels": channels,
        }
        self.channels = channels
        self.maps = nn.ModuleList(
            linear(width, len(p) * channels, scale=len(p) ** -0.5) for p in self.patterns
        )
        self.biases = nn.Parameter(torch.zeros(len(self.patterns), channels))
        self.reads = nn.ModuleList(linear(channels, n_outputs) for _ in self.patterns)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        draw(self, generator)
        if not self.biases.is_meta:
            self.biases.data.zero_()

    def _hidden(self, which: int, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Units `(b, windows, channels)` of one pattern and whether each window is present."""
        pattern = self.patterns[which]
        n_windows = max(0, x.shape[1] - pattern[-1])
        z = rearrange(self.maps[which](x), "b n (o c) -> o b n c", o=len(pattern))
        total, gate = self.biases[which], None
        for offset, part in zip(pattern, z, strict=True):
            place = slice(offset, offset + n_windows)
            total = total + part[:, place]
            gate = present[:, place] if gate is None else gate & present[:, place]
        assert gate is not None
        return nn.functional.gelu(total), gate

    def forward(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)`."""
        value = x.new_zeros(len(x), self.n_outputs)
        for which, read in enumerate(self.reads):
            z, gate = self._hidden(which, x, present)
            value = value + read((z * gate[..., None]).sum(1))
        return value

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values (each window shared equally) and the value of nobody."""
        shapley = x.new_zeros(*x.shape[:2], self.n_outputs)
        value = x.new_zeros(len(x), self.n_outputs)
        for which, (pattern, read) in enumerate(zip(self.patterns, self.reads, strict=True)):
            z, gate = self._hidden(which, x, present)
            worth = read(z) * gate[..., None]  # (b, windows, k)
            value = value + worth.sum(1)
            for offset in pattern:
                shapley[:, offset : offset + worth.shape[1]] += worth / len(pattern)
        return value, shapley, torch.zeros_like(value)

    def terms(self, x: Tensor, present: Tensor, real: Tensor) -> Terms:
        """One dividend per window."""
        n = x.shape[1]
        sets, values = [], []
        for which, (pattern, read) in enumerate(zip(self.patterns, self.reads, strict=True)):
            z, gate = self._hidden(which, x, present)
            worth = read(z) * gate[..., None]
            places = torch.arange(worth.shape[1])[:, None] + torch.tensor(pattern)
            found = torch.zeros(worth.shape[1], n, dtype=torch.bool)
            sets.append(found.scatter(1, places, True).to(x.device))
            values.append(worth)
        return torch.cat(sets), torch.cat(values, 1)
