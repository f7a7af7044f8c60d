"""Laws of the metrics that need no truth: sensitivity, leakage, rationales, null tests, costs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from baselines import TableGame, exact_shapley, permutation_shapley
from baselines.explanation import Explanation
from bench.comparable import NotComparable
from bench.costs import break_even, count_flops
from bench.leakage import leak_excess
from bench.null_tests import (
    GuestGame,
    Refit,
    agreement,
    count_passed,
    game_nulls,
    model_nulls,
    random_weights,
)
from bench.rationales import rationale_auprc
from bench.sensitivity import max_sensitivity, neighbours

ROOT = Path(__file__).resolve().parent.parent


class Linear:
    """Explains f(x) = w x exactly: values are w times x."""

    def __init__(self, weights):
        self.weights = weights

    def explain(self, x):
        rows = torch.as_tensor(np.asarray(x, dtype=np.float64))
        return Explanation((rows * self.weights)[..., None], method="linear")


def rows(b=40, n=4, seed=0):
    return torch.randn(b, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_sensitivity_of_a_linear_model_is_bounded_by_its_steps_and_grows_with_the_radius():
    x, linear = rows(), Linear(torch.tensor([1.0, -2.0, 0.5, 3.0]))
    small, large = (max_sensitivity(linear, x, radius=r, draws=4) for r in (0.01, 0.1))
    reach = 0.01 * (x.std(0, correction=0) * linear.weights).norm()
    bound = reach / (x * linear.weights).norm(dim=1)
    assert (small <= bound.numpy() + 1e-12).all()
    assert (small > 0).all()
    np.testing.assert_allclose(large, 10 * small, rtol=1e-9)


def test_a_constant_explainer_has_no_sensitivity_and_a_broken_one_an_infinite_one():
    class Constant:
        def explain(self, x):
            return Explanation(torch.ones(len(x), 3, 1))

    class Jumping:
        calls = 0

        def explain(self, x):
            self.calls += 1
            return Explanation(torch.full((len(x), 3, 1), float(self.calls > 1)))

    assert (max_sensitivity(Constant(), rows()) == 0).all()
    assert np.isinf(max_sensitivity(Jumping(), rows())).all()
    with pytest.raises(ValueError, match="draws=0"):
        max_sensitivity(Constant(), rows(), draws=0)


def test_neighbours_move_numbers_only():
    frame = pd.DataFrame({"a": [0.0, 1.0, np.nan], "w": list("xyz"), "i": [1, 2, 3]})
    moved = neighbours(frame, 0.1, 0, 0)
    assert (moved[["w", "i"]] == frame[["w", "i"]]).all(axis=None)
    assert (moved["a"] != frame["a"])[:2].all()
    assert np.isnan(moved["a"][2])
    assert (frame["a"] - moved["a"]).abs().max() <= 0.1 * np.nanstd(frame["a"])
    with pytest.raises(TypeError, match="real numbers"):
        neighbours(["a text"], 0.1, 0, 0)


def selected(leaking, b=1500, n=6):
    """Noise rows whose label is unknowable; a leaking selector writes it into the mask."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, b)
    masks = np.zeros((b, n), dtype=bool)
    masks[np.arange(b), rng.integers(0, n, b)] = True
    if leaking:
        masks[:, :2] = np.eye(2, dtype=bool)[y]
    judge = np.log(np.full((b, 2), 0.5)) + 0.01 * rng.standard_normal((b, 2))
    return masks, judge, y


def test_a_mask_that_spells_the_label_leaks_and_a_random_one_does_not():
    found = leak_excess(*selected(True))
    assert found.low > 0.4
    assert found.low <= found.value <= found.high
    honest = leak_excess(*selected(False))
    assert honest.low <= 0 <= honest.high + 0.02
    assert abs(honest.value) < 0.05


def test_what_the_shown_players_say_is_no_leak():
    """The mask tells the label, but so does the judge that sees the players."""
    masks, _, y = selected(True)
    sure = np.log(np.where(np.eye(2)[y] > 0, 0.99, 0.01))
    assert leak_excess(masks, sure, y).value < 0.01


def test_leakage_needs_rows_of_every_class_and_equal_shapes():
    masks, judge, y = selected(False, b=20)
    assert np.isnan(leak_excess(masks, judge, np.zeros(20, dtype=int)).value)
    with pytest.raises(ValueError, match="first axes"):
        leak_excess(masks, judge[:5], y)


def test_padding_is_no_player_of_a_rationale_and_perfect_order_scores_one():
    values = torch.tensor([[[3.0], [-2.0], [0.1], [9.0]]])
    mask = torch.tensor([[True, True, True, False]])
    names = (("a", "b", "c"),)
    e = Explanation(values, players=names, player_mask=mask)
    marks = np.array([[True, True, False, False]])
    assert rationale_auprc(e, marks) == pytest.approx([1.0])
    assert rationale_auprc(e, marks, signed=True)[0] < 1
    assert np.isnan(rationale_auprc(e, np.zeros((1, 4), dtype=bool)))
    with pytest.raises(NotComparable, match="padding"):
        rationale_auprc(e, np.array([[False, False, False, True]]))
    with pytest.raises(NotComparable, match="needs bool"):
        rationale_auprc(e, marks[:, :2])


