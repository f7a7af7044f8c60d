"""Examples to label: texts, pairs of texts, rows of a table or images, and their names by content."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.files import atomic_write
from baselines.fingerprints import content_hash
from baselines.text_players import refuse_surrogates, refuse_two_readings

Examples = list[str] | list[tuple[str, str]] | Tensor
"""Texts, pairs of texts, or a tensor `(b, *features)`."""


def as_examples(given: Any) -> Examples:  # noqa: ANN401 - texts, arrays, frames or tensors
    """Examples in one of the forms that are kept.

    Args:
        given: A text, texts, pairs of texts, a `datasets` column, an array, a frame of numbers, or
            a tensor.

    Returns:
        A list of texts or of pairs, or a floating-point tensor on the CPU.

    Raises:
        TypeError: If an example is neither text nor number, or a tuple may be a pair or two texts.
        ValueError: If there are none, a text is blank or no Unicode, or a number is not finite.
    """
    if isinstance(given, str):
        given = [given]
    if hasattr(given, "to_numpy") and getattr(given, "ndim", 1) == 2:
        given = given.to_numpy()
    if isinstance(given, np.ndarray) and given.dtype.kind in "fiub":
        given = torch.from_numpy(np.ascontiguousarray(given))
    if isinstance(given, Tensor):
        return _numbers(given)
    refuse_two_readings(given, "examples")
    if not hasattr(given, "__iter__") or isinstance(given, Mapping):
        raise TypeError(
            f"examples is a {type(given).__name__}; texts, pairs of texts or a tensor of numbers are "
            "needed."
        )
    texts = [tuple(one) if isinstance(one, list) else one for one in given]
    if not texts:
        raise ValueError("examples is empty; pass at least one.")
    for row, text in enumerate(texts):
        parts = (text,) if isinstance(text, str) else text
        if not isinstance(parts, tuple) or not all(isinstance(part, str) for part in parts):
            raise TypeError(
                f"example {row} is a {type(text).__name__}; texts, pairs of texts or a tensor of "
                "numbers are needed."
            )
        if len(parts) > 2 or isinstance(text, str) != isinstance(texts[0], str):
            raise TypeError(f"example {row} is not like the first; pass all texts or all pairs.")
        refuse_surrogates(parts, f"example {row}")
        if is_blank(parts):
            raise ValueError(f"example {row} is blank: nobody plays in it; leave it out.")
    return texts  # pyright: ignore[reportReturnType] - all strings or all pairs, as was checked


def is_blank(parts: Sequence[str]) -> bool:
    """Whether texts hold nothing but spaces, controls and marks of no width.

    Args:
        parts: A text, or both of a pair.
    """
    return not any(letter.isprintable() and letter != " " for letter in "".join(parts))


def _numbers(given: Tensor) -> Tensor:
    if given.ndim < 2 or not len(given):
        raise ValueError(
            f"examples have shape {tuple(given.shape)}; they need rows and features (b, *features)."
        )
    given = given.detach().cpu()
    given = given if given.is_floating_point() else given.float()
    if not bool(torch.isfinite(given).all()):
        raise ValueError("examples hold NaN or infinity; fill them in first.")
    return given


def pick(examples: Examples, rows: Sequence[int]) -> Any:  # noqa: ANN401 - as it came in
    """Some of the examples, in this order."""
    if isinstance(examples, Tensor):
        return examples[torch.as_tensor(list(rows), dtype=torch.int64)]
    return [examples[row] for row in rows]


def names_of(fingerprint: str, examples: Examples) -> list[str]:
    """A name for each example: a hash of the game's fingerprint and of the example's content.

    Args:
        fingerprint: Of model, tokenizer, removal and players.
        examples: What is explained.

    Returns:
        32 hexadecimal digits each; equal examples have equal names.
    """
    return [content_hash(fingerprint, one)[:32] for one in examples]


def distinct(names: Sequence[str]) -> list[int]:
    """Positions of the first of each name."""
    first: dict[str, int] = {}
    for position, name in enumerate(names):
        first.setdefault(name, position)
    return list(first.values())


def write_examples(folder: Path, examples: Examples, columns: dict[str, list[Any]]) -> None:
    """Write examples with columns of the same length beside them, atomically.

    Args:
        folder: Gets `examples.parquet`, and `x.safetensors` for numbers.
        examples: What is explained.
        columns: Further columns, such as names.
    """
    import pyarrow
    import pyarrow.parquet
    from safetensors.torch import save

    table = dict(columns)
    if isinstance(examples, Tensor):
        atomic_write(folder / "x.safetensors", save({"x": examples.contiguous().clone()}))
    elif isinstance(examples[0], str):
        table["text"] = list(examples)
    else:
        table["text"], table["text_pair"] = map(list, zip(*examples, strict=True))
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(table), sink)
    atomic_write(folder / "examples.parquet", sink.getvalue())


def read_examples(folder: Path) -> tuple[Examples, dict[str, list[Any]]]:
    """What `write_examples` wrote.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged.
    """
    import pyarrow
    import pyarrow.parquet
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        table = pyarrow.parquet.read_table(folder / "examples.parquet").to_pydict()
        if "text_pair" in table:
            both = zip(table.pop("text"), table.pop("text_pair"), strict=True)
            return [(one, two) for one, two in both], table
        if "text" in table:
            return table.pop("text"), table
        return load_file(folder / "x.safetensors")["x"], table
    except (pyarrow.ArrowInvalid, SafetensorError, KeyError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{folder} lacks its examples ({error}).") from error
        raise ValueError(f"the examples in {folder} are damaged ({error}).") from error
