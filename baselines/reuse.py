"""Estimators in which every coalition tells something about every player: MSR, OFA, SVARM.

They take no linear part out of the game first, which is why regression beats them on most games.
"""

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import stream
from baselines.designs import first_seen, interleave, sample_pairs
from baselines.estimates import Estimate
from baselines.evaluation import estimate
from baselines.exact import shapley_weights
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.torch_calls import from_array

_WARM, _DRAWN = 1, 2  # purposes of a stream


def msr_shapley(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """Maximum sample reuse: each coalition weighted by its place in the Shapley formula.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, unbiased once every size is drawn from (about
        `2 n` coalitions); what they miss of v(all) - v(none) is shared equally.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Wang and Jia (2023), sec. 4; by size without replacement, Witter et al. (2025).

    Example:
        >>> import torch
        >>> from baselines import TableGame, msr_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> msr_shapley(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return _reuse(game, budget, "leverage", "msr_shapley", generator, chunk_size)


def ofa_shapley(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """One sample for all: maximum sample reuse under the size law of least variance.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, unbiased once every size is drawn from; what
        they miss of v(all) - v(none) is shared equally.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Li and Yu (2024), One sample fits all.

    Example:
        >>> import torch
        >>> from baselines import TableGame, ofa_shapley
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> ofa_shapley(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return _reuse(game, budget, "root", "ofa_shapley", generator, chunk_size)


def svarm(
    game: Game,
    budget: int,
    *,
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Explanation:
    """SVARM on complementary pairs: v(A) - v(not A) tells something about every player of A.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions to evaluate per explicand, both ends included.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Values `(b, n, k)` in units of the game, unbiased from `2 n + 2` coalitions on, where
        each player has its own first pair; what they miss of v(all) - v(none) is shared equally.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the budget is below 2.

    Source: Kolpaczki et al. (2024), alg. 1, with both halves of each update on one pair.

    Example:
        >>> import torch
        >>> from baselines import TableGame, svarm
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> svarm(game, budget=8).values[0, :, 0]  # 8 pays for all 2^3: exact
        tensor([2.3333, 3.3333, 4.3333])
    """
    return estimate(
        game,
        budget,
        lambda n, spend, key: _SvarmDesign(n, (spend - 2) // 2, key),
        method="svarm",
        generator=generator,
        chunk_size=chunk_size,
    )


def _reuse(
    game: Game,
    budget: int,
    law: str,
    method: str,
    generator: torch.Generator | None,
    chunk_size: int | None,
) -> Explanation:
    return estimate(
        game,
        budget,
        lambda n, spend, key: _ReuseDesign(n, (spend - 2) // 2, key, law),
        method=method,
        generator=generator,
        chunk_size=chunk_size,
    )


def share_the_rest(values: Tensor, total: Tensor) -> Tensor:
    """Spread what attributions `(b, n, k)` miss of a total `(b, k)` equally over the players."""
    return values + (total - values.sum(1))[:, None] / values.shape[1]


class _ReuseDesign:
    """Pairs by size, each standing for all pairs of its size."""

    def __init__(self, n_players: int, n_pairs: int, key: int, law: str) -> None:
        self.sample = sample_pairs(n_players, n_pairs, key, law)
        self.coalitions = self.sample.coalitions

    def solve(self, values: Tensor) -> Estimate:
        stands = torch.cat(
            [torch.ones(2), (self.sample.pools / self.sample.drawn).repeat_interleave(2)]
        )
        weights = shapley_weights(self.coalitions) * stands.double()[:, None]
        found = torch.einsum("bmk,mn->bnk", values, weights.to(values.device))
        return Estimate(share_the_rest(found, values[:, 1] - values[:, 0]))


class _SvarmDesign:
    """A pair per player, then pairs whose size s comes with probability in proportion to 1 / s."""

    def __init__(self, n_players: int, n_pairs: int, key: int) -> None:
        n = n_players
        warm = stream(key, 0, _WARM)
        order = warm.permutation(n)
        own = np.arange(n)
        draws = warm.random((n, n))
        draws[own, own] = -1.0  # each player is in its own first coalition
        sizes = warm.integers(1, n + 1, n)
        first = draws <= np.take_along_axis(np.sort(draws, 1), sizes[:, None] - 1, 1)
        members = first[order]
        law = (1.0 / np.arange(1, n + 1)).cumsum()
        for block in range(max(0, -(-(n_pairs - n) // 64))):
            drawn = stream(key, block, _DRAWN).random((64, n + 1))
            size = np.searchsorted(law / law[-1], drawn[:, :1])
            limit = np.take_along_axis(np.sort(drawn[:, 1:], 1), size, 1)
            members = np.concatenate([members, drawn[:, 1:] <= limit])
        chosen = from_array(members[:n_pairs])
        # a first pair updates its own player only: it is no random coalition to the others
        own_rows = torch.eye(n, dtype=torch.bool)[from_array(order)][:n_pairs]
        self.updates = torch.cat([own_rows, chosen[n:]])
        grand = torch.ones(1, n, dtype=torch.bool)  # the ends are a pair too, asked for anyway
        distinct, place, flipped = first_seen(torch.cat([grand, chosen]))
        self.place, self.flipped = place[1:], flipped[1:]
        self.coalitions = interleave(distinct[1:])

    def solve(self, values: Tensor) -> Estimate:
        total = values[:, 1] - values[:, 0]
        pairs = torch.cat([total[:, None], values[:, 2::2] - values[:, 3::2]], 1)
        sign = (1 - 2 * self.flipped).to(values)[None, :, None]
        gains = pairs[:, self.place.to(values.device)] * sign  # (b, p, k)
        updates = self.updates.to(values)
        count = updates.sum(0)[None, :, None]
        mean = torch.einsum("bpk,pn->bnk", gains, updates) / count.clamp(min=1)
        plain = (total / updates.shape[1])[:, None]
        return Estimate(share_the_rest(torch.where(count > 0, mean, plain), total))
