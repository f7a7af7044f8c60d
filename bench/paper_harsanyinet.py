"""The tables of HarsanyiNet (Chen et al., 2023): published figures beside ours on the data at hand.

    harsanyi paper harsanyinet --out runs/harsanyinet          # small budgets, minutes
    harsanyi paper harsanyinet --out runs/harsanyinet --full   # all rows, the paper's epochs

One cell is one data set and one study, and one shard of a resumable job. The games of at most 12
players are tabulated once, so that thousands of runs of a sampler cost no model call.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.cells import Grid
from bench.problems.models import coded
from bench.problems.tabular import Table, load, split

if TYPE_CHECKING:
    import pandas as pd

    from baselines.shards import Plan

Floats = NDArray[np.float64]

RUNS = (1, 10, 100, 1000, 5000)
"""Inferences that a sampler is given on one explicand, beside the two ends of the game."""

SAMPLERS = ("sampling", "antithetic", "kernel", "kernel-paired")
DATA = ("census", "yeast", "tv-news")
STUDIES = ("accuracy", "runs", "one-forward", "training", "fgsm")
KINDS = ("chen2023", "ours")

MEASURES = (
    *(f"score_{kind}" for kind in KINDS),
    *(f"rmse_{kind}" for kind in KINDS),
    *(f"runs_{sampler}_{runs}" for sampler in SAMPLERS for runs in RUNS),
    *("rmse_deepshap", "rmse_fastshap", "value_size"),
    *("epoch_seconds_net", "epoch_seconds_mlp"),
    *(f"{what}_{kind}" for what in ("clean", "attacked", "moved") for kind in ("net", "mlp")),
)
"""What cells measure. `rmse_*` are ||phi - phi*|| / sqrt(n), mean over rows and outputs."""

PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "census": {
        "score": 0.8457,
        "rmse": 2.18e-8,
        "shallow_score": 0.8414,
        "shallow_rmse": 5.12e-7,
        "deep_score": 0.8472,
        "deep_rmse": 0.412,
        "deepshap": 0.701,
        "fastshap": 0.270,
        "epoch_ratio": 5.0 / 1.9,
    },
    "yeast": {
        "score": 0.5991,
        "rmse": 3.36e-8,
        "shallow_score": 0.5717,
        "shallow_rmse": 1.97e-7,
        "deep_score": 0.5970,
        "deep_rmse": 0.127,
        "deepshap": 1.311,
        "fastshap": 0.467,
    },
    "tv-news": {
        "score": 0.8220,
        "rmse": 5.69e-8,
        "shallow_score": 0.7972,
        "shallow_rmse": 2.47e-7,
        "deep_score": 0.8246,
        "deep_rmse": 0.239,
        "deepshap": 0.758,
        "fastshap": 0.526,
    },
}
"""Figures of tables 1, 2 and 5 of the paper (ShapNets as it quotes them)."""


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much a run spends.

    Args:
        rows: Most rows of a table; None for all.
        epochs: Passes of every network over them.
        explained: Test rows whose values are compared.
        bags: Of our own model; None takes its default.
    """

    rows: int | None = 1_500
    epochs: int = 15
    explained: int = 16
    bags: int | None = 1


FULL = Budget(None, 100, 100, None)


def paper_table(name: str, rows: int | None) -> Table:
    """One of the paper's tables in its own columns, categories as codes, as the authors have them.

    Args:
        name: One of `DATA`; census is Adult without `fnlwgt` and `education`, TV news is the BBC
            channel with the ten columns that the authors use.
        rows: Most rows, drawn once and for all.

    Raises:
        ValueError: If there is no such table.
        FileNotFoundError: If the data folder lacks its file.
    """
    import pandas as pd

    if name not in DATA:
        raise ValueError(f"data {name!r} is not of the paper; it has {', '.join(DATA)}.")
    if name == "census":
        table = load("adult")
        X = table.X.drop(columns=["fnlwgt", "education"])
    elif name == "yeast":
        table = load("yeast")
        X = table.X
    else:
        table = load("tvnews-bbc")
        kept = ["Shot_Length", *(c for c in table.X.columns if c.endswith("_Mean"))]
        X = table.X[kept]
    X = pd.DataFrame(coded(dataclasses.replace(table, X=X)), columns=list(map(str, X.columns)))
    if rows is None or rows >= len(table.y):
        return dataclasses.replace(table, name=name, X=X)
    chosen = np.sort(np.random.default_rng(0).permutation(len(table.y))[:rows])
    _, codes = np.unique(table.y[chosen], return_inverse=True)
    chosen = chosen[np.bincount(codes)[codes] >= 5]  # each part of a split needs every class
    return Table(name, X.iloc[chosen].reset_index(drop=True), table.y[chosen], table.task)


