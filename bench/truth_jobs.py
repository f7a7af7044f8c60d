"""Ground truth as a long job: plan, run in any number of processes, check, load, verify.

Each explicand is one item of a sharded job (`baselines.shards`), drawn from keys of its own, so
crashes, restarts and worker counts change no bit. The manifest is the truth's passport: hashes of
rows, model and value function, seed, budget and versions.

    python -m bench.truth plan FOLDER PROBLEM --budget 100000
    torchrun --nproc-per-node 2 -m bench.truth run FOLDER
"""

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from math import ceil
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from baselines import shards
from baselines.coalitions import stream
from baselines.explanation import Explanation
from baselines.fingerprints import key_of
from baselines.torch_calls import as_list
from bench.problems.problem import Problem, take
from bench.truth import EXACT_UP_TO, row_truth, stack

SECOND = "second"
"""Folder of the second pass inside the first one's."""

TOLERANCE = 1e-5
"""Largest relative difference at which a recomputed row still counts as the stored one."""


def plan_truth(
    problem: Problem,
    folder: str | PathLike[str],
    *,
    budget: int = 20_000,
    seed: int = 0,
    exact_up_to: int = EXACT_UP_TO,
    shard_size: int = 16,
) -> shards.Plan:
    """Write down what truth is to be made, or see that a folder holds the same.

    Args:
        problem: Explicands and their game.
        folder: Where manifest and shards lie.
        budget: Coalitions per explicand.
        seed: Seed of the truth.
        exact_up_to: Players up to which all coalitions are enumerated.
        shard_size: Explicands in a shard; a kill costs at most the work of one shard.

    Returns:
        The plan; `shards.estimate(plan, truth_work(plan, problem))` says what it will cost.

    Raises:
        ValueError: If the folder holds truth of another problem, budget, seed or version.

    Example:
        >>> from tempfile import mkdtemp
        >>> from bench import plan_truth
        >>> from bench.problems.catalogue import named_problem
        >>> airport, folder = named_problem("synthetic/airport", b=3), mkdtemp()
        >>> plan_truth(airport, folder, budget=200).n_items
        3
    """
    return shards.plan_job(
        folder, passport(problem, budget, seed, exact_up_to), len(problem), shard_size
    )


