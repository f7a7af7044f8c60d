"""Laws of imputers: present entries are sacred, absent ones follow the law each imputer names."""

import math

import pytest
import torch
from einops import rearrange, repeat

import baselines
from baselines import (
    BaselineImputer,
    BlurImputer,
    CallableImputer,
    DonorImputer,
    EmpiricalImputer,
    GaussianImputer,
    GaussianMixtureImputer,
    InpaintImputer,
    KMeansDonorImputer,
    MarginalImputer,
    MaskedGame,
    MaskTokenImputer,
    MeanColorImputer,
    MixtureDonorImputer,
    NeighborImputer,
    NoiseImputer,
    StoredImputer,
    patches,
    superpixels,
)

N = 5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=seeded(seed), dtype=torch.float64)


def covariance(n: int = N, seed: int = 3) -> torch.Tensor:
    root = normal(n, n, seed=seed)
    return root @ root.T + 0.3 * torch.eye(n, dtype=torch.float64)


ROWS = normal(200, N, seed=1) @ torch.linalg.cholesky(covariance()).T

TABULAR = {
    "baseline": lambda: BaselineImputer(torch.arange(N, dtype=torch.float64)),
    "constant": lambda: BaselineImputer(0.5),
    "noise": lambda: NoiseImputer(1.0, 2.0, n_draws=4),
    "marginal": lambda: MarginalImputer(ROWS[:7], torch.arange(1.0, 8.0)),
    "gaussian": lambda: GaussianImputer.fit(ROWS, n_draws=4),
    "mixture": lambda: GaussianMixtureImputer.fit(ROWS, 3, n_draws=4),
    "diagonal": lambda: GaussianMixtureImputer.fit(ROWS, 3, diagonal=True, n_draws=4),
    "donor": lambda: DonorImputer.fit(ROWS, n_draws=4),
    "kmeans": lambda: KMeansDonorImputer.fit(ROWS, 5, n_draws=4),
    "neighbor": lambda: NeighborImputer.fit(ROWS, 6, n_draws=4),
    "empirical": lambda: EmpiricalImputer.fit(ROWS, 0.4, n_draws=4),
    "mixture donor": lambda: MixtureDonorImputer.fit(ROWS, 3, n_draws=4),
    "callable": lambda: CallableImputer(lambda x, present, generator: x[:, None, None] * 0 - 1.0),
}
DRAWING = [
    "noise",
    "gaussian",
    "mixture",
    "diagonal",
    "donor",
    "kmeans",
    "neighbor",
    "empirical",
    "mixture donor",
]
DONORS = ["donor", "kmeans", "neighbor", "empirical", "mixture donor", "marginal"]


def some_coalitions(b: int, m: int, n: int = N, seed: int = 2) -> torch.Tensor:
    masks = torch.rand(b, m, n, generator=seeded(seed)) < 0.5
    masks[:, 0], masks[:, 1] = False, True
    return masks


@pytest.mark.parametrize("name", TABULAR)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("drawn", [False, True])
def test_present_entries_return_bit_for_bit_even_beside_missing_ones(name, dtype, drawn):
    imputer = TABULAR[name]()
    x = normal(3, N).to(dtype)
    masks = some_coalitions(3, 6)
    broken = x.clone()
    broken[1, 2] = math.nan
    broken[2, 0] = -math.inf
    out = imputer(broken, masks, seeded() if drawn else None)
    r = getattr(imputer, "n_draws", 1)
    assert out.shape == (3, 6, r, N)
    assert out.dtype == dtype
    shown = repeat(masks, "b m n -> b m r n", r=r)
    wanted = repeat(broken, "b n -> b m r n", m=6, r=r)
    assert out[shown].eq(wanted[shown]).logical_or(wanted[shown].isnan()).all()
    assert torch.equal(out[shown].isnan(), wanted[shown].isnan())
    if name != "callable":
        assert torch.isfinite(out[~shown]).all()


