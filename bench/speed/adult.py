"""What fitting Adult costs: seconds and peak memory of a fresh process.

    python -m bench.speed.adult

The default recipe on the official training rows, scored on the official test rows. Seconds are of
the wall and of the processor; memory is the largest resident set of the process, imports and data
included.
"""

import json
import resource
import sys
import time

import torch

from bench.problems.tabular import load
from harsanyi import HarsanyiClassifier


def main() -> None:
    """Fit, measure, and print one line of JSON."""
    table = load("adult")
    train, test = slice(0, table.n_train), slice(table.n_train, None)
    wall, cpu = time.perf_counter(), time.process_time()
    model = HarsanyiClassifier(random_state=0, unknown="missing")
    model.fit(table.X[train], table.y[train])
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    found = {
        "rows": table.n_train,
        "threads": torch.get_num_threads(),
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "peak_gib": peak / 2**30,
        "accuracy": model.score(table.X[test], table.y[test]),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
