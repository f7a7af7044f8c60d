"""Report: a leaderboard for the terminal, and one self-contained page with pictures for people.

A run is a folder: `leaderboard.parquet`, and where they exist `accuracy.parquet` (models on the
same split), `explanations.safetensors`, `rows.parquet` (the explained rows, as the user wrote them)
and `run.json` (title, command, versions). `write_report(folder)` makes the page from these alone.
"""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.canvas import number
from baselines.explanation import Explanation
from baselines.heatmaps import TextHeatMap
from baselines.shards import atomic_write
from bench.pictures import Picture, cost_of, in_words, pareto, picture

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

MISSING = "–"  # noqa: RUF001 - an en dash, as tables have it


@dataclasses.dataclass(frozen=True)
class Cell:
    """What a reader sees, and what a column sorts by."""

    text: str
    sort: float | str


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a page or terminal.

    Args:
        title: Its heading.
        columns: Short heading for a terminal, heading for a page, a sentence that explains it.
        rows: Cells, as many as columns.
        note: What a reader should know before comparing.
    """

    title: str
    columns: Sequence[tuple[str, str, str]]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def rich(self) -> "RichTable":
        """The table for a terminal; names are words there, never markup."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(
            title=Text(self.title, style="bold"),
            caption=Text(self.note) if self.note else None,
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        for i, (heading, _, _) in enumerate(self.columns):
            numeric = any(isinstance(row[i].sort, float) for row in self.rows)
            drawn.add_column(Text(heading), justify="right" if numeric else "left", no_wrap=True)
        for row in self.rows:
            drawn.add_row(*(Text(cell.text) for cell in row))
        return drawn


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: a heading, some words, tables, pictures, texts shaded by their values."""

    heading: str
    words: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    texts: Sequence[TextHeatMap] = ()


def write_page(
    path: str | PathLike[str],
    title: str,
    lead: str,
    sections: Sequence[Section],
    made: Mapping[str, str],
) -> Path:
    """Write one HTML file that needs no other: no address, no script from elsewhere.

    Args:
        path: File to write.
        title: Its title.
        lead: One sentence under it.
        sections: Parts in reading order.
        made: How it was made: command, commit, versions, hardware, date.

    Returns:
        The path.

    Raises:
        ImportError: If jinja2 is not installed (extra `report`).
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise ImportError(
            "a page needs jinja2; install it with pip install 'harsanyi[report]'."
        ) from error
    environment = Environment(
        loader=PackageLoader("bench"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        title=title, lead=lead, sections=sections, made=made
    )
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, page.encode())
    return path


def write_report(folder: str | PathLike[str], html: str | PathLike[str] | None = None) -> Path:
    """Write the page of a run from the files in its folder.

    Args:
        folder: Holds `leaderboard.parquet` and what else a run leaves.
        html: File to write; `report.html` in the folder by default.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: If the folder holds no leaderboard and no explanations.
        ValueError: If a file of the run is corrupt.
    """
    folder = Path(folder)
    run = _read_json(folder / "run.json")
    board = read_parquet(folder / "leaderboard.parquet")
    accuracy = read_parquet(folder / "accuracy.parquet")
    stored = folder / "explanations.safetensors"
    explanation = Explanation.load(stored) if stored.is_file() else None
    if board is None and explanation is None:
        raise FileNotFoundError(
            f"{folder} holds neither leaderboard.parquet nor explanations.safetensors; run "
            "harsanyi bench or make demo first, or pass the folder of a run."
        )
    sections = []
    if accuracy is not None:
        sections.append(
            Section("How accurate", run.get("split", ""), tables=[accuracy_table(accuracy)])
        )
    if board is not None:
        sections.append(leaderboard_section(board))
    if explanation is not None:
        rows = read_parquet(folder / "rows.parquet")
        sections += explanation_sections(explanation, rows, run.get("examples"))
    return write_page(
        folder / "report.html" if html is None else html,
        run.get("title", folder.name),
        run.get("lead", ""),
        sections,
        {name: str(value) for name, value in run.get("made", {}).items()},
    )


