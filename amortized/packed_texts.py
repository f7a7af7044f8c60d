"""Texts that lie one behind the other, so that an explainer reads no padding."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.text_encoders import Layer, embedding_of, encoder_layers
from baselines.text_networks import blocks
from baselines.text_players import EncodedText

Inputs = dict[str, Tensor]

TILE = 512
"""Tokens of which the wide middle of a feed-forward part stays in a processor's cache."""

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
        `input_ids` (and `token_type_ids`) `(1, t)` of all tokens and their `positions`; `lengths`
        `(b,)` of the texts as they lie and `order` `(b,)`, which of the batch they are, where
        there is more than one; `owners` `(t,)`, the number of each token's player among all `p`,
        or p; `counts` `(b,)`, players of each text of the batch.
    """
    order = sorted(range(len(read)), key=lambda i: len(read[i].owners))
    lying = [read[i] for i in order]
    lengths = [len(one.owners) for one in lying]
    whole = sum(len(one.players) for one in lying)
    owners, start = [], 0
    for one in lying:
        owners.append(torch.where(one.owners < 0, whole, one.owners + start))
        start += len(one.players)
    inputs = {
        name: _joined([one.inputs[name] for one in lying])[None]
        for name in lying[0].inputs
        if name in READ
    }
    inputs |= {
        "positions": _joined([torch.arange(length) for length in lengths])[None],
        "owners": _joined(owners),
        "counts": torch.tensor([len(one.players) for one in read]),
    }
    if len(read) > 1:
        inputs |= {"lengths": torch.tensor(lengths), "order": torch.tensor(order)}
    return inputs


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class JoinedLayer:
    """A layer whose maps of queries, keys and values are kept side by side between passes.

    Args:
        layer: Whose weights may change at any time.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._seen: list[tuple[Tensor, int]] = []  # held, so that no address is used twice
        self._joined: tuple[Tensor, Tensor] | None = None

    def __call__(self, tokens: Tensor, ranges: list[tuple[int, int, int]]) -> Tensor:
        """What follows the layer, for tokens `(t, d)` of texts at `(start, stop, length)`."""
        mixed = self.layer.mix(self._project(tokens), ranges)
        if torch.is_grad_enabled() or len(tokens) <= TILE:
            return self.layer.finish(tokens, mixed)
        tiles = zip(tokens.split(TILE), mixed.split(TILE), strict=True)
        return torch.cat([self.layer.finish(one, other) for one, other in tiles])

    def _project(self, tokens: Tensor) -> Tensor:
        layer = self.layer
        maps = (layer.query, layer.key, layer.value)
        parts = [one for each in maps for one in (each.weight, each.bias)]
        if torch.is_grad_enabled() or any(one.is_inference() for one in parts):
            return layer.project(tokens)
        same = len(self._seen) == len(parts) and all(
            one.data_ptr() == seen.data_ptr() and one._version == version
            for one, (seen, version) in zip(parts, self._seen, strict=True)
        )
        if not same or self._joined is None:
            self._seen = [(one.detach(), one._version) for one in parts]
            self._joined = torch.cat(parts[::2]).detach(), torch.cat(parts[1::2]).detach()
        return nn.functional.linear(tokens, *self._joined)


class PackedReader:
    """A network of the BERT family on packed texts.

    Args:
        network: A transformers encoder.
        layers: Its layers, from `encoder_layers`.
    """

    def __init__(self, network: nn.Module, layers: list[Layer]) -> None:
        self.network, self.embed = network, embedding_of(network)
        self.layers = [JoinedLayer(layer) for layer in layers]

    def __reduce__(self) -> Any:  # noqa: ANN401 - a copy reads with the copied network
        return packed_reader, (self.network,)

    def __call__(self, inputs: Inputs) -> PackedStates:
        """States of a batch from `pack_texts`; a player's is the mean over its tokens."""
        owners, counts = inputs["owners"], inputs["counts"]
        given = {name: inputs[name] for name in READ if name in inputs}
        tokens = self.embed(given, inputs["positions"])[0]
        ranges = blocks(inputs["lengths"]) if "lengths" in inputs else [(0, 1, len(tokens))]
        for layer in self.layers:
            tokens = layer(tokens, ranges)
        total = int(counts.sum())
        held = owners.bincount(minlength=total + 1)[:total, None].clamp(min=1)
        players = tokens.new_zeros((total + 1, tokens.shape[1])).index_add_(0, owners, tokens)
        players = players[:total] / held
        if "lengths" not in inputs:
            whole = tokens.mean(0, keepdim=True) + tokens[:1]
            mask = torch.ones((1, total), dtype=torch.bool, device=counts.device)
            return PackedStates(players, whole, mask)
        lengths, order = inputs["lengths"], inputs["order"]
        lying = counts[order]
        rows = order.repeat_interleave(lying)
        before = (lying.cumsum(0) - lying).repeat_interleave(lying)
        places = torch.arange(total, device=rows.device) - before
        sums = tokens.new_zeros((len(counts), tokens.shape[1]))
        sums.index_add_(0, order.repeat_interleave(lengths), tokens)
        back = order.argsort()
        firsts = tokens[(lengths.cumsum(0) - lengths)[back]]
        whole = sums / lengths[back][:, None] + firsts
        mask = torch.arange(int(counts.max()), device=counts.device) < counts[:, None]
        return PackedStates(players, whole, mask, rows, places)


def packed_reader(network: nn.Module) -> PackedReader | None:
    """The reader of packed texts of a network, or None where its parts are not those it knows.

    Args:
        network: A transformers encoder.
    """
    layers = encoder_layers(network)
    return None if layers is None else PackedReader(network, layers)
