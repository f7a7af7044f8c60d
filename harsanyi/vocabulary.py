"""What a player of a text is: words, word pieces or sentences, and the tokenizer that finds them."""

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from baselines.arguments import is_a
from baselines.text_players import refuse_surrogates

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Unit = Literal["words", "tokens", "sentences"]
UNITS = ("words", "tokens", "sentences")
PAD, UNKNOWN = "[PAD]", "[UNK]"

# contractions split as in the Penn Treebank (does n't, it 's), numbers and words whole, signs alone
WORD = r"n't\b|\w+?(?=n't\b)|'(?:s|re|ve|ll|d|m)\b|\w+(?:[-.,]\w+)*|[^\w\s]"
_QUOTE = "\u2019"  # the typographer's apostrophe
_SENTENCE = re.compile(r"(?<=[.!?\u2026])[\"'\u201d\u2019)\]]*\s+|\n+")

Text = str | tuple[str, str]


@dataclass(frozen=True)
class Encoded:
    """Texts as player ids.

    Attributes:
        ids: `(b, n)`, 0 for padding.
        types: `(b, n)`, 1 where a player belongs to the second text of a pair.
        players: Per text the names of its players, as they stand in it.
    """

    ids: Tensor
    types: Tensor
    players: list[tuple[str, ...]]


def check_texts(texts: Any) -> list[Text]:  # noqa: ANN401 - what a person passes
    """Texts, or pairs of texts, as a list.

    Args:
        texts: A sequence of strings or of pairs of strings.

    Returns:
        Strings or tuples of two.

    Raises:
        TypeError: If it is one string or no list, or an entry is neither a string nor a pair.
        ValueError: If strings and pairs are mixed, or a text holds half a surrogate pair.
    """
    if isinstance(texts, str):
        raise TypeError("texts is one string; pass a list of texts, such as [text].")
    if not is_a(texts, Iterable):
        raise TypeError(f"texts is a {type(texts).__name__}; pass a list of texts.")
    found: list[Text] = []
    for place, text in enumerate(texts):
        if isinstance(text, str):
            found.append(text)
        elif (
            isinstance(text, tuple | list)
            and len(text) == 2
            and all(isinstance(side, str) for side in text)
        ):
            found.append((text[0], text[1]))
        else:
            raise TypeError(
                f"texts[{place}] is {type(text).__name__} {text!r:.60}; pass strings or pairs of "
                "strings."
            )
    if len({isinstance(text, tuple) for text in found}) > 1:
        raise ValueError("texts mixes strings and pairs; pass one kind.")
    for place, text in enumerate(found):
        refuse_surrogates((text,) if isinstance(text, str) else text, f"texts[{place}]")
    return found


def split_sentences(text: str) -> list[str]:
    """Sentences of a text, none empty."""
    return [part.strip() for part in _SENTENCE.split(text) if part and part.strip()]


def word_tokenizer(texts: Sequence[str], *, min_count: int = 2, max_words: int = 50_000) -> Any:  # noqa: ANN401
    """A tokenizer whose tokens are lower-cased words and signs.

    Args:
        texts: What the vocabulary is taken from.
        min_count: Rarer words are unknown.
        max_words: Most words, the frequent ones first.

    Returns:
        A `PreTrainedTokenizerFast`; `save_pretrained` writes it as JSON.
    """
    from tokenizers import Tokenizer, models

    splitter = _words_of(Tokenizer(models.WordLevel({PAD: 0, UNKNOWN: 1}, unk_token=UNKNOWN)))
    counts: Counter[str] = Counter()
    for text in texts:
        lowered = splitter.normalizer.normalize_str(text)
        counts.update(word for word, _ in splitter.pre_tokenizer.pre_tokenize_str(lowered))
    frequent = sorted(
        (w for w, c in counts.items() if c >= min_count), key=lambda w: (-counts[w], w)
    )
    return word_tokenizer_of(frequent[:max_words])


def word_tokenizer_of(words: Sequence[str]) -> Any:  # noqa: ANN401
    """A tokenizer of given words, in the order of their ids from 2 on; 0 pads, 1 is unknown."""
    from tokenizers import Tokenizer, models

    listed = {PAD: 0, UNKNOWN: 1}
    for word in words:
        listed.setdefault(word, len(listed))
    return _fast(_words_of(Tokenizer(models.WordLevel(listed, unk_token=UNKNOWN))))


def piece_tokenizer(texts: Sequence[str], *, max_words: int = 8000) -> Any:  # noqa: ANN401
    """A WordPiece tokenizer trained on texts.

    Args:
        texts: What the pieces are learned from.
        max_words: Most pieces.

    Returns:
        A `PreTrainedTokenizerFast`.
    """
    from tokenizers import Tokenizer, models, trainers

    tokenizer = _words_of(Tokenizer(models.WordPiece(unk_token=UNKNOWN)))
    trainer = trainers.WordPieceTrainer(
        vocab_size=max_words,
        special_tokens=[PAD, UNKNOWN],
        show_progress=False,
    )
    # every letter inside a word, too, so that no plain word is unknown
    alphabet = string.ascii_lowercase + string.digits
    tokenizer.train_from_iterator([alphabet + alphabet, *texts], trainer)
    return _fast(tokenizer)


def _words_of(tokenizer: Any) -> Any:  # noqa: ANN401
    from tokenizers import Regex, normalizers, pre_tokenizers

    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Lowercase(), normalizers.Replace(_QUOTE, "'")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "removed", invert=True)
    return tokenizer


def _fast(tokenizer: Any) -> Any:  # noqa: ANN401
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        unk_token=UNKNOWN,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def encode(tokenizer: "PreTrainedTokenizerFast", texts: Sequence[Text]) -> Encoded:
    """Texts or pairs as padded ids, with the names of their players.

    Args:
        tokenizer: A fast tokenizer; its special tokens are left out.
        texts: Strings or pairs.

    Returns:
        Ids, types and names; a text without any token has no players.
    """
    sides = [[text[0] if isinstance(text, tuple) else text for text in texts]]
    if any(isinstance(text, tuple) for text in texts):
        sides.append([text[1] for text in texts])
    rows: list[list[int]] = [[] for _ in texts]
    types: list[list[int]] = [[] for _ in texts]
    names: list[list[str]] = [[] for _ in texts]
    for side, listed in enumerate(sides):
        found: Any = tokenizer(listed, add_special_tokens=False) if listed else {"input_ids": []}
        for row, ids in enumerate(found["input_ids"]):
            rows[row] += ids
            types[row] += [side] * len(ids)
            names[row] += _surfaces(listed[row], found[row])
    n = max(map(len, rows), default=0)
    ids = torch.full((len(rows), n), int(str(tokenizer.pad_token_id)), dtype=torch.long)
    kinds = torch.zeros(len(rows), n, dtype=torch.long)
    for row, (listed_ids, listed_types) in enumerate(zip(rows, types, strict=True)):
        ids[row, : len(listed_ids)] = torch.tensor(listed_ids, dtype=torch.long)
        kinds[row, : len(listed_types)] = torch.tensor(listed_types, dtype=torch.long)
    return Encoded(ids, kinds, [tuple(row) for row in names])


def _surfaces(text: str, encoding: Any) -> list[str]:  # noqa: ANN401
    """Players as they stand in the text; pieces inside a word keep their mark."""
    names = []
    for token, (start, end) in zip(encoding.tokens, encoding.offsets, strict=True):
        surface = text[start:end] or token
        names.append(f"##{surface}" if token.startswith("##") else surface)
    return names
