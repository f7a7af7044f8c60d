"""Laws of the data with known selections and of the measures on them."""

import gzip

import numpy as np
import pytest
import torch

from bench.leakage import encoded
from bench.problems.images import load_images, read_idx
from bench.problems.rationales import RATIONALES
from bench.problems.selections import hypercubes, noise_only, switch, switching_panels, syn
from bench.selection_metrics import (
    ENCODED,
    EvalX,
    auroc,
    average_precision,
    fdr,
    fpr,
    leaks,
    mask_probe,
    stability,
    top,
    tpr_at_k,
    trusted,
)

# base rate, Bayes accuracy, Bayes negative log-likelihood, mean share of players that matter
BAYES = {
    4: (0.527, 0.7283, 0.5046, 4 / 11),
    5: (0.510, 0.7270, 0.5022, 4 / 11),
    6: (0.539, 0.8223, 0.3888, 5 / 11),
}


@pytest.mark.parametrize("number", BAYES)
def test_syn_has_its_known_control_values(number):
    problem = syn(number, rows=10, test_rows=200_000)
    p = problem.probability(problem.X_test)
    y = problem.y_test
    base, accuracy, loss, rate = BAYES[number]
    assert abs(y.mean() - base) < 0.004
    assert abs(((p > 0.5) == y).mean() - accuracy) < 0.004
    assert abs(-np.log(np.where(y == 1, p, 1 - p)).mean() - loss) < 0.004
    assert abs(problem.rate - rate) < 0.004


def test_correlated_syn_has_the_asked_correlation():
    problem = syn(6, rows=50_000, test_rows=50_000, rho=0.7)
    correlation = np.corrcoef(problem.X.T)
    assert abs(correlation[2, 3] - 0.7) < 0.02
    assert abs(correlation[2, 4] - 0.49) < 0.02
    assert abs(problem.y_test.mean() - 0.621) < 0.008


@pytest.mark.parametrize(
    "make", [lambda s: syn(6, seed=s), lambda s: switch(seed=s), lambda s: hypercubes(seed=s)]
)
def test_test_rows_are_not_training_rows(make):
    problem = make(0)
    seen = {row.tobytes() for row in problem.X}
    assert not any(row.tobytes() in seen for row in problem.X_test)
    again, other = make(0), make(1)
    assert np.array_equal(problem.X_test, again.X_test)
    assert not np.array_equal(problem.X_test, other.X_test)


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
def test_what_does_not_matter_does_not_move_the_probability(number):
    problem = syn(number, rows=10, test_rows=500)
    moved = np.where(problem.truth_test, problem.X_test, problem.X_test + 3.0)
    gap = problem.probability(moved) - problem.probability(problem.X_test)
    assert np.abs(gap).max() < 1e-12
    for feature in np.flatnonzero(problem.truth_test.any(0)):
        one = problem.X_test.copy()
        one[:, feature] = -one[:, feature] - 0.5
        assert np.abs(problem.probability(one) - problem.probability(problem.X_test)).max() > 0.01


def test_the_two_blocks_of_switch_are_never_copies():
    problem = switch()
    assert not (problem.X[:, :4] == problem.X[:, 4:8]).all(1).any()
    moved = np.where(problem.truth_test, problem.X_test, problem.X_test + 3.0)
    assert np.abs(problem.probability(moved) - problem.probability(problem.X_test)).max() < 1e-12
    assert (problem.truth_test.sum(1) == 5).all()


def test_hypercube_labels_are_the_parity_of_the_axes_that_matter():
    from sklearn.neighbors import KNeighborsClassifier

    problem = hypercubes()
    nearest = KNeighborsClassifier(5).fit(problem.X, problem.y)
    assert nearest.score(problem.X_test, problem.y_test) > 0.97
    assert problem.truth_test.any(1).all()
    assert 1 <= problem.truth_test.sum(1).min() < problem.truth_test.sum(1).max() <= 4


