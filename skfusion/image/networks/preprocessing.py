"""Preprocessing of images and volumes to the input batches of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from skfusion._validation import check_option
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


@dataclass(frozen=True)
class Preprocessing:
    """Resizing and normalisation of images as expected by the weights of a network.

    The whole image is resized to a square. The evaluation transforms of published
    ImageNet weights resize the shorter side and crop the centre, which would remove
    findings at the border of a medical image. As a consequence, the aspect ratio is not
    kept. Objects appear slightly smaller than in training, by the ratio of crop to
    resize (224 to 256 for most networks).

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
        Interpolation, with antialiasing except for ``"nearest"``. Bicubic values are
        clipped to the range of the image.

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

    def __post_init__(self) -> None:
        """Check the settings."""
        check_option(
            self.interpolation, "interpolation", INTERPOLATIONS, "Preprocessing"
        )
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
        pixels = _shared(as_stored_bytes(image.array))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        resized = self._resize(pixels)
        return resized if resized.is_floating_point() else resized.float() / 255

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

    def _resize(self, pixels: Tensor) -> Tensor:
        size = (self.input_size, self.input_size)
        if pixels.shape[1:] == size:
            return pixels
        if self.interpolation == "nearest":
            return interpolate(pixels[None], size, mode="nearest-exact")[0]
        resized = interpolate(
            pixels[None], size, mode=self.interpolation, antialias=True
        )[0]
        if self.interpolation == "bicubic" and pixels.is_floating_point():
            low, high = torch.aminmax(pixels)
            resized = resized.clamp(low, high)
        return resized


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
