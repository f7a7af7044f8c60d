"""Which kind of model a folder holds, as its config.json says."""

import json
from pathlib import Path


def model_type(folder: Path) -> str | None:
    """The `model_type` of a saved model; None where the folder holds none or its config is no JSON.

    Args:
        folder: From `harsanyi train` or `save_pretrained`.
    """
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    found = said.get("model_type") if isinstance(said, dict) else None
    return found if isinstance(found, str) else None
