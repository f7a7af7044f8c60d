"""Selections per imputer on S1 to S3: what LEX (Senetaire et al., 2023) is about.

    harsanyi paper lex --out runs/lex            # 6,000 rows, 30 epochs: minutes
    harsanyi paper lex --out runs/lex --full     # 10,000 rows, three seeds

One cell is one data set, imputer and seed, and one shard of a resumable job.
"""

import dataclasses
import time
from collections.abc import Callable
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from amortized import LEX, presets
from baselines import (
    BaselineImputer,
    GaussianImputer,
    GaussianMixtureImputer,
    KMeansDonorImputer,
    MarginalImputer,
    NeighborImputer,
    NoiseImputer,
)
from bench.cells import Grid
from bench.problems.selections import PROBLEMS
from bench.selection_metrics import EvalX, auroc, fdr, tpr_at_k

if TYPE_CHECKING:
    import pandas as pd

DATA = ("syn4", "syn5", "syn6")
"""INVASE's names of the paper's S1, S2 and S3."""

IMPUTERS: dict[str, tuple[Callable[[torch.Tensor], Any], int | None]] = {
    "zero": (lambda X: BaselineImputer(0.0), None),
    "mean": (lambda X: BaselineImputer(X.mean(0)), None),
    "noise": (lambda X: NoiseImputer(X.mean(0), X.std(0)), 4),
    "marginal": (lambda X: MarginalImputer(X[:64]), 4),
    "Gaussian, one draw": (lambda X: GaussianImputer.fit(X), 1),
    "Gaussian": (lambda X: GaussianImputer.fit(X), 4),
    "Gaussian mixture": (lambda X: GaussianMixtureImputer.fit(X), 4),
    "k-means donors": (lambda X: KMeansDonorImputer.fit(X), 4),
    "nearest donors": (lambda X: NeighborImputer.fit(X), 4),
}
"""Name -> how it is fitted to training rows, and draws for each mask; None where draws are alike."""

MEASURES = (
    "tpr_at_k",
    "auroc",
    "fdr",
    "rate",
    "own_accuracy",
    "evalx_accuracy",
    "train_seconds",
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """Rows of training and test, and passes of the networks (None lets them decide)."""

    rows: int = 6_000
    scored: int = 1_000
    epochs: int | None = 30
    judge_epochs: int = 20


FULL = Budget(10_000, 2_000, None, 60)


def judge_imputer(data: str, imputer: str, seed: int, budget: Budget) -> dict[str, float]:
    """Fit a selector with one imputer and measure its selections.

    Args:
        data: One of `DATA`.
        imputer: A key of `IMPUTERS`.
        seed: Of data and weights.
        budget: How much to spend.

    Returns:
        Measure -> number.
    """
    problem = PROBLEMS[data](seed=seed)
    X, y = problem.X[: budget.rows], problem.y[: budget.rows]
    x, labels = problem.X_test[: budget.scored], problem.y_test[: budget.scored]
    truth = problem.truth_test[: budget.scored]
    fit, draws = IMPUTERS[imputer]
    settings = presets.lex_fixed(fit(torch.from_numpy(X)), problem.rate)
    settings |= {"imputations": draws, "random_state": seed}
    start = time.process_time()
    lex = LEX.for_tabular(X.shape[1], problem.n_classes, **settings)
    lex.fit(X, y, epochs=budget.epochs, predictor_epochs=budget.epochs, random_state=seed)
    seconds = time.process_time() - start
    chosen = lex.select(x)
    scores, shown = chosen.logits.detach().double().numpy(), chosen.mode.numpy()
    with torch.no_grad():
        drawn = torch.Generator().manual_seed(0)
        answers = lex.log_probs(lex.rows(x), chosen.mode[None, None], drawn)[0, 0]
    own = answers.exp().mean(1).argmax(-1).numpy() == labels
    judge = EvalX(X, y, seed=seed, epochs=budget.judge_epochs)
    return {
        "tpr_at_k": float(tpr_at_k(scores, truth).mean()),
        "auroc": float(np.nanmean(auroc(scores, truth))),
        "fdr": float(fdr(shown, truth).mean()),
        "rate": float(shown.mean()),
        "own_accuracy": float(own.mean()),
        "evalx_accuracy": judge.accuracy(x, labels, shown),
        "train_seconds": seconds,
    }


def run_paper(
    folder: str | PathLike[str], *, full: bool = False, seeds: int = 1, progress: bool = True
) -> "pd.DataFrame":
    """Make the cells that are not made yet.

    Args:
        folder: Where they lie.
        full: As many rows and epochs as the paper's data has.
        seeds: Draws of data and weights.
        progress: Show a bar.

    Returns:
        One row per data set, imputer and seed.
    """
    budget = FULL if full else Budget()

    def judge(data: str, imputer: str, seed: int) -> dict[str, float]:
        return judge_imputer(data, imputer, seed, budget)

    kind = f"paper lex, {budget.rows} rows, {budget.epochs or 'default'} epochs"
    grid = Grid(kind, "data", "imputer", MEASURES, judge)
    plan = grid.plan(folder, (DATA, DATA), (tuple(IMPUTERS), tuple(IMPUTERS)), seeds)
    grid.run(plan, progress=progress)
    return grid.frame(plan)
