"""evaluate: one explainer, one problem, one truth -> one Evaluation with intervals."""

import dataclasses
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from baselines.explanation import Explanation
from baselines.fingerprints import key_of
from bench import metrics
from bench.comparable import EFFICIENT
from bench.costs import Meters, count_flops, open_meters
from bench.curves import removal_scores
from bench.intervals import Interval, mean_interval, ratio_interval
from bench.meter import Ledger, open_ledger
from bench.null_tests import count_passed, game_nulls
from bench.problems.problem import Problem, take
from bench.provenance import provenance
from bench.sensitivity import max_sensitivity

MORE = ("sensitivity", "flops", "nulls")
"""Measures that ask the explainer again, taken when asked for."""

NULL_ROWS, SENSITIVITY_DRAWS = 4, 4

# Bounds of a metric, by which its interval stays honest when every explicand scores alike.
BOUNDS: dict[str, tuple[float, float]] = {
    "spearman": (-1.0, 1.0),
    "top_k": (0.0, 1.0),
    "sign_errors": (0.0, 1.0),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What one explainer scored on one problem, explicand by explicand.

    Args:
        method: Name of the contender.
        problem: The problem it was judged on.
        explains: `"own"` when the contender is the model behind the game, else `"box"`.
        scores: Metric -> `(s, b)`, one row per run with a seed of its own.
        ceilings: Metric -> `(b,)`, what a flawless explainer would score with this truth.
        facts: Counted cost and quality, one number or word each.
        explanation: The answer of the first run.
        truth: What it was judged against, or None.

    Example:
        >>> from bench import evaluate, ground_truth, sampled
        >>> from bench.problems.catalogue import named_problem
        >>> airport = named_problem("synthetic/airport")
        >>> def judged(name):
        ...     explainer = sampled(name, budget=40)(airport)
        ...     return evaluate(explainer, airport, ground_truth(airport), name=name)
        >>> "squared_error" in judged("kernel_shap").scores
        True
    """

    method: str
    problem: Problem
    explains: str
    scores: Mapping[str, np.ndarray]
    ceilings: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]
    explanation: Explanation
    truth: Explanation | None = None

    @property
    def game_id(self) -> str:
        """Identity of the game: fidelity may be ranked within one game only."""
        return self.problem.content_hash[:12]

    def mean(self, metric: str) -> float:
        """Mean of a metric over explicands and runs, NaN where it was not measured.

        Args:
            metric: A key of `scores`.
        """
        return self.interval(metric).value

    def interval(self, metric: str, *, confidence: float = 0.95) -> Interval:
        """Mean of a metric with its bootstrap interval over explicands (and runs).

        Args:
            metric: A key of `scores`, or `"relative_error"`: squared error over squared values.
            confidence: Probability of the interval.

        Returns:
            Value, low and high; NaN where the metric was not measured.
        """
        if metric == "relative_error" and "squared_error" in self.scores and self.truth:
            scale = metrics.squared_scale(self.truth)
            return ratio_interval(self.scores["squared_error"], scale, confidence=confidence)
        if metric not in self.scores:
            return Interval(np.nan, np.nan, np.nan)
        return mean_interval(self.scores[metric], bounds=BOUNDS.get(metric), confidence=confidence)


def evaluate(
    explainer: Any,  # noqa: ANN401 - an Explainer, or a contender that makes one
    problem: Problem,
    truth: Explanation | None = None,
    *,
    name: str | None = None,
    repeats: int = 1,
    seed: int = 0,
    games: Mapping[str, Callable[[Any], Any]] | None = None,
    top_k: int = 3,
    more: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Judge an explainer: how right, how sure, at what cost.

    The cost is counted where the game is asked, whatever the explanation claims. Intervals are
    over explicands, and over runs too where `repeats` is 2 or more: an estimator that shares its
    coalitions among explicands has errors that one run cannot tell apart from luck.

    Args:
        explainer: Has `explain(x) -> Explanation`; or is a contender, a callable from a Problem
            to an Explainer. Where `explain` takes a `generator` it is given one, by seed and run.
        problem: Explicands and their game.
        truth: Of this problem's game, from `ground_truth`; None leaves out what needs a truth.
        name: Name of the contender; from the explanation's method by default.
        repeats: Runs with different seeds, for explainers that take a generator.
        seed: Seed of the runs.
        games: Name -> factory (explicands -> Game) for insertion and deletion curves and
            infidelity, one per imputer; none are drawn without.
        top_k: Players counted by the `top_k` metric.
        more: Which of `MORE` to measure too: `"sensitivity"` to small moves of the rows, `"flops"`
            of one explanation, and of an estimator its `"nulls"` on a few explicands.
        facts: More columns for the leaderboard, such as `model_score`.

    Returns:
        An Evaluation; `leaderboard` makes a table of several.

    Raises:
        TypeError: If `explainer` neither explains nor makes an explainer.
        ValueError: If `repeats` is not positive, `more` names something else, or the explainer
            answered for other explicands.
        NotComparable: If explanation and truth are of different estimands or games.

    Example:
        >>> from bench import evaluate, ground_truth, sampled
        >>> from bench.problems.catalogue import named_problem
        >>> airport = named_problem("synthetic/airport")
        >>> def judged(name):
        ...     explainer = sampled(name, budget=40)(airport)
        ...     return evaluate(explainer, airport, ground_truth(airport), name=name)
        >>> judged("permutation_shapley").explains
        'box'
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}; an evaluation needs one run.")
    if unknown := set(more) - set(MORE):
        raise ValueError(f"more={sorted(unknown)} cannot be measured; choose from {MORE}.")
    explainer = as_explainer(explainer, problem)
    seeded = "generator" in inspect.signature(explainer.explain).parameters
    runs: list[Explanation] = []
    ledgers: list[Ledger] = []
    clocks: list[tuple[float, float, Meters]] = []

    def words(run: int = 0) -> dict[str, Any]:
        """The same draws whenever the same run is asked again."""
        if not seeded:
            return {}
        return {"generator": contender_generator(problem.content_hash, seed, run)}

    for run in range(repeats if seeded else 1):
        answer, ledger, clock = _timed(explainer, problem, words(run))
        runs.append(answer)
        ledgers.append(ledger)
        clocks.append(clock)
    first = runs[0]
    if len(first) != len(problem):
        raise ValueError(
            f"{first.method!r} explained {len(first)} explicands of {len(problem)}; explain(x) "
            "must answer for every row of x."
        )
    scores: dict[str, np.ndarray] = {}
    ceilings: dict[str, np.ndarray] = {}
    if truth is not None:
        against_truth: dict[str, Callable[[Explanation, Explanation], np.ndarray]] = {
            "squared_error": metrics.squared_error,
            "spearman": metrics.spearman,
            "top_k": lambda e, t: metrics.top_k(e, t, k=top_k),
            "sign_errors": metrics.sign_errors,
        }
        for label, metric in against_truth.items():
            scores[label] = np.stack([metric(one, truth) for one in runs])
        ceilings = {
            "spearman": metrics.spearman_ceiling(truth),
            "squared_error": metrics.noise_floor(truth),
        }
    if first.estimand in EFFICIENT:
        ends = problem.game().ends()
        scores["efficiency_gap"] = np.stack([metrics.efficiency_gap(one, ends) for one in runs])
    if len(runs) > 1:
        scores["seed_sensitivity"] = metrics.seed_sensitivity(runs)[None]
    for label, factory in (games or {}).items():
        per_run = [removal_scores(one, factory(problem.x), seed=seed) for one in runs]
        for metric in per_run[0]:
            scores[f"{metric}_{label}"] = np.stack([one[metric] for one in per_run])
    measured: dict[str, Any] = {}
    if "sensitivity" in more and not problem.is_whole:
        scores["max_sensitivity"] = max_sensitivity(
            explainer, problem.x, draws=SENSITIVITY_DRAWS, seed=seed, words=words
        )[None]
    if "flops" in more and not problem.is_whole and _runs_on_torch(explainer, problem):
        one = take(problem.x, slice(0, 1))
        measured["flops"] = count_flops(lambda: explainer.explain(one, **words()))
    if "nulls" in more and hasattr(explainer, "play"):
        few = problem.game(None if problem.is_whole else take(problem.x, slice(0, NULL_ROWS)))
        measured |= nulls_as_facts(game_nulls(lambda game: explainer.play(game, **words()), few))
    own = _is_own(explainer, problem, first, ledgers[0])
    if own or isinstance(explainer, torch.nn.Module):
        # its pass through its parts is no forward call that a hook would see
        ledgers = [dataclasses.replace(one, passes=max(one.passes, len(first))) for one in ledgers]
    return Evaluation(
        method=name or first.method or type(explainer).__name__,
        problem=problem,
        explains="own" if own else "box",
        scores=scores,
        ceilings=ceilings,
        facts={
            **_cost(runs, ledgers, clocks, len(problem)),
            **measured,
            "budget": getattr(explainer, "budget", None) or np.nan,
            "repeats": len(runs),
            "seed": seed,
            **provenance(),
            **(facts or {}),
        },
        explanation=first,
        truth=truth,
    )


def nulls_as_facts(measures: Mapping[str, float]) -> dict[str, float]:
    """Null tests as columns of a leaderboard.

    Args:
        measures: Null test -> measure.

    Returns:
        The measures as `null_<test>`, with `nulls_passed` and `nulls_run`.
    """
    passed, run = count_passed(measures)
    named = {f"null_{name}": value for name, value in measures.items()}
    return {**named, "nulls_passed": passed, "nulls_run": run}


def as_explainer(explainer: Any, problem: Problem) -> Any:  # noqa: ANN401 - either kind
    """An explainer as it is, or the one that a contender makes for a problem.

    Args:
        explainer: Has `explain`, or is a callable from a Problem to something that has.
        problem: What the contender is given.

    Raises:
        TypeError: If neither is the case.
    """
    if not hasattr(explainer, "explain") and callable(explainer):
        explainer = explainer(problem)
    if not callable(getattr(explainer, "explain", None)):
        raise TypeError(
            f"explainer is a {type(explainer).__name__} without explain(x); pass an object with "
            "explain(x) -> Explanation, or a function from a Problem to one."
        )
    return explainer


def contender_generator(problem_hash: str, seed: int, run: int) -> torch.Generator:
    """The generator of one contender's run; truth never draws from it.

    Args:
        problem_hash: The problem's content hash.
        seed: Seed of the evaluation.
        run: Which of the repeats.
    """
    return torch.Generator().manual_seed(key_of(seed, "contender", problem_hash, run))


def paired_difference(
    one: Evaluation, two: Evaluation, metric: str = "squared_error", *, confidence: float = 0.95
) -> Interval:
    """How much one contender scores above another on the same explicands.

    Args:
        one: First contender.
        two: Second contender, on the same problem and truth.
        metric: A key of both `scores`.
        confidence: Probability of the interval.

    Returns:
        Mean of the differences `one - two` with a paired bootstrap interval.

    Raises:
        ValueError: If they were judged on different games, or either lacks the metric.

    Example:
        >>> from bench import evaluate, ground_truth, paired_difference, sampled
        >>> from bench.problems.catalogue import named_problem
        >>> airport = named_problem("synthetic/airport")
        >>> def judged(name):
        ...     explainer = sampled(name, budget=40)(airport)
        ...     return evaluate(explainer, airport, ground_truth(airport), name=name)
        >>> difference = paired_difference(judged("permutation_shapley"), judged("kernel_shap"))
        >>> bool(difference.low <= difference.value <= difference.high)
        True
    """
    if one.game_id != two.game_id:
        raise ValueError(
            f"{one.method!r} and {two.method!r} were judged on different games "
            f"({one.problem.name}, {two.problem.name}); only one model's explainers compare."
        )
    for side in (one, two):
        if metric not in side.scores:
            raise ValueError(f"{side.method!r} has no {metric!r}; it has {sorted(side.scores)}.")
    gap = one.scores[metric].mean(0) - two.scores[metric].mean(0)
    return mean_interval(gap[None], confidence=confidence)


def _timed(
    explainer: Any,  # noqa: ANN401 - any explainer
    problem: Problem,
    words: Mapping[str, Any],
) -> tuple[Explanation, Ledger, tuple[float, float, Meters]]:
    with open_meters() as meters, open_ledger(explainer) as ledger:
        wall, cpu = time.perf_counter(), time.process_time()
        answer = explainer.explain(problem.x, **words)
        clock = time.perf_counter() - wall, time.process_time() - cpu, meters
    if not isinstance(answer, Explanation):
        raise TypeError(
            f"{type(explainer).__name__}.explain returned a {type(answer).__name__}; it must "
            "return a baselines.Explanation."
        )
    return answer, ledger, clock


def _runs_on_torch(explainer: Any, problem: Problem) -> bool:  # noqa: ANN401
    """Whether the model that answers is a network, so that its operations can be counted."""
    sides = (explainer, problem.model)
    return any(isinstance(getattr(side, "net_", side), torch.nn.Module) for side in sides)


def _is_own(explainer: Any, problem: Problem, answer: Explanation, ledger: Ledger) -> bool:  # noqa: ANN401
    """Whether the contender is the model behind the game and explains it from within.

    That is the model of an own problem; or a network whose answer is exact though it asked
    nothing, which only a model that is exact by construction can give.
    """
    if problem.explains == "own" and explainer is problem.model:
        return True
    within = answer.exact and ledger.coalitions == 0
    return within and isinstance(getattr(explainer, "net_", explainer), torch.nn.Module)


def _cost(
    runs: Sequence[Explanation],
    ledgers: Sequence[Ledger],
    clocks: Sequence[tuple[float, float, Meters]],
    b: int,
) -> dict[str, float]:
    """Per explicand, mean over runs; passes of the explainer's own model count as evaluations."""
    asked = float(np.mean([led.coalitions or led.passes for led in ledgers])) / b
    rows = float(np.mean([led.rows or led.passes for led in ledgers])) / b
    return {
        # an explainer that neither asked the game nor is a module was not seen: unknown, not free
        "evals": asked if asked else np.nan,
        "model_rows": rows if rows else np.nan,
        "evals_claimed": float(np.mean([one.n_evals for one in runs])),
        "seconds": float(np.mean([wall for wall, _, _ in clocks])) / b,
        "cpu_seconds": float(np.mean([cpu for _, cpu, _ in clocks])) / b,
        "peak_memory": float(np.max([meters.peak_memory for *_, meters in clocks])),
        "joules": float(np.mean([meters.joules for *_, meters in clocks])) / b,
    }
