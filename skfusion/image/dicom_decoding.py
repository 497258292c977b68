"""The compressed pixels of a DICOM dataset in, an array out, by the fastest decoder.

pydicom does the work; here is which of its decoders, and which package to install.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.sources import ImageReadError

__all__ = ["stored_pixels"]

_RLE = (("pylibjpeg", "pydicom"), "pylibjpeg-rle")
_BASELINE = (("pillow", "pylibjpeg"), "pillow")
_LIBJPEG = (("pylibjpeg",), "pylibjpeg-libjpeg")
_JPEG_LS = (("pyjpegls", "pylibjpeg"), "pyjpegls")
_JPEG_2000 = (("pylibjpeg", "pillow"), "pylibjpeg-openjpeg")
# transfer syntax -> the decoders of pydicom that may try, the fastest measured first,
# and the package that brings it. GDCM is left out: damaged bytes abort the process.
_DECODERS = {
    "1.2.840.10008.1.2.5": _RLE,
    "1.2.840.10008.1.2.4.50": _BASELINE,
    "1.2.840.10008.1.2.4.51": _LIBJPEG,
    "1.2.840.10008.1.2.4.57": _LIBJPEG,
    "1.2.840.10008.1.2.4.70": _LIBJPEG,
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
    "1.2.840.10008.1.2.4.201": _JPEG_2000,
    "1.2.840.10008.1.2.4.202": _JPEG_2000,
    "1.2.840.10008.1.2.4.203": _JPEG_2000,
}


def stored_pixels(dataset: Any) -> np.ndarray:
    """Decompress the pixels of a dataset; colour comes out as RGB.

    Raises
    ------
    ImageReadError
        If there is no decoder, or none can read the pixels. Other failures are those
        of pydicom.
    """
    pixels = require("pydicom.pixels", "images")
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if not syntax:  # files without a preamble; PS3.5 A.1
        uid = require("pydicom.uid", "images")
        dataset.file_meta.TransferSyntaxUID = syntax = uid.ImplicitVRLittleEndian
    if syntax not in _DECODERS:
        return _uncompressed(dataset, syntax)
    plugins, package = _DECODERS[syntax]
    installed = pixels.get_decoder(syntax).available_plugins
    usable = [plugin for plugin in plugins if plugin in installed]
    for plugin in usable:
        try:
            return pixels.pixel_array(dataset, decoding_plugin=plugin)
        except (RuntimeError, ValueError) as error:
            # other decoders fill up what is cut off, and say nothing
            if "truncated" in str(error):
                break
    remedy = f"`pip install {package}` brings a decoder for it"
    if not usable:
        raise ImageReadError(
            f"No decoder for the transfer syntax {syntax.name} is installed; {remedy}."
        )
    raise ImageReadError(
        f"No installed decoder can read the pixel data ({syntax.name}): they are "
        f"damaged or truncated, or of a rarer kind ({remedy})."
    )


def _uncompressed(dataset: Any, syntax: Any) -> np.ndarray:
    pixels = require("pydicom.pixels", "images")
    try:
        return pixels.pixel_array(dataset)
    except NotImplementedError:
        raise ImageReadError(
            f"The transfer syntax {syntax.name} is not supported; convert the file to "
            "an uncompressed one, e.g. with `gdcmconv --raw`."
        ) from None
