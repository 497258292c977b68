"""Reading of de-identified image header metadata as a DataFrame.

Attributes that identify a patient are not read: no name, number, birth date, address,
institution, physician, free text or unique identifier.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from skfusion.image.reading.arrays import is_array
from skfusion.image.reading.dicom import is_dataset, lenient, open_dataset
from skfusion.image.reading.files import (
    MAX_PIXELS,
    ImageReadError,
    as_read_errors,
    is_folder,
    is_missing,
    is_pil,
    opened,
    recognise,
    unwrapped,
)
from skfusion.image.reading.header import Header
from skfusion.image.reading.nifti import as_gzip_errors, is_nibabel_image, unpacked
from skfusion.image.reading.series import folder_files

__all__ = ["read_metadata"]


_OLDEST = 90.0  # years: higher ages identify (US 45 CFR 164.514(b)(2)(i)(C))
_YEARS = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_TEXTS = {
    "modality": "Modality",
    "body_part": "BodyPartExamined",
    "view": "ViewPosition",
    "laterality": "ImageLaterality",
    "photometric": "PhotometricInterpretation",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
}
_NUMBERS = {
    "rows": "Rows",
    "columns": "Columns",
    "bits_stored": "BitsStored",
    "slice_thickness": "SliceThickness",
    "kvp": "KVP",
    "tube_current": "XRayTubeCurrent",
    "exposure": "Exposure",
    "echo_time": "EchoTime",
    "repetition_time": "RepetitionTime",
    "field_strength": "MagneticFieldStrength",
}


def read_metadata(source: Any) -> pd.DataFrame:
    """Read the headers of images, without their pixels.

    Parameters
    ----------
    source : image cell, or a list, Series or array of objects of those
        As in `skfusion.read_image`: DICOM files, folders of a series (the first file by
        name is used) or pydicom Datasets. Other formats and arrays give a row with
        their format only. Missing cells give an empty row.

    Returns
    -------
    DataFrame of one row per image
        Columns ``format``, ``modality``, ``body_part``, ``view`` (position),
        ``laterality``, ``sex``, ``age`` (years, capped at 90, from the birth date if
        the age is absent), ``acquired`` (date and time, local to the scanner),
        ``rows``, ``columns``, ``n_frames`` (of a folder: files), ``spacing_y`` and
        ``spacing_x`` (mm), ``slice_thickness`` (mm), ``photometric``,
        ``bits_stored``, ``manufacturer``, ``model``, ``kvp`` (kV), ``tube_current``
        (mA), ``exposure`` (mAs), ``contrast`` (whether an agent
        is named), ``echo_time`` and ``repetition_time`` (ms), ``field_strength`` (T).
        The index is that of a Series, else a range from 0.

    Raises
    ------
    ImageReadError
        If a file is missing, damaged or not an image.

    Notes
    -----
    Dates and ages come from the patient's record. Treat the frame as patient data: it
    contains no direct identifiers, but acquisition times can still identify a patient.

    Some columns leak the outcome. Portable radiographs (``view="AP"``) are taken of
    sicker patients, and models learn to recognise the scanner.

    Examples
    --------
    >>> import numpy as np, io
    >>> from PIL import Image
    >>> from skfusion.image import read_metadata
    >>> file = io.BytesIO()
    >>> Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(file, "PNG")
    >>> read_metadata(file.getvalue())[["format", "modality"]].loc[0].tolist()
    ['PNG', None]
    """
    is_objects = isinstance(source, np.ndarray) and source.dtype.kind in "OUS"
    is_many = isinstance(source, list | tuple | pd.Series) or is_objects
    cells: Iterable[Any] = source if is_many else [source]
    index = source.index if isinstance(source, pd.Series) else None
    rows = []
    for position, cell in enumerate(cells):
        try:
            rows.append(_row(cell))
        except ImageReadError as error:
            where = f"At row position {position}: " if is_many else ""
            raised = ImageReadError(f"{where}{error}")
            raised.row = position
            raise raised from None
    columns = list(_described(None, None))
    frame = pd.DataFrame(rows, index=index, columns=columns)
    numeric = [*_NUMBERS, "age", "n_frames", "spacing_y", "spacing_x"]
    frame[numeric] = frame[numeric].astype(float)
    frame["acquired"] = pd.to_datetime(frame["acquired"])
    texts = ["format", "sex", *_TEXTS]
    frame[texts] = frame[texts].astype(object).where(frame[texts].notna(), None)
    frame["contrast"] = frame["contrast"].astype("boolean")
    return frame


def _row(cell: Any) -> dict[str, Any]:
    if is_missing(cell):
        return _described(None, None)
    cell = unwrapped(cell)
    for is_kind, name in (
        (is_array, "array"),
        (is_pil, "PIL"),
        (is_nibabel_image, "nibabel"),
    ):
        if is_kind(cell):
            return _described(None, name)
    if is_dataset(cell):
        with lenient(), as_read_errors():
            return _described(Header(cell), "DICOM")
    if is_folder(cell):
        return _series_row(cell)
    with opened(cell) as handle:
        name = recognise(handle)
        if name != "DICOM":
            return _described(None, _name_in_gzip(handle) if name == "gzip" else name)
        dataset = open_dataset(handle, MAX_PIXELS, header_only=True)
    with lenient(), as_read_errors():
        return _described(Header(dataset), "DICOM")


def _name_in_gzip(handle: Any) -> str:
    with as_gzip_errors(), unpacked(handle) as inner:
        return recognise(io.BytesIO(inner.read(1024)))


def _series_row(folder: Any) -> dict[str, Any]:
    rows = []
    for path in folder_files(folder):
        try:
            row = _row(path)
        except ImageReadError:
            continue  # `read_image` reports unreadable files
        if row["format"] == "DICOM" and row["rows"] is not None:
            rows.append(row)
    if not rows:
        raise ImageReadError("The folder contains no DICOM image.")
    return rows[0] | {"n_frames": max(len(rows), rows[0]["n_frames"])}


def _described(header: Header | None, name: str | None) -> dict[str, Any]:
    spacing = None if header is None else header.spacing()
    texts = {key: _attribute(header, tag) for key, tag in _TEXTS.items()}
    if texts["laterality"] is None:
        texts["laterality"] = _attribute(header, "Laterality")
    numbers = {
        key: None if header is None else header.number(tag)
        for key, tag in _NUMBERS.items()
    }
    acquired = None if header is None else _acquired(header)
    n_frames = None if header is None else header.number("NumberOfFrames") or 1
    return {
        "format": name,
        **{key: texts[key] for key in ("modality", "body_part", "view", "laterality")},
        "sex": _sex(_attribute(header, "PatientSex")),
        "age": None if header is None else _age(header, acquired),
        "acquired": acquired,
        **{key: numbers[key] for key in ("rows", "columns")},
        "n_frames": n_frames,
        "spacing_y": None if spacing is None else spacing[0],
        "spacing_x": None if spacing is None else spacing[1],
        **{key: numbers[key] for key in ("slice_thickness",)},
        **{key: texts[key] for key in ("photometric",)},
        **{key: numbers[key] for key in ("bits_stored",)},
        **{key: texts[key] for key in ("manufacturer", "model")},
        **{key: numbers[key] for key in ("kvp", "tube_current", "exposure")},
        "contrast": None if header is None else _contrast(header),
        **{
            key: numbers[key]
            for key in ("echo_time", "repetition_time", "field_strength")
        },
    }


def _attribute(header: Header | None, name: str) -> str | None:
    return None if header is None else header.text(name) or None


def _sex(text: str | None) -> str | None:
    found = (text or "").upper()
    return found if found in ("F", "M", "O") else None


def _age(header: Header, acquired: pd.Timestamp | None) -> float | None:
    """Return the age in years, from the birth date if it is not stated."""
    text = header.text("PatientAge").upper()
    if text[:-1].isdigit() and text[-1] in _YEARS:
        return min(int(text[:-1]) / _YEARS[text[-1]], _OLDEST)
    born = _moment(header.text("PatientBirthDate"), "")
    if born is None or acquired is None or acquired < born:
        return None
    return min(float(int((acquired - born).days / 365.25)), _OLDEST)


def _contrast(header: Header) -> bool:
    return bool(
        header.text("ContrastBolusAgent")
        or header.item("ContrastBolusAgentSequence")
        or header.item("ContrastBolusUsageSequence")
    )


def _acquired(header: Header) -> pd.Timestamp | None:
    """Return the time of the acquisition, else of the content, series or study.

    The first date that is given decides. If it cannot be read, the time is unknown: a
    later step of the study can be on another day.
    """
    whole = re.split(r"[+-]", header.text("AcquisitionDateTime"))[0]
    if whole:
        return _moment(whole[:8], whole[8:])
    for name in ("Acquisition", "Content", "Series", "Study"):
        date = header.text(f"{name}Date")
        if date:
            return _moment(date, header.text(f"{name}Time"))
    return None


def _moment(date: str, time: str) -> pd.Timestamp | None:
    """Parse a date and a time, also with the separators of ACR-NEMA.

    An invalid time gives the start of the day.
    """
    day = re.sub(r"[.\-/]", "", date)
    clock = time.replace(":", "").split(".")[0]
    if not re.fullmatch(r"\d{8}", day):
        return None
    if re.fullmatch(r"\d{2}(\d{2}){0,2}", clock):
        found = pd.to_datetime(
            day + clock.ljust(6, "0"), format="%Y%m%d%H%M%S", errors="coerce"
        )
        if not pd.isna(found):
            return found
    found = pd.to_datetime(day, format="%Y%m%d", errors="coerce")
    return None if pd.isna(found) else found
