"""Random augmentation of training images.

Only training rows are augmented. Validation uses the unchanged images, and so does
prediction unless it averages over views.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from skfusion._validation import check_number

__all__ = ["ImageAugmentation", "batch_augmentation"]


@dataclass(frozen=True)
class ImageAugmentation:
    """Random shifts, rotations, zooms and intensity changes of images.

    The defaults correspond to small differences in position and exposure. Flips are
    off, because they exchange left and right organs. Switch them on if the sides have
    no meaning, e.g. for photographs of skin. Each value is drawn uniformly from its
    range, separately for each image, with torch's generator.

    Parameters
    ----------
    rotation : float, default=10.0
        Largest angle in degrees, in both directions.
    translation : float, default=0.05
        Largest shift as a fraction of the width or height, in each direction.
    scale : float, default=0.1
        Largest relative change of size. Parts beyond the border are cropped.
    brightness : float, default=0.1
        Largest shift of all intensities, in standard deviations of the image.
    contrast : float, default=0.1
        Largest relative change of the distance of intensities from their mean.
    horizontal_flip, vertical_flip : bool, default=False
        Whether each image is mirrored with probability 0.5.

    Examples
    --------
    >>> import torch
    >>> from skfusion.fusion import ImageAugmentation
    >>> images = torch.rand(4, 3, 32, 32)
    >>> ImageAugmentation(rotation=20)(images).shape
    torch.Size([4, 3, 32, 32])
    """

    __module__ = "skfusion.fusion"

    rotation: float = 10.0
    translation: float = 0.05
    scale: float = 0.1
    brightness: float = 0.1
    contrast: float = 0.1
    horizontal_flip: bool = False
    vertical_flip: bool = False

    def __post_init__(self) -> None:
        """Check the ranges of the parameters."""
        for name in ("rotation", "translation", "scale", "brightness", "contrast"):
            value = getattr(self, name)
            turns = name == "rotation"
            check_number(
                value,
                name,
                "ImageAugmentation",
                low=0,
                high=180 if turns else 1,
                exclude_high=not turns,
            )

    def __call__(self, images: Tensor) -> Tensor:
        """Return randomly changed images.

        Parameters
        ----------
        images : torch.Tensor of shape (B, C, H, W) or (C, H, W), float
            Images on any scale of intensities.

        Returns
        -------
        torch.Tensor of the same shape
            Empty areas after a shift are filled from the border.
        """
        if images.ndim == 3:
            return self(images[None])[0]
        n = len(images)
        angle = self._draw(n, images) * math.radians(self.rotation)
        zoom = 1 + self._draw(n, images) * self.scale
        flip = torch.stack(
            [
                self._mirror(n, images, self.horizontal_flip),
                self._mirror(n, images, self.vertical_flip),
            ],
            dim=1,
        )  # (B, 2)
        # affine_grid maps output to input positions, in units of half an image.
        shift = torch.stack([self._draw(n, images) for _ in "xy"], dim=1)
        cos, sin = angle.cos() / zoom, angle.sin() / zoom
        height, width = images.shape[2:]
        turn = torch.stack(
            [cos, -sin * height / width, sin * width / height, cos], dim=1
        ).reshape(n, 2, 2)
        affine = torch.cat(
            [turn * flip[:, None, :], 2 * self.translation * shift[:, :, None]], dim=2
        )  # (B, 2, 3)
        grid = affine_grid(affine, list(images.shape), align_corners=False)
        moved = grid_sample(images, grid, padding_mode="border", align_corners=False)
        gain = 1 + self._draw(n, images) * self.contrast
        offset = self._draw(n, images) * self.brightness
        spread, mean = torch.std_mean(
            moved, dim=(1, 2, 3), keepdim=True, correction=0
        )  # (B, 1, 1, 1)
        each = (n, 1, 1, 1)
        return mean + (moved - mean) * gain.view(each) + spread * offset.view(each)

    @staticmethod
    def _draw(n: int, like: Tensor) -> Tensor:
        """Draw n numbers uniformly from -1 to 1."""
        return 2 * torch.rand(n, device=like.device, dtype=like.dtype) - 1

    def _mirror(self, n: int, like: Tensor, wanted: bool) -> Tensor:
        ones = torch.ones(n, device=like.device, dtype=like.dtype)
        return torch.where(self._draw(n, like) < 0, -ones, ones) if wanted else ones


def batch_augmentation(
    augmentation: Any, owner: str
) -> Callable[[Tensor], Tensor] | None:
    """Return a function that augments a batch of images, or None.

    Parameters
    ----------
    augmentation : None, "default" or callable
        The user's choice. A callable takes one image (3, H, W), float32, on the scale
        of `read_image` (usually 0 to 1). It returns an image of the same shape, e.g. a
        transform of torchvision.
    owner : str
        Name of the estimator, used in error messages.

    Returns
    -------
    callable or None
        Function from images (B, 3, H, W) to images (B, 3, H, W).

    Raises
    ------
    ValueError
        If `augmentation` is of another kind, or if the callable returns another shape.
    """
    if augmentation is None:
        return None
    if isinstance(augmentation, str) and augmentation == "default":
        return ImageAugmentation()
    if isinstance(augmentation, ImageAugmentation):
        return augmentation
    if not callable(augmentation) or isinstance(augmentation, type):
        raise ValueError(
            f"{owner}: augmentation must be None, 'default' or a function of one image "
            f"(3, H, W), e.g. a transform of torchvision, got {augmentation!r}."
        )

    def augment(images: Tensor) -> Tensor:
        changed = [augmentation(image) for image in images]
        for before, after in zip(images, changed, strict=True):
            if not isinstance(after, Tensor) or after.shape != before.shape:
                found = (
                    tuple(after.shape)
                    if isinstance(after, Tensor)
                    else type(after).__name__
                )
                raise ValueError(
                    f"{owner}: augmentation turned an image of shape "
                    f"{tuple(before.shape)} into {found}. It must return a tensor of "
                    "the same shape. Resize the image at its end."
                )
        return torch.stack(changed).to(images.dtype)

    return augment
