"""Harsanyi nets as transformers models; importing this file registers the Auto classes."""

from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from baselines.arguments import is_a
from baselines.explanation import Explanation
from baselines.saved_models import check_files, load_strictly, register
from harsanyi.losses import COALITION_WEIGHT, CoalitionLoss
from harsanyi.net import HarsanyiNet
from harsanyi.outputs import (
    HarsanyiOutput,
    explained,
    given,
    label_loss,
    problem_of,
    targets_of,
)

FORMAT = 1
"""Version of the saved form; another one is refused."""


class HarsanyiConfig(PreTrainedConfig):
    """Everything that fixes the shapes of a HarsanyiNet, and what its numbers mean.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        parts: Specs of the parts.
        absence: "baseline", "mask" or "marginal".
        gauge: "free", or "binary" for two logits that sum to zero.
        players: Names of the players.
        outputs: Names of the outputs.
        categories: Labels of each player's codes; empty for a number.
        coalition_weight: Share of the loss on random coalitions when `forward` gets labels in
            training.
        estimator: What a scikit-learn estimator needs beside the net.
        measures: What was measured on held-out rows.
        format_version: Version of the saved form.

    Example:
        >>> import torch
        >>> from harsanyi import HarsanyiConfig
        >>> config = HarsanyiConfig.image(size=8, players="patches", patch=4)
        >>> config.n_players
        4
    """

    model_type = "harsanyi"
    keys_to_ignore_at_inference = ["shapley_values", "base_values", "additivity_gap"]  # noqa: RUF012

    n_players: int = 1
    n_outputs: int = 1
    parts: list[dict[str, Any]] | None = None
    absence: str = "mask"
    gauge: str = "free"
    players: list[str] | None = None
    outputs: list[str] | None = None
    categories: list[list[Any]] | None = None
    coalition_weight: float = COALITION_WEIGHT
    estimator: dict[str, Any] | None = None
    measures: dict[str, Any] | None = None
    format_version: int = FORMAT

    def __post_init__(self, **kwargs: Any) -> None:  # noqa: ANN401
        parent: Any = super()  # which gives its arguments no types, here and below
        parent.__post_init__(**kwargs)
        if self.format_version != FORMAT:
            raise ValueError(
                f"config.format_version is {self.format_version!r}; this version of "
                f"harsanyi reads {FORMAT}. Save the model again with the version that wrote it."
            )
        if not is_a(self.n_players, int) or not is_a(self.n_outputs, int):
            raise TypeError(
                f"config.n_players={self.n_players!r} and n_outputs={self.n_outputs!r}; both must "
                "be integers."
            )
        self.parts = list(self.parts or [])

    @classmethod
    def image(
        cls,
        size: int | Sequence[int] = 32,
        players: str = "patches",
        **options: Any,  # noqa: ANN401 - the architecture's own
    ) -> Any:  # noqa: ANN401
        """The configuration of a model of images.

        Args:
            size: Side of an image, or rows and columns.
            players: "patches", "cells" or "features".
            options: Of `harsanyi.image_config.image_settings`: `patch`, `width`, `blocks`,
                `preset="chen2023-cnn"`, ...

        Returns:
            A HarsanyiImageConfig, for `HarsanyiForImageClassification`.
        """
        from harsanyi.images import image_config

        return image_config(size, players, **options)


class HarsanyiPreTrainedModel(PreTrainedModel):
    """Shared by all shells: strict loading, safetensors only."""

    config_class = HarsanyiConfig
    base_model_prefix = "net"
    net: HarsanyiNet

    def __init__(self, config: HarsanyiConfig) -> None:
        parent: Any = super()
        parent.__init__(config)

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: modules draw their weights when built, and a loaded file must be complete."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Load a model, strictly.

        Args:
            pretrained_model_name_or_path: Folder or name on the Hub.
            args: As transformers takes them.
            kwargs: As transformers takes them.

        Returns:
            The model in eval mode (and loading information, if asked for).

        Raises:
            FileNotFoundError: If config or weights are missing.
            ValueError: If a file is corrupt, of another version, or does not fit the config.
        """
        check_files(pretrained_model_name_or_path, FORMAT)
        asked = kwargs.pop("output_loading_info", False)
        parent: Any = super()
        model, info = load_strictly(
            parent.from_pretrained, pretrained_model_name_or_path, *args, **kwargs
        )
        model.net.check_signature()
        check_labels(model.config)
        return (model, info) if asked else model

    def save_pretrained(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Write config and weights, as transformers does."""
        self.net.sign()
        parent: Any = super()
        return parent.save_pretrained(*args, **kwargs)


class HarsanyiForClassification(HarsanyiPreTrainedModel):
    """A HarsanyiNet over the columns of a table; `problem_type="regression"` serves regression.

    Args:
        config: Fixes all shapes.
        net: A fitted net to wrap in place of a fresh one.
    """

    def __init__(self, config: HarsanyiConfig, net: HarsanyiNet | None = None) -> None:
        super().__init__(config)
        self.net = _built(config) if net is None else net
        self.post_init()

    def forward(
        self,
        x: Tensor,
        present: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> HarsanyiOutput | tuple[Tensor, ...]:
        """Logits with their exact Shapley values.

        Args:
            x: Raw rows `(b, n)`, as the estimators' `encode` gives them.
            present: Bool `(b, n)`; None means everybody.
            labels: Classes `(b,)` or targets `(b, k)`. In training the loss includes random
                coalitions.
            return_dict: False for a tuple.

        Returns:
            Loss, logits, Shapley values, base values and additivity gap.
        """
        logits, shapley, base = self.net.attribute(x, present)
        loss = None if labels is None else self._loss(x, logits, labels)
        return given(explained(logits, shapley, base, loss), return_dict)

    def _loss(self, x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        problem = problem_of(self.config)
        if not self.training:
            return label_loss(logits, labels, problem)
        loss = CoalitionLoss(problem, self.config.coalition_weight)
        return loss(self.net, x, targets_of(labels, problem))

    def explain(self, x: Tensor, present: Tensor | None = None) -> Explanation:
        """Exact Shapley values of raw rows `(b, n)`."""
        return self.net.explain(x, present)

    def interactions(self, x: Tensor, index: str = "k-SII", order: int = 2) -> Any:  # noqa: ANN401
        """Exact interactions of raw rows `(b, n)` under an index, up to an order."""
        return self.net.interactions(x, index, order)


def _built(config: HarsanyiConfig) -> HarsanyiNet:
    """A net with real numbers even while transformers builds on the meta device.

    Parts compute with what their spec says, which numberless tensors do not allow, and a net is
    small; whatever the file holds replaces these numbers.
    """
    if torch.get_default_device().type != "meta":
        return HarsanyiNet(config)
    with torch.device("cpu"):
        return HarsanyiNet(config)


def check_labels(config: PreTrainedConfig) -> None:
    """Check that the labels transformers reads are the outputs' names, where these were saved.

    Raises:
        ValueError: If they differ.
    """
    outputs, labels = getattr(config, "outputs", None), config.id2label
    fitted = any(getattr(config, name, None) is not None for name in ("estimator", "classes"))
    if outputs is None or not fitted or not labels:
        return
    if [name for _, name in sorted(labels.items())] != list(outputs):
        raise ValueError(
            f"config.id2label is {labels}, but the outputs of these weights are {outputs}; one of "
            "the two was changed after saving."
        )


register(AutoConfig, HarsanyiConfig.model_type, HarsanyiConfig)
register(AutoModel, HarsanyiConfig, HarsanyiForClassification)

import_module("harsanyi.images")
import_module("harsanyi.texts")
