"""Laws of interop: guests' games play here, ours there, and answers travel without loss."""

import warnings

import numpy as np
import pytest
import torch

import baselines
from baselines import (
    BaselineImputer,
    CallableGame,
    Explanation,
    MarginalImputer,
    MaskedGame,
    TableGame,
    as_shapiq,
    exact_shapley,
    from_callable,
    from_shap,
    from_shapiq,
    kernel_shap,
)

N = 5


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def table(b: int = 2, k: int = 2) -> TableGame:
    return TableGame(normal(b, 2**N, k))


def test_a_plain_function_is_a_game_in_each_form_it_may_take():
    weights = np.arange(1.0, N + 1)

    def of_array(masks):
        return (masks @ weights) ** 2

    def of_tensor(masks):
        return (masks.double() @ torch.from_numpy(weights)) ** 2

    def of_set(players):
        return sum(weights[i] for i in players) ** 2

    wanted = exact_shapley(CallableGame(of_array, N)).values
    assert wanted.shape == (1, N, 1)
    for function, form in ((of_tensor, "tensor"), (of_set, "set")):
        game = CallableGame(function, N, takes=form)
        torch.testing.assert_close(exact_shapley(game).values, wanted)
        assert game.n_evals == 2**N
    two = CallableGame([of_array, lambda masks: -of_array(masks)], N, players=list("abcde"))
    e = exact_shapley(two)
    torch.testing.assert_close(e.values[0], -e.values[1])
    assert e.player_names() == tuple("abcde")


def test_functions_of_several_outputs_keep_them_all():
    game = CallableGame(lambda masks: np.stack([masks.sum(1), masks[:, 0]], 1), N)
    assert game.n_outputs == 2
    assert game.n_evals == 0
    values = exact_shapley(game).values[0]
    torch.testing.assert_close(values[:, 0], torch.ones(N, dtype=torch.float64))
    torch.testing.assert_close(values[:, 1], torch.eye(N, dtype=torch.float64)[0])


@pytest.mark.parametrize(
    ("call", "error", "word"),
    [
        (lambda: CallableGame([], N), ValueError, "functions is empty"),
        (lambda: CallableGame([3], N), TypeError, "holds a int"),
        (lambda: CallableGame(len, 0), ValueError, "n_players=0"),
        (lambda: CallableGame(len, N, takes="list"), ValueError, "takes='list'"),
        (lambda: CallableGame(len, N, players=["a"]), ValueError, "players names 1"),
        (lambda: exact_shapley(CallableGame(len, N)), ValueError, "takes='set'"),
        (
            lambda: exact_shapley(CallableGame(lambda m: m.sum(1) / 0.0 * 0, N)),
            ValueError,
            "NaN or infinity",
        ),
        (lambda: from_shapiq([3]), TypeError, "no shapiq game"),
        (lambda: from_shap(3), TypeError, "guest is a int"),
    ],
)
def test_bad_guests_are_refused_by_name(call, error, word):
    with pytest.raises(error, match=word), np.errstate(all="ignore"):
        call()


def test_a_shapiq_game_played_here_has_shapiqs_exact_values():
    shapiq = pytest.importorskip("shapiq")
    values = normal(2, 2**N, 1, seed=3)

    class Listed(shapiq.Game):
        def __init__(self, row):
            self.row = row
            super().__init__(
                n_players=N, normalize=True, normalization_value=float(values[row, 0])
            )

        def value_function(self, coalitions):
            return values[self.row, :, 0].numpy()[coalitions @ (2 ** np.arange(N))]

    guests = [Listed(0), Listed(1)]
    e = exact_shapley(from_shapiq(guests))
    for row, guest in enumerate(guests):
        theirs = shapiq.ExactComputer(game=guest, n_players=N)("SV")
        wanted = [theirs[(i,)] for i in range(N)]
        assert e.values[row, :, 0].tolist() == pytest.approx(wanted, abs=1e-9)
    torch.testing.assert_close(e.base_values, torch.zeros(2, 1, dtype=torch.float64))


def test_our_games_run_under_shapiqs_engine():
    shapiq = pytest.importorskip("shapiq")
    game = table()
    ours = exact_shapley(game)
    for row in range(2):
        guest = as_shapiq(game, row, output=1)
        theirs = shapiq.ExactComputer(game=guest, n_players=N)("SV")
        wanted = [theirs[(i,)] for i in range(N)]
        assert ours.values[row, :, 1].tolist() == pytest.approx(wanted, abs=1e-9)


def test_an_explanation_becomes_shapiq_interaction_values_of_order_one():
    pytest.importorskip("shapiq")
    e = exact_shapley(table())
    guest = e.to_shapiq(1, output=1)
    assert [guest[(i,)] for i in range(N)] == e.values[1, :, 1].tolist()
    assert guest.baseline_value == float(e.base_values[1, 1])
    assert (guest.index, guest.max_order, guest.n_players) == ("SV", 1, N)
    with pytest.raises(ValueError, match="row=2"):
        e.to_shapiq(2)


def test_an_explanation_goes_to_shap_and_comes_back_the_same():
    pytest.importorskip("shap")
    ours = exact_shapley(table(b=3, k=1))
    back = Explanation.from_shap(ours.to_shap())
    torch.testing.assert_close(back.values, ours.values)
    torch.testing.assert_close(back.base_values, ours.base_values)
    assert back.player_names() == ours.player_names()
    several = exact_shapley(table(b=3, k=4))
    again = from_shap(several.to_shap("all"))
    torch.testing.assert_close(again.values, several.values)
    torch.testing.assert_close(again.base_values, several.base_values)
    assert again.output_names() == several.output_names()


