"""Separate runs of one game as one explanation: what many workers sampled, put together."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.arguments import is_a
from baselines.explanation import Explanation
from baselines.moments import PairMoments
from baselines.torch_calls import distinct

APART = 1e-5
"""Most that base values of one game may differ, relative to max(1, their size)."""


def merge(explanations: Sequence[Explanation]) -> Explanation:
    """One explanation from runs of the same game with different generators.

    Permutation samples are pooled as if one run had drawn all their pairs, so any grouping of
    merges gives the same answer. Other estimators are averaged in proportion to their budgets:
    noise falls as it should, but the bias of a regression at a small budget stays.

    Args:
        explanations: Of the same explicands, each from a generator of its own; live, loaded from
            files, or merged before. An exact one settles the matter and is returned.

    Returns:
        Values `(b, n, k)` with `n_evals` summed, `std_errors` of the pooled sample, and the keys
        of all streams in `diagnostics["keys"]`. Where averaged runs do not know their own errors,
        they are told by the spread between runs, roughly when these are few; where runs or pairs
        agree exactly they stay infinite, since a spread of zero says nothing. It cannot be
        continued; merge another run into it instead.

    Raises:
        TypeError: If something else than explanations is given.
        ValueError: If there are none, they are of different games, or two share a stream, whose
            coalitions would count twice: `more` continues a stream.

    Example:
        >>> import torch
        >>> from baselines import TableGame, merge, permutation_shapley
        >>> game = TableGame(torch.arange(2.0**12).sin()[None, :, None])
        >>> seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        >>> runs = [permutation_shapley(game, 200, generator=seed) for seed in seeds]
        >>> merge(runs).n_evals == sum(run.n_evals for run in runs)
        True

    Source: Chan, Golub and LeVeque (1979), eq. 2.1, for the pooled moments.
    """
    runs = list(explanations)
    if not runs:
        raise ValueError("explanations is empty; pass one or more.")
    for run in runs:
        if not is_a(run, Explanation):
            raise TypeError(f"explanations hold a {type(run).__name__}; pass Explanations.")
        _check_same(runs[0], run)
    settled = next((run for run in runs if run.exact), None)
    if settled is not None or len(runs) == 1:
        return settled or runs[0]
    keys = torch.cat([_keys(run) for run in runs])
    if len(distinct(keys)) < len(keys):
        raise ValueError(
            "two explanations come from the same stream of coalitions; give each run a generator "
            "with a seed of its own, or continue one of them with more(budget)."
        )
    paired = all(
        run.method == "permutation_shapley" and "n_pairs" in run.diagnostics for run in runs
    )
    values, errors, facts = _pooled(runs) if paired else _averaged(runs)
    return dataclasses.replace(
        runs[0],
        values=values.to(runs[0].values),
        std_errors=None if errors is None else errors.to(runs[0].values),
        method=" and ".join(dict.fromkeys(run.method for run in runs)),
        n_evals=sum(run.n_evals for run in runs),
        diagnostics={**facts, "keys": keys[None]},
        continuation=None,
    )


def _keys(run: Explanation) -> Tensor:
    keys = run.diagnostics.get("keys")
    if keys is None:
        raise ValueError(
            f"an explanation by {run.method!r} does not say which stream it sampled; only the "
            "estimators of Shapley values and semivalues from sampled coalitions merge."
        )
    return keys.flatten().cpu()


def _check_same(first: Explanation, other: Explanation) -> None:
    for name in ("shape", "estimand", "game"):
        if getattr(first, name) != getattr(other, name):
            raise ValueError(
                f"explanations have different {name}s, {getattr(first, name)!r} and "
                f"{getattr(other, name)!r}; merge runs of one game."
            )
    if first.base_values is None or other.base_values is None:
        return
    base, theirs = first.base_values.double(), other.base_values.to(first.base_values).double()
    if bool(((base - theirs).abs() > APART * base.abs().clamp(min=1.0)).any()):
        raise ValueError("explanations have different base_values; merge runs of one game.")
    if first.estimand not in ("shapley", "owen"):
        return  # values of other estimands need not sum to anything
    totals = [run.values.double().cpu().sum(1) for run in (first, other)]
    if bool(((totals[0] - totals[1]).abs() > APART * totals[0].abs().clamp(min=1.0)).any()):
        raise ValueError("explanations have different totals; merge runs on the same rows.")


def _pooled(runs: Sequence[Explanation]) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """All pairs as one sample."""
    moments = None
    for run in runs:
        count = int(run.diagnostics["n_pairs"])
        mean = run.values.double()
        squares = torch.zeros_like(mean)
        if run.std_errors is not None:
            errors = run.std_errors.double()
            still = torch.isinf(errors)  # all pairs agreed
            squares = errors.masked_fill(still, 0.0).square() * (count * (count - 1))
        part = PairMoments(count, mean, squares, mean.abs().amax(1, keepdim=True))
        moments = part if moments is None else moments.merge(part)
    assert moments is not None  # there are runs
    facts = {"n_pairs": torch.tensor(moments.count)}
    found = moments.std_errors(runs[0].values.dtype)
    if found is None:
        return moments.mean, None, facts
    return moments.mean, found[0], {**facts, "zero_spread": found[1]}


def _averaged(runs: Sequence[Explanation]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Means in proportion to the coalitions asked for.

    Where a run does not know its own error, or only that its few units agreed, the spread between
    the runs tells it: means over `m` coalitions have a variance in proportion to 1 / `m`.
    """
    apart = _apart(runs[0])
    for run in runs[1:]:
        apart = apart.merge(_apart(run))
    within = sum((run.n_evals / apart.count) ** 2 * _within(run) for run in runs)
    assert isinstance(within, Tensor)  # there are runs
    number = sum(_number(run) for run in runs)
    spread = (apart.squares / (number - 1)).sqrt()
    still = spread <= 32 * torch.finfo(runs[0].values.dtype).eps * apart.scale * apart.count**0.5
    between = torch.where(still, torch.inf, spread / apart.count**0.5)
    errors = torch.where(within.isfinite(), within.sqrt(), between)
    if runs[0].player_mask is not None:
        errors = errors.masked_fill(~runs[0].player_mask[..., None].to(errors.device), 0.0)
    facts = {"n_runs": torch.tensor(number), "runs_apart": apart.squares, "within": within}
    return apart.mean, errors, facts


def _apart(run: Explanation) -> PairMoments:
    """A run as one unit that weighs as much as its coalitions, or the units it was merged from."""
    values = run.values.double()
    squares = run.diagnostics.get("runs_apart", torch.zeros_like(values)).to(values)
    return PairMoments(run.n_evals, values, squares, values.abs().amax(1, keepdim=True))


def _number(run: Explanation) -> int:
    return int(run.diagnostics.get("n_runs", 1))


def _within(run: Explanation) -> Tensor:
    """Squared standard errors that the runs knew themselves; infinite where one did not."""
    if "within" in run.diagnostics:
        return run.diagnostics["within"].double()
    if run.std_errors is None:
        return torch.full_like(run.values, torch.inf, dtype=torch.float64)
    return run.std_errors.double().square()
