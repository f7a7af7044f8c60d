"""LEX on disk: config.json, model.safetensors and the imputer's own folder."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amortized.lex.inputs import plain
from amortized.lex.naming import LAWS, gradient_config, make_gradient, make_law
from amortized.lex.predictor import ConvPredictor, MLPPredictor
from amortized.lex.selector import ConvSelector, MLPSelector
from amortized.lex.words import WordPredictor, WordSelector
from baselines import Imputer
from baselines.folders import read_folder, reading, write_folder
from baselines.imputers import StoredImputer
from baselines.saved_models import check_numbers

if TYPE_CHECKING:
    from amortized.lex.lex import LEX

FORMAT = "harsanyi-lex/1"

BUILDABLE: Mapping[str, Callable[..., nn.Module]] = {
    kind.__name__: kind
    for kind in (
        *(MLPSelector, ConvSelector, WordSelector),
        *(MLPPredictor, ConvPredictor, WordPredictor),
    )
}
"""Networks that are rebuilt from their config; others are passed to `from_pretrained`."""


def save_lex(lex: "LEX", folder: str | PathLike[str]) -> None:
    """Write a model into a folder, which is made if missing.

    Raises:
        TypeError: If the imputer or the gradient estimator cannot be rebuilt from a file.
    """
    if not hasattr(lex.imputer, "save_pretrained"):
        raise TypeError(
            f"the imputer {type(lex.imputer).__name__} cannot be saved; use one of baselines'."
        )
    config = {
        "format": FORMAT,
        "selector": _spec(lex.selector),
        "predictors": [_spec(member) for member in lex.predictors],
        "baseline": None if lex.baseline is None else _spec(lex.baseline),
        "law": {
            "name": next(name for name, kind in LAWS.items() if kind is type(lex.law)),
            "k": getattr(lex.law, "k", None),
        },
        "gradient": gradient_config(lex.gradient),
        "groups": None if lex.groups is None else list(lex.groups.shape),
        "classes": None if lex.classes is None else [plain(label) for label in lex.classes],
        "players": lex.players,
        "settings": lex.settings,
    }
    folder = Path(folder)
    lex.imputer.save_pretrained(folder / "imputer")
    write_folder(folder, config, _own(lex))


def load_lex(
    cls: "type[LEX]",
    folder: str | PathLike[str],
    *,
    selector: nn.Module | None,
    predictor: nn.Module | Sequence[nn.Module] | None,
    imputer: Imputer | None,
) -> Any:  # noqa: ANN401 - an instance of cls
    """Read a model that `save_lex` wrote, in eval mode.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is truncated, corrupt, or of another version.
    """
    with reading(folder, "LEX") as path:
        config, tensors = read_folder(path, FORMAT)
        check_numbers(tensors, path)
        shape = config["groups"]
        model = cls(
            selector or _build(config["selector"]),
            predictor or [_build(spec) for spec in config["predictors"]],
            imputer or StoredImputer.from_pretrained(path / "imputer"),
            law=make_law(config["law"]["name"], config["law"]["k"]),
            gradient=make_gradient(**config["gradient"]),
            groups=None if shape is None else torch.zeros(shape, dtype=torch.int64),
            classes=config["classes"],
            players=config["players"],
            baseline=None if config["baseline"] is None else _build(config["baseline"]),
            **config["settings"],
        )
        if _own(model).keys() != tensors.keys():
            amiss = sorted(_own(model).keys() ^ tensors.keys())[:3]
            raise ValueError(f"weights {amiss} do not match the config")
        model.load_state_dict(tensors, strict=False)  # the imputer has brought its own
    return model.eval()


def _own(lex: "LEX") -> dict[str, Tensor]:
    """A model's weights without its imputer's, which has a folder of its own."""
    return {name: w for name, w in lex.state_dict().items() if not name.startswith("imputer.")}


def _spec(module: nn.Module) -> dict[str, Any]:
    name = type(module).__name__
    return {
        "class": name,
        "config": getattr(module, "config", None) if name in BUILDABLE else None,
    }


def _build(spec: Mapping[str, Any]) -> nn.Module:
    if spec["class"] not in BUILDABLE or spec["config"] is None:
        raise ValueError(f"a {spec['class']} is not built from a config; pass yours as a keyword")
    return BUILDABLE[spec["class"]](**spec["config"])
