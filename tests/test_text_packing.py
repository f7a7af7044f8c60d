"""Laws of packed evaluation: the same values as the plain model, whatever is left out or shared."""

import pytest
import torch

from baselines import TextModel, exact_shapley, permutation_shapley
from baselines.text_encoders import FirstTokenEncoder
from baselines.text_networks import ByAttention, ByDropping
from baselines.text_packing import distinct_rows
from tests.test_text import TEXTS, classifier, text_model, wordpiece

transformers = pytest.importorskip("transformers")

SIZE = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_labels": 3,
    "max_position_embeddings": 26,
    "initializer_range": 0.6,
    "pad_token_id": 0,
}
FAMILIES = {
    "bert": (transformers.BertForSequenceClassification, transformers.BertConfig, {}),
    "roberta": (
        transformers.RobertaForSequenceClassification,
        transformers.RobertaConfig,
        {"type_vocab_size": 2},
    ),
    "electra": (
        transformers.ElectraForSequenceClassification,
        transformers.ElectraConfig,
        {"embedding_size": 8},
    ),
    "deberta": (
        transformers.DebertaV2ForSequenceClassification,
        transformers.DebertaV2Config,
        {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "type_vocab_size": 2},
    ),
    "modernbert": (
        transformers.ModernBertForSequenceClassification,
        transformers.ModernBertConfig,
        {"local_attention": 64, "global_attn_every_n_layers": 2, "classifier_pooling": "mean"},
    ),
    "narrow modernbert": (
        transformers.ModernBertForSequenceClassification,
        transformers.ModernBertConfig,
        {"local_attention": 4, "global_attn_every_n_layers": 2},
    ),
    "llama": (
        transformers.LlamaForSequenceClassification,
        transformers.LlamaConfig,
        {"num_key_value_heads": 1},
    ),
    "deep bert": (
        transformers.BertForSequenceClassification,
        transformers.BertConfig,
        {"num_hidden_layers": 4},
    ),
    "one layer": (
        transformers.BertForSequenceClassification,
        transformers.BertConfig,
        {"num_hidden_layers": 1},
    ),
}
READERS = {
    "bert": FirstTokenEncoder,
    "roberta": FirstTokenEncoder,
    "distilbert": FirstTokenEncoder,
    "electra": FirstTokenEncoder,
    "deep bert": FirstTokenEncoder,
    "one layer": FirstTokenEncoder,
    "deberta": ByAttention,
    "modernbert": ByDropping,
    "narrow modernbert": ByAttention,
    "gpt2": ByDropping,
    "llama": ByDropping,
}
DECODERS = ("gpt2", "llama")


def network(kind: str):
    if kind in ("distilbert", "gpt2"):
        return classifier(kind)
    model, config, options = FAMILIES[kind]
    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = model(config(**SIZE | options))
        for name, parameter in net.named_parameters():
            if name.endswith("bias"):  # zero at first, which would hide a lost bias
                parameter.data.normal_(std=0.3)
    return net.eval()


def family(kind: str, **options) -> TextModel:
    tokenizer = wordpiece(framed=kind not in DECODERS)
    if kind in ("distilbert", *DECODERS, "modernbert", "narrow modernbert"):
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    net = network(kind)
    return TextModel(net.to(options.pop("dtype", torch.float32)), tokenizer, **options)


def masks_for(game, m: int = 40) -> torch.Tensor:
    drawn = torch.rand(game.n_explicands, m, game.n_players, generator=torch.manual_seed(3))
    return drawn < torch.linspace(0, 1.2, m)[None, :, None]


@pytest.mark.parametrize("removal", ["drop", "mask", "pad"])
@pytest.mark.parametrize("kind", READERS)
def test_packed_values_are_those_of_the_plain_model(kind, removal):
    if removal == "pad" and kind in DECODERS:
        pytest.skip("a decoder that reads out at its last token never attends to padding")
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float64, 1e-10)):
        packed = family(kind, removal=removal, players="token", batch_tokens=60, dtype=dtype)
        plain = family(kind, removal=removal, players="token", packed=False, dtype=dtype)
        games = packed(TEXTS), plain(TEXTS)
        masks = masks_for(games[0])
        values = [game(masks) for game in games]
        torch.testing.assert_close(values[0], values[1], atol=tolerance, rtol=tolerance)
        assert values[0].dtype == dtype
        assert values[0].std(1).min() > 1e-3  # the coalition matters


@pytest.mark.parametrize("kind", READERS)
def test_each_family_is_read_the_fastest_way_that_is_right_for_it(kind):
    model = family(kind, removal="drop")
    game = model(TEXTS)
    assert type(model.reader(game.table)) is READERS[kind]


def test_a_network_that_pools_in_its_own_way_falls_back_to_the_plain_one():
    class MeanPooled(transformers.BertForSequenceClassification):
        def forward(self, input_ids, attention_mask=None, position_ids=None, **rest):
            hidden = self.bert(input_ids, attention_mask, position_ids=position_ids, **rest)[0]
            weight = attention_mask[..., None]
            answer = self.classifier((hidden * weight).sum(1) / weight.sum(1))
            return transformers.modeling_outputs.SequenceClassifierOutput(logits=answer)

    base = classifier("bert")
    odd = MeanPooled(base.config).eval()
    odd.load_state_dict(base.state_dict())
    model = TextModel(odd, wordpiece(), removal="drop")
    game = model(TEXTS)
    assert not isinstance(model.reader(game.table), FirstTokenEncoder)
    plain = TextModel(odd, wordpiece(), removal="drop", packed=False)(TEXTS)
    masks = masks_for(game)
    torch.testing.assert_close(game(masks), plain(masks), atol=1e-5, rtol=1e-5)


