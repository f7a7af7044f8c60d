"""Training of amortized explainers: from labels or fresh coalitions, resumable, then measured."""

import dataclasses
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amortized.adapters import adapted
from amortized.examples import as_examples, pick
from amortized.explaining import game_ends
from amortized.labelled import Labels
from amortized.labels import LabelStore
from amortized.objectives import Batch, Objective, Prediction, make_objective
from baselines import training
from baselines.arguments import real

if TYPE_CHECKING:
    from amortized.explainer import AmortizedExplainer

STEPS = 2000
"""Steps that the default number of epochs makes at least, up to 200 epochs."""

JUDGED = 128
"""Held-out examples on which a trained explainer is measured, most."""

JUDGING_PAIRS = 8
"""Fresh antithetic pairs for each of them."""

ENDS_WEIGHT = 0.1
"""Weight of the squared error of predicted ends beside the objective."""


class LabelledRows:
    """Labels as batches of the one training loop.

    Args:
        explainer: Whose encoder reads.
        labels: Values and ends of every example.
        ask: Whether batches can ask the model.
    """

    def __init__(self, explainer: "AmortizedExplainer", labels: Labels, ask: bool = False) -> None:
        self.explainer, self.labels, self.ask = explainer, labels, ask
        self.read: Any = explainer.encoder.read(labels.examples)
        self.variance = labels.label_variance()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def content_hash(self) -> str:
        """Hash of the labels."""
        return self.labels.content_hash

    def __getitem__(self, rows: Tensor) -> Batch:
        labels, explainer = self.labels, self.explainer
        values, mask = labels.batch(rows)
        device = explainer.scale.device
        play = None
        if self.ask and explainer.model is not None:
            play = explainer.model(pick(labels.examples, rows.tolist()))
        return Batch(
            inputs=explainer.encoder.pack(pick(self.read, rows.tolist())),
            values=values.to(device),
            mask=mask.to(device),
            variance=self.variance[rows].to(device),
            ends=torch.stack([labels.empty[rows], labels.grand[rows]], 1).to(device),
            play=play,
        )


