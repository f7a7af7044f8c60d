"""Laws of text games: who plays, what removal does, and that padding changes nothing."""

import json
import shutil

import pytest
import torch

from baselines import TextModel, exact_shapley, lime, occlusion, sentence_owen

transformers = pytest.importorskip("transformers")

WORDS = ["the", "film", "was", "not", "good", "bad", "but", "a", "long", "story", "dull", "great"]
WORDS += ["un", "##believ", "##able", ".", ",", "!"]
ANOTHER = ["a", "great", ",", "un", "believ", "able", "story", "but", "long", "."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["The film was not good.", "Dull!", "a great, unbelievable story but long. The film!"]


def wordpiece(*, framed: bool = True):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {token: i for i, token in enumerate(SPECIAL + WORDS)}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.normalizer = normalizers.BertNormalizer()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if framed:
        core.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=24,
    )


def classifier(kind: str = "bert", longest: int = 24):
    size = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_labels": 3}
    heads = {"num_attention_heads": 2, "intermediate_size": 16}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if kind == "bert":
            config = transformers.BertConfig(
                **size, **heads, max_position_embeddings=longest, initializer_range=0.6
            )
            model = transformers.BertForSequenceClassification(config)
        elif kind == "roberta":
            config = transformers.RobertaConfig(
                **size,
                **heads,
                max_position_embeddings=longest + 1,
                pad_token_id=0,
                type_vocab_size=2,
                initializer_range=0.6,
            )
            model = transformers.RobertaForSequenceClassification(config)
        elif kind == "distilbert":
            config = transformers.DistilBertConfig(
                vocab_size=40,
                dim=16,
                n_layers=2,
                n_heads=2,
                hidden_dim=16,
                num_labels=3,
                max_position_embeddings=longest,
                initializer_range=0.6,
            )
            model = transformers.DistilBertForSequenceClassification(config)
        else:
            config = transformers.GPT2Config(
                vocab_size=40,
                n_embd=16,
                n_layer=2,
                n_head=2,
                n_positions=longest,
                num_labels=3,
                pad_token_id=0,
                initializer_range=0.6,
            )
            model = transformers.GPT2ForSequenceClassification(config)
    return model.eval()


def text_model(kind: str = "bert", **options) -> TextModel:
    tokenizer = wordpiece(framed=kind != "gpt2")  # decoders read out at the last word
    if kind in ("distilbert", "gpt2"):
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return TextModel(classifier(kind), tokenizer, **options)


def grand(game) -> torch.Tensor:
    return torch.ones(1, 1, game.n_players, dtype=torch.bool)


@pytest.mark.parametrize(
    ("players", "wanted"),
    [
        (
            "token",
            [
                ("The", "film", "was", "not", "good", "."),
                ("Dull", "!"),
                (*ANOTHER, "The", "film", "!"),
            ],
        ),
        (
            "word",
            [
                ("The", "film", "was", "not", "good."),
                ("Dull!",),
                ("a", "great,", "unbelievable", "story", "but", "long.", "The", "film!"),
            ],
        ),
        (
            "sentence",
            [
                ("The film was not good.",),
                ("Dull!",),
                ("a great, unbelievable story but long.", "The film!"),
            ],
        ),
    ],
)
def test_players_are_the_words_of_the_text_and_never_special_tokens(players, wanted):
    game = text_model(players=players)(TEXTS)
    assert game.players == wanted
    assert game.player_mask.sum(1).tolist() == [len(names) for names in wanted]
    assert game.n_players == max(len(names) for names in wanted)
    assert (game.n_explicands, game.n_outputs) == (3, 3)
    assert game.outputs == ("LABEL_0", "LABEL_1", "LABEL_2")


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "gpt2"])
@pytest.mark.parametrize("removal", ["mask", "drop"])
def test_with_everyone_present_the_game_is_the_model(kind, removal):
    model = text_model(kind, removal=removal, players="word")
    game = model(TEXTS)
    encoded = model.tokenizer(TEXTS, padding=True, return_tensors="pt")
    wanted = model.network(**encoded).logits
    torch.testing.assert_close(game(grand(game))[:, 0], wanted.detach(), atol=1e-5, rtol=0)
    assert game.n_evals == 3


