"""Exact Shapley values by enumeration of all coalitions."""

from math import comb

import torch
from torch import Tensor

from baselines.arguments import check_game
from baselines.coalitions import all_coalitions
from baselines.explanation import Explanation
from baselines.game import Game

MAX_PLAYERS = 20


def exact_shapley(game: Game, *, chunk_size: int | None = None) -> Explanation:
    """Shapley values from the values of all `2**n` coalitions.

    Args:
        game: Games of `b` explicands, `n <= 20` players and `k` outputs; players that are
            padding in a ragged game score 0.
        chunk_size: Coalitions asked for at once; the answer does not depend on it beyond
            rounding.

    Returns:
        Values `(b, n, k)` in units of the game, exact; `n_evals` is `2**n`.

    Raises:
        ValueError: If the game has more than 20 players, or `chunk_size` is not positive.

    Source: Shapley (1953), eq. 13.

    Example:
        >>> import torch
        >>> from baselines import TableGame, exact_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> exact_shapley(game).values[0, :, 0]
        tensor([2.3333, 3.3333, 4.3333])
    """
    check_game(game)
    n = game.n_players
    if n > MAX_PLAYERS:
        raise ValueError(
            f"the game has {n} players, so {2**n:,} coalitions; exact_shapley takes at most "
            f"{MAX_PLAYERS}. Use baselines.shapley(game, budget=...), or group players."
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}; it must be 1 or more.")
    chunk = chunk_size or max(256, 2**22 // max(1, n * game.n_explicands))
    values: Tensor | None = None
    base = torch.empty(0)
    top = torch.empty(0)
    for start in range(0, 2**n, chunk):
        coalitions = all_coalitions(n, start, min(start + chunk, 2**n))
        v = game(coalitions[None])  # (b, m, k)
        if start == 0:
            base = v[:, 0]
        top = v[:, -1]
        weights = shapley_weights(coalitions).to(v.device)
        part = torch.einsum("bmk,mn->bnk", v.double(), weights)
        values = part if values is None else values + part
    assert values is not None  # 2**n >= 1, so the loop ran
    gap = values.sum(1) - (top - base).double()
    return Explanation(
        values.to(base.dtype),
        estimand="shapley",
        game=getattr(game, "description", type(game).__name__),
        method="exact_shapley",
        exact=True,
        base_values=base,
        n_evals=2**n,
        players=getattr(game, "players", None),
        outputs=getattr(game, "outputs", None),
        player_mask=getattr(game, "player_mask", None),
        diagnostics={"additivity_gap": gap},
    )


def shapley_weights(coalitions: Tensor) -> Tensor:
    """The linear map from values of coalitions to Shapley values.

    Args:
        coalitions: Bool `(m, n)`.

    Returns:
        Float64 `(m, n)`: what v(S) adds to each player's value, `1 / (s C(n, s))` for a member
        of S, s = |S|, and `-1 / ((n - s) C(n, s))` for a stranger.
    """
    n = coalitions.shape[-1]
    joined = torch.tensor(
        [0.0] + [1 / (s * comb(n, s)) for s in range(1, n + 1)], dtype=torch.float64
    )
    apart = torch.tensor(
        [1 / ((n - s) * comb(n, s)) for s in range(n)] + [0.0], dtype=torch.float64
    )
    size = coalitions.sum(-1)
    return torch.where(
        coalitions,
        joined.to(coalitions.device)[size][:, None],
        -apart.to(coalitions.device)[size][:, None],
    )
