"""What exact values cost beside the bare forward, and beside the published algorithm.

64 players, 300 units, 10 outputs, batches of 256, one thread, float32. Ratios are between the
fastest of interleaved runs in one process, so that load on the machine hits both alike.
"""

import time

import pytest
import torch

from harsanyi.net import HarsanyiNet, NetConfig
from harsanyi.parts.blocks import FixedBlock
from harsanyi.parts.gated import GatedPart
from harsanyi.presets import revive

N, K, B = 64, 10, 256
UNITS = [[1, 64], [2, 136], [3, 100]]
PAPER = {"units": 100, "children": 2, "bias": False, "activation": "relu"}
NETS = {
    "scalar units, given children": ({"blocks": [{"units": UNITS, "channels": 1}]}, 2.0),
    "scalar units, learned children": (
        {"encoder": "scalar", "blocks": [{"units": 300, "children": 3}]}, 2.0),
    "scalar units, 3 blocks of 100": (
        {"encoder": "scalar", "blocks": [{"units": 100, "children": 3}] * 3}, 2.0),
    "the paper's, 3 blocks of 100": (
        {"encoder": "scalar", "gate": "tanh", "blocks": [PAPER] * 3}, 2.0),
    "vector units of 8 channels": (
        {"blocks": [{"units": UNITS, "channels": 8, "hidden": 8}]}, 1.2),
    "vector units of 16 channels": (
        {"blocks": [{"units": UNITS, "channels": 16, "hidden": 16}]}, 1.2),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def rows(b=B):
    return torch.randn(b, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def make_net(options):
    generator = torch.Generator().manual_seed(0)
    part = GatedPart(N, K, **options)
    part.reset_parameters(generator)
    for block in part.blocks:
        if isinstance(block, FixedBlock):
            sizes = [size for size in block.sizes for _ in block.members(size)]
            block.connect([torch.randperm(N, generator=generator)[:s].tolist() for s in sizes])
    part.fit_encoder(rows(), torch.zeros(N))
    if part.gate != "presence":
        revive(part, rows(), torch.ones(B, N, dtype=torch.bool), generator)
    return HarsanyiNet(NetConfig(N, K, parts=[part.spec]), [part]).eval()


def fastest(*calls, repeats=40):
    """CPU seconds of the fastest run of each call, the calls taking turns."""
    best = [float("inf")] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            started = time.process_time()
            call()
            best[i] = min(best[i], time.process_time() - started)
    return best


@pytest.mark.parametrize("kind", NETS)
def test_values_of_all_outputs_cost_little_more_than_the_forward(kind, benchmark):
    options, bound = NETS[kind]
    net, x = make_net(options), rows()
    with torch.no_grad():
        benchmark(net.explain, x)
        forward, explain = fastest(lambda: net(x), lambda: net.explain(x))
    gap = float(net.explain(x).diagnostics["additivity_gap"].abs().max())
    benchmark.extra_info |= {
        "forward_ms": 1e3 * forward,
        "explain_ms": 1e3 * explain,
        "ratio": explain / forward,
        "goal": bound,
        "additivity_gap": gap,
    }
    assert gap <= 1e-5


class Published:
    """The published attribution, written plainly: one sample and one class at a time.

    Fields are set up once; the published code finds them again for every sample.

    Source: Chen et al. (2023), theorem 3 and algorithm in the appendix.
    """

    def __init__(self, net):
        part = net.parts[0]
        self.n_players = net.n_players
        below = torch.eye(self.n_players, dtype=torch.bool)
        self.blocks, self.fields = [], []
        for block, readout in zip(part.blocks, part.readouts, strict=True):
            below = block.fields(below)
            child = (block.tau > 0).float()
            self.blocks.append((child, block.weight[:, 0, :, 0].detach(), readout[:, 0].detach()))
            self.fields += [tuple(field.nonzero()[:, 0].tolist()) for field in below]
        self.encoder, self.gamma = part.encoder, part.gamma

    def units(self, row):
        """Values of all units of one sample, with the gate as a product over children."""
        z, values = self.encoder(row[None])[:, 0, 0], []
        for child, weight, _ in self.blocks:
            open_ = torch.tanh(self.gamma * z.abs()) * child + (1 - child)
            z = torch.relu((weight * child * z).sum(1) * open_.prod(1))
            values.append(z)
        return values

    def explain(self, row, label):
        """Shapley values of one output for one sample."""
        dividends = {}
        values = self.units(row)
        heights = torch.cat(
            [z * readout[:, label] for z, (_, _, readout) in zip(values, self.blocks, strict=True)]
        ).tolist()
        for field, height in zip(self.fields, heights, strict=True):
            dividends[field] = dividends.get(field, 0.0) + height
        phi = torch.zeros(self.n_players, dtype=torch.float64)
        for field, height in dividends.items():
            for player in field:
                phi[player] += height / len(field)
        return phi


def test_values_cost_far_less_than_by_the_published_algorithm(benchmark):
    net, x = make_net(NETS["the paper's, 3 blocks of 100"][0]), rows()
    published = Published(net)
    with torch.no_grad():
        ours = net.explain(x).values
        theirs = torch.stack([published.explain(x[0], label) for label in range(K)], -1)
        assert (ours[0] - theirs).abs().max() <= 1e-5 * max(1, float(theirs.abs().max()))
        benchmark(net.explain, x)
        slow, fast = fastest(lambda: published.explain(x[0], 0), lambda: net.explain(x))
    benchmark.extra_info |= {
        "published_us_per_sample_and_class": 1e6 * slow,
        "ours_us_per_sample_and_class": 1e6 * fast / (B * K),
        "speedup": slow * B * K / fast,
        "goal": 500,
    }
    assert slow * B * K / fast >= 500


@pytest.mark.parametrize("b", [1, 256])
def test_values_and_forward_by_batch_size(b, benchmark):
    net, x = make_net(NETS["vector units of 8 channels"][0]), rows(b)
    with torch.no_grad():
        benchmark(net.explain, x)
        forward, explain = fastest(lambda: net(x), lambda: net.explain(x))
    benchmark.extra_info |= {"forward_ms": 1e3 * forward, "ratio": explain / forward}