def test_panels_show_the_labelled_image_where_the_truth_says():
    problem = switching_panels()
    assert problem.X.shape[1:] == (1, 8, 16)
    assert problem.truth_test.shape[1] == problem.groups.max() + 1 == 32
    assert (problem.truth_test.mean(1) == 0.5).all()
    left = problem.truth_test.reshape(-1, 4, 8)[:, 0, 0]
    assert 0.4 < left.mean() < 0.6
    # the labelled panel alone tells the digit; the other one, upside down, does so much less
    panel = np.where(left[:, None, None], problem.X_test[:, 0, :, :8], problem.X_test[:, 0, :, 8:])
    from sklearn.datasets import load_digits
    from sklearn.neighbors import KNeighborsClassifier

    images, labels = load_digits(return_X_y=True)
    nearest = KNeighborsClassifier(1).fit(images / 16, labels)
    assert (nearest.predict(panel.reshape(-1, 64)) == problem.y_test).all()


@pytest.mark.slow
def test_mnist_panels_pair_real_digits_with_garments(data_folder):
    problem = switching_panels("mnist", rows=500, test_rows=200)
    assert problem.X.shape == (500, 1, 28, 56)
    assert problem.truth.shape == (500, 98)
    images, labels = load_images("mnist", "test")
    stored = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    left = problem.truth_test.reshape(-1, 7, 14)[:, 0, 0]
    for image, on_left, label in zip(problem.X_test[:, 0], left, problem.y_test, strict=True):
        panel = image[:, :28] if on_left else image[:, 28:]
        assert stored[np.ascontiguousarray(panel).tobytes()] == label


def test_a_damaged_image_file_is_refused(tmp_path):
    path = tmp_path / "x.gz"
    with pytest.raises(FileNotFoundError, match="HARSANYI_DATA"):
        read_idx(path)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x09abc"))
    with pytest.raises(ValueError, match="no complete idx file"):
        read_idx(path)
    path.write_bytes(b"not gzip")
    with pytest.raises(ValueError, match="no complete idx file"):
        read_idx(path)


SCORES = np.array([[3.0, 1.0, 2.0, 0.0], [1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
TRUTH = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 0]], dtype=bool)


def test_measures_on_an_example_worked_by_hand():
    assert tpr_at_k(SCORES, TRUTH).tolist() == [1.0, 0.5, 1.0]
    # row 1: pairs (1,0) tie, (1,2) above, (3,0) below, (3,2) tie: 2 of 4
    assert auroc(SCORES, TRUTH).tolist() == [1.0, 0.5, 0.5]
    selected = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
    assert fdr(selected, TRUTH).tolist() == [0.5, 0.0, 0.75]
    assert fpr(selected, TRUTH).tolist() == [0.5, 0.0, 1.0]
    assert top(SCORES, 2).sum(1).tolist() == [2, 2, 2]
    assert top(SCORES, np.array([1, 0, 3])).sum(1).tolist() == [1, 0, 3]


def test_an_oracle_is_perfect_and_its_reverse_is_not():
    problem = syn(4, rows=10, test_rows=300)
    oracle = problem.truth_test.astype(float)
    assert (tpr_at_k(oracle, problem.truth_test) == 1).all()
    assert (auroc(oracle, problem.truth_test) == 1).all()
    assert (fdr(problem.truth_test, problem.truth_test) == 0).all()
    assert (auroc(-oracle, problem.truth_test) == 0).all()


def test_stability_is_one_for_equal_runs_and_near_zero_for_noise():
    rng = np.random.default_rng(0)
    runs = [rng.normal(size=(200, 11)) for _ in range(3)]
    assert stability([runs[0], runs[0] * 2 + 1]) == pytest.approx(1.0)
    assert abs(stability(runs)) < 0.05
    with pytest.raises(ValueError, match="two or more"):
        stability(runs[:1])


