"""Decoding of a folder of DICOM files as one volume.

Slices are sorted by their position along the slice normal, not by file name. Missing
and duplicate slices, and steps that vary, are reported.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from skfusion.exceptions import DataWarning, warn_user
from skfusion.image.reading.dicom import (
    decode_dataset,
    decode_plane,
    lenient,
    note_positions,
    open_dataset,
    plain_pixels,
)
from skfusion.image.reading.files import (
    ImageReadError,
    as_read_errors,
    check_size,
    opened,
    recognise,
)
from skfusion.image.reading.geometry import affine_of_planes
from skfusion.image.reading.header import Header, along_normal
from skfusion.image.reading.intensity import Decoded
from skfusion.image.reading.volumes import check_volume_index, new_volume, oriented

__all__ = ["decode_series", "folder_files", "n_missing_slices"]


_SAME_PLACE = 1e-3  # mm
_GAP = 1.5  # times the usual distance between slices
_WHOLE = 0.1  # greatest deviation of a gap from a multiple of the usual distance
_HIDDEN = ("thumbs.db", "desktop.ini")


@dataclass
class _Slice:
    path: str
    header: Header
    start: int  # position of the pixel data
    place: float | None = None

    def text(self, name: str) -> str:
        return self.header.text(name)


def folder_files(folder: Any) -> list[str]:
    """List the regular files of a folder, without its subfolders and hidden files.

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
    # Files that desktops create must not change what is read or its digest.
    if entry.name.startswith(".") or entry.name.lower() in _HIDDEN:
        return False
    try:
        return entry.is_file()
    except OSError:  # e.g. a symbolic link that refers to itself
        return False


def decode_series(
    folder: Any,
    max_pixels: int,
    *,
    volume_index: int | None = None,
    as_stored: bool = False,
) -> Decoded:
    """Decode the DICOM series in a folder.

    Parameters
    ----------
    folder : path
        Folder with the files, in any order and under any names. Files that are not
        DICOM images are ignored.
    max_pixels : int
        Maximum number of pixels per slice. All slices together may have eight times
        as many.
    volume_index : int or None, default=None
        Which volume to read, from 0, if the folder contains several, e.g. phases. They
        are multi-frame files, or several slices at each position, in the order of
        time.
    as_stored : bool, default=False
        As in `skfusion.image.reading.dicom.decode_dataset`.

    Returns
    -------
    Decoded
        Axes ``"ZYX"`` if the slices have a position in the patient, else ``"TYX"``, in
        the order of their instance numbers. A single file is decoded as by
        `skfusion.image.reading.dicom.decode_dicom`.

    Raises
    ------
    ImageReadError
        If there is no series, if there is more than one, or if the slices do not
        match.

    Warns
    -----
    DataWarning
        If slices are missing between others, or are duplicated, or if the distances
        between slices vary.
    """
    slices, n_other = _headers(folder, max_pixels)
    if not slices:
        raise ImageReadError(
            f"The folder contains no DICOM image (other files: {n_other}); expected "
            f"the files of one series. {_where_else(folder, max_pixels)}"
        )
    with lenient(), as_read_errors():
        _check_one_series(slices)
        n_frames = [int(part.header.number("NumberOfFrames") or 1) for part in slices]
    if len(slices) == 1:
        return _decode(
            slices[0].path, max_pixels, volume_index=volume_index, as_stored=as_stored
        )
    if max(n_frames) > 1:
        chosen = _one_file_of_many(slices, n_frames, volume_index)
        return _decode(chosen.path, max_pixels, as_stored=as_stored)
    with lenient(), as_read_errors():
        _check_alike(slices)
        header = slices[0].header
        rows, columns = int(header.dataset.Rows), int(header.dataset.Columns)
        check_size(rows, columns, len(slices), max_pixels)
        slices, in_space = _sorted(slices)
    n_twice = 0
    if in_space:
        slices, n_twice = _without_copies(slices, volume_index)
    else:
        check_volume_index(1, volume_index, "The slices have no known position")
    return _volume(slices, max_pixels, in_space, n_twice, as_stored=as_stored)


def _volume(
    slices: list[_Slice],
    max_pixels: int,
    in_space: bool,
    n_twice: int,
    *,
    as_stored: bool,
) -> Decoded:
    volume = _stacked(slices, max_pixels, in_space, as_stored=as_stored)
    n_missing = 0
    if in_space:
        positions = np.array([_place(part) for part in slices])
        thickness = [part.header.number("SliceThickness") for part in slices]
        n_missing = n_missing_slices(positions, thickness)
    volume.metadata |= {"n_missing_slices": n_missing, "n_repeated_slices": n_twice}
    _warn(volume, len(slices), n_missing, n_twice)
    return volume


