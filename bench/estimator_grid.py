"""The estimator grid: mean relative squared error of ours and of public estimators, cell by cell.

    python -m bench.estimator_grid --peers path/to/python --out docs/results/estimators.md

The peers play in the environment of `--peers` (the newest shap and shapiq need Python 3.12), on
the same games saved to a file; truth is closed form, or sampled with its variance subtracted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import baselines
from bench.grid_games import PROBLEMS, Boxes, Net, grid_games
from bench.grid_peers import FACTORS, SHORT, load_games, save_games

Floats = NDArray[np.float64]
Cell = tuple[str, int]

OURS = ("shapley", "odd_gp", "leverage_shap", "kernel_shap", "permutation_shapley")
TRUTH_RUNS, TRUTH_BUDGET = 4, 60_000


class SideBySide:
    """Plain numpy games as one game of many explicands."""

    description = "estimator grid"

    def __init__(self, games: Sequence[Boxes | Net]) -> None:
        self.games = list(games)
        self.n_explicands, self.n_players, self.n_outputs = len(games), games[0].n_players, 1
        self.n_evals = 0

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, 1)`."""
        self.n_evals += self.n_explicands * coalitions.shape[1]
        rows = coalitions.numpy()
        values = [game(rows[0 if len(rows) == 1 else i]) for i, game in enumerate(self.games)]
        return torch.from_numpy(np.stack(values))[..., None]


def truth(games: Sequence[Boxes | Net]) -> tuple[Floats, Floats]:
    """Shapley values `(b, n)` and the variance of what is known of them."""
    if isinstance(games[0], Boxes):
        exact = np.stack([game.shapley() for game in games if isinstance(game, Boxes)])
        return exact, np.zeros_like(exact)
    board = SideBySide(games)
    runs = []
    for run in range(TRUTH_RUNS):
        generator = torch.Generator().manual_seed(10_000 + run)
        answer = baselines.leverage_shap(board, TRUTH_BUDGET, generator=generator)
        runs.append(answer.values[..., 0].numpy())
    stack = np.stack(runs)
    return stack.mean(0), stack.var(0, ddof=1) / TRUTH_RUNS


def errors(values: Floats, exact: Floats, variance: Floats) -> Floats:
    """Relative squared error of each game `(b,)`, the truth's own variance taken off."""
    return ((values - exact) ** 2 - variance).sum(-1) / (exact**2).sum(-1)


def play_ours(problem: str, games: Sequence[Boxes | Net]) -> dict[tuple[int, str], tuple]:
    """Values, evaluations and seconds of our estimators."""
    found = {}
    board = SideBySide(games)
    for factor in SHORT.get(problem, FACTORS):
        for name in OURS:
            generator = torch.Generator().manual_seed(1)
            start = time.perf_counter()
            answer = getattr(baselines, name)(board, factor * board.n_players, generator=generator)
            took = time.perf_counter() - start
            found[factor, f"ours {name}"] = (answer.values[..., 0].numpy(), answer.n_evals, took)
    return found


def geometric(ratios: Sequence[float]) -> float:
    """Geometric mean."""
    return float(np.exp(np.mean(np.log(ratios))))