def leaderboard_section(board: "pd.DataFrame") -> Section:
    """The leaderboard and, where costs were counted, the picture of error against cost."""
    pictures = []
    records = board.to_dict("records")
    if any(math.isfinite(row["nrmse"]) and cost_of(row) > 0 for row in records):
        alt = "Error against model evaluations: " + "; ".join(
            f"{row['method']}: error {row['nrmse']:.3g} at {cost_of(row):.0f} evaluations"
            for row in records
        )
        caption = "Further left is cheaper, further down is more accurate. Hollow: within the truth's noise."
        pictures.append(picture(pareto(board), alt, caption))
    words = (
        "Each contender explains the same rows of the same model. Its error is measured against "
        "ground truth made with draws of its own, and net of that truth's noise."
    )
    return Section("Who is right, and at what cost", words, [leaderboard_table(board)], pictures)


def leaderboard_table(board: "pd.DataFrame") -> Table:
    """The columns of a leaderboard that a person reads first.

    Args:
        board: From `bench.leaderboard`.

    Returns:
        A table for terminal and page, in the order of the leaderboard.
    """
    records = board.to_dict("records")
    several = len({row["problem"] for row in records}) > 1
    columns = [
        *([("problem", "problem", "data and model that are explained")] if several else []),
        ("contender", "contender", "method, and its budget where it has one"),
        ("of", "explains", "own: a model explains itself; box: a method explains a given model"),
        ("error", "error", "root of squared error over squared true values, 0 is perfect"),
        ("95 % int.", "95 % interval", "of the error, over explained rows"),
        ("rank", "rank agreement", "Spearman correlation with the true values, 1 is perfect"),
        ("evals", "evaluations", "coalitions per row, counted where they are asked, else stated"),
        ("ms/row", "ms per row", "wall-clock time to explain one row"),
    ]
    rows = []
    for row in records:
        low, high = (math.sqrt(max(row[f"relative_error_{end}"], 0.0)) for end in ("lo", "hi"))
        interval = f"{_short(low)}…{_short(high)}" if math.isfinite(high) else MISSING
        rows.append(
            [
                *([Cell(row["problem"], row["problem"])] if several else []),
                Cell(row["method"], row["method"]),
                Cell(row["explains"], row["explains"]),
                Cell(_short(row["nrmse"]) + ("*" if row["at_floor"] else ""), row["nrmse"]),
                Cell(interval, high),
                Cell(_fixed(row["spearman"], 4), row["spearman"]),
                Cell(_evaluations(row), cost_of(row)),
                Cell(_short(1000 * row["seconds"]), 1000 * row["seconds"]),
            ]
        )
    truths = {
        f"{row['truth_kind']} ({row['truth_method']}, {_count(row['truth_evals'])} evaluations)"
        for row in records
        if row["truth_kind"] != "none"
    }
    note = f"Truth: {', '.join(sorted(truths))}." if truths else "No truth was given."
    if any(row["at_floor"] for row in records):
        note += " * not clearly above the noise of the truth, so not told apart from 0."
    if any(not math.isfinite(row["evals"]) and row["evals_claimed"] for row in records):
        note += " † as the model states it, in passes of its own."
    return Table("Leaderboard", columns, rows, note)


def accuracy_table(accuracy: "pd.DataFrame") -> Table:
    """Models on the same split: score, score with half of the players masked, seconds to fit.

    Args:
        accuracy: Columns `model`, `score`, `score_lo`, `score_hi`, `masked_score`, `fit_seconds`
            and `metric` (`accuracy` or `R2`).

    Returns:
        A table for terminal and page.
    """
    metric = str(accuracy["metric"].iloc[0])
    show = _percent if metric == "accuracy" else lambda value: _fixed(value, 3)
    columns = [
        ("model", "model", "trained on the same rows"),
        (metric, metric, "on the test rows"),
        ("95 % interval", "95 % interval", "over test rows, by bootstrap"),
        ("half masked", "half masked", f"{metric} with a random half of the players absent"),
        ("fit s", "seconds to fit", "wall clock"),
    ]
    rows = [
        [
            Cell(row["model"], row["model"]),
            Cell(show(row["score"]), row["score"]),
            Cell(f"{show(row['score_lo'])}…{show(row['score_hi'])}", row["score_lo"]),
            Cell(show(row["masked_score"]), row["masked_score"]),
            Cell(_fixed(row["fit_seconds"], 1), row["fit_seconds"]),
        ]
        for row in accuracy.to_dict("records")
    ]
    note = (
        "Half masked: the same random masks for each model; an absent value becomes the baseline."
    )
    return Table("Accuracy", columns, rows, note)


