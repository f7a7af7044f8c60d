"""Laws of the objectives: one family, unbiased labels, FastSHAP as regression on them."""

import pytest
import torch

from amortized.objectives import (
    Batch,
    KnownNoise,
    LeastSquares,
    MeanSquares,
    Prediction,
    control_variate_labels,
    harmonic_number,
    kernel_coalitions,
    make_objective,
    normalise,
)
from baselines import TableGame, exact_shapley
from baselines.coalitions import all_coalitions

N = 6


@pytest.fixture(scope="module")
def game():
    draws = torch.Generator().manual_seed(3)
    return TableGame(torch.randn(1, 2**N, 2, generator=draws, dtype=torch.float64))


def kernel():
    """All inner coalitions and their probabilities."""
    masks = all_coalitions(N)[1:-1]
    size = masks.sum(1).double()
    choose = torch.tensor([1.0, 6, 15, 20, 15, 6, 1], dtype=torch.float64)[masks.sum(1)]
    weight = 1 / (size * (N - size) * choose)
    return masks, weight / weight.sum()


def parts(game):
    masks, weight = kernel()
    values = game(masks[None])
    ends = game(torch.stack([torch.zeros(N), torch.ones(N)]).bool()[None])
    return masks[None], weight, values, ends


def efficient(game, seed: int = 0) -> torch.Tensor:
    """Some values that sum to v(all) - v(none)."""
    ends = parts(game)[3]
    draws = torch.Generator().manual_seed(seed)
    raw = torch.randn(1, N, 2, generator=draws, dtype=torch.float64)
    return normalise(raw, ends[:, 1] - ends[:, 0], torch.ones(1, N, dtype=torch.bool))


@pytest.mark.parametrize("seed", [0, 1])
def test_labels_around_any_efficient_values_average_to_shapley_values(game, seed) -> None:
    masks, weight, values, ends = parts(game)
    mask = torch.ones(1, N, dtype=torch.bool)
    labels = control_variate_labels(
        efficient(game, seed), masks, values - ends[:, :1], mask, harmonic_number(mask.sum(1))
    )
    mean = (labels * weight[None, :, None, None]).sum(1)
    assert mean.numpy() == pytest.approx(exact_shapley(game).values.numpy(), abs=1e-10)


def test_fastshap_loss_is_squared_error_up_to_a_constant(game) -> None:
    masks, weight, values, ends = parts(game)
    exact, h = exact_shapley(game).values, harmonic_number(torch.tensor([N]))

    def loss(phi):
        gap = values - ends[:, :1] - torch.einsum("bmn,bnk->bmk", masks.double(), phi)
        return 2 * h * (gap.square() * weight[None, :, None]).sum()

    for seed in range(3):
        phi = efficient(game, seed)
        excess = float(loss(phi) - loss(exact))
        assert excess == pytest.approx(float((phi - exact).square().sum()), rel=1e-8)


