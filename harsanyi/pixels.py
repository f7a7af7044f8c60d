"""Pictures of any kind as one tensor: PIL images, files, arrays and tensors, large and small."""

import io
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

GREY = ("1", "L", "I", "F", "LA")
"""Modes of PIL images without colours, beside those that start with I;16."""


def as_images(images: Any, size: Sequence[int], channels: int) -> Tensor:  # noqa: ANN401
    """Pictures as floating-point images in [0, 1] of one size.

    Bytes are divided by 255, the grey of 16-bit files by 65,535; floating-point numbers are taken
    as they are. Grey pictures are
    repeated for models of three channels, colours averaged by brightness for models of one, alpha
    dropped. Other sizes are resized (bilinear, antialiased).

    Args:
        images: A picture or several: file names, PIL images, arrays or tensors `(h, w)`,
            `(h, w, c)`, `(c, h, w)`, with or without a first axis of pictures.
        size: Rows and columns `(h, w)` wanted.
        channels: Channels wanted, 1 or 3, or as many as the pictures have.

    Returns:
        `(b, c, h, w)`, float32, or float64 where that was given.

    Raises:
        TypeError: If something is no picture.
        ValueError: If a shape cannot be read as a picture, there are none, or a pixel is not
            finite.
        FileNotFoundError: If a file is missing.
    """
    if isinstance(images, (str, PathLike)) or _is_pil(images):
        images = [images]
    if isinstance(images, (Tensor, np.ndarray)):
        whole = _tensor(images)
        found = _batched(whole, channels, tuple(size))
        pieces = [_fitted(found, size, channels)]
    elif isinstance(images, Sequence):
        pieces = [_fitted(_single(each, channels), size, channels) for each in images]
    else:
        raise _no_pictures(images)
    if not pieces or len(pieces[0]) == 0:
        raise ValueError("images has zero pictures; pass at least one.")
    answer = torch.cat([piece.to(pieces[0].dtype) for piece in pieces])
    if not bool(torch.isfinite(answer).all()):
        bad = (~torch.isfinite(answer)).flatten(1).any(1).nonzero().flatten().tolist()
        raise ValueError(f"images {bad[:5]} hold NaN or inf; pixels must be finite.")
    return answer


def channels_of(images: Any) -> int:  # noqa: ANN401 - as `as_images` takes them
    """Channels that pictures have: 1 where all are grey, else 3, or what arrays say.

    Args:
        images: As `as_images` takes them.
    """
    if isinstance(images, (Tensor, np.ndarray)):
        if images.ndim == 4:
            return int(images.shape[1] if images.shape[1] in (1, 3) else images.shape[-1])
        return 3 if images.ndim == 3 and 3 in (images.shape[0], images.shape[-1]) else 1
    several: Sequence[Any]
    if isinstance(images, (str, PathLike)) or _is_pil(images):
        several = [images]
    elif isinstance(images, Sequence):
        several = images
    else:
        raise _no_pictures(images)
    for image in several:
        picture = opened(Path(image)) if isinstance(image, (str, PathLike)) else image
        if _is_pil(picture):
            if picture.mode not in GREY and not picture.mode.startswith("I;16"):
                return 3
        elif np.ndim(picture) == 3 and 1 not in (np.shape(picture)[0], np.shape(picture)[-1]):
            return 3
    return 1


def _no_pictures(images: Any) -> TypeError:  # noqa: ANN401
    return TypeError(
        f"images is a {type(images).__name__}; pass pictures as files, PIL images, arrays or "
        "tensors."
    )


def _is_pil(image: Any) -> bool:  # noqa: ANN401
    return type(image).__module__.startswith("PIL.")


