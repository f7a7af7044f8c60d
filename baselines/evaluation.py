"""How estimators ask a game: in tiles under a memory budget, on as many players as a row has.

An estimator is a `Design` (which coalitions, and how their values become attributions); this file
runs designs on games, ragged ones included, and lets their explanations be continued.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from baselines.arguments import check_game
from baselines.asking import active_players, ask, check_budget, is_enumerable
from baselines.coalitions import (
    all_coalitions,
    coalition_index,
    key_from,
    pack,
)
from baselines.estimates import Design, DesignMaker, Enumeration, Estimate
from baselines.exact import MAX_PLAYERS, exact_shapley, shapley_weights
from baselines.explanation import Explanation
from baselines.game import Game, TableGame


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
