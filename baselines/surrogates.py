"""Explanations by a few perturbed copies: LIME's local linear surrogate, and occlusion.

Both are estimators of games like any other, so every imputer, group of features and text serves
them too; `Lime` and `Occlusion` bind them to a model.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from einops import rearrange, repeat
from torch import Tensor

from baselines.arguments import check_game
from baselines.attribution import Inputs, Target, as_extra, as_tuple, take_target
from baselines.coalitions import all_coalitions, key_from, stream
from baselines.explanation import Explanation
from baselines.game import Game, MaskedGame
from baselines.imputers import BaselineImputer, Imputer
from baselines.removal import RemovalExplainer, watched
from baselines.torch_calls import from_array, solve


def lime(
    game: Game,
    budget: int = 1000,
    *,
    kernel_width: float = 0.25,
    ridge: float = 1.0,
    generator: torch.Generator | None = None,
) -> Explanation:
    """Coefficients of a weighted ridge regression of the game on presence.

    Coalitions are drawn with every player present with probability 1/2, beside the grand one; a
    coalition `z` weighs `exp(-d^2 / w^2)` by its cosine distance `d` from the grand one.

    Args:
        game: Games of `b` explicands and `n` players.
        budget: Coalitions per explicand; all of them are used when `2**n` is no more.
        kernel_width: `w`, positive.
        ridge: Penalty on the squared coefficients, beside weights that sum to the number of
            coalitions; the intercept is free.
        generator: Source of the coalitions.

    Returns:
        Values `(b, n, k)`, estimand "surrogate", with `surrogate_r2` and `intercept` `(b, k)` in
        the diagnostics. They do not add up to the output, and there is no base value.

    Raises:
        ValueError: If budget or kernel width is not positive, or the penalty is negative.

    Source: Ribeiro, Singh and Guestrin (2016), eq. 1 and sec. 3.4, without feature selection.

    Example:
        >>> import torch
        >>> from baselines import TableGame, lime
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> lime(game, budget=8).values.shape
        torch.Size([1, 3, 1])
    """
    if budget < 2 or not kernel_width > 0 or ridge < 0:
        raise ValueError(
            f"budget={budget}, kernel_width={kernel_width}, ridge={ridge}; lime needs a budget of "
            "at least 2, a positive width and a penalty that is not negative."
        )
    check_game(game)
    n = game.n_players
    if n < 31 and 2**n <= budget:
        coalitions = all_coalitions(n)
    else:
        drawn = stream(key_from(generator), 0).random((budget - 1, n)) < 0.5
        everyone = torch.ones(1, n, dtype=torch.bool)
        coalitions = torch.cat([everyone, from_array(drawn)])
    values = game(coalitions[None])  # (b, m, k)
    real = getattr(game, "player_mask", None)
    design = coalitions.to(values.device, torch.float64)[None]
    if real is not None:
        design = design * real.to(values.device, torch.float64)[:, None]
    slopes, intercept, r2 = _weighted_ridge(design, values.double(), kernel_width, ridge)
    return Explanation(
        values=slopes.to(values.dtype),
        estimand="surrogate",
        game=getattr(game, "description", ""),
        method="LIME",
        n_evals=len(coalitions),
        players=getattr(game, "players", None),
        outputs=getattr(game, "outputs", None),
        player_mask=real,
        diagnostics={
            "surrogate_r2": r2.to(values.dtype),
            "intercept": intercept.to(values.dtype),
        },
    )


def _weighted_ridge(
    design: Tensor, values: Tensor, width: float, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes `(b, n, k)`, intercept `(b, k)` and R2 `(b, k)` of designs `(b or 1, m, n)`."""
    size = design.sum(-1)
    distance = 1 - (size / size.amax(-1, keepdim=True).clamp(min=1)).sqrt()
    weight = (-(distance**2) / width**2).exp()
    weight = weight / weight.sum(-1, keepdim=True)
    m = design.shape[1]
    center = torch.einsum("bm,bmn->bn", weight, design)
    middle = torch.einsum("bm,bmk->bk", weight.expand(len(values), -1), values)
    away, rest = design - center[:, None], values - middle[:, None]
    gram = torch.einsum("bm,bmi,bmj->bij", weight, away, away)
    eye = torch.eye(design.shape[-1], dtype=design.dtype, device=design.device)
    gram = gram + max(ridge / m, 1e-12) * eye
    side = torch.einsum(
        "bmn,bmk->bnk", (weight[..., None] * away).expand(len(values), -1, -1), rest
    )
    slopes = solve(gram.expand(len(values), -1, -1), side)
    fit = away @ slopes
    residual = torch.einsum("bm,bmk->bk", weight.expand(len(values), -1), (rest - fit) ** 2)
    spread = torch.einsum("bm,bmk->bk", weight.expand(len(values), -1), rest**2)
    # a constant output is explained without error
    r2 = torch.where(spread > 0, 1 - residual / spread.clamp(min=1e-300), 1.0)
    return slopes, middle - torch.einsum("bn,bnk->bk", center.expand(len(values), -1), slopes), r2


