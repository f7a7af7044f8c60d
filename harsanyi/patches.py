"""What a player of an image is, and one vector for each: patches of pixels, cells, features.

A patch encoder reads the pixels of its own patch and nothing else, so pixels themselves can be
taken away. A cell encoder is any stem of convolutions: its cells overlap on the pixels, so cells
can be absent while pixels cannot. A feature encoder takes the cells of somebody else's network.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class PixelEncoder(nn.Module):
    """Raw pixels scaled to the weights' dtype; the root of the encoders below.

    Args:
        size: Rows and columns of an image.
        channels: Channels `c` of an image.
    """

    def __init__(self, size: Sequence[int], channels: int) -> None:
        super().__init__()
        self.size, self.channels = (int(size[0]), int(size[1])), int(channels)
        self.register_buffer("mean", torch.zeros(self.channels))
        self.register_buffer("spread", torch.ones(self.channels))

    mean: Tensor
    spread: Tensor
    grid: tuple[int, int]
    width: int

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of an input."""
        return self.channels, *self.size

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take mean and spread of each channel from images `(b, c, h, w)`."""
        numbers = images.double()
        self.mean.copy_(numbers.mean((0, 2, 3)))
        self.spread.copy_(numbers.std((0, 2, 3), correction=0).clamp(min=1e-6))

    def scaled(self, x: Tensor) -> Tensor:
        """Images of mean 0 and spread 1, in the dtype of the weights."""
        shape = "c -> c 1 1"
        return (x.to(self.mean.dtype) - rearrange(self.mean, shape)) / rearrange(
            self.spread, shape
        )


class PatchEncoder(PixelEncoder):
    """One vector per patch, from the pixels of that patch alone.

    Args:
        size: Rows and columns of an image; patches at the lower and right border may be cut.
        channels: Channels `c` of an image.
        patch: Side of a patch in pixels.
        width: Entries of a vector.
        hidden: Entries of the layer between; 0 for none.

    Raises:
        ValueError: If a patch is larger than the image.
    """

    def __init__(
        self,
        size: Sequence[int],
        channels: int,
        *,
        patch: int = 4,
        width: int = 64,
        hidden: int = 64,
    ) -> None:
        super().__init__(size, channels)
        if not 1 <= patch <= min(self.size):
            raise ValueError(f"patch={patch} does not fit {self.size[0]} x {self.size[1]} pixels.")
        self.patch, self.width = patch, width
        self.grid = (math.ceil(self.size[0] / patch), math.ceil(self.size[1] / patch))
        first = nn.Conv2d(channels, hidden or width, patch, patch)
        self.layers = nn.Sequential(first)
        if hidden:
            self.layers.extend([_normed(hidden), nn.ReLU(), nn.Conv2d(hidden, width, 1)])
        self.layers.extend([_normed(width), nn.ReLU()])

    def pixels(self, present: Tensor) -> Tensor:
        """Present pixels, bool `(b, h, w)`, of present patches `(b, n)`."""
        cells = rearrange(present, "b (h w) -> b h w", h=self.grid[0])
        return repeated(cells, self.patch)[:, : self.size[0], : self.size[1]]

    def players(self, pixels: Tensor) -> Tensor:
        """Patches `(b, n)` with any of the pixels `(b, h, w)`, bool."""
        missing = [self.grid[i] * self.patch - self.size[i] for i in (0, 1)]
        padded = F.pad(pixels, (0, missing[1], 0, missing[0]))
        tiles = rearrange(padded, "b (h p) (w q) -> b (h w) (p q)", p=self.patch, q=self.patch)
        return tiles.any(-1)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Vectors `(b, d, h, w)`; what stands in absent patches is not looked at.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Bool `(b, n)`; None means everybody.
        """
        z = self.scaled(x)
        if present is not None:
            z = torch.where(rearrange(self.pixels(present), "b h w -> b 1 h w"), z, 0)
        missing = [self.grid[i] * self.patch - self.size[i] for i in (0, 1)]
        return self.layers(F.pad(z, (0, missing[1], 0, missing[0])))


