"""How well a selection names what matters, and whether it leaks: pure functions of scores.

Scores rank players, larger first: logits of a selector, |phi| of attributions, a reveal order. Rates
differ between methods, so what does not depend on one comes first: TPR@k and AUROC.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize, stats
from torch import Tensor, nn

from amortized.lex.predictor import ConvPredictor, MLPPredictor
from baselines import training
from baselines.randomness import seeded
from bench.selection_box import LARGE, image_width

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]


def tpr_at_k(scores: Array, truth: Bools) -> Array:
    """Share of the players that matter among as many top-scored ones.

    Args:
        scores: `(b, n)`, finite; of tied players the earlier ones are taken.
        truth: Which players matter, bool `(b, n)`, at least one a row.

    Returns:
        `(b,)` from 0 to 1.

    Raises:
        ValueError: If shapes differ, a score is not finite, or a row has nothing that matters.
    """
    _check(scores, truth)
    k = truth.sum(1)
    if (k == 0).any():
        raise ValueError("truth has rows in which no player matters; leave them out.")
    return (top(scores, k) & truth).sum(1) / k


def auroc(scores: Array, truth: Bools) -> Array:
    """Probability that a player that matters is scored above one that does not; ties count half.

    Args:
        scores: `(b, n)`, finite.
        truth: Which players matter, bool `(b, n)`.

    Returns:
        `(b,)`; NaN for rows where all or no players matter.

    Raises:
        ValueError: If shapes differ or a score is not finite.
    """
    _check(scores, truth)
    ranks = stats.rankdata(scores, axis=1)
    inside, outside = truth.sum(1), (~truth).sum(1)
    above = (ranks * truth).sum(1) - inside * (inside + 1) / 2
    pairs = (inside * outside).astype(float)
    return np.divide(above, pairs, out=np.full(len(scores), np.nan), where=pairs > 0)


def average_precision(scores: Array, truth: Bools) -> Array:
    """Area under the precision-recall curve of each row, ties counted together.

    Args:
        scores: `(b, n)`, finite.
        truth: Which players matter, bool `(b, n)`, at least one a row.

    Returns:
        `(b,)` from 0 to 1.

    Raises:
        ValueError: If shapes differ, a score is not finite, or a row has nothing that matters.
    """
    from sklearn.metrics import average_precision_score

    _check(scores, truth)
    if (truth.sum(1) == 0).any():
        raise ValueError("truth has rows in which no player matters; leave them out.")
    pairs = zip(truth, scores, strict=True)
    return np.array([average_precision_score(right, score) for right, score in pairs])


def mask_probe(selected: Bools, y: NDArray[np.int64]) -> float:
    """Accuracy of guessing the label from the mask alone, without a single value.

    Above chance is no proof of a leak, since a right selection may go with the label; it is where
    nothing that can be shown tells the label.

    Args:
        selected: Bool `(b, n)`; a tree learns from the first half of the rows.
        y: Labels `(b,)`.

    Returns:
        Accuracy on the second half.
    """
    from sklearn.tree import DecisionTreeClassifier

    half = len(y) // 2
    tree = DecisionTreeClassifier(max_leaf_nodes=64, random_state=0)
    tree.fit(selected[:half], y[:half])
    return float((tree.predict(selected[half:]) == y[half:]).mean())


def fdr(selected: Bools, truth: Bools) -> Array:
    """Share of the selected players that do not matter; 0 for an empty selection.

    Args:
        selected: Bool `(b, n)`.
        truth: Which players matter, bool `(b, n)`.

    Returns:
        `(b,)`; report the share of empty selections beside it.
    """
    _check(selected.astype(float), truth)
    return (selected & ~truth).sum(1) / np.maximum(selected.sum(1), 1)


def fpr(selected: Bools, truth: Bools) -> Array:
    """Share of the players that do not matter that were selected, `(b,)`; 0 if all matter."""
    _check(selected.astype(float), truth)
    return (selected & ~truth).sum(1) / np.maximum((~truth).sum(1), 1)


def top(scores: Array, k: NDArray[np.int64] | int) -> Bools:
    """The `k` best-scored players of each row, exactly `k` also among ties.

    Args:
        scores: `(b, n)`.
        k: A number for all rows, or `(b,)`.

    Returns:
        Bool `(b, n)`.
    """
    place = np.argsort(np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return place < np.broadcast_to(np.asarray(k), (len(scores),))[:, None]


def stability(scores: Sequence[Array]) -> float:
    """Mean rank correlation between runs with different seeds.

    Args:
        scores: Two or more runs on the same rows, each `(b, n)`.

    Returns:
        Mean over pairs of runs and rows of Spearman's coefficient; rows without an order in
        either run are left out.

    Raises:
        ValueError: If there are fewer than two runs.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} run says nothing of seeds; pass two or more.")
    found = []
    for i, one in enumerate(scores):
        for other in scores[i + 1 :]:
            a, b = (stats.rankdata(part, axis=1) for part in (one, other))
            a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
            size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
            found.append((a * b).sum(1)[size > 0] / size[size > 0])
    return float(np.concatenate(found).mean())


