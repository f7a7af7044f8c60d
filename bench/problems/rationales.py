"""Texts of which people have marked the words that matter."""

import dataclasses
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problems.tabular import data_folder

_MOVIES_TEST = "eraser_movies_test.jsonl.gz"
_LEAF = re.compile(r"\((\d) ([^()]+)\)")
Words = list[str]
Marked = tuple[Words, int, NDArray[np.bool_]]
"""Words of a text, its class, and which words people marked."""


@dataclasses.dataclass(frozen=True, eq=False)
class RationaleProblem:
    """Texts as words, classes, and the words of the test texts that people marked.

    Args:
        name: Name of the problem.
        texts: Words of each training text.
        y: Training classes `(rows,)`.
        texts_test: Words of each test text, in which at least one is marked.
        y_test: Test classes.
        truth_test: Which words are marked, one bool array a test text.
        longest: Most words of a text; longer ones are cut, with their marks.
        batch_size: Rows of a training step, fewer where texts are long.
        passages_test: Where people marked whole passages: the number of the passage that each word
            of a test text belongs to. None where they marked words.
    """

    name: str
    texts: list[Words]
    y: NDArray[np.int64]
    texts_test: list[Words]
    y_test: NDArray[np.int64]
    truth_test: list[NDArray[np.bool_]]
    longest: int
    batch_size: int = 64
    passages_test: list[NDArray[np.int64]] | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1

    @property
    def rate(self) -> float:
        """Mean share of marked words in the test texts."""
        return float(np.mean([marks.mean() for marks in self.truth_test]))


def sst2(seed: int = 0) -> RationaleProblem:
    """Sentences of film reviews; marked are the words that people called not neutral.

    Labels are of whole sentences, positive or negative; a word's mark is its own label in the
    sentence's tree.

    Args:
        seed: Without effect: training and test parts are fixed.

    Returns:
        The problem.

    Raises:
        FileNotFoundError: If the data folder lacks the trees.

    Source: Socher et al. (2013), Stanford Sentiment Treebank.
    """
    found: dict[str, list[Marked]] = {}
    for part in ("train", "test"):
        trees = _lines(f"sst_trees_{part}.txt.gz")
        leaves = [(int(tree[1]), _LEAF.findall(tree)) for tree in trees if tree[1] != "2"]
        found[part] = [
            (
                [word.lower() for _, word in words],
                int(root > 2),
                np.array([label != "2" for label, _ in words]),
            )
            for root, words in leaves
        ]
    return _problem("sst2-words", found["train"], found["test"], longest=52, batch_size=128)


def movies(seed: int = 0) -> RationaleProblem:
    """Long film reviews; marked are the sentences that say why a review is good or bad.

    The test part's rationales are meant to be complete. Reviews are cut to 1,000 words, which keeps
    88 % of the marks: they gather towards the end, where a reviewer concludes.

    Args:
        seed: Without effect: training and test parts are fixed.

    Returns:
        The problem.

    Raises:
        FileNotFoundError: If the data folder lacks the reviews.

    Source: Zaidan, Eisner and Piatko (2007); DeYoung et al. (2020), ERASER.
    """
    docs = {row["docid"]: row["text"] for row in _rows("eraser_movies_docs.jsonl.gz")}
    found: dict[str, list[Marked]] = {}
    for part, file in (("train", "eraser_movies_train.jsonl.gz"), ("test", _MOVIES_TEST)):
        found[part] = []
        for row in _rows(file):
            words = docs[row["annotation_id"]].split()
            marks = np.zeros(len(words), dtype=bool)
            for span in (span for group in row["evidences"] for span in group):
                marks[span["start_token"] : span["end_token"]] = True
            found[part].append((words, int(row["classification"] == "POS"), marks))
    sentences = [_sentences(docs[row["annotation_id"]]) for row in _rows(_MOVIES_TEST)]
    return _problem(
        "movies", found["train"], found["test"], longest=1000, batch_size=32, passages=sentences
    )


def _sentences(text: str) -> NDArray[np.int64]:
    """The number of the line that each word of a text is in."""
    sizes = [len(line.split()) for line in text.split("\n")]
    return np.repeat(np.arange(len(sizes)), sizes)


def yelp_hat(seed: int = 0) -> RationaleProblem:
    """Restaurant reviews; marked are the words that most annotators highlighted.

    1,045 reviews and 8,000 short sentences of other reviews train; 500 reviews are scored.

    Args:
        seed: Which reviews are scored.

    Returns:
        The problem.

    Raises:
        FileNotFoundError: If the data folder lacks the reviews.

    Source: Sen et al. (2020), human attention maps.
    """
    reviews = [
        (
            [word.lower() for word in row["tokens"]],
            int(row["label"]),
            np.mean([[mark == "1" for mark in marks] for marks in row["maps"]], 0) >= 0.5,
        )
        for row in _rows("yelp_hat.jsonl.gz")
    ]
    order = np.random.default_rng([seed, 11]).permutation(len(reviews))
    test, train = ([reviews[i] for i in part] for part in (order[:500], order[500:]))
    for label in (0, 1):
        sentences = _lines(f"yelp_short.dev.{label}.txt.gz")
        chosen = np.random.default_rng([seed, 12, label]).permutation(len(sentences))[:4000]
        for i in chosen:
            words = sentences[i].lower().split()
            if words:
                train.append((words, label, np.zeros(len(words), dtype=bool)))
    return _problem("yelp-hat", train, test, longest=120, batch_size=64)


RATIONALES: dict[str, Callable[..., RationaleProblem]] = {
    "sst2-words": sst2,
    "movies": movies,
    "yelp-hat": yelp_hat,
}
"""Problems by name; each takes `seed` and needs the data folder."""


def _problem(
    name: str,
    train: list[Marked],
    test: list[Marked],
    *,
    longest: int,
    batch_size: int,
    passages: list[NDArray[np.int64]] | None = None,
) -> RationaleProblem:
    cut = [(words[:longest], label, marks[:longest]) for words, label, marks in test]
    chosen = [i for i, row in enumerate(cut) if row[2].any() and not row[2].all()]
    kept = [cut[i] for i in chosen]
    return RationaleProblem(
        name,
        [words[:longest] for words, _, _ in train],
        np.array([label for _, label, _ in train]),
        [words for words, _, _ in kept],
        np.array([label for _, label, _ in kept]),
        [marks for _, _, marks in kept],
        longest,
        batch_size,
        None if passages is None else [passages[i][:longest] for i in chosen],
    )


def _rows(file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _lines(file)]


def _lines(file: str) -> list[str]:
    path = data_folder() / "text" / file
    return _read(path)


def _read(path: Path) -> list[str]:
    """Lines of a gzipped text.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is truncated or corrupt.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; set HARSANYI_DATA to a folder that has it.")
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return file.read().splitlines()
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no complete gzipped text ({error}).") from error
