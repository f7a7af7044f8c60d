"""What an amortized explainer reads with: a state for every player, one for the example.

Each encoder also knows how examples become its inputs, so that training, explaining and a saved
folder all read alike.
"""

import itertools
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from amortized.examples import Examples, as_examples
from amortized.packed_texts import Inputs, States
from amortized.text_encoder import TextEncoder


class RowEncoder(nn.Module):
    """A perceptron over rows of a table, standardised by what it was shown.

    Args:
        n_features: Numbers in a row.
        n_players: Players `n`.
        width: Units of each hidden layer.
        depth: Hidden layers.
        state: Size of a player's state.
    """

    padded = False
    mean: Tensor
    scale: Tensor

    def __init__(
        self, n_features: int, n_players: int, width: int = 128, depth: int = 3, state: int = 16
    ) -> None:
        super().__init__()
        if min(n_features, n_players, width, depth, state) < 1:
            raise ValueError(
                f"n_features={n_features}, n_players={n_players}, width={width}, depth={depth}, "
                f"state={state}; all must be positive."
            )
        self.n_players, self.width, self.state = n_players, state, state
        sizes = [n_features, *[width] * depth]
        layers: list[nn.Module] = []
        for fan_in, fan_out in itertools.pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.spread = nn.Linear(width, n_players * state)
        self.summary = nn.Linear(width, state)
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("scale", torch.ones(n_features))

    def standardise(self, rows: Tensor) -> None:
        """Remember location and scale of the rows."""
        rows = rows.flatten(1).float()
        self.mean.copy_(rows.mean(0))
        self.scale.copy_(
            rows.std(0).clamp(min=1e-6) if len(rows) > 1 else torch.ones_like(rows[0])
        )

    def read(self, examples: Any) -> Tensor:  # noqa: ANN401 - an array or a tensor
        """The rows as float32 `(b, features)`."""
        rows = _numbers(examples).flatten(1).float()
        if rows.shape[1] != len(self.mean):
            raise ValueError(
                f"rows have {rows.shape[1]} features; this explainer knows {len(self.mean)}."
            )
        return rows

    def collate(self, read: Tensor) -> Inputs:
        """The rows on the encoder's device."""
        return {"x": read.to(self.mean.device)}

    def pack(self, read: Tensor) -> Inputs:
        """The same: rows have no padding."""
        return self.collate(read)

    def names(self, read: Tensor) -> None:
        """Rows have no names of their own."""

    def forward(self, inputs: Inputs) -> States:
        """States of a batch."""
        hidden = self.layers((inputs["x"] - self.mean) / self.scale)
        players = rearrange(self.spread(hidden), "b (n d) -> b n d", n=self.n_players)
        mask = torch.ones(players.shape[:2], dtype=torch.bool, device=players.device)
        return States(players, self.summary(hidden), mask)

    def save_extra(self, folder: str | PathLike[str]) -> None:
        """Nothing lies beside the weights."""

    def load_extra(self, folder: str | PathLike[str]) -> None:
        """Nothing lies beside the weights."""


