"""The command line: train, explain, bench, truth, paper, report, doctor.

Exit codes: 0 done; 2 what was passed cannot be used (one line says why); 3 a check did not pass;
130 interrupted, and the same command continues.
"""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.cli_bench import Target, Task, bench, report
from bench.cli_paper import paper
from bench.faults import CHECK_FAILED, friendly
from bench.truth_commands import Debug, Json, Seed, answer, truth_app

app = typer.Typer(
    name="harsanyi",
    help="Models that explain themselves exactly, explainers, and one harness that judges them.",
    epilog="Start with: harsanyi train data.csv --target COLUMN, "
    "then harsanyi explain model data.csv --html page.html",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(truth_app, name="truth")

KINDS = ("tabular", "lex", "images", "text", "explainer")
"""What `train` can train."""
SkipBad = Annotated[
    bool,
    typer.Option("--skip-bad", help="images: leave out pictures that cannot be read, by name."),
]


@app.callback()
def quiet() -> None:
    """Keep the bars of transformers and datasets out of what commands say; ours stay."""
    for library in ("HUB", "DATASETS"):
        os.environ.setdefault(f"HF_{library}_DISABLE_PROGRESS_BARS", "1")


@app.command()
def train(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="[KIND] DATA",
            help="tabular (default) or lex, then a CSV; images, then mnist, fashion, cifar10, "
            "digits or a folder with a folder per class; text, then a file with columns text and "
            "label; explainer, then a file of texts and --target-model.",
        ),
    ],
    target: Target = None,
    out: Annotated[Path, typer.Option(help="Folder for the model.")] = Path("model"),
    task: Task = "auto",
    test_share: Annotated[float, typer.Option(help="Share of rows held out and scored.")] = 0.2,
    rate: Annotated[float, typer.Option(help="lex: share of columns to select.")] = 0.2,
    players: Annotated[
        str,
        typer.Option(
            help="images: patches, cells or published (the paper's cells); text: words or tokens."
        ),
    ] = "",
    design: Annotated[
        str, typer.Option(help="text: sum, matrices, bag, ngrams... or several joined by +.")
    ] = "sum",
    epochs: Annotated[
        int | None, typer.Option(help="images, text, lex, explainer: passes over the data.", min=1)
    ] = None,
    target_model: Annotated[
        str, typer.Option(help="explainer: folder or hub name of the explained classifier.")
    ] = "",
    removal: Annotated[
        str, typer.Option(help="explainer: what becomes of absent words: drop, mask or pad.")
    ] = "drop",
    pairs: Annotated[
        int, typer.Option(help="explainer: antithetic pairs of labels per text.")
    ] = 1,
    skip_bad: SkipBad = False,
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a model that explains itself on a CSV or pictures; when interrupted, it continues."""
    with friendly(debug, as_json):
        kind, path = _kind_and_data(data)
        if kind == "images":
            from bench.cli_images import train_images

            found = train_images(
                str(path), out, players=players, epochs=epochs, test_share=test_share, seed=seed,
                skip_bad=skip_bad, progress=not as_json,
            )  # fmt: skip
            answer(*found, as_json)
            return
        if kind == "explainer":
            from bench.cli_explainer import train_explainer

            found = train_explainer(
                str(path), out, target_model=target_model, players=players, removal=removal,
                pairs=pairs, epochs=epochs, seed=seed, progress=not as_json,
            )  # fmt: skip
            answer(*found, as_json)
            return
        if kind == "text":
            from bench.cli_text import train_text

            found = train_text(
                str(path), out, players=players, design=design, epochs=epochs,
                test_share=test_share, seed=seed, progress=not as_json,
            )  # fmt: skip
            answer(*found, as_json)
            return
        if target is None:
            raise ValueError(f"which column of {path} is to be predicted? Pass --target COLUMN.")
        if epochs is not None and kind != "lex":
            raise ValueError(
                f"--epochs {epochs}: a table's model decides by itself; leave it out."
            )
        from bench.frames import read_frame, split_table, take_target
        from bench.rivals import score_model
        from bench.user_models import (
            accept_unseen,
            clear_checkpoints,
            fit_model,
            own_prediction,
        )

        table = take_target(read_frame(path), target, task, name=str(path))
        rows, test = split_table(table, test_share, seed)
        out.mkdir(parents=True, exist_ok=True)
        if kind == "lex":
            from bench.lex_tables import train_lex

            facts, words = train_lex(
                table, rows, test, out, rate, seed, epochs=epochs, progress=not as_json
            )
            answer(
                facts, f"{words}\nnext: harsanyi explain {out} {path} --html page.html", as_json
            )
            return
        model, seconds = fit_model(table, rows, out, seed, {}, _note)
        model.save_pretrained(out)
        notes = "; ".join(filter(None, [table.notes, accept_unseen(model, table, rows, test)]))
        score = score_model("HarsanyiNet", own_prediction(model), table, test, seconds, seed)
        clear_checkpoints(out)
        words = (
            f"{table.task}, {len(rows):,} rows, {table.X.shape[1]} columns"
            + (f" ({notes})" if notes else "")
            + f"\n{score.metric} {score.score:.4f} on {len(test):,} held-out rows "
            f"(95 % interval {score.score_lo:.4f} to {score.score_hi:.4f}); "
            f"{score.masked_score:.4f} with a random half of the players absent"
            + f"\nmodel written to {out}; next: harsanyi explain {out} {path} --html page.html"
        )
        answer(
            {
                "model": str(out),
                "task": table.task,
                "metric": score.metric,
                "score": score.score,
                "interval": [score.score_lo, score.score_hi],
                "half_masked": score.masked_score,
                "seconds": seconds,
                "players": list(map(str, table.X.columns)),
                "notes": notes,
            },
            words,
            as_json,
        )


@app.command()
def explain(
    model: Annotated[Path, typer.Argument(help="Folder that train wrote.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            help="CSV with the model's columns, others are ignored; or pictures, or texts."
        ),
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="A text, in place of a file; may be repeated.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Page with pictures to write.")] = None,
    out: Annotated[Path | None, typer.Option(help="Values to write, as safetensors.")] = None,
    top: Annotated[int, typer.Option(help="Players to print per row.")] = 5,
    unknown: Annotated[
        str, typer.Option(help="A category that training did not show: error or missing.")
    ] = "error",
    refine: Annotated[
        int, typer.Option(help="explainer: fresh antithetic pairs per text, fused by precision.")
    ] = 0,
    target_model: Annotated[
        str, typer.Option(help="explainer: the explained model, where --refine cannot find it.")
    ] = "",
    skip_bad: SkipBad = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Explain rows of a CSV, or pictures, exactly; print, keep the values, make a page."""
    with friendly(debug, as_json):
        from bench.cli_explainer import explain_saved
        from bench.cli_images import explain_images
        from bench.cli_text import explain_text
        from bench.model_kinds import model_type

        kind = model_type(model)
        if kind == "amortized-explainer":
            found = explain_saved(
                model, text or [], data, out=out, html=html, top=top, command=_command(),
                refine=refine, target_model=target_model,
            )  # fmt: skip
            answer(*found, as_json)
            return
        if kind == "harsanyi-text":
            facts, shown = explain_text(
                model, text or [], data, html=html, out=out, top=top, command=_command()
            )
            print(json.dumps(facts)) if as_json else _console().print(shown)
            return
        if text and not (model / "config.json").is_file():
            lacks = "model in" if model.is_dir() else "folder"
            raise FileNotFoundError(f"no {lacks} {model}; pass one that harsanyi train wrote.")
        if text:
            raise ValueError(f"--text is for models of texts; {model} holds another one.")
        if data is None:
            raise ValueError("what is to be explained? Pass a file after the model's folder.")
        if kind == "harsanyi-image":
            found = explain_images(
                model, data, html=html, out=out, command=_command(), skip_bad=skip_bad
            )
            answer(*found, as_json)
            return
        from bench.explained import keep_explained
        from bench.frames import pick_columns, read_frame
        from bench.report import explanation_sections
        from bench.user_models import explain_rows, telling_rows

        if unknown not in ("error", "missing"):
            raise ValueError(f"unknown={unknown!r}; use --unknown error or --unknown missing.")
        fitted = load_model(model)
        fitted.unknown = unknown
        rows = pick_columns(read_frame(data), fitted.players_, name=str(data))
        explanation, milliseconds = explain_rows(fitted, rows)
        written = keep_explained(
            explanation,
            out=out,
            html=html,
            of=data.name,
            what=f"rows of {data.name}",
            sections=lambda: explanation_sections(explanation, rows, telling_rows(fitted, rows)),
            command=_command(),
        )
        gap = explanation.diagnostics.get("additivity_gap")
        facts = {
            "rows": len(rows),
            "players": list(explanation.player_names()),
            "outputs": list(explanation.output_names()),
            "exact": explanation.exact,
            "additivity_gap": None if gap is None else float(gap.abs().max()),
            "ms_per_row": milliseconds,
            "written": written,
        }
        if as_json:
            facts["predictions"] = [str(label) for label in fitted.predict(rows)]
            facts["top"] = _top(explanation, len(rows), top)
            print(json.dumps(facts))
            return
        _console().print(_rows_table(fitted, explanation, rows, top))
        for path in written:
            print(f"wrote {path}")


