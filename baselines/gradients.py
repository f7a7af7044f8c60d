"""Gradient attributions: what the slope of the model says about each feature.

All outputs are explained at once, one backward pass for each; where a method promises that
attributions add up, what it misses is reported as `additivity_gap`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from baselines.arguments import refuse_misfit
from baselines.attribution import (
    Inputs,
    Target,
    as_extra,
    as_tuple,
    flatten,
    one_each,
    target_index,
)
from baselines.coalitions import key_from, stream
from baselines.explanation import Explanation
from baselines.game import ROW_BUDGET
from baselines.groups import Groups, group_players
from baselines.torch_calls import from_array

Parts = tuple[Tensor, ...]
Extra = tuple[Any, ...]


class GradientExplainer:
    """What gradient explainers share: calling the model, all outputs, captum's forms.

    Args:
        model: Maps tensors `(rows, *features)` to `(rows,)` or `(rows, k)`, differentiably; a
            torch module in eval mode.
        groups: Features that form one player, as in `MaskedGame`; their scores are summed. None
            makes each feature a player.
        players: Names of the players; group names by default.
        outputs: Names of the outputs.
        max_rows: Most model rows held at once; a memory budget of 2**22 cells by default.

    Raises:
        TypeError: If the model cannot be called.
    """

    method = ""
    estimand = "gradient"

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        groups: Groups | None = None,
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        max_rows: int | None = None,
    ) -> None:
        if not callable(model):
            raise TypeError(f"model is a {type(model).__name__} that cannot be called.")
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows={max_rows}; room for at least one row is needed.")
        self.model = model
        self.groups = groups
        self.players = players
        self.outputs = outputs
        self.max_rows = max_rows

    @torch.inference_mode(False)
    def explain(self, x: Inputs) -> Explanation:
        """Scores of every player for every output.

        Args:
            x: Explicands `(b, *features)`, or a tuple of them for a model of several inputs.

        Returns:
            Values `(b, n, k)`.

        Raises:
            TypeError: If `x` is not floating point.
            ValueError: If `x` is empty or not finite, or the output does not depend on it.
        """
        inputs = as_tuple(x, "x")
        answer = self._scores(inputs, None, ())
        values = torch.cat([rearrange(s, "b ... k -> b (...) k") for s in answer.scores], 1)
        membership, names = group_players(self.groups, tuple(inputs[0].shape[1:]))
        if membership is not None:
            if len(inputs) > 1:
                raise ValueError("groups fit a single input; x is a tuple.")
            grouped = values.new_zeros(len(values), int(membership.max()) + 1, values.shape[-1])
            values = grouped.index_add(1, membership.to(values.device), values)
        gap = answer.gap(values)
        return Explanation(
            values=values,
            estimand=self.estimand,
            game=self._game(),
            method=self.method,
            base_values=answer.base,
            n_evals=answer.n_evals,
            players=self.players if self.players is not None else names,
            outputs=self.outputs,
            data=x if isinstance(x, Tensor) else None,
            diagnostics={} if gap is None else {"additivity_gap": gap},
        )

    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - captum's own freedom
    ) -> Any:  # noqa: ANN401 - a tensor for a tensor, a tuple for a tuple
        """Scores of one output, in captum's form.

        Args:
            inputs: Explicands `(b, *features)`, or a tuple of them.
            target: Explained output, one for all explicands or one each; None for one output.
            additional_forward_args: What the model is called with after the inputs; tensors with
                `b` rows follow their explicand.

        Returns:
            A tensor like `inputs`, or a tuple of them.

        Raises:
            TypeError: If inputs are not floating point.
            ValueError: If inputs are empty or not finite, or the target does not exist.
        """
        return self._attribute(inputs, target, additional_forward_args)

    @torch.inference_mode(False)
    def _attribute(
        self,
        inputs: Inputs,
        target: Target,
        extra: Any,  # noqa: ANN401
        delta: bool = False,
    ) -> Any:  # noqa: ANN401
        """Scores of one output; with `delta` also what they exceed their due by, `(b,)`."""
        parts = as_tuple(inputs)
        extra = as_extra(extra)
        n_outputs = self._outputs_of(parts, extra)
        index = target_index(target, len(parts[0]), n_outputs).to(parts[0].device)
        answer = self._scores(parts, index, extra)
        scores = tuple(s[..., 0] for s in answer.scores)
        given = scores if isinstance(inputs, tuple) else scores[0]
        if not delta:
            return given
        assert answer.total is not None  # only methods that know it are asked
        return given, flatten(scores).sum(-1) - answer.total[:, 0]

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> "Scores":
        raise NotImplementedError

    def _game(self) -> str:
        return getattr(self.model, "__name__", type(self.model).__name__)

    def _outputs_of(self, inputs: Parts, extra: Extra) -> int:
        with torch.no_grad():
            first = tuple(part[:1] for part in inputs)
            owner = torch.zeros(1, dtype=torch.int64)
            return self._run(first, owner, extra, len(inputs[0])).shape[-1]

    def _run(self, rows: Parts, owner: Tensor, extra: Extra, b: int) -> Tensor:
        """Outputs `(rows, k)` of rows that belong to the explicands `owner`."""
        own = [
            arg[owner.to(arg.device)]
            if isinstance(arg, Tensor) and arg.ndim and len(arg) == b
            else arg
            for arg in extra
        ]
        try:
            answer = self.model(*rows, *own)
        except RuntimeError:
            refuse_misfit(self.model, rows[0])
            raise
        values = getattr(answer, "logits", answer)
        n_rows = len(rows[0])
        if not isinstance(values, Tensor) or values.ndim not in (1, 2) or len(values) != n_rows:
            received = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"model returned {received} for {n_rows} rows; it must return a tensor (rows,) or "
                "(rows, k)."
            )
        return values[:, None] if values.ndim == 1 else values

    def _slopes(
        self, rows: Parts, owner: Tensor, target: Tensor | None, extra: Extra, b: int
    ) -> tuple[Tensor, Parts]:
        """Outputs `(rows, k)` and gradients `(rows, *features, k)`; k = 1 with a target."""
        with torch.enable_grad():
            rows = tuple(part.detach().clone().requires_grad_() for part in rows)
            outputs = self._run(rows, owner, extra, b)
            if target is not None:
                outputs = outputs.gather(1, target[owner.to(target.device)][:, None])
            if not outputs.requires_grad:
                raise ValueError(
                    "the model's output has no gradient with respect to x; pass a torch model "
                    "that neither detaches nor leaves torch, or use a RemovalExplainer."
                )
            k = outputs.shape[1]
            per_output: list[tuple[Tensor | None, ...]] = [  # None: without influence
                torch.autograd.grad(
                    outputs[:, j].sum(), rows, retain_graph=j < k - 1, allow_unused=True
                )
                for j in range(k)
            ]
        slopes = tuple(
            torch.stack(
                [torch.zeros_like(p) if (slope := g[i]) is None else slope for g in per_output],
                dim=-1,
            ).detach()
            for i, p in enumerate(rows)
        )
        return outputs.detach(), slopes

    def _tiles(self, inputs: Parts, n_nodes: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows to visit, as explicands and nodes, in tiles of a bounded number of rows."""
        cells = sum(part[0].numel() for part in inputs)
        most = self.max_rows or max(1, min(65_536, ROW_BUDGET // cells))
        grid = torch.arange(len(inputs[0]) * n_nodes)
        for tile in torch.split(grid, most):
            yield tile // n_nodes, tile % n_nodes

    def _at_explicands(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Parts:
        tiles: list[Parts] = []
        for owner, _ in self._tiles(inputs, 1):
            rows = tuple(part[owner.to(part.device)] for part in inputs)
            tiles.append(self._slopes(rows, owner, target, extra, len(inputs[0]))[1])
        return tuple(torch.cat(parts) for parts in zip(*tiles, strict=True))


class Scores:
    """Scores of all inputs, and what they should add up to where the method says so.

    Args:
        scores: One tensor `(b, *features, k)` for each input.
        n_evals: Model rows spent on each explicand.
        base: `(b, k)` base values, or None.
        total: `(b, k)` what the scores should add up to, or None.
    """

    def __init__(
        self, scores: Parts, n_evals: int, base: Tensor | None = None, total: Tensor | None = None
    ) -> None:
        self.scores = scores
        self.n_evals = n_evals
        self.base = base
        self.total = total

    def gap(self, values: Tensor) -> Tensor | None:
        """What the values `(b, n, k)` lack to add up, `(b, k)`."""
        return None if self.total is None else self.total - values.sum(1)


class Saliency(GradientExplainer):
    """Size of the gradient at the explicand.

    Args:
        model: Differentiable model of rows.
        absolute: Take the absolute value, as the paper and captum do; False keeps the sign.
        options: Keyword arguments of `GradientExplainer`.

    Source: Simonyan, Vedaldi and Zisserman (2014), sec. 3.

    Example:
        >>> import torch
        >>> from baselines import Saliency
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> Saliency(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "saliency"

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        absolute: bool = True,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(model, **options)
        self.absolute = absolute

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Scores:
        slopes = self._at_explicands(inputs, target, extra)
        return Scores(tuple(s.abs() for s in slopes) if self.absolute else slopes, 1)

    def attribute(  # pyright: ignore[reportIncompatibleMethodOverride] - captum's own order
        self,
        inputs: Inputs,
        target: Target = None,
        abs: bool | None = None,
        additional_forward_args: Any = None,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Scores of one output, in captum's form.

        Args:
            inputs: Explicands `(b, *features)`, or a tuple of them.
            target: Explained output, one for all explicands or one each; None for one output.
            abs: Take the absolute value; None does as the explainer was told.
            additional_forward_args: What the model is called with after the inputs; tensors with
                `b` rows follow their explicand.

        Returns:
            A tensor like `inputs`, or a tuple of them.

        Raises:
            TypeError: If inputs are not floating point.
            ValueError: If inputs are empty or not finite, or the target does not exist.
        """
        absolute = self.absolute if abs is None else abs
        own = Saliency(self.model, absolute=absolute, max_rows=self.max_rows)
        return own._attribute(inputs, target, additional_forward_args)


class GradientXInput(GradientExplainer):
    """Gradient at the explicand times the explicand.

    Args:
        model: Differentiable model of rows.
        options: Keyword arguments of `GradientExplainer`.

    Source: Shrikumar, Greenside and Kundaje (2017), sec. 2.2.

    Example:
        >>> import torch
        >>> from baselines import GradientXInput
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> GradientXInput(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "gradient x input"

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Scores:
        slopes = self._at_explicands(inputs, target, extra)
        return Scores(tuple(s * p[..., None] for s, p in zip(slopes, inputs, strict=True)), 1)


class SmoothGrad(GradientExplainer):
    """Mean gradient over noisy copies of the explicand.

    Args:
        model: Differentiable model of rows.
        n_draws: Noisy copies of each explicand.
        noise: Standard deviation of the noise as a share of the explicand's range.
        generator: Source of the noise; None draws the same noise for every explicand and call.
        options: Keyword arguments of `GradientExplainer`.

    Raises:
        ValueError: If `n_draws` or `noise` is not positive.

    Source: Smilkov et al. (2017), sec. 3.

    Example:
        >>> import torch
        >>> from baselines import SmoothGrad
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> SmoothGrad(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "SmoothGrad"

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        n_draws: int = 50,
        noise: float = 0.15,
        generator: torch.Generator | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(model, **options)
        if n_draws < 1 or not noise > 0:
            raise ValueError(f"n_draws={n_draws} and noise={noise} must be positive.")
        self.n_draws = n_draws
        self.noise = noise
        self.generator = generator

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Scores:
        key = key_from(self.generator)
        draws: list[Tensor] = []
        ranges: list[Tensor] = []
        for i, part in enumerate(inputs):
            noise = stream(key, i).standard_normal((self.n_draws, *part.shape[1:]))
            draws.append(from_array(noise).to(part))
            flat = rearrange(part, "b ... -> b (...)")
            ranges.append((flat.amax(-1) - flat.amin(-1)) * self.noise)
        sums = zero_scores(inputs, target, self._outputs_of(inputs, extra))
        for owner, node in self._tiles(inputs, self.n_draws):
            rows = tuple(
                p[owner.to(p.device)] + beside(w[owner.to(p.device)], p) * d[node.to(p.device)]
                for p, w, d in zip(inputs, ranges, draws, strict=True)
            )
            _, slopes = self._slopes(rows, owner, target, extra, len(inputs[0]))
            for total, slope in zip(sums, slopes, strict=True):
                total.index_add_(0, owner.to(total.device), slope)
        return Scores(tuple(total / self.n_draws for total in sums), self.n_draws)


def baselines_like(baseline: Any, inputs: Parts) -> Parts:  # noqa: ANN401
    """Baselines in the shape of the inputs."""
    given = one_each(baseline, len(inputs))
    if len(given) != len(inputs):
        raise ValueError(f"baseline holds {len(given)} tensors for {len(inputs)} inputs.")
    starts: list[Tensor] = []
    for start, part in zip(given, inputs, strict=True):
        start = torch.as_tensor(start).to(part)
        if start.ndim and start.shape not in (part.shape, part.shape[1:], (1, *part.shape[1:])):
            raise ValueError(
                f"baseline has shape {tuple(start.shape)}; a number, {tuple(part.shape[1:])} or "
                f"{tuple(part.shape)} is needed."
            )
        starts.append(start.expand_as(part))
    return tuple(starts)


def zero_scores(inputs: Parts, target: Tensor | None, n_outputs: int) -> Parts:
    k = n_outputs if target is None else 1
    return tuple(part.new_zeros(*part.shape, k) for part in inputs)


def beside(per_row: Tensor, like: Tensor) -> Tensor:
    """One number per row `(rows,)` in a shape that broadcasts over `like` `(rows, ...)`."""
    return per_row.reshape(-1, *(1,) * (like.ndim - 1))
