"""The suite of images: models whose players are patches or cells, on pictures of the data folder.

One cell is one data set, model and seed; its training continues where it was killed:

    harsanyi bench --suite images --tables mnist,cifar10 --models patches,cells,published --out DIR
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from baselines import shards
from baselines.coalitions import stream
from baselines.files import atomic_write
from baselines.randomness import seeded
from bench.cells import Grid
from bench.problems.images import PICTURES, load_pictures
from bench.provenance import provenance
from bench.registry import listed

if TYPE_CHECKING:
    import pandas as pd

    from harsanyi.images import HarsanyiForImageClassification

MEASURES = (
    *("n_train", "n_test", "n_players", "epochs", "cpu_minutes", "score", "masked_score"),
    *("explain_over_forward", "ms_per_image", "exact_others_present", "exact_others_absent"),
    *("additivity_gap", "order_1", "order_2", "order_3_to_9", "order_more"),
)
"""What a cell measures. `cpu_minutes` are those of training; `masked_score` is the accuracy with a
random half of the players absent; the two of exactness are the largest difference from
enumeration over 12 players in float64, relative to max(1, |v|), for the public pixels where they
are the players."""

MODELS = ("patches", "cells", "published", "published-adamw")
FREE = 12


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A model and its training: options of `HarsanyiConfig.image` and of `ImageSchedule`."""

    size: int
    options: dict[str, Any]
    schedule: dict[str, Any]


_GREY = {"batch_size": 256, "precision": "bfloat16", "learning_rate": 6e-3}
_MNIST = {**_GREY, "shift": 2}
_CIFAR = {
    "batch_size": 128, "precision": "bfloat16", "learning_rate": 5e-3, "weight_decay": 0.05,
    "shift": 4, "flip": True,
}  # fmt: skip
_PAPER = {
    "batch_size": 32, "learning_rate": 0.01, "weight_decay": 0.0, "coalition_weight": 0.0,
    "published": True, "precision": "bfloat16",
}  # fmt: skip
_GREY_STEM = [[32, 3, 2], [32, 3, 2]]
_STEM = [[32, 3, 1], [64, 3, 2], [64, 3, 2]]

RECIPES: dict[tuple[str, str], Recipe] = {
    ("digits", "patches"): Recipe(
        8, {"patch": 2, "width": 32, "blocks": 4}, {"epochs": 15, "batch_size": 64}
    ),
    ("digits", "cells"): Recipe(8, {"width": 32, "blocks": 4}, {"epochs": 15, "batch_size": 64}),
    ("digits", "published"): Recipe(
        8, {"width": 32, "blocks": 4, "beta": 100.0, "gamma": 0.05}, {**_PAPER, "epochs": 30}
    ),
    ("digits", "published-adamw"): Recipe(
        8, {"width": 32, "blocks": 4, "beta": 100.0},
        {"epochs": 12, "batch_size": 64, "coalition_weight": 0.0},
    ),
    ("mnist", "patches"): Recipe(28, {"width": 32, "blocks": 5}, {**_MNIST, "epochs": 7}),
    ("mnist", "cells"): Recipe(
        28, {"width": 32, "blocks": 5, "stem": _GREY_STEM}, {**_MNIST, "epochs": 7}
    ),
    ("mnist", "published"): Recipe(
        28, {"width": 32, "blocks": 4, "beta": 100.0, "gamma": 0.05}, {**_PAPER, "epochs": 1}
    ),
    ("mnist", "published-adamw"): Recipe(
        28, {"width": 32, "blocks": 4, "beta": 100.0},
        {**_MNIST, "coalition_weight": 0.0, "epochs": 2},
    ),
    ("fashion", "published"): Recipe(
        28, {"width": 32, "blocks": 4, "beta": 100.0, "gamma": 0.05}, {**_PAPER, "epochs": 3}
    ),
    ("fashion", "published-adamw"): Recipe(
        28, {"width": 32, "blocks": 4, "beta": 100.0},
        {**_GREY, "shift": 1, "flip": True, "coalition_weight": 0.0, "epochs": 6},
    ),
    ("fashion", "patches"): Recipe(
        28, {"width": 32, "blocks": 5}, {**_GREY, "shift": 1, "flip": True, "epochs": 14}
    ),
    ("fashion", "cells"): Recipe(
        28, {"width": 32, "blocks": 5, "stem": _GREY_STEM},
        {**_GREY, "shift": 1, "flip": True, "epochs": 30},
    ),
    ("cifar10", "patches"): Recipe(32, {"width": 64, "blocks": 10}, {**_CIFAR, "epochs": 10}),
    ("cifar10", "cells"): Recipe(
        32, {"width": 64, "blocks": 10, "stem": _STEM}, {**_CIFAR, "epochs": 60}
    ),
    ("cifar10", "published"): Recipe(
        32, {"width": 64, "blocks": 10},
        {**_PAPER, "shift": 4, "flip": True, "epochs": 2},
    ),
    ("cifar10", "published-adamw"): Recipe(
        32, {"width": 64, "blocks": 10}, {**_CIFAR, "coalition_weight": 0.0, "epochs": 3}
    ),
}  # fmt: skip
"""What is trained on what. "published" is `preset="chen2023-cnn"` with the authors' optimizer,
"published-adamw" the same net with ours, on whole pictures alone."""


