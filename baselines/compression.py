"""Compress-then-explain: a few weighted rows that stand for a whole background.

An explainer that averages over a background pays a model row for each of its rows. If
`f(x_S, .)` lies near the RKHS of a kernel, the error of the average is at most its norm times the
maximum mean discrepancy (MMD) between the rows kept and all rows, so the rows are chosen to make
the MMD small rather than drawn at random.
"""

from typing import Any, Literal, overload

import torch
from torch import Tensor

from baselines.torch_calls import as_list, cholesky, from_array

Method = Literal["herding", "kmeans", "iid", "compresspp"]

_REACH = 3.0
"""Standardised features end here: beyond it a heavy tail would be far from everything, and herding
would spend rows on outliers that hardly move an average."""

_DIRECT = 16_384
"""Rows up to which herding looks at every row; more are thinned block by block first."""
_BLOCK, _KEPT = 2048, 128
"""Thinning keeps the best 128 of every 2048 rows."""
_MAX_PAIRS = 2**28
"""Kernel evaluations that the mean embedding may spend, a few seconds on one core."""
_TILE = 2**21
"""Kernel entries held at once; larger tiles spend their time in page faults."""


@overload
def compress(
    X: Any,  # noqa: ANN401
    size: int,
    *,
    method: Method = ...,
    return_weights: Literal[False] = ...,
    strata: Any = ...,  # noqa: ANN401
    generator: torch.Generator | None = ...,
) -> Tensor: ...
@overload
def compress(
    X: Any,  # noqa: ANN401
    size: int,
    *,
    method: Method = ...,
    return_weights: Literal[True],
    strata: Any = ...,  # noqa: ANN401
    generator: torch.Generator | None = ...,
) -> tuple[Tensor, Tensor]: ...
def compress(
    X: Any,
    size: int,
    *,
    method: Method = "herding",
    return_weights: bool = False,
    strata: Any = None,
    generator: torch.Generator | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Rows that stand for all rows of a background.

    Columns are standardised and cut off at 3 deviations; the kernel is `exp(-|x - y|^2 / h)` with `h` the median squared
    distance. "herding" picks rows greedily for the least MMD, then swaps each once; beyond 16,384
    rows it herds the survivors of blocks. "kmeans" takes the row nearest to each centre,
    "compresspp" is Compress++ with oversampling 4, "iid" draws without replacement.

    Args:
        X: Background `(rows, *features)`: array, tensor or numeric data frame.
        size: Rows to keep, 1 to `rows`; for "compresspp" a power of two.
        method: One of the four above.
        return_weights: Also return the weights that go with the rows: for "herding" and
            "compresspp" those of least MMD among non-negative ones that sum to 1, for "kmeans" the
            share of each cluster, for "iid" equal ones.
        strata: Labels `(rows,)`, such as classes or bins of a prediction. Each stratum is
            compressed by itself, to a share of the rows in proportion to its own, and keeps its
            weight exactly; None compresses all rows together.
        generator: Source of the draws and of the block order; None always draws the same.

    Returns:
        Int64 `(size,)`, distinct positions in X on its device, in order of choice; with
        `return_weights` also float64 `(size,)` weights that sum to 1.

    Raises:
        ImportError: If "compresspp" is asked for without goodpoints (extra `compress`).
        TypeError: If X is not numeric, or `size` no whole number.
        ValueError: If X is empty or not finite, or `size` or `method` does not fit.

    Source: Baniecki et al. (2025), Compress Then Explain; herding, Chen et al. (2010); Compress++,
        Shetty et al. (2022).

    Example:
        >>> import torch
        >>> from baselines import compress
        >>> X = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> background = X[compress(X, 16)]
        >>> background.shape
        torch.Size([16, 3])
    """
    points = standardised(X).clamp(-_REACH, _REACH)
    if isinstance(size, bool) or not hasattr(size, "__index__"):
        raise TypeError(f"size={size!r}; pass a whole number of rows to keep.")
    if not 1 <= size <= len(points):
        raise ValueError(f"size={size} is not between 1 and the {len(points)} rows of X.")
    draw = own_generator(generator)
    if strata is None:
        chosen, weights = _compressed(points, size, method, return_weights, draw)
        return (chosen, weights) if return_weights else chosen
    parts: list[Tensor] = []
    masses: list[Tensor] = []
    for members, share in _shares(strata, size, points):
        chosen, weights = _compressed(points[members], share, method, return_weights, draw)
        parts.append(members[chosen])
        masses.append(weights * (len(members) / len(points)))
    chosen = torch.cat(parts)
    return (chosen, torch.cat(masses)) if return_weights else chosen


def _compressed(
    points: Tensor, size: int, method: str, weigh: bool, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Rows and weights of standardised points; the weights are equal ones unless asked for."""
    equal = torch.full((size,), 1 / size, dtype=torch.float64, device=points.device)
    if method == "iid":
        return torch.randperm(len(points), generator=draw)[:size].to(points.device), equal
    if method == "kmeans":
        return _kmeans_rows(points, size, draw)
    if method not in ("herding", "compresspp"):
        raise ValueError(
            f"method={method!r} is unknown; use 'herding', 'kmeans', 'iid' or 'compresspp'."
        )
    bandwidth = median_bandwidth(points, draw)
    if method == "herding":
        chosen, embedding = _herded_rows(points, size, bandwidth, draw)
    else:
        chosen = _compresspp_rows(points, size, bandwidth, draw)
        embedding = _embedding(points[chosen], _reference(points, size, draw), bandwidth)
    if not weigh:
        return chosen, equal
    kernel = gaussian_kernel(points[chosen], points[chosen], bandwidth)
    return chosen, simplex_weights(kernel, embedding)


def _shares(strata: Any, size: int, points: Tensor) -> list[tuple[Tensor, int]]:  # noqa: ANN401
    """Members of each stratum, and how many of them to keep: at least one, by largest remainder."""
    import numpy as np

    labels = strata.cpu().numpy() if isinstance(strata, Tensor) else np.asarray(strata)
    if labels.shape != (len(points),):
        raise ValueError(f"strata have shape {labels.shape}; one label per row of X is needed.")
    code = np.unique(labels, return_inverse=True)[1].reshape(-1)
    counts = np.bincount(code)
    if size < len(counts):
        raise ValueError(f"size={size} leaves none for some of the {len(counts)} strata.")
    exact = counts * (size / len(points))
    keep = np.maximum(np.floor(exact).astype(int), 1)
    while keep.sum() != size:
        if keep.sum() < size:  # the stratum that is shortest of its share, and has rows left
            lack = np.where(keep < counts, exact - keep, -np.inf)
            keep[lack.argmax()] += 1
        else:  # strata rounded up to one row are paid for by the one that is over its share most
            over = np.where(keep > 1, keep - exact, -np.inf)
            keep[over.argmax()] -= 1
    members = [from_array(np.flatnonzero(code == c)) for c in range(len(counts))]
    return [(m.to(points.device), int(k)) for m, k in zip(members, keep, strict=True)]


def mmd(
    X: Any,  # noqa: ANN401
    Y: Any,  # noqa: ANN401
    *,
    weights: Tensor | None = None,
    bandwidth: float | None = None,
) -> float:
    """Maximum mean discrepancy between a background and weighted rows that stand for it.

    Args:
        X: Background `(rows, *features)`; its means and deviations standardise both.
        Y: Rows `(size, *features)` in the same units.
        weights: `(size,)` weights of Y that sum to 1; equal ones when None.
        bandwidth: `h` of `exp(-|x - y|^2 / h)` in standardised units; the median squared distance
            of X when None.

    Returns:
        The distance of the two mean embeddings, 0 when they agree.

    Raises:
        TypeError: If X or Y is not numeric.
        ValueError: If X or Y is empty or not finite, or their features differ.

    Source: Gretton et al. (2012), eq. 2.

    Example:
        >>> import torch
        >>> from baselines import compress, mmd
        >>> X = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
        >>> mmd(X, X[compress(X, 16)]) < mmd(X, X[:16])
        True
    """
    background = as_rows(X, "X")
    rows = as_rows(Y, "Y").to(background.device)
    if background.shape[1] != rows.shape[1]:
        raise ValueError(f"Y has {rows.shape[1]} features, X has {background.shape[1]}.")
    mean, scale = _moments(background)
    background = ((background - mean) / scale).clamp(-_REACH, _REACH)
    rows = ((rows - mean) / scale).clamp(-_REACH, _REACH)
    h = median_bandwidth(background, own_generator(None)) if bandwidth is None else bandwidth
    if weights is None:
        weights = torch.full((len(rows),), 1 / len(rows), dtype=torch.float64)
    w = torch.as_tensor(weights, dtype=torch.float64).to(rows.device)
    own = w @ gaussian_kernel(rows, rows, h) @ w
    cross = w @ _embedding(rows, background, h)
    whole = _embedding(background, background, h).mean()
    return float((own - 2 * cross + whole).clamp(min=0).sqrt())


def standardised(X: Any) -> Tensor:  # noqa: ANN401
    """Rows as float64 `(rows, d)` with mean 0 and deviation 1; constant columns become 0.

    Args:
        X: `(rows, *features)`: array, tensor or numeric data frame.

    Returns:
        Float64 `(rows, d)` on the device of X.

    Raises:
        TypeError: If X is not numeric.
        ValueError: If X is empty or not finite.
    """
    points = as_rows(X, "X")
    mean, scale = _moments(points)
    return (points - mean) / scale


def median_bandwidth(points: Tensor, draw: torch.Generator) -> float:
    """Median squared distance between distinct rows, over at most 1,000 of them.

    Args:
        points: `(rows, d)`, standardised.
        draw: CPU generator of the sample.

    Returns:
        A positive number; 1 when more than half of all pairs of rows coincide and none differ.
    """
    some = points[torch.randperm(len(points), generator=draw)[:1000].to(points.device)]
    distances = torch.nn.functional.pdist(some) ** 2
    distances = distances[distances > 0]
    return float(distances.median()) if len(distances) else 1.0


def gaussian_kernel(left: Tensor, right: Tensor, bandwidth: float) -> Tensor:
    """`exp(-|x - y|^2 / bandwidth)` of all pairs of rows.

    Args:
        left: `(p, d)`.
        right: `(q, d)`.
        bandwidth: Positive number.

    Returns:
        `(p, q)` in the dtype of the rows.
    """
    squares = (left * left).sum(-1)[:, None] + (right * right).sum(-1)
    squares = torch.addmm(squares, left, right.T, alpha=-2).clamp_(min=0)
    return squares.mul_(-1 / bandwidth).exp_()


def simplex_weights(kernel: Tensor, embedding: Tensor) -> Tensor:
    """Weights of least MMD among the non-negative ones that sum to 1.

    Args:
        kernel: `(m, m)`, `K` of the rows kept.
        embedding: `(m,)`, `mu`: their mean kernel to the background.

    Returns:
        `(m,)` minimiser of `w'Kw - 2 w'mu`, by active sets.
    """
    size = len(kernel)
    kernel = kernel + 1e-9 * torch.eye(size, dtype=kernel.dtype, device=kernel.device)
    weights = torch.full_like(embedding, 1 / size)
    active = torch.ones(size, dtype=torch.bool, device=kernel.device)
    for _ in range(20 * size):
        target = _sum_to_one_minimiser(kernel, embedding, active)
        if (target >= 0).all():
            weights = target
            gradient = kernel @ weights - embedding
            # an inactive row may enter if its gradient lies below that of the active ones
            gain = torch.where(active, torch.inf, gradient - gradient[active].mean())
            if gain.min() >= -1e-10:
                break
            active[gain.argmin()] = True
        else:
            falling = (target < 0) & active
            step = torch.where(falling, weights / (weights - target).clamp(min=1e-300), torch.inf)
            length = step.min().clamp(max=1)
            weights = (weights + length * (target - weights)).clamp(min=0)
            active &= ~(falling & (step <= length))
    return weights / weights.sum()


def _sum_to_one_minimiser(kernel: Tensor, embedding: Tensor, active: Tensor) -> Tensor:
    """Minimiser of `w'Kw - 2 w'mu` over active rows with sum 1, zero elsewhere."""
    index = active.nonzero().flatten()
    factor = cholesky(kernel[index][:, index])
    sides = torch.stack([embedding[index], torch.ones_like(embedding[index])], dim=-1)
    free, ones = torch.cholesky_solve(sides, factor).unbind(-1)
    weights = torch.zeros_like(embedding)
    weights[index] = free + (1 - free.sum()) / ones.sum() * ones
    return weights


def _herded_rows(
    points: Tensor, size: int, bandwidth: float, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Herding with one sweep of swaps: positions, and their mean kernel to the background."""
    candidates = torch.arange(len(points), device=points.device)
    reference = points
    while len(candidates) > max(_DIRECT, 16 * size):
        if len(candidates) * _KEPT // _BLOCK < size:
            break
        candidates = _thinned(points, candidates, bandwidth, draw)
        if len(candidates) * len(reference) > _MAX_PAIRS:
            reference = points[candidates]
    if len(candidates) * len(reference) > _MAX_PAIRS:
        reference = _reference(points, len(candidates), draw)
    pool = points[candidates].float()
    embedding = _embedding(points[candidates], reference, bandwidth)
    places = _herd(pool, embedding.float(), size, bandwidth)
    return candidates[places], embedding[places]


def _herd(pool: Tensor, embedding: Tensor, size: int, bandwidth: float) -> Tensor:
    """Positions of greedy least MMD, then one re-pick of every position."""
    squares = (pool * pool).sum(-1)

    def column(place: Tensor) -> Tensor:
        distances = squares + squares[place] - 2 * (pool @ pool[place])
        return distances.clamp_(min=0).mul_(-1 / bandwidth).exp_()

    total = torch.zeros_like(embedding)
    taken = torch.zeros_like(embedding)
    chosen: list[Tensor] = []
    for step in range(size):
        place = (total / (step + 1) - embedding + taken).argmin()
        taken[place] = torch.inf
        total += column(place)
        chosen.append(place)
    for position, old in enumerate(chosen):
        taken[old] = 0
        total -= column(old)
        place = (total / size - embedding + taken).argmin()
        taken[place] = torch.inf
        total += column(place)
        chosen[position] = place
    return torch.stack(chosen)


def _thinned(
    points: Tensor, candidates: Tensor, bandwidth: float, draw: torch.Generator
) -> Tensor:
    """The herded 128 of every block of 2048 shuffled candidates."""
    order = torch.randperm(len(candidates), generator=draw).to(points.device)
    kept: list[Tensor] = []
    for block in torch.split(candidates[order], _BLOCK):
        rows = points[block].float()
        kernel = gaussian_kernel(rows, rows, bandwidth)
        embedding = kernel.mean(0)
        total = torch.zeros_like(embedding)
        taken = torch.zeros_like(embedding)
        places: list[Tensor] = []
        for step in range(min(len(block), max(1, len(block) * _KEPT // _BLOCK))):
            place = (total / (step + 1) - embedding + taken).argmin()
            taken[place] = torch.inf
            total += kernel[place]
            places.append(place)
        kept.append(block[torch.stack(places)])
    return torch.cat(kept)


def _compresspp_rows(points: Tensor, size: int, bandwidth: float, draw: torch.Generator) -> Tensor:
    """Compress++ of shuffled rows; its kernel-thinning stage stops at `size`."""
    try:
        from goodpoints import compress as goodpoints_compress
        from goodpoints import kt
    except ImportError as error:
        raise ImportError(
            "method='compresspp' needs goodpoints; install it with pip install "
            "'harsanyi[compress]', or use method='herding'."
        ) from error
    import numpy as np

    order = torch.randperm(len(points), generator=draw)
    seed = int(torch.randint(2**31, (), generator=draw))
    rows = np.ascontiguousarray(points.cpu().numpy()[order.numpy()])
    params = np.array([bandwidth])
    root = 2 ** int(np.log2(len(rows)) // 2)
    if size & (size - 1) or size > root:
        raise ValueError(
            f"size={size} does not fit method='compresspp', which gives a power of two up to "
            f"{root} for {len(rows)} rows; use method='herding' for other sizes."
        )
    places = np.linspace(len(rows) - 1, 0, root * root, dtype=int)[::-1]
    if root > 2**5:
        places = places[
            goodpoints_compress.compress_kt(
                rows[places], b"gaussian", k_params=params, g=4, num_bins=4, seed=seed
            )
        ]
    kept = from_array(rows[places])
    kernel = gaussian_kernel(kept, kept, bandwidth).numpy()
    rounds = int(np.log2(len(places) // size))
    places = places[kt.thin_K(kernel, kernel, rounds, seed=seed, unique=True)]
    return order[from_array(np.asarray(places, dtype=np.int64).copy())].to(points.device)


def _kmeans_rows(points: Tensor, size: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """The row nearest to each centre, each row once, and the share of its cluster."""
    from sklearn.cluster import KMeans

    seed = int(torch.randint(2**31, (), generator=draw))
    rows = points.cpu().numpy()
    model = KMeans(size, random_state=seed).fit(rows)
    centres = from_array(model.cluster_centers_).to(points)
    labels = from_array(model.labels_).long()
    share = torch.bincount(labels, minlength=size).double() / len(points)
    distances = torch.cdist(centres, points)
    chosen = torch.empty(size, dtype=torch.int64)
    # equal rows give empty clusters whose centres coincide: no row is taken twice
    for centre in range(size):
        chosen[centre] = place = int(distances[centre].argmin())
        distances[:, place] = torch.inf
    return chosen.to(points.device), share.to(points.device)


def _reference(points: Tensor, candidates: int, draw: torch.Generator) -> Tensor:
    """Rows to measure mean kernels against: all of them where that is affordable."""
    affordable = max(1, _MAX_PAIRS // candidates)
    if len(points) <= affordable:
        return points
    return points[torch.randperm(len(points), generator=draw)[:affordable].to(points.device)]


def _embedding(rows: Tensor, reference: Tensor, bandwidth: float) -> Tensor:
    """Mean kernel of each row to the reference, float64 `(rows,)`, in tiles."""
    left, right = rows.float(), reference.float()
    tile = max(1, _TILE // len(right))
    means = [
        gaussian_kernel(part, right, bandwidth).mean(-1, dtype=torch.float64)
        for part in torch.split(left, tile)
    ]
    return torch.cat(means)


def _moments(points: Tensor) -> tuple[Tensor, Tensor]:
    mean = points.mean(0)
    deviation = points.std(0, correction=0)
    # a column that varies by rounding alone counts as constant
    flat = deviation <= 1e-12 * (1 + mean.abs())
    return mean, torch.where(flat, torch.ones_like(deviation), deviation)


def as_rows(X: Any, name: str) -> Tensor:  # noqa: ANN401
    """Float64 `(rows, d)` of finite numbers."""
    import numpy as np

    try:
        tensor = X.detach() if isinstance(X, Tensor) else from_array(np.array(X, dtype=float))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"{name} holds values that are not numbers ({error}); encode categories first."
        ) from error
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}; it needs (rows, *features) with entries."
        )
    tensor = tensor.double().flatten(1)
    bad = as_list((~torch.isfinite(tensor)).any(1).nonzero().flatten())
    if bad:
        raise ValueError(
            f"{name} has missing or infinite entries in {len(bad)} rows, first {bad[:5]}; impute "
            "or drop them first."
        )
    return tensor


def own_generator(generator: torch.Generator | None) -> torch.Generator:
    """A CPU generator: keyed by one draw of the caller's, or by 0."""
    from baselines.coalitions import key_from

    return torch.Generator().manual_seed(key_from(generator))