class EvalX:
    """An independent judge of selections: p(y | x_S) for any S, trained on masks at random.

    No selector had a hand in it, so a selection that encodes the label in *which* players it shows
    finds no accomplice here. It should learn from rows of its own: on rows that a contender learned
    from, both take the same accidents for evidence. A tenth of the rows stops it, another tenth
    says how far it is to be trusted: its log-odds are shrunk towards the class shares, and a judge
    that does not beat these shares by two standard errors answers with them.

    Args:
        X: Training rows `(rows, *features)`.
        y: Labels `(rows,)` from 0.
        seed: Of weights, batches and masks.
        width: Units of each of three hidden layers.
        epochs: Passes over the rows, stopped early; None takes 60 for rows of numbers, 10 for
            images.
        groups: Player of each feature, -1 where it is never shown; None makes each a player.

    Source: Jethani, Sudarshan, Aphinyanaphongs and Ranganath (2021), EVAL-X; the simpler model
    among those within standard errors, Breiman et al. (1984), sec. 3.4.3.
    """

    epochs = 60

    def __init__(
        self,
        X: Array,
        y: NDArray[np.int64],
        *,
        seed: int = 0,
        width: int = 150,
        epochs: int | None = None,
        groups: NDArray[np.int64] | None = None,
    ) -> None:
        rows = torch.as_tensor(X, dtype=torch.float32)
        labels = torch.as_tensor(y, dtype=torch.int64)
        self.groups = None if groups is None else torch.as_tensor(groups)
        held, wide = max(1, len(rows) // 10), rows[0].numel() > LARGE
        kept = slice(min(2 * held, len(rows) - 1), None)
        classes = int(labels.max()) + 1
        with seeded(seed + 9_000):
            self.net = _judging_net(rows, classes, width)
        self.net.standardise.learn(rows[kept])  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        n = rows[0].numel() if groups is None else int(groups.max()) + 1

        def loss(net: nn.Module, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
            masks = self._shown(torch.rand(len(batch[0]), n, generator=noise) < 0.5)
            return nn.functional.cross_entropy(net(batch[0], masks), batch[1])

        def score(net: nn.Module) -> float:
            fixed = torch.Generator().manual_seed(1)
            part = (rows[:held], labels[:held])
            return float(np.mean([float(loss(net, part, fixed)) for _ in range(4)]))

        training.fit(
            self.net,
            (rows[kept], labels[kept]),
            loss,
            epochs=epochs or (10 if wide else self.epochs),
            batch_size=128 if wide else 256,
            validate=score,
            patience=8,
            optimizer=training.AdamW(lr=2e-3, weight_decay=0.05),
            schedule=training.WarmupCosine(floor=0.05),
            key=seed + 9_001,
        )
        counts = np.bincount(y[kept], minlength=classes) + 0.5
        self.prior = np.log(counts / counts.sum())
        check = slice(held, 2 * held)
        draws = np.random.default_rng(seed + 9_002).random((CHECKS, len(rows[check]), n)) < 0.5
        said = np.stack([self._log_probs(rows[check], torch.from_numpy(z)) for z in draws])
        self.trust = trusted(said, self.prior, y[check])

    def _shown(self, masks: Tensor) -> Tensor:
        """Masks of players `(b, n)` as masks of features; a group of -1 is never shown."""
        if self.groups is None:
            return masks
        return nn.functional.pad(masks, (0, 1))[:, self.groups]

    @torch.no_grad()
    def _log_probs(self, rows: Tensor, shown: Tensor) -> Array:
        """What the network says, before it is shrunk."""
        parts = zip(rows.split(2048), shown.split(2048), strict=True)
        logits = torch.cat([self.net(part, self._shown(mask)) for part, mask in parts])
        return torch.log_softmax(logits, -1).double().numpy()

    def log_probs(self, X: Array, masks: Bools) -> Array:
        """log p(y | x_S), `(b, classes)`, of rows `(b, *features)` and masks `(b, n)`."""
        rows, shown = torch.as_tensor(X, dtype=torch.float32), torch.as_tensor(masks)
        return shrunk(self._log_probs(rows, shown), self.prior, self.trust)

    def accuracy(self, X: Array, y: NDArray[np.int64], masks: Bools) -> float:
        """Share of labels that the shown players let the judge guess."""
        return float((self.log_probs(X, masks).argmax(1) == y).mean())

    def loss(self, X: Array, y: NDArray[np.int64], masks: Bools) -> float:
        """Mean of -log p(y | x_S) in nats."""
        return float(-self.log_probs(X, masks)[np.arange(len(y)), y].mean())


CHECKS = 8
"""Random selections of each row on which a judge's trust is settled."""


def shrunk(log_probs: Array, prior: Array, trust: float) -> Array:
    """Log-probabilities moved towards the class shares.

    Args:
        log_probs: `(..., classes)`.
        prior: Logarithms of the class shares `(classes,)`.
        trust: 1 keeps them, 0 answers with the shares.

    Returns:
        Normalised log-probabilities of the same shape.
    """
    mixed = prior + trust * (log_probs - prior)
    return mixed - np.logaddexp.reduce(mixed, axis=-1, keepdims=True)


def trusted(log_probs: Array, prior: Array, y: NDArray[np.int64]) -> float:
    """How far answers on held-out rows deserve to be believed.

    Args:
        log_probs: `(draws, b, classes)`, of several selections of the same rows.
        prior: Logarithms of the class shares `(classes,)`.
        y: Labels `(b,)`.

    Returns:
        The share of their log-odds, 0 to 1, that predicts best; 0 where it does not beat the
        class shares by two standard errors.
    """
    at = np.arange(len(y))

    def losses(trust: float) -> Array:  # (b,)
        return -shrunk(log_probs, prior, trust)[:, at, y].mean(0)

    best: Any = optimize.minimize_scalar(
        lambda trust: float(losses(trust).mean()), bounds=(0.0, 1.0), method="bounded"
    )
    gain = losses(0.0) - losses(float(best.x))
    return float(best.x) if gain.mean() > 2 * gain.std() / np.sqrt(len(y)) else 0.0


def _judging_net(rows: Tensor, n_classes: int, width: int) -> nn.Module:
    if rows.ndim == 2:
        return MLPPredictor(rows.shape[1], n_classes, width, 3, True)
    size = (rows.shape[2], rows.shape[3])
    width = image_width(rows[0].numel(), 24)
    return ConvPredictor(rows.shape[1], size, n_classes, width, True)


LEAK_GAP = 0.1
"""A method's own accuracy above the judge's by more than this, on the same selections, is flagged."""

ENCODED = 0.2
"""Nats that a selection may tell by itself, as a coin guessed right four times of five; more is
flagged."""


def leaks(own_accuracy: float, judged_accuracy: float, encoded: float = 0.0) -> bool:
    """Whether a selection tells more than what it shows.

    Args:
        own_accuracy: Of the method's predictor on its own selections.
        judged_accuracy: Of EVAL-X on the same selections.
        encoded: Nats that being selected tells beyond the values shown, of
            `bench.leakage.encoded`; NaN where that is unknown.

    Returns:
        True where the gap exceeds `LEAK_GAP`, its own predictor reading what others cannot, or
        `encoded` exceeds `ENCODED`, whoever may read it.
    """
    return own_accuracy - judged_accuracy > LEAK_GAP or encoded > ENCODED


def _check(scores: Array, truth: Bools) -> None:
    if scores.shape != truth.shape or scores.ndim != 2:
        raise ValueError(
            f"scores have shape {scores.shape}, truth {truth.shape}; both need (b, n)."
        )
    if truth.dtype != bool:
        raise ValueError(f"truth is {truth.dtype}; it needs bool.")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; every player needs a finite score.")
