"""Laws of the edges of the known art: what cannot be explained is refused by name, and what is
asked of nobody, of nothing, or of a single player has its answer."""

import numpy as np
import pytest
import torch

from baselines import (
    AttentionRollout,
    BaselineImputer,
    CallableGame,
    ExpectedGradients,
    Explanation,
    GaussianMixtureImputer,
    GradientXInput,
    InpaintImputer,
    IntegratedGradients,
    Interactions,
    KMeansDonorImputer,
    MarginalImputer,
    PresenceGame,
    Prior,
    TableGame,
    TextIntegratedGradients,
    accumulated_local_effects,
    bounded_order_interactions,
    bounded_order_shapley,
    compress,
    exact_shapley,
    from_callable,
    from_shap,
    from_shapiq,
    mmd,
    owen,
    partial_dependence,
    patches,
    permutation_shapley,
    regression_adjusted,
    sage,
    sample_until,
    semivalue,
    superpixels,
)
from baselines.asking import ask
from baselines.bars import largest_bars
from baselines.fingerprints import content_hash
from baselines.imagery import check_images
from baselines.imputers import feature_mask
from baselines.shards import load, plan_job, run, run_shard
from baselines.text_players import check_texts
from tests.label_games import WordCounts, some_texts
from tests.test_text import classifier, text_model

ONES, ROWS = torch.ones(2, 3), torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
IMAGE = torch.ones(1, 4, 4)


def table(n: int = 3) -> TableGame:
    return TableGame(torch.arange(2.0**n)[None, :, None])


def ragged():
    return WordCounts()(some_texts(4))


def first(x):
    return x[:, 0]


def pair(**words) -> Interactions:
    subsets = torch.tensor([[True, False], [False, True], [True, True]])
    values = torch.tensor([[[1.0], [2.0], [3.0]]])
    return Interactions(subsets, values, index="SII", order=2, **words)


class Guest:
    """What shap returns, as far as `from_shap` looks."""

    def __init__(self, values, base=None, data=None) -> None:
        self.values, self.base_values, self.data = np.asarray(values), base, data
        self.output_names = self.feature_names = None


class ShapiqGame:
    def __init__(self, n: int) -> None:
        self.n_players = n

    def __call__(self, coalitions):
        return coalitions.sum(1).astype(float)