def occlusion(game: Game, *, both_ends: bool = False) -> Explanation:
    """What the output loses when one player leaves.

    Args:
        game: Games of `b` explicands and `n` players.
        both_ends: Average with what the empty coalition gains when the player comes alone, which
            makes two evaluations a player.

    Returns:
        Values `(b, n, k)`, estimand "occlusion": `v(all) - v(all but i)`. They need not add up,
        and `additivity_gap` `(b, k)` in the diagnostics says what they lack.

    Source: Zeiler and Fergus (2014), sec. 4.1; leave-one-out, Robnik-Šikonja and Kononenko (2008).

    Example:
        >>> import torch
        >>> from baselines import TableGame, occlusion
        >>> game = TableGame(torch.tensor([0.0, 1, 2, 4, 3, 5, 6, 10])[None, :, None])
        >>> occlusion(game).values[0, :, 0]  # what is lost without each
        tensor([4., 5., 6.])
    """
    check_game(game)
    n = game.n_players
    alone = torch.eye(n, dtype=torch.bool)
    everyone, nobody = torch.ones(1, n, dtype=torch.bool), torch.zeros(1, n, dtype=torch.bool)
    lists = [nobody, everyone, ~alone] + ([alone] if both_ends else [])
    coalitions = torch.cat(lists)
    values = game(coalitions[None])
    base, full, rest = values[:, :1], values[:, 1:2], values[:, 2:]
    lost = full - rest[:, :n]
    worth = (lost + rest[:, n:] - base) / 2 if both_ends else lost
    real = getattr(game, "player_mask", None)
    if real is not None:
        worth = worth * real.to(worth.device)[..., None]
    return Explanation(
        values=worth,
        estimand="occlusion",
        game=getattr(game, "description", ""),
        method="leave one out and in" if both_ends else "leave one out",
        base_values=base[:, 0],
        n_evals=len(coalitions),
        players=getattr(game, "players", None),
        outputs=getattr(game, "outputs", None),
        player_mask=real,
        diagnostics={"additivity_gap": (full - base)[:, 0] - worth.sum(1)},
    )


