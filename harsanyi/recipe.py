"""The recipe for tables: which parts a model is made of, how they are grown, trained and mixed.

`grow(train, validation, ...)` is what the scikit-learn estimators call; it returns a fitted net.
"""

from os import PathLike

import torch

from harsanyi.fitting import Schedule, fit_net, gated_part, net_config
from harsanyi.net import HarsanyiNet
from harsanyi.table import Table


def grow(
    train: Table,
    validation: Table,
    *,
    parts: tuple[str, ...] | None = None,
    bags: int | None = None,
    schedule: Schedule | None = None,
    dtype: torch.dtype = torch.float32,
    key: int = 0,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> HarsanyiNet:
    """Grow, train and mix the parts of a model for a table.

    Args:
        train: Rows to learn from.
        validation: Rows that choose epochs and mixture weights.
        parts: Kinds of parts to use; the default recipe when None.
        bags: Bags per part; the recipe's default when None.
        schedule: How long and how hard to train what is trained by gradients.
        dtype: Of the weights.
        key: Key of every random choice.
        checkpoint_dir: Folder that a killed run continues from.
        progress: Show a bar.

    Returns:
        A fitted net in eval mode, its mixture weights set.
    """
    generator = torch.Generator().manual_seed(key)
    part = gated_part(train, generator=generator)
    net = HarsanyiNet(net_config(train, [part]), [part]).to(dtype)
    net.set_baseline(train.baseline)
    fit_net(
        net,
        train,
        validation,
        schedule,
        key=key,
        checkpoint_dir=checkpoint_dir,
        progress=progress,
        description="gated units",
    )
    return net