@pytest.mark.parametrize("name", TABULAR)
def test_without_a_generator_a_call_depends_on_neither_chunks_nor_other_explicands(name):
    imputer = TABULAR[name]()
    x, masks = normal(4, N), some_coalitions(4, 6)
    whole = imputer(x, masks)
    shared = imputer(x, masks[:1].expand(4, -1, -1))
    for i in range(4):
        torch.testing.assert_close(
            imputer(x[i : i + 1], masks[i : i + 1, 2:5]), whole[i : i + 1, 2:5], rtol=0, atol=1e-10
        )
        torch.testing.assert_close(
            imputer(x[i : i + 1], masks[:1]), shared[i : i + 1], rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("name", TABULAR)
def test_an_imputer_neither_reads_nor_moves_the_global_generator(name):
    imputer = TABULAR[name]()
    before = torch.get_rng_state()
    imputer(normal(2, N), some_coalitions(2, 3))
    imputer(normal(2, N), some_coalitions(2, 3), seeded())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", DRAWING)
def test_a_generator_gives_draws_that_differ_over_coalitions_and_imputations(name):
    imputer = TABULAR[name]()
    x = normal(2, N)
    masks = torch.zeros(2, 40, N, dtype=torch.bool)
    masks[..., 0] = True
    out = imputer(x, masks, seeded(1))
    assert torch.equal(out, imputer(x, masks, seeded(1)))
    assert not torch.equal(out, imputer(x, masks, seeded(2)))
    drawn = rearrange(out[0], "m r n -> m r n")[..., 1:]
    assert len(drawn[:, 0].unique(dim=0)) > 3  # over coalitions that are equal
    assert len(rearrange(drawn, "m r n -> (m r) n").unique(dim=0)) > 5
    assert any(len(drawn[m].unique(dim=0)) > 1 for m in range(40))


def conditional(mean, cov, x, present):
    absent = ~present
    pull = cov[absent][:, present] @ torch.linalg.inv(cov[present][:, present])
    center = mean[absent] + pull @ (x[present] - mean[present])
    return center, cov[absent][:, absent] - pull @ cov[present][:, absent]


@pytest.mark.parametrize("drawn", [False, True])
def test_gaussian_imputer_draws_the_closed_form_conditional(drawn):
    r = 100_000
    mean, cov = normal(N, seed=5), covariance()
    imputer = GaussianImputer(mean, cov, n_draws=r)
    x = normal(2, N, seed=6)
    masks = torch.tensor([[1, 0, 1, 0, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]]).bool()[None]
    out = imputer(x, masks.expand(2, -1, -1), seeded() if drawn else None)
    for i in range(2):
        for j, present in enumerate(masks[0]):
            center, spread = conditional(mean, cov, x[i], present)
            draws = out[i, j][:, ~present]
            error = (spread.diagonal() / r).sqrt()
            assert ((draws.mean(0) - center).abs() <= 4 * error + 1e-12).all()
            sampled = torch.cov(draws.T).reshape(spread.shape)
            wide = torch.outer(spread.diagonal(), spread.diagonal()).sqrt()
            assert ((sampled - spread).abs() <= 4 * wide * (2 / r) ** 0.5).all()
            if not drawn:  # antithetic pairs make the mean exact
                torch.testing.assert_close(draws.mean(0), center, rtol=0, atol=1e-7)


def test_fitted_gaussian_has_the_sample_moments_and_survives_copied_and_constant_columns():
    imputer = GaussianImputer.fit(ROWS)
    torch.testing.assert_close(imputer.mean, ROWS.mean(0))
    torch.testing.assert_close(imputer.covariance, torch.cov(ROWS.T))
    wide = torch.cat([ROWS, ROWS[:, :1], torch.full((200, 1), 3.0)], 1)
    masks = torch.ones(1, 2, 7, dtype=torch.bool)
    masks[0, 0, 0] = masks[0, 0, 6] = False  # the copy at position 5 stays present
    masks[0, 1, 1] = False
    x = wide[:1].clone()
    x[0, 6] = 100.0
    out = GaussianImputer.fit(wide, n_draws=8)(x, masks)
    torch.testing.assert_close(out[0, 0, :, 0], wide[0, 0].expand(8), rtol=0, atol=1e-3)
    torch.testing.assert_close(out[0, 0, :, 6], torch.full((8,), 3.0, dtype=torch.float64))
    assert out.abs().max() < 1e3


MIXTURE = (
    torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64),
    normal(3, N, seed=7) * 2,
    torch.stack([covariance(seed=s) for s in (1, 2, 4)]),
)


