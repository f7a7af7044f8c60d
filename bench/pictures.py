"""Pictures for a page: SVG that follows light and dark mode, and the plot of cost against error."""

import base64
import dataclasses
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.canvas import FAINT, GRID, INK, LOWERS, PAPER, RAISES, clean, new_axes, title

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

DARK = {INK: "#e6edf3", FAINT: "#9aa4af", GRID: "#3a424c", PAPER: "#14181d"}
"""Colours of the canvas -> what they become in dark mode."""

FAMILY_COLOURS = (RAISES, LOWERS, "#009e73", "#cc79a7", "#b8860b", FAINT)
ROUNDING = 1e-5
"""Errors below it are no error of a method: they are what float32 arithmetic leaves."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of a page, with the words that stand for it.

    Args:
        source: A `data:` address, so that the page needs no other file.
        alt: What the picture shows, for those who do not see it.
        caption: What to make of it.
        width: Width in CSS pixels.
        height: Height in CSS pixels.
    """

    source: str
    alt: str
    caption: str
    width: int
    height: int


def picture(ax: "Axes", alt: str, caption: str = "") -> Picture:
    """Axes as an SVG picture whose colours follow the reader's light or dark mode.

    Args:
        ax: From `baselines.plots` or `pareto`.
        alt: What the picture shows, in words.
        caption: What to make of it.

    Returns:
        A Picture that holds all it needs.
    """
    figure = ax.get_figure(root=True)
    if figure is None:
        raise ValueError("ax belongs to no figure; draw it with explanation.plot.")
    file = io.StringIO()
    with warnings.catch_warnings():
        # A script the font lacks is drawn as boxes; the page's tables still say the name.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = _follow_the_mode(file.getvalue())
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    source = "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
    return Picture(source, alt, caption, width, height)


def _follow_the_mode(svg: str) -> str:
    """Name the canvas colours as variables that a media query switches."""
    for i, colour in enumerate(DARK):
        svg = svg.replace(colour, f"var(--c{i})")
    light = ";".join(f"--c{i}:{colour}" for i, colour in enumerate(DARK))
    dark = ";".join(f"--c{i}:{colour}" for i, colour in enumerate(DARK.values()))
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, svg, count=1)


def pareto(board: "pd.DataFrame") -> "Axes":
    """Error against evaluations, one point per contender with its 95 % interval.

    Errors that are rounding only stand on the floor of the picture as triangles, since the
    logarithmic axis would otherwise be spent on them; hollow points are within the truth's noise.

    Args:
        board: A leaderboard; contenders without error or evaluations are left out.

    Returns:
        The Axes, both logarithmic.

    Raises:
        ValueError: If no contender has both.
    """
    families: dict[str, list[dict[str, Any]]] = {}
    for row in board.to_dict("records"):
        if np.isfinite(row["nrmse"]) and cost_of(row) > 0:
            families.setdefault(family_of(row["method"]), []).append(row)
    rows = [row for members in families.values() for row in members]
    if not rows:
        raise ValueError("no contender of this leaderboard has both an error and evaluations.")
    ax = new_axes(6.4, 3.7)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.autoscale(enable=False)  # points that all lie on the floor have no extent of their own
    errors = [row["nrmse"] for row in rows if row["nrmse"] > ROUNDING] or [0.05]
    floor = min(errors) * (0.2 if len(errors) < len(rows) else 0.6)
    highs = np.array([max(row["relative_error_hi"], 0.0) for row in rows], dtype=float)
    highs = np.sqrt(highs[np.isfinite(highs)])
    placed: list[tuple[float, float]] = []
    for i, (family, members) in enumerate(families.items()):
        members = sorted(members, key=cost_of)
        spot = (np.log10(cost_of(members[0])), np.log10(max(members[0]["nrmse"], floor)))
        near = sum(abs(x - spot[0]) < 0.3 and abs(y - spot[1]) < 0.15 for x, y in placed)
        placed.append(spot)  # names of points that lie together are stacked
        _draw_family(ax, clean(family, 30), members, FAMILY_COLOURS[i % 6], floor, 4 - 11 * near)
    ax.set_ylim(0.6 * floor, 1.4 * max(*errors, *highs, 2 * floor))
    costs = [cost_of(row) for row in rows]
    ax.set_xlim(min(costs) / 1.6, max(costs) * 2.2)
    _plain_log_ticks(ax)
    ax.grid(color=GRID, linewidth=0.6)
    title(ax, "Error against cost")
    ax.set_xlabel("model evaluations per explained row")
    ax.set_ylabel("error as a share of the values")
    return ax


