"""Images at the command line: train on a data set or a folder of pictures, explain pictures."""

import dataclasses
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.explained import keep_explained
from bench.problems.images import PICTURES, load_pictures

if TYPE_CHECKING:
    from baselines.explanation import Explanation
    from bench.pages import Section
    from harsanyi.images import HarsanyiForImageClassification

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
PAIRED = 256
"""Most players whose pairs a page tells: the half a million pairs of 1,024 cells take minutes."""


def train_images(
    data: str,
    out: Path,
    *,
    players: str = "",
    epochs: int | None = None,
    test_share: float = 0.2,
    seed: int = 0,
    skip_bad: bool = False,
    progress: bool = True,
) -> tuple[dict[str, Any], str]:
    """Train on named pictures or a folder, save the model, and score it on held-out pictures.

    Args:
        data: One of `PICTURES`, or a folder with one folder of pictures per class.
        out: Folder for the model; a killed training continues from it.
        players: "patches" (default) or "cells"; "published" and "published-adamw" are the paper's
            net with its optimizer and with ours.
        epochs: Passes over the pictures, in place of the recipe's.
        test_share: Share of a folder's pictures held out.
        seed: Of every random choice.
        skip_bad: Leave out pictures of a folder that cannot be read.
        progress: Show a bar.

    Returns:
        Facts for programs, words for people.

    Raises:
        ValueError: If the data or players are unknown, a folder has no two classes of pictures, or
            pictures cannot be read.
    """
    from bench.image_suite import MODELS, Recipe, recipe_of, untrained
    from harsanyi.image_fitting import ImageSchedule
    from harsanyi.pixels import channels_of

    players = players or "patches"
    if players not in MODELS:
        raise ValueError(f"--players {players!r}; choose one of {', '.join(MODELS)}.")
    skipped: list[Path] = []
    if data in PICTURES and not Path(data).is_dir():
        (images, labels), (held, truth) = (load_pictures(data, part) for part in ("train", "test"))
        recipe = recipe_of(data, players)
    else:
        found, skipped = _labelled(Path(data), skip_bad)
        images, labels, held, truth = _split(found, test_share, seed)
        side = _side(images)
        recipe = Recipe(side, {"patch": max(2, round(side / 8)), "blocks": 6}, {"epochs": 20})
        if players != "patches":
            recipe.options.pop("patch")
    schedule = ImageSchedule(**recipe.schedule)
    if epochs is not None:
        schedule = dataclasses.replace(schedule, epochs=epochs)
    model = untrained(recipe, players, channels_of(images))
    start = time.perf_counter()
    model.fit(
        images,
        labels,
        schedule=schedule,
        validation=(held, truth),
        random_state=seed,
        checkpoint_dir=out / "checkpoints",
        progress=progress,
    )
    seconds = time.perf_counter() - start
    model.save_pretrained(out)
    shutil.rmtree(out / "checkpoints", ignore_errors=True)
    measures = model.config.measures
    words = (
        f"images, {len(labels):,} pictures, {len(model.config.outputs)} classes, "
        f"{model.config.n_players} players ({players})"
        f"\naccuracy {measures['score']:.4f} on {len(truth):,} held-out pictures; "
        f"{measures['masked_score']:.4f} with a random half of the players absent"
        f"\nmodel written to {out}; next: harsanyi explain {out} picture.png --html page.html"
        + _left_out(skipped)
    )
    facts = {"model": str(out), "players": model.config.n_players, "seconds": seconds, **measures}
    return {**facts, "skipped": list(map(str, skipped))}, words


