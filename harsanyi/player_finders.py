"""How the players of a text are found: a tokenizer or a sentence encoder, and vectors if given."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from harsanyi.sentence_encoders import Encoder, named_encoder
from harsanyi.vocabulary import Text, piece_tokenizer, word_tokenizer, word_tokenizer_of


class PlayerFinder:
    """How players are found, and what is known of their vectors."""

    tokenizer: PreTrainedTokenizerFast | None = None
    encoder: Encoder | None = None
    name: str | None = None
    width: int = 0
    matrix: Tensor | None = None


def id_of(tokenizer: PreTrainedTokenizerFast | None, name: str, default: int) -> int:
    found = default if tokenizer is None else getattr(tokenizer, name)
    if found is None and name == "pad_token_id":
        raise ValueError(
            "tokenizer has no padding token; set tokenizer.pad_token to one of its own."
        )
    return -1 if found is None else int(found)


def settings_of(finder: PlayerFinder) -> dict[str, Any]:
    """What a text net's configuration says about its players.

    Args:
        finder: How they are found.
    """
    return {
        "vocab_size": 0 if finder.tokenizer is None else len(finder.tokenizer),
        "input_width": finder.width,
        "encoder": finder.name,
        "padding": id_of(finder.tokenizer, "pad_token_id", 0),
        "unknown": id_of(finder.tokenizer, "unk_token_id", 1),
    }


def find_players(
    players: str,
    texts: list[Text],
    tokenizer: PreTrainedTokenizerFast | None,
    embeddings: Any,  # noqa: ANN401
    encoder: Encoder | str | None,
    min_count: int,
    max_words: int,
) -> PlayerFinder:
    finder = PlayerFinder()
    if players == "sentences":
        if encoder is None:
            raise ValueError(
                'players="sentences" needs encoder=: a function from sentences to vectors, or the '
                "name or folder of a transformers encoder."
            )
        finder.name = encoder if isinstance(encoder, str) else None
        finder.encoder = named_encoder(encoder) if isinstance(encoder, str) else encoder
        first = texts[0] if isinstance(texts[0], str) else texts[0][0]
        finder.width = int(np.asarray(finder.encoder([first or "."])).shape[-1])
        return finder
    if encoder is not None:
        raise ValueError(f'encoder= is for players="sentences"; players is {players!r}.')
    sides = [side for text in texts for side in ((text,) if isinstance(text, str) else text)]
    if embeddings is not None:
        if tokenizer is not None or players != "words":
            raise ValueError(
                'embeddings= name words: leave tokenizer out and take players="words".'
            )
        words, matrix = _given_vectors(embeddings)
        finder.tokenizer = word_tokenizer_of(words)
        finder.width = matrix.shape[1]
        finder.matrix = torch.cat([torch.zeros(2, matrix.shape[1]), matrix])
    elif tokenizer is not None:
        finder.tokenizer = tokenizer
    elif players == "tokens":
        finder.tokenizer = piece_tokenizer(sides, max_words=min(max_words, 8000))
    else:
        finder.tokenizer = word_tokenizer(sides, min_count=min_count, max_words=max_words)
    return finder


def _given_vectors(embeddings: Any) -> tuple[list[str], Tensor]:  # noqa: ANN401
    if isinstance(embeddings, Mapping):
        words, rows = list(embeddings), list(embeddings.values())
    else:
        words, rows = list(embeddings[0]), embeddings[1]
    matrix = torch.as_tensor(np.asarray(rows), dtype=torch.float32)
    if matrix.ndim != 2 or len(matrix) != len(words) or len(set(words)) != len(words):
        raise ValueError(
            f"embeddings has {len(words)} words ({len(set(words))} distinct) and a matrix "
            f"{tuple(matrix.shape)}; one row per distinct word is needed."
        )
    if not matrix.isfinite().all():
        raise ValueError("embeddings holds NaN or infinity.")
    return words, matrix


def read_tokenizer(folder: str | PathLike[str], vocab_size: int) -> PreTrainedTokenizerFast:
    place = Path(folder)
    if place.is_dir() and not (place / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{place} has no tokenizer.json; save_pretrained writes it.")
    try:
        found = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises plain Exception on damaged files
        raise ValueError(
            f"the tokenizer in {folder} is truncated or damaged ({error})."
        ) from error
    if len(found) != vocab_size:
        raise ValueError(
            f"the tokenizer in {folder} knows {len(found)} players and the weights {vocab_size}; "
            "they are of different models."
        )
    return found