def brute_posterior(x, present, diagonal):
    proportions, means, covariances = MIXTURE
    scores = proportions.log().clone()
    for c in range(3):
        cov = covariances[c].diagonal().diag() if diagonal else covariances[c]
        if present.any():
            law = torch.distributions.MultivariateNormal(
                means[c, present], cov[present][:, present]
            )
            scores[c] += law.log_prob(x[present])
    return scores.softmax(-1)


@pytest.mark.parametrize("diagonal", [False, True])
def test_mixture_posterior_and_conditional_moments_equal_brute_force(diagonal):
    proportions, means, covariances = MIXTURE
    held = torch.stack([c.diagonal() for c in covariances]) if diagonal else covariances
    r = 100_000
    imputer = GaussianMixtureImputer(proportions, means, held, n_draws=r)
    x, masks = normal(2, N, seed=8) * 2, some_coalitions(2, 4, seed=9)
    posterior = imputer.posterior(x, masks)
    # on an explicand's own masks, on shared ones, and with fresh noise
    own, shared = imputer(x, masks), imputer(x, masks[:1].expand(2, -1, -1))
    fresh = imputer(x, masks, seeded(3))
    for i in range(2):
        for out, present_rows in ((own, masks[i]), (shared, masks[0]), (fresh, masks[i])):
            for j, present in enumerate(present_rows):
                wanted = brute_posterior(x[i], present, diagonal)
                if out is own:
                    torch.testing.assert_close(posterior[i, j], wanted, rtol=0, atol=1e-6)
                if present.all():
                    continue
                parts = [
                    conditional(
                        means[c],
                        covariances[c].diagonal().diag() if diagonal else covariances[c],
                        x[i],
                        present,
                    )
                    for c in range(3)
                ]
                center = sum(w * m for w, (m, _) in zip(wanted, parts, strict=True))
                second = sum(
                    w * (s.diagonal() + m**2) for w, (m, s) in zip(wanted, parts, strict=True)
                )
                spread = (second - center**2).sqrt()
                draws = out[i, j][:, ~present]
                assert ((draws.mean(0) - center).abs() <= 4.5 * spread / r**0.5 + 1e-9).all()
                assert ((draws.std(0) / spread - 1).abs() < 0.02).all()


def test_a_mixture_of_one_is_the_gaussian_imputer():
    mean, cov = normal(N, seed=5), covariance()
    one = GaussianMixtureImputer(torch.ones(1), mean[None], cov[None], n_draws=6)
    x, masks = normal(2, N), some_coalitions(2, 5)
    assert torch.equal(one(x, masks), GaussianImputer(mean, cov, n_draws=6)(x, masks))


def test_a_diagonal_mixture_of_many_narrow_features_stays_finite():
    n = 1568
    means = torch.rand(20, n, generator=seeded(), dtype=torch.float64)
    imputer = GaussianMixtureImputer(torch.ones(20), means, torch.full((20, n), 1e-6), n_draws=3)
    x = torch.rand(2, n, generator=seeded(1), dtype=torch.float64)
    masks = torch.rand(2, 3, n, generator=seeded(2)) < 0.5
    assert torch.isfinite(imputer(x, masks)).all()
    assert torch.isfinite(imputer.posterior(x, masks)).all()