def _headers(folder: Any, max_pixels: int) -> tuple[list[_Slice], int]:
    slices, n_other = [], 0
    for path in folder_files(folder):
        try:
            with opened(path) as handle:
                if recognise(handle) != "DICOM":
                    n_other += 1
                    continue
                dataset = open_dataset(handle, max_pixels, header_only=True)
                start = handle.tell()
        except ImageReadError as error:
            if "not an image" in str(error) or "0 bytes" in str(error):
                n_other += 1
                continue
            raise ImageReadError(f"In one file of the folder: {error}") from None
        if dataset.get("Rows") is None:  # DICOMDIR, reports, presentation states
            n_other += 1
        else:
            slices.append(_Slice(path, Header(dataset), start))
    return slices, n_other


def _where_else(folder: Any, max_pixels: int) -> str:
    """Return a hint about subfolders, of which files are not searched."""
    n_series = 0
    with os.scandir(folder) as entries:
        subfolders = [entry.path for entry in entries if entry.is_dir()]
    for path in subfolders[:50]:
        try:
            n_series += bool(_headers(path, max_pixels)[0])
        except ImageReadError:
            continue
    if n_series:
        return (
            f"DICOM images are in {n_series} of its {len(subfolders)} subfolders. Pass "
            "one of these, or a list of them."
        )
    return "Pass the folder that contains them."


def _check_one_series(slices: list[_Slice]) -> None:
    found = Counter(part.text("SeriesInstanceUID") for part in slices)
    if len(found) > 1 and not _is_one_volume(slices, len(found)):
        first = {part.text("SeriesInstanceUID"): part for part in slices}
        listed = "; ".join(
            f"{first[uid].text('Modality') or 'unknown modality'} of {n} images, "
            f"{first[uid].text('Rows')} x {first[uid].text('Columns')}"
            for uid, n in found.most_common(5)
        )
        raise ImageReadError(
            f"The folder contains {len(found)} series ({listed}"
            f"{'; ...' if len(found) > 5 else ''}); expected one. Put each series "
            "into a separate folder, or pass a list of these folders."
        )
    n_scouts = sum("LOCALIZER" in _image_type(part) for part in slices)
    if 0 < n_scouts < len(slices):
        raise ImageReadError(
            f"{n_scouts} of the {len(slices)} images of the series are localizers, and "
            "do not belong to the volume. Remove these files from the folder."
        )


def _image_type(part: _Slice) -> list[str]:
    found = part.header.value("ImageType")
    return [] if found is None or isinstance(found, str) else [str(v) for v in found]


def _is_one_volume(slices: list[_Slice], n_series: int) -> bool:
    """Return whether slices with a series number each are one volume, with a warning.

    Some exports assign a new series number to every file.
    """
    planes = [part.header.plane() for part in slices]
    if n_series < len(slices) or len(slices) < 3 or any(p is None for p in planes):
        return False
    cosines = [plane[0] for plane in planes if plane is not None]
    places = [
        along_normal(cosines[0], plane[1]) for plane in planes if plane is not None
    ]
    is_volume = (
        all(np.allclose(turn, cosines[0], atol=1e-3) for turn in cosines)
        and float(np.diff(np.sort(places)).min()) > _SAME_PLACE
        and len({part.text("FrameOfReferenceUID") for part in slices}) == 1
        and len({part.text("Modality") for part in slices}) == 1
    )
    if is_volume:
        warn_user(
            f"Each of the {len(slices)} slices in a folder has a series number of its "
            "own. They are parallel and lie at different positions, and are read as "
            "one volume.",
            DataWarning,
        )
    return is_volume


def _one_file_of_many(
    slices: list[_Slice], n_frames: list[int], volume_index: int | None
) -> _Slice:
    """Choose one of several multi-frame files, of which each is a volume."""
    if len(set(n_frames)) > 1:
        raise ImageReadError(
            f"The folder contains {len(slices)} files with {min(n_frames)} to "
            f"{max(n_frames)} frames; expected one multi-frame file, files of one "
            "slice each, or multi-frame files of equal length. Pass the files "
            "themselves."
        )
    check_volume_index(
        len(slices),
        volume_index,
        f"The folder contains {len(slices)} files with {n_frames[0]} frames each, e.g. "
        "times of one scan",
    )
    return sorted(slices, key=_time)[volume_index or 0]


def _time(part: _Slice) -> tuple[float, str, float, float, str]:
    return (
        part.header.number("TemporalPositionIdentifier") or 0.0,
        part.text("AcquisitionDateTime"),
        part.header.number("AcquisitionNumber") or 0.0,
        _number(part),
        part.path,
    )