def recipe_of(name: str, model: str) -> Recipe:
    """The recipe of a model on a data set.

    Raises:
        ValueError: If there is none.
    """
    if (name, model) not in RECIPES:
        known = [other for data, other in RECIPES if data == name]
        raise ValueError(f"{model!r} is not trained on {name!r}; there are {', '.join(known)}.")
    return RECIPES[name, model]


def untrained(recipe: Recipe, model: str, channels: int) -> "HarsanyiForImageClassification":
    """The model of a recipe before it learns anything.

    Args:
        recipe: Its side and options.
        model: One of `MODELS`.
        channels: Of the pictures.
    """
    from harsanyi.images import HarsanyiForImageClassification, image_config

    players = "patches" if model == "patches" else "cells"
    preset = {"preset": "chen2023-cnn"} if model.startswith("published") else {}
    options = {**recipe.options, **preset}
    return HarsanyiForImageClassification(
        image_config(recipe.size, players, channels=channels, **options)
    )


def finish_image_suite(
    folder: str | PathLike[str],
    *,
    data: Sequence[str] = ("digits",),
    models: Sequence[str] = MODELS,
    seeds: int = 1,
    progress: bool = True,
) -> "tuple[pd.DataFrame, shards.Plan]":
    """Train and measure what is not measured yet.

    Args:
        folder: Where cells and checkpoints lie.
        data: Names of `PICTURES`.
        models: Names of `MODELS`.
        seeds: Trainings of each.
        progress: Show bars.

    Returns:
        The cells, and their plan.

    Raises:
        ValueError: If a name is unknown, or the folder holds other cells.
    """

    def judge(name: str, model: str, seed: int) -> dict[str, float]:
        place = Path(folder) / "models" / f"{name}-{model}-{seed}"
        return judge_images(name, model, seed, place, progress=progress)

    grid = Grid("images suite", "data", "model", MEASURES, judge)
    plan = grid.plan(folder, (data, PICTURES), (models, MODELS), seeds)
    grid.run(plan, progress=progress)
    return grid.frame(plan), plan


def finish(
    folder: str | PathLike[str],
    *,
    tables: str = "",
    models: str = "",
    seeds: int | None = None,
    command: str = "harsanyi bench --suite images",
) -> "tuple[pd.DataFrame, Path]":
    """Finish the suite and write `cells.parquet` and `images.md`.

    Args:
        folder: Where cells, models and checkpoints lie.
        tables: Names of data sets by commas; scikit-learn's digits when empty.
        models: Names of models by commas; all when empty.
        seeds: Trainings of each; one when None.
        command: What repeats the run.

    Returns:
        The cells, and the Markdown page.

    Raises:
        ValueError: If there is no such data set or model.
    """
    frame, plan = finish_image_suite(
        folder, data=listed(tables, ("digits",)), models=listed(models, MODELS), seeds=seeds or 1
    )
    frame.to_parquet(plan.folder / "cells.parquet")
    made = provenance()
    lines = ["# Images", "", f"Made by `{command}`, commit {made['commit']}, {made['date']}.", ""]
    heads = ("data", "model", "players", "epochs", "CPU min", "accuracy", "half absent")
    heads += ("explain / forward", "error, others present", "others absent", "order 1", "more")
    lines += [
        " | ".join(("", *heads, "")).strip(),
        "|" + " --- |" * 2 + " ---: |" * (len(heads) - 2),
    ]
    lines += [_line(row) for row in frame.to_dict("records")]
    page = plan.folder / "images.md"
    atomic_write(page, ("\n".join(lines) + "\n").encode())
    return frame, page


def _line(row: dict[str, Any]) -> str:
    cells = (
        row["data"], row["model"], f"{row['n_players']:.0f}", f"{row['epochs']:.0f}",
        f"{row['cpu_minutes']:.1f}", f"{100 * row['score']:.2f}", f"{100 * row['masked_score']:.2f}",
        f"{row['explain_over_forward']:.2f}", f"{row['exact_others_present']:.0e}",
        f"{row['exact_others_absent']:.0e}", f"{row['order_1']:.2f}", f"{row['order_more']:.2f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def judge_images(
    name: str, model: str, seed: int, folder: Path, *, progress: bool = False
) -> dict[str, float]:
    """Train one model on one data set, keep it, and measure it.

    Args:
        name: Of the data.
        model: Of the model.
        seed: Of weights, order and masks.
        folder: Where the model and the checkpoints of its training lie.
        progress: Show a bar.

    Returns:
        Measure -> number.
    """
    fitted, minutes, epochs = trained(name, model, seed, folder, progress=progress)
    images, labels = load_pictures(name, "test")
    found = fitted.score(images, labels, random_state=seed)
    found.pop("rows")
    return {
        **found,
        "n_train": len(load_pictures(name, "train")[1]),
        "n_test": len(labels),
        "n_players": fitted.config.n_players,
        "epochs": epochs,
        "cpu_minutes": minutes,
        **explanation_measures(fitted, images[:64], seed),
    }


