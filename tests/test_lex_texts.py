"""Laws of LEX on texts: ragged players, padding that is nobody, words that matter."""

import numpy as np
import pytest
import torch

from amortized import LEX, LEXForTexts, presets
from amortized.lex.gradients import Pathwise, Reinforce
from amortized.lex.masks import TopK
from amortized.lex.rate import NOBODY, rate_level
from amortized.lex.words import PADDING, Vocabulary, WordImputer, WordPredictor, WordSelector
from baselines import MaskTokenImputer

FILLER = ["the", "film", "with", "a", "plot", "and", "some", "actors", "in", "it"]


def reviews(count=240, seed=0):
    """Texts of 4 to 9 filler words and one word that tells the label."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        label = int(rng.integers(2))
        words = list(rng.choice(FILLER, rng.integers(4, 10)))
        words.insert(rng.integers(len(words) + 1), ["bad", "good"][label])
        texts.append(" ".join(words))
        labels.append(["neg", "pos"][label])
    return texts, labels


def small(**settings):
    texts, _ = reviews()
    given = {"width": 8, "random_state": 0, "target_rate": 0.2} | settings
    lex = LEX.for_text(texts, 2, **given)
    lex.classes = ["neg", "pos"]
    return lex.double()


@pytest.mark.parametrize(
    "settings",
    [
        {"imputer": "words", "imputations": 2},
        {"imputer": "drop", "regime": "surrogate", "m": 4},
        {"imputer": "drop", "regime": "free", "gradient": Pathwise(0.5), "m": 1},
    ],
    ids=["words", "drop", "concrete"],
)
def test_the_words_that_tell_the_label_are_selected(settings):
    texts, labels = reviews()
    lex = LEX.for_text(texts, 2, target_rate=0.15, width=8, random_state=0, **settings)
    lex.fit(
        texts,
        labels,
        epochs=12,
        predictor_epochs=15,
        batch_size=20,
        learning_rate=1e-2,
        random_state=0,
    )
    e = lex.explain(texts[:50])
    best = e.values[..., 0].argmax(1).tolist()
    found = [players[i] for players, i in zip(e.players, best, strict=True)]
    assert np.mean([word in ("good", "bad") for word in found]) > 0.9
    real = e.player_mask
    assert abs(e.values[..., 0][real].mean() - 0.15) < 0.04


def test_padding_is_nobody_and_changes_nothing():
    lex = small()
    alone = lex.explain(["good film"])
    beside = lex.explain(["good film", "the plot and some actors in it"])
    assert torch.equal(alone.values[0, :2], beside.values[0, :2])
    assert (beside.values[0, 2:] == 0).all()
    assert beside.player_mask.sum(1).tolist() == [2, 7]
    assert [len(players) for players in beside.players] == [2, 7]
    x = lex.rows(["good film"])
    assert (lex.select(x).mean[0, 2:] < 1e-9).all()
    assert not lex.select(x).sample(50)[..., 2:].any()
    wider = torch.cat([x, x.new_zeros(1, 3)], 1)
    assert torch.allclose(lex.selector(x), lex.selector(wider)[:, : x.shape[1]])
    assert torch.allclose(lex.predictors[0](x), lex.predictors[0](wider))


def test_a_rate_counts_only_words_that_exist():
    logits = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    padded = logits.clone()
    padded[2:, 3:] = NOBODY
    real = padded > NOBODY / 2
    level = rate_level(padded, 0.3)
    assert abs(torch.sigmoid(padded - level)[real].mean() - 0.3) < 1e-9


def test_absent_words_are_drawn_as_often_as_they_occur_and_padding_stays():
    imputer = WordImputer(torch.tensor([0.0, 1.0, 3.0]), n_draws=4000)
    x = torch.tensor([[2, 1, 0]])
    present = torch.tensor([[[True, False, False]]])
    filled = imputer(x, present, torch.Generator().manual_seed(0))[0, 0]
    assert (filled[:, 0] == 2).all()
    assert (filled[:, 2] == PADDING).all()
    assert abs((filled[:, 1] == 2).double().mean() - 0.75) < 0.03
    with pytest.raises(TypeError, match="integer"):
        imputer(x.double(), present)


def test_a_dropped_word_has_no_effect():
    net = WordPredictor(9, 2, width=4, mask_channel=True).double()
    one, other = torch.tensor([[2, 3, 4]]), torch.tensor([[2, 7, 4]])
    mask = torch.tensor([[True, False, True]])
    assert torch.equal(net(one, mask), net(other, mask))
    assert not torch.equal(net(one), net(other))


def test_the_relaxed_answer_at_hard_masks_is_the_hard_one():
    lex = small(imputer="drop", regime="surrogate", gradient=Pathwise(0.5), m=1)
    x = lex.rows(["good film with a plot", "bad actors"])
    z = torch.rand(1, 2, 2, x.shape[1], generator=torch.Generator().manual_seed(0)) < 0.5
    hard = lex.log_probs(x, z)
    relaxed = lex.log_probs(x, z, relaxed=z.double())
    assert torch.allclose(hard, relaxed, atol=1e-12)


@pytest.mark.parametrize("preset", [{}, presets.rationale() | {"imputer": "drop", "m": 2}])
def test_a_saved_model_for_texts_comes_back(preset, tmp_path):
    texts, labels = reviews(60)
    settings = {"target_rate": 0.2} if not preset else preset
    lex = LEX.for_text(texts, 2, width=4, random_state=0, **settings)
    lex.fit(texts, labels, epochs=1, predictor_epochs=1, random_state=0)
    lex.save_pretrained(tmp_path)
    again = LEXForTexts.from_pretrained(tmp_path)
    assert torch.equal(again.explain(texts[:5]).values, lex.explain(texts[:5]).values)
    assert torch.equal(again.predict_proba(texts[:5]), lex.predict_proba(texts[:5]))
    e = lex.explain(texts[:5])
    e.save(tmp_path / "e.safetensors")
    words = tmp_path / "words.json"
    words.write_text(words.read_text()[:-10])
    with pytest.raises(ValueError, match=r"words\.json is truncated"):
        LEXForTexts.from_pretrained(tmp_path)
    words.unlink()
    with pytest.raises(FileNotFoundError, match=r"words\.json"):
        LEXForTexts.from_pretrained(tmp_path)


def test_regression_on_texts():
    texts, labels = reviews(80)
    lex = LEX.for_text(texts, None, target_rate=0.2, width=4, random_state=0)
    lex.fit(texts, [float(y == "pos") for y in labels], epochs=1, predictor_epochs=1)
    assert lex.predict_proba(texts[:4]).shape == (4, 1)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: LEX.for_text("one text", 2), TypeError, "one string"),
        (lambda: LEX.for_text(["a b", 3], 2), TypeError, "holds a int"),
        (lambda: LEX.for_text(["a b", " "], 2), ValueError, r"without words: \[1\]"),
        (lambda: LEX.for_text([], 2), ValueError, "0 texts"),
        (lambda: LEX.for_text(["a b"], 2), ValueError, "occurs 2 times"),
        (lambda: small(imputer="mean"), ValueError, "imputer='mean'"),
        (lambda: small(law=TopK(2), target_rate=None), ValueError, "differ in length"),
        (lambda: small(gradient=Pathwise()), ValueError, "cannot be mixed"),
        (lambda: small().explain(["  "]), ValueError, "without words"),
        (lambda: WordSelector(5, 0), ValueError, "n_players=0"),
        (lambda: WordPredictor(5, 0), ValueError, "n_outputs=0"),
        (lambda: WordImputer(torch.zeros(3)), ValueError, "not all zero"),
    ],
)
def test_impossible_requests_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_long_texts_are_cut_and_unknown_words_are_one():
    vocabulary = Vocabulary.of([["a", "a", "b"]], 10)
    assert vocabulary.encode([["a", "b", "zz", "a"]], 3).tolist() == [[2, 1, 1]]
    lex = small(max_words=3, gradient=Reinforce())
    e = lex.explain(["the film with a plot"])
    assert e.players == [("the", "film", "with")] or e.players == (("the", "film", "with"),)


def test_words_that_see_no_neighbours_are_a_bag():
    selector = WordSelector(9, 4, width=6, reach=0).double()
    words, order = torch.tensor([[2, 5, 7, 3]]), torch.tensor([2, 0, 3, 1])
    assert (selector(words[:, order]) - selector(words)[:, order]).abs().max() < 1e-12
    near = WordSelector(9, 4, width=6, reach=1).double()
    assert (near(words[:, order]) - near(words)[:, order]).abs().max() > 1e-6


def test_an_imputer_of_ones_own_fills_in_words():
    texts, labels = reviews(40)
    lex = small(imputer=MaskTokenImputer(1))
    assert isinstance(lex.imputer, MaskTokenImputer)
    lex.fit(texts, labels, epochs=1, predictor_epochs=1)
    assert torch.isfinite(lex.explain(texts[:3]).values).all()
