"""The architectures on the same folds: accuracy, what interpretability costs, error, leaks, time.

One cell is one table, fold and architecture, and one shard of a resumable job.

    harsanyi bench --suite architectures --tables adult,yeast --seeds 3 --out FOLDER
    harsanyi bench DATA.csv --target y --suite architectures --out FOLDER
"""

import copy
import dataclasses
import functools
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from bench.architecture_tables import summary, summary_page, with_prices
from bench.architectures import ARCHITECTURES, REFERENCE, Effort, Fold, Trained, shown_players
from bench.board_jobs import BoardJob, Cell, Judged
from bench.curves import removal_games
from bench.evaluation import MORE, Evaluation, as_explainer, evaluate, nulls_as_facts
from bench.problems.tabular import Table, load, split
from bench.rivals import MASK_DRAWS
from bench.truth import ground_truth

if TYPE_CHECKING:
    import pandas as pd

    from baselines.explanation import Explanation

TABLES = ("breast-cancer", "yeast", "diabetes", "wine-quality", "ionosphere")
"""Tables of the suite by default, small enough that every architecture trains in a minute or so."""

Loader = Callable[[str], Table]

NULL_ROWS = 8
"""Rows whose explanations are compared with those of a model of shuffled labels."""


def architecture_job(
    tables: Sequence[str] = TABLES,
    architectures: Sequence[str] = tuple(ARCHITECTURES),
    seeds: int = 1,
    *,
    effort: Effort | None = None,
    loader: Loader = load,
    command: str = "",
    kind: str = "architectures",
) -> BoardJob:
    """The cells of the suite and how each is judged.

    Args:
        tables: Names that `loader` takes.
        architectures: Keys of `ARCHITECTURES`; the reference is always among them.
        seeds: Folds per table.
        effort: How much to spend on each; the default is meant for figures.
        loader: Name to table.
        command: What repeats the run.
        kind: Name of the job.

    Raises:
        ValueError: If there is no such architecture.
    """
    unknown = [name for name in architectures if name not in ARCHITECTURES]
    if unknown:
        raise ValueError(f"architectures {unknown} are not among {', '.join(ARCHITECTURES)}.")
    effort = effort or Effort()
    names = list(dict.fromkeys((REFERENCE, *architectures)))
    cells = [
        (table, f"{seed}", name) for table in tables for seed in range(seeds) for name in names
    ]

    @functools.lru_cache(maxsize=1)
    def fold(table_name: str, seed: int) -> Fold:
        table = loader(table_name)
        parts = split(table, seed)
        learn = np.sort(np.concatenate([parts.train, parts.validation]))
        return Fold(table, learn, parts.test, seed, effort)

    def judge(cell: Cell) -> Judged:
        table, seed, name = cell
        return judge_architecture(fold(table, int(seed)), name, command)

    config = {"effort": dataclasses.asdict(effort), "hashes": [_hash(loader(t)) for t in tables]}
    return BoardJob(kind, cells, judge, config)


def installed() -> list[str]:
    """The architectures whose libraries are here; which are left out is said on standard error."""
    if importlib.util.find_spec("interpret") is not None:
        return list(ARCHITECTURES)
    print("ebm is left out; pip install 'harsanyi[interpret]' brings it.", file=sys.stderr)
    return [name for name in ARCHITECTURES if name != "ebm"]


def judge_architecture(fold: Fold, name: str, command: str = "") -> Judged:
    """Train one architecture on a fold and judge model and explanations.

    Args:
        fold: Rows to learn from and to be tested on.
        name: A key of `ARCHITECTURES`.
        command: What repeats the run.

    Returns:
        An evaluation whose facts hold the model's scores, and the loss of each test row.
    """
    effort, task = fold.effort, fold.table.task
    trained = ARCHITECTURES[name](fold)
    loss = losses(task, fold.table.y[fold.test], trained.predict(fold.test, None))
    rng = np.random.default_rng((fold.seed, 7))
    order = rng.permutation(fold.test)
    judged, leaked = order[: effort.judged], order[: effort.leaked]
    problem = trained.problem(judged)
    truth = None
    if trained.has_truth:
        truth = ground_truth(problem, budget=effort.truth_budget, seed=fold.seed)
    explainer = trained.contender(problem)
    facts: dict[str, Any] = {
        "method_class": trained.method_class,
        "model_score": 1 - float(loss.mean()),
        "masked_score": _masked_score(fold, trained),
        "train_seconds": trained.seconds,
        "command": command,
    }
    if task == "classification":
        facts |= _leaks(fold, trained, leaked)
    found = evaluate(
        explainer,
        problem,
        truth,
        name=name,
        repeats=2,
        seed=fold.seed,
        games=removal_games(problem),
        more=MORE,
        facts=facts,
    )
    if effort.nulls:
        nulls = _nulls(fold, name, trained, found)
        found = dataclasses.replace(found, facts={**found.facts, **nulls})
    rows = fold.table.X.iloc[judged].reset_index(drop=True)
    return Judged(found, {"loss": loss, "row": np.asarray(fold.test, dtype=np.float64)}, rows)


