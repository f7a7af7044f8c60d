"""Small nets over images for the laws: every design, with weights and statistics of its own."""

import torch
from einops import rearrange
from torch import Tensor, nn

from harsanyi.image_net import HarsanyiImageNet
from harsanyi.net import NetConfig

GROWING = [
    {"width": 5, "kernel": [1, 2]},
    {"width": 5, "kernel": [2, 1]},
    {"width": 5, "kernel": [2, 2], "lead": [1, 1]},
    {"width": 5, "kernel": [3, 3]},
]
PATCHES = {"kind": "patches", "size": [9, 10], "channels": 2, "patch": 3, "width": 5, "hidden": 4}
CELLS = {"kind": "cells", "size": [8, 6], "channels": 2, "stem": [[4, 3, 2]]}


def cells_spec(kernel: int = 3, blocks: int = 2) -> dict:
    """The published part on 4 x 3 cells."""
    return {
        "kind": "cells", "size": [8, 6], "channels": 2, "width": 6, "blocks": blocks,
        "kernel": kernel, "bottleneck": 4,
    }  # fmt: skip


def grid_spec(encoder: dict, blocks: list[dict], **options) -> dict:
    return {"kind": "grid", "encoder": encoder, "blocks": blocks, **options}


DESIGNS: dict[str, tuple[list[dict], str, tuple[int, int]]] = {
    "patches": ([grid_spec(PATCHES, GROWING)], "baseline", (9, 10)),
    "patches by mask": ([grid_spec(PATCHES, GROWING[:2])], "mask", (9, 10)),
    "no blocks": ([grid_spec(PATCHES, [])], "baseline", (9, 10)),
    "cells, far apart": (
        [grid_spec(CELLS, [{"width": 4, "kernel": [3, 3], "dilation": 2}, GROWING[2]])],
        "mask",
        (8, 6),
    ),
    "cells, shared read-out": (
        [grid_spec(CELLS, [{"width": 6, "kernel": [3, 1]}], readout="shared")], "mask", (8, 6)
    ),
    "published": ([cells_spec()], "mask", (8, 6)),
    "published, kernel 5": ([cells_spec(5, 1)], "mask", (8, 6)),
    "a sum of designs": ([cells_spec(blocks=1), grid_spec(CELLS, GROWING)], "mask", (8, 6)),
}  # fmt: skip
"""Name -> parts on 12 players, absence, rows and columns of an image."""


def image_net(design: str, k: int = 3, seed: int = 0) -> HarsanyiImageNet:
    """A float64 net of a design, with random statistics and biases, in eval mode."""
    parts, absence, _ = DESIGNS[design]
    config = NetConfig(n_players=12, n_outputs=k, parts=parts, absence=absence)
    return shaken(HarsanyiImageNet(config).double(), seed)


@torch.no_grad()
def shaken(net: HarsanyiImageNet, seed: int = 0) -> HarsanyiImageNet:
    """A net whose statistics, biases and baseline are not what they start as."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            module.bias.normal_(0, 0.3, generator=generator)
    for encoder in net.encoders:
        encoder.mean.normal_(0, 0.3, generator=generator)
    for name, parameter in net.named_parameters():
        if "inner" in name or "outer" in name:  # published read-outs are tiny at the start
            parameter.normal_(0, 0.5, generator=generator)
    net.bias.normal_(generator=generator)
    net.set_baseline(torch.rand(net.image_shape[0], generator=generator, dtype=torch.float64))
    return net.eval()


def pictures(design: str, b: int = 3, seed: int = 1) -> Tensor:
    """Random images of a design, float64 in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(b, 2, *DESIGNS[design][2], generator=generator, dtype=torch.float64)


def train_briefly(net: HarsanyiImageNet, design: str, steps: int = 30) -> None:
    """Some steps on whole images and random coalitions of a task with an interaction."""
    from harsanyi.image_fitting import ImageLoss, ImageSchedule

    generator = torch.Generator().manual_seed(0)
    x = pictures(design, 96, seed=5)
    y = (x[:, 0].mean((1, 2)) > x[:, 1, :4, :4].mean((1, 2))).long()
    loss = ImageLoss(ImageSchedule(coalition_weight=0.4))
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    net.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net, (x, y), generator).backward()
        optimizer.step()
    net.eval()


class Flat(nn.Module):
    """A net over images of one grey pixel per player, taking rows `(b, n)`."""

    def __init__(self, net: HarsanyiImageNet) -> None:
        super().__init__()
        self.net = net

    def images(self, x: Tensor) -> Tensor:
        return rearrange(x, "b (h w) -> b 1 h w", h=self.net.grid[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.images(x))

    def explain(self, x: Tensor):
        return self.net.explain(self.images(x))


def pixel_net(rows: int, columns: int, k: int) -> Flat:
    """A net whose players are single pixels."""
    encoder = {
        "kind": "patches", "size": [rows, columns], "channels": 1, "patch": 1, "width": 5,
        "hidden": 4,
    }  # fmt: skip
    spec = grid_spec(encoder, GROWING[:3])
    config = NetConfig(n_players=rows * columns, n_outputs=k, parts=[spec], absence="baseline")
    return Flat(shaken(HarsanyiImageNet(config).double()))
