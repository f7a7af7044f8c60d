"""Texts as games: tokens, words or sentences of a transformers classifier as players.

Special tokens, separators and padding are never players. What a text is cut down to by the model's
longest input is reported, never scored zero.
"""

import re
from collections.abc import Sequence
from os import PathLike
from typing import Any, Literal, Self

import torch
from einops import rearrange
from torch import Tensor, nn

from baselines.coalitions import (
    all_coalitions,
    check_coalitions,
    coalition_index,
    unique_coalitions,
)

Players = Literal["token", "word", "sentence"]
Removal = Literal["mask", "drop"]
Link = Literal["logit", "log_softmax", "margin"]
Text = str | tuple[str, str]

_WORD = re.compile(r"\S+")
_SENTENCE = re.compile(r"\S(?:.*?[.!?]+[\"')\]]*(?=\s|$)|.*$)", re.DOTALL | re.MULTILINE)


class TextModel:
    """A text classifier whose input falls into players.

    Args:
        model: A transformers model for sequence classification, in eval mode.
        tokenizer: Its fast tokenizer.
        players: What takes part: "token", "word" (between spaces) or "sentence".
        removal: "mask" puts the mask token in place of an absent token; "drop" hides it from
            attention, which leaves the others where they are.
        link: Scale of the outputs: "logit" as the model gives them, "log_softmax", or "margin",
            the log-odds of each class against all others.
        max_length: Most tokens of an input, special ones included; the model's own when None.
        batch_tokens: Tokens in one call of the model, padding included.

    Raises:
        TypeError: If the tokenizer is not a fast one.
        ValueError: If an option is unknown or the tokenizer has no mask token to remove with.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,  # noqa: ANN401 - transformers' own classes
        *,
        players: Players = "word",
        removal: Removal = "mask",
        link: Link = "logit",
        max_length: int | None = None,
        batch_tokens: int = 4096,
    ) -> None:
        for name, given, known in (
            ("players", players, ("token", "word", "sentence")),
            ("removal", removal, ("mask", "drop")),
            ("link", link, ("logit", "log_softmax", "margin")),
        ):
            if given not in known:
                raise ValueError(f"{name}={given!r} is unknown; use one of {known}.")
        if not getattr(tokenizer, "is_fast", False):
            raise TypeError(
                f"tokenizer is a {type(tokenizer).__name__}; a fast tokenizer is needed, since it "
                "knows which characters a token covers."
            )
        if removal == "mask" and tokenizer.mask_token_id is None:
            raise ValueError(
                "removal='mask' needs a mask token and this tokenizer has none; use "
                "removal='drop'."
            )
        if batch_tokens < 1:
            raise ValueError(f"batch_tokens={batch_tokens}; it must be positive.")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.players: Players = players
        self.removal = removal
        self.link = link
        self.max_length = _longest_input(model, tokenizer) if max_length is None else max_length
        self.batch_tokens = batch_tokens

    @classmethod
    def from_pretrained(
        cls,
        name_or_dir: str | PathLike[str],
        players: Players = "word",
        removal: Removal = "mask",
        **options: Any,  # noqa: ANN401 - the constructor's own
    ) -> Self:
        """Load a classifier and its tokenizer.

        Args:
            name_or_dir: Folder, or name on the hub, of a sequence classifier.
            players: "token", "word" or "sentence".
            removal: "mask" or "drop".
            options: Further keyword arguments of the constructor.

        Returns:
            A TextModel.

        Raises:
            OSError: If there is no such model, or a file of it is missing or unreadable.
            ValueError: If the checkpoint lacks weights of the classifier.
        """
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        model, loading = AutoModelForSequenceClassification.from_pretrained(
            name_or_dir, output_loading_info=True
        )
        if loading["missing_keys"] or loading["mismatched_keys"]:
            raise ValueError(
                f"{name_or_dir} lacks the weights {sorted(loading['missing_keys'])[:3]} of a "
                "sequence classifier; fine-tune it before explaining it."
            )
        tokenizer = AutoTokenizer.from_pretrained(name_or_dir)
        return cls(model, tokenizer, players=players, removal=removal, **options)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the classes."""
        config: Any = self.model.config
        labels = config.id2label
        return tuple(str(labels[i]) for i in sorted(labels))

    @property
    def description(self) -> str:
        """The value function in words."""
        way = "the mask token" if self.removal == "mask" else "dropping"
        scale = {"logit": "logits", "log_softmax": "log-softmax", "margin": "margins"}[self.link]
        return f"{type(self.model).__name__} {scale}, {self.players}s removed by {way}"

    def __call__(self, texts: Text | Sequence[Text]) -> "TextGame":
        """The games of some texts.

        Args:
            texts: Strings, or pairs of strings for models that read two.

        Returns:
            A game of `b` texts, ragged: `player_mask` says which players are real.

        Raises:
            TypeError: If a text is no string or pair of strings.
            ValueError: If there is no text, or none holds a player.
        """
        if isinstance(texts, str):
            texts = [texts]
        texts = list(texts)
        if not texts:
            raise ValueError("texts is empty; pass at least one.")
        for text in texts:
            if not isinstance(text, str) and not (
                isinstance(text, tuple)
                and len(text) == 2
                and all(isinstance(t, str) for t in text)
            ):
                raise TypeError(f"texts holds {text!r}; strings or pairs of strings are needed.")
        if len({isinstance(text, str) for text in texts}) > 1:
            raise TypeError("texts mixes strings and pairs; ask about them separately.")
        return TextGame(self, texts)

    def logits(self, encoding: dict[str, Tensor]) -> Tensor:
        """Outputs `(rows, k)` of encoded rows on the scale of `link`, at least float32."""
        device = next(self.model.parameters()).device
        with torch.no_grad():
            answer = self.model(**{name: part.to(device) for name, part in encoding.items()})
        logits = answer.logits
        logits = logits if logits.dtype == torch.float64 else logits.float()
        if self.link == "logit":
            return logits
        log_p = logits.log_softmax(-1)
        return log_p if self.link == "log_softmax" else log_p - torch.log(-torch.expm1(log_p))


