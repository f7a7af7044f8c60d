"""Gates' laws: indicators with finite gradients, and ANDs that close exactly."""

import pytest
import torch

from harsanyi.gates import presence_gate, straight_through, value_gate

TAUS = [-100.0, -50.0, -1.0, 0.0, 1.0, 50.0, 100.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_indicator_is_zero_or_one_and_zero_is_no_child(dtype):
    chosen = straight_through(torch.tensor(TAUS, dtype=dtype), 10.0)
    assert chosen.dtype == dtype
    assert chosen.tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beta", [1.0, 10.0, 1000.0])
def test_indicator_has_a_finite_sigmoid_gradient(dtype, beta):
    tau = torch.tensor(TAUS, dtype=dtype, requires_grad=True)
    upstream = torch.arange(1, 8, dtype=dtype)
    straight_through(tau, beta).backward(upstream)
    s = torch.sigmoid(tau.detach())
    assert tau.grad.isfinite().all()
    assert torch.allclose(tau.grad, upstream * beta * s * (1 - s), rtol=1e-5, atol=0)
    assert tau.grad[2:5].min() > 0


def test_presence_gate_opens_when_the_whole_field_is_there():
    fields = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0], [1, 1, 1]], dtype=torch.bool)
    present = torch.tensor([[1, 1, 0], [0, 1, 1]], dtype=torch.bool)
    gate = presence_gate(present, fields)
    assert gate.T.tolist() == [[True, False, True, False], [False, True, True, False]]


def test_presence_gate_counts_thousands_of_members():
    fields = torch.ones(1, 5000, dtype=torch.bool)
    present = torch.ones(2, 5000, dtype=torch.bool)
    present[1, 4999] = False
    assert presence_gate(present, fields).tolist() == [[True, False]]


@pytest.mark.parametrize("kind", ["tanh", "tanh_mean", "hard"])
@pytest.mark.parametrize("children", [1, 2, 9, 16, 25, 100])
def test_value_gate_closes_exactly_on_one_zero_among_any_number_of_children(kind, children):
    # the published code leaks beyond nine children: its root of 1e-30 is then no longer small
    z = torch.ones(2, children, dtype=torch.float32)
    z[1, -1] = 0
    gate = value_gate(z, torch.ones(3, children), 1.0, kind)
    assert (gate[0] > 0).all()
    assert (gate[1] == 0).all()


def test_value_gate_is_the_product_of_tanh():
    z = torch.tensor([[0.1, -0.2, 0.0, 0.7]], dtype=torch.float64)
    children = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 1], [0, 0, 0, 0]], dtype=torch.float64)
    t = torch.tanh(3 * z.abs())[0]
    product = value_gate(z, children, 3.0, "tanh")[0]
    root = value_gate(z, children, 3.0, "tanh_mean")[0]
    expected = torch.stack([t[0] * t[1], t[0] * t[1] * t[3], torch.ones(()).double()])
    assert torch.allclose(product, expected, rtol=1e-12)
    assert torch.allclose(root, expected ** torch.tensor([1 / 2, 1 / 3, 1]), rtol=1e-12)


def test_value_gate_has_finite_gradients_to_values_and_choices():
    z = torch.tensor([[0.1, 0.0, 0.5]], dtype=torch.float32, requires_grad=True)
    tau = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0]], requires_grad=True)
    value_gate(z, straight_through(tau, 10.0), 100.0, "tanh").sum().backward()
    assert z.grad.isfinite().all()
    assert tau.grad.isfinite().all()
    assert tau.grad[0, 1] < 0  # a child that is off would close the gate


def test_value_gate_gradient_to_values_is_that_of_the_product():
    z = torch.tensor([[0.1, 0.2, 0.5]], dtype=torch.float64, requires_grad=True)
    children = torch.tensor([[1, 0, 1], [1, 1, 1]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda z: value_gate(z, children, 2.0, "tanh"), (z,))
    assert torch.autograd.gradcheck(lambda z: value_gate(z, children, 2.0, "tanh_mean"), (z,))
