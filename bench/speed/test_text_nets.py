"""What exact values of texts cost beside the bare forward.

Batches of 64 texts of 40 words, both classes explained, one thread, float32. Ratios are between the
fastest of interleaved runs in one process, so that load on the machine hits both alike.
"""

import time

import pytest
import torch

from harsanyi.text_net import TextNet
from harsanyi.texts import HarsanyiTextConfig

B, N, VOCAB = 64, 40, 5000
NETS = {
    "bag": ([{"kind": "bag"}], 2.0),
    "n-grams": ([{"kind": "bag"}, {"kind": "ngrams"}], 2.0),
    "convolution": ([{"kind": "bag"}, {"kind": "convolution"}], 2.0),
    "matrix products": ([{"kind": "matrices"}], 10.0),
    "the default sum": ([{"kind": "bag"}, {"kind": "ngrams"}, {"kind": "matrices"}], 10.0),
    "maximum": ([{"kind": "maximum"}], 40.0),  # its forward is one matrix product
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make(parts):
    config = HarsanyiTextConfig(
        vocab_size=VOCAB, width=64, parts=parts, n_outputs=2, gauge="binary"
    )
    net = TextNet(config).eval()
    generator = torch.Generator().manual_seed(0)
    net.reset_parameters(generator)
    return net, torch.randint(2, VOCAB, (B, N), generator=generator)


def fastest(calls, repeats=15):
    best = [float("inf")] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_explaining_all_classes_costs_few_forwards(name, benchmark):
    parts, limit = NETS[name]
    net, ids = make(parts)
    forward, explain = fastest([lambda: net(ids), lambda: net.attribute(ids, tolerance=1e-6)])
    benchmark.extra_info |= {
        "forward_ms": 1e3 * forward,
        "explain_ms": 1e3 * explain,
        "ratio": explain / forward,
        "tolerance": 1e-6,
    }
    benchmark.pedantic(lambda: net.attribute(ids, tolerance=1e-6), rounds=3, iterations=1)
    assert explain <= limit * forward
