"""Preprocessing of images and volumes to the input batches of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from skfusion._validation import check_number, check_option
from skfusion.image.networks.resizing import (
    RESIZE_MODES,
    centred,
    original_map,
    resized,
    scaled_shape,
)
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.intensity import LUMA, as_floats, as_stored_bytes
from skfusion.image.reading.read import MedicalImage

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KINETICS_MEAN",
    "KINETICS_STD",
    "Preprocessing",
    "VolumePreprocessing",
]


IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Statistics of the videos that torchvision's 3-D networks were trained on (from its
# documentation).
KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)
INTERPOLATIONS = ("bilinear", "bicubic", "nearest")
_OPTIONS = {
    "interpolation": INTERPOLATIONS,
    "resize_mode": RESIZE_MODES,
    "resampler": ("torch", "pillow"),
    "crop_rounding": ("nearest", "down"),
}


@dataclass(frozen=True)
class Preprocessing:
    """Resizing and normalisation of images as expected by the weights of a network.

    By default, the whole image is resized to a square. The evaluation transforms of
    most published weights resize the shorter edge and crop the centre
    (``resize_mode="crop"``). This keeps the aspect ratio, and removes findings at the
    border of a medical image. ``"pad"`` keeps both, with borders.

    A grey image is repeated to the three channels of a colour network, which is
    equivalent to summing the weights of its first layer over the channels. A colour
    image is converted to grey (ITU-R BT.601 luma) for a network with one channel.

    Set it as the attribute ``preprocessing`` of a module that is passed as a backbone,
    so that its images are normalised as in its training.

    Parameters
    ----------
    input_size : int
        Height and width of the result in pixels.
    mean, std : tuple of one or three floats
        Mean and standard deviation of the input channels, for images in [0, 1].
    interpolation : {"bilinear", "bicubic", "nearest"}, default="bilinear"
        Interpolation, with antialiasing except for ``"nearest"``.
    resize_mode : {"squash", "crop", "pad"}, default="squash"
        ``"squash"`` resizes both edges to `resize_size`, ``"crop"`` the shorter edge
        and ``"pad"`` the longer edge. The centre of the result is then cropped to
        `input_size`, and what is missing is filled.
    resize_size : int or None, default=None
        Length of the resized edges in pixels. None is `input_size`. A larger one
        removes the border of the image.
    fill : tuple of one or three floats, default=(0.0,)
        Value of the borders of ``"pad"``, for images in [0, 1].
    resampler : {"torch", "pillow"}, default="torch"
        Library that resizes 8-bit images, which rounds to whole levels. They differ by
        at most two levels. transformers uses torch, timm and open_clip use Pillow.
    rescale_first : bool, default=False
        Whether 8-bit images are divided by 255 before they are resized instead of
        afterwards, so that nothing is rounded.
    clip : bool, default=True
        Whether bicubic values of images with more than 8 bits are clipped to the range
        of the image. Those of 8-bit images are clipped to [0, 255] in any case.
    crop_rounding : {"nearest", "down"}, default="nearest"
        Rounding of the position of the crop, ``"nearest"`` as in torchvision and
        ``"down"`` as in transformers.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image import Preprocessing, read_image
    >>> image = read_image(np.zeros((40, 30), dtype=np.uint8))
    >>> Preprocessing(8, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))([image]).shape
    torch.Size([1, 3, 8, 8])
    """

    __module__ = "skfusion.image"

    input_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"
    resize_mode: str = field(default="squash", kw_only=True)
    resize_size: int | None = field(default=None, kw_only=True)
    fill: tuple[float, ...] = field(default=(0.0,), kw_only=True)
    resampler: str = field(default="torch", kw_only=True)
    rescale_first: bool = field(default=False, kw_only=True)
    clip: bool = field(default=True, kw_only=True)
    crop_rounding: str = field(default="nearest", kw_only=True)

    def __post_init__(self) -> None:
        """Check the settings."""
        for name, allowed in _OPTIONS.items():
            check_option(getattr(self, name), name, allowed, "Preprocessing")
        n_channels = len(self.mean)
        if (
            n_channels not in (1, 3)
            or len(self.std) != n_channels
            or min(self.std) <= 0
        ):
            raise ValueError(
                "mean and std must contain one or three numbers each, and std positive "
                f"numbers, got mean={self.mean!r}, std={self.std!r}."
            )
        if not (isinstance(self.fill, tuple) and len(self.fill) in (1, n_channels)):
            raise ValueError(
                f"fill must be a tuple of one number or {n_channels}, got "
                f"{self.fill!r}."
            )
        if self.resize_size is not None:
            check_number(
                self.resize_size,
                "resize_size",
                "Preprocessing",
                low=1,
                integer=True,
                also="None",
            )

    def __repr__(self) -> str:
        """Return the settings, without the keyword arguments that are defaults.

        The text is part of the keys of stored embeddings.
        """
        given = [
            f"{part.name}={getattr(self, part.name)!r}"
            for part in fields(self)
            if not part.kw_only or getattr(self, part.name) != part.default
        ]
        return f"Preprocessing({', '.join(given)})"

    def __call__(self, images: Sequence[MedicalImage]) -> Tensor:
        """Convert images of any size to one batch.

        Parameters
        ----------
        images : sequence of MedicalImage
            Grey or colour images of any size. Bytes are divided by 255, after resizing.
            Floats that are bytes divided by 255 give the same result as these bytes.

        Returns
        -------
        torch.Tensor of shape (n_images, C, input_size, input_size), float32
            The batch, on the CPU. C is the number of input channels of the network.
        """
        if not images:
            return self.blank(0)
        # One by one, so that the result does not depend on the other images.
        return torch.stack([self.normalise(self.resize(image)) for image in images])

    def blank(self, n_images: int) -> Tensor:
        """Return black images with the input shape of the network."""
        size = self.input_size
        return torch.zeros(n_images, len(self.mean), size, size)

    def example(self, n_images: int, *, scale: int = 1) -> Tensor:
        """Return the same random images every time, normalised.

        Parameters
        ----------
        n_images : int
            Number of images.
        scale : int, default=1
            Factor of the height and width of the images.

        Returns
        -------
        torch.Tensor of shape (n_images, C, scale * input_size, scale * input_size)
        """
        side = scale * self.input_size
        return self.normalise(_noise(n_images, len(self.mean), side, side))

    def resize(self, image: MedicalImage) -> Tensor:
        """Resize an image to a tensor of the network's input size, without scaling.

        An 8-bit image is resized as bytes, also if its bytes have been divided by 255,
        as `skfusion.read_image` does.

        Parameters
        ----------
        image : MedicalImage
            Grey or colour, of any size.

        Returns
        -------
        torch.Tensor of shape (C, input_size, input_size), float32
            The pixels, on the scale of the image. C is 1 for a grey image, else 3.
        """
        array = as_stored_bytes(image.array)
        if self.rescale_first:
            array = as_floats(array)
        pixels = _shared(array)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        shape = self._scaled_shape((pixels.shape[1], pixels.shape[2]))
        small = self._clipped(
            resized(pixels, shape, self.interpolation, self.resampler), pixels
        )
        small = centred(small, self.input_size, self.fill, self.crop_rounding)
        return small if small.is_floating_point() else small.float() / 255

    def map_on_image(self, values: Tensor, shape: tuple[int, int]) -> Tensor:
        """Lay a map of the network's input on the original image.

        Parameters
        ----------
        values : torch.Tensor of shape (input_size, input_size)
            Map of the input of the network.
        shape : (int, int)
            Height and width of the original image.

        Returns
        -------
        torch.Tensor of shape `shape`
            The map, 0 where the image was cropped away.
        """
        scaled = self._scaled_shape(shape)
        return original_map(values, shape, scaled, self.crop_rounding)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise pixels as expected by the weights.

        Parameters
        ----------
        pixels : torch.Tensor of shape (..., C, input_size, input_size)
            Resized images, with C = 1 or 3.

        Returns
        -------
        torch.Tensor of shape (..., len(mean), input_size, input_size)
            A grey image is repeated over three channels. A colour image is converted
            to grey for one channel.
        """
        if len(self.mean) == 1 and pixels.shape[-3] == 3:
            luma = torch.tensor(LUMA, device=pixels.device)
            pixels = (pixels * luma[:, None, None]).sum(dim=-3, keepdim=True)
        mean = torch.tensor(self.mean, device=pixels.device)
        std = torch.tensor(self.std, device=pixels.device)
        return (pixels - mean[:, None, None]) / std[:, None, None]

    def _scaled_shape(self, shape: tuple[int, int]) -> tuple[int, int]:
        edge = self.input_size if self.resize_size is None else self.resize_size
        return scaled_shape(shape, edge, self.resize_mode)

    def _clipped(self, small: Tensor, pixels: Tensor) -> Tensor:
        """Limit bicubic values to the range of the image."""
        is_resized = small is not pixels and self.interpolation == "bicubic"
        if not (self.clip and is_resized and small.is_floating_point()):
            return small
        low, high = torch.aminmax(pixels)
        return small.clamp(low, high)


