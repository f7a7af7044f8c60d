"""A table, end to end: train, explain exactly, ask what-if questions, check by brute force.

python examples/tabular.py                       # scikit-learn's diabetes study
python examples/tabular.py data.csv column       # a table of your own
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from baselines import exact_shapley, permutation_shapley
from bench import evaluate, own_problem
from harsanyi import HarsanyiClassifier, HarsanyiRegressor


def read(arguments: list[str]) -> tuple[pd.DataFrame, pd.Series]:
    """Rows and target: of the file that is named, else of the diabetes study."""
    if arguments:
        path, target = arguments
        frame = pd.read_csv(path)
    else:
        from sklearn.datasets import load_diabetes

        frame, target = load_diabetes(as_frame=True, scaled=False).frame, "target"
    return frame.drop(columns=target), frame[target]


def main(arguments: list[str], folder: Path = Path("out/tabular"), **settings: object) -> float:
    """Run the example.

    Args:
        arguments: Path of a CSV and its target column, or nothing.
        folder: Where model, explanations and pictures are written.
        settings: More keyword arguments for the estimator.

    Returns:
        Largest difference between the model's values and enumeration.
    """
    rows, target = read(arguments)
    few = rows.sample(n=len(rows) // 5, random_state=0)
    seen = rows.drop(index=few.index)

    # 1. A scikit-learn estimator; numbers, categories and missing values as they are.
    numeric = target.dtype.kind == "f"
    kind = HarsanyiRegressor if numeric else HarsanyiClassifier
    model = kind(random_state=0, **settings).fit(seen, target[seen.index])
    print(f"score on {len(few)} rows it has not seen: {model.score(few, target[few.index]):.3f}")

    # 2. Every prediction comes with its reasons, exact for the model's own game.
    explanation = model.explain(few)
    print(explanation)
    folder.mkdir(parents=True, exist_ok=True)
    explanation.save(folder / "explanations.safetensors")
    explanation.plot.waterfall(0).figure.savefig(folder / "waterfall.png")
    explanation.plot.beeswarm().figure.savefig(folder / "beeswarm.png")

    # 3. Questions that need no model call: interactions, groups, what if these were unknown.
    dividends = model.dividends(few.iloc[:4])
    pairs = dividends.interactions("k-SII", order=2)
    print("largest effects of row 0:", pairs.top(3, row=0, output=0))
    first, second, *_ = model.players_
    together = dividends.regroup({"both": [first, second]}).shapley()
    print(f"{first} and {second} as one player: {together[0, 0, 0]:+.3f}")
    unknown = torch.ones(1, 1, len(model.players_), dtype=torch.bool)
    unknown[..., :2] = False
    print(f"output if both were unknown: {dividends.value(unknown)[0, 0, 0]:.3f}")

    # 4. Trust nobody: the game is open, so enumerate it, and see what sampling would have given.
    problem = own_problem(model, few.iloc[:4])
    if len(model.players_) <= 12:
        truth = exact_shapley(problem.game())
        error = float((truth.values - explanation.values[:4]).abs().max())
        print(f"largest difference from enumerating {truth.n_evals} coalitions: {error:.1e}")
        sampled = permutation_shapley(problem.game(), budget=10 * len(model.players_))
        print(f"error of sampling: {float((sampled.values - truth.values).abs().max()):.1e}")
        print(f"rank agreement: {evaluate(model, problem, truth).mean('spearman'):.3f}")
    else:
        error = float(np.abs(explanation.diagnostics["additivity_gap"]).max())

    # 5. Files without pickle: safetensors and JSON.
    model.save_pretrained(folder / "model")
    again = kind.from_pretrained(folder / "model").explain(few)
    assert torch.equal(again.values, explanation.values)
    return error


if __name__ == "__main__":
    main(sys.argv[1:])
