"""Laws of padding as players: it changes no value, and costs stability."""

import pytest
import torch

from baselines import exact_shapley
from bench.problems.problem import Problem
from bench.text_padding import (
    PaddedPlayers,
    antithetic,
    captum_kernel,
    instability,
    page,
    paired_kernel,
    stability,
)
from tests.test_text import TEXTS, text_model


def test_padding_plays_without_changing_a_value():
    game = text_model(players="word", removal="drop")("the film was not good")
    padded = PaddedPlayers(game, 12)
    assert padded.n_players == 12
    real, more = exact_shapley(game), exact_shapley(padded)
    torch.testing.assert_close(more.values[:, :5], real.values, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(more.values[:, 5:], torch.zeros(1, 7, 3), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="at most 3"):
        PaddedPlayers(game, 3)


def test_runs_that_agree_are_stable_and_opposite_ones_are_not():
    same = stability(torch.tensor([[3.0, 1, 2, 0, 5, 4, 6]] * 3))
    assert (same.spearman, same.mse, same.top_5) == (1.0, 0.0, 5.0)
    opposite = stability(torch.tensor([[1.0, 2, 3], [3.0, 2, 1]]))
    assert opposite.spearman == -1.0
    assert opposite.mse == pytest.approx(8 / 3)
    with pytest.raises(ValueError, match="two seeds"):
        stability(torch.ones(1, 3))


def test_padding_costs_stability_at_the_same_budget():
    pytest.importorskip("captum")
    model = text_model(players="word", removal="drop")
    problem = Problem(name="made up", x=[TEXTS[2]], y=None, game_factory=model, model=model)
    samplers = {"kernel": captum_kernel(60), "orders": antithetic(2), "paired": paired_kernel(60)}
    rows = instability(problem, seeds=3, padded=40, samplers=samplers, progress=False)
    by = {(row["sampler"], row["players"]): row for row in rows}
    assert by["kernel", "padded"]["mse"] > by["kernel", "real"]["mse"]
    assert by["paired", "padded"]["mse"] > 5 * by["paired", "real"]["mse"]
    assert by["orders", "padded"]["evaluations"] > 4 * by["orders", "real"]["evaluations"]
    assert "| kernel | padded |" in page(rows, "about")