def all_values(model: Any, rows: Any) -> Floats:  # noqa: ANN401 - an estimator, a frame
    """v(S) of every coalition, `(b, 2**n, k)`; coalition index = sum of 2**i over its players."""
    from baselines.coalitions import all_coalitions
    from bench.problems.own import own_problem

    game = own_problem(model, rows, name="paper").game()
    coalitions = all_coalitions(game.n_players)
    parts = [game(part[None]) for part in coalitions.split(512)]
    return torch.cat(parts, 1).double().numpy()


def exact(values: Floats) -> Floats:
    """Shapley values `(b, n, k)` of tabulated games `(b, 2**n, k)`."""
    from baselines import TableGame, exact_shapley

    return exact_shapley(TableGame(torch.from_numpy(values))).values.numpy()


def sample(sampler: str, values: Floats, runs: int, rng: np.random.Generator) -> Floats:
    """What a published sampler estimates from so many inferences of tabulated games.

    Args:
        sampler: `"sampling"` over orders, `"antithetic"` orders, `"kernel"` (KernelSHAP, coalitions
            with replacement) or `"kernel-paired"` (with complements).
        values: `(b, 2**n, k)`.
        runs: Inferences beside the two ends; an order that they cut short tells of the players it
            reached, and a player that none reached gets an equal share of what is left.
        rng: Source of orders or coalitions, shared by the explicands.

    Returns:
        `(b, n, k)`.

    Raises:
        ValueError: If there is no such sampler.

    Source: Castro et al. (2009); Mitchell et al. (2022); Lundberg and Lee (2017); Covert and Lee
    (2021).
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler {sampler!r} is not one of {SAMPLERS}.")
    n = int(np.log2(values.shape[1]))
    if sampler.startswith("kernel"):
        return _kernel(values, _kernel_masks(n, runs, sampler == "kernel-paired", rng))
    total = np.zeros((len(values), n, values.shape[2]))
    count, left, order = np.zeros(n), runs, None
    while left > 0:
        antithetic = sampler == "antithetic" and order is not None
        order = order[::-1] if antithetic and order is not None else rng.permutation(n)
        inside = 0
        for place, player in enumerate(order):
            if place == n - 1:  # its end is v(all), which is known
                total[:, player] += values[:, -1] - values[:, inside]
                count[player] += 1
                break
            if left == 0:
                break
            after = inside | 1 << int(player)
            total[:, player] += values[:, after] - values[:, inside]
            count[player] += 1
            inside, left = after, left - 1
        if antithetic:
            order = None
    found = total / np.maximum(count, 1)[:, None]
    unseen = count == 0
    if unseen.any():
        rest = values[:, -1] - values[:, 0] - found.sum(1)
        found[:, unseen] = (rest / unseen.sum())[:, None]
    return found


def _kernel_masks(n: int, runs: int, paired: bool, rng: np.random.Generator) -> NDArray[np.bool_]:
    sizes = np.arange(1, n)
    weights = 1 / (sizes * (n - sizes))
    drawn = rng.choice(sizes, runs, p=weights / weights.sum())
    masks = rng.random((runs, n)).argsort(1) < drawn[:, None]
    if paired:
        half = (runs + 1) // 2
        masks = np.stack([masks[:half], ~masks[:half]], 1).reshape(-1, n)[:runs]
    return masks


def _kernel(values: Floats, masks: NDArray[np.bool_]) -> Floats:
    """Least squares under efficiency; of many solutions the smallest."""
    n = masks.shape[1]
    index = masks @ (1 << np.arange(n))
    gain = values[:, -1] - values[:, 0]  # (b, k)
    share = masks.mean(1)[None, :, None] * gain[:, None]
    target = values[:, index] - values[:, :1] - share  # (b, runs, k)
    design = masks.astype(np.float64)
    design = design - design.mean(1, keepdims=True)
    beta = np.einsum("nm,bmk->bnk", np.linalg.pinv(design, rcond=1e-10), target)
    return beta - beta.mean(1, keepdims=True) + gain[:, None] / n


def rmse(found: Floats, truth: Floats) -> float:
    """||phi - phi*|| / sqrt(n), mean over rows and outputs."""
    return float(np.sqrt(((found - truth) ** 2).mean(1)).mean())


def judge_study(data: str, study: str, seed: int, budget: Budget) -> dict[str, float]:
    """One study on one table.

    Args:
        data: One of `DATA`.
        study: One of `STUDIES`.
        seed: Of split, weights and draws.
        budget: How much to spend.

    Returns:
        Measure -> number.
    """
    table = paper_table(data, budget.rows)
    parts = split(table, seed)
    learn = np.sort(np.concatenate([parts.train, parts.validation]))
    chosen = np.random.default_rng(seed).permutation(parts.test)[: budget.explained]
    setting = Setting(table, learn, parts.test, chosen, seed, budget)
    return _STUDIES[study](setting)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Rows of a study: the table, positions to learn from, test, and explain, and what is spent."""

    table: Table
    learn: NDArray[np.int64]
    test: NDArray[np.int64]
    chosen: NDArray[np.int64]
    seed: int
    budget: Budget

    def rows(self, positions: NDArray[np.int64]) -> Any:  # noqa: ANN401 - a frame
        """Rows of the table by position."""
        return self.table.X.iloc[positions].reset_index(drop=True)

    def net(self, preset: Any = "chen2023") -> Any:  # noqa: ANN401 - an estimator
        """A HarsanyiNet fitted on the rows to learn from; ours without a preset."""
        from harsanyi import HarsanyiClassifier

        words: dict[str, Any] = {"epochs": self.budget.epochs}
        if preset is None:  # ours decides for itself when it has seen enough
            words = {"bags": self.budget.bags}
        model = HarsanyiClassifier(
            preset=preset, random_state=self.seed, unknown="missing", **words
        )
        return model.fit(self.rows(self.learn), self.table.y[self.learn])


