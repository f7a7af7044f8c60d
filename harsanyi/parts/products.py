"""Product units: all 2^n dividends of a game from one factor per player.

v(S) = sum over units of weight * (product over the members of S of (1 + a_i(x_i)) - 1). An absent
player's factor is 1, or, with `absent="mean"`, its mean over the training rows: then v(S) is the
unit averaged over the absent players, each independently of the others.
"""

from typing import TYPE_CHECKING, Any, Literal

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from harsanyi.encoders import PlayerEncoder
from harsanyi.quadrature import exact_nodes, product_banzhaf, product_shapley

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends

Absent = Literal["one", "mean"]


class ProductPart(nn.Module):
    """Sums of products over players, with Shapley values by exact quadrature.

    Factors are `bound * tanh(...)` of a learned function of one player, so that a product stays
    positive and finite; a fixed unit may be limited to a field of few players.

    Args:
        n_players: Players `n`.
        n_outputs: Outputs `k`.
        units: Product units `r`.
        bound: Largest absolute factor, between 0 and 1.
        encoder: Keyword arguments of the `PlayerEncoder`, but its width.
        fields: Players of each unit, `r` lists of positions; None means all.
        absent: "one" leaves absent players out of the product, "mean" averages over them.

    Raises:
        ValueError: If `bound`, `units`, `fields` or `absent` is out of range.

    Source: QuadraSHAP's product games (2026) made trainable; the quadrature is Owen's (1972).
    """

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        units: int = 32,
        bound: float = 0.9,
        encoder: dict[str, Any] | None = None,
        fields: list[list[int]] | None = None,
        absent: Absent = "one",
    ) -> None:
        super().__init__()
        if not 0 < bound < 1:
            raise ValueError(f"bound={bound}; a factor needs a bound inside (0, 1).")
        if units < 1:
            raise ValueError(f"units={units}; pass at least 1.")
        if absent not in ("one", "mean"):
            raise ValueError(f"absent={absent!r}; choose 'one' or 'mean'.")
        if fields is not None and len(fields) != units:
            raise ValueError(f"fields lists {len(fields)} units; there are {units}.")
        self.spec = {
            "kind": "products",
            "units": units,
            "bound": bound,
            "encoder": encoder,
            "fields": fields,
            "absent": absent,
        }
        self.n_players, self.n_outputs = n_players, n_outputs
        self.bound = bound
        self.absent: Absent = absent
        self.absences = frozenset({"marginal"} if absent == "mean" else {"baseline", "mask"})
        self.encoder = PlayerEncoder(n_players, width=units, **(encoder or {}))
        self.weights = nn.Parameter(torch.empty(units, n_outputs))
        # what follows from the fields is saved as well: it comes back from the meta device
        self.register_buffer("field", _mask(fields, units, n_players))
        self.register_buffer("means", torch.zeros(units, n_players))
        widest = n_players if fields is None else max((len(set(f)) for f in fields), default=0)
        self.n_nodes = exact_nodes(widest)
        self.reset_parameters()

    field: Tensor
    means: Tensor

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights; column statistics, fields and means stay."""
        if self.weights.is_meta:
            return
        generator = generator or torch.Generator(self.weights.device).manual_seed(0)
        self.encoder.reset_parameters(generator)
        self.weights.normal_(0, self.weights.shape[0] ** -0.5, generator=generator)

    def fit_encoder(self, x: Tensor) -> "ProductPart":
        """Take the statistics of the columns from raw rows `(b, n)`; returns self."""
        self.encoder.fit(x)
        return self.fit_means(x)

    @torch.no_grad()
    def fit_means(
        self, x: Tensor, weight: Tensor | None = None, *, max_rows: int = 4096
    ) -> "ProductPart":
        """Take the mean of every factor over raw training rows; call it again after training.

        Exactness never depends on these means, only what an absent player is averaged over.

        Args:
            x: Raw rows `(b, n)`, float64.
            weight: Sample weights `(b,)`, or None.
            max_rows: Rows encoded at once.

        Returns:
            self.

        Raises:
            ValueError: If there are no rows.
        """
        if len(x) == 0:
            raise ValueError("x has no rows; the means of the factors need at least 1.")
        weight = x.new_ones(len(x)) if weight is None else weight
        share = weight.double() / weight.double().sum()
        total = torch.zeros_like(self.means, dtype=torch.float64)
        for rows, part in zip(x.split(max_rows), share.split(max_rows), strict=True):
            total += einsum(part, self._raw_factors(rows).double(), "b, b r n -> r n")
        self.means.copy_(total)
        return self

    def _raw_factors(self, x: Tensor) -> Tensor:
        """a `(b, r, n)` of raw rows, everybody taken as present."""
        # the root keeps the log of a product of n factors of order 1 at the start
        z = rearrange(self.encoder(x), "n b r -> b r n") * self.n_players**-0.5
        return self.bound * torch.tanh(z) * self.field

    def factors(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The part as a product game.

        Args:
            x: Raw rows `(b, n)`.
            present: Bool `(b, n)`; what stands in `x` elsewhere does not matter.

        Returns:
            Weights `(r, k)`, factors `(b, r, n)` and the constant `(k,)`: v(S) = constant +
            sum_r weight_r * prod over S of (1 + factor_r).
        """
        raw = self._raw_factors(torch.where(present, x, torch.zeros_like(x)))
        weights = self.weights
        if self.absent == "mean":
            # prod_S (1 + a) prod_others (1 + mean) = prod_all (1 + mean) prod_S (1+a)/(1+mean)
            level = 1 + self.means
            raw = (raw - self.means) / level
            weights = weights * level.prod(-1)[:, None]
        there = rearrange(present, "b n -> b 1 n")
        return weights, torch.where(there, raw, torch.zeros_like(raw)), -self.weights.sum(0)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Value `(b, k)` of raw rows `x` with the players `present`."""
        weights, factors, constant = self.factors(x, present)
        return (1 + factors).prod(-1) @ weights + constant

    def attribute(self, x: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value, Shapley values and base from one encoding of the rows.

        Args:
            x: Raw rows `(b, n)`.
            present: Bool `(b, n)`.

        Returns:
            Value `(b, k)`, Shapley values `(b, n, k)`, and the value with nobody present `(b, k)`.
        """
        weights, factors, constant = self.factors(x, present)
        value = (1 + factors).prod(-1) @ weights + constant
        base = (weights.sum(0) + constant).expand(len(x), -1)
        return value, self._shapley(weights, factors), base

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)` of all outputs, exact by Gauss-Legendre nodes."""
        weights, factors, _ = self.factors(x, present)
        return self._shapley(weights, factors)

    def _shapley(self, weights: Tensor, factors: Tensor) -> Tensor:
        # half precision would lose the sum over nodes
        wide = factors.dtype if factors.dtype.itemsize >= 4 else torch.float32
        # the bound keeps every factor above 0
        phi = product_shapley(weights.to(wide), factors.to(wide), self.n_nodes, positive=True)
        return phi.to(factors.dtype)

    def banzhaf(self, x: Tensor, present: Tensor) -> Tensor:
        """Banzhaf values `(b, n, k)`."""
        weights, factors, _ = self.factors(x, present)
        return product_banzhaf(weights, factors)

    def terms(self, x: Tensor, present: Tensor) -> "Dividends":
        """The part as dividends, kept as products."""
        from harsanyi.dividends import Dividends, Products

        weights, factors, constant = self.factors(x, present)
        nobody = torch.zeros(0, self.n_players, dtype=torch.bool, device=x.device)
        return Dividends(
            nobody,
            weights.new_zeros(len(x), 0, self.n_outputs),
            constant.expand(len(x), -1),
            products=(Products(weights, factors),),
        )


def _mask(fields: list[list[int]] | None, units: int, n_players: int) -> Tensor:
    if fields is None:
        return torch.ones(units, n_players, dtype=torch.bool)
    mask = [[False] * n_players for _ in range(units)]
    for unit, players in enumerate(fields):
        for player in players:
            if not 0 <= player < n_players:
                raise ValueError(f"fields[{unit}] names player {player}; there are {n_players}.")
            mask[unit][player] = True
    return torch.tensor(mask, dtype=torch.bool).reshape(units, n_players)
