"""Interaction graphs: players on a circle, their own values as discs, their pairs as edges."""

from typing import TYPE_CHECKING

import numpy as np

from baselines.canvas import FAINT, INK, LOWERS, PAPER, RAISES, clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from baselines.interactions import Interactions


def draw_network(
    ax: "Axes",
    interactions: "Interactions",
    row: int,
    output: int | str | None,
    max_players: int,
    max_edges: int,
) -> None:
    """Draw the main effects and pair interactions of one explicand.

    Args:
        ax: Where to draw.
        interactions: Whose values.
        row: Position of the explicand.
        output: Name or position of the output; None takes the last.
        max_players: Players to draw, by the sum of absolute values they take part in.
        max_edges: Pairs to draw, by absolute value.

    Raises:
        ValueError: If the row or output is out of range, or there are no pairs.
    """
    subsets = interactions.subsets.cpu().numpy()  # (u, n)
    b, _, k = interactions.values.shape
    if not -b <= row < b:
        raise ValueError(f"row={row} is out of range; there are {b} explicands.")
    if interactions.order < 2:
        raise ValueError(
            f"a network shows pairs; these interactions have order={interactions.order}. "
            "Ask for order=2."
        )
    names = interactions.players or [f"player {i}" for i in range(subsets.shape[1])]
    outputs = list(interactions.outputs or [f"output {i}" for i in range(k)])
    position = _position(output, outputs)
    values = interactions.values[row, :, position].detach().double().cpu().numpy()
    sizes = subsets.sum(1)
    main, pairs = _effects(subsets, sizes, values)
    weight = np.abs(main) + np.abs(pairs).sum(1)
    players = np.sort(np.argsort(-weight, kind="stable")[:max_players])
    angles = np.pi / 2 - 2 * np.pi * np.arange(len(players)) / max(len(players), 1)
    x, y = np.cos(angles), np.sin(angles)
    _draw_edges(ax, x, y, pairs[np.ix_(players, players)], max_edges)
    _draw_players(ax, x, y, main[players], [clean(names[i], 18) for i in players])
    left_out = len(main) - len(players)
    note = f"{left_out} players with less are left out" if left_out else ""
    ax.text(0, -1.62, note, ha="center", fontsize=8, color=FAINT)
    ax.text(
        -1.75,
        1.72,
        f"row {row % b} · {clean(outputs[position])} · {interactions.index}",
        fontsize=11,
        fontweight="bold",
        color=INK,
        parse_math=False,
    )
    _draw_key(ax)
    ax.set(xlim=(-1.8, 1.8), ylim=(-1.72 if left_out else -1.4, 1.82), aspect="equal")
    ax.set_axis_off()


def _position(output: int | str | None, outputs: list[str]) -> int:
    if output is None:
        return len(outputs) - 1
    if isinstance(output, str):
        if output not in outputs:
            raise ValueError(f"output={output!r} is not one of {outputs}.")
        return outputs.index(output)
    if not -len(outputs) <= output < len(outputs):
        raise ValueError(f"output={output} is out of range; there are {len(outputs)} outputs.")
    return output % len(outputs)


def _effects(
    subsets: np.ndarray, sizes: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Values of single players `(n,)` and, symmetric, of pairs `(n, n)`."""
    n = subsets.shape[1]
    main, pairs = np.zeros(n), np.zeros((n, n))
    for subset, value in zip(subsets[sizes == 1], values[sizes == 1], strict=True):
        main[subset] = value
    for subset, value in zip(subsets[sizes == 2], values[sizes == 2], strict=True):
        i, j = np.flatnonzero(subset)
        pairs[i, j] = pairs[j, i] = value
    return main, pairs


def _draw_edges(
    ax: "Axes", x: np.ndarray, y: np.ndarray, pairs: np.ndarray, max_edges: int
) -> None:
    first, second = np.triu_indices(len(pairs), 1)
    strength = np.abs(pairs[first, second])
    largest = strength.max(initial=0.0) or 1.0
    for edge in np.argsort(-strength, kind="stable")[:max_edges][::-1]:
        if strength[edge] == 0:
            continue
        i, j = first[edge], second[edge]
        share = strength[edge] / largest
        ax.plot(
            [x[i], x[j]],
            [y[i], y[j]],
            color=RAISES if pairs[i, j] > 0 else LOWERS,
            linewidth=0.6 + 6 * share,
            alpha=0.25 + 0.6 * share,
            zorder=1,
            solid_capstyle="round",
        )


def _draw_players(
    ax: "Axes", x: np.ndarray, y: np.ndarray, main: np.ndarray, names: list[str]
) -> None:
    largest = np.abs(main).max(initial=0.0) or 1.0
    ax.scatter(
        x,
        y,
        s=40 + 460 * np.abs(main) / largest,
        zorder=2,
        linewidths=1.2,
        edgecolors=PAPER,
        color=[RAISES if value > 0 else LOWERS if value < 0 else FAINT for value in main],
    )
    for place, name in enumerate(names):
        across = x[place]
        ax.text(
            1.17 * across,
            1.17 * y[place] + (0.06 * np.sign(y[place]) if abs(across) < 0.3 else 0),
            name,
            va="center",
            fontsize=8.5,
            color=INK,
            zorder=3,
            parse_math=False,
            ha="center" if abs(across) < 0.12 else "left" if across > 0 else "right",
        )


def _draw_key(ax: "Axes") -> None:
    for place, colour, words in ((-1.75, RAISES, "raises"), (-1.2, LOWERS, "lowers")):
        ax.plot([place, place + 0.14], [1.58, 1.58], color=colour, linewidth=4)
        ax.text(place + 0.19, 1.58, words, va="center", fontsize=8.5, color=INK)
    ax.text(
        -0.55,
        1.58,
        "disc: the player's own value; edge: the pair's",
        va="center",
        fontsize=8.5,
        color=FAINT,
    )
