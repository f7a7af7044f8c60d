"""Tree leaves as boxes: games that pay when some players are present and some others absent.

Read at one explicand against one reference row, a leaf asks of each of its players: be present
(only the explicand's value lies inside), be absent (only the reference's does), or nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor

from harsanyi.finite import check_floating
from harsanyi.indices import box_table

_TILE = 2**23  # numbers held at once in one intermediate
MAX_WIDTH = 62
"""Players per box: the conditions of a box are kept as bits of one int64."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """v(S) = sum_t values_t [players inside all in S] [no absent player in S].

    A slot of a box names one player. `inside` asks that it be present, `absent` that it be
    absent, neither asks nothing; **both can never hold, so they make the box dead** (a leaf out
    of reach from the explicand and from the reference alike).

    Attributes:
        features: Int64 `(t, d)`, the players of each box, each at most once, padded with -1.
        inside: Bool `(b, t, d)`; ignored on padding.
        absent: Bool `(b, t, d)`; ignored on padding.
        values: `(t, k)`, what a box pays.

    Raises:
        TypeError: If a tensor has another type.
        ValueError: If shapes disagree, a player repeats within a box, or a number is not finite.
    """

    features: Tensor
    inside: Tensor
    absent: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.features, Tensor) or self.features.dtype != torch.int64:
            raise TypeError("Boxes got features that are not an int64 tensor; pass positions.")
        for name in ("inside", "absent"):
            if (
                not isinstance(getattr(self, name), Tensor)
                or getattr(self, name).dtype != torch.bool
            ):
                raise TypeError(f"Boxes got {name} that is not a bool tensor.")
        check_floating("values", self.values, "Boxes")
        if self.features.ndim != 2 or self.values.ndim != 2:
            raise ValueError(
                f"Boxes got features {tuple(self.features.shape)} and values "
                f"{tuple(self.values.shape)}; they must be (t, d) and (t, k)."
            )
        t, d = self.features.shape
        shapes = {tuple(self.inside.shape), tuple(self.absent.shape)}
        if len(shapes) != 1 or self.inside.ndim != 3 or self.inside.shape[1:] != (t, d):
            raise ValueError(
                f"Boxes got inside {tuple(self.inside.shape)} and absent "
                f"{tuple(self.absent.shape)}; both must be (b, t, d) = (b, {t}, {d})."
            )
        if self.values.shape[0] != t:
            raise ValueError(f"Boxes got {self.values.shape[0]} rows of values for {t} boxes.")
        if d > MAX_WIDTH:
            raise ValueError(f"Boxes got {d} players a box; split them to at most {MAX_WIDTH}.")
        if t and d:
            ordered = self.features.sort(-1).values
            if int(ordered.min()) < -1:
                raise ValueError("Boxes got a negative player in features; only -1 is padding.")
            if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
                raise ValueError("Boxes got a player twice in one box; merge its conditions.")

    @cached_property
    def real(self) -> Tensor:
        """Bool `(t, d)`: slots that are no padding."""
        return self.features >= 0

    @cached_property
    def needed(self) -> Tensor:
        """Bool `(b, t, d)`: slots that ask a player to be present, padding left out."""
        return self.inside & self.real

    @cached_property
    def barred(self) -> Tensor:
        """Bool `(b, t, d)`: slots that ask a player to be absent, padding left out."""
        return self.absent & self.real

    @cached_property
    def alive(self) -> Tensor:
        """Bool `(b, t)`: boxes that pay for at least one coalition."""
        return ~(self.needed & self.barred).any(-1)

    @cached_property
    def counts(self) -> tuple[Tensor, Tensor]:
        """How many players each box asks to be present and to be absent, int64 `(b, t)` twice."""
        return self.needed.sum(-1), self.barred.sum(-1)

    @cached_property
    def _slots(self) -> tuple[Tensor, list[int], list[int]]:
        """Slots sorted by player: their places in `(t d)`, the players, and slots per player."""
        players = self.features.reshape(-1)
        order = players.argsort(stable=True)[int((players < 0).sum()) :]
        found, counts = players[order].unique_consecutive(return_counts=True)
        return order, found.tolist(), counts.tolist()

    def _rows(self, per_row: int) -> int:
        return max(1, _TILE // max(1, per_row))

    def shares(self, table: np.ndarray) -> Tensor:
        """Share of a box's value that each of its slots gets, from a table by (a, c).

        Args:
            table: Weight of a single player beside `a` others that must be present and `c`
                that must be absent, float64 `(d + 1, d + 1)`.

        Returns:
            `(b, t, d)` in the dtype of `values`.
        """
        weight = torch.as_tensor(table, dtype=self.values.dtype, device=self.values.device)
        zero = weight.new_zeros(())
        present, absent = self.counts
        width = weight.shape[1]
        alive = self.alive.to(weight.dtype)
        if_needed = weight.reshape(-1)[(present - 1).clamp(min=0) * width + absent] * alive
        if_barred = weight.reshape(-1)[present * width + (absent - 1).clamp(min=0)] * alive
        return torch.where(
            self.needed,
            if_needed[..., None],
            torch.where(self.barred, -if_barred[..., None], zero),
        )

    def singles(self, index: str, n_players: int) -> Tensor:
        """Shapley values (index "SII") or Banzhaf values ("BII"), in closed form.

        Args:
            index: "SII" or "BII".
            n_players: Players `n` of the game.

        Returns:
            Values `(b, n, k)`.
        """
        b, t, d = self.needed.shape
        answer = [self.values.new_zeros(b, 0, self.values.shape[1])]
        if b == 0 or t == 0 or d == 0:
            return self.values.new_zeros(b, n_players, self.values.shape[1])
        table = box_table(index, 1, 1, d)
        order, players, counts = self._slots
        paid = self.values[order // d]  # (slots, k)
        chunks = []
        for rows in torch.arange(b, device=self.values.device).split(self._rows(t * d)):
            share = rearrange(self.only(rows).shares(table), "b t d -> b (t d)")[:, order]
            blocks = zip(share.split(counts, 1), paid.split(counts), strict=True)
            columns = torch.stack([left @ right for left, right in blocks], 1)
            chunks.append(columns)
        answer = torch.cat(chunks)  # (b, players found, k)
        where = torch.tensor(players, dtype=torch.int64, device=answer.device)
        return answer.new_zeros(b, n_players, answer.shape[2]).index_copy(1, where, answer)

    def only(self, rows: Tensor) -> "Boxes":
        """The same boxes for some of the explicands, by position."""
        return self._with(inside=self.inside[rows], absent=self.absent[rows])

    def paying(self, values: Tensor) -> "Boxes":
        """The same boxes with other values `(t, k)`."""
        return self._with(values=values)

    def _with(self, **changes: Tensor) -> "Boxes":
        part = object.__new__(Boxes)  # its tensors were checked when this one was made
        for name in ("features", "inside", "absent", "values"):
            object.__setattr__(part, name, changes.get(name, getattr(self, name)))
        return part

    def value(self, coalitions: Tensor) -> Tensor:
        """v(S) of any coalitions.

        Args:
            coalitions: Bool `(1 or b, m, n)`, true = present.

        Returns:
            Values `(b, m, k)`.
        """
        b, t, d = self.needed.shape
        m = coalitions.shape[1]
        if b == 0 or t == 0 or m == 0:
            return self.values.new_zeros(b, m, self.values.shape[1])
        bits = 1 << torch.arange(d, device=self.features.device)
        needed = (self.needed * bits).sum(-1)[:, None]  # (b, 1, t)
        barred = (self.barred * bits).sum(-1)[:, None]
        slots = self.features.clamp(min=0)
        answers = []
        for tile in coalitions.split(max(1, _TILE // (b * t + coalitions.shape[0] * t * d)), 1):
            seen = (tile[:, :, slots] * bits).sum(-1)  # (1 or b, m, t)
            pays = ((needed & ~seen) | (barred & seen)) == 0
            answers.append(pays.to(self.values.dtype) @ self.values)
        return torch.cat(answers, 1)

    def base(self) -> Tensor:
        """v(none), `(b, k)`: what the boxes pay that need nobody."""
        pays = self.alive & (self.counts[0] == 0)
        return pays.to(self.values.dtype) @ self.values

    def interactions(self, index: str, order: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of the boxes in one index, for every set of `size` of their own players.

        Args:
            index: SII, k-SII, STII, FSII, BII or FBII.
            order: Largest size of a set.
            size: Players per set.

        Returns:
            The sets as positions `(p, size)`, which box each is from `(p,)`, and weights
            `(b, p)` that multiply the value of that box.
        """
        b, t, d = self.needed.shape
        if size > d:
            none = self.features.new_zeros(0, size)
            return none, none.new_zeros(0), self.values.new_zeros(b, 0)
        slots = torch.tensor(list(combinations(range(d), size)), device=self.features.device)
        positions = self.features[:, slots]  # (t, p, size)
        real = (positions >= 0).all(-1)
        table = torch.as_tensor(
            box_table(index, order, size, d), dtype=self.values.dtype, device=self.values.device
        )
        present, absent = self.counts
        needed, barred = self.needed[..., slots], self.barred[..., slots]  # (b, t, p, size)
        asked = (needed | barred).all(-1) & self.alive[..., None]
        left_present = (present[..., None] - needed.sum(-1)).clamp(min=0)
        left_absent = (absent[..., None] - barred.sum(-1)).clamp(min=0)
        sign = 1 - 2 * (barred.sum(-1) % 2)
        # a dead box may count a slot twice; it is zeroed, so only keep its place in the table
        place = (left_present * (d + 1) + left_absent).clamp(max=(d + 1) ** 2 - 1)
        weights = table.reshape(-1)[place] * sign * asked
        owners = torch.arange(t, device=positions.device)[:, None].expand_as(real)
        return positions[real], owners[real], weights[:, real]

    def term_spectrum(self, n_players: int) -> Tensor:
        """Sum of absolute dividends by order, box by box, `(b, n, k)` with order s at s - 1."""
        b, _t, d = self.needed.shape
        present, absent = self.counts
        answer = self.values.new_zeros(b, n_players, self.values.shape[1])
        pascal = torch.zeros(d + 1, d + 1, dtype=self.values.dtype, device=self.values.device)
        pascal[:, 0] = 1
        for row in range(1, d + 1):
            pascal[row, 1:] = pascal[row - 1, 1:] + pascal[row - 1, :-1]
        for size in range(1, min(d, n_players) + 1):
            more = size - present
            fits = self.alive & (more >= 0) & (more <= absent)
            ways = torch.where(fits, pascal[absent, more.clamp(0, d)], 0.0)
            answer[:, size - 1] = einsum(ways, self.values.abs(), "b t, t k -> b k")
        return answer
