"""The estimator grid: mean relative squared error of ours and of public estimators, cell by cell.

    python -m bench.estimator_grid --folder out/grid --out docs/results/estimators.md

plays ours and whatever peers this environment has, in one process; `make peers` runs it where the
newest ones are. It can be killed and called again: games and answers lie in the folder, and only
what is missing is played. `--again "ours shapley"` plays a contender anew.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

import baselines
from bench.forecast import cost_noted, foretell, read_costs
from bench.grid_games import PROBLEMS, Boxes, Counted, GridGame, Table, grid_games
from bench.grid_peers import PEERS, installed_peers, versions
from bench.grid_report import Cell, errors, report
from bench.grid_store import (
    Played,
    Stored,
    answer_path,
    games_path,
    load_answer,
    load_games,
    save_answer,
    save_games,
)

if TYPE_CHECKING:
    import pandas as pd

Floats = NDArray[np.float64]

OURS = ("shapley", "odd_gp", "leverage_shap", "kernel_shap", "permutation_shapley")
FACTORS = (5, 20, 100)
"""Coalitions per player."""

TRUTH_RUNS, TRUTH_BUDGET = 4, 60_000

Contender = Callable[[Sequence[GridGame], int], tuple[Floats, int]]
"""`play(games, budget)`: values `(b, n)` and the most evaluations of a game."""


class SideBySide:
    """Plain numpy games as one game of many explicands."""

    description = "estimator grid"

    def __init__(self, games: Sequence[GridGame]) -> None:
        self.games = list(games)
        self.n_explicands, self.n_players, self.n_outputs = len(games), games[0].n_players, 1
        self.n_evals = 0

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, 1)`."""
        self.n_evals += self.n_explicands * coalitions.shape[1]
        rows = coalitions.numpy()
        values = [game(rows[0 if len(rows) == 1 else i]) for i, game in enumerate(self.games)]
        return torch.from_numpy(np.stack(values))[..., None]


def truth(games: list[GridGame]) -> Stored:
    """Shapley values by closed form, by definition, or sampled with their variance."""
    closed = [game.shapley() for game in games if isinstance(game, Boxes | Table)]
    if closed:
        exact = np.stack(closed)
        return Stored(games, exact, np.zeros_like(exact))
    board = SideBySide(games)
    runs = []
    for run in range(TRUTH_RUNS):
        generator = torch.Generator().manual_seed(10_000 + run)
        answer = baselines.leverage_shap(board, TRUTH_BUDGET, generator=generator)
        runs.append(answer.values[..., 0].numpy())
    stack = np.stack(runs)
    return Stored(games, stack.mean(0), stack.var(0, ddof=1) / TRUTH_RUNS)


def contenders() -> dict[str, Contender]:
    """Ours, then the peers that are installed."""

    def own(name: str) -> Contender:
        def play(games: Sequence[GridGame], budget: int) -> tuple[Floats, int]:
            generator = torch.Generator().manual_seed(1)
            answer = getattr(baselines, name)(SideBySide(games), budget, generator=generator)
            return answer.values[..., 0].numpy(), answer.n_evals

        return play

    def guest(name: str) -> Contender:
        def play(games: Sequence[GridGame], budget: int) -> tuple[Floats, int]:
            values, counts = [], []
            for seed, game in enumerate(games):
                counted = Counted(game)
                values.append(peers[name](counted, game.n_players, budget, seed))
                counts.append(counted.count)
            return np.stack(values), max(counts)

        return play

    peers = installed_peers()
    return {f"ours {name}": own(name) for name in OURS} | {name: guest(name) for name in peers}


def play(folder: Path, problem: str, count: int, factor: int, name: str, run: Contender) -> None:
    """Play one cell of one contender, unless its answers are there."""
    import warnings

    path = answer_path(folder, problem, count, factor, name)
    if path.exists():
        return
    stored = load_games(games_path(folder, problem, count))
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peers warn about each other's versions
        values, n_evals = run(stored.games, factor * stored.games[0].n_players)
    seconds = (time.process_time() - start) / len(stored.games)
    save_answer(path, Played(values, n_evals, seconds, versions()))


def prepare(folder: Path, problem: str, count: int) -> None:
    """Make a problem's games and their truth, unless they are there."""
    path = games_path(folder, problem, count)
    if not path.exists():
        save_games(path, truth(grid_games(problem, count)))


