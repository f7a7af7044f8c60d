"""A model's folder: `config.json` and `model.safetensors`, written together and read together."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor

from baselines.files import atomic_write
from baselines.fingerprints import content_hash

FILES = ("config.json", "model.safetensors")


def write_folder(
    folder: str | PathLike[str], config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write a model; its weights name the config they belong to.

    Args:
        folder: Made where it does not exist.
        config: What JSON can hold, with its `format`.
        tensors: Name -> weights, on any device.

    Raises:
        TypeError: If the config holds something that JSON cannot.
    """
    from safetensors.torch import save

    text = json.dumps(config, indent=1)
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = {"format": "pt", "config": content_hash(json.loads(text))}
    atomic_write(Path(folder) / "model.safetensors", save(plain, about))
    atomic_write(Path(folder) / "config.json", text.encode())


def read_folder(
    folder: str | PathLike[str], form: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What `write_folder` wrote; to be called inside `reading`.

    Args:
        folder: Holds both files.
        form: The `format` that the config must name.

    Returns:
        Config and weights.

    Raises:
        ValueError: If the config is of another format, or not the one the weights were saved with.
    """
    from safetensors import safe_open

    config = read_words(Path(folder) / "config.json", form)
    with safe_open(Path(folder) / "model.safetensors", "pt") as file:
        signed = (file.metadata() or {}).get("config")
        if signed is not None and signed != content_hash(config):  # older weights are unsigned
            raise ValueError("config.json is not the one that the weights were saved with")
        return config, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def read_words(path: Path, form: str) -> dict[str, Any]:
    """A JSON object that names its format; to be called inside `reading`.

    Args:
        path: The file.
        form: The `format` it must name.

    Raises:
        ValueError: If it is no JSON, or of another format.
    """
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no text at all
        raise ValueError(f"{path.name} is truncated or corrupt: {error}") from error
    if not isinstance(words, dict) or words.get("format") != form:
        found = words.get("format") if isinstance(words, dict) else type(words).__name__
        raise ValueError(f"{path.name} has format {found!r} instead of {form!r}")
    return words


@contextmanager
def reading(
    folder: str | PathLike[str], what: str, files: tuple[str, ...] = FILES
) -> Iterator[Path]:
    """Name the folder in whatever goes wrong while a model is read and rebuilt inside.

    Args:
        folder: The folder.
        what: Kind of model, in words.
        files: Files that it must hold.

    Yields:
        The folder as a path.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If anything inside failed: a file is truncated, corrupt, or of another version.
    """
    from safetensors import SafetensorError

    path = Path(folder)
    for name in files:
        if not (path / name).is_file():
            raise FileNotFoundError(f"no {name} in {path}; save_pretrained writes one.")
    try:
        yield path
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise ValueError(f"{path} holds no complete {what} ({error}).") from error
