"""Rationales: how well an explanation finds the words that people marked."""

import numpy as np
from numpy.typing import NDArray

from baselines.explanation import Explanation
from bench.comparable import NotComparable, real_players
from bench.selection_metrics import average_precision


def rationale_auprc(
    explanation: Explanation,
    rationale: NDArray[np.bool_],
    *,
    outputs: NDArray[np.int64] | None = None,
    signed: bool = False,
) -> NDArray[np.float64]:
    """Area under precision and recall of the players by importance, against a human's marks.

    Plausibility, not fidelity: a model may be right for reasons that nobody marked.

    Args:
        explanation: Values `(b, n, k)` of any estimand.
        rationale: Marked players, bool `(b, n)`; padding unmarked.
        outputs: Output of each explicand to read `(b,)`; the one with the largest sum of values
            and base when None, or the only one.
        signed: Rank by value, for marks that speak for the output; by magnitude otherwise.

    Returns:
        `(b,)`, average precision; NaN for explicands where no real player is marked.

    Raises:
        NotComparable: If the marks are of other explicands or players, or on padding.
    """
    b, n, k = explanation.shape
    real = real_players(explanation)
    if rationale.shape != (b, n) or rationale.dtype != bool:
        raise NotComparable(
            f"rationale is {rationale.dtype} of shape {rationale.shape}; an explanation of {b} "
            f"explicands and {n} players needs bool {(b, n)}."
        )
    if (rationale & ~real).any():
        raise NotComparable("rationale marks players that are padding.")
    values = explanation.values.detach().cpu().double().numpy()
    if outputs is None:
        total = values.sum(1)
        if explanation.base_values is not None:
            total = total + explanation.base_values.detach().cpu().double().numpy()
        outputs = total.argmax(-1) if k > 1 else np.zeros(b, dtype=np.int64)
    chosen = values[np.arange(b), :, outputs]
    scores = chosen if signed else np.abs(chosen)
    found = np.full(b, np.nan)
    for row in np.flatnonzero(rationale.any(1)):
        mask = real[row]
        found[row] = average_precision(scores[row][None, mask], rationale[row][None, mask])[0]
    return found
