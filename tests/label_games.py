"""Small games of texts and rows that label stores and amortized explainers are tried on."""

from typing import Any

import torch
from torch import Tensor

from baselines import BaselineImputer, MaskedGame, PresenceGame

VERBS = ["good", "bad", "not", "very", "dull", "great", "story", "film", "plot", "cast"]


class WordCounts:
    """Texts as games without a network: words, pairs and triples of neighbours have weights.

    Args:
        triples: Size of the weights of triples; with 0 one antithetic pair is exact.
        seed: Seed of all weights.
    """

    def __init__(self, triples: float = 0.5, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        size = len(VERBS)
        self.single = torch.randn(size, 2, generator=generator, dtype=torch.float64)
        self.both = torch.randn(size, size, 2, generator=generator, dtype=torch.float64) / 2
        self.three = triples * torch.randn(
            size, size, size, 2, generator=generator, dtype=torch.float64
        )
        self.description = "word counts"
        self.fingerprint = f"word counts {triples} {seed}"
        self.outputs = ("no", "yes")

    def __call__(self, texts: list[str]) -> "WordGame":
        return WordGame(self, texts)


class WordGame:
    """The games of some texts under `WordCounts`; v(S) adds weights of present words and of
    neighbours that are present together."""

    def __init__(self, model: WordCounts, texts: list[str]) -> None:
        words = [text.split() for text in texts]
        self.model, self.n_evals = model, 0
        self.players = [tuple(each) for each in words]
        self.outputs = model.outputs
        counts = torch.tensor([len(each) for each in words])
        self.player_mask = torch.arange(int(counts.max())) < counts[:, None]
        self.n_explicands, self.n_players = self.player_mask.shape
        self.n_outputs = 2
        ids = torch.zeros(self.player_mask.shape, dtype=torch.int64)
        for row, each in enumerate(words):
            ids[row, : len(each)] = torch.tensor([VERBS.index(word) for word in each])
        self.single = model.single[ids] * self.player_mask[..., None]
        next_to = self.player_mask[:, 1:, None]
        self.both = model.both[ids[:, :-1], ids[:, 1:]] * next_to
        third = self.player_mask[:, 2:, None]
        self.three = model.three[ids[:, :-2], ids[:, 1:-1], ids[:, 2:]] * third

    def __call__(self, coalitions: Tensor) -> Tensor:
        z = (coalitions & self.player_mask[:, None]).double()
        self.n_evals += z.shape[0] * z.shape[1]
        value = torch.einsum("bmn,bnk->bmk", z, self.single)
        both = z[..., :-1] * z[..., 1:]
        value = value + torch.einsum("bmn,bnk->bmk", both, self.both)
        return value + torch.einsum("bmn,bnk->bmk", both[..., :-1] * z[..., 2:], self.three)

    def shapley(self) -> Tensor:
        """Exact values `(b, n, k)`: weights of pairs and triples are shared alike."""
        values = self.single.clone()
        values[:, :-1] += self.both / 2
        values[:, 1:] += self.both / 2
        for start in range(3):
            stop = self.n_players - 2 + start
            values[:, start:stop] += self.three / 3
        return values


def some_texts(count: int, seed: int = 0, most: int = 9) -> list[str]:
    """Distinct random texts of one to `most` words."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        size = int(torch.randint(1, most + 1, (), generator=generator))
        ids = torch.randint(0, len(VERBS), (size,), generator=generator).tolist()
        found[" ".join(VERBS[i] for i in ids)] = None
    return list(found)


def table_games(n: int = 6, k: int = 2, seed: int = 0) -> Any:
    """A function from rows to the games of a small smooth network, absent features at zero."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, 12, generator=generator, dtype=torch.float64)
    last = torch.randn(12, k, generator=generator, dtype=torch.float64)

    def network(rows: Tensor) -> Tensor:
        return torch.tanh(rows.double() @ first / n**0.5) @ last

    imputer = BaselineImputer(torch.zeros(n, dtype=torch.float64))
    return lambda x: MaskedGame(network, x.double(), imputer)


def some_rows(count: int, n: int = 6, seed: int = 0) -> Tensor:
    """Standard normal rows, float64."""
    return torch.randn(
        count, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )


def triple_games(k: int = 2, seed: int = 0) -> Any:
    """A function from rows of six features to games that single orders see very differently.

    v(S) adds the present features, weighed, and two products of three players each, which one
    antithetic pair credits to whoever comes first or last.
    """
    weight = torch.randn(6, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def model(x: Tensor, present: Tensor) -> Tensor:
        left = present[:, :3].all(1) * x[:, 0]
        right = present[:, 3:].all(1) * x[:, 5]
        return (x * present) @ weight + 2 * torch.stack([left + right, left - right], 1)[:, :k]

    return lambda x: PresenceGame(model, x.double())