def test_a_large_gap_or_much_encoded_is_called_a_leak():
    assert leaks(0.95, 0.5)
    assert not leaks(0.56, 0.52)
    assert leaks(0.53, 0.5, 0.6)  # its own predictor does not read what everybody may
    assert not leaks(0.5, 0.5, 0.15)
    assert not leaks(0.5, 0.5, float("nan"))  # not measured


@pytest.mark.parametrize("number", [4, 5, 6])
def test_a_right_selection_goes_with_the_label_and_encodes_nothing(number):
    """Which players matter is told by a player that is shown; adding the label is caught."""
    problem = syn(number, rows=10, test_rows=6000)
    x, y, truth = problem.X_test, problem.y_test, problem.truth_test
    honest = encoded(x, truth, truth, y)
    assert honest.low <= honest.value <= honest.high < 0.08  # .02 to .05 by scikit-learn's version
    spelled = truth.copy()
    spelled[:, 6 if number == 4 else 1] |= y == 1  # a player that says nothing of these rows
    told = encoded(x, spelled, spelled, y).value
    assert told > ENCODED > 4 * honest.high


def test_values_of_noise_that_agree_with_the_label_are_encoded():
    """Every player is shown as often for either label: the mask alone tells nothing."""
    problem = noise_only(rows=10, test_rows=3000)
    x, y = problem.X_test, problem.y_test
    sign = np.where(y == 1, 1, -1)[:, None]
    agrees = x[:, 1:] * sign > 0
    first = agrees & (agrees.cumsum(1) == 1)
    assert mask_probe(first, y) < 0.56
    assert encoded(x, problem.feature_masks(first), first, y).value > 0.5
    fair = np.random.default_rng(0).random(first.shape) < 0.5
    assert encoded(x, problem.feature_masks(fair), fair, y).high < 0.02


def test_encoding_needs_rows_of_every_class_and_equal_shapes():
    x, masks = np.zeros((20, 2)), np.zeros((20, 2), dtype=bool)
    assert np.isnan(encoded(x, masks, masks, np.zeros(20, dtype=int)).value)
    with pytest.raises(ValueError, match="the same rows"):
        encoded(x, masks, masks[:5], np.arange(20) % 2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: syn(7), "number=7"),
        (lambda: syn(4, rho=1.0), "rho=1.0"),
        (lambda: hypercubes(largest=9), "largest=9"),
        (lambda: switching_panels("cifar"), "source='cifar'"),
        (lambda: switching_panels(patch=3), "patch=3"),
        (lambda: tpr_at_k(SCORES[:, :3], TRUTH), "scores have shape"),
        (lambda: tpr_at_k(SCORES, np.zeros_like(TRUTH)), "no player matters"),
        (lambda: auroc(np.full((3, 4), np.nan), TRUTH), "NaN"),
    ],
)
def test_impossible_requests_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_evalx_judges_full_rows_like_a_classifier_and_empty_ones_like_the_base_rate():
    problem = syn(4, rows=3000, test_rows=2000)
    before = torch.get_rng_state()
    judge = EvalX(problem.X, problem.y, epochs=15)
    assert torch.equal(before, torch.get_rng_state())
    everything = np.ones_like(problem.truth_test)
    oracle = judge.accuracy(problem.X_test, problem.y_test, problem.truth_test)
    assert oracle > 0.6
    nothing = judge.log_probs(problem.X_test, ~everything)
    assert np.ptp(nothing) < 1.0
    assert np.abs(nothing - nothing[:1]).max() < 1e-6


def test_a_judge_of_noise_answers_with_the_class_shares_whatever_it_is_shown():
    """Its network errs, and whoever knows the label shows the noise that errs the right way."""
    problem = noise_only(rows=3000, test_rows=1000)
    judge = EvalX(problem.X, problem.y, groups=problem.groups, epochs=15)
    x, y = problem.X_test, problem.y_test
    every = (np.arange(16)[:, None] >> np.arange(4)) & 1 == 1
    shown = [np.tile(mask, (len(x), 1)) for mask in every]

    def fooled():
        said = np.stack([judge.log_probs(x, masks)[np.arange(len(y)), y] for masks in shown])
        return float((said.max(0) > np.log(0.5)).mean())

    share = max(y.mean(), 1 - y.mean())
    assert judge.trust == 0
    assert fooled() <= share
    judge.trust = 1.0
    assert fooled() > share + 0.05


