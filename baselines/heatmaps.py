"""Heat maps over words and over images: values shown on the thing they explain."""

import dataclasses
import html
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from baselines.canvas import INK, LOWERS, RAISES
from baselines.explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.text import Text

PALE = 0.45
"""Brightness of a picture's darkest pixels under its values."""


@dataclasses.dataclass(frozen=True)
class TextHeatMap:
    """Words shaded by their values: `rich.print(m)`, a notebook cell, or `m.html()`.

    Args:
        words: The players in reading order; word pieces (`##ing`) join the word before them.
        values: As many values.
        output: Name of the output they explain.
    """

    words: tuple[str, ...]
    values: tuple[float, ...]
    output: str = ""

    def html(self) -> str:
        """The heat map as an HTML fragment; words are escaped, shades suit light and dark pages.

        Returns:
            One `<p>` whose spans carry their value as a tooltip.
        """
        spans = []
        for gap, word, value, strength in self._shaded():
            colour = _channels(RAISES if value > 0 else LOWERS)
            shade = f"rgba({colour[0]},{colour[1]},{colour[2]},{0.75 * strength:.3f})"
            spans.append(
                f'{gap}<span style="background:{shade};border-radius:3px;padding:1px 2px" '
                f'title="{value:+.4g}">{html.escape(word)}</span>'
            )
        return (
            f'<p class="heatmap" style="line-height:1.9" title="{html.escape(self.output)}">'
            f"{''.join(spans)}</p>"
        )

    def _repr_html_(self) -> str:
        return self.html()

    def __rich__(self) -> "Text":
        from rich.text import Text

        line = Text()
        for gap, word, value, strength in self._shaded():
            mixed = [
                round(255 - strength * (255 - c))
                for c in _channels(RAISES if value > 0 else LOWERS)
            ]
            line.append(gap)
            line.append(word, style=f"black on #{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}")
        return line

    def __str__(self) -> str:
        return "".join(f"{gap}{word}[{value:+.2g}]" for gap, word, value, _ in self._shaded())

    def _shaded(self) -> list[tuple[str, str, float, float]]:
        """For each word the gap before it, the word, its value, and its strength from 0 to 1."""
        largest = max((abs(value) for value in self.values), default=0.0) or 1.0
        return [
            ("" if i == 0 or glued else " ", word, value, abs(value) / largest)
            for i, ((word, glued), value) in enumerate(
                zip(map(_surface, self.words), self.values, strict=True)
            )
        ]


def _surface(piece: str) -> tuple[str, bool]:
    """What a reader sees of a word piece, and whether it joins the word before it."""
    if piece.startswith("##") and len(piece) > 2:
        return piece[2:], True
    line = " ".join(piece.lstrip("Ġ▁").split())
    return "".join(c for c in line if c.isprintable()), False


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def draw_image(
    ax: "Axes",
    explanation: Explanation,
    row: int,
    output: int,
    picture: Any,  # noqa: ANN401 - anything numpy reads as an image
    grid: tuple[int, int] | None,
    segments: Any,  # noqa: ANN401 - anything numpy reads as integers
) -> None:
    """Lay the values of one explicand over its picture.

    Args:
        ax: Where to draw.
        explanation: Whose values.
        row: Position of the explicand.
        output: Position of the output.
        picture: Image `(h, w)`, `(h, w, 3)` or `(3, h, w)`, or None for the explanation's data.
        grid: Rows and columns of patches, or None for a square.
        segments: Player of each pixel `(h, w)`, or None.

    Raises:
        ValueError: If the players fill neither the grid nor the segments.
    """
    from matplotlib.colors import LinearSegmentedColormap

    values = explanation.values[row, :, output].detach().double().cpu().numpy()
    heat = _heat(values, grid, segments)
    below = _underlay(explanation, row, picture, heat.shape)
    h, w = heat.shape if below is None else below.shape[:2]
    extent = (0, w, h, 0)
    if below is not None:
        # pale, so that colours keep their hue and the picture is seen through them
        ax.imshow(PALE + (1 - PALE) * below, cmap="gray", vmin=0, vmax=1, extent=extent)
    limit = float(np.abs(values).max()) or 1.0
    colours = LinearSegmentedColormap.from_list("raises", [LOWERS, "#ffffff", RAISES])
    # A value of zero leaves the picture without colour.
    alpha = 1.0 if below is None else 0.75 * np.abs(heat) / limit
    drawn = ax.imshow(
        heat,
        cmap=colours,
        vmin=-limit,
        vmax=limit,
        alpha=alpha,
        extent=extent,
        interpolation="nearest",
    )
    ax.set_xticks([])
    ax.set_yticks([])
    drawn.set_alpha(alpha)
    scale = _scale(colours, limit)
    bar = ax.figure.colorbar(scale, ax=ax, fraction=0.046, pad=0.03)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8, length=0)
    bar.set_label(f"{explanation.estimand} value", color=INK, fontsize=9)


def _scale(colours: Any, limit: float) -> Any:  # noqa: ANN401 - matplotlib's objects
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(-limit, limit), colours)


def _heat(values: np.ndarray, grid: tuple[int, int] | None, segments: Any) -> np.ndarray:  # noqa: ANN401
    n = len(values)
    if segments is not None:
        owner = np.asarray(segments)
        if owner.ndim != 2 or owner.min() < 0 or owner.max() >= n:
            raise ValueError(
                f"segments have shape {owner.shape} and players {owner.min()} to {owner.max()}; "
                f"they need (h, w) with players 0 to {n - 1}."
            )
        return values[owner]
    if grid is None:
        side = math.isqrt(n)
        if side * side != n:
            raise ValueError(
                f"{n} players fill no square; pass grid=(rows, columns) or segments=."
            )
        grid = (side, side)
    if grid[0] * grid[1] != n:
        raise ValueError(f"grid={grid} has {grid[0] * grid[1]} patches; there are {n} players.")
    return values.reshape(grid)


def _underlay(
    explanation: Explanation,
    row: int,
    picture: Any,  # noqa: ANN401 - anything numpy reads as an image
    grid: tuple[int, ...],
) -> np.ndarray | None:
    """The picture as `(h, w)` or `(h, w, 3)` from 0 to 1, or None where there is none."""
    if picture is None:
        if explanation.data is None:
            return None
        picture = explanation.data[row].detach().cpu().numpy()
        if picture.ndim == 1:
            if picture.size != math.prod(grid):
                return None
            picture = picture.reshape(grid)
    image = np.asarray(picture, dtype=float)
    if image.ndim == 3 and image.shape[0] in (1, 3) and image.shape[2] not in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(
            f"picture has shape {image.shape}; it needs (h, w), (h, w, 3) or (3, h, w)."
        )
    low, high = float(np.nanmin(image)), float(np.nanmax(image))
    return np.nan_to_num((image - low) / ((high - low) or 1.0))
