"""Weights laid out for products of few rows, which is what a pass over one text is made of."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from baselines.text_encoders import Layer

TILE = 512
"""Tokens of which the wide middle of a feed-forward part stays in a processor's cache."""


class SideBySide:
    """Linear maps of the same tokens as one product, with a turned copy of the weights.

    A processor multiplies 20 to 60 rows up to twice as fast by a weight `(in, out)` as by the
    `(out, in)` that torch keeps. Where gradients are taken the weights themselves are read.

    Args:
        maps: Linear maps of the same width, whose weights may change at any time.
    """

    def __init__(self, *maps: Any) -> None:  # noqa: ANN401 - what has a weight and a bias
        self.maps = maps
        # a module's own look-up of its weight costs more than all that is compared
        self._kept: list[dict[str, Tensor]] = [each._parameters for each in maps]
        self._stamp: list[tuple[int, int]] = []
        self._seen: list[Tensor] = []  # held, so that no address is used twice
        self._turned: tuple[Tensor, Tensor] = torch.empty(0), torch.empty(0)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._kept[0]["weight"].device

    def __call__(self, tokens: Tensor) -> Tensor:
        """What the maps make of tokens `(t, d)`, `(t, outputs of all)`."""
        try:
            weights = [each["weight"] for each in self._kept]
            biases = [each["bias"] for each in self._kept]
        except KeyError:  # pruned or parametrized since: the modules know their weights
            return joined([each(tokens) for each in self.maps], -1)
        if torch.is_grad_enabled() or weights[0].is_inference():
            return nn.functional.linear(tokens, joined(weights), joined(biases))
        parts = weights + biases
        stamp = [(one.data_ptr(), one._version) for one in parts]
        if stamp != self._stamp:
            self._stamp, self._seen = stamp, [one.detach() for one in parts]
            self._turned = joined(weights).detach().mT.contiguous(), joined(biases).detach()
        return torch.addmm(self._turned[1], tokens, self._turned[0])


def joined(parts: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Tensors one behind the other; the tensor itself where there is but one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), axis)


class PreparedLayer:
    """A layer whose weights are kept as products of few rows read them, between passes.

    Args:
        layer: Whose weights may change at any time.
    """

    def __init__(self, layer: Layer) -> None:
        self.project = SideBySide(layer.query, layer.key, layer.value)
        self.layer = dataclasses.replace(
            layer,
            out=SideBySide(layer.out),
            widen=SideBySide(layer.widen),
            narrow=SideBySide(layer.narrow),
        )

    def __call__(self, tokens: Tensor, ranges: list[tuple[int, int, int]]) -> Tensor:
        """What follows the layer, for tokens `(t, d)` of texts at `(start, stop, length)`."""
        mixed = self.layer.mix(self.project(tokens), ranges)
        if torch.is_grad_enabled() or len(tokens) <= TILE:
            return self.layer.finish(tokens, mixed)
        tiles = zip(tokens.split(TILE), mixed.split(TILE), strict=True)
        return torch.cat([self.layer.finish(one, other) for one, other in tiles])
