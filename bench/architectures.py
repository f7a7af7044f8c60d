"""The architectures that are compared: each trains on a fold and then explains its test rows.

Self-explaining models are judged on their own trained game, explainers of a black box on the box's.
"""

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from baselines.explanation import Explanation
from bench.contenders import GameExplainer
from bench.costs import cpu_clock
from bench.problems.catalogue import box_problem
from bench.problems.models import coded, fit_box, reference
from bench.problems.own import OpenGame, own_problem
from bench.problems.problem import Problem
from bench.problems.tabular import Table


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is spent on a fold.

    Args:
        box: Kind of the black box, one of `bench.problems.models.MODELS`.
        judged: Test rows whose explanations are judged.
        leaked: Test rows whose selections are searched for leaks.
        truth_budget: Coalitions per judged row behind sampled truth.
        budget: Coalitions per player of the sampling explainer.
        pairs: Pairs of orders behind each label.
        labelled: Training rows that amortized explainers are given labels of, or learn from.
        epochs: Passes of the networks over the rows; None lets them decide.
        rounds: Most rounds of the additive boosting (EBM); None lets it decide.
        judge_epochs: Most passes of the independent judge of selections.
        nulls: Train again for the null tests.
        settings: More keyword arguments of the HarsanyiNet.
    """

    box: str = "boosted"
    judged: int = 24
    leaked: int = 300
    truth_budget: int = 10_000
    budget: int = 20
    pairs: int = 2
    labelled: int = 2_000
    epochs: int | None = None
    rounds: int | None = None
    judge_epochs: int = 60
    nulls: bool = False
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Fold:
    """Rows to learn from and rows to be tested on, with what several architectures share.

    Args:
        table: The data set.
        learn: Positions of training rows.
        test: Positions of test rows.
        seed: Of everything random.
        effort: How much to spend.
    """

    table: Table
    learn: np.ndarray
    test: np.ndarray
    seed: int
    effort: Effort
    box_seconds: float = float("nan")

    @functools.cached_property
    def box(self) -> Any:  # noqa: ANN401 - a fitted pipeline
        """The black box on coded rows, and the reference for accuracy."""
        start = cpu_clock()
        box = fit_box(self.effort.box, self.table, self.learn, seed=self.seed)
        self.box_seconds = cpu_clock() - start
        return box

    @functools.cached_property
    def codes(self) -> np.ndarray:
        """All rows as numbers `(rows, n)`."""
        return coded(self.table)

    @functools.cached_property
    def judge(self) -> Any:  # noqa: ANN401 - an EvalX
        """The independent judge of selections, p(y | x_S) for any S."""
        from bench.selection_metrics import EvalX

        return EvalX(
            self.judged_rows(self.learn),
            self.labels(self.learn),
            seed=self.seed,
            epochs=self.effort.judge_epochs,
        )

    def judged_rows(self, rows: np.ndarray) -> np.ndarray:
        """Rows as the judge reads them: codes, missing numbers at the training median."""
        middle = np.nan_to_num(np.nanmedian(self.codes[self.learn], axis=0))
        part = self.codes[rows]
        return np.where(np.isnan(part), middle, part)

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """Classes as numbers from 0, in sorted order."""
        return np.unique(self.table.y, return_inverse=True)[1][rows]


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """An architecture after its training on a fold.

    Args:
        predict: Test positions and presence `(b, n)` (or None) to labels or numbers `(b,)`.
        problem: Test positions to the problem whose game its explanations are judged on.
        contender: A Problem to the explainer of its rows.
        method_class: How it comes by its values.
        seconds: CPU-seconds of the training, labels for it included.
        has_truth: Whether its values are of an estimand that the game has a truth of.
        selects: Explanation to the shown players, bool `(b, n)`; the largest ones when None.
    """

    predict: Callable[[np.ndarray, np.ndarray | None], np.ndarray]
    problem: Callable[[np.ndarray], Problem]
    contender: Callable[[Problem], Any]
    method_class: str
    seconds: float
    has_truth: bool = True
    selects: Callable[[Explanation], np.ndarray] | None = None


Train = Callable[[Fold], Trained]


def _rows(fold: Fold, positions: np.ndarray) -> Any:  # noqa: ANN401 - a pandas frame
    return fold.table.X.iloc[positions].reset_index(drop=True)


def _harsanyi(preset: str | None = None) -> Train:
    def train(fold: Fold) -> Trained:
        from bench.user_models import own_prediction
        from harsanyi import HarsanyiClassifier, HarsanyiRegressor

        classify = fold.table.task == "classification"
        kind = HarsanyiClassifier if classify else HarsanyiRegressor
        words: dict[str, Any] = {} if preset else dict(fold.effort.settings)
        start = cpu_clock()
        model = kind(
            preset=preset,  # pyright: ignore[reportArgumentType] - one of its presets
            epochs=fold.effort.epochs,
            random_state=fold.seed,
            unknown="missing",
            **words,
        ).fit(_rows(fold, fold.learn), fold.table.y[fold.learn])
        seconds = cpu_clock() - start
        predict = own_prediction(model)
        name = f"{fold.table.name}/{preset or 'harsanyi'}@{fold.seed}"
        return Trained(
            predict=lambda rows, present: predict(_rows(fold, rows), present),
            problem=lambda rows: own_problem(
                model, _rows(fold, rows), fold.table.y[rows], name=name
            ),
            contender=lambda problem: problem.model,
            method_class="structural",
            seconds=seconds,
        )

    return train


def _ebm(fold: Fold) -> Trained:
    from bench.ebm import ExplainableBoosting
    from bench.suite_models import MODELS

    classify = fold.table.task == "classification"
    unfitted = MODELS["ebm"](fold.table, fold.seed)
    if fold.effort.rounds is not None:
        unfitted.set_params(max_rounds=fold.effort.rounds, outer_bags=2)
    start = cpu_clock()
    fitted = unfitted.fit(_rows(fold, fold.learn), fold.table.y[fold.learn])
    seconds = cpu_clock() - start
    model = ExplainableBoosting(fitted, list(map(str, fold.table.X.columns)))
    name = f"{fold.table.name}/ebm@{fold.seed}"
    return Trained(
        predict=lambda rows, present: model.predict(_rows(fold, rows), present),
        problem=lambda rows: dataclasses.replace(
            own_problem(model, _rows(fold, rows), fold.table.y[rows], name=name),
            task=fold.table.task,
            scale="logit" if classify else "value",
        ),
        contender=lambda problem: problem.model,
        method_class="structural",
        seconds=seconds,
    )


def _lex(make: Callable[[int], dict[str, Any]] | None = None, name: str = "lex") -> Train:
    def train(fold: Fold) -> Trained:
        from amortized.lex.frames import LEXForTables

        n = fold.table.X.shape[1]
        start = cpu_clock()
        model = LEXForTables(
            target_rate=0.25,
            task=fold.table.task,
            epochs=fold.effort.epochs,
            predictor_epochs=fold.effort.epochs,
            random_state=fold.seed,
            settings=None if make is None else make(max(1, round(0.25 * n))),
        ).fit(_rows(fold, fold.learn), fold.table.y[fold.learn])
        seconds = cpu_clock() - start

        def predict(rows: np.ndarray, present: np.ndarray | None) -> np.ndarray:
            if present is None:
                return model.predict(_rows(fold, rows))
            scores = model.scores(_rows(fold, rows), present)
            if fold.table.task == "regression":
                return scores[:, 0]
            assert model.lex_ is not None  # fitted above
            return np.asarray(model.lex_.classes)[scores.argmax(1)]

        def problem(rows: np.ndarray) -> Problem:
            def game(x: Any) -> OpenGame:  # noqa: ANN401 - a frame
                words = f"{name} predictor, imputations averaged"
                return OpenGame(
                    lambda x, present: model.scores(x, present), x, n, description=words
                )

            return Problem(
                f"{fold.table.name}/{name}@{fold.seed}",
                _rows(fold, rows),
                fold.table.y[rows],
                game,
                players=tuple(model.players_),
                scale="logit" if fold.table.task == "classification" else "value",
                task=fold.table.task,
                model=model,
                explains="own",
            )

        return Trained(
            predict=predict,
            problem=problem,
            contender=lambda problem: problem.model,
            method_class="selected",
            seconds=seconds,
            has_truth=False,
            selects=lambda e: e.diagnostics["mode"][..., 0].bool().numpy(),
        )

    return train


def _sampled(estimator: str, absence: str) -> Train:
    def train(fold: Fold) -> Trained:
        import baselines

        box, n = fold.box, fold.table.X.shape[1]
        x = fold.codes
        baseline = reference(fold.table, fold.learn).numpy()

        def predict(rows: np.ndarray, present: np.ndarray | None) -> np.ndarray:
            part = x[rows] if present is None else np.where(present, x[rows], baseline)
            return np.asarray(box.predict(part))

        def problem(rows: np.ndarray) -> Problem:
            name = f"{fold.table.name}/{fold.effort.box}/{absence}@{fold.seed}"
            return box_problem(
                name, box, fold.table, fold.learn, rows, absence=absence, seed=fold.seed
            )

        return Trained(
            predict=predict,
            problem=problem,
            contender=lambda problem: GameExplainer(
                problem, getattr(baselines, estimator), fold.effort.budget * n
            ),
            method_class="sampled",
            seconds=fold.box_seconds,
        )

    return train


def _amortized(objective: str) -> Train:
    """An explainer of the boosted trees that answers in one pass: trained on sampled labels, or by
    FastSHAP's least squares without any."""

    def train(fold: Fold) -> Trained:
        from amortized import AmortizedExplainer, LabelStore, presets

        effort = fold.effort
        filled = torch.from_numpy(fold.judged_rows(np.arange(len(fold.table.y))))
        base = _sampled("shapley", "baseline")(fold)
        name = f"{fold.table.name}/{fold.effort.box}/baseline@{fold.seed}"

        def problem(rows: np.ndarray) -> Problem:
            found = box_problem(name, fold.box, fold.table, fold.learn, rows, seed=fold.seed)
            return dataclasses.replace(found, x=filled[rows], content_hash="")

        games = problem(fold.learn[:1]).game_factory
        chosen = np.random.default_rng((fold.seed, 9)).permutation(fold.learn)[: effort.labelled]
        start = cpu_clock()
        words = presets.fastshap() if objective == "fastshap" else {}
        explainer = AmortizedExplainer.from_target(games, filled[chosen], **words)
        settings: dict[str, Any] = {"progress": False}
        if effort.epochs is not None:
            settings["epochs"] = effort.epochs
        if objective == "fastshap":
            explainer.fit(filled[chosen], **settings)
        else:
            with tempfile.TemporaryDirectory() as folder:
                store = LabelStore(folder).generate(
                    games, filled[chosen], pairs=effort.pairs, progress=False
                )
                explainer.fit(store, **settings)
        seconds = cpu_clock() - start
        return Trained(
            predict=base.predict,
            problem=problem,
            contender=lambda problem: explainer,
            method_class="amortized",
            seconds=fold.box_seconds + seconds,
        )

    return train


