"""The game of a self-explaining model: what it claims to be exact for, played in the open."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from baselines.coalitions import check_coalitions
from baselines.explanation import Explanation
from baselines.torch_calls import from_array
from bench.problems.problem import Problem, take

MAX_ROWS = 16_384


class OpenGame:
    """The game v(S) = `answer(rows, present=S)` of a model that opens it to anybody.

    Args:
        answer: Maps rows and a bool array `(rows, n)` of presence to `(rows, k)`.
        x: Explicands: a frame, an array or a tensor of `b` rows.
        n_players: Number of players `n`.
        players: Names of the players, or None.
        outputs: Names of the outputs, or None.
        max_rows: Most rows asked at once.
        description: The game in words.
    """

    def __init__(
        self,
        answer: Any,  # noqa: ANN401 - logits or outputs of any model
        x: Any,  # noqa: ANN401 - rows of any container
        n_players: int,
        *,
        players: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        max_rows: int = MAX_ROWS,
        description: str = "",
    ) -> None:
        self.answer = answer
        self.x = x
        self.n_players = n_players
        self.players = players
        self.outputs = outputs
        self.max_rows = max_rows
        self.description = description
        self.n_evals = 0
        self._n_outputs: int | None = None

    @property
    def n_explicands(self) -> int:
        """Number of explicands `b`."""
        return len(self.x)

    @property
    def n_outputs(self) -> int:
        """Number of outputs `k`; asks about one row, uncounted, if none is known yet."""
        if self._n_outputs is not None:
            return self._n_outputs
        present = np.ones((1, self.n_players), dtype=bool)
        found = self._run(np.zeros(1, dtype=int), present).shape[-1]
        self._n_outputs = found
        return found

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values `(b, m, k)` of bool coalitions `(b, m, n)` or `(1, m, n)`; counts its rows."""
        check_coalitions(coalitions, self.n_explicands, self.n_players)
        b, m = self.n_explicands, coalitions.shape[1]
        if m == 0:
            return torch.zeros(b, 0, self.n_outputs, dtype=torch.float64)
        present = rearrange(coalitions.expand(b, -1, -1), "b m n -> (b m) n").cpu().numpy()
        owner = np.repeat(np.arange(b), m)
        values = np.concatenate(
            [
                self._run(
                    owner[start : start + self.max_rows], present[start : start + self.max_rows]
                )
                for start in range(0, b * m, self.max_rows)
            ]
        )
        self.n_evals += b * m
        self._n_outputs = values.shape[-1]
        return rearrange(from_array(values), "(b m) k -> b m k", b=b)

    def _run(self, rows: np.ndarray, present: np.ndarray) -> np.ndarray:
        values = self.answer(take(self.x, rows.tolist()), present=present)
        if isinstance(values, Tensor):
            values = values.detach().cpu().numpy()
        values = np.asarray(values).reshape(len(rows), -1)
        if not np.isfinite(values).all():
            raise ValueError("the model answered NaN or infinity with players absent.")
        return values


def own_problem(
    model: Any,  # noqa: ANN401 - any self-explaining model
    x: Any,  # noqa: ANN401 - rows of any container
    y: Any = None,  # noqa: ANN401 - labels of any container
    *,
    name: str = "",
    task: str | None = None,
) -> Problem:
    """The problem of explaining a self-explaining model's own trained game.

    The game is the model's public one: `logits(x, present=S)` or `outputs(x, present=S)` of the
    scikit-learn estimators, `model(x, present=S)` of a module. Truth is computed by playing it, so
    a model that is not exact for the game it names is found out.

    Args:
        model: A fitted HarsanyiClassifier or HarsanyiRegressor, a HarsanyiNet, or anything else
            with `explain` and one of the calls above.
        x: Explicands in the form that `model.explain` takes.
        y: Their labels, or None.
        name: Name of the problem; `own/<class of the model>` by default.
        task: `"classification"` or `"regression"`; by the public call when None.

    Returns:
        A Problem whose contenders are the model itself and every estimator on its game.

    Raises:
        TypeError: If the model does not explain or does not open its game.

    Example:
        >>> import numpy as np
        >>> from bench import ground_truth, own_problem
        >>> from harsanyi import HarsanyiRegressor
        >>> X = np.random.default_rng(0).normal(size=(80, 3))
        >>> model = HarsanyiRegressor(parts=("additive",), bags=1, epochs=2, random_state=0)
        >>> problem = own_problem(model.fit(X, X[:, 0]), X[:2])
        >>> truth = ground_truth(problem).values  # enumeration of the model's public game
        >>> np.allclose(truth, model.explain(X[:2]).values, atol=1e-5)
        True
    """
    if not hasattr(model, "explain"):
        raise TypeError(f"model is a {type(model).__name__} without explain(x).")
    answer = _opened(model)
    sample: Explanation = model.explain(take(x, slice(0, 1)))
    if sample.is_ragged:
        raise TypeError(
            f"model is a {type(model).__name__} with ragged players; play its own game class."
        )
    players = None if sample.players is None else tuple(map(str, sample.players))

    def game(rows: Any) -> OpenGame:  # noqa: ANN401 - rows of any container
        return OpenGame(
            answer,
            rows,
            sample.shape[1],
            players=players,
            outputs=sample.outputs,
            description=sample.game,
        )

    return Problem(
        name=name or f"own/{type(model).__name__}",
        x=x,
        y=y,
        game_factory=game,
        players=players,
        scale="logit" if task != "regression" and not hasattr(model, "outputs") else "value",
        task=task or ("regression" if hasattr(model, "outputs") else "classification"),
        model=model,
        explains="own",
    )


def _opened(model: Any) -> Any:  # noqa: ANN401 - any self-explaining model
    """The public call of a model that takes `present`."""
    for call in ("logits", "outputs"):
        if callable(getattr(model, call, None)):
            return getattr(model, call)
    if not callable(model):
        raise TypeError(
            f"model is a {type(model).__name__} with neither logits(x, present=...), outputs(x, "
            "present=...) nor model(x, present=...); its own game cannot be played."
        )

    def forward(rows: Tensor, *, present: np.ndarray) -> Any:  # noqa: ANN401 - tensor or output
        with torch.no_grad():
            values = model(rows, present=from_array(present).to(rows.device))
        return getattr(values, "logits", values)

    return forward
