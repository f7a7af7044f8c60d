"""Two small networks of the estimator grid, whose games are tabulated: a transformer and a CNN.

Both are trained here in under a minute, on inputs parts of which are absent, and every coalition
of every explicand is evaluated once, so that truth is by definition and playing costs nothing.
"""

import csv
import gzip
from collections import Counter
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from baselines.coalitions import all_coalitions
from baselines.randomness import seeded
from bench.grid_games import Table
from bench.problems.tabular import data_folder

WORDS, PHRASES, VOCABULARY = 14, 20_000, 4_000
"""Players of a text game, training phrases, and words the transformer knows."""

PAD, MASK, UNKNOWN = 0, 1, 2
PATCH = 2
"""Width of a patch of an 8 x 8 digit, in pixels."""


def text_games(count: int) -> list[Table]:
    """Sentences of 14 words of SST-2 under a small BERT; v(S) is the difference of its logits.

    Args:
        count: Number of sentences, from the training set's first ones of that length.

    Returns:
        Games of 14 players, one a word; absent words are the mask token.

    Raises:
        FileNotFoundError: If there is no data folder.
    """
    folder = data_folder() / "text"
    phrases = _rows(folder / "sst2_glue_train.tsv.gz")[1:]
    draw = np.random.default_rng(0)
    chosen = [phrases[i] for i in draw.permutation(len(phrases))]
    chosen = [(text, label) for text, label in chosen if 2 <= len(text.split()) <= 24][:PHRASES]
    seen = Counter(word for text, _ in chosen for word in text.split())
    codes = {word: 3 + i for i, (word, _) in enumerate(seen.most_common(VOCABULARY))}
    ids = [torch.tensor([codes.get(word, UNKNOWN) for word in text.split()]) for text, _ in chosen]
    labels = torch.tensor([int(label) for _, label in chosen])
    model = _transformer(ids, labels)
    sentences = [row[0].split() for row in _rows(folder / "sst2_train.tsv.gz")[1:]]
    sentences = [words for words in sentences if len(words) == WORDS][:count]
    present = all_coalitions(WORDS)
    games = []
    for words in sentences:
        row = torch.tensor([codes.get(word, UNKNOWN) for word in words])
        rows = torch.where(present, row, MASK)
        logits = _logits(lambda part: model(input_ids=part).logits, rows)
        games.append(Table((logits[:, 1] - logits[:, 0]).double().numpy()))
    return games


def patch_games(count: int) -> list[Table]:
    """Digits in 16 patches under a small CNN; v(S) is the logit of the predicted class.

    Args:
        count: Number of images, spread over the data set.

    Returns:
        Games of 16 players; absent patches take the mean image.
    """
    from sklearn.datasets import load_digits

    images = cast(Any, load_digits())
    x = torch.tensor(images.data / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    mean = x.mean(0)
    model = _cnn(x, torch.tensor(images.target), mean)
    side = torch.arange(8) // PATCH
    patch = side[:, None] * (8 // PATCH) + side  # (8, 8), the player of each pixel
    present = all_coalitions(16)[:, patch][:, None]  # (2**16, 1, 8, 8)
    games = []
    for row in x[:: max(1, len(x) // count)][:count]:
        with torch.no_grad():
            label = int(model(row[None]).argmax())
        logits = _logits(model, torch.where(present, row, mean))
        games.append(Table(logits[:, label].double().numpy()))
    return games


def _transformer(ids: list[Tensor], labels: Tensor) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY + 3,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=32,
        pad_token_id=PAD,
    )
    rows = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=PAD)
    with seeded(0):
        model = BertForSequenceClassification(config)
        fit = torch.optim.AdamW(model.parameters(), 2e-3)
        model.train()
        for _ in range(3):
            for batch in torch.randperm(len(rows)).split(128):
                part = rows[batch]
                hidden = (torch.rand(part.shape) < 0.5 * torch.rand(len(part), 1)) & (part != PAD)
                part = torch.where(hidden, MASK, part)
                answer = model(part, attention_mask=(part != PAD).long(), labels=labels[batch])
                fit.zero_grad()
                answer.loss.backward()
                fit.step()
    return model.eval()


def _cnn(x: Tensor, y: Tensor, mean: Tensor) -> nn.Module:
    with seeded(0):
        model = nn.Sequential(
            nn.Conv2d(1, 12, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 16, 10),
        )
        fit = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(15):
            for batch in torch.randperm(len(x)).split(64):
                kept = torch.rand(len(batch), 1, 4, 4) < torch.rand(len(batch), 1, 1, 1)
                kept = kept.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
                loss = nn.functional.cross_entropy(
                    model(torch.where(kept, x[batch], mean)), y[batch]
                )
                fit.zero_grad()
                loss.backward()
                fit.step()
    return model.eval()


def _logits(model: Any, rows: Tensor) -> Tensor:  # noqa: ANN401 - a callable on rows
    with torch.inference_mode():
        return torch.cat([model(part) for part in rows.split(4096)]).clone()


def _rows(path: Any) -> list[list[str]]:  # noqa: ANN401 - a path
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
