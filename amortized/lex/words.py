"""Networks and imputer of a LEX for texts: rows of word numbers, 0 for padding, 1 for unknown."""

from collections import Counter
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor, nn

from amortized.lex.rate import NOBODY
from amortized.lex.selector import bend
from baselines.imputers import StoredImputer, check_draws, feature_mask, uniforms

PADDING, UNKNOWN, FIRST = 0, 1, 2
"""Number of what is no word, of words outside the vocabulary, and of the first known word."""


class WordEncoder(nn.Module):
    """A vector per word: its embedding, and what a convolution reads around it.

    Args:
        n_words: Size of the vocabulary, padding and unknown included.
        width: Size of the vectors.
        reach: Words that a convolution sees on either side; 0 leaves words alone.
    """

    def __init__(self, n_words: int, width: int, reach: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_words, width, padding_idx=PADDING)
        nn.init.normal_(self.embedding.weight, std=0.1)
        with torch.no_grad():
            self.embedding.weight[PADDING].zero_()
        size = 2 * reach + 1
        self.around = nn.Conv1d(width, width, size, padding=reach) if reach else None

    def forward(self, words: Tensor, weight: Tensor) -> Tensor:
        """Vectors `(rows, n, width)` of words `(rows, n)`, each weighed by `(rows, n)`."""
        vectors = self.embedding(words) * weight[..., None]
        if self.around is None:
            return vectors
        near = self.around(rearrange(vectors, "b n w -> b w n"))
        return (vectors + nn.functional.silu(rearrange(near, "b w n -> b n w"))) * weight[
            ..., None
        ]


class WordSelector(nn.Module):
    """One logit per word, from the word, its neighbours and the mean of the text.

    Args:
        n_words: Size of the vocabulary.
        n_players: Most words of a text.
        width: Size of the vectors.
        reach: Words seen on either side.
        bound: Where logits bend, see `selector.bend`.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self, n_words: int, n_players: int, width: int = 32, reach: int = 1, bound: float = 5.0
    ) -> None:
        super().__init__()
        check_sizes(n_words=n_words, n_players=n_players, width=width, bound=bound)
        self.config = {
            "n_words": n_words,
            "n_players": n_players,
            "width": width,
            "reach": reach,
            "bound": bound,
        }
        self.n_players, self.bound = n_players, bound
        self.encoder = WordEncoder(n_words, width, reach)
        self.whole = nn.Linear(width, width)
        self.head = nn.Linear(width, 1)
        with torch.no_grad():
            self.head.bias.zero_()

    def forward(self, words: Tensor) -> Tensor:
        """Logits `(b, n)` of words `(b, n)`; those of padding are `NOBODY`."""
        real = words != PADDING
        vectors = self.encoder(words, real.to(self.head.weight))
        mean = vectors.sum(1) / real.sum(1, keepdim=True).clamp(min=1)
        logits = self.head(torch.tanh(vectors + self.whole(mean)[:, None]))[..., 0]
        return bend(logits, self.bound).masked_fill(~real, NOBODY)


class WordPredictor(nn.Module):
    """Logits from the mean of a text's word vectors; what is padding or weighs nothing is left out.

    Args:
        n_words: Size of the vocabulary.
        n_outputs: Classes, or 1 for regression.
        width: Size of the vectors.
        reach: Words seen on either side.
        mask_channel: Whether words are weighed by the masks: an absent word is dropped.

    Raises:
        ValueError: If a size is not positive.
    """

    def __init__(
        self,
        n_words: int,
        n_outputs: int,
        width: int = 32,
        reach: int = 1,
        mask_channel: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(n_words=n_words, n_outputs=n_outputs, width=width)
        self.config = {
            "n_words": n_words,
            "n_outputs": n_outputs,
            "width": width,
            "reach": reach,
            "mask_channel": mask_channel,
        }
        self.mask_channel = mask_channel
        self.encoder = WordEncoder(n_words, width, reach)
        self.head = nn.Linear(width, n_outputs)

    def forward(self, words: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits `(rows, outputs)` of words and masks `(rows, n)`, masks bool or in [0, 1]."""
        weight = (words != PADDING).to(self.head.weight)
        if self.mask_channel and mask is not None:
            weight = weight * mask.to(weight)
        vectors = self.encoder(words, weight)
        return self.head(vectors.sum(1) / weight.sum(1, keepdim=True).clamp(min=1))


