"""Ground truth as a long job: plan, run in any number of processes, check, load, verify.

Each explicand is one item of a sharded job (`baselines.shards`), drawn from keys of its own, so
crashes, restarts and worker counts change no bit. The manifest is the truth's passport: hashes of
rows, model and value function, seed, budget and versions.

    python -m bench.truth plan FOLDER PROBLEM --budget 100000
    torchrun --nproc-per-node 2 -m bench.truth run FOLDER
"""

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from baselines import shards
from baselines.coalitions import stream
from baselines.explanation import Explanation
from bench.problems.problem import Problem, take
from bench.truth import EXACT_UP_TO, row_truth, stack

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
    said = plan.config
    if said["content_hash"] != problem.content_hash:
        raise ValueError(
            f"{plan.folder} holds truth of {said['problem']!r} ({said['content_hash']}), not of "
            f"{problem.name!r} ({problem.content_hash}): rows, model or game differ."
        )

    def work(items: Sequence[int]) -> dict[str, Tensor]:
        words = {name: said[name] for name in ("budget", "seed", "exact_up_to")}
        return _tensors(stack([row_truth(problem, row, **words) for row in items]))

    return work


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
    """
    plan = shards.open_job(folder)
    work = truth_work(plan, problem)
    return shards.run(plan, work, rank=rank, world_size=world_size, progress=progress)


def check_truth(folder: str | PathLike[str]) -> shards.Report:
    """Read every shard and say what is wrong; only this declares a truth fit for use.

    Args:
        folder: From `plan_truth`.
    """
    return shards.check(folder)


def load_truth(folder: str | PathLike[str]) -> Explanation:
    """The truth of a folder that passed its check.

    Args:
        folder: From `plan_truth`, run and checked.

    Returns:
        Values `(b, n, k)` as `ground_truth` gives them.

    Raises:
        FileNotFoundError: If there is no job, or no check has passed since the last change.
    """
    said = shards.open_job(folder).config
    return stack([_explanation(tensors, said) for _, tensors in shards.each_shard(folder)])


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
        ValueError: If it exceeds 1e-5: rows, model, versions or files are not what they were.
    """
    plan = shards.open_job(folder)
    stored = load_truth(folder)
    if row is None:
        row = int(stream(seed, 0, purpose=31).integers(len(problem)))
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
