"""Exact text classifiers beside a GRU, a transformer and a bag, trained alike; a resumable suite.

    python -m bench.text_nets --out out/text_nets --sets sst2,agnews,negations --seeds 3

One cell is one set, model and seed: a JSON file with which test texts were right. Every model has the
same vocabulary, width, bundles, optimizer, schedule and number of epochs.
"""

import argparse
import json
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baselines.files import atomic_write
from baselines.randomness import seeded
from bench.intervals import mean_interval
from bench.problems.text_data import TEXT_SETS, TextData, load_texts
from bench.provenance import provenance
from bench.text_rivals import RIVALS
from harsanyi.text_fitting import bundles, train_text_net
from harsanyi.texts import DESIGNS, HarsanyiForTextClassification
from harsanyi.vocabulary import encode, word_tokenizer

MODELS = ("sum", "matrices", "bag", "gru", "transformer")
EPOCHS = {"sst2": 4, "agnews": 4, "negations": 12}
DROPOUT = {"agnews": 0.5}  # by a sixth of its training texts: 0.3 and 2 epochs fit it too little
LR, WIDTH, USUAL_DROPOUT, DECAY, WEIGHT = 2e-3, 64, 0.3, 0.1, 0.25


def negation_parity(size: int, seed: int, length: int = 14) -> TextData:
    """Texts whose label is a word's sentiment, turned by every negator that stands before it.

    Args:
        size: Number of texts.
        seed: Key of the texts.
        length: Words per text; negators and fillers at random, one word of sentiment.

    Returns:
        Texts such as "it not film not good a", label 1 for positive.
    """
    draw = np.random.default_rng([seed, 7])
    fillers = ["the", "film", "is", "a", "it", "really", "so", "this", "was", "and"]
    negators = ["not", "never", "hardly", "n't"]
    words = {
        "good": 1,
        "great": 1,
        "fine": 1,
        "lovely": 1,
        "bad": 0,
        "awful": 0,
        "poor": 0,
        "dull": 0,
    }
    texts, labels = [], []
    for _ in range(size):
        row = [
            str(draw.choice(negators if draw.random() < 0.3 else fillers)) for _ in range(length)
        ]
        place = int(draw.integers(0, length))
        row[place] = str(draw.choice(list(words)))
        flips = sum(word in negators for word in row[:place])
        texts.append(" ".join(row))
        labels.append((words[row[place]] + flips) % 2)
    return TextData("negations", texts, labels, ("negative", "positive"))


def text_set(name: str) -> tuple[TextData, dict[str, TextData]]:
    """Training texts, and test parts by name.

    Args:
        name: "sst2", "agnews" or "negations".
    """
    if name == "negations":
        return negation_parity(6000, 0), {"test": negation_parity(2000, 1)}
    train, test = load_texts(name), load_texts(name, "test")
    if name == "sst2":
        from bench.problems.text_data import _frame

        frame = _frame("sst2_test.tsv.gz", sep="\t", quoting=3)
        whole = TextData("sst2", frame["sentence"].tolist(), frame["label"].tolist(), test.classes)
        return train, {"dev": test, "test": whole}
    return train, {"test": test}


def run_cell(
    name: str, model: str, seed: int, epochs: int | None = None, checkpoints: Path | None = None
) -> dict[str, Any]:
    """Train and score one model.

    Args:
        name: Text set.
        model: One of `MODELS`, or a design of harsanyi.texts.
        seed: Of initial weights and of the order of texts.
        epochs: In place of the suite's.
        checkpoints: Folder in which a killed training is continued, or None.

    Returns:
        Per test part a list of 0 and 1, and seconds of processor time.
    """
    train, parts = text_set(name)
    epochs = epochs or EPOCHS.get(name, 3)
    started = time.process_time()
    shared = {
        "epochs": epochs, "batch_size": 64, "lr": LR, "weight_decay": DECAY,
        "coalition_weight": WEIGHT, "checkpoint_dir": checkpoints,
    }  # fmt: skip
    dropout = DROPOUT.get(name, USUAL_DROPOUT)
    if model in RIVALS:
        predict, size = _train_rival(model, train, seed, dropout, shared)
    else:
        net = HarsanyiForTextClassification.from_texts(
            train.texts,
            train.labels or (),
            design=model,
            width=WIDTH,
            dropout=dropout,
            random_state=seed,
            **shared,
        )
        predict = net.predict
        size = sum(p.numel() for p in net.parameters())
    seconds = time.process_time() - started
    right = {
        part: [int(a == b) for a, b in zip(predict(data.texts), data.labels or (), strict=True)]
        for part, data in parts.items()
    }
    return {
        "right": right,
        "seconds": seconds,
        "parameters": size,
        "epochs": epochs,
        **provenance(),
    }


