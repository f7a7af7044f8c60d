"""Laws of gradient attributions: closed forms, completeness, and captum's own figures."""

import math
import warnings

import pytest
import torch
from torch import nn

from baselines import (
    LRP,
    AttentionRollout,
    DeepLift,
    ExpectedGradients,
    GradientXInput,
    GuidedBackprop,
    IntegratedGradients,
    Saliency,
    SmoothGrad,
)

B, N, K = 4, 6, 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=seeded(seed), dtype=torch.float64)


def network(n: int = N, k: int = K, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(n, 8), activation(), nn.Linear(8, 8), activation(), nn.Linear(8, k)]
        return nn.Sequential(*layers).double().eval()


class TwoInputs(nn.Module):
    """Reads two tensors and a shift, as captum's multi-input models do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = network(N + 4)

    def forward(self, a: torch.Tensor, b: torch.Tensor, shift: torch.Tensor | float = 0.0):
        joined = torch.cat([a, b.flatten(1)], -1)
        shift = shift[:, None] if isinstance(shift, torch.Tensor) else shift
        return self.net(joined + shift).tanh()


X = normal(B, N, seed=1)
ROWS = normal(9, N, seed=2)
WEIGHT, OFFSET = normal(N, K, seed=3), normal(K, seed=4)


def linear(rows: torch.Tensor) -> torch.Tensor:
    return rows @ WEIGHT + OFFSET


def test_on_a_linear_model_every_method_is_its_closed_form():
    base = ROWS[0]
    rows_mean = ROWS.mean(0)
    closed = {
        Saliency(linear): WEIGHT.abs().expand(B, -1, -1),
        Saliency(linear, absolute=False): WEIGHT.expand(B, -1, -1),
        SmoothGrad(linear, n_draws=3): WEIGHT.expand(B, -1, -1),
        GradientXInput(linear): X[..., None] * WEIGHT,
        IntegratedGradients(linear, base, n_steps=1): (X - base)[..., None] * WEIGHT,
        ExpectedGradients(linear, ROWS, n_steps=1): (X - rows_mean)[..., None] * WEIGHT,
    }
    for explainer, wanted in closed.items():
        values = explainer.explain(X).values
        torch.testing.assert_close(values, wanted, rtol=0, atol=1e-12, msg=explainer.method)


def test_integrated_gradients_add_up_and_say_what_they_lack():
    net = network()
    few = IntegratedGradients(net, ROWS[0], n_steps=2).explain(X)
    many = IntegratedGradients(net, ROWS[0], n_steps=50).explain(X)
    due = (net(X) - net(ROWS[:1])).detach()
    for e in (few, many):
        torch.testing.assert_close(e.diagnostics["additivity_gap"], due - e.values.sum(1))
        torch.testing.assert_close(e.base_values, net(ROWS[:1]).detach().expand(B, -1))
    assert many.diagnostics["additivity_gap"].abs().max() < 1e-10
    assert few.diagnostics["additivity_gap"].abs().max() > 1e-4
    assert (few.n_evals, many.n_evals) == (4, 52)


def test_integrated_gradients_double_their_nodes_until_the_gap_is_small():
    net = network(activation=nn.ReLU)
    fixed = IntegratedGradients(net, n_steps=8).explain(4 * X)
    until = IntegratedGradients(net, n_steps=8, tolerance=1e-3).explain(4 * X)
    gap = until.diagnostics["additivity_gap"].abs()
    due = (until.values.sum(1) + until.diagnostics["additivity_gap"]).abs().clamp(min=1)
    assert fixed.diagnostics["additivity_gap"].abs().max() > 1e-3
    assert until.n_evals > 8 + 2
    assert (gap <= 1e-3 * due).all() or until.n_evals == 2 + 8 * 31


def test_expected_gradients_are_the_weighted_mean_of_integrated_gradients():
    net = network()
    weights = torch.arange(1.0, 10.0, dtype=torch.float64)
    wanted = sum(
        w * IntegratedGradients(net, row).explain(X).values
        for w, row in zip(weights / weights.sum(), ROWS, strict=True)
    )
    e = ExpectedGradients(net, ROWS, weights, n_steps=400).explain(X)
    torch.testing.assert_close(e.values, wanted, rtol=0, atol=2e-4)
    assert e.diagnostics["additivity_gap"].abs().max() < 2e-3
    torch.testing.assert_close(
        e.base_values, ((weights / weights.sum()) @ net(ROWS)).detach().expand(B, -1)
    )
    draws = torch.stack(
        [
            ExpectedGradients(net, ROWS, weights, n_steps=2, generator=seeded(s)).explain(X).values
            for s in range(40)
        ]
    )
    error = draws.std(0) / 40**0.5
    assert ((draws.mean(0) - wanted).abs() <= 4.5 * error + 1e-6).all()
    # one place per piece of each line beats as many places drawn freely
    assert draws.std(0).mean() < 0.1


def test_saliency_gradient_and_integrated_gradients_equal_captum():
    captum = pytest.importorskip("captum.attr")
    net = network()
    target = torch.tensor([0, 2, 1, 1])
    pairs = [
        (Saliency(net).attribute(X, target=target), captum.Saliency(net), {}),
        (GradientXInput(net).attribute(X, target=target), captum.InputXGradient(net), {}),
        (
            IntegratedGradients(net).attribute(X, ROWS[:1], target),
            captum.IntegratedGradients(net),
            {"baselines": ROWS[:1]},
        ),
    ]
    for ours, theirs, options in pairs:
        wanted = theirs.attribute(X.clone().requires_grad_(), target=target, **options)
        torch.testing.assert_close(ours, wanted.detach(), rtol=0, atol=1e-6)
    _, delta = IntegratedGradients(net, n_steps=3).attribute(
        X, target=target, return_convergence_delta=True
    )
    _, wanted = captum.IntegratedGradients(net).attribute(
        X, target=target, n_steps=3, return_convergence_delta=True
    )
    torch.testing.assert_close(delta, wanted, rtol=0, atol=1e-6)


def test_tuples_and_further_arguments_follow_captum():
    captum = pytest.importorskip("captum.attr")
    net = TwoInputs()
    inputs = (X, normal(B, 2, 2, seed=6))
    shift = normal(B, seed=7)
    ours = IntegratedGradients(net).attribute(
        inputs, baselines=(0.5, 0.0), target=1, additional_forward_args=shift
    )
    theirs = captum.IntegratedGradients(net).attribute(
        inputs, baselines=(0.5, 0.0), target=1, additional_forward_args=shift
    )
    assert isinstance(ours, tuple)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    values = Saliency(net).explain(inputs).values
    assert values.shape == (B, N + 4, K)
    single = Saliency(net).attribute(inputs, target=2)
    torch.testing.assert_close(values[:, N:, 2], single[1].flatten(1))


def test_captum_backed_rules_answer_for_all_outputs_at_once():
    captum = pytest.importorskip("captum.attr")
    net = network(activation=nn.ReLU)
    for ours, theirs in (
        (DeepLift(net, ROWS[:1]), lambda t: captum.DeepLift(net).attribute(X, ROWS[:1], target=t)),
        (LRP(net), lambda t: captum.LRP(net).attribute(X.clone(), target=t)),
        (GuidedBackprop(net), lambda t: captum.GuidedBackprop(net).attribute(X.clone(), target=t)),
    ):
        e = ours.explain(X)
        assert e.values.shape == (B, N, K)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # captum speaks of its hooks
            for t in range(K):
                torch.testing.assert_close(e.values[..., t], theirs(t).detach(), atol=1e-9, rtol=0)
        torch.testing.assert_close(ours.attribute(X, target=1), e.values[..., 1])
    gap = DeepLift(net, ROWS[:1]).explain(X).diagnostics["additivity_gap"]
    assert gap.abs().max() < 1e-9


def test_deeplift_needs_modules_and_says_so():
    pytest.importorskip("captum")
    with pytest.raises(TypeError, match=r"nn\.Module"):
        DeepLift(linear)


def test_groups_are_sums_of_their_features():
    net = network()
    groups = {"left": [0, 1, 2], "right": [3, 4, 5]}
    whole = IntegratedGradients(net).explain(X)
    grouped = IntegratedGradients(net, groups=groups).explain(X)
    assert grouped.player_names() == ("left", "right")
    torch.testing.assert_close(grouped.values[:, 0], whole.values[:, :3].sum(1))
    torch.testing.assert_close(grouped.values[:, 1], whole.values[:, 3:].sum(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: IntegratedGradients(network(), n_steps=7, **o),
        lambda **o: ExpectedGradients(network(), ROWS, n_steps=2, **o),
        lambda **o: SmoothGrad(network(), n_draws=5, **o),
        lambda **o: Saliency(network(), **o),
    ],
)
def test_the_row_budget_changes_nothing_and_is_kept(make):
    seen = []

    def spied(explainer):
        inner = explainer.model

        def model(rows):
            seen.append(len(rows))
            return inner(rows)

        explainer.model = model
        return explainer

    whole = make().explain(X).values
    parts = spied(make(max_rows=3)).explain(X).values
    torch.testing.assert_close(whole, parts, rtol=0, atol=1e-12)
    graph_rows = [n for n in seen if n not in (B, len(ROWS))]
    assert max(graph_rows) <= 3


def test_explaining_moves_neither_gradients_of_weights_nor_a_frozen_context():
    net = network()
    with torch.no_grad():
        values = IntegratedGradients(net).explain(X).values
    with torch.inference_mode():
        frozen = X.clone()
        again = IntegratedGradients(net).explain(frozen).values
    assert not values.requires_grad
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(values, again.clone())


def test_attribute_without_a_target_serves_models_of_one_output_only():
    one = network(k=1)
    torch.testing.assert_close(
        Saliency(one).attribute(X), Saliency(lambda rows: one(rows)[:, 0]).attribute(X)
    )
    with pytest.raises(ValueError, match="3 outputs"):
        Saliency(network()).attribute(X)
    with pytest.raises(ValueError, match="out of range"):
        Saliency(network()).attribute(X, target=3)
    with pytest.raises(ValueError, match="one per explicand"):
        Saliency(network()).attribute(X, target=[0, 1])


@pytest.mark.parametrize(
    ("make", "x", "error", "word"),
    [
        (lambda: Saliency(linear), X * math.nan, ValueError, "NaN"),
        (lambda: Saliency(linear), X.long(), TypeError, "floating-point"),
        (lambda: Saliency(linear), X[:0], ValueError, "at least one"),
        (lambda: Saliency(lambda rows: rows.detach()), X, ValueError, "no gradient"),
        (lambda: Saliency(lambda rows: rows[:, None]), X, ValueError, "model returned"),
        (lambda: Saliency(3), X, TypeError, "cannot be called"),
        (lambda: IntegratedGradients(linear, torch.zeros(2)), X, ValueError, "baseline has shape"),
        (lambda: IntegratedGradients(linear, n_steps=0), X, ValueError, "n_steps=0"),
        (lambda: ExpectedGradients(linear, ROWS[:, :2]), X, ValueError, "background has"),
        (lambda: ExpectedGradients(linear, ROWS, torch.ones(2)), X, ValueError, "weights"),
        (lambda: SmoothGrad(linear, n_draws=0), X, ValueError, "n_draws=0"),
    ],
)
def test_bad_input_is_refused_by_name(make, x, error, word):
    with pytest.raises(error, match=word):
        make().explain(x)


def tiny_bert(vocabulary: int = 40):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config).eval()


def test_attention_rollout_is_the_product_of_mixed_attention_matrices():
    model = tiny_bert()
    ids = torch.randint(5, 40, (2, 6), generator=seeded())
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    before = model.config._attn_implementation
    e = AttentionRollout(model).explain({"input_ids": ids, "attention_mask": mask})
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    attentions = model(ids, attention_mask=mask, output_attentions=True).attentions
    product = torch.eye(6)
    for layer in attentions:
        product = (0.5 * layer.mean(1) + 0.5 * torch.eye(6)) @ product
    torch.testing.assert_close(e.values[0, :, 0], product[0, 0].detach())
    torch.testing.assert_close(e.values[0].sum(), torch.tensor(1.0))
    assert e.estimand == "attention"
    assert e.player_mask.tolist()[1] == [True] * 4 + [False] * 2
    assert (e.values[1, 4:] == 0).all()


def test_integrated_gradients_take_captums_arguments_in_captums_order():
    captum = pytest.importorskip("captum.attr")
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    x = torch.rand(3, 4)
    given = (x, 0.5, 1, None, 20, "gausslegendre", 4, True)
    own, gap = IntegratedGradients(model).attribute(*given)
    theirs, due = captum.IntegratedGradients(model).attribute(*given)
    torch.testing.assert_close(own, theirs.to(own), atol=1e-5, rtol=0)
    torch.testing.assert_close(gap, due.to(gap), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="method='riemann_trapezoid'"):
        IntegratedGradients(model).attribute(x, target=1, method="riemann_trapezoid")


def test_saliency_and_deeplift_take_captums_further_arguments_in_captums_order():
    captum = pytest.importorskip("captum.attr")
    net = network()
    for size in (True, False):
        wanted = captum.Saliency(net).attribute(X.clone().requires_grad_(), 1, size)
        torch.testing.assert_close(Saliency(net).attribute(X, 1, size), wanted.detach())
    assert torch.equal(
        Saliency(net, absolute=False).attribute(X, 1), Saliency(net).attribute(X, 1, False)
    )
    scores, gap = DeepLift(net).attribute(X, ROWS[:1], 1, None, True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # captum announces its hooks
        theirs, due = captum.DeepLift(net).attribute(
            X, ROWS[:1], target=1, return_convergence_delta=True
        )
    torch.testing.assert_close(scores, theirs.detach())
    torch.testing.assert_close(gap, due.to(gap), atol=1e-6, rtol=0)


def test_expected_gradients_take_the_place_of_captums_gradient_shap():
    captum = pytest.importorskip("captum.attr")
    net = network()
    ours, gap = ExpectedGradients(net).attribute(
        X, ROWS, n_samples=4_000, target=1, return_convergence_delta=True
    )
    assert torch.equal(
        ours, ExpectedGradients(net, ROWS, n_steps=-(-4_000 // len(ROWS))).attribute(X, target=1)
    )
    torch.testing.assert_close(
        gap, ours.flatten(1).sum(1) - (net(X)[:, 1] - net(ROWS)[:, 1].mean()).detach()
    )
    assert gap.abs().max() <= 1e-3
    torch.manual_seed(0)
    theirs = captum.GradientShap(net).attribute(X, ROWS, n_samples=4_000, target=1)
    assert (ours - theirs).abs().max() <= 0.1 * ours.abs().max()
    for call, words in (
        (lambda: ExpectedGradients(net).attribute(X, target=1), "no background"),
        (lambda: ExpectedGradients(net).explain(X), "no background"),
        (lambda: ExpectedGradients(net, weights=torch.ones(3)), "weights are those"),
        (lambda: ExpectedGradients(net, ROWS).attribute(X, stdevs=0.1, target=1), "stdevs=0.1"),
        (lambda: ExpectedGradients(net, ROWS).attribute(X, n_samples=0, target=1), "n_samples=0"),
    ):
        with pytest.raises(ValueError, match=words):
            call()
