"""Texts and labels by name: the project's own templates, the data folder, or a user's file."""

import dataclasses
import gzip
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.text_players import Text
from bench.problems.tabular import data_folder
from bench.problems.text_templates import CLASSES, template_texts

if TYPE_CHECKING:
    import datasets

PARTS = ("train", "test")


@dataclasses.dataclass(frozen=True)
class TextData:
    """Texts, or pairs of them, with labels.

    Args:
        name: What the set is called.
        texts: Strings or pairs of strings.
        labels: Class numbers, or None where there are none.
        classes: Names of the classes.
    """

    name: str
    texts: list[Text]
    labels: list[int] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def first(self, size: int, seed: int = 0) -> "TextData":
        """A random choice of texts, in a random order that the seed fixes.

        Args:
            size: Number of texts; all when there are fewer.
            seed: Key of the order.
        """
        from baselines.coalitions import stream

        order = stream(seed, 0, purpose=62).permutation(len(self.texts))[:size].tolist()
        labels = None if self.labels is None else [self.labels[i] for i in order]
        return dataclasses.replace(self, texts=[self.texts[i] for i in order], labels=labels)

    def dataset(self) -> "datasets.Dataset":
        """The same as a `datasets.Dataset` with columns text (and text_pair) and label."""
        import datasets

        columns: dict[str, Any] = {}
        if isinstance(self.texts[0], str):
            columns["text"] = self.texts
        else:
            columns["text"], columns["text_pair"] = map(list, zip(*self.texts, strict=True))
        if self.labels is not None:
            columns["label"] = self.labels
        return datasets.Dataset.from_dict(columns)


def load_texts(name: str, part: str = "train") -> TextData:
    """Texts by name.

    Args:
        name: One of `TEXT_SETS`, or a file that `read_texts` reads.
        part: "train" or "test".

    Returns:
        The texts in the order of their files; duplicates of training texts are not in "test".

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If the data folder lacks the files.
    """
    if part not in PARTS:
        raise ValueError(f"part={part!r} is unknown; use one of {PARTS}.")
    if name in TEXT_SETS:
        return TEXT_SETS[name](part)
    if Path(name).is_file():
        return read_texts(name)
    raise ValueError(f"text set {name!r} is unknown; use one of {tuple(TEXT_SETS)}, or a file.")


def read_texts(path: str | Path) -> TextData:
    """A user's texts through `datasets`: CSV, TSV, JSON lines, parquet, or plain text.

    Args:
        path: A file with columns `text` (or `sentence`, or its first column of strings), a second
            text in `text_pair` for pairs, and `label` if there are labels.

    Returns:
        The texts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If its kind is unknown, it holds no text, or a label or text is missing.

    Warns:
        UserWarning: If the header seems to be a text, which is then not read.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; pass one with a column text.")
    rows = _dataset(path)
    names = rows.column_names
    column = next((c for c in ("text", "sentence", "premise") if c in names), names[0])
    second = next((c for c in ("text_pair", "sentence2", "hypothesis") if c in names), None)
    if " " in column.strip():  # what a file without a header line starts with
        warnings.warn(
            f"{path} has no column text; reading the one named {column!r:.60}. If that is a text, "
            "put a header line above it.",
            stacklevel=2,
        )
    texts: list[Any] = list(rows[column])
    if second is not None:
        texts = list(zip(texts, rows[second], strict=True))
    if not texts:
        raise ValueError(f"{path} holds no text.")
    for i, text in enumerate(texts):
        if not all(isinstance(one, str) for one in (text if second else (text,))):
            raise ValueError(f"row {i} of {path} holds {text!r:.60} in {column!r}; need a text.")
    if "label" not in names:
        return TextData(path.stem, texts, None, ())
    given = list(rows["label"])
    if any(label is None for label in given):
        raise ValueError(f"{path} lacks a label in row {given.index(None)}.")
    classes = sorted(set(given))
    place = {label: i for i, label in enumerate(classes)}
    labels = [place[label] for label in given]
    return TextData(path.stem, texts, labels, tuple(map(str, classes)))


def _dataset(path: Path) -> Any:  # noqa: ANN401 - datasets.Dataset
    import datasets
    from datasets.exceptions import DatasetsError

    ending = (path.with_suffix("") if path.suffix == ".gz" else path).suffix.lower()
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        ".csv": ("csv", {}),
        ".tsv": ("csv", {"sep": "\t", "quoting": 3}),
        ".json": ("json", {}),
        ".jsonl": ("json", {}),
        ".parquet": ("parquet", {}),
        ".txt": ("text", {}),
    }
    if ending not in kinds:
        raise ValueError(f"{path} ends in {ending!r}; use one of {tuple(kinds)}.")
    kind, options = kinds[ending]
    try:
        return datasets.load_dataset(kind, data_files=str(path), split="train", **options)
    except (DatasetsError, ValueError) as error:
        cause = " ".join(str(error.__cause__ or error).split())
        raise ValueError(f"{path} holds no text, or is no {kind} file ({cause}).") from error


def _templates(part: str) -> TextData:
    texts, labels = template_texts(2500)
    cut = slice(0, 2000) if part == "train" else slice(2000, None)
    return TextData("templates", list(texts[cut]), labels[cut], CLASSES)


def _sst2(part: str) -> TextData:
    """GLUE's training phrases, and the whole sentences of the development part."""
    file = "sst2_glue_train" if part == "train" else "sst2_dev"
    frame = _frame(f"{file}.tsv.gz", sep="\t", quoting=3)
    texts = [text.strip() for text in frame["sentence"]]
    return TextData("sst2", texts, frame["label"].tolist(), CLASSES)


