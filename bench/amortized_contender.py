"""Amortized explainers as contenders: trained on examples of the problem, then judged like others."""

from collections.abc import Callable
from typing import Any

from baselines.explanation import Explanation
from bench.problems.problem import Problem

EXAMPLES = 2000
"""Examples that a contender of the table is trained on, most."""


class AmortizedContender:
    """An explainer that was trained for a problem and refines by asking its game.

    Args:
        explainer: Trained.
        refine: Fresh antithetic pairs for each explicand.
    """

    def __init__(self, explainer: Any, refine: int = 0) -> None:  # noqa: ANN401
        self.net = explainer  # a name by which the meter counts its passes
        self.refine = refine

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - rows of any container
        """Explain rows or texts of the problem.

        Args:
            x: Explicands.
        """
        return self.net.explain(x, self.refine)


def amortized_on(
    examples: Any,  # noqa: ANN401 - texts or rows
    *,
    pairs: int = 1,
    refine: int = 0,
    construct: dict[str, Any] | None = None,
    **training: Any,  # noqa: ANN401 - settings of fit
) -> Callable[[Problem], AmortizedContender]:
    """A contender that labels examples under the problem's game and trains on them.

    Args:
        examples: Examples of the problem's kind that are not its explicands.
        pairs: Antithetic pairs of labels for each.
        refine: Fresh pairs for each explicand.
        construct: Keywords of `AmortizedExplainer.from_target`, such as a preset.
        training: Keywords of `fit`.

    Returns:
        A function from a Problem to an Explainer.
    """

    def contender(problem: Problem) -> AmortizedContender:
        from amortized import AmortizedExplainer, Labels
        from amortized.examples import as_examples

        model: Any = problem.model if hasattr(problem.model, "network") else problem.game
        known = as_examples(examples)
        labels = Labels.now(model, known, pairs)
        explainer = AmortizedExplainer.from_target(model, known, **(construct or {}))
        explainer.fit(labels, **{"progress": False, **training})
        explainer.attach(problem.game)  # from here on what it asks is on the meter
        return AmortizedContender(explainer, refine)

    return contender


def amortized(problem: Problem) -> AmortizedContender:
    """The contender `amortized` of the table: one pair for each of up to 2,000 examples.

    Args:
        problem: A named problem of texts or tables, or one with a background.

    Raises:
        ValueError: If there is nothing to train on.
    """
    return amortized_on(training_examples(problem))(problem)


def amortized_refined(problem: Problem) -> AmortizedContender:
    """The contender `amortized+2`: the same, fused with two fresh pairs for each explicand."""
    return amortized_on(training_examples(problem), refine=2)(problem)


def training_examples(problem: Problem, most: int = EXAMPLES) -> Any:  # noqa: ANN401
    """Examples that a problem's explainer may train on: never its explicands.

    Args:
        problem: A named problem of texts or tables, or one with a background.
        most: Examples, at most.

    Raises:
        ValueError: If there are none.
    """
    from bench.problems.tabular import TABLES
    from bench.problems.text_data import TEXT_SETS

    name, _, seed = problem.name.partition("@")
    name = name.split("/")[0]
    if name in TEXT_SETS and hasattr(problem.model, "network"):
        from amortized.examples import is_blank
        from bench.problems.text_data import load_texts

        judged = set(map(str, problem.x))
        texts = load_texts(name).first(4 * most).texts
        full = [text for text in texts if not is_blank(text) and str(text) not in judged]
        return full[:most]
    if name in TABLES:
        import torch

        from bench.problems.models import coded
        from bench.problems.tabular import load, split

        table = load(name)
        rows = split(table, int(seed or 0)).train[:most]
        return torch.from_numpy(coded(table)[rows])
    if problem.background is None:
        raise ValueError(
            f"problem {problem.name!r} has no examples to train on; use "
            "bench.amortized_contender.amortized_on(examples) as its contender."
        )
    return problem.background[:most]
