"""Fields on a grid that look the same from every place: a stencil, moved about and cut at the border.

A unit at place p of a block has the field (p + K) within the grid, K being the sum of the offset
sets of the blocks up to it (Minkowski, 1903). So the gates of all places are one convolution of
who is absent, and Shapley values are one transposed convolution of dividends over field sizes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

Offset = tuple[int, int]


def rectangle(kernel: Sequence[int], dilation: int, lead: Sequence[int]) -> list[Offset]:
    """Offsets of the children of a place under a kernel.

    Args:
        kernel: Rows and columns of the kernel.
        dilation: Distance between its entries.
        lead: How far above and to the left of the place it begins.

    Returns:
        Pairs (rows down, columns right), by rows.
    """
    rows, columns = kernel
    return [
        (y * dilation - lead[0], x * dilation - lead[1])
        for y in range(rows)
        for x in range(columns)
    ]


def stencils(offsets: Sequence[Sequence[Offset]], grid: Sequence[int]) -> Tensor:
    """Stencils of the fields of a chain of blocks.

    Args:
        offsets: Offsets of each block's children, first block first.
        grid: Rows and columns of the grid; offsets that no two of its places have are dropped.

    Returns:
        Bool `(blocks, rows, columns)` with odd sides, the middle being the place itself.
    """
    height, width = grid
    reached: set[Offset] = {(0, 0)}
    chain: list[set[Offset]] = []
    for block in offsets:
        reached = {
            (y + dy, x + dx)
            for y, x in reached
            for dy, dx in block
            if abs(y + dy) < height and abs(x + dx) < width
        }
        chain.append(reached)
    up = max(abs(y) for field in chain for y, _ in field)
    side = max(abs(x) for field in chain for _, x in field)
    found = torch.zeros(len(chain), 2 * up + 1, 2 * side + 1, dtype=torch.bool)
    for stencil, field in zip(found, chain, strict=True):
        for y, x in field:
            stencil[up + y, side + x] = True
    return found


def gates(present: Tensor, stencil: Tensor) -> Tensor:
    """Which units have their whole field present.

    Args:
        present: Bool `(b, h, w)`.
        stencil: Bool `(blocks, rows, columns)`.

    Returns:
        Bool `(b, blocks, h, w)`.
    """
    # counts of absent members below 2**24 are exact in float32, and zero is zero
    absent = rearrange(~present, "b h w -> b 1 h w").to(torch.float32)
    with torch.autocast(absent.device.type, enabled=False):
        missing = F.conv2d(absent, _kernel(stencil, absent), padding=_reach(stencil))
    return missing == 0


def sizes(stencil: Tensor, grid: Sequence[int], free: Tensor | None = None) -> Tensor:
    """Members of each unit's field: fewer at the border.

    Args:
        stencil: Bool `(blocks, rows, columns)`.
        grid: Rows and columns of the grid.
        free: Who counts as a member, bool `(b, h, w)`; None means everybody.

    Returns:
        Int64 `(b, blocks, h, w)`, `(1, ...)` for everybody.
    """
    if free is None:
        free = torch.ones(1, *grid, dtype=torch.bool, device=stencil.device)
    counted = rearrange(free, "b h w -> b 1 h w").to(torch.float32)
    with torch.autocast(stencil.device.type, enabled=False):
        counts = F.conv2d(counted, _kernel(stencil, counted), padding=_reach(stencil))
    return counts.round().to(torch.int64)


def share(
    dividends: Tensor,
    stencil: Tensor,
    free: Tensor | None = None,
    members: Tensor | None = None,
) -> Tensor:
    """Every dividend shared equally among the members of its field.

    One transposed convolution; on small grids the same as one product of matrices is faster.

    Args:
        dividends: `(b, blocks, k, h, w)`.
        stencil: Bool `(blocks, rows, columns)`.
        free: Who shares, bool `(b, h, w)`; None means everybody.
        members: The stencil's `fields` `(blocks h w, n)` in the dividends' dtype, where they are
            at hand: multiplies matrices.

    Returns:
        Shapley values `(b, h w, k)`, differentiable.
    """
    b, _, k, *grid = dividends.shape
    counts = sizes(stencil, grid, free).clamp(min=1)
    each = dividends / rearrange(counts, "b l h w -> b l 1 h w")
    with torch.autocast(each.device.type, enabled=False):
        if members is None:
            each = rearrange(each, "b l k h w -> (b k) l h w")
            phi = F.conv_transpose2d(each, _kernel(stencil, each), padding=_reach(stencil))
            phi = rearrange(phi, "(b k) 1 h w -> b (h w) k", b=b, k=k)
        else:
            phi = rearrange(each, "b l k h w -> (b k) (l h w)") @ members
            phi = rearrange(phi, "(b k) n -> b n k", b=b, k=k)
    return phi if free is None else phi * rearrange(free, "b h w -> b (h w) 1")


def fields(stencil: Tensor, grid: Sequence[int]) -> Tensor:
    """Fields of all units, bool `(blocks h w, n)` with `n = h w` players."""
    height, width = grid
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(stencil.device)
    up, side = _reach(stencil)
    apart = places[None] - places[:, None]  # from a unit's place to a player's
    inside = (apart[..., 0].abs() <= up) & (apart[..., 1].abs() <= side)
    row, column = (apart[..., 0] + up).clamp(0, 2 * up), (apart[..., 1] + side).clamp(0, 2 * side)
    members = stencil[:, row, column] & inside
    return rearrange(members, "l u n -> (l u) n")


def _kernel(stencil: Tensor, like: Tensor) -> Tensor:
    return rearrange(stencil, "l y x -> l 1 y x").to(like)


def _reach(stencil: Tensor) -> tuple[int, int]:
    return stencil.shape[1] // 2, stencil.shape[2] // 2