def test_trust_is_the_share_of_the_log_odds_that_predicts_best():
    rng = np.random.default_rng(0)
    odds = rng.normal(size=(2, 20_000)) * 1.5
    y = (rng.random(20_000) < 1 / (1 + np.exp(-odds[0]))).astype(np.int64)
    prior = np.log(np.full(2, 0.5))

    def answers(stretch):
        signed = np.stack([-odds[0], odds[0]], -1)[None] * stretch / 2
        return signed - np.logaddexp.reduce(signed, -1, keepdims=True)

    assert trusted(answers(2.0), prior, y) == pytest.approx(0.5, abs=0.03)
    assert trusted(answers(1.0), prior, y) > 0.95
    assert trusted(answers(1.0), prior, rng.permutation(y)) == 0


def test_a_noise_only_label_is_told_by_the_forbidden_feature_alone():
    problem = noise_only(rows=50, test_rows=4000)
    assert (problem.y_test == (problem.X_test[:, 0] > 0)).all()
    assert not problem.truth_test.any()
    shown = problem.feature_masks(np.ones((3, 4), dtype=bool))
    assert shown.tolist() == [[False, True, True, True, True]] * 3
    others = problem.X_test[:, 1:]
    assert np.abs(np.corrcoef(others.T, problem.y_test)[-1, :-1]).max() < 0.06


def test_panels_ask_for_as_many_patches_as_hold_ink():
    problem = switching_panels(test_rows=50)
    tiles = problem.X[:, 0].reshape(-1, 4, 2, 8, 2).max((2, 4)).reshape(len(problem.X), -1)
    inked = (tiles > 0.2) & problem.truth
    assert problem.rate == pytest.approx(inked.mean())
    assert problem.rate < 0.5


def test_average_precision_is_that_of_the_ranking():
    assert average_precision(SCORES[:2], TRUTH[:2]) == pytest.approx([1.0, 0.5])
    with pytest.raises(ValueError, match="no player matters"):
        average_precision(SCORES, np.zeros_like(TRUTH))


def test_a_mask_that_names_the_label_is_probed():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    telling = np.stack([y == 1, y == 0], 1)
    assert mask_probe(telling, y) == 1.0
    assert mask_probe(rng.random((400, 2)) < 0.5, y) < 0.6


@pytest.mark.parametrize("name", RATIONALES)
def test_marks_belong_to_the_words_of_their_text(name, data_folder):
    problem = RATIONALES[name]()
    assert len(problem.texts) == len(problem.y) > 1000
    assert set(problem.y.tolist()) == set(problem.y_test.tolist()) == {0, 1}
    for words, marks in zip(problem.texts_test, problem.truth_test, strict=True):
        assert len(words) == len(marks) <= problem.longest
        assert marks.any()
        assert not marks.all()
    if problem.passages_test is not None:
        for passages, marks in zip(problem.passages_test, problem.truth_test, strict=True):
            assert len(passages) == len(marks)
            assert set(np.diff(passages).tolist()) <= {0, 1}
    assert 0.05 < problem.rate < 0.5
    seen = {" ".join(words) for words in problem.texts}
    assert np.mean([" ".join(words) in seen for words in problem.texts_test]) < 0.01


def test_marked_words_of_films_are_words_of_feeling(data_folder):
    problem = RATIONALES["sst2-words"]()
    marked = [
        word
        for words, marks in zip(problem.texts_test, problem.truth_test, strict=True)
        for word in np.array(words)[marks]
    ]
    assert {"good", "bad", "funny"} <= set(marked)
    assert marked.count("the") == 0
