"""Laws of long jobs: whatever kills them, the table at the end is the same, and nothing bad passes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from baselines import shards
from baselines.fingerprints import content_hash, key_of
from baselines.shards import (
    atomic_write,
    check,
    each_shard,
    estimate,
    load,
    open_job,
    plan_job,
    run,
    run_shard,
)

ROOT = Path(__file__).resolve().parent.parent
N_ITEMS, SHARD = 23, 4


def work(items):
    """Noise keyed by the item, as every job must draw it."""
    rows = [
        torch.randn(
            3, generator=torch.Generator().manual_seed(key_of(7, item)), dtype=torch.float64
        )
        for item in items
    ]
    return {"values": torch.stack(rows), "rows": torch.ones(len(rows), dtype=torch.int64)}


def planned(folder: Path, **changes) -> shards.Plan:
    arguments = {"config": {"seed": 7, "budget": 100}, "items": N_ITEMS, "shard_size": SHARD}
    return plan_job(folder, **(arguments | changes))


@pytest.fixture
def finished(tmp_path: Path) -> shards.Plan:
    plan = planned(tmp_path / "job")
    run(plan, work, progress=False)
    return plan


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    return work(range(N_ITEMS))["values"]


def files(plan: shards.Plan) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (plan.folder / "shards").iterdir()}


def test_results_come_back_in_the_order_of_the_items(finished, expected):
    assert check(finished).complete
    loaded = load(finished.folder)
    assert torch.equal(loaded["values"], expected)
    assert torch.equal(loaded["item"], torch.arange(N_ITEMS))


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_any_number_of_processes_leaves_the_same_bytes(tmp_path, finished, world):
    plan = planned(tmp_path / "other")
    for rank in range(world):
        run(plan, work, rank=rank, world_size=world, progress=False)
    assert files(plan) == files(finished)


def test_a_worker_finishes_what_others_left(tmp_path):
    plan = planned(tmp_path)
    assert sorted(run(plan, work, rank=1, world_size=3, progress=False)) == list(range(6))
    assert run(plan, work, rank=0, world_size=3, progress=False) == []


def test_a_worker_starts_with_its_own_shards(tmp_path):
    order = []
    run(
        planned(tmp_path),
        lambda items: order.append(items[0] // SHARD) or work(items),
        rank=1,
        world_size=2,
        progress=False,
    )
    assert order == [1, 3, 5, 4, 2, 0]


def test_rank_and_world_size_come_from_the_launcher(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert run(planned(tmp_path), work, progress=False)[0] == 1
    monkeypatch.setenv("RANK", "2")
    with pytest.raises(ValueError, match="rank=2"):
        run(planned(tmp_path), work, progress=False)


def test_a_second_run_does_nothing(finished):
    before = files(finished)
    assert run(finished, work, progress=False) == []
    assert files(finished) == before


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],  # torn
        lambda content: b"",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),  # one flipped bit
        lambda content: b"\xff" * len(content),
    ],
    ids=["torn", "empty", "bit", "noise"],
)
def test_a_damaged_shard_is_found_and_done_again(finished, expected, damage):
    path = finished.path(2)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    report = check(finished)
    assert list(report.corrupt) == [2]
    assert not report.complete
    assert run(finished, work, progress=False) == [2]
    assert path.read_bytes() == whole
    assert check(finished).complete
    assert torch.equal(load(finished.folder)["values"], expected)


def test_a_missing_shard_is_named(finished):
    finished.path(1).unlink()
    report = check(finished)
    assert report.missing == (1,)
    assert "missing" in str(report)
    assert not report.complete


def test_a_shard_in_another_shards_place_is_found(finished):
    finished.path(1).write_bytes(finished.path(0).read_bytes())
    assert list(check(finished).corrupt) == [1]


def test_a_shard_of_another_job_is_found(tmp_path, finished):
    other = planned(tmp_path / "other", config={"seed": 8})
    run(other, work, progress=False)
    finished.path(1).write_bytes(other.path(1).read_bytes())
    assert list(check(finished).corrupt) == [1]


def test_an_item_that_occurs_twice_is_found(finished):
    """A shard whose checksum is right and whose items are not: a faulty writer, not a faulty disk."""
    tensors = load_file(finished.path(1))
    tensors["item"][1] = tensors["item"][0]
    about = {"plan": finished.fingerprint, "shard": 1, "content": content_hash(tensors)}
    save_file(tensors, finished.path(1), metadata={"harsanyi": json.dumps(about)})
    report = check(finished)
    assert not report.complete
    assert "other items" in report.corrupt[1]
    assert report.duplicates == (4,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_value_is_found_and_redone_on_request(tmp_path, expected, bad):
    def poisoned(items):
        results = work(items)
        results["values"][[item == 9 for item in items]] = bad
        return results

    plan = planned(tmp_path)
    run(plan, poisoned, progress=False)
    assert check(plan).non_finite == (9,)
    with pytest.raises(FileNotFoundError, match="not passed its check"):
        load(plan.folder)
    assert run(plan, work, redo=[9 // SHARD], progress=False) == [2]
    assert check(plan).complete
    assert torch.equal(load(plan.folder)["values"], expected)


def test_a_file_that_does_not_belong_is_found(finished):
    (finished.folder / "shards" / "000001 (copy).safetensors").write_bytes(b"")
    assert check(finished).strays == ("000001 (copy).safetensors",)


def test_only_a_check_declares_success_and_a_failed_one_takes_it_back(finished):
    with pytest.raises(FileNotFoundError, match="not passed its check"):
        load(finished.folder)
    check(finished)
    assert load(finished.folder)
    run_shard(finished, 0, work)
    with pytest.raises(FileNotFoundError, match="not passed its check"):
        load(finished.folder)
    check(finished)
    finished.path(0).unlink()
    check(finished)
    with pytest.raises(FileNotFoundError, match="not passed its check"):
        load(finished.folder)


def test_damage_after_the_check_is_refused_on_reading(finished):
    check(finished)
    finished.path(3).write_bytes(b"torn")
    with pytest.raises(ValueError, match="shard 3"):
        load(finished.folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"config": {"seed": 8, "budget": 100}}, "seed"),
        ({"config": {"seed": 7}}, "budget"),
        ({"items": N_ITEMS + 1}, "n_items"),
        ({"items": [f"text {i}" for i in range(N_ITEMS)]}, "items_hash"),
        ({"shard_size": 5}, "shard_size"),
    ],
)
def test_a_changed_configuration_is_refused_by_name(finished, changes, named):
    with pytest.raises(ValueError, match=named):
        planned(finished.folder, **changes)
    assert planned(finished.folder) == finished == open_job(finished.folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 99}', b'{"format": 1}', b"\xff"])
def test_a_damaged_manifest_is_refused(finished, content):
    (finished.folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json"):
        open_job(finished.folder)


def test_a_folder_without_a_job_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="plan the job first"):
        check(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"items": 0}, ValueError),
        ({"items": []}, ValueError),
        ({"items": ["a", "b", "a"]}, ValueError),
        ({"shard_size": 0}, ValueError),
        ({"config": {"rate": float("nan")}}, TypeError),
        ({"config": {"model": object()}}, TypeError),
    ],
)
def test_an_unusable_plan_is_refused(tmp_path, arguments, error):
    with pytest.raises(error, match=r"items|shard_size|config"):
        planned(tmp_path, **arguments)
    assert not (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(
    ("results", "error"),
    [
        ({}, ValueError),
        (None, ValueError),
        ({"values": [1.0] * SHARD}, TypeError),
        ({"values": torch.zeros(SHARD + 1)}, ValueError),
        ({"values": torch.tensor(0.0)}, ValueError),
        ({"item": torch.zeros(SHARD)}, ValueError),
    ],
)
def test_work_that_returns_the_wrong_thing_is_refused(tmp_path, results, error):
    with pytest.raises(error, match="work returned"):
        run_shard(planned(tmp_path), 0, lambda items: results)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_shards_of_different_widths_are_read_one_by_one(tmp_path):
    plan = planned(tmp_path)
    run(plan, lambda items: {"wide": torch.ones(len(items), 1 + items[0])}, progress=False)
    check(plan)
    with pytest.raises(ValueError, match="each_shard"):
        load(tmp_path)
    widths = [tensors["wide"].shape[1] for _, tensors in each_shard(tmp_path)]
    assert widths == [1, 5, 9, 13, 17, 21]


def test_an_estimate_counts_only_what_is_left(finished):
    finished.path(5).unlink()  # the short one, of three items
    cost = estimate(finished, lambda items: time.sleep(0.01 * len(items)) or work(items))
    assert (cost.items, cost.shards, cost.pending) == (N_ITEMS, 6, 1)
    assert 0.03 <= cost.hours * 3600 <= 0.3
    assert cost.bytes == N_ITEMS * (3 * 8 + 8)


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    target = tmp_path / "result.json"
    atomic_write(target, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(target, b"new, and longer")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert target.read_bytes() == b"old"


def test_a_full_disk_costs_one_shard(tmp_path, monkeypatch, expected):
    plan, replace, written = planned(tmp_path), Path.replace, []

    def full_after_two(self, target):
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        written.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full_after_two)
    with pytest.raises(OSError, match="No space left"):
        run(plan, work, progress=False)
    monkeypatch.undo()
    assert sorted(files(plan)) == ["000000.safetensors", "000001.safetensors"]
    assert run(plan, work, progress=False) == [2, 3, 4, 5]
    assert check(plan).complete
    assert torch.equal(load(tmp_path)["values"], expected)


def test_an_atomic_file_has_ordinary_permissions(tmp_path):
    atomic_write(tmp_path / "atomic", b"")
    (tmp_path / "ordinary").write_bytes(b"")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


def test_what_a_killed_worker_left_is_swept_and_what_others_write_is_not(finished):
    folder = finished.folder / "shards"
    for name, age in (("old", 2 * shards.STALE_SECONDS), ("new", 0.0)):
        (folder / f".{name}.tmp").write_bytes(b"")
        then = time.time() - age
        os.utime(folder / f".{name}.tmp", (then, then))
    run(finished, work, progress=False)
    assert not (folder / ".old.tmp").exists()
    assert (folder / ".new.tmp").exists()
    assert check(finished).complete


SLOW_WORKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from tests.test_shards import planned, work
from pathlib import Path
from baselines.shards import run
def slow(items):
    time.sleep(0.02)
    return work(items)
print("started", flush=True)
run(planned(Path(sys.argv[2])), slow, rank=int(sys.argv[3]), world_size=int(sys.argv[4]), progress=False)
"""


