"""Games of a maximum, max(floor, largest score present): sort, and everything is a sum.

The largest score is a sum of steps, each paid as soon as one of the r best players is there; by
symmetry each of the r gets an equal share (the airport game of Littlechild and Owen, 1973).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

Rule = Sequence[tuple[float, float]]


def _steps(scores: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Steps `(..., n)` between scores above the floor, best first, and who stands where."""
    best, order = torch.maximum(scores, floor[..., None]).sort(
        dim=-1, descending=True, stable=True
    )
    after = torch.cat([best[..., 1:], floor[..., None]], -1)
    return best - after, order


def maximum_derivatives(scores: Tensor, floor: Tensor, rule: Rule) -> Tensor:
    """Derivatives of max(floor, largest score present) on the diagonal, towards each player.

    Args:
        scores: `(..., n)`; minus infinity for who is absent.
        floor: `(...,)`, the value of nobody.
        rule: Pairs (point in [0, 1], weight).

    Returns:
        `(..., n)`.
    """
    steps, order = _steps(scores, floor)
    rank = torch.arange(scores.shape[-1], device=scores.device)
    # a step of the r + 1 best is new to a player when none of the other r is there
    share = sum((w * (1.0 - p) ** rank.to(scores.dtype) for p, w in rule), rank * 0.0)
    worth = (steps * share).flip(-1).cumsum(-1).flip(-1)
    return torch.empty_like(worth).scatter(-1, order, worth)


def maximum_pairs(scores: Tensor, floor: Tensor, rule: Rule) -> Tensor:
    """The same towards pairs, `(..., n, n)`, symmetric; the diagonal is 0."""
    n = scores.shape[-1]
    steps, order = _steps(scores, floor)
    rank = torch.arange(n, device=scores.device)
    power = (rank - 1).clamp(min=0).to(scores.dtype)
    share = sum((w * (1.0 - p) ** power for p, w in rule), power * 0.0) * (rank > 0)
    # two of the r best are substitutes: the step is paid once, not twice
    worth = -(steps * share).flip(-1).cumsum(-1).flip(-1)
    place = torch.empty_like(order).scatter(-1, order, rank.expand_as(order).contiguous())
    worse = torch.maximum(place[..., :, None], place[..., None, :])
    pairs = worth[..., None, :].expand(*worse.shape).gather(-1, worse)
    return pairs * ~torch.eye(n, dtype=torch.bool, device=scores.device)


def maximum_shapley(scores: Tensor, floor: Tensor | float = 0.0) -> Tensor:
    """Shapley values of v(S) = max(floor, largest score in S), in closed form.

    Args:
        scores: `(..., n)`; minus infinity for who is absent.
        floor: `(...,)` or a number: the value of nobody.

    Returns:
        `(..., n)`: with scores in falling order, the sum over r from one's own rank on of
        (score_r - score_(r+1)) / r.

    Source: Littlechild and Owen (1973), the airport game.
    """
    floor = torch.as_tensor(floor, dtype=scores.dtype, device=scores.device)
    steps, order = _steps(scores, floor.expand(scores.shape[:-1]))
    rank = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
    worth = (steps / rank).flip(-1).cumsum(-1).flip(-1)
    return torch.empty_like(worth).scatter(-1, order, worth)


def joint_maximum_shapley(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Shapley values of sum over asking players of the largest score offered, both sides playing.

    v(S) = sum over q in S of max(0, scores[q, i] for i in S): who asks and who offers are players.
    A step of the r best takes the asker and one of the r: the asker gets r / (r + 1) of it and each
    of the r gets 1 / (r (r + 1)).

    Args:
        scores: `(..., q, n)`; minus infinity for who is absent.

    Returns:
        Values of the askers `(..., q)` and of the offerers `(..., n)`.
    """
    floor = scores.new_zeros(scores.shape[:-1])
    steps, order = _steps(scores, floor)
    rank = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
    askers = (steps * rank / (rank + 1)).sum(-1)
    worth = (steps / (rank * (rank + 1))).flip(-1).cumsum(-1).flip(-1)
    return askers, torch.empty_like(worth).scatter(-1, order, worth).sum(-2)
