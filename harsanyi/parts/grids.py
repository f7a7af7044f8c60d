"""Convolutions whose units are gated by presence: a Harsanyi net on a grid of players.

The chain of blocks is an ordinary convolutional network that is read out at every place of every
block, and a read-out counts when the whole field of its place is present. An open unit reads
nobody outside its field, so the units of the full image are the dividends: one forward pass holds
the Shapley values, and v(S) of any number of coalitions besides. That makes training on random
coalitions almost free, and lets batch normalisation see whole images only.
"""

from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from harsanyi.parts.stencils import Offset, fields, gates, rectangle, share, sizes, stencils
from harsanyi.patches import build_encoder

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends


FEW = 2
"""Coalitions up to which their values are one product of matrices each."""


DENSE = 2**22
"""Entries of the matrix of all fields up to which values are shared by multiplying with it."""


class Block(nn.Module):
    """One convolution over the vectors of a place's children, normalised, with a short cut.

    Args:
        inputs: Entries of the vectors below.
        width: Entries of a vector.
        kernel: Rows and columns of the children.
        dilation: Distance between them.
        lead: How far above and left of its place a unit's children begin; the middle by default.
        residual: Whether the vector of the place itself is added, where the width stays.

    Raises:
        ValueError: If a unit's own place is not among its children.
    """

    def __init__(
        self,
        inputs: int,
        *,
        width: int,
        kernel: list[int],
        dilation: int = 1,
        lead: list[int] | None = None,
        residual: bool = True,
    ) -> None:
        super().__init__()
        lead = [(side - 1) // 2 * dilation for side in kernel] if lead is None else lead
        self.offsets: list[Offset] = rectangle(kernel, dilation, lead)
        if (0, 0) not in self.offsets:
            raise ValueError(
                f"kernel={kernel} with dilation={dilation} and lead={lead} leaves a unit's own "
                "place out of its children; choose another lead."
            )
        self.residual = residual and inputs == width
        below = [(side - 1) * dilation - first for side, first in zip(kernel, lead, strict=True)]
        # outside the grid is nobody: zeros that no gate asks about
        top, left, even = lead[0], lead[1], below == list(lead)
        inner = (top, left) if even else 0
        self.convolution = nn.Conv2d(
            inputs, width, (kernel[0], kernel[1]), dilation=dilation, padding=inner, bias=False
        )
        self.margins = None if even else (lead[1], below[1], lead[0], below[0])
        self.norm = nn.BatchNorm2d(width)

    def forward(self, z: Tensor) -> Tensor:
        """Vectors `(b, d, h, w)` over vectors `(b, i, h, w)`."""
        around = z if self.margins is None else F.pad(z, self.margins)
        new = F.relu(self.norm(self.convolution(around)))
        return z + new if self.residual else new


class GridPart(nn.Module):
    """A chain of convolutions over players on a grid, with a gated read-out of every place.

    Args:
        n_players: Players `n`, the places of the grid by rows.
        n_outputs: Outputs `k`.
        encoder: Spec of an encoder (`harsanyi.patches`), which fixes the grid.
        blocks: Keyword arguments of the blocks, first to last.
        readout: "place" has weights of its own for every place and fixes the image size; "shared"
            has the same everywhere.

    Raises:
        ValueError: If the grid has other places than players, or the read-out is unknown.

    Source: after Chen et al. (2023), sec. 3.4; shared offsets, presence gates, vector units and
        residual blocks are ours.
    """

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        encoder: dict[str, Any],
        blocks: list[dict[str, Any]],
        readout: Literal["place", "shared"] = "place",
    ) -> None:
        super().__init__()
        self.spec = {
            "kind": "grid",
            "encoder": dict(encoder),
            "blocks": [dict(block) for block in blocks],
            "readout": readout,
        }
        self.n_players, self.n_outputs, self.readout = n_players, n_outputs, readout
        self.encoder = build_encoder(encoder)
        self.grid: tuple[int, int] = self.encoder.grid
        if self.grid[0] * self.grid[1] != n_players:
            raise ValueError(
                f"n_players={n_players}; the encoder's grid of {self.grid[0]} x {self.grid[1]} "
                f"has {self.grid[0] * self.grid[1]}."
            )
        if readout not in ("place", "shared"):
            raise ValueError(f"readout={readout!r}; choose 'place' or 'shared'.")
        self.blocks = nn.ModuleList()
        width, widths = self.encoder.width, [self.encoder.width]
        for options in blocks:
            self.blocks.append(Block(width, **options))
            width = options["width"]
            widths.append(width)
        places = n_players if readout == "place" else 1
        self.readouts = nn.ParameterList(
            nn.Parameter(torch.empty(places, width, n_outputs)) for width in widths
        )
        chain = [[(0, 0)], *(block.offsets for block in cast("list[Block]", list(self.blocks)))]
        self.register_buffer("stencil", stencils(chain, self.grid))
        self._kept: tuple[Any, Tensor] | None = None
        self.reset_parameters()

    stencil: Tensor

    @property
    def absences(self) -> frozenset[str]:
        """Absence by colour only where a pixel belongs to one player."""
        patches = self.spec["encoder"]["kind"] == "patches"
        return frozenset({"baseline", "mask"} if patches else {"mask"})

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights."""
        if self.readouts[0].is_meta:
            return
        generator = generator or torch.Generator(self.readouts[0].device).manual_seed(0)
        for name, weight in self.named_parameters():
            if weight.ndim == 4 and ".backbone." not in name:
                weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
            elif name.endswith("bias"):
                weight.zero_()
        for readout in self.readouts:
            # many places are added up; small weights let all blocks start alike
            spread = 0.3 * (self.n_players * len(self.readouts) * readout.shape[1]) ** -0.5
            readout.normal_(0, spread, generator=generator)

    @property
    def cells_per_row(self) -> int:
        """Numbers of the largest intermediate for one image."""
        widest = max(readout.shape[1] for readout in self.readouts)
        return self.n_players * max(4 * widest, len(self.readouts) * self.n_outputs)

    def vectors(self, x: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """Vectors `(b, d, h, w)` of all units, not gated, the encoder's first.

        Those whose field is not wholly present are not the unit's value, which is 0.
        """
        # channels beside each other: what convolutions on a CPU and read-outs by place like best
        found = [self.encoder(x, present).contiguous(memory_format=torch.channels_last)]
        for block in self.blocks:
            found.append(block(found[-1]))
        return found

    def dividends(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Dividends of all units `(b, blocks, k, h, w)`, at least float32.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Bool `(b, n)`; None means everybody.
        """
        vectors = self.vectors(x, present)
        with torch.autocast(x.device.type, enabled=False):
            each = [_read(z, w) for z, w in zip(vectors, self.readouts, strict=True)]
        found = rearrange(each, "l b h w k -> b l k h w", h=self.grid[0])
        if present is None:
            return found
        return torch.where(rearrange(self._gates(present), "b l h w -> b l 1 h w"), found, 0)

    def _gates(self, present: Tensor) -> Tensor:
        return gates(rearrange(present, "b (h w) -> b h w", h=self.grid[0]), self.stencil)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Value `(b, k)` of raw images `(b, c, h, w)` with the players `present`."""
        asked = _unless_all(present)
        if asked is not None:
            return self.dividends(x, asked).sum((1, 3, 4)).to(self.readouts[0].dtype)
        vectors = self.vectors(x)
        with torch.autocast(x.device.type, enabled=False):
            sums = [_total(z, w) for z, w in zip(vectors, self.readouts, strict=True)]
        return reduce(add, sums).to(self.readouts[0].dtype)

    def coalition_values(
        self, x: Tensor, coalitions: Tensor, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Values of the image and of many coalitions of it from one pass.

        Args:
            x: Raw images `(b, c, h, w)`.
            coalitions: Bool `(b, m, n)`.
            present: Players of the game, bool `(b, n)`; None means everybody.

        Returns:
            Values `(b, k)` of everybody and `(b, m, k)` of the coalitions.
        """
        asked = _unless_all(present)
        b, m, _ = coalitions.shape
        whole = self._gates(rearrange(coalitions, "b m n -> (b m) n"))
        if m <= FEW and asked is None:
            return self._few_values(x, rearrange(whole, "(b m) l h w -> b m l h w", b=b, m=m))
        dividends = self.dividends(x, asked)
        whole = whole.to(dividends.dtype)
        flat = rearrange(dividends, "b l k h w -> b (l h w) k")
        values = rearrange(whole, "(b m) l h w -> b m (l h w)", b=b, m=m) @ flat
        return flat.sum(1), values

    def _few_values(self, x: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Values of the image and of few coalitions: vectors gated before one large product."""
        vectors = self.vectors(x)
        with torch.autocast(x.device.type, enabled=False):
            full = [_total(z, w) for z, w in zip(vectors, self.readouts, strict=True)]
            some = [
                reduce(
                    add,
                    [
                        _total(z * gate[:, None], w)
                        for z, gate, w in zip(vectors, gates_, self.readouts, strict=True)
                    ],
                )
                for gates_ in (whole[:, i].unbind(1) for i in range(whole.shape[1]))
            ]
        return reduce(add, full), torch.stack(some, 1)

    def shapley(self, x: Tensor, present: Tensor) -> Tensor:
        """Shapley values `(b, n, k)` of all outputs."""
        return self.attribute(x, present)[1]

    def attribute(
        self, x: Tensor, present: Tensor, free: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Value `(b, k)`, Shapley values `(b, n, k)` and base `(b, k)` from one pass.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Bool `(b, n)`.
            free: Who may leave, bool `(b, n)`; the other present players always stay and get 0.
        """
        dividends, dtype = self.dividends(x, _unless_all(present)), self.readouts[0].dtype
        value = dividends.sum((1, 3, 4))
        base = torch.zeros_like(value)
        if free is not None:
            free = rearrange(free, "b (h w) -> b h w", h=self.grid[0])
            stays = sizes(self.stencil, self.grid, free) == 0
            base = (dividends * rearrange(stays, "b l h w -> b l 1 h w")).sum((1, 3, 4))
        phi = share(dividends, self.stencil, free, self._members(dividends))
        return value.to(dtype), phi.to(dtype), base.to(dtype)

    def _members(self, like: Tensor) -> Tensor | None:
        """Fields as a matrix, kept from call to call; None on grids where it would be large."""
        if len(self.stencil) * self.n_players**2 > DENSE:
            return None
        key = (like.device, like.dtype, self.stencil._version)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, fields(self.stencil, self.grid).to(like))
        return self._kept[1]

    def terms(self, x: Tensor, present: Tensor) -> "Dividends":
        """Dividends of the units with their fields; few enough to be listed."""
        from harsanyi.dividends import Dividends

        found = self.dividends(x, _unless_all(present))
        values = rearrange(found, "b l k h w -> b (l h w) k")
        nobody = values.new_zeros(len(x), self.n_outputs)
        return Dividends(fields(self.stencil, self.grid), values, nobody)

    def term_mass(self, x: Tensor, present: Tensor) -> Tensor:
        """Sum of absolute dividends by order, `(b, n, k)`, order s at s - 1."""
        found = rearrange(self.dividends(x, _unless_all(present)), "b l k h w -> b (l h w) k")
        order = rearrange(sizes(self.stencil, self.grid), "1 l h w -> (l h w)") - 1
        mass = found.new_zeros(len(x), self.n_players, self.n_outputs)
        return mass.index_add(1, order, found.abs())


