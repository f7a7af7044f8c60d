"""Small text classifiers to explain: trained once from nothing, with a vocabulary of their own.

target = text_target("sst2/bert2")      # a folder that transformers loads; trains if need be
"""

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.files import atomic_write
from baselines.fingerprints import content_hash
from baselines.randomness import seeded
from baselines.text_players import Text
from bench.problems.text_data import TEXT_SETS, TextData, load_texts

DEPTHS = {"bert2": 2, "bert6": 6}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a target is trained.

    Args:
        layers: Layers of the encoder.
        width: Hidden width; heads are 32 wide, feed-forward parts four times as wide.
        vocabulary: Most word pieces.
        length: Most tokens of a text.
        epochs: Passes over the training texts.
        lr: Highest learning rate.
        batch: Texts of a step.
        most: Most training texts.
        version: Rises when the code changes what is trained.
    """

    layers: int = 2
    width: int = 128
    vocabulary: int = 8000
    length: int = 64
    epochs: int = 3
    lr: float = 1e-3
    batch: int = 64
    most: int = 70_000
    version: int = 1


RECIPES: dict[str, dict[str, Any]] = {
    "templates": {"width": 64, "vocabulary": 200, "length": 24, "epochs": 12, "lr": 2e-3},
    "sst2": {"epochs": 3},
    "agnews": {"epochs": 2},
    "yelp": {"epochs": 2, "length": 32},
    "snli": {"epochs": 6},
    "mrpc": {"epochs": 6, "length": 96},
}


def cache_folder() -> Path:
    """Where trained targets lie: `$HARSANYI_CACHE`, else `~/.cache/harsanyi`."""
    named = os.environ.get("HARSANYI_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "harsanyi"


def target_names() -> list[str]:
    """Every name that `text_target` takes."""
    return [f"{data}/{kind}" for data in TEXT_SETS for kind in DEPTHS]


def text_target(name: str, *, seed: int = 0, progress: bool = True) -> Path:
    """The folder of a trained target; trains it when it is not there.

    Args:
        name: Such as `sst2/bert2`.
        seed: Of weights and batches.
        progress: Show a bar of training steps.

    Returns:
        A folder with config, weights, tokenizer, and `target.json`, which says how it was trained
        and its accuracy on texts that it did not see. A training that was killed continues.

    Raises:
        ValueError: If there is no such target.
        FileNotFoundError: If the data folder lacks the texts.
    """
    data, _, kind = name.partition("/")
    if data not in TEXT_SETS or kind not in DEPTHS:
        raise ValueError(f"target {name!r} is unknown; use one of {', '.join(target_names())}.")
    recipe = Recipe(layers=DEPTHS[kind], **RECIPES[data])
    if recipe.layers > 2:
        recipe = dataclasses.replace(recipe, lr=recipe.lr / 2)
    key = content_hash(data, dataclasses.asdict(recipe), seed)[:12]
    folder = cache_folder() / "targets" / f"{data}-{kind}-{key}"
    if not (folder / "target.json").is_file():
        train_target(load_texts(data), load_texts(data, "test"), folder, recipe, seed, progress)
    return folder


def train_target(
    train: TextData,
    test: TextData,
    folder: Path,
    recipe: Recipe | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a BERT-style classifier with its own word pieces.

    Args:
        train: Texts with labels.
        test: Texts with labels, for its accuracy.
        folder: Where the target and, until it is done, checkpoints lie.
        recipe: How; the default recipe when None.
        seed: Of weights and batches.
        progress: Show a bar of steps.

    Returns:
        What `target.json` says: accuracy, sizes, seconds, recipe.

    Raises:
        ValueError: If the training texts have no labels or one class.
    """
    from baselines.training import AdamW, WarmupCosine, fit

    recipe = recipe or Recipe()
    train = train.first(recipe.most, seed)
    if train.labels is None or test.labels is None or len(set(train.labels)) < 2:
        raise ValueError(f"{train.name} needs labels of two classes or more to train on.")
    started = time.process_time()
    tokenizer = word_pieces(train.texts, recipe.vocabulary, recipe.length)
    network = new_network(tokenizer, train.classes, recipe, seed)
    rows = TextRows(tokenizer, train)
    steps = folder / "checkpoints"
    history = fit(
        network,
        rows,
        classification_loss,
        epochs=recipe.epochs,
        batch_size=recipe.batch,
        optimizer=AdamW(lr=recipe.lr),
        schedule=WarmupCosine(0.1),
        max_grad_norm=1.0,
        key=seed,
        config=dataclasses.asdict(recipe),
        checkpoint_dir=steps,
        progress=progress,
        description=f"target {train.name}",
    )
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    found = {
        "data": train.name,
        "texts": len(train),
        "accuracy": accuracy(network, tokenizer, test),
        "test_texts": len(test),
        "loss": history.losses[-1],
        "cpu_seconds": round(time.process_time() - started, 1),
        "parameters": sum(p.numel() for p in network.parameters()),
        "seed": seed,
        "recipe": dataclasses.asdict(recipe),
    }
    shutil.rmtree(steps, ignore_errors=True)
    atomic_write(folder / "target.json", json.dumps(found, indent=1).encode())
    return found


