"""One contract that every estimator of Shapley values goes through."""

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch

import baselines
from baselines import BaselineImputer, MaskedGame, TableGame, exact_shapley
from tests.known_games import (
    Known,
    Rule,
    additive,
    airport,
    glove,
    random_table,
    random_unanimity,
    small_games,
    symmetric,
    voting,
    with_dummy,
)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What an estimator promises beyond the contract that all share."""

    name: str
    unbiased: bool = False  # from `fair` coalitions on
    fair: int = 40
    errors: bool = False  # reports standard errors at 200 coalitions of 10 players
    dummy: bool = False  # a dummy gets 0 in every sample
    linear: bool = True  # a linear map of the game for fixed randomness
    pull: float = 1 / 3  # of its spread, how far a consistent estimator may be off for a dummy
    batch: bool = True  # an explicand's answer does not depend on its neighbours
    additive: bool = True  # solves additive games from n pairs on
    slope: float = -0.35  # of log error against log budget, at most
    seeds: int = 60  # in tests of averages, for an estimator that claims no unbiasedness
    switches: bool = False  # another estimator below 2.5 coalitions per player
    near: float = 0.2  # relative error allowed at 100 coalitions of a net of 9 inputs
    wide: float = 1.5  # relative error allowed at 400 coalitions of 150 players

    @property
    def estimator(self) -> Callable:
        return getattr(baselines, self.name)


CLAIMS = [
    Claim("permutation_shapley", unbiased=True, errors=True, dummy=True),
    Claim("orthogonal_shapley", unbiased=True, dummy=True),
    Claim("kernel_shap"),
    Claim("leverage_shap"),
    Claim("unbiased_kernel_shap", unbiased=True, additive=False, wide=3.0),
    Claim("msr_shapley", unbiased=True, additive=False, wide=20.0),
    Claim("ofa_shapley", unbiased=True, additive=False, wide=20.0),
    Claim("svarm", unbiased=True, additive=False, near=1.0, wide=20.0),
    Claim("odd_gp", batch=False, pull=1.0),  # shrinks towards its prior, and errs less in all
    Claim("regression_adjusted", linear=False, additive=False, seeds=10),
    Claim("shapley", batch=False, linear=False, switches=True, pull=1.0),
]
EVERY = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixed(n: int = 10, seed: int = 0, b: int = 3, k: int = 2) -> Known:
    """Terms of every size, with many players' worth of small ones: no estimator's home ground."""
    return random_unanimity(n, 4 * n, (1, 1, 2, 3, 4, n // 2), seed, b, k)


@EVERY
@pytest.mark.parametrize("known", small_games(), ids=lambda known: known.name)
def test_exact_when_the_budget_pays_for_all_coalitions(claim: Claim, known: Known):
    game = known.make()
    answer = claim.estimator(game, 2**game.n_players)
    assert answer.exact
    assert answer.std_errors is None
    assert answer.n_evals == 2**game.n_players
    torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-10)


@EVERY
@pytest.mark.parametrize("budget", [2, 3, 9, 10, 11, 19, 20, 21, 22, 37, 60, 200, 1023])
def test_efficient_at_every_budget_and_never_beyond_it(claim: Claim, budget: int):
    game = mixed().make()
    answer = claim.estimator(game, budget, generator=seeded(budget))
    gap = answer.values.sum(1) - (total(game) - answer.base_values)
    assert gap.abs().max() <= 1e-9
    assert not answer.exact
    spent = game.asked - 1  # the line above asked once more
    assert spent <= answer.n_evals <= budget


def total(game):
    return game(torch.ones(1, 1, game.n_players, dtype=torch.bool))[:, 0]


@EVERY
def test_one_and_two_players_are_exact(claim: Claim):
    for n in (1, 2):
        known = random_table(n, seed=n)
        answer = claim.estimator(known.make(), 4)
        torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("budget", [2.5, float("nan"), float("inf"), True, None, "20"])
def test_a_budget_that_is_no_whole_number_is_refused_by_name(budget):
    game = additive(4).make()
    with pytest.raises(TypeError, match="budget="):
        baselines.odd_gp(game, budget)


@EVERY
@pytest.mark.parametrize("budget", [1, 0, -5])
def test_a_budget_below_two_is_refused_with_what_is_needed(claim: Claim, budget: int):
    with pytest.raises(ValueError, match="budget >= 2"):
        claim.estimator(mixed().make(), budget)


@EVERY
@pytest.mark.parametrize("n", [6, 20, 21])  # all values kept; ends asked at once; nothing kept
@pytest.mark.parametrize("budget", [2, 3])
def test_the_least_budgets_can_be_spent_and_continued(claim: Claim, n: int, budget: int):
    game = random_unanimity(n, 3 * n, (1, 2), 0, 2, 1).make()
    first = claim.estimator(game, budget, generator=seeded(1))
    assert first.n_evals <= budget
    for extra in (0, 1, 60):
        answer = first.more(extra)
        gap = answer.values.sum(1) - (total(game) - answer.base_values)
        assert gap.abs().max() <= 1e-9
        assert answer.n_evals <= budget + extra


@EVERY
@pytest.mark.parametrize("budget", [2.5, True])
def test_a_budget_that_is_no_count_is_refused(claim: Claim, budget):
    with pytest.raises(TypeError, match="budget"):
        claim.estimator(mixed().make(), budget)


@EVERY
def test_nan_values_are_refused(claim: Claim):
    game = Rule(lambda s: s.sum(-1, keepdim=True).double() / 0.0 * 0.0, 1, 12, 1)
    with pytest.raises(ValueError, match="NaN or infinity"):
        claim.estimator(game, 100)


@EVERY
def test_same_generator_same_answer_and_no_global_state_moves(claim: Claim):
    before = torch.random.get_rng_state()
    first = claim.estimator(mixed().make(), 80, generator=seeded(5))
    again = claim.estimator(mixed().make(), 80, generator=seeded(5))
    other = claim.estimator(mixed().make(), 80, generator=seeded(6))
    zero = claim.estimator(mixed().make(), 80)
    zero_again = claim.estimator(mixed().make(), 80, generator=None)
    assert torch.equal(first.values, again.values)
    assert torch.equal(zero.values, zero_again.values)
    assert not torch.equal(first.values, other.values)
    assert torch.equal(before, torch.random.get_rng_state())


@EVERY
def test_one_number_is_drawn_from_the_generator(claim: Claim):
    used, fresh = seeded(3), seeded(3)
    claim.estimator(mixed().make(), 80, generator=used)
    torch.randint(0, 2**63 - 1, (), generator=fresh)
    assert torch.equal(used.get_state(), fresh.get_state())


@EVERY
def test_chunks_change_no_mask_and_no_value(claim: Claim):
    answers, masks = [], []
    for chunk in (None, 1, 7, 64):
        game = mixed().make()
        game.remember = True
        answers.append(claim.estimator(game, 150, generator=seeded(1), chunk_size=chunk))
        masks.append(torch.cat(game.seen, 1))
    for answer, mask in zip(answers[1:], masks[1:], strict=True):
        assert torch.equal(mask, masks[0])
        torch.testing.assert_close(answer.values, answers[0].values, rtol=0, atol=1e-12)


@EVERY
def test_running_out_of_memory_shrinks_the_tiles_and_nothing_else(claim: Claim):
    known = mixed()
    calm = claim.estimator(known.make(), 150, generator=seeded(1))
    game = known.make()
    rule = game.rule

    def narrow(s):
        if s.shape[1] > 5:
            raise torch.OutOfMemoryError("no room for more than 5 coalitions")
        return rule(s)

    game.rule = narrow
    tight = claim.estimator(game, 150, generator=seeded(1))
    torch.testing.assert_close(tight.values, calm.values, rtol=0, atol=1e-12)


@EVERY
@pytest.mark.parametrize(("first", "extra"), [(2, 90), (15, 5), (60, 60), (61, 200), (500, 524)])
def test_more_equals_one_longer_run(claim: Claim, first: int, extra: int):
    if claim.switches and first < 30 <= first + extra:
        pytest.skip("what began as permutations goes on as permutations")
    known = mixed()
    game = known.make()
    short = claim.estimator(game, first, generator=seeded(2))
    longer = short.more(extra)
    assert game.asked <= longer.n_evals <= first + extra
    once = claim.estimator(known.make(), first + extra, generator=seeded(2))
    assert longer.exact == once.exact
    torch.testing.assert_close(longer.values, once.values, rtol=0, atol=1e-9)
    if once.std_errors is not None:
        torch.testing.assert_close(longer.std_errors, once.std_errors, rtol=1e-7, atol=1e-10)
    twice = short.more(extra)  # an explanation is not used up by being continued
    torch.testing.assert_close(twice.values, longer.values, rtol=0, atol=1e-12)


@EVERY
def test_answers_do_not_depend_on_neighbours_in_the_batch(claim: Claim):
    if not claim.batch:
        pytest.skip("pools the batch to choose its hyper-parameters")
    table = random_table(9, seed=4, b=5).make().values
    whole = claim.estimator(TableGame(table), 120, generator=seeded(1)).values
    for row in range(5):
        alone = claim.estimator(TableGame(table[row : row + 1]), 120, generator=seeded(1)).values
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-10)


@EVERY
def test_linear_in_the_game(claim: Claim):
    if not claim.linear:
        pytest.skip("chooses by the data")
    table = random_table(9, seed=5, b=2).make().values
    v, w = table[:1], table[1:]
    games = torch.cat([v, w, 2 * v - 3 * w])  # in one batch, where choices are shared
    answer = claim.estimator(TableGame(games), 120, generator=seeded(1)).values
    torch.testing.assert_close(answer[2], 2 * answer[0] - 3 * answer[1], rtol=0, atol=1e-9)


@EVERY
def test_float32_games_get_float32_answers_near_the_float64_ones(claim: Claim):
    table = random_table(8, seed=6).make().values
    double = claim.estimator(TableGame(table), 120, generator=seeded(1))
    single = claim.estimator(TableGame(table.float()), 120, generator=seeded(1))
    assert single.values.dtype == torch.float32
    assert single.base_values.dtype == torch.float32
    torch.testing.assert_close(single.values.double(), double.values, rtol=0, atol=2e-4)


@EVERY
def test_answers_are_detached(claim: Claim):
    table = random_table(6, seed=6).make().values.requires_grad_()
    game = TableGame(table)
    assert not claim.estimator(game, 40).values.requires_grad


@EVERY
def test_additive_games_are_solved_exactly(claim: Claim):
    if not claim.additive:
        pytest.skip("does not remove the additive part")
    known = additive(12)
    answer = claim.estimator(known.make(), 60, generator=seeded(1))
    torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-8)


@EVERY
def test_symmetric_players_share_equally_on_average(claim: Claim):
    known = symmetric(10, b=1, k=1)
    draws = samples(claim, known, 60, 200 if claim.unbiased else claim.seeds)
    assert worst_z(draws, known.truth) <= 4.0


@EVERY
def test_a_dummy_gets_nothing(claim: Claim):
    known = with_dummy(8, seed=7, b=1, k=1)
    if claim.dummy:
        assert samples(claim, known, 60, 50)[:, :, -1].abs().max() <= 1e-12
        return
    draws = samples(claim, known, 160, 200 if claim.unbiased else claim.seeds)[:, :, -1]
    bias = draws.mean(0).abs().max()
    # an estimator that is merely consistent may be off by a share of its own spread
    noise = 4 * spread(draws).max()
    assert bias <= (noise if claim.unbiased else max(noise, claim.pull * draws.std(0).max()))


@EVERY
@pytest.mark.parametrize(
    "known",
    [random_table(8, seed=8, b=1, k=1), glove(4, 5), random_unanimity(9, 20, (1, 2, 4), 9, 1, 1)],
    ids=["table", "glove", "unanimity"],
)
def test_unbiased_where_claimed(claim: Claim, known: Known):
    if not claim.unbiased:
        pytest.skip("makes no claim")
    assert worst_z(samples(claim, known, claim.fair, 200), known.truth) <= 3.5


def samples(claim: Claim, known: Known, budget: int, seeds: int) -> torch.Tensor:
    game = known.make()
    return torch.stack(
        [claim.estimator(game, budget, generator=seeded(seed)).values for seed in range(seeds)]
    )


def spread(draws: torch.Tensor) -> torch.Tensor:
    return draws.std(0) / len(draws) ** 0.5


def worst_z(draws: torch.Tensor, truth: torch.Tensor) -> float:
    difference = (draws.mean(0) - truth).abs()
    error = spread(draws)
    certain = error <= 1e-12  # an estimator that is exact here must be right
    assert difference[certain].numel() == 0 or difference[certain].max() <= 1e-9
    return float((difference / error)[~certain].max()) if (~certain).any() else 0.0


@EVERY
def test_error_falls_at_least_like_the_root_of_the_budget(claim: Claim):
    known = mixed(12, seed=3, b=8, k=1)
    errors = []
    for budget in (100, 500):
        draws = samples(claim, known, budget, min(8, claim.seeds // 3))
        errors.append(float((draws - known.truth).square().mean().sqrt()))
    slope = torch.tensor(errors).log().diff().sum() / torch.tensor(5.0).log()
    assert slope <= claim.slope


@EVERY
def test_padding_players_score_zero_and_real_ones_as_if_alone(claim: Claim):
    full = random_table(9, seed=10, b=3, k=2).make().values
    mask = torch.ones(3, 9, dtype=torch.bool)
    mask[1, [0, 4]] = False
    mask[2, 1:6] = False

    def rule(s):
        s = (s & mask[:, None]).expand(3, -1, -1)
        return TableGame(full)(s)

    game = Rule(rule, 3, 9, 2, player_mask=mask)
    answer = claim.estimator(game, 100, generator=seeded(4))
    assert game.asked <= answer.n_evals <= 100
    assert torch.equal(answer.values[~mask], torch.zeros(7, 2, dtype=torch.float64))
    gap = answer.values.sum(1) - (total(game) - answer.base_values)
    assert gap.abs().max() <= 1e-9
    exact = exact_shapley(game)
    torch.testing.assert_close(
        answer.values[2], exact.values[2], rtol=0, atol=1e-10
    )  # 2**4 <= 100
    if claim.batch:
        places = mask[1].nonzero().flatten()
        alone = Rule(lambda s: rule(widen(s, places))[1:2], 1, 7, 2)
        single = claim.estimator(alone, 100, generator=seeded(4)).values[0]
        torch.testing.assert_close(answer.values[1, places], single, rtol=0, atol=1e-10)
    longer = answer.more(60)
    once = claim.estimator(game, 160, generator=seeded(4))
    torch.testing.assert_close(longer.values, once.values, rtol=0, atol=1e-9)


def widen(coalitions, places):
    wide = torch.zeros(*coalitions.shape[:-1], 9, dtype=torch.bool)
    wide[..., places] = coalitions
    return wide


@EVERY
def test_wide_games_stay_efficient(claim: Claim):
    known = random_unanimity(150, 300, (1, 2, 3), seed=11, b=2, k=1)
    game = known.make()
    answer = claim.estimator(game, 400, generator=seeded(1))
    gap = answer.values.sum(1) - (total(game) - answer.base_values)
    assert gap.abs().max() <= 1e-8
    assert answer.n_evals <= 400
    relative = (answer.values - known.truth).square().sum() / known.truth.square().sum()
    assert relative <= claim.wide


@EVERY
def test_runs_on_a_masked_model(claim: Claim):
    g = seeded(0)
    net = torch.nn.Sequential(torch.nn.Linear(9, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    x = torch.randn(4, 9, generator=g)
    game = MaskedGame(net, x, BaselineImputer(torch.zeros(9)), players=list("abcdefghi"))
    answer = claim.estimator(game, 100)
    assert answer.values.shape == (4, 9, 3)
    assert answer.players == list("abcdefghi")
    assert answer.game == game.description
    assert answer.n_evals == game.n_evals // 4
    exact = exact_shapley(game).values
    assert (answer.values - exact).square().sum() <= claim.near * exact.square().sum()


def test_standard_errors_are_the_spread_of_pair_means():
    known = random_table(9, seed=12, b=2, k=2)
    game = known.make()
    answer = baselines.permutation_shapley(game, 2 + 16 * 5, generator=seeded(1))
    singles = [
        baselines.permutation_shapley(game, 2 + 16 * pairs, generator=seeded(1)).values * pairs
        for pairs in range(1, 6)
    ]
    pairs = torch.stack([singles[0], *(b - a for a, b in pairwise(singles))])
    torch.testing.assert_close(answer.std_errors, pairs.std(0) / 5**0.5, rtol=1e-9, atol=1e-12)
    assert baselines.permutation_shapley(game, 2 + 16).std_errors is None


def test_a_zero_spread_is_reported_as_unknown():
    answer = baselines.permutation_shapley(additive(11).make(), 100)
    assert torch.isinf(answer.std_errors).all()
    assert answer.diagnostics["zero_spread"].all()
    voted = baselines.permutation_shapley(voting([5, 4, 3, 3, 2, 2, 1, 1, 1], 20).make(), 34)
    assert not (voted.std_errors == 0).any()


def test_a_pair_of_orders_is_exact_for_games_of_pairs():
    known = random_unanimity(12, 60, (1, 2), seed=13)
    answer = baselines.permutation_shapley(known.make(), 24)
    torch.testing.assert_close(answer.values, known.truth, rtol=0, atol=1e-10)


COVERED = {
    "table": random_table(10, seed=14, b=1, k=4),
    "unanimity": random_unanimity(10, 40, (2, 3, 4, 6), 15, 1, 4),
    "airport": airport(torch.arange(1.0, 11.0, dtype=torch.float64) ** 1.5),
    "large terms": random_unanimity(10, 40, (5, 6, 7), 16, 1, 4),
    "wide": random_unanimity(30, 200, (2, 3, 5), 17, 1, 4),
    "skewed: voting": voting([6, 5, 4, 3, 3, 2, 2, 1, 1, 1], 15),
    "skewed: glove": glove(4, 6),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COVERED)
def test_intervals_cover_at_a_hundred_pairs(name: str):
    known = COVERED[name]
    inside, trials = 0, 0
    for seed in range(60):
        run = sampled_pairs(known.make(), known, 100, seed)
        miss = (run.values - known.truth).abs()
        inside += int((miss <= 1.984 * run.std_errors).sum())
        trials += miss.numel()
    assert 0.92 <= inside / trials <= 0.98


def sampled_pairs(game, known, pairs, seed):
    """A run over pairs that never turns into enumeration, however small the game."""
    from baselines.orders import shuffled_orders
    from baselines.sampling import sample_orders

    n = known.truth.shape[1]
    return sample_orders(
        game,
        2 + 2 * (n - 1) * pairs,
        shuffled_orders,
        method="pairs",
        enumerate_small=False,
        generator=seeded(seed),
    )


@pytest.mark.slow  # shap takes half a minute to import on a busy machine
def test_exact_values_equal_those_of_shapiq_and_shap():
    shapiq = pytest.importorskip("shapiq")
    shap = pytest.importorskip("shap")
    known = random_unanimity(8, 30, (1, 2, 3, 5, 8), seed=21, b=1, k=1)
    rule = known.make().rule

    def value(coalitions):
        rows = torch.as_tensor(coalitions).bool().reshape(-1, 8)
        return rule(rows[None])[0, :, 0].numpy()

    ours = baselines.shapley(known.make(), 256).values[0, :, 0].numpy()
    computer = shapiq.ExactComputer(n_players=8, game=value)
    theirs = computer("SV", order=1).get_n_order_values(1)
    assert abs(theirs - ours).max() <= 1e-8
    masker = shap.maskers.Independent(torch.zeros(1, 8).numpy())
    explainer = shap.ExactExplainer(value, masker)
    assert abs(explainer(torch.ones(1, 8).numpy()).values[0] - ours).max() <= 1e-8
