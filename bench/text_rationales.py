"""Do exact values find the words that people marked? SST trees, toxic spans, ERASER movie reviews.

    python -m bench.text_rationales --out out/text_rationales --sets sst,toxic,eraser

Plausibility, not fidelity. A model is trained per set, its values ranked against the marks by average
precision, beside the share of words marked, which is what a random order gets.
"""

import argparse
import dataclasses
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from baselines.explanation import Explanation
from baselines.files import atomic_write
from bench.intervals import mean_interval
from bench.problems.tabular import data_folder
from bench.problems.text_data import load_texts
from bench.provenance import provenance
from bench.rationales import rationale_auprc
from harsanyi.texts import HarsanyiForTextClassification


@dataclasses.dataclass(frozen=True)
class Marked:
    """Texts whose characters people marked.

    Args:
        train: Texts and classes to learn from.
        texts: Texts to explain.
        marks: One bool per character of each.
        outputs: Class that the marks speak for, per text.
        design: Of the model; long texts take windows, whose values need no nodes.
    """

    train: tuple[list[Any], list[int]]
    texts: list[str]
    marks: list[NDArray[np.bool_]]
    outputs: list[int]
    design: str = "sum"


def sst_trees() -> Marked:
    """Words whose own label in the tree speaks for the label of the whole sentence."""
    train = load_texts("sst2")
    texts, marks, outputs = [], [], []
    path = data_folder() / "text" / "sst_trees_dev.txt.gz"
    with gzip.open(path, "rt", encoding="utf8") as opened:
        trees = opened.read().splitlines()
    for tree in trees:
        root = int(tree[1])
        if root == 2:
            continue
        pairs = [(w.lower(), int(y)) for y, w in re.findall(r"\((\d) ([^\s()]+)\)", tree)]
        wanted = [(y > 2) == (root > 2) and y != 2 for _, y in pairs]
        flags: list[bool] = []
        for (word, _), marked in zip(pairs, wanted, strict=True):
            flags += [marked] * len(word) + [False]
        texts.append(" ".join(word for word, _ in pairs))
        marks.append(np.array(flags[:-1]))
        outputs.append(int(root > 2))
    return Marked((train.texts, list(train.labels or ())), texts, marks, outputs)


