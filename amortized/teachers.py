"""Teachers: explainers that are imitated, whatever they estimate."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from amortized.examples import Examples, pick
from baselines.explanation import Explanation
from baselines.game import Game


class ExplainsExamples(Protocol):
    """An explainer of examples, such as integrated gradients of a text model."""

    def explain(self, x: Any, /) -> Explanation: ...  # noqa: ANN401


Teacher = Callable[[Any], Explanation] | ExplainsExamples
"""Examples -> their Explanation, as a function or as an object with `explain`. What it draws
should be a function of the examples, or a job that is resumed differs from one that is not."""


def teach(teacher: Teacher, examples: Any) -> Explanation:  # noqa: ANN401
    """What a teacher says of some examples.

    Args:
        teacher: A function or an object with `explain`.
        examples: Texts, pairs, or a tensor.

    Raises:
        TypeError: If it returns no Explanation.
    """
    explain: Any = getattr(teacher, "explain", teacher)
    found = explain(examples)
    if not isinstance(found, Explanation):
        raise TypeError(f"teacher returned a {type(found).__name__}; it must be an Explanation.")
    return found


def estimand_of(teacher: Teacher | None, examples: Examples) -> str:
    """What a label stands for: Shapley values, or whatever the teacher estimates."""
    return "shapley" if teacher is None else teach(teacher, pick(examples, [0])).estimand


def taught(teacher: Teacher, examples: Any, game: Game) -> dict[str, Tensor]:  # noqa: ANN401
    """A teacher's values in the form of labels.

    Args:
        teacher: Who explains.
        examples: What is explained.
        game: Its games, whose ends are asked for.

    Returns:
        The fields of `pairs.pair_sums`. Values with standard errors count as two draws with that
        spread; others as exact ones, since nothing is known of their noise.

    Raises:
        ValueError: If the teacher names other players than the game.
    """
    said = teach(teacher, examples)
    b, n = game.n_explicands, game.n_players
    mask = getattr(game, "player_mask", None)
    mask = torch.ones(b, n, dtype=torch.bool) if mask is None else mask.cpu()
    theirs = said.player_mask
    theirs = torch.ones(said.shape[:2], dtype=torch.bool) if theirs is None else theirs.cpu()
    if theirs.shape != mask.shape or not torch.equal(theirs, mask):
        raise ValueError(
            f"teacher explained players {tuple(theirs.shape)}, the game has {tuple(mask.shape)}: "
            "they must agree on who plays."
        )
    ends = game(torch.stack([torch.zeros_like(mask), mask], 1)).detach().cpu()
    values = said.values.detach().double().cpu()
    errors = said.std_errors
    drawn = errors is not None and bool(torch.isfinite(errors).all())
    pairs, spread = (2, errors.double().cpu().square()) if drawn and errors is not None else (1, 0)
    return {
        "sums": pairs * values,
        "squares": pairs * (values.square() + spread),
        "pairs": torch.full((b,), pairs),
        "exact": torch.full((b,), not drawn),
        "empty": ends[:, 0],
        "grand": ends[:, 1],
        "coalitions": torch.full((b,), max(2, said.n_evals)),
        "player_mask": mask,
    }
