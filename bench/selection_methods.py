"""What the selection suite compares: selectors, attributions ranked by size, and floors.

A method learns a problem and answers for rows. Those that explain the problem's box say so; others
bring a model of their own, and floors explain nobody.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from amortized import LEX, SequentialUnmasking, presets
from amortized.lex.explaining import spreads
from amortized.lex.gradients import Reinforce
from baselines import BaselineImputer
from bench.problems.selections import SelectionProblem
from bench.selection_box import Box, as_tensors, image_width, imputer_for

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Selected:
    """What a method says of the scored rows.

    Args:
        scores: `(b, n)`; larger is more relevant.
        selected: Its selection, bool `(b, n)`, or None where it only ranks.
        own_accuracy: Of its own predictor on its selections, or NaN.
        inclusion_rate: Its mean inclusion probability, or NaN.
        between: Variance of its predicted probability between imputations of one selection, mean
            over rows and classes, or NaN.
        within: Mean variance of the label within an imputation, or NaN.
    """

    scores: Floats
    selected: Bools | None = None
    own_accuracy: float = float("nan")
    inclusion_rate: float = float("nan")
    between: float = float("nan")
    within: float = float("nan")


Fitted = Callable[[Floats, Labels], Selected]


class Method(Protocol):
    """Learns a problem; what it returns answers for rows and labels."""

    def __call__(self, problem: SelectionProblem, box: Box, seed: int) -> Fitted: ...


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the table.

    Args:
        method: Learns and answers.
        explains: `"box"`, `"own"` or `"nobody"`: whose model.
        images: Whether it takes images.
        selects: Whether it takes problems with features that must not be shown.
        learned: Whether its seed matters, so that its stability is asked for.
        rows: Most rows it is asked for, where it is slow.
    """

    method: Method
    explains: str
    images: bool = False
    selects: bool = True
    learned: bool = True
    rows: int | None = None


