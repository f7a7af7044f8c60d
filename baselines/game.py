"""Games: what happens to a model's output when only some of the players are present.

A game maps coalitions `(b, m, n)` to values `(b, m, k)`, one game per explicand, and counts the
model rows it used, so that nobody has to claim what an explanation cost.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from einops import rearrange, repeat
from torch import Tensor

from baselines.arguments import as_tensor, is_a, refuse_misfit, whole
from baselines.coalitions import check_coalitions, coalition_index
from baselines.finiteness import all_finite
from baselines.groups import Groups, group_players
from baselines.imputers import Imputer

Model = Callable[[Tensor], Tensor]

ROW_BUDGET = 2**22
"""Default number of feature cells a game hands to its model at once (32 MiB in float64)."""


@runtime_checkable
class Game(Protocol):
    """A cooperative game for each of `b` explicands.

    Beside the members below a game may carry `players` and `outputs` (names), `player_mask`
    (bool `(b, n)`, false for padding) and `description` (the value function in words).

    Example:
        >>> import torch
        >>> from baselines import Game, TableGame
        >>> isinstance(TableGame(torch.zeros(1, 4, 1)), Game)
        True
    """

    @property
    def n_explicands(self) -> int:
        """Number of games `b` played side by side."""
        ...

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        ...

    @property
    def n_outputs(self) -> int:
        """Number of outputs `k`."""
        ...

    @property
    def n_evals(self) -> int:
        """Model rows used so far: coalitions x imputations x explicands."""
        ...

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values of coalitions.

        Args:
            coalitions: Bool `(b, m, n)`, or `(1, m, n)` when all explicands share them; true =
                present.

        Returns:
            `(b, m, k)`.
        """
        ...


class TableGame:
    """A game whose values are all written down.

    Args:
        values: `(b, 2**n, k)`, where the index of a coalition is the sum of `2**i` over its
            present players `i`.
        players: Names of the `n` players, or None.
        description: What the game is, in words.

    Raises:
        ValueError: If the second axis is no power of two, or a value is not finite.

    Example:
        >>> import torch
        >>> from baselines import TableGame
        >>> game = TableGame(torch.tensor([[[0.0], [1.0], [2.0], [5.0]]]))  # nobody, 0, 1, both
        >>> game(torch.tensor([[[True, False], [True, True]]]))
        tensor([[[1.],
                 [5.]]])
    """

    def __init__(
        self,
        values: Tensor,
        *,
        players: Sequence[str] | None = None,
        description: str = "table",
    ) -> None:
        values = as_tensor(values, "values")
        size = values.shape[1] if values.ndim == 3 else 0
        if size < 1 or size & (size - 1) or values.numel() == 0:
            raise ValueError(
                f"values have shape {tuple(values.shape)}; a table game needs (b, 2**n, k) with "
                "at least one explicand and one output."
            )
        if not all_finite(values):
            raise ValueError("values hold NaN or infinity; every coalition needs a finite value.")
        self.values = values
        self.players = players
        self.description = description
        self.n_evals = 0

    @property
    def n_explicands(self) -> int:
        """Number of games `b`."""
        return self.values.shape[0]

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self.values.shape[1].bit_length() - 1

    @property
    def n_outputs(self) -> int:
        """Number of outputs `k`."""
        return self.values.shape[2]

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        self.n_evals += self.n_explicands * coalitions.shape[1]
        index = coalition_index(coalitions.to(self.values.device))
        index = index.expand(self.n_explicands, -1)
        return self.values.gather(1, repeat(index, "b m -> b m k", k=self.n_outputs))