def explanation_sections(
    explanation: Explanation,
    rows: "pd.DataFrame | None" = None,
    examples: Sequence[tuple[int, str]] | None = None,
) -> list[Section]:
    """Example explanations as pictures, all rows at once, and the order spectrum.

    Args:
        explanation: Of `b` rows.
        rows: The same rows as the user wrote them, whose cells stand beside the names.
        examples: Rows to draw and why they were chosen; the first three by default.

    Returns:
        One section of examples and one of the whole.
    """
    from baselines.bars import output_of_row

    additive = explanation.estimand in ("shapley", "owen")
    draw = explanation.plot.waterfall if additive else explanation.plot.bar
    if examples is None:
        examples = [(row, "") for row in range(min(3, len(explanation)))]
    pictures = []
    for row, why in examples:
        ax = draw(row, shown=_cells(rows, row, explanation))
        output = output_of_row(explanation, row, None)
        name = explanation.output_names()[output]
        values = explanation.values[row, :, output].tolist()
        alt = f"Row {row}, output {name}: {in_words(explanation.player_names(row), values)}"
        caption = f"Row {row}" + (f", {why}" if why else "") + f": why {name} got its score."
        pictures.append(picture(ax, alt, caption))
    exact = (
        "Exact: the bars sum to the model's own output, up to rounding."
        if explanation.exact
        else "Estimated, by sampling or by a learned explainer."
    )
    texts = [explanation.plot.text(row) for row, _ in examples] if explanation.is_ragged else []
    sections = [Section("Examples", exact, pictures=pictures, texts=texts)]
    whole = []
    if not explanation.is_ragged and explanation.player_mask is None:
        swarm = explanation.plot.beeswarm()
        alt = f"One dot per row and player, {len(explanation)} rows; the players that move most."
        whole.append(
            picture(
                swarm,
                alt,
                "Each dot is a row; orange dots have high values, grey ones are words or missing.",
            )
        )
    if "order_spectrum" in explanation.diagnostics:
        alt = "Share of dividends by number of players in an interaction."
        caption = "How far the model is from a sum of single effects."
        whole.append(picture(explanation.plot.order_spectrum(), alt, caption))
    return [*sections, *([Section("All rows", pictures=whole)] if whole else [])]


def _cells(rows: "pd.DataFrame | None", row: int, explanation: Explanation) -> list[str] | None:
    if rows is None or explanation.is_ragged:
        return None
    names = explanation.player_names()
    if not set(names) <= set(rows.columns) or row >= len(rows):
        return None
    cells = rows.to_dict("records")[row]
    return [in_cell(cells[name]) for name in names]


def in_cell(value: Any) -> str:  # noqa: ANN401 - whatever a table holds
    """A cell of the user's table as words.

    Args:
        value: A number, a word, or a missing value.
    """
    import pandas as pd

    if pd.isna(value):
        return "missing"
    return number(value) if isinstance(value, float) else str(value).strip()


def read_parquet(path: Path) -> "pd.DataFrame | None":
    """A table of a run, or None where the run has none.

    Args:
        path: File to read.

    Raises:
        ValueError: If the file is corrupt.
    """
    import pandas as pd
    import pyarrow as pa

    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is truncated or no parquet file ({error}).") from error


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Write a table in one step, replacing what was there.

    Args:
        path: File to write.
        table: Its rows.
    """
    import io

    file = io.BytesIO()
    table.to_parquet(file)
    atomic_write(path, file.getvalue())


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is truncated or no JSON file ({error}).") from error


def _short(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return f"{value:,.0f}" if 99.5 <= abs(value) < 1e6 else f"{value:.2g}"


def _fixed(value: float, digits: int) -> str:
    return MISSING if not math.isfinite(value) else f"{value:.{digits}f}"


def _percent(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{100 * value:.1f}%"


def _evaluations(row: Mapping[str, Any]) -> str:
    counted = math.isfinite(row["evals"])
    return _count(cost_of(row)) + ("" if counted or not row["evals_claimed"] else "†")


def _count(value: float) -> str:
    return MISSING if not math.isfinite(value) else f"{value:,.0f}"
