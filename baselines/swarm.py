"""All explicands at once: a swarm of dots for each player, and the players' mean importance."""

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.bars import as_numpy, at_least_one, label, ordered_data, output_of_all
from baselines.canvas import (
    FAINT,
    INK,
    LOWERS,
    RAISES,
    finish_rows,
    label_axis,
    new_axes,
    title,
    write_values,
)
from baselines.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_swarm(
    explanation: Explanation, output: int | str | None, max_players: int, ax: "Axes | None"
) -> "Axes":
    """`Explanation.plot.beeswarm`."""
    values, position = _one_output(explanation, output, "a beeswarm")
    order, rest = _largest(np.abs(values).mean(0), max_players)
    data = ordered_data(explanation)
    lines = [
        (values[:, i], np.full(len(values), np.nan) if data is None else _ranks(data[:, i]))
        for i in order
    ]
    names = explanation.player_names()
    labels = [label(names[i]) for i in order]
    if len(rest):
        lines.append((values[:, rest].sum(1), np.full(len(values), np.nan)))
        labels.append(f"{len(rest)} others")
    ax = ax or new_axes(6.4, 1.3 + 0.36 * len(lines))
    colours = None
    for place, (column, shade) in enumerate(lines):
        colours = ax.scatter(
            column,
            place + _spread(column),
            c=shade,
            cmap=_value_map(),
            vmin=0,
            vmax=1,
            s=11,
            linewidths=0,
            alpha=0.85,
            zorder=2,
            rasterized=True,
            plotnonfinite=True,
        )
    if data is not None and colours is not None:
        _feature_scale(ax, colours)
    ax.axvline(0, color=FAINT, linewidth=0.8, zorder=1)
    finish_rows(ax, labels, [0.0, *np.concatenate([column for column, _ in lines])])
    title(ax, f"{len(explanation)} rows", explanation.output_names()[position])
    label_axis(ax, explanation)
    return ax


def draw_importance(
    explanation: Explanation, output: int | str | None, max_players: int, ax: "Axes | None"
) -> "Axes":
    """`Explanation.plot.importance`."""
    values, position = _one_output(explanation, output, "mean importance")
    size = np.abs(values).mean(0)
    order, rest = _largest(size, max_players)
    names = explanation.player_names()
    labels, drawn = [label(names[i]) for i in order], size[order]
    if len(rest):
        labels.append(f"{len(rest)} others")
        drawn = np.append(drawn, size[rest].sum())
    ax = ax or new_axes(6.4, 1.15 + 0.33 * len(labels))
    places = np.arange(len(labels))
    ax.barh(places, drawn, height=0.68, color=FAINT, zorder=2)  # a size has no direction
    write_values(ax, places, drawn, drawn, sign="-")
    finish_rows(ax, labels, [0.0, *drawn])
    title(ax, f"{len(explanation)} rows", explanation.output_names()[position])
    label_axis(ax, explanation)
    ax.set_xlabel(ax.get_xlabel().replace("contribution to the output", "mean |contribution|"))
    ax.set_xlim(left=0)
    return ax


def _one_output(
    explanation: Explanation, output: int | str | None, what: str
) -> tuple[np.ndarray, int]:
    """Values `(b, n)` of one output, and its position."""
    if explanation.is_ragged or explanation.player_mask is not None:
        raise ValueError(f"{what} needs the same players in each row; use plot.text or bar.")
    if len(explanation) == 0:
        raise ValueError(f"{what} needs at least one explicand; this explanation has none.")
    values = as_numpy(explanation.values)  # (b, n, k)
    position = output_of_all(explanation, output, values)
    return values[..., position], position


def _largest(size: np.ndarray, max_players: int) -> tuple[np.ndarray, np.ndarray]:
    """Players by size, and those that are summed; one alone is shown instead."""
    order = np.argsort(-size, kind="stable")
    kept, rest = order[: at_least_one(max_players)], order[max_players:]
    return (order, rest[:0]) if len(rest) == 1 else (kept, rest)


def _ranks(column: np.ndarray) -> np.ndarray:
    """Ranks from 0 to 1, ties sharing their middle; missing and constant columns have none."""
    ranks = np.full(len(column), np.nan)
    there = ~np.isnan(column)
    distinct, where, counts = np.unique(column[there], return_inverse=True, return_counts=True)
    if len(distinct) > 1:
        middles = np.cumsum(counts) - (counts + 1) / 2
        ranks[there] = ((middles - middles[0]) / (middles[-1] - middles[0]))[where]
    return ranks


def _spread(column: np.ndarray, bins: int = 90, height: float = 0.4) -> np.ndarray:
    """Offsets that pile near-equal values up around the middle of their row."""
    width = np.ptp(column) or 1.0
    bucket = np.round(bins * (column - column.min()) / width).astype(int)
    layers = np.zeros(len(column))
    seen: dict[int, int] = {}
    for i in np.argsort(column, kind="stable"):
        count = seen.get(bucket[i], 0)
        layers[i] = (-1) ** count * ((count + 1) // 2)
        seen[bucket[i]] = count + 1
    highest = np.abs(layers).max()
    return layers * (height / max(highest, 8.0))


@functools.cache
def _value_map() -> Any:  # noqa: ANN401 - matplotlib's colormap
    """Blue to orange through a light purple that stays visible on white; grey for missing."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("harsanyi", [LOWERS, "#b59bb5", RAISES])
    return colours.with_extremes(bad="#9aa0a6")


def _feature_scale(ax: "Axes", colours: Any) -> None:  # noqa: ANN401 - matplotlib's mappable
    bar = ax.get_figure(root=True).colorbar(colours, ax=ax, pad=0.01, aspect=40, ticks=[0, 1])  # pyright: ignore[reportOptionalMemberAccess]
    bar.ax.set_yticklabels(["low", "high"], color=INK, fontsize=9)
    bar.set_label("feature value (rank)", color=INK, labelpad=-12, fontsize=9)
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set(alpha=1)
