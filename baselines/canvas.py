"""The canvas pictures are drawn on: colours, axes without pyplot, titles, names made safe."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from baselines.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's vermilion and blue: told apart under every common colour blindness.
RAISES, LOWERS = "#d55e00", "#0072b2"
INK, FAINT, GRID, PAPER = "#1f2328", "#6e7781", "#d0d7de", "#ffffff"

MINUS = "\N{MINUS SIGN}"


@functools.cache
def _picture_class() -> type:
    """An Axes that a notebook shows by itself, without pyplot."""
    try:
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ImportError(
            "plots need matplotlib; install it with pip install 'harsanyi[plots]'."
        ) from error

    class Picture(Axes):
        """The Axes of one picture."""

        def _repr_png_(self) -> bytes:
            import io

            file = io.BytesIO()
            figure = self.get_figure(root=True)
            if figure is not None:
                figure.savefig(file, format="png", dpi=120)
            return file.getvalue()

    return Picture


def new_axes(width: float, height: float) -> "Axes":
    """Axes on a figure of their own, sized in inches."""
    picture = _picture_class()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=PAPER, dpi=120)
    FigureCanvasAgg(figure)
    ax = figure.add_subplot(axes_class=picture, facecolor="none")
    ax.tick_params(which="both", colors=INK, labelsize=9, length=0)
    ax.spines[:].set_visible(False)
    for part in (ax.xaxis.label, ax.yaxis.label):
        part.set(color=INK, fontsize=9)
    return ax


def title(ax: "Axes", *parts: str) -> None:
    """A bold title at the left; names in it are never read as mathematics."""
    words = " · ".join(clean(part, 30) for part in parts)
    ax.set_title(words, loc="left", fontsize=11, fontweight="bold", color=INK, parse_math=False)


def label_axis(ax: "Axes", explanation: Explanation) -> None:
    """Units below the axis: what a value is, whether it is exact, and of which game."""
    kind = "exact" if explanation.exact else "estimated"
    unit = {"shapley": "Shapley value", "banzhaf": "Banzhaf value", "owen": "Owen value"}.get(
        explanation.estimand, explanation.estimand
    )
    words = f"contribution to the output ({unit}, {kind})"
    ax.set_xlabel(words, color=INK, fontsize=9)
    if explanation.game:
        game = clean(f"game: {explanation.game}", 84)
        ax.annotate(
            game,
            xy=(1, 0),
            xycoords="axes fraction",
            xytext=(0, -31),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=7.5,
            color=FAINT,
            parse_math=False,
        )


def write_values(
    ax: "Axes", places: np.ndarray, ends: np.ndarray, values: np.ndarray, *, sign: str = "+"
) -> None:
    """Each bar's number, beside the end it points to; `sign` is that of positive ones."""
    for place, end, value in zip(places, ends, values, strict=True):
        right = value >= 0
        ax.annotate(
            f"{value:{sign}.3g}".replace("-", MINUS) if value else "0",
            xy=(float(end), float(place)),
            xytext=(4 if right else -4, 0),
            textcoords="offset points",
            va="center",
            ha="left" if right else "right",
            fontsize=8.5,
            color=INK,
        )


def mark(ax: "Axes", x: float, place: float, words: str) -> None:
    """A bold note at `x` that stays inside the picture."""
    low, high = ax.get_xlim()
    share = (x - low) / (high - low)
    side = "left" if share < 0.25 else "right" if share > 0.75 else "center"
    ax.text(
        x,
        place,
        words,
        ha=side,
        va="center",
        fontsize=9,
        color=INK,
        fontweight="bold",
        parse_math=False,
    )


def finish_rows(ax: "Axes", labels: Sequence[str], reach: Sequence[float]) -> None:
    """Name the rows, first on top, and leave room beside the bars for their numbers."""
    ax.set_yticks(range(len(labels)))
    ax.set_yticklabels(labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    low, high = min(reach), max(reach)
    room = 0.2 * ((high - low) or 1.0)  # a number of seven signs, in half the width of a page
    ax.set_xlim(low - room, high + room)
    ax.grid(axis="x", color=GRID, linewidth=0.6, zorder=0)


def clean(name: object, width: int = 32) -> str:
    """A name on one line, without control characters, cut in its middle at `width`."""
    line = "".join(c if c.isprintable() else " " for c in " ".join(str(name).split()))
    if len(line) <= width:
        return line
    head = (width - 1) * 2 // 3
    return f"{line[:head].rstrip()}…{line[head + 1 - width :].lstrip()}"


def number(value: float) -> str:
    """A whole number as it is, else four significant digits; a proper minus sign."""
    whole = value == round(value) and abs(value) < 1e7 if np.isfinite(value) else False
    return (f"{value:.0f}" if whole else f"{value:.4g}").replace("-", MINUS)