@pytest.mark.parametrize("name", DONORS)
@pytest.mark.parametrize("drawn", [False, True])
def test_every_absent_block_of_a_donor_imputer_is_a_stored_row(name, drawn):
    imputer = TABULAR[name]()
    x, masks = normal(2, N), some_coalitions(2, 6)
    out = imputer(x, masks, seeded() if drawn else None)
    for i in range(2):
        for j in range(6):
            absent = ~masks[i, j]
            for draw in out[i, j]:
                assert (ROWS[:, absent] == draw[absent]).all(-1).any()


def test_kmeans_donors_belong_to_the_nearest_cluster_on_the_present_features():
    imputer = KMeansDonorImputer.fit(ROWS, 6, n_draws=1000)
    x, masks = normal(3, N), some_coalitions(3, 5)
    donors = imputer.donors(x, masks, seeded())
    scaled = (ROWS - ROWS.mean(0)) / ROWS.std(0, correction=0)
    centres = torch.stack([scaled[imputer.labels == c].mean(0) for c in range(6)])
    points = (x - ROWS.mean(0)) / ROWS.std(0, correction=0)
    for i in range(3):
        for j in range(5):
            present = masks[i, j]
            if not present.any():  # every row, not the first cluster
                assert len(donors[i, j].unique()) > 190
                continue
            nearest = ((centres - points[i]) ** 2)[:, present].sum(-1).argmin()
            members = (imputer.labels == nearest).nonzero().flatten()
            hit = set(donors[i, j].tolist())
            assert hit <= set(members.tolist())
            assert len(hit) >= 0.9 * len(members)


def test_neighbor_donors_are_the_nearest_rows_on_the_present_features():
    imputer = NeighborImputer.fit(ROWS, 7, n_draws=7)
    x, masks = normal(3, N), some_coalitions(3, 5)
    donors = imputer.donors(x, masks)
    scale = ROWS.std(0, correction=0)
    for i in range(3):
        for j in range(5):
            present = masks[i, j]
            distances = (((ROWS - x[i]) / scale) ** 2)[:, present].sum(-1)
            if present.any():
                wanted = distances.topk(7, largest=False).indices
                assert set(donors[i, j].tolist()) == set(wanted.tolist())
            else:
                assert len(donors[i, j].unique()) == 7
    assert donors[0, 0].tolist() != list(range(7))  # nothing present: random rows


def test_empirical_donors_are_drawn_by_their_kernel_weight():
    imputer = EmpiricalImputer.fit(ROWS[:20], 0.5, n_draws=50_000)
    x = normal(1, N, seed=4)
    masks = torch.tensor([[[True, False, True, False, False]]])
    scale = ROWS[:20].std(0, correction=0)
    distance = (((ROWS[:20] - x) / scale) ** 2)[:, masks[0, 0]].mean(-1)
    wanted = (-distance / (2 * 0.5**2)).softmax(-1)
    for generator, tolerance in ((None, 1e-4), (seeded(), 0.01)):
        donors = imputer.donors(x, masks, generator)[0, 0]
        share = torch.bincount(donors, minlength=20) / 50_000
        torch.testing.assert_close(share.double(), wanted, rtol=0, atol=tolerance)


def test_mixture_donors_are_drawn_by_posterior_and_responsibility():
    proportions, means, covariances = MIXTURE
    rows = ROWS[:30]
    imputer = MixtureDonorImputer(rows, proportions, means, covariances, n_draws=50_000)
    x = normal(1, N, seed=4)
    masks = torch.tensor([[[True, False, True, False, False], [False] * N]])
    everyone = torch.ones(N, dtype=torch.bool)
    own = torch.stack([brute_posterior(row, everyone, False) for row in rows])  # (rows, c)
    own = own / own.sum(0)
    for j in range(2):
        wanted = own @ brute_posterior(x[0], masks[0, j], False)
        for generator, tolerance in ((None, 1e-3), (seeded(), 0.01)):
            donors = imputer.donors(x, masks, generator)[0, j]
            share = torch.bincount(donors, minlength=30) / 50_000
            torch.testing.assert_close(share.double(), wanted, rtol=0, atol=tolerance)


