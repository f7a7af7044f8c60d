"""Interactions of pairs from sampled games: an even-odd Gaussian process on coalitions.

The interaction of a pair depends on the even part of a game only, v(S) + v(not S), as Shapley
values depend on the odd part; both come from the same complementary pairs.
"""

from itertools import combinations
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from baselines.arguments import check_game
from baselines.asking import active_players, ask, check_budget, is_enumerable
from baselines.coalitions import all_coalitions, key_from
from baselines.designs import CACHE, PairSample
from baselines.exact import shapley_weights
from baselines.game import Game
from baselines.gp import DENSE, OddGPDesign, Surrogate
from baselines.interactions import Interactions
from baselines.priors import waves
from baselines.torch_calls import cholesky, from_array

EVEN_ORDERS = (0, 2, 4, 6)
MAX_EXACT_PLAYERS = 16


def shapley_interactions(
    game: Game,
    budget: int,
    *,
    index: str = "k-SII",
    generator: torch.Generator | None = None,
    chunk_size: int | None = None,
) -> Interactions:
    """Shapley or Banzhaf interactions of all pairs of players.

    Args:
        game: Games of `b` explicands and `n >= 2` players, none of them padding.
        budget: Coalitions to evaluate per explicand, both ends included.
        index: `"k-SII"`, whose values sum to v(all) - v(none); `"SII"`, single players being
            Shapley values; or `"BII"`, single players being Banzhaf values.
        generator: Source of the coalitions.
        chunk_size: Coalitions asked for at once.

    Returns:
        Single players and pairs `(b, n + n (n - 1) / 2, k)` in units of the game; exact when
        `2**n <= budget` and `n <= 16`.

    Raises:
        TypeError: If the budget is no whole number.
        ValueError: If the index is another, the game is ragged or has one player, or the budget
            is below 6.

    Source: Grabisch and Roubens (1999); k-SII, Bordt and von Luxburg (2023); Walsh form of the
        indices, Fumagalli et al. (2024).

    Example:
        >>> import torch
        >>> from baselines import TableGame, shapley_interactions
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> shapley_interactions(game, budget=8)[(0, 2)]
        tensor([[1.5000]])
    """
    check_game(game)
    n = game.n_players
    if index not in ("k-SII", "SII", "BII"):
        raise ValueError(f"index={index!r}; sampled pairs come as 'k-SII', 'SII' or 'BII'.")
    if n < 2 or active_players(game) is not None:
        raise ValueError(f"the game is ragged or has {n} player(s); pairs need two or more.")
    budget = check_budget(budget, 4 if n == 2 else 6, "both ends and two pairs of coalitions")
    key = key_from(generator)
    if n <= MAX_EXACT_PLAYERS and is_enumerable(n, budget):
        return _enumerated(game, index, chunk_size)
    design = OddGPDesign(n, min(budget, 2**n - 1) if n < 60 else budget, key, None)
    values = ask(game, design.coalitions, chunk_size)
    v = values.double()
    single = design.solve(v).values if index != "BII" else _banzhaf(design.sample, v)
    pairs = _even_pairs(design.sample, v, index)
    return pair_interactions(
        game,
        single,
        pairs,
        index=index,
        base_values=values[:, 0],
        method=f"odd-even GP on {len(design.coalitions)} coalitions",
        n_evals=len(design.coalitions),
    )


def pair_interactions(
    game: Game,
    shapley: Tensor,
    pairs: Tensor,
    *,
    index: str,
    base_values: Tensor,
    method: str,
    n_evals: int,
    exact: bool = False,
) -> Interactions:
    """Interactions of order 2 from values of single players and of pairs.

    Args:
        game: The game that was played.
        shapley: `(b, n, k)`, Shapley (or Banzhaf) values.
        pairs: `(b, n (n - 1) / 2, k)`, the index of each pair in lexicographic order.
        index: `"k-SII"` takes half of its pairs from each player; other indices keep them.
        base_values: `(b, k)`, value of the empty coalition.
        method: Name of the estimator.
        n_evals: Coalitions asked for per explicand.
        exact: Whether all coalitions were seen.

    Returns:
        Single players, then pairs.
    """
    n = shapley.shape[1]
    sets = [(i,) for i in range(n)] + list(combinations(range(n), 2))
    subsets = torch.zeros(len(sets), n, dtype=torch.bool)
    for row, players in enumerate(sets):
        subsets[row, list(players)] = True
    single = shapley
    if index == "k-SII":
        single = shapley - torch.einsum("buk,un->bnk", pairs, subsets[n:].to(pairs)) / 2
    values = torch.cat([single, pairs], 1).to(base_values.dtype)
    return Interactions(
        subsets,
        values,
        index,
        2,
        base_values=base_values,
        players=getattr(game, "players", None),
        outputs=getattr(game, "outputs", None),
        game=getattr(game, "description", type(game).__name__),
        method=method,
        exact=exact,
        n_evals=n_evals,
    )


def _pair_positions(n: int) -> tuple[Tensor, Tensor]:
    first, second = torch.triu_indices(n, n, 1)
    return first, second


