"""How often a check repeats, where it leaves its figure, and models that are worth checking."""

import os
from collections.abc import Callable

import pandas as pd
import pytest
import torch

from harsanyi import HarsanyiClassifier, HarsanyiNet
from tests.small_nets import make_net, presence_spec, rows, train_briefly, value_spec

FULL = os.environ.get("HARSANYI_TRUST") == "full"


@pytest.fixture(scope="session")
def count() -> Callable[[int, int], int]:
    """`count(few, all)`: all repeats in `make trust`, few elsewhere."""
    return lambda few, everything: everything if FULL else few


@pytest.fixture
def figure(record_property) -> Callable[[float, float], None]:
    """`figure(measured, threshold)` keeps the figure for the table, and fails beyond it."""

    def keep(measured: float, threshold: float) -> None:
        record_property("figure", f"{measured:.3g}")
        record_property("threshold", f"{threshold:.3g}")
        assert measured <= threshold

    return keep


def random_net(seed: int, n: int | None = None, k: int | None = None) -> HarsanyiNet:
    """A net of a random kind, size and depth, in float64."""
    draw = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=draw))

    n, k = n or pick(2, 8), k or pick(1, 4)
    blocks = pick(1, 3)
    specs = [
        presence_spec(n, blocks, learned=False),
        presence_spec(n, blocks, learned=True),
        presence_spec(n, blocks, learned=True, channels=1),
        value_spec(blocks),
        value_spec(blocks, "hard"),
    ]
    return make_net(specs[pick(0, len(specs) - 1)], n, k, seed=seed)


@pytest.fixture(scope="session")
def nets() -> list[HarsanyiNet]:
    """One trained net of each kind of gate, 6 players and 3 outputs."""
    made = []
    for spec in (
        presence_spec(6, 2, learned=False),
        presence_spec(6, 2, learned=True),
        value_spec(2),
    ):
        net = make_net(spec, 6, 3, seed=1)
        train_briefly(net, steps=20)
        made.append(net)
    return made


@pytest.fixture(scope="session")
def table() -> tuple[pd.DataFrame, pd.Series]:
    """300 rows: numbers, a category, missing cells, and a target with an interaction."""
    x = rows(300, 4, seed=3).numpy()
    X = pd.DataFrame(x, columns=["age", "income", "debt", "score"])
    X["city"] = pd.Categorical.from_codes((x[:, 0] > 0.3).astype(int), ["north", "south"])
    X.loc[X.index[::17], "debt"] = float("nan")
    y = pd.Series(["no", "yes"]).iloc[(x[:, 0] * x[:, 1] + x[:, 3] > 0).astype(int)]
    return X, y.reset_index(drop=True)


@pytest.fixture(scope="session")
def classifier(table) -> HarsanyiClassifier:
    """The default recipe, one bag, few epochs."""
    X, y = table
    return HarsanyiClassifier(bags=1, epochs=3, random_state=0).fit(X, y)