@pytest.mark.parametrize("removal", ["mask", "drop"])
@pytest.mark.parametrize("players", ["token", "word", "sentence"])
def test_a_text_has_the_same_values_alone_and_among_longer_ones(removal, players):
    model = text_model(removal=removal, players=players, batch_tokens=40)
    together = model(TEXTS)
    masks = torch.rand(3, 9, together.n_players, generator=torch.Generator().manual_seed(0)) < 0.5
    values = together(masks)
    for i, text in enumerate(TEXTS):
        alone = model([text])
        own = alone(masks[i : i + 1, :, : alone.n_players])
        torch.testing.assert_close(values[i : i + 1], own, atol=1e-5, rtol=0)
    # what a coalition says of players that a text does not have is ignored
    flipped = masks ^ ~together.player_mask[:, None]
    torch.testing.assert_close(together(flipped), values, atol=1e-6, rtol=0)


def test_masking_puts_the_mask_token_in_place_of_all_tokens_of_a_word():
    game = text_model(players="word")(["an unbelievable film", "dull"])
    read = game.reads(0, torch.tensor([True, False, True]))
    assert read == ["[CLS]", "[UNK]", "[MASK]", "[MASK]", "[MASK]", "film", "[SEP]"]
    assert game.reads(0, torch.zeros(3, dtype=torch.bool))[1:-1] == ["[MASK]"] * 5
    ids = torch.tensor([game.model.tokenizer.convert_tokens_to_ids(read)])
    wanted = game.model.network(input_ids=ids).logits[0].detach()
    found = game(torch.tensor([[[True, False, True]]]))[0, 0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    dropping = text_model(players="word", removal="drop")(["an unbelievable film"])
    assert dropping.reads(0, torch.tensor([True, False, True])) == [
        *("[CLS]", "[UNK]", "film", "[SEP]")
    ]


@pytest.mark.parametrize("kind", ["bert", "distilbert", "gpt2"])
def test_dropping_is_leaving_tokens_out_where_positions_are_kept(kind):
    model = text_model(kind, removal="drop", players="token")
    game = model(["the film was not good"])
    keep = torch.tensor([True, False, True, True, False])
    values = game(keep[None, None])[0, 0]
    ids = game.encoded[0].ids
    special = torch.tensor([True])
    kept = keep if kind == "gpt2" else torch.cat([special, keep, special])
    if kind == "distilbert":  # takes no position ids: hide by attention instead
        wanted = model.network(input_ids=ids[None], attention_mask=kept.long()[None]).logits[0]
    else:
        wanted = model.network(
            input_ids=ids[kept][None], position_ids=torch.arange(len(ids))[kept][None]
        ).logits[0]
    torch.testing.assert_close(values, wanted.detach(), atol=1e-5, rtol=0)
    # another word in place of a dropped one changes nothing
    other = model(["the story was not bad"])
    torch.testing.assert_close(other(keep[None, None])[0, 0], values, atol=1e-5, rtol=0)


def test_what_is_too_long_is_reported_and_no_player():
    model = text_model(players="word", max_length=6)
    game = model(["the film was not good but long", "dull"])
    assert game.players == [("the", "film", "was", "not"), ("dull",)]
    assert game.n_cut.tolist() == [len("good but long") + 0, 0]
    assert "1 of 2 texts cut" in game.description
    unread = ["dull", "dull \u200b", "dull \n "]  # a tokenizer may drop signs and cut nothing
    assert text_model()(unread).n_cut.tolist() == [0, 0, 0]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_the_longest_input_is_what_position_embeddings_allow(kind):
    model = text_model(kind)
    assert model.max_length == 24
    game = model([" ".join(["good"] * 60)])
    assert game.n_players == 22
    assert torch.isfinite(game(grand(game))).all()


def test_a_text_that_spells_out_a_special_token_is_warned_of(recwarn):
    model = text_model()
    model.encode(["good film", "an [ SEP ] and a [sep]"])
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"1 of 2 texts .*'\[SEP\]' in texts\[1\]"):
        model.encode(["good film", "good [SEP] film"])
    with pytest.warns(UserWarning, match=r"texts\[0\]"):
        model.encode([("good", "[PAD] film")])


