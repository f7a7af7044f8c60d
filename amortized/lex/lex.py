"""LEX: a selector, an imputer and a predictor, built, trained by maximum likelihood of y, and kept."""

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from amortized.lex import networks
from amortized.lex.gradients import Gradient, Reinforce
from amortized.lex.likelihood import with_draws
from amortized.lex.masks import Bernoulli, MaskLaw
from amortized.lex.selecting import LatentSelection
from baselines import Explanation, Imputer
from baselines.arguments import real, whole

if TYPE_CHECKING:
    from amortized.lex.texts import LEXForTexts

REGIMES = ("frozen", "free", "surrogate")


class LEX(LatentSelection):
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
        groups: Player of each flattened feature, integers of the features' shape, -1 where a
            feature is never shown; None makes each feature a player.
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

    Example:
        >>> import numpy as np
        >>> from amortized import LEX
        >>> from baselines import GaussianImputer
        >>> X = np.random.default_rng(0).normal(size=(200, 4))
        >>> y = (X[:, 0] > 0).astype(int)
        >>> lex = LEX.for_tabular(4, 2, imputer=GaussianImputer.fit(X), target_rate=0.25, random_state=0)
        >>> e = lex.fit(X, y, epochs=2).explain(X[:5])
        >>> e.estimand, e.values.shape  # probabilities of being selected
        ('selection', torch.Size([5, 4, 1]))
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
        if regime not in REGIMES:
            raise ValueError(f"regime={regime!r}; use one of {REGIMES}.")
        if task not in ("classification", "regression"):
            raise ValueError(f"task={task!r}; use 'classification' or 'regression'.")
        if target_rate is not None and not 0 < real(target_rate, "target_rate") < 1:
            raise ValueError(f"target_rate={target_rate}; it must lie strictly between 0 and 1.")
        if target_rate is not None and not isinstance(law or Bernoulli(), Bernoulli):
            raise ValueError(f"target_rate={target_rate} with {law}, which has a rate of its own.")
        if real(price, "price") < 0 or real(coherence, "coherence") < 0:
            raise ValueError(f"price={price}, coherence={coherence}; neither may be negative.")
        if not callable(imputer):
            raise TypeError(
                f"imputer is a {type(imputer).__name__}; pass one, such as BaselineImputer(0.0)."
            )
        m, l = whole(m, "m"), whole(l, "l")
        imputations = None if imputations is None else whole(imputations, "imputations")
        if min(m, l) < 1 or (imputations is not None and imputations < 1):
            raise ValueError(f"m={m}, l={l}, imputations={imputations}; all must be 1 or more.")
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows={max_rows}; it must be 1 or more.")
        super().__init__(
            selector,
            predictor,
            with_draws(imputer, imputations),
            law or Bernoulli(),
            gradient or Reinforce(),
            m=m,
            l=l,
            baseline=baseline,
            task=task,
            groups=groups,
            classes=classes,
            max_rows=max_rows,
        )
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
        self.regime, self.target_rate = regime, target_rate
        self.price, self.coherence = price, coherence
        self.pretrain = pretrain
        self.seed: int | None = None
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
        mask_channel: bool | None = None,
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
            mask_channel: Whether the predictor also sees which features are present; None shows
                it to surrogates only.
            network_baseline: Add the full-input network of `Reinforce("network")`.
            random_state: Seed of the initial weights, and of `fit` unless it gets its own; None
                takes one from the system.
            **settings: Keywords of `LEX`, or a preset's; a `selector` or `predictor` of your own
                takes the place of the one made here.

        Returns:
            An untrained LEX.

        Raises:
            ValueError: If a size is not positive, or a setting is out of range.
        """
        parts = networks.tabular(
            n_features,
            n_classes,
            width=width,
            depth=depth,
            folds=folds,
            groups=settings.get("groups"),
            mask_channel=settings.get("regime") == "surrogate"
            if mask_channel is None
            else mask_channel,
            network_baseline=network_baseline,
            random_state=random_state,
        )
        lex = cls(imputer=imputer, target_rate=target_rate, **parts | settings)
        lex.seed = random_state
        return lex

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
            random_state: Seed of the initial weights, and of `fit` unless it gets its own; None
                takes one from the system.
            **settings: Keywords of `LEX`, or a preset's, as in `for_tabular`.

        Returns:
            An untrained LEX; players are patches, row by row.

        Raises:
            ValueError: If the patches do not tile the image.
        """
        parts = networks.images(
            channels,
            size,
            n_classes,
            patch=patch,
            width=width,
            mask_channel=settings.get("regime") == "surrogate",
            random_state=random_state,
        )
        lex = cls(imputer=imputer, target_rate=target_rate, **parts | settings)
        lex.seed = random_state
        return lex

    @staticmethod
    def for_text(
        texts: Sequence[str] | Sequence[Sequence[str]],
        n_classes: int | None,
        *,
        imputer: Imputer | str = "words",
        target_rate: float | None = None,
        max_words: int | None = None,
        vocabulary_size: int = 20_000,
        width: int = 32,
        reach: int = 1,
        random_state: int | None = None,
        **settings: Any,  # noqa: ANN401 - LEX's own keywords
    ) -> "LEXForTexts":
        """A LEX whose players are the words of a text, as many as it has.

        Args:
            texts: Strings, or lists of words, from which the vocabulary is read.
            n_classes: Number of classes; None for regression.
            imputer: `"words"` draws words as often as they occur in the texts, `"drop"` leaves
                them out; or an imputer of rows of integers, 0 being padding.
            target_rate: Share of words to select.
            max_words: Most words of a text; None takes the longest of `texts`.
            vocabulary_size: Most words to know; the others are one unknown word.
            width: Size of the word vectors of both networks.
            reach: Words that both networks see on either side of a word.
            random_state: Seed of the initial weights, and of `fit` unless it gets its own.
            **settings: Keywords of `LEX`, or a preset's.

        Returns:
            An untrained LEX; `fit` and `explain` take texts.

        Raises:
            TypeError: If `texts` holds neither strings nor lists of strings.
            ValueError: If the vocabulary would be empty, or a setting does not fit texts.
        """
        from amortized.lex.texts import LEXForTexts

        return LEXForTexts.build(
            texts,
            n_classes,
            imputer=imputer,
            target_rate=target_rate,
            max_words=max_words,
            vocabulary_size=vocabulary_size,
            width=width,
            reach=reach,
            random_state=random_state,
            **settings,
        )

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
            TypeError: If `masks` is no whole number.
            ValueError: If `x` is not finite or has no rows, or `masks` is below 1.

        Source: inclusion, Senetaire et al. (2023); within and between imputations, Rubin (1987).
        """
        from amortized.lex.explaining import explain_selection

        rows, masks = self.rows(x), whole(masks, "masks")
        if len(rows) == 0 or masks < 1:
            raise ValueError(f"x has {len(rows)} rows, masks={masks}; both must be 1 or more.")
        return explain_selection(self, rows, masks)

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
                `checkpoint_dir`, ... of `amortized.lex.fitting.fit`.

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
