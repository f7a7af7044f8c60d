"""Laws of the gradients through z: unbiased where they say so, biased where they say so.

Draws are rows: the same explicand is repeated, so one backward pass gives one estimate a row.
"""

from itertools import pairwise

import pytest
import torch
from torch import nn

from amortized.lex.gradients import (
    Enumeration,
    Imle,
    Objective,
    Pathwise,
    Rebar,
    Reinforce,
    Vimco,
    log_mean_exp,
)
from amortized.lex.masks import Bernoulli, ConcreteTopK, TopK
from amortized.lex.naming import gradient_config, make_gradient
from bench.gradient_table import CASES, N_PLAYERS, fitted_toy, measure, noise_value, variance_ratio

N = N_PLAYERS


@pytest.fixture(scope="module")
def toy():
    return fitted_toy()


UNBIASED = {
    "plain": (Reinforce("none"), Bernoulli(), 1, 1),
    "leave-one-out of 2": (Reinforce(), Bernoulli(), 2, 1),
    "leave-one-out of 4": (Reinforce(), Bernoulli(), 4, 1),
    "leave-one-out, two inside": (Reinforce(), Bernoulli(), 2, 2),
    "network": (Reinforce("network"), Bernoulli(), 2, 1),
    "leave-one-out, three of six": (Reinforce(), TopK(3), 4, 1),
    "leave-one-out, L2X's union": (Reinforce(), ConcreteTopK(2), 4, 1),
    "vimco": (Vimco(), Bernoulli(), 1, 2),
    "vimco, three of six": (Vimco(), TopK(3), 1, 2),
    "rebar, warm": (Rebar(0.5), Bernoulli(), 1, 1),
    "rebar, cold": (Rebar(0.1), Bernoulli(), 1, 1),
    "rebar, half": (Rebar(0.5, coefficient=0.5), Bernoulli(), 2, 1),
}


@pytest.mark.parametrize("case", UNBIASED)
def test_unbiased_gradients_have_the_enumerated_mean(toy, case):
    gradient, law, m, l = UNBIASED[case]
    draws = 100_000 if isinstance(law, Bernoulli) else 25_000  # sets cost an integral each
    grads, bounds = toy.estimates(gradient, law, m, l, draws // (5 * m * l))
    exact = toy.exact(law, l)
    z = (grads.mean(0) - exact) / (grads.std(0) / len(grads) ** 0.5)
    assert z.abs().max() < 4.5
    assert (grads.mean(0) - exact).norm() / exact.norm() < 0.12
    bound = -Enumeration()(Objective(law, toy.logits, toy.value, 1, l)).loss
    assert ((bounds.mean(0) - bound).abs() < 4.5 * bounds.std(0) / len(bounds) ** 0.5).all()


@pytest.mark.parametrize("l", [1, 2])
def test_enumeration_is_autograd_of_the_enumerated_objective(toy, l):
    logits = toy.logits.clone().requires_grad_()
    masks = Bernoulli().support(N)[:, None].expand(-1, 5, -1)  # (q, b, n)
    p = Bernoulli().log_prob(logits, masks).exp()
    w = toy.value(masks)
    if l == 1:
        objective = (p * w).sum()
    else:
        pair = torch.log((w[:, None].exp() + w.exp()) / 2)
        objective = (p[:, None] * p * pair).sum()
    objective.backward()
    assert (toy.exact(Bernoulli(), l) + logits.grad).abs().max() < 1e-12


def test_leave_one_out_lowers_the_variance_on_this_toy(toy):
    assert variance_ratio(toy, 8_000) <= 0.35


def test_leave_one_out_costs_a_third_where_rewards_have_no_mean(toy):
    """Where it fails: against pure noise a baseline from three other draws adds their variance."""
    assert 1.25 < variance_ratio(toy, 8_000, noise_value) < 1.42


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.unbiased])
def test_unbiased_gradients_keep_their_word_at_four_hundred_thousand_estimates(toy, name):
    case = CASES[name]
    row = measure(
        case, toy, 400_000 if case.law == Bernoulli() and case.evaluations < 64 else 4000
    )
    assert row.z < 4.5
    assert row.bias < 4.5 * row.noise + 1e-9


def test_vimco_lowers_the_variance_of_the_two_draw_bound(toy):
    plain, _ = toy.estimates(Reinforce("none"), Bernoulli(), 1, 2, 10_000)
    helped, _ = toy.estimates(Vimco(), Bernoulli(), 1, 2, 10_000)
    assert helped.var(0).sum() / plain.var(0).sum() <= 0.25


