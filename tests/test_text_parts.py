"""Parts for sequences: what they claim is what enumeration finds, and deletion is what it says."""

import itertools

import pytest
import torch
from einops import repeat

from baselines import TableGame
from baselines.coalitions import all_coalitions
from baselines.exact import exact_shapley
from harsanyi.chains import MatrixProducts
from harsanyi.parts.sequences import build_sequence
from harsanyi.quadrature import legendre_rule
from harsanyi.ratios import reciprocal

F64 = torch.float64
B, N, D, K = 3, 7, 6, 2
SPECS = {
    "bag": {"kind": "bag", "hidden": 5},
    "ngrams": {"kind": "ngrams", "channels": 4, "patterns": [[0, 1], [0, 2], [0, 1, 3]]},
    "convolution": {"kind": "convolution", "channels": 5, "layers": 3},
    "wide convolution": {"kind": "convolution", "channels": 5, "layers": 1, "radius": 2},
    "matrices": {"kind": "matrices", "state": 4, "chains": 3},
    "attention": {"kind": "attention", "heads": 2, "head_width": 3},
    "maximum": {"kind": "maximum", "channels": 5},
}


def make(name):
    generator = torch.Generator().manual_seed(1)
    part = build_sequence(SPECS[name], D, K).double()
    part.reset_parameters(generator)
    for parameter in part.parameters():
        if parameter.ndim == 1:  # biases and floors start at zero, where they could not be missed
            parameter.data.normal_(0, 0.3, generator=generator)
    x = torch.randn(B, N, D, generator=generator, dtype=F64)
    real = torch.ones(B, N, dtype=torch.bool)
    real[1, 5:], real[2, 3:] = False, False
    return part.requires_grad_(False), x, real


def table(part, x, real):
    """v of all coalitions `(b, 2**n, k)`, from the public call alone."""
    sets = all_coalitions(x.shape[1])
    m = len(sets)
    rows = [repeat(t, "b ... -> (b m) ...", m=m) for t in (x, real)]
    present = repeat(sets, "m n -> (b m) n", b=len(x)) & rows[1]
    return part(rows[0], present, rows[1]).reshape(len(x), m, -1)


def dividends(values):
    values, index = values.clone(), torch.arange(values.shape[1])
    for i in range(values.shape[1].bit_length() - 1):
        has = index[(index >> i) & 1 == 1]
        values[:, has] -= values[:, has - 2**i]
    return values


def pairs_by_definition(values, n):
    """SII of all pairs: a dividend on t players gives 1 / (t - 1) to each of its pairs."""
    sets, found = all_coalitions(n), dividends(values)
    inside = [sets[:, i] & sets[:, j] for i, j in itertools.combinations(range(n), 2)]
    weight = torch.stack([both.to(F64) / (sets.sum(1) - 1).clamp(min=1) for both in inside])
    return torch.einsum("pm,bmk->bpk", weight, found)


@pytest.mark.parametrize("name", SPECS)
def test_every_part_equals_enumeration(name):
    part, x, real = make(name)
    truth = exact_shapley(TableGame(table(part, x, real)))
    value, shapley, base = part.attribute(x, real, real)
    assert (shapley - truth.values).abs().max() <= 1e-12
    assert (base - truth.base_values).abs().max() <= 1e-12
    assert (value - part(x, real, real)).abs().max() <= 1e-12
    assert truth.values.abs().max() > 0.3


@pytest.mark.parametrize("name", SPECS)
def test_values_below_a_coalition_are_those_of_its_own_game(name):
    part, x, real = make(name)
    present = real & (torch.arange(N) % 3 != 1)
    inner = table(part, x, present if part.deletes else real)
    sets = all_coalitions(N)
    if not part.deletes:  # an absent player keeps its slot, so the text stays as long as it is
        rows = [repeat(t, "b ... -> (b m) ...", m=len(sets)) for t in (x, real, present)]
        there = repeat(sets, "m n -> (b m) n", b=B) & rows[2]
        inner = part(rows[0], there, rows[1]).reshape(B, len(sets), K)
    truth = exact_shapley(TableGame(inner)).values
    assert (part.attribute(x, present, real)[1] - truth).abs().max() <= 1e-12


