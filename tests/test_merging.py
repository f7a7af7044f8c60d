"""Laws of merging separate runs."""

import dataclasses

import pytest
import torch

import baselines
from baselines import Explanation, TableGame, exact_shapley, merge, permutation_shapley
from tests.known_games import random_unanimity


def known(n=22):
    # too many players for a memo of all values, so that runs of one seed ask for the same
    return random_unanimity(n, 3 * n, (1, 2, 3, 5), 0, 2, 2)


def run(seed, budget=500, name="permutation_shapley", game=None):
    generator = torch.Generator().manual_seed(seed)
    return getattr(baselines, name)(game or known().make(), budget, generator=generator)


def test_merged_pairs_are_one_sample_of_all_pairs():
    parts = [run(seed, budget) for seed, budget in ((1, 300), (2, 600), (3, 50))]
    counts = torch.tensor([float(part.diagnostics["n_pairs"]) for part in parts])
    stack = torch.stack([part.values for part in parts])
    whole = merge(parts)
    mean = torch.einsum("r,rbnk->bnk", counts.double(), stack) / counts.sum()
    torch.testing.assert_close(whole.values, mean, rtol=0, atol=1e-12)
    # the spread of the pooled pairs: within runs, plus between their means
    within = sum(
        (part.std_errors**2 * count * (count - 1)) if part.std_errors is not None else 0.0
        for part, count in zip(parts, counts, strict=True)
    )
    between = torch.einsum("r,rbnk->bnk", counts.double(), (stack - mean).square())
    expected = ((within + between) / (counts.sum() - 1) / counts.sum()).sqrt()
    told = torch.isfinite(expected) & (expected > 1e-12)
    torch.testing.assert_close(whole.std_errors[told], expected[told], rtol=1e-9, atol=0)
    assert whole.n_evals == sum(part.n_evals for part in parts)
    assert int(whole.diagnostics["n_pairs"]) == int(counts.sum())


