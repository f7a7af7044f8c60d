"""Check 23, and what many calls, many rows and many threads do."""

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
import torch

from baselines import BaselineImputer, MaskedGame, shapley
from harsanyi import HarsanyiRegressor
from tests.small_nets import make_net, presence_spec, rows

MIB = 2**20


def resident() -> int:
    gc.collect()
    return psutil.Process().memory_info().rss


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["net", "classifier", "sampling"])
def test_a_thousand_calls_take_no_more_memory(kind, nets, classifier, table, figure):
    X, _ = table
    x = rows(8, 6)
    few = X.iloc[:2]

    def sample() -> None:
        shapley(MaskedGame(lambda rows: rows.sin().sum(1), x, BaselineImputer(0.0)), 40)

    call = {
        "net": lambda: nets[0].explain(x),
        "classifier": lambda: classifier.explain(few),
        "sampling": sample,
    }[kind]
    for _ in range(100):
        call()
    before = resident()
    for _ in range(1000):
        call()
    figure((resident() - before) / before, 0.01)


@pytest.mark.parametrize("kind", ["net", "classifier"])
def test_eight_threads_get_what_one_would(kind, nets, classifier, table):
    X, _ = table
    x = rows(64, 6)

    def one(place: int) -> torch.Tensor:
        if kind == "net":
            return nets[1].explain(x[8 * place : 8 * place + 8]).values
        return classifier.explain(X.iloc[8 * place : 8 * place + 8]).values

    alone = [one(place) for place in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert all(map(torch.equal, pool.map(one, range(8)), alone))


@pytest.mark.slow
def test_many_rows_are_explained_in_a_stream_under_a_stated_memory(count, figure):
    """Rows come in pieces and values go; no more than 512 MiB beyond what the model took."""
    draw = np.random.default_rng(0)
    X = draw.normal(size=(400, 5))
    model = HarsanyiRegressor(parts=("additive",), bags=1, epochs=2, random_state=0)
    model.fit(X, X[:, 0] * 2 + X[:, 1])
    model.explain(X)
    before, highest, total = resident(), 0, 0
    for _ in range(count(10, 100)):
        answer = model.explain(draw.normal(size=(10_000, 5)))
        total += len(answer.values)
        highest = max(highest, psutil.Process().memory_info().rss)
        assert bool(answer.values.isfinite().all())
    assert total == count(100_000, 1_000_000)
    figure((highest - before) / MIB, 512)


def test_a_large_batch_is_the_same_as_its_pieces(nets):
    x = rows(5000, 6)
    pieces = torch.cat([nets[1].explain(part).values for part in x.split(512)])
    torch.testing.assert_close(nets[1].explain(x).values, pieces, rtol=0, atol=1e-12)


def test_a_thousand_players_add_up_under_a_stated_memory(figure):
    net = make_net(presence_spec(1000, 1, learned=False), 1000, 2)
    x = rows(32, 1000)
    before = resident()
    answer = net.explain(x)
    gap = answer.values.sum(1) + answer.base_values - net(x).detach()
    assert float(gap.abs().max()) <= 1e-10
    figure((resident() - before) / MIB, 512)
