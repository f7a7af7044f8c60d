"""What a fitted mixture's values cost beside its own logits, and a training step beside an MLP's.

    pytest bench/speed/test_tables.py --benchmark-only

Mixtures are the estimators' default recipe on two tables that come with scikit-learn: additive
terms, waves and trees. Ratios are between the fastest of interleaved runs in one process, so that
load on the machine hits both alike.
"""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from torch import nn

from bench.speed.test_harsanyi import PAPER, K, N, fastest, make_net, one_thread, rows
from harsanyi import HarsanyiClassifier
from harsanyi.features import PlayerFeatures
from harsanyi.losses import CoalitionLoss, prediction_loss, random_coalitions
from harsanyi.smooth import WaveBags, bag_losses

__all__ = ["one_thread"]  # a fixture that applies here, too

TABLES = {"breast cancer": load_breast_cancer, "digits": load_digits}
BATCH = 256
GOAL = 20


@pytest.fixture(scope="module", params=list(TABLES))
def fitted(request):
    X, y = TABLES[request.param](return_X_y=True)
    return request.param, HarsanyiClassifier(random_state=0).fit(X, y), X[:BATCH]


def test_values_of_a_mixture_cost_few_of_its_logits(fitted, benchmark):
    name, model, X = fitted
    benchmark(model.explain, X)
    logits, net, explain = fastest(
        lambda: model.logits(X),
        lambda: model.net_.explain(model.encode(X)),
        lambda: model.explain(X),
        repeats=7,
    )
    answer = model.explain(X)
    gap = float(answer.diagnostics["additivity_gap"].abs().max())
    benchmark.extra_info |= {
        "table": name,
        "logits_ms": 1e3 * logits,
        "explain_ms": 1e3 * explain,
        "ratio": explain / logits,
        "ratio_without_order_spectrum": net / logits,
        "us_per_sample_and_class": 1e6 * explain / answer.values[:, 0].numel(),
        "goal": GOAL,
        "additivity_gap": gap,
    }
    assert gap <= 1e-4
    assert explain / logits <= GOAL


def step_of(module, loss):
    """One step of AdamW on a batch, as a call."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss(module).backward()
        optimizer.step()

    return step


@pytest.mark.parametrize("share", [0.0, 0.15], ids=["whole rows", "rows and coalitions"])
@pytest.mark.parametrize("kind", ["scalar units", "the paper's"])
def test_a_training_step_beside_that_of_a_plain_mlp_of_equal_size(kind, share, benchmark):
    block = {"units": 100, "children": 3} if kind == "scalar units" else PAPER
    net = make_net({"encoder": "scalar", "blocks": [block] * 3} | _gate(kind)).train()
    layers = [nn.Linear(N, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU()]
    mlp = nn.Sequential(*layers, nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, K))
    x, y = rows(), torch.from_numpy(np.random.default_rng(0).integers(0, K, BATCH))
    loss = CoalitionLoss("classification", share)
    ours = step_of(net, lambda module: loss(module, x, y))
    plain = step_of(mlp, lambda module: prediction_loss(module(x.float()), y))
    benchmark(ours)
    mine, theirs = fastest(ours, plain)
    benchmark.extra_info |= {
        "step_ms": 1e3 * mine,
        "mlp_step_ms": 1e3 * theirs,
        "ratio": mine / theirs,
        "weights": sum(p.numel() for p in net.parameters()),
        "mlp_weights": sum(p.numel() for p in mlp.parameters()),
        "paper": "about 2 (an epoch of both)",
    }
    assert torch.isfinite(loss(net, x, y))


def test_a_training_step_of_waves_beside_that_of_a_plain_mlp_of_equal_size(benchmark):
    x, y = rows(), torch.from_numpy(np.random.default_rng(0).integers(0, K, BATCH))
    encoder = PlayerFeatures([0] * N, bins=4).fit(x)
    features = encoder(x, torch.ones_like(x, dtype=torch.bool))
    generator = torch.Generator().manual_seed(0)
    waves = WaveBags(encoder.n_features, N, K, 8, 32, generator)
    mlp = nn.Sequential(nn.Linear(encoder.n_features, 256), nn.ReLU(), nn.Linear(256, K))
    targets = torch.cat([y, y])

    def loss(module):
        drawn = random_coalitions(BATCH, N, generator)
        both = torch.cat([features, features * drawn[:, encoder.owner]])
        return bag_losses(module(both), targets, "classification").mean()

    ours = step_of(waves, loss)
    plain = step_of(mlp, lambda module: prediction_loss(module(features), y))
    benchmark(ours)
    mine, theirs = fastest(ours, plain)
    benchmark.extra_info |= {"step_ms": 1e3 * mine, "ratio": mine / theirs}
    assert torch.isfinite(loss(waves))


def _gate(kind):
    return {"gate": "tanh"} if kind == "the paper's" else {}
