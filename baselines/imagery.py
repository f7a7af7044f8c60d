"""Images: fillings for absent pixels, and patches and superpixels as players."""

import math
from collections.abc import Sequence

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor
from torch.nn.functional import conv2d, pad

from baselines.arguments import as_tensor
from baselines.blending import blend
from baselines.imputers import StoredImputer, feature_mask
from baselines.torch_calls import distinct_index


class MeanColorImputer(StoredImputer):
    """Absent pixels take the mean of each channel of their own image.

    Example:
        >>> import torch
        >>> from baselines import MeanColorImputer
        >>> image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> present = (torch.arange(192) < 96)[None, None]  # of features, c * h * w
        >>> MeanColorImputer()(image, present).shape
        torch.Size([1, 1, 1, 3, 8, 8])
    """

    description = "mean colour imputer"
    n_draws = 1

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed images `(b, m, 1, c, h, w)` of `x` `(b, c, h, w)`."""
        present = feature_mask(check_images(x), coalitions)
        finite = torch.isfinite(x)
        total = reduce(torch.where(finite, x, 0), "b c h w -> b 1 c 1 1", "sum")
        count = reduce(finite.to(x.dtype), "b c h w -> b 1 c 1 1", "sum")
        mean = total / count.clamp(min=1)
        return blend(present, x[:, None], mean)[:, :, None]


class BlurImputer(StoredImputer):
    """Absent pixels take the value of a blurred copy of the image.

    The blurred copy still shows what is absent, coarsely: what is left out is detail.

    Args:
        sigma: Width of the Gaussian blur in pixels, positive.

    Raises:
        ValueError: If sigma is not positive.

    Source: Fong and Vedaldi (2017), sec. 4.1.

    Example:
        >>> import torch
        >>> from baselines import BlurImputer
        >>> image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> present = (torch.arange(192) < 96)[None, None]  # of features, c * h * w
        >>> BlurImputer(sigma=2.0)(image, present).shape
        torch.Size([1, 1, 1, 3, 8, 8])
    """

    description = "blur imputer"
    n_draws = 1

    def __init__(self, sigma: float = 5.0) -> None:
        super().__init__()
        self.sigma = _positive(sigma)

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed images `(b, m, 1, c, h, w)` of `x` `(b, c, h, w)`."""
        present = feature_mask(check_images(x), coalitions)
        # divided by the blurred weights, so that neither border nor missing pixels darken it
        finite = torch.isfinite(x)
        reach = blur(finite.to(x.dtype), self.sigma).clamp(min=1e-12)
        blurred = blur(torch.where(finite, x, 0), self.sigma) / reach
        return blend(present, x[:, None], blurred[:, None])[:, :, None]


