"""Laws of LEX: axes, signs, soft labels, chunks, regimes, presets, files."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from amortized import LEX, presets
from amortized.lex.fitting import SelectorStage
from amortized.lex.gradients import Enumeration, Pathwise, Rebar, Reinforce, log_mean_exp
from amortized.lex.masks import Bernoulli, ConcreteTopK, TopK
from amortized.lex.predictor import BlackBox, ConvPredictor, MLPPredictor
from amortized.lex.rate import rate_level
from amortized.lex.selector import ConvSelector, MLPSelector, bend
from amortized.lex.words import WordSelector
from baselines import (
    BaselineImputer,
    CallableImputer,
    Explanation,
    GaussianImputer,
    MarginalImputer,
)


def rows_and_labels(n_rows=60, n_features=5, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(n_rows, n_features))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


def small(**settings):
    x, _ = rows_and_labels()
    settings = {"imputer": GaussianImputer.fit(x), "width": 8, "random_state": 0} | settings
    lex = LEX.for_tabular(5, 2, **settings)
    lex.classes = [0, 1]
    return lex.double()


@pytest.fixture
def batch():
    x, y = rows_and_labels(7)
    return torch.from_numpy(x), torch.from_numpy(y)


def test_every_row_of_the_flattened_batch_carries_its_own_x_z_and_y():
    """With row i constant at i, the predictor must see i where z is true and the fill elsewhere."""
    m, l, b, r, n = 2, 3, 5, 4, 6
    x = torch.arange(b, dtype=torch.float64)[:, None].expand(b, n).clone()
    fills = -1.0 - torch.arange(r, dtype=torch.float64)

    class Echo(nn.Module):
        def forward(self, rows):
            return rows

    lex = LEX(
        MLPSelector(n),
        Echo(),
        CallableImputer(lambda x, present, generator: fills[:, None].expand(r, n), n_draws=r),
        task="regression",
        imputations=None,
    ).double()
    z = torch.rand(m, l, b, n, generator=torch.Generator().manual_seed(0)) < 0.5
    seen = lex.log_probs(x, z)  # (m, l, b, r, n)
    expected = torch.where(z[:, :, :, None], x[:, None], fills[:, None])
    assert torch.equal(seen, expected)


def test_the_likelihood_averages_probabilities_over_imputations(batch):
    x, y = batch
    lex = small()
    z = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(1)) < 0.5
    w = lex.value(x, y, torch.Generator().manual_seed(2))(z)
    answers = lex.log_probs(x, z, torch.Generator().manual_seed(2))
    by_hand = torch.log(answers.exp().mean(3))[..., 0].where(
        y == 0, answers.exp().mean(3).log()[..., 1]
    )
    assert (w - by_hand).abs().max() < 1e-12
    # the authors' sign, +logmeanexp(-log p), is an upper bound on the loss instead
    wrong = log_mean_exp(-answers, 3)
    assert (wrong >= -log_mean_exp(answers, 3) - 1e-12).all()
    assert (wrong - (-log_mean_exp(answers, 3))).max() > 1e-4


@pytest.mark.parametrize("gradient", [Reinforce(), Pathwise(0.5), Rebar(0.5)], ids=str)
def test_soft_labels_that_are_certain_equal_hard_ones(batch, gradient):
    x, y = batch
    lex = small(gradient=gradient, l=2, regime="free")
    losses = [
        lex.draw(x, target, torch.Generator().manual_seed(3)).loss
        for target in (y, nn.functional.one_hot(y, 2).double())
    ]
    assert (losses[0] - losses[1]).abs().max() < 1e-10


def test_soft_labels_take_the_cross_entropy_of_the_mean_probability(batch):
    x, _ = batch
    lex = small(gradient=Enumeration(), m=1, imputer=BaselineImputer(0.0))
    q = torch.softmax(torch.randn(7, 2, generator=torch.Generator().manual_seed(0)).double(), -1)
    loss = lex.draw(x, q).loss
    masks = Bernoulli().support(5)
    p = (
        Bernoulli()
        .log_prob(lex.selector(x), masks[:, None, None].expand(-1, 1, 7, -1))
        .exp()[:, 0]
    )
    answers = torch.log_softmax(lex.predictors[0](masks[:, None] * x), -1)  # (q, b, c)
    by_hand = -(p[..., None] * q * answers).sum((0, 2))
    assert (loss - by_hand).abs().max() < 1e-12


@pytest.mark.parametrize("max_rows", [1, 7, 33])
def test_loss_and_gradients_do_not_depend_on_max_rows(batch, max_rows):
    x, y = batch
    found = []
    for size in (None, max_rows):
        lex = small(regime="free", max_rows=size, l=2)
        lex.draw(x, y, torch.Generator().manual_seed(4)).loss.sum().backward()
        found.append([p.grad for p in lex.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 6
    for whole, parts in zip(*found, strict=True):
        assert torch.allclose(whole, parts, rtol=1e-5, atol=1e-12)


def test_the_bound_rises_with_masks_and_reaches_the_likelihood(batch):
    x, y = batch
    lex = small(imputer=BaselineImputer(0.0))
    masks = Bernoulli().support(5)
    log_p = Bernoulli().log_prob(lex.selector(x), masks[:, None, None].expand(-1, 1, 7, -1))[:, 0]
    answers = torch.log_softmax(lex.predictors[0](masks[:, None] * x), -1)
    w = answers.gather(-1, y.expand(len(masks), -1)[..., None])[..., 0]
    exact = torch.logsumexp(log_p + w, 0)
    low, high = (lex.log_likelihood(x, y.numpy(), m=400, l=l) for l in (1, 64))
    assert (high > low - 0.003).all()
    assert (high - exact).abs().max() < 0.01


def test_regression_has_a_gaussian_likelihood():
    lex = LEX.for_tabular(3, None, imputer=BaselineImputer(0.0), width=4, random_state=0).double()
    with torch.no_grad():
        lex.log_scale.fill_(0.3)
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y = torch.linspace(-1, 1, 6, dtype=torch.float64)
    z = torch.ones(1, 1, 6, 3, dtype=torch.bool)
    found = lex.value(x, y)(z)[0, 0]
    expected = torch.distributions.Normal(
        lex.predictors[0](x)[:, 0], torch.tensor(0.3, dtype=torch.float64).exp()
    ).log_prob(y)
    assert (found - expected).abs().max() < 1e-12


def test_l2x_is_the_direct_program_on_the_same_noise(batch):
    x, y = batch
    lex = small(**presets.l2x(k=3))
    loss = lex.draw(x, y, torch.Generator().manual_seed(5)).loss.mean()
    loss.backward()
    ours = [p.grad.clone() for p in (*lex.selector.parameters(), *lex.predictors.parameters())]
    lex.zero_grad()
    # L2X, written directly: k concrete draws, their maximum, the masked input, cross-entropy
    noise = ConcreteTopK(3).noise(lex.selector(x), 1, 1, torch.Generator().manual_seed(5))[0, 0]
    gumbel = -torch.log(-torch.log(noise))
    draws = torch.softmax((lex.selector(x)[:, None] + gumbel) / 0.1, -1)
    direct = nn.functional.cross_entropy(lex.predictors[0](x * draws.amax(1)), y)
    direct.backward()
    theirs = [p.grad for p in (*lex.selector.parameters(), *lex.predictors.parameters())]
    assert abs(loss - direct) < 1e-10
    assert all((a - b).abs().max() < 1e-8 for a, b in zip(ours, theirs, strict=True))


def test_invase_is_reward_times_score_on_the_same_masks(batch):
    x, y = batch
    lex = small(**presets.invase())
    lex.predictors.requires_grad_(False)
    lex.draw(x, y, torch.Generator().manual_seed(6)).loss.mean().backward()
    ours = [p.grad.clone() for p in lex.selector.parameters()]
    lex.zero_grad()
    g = lex.selector(x)
    z = Bernoulli().hard(g, Bernoulli().noise(g, 1, 1, torch.Generator().manual_seed(6)))[0, 0]
    critic = torch.log_softmax(lex.predictors[0](x * z), -1).gather(-1, y[:, None])[:, 0]
    base = torch.log_softmax(lex.baseline(x), -1).gather(-1, y[:, None])[:, 0]
    p = torch.sigmoid(g)
    score = torch.where(z, p.log(), (1 - p).log()).sum(-1)
    (-((critic - base).detach() * score).mean()).backward()
    theirs = [p.grad for p in lex.selector.parameters()]
    assert all((a - b).abs().max() < 1e-8 for a, b in zip(ours, theirs, strict=True))


def test_invase_of_numbers_rewards_by_the_gaussian_likelihood(batch):
    x, y = batch[0], batch[0] @ torch.tensor([1.0, -1.0, 0.0, 0.5, 0.0], dtype=torch.float64)
    settings = {"imputer": GaussianImputer.fit(x), "width": 8, "random_state": 0}
    lex = LEX.for_tabular(5, None, **(settings | presets.invase())).double()
    lex.predictors.requires_grad_(False)
    torch.nn.init.constant_(lex.log_scale, -0.3)
    lex.draw(x, y, torch.Generator().manual_seed(6)).loss.mean().backward()
    ours = gradients([lex.selector])
    lex.zero_grad()
    g = lex.selector(x)
    z = Bernoulli().hard(g, Bernoulli().noise(g, 1, 1, torch.Generator().manual_seed(6)))[0, 0]
    scale = lex.log_scale.detach().exp()
    told = [torch.distributions.Normal(net(rows)[:, 0], scale).log_prob(y)
            for net, rows in ((lex.predictors[0], x * z), (lex.baseline, x))]  # fmt: skip
    p = torch.sigmoid(g)
    score = torch.where(z, p.log(), (1 - p).log()).sum(-1)
    (-((told[0] - told[1]).detach() * score).mean()).backward()
    assert all(
        (a - b).abs().max() < 1e-8 for a, b in zip(ours, gradients([lex.selector]), strict=True)
    )


def gradients(modules):
    return [p.grad.clone() for module in modules for p in module.parameters()]


def test_realx_is_rebar_through_the_surrogate_on_the_same_masks(batch):
    x, y = batch
    lex = small(**presets.realx())
    lex.predictors.requires_grad_(False)
    stage = SelectorStage(lex, 100)
    stage.step.fill_(100)  # the price is paid in full
    owners = torch.zeros(len(x), dtype=torch.int64)
    loss = stage.loss((x, y, owners), torch.Generator().manual_seed(7))
    loss.backward()
    ours = gradients([lex.selector])
    lex.zero_grad()
    # REAL-X, written directly: two relaxations of one mask, zeros where nothing is shown
    generator = torch.Generator().manual_seed(7)
    g, law = lex.selector(x), Bernoulli()
    u, v = (law.noise(g, 1, 1, generator)[0, 0] for _ in range(2))
    z = (g + torch.logit(u) > 0).double()
    p = torch.sigmoid(g)
    given = torch.where(z > 0, v * p + 1 - p, v * (1 - p))
    soft, again = (torch.sigmoid((g + torch.logit(noise)) / 0.1) for noise in (u, given))

    def says(mask):
        return torch.log_softmax(lex.predictors[0](x * mask), -1).gather(-1, y[:, None])[:, 0]

    score = (z * p.log() + (1 - z) * (1 - p).log()).sum(-1)
    control = says(soft) - says(again)
    estimate = (says(z) - says(again)).detach() * score + control
    price = 0.005 * p.sum(-1)
    assert abs(loss - (-(says(z) - says(again)) * score - says(z) + price).mean()) < 1e-8
    (-estimate + price).mean().backward()
    theirs = gradients([lex.selector])
    assert all((a - b).abs().max() < 1e-8 for a, b in zip(ours, theirs, strict=True))


def test_rationales_are_a_score_function_with_two_prices_on_the_same_masks(batch):
    x, y = batch
    lex = small(**presets.rationale(price=0.01, coherence=0.02))
    stage = SelectorStage(lex, 100)
    stage.step.fill_(100)
    owners = torch.zeros(len(x), dtype=torch.int64)
    loss = stage.loss((x, y, owners), torch.Generator().manual_seed(8))
    loss.backward()
    ours = gradients([lex.selector, lex.predictors])
    lex.zero_grad()
    g = lex.selector(x)
    z = Bernoulli().hard(g, Bernoulli().noise(g, 1, 1, torch.Generator().manual_seed(8)))[0, 0]
    answers = nn.functional.cross_entropy(lex.predictors[0](x * z), y, reduction="none")
    p = torch.sigmoid(g)
    score = torch.where(z, p.log(), (1 - p).log()).sum(-1)
    before, after = p[:, :-1], p[:, 1:]
    edges = (before * (1 - after) + after * (1 - before)).sum(-1)  # E |z_t - z_(t-1)|
    direct = (answers.detach() * score + answers + 0.01 * p.sum(-1) + 0.02 * edges).mean()
    direct.backward()
    theirs = gradients([lex.selector, lex.predictors])
    assert abs(loss - direct) < 1e-8
    assert all((a - b).abs().max() < 1e-8 for a, b in zip(ours, theirs, strict=True))


def test_realx_leaves_its_surrogate_alone():
    x, y = rows_and_labels(80)
    lex = LEX.for_tabular(5, 2, width=8, random_state=0, **presets.realx())
    lex.fit(x, y, epochs=1, predictor_epochs=2, random_state=0)
    before = {k: v.clone() for k, v in lex.predictors.state_dict().items()}
    lex.fit(x, y, epochs=2, random_state=1, train_predictor=False)
    assert all(torch.equal(v, before[k]) for k, v in lex.predictors.state_dict().items())


def test_the_rationale_preset_pays_for_boundaries():
    lex = small(**presets.rationale())
    logits = torch.tensor([[40.0, 40.0, -40.0, 40.0, -40.0]], dtype=torch.float64)
    assert abs(lex.boundaries(logits).item() - 3) < 1e-12
    assert lex.coherence > 0


@pytest.mark.parametrize("rate", [0.05, 0.4, 0.9])
def test_the_level_holds_the_rate_and_its_gradient(rate):
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    level = rate_level(logits, rate)
    assert abs(torch.sigmoid(logits - level).mean() - rate) < 1e-9
    assert torch.autograd.gradcheck(lambda g: rate_level(g, rate), logits, atol=1e-6)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_a_fitted_selector_has_the_asked_rate(rate):
    x, y = rows_and_labels(400)
    lex = LEX.for_tabular(
        5, 2, imputer=GaussianImputer.fit(x), target_rate=rate, width=16, random_state=0
    ).fit(x, y, epochs=5, predictor_epochs=5, random_state=0)
    assert abs(lex.explain(x).values.mean() - rate) < 0.02


@pytest.mark.parametrize(
    ("name", "settings"),
    {
        "l2x": presets.l2x(k=2),
        "invase": presets.invase(),
        "realx": presets.realx(),
        "rationale": presets.rationale(),
        "fixed": presets.lex_fixed(BaselineImputer(0.0), 0.4),
        "joint": presets.lex_joint(BaselineImputer(0.0), 0.4),
        "plugged": dict(imputer=BaselineImputer(0.0), target_rate=0.4, **presets.lex_joint()),
        "cross-fitted": presets.lex_fixed(BaselineImputer(0.0), 0.4) | {"folds": 2},
        "top-k": {"imputer": BaselineImputer(0.0), "law": TopK(2)},
    }.items(),
)
def test_every_preset_trains_explains_and_is_stored(name, settings, tmp_path):
    x, y = rows_and_labels(200)
    labels = np.array(["no", "yes"])[y]
    lex = LEX.for_tabular(5, 2, width=8, random_state=0, **settings)
    lex.fit(x, labels, epochs=2, predictor_epochs=2, random_state=0)
    e = lex.explain(x[:9])
    assert isinstance(e, Explanation)
    assert e.estimand == "selection"
    assert e.shape == (9, 5, 1)
    assert (e.values >= 0).all()
    assert (e.values <= 1).all()
    assert not e.exact
    assert e.diagnostics["between_imputations"].shape == (9, 2)
    p = lex.predict_proba(x[:9])
    assert (p.sum(-1) - 1).abs().max() < 1e-5
    lex.save_pretrained(tmp_path / "lex")
    again = LEX.from_pretrained(tmp_path / "lex")
    assert torch.equal(again.explain(x[:9]).values, e.values)
    assert torch.equal(again.predict_proba(x[:9]), p)
    assert again.classes == ["no", "yes"]
    assert again.settings == lex.settings


def test_logits_never_lose_their_order_in_float32():
    """A tanh is flat from about twice its bound on, where trained selectors do arrive."""
    steps = torch.linspace(-60, 60, 120_001)
    for bound in (1.0, 5.0):
        assert (bend(steps, bound).diff() > 0).all()
    at = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bend(at, 5.0).backward()
    assert abs(at.grad - 1) < 1e-12
    assert bend(torch.tensor(100.0), 5.0) < 7


@pytest.mark.parametrize("kind", ["rows", "images", "words"])
def test_sure_selectors_rank_players_as_their_last_layer_does(kind, generator):
    selector, x = {
        "rows": lambda: (MLPSelector(6, 40), torch.randn(50, 6, generator=generator)),
        "images": lambda: (
            ConvSelector(1, (24, 24)),
            torch.rand(50, 1, 24, 24, generator=generator),
        ),
        "words": lambda: (WordSelector(90, 40), torch.arange(2, 82).reshape(2, 40)),
    }[kind]()
    seen: list[torch.Tensor] = []
    selector.head.register_forward_hook(lambda module, given, out: seen.append(out))
    with torch.no_grad():
        selector.head.weight.mul_(30)
        selector.head.bias.fill_(60.0)  # logits far beyond the bound
        bent = selector(x)
    raw = seen[0].reshape(bent.shape)
    above = raw[..., None] > raw[..., None, :] + 1e-3
    assert above.float().mean() > 0.4  # there is an order to lose
    assert (bent[..., None] > bent[..., None, :])[above].all()


def test_explaining_twice_gives_the_same_bits_and_moves_no_generator():
    x, _ = rows_and_labels()
    lex = small()
    before = torch.get_rng_state()
    assert torch.equal(lex.explain(x).values, lex.explain(x).values)
    assert torch.equal(before, torch.get_rng_state())


def test_the_same_seed_gives_the_same_weights():
    x, y = rows_and_labels(120)

    def weights():
        lex = LEX.for_tabular(
            5, 2, imputer=GaussianImputer.fit(x), target_rate=0.4, width=8, random_state=3
        ).fit(x, y, epochs=2, predictor_epochs=2, random_state=3)
        return lex.state_dict()

    one, two = weights(), weights()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_a_black_box_is_explained_by_its_own_answers():
    x, _ = rows_and_labels(300)

    def box(rows):
        p = torch.sigmoid(4 * rows[:, 0])
        return torch.stack([1 - p, p], -1)

    lex = LEX(
        MLPSelector(5, width=16), BlackBox(box), GaussianImputer.fit(x), target_rate=0.3
    ).fit(x, epochs=40, batch_size=50, random_state=0)
    inclusion = lex.explain(x).values[..., 0].mean(0)
    assert inclusion.argmax() == 0
    assert inclusion[0] > 0.8


def test_images_are_selected_by_patches():
    images = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    lex = LEX.for_images(
        1,
        (8, 8),
        2,
        imputer=BaselineImputer(0.0),
        patch=4,
        target_rate=0.4,
        width=4,
        random_state=0,
    ).fit(images, np.arange(12) % 2, epochs=2, predictor_epochs=1, random_state=0)
    assert lex.explain(images).shape == (12, 4, 1)
    z = torch.zeros(1, 1, 12, 4, dtype=torch.bool)
    z[..., 1] = True
    shown = lex.feature_masks(z[0, 0]).reshape(12, 1, 8, 8)
    assert shown[:, :, :4, 4:].all()
    assert shown.sum() == 12 * 16


def test_a_feature_without_a_player_is_never_shown():
    """Group -1: the selector reads the feature, the predictor never does."""
    x, _ = rows_and_labels(9)
    groups = torch.tensor([-1, 0, 0, 1, 2])
    lex = small(groups=groups, imputer=BaselineImputer(0.0))
    z = torch.ones(1, 1, 9, 3, dtype=torch.bool)
    rows = torch.from_numpy(x)
    other = rows.clone()
    other[:, 0] += 3
    assert torch.equal(lex.log_probs(rows, z), lex.log_probs(other, z))
    other[:, 4] += 3
    assert not torch.equal(lex.log_probs(rows, z), lex.log_probs(other, z))
    assert lex.explain(x).shape == (9, 3, 1)


def test_the_spread_of_a_prediction_is_split_without_remainder():
    """Between selections + between imputations + within = p (1 - p) of the mixture."""
    x, _ = rows_and_labels(8)
    parts = small(imputations=6).explain(x).diagnostics
    names = ("between_selections", "between_imputations", "within_imputation")
    lex = small(imputations=6)
    p = lex.predict_proba(x)
    assert (sum(parts[name] for name in names) - p * (1 - p)).abs().max() < 1e-9
    assert all((parts[name] >= 0).all() for name in names)


BAD = {
    "regime": (lambda: small(regime="mixed"), ValueError, "regime='mixed'"),
    "rate": (lambda: small(target_rate=1.0), ValueError, "target_rate=1.0"),
    "rate of a law with its own": (
        lambda: small(target_rate=0.4, law=TopK(2)),
        ValueError,
        "rate of its own",
    ),
    "price": (lambda: small(price=-1.0), ValueError, "price=-1.0"),
    "draws": (lambda: small(m=0), ValueError, "m=0"),
    "missing values": (
        lambda: small().explain(np.array([[np.nan] * 5])),
        ValueError,
        r"NaN or infinity in rows \[0\]",
    ),
    "words": (lambda: small().explain(np.array([["a"] * 5])), TypeError, "no array of numbers"),
    "one axis": (lambda: small().explain(np.zeros(5)), ValueError, "needs"),
    "a column too few": (
        lambda: small().explain(np.zeros((2, 4))),
        ValueError,
        r"x has shape \(2, 4\); this model takes \(b, 5\)",
    ),
    "one column, which would be every column": (
        lambda: small().explain(np.zeros((2, 1))),
        ValueError,
        r"takes \(b, 5\)",
    ),
    "zero rows": (lambda: small().fit(np.zeros((0, 5)), np.zeros(0)), ValueError, "zero rows"),
    "one class": (
        lambda: LEX.for_tabular(5, 2, imputer=BaselineImputer(0.0)).fit(
            np.zeros((20, 5)), np.zeros(20)
        ),
        ValueError,
        "one class",
    ),
    "labels too few": (
        lambda: small().fit(np.zeros((20, 5)), np.zeros(19)),
        ValueError,
        "19 labels",
    ),
    "unknown class": (
        lambda: small().log_likelihood(np.zeros((1, 5)), np.array([7])),
        ValueError,
        r"not fitted: \['7'\]",
    ),
    "no probabilities": (
        lambda: small().encode(np.full((2, 2), 0.9)),
        ValueError,
        "sum to 1",
    ),
    "no labels": (lambda: small().fit(np.zeros((20, 5))), ValueError, "BlackBox"),
    "task": (lambda: small(task="sorting"), ValueError, "task='sorting'"),
    "rows at once": (lambda: small(max_rows=0), ValueError, "max_rows=0"),
    "nobody predicts": (lambda: small(predictor=[]), ValueError, "predictor is an empty list"),
    "an answer that is missing": (
        lambda: LEX.for_tabular(5, None, imputer=BaselineImputer(0.0)).fit(
            np.zeros((20, 5)), np.full(20, np.nan)
        ),
        ValueError,
        "y holds NaN or infinity",
    ),
    "a label that is missing": (
        lambda: LEX.for_tabular(5, 2, imputer=BaselineImputer(0.0)).fit(
            np.zeros((3, 5)), np.array([0.0, 1.0, np.nan])
        ),
        ValueError,
        "y holds missing labels",
    ),
    "labels before there are classes": (
        lambda: LEX.for_tabular(5, 2, imputer=BaselineImputer(0.0)).log_likelihood(
            torch.zeros(1, 5), np.array([1])
        ),
        ValueError,
        "no classes yet",
    ),
    "validation without a row": (
        lambda: small().fit(
            *rows_and_labels(), validation=(np.zeros((0, 5)), np.zeros(0, dtype=int))
        ),
        ValueError,
        "validation holds 0 rows and 0 labels",
    ),
    "a predictor without units": (lambda: MLPPredictor(5, 2, width=0), ValueError, "width=0"),
    "a tiny image": (lambda: ConvPredictor(1, (3, 8), 2), ValueError, r"size=\(3, 8\)"),
    "a selector without layers": (lambda: MLPSelector(5, depth=0), ValueError, "depth=0"),
    "patches that do not fit": (lambda: ConvSelector(1, (8, 8), 3), ValueError, "patch=3"),
    "an unknown scale": (lambda: BlackBox(len, output="odds"), ValueError, "output='odds'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_argument(case):
    call, error, words = BAD[case]
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    "damage", ["truncated", "missing", "version", "weights", "classes", "NaN"]
)
def test_a_damaged_folder_is_refused(tmp_path, damage):
    lex = small(imputer=BaselineImputer(0.0)).float()
    lex.classes = ["no", "yes"]
    if damage == "NaN":
        torch.nn.init.constant_(lex.predictors[0].head.bias, float("nan"))
    lex.save_pretrained(tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    error = ValueError
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-20])
    elif damage == "missing":
        weights.unlink()
        error = FileNotFoundError
    elif damage == "version":
        config.write_text(config.read_text().replace("harsanyi-lex/1", "harsanyi-lex/0"))
    elif damage == "classes":  # the weights would answer under each other's names
        words = json.loads(config.read_text())
        config.write_text(json.dumps(words | {"classes": ["yes", "no"]}))
    elif damage == "weights":
        config.write_text(config.read_text().replace('"depth": 2', '"depth": 3', 1))
    with pytest.raises(error, match=r"model\.safetensors|no complete LEX"):
        LEX.from_pretrained(tmp_path)


def test_a_fresh_process_gives_the_same_selection(tmp_path):
    x, _ = rows_and_labels()
    lex = LEX.for_tabular(5, 2, imputer=GaussianImputer.fit(x), width=8, random_state=0)
    lex.classes = [0, 1]
    lex.save_pretrained(tmp_path / "lex")
    lex.explain(x).save(tmp_path / "here.safetensors")
    np.save(tmp_path / "x.npy", x, allow_pickle=False)
    program = (
        "import sys, numpy as np; from amortized import LEX\n"
        "folder = sys.argv[1]\n"
        "x = np.load(folder + '/x.npy', allow_pickle=False)\n"
        "LEX.from_pretrained(folder + '/lex').explain(x).save(folder + '/there.safetensors')"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=180)
    here, there = (
        Explanation.load(tmp_path / f"{name}.safetensors") for name in ("here", "there")
    )
    assert torch.equal(here.values, there.values)


def test_a_predictor_with_a_mask_channel_sees_nothing_absent():
    net = MLPPredictor(4, 2, width=8, mask_channel=True)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1.0, 0.0, 1.0, 0.0]]).expand(3, -1)
    moved = torch.where(mask.bool(), x, x + 100)
    assert torch.equal(net(x, mask), net(moved, mask))


def test_what_a_lex_cannot_use_is_named():
    make = lambda **settings: LEX.for_tabular(
        3, 2, **({"imputer": BaselineImputer(0.0), "width": 4} | settings)
    )
    for thing in (None, "zeros"):
        with pytest.raises(TypeError, match=f"imputer is a {type(thing).__name__}"):
            make(imputer=thing)
    for name in ("m", "l", "imputations"):
        for count in (1.5, "a", True):
            with pytest.raises(TypeError, match=f"{name}={count!r}"):
                make(**{name: count})
    for k in (1.5, "a", True):
        with pytest.raises(TypeError, match=f"k={k!r}"):
            presets.l2x(k=k)


def test_a_lex_explains_rows_with_masks_or_says_what_is_missing():
    lex = LEX.for_tabular(3, 2, imputer=BaselineImputer(0.0), width=4)
    with pytest.raises(ValueError, match="x has 0 rows"):
        lex.explain(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="masks=0"):
        lex.explain(torch.zeros(2, 3), masks=0)
    with pytest.raises(TypeError, match=r"masks=2\.5"):
        lex.explain(torch.zeros(2, 3), masks=2.5)


def test_labels_and_validation_of_another_form_are_named():
    lex = LEX.for_tabular(3, 2, imputer=BaselineImputer(0.0), width=4)
    X, y = torch.rand(8, 3), torch.arange(8) % 2
    with pytest.raises(ValueError, match=r"y has shape \(8, 1\)"):
        lex.fit(X, y[:, None])
    with pytest.raises(ValueError, match="validation has 1 entries"):
        lex.fit(X, y, validation=(X,))


def test_weights_of_imputations_are_rows_drawn_as_often():
    """A background row of weight 3/4 counts as three rows of four."""
    x, y = rows_and_labels(6)
    one, other = torch.randn(2, 5, generator=torch.Generator().manual_seed(1)).double()
    z = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    found = [
        small(imputer=imputer, imputations=None).value(torch.from_numpy(x), torch.from_numpy(y))(z)
        for imputer in (
            MarginalImputer(torch.stack([one, other]), torch.tensor([0.75, 0.25])),
            MarginalImputer(torch.stack([one, one, other, one])),
        )
    ]
    assert found[0].shape == (2, 3, 6)
    assert (found[0] - found[1]).abs().max() < 1e-6


def test_predictions_do_not_depend_on_how_many_rows_are_seen_at_once():
    x, _ = rows_and_labels(9)
    whole, pieces = small(), small(max_rows=4)
    assert (whole.predict_proba(x) - pieces.predict_proba(x)).abs().max() < 1e-12


@pytest.mark.parametrize("output", ["proba", "logit"])
def test_a_black_box_speaks_in_probabilities_or_in_logits(output):
    x, _ = rows_and_labels(5)
    logits = torch.from_numpy(x[:, :2])
    box = BlackBox(
        lambda rows: rows[:, :2].softmax(-1) if output == "proba" else rows[:, :2], output
    )
    assert (box(torch.from_numpy(x)).softmax(-1) - logits.softmax(-1)).abs().max() < 1e-12


def test_a_regression_is_explained_by_its_own_answers():
    """Without `y`, the answers of the box are what the selection must let one tell."""
    x = torch.randn(300, 3, generator=torch.Generator().manual_seed(0))
    lex = LEX.for_tabular(
        3,
        None,
        imputer=BaselineImputer(0.0),
        regime="frozen",
        predictor=BlackBox(lambda rows: 3 * rows[:, 1], "logit"),
        price=0.5,
        width=8,
        random_state=0,
    )
    lex.fit(x, epochs=25, batch_size=20, learning_rate=1e-2)
    inclusion = lex.explain(x).values[..., 0].mean(0)
    assert inclusion.argmax() == 1
    assert inclusion[1] > inclusion[[0, 2]].max() + 0.3


def test_rows_of_probabilities_name_their_columns_as_classes():
    x, y = rows_and_labels(40)
    soft = np.eye(2)[y]
    lex = LEX.for_tabular(5, 2, imputer=BaselineImputer(0.0), width=4, random_state=0)
    lex.fit(x, soft, validation=(x[:9], soft[:9]), epochs=1, predictor_epochs=1)
    assert lex.classes == [0, 1]
    assert lex.predict_proba(x).shape == (40, 2)


def test_what_cannot_be_stored_is_named(tmp_path):
    with pytest.raises(TypeError, match="the imputer function cannot be saved"):
        small(
            imputer=lambda x, z, generator=None: x[:, None, None] * z[:, :, None]
        ).save_pretrained(tmp_path)

    class Mine(Reinforce):
        """An estimator that no config knows."""

    with pytest.raises(TypeError, match=r"Mine\(.* cannot be saved"):
        small(imputer=BaselineImputer(0.0), gradient=Mine()).save_pretrained(tmp_path)