@dataclass(frozen=True)
class VolumePreprocessing:
    """Resizing and normalisation of volumes as expected by a 3-D network.

    Slices are resized as in `Preprocessing`. The number of slices is changed to `depth`
    by linear interpolation, with averaging if there are more. Grey volumes are
    repeated to three channels, which is equivalent to summing the weights of the first
    layer of a video network over the channels.

    Parameters
    ----------
    input_size : int
        Height and width of the result in pixels.
    depth : int
        Number of slices of the result.
    mean, std : tuple of three floats
        Mean and standard deviation of the channels, for images in [0, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image import VolumePreprocessing, read_image
    >>> volume = read_image(np.zeros((9, 40, 30), dtype=np.uint8))
    >>> VolumePreprocessing(8, 4, mean=(0.5,) * 3, std=(0.5,) * 3)([volume]).shape
    torch.Size([1, 3, 4, 8, 8])
    """

    __module__ = "skfusion.image"

    input_size: int
    depth: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __call__(self, images: Sequence[MedicalImage]) -> Tensor:
        """Convert volumes of any size to one batch.

        Parameters
        ----------
        images : sequence of MedicalImage
            Grey or colour volumes.

        Returns
        -------
        torch.Tensor of shape (n_images, 3, depth, input_size, input_size), float32

        Raises
        ------
        ImageReadError
            If an image has a single plane.
        """
        if not images:
            return self.blank(0)
        return torch.stack([self._one(image) for image in images])

    def blank(self, n_images: int) -> Tensor:
        """Return black volumes with the input shape of the network."""
        return torch.zeros(n_images, 3, self.depth, self.input_size, self.input_size)

    def example(self, n_images: int, *, scale: int = 1) -> Tensor:
        """Return the same random volumes every time, as `Preprocessing.example`."""
        side = scale * self.input_size
        return self.normalise(_noise(n_images, 3, self.depth, side, side))

    def _one(self, image: MedicalImage) -> Tensor:
        if image.axes[0] == "Y" or len(image.array) == 1:
            raise ImageReadError(
                "The image has a single plane, but volume='3d' needs volumes. Use a "
                "network for images with volume='slices'."
            )
        voxels = _shared(as_floats(image.array))
        # (D, H, W[, C]) -> (D, C, H, W)
        voxels = voxels[:, None] if voxels.ndim == 3 else voxels.permute(0, 3, 1, 2)
        size = (self.input_size, self.input_size)
        small = interpolate(voxels, size, mode="bilinear", antialias=True)
        small = small.movedim(0, 1)[None]  # (1, C, D, size, size)
        target = (self.depth, *size)
        if len(voxels) > self.depth:
            small = interpolate(small, target, mode="area")
        elif len(voxels) < self.depth:
            small = interpolate(small, target, mode="trilinear", align_corners=False)
        return self.normalise(small[0])

    def map_on_image(self, values: Tensor, shape: tuple[int, int]) -> Tensor:
        """Resize a map (input_size, input_size) to the shape of the original slice."""
        return original_map(values, shape, (values.shape[0], values.shape[1]))

    def normalise(self, voxels: Tensor) -> Tensor:
        """Normalise voxels (..., C, depth, H, W), with grey repeated to 3 channels."""
        mean = torch.tensor(self.mean, device=voxels.device)
        std = torch.tensor(self.std, device=voxels.device)
        return (voxels - mean[:, None, None, None]) / std[:, None, None, None]


def _noise(*shape: int) -> Tensor:
    """Return uniform noise on gradients of brightness, without torch's generator."""
    noise = np.random.RandomState(0).random_sample(shape).astype(np.float32)
    # Each image has another brightness, so that their embeddings differ.
    ramp = np.linspace(0.2, 0.8, shape[-1], dtype=np.float32)
    shift = np.linspace(0.0, 0.2, max(shape[0], 1), dtype=np.float32)
    shift = shift[: shape[0]].reshape(-1, *[1] * (len(shape) - 1))
    return torch.from_numpy(0.5 * noise + 0.3 * ramp + shift)


def _shared(array: np.ndarray) -> Tensor:
    """Convert an array to a tensor, with a copy if the array is read-only."""
    dtype = np.uint8 if array.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.require(array, dtype=dtype, requirements=["C", "W"]))