def interval(ours: list[Floats], theirs: list[Floats], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval, over games, of the geometric mean of ratios of mean errors."""
    draw = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        ratios = []
        for own, other in zip(ours, theirs, strict=True):
            pick = draw.integers(0, len(own), len(own))
            ratios.append(max(own[pick].mean(), 1e-12) / max(other[pick].mean(), 1e-12))
        found.append(geometric(ratios))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def table(cells: dict[Cell, dict[str, Floats]]) -> list[str]:
    """The error of every estimator in every cell, lost cells marked."""
    names = sorted({name for cell in cells.values() for name in cell}, key=_order)
    lines = ["| estimator | " + " | ".join(f"{p} {f}n" for p, f in cells) + " |"]
    lines.append("|" + "---|" * (len(cells) + 1))
    for name in names:
        row = []
        for cell in cells.values():
            if name not in cell:
                row.append("-")
                continue
            best = min(part.mean() for part in cell.values())
            mean = cell[name].mean()
            row.append(f"**{mean:.2e}**" if mean == best else f"{mean:.2e}")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return lines


def _order(name: str) -> tuple[bool, str]:
    return not name.startswith("ours"), name


def verdicts(cells: dict[Cell, dict[str, Floats]]) -> list[str]:
    """How `shapley` compares with each peer, and with the best peer of each cell."""
    peers = sorted({n for cell in cells.values() for n in cell if not n.startswith("ours")})
    lines = ["| against | cells | geometric mean of error ratios | 95 % | target |"]
    lines.append("|---|---|---|---|---|")
    for peer in peers:
        shared = [cell for cell in cells.values() if peer in cell]
        own, other = [c["ours shapley"] for c in shared], [c[peer] for c in shared]
        ratio = geometric([a.mean() / b.mean() for a, b in zip(own, other, strict=True)])
        low, high = interval(own, other)
        lines.append(f"| {peer} | {len(shared)} | {ratio:.2f} | {low:.2f} to {high:.2f} | 0.60 |")
    own, best, lost = [], [], []
    for (problem, factor), cell in cells.items():
        half = len(cell["ours shapley"]) // 2  # the best peer is chosen on the other half
        rivals = {n: v for n, v in cell.items() if not n.startswith("ours")}
        if not rivals:
            continue
        winner = min(rivals, key=lambda n: rivals[n][:half].mean())
        own.append(cell["ours shapley"][half:])
        best.append(rivals[winner][half:])
        ratio = own[-1].mean() / best[-1].mean()
        if ratio > 1:
            lost.append(f"{problem} {factor}n to {winner} ({ratio:.2f})")
    if own:
        ratio = geometric([a.mean() / b.mean() for a, b in zip(own, best, strict=True)])
        low, high = interval(own, best)
        lines.append(
            f"| the best peer of each cell | {len(own)} | {ratio:.2f} | {low:.2f} to {high:.2f} "
            "| 0.80 |"
        )
        lines += ["", "Lost cells: " + ("; ".join(lost) if lost else "none") + "."]
    return lines


def collect(
    games: dict[str, list[Boxes | Net]], answers: dict[str, Floats]
) -> tuple[dict[Cell, dict[str, Floats]], dict[Cell, dict[str, str]]]:
    """Errors and costs of everybody, by problem and budget."""
    cells: dict[Cell, dict[str, Floats]] = {}
    costs: dict[Cell, dict[str, str]] = {}
    for problem, members in games.items():
        exact, variance = truth(members)
        for (factor, name), (values, evals, took) in play_ours(problem, members).items():
            cells.setdefault((problem, factor), {})[name] = errors(values, exact, variance)
            cost = f"{evals}, {1000 * took / len(members):.1f} ms"
            costs.setdefault((problem, factor), {})[name] = cost
        for tag, values in answers.items():
            parts = tag.split("/")
            if parts[0] != problem or parts[-1] != "values":
                continue
            factor, peer = int(parts[1]), parts[2]
            each = errors(values, exact, variance).mean(0)  # mean over seeds
            cells[problem, factor][peer] = each
            stem = tag.removesuffix("/values")
            took = float(answers[f"{stem}/seconds"]) / values.shape[0] / values.shape[1]
            evals = int(answers[f"{stem}/evals"].max())
            costs[problem, factor][peer] = f"{evals}, {1000 * took:.1f} ms"
        print(problem, "done", flush=True)
    return cells, costs


def main(arguments: Sequence[str] | None = None) -> None:
    """Play and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--instances", type=int, default=50, help="games of each problem")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each peer on each game")
    parser.add_argument("--peers", help="python of an environment with shap and shapiq")
    parser.add_argument("--played", nargs="*", default=[], help="GAMES.npz ANSWERS.npz ... pairs")
    parser.add_argument("--out", type=Path, default=Path("docs/results/estimators.md"))
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    games: dict[str, list[Boxes | Net]] = {}
    answers: dict[str, Floats] = {}
    versions: dict[str, str] = {}
    pairs = list(zip(chosen.played[0::2], chosen.played[1::2], strict=True))
    with tempfile.TemporaryDirectory() as folder:
        if not pairs:
            made = {name: grid_games(name, chosen.instances) for name in chosen.problems}
            saved, answered = Path(folder) / "games.npz", Path(folder) / "answers.npz"
            save_games(saved, made, chosen.seeds)
            if chosen.peers:
                command = [chosen.peers, "-m", "bench.grid_peers", str(saved), str(answered)]
                subprocess.run(command, check=True)
            pairs = [(saved, answered)]
        for saved, answered in pairs:
            games |= load_games(Path(saved))[0]
            if Path(answered).exists():
                with np.load(answered, allow_pickle=False) as file:
                    versions |= json.loads(str(file["versions"]))
                    answers |= {name: file[name] for name in file.files if name != "versions"}
    cells, costs = collect(games, answers)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(report(cells, costs, games, versions))


def report(
    cells: dict[Cell, dict[str, Floats]],
    costs: dict[Cell, dict[str, str]],
    games: dict[str, list[Boxes | Net]],
    versions: dict[str, str],
) -> str:
    """The page."""
    counts = ", ".join(f"{name} {len(members)}" for name, members in games.items())
    told = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    lines = [
        "# Estimators of Shapley values at a fixed number of evaluations",
        "",
        "`python -m bench.estimator_grid --peers PYTHON` wrote this page. Figures are mean relative",
        "squared errors ||estimate - truth||^2 / ||truth||^2, less the truth's own variance; the",
        "best of each column is bold. Budgets are coalitions per player, n players.",
        "",
        f"Games: {counts}. Ours: torch {torch.__version__}, Python {sys.version.split()[0]}; all",
        "games of a problem in one batch. Peers, one game at a time: "
        + (told or "not played")
        + ".",
        "",
        "## Error",
        "",
        *table(cells),
        "",
        "## `shapley` against each peer",
        "",
        *verdicts(cells),
        "",
        "## Evaluations per game, and time per game on one thread of a shared machine",
        "",
        "Seconds include the game itself; they rank nothing finer than a factor of two.",
        "",
    ]
    names = sorted({name for cell in costs.values() for name in cell}, key=_order)
    lines.append("| estimator | " + " | ".join(f"{p} {f}n" for p, f in costs) + " |")
    lines.append("|" + "---|" * (len(costs) + 1))
    for name in names:
        row = " | ".join(cell.get(name, "-") for cell in costs.values())
        lines.append(f"| {name} | {row} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