def relative_bias(toy, gradient, law):
    grads, _ = toy.estimates(gradient, law, 1, 1, 20_000)
    exact = toy.exact(law)
    return float((grads.mean(0) - exact).norm() / exact.norm())


def test_the_concrete_bias_shrinks_with_the_temperature(toy):
    warm, tepid, cold = (
        relative_bias(toy, Pathwise(temperature), Bernoulli()) for temperature in (1.0, 0.5, 0.1)
    )
    assert warm > tepid > cold
    assert warm <= 0.40
    assert tepid <= 0.20
    assert cold <= 0.05


@pytest.mark.parametrize("law", [Bernoulli(), TopK(3)], ids=str)
@pytest.mark.parametrize("gradient", [Pathwise(0.5, straight_through=True), Imle(2.0)], ids=str)
def test_biased_gradients_still_point_uphill(toy, gradient, law):
    grads, _ = toy.estimates(gradient, law, 1, 1, 5_000)
    assert torch.cosine_similarity(grads.mean(0).flatten(), toy.exact(law).flatten(), dim=0) > 0.5


def test_the_mean_inside_the_logarithm_is_over_probabilities(generator):
    w = -3 * torch.rand(5, 4, dtype=torch.float64, generator=generator)
    loss = -log_mean_exp(w, 0)
    assert (loss <= -w.mean(0) + 1e-12).all()
    assert (loss - torch.log(w.exp().mean(0)).neg()).abs().max() < 1e-12
    flat = torch.full((5, 4), -0.7, dtype=torch.float64)
    assert (log_mean_exp(flat, 0) + 0.7).abs().max() < 1e-12


def test_more_draws_inside_tighten_the_bound(toy):
    law = Bernoulli()
    masks = law.support(N)[:, None].expand(-1, 5, -1)
    exact = torch.logsumexp(law.log_prob(toy.logits, masks) + toy.value(masks), 0).mean()
    bounds = []
    for l in (1, 2, 5, 20, 50):
        _, drawn = toy.estimates(Reinforce("none"), law, 1, l, 10_000)
        drawn = drawn.mean(1)
        bounds.append((drawn.mean(), drawn.std() / len(drawn) ** 0.5))
    for (low, low_error), (high, high_error) in pairwise(bounds):
        assert high - low >= -3 * (low_error**2 + high_error**2) ** 0.5
    assert abs(bounds[-1][0] - exact) < 0.003 + 3 * bounds[-1][1]


def test_the_predictor_gradient_is_that_of_the_bound(toy):
    net = nn.Linear(N, 2).double()

    def value(z, relaxed=None):
        return torch.log_softmax(net(z.double() * toy.x), -1)[..., 1]

    logits = toy.logits.clone().requires_grad_()
    Reinforce()(
        Objective(Bernoulli(), logits, value, 4, 3, torch.Generator().manual_seed(0))
    ).loss.sum().backward()
    by_loss = net.weight.grad.clone()
    net.zero_grad()
    law = Bernoulli()
    z = law.hard(logits, law.noise(logits, 4, 3, torch.Generator().manual_seed(0)))
    (-torch.log(value(z).exp().mean(1)).mean(0).sum()).backward()
    assert (by_loss - net.weight.grad).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda t: t.estimates(Reinforce(), Bernoulli(), 1, 1, 4), ValueError, "m >= 2"),
        (
            lambda t: Reinforce("network")(Objective(Bernoulli(), t.logits, t.value)),
            ValueError,
            "control",
        ),
        (lambda t: t.estimates(Vimco(), Bernoulli(), 1, 1, 4), ValueError, "l >= 2"),
        (lambda t: t.estimates(Rebar(), TopK(2), 1, 1, 4), TypeError, "Bernoulli mask"),
        (lambda t: t.exact(Bernoulli(), 3), ValueError, "combinations"),
        (lambda t: Reinforce("mean"), ValueError, "baseline='mean'"),
        (lambda t: Pathwise(0.0), ValueError, "temperature=0"),
        (lambda t: Imle(-1.0), ValueError, "strength"),
        (lambda t: make_gradient("score"), ValueError, "gradient='score'"),
    ],
)
def test_impossible_requests_are_refused(toy, call, error, words):
    with pytest.raises(error, match=words):
        call(toy)


@pytest.mark.parametrize(
    "gradient",
    [
        Enumeration(),
        Reinforce("network"),
        Vimco(),
        Rebar(0.2, 0.9),
        Pathwise(0.4, True),
        Imle(3.0),
    ],
    ids=str,
)
def test_settings_survive_the_config(gradient):
    assert make_gradient(**gradient_config(gradient)) == gradient
