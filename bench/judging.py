"""Judge the table of contenders on one named problem and leave a run's folder behind."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from baselines.shards import atomic_write

if TYPE_CHECKING:
    import pandas as pd

ESTIMATORS = ("permutation", "kernel-shap", "leverage-shap", "odd-gp")


def judge_problem(
    name: str,
    folder: Path,
    *,
    rows: int = 24,
    seed: int = 0,
    command: str = "",
    truth_budget: int = 20_000,
    guest: str = "",
    target_model: str = "",
) -> "pd.DataFrame":
    """Every sampling estimator at every budget on a named problem.

    Args:
        name: Such as `synthetic/airport` or `adult/mlp`.
        folder: Where leaderboard, explanations and page are written.
        rows: Rows to judge on.
        seed: Seed of truth and contenders.
        command: The command that repeats the run.
        truth_budget: Coalitions per row behind sampled truth.
        guest: One more contender, such as `my_model.py:explainer`.
        target_model: A text classifier of the user's, a folder or a name on the hub; `name` is
            then a set of texts such as `sst2`, or a file of texts.

    Returns:
        The leaderboard.

    Raises:
        ValueError: If there is no such problem.
    """
    from tqdm import tqdm

    from bench import contender_table, evaluate, ground_truth, leaderboard
    from bench.contenders import contender_from
    from bench.curves import removal_games
    from bench.demo import versions
    from bench.metrics import NotComparable
    from bench.problems.catalogue import named_problem
    from bench.provenance import provenance
    from bench.report import write_parquet, write_report

    folder.mkdir(parents=True, exist_ok=True)
    if target_model:
        from bench.problems.text import target_problem
        from bench.problems.text_data import load_texts

        problem = target_problem(name, target_model, load_texts(name, "test").first(rows, seed))
    else:
        problem = named_problem(name, b=rows)
    truth = ground_truth(problem, budget=truth_budget, seed=seed, progress=True)
    chosen = {
        label: contender
        for label, contender in contender_table().items()
        if label.split("@")[0] in ESTIMATORS
    }
    if guest:
        chosen[guest] = contender_from(guest)
    games = removal_games(problem)
    words = {"seed": seed, "games": games, "facts": {"command": command}}
    found = []
    for label, contender in tqdm(chosen.items(), desc="contenders"):
        try:
            found.append(evaluate(contender, problem, truth, name=label, **words))
        except NotComparable:  # a guest of another estimand: judged by what needs no truth
            if label != guest:
                raise
            found.append(evaluate(contender, problem, None, name=label, **words))
    board = leaderboard(found)
    write_parquet(folder / "leaderboard.parquet", board)
    truth.save(folder / "explanations.safetensors")
    note = {
        "title": f"{name}: explainers compared",
        "lead": "Sampling estimators at several budgets, judged against ground truth.",
        "made": {"command": command, **provenance(), "versions": versions()},
    }
    atomic_write(folder / "run.json", json.dumps(note, indent=1).encode())
    write_report(folder)
    return board
