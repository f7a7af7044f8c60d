"""Long texts: Owen values of words within sentences.

Sentences join one after another and the words of a sentence join together, so that a text of 300
words in 20 sentences has orders worth drawing; a sentence's words sum to its Shapley value.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.coalitions import key_from
from baselines.explanation import Explanation
from baselines.fingerprints import key_of
from baselines.grouped import owen
from baselines.text import TextModel
from baselines.text_players import Text, check_texts, sentences_of


def sentence_owen(
    model: TextModel,
    texts: Text | Sequence[Text],
    budget: int,
    *,
    generator: torch.Generator | None = None,
) -> Explanation:
    """Owen values of a text's players, sentences first and then what is in them.

    Args:
        model: A TextModel whose players are words, tokens or spans.
        texts: Strings or pairs of strings; each needs a player.
        budget: Coalitions to evaluate per text, both ends included.
        generator: Source of the random orders; each text draws from its own stream.

    Returns:
        Values `(b, n, k)`, ragged, estimand "owen"; the diagnostic `sentence` `(b, n)` numbers
        each player's sentence, -1 for padding. Players behind the longest input do not exist, and
        `game` says how many texts were cut.

    Raises:
        TypeError: If a text is no text, or the budget no whole number.
        ValueError: If the budget is below 2, a text holds no player, or players are sentences.

    Source: Owen (1977).

    Example:
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
        >>> from baselines import TextModel, sentence_owen
        >>> ids = {"[PAD]": 0, "[UNK]": 1, "a": 2, "good": 3, "film": 4}
        >>> core = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
        >>> core.pre_tokenizer = pre_tokenizers.Whitespace()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]")
        >>> sizes = dict(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        >>> network = BertForSequenceClassification(BertConfig(vocab_size=5, **sizes)).eval()
        >>> model = TextModel(network, tokenizer, players="word", removal="drop")
        >>> sentence_owen(model, ["a good film. good film"], budget=64).values.shape[1]
        5
    """
    if model.players == "sentence":
        raise ValueError("players='sentence' has no level below; use players='word'.")
    key = key_from(generator)
    found: list[Explanation] = []
    sentences: list[Tensor] = []
    names: list[str] = []
    for text in check_texts(texts):
        game = model([text])
        groups = sentences_of(game.encoded[0])
        stream = torch.Generator().manual_seed(key_of(key, "sentence owen", text))
        found.append(owen(game, groups, budget, generator=stream))
        sentences.append(_numbers(groups, game.n_players))
        names.append(game.description)
    n_cut = sum("cut at the longest input" in name for name in names)
    game = model.description + ", within sentences"
    if n_cut:
        game += f"; {n_cut} of {len(names)} texts cut at the longest input"
    return _stack(found, sentences, game)


def _numbers(groups: list[list[int]], n: int) -> Tensor:
    number = torch.zeros(n, dtype=torch.int64)
    for sentence, members in enumerate(groups):
        number[members] = sentence
    return number


def _stack(found: list[Explanation], sentences: list[Tensor], game: str) -> Explanation:
    """Explanations of single texts as one ragged explanation."""

    def pad(rows: list[Tensor], fill: float = 0) -> Tensor:
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=fill)

    counts = torch.tensor([one.shape[1] for one in found])
    errors = [one.std_errors for one in found]
    known = [
        torch.zeros_like(one.values) if error is None and one.exact else error
        for one, error in zip(found, errors, strict=True)
    ]
    exact = all(one.exact for one in found)
    bases = [one.base_values for one in found if one.base_values is not None]
    complete = [error[0] for error in known if error is not None]
    return Explanation(
        pad([one.values[0] for one in found]),
        estimand="owen",
        game=game,
        method=found[0].method if len({one.method for one in found}) == 1 else "owen",
        exact=exact,
        base_values=torch.cat(bases) if len(bases) == len(found) else None,
        std_errors=pad(complete) if not exact and len(complete) == len(found) else None,
        n_evals=max(one.n_evals for one in found),
        players=[tuple(map(str, one.player_names(0))) for one in found],
        outputs=found[0].outputs,
        player_mask=torch.arange(int(counts.max())) < counts[:, None],
        diagnostics={
            "additivity_gap": torch.cat([one.diagnostics["additivity_gap"] for one in found]),
            "sentence": pad(sentences, -1),
        },
    )
