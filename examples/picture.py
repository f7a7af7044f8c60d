"""The picture of the README: one person's income, and thousands of them, each value exact.

python examples/picture.py adult.csv income      # or nothing: scikit-learn's diabetes study
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from harsanyi import HarsanyiClassifier, HarsanyiRegressor


def main(
    arguments: list[str], out: Path = Path("docs/pictures/values.png"), rows: int = 400
) -> Path:
    """Train, explain rows that training did not see, and draw them.

    Args:
        arguments: Path of a CSV and its target column, or nothing.
        out: PNG to write.
        rows: Rows to explain.

    Returns:
        The path of the picture.
    """
    if arguments:
        path, target = arguments
        frame = pd.read_csv(path)
    else:
        from sklearn.datasets import load_diabetes

        frame, target = load_diabetes(as_frame=True, scaled=False).frame, "target"
    held = frame.sample(n=min(rows, len(frame) // 5), random_state=0)
    seen = frame.drop(index=held.index)
    kind = HarsanyiRegressor if frame[target].dtype.kind == "f" else HarsanyiClassifier
    model = kind(random_state=0).fit(seen.drop(columns=target), seen[target])
    explanation = model.explain(held.drop(columns=target))

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    explanation.plot.waterfall(0, max_players=9, ax=left)
    explanation.plot.beeswarm(max_players=10, ax=right)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=90)
    plt.close(figure)
    return out


if __name__ == "__main__":
    print(main(sys.argv[1:]))
