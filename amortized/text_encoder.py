"""A transformers encoder that gives an amortized explainer a state for every player of a text."""

import copy
import json
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from amortized.examples import as_examples
from amortized.packed_texts import (
    Inputs,
    PackedReader,
    PackedStates,
    States,
    pack_texts,
    packed_reader,
)
from baselines.text_loading import load_tokenizer
from baselines.text_players import EncodedText, encode_texts


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
        self.plain = False  # read as transformers does, padding and all
        self._reader: list[PackedReader | None] = []  # in a list, and found at first use

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

    def pack(self, read: Sequence[EncodedText]) -> Inputs:
        """A batch without padding where the network can read that, else as `collate` has it."""
        reader = None if self.padded or self.plain else self.reader
        if reader is None:
            return self.collate(read)
        packed, device = pack_texts(read), reader.device
        if device.type == "cpu":
            return packed
        return {name: part.to(device) for name, part in packed.items()}

    @property
    def reader(self) -> PackedReader | None:
        """What reads packed texts, or None where the network is of an unknown family."""
        if not self._reader:
            self._reader.append(packed_reader(self.network))
        return self._reader[0]

    def forward(self, inputs: Inputs) -> States | PackedStates:
        """States of a batch from `collate` or `pack`."""
        if "attention_mask" not in inputs and self.reader is not None:
            return self.reader(inputs)
        owners, counts = inputs["owners"], inputs["counts"]
        given = {k: v for k, v in inputs.items() if k not in ("owners", "counts")}
        hidden = self.network(**given).last_hidden_state  # (b, length, d)
        n = int(counts.max())
        place = torch.arange(n, device=owners.device)
        weight = (owners[:, None] == place[:, None]).to(hidden.dtype)  # (b, n, length)
        players = (weight @ hidden) / weight.sum(-1, keepdim=True).clamp(min=1)
        real = given["attention_mask"][..., None].to(hidden.dtype)
        whole = (hidden * real).sum(1) / real.sum(1)
        return States(players, whole + hidden[:, 0], place < counts[:, None])

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
    words = json.loads(config.to_json_string(use_diff=False))
    for name in ("_name_or_path", "transformers_version", "architectures", "id2label", "label2id"):
        words.pop(name, None)
    return words