REFUSED = {
    "games of other players": (
        lambda: from_shapiq([ShapiqGame(2), ShapiqGame(3)]),
        r"games have \[2, 3\] players",
    ),
    "values of one axis": (lambda: from_shap(Guest(np.ones(3))), r"values have shape \(3,\)"),
    "an unknown proxy": (
        lambda: regression_adjusted(table(), 6, proxy="net"),
        "proxy='net'",
    ),
    "chunks of nothing": (lambda: permutation_shapley(table(), 8, chunk_size=0), "chunk_size=0"),
    "exact chunks of nothing": (lambda: exact_shapley(table(), chunk_size=0), "chunk_size=0"),
    "bounds of a ragged game": (lambda: bounded_order_shapley(ragged()), "the game is ragged"),
    "pairs of a ragged game": (lambda: bounded_order_interactions(ragged()), "is ragged or has"),
    "pairs of two": (lambda: bounded_order_interactions(table(2)), "has 2 players"),
    "groups of a ragged game": (lambda: owen(ragged(), [[0, 1]], budget=50), "is ragged"),
    "sizes of a ragged game": (
        lambda: semivalue(ragged(), 60, torch.full((ragged().n_players,), 1 / ragged().n_players)),
        "sizes fit no ragged game",
    ),
    "sampling without an end": (
        lambda: sample_until(table(), tolerance=None, max_budget=9),
        "are both None",
    ),
    "other features": (lambda: mmd(ROWS, torch.rand(4, 2)), "Y has 2 features, X has 3"),
    "strata of too few rows": (
        lambda: compress(ROWS, 1, strata=torch.arange(20) % 2),
        "size=1 leaves none",
    ),
    "a cluster without rows": (
        lambda: KMeansDonorImputer(ROWS, labels=torch.full((20,), 1)),
        "labels leave a cluster empty",
    ),
    "a mixture of shapes": (
        lambda: GaussianMixtureImputer(torch.ones(2), torch.zeros(1, 3), torch.ones(1, 3)),
        r"have shapes \(2,\)",
    ),
    "a mixture with NaN": (
        lambda: GaussianMixtureImputer(
            torch.ones(1), torch.full((1, 3), torch.nan), torch.ones(1, 3)
        ),
        "means hold NaN",
    ),
    "a negative variance": (
        lambda: GaussianMixtureImputer(torch.ones(1), torch.zeros(1, 3), -torch.ones(1, 3)),
        "a negative variance",
    ),
    "a prior of two orders": (lambda: Prior(orders=(0.1, 0.2)), r"orders=\(0\.1, 0\.2\)"),
    "no rows of gradients": (lambda: GradientXInput(first, max_rows=0), "max_rows=0"),
    "groups of two inputs": (
        lambda: IntegratedGradients(
            lambda a, b: a[:, 0] + b[:, 0], groups=torch.tensor([0, 0, 1])
        ).explain((ONES, ONES)),
        "groups fit a single input",
    ),
    "a baseline too many": (
        lambda: IntegratedGradients(first, (ONES[:1], ONES[:1])).explain(ONES),
        "baseline holds 2 tensors",
    ),
    "no place on the path": (lambda: ExpectedGradients(first, ROWS, n_steps=0), "n_steps=0"),
    "no node of the line": (lambda: TextIntegratedGradients(text_model(), 0), "n_steps=0"),
    "another background image": (
        lambda: InpaintImputer(IMAGE)(torch.ones(1, 1, 5, 5), torch.ones(1, 1, 25).bool()),
        "background has shape",
    ),
    "a size of four sides": (lambda: patches((1, 2, 3, 4), 1), r"size=\(1, 2, 3, 4\)"),
    "regions of no image": (lambda: superpixels(torch.ones(4, 4)), r"image has shape \(4, 4\)"),
    "more regions than pixels": (lambda: superpixels(IMAGE, 17), "n_segments=17"),
    "a loss of another shape": (
        lambda: sage(first, ROWS, ROWS[:, 0], BaselineImputer(0.0), 20, loss=_whole),
        "the loss returned shape",
    ),
    "squares of two outputs": (
        lambda: sage(
            lambda x: x[:, :2], ROWS, ROWS[:, 0], BaselineImputer(0.0), 20, loss="squared"
        ),
        "needs one output; the model has 2",
    ),
    "a model of fewer rows": (
        lambda: partial_dependence(lambda x: x[:1, 0], ROWS, 0),
        "it must return",
    ),
    "a model of NaN": (
        lambda: partial_dependence(lambda x: x[:, 0] * torch.nan, ROWS, 0),
        "NaN or infinity on rows of the grid",
    ),
    "effects of whole numbers": (
        lambda: accumulated_local_effects(first, ROWS.long(), 0),
        "a floating-point tensor",
    ),
    "places of another feature": (
        lambda: partial_dependence(first, ROWS, 0, grid=[torch.ones(2), torch.ones(2)]),
        "one tensor",
    ),
    "rows of other features": (
        lambda: MarginalImputer(ROWS)(torch.ones(1, 2), torch.ones(1, 1, 2).bool()),
        r"x has features \(2,\)",
    ),
    "masks of another width": (
        lambda: feature_mask(ONES, torch.ones(1, 1, 4).bool()),
        r"coalitions have shape \(1, 1, 4\)",
    ),
    "nobody to be present": (lambda: PresenceGame(first, torch.ones(2, 0)), "at least one"),
    "single players in a network": (
        lambda: Interactions(
            torch.eye(2).bool(), torch.ones(1, 2, 1), index="SII", order=1
        ).plot.network(0),
        "order=1",
    ),
    "an unknown output of a network": (
        lambda: pair(outputs=["a"]).plot.network(0, "b"),
        "output='b' is not one of",
    ),
    "an output beyond the last": (lambda: pair().plot.network(0, 1), "output=1 is out of range"),
    "no tokens at once": (lambda: text_model(batch_tokens=0), "batch_tokens=0"),
    "no length": (lambda: text_model(max_length=0), "max_length=0"),
}


def _whole(outputs, targets):
    return (outputs[:, 0] - targets).mean()


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_a_value_error_that_names_it(case):
    call, said = REFUSED[case]
    with pytest.raises(ValueError, match=said):
        call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: AttentionRollout(torch.nn.Linear(2, 2)), "a transformers model is needed"),
        (lambda: AttentionRollout(classifier()).explain(["a film"]), "x holds texts"),
        (lambda: PresenceGame(first, [[1.0]]), "x is a list"),
        (lambda: feature_mask(ONES, torch.ones(1, 1, 3)), r"coalitions are torch\.float32"),
        (lambda: check_images(torch.ones(1, 1, 2, 2).long()), r"x is torch\.int64"),
        (lambda: check_texts(("good", "bad")), "could be two texts or one pair"),
    ],
)
def test_what_is_of_another_kind_is_a_type_error_that_names_it(call, said):
    with pytest.raises(TypeError, match=said):
        call()


