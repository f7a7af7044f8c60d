"""Laws of player features and of the two parts that read them: additive terms and waves."""

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from baselines.exact import exact_shapley
from baselines.game import PresenceGame
from harsanyi.features import PlayerFeatures
from harsanyi.parts import build
from harsanyi.parts.additive import AdditivePart
from harsanyi.parts.waves import WavePart, enough_nodes

SIZES = [0, 4, 0, 0, 3, 0, 0]
N = len(SIZES)


def rows(seed: int, count: int = 200) -> Tensor:
    """Numbers and codes with missing cells, float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, N, generator=generator, dtype=torch.float64)
    for player, size in enumerate(SIZES):
        if size:
            x[:, player] = torch.randint(0, size, (count,), generator=generator).double()
    x[torch.rand(count, N, generator=generator) < 0.08] = torch.nan
    return x


def part_of(kind: str, seed: int, x: Tensor, **options: Any) -> Any:
    spec = {"kind": kind, "cardinalities": SIZES, "bins": 5, **options}
    part: Any = build(spec, N, 2).double()
    part.fit_encoder(x)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in part.parameters():
            weight.normal_(0, 0.7, generator=generator)
    return part


def everyone(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


def brute(part: Any, x: Tensor) -> Tensor:
    return exact_shapley(PresenceGame(lambda rows, present: part(rows, present), x)).values


KINDS = [("additive", {}), ("additive", {"absent": "mean"}), ("waves", {"units": 24})]


@pytest.mark.parametrize(("kind", "options"), KINDS)
@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_shapley_values_equal_enumeration(kind: str, options: dict, seed: int) -> None:
    x = rows(seed)
    part = part_of(kind, seed, x, **options)
    if options.get("absent") == "mean":
        part.fit_means(x)
    expected = brute(part, x[:3])
    assert expected.abs().max() > 0.05
    assert (part.shapley(x[:3], everyone(x[:3])) - expected).abs().max() <= 1e-12


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_terms_are_the_game(kind: str, options: dict) -> None:
    x = rows(1)[:3]
    part = part_of(kind, 1, rows(1), **options)
    if options.get("absent") == "mean":
        part.fit_means(rows(1))
    coalitions = torch.rand(1, 30, N, generator=torch.Generator().manual_seed(0)) < 0.5
    values = part.terms(x, everyone(x)).value(coalitions)
    expected = torch.stack([part(x, mask.expand(3, -1)) for mask in coalitions[0]], 1)
    assert (values - expected).abs().max() <= 1e-12


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_values_are_efficient_on_a_thousand_rows(kind: str, options: dict) -> None:
    x = rows(2, 1000)
    part = part_of(kind, 2, x, **options)
    v, base = part(x, everyone(x)), part(x, ~everyone(x))
    gap = part.shapley(x, everyone(x)).sum(1) - (v - base)
    assert (gap.abs() / v.abs().clamp(min=1)).max() <= 1e-12


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_what_stands_at_an_absent_player_does_not_matter(kind: str, options: dict) -> None:
    x = rows(3)[:6]
    part = part_of(kind, 3, rows(3), **options)
    present = everyone(x)
    present[:, [0, 1]] = False
    other = x.clone()
    other[:, 0], other[:, 1] = 1e30, torch.nan
    assert torch.equal(part(x, present), part(other, present))
    phi = part.shapley(x, present)
    assert (phi[:, [0, 1]] == 0).all()
    assert torch.equal(phi, part.shapley(other, present))


@pytest.mark.parametrize(("kind", "options"), KINDS)
@torch.no_grad()
def test_a_part_comes_back_from_its_spec_and_its_file(kind: str, options: dict) -> None:
    x = rows(4)
    part = part_of(kind, 4, x, **options)
    back: Any = build(part.spec, N, 2).double()
    back.load_state_dict(load(save(part.state_dict())))
    assert torch.equal(back(x, everyone(x)), part(x, everyone(x)))
    assert torch.equal(back.shapley(x, everyone(x)), part.shapley(x, everyone(x)))


@torch.no_grad()
def test_an_additive_mean_is_the_mean_of_the_terms() -> None:
    x = rows(5)
    part = part_of("additive", 5, x, absent="mean").fit_means(x)
    assert (part(x, ~everyone(x)) - part(x, everyone(x)).mean(0)).abs().max() <= 1e-12
    assert part.absences == {"marginal"}


@torch.no_grad()
def test_features_say_number_ramp_missing_code_and_presence() -> None:
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, torch.nan], [torch.nan, 9.0]]).double()
    encoder = PlayerFeatures([0, 2], bins=2).fit(x)
    present = torch.tensor([[True, True]] * 3 + [[True, False]])
    features = encoder(x, present)
    assert encoder.owner.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 1]
    assert features[0, 1:4].tolist() == [0, 0, 0]  # the first of three values: no ramp begun
    assert features[1, 1:4].tolist() == [1, 0, 0]
    assert features[3, :4].tolist() == [0, 0, 0, 1]  # missing, and only that
    assert features[:3, 4:7].tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]  # missing, 0, 1
    assert features[3, 4:7].tolist() == [0, 0, 0]  # absent
    assert features[:, 7:].tolist() == [[1, 1]] * 3 + [[1, 0]]


@torch.no_grad()
def test_an_unknown_code_and_a_huge_number_stay_finite() -> None:
    x = rows(6)
    part = part_of("waves", 6, x, units=8)
    strange = x[:2].clone()
    strange[0], strange[1] = 1e300, -1e300
    assert part(strange, everyone(strange)).isfinite().all()
    assert part.shapley(strange, everyone(strange)).isfinite().all()


@torch.no_grad()
def test_half_turns_are_no_trouble_for_waves() -> None:
    # factors of exactly -1 make products vanish in the middle of the diagonal
    part = WavePart(3, 1, units=1, bins=1).double().fit_encoder(torch.eye(3).double())
    part.angles.zero_()
    part.angles[-3:] = torch.pi
    part.phases.zero_()
    part.weights.fill_(1.0)
    x = torch.zeros(1, 3, dtype=torch.float64)
    assert (part.shapley(x, everyone(x)) - brute(part, x)).abs().max() <= 1e-14
    assert part.shapley(x, everyone(x)).flatten().tolist() == pytest.approx([-2 / 3] * 3)


@torch.no_grad()
def test_fewer_nodes_than_exact_are_as_good() -> None:
    generator = torch.Generator().manual_seed(0)
    n = 40
    x = torch.randn(4, n, generator=generator, dtype=torch.float64)
    part = WavePart(n, 2, units=16).double().fit_encoder(x)
    half = part._turns(x, everyone(x)) / 2
    nodes = max(enough_nodes(half.sin(), half.cos()))
    assert 4 <= nodes < n // 2
    by_algebra = part.terms(x, everyone(x)).shapley()
    assert (part.shapley(x, everyone(x)) - by_algebra).abs().max() <= 1e-14
    fast = half * 40
    assert max(enough_nodes(fast.sin(), fast.cos())) == n // 2


@torch.no_grad()
def test_tiles_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rows(7)[:40]
    part = part_of("waves", 7, x, units=8)
    whole = part.shapley(x, everyone(x))
    monkeypatch.setattr("harsanyi.parts.waves.TILE", 1)
    assert (part.shapley(x, everyone(x)) - whole).abs().max() <= 1e-14
    assert part.shapley(x[:0], everyone(x[:0])).shape == (0, N, 2)


def test_values_are_differentiable() -> None:
    x = rows(8)[:2].nan_to_num()
    part = part_of("waves", 8, rows(8), units=3)
    part.shapley(x, everyone(x)).square().sum().backward()
    assert part.angles.grad.abs().max() > 0


def test_unusable_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="cardinalities"):
        AdditivePart(3, 1, cardinalities=[0])
    with pytest.raises(ValueError, match="absent"):
        AdditivePart(3, 1, absent="nothing")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="units"):
        WavePart(3, 1, units=0)
