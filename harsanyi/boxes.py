"""Tree leaves as boxes: games that pay when some players are present and some others absent.

Read at one explicand against one reference row, a leaf asks of each of its players: be present
(only the explicand's value lies inside), be absent (only the reference's does), or nothing.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor

from baselines.arguments import is_a
from baselines.torch_calls import as_list, runs
from harsanyi.finite import check_floating
from harsanyi.indices import box_table

_TILE = 2**23  # numbers held at once in one intermediate
_WORDS = ((8, torch.uint8), (15, torch.int16), (31, torch.int32), (63, torch.int64))
MAX_WIDTH = 62
"""Players per box: the conditions of a box are kept as bits of one int64."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """`v(S) = sum_t values_t [players inside all in S] [no absent player in S]`.

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

    Example:
        >>> import torch
        >>> from harsanyi import Boxes, Dividends
        >>> box = Boxes(
        ...     features=torch.tensor([[0, 1]]),
        ...     inside=torch.tensor([[[True, True]]]),
        ...     absent=torch.tensor([[[False, False]]]),
        ...     values=torch.tensor([[6.0]]),
        ... )
        >>> nothing = torch.zeros(0, 2, dtype=torch.bool), torch.zeros(1, 0, 1)
        >>> Dividends(*nothing, torch.zeros(1, 1), boxes=[box]).shapley()[0, :, 0]
        tensor([3., 3.])
    """

    features: Tensor
    inside: Tensor
    absent: Tensor
    values: Tensor

    def __post_init__(self) -> None:
        if not is_a(self.features, Tensor) or self.features.dtype != torch.int64:
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
        """Bool `(d, b, t)`: slots that ask a player to be present; slots first, for speed."""
        return rearrange(self.inside & self.real, "b t d -> d b t").contiguous()

    @cached_property
    def barred(self) -> Tensor:
        """Bool `(d, b, t)`: slots that ask a player to be absent."""
        return rearrange(self.absent & self.real, "b t d -> d b t").contiguous()

    @cached_property
    def alive(self) -> Tensor:
        """Bool `(b, t)`: boxes that pay for at least one coalition."""
        return ~(self.needed & self.barred).any(0)

    @cached_property
    def counts(self) -> tuple[Tensor, Tensor]:
        """Players each box asks to be present and to be absent, uint8 `(b, t)` twice."""
        return self.needed.sum(0, dtype=torch.uint8), self.barred.sum(0, dtype=torch.uint8)

    def only(self, rows: Tensor) -> "Boxes":
        """The boxes for some of the explicands, by position, without those dead for all of them."""
        some = self.rows(rows)
        kept = some.alive.any(0)
        return some._with(
            features=some.features[kept],
            inside=some.inside[:, kept],
            absent=some.absent[:, kept],
            values=some.values[kept],
        )

    def rows(self, chosen: Tensor) -> "Boxes":
        """The same boxes, dead ones too, for some of the explicands, by position."""
        return self._with(inside=self.inside[chosen], absent=self.absent[chosen])

    def paying(self, values: Tensor) -> "Boxes":
        """The same boxes with other values `(t, k)`."""
        return self._with(values=values)

    def _with(self, **changes: Tensor) -> "Boxes":
        part = object.__new__(Boxes)  # its tensors were checked when this one was made
        for name in ("features", "inside", "absent", "values"):
            object.__setattr__(part, name, changes.get(name, getattr(self, name)))
        return part

    def shares(self, table: np.ndarray) -> Tensor:
        """Share of a box's value that each of its slots gets, from a table by (a, c).

        Args:
            table: Weight of a single player beside `a` others that must be present and `c`
                that must be absent, float64 `(d + 1, d + 1)`.

        Returns:
            `(d, b, t)` in the dtype of `values`.
        """
        weight = torch.as_tensor(table, dtype=self.values.dtype, device=self.values.device)
        present, absent = (count.long() for count in self.counts)
        width = weight.shape[1]
        alive = self.alive.to(weight.dtype)
        if_needed = weight.reshape(-1)[(present - 1).clamp(min=0) * width + absent] * alive
        if_barred = weight.reshape(-1)[present * width + (absent - 1).clamp(min=0)] * alive
        # a slot of a living box is at most one of the two
        return self.needed * if_needed - self.barred * if_barred

    def singles(self, index: str, n_players: int) -> Tensor:
        """Shapley values (index "SII") or Banzhaf values ("BII"), in closed form.

        Args:
            index: "SII" or "BII".
            n_players: Players `n` of the game.

        Returns:
            Values `(b, n, k)`.
        """
        d, b, t = self.needed.shape
        k = self.values.shape[1]
        if b == 0 or t == 0 or d == 0:
            return self.values.new_zeros(b, n_players, k)
        share = rearrange(self.shares(box_table(index, 1, 1, d)), "d b t -> (d t) b")
        players = rearrange(self.features, "t d -> (d t)")
        order = players.argsort(stable=True)[int((players < 0).sum()) :]
        found, counts = runs(players[order])
        parts = zip(
            torch.split(share[order], as_list(counts)),
            torch.split(order, as_list(counts)),
            strict=True,
        )
        columns = [slots.T @ self.values[places % t] for slots, places in parts]
        answer = self.values.new_zeros(b, n_players, k)
        return answer.index_copy(1, found, torch.stack(columns, 1)) if columns else answer

    def value(self, coalitions: Tensor) -> Tensor:
        """v(S) of any coalitions.

        Args:
            coalitions: Bool `(1 or b, m, n)`, true = present.

        Returns:
            Values `(b, m, k)`.
        """
        d, b, t = self.needed.shape
        m = coalitions.shape[1]
        if b == 0 or t == 0 or m == 0:
            return self.values.new_zeros(b, m, self.values.shape[1])
        # one bit a slot, and one more that no coalition has, for dead boxes
        kind = next(kind for limit, kind in _WORDS if d < limit)
        asked = _bits(self.needed | self.barred, kind)[:, None]  # (b, 1, t)
        wanted = _bits(self.needed, kind)[:, None] | ((~self.alive).to(kind) << d)[:, None]
        slots = rearrange(self.features, "t d -> d t").clamp(min=0)
        tile = _TILE // (b * t + d * coalitions.shape[0] * t)
        answers: list[Tensor] = []
        for some in torch.split(coalitions, max(1, tile), 1):
            seen = torch.zeros(some.shape[0], some.shape[1], t, dtype=kind, device=slots.device)
            for slot, players in enumerate(slots):
                seen |= some[:, :, players].to(kind) << slot
            pays = (seen & asked) == wanted
            answers.append(pays.to(self.values.dtype) @ self.values)
        return torch.cat(answers, 1)

    def base(self) -> Tensor:
        """v(none), `(b, k)`: what the boxes pay that need nobody."""
        return (self.counts[0] == 0).to(self.values.dtype) @ self.values

    def sets_of(self, size: int) -> tuple[Tensor, Tensor]:
        """Sets of `size` players of one box: positions `(p, size)` and whose they are `(p,)`."""
        t = self.features.shape[0]
        slots = self._slots_of(size)
        if len(slots) == 0 or t == 0:
            none = self.features.new_zeros(0)
            return self.features.new_zeros(0, size), none
        positions = self.features[:, slots]  # (t, ways, size)
        real = rearrange((positions >= 0).all(-1), "t w -> w t")
        owners = torch.arange(t, device=real.device).expand_as(real)
        return rearrange(positions, "t w s -> w t s")[real], owners[real]

    def _slots_of(self, size: int) -> Tensor:
        listed = list(combinations(range(self.features.shape[1]), size))
        return torch.tensor(listed, dtype=torch.int64, device=self.features.device)

    def set_weights(self, index: str, order: int, size: int) -> Tensor:
        """What multiplies a box's value in one index, for each of `sets_of(size)`.

        Args:
            index: SII, k-SII, STII, FSII, BII or FBII.
            order: Largest size of a set.
            size: Players per set.

        Returns:
            `(p, b)` in the dtype of `values`.
        """
        d, b, _ = self.needed.shape
        table = torch.as_tensor(
            box_table(index, order, size, d), dtype=self.values.dtype, device=self.values.device
        ).reshape(-1)
        present, absent = self.counts
        answers = [self.values.new_zeros(0, b)]
        for slots in self._slots_of(size):
            needed, barred = self.needed[slots], self.barred[slots]  # (size, b, t)
            asked = (needed | barred).all(0) & self.alive
            signs = barred.sum(0, dtype=torch.uint8)
            left_present = present - needed.sum(0, dtype=torch.uint8)
            left_absent = (absent - signs).long()
            weights = table[left_present.long() * (d + 1) + left_absent]
            weights = weights * torch.where(asked, 1 - 2 * (signs & 1).to(weights.dtype), 0.0)
            real = self.real[:, slots].all(1)
            answers.append(rearrange(weights, "b t -> t b")[real])
        return torch.cat(answers)

    def term_spectrum(self, n_players: int) -> Tensor:
        """Sum of absolute dividends by order, box by box, `(b, n, k)` with order s at s - 1."""
        d, b, _ = self.needed.shape
        present, absent = (count.long() for count in self.counts)
        answer = self.values.new_zeros(b, n_players, self.values.shape[1])
        pascal = torch.tensor(
            [[comb(row, i) for i in range(d + 1)] for row in range(d + 1)],
            dtype=answer.dtype,
            device=answer.device,
        )
        for size in range(1, min(d, n_players) + 1):
            more = size - present
            fits = self.alive & (more >= 0) & (more <= absent)
            ways = torch.where(fits, pascal[absent, more.clamp(0, d)], 0.0)
            answer[:, size - 1] = einsum(ways, self.values.abs(), "b t, t k -> b k")
        return answer


def _bits(slots: Tensor, kind: torch.dtype) -> Tensor:
    """Slots `(d, b, t)` as bits of one word each, `(b, t)`."""
    words = torch.zeros(slots.shape[1:], dtype=kind, device=slots.device)
    for place, slot in enumerate(slots):
        words |= slot.to(kind) << place
    return words
