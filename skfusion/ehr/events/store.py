"""Disk-backed store of timed events, `EventStore`, and summaries of its content."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from skfusion._paths import cache_folder
from skfusion._validation import check_option
from skfusion.ehr.events.columns import (
    NO_TIME,
    EventColumns,
    as_pandas,
    event_columns,
)
from skfusion.ehr.events.handle import FolderHandle
from skfusion.ehr.events.labels import (
    as_series_of_labels,
    carried_labels,
    check_labels,
)
from skfusion.ehr.events.quality import QualityReport, quality_report
from skfusion.ehr.events.reader import (
    DROPPED,
    MANIFEST,
    EventFiles,
    event_pieces,
    event_table,
)
from skfusion.ehr.events.sealing import folder_path
from skfusion.ehr.events.stay_table import checked_stays
from skfusion.ehr.events.transforms import (
    Change,
    UnitChange,
    grouping,
    groups_of,
    lagging,
    measurements,
    parsing,
    warn_of_no_match,
)
from skfusion.ehr.events.writer import EventWriter
from skfusion.ehr.measurements.units import Units
from skfusion.ehr.sources import read_fhir, read_meds, read_mimic, read_omop
from skfusion.ehr.sources.stays.vocabulary import of_kind
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["EventStore", "as_store", "report_events", "report_units"]


#: Function of the texts of further files, by name, called when the events are read.
Beside = Callable[[], Mapping[str, str]]


def report_events(files: EventFiles) -> pd.DataFrame:
    """Return a summary table with one row per code, as in `EventStore.report`."""
    code = np.asarray(files.column("code"))
    codes = files.words("code")
    subject = np.repeat(np.arange(len(files.subjects)), np.diff(files.offsets))
    pairs = np.unique(subject * len(codes) + code)
    valued = ~np.isnan(files.column("value"))
    table = pd.DataFrame(
        {
            "n_events": np.bincount(code, minlength=len(codes)),
            "n_subjects": np.bincount(pairs % len(codes), minlength=len(codes)),
            "n_values": np.bincount(code[valued], minlength=len(codes)),
            "units": _units(files, code, len(codes)),
            "date_only": np.isin(codes, files.date_only),
        },
        index=pd.Index(codes, name="code"),
    )
    if files.labels:
        names = [files.labels.get(code) for code in codes]
        table.insert(0, "label", pd.Series(names, table.index, dtype=object))
    return table.sort_index()


def report_units(files: EventFiles, units: Units) -> pd.DataFrame:
    """Return counts of unit conversions by code and unit, as in `Units.report`."""
    tables = [units.report(*measurements(piece)) for piece in event_pieces(files)]
    return pd.concat(tables).groupby(level=["code", "unit"]).sum()


def _units(files: EventFiles, code: np.ndarray, n_codes: int) -> list[dict[str, int]]:
    counts: list[dict[str, int]] = [{} for _ in range(n_codes)]
    if "unit" in files.columns:
        unit, words = np.asarray(files.column("unit")), files.words("unit")
        both = code[unit >= 0].astype(np.int64) * len(words) + unit[unit >= 0]
        for pair, number in zip(*np.unique(both, return_counts=True), strict=True):
            counts[pair // len(words)][words[pair % len(words)]] = int(number)
    return counts


class EventStore(FolderHandle):
    """Immutable, disk-backed store of timed events (MEDS columns).

    The events are stored in a folder, sorted by subject and time. The object contains
    only the path and the fingerprint of the content. Cloning returns the same object,
    pickles are small, and all processes read the same files. Create a store with
    `from_frame`, `from_meds`, `from_omop`, `from_fhir` or `from_mimic`.

    Parameters
    ----------
    path : str or PathLike
        Folder of an existing store.
    fingerprint : str or None, default=None
        Expected fingerprint of the content. None accepts any content.

    Attributes
    ----------
    path : Path
        The folder. It contains patient data, so remove it when it is no longer needed.
    fingerprint : str
        Digest of the content.

    Raises
    ------
    FileNotFoundError
        If `path` does not contain events.
    ValueError
        If the events do not match `fingerprint`.

    Notes
    -----
    The columns are those of MEDS [1]_. An event may become available later than it
    happened, such as a diagnosis at discharge or a laboratory value when reported. Use
    the column ``available_time`` or `with_lags` for the delay. Events with a date but
    no time are moved to the last microsecond of their day. Otherwise, features at an
    index time in the morning would include events of the evening.

    References
    ----------
    .. [1] Medical Event Data Standard 0.4. https://github.com/Medical-Event-Data-Standard

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore
    >>> store = EventStore.from_frame(pd.DataFrame({
    ...     "subject_id": [7, 7, 9],
    ...     "time": pd.to_datetime(["2024-03-01 08:30", "2024-03-02 07:10",
    ...                             "2024-03-05 16:40"]),
    ...     "code": ["LAB//creatinine", "LAB//creatinine", "LAB//lactate"],
    ...     "numeric_value": [1.1, 1.4, 2.0],
    ... }))
    >>> store
    EventStore(3 events, 2 subjects, 2 codes)
    """

    __module__ = "skfusion.ehr"
    _kind = "events"
    _manifest = MANIFEST

    def __init__(
        self, path: str | os.PathLike[str], fingerprint: str | None = None
    ) -> None:
        given = folder_path(path, "EventStore")
        place = Path(os.path.abspath(given))
        found = EventFiles(place).fingerprint
        _check_fingerprint(place, found, fingerprint)
        self._point_to(place, found, given)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        no_time: str = "error",
        date_only: str | None = "end_of_day",
        time_zone: str | None = None,
        labels: Mapping[str, str] | pd.Series | None = None,
        stays: Any = None,
    ) -> EventStore:
        """Write a table of events into a folder and return the store.

        Parameters
        ----------
        frame : DataFrame of pandas, polars or pyarrow, or an iterable of DataFrames
            Columns ``subject_id`` (integer or text), ``time``, ``code``, and optionally
            ``numeric_value``, ``available_time``, ``unit`` and ``text_value``. Rows may
            be in any order. An iterable is written part by part.
        path : str or PathLike or None, default=None
            Folder to write. None uses a folder below ``$SKFUSION_CACHE`` (or the user's
            cache folder), named by the content, so that equal events are stored once.
        no_time : {"error", "static", "drop"}, default="error"
            Treatment of events without time. Static events are kept, but are in no
            time window.
        date_only : {"end_of_day", "midnight", None}, default="end_of_day"
            Treatment of dates without time, which are at midnight. "end_of_day" moves
            them to the last microsecond of their day, in ``time`` and in
            ``available_time``. Midnight is a date in the events of a code if it is at
            least as frequent as all other full hours together (and at least 5 % or ten
            of the events). "midnight" moves all times at midnight, None moves none.
        time_zone : str or None, default=None
            Time zone of calendar days, such as "Europe/Berlin", for times with a zone.
            None uses the zone of the times, or UTC if they have several.
        labels : mapping, Series or None, default=None
            Code -> name, such as ``{"LAB//MIMIC//50868": "Anion Gap"}``, for `labels`.
            They are read after the last part of `frame`. Names of codes without events
            are left out.
        stays : DataFrame of pandas, polars or pyarrow, or None, default=None
            Stays of the subjects, as they are returned by `stays`. The columns
            ``stay_id``, ``subject_id``, ``start`` and ``end`` are required. Without
            ``kind``, all are hospital stays.

        Returns
        -------
        EventStore

        Raises
        ------
        ValueError, TypeError
            If a column is missing or has the wrong content, or a name is not text. The
            folder is not written then.

        Warns
        -----
        DataWarning
            If values are infinite or too large, if dates are found among the times of
            a code, if available times are dates, or if stays are of subjects without
            events. Also if no name is that of a code, or codes have several names.
        """
        table = None if stays is None else checked_stays(stays)
        store = cls._of_parts(
            frame,
            path,
            no_time=no_time,
            date_only=date_only,
            time_zone=time_zone,
            labels=labels,
            stays=[] if table is None else [table],
        )
        if table is not None:
            _check_subjects(table, store.subjects)
        return store

    @classmethod
    def _from_source(
        cls, frames: Any, path: Any, dropped: list[Any], **how: Any
    ) -> EventStore:
        """Write the events of a source, and which rows of it were left out."""

        def beside() -> dict[str, str]:  # Known when all frames have been read.
            return {DROPPED: json.dumps({"dropped": [list(row) for row in dropped]})}

        return cls._of_parts(frames, path, beside=beside, **how)

    @classmethod
    def _of_parts(
        cls,
        frame: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        no_time: str = "static",
        date_only: str | None = None,
        time_zone: str | None = None,
        labels: Mapping[str, str] | pd.Series | None = None,
        stays: list[pd.DataFrame] | None = None,
        beside: Beside | None = None,
    ) -> EventStore:
        """Write events, and the stays that are in the list when all are read."""
        check_zone(time_zone)
        check_labels(labels, "EventStore")
        for name, value, allowed in (
            ("no_time", no_time, ("error", "static", "drop")),
            ("date_only", date_only, ("end_of_day", "midnight", None)),
        ):
            check_option(value, name, allowed, "EventStore")
        single = isinstance(frame, pd.DataFrame) or hasattr(frame, "columns")
        parts = [frame] if single else frame

        def columns() -> Iterator[EventColumns]:
            n_rows = 0
            for part in parts:
                table = as_pandas(part)
                yield event_columns(table, no_time=no_time, first_row=n_rows)
                n_rows += len(table)

        how: dict[str, Any] = {"date_only": date_only, "zone": time_zone}
        how |= {"labels": labels, "stays": stays, "beside": beside}
        return cls._write(columns(), path, **how)

    @classmethod
    def from_omop(
        cls,
        source: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        date_only: str | None = "end_of_day",
        **reading: Any,
    ) -> EventStore:
        """Write the events of an OMOP database into a folder and return the store.

        `source` and `reading` are the parameters of `skfusion.ehr.sources.read_omop`.
        `path` and `date_only` are those of `from_frame`.
        """
        dropped = reading.setdefault("dropped", [])
        labels, stays = (
            reading.setdefault("labels", {}),
            reading.setdefault("stays", []),
        )
        frames = read_omop(source, **reading)
        how: dict[str, Any] = {"date_only": date_only, "labels": labels, "stays": stays}
        return cls._from_source(frames, path, dropped, **how)

    @classmethod
    def from_mimic(
        cls,
        folder: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        date_only: str | None = "end_of_day",
        **reading: Any,
    ) -> EventStore:
        """Write the events of MIMIC-III or MIMIC-IV into a folder and return the store.

        `folder` and `reading` are the parameters of `skfusion.ehr.sources.read_mimic`.
        `path` and `date_only` are those of `from_frame`.
        """
        dropped = reading.setdefault("dropped", [])
        labels, stays = (
            reading.setdefault("labels", {}),
            reading.setdefault("stays", []),
        )
        frames = read_mimic(folder, **reading)
        how: dict[str, Any] = {"date_only": date_only, "labels": labels, "stays": stays}
        return cls._from_source(frames, path, dropped, **how)

    @classmethod
    def from_fhir(
        cls, source: Any, path: str | os.PathLike[str] | None = None, **reading: Any
    ) -> EventStore:
        """Write the events of a FHIR bulk export into a folder and return the store.

        `source` and `reading` are the parameters of `skfusion.ehr.sources.read_fhir`.
        `path` is that of `from_frame`. The parameter ``time_zone`` is also the zone of
        calendar days, of which times without a time zone need none.
        """
        dropped = reading.setdefault("dropped", [])
        labels, stays = (
            reading.setdefault("labels", {}),
            reading.setdefault("stays", []),
        )
        frames = read_fhir(source, **reading)
        first = next(frames, None)
        is_local = first is not None and first["time"].dt.tz is None
        zone = None if is_local else reading.get("time_zone")
        if first is not None:
            frames = chain([first], frames)
        how: dict[str, Any] = {"time_zone": zone, "labels": labels, "stays": stays}
        return cls._from_source(frames, path, dropped, **how)

    @classmethod
    def from_meds(
        cls,
        source: Any,
        path: str | os.PathLike[str] | None = None,
        *,
        date_only: str | None = "end_of_day",
        stays: Any = None,
        **reading: Any,
    ) -> EventStore:
        """Write the events of a MEDS data set into a folder and return the store.

        `source` and `reading` are the parameters of `skfusion.ehr.sources.read_meds`.
        `path`, `date_only` and `stays` are those of `from_frame`. MEDS has no table of
        stays of its own.
        """
        labels = reading.setdefault("labels", {})
        frames = read_meds(source, **reading)
        return cls.from_frame(
            frames,
            path,
            no_time="static",
            date_only=date_only,
            labels=labels,
            stays=stays,
        )

    @classmethod
    def _write(
        cls,
        parts: Iterable[EventColumns],
        path: str | os.PathLike[str] | None = None,
        *,
        date_only: str | None = None,
        moved: Iterable[str] = (),
        zone: str | None = None,
        labels: Mapping[str, str] | pd.Series | None = None,
        stays: list[pd.DataFrame] | None = None,
        beside: Beside | None = None,
    ) -> EventStore:
        target = None
        if path is not None:
            target = Path(os.path.abspath(folder_path(path, "EventStore")))
        if target is not None and target.is_symlink():
            target = target.resolve()
        folder = cache_folder() / "events" if target is None else target.parent
        how: dict[str, Any] = {"date_only": date_only, "moved": moved}
        how |= {"zone": zone, "labels": labels}
        with EventWriter(folder, **how) as writer:
            for part in parts:
                writer.add(part)
            tables = [checked_stays(table) for table in stays or ()]
            table = pd.concat(tables, ignore_index=True) if tables else None
            texts = beside() if beside else None
            place, fingerprint = writer.finish(target, table, texts)
        _opened.cache_clear()  # An earlier store in this folder may be cached.
        store = cls(place, fingerprint)
        store._point_to(place, fingerprint, path)
        return store

    @property
    def subjects(self) -> pd.Index:
        """Return all subjects, in the order of the files."""
        return self.files.subjects

    @property
    def codes(self) -> list[str]:
        """Return all codes."""
        return list(self.files.words("code"))

    @property
    def labels(self) -> pd.Series:
        """Return the names of codes, a Series of text indexed by code.

        The readers take them from the dictionaries of the source. Codes without a name
        are not in it. Features are named by codes, and
        `skfusion.ehr.readable_names` adds the names.
        """
        return as_series_of_labels(self.files.labels)

    @property
    def has_time_zone(self) -> bool:
        """Return whether the times have a time zone, as index times then must."""
        return self.files.zone

    @property
    def has_times(self) -> bool:
        """Return whether any event has a time, i.e. is not static."""
        return bool((np.asarray(self.files.column("time")) != NO_TIME).any())

    def of_subjects(self, subjects: Any) -> pd.DataFrame:
        """Return the events of some subjects.

        Parameters
        ----------
        subjects : array-like
            Subject ids. Ids without events are ignored.

        Returns
        -------
        DataFrame
            All columns of the store, ordered by `subjects` and then by time.
        """
        places = self.subjects.get_indexer(pd.Index(subjects))
        places = places[places >= 0]
        start = self.files.offsets[places]
        n_events = self.files.offsets[places + 1] - start
        shift = start - np.concatenate([[0], n_events.cumsum()[:-1]])[: len(start)]
        rows = np.arange(n_events.sum()) + np.repeat(shift, n_events)
        return event_table(self.files, rows)

    def to_frame(self) -> pd.DataFrame:
        """Return all events as a table, as in `of_subjects`."""
        return self.of_subjects(self.subjects)

    def stays(self, kind: str | Iterable[str] | None = None) -> pd.DataFrame:
        """Return the stays of the subjects, one row per stay.

        Parameters
        ----------
        kind : str, iterable of str or None, default=None
            Kinds to return. None returns all. ``"hospital"`` includes the kind
            ``"observation"``, which is a stay in hospital without formal admission.

        Returns
        -------
        DataFrame
            - ``stay_id`` : the id of the source, an integer of 64 bits or text.
            - ``subject_id`` : the patient.
            - ``kind`` : ``hospital``, ``observation``, ``icu``, ``emergency``, ``unit``
              (another part of a hospital stay), ``outpatient``, ``home``, ``virtual``
              or ``other``.
            - ``start``, ``end`` : times, NaT for the end of an open stay.
            - ``parent_id`` : id of the hospital stay of which this one is a part, null
              if the source names none.
            - ``died`` : whether the patient died in this stay, NA if not known.
            - ``discharged_to`` : ``home``, ``home_care``, ``skilled_facility``,
              ``rehabilitation``, ``long_term_care``, ``psychiatric``, ``hospice``,
              ``other_hospital``, ``against_advice``, ``admitted`` (from an emergency
              department), ``died``, ``other``, or null.
            - ``source_kind``, ``source_discharge`` : the words of the source.

        Raises
        ------
        ValueError
            If the store has no stays, or a kind is unknown.

        See Also
        --------
        skfusion.ehr.cases_from_stays : Cases with an index time and an outcome.

        Notes
        -----
        ``died`` and ``discharged_to`` are known at the end of a stay only. They are
        outcomes and never become features by themselves.

        Ids are unique among the whole stays of a subject and a kind, and among the
        parts, because a source may number them independently. Emergency stays of MIMIC
        have the id of their admission, unless the table ``edstays`` exists.

        If a source does not say how a stay ended, ``died`` follows from the time of
        death. If only the day of death is known, the patient died in the last stay of
        that day. Without a recorded death, ``died`` is False if the source records
        deaths of others, and NA otherwise.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion import EventStore
        >>> events = pd.DataFrame({
        ...     "subject_id": [7], "time": pd.to_datetime(["2024-03-01 08:30"]),
        ...     "code": ["LAB//creatinine"], "numeric_value": [1.1],
        ... })
        >>> stays = pd.DataFrame({
        ...     "stay_id": [100], "subject_id": [7],
        ...     "start": pd.to_datetime(["2024-03-01 06:00"]),
        ...     "end": pd.to_datetime(["2024-03-04 12:00"]),
        ...     "died": [False], "discharged_to": ["home"],
        ... })
        >>> store = EventStore.from_frame(events, stays=stays)
        >>> store.stays("hospital")[["stay_id", "kind", "discharged_to"]]
           stay_id      kind discharged_to
        0      100  hospital          home
        """
        found = self.files.stays()
        if found is None:
            raise ValueError(
                "EventStore: got a store without stays. Stores of MEDS and of a table "
                "have them only if stays= is given to from_meds or from_frame. Stores "
                "of MIMIC, OMOP and FHIR have them unless the source has no table of "
                "stays or they were written by an earlier version: read the source "
                "again."
            )
        if kind is None:
            return found
        return of_kind(found, kind, "EventStore.stays").reset_index(drop=True)

    def report(self, units: Units | None = None) -> pd.DataFrame:
        """Return a summary table with one row per code.

        Parameters
        ----------
        units : Units or None, default=None
            If given, return counts of unit conversions instead, as in `Units.report`.

        Returns
        -------
        DataFrame
            Indexed by code: ``n_events``, ``n_subjects``, ``n_values`` (events with a
            numeric value), ``units`` (number of events by unit), ``date_only`` (whether
            the events were moved to the end of their day). If the store has names of
            codes, ``label`` is the first column.
        """
        if units is not None:
            return report_units(self.files, units)
        return report_events(self.files)

    def quality(self) -> QualityReport:
        """Check the events for what a data scientist should know first.

        Returns
        -------
        QualityReport
            Rows that were left out when the source was read, duplicates, codes in
            several units, words for no result, unknown units, implausible values, codes
            of no vocabulary, unknown availability, dates without a time, subjects
            without a birth, events outside of a life, and months without events. It
            prints on one screen, and `QualityReport.frame` has all findings.
        """
        return quality_report(self.files, self.files.dropped)

    def with_lags(self, lags: Mapping[str, Any]) -> EventStore:
        """Return a store with events that become available after a delay.

        Parameters
        ----------
        lags : mapping of str to timedelta or str
            Code prefix -> delay until an event becomes available, such as ``"2h"``. The
            longest prefix wins. A later ``available_time`` is kept.

        Returns
        -------
        EventStore
            A new store.

        Warns
        -----
        DataWarning
            If no code begins with a prefix.
        """
        return self._changed(lagging(self.codes, lags))

    def map_codes(self, mapping: Mapping[str, Any] | Callable[..., Any]) -> EventStore:
        """Return a store with mapped codes.

        Parameters
        ----------
        mapping : mapping, CodeMap or callable
            Code -> code, list of codes (the event is repeated for each) or None (the
            event is dropped). Codes that are not in a mapping are kept. An object with
            a method ``table``, such as `skfusion.ehr.CodeMap`, returns all groups of
            each code. A function takes a Series of codes and returns a Series.

        Returns
        -------
        EventStore
            A new store. Of its `labels`, a code that is kept has its name. A new code
            has the name of the codes that become it, if all have the same one and none
            of them becomes another code too. Groups of an object with a method
            ``table`` have none, because the name of a member is not that of its group.

        Warns
        -----
        DataWarning
            If the store has no code of a mapping, so that nothing changes.
        """
        warn_of_no_match(self.codes, mapping, "map_codes")
        groups = groups_of(self.codes, mapping)
        moves = dict(zip(self.codes, groups, strict=True))
        if hasattr(mapping, "table"):
            moves = {old: new for old, new in moves.items() if old in new}
        labels = carried_labels(self.files.labels, moves)
        return self._changed(grouping(groups), labels=labels)

    def convert_units(self, units: Callable[..., pd.DataFrame]) -> EventStore:
        """Return a store with values converted to other units.

        Parameters
        ----------
        units : callable
            Function of three Series (codes, values and units) that returns a DataFrame
            with the columns ``code``, ``numeric_value`` and ``unit``, such as
            `skfusion.ehr.Units`.

        Returns
        -------
        EventStore
            A new store. Codes that are parts of another one, such as those with a unit
            at the end, have its name in `labels`.

        Warns
        -----
        DataWarning
            If the store has no code of a `skfusion.ehr.Units`, so that nothing changes.
        """
        if isinstance(units, Units):
            warn_of_no_match(self.codes, units.codes, "convert_units")
        change = UnitChange(units)
        store = self._changed(change, moves=change.moves)
        change.warn()
        return store

    def read_text(self, parser: Callable[..., pd.DataFrame]) -> EventStore:
        """Return a store with numeric values parsed from text values.

        Parameters
        ----------
        parser : callable
            Function of a Series of texts that returns a DataFrame with the columns
            ``numeric_value`` and optionally ``unit``, such as
            `skfusion.ehr.parse_values`. Existing values and units are kept.

        Returns
        -------
        EventStore
            A new store. Texts are kept, so that values such as "<0.1" remain
            recognisable.
        """
        return self._changed(parsing(parser))

    def with_time_zone(self, time_zone: str) -> EventStore:
        """Return a store with another time zone of calendar days.

        The times do not change. The zone determines the days that the statistic
        ``n_days`` of `EventWindows` counts, such as for events that were exported in
        UTC.

        Parameters
        ----------
        time_zone : str
            Name of the zone, such as ``"Europe/Berlin"``.

        Returns
        -------
        EventStore
            A new store.

        Raises
        ------
        ValueError
            If the zone is unknown, or the times have no time zone.
        """
        check_zone(time_zone)
        return self._changed(lambda events: events, zone=time_zone)

    def verify(self) -> None:
        """Read the whole content and compare it with the fingerprint.

        Each use of a store compares the sizes and times of the files only. This detects
        damage that leaves them unchanged, such as that of a disk. Which events belong
        to which subject, and the texts, are compared with their digest anyway.

        Raises
        ------
        ValueError
            If the content differs.
        FileNotFoundError
            If the folder does not exist.
        """
        self._open().verify()

    @property
    def files(self) -> EventFiles:
        """Return the files, after checking that they are unchanged."""
        files = self._open()
        files.check()
        return files

    def _open(self) -> EventFiles:
        folder = self._folder()
        if not (folder / MANIFEST).exists():
            _opened.cache_clear()  # To say that the folder is missing.
        files = _opened(folder, self.fingerprint)
        if files.has_changed():
            # Another process may have written them again, and old ones may be mapped.
            _opened.cache_clear()
            files = _opened(folder, self.fingerprint)
        return files

    def _changed(
        self,
        change: Change,
        *,
        zone: str | None = None,
        labels: Mapping[str, str] | None = None,
        moves: Mapping[str, list[str]] | None = None,
    ) -> EventStore:
        """Return a store of changed events, written in pieces.

        `labels` are the names of its codes, by default those of this store. `moves`
        has the codes that replaced each code, when the last piece was changed.
        """
        files = self.files
        names = dict(files.labels if labels is None else labels)

        def pieces() -> Iterator[EventColumns]:
            for piece in event_pieces(files):
                yield change(piece)
            if moves is not None:
                names.update(carried_labels(files.labels, moves, is_split=True))

        stays = files.stays()
        how: dict[str, Any] = {"zone": zone or files.zone_name, "labels": names}
        how["stays"] = None if stays is None else [stays]
        return self._write(pieces(), moved=files.date_only, **how)

    def __repr__(self) -> str:
        if not (self._folder() / MANIFEST).exists():
            return f"EventStore(missing, fingerprint {self.fingerprint[:8]})"
        n_events, n_codes = self.files.n_events, len(self.files.words("code"))
        return (
            f"EventStore({n_events:,} events, {len(self.subjects):,} subjects, "
            f"{n_codes:,} codes)"
        )


def as_store(events: Any, owner: str) -> EventStore:
    """Return `events` as an EventStore.

    Parameters
    ----------
    events : EventStore or path
        A store or the path of its folder.
    owner : str
        Name of the estimator for the error message.

    Returns
    -------
    EventStore

    Raises
    ------
    TypeError
        If `events` is of another type.
    """
    if isinstance(events, EventStore):
        return events
    if isinstance(events, str | os.PathLike):
        return EventStore(events)
    raise TypeError(
        f"{owner}: events must be an EventStore or the path of one, got "
        f"{type(events).__name__}. Create one from a table with "
        "EventStore.from_frame(table)."
    )


def check_zone(name: Any) -> None:
    """Raise a ValueError if a name is not that of a time zone or None."""
    if name is None:
        return
    try:
        pd.Timestamp(0, tz="UTC").tz_convert(name)
    except (ValueError, KeyError, TypeError, OSError):
        raise ValueError(
            "EventStore: time_zone must be a name such as 'Europe/Berlin', got "
            f"{name!r}."
        ) from None


def _check_subjects(stays: pd.DataFrame, subjects: pd.Index) -> None:
    """Warn about stays of subjects without events."""
    is_strange = ~stays["subject_id"].isin(subjects)
    if is_strange.any():
        warn_user(
            f"EventStore: got {int(is_strange.sum()):,} of {len(stays):,} stays of "
            "subjects without events. Check that subject_id is the same id in both.",
            DataWarning,
        )


def _check_fingerprint(place: Path, found: str, wanted: str | None) -> None:
    if wanted is not None and wanted != found:
        raise ValueError(
            f"EventStore: got events in {place} that do not match the fingerprint "
            "of this store, or of a model that contains it. Write the original "
            "events again. To predict for other events with a fitted model, use "
            "skfusion.ehr.with_events(model, store)."
        )


@lru_cache(maxsize=32)
def _opened(path: Path, fingerprint: str) -> EventFiles:
    """Return the files of a store, opened once per process."""
    files = EventFiles(path)
    _check_fingerprint(path, files.fingerprint, fingerprint)
    return files
