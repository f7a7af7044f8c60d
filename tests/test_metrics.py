"""Laws of the metrics: unbiased under a noisy truth, honest intervals, refusals, ties."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from baselines.explanation import Explanation
from baselines.game import TableGame
from bench import metrics
from bench.comparable import NotComparable
from bench.curves import deletion, infidelity, insertion, removal_curve
from bench.intervals import mean_interval, ratio_interval

B, N, K = 40, 8, 2


def noisy_truth(
    exact: np.ndarray, noise: float, rng: np.random.Generator, pairs: int = 40
) -> Explanation:
    """A truth that is the mean of `pairs` draws, with the standard errors those draws show."""
    draws = exact + noise * np.sqrt(pairs) * rng.standard_normal((pairs, *exact.shape))
    errors = draws.std(0, ddof=1) / np.sqrt(pairs)
    return Explanation(torch.from_numpy(draws.mean(0)), std_errors=torch.from_numpy(errors))


def as_explanation(values: np.ndarray, **words: object) -> Explanation:
    return Explanation(torch.from_numpy(np.asarray(values, dtype=np.float64)), **words)  # pyright: ignore[reportArgumentType]


def exact_values(rng: np.random.Generator, b: int = B) -> np.ndarray:
    return rng.standard_normal((b, N, K))


def test_squared_error_is_unbiased_under_truth_noise_as_large_as_the_error() -> None:
    rng = np.random.default_rng(0)
    error = noise = 0.3
    found = []
    for _ in range(300):
        exact = exact_values(rng)
        answer = as_explanation(exact + error * rng.standard_normal(exact.shape))
        found.append(metrics.squared_error(answer, noisy_truth(exact, noise, rng)).mean())
    z = (np.mean(found) - error**2) / stats.sem(found)
    assert abs(z) < 3.5
    # and the law can fail: without the correction the same figures are far off
    raw_bias = noise**2 / stats.sem(found)
    assert raw_bias > 20


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_intervals_of_a_contender_of_known_error_cover_in_92_to_98_percent(noise: float) -> None:
    rng = np.random.default_rng(1)
    error, hits = 0.3, 0
    for _ in range(300):
        exact = exact_values(rng, b=60)
        answer = as_explanation(exact + error * rng.standard_normal(exact.shape))
        truth = noisy_truth(exact, noise, rng) if noise else as_explanation(exact, exact=True)
        interval = mean_interval(metrics.squared_error(answer, truth)[None])
        hits += interval.low <= error**2 <= interval.high
    assert 0.92 <= hits / 300 <= 0.98


@pytest.mark.slow
def test_intervals_over_runs_cover_errors_that_explicands_share() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(300):
        luck = 1 + 0.5 * rng.standard_normal((30, 1))  # of a run: all explicands have it
        scores = luck + 0.5 * rng.standard_normal((1, 40)) + 0.2 * rng.standard_normal((30, 40))
        interval = mean_interval(scores)
        hits += interval.low <= 1 <= interval.high
    assert 0.92 <= hits / 300 <= 0.99  # resampling both ways errs on the wide side


def test_one_run_cannot_see_the_luck_of_a_run() -> None:
    rng = np.random.default_rng(2)
    scores = 1 + 0.5 * rng.standard_normal((20, 1)) + 0.1 * rng.standard_normal((20, 40))
    one, many = mean_interval(scores[:1]), mean_interval(scores)
    assert many.high - many.low > 2 * (one.high - one.low)


def test_equal_scores_at_a_bound_do_not_make_a_certain_interval() -> None:
    value, low, high = mean_interval(np.zeros((1, 30)), bounds=(0.0, 1.0))
    assert (value, low) == (0.0, 0.0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 30))


def test_one_explicand_has_an_unknown_interval() -> None:
    value, low, high = mean_interval(np.ones((1, 1)))
    assert value == 1.0
    assert np.isnan([low, high]).all()


def test_ratio_interval_is_the_ratio_of_means() -> None:
    rng = np.random.default_rng(3)
    scores, scale = rng.random((3, 50)), 1 + rng.random(50)
    interval = ratio_interval(scores, scale)
    assert interval.value == pytest.approx(scores.mean() / scale.mean())
    assert interval.low < interval.value < interval.high


def test_a_perfect_explanation_scores_perfectly_on_an_exact_truth() -> None:
    truth = as_explanation(exact_values(np.random.default_rng(4)), exact=True)
    assert metrics.squared_error(truth, truth).max() == 0
    assert metrics.spearman(truth, truth) == pytest.approx(np.ones(B))
    assert metrics.top_k(truth, truth).min() == 1
    assert metrics.sign_errors(truth, truth).max() == 0
    assert metrics.spearman_ceiling(truth).min() == 1


def test_a_wrong_sign_is_caught() -> None:
    truth = as_explanation(exact_values(np.random.default_rng(5)), exact=True)
    flipped = dataclasses.replace(truth, values=-truth.values)
    assert metrics.sign_errors(flipped, truth).min() == 1
    assert metrics.spearman(flipped, truth) == pytest.approx(-np.ones(B))
    assert metrics.squared_error(flipped, truth) == pytest.approx(4 * metrics.squared_scale(truth))


@pytest.mark.parametrize(
    "metric", [metrics.squared_error, metrics.spearman, metrics.top_k, metrics.sign_errors]
)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"estimand": "selection"}, "estimand 'selection'"),
        ({"game": "mlp with marginal imputer"}, "is of the game 'mlp with marginal imputer'"),
        ({"players": tuple("hgfedcba")}, "same order"),
        ({"values": torch.zeros(B, N, 1)}, "explain the same explicands"),
        ({"player_mask": torch.arange(N).expand(B, N) < N - 1}, "padding"),
    ],
)
def test_metrics_refuse_what_does_not_compare(metric, change, says) -> None:
    truth = as_explanation(
        exact_values(np.random.default_rng(6)),
        exact=True,
        game="mlp with baseline imputer",
        players=tuple("abcdefgh"),
    )
    with pytest.raises(NotComparable, match=says):
        metric(dataclasses.replace(truth, **change), truth)


def test_one_game_under_two_names_is_compared_and_two_games_are_not() -> None:
    values = exact_values(np.random.default_rng(6))
    base = torch.zeros(B, K, dtype=torch.float64)
    truth = as_explanation(values, exact=True, game="net with baseline imputer", base_values=base)
    ours = dataclasses.replace(truth, values=truth.values.flip(1), game="its own words")
    assert metrics.squared_error(ours, truth).min() > 0
    for change in ({"base_values": base + 0.1}, {"values": 1.1 * truth.values}):
        with pytest.raises(NotComparable, match="its own words"):
            metrics.squared_error(dataclasses.replace(ours, **change), truth)


def test_a_refusal_names_the_metrics_that_fit() -> None:
    truth = as_explanation(exact_values(np.random.default_rng(6)), exact=True)
    selection = dataclasses.replace(truth, estimand="selection")
    with pytest.raises(NotComparable, match="insertion, deletion, infidelity"):
        metrics.squared_error(selection, truth)


def test_efficiency_is_no_duty_of_other_estimands() -> None:
    selection = as_explanation(exact_values(np.random.default_rng(7)), estimand="selection")
    ends = torch.zeros(B, K), torch.ones(B, K)
    with pytest.raises(NotComparable, match="does not sum"):
        metrics.efficiency_gap(selection, ends)


def test_a_truth_of_unknown_noise_is_refused() -> None:
    values = exact_values(np.random.default_rng(8))
    with pytest.raises(NotComparable, match="cannot be taken for zero"):
        metrics.squared_error(as_explanation(values), as_explanation(values))
    endless = torch.full((B, N, K), torch.inf, dtype=torch.float64)
    with pytest.raises(NotComparable, match="unknown"):
        metrics.top_k(as_explanation(values), as_explanation(values, std_errors=endless))


def test_a_truth_without_spread_certifies_nothing() -> None:
    values = exact_values(np.random.default_rng(8))
    endless = torch.full((B, N, K), torch.inf, dtype=torch.float64)
    silent = {"zero_spread": torch.ones(B, N, K, dtype=torch.bool)}
    truth = as_explanation(values, std_errors=endless, diagnostics=silent)
    flipped = as_explanation(-values)
    assert metrics.squared_error(flipped, truth) == pytest.approx(4 * (values**2).mean((1, 2)))
    assert not metrics.certified_above(truth, 0).any()
    assert np.isnan(metrics.sign_errors(flipped, truth)).all()


def test_certified_orders_are_wrong_in_at_most_5_percent_of_truths() -> None:
    rng = np.random.default_rng(9)
    exact = np.abs(exact_values(rng))
    order = np.abs(exact)[:, :, None] > np.abs(exact)[:, None]
    wrong = []
    for _ in range(10):
        truth = noisy_truth(exact, 0.05, rng)
        sure = np.stack([metrics.certified_above(truth, row) for row in range(B)])
        wrong.append((sure & ~order).any((1, 2)))
        assert sure.any()
    assert np.mean(wrong) <= 0.05


def test_a_swap_within_the_truths_noise_is_a_tie_and_beyond_it_an_error() -> None:
    values = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.0]).double()[None, :, None]
    swapped = as_explanation(values[:, [0, 1, 3, 2, 4]].numpy())
    sharp = Explanation(values, std_errors=torch.full_like(values, 1e-3))
    blurred = Explanation(values, std_errors=torch.full_like(values, 0.5))
    assert metrics.top_k(swapped, sharp, k=3) == pytest.approx([2 / 3])
    assert metrics.top_k(swapped, blurred, k=3) == pytest.approx([1.0])


def test_equal_true_values_are_ties_in_the_top_k() -> None:
    truth = as_explanation(np.array([1.0, 0.5, 0.5, 0.0])[None, :, None], exact=True)
    for second in (1, 2):
        given = np.zeros((1, 4, 1))
        given[0, 0], given[0, second] = 1.0, 0.9
        assert metrics.top_k(as_explanation(given), truth, k=2) == pytest.approx([1.0])
    given = np.array([1.0, 0.0, 0.0, 0.9])[None, :, None]
    assert metrics.top_k(as_explanation(given), truth, k=2) == pytest.approx([0.5])


def test_ranks_have_no_order_where_the_truth_has_none() -> None:
    truth = as_explanation(np.zeros((2, N, 1)), exact=True)
    assert np.isnan(metrics.spearman(as_explanation(np.ones((2, N, 1))), truth)).all()
    ordered = as_explanation(exact_values(np.random.default_rng(10))[..., :1], exact=True)
    assert metrics.spearman(as_explanation(np.ones((B, N, 1))), ordered) == pytest.approx(0)


def test_spearman_equals_scipys() -> None:
    rng = np.random.default_rng(11)
    ours, truth = exact_values(rng), np.round(exact_values(rng), 0)
    found = metrics.spearman(as_explanation(ours), as_explanation(truth, exact=True))
    wanted = [
        np.mean([stats.spearmanr(ours[i, :, j], truth[i, :, j]).statistic for j in range(K)])
        for i in range(B)
    ]
    assert found == pytest.approx(np.array(wanted))


def test_padding_changes_no_metric() -> None:
    rng = np.random.default_rng(12)
    exact, answer = exact_values(rng), exact_values(rng)
    wide = np.zeros((B, 3, K))
    mask = torch.arange(N + 3).expand(B, -1) < N
    plain = as_explanation(answer), as_explanation(exact, exact=True)
    padded = (
        as_explanation(np.concatenate([answer, wide], 1), player_mask=mask),
        as_explanation(np.concatenate([exact, wide], 1), player_mask=mask, exact=True),
    )
    for metric in (metrics.squared_error, metrics.spearman, metrics.top_k, metrics.sign_errors):
        assert metric(*padded) == pytest.approx(metric(*plain))


def test_a_flawless_explainer_reaches_the_ceiling_and_no_more() -> None:
    rng = np.random.default_rng(13)
    exact = exact_values(rng, b=400)
    halves = [noisy_truth(exact, 0.5, rng) for _ in range(2)]
    values = torch.stack([half.values for half in halves], 1)
    errors = (halves[0].std_errors ** 2 + halves[1].std_errors ** 2).sqrt() / 2  # pyright: ignore
    truth = Explanation(values.mean(1), std_errors=errors, diagnostics={"halves": values})
    reached = metrics.spearman(as_explanation(exact), truth).mean()
    by_halves = metrics.spearman_ceiling(truth).mean()
    by_redraws = metrics.spearman_ceiling(dataclasses.replace(truth, diagnostics={})).mean()
    assert reached < 0.95
    assert by_halves == pytest.approx(reached, abs=0.03)
    assert by_redraws == pytest.approx(reached, abs=0.05)


def test_seed_sensitivity_is_the_relative_spread_between_runs() -> None:
    rng = np.random.default_rng(14)
    exact = exact_values(rng, b=2000)
    runs = [as_explanation(exact + 0.1 * rng.standard_normal(exact.shape)) for _ in range(4)]
    assert metrics.seed_sensitivity(runs).mean() == pytest.approx(0.1, rel=0.1)
    assert metrics.seed_sensitivity([runs[0], runs[0]]).max() == 0
    with pytest.raises(ValueError, match="two or more"):
        metrics.seed_sensitivity(runs[:1])


def additive_game(weights: torch.Tensor) -> TableGame:
    """v(S) = sum of the weights `(b, n, k)` of S."""
    n = weights.shape[1]
    members = (torch.arange(2**n)[:, None] >> torch.arange(n)) & 1
    return TableGame(torch.einsum("mn,bnk->bmk", members.double(), weights))


def test_infidelity_is_zero_for_additive_games_and_not_for_wrong_values() -> None:
    weights = torch.from_numpy(exact_values(np.random.default_rng(15)))
    game = additive_game(weights)
    assert infidelity(Explanation(weights), game).max() < 1e-20
    assert infidelity(Explanation(-weights), game).min() > 1e-3


def test_the_true_order_deletes_fastest_and_inserts_fastest() -> None:
    rng = np.random.default_rng(16)
    weights = torch.from_numpy(exact_values(rng))
    game, best = additive_game(weights), Explanation(weights)
    for _ in range(5):
        other = as_explanation(exact_values(rng))
        assert (deletion(best, game) <= deletion(other, game) + 1e-12).all()
        assert (insertion(best, game) >= insertion(other, game) - 1e-12).all()


def test_curves_run_between_the_ends_of_the_game() -> None:
    weights = torch.from_numpy(exact_values(np.random.default_rng(17)))
    game = additive_game(weights)
    top = weights.sum(1).amax(-1).numpy()
    for order, ends in (("deletion", (top, 0 * top)), ("insertion", (0 * top, top))):
        curve = removal_curve(Explanation(weights), game, order=order)
        assert curve.shape == (B, N + 1)
        assert curve[:, 0] == pytest.approx(ends[0])
        assert curve[:, -1] == pytest.approx(ends[1])


def test_curves_refuse_another_game() -> None:
    game = additive_game(torch.zeros(B, N + 1, K).double())
    with pytest.raises(NotComparable, match="players"):
        deletion(as_explanation(exact_values(np.random.default_rng(18))), game)