def _unless_all(present: Tensor | None) -> Tensor | None:
    """None where everybody is present, so that no gate is computed."""
    if present is None or (not torch.compiler.is_compiling() and bool(present.all())):
        return None
    return present


def _read(z: Tensor, readout: Tensor) -> Tensor:
    """Read-outs `(b, h, w, k)` of vectors `(b, d, h, w)` by weights `(h w or 1, d, k)`."""
    z, readout = _raised(z), _raised(readout)
    if len(readout) == 1:
        return einsum(z, readout[0], "b d h w, d k -> b h w k")
    by_place = torch.bmm(rearrange(z, "b d h w -> (h w) b d"), readout)
    return rearrange(by_place, "(h w) b k -> b h w k", h=z.shape[2])


def _total(z: Tensor, readout: Tensor) -> Tensor:
    """Read-outs summed over places, `(b, k)`: one product of matrices."""
    z, readout = _raised(z), _raised(readout)
    if len(readout) == 1:
        return z.sum((2, 3)) @ readout[0]
    return rearrange(z, "b d h w -> b (h w d)") @ rearrange(readout, "p d k -> (p d) k")


def _raised(z: Tensor) -> Tensor:
    """Half precision as float32, so that long sums are accumulated in it."""
    return z.float() if z.dtype in (torch.bfloat16, torch.float16) else z
