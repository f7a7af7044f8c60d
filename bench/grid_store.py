"""Where the estimator grid keeps its games, its truth and each contender's answers.

One file a problem and one an answer, so that a run that was killed goes on where it stopped, and
an estimator that changed is played again by deleting its files.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from baselines.files import atomic_write
from bench.grid_games import Boxes, GridGame, Net, Table

Floats = NDArray[np.float64]
Array = NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Stored:
    """The games of a problem and what their Shapley values are.

    Args:
        games: `b` games of `n` players.
        exact: Shapley values `(b, n)`.
        variance: `(b, n)`, of what is known of them; 0 where they are exact.
    """

    games: list[GridGame]
    exact: Floats
    variance: Floats


@dataclasses.dataclass(frozen=True)
class Played:
    """A contender's answers in one cell.

    Args:
        values: `(b, n)`.
        n_evals: Most coalitions that a game was asked for.
        seconds: CPU-seconds per game, the game's own included.
        versions: Of the packages that played.
    """

    values: Floats
    n_evals: int
    seconds: float
    versions: dict[str, str]


def games_path(folder: Path, problem: str, count: int) -> Path:
    """Where the games of a problem lie."""
    return folder / f"games-{problem}-{count}.safetensors"


def answer_path(folder: Path, problem: str, count: int, factor: int, contender: str) -> Path:
    """Where a contender's answers to a cell lie."""
    return folder / f"{problem}-{count}" / f"{factor}n-{contender.replace(' ', '_')}.safetensors"


def save_games(path: Path, stored: Stored) -> None:
    """Write games as arrays."""
    arrays: dict[str, Array] = {"exact": stored.exact, "variance": stored.variance}
    kinds: list[dict[str, Any]] = []
    for i, game in enumerate(stored.games):
        if isinstance(game, Boxes):
            kinds.append({"kind": "boxes"})
            fields = {"inside": game.inside, "outside": game.outside, "values": game.values}
        elif isinstance(game, Table):
            kinds.append({"kind": "table"})
            fields = {"values": game.values}
        else:
            kinds.append({"kind": "net", "layers": len(game.weights)})
            fields = {"x": game.x, "baseline": game.baseline, "readout": game.readout}
            fields |= {f"weight{j}": part for j, part in enumerate(game.weights)}
            fields |= {f"bias{j}": part for j, part in enumerate(game.biases)}
        arrays |= {f"{i}/{field}": value for field, value in fields.items()}
    _write(path, arrays, kinds)


def load_games(path: Path) -> Stored:
    """Read what `save_games` wrote."""
    arrays, kinds = _read(path)
    games = [_game(arrays, i, facts) for i, facts in enumerate(kinds)]
    return Stored(games, arrays["exact"], arrays["variance"])


def _game(arrays: dict[str, Array], i: int, facts: dict[str, Any]) -> GridGame:
    def part(field: str) -> Array:
        return arrays[f"{i}/{field}"]

    if facts["kind"] == "boxes":
        return Boxes(part("inside"), part("outside"), part("values"))
    if facts["kind"] == "table":
        return Table(part("values"))
    layers = range(facts["layers"])
    weights, biases = [part(f"weight{j}") for j in layers], [part(f"bias{j}") for j in layers]
    return Net(weights, biases, part("x"), part("baseline"), part("readout"))


def save_answer(path: Path, played: Played) -> None:
    """Write one cell of a contender."""
    facts = {"n_evals": played.n_evals, "seconds": played.seconds, "versions": played.versions}
    _write(path, {"values": played.values}, facts)


def load_answer(path: Path) -> Played:
    """Read what `save_answer` wrote."""
    arrays, facts = _read(path)
    return Played(arrays["values"], facts["n_evals"], facts["seconds"], facts["versions"])


def _write(path: Path, arrays: dict[str, Array], facts: Any) -> None:  # noqa: ANN401 - plain JSON
    # safetensors takes the buffer as it lies, so a view must become rows in order first
    ordered = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    atomic_write(path, save(ordered, {"facts": json.dumps(facts)}))


def _read(path: Path) -> tuple[dict[str, Array], Any]:
    """Arrays by name, and the facts beside them."""
    with safe_open(path, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return arrays, json.loads(file.metadata()["facts"])