def test_standard_errors_travel_to_shap():
    pytest.importorskip("shap")
    errors = torch.rand(2, N, 1, dtype=torch.float64)
    e = Explanation(normal(2, N, 1), std_errors=errors)
    assert np.array_equal(e.to_shap().error_std, errors[..., 0].numpy())


def models():
    """Fitted models of every crowd on one small table."""
    sklearn = pytest.importorskip("sklearn.ensemble")
    linear = pytest.importorskip("sklearn.linear_model")
    X = normal(200, N, seed=1)
    y = (X[:, 0] + X[:, 1] * X[:, 2] > 0).long()
    yield "forest", sklearn.RandomForestClassifier(8, random_state=0).fit(X, y), X
    yield "logistic", linear.LogisticRegression().fit(X, y), X
    yield "regressor", sklearn.HistGradientBoostingRegressor(max_iter=8).fit(X, X[:, 0]), X
    xgboost = pytest.importorskip("xgboost")
    yield "xgboost", xgboost.XGBClassifier(n_estimators=8, n_jobs=1).fit(X, y), X
    lightgbm = pytest.importorskip("lightgbm")
    yield "lightgbm", lightgbm.LGBMClassifier(n_estimators=8, n_jobs=1, verbose=-1).fit(X, y), X


@pytest.mark.parametrize("output", ["proba", "logit"])
def test_models_of_every_library_are_explained_alike(output):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries speak of feature names and of each other
        for name, fitted, X in models():
            model = from_callable(fitted, output=output)
            game = MaskedGame(model, X[:3], MarginalImputer(X[50:58]))
            e = exact_shapley(game)
            due = model(X[:3]) - torch.stack([model(X[50:58]).mean(0) for _ in range(3)])
            torch.testing.assert_close(e.values.sum(1), due, rtol=0, atol=1e-9, msg=name)
            assert e.values.abs().sum() > 0
            if output == "proba" and name != "regressor":
                assert e.shape == (3, N, 2)
                torch.testing.assert_close(
                    e.values[..., 0], -e.values[..., 1], rtol=0, atol=1e-6, msg=name
                )


def test_a_torch_model_and_its_numpy_twin_have_the_same_explanation():
    weight = normal(N, 2, seed=2)
    net = torch.nn.Sequential(torch.nn.Linear(N, 2), torch.nn.Tanh()).double()
    with torch.no_grad():
        net[0].weight.copy_(weight.T)
        net[0].bias.zero_()
    twin = from_callable(lambda rows: np.tanh(rows @ weight.numpy()))
    x = normal(3, N, seed=4)
    ours = exact_shapley(MaskedGame(net, x, BaselineImputer(0.0))).values
    theirs = exact_shapley(MaskedGame(twin, x, BaselineImputer(0.0))).values
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_shaps_exact_explainer_agrees_on_a_shared_game():
    shap = pytest.importorskip("shap")
    background = normal(6, N, seed=5)
    weight = normal(N, seed=6)

    def f(rows):
        return np.tanh(rows @ weight.numpy()) + rows[:, 0] * rows[:, 1]

    x = normal(3, N, seed=7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        masker = shap.maskers.Independent(background.numpy(), max_samples=6)
        theirs = from_shap(shap.explainers.ExactExplainer(f, masker)(x.numpy()))
    game = MaskedGame(from_callable(f), x, MarginalImputer(background))
    torch.testing.assert_close(exact_shapley(game).values, theirs.values, rtol=0, atol=1e-8)
    torch.testing.assert_close(
        kernel_shap(game, budget=2**N).values, theirs.values, atol=1e-8, rtol=0
    )


def test_a_guest_that_is_not_yet_a_game_is_told_how_to_become_one():
    shapiq = pytest.importorskip("shapiq")

    class Squares(shapiq.Game):
        def __init__(self) -> None:
            super().__init__(n_players=4, normalize=False)

        def value_function(self, coalitions: np.ndarray) -> np.ndarray:
            return coalitions.sum(1).astype(float) ** 2

    for play in (baselines.shapley, baselines.banzhaf):
        with pytest.raises(TypeError, match="from_shapiq"):
            play(Squares(), 16)


def test_interaction_values_of_shap_are_refused_by_shape():
    shap = pytest.importorskip("shap")
    guest = shap.Explanation(np.ones((3, 5, 5)), base_values=np.zeros(3))
    with pytest.raises(ValueError, match=r"base values have shape \(3,\)"):
        baselines.from_shap(guest)


@pytest.mark.parametrize("output", ["proba", "logit"])
def test_a_booster_is_explained_as_its_classifier_is(output):
    xgboost = pytest.importorskip("xgboost")
    rows = np.random.default_rng(0).normal(size=(60, 4))
    fitted = xgboost.XGBClassifier(n_estimators=4, n_jobs=1).fit(rows, rows[:, 0] > 0)
    x = torch.from_numpy(rows[:5])
    own = baselines.from_callable(fitted.get_booster(), output)(x)
    theirs = baselines.from_callable(fitted, output)(x)[:, -1:]
    if output == "logit":  # of class 1 against class 0, where log p is given of each
        theirs = theirs - baselines.from_callable(fitted, output)(x)[:, :1]
    torch.testing.assert_close(own, theirs, atol=1e-5, rtol=0)
