"""Interactions: every index equals an outside exact engine, and the answer is easy to hold."""

from itertools import combinations

import numpy as np
import pytest
import torch

from baselines import Interactions
from baselines.interactions import INDICES
from harsanyi import Boxes, Dividends, Products
from harsanyi.indices import bernoulli, coefficient
from tests.factored_games import KINDS, close, moebius, random_game, table

F64 = torch.float64
N = 6


def outside(values, index, order):
    """shapiq's exact interactions of one table `(2**n,)`, by set."""
    shapiq = pytest.importorskip("shapiq", reason="the outside exact engine is shapiq's")
    powers = 1 << np.arange(N)

    class Table(shapiq.Game):
        def value_function(self, coalitions):
            return values.numpy()[(coalitions * powers).sum(1)]

    engine = shapiq.ExactComputer(Table(n_players=N, normalize=False), n_players=N)
    return {s: float(v) for s, v in engine(index, order=order).dict_values.items() if s}


@pytest.fixture(scope="module")
def tables():
    return {kind: table(random_game(kind, N, seed=5)) for kind in KINDS}


def all_sets(n_players, order):
    """Every set of 1 to `order` of `n_players` players, by size, then lexicographically."""
    sizes = range(1, min(order, n_players) + 1)
    return [players for size in sizes for players in combinations(range(n_players), size)]


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_index_equals_the_outside_engine(tables, kind, index, order):
    game = random_game(kind, N, seed=5)
    found = game.interactions(index, order)
    tolerance = 1e-8 if index == "FSII" else 1e-9
    row, output = 1, 1
    expected = outside(tables[kind][row, :, output], index, order)
    assert set(found.sets) <= set(all_sets(N, order))
    scale = max(1.0, max(abs(v) for v in expected.values()))
    for some in all_sets(N, order):
        error = abs(float(found[some][row, output]) - expected.get(some, 0.0))  # it drops zeros
        assert error <= tolerance * scale, some


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("index", ["k-SII", "STII", "FSII"])
def test_efficient_indices_sum_to_the_grand_coalition(index, order):
    game = random_game("all", 9, seed=2)
    grand = game.value(torch.ones(1, 1, 9, dtype=torch.bool))[:, 0]
    close(game.interactions(index, order).values.sum(1), grand - game.base_values, 1e-11)


@pytest.mark.parametrize("kind", KINDS)
def test_indices_of_order_one_are_the_values(kind):
    game = random_game(kind, 8)
    for index in INDICES:
        found = game.interactions(index, 1)
        expected = game.banzhaf() if index in ("BII", "FBII") else game.shapley()
        close(torch.stack([found[i] for i in range(8)], 1), expected, 1e-12)


@pytest.mark.parametrize("index", INDICES)
def test_factored_and_written_out_games_have_the_same_interactions(index):
    game = random_game("all", 8, seed=7, width=5)
    plain = Dividends(game.coalitions, game.values, game.base_values)
    for order in (2, 3, 8):
        short, long = game.interactions(index, order), plain.interactions(index, order)
        for some in all_sets(8, order):
            close(short[some], long[some], 1e-8 if index == "FSII" else 1e-10)


@pytest.mark.parametrize("n", [64, 65, 128])
def test_pairs_of_many_players_follow_from_the_dividends(n):
    game = random_game("boxes", n, seed=n, b=2)
    pairs = game.interactions("SII", 2)
    for first, second in [pair for pair in pairs.sets if len(pair) == 2][:20]:
        around = game.coalitions[:, first] & game.coalitions[:, second]
        sizes = game.coalitions[around].sum(1, keepdim=True)
        close(pairs[(first, second)], (game.values[:, around] / (sizes - 1)).sum(1), 1e-12)


