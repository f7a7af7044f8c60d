"""Laws of label stores: the same labels whoever made them, in however many sittings."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from amortized import LabelStore
from amortized.labelled import Labels
from amortized.pairs import pair_orders, pair_sums
from baselines import Explanation, TableGame, exact_shapley, permutation_shapley
from baselines.shards import pending
from tests.label_games import WordCounts, some_rows, some_texts, table_games, triple_games

ROOT = Path(__file__).resolve().parent.parent


def store(path, texts=None, pairs=1, **words) -> LabelStore:
    given = {"progress": False, "shard_size": 8, **words}
    return LabelStore(path).generate(WordCounts(), texts or some_texts(30), pairs, **given)


def same(one: Labels, two: Labels) -> bool:
    return one.names == two.names and all(
        torch.equal(getattr(one, name), getattr(two, name))
        for name in ("values", "counts", "pairs", "empty", "grand")
    )


def test_sums_of_pairs_are_unbiased_and_know_their_error() -> None:
    draws = torch.Generator().manual_seed(0)
    game = TableGame(torch.randn(1, 2**8, 2, generator=draws, dtype=torch.float64))
    exact = exact_shapley(game).values[0]
    means, variances = [], []
    for key in range(400):
        found = pair_sums(game, [key], [0], [4])
        mean = found["sums"][0] / 4
        means.append(mean)
        variances.append((found["squares"][0] / 4 - mean.square()) * 4 / 3 / 4)
    spread = torch.stack(means).std(0)
    z = (torch.stack(means).mean(0) - exact) / (spread / 400**0.5)
    assert float(z.abs().max()) < 4
    ratio = torch.stack(variances).mean() / spread.square().mean()
    assert 0.9 < float(ratio) < 1.1


def test_a_pair_is_exact_for_games_of_pairs_of_players() -> None:
    game = WordCounts(triples=0.0)(some_texts(12, most=12))
    found = pair_sums(game, list(range(12)), [0] * 12, [1] * 12)
    assert not found["exact"].all()
    assert found["sums"].numpy() == pytest.approx(game.shapley().numpy(), abs=1e-12)


def test_enumeration_takes_over_where_it_costs_no_more() -> None:
    game = TableGame(torch.randn(1, 2**4, 1, generator=torch.Generator().manual_seed(1)))
    few, many = (pair_sums(game, [0], [0], [pairs]) for pairs in (2, 3))
    assert not few["exact"].item()
    assert many["exact"].item()
    assert int(many["coalitions"]) == 16
    exact = exact_shapley(game).values
    assert (many["sums"] / 3).numpy() == pytest.approx(exact.double().numpy(), abs=1e-6)


def test_pairs_of_an_example_depend_on_its_key_and_number_alone() -> None:
    whole = pair_orders(5, 7, 0, 6)
    assert torch.equal(whole[2:4], pair_orders(5, 7, 2, 4))
    assert not torch.equal(whole[:2], pair_orders(6, 7, 0, 2))
    assert torch.equal(whole.sort(-1).values, torch.arange(7).expand(6, -1))


def test_labels_do_not_depend_on_shards_order_or_company(tmp_path) -> None:
    rows, games = some_rows(30), triple_games()  # whose pairs of orders differ

    def made(name, given, size):
        store = LabelStore(tmp_path / name)
        return store.generate(games, given, shard_size=size, progress=False).labels()

    one, two, alone = made("a", rows, 8), made("b", rows.flip(0), 5), made("c", rows[7:8], 8)
    assert alone.values.numpy() == pytest.approx(one.select([7]).values.numpy(), abs=1e-6)
    mirrored = two.select(range(29, -1, -1))
    assert mirrored.values.numpy() == pytest.approx(one.values.numpy(), abs=1e-6)


def test_topping_up_equals_asking_for_all_at_once(tmp_path) -> None:
    texts = some_texts(20, most=12)
    grown = store(tmp_path / "a", texts, 4)
    LabelStore(tmp_path / "a").generate(WordCounts(), texts, 8, progress=False)
    whole = store(tmp_path / "b", texts, 8)
    assert len(grown.passes()) == 2
    one, two = grown.labels(), whole.labels()
    assert one.values.numpy() == pytest.approx(two.values.numpy(), abs=1e-6)
    sampled = ~two.exact
    assert one.pairs[sampled].tolist() == [8] * int(sampled.sum())
    assert one.coalitions[sampled].tolist() == two.coalitions[sampled].tolist()


def test_what_is_there_is_not_made_again_and_what_lacks_is(tmp_path) -> None:
    texts = some_texts(20)
    first = store(tmp_path, texts[:12])
    assert first.plan(WordCounts(), texts[:12]) is None
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    both = store(tmp_path, texts)
    assert len(both) == 20
    assert all(path.stat().st_mtime_ns == made for path, made in files.items())


def test_an_example_that_occurs_twice_is_labelled_once(tmp_path) -> None:
    texts = some_texts(5)
    assert len(store(tmp_path, texts + texts[:3]).labels()) == 5


def test_another_game_seed_teacher_or_leftover_is_refused(tmp_path) -> None:
    texts = some_texts(10)
    store(tmp_path, texts)
    with pytest.raises(ValueError, match="another game"):
        LabelStore(tmp_path).generate(WordCounts(seed=1), texts, progress=False)
    with pytest.raises(ValueError, match="not by"):
        LabelStore(tmp_path).generate(WordCounts(), texts, teacher=halves, progress=False)
    with pytest.raises(ValueError, match="resume=True"):
        LabelStore(tmp_path).generate(WordCounts(), texts, resume=False, progress=False)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ([], "empty"),
        (["good", "  "], "blank"),
        (["good", " \u200b\ufeff"], "example 1 is blank"),
        (["good", "half \ud83d"], "example 1 holds half a surrogate"),
        (["good", ("a", "b")], "not like the first"),
        ([1, 2], "is a int"),
        (torch.tensor([[1.0, torch.nan]]), "NaN"),
        (torch.zeros(3), "rows and features"),
    ],
)
def test_examples_that_cannot_be_labelled_are_named(tmp_path, given, error) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        LabelStore(tmp_path).generate(WordCounts(), given, progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["pairs", "seed", "shard_size"])
def test_counts_of_labels_are_integers(tmp_path, name) -> None:
    with pytest.raises(TypeError, match=f"{name}=1.5"):
        LabelStore(tmp_path).generate(WordCounts(), ["good"], progress=False, **{name: 1.5})


def test_a_pass_without_its_manifest_is_missed(tmp_path) -> None:
    texts = some_texts(12)
    store(tmp_path, texts[:4])
    store(tmp_path, texts[:8])
    store(tmp_path, texts)
    (tmp_path / "pass-001" / "manifest.json").unlink()
    for ask in (LabelStore.labels, LabelStore.check, len):
        with pytest.raises(ValueError, match="no manifest"):
            ask(LabelStore(tmp_path))
    shutil.rmtree(tmp_path / "pass-001")
    with pytest.raises(ValueError, match=r"lacks .'pass-001'"):
        LabelStore(tmp_path).labels()


def test_a_file_is_no_store(tmp_path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        LabelStore(tmp_path / "file")


def test_a_check_finds_missing_torn_and_changed_shards(tmp_path) -> None:
    made = store(tmp_path)
    whole = made.labels()
    shard = tmp_path / "pass-000" / "shards" / "000001.safetensors"
    for spoil in (shard.unlink, lambda: shard.write_bytes(b"torn"), lambda: flip(shard)):
        if not shard.exists():
            made.run(WordCounts(), progress=False)
        spoil()
        found = made.check()
        assert not found.complete
        assert "shard" in str(found)
        with pytest.raises(FileNotFoundError):
            made.labels()
        assert pending(made.passes()[0].plan) == [1]
        made.run(WordCounts(), progress=False)
        assert made.check().complete
        assert same(made.labels(), whole)


def test_a_check_finds_values_that_do_not_add_up(tmp_path, monkeypatch) -> None:
    from amortized import label_work

    def biased(*arguments):
        found = pair_sums(*arguments)
        return found | {"sums": found["sums"] * 1.1}

    monkeypatch.setattr(label_work, "pair_sums", biased)
    with pytest.raises(ValueError, match="do not sum to"):
        store(tmp_path)


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))


def test_non_finite_values_stop_the_job(tmp_path) -> None:
    class Broken(WordCounts):
        def __call__(self, texts):
            game = super().__call__(texts)
            game.single = game.single + torch.nan
            return game

    with pytest.raises(ValueError, match="NaN"):
        LabelStore(tmp_path).generate(Broken(), some_texts(4), progress=False)


def test_the_second_pass_goes_where_the_error_is_above_the_target(tmp_path) -> None:
    rows = some_rows(24, 10)
    games = table_games(10)
    made = LabelStore(tmp_path).generate(games, rows, 4, shard_size=8, progress=False)
    before = made.labels().label_variance().amax(1).sqrt()
    target = float(before.median())
    made.generate(games, rows, 4, std_error=target, progress=False)
    after = made.labels()
    loose = before > target
    assert 0 < int(loose.sum()) < 24
    assert torch.equal(after.pairs > 4, loose)
    assert float(after.label_variance().amax(1).sqrt().median()) < target


def test_one_pair_alone_says_nothing_of_its_error(tmp_path) -> None:
    made = store(tmp_path, some_texts(20, most=12), probe=False)
    assert made.labels().label_variance().isnan().any()
    with pytest.raises(ValueError, match="two pairs"):
        made.plan_second_pass(0.1)


def test_stores_of_different_seeds_merge_and_of_one_seed_do_not(tmp_path) -> None:
    rows, games = some_rows(12, 9), table_games(9)
    parts = []
    for seed in (0, 1):
        part = LabelStore(tmp_path / str(seed))
        parts.append(part.generate(games, rows, 2, seed=seed, progress=False))
    one, two = (part.labels() for part in parts)
    merged = LabelStore(tmp_path / "both").merge(parts[0]).merge(parts[1]).labels()
    assert merged.pairs.tolist() == [4] * 12
    assert merged.values.numpy() == pytest.approx(
        ((one.values + two.values) / 2).numpy(), abs=1e-6
    )
    with pytest.raises(ValueError, match="same seed"):
        LabelStore(tmp_path / "both").merge(parts[1])


def halves(texts: list[str]) -> Explanation:
    game = WordCounts()(texts)
    return Explanation(game.shapley() / 2, estimand="gradient", player_mask=game.player_mask)


def test_a_teacher_is_stored_as_it_speaks(tmp_path) -> None:
    texts = some_texts(10)
    made = LabelStore(tmp_path).generate(WordCounts(), texts, teacher=halves, progress=False)
    labels = made.labels()
    assert labels.estimand == "gradient"
    assert labels.exact.all()
    wanted = WordCounts()([str(text) for text in labels.examples])
    flat = (wanted.shapley() / 2)[wanted.player_mask]
    assert labels.values.numpy() == pytest.approx(flat.numpy(), abs=1e-6)


def test_a_noisy_teacher_keeps_its_standard_errors(tmp_path) -> None:
    games, rows = table_games(8), some_rows(6, 8)

    def sampled(x):
        return permutation_shapley(games(x), 72)

    made = LabelStore(tmp_path).generate(games, rows, teacher=sampled, progress=False)
    wanted = sampled(rows).std_errors.square().mean(1)
    labels = made.labels()
    own = labels.pair_variance / labels.pairs[:, None]
    assert own.numpy() == pytest.approx(wanted.float().numpy(), rel=1e-4)


def test_labels_are_a_dataset_and_one_parquet_file(tmp_path) -> None:
    import pandas as pd

    made = store(tmp_path / "s", some_texts(12))
    table = made.dataset()
    assert len(table) == 12
    assert len(table[0]["values"]) == len(table[0]["text"].split())
    made.to_parquet(tmp_path / "labels.parquet")
    frame = pd.read_parquet(tmp_path / "labels.parquet")
    assert frame["text"].tolist() == table["text"]
    with_pairs = frame[frame["pairs"] > 0]
    assert len(with_pairs) == 12


def test_rows_without_a_fingerprint_are_known_by_their_answers(tmp_path) -> None:
    rows = some_rows(10)
    made = LabelStore(tmp_path).generate(table_games(), rows, 2, progress=False)
    made.generate(table_games(), torch.cat([rows, some_rows(3, seed=9)]), 2, progress=False)
    assert len(made) == 13
    with pytest.raises(ValueError, match="another game"):
        made.generate(table_games(seed=1), rows, 2, progress=False)


def test_a_damaged_store_or_pass_is_refused(tmp_path) -> None:
    made = store(tmp_path)
    (tmp_path / "pass-000" / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="damaged"):
        made.passes()
    (tmp_path / "store.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        LabelStore(tmp_path)
    with pytest.raises(FileNotFoundError, match="generate"):
        LabelStore(tmp_path / "nothing").labels()


WORKER = """
import sys, time
sys.path.insert(0, {root!r})
import torch
torch.set_num_threads(1)
from amortized import LabelStore
from tests.label_games import WordCounts, some_texts

