"""Temporary storage on disk for the pixels of an image column.

A network that is trained as a whole reads the pixels in every epoch. Thousands of
images do not fit into memory.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skfusion.image.cells.column import ImageColumn
from skfusion.image.cells.volumes import Reading
from skfusion.image.networks.preprocessing import Preprocessing

__all__ = ["PixelFile", "load_pixels"]


_READING = Reading()
_ITEM_BYTES = 4  # float32


class PixelFile:
    """Images of one size in a temporary file.

    The file is removed together with the object. Python's `tempfile` chooses its folder
    (``TMPDIR``). It takes 600 kB per colour image and 200 kB per grey image of 224
    pixels. The operating system caches recently read images while memory is free.

    Parameters
    ----------
    n_rows : int
        Number of rows. A row is absent until it is written.
    size : int
        Height and width of the images in pixels.

    Attributes
    ----------
    shape : tuple of int
        Shape (n_rows, 3, size, size) of all rows.
    """

    def __init__(self, n_rows: int, size: int) -> None:
        self.shape = (n_rows, 3, size, size)
        self._n_values = np.zeros(n_rows, dtype=np.int64)
        self._lock = threading.Lock()
        self._file = tempfile.TemporaryFile(prefix="skfusion-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def write(self, row: int, pixels: Tensor) -> None:
        """Write an image (C, size, size), with C = 1 or 3, on its own scale.

        Raises
        ------
        OSError
            If the disk is full.
        """
        values = pixels.to(torch.float32).contiguous().numpy()
        data = values.reshape(-1).view(np.uint8)
        try:
            with self._lock:
                self._file.seek(row * self._row_bytes)
                while len(data):
                    data = data[self._file.write(data.data) :]
        except OSError as error:
            total = len(self) * self._row_bytes / 1e9
            raise OSError(
                error.errno,
                f"the pixels of {len(self)} images need up to {total:.1f} GB of "
                f"temporary disk space, which is not available ({error.strerror})."
                " Free disk space, set TMPDIR to another disk, or use a smaller "
                "input_size",
            ) from error
        self._n_values[row] = values.size

    def read(self, rows: np.ndarray) -> Tensor:
        """Return images (len(rows), 3, size, size), float32, 0 where absent."""
        images = torch.zeros(len(rows), *self.shape[1:])
        for image, row in zip(images, rows, strict=True):
            n_values = int(self._n_values[row])
            if n_values == 0:
                continue
            buffer = np.empty(n_values, dtype=np.float32)
            data = buffer.view(np.uint8)
            with self._lock:
                self._file.seek(int(row) * self._row_bytes)
                while len(data):
                    n_read = self._file.readinto(data.data)
                    if not n_read:
                        raise OSError("the temporary file of pixels is truncated")
                    data = data[n_read:]
            image[:] = torch.from_numpy(buffer).reshape(-1, *self.shape[2:])
        return images

    @property
    def _row_bytes(self) -> int:
        _, channels, height, width = self.shape
        return channels * height * width * _ITEM_BYTES


def load_pixels(
    cells: Iterable[Any],
    preprocessing: Preprocessing,
    *,
    reading: Reading = _READING,
    n_jobs: int | None = None,
    on_error: str = "raise",
    column: object = None,
    positions: np.ndarray | None = None,
) -> tuple[PixelFile, np.ndarray]:
    """Read and resize a column of images, for a network that is trained as a whole.

    Parameters
    ----------
    cells : iterable of n cells
        As in `skfusion.image.embedding.encode.encode_cells`.
    preprocessing : Preprocessing
        Preprocessing for the weights of the network. Images are resized but not
        normalised, because augmentation takes place in between.
    reading, n_jobs, on_error, column, positions
        As in `skfusion.image.embedding.encode.encode_cells`.

    Returns
    -------
    pixels : PixelFile of n rows
        The images on disk.
    presence : ndarray of shape (n,), bool
        True where the image is present and readable.

    Raises
    ------
    ImageReadError, TypeError
        As in `skfusion.image.embedding.encode.encode_cells`.
    ValueError
        If an image is a volume of several planes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.networks.backbones import build_backbone
    >>> from skfusion.image.embedding.pixels import load_pixels
    >>> preprocessing = build_backbone(input_size=32).preprocessing
    >>> cells = [None, np.zeros((40, 30), dtype=np.uint8)]
    >>> pixels, presence = load_pixels(cells, preprocessing)
    >>> preprocessing.normalise(pixels.read([0, 1])).shape, presence
    (torch.Size([2, 3, 32, 32]), array([False,  True]))
    """
    images = ImageColumn(cells, column, on_error, positions)

    def read(row: int) -> Tensor:
        planes = reading.planes(images.cells[row])
        if len(planes) > 1:
            raise ValueError(
                f"In {images.place}, row position {images.positions[row]}: got a "
                f"volume, expected one plane per row for a network that is trained on "
                f"pixels. Freeze its trunk (trainable='head' or 'last_block', and no "
                f"augmentation), or select the plane beforehand."
            )
        return preprocessing.resize(planes[0])

    pixels = PixelFile(len(images.cells), preprocessing.input_size)
    rows = images.present_rows()
    for row, image in images.read_ahead(read, rows, lambda row: [row], n_jobs, 64):
        pixels.write(row, image)
    images.warn()
    return pixels, images.presence()
