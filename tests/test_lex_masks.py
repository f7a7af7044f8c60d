"""Laws of the laws of z: supports, probabilities and relaxations agree with each other."""

import math

import pytest
import torch
from scipy import stats

from amortized.lex.masks import Bernoulli, ConcreteTopK, TopK
from amortized.lex.naming import make_law

LAWS = [Bernoulli(), TopK(1), TopK(3), TopK(6), ConcreteTopK(1), ConcreteTopK(3)]
IDS = [str(law) for law in LAWS]


@pytest.fixture
def logits():
    return torch.tensor(
        [[1.0, -0.5, 0.0, 2.0, -3.0, 0.7], [5.0, -5.0, 0.1, 0.2, 0.3, 4.9]], dtype=torch.float64
    )


@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_probabilities_over_the_support_sum_to_one(law, logits):
    z = law.support(6)[:, None, None].expand(-1, 1, 2, -1)
    assert (law.log_prob(logits, z).exp().sum((0, 1)) - 1).abs().max() < 1e-12


@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_inclusion_is_the_probability_of_the_masks_that_hold_a_player(law, logits):
    z = law.support(6)[:, None, None].expand(-1, 1, 2, -1)
    held = (law.log_prob(logits, z).exp()[..., None] * z).sum((0, 1))
    assert (law.inclusion(logits) - held).abs().max() < 1e-12
    assert (law.expected_size(logits) - held.sum(-1)).abs().max() < 1e-11


@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_hard_masks_follow_their_law(law, logits, generator):
    draws = 200_000
    z = law.hard(logits, law.noise(logits, draws, 1, generator))[:, 0]
    assert z.dtype == torch.bool
    assert (z.double().mean(0) - law.inclusion(logits)).abs().max() < 0.005
    # and whole masks, not only their margins
    seen, counts = z[:, 0].unique(dim=0, return_counts=True)
    expected = law.log_prob(logits[:1], seen[:, None, None]).exp()[:, 0, 0]
    spread = (counts / draws - expected) / (expected * (1 - expected) / draws).sqrt().clamp(1e-9)
    assert (spread.abs() * (expected < 1 - 1e-12)).max() < 5


def test_two_of_five_are_drawn_as_plackett_and_luce_say():
    p = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]], dtype=torch.float64)
    expected = torch.tensor([0.7951, 0.4680, 0.3621, 0.2479, 0.1269], dtype=torch.float64)
    assert (TopK(2).inclusion(p.log())[0] - expected).abs().max() < 5e-5


def test_the_probability_of_a_set_is_the_sum_over_its_orders(logits):
    w = logits[0].exp()
    z = torch.zeros(1, 1, 1, 6, dtype=torch.bool)
    z[..., [0, 3]] = True
    total = w.sum()
    by_hand = w[0] / total * w[3] / (total - w[0]) + w[3] / total * w[0] / (total - w[3])
    assert abs(TopK(2).log_prob(logits[:1], z).exp().item() - by_hand.item()) < 1e-12


@pytest.mark.parametrize("temperature", [1e-3, 0.1, 1.0])
@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_relaxed_masks_stay_between_zero_and_one(law, logits, generator, temperature):
    relaxed = law.relaxed(logits, law.noise(logits, 200, 2, generator), temperature)
    assert torch.isfinite(relaxed).all()
    assert relaxed.min() >= 0
    assert relaxed.max() <= 1 + 1e-12
    if isinstance(law, TopK):
        assert (relaxed.sum(-1) - law.k).abs().max() < 1e-6


@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_cold_relaxed_masks_are_the_hard_ones_of_the_same_noise(law, logits, generator):
    noise = law.noise(logits, 500, 1, generator)
    cold = law.relaxed(logits, noise, 1e-3)
    agree = (cold > 0.5) == law.hard(logits, noise)
    assert agree.all(-1).double().mean() > 0.99  # near-ties are the rest