class MaskedGame:
    """A model on inputs whose absent players an imputer fills in.

    v(S) is the weighted mean, over imputations, of the model's output.

    Args:
        model: Maps a tensor `(rows, *features)` to `(rows,)` or `(rows, k)`; a torch module, or
            anything else through `from_callable`.
        x: Explicands `(b, *features)`.
        imputer: Fills in absent features: `imputer(x, coalitions) -> (b, m, r, *features)`.
        groups: Features that form one player together: lists of positions in the flattened
            features, by name or in order, or an integer tensor of shape `features` whose entry is
            the player of a cell. Together they must hold every feature exactly once. None makes
            each feature a player.
        players: Names of the players; group names by default.
        outputs: Names of the outputs, or None.
        max_rows: Most model rows held at once; a memory budget of 2**22 feature cells by
            default. Results do not depend on it beyond rounding.
        description: The value function in words; from model and imputer by default.

    Raises:
        TypeError: If `x` is not a tensor or `model` is not callable.
        ValueError: If `x` has no rows or no features, groups overlap or miss a feature, or the
            model returns something else than `(rows,)` or `(rows, k)` of finite numbers.

    Source: removal-based explanation, Covert, Lundberg and Lee (2021), sec. 3-4.

    Example:
        >>> import torch
        >>> from baselines import BaselineImputer, MaskedGame, exact_shapley
        >>> x = torch.tensor([[2.0, 3.0]])
        >>> game = MaskedGame(lambda rows: rows.prod(1), x, BaselineImputer(1.0))
        >>> exact_shapley(game).values[0, :, 0]
        tensor([2., 3.])
    """

    def __init__(
        self,
        model: Model,
        x: Tensor,
        imputer: Imputer,
        *,
        groups: Groups | None = None,
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        max_rows: int | None = None,
        description: str | None = None,
    ) -> None:
        if not is_a(x, Tensor):
            raise TypeError(f"x is a {type(x).__name__}; pass a tensor (b, *features).")
        if x.ndim < 2 or x.shape[0] == 0 or x[0].numel() == 0:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; a game needs (b, *features) with at least one "
                "explicand and one feature."
            )
        if not callable(model):
            raise TypeError(
                f"model is a {type(model).__name__} that cannot be called; wrap a scikit-learn "
                "estimator with baselines.from_callable(model, output='proba')."
            )
        n_features = x[0].numel()
        max_rows = None if max_rows is None else whole(max_rows, "max_rows")
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"max_rows={max_rows}; a game needs room for at least one row.")
        self.model = model
        self.x = x
        self.imputer = imputer
        self.max_rows = max_rows or max(1, min(65_536, ROW_BUDGET // n_features))
        self.membership, names = group_players(groups, tuple(x.shape[1:]))
        self._n_players = n_features
        if self.membership is not None:
            self._n_players = int(self.membership.max()) + 1
        self.players = players if players is not None else names
        if self.players is not None and len(self.players) != self.n_players:
            raise ValueError(f"players names {len(self.players)}; the game has {self.n_players}.")
        self.outputs = outputs
        self.description = description or f"{_name(model)} with {_name(imputer)}"
        self.n_evals = 0
        self._n_outputs: int | None = None

    @property
    def n_explicands(self) -> int:
        """Number of explicands `b`."""
        return len(self.x)

    @property
    def n_players(self) -> int:
        """Number of players `n`: groups, or single features."""
        return self._n_players

    @property
    def n_outputs(self) -> int:
        """Number of outputs `k`; asks the model about one row, uncounted, if none is known yet."""
        if self._n_outputs is None:
            self._n_outputs = self._run(self.x[:1]).shape[-1]
        return self._n_outputs

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`; counts its rows."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        coalitions = coalitions.to(self.x.device)
        b, m = self.n_explicands, coalitions.shape[1]
        if m == 0:
            return self.x.new_zeros((b, 0, self.n_outputs))
        draws = _draws(self.imputer)
        wide = max(1, min(m, self.max_rows // draws))
        tall = max(1, min(b, self.max_rows // (draws * wide)))
        columns: list[Tensor] = []
        for left in range(0, m, wide):
            part = coalitions[:, left : left + wide]
            rows = [
                self._play(self.x[top : top + tall], _rows(part, top, top + tall))
                for top in range(0, b, tall)
            ]
            columns.append(rows[0] if len(rows) == 1 else torch.cat(rows))
        return columns[0] if len(columns) == 1 else torch.cat(columns, 1)

    def _play(self, x: Tensor, coalitions: Tensor) -> Tensor:
        b, m = len(x), coalitions.shape[1]
        features = coalitions if self.membership is None else coalitions[..., self.membership]
        if len(features) != b:
            features = features.expand(b, -1, -1)
        imputed = self.imputer(x, features)  # (b, m, r, *features)
        r = imputed.shape[2]
        rows = imputed.reshape(b * m * r, *x.shape[1:])
        if len(rows) <= self.max_rows:
            values = self._run(rows)
        else:
            values = torch.cat([self._run(chunk) for chunk in torch.split(rows, self.max_rows)])
        self.n_evals += b * m * r
        self._n_outputs = values.shape[-1]
        values = values.reshape(b, m, r, -1)
        weights = getattr(self.imputer, "weights", None)
        if weights is None:
            return values[:, :, 0] if r == 1 else values.mean(2)
        return torch.einsum("bmrk,r->bmk", values, weights.to(values))

    def _run(self, rows: Tensor) -> Tensor:
        return _asked(self.model, rows)


class PresenceGame:
    """A model that takes presence as an argument: v(S) = `model(x, present=S)`.

    Args:
        model: `model(x, present=mask)` maps rows `(rows, n)` and bool masks `(rows, n)` to
            `(rows,)` or `(rows, k)`.
        x: Explicands `(b, n, ...)`, one player per position of the second axis.
        players: Names of the players, or None.
        outputs: Names of the outputs, or None.
        max_rows: Most model rows held at once.
        description: The value function in words.
        n_players: Players `n`, where they are not the second axis of `x`: patches of images.

    Raises:
        TypeError: If `x` is not a tensor.
        ValueError: If `x` has no rows or no players, or the model returns another shape.

    Example:
        >>> import torch
        >>> from baselines import PresenceGame, exact_shapley
        >>> def model(x, present):
        ...     return (x * present).sum(1, keepdim=True)
        >>> exact_shapley(PresenceGame(model, torch.tensor([[2.0, 3.0]]))).values[0, :, 0]
        tensor([2., 3.])
    """

    def __init__(
        self,
        model: Callable[..., Tensor],
        x: Tensor,
        *,
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        max_rows: int | None = None,
        description: str | None = None,
        n_players: int | None = None,
    ) -> None:
        if not is_a(x, Tensor):
            raise TypeError(f"x is a {type(x).__name__}; pass a tensor (b, n, ...).")
        if x.ndim < 2 or x.shape[0] == 0 or x.shape[1] == 0:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; a presence game needs (b, n, ...) with at least "
                "one explicand and one player."
            )
        self.model = model
        self.x = x
        self.players = players
        self.outputs = outputs
        self.max_rows = max_rows or max(1, min(65_536, ROW_BUDGET // x[0].numel()))
        self.description = description or f"{_name(model)} with presence flags"
        self.n_evals = 0
        self._n_outputs: int | None = None
        self._n_players = x.shape[1] if n_players is None else n_players

    @property
    def n_explicands(self) -> int:
        """Number of explicands `b`."""
        return len(self.x)

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self._n_players

    @property
    def n_outputs(self) -> int:
        """Number of outputs `k`; asks the model about one row, uncounted, if none is known yet."""
        if self._n_outputs is None:
            everyone = torch.ones(1, self.n_players, dtype=torch.bool, device=self.x.device)
            self._n_outputs = self._run(self.x[:1], everyone).shape[-1]
        return self._n_outputs

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`; counts its rows."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        b, m = self.n_explicands, coalitions.shape[1]
        if m == 0:
            return self.x.new_zeros((b, 0, self.n_outputs))
        present = coalitions.to(self.x.device).expand(b, -1, -1)
        present = rearrange(present, "b m n -> (b m) n")
        owner = torch.arange(b, device=self.x.device).repeat_interleave(m)
        values = torch.cat(
            [
                self._run(self.x[rows], mask)
                for rows, mask in zip(
                    torch.split(owner, self.max_rows),
                    torch.split(present, self.max_rows),
                    strict=True,
                )
            ]
        )
        self.n_evals += b * m
        self._n_outputs = values.shape[-1]
        return rearrange(values, "(b m) k -> b m k", b=b)

    def _run(self, rows: Tensor, present: Tensor) -> Tensor:
        return _asked(self.model, rows, present=present)


def _asked(model: Callable[..., Any], rows: Tensor, **given: Tensor) -> Tensor:
    """What a foreign model says of rows, `(rows, k)`, without a graph."""
    with torch.no_grad():
        try:
            answer = model(rows, **given)
        except RuntimeError:
            refuse_misfit(model, rows)
            raise
        return _checked(answer, len(rows))


def _checked(answer: Any, n_rows: int) -> Tensor:  # noqa: ANN401 - a foreign model's answer
    """The model's values `(rows, k)`, once their shape and finiteness are sure."""
    values = getattr(answer, "logits", answer)  # a transformers model answers with an output
    if not isinstance(values, Tensor) or values.ndim not in (1, 2) or len(values) != n_rows:
        received = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(
            f"model returned {received} for {n_rows} rows; it must return a tensor (rows,) or "
            "(rows, k). Wrap numpy and scikit-learn models with baselines.from_callable."
        )
    if not values.is_floating_point() and not values.is_complex():
        values = values.double()  # labels and counts have means, integers have none
    if not all_finite(values):
        raise ValueError(
            "model returned NaN or infinity on masked rows; check that it accepts rows outside "
            "its training data, and the values that fill in for absent players."
        )
    return values[:, None] if values.ndim == 1 else values


def _rows(coalitions: Tensor, top: int, stop: int) -> Tensor:
    return coalitions if len(coalitions) == 1 else coalitions[top:stop]


def _draws(imputer: Imputer) -> int:
    return max(1, int(getattr(imputer, "n_draws", 1)))


def _name(thing: Any) -> str:  # noqa: ANN401
    return getattr(thing, "description", None) or getattr(thing, "__name__", type(thing).__name__)
