"""Laws of masks: order, indices, packing, streams that depend on nothing but their key."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from baselines.coalitions import (
    all_coalitions,
    check_coalitions,
    coalition_index,
    key_from,
    pack,
    prefixes,
    random_orders,
    stream,
    unique_coalitions,
    unpack,
)


def test_all_coalitions_are_listed_in_the_order_of_their_index():
    coalitions = all_coalitions(4)
    assert coalitions.shape == (16, 4)
    assert coalitions.dtype == torch.bool
    assert torch.equal(coalition_index(coalitions), torch.arange(16))
    assert coalitions[0b0101].tolist() == [True, False, True, False]


def test_a_range_of_coalitions_is_a_slice_of_all():
    assert torch.equal(all_coalitions(5, 7, 21), all_coalitions(5)[7:21])


def test_too_many_players_are_refused_by_name():
    with pytest.raises(ValueError, match="n_players=31"):
        all_coalitions(31)
    with pytest.raises(ValueError, match="pack"):
        coalition_index(torch.zeros(2, 63, dtype=torch.bool))


@given(n=st.integers(0, 200), m=st.integers(0, 6), seed=st.integers(0, 2**31))
def test_unpacking_undoes_packing_at_any_number_of_players(n: int, m: int, seed: int):
    masks = torch.from_numpy(np.random.default_rng(seed).random((m, n)) < 0.5)
    assert torch.equal(unpack(pack(masks), n), masks)


@given(n=st.integers(0, 70), m=st.integers(1, 20), seed=st.integers(0, 2**31))
def test_unique_coalitions_rebuild_the_given_ones(n: int, m: int, seed: int):
    masks = torch.from_numpy(np.random.default_rng(seed).random((m, n)) < 0.5)
    doubled = torch.cat([masks, masks])
    distinct, where = unique_coalitions(doubled)
    assert torch.equal(distinct[where], doubled)
    assert len({bytes(row) for row in pack(distinct)}) == len(distinct)


def test_streams_depend_on_key_and_block_alone():
    first = stream(5, 3).random(4)
    stream(5, 0).random(1000)
    assert np.array_equal(first, stream(5, 3).random(4))
    others = [stream(6, 3), stream(5, 4), stream(5, 3, purpose=1)]
    assert all(not np.array_equal(first, other.random(4)) for other in others)


def test_the_key_is_one_draw_and_none_touches_no_generator():
    before = torch.get_rng_state()
    assert key_from(None) == 0
    assert key_from(torch.Generator().manual_seed(1)) == key_from(torch.Generator().manual_seed(1))
    assert key_from(torch.Generator().manual_seed(1)) != key_from(torch.Generator().manual_seed(2))
    assert torch.equal(before, torch.get_rng_state())


def test_orders_are_uniform_permutations():
    orders = random_orders(3, 6000, key=1, block=0)
    assert torch.equal(orders.sort(-1).values, torch.arange(3).expand(6000, 3))
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    spread = (counts - 1000.0) / (6000 * (1 / 6) * (5 / 6)) ** 0.5
    assert spread.abs().max() < 4


def test_prefixes_grow_by_the_next_player_of_the_order():
    orders = random_orders(5, 7, key=0, block=0)
    walk = prefixes(orders)
    assert walk.shape == (7, 6, 5)
    assert not walk[:, 0].any()
    assert walk[:, -1].all()
    joined = (walk[:, 1:] & ~walk[:, :-1]).int().argmax(-1)
    assert torch.equal(joined, orders)


@pytest.mark.parametrize(
    ("coalitions", "error", "words"),
    [
        (torch.ones(2, 3, 4), TypeError, "bool"),
        ([[True]], TypeError, "list"),
        (torch.ones(2, 4, dtype=torch.bool), ValueError, r"\(2, m, 4\)"),
        (torch.ones(3, 1, 4, dtype=torch.bool), ValueError, r"\(2, m, 4\)"),
        (torch.ones(2, 1, 5, dtype=torch.bool), ValueError, r"\(2, m, 4\)"),
    ],
)
def test_masks_a_game_cannot_read_are_refused(coalitions, error, words):
    with pytest.raises(error, match=words):
        check_coalitions(coalitions, 2, 4)
