"""Weights laid out for products of few rows, which is what a pass over one text is made of."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.text_encoders import Layer

TILE = 512
"""Tokens of which the wide middle of a feed-forward part stays in a processor's cache."""


@dataclasses.dataclass(frozen=True)
class _Turned:
    """What the maps held when their copies were made, and the copies."""

    parts: list[Tensor]  # held, so that no address is used twice
    versions: list[tuple[int, int]]
    samples: list[tuple[NDArray[Any], bytes]]
    weight: Tensor
    bias: Tensor


class SideBySide:
    """Linear maps of the same tokens as one product, with a turned copy of the weights.

    A processor multiplies 20 to 60 rows up to twice as fast by a weight `(in, out)` as by the
    `(out, in)` that torch keeps. Where gradients are taken the weights themselves are read, and
    the copy is given up: a step may follow, and fused optimizers leave no mark on what they
    change. For what else leaves none, a few entries of every weight are compared, too.

    Args:
        maps: Linear maps of the same width, whose weights may change between calls.
    """

    def __init__(self, *maps: Any) -> None:  # noqa: ANN401 - what has a weight and a bias
        self.maps = maps
        # a module's own look-up of its weight costs more than all that is compared
        self._kept: list[dict[str, Tensor | None]] = [each._parameters for each in maps]
        self._turned: _Turned | None = None  # one reference, so that threads see all or nothing

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        held = (part for each in self._kept for part in each.values() if part is not None)
        return next((part.device for part in held), torch.device("cpu"))  # quantized: none held

    def __call__(self, tokens: Tensor) -> Tensor:
        """What the maps make of tokens `(t, d)`, `(t, outputs of all)`."""
        parts = [each.get("weight") for each in self._kept]
        parts += [each.get("bias") for each in self._kept]
        turned = self._turned
        reads = not torch.is_grad_enabled()
        if not (reads and turned is not None and _unchanged(turned, parts)):
            held = [part for part in parts if part is not None]
            if len(held) < len(parts):  # pruned or quantized since: the modules know
                return joined([each(tokens) for each in self.maps], -1)
            if not (reads and all(map(_watched, held))):
                self._turned = None
                count = len(self.maps)
                return nn.functional.linear(tokens, joined(held[:count]), joined(held[count:]))
            turned = self._turned = _turn(held)
        return torch.addmm(turned.bias, tokens, turned.weight)


def _watched(part: Tensor) -> bool:
    """Whether a change of a weight can be told: it counts versions, and its memory can be read."""
    return part.is_cpu and part.is_contiguous() and not part.is_inference()


def _turn(parts: list[Tensor]) -> _Turned:
    count = len(parts) // 2
    held = [part.detach() for part in parts]
    few = [_few(weight) for weight in held[:count]]
    return _Turned(
        parts=held,
        versions=[(part.data_ptr(), part._version) for part in parts],
        samples=[(one, one.tobytes()) for one in few],
        weight=joined(held[:count]).mT.contiguous(),
        bias=joined(held[count:]).clone(),
    )


def _few(weight: Tensor) -> NDArray[Any]:
    """A view of some of a weight's bytes, spread over all of it; every dtype has bytes."""
    cells = weight.reshape(-1).view(torch.uint8).numpy()
    return cells[:: max(1, len(cells) // 31)]


def _unchanged(turned: _Turned, parts: list[Tensor | None]) -> bool:
    for part, stamp in zip(parts, turned.versions, strict=True):
        if part is None or (part.data_ptr(), part._version) != stamp:
            return False
    return all(few.tobytes() == seen for few, seen in turned.samples)


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