def _preset(name: str) -> Train:
    def settings(k: int) -> dict[str, Any]:
        from amortized import presets

        return presets.l2x(k) if name == "l2x" else getattr(presets, name)()

    return _lex(settings, name)


ARCHITECTURES: dict[str, Train] = {
    "sampling": _sampled("shapley", "baseline"),
    "permutation": _sampled("permutation_shapley", "marginal"),
    "amortized": _amortized("labels"),
    "fastshap": _amortized("fastshap"),
    "harsanyi": _harsanyi(),
    "chen2023": _harsanyi("chen2023"),
    "ebm": _ebm,
    "lex": _lex(),
    "l2x": _preset("l2x"),
    "invase": _preset("invase"),
    "realx": _preset("realx"),
}
"""Name -> training on a fold. The first four explain boosted trees, by sampling (absent columns at the
baseline, or averaged over the background) or by a network trained to; the others explain
themselves."""

REFERENCE = "sampling"
"""Whose accuracy the price of interpretability is measured against: the boosted trees."""


def shown_players(trained: Trained, explanation: Explanation, n_shown: int) -> np.ndarray:
    """The players that an explanation shows, bool `(b, n)`.

    Args:
        trained: Whose explanation it is.
        explanation: Of `b` rows.
        n_shown: How many, for explanations that only rank.
    """
    if trained.selects is not None:
        return trained.selects(explanation)
    from bench.selection_metrics import top

    values = explanation.values.detach().double()
    total = values.sum(1)
    if explanation.base_values is not None:
        total = total + explanation.base_values.double()
    chosen = total.argmax(-1)
    size = values[torch.arange(len(values)), :, chosen].abs().numpy()
    return top(size, n_shown)
