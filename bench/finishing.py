"""Finishing a run: leaderboard, tables, example explanations and page from what was judged."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.explanation import Explanation
from baselines.files import atomic_write
from bench.board_jobs import Cell, Judged
from bench.evaluation import Evaluation
from bench.provenance import provenance

if TYPE_CHECKING:
    import pandas as pd

Page = Callable[["pd.DataFrame", Mapping[str, Any], str], str]


def write_run(
    folder: Path,
    evaluations: Sequence[Evaluation],
    *,
    title: str,
    lead: str,
    command: str,
    tables: Mapping[str, "pd.DataFrame"] | None = None,
    page: Page | None = None,
    example: Judged | None = None,
    shown: Mapping[str, Explanation] | None = None,
) -> Path:
    """Write what a run leaves behind: parquet, Markdown, example explanations, the HTML page.

    Args:
        folder: Of the run.
        evaluations: For the leaderboard.
        title: Of the page.
        lead: One sentence under it.
        command: What repeats the run.
        tables: File stem -> table, written as parquet.
        page: Makes Markdown of the first table; none is written when None.
        example: A judged cell whose explanations are drawn.
        shown: Kind, such as `"text"` or `"image"` -> more explanations to draw.

    Returns:
        The HTML page.
    """
    from bench.demo import versions
    from bench.report import write_parquet, write_report
    from bench.standings import leaderboard

    made = {"command": command, **provenance(), "versions": versions()}
    write_parquet(folder / "leaderboard.parquet", leaderboard(evaluations))
    for name, table in (tables or {}).items():
        write_parquet(folder / f"{name}.parquet", table)
        if page is not None:
            atomic_write(folder / f"{name}.md", page(table, made, command).encode())
    if example is not None:
        example.evaluation.explanation.save(folder / "explanations.safetensors")
        if example.rows is not None:
            from bench.demo import storable

            write_parquet(folder / "rows.parquet", storable(example.rows))
    for kind, explanation in (shown or {}).items():
        explanation.save(folder / f"explanations-{kind}.safetensors")
    note = {"title": title, "lead": lead, "made": made}
    atomic_write(folder / "run.json", json.dumps(note, indent=1).encode())
    return write_report(folder)


def pick_example(judged: Sequence[tuple[Cell, Judged]]) -> Judged | None:
    """The cell whose explanations are worth a picture: a model's own if there is one, else any.

    Args:
        judged: Cells and what judging them gave.
    """
    own = [one for _, one in judged if one.evaluation.explains == "own" and _is_exact(one)]
    return next(iter(own), next((one for _, one in judged), None))


def _is_exact(one: Judged) -> bool:
    return one.evaluation.explanation.exact
