"""Null tests: what an explainer says where the right answer is known to be nothing, or the same.

On a game: a player that changes nothing gets zero; two players that are only worth something
together get equal shares. On a model: explanations must not survive other labels or other
weights, and a constant column has no value.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import stream
from baselines.explanation import Explanation

Explain = Callable[[Any], Explanation]
"""A game to its explanation."""

LIMITS = {
    "dummy": 0.05,
    "twins": 0.05,
    "constant_column": 0.05,
    "random_labels": 0.5,
    "random_weights": 0.5,
}
"""Null test -> the largest measure that passes: values relative to the largest one, or absolute rank
correlation with the explanation of the real model."""


class GuestGame:
    """A game with one more player, made from another.

    Args:
        game: The game inside, `n` players.
        twin: Position of the player that the guest is needed beside; None for a guest that
            changes nothing.
    """

    def __init__(self, game: Any, twin: int | None = None) -> None:  # noqa: ANN401 - Game
        self.inner = game
        self.twin = twin
        self.n_explicands = game.n_explicands
        self.n_players = game.n_players + 1
        self.n_outputs = game.n_outputs
        self.description = f"{getattr(game, 'description', '')} with a guest"

    @property
    def n_evals(self) -> int:
        """Model rows used so far."""
        return self.inner.n_evals

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of coalitions `(b or 1, m, n + 1)`, the guest last."""
        inside, guest = coalitions[..., :-1], coalitions[..., -1]
        if self.twin is not None:
            inside = inside.clone()
            inside[..., self.twin] &= guest
        return self.inner(inside)


def game_nulls(explain: Explain, game: Any, *, player: int = 0) -> dict[str, float]:  # noqa: ANN401
    """The null tests of an estimator on a game.

    Args:
        explain: The estimator, a function of a game.
        game: Any game without padding.
        player: Position of the player that gets a twin.

    Returns:
        `dummy`: largest magnitude of a player that changes nothing; `twins`: largest difference
        between two players that only count together; both relative to the largest magnitude.
    """
    idle = explain(GuestGame(game)).values.detach().double()
    pair = explain(GuestGame(game, player)).values.detach().double()
    apart = (pair[:, player] - pair[:, -1]).abs()
    return {
        "dummy": _relative(idle[:, -1].abs(), idle),
        "twins": _relative(apart, pair),
    }


@dataclasses.dataclass(frozen=True)
class Refit:
    """How a model is made and explained again, for its null tests.

    Args:
        fit: Rows and labels to an explainer of that model.
        X: Training frame.
        y: Training labels `(rows,)`.
        explained: Rows whose explanations are compared.
        seed: Of the random labels.
    """

    fit: Callable[[Any, np.ndarray], Any]
    X: Any
    y: np.ndarray
    explained: Any
    seed: int = 0


def model_nulls(refit: Refit, explanation: Explanation) -> dict[str, float]:
    """The null tests that train the model again.

    Args:
        refit: How to.
        explanation: Of the explained rows by the real model.

    Returns:
        `random_labels`: absolute rank correlation of the explanations with those of a model of
        shuffled labels, mean over rows; `constant_column`: largest magnitude of a column that
        never varies, relative to the largest one.

    Source: Adebayo et al. (2018), data randomisation.
    """
    shuffled = stream(refit.seed, 0, purpose=71).permutation(refit.y)
    other = refit.fit(refit.X, shuffled).explain(refit.explained)
    found = {"random_labels": agreement(explanation, other)}
    name = "a column that never varies"
    wider, rows = refit.X.assign(**{name: 1.0}), refit.explained.assign(**{name: 1.0})
    values = refit.fit(wider, refit.y).explain(rows).values.detach().double()
    return found | {"constant_column": _relative(values[:, -1].abs(), values)}


def random_weights(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """A copy of a network whose weights are permuted within each tensor.

    Scale and sparsity stay; what was learned does not.

    Args:
        module: Any network.
        seed: Key of the permutations.

    Source: Adebayo et al. (2018), model randomisation.
    """
    import copy

    other = copy.deepcopy(module)
    with torch.no_grad():
        for place, parameter in enumerate(other.parameters()):
            order = stream(seed, place, purpose=72).permutation(parameter.numel())
            flat = parameter.flatten()[torch.from_numpy(order)]
            parameter.copy_(flat.view_as(parameter))
    return other


def agreement(one: Explanation, two: Explanation) -> float:
    """Absolute rank correlation of magnitudes, mean over rows and outputs that both have.

    Args:
        one: Values `(b, n, k)`.
        two: The same players and explicands.

    Returns:
        From 0 to 1; 0 where either is constant.
    """
    from scipy.stats import rankdata

    a, b = (side.values.detach().cpu().double().abs().numpy() for side in (one, two))
    ranks = [rankdata(side[..., : min(a.shape[2], b.shape[2])], axis=1) for side in (a, b)]
    ranks = [rank - rank.mean(1, keepdims=True) for rank in ranks]
    size = np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    rho = np.divide((ranks[0] * ranks[1]).sum(1), size, out=np.zeros_like(size), where=size > 0)
    return float(np.abs(rho.mean()))


def count_passed(measures: Mapping[str, float]) -> tuple[int, int]:
    """How many null tests were passed, of how many.

    Args:
        measures: Null test -> measure, NaN for one that was not run.
    """
    run = {name: value for name, value in measures.items() if np.isfinite(value)}
    return sum(value <= LIMITS[name] for name, value in run.items()), len(run)


def _relative(part: Tensor, values: Tensor) -> float:
    largest = float(values.abs().max())
    return float(part.max()) / largest if largest > 0 else 0.0
