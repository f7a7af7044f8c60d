"""Product units: trained or not, in every semantics, they are exact for their own forward."""

import pytest
import torch

from baselines.coalitions import all_coalitions
from harsanyi.parts import Part, build
from harsanyi.parts.products import ProductPart
from tests.factored_games import banzhaf_by_definition, close, shapley_by_definition

N, K = 6, 2
F64 = torch.float64
FIELDS = [[0, 1], [2, 5, 3], [], [4], [0, 1, 2, 3, 4, 5]]


def rows(b=40, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(b, N, generator=draw, dtype=F64)
    x[::5, 1] = float("nan")
    x[:, 5] = torch.randint(0, 4, (b,), generator=draw).double()
    return x


def part(absent="one", fields=None, **options):
    spec = {
        "kind": "products",
        "units": 5,
        "encoder": {"cardinalities": [0, 0, 0, 0, 0, 4], "bins": 4},
        "fields": fields,
        "absent": absent,
    }
    made = build(spec | options, N, K).double()
    assert isinstance(made, ProductPart)
    return made.fit_encoder(rows())


def trained(module, steps=50):
    draw = torch.Generator().manual_seed(1)
    x = rows(64, seed=2)
    target = torch.stack([x[:, 0] * x[:, 2] > 0, x[:, 5] > 1], 1).to(F64)
    optimizer = torch.optim.Adam(module.parameters(), 0.05)
    first = last = 0.0
    for step in range(steps):
        present = torch.rand(64, N, generator=draw) < 0.8
        loss = (module(x, present) - target).square().mean()
        first = loss.detach().item() if step == 0 else first
        last = loss.detach().item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert last < 0.8 * first
    return module.fit_means(rows())


def enumerated(module, x, present):
    with torch.no_grad():
        return torch.stack([module(x, present & mask) for mask in all_coalitions(N)], 1)


@pytest.mark.parametrize("fields", [None, FIELDS], ids=["all", "fields"])
@pytest.mark.parametrize("absent", ["one", "mean"])
@pytest.mark.parametrize("seed", range(5))
def test_a_trained_part_equals_enumeration_of_its_forward(absent, fields, seed):
    module = part(absent, fields)
    module.reset_parameters(torch.Generator().manual_seed(seed))
    module = trained(module)
    x, present = (
        rows(4, seed=3),
        torch.rand(4, N, generator=torch.Generator().manual_seed(4)) < 0.8,
    )
    values = enumerated(module, x, present)
    whole = shapley_by_definition(values, N)
    value, phi, base = module.attribute(x, present)
    close(phi, whole)
    close(module.shapley(x, present), whole)
    close(module.banzhaf(x, present), banzhaf_by_definition(values, N))
    close(value, values[:, -1], 1e-12)
    close(base, values[:, 0], 1e-12)
    close(phi.sum(1), value - base, 1e-12)
    assert not phi[~present].any()
    game = module.terms(x, present)
    close(game.value(all_coalitions(N)[None]), values, 1e-12)
    close(game.shapley(), whole)
    close(game.base_values, base, 1e-12)


@pytest.mark.parametrize("absent", ["one", "mean"])
def test_what_stands_at_an_absent_player_does_not_matter(absent):
    module = part(absent)
    x = rows(3)
    present = torch.tensor([[True, False, True, True, False, True]]).expand(3, N)
    other = torch.where(present, x, 1e6 * torch.ones_like(x))
    for method in (module, module.shapley):
        assert torch.equal(method(x, present), method(other, present))


def test_an_absent_player_is_averaged_over_the_training_rows():
    module, x = part("mean"), rows(1, seed=8)
    everybody = torch.ones(40, N, dtype=torch.bool)
    for player in range(N):
        copies = x.repeat(40, 1)
        copies[:, player] = rows()[:, player]
        present = torch.ones(1, N, dtype=torch.bool)
        present[0, player] = False
        close(module(x, present), module(copies, everybody).mean(0, keepdim=True), 1e-12)


def test_with_everybody_present_the_means_do_not_matter():
    x, everybody = rows(5), torch.ones(5, N, dtype=torch.bool)
    mean, one = part("mean"), part("one")
    assert mean.means.any()
    close(mean(x, everybody), one(x, everybody), 1e-12)


def test_players_outside_every_field_get_exactly_nothing():
    module = part(fields=[[0, 1], [1, 3], [3], [], [0]])
    x, everybody = rows(4), torch.ones(4, N, dtype=torch.bool)
    phi = module.shapley(x, everybody)
    assert torch.equal(phi[:, [2, 4, 5]], torch.zeros(4, 3, K, dtype=F64))
    close(phi, shapley_by_definition(enumerated(module, x, everybody), N))


def test_sample_weights_count_in_the_means():
    x, weight = rows(), torch.rand(40, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([x, x[:10]])
    module = part("mean").fit_means(whole)
    doubled = module.means.clone()
    module.fit_means(x, torch.cat([torch.full((10,), 2.0), torch.ones(30)]))
    close(module.means, doubled, 1e-12)
    module.fit_means(x, weight, max_rows=7)
    tiled = module.means.clone()
    close(module.fit_means(x, weight).means, tiled, 1e-12)
    with pytest.raises(ValueError, match="no rows"):
        module.fit_means(x[:0])


def test_a_missing_value_and_an_unknown_category_are_present_values():
    module = part()
    x = rows(1)
    x[0, 1], x[0, 5] = float("nan"), 9
    present = torch.ones(1, N, dtype=torch.bool)
    values = enumerated(module, x, present)
    assert torch.isfinite(values).all()
    assert module.shapley(x, present)[0, 1].abs().sum() > 0
    close(module.shapley(x, present), shapley_by_definition(values, N))


def test_products_follow_the_part_protocol_and_their_spec_rebuilds_them():
    module = part("mean", FIELDS)
    assert isinstance(module, Part)
    again = build(module.spec, N, K).double()
    again.load_state_dict(module.state_dict())
    x, present = rows(3), torch.ones(3, N, dtype=torch.bool)
    assert torch.equal(again(x, present), module(x, present))
    assert module.absences == {"marginal"}
    assert part().absences == {"baseline", "mask"}


def test_fields_bound_the_nodes_and_float32_stays_close():
    assert part(fields=[[0, 1]] * 5).n_nodes == 1
    assert part().n_nodes == 3
    double = part()
    single = part().float()
    x, present = rows(16), torch.ones(16, N, dtype=torch.bool)
    close(single.shapley(x, present).double(), double.shapley(x, present), 1e-5)
    assert part().bfloat16().shapley(x, present).dtype == torch.bfloat16


def test_attributions_of_products_are_differentiable():
    module = part()
    x, present = rows(2), torch.ones(2, N, dtype=torch.bool)
    module.shapley(x, present).square().sum().backward()
    for parameter in module.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.any()


@pytest.mark.parametrize(
    "options",
    [
        {"bound": 1.0},
        {"units": 0},
        {"absent": "nan"},
        {"fields": [[0]]},
        {"fields": [[9]] * 5},
    ],
)
def test_impossible_products_are_refused(options):
    with pytest.raises(ValueError, match=r"bound|units|absent|fields"):
        part(**options)
