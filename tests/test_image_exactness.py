"""Laws of nets over images: values equal enumeration of the public game, at every design."""

import pytest
import torch
from torch import nn

from baselines import BaselineImputer, MaskedGame, PresenceGame, exact_shapley
from harsanyi.parts.stencils import fields, share, sizes, stencils
from tests.small_images import DESIGNS, image_net, pictures, train_briefly

FREE = torch.tensor([0, 2, 3, 5, 6, 8, 11])  # corners, borders and the inside


@pytest.fixture(scope="module", params=DESIGNS)
def trained(request):
    """A briefly trained net of each design, with images."""
    net = image_net(request.param)
    train_briefly(net, request.param)
    return net, pictures(request.param)


def among_free(net, x, others: bool, pixels: bool):
    """The game of the free players on the public input, the others present or absent."""
    held = torch.full((12,), others)

    def play(rows, present):
        mask = held.expand(len(rows), 12).clone()
        mask[:, FREE] = present
        return net(net.masked(rows, mask)) if pixels else net(rows, present=mask)

    return PresenceGame(play, x, n_players=len(FREE))


def test_values_equal_enumeration_over_all_players(trained):
    net, x = trained
    game = PresenceGame(net, x[:1], n_players=12)
    truth, found = exact_shapley(game), net.explain(x)
    assert (found.values[:1] - truth.values).abs().max() <= 1e-10
    assert (found.base_values[:1] - truth.base_values).abs().max() <= 1e-10
    assert found.diagnostics["additivity_gap"].abs().max() <= 1e-10
    assert found.exact
    assert found.values.abs().max() > 1e-3


@pytest.mark.parametrize("others", [True, False], ids=["others present", "others absent"])
def test_values_of_some_players_equal_enumeration(trained, others):
    net, x = trained
    free = torch.zeros(12, dtype=torch.bool).index_fill(0, FREE, True)
    found = net.explain(x, free=free) if others else net.explain(x, free)
    truth = exact_shapley(among_free(net, x, others, pixels=False))
    assert (found.values[:, FREE] - truth.values).abs().max() <= 1e-10
    assert (found.values[:, ~free] == 0).all()
    assert (found.base_values - truth.base_values).abs().max() <= 1e-10
    assert found.diagnostics["additivity_gap"].abs().max() <= 1e-10


@pytest.mark.parametrize("others", [True, False], ids=["others present", "others absent"])
def test_pixels_alone_play_the_game_where_patches_are_players(others):
    net, x = image_net("patches"), pictures("patches")
    train_briefly(net, "patches")
    truth = exact_shapley(among_free(net, x, others, pixels=True))
    free = torch.zeros(12, dtype=torch.bool).index_fill(0, FREE, True)
    found = net.explain(x, free=free) if others else net.explain(net.masked(x, free))
    assert (found.values[:, FREE] - truth.values).abs().max() <= 1e-10


def test_a_game_of_masked_pixels_needs_no_word_of_ours():
    net, x = image_net("patches"), pictures("patches")
    baseline = net.baseline[:, None, None].expand(x.shape[1:]).clone()
    place = torch.arange(9)[:, None] // 3 * 4 + torch.arange(10)[None] // 3
    game = MaskedGame(net, x, BaselineImputer(baseline), groups=place.expand(2, -1, -1))
    assert (net.explain(x).values - exact_shapley(game).values).abs().max() <= 1e-10


def test_many_coalitions_come_from_one_pass(trained, generator):
    net, x = trained
    for m in (1, 6):
        coalitions = torch.rand(len(x), m, 12, generator=generator) < 0.7
        full, some = net.coalition_values(x, coalitions)
        assert (full - net(x)).abs().max() <= 1e-12
        for i in range(m):
            assert (some[:, i] - net(x, coalitions[:, i])).abs().max() <= 1e-12
        assert (net.dividends(x).value(coalitions) - some).abs().max() <= 1e-12


def test_dividends_and_closed_form_agree(trained):
    net, x = trained
    dividends = net.dividends(x)
    assert (dividends.shapley() - net.explain(x).values).abs().max() <= 1e-12
    assert dividends.order_spectrum().sum(1).allclose(torch.ones(3, dtype=torch.float64))
    assert net.order_spectrum(x).sum(1).allclose(torch.ones(3, dtype=torch.float64))
    inter = dividends.interactions("k-SII", 2)
    total = inter.values.sum(1) + net.explain(x).base_values
    assert (total - net(x)).abs().max() <= 1e-10


def test_what_stands_in_an_absent_patch_does_not_matter():
    net, x = image_net("patches by mask"), pictures("patches by mask")
    present = torch.ones(12, dtype=torch.bool)
    present[4] = False
    other = x.clone()
    other[:, :, 3:6, :3] = torch.nan
    assert torch.equal(net(x, present), net(other, present))
    assert torch.equal(net.explain(x, present).values, net.explain(other, present).values)


