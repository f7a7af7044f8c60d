"""HarsanyiNet's laws: its forward pass holds the Shapley values of its public game."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch

from baselines import BaselineImputer, MaskedGame, PresenceGame, exact_shapley
from harsanyi.net import HarsanyiNet, NetConfig
from harsanyi.parts.blocks import LearnedBlock
from harsanyi.parts.gated import GatedPart
from tests.small_nets import (
    black_box_game,
    by_definition,
    live_share,
    make_net,
    masked_game,
    presence_spec,
    rows,
    train_briefly,
    value_spec,
)

TENTH = 0.1  # not exact in binary


def specs(n: int, blocks: int) -> dict[str, dict]:
    return {
        "fixed": presence_spec(n, blocks, learned=False),
        "learned": presence_spec(n, blocks, learned=True),
        "scalar": presence_spec(n, blocks, learned=True, channels=1),
        "tanh": value_spec(blocks),
        "tanh_mean": value_spec(blocks, "tanh_mean"),
        "hard": value_spec(blocks, "hard"),
    }


def error(net: HarsanyiNet, x: torch.Tensor) -> float:
    """Largest difference of `explain` from the definition, relative to max(1, |v|)."""
    values = net.explain(x).values
    scale = max(1.0, float(net(x).detach().abs().max()))
    gaps = [
        (values[i] - by_definition(masked_game(net, x[i]), net.n_players)).abs().max()
        for i in range(len(x))
    ]
    return float(max(gaps)) / scale


@pytest.mark.parametrize("kind", ["fixed", "learned", "scalar", "tanh", "tanh_mean", "hard"])
@pytest.mark.parametrize(("n", "blocks", "k"), [(2, 1, 1), (3, 2, 2), (5, 4, 10), (8, 2, 2)])
def test_net_explains_itself_exactly_before_and_after_training(kind, n, blocks, k):
    net = make_net(specs(n, blocks)[kind], n, k, seed=n)
    x = rows(3, n)
    assert error(net, x) <= 1e-10
    train_briefly(net)
    assert error(net, x) <= 1e-10


@pytest.mark.parametrize("kind", ["fixed", "learned", "tanh"])
@pytest.mark.parametrize("blocks", [1, 2, 4])
def test_last_block_is_alive_after_training(kind, blocks):
    net = make_net(specs(12, blocks)[kind], 12, 2)
    train_briefly(net)
    assert live_share(net, rows(200, 12)) >= 0.2
    assert error(net, rows(1, 12)) <= 1e-10


def test_float32_is_exact_to_1e_5():
    for kind in ("fixed", "tanh"):
        net = make_net(specs(8, 2)[kind], 8, 3, dtype=torch.float32)
        assert error(net, rows(3, 8)) <= 1e-5


@pytest.mark.parametrize("kind", ["fixed", "tanh"])
def test_baseline_semantics_can_be_checked_as_a_black_box(kind):
    baseline = torch.full((6,), TENTH, dtype=torch.float64)
    net = make_net(specs(6, 2)[kind], 6, 2, absence="baseline", baseline=baseline)
    x = rows(4, 6)
    x[0, 1], x[1] = TENTH, TENTH
    truth = exact_shapley(MaskedGame(net, x, BaselineImputer(baseline))).values
    ours = net.explain(x).values
    assert (ours - truth).abs().max() <= 1e-10
    assert (ours[0, 1] == 0).all()
    assert (ours[1] == 0).all()
    box = by_definition(black_box_game(net, x[2], baseline), 6)
    assert (ours[2] - box).abs().max() <= 1e-10


def test_a_nan_baseline_equals_a_missing_value():
    baseline = torch.tensor([float("nan"), 0.0, 0.0], dtype=torch.float64)
    net = make_net(presence_spec(3, 1, learned=False), 3, 2, absence="baseline", baseline=baseline)
    x = rows(2, 3)
    x[0, 0] = x[1, 1] = float("nan")
    there = net.presence(x)
    assert there.tolist() == [[False, True, True], [True, True, True]]
    truth = exact_shapley(MaskedGame(net, x, BaselineImputer(baseline))).values
    assert (net.explain(x).values - truth).abs().max() <= 1e-10


def test_in_mask_semantics_the_baseline_value_keeps_its_say():
    net = make_net(presence_spec(5, 1, learned=False), 5, 2)
    x = torch.zeros(1, 5, dtype=torch.float64)
    assert net.explain(x).values.abs().max() > 1e-3
    assert error(net, x) <= 1e-10


def test_baseline_keeps_its_bits_under_any_cast():
    baseline = torch.full((4,), TENTH, dtype=torch.float64)
    net = make_net(presence_spec(4, 1, learned=False), 4, 1, absence="baseline", baseline=baseline)
    net = net.to(torch.bfloat16)
    assert net.baseline.dtype == torch.float64
    assert torch.equal(net.baseline, baseline)
    assert not net.presence(baseline[None]).any()
    assert (net(baseline[None]) == net.bias).all()


@pytest.mark.parametrize("kind", ["fixed", "learned", "tanh"])
def test_values_are_efficient_on_a_thousand_rows(kind):
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        net = make_net(specs(12, 2)[kind], 12, 10, dtype=dtype)
        e = net.explain(rows(1000, 12))
        nobody = torch.zeros(1000, 12, dtype=torch.bool)
        with torch.no_grad():
            v, empty = net(rows(1000, 12)), net(rows(1000, 12), nobody)
        scale = max(1.0, float(v.abs().max()))
        assert (e.values.sum(1) - (v - empty)).abs().max() <= bound * scale
        assert (e.base_values - empty).abs().max() <= bound * scale


def test_a_unit_reads_its_field_only_and_dies_with_any_member():
    net = make_net(presence_spec(6, 2, learned=False), 6, 2)
    part, x = net.parts[0], rows(1, 6)
    full = torch.ones(1, 6, dtype=torch.bool)
    with torch.no_grad():
        vectors, fields = part.units(x, full)
        for i in range(6):
            moved = x.clone()
            moved[0, i] = 1e6
            gone = full.clone()
            gone[0, i] = False
            other, _ = part.units(moved, full)
            masked, _ = part.units(x, gone)
            for z, a, m, field in zip(vectors, other, masked, fields, strict=True):
                strangers = ~field[:, i]
                assert torch.equal(z[strangers], a[strangers])
                assert torch.equal(z[strangers], m[strangers])
                assert (m[field[:, i]] == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_number_outside_its_field_leaves_a_unit_alone(bad):
    net = make_net(presence_spec(5, 1, learned=False), 5, 2)
    x = rows(1, 5)
    worse = x.clone()
    worse[0, 0] = bad
    full = torch.ones(1, 5, dtype=torch.bool)
    with torch.no_grad():
        (z,), (field,) = net.parts[0].units(x, full)
        (a,), _ = net.parts[0].units(worse, full)
    assert torch.equal(z[~field[:, 0]], a[~field[:, 0]])
    assert a.isfinite().all()


def test_dividends_are_the_moebius_transform_of_the_game():
    net = make_net(presence_spec(6, 2, learned=False), 6, 2)
    x = rows(2, 6)
    d = net.dividends(x)
    masks = (torch.arange(64)[:, None] >> torch.arange(6)) & 1 == 1
    for row in range(2):
        v = masked_game(net, x[row])(masks)
        listed = {tuple(c.tolist()): d.values[row, i] for i, c in enumerate(d.coalitions)}
        assert len(listed) == len(d.coalitions)
        for index, mask in enumerate(masks):
            if index == 0:
                continue
            inside = (masks & ~mask).sum(1) == 0
            signs = (-1.0) ** (mask.sum() - masks[inside].sum(1)).double()
            moebius = (signs[:, None] * v[inside]).sum(0)
            found = listed.get(tuple(mask.tolist()), torch.zeros(2))
            assert (moebius - found).abs().max() <= 1e-10
    assert (d.shapley() - net.explain(x).values).abs().max() <= 1e-12
    drawn = torch.rand(1, 200, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    played = PresenceGame(net, x)(drawn)
    assert (d.value(drawn) - played).abs().max() <= 1e-10


def test_interactions_of_order_one_are_shapley_values():
    net = make_net(presence_spec(5, 1, learned=False), 5, 2)
    x = rows(2, 5)
    inter = net.interactions(x, "SII", 1)
    for i in range(5):
        assert (inter[(i,)] - net.explain(x).values[:, i]).abs().max() <= 1e-12


def test_a_duplicated_column_of_opposite_weights_does_not_split_batches():
    # in exact arithmetic the unit is zero; in floating point its value depends on the batch shape
    part = GatedPart(3, 1, blocks=[{"units": 8, "activation": "identity", "bias": False},
                                   {"units": 8, "children": 2}], encoder="scalar")  # fmt: skip
    first, second = part.blocks
    with torch.no_grad():
        first.tau.copy_(torch.tensor([1.0, 1.0, -1.0]).expand(8, 3))
        first.weight[:, 0, 0, 0] = torch.linspace(0.1, 3, 8)
        first.weight[:, 0, 1, 0] = -first.weight[:, 0, 0, 0]
    net = HarsanyiNet(NetConfig(3, 1), [part])
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        net = net.to(dtype)
        x = rows(256, 3)
        x[:, 1] = x[:, 0]
        whole = net.explain(x).values
        alone = torch.cat([net.explain(x[i : i + 1]).values for i in range(256)])
        assert (whole - alone).abs().max() <= bound
        with torch.no_grad():
            single = torch.cat([net(x[i : i + 1]) for i in range(256)])
            assert (net(x) - single).abs().max() <= bound
    assert second.n_units == 8


def test_equal_players_get_equal_values_and_strangers_none():
    part = GatedPart(4, 1, blocks=[{"units": [[1, 2], [2, 1]], "channels": 2}])
    part.blocks[0].connect([[0], [1], [0, 1]])
    with torch.no_grad():
        part.encoder.slopes[1] = part.encoder.slopes[0]
        part.encoder.shifts[1] = part.encoder.shifts[0]
        block = part.blocks[0]
        for tensor in (block.weights[0], block.biases[0]):
            tensor[1] = tensor[0]
        part.readouts[0][1] = part.readouts[0][0]
        width = part.encoder.width
        block.weights[1][0, width:] = block.weights[1][0, :width]
    net = HarsanyiNet(NetConfig(4, 1), [part]).double()
    x = rows(5, 4)
    x[:, 1] = x[:, 0]
    x[:, 2] = 1e6
    values = net.explain(x).values
    assert (values[:, 0] - values[:, 1]).abs().max() <= 1e-12
    assert values[:, 0].abs().min() > 0
    assert (values[:, 2:] == 0).all()


def test_values_are_linear_in_outputs_and_in_parts():
    net = make_net(presence_spec(5, 1, learned=False), 5, 3)
    x = rows(4, 5)
    values = net.explain(x).values
    margin = net.dividends(x).margin(0, 2).shapley()[..., 0]
    assert (margin - (values[..., 0] - values[..., 2])).abs().max() <= 1e-12
    other = make_net(presence_spec(5, 2, learned=True), 5, 3, seed=7)
    both = HarsanyiNet(NetConfig(5, 3), [net.parts[0], other.parts[0]]).double()
    with torch.no_grad():
        both.mixture.copy_(torch.tensor([0.25, -2.0]))
    expected = 0.25 * values - 2 * other.explain(x).values
    assert (both.explain(x).values - expected).abs().max() <= 1e-12
    assert error(both, x[:1]) <= 1e-10
    assert (both.dividends(x).shapley() - expected).abs().max() <= 1e-12


def test_binary_gauge_is_half_the_log_odds_on_either_side():
    part = GatedPart(4, 1, blocks=[{"units": 6, "children": 2, "channels": 2}])
    net = HarsanyiNet(NetConfig(4, 2, gauge="binary"), [part]).double()
    x = rows(3, 4)
    logits = net(x)
    assert (logits.sum(1) == 0).all()
    assert error(net, x) <= 1e-10
    assert (net.dividends(x).shapley() - net.explain(x).values).abs().max() <= 1e-12


@pytest.mark.parametrize("b", [0, 1, 2, 1000])
def test_batches_are_rows_side_by_side(b):
    net = make_net(presence_spec(7, 2, learned=True), 7, 2)
    x = rows(b, 7)
    whole = net.explain(x)
    assert whole.values.shape == (b, 7, 2)
    chunked = net.explain(x, max_rows=3)
    assert b == 0 or (whole.values - chunked.values).abs().max() <= 1e-12
    order = torch.randperm(b, generator=torch.Generator().manual_seed(0))
    assert b == 0 or (net.explain(x[order]).values - whole.values[order]).abs().max() <= 1e-12


def test_explaining_changes_nothing_in_the_model_or_the_world():
    net = make_net(presence_spec(5, 2, learned=False), 5, 2, dtype=torch.float32).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    e = net.explain(rows(4, 5))
    assert net.training
    assert e.values.dtype == torch.float32
    assert not e.values.requires_grad
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_building_a_net_moves_no_global_random_state():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    make_net(presence_spec(5, 2, learned=True), 5, 2)
    assert torch.equal(state, torch.get_rng_state())


def test_float32_and_float64_of_one_model_agree():
    net = make_net(presence_spec(8, 2, learned=False), 8, 3, dtype=torch.float32)
    x = rows(16, 8)
    low = net.explain(x).values
    high = net.double().explain(x).values
    assert (low - high).abs().max() <= 1e-5 * max(1.0, float(high.abs().max()))


def test_bfloat16_accumulates_attributions_in_float32():
    net = make_net(presence_spec(8, 1, learned=False), 8, 3, dtype=torch.float32)
    x = rows(16, 8)
    high = net.explain(x).values
    low = net.to(torch.bfloat16).explain(x)
    assert low.values.dtype == torch.bfloat16
    assert (low.values.float() - high).abs().max() <= 0.05


def test_nobody_present_leaves_the_base_and_zero_values():
    net = make_net(presence_spec(4, 2, learned=True), 4, 2)
    x = rows(3, 4)
    nobody = torch.zeros(4, dtype=torch.bool)
    e = net.explain(x, nobody)
    assert (e.values == 0).all()
    assert torch.equal(e.base_values, net(x, nobody))
    assert torch.equal(net(x, nobody), net.bias.expand(3, -1))


def test_restricting_the_players_restricts_the_game():
    net = make_net(presence_spec(6, 2, learned=False), 6, 2)
    x = rows(1, 6)
    some = torch.tensor([True, False, True, True, False, True])
    values = net.explain(x, some).values[0]
    truth = by_definition(lambda masks: masked_game(net, x[0])(masks & some), 6)
    assert (values - truth).abs().max() <= 1e-10
    assert (values[~some] == 0).all()


def test_dead_units_are_exact_and_can_be_revived():
    net = make_net(presence_spec(4, 1, learned=True, channels=1), 4, 1)
    block = net.parts[0].blocks[0]
    block.function = torch.relu
    with torch.no_grad():
        block.bias.fill_(-1e3)
    assert live_share(net, rows(10, 4)) == 0
    assert error(net, rows(1, 4)) <= 1e-10
    x = rows(10, 4)
    with torch.no_grad():
        block.bias.fill_(1.0)
        block.weight.abs_()
    net(x).sum().backward()
    assert block.tau.grad.abs().max() > 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("bias", [True, False])
def test_units_without_children_belong_to_the_base(bias):
    part = GatedPart(3, 2, blocks=[{"units": 4, "bias": bias, "children": 1}])
    with torch.no_grad():
        part.blocks[0].tau[:2] = -1.0
    net = HarsanyiNet(NetConfig(3, 2), [part]).double()
    x = rows(2, 3)
    assert error(net, x) <= 1e-10
    empty = net(x, torch.zeros(3, dtype=torch.bool))
    assert (net.explain(x).base_values - empty).abs().max() <= 1e-12
    assert (net.dividends(x).base_values - empty).abs().max() <= 1e-12
    assert bool((empty != 0).any()) == bias
    grad_mode = net.attribute(x)  # the dense path
    assert (grad_mode[2] - empty).abs().max() <= 1e-12


def test_a_constant_net_pays_nobody():
    net = HarsanyiNet(NetConfig(3, 2), []).double()
    with torch.no_grad():
        net.bias.copy_(torch.tensor([1.0, -2.0]))
    e = net.explain(rows(2, 3))
    assert (e.values == 0).all()
    assert torch.equal(e.base_values, net.bias.detach().expand(2, -1))
    zero = make_net(presence_spec(3, 1, learned=False), 3, 2)
    with torch.no_grad():
        zero.parts[0].readouts[0].zero_()
    assert (zero.explain(rows(2, 3)).values == 0).all()


def test_one_unit_on_everybody_pays_everybody_alike():
    part = GatedPart(5, 1, blocks=[{"units": [[5, 1]], "channels": 3}])
    part.blocks[0].connect([[0, 1, 2, 3, 4]])
    net = HarsanyiNet(NetConfig(5, 1), [part]).double()
    x = rows(3, 5)
    share = (net(x) - net(x, torch.zeros(5, dtype=torch.bool))) / 5
    assert (net.explain(x).values - share[:, None]).abs().max() <= 1e-12


@pytest.mark.parametrize("n", [1, 64, 65, 128, 1000])
def test_fields_of_any_width_are_exact(n):
    sizes = sorted({1, min(2, n), n})
    part = GatedPart(n, 2, blocks=[{"units": [[s, 2 if s > 1 else 1] for s in sizes]}])
    generator = torch.Generator().manual_seed(n)
    part.blocks[0].connect(
        [torch.randperm(n, generator=generator)[:s].tolist() for s in sizes
         for _ in range(len(part.blocks[0].members(s)))]
    )  # fmt: skip
    net = HarsanyiNet(NetConfig(n, 2), [part]).double()
    x = rows(3, n)
    e = net.explain(x)
    assert e.diagnostics["additivity_gap"].abs().max() <= 1e-12
    few = torch.randperm(n, generator=generator)[:8]
    for others in (True, False):
        start = torch.full((n,), others)
        start[few] = False

        def game(masks, start=start):
            whole = start.repeat(len(masks), 1)
            whole[:, few] = masks
            return masked_game(net, x[0])(whole)

        truth = by_definition(game, len(few))
        if others:  # those who stay present join the base: divide their shares among the rest
            d = net.dividends(x[:1])
            inside = d.coalitions[:, few]
            shares = inside / inside.sum(1, keepdim=True).clamp(min=1)
            ours = torch.einsum("uk,un->nk", d.values[0], shares.double())
        else:
            alone = torch.zeros(n, dtype=torch.bool)
            alone[few] = True
            ours = net.explain(x[:1], alone).values[0, few]
        assert (ours - truth).abs().max() <= 1e-10


def test_values_follow_every_change_of_a_weight():
    net = make_net(presence_spec(6, 2, learned=True), 6, 2)
    x = rows(3, 6)
    net.explain(x)
    block = net.parts[0].blocks[0]
    assert isinstance(block, LearnedBlock)

    def fresh() -> torch.Tensor:
        other = make_net(presence_spec(6, 2, learned=True), 6, 2, seed=99)
        other.load_state_dict(net.state_dict())
        return other.explain(x).values

    before = net.explain(x).values
    net.parts[0].readouts[0].data.mul_(2)  # moves no version counter
    assert not torch.equal(net.explain(x).values, before)
    assert torch.equal(net.explain(x).values, fresh())
    with torch.no_grad():
        block.tau[0] = -block.tau[0]
    assert torch.equal(net.explain(x).values, fresh())
    net.load_state_dict(make_net(presence_spec(6, 2, learned=True), 6, 2, seed=5).state_dict())
    assert torch.equal(net.explain(x).values, fresh())
    assert error(net, x[:1]) <= 1e-10


def test_groups_of_players_are_the_quotient_game():
    net = make_net(presence_spec(6, 2, learned=False), 6, 2)
    x = rows(1, 6)
    groups = {"a": [0, 3], "b": [5]}
    ours = net.dividends(x).regroup(groups).shapley()[0]
    members = [[0, 3], [5], [1], [2], [4]]

    def game(masks):
        whole = torch.zeros(len(masks), 6, dtype=torch.bool)
        for j, group in enumerate(members):
            whole[:, group] = masks[:, j : j + 1]
        return masked_game(net, x[0])(whole)

    assert (ours - by_definition(game, 5)).abs().max() <= 1e-10


def test_values_are_differentiable():
    for spec in (presence_spec(3, 1, learned=False), value_spec(1)):
        net = make_net(spec, 3, 2)
        x = rows(2, 3)

        def squares(weight, net=net, x=x):
            net.parts[0].readouts[0] = torch.nn.Parameter(weight, requires_grad=False)
            del net.parts[0].readouts._parameters["0"]
            net.parts[0].readouts._parameters["0"] = weight
            return net.attribute(x)[1].square().sum()

        start = net.parts[0].readouts[0].detach().clone().requires_grad_()
        assert torch.autograd.gradcheck(squares, (start,))


def test_the_harness_sees_a_bias_after_the_gate():
    class Leaky(GatedPart):
        def forward(self, x, present):
            vectors, _ = self.units(x, present)
            return self._read([z + 0.3 for z in vectors])

    part = Leaky(5, 2, blocks=[{"units": 12, "children": 2}, {"units": 12, "children": 2}])
    with torch.no_grad():
        for readout in part.readouts:
            readout.normal_()
    original = part.units

    def leaking(x, present):  # the bias of the first block is read by the second after the gate
        vectors, fields = original(x, present)
        return [z + 0.3 * torch.relu(z.sum(0) - 1) for z in vectors], fields

    part.units = leaking
    net = HarsanyiNet(NetConfig(5, 2), [part]).double()
    assert error(net, rows(2, 5)) > 1e-2


@pytest.mark.parametrize(
    ("x", "present", "kind", "word"),
    [
        (torch.zeros(2, 3, dtype=torch.float64), None, ValueError, "players"),
        (torch.zeros(4, dtype=torch.float64), None, ValueError, "players"),
        (torch.zeros(2, 4, dtype=torch.int64), None, TypeError, "float64"),
        (torch.zeros(2, 4), torch.ones(2, 4), TypeError, "bool"),
        (torch.zeros(2, 4), torch.ones(2, 3, dtype=torch.bool), ValueError, "present"),
    ],
)
def test_bad_rows_are_refused_by_name(x, present, kind, word):
    net = make_net(presence_spec(4, 1, learned=False), 4, 1, dtype=torch.float32)
    with pytest.raises(kind, match=word):
        net(x, present)


def test_bad_configurations_are_refused_by_name():
    spec = presence_spec(4, 1, learned=False)
    with pytest.raises(ValueError, match="absence"):
        HarsanyiNet(NetConfig(4, 1, absence="gone"), [])
    with pytest.raises(ValueError, match="marginal"):
        HarsanyiNet(NetConfig(4, 1, parts=[spec], absence="marginal"))
    with pytest.raises(ValueError, match="gauge"):
        HarsanyiNet(NetConfig(4, 3, gauge="binary"), [])
    with pytest.raises(ValueError, match="kind"):
        HarsanyiNet(NetConfig(4, 3, parts=[{"kind": "magic"}]))
    with pytest.raises(ValueError, match="players"):
        HarsanyiNet(NetConfig(5, 1), [GatedPart(4, 1, blocks=spec["blocks"])])
    with pytest.raises(ValueError, match="gate"):
        GatedPart(4, 1, gate="tanh", blocks=[{"units": 3}])
    with pytest.raises(ValueError, match="child"):
        LearnedBlock(3, 1, units=2, children=0)
    with pytest.raises(ValueError, match="baseline"):
        HarsanyiNet(NetConfig(4, 1), []).set_baseline(torch.zeros(3))


def test_a_copy_and_a_pickle_are_the_same_net():
    net, x = make_net(presence_spec(5, 2, learned=False), 5, 2), rows(3, 5)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        other.load_state_dict(net.state_dict())
        assert torch.equal(other.explain(x).values, net.explain(x).values)


def test_weights_saved_under_other_settings_are_refused():
    net = make_net(value_spec(1), 4, 2)
    other = make_net({**value_spec(1), "gamma": 7.0}, 4, 2)
    with pytest.raises(ValueError, match="gamma"):
        other.load_state_dict(net.state_dict())
