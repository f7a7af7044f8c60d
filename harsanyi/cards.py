"""The model card: what a model is, what it was measured to be, and how to check it."""

from typing import Any


def model_card(estimator: Any) -> str:  # noqa: ANN401
    """A README.md for a fitted estimator.

    Args:
        estimator: A fitted HarsanyiClassifier or HarsanyiRegressor.

    Returns:
        Markdown with a YAML head.
    """
    net, measures = estimator.net_, estimator.measures_
    kind = type(estimator).__name__
    regression = net.config.problem_type == "regression"
    score = "share of variance explained" if regression else "accuracy"
    call = "outputs" if regression else "logits"
    spectrum = ", ".join(
        f"order {size}: {share:.1%}" for size, share in enumerate(measures["order_spectrum"], 1)
    )
    parts = ", ".join(sorted({part.spec["kind"] for part in net.parts})) or "none"
    players = ", ".join(estimator.players_[:50]) + (", ..." if net.n_players > 50 else "")
    return f"""---
library_name: harsanyi
tags: [tabular-{"regression" if regression else "classification"}, shapley-values]
---

# {kind}

A model of {net.n_players} players and {net.n_outputs} outputs whose forward pass holds the exact
Shapley values of its own game, v(S) = `{call}(X, present=S)`, with absence "{net.absence}".

| measured on {measures["rows"]} held-out rows | |
|---|---|
| {score} | {measures["score"]:.4f} |
| {score}, each cell absent with probability 1/2 | {measures["masked_score"]:.4f} |
| largest difference from enumeration, relative to max(1, v) | {measures["exactness"]:.1e} |
| largest additivity gap, relative to max(1, v) | {measures["additivity_gap"]:.1e} |
| absolute dividends by order | {spectrum or "none"} |

The held-out rows chose epochs and mixture weights, so scores on fresh rows may be a little lower.

Parts: {parts}. Players: {players}.
Outputs: {", ".join(map(str, net.config.outputs))}.

```python
from harsanyi import {kind}

model = {kind}.from_pretrained("this folder")
explanation = model.explain(X)  # values (b, n, k), base_values (b, k)
model.{call}(X, present=mask)   # the game, open to anybody's enumeration
```
"""
