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
COPY = 3  # nodes that a wave could be spared by copying it, for the price of the copy
COUNTS = (4, 6, 8, 10, 12, 16, 24)  # of nodes; waves of one count are worked on together
ELLIPSES = tuple(1 + 0.2 * 1.3**step for step in range(24))  # 1.2 to 84


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
        parts = [self._shapley(*tile) for tile in tiles]
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
            sizes = 2 * (self._turns(rows, mask).detach() / 2).sin().abs()  # (n, b, r)
            polynomial = sizes.new_zeros(n + 1, rows.shape[0], units)
            polynomial[0] = 1
            for player, size in enumerate(sizes):
                polynomial[1 : player + 2] += polynomial[: player + 1] * size
            out.append(einsum(polynomial[1:], weights, "n b r, r k -> b n k"))
        return torch.cat(out)

    def terms(self, x: Tensor, present: Tensor) -> Dividends:
        """The part as product games with complex factors."""
        from harsanyi.dividends import Dividends, Products

        turns = rearrange(self._turns(x, present), "n b r -> b r n")
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

    def _turns(self, x: Tensor, present: Tensor, times: float = 1.0) -> Tensor:
        """The angle each player adds to each wave, `(n, b, r)`: players first, for speed."""
        order = self.features.owner.argsort(stable=True)
        features, angles = self.features(x, present)[:, order], self.angles[order] * times
        sizes = [
            codes + 2 if codes else self.features.bins + 3 for codes in self.spec["cardinalities"]
        ]
        if len(set(sizes)) == 1:
            own = rearrange(features, "b (n f) -> n b f", f=sizes[0])
            return own @ rearrange(angles, "(n f) r -> n f r", f=sizes[0])
        pieces = zip(features.split(sizes, 1), angles.split(sizes), strict=True)
        return torch.stack([own @ turn for own, turn in pieces])

    def _shapley(self, x: Tensor, present: Tensor) -> Tensor:
        half = self._turns(x, present, 0.5)
        wide = torch.promote_types(half.dtype, torch.float32)
        half, weights = half.to(wide), self.weights.to(wide)
        lead = -2 * (self.phases.to(wide) + half.sum(0)).sin()  # (b, r)
        sine, cosine = half.sin(), half.cos()
        values = half.new_zeros(*half.shape[:2], self.n_outputs)
        for nodes, waves in batches(enough_nodes(sine, cosine)):
            part = [sine, cosine, lead, weights]
            if waves:
                at = torch.tensor(waves, device=half.device)
                part = [z.index_select(-1, at) for z in (sine, cosine, lead)]
                part.append(weights[at])
            some, other, own, read = part
            units = _along_diagonal(some, other, nodes) * own
            values = values + einsum(units, read, "n b r, r k -> n b k")
        return rearrange(values, "n b k -> b n k").to(self.phases.dtype)


def _along_diagonal(sine: Tensor, cosine: Tensor, nodes: int) -> Tensor:
    """The integral of sin(h_i) prod over j != i of (cos h_j + i y sin h_j) for y from -1 to 1, halved.

    Odd powers of y vanish, so the integral is real, and half of the nodes carry it.

    Args:
        sine: Of half angles h, `(n, b, r)`.
        cosine: The same angles'.
        nodes: An even number of Gauss-Legendre nodes on [-1, 1].

    Returns:
        `(n, b, r)`.
    """
    sine2, cosine2, both = sine.square(), cosine.square(), sine * cosine
    pairs = len(sine) // 2
    a, b = slice(0, pairs), slice(pairs, 2 * pairs)
    even, odd = cosine[a] * cosine[b], sine[a] * sine[b]
    cross = (cosine[a] * sine[b]).addcmul_(sine[a], cosine[b])
    left = slice(2 * pairs, None)  # the one without a partner
    points, shares = np.polynomial.legendre.leggauss(nodes)
    total = torch.zeros_like(sine)
    for point, share in zip(points.tolist(), shares.tolist(), strict=True):
        if point < 0:
            continue
        real, imaginary = torch.sub(even, odd, alpha=point**2), cross
        if 2 * pairs < len(sine):
            real, imaginary = torch.cat([real, cosine[left]]), torch.cat([cross, sine[left]])
        real, imaginary = _product(real, imaginary, point**2)
        top = (both * real).addcmul_(sine2, imaginary, value=point**2)
        total.addcdiv_(top, torch.add(cosine2, sine2, alpha=point**2), value=share)
    return total


