"""What an amortized explainer reads with: a state for every player, one for the example.

Each encoder also knows how examples become its inputs, so that training, explaining and a saved
folder all read alike.
"""

import copy
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from amortized.examples import Examples, as_examples
from baselines.text_encoders import embedding_of, encoder_layers
from baselines.text_loading import load_tokenizer
from baselines.text_networks import blocks
from baselines.text_players import EncodedText, encode_texts

Inputs = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class States:
    """What an encoder says of a batch.

    Args:
        players: `(b, n, d)`.
        whole: `(b, d)`, of the example.
        mask: Bool `(b, n)`, false for padding.
    """

    players: Tensor
    whole: Tensor
    mask: Tensor


class TextEncoder(nn.Module):
    """A transformers encoder; a player's state is the mean over its tokens.

    Args:
        network: Configuration of the encoder, as `PreTrainedConfig.to_dict` gives it.
        players: What plays, as `TextModel` takes it.
        max_length: Most tokens of an input.
        padded: Always read `max_length` tokens, padding attended: the set-up of the Empirical
            Explainer, whose head is tied to positions.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        players: str = "word",
        max_length: int = 512,
        padded: bool = False,
    ) -> None:
        super().__init__()
        from transformers import AutoConfig

        words = dict(network)
        kind = words.pop("model_type")
        self.network = _build(AutoConfig.for_model(kind, **words))
        self.players: Any = players
        self.max_length = max_length
        self.padded = padded
        self.tokenizer: Any = None
        self.width = int(self.network.config.hidden_size)
        self._tight: Any = None  # how it reads without padding, once that was looked up

    @property
    def n_players(self) -> int | None:
        """Number of players where it is fixed: positions of a padded input."""
        return self.max_length if self.padded else None

    @staticmethod
    def spec(
        model: Any,  # noqa: ANN401
        *,
        padded: bool = False,
        max_length: int | None = None,
        layers: int | None = None,
    ) -> dict[str, Any]:
        """The specification of the encoder of a text model.

        Args:
            model: A `TextModel`.
            padded: As above.
            max_length: The model's own when None.
            layers: Read with the first layers only; all when None.

        Raises:
            ValueError: If the model has fewer layers.
        """
        network = _plain(_shortened(model.network.config, layers))
        return {
            "kind": "text",
            "network": network,
            "players": model.players,
            "max_length": max_length or model.max_length,
            "padded": padded,
        }

    def start_from(self, network: nn.Module) -> None:
        """Take the weights of a target's encoder.

        Raises:
            ValueError: If they do not fit.
        """
        base = getattr(network, "base_model", network)
        found = self.network.load_state_dict(base.state_dict(), strict=False)
        weights = dict(self.network.named_parameters())
        missing = [n for n in found.missing_keys if n in weights and "pooler" not in n]
        if missing:
            raise ValueError(
                f"the target's encoder lacks {missing[:3]}; it cannot be started from."
            )

    def read(self, examples: Any) -> list[EncodedText]:  # noqa: ANN401 - texts or pairs
        """Token ids, whose each token is and the players' names, for each text."""
        if self.tokenizer is None:
            raise ValueError("this explainer has no tokenizer; load it from its folder.")
        texts: Any = as_examples(examples)
        if isinstance(texts, Tensor):
            raise TypeError("examples are numbers; this explainer reads texts or pairs of texts.")
        return encode_texts(self.tokenizer, texts, self.players, self.max_length)

    def collate(self, read: Sequence[EncodedText]) -> Inputs:
        """Padded tensors of a batch, on the encoder's device."""
        pad = self.tokenizer.pad_token_id or 0
        names = [name for name in read[0].inputs if name in ("input_ids", "token_type_ids")]
        fill = {"input_ids": pad, "token_type_ids": 0}
        inputs = {
            name: pad_sequence([one.inputs[name] for one in read], True, fill[name])
            for name in names
        }
        owners = pad_sequence([one.owners for one in read], True, -1)
        lengths = torch.tensor([len(one.owners) for one in read])
        inputs["attention_mask"] = (torch.arange(owners.shape[1]) < lengths[:, None]).long()
        if self.padded:
            size = self.max_length - owners.shape[1]
            inputs = {
                name: nn.functional.pad(part, (0, size), value=fill.get(name, 1))
                for name, part in inputs.items()
            }
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            owners = nn.functional.pad(owners, (0, size), value=-1)
        inputs["owners"] = owners
        inputs["counts"] = torch.tensor([len(one.players) for one in read])
        device = next(self.parameters()).device
        return {name: part.to(device) for name, part in inputs.items()}

    def names(self, read: Sequence[EncodedText]) -> list[tuple[str, ...]]:
        """Names of the players of each example."""
        return [one.players for one in read]

    def forward(self, inputs: Inputs) -> States:
        """States of a batch from `collate`."""
        owners, counts = inputs["owners"], inputs["counts"]
        given = {k: v for k, v in inputs.items() if k not in ("owners", "counts")}
        hidden = self.hidden(given)  # (b, length, d)
        n = int(counts.max())
        place = torch.arange(n, device=owners.device)
        weight = (owners[:, None] == place[:, None]).to(hidden.dtype)  # (b, n, length)
        players = (weight @ hidden) / weight.sum(-1, keepdim=True).clamp(min=1)
        if len(hidden) == 1 and not self.padded:  # nothing to leave out
            whole = hidden.mean(1)
        else:
            real = given["attention_mask"][..., None].to(hidden.dtype)
            whole = (hidden * real).sum(1) / real.sum(1)
        return States(players, whole + hidden[:, 0], place < counts[:, None])

    def hidden(self, given: Inputs) -> Tensor:
        """Hidden states `(b, length, d)`; without gradients real tokens only, lying side by side."""
        if torch.is_grad_enabled() or self.padded:
            return self.network(**given).last_hidden_state
        if self._tight is None:
            layers = encoder_layers(self.network)
            found = () if layers is None else (embedding_of(self.network), layers)
            self._tight = found
        if not self._tight:
            return self.network(**given).last_hidden_state
        embed, layers = self._tight
        lengths = given["attention_mask"].sum(1)
        size = given["attention_mask"].shape
        if size[0] == 1 or bool((lengths == size[1]).all()):  # no padding: nothing to pick out
            inputs = {name: part for name, part in given.items() if name != "attention_mask"}
            tokens = embed(inputs).flatten(0, 1)
            for layer in layers:
                mixed = layer.mix(layer.project(tokens), [(0, size[0], size[1])])
                tokens = layer.finish(tokens, mixed)
            return tokens.unflatten(0, size)
        lengths, order = lengths.sort(stable=True)
        inputs = {name: part[order] for name, part in given.items() if name != "attention_mask"}
        real = torch.arange(inputs["input_ids"].shape[1], device=lengths.device) < lengths[:, None]
        padded = embed(inputs)
        tokens, ranges = padded[real], blocks(lengths)
        for layer in layers:
            tokens = layer.finish(tokens, layer.mix(layer.project(tokens), ranges))
        padded = padded.clone()
        padded[real] = tokens
        return padded[order.argsort()]

    def positions(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """Hidden states `(b, length, d)` and each token's player `(b, length)`, for a flat head."""
        given = {k: v for k, v in inputs.items() if k not in ("owners", "counts")}
        return self.network(**given).last_hidden_state, inputs["owners"]

    def save_extra(self, folder: str | PathLike[str]) -> None:
        """Write the tokenizer beside the weights."""
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def load_extra(self, folder: str | PathLike[str]) -> None:
        """Read the tokenizer.

        Raises:
            OSError: If it is missing.
            ValueError: If it is damaged, or has more tokens than the encoder knows.
        """
        self.tokenizer = load_tokenizer(folder, self.network)


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
            raise ValueError("n_features, n_players, width, depth and state must be positive.")
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
        ValueError: If the players of images are no grid.
    """
    if not isinstance(examples, Tensor):
        raise TypeError("texts are read by TextEncoder.spec.")
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


def _build(config: Any) -> Any:  # noqa: ANN401 - transformers' own classes
    from transformers import AutoModel

    config = copy.deepcopy(config)
    try:
        return AutoModel.from_config(config, add_pooling_layer=False)
    except TypeError:  # families without a pooler
        return AutoModel.from_config(config)


def _shortened(config: Any, layers: int | None) -> Any:  # noqa: ANN401
    """A transformers configuration with fewer layers."""
    if layers is None:
        return config
    most = int(config.num_hidden_layers)
    if not 1 <= layers <= most:
        raise ValueError(f"layers={layers}; this model has {most}, and at least one is needed.")
    config = copy.deepcopy(config)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return config


def _plain(config: Any) -> dict[str, Any]:  # noqa: ANN401
    """A transformers configuration as plain JSON, without what belongs to the classifier."""
    import json

    words = json.loads(config.to_json_string(use_diff=False))
    for name in ("_name_or_path", "transformers_version", "architectures", "id2label", "label2id"):
        words.pop(name, None)
    return words