def test_many_rows_of_one_text_share_their_first_attention_and_change_nothing():
    model = text_model("bert", removal="drop", players="token")
    model.network.double()
    game = model(TEXTS[2])
    masks = torch.rand(1, 400, game.n_players, generator=torch.manual_seed(0)) < 0.5
    plain = TextModel(
        model.network, model.tokenizer, removal="drop", players="token", packed=False
    )
    torch.testing.assert_close(game(masks), plain(TEXTS[2])(masks), atol=1e-10, rtol=1e-10)
    # scores so far apart that a sum of weights may vanish are taken row by row
    sharp = model.network.bert.encoder.layer[0].attention.self
    sharp.query.weight.data *= 60
    torch.testing.assert_close(game(masks), plain(TEXTS[2])(masks), atol=1e-8, rtol=1e-8)


def test_rows_of_several_texts_share_their_own_first_attention():
    model = text_model("bert", removal="drop", players="token")
    plain = TextModel(
        model.network, model.tokenizer, removal="drop", players="token", packed=False
    )
    texts = [TEXTS[0], TEXTS[2]]
    game = model(texts)
    masks = torch.rand(2, 80, game.n_players, generator=torch.manual_seed(0)) < 0.5
    torch.testing.assert_close(game(masks), plain(texts)(masks), atol=2e-5, rtol=2e-5)


def test_the_same_request_has_the_same_bits_and_a_row_asked_for_twice_is_read_once():
    model = text_model("bert", removal="drop", players="token")
    masks = masks_for(model(TEXTS))
    once, twice = model(TEXTS), model(TEXTS)
    values = once(masks)
    assert torch.equal(values, twice(masks))
    again = model(TEXTS)(torch.cat([masks, masks.flip(1)], 1))
    torch.testing.assert_close(again[:, :40], values)
    assert torch.equal(again[:, 40:], again[:, :40].flip(1))
    distinct = len(
        {
            (i, *row)
            for i, rows in enumerate((masks & once.player_mask[:, None]).tolist())
            for row in map(tuple, rows)
        }
    )
    assert once.n_evals == distinct


@pytest.mark.parametrize("n", [3, 70])
def test_distinct_rows_are_sorted_by_text_and_lead_back(n):
    masks = torch.rand(5, 30, n, generator=torch.manual_seed(0)) < 0.5
    masks[:, 7] = masks[:, 3]
    texts, rows, where = distinct_rows(masks)
    assert torch.equal(texts, texts.sort().values)
    flat = masks.flatten(0, 1)
    assert torch.equal(rows[where], flat)
    assert torch.equal(texts[where], torch.arange(5).repeat_interleave(30))
    assert len(
        {(t, *r) for t, r in zip(texts.tolist(), map(tuple, rows.tolist()), strict=True)}
    ) == len(rows)


def test_any_number_of_tokens_at_once_gives_the_same_values():
    masks = masks_for(text_model(removal="drop")(TEXTS))
    wanted = text_model(removal="drop")(TEXTS)(masks)
    for tokens in (1, 17, 64, 10_000):
        game = text_model(removal="drop", batch_tokens=tokens)(TEXTS)
        torch.testing.assert_close(game(masks), wanted, atol=1e-5, rtol=0)


def test_bfloat16_is_within_two_percent_of_the_spread_of_logits():
    model = family("deep bert", removal="drop", players="token")
    model.network.bert.encoder.requires_grad_(False)
    for parameter in model.network.parameters():
        parameter.data *= 0.5  # weights of the size that training gives
    half = TextModel(
        model.network, model.tokenizer, removal="drop", players="token", precision="bf16"
    )
    game, rough = model(TEXTS), half(TEXTS)
    masks = masks_for(game)
    values = game(masks)
    assert rough(masks).dtype == torch.float32
    gap = (rough(masks) - values).abs().mean()
    assert 0 < gap < 0.02 * values.std()
    assert "bfloat16" in rough.description
    assert half.fingerprint != model.fingerprint


def test_tokens_that_were_dropped_are_never_read():
    model = text_model("bert", removal="drop", players="token")
    game = model(["the film was not good"])
    read = []
    embeddings = model.network.bert.embeddings
    hook = embeddings.register_forward_hook(lambda m, a, out: read.append(out.shape[1]))
    widths = []
    layer = model.network.bert.encoder.layer[0].intermediate.dense
    other = layer.register_forward_hook(lambda m, a, out: widths.append(out.shape[0]))
    game(torch.tensor([[[True, False, False, True, False]]]))
    hook.remove()
    other.remove()
    assert widths[-1] == 4  # two words and two special tokens went through the layer


def test_a_decoder_without_special_tokens_reads_an_anchor_when_nobody_is_there():
    model = family("llama", removal="drop", players="token")
    game = model(["the film was good", "dull"])
    empty = torch.zeros(1, 1, game.n_players, dtype=torch.bool)
    values = game(empty)
    torch.testing.assert_close(values[0], values[1])  # nothing is left of either text
    anchor = torch.tensor([[model.tokenizer.cls_token_id]])
    wanted = model.network(input_ids=anchor).logits
    torch.testing.assert_close(values[0], wanted.detach(), atol=1e-5, rtol=1e-5)
    e = exact_shapley(game)
    assert torch.isfinite(e.values).all()


def test_one_pair_of_orders_over_many_texts_packs_across_them():
    model = text_model("bert", removal="drop", players="token", batch_tokens=10_000)
    calls = []
    layer = model.network.bert.encoder.layer[0].intermediate.dense
    hook = layer.register_forward_hook(lambda m, a, out: calls.append(out.shape[0]))
    texts = [text for text in TEXTS if len(text) > 6] * 6
    permutation_shapley(model(texts), budget=20)
    hook.remove()
    assert len(calls) <= 4