def test_pairs_of_texts_play_together():
    model = text_model(players="word")
    pairs = [("the film", "was not good"), ("dull", "great story")]
    game = model(pairs)
    assert game.players == [("the", "film", "was", "not", "good"), ("dull", "great", "story")]
    encoded = model.tokenizer(
        *map(list, zip(*pairs, strict=True)), padding=True, return_tensors="pt"
    )
    wanted = model.network(**encoded).logits.detach()
    torch.testing.assert_close(game(grand(game))[:, 0], wanted, atol=1e-5, rtol=0)
    assert game.spans[0][2] == (1, 0, 3)


def test_explanations_of_texts_add_up_and_score_padding_zero():
    game = text_model(players="word")(TEXTS)
    e = exact_shapley(game)
    everyone, nobody = grand(game), ~grand(game)
    total = (game(everyone) - game(nobody))[:, 0]
    torch.testing.assert_close(e.values.sum(1), total, atol=1e-5, rtol=0)
    assert (e.values[~game.player_mask] == 0).all()
    assert e.player_names(1) == ("Dull!",)


def test_links_are_log_probabilities_and_log_odds():
    logits = text_model()(TEXTS)
    everyone = grand(logits)
    p = logits(everyone).softmax(-1)
    torch.testing.assert_close(text_model(link="log_softmax")(TEXTS)(everyone), p.log())
    margin = text_model(link="margin")(TEXTS)(everyone)
    torch.testing.assert_close(margin, p.logit(), atol=1e-4, rtol=1e-4)


def test_a_saved_classifier_is_loaded_with_its_tokenizer(tmp_path):
    model = text_model()
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    again = TextModel.from_pretrained(tmp_path, players="token", removal="drop")
    game = again(TEXTS)
    wanted = text_model(players="token", removal="drop")(TEXTS)
    torch.testing.assert_close(game(grand(game)), wanted(grand(wanted)))
    assert game.description == "BertForSequenceClassification logits, tokens removed by dropping"
    with pytest.raises(OSError, match="none"):
        TextModel.from_pretrained(tmp_path / "none")


def _edited(path, **words):
    path.write_text(json.dumps(json.loads(path.read_text()) | words))


@pytest.mark.parametrize(
    ("damage", "error", "word"),
    [
        (lambda f: (f / "model.safetensors").write_bytes(b"xx"), ValueError, "damaged"),
        (lambda f: (f / "tokenizer.json").write_bytes(b'{"ver'), ValueError, "tokenizer"),
        (lambda f: [p.unlink() for p in f.glob("tokenizer*")], OSError, "has no tokenizer"),
        (lambda f: _edited(f / "config.json", num_hidden_layers=1), ValueError, "different models"),
        (lambda f: _edited(f / "config.json", num_hidden_layers=3), ValueError, "lacks the weights"),
        (lambda f: _edited(f / "config.json", hidden_size=32), ValueError, "do not fit"),
        (lambda f: (f / "config.json").write_text("{"), OSError, "no classifier"),
        (lambda f: (f / "model.safetensors").unlink(), OSError, "no classifier"),
        (lambda f: shutil.rmtree(f), OSError, "no folder"),
    ],
)  # fmt: skip
def test_a_damaged_folder_is_no_classifier(tmp_path, damage, error, word):
    folder = tmp_path / "model"
    model = text_model()
    model.network.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    damage(folder)
    with pytest.raises(error, match=word):
        TextModel.from_pretrained(folder)


def test_a_tokenizer_of_a_larger_vocabulary_is_refused(tmp_path):
    model = text_model()
    model.network.config.vocab_size = 20
    model.network.resize_token_embeddings(20)
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="a vocabulary of 20"):
        TextModel.from_pretrained(tmp_path)


