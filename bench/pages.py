"""Pages: tables, pictures and texts on one self-contained HTML page, and tables for a terminal."""

import dataclasses
import html
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.files import atomic_write
from baselines.heatmaps import TextHeatMap
from bench.pictures import Picture

if TYPE_CHECKING:
    from rich.table import Table as RichTable


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
        folded: Whether a page shows the heading alone until it is opened.
    """

    title: str
    columns: Sequence[tuple[str, str, str]]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    folded: bool = False

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
            side = "right" if numeric else "left"
            # in a narrow terminal words fold, so that no number is lost
            drawn.add_column(Text(heading), justify=side, no_wrap=numeric, overflow="fold")
        for row in self.rows:
            drawn.add_row(*(Text(cell.text) for cell in row))
        return drawn


@dataclasses.dataclass(frozen=True)
class Reading:
    """A text shaded by its values, under the output they explain.

    Args:
        heat: The text.
        note: What to make of it, such as the words that matter together.
    """

    heat: TextHeatMap
    note: str = ""

    def html(self) -> str:
        """The text as an HTML fragment; words are escaped."""
        note = f'<p class="note">{html.escape(self.note)}</p>' if self.note else ""
        output = html.escape(self.heat.output)
        return f'<div class="reading"><p class="note">{output}</p>{self.heat.html()}{note}</div>'


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the page: a heading, some words, tables, pictures, texts shaded by their values."""

    heading: str
    words: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    texts: Sequence[Reading] = ()


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
