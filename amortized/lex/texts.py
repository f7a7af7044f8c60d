"""LEX for texts: words as players, as many as a text has."""

import json
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from amortized.lex.explaining import explain_selection
from amortized.lex.gradients import Reinforce
from amortized.lex.lex import LEX
from amortized.lex.masks import Bernoulli
from amortized.lex.words import (
    PADDING,
    Vocabulary,
    WordImputer,
    WordPredictor,
    WordSelector,
)
from baselines import Explanation, Imputer, MaskTokenImputer
from baselines.files import atomic_write
from baselines.folders import read_words, reading
from baselines.randomness import seed_of, seeded

FORMAT = "harsanyi-lex-text/1"
_WORD = re.compile(r"\S+")


class LEXForTexts(LEX):
    """LEX on texts, made by `LEX.for_text`.

    Everything that takes explicands takes strings, or lists of words; a text longer than
    `max_words` is cut, and `explain` says how many words it saw.

    Source: Lei, Barzilay and Jaakkola (2016); Senetaire, Garreau, Frellsen and Mattei (2023).

    Example:
        >>> from amortized import LEX
        >>> texts = ["a good film", "a bad film"] * 20
        >>> lex = LEX.for_text(texts, 2, target_rate=0.34, width=4, random_state=0)
        >>> e = lex.fit(texts, ["good", "bad"] * 20, epochs=1, predictor_epochs=1).explain(texts[:2])
        >>> e.estimand, e.values.shape
        ('selection', torch.Size([2, 3, 1]))
    """

    vocabulary: Vocabulary
    max_words: int

    @classmethod
    def build(
        cls,
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
    ) -> Self:
        """What `LEX.for_text` documents."""
        split = as_words(texts, "texts")
        vocabulary = Vocabulary.of(split, vocabulary_size)
        longest = max(len(text) for text in split) if max_words is None else max_words
        encoded = vocabulary.encode(split, longest)
        if isinstance(imputer, str):
            imputer = _imputer(imputer, encoded, len(vocabulary))
        gradient = settings.get("gradient") or Reinforce()
        weighs = settings.get("regime") in ("surrogate", "free")
        if not isinstance(settings.get("law") or Bernoulli(), Bernoulli):
            said = f"law={settings['law']}; texts differ in length, so pass a target_rate instead."
            raise ValueError(said)  # noqa: TRY004 - a law, but one that does not fit
        if gradient.pathwise and not weighs:
            raise ValueError(
                f"gradient={gradient} mixes inputs, and word numbers cannot be mixed; use "
                "regime='surrogate' or 'free', whose predictor weighs words, or Reinforce()."
            )
        n_words = len(vocabulary)
        with seeded(seed_of(random_state)):
            selector = WordSelector(n_words, longest, width, reach)
            n_outputs = 1 if n_classes is None else n_classes
            predictor = WordPredictor(n_words, n_outputs, width, reach, weighs)
        task = "regression" if n_classes is None else "classification"
        parts: dict[str, Any] = {"selector": selector, "predictor": predictor, "task": task}
        lex = cls(imputer=imputer, target_rate=target_rate, **parts | settings)
        lex.vocabulary, lex.max_words, lex.seed = vocabulary, longest, random_state
        return lex

    def rows(self, x: Any, name: str = "x") -> Tensor:  # noqa: ANN401 - texts of any container
        """Word numbers `(b, n)` of strings, of lists of words, or of word numbers.

        Raises:
            TypeError: If it holds neither strings nor lists of strings.
            ValueError: If a text has no words.
        """
        if isinstance(x, Tensor):
            return x
        encoded = self.vocabulary.encode(as_words(x, name), self.max_words)
        return encoded.to(self.log_scale.device)

    def mixed(self, x: Tensor, filling: Tensor, weight: Tensor) -> Tensor:
        """The words themselves: a predictor of texts weighs words, it does not mix numbers."""
        return x[:, None, None].expand(*weight.shape[:2], filling.shape[2], -1)

    def explain(self, x: Any, *, masks: int = 32) -> Explanation:  # noqa: ANN401
        """Inclusion probabilities of the words.

        Args:
            x: Texts, or lists of words.
            masks: Selections drawn for the spread of the prediction.

        Returns:
            Values `(b, n, 1)` as `LEX.explain`, with each text's words as its players and
            `player_mask` `(b, n)`, false for padding.

        Raises:
            TypeError: If `x` holds neither strings nor lists of strings.
        """
        split = as_words(x, "x")
        rows = self.rows(split)
        real = rows != PADDING
        players = [tuple(text[: self.max_words]) for text in split]
        about = {"players": players, "player_mask": real, "data": None}
        return explain_selection(self, rows, masks, **about)

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the model and its words.json into a folder, made if missing."""
        super().save_pretrained(folder)
        words = {
            "format": FORMAT,
            "max_words": self.max_words,
            "words": self.vocabulary.words,
        }
        atomic_write(Path(folder) / "words.json", json.dumps(words).encode())

    @classmethod
    def from_pretrained(  # pyright: ignore[reportIncompatibleMethodOverride] - the same keywords
        cls,
        folder: str | PathLike[str],
        **parts: Any,  # noqa: ANN401 - networks and imputers
    ) -> Self:
        """Read a model that `save_pretrained` wrote; keywords as in `LEX.from_pretrained`.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is truncated, corrupt, or of another version.
        """
        with reading(folder, "LEX for texts", ("words.json",)) as path:
            said = read_words(path / "words.json", FORMAT)
            vocabulary = Vocabulary([str(word) for word in said["words"]])
            longest = int(said["max_words"])
        lex = super().from_pretrained(folder, **parts)
        lex.vocabulary, lex.max_words = vocabulary, longest
        return lex


def as_words(texts: Any, name: str) -> list[list[str]]:  # noqa: ANN401 - any container of texts
    """Texts as lists of words, split at blanks and in lower case where they come as strings.

    Args:
        texts: Strings, or lists of words, which are taken as they are.
        name: What to call it in an error.

    Returns:
        One list per text.

    Raises:
        TypeError: If a text is neither.
        ValueError: If there are none, or one has no words.
    """
    if isinstance(texts, str):
        raise TypeError(f"{name} is one string; pass a list of texts.")
    split: list[list[str]] = []
    for text in texts:
        given: Any = text
        if isinstance(text, str):
            split.append([word.lower() for word in _WORD.findall(text)])
        elif isinstance(text, Sequence) and all(isinstance(word, str) for word in given):
            split.append(list(given))
        else:
            raise TypeError(f"{name} holds a {type(given).__name__}; it needs texts or words.")
    empty = [i for i, text in enumerate(split) if not text]
    if not split or empty:
        raise ValueError(f"{name} holds {len(split)} texts, without words: {empty[:5]}.")
    return split


def _imputer(name: str, words: Tensor, n_words: int) -> nn.Module:
    """The imputer of a name: what stands in the place of an absent word."""
    if name == "words":
        return WordImputer.fit(words, n_words)
    if name == "drop":
        return MaskTokenImputer(PADDING)
    raise ValueError(f"imputer={name!r}; pass 'words', 'drop' or an imputer of integer rows.")
