"""The games of the estimator grid, in plain numpy so that no contender gains by another's tensors.

A game is one explicand with one output: `game(coalitions)` maps bool `(m, n)` to `(m,)`.
"""

from collections.abc import Callable
from math import comb
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Boxes:
    """v(S) = the sum of the values of the boxes whose inner players are in S, and outer ones not.

    Args:
        inside: `(u, n)`, players that must be present.
        outside: `(u, n)`, players that must be absent.
        values: `(u,)`.
    """

    def __init__(self, inside: Bools, outside: Bools, values: Floats) -> None:
        self.inside, self.outside, self.values = inside, outside, values

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self.inside.shape[1]

    def __call__(self, coalitions: Any) -> Floats:  # noqa: ANN401 - peers pass arrays of any dtype
        """Values `(m,)`."""
        z = np.atleast_2d(np.asarray(coalitions)).astype(np.float32)
        wanted = self.inside.sum(1)
        against = self.inside.astype(np.float32) - self.outside.astype(np.float32)
        found = [part @ against.T == wanted for part in np.array_split(z, max(1, len(z) // 512))]
        return np.concatenate([hit.astype(np.float64) @ self.values for hit in found])

    def shapley(self) -> Floats:
        """Shapley values `(n,)` in closed form."""
        a, b = self.inside.sum(1), self.outside.sum(1)
        logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, self.n_players + 2)))])
        with np.errstate(invalid="ignore"):
            gain = np.exp(logs[np.maximum(a - 1, 0)] + logs[b] - logs[a + b]) * (a > 0)
            loss = np.exp(logs[a] + logs[np.maximum(b - 1, 0)] - logs[a + b]) * (b > 0)
        return (self.values * gain) @ self.inside - (self.values * loss) @ self.outside


