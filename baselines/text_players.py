"""Who plays in a text: the tokens, words, sentences or given spans of it.

Special tokens, separators and padding are never players, nor is what a text is cut down to by the
model's longest input: `n_cut` counts it.
"""

import bisect
import dataclasses
import itertools
import re
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

Players = Literal["token", "word", "sentence", "span"]
Text = str | tuple[str, str]
Span = tuple[int, int] | tuple[int, int, int]
Piece = tuple[int, int, int]

PLAYERS = ("token", "word", "sentence", "span")

CONTROL = ("pad", "cls", "sep", "mask", "bos", "eos")
"""Special tokens that frame a text or stand for none; markers that were added by hand are words."""

_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(r"\S(?:.*?[.!?]+[\"')\]]*(?=\s|$)|.*$)", re.DOTALL | re.MULTILINE)


@dataclasses.dataclass(frozen=True, eq=False)
class EncodedText:
    """A text as the model reads it, and who plays in it.

    Args:
        text: A string, or a pair of them.
        inputs: What the tokenizer made of it by name, int64 `(length,)`: `input_ids`, and
            `token_type_ids` where the model takes them.
        owners: Int64 `(length,)`, the player of each token; -1 for special tokens and for
            tokens that no given span covers, which are always there.
        special: Bool `(length,)`, the tokens that the tokenizer added.
        players: Names of the `n` players, their characters.
        spans: `(part, start, stop)` of each player: part 0 or 1 of a pair, and characters of it.
        n_cut: Characters that the longest input leaves out.
    """

    text: Text
    inputs: dict[str, Tensor]
    owners: Tensor
    special: Tensor
    players: tuple[str, ...]
    spans: tuple[Piece, ...]
    n_cut: int

    @property
    def ids(self) -> Tensor:
        """Token ids, int64 `(length,)`."""
        return self.inputs["input_ids"]


def check_texts(texts: Text | Sequence[Text]) -> list[Text]:
    """The texts as a list, if they are strings or pairs of strings.

    Args:
        texts: One text or several.

    Raises:
        TypeError: If one is neither, or both kinds come together.
        ValueError: If there is none, or one holds half a surrogate pair.
    """
    refuse_two_readings(texts, "texts")
    listed: list[Any] = [texts] if isinstance(texts, str) else list(texts)
    if not listed:
        raise ValueError("texts is empty; pass at least one.")
    for text in listed:
        if not isinstance(text, str) and not (
            isinstance(text, tuple) and len(text) == 2 and all(isinstance(t, str) for t in text)
        ):
            raise TypeError(f"texts holds {text!r:.80}; strings or pairs of strings are needed.")
    if len({isinstance(text, str) for text in listed}) > 1:
        raise TypeError("texts mixes strings and pairs; ask about them separately.")
    for row, text in enumerate(listed):
        refuse_surrogates((text,) if isinstance(text, str) else text, f"texts[{row}]")
    return listed


def refuse_two_readings(texts: object, name: str) -> None:
    """Refuse a tuple of two strings, which may be two texts or a pair.

    Args:
        texts: What the caller passed.
        name: What the message calls it.

    Raises:
        TypeError: If it is one.
    """
    if isinstance(texts, tuple) and len(texts) == 2 and all(isinstance(t, str) for t in texts):
        raise TypeError(
            f"{name}={texts!r:.80} could be two texts or one pair; pass a list, [(a, b)] or [a, b]."
        )


def refuse_surrogates(parts: Sequence[str], name: str) -> None:
    """Refuse strings that no file and no tokenizer can hold.

    Args:
        parts: A text, or both of a pair.
        name: What the message calls them.

    Raises:
        ValueError: If one holds half a surrogate pair, which a wrong decoding leaves behind.
    """
    for part in parts:
        if not part.isascii() and any("\ud800" <= letter <= "\udfff" for letter in part):
            raise ValueError(
                f"{name} holds half a surrogate pair, which is no character; decode it as UTF-8 "
                "with errors='replace'."
            )


