"""Banzhaf and other semivalues, Owen values, games of bounded order, interactions of pairs."""

from itertools import combinations, permutations
from math import comb

import pytest
import torch

import baselines
from baselines import TableGame
from baselines.coalitions import all_coalitions
from tests.known_games import Rule, additive, random_table, random_unanimity, voting


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def semivalue_by_formula(table: torch.Tensor, n: int, law) -> torch.Tensor:
    """Mean marginals, player by player and subset by subset."""
    truth = torch.zeros(len(table), n, table.shape[-1], dtype=table.dtype)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for subset in combinations(others, size):
                index = sum(2**j for j in subset)
                gain = table[:, index + 2**i] - table[:, index]
                truth[:, i] += law[size] / comb(n - 1, size) * gain
    return truth


def binomial(n):
    return [comb(n - 1, s) / 2 ** (n - 1) for s in range(n)]


FAMILY = {
    "banzhaf": (baselines.banzhaf, binomial),
    "beta 1 1": (
        lambda game, m, **kw: baselines.beta_shapley(game, m, alpha=1.0, beta=1.0, **kw),
        lambda n: [1 / n] * n,
    ),
    "own law": (
        lambda game, m, **kw: baselines.semivalue(
            game, m, torch.arange(1, 10).double() / 45, **kw
        ),
        lambda n: [(s + 1) / 45 for s in range(n)],
    ),
}


@pytest.mark.parametrize("name", FAMILY)
def test_semivalues_are_exact_at_full_budget_and_near_before(name: str):
    estimator, law = FAMILY[name]
    table = random_table(9, seed=1).make().values
    truth = semivalue_by_formula(table, 9, law(9))
    exact = estimator(TableGame(table), 512)
    assert exact.exact
    torch.testing.assert_close(exact.values, truth, rtol=0, atol=1e-12)
    draws = [estimator(TableGame(table), 300, generator=seeded(s)) for s in range(60)]
    values = torch.stack([draw.values for draw in draws])
    assert all(draw.n_evals <= 300 and not draw.exact for draw in draws)
    z = (values.mean(0) - truth) / (values.std(0) / 60**0.5)
    assert z.abs().max() <= 4.0
    errors = torch.stack([draw.std_errors for draw in draws])
    inside = ((values - truth).abs() <= 1.96 * errors).double().mean()
    assert 0.9 <= inside <= 0.99


def test_semivalues_of_additive_games_are_the_weights():
    known = additive(14)
    for answer in (
        baselines.banzhaf(known.make(), 60),
        baselines.beta_shapley(known.make(), 60, alpha=4.0, beta=1.0),
    ):
        torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-9)


def test_beta_shapley_favours_small_coalitions_when_alpha_is_large():
    known = voting([3, 2, 2, 1, 1, 1], 2)  # a member decides only while few are there
    small = baselines.beta_shapley(known.make(), 64, alpha=8.0, beta=1.0).values
    large = baselines.beta_shapley(known.make(), 64, alpha=1.0, beta=8.0).values
    assert small.sum() > 2 * large.sum()


def test_wrong_laws_are_refused():
    game = additive(5).make()
    with pytest.raises(ValueError, match="alpha=0"):
        baselines.beta_shapley(game, 20, alpha=0.0, beta=1.0)
    with pytest.raises(ValueError, match="5 probabilities"):
        baselines.semivalue(game, 20, torch.ones(4) / 4)
    with pytest.raises(ValueError, match="5 probabilities"):
        baselines.semivalue(game, 20, torch.ones(5))


GROUPS = {"a": [0, 3], "b": [1, 2, 5]}  # player 4 alone


def owen_by_orders(table: torch.Tensor, n: int) -> torch.Tensor:
    """Mean marginals over every order that keeps groups together."""
    blocks = [[0, 3], [1, 2, 5], [4]]
    truth, count = torch.zeros(len(table), n, table.shape[-1], dtype=table.dtype), 0
    for order in permutations(range(n)):
        where = [order.index(player) for player in range(n)]
        spans = [sorted(where[player] for player in block) for block in blocks]
        if any(span[-1] - span[0] != len(span) - 1 for span in spans):
            continue
        count += 1
        index = 0
        for player in order:
            truth[:, player] += table[:, index + 2**player] - table[:, index]
            index += 2**player
    return truth / count


def test_owen_values_equal_the_mean_over_all_allowed_orders():
    table = random_table(6, seed=2).make().values
    truth = owen_by_orders(table, 6)
    exact = baselines.owen(TableGame(table), GROUPS, 64)
    assert exact.exact
    assert exact.estimand == "owen"
    assert exact.n_evals < 64  # coalitions that split two groups are never asked for
    torch.testing.assert_close(exact.values, truth, rtol=0, atol=1e-12)
    draws = torch.stack(
        [
            baselines.owen(TableGame(table), GROUPS, 22, generator=seeded(s)).values
            for s in range(300)
        ]
    )
    z = (draws.mean(0) - truth) / (draws.std(0) / 300**0.5)
    assert z.abs().max() <= 4.0


def test_owen_values_without_a_budget_are_exact_up_to_four_groups_of_six():
    groups = [list(range(start, start + 6)) for start in range(0, 24, 6)]
    game = random_unanimity(24, 20, (1, 2, 3), seed=0).make()
    answer = baselines.owen(game, groups)
    assert answer.exact
    assert answer.n_evals <= 2_000
    sampled = baselines.owen(game, [[*groups[0], *groups[1]], *groups[2:]])
    assert not sampled.exact
    assert sampled.n_evals <= 2_000


