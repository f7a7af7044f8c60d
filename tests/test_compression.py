"""Laws of compress-then-explain: which rows are kept, their weights, and what they are worth."""

import time
from itertools import product

import pytest
import torch

from baselines import compress, mmd
from baselines.compression import gaussian_kernel, simplex_weights

METHODS = ["herding", "kmeans", "iid", "compresspp"]


def mixture(rows: int, features: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(5, features, generator=generator)
    mixing = torch.randn(features, features, generator=generator) / features**0.5
    noise = torch.randn(rows, features, generator=generator) @ mixing
    return (centres[torch.randint(5, (rows,), generator=generator)] + noise).double()


@pytest.mark.parametrize("method", METHODS)
def test_compress_returns_distinct_rows_and_weights_that_sum_to_one(method):
    if method == "compresspp":
        pytest.importorskip("goodpoints")
    X = mixture(700, 6)
    rows, weights = compress(X, 16, method=method, return_weights=True)
    assert rows.dtype == torch.int64
    assert len(set(rows.tolist())) == 16
    assert 0 <= int(rows.min()) <= int(rows.max()) < 700
    assert weights.dtype == torch.float64
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert (weights >= 0).all()
    torch.testing.assert_close(compress(X, 16, method=method), rows)


def test_herding_is_four_times_closer_than_random_rows_and_no_farther_than_compresspp():
    pytest.importorskip("goodpoints")
    for features in (10, 30):
        X = mixture(4096, features, seed=features)
        rows, weights = compress(X, 64, return_weights=True)
        peer = mmd(X, X[compress(X, 64, method="compresspp")])
        random = [
            mmd(X, X[compress(X, 64, method="iid", generator=torch.Generator().manual_seed(s))])
            for s in range(5)
        ]
        ours = mmd(X, X[rows])
        assert ours <= 1.02 * peer
        assert mmd(X, X[rows], weights=weights) <= ours
        assert ours <= sum(random) / 5 / {10: 3.5, 30: 2.5}[features]


def test_swaps_come_closer_than_greedy_choice_alone():
    X = mixture(600, 5)
    rows = ((X - X.mean(0)) / X.std(0, correction=0)).clamp(-3, 3)
    squares = torch.cdist(rows, rows) ** 2
    kernel = (-squares / squares[squares > 0].median()).exp()
    mean, total, greedy = kernel.mean(0), torch.zeros(600, dtype=X.dtype), []
    for step in range(24):
        score = total / (step + 1) - mean
        score[greedy] = torch.inf
        greedy.append(int(score.argmin()))
        total += kernel[greedy[-1]]
    assert mmd(X, X[compress(X, 24)]) < 0.98 * mmd(X, X[greedy])


def test_simplex_weights_are_the_best_of_a_fine_grid():
    X = mixture(200, 2)
    kept = X[:3]
    kernel = gaussian_kernel(kept, kept, 4.0)
    embedding = gaussian_kernel(kept, X, 4.0).mean(-1)

    def objective(w: torch.Tensor) -> float:
        return float(w @ kernel @ w - 2 * w @ embedding)

    weights = simplex_weights(kernel, embedding)
    grid = [
        torch.tensor([i, j, 60 - i - j], dtype=torch.float64) / 60
        for i, j in product(range(61), repeat=2)
        if i + j <= 60
    ]
    best = min(objective(w) for w in grid)
    assert objective(weights) <= best + 1e-9
    assert objective(weights) >= best - 1e-3


def test_simplex_weights_satisfy_their_optimality_conditions():
    X = mixture(900, 4)
    kept = X[:60]  # random rows, so that some weights end at zero
    kernel, embedding = gaussian_kernel(kept, kept, 8.0), gaussian_kernel(kept, X, 8.0).mean(-1)
    weights = simplex_weights(kernel, embedding)
    gradient = kernel @ weights - embedding
    active = weights > 0
    assert (weights >= 0).all()
    assert 2 <= int(active.sum()) < 60
    torch.testing.assert_close(
        gradient[active], gradient[active].mean().expand(int(active.sum())), atol=1e-7, rtol=0
    )
    assert (gradient[~active] >= gradient[active].mean() - 1e-7).all()


def test_mmd_is_zero_for_the_rows_themselves_and_follows_its_definition():
    X, Y = mixture(40, 3), mixture(40, 3, seed=1)[:7]
    assert mmd(X, X) < 1e-4  # float32 kernels
    mean, scale = X.mean(0), X.std(0, correction=0)
    xs, ys = (((rows - mean) / scale).clamp(-3, 3) for rows in (X, Y))

    def k(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (-((a[:, None] - b) ** 2).sum(-1) / 3.0).exp()

    wanted = (k(xs, xs).mean() - 2 * k(ys, xs).mean() + k(ys, ys).mean()).sqrt()
    assert abs(mmd(X, Y, bandwidth=3.0) - float(wanted)) < 1e-5


def test_compression_does_not_depend_on_units_or_on_row_order_beyond_ties():
    X = mixture(800, 5)
    rows = compress(X, 20)
    scaled = X * torch.tensor([1e4, 1.0, 1e-3, 5.0, 1.0], dtype=X.dtype) + 7
    order = torch.randperm(800, generator=torch.Generator().manual_seed(1))
    assert mmd(X, X[compress(scaled, 20)]) < 1.1 * mmd(X, X[rows])
    assert mmd(X, X[order][compress(X[order], 20)]) < 1.1 * mmd(X, X[rows])


def test_a_heavy_tail_does_not_draw_the_rows_away_from_the_bulk():
    X = mixture(2000, 4)
    X[:20, 0] *= 1000
    rows = compress(X, 32)
    assert (X[rows, 0].abs() > 100).sum() <= 3
    bulk = X[:, 1:]
    assert mmd(bulk, bulk[rows]) < 1.5 * mmd(bulk, bulk[compress(bulk, 32)]) + 0.02


def test_blocks_of_many_rows_lose_little_against_looking_at_every_row():
    X = mixture(20_000, 6)
    thinned = mmd(X[:16_000], X[compress(X, 32)])
    direct = mmd(X[:16_000], X[compress(X[:16_000], 32)])
    assert thinned < 1.35 * direct


def test_compressing_ten_thousand_rows_of_thirty_features_takes_under_five_seconds():
    X = mixture(10_000, 30)
    start = time.process_time()
    compress(X, 64, return_weights=True)
    assert time.process_time() - start < 5


def test_repeated_and_constant_rows_are_compressed_to_distinct_positions():
    X = torch.ones(50, 3)
    X[:, 0] = torch.arange(50) % 2
    for method in ("herding", "kmeans"):
        if method == "kmeans":
            pytest.importorskip("sklearn")
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn says that clusters coincide
            rows, weights = compress(X, 8, method=method, return_weights=True)
        assert len(set(rows.tolist())) == 8
        mean = (X[rows].double() * weights[:, None]).sum(0)
        torch.testing.assert_close(mean, X.double().mean(0), atol=1e-6, rtol=0)


def test_a_generator_changes_random_rows_and_never_the_global_stream():
    X = mixture(300, 4)
    before = torch.get_rng_state()
    one = compress(X, 9, method="iid", generator=torch.Generator().manual_seed(1))
    two = compress(X, 9, method="iid", generator=torch.Generator().manual_seed(2))
    compress(X, 9, method="kmeans")
    compress(X, 9)
    assert one.tolist() != two.tolist()
    assert torch.equal(before, torch.get_rng_state())


def test_arrays_frames_and_tensors_are_compressed_alike():
    pd = pytest.importorskip("pandas")
    X = mixture(200, 3)
    rows = compress(X, 10)
    assert torch.equal(compress(X.numpy(), 10), rows)
    assert torch.equal(compress(pd.DataFrame(X.numpy()), 10), rows)
    assert X.numpy()[compress(X.numpy(), 10)].shape == (10, 3)
    assert torch.equal(compress(X.reshape(200, 3, 1), 10), rows)


@pytest.mark.parametrize(
    ("X", "options", "error", "word"),
    [
        (torch.randn(10, 2), {"size": 11}, ValueError, "size=11"),
        (torch.randn(10, 2), {"size": 0}, ValueError, "size=0"),
        (torch.randn(10, 2), {"size": 2.5}, TypeError, "size=2.5"),
        (torch.randn(10, 2), {"size": 2, "method": "best"}, ValueError, "method='best'"),
        (torch.full((10, 2), torch.nan), {"size": 2}, ValueError, "missing or infinite"),
        (torch.randn(10), {"size": 2}, ValueError, "shape"),
        (torch.zeros(0, 3), {"size": 1}, ValueError, "shape"),
        ([["a", "b"], ["c", "d"]], {"size": 1}, TypeError, "X holds"),
    ],
)
def test_bad_backgrounds_and_sizes_are_refused_by_name(X, options, error, word):
    with pytest.raises(error, match=word):
        compress(X, **options)


def test_compresspp_names_the_sizes_it_can_give():
    pytest.importorskip("goodpoints")
    with pytest.raises(ValueError, match="power of two up to 16"):
        compress(mixture(300, 2), 10, method="compresspp")
