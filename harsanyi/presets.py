"""The published Harsanyi-MLP, to be reproduced and compared with.

Its architecture is the paper's: scalar units, learned children, the product of tanh as the AND,
ReLU, no bias, a linear read-out of every block. Its defaults are not viable: with ten children a
unit of block 2 fires on hardly any row and one of block 3 never, so no gradient reaches them.
"chen2023" therefore starts blocks 2 and 3 from two children that fire together on the training
rows; "chen2023-released" starts as published, dead blocks included.
"""

from dataclasses import replace
from os import PathLike
from typing import Literal

import torch
from torch import Tensor, nn

from harsanyi.fitting import Schedule, fit_net, net_config
from harsanyi.net import HarsanyiNet
from harsanyi.parts.blocks import LearnedBlock
from harsanyi.parts.gated import GatedPart
from harsanyi.table import Table

Preset = Literal["chen2023", "chen2023-released"]
RARE = 0.3
"""Share of rows below which two children count as never firing together."""
PRESETS: tuple[str, ...] = ("chen2023", "chen2023-released")


def grow_published(
    train: Table,
    validation: Table,
    preset: Preset,
    *,
    schedule: Schedule,
    key: int = 0,
    dtype: torch.dtype = torch.float32,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> HarsanyiNet:
    """Train a Harsanyi-MLP: with our loop and loss, or for "chen2023-released" as published.

    As published means plain stochastic gradient descent at 0.1 on full rows in batches of 128 for
    100 epochs, the last epoch kept; of `schedule` only the epochs are read, where given.

    Args:
        train: Rows to learn from.
        validation: Rows that choose the epoch.
        preset: Which of the two.
        schedule: How long and how hard.
        key: Key of every random choice.
        dtype: Of the weights.
        checkpoint_dir: Folder that a killed run continues from.
        progress: Show a bar.

    Returns:
        A fitted net in eval mode.
    """
    net = published_net(train, preset, key=key, dtype=dtype)
    released = preset == "chen2023-released"
    if released:
        schedule = replace(
            schedule, epochs=schedule.epochs or 100, batch_size=128, coalition_weight=0.0
        )
    fit_net(
        net,
        train,
        None if released else validation,
        schedule,
        optimizer=_descent if released else None,
        key=key,
        checkpoint_dir=checkpoint_dir,
        progress=progress,
        description=preset,
    )
    return net


def _descent(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=0.1)


def published_net(
    table: Table,
    preset: Preset = "chen2023",
    *,
    blocks: int = 3,
    width: int = 100,
    key: int = 0,
    dtype: torch.dtype = torch.float32,
) -> HarsanyiNet:
    """An untrained Harsanyi-MLP for a table.

    Args:
        table: Training rows.
        preset: "chen2023", or "chen2023-released" for the published start.
        blocks: Blocks of units.
        width: Units per block.
        key: Key of weights and first children.
        dtype: Of the weights.

    Returns:
        A net of one gated part.

    Raises:
        ValueError: If the preset is unknown.

    Source: Chen et al. (2023), sec. 3 and appendix; beta 10 and gamma 100 from its tabular runs.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset={preset!r}; known are {', '.join(PRESETS)}.")
    n = table.n_players
    options = {"units": width, "bias": False, "activation": "relu", "beta": 10.0}
    counts = [max(1, n // 10)] + [max(1, width // 10)] * (blocks - 1)
    if preset == "chen2023":
        counts = [min(2, n)] + [2] * (blocks - 1)
    part = GatedPart(
        n,
        table.n_outputs,
        encoder="scalar",
        gate="tanh",
        gamma=100.0,
        blocks=[{**options, "children": count} for count in counts],
    )
    generator = torch.Generator().manual_seed(key)
    part.reset_parameters(generator)
    part.fit_encoder(table.x, table.baseline)
    if preset == "chen2023":
        revive(part, table.x, table.present(), generator)
    net = HarsanyiNet(net_config(table, [part]), [part]).to(dtype)
    return net.set_baseline(table.baseline)


@torch.no_grad()
def revive(part: GatedPart, x: Tensor, present: Tensor, generator: torch.Generator) -> None:
    """Give units of the deeper blocks two children that fire together, and positive weights.

    A unit then fires wherever both children do, which real columns, being correlated, often allow;
    where they do not, it starts with one child.

    Args:
        part: A part with value gates, changed in place.
        x: Raw rows `(b, n)`.
        present: Bool `(b, n)`.
        generator: Source of the choices.
    """
    few = torch.randperm(len(x), generator=generator)[:1024]
    for depth in range(1, len(part.blocks)):
        vectors, fields = part.units(x[few], present[few])
        below = vectors[depth - 1][..., 0] != 0  # (c, b)
        block = part.blocks[depth]
        assert isinstance(block, LearnedBlock)  # value gates take no other
        first = _busy(below, block.n_units, generator)
        together = below[first].float() @ below.float().T / below.shape[1]
        same = (fields[depth - 1][first][:, None] == fields[depth - 1][None]).all(-1)
        jitter = 0.1 * torch.rand(together.shape, generator=generator)
        second = torch.where(same, -1.0, together - jitter).argmax(1)
        units = torch.arange(block.n_units)
        second = torch.where(together[units, second] < RARE, first, second)
        block.tau.fill_(-1.0)
        block.tau[units, first] = 1.0
        block.tau[units, second] = 1.0
        block.weight.abs_()


def _busy(fires: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Random units, those that fire on more rows being likelier."""
    weights = fires.float().mean(1).square() + 1e-6
    return torch.multinomial(weights, count, replacement=True, generator=generator)


@torch.no_grad()
def live_shares(net: HarsanyiNet, x: Tensor) -> list[list[float]]:
    """Share of (row, unit) pairs that are not zero, per block of each gated part.

    Args:
        net: Any net.
        x: Raw rows `(b, n)`.
    """
    there = net.presence(x)
    return [
        [float((z != 0).any(-1).float().mean()) for z in part.units(x, there)[0]]
        for part in net.parts
        if isinstance(part, GatedPart)
    ]
