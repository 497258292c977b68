"""Chest radiographs of MIMIC-CXR, from its tables of metadata and splits."""

from __future__ import annotations

import os
import re
import zlib
from gzip import BadGzipFile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfusion._paths import expanded_path
from skfusion._validation import check_option, did_you_mean
from skfusion.cohorts.dicom_times import acquired_at
from skfusion.cohorts.image_table import image_table
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["read_mimic_cxr"]


OWNER = "read_mimic_cxr"
SUFFIXES = ("auto", ".dcm", ".jpg", ".png")
_REQUIRED = ("dicom_id", "subject_id", "study_id", "StudyDate", "StudyTime")
_OPTIONAL = ("ViewPosition", "Rows", "Columns")
_TABLE = re.compile(r"mimic-cxr-.*{}\.csv(?:\.gz)?", re.IGNORECASE)
# Files of which the suffix is looked up.
_N_TRIED = 100


def read_mimic_cxr(
    folder: str | os.PathLike[str],
    *,
    suffix: str = "auto",
    check_files: bool = True,
) -> pd.DataFrame:
    r"""Read the tables of the images of MIMIC-CXR or MIMIC-CXR-JPG.

    Parameters
    ----------
    folder : str or PathLike
        Folder with ``mimic-cxr-2.0.0-metadata.csv`` and, optionally,
        ``mimic-cxr-2.0.0-split.csv``, of any version, also gzipped. The images are in
        its subfolder ``files``.
    suffix : {"auto", ".dcm", ".jpg", ".png"}, default="auto"
        Suffix of the images. ``"auto"`` is that of the first images that exist.
    check_files : bool, default=True
        Whether to look up all files. The path of an absent one is then null.

    Returns
    -------
    DataFrame
        One row per image, with the columns of `scan_images`. Patients are the integers
        of MIMIC-IV, studies are text. ``acquired`` is the date and time of the study,
        ``split`` that of MIMIC-CXR-JPG. Series are not known.

    Raises
    ------
    FileNotFoundError
        If there is no table of metadata.
    ValueError
        If there are several, or one is damaged, a column is missing, an id is not an
        integer, or rows of one image differ.

    Warns
    -----
    DataWarning
        With the numbers of absent files, of repeated rows, of times that cannot be
        read, which are the end of their day, of images without a readable date, and of
        sizes that are no whole numbers.

    Notes
    -----
    Times are numbers such as 80556.875, which have lost the zero of 08:05:56.875. Dates
    are shifted by patient, in the same way as in MIMIC-IV.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skfusion.cohorts import read_mimic_cxr
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "mimic-cxr-2.0.0-metadata.csv").write_text(
    ...         "dicom_id,subject_id,study_id,ViewPosition,Rows,Columns,StudyDate,"
    ...         "StudyTime\n" "02aa804e,10000032,50414267,PA,3056,2544,21800506,"
    ...         "80556.875\n")
    ...     images = read_mimic_cxr(folder, suffix=".jpg", check_files=False)
    >>> images[["patient", "view", "acquired"]]
        patient view                acquired
    0  10000032   PA 2180-05-06 08:05:56.875
    """
    check_option(suffix, "suffix", SUFFIXES, OWNER)
    root = expanded_path(folder)
    place = _file_of(root, "metadata")
    if place is None:
        raise FileNotFoundError(
            f"{OWNER}: folder must contain mimic-cxr-2.0.0-metadata.csv or its gzip "
            "file, got none."
        )
    table = _read(place)
    missing = [name for name in _REQUIRED if name not in table]
    if missing:
        raise ValueError(
            f"{OWNER}: the table of metadata must have the columns {missing}, got "
            f"{list(table.columns)}.{did_you_mean(missing[0], list(table.columns))}"
        )
    used = [name for name in (*_REQUIRED, *_OPTIONAL) if name in table]
    table, n_repeated = _once(table[used], "metadata")
    acquired, said = _times(table)
    sentences = [said] if said else []
    if n_repeated:
        sentences.append(f"{n_repeated} rows repeat an image, and were left out.")
    subjects = _whole(table["subject_id"], "subject_id")
    studies = _whole(table["study_id"], "study_id")
    paths = _paths(root, table["dicom_id"], subjects, studies, suffix)
    if check_files:
        exists = np.array([os.path.exists(path) for path in paths], dtype=bool)
        paths[~exists] = None
        n_absent = int((~exists).sum())
        if n_absent:
            sentences.append(
                f"the files of {n_absent} of {len(table)} images do not exist below "
                "'files', and have no path."
            )
    cells = {
        "path": paths,
        "patient": subjects.astype("int64"),
        "study": studies.astype(str),
        "view": table.get("ViewPosition"),
        "body_part": ["CHEST"] * len(table),
        "acquired": acquired,
        "rows": table.get("Rows"),
        "columns": table.get("Columns"),
        "instances": [1] * len(table),
        "frames": [1] * len(table),
        "split": _splits(root, table["dicom_id"]),
    }
    if sentences:
        warn_user(f"{OWNER}: {' '.join(sentences)}", DataWarning)
    return image_table(cells, len(table), OWNER)


