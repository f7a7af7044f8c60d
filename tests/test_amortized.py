"""Laws of amortized explainers: they learn, say what they are, survive a file, and get better with
fresh evaluations."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from amortized import AmortizedExplainer, LabelStore, presets, worth_evaluations
from amortized.explainer import AmortizedConfig
from amortized.labelled import Labels
from baselines import BaselineImputer, MaskedGame, exact_shapley
from baselines.imagery import patches
from tests.label_games import some_rows, table_games, triple_games
from tests.test_text import WORDS, classifier, text_model

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"progress": False, "epochs": 60, "patience": 60}


@pytest.fixture(scope="module")
def games():
    return triple_games()


@pytest.fixture(scope="module")
def store(games, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    return LabelStore(folder).generate(games, some_rows(600), 1, progress=False)


@pytest.fixture(scope="module")
def explainer(games, store):
    return AmortizedExplainer.from_target(games, some_rows(600)).fit(store, **QUICK)


@pytest.fixture(scope="module")
def held(games):
    x = some_rows(150, seed=7)
    return x, exact_shapley(games(x))


def words(count: int, seed: int = 0) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (count,), generator=generator).tolist()
    drawn = [torch.randint(0, 12, (size,), generator=generator).tolist() for size in sizes]
    return [" ".join(WORDS[i] for i in each) for each in drawn]


@pytest.fixture(scope="module")
def texts():
    model = text_model()
    made = AmortizedExplainer.from_target(model)
    labels = Labels.now(model, list(dict.fromkeys(words(80))), 2)
    return model, made.fit(labels, progress=False, epochs=2), labels


def error(said, truth) -> float:
    return float((said.values - truth.values).square().mean())


def test_it_learns_from_noisy_labels_to_be_better_than_they_are(explainer, held, games) -> None:
    x, truth = held
    said = explainer.explain(x)
    noise = error_of_labels(games, x, truth)
    assert error(said, truth) < 0.7 * noise
    assert error(said, truth) < 0.1 * float(truth.values.square().mean())


def error_of_labels(games, x, truth) -> float:
    labels = Labels.now(games, x, 1)
    values, _ = labels.batch(torch.arange(len(labels)))
    return float((values - truth.values).square().mean())


def test_its_answer_says_what_it_is(explainer, held) -> None:
    said = explainer.explain(held[0])
    assert said.estimand == "shapley"
    assert not said.exact
    assert said.n_evals == 0
    assert said.method.startswith("amortized")
    assert said.game == held[1].game
    assert said.std_errors is not None
    assert said.shape == held[1].shape


def test_predicted_errors_are_of_the_right_size_and_rank(explainer, held) -> None:
    x, truth = held
    said = explainer.explain(x)
    ratio = (said.values - truth.values).square().mean() / said.std_errors.square().mean()
    assert 0.5 < float(ratio) < 2.0


def test_without_uncertainty_no_error_is_claimed(games, store) -> None:
    made = AmortizedExplainer.from_target(games, some_rows(10), uncertainty=False)
    assert made.fit(store, progress=False, epochs=1).explain(some_rows(3)).std_errors is None
    with pytest.raises(ValueError, match="uncertainty=True"):
        AmortizedExplainer.from_target(
            games, some_rows(10), uncertainty=False, normalizer="precision"
        )


def test_measured_error_is_the_true_one(explainer, held) -> None:
    x, truth = held
    told = torch.tensor(explainer.config.measures["mse"]).mean()
    assert float(told) == pytest.approx(error(explainer.explain(x), truth), rel=0.5)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_refinement_beats_both_of_its_parts(explainer, held, games, k) -> None:
    from amortized.pairs import pair_sums
    from baselines.fingerprints import key_of

    x, truth = held
    keys = [key_of(0, "refine", row) for row in x]
    drawn = pair_sums(games(x), keys, [0] * len(x), [k] * len(x))
    direct = float((drawn["sums"] / k - truth.values).square().mean())
    fused = explainer.explain(x, refine=k)
    assert error(fused, truth) < 1.02 * min(direct, error(explainer.explain(x), truth))
    assert float(fused.diagnostics["additivity_gap"].abs().max()) < 1e-5
    assert fused.n_evals == 2 + 10 * k


def test_refinement_with_enough_pairs_is_the_exact_answer(explainer, held) -> None:
    x, truth = held
    said = explainer.explain(x[:20], refine=20)  # dearer than all 64 coalitions
    wanted = truth.values[:20].numpy()
    assert said.values.numpy() == pytest.approx(wanted, abs=1e-5)


def test_the_unbiased_mode_is_unbiased_whatever_the_prediction(games, held) -> None:
    x, truth = held
    made = AmortizedExplainer.from_target(games, x)
    with torch.no_grad():
        made.head.body[-1].bias += 3.0  # a prediction that is far off
    found = torch.stack(
        [made.explain(x[:8], refine=2, unbiased=True, seed=s).values for s in range(300)]
    )
    z = (found.mean(0) - truth.values[:8]) / (found.std(0) / 300**0.5)
    assert 0.7 < float(z.square().mean()) < 1.35
    one = made.explain(x[:8], refine=40, unbiased=True)
    z = (one.values - truth.values[:8]) / one.std_errors
    assert float(z.square().mean()) < 2.0


def test_a_better_prediction_steadies_the_unbiased_mode(games, explainer, held) -> None:
    x, truth = held
    spoilt = AmortizedExplainer.from_target(games, x)
    with torch.no_grad():
        spoilt.head.body[-1].bias.copy_(torch.tensor([9.0, -9.0, 0, 0]))
    one, two = (e.explain(x, refine=1, unbiased=True) for e in (explainer, spoilt))
    assert error(one, truth) < error(two, truth)


def test_refinement_needs_the_model_and_some_training(games, explainer, held, tmp_path) -> None:
    explainer.save_pretrained(tmp_path)
    lonely = AmortizedExplainer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match="attach"):
        lonely.explain(held[0], refine=1)
    raw = AmortizedExplainer.from_target(games, held[0])
    with pytest.raises(ValueError, match="never trained"):
        raw.explain(held[0], refine=1)
    with pytest.raises(ValueError, match="at least one pair"):
        explainer.explain(held[0], refine=-1)


@pytest.mark.parametrize("refine", [0, 1])
def test_conformal_intervals_cover_what_they_say(explainer, games, held, refine) -> None:
    x = some_rows(300, seed=11)
    explainer.calibrate(x, exact_shapley(games(x)), refine=refine)
    said = explainer.explain(held[0], refine, level=0.9)
    inside = (said.values - held[1].values).abs() <= said.diagnostics["half_width"]
    assert 0.85 < float(inside.float().mean()) < 0.95
    with pytest.raises(ValueError, match="calibrate"):
        explainer.explain(held[0], 3, level=0.9)


def test_too_few_truths_cannot_calibrate_a_high_level(explainer, games) -> None:
    x = some_rows(12, seed=3)
    with pytest.raises(ValueError, match="at least 19"):
        explainer.calibrate(x, exact_shapley(games(x)), levels=[0.95])


def test_worth_is_the_budget_with_the_same_error() -> None:
    assert worth_evaluations(0.5, 2.0, 11) == pytest.approx(2 + 20 * 4)
    assert worth_evaluations(0.0, 2.0, 11) == float("inf")


def test_a_saved_explainer_answers_alike_in_a_fresh_process(texts, tmp_path) -> None:
    _, made, _ = texts
    made.save_pretrained(tmp_path / "saved")
    given = words(6, seed=5)
    made.explain(given).save(tmp_path / "said.safetensors")
    code = (
        "import sys, json\nfrom amortized import AmortizedExplainer\n"
        "e = AmortizedExplainer.from_pretrained(sys.argv[1])\n"
        "e.explain(json.loads(sys.argv[2])).save(sys.argv[3])"
    )
    arguments = [str(tmp_path / "saved"), json.dumps(given), str(tmp_path / "again.safetensors")]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True)
    from baselines import Explanation

    one, two = (Explanation.load(tmp_path / f"{n}.safetensors") for n in ("said", "again"))
    assert torch.equal(one.values, two.values)
    assert torch.equal(one.std_errors, two.std_errors)
    assert one.players == two.players
    found = {path.suffix for path in (tmp_path / "saved").iterdir()}
    assert found <= {".json", ".safetensors", ".txt", ".md", ".jinja"}


def test_buffers_of_like_names_are_not_confused(tmp_path) -> None:
    games = table_games(n=2, k=2)
    made = AmortizedExplainer.from_target(games, 5 * some_rows(30, 2) + 2)
    made.save_pretrained(tmp_path)
    again = AmortizedExplainer.from_pretrained(tmp_path)
    assert torch.equal(made.encoder.scale, again.encoder.scale)
    assert torch.equal(made.scale, again.scale)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_every_buffer_of_an_encoder_survives_the_file(kind, tmp_path) -> None:
    made = AmortizedExplainer.from_target(text_model(kind))
    made.save_pretrained(tmp_path)
    again = AmortizedExplainer.from_pretrained(tmp_path)
    ours, theirs = dict(made.named_buffers()), dict(again.named_buffers())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    given = words(4)
    assert torch.equal(made.explain(given).values, again.explain(given).values)


def test_it_starts_from_the_encoder_of_its_target() -> None:
    model = text_model()
    made = AmortizedExplainer.from_target(model)
    ours = dict(made.encoder.network.named_parameters())
    theirs = dict(model.network.base_model.named_parameters())
    shared = [name for name in ours if name in theirs]
    assert len(shared) > 20
    assert all(torch.equal(ours[name], theirs[name]) for name in shared)
    assert all(ours[name].data_ptr() != theirs[name].data_ptr() for name in shared)


@pytest.mark.parametrize("spoil", ["missing", "torn", "weights", "kind", "nan"])
def test_a_damaged_folder_is_refused(texts, tmp_path, spoil) -> None:
    from safetensors.torch import load_file, save_file

    texts[1].save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    if spoil == "missing":
        weights.unlink()
    elif spoil == "torn":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif spoil == "kind":
        config = json.loads((tmp_path / "config.json").read_text())
        (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    else:
        state = load_file(weights)
        name = "head.norm.weight"
        if spoil == "nan":
            state[name] = state[name] * torch.nan
        else:
            state.pop(name)
        save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises((ValueError, FileNotFoundError)):
        AmortizedExplainer.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("outputs", lambda config: config["outputs"][::-1]),
        ("game", lambda config: config["game"] | {"outputs": config["game"]["outputs"][::-1]}),
        ("encoder", lambda config: config["encoder"] | {"players": "token"}),
        ("ends", lambda config: "exact"),
        ("normalizer", lambda config: "additive"),
        ("estimand", lambda config: "banzhaf"),
    ],
)
def test_weights_are_not_read_under_another_config(texts, tmp_path, name, change) -> None:
    texts[1].save_pretrained(tmp_path)
    AmortizedExplainer.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config[name] = change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="saved under other settings"):
        AmortizedExplainer.from_pretrained(tmp_path)


def test_a_text_that_is_too_long_is_reported(texts) -> None:
    _, made, _ = texts
    given = ["good film", " ".join(WORDS[i % 12] for i in range(300))]
    for refine in (0, 1):
        said = made.explain(given, refine)
        assert said.diagnostics["n_cut"][0] == 0
        read = " ".join(said.players[1])
        assert said.diagnostics["n_cut"][1] == len(given[1]) - len(read) - 1  # and a space
        assert "1 of 2 texts cut at the longest input" in said.method
        assert said.game == made.explain(given[:1]).game  # what is compared is of one game


def test_the_unbiased_mode_without_evaluations_is_refused(texts) -> None:
    with pytest.raises(ValueError, match="refine=1 or more"):
        texts[1].explain(["good film"], unbiased=True)


def test_a_pass_in_bfloat16_is_the_pass_but_for_its_digits(texts) -> None:
    _, made, _ = texts
    given = words(40, seed=5)
    full, low = made.explain(given), made.explain(given, precision="bf16")
    gap = (full.values - low.values).square().mean().sqrt()
    assert 0 < float(gap) < 0.03 * float(full.values.square().mean().sqrt())
    with pytest.raises(ValueError, match="precision"):
        made.explain(given, precision="fp8")


def test_an_explainer_may_read_with_the_first_layers_of_its_target() -> None:
    model = text_model()
    made = AmortizedExplainer.from_target(model, encoder={"layers": 1})
    ours, theirs = (dict(m.named_parameters()) for m in (made.encoder.network, model.network.bert))
    assert "encoder.layer.1.output.dense.weight" not in ours
    name = "encoder.layer.0.output.dense.weight"
    assert torch.equal(ours[name], theirs[name])
    with pytest.raises(ValueError, match="has 2"):
        AmortizedExplainer.from_target(model, encoder={"layers": 3})


def test_a_changed_weight_changes_what_a_trained_explainer_says(texts) -> None:
    _, made, _ = texts
    before = made.explain(["good film"]).values
    weight = made.encoder.network.encoder.layer[0].attention.self.value.weight
    with torch.no_grad():
        weight.neg_()
        after = made.explain(["good film"]).values
        weight.neg_()
    assert not torch.allclose(before, after)
    assert torch.equal(made.explain(["good film"]).values, before)


def test_company_and_batches_do_not_change_an_explanation(texts) -> None:
    _, made, _ = texts
    given = words(9, seed=3)
    whole = made.explain(given)
    for row, text in enumerate(given):
        alone = made.explain([text])
        n = alone.shape[1]
        assert whole.values[row, :n].numpy() == pytest.approx(alone.values[0].numpy(), abs=1e-5)
        assert not whole.values[row, n:].any()
    small = made.explain(given, batch_size=2)
    assert small.values.numpy() == pytest.approx(whole.values.numpy(), abs=1e-5)
    assert [tuple(text.split()) for text in given] == list(whole.players)


def test_another_model_cannot_be_attached_nor_its_labels_be_learned(texts) -> None:
    _, made, labels = texts
    other = text_model(removal="drop")
    with pytest.raises(ValueError, match="another"):
        made.attach(other)
    foreign = dataclasses.replace(labels, card=dataclasses.replace(labels.card, fingerprint="x"))
    with pytest.raises(ValueError, match="another fingerprint"):
        made.fit(foreign, progress=False)


def test_a_killed_training_goes_on_to_the_same_weights(games, store, tmp_path) -> None:
    def fresh():
        return AmortizedExplainer.from_target(games, some_rows(600))

    words = {"progress": False, "epochs": 3, "checkpoint_dir": tmp_path}
    whole = fresh().fit(store, **{**words, "checkpoint_dir": tmp_path / "other"})
    started = fresh()
    calls = 0
    predict = type(started).predict

    def dies(self, *arguments, **given):
        nonlocal calls
        calls += 1
        if calls == 14:
            raise KeyboardInterrupt
        return predict(self, *arguments, **given)

    started.predict = dies.__get__(started)
    from baselines import training

    keep = training.fit

    def eager(*arguments, **given):
        return keep(*arguments, **given, checkpoint_seconds=0.0)

    training.fit = eager
    try:
        with pytest.raises(KeyboardInterrupt):
            started.fit(store, **words)
        resumed = fresh().fit(store, **words)
    finally:
        training.fit = keep
    assert all(
        torch.equal(a, b)
        for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_fastshap_learns_rows_without_any_label(games, held) -> None:
    x, truth = held
    words = presets.fastshap(8, epochs=25, batch_size=64)
    made = AmortizedExplainer.from_target(games, some_rows(500), **words)
    made.fit(some_rows(500), progress=False)
    said = made.explain(x)
    assert error(said, truth) < 0.2 * float(truth.values.square().mean())
    ends = said.base_values + said.values.sum(1)
    grand = games(x)(torch.ones(1, 1, 6, dtype=torch.bool))[:, 0]
    assert ends.numpy() == pytest.approx(grand.numpy(), abs=1e-4)


def test_the_control_variate_learns_rows_without_any_label(games, held) -> None:
    x, truth = held
    words = {"normalizer": "additive", "ends": "exact", "uncertainty": False}
    made = AmortizedExplainer.from_target(games, some_rows(500), **words)
    made.fit(some_rows(500), objective="control-variate", epochs=25, batch_size=64, progress=False)
    assert error(made.explain(x), truth) < 0.2 * float(truth.values.square().mean())


def test_images_are_explained_by_the_same_class() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 64, generator=generator, dtype=torch.float64) / 4

    def network(images):
        return torch.tanh(images.double().flatten(1) @ weight.T)

    imputer = BaselineImputer(torch.zeros(1, 8, 8, dtype=torch.float64))
    groups = patches((1, 8, 8), 2)

    def games(x):
        return MaskedGame(network, x.double(), imputer, groups=groups)

    def images(count, seed):
        draws = torch.Generator().manual_seed(seed)
        return torch.randn(count, 1, 8, 8, generator=draws, dtype=torch.float64)

    made = AmortizedExplainer.from_target(games, images(4, 0), encoder={"grid": [2, 2]})
    made.fit(Labels.now(games, images(400, 1), 1), progress=False, epochs=20)
    x = images(60, 2)
    truth = exact_shapley(games(x))
    said = made.explain(x)
    assert said.shape == (60, 4, 2)
    assert error(said, truth) < 0.7 * float(truth.values.square().mean())


def test_presets_have_the_shapes_of_their_papers(tmp_path) -> None:
    model = text_model(players="token", removal="pad")
    one = AmortizedExplainer.from_target(model, **presets.yang2023(epochs=1, batch_size=16))
    assert sum(p.numel() for p in one.head.parameters()) == 16 + 1
    two = AmortizedExplainer.from_target(model, **presets.empirical(epochs=1))
    assert sum(p.numel() for p in two.head.parameters()) == 24 * 16 * 24 + 24
    labels = Labels.now(model, list(dict.fromkeys(words(40))), 1)
    for made in (one, two):
        said = made.fit(labels, progress=False).explain(words(3))
        assert said.outputs == ["predicted class"]
        assert said.std_errors is None
        made.save_pretrained(tmp_path)
        again = AmortizedExplainer.from_pretrained(tmp_path)
        assert torch.equal(again.explain(words(3)).values, said.values)


def test_an_imitator_takes_its_teachers_estimand(games) -> None:
    from baselines import Explanation

    def teacher(x):
        return Explanation(x.double()[..., None].expand(-1, -1, 2).clone(), estimand="gradient")

    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        store = LabelStore(folder).generate(games, some_rows(200), teacher=teacher, progress=False)
        made = AmortizedExplainer.from_target(games, some_rows(200)).fit(store, **QUICK)
    x = some_rows(20, seed=4)
    said = made.explain(x)
    assert said.estimand == "gradient"
    assert error(said, teacher(x)) < 0.1
    with pytest.raises(ValueError, match="imitates"):
        made.explain(x, refine=1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"normalizer": "softly"}, "normalizer"),
        ({"ends": "guessed"}, "ends"),
        ({"classes": "some"}, "classes"),
        ({"estimand": "love"}, "estimand"),
        ({"format_version": 9}, "format_version"),
    ],
)
def test_unknown_options_are_refused_by_name(words, message) -> None:
    with pytest.raises(ValueError, match=message):
        AmortizedConfig(**words)


def test_adapters_name_their_extra_where_it_is_missing(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"harsanyi\[lora\]"):
        AmortizedExplainer.from_target(text_model(), lora=4)


def test_training_and_explaining_leave_the_global_generator_alone(games, store) -> None:
    before = torch.random.get_rng_state()
    made = AmortizedExplainer.from_target(games, some_rows(20))
    made.fit(store, progress=False, epochs=1).explain(some_rows(3), refine=1)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_classifier_and_explainer_do_not_share_weights() -> None:
    network = classifier()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    from baselines import TextModel
    from tests.test_text import wordpiece

    model = TextModel(network, wordpiece())
    labels = Labels.now(model, list(dict.fromkeys(words(30))), 1)
    AmortizedExplainer.from_target(model).fit(labels, progress=False, epochs=1)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_integrated_gradients_of_texts_are_captums() -> None:
    captum_attr = pytest.importorskip("captum.attr")
    from baselines import TextIntegratedGradients

    model = text_model(players="token")
    text = "the film was unbelievable"
    said = TextIntegratedGradients(model, 400).explain([text])
    ids = model.encode([text])[0].ids[None]
    start = torch.where(model.encode([text])[0].special, ids, model.tokenizer.pad_token_id)
    layer = captum_attr.LayerIntegratedGradients(
        lambda given: model.network(given).logits, model.network.get_input_embeddings()
    )
    for output in range(3):
        wanted = layer.attribute(ids, start, target=output, n_steps=400)[0].sum(-1)[1:-1]
        found = said.values[0, :, output].numpy()
        assert found == pytest.approx(wanted.detach().numpy(), abs=1e-4)
    assert float(said.diagnostics["additivity_gap"].abs().max()) < 1e-3


def test_an_empirical_explainer_imitates_integrated_gradients(tmp_path) -> None:
    from baselines import TextIntegratedGradients

    model = text_model(players="token")
    given = list(dict.fromkeys(words(40)))
    teacher = TextIntegratedGradients(model, 8)
    store = LabelStore(tmp_path).generate(model, given, teacher=teacher, progress=False)
    made = AmortizedExplainer.from_target(model, **presets.empirical(lr=1e-3, epochs=8))
    said = made.fit(store, progress=False).explain(given[:4])
    assert said.estimand == "gradient"
    assert made.config.measures["mse"][0] < made.config.measures["rms"][0] ** 2 * 1.5


def test_calibration_does_not_mind_how_far_texts_are_padded(texts) -> None:
    model, made, _ = texts
    given = list(dict.fromkeys(words(40, seed=9)))[:24]
    made = AmortizedExplainer.from_target(model)
    longest = [*given, " ".join(WORDS[:12])]
    truth = Labels.now(model, longest, 4).explanation()
    made.calibrate(given, truth.select(slice(0, 24)), levels=(0.8,))
    alone = made.config.conformal["0"]["0.8"]
    made.calibrate(given, Labels.now(model, given, 4).explanation(), levels=(0.8,))
    assert made.config.conformal["0"]["0.8"] == pytest.approx(alone)


def test_what_an_explainer_of_texts_cannot_read_is_refused_by_name() -> None:
    model = text_model(removal="drop")
    with pytest.raises(TypeError, match=r"TextModel\.from_pretrained"):
        AmortizedExplainer.from_target("a-folder")
    with pytest.raises(ValueError, match="'padded', 'max_length' and 'layers'"):
        AmortizedExplainer.from_target(model, encoder={"depth": 2})
    made = AmortizedExplainer.from_target(model)
    with pytest.raises(TypeError, match="examples are numbers"):
        made.explain(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="example 0 is blank"):
        made.explain(["\u200b"])
    labels = Labels.now(model, ["good film", "bad"], 1)
    for validation in (None, 1):
        with pytest.raises(TypeError, match=f"validation={validation}"):
            made.fit(labels, validation)
