"""The peers' side of the estimator grid: shap and shapiq on saved games, without torch.

    python -m bench.grid_peers GAMES.npz ANSWERS.npz

runs in whatever environment has the newest peers; `bench.estimator_grid` calls it.
"""

import importlib
import importlib.metadata
import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.grid_games import Boxes, Counted, Net

Answer = NDArray[np.float64]


def save_games(path: Path, games: dict[str, list[Boxes | Net]], seeds: int) -> None:
    """Write games as arrays; no pickle."""
    arrays: dict[str, Any] = {}
    shapes: dict[str, Any] = {"seeds": seeds, "games": {}}
    for name, members in games.items():
        shapes["games"][name] = []
        for i, game in enumerate(members):
            tag = f"{name}/{i}"
            if isinstance(game, Boxes):
                fields = {"inside": game.inside, "outside": game.outside, "values": game.values}
                shapes["games"][name].append({"kind": "boxes"})
            else:
                fields = {"x": game.x, "baseline": game.baseline, "readout": game.readout}
                fields |= {f"weight{j}": part for j, part in enumerate(game.weights)}
                fields |= {f"bias{j}": part for j, part in enumerate(game.biases)}
                shapes["games"][name].append({"kind": "net", "layers": len(game.weights)})
            arrays |= {f"{tag}/{field}": value for field, value in fields.items()}
    np.savez_compressed(path, plan=np.array(json.dumps(shapes)), **arrays)


def load_games(path: Path) -> tuple[dict[str, list[Boxes | Net]], int]:
    """Read what `save_games` wrote."""
    with np.load(path, allow_pickle=False) as file:
        plan = json.loads(str(file["plan"]))
        games: dict[str, list[Boxes | Net]] = {}
        for name, members in plan["games"].items():
            games[name] = []
            for i, facts in enumerate(members):
                tag = f"{name}/{i}"
                if facts["kind"] == "boxes":
                    fields = (file[f"{tag}/{f}"] for f in ("inside", "outside", "values"))
                    games[name].append(Boxes(*fields))
                else:
                    layers = range(facts["layers"])
                    games[name].append(
                        Net(
                            [file[f"{tag}/weight{j}"] for j in layers],
                            [file[f"{tag}/bias{j}"] for j in layers],
                            file[f"{tag}/x"],
                            file[f"{tag}/baseline"],
                            file[f"{tag}/readout"],
                        )
                    )
    return games, plan["seeds"]


def _shapiq(name: str, **options: Any) -> Callable[[Counted, int, int, int], Answer]:  # noqa: ANN401
    def run(game: Counted, n: int, budget: int, seed: int) -> Answer:
        kind = getattr(importlib.import_module("shapiq.approximator"), name)
        found = kind(n=n, random_state=seed, **options).approximate(budget, game)
        return np.asarray(found.get_n_order_values(1), dtype=np.float64)

    return run


def _shap_kernel(game: Counted, n: int, budget: int, seed: int) -> Answer:
    shap: Any = importlib.import_module("shap")
    np.random.seed(seed)  # shap reads the global generator
    explainer = shap.KernelExplainer(lambda z: game(z > 0.5), np.zeros((1, n)))
    return explainer.shap_values(np.ones((1, n)), nsamples=budget - 2, l1_reg=False, silent=True)[
        0
    ]


def _shap_permutation(game: Counted, n: int, budget: int, seed: int) -> Answer:
    shap: Any = importlib.import_module("shap")
    rounds = max(1, budget // (2 * n + 1))
    masker = shap.maskers.Independent(np.zeros((1, n)))
    explainer = shap.PermutationExplainer(lambda z: game(z > 0.5), masker, seed=seed)
    return explainer(np.ones((1, n)), max_evals=rounds * (2 * n + 1), silent=True).values[0]


PEERS: dict[str, Callable[[Counted, int, int, int], Answer]] = {
    "shap KernelExplainer": _shap_kernel,
    "shap PermutationExplainer": _shap_permutation,
    "shapiq KernelSHAP paired": _shapiq("KernelSHAP", pairing_trick=True),
    "shapiq LeverageSHAP": _shapiq("LeverageSHAP"),
    "shapiq OddSHAP": _shapiq("OddSHAP"),
    "shapiq RegressionMSR": _shapiq("RegressionMSR", index="SV"),
    "shapiq PermutationSamplingSV": _shapiq("PermutationSamplingSV"),
}
"""shapiq's SVARM is left out: 70 times the error of least squares, and minutes a game."""

FACTORS = (5, 20, 100)
"""Coalitions per player."""

SHORT = {"wide200": (5, 20)}
"""Problems with fewer budgets, where 100 per player would take the peers hours."""


def play(
    games: dict[str, list[Boxes | Net]], seeds: int, keep: Callable[[dict[str, Any]], None]
) -> None:
    """All peers on all games: answers, evaluations and seconds, kept after each budget."""
    arrays: dict[str, Any] = {}
    for problem, members in games.items():
        n = members[0].n_players
        for factor in SHORT.get(problem, FACTORS):
            for peer, run in PEERS.items():
                answers, counts, start = [], [], time.perf_counter()
                for seed in range(seeds):
                    for i, game in enumerate(members):
                        counted = Counted(game)
                        answers.append(run(counted, n, factor * n, 1000 * seed + i))
                        counts.append(counted.count)
                tag = f"{problem}/{factor}/{peer}"
                arrays[f"{tag}/values"] = np.array(answers).reshape(seeds, len(members), n)
                arrays[f"{tag}/evals"] = np.array(counts)
                arrays[f"{tag}/seconds"] = np.array(time.perf_counter() - start)
                print(tag, f"{time.perf_counter() - start:.1f} s", flush=True)
            keep(arrays)


def main() -> None:
    """Read games, play, write answers with the versions that gave them."""
    warnings.filterwarnings("ignore")  # peers warn about each other's versions
    games, seeds = load_games(Path(sys.argv[1]))
    packages = ("shap", "shapiq", "lightgbm", "xgboost", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    versions["python"] = sys.version.split()[0]

    def keep(arrays: dict[str, Any]) -> None:
        np.savez_compressed(sys.argv[2], versions=np.array(json.dumps(versions)), **arrays)

    play(games, seeds, keep)


if __name__ == "__main__":
    main()
