"""What a fitted net was measured to be: scores whole and half masked, exactness, orders."""

from typing import Any

import torch
from torch import Tensor

from baselines.exact import exact_shapley
from baselines.game import PresenceGame
from harsanyi.net import HarsanyiNet
from harsanyi.table import Table

EXACT_PLAYERS = 8
"""Players of the enumeration that measures exactness; the others stay absent."""


@torch.no_grad()
def measure(net: HarsanyiNet, table: Table, *, draws: int = 20, key: int = 0) -> dict[str, Any]:
    """Measures of a net on held-out rows, as a model card states them.

    Args:
        net: The net.
        table: Held-out rows; for distillation, targets are the teacher's.
        draws: Masks per row for the masked score, each cell kept with probability 1/2.
        key: Key of masks and players.

    Returns:
        Plain numbers: `rows`; `score` and `masked_score` (accuracy, or share of variance
        explained); `exactness`, the largest difference from enumeration, and `additivity_gap`,
        both relative to max(1, |v|); `order_spectrum`, shares of the absolute dividends by order.
    """
    generator = torch.Generator().manual_seed(key)
    x = table.x[:2048]
    y, weight = table.y[:2048], table.weight[:2048]
    masks = [torch.rand(x.shape, generator=generator) < 0.5 for _ in range(draws)]
    scores = [_score(net(x, mask), y, weight, table.problem_type) for mask in masks]
    few = x[:64]
    explained = net.explain(few)
    scale = net(few).abs().clamp(min=1)
    gap = (explained.diagnostics["additivity_gap"].abs() / scale).max()
    return {
        "rows": len(x),
        "score": _score(net(x), y, weight, table.problem_type),
        "masked_score": sum(scores) / max(1, len(scores)),
        "exactness": _exactness(net, x[:4], generator),
        "additivity_gap": float(gap),
        "order_spectrum": _spectrum(net, few),
    }


@torch.no_grad()
def out_of_bag(net: HarsanyiNet, table: Table) -> dict[str, Any]:
    """Scores by bags that never saw the row, for a net that was grown in bags.

    Args:
        net: The net, its `out_of_bag` outputs of whole rows and of rows with players kept with
            probability 1/2.
        table: The rows they are of.

    Returns:
        `rows`, `score` and `masked_score`; nothing for a net that was grown without bags.
    """
    held = getattr(net, "out_of_bag", None)
    if held is None:
        return {}
    scores = [_score(z, table.y, table.weight, table.problem_type) for z in held]
    return {"rows": len(table), "score": scores[0], "masked_score": scores[1]}


def _score(outputs: Tensor, y: Tensor, weight: Tensor, problem_type: str) -> float:
    weight = weight / weight.sum()
    if problem_type == "classification":
        truth = y.argmax(-1) if y.is_floating_point() else y
        return float(((outputs.argmax(-1) == truth) * weight).sum())
    target, answer = y.reshape(len(y), -1), outputs.double()
    mean = (target * weight[:, None]).sum(0)
    left = ((target - answer).square() * weight[:, None]).sum()
    spread = ((target - mean).square() * weight[:, None]).sum()
    return float(1 - left / spread) if spread > 0 else 0.0


def _exactness(net: HarsanyiNet, x: Tensor, generator: torch.Generator) -> float:
    """Largest relative difference from enumeration over a few players, the others absent."""
    n = net.n_players
    chosen = torch.randperm(n, generator=generator)[:EXACT_PLAYERS].sort().values
    alone = torch.zeros(n, dtype=torch.bool)
    alone[chosen] = True

    def game(rows: Tensor, present: Tensor) -> Tensor:
        mask = torch.zeros(len(rows), n, dtype=torch.bool)
        mask[:, chosen] = present
        return net(whole[rows[:, 0].long()], mask)

    whole = x
    rows = torch.arange(len(x), dtype=x.dtype)[:, None].expand(-1, len(chosen))
    truth = exact_shapley(PresenceGame(game, rows)).values
    ours = net.explain(x, alone).values[:, chosen]
    scale = net(x).abs().max().clamp(min=1)
    return float((ours - truth).abs().max() / scale)


def _spectrum(net: HarsanyiNet, x: Tensor) -> list[float]:
    """Mean share of each order in the terms, over rows and outputs, without trailing zeros."""
    shares = net.order_spectrum(x).double().mean((0, 2))
    present = shares.nonzero()
    end = int(present.max()) + 1 if len(present) else 0
    return [float(share) for share in shares[:end]]