def explain_images(
    model: Path,
    data: Path,
    *,
    html: Path | None = None,
    out: Path | None = None,
    command: str = "harsanyi explain",
    skip_bad: bool = False,
) -> tuple[dict[str, Any], str]:
    """Explain a picture, or every picture of a folder, exactly.

    Args:
        model: Folder of a trained model.
        data: A picture or a folder of pictures.
        html: Page of overlays to write.
        out: Values to write, as safetensors.
        command: How it was called.
        skip_bad: Leave out pictures that cannot be read.

    Returns:
        Facts for programs, words for people.

    Raises:
        FileNotFoundError: If there is no picture.
        ValueError: If one cannot be read.
    """
    from harsanyi.images import HarsanyiForImageClassification

    fitted = HarsanyiForImageClassification.from_pretrained(model)
    paths, skipped = readable(_pictures(data), skip_bad)
    start = time.perf_counter()
    explanation = fitted.explain(paths)
    milliseconds = 1000 * (time.perf_counter() - start) / len(paths)
    predicted = [str(label) for label in fitted.predict(paths)]
    written = keep_explained(
        explanation,
        out=out,
        html=html,
        of=data.name,
        what="pictures",
        sections=lambda: gallery(fitted, explanation, [path.name for path in paths], paths),
        command=command,
    )
    gap = float(explanation.diagnostics["additivity_gap"].abs().max())
    facts = {
        "pictures": len(paths),
        "players": fitted.config.n_players,
        "outputs": list(explanation.output_names()),
        "predictions": predicted,
        "exact": explanation.exact,
        "additivity_gap": gap,
        "ms_per_picture": milliseconds,
        "skipped": list(map(str, skipped)),
        "written": written,
    }
    lines = [f"{path.name}: {label}" for path, label in zip(paths, predicted, strict=True)]
    shown = lines[:20] + ([f"... and {len(lines) - 20} more"] if len(lines) > 20 else [])
    words = "\n".join([*shown, *(f"wrote {path}" for path in written)])
    return facts, words + _left_out(skipped)


def gallery(
    fitted: "HarsanyiForImageClassification",
    explanation: "Explanation",
    names: Sequence[str],
    pictures: Any = None,  # noqa: ANN401 - as `interactions` takes them
    most: int = 12,
) -> "list[Section]":
    """Sections of a page: overlays, the order spectrum, and the pairs that matter together.

    Args:
        fitted: The model.
        explanation: Its explanation of `b` pictures.
        names: As many names.
        pictures: The same pictures, for interactions of up to `PAIRED` players; None leaves
            them out.
        most: Pictures to draw.
    """
    from baselines.canvas import new_axes
    from bench.pages import Section
    from bench.pictures import picture

    grid = fitted.net.grid
    drawn = []
    for row, name in enumerate(names[:most]):
        scores = explanation.values[row].sum(0)
        if explanation.base_values is not None:
            scores = scores + explanation.base_values[row]
        first = int(scores.argmax())
        label = explanation.output_names()[first]
        ax = explanation.plot.image(row, first, grid=grid, ax=new_axes(3.2, 2.9))
        ax.set_title(f"{name}: {label} ({float(scores[first]):+.2f})", loc="left", fontsize=10)
        values = explanation.values[row, :, first]
        top = values.abs().argsort(descending=True)[:3].tolist()
        players = explanation.player_names(row)
        moved = ", ".join(f"{players[i]} {float(values[i]):+.2f}" for i in top)
        caption = f"Most: {moved}."
        if pictures is not None and row < 4 and fitted.config.n_players <= PAIRED:
            caption += _pairs(fitted, pictures[row : row + 1], first)
        drawn.append(picture(ax, f"{name} with overlay: {moved}", caption))
    words = (
        f"Exact Shapley values of {explanation.game}, for the class that is predicted, which stands "
        "above each picture with its score. Orange raises the score, blue lowers it; the squares sum "
        "to the model's own score, up to rounding. Where nothing is shaded, nothing was contributed."
    )
    return [Section("Pictures", words, pictures=drawn)]