def collect(folder: Path) -> tuple[dict[str, Stored], dict[Cell, dict[str, Played]]]:
    """Everything that the folder holds, of each problem the run of most games."""
    stored: dict[str, Stored] = {}
    played: dict[Cell, dict[str, Played]] = {}
    for problem in PROBLEMS:
        runs = [
            int(path.stem.rsplit("-", 1)[1])
            for path in folder.glob(f"games-{problem}-*.safetensors")
        ]
        runs = [count for count in runs if list(folder.glob(f"{problem}-{count}/*ours_shapley*"))]
        if not runs:
            continue
        count = max(runs)
        stored[problem] = load_games(games_path(folder, problem, count))
        for factor in FACTORS:
            cell = {
                name: load_answer(path)
                for name in [*(f"ours {name}" for name in OURS), *PEERS]
                if (path := answer_path(folder, problem, count, factor, name)).exists()
            }
            if "ours shapley" in cell:
                played[problem, factor] = cell
    return stored, played


def main(arguments: Sequence[str] | None = None) -> None:
    """Play what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--instances", type=int, default=50, help="games of each problem")
    parser.add_argument("--factors", nargs="+", type=int, default=FACTORS, choices=FACTORS)
    parser.add_argument("--folder", type=Path, default=Path("out/grid"), help="games and answers")
    parser.add_argument("--skip", nargs="*", default=[], help="contenders that do not play now")
    parser.add_argument("--again", nargs="*", default=[], help="contenders to play anew")
    parser.add_argument("--out", type=Path, default=Path("docs/results/estimators.md"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    players = {name: run for name, run in contenders().items() if name not in chosen.skip}
    for problem in chosen.problems:
        for name in chosen.again:
            for factor in chosen.factors:
                path = answer_path(chosen.folder, problem, chosen.instances, factor, name)
                path.unlink(missing_ok=True)
    counts = {problem: chosen.instances for problem in chosen.problems}
    play_all(chosen.folder, players, counts, chosen.factors)
    stored, played = collect(chosen.folder)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(report(stored, played, f"make peers, commit {_commit()}"))


def play_all(
    folder: Path,
    players: dict[str, Contender],
    counts: dict[str, int],
    factors: Sequence[int] = FACTORS,
) -> None:
    """Play every cell that the folder lacks.

    Args:
        folder: Where games and answers lie.
        players: Contenders by name.
        counts: Games of each problem to play.
        factors: Budgets in coalitions per player.
    """
    jobs = [
        (problem, factor, name) for problem in counts for factor in factors for name in players
    ]
    left = [
        f"{problem}/{factor}n/{name}"
        for problem, factor, name in jobs
        if not answer_path(folder, problem, counts[problem], factor, name).exists()
    ]
    said = foretell(left, len(jobs), read_costs(folder), {})
    print(f"{folder}: {said}", file=sys.stderr)
    for problem, factor, name in tqdm(jobs, desc="cells", unit="cell"):
        cell = (problem, f"{factor}n", name)
        with cost_noted(folder, cell) if "/".join(cell) in left else contextlib.nullcontext():
            prepare(folder, problem, counts[problem])
            play(folder, problem, counts[problem], factor, name, players[name])


def finish(
    folder: str | PathLike[str],
    *,
    tables: str = "",
    models: str = "",
    seeds: int | None = None,
    command: str = "",
) -> tuple["pd.DataFrame", Path]:
    """The grid as `harsanyi bench --suite estimators` calls it.

    Args:
        folder: Where games, answers, `cells.parquet` and `estimators.md` lie.
        tables: Problems by commas; all when empty.
        models: Contenders by commas; ours and the installed peers when empty.
        seeds: Games of each problem, 50 when None.
        command: What repeats the run.

    Returns:
        A row per problem, budget and contender, and the Markdown page.

    Raises:
        ValueError: If there is no such problem or contender.
    """
    import pandas as pd

    from bench.registry import listed

    known = contenders()
    chosen = {"problems": listed(tables, PROBLEMS), "contenders": listed(models, known)}
    for kind, there in (("problems", PROBLEMS), ("contenders", known)):
        unknown = [name for name in chosen[kind] if name not in there]
        if unknown:
            raise ValueError(f"{kind} {unknown} are not in the grid; it has {', '.join(there)}.")
    place, counts = Path(folder), dict.fromkeys(chosen["problems"], seeds or 50)
    players = {name: known[name] for name in ("ours shapley", *chosen["contenders"])}
    play_all(place, players, counts)
    stored, played = collect(place)
    rows = [
        {
            "problem": problem,
            "budget": factor * stored[problem].games[0].n_players,
            "contender": name,
            "mse": float(errors(answer.values, stored[problem]).mean()),
            "n_evals": answer.n_evals,
            "cpu_seconds": answer.seconds,
        }
        for (problem, factor), cell in played.items()
        for name, answer in cell.items()
    ]
    frame, page = pd.DataFrame(rows), place / "estimators.md"
    frame.to_parquet(place / "cells.parquet")
    page.write_text(report(stored, played, f"{command}, commit {_commit()}"))
    return frame, page


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
