"""Sampling until certain: the intervals hold, the ranks are right, the budget is kept."""

import pytest
import torch

import baselines
from baselines import TableGame
from tests.known_games import Known, Rule, additive, random_table, random_unanimity


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def many(seed: int = 1) -> Known:
    return random_unanimity(18, 60, (1, 2, 3, 5), seed, 2, 2)


def test_stops_when_every_half_width_is_within_tolerance():
    known = many()
    game = known.make()
    answer = baselines.shapley(game, tolerance=0.15, max_budget=60_000)
    widths = answer.diagnostics["half_widths"]
    aim = 0.15 * answer.values.square().mean(1, keepdim=True).sqrt()
    assert answer.diagnostics["converged"].all()
    assert (widths <= aim).all()
    assert game.asked == answer.n_evals < 60_000
    assert ((answer.values - known.truth).abs() <= widths).all()


def test_says_when_the_budget_ran_out():
    game = many().make()
    answer = baselines.shapley(game, tolerance=0.001, max_budget=3000)
    assert not answer.diagnostics["converged"].any()
    assert game.asked == answer.n_evals <= 3000


def test_more_equals_one_longer_run():
    game = many().make()
    short = baselines.shapley(game, tolerance=0.001, max_budget=10_000, generator=seeded(1))
    longer = short.more(3000)
    once = baselines.shapley(
        many().make(), tolerance=0.001, max_budget=13_000, generator=seeded(1)
    )
    assert game.asked == longer.n_evals
    torch.testing.assert_close(longer.values, once.values, rtol=0, atol=1e-2)


def test_small_games_are_enumerated_instead():
    known = random_table(7, seed=1)
    answer = baselines.shapley(known.make(), tolerance=0.01, certify_top_k=3)
    assert answer.exact
    assert answer.diagnostics["converged"].all()
    torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-12)
    top = known.truth.abs().argsort(dim=1, descending=True)[:, :3]
    assert torch.equal(answer.diagnostics["top"], top)
    assert answer.diagnostics["certain_ranks"].all()


def test_equal_players_are_never_ranked():
    table = random_table(6, seed=2, b=1, k=1).make().values
    twins = torch.zeros(1, 2**12, 1, dtype=torch.float64)
    for half in (0, 6):  # two copies of one game: each player has a twin
        index = (torch.arange(2**12) >> half) & 63
        twins += table[:, index]
    answer = baselines.shapley(TableGame(twins), certify_top_k=2, max_budget=4000)
    assert not answer.diagnostics["certain_ranks"].any()


def test_a_zero_spread_is_no_certainty():
    answer = baselines.shapley(additive(16).make(), tolerance=0.1, max_budget=5000)
    assert torch.isinf(answer.std_errors).all()
    assert (answer.diagnostics["half_widths"] > 0.01).all()
    assert not answer.diagnostics["converged"].any()


def test_ragged_games_and_empty_requests_are_refused():
    mask = torch.ones(1, 12, dtype=torch.bool)
    mask[0, 3] = False
    game = Rule(lambda s: s.sum(-1, keepdim=True).double(), 1, 12, 1, player_mask=mask)
    with pytest.raises(ValueError, match="ragged"):
        baselines.shapley(game, tolerance=0.1)
    game = many().make()
    for words, kwargs in {
        "pass either a budget": {},
        "goes with a tolerance": {"budget": 100, "max_budget": 200},
        "tolerance=-1": {"tolerance": -1.0},
        "certify_top_k=18": {"certify_top_k": 18},
        "max_budget": {"tolerance": 0.1, "max_budget": 30},
    }.items():
        with pytest.raises(ValueError, match=words.replace("max_budget", "budget")):
            baselines.shapley(game, **kwargs)


@pytest.mark.slow
def test_certified_ranks_are_wrong_in_at_most_one_of_twenty_runs():
    wrong, certain = 0, 0
    for run in range(400):
        known = random_unanimity(14, 40, (1, 2, 3, 5), run, 1, 1)
        answer = baselines.shapley(
            known.make(), certify_top_k=3, max_budget=4000, generator=seeded(run)
        )
        ranks = answer.diagnostics["certain_ranks"][0, :, 0]
        top = known.truth.abs().argsort(dim=1, descending=True)[0, :3, 0]
        certain += int(ranks.any())
        wrong += int((ranks & (answer.diagnostics["top"][0, :, 0] != top)).any())
    assert certain >= 200
    assert wrong <= 20


@pytest.mark.slow
def test_intervals_hold_at_every_look():
    known = random_unanimity(14, 60, (3, 4, 5), 7, 1, 2)
    missed = 0
    for run in range(200):
        for spend in (2500, 4000, 8000):
            answer = baselines.sample_until(
                known.make(), tolerance=1e-6, max_budget=spend, generator=seeded(run)
            )
            miss = (answer.values - known.truth).abs() > answer.diagnostics["half_widths"]
            if miss.any():
                missed += 1
                break
    assert missed <= 20  # two outputs at 5 % each


def test_a_dummy_does_not_keep_ranks_from_being_certain():
    known = random_unanimity(18, 60, (1, 2, 3, 5), 1, 1, 1)
    rule = known.make().rule
    # two players change nothing, and one leads clearly
    game = Rule(lambda s: rule(s[..., :18]) + 3.0 * s[..., :1], 1, 20, 1)
    answer = baselines.shapley(game, certify_top_k=1, max_budget=40_000)
    assert answer.diagnostics["zero_spread"][0, 18:].all()
    assert answer.diagnostics["certain_ranks"].all()
