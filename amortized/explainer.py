"""AmortizedExplainer: attributions of every output in one forward pass, learned from labels.

    explainer = AmortizedExplainer.from_target(model).fit(store)
    explainer.explain(["a text", "another one"])

Importing this file registers the Auto classes of transformers.
"""

import dataclasses
from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, PreTrainedModel
from transformers.utils.generic import ModelOutput

from amortized.adapters import adapter_settings
from amortized.config import FORMAT, AmortizedConfig
from amortized.encoders import Encoder, Inputs, make_encoder
from amortized.heads import NARROW, ends_head, make_head, read_head
from amortized.objectives import Prediction, normalise
from amortized.playing import GameCard, GameFactory
from amortized.starting import start_encoder, target_spec
from baselines.arguments import is_a, whole
from baselines.explanation import Explanation
from baselines.randomness import seeded
from baselines.saved_models import (
    check_files,
    check_signature,
    load_strictly,
    register,
    settings_hash,
)

SIGNED = (
    "encoder", "outputs", "head", "uncertainty", "normalizer", "ends", "classes", "game", "estimand",
    "adapters",
)  # fmt: skip
"""Settings that the weights mean something under; what is measured afterwards is none of them."""


@dataclasses.dataclass
class AmortizedOutput(ModelOutput):
    """What a forward pass returns.

    Attributes:
        attributions: `(b, n, k)`.
        log_scales: `(b, n, k)`, logarithm of the predicted standard errors, or None.
        ends: `(b, 2, k)`, predicted v(none) and v(all).
        mask: Bool `(b, n)`, false for padding.
    """

    attributions: Tensor | None = None
    log_scales: Tensor | None = None
    ends: Tensor | None = None
    mask: Tensor | None = None


