"""Training on texts: bundles of like length, a loss on whole texts and random coalitions, one loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from baselines.fingerprints import content_hash
from baselines.training import AdamW, History, WarmupCosine
from baselines.training import fit as run_training
from harsanyi.text_net import TextNet

TOKENS = 4096
"""Most slots of one bundle, so that long texts do not fill the memory."""

PASSES, FEWEST_STEPS = 5, 400
"""Epochs by default, and the steps that they should come to at least."""


@dataclass(frozen=True)
class Bundle:
    """Texts that are worked on together.

    Attributes:
        rows: Their positions `(b,)` in the list they come from.
        x: Ids `(b, n)` or vectors `(b, n, d)`.
        types: `(b, n)`, or None.
        real: Bool `(b, n)`, false for padding.
    """

    rows: Tensor
    x: Tensor
    types: Tensor | None
    real: Tensor


def bundles(
    x: Tensor,
    types: Tensor | None,
    real: Tensor,
    size: int,
    generator: torch.Generator | None = None,
) -> list[Bundle]:
    """Texts in bundles of nearly equal length, padding cut off.

    Args:
        x: Ids `(b, n)` or vectors `(b, n, d)`.
        types: `(b, n)`, or None.
        real: Bool `(b, n)`.
        size: Most texts of a bundle.
        generator: Mixes texts of nearly equal length; None keeps their order.

    Returns:
        Bundles that hold every text once.
    """
    lengths = real.sum(1)
    blur = torch.zeros(len(x)) if generator is None else torch.rand(len(x), generator=generator)
    order = (lengths.cpu() + 2 * blur).argsort(stable=True)
    found, first = [], 0
    while first < len(order):
        last = min(first + size, len(order))
        while last - first > 1 and (last - first) * int(lengths[order[first:last]].max()) > TOKENS:
            last = first + (last - first) // 2
        rows = order[first:last].to(x.device)
        n = int(lengths[rows].max())
        kinds = None if types is None else types[rows, :n]
        found.append(Bundle(rows, x[rows, :n], kinds, real[rows, :n]))
        first = last
    return found


class BundledRows:
    """Bundles with their labels, as the training loop takes them: one bundle is one row."""

    def __init__(self, listed: Sequence[Bundle], labels: Tensor) -> None:
        self.listed, self.labels = list(listed), labels
        self.content_hash = content_hash(
            [part for one in self.listed for part in (one.rows, one.x)], labels
        )

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, rows: Tensor) -> tuple[Bundle, Tensor]:
        one = self.listed[int(rows[0])]
        return one, self.labels[one.rows]


def random_coalitions(real: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Everybody present in most rows, a random coalition in a share of them.

    Args:
        real: Bool `(b, n)`.
        share: Share of rows whose players are present with a probability drawn for the row.
        generator: A CPU generator.

    Returns:
        Bool `(b, n)`.
    """
    b, n = real.shape
    keep = torch.rand(b, 1, generator=generator)
    keep = torch.where(torch.rand(b, 1, generator=generator) < share, keep, torch.ones(()))
    return real & (torch.rand(b, n, generator=generator) < keep).to(real.device)


@dataclass(frozen=True)
class TextLoss:
    """Cross-entropy (or squared error) on whole texts and on random coalitions of their players.

    Attributes:
        regression: Whether labels are numbers.
        coalition_weight: Share of texts shown in part.
        unknown: Probability `(vocab,)` that a word is shown as unknown, or None.
        unknown_id: Its id then.
    """

    regression: bool
    coalition_weight: float
    unknown: Tensor | None = None
    unknown_id: int = 1

    def __call__(
        self, net: nn.Module, batch: tuple[Bundle, Tensor], generator: torch.Generator
    ) -> Tensor:
        """The mean over a bundle."""
        bundle, labels = batch
        x = bundle.x
        if self.unknown is not None:
            hidden = torch.rand(x.shape, generator=generator).to(x.device) < self.unknown[x]
            x = torch.where(hidden, self.unknown_id, x)
        present = random_coalitions(bundle.real, self.coalition_weight, generator)
        logits = net(x, present, real=bundle.real, types=bundle.types)
        if self.regression:
            return nn.functional.mse_loss(logits, labels.to(logits.dtype))
        return nn.functional.cross_entropy(logits, labels)


def rare_words(ids: Tensor, vocab_size: int, pull: float = 0.25) -> Tensor:
    """Probability that training shows a word as unknown: pull / (pull + its count).

    Source: Kiperwasser and Goldberg (2016), word dropout.
    """
    counts = torch.bincount(ids.flatten(), minlength=vocab_size).float()
    return pull / (pull + counts)


def passes(n_texts: int, batch_size: int) -> int:
    """Epochs that a set of texts takes by default: few texts need more of them.

    Args:
        n_texts: Texts to learn from.
        batch_size: Texts of a step.

    Returns:
        `PASSES`, or as many as make `FEWEST_STEPS`.
    """
    return max(PASSES, -(-FEWEST_STEPS * batch_size // n_texts))


def train_text_net(
    net: TextNet,
    data: tuple[Tensor, Tensor | None, Tensor],
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    weight_decay: float,
    coalition_weight: float,
    key: int,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int | None = None,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
    config: dict[str, Any] | None = None,
) -> History:
    """Train a text net in place; killed and started again it continues from its checkpoint.

    Args:
        net: Freshly drawn.
        data: Ids or vectors, types or None, and which players are real.
        labels: Classes `(b,)`, or targets `(b, k)`.
        epochs: Passes over the texts.
        batch_size: Texts of a step, fewer where they are long.
        lr: Peak learning rate.
        weight_decay: As AdamW takes it.
        coalition_weight: Share of texts shown in part.
        key: Key of every random choice.
        validate: As `baselines.training.fit` takes it.
        patience: Epochs without a better score; None: never stop early.
        checkpoint_dir: Folder of checkpoints, or None.
        progress: Show a bar.
        config: What else the result depends on.

    Returns:
        What happened.
    """
    x, types, real = data
    generator = torch.Generator().manual_seed(key)
    listed = bundles(x, types, real, batch_size, generator)
    unknown_id = getattr(net.config, "unknown", 1)
    unknown = None
    if net.embedding is not None and unknown_id >= 0:
        unknown = rare_words(x[real], net.embedding.num_embeddings)
    loss = TextLoss(labels.is_floating_point(), coalition_weight, unknown, unknown_id)
    return run_training(
        net,
        BundledRows(listed, labels),
        loss,
        epochs=epochs,
        batch_size=1,
        validate=validate,
        patience=patience,
        optimizer=AdamW(lr=lr, weight_decay=weight_decay),
        schedule=WarmupCosine(warmup=0.1),
        max_grad_norm=1.0,
        key=key,
        config={"coalition_weight": coalition_weight, "batch_size": batch_size, **(config or {})},
        checkpoint_dir=checkpoint_dir,
        progress=progress,
        description="fit texts",
    )
