"""Metrics for explanations of texts: noise ceilings, convergence curves, human sentiments.

Labels that were sampled are noisy. A flawless explainer agrees with them only up to sqrt(R), and
two independent sets of labels agree with each other only up to R, where R is the share of the
labels' variance over players that is no noise: the two ceilings are kept apart.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from baselines.explanation import Explanation
from bench import metrics


def reliability(labels: Explanation) -> np.ndarray:
    """Share R of the labels' variance over players that is no noise, for each output.

    Args:
        labels: Values `(b, n, k)` with standard errors, or exact ones.

    Returns:
        `(k,)` from 0 to 1; variances and squared errors are pooled over texts first, since a mean
        of R over texts is too low. NaN where no value differs from another.

    Raises:
        ValueError: If the labels are neither exact nor have standard errors.
    """
    if not labels.exact and labels.std_errors is None:
        raise ValueError(
            f"labels by {labels.method!r} have no standard errors, so their noise is unknown; "
            "sample two or more pairs of orders."
        )
    real = metrics.real_players(labels)[..., None]
    values = labels.values.detach().double().cpu().numpy()
    count = np.maximum(real.sum(1, keepdims=True), 1)
    mean = np.where(real, values, 0).sum(1, keepdims=True) / count
    total = np.where(real, (values - mean) ** 2, 0).sum((0, 1))
    if labels.exact or labels.std_errors is None:
        return np.where(total > 0, 1.0, np.nan)
    errors = labels.std_errors.detach().double().cpu().numpy()
    # an infinite error marks values without spread, whose noise is no larger than rounding
    noise = np.where(real & np.isfinite(errors), errors**2, 0)
    # centring takes one share of the noise with it
    noise = (noise * (1 - 1 / count)).sum((0, 1))
    share = np.divide(noise, total, out=np.full_like(total, np.nan), where=total > 0)
    return np.clip(1 - share, 0.0, 1.0)


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What noise in the labels leaves to be reached, for each output.

    Args:
        flawless: Correlation of a flawless explainer with the labels, sqrt(R).
        repeated: Correlation of two independent sets of such labels, R.
    """

    flawless: np.ndarray
    repeated: np.ndarray


def noise_ceilings(labels: Explanation) -> Ceilings:
    """The ceilings of Pearson's correlation with noisy labels.

    Args:
        labels: Values `(b, n, k)` with standard errors, or exact ones.

    Raises:
        ValueError: If their noise is unknown.
    """
    found = reliability(labels)
    return Ceilings(np.sqrt(found), found)


def true_squared_error(explanation: Explanation, labels: Explanation) -> float:
    """Squared error to the unknown exact values: the observed one less the labels' variance.

    Args:
        explanation: Values `(b, n, k)`.
        labels: Noisy labels with standard errors, drawn independently of the explanation.

    Returns:
        Mean over texts; below zero where the error is smaller than the labels' noise.

    Raises:
        NotComparable: If the two do not stand for the same numbers.
    """
    return float(np.mean(metrics.squared_error(explanation, labels)))


@dataclasses.dataclass(frozen=True)
class Curve:
    """Error and agreement of a sampler as its budget grows.

    Args:
        budgets: Coalitions per text, rising.
        mse: True squared error at each.
        spearman: Rank correlation per text at each, mean over texts.
    """

    budgets: tuple[int, ...]
    mse: tuple[float, ...]
    spearman: tuple[float, ...]

    def worth(self, mse: float) -> float:
        """Evaluations at which the sampler has this error, by powers between the budgets.

        Args:
            mse: True squared error of an explainer.

        Returns:
            Coalitions per text; infinite where the sampler never gets there, extrapolated as
            1 / budget beyond the ends of the curve.
        """
        if mse <= 0:
            return float("inf")
        known = [(b, e) for b, e in zip(self.budgets, self.mse, strict=True) if e > 0]
        if not known:
            return float(self.budgets[0])
        first, last = known[0], known[-1]
        if mse >= first[1]:
            return first[0] * first[1] / mse
        if mse <= last[1]:
            return last[0] * last[1] / mse
        for (b0, e0), (b1, e1) in itertools.pairwise(known):
            if e1 <= mse <= e0:
                if e0 == e1:
                    return float(b0)
                share = np.log(e0 / mse) / np.log(e0 / e1)
                return float(b0 * (b1 / b0) ** share)
        return float(last[0])


def convergence_curve(
    sample: Callable[[int, torch.Generator], Explanation],
    truth: Explanation,
    budgets: Sequence[int],
    *,
    seeds: int = 1,
) -> Curve:
    """How an expensive sampler closes in on a truth that is independent of it.

    Args:
        sample: `sample(budget, generator)`, the sampler's answer.
        truth: Exact, or far more precise than the largest budget; its noise is taken off.
        budgets: Coalitions per text, rising.
        seeds: Runs averaged at each budget.

    Returns:
        The curve, on which `worth` places other explainers.

    Raises:
        ValueError: If the budgets do not rise.
    """
    if list(budgets) != sorted(set(budgets)):
        raise ValueError(f"budgets={list(budgets)}; pass rising numbers of coalitions.")
    errors, ranks = [], []
    for budget in budgets:
        runs = [sample(budget, torch.Generator().manual_seed(seed)) for seed in range(seeds)]
        errors.append(float(np.mean([true_squared_error(run, truth) for run in runs])))
        ranks.append(float(np.mean([np.nanmean(metrics.spearman(run, truth)) for run in runs])))
    return Curve(tuple(budgets), tuple(errors), tuple(ranks))


def sentiment_agreement(
    explanation: Explanation, sentiments: Sequence[Any], output: int
) -> np.ndarray:
    """Rank correlation of values with the sentiment that people gave each word alone.

    Args:
        explanation: Values `(b, n, k)` of words.
        sentiments: For each text one number per word, higher for more positive, such as the
            labels of the words in a sentiment tree.
        output: The positive class.

    Returns:
        `(b,)`, Spearman over the words; NaN where people gave all words the same.

    Raises:
        ValueError: If there are fewer numbers than words.
    """
    from scipy.stats import spearmanr

    found = np.full(explanation.shape[0], np.nan)
    real = metrics.real_players(explanation)
    for row, given in enumerate(sentiments):
        values = explanation.values[row, :, output].detach().double().cpu().numpy()[real[row]]
        felt = np.asarray(given, dtype=np.float64)
        if len(felt) < len(values):
            raise ValueError(
                f"text {row} has {len(values)} players and {len(felt)} numbers; explain with "
                "players='word' and pass a number for each word between spaces."
            )
        felt = felt[: len(values)]  # words behind the model's longest input
        if len(set(felt.tolist())) > 1 and len(set(values.tolist())) > 1:
            ranked: Any = spearmanr(values, felt)
            found[row] = ranked.statistic
    return found
