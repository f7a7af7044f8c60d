"""The published Harsanyi-CNN: players are cells of the first feature map, gates ask their values.

Every place of a block chooses its own children among the neighbours in the block below, shared by
its channels, and is open when none of them is zero. What differs from the authors' code: a place
outside the grid is never a child, so borders stay alive; a gate closes at exact zero and not below
a threshold, so any kernel size is exact; and samples, classes and blocks are computed together.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from harsanyi.gates import straight_through
from harsanyi.parts.gated import share
from harsanyi.patches import PixelEncoder

if TYPE_CHECKING:
    from harsanyi.dividends import Dividends


class FirstMap(PixelEncoder):
    """Convolution, pooling and ReLU: the feature map whose cells are the players.

    Args:
        size: Rows and columns of an image.
        channels: Channels of an image.
        width: Channels of the feature map.
        pool: Side of a cell in pixels.
    """

    def __init__(self, size: list[int], channels: int, width: int, pool: int = 2) -> None:
        super().__init__(size, channels)
        self.convolution = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.pool, self.width = pool, width
        self.grid = (self.size[0] // pool, self.size[1] // pool)

    def forward(self, x: Tensor) -> Tensor:
        """Cells `(b, d, h, w)`, none negative, of raw images `(b, c, h, w)`."""
        return F.relu(F.max_pool2d(self.convolution(self.scaled(x)), self.pool))


class CellBlock(nn.Module):
    """One block: a convolution over chosen children, and the AND of their values.

    Args:
        width: Channels.
        grid: Rows and columns of places.
        kernel: Side of the neighbourhood, odd.
        beta: Scale of the gradient of the choice.
        gamma: Steepness of the gate.

    Raises:
        ValueError: If the kernel is even.

    Source: Chen et al. (2023), eq. 5-7 with the grouped gate of its appendix on convolutions.
    """

    def __init__(
        self, width: int, grid: tuple[int, int], *, kernel: int, beta: float, gamma: float
    ) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel={kernel}; an odd side is needed.")
        self.grid, self.kernel, self.beta, self.gamma = grid, kernel, beta, gamma
        self.tau = nn.Parameter(torch.empty(kernel * kernel, *grid))
        self.convolution = nn.Conv2d(width, width, kernel, kernel, bias=False)
        inside = F.unfold(torch.ones(1, 1, *grid), kernel, padding=kernel // 2)[0]
        self.register_buffer(
            "inside", rearrange(inside > 0, "o (h w) -> o h w", h=grid[0]), persistent=True
        )

    inside: Tensor

    def chosen(self) -> Tensor:
        """Who is a child, bool `(offsets, h, w)`."""
        return (self.tau > 0) & self.inside

    def neighbours(self, z: Tensor) -> Tensor:
        """Neighbours `(b, d, offsets, h, w)` of every place, zero outside the grid."""
        found = F.unfold(z, self.kernel, padding=self.kernel // 2)
        return rearrange(found, "b (d o) (h w) -> b d o h w", o=self.kernel**2, h=self.grid[0])

    def forward(self, z: Tensor) -> Tensor:
        """Units `(b, d, h, w)` over the units `(b, d, h, w)` below."""
        inside = self.inside.to(z.dtype)
        around = self.neighbours(z)
        picked = around * (straight_through(self.tau, self.beta).to(z.dtype) * inside)
        tiled = rearrange(picked, "b d (y x) h w -> b d (h y) (w x)", y=self.kernel, x=self.kernel)
        # the authors' gate passes its gradient to the choice with scale 1
        gate = self.gate(z, straight_through(self.tau, 1.0).to(z.dtype) * inside)
        return F.relu(self.convolution(tiled) * gate)

    def gate(self, z: Tensor, chosen: Tensor) -> Tensor:
        """Geometric mean of the children's tanh, `(b, 1, h, w)`; 0 where one is 0 or none is."""
        mass = z.abs().sum(1, keepdim=True, dtype=torch.promote_types(z.dtype, torch.float32))
        mass = torch.tanh(self.gamma * mass)
        around = self.neighbours(mass)[:, 0]
        members = chosen.detach() > 0.5
        closed = ((around == 0) & members).any(1) | ~members.any(0)
        logs = torch.where(around == 0, 1.0, around).log()
        mean = (logs * chosen).sum(1) / chosen.sum(0).clamp(min=1)
        return torch.where(closed, 0.0, mean.exp()).to(z.dtype)[:, None]

    def fields(self, below: Tensor) -> Tensor:
        """Fields `(n, h, w)`, bool by player, over fields `below` `(n, h, w)`."""
        around = self.neighbours(below[:, None].float())[:, 0] > 0
        return (around & self.chosen()).any(1)