GAMES = {
    "functions": lambda: CallableGame(lambda z: z.sum(1), n_players=3),
    "presence": lambda: PresenceGame(lambda x, present: (x * present).sum(1), ONES),
    "texts": lambda: text_model()(["good film", "bad"]),
}


@pytest.mark.parametrize("kind", GAMES)
def test_a_game_that_is_asked_nothing_answers_nothing_and_knows_its_outputs(kind):
    game = GAMES[kind]()
    nothing = torch.ones(1, 0, game.n_players, dtype=torch.bool)
    assert game(nothing).shape == (game.n_explicands, 0, game.n_outputs)
    assert game.n_evals == 0
    everybody = torch.ones(1, 1, game.n_players, dtype=torch.bool)
    assert game(everybody).shape == (game.n_explicands, 1, game.n_outputs)


def test_where_not_even_one_coalition_fits_the_memory_error_is_the_callers():
    asked = []

    class Small(TableGame):
        def __call__(self, coalitions):
            asked.append(coalitions.shape[1])
            raise MemoryError

    with pytest.raises(MemoryError):
        ask(Small(torch.arange(8.0)[None, :, None]), torch.ones(1, 6, 3, dtype=torch.bool))
    assert asked[-1] == 1
    assert asked == sorted(asked, reverse=True)


def test_texts_whose_model_answers_nan_are_not_explained():
    model = text_model()
    with torch.no_grad():
        model.network.classifier.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match="NaN or infinity on texts with players removed"):
        exact_shapley(model(["good film"]))


@pytest.mark.parametrize("data", [None, np.array([["a", "b"]]), np.ones((1, 2))])
def test_a_guest_without_base_or_with_texts_for_data_comes_over(data):
    said = from_shap(Guest(np.ones((1, 2)), data=data))
    assert said.base_values is None
    assert (said.data is None) == (data is None or data.dtype.kind == "U")


def test_a_guest_goes_to_shapiq_without_padding_and_without_a_base():
    pytest.importorskip("shapiq")
    values = torch.tensor([[[1.0], [2.0], [0.0]]])
    mask = torch.tensor([[True, True, False]])
    sent = Explanation(values, player_mask=mask, players=[("a", "b")]).to_shapiq()
    assert sent.n_players == 2
    assert sent[()] == 0
    assert sent[(1,)] == 2
    assert pair().to_shapiq()[()] == 0


def test_a_model_of_named_columns_gets_a_frame():
    seen = []

    def model(rows):
        seen.append(list(rows.columns))
        return rows["b"].to_numpy()

    answer = from_callable(model, columns=["a", "b"])(torch.tensor([[1.0, 2.0]]))
    assert answer.tolist() == [[2.0]]
    assert seen == [["a", "b"]]


def test_numbers_of_numpy_hash_as_pythons_and_nothing_as_nothing():
    assert content_hash(np.float64(1.5)) == content_hash(1.5)
    assert content_hash(torch.ones(0)) != content_hash(torch.ones(1))
    assert content_hash(torch.ones(0, 2)) != content_hash(torch.ones(0, 3))


def test_a_job_of_nothing_is_nothing_and_has_no_other_shards(tmp_path):
    def work(items):
        return {"x": torch.tensor([float(item) for item in items])}

    plan = plan_job(tmp_path, {"kind": "test"}, ["a", "b", "c"], 2)
    with pytest.raises(ValueError, match="shard=2; this job has shards 0 to 1"):
        run_shard(plan, 2, work)
    run(plan, work, progress=False)
    with pytest.raises(FileNotFoundError):
        load(tmp_path)


def test_half_precision_and_devices_leave_what_is_missing_missing():
    said = Explanation(torch.ones(1, 2, 1)).to(torch.float64)
    assert said.values.dtype == torch.float64
    assert said.std_errors is None


def test_the_error_of_a_sum_of_players_is_not_claimed():
    values = torch.tensor([[[3.0], [2.0], [1.0], [0.5]]])
    said = Explanation(values, std_errors=0.1 * torch.ones_like(values))
    bars = largest_bars(said, 0, None, 2, None)
    assert bars.labels[-1] == "2 others"
    assert bars.values[-1] == 1.5
    assert np.isnan(bars.half_widths).tolist() == [False, False, True]
    assert said.plot.bar(0, max_players=2) is not None


def test_the_largest_of_three_outputs_is_drawn_where_nobody_asks():
    values = torch.tensor([[[0.0, 5.0, 1.0], [0.0, 1.0, 1.0]]])
    said = Explanation(values, outputs=["a", "b", "c"])
    assert "b" in said.plot.bar(0).get_title(loc="left")
