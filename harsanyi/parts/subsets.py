"""Subset modules: free-form networks of at most four players each, purified by inclusion-exclusion.

A module is evaluated on the at most 16 coalitions of its own players, all modules and coalitions
in one batched call; a weighted sum of these values gives Shapley values, another the dividends.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from harsanyi.features import PlayerFeatures
from harsanyi.quadrature import row_tiles

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends

LARGEST = 4
TILE = 2**22  # numbers held at once in one intermediate


class SubsetPart(nn.Module):
    """One small network per subset of at most four players.

    A player enters by a learned vector, a linear function of its features; an absent one by the
    zero vector, which no present player has, for everybody present adds a vector of its own.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        units: Subsets `u`; which ones, `connect` says.
        size: Most players of a subset, 1 to 4.
        width: Entries of a player's vector.
        hidden: Hidden units of a module.
        cardinalities: Categories per player, 0 for a number; all numbers when None.
        bins: Ramps per number.

    Raises:
        ValueError: If sizes are out of range, or the cardinalities are not one per player.
    """

    absences = frozenset({"baseline", "mask"})
    members: Tensor
    coalitions: Tensor
    shares: Tensor
    moebius: Tensor

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        units: int = 64,
        size: int = LARGEST,
        width: int = 8,
        hidden: int = 16,
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
        if not 1 <= size <= LARGEST or min(units, width, hidden) < 1:
            raise ValueError(
                f"units={units}, size={size}, width={width}, hidden={hidden}; a subset has 1 to "
                f"{LARGEST} players, and all of these are at least 1."
            )
        self.n_players, self.n_outputs = n_players, n_outputs
        self.spec: dict[str, Any] = {
            "kind": "subsets",
            "units": units,
            "size": size,
            "width": width,
            "hidden": hidden,
            "cardinalities": list(cardinalities),
            "bins": bins,
        }
        self.features = PlayerFeatures(cardinalities, bins)
        self.vectors = nn.Parameter(torch.empty(self.features.n_features, width))
        self.inner = nn.Parameter(torch.empty(units, size, width, hidden))
        self.shift = nn.Parameter(torch.empty(units, hidden))
        self.readout = nn.Parameter(torch.empty(units, hidden, n_outputs))
        self.register_buffer("members", torch.full((units, size), -1, dtype=torch.int64))
        coalitions, shares, moebius = (t.to(self.members.device) for t in small_game(size))
        self.register_buffer("coalitions", coalitions)
        self.register_buffer("shares", shares)
        self.register_buffer("moebius", moebius)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights; subsets and the columns' statistics stay."""
        if self.vectors.is_meta:
            return
        generator = generator or torch.Generator(self.vectors.device).manual_seed(0)
        _, size, width, hidden = self.inner.shape
        self.vectors.normal_(0, 0.5, generator=generator)
        self.inner.normal_(0, (size * width) ** -0.5, generator=generator)
        self.shift.normal_(0, 0.3, generator=generator)
        spread = 0.3 * (hidden * len(self.members)) ** -0.5
        self.readout.normal_(0, spread, generator=generator)

    def fit_encoder(self, x: Tensor) -> SubsetPart:
        """Take the statistics of the columns from raw rows `(b, n)`; returns self."""
        self.features.fit(x)
        return self

    @torch.no_grad()
    def connect(self, fields: list[list[int]]) -> SubsetPart:
        """Say which players each unit reads.

        Args:
            fields: At most as many lists of positions as there are units; units left over
                read nobody.

        Returns:
            self.

        Raises:
            ValueError: If a field is empty, too large, repeats or misnames a player.
        """
        units, size = self.members.shape
        if len(fields) > units:
            raise ValueError(f"fields lists {len(fields)} subsets; there are {units} units.")
        self.members.fill_(-1)
        for unit, field in enumerate(fields):
            known = all(0 <= player < self.n_players for player in field)
            if not known or not 1 <= len(set(field)) == len(field) <= size:
                raise ValueError(
                    f"fields[{unit}]={field}; 1 to {size} different players of "
                    f"0..{self.n_players - 1} are needed."
                )
            self.members[unit, : len(field)] = torch.tensor(sorted(field))
        return self

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Value `(b, k)` of raw rows `(b, n)` with the players `present`, bool `(b, n)`."""
        before = self._inputs(x, present).sum(2) + self.shift
        return einsum(F.gelu(before), self.readout, "b u h, u h k -> b k")

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)`: those of the small games, added up."""
        phi = [self._scatter(self._all_values(*tile), tile[1]) for tile in self._tiles(x, present)]
        return torch.cat(phi) if phi else self.shift.new_zeros(0, self.n_players, self.n_outputs)

    def terms(self, x: Tensor, present: Tensor) -> Dividends:
        """The part as dividends on the subsets of its units."""
        from harsanyi.dividends import Dividends

        values = [self._all_values(*tile) for tile in self._tiles(x, present)]
        values = torch.cat(values) if values else self._all_values(x, present)
        dividends = einsum(values, self.moebius.to(values.dtype), "b u m k, t m -> b u t k")
        real = rearrange(self.members >= 0, "u s -> u 1 s")
        kept = (self.coalitions[None, 1:] & ~real).any(-1).logical_not()  # (u, m - 1)
        unit, place = kept.nonzero().T
        sets = torch.zeros(len(unit), self.n_players + 1, dtype=torch.bool, device=x.device)
        members = torch.where(self.members >= 0, self.members, self.n_players)
        sets.scatter_(
            1, torch.where(self.coalitions[1:][place], members[unit], self.n_players), True
        )
        there = (~sets[None, :, :-1] | present[:, None]).all(-1)  # exactly 0 without a member
        given = dividends[:, unit, place + 1] * there[..., None]
        return Dividends(sets[:, :-1], given, values[:, :, 0].sum(1))

    def _inputs(self, x: Tensor, present: Tensor) -> Tensor:
        """What each member adds to the hidden units of its module, `(b, u, s, h)`."""
        owner = self.features.owner
        blocks = self.vectors.new_zeros(len(owner), self.n_players + 1, self.vectors.shape[1])
        at = torch.arange(len(owner), device=owner.device)
        blocks = blocks.index_put((at, owner), self.vectors)
        vectors = einsum(self.features(x, present), blocks, "b f, f n w -> b n w")
        chosen = torch.where(self.members >= 0, self.members, self.n_players)
        return einsum(vectors[:, chosen], self.inner, "b u s w, u s w h -> b u s h")

    def _all_values(self, x: Tensor, present: Tensor) -> Tensor:
        """Values of every module on every coalition of its slots, `(b, u, m, k)`."""
        inputs = self._inputs(x, present)
        before = einsum(inputs, self.coalitions.to(inputs.dtype), "b u s h, m s -> b u m h")
        hidden = F.gelu(before + self.shift[:, None])
        return einsum(hidden, self.readout, "b u m h, u h k -> b u m k")

    def _scatter(self, values: Tensor, present: Tensor) -> Tensor:
        slots = einsum(values, self.shares.to(values.dtype), "b u m k, s m -> b u s k")
        chosen = torch.where(self.members >= 0, self.members, self.n_players).flatten()
        phi = values.new_zeros(values.shape[0], self.n_players + 1, self.n_outputs)
        phi = phi.index_add(1, chosen, rearrange(slots, "b u s k -> b (u s) k"))
        return phi[:, :-1] * present[..., None]

    def _tiles(self, x: Tensor, present: Tensor) -> list[tuple[Tensor, Tensor]]:
        held = self.inner.shape[0] * self.inner.shape[3] * len(self.coalitions)
        step = max(1, TILE // held)
        tiles = zip(row_tiles(x, step), row_tiles(present, step), strict=True)
        return list(tiles) if x.shape[0] else []


def small_game(size: int) -> tuple[Tensor, Tensor, Tensor]:
    """All coalitions of a few slots, and the matrices that turn their values into games' answers.

    Args:
        size: Slots `s`.

    Returns:
        Coalitions `(m, s)` bool, the empty one first; Shapley weights `(s, m)` and the Moebius
        transform `(m, m)`, float64.
    """
    m = 2**size
    coalitions = torch.tensor([[bool(i >> s & 1) for s in range(size)] for i in range(m)])
    shares = torch.zeros(size, m, dtype=torch.float64)
    moebius = torch.zeros(m, m, dtype=torch.float64)
    for i in range(m):
        for s in range(size):
            if i >> s & 1:
                others = i.bit_count() - 1
                weight = math.factorial(others) * math.factorial(size - others - 1)
                shares[s, i] += weight / math.factorial(size)
                shares[s, i ^ (1 << s)] -= weight / math.factorial(size)
        inside = [s for s in range(size) if i >> s & 1]
        for count in range(len(inside) + 1):
            for chosen in combinations(inside, count):
                moebius[i, sum(1 << s for s in chosen)] = (-1.0) ** (len(inside) - count)
    return coalitions, shares, moebius