class Slow(WordCounts):
    def __call__(self, texts):
        time.sleep(0.02)
        return super().__call__(texts)

LabelStore({folder!r}).generate(Slow(), some_texts(96, most=14), 3, shard_size=4, progress=False)
"""


def start(folder: Path, world: int) -> list[subprocess.Popen]:
    code = WORKER.format(root=str(ROOT), folder=str(folder))
    return [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "RANK": str(rank),
                "WORLD_SIZE": str(world),
                "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]


@pytest.mark.slow
def test_labels_killed_at_random_and_resumed_are_the_same_bits(tmp_path) -> None:
    """Kills with -9 at random moments, each resumed with another number of processes.

    Three by default; `HARSANYI_KILLS=20` for the long run.
    """
    kills = int(os.environ.get("HARSANYI_KILLS", "3"))
    draws = random.Random(0)
    folder = tmp_path / "killed"
    killed = 0
    while killed < kills:
        workers = start(folder, draws.choice([1, 2, 3]))
        wait_for_work(folder, workers, draws.uniform(0.0, 0.25))
        alive = [worker for worker in workers if worker.poll() is None]
        for worker in alive:
            worker.send_signal(signal.SIGKILL)
        for worker in workers:
            worker.communicate()
        killed += bool(alive)
        if not alive:  # it got to the end: take shards away so that there is work to be killed in
            for shard in sorted((folder / "pass-000" / "shards").glob("*.safetensors"))[::2]:
                shard.unlink()
    last = start(folder, 2)
    assert [worker.communicate() and worker.returncode for worker in last] == [0, 0]
    class_ = WordCounts()
    whole = LabelStore(tmp_path / "whole").generate(
        class_, some_texts(96, most=14), 3, shard_size=4, progress=False
    )
    assert same(LabelStore(folder).labels(), whole.labels())
    one, two = (path / "pass-000" / "shards" for path in (folder, tmp_path / "whole"))
    for shard in sorted(two.glob("*.safetensors")):
        left, right = load_file(one / shard.name), load_file(shard)
        assert all(torch.equal(left[name], right[name]) for name in right)


def wait_for_work(folder: Path, workers: list[subprocess.Popen], extra: float) -> None:
    """Until a shard of this sitting is written or the workers end, and a random moment longer."""
    shards = folder / "pass-000" / "shards"
    before = len(list(shards.glob("*.safetensors"))) if shards.is_dir() else 0
    until = time.monotonic() + 60
    while time.monotonic() < until and any(worker.poll() is None for worker in workers):
        now = len(list(shards.glob("*.safetensors"))) if shards.is_dir() else 0
        if now > before:
            break
        time.sleep(0.01)
    time.sleep(extra)


def test_a_plan_says_what_labels_will_cost(tmp_path) -> None:
    made = LabelStore(tmp_path)
    made.plan(WordCounts(), some_texts(40, most=12), 2, shard_size=8)
    cost = made.cost(WordCounts())
    assert cost.evaluations > 40 * 5
    assert "evaluations" in str(cost)
    made.run(WordCounts(), progress=False)
    assert made.cost(WordCounts()).evaluations == 0
    assert json.loads((tmp_path / "store.json").read_text())["description"] == "word counts"
