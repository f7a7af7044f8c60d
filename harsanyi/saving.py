"""Estimators on disk: a transformers folder (config.json, model.safetensors) with a model card."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from baselines.files import atomic_write
from baselines.saved_models import check_files, check_numbers
from harsanyi.net import HarsanyiNet
from harsanyi.pretrained import FORMAT, HarsanyiConfig, HarsanyiForClassification, check_labels
from harsanyi.table import Column

_PARTS_OF_A_RUN = {"checkpoint_dir", "progress"}  # where and how it ran, not what it is


def save_estimator(estimator: Any, directory: str | PathLike[str]) -> None:  # noqa: ANN401
    """Write a fitted estimator.

    Args:
        estimator: A fitted HarsanyiClassifier or HarsanyiRegressor.
        directory: Folder to make or to write into.
    """
    from safetensors.torch import save

    from harsanyi.cards import model_card

    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    config = shell_config(estimator)
    state = {
        f"net.{name}": tensor.detach().cpu().contiguous().clone()
        for name, tensor in estimator.net_.state_dict().items()
    }
    state["net.signature"] = torch.tensor([estimator.net_.signed(config)])
    atomic_write(folder / "model.safetensors", save(state, metadata={"format": "pt"}))
    config.save_pretrained(folder)
    atomic_write(folder / "README.md", model_card(estimator).encode())


def shell_config(estimator: Any) -> HarsanyiConfig:  # noqa: ANN401
    """The transformers configuration of a fitted estimator.

    Raises:
        TypeError: If a class label is something that JSON cannot hold.
    """
    net: HarsanyiNet = estimator.net_
    outputs = list(net.config.outputs)
    regression = net.config.problem_type == "regression"
    parts: list[Any] = list(net.parts)
    return HarsanyiConfig(
        architectures=["HarsanyiForClassification"],
        dtype=str(net.bias.dtype).removeprefix("torch."),
        problem_type="regression" if regression else "single_label_classification",
        id2label=dict(enumerate(outputs)),
        label2id={name: i for i, name in enumerate(outputs)},
        n_players=net.n_players,
        n_outputs=net.n_outputs,
        parts=[part.spec for part in parts],
        absence=net.absence,
        gauge=net.gauge,
        players=estimator.players_,
        outputs=outputs,
        categories=[list(column.categories) for column in estimator.columns_],
        coalition_weight=estimator.coalition_weight,
        estimator={
            "kind": type(estimator).__name__,
            "params": {
                name: _plain(value)
                for name, value in estimator.get_params(deep=False).items()
                if name not in _PARTS_OF_A_RUN
            },
            "classes": None if regression else [_plain(label) for label in estimator.classes_],
            "classes_dtype": None if regression else estimator.classes_.dtype.str,
            "named": hasattr(estimator, "feature_names_in_"),
            "distillation": getattr(estimator, "distillation_", None),
        },
        measures=estimator.measures_,
    )


def load_estimator(cls: type, directory: str | PathLike[str]) -> Any:  # noqa: ANN401
    """Read what `save_estimator` wrote.

    Args:
        cls: HarsanyiClassifier or HarsanyiRegressor.
        directory: The folder.

    Returns:
        A fitted estimator.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is corrupt, of another version or of another kind of model.
    """
    folder = Path(directory)
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; save_pretrained makes one.")
    check_files(folder, FORMAT)
    try:
        config = HarsanyiConfig.from_pretrained(folder)
        about = config.estimator or {}
        if about.get("kind") != cls.__name__:
            raise ValueError(
                f"{folder} holds a {about.get('kind') or config.model_type}, not a {cls.__name__}."
            )
        estimator = cls(**about["params"])
        estimator.net_ = _load_net(folder, config)
        _describe(estimator, config, about)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / 'config.json'} is incomplete or corrupt ({error!r})."
        ) from error
    return estimator


def _describe(estimator: Any, config: HarsanyiConfig, about: dict[str, Any]) -> None:  # noqa: ANN401
    """Columns, classes and measures of a loaded estimator."""
    players, categories = list(config.players or []), config.categories or []
    check_labels(config)
    for name, entries in (("players", players), ("categories", categories)):
        if len(entries) != config.n_players:
            raise ValueError(
                f"config.{name} has {len(entries)} entries; there are {config.n_players} players."
            )
    sizes = [len(labels) for labels in categories]
    for spec in config.parts or []:
        inner = spec.get("encoder")
        told = inner if isinstance(inner, dict) else spec
        expected = told.get("cardinalities")
        if expected and list(expected) != sizes:
            raise ValueError(f"config.categories are {sizes} long; the weights know {expected}.")
    estimator.columns_ = tuple(map(Column, players, map(tuple, categories)))
    estimator.players_ = players
    estimator.n_features_in_ = config.n_players
    if about["named"]:
        estimator.feature_names_in_ = np.array(players, dtype=object)
    if about["classes"] is not None:
        if len(about["classes"]) != config.n_outputs:
            raise ValueError(
                f"config.estimator names {len(about['classes'])} classes; there are "
                f"{config.n_outputs} outputs."
            )
        estimator.classes_ = np.array(about["classes"], dtype=np.dtype(about["classes_dtype"]))
    if about["distillation"] is not None:
        estimator.distillation_ = about["distillation"]
    estimator.measures_ = config.measures
    estimator._adopt_baseline()


def _load_net(folder: Path, config: HarsanyiConfig) -> HarsanyiNet:
    from safetensors.torch import load_file

    model = HarsanyiForClassification(config).to(getattr(torch, str(config.dtype).split(".")[-1]))
    state: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("model*.safetensors")):  # others may be explanations
        state |= load_file(path)
    own = model.state_dict()
    amiss = {name for name in own if name in state and own[name].shape != state[name].shape}
    amiss |= own.keys() ^ state.keys()
    if amiss:
        raise ValueError(
            f"the weights in {folder} do not fit its config: {', '.join(sorted(amiss)[:5])} are "
            "missing, unknown or of another shape."
        )
    check_numbers(state, folder)
    model.load_state_dict(state)
    return model.net.eval()


def _plain(value: Any) -> Any:  # noqa: ANN401
    """A value as JSON holds it; a seed that is an object is not remembered."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return [_plain(entry) for entry in value.tolist()]
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if isinstance(value, (np.random.RandomState, np.random.Generator)):
        return None
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{value!r} is a {type(value).__name__}, which config.json cannot hold.")
