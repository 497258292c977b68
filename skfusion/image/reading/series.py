"""Decoding of a folder of DICOM files as one volume.

Slices are sorted by their position along the slice normal, not by file name. Missing
and duplicate slices are reported.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from skfusion.image.reading.dicom import (
    along_normal,
    decode_dicom,
    lenient,
    open_dataset,
    plane_position,
)
from skfusion.image.reading.files import (
    ImageReadError,
    as_read_errors,
    check_size,
    opened,
    recognise,
)
from skfusion.image.reading.intensity import Decoded

__all__ = ["decode_series", "folder_files"]


_SAME_PLACE = 1e-3  # mm
_GAP = 1.5  # times the median distance between slices


@dataclass
class _Slice:
    path: str
    header: Any
    place: float | None = None


def folder_files(folder: Any) -> list[str]:
    """List the regular files of a folder, without its subfolders.

    Raises
    ------
    ImageReadError
        If the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if _is_file(entry))
    except OSError as error:
        raise ImageReadError(
            f"The folder cannot be listed: {error.strerror}."
        ) from None


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # e.g. a symbolic link that refers to itself
        return False


def decode_series(folder: Any, max_pixels: int) -> Decoded:
    """Decode the DICOM series in a folder.

    Parameters
    ----------
    folder : path
        Folder with the files, in any order and under any names. Files that are not
        DICOM images are ignored.
    max_pixels : int
        Maximum number of pixels per slice. All slices together may have eight times
        as many.

    Returns
    -------
    Decoded
        Axes ``"ZYX"`` if the slices have a position in the patient, else ``"TYX"``, in
        the order of their instance numbers. A single file is decoded as by
        `decode_dicom`.

    Raises
    ------
    ImageReadError
        If there is no series, if there is more than one, or if the slices do not
        match.

    Warns
    -----
    UserWarning
        If slices are missing between others, or are duplicated.
    """
    slices, n_other = _headers(folder, max_pixels)
    if not slices:
        raise ImageReadError(
            f"The folder contains no DICOM image (other files: {n_other}); expected "
            "the files of one series. Pass the folder that contains them."
        )
    with lenient(), as_read_errors():
        _check_one_series(slices)
    if len(slices) == 1:
        return _decode(slices[0].path, max_pixels)
    with lenient(), as_read_errors():
        _check_alike(slices)
        header = slices[0].header
        rows, columns = int(header.Rows), int(header.Columns)
        check_size(rows, columns, len(slices), max_pixels)
        slices, in_space = _sorted(slices)
    slices, n_twice = _without_copies(slices) if in_space else (slices, 0)
    volume = _stacked(slices, in_space, max_pixels)
    n_missing = _n_missing(slices) if in_space else 0
    volume.metadata |= {"n_missing_slices": n_missing, "n_repeated_slices": n_twice}
    _warn(len(slices), n_missing, n_twice)
    return volume


def _headers(folder: Any, max_pixels: int) -> tuple[list[_Slice], int]:
    slices, n_other = [], 0
    for path in folder_files(folder):
        try:
            with opened(path) as handle:
                if recognise(handle) != "DICOM":
                    n_other += 1
                    continue
                header = open_dataset(handle, max_pixels, header_only=True)
        except ImageReadError as error:
            if "not an image" in str(error) or "0 bytes" in str(error):
                n_other += 1
                continue
            raise ImageReadError(f"In one file of the folder: {error}") from None
        if header.get("Rows") is None:  # DICOMDIR, reports, presentation states
            n_other += 1
        else:
            slices.append(_Slice(path, header))
    return slices, n_other


def _check_one_series(slices: list[_Slice]) -> None:
    found = Counter(str(part.header.get("SeriesInstanceUID")) for part in slices)
    if len(found) > 1:
        first = {str(p.header.get("SeriesInstanceUID")): p.header for p in slices}
        listed = "; ".join(
            f"{first[uid].get('Modality') or 'unknown modality'} of {n} images, "
            f"{first[uid].Rows} x {first[uid].Columns}"
            for uid, n in found.most_common(5)
        )
        raise ImageReadError(
            f"The folder contains {len(found)} series ({listed}"
            f"{'; ...' if len(found) > 5 else ''}); expected one. Put each series "
            "into a separate folder, or pass a list of these folders."
        )
    n_frames = [int(part.header.get("NumberOfFrames") or 1) for part in slices]
    if len(slices) > 1 and max(n_frames) > 1:
        raise ImageReadError(
            f"The folder contains {len(slices)} files with up to {max(n_frames)} "
            "frames each; expected one multi-frame file, or files of one slice each. "
            "Pass the files themselves."
        )