def test_any_grouping_and_order_of_merges_agree():
    a, b, c = (run(seed) for seed in (1, 2, 3))
    left, right = merge([merge([a, b]), c]), merge([c, merge([b, a])])
    torch.testing.assert_close(left.values, right.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(left.std_errors, right.std_errors, rtol=1e-9, atol=1e-12)


def test_standard_errors_of_merged_runs_fall_with_the_root_of_their_number():
    game = random_unanimity(22, 60, (2, 3, 5), 1, 1, 1)
    runs = [run(seed, 2000, game=game.make()) for seed in range(9)]
    single = torch.stack([part.std_errors for part in runs]).mean(0)
    ratio = (merge(runs).std_errors / single).mean()
    assert 0.28 < ratio < 0.39  # 1 / 3
    z = (merge(runs).values - game.truth) / merge(runs).std_errors
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("name", ["leverage_shap", "odd_gp", "banzhaf", "shapley"])
def test_other_estimators_are_averaged_by_budget(name):
    parts = [run(1, 300, name), run(2, 900, name)]
    whole = merge(parts)
    torch.testing.assert_close(
        whole.values, 0.25 * parts[0].values + 0.75 * parts[1].values, rtol=0, atol=1e-12
    )
    if parts[0].std_errors is not None:
        expected = ((parts[0].std_errors / 4) ** 2 + (parts[1].std_errors * 0.75) ** 2).sqrt()
        torch.testing.assert_close(whole.std_errors, expected)


def test_runs_without_errors_of_their_own_are_told_them_by_their_spread():
    game = random_unanimity(22, 60, (2, 3, 5), 1, 1, 1)
    runs = [run(seed, 44, "kernel_shap", game.make()) for seed in range(12)]
    assert all(part.std_errors is None for part in runs)
    whole = merge(runs)
    stack = torch.stack([part.values for part in runs])
    torch.testing.assert_close(whole.std_errors, stack.std(0) / 12**0.5, rtol=1e-9, atol=0)
    assert (
        1.5 < ((whole.values - stack).square().mean() / whole.std_errors.square().mean()) / 12**0.5
    )


def test_any_grouping_of_runs_without_errors_agrees():
    a, b, c = (run(seed, budget, "banzhaf") for seed, budget in ((1, 60), (2, 100), (3, 60)))
    left, right = merge([merge([a, b]), c]), merge([c, merge([b, a])])
    flat = merge([a, b, c])
    for other in (right, flat):
        torch.testing.assert_close(left.values, other.values, rtol=0, atol=1e-12)
        torch.testing.assert_close(left.std_errors, other.std_errors, rtol=1e-9, atol=1e-12)
    assert torch.isfinite(left.std_errors).all()


def test_ragged_runs_of_one_pair_merge_to_finite_errors():
    game = TableGame(torch.arange(2 * 2.0**10).sin().view(2, -1, 1))
    game.player_mask = torch.tensor([[True] * 10, [True] * 7 + [False] * 3])
    merged = merge([run(seed, 20, game=game) for seed in range(3)])
    assert torch.isfinite(merged.std_errors).all()
    assert (merged.std_errors[1, :7] > 0).all()
    assert (merged.std_errors[1, 7:] == 0).all()


def test_runs_that_agree_exactly_say_nothing_of_their_error():
    additive = TableGame(torch.stack([torch.arange(2.0**6)] * 2, -1)[None])
    additive.player_mask = torch.tensor([[True] * 5 + [False]])
    merged = merge([run(seed, 10, game=additive) for seed in range(3)])
    assert torch.isinf(merged.std_errors[0, :5]).all()


def test_a_stream_does_not_count_twice():
    with pytest.raises(ValueError, match="same stream"):
        merge([run(1), run(1).more(200)])
    merged = merge([run(1), run(2)])
    with pytest.raises(ValueError, match="same stream"):
        merge([merged, run(2)])


def test_runs_of_different_games_do_not_merge():
    other = random_unanimity(22, 66, (1, 2, 3, 5), 5, 2, 2).make()
    shifted = dataclasses.replace(run(2), base_values=run(2).base_values + 1)
    for second, match in (
        (run(2, game=random_unanimity(23, 9, (1, 2), 0, 2, 2).make()), "different shapes"),
        (dataclasses.replace(run(2, game=other), game="another"), "different games"),
        (shifted, "base_values"),
        (run(2, name="banzhaf"), "different estimands"),
    ):
        with pytest.raises(ValueError, match=match):
            merge([run(1), second])


def test_nothing_and_strangers_are_refused():
    with pytest.raises(ValueError, match="empty"):
        merge([])
    with pytest.raises(TypeError, match="int"):
        merge([run(1), 3])
    bare = Explanation(run(1).values, game=run(1).game)
    with pytest.raises(ValueError, match="does not say which stream"):
        merge([run(1), bare])


def test_runs_from_files_merge_and_an_exact_one_settles_it(tmp_path):
    for seed in (1, 2):
        run(seed).save(tmp_path / f"{seed}.safetensors")
    loaded = [Explanation.load(tmp_path / f"{seed}.safetensors") for seed in (1, 2)]
    assert torch.equal(merge(loaded).values, merge([run(1), run(2)]).values)
    small = random_unanimity(8, 20, (1, 2, 3), 0, 1, 1)
    exact = exact_shapley(small.make())
    sampled = permutation_shapley(small.make(), 60)
    assert merge([sampled, exact]) is exact


def test_runs_on_other_rows_are_refused():
    first, other = torch.randn(2, 1, 2**6, 1, generator=torch.Generator().manual_seed(0)).double()
    other[:, 0] = first[:, 0]
    runs = [
        permutation_shapley(TableGame(table), 20, generator=torch.Generator().manual_seed(seed))
        for seed, table in enumerate((first, other))
    ]
    with pytest.raises(ValueError, match="totals"):
        merge(runs)