class CellPart(nn.Module):
    """The Harsanyi-CNN of the paper.

    Args:
        n_players: Cells `n` of the first feature map.
        n_outputs: Outputs `k`.
        size: Rows and columns of an image.
        channels: Channels of an image.
        width: Channels of every block; the paper has 512.
        blocks: Blocks; the paper has 10 for CIFAR-10 and 4 for the MNIST figures.
        kernel: Side of the neighbourhoods.
        bottleneck: Width of the layer between blocks and outputs, as in the authors' code.
        beta: Scale of the gradient of the choice of children.
        gamma: Steepness of the gates, part of the function.

    Raises:
        ValueError: If there are other cells than players.

    Source: Chen et al. (2023), sec. 3.4 and appendix.
    """

    absences = frozenset({"mask"})

    def __init__(
        self,
        n_players: int,
        n_outputs: int,
        *,
        size: list[int],
        channels: int,
        width: int = 512,
        blocks: int = 10,
        kernel: int = 3,
        bottleneck: int = 16,
        beta: float = 1000.0,
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.spec: dict[str, Any] = {
            "kind": "cells",
            "size": list(size),
            "channels": channels,
            "width": width,
            "blocks": blocks,
            "kernel": kernel,
            "bottleneck": bottleneck,
            "beta": beta,
            "gamma": gamma,
        }
        self.n_players, self.n_outputs = n_players, n_outputs
        self.encoder = FirstMap(size, channels, width)
        self.grid = self.encoder.grid
        if self.grid[0] * self.grid[1] != n_players:
            raise ValueError(
                f"n_players={n_players}; {size[0]} x {size[1]} pixels make "
                f"{self.grid[0]} x {self.grid[1]} cells."
            )
        self.blocks = nn.ModuleList(
            CellBlock(width, self.grid, kernel=kernel, beta=beta, gamma=gamma)
            for _ in range(blocks)
        )
        self.inner = nn.Parameter(torch.empty(blocks, n_players, width, bottleneck))
        self.outer = nn.Parameter(torch.empty(bottleneck, n_outputs))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights as published: half of the neighbours are children."""
        if self.inner.is_meta:
            return
        generator = generator or torch.Generator(self.inner.device).manual_seed(0)
        for name, weight in self.named_parameters():
            if name.endswith("convolution.weight"):
                fan_out = weight.shape[0] * weight[0, 0].numel()
                weight.normal_(0, (2 / fan_out) ** 0.5, generator=generator)
            else:
                weight.normal_(0, 0.01, generator=generator)

    @property
    def cells_per_row(self) -> int:
        """Numbers of the largest intermediate for one image."""
        kernel = self.spec["kernel"] ** 2
        return self.n_players * max(self.encoder.width * kernel * 2, 64 * len(self.blocks))

    def units(self, x: Tensor, present: Tensor | None = None) -> list[Tensor]:
        """Units `(b, d, h, w)` of every block, zero where a gate is closed.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Cells present, bool `(b, n)`; None means everybody.
        """
        z = self.encoder(x)
        if present is not None:
            there = rearrange(present, "b (h w) -> b 1 h w", h=self.grid[0])
            z = torch.where(there, z, 0)
        found = []
        for block in self.blocks:
            z = block(z)
            found.append(z)
        return found

    def fields(self) -> Tensor:
        """Fields of all units, bool `(blocks h w, n)`."""
        n, (height, width) = self.n_players, self.grid
        below = torch.eye(n, dtype=torch.bool, device=self.inner.device)
        below = rearrange(below, "n (h w) -> n h w", h=height, w=width)
        found = []
        for block in self.blocks:
            below = block.fields(below)  # pyright: ignore[reportCallIssue]
            found.append(rearrange(below, "n h w -> (h w) n"))
        return torch.cat(found)

    def dividends(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Dividends `(u, b, k)` of all places of all blocks, at least float32."""
        units = self.units(x, present)
        with torch.autocast(x.device.type, enabled=False):
            stacked = torch.cat([rearrange(z, "b d h w -> (h w) b d") for z in units])
            if stacked.dtype in (torch.bfloat16, torch.float16):
                stacked = stacked.float()
            inner = rearrange(self.inner, "l p d f -> (l p) d f").to(stacked.dtype)
            return torch.bmm(stacked, inner) @ self.outer.to(stacked.dtype)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Value `(b, k)` of raw images with the cells `present`."""
        units = self.units(x, present)
        with torch.autocast(x.device.type, enabled=False):
            total = x.new_zeros(len(x), self.inner.shape[-1], dtype=self.inner.dtype)
            for z, inner in zip(units, self.inner, strict=True):
                flat = rearrange(z, "b d h w -> b (h w d)").to(inner.dtype)
                total = total + flat @ rearrange(inner, "p d f -> (p d) f")
            return total @ self.outer

    def coalition_values(
        self, x: Tensor, coalitions: Tensor, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Values `(b, k)` of everybody and `(b, m, k)` of coalitions `(b, m, n)`, one pass."""
        dividends = rearrange(self.dividends(x, present), "u b k -> b u k")
        absent = (~coalitions).to(torch.float32)
        whole = absent @ self.fields().T.to(torch.float32) == 0
        return dividends.sum(1), whole.to(dividends.dtype) @ dividends

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
        dividends, fields = self.dividends(x, present), self.fields()
        dtype, value = self.inner.dtype, dividends.sum(0)
        if free is None:
            phi = rearrange(share(dividends, fields), "n b k -> b n k")
            return value.to(dtype), phi.to(dtype), torch.zeros_like(value, dtype=dtype)
        # fields differ from image to image now, so shares are summed by image
        playing = free.to(dividends.dtype)
        members = playing @ fields.T.to(dividends.dtype)  # (b, u)
        each = rearrange(dividends, "u b k -> b u k") / members.clamp(min=1)[..., None]
        phi = torch.einsum("buk,un->bnk", each, fields.to(each.dtype)) * playing[..., None]
        base = torch.einsum("ubk,bu->bk", dividends, (members == 0).to(each.dtype))
        return value.to(dtype), phi.to(dtype), base.to(dtype)

    def terms(self, x: Tensor, present: Tensor) -> "Dividends":
        """Dividends of the units with their fields."""
        from harsanyi.dividends import Dividends

        values = rearrange(self.dividends(x, present), "u b k -> b u k")
        return Dividends(self.fields(), values, values.new_zeros(len(x), self.n_outputs))
