"""Laws of enumeration: equal to the definition, written here a second time, and to closed forms."""

from itertools import permutations

import pytest
import torch

from baselines import TableGame, exact_shapley
from baselines.coalitions import all_coalitions, coalition_index
from baselines.exact import shapley_weights


def by_all_orders(values: torch.Tensor) -> torch.Tensor:
    """The mean marginal contribution over all n! orders of one table `(2**n, k)`."""
    n = values.shape[0].bit_length() - 1
    orders = list(permutations(range(n)))
    phi = torch.zeros(n, values.shape[1], dtype=values.dtype)
    for order in orders:
        seen = 0
        for player in order:
            phi[player] += values[seen | 1 << player] - values[seen]
            seen |= 1 << player
    return phi / len(orders)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_enumeration_equals_the_mean_over_all_orders(n, generator):
    values = torch.randn(3, 2**n, 2, dtype=torch.float64, generator=generator)
    phi = exact_shapley(TableGame(values)).values
    expected = torch.stack([by_all_orders(table) for table in values])
    assert (phi - expected).abs().max() < 1e-13


def test_a_unanimity_game_shares_its_worth_among_the_needed_players():
    needed = torch.tensor([True, False, True, True, False])
    won = (all_coalitions(5) | ~needed).all(-1).double()
    phi = exact_shapley(TableGame(won[None, :, None])).values[0, :, 0]
    assert torch.allclose(phi, needed.double() / 3, atol=1e-15)


@pytest.mark.parametrize("chunk_size", [1, 3, 64, None])
def test_the_answer_does_not_depend_on_the_chunk(chunk_size, generator):
    values = torch.randn(2, 64, 3, dtype=torch.float64, generator=generator)
    whole = exact_shapley(TableGame(values), chunk_size=64)
    parts = exact_shapley(TableGame(values), chunk_size=chunk_size)
    assert (whole.values - parts.values).abs().max() < 1e-14
    assert torch.equal(whole.base_values, values[:, 0])


def test_values_sum_to_the_grand_coalition_less_the_empty_one(generator):
    values = torch.randn(4, 2**10, 2, dtype=torch.float64, generator=generator)
    e = exact_shapley(TableGame(values))
    gap = e.values.sum(1) - (values[:, -1] - values[:, 0])
    assert gap.abs().max() < 1e-12
    assert torch.allclose(e.diagnostics["additivity_gap"], gap, atol=1e-15)
    assert e.exact
    assert e.n_evals == 1024


def test_the_answer_keeps_the_dtype_of_the_game(dtype):
    assert exact_shapley(TableGame(torch.ones(1, 4, 1, dtype=dtype))).values.dtype == dtype


def test_twenty_one_players_are_refused():
    class Large:
        n_explicands, n_players, n_outputs, n_evals = 1, 21, 1, 0

        def __call__(self, coalitions):
            raise AssertionError("a refused game must not be asked anything")

    with pytest.raises(ValueError, match="21 players"):
        exact_shapley(Large())


def test_weights_of_a_player_sum_to_zero_and_of_a_coalition_to_efficiency():
    weights = shapley_weights(all_coalitions(6))
    assert weights.sum(0).abs().max() < 1e-14
    total = weights.sum(1)
    assert abs(total[coalition_index(torch.ones(6, dtype=torch.bool))] - 1) < 1e-14
    assert abs(total[0] + 1) < 1e-14
    assert total[1:-1].abs().max() < 1e-14
