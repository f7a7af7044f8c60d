"""The folder of a label store: `store.json`, which says whose labels they are, and its passes."""

import dataclasses
import json
import shutil
from pathlib import Path

from amortized.passes import Pass, open_pass
from amortized.playing import GameCard
from baselines.files import atomic_write

FORMAT = 1
"""Version of the folder's layout."""


def has_card(path: Path) -> bool:
    """Whether a folder says whose labels it holds."""
    return (path / "store.json").exists()


def read_card(path: Path) -> GameCard:
    """The game that a folder holds labels of.

    Args:
        path: The store's folder.

    Raises:
        ValueError: If its `store.json` is damaged or of another version.
    """
    file = path / "store.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        if said.pop("format", None) != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        return GameCard(**said)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged or no label store ({error}).") from error


def write_card(path: Path, card: GameCard) -> None:
    """Say whose labels a folder holds.

    Args:
        path: The store's folder.
        card: Of the game.
    """
    said = {"format": FORMAT, **dataclasses.asdict(card)}
    atomic_write(path / "store.json", json.dumps(said, indent=1, sort_keys=True).encode())


def pass_folders(path: Path) -> list[Path]:
    """Folders of the passes, in their order.

    Args:
        path: The store's folder.

    Raises:
        ValueError: If one lost its manifest, or is missing before others: what is left would
            pass for the whole.
    """
    # what is written last is looked at first, since other processes may be writing
    there = sorted(path.glob("pass-[0-9][0-9][0-9]"), reverse=True)
    begun = {f for f in there if (f / "SUCCESS.json").exists() or any(f.glob("shards/*"))}
    found = sorted(folder for folder in there if (folder / "manifest.json").exists())
    lost = sorted(begun - set(found))
    if lost:
        raise ValueError(f"{lost[0]} holds labels and no manifest.json: it is damaged.")
    names = [folder.name for folder in found]
    wanted = [f"pass-{number:03d}" for number in range(len(names))]
    if names != wanted:
        raise ValueError(f"{path} lacks {sorted(set(wanted) - set(names))}; there are {names}.")
    return found


def next_folder(path: Path) -> Path:
    """Where the next pass of a store goes."""
    return path / f"pass-{len(pass_folders(path)):03d}"


def planned_pairs(path: Path, seed: int, method: str) -> dict[str, int]:
    """Pairs planned for each example, by its name.

    Args:
        path: The store's folder.
        seed: Of the pairs.
        method: Who explains; "pairs" for sampled ones.

    Raises:
        ValueError: If the folder holds labels by another method.
    """
    found: dict[str, int] = {}
    for folder in pass_folders(path):
        one = open_pass(folder)
        planned = one.plan.config["method"]
        if planned != method:
            raise ValueError(
                f"{path} holds labels by {planned!r}, not by {method!r}; use a new folder."
            )
        if one.seed == seed:
            found |= dict(zip(one.names, one.stop, strict=True))
    return found


def take_passes(path: Path, other: Path) -> None:
    """Copy the passes of another store behind those of this one.

    Args:
        path: The store's folder.
        other: The other's, of the same game.

    Raises:
        ValueError: If both hold the same draws, which would count twice.
    """
    ours, theirs = ({each for f in pass_folders(p) for each in _draws(f)} for p in (path, other))
    shared = ours & theirs
    if shared:
        raise ValueError(
            f"{len(shared)} pairs are in both stores, drawn from the same seed; generate one "
            "of them with another seed=."
        )
    for folder in pass_folders(other):
        target = next_folder(path)
        shutil.copytree(folder, target.with_suffix(".tmp"), dirs_exist_ok=True)
        target.with_suffix(".tmp").rename(target)


def _draws(folder: Path) -> list[tuple[int, str, int]]:
    """Seed, example and number of every pair of a pass."""
    one: Pass = open_pass(folder)
    return [
        (one.seed, name, pair)
        for name, start, stop in zip(one.names, one.start, one.stop, strict=True)
        for pair in range(start, stop)
    ]
