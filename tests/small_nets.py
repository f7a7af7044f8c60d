"""Small nets for the laws, and Shapley values from their definition on a public forward."""

from itertools import combinations
from math import factorial

import torch
from torch import Tensor, nn

from harsanyi.net import HarsanyiNet, NetConfig
from harsanyi.parts.blocks import FixedBlock
from harsanyi.parts.gated import GatedPart
from harsanyi.presets import revive


def by_definition(v, n: int) -> Tensor:
    """Shapley values `(n, k)` of `v`, which maps bool `(m, n)` to `(m, k)`; Shapley (1953)."""
    subsets = [set(s) for size in range(n + 1) for s in combinations(range(n), size)]
    masks = torch.tensor([[i in s for i in range(n)] for s in subsets], dtype=torch.bool)
    values = v(masks)
    where = {frozenset(s): row for row, s in enumerate(subsets)}
    phi = []
    for i in range(n):
        total = torch.zeros_like(values[0])
        for s in subsets:
            if i not in s:
                weight = factorial(len(s)) * factorial(n - len(s) - 1) / factorial(n)
                gain = values[where[frozenset(s | {i})]] - values[where[frozenset(s)]]
                total = total + weight * gain
        phi.append(total)
    return torch.stack(phi)


def masked_game(net: nn.Module, row: Tensor):
    """v(S) of one row through the `present` argument."""
    return lambda masks: net(row.expand(len(masks), -1), present=masks).detach()


def black_box_game(net: nn.Module, row: Tensor, baseline: Tensor):
    """v(S) of one row by writing the baseline, as somebody would who has only the function."""
    return lambda masks: net(torch.where(masks, row, baseline)).detach()


def rows(b: int, n: int, seed: int = 0) -> Tensor:
    """Standard normal rows `(b, n)`, float64."""
    return torch.randn(b, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def presence_spec(n: int, blocks: int, *, learned: bool, channels: int = 2) -> dict:
    """A gated part with presence gates: fixed or learned children, `blocks` deep."""
    made = []
    for depth in range(blocks):
        if learned:
            made.append({"units": 12, "children": min(2, n), "channels": channels})
        else:
            inputs = n if depth == 0 else 10
            pairs = 10 - min(4, inputs) if inputs > 1 else 0
            units = [[1, min(4, inputs)]] + ([[2, pairs]] if pairs else [])
            made.append({"units": units, "channels": channels, "hidden": 3 * (depth == 0)})
            if not pairs:
                return {"kind": "gated", "blocks": made[:1]}
    return {"kind": "gated", "blocks": made}


def value_spec(blocks: int, gate: str = "tanh") -> dict:
    """The paper's part: value gates, scalar units, learned children, no bias, ReLU."""
    unit = {"units": 20, "bias": False, "activation": "relu", "children": 2}
    return {"kind": "gated", "encoder": "scalar", "gate": gate, "blocks": [unit] * blocks}


def make_net(
    spec: dict,
    n: int,
    k: int,
    *,
    absence: str = "mask",
    baseline: Tensor | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> HarsanyiNet:
    """A net of one gated part with random fields and weights, its encoder fitted."""
    generator = torch.Generator().manual_seed(seed)
    part = GatedPart(n, k, **{name: value for name, value in spec.items() if name != "kind"})
    part.reset_parameters(generator)
    for block in part.blocks:
        if isinstance(block, FixedBlock):
            connect_randomly(block, generator)
    sample = rows(200, n, seed + 1)
    baseline = torch.zeros(n, dtype=torch.float64) if baseline is None else baseline
    part.fit_encoder(sample, baseline)
    if part.gate != "presence":
        revive(part, sample, torch.ones_like(sample, dtype=torch.bool), generator)
    config = NetConfig(n_players=n, n_outputs=k, absence=absence, parts=[part.spec])
    net = HarsanyiNet(config, [part]).to(dtype).set_baseline(baseline)
    with torch.no_grad():
        net.bias.normal_(generator=generator)
    return net.eval()


def connect_randomly(block: FixedBlock, generator: torch.Generator) -> None:
    """Random distinct children for every unit of a block."""
    chosen = [
        torch.randperm(block.n_inputs, generator=generator)[:size].tolist()
        for size in block.sizes
        for _ in range(len(block.members(size)))
    ]
    block.connect(chosen)


def train_briefly(net: HarsanyiNet, steps: int = 50, seed: int = 0) -> None:
    """Some steps of AdamW on a product task, full rows and random coalitions."""
    from harsanyi.losses import CoalitionLoss

    generator = torch.Generator().manual_seed(seed)
    x = rows(256, net.n_players, seed + 2)
    y = (x[:, :1] * x[:, -1:] + x[:, :1]).expand(-1, net.n_outputs)
    loss = CoalitionLoss("regression")
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net, x, y, generator=generator).backward()
        optimizer.step()


def live_share(net: HarsanyiNet, x: Tensor) -> float:
    """Share of (row, unit) pairs of the last block that are not zero."""
    with torch.no_grad():
        vectors, _ = net.parts[0].units(x, net.presence(x))
    return float((vectors[-1] != 0).any(-1).double().mean())