def test_control_variate_and_fastshap_have_the_same_gradient(game) -> None:
    masks, weight, values, ends = parts(game)
    mask = torch.ones(1, N, dtype=torch.bool)
    h = harmonic_number(mask.sum(1))
    whole = ends[:, 1] - ends[:, 0]
    raw = torch.randn(1, N, 2, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    grads = []
    for kind in ("wls", "cv"):
        free = raw.clone().requires_grad_()
        phi = normalise(free, whole, mask)
        if kind == "wls":
            gap = values - ends[:, :1] - torch.einsum("bmn,bnk->bmk", masks.double(), phi)
            total = 2 * h * (gap.square() * weight[None, :, None]).sum()
        else:
            label = control_variate_labels(phi.detach(), masks, values - ends[:, :1], mask, h)
            mean = (label * weight[None, :, None, None]).sum(1)
            total = (phi - mean).square().sum()
        total.sum().backward()
        grads.append(free.grad)
    assert grads[0].numpy() == pytest.approx(grads[1].numpy(), abs=1e-9)


def test_kernel_sizes_have_shapleys_law_and_pairs_are_complements() -> None:
    mask = torch.arange(9) < torch.tensor([[7]] * 200)
    drawn = kernel_coalitions(mask, 100, torch.Generator().manual_seed(0))
    assert not drawn[..., 7:].any()
    assert torch.equal(drawn[:, 1::2], ~drawn[:, ::2] & mask[:, None])
    sizes = drawn[:, ::2].sum(-1).flatten()
    wanted = torch.tensor([1 / (s * (7 - s)) for s in range(1, 7)])
    wanted = wanted / wanted.sum()
    seen = torch.bincount(sizes, minlength=7)[1:7].float()
    chi = ((seen - len(sizes) * wanted).square() / (len(sizes) * wanted)).sum()
    assert float(chi) < 20.5  # 5 degrees of freedom, p = 0.001
    assert int(torch.bincount(sizes, minlength=8)[[0, 7]].sum()) == 0


def test_kernel_coalitions_of_a_size_are_alike() -> None:
    mask = torch.ones(1, 5, dtype=torch.bool)
    drawn = kernel_coalitions(mask, 20_000, torch.Generator().manual_seed(1))[0, ::2]
    twos = drawn[drawn.sum(1) == 2]
    codes = (twos * 2 ** torch.arange(5)).sum(1)
    seen = torch.bincount(codes)[codes.unique()].float()
    assert len(seen) == 10
    assert float((seen - seen.mean()).abs().max()) < 4 * float(seen.mean()) ** 0.5


def test_one_player_takes_all_and_draws_the_ends() -> None:
    mask = torch.tensor([[True, False], [True, True]])
    drawn = kernel_coalitions(mask, 4, torch.Generator().manual_seed(0))
    assert drawn[0].sum(-1).tolist() == [0, 1, 0, 1]
    assert drawn[1].sum(-1).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("how", ["additive", "precision"])
def test_normalised_values_add_up_and_padding_stays_zero(how) -> None:
    draws = torch.Generator().manual_seed(0)
    values, logs = torch.randn(2, 3, 5, 2, generator=draws, dtype=torch.float64)
    mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    whole = torch.randn(3, 2, generator=draws, dtype=torch.float64)
    found = normalise(values, whole, mask, how, logs)
    assert found.sum(1).numpy() == pytest.approx(whole.numpy(), abs=1e-12)
    assert not found[~mask].any()
    plain = normalise(values, whole, mask, "none")
    moved = (found - plain)[0].abs()
    if how == "precision":
        assert torch.equal(moved.argmax(0), logs[0].argmax(0))
    else:
        assert float(moved.std(0).max()) < 1e-12


def batch(values, noise=0.0, play=None) -> Batch:
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    ends = torch.stack([torch.zeros_like(values[:, 0]), values.sum(1)], 1)
    return Batch({}, values, mask, torch.full_like(values[:, 0], noise), ends, play)


def said(values, logs=None) -> Prediction:
    mask = torch.ones(values.shape[:2], dtype=torch.bool)
    return Prediction(values, logs, torch.zeros(len(values), 2, values.shape[2]), mask)


def test_known_noise_puts_the_rest_of_the_spread_on_the_prediction() -> None:
    """With labels off by variance 4, of which 3 is their own, the best predicted variance is 1."""
    truth = torch.zeros(1, 4000, 1, dtype=torch.float64)
    noise = 2 * torch.randn(1, 4000, 1, generator=torch.Generator().manual_seed(0))
    label = truth + noise
    slopes = {}
    for spread in (0.25, 0.7, 1.0, 1.4, 3.0):
        logs = torch.full_like(truth, spread).log().requires_grad_()
        loss = KnownNoise()(said(truth, logs), batch(label, 3.0), torch.ones(1), torch.Generator())
        slopes[spread] = float(torch.autograd.grad(loss, logs)[0].sum())
    assert max(slopes[0.25], slopes[0.7]) < 0 < min(slopes[1.4], slopes[3.0])
    assert abs(slopes[1.0]) < 0.3 * min(-slopes[0.7], slopes[1.4])


def test_a_hard_player_is_not_given_up_for_noise() -> None:
    """Equal gaps pull equally, whatever error is predicted for the player."""
    values = torch.zeros(1, 2, 1, dtype=torch.float64, requires_grad=True)
    label = torch.ones(1, 2, 1, dtype=torch.float64)
    logs = torch.tensor([[[-2.0], [2.0]]], dtype=torch.float64)
    loss = KnownNoise()(said(values, logs), batch(label, 0.0), torch.ones(1), torch.Generator())
    pulls = torch.autograd.grad(loss, values)[0].flatten()
    assert pulls[0] == pulls[1] < 0


def test_least_squares_vanish_at_the_values_of_an_additive_game() -> None:
    weight = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))

    def play(masks):
        return torch.einsum("bmn,bnk->bmk", masks.float(), weight)

    given = batch(weight, play=play)
    draws = torch.Generator().manual_seed(0)
    assert float(LeastSquares(6)(said(weight), given, torch.ones(3), draws)) < 1e-10
    assert float(LeastSquares(6)(said(weight + 1), given, torch.ones(3), draws)) > 1
    assert float(MeanSquares()(said(weight + 1), given, torch.ones(3), draws)) == pytest.approx(1)


def test_objectives_say_what_they_need() -> None:
    with pytest.raises(ValueError, match="unknown"):
        make_objective("hope")
    with pytest.raises(ValueError, match="even"):
        kernel_coalitions(torch.ones(1, 3, dtype=torch.bool), 3)
    values = torch.zeros(1, 2, 1)
    with pytest.raises(ValueError, match="asks the model"):
        LeastSquares()(said(values), batch(values), torch.ones(1), torch.Generator())
    with pytest.raises(ValueError, match="uncertainty"):
        KnownNoise()(said(values), batch(values), torch.ones(1), torch.Generator())
    for how, wanted in (("softly", "normalizer='softly'"), ("precision", "uncertainty=True")):
        with pytest.raises(ValueError, match=wanted):
            normalise(values, torch.zeros(1, 1), torch.ones(1, 2, dtype=torch.bool), how)
