"""HarsanyiNet over images: players are patches of pixels, or cells of a feature map."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from einops import rearrange
from torch import Tensor, nn

from harsanyi.float64 import hold, overwrite
from harsanyi.net import HarsanyiNet
from harsanyi.patches import FeatureEncoder, PatchEncoder

if TYPE_CHECKING:
    from baselines.explanation import Explanation
    from harsanyi.dividends import Dividends


class HarsanyiImageNet(HarsanyiNet):
    """A HarsanyiNet whose rows are images `(b, c, h, w)` and whose players lie on a grid.

    Presence is a mask over the players. Where they are patches and `absence="baseline"`, a patch
    is absent, too, when all its pixels equal the baseline colour, so that v(S) is a function of
    the pixels alone. The colour is the mean of the training images unless another is set, which no
    pixel of eight bits equals by chance.

    Args:
        config: As HarsanyiNet reads it; its parts read images, all on the same grid.
        parts: Modules to use in place of building them from the specs.
        backbone: The frozen network of a part that reads features.
    """

    named = (*HarsanyiNet.named, "classes", "problem_type")

    def __init__(
        self,
        config: Any,  # noqa: ANN401 - read by attribute
        parts: Sequence[nn.Module] | None = None,
        backbone: nn.Module | None = None,
    ) -> None:
        super().__init__(config, parts)
        self.encoders: list[Any] = [cast("Any", part).encoder for part in self.parts]
        shapes = {(encoder.feature_shape, encoder.grid) for encoder in self.encoders}
        if len(shapes) != 1:
            raise ValueError(f"the parts read images of {sorted(shapes)}; one shape is needed.")
        self.image_shape, self.grid = shapes.pop()
        hold(self, "baseline", torch.zeros(self.image_shape[0], dtype=torch.float64))
        if backbone is not None:
            self.attach(backbone)

    def attach(self, backbone: nn.Module) -> "HarsanyiImageNet":
        """Give the frozen network to the parts that read features.

        Raises:
            ValueError: If none does.
        """
        readers = [encoder for encoder in self.encoders if isinstance(encoder, FeatureEncoder)]
        if not readers:
            raise ValueError("no part of this model reads features; players are patches or cells.")
        for encoder in readers:
            encoder.attach(backbone)
        return self

    @torch.no_grad()
    def set_baseline(self, baseline: Tensor) -> "HarsanyiImageNet":
        """Replace the baseline by a colour `(c,)` in raw units.

        Raises:
            ValueError: If its shape is another.
        """
        if baseline.shape != self.image_shape[:1]:
            raise ValueError(
                f"baseline has shape {tuple(baseline.shape)}; one number for each of the "
                f"{self.image_shape[0]} channels is needed."
            )
        overwrite(self, "baseline", baseline)
        return self

    def presence(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Who is present, bool `(b, n)`, decided on raw pixels before any cast.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Who is asked for, bool `(b, n)` or `(n,)`; None means everybody.
        """
        shape = len(x), self.n_players
        if present is None:
            present = torch.ones(1, self.n_players, dtype=torch.bool, device=x.device)
        present = present.expand(shape)
        if self.absence != "baseline":
            return present
        colour = rearrange(self.baseline.to(x.dtype), "c -> c 1 1")
        other = (x != colour) & ~(x.isnan() & colour.isnan())
        return present & cast("PatchEncoder", self.encoders[0]).players(other.any(1))

    def masked(self, x: Tensor, present: Tensor) -> Tensor:
        """Images with the pixels of absent patches at the baseline colour.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Bool `(b, n)` or `(n,)`.

        Raises:
            ValueError: If players are not patches of pixels.
        """
        encoder = self.encoders[0]
        if not isinstance(encoder, PatchEncoder):
            raise ValueError(  # noqa: TRY004 - what is wrong is the kind of player
                "players of this model are cells, which share pixels; pass present=."
            )
        colour = rearrange(self.baseline.to(x.dtype), "c -> c 1 1")
        pixels = encoder.pixels(present.expand(len(x), self.n_players))
        return torch.where(rearrange(pixels, "b h w -> b 1 h w"), x, colour)

    def coalition_values(
        self, x: Tensor, coalitions: Tensor, present: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs of images and of many coalitions of them, from one forward pass.

        Args:
            x: Raw images `(b, c, h, w)`.
            coalitions: Bool `(b, m, n)`.
            present: Players of the game; None means everybody.

        Returns:
            Outputs `(b, k)` of everybody and `(b, m, k)` of the coalitions.
        """
        self._check(x, present)
        there = None
        if present is not None or self.absence == "baseline":
            there = self.presence(x, present)
            coalitions = coalitions & there[:, None]
        full: Tensor = self.bias
        some: Tensor = self.bias
        for weight, part in zip(self.mixture, self.parts, strict=True):
            whole, values = cast("Any", part).coalition_values(x, coalitions, there)
            full, some = full + weight * whole, some + weight * values
        return self._outputs(full), self._outputs(some)

    def attribute(
        self, x: Tensor, present: Tensor | None = None, free: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs, Shapley values and base values in one differentiable pass.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Players present, bool `(b, n)` or `(n,)`; None means everybody.
            free: Players who may leave, bool `(b, n)` or `(n,)`; None means everybody.

        Returns:
            Outputs `(b, k)`, Shapley values `(b, n, k)`, and outputs with the free ones gone.
        """
        if free is None:
            return super().attribute(x, present)
        self._check(x, present)
        self._check(x, free)
        there = self.presence(x, present)
        playing = free.to(there.device).expand(there.shape) & there
        value = base = self.bias.expand(len(x), -1)
        shapley = self.bias.new_zeros(len(x), self.n_players, self.bias.shape[0])
        for weight, part in zip(self.mixture, self.parts, strict=True):
            v, phi, stays = cast("Any", part).attribute(x, there, playing)
            value, base, shapley = (
                value + weight * v,
                base + weight * stays,
                shapley + weight * phi,
            )
        return self._outputs(value), self._outputs(shapley), self._outputs(base)

    @torch.no_grad()
    def explain(
        self,
        x: Tensor,
        present: Tensor | None = None,
        *,
        free: Tensor | None = None,
        max_rows: int | None = None,
    ) -> "Explanation":
        """Exact Shapley values of all outputs, in eval mode whatever the mode is.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Players there at all, bool `(b, n)` or `(n,)`; the others stay absent and get
                0.
            free: Players who may leave, bool `(b, n)` or `(n,)`; the others of those present stay
                present and get 0. None means everybody.
            max_rows: Images worked on at once.

        Returns:
            Values `(b, n, k)` in units of the outputs, players by rows of the grid.
        """
        with evaluating(self):
            whole = super().explain(x, present, max_rows=max_rows)
            if free is None:
                return whole
            step = max_rows or self.max_rows
            masks = [
                None if mask is None else mask.expand(len(x), self.n_players)
                for mask in (present, free)
            ]
            pieces = [
                self.attribute(
                    x[i : i + step], *(None if m is None else m[i : i + step] for m in masks)
                )
                for i in range(0, max(1, len(x)), step)
            ]
        value, shapley, base = (torch.cat(piece) for piece in zip(*pieces, strict=True))
        return dataclasses.replace(
            whole,
            values=shapley,
            base_values=base,
            diagnostics={"additivity_gap": shapley.sum(1) - (value - base)},
        )

    @torch.no_grad()
    def dividends(
        self, x: Tensor, present: Tensor | None = None, *, max_coalitions: int = 2**16
    ) -> "Dividends":
        """Dividends of the game: one for each place of each block, so they can be listed.

        Args:
            x: Raw images `(b, c, h, w)`.
            present: Players of the game; None means everybody.
            max_coalitions: Most coalitions that may be listed.
        """
        with evaluating(self):
            return super().dividends(x, present, max_coalitions=max_coalitions)

    @torch.no_grad()
    def order_spectrum(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Share of each order in the absolute dividends, `(b, n, k)`, order s at s - 1."""
        with evaluating(self):
            return super().order_spectrum(x, present)

    @property
    def description(self) -> str:
        """The game in words: players, absence and scale."""
        encoder = self.encoders[0]
        rows, columns = self.grid
        kind = f"patches of {encoder.patch} x {encoder.patch} pixels" if self._patches else "cells"
        return super().description + f", players={rows} x {columns} {kind}"

    @property
    def _patches(self) -> bool:
        return isinstance(self.encoders[0], PatchEncoder)

    def _check(self, x: Tensor, present: Tensor | None) -> None:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x is {kind}; pass images as a floating-point tensor (b, c, h, w).")
        first = self.encoders[0]
        ready = isinstance(first, FeatureEncoder) and x.ndim == 4 and first.is_features(x)
        if x.ndim != 4 or (tuple(x.shape[1:]) != self.image_shape and not ready):
            raise ValueError(
                f"x has shape {tuple(x.shape)}; images (b, {', '.join(map(str, self.image_shape))})"
                " are needed. The image processor saved beside the model resizes pictures."
            )
        if present is None:
            return
        if present.dtype != torch.bool:
            raise TypeError(f"present is {present.dtype}; pass a bool mask, true = present.")
        n = self.n_players
        if present.shape not in ((len(x), n), (1, n), (n,)):
            raise ValueError(
                f"present has shape {tuple(present.shape)}; ({len(x)}, {n}) or ({n},) is needed."
            )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for the time of a block; every module gets its own flag back."""
    flags = [(each, each.training) for each in module.modules() if each.training]
    for each, _ in flags:
        each.training = False
    try:
        yield
    finally:
        for each, flag in flags:
            each.training = flag
