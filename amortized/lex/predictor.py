"""Predictors: models of the answer given an imputed input.

Each maps rows, and where it wants them the masks beside, to logits (classification) or to a mean
(regression). A frozen black box is a predictor too.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from amortized.lex.selector import hidden_layers
from amortized.lex.standard import Standardise


class MLPPredictor(nn.Module):
    """A multilayer perceptron from a row to logits.

    Args:
        n_features: Features of a row.
        n_outputs: Classes, or 1 for regression.
        width: Units of each hidden layer.
        depth: Hidden layers.
        mask_channel: Also see which features are present: what a surrogate of p(y | x_S) needs.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        width: int = 100,
        depth: int = 2,
        mask_channel: bool = False,
    ) -> None:
        super().__init__()
        if min(n_features, n_outputs, width, depth) < 1:
            raise ValueError(
                f"n_features={n_features}, n_outputs={n_outputs}, width={width}, depth={depth}; "
                "all must be positive."
            )
        self.config = {
            "n_features": n_features,
            "n_outputs": n_outputs,
            "width": width,
            "depth": depth,
            "mask_channel": mask_channel,
        }
        self.mask_channel = mask_channel
        self.standardise = Standardise((n_features,))
        self.body = hidden_layers(n_features * (2 if mask_channel else 1), width, depth)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `(rows, outputs)` of rows `(rows, features)` and masks of the same shape."""
        h = self.standardise(x)
        if self.mask_channel:
            mask = torch.ones_like(h) if mask is None else mask.to(h)
            h = torch.cat([h * mask, mask], -1)  # an absent value is shown as its mean
        return self.head(self.body(h))


class ConvPredictor(nn.Module):
    """A small convolutional network from an image to logits.

    Args:
        channels: Channels of the image.
        size: Height and width of the image.
        n_outputs: Classes, or 1 for regression.
        width: Channels of the first level.
        mask_channel: Also see which pixels are present.

    Raises:
        ValueError: If the image is too small for two levels.
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        n_outputs: int,
        width: int = 16,
        mask_channel: bool = False,
    ) -> None:
        super().__init__()
        height, breadth = size
        if min(height, breadth) < 4:
            raise ValueError(f"size={tuple(size)}; both sides must be at least 4.")
        self.config = {
            "channels": channels,
            "size": [height, breadth],
            "n_outputs": n_outputs,
            "width": width,
            "mask_channel": mask_channel,
        }
        self.mask_channel = mask_channel
        self.standardise = Standardise((channels, height, breadth))
        self.body = nn.Sequential(
            nn.Conv2d(channels + (1 if mask_channel else 0), width, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * (height // 4) * (breadth // 4), 4 * width),
            nn.SiLU(),
        )
        self.head = nn.Linear(4 * width, n_outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `(rows, outputs)` of images and masks `(rows, channels, height, width)`."""
        h = self.standardise(x)
        if self.mask_channel:
            seen = torch.ones_like(h) if mask is None else mask.to(h)
            h = torch.cat([h * seen, seen[:, :1]], 1)
        return self.head(self.body(h))


class BlackBox(nn.Module):
    """Any frozen function as a predictor: it is asked, never differentiated.

    Args:
        function: Maps a tensor `(rows, *features)` to `(rows, outputs)`; numpy and scikit-learn
            models enter through `baselines.from_callable`.
        output: `"proba"` when it returns probabilities, `"logit"` when logits; a regressor's
            value is a `"logit"`.

    Raises:
        ValueError: If `output` is neither.
    """

    mask_channel = False

    def __init__(self, function: Callable[[Tensor], Tensor], output: str = "proba") -> None:
        super().__init__()
        if output not in ("proba", "logit"):
            raise ValueError(f"output={output!r}; pass 'proba' or 'logit'.")
        self.function = function
        self.output = output

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `(rows, outputs)`: log-probabilities where the function gives probabilities."""
        with torch.no_grad():
            answer = self.function(x)
        answer = answer[:, None] if answer.ndim == 1 else answer
        if self.output == "logit":
            return answer
        return torch.log(answer.clamp(min=1e-12))