class TextGame:
    """The games of some texts under a TextModel; made by calling one.

    Args:
        model: The TextModel.
        texts: Strings or pairs of strings.

    Attributes:
        texts: The texts.
        players: Tuples of names, one for each text: the players' characters.
        player_mask: Bool `(b, n)`, false for padding.
        spans: For each text its players' `(part, start, stop)`: part 0 or 1 of a pair, and
            characters of it.
        n_cut: Int64 `(b,)`, characters cut off because the text is too long for the model.
        n_evals: Model rows used so far.
    """

    def __init__(self, model: TextModel, texts: Sequence[Text]) -> None:
        self.model = model
        self.texts = tuple(texts)
        self.outputs = model.outputs
        self.description = model.description
        self.n_evals = 0
        self._encode()
        count = [len(names) for names in self.players]
        if max(count) == 0:
            raise ValueError("no text holds a player; pass texts with at least one character.")
        self.player_mask = torch.arange(max(count)) < torch.tensor(count)[:, None]
        unread = [i for i, cut in enumerate(self.n_cut.tolist()) if cut]
        if unread:
            self.description += f"; {len(unread)} of {len(texts)} texts cut at the longest input"

    @property
    def n_explicands(self) -> int:
        """Number of texts `b`."""
        return len(self.texts)

    @property
    def n_players(self) -> int:
        """Most players `n` of a text."""
        return self.player_mask.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of classes `k`."""
        return len(self.outputs)

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`; counts its rows.

        What a coalition says of players that a text does not have is ignored, and a coalition
        asked for twice in one call is one row.
        """
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        b, m = self.n_explicands, coalitions.shape[1]
        if m == 0:
            return torch.zeros(b, 0, self.n_outputs)
        real = coalitions.cpu().expand(b, -1, -1) & self.player_mask[:, None]
        # coalitions that differ in padding alone, or come twice, are one row of the model
        tagged = torch.cat([_digits(b)[:, None].expand(-1, m, -1), real], -1)
        distinct, where = unique_coalitions(rearrange(tagged, "b m n -> (b m) n"))
        owner = coalition_index(distinct[:, : -self.n_players])
        masks = distinct[:, -self.n_players :]
        # rows of like length share a call, so that short texts carry little padding
        lengths = self._lengths[owner]
        values = torch.empty(0)
        for index in self._tiles(lengths.argsort(stable=True), lengths):
            answer = self.model.logits(self.rows(owner[index], masks[index]))
            if not bool(torch.isfinite(answer).all()):
                raise ValueError("model returned NaN or infinity on texts with players removed.")
            if not len(values):
                values = answer.new_empty(len(distinct), answer.shape[-1])
            values[index.to(values.device)] = answer
        self.n_evals += len(distinct)
        return rearrange(values[where.to(values.device)], "(b m) k -> b m k", b=b)

    def rows(self, texts: Tensor, coalitions: Tensor) -> dict[str, Tensor]:
        """Encoded inputs with the absent players removed.

        Args:
            texts: Int64 `(rows,)`, positions of texts.
            coalitions: Bool `(rows, n)`.

        Returns:
            Tensors `(rows, length)` by the names that the model takes, cut to the longest text.
        """
        length = int(self._lengths[texts].max())
        owner = self._owners[texts, :length]  # player of each token, -1 where there is none
        present = coalitions.gather(1, owner.clamp(min=0)) | (owner < 0)
        encoding = {name: part[texts, :length] for name, part in self._encoding.items()}
        tokenizer = self.model.tokenizer
        if self.model.removal == "mask":
            encoding["input_ids"] = torch.where(
                present, encoding["input_ids"], tokenizer.mask_token_id
            )
            return encoding
        encoding["attention_mask"] = encoding["attention_mask"] * present
        if hasattr(self.model.model, "score") and tokenizer.pad_token_id is not None:
            # decoders read out at the last token that is not padding: let it be a present one
            encoding["input_ids"] = torch.where(
                present, encoding["input_ids"], tokenizer.pad_token_id
            )
        return encoding

    def _tiles(self, order: Tensor, lengths: Tensor) -> list[Tensor]:
        """Rows in the given order, in tiles whose padded size keeps to the token budget."""
        tiles, start = [], 0
        sorted_lengths = lengths[order].tolist()
        while start < len(order):
            stop = start + 1
            while (
                stop < len(order)
                and (stop + 1 - start) * sorted_lengths[stop] <= self.model.batch_tokens
            ):
                stop += 1
            tiles.append(order[start:stop])
            start = stop
        return tiles

    def _encode(self) -> None:
        tokenizer = self.model.tokenizer
        pairs = not isinstance(self.texts[0], str)
        arguments = [list(part) for part in zip(*self.texts, strict=True)] if pairs else None
        arguments = arguments or [list(self.texts)]
        padded = tokenizer.pad_token_id is not None
        if not padded and len(self.texts) > 1:
            raise ValueError("the tokenizer has no padding token; ask about one text at a time.")
        encoded = tokenizer(
            *arguments,
            padding=padded,
            padding_side="right",
            truncation=True,
            max_length=self.model.max_length,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_tensors="pt",
        )
        offsets = encoded.pop("offset_mapping").tolist()
        special = encoded.pop("special_tokens_mask").tolist()
        self._encoding = {name: encoded[name] for name in encoded}
        self._lengths = self._encoding["attention_mask"].sum(1)
        self._owners = torch.full_like(self._encoding["input_ids"], -1)
        self.players: list[tuple[str, ...]] = []
        self.spans: list[tuple[tuple[int, int, int], ...]] = []
        cut = []
        for i, text in enumerate(self.texts):
            sources = text if isinstance(text, tuple) else (text,)
            sequence = encoded.sequence_ids(i)
            tokens = [
                (t, int(sequence[t] or 0), *offsets[i][t])
                for t in range(int(self._lengths[i]))
                if not special[i][t]
            ]
            spans, owners = _players(sources, tokens, self.model.players)
            for (token, *_), owner in zip(tokens, owners, strict=True):
                self._owners[i, token] = owner
            self.spans.append(tuple(spans))
            self.players.append(tuple(sources[p][a:z] for p, a, z in spans))
            ends = [max((z for _, q, _, z in tokens if q == p), default=0) for p in (0, 1)]
            rest = [source[end:] for source, end in zip(sources, ends, strict=False)]
            cut.append(sum(len(piece.strip()) for piece in rest))
        self.n_cut = torch.tensor(cut)


