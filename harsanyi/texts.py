"""Text classifiers that explain themselves: players are words, word pieces or sentences.

net = HarsanyiForTextClassification.from_texts(texts, labels)
net.explain(["not a good film"]).plot.text(0)
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
)

from baselines.explanation import Explanation
from baselines.randomness import seed_of
from baselines.saved_models import register
from baselines.torch_calls import as_list
from harsanyi.outputs import (
    HarsanyiOutput,
    explained,
    given,
    label_loss,
    problem_of,
    targets_of,
)
from harsanyi.player_finders import find_players, read_tokenizer, settings_of
from harsanyi.pretrained import HarsanyiConfig, HarsanyiPreTrainedModel
from harsanyi.sentence_encoders import Encoder
from harsanyi.text_designs import DESIGNS, specs_of
from harsanyi.text_dividends import text_dividends
from harsanyi.text_fitting import Bundle, TextLoss, bundles, passes, train_text_net
from harsanyi.text_labels import check_labels, classes_of, is_regression, label_names, plain_labels
from harsanyi.text_net import TextNet, drawn
from harsanyi.text_options import check_options, presence
from harsanyi.text_reading import ReadsTexts
from harsanyi.vocabulary import UNITS, Text, Unit, check_texts

__all__ = ["DESIGNS", "HarsanyiForTextClassification", "HarsanyiTextConfig", "specs_of"]

LONG_WORK = 10**6
"""Sum of squared lengths from which on explaining takes seconds and shows a bar."""

if TYPE_CHECKING:
    from baselines.interactions import Interactions
    from harsanyi.dividends import Dividends


class HarsanyiTextConfig(HarsanyiConfig):
    """Everything that fixes the shapes of a text net, and what its numbers mean.

    Args:
        unit: What a player is: "words", "tokens" (word pieces) or "sentences".
        vocab_size: Known players, padding and the unknown one included; 0 for sentences.
        input_width: Numbers of a given vector per player; 0 where vectors are learned.
        width: Numbers per player inside.
        n_types: 2 for pairs of texts.
        dropout: Of the vectors, in training.
        classes: Labels in the order of the outputs.
        encoder: Name of the sentence encoder, or None.
        tolerance: Error that matrix products may certify instead of taking all nodes; 0: exact.
        padding: Id that pads.
        unknown: Id of unknown players.

    Example:
        >>> from harsanyi import HarsanyiForTextClassification
        >>> texts = ["a good film", "a bad film", "not a good film", "not a bad film"] * 8
        >>> labels = ["good", "bad", "bad", "good"] * 8
        >>> net = HarsanyiForTextClassification.from_texts(texts, labels, width=8, epochs=1)
        >>> net.config.classes
        ['bad', 'good']
    """

    model_type = "harsanyi-text"

    unit: str = "words"
    vocab_size: int = 0
    input_width: int = 0
    width: int = 64
    n_types: int = 1
    dropout: float = 0.0
    classes: list[Any] | None = None
    encoder: str | None = None
    tolerance: float = 0.0
    padding: int = 0
    unknown: int = 1


class HarsanyiForTextClassification(ReadsTexts, HarsanyiPreTrainedModel):
    """A sum of exact parts over the players of a text.

    In a net of bags, matrix products, attention and maxima an absent player is deleted: `present`
    and cutting it out of the text are the same game. With n-grams or convolutions it keeps its slot,
    and `present` is the game; `explain` says which.

    Args:
        config: Fixes all shapes.
        net: A fitted net to wrap in place of a fresh one.
        tokenizer: Finds the players; saved beside the weights.
        encoder: Maps a list of sentences to an array `(m, input_width)`, where players are sentences.

    Example:
        >>> from harsanyi import HarsanyiForTextClassification
        >>> texts = ["a good film", "a bad film", "not a good film", "not a bad film"] * 8
        >>> labels = ["good", "bad", "bad", "good"] * 8
        >>> net = HarsanyiForTextClassification.from_texts(texts, labels, width=8, epochs=1)
        >>> e = net.explain(["not a good film"])
        >>> e.values.shape, e.exact  # one text, four words, two classes
        (torch.Size([1, 4, 2]), True)
    """

    config_class = HarsanyiTextConfig
    net: TextNet  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        config: HarsanyiTextConfig,
        net: TextNet | None = None,
        tokenizer: PreTrainedTokenizerFast | None = None,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(config)
        if net is None:
            # parts draw real numbers even while transformers builds on the meta device
            with torch.device(
                "cpu" if torch.get_default_device().type == "meta" else torch.get_default_device()
            ):
                net = TextNet(config)
        self.net = net  # pyright: ignore[reportIncompatibleVariableOverride] - its sibling
        self.tokenizer = tokenizer
        self.encoder = encoder
        self.history: Any = None
        self.post_init()

    @classmethod
    def from_texts(
        cls,
        texts: Sequence[Text],
        labels: Sequence[Any],
        *,
        players: Unit = "words",
        design: str | Sequence[str | Mapping[str, Any]] = "sum",
        width: int = 64,
        embeddings: Mapping[str, Sequence[float]] | tuple[Sequence[str], Any] | None = None,
        tokenizer: PreTrainedTokenizerFast | None = None,
        encoder: Encoder | str | None = None,
        problem_type: str | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        lr: float = 2e-3,
        weight_decay: float = 0.1,
        dropout: float = 0.3,
        coalition_weight: float = 0.25,
        min_count: int = 2,
        max_words: int = 50_000,
        validation: tuple[Sequence[Text], Sequence[Any]] | None = None,
        patience: int | None = None,
        random_state: int | None = 0,
        dtype: str = "float32",
        checkpoint_dir: str | PathLike[str] | None = None,
        progress: bool = False,
    ) -> "HarsanyiForTextClassification":
        """Learn a classifier from texts.

        Args:
            texts: Strings, or pairs of strings.
            labels: Classes of any kind, or numbers with `problem_type="regression"`.
            players: "words", "tokens" (word pieces) or "sentences".
            design: A name of `DESIGNS`, several joined by "+", or a list of names and specs.
            width: Numbers per player.
            embeddings: Static vectors of words that are kept as they are: a mapping, or words and a
                matrix. None learns them.
            tokenizer: A fast tokenizer in place of one made from the texts.
            encoder: For sentences: a function from a list of sentences to vectors `(m, d)`, or the
                name or folder of a transformers encoder.
            problem_type: "regression", or None for classification.
            epochs: Passes over the texts; None takes 5, and more where these are fewer than 400
                steps.
            batch_size: Texts per step, fewer where they are long.
            lr: Peak learning rate.
            weight_decay: Of AdamW.
            dropout: Of the players' vectors.
            coalition_weight: Share of texts shown in part, so that the game is trained everywhere.
            min_count: Rarer words are unknown; the unknown vector is trained on them.
            max_words: Largest vocabulary.
            validation: Texts and labels that choose the epoch; None takes the last one.
            patience: Epochs without a better validation loss before stopping.
            random_state: Seed of everything random; None draws one.
            dtype: "float32" or "float64".
            checkpoint_dir: Folder of checkpoints: a killed run started again there continues.
            progress: Show a bar.

        Returns:
            A fitted model in eval mode, with its `tokenizer`.

        Raises:
            TypeError: If texts are no strings or pairs.
            ValueError: If there are no texts, labels do not fit, there is one class only, or an
                option is unknown.
        """
        listed = check_texts(texts)
        regression = is_regression(problem_type)
        check_labels(listed, labels)
        if players not in UNITS:
            raise ValueError(f"players={players!r}; choose one of {UNITS}.")
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype={dtype!r}; choose 'float32' or 'float64'.")
        classes = None if regression else classes_of(labels)
        check_options(width, batch_size, dropout, coalition_weight)
        seed = seed_of(random_state)
        finder = find_players(
            players, listed, tokenizer, embeddings, encoder, min_count, max_words
        )
        config = HarsanyiTextConfig(
            architectures=[cls.__name__],
            problem_type="regression" if regression else "single_label_classification",
            gauge="binary" if classes is not None and len(classes) == 2 else "free",
            parts=specs_of(design),
            absence="mask",
            unit=players,
            width=width,
            n_types=2 if isinstance(listed[0], tuple) else 1,
            dropout=dropout,
            coalition_weight=coalition_weight,
            **settings_of(finder),
            **label_names(classes),
        )
        net = drawn(config, seed)
        net.to(torch.float64 if dtype == "float64" else torch.float32)
        model = cls(config, net, finder.tokenizer, finder.encoder)
        data = model._data(listed)[:3]
        if finder.width:
            net.take_vectors(finder.matrix, data[0], data[2])
        model.history = train_text_net(
            net,
            data,
            model._targets(labels),
            epochs=passes(len(listed), batch_size) if epochs is None else epochs,
            batch_size=batch_size,
            lr=lr,
            weight_decay=weight_decay,
            coalition_weight=coalition_weight,
            key=seed,
            validate=None if validation is None else model._validator(*validation),
            patience=patience,
            checkpoint_dir=checkpoint_dir,
            progress=progress,
            config={"design": config.parts, "width": width, "dropout": dropout},
        )
        net.sign()
        return model.eval()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        present: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> HarsanyiOutput | tuple[Tensor, ...]:
        """Logits with their exact Shapley values (which training does without).

        Args:
            input_ids: Ids `(b, n)` of the tokenizer.
            attention_mask: `(b, n)`, 0 for padding.
            token_type_ids: `(b, n)`, 1 for the second text of a pair.
            inputs_embeds: Vectors `(b, n, input_width)` in place of ids, where players are sentences.
            present: Bool `(b, n)`; None means everybody.
            labels: Classes `(b,)` or targets `(b, k)`. In training some texts are shown in part.
            return_dict: False for a tuple.

        Returns:
            Loss, logits and, in eval mode, Shapley values, base values and additivity gap.

        Raises:
            ValueError: If neither ids nor vectors are given.
        """
        x = input_ids if input_ids is not None else inputs_embeds
        if x is None:
            raise ValueError("pass input_ids, or inputs_embeds where players are sentences.")
        real = None if attention_mask is None else attention_mask.bool()
        types = token_type_ids if self.config.n_types > 1 else None
        if self.training and labels is not None:
            return self._training_output(x, real, types, present, labels, return_dict)
        logits, shapley, base = self.net.attribute(
            x, present, real=real, types=types, tolerance=self.config.tolerance
        )
        problem = problem_of(self.config)
        loss = None if labels is None else label_loss(logits, labels, problem)
        return given(explained(logits, shapley, base, loss), return_dict)

    def _training_output(
        self,
        x: Tensor,
        real: Tensor | None,
        types: Tensor | None,
        present: Tensor | None,
        labels: Tensor,
        return_dict: bool | None,
    ) -> HarsanyiOutput | tuple[Tensor, ...]:
        if present is not None:
            logits = self.net(x, present, real=real, types=types)
            loss = label_loss(logits, labels, problem_of(self.config))
            return given(HarsanyiOutput(loss=loss, logits=logits), return_dict)
        there = (
            real
            if real is not None
            else (x != self.config.padding if x.ndim == 2 else torch.ones_like(x[..., 0]).bool())
        )
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
        problem = problem_of(self.config)
        loss = TextLoss(problem == "regression", self.config.coalition_weight)
        bundle = Bundle(torch.arange(len(x)), x, types, there)
        found = loss(self.net, (bundle, targets_of(labels, problem)), generator)
        return given(HarsanyiOutput(loss=found), return_dict)

    # --- texts in, answers out -------------------------------------------------------------

    @torch.no_grad()
    def logits(
        self, texts: Sequence[Text], present: Tensor | Sequence[Sequence[bool]] | None = None
    ) -> Tensor:
        """The game: logits `(b, k)` of texts with some of their players present.

        Args:
            texts: Strings, or pairs as in training.
            present: Bool `(b, n)`, n the players of the longest text; or one list of flags per
                text; None means everybody.

        Returns:
            `(b, k)`, one column per class in the order of `classes_`.
        """
        x, types, real, players = self._data(self._check_pairs(texts))
        mask = presence(present, real, players)
        answer = self.net.bias.new_zeros(len(x), self.net.n_outputs)
        for one in bundles(x, types, real, 256):
            there = mask[one.rows, : one.x.shape[1]]
            answer[one.rows] = self.net(one.x, there, real=one.real, types=one.types)
        return answer

    @property
    def classes_(self) -> list[Any]:
        """Labels in the order of the outputs; empty in regression."""
        return list(self.config.classes or [])

    def predict(self, texts: Sequence[Text]) -> list[Any]:
        """The most likely label of each text, or its number in regression."""
        logits = self.logits(texts)
        if not self.classes_:
            return as_list(logits[:, 0])
        return [self.classes_[i] for i in as_list(logits.argmax(1))]

    def predict_proba(self, texts: Sequence[Text]) -> Tensor:
        """Probabilities `(b, k)` in the order of `classes_`."""
        return self.logits(texts).softmax(1)

    def score(self, texts: Sequence[Text], labels: Sequence[Any]) -> float:
        """Share of texts whose label is predicted."""
        check_labels(texts, labels)
        found = self.predict(texts)
        return sum(a == b for a, b in zip(found, plain_labels(labels), strict=True)) / len(found)

    @property
    def description(self) -> str:
        """The game in words: what is absent, and on which scale."""
        absent = "is deleted" if self.net.deletes else "keeps its slot"
        scale = "output" if self.config.problem_type == "regression" else "logit"
        unit = str(self.config.unit).removesuffix("s")
        return f"harsanyi text net, an absent {unit} {absent}, {scale}"

    @torch.no_grad()
    def explain(
        self,
        texts: Sequence[Text],
        present: Tensor | Sequence[Sequence[bool]] | None = None,
        *,
        tolerance: float | None = None,
        progress: bool = True,
    ) -> Explanation:
        """Exact Shapley values of all outputs for every player of every text.

        Args:
            texts: Strings, or pairs as in training.
            present: Players of the game; the others stay absent and get 0.
            tolerance: Error that matrix products may certify instead of taking all nodes; None
                takes the model's setting, 0 is exact.
            progress: Show a bar of players where it takes seconds: time grows with the square of
                a text's length.

        Returns:
            Values `(b, n, k)` in units of the logits, padding 0. `diagnostics["error_bound"]`
            `(b, k)` bounds every value's error, rounding aside (0 where no series is cut off), and
            `diagnostics["additivity_gap"]` is measured.
        """
        tolerance = float(self.config.tolerance if tolerance is None else tolerance)
        if not tolerance >= 0:
            raise ValueError(f"tolerance is {tolerance}; it must be 0 or more.")
        x, types, real, players = self._data(self._check_pairs(texts))
        mask = presence(present, real, players)
        k, dtype = self.net.n_outputs, self.net.bias.dtype
        values = torch.zeros(*real.shape, k, dtype=dtype, device=real.device)
        logits, base, bound = (
            torch.zeros(len(x), k, dtype=dtype, device=real.device) for _ in range(3)
        )
        lengths = real.sum(1)
        brief = int(lengths.square().sum()) < LONG_WORK
        bar = tqdm(
            total=int(lengths.sum()),
            desc=f"{len(x):,} texts",
            unit=str(self.config.unit),
            disable=not progress or brief,
        )
        for one in bundles(x, types, real, 64):
            n = one.x.shape[1]
            rows = {"real": one.real, "types": one.types}
            there = mask[one.rows, :n]
            found = self.net.attribute(one.x, there, tolerance=tolerance, **rows)
            logits[one.rows], values[one.rows, :n], base[one.rows] = found
            bound[one.rows] = self.net.error_bound(one.x, there, **rows) + tolerance
            bar.update(int(one.real.sum()))
        bar.close()
        return Explanation(
            values,
            estimand="shapley",
            game=self.description,
            method="harsanyi",
            exact=True,
            base_values=base,
            n_evals=2,
            players=players,
            outputs=self.output_names(),
            player_mask=real,
            diagnostics={
                "additivity_gap": values.sum(1) - (logits - base),
                "error_bound": bound,
            },
        )

    def output_names(self) -> list[str]:
        """Names of the outputs."""
        return [str(label) for label in self.classes_] or ["output"]

    def interactions(
        self, texts: Sequence[Text], index: str = "k-SII", order: int = 2
    ) -> "Interactions":
        """Exact interactions of the players of each text.

        Args:
            texts: Strings, or pairs as in training; of several texts the players are numbered.
            index: SII, k-SII, STII, FSII, BII or FBII.
            order: Largest size of a set; above 2 where all parts have explicit dividends.

        Returns:
            Interactions over positions, named by the words where there is one text.

        Raises:
            ValueError: If there is no text, or the index or order is unknown.
        """
        x, types, real, players = self._data(self._some(texts))
        return self.net.interactions(
            x,
            index,
            order,
            real=real,
            types=types,
            players=players[0] if len(players) == 1 else None,
            outputs=self.output_names(),
            game=self.description,
        )

    @torch.no_grad()
    def dividends(self, texts: Sequence[Text], *, max_coalitions: int = 2**16) -> "Dividends":
        """Dividends of the game of each text.

        Args:
            texts: Strings, or pairs as in training.
            max_coalitions: Most coalitions that may be listed.

        Returns:
            Dividends over positions: of windows where all parts have few, else of all coalitions.

        Raises:
            ValueError: If there is no text, or matrix products, attention or maxima would need more
                than `max_coalitions` of them; Shapley values and pairs come from closed forms anyway.
        """
        x, types, real, players = self._data(self._some(texts))
        return text_dividends(
            self.net,
            x,
            types,
            real,
            max_coalitions,
            players=players[0] if len(players) == 1 else None,
            outputs=self.output_names(),
            game=self.description,
        )

    # --- files -----------------------------------------------------------------------------

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Write config and weights, and the tokenizer beside them."""
        if self.tokenizer is not None:
            tokenizer: Any = self.tokenizer
            tokenizer.save_pretrained(save_directory)
        return super().save_pretrained(save_directory, *args, **kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Load a model, strictly, with its tokenizer; errors as for every Harsanyi model.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is corrupt, of another version, or does not fit the config.
        """
        loaded = super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        model = loaded[0] if kwargs.get("output_loading_info") else loaded
        if model.config.vocab_size:
            model.tokenizer = read_tokenizer(
                pretrained_model_name_or_path, model.config.vocab_size
            )
        return loaded


register(AutoConfig, HarsanyiTextConfig.model_type, HarsanyiTextConfig)
register(AutoModel, HarsanyiTextConfig, HarsanyiForTextClassification)
register(AutoModelForSequenceClassification, HarsanyiTextConfig, HarsanyiForTextClassification)
