"""Laws of the recipe: a mixture is exact, no worse than its parts, and comes back from a file."""

import copy
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from baselines.exact import exact_shapley
from baselines.game import PresenceGame
from harsanyi.bags import Folds, Grown, deal
from harsanyi.fitting import Schedule
from harsanyi.growing import (
    Shape,
    _binned,
    _model,
    _unbinned,
    bin_edges,
    grow_trees,
    with_copies,
)
from harsanyi.mixing import mix
from harsanyi.net import HarsanyiNet, NetConfig
from harsanyi.parts.additive import AdditivePart
from harsanyi.parts.tree_readers import read_hist_gradient_boosting
from harsanyi.parts.trees import TreePart
from harsanyi.recipe import grow
from harsanyi.table import Absence, Column, Table

N = 6
QUICK = Schedule(epochs=4)


def table(problem: str, seed: int = 0, b: int = 240, absence: Absence = "mask") -> Table:
    """Numbers, a category and missing cells; `problem` is "binary", "classes", "number" or "soft"."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(b, N, generator=generator, dtype=torch.float64)
    x[:, 2] = torch.randint(0, 4, (b,), generator=generator).double()
    score = x[:, 0] * x[:, 1] + (x[:, 2] > 1) + 0.5 * x[:, 3]
    x[torch.rand(b, N, generator=generator) < 0.05] = torch.nan
    columns = [Column(f"x{i}") for i in range(N)]
    columns[2] = Column("x2", ("a", "b", "c", "d"))
    y: Tensor = {
        "binary": (score > 0.5).long(),
        "classes": (score > 0).long() + (score > 1).long(),
        "number": score[:, None],
        "soft": torch.stack([(-score).sigmoid(), score.sigmoid()], -1),
    }[problem]
    return Table(
        x=x,
        y=y,
        weight=torch.ones(b, dtype=torch.float64),
        columns=tuple(columns),
        n_outputs=3 if problem == "classes" else 1,
        problem_type="regression" if problem == "number" else "classification",
        absence=absence,
        baseline=torch.tensor([0.0, 0.1, 1.0, 0.0, 0.2, 0.0], dtype=torch.float64),
    )


def quick(data: Table, **options: Any) -> HarsanyiNet:
    options = {"bags": 3, "schedule": QUICK, "dtype": torch.float64, **options}
    return grow(data, **options)


@pytest.mark.parametrize("problem", ["binary", "classes", "number", "soft"])
@torch.no_grad()
def test_a_mixture_equals_enumeration(problem: str) -> None:
    data = table(problem)
    net = quick(data)
    x = data.x[:3]
    game = PresenceGame(lambda rows, present: net(rows, present), x)
    expected = exact_shapley(game).values
    assert expected.abs().max() > 0.01
    assert (net.explain(x).values - expected).abs().max() <= 1e-10
    assert (net.dividends(x).shapley() - expected).abs().max() <= 1e-10


@pytest.mark.parametrize("kind", ["additive", "waves", "trees", "gated", "products", "subsets"])
@torch.no_grad()
def test_each_kind_of_part_is_exact_after_training(kind: str) -> None:
    data = table("classes", seed=1)
    net = quick(data, parts=(kind,), bags=2)
    x = data.x[:3]
    expected = exact_shapley(PresenceGame(lambda rows, present: net(rows, present), x)).values
    assert expected.abs().max() > 1e-3
    assert (net.explain(x).values - expected).abs().max() <= 1e-10


@torch.no_grad()
def test_a_mixture_in_bfloat16_is_a_few_roundings_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harsanyi.recipe.mix", lambda folds, grown: torch.ones(len(grown)) / 3)
    data = table("classes", seed=1)
    low = quick(data).to(torch.bfloat16)
    high = copy.deepcopy(low).double()  # the same rounded weights: the same game
    answer, truth = low.explain(data.x[:64]), high.explain(data.x[:64]).values
    assert answer.values.dtype == torch.bfloat16
    assert (answer.values.double() - truth).abs().max() <= 4 * 2**-8 * float(truth.abs().max())


@torch.no_grad()
def test_many_parts_in_bfloat16_add_up_in_float32() -> None:
    part = AdditivePart(1, 1).to(torch.bfloat16)
    part.weights.fill_(0.1)
    parts = [copy.deepcopy(part) for _ in range(300)]
    net = HarsanyiNet(NetConfig(1, 1, [p.spec for p in parts]), parts).to(torch.bfloat16)
    x = torch.zeros(2, 1, dtype=torch.float64)
    one = float(part.shapley(x, x == 0)[0, 0, 0])
    # a running sum in bfloat16 would stop growing at 256 times a term
    assert net.explain(x).values.flatten().tolist() == pytest.approx([300 * one] * 2, rel=2**-8)


@torch.no_grad()
def test_writing_the_baseline_is_being_absent() -> None:
    data = table("binary", absence="baseline")
    net = quick(data)
    x = data.x[:20]
    mask = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    written = torch.where(mask, x, data.baseline)
    assert torch.equal(net(x, mask), net(written))
    assert (net.explain(written).values[~mask] == 0).all()


@torch.no_grad()
def test_marginal_absence_averages_over_the_training_rows() -> None:
    data = table("number", absence="marginal")
    net = quick(data, parts=("additive",))
    x = data.x[:3]
    nobody = torch.zeros_like(data.x, dtype=torch.bool)
    assert (net(data.x, nobody) - net(data.x).mean(0)).abs().max() <= 1e-9
    expected = exact_shapley(PresenceGame(lambda rows, present: net(rows, present), x)).values
    assert (net.explain(x).values - expected).abs().max() <= 1e-10
    with pytest.raises(ValueError, match="trees"):
        quick(data, parts=("trees",))


@torch.no_grad()
def test_a_mixture_comes_back_from_its_specs_and_its_file() -> None:
    data = table("classes")
    net = quick(data)
    back = HarsanyiNet(net.config).double()
    back.load_state_dict(load(save(net.state_dict())))
    assert torch.equal(back(data.x), net(data.x))


def test_the_same_key_gives_the_same_net() -> None:
    data = table("binary")
    one, two, other = (quick(data, key=key) for key in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one(data.x), other(data.x))


def test_every_row_is_left_out_once_and_classes_are_spread() -> None:
    data = table("classes", b=90)
    folds = deal(data, 3, 0.5, 0)
    for bag in range(3):
        outside = folds.outside(bag)
        assert len(outside) == 30
        assert not set(outside.tolist()) & set(folds.inside(bag).tolist())
        share = torch.bincount(data.y[outside], minlength=3) * 3 - torch.bincount(data.y)
        assert share.abs().max() <= 3


def test_merged_bags_leave_out_what_their_bags_leave_out() -> None:
    folds = deal(table("binary", b=80), 8, 0.5, 0)
    merged = folds.merged(4)
    assert merged.n_bags == 4
    for bag in range(4):
        both = {*folds.outside(bag).tolist(), *folds.outside(bag + 4).tolist()}
        assert set(merged.outside(bag).tolist()) == both
    assert folds.merged(20).n_bags == 8


def test_a_bag_never_sees_the_rows_it_is_judged_on() -> None:
    # y is noise: a tree that had seen its judged rows would explain them
    data = table("number", b=300)
    noise = torch.randn(300, 1, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    data = Table(**{**vars(data), "y": noise})
    grown = grow_trees(deal(data, 3, 0.5, 0), copies_weight=0.0, key=0)
    residual = (grown.full - noise).square().mean() / noise.var()
    assert residual > 0.9


def pretend(folds: Folds, full: Tensor) -> Grown:
    return Grown([AdditivePart(N, 1)], torch.zeros(1), full, full)


def test_the_mixture_finds_the_better_part_and_never_loses_to_one() -> None:
    data = table("number")
    folds = deal(data, 3, 0.5, 0)
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(len(data), 1, generator=generator).double() for _ in range(2)]
    grown = [pretend(folds, data.y + n) for n in noise] + [pretend(folds, 0 * data.y)]
    weights = mix(folds, grown)
    assert weights.sum() == pytest.approx(1.0)
    assert (weights >= 0).all()
    losses = [float(folds.loss(part.full, part.masked)) for part in grown]
    blend = torch.stack([w * g.full for w, g in zip(weights, grown, strict=True)]).sum(0)
    assert float(folds.loss(blend, blend)) < min(losses)
    perfect = mix(folds, [pretend(folds, data.y), *grown])
    assert perfect[0] > 0.9


def test_masked_copies_write_the_baseline_and_weigh_what_is_asked() -> None:
    data = table("binary", b=50)
    copies = with_copies(data, 0.4, torch.Generator().manual_seed(0))
    new = copies.x[50:]
    source = data.x.repeat(len(new) // 50, 1)
    same = (new == source) | (new.isnan() & source.isnan())
    assert (same | (new == data.baseline)).all()
    assert not same.all(0).any()
    assert copies.weight[50:].sum() == pytest.approx(0.4 * float(data.weight.sum()))


def test_cuts_lie_between_values() -> None:
    data = table("number", b=2000)
    edges = bin_edges(data)
    assert len(edges[2]) == 0
    for player in (0, 1, 3):
        assert 50 < len(edges[player]) <= 65
        cuts = set(edges[player].tolist()) - {float(data.baseline[player])}
        assert not cuts & set(data.x[:, player].tolist())


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="'forest'"):
        quick(table("binary"), parts=("forest",))


def test_out_of_bag_outputs_are_those_of_every_row() -> None:
    data = table("classes")
    full, masked = quick(data).out_of_bag  # pyright: ignore[reportGeneralTypeIssues]
    assert full.shape == masked.shape == (len(data), 3)
    assert float((full.argmax(-1) == data.y).double().mean()) > 0.5


@torch.no_grad()
def test_the_mass_of_every_order_is_that_of_the_written_out_terms() -> None:
    data = table("classes")
    net = quick(data, parts=("additive", "waves", "trees"))
    x = data.x[:10]
    by_parts, by_terms = net.order_spectrum(x), net.dividends(x).term_spectrum()
    assert by_parts.shape == (10, N, 3)
    assert (by_parts - by_terms).abs().max() <= 1e-12


@torch.no_grad()
def test_trees_see_an_absent_number_as_a_value_of_its_own() -> None:
    # the target is 1 where the cell is given and 0 where the baseline stands in it
    data = table("number", b=400)
    x = torch.randn(400, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[::2] = data.baseline[1]
    one = Table(
        **{**vars(data), "x": x, "columns": (Column("x0"),), "baseline": data.baseline[1:2]}
    )
    one = Table(**{**vars(one), "y": (x != one.baseline).double()})
    grown = grow_trees(deal(one, 2, 0.5, 0), copies_weight=0.0, key=0)
    assert (grown.full - one.y).abs().max() < 0.05


@pytest.mark.parametrize(
    "key", [0, 1]
)  # even bags split by sets of codes, odd ones by their order
def test_raw_trees_predict_what_the_library_predicts_on_binned_rows(key: int) -> None:
    data = table("classes", b=400)
    edges = bin_edges(data)
    model = _model(data, None, Shape(), 10, 0, native=key == 0)
    model.set_params(early_stopping=False)
    rows = _binned(data.x, edges, data.cardinalities)
    model.fit(rows, data.y.numpy())
    forest = _unbinned(read_hist_gradient_boosting(model), edges, data.cardinalities)
    used = {int(p) for trees in forest.trees for tree in trees for p in tree.player}
    assert 2 in used  # the category
    part = TreePart.from_forest(forest, data.baseline)
    ours = part(data.x, torch.ones_like(data.x, dtype=torch.bool)) + forest.bias
    assert (ours - torch.tensor(model._raw_predict(rows))).abs().max() <= 1e-12