@pytest.mark.parametrize("n", [64, 65])
def test_product_pairs_of_many_players_are_efficient(n):
    part = Products(
        torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0)),
        0.2 * torch.randn(2, 3, n, dtype=F64, generator=torch.Generator().manual_seed(1)),
    )
    game = Dividends(
        torch.zeros(0, n, dtype=torch.bool), torch.zeros(2, 0, 2, dtype=F64), products=[part]
    )
    grand = game.value(torch.ones(1, 1, n, dtype=torch.bool))[:, 0]
    for index in ("k-SII", "STII", "FSII"):
        close(game.interactions(index, 2).values.sum(1), grand - game.base_values, 1e-11)


def test_bernoulli_numbers_and_published_coefficients():
    assert [bernoulli(j) for j in range(5)] == [
        1,
        -0.5,
        pytest.approx(1 / 6),
        0,
        pytest.approx(-1 / 30),
    ]
    for t in range(1, 9):
        for s in range(1, t + 1):
            assert coefficient("SII", 3, t, s) * (t - s + 1) == 1
            assert coefficient("STII", t, t, s) == (t == s)
            assert coefficient("FSII", 8, t, s) == coefficient("FBII", 8, t, s) == (t == s)
        assert coefficient("FSII", 1, t, 1) * t == 1
    assert coefficient("SII", 3, 2, 3) == 0


def test_too_many_sets_are_refused_by_count():
    game = Dividends(torch.ones(1, 40, dtype=torch.bool), torch.ones(1, 1, 1, dtype=F64))
    assert len(game.interactions("SII", 2).sets) == 40 + 780
    with pytest.raises(ValueError, match="9880 sets, more than max_subsets=5000"):
        game.interactions("SII", 3, max_subsets=5000)
    part = Products(torch.ones(1, 1, dtype=F64), torch.full((1, 1, 40), 0.01, dtype=F64))
    none = torch.zeros(0, 40, dtype=torch.bool)
    product = Dividends(none, torch.zeros(1, 0, 1, dtype=F64), products=[part])
    with pytest.raises(ValueError, match="more than max_subsets=5000"):
        product.interactions("SII", 3, max_subsets=5000)
    flags = torch.zeros(1, 1, 40, dtype=torch.bool)
    box = Boxes(torch.arange(40)[None], ~flags, flags, torch.ones(1, 1, dtype=F64))
    with pytest.raises(ValueError, match="more than max_subsets"):
        Dividends(none, torch.zeros(1, 0, 1, dtype=F64), boxes=[box]).interactions(
            "SII", 4, max_subsets=5000
        )


@pytest.mark.parametrize(("index", "order"), [("SHAP", 2), ("SII", 0), ("SII", 7), ("SII", 1.5)])
def test_unknown_indices_and_orders_are_refused(index, order):
    with pytest.raises(ValueError, match=r"index|order"):
        random_game("all", 6).interactions(index, order)


# The class itself


def example(**changes):
    subsets = torch.tensor([[True, False, False], [False, True, True], [True, True, False]])
    values = torch.arange(12, dtype=F64).reshape(2, 3, 2) - 4
    fields = {"subsets": subsets, "values": values, "index": "k-SII", "order": 2}
    return Interactions(**fields | changes)


def test_a_set_is_found_in_any_order_and_an_unlisted_one_is_zero():
    inter = example(players=["x", "y", "z"])
    assert torch.equal(inter[(1, 2)], inter.values[:, 1])
    assert torch.equal(inter[(2, 1)], inter.values[:, 1])
    assert torch.equal(inter[("z", "y")], inter.values[:, 1])
    assert torch.equal(inter[-3], inter[(0,)])
    assert torch.equal(inter[(0, 2)], torch.zeros(2, 2, dtype=F64))
    with pytest.raises(KeyError, match="w"):
        inter[("w",)]
    with pytest.raises(KeyError, match="out of range"):
        inter[(3,)]
    with pytest.raises(ValueError, match="twice"):
        inter[(1, 1)]
    with pytest.raises(ValueError, match="1 to 2"):
        inter[(0, 1, 2)]
    with pytest.raises(ValueError, match="1 to 2"):
        inter[()]