def test_a_patch_is_absent_when_every_pixel_has_the_baselines_colour():
    net, x = image_net("patches"), pictures("patches")
    x[0, :, 3:6, 3:6] = net.baseline[:, None, None]
    assert net.presence(x)[0].logical_not().nonzero().flatten().tolist() == [5]
    assert net.presence(x)[1:].all()
    x[0, 1, 4, 4] += 1e-12
    assert net.presence(x).all()
    assert (net.explain(net.masked(x, torch.zeros(3, 12, dtype=torch.bool))).values == 0).all()


def test_borders_of_the_published_net_stay_alive():
    net, x = image_net("published"), pictures("published", 20)
    for z in net.parts[0].units(x):
        alive = (z != 0).any(1).double().mean(0)  # (h, w)
        assert alive[0, 0] > 0.2
        assert alive[-1, -1] > 0.2
        assert (alive > 0.1).all()


@pytest.mark.parametrize("design", ["published", "published, kernel 5"])
def test_an_absent_child_closes_a_published_unit_whatever_the_kernel(design):
    part, x = image_net(design).parts[0], pictures(design)
    members = part.fields()
    for i in range(12):
        present = torch.ones(3, 12, dtype=torch.bool)
        present[:, i] = False
        units = torch.cat([z.flatten(2) for z in part.units(x, present)], 2)  # (b, d, u)
        assert (units[..., members[:, i]] == 0).all()
        whole = torch.cat([z.flatten(2) for z in part.units(x)], 2)
        assert torch.equal(units[..., ~members[:, i]], whole[..., ~members[:, i]])


def test_one_transposed_convolution_shares_as_fields_do(generator):
    grid, chain = (5, 4), [[(0, 0)], [(0, 0), (0, 1)], [(-1, 0), (0, 0), (2, -1)]]
    stencil = stencils(chain, grid)
    dividends = torch.randn(2, 3, 2, *grid, generator=generator, dtype=torch.float64)
    members = fields(stencil, grid)
    flat = dividends.permute(0, 1, 3, 4, 2).reshape(2, -1, 2)
    each = flat / members.sum(1)[:, None]
    truth = torch.einsum("buk,un->bnk", each, members.double())
    assert (share(dividends, stencil) - truth).abs().max() <= 1e-12
    assert (share(dividends, stencil, members=members.double()) - truth).abs().max() <= 1e-12
    assert torch.equal(sizes(stencil, grid).flatten(), members.sum(1))
    assert members.sum(1).max() == 6
    assert members[0].nonzero().flatten().tolist() == [0]


def test_a_stencil_is_the_sum_of_its_blocks_offsets():
    found = stencils([[(0, 0)], [(0, 0), (0, 1)], [(0, 0), (1, 0)]], (3, 3))
    assert found[2].nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]
    far = stencils([[(0, 0), (7, 0)]], (3, 3))  # nobody in the grid is that far below
    assert far.sum() == 1


def test_explaining_changes_neither_mode_nor_statistics_nor_random_state(trained):
    net, x = trained
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    found = net.explain(x)
    net.dividends(x)
    net.order_spectrum(x)
    assert all(module.training for module in net.modules())
    net.eval()
    assert torch.equal(found.values, net.explain(x).values)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_an_image_is_explained_the_same_alone_and_in_tiles(trained):
    net, x = trained
    whole = net.explain(x).values
    assert (net.explain(x, max_rows=1).values - whole).abs().max() <= 1e-12
    assert (net.explain(x[1:2]).values - whole[1:2]).abs().max() <= 1e-12
    assert net.explain(x[:0]).values.shape == (0, 12, 3)


def test_gradients_of_values_reach_pixels_and_weights(trained):
    net, x = trained
    pixels = x.clone().requires_grad_()
    net.attribute(pixels)[1].square().sum().backward()
    assert pixels.grad.abs().max() > 0
    assert pixels.grad.isfinite().all()
    weights = [p.grad for p in net.parameters() if p.grad is not None]
    assert len(weights) > 1
    assert all(g.isfinite().all() for g in weights)
    net.zero_grad()


def test_a_bias_behind_the_gate_would_be_seen():
    net, x = image_net("patches by mask"), pictures("patches by mask")

    class Leaking(nn.Module):
        def forward(self, rows, present):
            return net(rows, present) + 0.1 * present[:, :1].double() * present[:, 5:6].double()

    truth = exact_shapley(PresenceGame(Leaking(), x, n_players=12))
    assert (net.explain(x).values - truth.values).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda n, x: n(x[:, :1]), ValueError, "shape"),
        (lambda n, x: n(x.int()), TypeError, "x is"),
        (lambda n, x: n(x, torch.ones(3, 11, dtype=torch.bool)), ValueError, "present"),
        (lambda n, x: n(x, torch.ones(3, 12)), TypeError, "present"),
        (lambda n, x: n.set_baseline(torch.zeros(12)), ValueError, "baseline"),
        (lambda n, x: n.attach(nn.Identity()), ValueError, "features"),
        (lambda n, x: image_net("published").masked(x, n.presence(x)), ValueError, "cells"),
    ],
)
def test_unusable_arguments_are_refused_by_name(call, error, words):
    net, x = image_net("patches"), pictures("patches")
    with pytest.raises(error, match=words):
        call(net, x)
