"""Games whose Shapley values are known by theory, at any number of players.

Each explicand is the seed of one random game, so that a problem is data like any other.
"""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np
import torch
from einops import einsum
from torch import Tensor

from baselines.coalitions import check_coalitions, stream
from baselines.explanation import Explanation
from bench.problems.problem import Problem


class FormulaGame:
    """Games given by a formula of the coalition.

    Args:
        formula: Maps bool coalitions `(b, m, n)` to values `(b, m)` or `(b, m, k)`.
        n_explicands: Number of games `b`.
        n_players: Number of players `n`.
        n_outputs: Number of outputs `k`.
        description: The games in words.
    """

    def __init__(
        self,
        formula: Callable[[Tensor], Tensor],
        n_explicands: int,
        n_players: int,
        n_outputs: int = 1,
        *,
        description: str = "formula",
    ) -> None:
        self.formula = formula
        self.n_explicands = n_explicands
        self.n_players = n_players
        self.n_outputs = n_outputs
        self.description = description
        self.players = None
        self.n_evals = 0

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        self.n_evals += self.n_explicands * coalitions.shape[1]
        values = self.formula(coalitions.expand(self.n_explicands, -1, -1))
        return values[..., None] if values.ndim == 2 else values


def unanimity_sum(
    n_players: int = 12, *, n_terms: int = 30, max_order: int = 5, b: int = 32, seed: int = 0
) -> Problem:
    """Random sums of unanimity games: dividends are given, so everything is known.

    Args:
        n_players: Players `n`, any number.
        n_terms: Dividends per game.
        max_order: Largest coalition with a dividend.
        b: Games.
        seed: Seed of the games.

    Returns:
        A problem with known truth: each dividend in equal shares to its members.

    Source: Shapley (1953), sec. 3; Harsanyi (1963).
    """
    max_order = min(max_order, n_players)

    def terms(row: int) -> tuple[np.ndarray, np.ndarray]:
        rng = stream(seed, row, purpose=11)
        sizes = rng.integers(1, max_order + 1, n_terms)
        place = rng.random((n_terms, n_players)).argsort(1).argsort(1)
        return place < sizes[:, None], rng.standard_normal(n_terms) / np.sqrt(sizes)

    def all_terms(x: Tensor) -> tuple[Tensor, Tensor]:
        drawn = [terms(int(row)) for row in x[:, 0]]
        members = torch.from_numpy(np.stack([m for m, _ in drawn]))  # (b, u, n)
        return members, torch.from_numpy(np.stack([w for _, w in drawn]))

    def game(x: Tensor) -> FormulaGame:
        members, weights = all_terms(x)

        def formula(coalitions: Tensor) -> Tensor:
            missing = einsum(members.double(), (~coalitions).double(), "b u n, b m n -> b m u")
            return einsum((missing == 0).double(), weights, "b m u, b u -> b m")

        return FormulaGame(formula, len(x), n_players, description=_words(name))

    def known(x: Tensor) -> Explanation:
        members, weights = all_terms(x)
        shares = weights / members.sum(-1)
        values = einsum(shares, members.double(), "b u, b u n -> b n")
        return _theory(values, torch.zeros(len(x), 1), _words(name))

    name = f"synthetic/unanimity-{n_players}x{n_terms}o{max_order}s{seed}"
    return _problem(name, b, game, known)


def airport(n_players: int = 30, *, b: int = 32, seed: int = 0) -> Problem:
    """Airport games: a coalition pays for the longest runway that one of its members needs.

    Args:
        n_players: Players `n`, any number.
        b: Games.
        seed: Seed of the games.

    Returns:
        A problem with known truth.

    Source: Littlechild and Owen (1973).
    """

    def costs(x: Tensor) -> Tensor:
        drawn = [stream(seed, int(row), purpose=12).gamma(1.0, size=n_players) for row in x[:, 0]]
        return torch.from_numpy(np.stack(drawn))

    def game(x: Tensor) -> FormulaGame:
        needs = costs(x)

        def formula(coalitions: Tensor) -> Tensor:
            return torch.where(coalitions, needs[:, None], 0.0).amax(-1)

        return FormulaGame(formula, len(x), n_players, description=_words(name))

    def known(x: Tensor) -> Explanation:
        needs, order = costs(x).sort(dim=1)
        steps = torch.diff(needs, dim=1, prepend=torch.zeros(len(x), 1).double())
        # the i-th shortest runway's last stretch is shared by the n - i players who need it
        shares = (steps / torch.arange(n_players, 0, -1)).cumsum(1)
        values = torch.empty_like(shares).scatter_(1, order, shares)
        return _theory(values, torch.zeros(len(x), 1), _words(name))

    name = f"synthetic/airport-{n_players}s{seed}"
    return _problem(name, b, game, known)


def glove(left: int = 8, right: int = 12, *, b: int = 1, seed: int = 0) -> Problem:
    """The glove market: a pair of a left and a right glove is worth 1.

    Args:
        left: Players who own a left glove.
        right: Players who own a right glove.
        b: Copies of the game, since it has no randomness.
        seed: Changes nothing; taken because the other games take it.

    Returns:
        A skewed problem with known truth, by counting in which share of the orders a player
        completes a pair.

    Source: Shapley and Shubik (1969).
    """
    n = left + right
    side = torch.arange(n) < left

    def game(x: Tensor) -> FormulaGame:
        def formula(coalitions: Tensor) -> Tensor:
            lefts, rights = (coalitions & side).sum(-1), (coalitions & ~side).sum(-1)
            return torch.minimum(lefts, rights).double()

        return FormulaGame(formula, len(x), n, description=_words(name))

    def known(x: Tensor) -> Explanation:
        # a left glove adds 1 where more rights than lefts came before it
        shares = torch.tensor(
            [_completes(right, left), _completes(left, right)], dtype=torch.float64
        )
        return _theory(shares[side.long()].repeat(len(x), 1), torch.zeros(len(x), 1), _words(name))

    name = f"synthetic/glove-{left}x{right}"
    return _problem(name, b, game, known)


def _completes(own: int, other: int) -> float:
    """Probability that one of `own` gloves meets more of the `other` kind before it."""
    n = own + other
    total = 0.0
    for before in range(n):  # its place in a random order is uniform
        ways = sum(
            comb(own - 1, i) * comb(other, before - i)
            for i in range(min(own - 1, before) + 1)
            if before - i > i
        )
        total += ways / comb(n - 1, before)
    return total / n


def _theory(values: Tensor, base: Tensor, game: str) -> Explanation:
    return Explanation(
        values[..., None].double(),
        game=game,
        method="theory",
        exact=True,
        base_values=base.double(),
    )


def _problem(name: str, b: int, game: Callable[[Any], Any], known: Any) -> Problem:  # noqa: ANN401
    return Problem(
        name=name,
        x=torch.arange(b)[:, None].double(),
        y=None,
        game_factory=game,
        scale="value",
        task="game",
        known=known,
    )


def _words(name: str) -> str:
    return f"{name} by formula"