def _check_alike(slices: list[_Slice]) -> None:
    for what, names in (
        ("sizes", ("Rows", "Columns")),
        ("pixel formats", ("PhotometricInterpretation", "SamplesPerPixel")),
    ):
        kinds = Counter(
            " x ".join(part.text(name) or "None" for name in names) for part in slices
        )
        if len(kinds) > 1:
            listed = ", ".join(f"{n} of {kind}" for kind, n in kinds.most_common(5))
            raise ImageReadError(
                f"The {len(slices)} slices of the series differ in their {what} "
                f"({listed}); expected the same for all. Remove the other files from "
                "the folder."
            )


def _sorted(slices: list[_Slice]) -> tuple[list[_Slice], bool]:
    planes = [part.header.plane() for part in slices]
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
    locations = [part.header.number("SliceLocation") for part in slices]
    if not known and len(set(locations)) == len(slices) and None not in locations:
        for part, location in zip(slices, locations, strict=True):
            part.place = location
        return sorted(slices, key=_place), True
    numbers = [_number(part) for part in slices]
    if len(set(numbers)) < len(numbers):
        raise ImageReadError(
            f"{len(slices) - len(known)} of the {len(slices)} files of the series have "
            "no position in the patient and no unique instance number, so their order "
            "is unknown. Pass the files as a list instead."
        )
    if known:
        warn_user(
            f"{len(slices) - len(known)} of the {len(slices)} slices of a series have "
            "no position in the patient. All are sorted by their instance numbers.",
            DataWarning,
        )
    return sorted(slices, key=_number), False


def _number(part: _Slice) -> float:
    value = part.header.number("InstanceNumber")
    return -1.0 if value is None else value


def _without_copies(
    slices: list[_Slice], volume_index: int | None
) -> tuple[list[_Slice], int]:
    """Return one slice for each position, and the number of duplicates dropped.

    Duplicates are files with the same SOP instance, or the same pixels. Different
    images at one position belong to several volumes, of which one is chosen.
    """
    places: list[list[_Slice]] = []
    n_twice = 0
    for part in slices:
        if not places or _place(part) - _place(places[-1][0]) > _SAME_PLACE:
            places.append([part])
        elif any(_is_copy(part, other) for other in places[-1]):
            n_twice += 1
        else:
            places[-1].append(part)
    counts = {len(group) for group in places}
    if counts == {1}:
        check_volume_index(1, volume_index, "The series is one volume")
        return [group[0] for group in places], n_twice
    found = (
        f"The {len(slices)} slices of the series have only {len(places)} distinct "
        "positions: the series contains several volumes, e.g. phases, echoes or "
        "repetitions"
    )
    if len(counts) > 1:
        raise ImageReadError(f"{found}. Put each volume into a separate folder.")
    check_volume_index(counts.pop(), volume_index, found)
    index = volume_index or 0
    return [sorted(group, key=_time)[index] for group in places], n_twice


def _is_copy(part: _Slice, other: _Slice) -> bool:
    instance = part.text("SOPInstanceUID")
    if instance and instance == other.text("SOPInstanceUID"):
        return True
    return _pixel_digest(part) == _pixel_digest(other)


def _pixel_digest(part: _Slice) -> str:
    with opened(part.path) as handle:
        dataset = open_dataset(handle, 1 << 62)
    return hashlib.sha256(bytes(dataset.get("PixelData") or b"")).hexdigest()


def _place(part: _Slice) -> float:
    assert part.place is not None
    return part.place


def n_missing_slices(positions: np.ndarray, thickness: list[float | None]) -> int:
    """Count the slices that are missing between others.

    A gap is a step that is a multiple of the usual step of slices of the same
    thickness, and that its neighbours do not share. Other steps that vary are a
    property of the acquisition, e.g. thin slices of one region.

    Parameters
    ----------
    positions : ndarray of shape (n_slices,)
        Positions along the normal in mm, ascending.
    thickness : list of float or None
        Thickness of each slice in mm.

    Returns
    -------
    int

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.image.reading.series import n_missing_slices
    >>> n_missing_slices(np.array([0.0, 2.0, 4.0, 10.0, 12.0]), [2.0] * 5)
    2
    >>> n_missing_slices(np.array([0.0, 4.0, 8.0, 15.0, 22.0]), [None] * 5)
    0
    """
    steps = np.diff(positions)
    if len(steps) < 2:
        return 0
    n_missing = 0
    for i, step in enumerate(steps):
        if thickness[i] != thickness[i + 1]:
            continue  # where the thickness changes, the step is between the two
        alike = [
            other
            for k, other in enumerate(steps)
            if k != i and thickness[k] == thickness[k + 1] == thickness[i]
        ]
        if not alike:
            continue
        usual = float(np.median(alike))
        ratio = step / usual
        neighbours = [steps[k] for k in (i - 1, i + 1) if 0 <= k < len(steps)]
        is_shared = any(abs(other - step) <= _WHOLE * step for other in neighbours)
        is_whole = abs(ratio - np.rint(ratio)) <= _WHOLE
        covers = thickness[i] is not None and thickness[i] > step / _GAP
        if ratio > _GAP and is_whole and not is_shared and not covers:
            n_missing += round(ratio) - 1
    return n_missing