def test_marginal_donors_without_a_generator_spread_evenly_over_all_rows():
    imputer = DonorImputer.fit(ROWS, n_draws=200)
    donors = imputer.donors(normal(1, N), torch.zeros(1, 1, N, dtype=torch.bool))
    assert donors[0, 0].tolist() == list(range(200))


@pytest.mark.parametrize("name", [name for name in TABULAR if name != "callable"])
def test_an_imputer_loaded_from_its_folder_fills_in_the_same_values(name, tmp_path):
    imputer = TABULAR[name]()
    imputer.save_pretrained(tmp_path / "imputer")
    x, masks = normal(2, N), some_coalitions(2, 4)
    for kind in (type(imputer), StoredImputer):
        again = kind.from_pretrained(tmp_path / "imputer")
        assert type(again) is type(imputer)
        assert torch.equal(again(x, masks), imputer(x, masks))
        assert torch.equal(again(x, masks, seeded()), imputer(x, masks, seeded()))
        if getattr(imputer, "weights", None) is not None:
            assert torch.equal(again.weights, imputer.weights)


def test_a_broken_or_foreign_folder_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no config"):
        GaussianImputer.from_pretrained(tmp_path)
    GaussianImputer.fit(ROWS).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a GaussianImputer"):
        BaselineImputer.from_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(content[:-9])
    with pytest.raises(ValueError, match="no complete imputer"):
        GaussianImputer.from_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="no complete imputer"):
        GaussianImputer.from_pretrained(tmp_path)


def test_mask_tokens_replace_absent_tokens_and_spare_special_ones():
    imputer = MaskTokenImputer(99, special_ids=[1, 0])
    x = torch.tensor([[1, 7, 8, 0]])
    out = imputer(x, torch.tensor([[[False, False, True, False]]]))
    assert out.tolist() == [[[[1, 99, 8, 0]]]]
    with pytest.raises(TypeError, match="integer token ids"):
        imputer(x.float(), torch.ones(1, 1, 4, dtype=torch.bool))


IMAGES = {
    "blur": lambda: BlurImputer(1.5),
    "mean": MeanColorImputer,
    "inpaint": lambda: InpaintImputer(torch.full((3, 8, 8), 0.25), 1.5),
}


@pytest.mark.parametrize("name", IMAGES)
def test_image_imputers_keep_present_pixels_and_fill_in_finite_ones(name, tmp_path):
    imputer = IMAGES[name]()
    x = torch.rand(2, 3, 8, 8, generator=seeded(), dtype=torch.float64)
    x[0, 0, 0, 0] = math.nan
    players = patches((3, 8, 8), 4)
    masks = some_coalitions(2, 5, 16)[..., players.flatten()]
    out = imputer(x, masks)
    assert out.shape == (2, 5, 1, 3, 8, 8)
    shown = masks.reshape(2, 5, 3, 8, 8)
    wanted = repeat(x, "b c h w -> b m c h w", m=5)
    assert torch.equal(out[:, :, 0][shown].nan_to_num(7), wanted[shown].nan_to_num(7))
    assert torch.isfinite(out[:, :, 0][~shown]).all()
    imputer.save_pretrained(tmp_path)
    again = StoredImputer.from_pretrained(tmp_path)
    assert torch.equal(again(x, masks).nan_to_num(7), out.nan_to_num(7))


def test_blur_and_mean_leave_a_plain_image_as_it_is():
    x = torch.full((1, 3, 9, 9), 0.7, dtype=torch.float64)
    masks = some_coalitions(1, 4, 9)[..., patches((3, 9, 9), 3).flatten()]
    for imputer in (BlurImputer(2.0), MeanColorImputer()):
        torch.testing.assert_close(imputer(x, masks)[0, :, 0], x.expand(4, -1, -1, -1))


