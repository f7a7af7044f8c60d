"""What becomes of absent tokens: dropped, masked, or turned into padding that is attended to."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from baselines.text_players import EncodedText

Removal = Literal["mask", "drop", "pad"]

REMOVALS: dict[str, str] = {
    "mask": "the mask token",
    "drop": "dropping",
    "pad": "attended padding",
}
"""The ways to remove a token, and what a description calls them.

"drop" leaves tokens out; the others keep their position ids where the family of the model has
position ids. "pad" puts the padding token in the place of an absent one and lets the model attend
to it, as the label sets of Yang et al. (2023) and Schwarzenberg et al. (2021) do.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class TokenTable:
    """The tokens of some texts side by side.

    Args:
        inputs: What the network takes by name, int64 `(b, length)`, padded on the right.
        owners: Int64 `(b, length)`, the player of each token, -1 where there is none.
        lengths: Int64 `(b,)`, tokens of each text.
        counts: Int64 `(b, n)`, tokens of each player.
        substitute: Token id that takes an absent token's place; None drops it.
    """

    inputs: dict[str, Tensor]
    owners: Tensor
    lengths: Tensor
    counts: Tensor
    substitute: int | None

    @classmethod
    def of(
        cls, texts: Sequence[EncodedText], n_players: int, pad: int, substitute: int | None
    ) -> "TokenTable":
        """The table of encoded texts.

        Args:
            texts: From `encode_texts`.
            n_players: Players `n` of the game, most of a text.
            pad: Token id that fills up shorter texts.
            substitute: Token id of an absent token, or None.
        """

        def stack(rows: list[Tensor], fill: int) -> Tensor:
            return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)

        names = texts[0].inputs
        owners = stack([text.owners for text in texts], -1)
        counts = torch.zeros(len(texts), n_players + 1, dtype=torch.int64)
        counts.scatter_add_(1, owners + 1, torch.ones_like(owners))
        return cls(
            inputs={
                name: stack([text.inputs[name] for text in texts], pad * (name == "input_ids"))
                for name in names
            },
            owners=owners,
            lengths=torch.tensor([len(text.ids) for text in texts]),
            counts=counts[:, 1:],
            substitute=substitute,
        )

    @property
    def fixed(self) -> Tensor:
        """Int64 `(b,)`, tokens of each text that nobody can remove."""
        return self.lengths - self.counts.sum(1)

    def rows(self, texts: slice | Tensor) -> "TokenTable":
        """The table of some of the texts."""
        return TokenTable(
            {name: part[texts] for name, part in self.inputs.items()},
            self.owners[texts],
            self.lengths[texts],
            self.counts[texts],
            self.substitute,
        )

    def kept(self, texts: Tensor, coalitions: Tensor) -> Tensor:
        """Tokens that the network reads in each row.

        Args:
            texts: Int64 `(rows,)`, the text of each row.
            coalitions: Bool `(rows, n)`.

        Returns:
            Int64 `(rows,)`.
        """
        if self.substitute is not None:
            return self.lengths[texts]
        return self.fixed[texts] + (coalitions * self.counts[texts]).sum(1)

    def present(self, texts: Tensor, coalitions: Tensor) -> Tensor:
        """Which tokens are themselves, bool `(rows, length)` up to the longest text among them.

        Args:
            texts: Int64 `(rows,)`.
            coalitions: Bool `(rows, n)`.
        """
        length = int(self.lengths[texts].max()) if len(texts) else 0
        owner = self.owners[texts, :length]
        if not coalitions.shape[1]:
            return self.real(texts, length)
        own = coalitions.gather(1, owner.clamp(min=0)) | (owner < 0)
        return own & self.real(texts, length)

    def real(self, texts: Tensor, length: int) -> Tensor:
        """Which of the first tokens are no padding, bool `(rows, length)`."""
        return torch.arange(length) < self.lengths[texts, None]


def substitute_of(tokenizer: Any, removal: Removal) -> int | None:  # noqa: ANN401
    """Token id that takes the place of an absent token, None where it is dropped.

    Args:
        tokenizer: A transformers tokenizer.
        removal: One of `REMOVALS`.

    Raises:
        ValueError: If the tokenizer lacks the token that it needs.
    """
    if removal == "drop":
        return None
    token = tokenizer.mask_token_id if removal == "mask" else tokenizer.pad_token_id
    if token is None:
        name = "mask" if removal == "mask" else "padding"
        raise ValueError(
            f"removal={removal!r} needs a {name} token and this tokenizer has none; use "
            "removal='drop'."
        )
    return int(token)


def anchor_of(tokenizer: Any) -> int:  # noqa: ANN401
    """The token that stands for an input of no tokens at all.

    A decoder's tokenizer may add no special token, and a network cannot read nothing: the empty
    coalition is then this one token, the first there is of start, end, padding and unknown.

    Args:
        tokenizer: A transformers tokenizer.

    Raises:
        ValueError: If it has none of these.
    """
    for name in ("bos", "cls", "eos", "pad", "unk"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            return int(token)
    raise ValueError(
        "the tokenizer has no start, end, padding or unknown token to stand for an empty input; "
        "set tokenizer.bos_token."
    )
