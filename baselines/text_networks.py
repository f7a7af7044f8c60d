"""How rows of tokens go through a transformers classifier: hidden by attention, or really dropped.

`ByAttention` is the plain way and the reference of the others: full length, absent tokens hidden.
`ByDropping` gives the network the kept tokens alone, with the positions they had.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from baselines.text_removal import TokenTable

Read = Callable[[Tensor, Tensor], Tensor]
"""`read(texts, coalitions)`: logits `(rows, k)` of rows given by int64 `(rows,)` texts of a table
and bool `(rows, n)` coalitions. Rows come sorted by kept length, and each keeps a token or more."""


class Reader(Protocol):
    """A way to read rows of kept tokens."""

    def begin(self, table: TokenTable) -> Read:
        """Look at some texts once, and return how rows of them are read."""
        ...


class ByAttention:
    """Full length, with absent tokens hidden from attention or replaced.

    Args:
        network: A transformers model for sequence classification.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.names = set(inspect.signature(network.forward).parameters)
        self.offset = position_offset(network)

    def begin(self, table: TokenTable) -> Read:
        """How rows of a table are read."""
        return functools.partial(self.read, table)

    def read(self, table: TokenTable, texts: Tensor, coalitions: Tensor) -> Tensor:
        """Logits `(rows, k)` of rows of any kept length."""
        present = table.present(texts, coalitions)
        length = present.shape[1]
        real = table.real(texts, length)
        inputs = {name: part[texts, :length] for name, part in table.inputs.items()}
        if table.substitute is None:
            inputs["attention_mask"] = present.long()
        else:
            inputs["input_ids"] = torch.where(
                present | ~real, inputs["input_ids"], table.substitute
            )
            inputs["attention_mask"] = real.long()
        inputs["position_ids"] = (torch.arange(length) + self.offset).expand(len(texts), -1)
        last = (inputs["attention_mask"] * torch.arange(length)).argmax(1)
        return forward(self.network, inputs, self.names, last)


class ByDropping:
    """The kept tokens alone, in blocks of equal length without padding.

    Args:
        network: A transformers model for sequence classification that takes position ids.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.names = set(inspect.signature(network.forward).parameters)
        self.offset = position_offset(network)

    def begin(self, table: TokenTable) -> Read:
        """How rows of a table are read."""
        return functools.partial(self.read, table)

    def read(self, table: TokenTable, texts: Tensor, coalitions: Tensor) -> Tensor:
        """Logits `(rows, k)` of rows sorted by kept length."""
        present = table.present(texts, coalitions)
        parts = []
        for start, stop, kept in blocks(present.sum(1)):
            place = present[start:stop].nonzero()[:, 1].reshape(stop - start, kept)
            inputs = {
                name: part[texts[start:stop, None], place] for name, part in table.inputs.items()
            }
            # gaps between positions would pass for several packed texts without a mask of ones
            inputs["attention_mask"] = torch.ones_like(place)
            inputs["position_ids"] = place + self.offset
            last = torch.full((stop - start,), kept - 1)
            parts.append(forward(self.network, inputs, self.names, last))
        return torch.cat(parts)


def blocks(lengths: Tensor) -> list[tuple[int, int, int]]:
    """Ranges of equal length of a sorted tensor.

    Args:
        lengths: Int64 `(rows,)`, sorted.

    Returns:
        `(start, stop, length)` of each range.
    """
    sizes, counts = lengths.unique_consecutive(return_counts=True)
    stops = counts.cumsum(0)
    starts = stops - counts
    return list(zip(starts.tolist(), stops.tolist(), sizes.tolist(), strict=True))


def forward(
    network: nn.Module, inputs: dict[str, Tensor], names: set[str], last: Tensor
) -> Tensor:
    """Logits of encoded rows.

    Args:
        network: The classifier.
        inputs: Encoded rows by name; those that the network does not take are left out.
        names: What the network's forward takes.
        last: Int64 `(rows,)`, the token that a decoder reads out at, its last one.

    Returns:
        `(rows, k)`.
    """
    device = next(network.parameters()).device
    given = {name: part.to(device) for name, part in inputs.items() if name in names}
    score = getattr(network, "score", None)
    if not isinstance(score, nn.Linear):
        return network(**given).logits
    # a decoder looks for its last token by the padding id, which it may not have
    body: Any = network.base_model
    hidden = body(**given, use_cache=False).last_hidden_state
    rows = torch.arange(len(hidden), device=device)
    return score(hidden[rows, last.to(device)])


def position_offset(network: nn.Module) -> int:
    """Position id of the first token: RoBERTa's kin count from behind the padding index."""
    for name, module in network.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def longest_input(network: nn.Module, tokenizer: Any) -> int:  # noqa: ANN401
    """Most tokens that tokenizer and position embeddings allow.

    Args:
        network: The classifier.
        tokenizer: Its tokenizer.
    """
    config: Any = getattr(network, "config", None)
    longest = min(int(tokenizer.model_max_length), 100_000)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return longest
    return max(1, min(longest, int(positions) - position_offset(network)))


def attention_window(network: nn.Module) -> int | None:
    """Tokens on either side that a network with local attention sees at least; None for all."""
    config: Any = getattr(network, "config", None)
    for name, share in (("local_attention", 2), ("sliding_window", 1), ("attention_window", 2)):
        window = getattr(config, name, None)
        if isinstance(window, int) and not isinstance(window, bool):
            return window // share
    return None
