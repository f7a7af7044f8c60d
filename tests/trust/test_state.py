"""Checks 6 to 8: the same seed gives the same bits, nothing global moves, and a saved model comes back."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from amortized import LEX
from baselines import (
    BaselineImputer,
    GaussianImputer,
    IntegratedGradients,
    MarginalImputer,
    MaskedGame,
    compress,
    kernel_shap,
    lime,
    odd_gp,
    permutation_shapley,
    sage,
    shapley,
)
from tests.small_nets import rows

ROOT = Path(__file__).resolve().parent.parent.parent

TRAIN = """
import numpy as np, torch
from baselines import MaskedGame, BaselineImputer, shapley
from baselines.fingerprints import content_hash
from harsanyi import HarsanyiClassifier
from amortized import LEX
from baselines import GaussianImputer
x = np.random.default_rng(0).normal(size=(80, 4))
y = (x[:, 0] * x[:, 1] > 0).astype(int)
model = HarsanyiClassifier(bags=1, epochs=2, random_state=3).fit(x, y)
lex = LEX.for_tabular(4, 2, imputer=GaussianImputer.fit(x), width=8, random_state=3).fit(x, y, epochs=2)
game = MaskedGame(lambda rows: rows.sum(1).sin(), torch.from_numpy(x[:3]).repeat(1, 4), BaselineImputer(0.0))
print(content_hash({
    "model": model.explain(x[:5]).values,
    "lex": lex.explain(x[:5]).values,
    "shapley": shapley(game, 100).values,
}))
"""

READ = """
import sys
from baselines.fingerprints import content_hash
from baselines import Explanation
from harsanyi import HarsanyiClassifier
import pandas as pd
folder = sys.argv[1]
X = pd.read_parquet(folder + "/rows.parquet")
model = HarsanyiClassifier.from_pretrained(folder + "/model")
assert not any(t.is_meta for t in model.net_.state_dict().values())
print(content_hash({"values": model.explain(X).values}))
model.save_pretrained(folder + "/model")
"""


def printed(program: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_in_two_processes():
    first = printed(TRAIN)
    assert len(first) >= 16
    assert printed(TRAIN) == first


def global_states() -> tuple:
    return (
        torch.random.get_rng_state().tolist(),
        [str(part) for part in np.random.get_state(legacy=False)["state"]["key"]],
        np.random.get_state(legacy=False)["state"]["pos"],
        random.getstate(),
    )


def smooth(x: torch.Tensor) -> torch.Tensor:
    return torch.stack([x.sin().sum(1), (x[:, 0] * x[:, 1])], 1)


X = rows(60, 6, seed=1)
Y = (X[:, 0] > 0).long()


def game():
    return MaskedGame(smooth, X[:2], BaselineImputer(torch.zeros(6, dtype=torch.float64)))


CALLS = {
    "permutation_shapley": lambda: permutation_shapley(game(), 40),
    "kernel_shap": lambda: kernel_shap(game(), 40),
    "odd_gp": lambda: odd_gp(game(), 40),
    "shapley": lambda: shapley(game(), 40),
    "marginal": lambda: shapley(MaskedGame(smooth, X[:2], MarginalImputer(X[:9])), 64),
    "gaussian": lambda: shapley(MaskedGame(smooth, X[:2], GaussianImputer.fit(X)), 64),
    "compress": lambda: compress(X, 8),
    "lime": lambda: lime(game(), 40),
    "sage": lambda: sage(lambda x: smooth(x).softmax(1), X, Y, MarginalImputer(X[:9]), budget=64),
    "gradients": lambda: IntegratedGradients(smooth).explain(X[:2]),
    "lex": lambda: (
        LEX.for_tabular(6, 2, imputer=GaussianImputer.fit(X), width=8, random_state=0)
        .fit(X, Y, epochs=1)
        .explain(X[:2])
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_public_call_moves_no_global_random_state(name):
    before = global_states()
    CALLS[name]()
    assert global_states() == before


def test_fitting_and_explaining_move_no_global_random_state(table, classifier):
    X, y = table
    before = global_states()
    again = type(classifier)(bags=1, epochs=1, random_state=1).fit(X, y)
    again.explain(X[:3])
    again.dividends(X[:2])
    assert global_states() == before


def test_a_model_comes_back_three_times_in_new_processes(table, classifier, tmp_path, count):
    from baselines.fingerprints import content_hash

    X, _ = table
    X.to_parquet(tmp_path / "rows.parquet")
    classifier.save_pretrained(tmp_path / "model")
    first = content_hash({"values": classifier.explain(X).values})
    for _ in range(count(1, 3)):
        assert printed(READ, str(tmp_path)) == first


def test_unknown_or_missing_weights_are_refused(classifier, tmp_path):
    from safetensors.torch import load_file, save_file

    classifier.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    state = load_file(path)
    name = min(state)
    for changed in ({**state, "stray": torch.zeros(1)}, {k: state[k] for k in state if k != name}):
        save_file(changed, path, metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"weights|missing|unexpected|stray|tensor"):
            type(classifier).from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"]
