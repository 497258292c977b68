"""Reading of de-identified image header metadata as a DataFrame.

Attributes that identify a patient are not read: no name, number, birth date, address,
institution, physician, free text or unique identifier.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from skfusion.image.reading.dicom import lenient, open_dataset, plane_spacing
from skfusion.image.reading.files import (
    MAX_PIXELS,
    ImageReadError,
    as_read_errors,
    is_folder,
    is_missing,
    opened,
    recognise,
)
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
    source : path, bytes, file object, or a list, Series or array of those
        DICOM files, or folders of a series (the first file by name is used). Other
        formats give a row with their format only. Missing cells give an empty row.

    Returns
    -------
    DataFrame of one row per image
        Columns ``format``, ``modality``, ``body_part``, ``view`` (position),
        ``laterality``, ``sex``, ``age`` (years, capped at 90), ``acquired``
        (date and time, local to the scanner), ``rows``, ``columns``, ``n_frames`` (of
        a folder: files), ``spacing_y`` and ``spacing_x`` (mm), ``slice_thickness``
        (mm), ``photometric``, ``bits_stored``, ``manufacturer``, ``model``, ``kvp``
        (kV), ``tube_current`` (mA), ``exposure`` (mAs), ``contrast`` (whether an agent
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
    is_many = isinstance(source, list | tuple | np.ndarray | pd.Series)
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
    columns = list(_described({}, None))
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
        return _described({}, None)
    if is_folder(cell):
        return _series_row(cell)
    with opened(cell) as handle:
        name = recognise(handle)
        if name != "DICOM":
            return _described({}, "NIfTI" if name == "gzip" else name)
        dataset = open_dataset(handle, MAX_PIXELS, header_only=True)
    with lenient(), as_read_errors():
        return _described(dataset, "DICOM")


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


def _described(dataset: Any, name: str | None) -> dict[str, Any]:
    is_dicom = name == "DICOM"
    spacing = plane_spacing(dataset) if is_dicom else None
    texts = {key: _text(dataset.get(tag)) for key, tag in _TEXTS.items()}
    if texts["laterality"] is None:
        texts["laterality"] = _text(dataset.get("Laterality"))
    numbers = {key: _number(dataset.get(tag)) for key, tag in _NUMBERS.items()}
    return {
        "format": name,
        **{key: texts[key] for key in ("modality", "body_part", "view", "laterality")},
        "sex": _sex(dataset.get("PatientSex")),
        "age": _age(dataset.get("PatientAge")),
        "acquired": _acquired(dataset),
        **{key: numbers[key] for key in ("rows", "columns")},
        "n_frames": (_number(dataset.get("NumberOfFrames")) or 1) if is_dicom else None,
        "spacing_y": None if spacing is None else spacing[0],
        "spacing_x": None if spacing is None else spacing[1],
        **{key: numbers[key] for key in ("slice_thickness",)},
        **{key: texts[key] for key in ("photometric",)},
        **{key: numbers[key] for key in ("bits_stored",)},
        **{key: texts[key] for key in ("manufacturer", "model")},
        **{key: numbers[key] for key in ("kvp", "tube_current", "exposure")},
        "contrast": _contrast(dataset) if is_dicom else None,
        **{
            key: numbers[key]
            for key in ("echo_time", "repetition_time", "field_strength")
        },
    }


def _text(value: Any) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _sex(value: Any) -> str | None:
    text = (_text(value) or "").upper()
    return text if text in ("F", "M", "O") else None


def _age(value: Any) -> float | None:
    text = (_text(value) or "").upper()
    if not text[:-1].isdigit() or text[-1] not in _YEARS:
        return None
    return min(int(text[:-1]) / _YEARS[text[-1]], _OLDEST)


def _contrast(dataset: Any) -> bool:
    return bool(
        _text(dataset.get("ContrastBolusAgent"))
        or dataset.get("ContrastBolusAgentSequence")
    )


def _acquired(dataset: Any) -> pd.Timestamp | None:
    """Return the time of the acquisition, else of the content, series or study."""
    whole = (_text(dataset.get("AcquisitionDateTime")) or "").split("+")[0]
    candidates = [whole.split("-")[0]]
    for name in ("Acquisition", "Content", "Series", "Study"):
        date = _text(dataset.get(f"{name}Date"))
        if date:
            candidates.append(date + (_text(dataset.get(f"{name}Time")) or ""))
    for text in candidates:
        digits = text.split(".")[0]
        if len(digits) < 8 or not digits.isdigit():
            continue
        digits = digits[:14].ljust(14, "0")
        found = pd.to_datetime(digits, format="%Y%m%d%H%M%S", errors="coerce")
        if not pd.isna(found):
            return found
    return None
