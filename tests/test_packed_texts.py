"""Laws of texts that lie one behind the other: packing changes the cost of a pass and nothing else."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch.nn.utils import parametrizations, prune

from amortized import AmortizedExplainer, prepared
from amortized.objectives import normalise
from amortized.packed_texts import pack_texts
from tests.test_amortized import words
from tests.test_text import text_model

TEXTS = ["good film", "not a bad plot good", "bad", "good good good plot film a not", "film plot"]


def made(kind: str = "bert", **options) -> AmortizedExplainer:
    return AmortizedExplainer.from_target(text_model(kind), **options).double()


def both(explainer: AmortizedExplainer, texts: list):
    """What a collated batch and a packed one say."""
    encoder = explainer.encoder
    read = encoder.read(texts)
    with torch.no_grad():
        return explainer.predict(encoder.collate(read)), explainer.predict(encoder.pack(read))


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("head", ["linear", "mlp", "attention"])
def test_packed_texts_are_read_as_padded_ones(kind, head) -> None:
    explainer = made(kind, head=head, normalizer="additive")
    for texts in (TEXTS, TEXTS[:1], TEXTS[3:], words(20, seed=4)):
        padded, packed = both(explainer, texts)
        assert "attention_mask" not in explainer.encoder.pack(explainer.encoder.read(texts))
        assert torch.equal(padded.mask, packed.mask)
        assert torch.allclose(padded.values, packed.values, atol=1e-10)
        assert torch.allclose(padded.ends, packed.ends, atol=1e-10)
        scales = [said.log_scales[said.mask] for said in (padded, packed)]
        assert torch.allclose(*scales, atol=1e-10)


@pytest.mark.parametrize("normalizer", ["additive", "precision"])
def test_values_of_a_batch_are_those_of_each_text_alone(normalizer) -> None:
    explainer = made(normalizer=normalizer)
    together = both(explainer, TEXTS)[1]
    for row, text in enumerate(TEXTS):
        alone = both(explainer, [text])[1]
        n = alone.values.shape[1]
        assert torch.allclose(together.values[row, :n], alone.values[0], atol=1e-10)
        assert not together.values[row, n:].any()


def test_tiles_of_tokens_are_read_as_all_at_once(monkeypatch) -> None:
    explainer = made()
    whole = both(explainer, TEXTS)[1]
    monkeypatch.setattr(prepared, "TILE", 3)
    tiled = both(explainer, TEXTS)[1]
    assert torch.allclose(whole.values, tiled.values, atol=1e-10)


def test_pairs_of_texts_are_packed_too() -> None:
    explainer = made()
    padded, packed = both(explainer, [("good film", "a plot"), ("bad", "not a good film plot")])
    assert torch.allclose(padded.values, packed.values, atol=1e-10)


def test_a_packed_batch_has_no_token_more_than_its_texts() -> None:
    encoder = made().encoder
    read = encoder.read(TEXTS)
    packed = pack_texts(read)
    assert packed["input_ids"].shape == (1, sum(len(one.owners) for one in read))
    assert packed["lengths"].tolist() == sorted(len(one.owners) for one in read)


def test_gradients_of_packed_texts_are_those_of_padded_ones() -> None:
    explainer = made()
    for weight in explainer.parameters():
        weight.requires_grad_(True)
    encoder, found = explainer.encoder, []
    read = encoder.read(TEXTS)
    for inputs in (encoder.collate(read), encoder.pack(read)):
        explainer.zero_grad()
        said = explainer.predict(inputs)
        said.values.square().sum().backward()
        found.append([w.grad.clone() for w in explainer.parameters() if w.grad is not None])
    assert len(found[0]) == len(found[1]) > 20
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:1]])
def test_weights_that_change_between_passes_change_the_answer(texts) -> None:
    explainer = made()
    both(explainer, texts)
    key = explainer.encoder.network.encoder.layer[0].attention.self.key
    with torch.no_grad():
        key.weight.mul_(-1.0)
    padded, packed = both(explainer, texts)
    assert torch.allclose(padded.values, packed.values, atol=1e-10)
    with torch.no_grad():
        key.weight[1, 2] += 5.0
    padded, packed = both(explainer, texts)
    assert torch.allclose(padded.values, packed.values, atol=1e-10)
    key.weight.data = 3.0 * torch.randn(key.weight.shape, dtype=torch.float64)
    padded, packed = both(explainer, texts)
    assert torch.allclose(padded.values, packed.values, atol=1e-10)


def test_changes_that_leave_no_mark_on_a_weight_change_the_answer_too() -> None:
    """A fused optimizer, `.data` and numpy write without counting a version."""
    explainer = made()
    both(explainer, TEXTS)
    encoder = explainer.encoder
    weight = encoder.network.encoder.layer[0].attention.self.value.weight
    optimizer = torch.optim.AdamW(explainer.parameters(), lr=0.02, fused=True)
    explainer.predict(encoder.pack(encoder.read(TEXTS))).values.square().sum().backward()

    def held_by_numpy() -> None:
        weight.detach().numpy()[:] *= 0.5

    for change in (optimizer.step, optimizer.step, lambda: weight.data.mul_(-2), held_by_numpy):
        version = weight._version
        before = both(explainer, TEXTS)[1].values
        change()
        assert weight._version == version
        padded, packed = both(explainer, TEXTS)
        assert torch.allclose(padded.values, packed.values, atol=1e-10)
        assert not torch.allclose(packed.values, before, atol=1e-4)


def test_what_may_have_been_trained_keeps_no_copy() -> None:
    explainer = made()
    both(explainer, TEXTS)
    layer = explainer.encoder.reader.layers[0]
    explainer.predict(explainer.encoder.pack(explainer.encoder.read(TEXTS)))
    assert layer.project._turned is None


def test_threads_that_meet_a_changed_weight_all_read_the_new_one() -> None:
    maps = [torch.nn.Linear(6, 6).double() for _ in range(3)]
    side, tokens = prepared.SideBySide(*maps), torch.ones(4, 6, dtype=torch.float64)

    def reads() -> torch.Tensor:
        with torch.no_grad():
            return side(tokens)

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for turn in range(60):
                with torch.no_grad():
                    maps[turn % 3].weight.mul_(-1.1)
                    wanted = torch.cat([each(tokens) for each in maps], -1)
                for found in pool.map(lambda _: reads(), range(8)):
                    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
    finally:
        sys.setswitchinterval(usual)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_an_explainer_of_another_precision_is_loaded_in_it(tmp_path, dtype) -> None:
    explainer = AmortizedExplainer.from_target(text_model("bert")).to(dtype)
    explainer.save_pretrained(tmp_path)
    for options in ({}, {"dtype": dtype}):
        again = AmortizedExplainer.from_pretrained(tmp_path, **options)
        assert {p.dtype for p in again.parameters()} == {dtype}
        assert torch.equal(again.explain(TEXTS).values, explainer.explain(TEXTS).values)


def test_a_copy_reads_with_its_own_weights() -> None:
    explainer = made()
    both(explainer, TEXTS)
    other = copy.deepcopy(explainer)
    with torch.no_grad():
        for weight in explainer.encoder.network.parameters():
            weight.zero_()
    padded, packed = both(other, TEXTS)
    assert float(packed.values.abs().max()) > 0.1
    assert torch.allclose(padded.values, packed.values, atol=1e-10)


def test_a_family_of_other_parts_is_read_as_it_comes() -> None:
    explainer = made("gpt2")
    inputs = explainer.encoder.pack(explainer.encoder.read(TEXTS))
    assert "attention_mask" in inputs
    assert torch.isfinite(explainer.explain(TEXTS).values).all()


def test_an_explainer_keeps_one_copy_of_its_weights_until_they_change() -> None:
    explainer = made()
    both(explainer, TEXTS[:1])
    layer = explainer.encoder.reader.layers[0]
    held = layer.project._turned.weight
    both(explainer, TEXTS)
    assert layer.project._turned.weight is held
    assert held.is_contiguous()
    assert held.shape == (layer.layer.query.in_features, 3 * layer.layer.query.out_features)
    explainer.float()
    both(explainer, TEXTS)
    assert layer.project._turned.weight.dtype == torch.float32


def test_nobody_is_padding_where_no_mask_is_given() -> None:
    values = torch.randn(3, 4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole, everyone = torch.ones(3, 2, dtype=torch.float64), torch.ones(3, 4, dtype=torch.bool)
    for how in ("none", "additive", "precision"):
        said = normalise(values, whole, None, how, values)
        assert torch.allclose(said, normalise(values, whole, everyone, how, values), atol=1e-12)
        assert how == "none" or torch.allclose(said.sum(1), whole)


def test_pruned_and_parametrized_weights_are_read_as_they_are_now() -> None:
    explainer = made()
    before = both(explainer, TEXTS)[1].values
    layer = explainer.encoder.network.encoder.layer[0]
    prune.l1_unstructured(layer.attention.self.query, "weight", amount=0.5)
    prune.l1_unstructured(layer.attention.self.key, "weight", amount=0.9)
    parametrizations.weight_norm(layer.intermediate.dense)
    with torch.no_grad():
        layer.intermediate.dense.parametrizations.weight.original0.mul_(3.0)
    for texts in (TEXTS, TEXTS[:1]):
        padded, packed = both(explainer, texts)
        assert torch.allclose(padded.values, packed.values, atol=1e-10)
    assert not torch.allclose(both(explainer, TEXTS)[1].values, before, atol=1e-3)
