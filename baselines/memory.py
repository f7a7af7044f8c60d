"""Values of a small game that were asked for before."""

import torch
from torch import Tensor

from baselines.asking import ask
from baselines.coalitions import coalition_index
from baselines.game import Game

MEMO_CELLS = 2**20
"""Largest table of values that is kept so that no coalition is asked for twice."""


class Memory:
    """Values of a small game by coalition index, so that each is asked for once."""

    def __init__(
        self, game: Game, chunk_size: int | None, coalitions: Tensor, values: Tensor
    ) -> None:
        self.game, self.chunk_size = game, chunk_size
        self.seen = torch.zeros(2**game.n_players, dtype=torch.bool)
        self.table = values.new_zeros((len(values), 2**game.n_players, values.shape[-1]))
        self._store(coalition_index(coalitions), values)

    @property
    def n_seen(self) -> int:
        return int(self.seen.sum())

    def copy(self) -> "Memory":
        twin = Memory.__new__(Memory)
        twin.__dict__.update(self.__dict__)
        twin.seen, twin.table = self.seen.clone(), self.table.clone()
        return twin

    def ask(self, rows: Tensor) -> Tensor:
        """Values `(b, m, k)` of coalitions `(m, n)`, from memory where they are known."""
        index = coalition_index(rows)
        fresh = index[~self.seen[index]].unique()
        if len(fresh):
            coalitions = (fresh[:, None] >> torch.arange(rows.shape[-1])) & 1 == 1
            self._store(fresh, ask(self.game, coalitions, self.chunk_size))
        return self.table[:, index.to(self.table.device)]

    def known(self) -> tuple[Tensor, Tensor]:
        """The coalitions seen so far and their values."""
        index = self.seen.nonzero().flatten()
        coalitions = (index[:, None] >> torch.arange(self.game.n_players)) & 1 == 1
        return coalitions, self.table[:, index.to(self.table.device)]

    def _store(self, index: Tensor, values: Tensor) -> None:
        self.seen[index] = True
        self.table[:, index.to(self.table.device)] = values
