"""Gaussian imputers: independent noise, the Gaussian conditional, and mixtures of Gaussians.

An absent block given the present one follows in closed form. A draw u of the joint law becomes a
draw of the conditional by Matheron's rule, `u + Sigma Z A^-1 Z (x - u)` with `Z = diag(present)`
and `A = Z Sigma Z + I - Z`: one Cholesky factor per distinct coalition, whatever its size.
"""

from typing import Any, Self

import torch
from einops import rearrange, repeat
from torch import Tensor

from baselines.arguments import as_tensor
from baselines.blending import blend
from baselines.coalitions import unique_coalitions
from baselines.compression import as_rows, own_generator, standardised
from baselines.imputers import (
    StoredImputer,
    check_draws,
    feature_mask,
    normals,
    refuse_rows,
    scaled,
    uniforms,
)
from baselines.torch_calls import cholesky, cholesky_ex, from_array

_CELLS = 2**22
"""Float64 cells that one tile of coalitions may hold at once (32 MiB)."""

_RIDGE = 1e-9
"""Added to the variance of standardised features, so that copies of a column stay solvable."""


class NoiseImputer(StoredImputer):
    """Absent features are independent normal noise.

    Args:
        mean: Number or `(*features)`.
        scale: Standard deviation, number or `(*features)`, not negative.
        n_draws: Imputations `r`.

    Raises:
        ValueError: If `mean` or `scale` is not finite, a scale is negative, the two have different
            shapes, or `n_draws` is not positive; on a call, if they do not have the features of
            `x`.

    Example:
        >>> import torch
        >>> from baselines import NoiseImputer
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> NoiseImputer(0.0, 1.0, n_draws=3)(x, present).shape
        torch.Size([1, 1, 3, 2])
    """

    description = "noise imputer"

    def __init__(
        self, mean: Tensor | float = 0.0, scale: Tensor | float = 1.0, n_draws: int = 16
    ) -> None:
        super().__init__()
        self.n_draws = check_draws(n_draws)
        self.register_buffer("mean", as_tensor(mean, "mean", torch.float64))
        self.register_buffer("scale", as_tensor(scale, "scale", torch.float64))
        self.mean: Tensor
        self.scale: Tensor
        for name, given in (("mean", self.mean), ("scale", self.scale)):
            if not bool(torch.isfinite(given).all()):
                raise ValueError(f"{name} holds NaN or infinity; pass finite numbers.")
        if bool((self.scale < 0).any()):
            raise ValueError("scale must not be negative; it is a standard deviation.")
        if self.mean.ndim and self.scale.ndim and self.mean.shape != self.scale.shape:
            raise ValueError(
                f"mean has shape {tuple(self.mean.shape)}, scale {tuple(self.scale.shape)}; pass "
                "numbers, or one entry per feature in both."
            )

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`."""
        for name, given in (("mean", self.mean), ("scale", self.scale)):
            if given.ndim and given.shape != x.shape[1:]:
                raise ValueError(
                    f"{name} has shape {tuple(given.shape)}; x needs a number or one of shape "
                    f"{tuple(x.shape[1:])}."
                )
        present = feature_mask(x, coalitions)
        noise = normals(generator, _leading(x, coalitions), self.n_draws, coalitions.shape[-1])
        noise = noise.to(x.device).reshape(*noise.shape[:3], *x.shape[1:])
        filled = self.mean.to(x.device) + self.scale.to(x.device) * noise
        return blend(present[:, :, None], x[:, None, None], filled)


class GaussianMixtureImputer(StoredImputer):
    """Absent features are drawn from a Gaussian mixture given the present ones.

    A component is drawn by its posterior probability given the present block, then the absent
    block from that component's conditional. Present features that are not finite are returned as
    they are and condition nothing.

    Args:
        proportions: `(c,)`, positive, of the components; scaled here to sum to 1.
        means: `(c, n)`.
        covariances: `(c, n, n)`, or `(c, n)` for diagonal ones.
        n_draws: Imputations `r`.

    Raises:
        TypeError: If it is given rows in place of a fitted law; `fit` takes rows.
        ValueError: If shapes disagree, a covariance is not positive semi-definite, or a number is
            not finite.

    Example:
        >>> import torch
        >>> from baselines import GaussianMixtureImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> GaussianMixtureImputer.fit(rows, n_components=2)(x, present).shape
        torch.Size([1, 1, 16, 2])
    """

    description = "Gaussian mixture imputer"

    def __init__(
        self,
        proportions: Tensor | None = None,
        means: Tensor | None = None,
        covariances: Tensor | None = None,
        n_draws: int = 16,
    ) -> None:
        super().__init__()
        refuse_rows(type(self), proportions=proportions, means=means, covariances=covariances)
        self.n_draws = check_draws(n_draws)
        proportions, means, covariances = (
            as_tensor(given, "the mixture", torch.float64)
            for given in (proportions, means, covariances)
        )
        _check_mixture(proportions, means, covariances)
        self.register_buffer("proportions", scaled(proportions, len(means)))
        self.register_buffer("means", means)
        self.register_buffer("covariances", covariances)
        self.proportions: Tensor
        self.means: Tensor
        self.covariances: Tensor
        self._standardise()

    @classmethod
    def fit(
        cls,
        X: Any,  # noqa: ANN401 - an array, a tensor or a data frame
        n_components: int = 10,
        *,
        diagonal: bool = False,
        n_draws: int = 16,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Fit by expectation-maximisation on standardised rows.

        Args:
            X: Rows `(rows, *features)`: array, tensor or numeric data frame.
            n_components: Components `c`.
            diagonal: Whether features are independent within a component.
            n_draws: Imputations `r`.
            generator: Source of the k-means start; None always starts the same.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X is empty or not finite, or has fewer rows than components.
        """
        from sklearn.mixture import GaussianMixture

        points = as_rows(X, "X").cpu()
        if not 1 <= n_components <= len(points):
            raise ValueError(
                f"n_components={n_components} is not between 1 and the {len(points)} rows of X."
            )
        seed = int(torch.randint(2**31, (), generator=own_generator(generator)))
        kind = "diag" if diagonal else "full"
        mixture = GaussianMixture(
            n_components, covariance_type=kind, random_state=seed, reg_covar=1e-6
        ).fit(standardised(points).numpy())
        mean, scale = points.mean(0), points.std(0, correction=0)
        covariances = from_array(mixture.covariances_)
        spread = scale**2 if diagonal else scale[:, None] * scale
        return cls(
            from_array(mixture.weights_),
            mean + scale * from_array(mixture.means_),
            covariances * spread,
            n_draws,
        )

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`."""
        present = feature_mask(x, coalitions)
        n = coalitions.shape[-1]
        if n != self.means.shape[1]:
            raise ValueError(
                f"x has {n} features; this imputer was fitted on {self.means.shape[1]}."
            )
        rows = rearrange(x.double(), "b ... -> b (...)")
        finite = torch.isfinite(rows)
        rows = torch.where(finite, (rows - self._center) / self._scale, 0.0)
        leading = _leading(x, coalitions)
        noise = normals(generator, leading, self.n_draws, n).to(x.device)
        pick = uniforms(generator, leading, self.n_draws).to(x.device)
        if bool(finite.all()):
            observed = coalitions[:1] if _is_shared(coalitions) else coalitions
        else:
            observed = coalitions & finite[:, None]
        filled = self._draw(rows, observed, noise, pick)
        filled = self._center + self._spread * filled
        filled = filled.to(x.dtype).reshape(*filled.shape[:3], *x.shape[1:])
        return blend(present[:, :, None], x[:, None, None], filled)

    def posterior(self, x: Tensor, coalitions: Tensor) -> Tensor:
        """Probability of each component given the present block.

        Args:
            x: Explicands `(b, *features)`, finite.
            coalitions: Bool `(b, m, n)` or `(1, m, n)` over the flattened features.

        Returns:
            Float64 `(b, m, c)`, rows summing to 1.
        """
        feature_mask(x, coalitions)
        rows = (rearrange(x.double(), "b ... -> b (...)") - self._center) / self._scale
        if self.covariances.ndim == 2:
            return self._diagonal_posterior(rows, coalitions)
        b, m = _leading(x, coalitions)
        observed = rearrange(coalitions.expand(b, -1, -1), "b m n -> (b m) n")
        away = repeat(rows, "b n -> (b m) n", m=m)[:, None] - self._means
        none = torch.zeros(1, len(self._means), rows.shape[1], 0, dtype=torch.float64)
        scores, _, _ = self._conditional(observed, away[..., None], none.to(rows.device))
        return rearrange(scores[..., 0].softmax(-1), "(b m) c -> b m c", b=b)

    def _draw(self, rows: Tensor, observed: Tensor, noise: Tensor, pick: Tensor) -> Tensor:
        """Standardised draws `(b, m, r, n)`; absent blocks are conditional draws."""
        if self.covariances.ndim == 2:
            return self._diagonal_draw(rows, observed, noise, pick)
        if len(observed) == 1 and len(noise) == 1:
            return self._shared_draw(rows, observed[0], noise[0, 0], pick[0, 0])
        return self._separate_draw(rows, observed, noise, pick)

    def _shared_draw(self, rows: Tensor, masks: Tensor, noise: Tensor, pick: Tensor) -> Tensor:
        """All explicands share the coalitions and the noise: one solve serves all of them."""
        c, n = self._means.shape
        (b, r) = (len(rows), len(noise))
        away = rearrange(rows, "b n -> b 1 n") - self._means
        away = rearrange(away, "b c n -> 1 c n b")
        wobble = torch.einsum("cij,rj->cir", self._factors, noise)[None]
        distinct, where = unique_coalitions(masks)
        tile = max(1, _CELLS // (c * n * (n + 3 * (b + r)) + b * r * n))
        parts: list[Tensor] = []
        for part in torch.split(distinct, tile):
            scores, expected, deviation = self._conditional(part, away, wobble)
            component = _component(scores.softmax(1), pick[None, None])  # (q, b, r)
            q = torch.arange(len(part), device=rows.device)[:, None, None]
            p = torch.arange(b, device=rows.device)[None, :, None]
            s = torch.arange(r, device=rows.device)
            parts.append(expected[q, component, :, p] + deviation[q, component, :, s])
        drawn = torch.cat(parts)[where.to(rows.device)]
        return rearrange(drawn, "m b r n -> b m r n")

    def _separate_draw(
        self, rows: Tensor, observed: Tensor, noise: Tensor, pick: Tensor
    ) -> Tensor:
        """Every pair of explicand and coalition has its own mask or its own noise."""
        c, n = self._means.shape
        b, m, r = len(rows), observed.shape[1], noise.shape[2]
        masks = rearrange(observed.expand(b, -1, -1), "b m n -> (b m) n")
        owner = torch.arange(b, device=rows.device).repeat_interleave(m)
        noise = rearrange(noise, "b m r n -> (b m) r n")
        pick = rearrange(pick, "b m r -> (b m) r")
        tile = max(1, _CELLS // (c * n * (2 * n + 3 * (1 + r)) + r * n))
        parts: list[Tensor] = []
        for index in torch.split(torch.arange(b * m, device=rows.device), tile):
            own = index if len(noise) > 1 else slice(None)
            wobble = torch.einsum("cij,qrj->qcir", self._factors, noise[own])
            away = (rows[owner[index]][:, None] - self._means)[..., None]
            scores, expected, deviation = self._conditional(masks[index], away, wobble)
            component = _component(scores.softmax(1), pick[own][:, None])[:, 0]  # (q, r)
            q = torch.arange(len(index), device=rows.device)[:, None]
            s = torch.arange(r, device=rows.device)
            parts.append(expected[q, component, :, 0] + deviation[q, component, :, s])
        return rearrange(torch.cat(parts), "(b m) r n -> b m r n", b=b)

    def _conditional(
        self, masks: Tensor, away: Tensor, wobble: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Scores and both halves of Matheron's rule, for every component.

        Args:
            masks: Bool `(q, n)`, present and observed.
            away: `(q or 1, c, n, p)`, explicands minus the component's mean.
            wobble: `(q or 1, c, n, r)`, zero-mean draws of the joint law.

        Returns:
            Log joint density of component and present block `(q, c, p)`; conditional means
            `(q, c, n, p)`; deviations from them `(q, c, n, r)`.
        """
        distinct, where = unique_coalitions(masks)
        present = distinct.double()[:, None, :, None]  # (q, 1, n, 1)
        system = present * self._covariances * rearrange(present, "q c n o -> q c o n")
        system = system + torch.diag_embed(1 - present[..., 0])
        factor = cholesky(system)
        where = where.to(factor.device)
        factor, present = factor[where], present[where]
        sides = [present * away, (present * wobble)]
        counts = [side.shape[-1] for side in sides]
        solved = torch.cholesky_solve(torch.cat(sides, -1), factor)
        pull = torch.einsum("cij,qcjs->qcis", self._covariances, present * solved)
        pull_mean, pull_noise = torch.split(pull, counts, -1)
        mahalanobis = (sides[0] * solved[..., : counts[0]]).sum(-2)
        log_det = 2 * torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
        scores = self.proportions.log()[:, None] - 0.5 * (mahalanobis + log_det[..., None])
        return scores, self._means[..., None] + pull_mean, wobble - pull_noise

    def _diagonal_posterior(self, rows: Tensor, observed: Tensor) -> Tensor:
        squares = (rows[:, None] - self._means) ** 2 / self._covariances
        density = -0.5 * (squares + self._covariances.log())  # (b, c, n)
        density = density.expand(len(rows), -1, -1)
        mask = observed.double().expand(len(rows), -1, -1)
        scores = self.proportions.log() + torch.einsum("bmn,bcn->bmc", mask, density)
        return scores.softmax(-1)

    def _diagonal_draw(
        self, rows: Tensor, observed: Tensor, noise: Tensor, pick: Tensor
    ) -> Tensor:
        probabilities = self._diagonal_posterior(rows, observed)
        probabilities = rearrange(probabilities, "b m c -> b c m")
        component = _component(probabilities, pick.expand(-1, observed.shape[1], -1))
        return self._means[component] + self._covariances.sqrt()[component] * noise

    def _standardise(self) -> None:
        """The same mixture for features of mean 0 and deviation 1; constant ones stay put."""
        diagonal = self.covariances.ndim == 2
        variances = (
            self.covariances if diagonal else torch.diagonal(self.covariances, dim1=-2, dim2=-1)
        )
        p = self.proportions[:, None]
        center = (p * self.means).sum(0)
        spread = (p * (variances + (self.means - center) ** 2)).sum(0).sqrt()
        constant = spread <= 1e-12 * (1 + center.abs())
        scale = torch.where(constant, 1.0, spread)
        means = torch.where(constant, 0.0, (self.means - center) / scale)
        if diagonal:
            covariances = torch.where(constant, 1.0, variances / scale**2).clamp(min=_RIDGE)
            factors = covariances.sqrt()
        else:
            covariances = self.covariances / (scale[:, None] * scale)
            free = ~constant[:, None] & ~constant
            covariances = torch.where(free, covariances, 0.0)
            covariances = covariances + torch.diag(torch.where(constant, 1.0, _RIDGE))
            factors, failed = cholesky_ex(covariances)
            if bool(failed.any()):
                raise ValueError(
                    "covariances are not positive semi-definite; estimate them with more rows "
                    "than features, or shrink them towards their diagonal."
                )
        for name, tensor in (
            ("_center", center),
            ("_scale", scale),
            ("_spread", torch.where(constant, 0.0, spread)),
            ("_means", means),
            ("_covariances", covariances),
            ("_factors", factors),
        ):
            self.register_buffer(name, tensor, persistent=False)
        self._center: Tensor
        self._scale: Tensor
        self._spread: Tensor
        self._means: Tensor
        self._covariances: Tensor
        self._factors: Tensor


