"""How estimators ask a game: in tiles under a memory budget, on as many players as a row has.

An estimator is a `Design` (which coalitions, and how their values become attributions); this file
runs designs on games, ragged ones included, and lets their explanations be continued.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from baselines.arguments import check_game
from baselines.coalitions import (
    MAX_ENUMERABLE_PLAYERS,
    all_coalitions,
    coalition_index,
    key_from,
    pack,
)
from baselines.exact import MAX_PLAYERS, exact_shapley, shapley_weights
from baselines.explanation import Explanation
from baselines.finiteness import all_finite
from baselines.game import Game, TableGame

TILE_CELLS = 2**17
"""Cells (explicands x coalitions x players) asked for at once on a CPU, about an L2 cache."""

DEVICE_TILE_CELLS = 2**24
"""The same on an accelerator."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a design makes of the values of its coalitions.

    Args:
        values: Float64 `(b, n, k)`.
        std_errors: `(b, n, k)`, or None where none were estimated.
        method: Words that replace the estimator's name when the design chose among several.
        diagnostics: Named tensors.
        exact: True only if all coalitions were seen.
    """

    values: Tensor
    std_errors: Tensor | None = None
    method: str | None = None
    diagnostics: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)
    exact: bool = False


class Design(Protocol):
    """Coalitions to evaluate, and the map from their values to attributions."""

    @property
    def coalitions(self) -> Tensor:
        """Bool `(m, n)`; row 0 is the empty and row 1 the grand coalition."""
        ...

    def solve(self, values: Tensor) -> Estimate:
        """Attributions `(b, n, k)` from float64 values `(b, m, k)` of the coalitions."""
        ...


DesignMaker = Callable[[int, int, int], Design]
"""`make(n_players, budget, key)`; a larger budget must give a design that begins with the rows of
a smaller one, which is what lets an explanation be continued."""


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """The design of all coalitions, for players few enough.

    Args:
        n_players: Number of players `n`.
        weights: Linear map `(m, n)` from values to attributions, given the coalitions.
    """

    n_players: int
    weights: Callable[[Tensor], Tensor] = shapley_weights

    @property
    def coalitions(self) -> Tensor:
        """All `2**n`, the empty one first and the grand one second."""
        rows = all_coalitions(self.n_players)
        return torch.cat([rows[:1], rows[-1:], rows[1:-1]])

    def solve(self, values: Tensor) -> Estimate:
        """Exact attributions."""
        weights = self.weights(self.coalitions).to(values.device)
        return Estimate(torch.einsum("bmk,mn->bnk", values, weights), exact=True)


def check_budget(budget: int, least: int = 2, why: str = "both ends of a game") -> int:
    """Refuse a budget that buys nothing.

    Args:
        budget: Coalitions per explicand.
        least: The smallest that works.
        why: What the least pays for.

    Returns:
        The budget as an int.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is less than `least`.
    """
    if isinstance(budget, bool) or int(budget) != budget:
        raise TypeError(f"budget={budget!r}; pass a whole number of coalitions per explicand.")
    if budget < least:
        raise ValueError(f"budget={budget}; {why} cost {least}, so pass budget >= {least}.")
    return int(budget)


def is_enumerable(n_players: int, budget: int) -> bool:
    """Whether the budget pays for all coalitions."""
    return n_players <= MAX_ENUMERABLE_PLAYERS and 2**n_players <= budget


def ask(game: Game, coalitions: Tensor, chunk_size: int | None = None) -> Tensor:
    """Values of coalitions, asked in tiles that shrink when memory runs out.

    Args:
        game: Games of `b` explicands.
        coalitions: Bool `(m, n)` shared by the explicands, or `(b, m, n)`.
        chunk_size: Coalitions asked for at once; by default as many as fit `TILE_CELLS`. The
            values do not depend on it beyond rounding.

    Returns:
        `(b, m, k)` in the game's dtype, detached.

    Raises:
        ValueError: If `chunk_size` is not positive, or a value is not finite.
        MemoryError, torch.OutOfMemoryError: If not even one coalition fits.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}; it must be 1 or more.")
    if coalitions.ndim == 2:
        coalitions = coalitions[None]
    m = coalitions.shape[1]
    chunk = chunk_size or _tile(game)
    parts, start = [], 0
    while start < m:
        try:
            part = game(coalitions[:, start : start + chunk])
        except (MemoryError, torch.OutOfMemoryError):
            if chunk == 1:
                raise
            chunk = max(1, min(chunk, m - start) // 2)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            continue
        parts.append(part.detach())
        start += chunk
    values = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    if not all_finite(values):
        raise ValueError("game returned NaN or infinity; every coalition needs a finite value.")
    return values


def _tile(game: Game) -> int:
    """Coalitions per call, even so that both members of a pair share a tile."""
    device = getattr(getattr(game, "x", None), "device", None)
    cells = TILE_CELLS if device is None or device.type == "cpu" else DEVICE_TILE_CELLS
    cells = getattr(game, "tile_cells", cells)  # a game that packs its rows takes many at once
    return max(2, cells // max(1, game.n_explicands * game.n_players) // 2 * 2)


def active_players(game: Game) -> Tensor | None:
    """The game's `player_mask` `(b, n)` on the CPU, or None when no player is padding."""
    mask = getattr(game, "player_mask", None)
    if mask is None or bool(mask.all()):
        return None
    return mask.cpu()


def explanation_of(
    game: Game,
    estimate: Estimate,
    ends: Tensor,
    *,
    method: str,
    n_evals: int,
    estimand: str = "shapley",
    key: int | None = None,
    continuation: Callable[[int], Explanation] | None = None,
) -> Explanation:
    """An Explanation in the game's dtype from what a design found.

    Args:
        game: The game that was played.
        estimate: Float64 attributions.
        ends: `(b, 2, k)`, values of the empty and the grand coalition.
        method: Name of the estimator.
        n_evals: Coalitions asked for per explicand.
        estimand: What a value stands for.
        key: Stream that was sampled, which tells `merge` one run from another.
        continuation: What `Explanation.more` calls.

    Returns:
        Values `(b, n, k)`; padding players score exactly 0.
    """
    mask = getattr(game, "player_mask", None)
    values, errors = estimate.values, estimate.std_errors
    if mask is not None:
        real = mask.to(values.device)[..., None]
        values = torch.where(real, values, 0.0)
        errors = None if errors is None else torch.where(real, errors, 0.0)
    stream = {} if key is None else {"keys": torch.tensor([[key]])}
    gap = values.sum(1) - (ends[:, 1] - ends[:, 0]).to(values)
    return Explanation(
        values.to(ends.dtype),
        estimand=estimand,
        game=getattr(game, "description", type(game).__name__),
        method=estimate.method or method,
        exact=estimate.exact,
        base_values=ends[:, 0],
        std_errors=None if errors is None else errors.to(ends.dtype),
        n_evals=n_evals,
        players=getattr(game, "players", None),
        outputs=getattr(game, "outputs", None),
        player_mask=mask,
        diagnostics={"additivity_gap": gap, **stream, **estimate.diagnostics},
        continuation=continuation,
    )


def estimate(
    game: Game,
    budget: int,
    make: DesignMaker,
    *,
    method: str,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
    estimand: str = "shapley",
    weights: Callable[[Tensor], Tensor] = shapley_weights,
) -> Explanation:
    """Run a design on a game; enumerate instead where the budget pays for it.

    Args:
        game: Games of `b` explicands; ragged ones get a design per number of players.
        budget: Coalitions per explicand, both ends included.
        make: Makes the design.
        method: Name of the estimator.
        generator: Source of the key of the design's random numbers.
        chunk_size: Coalitions asked for at once.
        estimand: What a value stands for.
        weights: Exact linear map `(m, n)` of the estimand, for enumeration.

    Returns:
        An Explanation that `more` can continue.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.
    """
    check_game(game)
    budget, key = check_budget(budget), key_from(generator)
    settings = _Settings(make, method, key, chunk_size, estimand, weights)
    if active_players(game) is not None:
        return _ragged(game, budget, settings)
    return _shared(game, budget, settings, None, None)


@dataclasses.dataclass(frozen=True)
class _Settings:
    make: DesignMaker
    method: str
    key: int
    chunk_size: int | None
    estimand: str
    weights: Callable[[Tensor], Tensor]

    def design(self, n_players: int, budget: int) -> Design:
        if is_enumerable(n_players, budget):
            return Enumeration(n_players, self.weights)
        return self.make(n_players, budget, self.key)


def _shared(
    game: Game, budget: int, settings: _Settings, seen: Tensor | None, known: Tensor | None
) -> Explanation:
    """One design for all explicands, on top of values `known` of coalitions `seen`."""
    n = game.n_players
    if is_enumerable(n, budget):
        return enumerate_rest(
            game, seen, known, settings.chunk_size, settings.estimand, settings.weights
        )
    design = settings.make(n, budget, settings.key)
    rows = design.coalitions
    if seen is None or known is None:
        values = ask(game, rows, settings.chunk_size)
    else:
        fresh = (
            ask(game, rows[len(seen) :], settings.chunk_size) if len(rows) > len(seen) else None
        )
        values = known if fresh is None else torch.cat([known, fresh], 1)
    answer = design.solve(values.double())

    def more(extra: int) -> Explanation:
        return _shared(game, budget + check_budget(extra, 0), settings, rows, values)

    return explanation_of(
        game,
        answer,
        values[:, :2],
        method=settings.method,
        n_evals=len(rows),
        estimand=settings.estimand,
        key=settings.key,
        continuation=more,
    )


def enumerate_rest(
    game: Game,
    seen: Tensor | None,
    known: Tensor | None,
    chunk_size: int | None = None,
    estimand: str = "shapley",
    weights: Callable[[Tensor], Tensor] = shapley_weights,
) -> Explanation:
    """The exact answer, asking only for coalitions that were not seen yet.

    Args:
        game: Games of few enough players.
        seen: Bool `(m, n)` coalitions whose values are known, or None.
        known: Their values `(b, m, k)`.
        chunk_size: Coalitions asked for at once.
        estimand: What a value stands for.
        weights: Exact linear map `(m, n)` of the estimand.

    Returns:
        An exact Explanation with `n_evals = 2**n`.
    """
    n = game.n_players
    if seen is None and estimand == "shapley" and n <= MAX_PLAYERS:
        return exact_shapley(game, chunk_size=chunk_size)
    rows = all_coalitions(n)
    if seen is None or known is None:
        table = ask(game, rows, chunk_size)
    else:
        index = coalition_index(seen)
        missing = torch.ones(2**n, dtype=torch.bool)
        missing[index] = False
        table = known.new_empty((known.shape[0], 2**n, known.shape[2]))
        table[:, index.to(table.device)] = known
        if bool(missing.any()):
            table[:, missing.to(table.device)] = ask(game, rows[missing], chunk_size)
    if estimand == "shapley" and n <= MAX_PLAYERS:
        exact = exact_shapley(TableGame(table), chunk_size=chunk_size)
        answer = Estimate(exact.values.double(), exact=True)
    else:
        linear = weights(rows).to(table.device)
        answer = Estimate(torch.einsum("bmk,mn->bnk", table.double(), linear), exact=True)
    ends = table[:, [0, -1]]
    name = f"exact_{estimand}"
    return explanation_of(game, answer, ends, method=name, n_evals=2**n, estimand=estimand)


@dataclasses.dataclass(frozen=True)
class _Known:
    """What a ragged run has asked so far: per number of players, coalitions and their values."""

    rows: Mapping[int, Tensor]
    values: Mapping[int, Tensor]
    n_evals: int


def _ragged(
    game: Game, budget: int, settings: _Settings, known: _Known | None = None
) -> Explanation:
    """A design per number of real players; padding is absent from every coalition."""
    mask = active_players(game)
    assert mask is not None  # the caller looked
    lengths = mask.sum(1)
    groups = {int(size): (lengths == size).nonzero().flatten() for size in lengths.unique()}
    designs = {size: settings.design(size, budget) for size in groups}
    rows = {size: design.coalitions for size, design in designs.items()}
    places = {size: _places(known, size, rows[size]) for size in groups}
    fresh = {size: rows[size][place < 0] for size, place in places.items()}
    asked = max(len(part) for part in fresh.values())
    answers = _ask_ragged(game, mask, lengths, fresh, asked, settings.chunk_size)
    values = {}
    for size, group in groups.items():
        place = places[size]
        table = answers[group.to(answers.device)][:, : len(fresh[size])]
        if known is not None:
            table = torch.cat([known.values[size], table], 1)
            place = torch.where(
                place < 0, len(known.rows[size]) + (place < 0).cumsum(0) - 1, place
            )
            values[size] = table[:, place.to(table.device)]
        else:
            values[size] = table
    spent = asked + (0 if known is None else known.n_evals)
    seen = _Known(rows, values, spent)
    answer = _gather(designs, groups, mask, {size: v.double() for size, v in values.items()})
    first = next(iter(values.values()))
    ends = first.new_zeros((len(mask), 2, first.shape[-1]))
    for size, group in groups.items():
        ends[group.to(ends.device)] = values[size][:, :2]

    def more(extra: int) -> Explanation:
        return _ragged(game, budget + check_budget(extra, 0), settings, seen)

    return explanation_of(
        game,
        answer,
        ends,
        method=settings.method,
        n_evals=spent,
        estimand=settings.estimand,
        key=None if answer.exact else settings.key,
        continuation=None if answer.exact else more,
    )


def _places(known: _Known | None, size: int, rows: Tensor) -> Tensor:
    """Position of each coalition among the known ones, -1 where it is new."""
    if known is None:
        return torch.full((len(rows),), -1)
    index = {row.tobytes(): i for i, row in enumerate(pack(known.rows[size]))}
    return torch.tensor([index.get(row.tobytes(), -1) for row in pack(rows)])


def _ask_ragged(
    game: Game,
    mask: Tensor,
    lengths: Tensor,
    rows: Mapping[int, Tensor],
    asked: int,
    chunk_size: int | None,
) -> Tensor:
    """Values `(b, asked, k)`; an explicand whose list is done repeats its grand coalition."""
    b, n = mask.shape
    step = chunk_size or max(2, 2**24 // (b * n))
    parts = []
    for start in range(0, max(asked, 1), step):
        stop = min(start + step, asked)
        block = mask[:, None].repeat(1, stop - start, 1)
        for row in range(b):
            part = rows[int(lengths[row])][start:stop]
            block[row, : len(part), mask[row]] = part
        parts.append(ask(game, block, chunk_size))
    return torch.cat(parts, 1)


def _gather(
    designs: Mapping[int, Design],
    groups: Mapping[int, Tensor],
    mask: Tensor,
    values: Mapping[int, Tensor],
) -> Estimate:
    """Solve each group of equally long explicands and put the answers in their places."""
    first = next(iter(values.values()))
    total = first.new_zeros((*mask.shape, first.shape[-1]))
    errors: Tensor | None = torch.zeros_like(total)
    exact, methods = True, set()
    for size, design in designs.items():
        part = design.solve(values[size])
        exact = exact and part.exact
        methods |= {part.method} - {None}
        rows = groups[size].to(total.device)
        place = mask[groups[size]].to(total.device)
        total[rows] = _spread(part.values, place)
        if part.std_errors is None and not part.exact:
            errors = None
        elif errors is not None and part.std_errors is not None:
            errors[rows] = _spread(part.std_errors, place)
    method = ", ".join(sorted(methods)) or None
    return Estimate(total, None if exact else errors, method, {}, exact=exact)


def _spread(values: Tensor, place: Tensor) -> Tensor:
    """Values `(g, l, k)` of real players in their places `(g, n)` among the padding."""
    full = values.new_zeros((*place.shape, values.shape[-1]))
    full[place] = values.reshape(-1, values.shape[-1])
    return full
