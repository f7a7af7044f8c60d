"""Ground truth: exact where it can be, else sampled with standard errors and draws of its own."""

from collections.abc import Callable

import torch
from torch import Tensor

from baselines.exact import exact_shapley
from baselines.explanation import Explanation
from baselines.fingerprints import key_of
from bench.problems.problem import Problem, take

EXACT_UP_TO = 16
"""Players up to which truth is enumerated."""


def ground_truth(
    problem: Problem,
    *,
    budget: int = 20_000,
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
    progress: bool = False,
) -> Explanation:
    """What every explanation of a problem is judged against.

    Known values where the problem has them, enumeration up to `exact_up_to` players, else
    antithetic permutations: each explicand twice, from keys that depend on the problem, the seed
    and the explicand alone, so that no contender, batch or process shares the draws.

    Args:
        problem: Explicands and their game.
        budget: Coalitions per explicand, for sampled truth.
        seed: Seed of the truth.
        exact_up_to: Players up to which all coalitions are enumerated.
        progress: Show a bar.

    Returns:
        Shapley values `(b, n, k)`; a sampled one has standard errors and the diagnostic `halves`
        `(b, 2, n, k)`, two independent estimates whose mean the values are.

    Raises:
        ValueError: If the budget does not buy standard errors.
    """
    if problem.known is not None:
        return problem.known(problem.x)
    if problem.game(take(problem.x, slice(0, 1))).n_players <= exact_up_to:
        return exact_shapley(problem.game())
    from tqdm import tqdm

    rows = tqdm(range(len(problem)), desc=f"truth of {problem.name}", disable=not progress)
    return stack([row_truth(problem, row, budget=budget, seed=seed) for row in rows])


def row_truth(problem: Problem, row: int, *, budget: int, seed: int) -> Explanation:
    """Sampled truth of one explicand, a function of the arguments alone.

    Args:
        problem: Explicands and their game.
        row: Position of the explicand.
        budget: Coalitions, both halves together.
        seed: Seed of the truth.

    Returns:
        Values `(1, n, k)` with standard errors and the diagnostic `halves` `(1, 2, n, k)`.
    """
    from baselines.sampling import permutation_shapley

    game = problem.game(take(problem.x, [row]))
    halves = [
        permutation_shapley(
            game,
            budget=budget // 2,
            generator=truth_generator(problem.content_hash, seed, row, half),
        )
        for half in range(2)
    ]
    return merge_halves(halves[0], halves[1])


def truth_generator(content_hash: str, seed: int, row: int, half: int) -> torch.Generator:
    """The generator of one explicand's truth, which nobody else draws from.

    Args:
        content_hash: The problem's.
        seed: Seed of the truth.
        row: Position of the explicand.
        half: 0 or 1.
    """
    return torch.Generator().manual_seed(key_of(seed, "ground truth", content_hash, row, half))


def merge_halves(one: Explanation, two: Explanation) -> Explanation:
    """The mean of two independent estimates of the same games.

    Args:
        one: Values `(b, n, k)` with standard errors.
        two: The same from other draws.

    Returns:
        The mean, its standard errors, and both halves as diagnostic `halves` `(b, 2, n, k)`.

    Raises:
        ValueError: If either lacks standard errors.
    """
    if one.exact and two.exact:
        return one
    if one.std_errors is None or two.std_errors is None:
        raise ValueError(
            f"truth by {one.method!r} with {one.n_evals} coalitions has no standard errors; pass "
            "a larger budget."
        )
    return Explanation(
        (one.values + two.values) / 2,
        estimand=one.estimand,
        game=one.game,
        method=f"two independent runs of {one.method}",
        base_values=one.base_values,
        std_errors=(one.std_errors**2 + two.std_errors**2).sqrt() / 2,
        n_evals=one.n_evals + two.n_evals,
        players=one.players,
        outputs=one.outputs,
        player_mask=one.player_mask,
        diagnostics={"halves": torch.stack([one.values, two.values], 1)},
    )


def stack(explanations: list[Explanation]) -> Explanation:
    """Explanations of different explicands as one.

    Args:
        explanations: At least one; same players, outputs, estimand and game.

    Returns:
        Values `(b, n, k)` of all of them in order; diagnostics that every one has are kept.
    """
    first = explanations[0]

    def join(pick: Callable[[Explanation], Tensor | None]) -> Tensor | None:
        parts = [part for part in map(pick, explanations) if part is not None]
        return torch.cat(parts) if len(parts) == len(explanations) else None

    common = set.intersection(*(set(one.diagnostics) for one in explanations))
    players = first.players
    if first.is_ragged:
        players = [names for one in explanations for names in one.players or ()]
    return Explanation(
        torch.cat([one.values for one in explanations]),
        estimand=first.estimand,
        game=first.game,
        method=first.method,
        exact=all(one.exact for one in explanations),
        base_values=join(lambda one: one.base_values),
        std_errors=join(lambda one: one.std_errors),
        n_evals=max(one.n_evals for one in explanations),
        players=players,
        outputs=first.outputs,
        player_mask=join(lambda one: one.player_mask),
        diagnostics={
            name: torch.cat([one.diagnostics[name] for one in explanations])
            for name in sorted(common)
            if all(len(one.diagnostics[name]) == len(one) for one in explanations)
        },
    )