class GaussianImputer(GaussianMixtureImputer):
    """Absent features are drawn from a Gaussian given the present ones.

    Args:
        mean: `(n,)` over the flattened features.
        covariance: `(n, n)`.
        n_draws: Imputations `r`; a single one without a generator is the conditional mean.

    Raises:
        TypeError: If it is given rows in place of a fitted law; `fit` takes rows.
        ValueError: If shapes disagree, the covariance is not positive semi-definite, or a number
            is not finite.

    Source: Aas, Jullum and Løland (2021), sec. 3.3.

    Example:
        >>> import torch
        >>> from baselines import GaussianImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> GaussianImputer.fit(rows)(x, present).shape  # 16 draws of the second given the first
        torch.Size([1, 1, 16, 2])
    """

    description = "Gaussian conditional imputer"

    def __init__(self, mean: Tensor, covariance: Tensor | None = None, n_draws: int = 16) -> None:
        refuse_rows(type(self), covariance=covariance)
        mean = as_tensor(mean, "mean", torch.float64)
        covariance = as_tensor(covariance, "covariance", torch.float64)
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise ValueError(
                f"mean has shape {tuple(mean.shape)} and covariance {tuple(covariance.shape)}; "
                "(n,) and (n, n) are needed."
            )
        super().__init__(torch.ones(1), mean[None], covariance[None], n_draws)

    @property
    def mean(self) -> Tensor:
        """Mean `(n,)` of the flattened features."""
        return self.means[0]

    @property
    def covariance(self) -> Tensor:
        """Covariance `(n, n)` of the flattened features."""
        return self.covariances[0]

    @classmethod
    def fit(  # pyright: ignore[reportIncompatibleMethodOverride] - one component needs no start
        cls,
        X: Any,  # noqa: ANN401 - an array, a tensor or a data frame
        *,
        shrinkage: float = 0.0,
        n_draws: int = 16,
    ) -> Self:
        """Sample mean and covariance of rows.

        Args:
            X: Rows `(rows, *features)`, two or more: array, tensor or numeric data frame.
            shrinkage: Share, 0 to 1, by which correlations are shrunk to 0; raise it when rows
                are few.
            n_draws: Imputations `r`.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X has fewer than two rows or is not finite, or `shrinkage` is outside
                0 to 1.
        """
        points = as_rows(X, "X")
        if len(points) < 2:
            raise ValueError(f"X has {len(points)} rows; a covariance needs at least 2.")
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage={shrinkage} is not between 0 and 1.")
        covariance = torch.cov(points.T).reshape(points.shape[1], points.shape[1])
        variances = torch.diag(torch.diagonal(covariance))
        return cls(points.mean(0), torch.lerp(covariance, variances, shrinkage), n_draws)


