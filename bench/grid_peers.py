"""The public estimators of the estimator grid, each as a function of a game and a budget.

A peer is listed only where its package and class are installed: the newest shap and shapiq need
Python 3.12, for which `make peers` builds an environment of its own.
"""

import importlib
import importlib.metadata
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.grid_games import Counted
from bench.guest_streams import guest_seeded

Answer = NDArray[np.float64]
Peer = Callable[[Counted, int, int, int], Answer]
"""`run(game, n_players, budget, seed)`: values `(n,)`."""

PACKAGES = ("shap", "shapiq", "captum", "lightgbm", "xgboost", "numpy", "torch")
"""Packages whose versions an answer carries."""

AT_ONCE = 256
"""Coalitions that captum hands to a model at once; its default of 1 takes a hundred times longer."""


def _shapiq(name: str, **options: Any) -> Peer:  # noqa: ANN401
    def run(game: Counted, n: int, budget: int, seed: int) -> Answer:
        kind = getattr(importlib.import_module("shapiq.approximator"), name)
        found = kind(n=n, random_state=seed, **options).approximate(budget, game)
        return np.asarray(found.get_n_order_values(1), dtype=np.float64)

    return run


def _shap_kernel(game: Counted, n: int, budget: int, seed: int) -> Answer:
    shap: Any = importlib.import_module("shap")
    explainer = shap.KernelExplainer(lambda z: game(z > 0.5), np.zeros((1, n)))
    with guest_seeded(seed):
        found = explainer.shap_values(
            np.ones((1, n)), nsamples=budget - 2, l1_reg=False, silent=True
        )
    return found[0]


def _shap_permutation(game: Counted, n: int, budget: int, seed: int) -> Answer:
    shap: Any = importlib.import_module("shap")
    rounds = max(1, budget // (2 * n + 1))
    masker = shap.maskers.Independent(np.zeros((1, n)))
    explainer = shap.PermutationExplainer(lambda z: game(z > 0.5), masker, seed=seed)
    return explainer(np.ones((1, n)), max_evals=rounds * (2 * n + 1), silent=True).values[0]


def _captum(name: str) -> Peer:
    def run(game: Counted, n: int, budget: int, seed: int) -> Answer:
        attr: Any = importlib.import_module("captum.attr")
        method = getattr(attr, name)(lambda z: torch.from_numpy(game(z.numpy() > 0.5)))
        # an order of ShapleyValueSampling costs n coalitions, a sample of KernelShap one
        samples = budget // n if name == "ShapleyValueSampling" else budget - 2
        with guest_seeded(seed):
            found = method.attribute(
                torch.ones(1, n, dtype=torch.float64),
                baselines=0.0,
                n_samples=samples,
                perturbations_per_eval=AT_ONCE,
            )
        return found[0].double().numpy()

    return run


PEERS: dict[str, Peer] = {
    "captum KernelShap": _captum("KernelShap"),
    "captum ShapleyValueSampling": _captum("ShapleyValueSampling"),
    "shap KernelExplainer": _shap_kernel,
    "shap PermutationExplainer": _shap_permutation,
    "shapiq KernelSHAP paired": _shapiq("KernelSHAP", pairing_trick=True),
    "shapiq LeverageSHAP": _shapiq("LeverageSHAP"),
    "shapiq OddSHAP": _shapiq("OddSHAP"),
    "shapiq RegressionMSR": _shapiq("RegressionMSR", index="SV"),
    "shapiq PermutationSamplingSV": _shapiq("PermutationSamplingSV"),
}
"""shapiq's SVARM is left out: 70 times the error of least squares, and minutes a game."""


def installed_peers() -> dict[str, Peer]:
    """The peers that this environment has."""
    found = {}
    for name, peer in PEERS.items():
        package, kind = name.split()[:2]
        module = {"shap": "shap", "shapiq": "shapiq.approximator", "captum": "captum.attr"}
        try:
            guest = importlib.import_module(module[package])
        except ImportError:
            continue
        if hasattr(guest, kind):
            found[name] = peer
    return found


def versions() -> dict[str, str]:
    """Versions of the peers, of what they stand on, and of Python."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