class AmortizedExplainer(PreTrainedModel):
    """A network that predicts the attributions which an estimator would take evaluations for.

    Args:
        config: Fixes all shapes.

    Example:
        >>> import tempfile, torch
        >>> from amortized import AmortizedExplainer, LabelStore
        >>> from baselines import BaselineImputer, MaskedGame
        >>> def model(x):
        ...     return MaskedGame(lambda rows: rows.prod(1), x, BaselineImputer(1.0))
        >>> X = torch.linspace(0.5, 1.5, 120).view(40, 3)
        >>> store = LabelStore(tempfile.mkdtemp()).generate(model, X, progress=False)
        >>> explainer = AmortizedExplainer.from_target(model, X).fit(store, epochs=1, progress=False)
        >>> explainer.explain(X[:2]).values.shape
        torch.Size([2, 3, 1])
    """

    config_class = AmortizedConfig
    # no module's name: transformers would take "scale" and "encoder.scale" for one another
    base_model_prefix = "amortized_explainer"
    config: AmortizedConfig
    encoder: Encoder
    head: torch.nn.Module
    ends: torch.nn.Module
    scale: Tensor
    end_location: Tensor
    end_scale: Tensor
    signature: Tensor

    def __init__(self, config: AmortizedConfig) -> None:
        parent: Any = super()  # which gives its arguments no types, here and below
        parent.__init__(config)
        with torch.device("cpu"):  # not meta: encoders compute with what they are built from
            self.encoder = make_encoder(config.encoder or {})
            k = self.n_outputs
            per_player = 2 * k if config.uncertainty else k
            self.head = make_head(self.encoder, per_player, config.head)
            self.ends = ends_head(self.encoder.width, k)
            self.register_buffer("scale", torch.ones(k))
            self.register_buffer("end_location", torch.zeros(2, k))
            self.register_buffer("end_scale", torch.ones(2, k))
            self.register_buffer("signature", torch.zeros((), dtype=torch.int64))
        # position ids and the like must be in the file, or loading leaves them to chance
        for module in self.modules():
            module._non_persistent_buffers_set.clear()
        self._model: list[GameFactory] = []  # in a list, so that it is no submodule
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: modules draw their weights when built, and a loaded file must be complete."""

    @classmethod
    def from_target(
        cls,
        model: GameFactory,
        examples: Any = None,  # noqa: ANN401
        *,
        head: str = "mlp",
        uncertainty: bool = True,
        normalizer: str = "none",
        ends: str = "predicted",
        classes: str = "all",
        lora: int | None = None,
        pretrained: str | PathLike[str] | None = None,
        encoder: dict[str, Any] | None = None,
        training: dict[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> Self:
        """An explainer of a model, not trained yet.

        Args:
            model: A `TextModel`, whose encoder the explainer starts from, or any function from
                examples to their games.
            examples: Rows or images that show the shapes, and location and scale; not needed for
                texts.
            head: "linear", "mlp", "attention" or "flat".
            uncertainty: Predict the error, too.
            normalizer: Make values sum to v(all) - v(none): "additive", "precision" or "none". For
                texts "additive" was measured to be better, for rows "none"; ends that are predicted
                badly spoil the values with them.
            ends: Where v(none) and v(all) come from when explaining: "predicted" by the
                explainer, or "exact", two evaluations of the model.
            classes: "all" outputs at once, or the "predicted" one only.
            lora: Rank of adapters that are trained in place of a text encoder and then added to its
                weights (extra `lora`); by default 16 above 300 million parameters, none below.
            pretrained: Start the encoder from this folder or hub name instead.
            encoder: Settings of the encoder: `width`, `depth`, `grid` of rows and images; `padded`,
                `max_length` and `layers` of texts, which reads with the first layers of the model.
            training: Settings that `fit` takes where its caller says nothing.
            generator: Source of the new weights; None always starts the same.

        Returns:
            An explainer that remembers its model.

        Raises:
            TypeError: If the model is not callable.
            ValueError: If an option is unknown, or rows and images come without examples.
            ImportError: If adapters are wanted and peft is not installed.
        """
        spec, found = target_spec(model, examples, encoder or {}, pretrained)
        card = GameCard.of(model, found)
        config = AmortizedConfig(
            encoder=spec,
            outputs=card.outputs if classes == "all" else ["predicted class"],
            head=head,
            uncertainty=uncertainty,
            normalizer=normalizer,
            ends=ends,
            classes=classes,
            game=dataclasses.asdict(card),
            training=training,
        )
        if generator is not None and not is_a(generator, torch.Generator):
            raise TypeError(f"generator={generator!r}; pass a torch.Generator, or None.")
        seed = 0 if generator is None else int(torch.randint(2**31, (), generator=generator))
        with seeded(seed):
            explainer = cls(config)
        start_encoder(explainer, model, found, pretrained)
        config.adapters = adapter_settings(explainer.encoder, lora)
        explainer.attach(model).eval()
        return explainer

    @property
    def n_outputs(self) -> int:
        """Outputs `k`."""
        return len(self.config.outputs or [])

    @property
    def card(self) -> GameCard | None:
        """The game that is explained."""
        return GameCard(**self.config.game) if self.config.game else None

    @property
    def model(self) -> GameFactory | None:
        """The model that is explained, where it is at hand."""
        return self._model[0] if self._model else None

    def attach(self, model: GameFactory) -> Self:
        """Remember the model, which refinement and exact ends ask.

        Args:
            model: The `TextModel` or game factory that the explainer was made for.

        Raises:
            ValueError: If its fingerprint says that it is another one.
        """
        card, named = self.card, getattr(model, "fingerprint", None)
        if card is not None and isinstance(named, str) and named != card.fingerprint:
            raise ValueError(
                f"this explainer is of the game {card.description!r} with another fingerprint: "
                "weights, tokenizer, players, removal or link of the model differ."
            )
        self._model = [model]
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode; the encoder stays without dropout, which only blurs a regression."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(
        self,
        return_dict: bool | None = None,
        known_ends: Tensor | None = None,
        **inputs: Tensor,
    ) -> AmortizedOutput | tuple[Tensor, ...]:
        """Values of a batch.

        Args:
            return_dict: False for a tuple.
            known_ends: `(b, 2, k)`, v(none) and v(all) to normalise by.
            inputs: From the encoder's `collate`.

        Returns:
            Values, logarithms of their errors, predicted ends and mask.
        """
        said = self.predict(inputs, known_ends)
        output = AmortizedOutput(said.values, said.log_scales, said.ends, said.mask)
        answer: Any = output
        return answer.to_tuple() if return_dict is False else output

    def predict(self, inputs: Inputs, ends: Tensor | None = None) -> Prediction:
        """Values of a batch, with gradients.

        Args:
            inputs: From the encoder's `collate`.
            ends: `(b, 2, k)`, v(none) and v(all) to normalise by; predicted ones when None.
        """
        raw, states = read_head(self.encoder, self.head, inputs)
        k = self.n_outputs
        values = raw[..., :k] * self.scale
        logs = None
        if self.config.uncertainty:
            logs = raw[..., k:].clamp(min=NARROW, max=-NARROW) + self.scale.log()
        guessed = self.ends(states.whole).unflatten(-1, (2, k))
        guessed = self.end_location + self.end_scale * guessed
        known = guessed if ends is None else ends
        mask = states.mask if len(states.mask) > 1 else None  # one example has no padding
        values = normalise(values, known[:, 1] - known[:, 0], mask, self.config.normalizer, logs)
        return Prediction(values, logs, guessed, states.mask)

    def fit(self, store: Any, validation: Any = 0.1, **settings: Any) -> Self:  # noqa: ANN401
        """Train on labels; see `amortized.fitting.fit_explainer` for the settings.

        Args:
            store: A checked `LabelStore`, `Labels`, or plain examples for objectives that ask the
                model themselves.
            validation: Another store, labels or examples, or a share of the store.
            settings: `objective`, `epochs`, `batch_size`, `lr`, `patience`, `checkpoint_dir`, ...

        Returns:
            The explainer with the weights that did best on the validation labels.
        """
        from amortized.fitting import fit_explainer

        fit_explainer(self, store, validation, **settings)
        return self

    def explain(
        self,
        x: Any,  # noqa: ANN401 - texts, pairs, rows or images
        refine: int = 0,
        *,
        unbiased: bool = False,
        level: float | None = None,
        batch_size: int = 64,
        precision: str = "full",
        seed: int = 0,
    ) -> Explanation:
        """Explain texts, rows or images.

        Args:
            x: What the encoder reads.
            refine: Fresh antithetic pairs of orders for each example, fused with the prediction
                by precision; needs the model.
            unbiased: Spend the same evaluations on an estimate that the prediction only steadies,
                so that it is unbiased however wrong the prediction.
            level: Add the half-widths of conformal intervals of this level as diagnostic
                `half_width`; needs `calibrate`.
            batch_size: Examples of one pass.
            precision: "full", or "bf16" to multiply the pass in bfloat16.
            seed: Seed of the fresh pairs.

        Returns:
            Values `(b, n, k)`; `std_errors` are the predicted ones, or None. Of texts,
            `diagnostics["n_cut"]` `(b,)` counts the characters that the longest input leaves out.

        Raises:
            ValueError: If the examples cannot be read, or the model is needed and not attached.
        """
        from amortized.explaining import explain
        from amortized.refinement import refine_explanation

        refine = whole(refine, "refine", "a number of fresh pairs")
        if unbiased and not refine:
            raise ValueError(
                f"unbiased=True and refine={refine}: the unbiased mode needs fresh evaluations; pass "
                "refine=1 or more."
            )
        said = explain(self, x, batch_size, precision)
        if refine:
            found = refine_explanation(self, x, said, refine, unbiased=unbiased, seed=seed)
            told = {**said.diagnostics, **found.diagnostics}
            said = dataclasses.replace(found, diagnostics=told)
        if level is not None:
            from amortized.conformal import with_intervals

            said = with_intervals(said, self.config.conformal or {}, level, refine)
        return said

    def calibrate(
        self,
        x: Any,  # noqa: ANN401
        truth: Explanation,
        *,
        refine: int = 0,
        levels: Sequence[float] = (0.8, 0.9, 0.95),
    ) -> Self:
        """Learn how wide intervals must be, from held-out examples with known truth.

        Args:
            x: Examples that were not trained on.
            truth: Their values, much more precise than the explainer.
            refine: Fresh pairs that the intervals are meant for.
            levels: Shares of attributions that intervals are to cover.

        Returns:
            The explainer, whose `explain(..., level=0.9)` then adds `half_width`.
        """
        from amortized.conformal import half_widths

        found = half_widths(self.explain(x, refine), truth, levels)
        self.config.conformal = {**(self.config.conformal or {}), str(refine): found}
        return self

    def _signed(self) -> int:
        return settings_hash({name: getattr(self.config, name) for name in SIGNED})

    def check_signature(self) -> None:
        """Check that the weights belong to the settings and names of the config.

        Raises:
            ValueError: If they were saved under others.
        """
        about = (
            "settings (encoder, head, normalizer, ends, classes, game, estimand) or names "
            "(outputs, players)"
        )
        check_signature(int(self.signature), self._signed(), about)

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Write config, weights and, for texts, the tokenizer."""
        self.signature.fill_(self._signed())
        parent: Any = super()
        answer = parent.save_pretrained(save_directory, *args, **kwargs)
        self.encoder.save_extra(save_directory)
        return answer

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        model: GameFactory | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Load an explainer, strictly.

        Args:
            pretrained_model_name_or_path: Folder or name on the Hub.
            args: As transformers takes them.
            model: The explained model, for refinement.
            kwargs: As transformers takes them.

        Returns:
            The explainer in eval mode (and loading information, if asked for).

        Raises:
            FileNotFoundError: If config or weights are missing.
            ValueError: If a file is corrupt, of another version, or does not fit the config.
        """
        folder = pretrained_model_name_or_path
        check_files(folder, FORMAT, model_type=AmortizedConfig.model_type)
        asked = kwargs.pop("output_loading_info", False)
        parent: Any = super()
        explainer, info = load_strictly(parent.from_pretrained, folder, *args, **kwargs)
        explainer.check_signature()
        # encoders are built in a precision of their own
        explainer.to(explainer.scale.dtype)
        explainer.encoder.load_extra(folder)
        if model is not None:
            explainer.attach(model)
        return (explainer, info) if asked else explainer


register(AutoConfig, AmortizedConfig.model_type, AmortizedConfig)
register(AutoModel, AmortizedConfig, AmortizedExplainer)
