"""What a store must know of the games it holds labels of: names, scale and a fingerprint."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from amortized.examples import Examples, pick
from baselines.coalitions import stream
from baselines.fingerprints import content_hash
from baselines.game import Game

GameFactory = Callable[[Any], Game]
"""Examples -> their games: a `TextModel`, or any function such as
`lambda x: MaskedGame(model, x, imputer)`."""


@dataclasses.dataclass(frozen=True)
class GameCard:
    """The value function behind labels, as plain words.

    Args:
        fingerprint: Hash of model, tokenizer, removal and players.
        description: The value function in words.
        outputs: Names of the outputs.
        players: Names of the players, or None where every example has its own.
        target: Folder or hub name of the model and how it is loaded, where that is known.
        probed: Whether the fingerprint is of a few answers only, for want of a better one.
    """

    fingerprint: str
    description: str
    outputs: list[str]
    players: list[str] | None = None
    target: dict[str, Any] | None = None
    probed: bool = False

    @classmethod
    def of(cls, model: GameFactory, examples: Examples) -> "GameCard":
        """The card of a model's games.

        Args:
            model: Examples -> their games. Its `fingerprint` is taken where it has one, else what
                it answers on a few coalitions of a few examples.
            examples: At least one.

        Raises:
            TypeError: If the model is not callable.
        """
        if not callable(model):
            raise TypeError(
                f"model is a {type(model).__name__}; pass a TextModel, or a function from "
                "examples to their games."
            )
        game = model(pick(examples, [0]))
        outputs = getattr(game, "outputs", None) or range(game.n_outputs)
        players = getattr(game, "players", None)
        ragged = getattr(game, "player_mask", None) is not None
        named = getattr(model, "fingerprint", None)
        named = named() if callable(named) else named
        return cls(
            fingerprint=str(named) if named else _probe(model, examples),
            description=getattr(model, "description", None)
            or getattr(game, "description", type(game).__name__),
            outputs=[str(name) for name in outputs],
            players=None if ragged or players is None else [str(name) for name in players],
            target=_target(model),
            probed=not named,
        )


def _probe(model: GameFactory, examples: Examples) -> str:
    """What the games answer on a few coalitions, to five digits: no weights are at hand to hash."""
    found: list[Any] = []
    for row in sorted({0, len(examples) // 2, len(examples) - 1}):
        game = model(pick(examples, [row]))
        masks = stream(0, 0, purpose=67).random((6, game.n_players)) < 0.5
        asked = torch.cat(
            [torch.ones(1, game.n_players, dtype=torch.bool), torch.from_numpy(masks)]
        )
        values = game(asked[None]).double().flatten().tolist()
        found.append([getattr(game, "description", ""), *(f"{value:.5g}" for value in values)])
    return content_hash("probed game", found)[:32]


def _target(model: GameFactory) -> dict[str, Any] | None:
    """Where a text model was loaded from, so that another process can load it again."""
    network = getattr(model, "network", None) or getattr(model, "model", None)
    where = getattr(getattr(network, "config", None), "_name_or_path", "")
    if not where:
        return None
    words = ("players", "removal", "link", "max_length")
    return {"path": str(where), **{w: getattr(model, w) for w in words if hasattr(model, w)}}
