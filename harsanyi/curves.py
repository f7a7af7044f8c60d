"""What stays of an output as players leave: curves and smallest sufficient sets, no model call."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from math import comb
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends

_BATCH = 4096  # coalitions valued at once


@dataclass(frozen=True)
class SufficientSet:
    """A coalition that alone keeps an output where all players together put it.

    Attributes:
        present: Bool `(n,)`.
        players: Names of its members.
        value: v of it.
        goal: What v had to reach (from the side of v(all)).
        smallest: True when no coalition of fewer players is sufficient; False when it was found
            greedily, and only no member can be dropped.
    """

    present: Tensor
    players: tuple[str, ...]
    value: float
    goal: float
    smallest: bool


def player_order(
    dividends: "Dividends", row: int, output: int, order: Sequence[int] | Tensor | None
) -> Tensor:
    """Players in the order given, or by Shapley value, largest first."""
    n = dividends.n_players
    if order is None:
        values = dividends.select([row]).shapley()[0, :, output].detach()
        return values.argsort(descending=True, stable=True).cpu()
    given = torch.as_tensor(order, dtype=torch.int64)
    if sorted(given.tolist()) != list(range(n)):
        raise ValueError(f"order must list each of the {n} players once, by position.")
    return given


def curve(dividends: "Dividends", row: int, output: int, order: Tensor, *, delete: bool) -> Tensor:
    """v along an order: players leave the grand coalition, or join the empty one; `(n + 1,)`."""
    n = dividends.n_players
    place = torch.empty(n, dtype=torch.int64)
    place[order] = torch.arange(n)
    moved = place[None] < torch.arange(n + 1)[:, None]  # (n + 1, n)
    present = (~moved if delete else moved).to(dividends.terms.device)
    return dividends.select([row]).value(present[None])[0, :, output]


def smallest_sufficient_set(
    dividends: "Dividends",
    row: int,
    output: int,
    share: float,
    threshold: float | None,
    budget: int,
) -> SufficientSet:
    """See `Dividends.smallest_sufficient_set`."""
    if threshold is None and not 0 < share <= 1:
        raise ValueError(f"share is {share}; it must lie in (0, 1].")
    if budget < 1:
        raise ValueError(f"budget is {budget}; allow at least 1 coalition.")
    search = _Search(dividends.select([row]), output)
    goal = search.base + share * (search.full - search.base) if threshold is None else threshold
    # the side of the goal that v(all) lies on; a hair of slack keeps v(all) itself sufficient
    slack = 1e-12 * max(1.0, abs(search.full), abs(goal))
    falling = search.full < (search.base if threshold is None else threshold)
    search.sign = -1.0 if falling else 1.0
    search.goal = search.sign * goal - slack
    found = search.greedily()
    below = sum(comb(len(search.players), size) for size in range(len(found)))
    smallest = below <= budget  # only then is there time to look at all smaller sets
    if smallest:
        found = search.smaller(len(found)) or found
    mask = torch.zeros(dividends.n_players, dtype=torch.bool)
    mask[found] = True
    names = dividends.player_names()
    value = float(search.values(mask[None])[0])
    return SufficientSet(mask, tuple(names[i] for i in found), value, float(goal), smallest)


class _Search:
    """Coalitions of one explicand and one output against a goal."""

    def __init__(self, game: "Dividends", output: int) -> None:
        self.game = game
        self.output = output
        n = game.n_players
        ends = self.values(torch.tensor([[False], [True]]).expand(2, n))
        self.base, self.full = float(ends[0]), float(ends[1])
        self.players = _relevant(game, output)
        self.sign, self.goal = 1.0, self.full

    def values(self, masks: Tensor) -> Tensor:
        present = masks[None].to(self.game.terms.device)
        return self.game.value(present)[0, :, self.output].detach().cpu()

    def smaller(self, size: int) -> list[int] | None:
        """The best set of the smallest sufficient size below `size`, or None."""
        for few in range(size):
            best: tuple[float, list[int]] | None = None
            for chunk in _chunks(combinations(self.players, few)):
                scores = self._scores(chunk)
                top = int(scores.argmax())
                if scores[top] >= self.goal and (best is None or float(scores[top]) > best[0]):
                    best = float(scores[top]), list(chunk[top])
            if best is not None:
                return best[1]
        return None

    def greedily(self) -> list[int]:
        """Players join by the largest gain until sufficient; then whoever is not needed leaves."""
        chosen: list[int] = []
        while self._score(chosen) < self.goal and len(chosen) < len(self.players):
            options = [[*chosen, i] for i in self.players if i not in chosen]
            chosen = options[int(self._scores(options).argmax())]
        for player in list(chosen):
            fewer = [i for i in chosen if i != player]
            if self._score(fewer) >= self.goal:
                chosen = fewer
        return sorted(chosen)

    def _score(self, chosen: Sequence[int]) -> float:
        return float(self._scores([chosen])[0])

    def _scores(self, sets: Sequence[Sequence[int]]) -> Tensor:
        masks = torch.zeros(len(sets), self.game.n_players, dtype=torch.bool)
        rows = [row for row, members in enumerate(sets) for _ in members]
        masks[rows, [i for members in sets for i in members]] = True
        return self.sign * self.values(masks)


def _chunks(sets: Iterator[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
    while chunk := list(islice(sets, _BATCH)):
        yield chunk


def _relevant(game: "Dividends", output: int) -> list[int]:
    """Players whose presence can change this output."""
    counts = game.terms[(game.term_values[0, :, output] != 0).cpu().to(game.terms.device)]
    matters = counts.any(0)
    for part in game.products:
        used = part.weights[:, output] != 0
        matters = matters | (part.factors[0, used] != 0).any(0)
    for part in game.boxes:
        asked = (part.inside[0] | part.absent[0]) & part.real & part.alive[0, :, None]
        asked = asked & (part.values[:, output] != 0)[:, None]
        matters[part.features[asked]] = True
    return matters.nonzero().flatten().tolist()
