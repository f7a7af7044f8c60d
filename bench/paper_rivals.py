"""What HarsanyiNet's tables set beside it: DeepSHAP, FastSHAP, an ordinary network, FGSM."""

import tempfile
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.randomness import seeded

if TYPE_CHECKING:
    from bench.paper_harsanyinet import Setting

Floats = NDArray[np.float64]

WIDTH, DEPTH = 100, 3
"""Of the ordinary network, as of the paper's net."""

EPSILON = 8 / 255
"""Step of FGSM; here in units of a column's range over the training rows, as of a pixel's."""


class Logits(nn.Module):
    """A fitted classifier as a module from raw rows to its public logits.

    Args:
        model: A HarsanyiClassifier on numeric columns.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.net = model.net_

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(b, k)`, with gradients, everybody present."""
        return self.net(x, torch.ones_like(x, dtype=torch.bool))


def deepshap(model: Any, rows: Any) -> Floats:  # noqa: ANN401 - an estimator, a frame
    """DeepSHAP's values of the net against its baseline, through captum.

    Gates and encoders of the net are functions, not modules; captum passes those by their gradient.

    Args:
        model: A fitted HarsanyiClassifier.
        rows: `b` rows.

    Returns:
        `(b, n, k)`.

    Raises:
        ImportError: If captum is not installed.
    """
    from baselines import DeepLift

    baseline = torch.as_tensor(np.asarray(model.baseline_, dtype=np.float64))
    found = DeepLift(Logits(model), baseline=baseline).explain(model.encode(rows))
    return found.values.double().numpy()


def fastshap(model: Any, learn: Any, rows: Any, epochs: int) -> Floats:  # noqa: ANN401
    """Values by our FastSHAP, trained on the net's own game.

    Args:
        model: A fitted HarsanyiClassifier.
        learn: Rows to train on.
        rows: Rows to explain.
        epochs: Passes over the rows.

    Returns:
        `(b, n, k)`.
    """
    from amortized import AmortizedExplainer, presets
    from baselines import PresenceGame

    module = model.net_

    def games(x: Tensor) -> PresenceGame:
        return PresenceGame(module, x, description="HarsanyiNet, absence by mask")

    x = model.encode(learn)
    explainer = AmortizedExplainer.from_target(games, x, **presets.fastshap())
    with tempfile.TemporaryDirectory() as folder:
        explainer.fit(x, epochs=epochs, progress=False, checkpoint_dir=folder)
    return explainer.explain(model.encode(rows)).values.double().numpy()


def ordinary_network(one: "Setting", epochs: int) -> nn.Module:
    """A plain network of the same depth and width, trained by the same loop and batches.

    Args:
        one: Rows and seed.
        epochs: Passes over the rows.
    """
    from baselines import training

    x, y = numbers(one, one.learn), labels(one, one.learn)
    with seeded(one.seed):
        layers: list[nn.Module] = []
        for place in range(DEPTH):
            layers += [nn.Linear(x.shape[1] if place == 0 else WIDTH, WIDTH), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Linear(WIDTH, int(y.max()) + 1))

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor], noise: torch.Generator) -> Tensor:
        return nn.functional.cross_entropy(net(batch[0]), batch[1])

    training.fit(net, (x, y), loss, epochs=epochs, batch_size=128, key=one.seed)
    return net.eval()


def attack(one: "Setting") -> dict[str, float]:
    """Accuracy and values before and after one step of FGSM, of the net and of a plain network.

    Args:
        one: Rows, seed and budget.

    Returns:
        `clean_*`, `attacked_*`: accuracy on the test rows; `moved_*`: ||phi(x') - phi(x)||_2 of the
        right class over the explained rows, relative to ||phi(x)||_2, exact for the net and by
        1,000 samples for the plain network.

    Source: Goodfellow, Shlens and Szegedy (2015).
    """
    from baselines import BaselineImputer, MaskedGame, permutation_shapley

    x, y = numbers(one, one.test), labels(one, one.test)
    spread = numbers(one, one.learn).amax(0) - numbers(one, one.learn).amin(0)
    chosen = torch.from_numpy(np.searchsorted(one.test, np.sort(one.chosen)))
    plain = ordinary_network(one, one.budget.epochs)
    model = one.net()
    middle, scale = _scaling(one)
    found = {}
    sides: tuple[tuple[str, Any], ...] = (
        ("net", _Scaled(Logits(model), middle, scale)),
        ("mlp", plain),
    )
    for name, module in sides:
        moved = _fgsm(module, x, y, EPSILON * spread)
        for what, rows in (("clean", x), ("attacked", moved)):
            with torch.no_grad():
                found[f"{what}_{name}"] = float((module(rows).argmax(1) == y).double().mean())
        values = []
        for rows in (x[chosen], moved[chosen]):
            if name == "net":
                frame = one.rows(one.chosen[:0]).reindex(range(len(rows)))
                frame[:] = (rows * scale + middle).double().numpy()
                values.append(model.explain(frame.astype(np.float64)).values.double())
            else:
                game = MaskedGame(module, rows, BaselineImputer(torch.zeros_like(rows[0])))
                values.append(permutation_shapley(game, budget=1000).values.double())
        own = y[chosen][:, None, None].expand(-1, values[0].shape[1], 1)
        before, after = (part.gather(2, own)[..., 0] for part in values)
        found[f"moved_{name}"] = float(
            (after - before).norm(dim=1).mean() / before.norm(dim=1).mean()
        )
    return found


class _Scaled(nn.Module):
    """A module on raw rows, fed with standardised ones."""

    def __init__(self, module: nn.Module, middle: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.module, self.middle, self.scale = module, middle, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.module((x * self.scale + self.middle).double())


def numbers(one: "Setting", positions: NDArray[np.int64]) -> Tensor:
    """Standardised rows `(b, n)` in float32.

    Args:
        one: Rows and table.
        positions: Which rows.
    """
    middle, scale = _scaling(one)
    raw = torch.tensor(one.rows(positions).to_numpy(dtype=np.float64))
    return ((raw - middle) / scale).float()


def labels(one: "Setting", positions: NDArray[np.int64]) -> Tensor:
    """Classes as numbers, in sorted order.

    Args:
        one: Rows and table.
        positions: Which rows.
    """
    return torch.from_numpy(np.unique(one.table.y, return_inverse=True)[1][positions])


def _scaling(one: "Setting") -> tuple[Tensor, Tensor]:
    raw = torch.tensor(one.rows(one.learn).to_numpy(dtype=np.float64))
    return raw.mean(0), raw.std(0).clamp(min=1e-9)


def _fgsm(module: nn.Module, x: Tensor, y: Tensor, reach: Tensor) -> Tensor:
    """One signed gradient step of the loss."""
    moved = x.clone().requires_grad_(True)
    nn.functional.cross_entropy(module(moved), y).backward()
    assert moved.grad is not None  # backward has just filled it
    return (moved + reach * moved.grad.sign()).detach()