def test_inpainting_sees_no_absent_pixel_and_ends_in_the_background():
    background = torch.rand(1, 12, 12, generator=seeded(1), dtype=torch.float64)
    imputer = InpaintImputer(background, 1.0)
    x = torch.rand(1, 1, 12, 12, generator=seeded(2), dtype=torch.float64)
    mask = torch.zeros(1, 1, 144, dtype=torch.bool)
    torch.testing.assert_close(imputer(x, mask)[0, 0, 0], background)
    mask[0, 0, :12] = True  # the first row of pixels
    out = imputer(x, mask)
    other = torch.where(mask.reshape(1, 1, 12, 12), x, 9.0)
    assert torch.equal(out, imputer(other, mask))
    torch.testing.assert_close(out[0, 0, 0, 0, 8:], background[0, 8:])
    near = (out[0, 0, 0, 0, 1] - x[0, 0, 0]).abs().mean()
    assert near < (background[0, 1] - x[0, 0, 0]).abs().mean()


def test_patches_number_the_cells_of_a_grid_by_rows():
    assert patches((4, 4), 2).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    players = patches((3, 7, 5), (3, 2))
    assert players.unique().tolist() == list(range(6))
    assert torch.equal(players[0], players[2])
    with pytest.raises(ValueError, match="does not fit"):
        patches((4, 4), (5, 2))


def test_patches_and_superpixels_are_players_of_a_game():
    x = torch.rand(2, 1, 6, 6, generator=seeded(), dtype=torch.float64)

    def model(rows):
        return rows.flatten(1).sum(-1)

    for groups in (patches((1, 6, 6), 2), superpixels(x[0], 4)):
        game = MaskedGame(model, x, BaselineImputer(0.0), groups=groups)
        n = int(groups.max()) + 1
        assert game.n_players == n
        masks = torch.eye(n, dtype=torch.bool)[None]
        wanted = [(x[0] * (groups == player)).sum() for player in range(n)]
        torch.testing.assert_close(game(masks)[0, :, 0], torch.stack(wanted))


def test_superpixels_follow_the_border_between_two_colors():
    image = torch.zeros(3, 16, 16)
    image[0, :, 5:] = 1.0  # a border that no 2 x 2 grid shares
    label = superpixels(image, 4, compactness=0.1)
    left, right = set(label[0, :, :5].flatten().tolist()), set(label[0, :, 5:].flatten().tolist())
    assert left.isdisjoint(right)
    assert sorted(left | right) == list(range(len(left | right)))


def test_a_game_over_a_drawing_imputer_does_not_depend_on_its_row_budget():
    x = normal(3, N)

    def model(rows):
        return torch.stack([rows.sum(-1).tanh(), rows[:, 0] * rows[:, 1]], -1)

    masks = some_coalitions(3, 7)
    for name in DRAWING:
        imputer = TABULAR[name]()
        whole = MaskedGame(model, x, imputer)
        parts = MaskedGame(model, x, imputer, max_rows=5)
        torch.testing.assert_close(whole(masks), parts(masks), rtol=0, atol=1e-10)
        assert parts.n_evals == 3 * 7 * 4


