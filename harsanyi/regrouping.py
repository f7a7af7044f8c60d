"""Players put together after the fact: the game over groups, exactly.

A group is present when all of its members are. A coalition needs a group as soon as it needs one
member; a product's group multiplies by the product of its members' factors.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from harsanyi.boxes import Boxes
from harsanyi.quadrature import Products

if TYPE_CHECKING:
    from harsanyi.factored import FactoredGame

Game = TypeVar("Game", bound="FactoredGame")

Groups = Mapping[str, Sequence[str | int]]


def group_of(
    groups: Groups, n_players: int, players: Sequence[str] | None
) -> tuple[list[int], list[str]]:
    """Which new player each old one belongs to.

    Args:
        groups: Name to members, by name or position; every player in at most one.
        n_players: Old players.
        players: Their names, or None.

    Returns:
        New position of each old player, and the names of the new ones: the groups in the order
        given, then the ungrouped players in theirs.

    Raises:
        ValueError: If a group is empty, a member unknown or in two groups, or a name taken.
    """
    owner: dict[int, int] = {}
    for place, (name, members) in enumerate(groups.items()):
        if isinstance(members, str | int) or len(members) == 0:
            raise ValueError(f"group {name!r} is {members!r}; pass a list of one or more players.")
        for member in members:
            position = _position(member, n_players, players, name)
            if position in owner:
                raise ValueError(f"player {member!r} of group {name!r} was grouped before.")
            owner[position] = place
    rest = [i for i in range(n_players) if i not in owner]
    names = [str(name) for name in groups]
    names += [f"player {i}" if players is None else str(players[i]) for i in rest]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"after regrouping, {twice} would name two players; rename the groups.")
    owner |= {position: len(groups) + place for place, position in enumerate(rest)}
    return [owner[i] for i in range(n_players)], names


def _position(member: str | int, n_players: int, players: Sequence[str] | None, group: str) -> int:
    if players is not None and member in players:
        return list(players).index(member)  # pyright: ignore[reportArgumentType]
    if isinstance(member, int) and -n_players <= member < n_players:
        return member % n_players
    known = "unnamed" if players is None else f"named {', '.join(map(str, players[:8]))}..."
    raise ValueError(
        f"player {member!r} of group {group!r} is unknown; the {n_players} players are {known}"
    )


def regrouped(dividends: "Game", groups: Groups) -> "Game":
    """The game over groups of players.

    Args:
        dividends: The game.
        groups: Name to members, by name or position; the others stay on their own.

    Returns:
        Dividends whose players are the groups in the order given, then the ungrouped ones.
        Products and boxes stay factored.

    Raises:
        ValueError: If a group is empty, a member unknown or in two groups, or a name taken.
    """
    owner, names = group_of(groups, dividends.n_players, dividends.players)
    where = torch.tensor(owner, dtype=torch.int64, device=dividends.terms.device)
    terms = dividends.terms.new_zeros(dividends.terms.shape[0], len(names))
    for old, new in enumerate(owner):
        terms[:, new] |= dividends.terms[:, old]
    return dividends.replaced(
        terms=terms,
        players=tuple(names),
        products=tuple(_products(part, owner, len(names)) for part in dividends.products),
        boxes=tuple(_boxes(part, where) for part in dividends.boxes),
    )


def _products(part: Products, owner: list[int], n_groups: int) -> Products:
    # a group multiplies by the product of its members' factors, less one when absent
    members: list[list[int]] = [[] for _ in range(n_groups)]
    for old, new in enumerate(owner):
        members[new].append(old)
    columns = [
        part.factors[..., old[0]] if len(old) == 1 else (1 + part.factors[..., old]).prod(-1) - 1
        for old in members
    ]
    return Products(part.weights, torch.stack(columns, -1))


def _boxes(part: Boxes, where: Tensor) -> Boxes:
    real = part.features >= 0
    features = torch.where(real, where[part.features.clamp(min=0)], -1)  # (t, d), with repeats
    d = features.shape[1]
    same = (features[:, :, None] == features[:, None, :]) & real[:, :, None]  # (t, slot, first)
    first = same.to(torch.uint8).argmax(-1)  # earliest slot of the same group
    leads = first == torch.arange(d, device=features.device)
    inside, absent = part.inside & real, part.absent & real
    # a group must be whole for a needed member and broken for a barred one: both is a dead box,
    # since the barred member's reference value is never reached while the needed one is present
    gathered = [
        torch.stack([(cond & same[:, :, j]).any(-1) for j in range(d)], -1) if d else cond
        for cond in (inside, absent)
    ]
    keep = leads & real
    return Boxes(
        torch.where(keep, features, -1), gathered[0] & keep, gathered[1] & keep, part.values
    )