class Net:
    """One output of a ReLU network on a row whose absent features take a baseline's values.

    Args:
        weights: Matrices `(in, out)`.
        biases: Vectors `(out,)`.
        x: `(n,)`, the explicand.
        baseline: `(n,)`.
        readout: `(k,)`, weights of the outputs.
    """

    def __init__(
        self,
        weights: list[Floats],
        biases: list[Floats],
        x: Floats,
        baseline: Floats,
        readout: Floats,
    ) -> None:
        self.weights, self.biases, self.readout = weights, biases, readout
        self.x, self.baseline = x, baseline

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return len(self.x)

    def __call__(self, coalitions: Any) -> Floats:  # noqa: ANN401 - peers pass arrays of any dtype
        """Values `(m,)`."""
        z = np.atleast_2d(np.asarray(coalitions)).astype(bool)
        parts = []
        for part in np.array_split(z, max(1, len(z) // 2048)):
            h = np.where(part, self.x, self.baseline)
            for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
                h = h @ weight + bias
                if i + 1 < len(self.weights):
                    h = np.maximum(h, 0.0)
            parts.append(h @ self.readout)
        return np.concatenate(parts)


class Table:
    """A game whose values are all written down.

    Args:
        values: `(2**n,)`, where the index of a coalition is the sum of `2**i` over its players.
    """

    def __init__(self, values: Floats) -> None:
        self.values = values
        self.powers = 1 << np.arange(self.n_players)

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return len(self.values).bit_length() - 1

    def __call__(self, coalitions: Any) -> Floats:  # noqa: ANN401 - peers pass arrays of any dtype
        """Values `(m,)`."""
        z = np.atleast_2d(np.asarray(coalitions)).astype(bool)
        return self.values[z @ self.powers]

    def shapley(self) -> Floats:
        """Shapley values `(n,)` by their definition."""
        n = self.n_players
        sizes = np.array([row.bit_count() for row in range(2 ** (n - 1))])
        weight = 1 / (n * np.array([comb(n - 1, int(size)) for size in sizes], dtype=np.float64))
        found = []
        for player in range(n):
            cube = self.values.reshape(-1, 2, 2**player)
            found.append((cube[:, 1] - cube[:, 0]).reshape(-1) @ weight)
        return np.array(found)


class Counted:
    """A game that counts the coalitions it is asked for, and keeps the ends in peers' shape."""

    def __init__(self, game: Callable[[Any], Floats]) -> None:
        self.game, self.count = game, 0

    def __call__(self, coalitions: Any) -> Floats:  # noqa: ANN401 - peers pass arrays of any dtype
        """Values `(m,)`."""
        values = self.game(coalitions)
        self.count += len(values)
        return values


def unanimity_sum(n: int, terms: int, largest: int, seed: int) -> Boxes:
    """Random terms of 1 to `largest` members with coefficients uniform in (-1, 1)."""
    draw = np.random.default_rng(seed)
    inside = np.zeros((terms, n), dtype=bool)
    for row in inside:
        row[draw.permutation(n)[: draw.integers(1, largest + 1)]] = True
    return Boxes(inside, np.zeros_like(inside), draw.uniform(-1, 1, terms))


def forest_boxes(trees: list[Any], x: Floats, baseline: Floats) -> Boxes:
    """A forest's mean probability of class 1 as boxes, for one row and one baseline.

    Args:
        trees: Fitted scikit-learn decision tree classifiers of two classes.
        x: `(n,)`, the explicand.
        baseline: `(n,)`, what absent features take.

    Returns:
        One box per leaf that some mixture of the two rows reaches.
    """
    inside, outside, values = [], [], []
    n = len(x)

    def walk(tree: Any, node: int, present: frozenset[int], absent: frozenset[int]) -> None:  # noqa: ANN401
        if tree.children_left[node] == -1:
            share = tree.value[node][0]
            inside.append([i in present for i in range(n)])
            outside.append([i in absent for i in range(n)])
            values.append(share[1] / share.sum() / len(trees))
            return
        player, cut = int(tree.feature[node]), tree.threshold[node]
        own, other = np.float32(x[player]) <= cut, np.float32(baseline[player]) <= cut
        for child, side in ((tree.children_left[node], True), (tree.children_right[node], False)):
            if own == side and other == side:
                walk(tree, child, present, absent)
            elif own == side and player not in absent:
                walk(tree, child, present | {player}, absent)
            elif other == side and player not in present:
                walk(tree, child, present, absent | {player})

    for fitted in trees:
        walk(fitted.tree_, 0, frozenset(), frozenset())
    return Boxes(np.array(inside), np.array(outside), np.array(values))


def trained_net(
    sizes: tuple[int, ...], x: Floats, y: NDArray[np.int64], seed: int
) -> tuple[list[Floats], list[Floats]]:
    """Weights of a scikit-learn ReLU network with a linear output per class."""
    import warnings

    from sklearn.neural_network import MLPClassifier

    net = MLPClassifier(sizes, max_iter=60, alpha=1e-4, random_state=seed, learning_rate_init=3e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sixty epochs are enough to explain, converged or not
        net.fit(x, y)
    weights = [np.asarray(part, dtype=np.float64) for part in net.coefs_]
    return weights, [np.asarray(part, dtype=np.float64) for part in net.intercepts_]


GridGame = Boxes | Net | Table


def grid_games(name: str, count: int) -> list[GridGame]:
    """The games of one problem.

    Args:
        name: One of `PROBLEMS`.
        count: Number of games, or of explicands.

    Returns:
        The first `count` of them, the same in every environment with these versions of
        scikit-learn; the grid saves them to be sure.

    Raises:
        FileNotFoundError: If `text14` finds no data folder.
        ValueError: If there is no such problem.
    """
    if name == "soum16":
        return [unanimity_sum(16, 50, 16, seed) for seed in range(count)]
    if name == "sparse64":
        return [unanimity_sum(64, 100, 4, seed) for seed in range(count)]
    if name in ("text14", "patches16"):
        from bench.grid_networks import patch_games, text_games

        return [*(text_games(count) if name == "text14" else patch_games(count))]
    from sklearn.datasets import load_breast_cancer, load_digits, make_classification
    from sklearn.ensemble import RandomForestClassifier

    if name == "digits64":
        data = cast(Any, load_digits())
        x, y = data.data, data.target
        x = x / 16.0
        weights, biases = trained_net((128,), x, y, 0)
        rows = x[:: max(1, len(x) // count)][:count]
        zero = np.zeros(64)
        games = []
        for row in rows:
            hidden = np.maximum(row @ weights[0] + biases[0], 0) @ weights[1] + biases[1]
            games.append(Net(weights, biases, row, zero, np.eye(10)[hidden.argmax()]))
        return games
    if name == "wide200":
        x, y = make_classification(2000, 200, n_informative=40, random_state=0)
        x = (x - x.mean(0)) / x.std(0)
        weights, biases = trained_net((64, 64), x, y, 0)
        return [Net(weights, biases, row, np.zeros(200), np.ones(1)) for row in x[:count]]
    data = cast(Any, load_breast_cancer())
    x, y = data.data, data.target
    x = (x - x.mean(0)) / x.std(0)
    rows = x[:: max(1, len(x) // count)][:count]
    if name == "bc30":
        weights, biases = trained_net((64, 64), x, y, 0)
        return [Net(weights, biases, row, np.zeros(30), np.ones(1)) for row in rows]
    if name == "forest30":
        forest = RandomForestClassifier(100, random_state=0).fit(x, y)
        return [forest_boxes(list(forest.estimators_), row, np.zeros(30)) for row in rows]
    raise ValueError(f"no problem {name!r}; there are {', '.join(PROBLEMS)}.")


PROBLEMS: dict[str, str] = {
    "soum16": "sums of 50 unanimity games of 1 to 16 of 16 players",
    "bc30": "a ReLU network of 64 and 64 units on breast cancer, baseline the mean",
    "digits64": "a ReLU network of 128 units on 8 x 8 digits, baseline 0",
    "sparse64": "sums of 100 unanimity games of 1 to 4 of 64 players",
    "forest30": "a random forest of 100 trees on breast cancer, baseline the mean",
    "text14": "a transformer on sentences of 14 words of SST-2, absent words masked",
    "patches16": "a convolutional network on digits, players patches of 2 x 2, baseline the mean",
    "wide200": "a ReLU network of 64 and 64 units on 200 made-up features, baseline the mean",
}
"""The games of the grid: the four of the first table, then four of other kinds of model."""
