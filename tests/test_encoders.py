"""Encoders' laws: one finite vector per player, a function of that player's value alone."""

import pytest
import torch

from harsanyi.encoders import PlayerEncoder, ScalarEncoder, Standardizer, quantile_edges
from harsanyi.float64 import held, hold, overwrite

NAN, INF = float("nan"), float("inf")


def mixed() -> tuple[PlayerEncoder, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 4, dtype=torch.float64, generator=generator)
    x[:, 1] = torch.randint(0, 3, (100,), generator=generator).double()
    x[:, 3] = torch.randint(0, 2, (100,), generator=generator).double()
    encoder = PlayerEncoder(4, cardinalities=[0, 3, 0, 2], bins=5, width=6).fit(x)
    return encoder.double(), x


def test_vector_of_a_player_depends_on_its_value_alone():
    encoder, x = mixed()
    before = encoder(x[:5])
    assert before.shape == (4, 5, 6)
    for i in range(4):
        moved = x[:5].clone()
        moved[:, i] = 1.0 - (moved[:, i] == 1.0).double()
        after = encoder(moved)
        others = [j for j in range(4) if j != i]
        assert torch.equal(before[others], after[others])
        assert not torch.equal(before[i], after[i])


def test_vectors_stand_in_the_order_of_the_players():
    encoder, x = mixed()
    row = x[:1].clone()
    row[0, 1], row[0, 3] = 2, 1
    vectors = encoder(row)
    assert torch.equal(vectors[1, 0], encoder.table[2])
    assert torch.equal(vectors[3, 0], encoder.table[4 + 1])


@pytest.mark.parametrize("value", [NAN, INF, -INF, 1e300, -1.0, 99.0])
def test_vectors_are_finite_for_every_number(value):
    encoder, x = mixed()
    row = torch.full((1, 4), value, dtype=torch.float64)
    assert encoder(row).isfinite().all()
    assert ScalarEncoder(4).fit(x)(row).isfinite().all()


def test_missing_is_a_value_of_its_own():
    encoder, x = mixed()
    row = x[:1].clone()
    row[:] = NAN
    missing = encoder(row)[:, 0]
    assert torch.equal(missing[1], encoder.table[3])
    assert torch.equal(missing[3], encoder.table[4 + 2])
    assert torch.allclose(missing[0], encoder.slopes[0, -1] + encoder.shifts[0])
    mean = held(encoder.standardize, "centre")[None]
    assert not torch.allclose(encoder(mean)[0, 0], missing[0])


def test_standardizer_survives_large_offsets_and_constant_columns():
    x = torch.tensor([[1.7e9, 3.0], [1.7e9 + 1, 3.0], [1.7e9 + 2, 3.0]], dtype=torch.float64)
    standardize = Standardizer(2).fit(x).to(torch.float32)
    z = standardize(x)
    assert z[:, 0].std(correction=0) == pytest.approx(1.0)
    assert z[:, 0].mean() == pytest.approx(0.0, abs=1e-9)
    assert (z[:, 1] == 0).all()


def test_standardizer_ignores_missing_values():
    x = torch.tensor([[1.0], [NAN], [3.0]], dtype=torch.float64)
    z = Standardizer(1).fit(x)(x)[:, 0]
    assert z[[0, 2]].tolist() == [-1.0, 1.0]
    assert z[1].isnan()
    empty = Standardizer(1).fit(torch.full((3, 1), NAN, dtype=torch.float64))
    assert held(empty, "scale").item() == 1.0


def test_scalar_encoding_is_zero_at_the_baseline_exactly():
    baseline = torch.tensor([0.1, 0.3], dtype=torch.float64)
    encoder = ScalarEncoder(2).fit(torch.randn(50, 2, dtype=torch.float64), baseline)
    assert (encoder(baseline[None]) == 0).all()
    assert (encoder(torch.full((1, 2), NAN, dtype=torch.float64)) == 0).all()


def test_ramps_interpolate_between_quantiles():
    x = torch.arange(101, dtype=torch.float64)[:, None]
    encoder = PlayerEncoder(1, bins=4, width=1).fit(x).double()
    with torch.no_grad():
        encoder.slopes.zero_()
        encoder.slopes[0, 1:5, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    values = encoder(torch.tensor([[0.0], [12.5], [25.0], [100.0], [1e9]], dtype=torch.float64))
    assert values[0, :, 0].tolist() == pytest.approx([0, 0.5, 1, 10, 10], abs=1e-6)


def test_few_distinct_values_are_the_edges_themselves():
    z = torch.tensor([1.0, 1.0, 2.0, NAN], dtype=torch.float64)
    assert quantile_edges(z, 3).tolist() == [1, 2, 2, 2]
    assert quantile_edges(torch.full((2,), NAN, dtype=torch.float64), 2).tolist() == [0, 0, 0]


def test_held_constants_keep_their_bits_under_casts():
    module = torch.nn.Module()
    value = torch.tensor([0.1, NAN, INF, -0.0], dtype=torch.float64)
    hold(module, "edge", value)
    module.to(torch.float16)
    assert torch.equal(held(module, "edge").view(torch.int64), value.view(torch.int64))
    overwrite(module, "edge", torch.ones(4))
    assert held(module, "edge").tolist() == [1, 1, 1, 1]


def test_wrong_number_of_cardinalities_is_refused():
    with pytest.raises(ValueError, match="cardinalities"):
        PlayerEncoder(3, cardinalities=[0, 2])
