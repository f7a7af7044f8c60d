"""Intervals around attributions, as wide as held-out truth says they must be."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from baselines.explanation import Explanation


def half_widths(
    said: Explanation, truth: Explanation, levels: Sequence[float]
) -> dict[str, list[float]]:
    """What predicted errors must be multiplied by to cover a share of the true values.

    Every example weighs the same, whatever its number of players, and one more example counts as
    never covered, so that the share holds for the next example on average.

    Args:
        said: Explanations of held-out examples, values `(b, n, k)`.
        truth: Their values; its own error should be small beside that of `said`.
        levels: Shares to cover, in (0, 1).

    Returns:
        Level, as text, -> `k` factors on `std_errors`, or half-widths where there are none.

    Raises:
        ValueError: If shapes differ, a level is no share, or there are too few examples.

    Source: Lei et al. (2018), sec. 2; pooled over groups, Dunn et al. (2023), sec. 3.
    """
    n, mask = said.shape[1], said.player_mask
    known = truth.values
    if mask is not None and truth.player_mask is not None and known.shape[1] != n:
        # texts are padded to the longest of their company, which may differ
        short = not bool(truth.player_mask[:, n:].any())
        known = torch.nn.functional.pad(known, (0, 0, 0, max(0, n - known.shape[1])))
        known = known[:, :n] if short else known
    if said.values.shape != known.shape:
        raise ValueError(
            f"explanations have values {tuple(said.values.shape)}, the truth "
            f"{tuple(truth.values.shape)}; explain the same examples."
        )
    scores = (said.values.cpu().double() - known.cpu().double()).abs()
    if said.std_errors is not None:
        scores = scores / said.std_errors.cpu().double().clamp(min=1e-12)
    real = torch.ones(said.shape[:2], dtype=torch.bool) if mask is None else mask.cpu()
    weight = real.double() / real.sum(1, keepdim=True).clamp(min=1)
    b = len(said)
    found = {}
    for level in levels:
        if not 0 < level < 1:
            raise ValueError(f"level={level}; a share between 0 and 1 is needed.")
        if level * (b + 1) > b:
            raise ValueError(
                f"{b} examples cannot show what covers {level}; pass at least "
                f"{int(level / (1 - level)) + 1}."
            )
        share = level * (b + 1)
        found[str(level)] = [
            _quantile(scores[..., output][real], weight[real], share)
            for output in range(said.shape[2])
        ]
    return found


def _quantile(scores: Tensor, weight: Tensor, mass: float) -> float:
    """The least score up to which weights sum to a mass."""
    order = scores.argsort()
    reached = weight[order].cumsum(0)
    place = int((reached < mass - 1e-9).sum())
    return float(scores[order][min(place, len(scores) - 1)])


def with_intervals(
    said: Explanation, conformal: Mapping[str, Any], level: float, refine: int
) -> Explanation:
    """The explanation with the half-widths of its intervals as diagnostic `half_width` `(b, n, k)`.

    Args:
        said: An explanation of the kind that was calibrated.
        conformal: From `AmortizedConfig.conformal`.
        level: Share to cover.
        refine: Fresh pairs behind the explanation.

    Raises:
        ValueError: If intervals of this kind were not calibrated.
    """
    factors = conformal.get(str(refine), {}).get(str(level))
    if factors is None:
        known = [(int(r), list(found)) for r, found in conformal.items()]
        raise ValueError(
            f"no intervals of level {level} at refine={refine} were calibrated (there are "
            f"{known}); call explainer.calibrate(held_out, truth, refine={refine})."
        )
    factor = said.values.new_tensor(factors)
    width = factor.expand_as(said.values)
    if said.std_errors is not None:
        width = said.std_errors * factor
    return dataclasses.replace(
        said, diagnostics={**said.diagnostics, "half_width": width.contiguous()}
    )