def _stacked(
    slices: list[_Slice], max_pixels: int, in_space: bool, *, as_stored: bool
) -> Decoded:
    affine = _affine(slices) if in_space else None
    first, pixels, parts = _read_slices(slices, max_pixels, affine, as_stored=as_stored)
    first.axes = ("Z" if in_space else "T") + ("YXC" if pixels.ndim == 4 else "YX")
    first.pixels = pixels
    _join_facts(first, parts)
    if any(part.window != first.window for part in parts):
        # A window that changes between slices would create steps in the volume.
        first.window = None
    if not in_space:
        return first
    note_positions(first, np.array([_place(part) for part in slices]))
    first.affine = affine
    return first if affine is None else oriented(first)


def _affine(slices: list[_Slice]) -> np.ndarray | None:
    """Return the affine of sorted slices, or None if their place is not known."""
    start, end = slices[0].header.plane(), slices[-1].header.plane()
    spacing = slices[0].header.spacing()
    if start is None or end is None or spacing is None:
        return None
    step = None
    if len(slices) > 1:
        step = (end[1] - start[1]) / (len(slices) - 1)
    return affine_of_planes(start[0], start[1], step, spacing)


def _read_slices(
    slices: list[_Slice],
    max_pixels: int,
    affine: np.ndarray | None,
    *,
    as_stored: bool,
) -> tuple[Decoded, np.ndarray, list[Decoded]]:
    """Decode slices one by one into the memory of the volume.

    Returns the first slice, the pixels of all, and the slices without their pixels.
    """
    parts: list[Decoded] = []
    for number, place in enumerate(slices):
        part = _decode_slice(place, max_pixels, as_stored=as_stored)
        plane = part.pixels
        if number == 0:
            first, shape = part, plane.shape
            if plane.ndim == 2 and not as_stored:
                volume = (len(slices), *shape)
                pixels, part.memory = new_volume(volume, plane.dtype, affine)
            else:
                pixels = np.empty((len(slices), *shape), dtype=plane.dtype)
        if plane.shape != shape:
            raise ImageReadError(
                f"The slices of the series were decoded to different sizes, {shape} "
                f"and {plane.shape}. Some of the files are damaged."
            )
        if plane.dtype != pixels.dtype:
            # One dtype for all slices: the rescale can differ, as in PET.
            wider = np.result_type(plane.dtype, pixels.dtype)
            pixels, first.memory = pixels.astype(wider, copy=False), None
        pixels[number] = plane
        part.pixels = np.empty(0, plane.dtype)  # a view would keep the plane
        parts.append(part)
    return first, pixels, parts


def _join_facts(first: Decoded, parts: list[Decoded]) -> None:
    """Join the padding and the ranges of slices in the first one."""
    if any(part.valid is not None for part in parts):
        shape = first.pixels.shape[1:]
        valid = [
            np.ones(shape, dtype=bool) if part.valid is None else part.valid
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
    if len({part.metadata.get("unit") for part in parts}) > 1:
        first.metadata["unit"] = None


def _decode_slice(part: _Slice, max_pixels: int, *, as_stored: bool) -> Decoded:
    """Decode a slice, without parsing its header again if its pixels are plain."""
    with opened(part.path) as handle:
        stored = plain_pixels(handle, part.start, part.header)
    if stored is None:
        return _decode(part.path, max_pixels, as_stored=as_stored, arrange=False)
    return decode_plane(part.header, stored, as_stored=as_stored)


def _decode(
    path: str,
    max_pixels: int,
    *,
    volume_index: int | None = None,
    as_stored: bool = False,
    arrange: bool = True,
) -> Decoded:
    with opened(path) as handle:
        dataset = open_dataset(handle, max_pixels)
    return decode_dataset(
        dataset,
        max_pixels,
        volume_index=volume_index,
        as_stored=as_stored,
        arrange=arrange,
    )


def _warn(volume: Decoded, n_slices: int, n_missing: int, n_twice: int) -> None:
    said = []
    if n_missing:
        said.append(f"{n_missing} slices are missing between the {n_slices} others")
    if n_twice:
        said.append(f"{n_twice} slices are duplicates and were dropped")
    if volume.metadata.get("steps_vary"):
        steps = np.diff(volume.metadata["slice_positions"])
        said.append(
            f"the distances between slices vary from {steps.min():.3g} to "
            f"{steps.max():.3g} mm (metadata['slice_positions']), and spacing is their "
            "median"
        )
    if said:
        warn_user(f"In a DICOM series {' and '.join(said)}.", DataWarning)
