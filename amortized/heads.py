"""From states of players to values of every output, and to how wrong they may be."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from amortized.encoders import Encoder, TextEncoder
from amortized.packed_texts import Inputs, PackedStates, States

HEADS = ("linear", "mlp", "attention", "flat")
"""One map per player; a perceptron; a block of attention between players and a perceptron; one map
of the whole flattened input, tied to positions."""

NARROW = -6.0
"""Least logarithm of a predicted standard error, in units of the values."""


class PlayerHead(nn.Module):
    """The same map for every player.

    Args:
        width: Size of a player's state.
        outputs: Numbers `q` for every player.
        kind: "linear", "mlp" or "attention".
        heads: Attention heads of "attention".
    """

    def __init__(self, width: int, outputs: int, kind: str = "mlp", heads: int = 4) -> None:
        super().__init__()
        if kind not in ("linear", "mlp", "attention"):
            raise ValueError(f"head={kind!r} is unknown; use one of {HEADS}.")
        self.kind = kind
        self.whole = None if kind == "linear" else nn.Linear(width, width)
        self.norm = nn.Identity() if kind == "linear" else nn.LayerNorm(width)
        self.block = None
        if kind == "attention":
            self.block = nn.TransformerEncoderLayer(
                width,
                heads if width % heads == 0 else 1,
                2 * width,
                dropout=0.0,
                batch_first=True,
                norm_first=True,
            )
        self.body = (
            nn.Linear(width, outputs)
            if kind == "linear"
            else nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs))
        )

    def forward(self, states: States | PackedStates) -> Tensor:
        """Numbers `(b, n, q)` for every player."""
        if isinstance(states, PackedStates):
            if self.block is not None:  # players look at each other
                return self(states.states())
            players = states.players
            if self.whole is not None:
                players = players + states.each(self.whole(states.whole))
            return states.padded(self.body(self.norm(players)))
        players = states.players
        if self.whole is not None:
            players = players + self.whole(states.whole)[:, None]
        if self.block is not None:
            players = self.block(players, src_key_padding_mask=~states.mask)
        return self.body(self.norm(players))


class FlatHead(nn.Module):
    """One linear map of all positions at once, as the Empirical Explainer has it.

    Args:
        width: Size of a state.
        length: Positions.
        outputs: Numbers `q` for every position.

    Source: Schwarzenberg et al. (2021), sec. 3.
    """

    def __init__(self, width: int, length: int, outputs: int) -> None:
        super().__init__()
        self.length = length
        self.body = nn.Linear(length * width, length * outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """Numbers `(b, length, q)` from hidden states `(b, length, d)`."""
        flat = self.body(hidden.flatten(1))
        return rearrange(flat, "b (l q) -> b l q", l=self.length)


def make_head(encoder: Encoder, outputs: int, kind: str) -> nn.Module:
    """The head of an encoder.

    Args:
        encoder: Whose states it reads.
        outputs: Numbers for every player.
        kind: One of `HEADS`.

    Raises:
        ValueError: If the kind is unknown, or "flat" and the encoder does not pad its input.
    """
    if kind != "flat":
        return PlayerHead(encoder.width, outputs, kind)
    if not isinstance(encoder, TextEncoder) or not encoder.padded:
        raise ValueError(
            "head='flat' is tied to positions; it needs a text encoder with padded=True."
        )
    return FlatHead(encoder.width, encoder.max_length, outputs)


def read_head(
    encoder: Encoder, head: nn.Module, inputs: Inputs
) -> tuple[Tensor, States | PackedStates]:
    """Numbers `(b, n, q)` of a head, and the states behind them.

    Args:
        encoder: Reads the inputs.
        head: From `make_head`.
        inputs: From the encoder's `collate` or `pack`.
    """
    if not isinstance(head, FlatHead):
        states = encoder(inputs)
        return head(states), states
    assert isinstance(encoder, TextEncoder)  # make_head saw to it
    hidden, owners = encoder.positions(inputs)
    flat = head(hidden)
    n = int(inputs["counts"].max())
    belongs = owners[:, None] == torch.arange(n, device=owners.device)[:, None]
    mask = torch.arange(n, device=owners.device) < inputs["counts"][:, None]
    return belongs.to(flat) @ flat, States(flat, hidden[:, 0], mask)


def ends_head(width: int, outputs: int) -> nn.Module:
    """A map from the example's state to v(none) and v(all), `2 k` numbers."""
    found: Any = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * outputs))
    return found
