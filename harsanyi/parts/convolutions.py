"""A one-dimensional Harsanyi-CNN: layers of vector units whose fields grow with depth.

A unit of layer l at place i sees the places i - l r to i + l r that the text has, and is open when all
of them are present; so it is a dividend of exactly that window. An absent player keeps its slot.
Padding and the text's ends are no children: units there stay alive.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from harsanyi.parts.sequences import Terms, draw, linear


class ConvolutionPart(nn.Module):
    """Stacked gated convolutions with a readout from every layer.

    Args:
        width: Numbers per player `d`.
        n_outputs: Outputs `k`.
        layers: Convolutions.
        radius: Neighbours on each side that a unit reads from the layer below, `r`.
        channels: Units per place and layer.

    Raises:
        ValueError: If a number is below 1.

    Source: Chen et al. (2023), Harsanyi-CNN, with offsets shared by all places and presence gates.
    """

    deletes = False

    def __init__(
        self, width: int, n_outputs: int, *, layers: int = 2, radius: int = 1, channels: int = 64
    ) -> None:
        super().__init__()
        for name, given in (("layers", layers), ("radius", radius), ("channels", channels)):
            if given < 1:
                raise ValueError(f"{name}={given}; a convolution needs at least 1.")
        self.n_outputs, self.radius = n_outputs, radius
        self.spec: dict[str, Any] = {
            "kind": "convolution",
            "layers": layers,
            "radius": radius,
            "channels": channels,
        }
        kernel = 2 * radius + 1
        sizes = [width, *[channels] * layers]
        self.maps = nn.ModuleList(
            linear(kernel * n_in, n_out, bias=True) for n_in, n_out in itertools.pairwise(sizes)
        )
        self.reads = nn.ModuleList(linear(channels, n_outputs) for _ in range(layers))

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        draw(self, generator)

    def _layers(self, x: Tensor, present: Tensor, real: Tensor) -> list[Tensor]:
        """Units `(b, n, channels)` of each layer; closed ones are 0."""
        z = x * present[..., None]
        gap = (real & ~present).to(x.dtype)[..., None]  # a missing child, which closes its parents
        found = []
        for layer in self.maps:
            h = nn.functional.gelu(layer(_windows(z, self.radius)))
            h = h + z if h.shape == z.shape and found else h
            gap = _windows(gap, self.radius).amax(-1, keepdim=True)
            z = h * ((gap == 0) & real[..., None])
            found.append(z)
        return found

    def forward(self, x: Tensor, present: Tensor, real: Tensor) -> Tensor:
        """Value `(b, k)`."""
        value = x.new_zeros(len(x), self.n_outputs)
        for z, read in zip(self._layers(x, present, real), self.reads, strict=True):
            value = value + read(z.sum(1))
        return value

    def attribute(
        self, x: Tensor, present: Tensor, real: Tensor, tolerance: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values (each unit shared equally by its field) and the value of nobody."""
        shapley = x.new_zeros(*x.shape[:2], self.n_outputs)
        value = x.new_zeros(len(x), self.n_outputs)
        there = real.to(x.dtype)[..., None]
        layers = self._layers(x, present, real)
        for depth, (z, read) in enumerate(zip(layers, self.reads, strict=True), 1):
            worth = read(z)
            value = value + worth.sum(1)
            size = _window_sums(there, depth * self.radius).clamp(min=1)
            shapley = shapley + _window_sums(worth / size, depth * self.radius) * there
        return value, shapley, torch.zeros_like(value)

    def terms(self, x: Tensor, present: Tensor, real: Tensor) -> Terms:
        """Dividends of windows, cut to each text's own length."""
        b, n = real.shape
        place = torch.arange(n, device=x.device)
        sets, values = [], []
        for depth, (z, read) in enumerate(
            zip(self._layers(x, present, real), self.reads, strict=True), 1
        ):
            worth = read(z)
            near = (place[:, None] - place).abs() <= depth * self.radius
            for length in real.sum(1).unique().tolist():
                mine = real.sum(1) == length  # texts of one length share their windows
                sets.append((near & (place < length))[:length])
                values.append(worth[:, :length] * mine[:, None, None])
        if not sets:
            return x.new_zeros(0, n).bool(), x.new_zeros(b, 0, self.n_outputs)
        return torch.cat(sets), torch.cat(values, 1)


def _windows(z: Tensor, radius: int) -> Tensor:
    """`(b, n, c)` to `(b, n, (2 radius + 1) c)`: each place beside its neighbours, 0 outside."""
    n = z.shape[1]
    padded = nn.functional.pad(z, (0, 0, radius, radius))
    return torch.cat([padded[:, i : i + n] for i in range(2 * radius + 1)], -1)


def _window_sums(z: Tensor, radius: int) -> Tensor:
    """`(b, n, c)`: each place plus its neighbours up to `radius` away."""
    n = z.shape[1]
    padded = nn.functional.pad(z, (0, 0, radius, radius))
    return sum((padded[:, i : i + n] for i in range(1, 2 * radius + 1)), padded[:, :n])