def _train_rival(
    kind: str, train: TextData, seed: int, dropout: float, shared: dict[str, Any]
) -> tuple[Any, int]:
    if not all(isinstance(text, str) for text in train.texts):
        raise ValueError(f"{train.name} has pairs of texts; {kind} takes single ones.")
    tokenizer = word_tokenizer([str(text) for text in train.texts])
    with seeded(seed):
        net = RIVALS[kind](len(tokenizer), WIDTH, len(train.classes), dropout)
    net.reset_parameters(torch.Generator().manual_seed(seed))

    def rows(texts: Sequence[Any]) -> tuple[torch.Tensor, None, torch.Tensor]:
        ids = encode(tokenizer, list(texts)).ids
        return ids, None, ids != 0

    labels = torch.tensor(train.labels)
    train_text_net(net, rows(train.texts), labels, key=seed, **shared)
    net.eval()

    @torch.no_grad()
    def predict(texts: Sequence[Any]) -> list[int]:
        x, types, real = rows(texts)
        found = torch.zeros(len(x), dtype=torch.long)
        for one in bundles(x, types, real, 256):
            found[one.rows] = net(one.x, real=one.real).argmax(1)
        return found.tolist()

    return predict, sum(p.numel() for p in net.parameters())


def read_cells(folder: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Finished cells by set, model and seed."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        match = re.fullmatch(r"(\w+)-(.+)-(\d+)", path.stem)
        if match:
            found[match[1], match[2], int(match[3])] = json.loads(path.read_text())
    return found


def report(folder: Path) -> str:
    """Accuracies, and each model's difference from the default design with a paired interval.

    Args:
        folder: Of the cells.

    Returns:
        Markdown tables.
    """
    cells = read_cells(folder)
    lines = []
    for name in dict.fromkeys(key[0] for key in cells):
        models = list(dict.fromkeys(key[1] for key in cells if key[0] == name))
        heads = ("model", "seeds", "accuracy", "sum less it, 95 % interval", "parameters", "CPU s")
        rule = "| --- | ---: | ---: | ---: | ---: | ---: |"
        lines += [f"### {name}", "", f"| {' | '.join(heads)} |", rule]
        for model in sorted(models, key=[*MODELS, *models].index):
            mine = {key[2]: cell for key, cell in cells.items() if key[:2] == (name, model)}
            both = [seed for seed in mine if (name, "sum", seed) in cells]
            right = np.array([_all_parts(mine[seed]) for seed in mine])
            words = "" if model == "sum" or not both else _difference(cells, name, model, both)
            parts = next(iter(mine.values()))["right"]
            means = ", ".join(
                f"{part} {100 * np.mean([cell['right'][part] for cell in mine.values()]):.2f}"
                for part in parts
            )
            seconds = np.mean([cell["seconds"] for cell in mine.values()])
            size = next(iter(mine.values()))["parameters"]
            lines.append(
                f"| {model} | {len(mine)} | {100 * right.mean():.2f} ({means}) | {words} | "
                f"{size:,} | {seconds:.0f} |"
            )
        lines.append("")
    return "\n".join(lines)


def _all_parts(cell: dict[str, Any]) -> list[int]:
    return [bit for part in cell["right"].values() for bit in part]


def _difference(cells: dict[Any, Any], name: str, model: str, seeds: list[int]) -> str:
    gaps = [
        np.subtract(_all_parts(cells[name, "sum", s]), _all_parts(cells[name, model, s]))
        for s in seeds
    ]
    found = mean_interval(100.0 * np.array(gaps))
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the cells that are missing, then print the tables."""
    from tqdm.auto import tqdm

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/text_nets"))
    parser.add_argument("--sets", default="negations,sst2,agnews")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=None)
    asked = parser.parse_args(arguments)
    known = {*MODELS, *DESIGNS}
    unknown = [m for m in asked.models.split(",") if m not in known]
    if unknown:
        parser.error(f"models {unknown} are unknown; choose among {sorted(known)}")
    strange = [s for s in asked.sets.split(",") if s not in {"negations", *TEXT_SETS}]
    if strange:
        parser.error(f"sets {strange} are unknown; choose among negations, {', '.join(TEXT_SETS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    cells = [
        (name, model, seed)
        for seed in range(asked.seeds)
        for name in asked.sets.split(",")
        for model in asked.models.split(",")
    ]
    for name, model, seed in tqdm(cells, desc="cells"):
        path = asked.out / f"{name}-{model}-{seed}.json"
        if not path.is_file():
            runs = asked.out / "runs" / path.stem
            cell = run_cell(name, model, seed, asked.epochs, runs)
            atomic_write(path, json.dumps(cell).encode())
            shutil.rmtree(runs, ignore_errors=True)
    print(report(asked.out))


if __name__ == "__main__":
    main()