def test_owen_values_of_a_group_sum_to_its_shapley_value():
    table = random_table(6, seed=3).make().values
    owen = baselines.owen(TableGame(table), GROUPS, 64).values
    rows = all_coalitions(3)
    wide = rows[:, [0, 1, 1, 0, 2, 1]]
    grouped = baselines.exact_shapley(TableGame(TableGame(table)(wide[None]))).values
    torch.testing.assert_close(owen[:, [0, 3]].sum(1), grouped[:, 0], rtol=0, atol=1e-12)
    torch.testing.assert_close(owen[:, [1, 2, 5]].sum(1), grouped[:, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [[], [[0], [1], [2], [3], [4], [5]], [[0, 1, 2, 3, 4, 5]]])
def test_trivial_groups_give_shapley_values(groups):
    known = random_table(6, seed=4)
    answer = baselines.owen(known.make(), groups, 64)
    torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [[[0, 1], [1, 2]], [[]], [[0, 9]]])
def test_groups_that_are_no_partition_are_refused(groups):
    with pytest.raises(ValueError, match="groups"):
        baselines.owen(additive(5).make(), groups, 20)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_bounded_order_is_exact_up_to_interactions_of_four(order: int):
    known = random_unanimity(11, 80, tuple(range(1, order + 1)), seed=order)
    game = known.make()
    answer = baselines.bounded_order_shapley(game)
    assert game.asked == answer.n_evals == 11**2 + 11 + 2
    assert answer.diagnostics["order_gap"].abs().max() <= 1e-10
    torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-10)


def test_bounded_order_says_when_the_order_is_higher():
    known = random_unanimity(11, 80, (7, 8), seed=5)
    answer = baselines.bounded_order_shapley(known.make())
    assert answer.diagnostics["order_gap"].abs().max() > 1e-3
    assert answer.diagnostics["additivity_gap"].abs().max() <= 1e-10


def sii_by_formula(table: torch.Tensor, n: int) -> torch.Tensor:
    """Mean second differences under the Shapley interaction weights, pair by pair."""
    out = []
    for i, j in combinations(range(n), 2):
        others = [p for p in range(n) if p not in (i, j)]
        total = torch.zeros(len(table), table.shape[-1], dtype=table.dtype)
        for size in range(n - 1):
            for subset in combinations(others, size):
                a = sum(2**p for p in subset)
                gain = (
                    table[:, a + 2**i + 2**j] - table[:, a + 2**i] - table[:, a + 2**j]
                ) + table[:, a]
                total += gain / ((n - 1) * comb(n - 2, size))
        out.append(total)
    return torch.stack(out, 1)


def test_enumerated_interactions_equal_the_formula():
    table = random_table(6, seed=6).make().values
    truth = sii_by_formula(table, 6)
    shapley = baselines.exact_shapley(TableGame(table)).values
    sii = baselines.shapley_interactions(TableGame(table), 64, index="SII")
    assert sii.exact
    torch.testing.assert_close(sii.values[:, 6:], truth, rtol=0, atol=1e-12)
    torch.testing.assert_close(sii.values[:, :6], shapley, rtol=0, atol=1e-12)
    ksii = baselines.shapley_interactions(TableGame(table), 64)
    total = table[:, -1] - table[:, 0]
    torch.testing.assert_close(ksii.values.sum(1), total, rtol=0, atol=1e-12)


def test_sampled_interactions_approach_the_enumerated_ones():
    known = random_unanimity(12, 50, (1, 2, 3, 4), seed=7)
    for index in ("SII", "k-SII", "BII"):
        exact = baselines.shapley_interactions(known.make(), 4096, index=index)
        errors = []
        for budget in (200, 800):
            game = known.make()
            found = baselines.shapley_interactions(game, budget, index=index, generator=seeded(1))
            assert not found.exact
            assert game.asked == found.n_evals <= budget
            errors.append(float((found.values - exact.values).square().mean()))
            if index == "k-SII":
                gap = found.values.sum(1) - exact.values.sum(1)
                assert gap.abs().max() <= 1e-9
        scale = float(exact.values.square().mean())
        assert errors[1] < errors[0] < 0.2 * scale
        assert errors[1] < 0.02 * scale


def test_bounded_order_interactions_are_exact_up_to_three():
    known = random_unanimity(9, 60, (1, 2, 3), seed=8)
    exact = baselines.shapley_interactions(known.make(), 512)
    found = baselines.bounded_order_interactions(known.make())
    assert found.n_evals == 9**2 + 9 + 2
    torch.testing.assert_close(found.values, exact.values, rtol=0, atol=1e-10)
    three = random_unanimity(3, 6, (1, 2, 3), seed=8)
    torch.testing.assert_close(
        baselines.bounded_order_interactions(three.make()).values,
        baselines.shapley_interactions(three.make(), 8).values,
        rtol=0,
        atol=1e-10,
    )


def test_wrong_interaction_requests_are_refused():
    game = additive(5).make()
    with pytest.raises(ValueError, match="index='STII'"):
        baselines.shapley_interactions(game, 20, index="STII")
    with pytest.raises(ValueError, match="budget >= 6"):
        baselines.shapley_interactions(game, 5)
    with pytest.raises(ValueError, match="1 player"):
        baselines.shapley_interactions(
            Rule(lambda s: s.sum(-1, keepdim=True).double(), 1, 1, 1), 9
        )
