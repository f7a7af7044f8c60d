"""Problem: explicands, the game that is played on them, and what both are called."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from baselines.explanation import Explanation
from baselines.fingerprints import content_hash
from baselines.torch_calls import as_list
from bench.meter import MeteredGame


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What a contender is given: rows to explain and the game its answers are judged on.

    Args:
        name: Unique name, such as `"adult/mlp"`.
        x: Explicands `(b, *features)`: a tensor, an array, a frame, or a list of texts.
        y: Labels `(b,)`, or None.
        game_factory: Explicands -> the `Game` that explanations are judged on. One without a
            parameter stands for the game of all of `x`.
        imputer: What fills in absent players, or None where the game has its own absence.
        players: `n` names, or None.
        scale: Scale of the game's outputs: `"logit"`, `"probability"` or `"value"`.
        task: `"classification"`, `"regression"` or `"game"`.
        content_hash: Hash of rows, labels, names and game; computed when left empty.
        model: The model behind the game, for contenders that look inside it; or None.
        background: Rows `(r, *features)` that imputers and surrogates may draw from; or None.
        explains: `"box"` when the game belongs to a given model, `"own"` when it is the
            contender's own trained game.
        known: Explicands -> their exact explanation by theory, where there is one.

    Raises:
        TypeError: If `game_factory` is not callable.
        ValueError: If there are no explicands, or a word is not one of those above.

    Example:
        >>> import torch
        >>> from baselines import TableGame
        >>> from bench import Problem
        >>> def games(x):
        ...     return TableGame(torch.arange(8.0).expand(len(x), 8)[..., None])
        >>> toy = Problem("toy", torch.zeros(2, 3), None, games, players=("a", "b", "c"))
        >>> toy.name, toy.players
        ('toy', ('a', 'b', 'c'))
    """

    name: str
    x: Any
    y: Any
    game_factory: Callable[..., Any]
    imputer: Any = None
    players: Sequence[str] | None = None
    scale: str = "logit"
    task: str = "classification"
    content_hash: str = ""
    model: Any = dataclasses.field(default=None, repr=False)
    background: Any = dataclasses.field(default=None, repr=False)
    explains: str = "box"
    known: Callable[[Any], Explanation] | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not callable(self.game_factory):
            raise TypeError(
                f"game_factory of problem {self.name!r} is a "
                f"{type(self.game_factory).__name__}; pass a function from explicands to a Game."
            )
        if len(self.x) == 0:
            raise ValueError(f"x of problem {self.name!r} has no rows; a problem needs one.")
        if self.y is not None and len(self.y) != len(self.x):
            raise ValueError(
                f"y of problem {self.name!r} has {len(self.y)} labels for {len(self.x)} rows."
            )
        for field, words in (
            ("explains", ("own", "box")),
            ("scale", ("logit", "probability", "value")),
            ("task", ("classification", "regression", "game")),
        ):
            if getattr(self, field) not in words:
                raise ValueError(
                    f"{field}={getattr(self, field)!r} of problem {self.name!r} is not one of "
                    f"{words}."
                )
        if not self.content_hash:
            object.__setattr__(self, "content_hash", self._hash())

    def __len__(self) -> int:
        return len(self.x)

    def game(self, x: Any = None) -> MeteredGame:  # noqa: ANN401 - rows, texts or images
        """The game of some explicands, which counts what it is asked.

        Args:
            x: Explicands; all of the problem's when None.

        Returns:
            A `Game` whose calls are also written to the ledger that is open, if one is.
        """
        if self.is_whole:
            if x is not None and x is not self.x:
                raise ValueError(
                    f"game_factory of problem {self.name!r} takes no explicands, so only the "
                    "game of all of its rows exists; give the factory a parameter x."
                )
            return MeteredGame(self.game_factory())
        return MeteredGame(self.game_factory(self.x if x is None else x))

    @property
    def modality(self) -> str:
        """`"game"`, `"text"`, `"image"` or `"tabular"`, by task and explicands."""
        if self.task == "game":
            return "game"
        if isinstance(self.x, (list, tuple)):
            return "text"
        return "image" if np.ndim(self.x) > 2 else "tabular"

    @property
    def value_function(self) -> str:
        """What fills in absent players, in a word or two: the imputer's class, or the game's own."""
        return "own" if self.imputer is None else type(self.imputer).__name__

    @property
    def background_rows(self) -> float:
        """Rows that imputers and surrogates may draw from; NaN where there are none."""
        return float("nan") if self.background is None else float(len(self.background))

    @property
    def is_whole(self) -> bool:
        """Whether the factory takes no explicands and makes the game of all of them."""
        return not inspect.signature(self.game_factory).parameters

    def select(self, rows: slice | Sequence[int]) -> "Problem":
        """The same problem on some of its explicands, under a hash of its own.

        Args:
            rows: A slice or positions of explicands.
        """
        return dataclasses.replace(
            self,
            x=take(self.x, rows),
            y=None if self.y is None else take(self.y, rows),
            content_hash="",
        )

    def _hash(self) -> str:
        game = self.game(None if self.is_whole else take(self.x, slice(0, 1)))
        words = (self.name, self.scale, self.task, self.explains, game.description)
        rows = [_content(part) for part in (self.x, self.y, self.background)]
        players = None if self.players is None else list(map(str, self.players))
        return content_hash(words, players, rows, _fingerprint(game))[:16]


def take(x: Any, rows: slice | Sequence[int]) -> Any:  # noqa: ANN401 - rows, texts or images
    """Rows of a tensor, an array, a frame or a list.

    Args:
        x: What has `b` rows.
        rows: A slice or positions.

    Returns:
        The rows in this order, in the container they came in.
    """
    if hasattr(x, "iloc"):
        return x.iloc[rows if isinstance(rows, slice) else list(rows)]
    if isinstance(x, Tensor):
        return x[rows if isinstance(rows, slice) else torch.as_tensor(list(rows)).long()]
    whole: Any = x
    if isinstance(x, np.ndarray):
        return whole[rows if isinstance(rows, slice) else np.asarray(list(rows), dtype=int)]
    return x[rows] if isinstance(rows, slice) else [x[i] for i in rows]


def _content(part: Any) -> Any:  # noqa: ANN401 - rows, texts or images
    """Rows as `content_hash` takes them: a frame as its columns, each with a type of its own."""
    if hasattr(part, "columns"):
        return [[str(name), part[name].to_numpy()] for name in part.columns]
    return part.to_numpy() if hasattr(part, "to_numpy") else part


def _fingerprint(game: MeteredGame) -> list[str]:
    """What the game answers on four coalitions of one explicand, to four digits.

    Model weights and imputer are in it, whatever they are made of; rounding between machines is
    not.
    """
    n = game.n_players
    odd = torch.arange(n) % 2 == 1
    probes = torch.stack([torch.zeros(n), torch.ones(n), odd, ~odd]).bool()
    mask = getattr(game, "player_mask", None)
    values = game(probes[None] if mask is None else probes.to(mask.device) & mask[:, None])[0]
    return [f"{value:.4g}" for value in as_list(values.double().flatten())]
