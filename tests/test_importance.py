"""Laws of SAGE and of feature effects: sums, closed forms, and peers' own figures."""

import math

import pytest
import torch

from baselines import (
    MarginalImputer,
    MaskedGame,
    SageGame,
    accumulated_local_effects,
    compress,
    exact_shapley,
    partial_dependence,
    permutation_shapley,
    sage,
)

N = 4


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=seeded(seed), dtype=torch.float64)


X = normal(60, N, seed=1)
WEIGHT = torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64)
Y = (X @ WEIGHT > 0).long()
ROWS = X[:8]


def probabilities(rows: torch.Tensor) -> torch.Tensor:
    p = (rows @ WEIGHT).sigmoid()
    return torch.stack([1 - p, p], -1)


def bent(rows: torch.Tensor) -> torch.Tensor:
    return rows[:, 0] ** 2 + rows[:, 1] * rows[:, 2]


def test_sage_adds_up_to_the_loss_that_the_model_saves():
    e = sage(probabilities, X, Y, MarginalImputer(ROWS), 2**N, estimator=exact_shapley_of)
    own = -probabilities(X)[torch.arange(60), Y].log().mean()
    mean = probabilities(ROWS).mean(0)
    nobody = -mean[Y].log().mean()
    torch.testing.assert_close(e.values.sum(), nobody - own)
    torch.testing.assert_close(e.base_values[0, 0], -nobody)
    assert e.shape == (1, N, 1)
    assert e.values[0, 0, 0] > e.values[0, 2, 0]  # weight 2 against weight 1/2
    assert e.values[0, 3, 0].abs() < 1e-12  # a feature the model ignores
    assert e.method.startswith("SAGE by")


def exact_shapley_of(game, budget, generator):
    return exact_shapley(game)


def test_sage_values_are_those_of_the_brute_force_game():
    game = SageGame(bent, X, bent(X) + 0.1, MarginalImputer(ROWS), loss="squared")
    rows = MaskedGame(bent, X, MarginalImputer(ROWS))
    masks = torch.rand(1, 6, N, generator=seeded()) < 0.5
    wanted = -((rows(masks)[..., 0] - (bent(X) + 0.1)[:, None]) ** 2).mean(0)
    torch.testing.assert_close(game(masks)[0, :, 0], wanted)
    assert game.n_evals == 60 * 6 * 8


def test_weighted_rows_of_sage_are_repeated_rows():
    weights = torch.tensor([1.0, 2.0, 3.0])
    repeated = X[:3].repeat_interleave(torch.tensor([1, 2, 3]), 0)
    a = SageGame(bent, X[:3], bent(X[:3]), MarginalImputer(ROWS), loss="squared", weights=weights)
    b = SageGame(bent, repeated, bent(repeated), MarginalImputer(ROWS), loss="squared")
    torch.testing.assert_close(exact_shapley(a).values, exact_shapley(b).values)


def test_losses_of_ones_own_and_groups_are_taken():
    def absolute(outputs, targets):
        return (outputs[:, 0] - targets).abs()

    imputer = MarginalImputer(ROWS)
    groups = {"a": [0, 1], "b": [2, 3]}
    e = sage(
        bent, X, bent(X), imputer, 4, estimator=exact_shapley_of, loss=absolute, groups=groups
    )
    assert e.player_names() == ("a", "b")
    total = (bent(ROWS).mean() - bent(X)).abs().mean()
    torch.testing.assert_close(e.values.sum(), total)


def test_sampled_sage_agrees_with_exact_sage_within_its_errors():
    game = SageGame(probabilities, X, Y, MarginalImputer(ROWS))
    wanted = exact_shapley(game).values
    e = sage(
        probabilities,
        X,
        Y,
        MarginalImputer(ROWS),
        15,
        estimator=permutation_shapley,
        generator=seeded(),
    )
    assert (e.values - wanted).abs().max() < 0.5 * wanted.abs().max()
    assert e.n_evals <= 15


def test_a_compressed_background_gives_nearly_the_sage_of_the_whole():
    full = exact_shapley(SageGame(probabilities, X, Y, MarginalImputer(X))).values
    rows, weights = compress(X, 12, return_weights=True)
    few = exact_shapley(SageGame(probabilities, X, Y, MarginalImputer(X[rows], weights))).values
    random = []
    for seed in range(10):
        index = compress(X, 12, method="iid", generator=seeded(seed))
        game = SageGame(probabilities, X, Y, MarginalImputer(X[index]))
        random.append((exact_shapley(game).values - full).abs().mean())
    assert (few - full).abs().mean() < 0.5 * sum(random) / 10


