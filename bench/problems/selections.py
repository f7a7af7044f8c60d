"""Data whose relevant features are known, row by row, to judge selections on.

Masks belong to the rows they are returned with: those of the test rows are what is scored.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from einops import rearrange
from numpy.typing import NDArray

from bench.problems.images import load_images

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

N_FEATURES = 11
"""Features of the Syn problems."""


@dataclasses.dataclass(frozen=True, eq=False)
class SelectionProblem:
    """Rows, labels and which players matter for each row.

    Args:
        name: Name of the problem.
        X: Training rows `(rows, *features)`.
        y: Training labels `(rows,)`.
        truth: Which players matter, bool `(rows, n)`.
        X_test: Test rows.
        y_test: Test labels.
        truth_test: Which players matter in the test rows.
        groups: Player of each flattened feature, or None when each feature is a player.
        probability: P(y = 1 | x) of rows where it is known in closed form, or None.
        covariance: Covariance `(n, n)` of the features where they are normal with mean zero, or
            None.
        asked_rate: Share of players to select where it is not that of the players that matter.
    """

    name: str
    X: Floats
    y: NDArray[np.int64]
    truth: Bools
    X_test: Floats
    y_test: NDArray[np.int64]
    truth_test: Bools
    groups: NDArray[np.int64] | None = None
    probability: Callable[[Floats], Floats] | None = dataclasses.field(default=None, repr=False)
    covariance: Floats | None = dataclasses.field(default=None, repr=False)
    asked_rate: float | None = None

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self.truth.shape[1]

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(max(self.y.max(), self.y_test.max())) + 1

    @property
    def rate(self) -> float:
        """Share of players that methods are asked for: by default, of those that matter."""
        return float(self.truth_test.mean()) if self.asked_rate is None else self.asked_rate

    def feature_masks(self, masks: Bools) -> Bools:
        """Masks of players `(b, n)` as masks of features `(b, *features)`."""
        if self.groups is None:
            return masks
        padded = np.concatenate([masks, np.zeros((len(masks), 1), dtype=bool)], 1)
        return padded[:, self.groups]  # a group of -1 is never shown


def _f_a(x: Floats) -> Floats:
    return x[:, 0] * x[:, 1]


def _f_b(x: Floats) -> Floats:
    return (x[:, 2:6] ** 2).sum(1) - 4


def _f_c(x: Floats) -> Floats:
    return -10 * np.sin(0.2 * x[:, 6]) + np.abs(x[:, 7]) + x[:, 8] + np.exp(-x[:, 9]) - 2.4


_SCORES = {"a": (_f_a, (0, 1)), "b": (_f_b, (2, 3, 4, 5)), "c": (_f_c, (6, 7, 8, 9))}
_SYN = {1: "a", 2: "b", 3: "c", 4: "ab", 5: "ac", 6: "bc"}


def syn(
    number: int, *, rows: int = 10_000, test_rows: int = 10_000, rho: float = 0.0, seed: int = 0
) -> SelectionProblem:
    """Syn1 to Syn6: eleven normal features, two to five of which matter.

    In Syn4 to Syn6 the sign of the last feature says which of two formulas holds, so that what
    matters differs from row to row.

    Args:
        number: 1 to 6; 4, 5, 6 are S1, S2, S3 of Senetaire et al. (2023).
        rows: Training rows.
        test_rows: Test rows, drawn from a stream of their own.
        rho: Correlation of neighbouring features, an AR(1) process.
        seed: Of the draws.

    Returns:
        The problem, with P(y = 1 | x) = 1 / (1 + exp f(x)).

    Raises:
        ValueError: If the number is not 1 to 6, or rho not within (-1, 1).

    Source: Chen et al. (2018); Yoon et al. (2019), sec. 4.1.
    """
    if number not in _SYN:
        raise ValueError(f"number={number}; there are Syn1 to Syn6.")
    if not -1 < rho < 1:
        raise ValueError(f"rho={rho}; a correlation lies strictly between -1 and 1.")
    parts = _SYN[number]

    def score(x: Floats) -> Floats:
        first = _SCORES[parts[0]][0](x)
        return first if len(parts) == 1 else np.where(x[:, 10] < 0, first, _SCORES[parts[1]][0](x))

    def probability(x: Floats) -> Floats:
        return 1 / (1 + np.exp(score(x)))

    def matters(x: Floats) -> Bools:
        truth = np.zeros(x.shape, dtype=bool)
        for side, part in enumerate(parts):
            here = (
                np.ones(len(x), dtype=bool) if len(parts) == 1 else (x[:, 10] < 0) == (side == 0)
            )
            truth[np.ix_(here, _SCORES[part][1])] = True
        if len(parts) > 1:
            truth[:, 10] = True
        return truth

    def draw(size: int, purpose: int) -> tuple[Floats, NDArray[np.int64], Bools]:
        rng = np.random.default_rng([seed, number, purpose])
        x = rng.standard_normal((size, N_FEATURES))
        for j in range(1, N_FEATURES if rho else 0):
            x[:, j] = rho * x[:, j - 1] + np.sqrt(1 - rho**2) * x[:, j]
        y = (rng.random(size) < probability(x)).astype(np.int64)
        return x, y, matters(x)

    name = f"syn{number}" + (f"-rho{rho:g}" if rho else "")
    apart = np.abs(np.subtract.outer(np.arange(N_FEATURES), np.arange(N_FEATURES)))
    return SelectionProblem(
        name,
        *draw(rows, 0),
        *draw(test_rows, 1),
        probability=probability,
        covariance=np.where(apart == 0, 1.0, rho**apart),
    )


def switch(*, rows: int = 10_000, test_rows: int = 10_000, seed: int = 0) -> SelectionProblem:
    """L2X's switch: the sign of the last of ten features says which block of four matters.

    The blocks are independent draws; in the released generator the second half's overwrite each
    other through overlapping views.

    Args:
        rows: Training rows.
        test_rows: Test rows.
        seed: Of the draws.

    Returns:
        The problem; the last feature always matters.

    Source: Chen et al. (2018), sec. 4.1.
    """

    def probability(x: Floats) -> Floats:
        first = (x[:, :4] ** 2).sum(1) - 4
        second = -10 * np.sin(0.2 * x[:, 4]) + np.abs(x[:, 5]) + x[:, 6] + np.exp(-x[:, 7]) - 2.4
        return 1 / (1 + np.exp(np.where(x[:, 9] > 0, first, second)))

    def draw(size: int, purpose: int) -> tuple[Floats, NDArray[np.int64], Bools]:
        rng = np.random.default_rng([seed, 7, purpose])
        x = rng.standard_normal((size, 10))
        left = rng.random(size) < 0.5
        x[:, 9] += np.where(left, 3.0, -3.0)
        y = (rng.random(size) < probability(x)).astype(np.int64)
        truth = np.zeros(x.shape, dtype=bool)
        left = x[:, 9] > 0  # what decides is the value, which a far draw may put on the other side
        truth[:, :4] = left[:, None]
        truth[:, 4:8] = ~left[:, None]
        truth[:, 9] = True
        return x, y, truth

    return SelectionProblem("switch", *draw(rows, 0), *draw(test_rows, 1), probability=probability)


def hypercubes(
    *,
    n_features: int = 8,
    shapes: int = 6,
    largest: int = 4,
    rows: int = 10_000,
    test_rows: int = 5_000,
    spread: float = 0.25,
    seed: int = 0,
) -> SelectionProblem:
    """Corners of hypercubes, each in a few axes of its own; the label is the parity of the corner.

    A corner's label depends on the axes along which its own cube extends, so exactly these matter;
    the other features sit at the cube's centre.

    Args:
        n_features: Features.
        shapes: Cubes, on distinct centres.
        largest: Most axes of a cube.
        rows: Training rows.
        test_rows: Test rows.
        spread: Standard deviation of the noise, relative to the distance of neighbouring corners.
        seed: Of cubes and draws.

    Returns:
        The problem.

    Raises:
        ValueError: If a cube would have more axes than there are features.

    Source: after the hypercube data of the code of Senetaire et al. (2023).
    """
    if not 1 <= largest <= n_features:
        raise ValueError(f"largest={largest}; a cube has 1 to {n_features} axes.")
    layout = np.random.default_rng([seed, 8])
    axes = [
        np.sort(layout.permutation(n_features)[: layout.integers(1, largest + 1)])
        for _ in range(shapes)
    ]
    # grid points of an axis are shuffled, so that nearby coordinates say nothing of the label
    grid = np.stack([layout.permutation(2 * shapes) for _ in range(n_features)], 1).astype(float)
    grid = (grid - grid.mean()) / 2

    def draw(size: int, purpose: int) -> tuple[Floats, NDArray[np.int64], Bools]:
        rng = np.random.default_rng([seed, 8, purpose + 1])
        which = rng.integers(0, shapes, size)
        x = grid[2 * which]
        corner = rng.integers(0, 2, (size, n_features))
        truth = np.zeros((size, n_features), dtype=bool)
        for shape, members in enumerate(axes):
            truth[np.ix_(which == shape, members)] = True
        far = grid[2 * which + 1]
        x = np.where(truth & (corner == 1), far, x)
        y = (corner * truth).sum(1) % 2
        return x + spread / 2 * rng.standard_normal(x.shape), y.astype(np.int64), truth

    return SelectionProblem("hypercubes", *draw(rows, 0), *draw(test_rows, 1))


def switching_panels(
    source: str = "digits",
    *,
    patch: int | None = None,
    rows: int | None = None,
    test_rows: int = 2_000,
    seed: int = 0,
) -> SelectionProblem:
    """Two images side by side, of which one has the label; which side is drawn row by row.

    Args:
        source: `"digits"`, scikit-learn's 8 x 8 digits beside digits upside down, needs no file;
            `"mnist"` (MNIST beside Fashion-MNIST, label of the digit) and `"fashion"` (label of
            the garment) need the data folder.
        patch: Side of a square patch, one player each; 2 pixels for digits, else 4.
        rows: Training rows; as many as the smaller source has when None.
        test_rows: Most test rows.
        seed: Of the pairing.

    Returns:
        The problem on images `(rows, 1, height, width)` in [0, 1]; the patches of the labelled
        side matter, and as many are asked for as hold ink there on average.

    Raises:
        ValueError: If the source is unknown or patches do not tile a panel.
        FileNotFoundError: If the data folder lacks the images.

    Source: Senetaire et al. (2023), switching panels.
    """
    if source not in ("digits", "mnist", "fashion"):
        raise ValueError(f"source={source!r}; use 'digits', 'mnist' or 'fashion'.")
    shown, other = _panel_sources(source)
    side = shown[0][0].shape[1]
    patch = patch or (2 if source == "digits" else 4)
    if side % patch:
        raise ValueError(f"patch={patch} does not tile a panel of {side} pixels.")
    per_side = side // patch

    def pair(part: int, size: int | None, purpose: int) -> tuple[Floats, NDArray[np.int64], Bools]:
        (images, labels), (others, _) = shown[part], other[part]
        rng = np.random.default_rng([seed, 9, purpose])
        count = min(len(images), len(others), size or len(images))
        first, second = rng.permutation(len(images))[:count], rng.permutation(len(others))[:count]
        left = rng.random(count) < 0.5
        a, b = images[first], others[second]
        x = np.where(left[:, None, None], np.concatenate([a, b], 2), np.concatenate([b, a], 2))
        truth = np.zeros((count, per_side, 2 * per_side), dtype=bool)
        truth[left, :, :per_side] = True
        truth[~left, :, per_side:] = True
        return x[:, None], labels[first].astype(np.int64), truth.reshape(count, -1)

    row, column = np.arange(side) // patch, np.arange(2 * side) // patch
    groups = (row[:, None] * 2 * per_side + column)[None]
    train, test = pair(0, rows, 0), pair(1, test_rows, 1)
    return SelectionProblem(
        f"panels-{source}",
        *train,
        *test,
        groups=groups.astype(np.int64),
        asked_rate=_inked(*train, patch),
    )


def _inked(images: Floats, labels: NDArray[np.int64], truth: Bools, patch: int) -> float:
    """Mean share of patches that hold ink and belong to the labelled panel."""
    tiles = rearrange(images[:, 0], "b (h p) (w q) -> b (h w) (p q)", p=patch, q=patch)
    return float(((tiles.max(-1) > 0.2) & truth).mean())


Panel = tuple[Floats, NDArray[np.int64]]


def _panel_sources(source: str) -> tuple[list[Panel], list[Panel]]:
    """Training and test images of the labelled panel and of the other one."""
    if source == "digits":
        from sklearn.datasets import load_digits

        bunch: Any = load_digits()
        images, labels = bunch.images / 16, bunch.target
        order = np.random.default_rng(0).permutation(len(images))
        parts = [order[:1400], order[1400:]]
        upright = [(images[p], labels[p]) for p in parts]
        return upright, [(x[:, ::-1], y) for x, y in upright]
    digits = [load_images("mnist", part) for part in ("train", "test")]
    garments = [load_images("fashion", part) for part in ("train", "test")]
    return (digits, garments) if source == "mnist" else (garments, digits)


def noise_only(*, rows: int = 10_000, test_rows: int = 10_000, seed: int = 0) -> SelectionProblem:
    """A label that only a forbidden feature tells: what can be shown is four features of noise.

    The selector reads the whole row, the forbidden feature too, so it can write the label into
    *which* noise it shows. A selection that does is a leak; an honest one leaves accuracy at 1/2.

    Args:
        rows: Training rows.
        test_rows: Test rows.
        seed: Of the draws.

    Returns:
        The problem of five normal features, y = 1 where the first is positive; no player matters.

    Source: after Jethani et al. (2021), sec. 3.
    """

    def draw(size: int, purpose: int) -> tuple[Floats, NDArray[np.int64], Bools]:
        x = np.random.default_rng([seed, 10, purpose]).standard_normal((size, 5))
        return x, (x[:, 0] > 0).astype(np.int64), np.zeros((size, 4), dtype=bool)

    return SelectionProblem(
        "noise-only",
        *draw(rows, 0),
        *draw(test_rows, 1),
        groups=np.arange(-1, 4),
        probability=lambda x: (x[:, 0] > 0).astype(np.float64),
        asked_rate=0.5,
    )


PROBLEMS: dict[str, Callable[..., SelectionProblem]] = {
    **{f"syn{number}": partial(syn, number) for number in _SYN},
    "syn6-rho0.7": partial(syn, 6, rho=0.7),
    "switch": switch,
    "hypercubes": hypercubes,
    "noise-only": noise_only,
    "panels-digits": switching_panels,
    "panels-mnist": partial(switching_panels, "mnist", rows=5_000, test_rows=7_000),
    "panels-fashion": partial(switching_panels, "fashion", rows=5_000, test_rows=7_000),
}
"""Problems by name; each takes `seed`."""
