"""Guests: functions and shapiq games that play here, our games over there, shap's answers as ours."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from baselines.coalitions import check_coalitions
from baselines.explanation import Explanation
from baselines.game import Game
from baselines.torch_calls import as_list, from_array

Form = Literal["array", "tensor", "set"]


class CallableGame:
    """Plain functions as games, one for each explicand.

    Args:
        functions: One value function, or a sequence of `b`.
        n_players: Number of players `n`.
        takes: What a function is called with: "array", a bool numpy array `(m, n)` of coalitions;
            "tensor", the same as a tensor; "set", one coalition as a frozenset of positions. The
            first two answer `(m,)` or `(m, k)`, the last a number or `(k,)`.
        players: Names of the players, or None.
        outputs: Names of the outputs, or None.
        description: The value function in words.

    Raises:
        TypeError: If something is not callable.
        ValueError: If there is no function, no player, or `takes` is unknown.

    Example:
        >>> from baselines import CallableGame, exact_shapley
        >>> game = CallableGame(lambda members: float(len(members) >= 2), 3, takes="set")
        >>> exact_shapley(game).values[0, :, 0]  # a vote of three
        tensor([0.3333, 0.3333, 0.3333], dtype=torch.float64)
    """

    def __init__(
        self,
        functions: Callable[..., Any] | Sequence[Callable[..., Any]],
        n_players: int,
        *,
        takes: Form = "array",
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        description: str = "",
    ) -> None:
        listed = [functions] if callable(functions) else list(functions)
        if not listed:
            raise ValueError("functions is empty; a game needs a value function.")
        for function in listed:
            if not callable(function):
                raise TypeError(f"functions holds a {type(function).__name__}, no function.")
        if n_players < 1:
            raise ValueError(f"n_players={n_players}; a game needs at least one player.")
        if takes not in ("array", "tensor", "set"):
            raise ValueError(f"takes={takes!r} is unknown; use 'array', 'tensor' or 'set'.")
        if players is not None and len(players) != n_players:
            raise ValueError(f"players names {len(players)}; the game has {n_players}.")
        self.functions = listed
        self.takes = takes
        self.players = players
        self.outputs = outputs
        self.description = description or getattr(listed[0], "__name__", "callable")
        self.n_evals = 0
        self._n_players = n_players
        self._n_outputs: int | None = None

    @property
    def n_explicands(self) -> int:
        """Number of games `b`."""
        return len(self.functions)

    @property
    def n_players(self) -> int:
        """Number of players `n`."""
        return self._n_players

    @property
    def n_outputs(self) -> int:
        """Number of outputs `k`; asks about the empty coalition, uncounted, if none is known."""
        if self._n_outputs is None:
            nobody = torch.zeros(1, self.n_players, dtype=torch.bool)
            self._n_outputs = self._play(self.functions[0], nobody).shape[-1]
        return self._n_outputs

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        b, m = self.n_explicands, coalitions.shape[1]
        if m == 0:
            return torch.zeros(b, 0, self.n_outputs, dtype=torch.float64)
        masks = coalitions.cpu().expand(b, -1, -1)
        values = [self._play(f, mask) for f, mask in zip(self.functions, masks, strict=True)]
        self.n_evals += b * m
        self._n_outputs = values[0].shape[-1]
        return torch.stack(values).to(coalitions.device)

    def _play(self, function: Callable[..., Any], masks: Tensor) -> Tensor:
        """Values `(m, k)` of one explicand."""
        if self.takes == "set":
            sets = [frozenset(as_list(mask.nonzero().flatten())) for mask in masks]
            answer = np.stack([np.asarray(function(players), dtype=float) for players in sets])
        elif self.takes == "tensor":
            answer = function(masks)
        else:
            answer = function(masks.numpy().copy())
        values = answer.detach().cpu() if isinstance(answer, Tensor) else torch.as_tensor(answer)
        values = values if values.is_floating_point() else values.double()
        if values.ndim not in (1, 2) or len(values) != len(masks):
            raise ValueError(
                f"a value function returned shape {tuple(values.shape)} for {len(masks)} "
                "coalitions; (m,) or (m, k) is needed. Pass takes='set' for one that takes a "
                "single coalition."
            )
        if not bool(torch.isfinite(values).all()):
            raise ValueError("a value function returned NaN or infinity.")
        return values[:, None] if values.ndim == 1 else values


def from_shapiq(games: Any) -> CallableGame:  # noqa: ANN401 - a guest's class
    """shapiq games as one game of `b` explicands.

    Args:
        games: A `shapiq.Game`, or a sequence of them with the same number of players.

    Returns:
        A game with one output, whose values are the guests' own, normalised if they are.

    Raises:
        TypeError: If something has no `n_players` or cannot be called.
        ValueError: If the guests differ in players.

    Example:
        >>> import torch
        >>> from baselines import TableGame, as_shapiq, exact_shapley, from_shapiq
        >>> game = from_shapiq(as_shapiq(TableGame(torch.arange(8.0)[None, :, None])))
        >>> exact_shapley(game).values[0, :, 0]
        tensor([1.0000, 2.0000, 4.0000], dtype=torch.float64)
    """
    listed: list[Any] = [games] if callable(games) else list(games)
    for game in listed:
        if not (callable(game) and hasattr(game, "n_players")):
            raise TypeError(f"games holds a {type(game).__name__}, no shapiq game.")
    counts = {int(game.n_players) for game in listed}
    if len(counts) != 1:
        raise ValueError(f"games have {sorted(counts)} players; the same number is needed.")
    names = getattr(listed[0], "player_name_lookup", None)
    players = None if not names else [str(name) for name in sorted(names, key=names.get)]

    def player_of(game: Any) -> Callable[[np.ndarray], np.ndarray]:  # noqa: ANN401 - a guest's
        return lambda masks: np.asarray(game(masks), dtype=float)

    return CallableGame(
        [player_of(game) for game in listed],
        counts.pop(),
        players=players,
        description=f"shapiq {type(listed[0]).__name__}",
    )


def as_shapiq(game: Game, row: int = 0, output: int = 0) -> Any:  # noqa: ANN401 - a guest's class
    """One explicand and output of our game as a `shapiq.Game`.

    Args:
        game: Any game; its evaluations count as ever.
        row: Position of the explicand.
        output: Position of the output.

    Returns:
        A `shapiq.Game` whose value of the empty coalition is subtracted, as shapiq does.

    Raises:
        ImportError: If shapiq is not installed.

    Example:
        >>> import torch
        >>> from baselines import TableGame, as_shapiq
        >>> guest = as_shapiq(TableGame(torch.arange(8.0)[None, :, None]))
        >>> guest.n_players
        3
    """
    try:
        from shapiq import Game as Guest
    except ImportError as error:
        raise ImportError(
            "as_shapiq needs shapiq; install it with pip install 'harsanyi[shapiq]'."
        ) from error
    host = game

    class HostedGame(Guest):
        def value_function(self, coalitions: Any) -> np.ndarray:  # noqa: ANN401
            masks = from_array(np.asarray(coalitions, dtype=bool))
            everyone = masks[None].expand(host.n_explicands, -1, -1)
            return host(everyone)[row, :, output].detach().cpu().double().numpy()

    nobody = torch.zeros(1, 1, game.n_players, dtype=torch.bool)
    base = float(game(nobody)[row, 0, output])
    return HostedGame(n_players=game.n_players, normalize=True, normalization_value=base)


def from_shap(guest: Any, *, method: str = "shap", game: str = "") -> Explanation:  # noqa: ANN401
    """A `shap.Explanation` as an Explanation.

    Args:
        guest: With values `(b, n)` or `(b, n, k)`, as shap's explainers return for rows.
        method: What made it.
        game: The value function in words, which shap does not record.

    Returns:
        Values `(b, n, k)`, estimand "shapley", not exact.

    Raises:
        TypeError: If it has no numeric values.
        ValueError: If values or base values have another shape.

    Example:
        >>> import numpy as np, shap
        >>> from baselines import from_shap
        >>> from_shap(shap.Explanation(np.ones((4, 3)), base_values=np.zeros(4))).values.shape
        torch.Size([4, 3, 1])
    """
    values = np.asarray(getattr(guest, "values", None))
    if values.dtype.kind not in "fiu":
        raise TypeError(
            f"guest is a {type(guest).__name__} without an array of values; pass a "
            "shap.Explanation of rows with equally many features."
        )
    if values.ndim not in (2, 3):
        raise ValueError(f"values have shape {values.shape}; (b, n) or (b, n, k) is needed.")
    values = values[..., None] if values.ndim == 2 else values
    b, n, k = values.shape
    base = guest.base_values
    if base is not None:
        base = np.asarray(base, dtype=float)
        if base.ndim == 1 and len(base) == b and k == 1:
            base = base[:, None]
        if base.ndim > 2 or any(
            size not in (1, due) for size, due in zip(base.shape[::-1], (k, b), strict=False)
        ):
            raise ValueError(
                f"base values have shape {base.shape}, values {values.shape}; one for each row "
                "and output is needed (interaction values (b, n, n) are no explanation)."
            )
        base = from_array(np.broadcast_to(base, (b, k)).copy())
    errors = getattr(guest, "error_std", None)
    data = guest.data
    if data is not None and np.asarray(data).dtype.kind not in "fiub":
        data = None  # texts and categories are no tensors
    outputs = guest.output_names
    named = isinstance(guest.output_names, list | tuple) and len(outputs) == k
    features = guest.feature_names
    names = [str(name) for name in features] if features is not None else []
    return Explanation(
        values=from_array(np.array(values, dtype=float)),
        method=method,
        game=game,
        base_values=base,
        std_errors=None
        if errors is None
        else from_array(np.array(errors, dtype=float).reshape(b, n, k)),
        players=names if len(names) == n else None,
        outputs=[str(name) for name in outputs] if named else None,
        data=None if data is None else from_array(np.array(data)),
    )


def to_shapiq(explanation: Explanation, row: int = 0, output: int | str = 0) -> Any:  # noqa: ANN401
    """One explicand and output of an explanation as a `shapiq.InteractionValues` of order 1.

    Args:
        explanation: Its values; padding is left out.
        row: Position of the explicand.
        output: Name or position of the output.

    Returns:
        A `shapiq.InteractionValues`; the empty set carries the base value, 0 where there is none.

    Raises:
        ImportError: If shapiq is not installed.
        ValueError: If the row or the output does not exist.
    """
    try:
        from shapiq import InteractionValues
    except ImportError as error:
        raise ImportError(
            "to_shapiq needs shapiq; install it with pip install 'harsanyi[shapiq]'."
        ) from error
    if not -len(explanation) <= row < len(explanation):
        raise ValueError(f"row={row} is out of range; there are {len(explanation)} explicands.")
    place = explanation.output_position(output)
    values = explanation.values[row, :, place].detach().double().cpu()
    if explanation.player_mask is not None:
        values = values[explanation.player_mask[row].cpu()]
    base = 0.0
    if explanation.base_values is not None:
        base = float(explanation.base_values[row, place])
    return InteractionValues(
        values=torch.cat([values.new_tensor([base]), values]).numpy(),
        index="BV" if explanation.estimand == "banzhaf" else "SV",
        max_order=1,
        min_order=0,
        n_players=len(values),
        interaction_lookup={(): 0} | {(i,): i + 1 for i in range(len(values))},
        estimated=not explanation.exact,
        estimation_budget=explanation.n_evals or None,
        baseline_value=base,
    )
