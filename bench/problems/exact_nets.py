"""Ground truth without noise at any size: networks whose Shapley values follow from their weights.

Sampled truth has noise of its own; above some 16 players these games do without it. Each is a
HarsanyiNet of gated and product units with random weights, in float64, so nothing is trained.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from baselines.explanation import Explanation
from baselines.game import PresenceGame
from bench.problems.problem import Problem

if TYPE_CHECKING:
    from harsanyi.net import HarsanyiNet


def exact_net(n_players: int = 64, *, n_outputs: int = 3, b: int = 32, seed: int = 0) -> Problem:
    """A random exact network: players interact in pairs, triples, eights, and all at once.

    Args:
        n_players: Players `n`, 8 or more.
        n_outputs: Outputs `k`.
        b: Explicands, standard normal rows.
        seed: Seed of weights and rows.

    Returns:
        A black box's problem whose truth is exact; that the net's values are, is held against
        enumeration at few players by a test.

    Raises:
        ValueError: If there are fewer than 8 players.
    """
    if n_players < 8:
        raise ValueError(f"n_players={n_players}; the net has units of 8 players.")
    generator = torch.Generator().manual_seed(seed)
    net = _net(n_players, n_outputs, generator)
    name = f"exact/net-{n_players}" + (f"@{seed}" if seed else "")
    words = f"{name}, absence=mask"
    rows = torch.randn(b, n_players, generator=generator, dtype=torch.float64)

    def game(x: Tensor) -> PresenceGame:
        return PresenceGame(net, x, description=words)

    def known(x: Tensor) -> Explanation:
        found = net.explain(x)
        return Explanation(
            found.values, game=words, method="exact net", exact=True, base_values=found.base_values
        )

    return Problem(name, rows, None, game, scale="logit", task="game", model=net, known=known)


def _net(n: int, k: int, generator: torch.Generator) -> "HarsanyiNet":
    from harsanyi.fitting import random_fields
    from harsanyi.net import HarsanyiNet, NetConfig
    from harsanyi.parts.gated import GatedPart
    from harsanyi.parts.products import ProductPart

    fields = [[i] for i in range(n)]
    for size, most in ((2, 2 * n), (3, n), (8, n // 4)):
        fields += random_fields(n, size, most, generator)
    sizes = sorted({len(members) for members in fields})
    units = [[size, sum(len(members) == size for members in fields)] for size in sizes]
    gated = GatedPart(n, k, blocks=[{"units": units, "channels": 4, "hidden": 4}])
    gated.reset_parameters(generator)
    gated.blocks[0].connect(fields)  # pyright: ignore[reportCallIssue]
    products = ProductPart(n, k, units=16, bound=0.5)
    products.reset_parameters(generator)
    parts = [gated, products]
    config = NetConfig(n_players=n, n_outputs=k, parts=[part.spec for part in parts])
    return HarsanyiNet(config, parts).double().eval()
