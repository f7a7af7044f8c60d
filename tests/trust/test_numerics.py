"""Check 9 and the ends of the number line: every precision, scale, width and number of classes."""

import copy

import numpy as np
import pytest
import torch

from baselines import PresenceGame, exact_shapley
from harsanyi import HarsanyiClassifier, HarsanyiRegressor
from tests.small_nets import make_net, presence_spec, rows

QUICK = {"bags": 1, "epochs": 2, "random_state": 0}
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_values_equal_enumeration_in_every_precision(dtype, nets, device, figure):
    worst = 0.0
    x = rows(4, 6, seed=2)
    for net in nets:
        cast = copy.deepcopy(net).to(device, dtype)
        answer = cast.explain(x.to(device))
        truth = exact_shapley(PresenceGame(net, x)).values
        if dtype == torch.bfloat16:  # rounded weights make another game: ask that one
            truth = exact_shapley(PresenceGame(copy.deepcopy(cast).double(), x.to(device))).values
        scale = max(1.0, float(net(x).detach().abs().max()))
        difference = (answer.values.double().cpu() - truth.double().cpu()).abs().max()
        worst = max(worst, float(difference) / scale)
        assert answer.values.device.type == device.type
    figure(worst, TOLERANCE[dtype])


def gap(model, X) -> float:
    """Of an estimator: values against its own game, relative to max(1, |v|)."""
    answer = model.explain(X)
    ask = model.logits if hasattr(model, "logits") else model.outputs
    grand = torch.from_numpy(np.asarray(ask(X))).double()
    out = answer.values.double().sum(1) + answer.base_values.double()
    return float(((out - grand).abs() / grand.abs().clamp(min=1)).max())


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_columns_and_targets_of_extreme_scale_are_learned_and_explained(scale, figure):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(200, 3))
    y = X[:, 0] * 2 + X[:, 1]
    plain = HarsanyiRegressor(**QUICK).fit(X, y)
    scaled = HarsanyiRegressor(**QUICK).fit(X * scale, y * scale)
    assert abs(scaled.score(X * scale, y * scale) - plain.score(X, y)) <= 0.05
    figure(gap(scaled, X * scale), 1e-5)


def test_columns_that_never_change_get_nothing():
    draw = np.random.default_rng(0)
    X = np.column_stack([draw.normal(size=200), np.full(200, 7.0), np.zeros(200)])
    model = HarsanyiClassifier(**QUICK).fit(X, X[:, 0] > 0)
    assert (model.explain(X).values[:, 1:].abs() <= 1e-6).all()


def test_a_thousand_classes_are_explained(figure):
    net = make_net(presence_spec(6, 2, learned=True), 6, 1000)
    x = rows(4, 6)
    answer = net.explain(x)
    assert answer.values.shape == (4, 6, 1000)
    out = answer.values.sum(1) + answer.base_values - net(x).detach()
    figure(float(out.abs().max()), 1e-10)


def test_many_classes_are_fitted_and_explained(figure):
    draw = np.random.default_rng(0)
    y = np.repeat(np.arange(60), 5)
    X = draw.normal(size=(300, 4)) + y[:, None] / 10
    model = HarsanyiClassifier(**QUICK, parts=("additive",)).fit(X, y)
    assert model.explain(X[:5]).values.shape == (5, 4, 60)
    figure(gap(model, X[:50]), 1e-5)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), 1e308])
def test_infinite_cells_are_refused_by_name(value):
    X = np.random.default_rng(0).normal(size=(60, 2))
    X[7, 1] = value
    with pytest.raises(ValueError, match="X"):
        HarsanyiClassifier(**QUICK).fit(X, X[:, 0] > 0)