def word_pieces(texts: list[Text], size: int, length: int) -> Any:  # noqa: ANN401
    """A WordPiece tokenizer learnt from texts.

    Args:
        texts: Strings or pairs of strings.
        size: Most word pieces.
        length: Longest input.

    Returns:
        A fast transformers tokenizer in lower case, with BERT's special tokens.
    """
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertTokenizerFast  # pyright: ignore[reportAttributeAccessIssue] - lazy

    core = BertWordPieceTokenizer(lowercase=True)
    lines = (one for text in texts for one in ((text,) if isinstance(text, str) else text))
    core.train_from_iterator(lines, vocab_size=size, min_frequency=2, show_progress=False)
    return BertTokenizerFast(
        tokenizer_object=core._tokenizer,
        model_max_length=length,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")},
    )


def new_network(tokenizer: Any, classes: tuple[str, ...], recipe: Recipe, seed: int) -> Any:  # noqa: ANN401
    """An untrained BERT classifier.

    Args:
        tokenizer: Whose vocabulary it reads.
        classes: Names of the classes.
        recipe: Sizes.
        seed: Of the weights.
    """
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.width,
        num_hidden_layers=recipe.layers,
        num_attention_heads=max(1, recipe.width // 32),
        intermediate_size=4 * recipe.width,
        max_position_embeddings=recipe.length,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(classes)),
        label2id={name: i for i, name in enumerate(classes)},
    )
    with seeded(seed):
        return BertForSequenceClassification(config)


class TextRows:
    """Tokenized texts for the training loop, padded batch by batch.

    Args:
        tokenizer: Of the target.
        data: Texts with labels.
    """

    def __init__(self, tokenizer: Any, data: TextData) -> None:  # noqa: ANN401
        self.tokenizer = tokenizer
        columns = [list(data.texts)]
        if not isinstance(data.texts[0], str):
            columns = [list(part) for part in zip(*data.texts, strict=True)]
        self.inputs = tokenizer(*columns, truncation=True)
        self.labels = torch.tensor(data.labels)
        self.content_hash = content_hash(self.inputs["input_ids"], self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: Tensor) -> dict[str, Tensor]:
        picked = [
            {name: self.inputs[name][i] for name in self.inputs} for i in rows.flatten().tolist()
        ]
        batch = dict(self.tokenizer.pad(picked, return_tensors="pt"))
        return batch | {"labels": self.labels[rows.cpu()]}


def classification_loss(
    network: nn.Module, batch: dict[str, Tensor], generator: torch.Generator
) -> Tensor:
    """Mean cross-entropy, long texts apart from short ones so that little padding is read.

    Args:
        network: The target.
        batch: From `TextRows`.
        generator: Unused; dropout has its own stream.
    """
    lengths = batch["attention_mask"].sum(1)
    device = next(network.parameters()).device
    total = torch.zeros((), device=device)
    for rows in lengths.argsort(stable=True).chunk(4):
        longest = int(lengths[rows].max())
        part = {name: one[rows, :longest] for name, one in batch.items() if name != "labels"}
        logits = network(**{name: one.to(device) for name, one in part.items()}).logits
        labels = batch["labels"][rows].to(device)
        total = total + nn.functional.cross_entropy(logits, labels, reduction="sum")
    return total / len(lengths)


def accuracy(network: nn.Module, tokenizer: Any, data: TextData, most: int = 4000) -> float:  # noqa: ANN401
    """Share of texts whose class a network predicts.

    Args:
        network: A classifier.
        tokenizer: Its tokenizer.
        data: Texts with labels.
        most: Texts looked at.
    """
    rows = TextRows(tokenizer, data.first(most))
    network.eval()
    device = next(network.parameters()).device
    right = 0
    with torch.no_grad():
        for part in torch.arange(len(rows)).split(128):
            batch = rows[part]
            labels = batch.pop("labels")
            logits = network(**{name: one.to(device) for name, one in batch.items()}).logits
            right += int((logits.argmax(-1).cpu() == labels).sum())
    return right / len(rows)