def enough_nodes(sine: Tensor, cosine: Tensor) -> list[int]:
    """Fewest nodes of each wave whose certified error is below the rounding of the type.

    On a Bernstein ellipse around [-1, 1] of parameter rho, with b = (rho - 1/rho) / 2, a factor's
    |c + i y s|^2 = c^2 + |y|^2 s^2 - 2 Im(y) c s adds up over players to at most n + b^2 times the
    sum of s^2 plus b times the size of that of 2 c s, and a product of n - 1 of them is at most
    that power of their mean.

    Args:
        sine: Of half angles, `(n, b, r)`.
        cosine: The same angles'.

    Returns:
        `r` even numbers, so that no node falls on 0, where a factor can be 0; at most the number
        that is exact by degree, and that one where a program is exported.

    Source: Trefethen (2008), theorem 4.5: Chebyshev coefficients from degree 2 nodes on; the bound
        on the product is ours.
    """
    n, b, r = sine.shape
    exact = 2 * math.ceil(exact_nodes(n) / 2)
    if torch.compiler.is_exporting() or exact <= 4 or b == 0:
        return [exact] * r
    sine, cosine = sine.detach(), cosine.detach()
    squares, slope = (
        (sine * sine).sum(0).amax(0).double(),
        2 * (sine * cosine).sum(0).abs().amax(0).double(),
    )
    ladder = [*(count for count in COUNTS if count < exact), exact]
    counts = torch.tensor(ladder, dtype=torch.float64, device=sine.device)
    bound = counts.new_full((r, len(ladder)), math.inf)
    for rho in ELLIPSES:
        reach = (rho - 1 / rho) / 2
        factor = (n + reach**2 * squares + reach * slope) / (n - 1)
        height = squares.clamp(max=1).log() / 2 + (n - 1) / 2 * factor.log()  # (r,)
        tail = math.log(64 / 15) - math.log1p(-(rho**-2)) - 2 * counts * math.log(rho)
        bound = torch.minimum(bound, height[:, None] + tail)
    # the last count is exact whatever the bound says
    enough = bound[:, :-1] <= math.log(torch.finfo(sine.dtype).eps)
    return [ladder[i] for i in (~enough).sum(1).tolist()]


def batches(counts: list[int]) -> list[tuple[int, list[int]]]:
    """Waves to work on together, by number of nodes; one batch of all where copying costs more.

    Args:
        counts: Nodes of each wave.

    Returns:
        Pairs of nodes and positions of waves; an empty list of positions means all.
    """
    if sum(counts) + COPY * len(counts) >= max(counts) * len(counts):
        return [(max(counts), [])]
    kinds = sorted(set(counts))
    return [(kind, [i for i, count in enumerate(counts) if count == kind]) for kind in kinds]


def _product(real: Tensor, imaginary: Tensor, square: float) -> tuple[Tensor, Tensor]:
    """Product over the first axis, in halves, of numbers real + i y imaginary with y^2 = square."""
    while len(real) > 1:
        n = len(real)
        h = n // 2
        a, b, c, d = real[:h], imaginary[:h], real[h : 2 * h], imaginary[h : 2 * h]
        re = (a * c).addcmul_(b, d, value=-square)
        im = (a * d).addcmul_(b, c)
        if n % 2:
            re, im = torch.cat([re, real[-1:]]), torch.cat([im, imaginary[-1:]])
        real, imaginary = re, im
    return real[0], imaginary[0]


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
