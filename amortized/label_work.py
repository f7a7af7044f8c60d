"""What a worker does with the examples of a pass, and what a check reads off its shards."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from amortized.examples import pick
from amortized.pairs import pair_sums
from amortized.passes import Pass
from amortized.playing import GameFactory
from amortized.teachers import Teacher, taught
from baselines import shards
from baselines.fingerprints import key_of

TOLERANCE = 1e-3
"""Largest gap between the sum of values and v(all) - v(none), relative to max(1, |gap|)."""


def label_work(
    one: Pass,
    model: GameFactory,
    teacher: Teacher | None,
    meter: dict[str, int] | None = None,
) -> shards.Work:
    """What a worker does with items: a function of the items alone.

    Args:
        one: The pass that the items are numbered in.
        model: Examples -> their games.
        teacher: Who explains in place of sampled pairs, or None.
        meter: Counts model `rows` and `items` where it is given.

    Raises:
        ValueError: If the pass was planned for another teacher.
    """
    planned = one.plan.config["method"]
    method = "pairs" if teacher is None else method_of(teacher)
    if planned != method:
        raise ValueError(f"{one.plan.folder} was planned for {planned!r}; this is {method!r}.")

    def work(items: Sequence[int]) -> dict[str, Tensor]:
        game = model(pick(one.examples, items))
        if teacher is not None:
            tensors = taught(teacher, pick(one.examples, items), game)
        else:
            keys = [key_of(one.seed, "pairs", one.examples[item]) for item in items]
            start, stop = ([span[item] for item in items] for span in (one.start, one.stop))
            tensors = pair_sums(game, keys, start, stop)
        spans = getattr(game, "spans", None)
        if spans is not None:
            tensors["spans"] = padded_spans(spans, tensors["player_mask"])
        if meter is not None:
            meter["rows"] += game.n_evals
            meter["items"] += len(items)
        return tensors

    return work


def padded_spans(spans: Sequence[Sequence[Sequence[int]]], mask: Tensor) -> Tensor:
    """Which characters each player is, int64 `(b, n, 3)`: part, start and stop; -1 for padding."""
    found = torch.full((*mask.shape, 3), -1)
    for row, players in enumerate(spans):
        if len(players):
            found[row, : len(players)] = torch.tensor([list(span)[:3] for span in players])
    return found


def unbalanced_items(folder: Path) -> list[int]:
    """Items whose values do not sum to v(all) - v(none)."""
    bad: list[int] = []
    for items, tensors in shards.each_shard(folder):
        total = tensors["sums"].sum(1) / tensors["pairs"].clamp(min=1)[:, None]
        wanted = (tensors["grand"] - tensors["empty"]).double()
        gap = (total - wanted).abs() / wanted.abs().clamp(min=1.0)
        someone = tensors["player_mask"].any(1)
        bad += [items[i] for i in ((gap.amax(1) > TOLERANCE) & someone).nonzero().flatten()]
    return bad


def method_of(teacher: Teacher) -> str:
    return getattr(teacher, "name", None) or type(teacher).__name__