def _accuracy(one: Setting) -> dict[str, float]:
    found = {}
    for kind, preset in (("chen2023", "chen2023"), ("ours", None)):
        model, rows = one.net(preset), one.rows(one.chosen)
        answers = model.predict(one.rows(one.test))
        found[f"score_{kind}"] = float((answers == one.table.y[one.test]).mean())
        truth = exact(all_values(model, rows))
        found[f"rmse_{kind}"] = rmse(model.explain(rows).values.double().numpy(), truth)
    return found


def _runs(one: Setting) -> dict[str, float]:
    values = all_values(one.net(), one.rows(one.chosen))
    truth = exact(values)
    found = {"value_size": rmse(truth, np.zeros_like(truth))}
    for place, sampler in enumerate(SAMPLERS):
        for runs in RUNS:
            rng = np.random.default_rng((one.seed, place, runs))
            repeats = 8 if runs <= 100 else 2
            errors = [rmse(sample(sampler, values, runs, rng), truth) for _ in range(repeats)]
            found[f"runs_{sampler}_{runs}"] = float(np.mean(errors))
    return found


def _one_forward(one: Setting) -> dict[str, float]:
    from bench.paper_rivals import deepshap, fastshap

    model, rows = one.net(), one.rows(one.chosen)
    values = all_values(model, rows)
    truth = exact(values)
    found = {"value_size": rmse(truth, np.zeros_like(truth))}
    found["rmse_deepshap"] = rmse(deepshap(model, rows), truth)
    learn = one.rows(one.learn[: 40 * one.budget.epochs])
    found["rmse_fastshap"] = rmse(fastshap(model, learn, rows, 2 * one.budget.epochs), truth)
    return found


def _training(one: Setting) -> dict[str, float]:
    from bench.paper_rivals import ordinary_network

    few = dataclasses.replace(one.budget, epochs=max(2, one.budget.epochs // 4))
    short = dataclasses.replace(one, budget=few)
    start = time.process_time()
    short.net()
    net = time.process_time() - start
    start = time.process_time()
    ordinary_network(short, few.epochs)
    mlp = time.process_time() - start
    return {"epoch_seconds_net": net / few.epochs, "epoch_seconds_mlp": mlp / few.epochs}


def _fgsm(one: Setting) -> dict[str, float]:
    from bench.paper_rivals import attack

    return attack(one)


_STUDIES: dict[str, Callable[[Setting], dict[str, float]]] = {
    "accuracy": _accuracy,
    "runs": _runs,
    "one-forward": _one_forward,
    "training": _training,
    "fgsm": _fgsm,
}


def plan_paper(folder: str | PathLike[str], budget: Budget, seeds: int = 1) -> tuple["Plan", Grid]:
    """Write down which studies are to be made, or see that a folder holds the same.

    Args:
        folder: Where the cells lie.
        budget: How much to spend.
        seeds: Splits per table.

    Returns:
        The plan and its grid.

    Raises:
        ValueError: If the folder holds another run.
    """

    def judge(data: str, study: str, seed: int) -> dict[str, float]:
        return judge_study(data, study, seed, budget)

    kind = f"paper harsanyinet, {budget.rows or 'all'} rows, {budget.epochs} epochs"
    grid = Grid(kind, "data", "study", MEASURES, judge)
    plan = grid.plan(folder, (DATA, DATA), (STUDIES, STUDIES), seeds)
    return plan, grid


def run_paper(
    folder: str | PathLike[str], *, full: bool = False, seeds: int = 1, progress: bool = True
) -> "pd.DataFrame":
    """Make the studies that are not made yet.

    Args:
        folder: Where the cells lie.
        full: All rows and the paper's epochs.
        seeds: Splits per table.
        progress: Show a bar.

    Returns:
        One row per table and study.
    """
    plan, grid = plan_paper(folder, FULL if full else Budget(), seeds)
    grid.run(plan, progress=progress)
    return grid.frame(plan)
