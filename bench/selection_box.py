"""The one model that every post-hoc selection of a problem explains, and what its answers cost.

Methods that bring no model of their own are asked about this one, so their fidelity can be ranked.
"""

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from amortized.lex.predictor import ConvPredictor, MLPPredictor
from baselines import (
    GaussianImputer,
    GaussianMixtureImputer,
    Imputer,
    MarginalImputer,
    MaskedGame,
    compress,
    training,
)
from baselines.randomness import seeded
from bench.problems.selections import SelectionProblem

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

PRICE = 0.005
"""Nats per shown player in the objective of which enumeration knows the optimum."""

BACKGROUND = 32
"""Training rows that stand for absent players in the box's game."""

EPOCHS = 60
"""Most passes of the box over rows of numbers, stopped early."""

LARGE = 500
"""Cells of a row above which it trains for fewer epochs, and an image's networks are half as wide."""

ENUMERABLE = 12
"""Most players whose selections are all tried."""


def image_width(n_cells: int, usual: int) -> int:
    """Channels of a network of images, so that a cell of the suite takes minutes on a CPU.

    Args:
        n_cells: Of an image.
        usual: Channels for small ones.
    """
    return usual // 2 if n_cells > LARGE else usual


class Box:
    """A network trained on full inputs, and then kept.

    Args:
        problem: Whose training rows it learns; a tenth of them stops it.
        seed: Of weights and batches.
    """

    def __init__(self, problem: SelectionProblem, seed: int = 0) -> None:
        self.problem = problem
        rows, labels = as_tensors(problem.X, problem.y)
        shape = rows.shape[1:]
        with seeded(seed + 8_000):
            if len(shape) == 1:
                self.net: nn.Module = MLPPredictor(shape[0], problem.n_classes)
            else:
                size = (shape[1], shape[2])
                width = image_width(rows[0].numel(), 16)
                self.net = ConvPredictor(shape[0], size, problem.n_classes, width)
        held = max(1, len(rows) // 10)
        self.net.standardise.learn(rows[held:])  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        fit_net(self.net, (rows, labels), held, key=seed + 8_001)
        self.net.eval().requires_grad_(False)
        self._imputer: Imputer | None = None
        self._background: Tensor | None = None

    @property
    def imputer(self) -> Imputer:
        """What a person would fill in: a conditional fitted to the training rows."""
        if self._imputer is None:
            self._imputer = imputer_for(self.problem)
        return self._imputer

    def probabilities(self, x: Tensor) -> Tensor:
        """Class probabilities `(rows, c)` of rows `(rows, *features)`."""
        parts = [self.net(part.float()).softmax(-1) for part in x.split(4096)]
        return torch.cat(parts) if parts else self.net(x.float()).softmax(-1)

    def logits(self, x: Tensor) -> Tensor:
        """Logits `(rows, c)` less their mean over classes, a gauge for attributions."""
        logits = self.net(x.float())
        return logits - logits.mean(-1, keepdim=True)

    def shown(self, X: Floats, masks: Bools) -> Tensor:
        """p(y | x_S) `(b, c)` of player masks `(b, n)`, a mean over imputations."""
        x, _ = as_tensors(X)
        features = torch.from_numpy(self.problem.feature_masks(masks)).reshape(len(x), 1, -1)
        found = []
        for part, mask in zip(x.split(256), features.split(256), strict=True):
            rows = self.imputer(part, mask, torch.Generator().manual_seed(0))[:, 0]  # (b, r, ...)
            found.append(self.probabilities(rows.flatten(0, 1)).reshape(*rows.shape[:2], -1))
        return torch.cat(found).mean(1)

    @torch.no_grad()
    def divergence(self, X: Floats, masks: Bools) -> float:
        """Mean KL divergence, in nats, of p(y | x_S) from p(y | x)."""
        full = self.probabilities(as_tensors(X)[0]).clamp(min=1e-9)
        shown = self.shown(X, masks).clamp(min=1e-9)
        return float((full * (full.log() - shown.log())).sum(-1).mean())

    def game(self, X: Floats | Tensor) -> MaskedGame:
        """The box's logits with absent players taken from a few training rows."""
        if self._background is None:
            rows, _ = as_tensors(self.problem.X)
            self._background = rows[compress(rows.flatten(1), BACKGROUND)]
        groups = None if self.problem.groups is None else torch.from_numpy(self.problem.groups)
        x = torch.as_tensor(X, dtype=torch.float32)
        return MaskedGame(self.logits, x, MarginalImputer(self._background), groups=groups)


def fit_net(
    net: nn.Module,
    data: tuple[Tensor, Tensor],
    held: int,
    *,
    key: int,
    epochs: int | None = None,
) -> None:
    """Early-stopped cross-entropy on full inputs.

    Args:
        net: From rows to logits.
        data: Rows and labels; the first `held` of them stop the training.
        held: Number of those.
        key: Of the batches.
        epochs: Most passes; None takes 60 for rows of numbers and 12 for images.
    """
    rows, labels = data

    def loss(module: nn.Module, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(module(batch[0]), batch[1])

    def score(module: nn.Module) -> float:
        parts = zip(rows[:held].split(1024), labels[:held].split(1024), strict=True)
        return sum(float(loss(module, part, _UNUSED)) * len(part[1]) for part in parts) / held

    wide = rows[0].numel() > LARGE
    training.fit(
        net,
        (rows[held:], labels[held:]),
        loss,
        epochs=epochs or (12 if wide else EPOCHS),
        batch_size=128 if wide else 400,
        validate=score,
        patience=8,
        optimizer=training.AdamW(lr=2e-3, weight_decay=0.1),
        schedule=training.WarmupCosine(floor=0.05),
        key=key,
    )


_UNUSED = torch.Generator()


def imputer_for(problem: SelectionProblem, draws: int = 16) -> Imputer:
    """A multiple imputer that fits a problem's rows.

    Args:
        problem: Rows of numbers get a Gaussian conditional, images a mixture of twenty diagonal
            Gaussians.
        draws: Imputations.
    """
    if problem.X.ndim == 2:
        return GaussianImputer.fit(problem.X, n_draws=draws)
    return GaussianMixtureImputer.fit(problem.X[:4000], 20, diagonal=True, n_draws=draws)


def as_tensors(X: Floats, y: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
    """Float32 rows and int64 labels (zeros without any)."""
    labels = np.zeros(len(X), dtype=np.int64) if y is None else y
    return torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(labels, dtype=torch.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Enumerated:
    """The objective of every selection of a few rows.

    The objective of a row is E over y ~ p(y | x) of log p(y | x_S) less the price of S, under the
    data's own conditional law.

    Args:
        values: `(b, 2**n)` in nats; selection `i` shows the players whose bits are set in `i`.
        masks: `(2**n, n)`.
    """

    values: Floats
    masks: Bools

    @property
    def best(self) -> Bools:
        """The best selection of each row `(b, n)`."""
        return self.masks[self.values.argmax(1)]

    def gap(self, selected: Bools) -> float:
        """Mean over rows of the best objective less that of a selection `(b, n)`; never negative."""
        index = (selected * 2 ** np.arange(selected.shape[1])).sum(1)
        return float((self.values.max(1) - self.values[np.arange(len(index)), index]).mean())


@torch.no_grad()
def enumerate_objective(
    problem: SelectionProblem, X: Floats, *, price: float = PRICE, draws: int = 192
) -> Enumerated:
    """The objective of every selection of every row.

    Args:
        problem: With a known `probability` and `covariance`, and at most 12 players.
        X: Rows `(b, n)`.
        price: Nats per shown player.
        draws: Of the absent features, the same for all selections of a row.

    Returns:
        All values.

    Raises:
        ValueError: If the law is unknown or there are too many players.
    """
    n = X.shape[1]
    if problem.probability is None or problem.covariance is None or n > ENUMERABLE:
        raise ValueError(
            f"{problem.name} has no known law of at most {ENUMERABLE} features; the objective gap "
            "needs one, such as syn4 to syn6."
        )
    masks = (np.arange(2**n)[:, None] >> np.arange(n)) & 1 == 1  # (q, n)
    law = GaussianImputer(torch.zeros(n), torch.from_numpy(problem.covariance), n_draws=draws)
    noise = np.random.default_rng(0).standard_normal((1, draws, n))
    independent = np.array_equal(problem.covariance, np.eye(n))
    every, values = torch.from_numpy(masks)[None], np.empty((len(X), 2**n))
    for i, row in enumerate(X):
        if independent:  # the draws of all selections are the same ones, and need no algebra
            rows = np.where(masks[:, None], row, noise)  # (q, r, n)
        else:
            rows = law(torch.from_numpy(row)[None], every)[0].numpy()
        p = problem.probability(rows.reshape(-1, n)).reshape(len(masks), draws).mean(1)
        p = np.clip(p, 1e-9, 1 - 1e-9)
        true = float(problem.probability(row[None])[0])
        values[i] = true * np.log(p) + (1 - true) * np.log(1 - p) - price * masks.sum(1)
    return Enumerated(values, masks)
