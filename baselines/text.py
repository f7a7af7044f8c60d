"""Texts as games: tokens, words, sentences or spans of a transformers classifier as players."""

import contextlib
import json
from collections.abc import Generator, Sequence
from os import PathLike
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from baselines.fingerprints import content_hash
from baselines.text_game import TextGame
from baselines.text_loading import load_classifier
from baselines.text_networks import ByAttention, Reader, attention_window, longest_input
from baselines.text_packing import (
    DEVICE_TILE_TOKENS,
    TILE_TOKENS,
    choose_reader,
    probe_table,
)
from baselines.text_players import (
    PLAYERS,
    EncodedText,
    Players,
    Span,
    Text,
    check_texts,
    encode_texts,
)
from baselines.text_removal import REMOVALS, Removal, TokenTable, substitute_of

__all__ = ["EncodedText", "TextGame", "TextModel"]

Link = Literal["logit", "log_softmax", "margin"]
Precision = Literal["full", "bf16"]

LINKS = {"logit": "logits", "log_softmax": "log-softmax", "margin": "margins"}


class TextModel:
    """A text classifier whose input falls into players.

    Args:
        network: A transformers model for sequence classification; it is put in eval mode.
        tokenizer: Its fast tokenizer.
        players: What takes part: "token", "word" (between spaces), "sentence", or "span" (given
            with the texts).
        removal: "mask" puts the mask token in place of an absent token; "drop" leaves it out,
            while the others keep their position ids where the family has them; "pad" puts the
            padding token there and lets the model attend to it, as published label sets do.
        link: Scale of the outputs: "logit" as the model gives them, "log_softmax", or "margin",
            the log-odds of each class against all others.
        max_length: Most tokens of an input, special ones included; the model's own when None.
        batch_tokens: Tokens in one call of the network; a number for the device when None.
        packed: Leave out work that changes no value: really drop dropped tokens, project each
            text once, end with the token that is read out. False runs the plain model on every
            coalition in full length.
        precision: "full" keeps the network's own dtype, "bf16" multiplies in bfloat16.

    Raises:
        TypeError: If the tokenizer is not a fast one.
        ValueError: If an option is unknown or the tokenizer has no token to remove with.

    Attributes:
        network: The classifier.
        tokenizer: Its tokenizer.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
        >>> from baselines import TextModel, shapley
        >>> ids = {"[PAD]": 0, "[UNK]": 1, "a": 2, "good": 3, "film": 4}
        >>> core = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        >>> core.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> network = BertForSequenceClassification(BertConfig(vocab_size=5, **sizes)).eval()
        >>> model = TextModel(network, tokenizer, players="word", removal="drop")
        >>> e = shapley(model(["a good film"]), budget=64)
        >>> e.values.shape, e.exact  # one text, three words, two classes
        (torch.Size([1, 3, 2]), True)
    """

    def __init__(
        self,
        network: nn.Module,
        tokenizer: Any,  # noqa: ANN401 - transformers' own classes
        *,
        players: Players = "word",
        removal: Removal = "mask",
        link: Link = "logit",
        max_length: int | None = None,
        batch_tokens: int | None = None,
        packed: bool = True,
        precision: Precision = "full",
    ) -> None:
        for name, given, known in (
            ("players", players, PLAYERS),
            ("removal", removal, tuple(REMOVALS)),
            ("link", link, tuple(LINKS)),
            ("precision", precision, ("full", "bf16")),
        ):
            if given not in known:
                raise ValueError(f"{name}={given!r} is unknown; use one of {known}.")
        if not getattr(tokenizer, "is_fast", False):
            raise TypeError(
                f"tokenizer is a {type(tokenizer).__name__}; a fast tokenizer is needed, since it "
                "knows which characters a token covers."
            )
        if batch_tokens is not None and batch_tokens < 1:
            raise ValueError(f"batch_tokens={batch_tokens}; it must be positive.")
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length={max_length}; it must be positive.")
        self.network = network.eval()
        self.tokenizer = tokenizer
        self.players: Players = players
        self.removal: Removal = removal
        self.link: Link = link
        self.packed = packed
        self.precision: Precision = precision
        self._substitute = substitute_of(tokenizer, removal)
        longest = longest_input(network, tokenizer)
        self.max_length = longest if max_length is None else min(max_length, longest)
        added = int(tokenizer.num_special_tokens_to_add())
        if self.max_length < added:
            raise ValueError(
                f"max_length={self.max_length}; the {added} special tokens of this model alone are "
                "longer."
            )
        on_cpu = self.device.type == "cpu"
        self.batch_tokens = batch_tokens or (TILE_TOKENS if on_cpu else DEVICE_TILE_TOKENS)
        self._readers: dict[bool, Reader] = {}
        if link != "logit" and len(self.outputs) < 2:
            raise ValueError(f"link={link!r} needs two classes; this model has one output.")

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
            players: "token", "word", "sentence" or "span".
            removal: "mask", "drop" or "pad".
            options: Further keyword arguments of the constructor.

        Returns:
            A TextModel.

        Raises:
            OSError: If there is no such model, or a file of it is missing.
            ValueError: If a file is damaged, the checkpoint lacks weights of the classifier or has
                layers that its config does not know, or the tokenizer is not the network's.
        """
        network, tokenizer = load_classifier(name_or_dir)
        return cls(network, tokenizer, players=players, removal=removal, **options)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the classes."""
        config: Any = self.network.config
        labels = config.id2label
        return tuple(str(labels[i]) for i in sorted(labels))

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.network.parameters()).device

    @property
    def description(self) -> str:
        """The value function in words."""
        name = type(self.network).__name__
        return (
            f"{name} {LINKS[self.link]}, {self.players}s removed by {REMOVALS[self.removal]}"
            + (" in bfloat16" if self.precision == "bf16" else "")
        )

    @property
    def fingerprint(self) -> str:
        """Content hash of the game: weights, config, tokenizer, players, removal, link, length.

        How it is computed (packing, batch size, device) is not part of it, but precision is.
        """
        config: Any = self.network.config
        words = json.loads(config.to_json_string(use_diff=False))
        for volatile in ("_name_or_path", "transformers_version", "dtype", "torch_dtype"):
            words.pop(volatile, None)
        about = (self.players, self.removal, self.link, self.max_length, self.precision)
        told = json.dumps(words, sort_keys=True)
        return content_hash(self.network, told, _tokenizer_content(self.tokenizer), about)

    def encode(
        self,
        texts: Text | Sequence[Text],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> list[EncodedText]:
        """Token ids, the player of each token, and the players' names.

        Args:
            texts: Strings, or pairs of strings for models that read two.
            spans: For `players="span"`, for each text its players as `(start, stop)` characters,
                or `(part, start, stop)` for pairs. Tokens in none of them are always present.

        Returns:
            One encoding for each text.

        Raises:
            TypeError: If a text is no string or pair of strings.
            ValueError: If there is no text, or the spans do not fit.
        """
        listed = check_texts(texts)
        return encode_texts(self.tokenizer, listed, self.players, self.max_length, spans)

    def __call__(
        self,
        texts: Text | Sequence[Text],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> TextGame:
        """The games of some texts.

        Args:
            texts: Strings, or pairs of strings for models that read two.
            spans: As `encode` takes them.

        Returns:
            A game of `b` texts, ragged: `player_mask` says which players are real.

        Raises:
            TypeError: If a text is no string or pair of strings.
            ValueError: If there is no text, none holds a player, or the spans do not fit.
        """
        return TextGame(self, self.encode(texts, spans))

    def table(self, encoded: Sequence[EncodedText], n_players: int) -> TokenTable:
        """The tokens of encoded texts side by side, and what an absent one becomes.

        Args:
            encoded: From `encode`.
            n_players: Most players of a text.
        """
        pad = self.tokenizer.pad_token_id
        return TokenTable.of(encoded, n_players, 0 if pad is None else pad, self._substitute)

    def reader(self, table: TokenTable) -> Reader:
        """How rows of a table are read: the fastest way that agrees with the plain one."""
        if not self.packed:
            return ByAttention(self.network)
        window = attention_window(self.network)
        sees_all = window is None or int(table.lengths.max()) <= window
        if sees_all not in self._readers:
            special = set(self.tokenizer.all_special_ids)
            config: Any = self.network.config
            size = int(config.get_text_config().vocab_size)
            ids = [i for i in range(min(size, 1000)) if i not in special][:6] or [0]
            probe = probe_table(ids, table.inputs, self._substitute)
            self._readers[sees_all] = choose_reader(self.network, probe, sees_all=sees_all)
        return self._readers[sees_all]

    @contextlib.contextmanager
    def inference(self) -> Generator[None]:
        """No gradients, and bfloat16 where it was asked for."""
        with torch.no_grad():
            if self.precision == "full":
                yield
            else:
                with torch.autocast(self.device.type, torch.bfloat16):
                    yield

    def link_of(self, logits: Tensor) -> Tensor:
        """Logits `(rows, k)` on the scale of `link`."""
        if self.link == "logit":
            return logits
        if self.link == "log_softmax":
            return logits.log_softmax(-1)
        own = torch.eye(logits.shape[-1], dtype=torch.bool, device=logits.device)
        others = logits[:, None].expand(-1, len(own), -1).masked_fill(own, -torch.inf)
        return logits - others.logsumexp(-1)


def _tokenizer_content(tokenizer: Any) -> list[str]:  # noqa: ANN401
    """What decides how a tokenizer reads; truncation and padding are set call by call."""
    told = json.loads(tokenizer.backend_tokenizer.to_str())
    for volatile in ("truncation", "padding"):
        told.pop(volatile, None)
    special = sorted((name, str(token)) for name, token in tokenizer.special_tokens_map.items())
    names = list(tokenizer.model_input_names)
    return [json.dumps(told, sort_keys=True), json.dumps(special), json.dumps(names)]
