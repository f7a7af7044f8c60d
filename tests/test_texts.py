"""Text classifiers: exact on the public call, the same from a file, and honest about deletion."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, Trainer, TrainingArguments
from transformers.utils import logging

from baselines import PresenceGame, TableGame
from baselines.coalitions import all_coalitions
from baselines.exact import exact_shapley
from harsanyi import HarsanyiForTextClassification
from harsanyi.sentence_encoders import encode_sentences, named_encoder
from harsanyi.texts import DESIGNS, specs_of
from harsanyi.vocabulary import check_texts, encode, split_sentences, word_tokenizer

logging.disable_progress_bar()

TEN = "this is not a very good film , it 's"
TEXTS = [
    "a good film", "not a good film", "a bad film", "not a bad film", "really good , really",
    "it 's awful and I ca n't stand it", "a very good film , it is", "this is not very bad",
] * 4  # fmt: skip
LABELS = ["pos", "neg", "neg", "pos", "pos", "neg", "pos", "pos"] * 4
SMALL = {"width": 8, "epochs": 25, "batch_size": 8, "lr": 0.02, "min_count": 1, "dropout": 0.0}
ALL = [*DESIGNS, "sum+convolution+attention+maximum"]
KEPT = {}


def fitted(design="sum", **options):
    """A trained float64 model, made once per design."""
    key = json.dumps([design, options], default=str)
    if key not in KEPT:
        made = HarsanyiForTextClassification.from_texts(
            TEXTS, LABELS, design=design, **{**SMALL, **options}
        )
        KEPT[key] = made.double()
    return KEPT[key]


def enumerated(model, text):
    n = model.explain([text]).shape[1]
    sets = all_coalitions(n)
    values = model.logits([text] * len(sets), present=sets)
    return exact_shapley(TableGame(values[None]))


@pytest.mark.parametrize("design", ALL)
def test_texts_of_ten_words_equal_enumeration_after_training(design):
    model = fitted(design)
    e, truth = model.explain([TEN]), enumerated(model, TEN)
    assert e.shape == (1, 10, 2)
    assert e.exact
    assert (e.values - truth.values).abs().max() <= 1e-10
    assert (e.base_values - truth.base_values).abs().max() <= 1e-10
    assert e.values.abs().max() > 0.05
    assert e.diagnostics["additivity_gap"].abs().max() <= 1e-10
    assert e.diagnostics["error_bound"].max() <= 1e-9


@pytest.mark.parametrize("design", ["bag", "matrices", "attention", "maximum"])
def test_deleting_words_from_the_text_is_their_absence(design):
    model, words = fitted(design), TEN.split()
    assert "deleted" in model.explain([TEN]).game
    for key in range(20):
        mask = np.random.default_rng(key).random(10) < 0.6
        cut = " ".join(word for word, kept in zip(words, mask, strict=True) if kept)
        gap = model.logits([TEN], present=[mask.tolist()]) - model.logits([cut])
        assert gap.abs().max() <= 1e-12


@pytest.mark.parametrize("design", ["ngrams", "convolution", "sum"])
def test_designs_with_windows_say_that_the_absent_keep_their_slot(design):
    assert "keeps its slot" in fitted(design).explain([TEN]).game


def test_texts_of_any_length_are_explained_together_as_alone():
    model = fitted("sum+convolution+attention")
    texts = ["good", TEN, "", "not a good film", "zyx unheard of words"]
    e = model.explain(texts)
    assert e.players[3] == ("not", "a", "good", "film")
    assert e.player_mask.sum(1).tolist() == [1, 10, 0, 4, 4]
    for row, text in enumerate(texts):
        alone = model.explain([text])
        n = alone.shape[1]
        assert not n or (e.values[row, :n] - alone.values[0]).abs().max() <= 1e-12
        assert not e.values[row, n:].any()
    assert (e.values.sum(1) + e.base_values - model.logits(texts)).abs().max() <= 1e-10


def test_a_long_text_shows_a_bar_and_a_short_one_none(monkeypatch, capsys):
    model = fitted()
    model.explain(["not a good film"])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("harsanyi.texts.LONG_WORK", 16)
    model.explain(["not a good film"])
    assert "4/4" in capsys.readouterr().err
    model.explain(["not a good film"], progress=False)
    assert capsys.readouterr().err == ""


def test_the_negation_is_learned_and_is_the_top_interaction():
    model = fitted("sum")
    assert model.predict(["a good film", "not a good film"]) == ["pos", "neg"]
    top = model.interactions(["not a good film"], order=2).top(10)
    assert len(top) == 10
    assert {"not", "good"} in [set(names) for names, _ in top[:3]]
    assert "not" in str(model.explain(["not a good film"]).plot.text(0))


@pytest.mark.parametrize("design", ["sum", "convolution", "sum+attention+maximum"])
@pytest.mark.parametrize("index", ["SII", "k-SII", "STII", "BII", "FBII", "FSII"])
def test_interactions_equal_those_of_all_dividends(design, index):
    from harsanyi import Dividends

    model, text = fitted(design), "this is not a good film"
    values = model.logits([text] * 64, present=all_coalitions(6)).clone()
    for i in range(6):
        has = torch.arange(64)[(torch.arange(64) >> i) & 1 == 1]
        values[has] = values[has] - values[has - 2**i]
    whole = Dividends(all_coalitions(6)[1:], values[None, 1:], values[None, 0])
    wanted, found = whole.interactions(index, 2), model.interactions([text], index, 2)
    for players in wanted.sets:
        assert (found[players] - wanted[players]).abs().max() <= 1e-10
    assert (found.base_values - wanted.base_values).abs().max() <= 1e-10


def test_dividends_add_up_to_the_game():
    for design in ("ngrams", "sum"):
        model, text = fitted(design), "this is not a good film"
        sets = all_coalitions(6)
        wanted = model.logits([text] * 64, present=sets)
        found = model.dividends([text])
        assert (found.value(sets[None])[0] - wanted).abs().max() <= 1e-10
        assert (found.shapley() - model.explain([text]).values).abs().max() <= 1e-10
    with pytest.raises(ValueError, match="1024 coalitions"):
        fitted("sum").dividends([TEN], max_coalitions=1000)


def test_a_presence_game_over_ids_is_the_same_game():
    model = fitted("sum")
    ids = model.tokenizer(["not a good film"], return_tensors="pt")["input_ids"]
    truth = exact_shapley(PresenceGame(model.net, ids))
    assert (truth.values - model.explain(["not a good film"]).values).abs().max() <= 1e-12


def test_values_below_a_coalition_leave_the_others_at_zero():
    model = fitted("sum")
    e = model.explain(["not a good film"], present=[[True, False, True, True]])
    assert not e.values[0, 1].any()
    gap = e.values.sum(1) + e.base_values
    assert (
        gap - model.logits(["not a good film"], [[True, False, True, True]])
    ).abs().max() <= 1e-12


def test_a_tolerance_is_kept_with_fewer_nodes():
    model = fitted("matrices")
    long = " ".join([TEN] * 4)
    exact, near = model.explain([long]), model.explain([long], tolerance=1e-3)
    assert (near.values - exact.values).abs().max() <= 1e-3
    assert near.diagnostics["error_bound"].min() >= 1e-3
    with pytest.raises(ValueError, match="tolerance"):
        model.explain([long], tolerance=-1.0)


def test_a_saved_model_is_the_same_model(tmp_path):
    model = fitted("sum+attention")
    model.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(loaded, HarsanyiForTextClassification)
    assert torch.equal(loaded.logits(TEXTS[:8]), model.logits(TEXTS[:8]))
    assert torch.equal(loaded.explain([TEN]).values, model.explain([TEN]).values)
    assert loaded.classes_ == ["neg", "pos"]
    assert loaded.predict(["a good film"]) == model.predict(["a good film"])
    names = {path.name for path in tmp_path.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert all(name.endswith((".json", ".safetensors", ".md")) for name in names)


def test_damaged_files_are_refused(tmp_path):
    model = fitted("bag")
    for name, damage, error in (
        ("tokenizer.json", None, FileNotFoundError),
        ("tokenizer.json", b'{"version', ValueError),
        ("model.safetensors", b"xx", ValueError),
        ("model.safetensors", None, FileNotFoundError),
    ):
        model.save_pretrained(tmp_path)
        path = tmp_path / name
        if damage is None:
            path.unlink()
        else:
            path.write_bytes(damage)
        with pytest.raises(error):
            HarsanyiForTextClassification.from_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["parts"] = [{"kind": "bag", "hidden": 0}, {"kind": "maximum", "channels": 3}]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="do not fit"):
        HarsanyiForTextClassification.from_pretrained(tmp_path)


def renamed(config, name):
    """A config whose setting of that name is another one of the same shape."""
    others = {"unit": "tokens", "unknown": 2, "padding": 2, "problem_type": "regression"}
    if name == "id2label":
        config[name] = dict(zip(config[name], reversed(config[name].values()), strict=True))
    else:
        config[name] = others[name] if name in others else config[name][::-1]


@pytest.mark.parametrize(
    "name", ["classes", "outputs", "id2label", "unit", "unknown", "padding", "problem_type"]
)
def test_a_config_whose_names_were_changed_is_refused(name, tmp_path):
    fitted("bag").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    renamed(config, name)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="config"):
        HarsanyiForTextClassification.from_pretrained(tmp_path)


def test_weights_that_hold_nan_are_refused(tmp_path):
    fitted("bag").save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state["net.bias"][:] = torch.nan
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"NaN in net\.bias"):
        HarsanyiForTextClassification.from_pretrained(tmp_path)


def test_forward_takes_the_tokenizers_fields_and_gives_the_explanation():
    model = fitted("sum")
    fields = model.tokenizer(["not a good film", "good"], padding=True, return_tensors="pt")
    out = model(**fields, labels=torch.tensor([0, 1]))
    e = model.explain(["not a good film", "good"])
    assert torch.equal(out.shapley_values, e.values)
    assert torch.equal(out.base_values, e.base_values)
    assert out.loss == torch.nn.functional.cross_entropy(out.logits, torch.tensor([0, 1]))
    assert out.additivity_gap.abs().max() <= 1e-12
    assert len(model(**fields, return_dict=False)) == 4
    with pytest.raises(ValueError, match="input_ids"):
        model()


def test_a_pipeline_of_transformers_predicts_as_it_does():
    from transformers import pipeline

    model = fitted("sum")
    pipe = pipeline("text-classification", model=model, tokenizer=model.tokenizer, device=-1)
    found = pipe(["a good film", "not a good film"], top_k=1)
    assert [row[0]["label"] for row in found] == ["pos", "neg"]
    wanted = model.predict_proba(["a good film"])[0, 1]
    assert found[0][0]["score"] == pytest.approx(float(wanted), abs=1e-6)


def test_transformers_trainer_trains_it(tmp_path):
    model = HarsanyiForTextClassification.from_texts(TEXTS, LABELS, **{**SMALL, "epochs": 1})
    before = model.net.bias.detach().clone()
    ids = model.tokenizer(TEXTS)["input_ids"]
    rows = [{"input_ids": i, "labels": int(y == "pos")} for i, y in zip(ids, LABELS, strict=True)]
    from transformers import DataCollatorWithPadding

    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=4,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(model.tokenizer),
    )
    assert trainer.train().training_loss > 0
    assert not torch.equal(model.net.bias, before)


def test_training_is_repeatable_and_continues_where_it_was_killed(tmp_path):
    options = {**SMALL, "epochs": 3}
    whole = HarsanyiForTextClassification.from_texts(TEXTS, LABELS, random_state=3, **options)
    again = HarsanyiForTextClassification.from_texts(
        TEXTS, LABELS, random_state=3, checkpoint_dir=tmp_path, **options
    )
    assert torch.equal(whole.logits(TEXTS[:8]), again.logits(TEXTS[:8]))
    resumed = HarsanyiForTextClassification.from_texts(
        TEXTS, LABELS, random_state=3, checkpoint_dir=tmp_path, **options
    )
    assert resumed.history.resumed_from == resumed.history.steps > 0
    assert torch.equal(whole.logits(TEXTS[:8]), resumed.logits(TEXTS[:8]))
    with pytest.raises(ValueError, match="another run"):
        HarsanyiForTextClassification.from_texts(
            TEXTS, LABELS, random_state=4, checkpoint_dir=tmp_path, **options
        )


def test_unknown_words_share_a_trained_vector():
    model = fitted("sum", min_count=2)
    assert torch.equal(model.logits(["a qwerty film"]), model.logits(["a asdfgh film"]))
    assert model.explain(["a qwerty film"]).players[0][1] == "qwerty"
    assert model.net.unknown.abs().max() > 0


def test_a_tokenizer_of_ones_own_keeps_its_ids(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["good", "bad", "not", "<unk>", "a", "film", "<pad>", "very"]
    own = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    own.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>", pad_token="<pad>")
    model = HarsanyiForTextClassification.from_texts(
        TEXTS, LABELS, tokenizer=made, **SMALL
    ).double()
    assert (model.config.padding, model.config.unknown) == (6, 3)
    e = model.explain(["good", "not a good film zyx"])
    assert e.player_mask.sum(1).tolist() == [1, 5]
    assert (e.values[1] - enumerated(model, "not a good film zyx").values[0]).abs().max() <= 1e-10
    fields = made(["good", "not a good film zyx"], padding=True, return_tensors="pt")
    out = model(fields["input_ids"])
    assert torch.equal(out.shapley_values, e.values)
    model.save_pretrained(tmp_path)
    loaded = HarsanyiForTextClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded.explain(["not good"]).values, model.explain(["not good"]).values)
    bare = PreTrainedTokenizerFast(tokenizer_object=own, unk_token="<unk>")
    with pytest.raises(ValueError, match="no padding token"):
        HarsanyiForTextClassification.from_texts(TEXTS, LABELS, tokenizer=bare, **SMALL)


def test_word_pieces_can_be_players():
    model = fitted("sum", players="tokens")
    e = model.explain(["unbearably good"])
    assert len(e.players[0]) > 2
    assert "".join(p.removeprefix("##") for p in e.players[0]) == "unbearablygood"
    assert (e.values - enumerated(model, "unbearably good").values).abs().max() <= 1e-10


def test_pairs_of_texts_are_two_kinds_of_players():
    pairs = [
        ("a b", "a b"),
        ("a b", "b a"),
        ("b a", "b a"),
        ("b a", "a b"),
        ("a", "b"),
        ("a", "a"),
    ]
    same = [a == b for a, b in pairs]
    model = HarsanyiForTextClassification.from_texts(
        pairs * 4, [int(s) for s in same * 4], **{**SMALL, "epochs": 60}
    ).double()
    assert model.score(pairs, [int(s) for s in same]) == 1.0
    e = model.explain([("a b", "b")])
    assert e.players == [("a", "b", "b")]
    assert (e.values - enumerated(model, ("a b", "b")).values).abs().max() <= 1e-10
    with pytest.raises(ValueError, match="trained on pairs"):
        model.explain(["a b"])


def letters(sentences):
    """A stand-in for an encoder: one sentence in, one vector out."""
    found = np.zeros((len(sentences), 26))
    for row, sentence in enumerate(sentences):
        for letter in sentence.lower():
            if letter.isascii() and letter.isalpha():
                found[row, ord(letter) - 97] += 1
    return found


def test_sentences_can_be_players_behind_any_encoder(tmp_path):
    texts = [
        "It is good. Truly good!",
        "It is bad. So bad.",
        "Good plot. Bad end.",
        "Bad. Good!",
    ] * 6
    labels = [1, 0, 1, 0] * 6
    model = HarsanyiForTextClassification.from_texts(
        texts,
        labels,
        players="sentences",
        encoder=letters,
        design="bag+matrices+attention",
        **SMALL,
    ).double()
    text = "It is good. But the end is bad! Is it?"
    e = model.explain([text])
    assert e.players[0] == ("It is good.", "But the end is bad!", "Is it?")
    assert (e.values - enumerated(model, text).values).abs().max() <= 1e-10
    cut = model.logits(["It is good. Is it?"])
    assert (model.logits([text], [[True, False, True]]) - cut).abs().max() <= 1e-12
    model.save_pretrained(tmp_path)
    loaded = HarsanyiForTextClassification.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.encoder"):
        loaded.explain([text])
    loaded.encoder = letters
    assert torch.equal(loaded.explain([text]).values, e.values)


def test_an_encoder_in_a_folder_is_found_again_by_a_loaded_model(tmp_path):
    """What the folder holds reads sentences as it did, padding and the order of batches aside."""
    from tests.test_text import classifier, wordpiece

    classifier().base_model.save_pretrained(tmp_path / "encoder")
    wordpiece().save_pretrained(tmp_path / "encoder")
    texts = ["The film was good. A great story!", "The film was bad. Dull."] * 8
    folder = str(tmp_path / "encoder")
    model = HarsanyiForTextClassification.from_texts(
        texts, [1, 0] * 8, players="sentences", encoder=folder, design="bag", **SMALL
    )
    model.save_pretrained(tmp_path / "model")
    loaded = HarsanyiForTextClassification.from_pretrained(tmp_path / "model")
    said = loaded.explain(texts[:2])
    assert torch.equal(said.values, model.explain(texts[:2]).values)
    assert said.players[0] == ("The film was good.", "A great story!")
    encode_all = named_encoder(folder, batch_size=1)
    many = named_encoder(folder, batch_size=3)(["Dull.", "A long story!", "good", "bad"])
    alone = encode_all(["Dull.", "A long story!", "good", "bad"])
    assert many.shape == (4, 16)
    assert (many - alone).abs().max() < 1e-5
    assert model.explain([""]).shape[1] == 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda sentences: np.zeros((len(sentences), 3)), r"returned \(1, 3\) for 1 sentences"),
        (lambda sentences: np.full((len(sentences), 2), np.nan), "returned NaN or infinity"),
    ],
)
def test_an_encoder_that_answers_otherwise_is_refused(answer, words):
    with pytest.raises(ValueError, match=words):
        encode_sentences(answer, ["one sentence"], 2)


def test_given_vectors_are_kept_as_they_are():
    words = ["good", "bad", "not", "a", "film"]
    matrix = np.random.default_rng(0).normal(size=(5, 12))
    model = fitted("sum", embeddings=(tuple(words), matrix.tolist()))
    assert np.allclose(model.net.embedding.weight[2:].detach().numpy(), matrix, atol=1e-6)
    assert model.predict(["a good film", "a bad film"]) == ["pos", "neg"]
    e = model.explain(["not a good film"])
    assert (e.values - enumerated(model, "not a good film").values).abs().max() <= 1e-10
    with pytest.raises(ValueError, match="one row per distinct word"):
        HarsanyiForTextClassification.from_texts(TEXTS, LABELS, embeddings=(words, matrix[1:]))
    named = dict(zip(words, matrix.tolist(), strict=True))
    same = HarsanyiForTextClassification.from_texts(
        TEXTS, LABELS, embeddings=named, **{**SMALL, "epochs": 1}
    )
    kept = same.net.embedding.weight[2:].detach().numpy()
    assert np.allclose(kept, matrix, atol=1e-6)


def test_float64_is_trained_and_kept(tmp_path):
    model = HarsanyiForTextClassification.from_texts(
        TEXTS, LABELS, **{**SMALL, "epochs": 2}, dtype="float64"
    )
    assert model.logits(["a film"]).dtype == torch.float64
    model.save_pretrained(tmp_path)
    loaded = HarsanyiForTextClassification.from_pretrained(tmp_path)
    assert torch.equal(loaded.logits(["a film"]), model.logits(["a film"]))


def test_more_classes_and_numbers_as_targets():
    labels = [["low", "mid", "top"][i % 3] for i in range(len(TEXTS))]
    model = HarsanyiForTextClassification.from_texts(TEXTS, labels, **{**SMALL, "epochs": 2})
    assert model.explain(["a film"]).shape == (1, 2, 3)
    assert model.predict_proba(["a film"]).sum().item() == pytest.approx(1)
    numbers = [float(len(text)) / 10 for text in TEXTS]
    regressor = HarsanyiForTextClassification.from_texts(
        TEXTS, numbers, problem_type="regression", **SMALL
    ).double()
    found = regressor.predict(TEXTS[:8])
    assert np.corrcoef(found, numbers[:8])[0, 1] > 0.9
    assert (
        regressor.explain([TEN]).values - enumerated(regressor, TEN).values
    ).abs().max() <= 1e-10


@pytest.mark.parametrize(
    ("texts", "labels", "options", "error", "words"),
    [
        ("a text", [0], {}, TypeError, "one string"),
        ([], [], {}, ValueError, "empty"),
        (["a", "b"], [0], {}, ValueError, "2 texts and 1 labels"),
        (["a", "b"], [1, 1], {}, ValueError, "one class"),
        (["a", 5], [0, 1], {}, TypeError, r"texts\[1\]"),
        (["a", ("b", "c")], [0, 1], {}, ValueError, "mixes"),
        (["a", "b"], [0.0, float("nan")], {}, ValueError, "missing"),
        (["a", "b"], [0, 1], {"design": "lstm"}, ValueError, "lstm"),
        (["a", "b"], [0, 1], {"players": "letters"}, ValueError, "letters"),
        (["a", "b"], [0, 1], {"players": "sentences"}, ValueError, "encoder"),
        (["a", "b"], [0, 1], {"dtype": "half"}, ValueError, "dtype"),
        (["a", "b"], [0, 1], {"epochs": 0}, ValueError, "epochs"),
        (["a", "b"], [0, 1], {"problem_type": "rank"}, ValueError, "problem_type"),
        (["a", "b"], np.array([0, np.nan], np.float32), {}, ValueError, "missing"),
        (["a", "b"], [0, np.inf], {"problem_type": "regression"}, ValueError, r"labels\[1\]"),
        (["a", "b \ud800"], [0, 1], {}, ValueError, r"texts\[1\] holds half a surrogate"),
        (["a", "b"], [0, 1], {"width": 0}, ValueError, "width"),
        (["a", "b"], [0, 1], {"width": 8.5}, TypeError, "width"),
        (["a", "b"], [0, 1], {"batch_size": 0}, ValueError, "batch_size"),
        (["a", "b"], [0, 1], {"coalition_weight": 2}, ValueError, "coalition_weight"),
        (["a", "b"], [0, 1], {"dropout": -1}, ValueError, "dropout"),
        (["a", "b"], [0, 1], {"random_state": 2**70}, ValueError, "random_state"),
        (["a", "b"], [0, 1], {"random_state": "0"}, TypeError, "random_state"),
        (["a", "b"], [0, 1], {"encoder": letters}, ValueError, "encoder= is for players"),
        (["a", "b"], [0, 1], {"embeddings": {"a": [np.nan]}}, ValueError, "embeddings holds NaN"),
        (
            ["a", "b"], [0, 1], {"embeddings": {"a": [1.0]}, "players": "tokens"}, ValueError,
            "embeddings= name words",
        ),
        (["a", "b"], [0, 1], {"design": []}, ValueError, "design names no part"),
        (["a", "b"], [[0], [1]], {}, TypeError, r"labels\[0\] is a list"),
    ],
)  # fmt: skip
def test_unusable_arguments_are_refused_by_name(texts, labels, options, error, words):
    with pytest.raises(error, match=words):
        HarsanyiForTextClassification.from_texts(texts, labels, **options)


def test_unusable_requests_are_refused_by_name():
    model = fitted("sum")
    with pytest.raises(TypeError, match="one string"):
        model.explain("not a list")
    with pytest.raises(ValueError, match="present"):
        model.explain(["a good film"], present=torch.ones(1, 7, dtype=torch.bool))
    with pytest.raises(TypeError, match="bool"):
        model.explain(["a good film"], present=torch.ones(1, 3))
    for order in (3, "2", 0, True):
        with pytest.raises(ValueError, match=f"order is {order!r}"):
            model.interactions(["a good film"], order=order)
    with pytest.raises(ValueError, match="ids from"):
        model.net(torch.tensor([[10**6]]))
    with pytest.raises(ValueError, match="this model knows"):
        model._targets(["else"])
    empty = model.explain([])
    assert empty.shape == (0, 0, 2)
    for ask in (model.interactions, model.dividends, lambda none: model.score(none, none)):
        with pytest.raises(ValueError, match="texts is empty"):
            ask([])
    with pytest.raises(ValueError, match="half a surrogate"):
        model.explain(["good", "\udc80"])


def test_flags_of_the_present_are_one_for_each_player():
    model = fitted("sum")
    with pytest.raises(ValueError, match=r"present\[0\] .* 3 players"):
        model.logits(["a good film"], [[True]])
    for flags in (["yes", "no", "no"], [None, True, True], [0.0, 1.0, 1.0], [0, 1, 2]):
        with pytest.raises(TypeError, match="flags"):
            model.logits(["a good film"], [flags])
    ragged = model.logits(["a good film", "bad"], [[True, False, True], [True]])
    padded = torch.tensor([[True, False, True], [True, False, False]])
    assert torch.equal(ragged, model.logits(["a good film", "bad"], padded))
    assert torch.equal(ragged, model.logits(["a good film", "bad"], [[1, 0, 1], [1, 0, 0]]))


@pytest.mark.parametrize("seed", [0, None])
def test_training_leaves_the_global_generator_where_it_was(seed):
    state = torch.get_rng_state()
    HarsanyiForTextClassification.from_texts(
        ["a good film", "a bad film"], [1, 0], epochs=1, width=4, random_state=seed
    )
    assert torch.equal(state, torch.get_rng_state())


def test_designs_are_named_or_listed():
    assert specs_of("bag+ngrams") == specs_of(["bag", {"kind": "ngrams"}])
    assert [spec["kind"] for spec in specs_of("sum")] == ["bag", "ngrams", "matrices"]


def test_words_are_found_as_a_reader_would():
    tokenizer = word_tokenizer(["It 's n't"], min_count=1)
    found = encode(
        tokenizer, check_texts(["Isn\u2019t it state-of-the-art, 3.5 stars?", "DOESN'T"])
    )
    assert found.players[0] == (
        "Is",
        "n\u2019t",
        "it",
        "state-of-the-art",
        ",",
        "3.5",
        "stars",
        "?",
    )
    assert found.players[1] == ("DOES", "N'T")
    assert found.ids[0, 1] == found.ids[1, 1] != 1
    assert split_sentences("One. Two! Three?\nFour") == ["One.", "Two!", "Three?", "Four"]
