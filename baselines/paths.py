"""Gradients along paths to a reference input: integrated and expected gradients."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from einops import reduce, repeat
from torch import Tensor

from baselines.attribution import Inputs, Target, as_tuple
from baselines.coalitions import key_from, stream
from baselines.gradients import (
    Extra,
    GradientExplainer,
    Parts,
    Scores,
    baselines_like,
    beside,
    zero_scores,
)
from baselines.torch_calls import from_array


class IntegratedGradients(GradientExplainer):
    """Gradients averaged along the straight line from a baseline, times the way.

    Args:
        model: Differentiable model of rows.
        baseline: Where the line starts: a number, `(*features)`, or `(b, *features)`; a tuple of
            these for a model of several inputs.
        n_steps: Gauss-Legendre nodes on the line.
        tolerance: None takes `n_steps` nodes. Else the nodes are doubled, up to 16 times as many,
            until no additivity gap exceeds `tolerance * max(1, |f(x) - f(baseline)|)`.
        options: Keyword arguments of `GradientExplainer`.

    Raises:
        ValueError: If `n_steps` is not positive.

    Source: Sundararajan, Taly and Yan (2017), eq. 1.

    Example:
        >>> import torch
        >>> from baselines import IntegratedGradients
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> IntegratedGradients(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "integrated gradients"

    def __init__(
        self,
        model: Callable[..., Any],
        baseline: Any = 0.0,  # noqa: ANN401
        *,
        n_steps: int = 50,
        tolerance: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(model, **options)
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps}; at least one node is needed.")
        self.baseline = baseline
        self.n_steps = n_steps
        self.tolerance = tolerance

    def attribute(  # pyright: ignore[reportIncompatibleMethodOverride] - captum's own order
        self,
        inputs: Inputs,
        baselines: Any = None,  # noqa: ANN401
        target: Target = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        n_steps: int | None = None,
        method: str = "gausslegendre",
        internal_batch_size: int | None = None,
        return_convergence_delta: bool = False,
    ) -> Any:  # noqa: ANN401
        """Scores of one output, in captum's form.

        Args:
            inputs: Explicands `(b, *features)`, or a tuple of them.
            baselines: Where the line starts; None takes the explainer's own baseline.
            target: Explained output, one for all explicands or one each; None for one output.
            additional_forward_args: What the model is called with after the inputs; tensors with
                `b` rows follow their explicand.
            n_steps: Nodes on the line; None takes the explainer's own number.
            method: How nodes are laid on the line; Gauss-Legendre, captum's default, is the one.
            internal_batch_size: Most model rows held at once; None takes the explainer's own.
            return_convergence_delta: Also return what the scores exceed their due by, `(b,)`.

        Returns:
            A tensor like `inputs`, or a tuple of them; with `return_convergence_delta` a pair.

        Raises:
            TypeError: If inputs are not floating point.
            ValueError: If inputs are empty or not finite, a baseline does not fit, the target
                does not exist, or `method` is another rule.
        """
        if method != "gausslegendre":
            raise ValueError(f"method={method!r}; nodes are laid by 'gausslegendre' only.")
        own = IntegratedGradients(
            self.model,
            self.baseline if baselines is None else baselines,
            n_steps=self.n_steps if n_steps is None else n_steps,
            tolerance=self.tolerance,
            max_rows=self.max_rows if internal_batch_size is None else internal_batch_size,
        )
        return own._attribute(
            inputs, target, additional_forward_args, delta=return_convergence_delta
        )

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Scores:
        b = len(inputs[0])
        starts = baselines_like(self.baseline, inputs)
        owner = torch.arange(b)
        ends: list[Tensor] = []
        with torch.no_grad():
            for rows in (starts, inputs):
                values = self._run(rows, owner, extra, b)
                ends.append(values if target is None else values.gather(1, target[:, None]))
        total = ends[1] - ends[0]
        steps, spent = self.n_steps, 2
        while True:
            scores = self._integral(inputs, starts, steps, target, extra)
            spent += steps
            missed = total - sum(
                (reduce(s, "b ... k -> b k", "sum") for s in scores), torch.zeros_like(total)
            )
            if self.tolerance is None or steps >= 16 * self.n_steps:
                break
            if bool((missed.abs() <= self.tolerance * total.abs().clamp(min=1)).all()):
                break
            steps *= 2
        return Scores(scores, spent, ends[0], total)

    def _integral(
        self, inputs: Parts, starts: Parts, steps: int, target: Tensor | None, extra: Extra
    ) -> Parts:
        nodes, weights = np.polynomial.legendre.leggauss(steps)
        places, shares = from_array((nodes + 1) / 2), from_array(weights / 2)
        n_outputs = self._outputs_of(inputs, extra)
        sums = zero_scores(inputs, target, n_outputs)
        for owner, node in self._tiles(inputs, steps):
            rows = tuple(
                torch.lerp(
                    s[owner.to(p.device)],
                    p[owner.to(p.device)],
                    beside(places[node].to(p), p),
                )
                for p, s in zip(inputs, starts, strict=True)
            )
            _, slopes = self._slopes(rows, owner, target, extra, len(inputs[0]))
            for total, slope in zip(sums, slopes, strict=True):
                share = beside(shares[node].to(slope), slope)
                total.index_add_(0, owner.to(total.device), slope * share)
        return tuple(
            total * (p - s)[..., None] for total, p, s in zip(sums, inputs, starts, strict=True)
        )


class ExpectedGradients(GradientExplainer):
    """Integrated gradients averaged over the rows of a background as baselines.

    The lines are visited at stratified places: every row visits each of `n_steps` equal pieces of
    its line once, and within a piece the rows take different, evenly spread places.

    Args:
        model: Differentiable model of rows.
        background: Baselines `(r, *features)`, such as `X[compress(X, 64)]`; a tuple of them for
            a model of several inputs; None waits for those of `attribute`.
        weights: `(r,)` of the rows, scaled here to sum to 1; None weighs them alike.
        n_steps: Places on each line.
        generator: Source of the places; None always takes the same.
        options: Keyword arguments of `GradientExplainer`.

    Raises:
        ValueError: If the background is empty, weights do not fit it, or `n_steps` is not
            positive; on explaining, if there is no background.

    Source: Erion et al. (2021), eq. 4.

    Example:
        >>> import torch
        >>> from baselines import ExpectedGradients
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> ExpectedGradients(model, torch.zeros(5, 3)).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "expected gradients"

    def __init__(
        self,
        model: Callable[..., Any],
        background: Inputs | None = None,
        weights: Tensor | None = None,
        *,
        n_steps: int = 8,
        generator: torch.Generator | None = None,
        **options: Any,  # noqa: ANN401
    ) -> None:
        from baselines.imputers import scaled

        super().__init__(model, **options)
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps}; at least one place is needed.")
        self.background: Parts = ()
        if background is not None:
            self.background = as_tuple(background, "background")
            r = len(self.background[0])
            self.weights = scaled(torch.ones(r) if weights is None else weights, r)
        elif weights is not None:
            raise ValueError("weights are those of a background; none was given.")
        self.n_steps = n_steps
        self.generator = generator

    @torch.inference_mode(False)
    def attribute(  # pyright: ignore[reportIncompatibleMethodOverride] - captum's own order
        self,
        inputs: Inputs,
        baselines: Inputs | None = None,
        n_samples: int | None = None,
        stdevs: float = 0.0,
        target: Target = None,
        additional_forward_args: Any = None,  # noqa: ANN401
        return_convergence_delta: bool = False,
    ) -> Any:  # noqa: ANN401
        """Scores of one output, in the form of captum's GradientShap.

        Args:
            inputs: Explicands `(b, *features)`, or a tuple of them.
            baselines: Background `(r, *features)`, or a tuple of them; None takes the explainer's.
            n_samples: Least gradients per explicand; they are spread evenly over all rows of the
                background, at least one each. None takes the explainer's `n_steps` on each line.
            stdevs: Noise added to the explicands, by captum; only 0 is known here.
            target: Explained output, one for all explicands or one each; None for one output.
            additional_forward_args: What the model is called with after the inputs; tensors with
                `b` rows follow their explicand.
            return_convergence_delta: Also return what the scores exceed their due by, `(b,)`.

        Returns:
            A tensor like `inputs`, or a tuple of them; with `return_convergence_delta` a pair.

        Raises:
            TypeError: If inputs or baselines are not floating point.
            ValueError: If inputs are empty or not finite, there is no background, the target does
                not exist, `n_samples` is not positive, or `stdevs` is not 0.
        """
        if stdevs:
            raise ValueError(f"stdevs={stdevs}; explicands are taken as they are: leave it 0.")
        if n_samples is not None and n_samples < 1:
            raise ValueError(f"n_samples={n_samples}; at least one gradient is needed.")
        own = ExpectedGradients(
            self.model,
            (self.background or None) if baselines is None else baselines,
            self.weights if baselines is None and self.background else None,
            n_steps=self.n_steps,
            generator=self.generator,
            max_rows=self.max_rows,
        )
        if n_samples is not None and own.background:
            own.n_steps = -(-n_samples // len(own.background[0]))
        return own._attribute(
            inputs, target, additional_forward_args, delta=return_convergence_delta
        )

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Scores:
        if not self.background:
            raise ValueError(
                "there is no background; give ExpectedGradients one, or attribute its baselines."
            )
        b, r = len(inputs[0]), len(self.background[0])
        for part, rows in zip(inputs, self.background, strict=True):
            if part.shape[1:] != rows.shape[1:]:
                raise ValueError(
                    f"x has features {tuple(part.shape[1:])}; the background has "
                    f"{tuple(rows.shape[1:])}."
                )
        background = tuple(
            rows.to(part) for rows, part in zip(self.background, inputs, strict=True)
        )
        draw = stream(key_from(self.generator), 0)
        orders = np.stack([draw.permutation(r) for _ in range(self.n_steps)])  # (s, r)
        pieces = np.arange(self.n_steps)[:, None]
        places = from_array((pieces + (orders + draw.random(orders.shape)) / r).ravel())
        places = places / self.n_steps
        shares = repeat(self.weights, "r -> (s r)", s=self.n_steps) / self.n_steps
        n_outputs = self._outputs_of(inputs, extra)
        sums = zero_scores(inputs, target, n_outputs)
        for owner, node in self._tiles(inputs, r * self.n_steps):
            ends = [p[owner.to(p.device)] for p in inputs]
            begins = [s[(node % r).to(s.device)] for s in background]
            rows = tuple(
                torch.lerp(s, e, beside(places[node].to(e), e))
                for s, e in zip(begins, ends, strict=True)
            )
            _, slopes = self._slopes(rows, owner, target, extra, b)
            for total, slope, s, e in zip(sums, slopes, begins, ends, strict=True):
                share = beside(shares[node].to(slope), slope)
                total.index_add_(0, owner.to(total.device), slope * (e - s)[..., None] * share)
        base, here = self._ends(inputs, background, extra)
        if target is not None:
            here = here.gather(1, target[:, None])
            base = base.gather(1, target[:, None])
        return Scores(sums, r * self.n_steps + 1, base, here - base)

    def _ends(self, inputs: Parts, background: Parts, extra: Extra) -> tuple[Tensor, Tensor]:
        """Mean output over the background and output at the explicands, both `(b, k)`."""
        b = len(inputs[0])
        with torch.no_grad():
            here = self._run(inputs, torch.arange(b), extra, b)
            if not any(isinstance(arg, Tensor) and arg.ndim and len(arg) == b for arg in extra):
                r = len(background[0])
                values = self._run(background, torch.zeros(r, dtype=torch.int64), extra, -1)
                base = repeat(self.weights.to(values) @ values, "k -> b k", b=b)
                return base, here
            # arguments that follow their explicand make the mean its own for each of them
            means: list[Tensor] = []
            for i in range(b):
                owner = torch.full((len(background[0]),), i)
                means.append(self.weights.to(here) @ self._run(background, owner, extra, b))
            return torch.stack(means), here
