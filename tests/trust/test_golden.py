"""Check 25: explanations stored with their models come out again; `python -m tests.trust.test_golden` remakes them.

A change here is a change of what users were told: a line in the changelog and a new major version.
"""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from amortized import LEX
from baselines import Explanation, GaussianImputer
from harsanyi import HarsanyiClassifier, HarsanyiRegressor

STORE = Path(__file__).resolve().parent / "golden"


def rows() -> pd.DataFrame:
    """Twenty rows of two numbers and a category, the same on every machine."""
    place = torch.arange(20, dtype=torch.float64)
    return pd.DataFrame(
        {
            "a": (place * 0.7).sin().numpy(),
            "b": (place * 1.3).cos().numpy(),
            "c": ["x" if i % 3 else "y" for i in range(20)],
        }
    )


def made(name: str) -> object:
    """A small fitted model."""
    X = pd.concat([rows()] * 5, ignore_index=True)
    y = X["a"] * X["b"] + (X["c"] == "x")
    quick = {"bags": 1, "epochs": 2, "random_state": 0}
    if name == "products":
        return HarsanyiRegressor(**quick, parts=("subsets", "products")).fit(X, y)
    if name == "additive":
        return HarsanyiClassifier(**quick, parts=("additive",)).fit(X, y > 0.5)
    if name == "chen2023":
        return HarsanyiClassifier(preset="chen2023", epochs=2, random_state=0).fit(X, y > 0.5)
    x = X[["a", "b"]].to_numpy()
    lex = LEX.for_tabular(2, 2, imputer=GaussianImputer.fit(x), width=4, random_state=0)
    return lex.fit(x, (y > 0.5).to_numpy().astype(int), epochs=1)


def explained(name: str, model: object) -> Explanation:
    """What a model says of the rows."""
    X = rows()
    return model.explain(X[["a", "b"]].to_numpy() if name == "lex" else X)


READERS = {
    "products": HarsanyiRegressor,
    "additive": HarsanyiClassifier,
    "chen2023": HarsanyiClassifier,
    "lex": LEX,
}


@pytest.mark.parametrize("name", READERS)
def test_a_stored_explanation_comes_out_again(name, figure):
    model = READERS[name].from_pretrained(STORE / name / "model")
    stored = Explanation.load(STORE / name / "explanation.safetensors")
    again = explained(name, model)
    assert again.game == stored.game
    figure(float((again.values - stored.values).abs().max()), 1e-6)


def store() -> None:
    """Make the stored models and explanations anew."""
    shutil.rmtree(STORE, ignore_errors=True)
    for name in READERS:
        model = made(name)
        model.save_pretrained(STORE / name / "model")
        explained(name, model).save(STORE / name / "explanation.safetensors")


if __name__ == "__main__":
    store()