def test_partial_dependence_of_a_sum_is_its_own_term_up_to_a_constant():
    effect = partial_dependence(lambda rows: rows[:, 0] ** 2 + rows[:, 1], X, 0, grid=9)
    grid = effect.grid[0]
    assert effect.values.shape == (9, 1)
    torch.testing.assert_close(effect.values[:, 0], grid**2 + X[:, 1].mean())
    assert (float(grid[0]), float(grid[-1])) == (float(X[:, 0].min()), float(X[:, 0].max()))
    torch.testing.assert_close(effect.mass.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert effect.n_evals == 9 * 60


def test_partial_dependence_of_two_features_shows_their_product():
    effect = partial_dependence(bent, X, (1, 2), grid=[X[:5, 1], X[:3, 2]])
    wanted = torch.outer(X[:5, 1], X[:3, 2]) + (X[:, 0] ** 2).mean()
    torch.testing.assert_close(effect.values[..., 0], wanted)
    assert effect.mass.shape == (5, 3)


def test_partial_dependence_equals_scikit_learns():
    inspection = pytest.importorskip("sklearn.inspection")
    ensemble = pytest.importorskip("sklearn.ensemble")
    from baselines import from_callable

    forest = ensemble.RandomForestRegressor(5, random_state=0).fit(X.numpy(), bent(X).numpy())
    theirs = inspection.partial_dependence(
        forest, X.numpy(), [1], grid_resolution=7, percentiles=(0, 1), method="brute"
    )
    grid = torch.from_numpy(theirs["grid_values"][0])
    ours = partial_dependence(from_callable(forest), X, 1, grid=grid, max_rows=50)
    torch.testing.assert_close(ours.values[:, 0], torch.from_numpy(theirs["average"][0]))


def test_weighted_rows_of_an_effect_are_repeated_rows():
    weights = torch.tensor([1.0, 2.0, 3.0])
    repeated = X[:3].repeat_interleave(torch.tensor([1, 2, 3]), 0)
    grid = torch.linspace(-1, 1, 5, dtype=torch.float64)
    for few, many in (
        (
            partial_dependence(bent, X[:3], 1, grid=grid, weights=weights),
            partial_dependence(bent, repeated, 1, grid=grid),
        ),
    ):
        torch.testing.assert_close(few.values, many.values)
        torch.testing.assert_close(few.mass, many.mass)
        torch.testing.assert_close(few.strength, many.strength)


def test_accumulated_effects_of_a_line_are_the_line_centered_on_the_rows():
    effect = accumulated_local_effects(lambda rows: 3 * rows[:, 0] + bent(rows) * 0, X, 0)
    edges = effect.grid[0]
    slope = (effect.values[1:, 0] - effect.values[:-1, 0]) / (edges[1:] - edges[:-1])
    torch.testing.assert_close(slope, torch.full_like(slope, 3.0))
    middle = (effect.values[1:, 0] + effect.values[:-1, 0]) / 2
    share = torch.histogram(X[:, 0], edges).hist / 60
    assert abs(float((share * middle).sum())) < 1e-12
    torch.testing.assert_close(effect.mass.sum(), torch.tensor(1.0, dtype=torch.float64))


def test_accumulated_effects_leave_a_correlated_partner_out():
    twin = torch.cat([X[:, :1], X[:, :1] + 1e-3 * X[:, 1:2]], -1)

    def model(rows):  # far from the data it would explode
        return rows[:, 0] + 100 * (rows[:, 0] - rows[:, 1]) ** 2

    effect = accumulated_local_effects(model, twin, 0, n_bins=40)
    line = effect.grid[0] - effect.grid[0].mean()
    dependence = partial_dependence(model, twin, 0, grid=effect.grid[0])
    assert (effect.values[:, 0] - line).abs().max() < 0.25 * dependence.values.abs().max()


def test_a_stratified_background_keeps_the_mass_of_every_stratum():
    strata = (X[:, 0] > 0.8).long()
    share = strata.double().mean()
    for method in ("herding", "iid", "kmeans"):
        rows, weights = compress(X, 10, method=method, return_weights=True, strata=strata)
        assert len(set(rows.tolist())) == 10
        torch.testing.assert_close(weights[strata[rows] == 1].sum(), share)
        torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    with pytest.raises(ValueError, match="strata"):
        compress(X, 10, strata=strata[:5])
    with pytest.raises(ValueError, match="2 strata"):
        compress(X, 1, strata=strata)


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: SageGame(bent, X, Y[:5], MarginalImputer(ROWS)), ValueError, "y has shape"),
        (lambda: SageGame(bent, X, Y, MarginalImputer(ROWS), loss="hinge"), ValueError, "hinge"),
        (
            lambda: exact_shapley(SageGame(bent, X, Y, MarginalImputer(ROWS))),
            ValueError,
            "probabilities",
        ),
        (
            lambda: exact_shapley(SageGame(probabilities, X, Y + 1, MarginalImputer(ROWS))),
            ValueError,
            "y holds classes",
        ),
        (lambda: partial_dependence(bent, X, 7), ValueError, "feature 7"),
        (lambda: partial_dependence(bent, X * math.nan, 0), ValueError, "NaN"),
        (lambda: partial_dependence(bent, X, 0, grid=0), ValueError, "grid=0"),
        (lambda: partial_dependence(bent, X, (0, 0)), ValueError, "different positions"),
        (lambda: accumulated_local_effects(bent, X, 0, n_bins=0), ValueError, "n_bins=0"),
        (lambda: accumulated_local_effects(bent, X * 0, 0), ValueError, "constant"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, error, word):
    with pytest.raises(error, match=word):
        call()