def test_empty_texts_beside_others_have_no_players_and_constant_games():
    game = text_model()(["", "dull film"])
    assert game.players[0] == ()
    values = game(torch.tensor([[[True, True], [False, False]]]))
    torch.testing.assert_close(values[0, 0], values[0, 1])
    assert not torch.equal(values[1, 0], values[1, 1])


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: text_model(players="letter"), ValueError, "players='letter'"),
        (lambda: text_model(removal="delete"), ValueError, "removal='delete'"),
        (lambda: text_model(link="probit"), ValueError, "link='probit'"),
        (lambda: text_model()([]), ValueError, "texts is empty"),
        (lambda: text_model()([""]), ValueError, "no text holds a player"),
        (lambda: text_model()([3]), TypeError, "texts holds 3"),
        (lambda: text_model()(["a", ("a", "b")]), TypeError, "mixes"),
        (lambda: text_model()(["a", "b\ud800"]), ValueError, r"texts\[1\] holds half a surrogate"),
        (lambda: text_model(max_length=1), ValueError, "max_length=1"),
        (lambda: TextModel(classifier(), object()), TypeError, "fast tokenizer"),
        (lambda: text_model()("dull film")(torch.ones(1, 1, 3).bool()), ValueError, "coalitions"),
    ],
)
def test_bad_texts_and_options_are_refused_by_name(call, error, word):
    with pytest.raises(error, match=word):
        call()


def test_masking_without_a_mask_token_is_refused():
    tokenizer = wordpiece()
    tokenizer.mask_token = None
    with pytest.raises(ValueError, match="removal='drop'"):
        TextModel(classifier(), tokenizer)


def test_surrogates_of_texts_explain_real_players_only():
    game = text_model(players="word")(TEXTS)
    for e in (lime(game, 60), occlusion(game, both_ends=True)):
        assert e.shape == (3, 8, 3)
        assert (e.values[~game.player_mask] == 0).all()
        assert e.player_names(1) == ("Dull!",)
    # a text of one word: all it says is that word's
    gap = occlusion(game).diagnostics["additivity_gap"][1]
    torch.testing.assert_close(gap, torch.zeros(3), atol=1e-6, rtol=0)


def test_given_spans_play_and_what_none_covers_is_always_there():
    model = text_model(players="span", removal="drop")
    game = model(["the film was not good", "dull"], spans=[[(0, 8), (13, 21)], [(0, 4)]])
    assert game.players == [("the film", "not good"), ("dull",)]
    assert game.reads(0, torch.tensor([False, True])) == ["[CLS]", "was", "not", "good", "[SEP]"]
    words = text_model(players="word", removal="drop")(["the film was not good"])
    by_words = torch.tensor([[[False, False, True, True, True]]])
    mine = game(torch.tensor([[[False, True]]]))[0]
    torch.testing.assert_close(mine, words(by_words)[0], atol=1e-5, rtol=0)
    pair = text_model(players="span")([("the film", "not good")], spans=[[(1, 0, 3), (0, 4, 8)]])
    assert pair.players == [("film", "not")]
    assert pair.spans == [((0, 4, 8), (1, 0, 3))]


@pytest.mark.parametrize(
    ("players", "spans", "word"),
    [
        ("word", [[(0, 3)]], "players='word'"),
        ("span", None, "spans=None"),
        ("span", [[(0, 3)], []], "2 lists for 1 texts"),
        ("span", [[(0, 99)]], "characters"),
        ("span", [[(0, 4), (3, 6)]], "overlap"),
    ],
)
def test_spans_that_do_not_fit_are_refused(players, spans, word):
    with pytest.raises(ValueError, match=word):
        text_model(players=players)(["the film"], spans=spans)