def test_a_bernoulli_mask_is_one_exactly_where_its_relaxation_is_above_half(logits, generator):
    law = Bernoulli()
    noise = law.noise(logits, 1000, 1, generator)
    assert torch.equal(law.relaxed(logits, noise, 0.7) > 0.5, law.hard(logits, noise))


def test_the_relaxed_l2x_mask_is_the_largest_of_k_softmaxes(logits, generator):
    law = ConcreteTopK(3)
    noise = law.noise(logits, 2, 1, generator)
    gumbel = -torch.log(-torch.log(noise))
    by_hand = torch.stack(
        [torch.softmax((logits + gumbel[:, :, :, j]) / 0.1, -1) for j in range(3)]
    ).amax(0)
    assert (law.relaxed(logits, noise, 0.1) - by_hand).abs().max() < 1e-12


def test_redrawn_noise_leads_to_the_same_mask_and_has_its_law(logits, generator):
    law = Bernoulli()
    noise = law.noise(logits[:1], 20_000, 1, generator)
    z = law.hard(logits[:1], noise)
    again = law.redraw(logits[:1], z, law.noise(logits[:1], 20_000, 1, generator))
    assert torch.equal(law.hard(logits[:1], again), z)
    for player in (0, 2):
        for side in (True, False):
            first = noise[:, 0, 0, player][z[:, 0, 0, player] == side]
            second = again[:, 0, 0, player][z[:, 0, 0, player] == side]
            assert stats.ks_2samp(first.numpy(), second.numpy()).pvalue > 1e-3
            assert abs(second.std() / first.std() - 1) < 0.02


@pytest.mark.parametrize("k", [2, 5])
def test_fixed_size_laws_keep_their_size_among_ties(k, generator):
    flat = torch.zeros(3, 9, dtype=torch.float64)
    law = TopK(k)
    assert (law.hard(flat, law.noise(flat, 50, 1, generator)).sum(-1) == k).all()
    assert (law.mode(flat).sum(-1) == k).all()
    assert (ConcreteTopK(k).mode(flat).sum(-1) == k).all()


def test_inclusion_of_many_players_is_sampled_close_to_its_integral():
    logits = torch.linspace(-2, 2, 128, dtype=torch.float64)[None]
    wide = torch.cat([logits, torch.full((1, 2), -30.0, dtype=torch.float64)], -1)
    assert (TopK(10).inclusion(wide)[:, :128] - TopK(10).inclusion(logits)).abs().max() < 0.06


def test_the_gradient_of_a_set_probability_is_finite_at_extreme_logits():
    logits = torch.tensor([[40.0, -40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    z = torch.tensor([[[[False, True, False]]]])
    TopK(1).log_prob(logits, z).sum().backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: TopK(0), "k=0"),
        (lambda: ConcreteTopK(-1), "k=-1"),
        (lambda: TopK(4).mode(torch.zeros(1, 3)), "k=4 exceeds the 3 players"),
        (lambda: Bernoulli().support(40), r"2\*\*40"),
        (lambda: TopK(20).support(60), "Use another gradient"),
        (
            lambda: ConcreteTopK(4).noise(torch.zeros(1, 3), 1, 1, None),
            "k=4 exceeds the 3 players of the selector",
        ),
        (
            lambda: ConcreteTopK(17).log_prob(torch.zeros(1, 20), torch.ones(1, 1, 1, 20).bool()),
            "a mask of 20 players",
        ),
        (lambda: make_law("beta"), "law='beta'"),
        (lambda: make_law("top-k"), "pass k"),
        (lambda: make_law("bernoulli", 3), "pass k"),
    ],
)
def test_impossible_laws_are_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_log_prob_of_all_players_is_sure(logits):
    z = torch.ones(1, 1, 2, 6, dtype=torch.bool)
    assert TopK(6).log_prob(logits, z).abs().max() == 0
    assert math.isclose(TopK(6).inclusion(logits).min().item(), 1.0)
