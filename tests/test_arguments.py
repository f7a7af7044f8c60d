"""Laws of refusal: what is no game, no tensor or no row is named, with a typed error."""

import pytest
import torch

import baselines
from amortized import LEX
from baselines import (
    BaselineImputer,
    Explanation,
    Lime,
    MaskedGame,
    PresenceGame,
    Saliency,
    TableGame,
)
from harsanyi import (
    HarsanyiConfig,
    HarsanyiForImageClassification,
    HarsanyiForTextClassification,
)

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


SMOOTH = baselines.MaskedGame(torch.sin, torch.ones(1, 12), baselines.BaselineImputer(0.0))


@pytest.mark.parametrize("name", ["shapley", "kernel_shap", "permutation_shapley", "banzhaf"])
@pytest.mark.parametrize("budget", [float("nan"), float("inf"), "20", True, 2.5], ids=repr)
def test_what_is_no_count_is_no_budget(name, budget):
    with pytest.raises(TypeError, match=f"budget={budget!r}"):
        getattr(baselines, name)(SMOOTH, budget)


def test_more_takes_a_count():
    with pytest.raises(TypeError, match="budget=inf"):
        baselines.odd_gp(SMOOTH, 60).more(float("inf"))


@pytest.mark.parametrize("count", [2.5, "a", True], ids=repr)
def test_what_is_no_count_is_named_wherever_counts_are_asked_for(count):
    with pytest.raises(TypeError, match="chunk_size="):
        baselines.odd_gp(SMOOTH, 60, chunk_size=count)
    with pytest.raises(TypeError, match="max_rows="):
        baselines.MaskedGame(torch.sin, torch.ones(1, 12), lambda x, s: x, max_rows=count)
    with pytest.raises(TypeError, match="certify_top_k="):
        baselines.shapley(SMOOTH, certify_top_k=count, max_budget=400)


def test_a_tolerance_is_a_number():
    with pytest.raises(TypeError, match="tolerance='a'"):
        baselines.shapley(SMOOTH, tolerance="a", max_budget=400)


@pytest.mark.parametrize(
    ("groups", "word"),
    [(None, "NoneType"), (3, "int"), ([0, 1], "list"), ([[0, 1.5]], "1.5"), ({"a": ["x"]}, "'x'")],
)
def test_groups_are_lists_of_positions(groups, word):
    with pytest.raises(TypeError, match=f"groups.*{word}"):
        baselines.owen(GAME, groups)
    if groups is not None:
        with pytest.raises(TypeError, match=f"groups.*{word}"):
            baselines.MaskedGame(torch.sin, torch.ones(1, 2), lambda x, s: x, groups=groups)


def test_groups_may_be_an_array():
    owners = torch.tensor([0, 0, 1])
    game = baselines.MaskedGame(
        torch.sin, torch.ones(1, 3), baselines.BaselineImputer(0.0), groups=owners.numpy()
    )
    assert game.membership is not None
    assert torch.equal(game.membership, owners)


def test_labels_and_counts_are_played_as_numbers():
    x, fill = torch.ones(2, 3), baselines.MarginalImputer(torch.tensor([[0.0] * 3, [2.0] * 3]))
    for model in (lambda rows: rows.sum(1) > 2, lambda rows: (rows.sum(1) > 2).long()):
        e = baselines.shapley(baselines.MaskedGame(model, x, fill), 8)
        torch.testing.assert_close(e.values.sum(1), torch.full((2, 1), 0.5, dtype=torch.float64))


def test_a_removal_explainer_has_an_estimator_of_its_own():
    x, fill = torch.rand(2, 4, dtype=torch.float64), baselines.BaselineImputer(0.0)
    model = lambda rows: rows.prod(1)
    own = baselines.RemovalExplainer(model, fill)
    exact = baselines.exact_shapley(baselines.MaskedGame(model, x, fill))
    torch.testing.assert_close(own.explain(x).values, exact.values)
    torch.testing.assert_close(own.attribute(x), exact.values[..., 0])


def test_numbers_of_a_selection_are_named():
    wrong = {
        "target_rate": "a", "price": None, "coherence": [1.0], "random_state": 1.5,
        "n_features": None, "n_classes": 2.5,
    }  # fmt: skip
    for name, value in wrong.items():
        usual = {"n_features": 3, "n_classes": 2, "imputer": BaselineImputer(0.0)}
        if name not in ("price", "coherence"):
            usual["target_rate"] = 0.5
        with pytest.raises(TypeError, match=name):
            LEX.for_tabular(**(usual | {name: value}))
    with pytest.raises(ValueError, match="price=nan"):
        LEX.for_tabular(3, 2, imputer=BaselineImputer(0.0), price=float("nan"))


def test_what_is_no_picture_text_or_label_is_named():
    images, labels = torch.rand(6, 4, 4).numpy(), [0, 1] * 3
    net = HarsanyiForImageClassification(HarsanyiConfig.image(size=4, patch=2, width=4, blocks=1))
    texts = ["good film", "bad film"] * 3
    for call, words in (
        (lambda: net.fit(None, labels, progress=False), "images is a NoneType"),
        (lambda: net.fit(images, None, progress=False), "labels is a NoneType"),
        (
            lambda: net.fit(images, labels, random_state="x", progress=False),
            "random_state is a str",
        ),
        (lambda: HarsanyiForTextClassification.from_texts(texts, None), "labels is a NoneType"),
        (lambda: HarsanyiForTextClassification.from_texts(None, labels), "texts is a NoneType"),
        (
            lambda: HarsanyiForTextClassification.from_texts(texts, labels, epochs="x"),
            "epochs='x'",
        ),
    ):
        with pytest.raises(TypeError, match=words):
            call()


def test_a_model_of_another_precision_or_device_is_named():
    model, x = torch.nn.Linear(3, 2).double(), torch.ones(2, 3)
    for explain in (
        lambda: Lime(model).explain(x),
        lambda: Saliency(model).explain(x),
        lambda: MaskedGame(model, x.int(), BaselineImputer(0))(torch.ones(1, 1, 3).bool()),
        lambda: PresenceGame(TakesPresence(model), x)(torch.ones(1, 1, 3).bool()),
    ):
        with pytest.raises(TypeError, match=r"x is torch.*the model's weights are torch.float64"):
            explain()
    with pytest.raises(ValueError, match="x is on cpu, the model on meta"):
        Lime(torch.nn.Linear(3, 2, device="meta")).explain(x)
    with pytest.raises(
        RuntimeError, match="shapes cannot be multiplied"
    ):  # another fault: as it is
        Saliency(model).explain(torch.ones(2, 4).double())


class TakesPresence(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, present):
        return self.inner(x * present)