def encode_texts(
    tokenizer: Any,  # noqa: ANN401 - transformers' own class
    texts: Sequence[Text],
    kind: Players,
    max_length: int,
    spans: Sequence[Sequence[Span]] | None = None,
) -> list[EncodedText]:
    """Tokenize texts and say whose each token is.

    Args:
        tokenizer: A fast tokenizer.
        texts: From `check_texts`.
        kind: What plays.
        max_length: Most tokens of an input, special ones included.
        spans: For `kind="span"`, for each text its players as `(start, stop)` characters, or
            `(part, start, stop)` for pairs.

    Returns:
        The texts in their order.

    Warns:
        UserWarning: If a text spells out a special token, such as "[SEP]": the tokenizer reads the
            token itself, and so does whoever asks the model.

    Raises:
        ValueError: If spans are missing, too many, overlapping or outside of their text.
    """
    if (kind == "span") != (spans is not None):
        raise ValueError(
            f"players={kind!r} and spans={'None' if spans is None else 'given'}: pass spans, one "
            "list for each text, when and only when players='span'."
        )
    if spans is not None and len(spans) != len(texts):
        raise ValueError(f"spans has {len(spans)} lists for {len(texts)} texts; pass one each.")
    _warn_of_special_tokens(tokenizer, texts)
    arguments = [list(texts)]
    if not isinstance(texts[0], str):
        arguments = [list(part) for part in zip(*texts, strict=True)]
    encoded = tokenizer(
        *arguments,
        truncation=True,
        max_length=max_length,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    offsets, special = encoded.pop("offset_mapping"), encoded.pop("special_tokens_mask")
    encoded.pop("attention_mask", None)
    found = []
    for i, text in enumerate(texts):
        sources = text if isinstance(text, tuple) else (text,)
        parts = encoded.sequence_ids(i)
        tokens = [
            (t, int(parts[t] or 0), *offsets[i][t])
            for t in range(len(special[i]))
            if not special[i][t]
        ]
        given = None if spans is None else _check_spans(spans[i], sources, i)
        pieces, owners = _owners(sources, tokens, kind, given)
        inputs = {name: torch.tensor(encoded[name][i], dtype=torch.int64) for name in encoded}
        owner = torch.full((len(special[i]),), -1)
        owner[[token for token, *_ in tokens]] = torch.tensor(owners, dtype=torch.int64)
        found.append(
            EncodedText(
                text=text,
                inputs=inputs,
                owners=owner,
                special=torch.tensor(special[i], dtype=torch.bool),
                players=tuple(sources[p][a:z] for p, a, z in pieces),
                spans=tuple(pieces),
                n_cut=_unread(sources, tokens) if encoded.encodings[i].overflowing else 0,
            )
        )
    return found


def _warn_of_special_tokens(tokenizer: Any, texts: Sequence[Text]) -> None:  # noqa: ANN401
    """Say that characters of a text are read as a token that no character stands for."""
    told = [getattr(tokenizer, f"{name}_token", None) for name in CONTROL]
    known = {str(token) for token in told if token} - {str(tokenizer.unk_token)}
    spelled = [
        (row, token)
        for row, text in enumerate(texts)
        for part in ((text,) if isinstance(text, str) else text)
        for token in known
        if token in part
    ]
    if spelled:
        row, token = spelled[0]
        warnings.warn(
            f"{len({row for row, _ in spelled})} of {len(texts)} texts spell out a special token, "
            f"such as {token!r} in texts[{row}]; the tokenizer reads the token itself there, as it "
            "does for the model alone. If the characters are meant, put a space between them.",
            UserWarning,
            stacklevel=4,
        )


def sentences_of(text: EncodedText) -> list[list[int]]:
    """The players of each sentence of a text, by where a player begins.

    Args:
        text: From `encode_texts`.

    Returns:
        Positions of players, sentence by sentence; sentences without a player are left out.
    """
    sources = text.text if isinstance(text.text, tuple) else (text.text,)
    ends = [(part, stop) for part, _, stop in _pieces(sources, "sentence")]
    groups: dict[int, list[int]] = {}
    for player, (part, start, _) in enumerate(text.spans):
        groups.setdefault(bisect.bisect_right(ends, (part, start)), []).append(player)
    return [groups[number] for number in sorted(groups)]


def _owners(
    sources: Sequence[str],
    tokens: Sequence[tuple[int, int, int, int]],
    kind: Players,
    given: list[Piece] | None,
) -> tuple[list[Piece], list[int]]:
    """Pieces `(part, start, stop)` that play, and the player of every token, -1 for none."""
    if kind == "token":
        return [(part, start, stop) for _, part, start, stop in tokens], list(range(len(tokens)))
    pieces = _pieces(sources, kind) if given is None else given
    ends = [(part, stop) for part, _, stop in pieces]
    found = []
    for _, part, start, stop in tokens:
        # the last character decides, since some tokenizers count the space before a word
        last = max(stop - 1, start)
        place = bisect.bisect_right(ends, (part, last))
        if given is None:
            found.append(min(place, len(pieces) - 1))
        else:
            inside = place < len(pieces) and pieces[place][:2] <= (part, last)
            found.append(place if inside else -1)
    # pieces behind the longest input have no token and are no players
    used = sorted(set(found) - {-1})
    place_of = {piece: player for player, piece in enumerate(used)} | {-1: -1}
    return [pieces[piece] for piece in used], [place_of[piece] for piece in found]


def _pieces(sources: Sequence[str], kind: Players) -> list[Piece]:
    pattern = _WORD if kind == "word" else _SENTENCE
    return [
        (part, match.start(), match.end())
        for part, source in enumerate(sources)
        for match in pattern.finditer(source)
    ]


def _check_spans(spans: Sequence[Span], sources: Sequence[str], row: int) -> list[Piece]:
    pieces = sorted((0, *span) if len(span) == 2 else span for span in spans)
    for part, start, stop in pieces:
        if not (0 <= part < len(sources) and 0 <= start < stop <= len(sources[part])):
            raise ValueError(
                f"spans of text {row} hold {(part, start, stop)} as (part, start, stop); it has "
                f"{len(sources)} part(s) of {[len(source) for source in sources]} characters."
            )
    for (part, _, stop), (other, start, _) in itertools.pairwise(pieces):
        if part == other and start < stop:
            raise ValueError(f"spans of text {row} overlap before character {stop}.")
    return pieces


def _unread(sources: Sequence[str], tokens: Sequence[tuple[int, int, int, int]]) -> int:
    """Characters behind the last token of each part."""
    ends = [max((z for _, q, _, z in tokens if q == p), default=0) for p in (0, 1)]
    rest = [source[end:] for source, end in zip(sources, ends, strict=False)]
    return sum(len(piece.strip()) for piece in rest)
