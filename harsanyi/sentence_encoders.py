"""Sentences as players: each one is encoded by itself, by any encoder, before anything ties them.

A sentence's vector depends on that sentence alone, so whatever network makes it, the values of the
sentences are exact.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harsanyi.vocabulary import Text, split_sentences

Encoder = Callable[[list[str]], Any]
"""From a list of sentences to an array or tensor `(m, d)`."""


def encode_sentences(
    encoder: Encoder, texts: Sequence[Text], width: int
) -> tuple[Tensor, Tensor, Tensor, list[tuple[str, ...]]]:
    """Texts as padded sentence vectors.

    Args:
        encoder: From sentences to vectors.
        texts: Strings, or pairs of strings.
        width: Numbers per vector that the model takes.

    Returns:
        Vectors `(b, n, d)`, types `(b, n)` (1 for sentences of a second text), which are real, and
        the sentences.

    Raises:
        ValueError: If the encoder returns another shape, or numbers that are not finite.
    """
    players: list[tuple[str, ...]] = []
    sides: list[list[int]] = []
    for text in texts:
        parts = [split_sentences(side) for side in (text if isinstance(text, tuple) else (text,))]
        players.append(tuple(sentence for part in parts for sentence in part))
        sides.append([side for side, part in enumerate(parts) for _ in part])
    once = sorted({sentence for row in players for sentence in row})
    n = max(map(len, players), default=0)
    vectors = torch.zeros(len(players), n, width)
    types = torch.zeros(len(players), n, dtype=torch.long)
    real = torch.zeros(len(players), n, dtype=torch.bool)
    if not once:
        return vectors, types, real, players
    with torch.no_grad():
        encoded = encoder(once)
    matrix = (
        encoded.detach().cpu()
        if isinstance(encoded, Tensor)
        else torch.as_tensor(np.asarray(encoded))
    )
    if matrix.shape != (len(once), width):
        raise ValueError(
            f"the encoder returned {tuple(matrix.shape)} for {len(once)} sentences; this model "
            f"needs ({len(once)}, {width})."
        )
    if not matrix.isfinite().all():
        raise ValueError("the encoder returned NaN or infinity.")
    place = {sentence: i for i, sentence in enumerate(once)}
    for row, (sentences, kinds) in enumerate(zip(players, sides, strict=True)):
        m = len(sentences)
        vectors[row, :m] = matrix[[place[s] for s in sentences]].float()
        types[row, :m] = torch.tensor(kinds, dtype=torch.long)
        real[row, :m] = True
    return vectors, types, real, players


def named_encoder(name: str, *, batch_size: int = 32, max_length: int = 256) -> Encoder:
    """A transformers encoder as a function: the mean of its last hidden states.

    Args:
        name: Name on the Hub or a folder.
        batch_size: Sentences encoded at once.
        max_length: Longer sentences are cut.

    Returns:
        A function from sentences to vectors `(m, d)`.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    model: Any = AutoModel.from_pretrained(name, use_safetensors=True).eval()

    @torch.no_grad()
    def mean_state(sentences: list[str]) -> Tensor:
        found = []
        for first in range(0, len(sentences), batch_size):
            fields = tokenizer(
                sentences[first : first + batch_size],
                padding=True,
                truncation=True,
                max_length=max_length,
                return_tensors="pt",
            )
            states = model(**fields).last_hidden_state
            weight = fields["attention_mask"][..., None].to(states.dtype)
            found.append((states * weight).sum(1) / weight.sum(1).clamp(min=1))
        return torch.cat(found)

    return mean_state
