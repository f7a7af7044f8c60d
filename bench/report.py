"""Report: a leaderboard for the terminal, and one self-contained page with pictures for people.

A run is a folder: `leaderboard.parquet`, and where they exist `accuracy.parquet` (models on the
same split), `architectures.parquet` (architectures on the same folds), `explanations.safetensors`,
`rows.parquet` (the explained rows, as the user wrote them), `cells.parquet` (a suite's cells), more explanations of texts and images
(`explanations-*.safetensors`), `speed.json` (the speed history) and `run.json` (title, command,
versions). `write_report(folder)` makes the page from these alone.
"""

import dataclasses
import json
import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from baselines.canvas import number
from baselines.explanation import Explanation
from baselines.shards import atomic_write
from bench import cell_report
from bench.advice import which_method
from bench.pages import Reading, Section, write_page
from bench.pictures import cost_of, in_words, pareto, picture, price_plot
from bench.report_tables import (
    accuracy_table,
    architecture_table,
    leaderboard_table,
    measures_table,
    provenance_table,
)
from bench.speed_history import FILE, read_speeds, regressions, speed_table, stored_run

if TYPE_CHECKING:
    import pandas as pd


CHEAPER = (
    "Further left is cheaper, further down is more accurate. Hollow: within the truth's noise."
)

ADVICE = (
    "Read off the tables below, so it holds for the problems of this run: the row that fits your "
    "need best among those that were judged."
)


def write_report(folder: str | PathLike[str], html: str | PathLike[str] | None = None) -> Path:
    """Write the page of a run from the files in its folder.

    Args:
        folder: Holds `leaderboard.parquet` and what else a run leaves.
        html: File to write; `report.html` in the folder by default.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: If the folder holds no leaderboard, cells or explanations.
        ValueError: If a file of the run is corrupt.
    """
    folder = Path(folder)
    run = _read_json(folder / "run.json")
    board = read_parquet(folder / "leaderboard.parquet")
    accuracy = read_parquet(folder / "accuracy.parquet")
    stored = folder / "explanations.safetensors"
    explanation = Explanation.load(stored) if stored.is_file() else None
    speed = folder / FILE
    cells = read_parquet(folder / cell_report.FILE)
    if board is None and explanation is None and cells is None and not speed.is_file():
        raise FileNotFoundError(
            f"{folder} holds neither leaderboard.parquet nor {cell_report.FILE} nor "
            f"explanations.safetensors nor {FILE}; run harsanyi bench, make demo or make bench "
            "first, or pass the folder of a run."
        )
    architectures = read_parquet(folder / "architectures.parquet")
    sections = []
    if board is not None and len(board) > 1:
        advice = which_method(board, architectures)
        if advice.rows:
            sections.append(Section("Which method for me", ADVICE, tables=[advice]))
    if accuracy is not None:
        sections.append(
            Section("How accurate", run.get("split", ""), tables=[accuracy_table(accuracy)])
        )
    if architectures is not None:
        sections.append(architecture_section(architectures))
    if board is not None:
        sections.append(leaderboard_section(board))
    if cells is not None:
        sections.append(cell_report.cells_section(cells, folder))
    if explanation is not None:
        rows = read_parquet(folder / "rows.parquet")
        sections += explanation_sections(explanation, rows, run.get("examples"))
    for extra in sorted(folder.glob("explanations-*.safetensors")):
        kind = extra.stem.partition("-")[2]
        (first, *_) = explanation_sections(Explanation.load(extra))
        sections.append(dataclasses.replace(first, heading=f"Examples: {kind}"))
    if speed.is_file():
        sections.append(speed_section(speed))
    return write_page(
        folder / "report.html" if html is None else html,
        run.get("title", folder.name),
        run.get("lead", ""),
        sections,
        {name: str(value) for name, value in run.get("made", {}).items()},
    )


def speed_section(path: Path) -> Section:
    """A run of the speed suites beside the stored one.

    Args:
        path: pytest-benchmark's JSON.
    """
    now, kept = read_speeds(path), stored_run()
    before = None if kept is None else read_speeds(kept)
    slow = [] if before is None else regressions(now, before)
    words = f"{len(slow)} of {len(now.seconds)} benchmarks are slower than the stored run."
    return Section("How fast", words, [speed_table(now, before)])


def leaderboard_section(board: "pd.DataFrame") -> Section:
    """The leaderboard and, where costs were counted, the picture of error against cost."""
    pictures = []
    games: list[str] = list(dict.fromkeys(board["game_id"]))
    for game in games:
        part: Any = board[board["game_id"] == game]
        records = part.to_dict("records")
        drawn = [row for row in records if math.isfinite(row["nrmse"]) and cost_of(row) > 0]
        if not drawn or (len(drawn) == 1 and len(games) > 1):
            continue
        alt = f"Error against model evaluations, {drawn[0]['problem']}: " + "; ".join(
            f"{row['method']}: error {row['nrmse']:.3g} at {cost_of(row):.0f} evaluations"
            for row in drawn
        )
        caption = CHEAPER + (f" Problem: {drawn[0]['problem']}." if len(games) > 1 else "")
        pictures.append(picture(pareto(part), alt, caption))
    tables = [leaderboard_table(board)]
    more = measures_table(board)
    if more is not None:
        tables.append(more)
    tables.append(provenance_table(board))
    words = (
        "Each contender explains the same rows of the same model. Its error is measured against "
        "ground truth made with draws of its own, and net of that truth's noise."
    )
    return Section("Who is right, and at what cost", words, tables, pictures)


def architecture_section(frame: "pd.DataFrame") -> Section:
    """Architectures on the same folds, and the picture of what interpretability costs.

    Args:
        frame: From `bench.architecture_tables.summary`.
    """
    pictures = []
    priced: Any = frame[frame["price"].notna()]
    if len(priced):
        alt = "Price of interpretability: " + "; ".join(
            f"{row['method']} on {row['table']}: {row['price']:+.3f}"
            for row in priced.to_dict("records")
        )
        caption = (
            "Loss of accuracy against the black box on the same test rows, with 95 % intervals."
        )
        pictures.append(picture(price_plot(frame), alt, caption))
    words = (
        "Every architecture trains on the same rows. Those that explain themselves are judged on "
        "their own game; the price is what their accuracy lacks of a black box's."
    )
    return Section("What interpretability costs", words, [architecture_table(frame)], pictures)


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
    is_image = explanation.data is not None and explanation.data.ndim > 2
    if examples is None:
        examples = [(row, "") for row in range(min(3, len(explanation)))]
    pictures = []
    for row, why in examples:
        ax = (
            explanation.plot.image(row)
            if is_image
            else draw(row, shown=_cells(rows, row, explanation))
        )
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
    ragged = explanation.is_ragged
    texts = [Reading(explanation.plot.text(row)) for row, _ in examples] if ragged else []
    sections = [Section("Examples", exact, pictures=pictures, texts=texts)]
    whole = []
    if not explanation.is_ragged and not is_image and explanation.player_mask is None:
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
