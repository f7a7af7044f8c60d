"""What a net is trained on: the full row, and random coalitions of it.

An explanation is only as good as its game. A net that never saw a row with players missing has an
arbitrary v(S), and biases can be moved between units without changing any full prediction; the
second term pins both.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ProblemType = Literal["classification", "regression"]
COALITION_WEIGHT = 0.15
"""Share of the loss on random coalitions, wherever a table's model is trained: more of it buys
accuracy on masked rows with accuracy on whole ones, and docs/log.md has the figures."""


def random_coalitions(b: int, n: int, generator: torch.Generator | None = None) -> Tensor:
    """Coalitions whose size is uniform on 0 to n - 1, and members uniform given the size.

    Args:
        b: Coalitions.
        n: Players.
        generator: Source of the draws, on the CPU.

    Returns:
        Bool `(b, n)`, never the grand coalition, which has a loss of its own.
    """
    sizes = torch.randint(0, max(1, n), (b, 1), generator=generator)
    ranks = torch.rand(b, n, generator=generator).argsort(-1).argsort(-1)
    return ranks < sizes


def prediction_loss(
    outputs: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    problem_type: ProblemType = "classification",
) -> Tensor:
    """Weighted mean of cross-entropy or squared error.

    Args:
        outputs: Logits or predictions `(b, k)`; one column in classification is the log-odds of
            class 1.
        targets: Classes `(b,)` int64, probabilities `(b, k)`, or numbers `(b, k)`.
        weight: Sample weights `(b,)`.
        problem_type: Cross-entropy for "classification", squared error for "regression".

    Returns:
        A scalar.
    """
    if problem_type == "regression":
        losses = (outputs - targets.to(outputs.dtype)).square().mean(-1)
    else:
        if outputs.shape[-1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], -1)
        soft = targets.is_floating_point()
        losses = F.cross_entropy(
            outputs, targets.to(outputs.dtype) if soft else targets, reduction="none"
        )
    if weight is None:
        return losses.mean()
    weight = weight.to(losses.dtype)
    return (losses * weight).sum() / weight.sum().clamp(min=torch.finfo(losses.dtype).tiny)


class CoalitionLoss(nn.Module):
    """Loss on full rows plus loss on random coalitions of them.

    Args:
        problem_type: "classification" or "regression".
        coalition_weight: Share of the second term, in [0, 1).

    Raises:
        ValueError: If the share is outside [0, 1).

    Example:
        >>> import torch
        >>> from harsanyi import CoalitionLoss
        >>> def net(x, present=None):
        ...     return (x if present is None else x * present).sum(1, keepdim=True)
        >>> x = torch.ones(4, 3)
        >>> loss = CoalitionLoss("regression", coalition_weight=0.0)
        >>> loss(net, x, x.sum(1, keepdim=True), generator=torch.Generator().manual_seed(0))
        tensor(0.)
    """

    def __init__(
        self,
        problem_type: ProblemType = "classification",
        coalition_weight: float = COALITION_WEIGHT,
    ) -> None:
        super().__init__()
        if not 0 <= coalition_weight < 1:
            raise ValueError(f"coalition_weight={coalition_weight}; it must be in [0, 1).")
        self.problem_type: ProblemType = problem_type
        self.coalition_weight = coalition_weight

    def forward(
        self,
        net: Any,  # noqa: ANN401 - any module called as net(x, present=None)
        x: Tensor,
        targets: Tensor,
        weight: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Loss of `net` on a batch.

        Args:
            net: Maps raw rows `(b, n)` and bool masks `(b, n)` to `(b, k)`.
            x: Raw rows `(b, n)`.
            targets: As `prediction_loss` takes them.
            weight: Sample weights `(b,)`.
            generator: Source of the coalitions.

        Returns:
            A scalar.
        """
        if self.coalition_weight == 0:
            return prediction_loss(net(x), targets, weight, self.problem_type)
        b, n = x.shape
        drawn = random_coalitions(b, n, generator).to(x.device)
        present = torch.cat([torch.ones_like(drawn), drawn])
        full, masked = net(torch.cat([x, x]), present).split(b)
        loss = prediction_loss(full, targets, weight, self.problem_type)
        other = prediction_loss(masked, targets, weight, self.problem_type)
        return (1 - self.coalition_weight) * loss + self.coalition_weight * other