def _pairs(fitted: "HarsanyiForImageClassification", image: Any, output: int) -> str:  # noqa: ANN401
    """The pairs of strongest interaction, in words."""
    found = fitted.interactions(image, "SII", 2)
    pairs = found.subsets.sum(1) == 2
    values = found.values[0, pairs, output]
    subsets, names = found.subsets[pairs], list(fitted.config.players)
    words = []
    for i in values.abs().argsort(descending=True)[:2].tolist():
        a, b = (names[j] for j in subsets[i].nonzero().flatten().tolist())
        words.append(f"{a} & {b} {float(values[i]):+.2f}")
    return f" Together: {', '.join(words)}." if words else ""


def readable(paths: Sequence[Path], skip_bad: bool) -> tuple[list[Path], list[Path]]:
    """Pictures that can be read, and those that cannot.

    Args:
        paths: Files.
        skip_bad: Go on without the latter.

    Raises:
        ValueError: If none can be read; or, unless `skip_bad`, if one cannot.
    """
    from harsanyi.pixels import opened

    good, bad, said = [], [], ""
    for path in paths:
        try:
            opened(path)
            good.append(path)
        except ValueError as error:
            bad.append(path)
            said = said or str(error)
    if bad and (not skip_bad or not good):
        others = f" So are {len(bad) - 1} more of {len(paths)}." if len(bad) > 1 else ""
        advice = " Mend or remove it, or pass --skip-bad to go on without." if good else ""
        raise ValueError(f"{said}{others}{advice}")
    return good, bad


def _left_out(skipped: Sequence[Path]) -> str:
    if not skipped:
        return ""
    names = ", ".join(path.name for path in skipped[:5])
    more = f" and {len(skipped) - 5} more" if len(skipped) > 5 else ""
    return f"\nleft out, not readable: {names}{more}"


def _labelled(folder: Path, skip_bad: bool) -> tuple[list[tuple[Path, str]], list[Path]]:
    """Pictures with the names of their folders, and what cannot be read."""
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is no folder of pictures and none of {', '.join(PICTURES)}; make one folder "
            "per class, or name a data set."
        )
    found = {
        path: child.name
        for child in sorted(folder.iterdir())
        if child.is_dir()
        for path in sorted(child.rglob("*"))
        if path.suffix.lower() in SUFFIXES
    }
    good, bad = readable(list(found), skip_bad)
    classes = {found[path] for path in good}
    if len(classes) < 2:
        raise ValueError(f"{folder} has pictures of {len(classes)} classes; 2 needed.")
    return [(path, found[path]) for path in good], bad


def _split(
    found: list[tuple[Path, str]], test_share: float, seed: int
) -> tuple[list[Path], np.ndarray, list[Path], np.ndarray]:
    """Pictures and labels, some held out."""
    if not 0 < test_share < 1:
        raise ValueError(f"--test-share {test_share}; a share between 0 and 1 is needed.")
    order = np.random.default_rng(seed).permutation(len(found))
    held = set(order[: max(1, round(test_share * len(found)))].tolist())
    parts: list[list[tuple[Path, str]]] = [[], []]
    for i, pair in enumerate(found):
        parts[i in held].append(pair)
    (train, test) = parts
    return (
        [path for path, _ in train],
        np.array([label for _, label in train]),
        [path for path, _ in test],
        np.array([label for _, label in test]),
    )


def _side(paths: Sequence[Path]) -> int:
    """Side that pictures are resized to: their own where all are small and alike, else 64."""
    from harsanyi.pixels import opened

    sizes = {opened(path).size for path in paths[:200]}
    only = next(iter(sizes)) if len(sizes) == 1 else (64, 64)
    return only[0] if only[0] == only[1] and 4 <= only[0] <= 64 else 64


def _pictures(data: Path) -> list[Path]:
    if data.is_file():
        return [data]
    if not data.is_dir():
        raise FileNotFoundError(f"no picture or folder {data}.")
    found = sorted(path for path in data.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise FileNotFoundError(f"{data} has no pictures ({', '.join(SUFFIXES)}).")
    return found