def _file_of(root: Path, name: str) -> Path | None:
    """Return the file of a table."""
    pattern = re.compile(_TABLE.pattern.format(f"-?{name}"), re.IGNORECASE)
    found = sorted(path for path in root.glob("*") if pattern.fullmatch(path.name))
    if len(found) > 1:
        raise ValueError(
            f"{OWNER}: got {len(found)} tables of {name}: "
            f"{', '.join(path.name for path in found)}. Keep one."
        )
    return found[0] if found else None


def _read(place: Path) -> pd.DataFrame:
    """Read a table as text, so that no digit of a time or an id is lost."""
    try:
        table = pd.read_csv(place, dtype=str, encoding="utf-8-sig")
    except (ValueError, EOFError, BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{OWNER}: {place.name} is no table of CSV in UTF-8, or not the whole file "
            f"({type(error).__name__}). Download it again."
        ) from None
    return table.astype(object).where(table.notna(), None)


def _once(table: pd.DataFrame, name: str) -> tuple[pd.DataFrame, int]:
    """Return one row per image, and the number of rows that repeat another one.

    Raises
    ------
    ValueError
        If a row has no image, or rows of one image differ.
    """
    n_without = int(table["dicom_id"].isna().sum())
    if n_without:
        raise ValueError(
            f"{OWNER}: {n_without} of {len(table)} rows of the table of {name} have no "
            "dicom_id. Download the table again."
        )
    different = table.drop_duplicates()
    n_unlike = int(different["dicom_id"].duplicated().sum())
    if n_unlike:
        raise ValueError(
            f"{OWNER}: {n_unlike} rows of the table of {name} contradict an earlier "
            "row of the same dicom_id. Keep the right ones."
        )
    return different.reset_index(drop=True), len(table) - len(different)


def _whole(column: pd.Series, name: str) -> pd.Series:
    numbers = column.astype("string").str.extract(r"^[ps]?(\d+)(?:\.0)?$")[0]
    n_bad = int(numbers.isna().sum())
    if n_bad:
        raise ValueError(
            f"{OWNER}: {name} must be integers, got {n_bad} of {len(column)} cells "
            "that are none. Download the table again."
        )
    return numbers.astype("int64")


def _times(table: pd.DataFrame) -> tuple[pd.Series, str]:
    """Return the times of the studies, and a sentence about what was not read."""
    dates = table["StudyDate"].astype("string").str.replace(r"\.0+$", "", regex=True)
    clock = table["StudyTime"].astype("string").str.strip()
    parts = clock.str.extract(r"^(\d{1,6})(?:\.(\d+))?$")
    known = parts[0].notna()
    hours = parts[0].str.zfill(6) + "." + parts[1].fillna("0").str.slice(0, 6)
    hours = hours.where(known, "")
    is_clock = hours.str.match(r"^(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d|60)\.").fillna(
        False
    )
    numbers = np.full(len(table), np.iinfo(np.int64).min)
    for place, (date, time) in enumerate(zip(dates.fillna(""), hours, strict=True)):
        header = {"StudyDate": date, "StudyTime": time}
        moment = acquired_at(lambda name, of=header: of.get(name, ""))  # type: ignore[misc]
        if moment is not None:
            numbers[place] = moment[0]
    times = pd.Series(numbers.view("datetime64[us]"))
    n_undated = int(times.isna().sum())
    n_days = int((~is_clock.to_numpy(bool) & times.notna().to_numpy()).sum())
    said = [
        text
        for n, text in (
            (n_days, f"{n_days} times cannot be read, and are the end of their day."),
            (n_undated, f"{n_undated} images have no readable date."),
        )
        if n
    ]
    return times, " ".join(said)


def _paths(
    root: Path, images: pd.Series, subjects: pd.Series, studies: pd.Series, suffix: str
) -> np.ndarray:
    folders = [
        os.path.join(
            root, "files", f"p{subject // 1_000_000:02}", f"p{subject}", f"s{study}"
        )
        for subject, study in zip(subjects, studies, strict=True)
    ]
    stems = [os.path.join(*pair) for pair in zip(folders, images, strict=True)]
    if suffix == "auto":
        suffix = next(
            (
                known
                for stem in stems[:_N_TRIED]
                for known in SUFFIXES[1:]
                if os.path.exists(stem + known)
            ),
            ".dcm",
        )
    return np.array([stem + suffix for stem in stems], dtype=object)


def _splits(root: Path, images: pd.Series) -> Any:
    place = _file_of(root, "split")
    if place is None:
        return None
    table = _read(place)
    if not {"dicom_id", "split"} <= set(table):
        raise ValueError(
            f"{OWNER}: the table of splits must have the columns ['dicom_id', 'split'],"
            f" got {list(table.columns)}."
        )
    known, _ = _once(table[["dicom_id", "split"]], "splits")
    return images.map(known.set_index("dicom_id")["split"])
