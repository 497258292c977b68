"""Decoding of PNG, JPEG, TIFF, BMP and WebP images with Pillow.

Values are not clipped.
"""

from __future__ import annotations

import importlib
import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError, as_read_errors, check_size
from skfusion.image.reading.intensity import Decoded

__all__ = ["EXIF_ORIENTATION", "decode_pil", "decode_raster"]


_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
EXIF_ORIENTATION = 0x0112


def decode_raster(handle: io.BufferedIOBase, name: str, max_pixels: int) -> Decoded:
    """Decode an open file with the Pillow reader of one format.

    All other readers of Pillow stay disabled, in particular those that run an
    interpreter (PostScript).
    """
    with as_read_errors():
        image = require("PIL.Image", "images").open(handle, formats=[name])
    fast = _simplejpeg() if name == "JPEG" else None
    if fast is not None and image.mode in ("L", "RGB"):
        handle.seek(0)
        return decode_pil(image, max_pixels, lambda: fast(handle.read(), image.mode))
    return decode_pil(image, max_pixels)


def _simplejpeg() -> Callable[[bytes, str], np.ndarray] | None:
    """Return simplejpeg's decoder if installed: bit-identical and twice as fast."""
    try:
        simplejpeg = importlib.import_module("simplejpeg")
    except ImportError:
        return None

    def decode(content: bytes, mode: str) -> np.ndarray:
        pixels = simplejpeg.decode_jpeg(content, "GRAY" if mode == "L" else "RGB")
        return pixels[:, :, 0] if mode == "L" else pixels

    return decode


def decode_pil(
    image: Any, max_pixels: int, decode: Callable[[], np.ndarray] | None = None
) -> Decoded:
    """Decode a PIL image to upright grey, RGB or RGBA pixels after a size check.

    The pages of a TIFF become the planes of a volume. If `decode` is given, it
    replaces Pillow's decoder.
    """
    with as_read_errors():
        width, height = image.size
        # The further frames of an MPO (a JPEG variant) are previews of the first.
        n_pages = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
        check_size(height, width, n_pages, max_pixels)
        metadata = {"format": image.format or "PIL", "mode": image.mode}
        if n_pages > 1:
            return _volume(image, n_pages, metadata)
        reduced = image.mode in ("RGB", "RGBA", "CMYK") and any(
            ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
        )
        if decode is None:
            image.load()
        pixels = _pixels(image) if decode is None else decode()
        # Read after decoding: in a PNG, EXIF data can follow the pixels.
        metadata["orientation"] = image.getexif().get(EXIF_ORIENTATION, 1)
    if reduced:
        warnings.warn(
            "A colour image with 16 bits per channel was read with 8 bits per channel, "
            "the limit of Pillow. Pass an array to keep all levels.",
            UserWarning,
            stacklevel=3,
        )
    pixels = _upright(pixels, metadata["orientation"])
    return Decoded(pixels, "YX" if pixels.ndim == 2 else "YXC", metadata=metadata)


def _volume(image: Any, n_pages: int, metadata: dict[str, Any]) -> Decoded:
    if image.format != "TIFF":
        raise ImageReadError(
            f"The image is an animation of {n_pages} frames, not a medical volume. "
            f"Store the frame to be used as a separate image."
        )
    pages, shapes = [], set()
    for number in range(n_pages):
        image.seek(number)
        shapes.add((image.size[1], image.size[0], image.mode))
        if len(shapes) > 1:
            listed = ", ".join(f"{h} x {w} ({mode})" for h, w, mode in sorted(shapes))
            raise ImageReadError(
                f"The {n_pages} pages of the image do not form a volume: they differ "
                f"in size or mode ({listed}). Store the page to be used as a separate "
                "image."
            )
        image.load()
        pages.append(_pixels(image))
    pixels = np.stack(pages)
    return Decoded(pixels, "ZYX" if pixels.ndim == 3 else "ZYXC", metadata=metadata)


def _pixels(image: Any) -> np.ndarray:
    mode = image.mode
    if mode == "I" and image.format == "PNG":  # 16-bit PNG in older versions of Pillow
        return np.asarray(image).astype(np.uint16)
    if mode.startswith("I;16") or mode in ("I", "F"):
        return _white_is_high(np.asarray(image), image)
    if mode == "1":
        return np.asarray(image, dtype=bool)
    transparent = "transparency" in image.info or mode in ("LA", "La", "PA", "RGBa")
    if transparent or mode == "RGBA":
        return np.asarray(_to_rgba(image))
    if mode in ("L", "RGB"):
        return np.asarray(image)
    return np.asarray(image.convert("RGB"))


def _to_rgba(image: Any) -> Any:
    # Pillow converts these two modes only via their non-premultiplied mode.
    if image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    return image.convert("RGBA")


def _white_is_high(pixels: np.ndarray, image: Any) -> np.ndarray:
    """Invert deep TIFFs that store white as zero, which Pillow does not invert."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(_TIFF_PHOTOMETRIC) != 0:
        return pixels
    if pixels.dtype.kind == "u":
        return (2 ** tags[_TIFF_BITS][0] - 1 - pixels).astype(pixels.dtype)
    return -pixels


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (values 2 to 8 are flips and rotations)."""
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
