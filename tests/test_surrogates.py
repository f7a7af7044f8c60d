"""Laws of LIME, occlusion and RemovalExplainer, against brute force and captum."""

import pytest
import torch

from baselines import (
    BaselineImputer,
    Lime,
    MarginalImputer,
    MaskedGame,
    Occlusion,
    RemovalExplainer,
    TableGame,
    exact_shapley,
    lime,
    occlusion,
    permutation_shapley,
)
from baselines.coalitions import all_coalitions

B, N, K = 3, 5, 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=seeded(seed), dtype=torch.float64)


X = normal(B, N, seed=1)
MIXING = normal(N, K, seed=2)


def model(rows: torch.Tensor) -> torch.Tensor:
    return (rows @ MIXING).tanh() + rows[:, :1] * rows[:, 1:2]


def table() -> TableGame:
    return TableGame(normal(B, 2**N, K, seed=3))


def test_lime_is_a_weighted_ridge_regression_on_presence():
    linear_model = pytest.importorskip("sklearn.linear_model")
    game = table()
    e = lime(game, 2**N, kernel_width=0.3, ridge=0.7)
    z = all_coalitions(N).double()
    distance = 1 - (z.sum(1) / N).sqrt()
    weights = (-(distance**2) / 0.3**2).exp()
    weights = weights * len(z) / weights.sum()
    for i in range(B):
        for k in range(K):
            fit = linear_model.Ridge(alpha=0.7).fit(z, game.values[i, :, k], sample_weight=weights)
            torch.testing.assert_close(e.values[i, :, k], torch.tensor(fit.coef_))
            assert float(e.diagnostics["intercept"][i, k]) == pytest.approx(fit.intercept_)
            r2 = fit.score(z, game.values[i, :, k], sample_weight=weights)
            assert float(e.diagnostics["surrogate_r2"][i, k]) == pytest.approx(r2)
    assert e.estimand == "surrogate"
    assert e.n_evals == 2**N == game.n_evals / B


def test_lime_finds_the_slopes_of_an_additive_game_from_few_coalitions():
    slopes = normal(40, 1, seed=5)
    game = MaskedGame(lambda rows: rows @ slopes, normal(2, 40, seed=6), BaselineImputer(0.0))
    e = lime(game, 300, ridge=0.0, generator=seeded())
    torch.testing.assert_close(e.values, game.x[..., None] * slopes, rtol=0, atol=1e-6)
    assert e.n_evals == 300
    assert game.n_evals == 600
    assert (e.diagnostics["surrogate_r2"] > 1 - 1e-9).all()


def test_lime_draws_by_its_generator_alone():
    game = MaskedGame(lambda rows: rows.prod(-1), normal(2, 20) + 1, BaselineImputer(0.0))
    before = torch.get_rng_state()
    assert torch.equal(lime(game, 50).values, lime(game, 50).values)
    other = lime(game, 50, generator=seeded(1)).values
    assert not torch.equal(other, lime(game, 50, generator=seeded(2)).values)
    assert torch.equal(before, torch.get_rng_state())


def test_occlusion_is_the_loss_of_each_player_alone():
    game = table()
    e = occlusion(game)
    v = game.values
    full = 2**N - 1
    for i in range(N):
        torch.testing.assert_close(e.values[:, i], v[:, full] - v[:, full - 2**i])
    torch.testing.assert_close(
        e.diagnostics["additivity_gap"], v[:, full] - v[:, 0] - e.values.sum(1)
    )
    assert e.n_evals == N + 2 == game.n_evals / B
    both = occlusion(game, both_ends=True)
    for i in range(N):
        wanted = (v[:, full] - v[:, full - 2**i] + v[:, 2**i] - v[:, 0]) / 2
        torch.testing.assert_close(both.values[:, i], wanted)


def test_leaving_out_and_in_is_exact_for_games_of_pairs():
    pairs = normal(N, N, seed=4)
    game = MaskedGame(
        lambda rows: torch.einsum("ri,ij,rj->r", rows, pairs, rows), X, BaselineImputer(0.0)
    )
    torch.testing.assert_close(occlusion(game, both_ends=True).values, exact_shapley(game).values)


def test_windows_and_single_features_equal_captum():
    captum = pytest.importorskip("captum.attr")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 4), torch.nn.Tanh()).double()
    x = normal(2, 1, 6, 6, seed=7)
    target = torch.tensor([1, 3])
    for window, strides in (((1, 2, 2), (1, 2, 2)), ((1, 3, 2), (1, 2, 1)), ((1, 1, 1), 1)):
        ours = Occlusion(net).attribute(x, window, strides, baselines=0.3, target=target)
        theirs = captum.Occlusion(net).attribute(
            x, window, strides=strides, baselines=0.3, target=target
        )
        torch.testing.assert_close(ours, theirs.to(ours), rtol=0, atol=1e-6)
    mask = torch.arange(36).reshape(1, 1, 6, 6) // 9
    ours = Occlusion(net).attribute(x, target=target, feature_mask=mask)
    theirs = captum.FeatureAblation(net).attribute(x, target=target, feature_mask=mask)
    torch.testing.assert_close(ours, theirs.to(ours), rtol=0, atol=1e-6)


