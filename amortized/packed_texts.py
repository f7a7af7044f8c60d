"""Texts that lie one behind the other, so that an explainer reads no padding."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amortized.prepared import PreparedLayer, joined
from baselines.text_encoders import Layer, embedding_of, encoder_layers
from baselines.text_networks import blocks
from baselines.text_players import EncodedText

Inputs = dict[str, Tensor]

READ = ("input_ids", "token_type_ids")
"""What an encoder reads of a tokenizer's answer."""


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


@dataclasses.dataclass(frozen=True)
class PackedStates:
    """The same without padding.

    Args:
        players: `(p, d)`, all players of all examples.
        whole: `(b, d)`, of the example.
        mask: Bool `(b, n)`, false for padding.
        rows: Int64 `(p,)`, the example of each player; None where there is one example.
        places: Int64 `(p,)`, its number within the example; None where there is one example.
    """

    players: Tensor
    whole: Tensor
    mask: Tensor
    rows: Tensor | None = None
    places: Tensor | None = None

    def each(self, values: Tensor) -> Tensor:
        """Numbers of examples `(b, q)` for each of their players, `(p, q)` or to be broadcast."""
        return values if self.rows is None else values[self.rows]

    def padded(self, values: Tensor) -> Tensor:
        """Numbers of players `(p, q)` as `(b, n, q)`, padding at 0."""
        if self.rows is None or self.places is None:
            return values[None]
        found = values.new_zeros((*self.mask.shape, values.shape[-1]))
        found[self.rows, self.places] = values
        return found

    def states(self) -> States:
        """The same with padding."""
        return States(self.padded(self.players), self.whole, self.mask)


def pack_texts(read: Sequence[EncodedText]) -> Inputs:
    """Tokens of texts one behind the other, short texts first.

    Args:
        read: Texts of a batch.

    Returns:
        `input_ids` (and `token_type_ids`) `(1, t)` of all tokens; `owners` `(t,)`, the number of
        each token's player among all `p` counted from 1, or 0; `mask` `(b, n)`, false for padding.
        Where there is more than one text, `positions` `(1, t)`, `lengths` `(b,)` of the texts as
        they lie and `order` `(b,)`, which of the batch they are.
    """
    order = sorted(range(len(read)), key=lambda i: len(read[i].owners))
    lying = [read[i] for i in order]
    inputs = {
        name: joined([one.inputs[name] for one in lying])[None]
        for name in lying[0].inputs
        if name in READ
    }
    if len(read) == 1:
        mask = torch.ones((1, len(lying[0].players)), dtype=torch.bool)
        return inputs | {"owners": lying[0].owners + 1, "mask": mask}
    lengths = torch.tensor([len(one.owners) for one in lying])
    counts = torch.tensor([len(one.players) for one in lying])
    found = torch.cat([one.owners for one in lying])
    before = (counts.cumsum(0) - counts).repeat_interleave(lengths)
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    places = torch.tensor(order)
    playing = torch.empty_like(counts).index_copy_(0, places, counts)
    return inputs | {
        "owners": torch.where(found < 0, 0, found + before + 1),
        "mask": torch.arange(int(counts.max())) < playing[:, None],
        "positions": (torch.arange(len(found)) - starts)[None],
        "lengths": lengths,
        "order": places,
    }


class PackedReader:
    """A network of the BERT family on packed texts.

    Args:
        network: A transformers encoder.
        layers: Its layers, from `encoder_layers`.
    """

    def __init__(self, network: nn.Module, layers: list[Layer]) -> None:
        self.network, self.embed = network, embedding_of(network)
        self.layers = [PreparedLayer(layer) for layer in layers]

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return self.layers[0].project.device

    def __reduce__(self) -> Any:  # noqa: ANN401 - a copy reads with the copied network
        return packed_reader, (self.network,)

    def __call__(self, inputs: Inputs) -> PackedStates:
        """States of a batch from `pack_texts`; a player's is the mean over its tokens."""
        owners, mask = inputs["owners"], inputs["mask"]
        given = {name: inputs[name] for name in READ if name in inputs}
        tokens = self.embed(given, inputs.get("positions"))[0]
        alone = "lengths" not in inputs
        ranges = [(0, 1, len(tokens))] if alone else blocks(inputs["lengths"])
        for layer in self.layers:
            tokens = layer(tokens, ranges)
        counts = None if alone else mask.sum(1)
        total = mask.shape[1] if counts is None else int(counts.sum())
        held = owners.bincount(minlength=total + 1)[:, None].clamp(min=1)
        players = tokens.new_zeros((total + 1, tokens.shape[1])).index_add_(0, owners, tokens)
        players = (players / held)[1:]
        if counts is None:
            return PackedStates(players, tokens.mean(0, keepdim=True) + tokens[:1], mask)
        lengths, order = inputs["lengths"], inputs["order"]
        lying = counts[order]
        rows = order.repeat_interleave(lying)
        before = (lying.cumsum(0) - lying).repeat_interleave(lying)
        places = torch.arange(total, device=rows.device) - before
        sums = tokens.new_zeros((len(mask), tokens.shape[1]))
        sums.index_add_(0, order.repeat_interleave(lengths), tokens)
        back = order.argsort()
        firsts = tokens[(lengths.cumsum(0) - lengths)[back]]
        whole = sums / lengths[back][:, None] + firsts
        return PackedStates(players, whole, mask, rows, places)


def packed_reader(network: nn.Module) -> PackedReader | None:
    """The reader of packed texts of a network, or None where its parts are not those it knows.

    Args:
        network: A transformers encoder.
    """
    layers = encoder_layers(network)
    return None if layers is None else PackedReader(network, layers)
