"""Ground truth: exact where it can be, else sampled with standard errors and draws of its own."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

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
        Shapley values `(b, n, k)`; a sampled one has standard errors and the diagnostics `halves`
        `(b, 2, n, k)`, two independent estimates whose mean the values are, and `zero_spread`,
        where no two pairs of orders differed and the standard error is a guess on the safe side.

    Raises:
        ValueError: If the budget does not buy standard errors.

    Example:
        >>> from bench import ground_truth
        >>> from bench.problems.catalogue import named_problem
        >>> airport = named_problem("synthetic/airport")
        >>> ground_truth(airport).exact  # known in closed form
        True
    """
    if problem.known is not None:
        return problem.known(problem.x)
    whole = problem.game()
    ragged = getattr(whole, "player_mask", None) is not None
    if whole.n_players <= exact_up_to and not ragged:
        return exact_shapley(whole)  # all explicands at once
    if problem.is_whole:
        return _sampled(problem, whole, 0, budget, seed)
    from tqdm import tqdm

    rows = tqdm(range(len(problem)), desc=f"truth of {problem.name}", disable=not progress)
    return stack(
        [
            row_truth(problem, row, budget=budget, seed=seed, exact_up_to=exact_up_to)
            for row in rows
        ]
    )


def row_truth(
    problem: Problem,
    row: int,
    *,
    budget: int,
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
) -> Explanation:
    """Truth of one explicand, a function of the arguments alone.

    Args:
        problem: Explicands and their game.
        row: Position of the explicand.
        budget: Coalitions, both halves together.
        seed: Seed of the truth.
        exact_up_to: Players up to which all coalitions are enumerated.

    Returns:
        Values `(1, n, k)`: known, enumerated, or sampled as `ground_truth` says.

    Raises:
        ValueError: If the budget does not buy standard errors, or the problem's factory does not
            play the explicand it is given.
    """
    x = take(problem.x, [row])
    if problem.known is not None:
        return problem.known(x)
    game = problem.game(x)
    if game.n_explicands != 1:
        raise ValueError(
            f"game_factory of problem {problem.name!r} made the game of {game.n_explicands} "
            "explicands when given one; it must play the explicands it is given."
        )
    if game.n_players <= exact_up_to:
        return exact_shapley(game)
    return _sampled(problem, game, row, budget, seed)


def _sampled(problem: Problem, game: Any, row: int, budget: int, seed: int) -> Explanation:  # noqa: ANN401
    from baselines.sampling import permutation_shapley

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
    errors, silent = _joint_errors(one, two)
    return Explanation(
        (one.values + two.values) / 2,
        estimand=one.estimand,
        game=one.game,
        method=f"two independent runs of {one.method}",
        base_values=one.base_values,
        std_errors=errors,
        n_evals=one.n_evals + two.n_evals,
        players=one.players,
        outputs=one.outputs,
        player_mask=one.player_mask,
        diagnostics={
            "halves": torch.stack([one.values, two.values], 1),
            "zero_spread": silent,
        },
    )


def _joint_errors(one: Explanation, two: Explanation) -> tuple[Tensor, Tensor]:
    """Standard errors of the mean of two runs, and where neither run saw any spread.

    Where every one of R pairs of orders agrees, the spread says nothing of deviations rarer than
    3 in R (the rule of three); one as large as the largest value would have a standard error of
    sqrt(3) / R of it, which stands there instead of zero.
    """
    assert one.std_errors is not None  # merge_halves saw to it
    assert two.std_errors is not None
    n = one.shape[1]
    both = one.std_errors.isinf() & two.std_errors.isinf()
    errors = [
        torch.where(one.std_errors.isinf(), two.std_errors, one.std_errors),
        torch.where(two.std_errors.isinf(), one.std_errors, two.std_errors),
    ]
    apart = (one.values - two.values).abs() / 2
    largest = torch.maximum(one.values.abs(), two.values.abs()).amax(1, keepdim=True)
    pairs = max(1, (one.n_evals + two.n_evals) // max(2, 2 * (n - 1)))
    unseen = torch.maximum(apart, 3**0.5 / pairs * largest)
    joint = (errors[0] ** 2 + errors[1] ** 2).sqrt() / 2
    return torch.where(both, unseen, joint), both


def stack(explanations: Sequence[Explanation]) -> Explanation:
    """Explanations of different explicands as one, shorter ones padded.

    Args:
        explanations: At least one; of the same outputs, estimand and game.

    Returns:
        Values `(b, n, k)` of all of them in order, n the largest; of the diagnostics `halves` and
        `zero_spread`, where every one has them.

    Raises:
        ValueError: If there are no explanations.
    """
    if not explanations:
        raise ValueError("explanations is empty; stacking needs one.")
    if not all(one.exact for one in explanations):
        explanations = [_as_sampled(one) for one in explanations]
    first, n = explanations[0], max(one.shape[1] for one in explanations)

    def join(parts: Iterable[Tensor | None], axis: int | None = None) -> Tensor | None:
        """One tensor of all, or None where one lacks; `axis` is that of the players."""
        tensors = list(parts)
        if any(tensor is None for tensor in tensors):
            return None
        whole = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(whole if axis is None else [_padded(t, n, axis) for t in whole])

    masks = [one.player_mask for one in explanations]
    if any(m is not None for m in masks) or any(one.shape[1] < n for one in explanations):
        masks = [
            torch.ones(one.shape[:2], dtype=torch.bool)
            if one.player_mask is None
            else one.player_mask
            for one in explanations
        ]
    players = first.players
    if first.is_ragged:
        players = [names for one in explanations for names in one.players or ()]
    values = join((one.values for one in explanations), 1)
    halves = join((one.diagnostics.get("halves") for one in explanations), 2)
    silent = join((one.diagnostics.get("zero_spread") for one in explanations), 1)
    assert values is not None  # every explanation has values
    return Explanation(
        values,
        estimand=first.estimand,
        game=first.game,
        method=first.method,
        exact=all(one.exact for one in explanations),
        base_values=join(one.base_values for one in explanations),
        std_errors=join((one.std_errors for one in explanations), 1),
        n_evals=max(one.n_evals for one in explanations),
        players=players,
        outputs=first.outputs,
        player_mask=join(masks, 1),
        diagnostics={
            name: tensor
            for name, tensor in (("halves", halves), ("zero_spread", silent))
            if tensor is not None
        },
    )


def _as_sampled(one: Explanation) -> Explanation:
    """An exact explanation as a sampled one without noise, to stand among sampled ones."""
    if not one.exact:
        return one
    return dataclasses.replace(
        one,
        exact=False,
        std_errors=torch.zeros_like(one.values),
        diagnostics={
            "halves": one.values[:, None].expand(-1, 2, -1, -1),
            "zero_spread": torch.zeros_like(one.values, dtype=torch.bool),
        },
    )


def _padded(tensor: Tensor, n: int, axis: int) -> Tensor:
    shape = list(tensor.shape)
    shape[axis] = n - shape[axis]
    return torch.cat([tensor, tensor.new_zeros(shape)], axis) if shape[axis] else tensor


if __name__ == "__main__":
    # so that torchrun can start workers as a module: torchrun -m bench.truth run FOLDER
    from bench.cli import truth_app

    truth_app()
