"""Donor imputers: absent features come together from one stored row that fits the present ones.

They keep values realistic, since every absent block was seen. They differ in how a donor is found:
at random, by nearest cluster, by mixture component, among the nearest rows, or by a kernel.
"""

from typing import Any, Self

import torch
from einops import rearrange
from torch import Tensor

from baselines.arguments import as_tensor
from baselines.blending import blend
from baselines.compression import as_rows, own_generator
from baselines.gaussian import GaussianMixtureImputer
from baselines.imputers import StoredImputer, check_draws, feature_mask, refuse_rows, uniforms
from baselines.torch_calls import as_list, distinct, distinct_index, from_array

_CELLS = 2**22
"""Float64 cells that one tile of coalitions may hold at once (32 MiB)."""


class DonorImputer(StoredImputer):
    """Absent features come from one of the stored rows, drawn at random.

    Without a generator the draws of every coalition are spread evenly over the rows it may draw
    from, in the order they are stored; with one they are independent. Present features that are
    not finite are returned as they are and choose nothing.

    Args:
        rows: Donors `(N, *features)`, finite; `r` of them fill in for one coalition.
        n_draws: Imputations `r`.

    Raises:
        ValueError: If `rows` is empty or not finite, or `n_draws` is not positive.

    Example:
        >>> import torch
        >>> from baselines import DonorImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> DonorImputer.fit(rows)(x, present).shape
        torch.Size([1, 1, 16, 2])
    """

    description = "random donor imputer"

    def __init__(self, rows: Tensor, n_draws: int = 16) -> None:
        super().__init__()
        self.n_draws = check_draws(n_draws)
        rows = as_tensor(rows, "rows")
        flat = as_rows(rows, "rows")
        center, spread = flat.mean(0), flat.std(0, correction=0)
        scale = torch.where(spread <= 1e-12 * (1 + center.abs()), 1.0, spread)
        self.register_buffer("rows", rows)
        self.register_buffer("_center", center, persistent=False)
        self.register_buffer("_scale", scale, persistent=False)
        self.register_buffer("_flat", (flat - center) / scale, persistent=False)
        self.rows: Tensor
        self._center: Tensor
        self._scale: Tensor
        self._flat: Tensor

    @classmethod
    def fit(cls, X: Any, *, n_draws: int = 16) -> Self:  # noqa: ANN401
        """Store rows as donors.

        Args:
            X: Rows `(N, *features)`: array, tensor or numeric data frame.
            n_draws: Imputations `r`.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X is empty or not finite.
        """
        return cls(_stored(X), n_draws)

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed rows `(b, m, r, *features)` of `x` `(b, *features)`."""
        present = feature_mask(x, coalitions)
        donors = self.donors(x, coalitions, generator)
        filled = self.rows.to(x)[donors] if x.is_floating_point() else self.rows[donors]
        return blend(present[:, :, None], x[:, None, None], filled)

    def donors(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Which stored row fills in.

        Args:
            x: Explicands `(b, *features)`.
            coalitions: Bool `(b, m, n)` or `(1, m, n)` over the flattened features.
            generator: Source of independent draws; None draws the same donors every time.

        Returns:
            Int64 `(b, m, r)`, positions in `rows`.

        Raises:
            ValueError: If `x` has other features than the stored rows.
        """
        if x.shape[1:] != self.rows.shape[1:]:
            raise ValueError(
                f"x has features {tuple(x.shape[1:])}; the stored rows have "
                f"{tuple(self.rows.shape[1:])}."
            )
        b, m = len(x), coalitions.shape[1]
        points = rearrange(x.double(), "b ... -> b (...)")
        finite = torch.isfinite(points)
        points = torch.where(finite, (points - self._center) / self._scale, 0.0)
        shared = len(coalitions) == 1 or coalitions.stride(0) == 0
        if shared and bool(finite.all()):
            observed = coalitions[:1]
        else:
            observed = coalitions & finite[:, None]
        pick = uniforms(generator, (b, m), self.n_draws).to(x.device).expand(b, m, -1)
        # a tile of coalitions meets every row (or centre) at once
        width = max(1, _CELLS // (len(self._flat) * b))
        parts = [
            self._choose(points, observed[:, i : i + width], pick[:, i : i + width])
            for i in range(0, m, width)
        ]
        return torch.cat(parts, 1) if parts else pick.long()

    def _choose(self, points: Tensor, observed: Tensor, pick: Tensor) -> Tensor:
        """Donors `(b, m, r)` by uniform numbers `pick` `(b, m, r)`, from standardised points."""
        return (pick * len(self._flat)).long()


class KMeansDonorImputer(DonorImputer):
    """Donors are the members of the cluster whose centre is nearest on the present features.

    Nothing present fits every cluster alike, and every row may then be a donor.

    Args:
        rows: Donors `(N, *features)`, finite.
        labels: Int64 `(N,)`, the cluster of each row, 0 to `c - 1`, none empty.
        n_draws: Imputations `r`.

    Raises:
        ValueError: If labels do not fit the rows or leave a cluster empty.

    Example:
        >>> import torch
        >>> from baselines import KMeansDonorImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> KMeansDonorImputer.fit(rows, n_clusters=4)(x, present).shape
        torch.Size([1, 1, 16, 2])
    """

    description = "k-means donor imputer"

    def __init__(self, rows: Tensor, labels: Tensor | None = None, n_draws: int = 16) -> None:
        refuse_rows(type(self), labels=labels)
        super().__init__(rows, n_draws)
        labels = as_tensor(labels, "labels").long()
        if labels.shape != (len(self.rows),) or int(labels.min()) < 0:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}; one cluster per row is needed: "
                f"({len(self.rows)},)."
            )
        counts = torch.bincount(labels)
        if bool((counts == 0).any()):
            raise ValueError("labels leave a cluster empty; number them without gaps.")
        sums = torch.zeros(len(counts), self._flat.shape[1], dtype=torch.float64)
        centres = sums.to(labels.device).index_add(0, labels, self._flat) / counts[:, None]
        self.register_buffer("labels", labels)
        self.register_buffer("_centres", centres, persistent=False)
        self.register_buffer("_counts", counts, persistent=False)
        self.register_buffer("_members", labels.argsort(stable=True), persistent=False)
        self.labels: Tensor
        self._centres: Tensor
        self._counts: Tensor
        self._members: Tensor

    @classmethod
    def fit(  # pyright: ignore[reportIncompatibleMethodOverride] - more to choose than the parent
        cls,
        X: Any,  # noqa: ANN401
        n_clusters: int = 20,
        *,
        n_draws: int = 16,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Cluster standardised rows.

        Args:
            X: Rows `(N, *features)`: array, tensor or numeric data frame.
            n_clusters: Clusters `c`.
            n_draws: Imputations `r`.
            generator: Source of the start; None always starts the same.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X is empty or not finite, or has fewer rows than clusters.
        """
        from sklearn.cluster import KMeans

        rows = _stored(X)
        if not 1 <= n_clusters <= len(rows):
            raise ValueError(f"n_clusters={n_clusters} is not between 1 and {len(rows)} rows.")
        seed = int(torch.randint(2**31, (), generator=own_generator(generator)))
        model = KMeans(n_clusters, random_state=seed).fit(DonorImputer(rows)._flat.cpu().numpy())
        # equal rows may leave clusters empty: number those in use
        labels = distinct_index(from_array(model.labels_).long())
        return cls(rows, labels.to(rows.device), n_draws)

    def _choose(self, points: Tensor, observed: Tensor, pick: Tensor) -> Tensor:
        cluster = _distances(points, observed, self._centres).argmin(-1, keepdim=True)
        first = (self._counts.cumsum(0) - self._counts)[cluster]
        member = self._members[first + (pick * self._counts[cluster]).long()]
        anyone = (pick * len(self._flat)).long()
        return torch.where(observed.any(-1, keepdim=True), member, anyone)


class NeighborImputer(DonorImputer):
    """Donors are the `k` rows nearest to the explicand on the present features.

    Distances are Euclidean in standardised units. Rows at equal distance come in a fixed random
    order, so that nothing present means random rows rather than the first `k`.

    Args:
        rows: Donors `(N, *features)`, finite.
        n_neighbors: Neighbours `k`, at most `N`.
        n_draws: Imputations `r`.

    Raises:
        ValueError: If there are fewer rows than neighbours.

    Example:
        >>> import torch
        >>> from baselines import NeighborImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> NeighborImputer.fit(rows)(x, present).shape
        torch.Size([1, 1, 16, 2])
    """

    description = "nearest neighbour imputer"

    def __init__(self, rows: Tensor, n_neighbors: int = 16, n_draws: int = 16) -> None:
        super().__init__(rows, n_draws)
        if not 1 <= n_neighbors <= len(self.rows):
            raise ValueError(
                f"n_neighbors={n_neighbors} is not between 1 and the {len(self.rows)} rows."
            )
        self.n_neighbors = n_neighbors
        shuffled = torch.randperm(len(self.rows), generator=own_generator(None))
        self.register_buffer("_order", shuffled.to(self._flat.device), persistent=False)
        self._order: Tensor

    @classmethod
    def fit(  # pyright: ignore[reportIncompatibleMethodOverride] - more to choose than the parent
        cls,
        X: Any,  # noqa: ANN401
        n_neighbors: int = 16,
        *,
        n_draws: int = 16,
    ) -> Self:
        """Store rows as donors.

        Args:
            X: Rows `(N, *features)`: array, tensor or numeric data frame.
            n_neighbors: Neighbours `k`.
            n_draws: Imputations `r`.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X is empty or not finite, or has fewer rows than neighbours.
        """
        return cls(_stored(X), n_neighbors, n_draws)

    def _choose(self, points: Tensor, observed: Tensor, pick: Tensor) -> Tensor:
        # a billionth of the shuffled place decides between rows at equal distance
        tie = torch.arange(len(self._flat), device=points.device) * (1e-9 / len(self._flat))
        distances = _distances(points, observed, self._flat[self._order], tie)
        ranked = distances.topk(self.n_neighbors, largest=False).indices
        place = (pick * self.n_neighbors).long()
        return self._order[ranked.gather(-1, place)]


class EmpiricalImputer(DonorImputer):
    """Donors are drawn by a Gaussian kernel of their distance on the present features.

    Row `i` has weight `exp(-d_i / (2 sigma^2))`, with `d_i` the mean squared standardised
    difference over the present features: the empirical conditional distribution, which becomes
    conditioning on equality as sigma goes to 0 and the marginal one as it grows.

    Args:
        rows: Donors `(N, *features)`, finite.
        bandwidth: sigma, positive, in standard deviations.
        n_draws: Imputations `r`.

    Raises:
        ValueError: If the bandwidth is not positive.

    Source: Aas, Jullum and Løland (2021), sec. 3.3.3, with a diagonal scale.

    Example:
        >>> import torch
        >>> from baselines import EmpiricalImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> EmpiricalImputer.fit(rows)(x, present).shape
        torch.Size([1, 1, 16, 2])
    """

    description = "empirical conditional imputer"

    def __init__(self, rows: Tensor, bandwidth: float = 0.1, n_draws: int = 16) -> None:
        super().__init__(rows, n_draws)
        if not bandwidth > 0:
            raise ValueError(f"bandwidth={bandwidth}; it must be positive.")
        self.bandwidth = float(bandwidth)

    @classmethod
    def fit(  # pyright: ignore[reportIncompatibleMethodOverride] - more to choose than the parent
        cls,
        X: Any,  # noqa: ANN401
        bandwidth: float = 0.1,
        *,
        n_draws: int = 16,
    ) -> Self:
        """Store rows as donors.

        Args:
            X: Rows `(N, *features)`: array, tensor or numeric data frame.
            bandwidth: sigma, positive, in standard deviations.
            n_draws: Imputations `r`.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X is empty or not finite, or the bandwidth is not positive.
        """
        return cls(_stored(X), bandwidth, n_draws)

    def _choose(self, points: Tensor, observed: Tensor, pick: Tensor) -> Tensor:
        distances = _distances(points, observed, self._flat)
        present = observed.sum(-1, keepdim=True).clamp(min=1)
        nearest = distances.amin(-1, keepdim=True)
        weights = distances.sub_(nearest).mul_(-0.5 / (present * self.bandwidth**2)).exp_()
        return _by_weight(weights, pick)


class MixtureDonorImputer(DonorImputer):
    """Donors fit a component of a Gaussian mixture that fits the present features.

    A component is drawn by its posterior probability given the present block, then a donor by its
    own responsibility for that component.

    Args:
        rows: Donors `(N, *features)`, finite.
        proportions: `(c,)` of the mixture, positive.
        means: `(c, n)` over the flattened features.
        covariances: `(c, n, n)`, or `(c, n)` for diagonal ones.
        n_draws: Imputations `r`.

    Raises:
        TypeError: If it is given rows alone; `fit` takes those.
        ValueError: If the mixture is none, or does not fit the rows.

    Example:
        >>> import torch
        >>> from baselines import MixtureDonorImputer
        >>> rows = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> x, present = torch.tensor([[1.0, 2.0]]), torch.tensor([[[True, False]]])
        >>> MixtureDonorImputer.fit(rows, n_components=2)(x, present).shape
        torch.Size([1, 1, 16, 2])
    """

    description = "mixture donor imputer"

    def __init__(
        self,
        rows: Tensor,
        proportions: Tensor | None = None,
        means: Tensor | None = None,
        covariances: Tensor | None = None,
        n_draws: int = 16,
    ) -> None:
        refuse_rows(type(self), proportions=proportions, means=means, covariances=covariances)
        super().__init__(rows, n_draws)
        self.mixture = GaussianMixtureImputer(proportions, means, covariances)
        everything = torch.ones(1, 1, self._flat.shape[1], dtype=torch.bool, device=rows.device)
        flat = self._flat * self._scale + self._center
        fit = [self.mixture.posterior(part, everything)[:, 0] for part in torch.split(flat, 1024)]
        responsibility = rearrange(torch.cat(fit), "rows c -> c rows")
        # a component that owns no row lends its draws to the rows nearest to owning it
        share = responsibility.clamp(min=1e-300)
        ladder = (share / share.sum(-1, keepdim=True)).cumsum(-1)
        self.register_buffer("_ladder", ladder, persistent=False)
        self._ladder: Tensor

    @property
    def proportions(self) -> Tensor:
        """Mixture proportions `(c,)`."""
        return self.mixture.proportions

    @property
    def means(self) -> Tensor:
        """Component means `(c, n)`."""
        return self.mixture.means

    @property
    def covariances(self) -> Tensor:
        """Component covariances `(c, n, n)` or `(c, n)`."""
        return self.mixture.covariances

    @classmethod
    def fit(  # pyright: ignore[reportIncompatibleMethodOverride] - more to choose than the parent
        cls,
        X: Any,  # noqa: ANN401
        n_components: int = 10,
        *,
        diagonal: bool = True,
        n_draws: int = 16,
        generator: torch.Generator | None = None,
    ) -> Self:
        """Fit a mixture to rows and keep them as donors.

        Args:
            X: Rows `(N, *features)`: array, tensor or numeric data frame.
            n_components: Components `c`.
            diagonal: Whether features are independent within a component.
            n_draws: Imputations `r`.
            generator: Source of the start; None always starts the same.

        Returns:
            A fitted imputer.

        Raises:
            TypeError: If X is not numeric.
            ValueError: If X is empty or not finite, or has fewer rows than components.
        """
        rows = _stored(X)
        mixture = GaussianMixtureImputer.fit(
            rows, n_components, diagonal=diagonal, generator=generator
        )
        return cls(rows, mixture.proportions, mixture.means, mixture.covariances, n_draws)

    def _choose(self, points: Tensor, observed: Tensor, pick: Tensor) -> Tensor:
        raw = points * self._scale + self._center
        ladder = self.mixture.posterior(raw, observed).cumsum(-1)
        low = torch.nn.functional.pad(ladder, (1, -1))
        component = torch.searchsorted(ladder, pick.contiguous(), right=True)
        component = component.clamp(max=ladder.shape[-1] - 1)
        # what is left of the uniform number inside the component's step chooses its donor
        step = (ladder - low).gather(-1, component).clamp(min=1e-300)
        rest = ((pick - low.gather(-1, component)) / step).clamp(0, 1 - 1e-12)
        donor = torch.zeros_like(component)
        for c in as_list(distinct(component)):
            chosen = component == c
            donor[chosen] = torch.searchsorted(self._ladder[c], rest[chosen], right=True)
        return donor.clamp(max=len(self._flat) - 1)


def _by_weight(weights: Tensor, pick: Tensor) -> Tensor:
    """Positions `(b, m, r)` in proportion to weights `(b, m, N)`, which are overwritten."""
    ladder = weights.cumsum_(-1)
    place = torch.searchsorted(ladder, (pick * ladder[..., -1:]).contiguous(), right=True)
    return place.clamp(max=weights.shape[-1] - 1)


def _distances(
    points: Tensor, observed: Tensor, rows: Tensor, extra: Tensor | float = 0.0
) -> Tensor:
    """Squared distances of points to rows on the observed features, up to a constant.

    Args:
        points: `(b, n)`.
        observed: Bool `(b, m, n)`, or `(1, m, n)` when shared.
        rows: `(N, n)`.
        extra: `(N,)`, added to the distance from each row.

    Returns:
        Float64 `(b, m, N)`, each `(b, m)` less the squared norm of its own observed features.
    """
    mask = observed.double()
    level = mask @ (rows * rows).T + extra  # once for all explicands where masks are shared
    known = mask * points[:, None]
    level = level.expand(len(known), -1, -1)
    return torch.baddbmm(level, known, rows.T.expand(len(known), -1, -1), alpha=-2)


def _stored(X: Any) -> Tensor:  # noqa: ANN401
    """Rows as a tensor in their own floating-point dtype, once they are sure to be finite."""
    flat = as_rows(X, "X")
    if isinstance(X, Tensor):
        return X.detach().clone()
    return flat
