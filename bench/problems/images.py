"""Images of the data folder: MNIST and Fashion-MNIST (idx), CIFAR-10 (JPEG), and digits."""

import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.problems.tabular import data_folder

FOLDERS = {"mnist": "mnist", "fashion": "fashion_mnist_subset"}
PICTURES = ("digits", "mnist", "fashion", "cifar10")
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


def load_pictures(name: str, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures as bytes, and labels.

    Args:
        name: One of `PICTURES`.
        part: `"train"` or `"test"`.

    Returns:
        Pictures `(rows, h, w)` or `(rows, h, w, 3)` and labels `(rows,)`.

    Raises:
        ValueError: If a name is unknown or a file is damaged.
        FileNotFoundError: If the data folder lacks the files.
    """
    if name not in PICTURES or part not in _FILES:
        raise ValueError(f"name={name!r}, part={part!r}; use {PICTURES} and {tuple(_FILES)}.")
    if name == "digits":
        return _digits(part)
    if name == "cifar10":
        return _cifar(part)
    folder = data_folder() / "images" / FOLDERS[name]
    images = read_idx(folder / f"{_FILES[part]}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{_FILES[part]}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise ValueError(f"{folder} has {len(images)} {part} images and {len(labels)} labels.")
    return images, labels.astype(np.int64)


def load_images(name: str, part: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Pictures as numbers in [0, 1], and labels; arguments as `load_pictures`."""
    images, labels = load_pictures(name, part)
    return images / 255.0, labels


def _digits(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The 8 x 8 digits that scikit-learn carries, every fifth for testing."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    test = np.arange(len(bunch.target)) % 5 == 0
    chosen = test if part == "test" else ~test
    images = np.round(bunch.images[chosen] * (255 / 16)).astype(np.uint8)
    return images, bunch.target[chosen].astype(np.int64)


def _cifar(part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    import pandas as pd
    from PIL import Image

    path = data_folder() / "images" / f"cifar10_jpg_{part}.parquet"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; set HARSANYI_DATA to a folder that has it.")
    try:
        table = pd.read_parquet(path)
        images = [np.asarray(Image.open(io.BytesIO(content))) for content in table["image"]]
        return np.stack(images), table["label"].to_numpy().astype(np.int64)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}).") from error