def _digits(b: int) -> Tensor:
    """The numbers 0 to `b - 1` in binary, bool `(b, digits)`, which tag rows by their text."""
    return all_coalitions(max(1, (b - 1).bit_length()))[:b]


def _players(
    sources: Sequence[str], tokens: Sequence[tuple[int, int, int, int]], kind: Players
) -> tuple[list[tuple[int, int, int]], list[int]]:
    """Spans `(part, start, stop)` of the players, and the player of every token."""
    if kind == "token":
        spans = [(part, start, stop) for _, part, start, stop in tokens]
        return spans, list(range(len(tokens)))
    pattern = _WORD if kind == "word" else _SENTENCE
    pieces = [
        (part, match.start(), match.end())
        for part, source in enumerate(sources)
        for match in pattern.finditer(source)
    ]
    found = []
    for _, part, start, stop in tokens:
        # the last character decides, since some tokenizers count the space before a word
        last = max(stop - 1, start)
        found.append(
            next(
                (i for i, (p, _, z) in enumerate(pieces) if p == part and last < z),
                len(pieces) - 1,
            )
        )
    # pieces behind the longest input have no token and are no players
    used = sorted(set(found))
    place = {piece: player for player, piece in enumerate(used)}
    return [pieces[piece] for piece in used], [place[piece] for piece in found]


def _longest_input(model: nn.Module, tokenizer: Any) -> int:  # noqa: ANN401
    """Most tokens that tokenizer and position embeddings allow."""
    config: Any = getattr(model, "config", None)
    longest = min(int(tokenizer.model_max_length), 100_000)
    positions = getattr(config, "max_position_embeddings", None)
    for name, module in model.named_modules():
        # RoBERTa's kin count positions from behind the padding index
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None):
            positions = None if positions is None else positions - module.padding_idx - 1
            break
    return longest if positions is None else max(1, min(longest, int(positions)))