class Lime(RemovalExplainer):
    """LIME for a model of rows.

    Args:
        model: Maps a tensor `(rows, *features)` to `(rows,)` or `(rows, k)`.
        imputer: Fills in absent features; zeros when None.
        budget: Coalitions per explicand.
        options: Keyword arguments of `lime` and of `RemovalExplainer`.

    Example:
        >>> import torch
        >>> from baselines import Lime
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> Lime(model, budget=8).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    def __init__(
        self,
        model: Callable[..., Tensor],
        imputer: Imputer | None = None,
        *,
        budget: int = 1000,
        **options: Any,  # noqa: ANN401
    ) -> None:
        imputer = BaselineImputer(0.0) if imputer is None else imputer
        super().__init__(model, imputer, lime, budget=budget, **options)


class Occlusion(RemovalExplainer):
    """Leave-one-out for a model of rows; sliding windows through `attribute`.

    Args:
        model: Maps a tensor `(rows, *features)` to `(rows,)` or `(rows, k)`.
        imputer: Fills in absent features; zeros when None.
        options: Keyword arguments of `occlusion` and of `RemovalExplainer`.

    Example:
        >>> import torch
        >>> from baselines import Occlusion
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> Occlusion(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    def __init__(
        self,
        model: Callable[..., Tensor],
        imputer: Imputer | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        imputer = BaselineImputer(0.0) if imputer is None else imputer
        super().__init__(model, imputer, occlusion, **options)

    def attribute(  # pyright: ignore[reportIncompatibleMethodOverride] - captum's own order
        self,
        inputs: Inputs,
        sliding_window_shapes: Sequence[int] | int | None = None,
        strides: Sequence[int] | int | None = None,
        baselines: Any = None,  # noqa: ANN401
        target: Target = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        perturbations_per_eval: int | None = None,
        show_progress: bool = False,
        feature_mask: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401 - a tensor for a tensor, a tuple for a tuple
        """Scores of one output, in captum's form.

        Args:
            inputs: Explicands `(b, *features)`; several inputs only without windows.
            sliding_window_shapes: Sides of the window that is left out, one per feature axis;
                None leaves out one player after the other.
            strides: Steps of the window, one per axis or one for all; 1 when None.
            baselines: Values of absent features; None takes the explainer's imputer.
            target: Explained output, one for all explicands or one each; None for one output.
            additional_forward_args: What the model is called with after the inputs.
            perturbations_per_eval: Windows of all explicands that the model sees at once; None
                fills the memory budget.
            show_progress: Show a bar of the model's rows.
            feature_mask: Player of each feature; None takes the explainer's groups.

        Returns:
            A tensor like `inputs`: the mean loss of the windows that cover each feature.

        Raises:
            ValueError: If shapes do not fit, the target does not exist, or
                `perturbations_per_eval` is not positive.
        """
        if sliding_window_shapes is None:
            return super().attribute(
                inputs,
                baselines,
                target,
                additional_forward_args,
                feature_mask,
                perturbations_per_eval=perturbations_per_eval,
                show_progress=show_progress,
            )
        (x,) = as_tuple(inputs)
        extra = as_extra(additional_forward_args)
        window = _sides(sliding_window_shapes, x.ndim - 1, "sliding_window_shapes")
        steps = _sides(1 if strides is None else strides, x.ndim - 1, "strides")
        covers = _windows(tuple(x.shape[1:]), window, steps).to(x.device)  # (m, n)
        imputer = self.imputer if baselines is None else BaselineImputer(baselines)
        model: Callable[[Tensor], Tensor] = self.model
        if extra:
            model = lambda rows: self.model(rows, *extra)
        everyone = torch.ones_like(covers[:1])
        with watched(model, show_progress) as seen:
            rows = self._rows_at_once(perturbations_per_eval, x)
            game = MaskedGame(seen, x, imputer, max_rows=rows)
            values = game(torch.cat([everyone, ~covers])[None])
        lost = values[:, :1] - values[:, 1:]  # (b, m, k)
        share = covers.to(lost.dtype)
        mean = torch.einsum("mn,bmk->bnk", share / share.sum(0).clamp(min=1), lost)
        scores = take_target(mean, target).reshape(x.shape).to(x.dtype)
        return (scores,) if isinstance(inputs, tuple) else scores


def _sides(given: Sequence[int] | int, n_axes: int, name: str) -> tuple[int, ...]:
    sides = (given,) * n_axes if isinstance(given, int) else tuple(given)
    if len(sides) != n_axes or min(sides) < 1:
        raise ValueError(f"{name}={given}; {n_axes} positive integers are needed.")
    return sides


def _windows(features: tuple[int, ...], window: tuple[int, ...], steps: tuple[int, ...]) -> Tensor:
    """Windows that slide over the features, bool `(m, n)`; cut at the border."""
    covers = torch.ones(1, 1, dtype=torch.bool)
    for size, side, step in zip(features, window, steps, strict=True):
        if side > size:
            raise ValueError(f"a window of {side} does not fit {size} features.")
        starts = torch.arange(-(-(size - side) // step) + 1) * step
        place = torch.arange(size)
        along = (place >= starts[:, None]) & (place < starts[:, None] + side)
        covers = repeat(covers, "m n -> (m w) n s", w=len(along), s=1) & repeat(
            along, "w s -> (m w) 1 s", m=len(covers)
        )
        covers = rearrange(covers, "m n s -> m (n s)")
    return covers
