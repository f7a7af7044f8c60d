"""Backpropagation by other rules than the gradient's: DeepLIFT, LRP, guided backpropagation.

Their rules hang on the modules of a network, which captum (extra `captum`) knows; here they take
this package's forms: all outputs at once, one Explanation, the gap reported.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from baselines.arguments import is_a
from baselines.gradients import Extra, GradientExplainer, Parts, Scores, baselines_like


class _CaptumExplainer(GradientExplainer):
    """One of captum's explainers, asked about every output in turn."""

    captum_name = ""

    def __init__(self, model: nn.Module, **options: Any) -> None:  # noqa: ANN401
        if not is_a(model, nn.Module):
            raise TypeError(
                f"model is a {type(model).__name__}; {self.method} rewrites the backward rules of "
                "an nn.Module."
            )
        super().__init__(model, **options)
        self._captum()

    def _captum(self) -> Callable[..., Any]:
        try:
            import captum.attr
        except ImportError as error:
            raise ImportError(
                f"{self.method} needs captum; install it with pip install 'harsanyi[captum]'."
            ) from error
        return getattr(captum.attr, self.captum_name)

    def _arguments(self, inputs: Parts) -> dict[str, Any]:
        return {}

    def _scores(self, inputs: Parts, target: Tensor | None, extra: Extra) -> Scores:
        n_outputs = self._outputs_of(inputs, extra)
        method = self._captum()(self.model)
        arguments = self._arguments(inputs)
        if extra:
            arguments["additional_forward_args"] = extra
        with torch.no_grad():
            width = self.model(*(part[:1] for part in inputs), *extra).ndim
        targets = range(n_outputs) if target is None else [target]
        scores: list[Parts] = []
        for one in targets:
            with warnings.catch_warnings():
                # captum announces the hooks that are the method itself
                warnings.simplefilter("ignore", UserWarning)
                given = tuple(part.detach().clone().requires_grad_() for part in inputs)
                asked = None if width == 1 else one
                answer = method.attribute(given, target=asked, **arguments)
            scores.append(tuple(part.detach() for part in answer))
        stacked = tuple(torch.stack(parts, dim=-1) for parts in zip(*scores, strict=True))
        return self._with_ends(stacked, inputs, target, extra)

    def _with_ends(
        self, scores: Parts, inputs: Parts, target: Tensor | None, extra: Extra
    ) -> Scores:
        return Scores(scores, 1)


class DeepLift(_CaptumExplainer):
    """Differences of activations from a baseline, passed back by the rescale rule.

    Args:
        model: An nn.Module in which every nonlinearity is a module used once.
        baseline: Reference input: a number, `(*features)` or `(b, *features)`; a tuple of these
            for a model of several inputs.
        options: Keyword arguments of `GradientExplainer`.

    Raises:
        ImportError: If captum is not installed.
        TypeError: If the model is no nn.Module.

    Source: Shrikumar, Greenside and Kundaje (2017), sec. 3, through captum.

    Example:
        >>> import torch
        >>> from baselines import DeepLift
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> DeepLift(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "DeepLIFT"
    captum_name = "DeepLift"

    def __init__(
        self,
        model: nn.Module,
        baseline: Any = 0.0,  # noqa: ANN401 - a number, a tensor or a tuple of them
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(model, **options)
        self.baseline = baseline

    def attribute(  # pyright: ignore[reportIncompatibleMethodOverride] - captum's own order
        self,
        inputs: Any,  # noqa: ANN401
        baselines: Any = None,  # noqa: ANN401
        target: Any = None,  # noqa: ANN401
        additional_forward_args: Any = None,  # noqa: ANN401
        return_convergence_delta: bool = False,
    ) -> Any:  # noqa: ANN401
        """Scores of one output, in captum's form.

        Args:
            inputs: Explicands `(b, *features)`, or a tuple of them.
            baselines: Reference input; None takes the explainer's own.
            target: Explained output, one for all explicands or one each; None for one output.
            additional_forward_args: What the model is called with after the inputs.
            return_convergence_delta: Also return what the scores exceed their due by, `(b,)`.

        Returns:
            A tensor like `inputs`, or a tuple of them; with `return_convergence_delta` a pair.
        """
        given = self.baseline if baselines is None else baselines
        own = DeepLift(self.model, given, max_rows=self.max_rows)  # pyright: ignore[reportArgumentType]
        return own._attribute(
            inputs, target, additional_forward_args, delta=return_convergence_delta
        )

    def _arguments(self, inputs: Parts) -> dict[str, Any]:
        return {"baselines": tuple(part.clone() for part in baselines_like(self.baseline, inputs))}

    def _with_ends(
        self, scores: Parts, inputs: Parts, target: Tensor | None, extra: Extra
    ) -> Scores:
        b = len(inputs[0])
        owner = torch.arange(b)
        with torch.no_grad():
            base = self._run(baselines_like(self.baseline, inputs), owner, extra, b)
            here = self._run(inputs, owner, extra, b)
        if target is not None:
            base, here = base.gather(1, target[:, None]), here.gather(1, target[:, None])
        return Scores(scores, 2, base, here - base)


class LRP(_CaptumExplainer):
    """Layer-wise relevance propagation by captum's rules for each module, epsilon by default.

    Args:
        model: An nn.Module made of modules that captum has a rule for, each used once.
        options: Keyword arguments of `GradientExplainer`.

    Raises:
        ImportError: If captum is not installed.
        TypeError: If the model is no nn.Module.

    Source: Bach et al. (2015), through captum.

    Example:
        >>> import torch
        >>> from baselines import LRP
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> LRP(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "LRP"
    captum_name = "LRP"

    def _with_ends(
        self, scores: Parts, inputs: Parts, target: Tensor | None, extra: Extra
    ) -> Scores:
        with torch.no_grad():
            here = self._run(inputs, torch.arange(len(inputs[0])), extra, len(inputs[0]))
        if target is not None:
            here = here.gather(1, target[:, None])
        # relevance starts at the output itself, so that there is nothing to subtract
        return Scores(scores, 1, torch.zeros_like(here), here)


class GuidedBackprop(_CaptumExplainer):
    """The gradient with negative signals stopped at every ReLU.

    Args:
        model: An nn.Module whose ReLUs are modules.
        options: Keyword arguments of `GradientExplainer`.

    Raises:
        ImportError: If captum is not installed.
        TypeError: If the model is no nn.Module.

    Source: Springenberg et al. (2015), sec. 3.4, through captum.

    Example:
        >>> import torch
        >>> from baselines import GuidedBackprop
        >>> model = torch.nn.Linear(3, 2)
        >>> x = torch.ones(4, 3)
        >>> GuidedBackprop(model).explain(x).values.shape
        torch.Size([4, 3, 2])
    """

    method = "guided backpropagation"
    captum_name = "GuidedBackprop"
