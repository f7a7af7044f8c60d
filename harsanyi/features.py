"""Fixed features of each player's own value: what linear and wave parts read.

A number gives its standardised value, ramps between quantiles and a flag for missing; a category
gives one flag per code and one for missing. Everybody present gives one more, a constant. An
absent player gives zeros, and so does one whose cell was the same in every row learned from: it
told nothing, so it gets nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harsanyi.encoders import quantile_edges
from harsanyi.float64 import held, hold, overwrite

REACH = 6.0  # spreads from the mean beyond which a number's own line goes on no further


class PlayerFeatures(nn.Module):
    """Features of raw rows, each owned by one player.

    Args:
        cardinalities: Categories per player, 0 for a number.
        bins: Ramps per number.
    """

    owner: Tensor
    numbers: Tensor
    categories: Tensor
    code: Tensor
    code_owner: Tensor
    unit: Tensor
    varies: Tensor

    def __init__(self, cardinalities: list[int], bins: int = 8) -> None:
        super().__init__()
        sizes = torch.tensor(cardinalities, device="cpu")
        numbers, categories = (sizes == 0).nonzero()[:, 0], (sizes > 0).nonzero()[:, 0]
        self.bins, self.n_players = bins, len(cardinalities)
        codes = [torch.arange(-1, int(size)) for size in sizes[categories]]
        code = torch.cat([torch.zeros(0, dtype=torch.int64), *codes])  # -1 is missing
        code_owner = categories.repeat_interleave(sizes[categories] + 1)
        owner = torch.cat(
            [numbers.repeat_interleave(bins + 2), code_owner, torch.arange(self.n_players)]
        )
        here = torch.empty(0).device
        for name, value in (
            ("owner", owner),
            ("numbers", numbers),
            ("categories", categories),
            ("code", code),
            ("code_owner", code_owner),
            ("varies", torch.ones(self.n_players, dtype=torch.bool, device="cpu")),
        ):
            self.register_buffer(name, value.to(here))
        self.n_features = len(owner)
        self.register_buffer("unit", torch.ones(()))  # lends the features their dtype
        hold(self, "centre", torch.zeros(len(numbers), dtype=torch.float64))
        hold(self, "scale", torch.ones(len(numbers), dtype=torch.float64))
        hold(self, "edges", torch.zeros(len(numbers), bins + 1, dtype=torch.float64))

    @torch.no_grad()
    def fit(self, x: Tensor) -> PlayerFeatures:
        """Take who varies, and mean, spread and quantiles of the numbers.

        Args:
            x: Raw rows `(b, n)`, float64.

        Returns:
            self.
        """
        self.varies.copy_(~((x == x[:1]) | (x.isnan() & x[:1].isnan())).all(0))
        if not len(self.numbers):
            return self
        x = x[:, self.numbers]
        known = ~x.isnan()
        count = known.sum(0).clamp(min=1)
        mean = x.nan_to_num(nan=0.0).sum(0) / count
        spread = (torch.where(known, x - mean, 0.0).square().sum(0) / count).sqrt()
        flat = spread <= 1e-12 * mean.abs().clamp(min=1e-300)
        overwrite(self, "centre", mean)
        overwrite(self, "scale", torch.where(flat, 1.0, spread))
        edges = [quantile_edges(column, self.bins) for column in x.T]
        overwrite(self, "edges", torch.stack(edges))
        return self

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Features of rows; an absent player's are 0 whatever stands in its cell.

        Args:
            x: Raw rows `(b, n)`, float64.
            present: Bool `(b, n)`.

        Returns:
            `(b, features)` in the module's dtype.
        """
        dtype = self.unit.dtype
        there = (present & self.varies).to(dtype)
        pieces = []
        if len(self.numbers):
            pieces.append(self._ramps(x[:, self.numbers]).to(dtype).flatten(1))
        if len(self.categories):
            cell = x[:, self.code_owner]
            # a code that no column has is missing; a NaN equals no code
            known = (cell >= 0) & (cell < self._sizes()[self.code_owner])
            seen = torch.where(known, cell, -1.0)
            pieces.append((seen == self.code).to(dtype))
        values = torch.cat(pieces, 1)
        values = values * there[:, self.owner[: values.shape[1]]]
        return torch.cat([values, there], 1)

    def _sizes(self) -> Tensor:
        sizes = torch.zeros(self.n_players, dtype=torch.int64, device=self.code.device)
        return sizes.scatter_reduce(0, self.code_owner, self.code + 1, "amax")

    def _ramps(self, x: Tensor) -> Tensor:
        """`(b, numbers, bins + 2)`: value, ramps, missing; float64."""
        missing = x.isnan()
        z = ((x - held(self, "centre")) / held(self, "scale")).clamp(-REACH, REACH)
        edges = held(self, "edges")
        low, width = edges[:, :-1], edges[:, 1:] - edges[:, :-1]
        safe = torch.where(width > 0, width, 1.0)
        ramps = ((x.nan_to_num()[..., None] - low) / safe).clamp(0, 1) * (width > 0)
        ramps = ramps * ~missing[..., None]
        z = torch.where(missing, 0.0, z)
        return torch.cat([z[..., None], ramps, missing[..., None].double()], -1)
