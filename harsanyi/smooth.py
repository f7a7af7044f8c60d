"""Growing of the smooth parts: linear terms by a convex fit, waves by gradient steps; all bags at once.

Both read the same fixed features, so the bags differ in weights only: one matrix product serves
all of them, and their mean is again one additive part and one part of waves.
"""

from __future__ import annotations

from os import PathLike
from typing import Any

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from baselines.training import AdamW, WarmupCosine, fit
from harsanyi.bags import SMALL, Folds, Grown
from harsanyi.features import PlayerFeatures
from harsanyi.fitting import Schedule
from harsanyi.losses import random_coalitions
from harsanyi.parts.additive import AdditivePart
from harsanyi.parts.waves import WavePart, draw_waves

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
WAVES = 32  # per bag, fewer for many players: an explanation's cost is waves times players
STEPS = 900  # about how many gradient steps waves take
MORE_STEPS = 2500  # the same where there are rows enough that longer training does not overfit
DECAY = 10.0  # waves decay so much faster than other weights: fast ones fit noise


def ramps(rows: int) -> int:
    """Ramps per number for so many rows; all smooth parts of a model have the same."""
    return 4 if rows < SMALL else 8


class Scale:
    """Targets in units of their spread, for regression; anything else as it is.

    Args:
        folds: Rows and bags.
    """

    def __init__(self, folds: Folds) -> None:
        table = folds.table
        self.mean = torch.zeros(table.n_outputs, dtype=torch.float64)
        self.spread = torch.ones(table.n_outputs, dtype=torch.float64)
        if table.problem_type == "regression":
            y = table.y.reshape(len(table), -1)
            self.mean = y.mean(0)
            self.spread = y.std(0, correction=0).clamp(min=1e-300)

    def targets(self, folds: Folds) -> Tensor:
        """What the bags are trained on."""
        y = folds.table.y
        if folds.table.problem_type == "regression":
            return (y.reshape(len(y), -1) - self.mean) / self.spread
        return y

    def undo(self, outputs: Tensor) -> Tensor:
        """Outputs `(..., k)` in the target's own units."""
        return outputs.double() * self.spread + self.mean


def bag_losses(outputs: Tensor, targets: Tensor, problem_type: str) -> Tensor:
    """Loss of every bag and row.

    Args:
        outputs: `(g, b, k)`.
        targets: Classes `(b,)`, probabilities `(b, k)` or numbers `(b, k)`.
        problem_type: "classification" or "regression".

    Returns:
        `(g, b)`.
    """
    if problem_type == "regression":
        return (outputs - targets.to(outputs.dtype)).square().mean(-1)
    if outputs.shape[-1] == 1:
        outputs = torch.cat([torch.zeros_like(outputs), outputs], -1)
    logs = outputs.log_softmax(-1)
    if targets.is_floating_point():
        return -(logs * targets.to(logs.dtype)).sum(-1)
    index = targets[None, :, None].expand(len(outputs), -1, 1)
    return -logs.gather(-1, index)[..., 0]


def _features(folds: Folds, bins: int) -> tuple[PlayerFeatures, Tensor]:
    table = folds.table
    encoder = PlayerFeatures(table.cardinalities, bins).fit(table.x)
    return encoder, encoder(table.x, table.present())


def _bag_weights(folds: Folds) -> Tensor:
    """Weight of each row in each bag `(g, b)`, 0 where the bag leaves it out."""
    bags = torch.arange(folds.n_bags)[:, None]
    return (folds.bag != bags) * folds.table.weight


def _own(outputs: Tensor, folds: Folds) -> Tensor:
    """Of outputs `(g, b, k)`, each row's by the bag that left it out."""
    return outputs[folds.bag, torch.arange(len(folds.bag))]