def losses(task: str, truth: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """What each test row costs: 1 - mean is accuracy, or R2.

    Args:
        task: `"classification"` or `"regression"`.
        truth: `(b,)`.
        answers: `(b,)`.
    """
    if task == "classification":
        return (truth != answers).astype(np.float64)
    return np.square(truth - answers) / np.square(truth - truth.mean()).mean()


def _masked_score(fold: Fold, trained: Trained) -> float:
    """Score with a random half of the columns absent, by the same masks for every architecture."""
    rows = fold.test[:1000]
    n = fold.table.X.shape[1]
    rng, scores = np.random.default_rng((fold.seed, 8)), []
    for _ in range(MASK_DRAWS):
        present = rng.random((len(rows), n)).argsort(1) < (n + 1) // 2
        answers = trained.predict(rows, present)
        scores.append(1 - losses(fold.table.task, fold.table.y[rows], answers).mean())
    return float(np.mean(scores))


def _leaks(fold: Fold, trained: Trained, rows: np.ndarray) -> dict[str, float]:
    """Whether the shown players spell the label, and how well an independent judge reads them."""
    from bench.leakage import leak_excess

    explanation = as_explainer(trained.contender, trained.problem(rows)).explain(
        trained.problem(rows).x
    )
    n_shown = max(1, round(0.25 * fold.table.X.shape[1]))
    masks = shown_players(trained, explanation, n_shown)
    x, y = fold.judged_rows(rows), fold.labels(rows)
    excess = leak_excess(masks, fold.judge.log_probs(x, masks), y, seed=fold.seed)
    return {
        "leak_excess": excess.value,
        "leak_excess_lo": excess.low,
        "leak_excess_hi": excess.high,
        "evalx_score": fold.judge.accuracy(x, y, masks),
    }


def _nulls(fold: Fold, name: str, trained: Trained, found: Evaluation) -> dict[str, float]:
    """The null tests that train the architecture again."""
    from bench.null_tests import LIMITS, Refit, agreement, model_nulls, random_weights

    def fit(X: Any, y: np.ndarray) -> Any:  # noqa: ANN401 - a frame; an explainer
        table = dataclasses.replace(fold.table, X=X, y=y, n_train=None)
        again = dataclasses.replace(fold, table=table)
        return _ByPosition(ARCHITECTURES[name](again))

    explained = fold.table.X.iloc[fold.test[:NULL_ROWS]]
    refit = Refit(fit, fold.table.X, fold.table.y, explained, fold.seed)
    known = {
        key.removeprefix("null_"): value
        for key, value in found.facts.items()
        if key.removeprefix("null_") in LIMITS
    }
    real = _ByPosition(trained).explain(explained)
    known |= model_nulls(refit, real)
    problem = trained.problem(fold.test[:NULL_ROWS])
    if isinstance(getattr(problem.model, "net_", None), nn.Module):
        scrambled = copy.copy(problem.model)
        scrambled.net_ = random_weights(problem.model.net_)
        known["random_weights"] = agreement(real, scrambled.explain(problem.x))
    return nulls_as_facts(known)


@dataclasses.dataclass(frozen=True)
class _ByPosition:
    """A trained architecture that explains rows of its fold's table, told by their index."""

    trained: Trained

    def explain(self, rows: Any) -> "Explanation":  # noqa: ANN401 - rows of the table's frame
        problem = self.trained.problem(np.asarray(rows.index))
        return self.trained.contender(problem).explain(problem.x)


def finish_job(
    job: BoardJob,
    folder: str | PathLike[str],
    *,
    title: str,
    lead: str,
    command: str,
    progress: bool = True,
    more: Sequence[Evaluation] = (),
    shown: "Mapping[str, Explanation] | None" = None,
) -> tuple["pd.DataFrame", Path]:
    """Judge what is not judged yet, and write everything down; a run that was killed goes on.

    Args:
        job: Cells of architectures, from `architecture_job`.
        folder: Where cells, tables and page lie.
        title: Of the page.
        lead: One sentence under it.
        command: What repeats the run.
        progress: Show a bar of cells.
        more: Further evaluations for the leaderboard.
        shown: Kind -> more explanations to draw on the page.

    Returns:
        The summary, and the Markdown page.
    """
    from bench.finishing import pick_example, write_run

    plan = job.plan(folder)
    job.run(plan, progress=progress)
    judged = list(job.judged(plan))
    frame = summary(judged)
    write_run(
        plan.folder,
        [*with_prices(judged), *more],
        title=title,
        lead=lead,
        command=command,
        tables={"architectures": frame},
        example=pick_example(judged),
        page=summary_page,
        shown=shown,
    )
    return frame, plan.folder / "architectures.md"


def finish(
    folder: str | PathLike[str],
    *,
    tables: str = "",
    models: str = "",
    seeds: int | None = None,
    command: str = "",
) -> tuple["pd.DataFrame", Path]:
    """The suite on tables of the data folder, or on a user's file.

    Args:
        folder: Where cells, tables and page lie.
        tables: Names by commas, `FILE.csv:TARGET` for a file of the user's; `TABLES` when empty.
        models: Architectures by commas; when empty all whose libraries are installed.
        seeds: Folds per table, 1 when None.
        command: What repeats the run.

    Returns:
        The summary, and the Markdown page.
    """
    from bench.problems.sources import table_by_name
    from bench.registry import listed

    names = listed(tables, TABLES)
    job = architecture_job(
        names,
        listed(models, ()) or installed(),
        seeds or 1,
        loader=table_by_name,
        command=command,
    )
    return finish_job(
        job,
        folder,
        title=f"Architectures on {', '.join(names)}",
        lead="Every architecture trains on the same rows and explains the same test rows.",
        command=command,
    )


def _hash(table: Table) -> str:
    from baselines.fingerprints import content_hash

    columns = [[str(name), table.X[name].to_numpy()] for name in table.X.columns]
    return content_hash(columns, table.y)[:16]
