"""Judge the table of contenders on one named problem and leave a run's folder behind."""

import contextlib
import functools
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from baselines.fingerprints import content_hash
from bench.board_jobs import BoardJob, Cell, Judged

if TYPE_CHECKING:
    import pandas as pd

    from baselines.explanation import Explanation
    from bench.problems.problem import Problem

ESTIMATORS = ("permutation", "kernel-shap", "leverage-shap", "odd-gp")


def judge_problem(
    name: str,
    folder: Path,
    *,
    rows: int | None = None,
    seed: int = 0,
    command: str = "",
    truth_budget: int = 20_000,
    truth_folder: str | PathLike[str] = "",
    guest: str = "",
    target_model: str = "",
    progress: bool = True,
) -> "pd.DataFrame":
    """Every sampling estimator at every budget on a named problem; a killed run goes on.

    Args:
        name: Such as `synthetic/airport` or `adult/mlp`.
        folder: Where cells, leaderboard, explanations and page are written.
        rows: Rows to judge on; 24, or those of the stored truth, when None.
        seed: Seed of truth and contenders.
        command: The command that repeats the run.
        truth_budget: Coalitions per row behind sampled truth.
        truth_folder: Judge against the truth that `harsanyi truth` left there, in place of
            drawing one.
        guest: One more contender, such as `my_model.py:explainer`.
        target_model: A text classifier of the user's, a folder or a name on the hub; `name` is
            then a set of texts such as `sst2`, or a file of texts.
        progress: Show bars.

    Returns:
        The leaderboard.

    Raises:
        FileNotFoundError: If the guest names a file that is not there, or the stored truth has
            not passed its check.
        ValueError: If there is no such problem or guest, the stored truth is of another problem
            or other rows, or the folder holds another run.
        GuestFailed: If the guest's code fails on two rows, before anything is judged; or on all
            of them, after the others have been judged and written down.
    """
    from bench import contender_table
    from bench.contenders import contender_from
    from bench.finishing import write_run
    from bench.guests import GuestFailed, try_out
    from bench.report import read_parquet
    from bench.truth_jobs import truth_plan

    if truth_folder:
        if target_model:
            raise ValueError(
                "a stored truth is of a named problem; it cannot judge a target model of yours."
            )
        made = truth_plan(truth_folder).n_items
        if rows is not None and rows != made:
            raise ValueError(f"rows={rows}; {truth_folder} holds the truth of {made}.")
        rows = made
    rows = 24 if rows is None else rows
    if guest:  # before anything is judged or planned: a mistake in it must cost nothing
        try_out(guest, contender_from(guest), _problem(name, rows, seed, target_model))
    chosen = [label for label in contender_table() if label.split("@")[0] in ESTIMATORS]
    words: dict[str, Any] = {
        "rows": rows, "seed": seed, "truth_budget": truth_budget, "truth_folder": str(truth_folder)
    }  # fmt: skip
    problem, truth = _problem_and_truth(name, target_model=target_model, **words)

    def judge(cell: Cell) -> Judged:
        return judge_contender(*cell, **words, command=command, target_model=target_model)

    cells = [(name, label) for label in [*chosen, *filter(None, [guest])]]
    config = {"problem": problem.content_hash, "seed": seed, "truth_budget": truth_budget}
    if truth_folder:
        config["truth"] = content_hash(truth.values)
    job = BoardJob("problem", cells, judge, {**config, "guest": _content(guest)})
    plan = job.plan(folder)
    failed: GuestFailed | None = None
    try:
        job.run(plan, progress=progress)
    except GuestFailed as error:  # judged last, so that everybody else is on the board
        failed = error
    truth.save(folder / "explanations.safetensors")
    write_run(
        folder,
        [one.evaluation for _, one in job.judged(plan)],
        title=f"{name}: explainers compared",
        lead="Sampling estimators at several budgets, judged against ground truth.",
        command=command,
    )
    if failed is not None:
        raise GuestFailed(f"{failed} The others are in {folder / 'report.html'}.")
    board = read_parquet(folder / "leaderboard.parquet")
    assert board is not None  # written above
    return board


def judge_contender(
    name: str,
    contender: str,
    *,
    rows: int,
    seed: int = 0,
    truth_budget: int,
    truth_folder: str = "",
    command: str = "",
    target_model: str = "",
) -> Judged:
    """One contender on one named problem.

    Args:
        name: Of the problem.
        contender: Of the table of contenders, or `FILE.py:NAME`.
        rows: Rows to judge on.
        seed: Seed of truth and contender.
        truth_budget: Coalitions per row behind sampled truth.
        truth_folder: Of a stored truth, in place of a drawn one.
        command: The command that repeats the run.
        target_model: As for `judge_problem`.
    """
    from bench import evaluate
    from bench.comparable import NotComparable
    from bench.contenders import contender_from
    from bench.curves import removal_games
    from bench.evaluation import MORE
    from bench.guests import blamed

    problem, truth = _problem_and_truth(name, rows, seed, truth_budget, target_model, truth_folder)
    found = contender_from(contender)
    guest = ":" in contender
    numbers = isinstance(problem.x, torch.Tensor) and problem.task != "game"
    words: dict[str, Any] = {
        "name": contender,
        "seed": seed,
        "games": removal_games(problem),
        "facts": {"command": command},
        "more": [kind for kind in MORE if kind != "sensitivity" or numbers],
    }
    with blamed(contender) if guest else contextlib.nullcontext():
        try:
            return Judged(evaluate(found, problem, truth, **words))
        except NotComparable:  # a guest of another estimand: judged by what needs no truth
            return Judged(evaluate(found, problem, None, **words))


@functools.lru_cache(maxsize=1)
def _problem(name: str, rows: int, seed: int, target_model: str) -> "Problem":
    from bench.problems.catalogue import named_problem

    if not target_model:
        return named_problem(name, b=rows)
    from bench.problems.text import target_problem
    from bench.problems.text_data import load_texts

    return target_problem(name, target_model, load_texts(name, "test").first(rows, seed))


@functools.lru_cache(maxsize=1)
def _problem_and_truth(
    name: str,
    rows: int,
    seed: int,
    truth_budget: int,
    target_model: str = "",
    truth_folder: str = "",
) -> "tuple[Problem, Explanation]":
    from bench import ground_truth, load_truth

    problem = _problem(name, rows, seed, target_model)
    if truth_folder:
        return problem, load_truth(truth_folder, problem)
    return problem, ground_truth(problem, budget=truth_budget, seed=seed, progress=True)


def _content(guest: str) -> str:
    """What a guest's file holds, so that an edited guest is judged anew in another folder."""
    path = Path(guest.rpartition(":")[0])
    return content_hash(path.read_bytes()) if path.is_file() else guest
