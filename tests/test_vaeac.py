"""Laws of the learned imputer: an imputer like the others, and close to the law of its data."""

import pytest
import torch

from amortized.vaeac import VAEACImputer
from baselines import GaussianImputer, MaskedGame, StoredImputer, exact_shapley


def correlated(rows=3000, seed=0):
    """Two pairs of features, correlated 0.9 and -0.8, in raw units far from the standard ones."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    z[:, 1] = 0.9 * z[:, 0] + (1 - 0.81) ** 0.5 * z[:, 1]
    z[:, 3] = -0.8 * z[:, 2] + 0.6 * z[:, 3]
    return z * torch.tensor([1.0, 10.0, 0.1, 3.0]) + torch.tensor([0.0, 50.0, -1.0, 2.0])


@pytest.fixture(scope="module")
def fitted():
    return VAEACImputer.fit(
        correlated(), epochs=60, batch_size=128, width=32, latent=4, n_draws=64
    )


def test_present_entries_are_untouched_beside_nan(fitted):
    x = correlated(5, seed=1)
    x[0, 2] = float("nan")
    mask = torch.rand(5, 7, 4, generator=torch.Generator().manual_seed(0)) < 0.5
    mask[0, :, 2] = torch.tensor([True, False] * 3 + [True])
    rows = fitted(x, mask)
    assert rows.shape == (5, 7, 64, 4)
    kept = mask[:, :, None].expand_as(rows)
    source = x[:, None, None].expand_as(rows)
    assert torch.equal(rows[kept].view(torch.int64), source[kept].view(torch.int64))
    assert torch.isfinite(rows[~kept]).all()


def test_draws_follow_the_conditional_law_closely(fitted):
    x = correlated(300, seed=2)
    mask = torch.tensor([[[True, False, True, False]]])
    drawn = fitted(x, mask)[:, 0]
    scale = torch.tensor([1.0, 10.0, 0.1, 3.0])
    exact = GaussianImputer.fit(correlated(), n_draws=2)(x, mask)[:, 0].mean(1)  # antithetic pair
    error = ((drawn.mean(1) - exact) / scale)[:, [1, 3]]
    assert error.square().mean().sqrt() < 0.25  # a marginal draw would miss it by 0.85
    spread = (drawn.std(1).mean(0) / scale)[[1, 3]]
    assert (spread - torch.tensor([0.436, 0.6])).abs().max() < 0.15


def test_games_on_it_are_functions_and_draws_differ(fitted):
    x = correlated(3, seed=3)
    mask = torch.zeros(1, 2, 4, dtype=torch.bool)
    assert torch.equal(fitted(x, mask), fitted(x, mask))
    again = fitted(x, mask, torch.Generator().manual_seed(0))
    assert torch.equal(again, fitted(x, mask, torch.Generator().manual_seed(0)))
    assert not torch.equal(again[:, 0], again[:, 1])
    assert len(again[0, 0, :, 0].unique()) == 64
    game = MaskedGame(lambda rows: rows.sum(-1), x, fitted)
    small = MaskedGame(lambda rows: rows.sum(-1), x, fitted, max_rows=65)
    assert torch.allclose(exact_shapley(game).values, exact_shapley(small).values, rtol=1e-5)


def test_it_is_saved_like_the_other_imputers(fitted, tmp_path):
    fitted.save_pretrained(tmp_path)
    again = StoredImputer.from_pretrained(tmp_path)
    x, mask = correlated(4, seed=4), torch.zeros(1, 1, 4, dtype=torch.bool)
    assert isinstance(again, VAEACImputer)
    assert torch.equal(again(x, mask), fitted(x, mask))
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"width": 32', '"width": 31'))
    with pytest.raises(ValueError, match="no complete imputer"):
        StoredImputer.from_pretrained(tmp_path)


def test_fitting_twice_gives_the_same_weights():
    rows = correlated(200)
    one, two = (VAEACImputer.fit(rows, epochs=2, width=8, latent=2) for _ in range(2))
    assert torch.equal(one.flat, two.flat)
    other = VAEACImputer.fit(
        rows, epochs=2, width=8, latent=2, generator=torch.Generator().manual_seed(1)
    )
    assert not torch.equal(one.flat, other.flat)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: VAEACImputer(0), "n_features=0"),
        (lambda: VAEACImputer(3, n_draws=0), "n_draws=0"),
        (lambda: VAEACImputer(3, flat=torch.zeros(5)), "flat has shape"),
        (lambda: VAEACImputer.fit(torch.zeros(1, 3)), "1 rows"),
        (lambda: VAEACImputer.fit(torch.full((9, 3), float("nan"))), "NaN or infinity"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_rows_of_another_width_are_refused(fitted):
    with pytest.raises(ValueError, match="trained on 4"):
        fitted(torch.zeros(1, 3), torch.zeros(1, 1, 3, dtype=torch.bool))