class CellEncoder(PixelEncoder):
    """One vector per cell of the feature map of a stem of convolutions.

    Args:
        size: Rows and columns of an image.
        channels: Channels `c` of an image.
        stem: Triples `[width, kernel, stride]`, one per convolution.
    """

    def __init__(
        self, size: Sequence[int], channels: int, *, stem: Sequence[Sequence[int]]
    ) -> None:
        super().__init__(size, channels)
        self.layers = nn.Sequential()
        rows, columns = self.size
        for width, kernel, stride in stem:
            self.layers.append(nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False))
            self.layers.extend([_normed(width), nn.ReLU()])
            rows, columns = (
                (side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (rows, columns)
            )
            channels = width
        if min(rows, columns) < 1 or not stem:
            raise ValueError(
                f"stem={stem} leaves no cell of {self.size[0]} x {self.size[1]} pixels."
            )
        self.grid, self.width = (rows, columns), channels

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Vectors `(b, d, h, w)` of raw images `(b, c, h, w)`; pixels are always present."""
        return self.layers(self.scaled(x))


class FeatureEncoder(nn.Module):
    """One vector per cell of the feature map of a frozen network.

    The network is any module that maps images to `(b, c, h, w)`, or to an output with such a
    `last_hidden_state`. It is given, not built: `attach` it before weights are loaded.

    Args:
        grid: Rows and columns of the feature map.
        channels: Channels of the feature map.
        width: Entries of a vector.
        size: Rows and columns of an image.
        colours: Channels of an image.
    """

    def __init__(
        self,
        *,
        grid: Sequence[int],
        channels: int,
        width: int,
        size: Sequence[int],
        colours: int = 3,
    ) -> None:
        super().__init__()
        self.grid, self.width = (int(grid[0]), int(grid[1])), int(width)
        self.size = (int(size[0]), int(size[1]))
        self.features, self.channels = int(channels), int(colours)
        self.register_buffer("mean", torch.zeros(self.features))
        self.register_buffer("spread", torch.ones(self.features))
        self.layers = nn.Sequential(nn.Conv2d(self.features, width, 1), _normed(width), nn.ReLU())
        self.backbone: nn.Module | None = None

    mean: Tensor
    spread: Tensor

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of an input."""
        return self.channels, *self.size

    def attach(self, backbone: nn.Module) -> "FeatureEncoder":
        """Use a network, frozen and in eval mode for good."""
        self.backbone = backbone.eval().requires_grad_(False)
        return self

    def train(self, mode: bool = True) -> "FeatureEncoder":
        """Set train or eval mode, but for the frozen network."""
        super().train(mode)
        if self.backbone is not None:
            self.backbone.eval()
        return self

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Take mean and spread of each channel from features `(b, c, h, w)`."""
        numbers = features.double()
        self.mean.copy_(numbers.mean((0, 2, 3)))
        self.spread.copy_(numbers.std((0, 2, 3), correction=0).clamp(min=1e-6))

    def is_features(self, x: Tensor) -> bool:
        """Whether `x` is a feature map already."""
        return tuple(x.shape[1:]) == (self.features, *self.grid)

    def map(self, x: Tensor) -> Tensor:
        """Feature map `(b, c, h, w)` of images, or `x` itself where it is one.

        Raises:
            ValueError: If there is no network, or its map has another shape than announced.
        """
        if self.is_features(x):
            return x
        if self.backbone is None:
            raise ValueError(
                "this model reads the features of a backbone; pass backbone=MODULE when it is "
                f"built or loaded, or feature maps (b, {self.features}, {self.grid[0]}, "
                f"{self.grid[1]}) in place of images."
            )
        weight = next(self.backbone.parameters(), self.mean)
        found = feature_map(self.backbone, x.to(weight.dtype))
        if tuple(found.shape[1:]) != (self.features, *self.grid):
            raise ValueError(
                f"backbone gave {tuple(found.shape)}; the config announces (b, {self.features}, "
                f"{self.grid[0]}, {self.grid[1]})."
            )
        return found

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Vectors `(b, d, h, w)` of images or feature maps."""
        found, shape = self.map(x).to(self.mean.dtype), "c -> c 1 1"
        return self.layers((found - rearrange(self.mean, shape)) / rearrange(self.spread, shape))


def feature_map(backbone: nn.Module, x: Tensor) -> Tensor:
    """The feature map `(b, c, h, w)` that a network makes of images.

    Raises:
        ValueError: If it makes something else.
    """
    # no graph is kept behind frozen weights, but gradients with respect to pixels pass
    out: Any = backbone(x)
    found = out if isinstance(out, Tensor) else getattr(out, "last_hidden_state", None)
    if not isinstance(found, Tensor) or found.ndim != 4:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(out).__name__
        raise ValueError(f"backbone gave {shape}; a feature map (b, c, h, w) is needed.")
    return found


ENCODERS = {"patches": PatchEncoder, "cells": CellEncoder, "features": FeatureEncoder}


def build_encoder(spec: dict[str, Any]) -> Any:  # noqa: ANN401 - one of the three
    """The encoder that `spec` describes: its "kind" and keyword arguments.

    Raises:
        ValueError: If the kind is unknown.
    """
    options = dict(spec)
    kind = options.pop("kind", None)
    if kind not in ENCODERS:
        raise ValueError(f"encoder['kind'] is {kind!r}; known are {', '.join(ENCODERS)}.")
    return ENCODERS[kind](**options)


def repeated(cells: Tensor, times: int) -> Tensor:
    """Every cell of `(b, h, w)` as a square of `times` by `times`."""
    return cells.repeat_interleave(times, 1).repeat_interleave(times, 2)


def _normed(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width)
