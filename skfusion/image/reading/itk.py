"""Decoding of MetaImage (MHA, MHD) and NRRD files with SimpleITK."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from skfusion._dependencies import require
from skfusion.image.reading.files import ImageReadError, as_read_errors, check_size
from skfusion.image.reading.geometry import lps_to_ras, slice_axis
from skfusion.image.reading.intensity import Decoded
from skfusion.image.reading.volumes import check_volume_index, oriented
from skfusion.store.working_folders import temporary_folder

__all__ = ["decode_itk"]


_READERS = {"MetaImage": ("MetaImageIO", ".mha"), "NRRD": ("NrrdImageIO", ".nrrd")}
# The line of a header that names the file with the voxels.
_DATA_FILE = {
    "MetaImage": re.compile(rb"^ElementDataFile\s*=\s*(.+?)\s*$", re.MULTILINE),
    "NRRD": re.compile(rb"^data ?file:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE),
}
# All that ITK may take for this entry, such as after a space or a colon.
_ANY_DATA_FILE = {
    "MetaImage": re.compile(rb"ElementDataFile"),
    "NRRD": re.compile(rb"data\s?file\s*:", re.IGNORECASE),
}
_EMPTY_LINE = re.compile(rb"\n\r?\n")
# Files of these names would list others, or be the pattern of their names.
_MANY_FILES = re.compile(r"LIST|.*[%\\:]", re.IGNORECASE | re.DOTALL)
_HEADER_BYTES = 1 << 20  # Headers with segments can be long.


def decode_itk(
    handle: io.BufferedIOBase,
    name: str,
    max_pixels: int,
    *,
    path: Any = None,
    volume_index: int | None = None,
) -> Decoded:
    """Decode an open MetaImage or NRRD file.

    Parameters
    ----------
    handle : binary file object
        At the start of the file.
    name : {"MetaImage", "NRRD"}
        The format.
    max_pixels : int
        Maximum number of pixels per plane. All planes together may have eight times
        as many.
    path : path or None, default=None
        Path of the file. A header whose voxels are in another file (.mhd, .nhdr)
        requires it. The other file must be in the same folder.
    volume_index : int or None, default=None
        Which volume of an image with four dimensions to read, from 0.

    Returns
    -------
    Decoded
        In the plane of acquisition, in radiological display.

    Raises
    ------
    ImageReadError
        If the image is damaged, has several values per voxel that are not colours, or
        refers to a file outside of its folder.
    """
    sitk = require("SimpleITK", "itk")
    head = handle.read(_HEADER_BYTES)
    detached = _detached_file(head, name)
    if detached is None:
        handle.seek(0)
        with temporary_folder() as folder:
            copy = Path(folder, "image" + _READERS[name][1])
            with open(copy, "wb") as out:
                while content := handle.read(1 << 20):
                    out.write(content)
            return _decode_path(sitk, copy, name, max_pixels, volume_index)
    if path is None:
        raise ImageReadError(
            f"The {name} header has its voxels in a second file, which cannot be found "
            "from bytes. Pass the path of the header."
        )
    is_name = os.path.basename(detached) == detached not in ("", ".", "..")
    if not is_name or _MANY_FILES.match(detached):
        raise ImageReadError(
            f"The {name} header refers to voxels outside of its folder, or to several "
            "files; expected one file in the same folder."
        )
    if not Path(os.fspath(path)).with_name(detached).is_file():
        raise ImageReadError(
            f"The file with the voxels that the {name} header names does not exist in "
            "the same folder."
        )
    return _decode_path(sitk, Path(os.fspath(path)), name, max_pixels, volume_index)


def _detached_file(head: bytes, name: str) -> str | None:
    """Return the file that a header names, None for voxels behind the header.

    Raises
    ------
    ImageReadError
        If the header is not clear, so that ITK might read any file of the machine.
    """
    end = _EMPTY_LINE.search(head) if name == "NRRD" else None
    header = head[: end.start() + 1] if end else head
    entries = _ANY_DATA_FILE[name].findall(header)
    if not entries and name == "NRRD" and (end or len(head) < _HEADER_BYTES):
        return None
    found = _DATA_FILE[name].search(header)
    if found is None or len(entries) != 1:
        raise ImageReadError(
            f"The {name} header does not say where its voxels are: expected one entry "
            f"for the file with the voxels at the start of a line, got {len(entries)} "
            f"in the first {_HEADER_BYTES // 1024} kB."
        )
    value = found[1].decode("utf-8", "replace")
    return None if value.upper() == "LOCAL" else value


def _decode_path(
    sitk: Any, path: Path, name: str, max_pixels: int, volume_index: int | None
) -> Decoded:
    with as_read_errors():
        reader = sitk.ImageFileReader()
        reader.SetImageIO(_READERS[name][0])
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
            size = [int(length) for length in reader.GetSize()]
            n_channels = int(reader.GetNumberOfComponents())
            _check(reader, size, n_channels, max_pixels, volume_index)
            if len(size) == 4:
                reader.SetExtractIndex([0, 0, 0, volume_index or 0])
                reader.SetExtractSize([*size[:3], 0])
            image = reader.Execute()
        except RuntimeError:  # of ITK, whose messages contain the path
            raise ImageReadError(
                f"The image is damaged: ITK cannot read it as {name}."
            ) from None
    return _decoded(sitk, image, name, n_channels)


def _check(
    reader: Any,
    size: list[int],
    n_channels: int,
    max_pixels: int,
    volume_index: int | None,
) -> None:
    if not 2 <= len(size) <= 4:
        raise ImageReadError(
            f"The image has {len(size)} dimensions; expected 2, 3 or 4."
        )
    n_volumes = size[3] if len(size) == 4 else 1
    check_volume_index(
        n_volumes, volume_index, f"The image has the shape {tuple(size)}"
    )
    n_planes = size[2] if len(size) > 2 else 1
    check_size(size[1], size[0], n_planes, max_pixels, n_channels=n_channels)
    if n_channels not in (1, 3, 4):
        raise ImageReadError(
            f"The image has {n_channels} values per voxel; expected 1 (grey) or 3 "
            "(RGB). Pass the component to be used as an array."
        )
    if "complex" in str(reader.GetPixelIDValue()):
        raise ImageReadError(
            "The image contains complex numbers; expected grey values."
        )


def _decoded(sitk: Any, image: Any, name: str, n_channels: int) -> Decoded:
    array = sitk.GetArrayFromImage(image)  # (planes, rows, columns[, channels])
    metadata = {"format": name, "mode": image.GetPixelIDTypeAsString(), "unit": None}
    n_spatial = image.GetDimension()
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    channels = "C" if n_channels > 1 else ""
    if n_spatial == 2:
        spacing = tuple(float(step) for step in image.GetSpacing()[::-1])
        return Decoded(array, "YX" + channels, spacing, metadata=metadata)
    direction = np.array(image.GetDirection()).reshape(n_spatial, n_spatial)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.array(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    affine = lps_to_ras(affine)
    single = [axis for axis in range(3) if array.shape[2 - axis] == 1]
    axis = single[0] if len(single) == 1 else slice_axis(affine, None, default=2)
    decoded = Decoded(
        array, "ZYX" + channels, affine=affine[:, [2, 1, 0, 3]], metadata=metadata
    )
    return oriented(decoded, slices=2 - axis)
