"""Training of LEX: first a predictor that deserves trust, then a selector at the asked rate."""

from collections.abc import Iterable
from math import isnan
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from einops import rearrange
from torch import Tensor, nn

from amortized.lex.predictor import BlackBox
from amortized.lex.rate import WARM_UP, rate_level
from baselines import training
from baselines.coalitions import stream
from baselines.randomness import seed_of

if TYPE_CHECKING:
    from amortized.lex.lex import LEX


def fit(
    lex: "LEX",
    X: Any,  # noqa: ANN401 - an array, a data frame or a tensor
    y: Any = None,  # noqa: ANN401 - labels of any kind
    validation: tuple[Any, Any] | None = None,
    *,
    epochs: int | None = None,
    batch_size: int = 400,
    learning_rate: float = 2e-3,
    predictor_epochs: int | None = None,
    train_predictor: bool = True,
    random_state: int | None = None,
    progress: bool = False,
    checkpoint_dir: str | PathLike[str] | None = None,
    checkpoint_seconds: float = 5.0,
) -> None:
    """Train a LEX in place.

    Args:
        lex: The model.
        X: Rows `(b, *features)`, finite.
        y: Classes `(b,)`, soft labels `(b, c)`, real answers `(b,)`, or None to explain a frozen
            predictor's own answers.
        validation: Rows and labels on which the predictor is stopped; None sets a tenth aside.
        epochs: Passes over the rows for the selector; None takes 30, and more where these are
            fewer than 700 steps.
        batch_size: Rows of one step.
        learning_rate: Of the selector; a predictor that moves has a sixth of it.
        predictor_epochs: Most passes for the predictor, stopped early; None takes 60, and more
            where these are fewer than 1,000 steps.
        train_predictor: False keeps a predictor that was trained before.
        random_state: Seed of order, masks and imputations; None takes the model's own.
        progress: Show bars.
        checkpoint_dir: Folder from which a killed training goes on.
        checkpoint_seconds: At least this long between two checkpoints.

    Raises:
        ValueError: If there are no rows, labels do not fit them, there are fewer than two classes,
            or a number is not finite.
    """
    rows, target = _prepared(lex, X, y)
    seed = seed_of(lex.seed if random_state is None else random_state)
    order = torch.from_numpy(stream(seed, 0).permutation(len(rows)))
    if validation is None:
        held = order[: max(1, len(rows) // 10)] if len(rows) >= 10 else order
        kept = order[len(held) :] if len(rows) >= 10 else order
        check = (rows[held], target[held])
        rows, target = rows[kept], target[kept]
    else:
        if len(validation) != 2:
            raise ValueError(f"validation has {len(validation)} entries; pass (rows, labels).")
        check = (lex.rows(validation[0], "validation[0]"), lex.encode(validation[1]))
        if len(check[0]) != len(check[1]) or len(check[0]) == 0:
            raise ValueError(
                f"validation holds {len(check[0])} rows and {len(check[1])} labels; it needs as "
                "many of both, and at least one."
            )
    folds = len(lex.predictors)
    per_epoch = -(-len(rows) // batch_size)
    epochs = max(30, -(-700 // per_epoch)) if epochs is None else epochs
    if predictor_epochs is None:
        predictor_epochs = max(60, -(-1000 // per_epoch))
    owners = torch.arange(len(rows), device=rows.device) % folds
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    common = {
        "progress": progress,
        "batch_size": batch_size,
        "checkpoint_seconds": checkpoint_seconds,
    }
    fresh = train_predictor or lex.regime == "free"
    _standardise([lex.selector, lex.baseline, *(lex.predictors if fresh else ())], rows)
    if train_predictor and (lex.regime != "free" or lex.pretrain):
        for position, member in enumerate(lex.predictors):
            if isinstance(member, BlackBox):
                continue
            mine = owners != position if folds > 1 else slice(None)
            masked = lex.regime == "surrogate"
            _train_predictor(
                lex,
                member,
                (rows[mine], target[mine]),
                check,
                masked=masked,
                epochs=predictor_epochs,
                key=seed + 1 + position,
                checkpoint_dir=None if folder is None else folder / f"predictor-{position}",
                **common,
            )
    if lex.baseline is not None:
        _train_predictor(
            lex,
            lex.baseline,
            (rows, target),
            check,
            masked=False,
            epochs=predictor_epochs,
            key=seed + 101,
            checkpoint_dir=None if folder is None else folder / "baseline",
            **common,
        )
    _train_selector(lex, rows, target, owners, epochs, learning_rate, seed + 201, folder, common)
    lex.eval()


def _prepared(lex: "LEX", X: Any, y: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401
    rows = lex.rows(X, "X")
    if len(rows) == 0:
        raise ValueError("X has zero rows; training needs at least one.")
    if y is None:
        if lex.regime != "frozen" or not isinstance(lex.predictors[0], BlackBox):
            raise ValueError("y is None; that needs regime='frozen' and a BlackBox predictor.")
        with torch.no_grad():
            answer = lex.predictors[0](rows)
        if lex.task == "regression":
            return rows, answer[:, 0].to(rows)
        lex.classes = lex.classes or list(range(answer.shape[1]))
        return rows, answer.softmax(-1).to(rows)
    given = getattr(y, "to_numpy", lambda: y)()
    if len(given) != len(rows):
        raise ValueError(f"y holds {len(given)} labels; X has {len(rows)} rows.")
    if lex.task == "classification" and lex.classes is None:
        if getattr(given, "ndim", 1) == 2:
            if given.shape[1] == 1:
                raise ValueError(
                    f"y has shape {tuple(given.shape)}; pass labels (b,), such as y.ravel(), or "
                    "probabilities (b, classes)."
                )
            lex.classes = list(range(given.shape[1]))
        else:
            labels = given.tolist() if hasattr(given, "tolist") else list(given)
            if any(
                label is None or (isinstance(label, float) and isnan(label)) for label in labels
            ):
                raise ValueError("y holds missing labels; drop these rows first.")
            lex.classes = sorted(set(labels))
        if len(lex.classes) < 2:
            raise ValueError(f"y holds one class, {lex.classes}; a classifier needs two.")
    return rows, lex.encode(y)


def _standardise(modules: Iterable[nn.Module | None], rows: Tensor) -> None:
    for module in modules:
        learn = getattr(getattr(module, "standardise", None), "learn", None)
        if learn is not None:
            learn(rows)


def _negative_log_likelihood(lex: "LEX", answers: Tensor, target: Tensor) -> Tensor:
    """Mean loss of a predictor's raw answers `(rows, outputs)`."""
    if lex.task == "regression":
        return (answers[:, 0] - target).square().mean()
    return nn.functional.cross_entropy(answers, target)


def _train_predictor(
    lex: "LEX",
    member: nn.Module,
    data: tuple[Tensor, Tensor],
    check: tuple[Tensor, Tensor],
    *,
    masked: bool,
    epochs: int,
    key: int,
    checkpoint_dir: Path | None,
    progress: bool,
    batch_size: int,
    checkpoint_seconds: float,
) -> None:
    """Early-stopped maximum likelihood on full inputs, or on inputs masked at random."""

    def answers(x: Tensor, generator: torch.Generator) -> tuple[Tensor, int]:
        if not masked:
            return member(x), 1
        n_players = int(lex.selector.n_players)  # pyright: ignore[reportArgumentType]
        drawn = torch.rand(len(x), 1, n_players, generator=generator) < 0.5
        coalitions = lex.feature_masks(drawn.to(x.device))
        imputed = lex.imputer(x, coalitions, generator)
        r = imputed.shape[2]
        shown = coalitions.reshape(len(x), 1, 1, *x.shape[1:]).expand(imputed.shape)
        flat = rearrange(imputed, "b 1 r ... -> (b r) ...")
        shown = rearrange(shown, "b 1 r ... -> (b r) ...")
        wants_masks = getattr(member, "mask_channel", False)
        return (member(flat, shown) if wants_masks else member(flat)), r

    def loss(module: nn.Module, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
        x, target = batch
        found, r = answers(x, noise)
        return _negative_log_likelihood(lex, found, target.repeat_interleave(r, 0))

    def score(module: nn.Module) -> float:
        total, rows, key = 0.0, 0, 0
        for x, target in zip(check[0].split(4096), check[1].split(4096), strict=True):
            found, r = answers(x, torch.Generator().manual_seed(key))
            part = _negative_log_likelihood(lex, found, target.repeat_interleave(r, 0))
            total, rows, key = total + float(part) * len(x), rows + len(x), key + 1
        return total / rows

    member.requires_grad_(True)
    training.fit(
        member,
        data,
        loss,
        epochs=epochs,
        batch_size=batch_size,
        validate=score,
        patience=max(8, 150 // -(-len(data[0]) // batch_size)),  # never under 150 steps
        optimizer=training.AdamW(lr=2e-3, weight_decay=0.1),
        schedule=training.WarmupCosine(floor=0.05),
        key=key,
        config={"stage": "predictor", "masked": masked, **lex.settings},
        checkpoint_dir=checkpoint_dir,
        checkpoint_seconds=checkpoint_seconds,
        progress=progress,
        description="predictor",
    )


class SelectorStage(nn.Module):
    """What the selector's training moves: the selector and, in the free regime, the predictor."""

    def __init__(self, lex: "LEX", total_steps: int) -> None:
        super().__init__()
        self.lex = lex
        self.total_steps = total_steps
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))
        self.step: Tensor

    def loss(self, batch: tuple[Tensor, Tensor, Tensor], noise: torch.Generator) -> Tensor:
        x, target, owners = batch
        lex = self.lex
        ramp = min(1.0, float(self.step) / max(1.0, WARM_UP * self.total_steps))
        self.step.add_(1)
        logits = lex.selector(x)
        if lex.target_rate is not None:
            logits = logits - rate_level(logits, 0.5 + ramp * (lex.target_rate - 0.5))
        total = lex.draw(x, target, noise, owners, logits).loss
        if lex.target_rate is None and lex.price:
            total = total + ramp * lex.price * lex.law.expected_size(logits)
        if lex.coherence:
            total = total + ramp * lex.coherence * lex.boundaries(logits)
        return total.mean()


def _train_selector(
    lex: "LEX",
    rows: Tensor,
    target: Tensor,
    owners: Tensor,
    epochs: int,
    learning_rate: float,
    key: int,
    folder: Path | None,
    common: dict[str, Any],
) -> None:
    lex.predictors.requires_grad_(lex.regime == "free")
    lex.log_scale.requires_grad_(lex.task == "regression")
    if lex.baseline is not None:
        lex.baseline.requires_grad_(False)
    lex.level.zero_()

    def optimizer(module: nn.Module) -> torch.optim.Optimizer:
        selector = list(lex.selector.parameters())
        known = {id(parameter) for parameter in selector}
        others = [p for p in module.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": selector, "lr": learning_rate}]
        if others:
            groups.append({"params": others, "lr": learning_rate / 6})
        return torch.optim.AdamW(groups, weight_decay=1e-4)

    training.fit(
        SelectorStage(lex, epochs * -(-len(rows) // common["batch_size"])),
        (rows, target, owners),
        lambda module, batch, noise: module.loss(batch, noise),  # pyright: ignore[reportCallIssue]
        epochs=epochs,
        optimizer=optimizer,
        schedule=lambda progress: min(1.0, (1 - progress) / 0.3),
        key=key,
        config={"stage": "selector", **lex.settings},
        checkpoint_dir=None if folder is None else folder / "selector",
        description="selector",
        **common,
    )
    if lex.target_rate is not None:
        with torch.no_grad():
            every = torch.cat([lex.selector(part) for part in rows.split(4096)])
            lex.level.copy_(rate_level(every, lex.target_rate))