def _numbers(image: Any) -> np.ndarray:  # noqa: ANN401 - a PIL image
    """Bytes or floating-point numbers of a PIL image; its own `convert` would clip wide grey."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.float32) / 65535
    if image.mode == "F":
        return np.asarray(image)
    if image.mode == "I":
        least, most = image.getextrema()
        if least < 0 or most > 65535:
            raise ValueError(
                f"a picture of 32-bit numbers reaches from {least} to {most}; pass one of 8 or 16 "
                "bits, or an array of floating-point numbers in [0, 1]."
            )
        if most > 255:  # how Pillow opens some files of 16 bits
            return np.asarray(image).astype(np.float32) / 65535
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode in GREY else "RGB")
    return np.asarray(image)


def _tensor(image: Any) -> Tensor:  # noqa: ANN401
    """Numbers as a floating tensor, bytes and bits scaled to [0, 1]."""
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(np.array(image))
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    if tensor.dtype in (torch.float64, torch.float32):
        return tensor
    if tensor.is_floating_point() or tensor.dtype == torch.bool:
        return tensor.float()
    raise TypeError(f"images are {tensor.dtype}; pass bytes (uint8) or floating-point numbers.")


def _single(image: Any, channels: int) -> Tensor:  # noqa: ANN401
    """One picture as `(1, c, h, w)`."""
    if isinstance(image, (str, PathLike)):
        image = opened(Path(image))
    if _is_pil(image):
        image = _numbers(image)
    if isinstance(image, (list, tuple)):
        image = np.asarray(image)
    if not isinstance(image, (Tensor, np.ndarray)):
        raise TypeError(f"images holds a {type(image).__name__}, which is no picture.")
    tensor = _tensor(image)
    if tensor.ndim == 2:
        return tensor[None, None]
    if tensor.ndim == 3:
        return _channels_first(tensor, channels)[None]
    raise ValueError(f"a picture has shape {tuple(tensor.shape)}; (h, w), (h, w, c) or (c, h, w).")


def _batched(tensor: Tensor, channels: int, size: tuple[int, ...]) -> Tensor:
    """One array, of one picture or several, as `(b, c, h, w)`."""
    if tensor.ndim == 2:
        return tensor[None, None]
    if tensor.ndim == 3:
        first, last = tensor.shape[0], tensor.shape[2]
        if channels == 1:  # (3, 28, 28) is three grey pictures to a grey model of 28 x 28
            single = first == 1 or (last in (1, 3, 4) and tuple(tensor.shape[1:]) != size)
        else:
            single = first == channels or last in (3, 4, channels)
        return _channels_first(tensor, channels)[None] if single else tensor[:, None]
    if tensor.ndim == 4:
        if tensor.shape[1] == channels or tensor.shape[-1] not in (1, 3, 4, channels):
            return tensor
        return rearrange(tensor, "b h w c -> b c h w")
    raise ValueError(
        f"images have shape {tuple(tensor.shape)}; (b, h, w), (b, h, w, c) or (b, c, h, w) is needed."
    )


def _channels_first(tensor: Tensor, channels: int) -> Tensor:
    if tensor.shape[0] == channels or tensor.shape[2] not in (1, 3, 4, channels):
        return tensor
    return rearrange(tensor, "h w c -> c h w")


def _fitted(images: Tensor, size: Sequence[int], channels: int) -> Tensor:
    """Images `(b, c, h, w)` with the channels and the size wanted."""
    if len(images) and 0 in images.shape[1:]:
        raise ValueError(f"a picture of shape {tuple(images.shape[1:])} has no pixels.")
    found = images.shape[1]
    if found == 4 and channels != 4:
        images, found = images[:, :3], 3
    if found == 1 and channels == 3:
        images = images.expand(-1, 3, -1, -1)
    elif found == 3 and channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).to(images)  # ITU-R BT.601
        images = torch.einsum("bchw,c->bhw", images, weights)[:, None]
    elif found != channels:
        raise ValueError(f"a picture has {found} channels; the model reads {channels}.")
    if tuple(images.shape[2:]) != tuple(size):
        images = F.interpolate(
            images, tuple(size), mode="bilinear", antialias=True, align_corners=False
        )
    return images


def opened(path: Path) -> Any:  # noqa: ANN401
    """A picture from a file, read to its end.

    Args:
        path: Of any kind that Pillow reads.

    Returns:
        A PIL image.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If Pillow is missing.
        ValueError: If it is truncated or no picture.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("reading picture files needs Pillow: pip install pillow.") from error
    if not path.is_file():
        raise FileNotFoundError(f"no picture {path}.")
    try:
        image = Image.open(io.BytesIO(path.read_bytes()))
        image.load()
    except UnidentifiedImageError as error:  # whose words name a buffer, not the file
        raise ValueError(f"{path} is truncated or no picture.") from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is truncated or no picture ({error}).") from error
    return image
