"""Laws of the ground truth: right, honest about its noise, and the same bits whoever makes it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from baselines import Explanation, shards
from baselines.exact import exact_shapley
from bench.cli import app
from bench.problems.catalogue import named_problem
from bench.problems.exact_nets import exact_net
from bench.problems.problem import Problem
from bench.problems.synthetic import airport, glove, unanimity_sum
from bench.truth import ground_truth, merge_halves, row_truth, stack
from bench.truth_jobs import (
    check_truth,
    load_truth,
    looseness,
    plan_second_pass,
    plan_truth,
    run_truth,
    verify_truth,
)


def unknown(problem: Problem) -> Problem:
    """The problem without its known truth, so that it must be played."""
    return dataclasses.replace(problem, known=None)


@pytest.mark.parametrize(
    "problem",
    [
        unanimity_sum(9, b=3),
        airport(8, b=3),
        glove(3, 5),
        exact_net(10, b=2),
        exact_net(8, seed=1),
    ],
    ids=lambda p: p.name,
)
def test_known_truth_equals_enumeration(problem) -> None:
    found = exact_shapley(problem.game())
    assert ground_truth(problem).values.numpy() == pytest.approx(found.values.numpy(), abs=1e-12)


def test_truth_is_enumerated_up_to_sixteen_players_and_sampled_beyond() -> None:
    assert ground_truth(unknown(unanimity_sum(16, b=1))).exact
    beyond = ground_truth(unknown(unanimity_sum(17, b=1)), budget=2000)
    assert not beyond.exact
    assert beyond.std_errors is not None


def test_sampled_truth_is_within_its_standard_errors() -> None:
    problem = unanimity_sum(20, b=16)
    found, exact = ground_truth(unknown(problem), budget=8000), ground_truth(problem)
    seen = ~found.diagnostics["zero_spread"]
    z = ((found.values - exact.values) / found.std_errors)[seen]
    assert 0.8 < float(z.square().mean()) < 1.25
    assert seen.float().mean() > 0.9


def test_sampling_agrees_with_the_noise_free_truth_of_a_large_net() -> None:
    problem = exact_net(64, b=4)
    found, exact = ground_truth(unknown(problem), budget=16_000), ground_truth(problem)
    z = (found.values - exact.values) / found.std_errors
    assert 0.85 < float(z.square().mean()) < 1.15
    with pytest.raises(ValueError, match="units of 8"):
        exact_net(7)


def test_halves_are_independent_and_average_to_the_truth() -> None:
    problem = unanimity_sum(20, b=32)
    found, exact = ground_truth(unknown(problem), budget=4000), ground_truth(problem)
    halves = found.diagnostics["halves"]
    assert torch.equal(halves.mean(1), found.values)
    errors = (halves - exact.values[:, None]).flatten(2)
    correlation = np.corrcoef(errors[:, 0].flatten(), errors[:, 1].flatten())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(errors[:, 0].numel())


def test_a_truth_without_spread_does_not_claim_certainty() -> None:
    def additive(x):
        return unanimity_sum(20, max_order=1, b=len(x)).game_factory(x)

    problem = Problem("additive", torch.arange(2.0)[:, None], None, additive, scale="value")
    found = ground_truth(problem, budget=2000)
    assert found.diagnostics["zero_spread"].all()
    assert (found.std_errors > 0).all()  # pyright: ignore[reportOptionalOperand]
    assert torch.isfinite(found.std_errors).all()  # pyright: ignore[reportArgumentType]


def test_a_row_does_not_depend_on_the_rows_around_it() -> None:
    problem = unknown(airport(24, b=4))
    whole = ground_truth(problem, budget=1000)
    alone = row_truth(problem, 2, budget=1000)
    assert torch.equal(whole.values[2:3], alone.values)


def test_a_factory_of_one_whole_game_is_sampled_whole() -> None:
    known = airport(24, b=4)
    problem = Problem("whole", known.x, None, known.game, scale="value")
    whole = dataclasses.replace(problem, game_factory=lambda: known.game())
    found, exact = ground_truth(whole, budget=4000), ground_truth(known)
    z = ((found.values - exact.values) / found.std_errors)[~found.diagnostics["zero_spread"]]
    assert found.shape == (4, 24, 1)
    assert z.abs().max() < 5
    stubborn = dataclasses.replace(problem, game_factory=lambda x: known.game())
    with pytest.raises(ValueError, match="4 explicands when given one"):
        ground_truth(stubborn, budget=4000)


def test_too_small_a_budget_is_refused() -> None:
    problem = unknown(airport(24, b=1))
    with pytest.raises(ValueError, match="larger budget"):
        ground_truth(problem, budget=60)


def test_stacking_pads_shorter_explicands() -> None:
    short, long = (exact_shapley(unanimity_sum(n, b=1).game()) for n in (3, 5))
    both = stack([short, long])
    assert both.shape == (2, 5, 1)
    assert both.player_mask is not None
    assert both.player_mask.sum(1).tolist() == [3, 5]
    assert torch.equal(both.values[0, :3], short.values[0])
    assert (both.values[0, 3:] == 0).all()


def test_merging_exact_halves_stays_exact() -> None:
    one = exact_shapley(unanimity_sum(4, b=1).game())
    assert merge_halves(one, one).exact


def job(folder: Path, b: int = 7, budget: int = 800) -> tuple[Problem, Path]:
    problem = unknown(airport(20, b=b))
    plan_truth(problem, folder, budget=budget, shard_size=2)
    return problem, folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "shards").iterdir())}


def test_resumed_and_divided_truth_is_the_same_bits(tmp_path) -> None:
    problem, whole = job(tmp_path / "whole")
    run_truth(problem, whole, progress=False)
    _, torn = job(tmp_path / "torn")
    run_truth(problem, torn, rank=1, world_size=2, progress=False)
    files = sorted((torn / "shards").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:100])  # killed while writing, without our rename
    assert not check_truth(torn).complete
    run_truth(problem, torn, rank=0, world_size=2, progress=False)
    assert check_truth(whole).complete
    assert check_truth(torn).complete
    assert content(whole) == content(torn)
    loaded, direct = load_truth(torn), ground_truth(problem, budget=800)
    assert torch.equal(loaded.values, direct.values)
    assert torch.equal(loaded.std_errors, direct.std_errors)  # pyright: ignore[reportArgumentType]
    assert torch.equal(loaded.diagnostics["halves"], direct.diagnostics["halves"])


def test_a_second_pass_sharpens_the_loose_rows_and_leaves_the_others(tmp_path) -> None:
    problem = unknown(unanimity_sum(18, b=6))
    plan_truth(problem, tmp_path, budget=1500, shard_size=2)
    run_truth(problem, tmp_path, progress=False)
    check_truth(tmp_path)
    first = load_truth(tmp_path)
    loose = looseness(first)
    tolerance = float(loose.median())  # so that some rows are sharp enough
    plan = plan_second_pass(tmp_path, tolerance=tolerance)
    assert plan is not None
    rows = plan.config["rows"]
    assert rows == [i for i in range(6) if loose[i] > tolerance]
    with pytest.raises(FileNotFoundError, match="check"):
        load_truth(tmp_path)
    run_truth(problem, plan.folder, progress=False)
    assert check_truth(plan.folder).complete
    both, exact = load_truth(tmp_path), ground_truth(unanimity_sum(18, b=6))
    others = [i for i in range(6) if i not in rows]
    assert torch.equal(both.values[others], first.values[others])
    assert (looseness(both)[rows] < loose[rows]).all()
    assert torch.allclose(both.diagnostics["halves"].mean(1), both.values)
    seen = ~both.diagnostics["zero_spread"]
    z = ((both.values - exact.values) / both.std_errors)[seen]
    assert 0.6 < float(z.square().mean()) < 1.6
    assert verify_truth(problem, plan.folder) == 0
    with pytest.raises(ValueError, match="second pass over some rows"):
        load_truth(plan.folder, problem)
    for row in (-1, 6):
        with pytest.raises(ValueError, match=f"row={row}"):
            verify_truth(problem, tmp_path, row=row)


def test_a_sharp_truth_needs_no_second_pass(tmp_path) -> None:
    problem = unknown(airport(8, b=2))
    plan_truth(problem, tmp_path)
    run_truth(problem, tmp_path, progress=False)
    check_truth(tmp_path)
    assert plan_second_pass(tmp_path) is None


def test_unchecked_truth_cannot_be_loaded(tmp_path) -> None:
    problem, folder = job(tmp_path)
    run_truth(problem, folder, progress=False)
    with pytest.raises(FileNotFoundError, match="check"):
        load_truth(folder)


def test_a_folder_refuses_another_problem_budget_or_seed(tmp_path) -> None:
    problem, folder = job(tmp_path)
    with pytest.raises(ValueError, match="budget"):
        plan_truth(problem, folder, budget=900, shard_size=2)
    with pytest.raises(ValueError, match="content_hash"):
        plan_truth(unknown(airport(20, b=7, seed=1)), folder, budget=800, shard_size=2)
    with pytest.raises(ValueError, match="rows, model or game differ"):
        run_truth(unknown(airport(20, b=7, seed=1)), folder, progress=False)


def test_verify_passes_what_stands_and_finds_what_does_not(tmp_path) -> None:
    problem, folder = job(tmp_path)
    run_truth(problem, folder, progress=False)
    check_truth(folder)
    assert verify_truth(problem, folder) == 0
    plan = shards.open_job(folder)

    def tampered(items):
        from bench.truth_jobs import truth_work

        tensors = truth_work(plan, problem)(items)
        return {**tensors, "values": tensors["values"] + 0.01}

    for shard in range(plan.n_shards):
        shards.run_shard(plan, shard, tampered)
    check_truth(folder)
    with pytest.raises(ValueError, match="does not verify"):
        verify_truth(problem, folder, row=3)


def test_a_passport_names_all_that_values_depend_on(tmp_path) -> None:
    _, folder = job(tmp_path)
    said = json.loads((folder / "manifest.json").read_text())["config"]
    assert {"content_hash", "game", "seed", "budget", "versions", "scale"} <= set(said)


def test_workers_of_the_command_line_make_the_same_truth(tmp_path) -> None:
    problem = named_problem("synthetic/airport", b=6)
    plan_truth(problem, tmp_path, shard_size=2)
    words = {"OMP_NUM_THREADS": "1", "RANK": "1", "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "bench.truth", "run", str(tmp_path)]
    # the rank that comes takes the work of the one that never does, too
    subprocess.run(command, env={**os.environ, **words}, check=True, capture_output=True)
    assert check_truth(tmp_path).complete
    assert torch.equal(load_truth(tmp_path).values, ground_truth(problem).values)


def test_a_stored_truth_judges_its_problem_and_no_other(tmp_path) -> None:
    folder, game = tmp_path / "truth", named_problem("synthetic/glove", b=3)
    words = ["--problem", "synthetic/glove", "--truth", str(folder)]
    plan_truth(game, folder, budget=500, seed=4)
    run_truth(game, folder, progress=False)
    assert "has not passed its check" in refused("--out", str(tmp_path / "early"), *words)
    check_truth(folder)
    asked = CliRunner().invoke(app, ["bench", *words, "--out", str(tmp_path / "run"), "--json"])
    assert asked.exit_code == 0, asked.output
    board = pd.DataFrame(json.loads(asked.stdout.splitlines()[-1]))
    stored = Explanation.load(tmp_path / "run" / "explanations.safetensors")
    assert torch.equal(stored.values, load_truth(folder, game).values)
    assert set(board["n_explicands"]) == {3}
    assert "holds the truth of 3" in refused("--rows", "5", *words)
    assert "rows, model or game differ" in refused(
        "--problem", "synthetic/airport", "--truth", str(folder), "--out", str(tmp_path / "other")
    )
    assert "--problem" in refused("--suite", "smoke", "--truth", str(folder))
    with pytest.raises(ValueError, match="rows, model or game differ"):
        load_truth(folder, named_problem("synthetic/airport", b=3))
    shards.plan_job(tmp_path / "labels", {"kind": "labels"}, 3, 2)
    with pytest.raises(ValueError, match="no ground truth"):
        load_truth(tmp_path / "labels")


def refused(*words: str) -> str:
    """What the command says when it refuses."""
    asked = CliRunner().invoke(app, ["bench", *words])
    assert asked.exit_code != 0
    return asked.output
