"""Product games: exact with ceil(d / 2) nodes, bounded below that, for any factors."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.coalitions import all_coalitions
from harsanyi import Dividends
from harsanyi.quadrature import (
    Products,
    exact_nodes,
    legendre_rule,
    others,
    product_banzhaf,
    product_derivatives,
    product_shapley,
)
from tests.factored_games import (
    banzhaf_by_definition,
    close,
    moebius,
    random_game,
    shapley_by_definition,
    table,
)

F64 = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_nodes_integrate_polynomials_up_to_their_degree():
    for q in (1, 2, 5, 10):
        points, weights = torch.tensor(legendre_rule(q), dtype=torch.float64).T
        assert 0 < points[0] <= points[-1] < 1
        for degree in range(2 * q):
            assert float((weights * points**degree).sum()) == pytest.approx(1 / (degree + 1))
        missed = float((weights * points ** (2 * q)).sum())
        assert abs(missed - 1 / (2 * q + 1)) > 1e-12 * 4.0**-q


def test_others_leave_out_oneself_even_beside_zeros():
    values = torch.tensor([[2.0, 3.0, 5.0], [0.0, 3.0, 5.0], [0.0, 0.0, 5.0], [7.0, 0.0, 0.0]])
    expected = torch.tensor([[15.0, 10, 6], [15, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert torch.equal(others(values), expected)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.integers(1, 8), st.integers(0, 10**6), st.floats(0.01, 3))
def test_shapley_and_banzhaf_of_products_equal_enumeration(n, seed, spread):
    weights, factors = draw(2, 3, seed=seed), spread * draw(2, 2, n, seed=seed + 1)
    game = random_game("terms", n, b=2, k=3).replaced(
        products=(Products(weights, factors),),
        terms=torch.zeros(0, n, dtype=torch.bool),
        term_values=torch.zeros(2, 0, 3, dtype=F64),
    )
    values = table(game)
    close(product_shapley(weights, factors), shapley_by_definition(values, n))
    close(product_banzhaf(weights, factors), banzhaf_by_definition(values, n))


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 12])
def test_half_as_many_nodes_as_players_are_exact_and_one_less_are_not(n):
    part = Products(draw(1, 1), 1 + draw(1, 1, n).abs())
    much = part.shapley(40)
    close(part.shapley(exact_nodes(n)), much, 1e-13)
    assert exact_nodes(n) == max(1, math.ceil(n / 2))
    if n > 2:
        assert float((part.shapley(exact_nodes(n) - 1) - much).abs().max()) > 1e-9


def test_a_dummy_or_zero_factor_lowers_the_degree():
    factors = draw(2, 3, 20)
    factors[..., 4:] = 0
    part = Products(draw(3, 2), factors)
    assert part.degree == 4
    close(part.shapley(2), part.shapley(), 1e-14)
    assert not part.shapley()[:, 4:].any()


@pytest.mark.parametrize("size", [1, 2, 3])
def test_derivatives_are_mixed_differences_in_lexicographic_order(size):
    weights, factors, at = draw(2, 2), draw(2, 2, 5), 0.3
    found = product_derivatives(weights, factors, size, [(at, 2.0), (0.9, 0.0)])
    for place, some in enumerate(combinations(range(5), size)):
        rest = [i for i in range(5) if i not in some]
        inside = factors[..., list(some)].prod(-1)
        expected = 2 * (inside * (1 + at * factors[..., rest]).prod(-1)) @ weights
        close(found[:, place], expected, 1e-13)


@pytest.mark.parametrize("spread", [0.1, 0.3, 1.0])
@pytest.mark.parametrize("n", [9, 40])
def test_the_error_of_fewer_nodes_stays_within_its_bound(n, spread):
    part = Products(draw(4, 2), spread * draw(3, 4, n, seed=5))
    exact = part.shapley()
    size = float(part.weights.abs().sum() * (1 + part.factors.abs()).prod(-1).max())
    last = math.inf
    for nodes in range(1, exact_nodes(n) + 1):
        error, bound = (part.shapley(nodes) - exact).abs(), part.error_bound(nodes)
        assert (error <= bound + 1e-14 * size).all()
        assert float(bound.max()) <= last
        last = float(bound.max())
    assert last == 0


def test_the_bound_is_of_use():
    part = Products(draw(4, 1), 0.2 * draw(3, 4, 40, seed=5))
    bound = part.error_bound(6).max()
    error = (part.shapley(6) - part.shapley()).abs().max()
    assert error < bound < 1e-5
    assert part.error_bound(4).max() / (part.shapley(4) - part.shapley()).abs().max() < 1e4


@pytest.mark.parametrize("tolerance", [1e-2, 1e-6, 1e-10, 0.0])
def test_nodes_for_a_tolerance_keep_it_and_are_the_fewest_by_the_bound(tolerance):
    part = Products(draw(4, 2), 0.3 * draw(3, 4, 40, seed=5))
    nodes = part.nodes_for(tolerance)
    assert float((part.shapley(nodes) - part.shapley()).abs().max()) <= tolerance + 1e-13
    assert float(part.error_bound(nodes).max()) <= tolerance
    assert nodes == 1 or float(part.error_bound(nodes - 1).max()) > tolerance
    with pytest.raises(ValueError, match="tolerance"):
        part.nodes_for(float("nan"))


@pytest.mark.parametrize("n", [64, 200, 1000])
def test_efficiency_holds_for_hundreds_of_players(n):
    factors = 0.5 * torch.tanh(draw(2, 3, n))
    part = Products(draw(3, 2), factors)
    ends = torch.tensor([[False], [True]]).expand(2, n)[None]
    values = part.value(ends)
    gap = (part.shapley().sum(1) - (values[:, 1] - values[:, 0])).abs().max()
    # products cancel in a sum; the terms' own size is what rounding is relative to
    size = float((1 + factors).prod(-1).max().clamp(min=1) * part.weights.abs().sum())
    assert float(gap) <= 1e-12 * size


def test_alternating_huge_and_tiny_factors_stay_finite():
    factors = torch.tensor([1e8 - 1, 1e-8 - 1]).repeat(40).to(F64)
    part = Products(torch.ones(1, 1, dtype=F64), factors[None, None, :40] / 2)
    assert torch.isfinite(part.shapley()).all()


@pytest.mark.parametrize(
    ("weights", "factors", "error", "reason"),
    [
        (torch.ones(1, 1), torch.ones(1, 2, 3), ValueError, "must agree"),
        (torch.ones(1), torch.ones(1, 1, 3), ValueError, r"\(r, k\)"),
        (torch.ones(1, 1), torch.full((1, 1, 3), float("nan")), ValueError, "factors"),
        (torch.full((1, 1), float("inf")), torch.ones(1, 1, 3), ValueError, "weights"),
        (torch.ones(1, 1, dtype=torch.int64), torch.ones(1, 1, 3), TypeError, "weights"),
        (torch.ones(1, 1), torch.ones(1, 1, 3, dtype=F64), TypeError, "dtype"),
        (torch.ones(1, 1, dtype=F64), torch.ones(1, 1, 2000, dtype=F64), ValueError, "beyond"),
    ],
)
def test_bad_products_are_refused_by_name(weights, factors, error, reason):
    with pytest.raises(error, match=reason):
        Products(weights, factors)


def test_shapley_values_of_products_can_be_exported():
    class Values(torch.nn.Module):
        def forward(self, weights, factors):
            return product_shapley(weights, factors, 4, positive=False)

    weights, factors = draw(3, 2), draw(2, 3, 8)
    program = torch.export.export(Values(), (weights, factors))
    close(program.module()(weights, factors), product_shapley(weights, factors), 1e-13)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_division_and_prefix_products_agree(size):
    weights, factors = draw(3, 2), 0.9 * torch.tanh(draw(4, 3, 9))
    rule = [(0.1, 0.4), (0.5, 1.0), (0.97, -0.3)]
    fast = product_derivatives(weights, factors, size, rule, positive=True)
    slow = product_derivatives(weights, factors, size, rule, positive=False)
    close(fast, slow, 1e-13)


def waves(n, b=2, r=3, k=2, spread=0.8):
    turns, phases = spread * draw(b, r, n, seed=1), draw(r, seed=2)
    factors = torch.polar(torch.ones_like(turns), turns) - 1
    turn = torch.polar(torch.ones_like(phases), phases)
    return turns, phases, draw(r, k), Products(turn[:, None] * draw(r, k), factors)


@pytest.mark.parametrize("spread", [0.8, 5.0])
def test_complex_products_are_games_of_their_real_part(spread):
    turns, phases, weights, part = waves(7, spread=spread)
    none = torch.zeros(0, 7, dtype=torch.bool)
    game = Dividends(none, torch.zeros(2, 0, 2, dtype=F64), products=[part])
    masks = all_coalitions(7)
    angle = phases[:, None] + turns @ masks.T.to(F64)  # (b, r, m)
    values = torch.einsum("brm,rk->bmk", angle.cos(), weights)
    close(game.value(masks[None]), values, 1e-13)
    close(game.base_values, values[:, 0], 1e-13)
    close(game.shapley(), shapley_by_definition(values, 7))
    close(game.banzhaf(), banzhaf_by_definition(values, 7))
    index = (game.coalitions.long() << torch.arange(7)).sum(1)
    close(game.values, moebius(values, 7)[:, index])
    plain = Dividends(game.coalitions, game.values, game.base_values)
    for name in ("SII", "k-SII", "STII", "FSII", "FBII"):
        close(game.interactions(name, 2).values, plain.interactions(name, 2).values)
    groups = {"a": [0, 3], "b": [6, 1]}
    close(game.regroup(groups).shapley(), plain.regroup(groups).shapley())
    assert (game.term_spectrum().sum(1) - 1).abs().max() < 1e-12


def test_the_error_bound_holds_for_complex_factors():
    *_, part = waves(30, spread=0.5)
    exact = part.shapley()
    for nodes in range(1, 15):
        error = (part.shapley(nodes) - exact).abs()
        assert (error <= part.error_bound(nodes) + 1e-12).all()
    assert float(part.error_bound(12).max()) < 1e-6


@pytest.mark.parametrize("kind", [F64, torch.complex128])
def test_a_factor_that_vanishes_on_a_node_is_no_division_by_zero(kind):
    factors = torch.tensor([-2.0, 0.5, -2.0, 1.0]).to(kind)[None, None]
    part = Products(torch.ones(1, 1, dtype=kind), factors)
    masks = all_coalitions(4)
    values = torch.stack([(1 + factors[0, 0][mask].real).prod() for mask in masks])[None, :, None]
    close(part.banzhaf(), banzhaf_by_definition(values.to(F64), 4))
    close(part.shapley(3), shapley_by_definition(values.to(F64), 4))
