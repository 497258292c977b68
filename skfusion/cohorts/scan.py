"""Images below a folder, from the headers of their files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from numbers import Integral
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from joblib import Parallel, delayed, effective_n_jobs

from skfusion._dependencies import require
from skfusion._paths import expanded_path
from skfusion._progress import progress
from skfusion._validation import is_null, is_number
from skfusion.cohorts.headers import UNREADABLE, Found, ImageHeader, read_headers
from skfusion.cohorts.image_table import image_table
from skfusion.cohorts.instants import check_time_zone, instants_of
from skfusion.cohorts.scan_index import ScanIndex
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["scan_images"]


OWNER = "scan_images"
#: Modalities of which the files of a series are slices of one image.
VOLUMES = ("CT", "MR", "PT")
#: Files that a process reads before it returns them, and that the index then has.
CHUNK = 500
# Files that desktops create.
_HIDDEN = ("thumbs.db", "desktop.ini")
_MINUTE = 60_000_000  # in microseconds


def scan_images(
    folder: str | os.PathLike[str],
    *,
    patient: Callable[[str], Any] | str | None = "id",
    volumes: bool = True,
    time_zone: str | None = None,
    index: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> pd.DataFrame:
    """Read the headers of all DICOM files below a folder, without their pixels.

    Parameters
    ----------
    folder : str or PathLike
        The folder. Its subfolders are searched, except through links to folders. Files
        of any name are DICOM files if their content is.
    patient : {"id", None} or callable, default="id"
        What the column ``patient`` is: the attribute Patient ID, nothing, or what a
        callable returns for that id, e.g. a keyed hash: text, an integer, or a null for
        no patient. A callable is called once for each id, before anything is written.
    volumes : bool, default=True
        Whether the files of a series of CT, MR or PET in one folder are one image, with
        the folder as its path. False gives one row per file.
    time_zone : str or None, default=None
        Time zone, such as "Europe/Berlin", of the times of files that state no offset
        from UTC. The column ``acquired`` is then in UTC. None is for scanners whose
        files all state an offset (UTC) or none (local times without a time zone).
    index : str, PathLike or None, default=None
        File to which the headers are written while they are read. A scan that was
        killed is resumed from it, and only new and changed files are read again. It
        contains everything that the result does, so protect it as the images.
    n_jobs : int or None, default=None
        Number of processes, as in joblib. None is 1 unless in a
        `joblib.parallel_config` context.
    verbose : int, default=0
        Whether to show the progress on standard error.

    Returns
    -------
    DataFrame
        One row per image, by path, with the columns

        - ``path`` : the file, or the folder of a volume.
        - ``patient`` : see `patient`, null without an id.
        - ``study``, ``series`` : unique identifiers (UID), which other sources have as
          well.
        - ``series_number``, ``modality``, ``view``, ``laterality``, ``body_part`` : as
          in the header, null if absent.
        - ``acquired`` : when the acquisition, or else the content, the series or the
          study is dated. A date without a time is the end of its day. Of a volume, it
          is the latest time of its files.
        - ``available`` : null, since headers do not say when an image was sent.
        - ``rows``, ``columns`` : size in pixels.
        - ``instances``, ``frames`` : number of files, and of frames in a file.
        - ``split`` : null, see `read_mimic_cxr`.

        ``attrs["scan"]`` is a dict with the numbers of files by what they are.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If `index` is another file or of another function `patient`, or a parameter is
        unknown.
    TypeError
        If `patient` returns something else than text, an integer or a null.
    ImportError
        If pydicom is not installed.

    Warns
    -----
    DataWarning
        With the numbers of files that could not be read (truncated, damaged, no
        permission), of other formats, and without an image (directories, reports), of
        images without a patient or a readable date, of numbers that cannot be read, of
        volumes that share their folder with others, are in several folders or are of
        several patients, of offsets from UTC that are ignored, and of damaged lines of
        `index`.

    See Also
    --------
    link_images : Images of each case that were available before its index time.
    skfusion.image.read_metadata : More attributes of single images.

    Notes
    -----
    Names, birth dates, accession numbers, institutions and all free text are not read.
    The Patient ID, the UIDs and the times of acquisition can identify a patient. Times
    are those of the scanner, and a Patient ID may be that of another hospital.

    A file of which the pixels end too early is truncated. Files without pixels have a
    row if their header states a size.

    Examples
    --------
    >>> from pathlib import Path
    >>> import tempfile
    >>> from pydicom.dataset import Dataset, FileMetaDataset
    >>> from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
    >>> from skfusion.cohorts import scan_images
    >>> header = Dataset()
    >>> header.file_meta = FileMetaDataset()
    >>> header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    >>> header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, "1.2.3"
    >>> header.PatientID, header.Modality = "7", "CT"
    >>> header.StudyDate, header.StudyTime = "20240301", "083000"
    >>> header.Rows = header.Columns = 512
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     header.save_as(Path(folder, "1.dcm"), enforce_file_format=True)
    ...     images = scan_images(folder)
    >>> images[["patient", "modality", "acquired", "rows"]]
      patient modality            acquired  rows
    0       7       CT 2024-03-01 08:30:00   512
    """
    require("pydicom", "images")
    check_time_zone(time_zone, OWNER)
    if patient not in ("id", None) and not callable(patient):
        raise ValueError(
            f"{OWNER}: patient must be 'id', None or a callable, got {patient!r}."
        )
    root = expanded_path(folder)
    if not root.is_dir():
        raise FileNotFoundError(
            f"{OWNER}: folder must be a folder that exists, got "
            f"{'a file' if root.exists() else 'a missing path'}."
        )
    given = _Patients(patient)
    with ScanIndex(index, str(root), given.name) as notes:
        files, n_closed = _files_below(str(root), notes)
        found = _scanned(files, notes, given, n_jobs, verbose)
    return _table(found, n_closed, volumes, time_zone)


class _Patients:
    """Ids of patients in place of the attribute Patient ID."""

    def __init__(self, patient: Callable[[str], Any] | str | None) -> None:
        self._function = patient if callable(patient) else None
        self._is_kept = patient is not None
        self._known: dict[str, Any] = {}
        self.is_function = self._function is not None
        self.name = "id" if patient == "id" else "none"
        if self._function is not None:
            kind = type(self._function)
            names = getattr(self._function, "__qualname__", kind.__qualname__)
            self.name = f"callable {names}"

    def replaced(self, found: Found) -> Found:
        """Return a file with the id that is kept."""
        header = found.header
        if header is None or (self._is_kept and self._function is None):
            return found
        name: Any = ""
        if self._function is not None and header.patient:
            if header.patient not in self._known:
                given = self._function(header.patient)
                self._known[header.patient] = _as_id(given)
            name = self._known[header.patient]
        return found._replace(header=header._replace(patient=name))

    def check_noted(self, entries: list[os.DirEntry[str]], notes: ScanIndex) -> None:
        """Read a noted file again, of which a function must give the noted id.

        Two functions, e.g. with two keys of a hash, can have the same name.

        Raises
        ------
        ValueError
            If it gives another one.
        """
        if not self.is_function:
            return
        for entry in entries:
            known = notes.known.get(entry.path)
            if known is None or known.header is None or not known.header.patient:
                continue
            again = self.replaced(read_headers([entry.path])[0])
            if again.header is None or not _is_noted(entry, notes):
                continue
            if again.header.patient != known.header.patient:
                raise ValueError(
                    f"{OWNER}: patient gives another id than in the scan of index. "
                    "Pass the same function, or a new file."
                )
            return


def _as_id(given: Any) -> str | int:
    """Return what a callable gave as an id, ``""`` for a null.

    Raises
    ------
    TypeError
        If it is neither, since its text may be the same for several patients.
    """
    if is_null(given):
        return ""
    if isinstance(given, str):
        return str(given).strip()
    if isinstance(given, UUID):
        return str(given)
    is_exact = isinstance(given, Integral) or (is_number(given) and abs(given) < 2**53)
    if is_number(given) and is_exact and given == int(given):
        return int(given)
    raise TypeError(
        f"{OWNER}: patient must return text, an integer or None for each id, got "
        f"{type(given).__name__}. Convert it, e.g. bytes with .hex()."
    )


# -- files ----------------------------------------------------------------------------


def _files_below(root: str, notes: ScanIndex) -> tuple[list[os.DirEntry[str]], int]:
    """Return the files below a folder by path, and the number of closed folders."""
    found: list[os.DirEntry[str]] = []
    waiting, n_closed = [root], 0
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                inside = list(entries)
        except OSError:
            n_closed += 1
            continue
        for entry in inside:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif not _is_hidden(entry.name) and not notes.holds(entry.path):
                found.append(entry)
    return sorted(found, key=lambda entry: entry.path), n_closed


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _HIDDEN


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        # A link to a folder is not followed, and devices are not read.
        return entry.is_file()
    except OSError:
        return False


def _is_noted(entry: os.DirEntry[str], notes: ScanIndex) -> bool:
    known = notes.known.get(entry.path)
    if known is None:
        return False
    try:
        status = entry.stat()
    except OSError:
        return False
    return (known.size, known.changed) == (status.st_size, status.st_mtime_ns)


def _scanned(
    entries: list[os.DirEntry[str]],
    notes: ScanIndex,
    patients: _Patients,
    n_jobs: int | None,
    verbose: int,
) -> list[Found]:
    """Return what is known of each file, after reading the new ones."""
    entries = [entry for entry in entries if _is_file(entry)]
    patients.check_noted(entries, notes)
    wanted = [entry.path for entry in entries if not _is_noted(entry, notes)]
    known = {entry.path: notes.known.get(entry.path) for entry in entries}
    with progress(len(wanted), verbose=verbose, title="Scan", unit="file") as advance:
        for part in _read_parts(wanted, n_jobs):
            part = [patients.replaced(one) for one in part]
            notes.add(part)
            known.update((one.path, one) for one in part)
            advance(len(part))
    return [one for one in known.values() if one is not None]


def _read_parts(paths: Sequence[str], n_jobs: int | None) -> Iterator[list[Found]]:
    parts = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    if effective_n_jobs(n_jobs) == 1 or len(parts) < 2:
        yield from map(read_headers, parts)
        return
    tasks = (delayed(read_headers)(part) for part in parts)
    yield from Parallel(n_jobs=n_jobs, return_as="generator")(tasks)


# -- table ----------------------------------------------------------------------------


def _table(
    found: list[Found], n_closed: int, volumes: bool, time_zone: str | None
) -> pd.DataFrame:
    images = [(one.path, one.header) for one in found if one.header is not None]
    names = [*ImageHeader._fields]
    files = pd.DataFrame([header for _, header in images], columns=names)
    files["path"] = [path for path, _ in images]
    counts = Counter({"images": len(images)})
    counts.update(one.reason for one in found if one.header is None)
    if n_closed:
        counts[f"{UNREADABLE}folders"] += n_closed
    sentences = []
    files["acquired"], said = _times(files["acquired"], time_zone)
    sentences += said
    files["instances"] = 1
    if volumes and len(files):
        files, said = _with_volumes(files)
        sentences += said
    for name in ("patient", "study", "series", "modality", "view"):
        files[name] = files[name].replace("", None)
    for name in ("laterality", "body_part"):
        files[name] = files[name].replace("", None)
    table = image_table({str(name): files[name] for name in files}, len(files), OWNER)
    table.attrs["scan"] = dict(counts)
    for name, what in (("patient", "patient id"), ("acquired", "readable date")):
        n_without = int(table[name].isna().sum())
        if n_without:
            sentences.append(f"{n_without} of {len(table)} images have no {what}.")
    _warn(counts, sentences)
    return table


def _times(moments: pd.Series, time_zone: str | None) -> tuple[pd.Series, list[str]]:
    """Return times of one kind, and what has to be said about their offsets."""
    known = moments.notna().to_numpy(bool)
    walls = np.full(len(moments), np.iinfo(np.int64).min)
    walls[known] = [wall for wall, _ in moments[known]]
    zones = [zone for _, zone in moments[known]]
    stated = np.zeros(len(moments), dtype=bool)
    stated[known] = [zone is not None for zone in zones]
    offsets = np.zeros(len(moments), dtype=np.int64)
    offsets[known] = [(zone or 0) * _MINUTE for zone in zones]
    n_stated, n_known = int(stated.sum()), int(known.sum())
    said = []
    if time_zone is None and 0 < n_stated < n_known:
        said.append(
            f"{n_stated} of {n_known} times state an offset from UTC, which is "
            "ignored, since the others state none. Set time_zone to the scanners' own."
        )
        stated[:] = False
    local = pd.Series(walls.view("datetime64[us]"), index=moments.index)
    if not stated.any() and time_zone is None:
        return local, said
    instants = np.where(stated, walls - offsets, walls)
    rest = known & ~stated
    if rest.any():
        instants[rest] = instants_of(
            local[rest], "acquired", OWNER, time_zone=time_zone, dates_end=False
        ).numbers
    times = pd.Series(instants.view("datetime64[us]"), index=moments.index)
    return times.dt.tz_localize("UTC"), said


def _with_volumes(files: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Replace the slices of a volume by one row with the path of their folder."""
    files = files.assign(folder=files["path"].map(os.path.dirname))
    is_slice = files["modality"].isin(VOLUMES) & (files["series"] != "")
    is_slice &= files["frames"] == 1
    slices = files[is_slice]
    place = slices.groupby(["folder", "series"])["path"].transform("size")
    many = slices[place > 1]
    if not len(many):
        return files.drop(columns="folder"), []
    in_folder = files.groupby("folder")["path"].size()
    n_here = many.groupby(["folder", "series"])["path"].transform("size")
    alone = n_here == many["folder"].map(in_folder)
    mixed = many[~alone]
    said = []
    of_patients = many.groupby(["folder", "series"])["patient"].transform("nunique")
    if (of_patients > 1).any():
        n_series = many[of_patients > 1].groupby(["folder", "series"]).ngroups
        said.append(
            f"{n_series} series have files of several patients, and one row per file."
        )
    alone &= of_patients == 1
    if len(mixed):
        n_series = mixed.groupby(["folder", "series"]).ngroups
        said.append(
            f"{n_series} series of several files share their folder with other images, "
            "and have one row per file. Sort the files into one folder per series."
        )
    whole = many[alone]
    grouped = whole.groupby(["folder", "series"], sort=False)
    first = whole.loc[~whole.duplicated(["folder", "series"])]
    keys = pd.MultiIndex.from_frame(first[["folder", "series"]])
    joined = first.assign(
        path=first["folder"],
        acquired=grouped["acquired"].max().reindex(keys).set_axis(first.index),
        instances=grouped["path"].size().reindex(keys).to_numpy(),
    )
    n_apart = int((first.groupby("series")["folder"].nunique() > 1).sum())
    if n_apart:
        said.append(
            f"{n_apart} series are in several folders, with one row per folder. They "
            "may be copies, or parts of one image."
        )
    rest = files.drop(index=whole.index)
    files = pd.concat([rest, joined]).sort_values("path", kind="stable")
    return files.drop(columns="folder").reset_index(drop=True), said


def _warn(counts: Counter[str], sentences: list[str]) -> None:
    others = {reason: n for reason, n in counts.items() if reason != "images"}
    if others:
        total = counts.total()
        listed = ", ".join(
            f"{n} {reason.replace('format ', 'of another format: ', 1)}"
            for reason, n in sorted(others.items(), key=lambda item: -item[1])
        )
        sentences = [
            f"read {counts['images']} of {total} files as DICOM images. The others: "
            f"{listed}.",
            *sentences,
        ]
    if sentences:
        warn_user(f"{OWNER}: {' '.join(sentences)}", DataWarning)
