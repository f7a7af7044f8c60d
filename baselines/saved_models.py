"""Models of transformers from folders, strictly: a damaged or edited folder never becomes a model.

Nothing here imports transformers; a model class passes its own loader.
"""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor


def load_strictly(
    load: Callable[..., Any],
    folder: str | PathLike[str],
    *args: Any,  # noqa: ANN401 - transformers' own
    **kwargs: Any,  # noqa: ANN401
) -> tuple[Any, dict[str, Any]]:
    """A model whose weights are all there, all known, of the right shape and none of them NaN.

    Args:
        load: `from_pretrained` of a `PreTrainedModel`.
        folder: Folder or name on the Hub.
        args: As transformers takes them.
        kwargs: As transformers takes them.

    Returns:
        The model in eval mode, and transformers' loading information.

    Raises:
        ValueError: If the weights do not fit the config, or one is NaN.
    """
    kwargs |= {"use_safetensors": True, "output_loading_info": True}
    try:
        model, info = load(folder, *args, **kwargs)
    except RuntimeError as error:  # transformers' own complaint about shapes
        raise ValueError(f"the weights in {folder} do not fit its config ({error}).") from error
    amiss = {
        name: sorted(map(str, info[name]))
        for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
        if info.get(name)
    }
    if amiss:
        raise ValueError(f"the weights in {folder} do not fit its config: {amiss}.")
    check_numbers(model.state_dict(), folder)
    return model, info


def check_files(
    folder: str | PathLike[str], version: int, *, model_type: str | None = None
) -> None:
    """Check config and weights of a local folder before anything is built from them.

    Args:
        folder: A folder; the name of a model on the Hub passes unchecked.
        version: The `format_version` that config.json must have.
        model_type: The `model_type` that it must have; any when None.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is truncated, corrupt, of another version or of another model.
    """
    from safetensors import SafetensorError, safe_open

    folder = Path(folder)
    if not folder.is_dir():
        if folder.is_absolute() or folder.parts[:1] in ((".",), ("..",)):
            raise FileNotFoundError(f"no folder {folder}; save_pretrained makes one.")
        return
    config = folder / "config.json"
    weights = sorted(folder.glob("*.safetensors"))
    if not config.is_file() or not weights:
        missing = "config.json" if not config.is_file() else "model.safetensors"
        raise FileNotFoundError(f"{folder} has no {missing}; save_pretrained writes it.")
    try:
        written = json.loads(config.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{config} is truncated or no JSON ({error}).") from error
    said = written if isinstance(written, dict) else {}
    kind, found = said.get("model_type"), said.get("format_version")
    if model_type is not None and kind != model_type:
        raise ValueError(f"{config} has model_type {kind!r}; here it must be {model_type!r}.")
    if found != version:
        raise ValueError(
            f"{config} has format_version {found!r}; this version of harsanyi reads {version}. "
            "Save the model again with the version that wrote it."
        )
    for path in weights:
        try:
            with safe_open(path, framework="pt") as file:
                file.keys()
        except SafetensorError as error:
            raise ValueError(f"{path} is truncated or no safetensors file ({error}).") from error


def register(auto: Any, *about: Any, **more: Any) -> None:  # noqa: ANN401 - transformers' own
    """Make one of transformers' Auto classes know a config, or a model by its config.

    Args:
        auto: `AutoConfig`, `AutoModel`, ...; transformers gives `register` no types.
        about: What its `register` takes.
        more: Likewise, by name.
    """
    auto.register(*about, **more)


def check_numbers(state: Mapping[str, Tensor], folder: str | PathLike[str]) -> None:
    """Check that no weight is NaN.

    Args:
        state: The weights by name.
        folder: Where they were read, for the message.

    Raises:
        ValueError: If one is.
    """
    unknown = sorted(
        name for name, t in state.items() if t.is_floating_point() and t.isnan().any()
    )
    if unknown:
        raise ValueError(f"the weights in {folder} hold NaN in {', '.join(unknown[:5])}.")


def check_signature(signed: int, expected: int, about: str) -> None:
    """Check that weights belong to the settings and names of their config.

    Args:
        signed: `settings_hash` that the weights were saved with.
        expected: The same of the config that came with them.
        about: The settings and names that it is taken of, in words.

    Raises:
        ValueError: If they differ.
    """
    if signed != expected:
        raise ValueError(
            f"these weights were saved under other {about} than those of config; load them with "
            "the config they came with."
        )


def settings_hash(settings: Mapping[str, Any]) -> int:
    """A number that weights are saved with, so that they are not read under other settings.

    Args:
        settings: What the weights mean something under, as config.json holds it.

    Returns:
        An int below `2**56`, the same before and after a way through JSON.
    """
    text = json.dumps(settings, sort_keys=True, default=str)
    return int.from_bytes(sha256(text.encode()).digest()[:7])