@pytest.mark.parametrize(
    ("make", "error", "word"),
    [
        (lambda: GaussianImputer.fit(ROWS[:1]), ValueError, "X has 1 rows"),
        (lambda: GaussianImputer.fit(ROWS * math.nan), ValueError, "missing or infinite"),
        (lambda: GaussianImputer.fit(ROWS, shrinkage=2.0), ValueError, "shrinkage=2.0"),
        (lambda: GaussianImputer.fit(ROWS, n_draws=0), ValueError, "n_draws=0"),
        (lambda: GaussianImputer(ROWS[0], -covariance()), ValueError, "positive semi-definite"),
        (lambda: GaussianImputer(ROWS[0], torch.eye(3)), ValueError, "covariance"),
        (lambda: GaussianMixtureImputer.fit(ROWS, 0), ValueError, "n_components=0"),
        (
            lambda: GaussianMixtureImputer(torch.zeros(1), ROWS[:1], torch.eye(N)[None]),
            ValueError,
            "proportions",
        ),
        (lambda: KMeansDonorImputer.fit(ROWS, 500), ValueError, "n_clusters=500"),
        (lambda: KMeansDonorImputer(ROWS, torch.zeros(3)), ValueError, "labels"),
        (lambda: NeighborImputer.fit(ROWS, 201), ValueError, "n_neighbors=201"),
        (lambda: EmpiricalImputer.fit(ROWS, 0.0), ValueError, "bandwidth=0.0"),
        (lambda: NoiseImputer(0.0, -1.0), ValueError, "scale"),
        (lambda: NoiseImputer(math.nan, 1.0), ValueError, "mean holds NaN"),
        (lambda: NoiseImputer(torch.zeros(3), torch.ones(4)), ValueError, "mean has shape"),
        (
            lambda: NoiseImputer(torch.zeros(3), 1.0)(ROWS[:1], torch.ones(1, 1, N).bool()),
            ValueError,
            "mean has shape",
        ),
        (
            lambda: NoiseImputer(0.0, torch.ones(1))(ROWS[:1], torch.ones(1, 1, N).bool()),
            ValueError,
            "scale has shape",
        ),
        (lambda: BaselineImputer(math.inf), ValueError, "baseline holds infinity"),
        (lambda: MarginalImputer(ROWS / 0), ValueError, "background holds infinity"),
        (lambda: GaussianImputer(ROWS), TypeError, r"GaussianImputer\.fit\(X\)"),
        (lambda: GaussianMixtureImputer(ROWS), TypeError, "lacks means, covariances"),
        (lambda: KMeansDonorImputer(ROWS), TypeError, "lacks labels"),
        (lambda: MixtureDonorImputer(ROWS), TypeError, r"MixtureDonorImputer\.fit\(X\)"),
        (lambda: BlurImputer(0.0), ValueError, "sigma=0.0"),
        (lambda: BlurImputer()(ROWS, torch.ones(200, 1, N).bool()), ValueError, "images"),
        (lambda: InpaintImputer(torch.zeros(3, 3)), ValueError, "background"),
        (
            lambda: GaussianImputer.fit(ROWS)(normal(1, 3), torch.ones(1, 1, 3).bool()),
            ValueError,
            "fitted on 5",
        ),
        (
            lambda: DonorImputer.fit(ROWS)(normal(1, 3), torch.ones(1, 1, 3).bool()),
            ValueError,
            "stored rows",
        ),
        (
            lambda: CallableImputer(lambda *_: torch.zeros(3, 3, 3, 4))(
                normal(1, N), torch.ones(1, 1, N).bool()
            ),
            ValueError,
            "is needed",
        ),
        (lambda: CallableImputer(lambda *_: 0, 2, torch.ones(3)), ValueError, "weights"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, error, word):
    with pytest.raises(error, match=word):
        make()


@pytest.mark.parametrize("kind", [BaselineImputer, MarginalImputer])
def test_a_missing_fill_in_is_for_models_that_read_one(kind):
    rows = ROWS[:4].clone()
    rows[:, 1] = math.nan
    imputer = kind(rows[0] if kind is BaselineImputer else rows)
    masks = some_coalitions(2, 6)

    def reads(x):
        return torch.where(x.isnan(), 7.0, x).sum(1)

    assert torch.isfinite(MaskedGame(reads, ROWS[:2], imputer)(masks)).all()
    with pytest.raises(ValueError, match="fill in for absent players"):
        MaskedGame(lambda x: x.sum(1), ROWS[:2], imputer)(masks)


def test_every_imputer_is_a_public_name():
    names = {type(make()).__name__ for make in [*TABULAR.values(), *IMAGES.values()]}
    assert names <= set(dir(baselines))
