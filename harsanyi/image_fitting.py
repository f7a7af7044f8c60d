"""Training of a net over images: whole images, random coalitions of them, shifts and flips.

The dividends of one forward pass give the outputs of the image and of as many coalitions as one
likes, so the second term of the loss costs next to nothing.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from baselines.training import AdamW, History, WarmupCosine, fit
from harsanyi.image_net import HarsanyiImageNet, evaluating
from harsanyi.losses import prediction_loss, random_coalitions

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ImageSchedule:
    """How a net over images is trained.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images per step.
        learning_rate: Peak of the schedule.
        weight_decay: Of AdamW.
        coalition_weight: Share of the loss on random coalitions.
        coalitions: Coalitions per image.
        shift: Most pixels an image is moved by, each way.
        flip: Whether images are mirrored at random.
        smoothing: Share of a label spread over all classes.
        precision: "bfloat16" runs convolutions in half precision; sums stay in float32.
        published: Plain descent at a constant rate, as the paper trains: with batch_size=32,
            learning_rate=0.01, weight_decay=0 and coalition_weight=0, for hundreds of epochs.
    """

    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 4e-3
    weight_decay: float = 0.02
    coalition_weight: float = 0.2
    coalitions: int = 1
    shift: int = 0
    flip: bool = False
    smoothing: float = 0.0
    precision: Precision = "float32"
    published: bool = False

    def __post_init__(self) -> None:
        """Refuse what no training can use.

        Raises:
            ValueError: If a setting is out of its range.
        """
        for name, low, high in (
            ("epochs", 1, float("inf")),
            ("batch_size", 1, float("inf")),
            ("learning_rate", 0, 1e3),
            ("weight_decay", 0, 1e3),
            ("coalition_weight", 0, 1),
            ("coalitions", 1, float("inf")),
            ("shift", 0, float("inf")),
            ("smoothing", 0, 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:  # NaN is in no range
                raise ValueError(f"{name}={value!r}; it must be from {low} to {high}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision={self.precision!r}; choose 'float32' or 'bfloat16'.")


class ImageLoss:
    """Loss of a net on a batch of images: whole, and with random coalitions of players present.

    Args:
        schedule: Shares, augmentation and precision.
        problem_type: "classification" or "regression".
    """

    def __init__(
        self,
        schedule: ImageSchedule,
        problem_type: Literal["classification", "regression"] = "classification",
    ) -> None:
        self.schedule = schedule
        self.problem_type: Literal["classification", "regression"] = problem_type
        self.__qualname__ = f"ImageLoss {asdict(schedule)} {problem_type}"

    def __call__(self, module: nn.Module, batch: Any, generator: torch.Generator) -> Tensor:  # noqa: ANN401
        """Mean loss over the batch's images `(b, c, h, w)` and targets."""
        net: Any = module
        plan = self.schedule
        x, targets = batch
        x = augmented(x, plan.shift, plan.flip, generator)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=plan.precision == "bfloat16"):
            if plan.coalition_weight == 0:
                return self.of(net(x), targets)
            drawn = random_coalitions(len(x) * plan.coalitions, net.n_players, generator)
            drawn = rearrange(drawn, "(b m) n -> b m n", m=plan.coalitions).to(x.device)
            full, some = net.coalition_values(x, drawn)
        each = repeat(targets, "b ... -> (b m) ...", m=plan.coalitions)
        masked = self.of(rearrange(some, "b m k -> (b m) k"), each)
        return (1 - plan.coalition_weight) * self.of(
            full, targets
        ) + plan.coalition_weight * masked

    def of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of outputs `(b, k)`."""
        if self.problem_type == "regression" or self.schedule.smoothing == 0:
            return prediction_loss(outputs, targets, problem_type=self.problem_type)
        return F.cross_entropy(outputs, targets, label_smoothing=self.schedule.smoothing)


def augmented(x: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Images moved by up to `shift` pixels, the border repeated, and mirrored at random.

    Args:
        x: `(b, c, h, w)`.
        shift: Most pixels, each way.
        flip: Whether half of the images are mirrored.
        generator: Source of the draws, on the CPU.

    Returns:
        `(b, c, h, w)`.
    """
    b, _, height, width = x.shape
    if shift:
        windows = F.pad(x, (shift,) * 4, mode="replicate").unfold(2, height, 1).unfold(3, width, 1)
        moves = torch.randint(0, 2 * shift + 1, (2, b), generator=generator).to(x.device)
        x = windows[torch.arange(b, device=x.device), :, moves[0], moves[1]]
    if flip:
        mirrored = torch.rand(b, generator=generator).to(x.device) < 0.5
        x = torch.where(rearrange(mirrored, "b -> b 1 1 1"), x.flip(3), x)
    return x


def fit_images(
    net: HarsanyiImageNet,
    x: Tensor,
    targets: Tensor,
    schedule: ImageSchedule,
    *,
    validate: Callable[[nn.Module], float] | None = None,
    patience: int | None = None,
    key: int = 0,
    checkpoint_dir: str | PathLike[str] | None = None,
    on_epoch: Callable[[History], None] | None = None,
    progress: bool = False,
    description: str = "fit",
) -> History:
    """Train a net in place; eval mode is left.

    Args:
        net: A net over images, or over feature maps of its frozen network.
        x: Raw images `(b, c, h, w)`.
        targets: Classes `(b,)` int64, or numbers `(b, k)`.
        schedule: How long and how hard.
        validate: Score of the net after each epoch, lower is better; the best epoch is kept.
        patience: Epochs without a better score after which training stops.
        key: Key of every random choice.
        checkpoint_dir: Folder that a killed run continues from.
        on_epoch: Called with the history after each epoch.
        progress: Show a bar.
        description: Its label.

    Returns:
        What happened.
    """
    kind = "regression" if targets.is_floating_point() else "classification"
    plain = schedule.published
    return fit(
        net,
        (x, targets),
        ImageLoss(schedule, kind),
        epochs=schedule.epochs,
        batch_size=min(schedule.batch_size, max(1, len(x))),
        validate=validate,
        patience=patience,
        optimizer=PlainDescent(schedule.learning_rate)
        if plain
        else AdamW(lr=schedule.learning_rate, weight_decay=schedule.weight_decay),
        schedule=None if plain else WarmupCosine(warmup=0.2),
        max_grad_norm=None if plain else 5.0,
        key=key,
        config={**asdict(schedule), "parts": net.config.parts, "absence": net.absence},
        checkpoint_dir=checkpoint_dir,
        on_epoch=on_epoch,
        progress=progress,
        description=description,
    )


@dataclass(frozen=True)
class PlainDescent:
    """Stochastic gradient descent at a constant rate, without momentum."""

    lr: float

    def __call__(self, module: nn.Module) -> torch.optim.Optimizer:
        """An optimizer over the module's trainable parameters."""
        return torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=self.lr)


@torch.no_grad()
def outputs_of(
    net: HarsanyiImageNet, x: Tensor, present: Tensor | None = None, *, max_rows: int = 512
) -> Tensor:
    """Outputs `(b, k)` of many images in eval mode, some at a time.

    Args:
        net: A net over images.
        x: Raw images `(b, c, h, w)`.
        present: Bool `(b, n)`; None means everybody.
        max_rows: Images worked on at once.
    """
    device = net.bias.device
    with evaluating(net):
        found = [
            net(
                x[i : i + max_rows].to(device),
                None if present is None else present[i : i + max_rows].to(device),
            )
            for i in range(0, len(x), max_rows)
        ]
    return torch.cat(found) if found else net.bias.new_zeros(0, net.n_outputs)
