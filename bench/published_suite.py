"""The published recipe beside ours: accuracy, masked accuracy, and how much of the net is alive.

    harsanyi bench --suite published --tables yeast,california --seeds 2 --out FOLDER

One cell is one table, recipe and seed. A cell of the tabular suite's folder named `published` is
told on that suite's page, too.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from baselines import shards
from bench.cells import Grid
from bench.markdown import markdown
from bench.problems.tabular import TABLES, load, split
from bench.suite_models import fit_suited

if TYPE_CHECKING:
    import pandas as pd

RECIPES = ("chen2023-released", "chen2023", "harsanyi")
BLOCKS = 3
MEASURES = ("score", "masked_score", *(f"live_{block}" for block in range(1, BLOCKS + 1)))
"""`score` is accuracy or R2, `masked_score` the same with half of the players absent; `live_l` is
the share of (row, unit) pairs of block l that are not zero on test rows."""


def _grid() -> Grid:
    return Grid("published recipe", "table", "recipe", MEASURES, judge_recipe)


def plan_published(
    folder: str | PathLike[str],
    *,
    tables: Sequence[str] = tuple(TABLES),
    recipes: Sequence[str] = RECIPES,
    seeds: int = 3,
) -> shards.Plan:
    """Write down which cells are to be judged, or see that a folder holds the same.

    Args:
        folder: Where the cells lie.
        tables: Names of tables.
        recipes: "chen2023-released" (as published), "chen2023" (its blocks alive), "harsanyi".
        seeds: Splits per table, those of the tabular suite.

    Returns:
        The plan.

    Raises:
        ValueError: If a name is unknown, or the folder holds other cells.
    """
    return _grid().plan(folder, (tables, tuple(TABLES)), (recipes, RECIPES), seeds)


def run_published(plan: shards.Plan, *, progress: bool = True) -> list[int]:
    """Judge the cells that are not judged yet; their numbers are returned."""
    return _grid().run(plan, progress=progress)


def published_frame(plan: shards.Plan) -> "pd.DataFrame":
    """The cells judged so far: table, recipe, seed and the measures, NaN where not measured."""
    return _grid().frame(plan)


def judge_recipe(table_name: str, recipe: str, seed: int) -> dict[str, float]:
    """Fit one recipe on one split of the tabular suite.

    Args:
        table_name: A table of the suite.
        recipe: One of `RECIPES`.
        seed: Of split, fit and masks.

    Returns:
        Measure -> number; a recipe without blocks has no share of live units.
    """
    from bench.suites import masked_score, score_of
    from harsanyi.presets import live_shares

    table = load(table_name)
    parts = split(table, seed)
    learn = np.sort(np.concatenate([parts.train, parts.validation]))
    fitted = fit_suited(recipe, table, learn, seed)
    rows, truth = table.X.iloc[parts.test], table.y[parts.test]
    found = {
        "score": score_of(table.task, truth, fitted.predict(rows)),
        "masked_score": masked_score(fitted, table, parts.test, seed),
    }
    if recipe == "harsanyi":
        return found
    model: Any = fitted.model
    with torch.no_grad():
        (live,) = live_shares(model.net_, model.encode(rows.iloc[:2048]))
    return found | {f"live_{block}": share for block, share in enumerate(live, 1)}


def published_page(frame: "pd.DataFrame", made: Mapping[str, str], command: str) -> str:
    """The Markdown of the results.

    Args:
        frame: From `published_frame`.
        made: Hardware, commit and date.
        command: What repeats the run.
    """
    origin = f"`{command}`\n\nCommit {made['commit']}, {made['date']}, {made['hardware']}."
    return "\n\n".join(["# The published recipe", origin, published_tables(frame)]) + "\n"


def published_tables(frame: "pd.DataFrame") -> str:
    """Scores and live shares, mean over seeds, one line per table.

    Args:
        frame: From `published_frame`.
    """
    recipes = [recipe for recipe in RECIPES if recipe in set(frame["recipe"])]
    mean: Any = frame.groupby(["table", "recipe"], sort=False)[list(MEASURES)].mean()
    seeds = frame.groupby("table")["seed"].nunique().max()
    head = ["table", *recipes, *(f"{recipe}, half absent" for recipe in recipes)]
    lines, alive = [head], [["table", "recipe", *(f"block {i + 1}" for i in range(BLOCKS))]]
    for table in dict.fromkeys(frame["table"]):
        cells = [
            f"{mean.loc[(table, recipe), measure]:.4f}" if (table, recipe) in mean.index else "-"
            for measure in ("score", "masked_score")
            for recipe in recipes
        ]
        lines.append([str(table), *cells])
        for recipe in recipes:
            if (table, recipe) not in mean.index or recipe == "harsanyi":
                continue
            shares = [mean.loc[(table, recipe), f"live_{i + 1}"] for i in range(BLOCKS)]
            alive.append([str(table), recipe, *(f"{share:.1%}" for share in shares)])
    return (
        f"Accuracy (R2 for regression), whole and with a random half of the players absent, mean "
        f"of up to {seeds} splits: as published (plain descent, full rows only), the same net "
        "started alive and trained on coalitions, and the default recipe.\n\n"
        + markdown(lines)
        + "\n\nShare of (row, unit) pairs that are not zero, by block of 100 units, on test rows. "
        "The default recipe has no blocks that could die.\n\n" + markdown(alive)
    )
