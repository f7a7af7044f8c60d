"""Growing of any trainable part: one net per bag by the one training loop, then their mean."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from harsanyi.bags import Folds, Grown
from harsanyi.fitting import Schedule, fit_net, gated_part, net_config
from harsanyi.net import HarsanyiNet
from harsanyi.table import Table


def new_part(kind: str, table: Table, generator: torch.Generator) -> nn.Module:
    """An untrained part for a table.

    Args:
        kind: "gated", "products" or "subsets".
        table: Training rows; the columns' statistics go into the part.
        generator: Source of the weights.
    """
    if kind == "gated":
        return gated_part(table, generator=generator)
    if kind == "products":
        from harsanyi.parts.products import ProductPart

        absent = "mean" if table.absence == "marginal" else "one"
        part = ProductPart(
            table.n_players,
            table.n_outputs,
            units=64,
            encoder={"cardinalities": table.cardinalities},
            absent=absent,
        )
        part.reset_parameters(generator)
        return part.fit_encoder(table.x)
    from harsanyi.scan import subset_part

    return subset_part(table, generator=generator)


def grow_trained(
    folds: Folds,
    kind: str,
    *,
    key: int,
    schedule: Schedule,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> Grown:
    """One part per bag, trained on its rows, the epoch chosen on the rows it leaves out.

    Args:
        folds: Rows and bags.
        kind: As `new_part` takes it.
        key: Key of the random choices.
        schedule: How long and how hard to train.
        checkpoint_dir: Folder that a killed run continues from.
        progress: Show bars.

    Returns:
        The parts of all bags, and the share of one.
    """
    table, g = folds.table, folds.n_bags
    full, masked = torch.empty(2, len(table), table.n_outputs, dtype=torch.float64)
    parts: list[nn.Module] = []
    bias = torch.zeros(table.n_outputs, dtype=torch.float64)
    for bag in range(g):
        generator = torch.Generator().manual_seed(key + bag)
        train, held = table.rows(folds.inside(bag)), table.rows(folds.outside(bag))
        part = new_part(kind, train, generator)
        net = HarsanyiNet(net_config(train, [part]), [part])
        net.set_baseline(table.baseline)
        folder = None if checkpoint_dir is None else Path(checkpoint_dir) / str(bag)
        fit_net(
            net,
            train,
            held,
            schedule,
            key=key + bag,
            checkpoint_dir=folder,
            progress=progress,
            description=f"{kind} {bag + 1} of {g}",
        )
        if hasattr(part, "fit_means"):
            part.fit_means(train.x, train.weight)  # pyright: ignore[reportCallIssue]
        rows = folds.outside(bag)
        with torch.no_grad():
            full[rows] = _margins(net, held.x, torch.ones_like(held.x, dtype=torch.bool))
            masked[rows] = _margins(net, held.x, folds.coalitions[rows])
            bias += net.bias.double() / g
        parts.append(part)
    return Grown(parts, bias, full, masked, share=1 / g)


def _margins(net: HarsanyiNet, x: Tensor, present: Tensor, step: int = 4096) -> Tensor:
    """Outputs of the parts, one for two classes, without the net's gauge."""
    there = net.presence(x, present)
    pieces = [
        torch.stack([part(rows, mask) for part in net.parts]).sum(0) + net.bias
        for rows, mask in zip(x.split(step), there.split(step), strict=True)
    ]
    return torch.cat(pieces).double()