def toxic_spans() -> Marked:
    """Spans that were judged toxic; posts without any are the other class, weakly."""
    import pandas as pd

    def read(part: str) -> Any:  # noqa: ANN401 - a frame
        frame = pd.read_csv(data_folder() / "text" / f"toxic_spans_{part}.csv.gz")
        frame["spans"] = frame["spans"].map(json.loads)
        return frame

    train, test = read("train"), read("test")
    labels = [int(len(spans) > 0) for spans in train["spans"]]
    clean = [i for i, y in enumerate(labels) if not y]
    # clean posts are rare: shown as often as toxic ones
    times = max(1, len(labels) // max(1, len(clean)) // 2)
    rows = [*range(len(labels)), *(clean * times)]
    marks = []
    for text, spans in zip(test["text"], test["spans"], strict=True):
        flags = np.zeros(len(text), dtype=bool)
        flags[spans] = True
        marks.append(flags)
    known = (list(train["text"].iloc[rows]), [labels[i] for i in rows])
    return Marked(known, list(test["text"]), marks, [1] * len(test))


def eraser_movies() -> Marked:
    """Reviews and the passages that show why they are positive or negative."""
    import pandas as pd

    folder = data_folder() / "text"
    docs: Any = pd.read_json(folder / "eraser_movies_docs.jsonl.gz", lines=True).set_index(
        "docid"
    )["text"]

    def read(part: str) -> Any:  # noqa: ANN401 - a frame
        return pd.read_json(folder / f"eraser_movies_{part}.jsonl.gz", lines=True)

    train, test = read("train"), read("test")
    texts, marks = [], []
    for name, groups in zip(test["annotation_id"], test["evidences"], strict=True):
        words = docs[name].split()
        chosen = np.zeros(len(words), dtype=bool)
        for span in (span for group in groups for span in group):
            chosen[span["start_token"] : span["end_token"]] = True
        flags: list[bool] = []
        for word, marked in zip(words, chosen, strict=True):
            flags += [bool(marked)] * len(word) + [False]
        texts.append(" ".join(words))
        marks.append(np.array(flags[:-1]))
    known = [" ".join(docs[name].split()) for name in train["annotation_id"]]
    labels = [int(y == "POS") for y in train["classification"]]
    outputs = [int(y == "POS") for y in test["classification"]]
    return Marked((known, labels), texts, marks, outputs, design="ngrams")


SETS = {"sst": sst_trees, "toxic": toxic_spans, "eraser": eraser_movies}


def player_marks(
    model: HarsanyiForTextClassification,
    texts: Sequence[str],
    marks: Sequence[NDArray[np.bool_]],
    n_players: int,
) -> NDArray[np.bool_]:
    """Marks of characters as marks of players, bool `(b, n)`: a player with any marked character."""
    tokenizer: Any = model.tokenizer
    found = np.zeros((len(texts), n_players), dtype=bool)
    for row, (text, flags) in enumerate(zip(texts, marks, strict=True)):
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        for place, (start, end) in enumerate(encoded["offset_mapping"]):
            found[row, place] = flags[start:end].any()
    return found


def judge(name: str, out: Path, epochs: int | None = None) -> dict[str, Any]:
    """Train on one set, explain its marked texts, and score the values.

    Args:
        name: One of `SETS`.
        out: Folder; the model is kept there.
        epochs: In place of the default.

    Returns:
        Accuracy, average precision with its interval, and the share of players marked.
    """
    data = SETS[name]()
    folder = out / name
    if (folder / "config.json").is_file():
        model = HarsanyiForTextClassification.from_pretrained(folder)
    else:
        options: dict[str, Any] = {} if epochs is None else {"epochs": epochs}
        model = HarsanyiForTextClassification.from_texts(
            *data.train, design=data.design, checkpoint_dir=out / f"{name}-run", **options
        )
        model.save_pretrained(folder)
    chosen = [i for i, flags in enumerate(data.marks) if flags.any()]
    texts = [data.texts[i] for i in chosen]
    e = model.explain(texts, tolerance=1e-6)
    marks = player_marks(model, texts, [data.marks[i] for i in chosen], e.shape[1])
    outputs = np.array([data.outputs[i] for i in chosen])
    signed = rationale_auprc(e, marks, outputs=outputs, signed=True)
    shares = marks.sum(1) / _lengths(e)
    logits = e.values.sum(1) + (0 if e.base_values is None else e.base_values)
    found = mean_interval(signed[None], bounds=(0.0, 1.0))
    return {
        "set": name,
        "texts": len(texts),
        "accuracy": float((logits.argmax(1).numpy() == outputs).mean()),
        "auprc": found.value,
        "interval": [found.low, found.high],
        "by_magnitude": float(np.nanmean(rationale_auprc(e, marks, outputs=outputs))),
        "random": float(_random_auprc(e, marks)),
        "marked": float(shares.mean()),
        **provenance(),
    }


def _lengths(e: Explanation) -> NDArray[np.int64]:
    assert e.player_mask is not None
    return e.player_mask.sum(1).numpy()


def _random_auprc(e: Explanation, marks: NDArray[np.bool_]) -> float:
    """What values drawn at random get, on the same texts."""
    noise = torch.rand(e.values.shape, generator=torch.Generator().manual_seed(0))
    drawn = dataclasses.replace(e, values=noise, diagnostics={}, base_values=None)
    return float(np.nanmean(rationale_auprc(drawn, marks, signed=True)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the sets asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/text_rationales"))
    parser.add_argument("--sets", default="sst,toxic,eraser")
    parser.add_argument("--epochs", type=int, default=None)
    asked = parser.parse_args(arguments)
    names = asked.sets.split(",")
    unknown = [name for name in names if name not in SETS]
    if unknown:
        parser.error(f"sets {unknown} are unknown; choose among {', '.join(SETS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    print("| set | texts | accuracy | AUPRC (95 %) | by magnitude | random order | marked |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in names:
        path = asked.out / f"{name}.json"
        if not path.is_file():
            atomic_write(path, json.dumps(judge(name, asked.out, asked.epochs)).encode())
        r = json.loads(path.read_text())
        low, high = r["interval"]
        print(
            f"| {name} | {r['texts']:,} | {r['accuracy']:.3f} | {r['auprc']:.3f} ({low:.3f} to "
            f"{high:.3f}) | {r['by_magnitude']:.3f} | {r['random']:.3f} | {r['marked']:.3f} |"
        )


if __name__ == "__main__":
    main()