def _component(probabilities: Tensor, pick: Tensor) -> Tensor:
    """Component of each draw by inverse distribution function.

    Args:
        probabilities: `(q, c, p)`, summing to 1 over `c`.
        pick: Uniform numbers `(q or 1, p or 1, r)`.

    Returns:
        Int64 `(q, p, r)`.
    """
    ladder = rearrange(probabilities.cumsum(1), "q c p -> q p 1 c")
    return (pick[..., None] > ladder).sum(-1).clamp(max=probabilities.shape[1] - 1)


def _check_mixture(proportions: Tensor, means: Tensor, covariances: Tensor) -> None:
    c, n = means.shape if means.ndim == 2 else (0, 0)
    if c < 1 or proportions.shape != (c,) or covariances.shape not in ((c, n), (c, n, n)):
        raise ValueError(
            f"proportions, means and covariances have shapes {tuple(proportions.shape)}, "
            f"{tuple(means.shape)} and {tuple(covariances.shape)}; (c,), (c, n) and (c, n, n) or "
            "(c, n) are needed."
        )
    for name, given in (
        ("proportions", proportions),
        ("means", means),
        ("covariances", covariances),
    ):
        if not bool(torch.isfinite(given).all()):
            raise ValueError(f"{name} hold NaN or infinity.")
    if bool((proportions <= 0).any()):
        raise ValueError("proportions must be positive.")
    if covariances.ndim == 2 and bool((covariances < 0).any()):
        raise ValueError("covariances hold a negative variance.")


def _leading(x: Tensor, coalitions: Tensor) -> tuple[int, int]:
    return len(x), coalitions.shape[1]


def _is_shared(coalitions: Tensor) -> bool:
    """Whether all explicands have the same coalitions, as far as that is free to know."""
    return len(coalitions) == 1 or coalitions.stride(0) == 0