def start_worker(folder: Path, rank: int, world: int) -> subprocess.Popen:
    command = [sys.executable, "-c", SLOW_WORKER, ROOT, folder, str(rank), str(world)]
    worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "started\n"
    return worker


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_run_killed_at_random_and_resumed_leaves_the_same_bytes(tmp_path, finished, kills):
    folder, chance = tmp_path / "killed", random.Random(kills)
    planned(folder)
    for _ in range(kills):
        worker = start_worker(folder, 0, chance.choice([1, 2]))
        time.sleep(chance.uniform(0.0, 0.1))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        for shard in chance.sample(range(6), 2):  # so that there is always something left to kill
            planned(folder).path(shard).unlink(missing_ok=True)
    plan = planned(folder)
    run(plan, work, rank=1, world_size=3, progress=False)
    kept = {name: content for name, content in files(plan).items() if name[0] != "."}
    assert kept == files(finished)
    assert check(plan).complete


def test_two_processes_in_one_folder_leave_the_same_bytes(tmp_path, finished):
    folder = tmp_path / "shared"
    workers = [start_worker(folder, 0, 1), start_worker(folder, 0, 1)]
    assert [worker.communicate() and worker.returncode for worker in workers] == [0, 0]
    assert files(planned(folder)) == files(finished)


