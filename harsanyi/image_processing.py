"""The image processor saved beside a model: any picture to the pixels that the model reads."""

from collections.abc import Sequence
from typing import Any

from transformers.image_processing_base import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from harsanyi.pixels import as_images


class HarsanyiImageProcessor(BaseImageProcessor):
    """Resizes pictures, scales bytes to [0, 1], and makes them grey or coloured.

    Nothing else is done to pixels: mean and spread are part of the model, so that absence can be
    told from the pixels themselves.

    Args:
        size: Rows and columns.
        channels: 1 for grey, 3 for coloured.
    """

    model_input_names = ["pixel_values"]  # noqa: RUF012 - transformers' own form

    def __init__(
        self,
        size: Sequence[int] = (32, 32),
        channels: int = 3,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**kwargs)
        self.size = [int(side) for side in size]
        self.channels = int(channels)

    def __call__(self, images: Any, *args: Any, **kwargs: Any) -> BatchFeature:  # noqa: ANN401
        """Pixels of pictures; see `preprocess`."""
        return self.preprocess(images, *args, **kwargs)

    def preprocess(
        self,
        images: Any,  # noqa: ANN401 - as `as_images` takes them
        *args: Any,  # noqa: ANN401 - of other processors, unused
        return_tensors: str | None = "pt",
        **kwargs: Any,  # noqa: ANN401 - of other processors, unused
    ) -> BatchFeature:
        """Pixels of pictures.

        Args:
            images: Files, PIL images, arrays or tensors.
            args: Settings of other processors, without effect.
            return_tensors: As transformers reads it.
            kwargs: Settings of other processors, without effect.

        Returns:
            A batch with `pixel_values` `(b, c, h, w)`.
        """
        pixels = as_images(images, self.size, self.channels)
        return BatchFeature({"pixel_values": pixels}, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON holds them."""
        return {
            "image_processor_type": type(self).__name__,
            "size": self.size,
            "channels": self.channels,
        }
