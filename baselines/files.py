"""Files that are there whole or not at all."""

import os
import secrets
from os import PathLike
from pathlib import Path

from torch import Tensor


def atomic_write(path: str | PathLike[str], content: bytes) -> None:
    """Write a file that is there whole or not at all, whatever kills us.

    The bytes go to a temporary file beside the target, are forced to disk, and take the target's
    name in one step; then the folder's entry is forced to disk too.

    Args:
        path: File to write; an existing one is replaced. Folders above it are made.
        content: All of its bytes.

    Raises:
        OSError: From the file system (a full disk, say); no partial file is left behind.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Everything that a safetensors file holds.

    Args:
        path: The file.

    Returns:
        Its metadata, and its tensors by name, on the CPU.

    Raises:
        ValueError: If the file is truncated or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return file.metadata() or {}, tensors
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or no safetensors file ({error}).") from error


def _sync_folder(folder: Path) -> None:
    """Force a rename to disk, on systems that let a folder be opened."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
