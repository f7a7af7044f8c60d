"""The games of some texts under a TextModel."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from baselines.coalitions import check_coalitions
from baselines.text_packing import distinct_rows, read_rows
from baselines.text_players import EncodedText
from baselines.text_removal import TokenTable, anchor_of

if TYPE_CHECKING:
    from baselines.text import TextModel


class TextGame:
    """The games of some texts under a TextModel; made by calling one.

    Args:
        model: The TextModel.
        encoded: Its encodings of the texts.

    Raises:
        ValueError: If no text holds a player.

    Attributes:
        texts: The texts.
        encoded: What `TextModel.encode` says of each.
        players: Tuples of names, one for each text: the players' characters.
        player_mask: Bool `(b, n)`, false for padding.
        spans: For each text its players' `(part, start, stop)`: part 0 or 1 of a pair, and
            characters of it.
        n_cut: Int64 `(b,)`, characters cut off because the text is too long for the model.
        n_evals: Model rows used so far; a coalition asked for twice in one call is one row.

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
        >>> from baselines import TextModel, exact_shapley
        >>> ids = {"[PAD]": 0, "[UNK]": 1, "a": 2, "good": 3, "film": 4}
        >>> core = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        >>> core.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> network = BertForSequenceClassification(BertConfig(vocab_size=5, **sizes)).eval()
        >>> game = TextModel(network, tokenizer, removal="drop")(["a good film", "film"])
        >>> game.n_explicands, game.n_players, game.player_mask.tolist()
        (2, 3, [[True, True, True], [True, False, False]])
    """

    tile_cells = 2**22
    """Cells of coalitions that an estimator may ask for at once: the game packs them itself, and
    packs many rows better than few."""

    def __init__(self, model: "TextModel", encoded: Sequence[EncodedText]) -> None:
        self.model = model
        self.encoded = tuple(encoded)
        self.texts = tuple(text.text for text in encoded)
        self.players = [text.players for text in encoded]
        self.spans = [text.spans for text in encoded]
        self.n_cut = torch.tensor([text.n_cut for text in encoded])
        self.outputs = model.outputs
        self.description = model.description
        self.n_evals = 0
        count = torch.tensor([len(text.players) for text in encoded])
        if not int(count.max()):
            raise ValueError("no text holds a player; pass texts with at least one character.")
        self.player_mask = torch.arange(int(count.max())) < count[:, None]
        if bool((self.n_cut > 0).any()):
            cut = int((self.n_cut > 0).sum())
            self.description += f"; {cut} of {len(encoded)} texts cut at the longest input"
        self.table = model.table(encoded, self.n_players)

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
        """Values `(b, m, k)` of coalitions; counts its rows.

        Args:
            coalitions: Bool `(b, m, n)` or `(1, m, n)`. What one says of players that a text does
                not have is ignored.

        Returns:
            On the scale of the model's link, at least float32, on the CPU.

        Raises:
            TypeError, ValueError: If the coalitions are no such masks, or the model returned NaN
                or infinity.
        """
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        b, m = self.n_explicands, coalitions.shape[1]
        if m == 0:
            return torch.zeros(b, 0, self.n_outputs)
        real = coalitions.cpu().expand(b, -1, -1) & self.player_mask[:, None]
        texts, masks, where = distinct_rows(real)
        values = self.model.link_of(self._logits(texts, masks)).cpu()
        if not bool(torch.isfinite(values).all()):
            raise ValueError("model returned NaN or infinity on texts with players removed.")
        self.n_evals += len(texts)
        return rearrange(values[where], "(b m) k -> b m k", b=b)

    def reads(self, row: int, coalition: Tensor) -> list[str]:
        """The tokens that the network reads of a text.

        Args:
            row: Number of the text.
            coalition: Bool `(n,)`.

        Returns:
            Tokens in their order, special ones included.
        """
        ids = self.encoded[row].ids
        text = torch.tensor([row])
        present = self.table.present(text, coalition[None].cpu())[0, : len(ids)]
        if self.table.substitute is None:
            ids = ids[present]
        else:
            ids = torch.where(present, ids, self.table.substitute)
        return self.model.tokenizer.convert_ids_to_tokens(ids.tolist())

    def _logits(self, texts: Tensor, masks: Tensor) -> Tensor:
        """Logits `(rows, k)`; an input without any token is the anchor token alone."""
        bare = self.table.kept(texts, masks) == 0
        if not bool(bare.any()):
            return self._read(self.table, texts, masks)
        none = torch.zeros(1, self.n_players, dtype=torch.bool)
        nothing = self._read(
            _anchor(self.table, self.model.tokenizer), torch.zeros(1).long(), none
        )
        if bool(bare.all()):
            return nothing.expand(len(texts), -1)
        some = self._read(self.table, texts[~bare], masks[~bare])
        logits = some.new_empty(len(texts), some.shape[1])
        logits[bare.to(logits.device)] = nothing
        logits[~bare.to(logits.device)] = some
        return logits

    def _read(self, table: TokenTable, texts: Tensor, masks: Tensor) -> Tensor:
        model = self.model
        reader = model.reader(table)  # chosen in full precision
        with model.inference():
            logits = read_rows(reader, table, texts, masks, model.batch_tokens)
        return logits if logits.dtype == torch.float64 else logits.float()


def _anchor(table: TokenTable, tokenizer: object) -> TokenTable:
    """A table of one text that is one token and has no player."""
    one = torch.zeros(1, 1, dtype=torch.int64)
    return TokenTable(
        {name: one for name in table.inputs} | {"input_ids": one + anchor_of(tokenizer)},
        owners=one - 1,
        lengths=torch.ones(1).long(),
        counts=torch.zeros(1, table.counts.shape[1]).long(),
        substitute=table.substitute,
    )
