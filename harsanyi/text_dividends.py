"""Dividends of the game of a text: of windows where parts list them, else of all coalitions."""

from collections.abc import Sequence

import torch
from torch import Tensor

from baselines.coalitions import all_coalitions
from harsanyi.dividends import Dividends
from harsanyi.text_net import TextNet


def text_dividends(
    net: TextNet,
    x: Tensor,
    types: Tensor | None,
    real: Tensor,
    max_coalitions: int,
    *,
    players: Sequence[str] | None,
    outputs: Sequence[str],
    game: str,
) -> Dividends:
    """Dividends of each text.

    Args:
        net: The net.
        x: Ids `(b, n)` or vectors `(b, n, d)`.
        types: `(b, n)`, or None.
        real: Bool `(b, n)`, false for padding.
        max_coalitions: Most coalitions that may be listed.
        players: Names of the players, or None.
        outputs: Names of the outputs.
        game: The value function in words.

    Raises:
        ValueError: If there would be more than `max_coalitions`.
    """
    names = None if players is None else tuple(players)
    n = real.shape[1]
    if all(hasattr(part, "terms") for part in net.parts):
        found = net.explicit(net.prepared(x, None, real, types))
        return found.replaced(
            max_terms=max_coalitions, players=names, outputs=tuple(outputs), game=game
        )
    if 2**n > max_coalitions:
        raise ValueError(
            f"{n} players have {2**n} coalitions, more than max_coalitions={max_coalitions}; "
            "explain and interactions need none of them."
        )
    coalitions, table = moebius(net, x, types, real)
    return Dividends(
        coalitions[1:],
        table[:, 1:],
        table[:, 0],
        max_terms=max_coalitions,
        players=names,
        outputs=tuple(outputs),
        game=game,
    )


def moebius(net: TextNet, x: Tensor, types: Tensor | None, real: Tensor) -> tuple[Tensor, Tensor]:
    """All coalitions `(2**n, n)` and their dividends `(b, 2**n, k)`, the empty one's first.

    Args:
        net: The net.
        x: Ids `(b, n)` or vectors `(b, n, d)`.
        types: `(b, n)`, or None.
        real: Bool `(b, n)`, false for padding.
    """
    n = real.shape[1]
    coalitions = all_coalitions(n).to(real.device)
    found = []
    for row in range(len(x)):
        kinds = None if types is None else types[row : row + 1]
        pieces = [
            net(
                x[row : row + 1].expand(len(part), *x.shape[1:]),
                part,
                real=real[row : row + 1].expand(len(part), -1),
                types=None if kinds is None else kinds.expand(len(part), -1),
            )
            for part in coalitions.split(4096)
        ]
        found.append(torch.cat(pieces))
    table = torch.stack(found)  # (b, 2**n, k)
    index = torch.arange(2**n, device=real.device)
    for i in range(n):
        has = index[(index >> i) & 1 == 1]
        table[:, has] = table[:, has] - table[:, has - 2**i]
    return coalitions, table
