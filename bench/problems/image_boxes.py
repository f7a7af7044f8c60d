"""Image problems: a small network on pictures, whose players are the cells of a grid.

`<pictures>/patches` plays absent patches black, `<pictures>/patches/blur` blurs them.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from baselines.randomness import seeded
from bench.problems.images import PICTURES, load_pictures
from bench.problems.problem import Problem

ABSENCES = ("black", "blur")
GRID = 4
"""Rows and columns of patches."""

TRAINED, EPOCHS = 3_000, 12
"""Pictures that a network learns from, and how often."""

IMAGE_PROBLEMS = tuple(f"{name}/patches" for name in PICTURES)


def is_image_problem(name: str) -> bool:
    """Whether a name, without an ending for the seed, is of an image problem."""
    words = name.split("/")
    known = len(words) in (2, 3) and words[0] in PICTURES and words[1] == "patches"
    return known and (len(words) == 2 or words[2] in ABSENCES)


def image_problem(name: str, *, b: int = 32, seed: int = 0) -> Problem:
    """An image problem by name; trains its network, in seconds.

    Args:
        name: Such as `mnist/patches` or `digits/patches/blur`.
        b: Pictures to explain, drawn from the test part.
        seed: Of the network and of the choice of pictures.

    Returns:
        A Problem of logits with a patch per player.

    Raises:
        ValueError: If there is no such problem.
        FileNotFoundError: If the data folder lacks the pictures.
    """
    from baselines import BaselineImputer, BlurImputer, MaskedGame
    from baselines.imagery import patches

    if not is_image_problem(name):
        raise ValueError(f"image problem {name!r} is unknown; there are {IMAGE_PROBLEMS}.")
    pictures, _, *ending = name.split("/")
    absence = ending[0] if ending else "black"
    rng = np.random.default_rng(seed)
    images, labels = _tensors(pictures, "train")
    chosen = rng.permutation(len(images))[:TRAINED]
    network = _network(images[chosen], labels[chosen], seed)
    tests, answers = _tensors(pictures, "test")
    picked = np.sort(rng.permutation(len(tests))[:b])
    size = tuple(images.shape[1:])
    imputer: Any = BaselineImputer(torch.zeros(size)) if absence == "black" else BlurImputer(2.0)
    groups = patches(size, GRID)
    players = tuple(f"row {i + 1}, column {j + 1}" for i in range(GRID) for j in range(GRID))

    def game(x: Tensor) -> MaskedGame:
        return MaskedGame(network, x, imputer, groups=groups, players=players)

    ending_words = f"@{seed}" if seed else ""
    return Problem(
        name=f"{name}{ending_words}",
        x=tests[picked],
        y=answers[picked].numpy(),
        game_factory=game,
        imputer=imputer,
        players=players,
        scale="logit",
        task="classification",
        model=network,
    )


def _tensors(pictures: str, part: str) -> tuple[Tensor, Tensor]:
    """Pictures `(rows, c, h, w)` in [0, 1] and labels."""
    images, labels = load_pictures(pictures, part)
    array = np.asarray(images, dtype=np.float32)
    array = array / (255.0 if array.max() > 1.5 else 1.0)
    array = array[:, None] if array.ndim == 3 else np.moveaxis(array, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(array)), torch.from_numpy(np.asarray(labels))


def _network(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """Two convolutions and a linear map, trained on whole pictures."""
    from baselines import training

    with seeded(seed):
        network = nn.Sequential(
            nn.Conv2d(images.shape[1], 16, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(8),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 64, int(labels.max()) + 1),
        )

    def loss(module: nn.Module, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(module(batch[0]), batch[1].long())

    training.fit(network, (images, labels), loss, epochs=EPOCHS, batch_size=64, key=seed)
    return network.eval()
