"""Text classifiers that do not explain themselves, trained by the same loop on the same bundles."""

from types import SimpleNamespace
from typing import Any

import torch
from einops import repeat
from torch import Tensor, nn


class _Rival(nn.Module):
    """Learned vectors of words; an absent word is cut out of what the network may look at."""

    def __init__(self, vocab_size: int, width: int, n_outputs: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.dropout = nn.Dropout(dropout)
        self.read = nn.Linear(width, n_outputs)
        self.config = SimpleNamespace(width=width)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Embeddings and readout; the layers in between keep torch's own initial weights."""
        self.embedding.weight.data.normal_(0, 0.2, generator=generator)
        for name, parameter in self.named_parameters():
            if not name.startswith("embedding") and parameter.ndim > 1:
                bound = parameter.shape[-1] ** -0.5
                parameter.data.uniform_(-bound, bound, generator=generator)


class GRUClassifier(_Rival):
    """A bidirectional GRU; the last states of both directions are read."""

    def __init__(self, vocab_size: int, width: int, n_outputs: int, dropout: float) -> None:
        super().__init__(vocab_size, width, n_outputs, dropout)
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def forward(
        self,
        x: Tensor,
        present: Tensor | None = None,
        *,
        real: Tensor,
        types: Tensor | None = None,
    ) -> Tensor:
        """Logits `(b, k)` of ids `(b, n)`; absent words are deleted."""
        there = real if present is None else present & real
        order = (~there).long().argsort(dim=1, stable=True)  # present ones first, in their order
        lengths = there.sum(1).clamp(min=1).cpu()
        z = self.dropout(self.embedding(x) * there[..., None])
        z = z.gather(1, repeat(order, "b n -> b n d", d=z.shape[2]))
        packed = nn.utils.rnn.pack_padded_sequence(
            z, lengths, batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        return self.read(self.dropout(torch.cat([last[0], last[1]], 1)))


class TransformerClassifier(_Rival):
    """Two encoder layers with learned positions, read at a token of its own."""

    def __init__(
        self, vocab_size: int, width: int, n_outputs: int, dropout: float, longest: int = 512
    ) -> None:
        super().__init__(vocab_size, width, n_outputs, dropout)
        self.longest = longest
        self.places = nn.Embedding(longest + 1, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True, activation="gelu"
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Embeddings, positions and all layers."""
        super().reset_parameters(generator)
        self.places.weight.data.normal_(0, 0.1, generator=generator)

    def forward(
        self,
        x: Tensor,
        present: Tensor | None = None,
        *,
        real: Tensor,
        types: Tensor | None = None,
    ) -> Tensor:
        """Logits `(b, k)` of ids `(b, n)`; nobody attends to absent words."""
        x, real = x[:, : self.longest], real[:, : self.longest]
        there = real if present is None else present[:, : self.longest] & real
        place = torch.arange(x.shape[1] + 1, device=x.device)
        z = torch.cat([torch.zeros_like(self.embedding(x[:, :1] * 0)), self.embedding(x)], 1)
        z = self.dropout(z + self.places(place))
        hidden = torch.cat([torch.zeros_like(there[:, :1]), ~there], 1)
        return self.read(self.layers(z, src_key_padding_mask=hidden)[:, 0])


RIVALS: dict[str, Any] = {"gru": GRUClassifier, "transformer": TransformerClassifier}