def test_captum_shapley_sampling_agrees_with_attribute_of_a_removal_explainer():
    captum = pytest.importorskip("captum.attr")
    ours = RemovalExplainer(model, BaselineImputer(0.0), exact_shapley).attribute(X, target=1)
    theirs = captum.ShapleyValues(model).attribute(X, target=1)
    torch.testing.assert_close(ours, theirs.to(ours), rtol=0, atol=1e-6)
    tuples = (X[:, :2], X[:, 2:].reshape(B, 3, 1))

    def two(a, b, scale=1.0):
        return model(torch.cat([a, b.flatten(1)], -1)) * scale

    given = RemovalExplainer(two, BaselineImputer(0.0), exact_shapley).attribute(
        tuples, baselines=(0.0, 0.0), target=1, additional_forward_args=2.0
    )
    assert [g.shape for g in given] == [t.shape for t in tuples]
    torch.testing.assert_close(torch.cat([g.flatten(1) for g in given], 1), 2 * ours)


def test_captums_arguments_set_samples_rows_shape_and_bar(capsys):
    seen = []

    def watched(rows):
        seen.append(len(rows))
        return model(rows)

    explainer = RemovalExplainer(watched, BaselineImputer(0.0), permutation_shapley, budget=50)
    wanted = RemovalExplainer(model, BaselineImputer(0.0), permutation_shapley, budget=20)
    scores = explainer.attribute(X, target=1, n_samples=20, perturbations_per_eval=2)
    torch.testing.assert_close(scores, wanted.attribute(X, target=1), rtol=0, atol=1e-12)
    assert 0 < max(seen) <= 2 * B
    assert capsys.readouterr().err == ""
    groups = torch.tensor([0, 1, 1, 0, 2])
    players = explainer.attribute(
        X, target=1, feature_mask=groups, return_input_shape=False, show_progress=True
    )
    assert players.shape == (B, 3)
    spread = explainer.attribute(X, target=1, feature_mask=groups)
    assert torch.equal(players[:, groups], spread)
    assert "rows" in capsys.readouterr().err
    window = Occlusion(watched).attribute(X, 2, 1, 0.0, 1, None, 1, True)
    assert torch.equal(window, Occlusion(model).attribute(X, 2, target=1))
    assert "rows" in capsys.readouterr().err
    with pytest.raises(ValueError, match="perturbations_per_eval=0"):
        explainer.attribute(X, target=1, perturbations_per_eval=0)
    with pytest.raises(ValueError, match="exact_shapley takes no budget"):
        RemovalExplainer(model, BaselineImputer(0.0), exact_shapley).attribute(
            X, target=1, n_samples=20
        )


def test_a_removal_explainer_is_its_estimator_on_its_game():
    imputer = MarginalImputer(normal(4, N, seed=8))
    groups = {"a": [0, 3], "b": [1], "c": [2, 4]}
    explainer = RemovalExplainer(
        model, imputer, permutation_shapley, groups=groups, budget=6, generator=seeded()
    )
    e = explainer.explain(X)
    game = MaskedGame(model, X, imputer, groups=groups)
    wanted = permutation_shapley(game, budget=6, generator=seeded())
    assert torch.equal(e.values, wanted.values)
    assert e.player_names() == ("a", "b", "c")
    assert torch.equal(e.data, X)
    scores = RemovalExplainer(model, imputer, exact_shapley, groups=groups).attribute(X, target=0)
    assert torch.equal(scores[:, 0], scores[:, 3])  # features of one player share its worth


def test_lime_and_occlusion_bind_a_model_to_zeros_by_default():
    zeros = MaskedGame(model, X, BaselineImputer(0.0))
    assert torch.equal(Lime(model, budget=32).explain(X).values, lime(zeros, 32).values)
    assert torch.equal(Occlusion(model).explain(X).values, occlusion(zeros).values)
    rows = MarginalImputer(normal(4, N, seed=8))
    other = Occlusion(model, rows, both_ends=True).explain(X).values
    assert torch.equal(other, occlusion(MaskedGame(model, X, rows), both_ends=True).values)


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: lime(table(), 1), ValueError, "budget=1"),
        (lambda: lime(table(), kernel_width=0.0), ValueError, "kernel_width=0"),
        (lambda: lime(table(), ridge=-1.0), ValueError, "ridge=-1"),
        (lambda: RemovalExplainer(model, 3, exact_shapley), TypeError, "imputer is a int"),
        (lambda: RemovalExplainer(model, BaselineImputer(0.0), 3), TypeError, "estimator"),
        (lambda: Occlusion(model).attribute(X, (9,), target=0), ValueError, "does not fit"),
        (lambda: Occlusion(model).attribute(X, (1, 1), target=0), ValueError, "sliding_window"),
        (lambda: Occlusion(model).attribute(X), ValueError, "2 outputs"),
        (
            lambda: Occlusion(model).attribute(X, baselines=normal(B, N), target=0),
            ValueError,
            "differs between explicands",
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(call, error, word):
    with pytest.raises(error, match=word):
        call()
