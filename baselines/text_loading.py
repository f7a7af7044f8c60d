"""Text classifiers from folders and the hub, strictly: a damaged folder never becomes a model."""

import os
import re
from os import PathLike
from pathlib import Path
from typing import Any

_LAYER = re.compile(r"\.\d+\.")


def load_classifier(name_or_dir: str | PathLike[str]) -> tuple[Any, Any]:
    """A sequence classifier of transformers and its tokenizer.

    Args:
        name_or_dir: Folder, or name on the hub.

    Returns:
        The network and the tokenizer.

    Raises:
        FileNotFoundError: If there is no such model, or its config or weights are missing.
        ValueError: If a file is damaged, weights are missing or left over, or the tokenizer is not
            the network's.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForSequenceClassification

    if os.path.isabs(name_or_dir) and not Path(name_or_dir).is_dir():
        raise FileNotFoundError(f"no folder {name_or_dir}; save_pretrained makes one.")
    try:
        network, loading = AutoModelForSequenceClassification.from_pretrained(
            name_or_dir, output_loading_info=True
        )
    except OSError as error:
        here = "a file of it is missing or damaged" if Path(name_or_dir).is_dir() else "no folder"
        raise FileNotFoundError(
            f"no classifier {name_or_dir}: {here}, and transformers says: {error}"
        ) from error
    except (SafetensorError, RuntimeError) as error:  # torn file, shapes that do not fit
        raise ValueError(
            f"the weights in {name_or_dir} are damaged or do not fit its config ({error})."
        ) from error
    if loading["missing_keys"] or loading["mismatched_keys"]:
        raise ValueError(
            f"{name_or_dir} lacks the weights {sorted(loading['missing_keys'])[:3]} of a "
            "sequence classifier; fine-tune it before explaining it."
        )
    # heads of other tasks are often left over, layers never: the config is of another model
    layers = sorted(key for key in loading["unexpected_keys"] if _LAYER.search(key))
    if layers:
        raise ValueError(
            f"{name_or_dir} holds weights that its config.json does not know, such as "
            f"{layers[:3]}; config and weights are of different models."
        )
    return network, load_tokenizer(name_or_dir, network)


def load_tokenizer(name_or_dir: str | PathLike[str], network: Any = None) -> Any:  # noqa: ANN401
    """The tokenizer of a folder or hub name.

    Args:
        name_or_dir: Folder, or name on the hub.
        network: The network that reads its ids, whose vocabulary must hold them.

    Returns:
        A tokenizer of transformers.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If its file is damaged, or its ids are not the network's.
    """
    from transformers import AutoTokenizer

    try:
        found: Any = AutoTokenizer.from_pretrained(name_or_dir)
    except OSError:
        raise
    except Exception as error:  # the tokenizers library raises plain Exception on damaged files
        raise ValueError(
            f"the tokenizer in {name_or_dir} is missing or damaged ({error!s:.200})."
        ) from error
    # transformers makes a tokenizer of special tokens alone where a folder has no vocabulary
    if len(found) <= len(set(found.all_special_ids)):
        raise FileNotFoundError(
            f"{name_or_dir} has no tokenizer; save it there: tokenizer.save_pretrained(folder)."
        )
    known = getattr(getattr(network, "config", None), "get_text_config", lambda: None)()
    size = getattr(known, "vocab_size", None)
    if size is not None and found.vocab_size > size:  # added tokens may stand beyond the network's
        raise ValueError(
            f"the tokenizer in {name_or_dir} has {found.vocab_size} tokens and the network a "
            f"vocabulary of {size}; they are of different models."
        )
    return found
