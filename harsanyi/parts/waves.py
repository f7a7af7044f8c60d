"""Wave units: cosines of a sum over players, each a product game with complex factors.

cos(b + sum over S of a_i(x_i)) = Re[e^(ib) prod over S of e^(i a_i)], so one hidden layer over all
players at once, with the cosine as its activation, has the exact Shapley values of a product
game. A wave is bounded by 1 however many players it has.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from harsanyi.features import PlayerFeatures
from harsanyi.quadrature import exact_nodes, row_tiles

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends

TILE = 2**20  # numbers held at once in one intermediate
MASS_TILE = 2**17
COUNTS = (4, 8, 10, 12, 16, 24)  # of nodes; waves of one count are worked on together
ELLIPSES = (1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 9.0, 12.0, 15.0, 20.0, 30.0, 60.0)


class WavePart(nn.Module):
    """One hidden layer of cosines over the features of all players.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        units: Waves `r`.
        cardinalities: Categories per player, 0 for a number; all numbers when None.
        bins: Ramps per number.

    Raises:
        ValueError: If there are no units, or the cardinalities are not one per player.

    Source: Owen (1972) for the diagonal formula; QuadraSHAP (2026) for product games; the
        symmetry of nodes for factors of modulus 1 is ours.
    """

    absences = frozenset({"baseline", "mask"})

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        units: int = 128,
        cardinalities: list[int] | None = None,
        bins: int = 8,
    ) -> None:
        super().__init__()
        cardinalities = cardinalities or [0] * n_players
        if len(cardinalities) != n_players:
            raise ValueError(
                f"cardinalities has {len(cardinalities)} entries; one per player is needed, "
                f"{n_players}."
            )
        if units < 1:
            raise ValueError(f"units={units}; pass at least 1.")
        self.n_players, self.n_outputs = n_players, n_outputs
        self.spec: dict[str, Any] = {
            "kind": "waves",
            "units": units,
            "cardinalities": list(cardinalities),
            "bins": bins,
        }
        self.features = PlayerFeatures(cardinalities, bins)
        self.angles = nn.Parameter(torch.empty(self.features.n_features, units))
        self.phases = nn.Parameter(torch.empty(units))
        self.weights = nn.Parameter(torch.empty(units, n_outputs))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw slow waves of any phase; the columns' statistics stay."""
        if self.angles.is_meta:
            return
        generator = generator or torch.Generator(self.angles.device).manual_seed(0)
        draw_waves(self.angles, self.phases, self.weights, self.n_players, generator)

    def fit_encoder(self, x: Tensor) -> WavePart:
        """Take the statistics of the columns from raw rows `(b, n)`; returns self."""
        self.features.fit(x)
        return self

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Value `(b, k)` of raw rows `(b, n)` with the players `present`, bool `(b, n)`."""
        return torch.cos(self.features(x, present) @ self.angles + self.phases) @ self.weights

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)` of all outputs, exact by Gauss-Legendre nodes.

        With u = (z - 1) / (1 + t (z - 1)) for z = e^(ia), the value of player i is the sum over
        nodes t of Re[e^(ib) u_i prod_j (1 + t (z_j - 1))]. For |z| = 1 the node 1 - t gives the
        conjugates of node t, so half of the nodes are enough.

        Args:
            x: Raw rows `(b, n)`, float64.
            present: Players of the game, bool `(b, n)`.

        Returns:
            Values `(b, n, k)`.
        """
        units = len(self.phases)
        rows = max(1, TILE // (units * self.n_players))
        tiles = zip(row_tiles(x, rows), row_tiles(present, rows), strict=True)
        parts = [self._shapley(self._turns(a, p)) for a, p in tiles]
        return (
            torch.cat(parts)
            if x.shape[0]
            else self.phases.new_zeros(0, *x.shape[1:], self.n_outputs)
        )

    def term_mass(self, x: Tensor, present: Tensor) -> Tensor:
        """Sum of the absolute dividends of all waves by order, their moduli counted, `(b, n, k)`.

        They are the elementary symmetric polynomials of the distances |e^(ia) - 1|.
        """
        n, units = self.n_players, len(self.phases)
        weights = self.weights.detach().abs()
        step = max(1, MASS_TILE // (units * (n + 1)))
        out = [self.phases.new_zeros(0, n, self.n_outputs)]
        for rows, mask in zip(x.split(step), present.split(step), strict=True):
            sizes = 2 * (self._turns(rows, mask).detach() / 2).sin().abs()  # (b, n, r)
            polynomial = sizes.new_zeros(n + 1, rows.shape[0], units)
            polynomial[0] = 1
            for player in range(n):
                polynomial[1 : player + 2] += polynomial[: player + 1] * sizes[:, player]
            out.append(einsum(polynomial[1:], weights, "n b r, r k -> b n k"))
        return torch.cat(out)

    def terms(self, x: Tensor, present: Tensor) -> Dividends:
        """The part as product games with complex factors."""
        from harsanyi.dividends import Dividends, Products

        turns = rearrange(self._turns(x, present), "b n r -> b r n")
        factors = torch.polar(torch.ones_like(turns), turns) - 1
        turn = torch.polar(torch.ones_like(self.phases), self.phases)
        nobody = torch.zeros(0, self.n_players, dtype=torch.bool, device=x.device)
        empty = self.phases.new_zeros(x.shape[0], 0, self.n_outputs)
        return Dividends(
            nobody,
            empty,
            empty.new_zeros(x.shape[0], self.n_outputs),
            products=(Products(turn[:, None] * self.weights, factors),),
        )

    def _turns(self, x: Tensor, present: Tensor) -> Tensor:
        """The angle each player adds to each wave, `(b, n, r)`."""
        order = self.features.owner.argsort(stable=True)
        features, angles = self.features(x, present)[:, order], self.angles[order]
        sizes = [
            codes + 2 if codes else self.features.bins + 3 for codes in self.spec["cardinalities"]
        ]
        pieces = zip(features.split(sizes, 1), angles.split(sizes), strict=True)
        return torch.stack([own @ turn for own, turn in pieces], 1)

    def _shapley(self, turns: Tensor) -> Tensor:
        wide = torch.promote_types(turns.dtype, torch.float32)
        half = turns.to(wide) / 2
        weights = self.weights.to(wide)
        lead = -2 * (self.phases.to(wide) + half.sum(1)).sin()  # (b, r)
        counts = enough_nodes(half)
        values = half.new_zeros(*half.shape[:2], self.n_outputs)
        for nodes in sorted(set(counts)):
            if len(set(counts)) == 1:
                some, own, read = half, lead, weights
            else:
                chosen = [i for i, count in enumerate(counts) if count == nodes]
                at = torch.tensor(chosen, device=half.device)
                some, own, read = half[..., at], lead[:, at], weights[at]
            units = _along_diagonal(some, nodes) * own[:, None]
            values = values + einsum(units, read, "b n r, r k -> b n k")
        return values.to(turns.dtype)


def _along_diagonal(half: Tensor, nodes: int) -> Tensor:
    """The integral of sin(h_i) prod over j != i of (cos h_j + i y sin h_j) for y from -1 to 1, halved.

    Odd powers of y vanish, so the integral is real, and half of the nodes carry it.

    Args:
        half: Half angles h `(b, n, r)`.
        nodes: An even number of Gauss-Legendre nodes on [-1, 1].

    Returns:
        `(b, n, r)`.
    """
    sine, cosine = half.sin(), half.cos()
    sine2, cosine2 = sine.square(), cosine.square()
    pairs = half.shape[1] // 2
    a, b = slice(0, pairs), slice(pairs, 2 * pairs)
    even, odd = cosine[:, a] * cosine[:, b], sine[:, a] * sine[:, b]
    cross = cosine[:, a] * sine[:, b] + sine[:, a] * cosine[:, b]
    left = slice(2 * pairs, None)  # the one without a partner
    points, shares = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(half)
    for point, share in zip(points.tolist(), shares.tolist(), strict=True):
        if point < 0:
            continue
        real = torch.cat([torch.sub(even, odd, alpha=point**2), cosine[:, left]], 1)
        real, imaginary = _product(real, torch.cat([cross, sine[:, left]], 1), point**2)
        top = (cosine * real[:, None]).addcmul_(sine, imaginary[:, None], value=point**2)
        total.addcdiv_(top, torch.add(cosine2, sine2, alpha=point**2), value=share)
    return total * sine


def enough_nodes(half: Tensor) -> list[int]:
    """Fewest nodes of each wave whose certified error is below the rounding of the type.

    On a Bernstein ellipse of parameter rho around [0, 1] a factor is at most c + s (rho + 1/rho) / 2
    with c = |cos(a/2)| and s = |sin(a/2)|, and a product of n of them at most the n-th power of
    their mean.

    Args:
        half: Half angles `(b, n, r)`.

    Returns:
        `r` even numbers, so that no node falls on 1/2, where a factor can be 0; at most the number
        that is exact by degree, and that one where a program is exported.

    Source: Trefethen (2013), theorem 19.3, for the interval of length 1.
    """
    n = half.shape[1]
    exact = 2 * math.ceil(exact_nodes(n) / 2)
    if torch.compiler.is_exporting() or exact <= 4 or half.shape[0] == 0:
        return [exact] * half.shape[2]
    sine, cosine = half.detach().sin().abs(), half.detach().cos().abs()
    largest, means = sine.amax(1).double().log(), (sine.mean(1).double(), cosine.mean(1).double())
    ladder = [*(count for count in COUNTS if count < exact), exact]
    counts = torch.tensor(ladder, dtype=torch.float64, device=half.device)
    bound = half.new_full((half.shape[2], len(ladder)), math.inf, dtype=torch.float64)
    for rho in ELLIPSES:
        reach = (rho + 1 / rho) / 2
        height = (largest + n * (means[1] + reach * means[0]).log()).amax(0)  # (r,)
        tail = math.log(64 / 15) - math.log1p(-(rho**-2)) - 2 * (counts - 1) * math.log(rho)
        bound = torch.minimum(bound, height[:, None] + tail)
    # the last count is exact whatever the bound says
    enough = bound[:, :-1] <= math.log(torch.finfo(half.dtype).eps)
    return [ladder[i] for i in (~enough).sum(1).tolist()]


def _product(real: Tensor, imaginary: Tensor, square: float) -> tuple[Tensor, Tensor]:
    """Product over the second axis, in halves, of numbers real + i y imaginary with y^2 = square."""
    while real.shape[1] > 1:
        n = real.shape[1]
        h = n // 2
        a, b, c, d = real[:, :h], imaginary[:, :h], real[:, h : 2 * h], imaginary[:, h : 2 * h]
        re = (a * c).addcmul_(b, d, value=-square)
        im = (a * d).addcmul_(b, c)
        if n % 2:
            re, im = torch.cat([re, real[:, -1:]], 1), torch.cat([im, imaginary[:, -1:]], 1)
        real, imaginary = re, im
    return real[:, 0], imaginary[:, 0]


@torch.no_grad()
def draw_waves(
    angles: Tensor,
    phases: Tensor,
    weights: Tensor,
    n_players: int,
    generator: torch.Generator,
    slowness: float = 0.5,
) -> None:
    """Initial waves: angles of spread `slowness` on a full row, phases anywhere, small weights.

    Args:
        angles: `(features, r)`, filled in place.
        phases: `(r,)`, filled in place.
        weights: `(r, k)`, filled in place.
        n_players: Players whose angles add up.
        generator: Source of the draws.
        slowness: Spread of the sum of angles, in radians, up to the features' own spread.
    """
    per_player = 6.0  # about as many features as a number has of order 1
    angles.normal_(0, slowness * (n_players * per_player) ** -0.5, generator=generator)
    phases.uniform_(0, 2 * math.pi, generator=generator)
    weights.normal_(0, 0.5 * len(phases) ** -0.5, generator=generator)