class InpaintImputer(StoredImputer):
    """Absent pixels are painted in from the present ones around them, over a background.

    The difference of the present pixels from the background is spread by normalised Gaussian
    convolution and added to the background, which alone remains far from anything present: the
    filling never sees an absent pixel.

    Args:
        background: One image `(c, h, w)`, such as the mean of the training images.
        sigma: Reach of a present pixel in pixels, positive.

    Raises:
        ValueError: If the background is no image or sigma not positive.

    Example:
        >>> import torch
        >>> from baselines import InpaintImputer
        >>> image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> present = (torch.arange(192) < 96)[None, None]  # of features, c * h * w
        >>> InpaintImputer(torch.zeros(3, 8, 8))(image, present).shape
        torch.Size([1, 1, 1, 3, 8, 8])
    """

    description = "inpainting imputer"
    n_draws = 1

    def __init__(self, background: Tensor, sigma: float = 3.0) -> None:
        super().__init__()
        background = as_tensor(background, "background")
        if background.ndim != 3:
            raise ValueError(
                f"background has shape {tuple(background.shape)}; one image (c, h, w) is needed."
            )
        self.sigma = _positive(sigma)
        self.register_buffer("background", background)
        self.background: Tensor

    def forward(
        self, x: Tensor, coalitions: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Imputed images `(b, m, 1, c, h, w)` of `x` `(b, c, h, w)`."""
        present = feature_mask(check_images(x), coalitions)
        background = self.background.to(x)
        if background.shape != x.shape[1:]:
            raise ValueError(
                f"background has shape {tuple(background.shape)}; x needs {tuple(x.shape[1:])}."
            )
        b = len(x)
        weight = present.to(x.dtype).expand(b, -1, -1, -1, -1)
        excess = torch.where(present, (x - background)[:, None], 0)
        spread = blur(rearrange(excess, "b m c h w -> (b m) c h w"), self.sigma)
        reach = blur(rearrange(weight, "b m c h w -> (b m) c h w"), self.sigma)
        # the prior weight of the background is that of one pixel two sigmas away
        prior = math.exp(-2) / (2 * math.pi * self.sigma**2)
        painted = rearrange(spread / (reach + prior), "(b m) c h w -> b m c h w", b=b)
        return blend(present, x[:, None], background + painted)[:, :, None]


def patches(size: Sequence[int], grid: Sequence[int] | int) -> Tensor:
    """Players of an image that are the cells of a grid.

    Args:
        size: `(h, w)` or `(c, h, w)` of the image.
        grid: Cells `(rows, columns)`, or one number for both.

    Returns:
        Int64 of shape `size`, the player of each entry, numbered by rows; all channels of a pixel
        belong to one player. It is what `MaskedGame(groups=...)` takes.

    Raises:
        ValueError: If the size is no image's, or the grid has more cells than pixels on a side.

    Example:
        >>> from baselines import patches
        >>> patches((4, 4), 2)  # who owns each pixel
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1],
                [2, 2, 3, 3],
                [2, 2, 3, 3]])
    """
    size = tuple(int(side) for side in size)
    rows, columns = (grid, grid) if isinstance(grid, int) else tuple(grid)
    if len(size) not in (2, 3) or min(size) < 1:
        raise ValueError(f"size={size}; (h, w) or (c, h, w) is needed.")
    height, width = size[-2:]
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise ValueError(f"grid=({rows}, {columns}) does not fit {height} x {width} pixels.")
    row = torch.arange(height) * rows // height
    column = torch.arange(width) * columns // width
    cells = row[:, None] * columns + column
    return cells if len(size) == 2 else repeat(cells, "h w -> c h w", c=size[0])


def superpixels(
    image: Tensor, n_segments: int = 50, *, compactness: float = 0.3, n_steps: int = 10
) -> Tensor:
    """Players of one image that are regions of like colour.

    Args:
        image: `(c, h, w)`, finite.
        n_segments: Regions to start from, on a grid; those that lose all pixels disappear.
        compactness: Weight of place against colour: 0 follows colour alone, large values give
            squares.
        n_steps: Steps of k-means.

    Returns:
        Int64 `(c, h, w)`, the player of each entry, numbered from 0 without gaps; all channels of
        a pixel belong to one player. Regions need not be connected.

    Raises:
        ValueError: If the image has no three axes, is not finite, or has too few pixels.

    Source: Achanta et al. (2012), SLIC, with every pixel free to join any region.

    Example:
        >>> import torch
        >>> from baselines import superpixels
        >>> image = torch.zeros(3, 8, 8)
        >>> image[:, :, 4:] = 1.0
        >>> superpixels(image, 2).shape  # who owns each pixel
        torch.Size([3, 8, 8])
    """
    if image.ndim != 3 or not bool(torch.isfinite(image).all()):
        raise ValueError(
            f"image has shape {tuple(image.shape)}; finite numbers (c, h, w) are needed."
        )
    channels, height, width = image.shape
    if not 1 <= n_segments <= height * width:
        raise ValueError(f"n_segments={n_segments} does not fit {height} x {width} pixels.")
    rows = max(1, min(height, round(math.sqrt(n_segments * height / width))))
    columns = max(1, min(width, round(n_segments / rows)))
    label = rearrange(patches((height, width), (rows, columns)), "h w -> (h w)").to(image.device)
    spacing = math.sqrt(height * width / (rows * columns))
    color = image.double() / image.double().std(correction=0).clamp(min=1e-12)
    place = torch.stack(
        torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    ).to(color)
    points = torch.cat([color, place * (compactness * math.sqrt(channels) * 3 / spacing)])
    points = rearrange(points, "d h w -> (h w) d")
    for _ in range(n_steps):
        label = distinct_index(label)
        counts = torch.bincount(label).to(points)
        centres = points.new_zeros(len(counts), points.shape[1]).index_add(0, label, points)
        label = torch.cdist(points, centres / counts[:, None]).argmin(-1)
    label = distinct_index(label)
    return repeat(label, "(h w) -> c h w", c=channels, h=height)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur with zeros outside the image.

    Args:
        images: `(b, c, h, w)`, floating point.
        sigma: Width in pixels, positive.

    Returns:
        `(b, c, h, w)`.
    """
    radius = math.ceil(3 * sigma)
    steps = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = (-(steps**2) / (2 * sigma**2)).exp()
    kernel = kernel / kernel.sum()
    single = rearrange(images, "b c h w -> (b c) 1 h w")
    single = conv2d(pad(single, (radius, radius, 0, 0)), kernel[None, None, None])
    single = conv2d(pad(single, (0, 0, radius, radius)), kernel[None, None, :, None])
    return rearrange(single, "(b c) 1 h w -> b c h w", b=len(images))


def check_images(x: Tensor) -> Tensor:
    """`x` itself, once it is sure to hold images.

    Raises:
        TypeError: If it does not hold floating-point numbers.
        ValueError: If it has no four axes.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; images (b, c, h, w) are needed.")
    if not x.is_floating_point():
        raise TypeError(f"x is {x.dtype}; images need floating-point numbers.")
    return x


def _positive(sigma: float) -> float:
    if not sigma > 0:
        raise ValueError(f"sigma={sigma}; it must be positive.")
    return float(sigma)
