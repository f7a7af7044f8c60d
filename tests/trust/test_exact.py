"""Checks 1 to 5: additive, exact, fair, sparse, and the same whatever the batch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines import PresenceGame, exact_shapley
from baselines.coalitions import all_coalitions
from harsanyi import Dividends, HarsanyiNet
from harsanyi.net import NetConfig
from tests.factored_games import KINDS, close, moebius, random_game
from tests.small_nets import rows
from tests.trust.conftest import FULL, random_net

CASES = settings(max_examples=200, deadline=None, derandomize=not FULL)
SEEDS = st.integers(0, 10**6)


def gap(net, x) -> float:
    """Largest |sum of values - (v(all) - v(none))|, relative to max(1, |v|)."""
    with torch.no_grad():
        grand = net(x).double()
    answer = net.explain(x)
    given_out = answer.values.double().sum(1) + answer.base_values.double()
    return float(((given_out - grand).abs() / grand.abs().clamp(min=1)).max())


def test_values_add_up_on_a_thousand_rows_in_float64(nets, figure):
    figure(max(gap(net, rows(1000, 6, seed=4)) for net in nets), 1e-12)


def test_values_add_up_on_a_thousand_rows_in_float32(nets, figure):
    import copy

    x = rows(1000, 6, seed=4)
    figure(max(gap(copy.deepcopy(net).float(), x) for net in nets), 1e-5)


def test_values_add_up_on_a_thousand_rows_in_bfloat16(nets, figure):
    import copy

    x = rows(1000, 6, seed=4)
    figure(max(gap(copy.deepcopy(net).bfloat16(), x) for net in nets), 2e-2)


def test_the_default_recipe_adds_up(classifier, table, figure):
    X, _ = table
    answer = classifier.explain(X)
    grand = torch.from_numpy(classifier.logits(X)).double()
    given_out = answer.values.double().sum(1) + answer.base_values.double()
    figure(float(((given_out - grand).abs() / grand.abs().clamp(min=1)).max()), 1e-5)


def test_random_nets_equal_enumeration(count, figure):
    worst = 0.0
    for seed in range(count(12, 50)):
        net = random_net(seed, n=12 if FULL and seed % 5 == 0 else None)
        x = rows(3, net.n_players, seed)
        truth = exact_shapley(PresenceGame(net, x)).values
        scale = max(1.0, float(net(x).detach().abs().max()))
        worst = max(worst, float((net.explain(x).values - truth).abs().max()) / scale)
    figure(worst, 1e-10)


def weights_of(index: str, order: int):
    """What a dividend of t players gives a subset of s players inside it."""
    from math import comb

    if index == "SII":
        return lambda t, s: 1 / (t - s + 1)
    return lambda t, s: (1.0 if t == s else 0.0) if s < order else 1 / comb(t, order)


def test_interactions_of_random_nets_follow_from_enumerated_dividends(count, figure):
    worst = 0.0
    for seed in range(count(8, 50)):
        net = random_net(seed, n=5)
        x = rows(2, 5, seed)
        masks = all_coalitions(5)
        values = torch.stack([net(row.expand(32, -1), present=masks).detach() for row in x])
        dividends, sizes = moebius(values, 5), masks.sum(1)
        scale = max(1.0, float(values.abs().max()))
        for index in ("SII", "STII"):
            for order in (1, 2, 3):
                found = net.interactions(x, index=index, order=order)
                weigh = weights_of(index, order)
                for subset, ours in zip(found.subsets, found.values.unbind(1), strict=True):
                    inside = (masks & subset).sum(1) == subset.sum()
                    share = [weigh(int(t), int(subset.sum())) for t in sizes[inside]]
                    weights = torch.tensor(share, dtype=torch.float64)[:, None]
                    truth = (dividends[:, inside] * weights).sum(1)
                    worst = max(worst, float((ours - truth).abs().max()) / scale)
    figure(worst, 1e-10)


@CASES
@given(SEEDS, st.integers(0, 7))
def test_an_absent_player_gets_exactly_nothing(seed, player):
    net = random_net(seed)
    x = rows(2, net.n_players, seed)
    present = torch.ones_like(x, dtype=torch.bool)
    present[:, player % net.n_players] = False
    assert (net.explain(x, present=present).values[:, player % net.n_players] == 0).all()


@CASES
@given(SEEDS, st.sampled_from(KINDS), st.permutations(range(5)))
def test_renaming_players_renames_their_values_and_nothing_else(seed, kind, order):
    """Anonymity: with linearity, players that are alike get the same."""
    game = random_game(kind, 5, seed=seed)
    renamed = game.regroup({str(i): [i] for i in order})
    close(renamed.shapley(), game.shapley()[:, list(order)], 1e-12)


@CASES
@given(SEEDS, st.integers(2, 6))
def test_players_that_are_alike_get_the_same(seed, n):
    draw = torch.Generator().manual_seed(seed)
    terms = torch.rand(9, n, generator=draw) < 0.5
    values = torch.randn(2, 9, 3, generator=draw, dtype=torch.float64)
    swapped = terms.clone()
    swapped[:, [0, 1]] = terms[:, [1, 0]]
    nothing = torch.zeros(2, 3, dtype=torch.float64)
    phi = Dividends(torch.cat([terms, swapped]), torch.cat([values, values], 1), nothing).shapley()
    close(phi[:, 0], phi[:, 1], 1e-12)


@CASES
@given(SEEDS, st.integers(2, 6), st.integers(1, 3))
def test_values_of_a_sum_of_nets_are_the_sum_of_their_values(seed, n, k):
    first, second = random_net(seed, n, k), random_net(seed + 1, n, k)
    config = NetConfig(n_players=n, n_outputs=k, parts=[first.parts[0].spec, second.parts[0].spec])
    both = HarsanyiNet(config, [first.parts[0], second.parts[0]]).double()
    x = rows(2, n, seed)
    close(both.explain(x).values, first.explain(x).values + second.explain(x).values, 1e-12)


@CASES
@given(SEEDS)
def test_values_add_up_for_every_net(seed):
    net = random_net(seed)
    assert gap(net, rows(3, net.n_players, seed)) <= 1e-12


def test_only_named_coalitions_have_dividends(count, figure):
    worst = 0.0
    for seed in range(count(8, 50)):
        net = random_net(seed, n=6)
        x = rows(2, 6, seed)
        masks = all_coalitions(6)
        values = torch.stack([net(row.expand(64, -1), present=masks).detach() for row in x])
        dividends = moebius(values, 6)
        named = net.dividends(x).coalitions
        code = (masks.long() << torch.arange(6)).sum(1)
        rest = ~torch.isin(code, (named.long() << torch.arange(6)).sum(1))
        rest[0] = False  # the value with nobody present
        if rest.any():
            scale = max(1.0, float(values.abs().max()))
            worst = max(worst, float(dividends[:, rest].abs().max()) / scale)
    figure(worst, 1e-12)


def test_a_row_alone_is_the_row_in_a_batch_in_float64(nets, figure):
    figure(max(batch_difference(net) for net in nets), 1e-12)


def test_a_row_alone_is_the_row_in_a_batch_in_float32(nets, figure):
    import copy

    figure(max(batch_difference(copy.deepcopy(net).float()) for net in nets), 1e-5)


def batch_difference(net) -> float:
    x = rows(64, 6, seed=9)
    together = net.explain(x).values
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([net.explain(x[i : i + 1]).values for i in range(64)])
    worst = max(
        float((together - alone).abs().max()),
        float((net.explain(x[order]).values - together[order]).abs().max()),
    )
    return worst / max(1.0, float(net(x).detach().abs().max()))
