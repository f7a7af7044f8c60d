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
Seed = Annotated[int, typer.Option(min=0, help="Seed of split, model and sampling.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the job.")]


@truth_app.command("plan")
def truth_plan(
    folder: Folder,
    problem: Annotated[
        str,
        typer.Argument(help="A named problem, such as adult/mlp; texts with --target-model."),
    ],
    budget: Annotated[int, typer.Option(help="Coalitions per row.")] = 20_000,
    rows: Annotated[int, typer.Option(help="Rows to make truth of.")] = 32,
    shard_size: Annotated[int, typer.Option(help="Rows per shard.")] = 16,
    target_model: Annotated[
        str, typer.Option(help="Label a file of texts under this classifier instead.")
    ] = "",
    players: Annotated[str, typer.Option(help="texts: word, token or sentence.")] = "word",
    removal: Annotated[str, typer.Option(help="texts: drop, mask or pad.")] = "drop",
    pairs: Annotated[int, typer.Option(help="texts: antithetic pairs per text.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Go on and make it.")] = False,
    seed: Seed = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write down what is to be made, say what it will cost, and stop without --yes."""
    with friendly(debug, as_json):
        if target_model:
            from bench.cli_explainer import plan_labels

            facts, words = plan_labels(
                folder, problem, target_model=target_model, players=players, removal=removal,
                pairs=pairs, seed=seed, shard_size=shard_size,
            )  # fmt: skip
            _planned(folder, facts, words, yes, as_json)
            return
        from baselines import shards
        from bench.problems.catalogue import named_problem
        from bench.truth_jobs import plan_truth, truth_work

        named = named_problem(problem, b=rows)
        plan = plan_truth(named, folder, budget=budget, seed=seed, shard_size=shard_size)
        cost = shards.estimate(plan, truth_work(plan, named), probe=1)
        facts = {"folder": str(folder), "items": cost.items, "shards": cost.shards}
        facts |= {"pending": cost.pending, "hours": cost.hours, "bytes": cost.bytes}
        _planned(folder, facts, str(cost), yes, as_json)


@truth_app.command("run")
def truth_run(folder: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Make what is not made yet; start it again after any crash, and in as many processes."""
    with friendly(debug, as_json):
        written = _run(folder, progress=not as_json)
        words = f"wrote {len(written)} shards\nnext: harsanyi truth check {folder}"
        answer({"folder": str(folder), "written": written}, words, as_json)


@truth_app.command("check")
def truth_check(folder: Folder, as_json: Json = False, debug: Debug = False) -> None:
    """Read every shard; only this declares a truth fit for use (exit code 3 if it is not)."""
    with friendly(debug, as_json):
        found = _check(folder)
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


def _planned(folder: Path, facts: dict[str, Any], words: str, yes: bool, as_json: bool) -> None:
    """Say what was planned; with `yes`, make it at once."""
    if not yes:
        answer(facts, f"{words}\nnext: harsanyi truth run {folder}", as_json)
        return
    if not as_json:
        print(words)
    written = _run(folder, progress=not as_json)
    facts |= {"written": written}
    answer(facts, f"wrote {len(written)} shards\nnext: harsanyi truth check {folder}", as_json)


def _run(folder: Path, progress: bool) -> list[Any]:
    """Make what lacks of a truth or of labels: numbers or names of the shards written."""
    from bench.cli_explainer import is_label_store, run_labels

    if is_label_store(folder):
        return run_labels(folder, progress)
    from bench.truth_jobs import run_truth

    return run_truth(_planned_problem(folder), folder, progress=progress)


def _check(folder: Path) -> Any:  # noqa: ANN401 - a report of either kind
    from bench.cli_explainer import is_label_store

    if is_label_store(folder):
        from amortized import LabelStore

        return LabelStore(folder).check()
    from bench.truth_jobs import check_truth

    return check_truth(folder)


def _planned_problem(folder: Path) -> Any:  # noqa: ANN401 - a Problem
    from baselines import shards
    from bench.problems.catalogue import named_problem

    plan = shards.open_job(folder)
    return named_problem(str(plan.config["problem"]), b=plan.config["explicands"])
