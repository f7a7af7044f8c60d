"""The page of the estimator grid: errors, verdicts with intervals, costs; lost cells too."""

import platform
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.grid_games import PROBLEMS
from bench.grid_store import Played, Stored

Floats = NDArray[np.float64]
Cell = tuple[str, int]
OWN = "ours shapley"


def errors(values: Floats, stored: Stored) -> Floats:
    """Relative squared error of each game `(b,)`, the truth's own variance taken off."""
    squares = (values - stored.exact) ** 2 - stored.variance
    return squares.sum(-1) / (stored.exact**2).sum(-1)


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


def against_best(cell: Mapping[str, Floats]) -> tuple[Floats, Floats, str] | None:
    """Ours and the best peer's errors on games that did not choose it: two halves, each way.

    Args:
        cell: Errors `(b,)` by contender.

    Returns:
        Ours, theirs, and the names of the peers chosen; None where no peer played.
    """
    rivals = {name: found for name, found in cell.items() if not name.startswith("ours")}
    if not rivals:
        return None
    half = np.arange(len(cell[OWN])) % 2 == 0
    own, other, names = [], [], []
    for chosen_on in (half, ~half):
        winner = min(rivals, key=lambda name: rivals[name][chosen_on].mean())
        own.append(cell[OWN][~chosen_on])
        other.append(rivals[winner][~chosen_on])
        names.append(winner)
    return np.concatenate(own), np.concatenate(other), " or ".join(dict.fromkeys(names))


def verdicts(cells: Mapping[Cell, Mapping[str, Floats]]) -> list[str]:
    """How `shapley` compares with each peer, and with the best peer of each cell."""
    peers = sorted({n for cell in cells.values() for n in cell if not n.startswith("ours")})
    lines = ["| against | cells | geometric mean of error ratios | 95 % | target |"]
    lines.append("|---|---|---|---|---|")
    for peer in peers:
        shared = [cell for cell in cells.values() if peer in cell]
        lines.append(_verdict(peer, [(c[OWN], c[peer]) for c in shared], 0.60))
    pairs, lost = [], []
    for (problem, factor), cell in cells.items():
        found = against_best(cell)
        if found is None:
            continue
        own, other, winner = found
        pairs.append((own, other))
        if own.mean() > other.mean():
            ratio = f"{own.mean() / other.mean():.2f}"
            lost.append(f"{problem} {factor}n to {winner} ({ratio})")
    if pairs:
        lines.append(_verdict("the best peer of each cell", pairs, 0.80))
        lines += ["", "Lost cells: " + ("; ".join(lost) if lost else "none") + "."]
    return lines


def _verdict(name: str, pairs: Sequence[tuple[Floats, Floats]], target: float) -> str:
    ratio = geometric([own.mean() / other.mean() for own, other in pairs])
    low, high = interval([own for own, _ in pairs], [other for _, other in pairs])
    return f"| {name} | {len(pairs)} | {ratio:.2f} | {low:.2f} to {high:.2f} | {target:.2f} |"


def _order(name: str) -> tuple[bool, str]:
    return not name.startswith("ours"), name


def table(cells: Mapping[Cell, Mapping[str, Floats]], problem: str) -> list[str]:
    """The error of every estimator in the cells of a problem, the best in bold."""
    mine = {factor: cell for (name, factor), cell in cells.items() if name == problem}
    names = sorted({name for cell in mine.values() for name in cell}, key=_order)
    lines = [f"| {problem} | " + " | ".join(f"{factor}n" for factor in mine) + " |"]
    lines.append("|" + "---|" * (len(mine) + 1))
    for name in names:
        row = []
        for cell in mine.values():
            if name not in cell:
                row.append("-")
                continue
            best = min(part.mean() for part in cell.values())
            mean = cell[name].mean()
            row.append(f"**{mean:.2e}**" if mean == best else f"{mean:.2e}")
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return lines


def costs(played: Mapping[Cell, Mapping[str, Played]]) -> list[str]:
    """CPU-milliseconds per game of every estimator in every cell."""
    names = sorted({name for cell in played.values() for name in cell}, key=_order)
    lines = ["| estimator | " + " | ".join(f"{p} {f}n" for p, f in played) + " |"]
    lines.append("|" + "---|" * (len(played) + 1))
    for name in names:
        row = [
            f"{1000 * cell[name].seconds:.3g}" if name in cell else "-" for cell in played.values()
        ]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    return lines


def report(
    stored: Mapping[str, Stored], played: Mapping[Cell, Mapping[str, Played]], command: str
) -> str:
    """The page.

    Args:
        stored: Games and truth by problem.
        played: Answers by cell and contender.
        command: What was called, and at which commit.
    """
    cells = {
        (problem, factor): {
            name: errors(answer.values, stored[problem]) for name, answer in cell.items()
        }
        for (problem, factor), cell in played.items()
    }
    told = {
        f"{package} {number}"
        for cell in played.values()
        for answer in cell.values()
        for package, number in answer.versions.items()
    }
    missing = [name for name in PROBLEMS if name not in stored]
    lines = [
        "# Estimators of Shapley values at a fixed number of evaluations",
        "",
        f"`{command}`. Figures are mean relative squared errors",
        "||estimate - truth||^2 / ||truth||^2, less the truth's own variance where it is sampled;",
        "the best of each column is bold. Budgets are coalitions per player, n players. Ours plays",
        "all games of a problem in one batch, peers one game at a time.",
        "",
        "Games:",
        *(f"- {name}: {len(stored[name].games)} of {PROBLEMS[name]}" for name in stored),
        *([f"Not played: {', '.join(missing)}."] if missing else []),
        "",
        f"Versions: {', '.join(sorted(told))}; {platform.machine()}, one thread.",
        "",
        "## `shapley` against each peer",
        "",
        "Ratios of mean errors, geometric mean over the cells that the peer played; intervals by",
        "bootstrap over games. The best peer of a cell is chosen on half of its games and judged",
        "on the other half, both ways.",
        "",
        *verdicts(cells),
        "",
        "## Error, cell by cell",
        "",
    ]
    for problem in stored:
        lines += [*table(cells, problem), ""]
    lines += [
        "## CPU-milliseconds per game, the game's own included",
        "",
        "On a shared machine; they rank nothing finer than a factor of two.",
        "",
        *costs(played),
    ]
    return "\n".join(lines) + "\n"