@pytest.mark.parametrize("name", SPECS)
def test_pairs_equal_enumeration(name):
    part, x, real = make(name)
    wanted = pairs_by_definition(table(part, x, real), N)
    if hasattr(part, "terms"):
        sets, values = part.terms(x, real, real)
        held = [
            (sets[:, i] & sets[:, j]).to(F64) / (sets.sum(1) - 1).clamp(min=1)
            for i, j in itertools.combinations(range(N), 2)
        ]
        found = torch.einsum("pu,buk->bpk", torch.stack(held), values)
    else:
        found = part.derivatives(x, real, real, 2, legendre_rule(4))
    assert (found - wanted).abs().max() <= 1e-12


@pytest.mark.parametrize(
    "name", [n for n in SPECS if n not in ("ngrams", "convolution", "wide convolution")]
)
def test_deleting_a_player_is_its_absence(name):
    part, x, real = make(name)
    assert part.deletes
    kept = torch.tensor([0, 2, 3, 6])
    present = torch.zeros(B, N, dtype=torch.bool)
    present[:, kept] = True
    present &= real
    cut = part(x[:, kept], real[:, kept], real[:, kept])
    assert (part(x, present, real) - cut).abs().max() <= 1e-12
    inside = part.attribute(x, present, real)[1][:, kept]
    assert (
        inside - part.attribute(x[:, kept], real[:, kept], real[:, kept])[1]
    ).abs().max() <= 1e-12


def test_windows_keep_the_slot_of_the_absent():
    part, x, real = make("ngrams")
    kept = torch.tensor([0, 2, 3, 4, 5, 6])
    present = real.clone()
    present[:, 1] = False
    assert not part.deletes
    assert (
        part(x, present, real) - part(x[:, kept], real[:, kept], real[:, kept])
    ).abs().max() > 0.1


@pytest.mark.parametrize("name", SPECS)
def test_padding_changes_nothing(name):
    part, x, real = make(name)
    longer = torch.cat([x, torch.randn(B, 4, D, dtype=F64)], 1)
    wider = torch.cat([real, torch.zeros(B, 4, dtype=torch.bool)], 1)
    value, shapley, _ = part.attribute(x, real, real)
    found, values, _ = part.attribute(longer, wider, wider)
    assert (found - value).abs().max() <= 1e-12
    assert (values[:, :N] - shapley).abs().max() <= 1e-12
    assert not values[:, N:].any()


@pytest.mark.parametrize("name", SPECS)
def test_texts_of_no_and_one_player_work(name):
    part, x, _ = make(name)
    for n in (0, 1):
        real = torch.ones(B, n, dtype=torch.bool)
        value, shapley, base = part.attribute(x[:, :n], real, real)
        assert shapley.shape == (B, n, K)
        assert (shapley.sum(1) - (value - base)).abs().max() <= 1e-12


@pytest.mark.parametrize("name", SPECS)
def test_values_agree_in_float32(name):
    part, x, real = make(name)
    wide = part.attribute(x, real, real)[1]
    narrow = part.float().attribute(x.float(), real, real)[1]
    assert (narrow - wide).abs().max() <= 2e-5


def draw_chain(b=2, n=9, d=4, k=3, spread=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, scale=1.0):
        return scale * torch.randn(*shape, generator=generator, dtype=F64)

    return MatrixProducts(
        normal(b, d),
        normal(b, n, d, d, scale=spread),
        normal(b, n, d),
        normal(b, n, d, k),
        normal(d, k),
    )