def price_plot(frame: "pd.DataFrame") -> "Axes":
    """What each architecture costs in accuracy, with its interval; zero is the black box.

    Args:
        frame: From `bench.architecture_tables.summary`; several tables are averaged.

    Returns:
        The Axes, one line per architecture, the cheapest on top.

    Raises:
        ValueError: If no architecture has a price.
    """
    numbers = ["price", "price_lo", "price_hi", "score", "nrmse"]
    floor = frame["at_floor"] if "at_floor" in frame else frame["nrmse"] <= ROUNDING
    means: Any = (
        frame.assign(floor=floor).groupby("method", sort=False)[[*numbers, "floor"]].mean()
    )
    means = means[means["price"].notna()].sort_values("price", ascending=False)
    if means.empty:
        raise ValueError("no architecture of this frame has a price; judge the reference too.")
    ax = new_axes(6.4, 1.2 + 0.34 * len(means))
    ax.axvline(0, color=FAINT, linewidth=1)
    for place, (name, row) in enumerate(means.iterrows()):
        low, high = np.nan_to_num([row["price_lo"], row["price_hi"]], nan=row["price"])
        colour = RAISES if low > 0 else LOWERS
        ax.plot([low, high], [place, place], color=colour, linewidth=2, solid_capstyle="round")
        ax.plot(row["price"], place, "o", color=colour, markersize=7)
        exact = row["nrmse"] <= ROUNDING
        seen = "no error found" if row["floor"] == 1 else f"error {row['nrmse']:.2g}"
        error = "exact" if exact else seen
        words = f"{row['score']:.3f}" + (f", {error}" if np.isfinite(row["nrmse"]) else "")
        ax.annotate(
            words,
            xy=(1.01, place),
            xycoords=("axes fraction", "data"),
            fontsize=8.5,
            color=INK,
            va="center",
        )
        ax.annotate(
            clean(str(name), 24),
            xy=(-0.01, place),
            xycoords=("axes fraction", "data"),
            fontsize=9,
            color=INK,
            va="center",
            ha="right",
            parse_math=False,
        )
    ax.set_yticks([])
    ax.set_ylim(-0.6, len(means) - 0.4)
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    title(ax, "Price of interpretability")
    ax.set_xlabel("score of the black box less the architecture's; left of zero is better")
    return ax


def spread_plot(frame: "pd.DataFrame", column: str, measure: str, label: str) -> "Axes":
    """A measure of each method on every problem, and its median.

    Args:
        frame: One row per problem and method; the measure is finite.
        column: Whose words are the methods.
        measure: What is drawn; on a logarithmic axis where it is positive and spans decades.
        label: Of the axis.

    Returns:
        The Axes, one line per method in the order of the frame.
    """
    names = list(dict.fromkeys(frame[column]))
    ax = new_axes(6.4, 1.2 + 0.34 * len(names))
    drawn: Any = frame[measure]
    low, high = float(drawn.min()), float(drawn.max())
    if low > 0 and high > 100 * low:
        ax.set_xscale("log")
    for place, name in enumerate(reversed(names)):
        values = drawn[frame[column] == name].to_numpy()
        ax.plot(values, np.full(len(values), place), "o", color=FAINT, markersize=4, alpha=0.6)
        ax.plot(np.median(values), place, "o", color=RAISES, markersize=8)
    ax.set_yticks(range(len(names)), [clean(str(name), 30) for name in reversed(names)])
    for tick in ax.get_yticklabels():
        tick.set_parse_math(False)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_xlabel(label)
    title(ax, "On every problem")
    return ax


def _plain_log_ticks(ax: "Axes") -> None:
    """Decades written as 0.01 and 1,000; between them at most 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (ax.xaxis, ax.yaxis):
        low, high = np.log10(axis.get_view_interval())
        axis.set_major_locator(LogLocator(subs=(1.0,) if high - low > 2.5 else (1.0, 2.0, 5.0)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 10 else f"{value:g}")
        )


def _draw_family(
    ax: "Axes",
    name: str,
    members: Sequence[dict[str, Any]],
    colour: str,
    floor: float,
    lift: float,
) -> None:
    """One contender at all its budgets: a line, its points, its intervals, its name."""
    cost = np.array([cost_of(row) for row in members])
    true_error = np.array([row["nrmse"] for row in members])
    error = true_error.clip(floor)
    low, high = (
        np.sqrt(np.nan_to_num([row[f"relative_error_{end}"] for row in members]).clip(0))
        for end in ("lo", "hi")
    )
    whiskers = [(error - low.clip(floor)).clip(0), (high.clip(floor) - error).clip(0)]
    ax.errorbar(
        cost, error, yerr=whiskers, color=colour, marker="none", linewidth=1.4, capsize=2.5
    )
    exact = true_error <= ROUNDING
    noise = np.array([bool(row["at_floor"]) for row in members]) & ~exact
    for marker, chosen, inside in (
        ("o", ~exact & ~noise, colour),
        ("o", noise, PAPER),
        ("v", exact, colour),
    ):
        ax.plot(
            cost[chosen],
            error[chosen],
            marker,
            color=colour,
            markerfacecolor=inside,
            markersize=7,
        )
    found = " (no error found)" if exact.all() else " (within the truth's noise)"
    ax.annotate(
        name + (found if (exact | noise).all() else ""),
        xy=(float(cost[0]), float(error[0])),
        xytext=(9, lift),
        textcoords="offset points",
        fontsize=9,
        color=colour,
        fontweight="bold",
        parse_math=False,
    )


def cost_of(row: Mapping[str, Any]) -> float:
    """Evaluations per explicand: as counted, or as stated where nobody could count them.

    Args:
        row: One row of a leaderboard.
    """
    return float(row["evals"] if np.isfinite(row["evals"]) else row["evals_claimed"])


def family_of(method: str) -> str:
    """The contender without its budget: `permutation @ 200` and `permutation@5n` are one family.

    Args:
        method: Name of a contender.
    """
    return re.sub(r"\s*@.*$", "", method)


def in_words(names: Sequence[str], values: Sequence[float], most: int = 5) -> str:
    """The largest values as a sentence, for those who do not see the picture.

    Args:
        names: Names of the players.
        values: As many values.
        most: How many to name.

    Returns:
        Such as `worst area +1.2, mean radius -0.3`.
    """
    order = sorted(range(len(names)), key=lambda i: -abs(values[i]))[:most]
    return ", ".join(f"{clean(names[i])} {values[i]:+.3g}" for i in order)
