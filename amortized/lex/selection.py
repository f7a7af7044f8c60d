"""The distribution of selections of a batch of explicands."""

import torch
from torch import Tensor

from amortized.lex.masks import MaskLaw


class Selection:
    """The distribution of selections of a batch of explicands.

    Args:
        law: Law of the masks.
        logits: `(b, n)`.
    """

    def __init__(self, law: MaskLaw, logits: Tensor) -> None:
        self.law = law
        self.logits = logits

    @property
    def mean(self) -> Tensor:
        """Inclusion probabilities `(b, n)`."""
        return self.law.inclusion(self.logits)

    @property
    def mode(self) -> Tensor:
        """The selection shown to a person, bool `(b, n)`."""
        return self.law.mode(self.logits)

    def sample(self, size: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Bool masks `(size, b, n)`."""
        noise = self.law.noise(self.logits, size, 1, generator)
        return self.law.hard(self.logits, noise)[:, 0]

    def log_prob(self, masks: Tensor) -> Tensor:
        """Log-probability `(size, b)` of bool masks `(size, b, n)`."""
        return self.law.log_prob(self.logits, masks[:, None])[:, 0]

    def top(self, k: int) -> Tensor:
        """The `k` likeliest players of each explicand, bool `(b, n)`; never more, also at ties."""
        chosen = torch.zeros_like(self.logits, dtype=torch.bool)
        return chosen.scatter_(-1, self.logits.topk(k, -1).indices, True)
