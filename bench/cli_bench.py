"""`harsanyi bench` and `harsanyi report`: judge, and look at what was judged."""

import json
from pathlib import Path
from typing import Annotated

import typer

from bench.faults import friendly
from bench.truth_commands import Debug, Json, Seed

Target = Annotated[str | None, typer.Option(help="Column to predict.")]
Task = Annotated[str, typer.Option(help="auto, classification or regression.")]


def bench(
    data: Annotated[
        Path | None,
        typer.Argument(help="A CSV with a header; with --problem, FILE.py:NAME of a contender."),
    ] = None,
    target: Target = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="smoke, tabular, architectures, selection, images...; resumable. With a CSV and "
            "--target: architectures trains every one on it."
        ),
    ] = None,
    problem: Annotated[
        str | None, typer.Option(help="A named problem in place of a CSV, such as adult/mlp.")
    ] = None,
    target_model: Annotated[
        str,
        typer.Option(
            help="A text classifier (folder or hub name) to explain on the texts that --problem "
            "names: sst2, agnews, yelp, snli, mrpc, templates, or a file."
        ),
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("out/bench"),
    task: Task = "auto",
    truth: Annotated[
        Path | None,
        typer.Option(help="With --problem: judge against what `harsanyi truth` made there."),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(help="Rows whose explanations are judged; 24, or those of --truth."),
    ] = None,
    tables: Annotated[str, typer.Option(help="Tables of the suite, by commas; all else.")] = "",
    models: Annotated[str, typer.Option(help="Models of the suite, by commas; all else.")] = "",
    seeds: Annotated[
        int | None, typer.Option(help="Splits per table of the suite; else its own number.")
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Judge models and explanations: on a CSV, a suite, or sampling on a named problem."""
    with friendly(debug, as_json):
        from rich.console import Console

        from bench.demo import command_line

        guest = "" if data is None or problem is None else str(data)
        alone = data if problem is None and suite is None else None
        if [alone, suite, problem].count(None) != 2:
            raise ValueError("pass one of: a CSV with --target, --suite NAME, --problem NAME.")
        if truth is not None and problem is None:
            raise ValueError(f"--truth {truth} is of a named problem; pass --problem NAME, too.")
        if suite is not None:
            from bench.registry import finish_suite

            if data is not None:
                if target is None:
                    raise ValueError(f"which column of {data} is to be predicted? Pass --target.")
                tables = f"{data}:{target}"
            frame, page = finish_suite(
                suite, out, tables=tables, models=models, seeds=seeds, command=command_line()
            )
            print(frame.to_json(orient="records") if as_json else page.read_text())
            return
        console = Console(quiet=as_json)
        if problem is not None:
            from bench.judging import judge_problem

            board = judge_problem(
                problem,
                out,
                rows=rows,
                seed=seed,
                command=command_line(),
                guest=guest,
                target_model=target_model,
                truth_folder="" if truth is None else truth,
            )
        else:
            from bench.demo import JUDGED, run_demo
            from bench.frames import read_frame, take_target

            if target is None:
                raise ValueError(f"which column of {data} is to be predicted? Pass --target.")
            table = take_target(read_frame(str(data)), target, task, name=str(data))
            name = str(data and data.name.split(".")[0])
            board = run_demo(
                table,
                name,
                out,
                command=command_line(),
                seed=seed,
                judged=JUDGED if rows is None else rows,
                console=console,
            ).leaderboard
        if as_json:
            print(board.to_json(orient="records"))
        elif problem is not None:
            from bench.report_tables import leaderboard_table

            console.print(leaderboard_table(board).rich())
            print(f"wrote {out / 'report.html'}")


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")],
    html: Annotated[Path | None, typer.Option(help="Page to write; FOLDER/report.html.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Print the leaderboard of a run and write its page."""
    with friendly(debug, as_json):
        from rich.console import Console

        from bench import cell_report
        from bench.report import read_parquet, write_report
        from bench.report_tables import accuracy_table, architecture_table, leaderboard_table
        from bench.speed_history import FILE, compared

        page = write_report(folder, html)
        if as_json:
            print(json.dumps({"page": str(page)}))
            return
        for name, drawn in (
            ("accuracy", accuracy_table),
            ("architectures", architecture_table),
            ("leaderboard", leaderboard_table),
            ("cells", cell_report.headline_table),
        ):
            table = read_parquet(folder / f"{name}.parquet")
            if table is not None:
                Console().print(drawn(table).rich())
        if (folder / FILE).is_file():
            Console().print(compared(folder / FILE).rich())
        print(f"wrote {page}")