def grow_linear(folds: Folds, *, key: int, steps: int = 60) -> Grown:
    """Additive terms by penalised maximum likelihood, the penalty chosen out of bag.

    Args:
        folds: Rows and bags.
        key: Key of the random choices.
        steps: Steps of L-BFGS.

    Returns:
        One additive part, the mean of the bags.
    """
    table, k, g = folds.table, folds.table.n_outputs, folds.n_bags
    bins = ramps(len(table))
    encoder, features = _features(folds, bins)
    scale = Scale(folds)
    targets = scale.targets(folds)
    generator = torch.Generator().manual_seed(key)
    drawn = random_coalitions(len(table), table.n_players, generator)
    x = torch.cat([features, features * drawn[:, encoder.owner]])
    y = torch.cat([targets, targets])
    share = 0.0 if table.absence == "marginal" else folds.coalition_weight
    weight = _bag_weights(folds)
    weight = weight / weight.sum(1, keepdim=True)
    weight = torch.cat([(1 - share) * weight, share * weight], 1).float()
    p = len(PENALTIES)
    penalty = torch.tensor(PENALTIES).repeat_interleave(g)
    coefficients = torch.zeros(encoder.n_features, p * g, k, requires_grad=True)
    constants = torch.zeros(p * g, 1, k, requires_grad=True)

    def outputs(rows: Tensor) -> Tensor:
        return einsum(rows, coefficients, "b f, f g k -> g b k") + constants

    def objective() -> Tensor:
        losses = bag_losses(outputs(x), y, table.problem_type)
        fit = (losses * weight.repeat(p, 1)).sum()
        return (
            fit + (penalty[:, None] * rearrange(coefficients.square(), "f g k -> g (f k)")).sum()
        )

    optimizer = torch.optim.LBFGS(
        [coefficients, constants], max_iter=steps, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = objective()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        judged = features * folds.coalitions[:, encoder.owner]
        full = outputs(features).reshape(p, g, len(table), k)
        masked = outputs(judged).reshape(p, g, len(table), k)
        pairs = [
            (scale.undo(_own(full[i], folds)), scale.undo(_own(masked[i], folds)))
            for i in range(p)
        ]
        best = min(range(p), key=lambda i: float(folds.loss(*pairs[i])))
        part = AdditivePart(
            table.n_players,
            k,
            cardinalities=table.cardinalities,
            bins=bins,
            absent="mean" if table.absence == "marginal" else "zero",
        ).double()
        part.features = encoder.double()
        chosen = slice(best * g, (best + 1) * g)
        part.weights.copy_(coefficients[:, chosen].mean(1).double() * scale.spread)
        if part.absent == "mean":
            part.fit_means(table.x, table.weight)
        bias = scale.undo(constants[chosen, 0].mean(0))
    return Grown([part], bias, *pairs[best])


class WaveBags(nn.Module):
    """Additive terms and waves of all bags over shared features, as they are trained.

    Args:
        n_features: Features of a row.
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        n_bags: Bags `g`.
        waves: Waves of a bag.
        generator: Source of the initial weights.
    """

    def __init__(
        self,
        n_features: int,
        n_players: int,
        n_outputs: int,
        n_bags: int,
        waves: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.n_bags, self.waves = n_bags, waves
        self.linear = nn.Parameter(torch.zeros(n_features, n_bags, n_outputs))
        self.constant = nn.Parameter(torch.zeros(n_bags, 1, n_outputs))
        self.angles = nn.Parameter(torch.empty(n_features, n_bags * waves))
        self.phases = nn.Parameter(torch.empty(n_bags * waves))
        self.readout = nn.Parameter(torch.empty(n_bags, waves, n_outputs))
        flat = self.readout.data.reshape(n_bags * waves, n_outputs)
        draw_waves(self.angles, self.phases, flat, n_players, generator)
        with torch.no_grad():
            self.readout.mul_(n_bags**0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Outputs of all bags, `(g, b, k)`."""
        waves = torch.cos(features @ self.angles + self.phases)
        waves = rearrange(waves, "b (g h) -> g b h", g=self.n_bags)
        linear = einsum(features, self.linear, "b f, f g k -> g b k")
        return linear + waves @ self.readout + self.constant


def grow_waves(
    folds: Folds,
    *,
    key: int,
    schedule: Schedule,
    waves: int | None = None,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> Grown:
    """Additive terms and waves, trained together on whole rows and random coalitions.

    Args:
        folds: Rows and bags.
        key: Key of the random choices.
        schedule: How long and how hard to train.
        waves: Waves per bag; 8 to 64 by the numbers of players and classes when None.
        checkpoint_dir: Folder that a killed run continues from.
        progress: Show a bar.

    Returns:
        An additive part and a part of waves, whose sum is the mean of the bags.
    """
    table, k = folds.table, folds.table.n_outputs
    bins = ramps(len(table))
    if waves is None:  # many classes share their waves, so there may be more of them
        waves = max(8, min(WAVES, 2000 // table.n_players)) * (2 if k > 3 else 1)
    encoder, features = _features(folds, bins)
    scale = Scale(folds)
    generator = torch.Generator().manual_seed(key)
    bags = WaveBags(encoder.n_features, table.n_players, k, folds.n_bags, waves, generator)
    share = folds.coalition_weight

    def loss(module: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:  # noqa: ANN401
        rows, y, weight = batch
        drawn = random_coalitions(len(rows), table.n_players, generator)
        masked = rows * drawn[:, encoder.owner]
        outputs = module(torch.cat([rows, masked]))
        losses = bag_losses(outputs, torch.cat([y, y]), table.problem_type)
        weight = torch.cat([(1 - share) * weight, share * weight]).T
        return (losses * weight).sum(1).mean() / len(rows)

    judged = features * folds.coalitions[:, encoder.owner]

    def outside(module: nn.Module) -> tuple[Tensor, Tensor]:
        pieces = [
            torch.cat(
                [
                    _all(module, rows)[bag, torch.arange(len(bag))]
                    for rows, bag in zip(matrix.split(4096), folds.bag.split(4096), strict=True)
                ]
            )
            for matrix in (features, judged)
        ]
        return scale.undo(pieces[0]), scale.undo(pieces[1])

    targets = scale.targets(folds)
    data = (
        features,
        targets.float() if targets.is_floating_point() else targets,
        _bag_weights(folds).T.float().contiguous(),
    )
    batch = schedule.batch_size // 2 if len(table) < SMALL else 2 * schedule.batch_size
    batch = min(max(1, batch), max(16, len(table) // 8))
    steps = STEPS if len(table) < SMALL else MORE_STEPS
    epochs = schedule.epochs or min(60, max(12, steps * batch // len(table)))
    fit(
        bags,
        data,
        loss,
        epochs=epochs,
        batch_size=batch,
        validate=lambda module: float(folds.loss(*outside(module))),
        patience=schedule.patience,
        optimizer=AdamW(lr=schedule.learning_rate, weight_decay=DECAY * schedule.weight_decay),
        schedule=WarmupCosine(warmup=0.1),
        max_grad_norm=5.0,
        key=key,
        config={"waves": waves, "bins": bins, "bags": folds.n_bags, "share": share},
        checkpoint_dir=checkpoint_dir,
        checkpoint_seconds=2.0,
        progress=progress,
        description="waves",
    )
    with torch.no_grad():
        full, masked = outside(bags)
    return Grown(*_mean_parts(bags, encoder, folds, bins, scale), full, masked)


def _all(module: nn.Module, rows: Tensor) -> Tensor:
    return module(rows)


@torch.no_grad()
def _mean_parts(
    bags: WaveBags, encoder: PlayerFeatures, folds: Folds, bins: int, scale: Scale
) -> tuple[list[nn.Module], Tensor]:
    table, k, g = folds.table, folds.table.n_outputs, folds.n_bags
    cardinalities = table.cardinalities
    additive = AdditivePart(table.n_players, k, cardinalities=cardinalities, bins=bins).double()
    waves = WavePart(
        table.n_players, k, units=g * bags.waves, cardinalities=cardinalities, bins=bins
    ).double()
    state = encoder.double().state_dict()
    additive.features.load_state_dict(state)
    waves.features.load_state_dict(state)
    additive.weights.copy_(bags.linear.mean(1).double() * scale.spread)
    waves.angles.copy_(bags.angles.double())
    waves.phases.copy_(bags.phases.double())
    waves.weights.copy_(bags.readout.flatten(0, 1).double() * scale.spread / g)
    return [additive, waves], scale.undo(bags.constant[:, 0].mean(0))
