"""The table of contenders: name -> function from a Problem to an Explainer.

Other packages join through the entry point group `harsanyi.contenders`, whose entries are such
functions.
"""

import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from baselines.explanation import Explainer, Explanation
from bench.amortized_contender import amortized, amortized_refined
from bench.problems.problem import Problem

Contender = Callable[[Problem], Explainer]
ENTRY_POINTS = "harsanyi.contenders"

# Name -> public function of baselines, Game -> Explanation with `budget` and `generator`.
ESTIMATORS = {
    "permutation": "permutation_shapley",
    "kernel-shap": "kernel_shap",
    "leverage-shap": "leverage_shap",
    "odd-gp": "odd_gp",
    "shapley": "shapley",
}
BUDGETS = (5, 20, 100)
"""Budgets of the table, in coalitions per player and explicand."""


class GameExplainer:
    """An estimator bound to a problem's game.

    Args:
        problem: Whose game is asked.
        estimator: `Game -> Explanation` that may take `budget` and `generator`.
        budget: Coalitions per explicand, or None for an estimator without a budget.
    """

    def __init__(
        self, problem: Problem, estimator: Callable[..., Explanation], budget: int | None = None
    ) -> None:
        self.problem = problem
        self.estimator = estimator
        self.budget = budget

    def explain(
        self,
        x: Any,  # noqa: ANN401 - rows of any container
        generator: torch.Generator | None = None,
    ) -> Explanation:
        """Explain rows `(b, *features)` of the problem.

        Args:
            x: Explicands.
            generator: Source of the coalitions.
        """
        return self.play(self.problem.game(x), generator)

    def play(self, game: Any, generator: torch.Generator | None = None) -> Explanation:  # noqa: ANN401
        """Explain the explicands of any game.

        Args:
            game: The game to ask, under this explainer's budget.
            generator: Source of the coalitions.
        """
        words: dict[str, Any] = {} if self.budget is None else {"budget": self.budget}
        if "generator" in inspect.signature(self.estimator).parameters:
            words["generator"] = generator
        return self.estimator(game, **words)


def sampled(estimator: str | Callable[..., Explanation], budget: int | None = None) -> Contender:
    """A contender that plays the problem's game with an estimator.

    Args:
        estimator: A public function of `baselines` by name, or any `Game -> Explanation`.
        budget: Coalitions per explicand, or None for an estimator without a budget.

    Returns:
        A function from a Problem to an Explainer.

    Raises:
        AttributeError: If `baselines` has no function of that name.

    Example:
        >>> from bench import sampled
        >>> from bench.problems.catalogue import named_problem
        >>> airport = named_problem("synthetic/airport")
        >>> sampled("permutation_shapley", budget=40)(airport).explain(airport.x).n_evals <= 40
        True
    """

    def contender(problem: Problem) -> GameExplainer:
        chosen = _estimator(estimator) if isinstance(estimator, str) else estimator
        return GameExplainer(problem, chosen, budget)

    return contender


def itself(problem: Problem) -> Any:  # noqa: ANN401 - any self-explaining model
    """The contender of an own problem: the model whose game it is.

    Args:
        problem: From `own_problem`.

    Raises:
        ValueError: If the problem's game is a black box's.
    """
    if problem.explains != "own":
        raise ValueError(
            f"problem {problem.name!r} holds a black box, which does not explain itself; make one "
            "with bench.own_problem(model, x)."
        )
    return problem.model


def per_player(estimator: str, times: int) -> Contender:
    """A contender whose budget grows with the number of players.

    Args:
        estimator: A public function of `baselines` by name.
        times: Coalitions per player and explicand.

    Returns:
        A function from a Problem to an Explainer.
    """

    def contender(problem: Problem) -> GameExplainer:
        budget = times * problem.game().n_players
        return GameExplainer(problem, _estimator(estimator), budget)

    return contender


def contender_table() -> dict[str, Contender]:
    """Every contender by name: ours, then those that installed packages add.

    Returns:
        Name -> function from a Problem to an Explainer. Estimators stand at `BUDGETS`, as
        `permutation@20n`; a loaded entry point never replaces one of ours.

    Raises:
        ValueError: If an entry point has the name of one of ours.

    Example:
        >>> from bench import contender_table
        >>> "kernel-shap@20n" in contender_table()
        True
    """
    table: dict[str, Contender] = {"itself": itself, "exact": sampled("exact_shapley")}
    for name, function in ESTIMATORS.items():
        for times in BUDGETS:
            table[f"{name}@{times}n"] = per_player(function, times)
    table |= {"amortized": amortized, "amortized+2": amortized_refined}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if entry.name in table:
            raise ValueError(
                f"entry point {entry.name!r} of {ENTRY_POINTS} has the name of a contender of "
                "ours; rename it."
            )
        table[entry.name] = entry.load()
    return table


def contender_from(where: str) -> Contender:
    """A contender by name, from a module, or from a user's own file.

    Args:
        where: A name of `contender_table()`, `package.module:name`, or `path/to/file.py:name`.
            The object named is a function from a Problem to an Explainer, or an Explainer.

    Returns:
        A function from a Problem to an Explainer.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such name, or the file cannot be run.
        TypeError: If what it names neither is called nor explains.
    """
    place, _, name = where.rpartition(":")
    if not place:
        table = contender_table()
        if where not in table:
            raise ValueError(
                f"contender {where!r} is unknown; choose from {', '.join(table)}, or pass "
                "FILE.py:NAME of a function from a Problem to an Explainer."
            )
        return table[where]
    found: Any = getattr(_module(place), name, None)
    if found is None:
        raise ValueError(f"{place} has no {name!r}; name a function or an explainer in it.")
    if hasattr(found, "explain") and not isinstance(found, type):
        return lambda problem: found
    if not callable(found):
        raise TypeError(
            f"{where} is a {type(found).__name__}; it must be a function from a Problem to an "
            "Explainer, or have explain(x)."
        )
    return found  # pyright: ignore[reportReturnType] - what it returns, as_explainer checks


def _module(place: str) -> Any:  # noqa: ANN401 - a module
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise ValueError(f"module {place!r} cannot be imported: {error}.") from error
    path = Path(place)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; a contender is FILE.py:NAME.")
    spec = importlib.util.spec_from_file_location(f"contender_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is no Python file that could be loaded.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # so that dataclasses in it find their module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise ValueError(f"{path} is no valid Python ({error}).") from error
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} cannot be imported: it raised {said}.") from error
    return module


def _estimator(name: str) -> Callable[..., Explanation]:
    import baselines

    return getattr(baselines, name)
