"""Checkpoints of a training run: safetensors and JSON, whole or not at all, never pickled.

Tensors go to `step-N.safetensors` first; then `checkpoint.json`, which names that file and its
checksum, is replaced in one step. A kill between the two leaves the older pair in force.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor

from baselines.files import atomic_write
from baselines.fingerprints import content_hash

FORMAT = 1
"""Version of the layout; a checkpoint of another version is refused."""


def write(
    folder: Path, step: int, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Replace the folder's checkpoint by this one.

    Args:
        folder: Made when it is not there.
        step: Number of the step it was taken after.
        tensors: Weights and optimizer state.
        about: The rest, plain JSON values.

    Raises:
        OSError: From the file system; the older checkpoint stays in force.
    """
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    name = f"step-{step:09d}.safetensors"
    said = {"format": FORMAT, "file": name, "content": content_hash(stored), **about}
    atomic_write(folder / name, to_safetensors(stored))
    atomic_write(folder / "checkpoint.json", json.dumps(said, sort_keys=True).encode())
    for old in folder.glob("step-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def read(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The folder's checkpoint.

    Args:
        folder: As `write` was given.

    Returns:
        Tensors and the rest, or None where no checkpoint was ever finished.

    Raises:
        ValueError: If the checkpoint is damaged or of another format.
    """
    pointer = folder / "checkpoint.json"
    if not pointer.exists():
        return None
    cure = f"Delete {folder} to train from the start."
    try:
        about = json.loads(pointer.read_bytes())
        tensors = from_safetensors((folder / about["file"]).read_bytes())
    except (ValueError, TypeError, KeyError, SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"The checkpoint in {folder} is damaged ({error}). {cure}") from error
    if about.get("format") != FORMAT:
        raise ValueError(f"The checkpoint in {folder} is not of format {FORMAT}. {cure}")
    if about["content"] != content_hash(tensors):
        raise ValueError(f"The checkpoint in {folder} is damaged (its checksum differs). {cure}")
    return tensors, about


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as named tensors and plain JSON values.

    Args:
        optimizer: Any optimizer of torch's kind.

    Returns:
        Tensors named `optimizer.<parameter>.<what>`, and everything that is not a tensor.

    Raises:
        TypeError: If the state holds something that is neither a tensor nor plain JSON.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for position, entries in state["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{position}.{name}"] = value
            else:
                plain.setdefault(str(position), {})[name] = value
    about = {"state": plain, "param_groups": state["param_groups"]}
    return tensors, json.loads(json.dumps(about))


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Undo `optimizer_state`.

    Args:
        optimizer: Freshly made over the same parameters.
        tensors: As returned by `optimizer_state`, among others.
        about: As returned by `optimizer_state`.
    """
    state: dict[int, dict[str, Any]] = {
        int(position): dict(entries) for position, entries in about["state"].items()
    }
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            position, _, what = rest.partition(".")
            state.setdefault(int(position), {})[what] = value
    optimizer.load_state_dict({"state": state, "param_groups": about["param_groups"]})
