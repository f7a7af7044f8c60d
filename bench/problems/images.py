"""Images of the data folder, read from the idx format of MNIST."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.problems.tabular import data_folder

FOLDERS = {"mnist": "mnist", "fashion": "fashion_mnist_subset"}
_FILES = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An array of bytes from a gzipped idx file.

    Args:
        path: The file.

    Returns:
        An array of the shape that its header states.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated or no idx file of bytes.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; set HARSANYI_DATA to a folder that has it.")
    try:
        content = gzip.decompress(path.read_bytes())
        if content[:3] != b"\x00\x00\x08":
            raise ValueError(f"it starts with {content[:3]!r}, not with an idx header of bytes")
        axes = content[3]
        shape = np.frombuffer(content, ">i4", axes, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
    except (EOFError, OSError, IndexError, ValueError) as error:
        raise ValueError(f"{path} is no complete idx file ({error}).") from error


def load_images(name: str, part: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Images and labels of MNIST or of the Fashion-MNIST subset.

    Args:
        name: `"mnist"` or `"fashion"`.
        part: `"train"` or `"test"`.

    Returns:
        Images `(rows, 28, 28)` in [0, 1] and labels `(rows,)`.

    Raises:
        ValueError: If a name is unknown or a file is damaged.
        FileNotFoundError: If the data folder lacks the files.
    """
    if name not in FOLDERS or part not in _FILES:
        raise ValueError(
            f"name={name!r}, part={part!r}; use {tuple(FOLDERS)} and {tuple(_FILES)}."
        )
    folder = data_folder() / "images" / FOLDERS[name]
    images = read_idx(folder / f"{_FILES[part]}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{_FILES[part]}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise ValueError(f"{folder} has {len(images)} {part} images and {len(labels)} labels.")
    return images / 255.0, labels.astype(np.int64)
