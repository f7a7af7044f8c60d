"""What a background is for beyond one row: global importance (SAGE) and feature effects (PDP, ALE).

All of them average over rows, so all of them gain from a compressed background:
`rows, weights = compress(X, 64, return_weights=True)`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor

from baselines.arguments import is_a
from baselines.coalitions import check_coalitions
from baselines.explanation import Explanation
from baselines.game import ROW_BUDGET, MaskedGame, Model
from baselines.groups import Groups
from baselines.imputers import Imputer, scaled
from baselines.torch_calls import distinct

Loss = Callable[[Tensor, Tensor], Tensor]


class SageGame:
    """One game for a whole data set: how well the model does with only some players present.

    v(S) is minus the mean loss of the model's output averaged over imputations of the players
    outside S, so that Shapley values are shares of the loss that knowing the players saves.

    Args:
        model: Maps a tensor `(rows, *features)` to `(rows,)` or `(rows, k)`.
        X: Rows `(rows, *features)` to judge on.
        y: Their targets `(rows,)`.
        imputer: Fills in absent features, such as a `MarginalImputer` of compressed rows.
        loss: "log", minus the log probability of the class `y` (the model gives probabilities,
            one column per class, or one of class 1); "squared"; or a function of outputs `(rows,
            k)` and targets that gives `(rows,)`.
        weights: `(rows,)` of X, scaled here to sum to 1; None weighs rows alike.
        groups: Features that form one player, as in `MaskedGame`.
        players: Names of the players.
        max_rows: Most model rows held at once.

    Raises:
        ValueError: If targets or weights do not fit X, or the loss is unknown.

    Source: Covert, Lundberg and Lee (2020), eq. 3.

    Example:
        >>> import torch
        >>> from baselines import MarginalImputer, SageGame, exact_shapley
        >>> X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> def model(rows):
        ...     return (2 * rows[:, :1] + rows[:, 1:2]).sigmoid()
        >>> game = SageGame(model, X, (X[:, 0] > 0).long(), MarginalImputer(X[:16]))
        >>> int(exact_shapley(game).values[0, :, 0].argmax())
        0
    """

    def __init__(
        self,
        model: Model,
        X: Tensor,
        y: Any,  # noqa: ANN401 - an array or a tensor
        imputer: Imputer,
        *,
        loss: str | Loss = "log",
        weights: Tensor | None = None,
        groups: Groups | None = None,
        players: Sequence[str] | None = None,
        max_rows: int | None = None,
    ) -> None:
        self._rows = MaskedGame(
            model, X, imputer, groups=groups, players=players, max_rows=max_rows
        )
        self.y = torch.as_tensor(y, device=X.device)
        if self.y.shape != (len(X),):
            raise ValueError(
                f"y has shape {tuple(self.y.shape)}; one target per row of X is needed: "
                f"({len(X)},)."
            )
        if isinstance(loss, str) and loss not in LOSSES:
            raise ValueError(
                f"loss={loss!r} is unknown; use one of {sorted(LOSSES)} or a function."
            )
        self.loss = LOSSES[loss] if isinstance(loss, str) else loss
        self.weights = scaled(torch.ones(len(X)) if weights is None else weights, len(X))
        self.players = self._rows.players
        name = loss if isinstance(loss, str) else getattr(loss, "__name__", "own")
        self.description = f"minus {name} loss over {len(X)} rows, {self._rows.description}"

    @property
    def n_explicands(self) -> int:
        """One game for the whole data set."""
        return 1

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self._rows.n_players

    @property
    def n_outputs(self) -> int:
        """One output: minus the mean loss."""
        return 1

    @property
    def n_evals(self) -> int:
        """Model rows used so far: coalitions x imputations x rows of X."""
        return self._rows.n_evals

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(1, m, 1)` of bool coalitions `(1, m, n)`."""
        check_coalitions(coalitions, 1, self.n_players)
        b = self._rows.n_explicands
        # the outputs of a few coalitions at a time: X times all of them may not fit
        width = max(1, ROW_BUDGET // (b * max(1, self._rows.n_outputs)))
        parts = [self._score(part) for part in torch.split(coalitions, width, 1)]
        return torch.cat(parts, 1) if parts else torch.zeros(1, 0, 1, dtype=torch.float64)

    def _score(self, coalitions: Tensor) -> Tensor:
        values = self._rows(coalitions)  # (b, m, k)
        b, m = values.shape[:2]
        outputs = rearrange(values, "b m k -> (b m) k")
        losses = self.loss(outputs, repeat(self.y, "b -> (b m)", m=m))
        if losses.shape != (b * m,):
            raise ValueError(
                f"the loss returned shape {tuple(losses.shape)} for {b * m} rows; ({b * m},) is "
                "needed."
            )
        losses = rearrange(losses, "(b m) -> b m", b=b)
        return -(self.weights.to(losses) @ losses)[None, :, None]


def sage(
    model: Model,
    X: Tensor,
    y: Any,  # noqa: ANN401 - an array or a tensor
    imputer: Imputer,
    budget: int = 1000,
    *,
    estimator: Callable[..., Explanation] | None = None,
    generator: torch.Generator | None = None,
    **options: Any,  # noqa: ANN401 - SageGame's own
) -> Explanation:
    """Global importance of every player: its share of the loss that the model saves.

    Args:
        model: Maps a tensor `(rows, *features)` to `(rows,)` or `(rows, k)`.
        X: Rows `(rows, *features)` to judge on.
        y: Their targets `(rows,)`.
        imputer: Fills in absent features.
        budget: Coalitions; each is asked of every row of X.
        estimator: Game to explanation; `shapley` when None.
        generator: Source of the coalitions.
        options: Keyword arguments of `SageGame`: loss, weights, groups, players, max_rows.

    Returns:
        Values `(1, n, 1)` in units of the loss, which add up to the loss with nobody present
        minus the model's own loss; `base_values` is minus the former. Standard errors are those
        of the estimator, for these rows of X.

    Raises:
        ValueError: If targets or weights do not fit X, or the loss is unknown.

    Source: Covert, Lundberg and Lee (2020).

    Example:
        >>> import torch
        >>> from baselines import MarginalImputer, sage
        >>> X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> def model(rows):
        ...     return (2 * rows[:, :1] + rows[:, 1:2]).sigmoid()
        >>> y = (X[:, 0] > 0).long()
        >>> importance = sage(model, X, y, MarginalImputer(X[:16]), budget=8).values[0, :, 0]
        >>> int(importance.argmax())
        0
    """
    if estimator is None:
        from baselines.choose import shapley as estimator
    game = SageGame(model, X, y, imputer, **options)
    answer = estimator(game, budget=budget, generator=generator)
    return dataclasses.replace(answer, method=f"SAGE by {answer.method}")


def _log_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape[1] == 1:
        outputs = torch.cat([1 - outputs, outputs], 1)
    targets = targets.long()
    if int(targets.min()) < 0 or int(targets.max()) >= outputs.shape[1]:
        raise ValueError(
            f"y holds classes {int(targets.min())} to {int(targets.max())}; the model has "
            f"{outputs.shape[1]} outputs."
        )
    if bool((outputs < -1e-6).any()) or bool((outputs > 1 + 1e-6).any()):
        raise ValueError(
            "loss='log' needs a model that gives probabilities; wrap it in a softmax, or pass a "
            "loss of your own."
        )
    return -outputs.gather(1, targets[:, None])[:, 0].clamp(min=1e-12).log()


def _squared_loss(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape[1] != 1:
        raise ValueError(f"loss='squared' needs one output; the model has {outputs.shape[1]}.")
    return (outputs[:, 0] - targets.to(outputs)) ** 2


LOSSES: dict[str, Loss] = {"log": _log_loss, "squared": _squared_loss}


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureEffect:
    """How a model's output moves with one or two features.

    Args:
        kind: "partial dependence" or "accumulated local effects".
        features: Positions of the features, one or two.
        grid: One tensor `(g,)` of places for each feature.
        values: `(g, k)` for one feature, `(g, h, k)` for two, in units of the output.
        mass: Share of the rows' weight nearest to each place of the grid, shaped as `values`
            without `k`.
        n_evals: Model rows used.

    Example:
        >>> import torch
        >>> from baselines import partial_dependence
        >>> X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> def model(rows):
        ...     return (2 * rows[:, :1] + rows[:, 1:2]).sigmoid()
        >>> effect = partial_dependence(model, X, 0, grid=5)
        >>> effect.kind, effect.features
        ('partial dependence', (0,))
    """

    kind: str
    features: tuple[int, ...]
    grid: tuple[Tensor, ...]
    values: Tensor
    mass: Tensor
    n_evals: int

    @property
    def strength(self) -> Tensor:
        """Standard deviation of the effect over the rows, `(k,)`: an importance.

        Source: Greenwell, Boehmke and McCarthy (2018).
        """
        mass = self.mass[..., None]
        dims = tuple(range(self.values.ndim - 1))
        mean = (mass * self.values).sum(dims)
        return (mass * (self.values - mean) ** 2).sum(dims).sqrt()


def partial_dependence(
    model: Model,
    X: Tensor,
    features: int | tuple[int, int],
    *,
    grid: int | Sequence[Tensor] | Tensor = 100,
    weights: Tensor | None = None,
    max_rows: int | None = None,
) -> FeatureEffect:
    """Mean output with one or two features held at each place of a grid.

    Args:
        model: Maps a tensor `(rows, n)` to `(rows,)` or `(rows, k)`.
        X: Rows `(rows, n)` to average over, such as compressed ones.
        features: Position of a feature, or of two.
        grid: Places: their number, spread evenly between the least and the greatest value in X,
            or the places themselves, one tensor per feature. Compressed rows span less than all:
            pass the grid of the whole background with them.
        weights: `(rows,)` of X, scaled here to sum to 1; None weighs rows alike.
        max_rows: Most model rows held at once; a memory budget of 2**22 cells by default.

    Returns:
        Values `(g, k)` or `(g, h, k)`.

    Raises:
        ValueError: If X is empty or not finite, a feature does not exist, or a grid is empty.

    Source: Friedman (2001), sec. 8.2.

    Example:
        >>> import torch
        >>> from baselines import partial_dependence
        >>> X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> def model(rows):
        ...     return (2 * rows[:, :1] + rows[:, 1:2]).sigmoid()
        >>> partial_dependence(model, X, 0, grid=5).values.shape
        torch.Size([5, 1])
    """
    listed = _checked_features(X, features, at_most=2)
    w = scaled(torch.ones(len(X)) if weights is None else weights, len(X)).to(X.device)
    places = _places(X, listed, grid)
    nodes = torch.cartesian_prod(*places).reshape(-1, len(listed))
    most = max_rows or max(1, min(65_536, ROW_BUDGET // X.shape[1]))
    means: list[Tensor] = []
    for tile in torch.split(nodes, max(1, most // len(X))):
        rows = repeat(X, "r n -> g r n", g=len(tile)).clone()
        for axis, feature in enumerate(listed):
            rows[..., feature] = tile[:, axis, None]
        values = torch.cat(
            [
                _outputs(model, part)
                for part in torch.split(rearrange(rows, "g r n -> (g r) n"), most)
            ]
        )
        values = rearrange(values, "(g r) k -> g r k", g=len(tile))
        means.append(torch.einsum("grk,r->gk", values, w.to(values)))
    values = torch.cat(means).reshape(*(len(p) for p in places), -1)
    nearest = [(X[:, f, None] - p).abs().argmin(-1) for f, p in zip(listed, places, strict=True)]
    index = nearest[0] if len(listed) == 1 else nearest[0] * len(places[1]) + nearest[1]
    mass = torch.zeros(len(nodes), dtype=w.dtype, device=X.device).index_add(0, index, w)
    return FeatureEffect(
        kind="partial dependence",
        features=listed,
        grid=tuple(places),
        values=values,
        mass=mass.reshape(values.shape[:-1]).to(values),
        n_evals=len(nodes) * len(X),
    )


def accumulated_local_effects(
    model: Model,
    X: Tensor,
    feature: int,
    *,
    n_bins: int = 20,
    weights: Tensor | None = None,
    max_rows: int | None = None,
) -> FeatureEffect:
    """Output changes across narrow bins of a feature, taken on the rows of each bin and summed up.

    Unlike partial dependence it never asks about rows that mix distant values of correlated
    features. Bins hold equal shares of the rows.

    Args:
        model: Maps a tensor `(rows, n)` to `(rows,)` or `(rows, k)`.
        X: Rows `(rows, n)`.
        feature: Position of the feature.
        n_bins: Most bins; ties in the feature may leave fewer.
        weights: `(rows,)` of X, scaled here to sum to 1; None weighs rows alike.
        max_rows: Most model rows held at once; a memory budget of 2**22 cells by default.

    Returns:
        Values `(g, k)` at the `g` edges of the bins, with weighted mean 0 over the rows.

    Raises:
        ValueError: If X is empty or not finite, the feature does not exist or is constant, or
            there is no bin.

    Source: Apley and Zhu (2020), eq. 15-16.

    Example:
        >>> import torch
        >>> from baselines import accumulated_local_effects
        >>> X = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> def model(rows):
        ...     return (2 * rows[:, :1] + rows[:, 1:2]).sigmoid()
        >>> effect = accumulated_local_effects(model, X, 0, n_bins=4)
        >>> bool((effect.values.diff(dim=0) > 0).all())  # rises with the first feature
        True
    """
    (place,) = _checked_features(X, feature, at_most=1)
    if n_bins < 1:
        raise ValueError(f"n_bins={n_bins}; at least one bin is needed.")
    w = scaled(torch.ones(len(X)) if weights is None else weights, len(X)).to(X.device)
    column = X[:, place].contiguous()
    edges = torch.quantile(
        column.double(), torch.linspace(0, 1, n_bins + 1, dtype=torch.float64, device=X.device)
    ).to(X.dtype)
    edges = distinct(edges)
    if len(edges) < 2:
        raise ValueError(f"feature {place} is constant over X; it has no effect to measure.")
    bins = (torch.searchsorted(edges, column) - 1).clamp(0, len(edges) - 2)
    most = max_rows or max(1, min(65_536, ROW_BUDGET // X.shape[1]))
    steps: list[Tensor] = []
    for rows, own in zip(torch.split(X, most), torch.split(bins, most), strict=True):
        low, high = rows.clone(), rows.clone()
        low[:, place], high[:, place] = edges[own], edges[own + 1]
        steps.append(_outputs(model, high) - _outputs(model, low))
    step = torch.cat(steps)  # (rows, k)
    share = torch.zeros(len(edges) - 1, dtype=w.dtype, device=X.device).index_add(0, bins, w)
    total = step.new_zeros(len(share), step.shape[1])
    total = total.index_add(0, bins, step * w.to(step)[:, None])
    # a bin that only weightless rows fall in has no slope of its own
    mean = total / share.to(step).clamp(min=1e-300)[:, None]
    values = torch.nn.functional.pad(mean.cumsum(0), (0, 0, 1, 0))
    middle = (values[1:] + values[:-1]) / 2
    center = reduce(middle * share.to(step)[:, None], "g k -> k", "sum")
    half = share.to(step) / 2
    mass = torch.nn.functional.pad(half, (0, 1)) + torch.nn.functional.pad(half, (1, 0))
    return FeatureEffect(
        kind="accumulated local effects",
        features=(place,),
        grid=(edges,),
        values=values - center,
        mass=mass,
        n_evals=2 * len(X),
    )


def _outputs(model: Model, rows: Tensor) -> Tensor:
    """Outputs `(rows, k)`, finite."""
    with torch.no_grad():
        answer = model(rows)
    values = getattr(answer, "logits", answer)
    if values.ndim not in (1, 2) or len(values) != len(rows):
        raise ValueError(
            f"model returned {tuple(values.shape)} for {len(rows)} rows; it must return (rows,) "
            "or (rows, k)."
        )
    if not bool(torch.isfinite(values).all()):
        raise ValueError("model returned NaN or infinity on rows of the grid.")
    return values[:, None] if values.ndim == 1 else values


def _checked_features(
    X: Tensor, features: int | tuple[int, int], *, at_most: int
) -> tuple[int, ...]:
    if not is_a(X, Tensor) or X.ndim != 2 or not X.is_floating_point() or len(X) == 0:
        received = tuple(X.shape) if is_a(X, Tensor) else type(X).__name__
        raise ValueError(f"X is {received}; a floating-point tensor (rows, n) is needed.")
    if not bool(torch.isfinite(X).all()):
        raise ValueError("X holds NaN or infinity; effects need finite rows.")
    listed = (features,) if isinstance(features, int) else tuple(features)
    if not 1 <= len(listed) <= at_most or len(set(listed)) != len(listed):
        raise ValueError(f"features={features}; 1 to {at_most} different positions are needed.")
    for feature in listed:
        if not 0 <= feature < X.shape[1]:
            raise ValueError(f"feature {feature} is out of range; X has {X.shape[1]}.")
    return listed


def _places(
    X: Tensor, features: Sequence[int], grid: int | Sequence[Tensor] | Tensor
) -> list[Tensor]:
    if isinstance(grid, int):
        if grid < 1:
            raise ValueError(f"grid={grid}; at least one place is needed.")
        return [
            torch.lerp(X[:, f].min(), X[:, f].max(), torch.linspace(0, 1, grid).to(X))
            for f in features
        ]
    given = [grid] if isinstance(grid, Tensor) else list(grid)
    if len(given) != len(features) or any(p.ndim != 1 or len(p) == 0 for p in given):
        raise ValueError("grid must hold one tensor (g,) of places for each feature.")
    return [places.to(X) for places in given]
