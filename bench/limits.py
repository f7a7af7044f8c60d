"""How far estimators reach: time and peak memory of the largest games that are promised.

    python -m bench.limits

runs each case in a process of its own, so that its peak memory is its own, and prints a table.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch

import baselines
from baselines import BaselineImputer, MaskedGame
from baselines.randomness import seeded


def _wide(n: int, name: str, per_player: int) -> None:
    layers = (torch.nn.Linear(n, 64), torch.nn.ReLU(), torch.nn.Linear(64, 2))
    x = torch.randn(1, n, generator=torch.Generator().manual_seed(0))
    game = MaskedGame(torch.nn.Sequential(*layers), x, BaselineImputer(0.0))
    answer = getattr(baselines, name)(game, per_player * n)
    gap = answer.diagnostics["additivity_gap"].abs().max()
    if not float(gap) < 1e-4:
        raise RuntimeError(f"{name} of {n} players misses the total by {float(gap)}.")


def _enumerate() -> None:
    layers = (torch.nn.Linear(20, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    x = torch.randn(1, 20, generator=torch.Generator().manual_seed(0))
    baselines.exact_shapley(MaskedGame(torch.nn.Sequential(*layers), x, BaselineImputer(0.0)))


def _compress() -> None:
    X = torch.randn(10_000, 30, generator=torch.Generator().manual_seed(0))
    baselines.compress(X, 64, return_weights=True)


CASES: dict[str, Callable[[], None]] = {
    "nothing but imports": lambda: None,
    "shapley, 500 players, 20n": lambda: _wide(500, "shapley", 20),
    "shapley, 1,000 players, 5n": lambda: _wide(1000, "shapley", 5),
    "permutation_shapley, 1,000 players, 20n": lambda: _wide(1000, "permutation_shapley", 20),
    "leverage_shap, 1,000 players, 20n": lambda: _wide(1000, "leverage_shap", 20),
    "exact_shapley, 20 players, 10 outputs": _enumerate,
    "compress, 10,000 x 30 to 64, weights": _compress,
}
"""Case -> what runs; the nets are random, one explicand, baseline 0."""


def measure(case: str) -> tuple[float, float]:
    """CPU-seconds and peak MiB of one case, in this process."""
    torch.set_num_threads(1)
    start = time.process_time()
    with seeded(0):
        CASES[case]()
    seconds = time.process_time() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or one case's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES)
    chosen = parser.parse_args(arguments)
    if chosen.case:
        print(*measure(chosen.case))
        return
    print("| case | CPU-seconds | peak MiB |\n|---|---:|---:|")
    for case in CASES:
        command = [sys.executable, "-m", "bench.limits", "--case", case]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, memory = map(float, told.split())
        print(f"| {case} | {seconds:.1f} | {memory:.0f} |", flush=True)


if __name__ == "__main__":
    main()
