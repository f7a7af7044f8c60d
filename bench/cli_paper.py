"""`harsanyi paper`: published tables beside ours."""

from pathlib import Path
from typing import Annotated

import typer

from bench.faults import friendly
from bench.truth_commands import Debug, Json, answer


def paper(
    name: Annotated[str, typer.Argument(help="harsanyinet, lex, yang2023, empirical or cte.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of cells and page; out/paper/NAME else.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Spend what the paper spent: hours, not minutes.")
    ] = False,
    seeds: Annotated[int, typer.Option(help="Splits, draws or trainings of each cell.")] = 1,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """The published table beside ours, on the data at hand, and why they differ. Resumable."""
    with friendly(debug, as_json):
        from bench.demo import command_line
        from bench.papers import write_paper

        folder = out or Path("out/paper") / name
        page = write_paper(name, folder, full=full, seeds=seeds, command=command_line())
        answer({"page": str(page)}, page.read_text(encoding="utf-8"), as_json)
