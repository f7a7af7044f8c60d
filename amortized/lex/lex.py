"""LEX: a selector, an imputer and a predictor, trained together by maximum likelihood of y.

    p(y | x) = E over z ~ p(z | x), imputations ~ p(. | x_z)  of  p(y | x imputed)

Axes inside the likelihood are the paper's: `m` outer draws, `l` draws inside the logarithm, and
`r` imputations (its K); imputers are called as everywhere, on `(b, (m l), n)` coalitions.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from typing import Any, Self

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from amortized.lex import predictor as predictors
from amortized.lex import selector as selectors
from amortized.lex.gradients import (
    Drawn,
    Gradient,
    Objective,
    Reinforce,
    log_mean_exp,
)
from amortized.lex.inputs import as_answers, as_labels, as_rows
from amortized.lex.masks import Bernoulli, MaskLaw
from amortized.lex.selection import Selection
from baselines import Explanation, Imputer

REGIMES = ("frozen", "free", "surrogate")


class LEX(nn.Module):
    """A classifier or regressor that answers from a selection of its input.

    Args:
        selector: Maps `(b, *features)` to logits `(b, n)`.
        predictor: Maps rows `(rows, *features)`, with the masks as second argument when it has
            `mask_channel`, to logits `(rows, outputs)`; several of them are cross-fitted: each is
            trained without the rows it is asked about while the selector learns.
        imputer: Fills in what is not selected; frozen.
        law: Law of the masks.
        gradient: Estimator of the gradient through the masks.
        regime: `"frozen"` (predictor trained on full inputs, or given, and kept), `"free"` (it
            moves with the selector on the same masks) or `"surrogate"` (trained on masks that do
            not depend on the selector, then kept).
        task: `"classification"` or `"regression"` (Gaussian likelihood of learned width).
        target_rate: Share of players to select, on average over the training rows; takes the
            place of the price. Laws of fixed size have their own rate. None: the price decides.
        price: Cost of a selected player in nats, where there is no target rate.
        coherence: Cost of a boundary between selected and not selected neighbours, in nats.
        m: Outer draws.
        l: Draws inside the logarithm.
        imputations: Imputations of each mask, set on imputers that draw; None keeps theirs.
        groups: Player of each flattened feature, integers of the features' shape; None makes each
            feature a player.
        pretrain: In the `"free"` regime, start from a predictor trained on full inputs.
        classes: Class labels in the order of the outputs.
        players: Names of the players.
        max_rows: Most rows the predictor sees at once; loss and gradients do not depend on it.
        baseline: In INVASE, a network on full inputs whose log-likelihood is the baseline of the
            score function.

    Raises:
        ValueError: If a setting is unknown or out of range.

    Source: Senetaire, Garreau, Frellsen and Mattei (2023), Explainability as statistical
        inference.
    """

    def __init__(
        self,
        selector: nn.Module,
        predictor: nn.Module | Sequence[nn.Module],
        imputer: Imputer,
        *,
        law: MaskLaw | None = None,
        gradient: Gradient | None = None,
        regime: str = "frozen",
        task: str = "classification",
        target_rate: float | None = None,
        price: float = 0.03,
        coherence: float = 0.0,
        m: int = 2,
        l: int = 1,
        imputations: int | None = 4,
        groups: Tensor | None = None,
        pretrain: bool = True,
        classes: Sequence[Any] | None = None,
        players: Sequence[str] | None = None,
        max_rows: int | None = None,
        baseline: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if regime not in REGIMES:
            raise ValueError(f"regime={regime!r}; use one of {REGIMES}.")
        if task not in ("classification", "regression"):
            raise ValueError(f"task={task!r}; use 'classification' or 'regression'.")
        if target_rate is not None and not 0 < target_rate < 1:
            raise ValueError(f"target_rate={target_rate}; it must lie strictly between 0 and 1.")
        if target_rate is not None and not isinstance(law or Bernoulli(), Bernoulli):
            raise ValueError(f"target_rate={target_rate} with {law}, which has a rate of its own.")
        if price < 0 or coherence < 0:
            raise ValueError(f"price={price}, coherence={coherence}; neither may be negative.")
        if min(m, l) < 1 or (imputations is not None and imputations < 1):
            raise ValueError(f"m={m}, l={l}, imputations={imputations}; all must be 1 or more.")
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows={max_rows}; it must be 1 or more.")
        self.selector = selector
        members = [predictor] if isinstance(predictor, nn.Module) else list(predictor)
        if not members:
            raise ValueError("predictor is an empty list; LEX needs at least one.")
        self.predictors = nn.ModuleList(members)
        self.baseline = baseline
        self.law = law or Bernoulli()
        self.gradient = gradient or Reinforce()
        self.imputer = _with_draws(imputer, imputations)
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=task == "regression")
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("groups", groups)
        self.level: Tensor
        self.groups: Tensor | None
        self.settings = {
            "regime": regime,
            "task": task,
            "target_rate": target_rate,
            "price": price,
            "coherence": coherence,
            "m": m,
            "l": l,
            "imputations": imputations,
            "pretrain": pretrain,
            "max_rows": max_rows,
        }
        self.regime, self.task, self.target_rate = regime, task, target_rate
        self.price, self.coherence, self.m, self.l = price, coherence, m, l
        self.pretrain, self.max_rows = pretrain, max_rows
        self.classes = None if classes is None else list(classes)
        self.players = None if players is None else [str(name) for name in players]

    @classmethod
    def for_tabular(
        cls,
        n_features: int,
        n_classes: int | None,
        *,
        imputer: Imputer,
        target_rate: float | None = None,
        width: int = 100,
        depth: int = 2,
        folds: int = 1,
        network_baseline: bool = False,
        random_state: int | None = None,
        **settings: Any,  # noqa: ANN401 - LEX's own keywords
    ) -> Self:
        """A LEX of multilayer perceptrons for rows of numbers.

        Args:
            n_features: Features, each a player unless `groups` says otherwise.
            n_classes: Number of classes; None for regression.
            imputer: Fills in what is not selected.
            target_rate: Share of players to select.
            width: Units of each hidden layer.
            depth: Hidden layers.
            folds: Predictors to cross-fit; 1 trains a single one on all rows.
            network_baseline: Add the full-input network of `Reinforce("network")`.
            random_state: Seed of the initial weights; None draws one from torch's generator.
            **settings: Keywords of `LEX`, or a preset's.

        Returns:
            An untrained LEX.

        Raises:
            ValueError: If a size is not positive, or a setting is out of range.
        """
        n_outputs = 1 if n_classes is None else n_classes
        surrogate = settings.get("regime") == "surrogate"
        groups = settings.get("groups")
        n_players = n_features if groups is None else int(groups.max()) + 1
        with _seeded(random_state):
            chosen = selectors.MLPSelector(n_features, n_players, width, depth)
            members = [
                predictors.MLPPredictor(n_features, n_outputs, width, depth, surrogate)
                for _ in range(folds)
            ]
            baseline = (
                predictors.MLPPredictor(n_features, n_outputs, width, depth)
                if network_baseline
                else None
            )
        task = "regression" if n_classes is None else "classification"
        return cls(
            chosen,
            members,
            imputer,
            target_rate=target_rate,
            task=task,
            baseline=baseline,
            **settings,
        )

    @classmethod
    def for_images(
        cls,
        channels: int,
        size: tuple[int, int],
        n_classes: int,
        *,
        imputer: Imputer,
        patch: int = 4,
        target_rate: float | None = None,
        width: int = 16,
        random_state: int | None = None,
        **settings: Any,  # noqa: ANN401 - LEX's own keywords
    ) -> Self:
        """A LEX of convolutional networks whose players are square patches.

        Args:
            channels: Channels of the images.
            size: Height and width, multiples of the patch.
            n_classes: Number of classes.
            imputer: Fills in what is not selected.
            patch: Side of a patch in pixels.
            target_rate: Share of patches to select.
            width: Channels of the first level of both networks.
            random_state: Seed of the initial weights; None draws one from torch's generator.
            **settings: Keywords of `LEX`, or a preset's.

        Returns:
            An untrained LEX; players are patches, row by row.

        Raises:
            ValueError: If the patches do not tile the image.
        """
        surrogate = settings.get("regime") == "surrogate"
        with _seeded(random_state):
            chosen = selectors.ConvSelector(channels, size, patch, width)
            answer = predictors.ConvPredictor(channels, size, n_classes, width, surrogate)
        rows = torch.arange(size[0]) // patch
        columns = torch.arange(size[1]) // patch
        patches = rows[:, None] * (size[1] // patch) + columns
        groups = repeat(patches, "h w -> c h w", c=channels).contiguous()
        return cls(chosen, answer, imputer, target_rate=target_rate, groups=groups, **settings)

    def select(self, x: Any) -> "Selection":  # noqa: ANN401 - an array or a tensor
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

    def rows(self, x: Any, name: str = "x") -> Tensor:  # noqa: ANN401 - an array or a tensor
        """Explicands as a float tensor on the model's device, once they are sure to be finite.

        Args:
            x: `(b, *features)`: an array, a data frame or a tensor.
            name: What to call it in an error.

        Returns:
            Float32 `(b, *features)`, or float64 when the networks are.

        Raises:
            TypeError: If it holds no numbers.
            ValueError: If it has fewer than two axes, or an entry is not finite.
        """
        return as_rows(x, name, self.log_scale)

    def log_probs(
        self,
        x: Tensor,
        z: Tensor,
        generator: torch.Generator | None = None,
        relaxed: Tensor | None = None,
        owners: Tensor | None = None,
    ) -> Tensor:
        """What the predictor says of `x` completed from each mask.

        Args:
            x: Explicands `(b, *features)`.
            z: Bool masks `(m, l, b, n)`.
            generator: Source of the imputations.
            relaxed: Masks in [0, 1] by which inputs are mixed, to be differentiable in them.
            owners: `(b,)` predictor to ask about each row; None asks all and averages.

        Returns:
            `(m, l, b, r, outputs)`: log-probabilities of classes, or means in a regression.
        """
        m, l, b, _ = z.shape
        coalitions = self.feature_masks(rearrange(z, "m l b n -> b (m l) n"))
        with torch.no_grad():
            rows = self.imputer(x, coalitions, generator)  # (b, (m l), r, *features)
        shown = coalitions.reshape(b, m * l, 1, *x.shape[1:])
        if relaxed is not None:
            # what a present feature would be mixed with has to be drawn too: as if nothing were
            # present, since the draw for this mask returns the feature itself
            with torch.no_grad():
                nothing = torch.zeros_like(coalitions[:, :1])
                filling = self.imputer(x, nothing, generator)
            weight = self.feature_masks(rearrange(relaxed, "m l b n -> b (m l) n"))
            weight = weight.reshape(b, m * l, 1, *x.shape[1:])
            filling = torch.where(shown, filling, rows)
            rows = weight * x[:, None, None] + (1 - weight) * filling
            shown = weight
        r = rows.shape[2]
        flat = rows.reshape(b * m * l * r, *x.shape[1:])
        masks = None
        if self.uses_masks:
            masks = shown.expand(rows.shape).reshape(flat.shape)
        asked = None if owners is None else owners.repeat_interleave(m * l * r)
        answers = self._predict(flat, masks, asked)
        return rearrange(answers, "(b m l r) c -> m l b r c", b=b, m=m, l=l)

    @property
    def uses_masks(self) -> bool:
        """Whether the predictor sees the masks beside the rows."""
        return any(getattr(member, "mask_channel", False) for member in self.predictors)

    def feature_masks(self, masks: Tensor) -> Tensor:
        """Masks of players `(..., n)` as masks of flattened features."""
        if self.groups is None:
            return masks
        return masks[..., self.groups.reshape(-1)]

    def _predict(self, rows: Tensor, masks: Tensor | None, owners: Tensor | None) -> Tensor:
        """Answers `(rows, outputs)`, in pieces of `max_rows`."""
        size = self.max_rows or max(1, len(rows))
        if len(rows) <= size:
            return self._answer(rows, masks, owners)
        pieces = []
        for start in range(0, len(rows), size):
            part = (
                rows[start : start + size],
                None if masks is None else masks[start : start + size],
                None if owners is None else owners[start : start + size],
            )
            if (
                torch.is_grad_enabled()
            ):  # activations are computed again, so that memory is bounded
                pieces.append(checkpoint(self._answer, *part, use_reentrant=False))
            else:
                pieces.append(self._answer(*part))
        return torch.cat([piece for piece in pieces if isinstance(piece, Tensor)])

    def _answer(self, rows: Tensor, masks: Tensor | None, owners: Tensor | None) -> Tensor:
        if owners is not None and len(self.predictors) > 1:
            answers: Tensor | None = None
            for position, member in enumerate(self.predictors):
                mine = owners == position
                part = self._one(member, rows[mine], None if masks is None else masks[mine])
                if answers is None:
                    answers = part.new_empty((len(rows), part.shape[1]))
                answers = answers.index_put((mine,), part)
            assert answers is not None  # there is at least one predictor
            return answers
        parts = torch.stack([self._one(member, rows, masks) for member in self.predictors])
        if len(parts) == 1:
            return parts[0]
        return parts.mean(0) if self.task == "regression" else log_mean_exp(parts, 0)

    def _one(self, member: nn.Module, rows: Tensor, masks: Tensor | None) -> Tensor:
        logits = member(rows, masks) if getattr(member, "mask_channel", False) else member(rows)
        if self.task == "regression":
            return logits
        return torch.log_softmax(logits, -1)

    def value(
        self,
        x: Tensor,
        y: Tensor,
        generator: torch.Generator | None = None,
        owners: Tensor | None = None,
    ) -> Callable[..., Tensor]:
        """log p(y | x, z) as a function of masks, for the gradient estimators.

        Args:
            x: Explicands `(b, *features)`.
            y: Class positions `(b,)`, soft labels `(b, c)`, or real answers `(b,)`.
            generator: Source of the imputations.
            owners: `(b,)` predictor to ask about each row, or None.

        Returns:
            `value(z, relaxed=None)`: `(m, l, b)`, or `(m, l, b, c)` under soft labels.
        """
        moving = self.gradient.pathwise or self.predictor_moves

        def evaluate(z: Tensor, relaxed: Tensor | None = None) -> Tensor:
            with torch.set_grad_enabled(moving and torch.is_grad_enabled()):
                answers = self.log_probs(x, z, generator, relaxed, owners)
                return self._score(answers, y)

        return evaluate

    def _score(self, answers: Tensor, y: Tensor) -> Tensor:
        """log of the mean likelihood over imputations: `(m, l, b)` or `(m, l, b, c)`."""
        if self.task == "regression":
            scale = self.log_scale.exp()
            away = (y[:, None] - answers[..., 0]) / scale
            log_p = -0.5 * away**2 - self.log_scale - 0.5 * math.log(2 * math.pi)
            return self._mean_imputation(log_p, 3)
        log_p = self._mean_imputation(answers, 3)  # (m, l, b, c)
        if y.ndim == 2:
            return log_p
        index = y.expand(log_p.shape[:-1])[..., None]
        return log_p.gather(-1, index)[..., 0]

    def _mean_imputation(self, log_p: Tensor, dim: int) -> Tensor:
        weights = getattr(self.imputer, "weights", None)
        if weights is None:
            return log_mean_exp(log_p, dim)
        shape = [1] * log_p.ndim
        shape[dim] = len(weights)
        return torch.logsumexp(
            log_p + weights.to(log_p).clamp(min=1e-30).log().reshape(shape), dim
        )

    @property
    def predictor_moves(self) -> bool:
        """Whether the predictor has trainable parameters now."""
        moves = any(parameter.requires_grad for parameter in self.predictors.parameters())
        return moves or self.log_scale.requires_grad

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
                full = torch.log_softmax(self.baseline(x), -1)
            control = (full * y).sum(-1) if y.ndim == 2 else full.gather(-1, y[:, None])[:, 0]
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

    @torch.no_grad()
    def explain(self, x: Any, *, masks: int = 32) -> Explanation:  # noqa: ANN401
        """How likely each player is to be selected, and how settled the answer then is.

        Args:
            x: Explicands `(b, *features)`.
            masks: Selections drawn for the spread of the prediction.

        Returns:
            Values `(b, n, 1)`, inclusion probabilities of estimand `"selection"`. Diagnostics:
            `logits` `(b, n, 1)`, which rank players without ties; `mode` `(b, n, 1)`, the shown
            selection; and the variance of the predicted probability (or mean) split into
            `between_selections`, `between_imputations` and `within_imputation`, each `(b, c)`.

        Raises:
            ValueError: If `x` is not finite.

        Source: inclusion, Senetaire et al. (2023); within and between imputations, Rubin (1987).
        """
        rows = self.rows(x)
        logits = self.logits(rows)
        generator = torch.Generator(rows.device).manual_seed(0)
        z = self.law.hard(logits, self.law.noise(logits, 1, masks, generator))
        answers = self.log_probs(rows, z, generator)[0]  # (l, b, r, c)
        if self.task == "regression":
            mean, within = answers, self.log_scale.exp().square().expand_as(answers[0, :, 0])
        else:
            mean = answers.exp()
            within = (mean * (1 - mean)).mean((0, 2))
        flat = rows.reshape(len(rows), -1)
        return Explanation(
            self.law.inclusion(logits)[..., None],
            estimand="selection",
            game=f"p(y | selection), {self._words()}",
            method=f"LEX ({self.regime} predictor)",
            n_evals=masks,
            players=self.players,
            outputs=["selected"],
            data=flat if self.groups is None else None,
            diagnostics={
                "logits": logits[..., None],
                "mode": self.law.mode(logits)[..., None],
                "between_selections": mean.mean(2).var(0, correction=0),
                "between_imputations": mean.var(2, correction=0).mean(0),
                "within_imputation": within,
            },
        )

    def _words(self) -> str:
        imputer = getattr(self.imputer, "description", type(self.imputer).__name__)
        return f"{imputer}, {self.law}"

    def encode(self, y: Any) -> Tensor:  # noqa: ANN401 - labels of any kind
        """Labels as the likelihood takes them.

        Args:
            y: Classes, soft labels `(b, c)` (rows of probabilities), or real answers.

        Returns:
            Int64 class positions `(b,)`, float soft labels `(b, c)`, or float answers `(b,)`.

        Raises:
            ValueError: If a class is unknown, or a number is not finite.
        """
        if self.task == "regression":
            return as_answers(y, self.log_scale)
        return as_labels(y, self.classes, self.log_scale)

    def fit(
        self,
        X: Any,  # noqa: ANN401 - an array, a data frame or a tensor
        y: Any = None,  # noqa: ANN401 - labels of any kind
        validation: tuple[Any, Any] | None = None,
        **options: Any,  # noqa: ANN401 - of fitting.fit
    ) -> Self:
        """Train predictor and selector.

        Args:
            X: Rows `(b, *features)`, finite.
            y: Classes `(b,)`, soft labels `(b, c)`, real answers, or None to explain a frozen
                predictor's own answers.
            validation: Rows and labels for early stopping of the predictor; a tenth of the rows
                is set aside when None.
            **options: `epochs`, `batch_size`, `learning_rate`, `random_state`, `progress`,
                `checkpoint_dir` of `amortized.lex.fitting.fit`.

        Returns:
            The model itself, in eval mode.

        Raises:
            ValueError: If there are no rows, fewer than two classes, or numbers are not finite.
        """
        from amortized.lex.fitting import fit

        fit(self, X, y, validation, **options)
        return self

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the model into a folder: config.json, model.safetensors, imputer/.

        Args:
            folder: Made if missing.

        Raises:
            TypeError: If the imputer or the gradient estimator cannot be rebuilt from a file.
        """
        from amortized.lex.storage import save_lex

        save_lex(self, folder)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | PathLike[str],
        *,
        selector: nn.Module | None = None,
        predictor: nn.Module | Sequence[nn.Module] | None = None,
        imputer: Imputer | None = None,
    ) -> Self:
        """Read a model that `save_pretrained` wrote.

        Args:
            folder: The folder.
            selector: A selector to fill with the weights, if it is of a class of your own.
            predictor: Likewise the predictor or predictors.
            imputer: Likewise the imputer.

        Returns:
            The model in eval mode.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated, corrupt, or of another version.
        """
        from amortized.lex.storage import load_lex

        return load_lex(cls, folder, selector=selector, predictor=predictor, imputer=imputer)


def _with_draws(imputer: Imputer, imputations: int | None) -> Any:  # noqa: ANN401 - still an imputer
    """A copy of the imputer with its number of draws set, where it draws."""
    if imputations is None or not isinstance(imputer, nn.Module):
        return imputer
    settable = "n_draws" in imputer.__dict__
    if not settable:
        return imputer
    copied = copy.copy(imputer)
    copied.n_draws = imputations  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
    return copied


@contextmanager
def _seeded(random_state: int | None) -> Iterator[None]:
    """Initial weights drawn from their own seed; torch's global stream is left as it was."""
    with torch.random.fork_rng(devices=[], enabled=random_state is not None):
        if random_state is not None:
            torch.default_generator.manual_seed(random_state)
        yield


__all__ = ["LEX", "REGIMES", "Selection"]
