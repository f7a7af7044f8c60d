"""The meter: what an explainer really asked, counted at the game's door and never claimed."""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


@dataclasses.dataclass
class Ledger:
    """Running totals of one explainer's questions.

    Args:
        coalitions: Coalitions asked, times explicands.
        rows: Model rows that answering them took.
        passes: Rows that a self-explaining model took in its own forward passes.
    """

    coalitions: int = 0
    rows: int = 0
    passes: int = 0


_OPEN: contextvars.ContextVar[Ledger | None] = contextvars.ContextVar("ledger", default=None)


@contextlib.contextmanager
def open_ledger(explainer: Any = None) -> Iterator[Ledger]:  # noqa: ANN401 - any explainer
    """Count every question put to a metered game while the context is open.

    Args:
        explainer: A module, or something that holds one as `net_`, `net` or `model`, whose own
            forward passes are counted too.

    Yields:
        The ledger, which fills up as the game is asked.
    """
    ledger = Ledger()
    modules = {
        id(module): module
        for module in (explainer, *(getattr(explainer, a, None) for a in ("net_", "net", "model")))
        if isinstance(module, nn.Module)
    }

    def count(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = next((a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), None)
        ledger.passes += 0 if given is None or given.ndim == 0 else len(given)

    hooks = [m.register_forward_pre_hook(count, with_kwargs=True) for m in modules.values()]
    token = _OPEN.set(ledger)
    try:
        yield ledger
    finally:
        _OPEN.reset(token)
        for hook in hooks:
            hook.remove()


class MeteredGame:
    """A game that answers as the one inside it does and counts what it is asked.

    Args:
        game: The game to answer from.
    """

    def __init__(self, game: Any) -> None:  # noqa: ANN401 - the Game protocol, and guests of it
        self.inner = game
        self.coalitions = 0

    def __call__(self, coalitions: Tensor) -> Tensor:
        """Values of coalitions `(b or 1, m, n)`, shape `(b, m, k)`, from the game inside."""
        before = self.inner.n_evals
        values = self.inner(coalitions)
        asked = self.n_explicands * coalitions.shape[1]
        self.coalitions += asked
        ledger = _OPEN.get()
        if ledger is not None:
            ledger.coalitions += asked
            ledger.rows += self.inner.n_evals - before
        return values

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the game inside has
        if name == "inner":  # not set yet while a copy is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    @property
    def n_explicands(self) -> int:
        """Explicands `b`."""
        return int(self.inner.n_explicands)

    @property
    def n_players(self) -> int:
        """Players `n`."""
        return int(self.inner.n_players)

    @property
    def n_outputs(self) -> int:
        """Outputs `k`."""
        return int(self.inner.n_outputs)

    @property
    def n_evals(self) -> int:
        """Model rows used so far."""
        return int(self.inner.n_evals)

    @property
    def description(self) -> str:
        """The game in words, or an empty string where the game has none."""
        return str(getattr(self.inner, "description", "") or "")

    def ends(self) -> tuple[Tensor, Tensor]:
        """Values of the empty and of the grand coalition.

        Returns:
            v(none) and v(all), each `(b, k)`.
        """
        both = torch.tensor([[False], [True]]).expand(2, self.n_players)
        mask = getattr(self.inner, "player_mask", None)
        both = both[None] if mask is None else both[None].to(mask.device) & mask[:, None]
        values = self(both)
        return values[:, 0], values[:, 1]
