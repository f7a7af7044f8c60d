"""A latent selection: its distribution, the bound on log p(y | x), and the mixture it answers with.

p(y | x) = E over z ~ p(z | x), imputations ~ p(. | x_z)  of  p(y | x imputed)
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from amortized.lex.gradients import Drawn, Gradient, Objective, log_mean_exp
from amortized.lex.inputs import as_rows
from amortized.lex.likelihood import Likelihood
from amortized.lex.masks import MaskLaw
from amortized.lex.selection import Selection
from baselines import Imputer


class LatentSelection(Likelihood):
    """The model of LEX: which players are shown is a random variable that a selector informs.

    Args:
        selector: Maps `(b, *features)` to logits `(b, n)`.
        predictor: Maps rows, and masks where it has a `mask_channel`, to `(rows, outputs)`; one or
            several.
        imputer: Fills in what is not selected.
        law: Law of the masks.
        gradient: Estimator of the gradient through the masks.
        m: Outer draws.
        l: Draws inside the logarithm.
        baseline: A network on full inputs whose log-likelihood is the baseline of the score
            function, or None.
        task: `"classification"` or `"regression"`.
        groups: Player of each flattened feature, -1 where it is never shown, or None.
        classes: Class labels in the order of the outputs, or None.
        max_rows: Most rows a predictor sees at once, or None.

    Source: Senetaire, Garreau, Frellsen and Mattei (2023), the model and its importance-weighted
        bound.
    """

    def __init__(
        self,
        selector: nn.Module,
        predictor: nn.Module | Sequence[nn.Module],
        imputer: Imputer,
        law: MaskLaw,
        gradient: Gradient,
        *,
        m: int,
        l: int,
        baseline: nn.Module | None,
        task: str,
        groups: Tensor | None,
        classes: Sequence[Any] | None,
        max_rows: int | None,
    ) -> None:
        super().__init__(predictor, imputer, gradient, task, groups, classes, max_rows)
        self.selector = selector
        self.baseline = baseline
        self.law = law
        self.m, self.l = m, l
        self.register_buffer("level", torch.zeros(()))
        self.level: Tensor

    def rows(self, x: Any, name: str = "x") -> Tensor:  # noqa: ANN401 - an array or a tensor
        """Explicands as the selector takes them, on its device, once they are sure to be finite.

        Args:
            x: `(b, *features)`: an array, a data frame or a tensor.
            name: What to call it in an error.

        Returns:
            Float32 `(b, *features)`, or float64 when the networks are.

        Raises:
            TypeError: If it holds no numbers.
            ValueError: If it has fewer than two axes or other features than the selector's, or an
                entry is not finite.
        """
        known = getattr(getattr(self.selector, "standardise", None), "mean", None)
        return as_rows(x, name, self.log_scale, None if known is None else known.shape)

    def select(self, x: Any) -> Selection:  # noqa: ANN401 - an array or a tensor
        """The distribution of selections of each explicand.

        Args:
            x: Explicands `(b, *features)`, finite.

        Returns:
            A `Selection` over masks of `n` players.

        Raises:
            ValueError: If `x` is not finite.
        """
        return Selection(self.law, self.logits(self.rows(x)))

    def logits(self, x: Tensor) -> Tensor:
        """The selector's logits `(b, n)` of `(b, *features)`, at the level of the asked rate."""
        return self.selector(x) - self.level

    def draw(
        self,
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        owners: Tensor | None = None,
        logits: Tensor | None = None,
    ) -> Drawn:
        """One estimate of the bound on log p(y | x) and of its gradient.

        Args:
            x: Explicands `(b, *features)`.
            y: Class positions `(b,)`, soft labels `(b, c)`, or real answers `(b,)`.
            generator: Source of masks and imputations.
            owners: `(b,)` predictor to ask about each row, or None.
            logits: The selector's logits, when they are at hand.

        Returns:
            Loss and bound, `(b,)` each; the price is not in them.
        """
        logits = self.logits(x) if logits is None else logits
        control = None
        if self.baseline is not None:
            with torch.no_grad():
                full = self._one(self.baseline, x, None)  # (b, outputs): one draw of everything
                control = self._score(full[None, None, :, None], y)[0, 0]
            control = (control * y).sum(-1) if y.ndim == 2 else control
        soft = y if y.ndim == 2 else None
        value = self.value(x, y, generator, owners)
        return self.gradient(
            Objective(self.law, logits, value, self.m, self.l, generator, control, soft)
        )

    def boundaries(self, logits: Tensor) -> Tensor:
        """Expected number of neighbours of which exactly one is selected, `(b,)`.

        Source: Lei, Barzilay and Jaakkola (2016), eq. 4.
        """
        p = self.law.inclusion(logits)
        return (p[:, 1:] * (1 - p[:, :-1]) + p[:, :-1] * (1 - p[:, 1:])).sum(-1)

    @torch.no_grad()
    def log_likelihood(
        self,
        x: Any,  # noqa: ANN401 - an array or a tensor
        y: Any,  # noqa: ANN401 - labels as they were fitted
        *,
        m: int = 1,
        l: int = 32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """A lower bound on log p(y | x), tight as `l` and the imputations grow.

        Args:
            x: Explicands `(b, *features)`.
            y: Labels as fitted: classes, soft labels `(b, c)`, or real answers.
            m: Estimates to average.
            l: Masks inside the logarithm.
            generator: Source of masks and imputations; None always draws the same.

        Returns:
            `(b,)` in nats.

        Raises:
            ValueError: If a label is unknown or `x` is not finite.
        """
        rows, target = self.rows(x), self.encode(y)
        generator = generator or torch.Generator(rows.device).manual_seed(0)
        logits = self.logits(rows)
        z = self.law.hard(logits, self.law.noise(logits, m, l, generator))
        w = self._score(self.log_probs(rows, z, generator), target)
        bound = log_mean_exp(w, 1)
        return (bound if target.ndim < 2 else (target * bound).sum(-1)).mean(0)

    @torch.no_grad()
    def predict_proba(
        self,
        x: Any,  # noqa: ANN401 - an array or a tensor
        *,
        masks: int = 32,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The mixture over selections and imputations: probabilities `(b, c)`, or means `(b, 1)`.

        Args:
            x: Explicands `(b, *features)`.
            masks: Selections to average over.
            generator: Source of masks and imputations; None always draws the same.

        Returns:
            Probabilities of the classes; in a regression, the mean answer.

        Raises:
            ValueError: If `x` is not finite.
        """
        rows = self.rows(x)
        generator = generator or torch.Generator(rows.device).manual_seed(0)
        logits = self.logits(rows)
        z = self.law.hard(logits, self.law.noise(logits, 1, masks, generator))
        answers = self.log_probs(rows, z, generator)[0]  # (l, b, r, c)
        if self.task == "regression":
            return answers.mean((0, 2))
        return log_mean_exp(self._mean_imputation(answers, 2), 0).exp()