def table_game(b=3, n=5):
    g = torch.Generator().manual_seed(0)
    return TableGame(torch.randn(b, 2**n, 2, generator=g, dtype=torch.float64))


def test_exact_values_pass_the_null_tests_of_games():
    found = game_nulls(exact_shapley, table_game())
    assert found["dummy"] < 1e-12
    assert found["twins"] < 1e-12
    assert count_passed(found) == (2, 2)


def test_an_estimator_that_shares_evenly_fails_the_null_tests_of_games():
    def even(game):
        e = exact_shapley(game)
        return Explanation(e.values.mean(1, keepdim=True).expand_as(e.values).clone())

    def first_takes_all(game):
        e = exact_shapley(game)
        return Explanation(e.values * torch.linspace(1, 2, game.n_players)[:, None])

    assert game_nulls(even, table_game())["dummy"] > 0.5
    assert game_nulls(first_takes_all, table_game())["twins"] > 0.05
    assert count_passed({"dummy": 0.9, "twins": float("nan")}) == (0, 1)


def test_a_guest_changes_the_game_only_as_it_says():
    game = table_game()
    coalitions = torch.rand(3, 7, 6, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(GuestGame(game)(coalitions), game(coalitions[..., :-1]))
    together = coalitions[..., :-1].clone()
    together[..., 2] &= coalitions[..., -1]
    assert torch.equal(GuestGame(game, 2)(coalitions), game(together))
    sampled = permutation_shapley(GuestGame(game, 2), budget=200)
    assert sampled.shape == (3, 6, 2)


class Slopes:
    """A least-squares model that explains itself, for the null tests of models."""

    def __init__(self, X, y, blind=False):
        self.middle = X.mean()
        design = (X - self.middle).to_numpy()
        slopes = np.linalg.lstsq(design, y - y.mean(), rcond=None)[0]
        self.slopes = np.linspace(1, 2, X.shape[1]) if blind else slopes

    def explain(self, X):
        values = (X - self.middle).to_numpy() * self.slopes
        return Explanation(torch.from_numpy(values)[..., None].double())


def refit(**words):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((400, 12)), columns=list("abcdefghijkl"))
    slopes = np.zeros(12)
    slopes[:3] = (8, 6, 4)
    y = X.to_numpy() @ slopes + 0.1 * rng.standard_normal(400)
    return Refit(lambda X, y: Slopes(X, y, **words), X, y, X.iloc[:50])


def test_a_model_that_learns_passes_and_one_that_ignores_its_labels_does_not():
    honest = refit()
    found = model_nulls(honest, honest.fit(honest.X, honest.y).explain(honest.explained))
    assert found["random_labels"] < 0.5
    assert found["constant_column"] < 1e-9
    blind = refit(blind=True)
    found = model_nulls(blind, blind.fit(blind.X, blind.y).explain(blind.explained))
    assert found["random_labels"] == pytest.approx(1.0)


def test_random_weights_keep_the_numbers_and_lose_their_places():
    net = torch.nn.Linear(6, 3)
    other = random_weights(net)
    assert torch.equal(net.weight.flatten().sort().values, other.weight.flatten().sort().values)
    assert not torch.equal(net.weight, other.weight)
    assert torch.equal(other.weight, random_weights(net).weight)
    x = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    one, two = (Explanation((x * m.weight[0])[..., None].detach()) for m in (net, other))
    assert agreement(one, one) == pytest.approx(1.0)
    assert agreement(one, two) < 0.9


def test_flops_of_a_matrix_product_are_counted():
    a, b = torch.ones(4, 5), torch.ones(5, 6)
    assert count_flops(lambda: a @ b) == 2 * 4 * 5 * 6
    assert np.isnan(count_flops(lambda: np.ones((4, 5)) @ np.ones((5, 6))))


def test_peak_memory_sees_what_was_held_and_let_go():
    # a process of its own: here other tests' threads may let go of memory meanwhile
    lines = [
        "import numpy as np",
        "from bench.costs import open_meters",
        "with open_meters() as meters:",
        "    block = np.ones(8 * 2**20)  # 64 MiB of float64",
        "    del block",
        "print(meters.peak_memory)",
    ]
    command = [sys.executable, "-c", "\n".join(lines)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    peak = float(told)
    if np.isnan(peak):
        pytest.skip("this system resets no high-water mark")
    assert 50 * 2**20 < peak < 200 * 2**20


def test_break_even_is_training_over_saving():
    assert break_even(60.0, 0.1, 0.7) == pytest.approx(100.0)
    assert break_even(60.0, 0.7, 0.1) == float("inf")
    assert np.isnan(break_even(60.0, float("nan"), 1.0))
