"""Dividends: what is read off the factors equals enumeration of the game they define."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from baselines.coalitions import all_coalitions
from harsanyi import Boxes, Dividends, Products
from tests.factored_games import (
    KINDS,
    banzhaf_by_definition,
    close,
    moebius,
    random_game,
    shapley_by_definition,
    table,
    value_by_definition,
)

F64 = torch.float64


def subsets_of(n, m, seed=0):
    return torch.rand(m, n, generator=torch.Generator().manual_seed(seed)) < 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_value_of_200_coalitions_is_the_definition(kind):
    game = random_game(kind, 11, seed=3)
    coalitions = subsets_of(11, 200)
    values = game.value(coalitions[None])
    for place, coalition in enumerate(coalitions):
        members = coalition.nonzero().flatten().tolist()
        for row, output in itertools.product(range(3), range(2)):
            expected = value_by_definition(game, members, row, output)
            assert abs(float(values[row, place, output]) - expected) <= 1e-10 * max(
                1, abs(expected)
            )


@pytest.mark.parametrize("kind", KINDS)
def test_value_of_coalitions_per_explicand_agrees_with_shared_ones(kind):
    game = random_game(kind, 7)
    shared = subsets_of(7, 20)
    own = torch.stack([shared, shared.flip(0), shared.roll(3, 0)])
    values = game.value(own)
    close(values[0], game.value(shared[None])[0], 1e-12)
    close(values[1].flip(0), game.value(shared[None])[1], 1e-12)
    close(values[2].roll(-3, 0), game.value(shared[None])[2], 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "seed"), [(1, 0), (2, 1), (3, 2), (5, 3), (8, 4)])
def test_shapley_and_banzhaf_equal_enumeration(kind, n, seed):
    game = random_game(kind, n, seed=seed)
    values = table(game)
    close(game.shapley(), shapley_by_definition(values, n))
    close(game.banzhaf(), banzhaf_by_definition(values, n))
    close(game.base_values, values[:, 0], 1e-12)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 10**6), st.sampled_from(KINDS), st.integers(1, 6))
def test_written_out_dividends_are_the_moebius_transform(n, seed, kind, width):
    game = random_game(kind, n, seed=seed, width=width, b=2)
    expected = moebius(table(game), n)
    index = (game.coalitions.long() << torch.arange(n)).sum(1)
    assert len(index.unique()) == len(index)
    assert (index > 0).all()
    close(game.values, expected[:, index])
    rest = torch.ones(2**n, dtype=torch.bool)
    rest[index] = rest[0] = False
    close(expected[:, rest], torch.zeros_like(expected[:, rest]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [62, 63, 64, 65, 128, 1000])
def test_efficiency_holds_for_many_players(kind, n):
    game = random_game(kind, n, seed=n, b=20)
    full = torch.ones(1, 1, n, dtype=torch.bool)
    grand, nobody = game.value(full)[:, 0], game.value(~full)[:, 0]
    gap = (game.shapley().sum(1) - (grand - nobody)).abs()
    assert float((gap / grand.abs().clamp(min=1)).max()) <= 1e-12
    close(nobody, game.base_values, 1e-12)


def test_efficiency_holds_on_1000_rows():
    game = random_game("all", 12, b=1000, seed=9)
    ends = torch.tensor([[False], [True]]).expand(2, 12)
    values = game.value(ends[None])
    gap = (game.shapley().sum(1) - (values[:, 1] - values[:, 0])).abs()
    assert float((gap / values[:, 1].abs().clamp(min=1)).max()) <= 1e-12


@pytest.mark.parametrize("n", [64, 65, 128])
def test_regrouping_many_players_to_eleven_equals_enumeration(n):
    game = random_game("all", n, seed=n, b=1)
    some = list(range(0, n, n // 9))[:10]
    rest = [i for i in range(n) if i not in some]
    small = game.regroup({"rest": rest})
    assert small.n_players == 11
    masks = all_coalitions(11)
    wide = torch.zeros(len(masks), n, dtype=torch.bool)
    wide[:, rest] = masks[:, :1]
    wide[:, some] = masks[:, 1:]
    values = game.value(wide[None])
    close(small.value(masks[None]), values)
    close(small.shapley(), shapley_by_definition(values, 11))


@pytest.mark.parametrize("n", [64, 65, 128])
def test_written_out_dividends_of_many_players_share_equally(n):
    game = random_game("boxes", n, seed=n, b=2)
    assert len(game.coalitions.unique(dim=0)) == len(game.coalitions)
    expected = torch.zeros(2, n, 2, dtype=F64)
    for coalition, values in zip(game.coalitions, game.values.unbind(1), strict=True):
        expected[:, coalition] += values[:, None] / int(coalition.sum())
    close(game.shapley(), expected, 1e-12)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(2, 7),
    st.integers(0, 10**6),
    st.sampled_from(KINDS),
    st.lists(st.integers(0, 3), min_size=7, max_size=7),
)
def test_regrouping_is_the_game_over_groups(n, seed, kind, labels):
    game = random_game(kind, n, seed=seed, width=5, b=2)
    labels = labels[:n]  # 0 stays on its own
    names = sorted(set(labels) - {0}, reverse=True)
    groups = {f"group {g}": [i for i in range(n) if labels[i] == g] for g in names}
    members = [*groups.values(), *([i] for i in range(n) if labels[i] == 0)]
    small = game.regroup(groups)
    assert small.players is not None
    assert small.players[: len(names)] == tuple(groups)
    masks = all_coalitions(len(members))
    wide = torch.zeros(len(masks), n, dtype=torch.bool)
    for place, some in enumerate(members):
        wide[:, some] = masks[:, place : place + 1]
    values = game.value(wide[None])
    close(small.value(masks[None]), values)
    close(small.shapley(), shapley_by_definition(values, len(members)))
    close(small.banzhaf(), banzhaf_by_definition(values, len(members)))
    close(small.base_values, game.base_values, 1e-12)
    index = (small.coalitions.long() << torch.arange(len(members))).sum(1)
    close(small.values, moebius(values, len(members))[:, index])


def test_a_group_both_needed_and_barred_kills_its_box():
    features = torch.tensor([[0, 1]])
    inside, absent = torch.tensor([[[True, False]]]), torch.tensor([[[False, True]]])
    box = Boxes(features, inside, absent, torch.ones(1, 1, dtype=F64))
    game = Dividends(
        torch.zeros(0, 3, dtype=torch.bool), torch.zeros(1, 0, 1, dtype=F64), boxes=[box]
    )
    assert game.value(torch.tensor([[[True, False, False]]])).item() == 1
    merged = game.regroup({"pair": [0, 1]})
    assert not merged.value(all_coalitions(2)[None]).any()
    assert not merged.shapley().any()
    assert len(merged.coalitions) == 0


def test_groups_come_first_and_members_go_by_name_or_position():
    game = random_game("all", 4, players=["age", "city", "zip", "sex"])
    small = game.regroup({"address": ["city", 2], "person": ["sex"]})
    assert small.players == ("address", "person", "age")
    wide = torch.tensor([[[False, True, True, True]]])
    close(small.value(torch.tensor([[[True, True, False]]])), game.value(wide), 1e-12)


@pytest.mark.parametrize(
    ("groups", "reason"),
    [
        ({"a": []}, "one or more"),
        ({"a": ["nobody"]}, "unknown"),
        ({"a": [9]}, "unknown"),
        ({"a": [0], "b": [0]}, "grouped before"),
        ({"a": "age"}, "pass a list"),
        ({"sex": ["age"]}, "name two players"),
    ],
)
def test_impossible_groups_are_refused(groups, reason):
    game = random_game("all", 4, players=["age", "city", "zip", "sex"])
    with pytest.raises(ValueError, match=reason):
        game.regroup(groups)


def test_a_game_without_terms_is_its_constant():
    constant = torch.tensor([[2.0, -1.0]], dtype=F64)
    game = Dividends(
        torch.zeros(0, 5, dtype=torch.bool), torch.zeros(1, 0, 2, dtype=F64), constant
    )
    assert torch.equal(game.shapley(), torch.zeros(1, 5, 2, dtype=F64))
    assert torch.equal(game.banzhaf(), torch.zeros(1, 5, 2, dtype=F64))
    assert torch.equal(game.value(all_coalitions(5)[None]), constant[:, None].expand(1, 32, 2))
    assert len(game.coalitions) == 0
    assert not game.order_spectrum().any()
    assert game.interactions("k-SII", 2).values.shape == (1, 0, 2)
    assert game.top() == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_explicands_give_empty_answers(kind):
    game = random_game(kind, 6, b=0)
    assert game.shapley().shape == (0, 6, 2)
    assert game.banzhaf().shape == (0, 6, 2)
    assert game.value(all_coalitions(6)[None]).shape == (0, 64, 2)
    assert game.base_values.shape == (0, 2)
    assert game.values.shape[0] == 0
    assert game.regroup({"a": [0, 1]}).shapley().shape == (0, 5, 2)
    assert game.interactions("SII", 2).values.shape[0] == 0
    assert game.term_spectrum().shape == (0, 6, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_no_coalitions_give_no_values(kind):
    game = random_game(kind, 6)
    assert game.value(torch.zeros(1, 0, 6, dtype=torch.bool)).shape == (3, 0, 2)


def test_dead_boxes_pay_nothing():
    features = torch.tensor([[2, 0], [1, -1]])
    both = torch.tensor([[[True, True], [True, False]]])
    barred = torch.tensor([[[False, True], [True, False]]])
    part = Boxes(features, both, barred, torch.ones(2, 1, dtype=F64))
    assert not part.alive.any()
    game = Dividends(
        torch.zeros(0, 3, dtype=torch.bool), torch.zeros(1, 0, 1, dtype=F64), boxes=[part]
    )
    assert not game.value(all_coalitions(3)[None]).any()
    assert not game.shapley().any()
    assert not game.banzhaf().any()
    assert not game.interactions("SII", 2).values.any()
    assert not game.base_values.any()
    assert not game.term_spectrum().any()
    assert len(game.coalitions) == 0


def test_a_box_that_asks_nothing_is_a_constant():
    nothing = torch.zeros(1, 1, 2, dtype=torch.bool)
    part = Boxes(torch.tensor([[0, 1]]), nothing, nothing, torch.full((1, 1), 5.0, dtype=F64))
    game = Dividends(
        torch.zeros(0, 2, dtype=torch.bool), torch.zeros(1, 0, 1, dtype=F64), boxes=[part]
    )
    assert game.base_values.item() == 5
    assert not game.shapley().any()


def test_dummies_get_exactly_nothing():
    game = random_game("all", 9)
    wide = Dividends(
        torch.nn.functional.pad(game.terms, (0, 1)),
        game.term_values,
        products=[
            Products(p.weights, torch.nn.functional.pad(p.factors, (0, 1))) for p in game.products
        ],
        boxes=game.boxes,
    )
    for values in (wide.shapley(), wide.banzhaf()):
        assert torch.equal(values[:, 9], torch.zeros(3, 2, dtype=F64))
    close(wide.shapley()[:, :9], game.shapley(), 1e-12)


def test_a_game_of_zeros_has_no_nan():
    game = random_game("all", 5) * 0.0
    for answer in (game.shapley(), game.order_spectrum(), game.term_spectrum(), game.values):
        assert torch.equal(answer, torch.zeros_like(answer))
    assert game.smallest_sufficient_set().players == ()


def test_too_many_coalitions_are_refused_by_count_and_closed_forms_go_on():
    n = 30
    game = random_game("all", n, seed=1, max_terms=1000)
    with pytest.raises(ValueError, match=r"\d{4,} coalitions, more than max_terms=1000"):
        _ = game.coalitions
    with pytest.raises(ValueError, match="max_terms=1000"):
        game.order_spectrum()
    full = torch.ones(1, 1, n, dtype=torch.bool)
    grand = game.value(full)[:, 0]
    close(game.shapley().sum(1), grand - game.base_values, 1e-12)
    pairs = game.interactions("k-SII", 2)
    close(pairs.values.sum(1), grand - game.base_values, 1e-11)
    assert torch.isfinite(game.term_spectrum()).all()


def test_boxes_beyond_max_terms_are_refused_by_their_exact_count():
    game = random_game("boxes", 40, width=6, b=2)
    count = len(game.coalitions)
    close(random_game("boxes", 40, width=6, b=2, max_terms=count).values, game.values, 0)
    with pytest.raises(ValueError, match=f"have {count} coalitions"):
        _ = random_game("boxes", 40, width=6, b=2, max_terms=count - 1).values


def test_order_spectrum_is_the_share_of_the_moebius_transform():
    game = random_game("all", 6)
    dividends = moebius(table(game), 6).abs()
    sizes = all_coalitions(6).sum(1)
    mass = torch.stack([dividends[:, sizes == s].sum(1) for s in range(1, 7)], 1)
    close(game.order_spectrum(), mass / mass.sum(1, keepdim=True))
    close(game.order_spectrum().sum(1), torch.ones(3, 2, dtype=F64), 1e-12)
    close(game.uninformative_mass(), game.order_spectrum()[:, 5], 0)


def test_a_single_unit_on_all_players_is_uninformative():
    game = Dividends(torch.ones(1, 4, dtype=torch.bool), torch.full((1, 1, 1), 8.0, dtype=F64))
    assert torch.equal(game.shapley(), torch.full((1, 4, 1), 2.0, dtype=F64))
    assert game.uninformative_mass().item() == 1


@pytest.mark.parametrize("kind", ["terms", "products", "boxes"])
def test_term_spectrum_of_parts_that_never_meet_is_the_order_spectrum(kind):
    game = random_game(kind, 5, seed=4)
    one = Dividends(
        game.coalitions if kind == "terms" else game.terms,
        game.values if kind == "terms" else game.term_values,
        products=[Products(p.weights[:1], p.factors[:, :1]) for p in game.products],
        boxes=[
            Boxes(p.features[1:2], p.inside[:, 1:2], p.absent[:, 1:2], p.values[1:2])
            for p in game.boxes
        ],
    )
    close(one.term_spectrum(), one.order_spectrum(), 1e-12)


def test_linear_combinations_of_outputs_are_exact():
    game = random_game("all", 6, k=3, outputs=["cat", "dog", "eel"])
    margin = game.margin("dog", 0)
    assert margin.outputs == ("dog - cat",)
    close(margin.shapley()[..., 0], game.shapley()[..., 1] - game.shapley()[..., 0], 1e-12)
    weights = torch.tensor([[0.5, 0.0], [0.0, 2.0], [1.0, -1.0]], dtype=F64)
    both = game.combine(weights, ["a", "b"])
    coalitions = all_coalitions(6)[None]
    close(both.value(coalitions), game.value(coalitions) @ weights, 1e-12)
    close(both.base_values, game.base_values @ weights, 1e-12)
    close(both.values, game.values @ weights, 1e-12)


def test_softmax_is_refused_with_a_way_out():
    game = random_game("all", 4)
    with pytest.raises(ValueError, match="exact_shapley"):
        game.probabilities()
    with pytest.raises(TypeError, match="fixed weights"):
        game.combine(torch.softmax)
    with pytest.raises(ValueError, match="one row per output"):
        game.combine([1.0, 2.0, 3.0])


def test_sums_and_multiples_of_games_are_linear():
    games = [random_game(kind, 6, seed=seed) for seed, kind in enumerate(KINDS)]
    coalitions = all_coalitions(6)[None]
    total = Dividends.sum(games)
    close(total.value(coalitions), sum(g.value(coalitions) for g in games), 1e-12)
    close(total.shapley(), sum(g.shapley() for g in games), 1e-12)
    close(
        total.values,
        moebius(table(total), 6)[:, (total.coalitions.long() << torch.arange(6)).sum(1)],
    )
    scaled = games[3] * -0.5 + 2.0 * games[0]
    expected = -0.5 * games[3].value(coalitions) + 2 * games[0].value(coalitions)
    close(scaled.value(coalitions), expected, 1e-12)


def test_games_that_do_not_fit_are_not_added():
    with pytest.raises(ValueError, match="must agree"):
        Dividends.sum([random_game("terms", 4), random_game("terms", 5)])
    with pytest.raises(ValueError, match="at least one"):
        Dividends.sum([])
    named = [random_game("terms", 2, players=names) for names in (["a", "b"], ["a", "c"])]
    with pytest.raises(ValueError, match="different players"):
        Dividends.sum(named)


@pytest.mark.parametrize("kind", KINDS)
def test_selected_rows_explain_themselves(kind):
    game = random_game(kind, 6, b=4)
    for rows, index in (
        (slice(1, 3), [1, 2]),
        ([3, 0, 0, 1], [3, 0, 0, 1]),
        (torch.tensor([True, False, True, False]), [0, 2]),
        ([3, 1, 2, 0], [3, 1, 2, 0]),
    ):
        some = game.select(rows)
        close(some.shapley(), game.shapley()[index], 1e-12)
        close(some.banzhaf(), game.banzhaf()[index], 1e-12)
        close(some.base_values, game.base_values[index], 1e-12)
        coalitions = all_coalitions(6)[None]
        close(some.value(coalitions), game.value(coalitions)[index], 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_change_nothing(kind, monkeypatch):
    game = random_game(kind, 8, b=5)
    coalitions = all_coalitions(8)[None]
    whole = game.shapley(), game.banzhaf(), game.value(coalitions), game.values
    pairs = game.interactions("k-SII", 2).values
    for module in ("factored", "boxes", "quadrature", "subsets", "expansion"):
        monkeypatch.setattr(f"harsanyi.{module}._TILE", 7)
    tiled = random_game(kind, 8, b=5)
    parts = tiled.shapley(), tiled.banzhaf(), tiled.value(coalitions), tiled.values
    for some, all_of_it in zip(parts, whole, strict=True):
        close(some, all_of_it, 1e-12)
    close(tiled.interactions("k-SII", 2).values, pairs, 1e-12)


def test_float32_agrees_and_half_precision_is_widened():
    game, single = random_game("all", 8), random_game("all", 8, dtype=torch.float32)
    assert single.shapley().dtype == torch.float32
    close(single.shapley().double(), game.shapley(), 1e-5)
    half = Dividends(torch.eye(3, dtype=torch.bool), torch.ones(1, 3, 1, dtype=torch.bfloat16))
    assert half.shapley().dtype == torch.float32


@pytest.mark.parametrize("method", ["shapley", "banzhaf"])
def test_attributions_are_differentiable(method):
    game = random_game("all", 4, b=2, k=1)
    part, box = game.products[0], game.boxes[0]

    def squares(values, weights, factors, paid):
        again = Dividends(
            game.terms,
            values,
            products=[Products(weights, factors)],
            boxes=[Boxes(box.features, box.inside, box.absent, paid)],
        )
        pairs = again.interactions("SII", 2).values
        return getattr(again, method)().square().sum() + pairs.square().sum()

    inputs = [
        tensor.clone().requires_grad_()
        for tensor in (game.term_values, part.weights, part.factors, box.values)
    ]
    assert torch.autograd.gradcheck(squares, inputs)


def test_curves_walk_from_one_end_to_the_other():
    game = random_game("all", 6, outputs=["a", "b"])
    order = [4, 1, 0, 5, 2, 3]
    gone, come = game.deletion_curve(1, "b", order), game.insertion_curve(1, "b", order)
    for step in range(7):
        left, joined = sorted(order[step:]), sorted(order[:step])
        assert gone[step].item() == pytest.approx(value_by_definition(game, left, 1, 1))
        assert come[step].item() == pytest.approx(value_by_definition(game, joined, 1, 1))
    first = int(game.shapley()[0, :, 0].argmax())
    rest = [i for i in range(6) if i != first]
    assert game.deletion_curve()[1].item() == pytest.approx(value_by_definition(game, rest, 0, 0))
    with pytest.raises(ValueError, match="each of the 6 players once"):
        game.deletion_curve(order=[0, 0, 1, 2, 3, 4])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [None, 0.0])
def test_smallest_sufficient_set_is_the_smallest_by_brute_force(kind, seed, threshold):
    game = random_game(kind, 7, seed=seed)
    values = table(game)[1, :, 0]
    base, full = float(values[0]), float(values[-1])
    goal = base + 0.8 * (full - base) if threshold is None else threshold
    rising = full >= (base if threshold is None else threshold)
    enough = values >= goal if rising else values <= goal
    smallest = int(all_coalitions(7).sum(1)[enough].min())
    found = game.smallest_sufficient_set(1, 0, share=0.8, threshold=threshold)
    assert found.smallest
    assert int(found.present.sum()) == smallest == len(found.players)
    assert found.value == pytest.approx(
        value_by_definition(game, found.present.nonzero().flatten().tolist(), 1, 0)
    )
    assert found.value >= goal - 1e-9 if rising else found.value <= goal + 1e-9


def test_a_greedy_sufficient_set_says_so_and_suffices():
    game = random_game("all", 14, seed=2)
    found = game.smallest_sufficient_set(0, 1, share=1.0, budget=1)
    assert not found.smallest
    exact = game.smallest_sufficient_set(0, 1, share=1.0)
    assert exact.smallest
    assert exact.present.sum() <= found.present.sum()
    grand = game.value(torch.ones(1, 1, 14, dtype=torch.bool))[0, 0, 1]
    rising = grand >= game.base_values[0, 1]
    assert (found.value >= found.goal - 1e-9) if rising else (found.value <= found.goal + 1e-9)


def test_top_lists_dividends_by_size_with_names():
    coalitions = torch.tensor([[True, False, False], [True, False, True], [False, True, False]])
    values = torch.tensor([[[1.0], [-3.0], [2.0]]], dtype=F64)
    game = Dividends(coalitions, values, players=["x", "y", "z"])
    assert game.top(2) == [(("x", "z"), -3.0), (("y",), 2.0)]
    with pytest.raises(ValueError, match="out of range"):
        game.top(row=1)
    with pytest.raises(ValueError, match="is not one of"):
        game.top(output="b")


def test_dividends_are_immutable():
    game = random_game("all", 3)
    with pytest.raises(AttributeError, match="immutable"):
        game.players = ("a", "b", "c")


GOOD = {
    "coalitions": torch.eye(3, dtype=torch.bool),
    "values": torch.ones(2, 3, 1, dtype=F64),
    "base_values": torch.zeros(2, 1, dtype=F64),
}


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"coalitions": torch.eye(3)}, TypeError, "coalitions"),
        ({"values": torch.ones(2, 3, 1, dtype=torch.int64)}, TypeError, "values"),
        ({"values": torch.ones(2, 4, 1)}, ValueError, "coalitions"),
        ({"values": torch.full((2, 3, 1), float("nan"))}, ValueError, "values"),
        ({"base_values": torch.zeros(3, 1)}, ValueError, "base_values"),
        ({"base_values": torch.full((2, 1), float("inf"))}, ValueError, "base_values"),
        ({"players": ["a"]}, ValueError, "players"),
        ({"outputs": ["a", "b"]}, ValueError, "outputs"),
        ({"max_terms": 0}, ValueError, "max_terms"),
        ({"products": [Products(torch.ones(1, 1), torch.ones(2, 1, 4))]}, ValueError, "products"),
        ({"products": [Products(torch.ones(1, 2), torch.ones(2, 1, 3))]}, ValueError, "products"),
        ({"boxes": [Boxes(torch.tensor([[3]]), *[torch.zeros(2, 1, 1) > 0] * 2, torch.ones(1, 1))]},
         ValueError, "boxes"),
        ({"boxes": [Boxes(torch.tensor([[0]]), *[torch.zeros(1, 1, 1) > 0] * 2, torch.ones(1, 1))]},
         ValueError, "boxes"),
    ],
)  # fmt: skip
def test_bad_dividends_are_refused_by_name(change, error, reason):
    Dividends(**GOOD)
    with pytest.raises(error, match=reason):
        Dividends(**GOOD | change)


FLAGS = torch.zeros(2, 1, 2, dtype=torch.bool)


@pytest.mark.parametrize(
    ("args", "error", "reason"),
    [
        ((torch.tensor([[0.0, 1.0]]), FLAGS, FLAGS, torch.ones(1, 1)), TypeError, "features"),
        ((torch.tensor([[0, 1]]), FLAGS.int(), FLAGS, torch.ones(1, 1)), TypeError, "inside"),
        ((torch.tensor([[0, 1]]), FLAGS, FLAGS[:1], torch.ones(1, 1)), ValueError, "absent"),
        ((torch.tensor([[0, 1]]), FLAGS, FLAGS, torch.ones(2, 1)), ValueError, "values"),
        ((torch.tensor([[1, 1]]), FLAGS, FLAGS, torch.ones(1, 1)), ValueError, "twice"),
        ((torch.tensor([[0, -2]]), FLAGS, FLAGS, torch.ones(1, 1)), ValueError, "negative"),
        ((torch.tensor([[0, 1]]), FLAGS, FLAGS, torch.full((1, 1), float("nan"))), ValueError, "NaN"),
        ((torch.arange(63)[None], *[torch.zeros(1, 1, 63) > 0] * 2, torch.ones(1, 1)), ValueError, "62"),
    ],
)  # fmt: skip
def test_bad_boxes_are_refused_by_name(args, error, reason):
    with pytest.raises(error, match=reason):
        Boxes(*args)


@pytest.mark.parametrize(
    ("coalitions", "error"),
    [
        (torch.ones(1, 2, 4), TypeError),
        (torch.ones(2, 4, dtype=torch.bool), ValueError),
        (torch.ones(1, 2, 5, dtype=torch.bool), ValueError),
        (torch.ones(2, 2, 4, dtype=torch.bool), ValueError),
    ],
)
def test_bad_coalitions_are_refused(coalitions, error):
    with pytest.raises(error, match="coalitions"):
        random_game("all", 4).value(coalitions)
