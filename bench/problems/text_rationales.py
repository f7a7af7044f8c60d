"""Texts with what people marked in them: ERASER's movie reviews, Yelp-HAT, sentiment trees."""

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from bench.problems.text_data import data_path, read_lines


@dataclasses.dataclass(frozen=True)
class Rationales:
    """Texts and people's marks on their words between spaces.

    Args:
        texts: Strings whose words are separated by single spaces.
        labels: Class of each, 0 (negative) or 1.
        marks: For each text one number per word: the share of people who marked it, or for
            sentiment trees the word's own sentiment, -2 to 2.
    """

    texts: list[str]
    labels: list[int]
    marks: list[np.ndarray]


def load_rationales(name: str, part: str = "test") -> Rationales:
    """Marked texts by name.

    Args:
        name: One of `RATIONALES`.
        part: "train", "val" or "test" ("dev" for trees counts as "val"); Yelp-HAT has no parts.

    Returns:
        The texts in the order of their file.

    Raises:
        ValueError: If the name or the part is unknown.
        FileNotFoundError: If the data folder lacks the files.
    """
    if name not in RATIONALES:
        raise ValueError(f"rationales {name!r} are unknown; use one of {tuple(RATIONALES)}.")
    if part not in ("train", "val", "test"):
        raise ValueError(f"part={part!r} is unknown; use train, val or test.")
    return RATIONALES[name](part)


def _eraser(part: str) -> Rationales:
    """Movie reviews; only the rationales of "test" are meant to be complete."""
    docs = _frame_lines("eraser_movies_docs.jsonl.gz")
    words = dict(zip(docs["docid"], (text.split() for text in docs["text"]), strict=True))
    rows = _frame_lines(f"eraser_movies_{part}.jsonl.gz")
    texts, labels, marks = [], [], []
    for row in rows.to_dict("records"):
        tokens = words[row["annotation_id"]]
        mark = np.zeros(len(tokens))
        for evidence in (one for group in row["evidences"] for one in group):
            mark[evidence["start_token"] : evidence["end_token"]] = 1
        texts.append(" ".join(tokens))
        labels.append(int(row["classification"] == "POS"))
        marks.append(mark)
    return Rationales(texts, labels, marks)


def _yelp_hat(part: str) -> Rationales:
    """Reviews with one to four maps each; the mark is the share of people."""
    rows = _frame_lines("yelp_hat.jsonl.gz")
    marks = [np.mean([[int(c) for c in one] for one in maps], axis=0) for maps in rows["maps"]]
    return Rationales([" ".join(t) for t in rows["tokens"]], rows["label"].tolist(), marks)


def _trees(part: str) -> Rationales:
    """Sentences with each word's own sentiment; neutral sentences are left out, as in SST-2."""
    file = {"val": "dev"}.get(part, part)
    texts, labels, marks = [], [], []
    for tree in read_lines(f"sst_trees_{file}.txt.gz"):
        root = int(tree[1])
        if root == 2:
            continue
        found = re.findall(r"\((\d) ([^\s()]+)\)", tree)
        texts.append(" ".join(word.lower() for _, word in found))
        labels.append(int(root > 2))
        marks.append(np.array([int(mark) - 2.0 for mark, _ in found]))
    return Rationales(texts, labels, marks)


def _frame_lines(file: str):  # noqa: ANN202 - pandas.DataFrame
    import pandas as pd

    return pd.read_json(data_path(file), lines=True)


RATIONALES: dict[str, Callable[[str], Rationales]] = {
    "eraser-movies": _eraser,
    "yelp-hat": _yelp_hat,
    "sst-trees": _trees,
}
"""Name -> function from a part to its texts and marks."""
