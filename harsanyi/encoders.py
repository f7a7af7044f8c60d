"""One vector per player, a function of that player's value alone.

An encoder never looks at another player: that is half of what makes a unit's output depend on its
field only. Whether a player is present is not the encoder's business; flags travel beside the
vectors.
"""

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from harsanyi.float64 import held, hold, overwrite


class Standardizer(nn.Module):
    """Raw numbers in units of their spread: `(x - centre) / scale` in float64, missing as NaN.

    Args:
        n_players: Players `n`.
    """

    def __init__(self, n_players: int) -> None:
        super().__init__()
        hold(self, "centre", torch.zeros(n_players, dtype=torch.float64))
        hold(self, "scale", torch.ones(n_players, dtype=torch.float64))

    @torch.no_grad()
    def fit(self, x: Tensor, centre: Tensor | None = None) -> "Standardizer":
        """Take mean and standard deviation of the non-missing values of rows `(b, n)`.

        Args:
            x: Raw rows `(b, n)`, float64.
            centre: `(n,)` to subtract in place of the mean.

        Returns:
            self. A constant or wholly missing column keeps scale 1.
        """
        known = ~x.isnan()
        count = known.sum(0).clamp(min=1)
        filled = x.nan_to_num(nan=0.0)
        mean = filled.sum(0) / count
        spread = (torch.where(known, x - mean, 0.0).square().sum(0) / count).sqrt()
        # a spread of rounding size belongs to a constant column
        tiny = 1e-12 * mean.abs().clamp(min=1e-300)
        overwrite(self, "centre", mean if centre is None else centre)
        overwrite(self, "scale", torch.where(spread > tiny, spread, torch.ones_like(spread)))
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Standardised rows `(b, n)`, float64."""
        return (x.double() - held(self, "centre")) / held(self, "scale")


class PlayerEncoder(nn.Module):
    """A learned vector for each player: piecewise-linear in a number, a table row for a category.

    A number enters as its standardised value, `bins` ramps between quantiles, and a flag for
    "missing", which is a value like any other. A category enters by its code; its table has one
    row more, for "missing". The vectors are finite for every input, infinity included.

    Args:
        n_players: Players `n`.
        cardinalities: Categories per player, 0 for a number; all numbers when None.
        bins: Ramps per number.
        width: Entries of a vector.

    Source: piecewise-linear encoding, Gorishniy et al. (2022), sec. 3.2.
    """

    def __init__(
        self,
        n_players: int,
        *,
        cardinalities: list[int] | None = None,
        bins: int = 8,
        width: int = 8,
    ) -> None:
        super().__init__()
        cardinalities = cardinalities or [0] * n_players
        if len(cardinalities) != n_players:
            raise ValueError(
                f"cardinalities has {len(cardinalities)} entries; one per player is needed, "
                f"{n_players}."
            )
        sizes = torch.tensor(cardinalities, device="cpu")
        numbers, categories = (sizes == 0).nonzero()[:, 0], (sizes > 0).nonzero()[:, 0]
        self.n_players, self.width, self.bins = n_players, width, bins
        self.standardize = Standardizer(n_players)
        # cardinalities are in the config, and what follows from them is in the file all the same:
        # a buffer that is not saved comes back as garbage from the meta device
        self.register_buffer("numbers", _here(numbers))
        self.register_buffer("categories", _here(categories))
        self.register_buffer("order", _here(torch.cat([numbers, categories]).argsort()))
        counts = sizes[categories]
        self.register_buffer("counts", _here(counts))
        self.register_buffer("offsets", _here((counts + 1).cumsum(0) - counts - 1))
        self.register_buffer("edges", torch.zeros(len(numbers), bins + 1))
        self.slopes = nn.Parameter(torch.empty(len(numbers), bins + 2, width))
        self.shifts = nn.Parameter(torch.empty(len(numbers), width))
        self.table = nn.Parameter(torch.empty(int((counts + 1).sum()), width))
        self.mixed = bool(len(numbers) and len(categories))
        self.reset_parameters()

    numbers: Tensor
    categories: Tensor
    order: Tensor
    counts: Tensor
    offsets: Tensor
    edges: Tensor

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights; the statistics of the columns stay."""
        if self.slopes.is_meta:
            return
        generator = generator or torch.Generator(self.slopes.device).manual_seed(0)
        self.slopes.normal_(0, (self.bins + 2) ** -0.5, generator=generator)
        self.shifts.zero_()
        self.table.normal_(0, 0.7, generator=generator)

    @torch.no_grad()
    def fit(self, x: Tensor) -> "PlayerEncoder":
        """Take mean, spread and quantiles of the columns.

        Args:
            x: Raw rows `(b, n)`, float64.

        Returns:
            self.
        """
        self.standardize.fit(x)
        z = self.standardize(x)
        for row, player in enumerate(self.numbers.tolist()):
            self.edges[row] = quantile_edges(z[:, player], self.bins).to(self.edges)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Vectors `(n, b, width)` of raw rows `(b, n)`."""
        vectors = []
        if len(self.numbers):
            features = self._ramps(self.standardize(x)[:, self.numbers])
            linear = einsum(features, self.slopes, "n b f, n f w -> n b w")
            vectors.append(linear + self.shifts[:, None])
        if len(self.categories):
            codes = rearrange(x[:, self.categories], "b n -> n b")
            known = (codes >= 0) & (codes < self.counts[:, None])  # NaN is neither
            row = torch.where(known, codes, self.counts[:, None].to(codes.dtype)).long()
            vectors.append(self.table[row + self.offsets[:, None]])
        if self.mixed:
            return torch.cat(vectors)[self.order]
        return vectors[0]

    def _ramps(self, z: Tensor) -> Tensor:
        """Features `(numbers, b, bins + 2)`: value, ramps, missing."""
        z = rearrange(z, "b n -> n b").to(self.slopes.dtype)
        missing = z.isnan()
        z = torch.where(missing, torch.zeros_like(z), z.clamp(-10, 10))
        low, high = self.edges[:, None, :-1], self.edges[:, None, 1:]
        width = high - low
        ramps = (z[..., None] - low) / torch.where(width > 0, width, torch.ones_like(width))
        ramps = ramps.clamp(0, 1) * (width > 0) * ~missing[..., None]
        return torch.cat([z[..., None], ramps, missing[..., None].to(z.dtype)], -1)


class ScalarEncoder(nn.Module):
    """The paper's encoding: one standardised number per player, zero at the baseline.

    Categories enter by their code and a missing value enters as zero, that is as absent.

    Args:
        n_players: Players `n`.

    Source: Chen et al. (2023), sec. 3.2 (z0 = x - b) and their scripts (codes, z-scores).
    """

    width = 1

    def __init__(self, n_players: int) -> None:
        super().__init__()
        self.n_players = n_players
        self.standardize = Standardizer(n_players)
        # lends the vectors a dtype that follows module.to(dtype); has no other use
        self.register_buffer("unit", torch.ones(()))

    unit: Tensor

    @torch.no_grad()
    def fit(self, x: Tensor, baseline: Tensor | None = None) -> "ScalarEncoder":
        """Take spread and centre, the baseline or else the mean, of raw rows `(b, n)`."""
        centre = None if baseline is None else baseline.nan_to_num(nan=0.0)
        self.standardize.fit(x, centre)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Values `(n, b, 1)` of raw rows `(b, n)`."""
        z = self.standardize(x).nan_to_num(nan=0.0).clamp(-1e4, 1e4)  # finite in any float
        return rearrange(z, "b n -> n b 1").to(self.unit.dtype)


def quantile_edges(z: Tensor, bins: int) -> Tensor:
    """Ends of `bins` intervals that hold about equally many of the known values.

    Args:
        z: Values `(b,)`, NaN for missing.
        bins: Intervals.

    Returns:
        Ascending `(bins + 1,)`; columns of few distinct values repeat the last edge.
    """
    known = z[~z.isnan()]
    distinct = known.unique()
    if len(distinct) == 0:
        return z.new_zeros(bins + 1)
    if len(distinct) > bins + 1:
        levels = torch.linspace(0, 1, bins + 1, dtype=z.dtype, device=z.device)
        ranks = (levels * (len(known) - 1)).round().long()
        distinct = known.sort().values[ranks].unique()
    return torch.cat([distinct, distinct[-1:].expand(bins + 1 - len(distinct))])


def _here(tensor: Tensor) -> Tensor:
    """A copy on the device that new tensors go to: the meta device while transformers loads."""
    return tensor.to(torch.empty(0).device)
