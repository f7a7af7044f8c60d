"""Laws of subset modules: any network of few players, its game in closed form."""

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from baselines.exact import exact_shapley
from baselines.game import PresenceGame
from harsanyi.parts import build
from harsanyi.parts.subsets import SubsetPart, small_game
from harsanyi.scan import interacting_fields
from harsanyi.table import Column, Table

N = 7
FIELDS = [[0, 1, 2, 3], [4, 6], [5], [1, 3, 6], [0, 6, 5, 2]]


def rows(seed: int, count: int = 100) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, N, generator=generator, dtype=torch.float64)
    x[:, 3] = torch.randint(0, 4, (count,), generator=generator).double()
    x[torch.rand(count, N, generator=generator) < 0.05] = torch.nan
    return x


def part_of(seed: int, fields: list[list[int]] = FIELDS) -> Any:
    part = SubsetPart(N, 3, units=6, cardinalities=[0, 0, 0, 4, 0, 0, 0], bins=4, hidden=5)
    part.connect(fields).double().fit_encoder(rows(seed))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in part.parameters():
            weight.normal_(0, 0.8, generator=generator)
    return part


def everyone(x: Tensor) -> Tensor:
    return torch.ones_like(x, dtype=torch.bool)


@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_shapley_values_equal_enumeration(seed: int) -> None:
    part, x = part_of(seed), rows(seed)[:3]
    game = PresenceGame(lambda rows, present: part(rows, present), x)
    expected = exact_shapley(game).values
    assert expected.abs().max() > 0.1
    gap = (part.shapley(x, everyone(x)) - expected).abs().max()
    assert gap <= 1e-12 * max(1.0, float(part(x, everyone(x)).abs().max()))


@torch.no_grad()
def test_terms_are_the_game_and_lie_in_the_fields() -> None:
    part, x = part_of(0), rows(0)[:3]
    present = everyone(x)
    present[1, 6] = False
    d = part.terms(x, present)
    coalitions = torch.rand(1, 40, N, generator=torch.Generator().manual_seed(0)) < 0.5
    expected = torch.stack([part(x, mask & present) for mask in coalitions[0]], 1)
    assert (d.value(coalitions) - expected).abs().max() <= 1e-11
    fields = [set(field) for field in FIELDS]
    for coalition in d.coalitions:
        assert any(set(coalition.nonzero().flatten().tolist()) <= field for field in fields)
    assert (d.shapley() - part.shapley(x, present)).abs().max() <= 1e-11


@torch.no_grad()
def test_players_that_are_absent_or_in_no_field_are_worth_nothing() -> None:
    part, x = part_of(1, [[0, 1], [2, 4, 6]]), rows(1)[:5]
    present = everyone(x)
    present[:, 4] = False
    phi = part.shapley(x, present)
    assert (phi[:, [3, 4, 5]] == 0).all()
    assert (phi[:, [0, 1, 2, 6]] != 0).any(0).all()


@torch.no_grad()
def test_values_are_efficient_on_a_thousand_rows() -> None:
    part, x = part_of(2), rows(2, 1000)
    v, base = part(x, everyone(x)), part(x, ~everyone(x))
    gap = part.shapley(x, everyone(x)).sum(1) - (v - base)
    assert (gap.abs() / v.abs().clamp(min=1)).max() <= 1e-12


@torch.no_grad()
def test_tiles_do_not_change_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    part, x = part_of(3), rows(3)[:30]
    whole = part.shapley(x, everyone(x))
    monkeypatch.setattr("harsanyi.parts.subsets.TILE", 1)
    assert (part.shapley(x, everyone(x)) - whole).abs().max() <= 1e-12
    assert part.shapley(x[:0], everyone(x[:0])).shape == (0, N, 3)
    assert part.terms(x[:0], everyone(x[:0])).shapley().shape == (0, N, 3)


@torch.no_grad()
def test_a_part_comes_back_from_its_spec_and_its_file() -> None:
    part, x = part_of(4), rows(4)
    back: Any = build(part.spec, N, 3).double()
    back.load_state_dict(load(save(part.state_dict())))
    assert torch.equal(back(x, everyone(x)), part(x, everyone(x)))
    assert torch.equal(back.shapley(x, everyone(x)), part.shapley(x, everyone(x)))


def test_the_moebius_matrix_inverts_the_sum_over_subsets() -> None:
    coalitions, shares, moebius = small_game(3)
    inside = (coalitions[None] <= coalitions[:, None]).all(-1).double()
    assert torch.equal(moebius @ inside, torch.eye(8, dtype=torch.float64))
    assert shares[:, -1].tolist() == pytest.approx([1 / 3] * 3)
    assert shares.sum(1).abs().max() <= 1e-15


def test_unusable_fields_are_named() -> None:
    part = SubsetPart(3, 1, units=1, size=2)
    for field in ([], [0, 0], [0, 1, 2], [3]):
        with pytest.raises(ValueError, match=r"fields\[0\]"):
            part.connect([field])
    with pytest.raises(ValueError, match="units"):
        part.connect([[0], [1]])
    with pytest.raises(ValueError, match="size"):
        SubsetPart(3, 1, size=5)


def test_the_scan_finds_the_players_that_interact() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(800, 6, generator=generator, dtype=torch.float64)
    y = x[:, 1] * x[:, 4] + 2 * x[:, 0]
    table = Table(
        x=x,
        y=y[:, None],
        weight=torch.ones(800, dtype=torch.float64),
        columns=tuple(Column(f"x{i}") for i in range(6)),
        n_outputs=1,
        problem_type="regression",
        absence="mask",
        baseline=torch.zeros(6, dtype=torch.float64),
    )
    fields = interacting_fields(table, 8)
    assert len(fields) <= 8
    assert all(2 <= len(field) <= 4 for field in fields)
    assert any({1, 4} <= set(field) for field in fields[:2])
