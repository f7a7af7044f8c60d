"""A learned imputer: a variational autoencoder that is conditioned on any coalition.

It meets `baselines.Imputer`, so games and LEX take it where no closed form fits the data.
"""

import math
from os import PathLike
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from amortized.lex.inputs import as_rows
from amortized.lex.selector import hidden_layers
from amortized.lex.standard import Standardise
from baselines import training
from baselines.coalitions import key_from
from baselines.imputers import StoredImputer, check_draws, feature_mask, normals
from baselines.randomness import seeded

TILE = 2**16
"""Imputed rows that are decoded at once."""


class VAEACImputer(StoredImputer):
    """Absent features are drawn from a variational autoencoder given the present ones.

    A prior network reads the present block and proposes a latent vector; a decoder reads both and
    gives a normal law of every feature. While training, a proposal network reads all of the row.

    Args:
        n_features: Flattened features `n`.
        latent: Size of the latent vector.
        width: Units of each hidden layer.
        depth: Hidden layers.
        n_draws: Imputations `r`.
        flat: All weights and the standardisation in one vector, as a saved imputer has them; None
            starts anew.

    Raises:
        ValueError: If a size is not positive, or `flat` has another length.

    Source: Ivanov, Figurnov and Vetrov (2019).

    Example:
        >>> import torch
        >>> from amortized import VAEACImputer
        >>> X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> imputer = VAEACImputer.fit(X, epochs=1)
        >>> imputer(X[:2], torch.tensor([[[True, False, False]]])).shape  # (b, m, r, n)
        torch.Size([2, 1, 16, 3])
    """

    description = "VAEAC imputer"

    def __init__(
        self,
        n_features: int,
        latent: int = 8,
        width: int = 64,
        depth: int = 2,
        n_draws: int = 16,
        flat: Tensor | None = None,
    ) -> None:
        super().__init__()
        if min(n_features, latent, width, depth) < 1:
            raise ValueError(
                f"n_features={n_features}, latent={latent}, width={width}, depth={depth}; all "
                "must be positive."
            )
        self.n_features, self.latent, self.width, self.depth = n_features, latent, width, depth
        self.n_draws = check_draws(n_draws)
        self.standardise = Standardise((n_features,))
        self.prior = _network(2 * n_features, width, depth, 2 * latent)
        self.proposal = _network(2 * n_features, width, depth, 2 * latent)
        self.decoder = _network(2 * n_features + latent, width, depth, 2 * n_features)
        if flat is not None:
            self._take(flat)

    @property
    def flat(self) -> Tensor:
        """All weights and the standardisation as one vector."""
        pieces = [self.standardise.mean, self.standardise.scale, *self.parameters()]
        return torch.cat([piece.detach().reshape(-1) for piece in pieces])

    def _take(self, flat: Tensor) -> None:
        wanted = self.flat.numel()
        if flat.ndim != 1 or flat.numel() != wanted or not torch.isfinite(flat).all():
            raise ValueError(
                f"flat has shape {tuple(flat.shape)}; this imputer needs ({wanted},), finite."
            )
        start = 0
        for piece in (self.standardise.mean, self.standardise.scale, *self.parameters()):
            piece.data.copy_(flat[start : start + piece.numel()].reshape(piece.shape))
            start += piece.numel()

    @classmethod
    def fit(
        cls,
        X: Any,  # noqa: ANN401 - an array, a tensor or a data frame
        *,
        latent: int = 8,
        width: int = 64,
        depth: int = 2,
        n_draws: int = 16,
        epochs: int = 60,
        batch_size: int = 256,
        generator: torch.Generator | None = None,
        progress: bool = False,
        checkpoint_dir: str | PathLike[str] | None = None,
    ) -> "VAEACImputer":
        """Train on complete rows, masked anew in every step; stopped early on a tenth of them.

        Args:
            X: Rows `(rows, *features)`, finite.
            latent: Size of the latent vector.
            width: Units of each hidden layer.
            depth: Hidden layers.
            n_draws: Imputations `r`.
            epochs: Most passes over the rows.
            batch_size: Rows of one step.
            generator: Source of weights, masks and noise; None always starts the same.
            progress: Show a bar.
            checkpoint_dir: Folder from which a killed training goes on.

        Returns:
            A trained imputer in eval mode.

        Raises:
            TypeError: If X holds no numbers.
            ValueError: If X has fewer than two rows, or an entry is not finite.
        """
        rows = as_rows(X, "X", torch.zeros(()))
        if len(rows) < 2:
            raise ValueError(f"X has {len(rows)} rows; training needs at least two.")
        rows = rearrange(rows, "b ... -> b (...)")
        key = key_from(generator)
        with seeded(key % 2**31):
            imputer = cls(rows.shape[1], latent, width, depth, n_draws)
        imputer.standardise.learn(rows)
        held, kept = rows[: max(1, len(rows) // 10)], rows[max(1, len(rows) // 10) :]
        training.fit(
            imputer,
            (kept,),
            lambda module, batch, noise: imputer.negative_bound(batch[0], noise),
            epochs=epochs,
            batch_size=batch_size,
            validate=lambda module: float(
                imputer.negative_bound(held, torch.Generator().manual_seed(0))
            ),
            patience=10,
            optimizer=training.AdamW(lr=2e-3, weight_decay=1e-3),
            schedule=training.WarmupCosine(floor=0.05),
            max_grad_norm=10.0,
            key=key,
            config={"imputer": "vaeac", "latent": latent, "width": width, "depth": depth},
            progress=progress,
            checkpoint_dir=checkpoint_dir,
            description="imputer",
        )
        return imputer.requires_grad_(False)

    def negative_bound(self, rows: Tensor, noise: torch.Generator) -> Tensor:
        """Mean of minus the evidence bound on absent features, for random coalitions.

        Args:
            rows: `(b, n)`, finite.
            noise: Source of coalitions and latent draws, on the CPU.

        Returns:
            A scalar in nats per row, up to the constant of the normal law.

        Source: Ivanov et al. (2019), eqs. 4-6, with their weak prior on the prior network.
        """
        b, n = rows.shape
        share = torch.rand(b, 1, generator=noise)
        present = (torch.rand(b, n, generator=noise) < share).to(rows)
        x = self.standardise(rows)
        seen = torch.cat([x * present, present], -1)
        mean_p, scale_p = _normal(self.prior(seen))
        mean_q, scale_q = _normal(self.proposal(torch.cat([x, present], -1)))
        draw = torch.randn(b, self.latent, generator=noise).to(rows)
        mean, scale = _normal(self.decoder(torch.cat([mean_q + scale_q * draw, seen], -1)))
        fit = 0.5 * ((x - mean) / scale) ** 2 + scale.log()
        apart = (
            (scale_p / scale_q).log()
            + (scale_q**2 + (mean_q - mean_p) ** 2) / (2 * scale_p**2)
            - 0.5
        )
        anchor = 0.5e-4 * mean_p**2 + 1e-4 * (scale_p - scale_p.log())
        return ((fit * (1 - present)).sum(-1) + (apart + anchor).sum(-1)).mean()

    @torch.no_grad()
    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`.

        Raises:
            ValueError: If `x` has other features than the training rows.
        """
        present = feature_mask(x, coalitions)
        if coalitions.shape[-1] != self.n_features:
            raise ValueError(
                f"x has {coalitions.shape[-1]} features; this imputer was trained on "
                f"{self.n_features}."
            )
        b, m, r = len(x), coalitions.shape[1], self.n_draws
        rows = self.standardise(rearrange(x, "b ... -> b (...)"))
        known = coalitions.expand(b, -1, -1) & torch.isfinite(rows)[:, None]
        rows = torch.where(known, rows[:, None], 0.0)
        seen = rearrange(torch.cat([rows, known.to(rows)], -1), "b m n -> (b m) n")
        size = self.latent + self.n_features
        noise = normals(generator, (b, m), r, size).to(rows)
        noise = rearrange(noise.expand(b, m, -1, -1), "b m r n -> (b m) r n")
        per_tile = max(1, TILE // r)
        tiles = zip(torch.split(seen, per_tile), torch.split(noise, per_tile), strict=True)
        drawn = torch.cat([self._decode(*tile) for tile in tiles])
        drawn = drawn * self.standardise.scale + self.standardise.mean
        filled = drawn.reshape(b, m, r, *x.shape[1:]).to(x.dtype)
        return torch.where(present[:, :, None], x[:, None, None], filled)

    def _decode(self, seen: Tensor, noise: Tensor) -> Tensor:
        """Standardised draws `(rows, r, n)` of every feature."""
        mean, scale = _normal(self.prior(seen))
        z = mean[:, None] + scale[:, None] * noise[..., : self.latent]
        context = repeat(seen, "rows n -> rows r n", r=noise.shape[1])
        mean, scale = _normal(self.decoder(torch.cat([z, context], -1)))
        return mean + scale * noise[..., self.latent :]


def _network(n_inputs: int, width: int, depth: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(hidden_layers(n_inputs, width, depth), nn.Linear(width, n_outputs))


def _normal(numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation from a network's answer; deviations within [0.01, 20]."""
    mean, raw = numbers.chunk(2, -1)
    return mean, nn.functional.softplus(raw + math.log(math.e - 1)).clamp(0.01, 20.0)
