"""Settings of a model of images: what its players are, and which blocks read them."""

from collections.abc import Sequence
from typing import Any

PLAYERS = ("patches", "cells", "features")
PRESETS = ("chen2023-cnn",)


def image_settings(
    size: int | Sequence[int] = 32,
    players: str = "patches",
    *,
    channels: int = 3,
    n_outputs: int = 10,
    patch: int = 4,
    width: int = 64,
    blocks: int = 6,
    absence: str | None = None,
    readout: str = "place",
    stem: Sequence[Sequence[int]] | None = None,
    grid: int | Sequence[int] | None = None,
    features: int | None = None,
    preset: str | None = None,
    kernel: int = 3,
    beta: float = 1000.0,
    gamma: float = 1.0,
    problem_type: str = "single_label_classification",
    **others: Any,  # noqa: ANN401 - of PreTrainedConfig
) -> dict[str, Any]:
    """The attributes of a HarsanyiImageConfig.

    Args:
        size: Side of an image, or rows and columns.
        players: "patches" of pixels, which pixels can verify; "cells" of the feature map of a
            stem; "features", the cells of the feature map of a frozen network given as `backbone`.
        channels: Channels of an image.
        n_outputs: Outputs `k`.
        patch: Side of a patch in pixels.
        width: Entries of a unit's vector.
        blocks: Blocks after the encoder. The first three grow fields slowly, to 2, 4 and 9
            players; the others see 3 x 3 places of the block below, the last two further apart.
        absence: "baseline" (default for patches: absent when of the baseline's colour) or "mask"
            (the only one for cells and features).
        readout: "place", or "shared" by all places, which fits any image size.
        stem: For cells: triples `[width, kernel, stride]` of convolutions.
        grid: For features: rows and columns of the feature map.
        features: For features: its channels.
        preset: "chen2023-cnn" is the published Harsanyi-CNN, whose players are cells; `width` and
            `blocks` are then its own (the paper has 512 and 10), as are `kernel`, `beta`, `gamma`.
        kernel: Side of the published neighbourhoods.
        beta: Scale of the gradient of the published choice of children.
        gamma: Steepness of the published gate.
        problem_type: As transformers names it; "regression" serves regression.
        others: Further attributes of the configuration.

    Returns:
        Keyword arguments; `fit` adapts channels and outputs to what it is given.

    Raises:
        ValueError: If players, preset or absence are unknown or do not go together.
    """
    recipe = {
        name: value
        for name, value in locals().items()
        if name not in ("others", "channels", "n_outputs", "problem_type")
    }
    recipe |= {name: _plain(recipe[name]) for name in ("size", "stem", "grid")}
    rows, columns = _sides(size)
    _check_counts(channels=channels, n_outputs=n_outputs)
    if players not in PLAYERS:
        raise ValueError(f"players={players!r}; choose one of {PLAYERS}.")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"preset={preset!r}; known are {PRESETS}.")
    _check_counts(patch=patch, width=width, kernel=kernel)
    if not isinstance(blocks, int) or blocks < 0:
        raise ValueError(f"blocks={blocks!r}; pass a whole number from 0.")
    if preset is not None:
        if players == "features":
            raise ValueError(
                "preset='chen2023-cnn' has a feature map of its own: players='cells'."
            )
        cells = (rows // 2, columns // 2)
        part = {"kind": "cells", "size": [rows, columns], "channels": channels, "width": width}
        part |= {"blocks": blocks, "kernel": kernel, "beta": beta, "gamma": gamma}
        players, names = "cells", cells
    else:
        encoder = _encoder(players, [rows, columns], channels, patch, width, stem, grid, features)
        names = _grid(encoder)
        part = {
            "kind": "grid",
            "encoder": encoder,
            "blocks": growing_blocks(blocks, width, min(names)),
            "readout": readout,
        }
    allowed = ("baseline", "mask") if players == "patches" else ("mask",)
    absence = absence or allowed[0]
    if absence not in allowed:
        raise ValueError(
            f"absence={absence!r}; players={players!r} can be absent by {' or '.join(allowed)}."
        )
    word = "patch" if players == "patches" else "cell"
    return {
        "n_players": names[0] * names[1],
        "n_outputs": n_outputs,
        "parts": [part],
        "absence": absence,
        "players": [f"{word} {y},{x}" for y in range(names[0]) for x in range(names[1])],
        "outputs": [str(i) for i in range(n_outputs)],
        "size": [rows, columns],
        "channels": channels,
        "recipe": recipe,
        "problem_type": problem_type,
        "coalition_weight": 0.0 if preset else 0.2,
        **others,
    }


def growing_blocks(count: int, width: int, side: int) -> list[dict[str, Any]]:
    """Blocks whose fields grow slowly at first: 2, 4 and 9 players, then by 3 x 3 places.

    Args:
        count: Blocks.
        width: Entries of a unit's vector.
        side: Shorter side of the grid; the last two blocks reach further where it is large.

    Returns:
        Keyword arguments of the blocks of a `GridPart`.
    """
    first: list[dict[str, Any]] = [
        {"width": width, "kernel": [1, 2]},
        {"width": width, "kernel": [2, 1]},
        {"width": width, "kernel": [2, 2], "lead": [1, 1]},
    ]
    later: list[dict[str, Any]] = [
        {"width": width, "kernel": [3, 3]} for _ in range(count - len(first))
    ]
    for block in later[-2:] if side > 8 else []:
        block["dilation"] = 2
    return [*first[:count], *later]


def _encoder(
    players: str,
    size: list[int],
    channels: int,
    patch: int,
    width: int,
    stem: Sequence[Sequence[int]] | None,
    grid: int | Sequence[int] | None,
    features: int | None,
) -> dict[str, Any]:
    if players == "patches":
        return {
            "kind": "patches", "size": size, "channels": channels, "patch": patch,
            "width": width, "hidden": width,
        }  # fmt: skip
    if players == "cells":
        stem = [[max(1, width // 2), 3, 1], [width, 3, 2]] if stem is None else stem
        return {"kind": "cells", "size": size, "channels": channels, "stem": _plain(stem)}
    if grid is None or features is None:
        raise ValueError(
            "players='features' needs grid and features, the shape of the backbone's feature map; "
            "HarsanyiForImageClassification.from_backbone(backbone, size) finds them."
        )
    cells = [grid, grid] if isinstance(grid, int) else [int(side) for side in grid]
    return {
        "kind": "features", "grid": cells, "channels": features, "width": width, "size": size,
        "colours": channels,
    }  # fmt: skip


def _grid(encoder: dict[str, Any]) -> tuple[int, int]:
    """The grid an encoder will have, without building it."""
    if encoder["kind"] == "features":
        return encoder["grid"][0], encoder["grid"][1]
    rows, columns = encoder["size"]
    if encoder["kind"] == "patches":
        patch = encoder["patch"]
        if patch < 1 or patch > min(rows, columns):
            raise ValueError(f"patch={patch} does not fit {rows} x {columns} pixels.")
        return -(-rows // patch), -(-columns // patch)
    for layer in encoder["stem"]:
        if len(layer) != 3 or min(layer) < 1:
            raise ValueError(f"stem has {layer}; each is [width, kernel, stride], all from 1.")
        _, kernel, stride = layer
        rows, columns = ((s + 2 * (kernel // 2) - kernel) // stride + 1 for s in (rows, columns))
    return rows, columns


def _sides(size: Any) -> tuple[int, int]:  # noqa: ANN401 - checked here
    """Rows and columns of an image from one side or from both."""
    sides = (size, size) if isinstance(size, int) else size
    if isinstance(sides, str) or not isinstance(sides, Sequence) or len(sides) != 2:
        raise ValueError(f"size={size!r}; pass one side, or rows and columns.")
    if not all(isinstance(side, int) and side >= 1 for side in sides):
        raise ValueError(f"size={size!r}; sides are whole numbers from 1.")
    return sides[0], sides[1]


def _check_counts(**counts: object) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"{name}={count!r}; pass a whole number from 1.")


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Sequences as lists, as JSON gives them back."""
    return [_plain(entry) for entry in value] if isinstance(value, (list, tuple)) else value
