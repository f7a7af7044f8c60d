"""The recipe for tables: which parts a model is made of, how they are grown, bagged and mixed.

`grow(train, validation, ...)` is what the scikit-learn estimators call; it returns a fitted net.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from harsanyi.bags import SMALL, Folds, Grown, deal
from harsanyi.fitting import Schedule, net_config
from harsanyi.mixing import mix
from harsanyi.net import HarsanyiNet
from harsanyi.parts.additive import AdditivePart
from harsanyi.table import Table

BAGS = 8
DEFAULT = ("additive", "waves", "trees")
MARGINAL = ("additive", "products")


@torch.enable_grad()
def grow(
    train: Table,
    validation: Table | None = None,
    *,
    parts: tuple[str, ...] | None = None,
    bags: int | None = None,
    schedule: Schedule | None = None,
    dtype: torch.dtype = torch.float32,
    key: int = 0,
    checkpoint_dir: str | PathLike[str] | None = None,
    progress: bool = False,
) -> HarsanyiNet:
    """Grow, bag and mix the parts of a model for a table.

    Every part is grown once per bag on the rows the bag holds and judged on those it leaves out;
    the mixture's weights are those that do best on all rows judged so, whole and masked. The
    validation rows are dealt into bags like the others.

    Args:
        train: Rows to learn from.
        validation: More rows.
        parts: Kinds of parts: "additive", "waves", "trees", "subsets", "gated", "products"; the
            first three when None.
        bags: Bags per part; 8 when None. A bag is judged on what it leaves out, so 1 means 2.
        schedule: How long and how hard to train what is trained by gradients; the share of the
            loss on coalitions.
        dtype: Of the weights.
        key: Key of every random choice.
        checkpoint_dir: Folder that a killed run continues from.
        progress: Show a bar.

    Returns:
        A fitted net in eval mode, its mixture weights set. `net.out_of_bag` holds the outputs
        on all rows by bags that did not see them.

    Raises:
        ValueError: If a kind of part is unknown or has no closed form for the table's absence, there
            is none, or `bags` is below 1.
        TypeError: If `bags` is no whole number, or `parts` one string.
    """
    check_recipe(parts, bags)
    schedule = schedule or Schedule()
    table = train if validation is None else joined(train, validation)
    kinds = (MARGINAL if table.absence == "marginal" else DEFAULT) if parts is None else parts
    growers = _growers(table.absence)
    unknown = [kind for kind in kinds if kind not in growers]
    if unknown:
        raise ValueError(
            f"parts names {', '.join(map(repr, unknown))}; absence={table.absence!r} knows "
            f"{', '.join(map(repr, growers))}."
        )
    folds = deal(table, BAGS if bags is None else bags, schedule.coalition_weight, key)
    grown = []
    for kind in kinds:
        folder = None if checkpoint_dir is None else Path(checkpoint_dir) / kind
        grown.append(growers[kind](folds, key, schedule, folder, progress))
    return _compose(folds, grown, dtype)


def check_recipe(parts: object, bags: object, preset: object = None) -> None:
    """Refuse what no recipe can mean.

    Raises:
        TypeError: If `bags` is no whole number, or `parts` one string.
        ValueError: If `bags` is below 1, `parts` names none, or either comes with a preset, which
            is one net of parts of its own.
    """
    given = [name for name, value in (("parts", parts), ("bags", bags)) if value is not None]
    if preset is not None and given:
        raise ValueError(
            f"preset={preset!r} was given with {' and '.join(given)}; a preset is one net with parts "
            f"of its own, so leave {' and '.join(given)} None, or preset."
        )
    if isinstance(parts, str):
        raise TypeError(f"parts={parts!r}; pass a sequence of names, such as ({parts!r},).")
    if parts is not None and not len(parts):  # pyright: ignore[reportArgumentType]
        raise ValueError("parts is empty; name at least one part, or pass None for the recipe's.")
    if bags is None:
        return
    if not isinstance(bags, Integral) or isinstance(bags, bool):
        raise TypeError(f"bags={bags!r}; pass a whole number, or None for {BAGS}.")
    if bags < 1:
        raise ValueError(f"bags={bags}; pass at least 1 (which means 2: one to judge the other).")


Grower = Callable[[Folds, int, Schedule, Path | None, bool], Grown]


def _growers(absence: str) -> dict[str, Grower]:
    """What grows each kind of part that has a closed form for an absence."""
    from harsanyi.smooth import grow_linear, grow_waves
    from harsanyi.trained import grow_trained

    def additive(folds: Folds, key: int, *_: object) -> Grown:
        return grow_linear(folds, key=key)

    def waves(folds: Folds, key: int, schedule: Schedule, folder: Path | None, bar: bool) -> Grown:
        options = {"checkpoint_dir": folder, "progress": bar}
        return grow_waves(folds, key=key, schedule=schedule, **options)

    def trees(folds: Folds, key: int, schedule: Schedule, *_: object) -> Grown:
        from harsanyi.growing import grow_trees

        # copies cost accuracy on whole rows, the more so the more rows there are to learn from
        share = 0.6 if len(folds.table) < SMALL else 0.2
        return grow_trees(folds, copies_weight=share * schedule.coalition_weight, key=key)

    def trained(kind: str) -> Grower:
        def grow_kind(
            folds: Folds, key: int, schedule: Schedule, folder: Path | None, bar: bool
        ) -> Grown:
            options = {"checkpoint_dir": folder, "progress": bar}
            return grow_trained(folds, kind, key=key, schedule=schedule, **options)

        return grow_kind

    if absence == "marginal":
        return {"additive": additive, "products": trained("products")}
    others = {kind: trained(kind) for kind in ("subsets", "gated", "products")}
    return {"additive": additive, "waves": waves, "trees": trees, **others}


def joined(first: Table, second: Table) -> Table:
    """The rows of two tables of the same columns."""
    return replace(
        first,
        x=torch.cat([first.x, second.x]),
        y=torch.cat([first.y, second.y]),
        weight=torch.cat([first.weight, second.weight]),
    )


def _compose(folds: Folds, grown: list[Grown], dtype: torch.dtype) -> HarsanyiNet:
    table = folds.table
    weights = mix(folds, grown)
    kept = [(w, part) for w, part in zip(weights.tolist(), grown, strict=True) if w > 0]
    parts: list[nn.Module] = []
    shares: list[float] = []
    for weight, kind in kept:
        for part in kind.parts:
            parts.append(part)
            shares.append(weight * kind.share)
    parts, shares = _merge_additive(parts, shares)
    net = HarsanyiNet(net_config(table, parts), parts)
    with torch.no_grad():
        net.mixture = torch.tensor(shares, dtype=torch.float64)
        net.bias.data = sum(
            (w * part.bias for w, part in kept), torch.zeros(table.n_outputs).double()
        )
    net.set_baseline(table.baseline)
    held = tuple(net._outputs(z) for z in _blend(kept))
    net.out_of_bag = held  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    return net.to(dtype).eval()


def _blend(kept: list[tuple[float, Grown]]) -> tuple[Tensor, Tensor]:
    full = sum(w * part.full for w, part in kept)
    masked = sum(w * part.masked for w, part in kept)
    return full, masked  # pyright: ignore[reportReturnType]


@torch.no_grad()
def _merge_additive(
    parts: list[nn.Module], shares: list[float]
) -> tuple[list[nn.Module], list[float]]:
    """Additive parts over the same features as one, their shares in its weights."""
    merged: AdditivePart | None = None
    rest: list[nn.Module] = []
    left: list[float] = []
    for part, share in zip(parts, shares, strict=True):
        if not isinstance(part, AdditivePart):
            rest.append(part)
            left.append(share)
        elif merged is None:
            part.weights.mul_(share)
            part.means.mul_(share)
            merged = part
        else:
            merged.weights.add_(part.weights, alpha=share)
            merged.means.add_(part.means, alpha=share)
    return ([merged, *rest], [1.0, *left]) if merged is not None else (rest, left)
