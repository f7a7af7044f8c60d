"""Interactions: what sets of players are worth together, under a named index."""

import dataclasses
import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from baselines.arguments import is_a, positions
from baselines.torch_calls import as_list

if TYPE_CHECKING:
    from baselines.plots import InteractionPlots

INDICES = ("SII", "k-SII", "STII", "FSII", "BII", "FBII")
"""Shapley interaction, its efficient aggregate, Shapley-Taylor, Faith-Shapley, Banzhaf, Faith-Banzhaf."""

FORMAT = "harsanyi-interactions/1"


@dataclasses.dataclass(frozen=True, eq=False)
class Interactions:
    """Values of sets of players for each output of each explicand.

    `inter[(i, j)]` is the value `(b, k)` of players i and j; sets that are not listed are 0.

    Args:
        subsets: Bool `(u, n)`, each set once, of 1 to `order` players.
        values: `(b, u, k)` in units of the explained output.
        index: One of `INDICES`.
        order: Largest size of a set.
        base_values: `(b, k)`, value of the empty coalition, or None.
        std_errors: `(b, u, k)`, or None where none were estimated.
        players: `n` names, or None.
        outputs: `k` names, or None.
        game: The value function in words.
        method: What produced the values.
        exact: True for enumeration and for a Harsanyi model on its own game.
        n_evals: Coalitions evaluated per explicand.

    Raises:
        TypeError: If `subsets` is not bool or `values` not floating point.
        ValueError: If shapes disagree, the index is unknown, a set is repeated or of a size
            outside 1 to `order`, or a value is not finite.

    Example:
        >>> import torch
        >>> from baselines import Interactions
        >>> subsets = torch.tensor([[True, False], [True, True]])
        >>> pairs = Interactions(subsets, torch.tensor([[[1.0], [-2.0]]]), "k-SII", 2)
        >>> pairs[(0, 1)]
        tensor([[-2.]])
    """

    subsets: Tensor
    values: Tensor
    index: str
    order: int
    base_values: Tensor | None = None
    std_errors: Tensor | None = None
    players: Sequence[str] | None = None
    outputs: Sequence[str] | None = None
    game: str = ""
    method: str = ""
    exact: bool = False
    n_evals: int = 0

    def __post_init__(self) -> None:
        if not is_a(self.subsets, Tensor) or self.subsets.dtype != torch.bool:
            received = getattr(self.subsets, "dtype", type(self.subsets).__name__)
            raise TypeError(f"subsets are {received}; pass a bool tensor (u, n).")
        if not is_a(self.values, Tensor) or not self.values.is_floating_point():
            received = getattr(self.values, "dtype", type(self.values).__name__)
            raise TypeError(f"values are {received}; pass a floating-point tensor (b, u, k).")
        shapes_fit = self.subsets.ndim == 2 and self.values.ndim == 3
        if not shapes_fit or self.values.shape[1] != self.subsets.shape[0]:
            raise ValueError(
                f"subsets are {tuple(self.subsets.shape)} and values {tuple(self.values.shape)}; "
                "they must be (u, n) and (b, u, k)."
            )
        if self.index not in INDICES:
            raise ValueError(f"index is {self.index!r}; choose one of {', '.join(INDICES)}.")
        if self.order < 1:
            raise ValueError(f"order is {self.order}; it must be at least 1.")
        sizes = self.subsets.sum(1)
        if len(sizes) and not (1 <= int(sizes.min()) and int(sizes.max()) <= self.order):
            raise ValueError(
                f"subsets have {int(sizes.min())} to {int(sizes.max())} players; with order="
                f"{self.order} they must have 1 to {self.order}."
            )
        self._check_companions()
        if not torch.isfinite(self.values.detach()).all():
            raise ValueError("values are not all finite; check the game on its coalitions.")
        if len(self._places) != len(sizes):
            raise ValueError("subsets repeat a set; add up the values of like sets first.")

    def _check_companions(self) -> None:
        b, u, k = self.values.shape
        for name, wanted in (("base_values", (b, k)), ("std_errors", (b, u, k))):
            given = getattr(self, name)
            if given is not None and tuple(given.shape) != wanted:
                raise ValueError(f"{name} has shape {tuple(given.shape)}; it needs {wanted}.")
        for name, wanted in (("players", self.subsets.shape[1]), ("outputs", k)):
            given = getattr(self, name)
            if given is not None and len(given) != wanted:
                raise ValueError(f"{name} names {len(given)} entries; there are {wanted}.")

    @property
    def _places(self) -> dict[tuple[int, ...], int]:
        """Position of each set, keyed by its sorted players."""
        cached = self.__dict__.get("_places_cache")
        if cached is None:
            members: list[list[int]] = [[] for _ in range(self.subsets.shape[0])]
            pairs: list[tuple[int, int]] = as_list(self.subsets.nonzero())
            for row, player in pairs:
                members[row].append(player)
            cached = {tuple(players): row for row, players in enumerate(members)}
            self.__dict__["_places_cache"] = cached
        return cached

    @property
    def sets(self) -> list[tuple[int, ...]]:
        """The sets as sorted positions, in the order of `subsets`."""
        return list(self._places)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        b, u, k = self.values.shape
        return (
            f"Interactions({self.index}, order={self.order}, b={b}, n={self.subsets.shape[1]}, "
            f"k={k}, sets={u}, exact={self.exact})"
        )

    def __getitem__(self, players: int | str | Sequence[int | str]) -> Tensor:
        """Value of one set.

        Args:
            players: Positions or names, 1 to `order` of them; order does not matter.

        Returns:
            `(b, k)`; zeros for a set that is not listed.

        Raises:
            KeyError: If a player is unknown.
            ValueError: If a player is repeated, or the size is not between 1 and `order`.
        """
        wanted = [players] if isinstance(players, int | str) else list(players)
        key = tuple(sorted(self._position(player) for player in wanted))
        if len(set(key)) != len(key):
            raise ValueError(f"{tuple(wanted)} names a player twice.")
        if not 1 <= len(key) <= self.order:
            raise ValueError(
                f"{tuple(wanted)} has {len(key)} players; these interactions have 1 to {self.order}."
            )
        row = self._places.get(key)
        if row is None:
            return self.values.new_zeros(self.values.shape[0], self.values.shape[2])
        return self.values[:, row]

    def _position(self, player: int | str) -> int:
        n = self.subsets.shape[1]
        if isinstance(player, str):
            names = self.player_names()
            if player not in names:
                raise KeyError(f"{player!r} is not a player; there are {', '.join(names[:8])}...")
            return names.index(player)
        if not -n <= player < n:
            raise KeyError(f"player {player} is out of range; there are {n} players.")
        return int(player) % n

    def player_names(self) -> tuple[str, ...]:
        """Names of the players, `player 0`, ... where none were given."""
        if self.players is None:
            return tuple(f"player {i}" for i in range(self.subsets.shape[1]))
        return tuple(str(name) for name in self.players)

    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs, `output 0`, ... where none were given."""
        if self.outputs is None:
            return tuple(f"output {i}" for i in range(self.values.shape[2]))
        return tuple(str(name) for name in self.outputs)

    def _cell(self, row: int, output: int | str) -> Tensor:
        names = self.output_names()
        if isinstance(output, str):
            if output not in names:
                raise ValueError(f"output={output!r} is not one of {names}.")
            output = names.index(output)
        b, _, k = self.values.shape
        if not -b <= row < b:
            raise ValueError(f"row={row} is out of range; there are {b} explicands.")
        if not -k <= output < k:
            raise ValueError(f"output={output} is out of range; there are {k} outputs.")
        return self.values[row, :, output].detach()

    def top(
        self, m: int = 10, row: int = 0, output: int | str = 0, *, min_size: int = 1
    ) -> list[tuple[tuple[str, ...], float]]:
        """The sets of largest absolute value of one explicand.

        Args:
            m: How many, at most.
            row: Position of the explicand.
            output: Name or position of the output.
            min_size: Fewest players of a set; 2 leaves the main effects out.

        Returns:
            Pairs (names of the players, value), largest first.

        Raises:
            ValueError: If row, output or `m` is out of range.
        """
        if m < 0:
            raise ValueError(f"m is {m}; ask for 0 or more sets.")
        values = self._cell(row, output)
        names, sets = self.player_names(), self.sets
        order: list[int] = as_list(values.abs().argsort(descending=True, stable=True))
        chosen = [i for i in order if len(sets[i]) >= min_size][:m]
        return [(tuple(names[p] for p in sets[i]), float(values[i])) for i in chosen]

    def select(self, rows: slice | Sequence[int] | Tensor) -> "Interactions":
        """The interactions of some of the explicands.

        Args:
            rows: A slice, positions, or a bool mask over the `b` explicands.

        Returns:
            Interactions of these rows in this order.
        """
        index = positions(rows, len(self))
        index = index.to(self.values.device)
        return dataclasses.replace(
            self,
            values=self.values[index],
            base_values=None if self.base_values is None else self.base_values[index],
            std_errors=None if self.std_errors is None else self.std_errors[index],
        )

    def to_shapiq(self, row: int = 0, output: int | str = 0) -> Any:  # noqa: ANN401 - a guest's
        """One explicand and output as a `shapiq.InteractionValues`.

        Args:
            row: Position of the explicand.
            output: Name or position of the output.

        Returns:
            A `shapiq.InteractionValues` with every set of 0 to `order` players that is listed;
            the empty set carries the base value (0 where there is none).

        Raises:
            ImportError: If shapiq is not installed.
            ValueError: If row or output is out of range.
        """
        try:
            from shapiq import InteractionValues
        except ImportError as error:
            raise ImportError(
                "to_shapiq needs shapiq; install it with pip install 'harsanyi[shapiq]'."
            ) from error
        values = self._cell(row, output)
        base = 0.0
        if self.base_values is not None:
            names = self.output_names()
            place = names.index(output) if isinstance(output, str) else output
            base = float(self.base_values[row, place].detach())
        lookup: dict[tuple[int, ...], int] = {(): 0}
        lookup |= {players: i + 1 for players, i in self._places.items()}
        return InteractionValues(
            values=torch.cat([values.new_tensor([base]), values]).double().cpu().numpy(),
            index=self.index,
            max_order=self.order,
            n_players=self.subsets.shape[1],
            min_order=0,
            interaction_lookup=lookup,
            estimated=not self.exact,
            estimation_budget=self.n_evals or None,
            baseline_value=base,
        )

    @classmethod
    def from_shapiq(cls, guest: Any) -> "Interactions":  # noqa: ANN401 - a guest's class
        """A `shapiq.InteractionValues` as interactions of one explicand and one output.

        Args:
            guest: A `shapiq.InteractionValues` under an index of `INDICES`.

        Returns:
            Interactions with values `(1, u, 1)`, float64.

        Raises:
            ValueError: If its index is not known here.
        """
        listed = {key: i for key, i in guest.interaction_lookup.items() if len(key) > 0}
        subsets = torch.zeros(len(listed), guest.n_players, dtype=torch.bool)
        for row, key in enumerate(listed):
            subsets[row, list(key)] = True
        values = torch.tensor(
            [float(guest.values[i]) for i in listed.values()], dtype=torch.float64
        )
        return cls(
            subsets,
            values.reshape(1, len(listed), 1),
            index=guest.index,
            order=guest.max_order,
            base_values=torch.tensor([[float(guest.baseline_value)]], dtype=torch.float64),
            exact=not guest.estimated,
            n_evals=int(guest.estimation_budget or 0),
            method="shapiq",
        )

    @property
    def plot(self) -> "InteractionPlots":
        """Pictures of these interactions; loads matplotlib (extra `plots`) when touched."""
        from baselines.plots import InteractionPlots

        return InteractionPlots(self)

    def save(self, path: str | PathLike[str]) -> None:
        """Write one safetensors file that `load` reads back bit for bit.

        Args:
            path: File to write; an existing one is replaced in one step.
        """
        from safetensors.torch import save

        from baselines.shards import atomic_write

        names = ("subsets", "values", "base_values", "std_errors")
        tensors = {
            name: getattr(self, name).detach().cpu().clone().contiguous()
            for name in names
            if getattr(self, name) is not None
        }
        words = {
            "format": FORMAT,
            "index": self.index,
            "order": self.order,
            "players": None if self.players is None else [str(name) for name in self.players],
            "outputs": None if self.outputs is None else [str(name) for name in self.outputs],
            "game": self.game,
            "method": self.method,
            "exact": self.exact,
            "n_evals": self.n_evals,
        }
        atomic_write(Path(path), save(tensors, metadata={"harsanyi": json.dumps(words)}))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Interactions":
        """Read interactions that `save` wrote.

        Args:
            path: A safetensors file.

        Returns:
            The interactions, on the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is truncated, corrupt, or holds something else.
        """
        from baselines.files import read_tensors

        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no interactions at {path}; Interactions.save writes them.")
        metadata, tensors = read_tensors(path)
        try:
            words = json.loads(metadata.get("harsanyi", "{}"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} is truncated or no safetensors file ({error}).") from error
        written_as = words.pop("format", None)
        if written_as != FORMAT:
            raise ValueError(
                f"{path} has format {written_as!r}; this version reads {FORMAT!r}. Save it again "
                "with the version that wrote it."
            )
        try:
            fields: dict[str, Any] = {**tensors}
            return cls(**fields, **words)
        except TypeError as error:
            raise ValueError(f"{path} holds no complete interactions ({error}).") from error
