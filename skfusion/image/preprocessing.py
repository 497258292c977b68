"""Preprocessing: images in, the batch of tensors that a network was trained on out.

Read next: `skfusion.image.backbones`, where each network brings its preprocessing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from skfusion.image.reading import MedicalImage

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "Preprocessing"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")


@dataclass(frozen=True)
class Preprocessing:
    """Resize and normalise images as the weights of a network expect.

    The whole image is resized to a square. The evaluation transforms of published
    ImageNet weights resize the shorter side and then cut out the centre instead; a
    finding at the border of a medical image would be lost that way. The price is that
    the aspect ratio is not kept, and that objects appear slightly smaller than in
    training (by the ratio of crop to resize, 224 to 256 for most networks).

    A grey image is repeated to three channels.

    Parameters
    ----------
    input_size : int
        Height and width of the result in pixels.
    mean, std : tuple of three floats
        Of the channels, on the scale of images in [0, 1].
    interpolation : {"bilinear", "bicubic", "nearest"}, default="bilinear"
        With antialiasing (but for ``"nearest"``). Bicubic values are clipped to the
        range of the image.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.preprocessing import Preprocessing
    >>> from skfusion.image.reading import read_image
    >>> image = read_image(np.zeros((40, 30), dtype=np.uint8))
    >>> Preprocessing(8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))([image]).shape
    torch.Size([1, 3, 8, 8])
    """

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        """Refuse settings that would only fail later, far from their cause."""
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation must be one of {INTERPOLATIONS}, found "
                f"{self.interpolation!r}."
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError(
                "mean and std must hold three numbers each, and std positive ones; "
                f"found mean={self.mean!r}, std={self.std!r}."
            )

    def __call__(self, images: Sequence[MedicalImage]) -> Tensor:
        """Turn images of any size into one batch.

        Parameters
        ----------
        images : sequence of MedicalImage
            Grey or colour images, of any sizes.

        Returns
        -------
        torch.Tensor of shape (n_images, 3, input_size, input_size), float32
            The batch, on the CPU.
        """
        size = self.input_size
        if not images:
            return torch.empty(0, 3, size, size)
        # One by one: an image's pixels must not depend on its neighbours in a batch.
        return torch.stack([self.normalise(self.resize(image)) for image in images])

    def resize(self, image: MedicalImage) -> Tensor:
        """Turn an image into a tensor of the network's size, on the image's own scale.

        Parameters
        ----------
        image : MedicalImage
            Grey or colour, of any size.

        Returns
        -------
        torch.Tensor of shape (C, input_size, input_size), float32
            C is 1 for a grey image, else 3.
        """
        # torch refuses to share memory that it may not write to
        pixels = torch.from_numpy(
            np.require(image.array, dtype=np.float32, requirements=["C", "W"])
        )
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        return self._resize(pixels)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Shift and scale pixels as the weights expect.

        Parameters
        ----------
        pixels : torch.Tensor of shape (..., C, input_size, input_size)
            Resized images, C = 1 or 3.

        Returns
        -------
        torch.Tensor of shape (..., 3, input_size, input_size)
            A grey image is repeated.
        """
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        return (pixels - mean[:, None, None]) / std[:, None, None]

    def _resize(self, pixels: Tensor) -> Tensor:
        size = (self.input_size, self.input_size)
        if pixels.shape[1:] == size:
            return pixels
        if self.interpolation == "nearest":
            return interpolate(pixels[None], size, mode="nearest-exact")[0]
        resized = interpolate(
            pixels[None], size, mode=self.interpolation, antialias=True
        )[0]
        if self.interpolation == "bicubic":
            low, high = torch.aminmax(pixels)
            resized = resized.clamp(low, high)
        return resized
