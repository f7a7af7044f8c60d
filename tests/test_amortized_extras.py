"""Laws of what amortized explainers do with peft and ray, where those are installed."""

import subprocess
import sys

import pytest
import torch

from amortized import AmortizedExplainer, LabelStore
from amortized.adapters import adapted
from amortized.labelled import Labels
from baselines import shards
from tests.label_games import WordCounts, some_texts
from tests.test_amortized import words
from tests.test_text import text_model

FEW = {"progress": False, "epochs": 2}


@pytest.fixture(scope="module")
def trained():
    """A model, its labels, the encoder's weights before training, and an explainer of rank 4."""
    pytest.importorskip("peft")
    model = text_model()
    labels = Labels.now(model, list(dict.fromkeys(words(80))), 2)
    made = AmortizedExplainer.from_target(model, lora=4)
    before = {name: one.clone() for name, one in made.encoder.state_dict().items()}
    return model, labels, before, made.fit(labels, **FEW)


def test_adapters_end_in_the_weights_and_a_saved_explainer_answers_alike(
    trained, tmp_path
) -> None:
    model, _, _, explainer = trained
    explainer.save_pretrained(tmp_path)
    again, info = AmortizedExplainer.from_pretrained(
        tmp_path, model=model, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert not any("lora" in name for name in again.state_dict())
    assert again.config.adapters == {"rank": 4}
    texts = words(9, seed=3)
    assert torch.equal(again.explain(texts).values, explainer.explain(texts).values)
    assert torch.equal(again.explain(texts[:1]).values, explainer.explain(texts[:1]).values)


def test_a_trained_folder_is_read_without_peft(trained, tmp_path) -> None:
    _, _, _, explainer = trained
    explainer.save_pretrained(tmp_path)
    script = (
        "import sys; sys.modules['peft'] = None\n"
        "from amortized import AmortizedExplainer\n"
        "print(float(AmortizedExplainer.from_pretrained(sys.argv[1]).explain(['good film'])"
        ".values.double().sum()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    told = float(explainer.explain(["good film"]).values.double().sum())
    assert float(ran.stdout) == pytest.approx(told, abs=1e-12)


def test_adapters_move_linear_maps_alone_by_a_change_of_low_rank(trained) -> None:
    _, _, before, explainer = trained
    after = explainer.encoder.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    for name in moved:
        change = (after[name] - before[name]).double()
        assert change.ndim == 2
        assert "embeddings" not in name
        size = torch.linalg.svdvals(change)
        assert float(size[4:].max()) < 1e-3 * float(size[0])


def test_what_validation_reads_is_what_training_trains() -> None:
    pytest.importorskip("peft")
    model = text_model()
    made = AmortizedExplainer.from_target(model, lora=4)
    encoder = made.encoder
    inputs = encoder.collate(encoder.read(words(5)))
    with adapted(made):
        for name, weight in encoder.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            without = encoder(inputs).players
        with torch.enable_grad():
            with_gradients = encoder(inputs).players
        assert torch.allclose(without, with_gradients, atol=1e-6)
    with torch.no_grad():
        merged = encoder(inputs).players
    assert torch.allclose(merged, without, atol=1e-4)


def test_a_training_that_fails_leaves_the_weights_as_they_were() -> None:
    pytest.importorskip("peft")
    made = AmortizedExplainer.from_target(text_model(), lora=4)
    before = {name: one.clone() for name, one in made.state_dict().items()}

    def broken() -> None:
        with adapted(made):
            for name, weight in made.encoder.named_parameters():
                if "lora_B" in name:
                    weight.data.fill_(1.0)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken()
    after = made.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(weight.requires_grad for weight in made.parameters())


def test_a_killed_training_of_adapters_continues_to_the_same_weights(trained, tmp_path) -> None:
    model, labels, _, whole = trained

    class Kill(Exception):
        pass

    made = AmortizedExplainer.from_target(model, lora=4)
    calls = []

    def counted(*given):
        calls.append(1)
        if len(calls) == 4:
            raise Kill
        return read(*given)

    read = made.predict
    made.predict = counted
    words = {**FEW, "checkpoint_dir": tmp_path}
    with pytest.raises(Kill):
        made.fit(labels, **words)
    again = AmortizedExplainer.from_target(model, lora=4).fit(labels, **words)
    texts = ["good film", "not a bad plot"]
    assert torch.equal(again.explain(texts).values, whole.explain(texts).values)


def make_words() -> WordCounts:
    """The model of `run_labels`, which every actor makes for itself."""
    return WordCounts()


@pytest.mark.filterwarnings("ignore")  # ray's own, of its own settings
def test_ray_actors_write_the_bytes_of_run_shard(tmp_path) -> None:
    ray = pytest.importorskip("ray")
    from amortized.ray_labels import run_labels

    model, texts = make_words(), some_texts(60)
    alone, pool = LabelStore(tmp_path / "alone"), LabelStore(tmp_path / "pool")
    for store in (alone, pool):
        store.plan(model, texts, shard_size=16)
    for one in alone.passes():
        for shard in shards.pending(one.plan):
            shards.run_shard(one.plan, shard, alone.work(one, model))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert run_labels(str(pool.path), make_words, workers=2) == 4
        assert run_labels(str(pool.path), make_words, workers=2) == 0
    finally:
        ray.shutdown()
    written = sorted(path.relative_to(alone.path) for path in alone.path.glob("pass-*/shards/*"))
    assert len(written) >= 4
    for path in written:
        assert (pool.path / path).read_bytes() == (alone.path / path).read_bytes()
    assert pool.check().complete
