"""`harsanyi truth`: plan, run, check and verify ground truth as a long job."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.faults import CHECK_FAILED, friendly

truth_app = typer.Typer(
    no_args_is_help=True, help="Ground truth as a long job: plan, run, check, verify."
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")]
Seed = Annotated[int, typer.Option(help="Seed of split, model and sampling.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the job.")]


@truth_app.command("plan")
def truth_plan(
    folder: Folder,
    problem: Annotated[str, typer.Argument(help="A named problem, such as adult/mlp.")],
    budget: Annotated[int, typer.Option(help="Coalitions per row.")] = 20_000,
    rows: Annotated[int, typer.Option(help="Rows to make truth of.")] = 32,
    shard_size: Annotated[int, typer.Option(help="Rows per shard.")] = 16,
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write down what is to be made, and say what it will cost."""
    with friendly(debug, as_json):
        from baselines import shards
        from bench.problems.catalogue import named_problem
        from bench.truth_jobs import plan_truth, truth_work

        named = named_problem(problem, b=rows)
        plan = plan_truth(named, folder, budget=budget, seed=seed, shard_size=shard_size)
        cost = shards.estimate(plan, truth_work(plan, named), probe=1)
        facts = {"folder": str(folder), "items": cost.items, "shards": cost.shards}
        facts |= {"pending": cost.pending, "hours": cost.hours, "bytes": cost.bytes}
        answer(facts, f"{cost}\nnext: harsanyi truth run {folder}", as_json)


@truth_app.command("run")
def truth_run(folder: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Make what is not made yet; start it again after any crash, and in as many processes."""
    with friendly(debug, as_json):
        from bench.truth_jobs import run_truth

        written = run_truth(_planned_problem(folder), folder, progress=not as_json)
        words = f"wrote {len(written)} shards\nnext: harsanyi truth check {folder}"
        answer({"folder": str(folder), "written": written}, words, as_json)


@truth_app.command("check")
def truth_check(folder: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Read every shard; only this declares a truth fit for use (exit code 3 if it is not)."""
    with friendly(debug, as_json):
        from bench.truth_jobs import check_truth

        found = check_truth(folder)
        facts = {"folder": str(folder), "complete": found.complete, "found": str(found)}
        answer(facts, str(found), as_json)
    if not found.complete:
        raise typer.Exit(CHECK_FAILED)


@truth_app.command("refine")
def truth_refine(
    folder: Folder,
    tolerance: Annotated[
        float, typer.Option(help="Half-width over root mean square value: 0.01 gold, 0.03 silver.")
    ] = 0.03,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plan a second pass over the rows of a checked truth that are not sharp enough."""
    with friendly(debug, as_json):
        from bench.truth_jobs import plan_second_pass

        plan = plan_second_pass(folder, tolerance=tolerance)
        words = "every row is sharp enough"
        facts: dict[str, Any] = {"folder": str(folder), "rows": []}
        if plan is not None:
            facts = {"folder": str(plan.folder), "rows": plan.config["rows"]}
            words = f"{plan.n_items} rows to do again\nnext: harsanyi truth run {plan.folder}"
        answer(facts, words, as_json)


@truth_app.command("verify")
def truth_verify(
    folder: Folder,
    row: Annotated[int | None, typer.Option(help="Row to recompute; a random one else.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Recompute one row of a checked truth and compare."""
    with friendly(debug, as_json):
        from bench.truth_jobs import verify_truth

        gap = verify_truth(_planned_problem(folder), folder, row=row, seed=seed)
        words = f"verified: recomputed values differ by {gap:.2g} relative to max(1, |value|)"
        answer({"folder": str(folder), "gap": gap}, words, as_json)


def answer(facts: dict[str, Any], words: str, as_json: bool) -> None:
    """Print what a command found: one JSON object for programs, words for people.

    Args:
        facts: Plain JSON values.
        words: The same for people.
        as_json: Which of the two.
    """
    print(json.dumps(facts) if as_json else words)


def _planned_problem(folder: Path) -> Any:  # noqa: ANN401 - a Problem
    from baselines import shards
    from bench.problems.catalogue import named_problem

    plan = shards.open_job(folder)
    return named_problem(str(plan.config["problem"]), b=plan.config["explicands"])