def test_top_is_by_absolute_value_with_names():
    inter = example(players=["x", "y", "z"], outputs=["no", "yes"])
    assert inter.top(2) == [(("x",), -4.0), (("y", "z"), -2.0)]
    assert inter.top(1, row=1, output="yes") == [(("x", "y"), 7.0)]
    assert inter.top(5, min_size=2)[0] == (("y", "z"), -2.0)
    assert inter.top(0) == []
    for bad in ({"row": 2}, {"output": 2}, {"output": "maybe"}, {"m": -1}):
        with pytest.raises(ValueError, match=r"row|output|m is"):
            inter.top(**bad)


def test_saving_and_loading_gives_the_same_bits(tmp_path):
    game = random_game("all", 5, players=list("abcde"), outputs=["no", "yes"])
    inter = game.interactions("FSII", 3)
    inter.save(tmp_path / "i.safetensors")
    again = Interactions.load(tmp_path / "i.safetensors")
    for name in ("subsets", "values", "base_values"):
        assert torch.equal(getattr(again, name), getattr(inter, name))
    assert (again.index, again.order, again.exact, again.std_errors) == ("FSII", 3, True, None)
    assert (again.players, again.outputs) == (list("abcde"), ["no", "yes"])


def test_files_that_are_no_interactions_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Interactions\.save"):
        Interactions.load(tmp_path / "none.safetensors")
    path = tmp_path / "i.safetensors"
    example().save(path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="truncated"):
        Interactions.load(path)
    from safetensors.torch import save_file

    save_file({"values": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="format"):
        Interactions.load(path)


def test_guests_get_and_give_the_same_interactions():
    pytest.importorskip("shapiq", reason="converts to shapiq's class")
    game = random_game("all", 5, game="a game")
    inter = game.interactions("k-SII", 2)
    guest = inter.to_shapiq(1, 1)
    assert inter.game == "a game"
    for some in inter.sets:
        assert guest[some] == float(inter[some][1, 1])
    assert guest.baseline_value == float(game.base_values[1, 1])
    again = Interactions.from_shapiq(guest)
    for some in inter.sets:
        assert float(again[some][0, 0]) == float(inter[some][1, 1])
    assert (again.index, again.order, again.exact) == ("k-SII", 2, True)


def test_selected_rows_keep_their_values():
    inter = example(base_values=torch.tensor([[1.0, 2], [3, 4]], dtype=F64))
    some = inter.select([1])
    assert torch.equal(some.values, inter.values[1:])
    assert torch.equal(some.base_values, inter.base_values[1:])


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"subsets": torch.eye(3)}, TypeError, "subsets"),
        ({"values": torch.ones(2, 3, 2, dtype=torch.int64)}, TypeError, "values"),
        ({"values": torch.ones(2, 4, 2)}, ValueError, "subsets"),
        ({"values": torch.full((2, 3, 2), float("nan"))}, ValueError, "values"),
        ({"index": "SHAP"}, ValueError, "index"),
        ({"order": 0}, ValueError, "order"),
        ({"order": 1}, ValueError, "subsets"),
        ({"subsets": torch.zeros(3, 3, dtype=torch.bool)}, ValueError, "subsets"),
        ({"subsets": torch.ones(3, 2, dtype=torch.bool)}, ValueError, "repeat"),
        ({"base_values": torch.ones(2, 3)}, ValueError, "base_values"),
        ({"std_errors": torch.ones(2, 3)}, ValueError, "std_errors"),
        ({"players": ["a"]}, ValueError, "players"),
        ({"outputs": ["a"]}, ValueError, "outputs"),
    ],
)
def test_bad_interactions_are_refused_by_name(change, error, reason):
    with pytest.raises(error, match=reason):
        example(**change)


def test_shapley_taylor_below_its_order_is_the_dividend():
    game = random_game("all", 5)
    dividends = moebius(table(game), 5)
    inter = game.interactions("STII", 3)
    for size in (1, 2):
        for some in combinations(range(5), size):
            close(inter[some], dividends[:, sum(1 << i for i in some)])
