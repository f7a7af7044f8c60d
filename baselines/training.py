"""The one training loop: resumable to the bit on CPU, stopped early, the same on many processes.

Every random choice is a function of (key, epoch) or (key, step), so a run that was killed and
started again takes the same batches and the same noise as one that was not. Launched by
`torchrun` or `accelerate launch`, each process takes its share of every batch and gradients are
averaged; any loss works, since no wrapper stands between it and the module.

    history = fit(net, (x, y), loss, epochs=50, validate=score, patience=8, checkpoint_dir=folder)
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from baselines.training_run import (
    Columns,
    History,
    Loss,
    Rows,
    Run,
    check_arguments,
    device_of,
    identity_of,
    own_randomness,
    place,
    progress_bar,
)

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["AdamW", "History", "Loss", "Rows", "WarmupCosine", "fit"]


@dataclass(frozen=True)
class AdamW:
    """The default optimizer: AdamW in one fused kernel (Loshchilov and Hutter, 2019)."""

    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)

    def __call__(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer over the module's trainable parameters."""
        trainable = [p for p in module.parameters() if p.requires_grad]
        fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in trainable)
        return torch.optim.AdamW(
            trainable,
            lr=self.lr,
            weight_decay=self.weight_decay,
            betas=self.betas,
            fused=fused,
        )


@dataclass(frozen=True)
class WarmupCosine:
    """A schedule: the rate rises linearly, then falls along half a cosine to `floor`."""

    warmup: float = 0.05
    floor: float = 0.0

    def __call__(self, progress: float) -> float:
        """Factor on the learning rate at a share `progress` in [0, 1] of all steps."""
        if progress < self.warmup:
            return progress / self.warmup
        after = (progress - self.warmup) / max(1e-12, 1 - self.warmup)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(1.0, after))) / 2


def fit(
    module: nn.Module,
    data: Tensor | Sequence[Tensor] | Rows,
    loss: Loss,
    *,
    epochs: int,
    batch_size: int = 256,
    max_rows: int | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int | None = None,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer] | None = None,
    schedule: Callable[[float], float] | None = None,
    max_grad_norm: float | None = None,
    key: int = 0,
    config: Mapping[str, Any] | None = None,
    checkpoint_dir: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    on_epoch: Callable[[History], None] | None = None,
    progress: bool = False,
    description: str = "fit",
    accelerator: "Accelerator | None" = None,
) -> History:
    """Train a module in place and leave it in eval mode, with its best weights.

    Args:
        module: Any module with trainable parameters; it stays on its device, except under a
            launcher of several processes, where it moves to the one of its process.
        data: Tensors with one row per example, whose batches are tuples of tensors, or `Rows`.
        loss: `loss(module, batch, generator)`, the mean over the batch's rows.
        epochs: Passes over the data, at most.
        batch_size: Rows of one step, over all processes together.
        max_rows: Rows of one forward pass; a larger batch is done in pieces. None: no limit.
        validate: `validate(module)`, lower is better, called in eval mode without gradients after
            each epoch; the weights with the lowest score are kept. None: the last weights are.
        patience: Stop after this many epochs without a better score. None: never.
        optimizer: Makes the optimizer from the module; `AdamW()` when None.
        schedule: Factor on the learning rates at a share in [0, 1] of all steps, such as
            `WarmupCosine()`; constant when None.
        max_grad_norm: Longer gradients are shortened to this norm. None: never.
        key: Key of every random choice: order, the loss's noise, dropout.
        config: What else the result depends on (hyper-parameters, hash of the validation data):
            plain JSON; a checkpoint of another config is refused.
        checkpoint_dir: Folder of checkpoints. A run found there is continued when the hashes of
            config, data and seed agree, and returned at once when it was finished.
        checkpoint_seconds: At least this long between two checkpoints; 0 takes one every step.
        on_epoch: Called with the history after each epoch.
        progress: Show a bar of steps.
        description: Its label.
        accelerator: Brings mixed precision and processes; a plain `Accelerator()` when None.

    Returns:
        Losses, scores and which epoch was kept.

    Raises:
        ValueError: If an argument is unusable, or the checkpoint is of another run (the message
            says whether config, data or seed differ) or damaged.
        FloatingPointError: If the loss or a weight is not finite.
    """
    check_arguments(epochs, batch_size, max_rows, patience, validate)
    if accelerator is None:
        from accelerate import Accelerator

        accelerator = Accelerator()
    started = time.perf_counter()
    place(module, accelerator)
    rows = data if not isinstance(data, Tensor | Sequence) else Columns(data, device_of(module))
    if len(rows) == 0:
        raise ValueError("data has zero rows; training needs at least one.")
    run = Run(
        module=module,
        rows=rows,
        loss=loss,
        optimizer=(optimizer or AdamW())(module),
        accelerator=accelerator,
        epochs=epochs,
        batch_size=batch_size,
        max_rows=max_rows or batch_size,
        schedule=schedule,
        max_grad_norm=max_grad_norm,
        key=key,
        checkpoint_dir=None if checkpoint_dir is None else Path(checkpoint_dir),
        checkpoint_seconds=checkpoint_seconds,
    )
    if checkpoint_dir is not None:
        run.about = identity_of(run, config, patience, validate is not None)
        run.resume()
    with own_randomness(run.device), progress_bar(run, progress, description) as bar:
        while not run.finished:
            run.epoch(bar)
            run.judge(validate, patience)
            bar.set_postfix(run.postfix(), refresh=False)
            if on_epoch is not None:
                on_epoch(run.history)
    run.close()
    run.history.seconds = time.perf_counter() - started
    return run.history
