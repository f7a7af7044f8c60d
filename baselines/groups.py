"""Features that form one player together."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from baselines.arguments import whole

Groups = Mapping[str, Sequence[int]] | Sequence[Sequence[int]] | Tensor
"""Lists of positions in the flattened features, by name or in order, or a player for each cell."""


def member_lists(
    groups: Mapping[str, Sequence[int]] | Sequence[Sequence[int]],
) -> list[list[int]]:
    """Positions of the members of each group, in order.

    Raises:
        TypeError: If they are no lists of positions.
    """
    try:
        lists = [
            list(members)
            for members in (groups.values() if isinstance(groups, Mapping) else groups)
        ]
    except TypeError as error:
        raise TypeError(
            f"groups is a {type(groups).__name__}; pass lists of positions, such as "
            "[[0, 1], [2, 3]], or a dict of these by name."
        ) from error
    return [[whole(member, "groups: a member", "positions") for member in part] for part in lists]


def group_players(
    groups: Groups | None, features: tuple[int, ...]
) -> tuple[Tensor | None, list[str] | None]:
    """Player of each flattened feature, and the players' names where the groups have some."""
    if groups is None:
        return None, None
    n_features = int(np.prod(features))
    if isinstance(groups, Tensor):
        if tuple(groups.shape) != features or groups.is_floating_point():
            raise ValueError(
                f"groups have shape {tuple(groups.shape)} and dtype {groups.dtype}; a tensor of "
                f"groups needs integers of shape {features}."
            )
        membership, names = groups.reshape(-1).long(), None
        if membership.min() < 0 or len(membership.unique()) != int(membership.max()) + 1:
            raise ValueError("groups must number the players 0, 1, ... without a gap.")
        return membership, names
    if isinstance(groups, np.ndarray):
        return group_players(torch.as_tensor(groups), features)
    names = [str(name) for name in groups] if isinstance(groups, Mapping) else None
    lists = member_lists(groups)
    flat = sorted(position for members in lists for position in members)
    if flat != list(range(n_features)) or any(len(members) == 0 for members in lists):
        raise ValueError(
            f"groups hold the features {flat[:20]}; they must hold each of the {n_features} "
            "features exactly once, and none may be empty."
        )
    membership = torch.empty(n_features, dtype=torch.int64)
    for player, members in enumerate(lists):
        membership[torch.as_tensor(members)] = player
    return membership, names