def test_content_hash_is_that_of_the_content():
    tensor = torch.arange(6.0).reshape(2, 3)
    same = [tensor, tensor.clone(), tensor.T.contiguous().T, tensor.numpy()]
    assert len({content_hash(one) for one in same}) == 1
    differs = [
        tensor, tensor + 0.0001, tensor.reshape(3, 2), tensor.double(), tensor.T, [tensor], "a",
        ["a"], ["a", "b"], ["ab"], b"a", 1, 1.0, True, None, "1", {"a": 1}, {"a": "1"}, [], {}, (), "",
        tensor.bfloat16(), np.array(["a", "b"]), np.array(["ab"]),
    ]  # fmt: skip
    hashes = [content_hash(one) for one in differs]
    assert len(set(hashes)) == len(differs) - 1  # an empty list and an empty tuple are alike
    assert content_hash({"a": 1, "b": 2}) == content_hash({"b": 2, "a": 1})
    with pytest.raises(TypeError, match="set"):
        content_hash({1, 2})


def test_content_hash_of_a_module_follows_its_weights():
    module = torch.nn.Linear(2, 2)
    before = content_hash(module)
    assert content_hash(module.eval()) == before
    with torch.no_grad():
        module.weight[0, 0] += 1
    assert content_hash(module) != before


def test_keys_of_items_are_fixed_for_ever():
    """Golden: a stored table depends on it."""
    assert key_of(7, 3) == GOLDEN_KEY
    assert len({key_of(seed, item) for seed in range(10) for item in range(100)}) == 1000
    assert all(0 <= key_of(0, item) < 2**63 for item in range(100))


GOLDEN_KEY = 8167314353293361345
