"""A training run and where it stands: its steps, its checkpoints, its random choices.

`training.fit` is the door; this is the room behind it.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from baselines import checkpoints
from baselines.arguments import whole
from baselines.fingerprints import content_hash

if TYPE_CHECKING:
    from accelerate import Accelerator


class Rows(Protocol):
    """Data that are not a few tensors: anything that can be asked for a batch of row numbers.

    With a checkpoint it also needs `content_hash`, a string that changes when the data do.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Any: ...  # noqa: ANN401 - the loss knows its batch


Loss = Callable[[nn.Module, Any, torch.Generator], Tensor]
"""Mean loss over the rows of a batch; its noise comes from the generator (a CPU one)."""


@dataclass
class History:
    """What happened; lists have one entry per finished epoch."""

    losses: list[float] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    steps: int = 0
    best_epoch: int | None = None
    best_score: float = math.inf
    stopped_early: bool = False
    resumed_from: int = 0
    seconds: float = 0.0

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.losses)


@dataclass
class Run:
    """A training run and where it stands: what a checkpoint has to bring back."""

    module: nn.Module
    rows: Rows
    loss: Loss
    optimizer: torch.optim.Optimizer
    accelerator: "Accelerator"
    epochs: int
    batch_size: int
    max_rows: int
    schedule: Callable[[float], float] | None
    max_grad_norm: float | None
    key: int
    checkpoint_dir: Path | None
    checkpoint_seconds: float
    about: dict[str, Any] = field(default_factory=dict)
    history: History = field(default_factory=History)
    batch: int = 0
    total: float = 0.0
    finished: bool = False
    best: dict[str, Tensor] = field(default_factory=dict)
    unread: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.trainable = [p for p in self.module.parameters() if p.requires_grad]
        self.device = device_of(self.module)
        self.n_batches = -(-len(self.rows) // self.batch_size)
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        mixed = self.accelerator.mixed_precision != "no"
        self.precision = self.accelerator.autocast if mixed else nullcontext
        # a loss scaler is the accelerator's business; without one its door only costs time
        self.backward = self.accelerator.backward if mixed else torch.Tensor.backward
        self.generator = torch.Generator()
        self.saved_at = time.monotonic()

    def epoch(self, bar: Any) -> None:  # noqa: ANN401 - tqdm publishes no types
        """One pass over the data, from the batch where we stand."""
        self.module.train()
        self.generator.manual_seed(_seed(self.key, "order", self.history.epochs))
        order = torch.randperm(len(self.rows), generator=self.generator)
        for batch in range(self.batch, self.n_batches):
            start = batch * self.batch_size
            self.step(order[start : start + self.batch_size])
            self.batch = batch + 1
            bar.update()
            if time.monotonic() - self.saved_at >= self.checkpoint_seconds:
                self.save()
        self.read_losses()
        self.refuse_non_finite_weights()

    def step(self, chosen: Tensor) -> None:
        """One optimizer step on the given rows, of which this process takes its share."""
        seed = _seed(self.key, "noise", self.history.steps, self.rank)
        self.generator.manual_seed(seed)
        _seed_device(self.device, seed)  # dropout and the like draw from the device's own stream
        self.optimizer.zero_grad(set_to_none=True)
        mine = chosen[self.rank :: self.world] if self.world > 1 else chosen
        value = None
        for piece in (mine,) if 0 < len(mine) <= self.max_rows else mine.split(self.max_rows):
            if not len(piece):
                continue  # more processes than rows in the last batch
            share = len(piece) * self.world / len(chosen)
            with self.precision():
                part = self.loss(self.module, self.rows[piece], self.generator)
            if part.ndim or not part.requires_grad:
                raise ValueError(
                    f"loss returned a tensor of shape {tuple(part.shape)} with requires_grad="
                    f"{part.requires_grad}; it must return the batch's mean, a differentiable scalar."
                )
            part = part if share == 1 else part * share
            value = part.detach() if value is None else value + part.detach()
            if self.device.type == "cpu" and not math.isfinite(value):
                self.refuse_loss(float(value), self.history.steps)
            self.backward(part)
        value = torch.zeros((), device=self.device) if value is None else value
        if self.world > 1:
            value = self.average(value)
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.trainable, self.max_grad_norm)
        if self.schedule is not None:
            factor = self.schedule(self.history.steps / (self.epochs * self.n_batches))
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
        self.optimizer.step()
        self.history.steps += 1
        self.unread.append(value)
        if self.device.type == "cpu" or len(self.unread) >= 64:  # on a GPU reading a loss waits
            self.read_losses()

    def average(self, value: Tensor) -> Tensor:
        """Gradients and loss averaged over processes, in one flat message."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.trainable]
        flat = torch.cat([value.reshape(1).float(), *(g.reshape(-1) for g in gradients)])
        flat = self.accelerator.reduce(flat, reduction="mean")
        assert isinstance(flat, Tensor)
        sizes = [1, *(g.numel() for g in gradients)]
        value, *averaged = flat.split(sizes)
        for parameter, gradient in zip(self.trainable, averaged, strict=True):
            parameter.grad = gradient.reshape(parameter.shape).to(parameter.dtype)
        return value.reshape(())

    def judge(self, validate: Callable[[nn.Module], float] | None, patience: int | None) -> None:
        """Close the epoch: score it, keep the best weights, decide whether to go on."""
        epoch, history = self.history.epochs, self.history
        history.losses.append(self.total / self.n_batches)
        self.batch, self.total = 0, 0.0
        if validate is not None:
            score = self.score(validate)
            history.scores.append(score)
            if score < history.best_score:
                history.best_epoch, history.best_score = epoch, score
                self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
            waited = epoch - (-1 if history.best_epoch is None else history.best_epoch)
            history.stopped_early = patience is not None and waited >= patience
        self.finished = history.stopped_early or history.epochs >= self.epochs

    def score(self, validate: Callable[[nn.Module], float]) -> float:
        """The score that all processes go by: the first one's."""
        self.module.eval()
        _seed_device(self.device, _seed(self.key, "validation", self.history.epochs))
        with torch.no_grad():
            score = float(validate(self.module))
        if self.world > 1:
            from accelerate.utils import broadcast_object_list

            score = broadcast_object_list([score])[0]
        if math.isnan(score):
            raise FloatingPointError(
                f"validate returned NaN after epoch {self.history.epochs}; a score must be a "
                "number. Look for an empty validation set or a division by zero."
            )
        return score

    def read_losses(self) -> None:
        """Take the losses of past steps off the device, and stop at one that is not finite."""
        if not self.unread:
            return
        first = self.history.steps - len(self.unread)
        values = [float(self.unread[0])] if len(self.unread) == 1 else _floats(self.unread)
        self.unread.clear()
        for offset, value in enumerate(values):
            if not math.isfinite(value):
                self.refuse_loss(value, first + offset)
            self.total += value

    def refuse_loss(self, value: float, step: int) -> None:
        raise FloatingPointError(
            f"The loss is {value} at step {step} (epoch {step // self.n_batches}). Try a smaller "
            "learning rate, max_grad_norm=1.0, scaled inputs, or look for NaN and inf in the data."
        )

    def refuse_non_finite_weights(self) -> None:
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and not parameter.isfinite().all():
                raise FloatingPointError(
                    f"The weight {name!r} is not finite after step {self.history.steps - 1}, though "
                    "the loss was. Try max_grad_norm=1.0 or a smaller learning rate."
                )

    def postfix(self) -> dict[str, str]:
        shown = {"loss": f"{self.history.losses[-1]:.4g}"}
        if self.history.scores:
            shown |= {"score": f"{self.history.scores[-1]:.4g}"}
            shown |= {"best": f"{self.history.best_score:.4g}"}
        return shown

    def save(self) -> None:
        """Write a checkpoint; one process does it for all, since all hold the same."""
        self.saved_at = time.monotonic()
        if self.checkpoint_dir is None or self.rank:
            return
        self.read_losses()
        tensors, plain = checkpoints.optimizer_state(self.optimizer)
        tensors |= {f"module.{name}": value for name, value in self.module.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        state = {
            "history": asdict(self.history),
            "batch": self.batch,
            "total": self.total,
            "finished": self.finished,
        }
        about = {**self.about, "state": state, "optimizer": plain}
        checkpoints.write(self.checkpoint_dir, self.history.steps, tensors, about)

    def resume(self) -> None:
        """Take up the checkpoint of the folder, if there is one and it is of this very run."""
        assert self.checkpoint_dir is not None
        found = checkpoints.read(self.checkpoint_dir)
        self.accelerator.wait_for_everyone()  # before anybody writes a newer one
        if found is None:
            return
        tensors, about = found
        _refuse_other(about, self.about, self.checkpoint_dir)
        self.module.load_state_dict(_under("module.", tensors))
        self.best = {k: v.to(self.device) for k, v in _under("best.", tensors).items()}
        checkpoints.restore_optimizer(self.optimizer, tensors, about["optimizer"])
        state = about["state"]
        self.history = History(**state["history"])
        self.history.resumed_from = self.history.steps
        self.batch, self.total = state["batch"], state["total"]
        self.finished = state["finished"]

    def close(self) -> None:
        """Write the last checkpoint and leave the module with its best weights."""
        if self.history.steps > self.history.resumed_from:
            self.save()
        if self.best:
            self.module.load_state_dict(self.best)
        self.module.eval()


class Columns:
    """Tensors with one row per example, as `Rows`."""

    def __init__(self, tensors: Tensor | Sequence[Tensor], device: torch.device) -> None:
        self.tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        for position, tensor in enumerate(self.tensors):
            if not isinstance(tensor, Tensor):
                raise TypeError(
                    f"data[{position}] is a {type(tensor).__name__}; data takes tensors, or an "
                    "object that returns the batch of given row numbers."
                )
        lengths = {len(tensor) if tensor.ndim else 0 for tensor in self.tensors}
        if len(lengths) != 1:
            shapes = [tuple(tensor.shape) for tensor in self.tensors]
            raise ValueError(
                f"data has tensors of shapes {shapes}; they need one row per example."
            )
        self.device = device

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            tensor.index_select(0, rows.to(tensor.device)).to(self.device, non_blocking=True)
            for tensor in self.tensors
        )

    @property
    def content_hash(self) -> str:
        return content_hash(self.tensors)


