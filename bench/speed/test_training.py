"""What the resumable loop costs beside a bare one, on a net whose steps are tiny."""

import torch
from torch import nn
from torch.nn import functional as F

from baselines.randomness import seeded
from baselines.training import AdamW, fit

ROWS, FEATURES, BATCH, EPOCHS = 4096, 30, 256, 20


def net():
    with seeded(0):
        return nn.Sequential(
            nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
        )


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, FEATURES, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long()


def loss(module, batch, generator=None):
    return F.cross_entropy(module(batch[0]), batch[1])


def bare(module, x, y):
    """The loop a person would write by hand, with the same optimizer."""
    optimizer, generator = AdamW()(module), torch.Generator().manual_seed(0)
    for _ in range(EPOCHS):
        for rows in torch.randperm(ROWS, generator=generator).split(BATCH):
            optimizer.zero_grad()
            value = loss(module, (x[rows], y[rows]))
            value.backward()
            optimizer.step()
    return module


def ours(module, x, y, **options):
    fit(module, (x, y), loss, epochs=EPOCHS, batch_size=BATCH, **options)
    return module


def accuracy(module, x, y):
    return float((module(x).argmax(-1) == y).double().mean())


def test_bare_loop(benchmark):
    x, y = data()
    module = benchmark.pedantic(bare, setup=lambda: ((net(), x, y), {}), rounds=5, warmup_rounds=1)
    benchmark.extra_info["accuracy"] = accuracy(module, x, y)


def test_resumable_loop(benchmark):
    x, y = data()
    module = benchmark.pedantic(ours, setup=lambda: ((net(), x, y), {}), rounds=5, warmup_rounds=1)
    benchmark.extra_info["accuracy"] = accuracy(module, x, y)


def test_resumable_loop_that_checkpoints_every_second(benchmark, tmp_path_factory):
    x, y = data()

    def setup():
        folder = tmp_path_factory.mktemp("checkpoint")
        return (net(), x, y), {"checkpoint_dir": folder, "checkpoint_seconds": 1.0}

    module = benchmark.pedantic(ours, setup=setup, rounds=5, warmup_rounds=1)
    benchmark.extra_info["accuracy"] = accuracy(module, x, y)