def _check_alike(slices: list[_Slice]) -> None:
    for what, names in (
        ("sizes", ("Rows", "Columns")),
        ("pixel formats", ("PhotometricInterpretation", "SamplesPerPixel")),
    ):
        kinds = Counter(
            " x ".join(str(part.header.get(name)) for name in names) for part in slices
        )
        if len(kinds) > 1:
            listed = ", ".join(f"{n} of {kind}" for kind, n in kinds.most_common(5))
            raise ImageReadError(
                f"The {len(slices)} slices of the series differ in their {what} "
                f"({listed}); expected the same for all. Remove the other files from "
                "the folder."
            )


def _sorted(slices: list[_Slice]) -> tuple[list[_Slice], bool]:
    planes = [plane_position(part.header) for part in slices]
    known = [plane for plane in planes if plane is not None]
    if len(known) == len(slices):
        first = known[0][0]
        n_turned = sum(not np.allclose(turn, first, atol=1e-3) for turn, _ in known)
        if n_turned:
            raise ImageReadError(
                f"{n_turned} of the {len(slices)} slices of the series are not "
                "parallel to the first, e.g. those of a scout, and do not form a "
                "volume. Remove these files from the folder."
            )
        for part, (_, position) in zip(slices, known, strict=True):
            part.place = along_normal(first, position)
        return sorted(slices, key=lambda part: (part.place, _number(part))), True
    numbers = [_number(part) for part in slices]
    if len(set(numbers)) < len(numbers):
        raise ImageReadError(
            f"{len(slices) - len(known)} of the {len(slices)} files of the series have "
            "no position in the patient and no unique instance number, so their order "
            "is unknown. Pass the files as a list instead."
        )
    return sorted(slices, key=_number), False


def _number(part: _Slice) -> float:
    value = part.header.get("InstanceNumber")
    return -1.0 if value in (None, "") else float(value)


def _without_copies(slices: list[_Slice]) -> tuple[list[_Slice], int]:
    """Drop duplicate slices: same position and same SOP instance."""
    kept: list[_Slice] = []
    for part in slices:
        if not kept or _place(part) - _place(kept[-1]) > _SAME_PLACE:
            kept.append(part)
        elif part.header.get("SOPInstanceUID") != kept[-1].header.get("SOPInstanceUID"):
            n_places = len({round(_place(p) / _SAME_PLACE) for p in slices})
            raise ImageReadError(
                f"The {len(slices)} slices of the series have only {n_places} distinct "
                "positions: the series contains several volumes, e.g. phases, echoes "
                "or repetitions. Put each volume into a separate folder."
            )
    return kept, len(slices) - len(kept)


def _place(part: _Slice) -> float:
    assert part.place is not None
    return part.place


def _n_missing(slices: list[_Slice]) -> int:
    if len(slices) < 3:
        return 0
    steps = np.diff([_place(part) for part in slices])
    usual = float(np.median(steps))
    return int(np.rint(steps[steps > _GAP * usual] / usual - 1).sum())


def _stacked(slices: list[_Slice], in_space: bool, max_pixels: int) -> Decoded:
    first = _decode(slices[0].path, max_pixels)
    parts = [first] + [_decode(part.path, max_pixels) for part in slices[1:]]
    shapes = {part.pixels.shape for part in parts}
    if len(shapes) > 1:
        raise ImageReadError(
            f"The slices of the series were decoded to {len(shapes)} different sizes. "
            "Some of the files are damaged."
        )
    # One dtype for all slices: the rescale can differ between slices, as in PET.
    dtype = np.result_type(*(part.pixels.dtype for part in parts))
    first.axes = ("Z" if in_space else "T") + first.axes
    if any(part.valid is not None for part in parts):
        valid = [
            np.ones(part.pixels.shape, dtype=bool) if part.valid is None else part.valid
            for part in parts
        ]
        first.valid = np.stack(valid)
        first.metadata["n_padded"] = int(first.valid.size - first.valid.sum())
    ranges = [part.type_range for part in parts if part.type_range is not None]
    if len(ranges) == len(parts):
        first.type_range = (
            min(low for low, _ in ranges),
            max(high for _, high in ranges),
        )
    if any(part.window != first.window for part in parts):
        # A window that changes between slices would create steps in the volume.
        first.window = None
    first.pixels = np.stack([part.pixels for part in parts]).astype(dtype, copy=False)
    if in_space and first.spacing is not None:
        steps = np.diff([_place(part) for part in slices])
        first.spacing = (float(np.median(steps)), *first.spacing)
    return first


def _decode(path: str, max_pixels: int) -> Decoded:
    with opened(path) as handle:
        return decode_dicom(handle, max_pixels)


def _warn(n_slices: int, n_missing: int, n_twice: int) -> None:
    said = []
    if n_missing:
        said.append(f"{n_missing} slices are missing between the {n_slices} others")
    if n_twice:
        said.append(f"{n_twice} slices are duplicates and were dropped")
    if said:
        warnings.warn(
            f"In a DICOM series {' and '.join(said)}.", UserWarning, stacklevel=5
        )
