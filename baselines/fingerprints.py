"""Content hashes: the same name for the same thing in every process and on every machine."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def content_hash(*parts: object) -> str:
    """One fingerprint of tensors, arrays, modules and plain values, equal where content is.

    Args:
        parts: Tensors, numpy arrays and modules (dtype, shape and bytes of everything in the
            state dict count), bytes, strings, numbers, booleans, None, paths (their text), and
            sequences and string-keyed mappings of these. The order of a mapping does not count,
            nor does the device.

    Returns:
        64 hexadecimal digits (SHA-256).

    Raises:
        TypeError: If a part has no content that could be read alike in every process.
    """
    digest = hashlib.sha256()
    for part in parts:
        _feed(digest, part)
    return digest.hexdigest()


def key_of(seed: int, *parts: object) -> int:
    """A stream key for one item: a pure function of the seed and of what the item is.

    Args:
        seed: Key of the whole run.
        parts: The item's identity, as `content_hash` takes it.

    Returns:
        A non-negative int below `2**63`, as `coalitions.stream` and `torch.Generator` take it.
    """
    return int(content_hash(seed, *parts)[:16], 16) >> 1


def _feed(digest: "hashlib._Hash", part: object) -> None:
    """Add one part, with its kind and length in front so that no two lists of parts collide."""
    if isinstance(part, Tensor):
        _feed_tensor(digest, part)
    elif isinstance(part, np.ndarray):
        _feed_array(digest, part)
    elif isinstance(part, nn.Module):
        _feed(digest, (type(part).__qualname__, dict(part.state_dict())))
    elif isinstance(part, Mapping):
        _label(digest, "mapping", len(part))
        for name in sorted(part, key=str):
            _feed(digest, str(name))
            _feed(digest, part[name])
    elif isinstance(part, bytes):
        _label(digest, "bytes", len(part))
        digest.update(part)
    elif isinstance(part, str | PathLike):
        text = (part if isinstance(part, str) else str(Path(part))).encode()
        _label(digest, "str", len(text))
        digest.update(text)
    elif isinstance(part, Sequence):
        _label(digest, "sequence", len(part))
        for element in part:
            _feed(digest, element)
    elif isinstance(part, np.generic):
        _feed(digest, part.item())
    elif part is None or isinstance(part, bool | int | float):
        _label(digest, type(part).__name__, repr(part))
    else:
        order = " (a set has no order: sort it)" if isinstance(part, AbstractSet) else ""
        raise TypeError(
            f"content_hash got a {type(part).__name__}{order}; it takes tensors, arrays, modules, "
            "strings, bytes, numbers, None, and sequences and mappings of these."
        )


def _label(digest: "hashlib._Hash", kind: str, *extent: object) -> None:
    digest.update(json.dumps([kind, *map(str, extent)]).encode())


def _feed_tensor(digest: "hashlib._Hash", tensor: Tensor) -> None:
    """Through bytes, since numpy lacks some of torch's dtypes."""
    _label(digest, "tensor", str(tensor.dtype).removeprefix("torch."), *tensor.shape)
    if tensor.numel():
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)


def _feed_array(digest: "hashlib._Hash", array: np.ndarray) -> None:
    if array.dtype.hasobject or array.dtype.kind in "USmM":  # object cells, text, dates
        _label(digest, "array", array.dtype.kind, *array.shape)
        _feed(digest, [str(cell) for cell in array.reshape(-1)])
    else:
        _label(digest, "tensor", array.dtype.name, *array.shape)
        digest.update(np.ascontiguousarray(array).tobytes())
