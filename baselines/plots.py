"""Plots: what a person looks at, drawn from an Explanation or from Interactions.

Each picture is a matplotlib Axes on a figure of its own, so nothing here needs a display or touches
pyplot; a notebook shows it, `ax.figure.savefig(path)` keeps it. Orange raises, blue lowers.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.bars import (
    as_numpy,
    largest_bars,
    output_of_row,
    real_players,
    row_position,
)
from baselines.canvas import (
    FAINT,
    GRID,
    INK,
    LOWERS,
    RAISES,
    finish_rows,
    label_axis,
    mark,
    new_axes,
    number,
    title,
    write_values,
)
from baselines.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from baselines.heatmaps import TextHeatMap
    from baselines.interactions import Interactions

# Estimands whose values sum to v(all) - base, which a waterfall needs.
ADDITIVE = ("shapley", "owen")


@dataclasses.dataclass(frozen=True)
class Plots:
    """Pictures of one explanation, reached as `explanation.plot`.

    Wherever `output` may be left out it is the only one, the last of two (the positive class), or
    of more the one with the largest value for this explicand.

    Args:
        explanation: What is drawn.
    """

    explanation: Explanation

    def bar(
        self,
        row: int = 0,
        output: int | str | None = None,
        *,
        max_players: int = 12,
        shown: Sequence[str] | None = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Bars of the largest values of one explicand, with 95 % intervals where there are any.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.
            max_players: Bars to draw; the rest is summed into one more bar.
            shown: `n` feature values as words; None takes the numbers of `data`.
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes, bars from the largest absolute value down.

        Raises:
            ValueError: If the row or output is out of range or `max_players` is below 1.
        """
        bars = largest_bars(self.explanation, row, output, max_players, shown)
        ax = ax or new_axes(6.4, 1.15 + 0.33 * len(bars.labels))
        places = np.arange(len(bars.labels))
        ax.barh(places, bars.values, height=0.68, color=_colours(bars.values), zorder=2)
        if bars.half_widths is not None:
            ax.errorbar(
                bars.values,
                places,
                xerr=bars.half_widths,
                fmt="none",
                ecolor=INK,
                capsize=2.5,
                elinewidth=1,
                zorder=3,
            )
        reach = np.nan_to_num(_or_zero(bars.half_widths))
        ends = bars.values + np.where(bars.values < 0, -reach, reach)
        write_values(ax, places, ends, bars.values)
        ax.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
        finish_rows(ax, bars.labels, [0.0, *(bars.values - reach), *(bars.values + reach)])
        name = self.explanation.output_names()[bars.output]
        title(ax, f"row {bars.row}", name)
        label_axis(ax, self.explanation)
        return ax

    def waterfall(
        self,
        row: int = 0,
        output: int | str | None = None,
        *,
        max_players: int = 12,
        shown: Sequence[str] | None = None,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """From the base value, player by player, to the model's output for one explicand.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.
            max_players: Steps to draw; the rest is summed into one more step.
            shown: `n` feature values as words; None takes the numbers of `data`.
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes, read from the base value on top down to the output.

        Raises:
            ValueError: If the values do not sum to an output (their estimand is not `shapley` or
                `owen`), or the row or output is out of range.
        """
        estimand = self.explanation.estimand
        if estimand not in ADDITIVE:
            raise ValueError(
                f"a waterfall adds values up to the output; estimand={estimand!r} does not sum to "
                f"it (only {ADDITIVE} do). Use plot.bar."
            )
        bars = largest_bars(self.explanation, row, output, max_players, shown)
        ax = ax or new_axes(6.4, 1.75 + 0.33 * len(bars.labels))
        base = 0.0
        if self.explanation.base_values is not None:
            base = float(self.explanation.base_values[bars.row, bars.output])
        ends = base + np.cumsum(bars.values)
        starts = np.concatenate([[base], ends[:-1]])
        places = np.arange(len(bars.labels))
        ax.barh(
            places, bars.values, left=starts, height=0.68, color=_colours(bars.values), zorder=2
        )
        for place, end in zip(places[:-1], ends[:-1], strict=True):
            ax.plot([end, end], [place + 0.34, place + 0.66], color=FAINT, linewidth=0.8, zorder=1)
        write_values(ax, places, ends, bars.values)
        finish_rows(ax, bars.labels, [base, *ends])
        ax.set_ylim(len(bars.labels) + 0.15, -1.15)
        final = float(ends[-1]) if len(ends) else base
        word = (
            "base value" if self.explanation.base_values is not None else "start (no base value)"
        )
        for x, place, words in (
            (base, -0.75, f"{word} {number(base)}"),
            (final, len(bars.labels) - 0.25, f"output {number(final)}"),
        ):
            mark(ax, x, place, words)
        ax.plot([base, base], [-0.55, 0.34], color=FAINT, linewidth=0.8, zorder=1)
        name = self.explanation.output_names()[bars.output]
        title(ax, f"row {bars.row}", name)
        label_axis(ax, self.explanation)
        return ax

    def beeswarm(
        self,
        output: int | str | None = None,
        *,
        max_players: int = 12,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """All explicands at once: one dot per explicand and player, coloured by feature value.

        Categories and missing values have no order and stay grey.

        Args:
            output: Name or position of the output; None takes the one with the largest mean
                absolute value when there are more than two.
            max_players: Players to draw, by mean absolute value; the rest is summed, row by row,
                into one more line of grey dots.
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes.

        Raises:
            ValueError: If explicands have players of their own (ragged), or there are none.
        """
        from baselines.swarm import draw_swarm

        return draw_swarm(self.explanation, output, max_players, ax)

    def importance(
        self,
        output: int | str | None = None,
        *,
        max_players: int = 12,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Mean absolute value of each player over all explicands.

        Args:
            output: Name or position of the output; None takes the one with the largest mean
                absolute value when there are more than two.
            max_players: Bars to draw; the rest is summed into one more bar.
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes, bars from the largest down.

        Raises:
            ValueError: If explicands have players of their own (ragged), or there are none.
        """
        from baselines.swarm import draw_importance

        return draw_importance(self.explanation, output, max_players, ax)

    def order_spectrum(self, *, ax: "Axes | None" = None) -> "Axes":
        """How much of the model is main effects, pairs, triples, ...: shares of dividend mass.

        Args:
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes, one bar per order.

        Raises:
            ValueError: If the explanation carries no `order_spectrum` among its diagnostics.
        """
        spectrum = self.explanation.diagnostics.get("order_spectrum")
        if spectrum is None:
            raise ValueError(
                "this explanation has no order_spectrum among its diagnostics; a Harsanyi model's "
                "explain gives one."
            )
        shares, names = _shares_by_order(as_numpy(spectrum))
        places = np.arange(len(shares))
        ax = ax or new_axes(5.2, 2.9)
        ax.bar(places, 100 * shares, width=0.7, color=LOWERS, zorder=2)
        for place, share in enumerate(shares):
            ax.annotate(
                f"{100 * share:.1f}",
                xy=(place, 100 * share),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color=INK,
            )
        ax.set_xticks(places, names)
        ax.set_ylim(0, 112)
        ax.grid(axis="y", color=GRID, linewidth=0.6)
        title(ax, "Order spectrum")
        ax.set_xlabel("players in an interaction (order)")
        ax.set_ylabel("share of dividends (%)")
        return ax

    def text(self, row: int = 0, output: int | str | None = None) -> "TextHeatMap":
        """The players as words, shaded by their values; for terminal, notebook and HTML.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.

        Returns:
            A heat map that rich prints, a notebook shows, and `.html()` gives as a fragment.

        Raises:
            ValueError: If the row or output is out of range.
        """
        from baselines.heatmaps import TextHeatMap

        row = row_position(self.explanation, row)
        position = output_of_row(self.explanation, row, output)
        names, values, _ = real_players(self.explanation, row, position)
        return TextHeatMap(
            tuple(names), tuple(values.tolist()), self.explanation.output_names()[position]
        )

    def image(
        self,
        row: int = 0,
        output: int | str | None = None,
        *,
        picture: Any = None,  # noqa: ANN401 - anything numpy reads as an image
        grid: tuple[int, int] | None = None,
        segments: Any = None,  # noqa: ANN401 - anything numpy reads as integers
        ax: "Axes | None" = None,
    ) -> "Axes":
        """The values laid over the picture they explain.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.
            picture: Image `(h, w)`, `(h, w, 3)` or `(3, h, w)`; None takes it from `data`.
            grid: Rows and columns of the patches that are the players; None means a square.
            segments: Integers `(h, w)`, the player of each pixel, in place of a grid.
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes, orange where a patch raises the output and blue where it lowers it.

        Raises:
            ValueError: If the players fill neither the grid nor the segments.
        """
        from baselines.heatmaps import draw_image

        row = row_position(self.explanation, row)
        position = output_of_row(self.explanation, row, output)
        ax = ax or new_axes(4.4, 4.0)
        draw_image(ax, self.explanation, row, position, picture, grid, segments)
        name = self.explanation.output_names()[position]
        title(ax, f"row {row}", name)
        return ax


@dataclasses.dataclass(frozen=True)
class InteractionPlots:
    """Pictures of interactions, reached as `interactions.plot`.

    Args:
        interactions: What is drawn.
    """

    interactions: "Interactions"

    def network(
        self,
        row: int = 0,
        output: int | str | None = None,
        *,
        max_players: int = 16,
        max_edges: int = 30,
        ax: "Axes | None" = None,
    ) -> "Axes":
        """Players on a circle, as large as their own value; edges are their pair interactions.

        Args:
            row: Position of the explicand.
            output: Name or position of the output; None takes the last.
            max_players: Players to draw, by the sum of absolute values they take part in.
            max_edges: Pairs to draw, by absolute value.
            ax: Axes to draw on; None makes a figure of its own.

        Returns:
            The Axes.

        Raises:
            ValueError: If the row or output is out of range, or there are no pairs (order 1).
        """
        from baselines.networks import draw_network

        ax = ax or new_axes(6.2, 6.4)
        draw_network(ax, self.interactions, row, output, max_players, max_edges)
        return ax


def _shares_by_order(spectrum: np.ndarray, most: int = 10) -> tuple[np.ndarray, list[str]]:
    """Shares that sum to 1 and names of the orders; a long tail becomes one last bar.

    Args:
        spectrum: `(orders,)`, `(rows, orders)` or `(rows, orders, k)`.
        most: Bars at most.
    """
    if spectrum.ndim == 3:
        spectrum = spectrum.mean((0, 2))
    elif spectrum.ndim == 2:
        spectrum = spectrum.mean(0)
    shares = spectrum / (spectrum.sum() or 1.0)
    seen = int(np.flatnonzero(shares > 5e-4).max(initial=0)) + 1
    if seen <= most:
        return shares[:seen], [str(order) for order in range(1, seen + 1)]
    head = [str(order) for order in range(1, most)]
    return np.append(shares[: most - 1], shares[most - 1 :].sum()), [
        *head,
        f"{most} to {len(shares)}",
    ]


def _or_zero(half_widths: np.ndarray | None) -> np.ndarray | float:
    return 0.0 if half_widths is None else half_widths


def _colours(values: np.ndarray) -> list[str]:
    return [RAISES if value > 0 else LOWERS for value in values]
