"""The comparison of Compress Then Explain: error of SHAP values against the size of the background.

    python -m bench.paper_cte --out docs/results/cte.md

Shapley values are linear in the background: those of every single background row are computed
once, and the values under any weighted choice of rows are then a weighted mean. So all sizes,
methods and repetitions of a table are judged on the same model calls.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines import compress, from_callable, leverage_shap
from baselines.coalitions import check_coalitions
from baselines.files import atomic_write
from bench.problems.models import coded, fit_box
from bench.problems.tabular import Table, load, split
from bench.provenance import provenance

TABLE_NAMES = (
    "california",
    "adult",
    "magic",
    "bike",
    "wine-quality",
    "tvnews-bbc",
    "thyroid",
    "nursery",
    "mushroom",
    "yeast",
)
KINDS = ("mlp", "boosted")
SIZES = (16, 32, 64, 128, 256, 512, 1024, 2048)
REPEATS = 33
"""Random backgrounds per size, as in the paper."""
POOLS = 5
"""Random three quarters of the rows, each compressed as a background of its own: one coreset is
one draw, and its error alone says little."""


class RowsGame:
    """A game for each explicand with one output for each background row.

    Args:
        model: Maps rows `(rows, n)` to `(rows,)`.
        x: Explicands `(b, n)`.
        background: `(r, n)`.
    """

    def __init__(self, model: Any, x: Tensor, background: Tensor) -> None:  # noqa: ANN401
        self.model = model
        self.x = x
        self.background = background
        self.n_evals = 0

    @property
    def n_explicands(self) -> int:
        """Number of explicands `b`."""
        return len(self.x)

    @property
    def n_players(self) -> int:
        """Number of features `n`."""
        return self.x.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of background rows, each an output."""
        return len(self.background)

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, r)` of bool coalitions `(b, m, n)` or `(1, m, n)`."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        masks = coalitions.expand(len(self.x), -1, -1)
        values = torch.empty(*masks.shape[:2], len(self.background), dtype=torch.float64)
        for i, x in enumerate(self.x):
            for j, mask in enumerate(masks[i]):
                values[i, j] = self.model(torch.where(mask, x, self.background))
        self.n_evals += values.numel()
        return values


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Errors on one table and model, each a mean absolute error of the attributions.

    Args:
        table: Name of the table.
        kind: Kind of model.
        players: Number of players.
        rows: Rows of the full background.
        iid: Error of random backgrounds by size, mean over repetitions.
        herded: Error of weighted herding by size.
        others: Error at 64 rows by method.
    """

    table: str
    kind: str
    players: int
    rows: int
    iid: dict[int, float]
    herded: dict[int, float]
    others: dict[str, float]

    @property
    def gain(self) -> float:
        """How many times smaller the error of 64 compressed rows is than of 64 random ones."""
        return self.iid[64] / self.herded[64]

    @property
    def fewer_rows(self) -> float:
        """How many times more random rows have the error of 64 compressed ones.

        Read off the measured curve, on logarithmic scales; beyond its end, the end.
        """
        sizes = np.log([float(size) for size in self.iid])
        errors = np.log([max(error, 1e-300) for error in self.iid.values()])
        target = np.log(max(self.herded[64], 1e-300))
        return float(np.exp(np.interp(-target, -errors, sizes)) / 64)


def compare(
    table: Table, kind: str, *, rows: int = 4096, explicands: int = 8, budget: int = 64
) -> Comparison:
    """Errors of random and compressed backgrounds on one table and model.

    Args:
        table: The data set.
        kind: "mlp" or "boosted".
        rows: Most rows of the full background, drawn from the training part.
        explicands: Explained test rows.
        budget: Coalitions per explicand, the same for every background.

    Returns:
        The errors.
    """
    parts = split(table, 0)
    x = _filled(coded(table), parts.train)
    model = _scalar_model(fit_box(kind, table, parts.train), table)
    rng = np.random.default_rng(0)
    pool = rng.permutation(parts.train)[:rows]
    chosen = rng.permutation(parts.test)[:explicands]
    game = RowsGame(model, x[chosen], x[pool])
    values = leverage_shap(game, budget).values  # (b, n, r), one output per background row

    points = _kernel_rows(table, x[pool])
    sizes = [size for size in SIZES if size <= len(pool) // 2]
    iid = dict.fromkeys(sizes, 0.0)
    herded = {size: 0.0 for size in sizes if size <= 256}
    others: dict[str, float] = dict.fromkeys(("herding, equal weights", "k-means rows"), 0.0)
    for _ in range(POOLS):
        some = torch.from_numpy(rng.permutation(len(pool))[: len(pool) * 3 // 4])
        judge = Judge(values[..., some], points[some], rng)
        for size in iid:
            iid[size] += judge.random(size) / POOLS
        for size in herded:
            herded[size] += judge.compressed(size, "herding") / POOLS
        others["herding, equal weights"] += judge.compressed(64, "herding", weigh=False) / POOLS
        others["k-means rows"] += judge.compressed(64, "kmeans") / POOLS
    return Comparison(table.name, kind, x.shape[1], len(pool) * 3 // 4, iid, herded, others)


@dataclasses.dataclass(frozen=True)
class Judge:
    """Errors of backgrounds against the whole of one pool.

    Args:
        values: `(b, n, r)`, the Shapley values of every background row.
        points: `(r, d)`, the rows as the kernel compares them.
        rng: Source of random backgrounds.
    """

    values: Tensor
    points: Tensor
    rng: np.random.Generator

    def random(self, size: int) -> float:
        """Mean error of random backgrounds, drawn with replacement as in the paper."""
        rows = len(self.points)
        errors = [
            self._error(torch.from_numpy(self.rng.integers(rows, size=size)), None)
            for _ in range(REPEATS)
        ]
        return float(np.mean(errors))

    def compressed(self, size: int, method: Any, *, weigh: bool = True) -> float:  # noqa: ANN401
        """Error of a compressed background."""
        index, weights = compress(self.points, size, method=method, return_weights=True)
        return self._error(index, weights if weigh else None)

    def _error(self, index: Tensor, weights: Tensor | None) -> float:
        kept = self.values[..., index]
        mean = kept.mean(-1) if weights is None else kept @ weights
        return float((mean - self.values.mean(-1)).abs().mean())


def resumed(
    folder: Path, names: Sequence[str], *, settings: dict[str, int] | None = None
) -> tuple[list[Comparison], float]:
    """Comparisons of every table and model, those in the folder not made again.

    Args:
        folder: Holds one JSON file for each.
        names: Tables.
        settings: Keyword arguments of `compare`.

    Returns:
        The comparisons in order, and the seconds that making them took.
    """
    from tqdm import tqdm

    found, seconds = [], 0.0
    words = settings or {}
    pairs = [(name, kind) for name in names for kind in KINDS]
    for name, kind in tqdm(pairs, desc="comparisons"):
        ending = "".join(f"-{key}{value}" for key, value in sorted(words.items()))
        path = folder / f"{name}-{kind}{ending}.json"
        if path.is_file():
            said: dict[str, Any] = json.loads(path.read_text())
        else:
            start = time.perf_counter()
            made = compare(load(name), kind, **words)
            said = dataclasses.asdict(made) | {"seconds": time.perf_counter() - start}
            atomic_write(path, json.dumps(said).encode())
        seconds += said.pop("seconds")
        for by_size in ("iid", "herded"):
            said[by_size] = {int(size): error for size, error in said[by_size].items()}
        found.append(Comparison(**said))
    return found, seconds


def write_report(comparisons: Sequence[Comparison], seconds: float, command: str) -> str:
    """The comparison as Markdown.

    Args:
        comparisons: One for each table and model.
        seconds: Wall-clock time of the run.
        command: How to run it again.

    Returns:
        The text of `docs/results/cte.md`.
    """
    facts = provenance()
    lines = [
        "# Compress then explain: how many background rows a SHAP value needs",
        "",
        "Mean absolute error of marginal SHAP values against those of the full background (up to",
        f"3,072 training rows, {POOLS} draws of them), 8 explicands, the same coalitions for every",
        f"background. Random backgrounds: mean of {REPEATS} draws with replacement. Compressed:",
        "kernel herding with one sweep of swaps and simplex weights. *gain* is the error of 64",
        "random rows over that of 64 compressed ones; *rows* is how many times more random rows",
        "have the error of 64 compressed ones, at most the largest background tried (2,048 rows",
        "are 32 times 64).",
        "",
        "| table | n | model | i.i.d. 16 | 32 | 64 | 128 | 256 | herded 16 | 32 | 64 | 128 | gain "
        + "at 64 | rows |",
        "|---|---|---|" + "---|" * 11,
    ]
    for c in comparisons:
        cells = [_number(c.iid.get(size)) for size in (16, 32, 64, 128, 256)]
        cells += [_number(c.herded.get(size)) for size in (16, 32, 64, 128)]
        lines.append(
            f"| {c.table} | {c.players} | {c.kind} | " + " | ".join(cells) + f" | {c.gain:.1f} | "
            f"{c.fewer_rows:.1f} |"
        )
    lines += [
        "",
        "| model | median gain | least gain | median rows | tables |",
        "|---|---|---|---|---|",
    ]
    for kind in KINDS:
        own = [c for c in comparisons if c.kind == kind]
        gains, fewer = [c.gain for c in own], [c.fewer_rows for c in own]
        lines.append(
            f"| {kind} | {np.median(gains):.1f} | {min(gains):.1f} | {np.median(fewer):.1f} | "
            f"{len(own)} |"
        )
    lines += [
        "",
        f"Over both: median {np.median([c.fewer_rows for c in comparisons]):.1f} times fewer rows.",
        "",
        "Other methods at 64 rows, as gain over 64 random rows:",
        "",
        "| table | model | herding, weights | herding, equal weights | k-means rows |",
        "|---|---|---|---|---|",
    ]
    for c in comparisons:
        gains = [c.gain] + [c.iid[64] / error for error in c.others.values()]
        lines.append(f"| {c.table} | {c.kind} | " + " | ".join(f"{g:.1f}" for g in gains) + " |")
    lines += [
        "",
        f"`{command}`, commit {facts['commit']}, {facts['date']}, {facts['hardware']}, "
        + f"{seconds:.0f} s.",
        "",
    ]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _filled(x: np.ndarray, train: np.ndarray) -> Tensor:
    """Missing numbers become training medians, since a kernel needs a place for every row."""
    middle = np.nan_to_num(np.nanmedian(x[train], axis=0))
    return torch.from_numpy(np.where(np.isnan(x), middle, x))


def _kernel_rows(table: Table, rows: Tensor) -> Tensor:
    """Rows as the kernel compares them: categories one-hot, since their codes have no order."""
    columns = []
    for i, name in enumerate(table.X.columns):
        if name in table.categorical:
            codes = rows[:, i].long().unique(return_inverse=True)[1]
            columns.append(torch.nn.functional.one_hot(codes).to(rows))
        else:
            columns.append(rows[:, i : i + 1])
    return torch.cat(columns, 1)


def _scalar_model(box: Any, table: Table) -> Any:  # noqa: ANN401 - a fitted pipeline
    """One number per row: the prediction, log-odds of two classes, or the commonest's log p."""
    if table.task == "regression":
        plain = from_callable(box)
        return lambda rows: plain(rows)[:, 0]
    logits = from_callable(box, output="logit")
    commonest = int(np.unique(table.y, return_counts=True)[1].argmax())

    def model(rows: Tensor) -> Tensor:
        values = logits(rows)
        if values.shape[1] == 1:
            return values[:, 0]
        return values[:, 1] - values[:, 0] if values.shape[1] == 2 else values[:, commonest]

    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the comparison and write its report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", nargs="+", default=list(TABLE_NAMES), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("docs/results/cte.md"))
    options = parser.parse_args(arguments)
    cells = options.out.with_suffix("")
    cells.mkdir(parents=True, exist_ok=True)
    comparisons, seconds = resumed(cells, options.tables)
    command = f"python -m bench.paper_cte --out {options.out.as_posix()}"
    options.out.write_text(write_report(comparisons, seconds, command))


if __name__ == "__main__":
    main()