def passport(problem: Problem, budget: int, seed: int, exact_up_to: int) -> dict[str, Any]:
    """Everything that the values of a truth depend on.

    Args:
        problem: Explicands and their game.
        budget: Coalitions per explicand.
        seed: Seed of the truth.
        exact_up_to: Players up to which all coalitions are enumerated.

    Returns:
        Plain JSON values; `content_hash` covers rows, model and value function.
    """
    sample = problem.game(take(problem.x, [0]))
    outputs = getattr(sample, "outputs", None)
    return {
        "kind": "ground truth",
        "problem": problem.name,
        "content_hash": problem.content_hash,
        "game": sample.description,
        "scale": problem.scale,
        "players": None if problem.players is None else list(map(str, problem.players)),
        "outputs": None if outputs is None else list(map(str, outputs)),
        "explicands": len(problem),
        "budget": budget,
        "seed": seed,
        "exact_up_to": exact_up_to,
        "versions": {
            "harsanyi": importlib.metadata.version("harsanyi"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def truth_work(plan: shards.Plan, problem: Problem) -> shards.Work:
    """What a worker does with a list of explicands: a function of the explicands alone.

    Args:
        plan: From `plan_truth`.
        problem: The problem it was planned for.

    Returns:
        A function from positions of explicands to named tensors.

    Raises:
        ValueError: If the plan is another problem's.
    """
    _check_problem(plan, problem)
    said = plan.config
    rows = said.get("rows") or range(len(problem))
    words = {name: said[name] for name in ("budget", "seed", "exact_up_to")}
    if "rows" in said:  # a second pass draws anew
        words["seed"] = key_of(said["seed"], "second pass")

    def work(items: Sequence[int]) -> dict[str, Tensor]:
        return _tensors(stack([row_truth(problem, rows[item], **words) for item in items]))

    return work


def plan_second_pass(
    folder: str | PathLike[str], *, tolerance: float = 0.03, most: int = 16
) -> shards.Plan | None:
    """Plan more draws for the explicands whose truth is not sharp enough.

    An explicand is sharp when, for every output, the widest 95 % half-width is at most
    `tolerance * ||values|| / sqrt(n)`. The others get the factor on their budget that the loosest
    of them needs; run and check the plan's folder like the first, and `load_truth(folder)` weighs
    both passes by their budgets.

    Args:
        folder: A checked truth.
        tolerance: 0.01 is gold, 0.03 silver.
        most: Largest factor on the first pass's budget.

    Returns:
        The plan of the folder's `second`; None when every explicand is sharp.

    Raises:
        FileNotFoundError: If the first pass is not checked.
        ValueError: If the folder holds a second pass of another tolerance.
    """
    plan = shards.open_job(folder)
    excess = looseness(_first_pass(folder)) / tolerance
    rows = [row for row, ratio in enumerate(as_list(excess)) if ratio > 1]
    if not rows:
        return None
    factor = min(most, max(1, ceil(float(excess.max()) ** 2)))
    said = {
        **plan.config,
        "rows": rows,
        "tolerance": tolerance,
        "budget": factor * plan.config["budget"],
    }
    return shards.plan_job(plan.folder / SECOND, said, [str(row) for row in rows], plan.shard_size)


def looseness(truth: Explanation) -> Tensor:
    """Widest 95 % half-width of each explicand, relative to the root mean square of its values.

    Args:
        truth: Values `(b, n, k)`, exact or with standard errors.

    Returns:
        `(b,)`, the worst output's; 0 for an exact truth.
    """
    if truth.exact or truth.std_errors is None:
        return torch.zeros(len(truth), dtype=truth.values.dtype)
    size = truth.values.square().mean(1).sqrt()
    width = 1.96 * truth.std_errors.amax(1)
    return (width / size.clamp(min=torch.finfo(size.dtype).tiny)).amax(-1)


def run_truth(
    problem: Problem,
    folder: str | PathLike[str],
    *,
    rank: int | None = None,
    world_size: int | None = None,
    progress: bool = True,
) -> list[int]:
    """Make what is not made yet; safe to start again and in any number of processes.

    Args:
        problem: The problem that the folder was planned for.
        folder: From `plan_truth`.
        rank: This worker's number; torchrun's by default.
        world_size: Number of workers; torchrun's by default.
        progress: Show a bar of shards.

    Returns:
        Numbers of the shards that this call wrote.

    Example:
        >>> from tempfile import mkdtemp
        >>> from bench import plan_truth, run_truth
        >>> from bench.problems.catalogue import named_problem
        >>> airport, folder = named_problem("synthetic/airport", b=3), mkdtemp()
        >>> plan = plan_truth(airport, folder, budget=200)
        >>> run_truth(airport, folder, progress=False)
        [0]
    """
    plan = shards.open_job(folder)
    work = truth_work(plan, problem)
    return shards.run(plan, work, rank=rank, world_size=world_size, progress=progress)


def check_truth(folder: str | PathLike[str]) -> shards.Report:
    """Read every shard and say what is wrong; only this declares a truth fit for use.

    Args:
        folder: From `plan_truth`.

    Example:
        >>> from tempfile import mkdtemp
        >>> from bench import check_truth, plan_truth
        >>> from bench.problems.catalogue import named_problem
        >>> airport, folder = named_problem("synthetic/airport", b=3), mkdtemp()
        >>> plan = plan_truth(airport, folder, budget=200)
        >>> check_truth(folder).complete
        False
    """
    return shards.check(folder)


def truth_plan(folder: str | PathLike[str]) -> shards.Plan:
    """The plan of a truth, once the folder is sure to hold one of all explicands.

    Args:
        folder: From `plan_truth`.

    Raises:
        FileNotFoundError: If there is no job.
        ValueError: If the folder holds another kind of job, or the second pass of one.
    """
    plan = shards.open_job(folder)
    kind = plan.config.get("kind", "another job")
    if kind != "ground truth":
        raise ValueError(f"{folder} holds {kind}, no ground truth.")
    if "rows" in plan.config:
        raise ValueError(f"{folder} is a second pass over some rows; pass the folder above it.")
    return plan


def _check_problem(plan: shards.Plan, problem: Problem) -> None:
    said = plan.config
    if said["content_hash"] != problem.content_hash:
        raise ValueError(
            f"{plan.folder} holds truth of {said['problem']!r} ({said['content_hash']}), not of "
            f"{problem.name!r} ({problem.content_hash}): rows, model or game differ."
        )


def load_truth(folder: str | PathLike[str], problem: Problem | None = None) -> Explanation:
    """The truth of a folder that passed its check, as `harsanyi truth` leaves it.

    Args:
        folder: From `plan_truth`, run and checked.
        problem: The problem it is to judge; refused unless it is the one that was planned for.

    Returns:
        Values `(b, n, k)` as `ground_truth` gives them; where a second pass was planned, the mean
        of both passes weighted by their budgets.

    Raises:
        FileNotFoundError: If there is no job, or no check of either pass has passed since its
            last change.
        ValueError: If it is the truth of another problem, or no truth.

    Example:
        >>> from tempfile import mkdtemp
        >>> from bench import check_truth, load_truth, plan_truth, run_truth
        >>> from bench.problems.catalogue import named_problem
        >>> airport, folder = named_problem("synthetic/airport", b=3), mkdtemp()
        >>> plan = plan_truth(airport, folder, budget=200)
        >>> written = run_truth(airport, folder, progress=False)
        >>> check_truth(folder).complete
        True
        >>> load_truth(folder, airport).shape
        (3, 30, 1)
    """
    plan = truth_plan(folder)
    if problem is not None:
        _check_problem(plan, problem)
    first = _first_pass(folder)
    second = plan.folder / SECOND
    if not second.is_dir():
        return first
    return _merged(first, plan.config, _first_pass(second), shards.open_job(second).config)


def verify_truth(
    problem: Problem, folder: str | PathLike[str], *, row: int | None = None, seed: int = 0
) -> float:
    """Recompute one explicand of a stored truth and compare.

    Args:
        problem: The problem that the folder was planned for.
        folder: A checked truth.
        row: Position of the explicand; a random one when None.
        seed: Seed of the random choice.

    Returns:
        Largest difference to the stored values, relative to max(1, |value|).

    Raises:
        ValueError: If there is no such row, or it exceeds 1e-5: rows, model, versions or files are
            not what they were.
    """
    plan = shards.open_job(folder)
    stored = _first_pass(folder)
    if row is None:
        row = int(stream(seed, 0, purpose=31).integers(plan.n_items))
    if not 0 <= row < plan.n_items:
        raise ValueError(f"row={row}; {folder} holds rows 0 to {plan.n_items - 1}.")
    again = truth_work(plan, problem)([row])["values"]
    kept = stored.values[row : row + 1, : again.shape[1]]
    gap = float(((again - kept).abs() / kept.abs().clamp(min=1.0)).max())
    if not gap <= TOLERANCE:
        raise ValueError(
            f"explicand {row} of {folder} does not verify: recomputed values differ by {gap:.3g} "
            f"relative to max(1, |value|), more than {TOLERANCE:g}. Passport: "
            f"{json.dumps(plan.config['versions'])}."
        )
    return gap


def _first_pass(folder: str | PathLike[str]) -> Explanation:
    said = shards.open_job(folder).config
    return stack([_explanation(tensors, said) for _, tensors in shards.each_shard(folder)])


def _merged(first: Explanation, one: Any, second: Explanation, two: Any) -> Explanation:  # noqa: ANN401
    """Both passes, weighted by budgets, where there was a second one."""
    rows = torch.tensor(two["rows"])
    share = two["budget"] / (one["budget"] + two["budget"])
    assert first.std_errors is not None  # an exact truth has no second pass
    assert second.std_errors is not None
    n = second.shape[1]  # ragged explicands of the second pass may all be shorter

    def mixed(before: Tensor, after: Tensor, axis: int) -> Tensor:
        changed = before[rows]
        changed.narrow(axis, 0, n).mul_(1 - share).add_(share * after)
        return before.index_copy(0, rows, changed)

    variance = first.std_errors.square().clone()
    new = (1 - share) ** 2 * variance[rows, :n] + share**2 * second.std_errors.square()
    variance[rows, :n] = new
    silent = first.diagnostics["zero_spread"].clone()
    silent[rows, :n] &= second.diagnostics["zero_spread"]
    return dataclasses.replace(
        first,
        values=mixed(first.values, second.values, 1),
        std_errors=variance.sqrt(),
        n_evals=first.n_evals + second.n_evals,
        method=f"{first.method}, second pass of {two['budget']} on {len(rows)} explicands",
        diagnostics={
            "halves": mixed(first.diagnostics["halves"], second.diagnostics["halves"], 2),
            "zero_spread": silent,
        },
    )


def _tensors(truth: Explanation) -> dict[str, Tensor]:
    b, n, k = truth.shape
    values = truth.values
    halves = truth.diagnostics.get("halves", values[:, None].expand(b, 2, n, k))
    silent = truth.diagnostics.get("zero_spread", torch.zeros(b, n, k, dtype=torch.bool))
    mask = truth.player_mask
    return {
        "values": values,
        "std_errors": torch.zeros_like(values) if truth.std_errors is None else truth.std_errors,
        "base_values": values.new_zeros(b, k) if truth.base_values is None else truth.base_values,
        "halves": halves,
        "zero_spread": silent,
        "player_mask": torch.ones(b, n, dtype=torch.bool) if mask is None else mask,
        "exact": torch.full((b,), truth.exact),
        "n_evals": torch.full((b,), truth.n_evals),
    }


def _explanation(tensors: dict[str, Tensor], said: Any) -> Explanation:  # noqa: ANN401 - JSON
    exact, mask = bool(tensors["exact"].all()), tensors["player_mask"]
    sampled = {name: tensors[name] for name in ("halves", "zero_spread")}
    return Explanation(
        tensors["values"],
        game=said["game"],
        method="exact truth" if exact else f"sampled truth of {said['budget']} coalitions",
        exact=exact,
        base_values=tensors["base_values"],
        std_errors=None if exact else tensors["std_errors"],
        n_evals=int(tensors["n_evals"].max()),
        players=said["players"],
        outputs=said["outputs"],
        player_mask=None if bool(mask.all()) else mask,
        diagnostics={} if exact else sampled,
    )
