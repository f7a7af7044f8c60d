"""Laws of refusal: what is no game, no tensor or no row is named, with a typed error."""

import pytest
import torch

import baselines
from baselines import Explanation, TableGame

ESTIMATORS = (
    "shapley", "odd_gp", "leverage_shap", "kernel_shap", "unbiased_kernel_shap", "svarm",
    "permutation_shapley", "orthogonal_shapley", "msr_shapley", "ofa_shapley", "banzhaf",
    "regression_adjusted", "lime",
)  # fmt: skip
GAME = TableGame(torch.arange(32.0)[None, :, None])


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("game", [None, 3, torch.ones(3, 4), print], ids=repr)
def test_what_cannot_be_played_is_named(name, game):
    with pytest.raises(TypeError, match="game is a"):
        getattr(baselines, name)(game, 20)


@pytest.mark.parametrize("name", ["exact_shapley", "bounded_order_shapley", "occlusion"])
def test_what_cannot_be_played_is_named_without_a_budget_too(name):
    with pytest.raises(TypeError, match="game is a NoneType"):
        getattr(baselines, name)(None)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_seed_is_no_generator(name):
    with pytest.raises(TypeError, match="generator is a int"):
        getattr(baselines, name)(GAME, 20, generator=7)


@pytest.mark.parametrize("thing", [None, {}, object()], ids=["None", "dict", "object"])
@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("BaselineImputer", "baseline"),
        ("MarginalImputer", "background"),
        ("DonorImputer", "rows"),
        ("NeighborImputer", "rows"),
        ("NoiseImputer", "mean"),
        ("InpaintImputer", "background"),
        ("TableGame", "values"),
    ],
)
def test_what_is_no_tensor_is_named(kind, named, thing):
    with pytest.raises(TypeError, match=f"{named} is a {type(thing).__name__}"):
        getattr(baselines, kind)(thing)


def test_a_table_game_needs_an_explicand_and_an_output():
    for shape in ((0, 4, 1), (1, 4, 0)):
        with pytest.raises(ValueError, match="at least one"):
            TableGame(torch.zeros(shape))


@pytest.mark.parametrize("rows", [[99], [-4], torch.tensor([0, 3]), [True, False]], ids=repr)
def test_rows_out_of_range_are_named(rows):
    with pytest.raises(ValueError, match="there are 3"):
        Explanation(torch.zeros(3, 2, 1)).select(rows)


def test_rows_are_positions_masks_or_slices():
    e = Explanation(torch.arange(3.0)[:, None, None])
    for rows in ([2, 0], [-1, -3], torch.tensor([2, 0])):
        assert e.select(rows).values.flatten().tolist() == [2.0, 0.0]
    assert e.select(torch.tensor([True, False, True])).values.flatten().tolist() == [0.0, 2.0]
    assert e.select(slice(1, None)).values.flatten().tolist() == [1.0, 2.0]
    assert len(e.select([])) == 0
    for rows in ([0.5], None, {}):
        with pytest.raises(TypeError, match="rows"):
            e.select(rows)


@pytest.mark.parametrize("name", ["base_values", "std_errors", "player_mask"])
def test_parts_of_an_explanation_are_tensors(name):
    with pytest.raises(TypeError, match=f"{name} is a list"):
        Explanation(torch.zeros(1, 2, 1), **{name: [0.0]})