class ImageEncoder(nn.Module):
    """Images whose players are the cells of a grid: each cell in full, and what surrounds it.

    Args:
        shape: Channels, height and width.
        grid: Rows and columns of players, in reading order.
        width: Channels of each layer.
        depth: Residual layers.
    """

    padded = False
    mean: Tensor
    scale: Tensor

    def __init__(
        self, shape: Sequence[int], grid: Sequence[int], width: int = 32, depth: int = 3
    ) -> None:
        super().__init__()
        if len(shape) != 3 or len(grid) != 2:
            raise ValueError(
                f"shape={shape} and grid={grid}; (channels, height, width), (rows, columns)."
            )
        self.shape, self.grid, self.width = tuple(shape), tuple(grid), width
        if shape[1] % grid[0] or shape[2] % grid[1]:
            raise ValueError(f"shape={shape} cannot be cut into grid={grid} equal cells.")
        self.n_players = grid[0] * grid[1]
        cell = (shape[1] // grid[0], shape[2] // grid[1])
        self.cells = nn.Conv2d(shape[0], width, cell, stride=cell)
        self.place = nn.Parameter(0.02 * torch.randn(self.n_players, width))
        self.stem = nn.Conv2d(shape[0], width, 3, padding=1)
        self.layers = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=2**i, dilation=2**i) for i in range(depth)
        )
        self.pool = nn.AdaptiveAvgPool2d(self.grid)
        self.context = nn.Linear(width, width)
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.register_buffer("scale", torch.ones(shape[0]))

    def standardise(self, rows: Tensor) -> None:
        """Remember location and scale of the channels."""
        self.mean.copy_(rows.float().mean((0, 2, 3)))
        self.scale.copy_(rows.float().std((0, 2, 3)).clamp(min=1e-6))

    def read(self, examples: Any) -> Tensor:  # noqa: ANN401 - an array or a tensor
        """The images as float32 `(b, channels, height, width)`."""
        images = _numbers(examples).float()
        if tuple(images.shape[1:]) != self.shape:
            raise ValueError(
                f"images have shape {tuple(images.shape[1:])}; this explainer knows {self.shape}."
            )
        return images

    def collate(self, read: Tensor) -> Inputs:
        """The images on the encoder's device."""
        return {"x": read.to(self.mean.device)}

    def pack(self, read: Tensor) -> Inputs:
        """The same: images have no padding."""
        return self.collate(read)

    def names(self, read: Tensor) -> None:
        """Images have no names of their own."""

    def forward(self, inputs: Inputs) -> States:
        """States of a batch."""
        channels = [part[:, None, None] for part in (self.mean, self.scale)]
        images = (inputs["x"] - channels[0]) / channels[1]
        hidden = self.stem(images)
        for layer in self.layers:
            hidden = hidden + layer(hidden.relu())
        whole = hidden.mean((2, 3))
        cells = rearrange(self.pool(hidden) + self.cells(images), "b d h w -> b (h w) d")
        players = cells + self.context(whole)[:, None] + self.place
        mask = torch.ones(players.shape[:2], dtype=torch.bool, device=players.device)
        return States(players, whole, mask)

    def save_extra(self, folder: str | PathLike[str]) -> None:
        """Nothing lies beside the weights."""

    def load_extra(self, folder: str | PathLike[str]) -> None:
        """Nothing lies beside the weights."""


Encoder = TextEncoder | RowEncoder | ImageEncoder

ENCODERS: dict[str, type[Encoder]] = {
    "text": TextEncoder,
    "rows": RowEncoder,
    "images": ImageEncoder,
}
"""Encoders by the `kind` of their specification."""


def make_encoder(spec: Mapping[str, Any]) -> Encoder:
    """An encoder from its specification.

    Args:
        spec: `kind` and the keyword arguments of its class.

    Raises:
        ValueError: If the kind is unknown.
    """
    words = dict(spec)
    kind = words.pop("kind", None)
    if kind not in ENCODERS:
        raise ValueError(f"encoder kind {kind!r} is unknown; use one of {tuple(ENCODERS)}.")
    return ENCODERS[kind](**words)


def spec_for(examples: Examples, n_players: int, **sizes: Any) -> dict[str, Any]:  # noqa: ANN401
    """The specification of an encoder of rows or images.

    Args:
        examples: A tensor `(b, features)` or `(b, channels, height, width)`.
        n_players: Players of the game.
        sizes: Keyword arguments of the encoder's class, such as `width` and `grid`.

    Raises:
        TypeError: If the examples are texts.
        ValueError: If the players of images are no grid.
    """
    if not isinstance(examples, Tensor):
        raise TypeError("examples are texts; a TextModel is needed, whose encoder reads them.")
    if examples.ndim == 4:
        side = round(n_players**0.5)
        grid = sizes.pop("grid", [side, n_players // max(1, side)])
        if grid[0] * grid[1] != n_players:
            raise ValueError(
                f"grid={grid} has {grid[0] * grid[1]} cells, the game {n_players} players."
            )
        return {"kind": "images", "shape": list(examples.shape[1:]), "grid": list(grid), **sizes}
    features = examples[0].numel()
    return {"kind": "rows", "n_features": features, "n_players": n_players, **sizes}


def _numbers(examples: Any) -> Tensor:  # noqa: ANN401
    found = as_examples(examples)
    if not isinstance(found, Tensor):
        raise TypeError("this explainer reads numbers (b, *features), not texts.")
    return found