for _elsewhere in (bench, report, paper):
    app.command()(_elsewhere)


@app.command()
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Versions, threads, device, extras, and packages whose names clash with ours."""
    with friendly(debug, as_json):
        from bench.doctor import examine, missing_core

        found = examine()
        lacking = missing_core(found)
        answer(found, _diagnosis(found, lacking), as_json)
    if found["clashes"] or lacking:
        raise typer.Exit(CHECK_FAILED)


def load_model(folder: Path) -> Any:  # noqa: ANN401 - either estimator
    """The estimator that a folder holds: classifier, regressor or LEX.

    Args:
        folder: From `harsanyi train` or `save_pretrained`.

    Raises:
        FileNotFoundError: If there is no model in it.
        ValueError: If its config is corrupt or of another kind of model.
    """
    from harsanyi.estimators import HarsanyiClassifier, HarsanyiRegressor

    config = folder / "config.json"
    if not config.is_file():
        raise FileNotFoundError(
            f"no model in {folder} (no config.json); harsanyi train DATA --target COLUMN --out "
            f"{folder} makes one."
        )
    if (folder / "columns.json").is_file():
        from amortized.lex.frames import LEXForTables

        return LEXForTables.from_pretrained(folder)
    try:
        said = json.loads(config.read_text(encoding="utf-8"))
        kind = said["estimator"]["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{config} is damaged or not of a model for tables; train it again."
        ) from error
    kinds = {kind.__name__: kind for kind in (HarsanyiClassifier, HarsanyiRegressor)}
    if kind not in kinds:
        raise ValueError(f"{config} is of a {kind!r}; explain reads {' and '.join(kinds)}.")
    return kinds[kind].from_pretrained(folder)


def _kind_and_data(words: list[str]) -> tuple[str, Path]:
    if len(words) == 1:
        kind, data = "tabular", words[0]
        if data in KINDS and not Path(data).exists():
            raise ValueError(f"train {data} what? Pass a file: harsanyi train {data} data.csv.")
    elif len(words) == 2:
        kind, data = words
    else:
        raise ValueError(f"{len(words)} arguments; pass at most a kind and a file.")
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} cannot be trained here; available: {', '.join(KINDS)}.")
    return kind, Path(data)


def _console(quiet: bool = False) -> Any:  # noqa: ANN401 - rich's Console
    from rich.console import Console

    return Console(quiet=quiet)


def _note(words: str) -> None:
    print(words, file=sys.stderr)


def _command() -> str:
    from bench.demo import command_line

    return command_line()


def _top(explanation: Any, rows: int, most: int) -> list[dict[str, float]]:  # noqa: ANN401
    from baselines.bars import output_of_row

    found = []
    names = explanation.player_names()
    for row in range(rows):
        values = explanation.values[row, :, output_of_row(explanation, row, None)]
        order = values.abs().argsort(descending=True, stable=True)[:most]
        found.append({names[i]: float(values[i]) for i in order.tolist()})
    return found


def _rows_table(fitted: Any, explanation: Any, rows: Any, top: int, most: int = 10) -> Any:  # noqa: ANN401
    """The first rows: prediction and the players that moved it most."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = f"{len(rows):,} rows explained" + (f", the first {most}" if len(rows) > most else "")
    drawn = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in ("row", "prediction", f"the {top} players that moved it most"):
        drawn.add_column(heading)
    first = rows.iloc[:most]
    predicted = fitted.predict(first)
    for row, values in enumerate(_top(explanation, len(first), top)):
        label = predicted[row]
        shown = f"{label:.4g}" if isinstance(label, float) else str(label)
        moved = ", ".join(f"{name} {value:+.3g}" for name, value in values.items())
        drawn.add_row(str(row), Text(shown), Text(moved))
    return drawn


def _diagnosis(found: dict[str, Any], lacking: list[str]) -> str:
    threads = found["threads"]
    lines = [
        f"Python {found['python']} on {found['platform']}",
        (
            f"device {found['device']}; {threads['torch']} threads of {threads['cpus']} CPUs "
            f"(OMP_NUM_THREADS={threads['OMP_NUM_THREADS']})"
        ),
        ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version),
    ]
    for extra, names in found["extras"].items():
        absent = [name for name, version in names.items() if version is None]
        state = "installed" if not absent else f"absent; pip install 'harsanyi[{extra}]'"
        lines.append(f"extra {extra}: {state}")
    lines.append(f"data folder: {found['data'] or 'none; set HARSANYI_DATA to one'}")
    lines += [f"MISSING: {name}; reinstall harsanyi" for name in lacking]
    lines += [f"CLASH: {words}" for words in found["clashes"]] or ["no clash of package names"]
    return "\n".join(lines)


def main() -> None:
    """The console script `harsanyi`."""
    app()


if __name__ == "__main__":
    main()