def test_attended_padding_puts_padding_in_place_and_keeps_attending():
    model = text_model(removal="pad", players="word")
    game = model(["an unbelievable film"])
    read = game.reads(0, torch.tensor([True, False, True]))
    assert read == ["[CLS]", "[UNK]", "[PAD]", "[PAD]", "[PAD]", "film", "[SEP]"]
    ids = torch.tensor([model.tokenizer.convert_tokens_to_ids(read)])
    wanted = model.network(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.detach()
    found = game(torch.tensor([[[True, False, True]]]))[0]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_attended_padding_is_the_game_that_captum_samples():
    captum = pytest.importorskip("captum.attr")
    model = text_model(removal="pad", players="token")
    model.network.double()
    game = model(["the film was not good"])
    ids = game.encoded[0].ids[None]
    special = game.encoded[0].special
    orders = []

    def spy(rows):
        orders.append((rows != 0) | special)
        return model.network(input_ids=rows, attention_mask=torch.ones_like(rows)).logits[:, 1]

    mask = torch.where(special, 0, torch.arange(ids.shape[1]))[None]
    sampler = captum.ShapleyValueSampling(spy)
    base = torch.where(special, ids, 0)
    values = sampler.attribute(ids, baselines=base, feature_mask=mask, n_samples=3)
    # the same orders, walked through our game
    steps = torch.cat(orders)[:, ~special]
    value = game(steps[None])[0, :, 1]
    wanted = torch.zeros(5, dtype=torch.float64)
    before = None
    for row, now in zip(steps, value, strict=True):
        if before is not None and int((row ^ before[0]).sum()) == 1:
            wanted[(row ^ before[0])] += (now - before[1]) / 3
        before = (row, now) if int(row.sum()) < 5 else (torch.zeros(5).bool(), _empty(game))
    torch.testing.assert_close(values[0, ~special].double(), wanted, atol=1e-5, rtol=0)


def _empty(game):
    return game(torch.zeros(1, 1, game.n_players, dtype=torch.bool))[0, 0, 1]


def test_a_fingerprint_changes_with_the_game_and_with_nothing_else():
    model = text_model()
    told = model.fingerprint
    assert told == text_model().fingerprint == text_model(batch_tokens=7, packed=False).fingerprint
    model(TEXTS)  # what a tokenizer was last asked for is no part of it
    assert model.fingerprint == told
    others = [
        text_model(players="token"),
        text_model(removal="drop"),
        text_model(link="margin"),
        text_model(max_length=9),
        text_model("roberta"),
    ]
    assert len({told, *(other.fingerprint for other in others)}) == 6
    model.network.classifier.bias.data += 1e-6
    assert model.fingerprint != told


def test_an_encoding_names_the_player_of_each_token():
    (encoded,) = text_model(players="word").encode("an unbelievable film")
    tokens = [1, 5, 17, 18, 19, 6, 3]  # the unknown word, the three pieces, the film
    assert encoded.ids.tolist()[2:5] == [17, 18, 19]
    assert len(encoded.ids) == len(tokens)
    assert encoded.owners.tolist() == [-1, 0, 1, 1, 1, 2, -1]
    assert encoded.special.tolist() == [True, *[False] * 5, True]
    assert encoded.players == ("an", "unbelievable", "film")


def test_words_within_sentences_have_owen_values():
    model = text_model(players="word", removal="drop")
    texts = ["the film was good. a story!", "not good."]
    e = sentence_owen(model, texts, budget=200)
    assert e.estimand == "owen"
    assert e.exact
    assert e.diagnostics["sentence"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, -1, -1, -1, -1]]
    sentences = exact_shapley(text_model(players="sentence", removal="drop")(texts))
    summed = torch.stack([e.values[0, :4].sum(0), e.values[0, 4:].sum(0)])
    torch.testing.assert_close(summed, sentences.values[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(e.values[1, :2].sum(0), sentences.values[1, 0], atol=1e-5, rtol=0)
    assert (e.values[1, 2:] == 0).all()
    sampled = sentence_owen(model, texts, budget=12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(sampled.values.sum(1), e.values.sum(1), atol=1e-5, rtol=0)
    cut = sentence_owen(text_model(players="word", max_length=6), texts, budget=40)
    assert "1 of 2 texts cut" in cut.game
    with pytest.raises(ValueError, match="no level below"):
        sentence_owen(text_model(players="sentence"), texts, budget=40)


def test_margins_stay_finite_where_a_class_is_all_but_certain():
    model = text_model(link="margin")
    model.network.double().classifier.bias.data[1] += 80.0
    game = model(TEXTS)
    values = game(grand(game))[:, 0]
    assert torch.isfinite(values).all()
    assert (values[:, 1] > 70).all()
