"""The suites and paper tables by name: adding one is one line here."""

import dataclasses
from collections.abc import Iterable
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class GridSuite:
    """A suite whose cells are rows by columns by seeds.

    Its module has `plan_<stem>(folder, <rows>=, <columns>=, seeds=)`, `run_<stem>(plan)`,
    `<stem>_frame(plan)` and `<stem>_page(frame, made, command)`.

    Args:
        module: Where they are.
        stem: Of the functions' names.
        rows: Keyword of what `--tables` names.
        columns: Keyword of what `--models` names.
        known_rows: Attribute of the module that holds the rows of a run that names none.
        known_columns: Likewise, the columns.
        page: Module of the page's function, where it is another.
    """

    module: str
    stem: str
    rows: str
    columns: str
    known_rows: str
    known_columns: str
    page: str = ""


SUITES: dict[str, GridSuite | str] = {
    "smoke": "bench.smoke:finish",
    "tabular": "bench.suites:finish",
    "estimators": "bench.estimator_grid:finish",
    "architectures": "bench.architecture_suite:finish",
    "images": "bench.image_suite:finish",
    "selection": GridSuite(
        *("bench.selection_suite", "selection", "problems", "methods", "DEFAULT", "ENTRIES"),
        page="bench.selection_page",
    ),
    "published": GridSuite(
        *("bench.published_suite", "published", "tables", "recipes", "TABLES", "RECIPES")
    ),
    "text": GridSuite(
        *("bench.text_suite", "text", "problems", "explainers", "PROBLEMS", "EXPLAINERS")
    ),
}
"""Name -> its grid, or `module:function`, called as `function(folder, tables=, models=, seeds=,
command=)` and returning a frame and a page."""


def finish_suite(
    suite: str,
    folder: str | PathLike[str],
    *,
    tables: str = "",
    models: str = "",
    seeds: int | None = None,
    command: str = "",
) -> tuple["pd.DataFrame", Path]:
    """Plan a suite, judge what is not judged yet, and write its tables.

    Args:
        suite: A key of `SUITES`.
        folder: Where cells and tables lie.
        tables: Its rows (tables, problems) by commas; all when empty.
        models: Its columns (models, methods, architectures) by commas; all when empty.
        seeds: Repeats of every pair; the suite's own number when None.
        command: What repeats the run; made from the other arguments when empty.

    Returns:
        The cells, and the Markdown page.

    Raises:
        ValueError: If there is no such suite, row or column.
    """
    if suite not in SUITES:
        raise ValueError(f"suite={suite!r} is unknown; there are {', '.join(SUITES)}.")
    found = SUITES[suite]
    from bench import cell_report

    command = command or _command(suite, tables, models, seeds)
    if isinstance(found, GridSuite):
        done = _finish_grid(found, suite, folder, tables, models, seeds or 3, command)
    else:
        done = load_function(found)(
            folder, tables=tables, models=models, seeds=seeds, command=command
        )
    if (Path(folder) / cell_report.FILE).is_file():  # the others leave a leaderboard
        cell_report.note_run(Path(folder), suite, command)
    return done


def load_function(where: str) -> Any:  # noqa: ANN401 - a function
    """What `module:function` names.

    Args:
        where: Such as `bench.smoke:finish`.
    """
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)


def listed(names: str, known: Iterable[str]) -> list[str]:
    """Names separated by commas, or all of them.

    Args:
        names: What a user wrote.
        known: All there are.
    """
    return [name.strip() for name in names.split(",") if name.strip()] or list(known)


def _finish_grid(
    suite: GridSuite,
    name: str,
    folder: str | PathLike[str],
    rows: str,
    columns: str,
    seeds: int,
    command: str,
) -> tuple["pd.DataFrame", Path]:
    from baselines.files import atomic_write

    home = import_module(suite.module)
    words = {
        suite.rows: listed(rows, getattr(home, suite.known_rows)),
        suite.columns: listed(columns, getattr(home, suite.known_columns)),
    }
    plan = getattr(home, f"plan_{suite.stem}")(folder, seeds=seeds, **words)
    getattr(home, f"run_{suite.stem}")(plan)
    frame, page = getattr(home, f"{suite.stem}_frame")(plan), plan.folder / f"{name}.md"
    frame.to_parquet(plan.folder / "cells.parquet")
    pages = import_module(suite.page or suite.module)
    text = getattr(pages, f"{suite.stem}_page")(frame, dict(provenance()), command)
    atomic_write(page, text.encode())
    return frame, page


def _command(suite: str, tables: str, models: str, seeds: int | None) -> str:
    words = f"harsanyi bench --suite {suite}"
    words += (f" --tables {tables}" if tables else "") + (f" --models {models}" if models else "")
    return words + (f" --seeds {seeds}" if seeds is not None else "")
