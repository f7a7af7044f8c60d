"""Training of a net's differentiable parts: AdamW, a cosine schedule, the best epoch kept."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from numbers import Integral, Real
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from baselines.fingerprints import content_hash
from baselines.training import AdamW, History, WarmupCosine, fit
from harsanyi.losses import COALITION_WEIGHT, CoalitionLoss, prediction_loss, random_coalitions
from harsanyi.net import HarsanyiNet, NetConfig
from harsanyi.parts.gated import GatedPart
from harsanyi.table import Table


@dataclass(frozen=True)
class Schedule:
    """How long and how hard to train.

    Attributes:
        epochs: Passes over the rows; None takes what gives about 1200 steps, 20 to 150.
        batch_size: Rows per step.
        learning_rate: Peak of the schedule.
        weight_decay: AdamW's.
        coalition_weight: Share of the loss on random coalitions.
        patience: Epochs without a better validation loss after which training stops.
    """

    epochs: int | None = None
    batch_size: int = 256
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    coalition_weight: float = COALITION_WEIGHT
    patience: int = 20

    def __post_init__(self) -> None:
        """Refuse what no training can use.

        Raises:
            ValueError: If a setting is out of its range.
            TypeError: If it is not a number.
        """
        for name, low, high, whole in (
            ("epochs", 1, math.inf, True),
            ("batch_size", 1, math.inf, True),
            ("learning_rate", 0, 1e3, False),
            ("weight_decay", 0, 1e3, False),
            ("coalition_weight", 0, 1, False),
            ("patience", 0, math.inf, True),
        ):
            value = getattr(self, name)
            if value is None and name == "epochs":
                continue
            if not isinstance(value, Integral if whole else Real):
                kind = "a whole number" if whole else "a number"
                raise TypeError(f"{name}={value!r}; pass {kind}.")
            if not low <= float(value) <= high:  # NaN is in no range
                limits = f"from {low}" + ("" if math.isinf(high) else f" to {high:g}")
                raise ValueError(f"{name}={value!r}; it must be {limits}.")

    def length(self, rows: int) -> int:
        """Epochs for so many rows."""
        if self.epochs is not None:
            return self.epochs
        steps = max(1, math.ceil(rows / self.batch_size))
        return min(150, max(20, 1200 // steps))


def net_config(table: Table, parts: Sequence[nn.Module] = (), **names: Any) -> NetConfig:  # noqa: ANN401
    """The configuration of a net for a table.

    Args:
        table: Training rows.
        parts: Its parts.
        names: Further attributes, such as `outputs`.
    """
    binary = table.problem_type == "classification" and table.n_outputs == 1
    return NetConfig(
        n_players=table.n_players,
        n_outputs=2 if binary else table.n_outputs,
        parts=[part.spec for part in parts],  # pyright: ignore[reportArgumentType]
        absence=table.absence,
        gauge="binary" if binary else "free",
        problem_type=table.problem_type,
        players=[column.name for column in table.columns],
        categories=[list(column.categories) for column in table.columns],
        **names,
    )


def fit_net(
    net: HarsanyiNet,
    train: Table,
    validation: Table | None = None,
    schedule: Schedule | None = None,
    *,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    key: int = 0,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
    description: str = "fit",
) -> History:
    """Train whatever is trainable in a net, in place; eval mode and best weights are left.

    Args:
        net: The net; parts without parameters (trees) take part in the forward pass only.
        train: Rows to learn from.
        validation: Rows that choose the epoch, under the same loss with fixed coalitions; None
            keeps the last epoch.
        schedule: How long and how hard; the defaults of `Schedule` when None.
        optimizer: Makes an optimizer of constant rate; AdamW along a cosine when None.
        key: Key of every random choice.
        checkpoint_dir: Folder that a killed run continues from.
        progress: Show a bar.
        description: Its label.

    Returns:
        What happened.
    """
    schedule = schedule or Schedule()
    loss = CoalitionLoss(train.problem_type, schedule.coalition_weight)
    dtype = net.bias.dtype
    targets = train.y if train.problem_type == "classification" else train.y.to(dtype)

    def batch_loss(module: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:  # noqa: ANN401
        x, y, weight = batch
        return loss(module, x, y, weight, generator)

    return fit(
        net,
        (train.x, targets, train.weight.to(dtype)),
        batch_loss,
        epochs=schedule.length(len(train)),
        batch_size=min(schedule.batch_size, max(16, len(train) // 4)),
        validate=None if validation is None else validator(validation, loss),
        patience=None if validation is None else schedule.patience,
        optimizer=optimizer
        or AdamW(lr=schedule.learning_rate, weight_decay=schedule.weight_decay),
        schedule=WarmupCosine(warmup=0.1) if optimizer is None else None,
        max_grad_norm=5.0,
        key=key,
        config={
            **asdict(schedule),
            "parts": [part.spec for part in net.parts],
            "absence": net.absence,
            "validation": None if validation is None else content_hash(validation.x, validation.y),
        },
        checkpoint_dir=checkpoint_dir,
        checkpoint_seconds=2.0,  # nets of tables are small: saving costs milliseconds
        progress=progress,
        description=description,
    )


def validator(table: Table, loss: CoalitionLoss, draws: int = 4) -> Callable[[nn.Module], float]:
    """A score of a net on held-out rows: the training loss, on coalitions drawn once.

    Args:
        table: Held-out rows.
        loss: The loss trained on.
        draws: Coalitions per row.

    Returns:
        A function of the net, lower is better.
    """
    b, n = table.x.shape
    generator = torch.Generator().manual_seed(0)
    masks = [random_coalitions(b, n, generator) for _ in range(draws)]

    def score(net: nn.Module) -> float:
        def judge(mask: Tensor | None) -> float:
            outputs = torch.cat(
                [
                    net(x, None if mask is None else mask[i * 2048 : i * 2048 + len(x)])
                    for i, x in enumerate(table.x.split(2048))
                ]
            )
            return float(prediction_loss(outputs, table.y, table.weight, table.problem_type))

        share = loss.coalition_weight
        full = judge(None)
        return full if share == 0 else (1 - share) * full + share * sum(map(judge, masks)) / draws

    return score


def gated_part(
    table: Table,
    *,
    pairs: int = 64,
    triples: int = 32,
    larger: int = 16,
    channels: int = 8,
    generator: torch.Generator | None = None,
) -> GatedPart:
    """A gated part of fixed fields for a table: all singles, and random pairs, triples and larger.

    Args:
        table: Training rows; its columns' statistics go into the encoder.
        pairs: Most fields of two players; all pairs where there are no more.
        triples: Most fields of three.
        larger: Fields of half of the players, at most 8.
        channels: Entries of a unit's vector.
        generator: Source of fields and weights.

    Returns:
        An untrained part.
    """
    n = table.n_players
    generator = generator or torch.Generator().manual_seed(0)
    fields: list[list[int]] = [[i] for i in range(n)]
    for size, most in ((2, pairs), (3, triples), (min(8, n // 2), larger)):
        if size > len(fields[-1]) and size <= n:
            fields += random_fields(n, size, most, generator)
    sizes = sorted({len(members) for members in fields})
    part = GatedPart(
        n,
        table.n_outputs,
        encoder={"cardinalities": table.cardinalities},
        blocks=[
            {
                "units": [[size, sum(len(f) == size for f in fields)] for size in sizes],
                "channels": channels,
                "hidden": channels,
            }
        ],
    )
    part.reset_parameters(generator)
    part.blocks[0].connect(fields)  # pyright: ignore[reportCallIssue]
    return part.fit_encoder(table.x)


def random_fields(n: int, size: int, most: int, generator: torch.Generator) -> list[list[int]]:
    """Distinct fields of `size` of `n` players: all if at most `most`, else random ones."""
    if math.comb(n, size) <= most:
        return [list(members) for members in combinations(range(n), size)]
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < most:
        members = torch.randperm(n, generator=generator)[:size]
        drawn[tuple(sorted(members.tolist()))] = None
    return [list(members) for members in drawn]
