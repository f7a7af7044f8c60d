"""Selectors: networks from an input to one logit per player."""

import torch
from einops import rearrange
from torch import Tensor, nn

from amortized.lex.standard import Standardise


class MLPSelector(nn.Module):
    """A multilayer perceptron from a row to one logit per player.

    Large logits are bent (`bend`), so that no player is lost for good and no two rank alike; the
    last layer starts small, so that every player starts near probability 1/2.

    Args:
        n_features: Features of a row.
        n_players: Players `n`; as many as features by default.
        width: Units of each hidden layer.
        depth: Hidden layers.
        bound: Where logits bend: 5 keeps probabilities within about [0.002, 0.998].

    Raises:
        ValueError: If a size or the bound is not positive.
    """

    def __init__(
        self,
        n_features: int,
        n_players: int | None = None,
        width: int = 100,
        depth: int = 2,
        bound: float = 5.0,
    ) -> None:
        super().__init__()
        n_players = n_features if n_players is None else n_players
        if min(n_features, n_players, width, depth) < 1 or not bound > 0:
            raise ValueError(
                f"n_features={n_features}, n_players={n_players}, width={width}, depth={depth}, "
                f"bound={bound}; all must be positive."
            )
        self.config = {
            "n_features": n_features,
            "n_players": n_players,
            "width": width,
            "depth": depth,
            "bound": bound,
        }
        self.n_players = n_players
        self.bound = bound
        self.standardise = Standardise((n_features,))
        self.body = hidden_layers(n_features, width, depth)
        self.head = nn.Linear(width, n_players)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(b, n)` of rows `(b, features)`."""
        logits = self.head(self.body(self.standardise(x)))
        return bend(logits, self.bound)


class ConvSelector(nn.Module):
    """A small U-Net from an image to one logit per patch.

    Args:
        channels: Channels of the image.
        size: Height and width of the image, multiples of the patch.
        patch: Side of a square patch, which is one player.
        width: Channels of the first level.
        bound: Where logits bend, see `bend`.

    Raises:
        ValueError: If the patches do not tile the image.

    Source: Ronneberger, Fischer and Brox (2015).
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        patch: int = 4,
        width: int = 16,
        bound: float = 5.0,
    ) -> None:
        super().__init__()
        height, breadth = size
        if patch < 1 or height % patch or breadth % patch:
            raise ValueError(f"patch={patch} does not tile an image of {height} x {breadth}.")
        self.config = {
            "channels": channels,
            "size": [height, breadth],
            "patch": patch,
            "width": width,
            "bound": bound,
        }
        self.n_players = (height // patch) * (breadth // patch)
        self.bound = bound
        self.standardise = Standardise((channels, height, breadth))
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.near = nn.Conv2d(width, width, 3, padding=1)
        self.down = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.far = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.whole = nn.Linear(2 * width, 2 * width)
        self.up = nn.Conv2d(2 * width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 1, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            assert self.head.bias is not None  # a Conv2d has one unless told otherwise
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Logits `(b, n)` of images `(b, channels, height, width)`, patches row by row."""
        act = nn.functional.silu
        near = act(self.near(act(self.patches(self.standardise(x)))))
        far = act(self.far(act(self.down(near))))
        far = far + self.whole(far.mean((2, 3)))[:, :, None, None]  # what the whole image says
        far = nn.functional.interpolate(act(self.up(far)), size=near.shape[2:], mode="nearest")
        logits = rearrange(self.head(near + far), "b 1 h w -> b (h w)")
        return bend(logits, self.bound)


def bend(logits: Tensor, bound: float) -> Tensor:
    """Logits of slope one at zero that grow beyond the bound, but only as a logarithm.

    A tanh alone keeps probabilities off zero and one as well, but saturates in float32: players
    near the bound then tie, and their order is lost. A tenth of the slope is an inverse hyperbolic
    sine, which keeps the order.

    Args:
        logits: Any shape.
        bound: Where they bend, positive.

    Returns:
        Bent logits of the same shape; with bound 5, 2.0 for 2.1, 5.1 for 10, 5.5 for 20 and 6.3
        for 100.
    """
    unit = logits / bound
    return bound * (0.9 * torch.tanh(unit) + 0.1 * torch.asinh(unit))


def hidden_layers(n_inputs: int, width: int, depth: int) -> nn.Sequential:
    """`depth` linear layers of `width` units, each followed by SiLU."""
    layers: list[nn.Module] = []
    for level in range(depth):
        layers += [nn.Linear(n_inputs if level == 0 else width, width), nn.SiLU()]
    return nn.Sequential(*layers)