class WordImputer(StoredImputer):
    """Absent words become words drawn as often as they occur; padding stays padding.

    Args:
        frequencies: `(n_words,)`, not negative, of each word number; scaled here to sum to 1.
        n_draws: Imputations `r`.

    Raises:
        ValueError: If the frequencies are negative, not finite or all zero.
    """

    description = "word imputer"

    def __init__(self, frequencies: Tensor, n_draws: int = 4) -> None:
        super().__init__()
        frequencies = torch.as_tensor(frequencies, dtype=torch.float64)
        good = frequencies.ndim == 1 and torch.isfinite(frequencies).all()
        if not (good and (frequencies >= 0).all() and frequencies.sum() > 0):
            raise ValueError("frequencies must be one axis of finite numbers, not all zero.")
        self.n_draws = check_draws(n_draws)
        self.register_buffer("frequencies", frequencies)
        self.frequencies: Tensor

    @classmethod
    def fit(cls, words: Tensor, n_words: int, n_draws: int = 4) -> "WordImputer":
        """Count the words of texts.

        Args:
            words: `(b, n)` word numbers.
            n_words: Size of the vocabulary.
            n_draws: Imputations `r`.
        """
        counts = torch.bincount(words.reshape(-1), minlength=n_words).double()
        counts[PADDING] = 0
        return cls(counts, n_draws)

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Word numbers `(b, m, r, n)` of `x` `(b, n)`.

        Raises:
            TypeError: If `x` does not hold integers.
        """
        if x.is_floating_point() or x.dtype == torch.bool:
            raise TypeError(f"x is {x.dtype}; words need integer numbers.")
        present = feature_mask(x, coalitions) | (x == PADDING)[:, None]
        ladder = (self.frequencies / self.frequencies.sum()).cumsum(0)
        b, m = len(x), coalitions.shape[1]
        pick = uniforms(generator, (b, m * x.shape[1]), self.n_draws).to(x.device)
        pick = rearrange(pick.expand(b, m * x.shape[1], -1), "b (m n) r -> b m r n", m=m)
        drawn = torch.searchsorted(ladder, pick.contiguous(), right=True)
        drawn = drawn.clamp(max=len(ladder) - 1)
        return torch.where(present[:, :, None], x[:, None, None], drawn)


class Vocabulary:
    """Words and their numbers.

    Args:
        words: The known words, the first of which has the number 2.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.number = {word: FIRST + i for i, word in enumerate(self.words)}

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]], size: int, at_least: int = 2) -> "Vocabulary":
        """The most frequent words of texts.

        Args:
            texts: Words of each text.
            size: Most words to know.
            at_least: Fewest occurrences of a known word.

        Raises:
            ValueError: If no word occurs that often.
        """
        counts = Counter(word for text in texts for word in text)
        words = [word for word, count in counts.most_common(size) if count >= at_least]
        if not words:
            raise ValueError(f"no word of texts occurs {at_least} times; pass more of them.")
        return cls(words)

    def __len__(self) -> int:
        return FIRST + len(self.words)

    def encode(self, texts: Sequence[Sequence[str]], longest: int) -> Tensor:
        """Word numbers `(b, n)`, cut and padded to `longest` words."""
        rows = torch.zeros(len(texts), longest, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            known = [self.number.get(word, UNKNOWN) for word in text[:longest]]
            row[: len(known)] = torch.tensor(known, dtype=torch.int64)
        return rows


def check_sizes(**sizes: float) -> None:
    """Raise ValueError unless all are positive."""
    if min(sizes.values()) <= 0:
        said = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise ValueError(f"{said}; all must be positive.")
