"""Images of an OMOP database with the extension for medical imaging (MI-CDM)."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import PureWindowsPath
from typing import Any

import pandas as pd

from skfusion._validation import is_null
from skfusion.cohorts.image_table import image_table, with_files
from skfusion.cohorts.instants import check_time_zone, instants_of
from skfusion.ehr.sources.databases import Tables, open_tables
from skfusion.ehr.sources.duckdb_tables import FileLayout
from skfusion.ehr.sources.shaping import as_ids
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["read_omop_images"]


OWNER = "read_omop_images"
TABLE, CONCEPTS = "image_occurrence", "concept"
LAYOUT = FileLayout(frozenset((TABLE, CONCEPTS)), frozenset((CONCEPTS,)))
_REQUIRED = ("person_id", "image_occurrence_date")
_OPTIONAL = (
    *("image_occurrence_datetime", "image_study_uid", "image_series_uid"),
    *("modality_concept_id", "anatomic_site_concept_id", "local_path", "wadors_uri"),
)
_CHUNK = 200_000
_GAPS = {"patient": "person_id", "acquired": "readable date"}


def read_omop_images(
    source: Any,
    *,
    schema: str | None = None,
    folder: str | os.PathLike[str] | None = None,
    files: Any = None,
    time_zone: str | None = None,
) -> pd.DataFrame:
    """Read the table ``image_occurrence`` of an OMOP database.

    Parameters
    ----------
    source : connection, engine, str or PathLike
        As in `skfusion.ehr.sources.read_omop`: a connection of DB-API 2.0, SQLAlchemy
        or duckdb, a duckdb file, or a folder of CSV or Parquet files.
    schema : str or None, default=None
        Schema of the tables.
    folder : str, PathLike or None, default=None
        Folder to which relative paths in ``local_path`` refer. None keeps them.
    files : DataFrame or None, default=None
        Images of `scan_images`, from which the paths of the series are taken.
    time_zone : str or None, default=None
        Time zone, such as "Europe/Berlin", of dates and of times without one, which are
        then in UTC. Pass the same to `skfusion.EventStore.from_omop`.

    Returns
    -------
    DataFrame
        One row per image, with the columns of `scan_images`. Patients are
        ``person_id``. The path is ``local_path``, or else ``wadors_uri``. Modalities
        and body parts are the names of their concepts, or codes of DICOM.

    Raises
    ------
    ValueError
        If there is no such table, or a column is missing.
    TypeError
        If `source` is of another type, or a time has the wrong type.
    ConnectionError
        If the database fails.

    Warns
    -----
    DataWarning
        With the numbers of images without a path, person or readable date, of
        modalities and body parts whose concept is not known, and of series without a
        file.

    Notes
    -----
    The extension has the date of an image, and no time. A date is the end of its day,
    so that images of the day of the index time are not linked. Some databases have a
    column ``image_occurrence_datetime``, which is used where it is not null. With
    `files`, a date of the record is replaced by the time of the header on the same day.

    References
    ----------
    .. [1] W. Y. Park et al. "Development of medical imaging data standardization for
       imaging-based observational research: OMOP Common Data Model extension". Journal
       of Imaging Informatics in Medicine 37 (2024), 899-908.

    Examples
    --------
    >>> import sqlite3
    >>> from skfusion.cohorts import read_omop_images
    >>> db = sqlite3.connect(":memory:")
    >>> _ = db.execute("create table image_occurrence (person_id, local_path, "
    ...                "image_occurrence_date, image_study_uid, image_series_uid)")
    >>> _ = db.execute("insert into image_occurrence values "
    ...                "(7, 'ct/7', '2024-03-01', '1.2', '1.2.3')")
    >>> read_omop_images(db)[["patient", "path", "acquired"]]
       patient  path                   acquired
    0        7  ct/7 2024-03-01 23:59:59.999999
    >>> db.close()
    """
    check_time_zone(time_zone, OWNER)
    if schema is not None and not re.fullmatch(r"\w+(\.\w+)*", schema):
        raise ValueError(
            f"{OWNER}: schema must be a name such as 'cdm', got {schema!r}."
        )
    start = f"{schema}." if schema else ""
    tables = open_tables(source, OWNER, _CHUNK, LAYOUT)
    try:
        rows = _rows(tables, start)
        concepts = {
            name: _words(tables, start, rows[f"{name}_concept_id"])
            for name in ("modality", "anatomic_site")
        }
    finally:
        tables.close()
    images = _images(rows, concepts, folder, time_zone)
    _warn_of_gaps(images, ["path"] if files is None else [])
    return images if files is None else with_files(images, files, OWNER)


def _rows(tables: Tables, start: str) -> pd.DataFrame:
    there = tables.columns(start + TABLE)
    missing = [name for name in _REQUIRED if name not in there]
    if missing:
        raise ValueError(
            f"{OWNER}: expected the table {TABLE!r} of MI-CDM with the columns "
            f"{missing}, got {there or 'no such table'}. Set the schema if it is in "
            "another one."
        )
    names = [name for name in (*_REQUIRED, *_OPTIONAL) if name in there]
    query = f"SELECT {', '.join(names)} FROM {start}{TABLE}"
    parts = list(tables.chunks(query, TABLE))
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)
    for name in _OPTIONAL:
        if name not in rows:
            rows[name] = None
    return rows


def _words(tables: Tables, start: str, ids: pd.Series) -> dict[int, str]:
    """Return the codes of DICOM, or else the names, of concepts."""
    different = as_ids(ids, f"{OWNER}: {ids.name}").dropna().unique()
    wanted = [int(one) for one in different if one]
    columns = tables.columns(start + CONCEPTS)
    if not wanted or "concept_name" not in columns:
        return {}
    names = ["concept_id", "concept_name"]
    names += [n for n in ("concept_code", "vocabulary_id") if n in columns]
    query = (
        f"SELECT {', '.join(names)} FROM {start}{CONCEPTS} WHERE "
        f"{tables.number('concept_id')} IN ({', '.join(map(str, wanted))})"
    )
    found = {}
    for chunk in tables.chunks(query, CONCEPTS):
        numbers = as_ids(chunk["concept_id"], f"{OWNER}: concept_id")
        for number, row in zip(numbers, chunk.to_dict("records"), strict=True):
            is_code = str(row.get("vocabulary_id")).upper() in ("DICOM", "DCM")
            word = row.get("concept_code") if is_code else row["concept_name"]
            if not is_null(word):
                found[int(number)] = str(word)
    return found


def _images(
    rows: pd.DataFrame,
    concepts: dict[str, dict[int, str]],
    folder: Any,
    time_zone: str | None,
) -> pd.DataFrame:
    patients = as_ids(rows["person_id"], f"{OWNER}: person_id")
    words, counts = {}, Counter[str]()
    for name, known in concepts.items():
        ids = as_ids(rows[f"{name}_concept_id"], f"{OWNER}: {name}_concept_id")
        words[name] = ids.map(known).astype(object)
        has = ids.fillna(0) != 0
        counts[name] = int((has & words[name].isna()).sum())
    lost = [
        f"{counts[name]} of {len(rows)} images have a {text}"
        for name, text in (("modality", "modality"), ("anatomic_site", "body part"))
        if counts[name]
    ]
    if lost:
        warn_user(
            f"{OWNER}: {', and '.join(lost)} whose concept is not in the table "
            "'concept', and which is null.",
            DataWarning,
        )
    cells = {
        "path": _paths(rows, folder),
        "patient": patients if patients.isna().any() else patients.astype("int64"),
        "study": rows["image_study_uid"],
        "series": rows["image_series_uid"],
        "modality": words["modality"],
        "body_part": words["anatomic_site"],
        "acquired": _acquired(rows, time_zone),
    }
    return image_table(cells, len(rows), OWNER)


def _warn_of_gaps(images: pd.DataFrame, others: list[str]) -> None:
    counts = images[["patient", "acquired", *others]].isna().sum()
    without = [
        f"{n} have no {_GAPS.get(str(name), name)}" for name, n in counts.items() if n
    ]
    if without:
        warn_user(
            f"{OWNER}: of {len(images)} images, {', '.join(without)}.", DataWarning
        )


def _paths(rows: pd.DataFrame, folder: Any) -> pd.Series:
    """Return the local paths, or else the addresses, with blank text as nulls."""
    local, web = (
        rows[name].astype(object).map(lambda path: path if str(path).strip() else None)
        for name in ("local_path", "wadors_uri")
    )
    is_local = local.notna()
    if folder is not None:
        root = os.fspath(folder)
        local = local.where(~is_local, local[is_local].map(lambda p: _below(root, p)))
    return local.where(is_local, web)


def _below(root: str, path: Any) -> str:
    """Return a path below a folder, unless it is absolute on any system."""
    text = str(path)
    is_absolute = PureWindowsPath(text).is_absolute()
    return text if is_absolute else os.path.join(root, text)


def _acquired(rows: pd.DataFrame, time_zone: str | None) -> pd.Series:
    cells = rows["image_occurrence_datetime"].astype(object)
    cells = cells.where(cells.notna(), rows["image_occurrence_date"].astype(object))
    read = instants_of(cells, "image_occurrence_date", OWNER, time_zone=time_zone)
    times = pd.Series(read.numbers.view("datetime64[us]"), index=rows.index)
    return times.dt.tz_localize("UTC") if read.has_zone else times
