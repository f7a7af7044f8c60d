"""Laws of blending: the same as a choice by mask, bit for bit."""

import pytest
import torch

from baselines.blending import blend

SHAPES = {
    "one filling": ((3, 1, 5), (1, 7, 5), (5,)),
    "a mask each": ((3, 1, 5), (3, 7, 5), (5,)),
    "a number": ((3, 1, 5), (3, 7, 5), ()),
    "a background": ((3, 1, 1, 5), (1, 7, 1, 5), (4, 5)),
    "a filling each": ((3, 1, 1, 2, 5), (3, 7, 1, 2, 5), (3, 7, 4, 2, 5)),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
@pytest.mark.parametrize("expanded", [False, True])
def test_blending_is_a_choice_by_mask(shape, dtype, expanded):
    draw = torch.Generator().manual_seed(0)
    x, mask, filling = (torch.randn(size, generator=draw) * 9 for size in shape)
    mask = mask > 0
    if expanded and len(mask) == 1:
        mask = mask.expand(3, *mask.shape[1:])
    x, filling = (x > 0, filling > 0) if dtype == torch.bool else (x.abs(), filling.abs())
    x, filling = x.to(dtype), filling.to(dtype)
    found = blend(mask, x, filling)
    assert found.dtype == dtype
    assert torch.equal(found, torch.where(mask, x, filling))


def test_present_entries_keep_their_bits():
    odd = torch.tensor([float("nan"), -0.0, float("inf"), 1e-45])
    mask = torch.tensor([[True] * 4, [False] * 4])
    found = blend(mask, odd, torch.tensor(2.0))
    assert torch.equal(found[0].view(torch.int32), odd.view(torch.int32))
    assert torch.equal(found[1], torch.full((4,), 2.0))


def test_a_filling_takes_the_dtype_of_floats_and_promotes_integers():
    mask = torch.tensor([True, False])
    assert blend(mask, torch.zeros(2), torch.ones(2, dtype=torch.float64)).dtype == torch.float32
    assert blend(mask, torch.zeros(2).long(), torch.tensor(0.5)).tolist() == [0.0, 0.5]


def test_gradients_flow_through_both():
    x = torch.ones(2, requires_grad=True)
    filling = torch.ones(2, requires_grad=True)
    blend(torch.tensor([True, False]), x, filling).sum().backward()
    assert x.grad is not None
    assert filling.grad is not None
    assert (x.grad.tolist(), filling.grad.tolist()) == ([1.0, 0.0], [0.0, 1.0])