def fit_explainer(
    explainer: "AmortizedExplainer",
    store: Any,  # noqa: ANN401
    validation: Any = 0.1,  # noqa: ANN401
    *,
    objective: str | Objective | None = None,
    coalitions: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    weight_decay: float | None = None,
    patience: int | None = None,
    schedule: bool | None = None,
    model: Any = None,  # noqa: ANN401
    key: int = 0,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = True,
) -> "AmortizedExplainer":
    """Train an explainer in place; what is not said comes from its preset, else from here.

    Args:
        explainer: From `AmortizedExplainer.from_target`.
        store: A checked `LabelStore`, `Labels`, or plain examples for objectives that ask the
            model themselves.
        validation: Another store, labels or examples, or a share of the store; the weights with
            the least squared error on it are kept.
        objective: "mse", "nll", "fastshap", "control-variate", or an `Objective`; by default
            "nll" where the explainer predicts its error, else "mse".
        coalitions: Coalitions per example and step of objectives that ask the model.
        epochs: Passes over the labels, at most; by default 20, or more where labels are so few
            that these are fewer than 2,000 steps.
        batch_size: Examples of one step.
        lr: Largest learning rate; by default 0.05 over the width of a text encoder, else 1e-3.
        weight_decay: Of AdamW.
        patience: Stop after this many epochs without a better validation score; by default a fifth
            of the epochs.
        schedule: Warm the rate up and let it fall along a cosine.
        model: The explained model, where it is not attached yet.
        key: Key of all random choices.
        checkpoint_dir: Folder from which a killed training goes on.
        progress: Show a bar.

    Returns:
        The explainer.

    Raises:
        ValueError: If labels are of another game, or an objective lacks what it needs.
        FloatingPointError: If the loss is not finite.
    """
    if model is not None:
        explainer.attach(model)
    said = _settings(explainer, locals())
    words = {} if said["coalitions"] is None else {"coalitions": said["coalitions"]}
    chosen = make_objective(said["objective"], **words)
    if chosen.online and explainer.model is None:
        raise ValueError("this objective asks the model: pass fit(..., model=...).")
    train, held = _parts(explainer, store, validation, chosen.online)
    if said["epochs"] is None:
        said["epochs"] = min(200, max(20, -(-STEPS * said["batch_size"] // len(train))))
    if said["patience"] is None:
        said["patience"] = max(5, said["epochs"] // 5)
    _remember(explainer, train)
    rows = LabelledRows(explainer, train, chosen.online)
    judge = LabelledRows(explainer, held)
    scale = explainer.scale.clone()

    def loss(module: Any, batch: Batch, generator: torch.Generator) -> Tensor:  # noqa: ANN401
        found: Prediction = module.predict(batch.inputs, batch.ends)
        gap = (found.ends - batch.ends) / module.end_scale
        return chosen(found, batch, scale, generator) + ENDS_WEIGHT * gap.square().mean()

    with adapted(explainer, key):
        history = training.fit(
            explainer,
            rows,
            loss,
            epochs=said["epochs"],
            batch_size=said["batch_size"],
            validate=lambda _: squared_error(explainer, judge, known_ends=True).mean().item(),
            patience=said["patience"],
            optimizer=training.AdamW(lr=said["lr"], weight_decay=said["weight_decay"]),
            schedule=training.WarmupCosine() if said["schedule"] else None,
            max_grad_norm=1.0,
            key=key,
            config={
                "objective": repr(chosen),
                "normalizer": explainer.config.normalizer,
                "head": explainer.config.head,
                "adapters": explainer.config.adapters,
                "validation": held.content_hash,
            },
            checkpoint_dir=checkpoint_dir,
            progress=progress,
            description="explainer",
        )
    name = said["objective"] if isinstance(said["objective"], str) else type(chosen).__name__
    facts = {"objective": name, "epochs": history.epochs, "seconds": round(history.seconds, 3)}
    explainer.config.measures = (
        measure(explainer, _judges(explainer, judge)) | facts | _account(train, said, history)
    )
    explainer.config.estimand = train.estimand
    return explainer.eval()


def squared_error(
    explainer: "AmortizedExplainer", rows: LabelledRows, *, known_ends: bool, batch_size: int = 64
) -> Tensor:
    """Mean squared error against labels `(k,)`, in units of the explainer's scale.

    Args:
        explainer: Judged.
        rows: Labels, noise and all.
        known_ends: Normalise by the labels' own ends in place of predicted ones.
        batch_size: Examples of one pass.
    """
    total = torch.zeros_like(explainer.scale)
    for batch, found in _passes(explainer, rows, known_ends, batch_size):
        gap = ((found.values - batch.values) / explainer.scale).square()
        real = batch.mask[..., None].to(gap)
        total += ((gap * real).sum(1) / real.sum(1).clamp(min=1)).sum(0)
    return total / len(rows)


def measure(explainer: "AmortizedExplainer", rows: LabelledRows) -> dict[str, Any]:
    """What held-out labels say of a trained explainer, their own noise taken off.

    Args:
        explainer: Trained.
        rows: Held-out labels.

    Returns:
        `mse` and `mse_known_ends` `(k)`: squared error in units of the game, the latter when
        normalised by true ends; `label_variance`; `rms` of the labels; `error_factor`, what
        predicted errors must be multiplied by; `pair_variance` of one antithetic pair.
    """
    unit = explainer.scale.square()
    noise = rows.variance.nan_to_num(0.0).mean(0).to(unit)
    measured = {}
    for name, known in (("mse", False), ("mse_known_ends", True)):
        observed = squared_error(explainer, rows, known_ends=known) * unit
        # the difference may be below zero within noise; an error of zero would be trusted blindly
        measured[name] = torch.maximum(observed - noise, 0.02 * observed).tolist()
    measured["label_variance"] = noise.tolist()
    measured["rms"] = rows.labels.values.square().mean(0).sqrt().tolist()
    pooled = _pair_variance(explainer, rows.labels)
    measured["pair_variance"] = None if bool(pooled.isnan().any()) else pooled.tolist()
    if explainer.config.uncertainty:
        spread = torch.zeros_like(unit)
        for batch, found in _passes(explainer, rows, False, 64):
            assert found.log_scales is not None  # uncertainty says so
            real = batch.mask[..., None].to(unit)
            spread += (
                ((2 * found.log_scales).exp() * real).sum(1).div(real.sum(1).clamp(min=1)).sum(0)
            )
        spread = spread / len(rows)
        measured["error_factor"] = (unit.new_tensor(measured["mse"]) / spread).sqrt().tolist()
    return measured


def _pair_variance(explainer: "AmortizedExplainer", labels: Labels) -> Tensor:
    """Variance of one pair `(k,)`: of the labels, or drawn anew where those are exact."""
    pooled = labels.pooled_pair_variance()
    if not bool(pooled.isnan().any()) or explainer.model is None or labels.method != "pairs":
        return pooled
    few = pick(labels.examples, range(min(JUDGED, len(labels))))
    drawn = Labels.now(explainer.model, few, 2, seed=2)
    if explainer.config.classes == "predicted":
        drawn = drawn.of_predicted()
    return drawn.pooled_pair_variance()


def _judges(explainer: "AmortizedExplainer", held: LabelledRows) -> LabelledRows:
    """Held-out examples with more and fresh pairs where the model is at hand.

    One pair each, which is right for training, would say little of an explainer that is better
    than its labels.
    """
    labels = held.labels
    if explainer.model is None or labels.method != "pairs" or bool(labels.exact.all()):
        return held
    rows = range(min(JUDGED, len(labels)))
    sharper = Labels.now(explainer.model, pick(labels.examples, rows), JUDGING_PAIRS, seed=1)
    if explainer.config.classes == "predicted":
        sharper = sharper.of_predicted()
    return LabelledRows(explainer, sharper)


def _passes(
    explainer: "AmortizedExplainer", rows: LabelledRows, known_ends: bool, batch_size: int
) -> Any:  # noqa: ANN401 - pairs of Batch and Prediction
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            batch = rows[torch.arange(start, min(start + batch_size, len(rows)))]
            yield batch, explainer.predict(batch.inputs, batch.ends if known_ends else None)


def _settings(explainer: "AmortizedExplainer", given: dict[str, Any]) -> dict[str, Any]:
    """What the caller says, else the preset, else the defaults."""
    text = hasattr(explainer.encoder, "tokenizer")
    defaults = {
        "objective": "nll" if explainer.config.uncertainty else "mse",
        "coalitions": None,
        "epochs": None,
        "batch_size": 32,
        "lr": min(1e-3, 0.05 / explainer.encoder.width) if text else 1e-3,
        "weight_decay": 0.01,
        "patience": None,
        "schedule": True,
    }
    preset = explainer.config.training or {}
    unknown = set(preset) - set(defaults)
    if unknown:
        raise ValueError(f"training holds {sorted(unknown)}; fit knows {sorted(defaults)}.")
    found = {}
    for name, default in defaults.items():
        found[name] = given[name] if given[name] is not None else preset.get(name, default)
    if real(found["lr"], "lr") < 0:
        raise ValueError(f"lr={found['lr']}; a learning rate is not negative.")
    return found


def _parts(
    explainer: "AmortizedExplainer",
    store: Any,  # noqa: ANN401
    validation: Any,  # noqa: ANN401
    online: bool,
) -> tuple[Labels, Labels]:
    """Labels to train on and to validate on, for the outputs that the explainer has."""
    train = _labels(explainer, store, pairs=0 if online else None)
    if validation is None or isinstance(validation, int):
        raise TypeError(
            f"validation={validation!r}; pass a share such as 0.1, or a store, labels or examples."
        )
    if isinstance(validation, float):
        train, held = train.split(validation)
    else:
        held = _labels(explainer, validation, pairs=1)
    if int(held.pairs.min()) == 0:  # examples without labels: validation needs some
        held = _labels(explainer, held.examples, pairs=1)
    if explainer.config.classes == "predicted":
        train, held = train.of_predicted(), held.of_predicted()
    for part in (train, held):
        if part.n_outputs != explainer.n_outputs:
            raise ValueError(
                f"labels have {part.n_outputs} outputs, the explainer {explainer.n_outputs}."
            )
    return train, held


def _labels(explainer: "AmortizedExplainer", source: Any, pairs: int | None) -> Labels:  # noqa: ANN401
    if isinstance(source, LabelStore):
        source = source.labels()
    if not isinstance(source, Labels):
        if pairs is None:
            raise TypeError(
                f"store is a {type(source).__name__}; this objective trains on a LabelStore or "
                "Labels."
            )
        if explainer.model is None:
            raise ValueError("examples without labels need the model: pass fit(..., model=...).")
        source = Labels.now(explainer.model, as_examples(source), pairs)
    _check_game(explainer, source)
    return source


def _check_game(explainer: "AmortizedExplainer", labels: Labels) -> None:
    """Refuse labels of another game; one without a fingerprint is known by its ends."""
    card = explainer.card
    if card is None or labels.card.fingerprint == card.fingerprint:
        return
    if card.probed and labels.card.probed and explainer.model is not None:
        rows = range(min(4, len(labels)))
        ends = game_ends(explainer.model(pick(labels.examples, rows))).cpu()
        told = torch.stack([labels.empty[: len(rows)], labels.grand[: len(rows)]], 1)
        if ends.shape == told.shape and torch.allclose(ends.to(told), told, rtol=1e-3, atol=1e-4):
            explainer.config.game = dataclasses.asdict(labels.card)
            return
    raise ValueError(
        f"the labels are of {labels.card.description!r} with another fingerprint than the "
        "explainer's model: weights, tokenizer, players, removal or link differ."
    )


def _remember(explainer: "AmortizedExplainer", labels: Labels) -> None:
    """Units of values and ends, from the training labels."""
    ends = torch.stack([labels.empty, labels.grand], 1)
    size = labels.values.square().mean(0).sqrt()
    if int(labels.pairs.min()) == 0:  # no values yet: the total shared among players
        whole = (labels.grand - labels.empty).square().mean(0)
        size = (whole / labels.counts.float().mean()).sqrt()
    floor = 1e-6 * max(1e-6, float(size.max()))
    explainer.scale.copy_(size.clamp(min=floor))
    explainer.end_location.copy_(ends.mean(0))
    spread = ends.std(0) if len(ends) > 1 else torch.ones_like(ends[0])
    explainer.end_scale.copy_(spread.clamp(min=1e-3 * max(1e-6, float(spread.max()))))


def _account(labels: Labels, said: dict[str, Any], history: Any) -> dict[str, Any]:  # noqa: ANN401
    """Evaluations that the training has cost, labels included."""
    spent = int(labels.coalitions.sum())
    coalitions = said["coalitions"] or 8
    online = make_objective(said["objective"]).online
    fresh = coalitions * len(labels) * history.epochs if online else 0
    return {"examples": len(labels), "evaluations": spent + fresh}
