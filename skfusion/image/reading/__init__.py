"""Readers of DICOM, NIfTI, PNG, JPEG, TIFF, BMP and WebP images: `read_image`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.image.reading.files import ImageReadError as ImageReadError
    from skfusion.image.reading.intensity import (
        SCALINGS as SCALINGS,
        WINDOWS as WINDOWS,
    )
    from skfusion.image.reading.metadata import read_metadata as read_metadata
    from skfusion.image.reading.read import (
        MedicalImage as MedicalImage,
        content_digest as content_digest,
        read_bytes_image as read_bytes_image,
        read_image as read_image,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.image.reading.files": ["ImageReadError"],
        "skfusion.image.reading.intensity": ["SCALINGS", "WINDOWS"],
        "skfusion.image.reading.metadata": ["read_metadata"],
        "skfusion.image.reading.read": [
            "MedicalImage",
            "content_digest",
            "read_bytes_image",
            "read_image",
        ],
    },
)