def trained(
    name: str, model: str, seed: int, folder: Path, *, progress: bool = False
) -> "tuple[HarsanyiForImageClassification, float, int]":
    """The model of a recipe, its CPU-minutes of training over all starts, and its epochs."""
    from harsanyi.image_fitting import ImageSchedule

    recipe = recipe_of(name, model)
    images, labels = load_pictures(name, "train")
    folder.mkdir(parents=True, exist_ok=True)
    clock = Clock(folder / "clock.json")
    with seeded(seed):
        fitted = untrained(recipe, model, 1 if images.ndim == 3 else 3)
        fitted.fit(
            images,
            labels,
            schedule=ImageSchedule(**recipe.schedule),
            random_state=seed,
            checkpoint_dir=folder / "checkpoints",
            on_epoch=lambda _: clock.note(),
            progress=progress,
        )
    fitted.save_pretrained(folder / "model")
    return fitted, clock.keep(), recipe.schedule["epochs"]


class Clock:
    """CPU-minutes of a job over all its starts, up to the last whole epoch of a killed one.

    Args:
        path: File that remembers them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = json.loads(path.read_text())["cpu_minutes"] if path.is_file() else 0.0
        self.started = time.process_time()

    def note(self) -> None:
        """Write down the minutes so far."""
        self.keep()

    def keep(self) -> float:
        """Write down and return the minutes so far."""
        minutes = self.before + (time.process_time() - self.started) / 60
        atomic_write(self.path, json.dumps({"cpu_minutes": minutes}).encode())
        return minutes


def explanation_measures(
    fitted: "HarsanyiForImageClassification", images: np.ndarray, seed: int
) -> dict[str, float]:
    """How fast, how exactly and at which orders a model explains itself.

    Args:
        fitted: A trained model.
        images: Some pictures.
        seed: Of the free players.
    """
    x = fitted._pixels(images)
    with torch.no_grad():
        forward = _seconds(lambda: fitted.net(x))
        explain = _seconds(lambda: fitted.net.explain(x))
    explanation = fitted.net.explain(x)
    scale = max(1.0, float(explanation.base_values.abs().max()))  # pyright: ignore[reportOptionalMemberAccess]
    gap = explanation.diagnostics["additivity_gap"].abs().max()
    spectrum = fitted.net.order_spectrum(x).double().mean((0, 2))
    return {
        "explain_over_forward": explain / forward,
        "ms_per_image": 1000 * explain / len(x),
        "exact_others_present": exactness(fitted, x[:2], seed, others=True),
        "exact_others_absent": exactness(fitted, x[:2], seed, others=False),
        "additivity_gap": float(gap) / scale,
        "order_1": float(spectrum[0]),
        "order_2": float(spectrum[1]),
        "order_3_to_9": float(spectrum[2:9].sum()),
        "order_more": float(spectrum[9:].sum()),
    }


def exactness(
    fitted: "HarsanyiForImageClassification", x: torch.Tensor, seed: int, *, others: bool
) -> float:
    """Largest difference from enumeration over 12 players, in float64, relative to the outputs.

    Where players are patches the game is played on pixels alone: those of absent patches are
    painted in the baseline's colour and the model is told nothing.

    Args:
        fitted: A trained model.
        x: Images.
        seed: Of the free players.
        others: Whether the other players are present; else they are absent.
    """
    import copy

    from baselines.exact import exact_shapley
    from baselines.game import PresenceGame

    net = copy.deepcopy(fitted.net).double()
    n = net.n_players
    free = np.sort(stream(seed, 0, purpose=43).permutation(n)[:FREE])
    held = torch.full((n,), others)
    held[free] = True
    visible = net.masked(x.double(), held.expand(len(x), n)) if net.absence == "baseline" else None

    def play(rows: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        mask = held.expand(len(rows), n).clone()
        mask[:, free] = present
        if visible is None:
            return net(rows, present=mask)
        return net(net.masked(rows, mask))

    game = PresenceGame(play, x.double(), n_players=len(free), max_rows=256)
    truth = exact_shapley(game)
    if others:
        ours = net.explain(x.double(), free=torch.from_numpy(np.isin(np.arange(n), free)))
    else:
        ours = net.explain(x.double() if visible is None else visible, held)
    values = ours.values[:, free]
    scale = float(game(torch.ones(1, 1, len(free), dtype=torch.bool)).abs().max())
    return float((values - truth.values).abs().max()) / max(1.0, scale)


def _seconds(call: Any, least: int = 3) -> float:  # noqa: ANN401
    """CPU-seconds of a call, the best of a few."""
    call()
    best = float("inf")
    for _ in range(least):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best
