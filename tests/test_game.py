"""Laws of games: v(S) is what its definition says, at any chunk size, and every row is counted."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression

from baselines import (
    BaselineImputer,
    MarginalImputer,
    MaskedGame,
    PresenceGame,
    TableGame,
    from_callable,
)
from baselines.coalitions import all_coalitions


def smooth(rows: torch.Tensor) -> torch.Tensor:
    """Two outputs, no symmetry, every pair of features interacts."""
    total = (rows * torch.arange(1, rows.shape[1] + 1).to(rows)).sum(-1)
    return torch.stack([torch.tanh(total), rows.prod(-1) + total**2], -1)


@pytest.fixture
def x(dtype, device):
    return torch.tensor(
        [[0.5, -1.0, 2.0, 0.3], [1.5, 0.2, -0.7, 1.1], [0.0, 0.4, 0.9, -2.0]],
        dtype=dtype,
        device=device,
    )


@pytest.fixture
def background(dtype, device):
    rows = np.random.default_rng(0).normal(size=(6, 4))
    return torch.tensor(rows, dtype=dtype, device=device)


def test_a_table_game_answers_from_its_table(dtype):
    values = torch.arange(2 * 8 * 3, dtype=dtype).reshape(2, 8, 3)
    game = TableGame(values)
    assert (game.n_explicands, game.n_players, game.n_outputs) == (2, 3, 3)
    assert torch.equal(game(all_coalitions(3)[None]), values)
    one_each = torch.tensor([[[True, False, False]], [[False, True, True]]])
    assert torch.equal(game(one_each), torch.stack([values[0, 1:2], values[1, 6:7]]))
    assert game.n_evals == 2 * 8 + 2


def test_the_baseline_game_is_the_model_on_spliced_rows(x):
    game = MaskedGame(smooth, x, BaselineImputer(torch.full((4,), 0.25)))
    masks = all_coalitions(4)
    by_hand = torch.stack([smooth(torch.where(masks, row, 0.25)) for row in x])
    assert torch.allclose(game(masks[None]), by_hand)
    assert game.n_evals == 3 * 16


def test_the_marginal_game_is_the_weighted_mean_over_the_background(x, background):
    weights = torch.tensor([1.0, 2.0, 0.0, 4.0, 1.0, 2.0])
    game = MaskedGame(smooth, x, MarginalImputer(background, weights))
    mask = torch.tensor([True, False, True, False])
    rows = torch.stack([torch.where(mask, row, background) for row in x])  # (b, r, n)
    by_hand = (smooth(rows.reshape(-1, 4)).reshape(3, 6, 2) * weights[:, None].to(x)).sum(1) / 10
    assert torch.allclose(game(mask[None, None])[:, 0], by_hand)
    assert game.n_evals == 3 * 6


@pytest.mark.parametrize("max_rows", [1, 2, 5, 7, 64, 10_000])
def test_values_and_counts_do_not_depend_on_max_rows(x, background, max_rows):
    seen = []

    def spy(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return smooth(rows)

    whole = MaskedGame(smooth, x, MarginalImputer(background))
    parts = MaskedGame(spy, x, MarginalImputer(background), max_rows=max_rows)
    masks = all_coalitions(4)[None]
    assert torch.allclose(whole(masks), parts(masks), rtol=1e-12 if x.dtype.itemsize > 4 else 1e-5)
    assert max(seen) <= max_rows
    assert sum(seen) == parts.n_evals == whole.n_evals == 3 * 16 * 6


def test_masks_of_each_explicand_equal_shared_masks(x, background):
    game = MaskedGame(smooth, x, MarginalImputer(background), max_rows=13)
    masks = all_coalitions(4)[None]
    assert torch.equal(game(masks), game(masks.expand(3, -1, -1)))
    own = torch.stack([masks[0, :2], masks[0, 4:6], masks[0, 9:11]])
    alone = [
        MaskedGame(smooth, x[i : i + 1], MarginalImputer(background))(own[i : i + 1])
        for i in range(3)
    ]
    assert torch.allclose(game(own), torch.cat(alone))


def test_groups_move_together_however_they_are_given(x):
    groups = {"outer": [0, 3], "second": [1], "third": [2]}
    labels = torch.tensor([0, 1, 2, 0])
    games = [
        MaskedGame(smooth, x, BaselineImputer(0.0), groups=given)
        for given in (groups, list(groups.values()), labels)
    ]
    assert games[0].players == ["outer", "second", "third"]
    mask = torch.tensor([[[True, False, True]]])
    expected = smooth(x * torch.tensor([1.0, 0.0, 1.0, 1.0]).to(x))
    for game in games:
        assert game.n_players == 3
        assert torch.allclose(game(mask)[:, 0], expected)


def test_image_features_are_players_in_flattened_order():
    image = torch.arange(8.0, dtype=torch.float64).reshape(1, 2, 2, 2)
    game = MaskedGame(lambda rows: rows.flatten(1).sum(-1), image, BaselineImputer(0.0))
    assert game.n_players == 8
    mask = torch.zeros(1, 1, 8, dtype=torch.bool)
    mask[..., [1, 6]] = True
    assert game(mask).item() == 1 + 6


def test_present_entries_come_back_bit_for_bit_beside_nan():
    x = torch.tensor([[float("nan"), -0.0, 1e-310]], dtype=torch.float64)
    mask = torch.tensor([[[True, True, False], [False, True, True]]])
    for imputer in (BaselineImputer(7.0), MarginalImputer(torch.full((2, 3), 7.0))):
        rows = imputer(x, mask)
        kept = mask[:, :, None].expand_as(rows)
        source = x[:, None, None].expand_as(rows)
        assert torch.equal(rows[kept].view(torch.int64), source[kept].view(torch.int64))
        assert (rows[~kept] == 7.0).all()


def test_an_integer_explicand_keeps_a_fractional_baseline():
    rows = BaselineImputer(0.5)(torch.tensor([[1, 2]]), torch.tensor([[[True, False]]]))
    assert rows.flatten().tolist() == [1.0, 0.5]


def test_the_presence_game_passes_the_mask_beside_the_row(x):
    def model(rows, present):
        return (rows * present).sum(-1) + present.sum(-1)

    game = PresenceGame(model, x, max_rows=5)
    masks = all_coalitions(4)
    by_hand = torch.stack([(row * masks).sum(-1) + masks.sum(-1) for row in x])
    assert torch.allclose(game(masks[None])[..., 0], by_hand.to(x))
    assert game.n_evals == 48


def test_games_call_the_model_without_gradients(x):
    weight = torch.ones(4, dtype=x.dtype, device=x.device, requires_grad=True)
    game = MaskedGame(lambda rows: rows @ weight, x, BaselineImputer(0.0))
    assert not game(all_coalitions(4)[None]).requires_grad


def test_estimators_of_scikit_learn_enter_on_either_scale(x):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    classifier = LogisticRegression().fit(X, y)
    rows = x.double()
    assert np.allclose(from_callable(classifier)(rows), classifier.predict_proba(rows.numpy()))
    logits = from_callable(classifier, output="logit")(rows)
    assert np.allclose(logits, classifier.decision_function(rows.numpy()))
    regressor = LinearRegression().fit(X, X[:, 0])
    assert np.allclose(from_callable(regressor)(rows)[:, 0], rows[:, 0].numpy())
    function = from_callable(lambda a: a.sum(1))
    assert np.allclose(function(rows)[:, 0], rows.sum(1))
    half = from_callable(lambda a: np.full(len(a), 0.5), output="logit")
    assert np.allclose(half(rows), 0.0)


BAD_GAMES = {
    "x is a list": (
        lambda: MaskedGame(smooth, [[1.0]], BaselineImputer(0.0)),
        TypeError,
        "x is a",
    ),
    "no rows": (
        lambda: MaskedGame(smooth, torch.zeros(0, 4), BaselineImputer(0.0)),
        ValueError,
        "at least one explicand",
    ),
    "no features": (
        lambda: MaskedGame(smooth, torch.zeros(2, 0), BaselineImputer(0.0)),
        ValueError,
        "one feature",
    ),
    "model no callable": (
        lambda: MaskedGame(3, torch.zeros(1, 4), BaselineImputer(0.0)),
        TypeError,
        "from_callable",
    ),
    "groups overlap": (
        lambda: MaskedGame(
            smooth, torch.zeros(1, 3), BaselineImputer(0.0), groups=[[0, 1], [1, 2]]
        ),
        ValueError,
        "exactly once",
    ),
    "group tensor of another shape": (
        lambda: MaskedGame(
            smooth, torch.zeros(1, 3), BaselineImputer(0.0), groups=torch.tensor([0, 1])
        ),
        ValueError,
        "groups have shape",
    ),
    "group numbers with a gap": (
        lambda: MaskedGame(
            smooth, torch.zeros(1, 3), BaselineImputer(0.0), groups=torch.tensor([0, 2, 0])
        ),
        ValueError,
        "without a gap",
    ),
    "max_rows zero": (
        lambda: MaskedGame(smooth, torch.zeros(1, 3), BaselineImputer(0.0), max_rows=0),
        ValueError,
        "max_rows=0",
    ),
    "names too few": (
        lambda: MaskedGame(smooth, torch.zeros(1, 3), BaselineImputer(0.0), players=["a"]),
        ValueError,
        "players names 1",
    ),
    "empty background": (lambda: MarginalImputer(torch.zeros(0, 3)), ValueError, "background"),
    "negative weights": (
        lambda: MarginalImputer(torch.zeros(2, 3), torch.tensor([1.0, -1.0])),
        ValueError,
        "non-negative",
    ),
    "weights of another length": (
        lambda: MarginalImputer(torch.zeros(2, 3), torch.ones(3)),
        ValueError,
        r"\(2,\)",
    ),
    "table of no power of two": (lambda: TableGame(torch.zeros(1, 6, 1)), ValueError, r"2\*\*n"),
    "table with NaN": (
        lambda: TableGame(torch.full((1, 4, 1), float("nan"))),
        ValueError,
        "NaN or infinity",
    ),
    "unknown scale": (lambda: from_callable(len, output="odds"), ValueError, "output='odds'"),
    "nothing to call": (lambda: from_callable(3), TypeError, "f is a int"),
}


@pytest.mark.parametrize("case", BAD_GAMES)
def test_bad_games_are_refused_by_argument(case):
    build, error, words = BAD_GAMES[case]
    with pytest.raises(error, match=words):
        build()


BAD_MODELS = {
    "a NaN": (lambda rows: rows.sum(-1) * float("nan"), "NaN or infinity"),
    "one value for all rows": (lambda rows: rows.sum(), "must return"),
    "numpy": (lambda rows: rows.numpy().sum(-1), "from_callable"),
    "too many axes": (lambda rows: rows[:, None, :], "must return"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_answers_of_a_model_are_refused(case):
    model, words = BAD_MODELS[case]
    game = MaskedGame(model, torch.ones(2, 3), BaselineImputer(0.0))
    with pytest.raises(ValueError, match=words):
        game(all_coalitions(3)[None])


def test_a_baseline_of_another_width_is_refused():
    game = MaskedGame(smooth, torch.ones(2, 3), BaselineImputer(torch.zeros(4)))
    with pytest.raises(ValueError, match="baseline has shape"):
        game(all_coalitions(3)[None])


def test_zero_coalitions_give_zero_values(x):
    game = MaskedGame(smooth, x, BaselineImputer(0.0))
    assert game(torch.zeros(1, 0, 4, dtype=torch.bool)).shape == (3, 0, 2)