def test_matrix_products_are_exact_with_half_as_many_nodes_as_players():
    game = draw_chain()
    truth = exact_shapley(TableGame(game.value(all_coalitions(9)[None])))
    assert (game.shapley() - truth.values).abs().max() <= 1e-12
    assert (game.shapley(5) - truth.values).abs().max() <= 1e-12
    assert (game.shapley(3) - truth.values).abs().max() > 1e-9
    assert (game.base() - truth.base_values).abs().max() == 0


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_the_certificate_of_matrix_products_holds(spread):
    game = draw_chain(n=11, spread=spread)
    exact = game.shapley()
    for q in (1, 2, 3, 4, 5):
        gap = (game.shapley(q) - exact).abs()
        assert (gap <= game.error_bound(q) + 1e-12).all()
    assert not game.error_bound(6).any()
    nodes = game.nodes_for(1e-4)
    assert (game.shapley(nodes) - exact).abs().max() <= 1e-4
    assert game.nodes_for(0.0) == 6


def test_the_certificate_saves_nodes_where_matrices_are_near_the_identity():
    assert draw_chain(n=30, spread=0.01).nodes_for(1e-6) <= 8


def test_tiles_of_rows_and_nodes_change_nothing(monkeypatch):
    game = draw_chain()
    whole = [game.derivatives(size, legendre_rule(5)) for size in (1, 2)]
    monkeypatch.setattr("harsanyi.chains._TILE", 9 * 4 * 5 * 3)
    for size, wanted in zip((1, 2), whole, strict=True):
        assert (game.derivatives(size, legendre_rule(5)) - wanted).abs().max() <= 1e-13


def test_banzhaf_of_matrix_products_is_the_mean_marginal_contribution():
    game, n = draw_chain(n=6), 6
    sets = all_coalitions(n)
    values = game.value(sets[None])
    for i in range(n):
        without = (~sets[:, i]).nonzero().flatten()
        mean = (values[:, without + 2**i] - values[:, without]).mean(1)
        assert (game.banzhaf()[:, i] - mean).abs().max() <= 1e-12


def test_matrix_products_refuse_what_does_not_fit():
    game = draw_chain()
    with pytest.raises(ValueError, match="drives"):
        MatrixProducts(game.start, game.steps, game.drives[:, 1:], game.reads, game.ends)
    with pytest.raises(ValueError, match="NaN or infinity in start"):
        MatrixProducts(game.start * torch.nan, game.steps, game.drives, game.reads, game.ends)
    with pytest.raises(ValueError, match="size is 3"):
        game.derivatives(3, [(0.5, 1.0)])
    with pytest.raises(ValueError, match="n_nodes"):
        game.error_bound(0)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-9, 1e-12])
def test_exponentials_add_up_to_the_reciprocal(tolerance):
    like = torch.zeros((), dtype=F64)
    rates, weights, error = reciprocal(900.0, tolerance, like)
    assert error <= tolerance
    for d in torch.linspace(0, 6.8, 501, dtype=F64).exp():
        assert abs(float((weights * (-rates * d).exp()).sum() * d) - 1) <= 1.5 * tolerance
    assert len(rates) <= 120


def test_attention_keeps_to_the_tolerance_it_states():
    part, x, real = make("attention")
    exact = part.attribute(x, real, real)[1]
    loose = build_sequence({**SPECS["attention"], "tolerance": 1e-4}, D, K).double()
    loose.load_state_dict(part.state_dict())
    gap = (loose.attribute(x, real, real)[1] - exact).abs().amax(1)
    assert (gap <= loose.error_bound(x, real)).all()
    assert gap.max() > 1e-9


def test_specs_that_make_no_part_are_refused_by_name():
    for spec, words in (
        ({"kind": "lstm"}, "lstm"),
        ({"kind": "ngrams", "patterns": [[1, 2]]}, "ascend"),
        ({"kind": "convolution", "layers": 0}, "layers=0"),
        ({"kind": "matrices", "state": 0}, "state=0"),
        ({"kind": "attention", "tolerance": 0.0}, "tolerance"),
    ):
        with pytest.raises(ValueError, match=words):
            build_sequence(spec, D, K)
