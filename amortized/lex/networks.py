"""The networks of a LEX for tables and for images, with weights from their own seed."""

from typing import Any

import torch
from einops import repeat
from torch import Tensor

from amortized.lex.predictor import ConvPredictor, MLPPredictor
from amortized.lex.selector import ConvSelector, MLPSelector
from baselines.arguments import whole
from baselines.randomness import seed_of, seeded


def tabular(
    n_features: int,
    n_classes: int | None,
    *,
    width: int,
    depth: int,
    folds: int,
    groups: Tensor | None,
    mask_channel: bool,
    network_baseline: bool,
    random_state: int | None,
) -> dict[str, Any]:
    """Multilayer perceptrons for rows of numbers, as keywords of `LEX`.

    Args:
        n_features: Features.
        n_classes: Number of classes; None for regression.
        width: Units of each hidden layer.
        depth: Hidden layers.
        folds: Predictors.
        groups: Player of each feature, or None.
        mask_channel: Whether predictors see which features are present.
        network_baseline: Whether there is a network on full inputs beside.
        random_state: Seed of the weights; None takes one from the system.

    Returns:
        `selector`, `predictor`, `baseline` and `task`.

    Raises:
        TypeError: If a size is no whole number.
        ValueError: If a size is not positive.
    """
    n_features = whole(n_features, "n_features")
    n_outputs = 1 if n_classes is None else whole(n_classes, "n_classes")
    n_players = n_features if groups is None else int(groups.max()) + 1
    shape = (n_features, n_outputs, width, depth)
    with seeded(seed_of(random_state)):
        return {
            "selector": MLPSelector(n_features, n_players, width, depth),
            "predictor": [MLPPredictor(*shape, mask_channel) for _ in range(folds)],
            "baseline": MLPPredictor(*shape) if network_baseline else None,
            "task": "regression" if n_classes is None else "classification",
        }


def images(
    channels: int,
    size: tuple[int, int],
    n_classes: int,
    *,
    patch: int,
    width: int,
    mask_channel: bool,
    random_state: int | None,
) -> dict[str, Any]:
    """Convolutional networks whose players are square patches, as keywords of `LEX`.

    Args:
        channels: Channels of the images.
        size: Height and width, multiples of the patch.
        n_classes: Number of classes.
        patch: Side of a patch in pixels.
        width: Channels of the first level of both networks.
        mask_channel: Whether the predictor sees which pixels are present.
        random_state: Seed of the weights; None takes one from the system.

    Returns:
        `selector`, `predictor` and `groups`.

    Raises:
        ValueError: If the patches do not tile the image.
    """
    with seeded(seed_of(random_state)):
        selector = ConvSelector(channels, size, patch, width)
        predictor = ConvPredictor(channels, size, n_classes, width, mask_channel)
    row, column = torch.arange(size[0]) // patch, torch.arange(size[1]) // patch
    patches = row[:, None] * (size[1] // patch) + column
    groups = repeat(patches, "h w -> c h w", c=channels).contiguous()
    return {"selector": selector, "predictor": predictor, "groups": groups}
