"""Sentences from templates, and the rule that scores them: texts whose Shapley values are known.

A clause is worth its adjective, turned by "not", doubled by "very"; after "but" a clause counts
twice. A missing word takes its part with it, so the score is a sum of products of presences, whose
coefficients are dividends of up to four words.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from baselines.coalitions import check_coalitions, stream
from baselines.explanation import Explanation

NOUNS = ("film", "plot", "cast", "music", "ending", "story", "dialogue", "pace")
POLARITY = {
    "superb": 2.0,
    "moving": 1.5,
    "good": 1.0,
    "funny": 1.0,
    "fine": 0.5,
    "slow": -0.5,
    "dull": -1.0,
    "bad": -1.0,
    "clumsy": -1.5,
    "awful": -2.0,
}
FACTORS = {"not": -2.0, "very": 1.0, "but": 1.0}
"""What the presence of a word adds to a clause's factor of 1."""

CLASSES = ("negative", "positive")


def template_texts(size: int, seed: int = 0) -> tuple[list[str], list[int]]:
    """Sentences and their labels, the sign of their score.

    Args:
        size: Number of sentences, all different.
        seed: Key of the draws.

    Returns:
        Sentences of 4 to 13 words, and labels 0 (negative) or 1.

    Raises:
        ValueError: If there are not that many sentences.
    """
    rng = stream(seed, 0, purpose=61)
    found: dict[str, int] = {}
    for _ in range(100 * max(size, 10)):
        if len(found) == size:
            break
        words = _clause(rng)
        if rng.random() < 0.7:
            words = [*words, ("and", "but")[int(rng.random() < 0.6)], *_clause(rng)]
        text = " ".join(words)
        score = sum(value for value in _terms(words).values())
        if abs(score) > 1e-9:
            found.setdefault(text, int(score > 0))
    if len(found) < size:
        raise ValueError(f"size={size}; the templates give about {len(found)} sentences.")
    return list(found), list(found.values())


class TemplateGame:
    """The rule's score of sentences, `(b, m, 2)`: minus and plus half of it.

    Args:
        texts: Sentences of `template_texts`.

    Attributes:
        players: Words of each sentence.
        player_mask: Bool `(b, n)`.
    """

    outputs = CLASSES
    n_outputs = 2
    description = "rule of templates, words left out"

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = tuple(texts)
        self.players = [tuple(text.split()) for text in texts]
        count = torch.tensor([len(words) for words in self.players])
        self.player_mask = torch.arange(int(count.max())) < count[:, None]
        self.n_evals = 0
        self._terms = [_terms(words) for words in self.players]

    @property
    def n_explicands(self) -> int:
        """Number of sentences."""
        return len(self.texts)

    @property
    def n_players(self) -> int:
        """Most words of a sentence."""
        return self.player_mask.shape[1]

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Float64 values `(b, m, 2)` of bool coalitions `(b, m, n)` or `(1, m, n)`."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        b, m = self.n_explicands, coalitions.shape[1]
        self.n_evals += b * m
        score = torch.zeros(b, m, dtype=torch.float64)
        for row, present in enumerate(coalitions.cpu().expand(b, -1, -1)):
            for term, value in self._terms[row].items():
                score[row] += value * present[:, list(term)].all(-1)
        return torch.stack([-score / 2, score / 2], -1)


def known_values(texts: Any) -> Explanation:  # noqa: ANN401 - a list of texts
    """Exact Shapley values of the rule: each term is shared equally by its words.

    Args:
        texts: Sentences of `template_texts`.
    """
    game = TemplateGame(texts)
    values = torch.zeros(*game.player_mask.shape, dtype=torch.float64)
    for row, words in enumerate(game.players):
        for term, value in _terms(words).items():
            values[row, list(term)] += value / len(term)
    return Explanation(
        torch.stack([-values / 2, values / 2], -1),
        estimand="shapley",
        game=game.description,
        method="known",
        exact=True,
        base_values=torch.zeros(len(texts), 2, dtype=torch.float64),
        n_evals=0,
        players=game.players,
        outputs=CLASSES,
        player_mask=game.player_mask,
    )


def _clause(rng: Any) -> list[str]:  # noqa: ANN401 - numpy's Generator
    def pick(words: Sequence[str]) -> str:
        return words[int(rng.random() * len(words))]

    words = ["the", pick(NOUNS), "was"]
    words += ["not"] * (rng.random() < 0.4) + ["very"] * (rng.random() < 0.4)
    return [*words, pick(tuple(POLARITY))]


def _terms(words: Sequence[str]) -> dict[tuple[int, ...], float]:
    """Dividends of the score: positions of words that count together, and what for."""
    found: dict[tuple[int, ...], float] = {}
    behind_but: list[int] = []
    clause: list[int] = []
    for position, word in enumerate(words):
        if word in ("and", "but"):
            behind_but = [position] if word == "but" else []
            clause = []
        elif word in POLARITY:
            turners = [*behind_but, *clause]
            for size in range(len(turners) + 1):
                for chosen in combinations(turners, size):
                    value = POLARITY[word]
                    for i in chosen:
                        value *= FACTORS[words[i]]
                    found[(*chosen, position)] = value
        elif word in FACTORS:
            clause.append(position)
    return found