def _agnews(part: str) -> TextData:
    """Descriptions in lower case, as the two files that were had differ in case."""
    if part == "train":
        frame = _frame("agnews_train.csv.gz", keep_default_na=False)
    else:
        names = ["label", "title", "text"]
        frame = _frame("agnews_test.csv.gz", names=names, keep_default_na=False)
    texts = [re.sub(r"\s*\.\s*$", "", text.strip().lower()) for text in frame["text"]]
    labels = [label - 1 for label in frame["label"]]
    return TextData("agnews", list(texts), labels, ("World", "Sports", "Business", "Sci/Tech"))


def _yelp(part: str) -> TextData:
    """The files called dev train and those called test test; repeated sentences come once."""
    found: dict[str, int] = {}
    seen = {line for y in (0, 1) for line in read_lines(f"yelp_short.dev.{y}.txt.gz")}
    for label in (0, 1):
        file = "dev" if part == "train" else "test"
        for line in read_lines(f"yelp_short.{file}.{label}.txt.gz"):
            if part == "train" or line not in seen:
                found[line] = label if found.get(line, label) == label else -1
    kept = {text: label for text, label in found.items() if label >= 0 and text.strip()}
    return TextData("yelp", list(kept), list(kept.values()), CLASSES)


def _snli(part: str) -> TextData:
    """Pairs; SNLI's development part trains, since its training part is not at hand."""
    file = "esnli_dev.tsv.gz" if part == "train" else "esnli_test.tsv.gz"
    frame = _frame(file, sep="\t", quoting=3, keep_default_na=False)
    classes = ("entailment", "neutral", "contradiction")
    pairs: list[Text] = list(zip(frame["premise"], frame["hypothesis"], strict=True))
    return TextData("snli", pairs, [classes.index(label) for label in frame["label"]], classes)


def _mrpc(part: str) -> TextData:
    file = "mrpc_train.txt.gz" if part == "train" else "mrpc_test.tsv.gz"
    frame = _frame(file, sep="\t", quoting=3, encoding="utf-8-sig")
    pairs: list[Text] = list(zip(frame["#1 String"], frame["#2 String"], strict=True))
    return TextData("mrpc", pairs, frame["Quality"].tolist(), ("different", "paraphrase"))


def _frame(file: str, **options: Any) -> Any:  # noqa: ANN401 - pandas.DataFrame
    import pandas as pd

    return pd.read_csv(data_path(file), **options)


def read_lines(file: str) -> list[str]:
    """Lines of a gzipped file of texts in the data folder.

    Args:
        file: Its name.

    Raises:
        FileNotFoundError: If it is not there.
    """
    with gzip.open(data_path(file), "rt", encoding="utf8") as opened:
        return opened.read().splitlines()


def data_path(file: str) -> Path:
    """A file of texts in the data folder.

    Args:
        file: Its name.

    Raises:
        FileNotFoundError: If it is not there.
    """
    path = data_folder() / "text" / file
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; set HARSANYI_DATA to a folder that has it.")
    return path


TEXT_SETS: dict[str, Callable[[str], TextData]] = {
    "templates": _templates,
    "sst2": _sst2,
    "agnews": _agnews,
    "yelp": _yelp,
    "snli": _snli,
    "mrpc": _mrpc,
}
"""Name -> function from a part to its texts; all but templates need the data folder."""