def check_arguments(
    epochs: int,
    batch_size: int,
    max_rows: int | None,
    patience: int | None,
    validate: Callable[[nn.Module], float] | None,
) -> None:
    """Refuse numbers that no run could work with, by name."""
    numbers = {
        "epochs": epochs, "batch_size": batch_size, "max_rows": max_rows, "patience": patience
    }  # fmt: skip
    for name, value in numbers.items():
        if value is not None and whole(value, name) < 1:
            raise ValueError(f"{name}={value}; it must be at least 1.")
    if patience is not None and validate is None:
        raise ValueError(
            f"patience={patience} without validate; pass a score to be patient about."
        )


def identity_of(
    run: Run, config: Mapping[str, Any] | None, patience: int | None, validated: bool
) -> dict[str, Any]:
    """Config, data and seed of a run: what must agree for a checkpoint to be continued."""
    data = getattr(run.rows, "content_hash", None)
    if not isinstance(data, str):
        raise TypeError(
            "data has no content_hash, so a checkpoint could not tell whether it was changed; "
            "give the object a content_hash string, or pass checkpoint_dir=None."
        )
    try:
        named = json.loads(json.dumps(dict(config or {}), sort_keys=True, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise TypeError(f"config must be plain JSON values without NaN: {error}") from error
    weights = {
        name: [str(value.dtype), *value.shape] for name, value in run.module.state_dict().items()
    }
    own = {
        "epochs": run.epochs,
        "batch_size": run.batch_size,
        "max_rows": run.max_rows,
        "patience": patience,
        "validate": validated,
        "schedule": _name(run.schedule),
        "max_grad_norm": run.max_grad_norm,
        "optimizer": [type(run.optimizer).__qualname__, repr(run.optimizer.defaults)],
        "rates": run.rates,
        "precision": run.accelerator.mixed_precision,
        "processes": run.world,
        "loss": _name(run.loss),
        "weights": content_hash(weights),
    }
    return {
        "config": {f"config.{name}": value for name, value in named.items()} | own,
        "data": data,
        "seed": content_hash(run.key, dict(run.module.state_dict())),
    }


def _refuse_other(there: Mapping[str, Any], wanted: Mapping[str, Any], folder: Path) -> None:
    before, after = there["config"], wanted["config"]
    names = sorted(
        name.removeprefix("config.")
        for name in set(before) | set(after)
        if before.get(name) != after.get(name)
    )
    differs = [f"config ({', '.join(names)})"] if names else []
    differs += ["data"] if there["data"] != wanted["data"] else []
    differs += ["seed (key or initial weights)"] if there["seed"] != wanted["seed"] else []
    if differs:
        raise ValueError(
            f"checkpoint_dir={folder} holds another run: {' and '.join(differs)} differ. Pass what "
            "that run was started with, or another folder."
        )


def _name(what: object) -> str | None:
    """A name that is the same in every process: no memory addresses."""
    if what is None:
        return None
    named = getattr(what, "__qualname__", None)
    return (
        named
        if named
        else f"{type(what).__qualname__} {vars(what) if hasattr(what, '__dict__') else ''}"
    )


def _seed(key: int, *purpose: object) -> int:
    """A seed for one purpose: a pure function of its arguments."""
    digest = hashlib.blake2b(repr((key, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _seed_device(device: torch.device, seed: int) -> None:
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def own_randomness(device: torch.device) -> Any:  # noqa: ANN401 - torch's context manager
    """The streams that layers such as dropout draw from, given back untouched at the end."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def device_of(module: nn.Module) -> torch.device:
    """Where a module's trainable parameters are.

    Raises:
        ValueError: If it has none.
    """
    for parameter in module.parameters():
        if parameter.requires_grad:
            return parameter.device
    raise ValueError(f"module={type(module).__name__} has no trainable parameter.")


def place(module: nn.Module, accelerator: "Accelerator") -> None:
    """Under several processes: the module on this process's device, with the first one's weights."""
    if accelerator.num_processes == 1:
        return
    from accelerate.utils import broadcast

    module.to(accelerator.device)
    for value in module.state_dict().values():
        broadcast(value)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _floats(values: Sequence[Tensor]) -> list[float]:
    return torch.stack(list(values)).tolist()


def progress_bar(run: Run, progress: bool, description: str) -> Any:  # noqa: ANN401 - tqdm is untyped
    """A bar of the run's steps, from where it stands."""
    from tqdm.auto import tqdm

    return tqdm(
        total=run.epochs * run.n_batches,
        initial=run.history.steps,
        desc=description,
        unit="step",
        disable=not progress or run.rank > 0,
    )