def _lex(make: Callable[[SelectionProblem], dict[str, Any]], *, boxed: bool = False) -> Method:
    """A LEX from a preset; boxed ones are given the box as their predictor."""

    def fit(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
        settings = make(problem) | {"random_state": seed}
        groups = None if problem.groups is None else torch.from_numpy(problem.groups)
        if boxed:
            settings["predictor"] = box.net
        if problem.X.ndim == 2:
            n = problem.X.shape[1]
            lex = LEX.for_tabular(n, problem.n_classes, groups=groups, **settings)
        else:
            channels, height, width = problem.X.shape[1:]
            side = int(np.sqrt(height * width / problem.n_players))
            size = (height, width)
            settings["width"] = image_width(problem.X[0].size, 16)
            lex = LEX.for_images(channels, size, problem.n_classes, patch=side, **settings)
        effort = _effort(problem) | {"random_state": seed, "train_predictor": not boxed}
        lex.fit(problem.X, problem.y, **effort)
        return lambda x, y: _answer(lex, x, y)

    return fit


def _effort(problem: SelectionProblem) -> dict[str, Any]:
    """Four hundred small steps on images, so that a cell takes minutes, not an hour."""
    if problem.X.ndim == 2:
        return {}
    per_epoch = -(-len(problem.X) // 100)
    return {"epochs": -(-400 // per_epoch), "batch_size": 100, "predictor_epochs": 8}


@torch.no_grad()
def _answer(lex: LEX, x: Floats, y: Labels) -> Selected:
    chosen = lex.select(x)
    mode = chosen.mode
    found, parts = [], []
    for start in range(0, len(x), 500):
        rows = lex.rows(x[start : start + 500])
        shown = mode[None, None, start : start + 500]
        answers = lex.log_probs(rows, shown, torch.Generator().manual_seed(0))[0]
        found.append(answers[0].exp().mean(1))
        parts.append({k: v.mean(-1) for k, v in spreads(lex, answers).items()})
    own = float((torch.cat(found).argmax(-1).numpy() == y).mean())
    return Selected(
        chosen.logits.double().numpy(),
        mode.numpy(),
        own,
        float(chosen.mean.mean()),
        float(torch.cat([part["between_imputations"] for part in parts]).mean()),
        float(torch.cat([part["within_imputation"] for part in parts]).mean()),
    )


def _surrogate(problem: SelectionProblem, *, mask_channel: bool) -> dict[str, Any]:
    settings = {
        "imputer": BaselineImputer(0.0),
        "gradient": Reinforce(),
        "regime": "surrogate",
        "target_rate": problem.rate,
        "imputations": None,
    }
    return settings if problem.X.ndim > 2 else settings | {"mask_channel": mask_channel}


def _unmasking(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    n = problem.X.shape[1]
    groups = None if problem.groups is None else torch.from_numpy(problem.groups)
    k = max(1, round(problem.rate * problem.n_players))
    model = SequentialUnmasking(n, problem.n_classes, k, groups=groups, random_state=seed)
    model.fit(problem.X, problem.y, random_state=seed)

    def answer(x: Floats, y: Labels) -> Selected:
        said = model.explain(x)
        own = float((model.predict_proba(x).argmax(1).numpy() == y).mean())
        scores = said.diagnostics["logits"][..., 0].double().numpy()
        selected = said.diagnostics["mode"][..., 0].numpy()
        return Selected(scores, selected, own, float(selected.mean()))

    return answer


def _harsanyi(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    from harsanyi import HarsanyiClassifier

    model = HarsanyiClassifier(random_state=seed).fit(problem.X, problem.y)

    def answer(x: Floats, y: Labels) -> Selected:
        values = model.explain(x).values
        label = torch.from_numpy(model.predict(x).astype(np.int64))
        return Selected(_sizes(values, label))

    return answer


def _sampled_shapley(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    """|Shapley value| of the box's logit, absent players by 32 training rows."""
    from baselines import shapley

    def answer(x: Floats, y: Labels) -> Selected:
        generator = torch.Generator().manual_seed(seed)
        budget = 20 * problem.n_players
        values = shapley(box.game(x), budget=budget, generator=generator).values
        return Selected(_sizes(values, box.probabilities(as_tensors(x)[0]).argmax(-1)))

    return answer


def _amortized(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    """|Shapley value| as a network predicts it, taught by two pairs of orders on each of 2,000 rows."""
    from amortized import AmortizedExplainer
    from amortized.labelled import Labels as Taught

    rows, _ = as_tensors(problem.X[:2000])
    generator = torch.Generator().manual_seed(seed)
    explainer = AmortizedExplainer.from_target(box.game, rows, generator=generator)
    explainer.fit(Taught.now(box.game, rows, 2), progress=False, epochs=60)

    def answer(x: Floats, y: Labels) -> Selected:
        said = as_tensors(x)[0]
        return Selected(_sizes(explainer.explain(said).values, box.probabilities(said).argmax(-1)))

    return answer


def _occlusion(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    """|change of the box's logit| when one player is absent."""
    from baselines import occlusion

    def answer(x: Floats, y: Labels) -> Selected:
        values = occlusion(box.game(x)).values
        return Selected(_sizes(values, box.probabilities(as_tensors(x)[0]).argmax(-1)))

    return answer


def _sizes(values: torch.Tensor, label: torch.Tensor) -> Floats:
    """|phi| `(b, n)` of each row's own class."""
    index = label[:, None, None].expand(-1, values.shape[1], 1)
    return values.gather(2, index)[..., 0].abs().double().numpy()


def _random(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    shape = problem.n_players
    return lambda x, y: Selected(np.random.default_rng([seed, 12]).random((len(x), shape)))


def _l2(problem: SelectionProblem, box: Box, seed: int) -> Fitted:
    """Distance of a player's features from their mean, in deviations."""
    flat = problem.X.reshape(len(problem.X), -1)
    centre, spread = flat.mean(0), flat.std(0).clip(1e-6)
    one = np.arange(flat.shape[1]) if problem.groups is None else problem.groups.reshape(-1)
    belongs = (one[:, None] == np.arange(problem.n_players)).astype(float)

    def answer(x: Floats, y: Labels) -> Selected:
        far = ((x.reshape(len(x), -1) - centre) / spread) ** 2
        return Selected(np.sqrt(far @ belongs))

    return answer


_PRICED = {"price": 0.04, "m": 4}

ENTRIES: dict[str, Entry] = {
    "lex": Entry(
        _lex(lambda p: presets.lex_fixed(imputer_for(p), p.rate), boxed=True), "box", True
    ),
    "lex-one": Entry(
        _lex(lambda p: presets.lex_fixed(imputer_for(p), p.rate) | {"imputations": 1}, boxed=True),
        "box",
        True,
    ),
    "lex-constant": Entry(
        _lex(
            lambda p: presets.lex_fixed(BaselineImputer(0.0), p.rate) | {"imputations": None},
            boxed=True,
        ),
        "box",
        True,
    ),
    "lex-joint": Entry(_lex(lambda p: presets.lex_joint(imputer_for(p), p.rate)), "own", True),
    "mask-surrogate": Entry(_lex(lambda p: _surrogate(p, mask_channel=True)), "own", True),
    "zero-surrogate": Entry(_lex(lambda p: _surrogate(p, mask_channel=False)), "own"),
    "realx": Entry(_lex(lambda p: presets.realx()), "own"),
    "invase": Entry(_lex(lambda p: presets.invase()), "own"),
    "l2x": Entry(_lex(lambda p: presets.l2x(k=max(1, round(p.rate * p.n_players)))), "own"),
    "unmasking": Entry(_unmasking, "own"),
    "harsanyi": Entry(_harsanyi, "own", selects=False),
    "shapley": Entry(_sampled_shapley, "box", True, selects=False, learned=False, rows=200),
    "amortized": Entry(_amortized, "box", selects=False),
    "occlusion": Entry(_occlusion, "box", True, selects=False, learned=False, rows=500),
    "l2": Entry(_l2, "nobody", True, learned=False),
    "random": Entry(_random, "nobody", True, learned=False),
}
"""Methods by name. `lex-one` has a single imputation and `lex-constant` zeros in its place;
`mask-surrogate` is a predictor trained on masks that it sees, `zero-surrogate` the same without
the masks; `unmasking` cannot leak; `l2` and `random` are floors."""

ABLATIONS: dict[str, Entry] = {
    "lex-40": Entry(_lex(lambda p: presets.lex_fixed(imputer_for(p), 0.40), boxed=True), "box"),
    "lex-priced": Entry(
        _lex(lambda p: presets.lex_fixed(imputer_for(p)) | _PRICED, boxed=True), "box"
    ),
    "lex-priced-one": Entry(
        _lex(
            lambda p: presets.lex_fixed(imputer_for(p)) | _PRICED | {"imputations": 1}, boxed=True
        ),
        "box",
    ),
}
"""Methods that a run has to name: `lex-40` selects 40 % whatever the truth, `lex-priced` pays .04
nats a player in place of a held rate, with four imputations, and `lex-priced-one` with one."""
