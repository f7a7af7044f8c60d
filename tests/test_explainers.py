"""The contract that every explainer keeps, whatever it is made of: one table, one set of laws.

To bring in another explainer, add a line to `EXPLAINERS`: how it is made, what it explains, and
whether its values add up to the output.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from baselines import (
    LRP,
    BaselineImputer,
    DeepLift,
    EmpiricalImputer,
    ExpectedGradients,
    Explainer,
    Explanation,
    GaussianImputer,
    GradientXInput,
    GuidedBackprop,
    IntegratedGradients,
    Lime,
    MarginalImputer,
    NeighborImputer,
    Occlusion,
    RemovalExplainer,
    Saliency,
    SmoothGrad,
    exact_shapley,
    kernel_shap,
    permutation_shapley,
    shapley,
)

B, N, K = 4, 6, 3


def network(activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(N, 8), activation(), nn.Linear(8, 8), activation(), nn.Linear(8, K)]
        return nn.Sequential(*layers).eval()


ROWS = torch.randn(40, N, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@dataclasses.dataclass(frozen=True)
class Contract:
    """How an explainer is made and what it promises.

    Args:
        make: From a model on a device and in a dtype, and a background like its rows.
        estimand: What its values stand for.
        complete: Tolerance within which values and base add up to the output; None promises
            nothing.
        activation: Of the network it explains.
        extra: A package it needs.
        own: Explains its own output, not the network's.
        per_row: A row's values do not depend on the rows beside it.
        dummy: Most that a feature gets which the model ignores; None where an imputer or a chance
            coalition may credit it.
    """

    make: Callable[[nn.Module, torch.Tensor], Any]
    estimand: str
    complete: float | None = None
    activation: type[nn.Module] = nn.Tanh
    extra: str | None = None
    own: bool = False
    per_row: bool = True
    dummy: float | None = 1e-9


def removal(
    estimator: Callable[..., Explanation],
    imputer: Any,
    *,
    per_row: bool = True,
    dummy: float | None = 1e-9,
    **options: Any,
) -> Contract:
    def make(model: nn.Module, rows: torch.Tensor) -> RemovalExplainer:
        return RemovalExplainer(model, imputer(rows), estimator, **options)

    return Contract(make, "shapley", complete=1e-9, per_row=per_row, dummy=dummy)


def harsanyi_net(model: nn.Module, rows: torch.Tensor) -> Any:
    """A HarsanyiNet, which explains itself rather than the model."""
    from tests.small_nets import make_net, presence_spec

    net = make_net(presence_spec(N, 2, learned=True), N, K)
    return net.to(rows.device, rows.dtype)


def image_net(model: nn.Module, rows: torch.Tensor) -> Any:
    """A net over images of 2 x 3 pixels, each a player, which explains itself."""
    from tests.small_images import pixel_net

    return pixel_net(2, 3, K).to(rows.device, rows.dtype)


EXPLAINERS: dict[str, Contract] = {
    "saliency": Contract(lambda m, r: Saliency(m), "gradient"),
    "gradient x input": Contract(lambda m, r: GradientXInput(m), "gradient"),
    "SmoothGrad": Contract(lambda m, r: SmoothGrad(m, n_draws=6), "gradient"),
    "integrated gradients": Contract(
        lambda m, r: IntegratedGradients(m, r[0]), "gradient", complete=1e-6
    ),
    "expected gradients": Contract(
        lambda m, r: ExpectedGradients(m, r[:8], n_steps=16), "gradient", complete=0.05
    ),
    "DeepLIFT": Contract(
        lambda m, r: DeepLift(m, r[:1]), "gradient", 1e-6, activation=nn.ReLU, extra="captum"
    ),
    "LRP": Contract(lambda m, r: LRP(m), "gradient", activation=nn.ReLU, extra="captum"),
    "guided backpropagation": Contract(
        lambda m, r: GuidedBackprop(m), "gradient", activation=nn.ReLU, extra="captum"
    ),
    "LIME": Contract(lambda m, r: Lime(m, budget=40), "surrogate", dummy=0.2),
    "occlusion": Contract(lambda m, r: Occlusion(m, MarginalImputer(r[:5])), "occlusion"),
    "exact": removal(exact_shapley, lambda r: BaselineImputer(r[0])),
    "permutations": removal(permutation_shapley, lambda r: MarginalImputer(r[:5]), budget=30),
    "kernel": removal(kernel_shap, lambda r: MarginalImputer(r[:5]), budget=40, dummy=0.01),
    # it chooses by the held-out error of the whole batch
    "automatic": removal(
        shapley,
        lambda r: GaussianImputer.fit(r, n_draws=6),
        per_row=False,
        dummy=None,
        budget=40,
    ),
    "exact, neighbours": removal(
        exact_shapley, lambda r: NeighborImputer.fit(r, 6, n_draws=6), dummy=None
    ),
    "exact, empirical": removal(
        exact_shapley, lambda r: EmpiricalImputer.fit(r, 0.5, n_draws=6), dummy=None
    ),
    "HarsanyiNet": Contract(harsanyi_net, "shapley", complete=1e-9, own=True),
    "HarsanyiNet, images": Contract(image_net, "shapley", complete=1e-9, own=True),
}


@pytest.fixture(params=EXPLAINERS)
def contract(request) -> Contract:
    contract = EXPLAINERS[request.param]
    if contract.extra:
        pytest.importorskip(contract.extra, reason=f"the extra {contract.extra} is not installed")
    return contract


@pytest.fixture
def played(contract, device, dtype):
    """The explainer, the model it explains, and explicands on the device and in the dtype."""
    model = network(contract.activation).to(device, dtype)
    rows = ROWS.to(device, dtype)
    x = torch.randn(B, N, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    explainer = contract.make(model, rows)
    return explainer, explainer if contract.own else model, x.to(device, dtype)


def close(dtype: torch.dtype) -> dict[str, float]:
    return {"rtol": 0, "atol": 1e-10 if dtype == torch.float64 else 1e-4}


def test_values_have_an_entry_for_every_player_and_output(contract, played):
    explainer, _, x = played
    e = explainer.explain(x)
    assert isinstance(explainer, Explainer)
    assert isinstance(e, Explanation)
    assert e.shape == (B, N, K)
    assert torch.isfinite(e.values).all()
    assert e.values.abs().sum() > 0
    assert e.estimand == contract.estimand
    assert e.method
    assert e.game
    assert e.n_evals >= 1
    assert not e.values.requires_grad


def test_values_follow_the_device_and_the_dtype_of_the_rows(played):
    explainer, _, x = played
    values = explainer.explain(x).values
    assert values.device == x.device
    assert values.dtype == x.dtype


def test_a_row_is_explained_the_same_alone_and_in_a_batch(contract, played, dtype):
    explainer, _, x = played
    if not contract.per_row:
        pytest.skip("chooses its method by the whole batch")
    together = explainer.explain(x).values
    alone = torch.cat([explainer.explain(x[i : i + 1]).values for i in range(B)])
    torch.testing.assert_close(together, alone, **close(dtype))
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(explainer.explain(x[order]).values, together[order], **close(dtype))


def test_values_add_up_where_that_is_promised_and_else_say_what_they_lack(contract, played, dtype):
    explainer, model, x = played
    e = explainer.explain(x)
    gap = e.diagnostics.get("additivity_gap")
    if gap is not None:
        assert gap.shape == (B, K)
    if contract.complete is None:
        return
    assert e.base_values is not None
    due = model(x).detach() - e.base_values
    lack = due - e.values.sum(1)
    atol = contract.complete if dtype == torch.float64 else max(contract.complete, 1e-4)
    torch.testing.assert_close(lack, torch.zeros_like(lack), rtol=0, atol=atol)
    if gap is not None:
        torch.testing.assert_close(gap.to(lack), lack, **close(dtype))


def test_explaining_twice_gives_the_same_and_moves_no_global_generator(played):
    explainer, _, x = played
    before = torch.get_rng_state()
    first = explainer.explain(x)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(explainer.explain(x).values, first.values)


def test_an_explanation_comes_back_from_its_file_bit_for_bit(played, tmp_path):
    explainer, _, x = played
    e = explainer.explain(x)
    e.save(tmp_path / "e.safetensors")
    again = Explanation.load(tmp_path / "e.safetensors")
    assert torch.equal(again.values, e.values.cpu())
    for name in ("base_values", "std_errors", "data"):
        ours, loaded = getattr(e, name), getattr(again, name)
        assert (ours is None) == (loaded is None)
        assert ours is None or torch.equal(ours.cpu(), loaded)
    assert (again.estimand, again.method, again.game, again.exact, again.n_evals) == (
        e.estimand,
        e.method,
        e.game,
        e.exact,
        e.n_evals,
    )
    assert again.diagnostics.keys() == e.diagnostics.keys()


def test_attribute_is_one_output_of_explain_in_the_shape_of_the_inputs(contract, played, dtype):
    explainer, _, x = played
    if contract.own:
        pytest.skip("a self-explaining model has no captum form")
    whole = explainer.explain(x).values
    target = torch.tensor([0, 2, 1, 1], device=x.device)
    scores = explainer.attribute(x, target=target)
    wanted = whole.gather(-1, target[:, None, None].expand(-1, N, 1))[..., 0]
    torch.testing.assert_close(scores, wanted, **close(dtype))
    (alone,) = explainer.attribute((x,), target=1)
    torch.testing.assert_close(alone, whole[..., 1], **close(dtype))


def test_an_output_that_ignores_a_feature_gives_it_nothing(contract, played, dtype):
    explainer, model, x = played
    if contract.own or contract.dummy is None:
        pytest.skip("promises nothing about features that the network ignores")
    with torch.no_grad():
        model[0].weight[:, 2] = 0
    values = explainer.explain(x).values[:, 2]
    atol = contract.dummy if dtype == torch.float64 else max(contract.dummy, 1e-4)
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=atol)