def _enumerated(game: Game, index: str, chunk_size: int | None) -> Interactions:
    n = game.n_players
    values = ask(game, all_coalitions(n), chunk_size)
    v = values.double()
    singles = pairs = torch.zeros(0)
    first, second = _pair_positions(n)
    step = max(1, 2**22 // (n * n))
    for start in range(0, 2**n, step):
        rows = all_coalitions(n, start, min(start + step, 2**n))
        part = v[:, start : start + step]
        if index == "BII":
            weights = (rows.double() * 2 - 1) / 2 ** (n - 1)
        else:
            weights = shapley_weights(rows)
        single = torch.einsum("bmk,mn->bnk", part, weights.to(v.device))
        linear = _pair_weights(rows, first, second, index).to(v.device)
        pair = torch.einsum("bmk,mu->buk", part, linear)
        singles = single if start == 0 else singles + single
        pairs = pair if start == 0 else pairs + pair
    return pair_interactions(
        game,
        singles,
        pairs,
        index=index,
        base_values=values[:, 0],
        method="exact_interactions",
        n_evals=2**n,
        exact=True,
    )


def _pair_weights(rows: Tensor, first: Tensor, second: Tensor, index: str) -> Tensor:
    """The linear map `(m, u)` from values of all coalitions to the index of each pair."""
    n = rows.shape[1]
    inside = rows[:, first].long() + rows[:, second].long()  # members of the pair in S
    sign = 1.0 - 2.0 * (inside == 1)
    if index == "BII":
        return sign.double() / 2 ** (n - 2)
    others = rows.sum(1, keepdim=True) - inside
    logs = torch.lgamma(torch.arange(1, n + 1).double())  # log 0!, 1!, ...
    weight = logs[others] + logs[n - 2 - others] - logs[n - 1]
    return sign.double() * weight.exp()


def _even_pairs(sample: PairSample, values: Tensor, index: str) -> Tensor:
    """Posterior mean `(b, u, k)` of each pair's index under a prior on even orders."""
    b = len(values)
    ends = (values[:, 1:2] + values[:, 0:1]) / 2
    means = torch.cat([ends, (values[:, 2::2] + values[:, 3::2]) / 2], 1)[:, : DENSE + 1]
    data = rearrange(means - means.mean(1, keepdim=True), "b p k -> p (b k)")
    n = sample.n_players
    signs = torch.cat([torch.ones(1, n).double(), sample.signs])[: DENSE + 1]
    rows = min(len(signs), 300)
    kernels = CACHE.get(("even kernels", sample.name), lambda: _even_kernels(signs[:rows]))
    scales, noise = _tune(kernels, data[:rows, :32].cpu())
    whole = _even_kernels(signs) if rows < len(signs) else kernels
    covariance = torch.einsum("d,dpq->pq", scales, whole) + noise * torch.eye(len(signs)).double()
    cross = _pair_covariance(signs, scales, index)  # (u, p + 1)
    solved = torch.cholesky_solve(data.cpu(), cholesky(covariance))
    return rearrange(cross @ solved, "u (b k) -> b u k", b=b).to(values.device)


def _even_kernels(signs: Tensor) -> Tensor:
    n = signs.shape[1]
    distance = ((n - signs @ signs.T) / 2).round().long()
    return waves(n, EVEN_ORDERS)[:, distance]


def _tune(kernels: Tensor, data: Tensor) -> tuple[Tensor, Tensor]:
    """Variances of the orders and of the noise by marginal likelihood, order 2 as the unit."""
    import numpy as np
    import scipy.optimize  # pyright: ignore[reportMissingTypeStubs]

    power = data.square().mean(0)
    data = data[:, power > 0] / power[power > 0].sqrt()
    start = np.log([1.0, 0.1, 0.03, 0.01])  # order 0, 4, 6, noise
    if data.shape[1] == 0:
        return torch.tensor([1.0, 1.0, 0.1, 0.03]).double(), torch.tensor(0.01).double()
    one = torch.ones(1, dtype=torch.float64)

    def spread(theta: Tensor) -> tuple[Tensor, Tensor]:
        scales = theta.exp()
        return torch.cat([scales[:1], one, scales[1:3]]), scales[3]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.tensor(theta, requires_grad=True)
        scales, noise = spread(point)
        covariance = torch.einsum("d,dpq->pq", scales, kernels)
        factor = cholesky(covariance + noise * torch.eye(len(data)).double())
        fit = (data * torch.cholesky_solve(data, factor)).sum(0)
        value = data.shape[1] * factor.diagonal().log().sum() + len(data) / 2 * fit.log().sum()
        away = (point - from_array(start)) / 2.0
        value = value + 0.5 * (away @ away)
        (slope,) = torch.autograd.grad(value, point)
        return float(value.detach()), slope.numpy()

    limits = [(-14.0, 10.0)] * 3 + [(-16.0, 7.0)]
    optimize: Any = scipy.optimize
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": 15}
    )
    return spread(from_array(found.x))


def _pair_covariance(signs: Tensor, scales: Tensor, index: str) -> Tensor:
    """Prior covariance `(u, p)` of each pair's index with the even part at each coalition."""
    n = signs.shape[1]
    first, second = _pair_positions(n)
    both = (signs[:, first] * signs[:, second]).T  # (u, p)
    if index == "BII":
        return both * (4 * scales[1] / (n * (n - 1) / 2))
    usable = [
        float(scale) * order * (order <= n)
        for scale, order in zip(scales, EVEN_ORDERS, strict=True)
    ][1:]
    table = torch.tensor(usable, dtype=torch.float64) @ waves(n - 2, (0, 2, 4))
    absent = (n - signs.sum(1)) / 2
    mine = ((1 - signs[:, first]) / 2 + (1 - signs[:, second]) / 2).T
    return both * table[(absent - mine).round().long()] * (4 / (n * (n - 1)))


def _banzhaf(sample: PairSample, values: Tensor) -> Tensor:
    """Twice the posterior means of the Walsh coefficients of order 1."""
    surrogate = Surrogate(sample, values)
    found = surrogate.signs.T @ surrogate.weights * (2 / sample.n_players)
    return rearrange(found, "n (b k) -> b n k", b=len(values))
