"""Laws of text metrics: two ceilings, true errors, what a curve says an explainer is worth."""

import numpy as np
import pytest
import torch

from baselines import Explanation
from bench.text_metrics import (
    Curve,
    convergence_curve,
    noise_ceilings,
    reliability,
    sentiment_agreement,
    true_squared_error,
)


def explanation(values, errors=None, exact=False, mask=None) -> Explanation:
    return Explanation(
        values,
        estimand="shapley",
        game="made up",
        method="made up",
        exact=exact,
        std_errors=errors,
        n_evals=10,
        player_mask=mask,
    )


def noisy(rng, truth, scale, mask):
    drawn = truth + scale * rng.standard_normal(truth.shape)
    return np.where(mask, drawn, 0.0)


def correlation(one, two, mask):
    centred = []
    for side in (one, two):
        mean = np.where(mask, side, 0).sum(1, keepdims=True) / mask.sum(1, keepdims=True)
        centred.append(np.where(mask, side - mean, 0).ravel())
    return float(
        centred[0] @ centred[1] / np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    )


def test_a_flawless_explainer_reaches_the_root_of_r_and_two_labels_agree_up_to_r():
    rng = np.random.default_rng(0)
    b, n, scale = 400, 12, 0.8
    mask = np.arange(n)[None, :, None] < rng.integers(6, n + 1, b)[:, None, None]
    truth = np.where(mask, rng.standard_normal((b, n, 1)), 0.0)
    labels = [noisy(rng, truth, scale, mask) for _ in range(2)]
    errors = torch.full((b, n, 1), scale, dtype=torch.float64)
    known = explanation(torch.tensor(labels[0]), errors, mask=torch.tensor(mask[..., 0]))
    ceilings = noise_ceilings(known)
    assert abs(correlation(truth, labels[0], mask) - ceilings.flawless[0]) < 0.02
    assert abs(correlation(labels[0], labels[1], mask) - ceilings.repeated[0]) < 0.02
    assert ceilings.flawless[0] - ceilings.repeated[0] > 0.1
    # the true error of a flawless explainer is nothing, of a poor one what it is
    flawless = explanation(torch.tensor(truth), exact=True, mask=torch.tensor(mask[..., 0]))
    assert abs(true_squared_error(flawless, known)) < 0.03
    poor = explanation(
        torch.tensor(np.where(mask, truth + 0.5, 0)), exact=True, mask=torch.tensor(mask[..., 0])
    )
    assert abs(true_squared_error(poor, known) - 0.25) < 0.04


def test_exact_labels_are_wholly_reliable_and_unknown_noise_is_refused():
    values = torch.randn(3, 4, 2, generator=torch.manual_seed(0))
    assert reliability(explanation(values, exact=True)).tolist() == [1.0, 1.0]
    assert np.isnan(reliability(explanation(torch.ones(3, 4, 1), exact=True))).all()
    with pytest.raises(ValueError, match="no standard errors"):
        reliability(explanation(values))


def test_a_curve_says_how_many_evaluations_an_error_is_worth():
    curve = Curve((10, 100, 1000), (1.0, 0.1, 0.01), (0.5, 0.9, 0.99))
    for budget in (5, 10, 31.6227766, 1000, 5000):
        assert curve.worth(10 / budget) == pytest.approx(budget)
    assert curve.worth(0.0) == float("inf")
    assert curve.worth(2.0) == pytest.approx(5.0)


def test_the_curve_of_a_sampler_falls_as_its_budget_rises():
    truth = torch.randn(4, 6, 1, generator=torch.manual_seed(1)).double()

    def sample(budget, generator):
        noise = torch.randn(truth.shape, generator=generator, dtype=torch.float64)
        return explanation(truth + noise / budget**0.5, torch.ones_like(truth))

    known = explanation(truth, exact=True)
    curve = convergence_curve(sample, known, [10, 1000], seeds=20)
    assert curve.mse[0] == pytest.approx(0.1, rel=0.3)
    assert curve.mse[1] == pytest.approx(0.001, rel=0.3)
    assert curve.spearman[1] > curve.spearman[0]
    assert curve.worth(0.01) == pytest.approx(100, rel=0.3)
    with pytest.raises(ValueError, match="rising"):
        convergence_curve(sample, known, [10, 5])


def test_sentiments_are_met_by_values_in_their_order():
    values = torch.tensor([[0.9, 0.1, 0.8, -0.3], [0.1, 0.9, 0.0, 0.0]])[..., None]
    values = torch.cat([-values, values], -1)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    e = explanation(values, exact=True, mask=mask)
    # a number behind the longest input is left out
    felt = sentiment_agreement(e, [[2, 0, 1, -1, 9], [0, 0]], 1)
    assert felt[0] == pytest.approx(1.0)
    assert sentiment_agreement(e, [[2, 0, 1, -1], [1, 0]], 0).tolist() == pytest.approx([-1, 1])
    assert np.isnan(felt[1])
    with pytest.raises(ValueError, match="4 players and 2 numbers"):
        sentiment_agreement(e, [[1, 0], [0, 1]], 1)
