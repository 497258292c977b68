"""Images of each case, of what was available before its index time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_option, did_you_mean, ids_of
from skfusion.cohorts.flow import ATTRIBUTE as FLOW
from skfusion.cohorts.image_table import as_frame, patient_ids
from skfusion.cohorts.instants import UNKNOWN, check_time_zone, duration_of, instants_of
from skfusion.cohorts.link_search import Finder, Seen, texts_of
from skfusion.cohorts.reports import ATTRIBUTE, CASES, IMAGES
from skfusion.exceptions import DataWarning, LeakageWarning, warn_user

__all__ = ["link_images"]


OWNER = "link_images"
SELECTIONS = ("last", "first", "all")
DATES = ("end_of_day", None)


def link_images(
    cases: Any,
    images: Any,
    on: str | Sequence[str],
    index_time: str = "index_time",
    window: Any = None,
    select: str | Callable[[pd.DataFrame], Any] = "last",
    reporting_delay: Any = None,
    *,
    column: str = "image",
    with_times: bool = False,
    time_zone: str | None = None,
    date_only: str | None = "end_of_day",
    near: Any = "1h",
) -> pd.DataFrame:
    """Add the images of each case that were available before its index time.

    Parameters
    ----------
    cases : DataFrame of shape (n_cases, n_columns)
        One row per case, with a patient and an index time.
    images : DataFrame of shape (n_images, n_columns)
        One row per image, as `scan_images`, `read_mimic_cxr`, `read_omop_images` and
        `read_fhir_images` return. The columns ``path``, that of the patient, and one of
        ``acquired`` and ``available`` are required. ``study`` and ``series_number`` are
        used if they exist.
    on : str, or (str, str)
        Column of the patient in both tables, or its names in `cases` and in `images`.
    index_time : str, default="index_time"
        Column of `cases` with the index time.
    window : str, timedelta, timedelta64 or None, default=None
        Longest time between the acquisition of an image and the index time. None takes
        images of any age.
    select : {"last", "first", "all"} or callable, default="last"
        Which of the images of a case are linked. ``"last"`` and ``"first"`` are by the
        time of acquisition, of equal times by the series number, then by the path.
        ``"all"`` gives bags in this order. A callable gets the rows of `images` that a
        case can see, in this order and with a new index, and returns some of them as a
        DataFrame, a label, a list of labels, or None.
    reporting_delay : str, timedelta, timedelta64 or None, default=None
        Time between the acquisition and the availability of images for which
        ``available`` is not known. None is 0, with a warning. `link_report` states the
        number of these images and the delay.
    column : str, default="image"
        Name of the new column. The time of the acquisition of its latest image is in
        ``f"{column}_time"``.
    with_times : bool, default=False
        Whether bags consist of pairs (path, time of acquisition), which
        ``ImageEmbedder(bag_pooling="recent")`` needs.
    time_zone : str or None, default=None
        Time zone, such as "Europe/Berlin", of times without one. It is needed if only
        some of the times have a time zone.
    date_only : {"end_of_day", None}, default="end_of_day"
        Treatment of times of images at midnight, which are dates as a rule.
        ``"end_of_day"`` moves them to the last microsecond of their day. None takes
        them as they are. Cells that are dates, or texts of a date, are always moved.
    near : str, timedelta or timedelta64, default="1h"
        Distance from the index time that the report counts as near.

    Returns
    -------
    DataFrame of shape (n_cases, n_columns + 2)
        The cases in their order and with their index. Cells of the new column are a
        path (``"last"``, ``"first"``, a label), a bag, i.e. a list of paths, or None.

    Raises
    ------
    ValueError
        If a column is missing or would be overwritten, a parameter is unknown, or only
        some of the times have a time zone and `time_zone` is None.
    TypeError
        If a column has the wrong dtype, or patients are text in one table and numbers
        in the other.

    Warns
    -----
    LeakageWarning
        With the number of images whose availability is not known, so that it is the
        time of acquisition, unless `reporting_delay` is given. Also with the number of
        paths that are listed for several patients.
    DataWarning
        With the numbers of images without a patient, path or time, of images listed
        twice, of series numbers that are no numbers, and of cases without a patient or
        index time. Also if no patient of the cases has an image.

    See Also
    --------
    link_report : Cases without images, images without cases, and cases near the border.

    Notes
    -----
    An image counts if both its acquisition and its availability are before the index
    time. An index time that is a date is the start of its day, and the time of an image
    that is a date the end of its day, so that neither is seen too early. Of a clock
    that is put back, an image is at the later and an index time at the earlier one of
    the two possible times.

    Only the rows of the same patient are compared. Spaces around text ids do not count,
    and blank text, or a word such as "nan", is no patient. An image that is listed
    twice for a patient has the later one of its times.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.cohorts import link_images
    >>> cases = pd.DataFrame({
    ...     "subject_id": [7, 9],
    ...     "index_time": pd.to_datetime(["2024-03-02 06:00", "2024-03-03 09:00"])})
    >>> images = pd.DataFrame({
    ...     "patient": [7, 7, 7], "path": ["a.dcm", "b.dcm", "c.dcm"],
    ...     "acquired": ["2024-03-01", "2024-03-02 05:00", "2024-03-02 06:00"],
    ...     "available": ["2024-03-01", "2024-03-02 05:30", "2024-03-02 07:00"]})
    >>> on = ("subject_id", "patient")
    >>> link_images(cases, images, on=on)["image"].tolist()
    ['b.dcm', None]
    >>> link_images(cases, images, on=on, select="all")["image"].tolist()
    [['a.dcm', 'b.dcm'], None]
    """
    if not callable(select):
        check_option(select, "select", SELECTIONS, OWNER)
    check_option(date_only, "date_only", DATES, OWNER)
    check_time_zone(time_zone, OWNER)
    longest = None if window is None else _length(window, "window")
    waits = 0 if reporting_delay is None else reporting_delay
    delay, border = _length(waits, "reporting_delay"), _length(near, "near")
    table, pictures = as_frame(cases, "cases", OWNER), as_frame(images, "images", OWNER)
    names = _columns(table, pictures, on, index_time, column)
    clock = _Clock(time_zone, date_only is not None)
    seen = _seen(table, pictures, names, index_time, delay, clock)
    finder = Finder(seen, longest)
    rows, cells, latest = _selected(finder, pictures, select, with_times)
    found = table.copy()
    found[column] = pd.Series(cells, index=table.index, dtype=object)
    times = pd.Series(latest.view("datetime64[us]"), index=table.index)
    if seen.has_zone:
        times = times.dt.tz_localize("UTC")
    found[f"{column}_time"] = times
    counts = _counts(finder, rows, border)
    counts["near"] = str(near)
    counts["assumed"] = seen.n_assumed
    counts["delay"] = str(waits)
    found.attrs = _attributes(table, column, counts)
    _warn(seen, counts, reporting_delay)
    return found


def _length(given: Any, name: str) -> int:
    """Return a duration in microseconds."""
    return int(duration_of(given, name, OWNER) // pd.Timedelta(1, "us"))


# -- reading of the tables ------------------------------------------------------------


def _columns(
    cases: pd.DataFrame,
    images: pd.DataFrame,
    on: Any,
    index_time: str,
    column: str,
) -> tuple[Any, Any]:
    """Return the columns of the patient in both tables, after checking all names."""
    pair = (on, on) if not isinstance(on, list | tuple) else tuple(on)
    if len(pair) == 1:
        pair = pair * 2
    if len(pair) != 2:
        raise ValueError(
            f"{OWNER}: on must be a column, or its two names in cases and images, got "
            f"{on!r}."
        )
    for name, table, of in (
        (pair[0], cases, "cases"),
        (index_time, cases, "cases"),
        (pair[1], images, "images"),
        ("path", images, "images"),
    ):
        names = list(map(str, table.columns))
        if names.count(str(name)) != 1:
            raise ValueError(
                f"{OWNER}: {of} must have one column {name!r}, got {names}."
                f"{did_you_mean(name, names)}"
            )
    if not {"acquired", "available"} & set(images.columns):
        raise ValueError(
            f"{OWNER}: images must have the column 'acquired' or 'available', got "
            f"{list(map(str, images.columns))}."
        )
    for new in (column, f"{column}_time"):
        if new in cases.columns:
            raise ValueError(
                f"{OWNER}: cases have a column {new!r} already. Set column to another "
                "name."
            )
    return pair[0], pair[1]


@dataclass(frozen=True)
class _Clock:
    """How times are read: the zone of local ones, and whether midnight is a date."""

    time_zone: str | None
    midnight_is_date: bool


def _seen(
    cases: pd.DataFrame,
    images: pd.DataFrame,
    names: tuple[Any, Any],
    index_time: str,
    delay: int,
    clock: _Clock,
) -> Seen:
    case_patient, patient = _patients(cases[names[0]], images[names[1]], names)
    index = instants_of(
        cases[index_time],
        str(index_time),
        OWNER,
        time_zone=clock.time_zone,
        dates_end=False,
        late=False,
    )
    zones = {"the index times": index.has_zone}
    times = {}
    for name in ("acquired", "available"):
        times[name] = np.full(len(images), UNKNOWN)
        if name in images:
            read = instants_of(
                images[name],
                name,
                OWNER,
                time_zone=clock.time_zone,
                midnight_is_date=clock.midnight_is_date,
            )
            times[name], zones[f"{name!r} of images"] = read
    has_zone = _one_clock(zones)
    acquired, available = times["acquired"], times["available"]
    assumed = (available == UNKNOWN) & (acquired != UNKNOWN)
    known = np.where(assumed, acquired + delay, available)
    order = np.where(acquired == UNKNOWN, available, acquired)
    paths = images["path"].to_numpy(object)
    seen = Seen(
        case_patient,
        index.numbers,
        patient,
        order,
        np.maximum(known, order),
        paths,
        texts_of(paths),
        _series_numbers(images),
        _codes(images["study"]) if "study" in images else None,
        np.ones(len(images), dtype=bool),
        {},
        0,
        0,
        has_zone,
    )
    _leave_out(seen)
    seen.n_assumed = int((assumed & seen.usable).sum())
    return seen


def _one_clock(zones: dict[str, bool | None]) -> bool:
    """Return whether all times have a time zone, which none or all must."""
    known = {name: zone for name, zone in zones.items() if zone is not None}
    if len(set(known.values())) > 1:
        with_zone = [name for name, zone in known.items() if zone]
        without = [name for name, zone in known.items() if not zone]
        raise ValueError(
            f"{OWNER}: got a time zone in {' and '.join(with_zone)}, but none in "
            f"{' and '.join(without)}, so that they may differ by hours. Set time_zone "
            "to the zone of the times without, such as 'Europe/Berlin'."
        )
    return any(known.values())


def _patients(
    of_cases: pd.Series, of_images: pd.Series, names: tuple[Any, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the patients of both tables as equal numbers, -1 for nulls."""
    sides = []
    for column, name in zip((of_cases, of_images), names, strict=True):
        column = ids_of(column)
        there = column.notna().to_numpy(bool)
        sides.append((there, patient_ids(column[there], str(name), OWNER)))
    kinds = {ids.dtype.kind for there, ids in sides if there.any()}
    if len(kinds) > 1:
        words = ["text" if ids.dtype.kind == "O" else "integers" for _, ids in sides]
        raise TypeError(
            f"{OWNER}: patients are {words[0]} in {names[0]!r} of cases and {words[1]} "
            f"in {names[1]!r} of images, so that none would match. Convert one, e.g. "
            "with astype(str), and check that the ids are of the same kind."
        )
    codes = pd.factorize(np.concatenate([ids for _, ids in sides]))[0]
    found = []
    for there, ids in sides:
        numbers = np.full(len(there), -1, dtype=np.int64)
        numbers[there], codes = codes[: len(ids)], codes[len(ids) :]
        found.append(numbers)
    return found[0], found[1]


def _series_numbers(images: pd.DataFrame) -> np.ndarray:
    """Return the series numbers, of which unknown ones are the smallest."""
    if "series_number" not in images:
        return np.zeros(len(images))
    given = images["series_number"]
    numbers = pd.to_numeric(given, errors="coerce")
    n_unread = int((numbers.isna() & given.notna()).sum())
    if n_unread:
        warn_user(
            f"{OWNER}: {n_unread} of {len(images)} cells of 'series_number' are no "
            "numbers. Of images of one time, these are the first.",
            DataWarning,
        )
    return numbers.astype("Float64").to_numpy(float, na_value=-np.inf)


def _codes(column: pd.Series) -> np.ndarray:
    return pd.factorize(column.astype(object))[0]


def _leave_out(seen: Seen) -> None:
    """Mark images that cannot be linked, each for one reason."""
    there = np.array([bool(text.strip()) for text in seen.text], dtype=bool)
    for reason, bad in (
        ("no_path", ~there),
        ("no_patient", seen.patient < 0),
        ("no_time", seen.order == UNKNOWN),
    ):
        # Their patients have images, although none of a known time.
        seen.unused[reason] = int((bad & seen.usable).sum())
        seen.usable &= ~bad
    rows = np.flatnonzero(seen.usable)
    paths = pd.factorize(seen.text[rows])[0]
    # Of an image that is listed twice, the later times count, in any order of rows.
    times = (seen.series_number[rows], seen.order[rows], seen.effective[rows])
    late = np.lexsort((*times, paths, seen.patient[rows]))
    patient, path = seen.patient[rows][late], paths[late]
    again = (patient[1:] == patient[:-1]) & (path[1:] == path[:-1])
    seen.usable[rows[late[:-1][again]]] = False
    seen.unused["repeated"] = int(again.sum())
    kept = seen.usable[rows]
    n_owners = np.bincount(paths[kept]) if kept.any() else np.zeros(0)
    seen.n_shared = int((n_owners > 1).sum())
    is_case = np.isin(seen.patient, seen.case_patient[seen.case_patient >= 0])
    seen.unused["of_others"] = int((seen.usable & ~is_case).sum())
    seen.unused["of_cases"] = int((seen.usable & is_case).sum())


# -- selection ------------------------------------------------------------------------


def _selected(
    finder: Finder,
    images: pd.DataFrame,
    select: str | Callable[[pd.DataFrame], Any],
    with_times: bool,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return whether a case has an image, the cells, and the latest times."""
    seen = finder.seen
    cells = np.full(len(seen.index), None, dtype=object)
    latest = np.full(len(seen.index), UNKNOWN)
    paths = seen.path
    if isinstance(select, str) and select != "all":
        place = finder.single(select == "last")
        has = place >= 0
        rows = finder.rows[place[has]]
        cells[has], latest[has] = paths[rows], seen.order[rows]
        return has, cells, latest
    for cases, rows, starts in _bags(finder):
        single = np.zeros(len(starts), dtype=bool)
        if callable(select):
            cases, rows, starts, single = _of_callable(
                select, images, rows, cases, starts
            )
        if not len(starts):
            continue
        latest[cases] = np.maximum.reduceat(seen.order[rows], starts)
        parts = paths[rows].tolist()
        if with_times:
            times = seen.order[rows].view("datetime64[us]")
            zone = "UTC" if seen.has_zone else None
            stamps = pd.DatetimeIndex(times, tz=zone).to_list()
            parts = list(zip(parts, stamps, strict=True))
        stops = [*starts[1:].tolist(), len(rows)]
        for case, start, stop in zip(cases, starts.tolist(), stops, strict=True):
            cells[case] = parts[start:stop]
        for case, start in zip(cases[single], starts[single], strict=True):
            cells[case] = paths[rows[start]]
    return latest != UNKNOWN, cells, latest


def _bags(finder: Finder) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield cases that see images, rows of images in order, and starts in these."""
    for cases, places in finder.pairs():
        starts = np.flatnonzero(np.diff(cases, prepend=-1))
        yield cases[starts], finder.rows[places], starts


def _of_callable(
    select: Callable[[pd.DataFrame], Any],
    images: pd.DataFrame,
    rows: np.ndarray,
    cases: np.ndarray,
    starts: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the cases, rows and starts that remain, and which cases have a path."""
    kept = [rows[:0]]
    single = np.zeros(len(cases), dtype=bool)
    sizes = np.zeros(len(cases), dtype=np.intp)
    bags = np.split(rows, starts[1:]) if len(starts) else []
    for place, bag in enumerate(bags):
        chosen, is_bag = _chosen(select, images, bag)
        kept.append(chosen)
        sizes[place], single[place] = len(chosen), not is_bag
    has = sizes > 0
    starts = np.concatenate([[0], np.cumsum(sizes[has])])[:-1].astype(np.intp)
    return cases[has], np.concatenate(kept), starts, single[has]


def _chosen(
    select: Callable[[pd.DataFrame], Any], images: pd.DataFrame, rows: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Return the rows that a callable selects, and whether they are a bag."""
    offered = images.iloc[rows].reset_index(drop=True)
    answer = select(offered)
    if answer is None:
        return rows[:0], False
    is_bag = True
    if isinstance(answer, pd.DataFrame):
        labels: Any = list(answer.index)
    elif isinstance(answer, pd.Series) and answer.index.equals(offered.columns):
        labels, is_bag = [answer.name], False
    elif isinstance(answer, list | tuple | np.ndarray | pd.Index | pd.Series):
        labels = list(answer)
        if len(labels) == len(rows) and all(
            isinstance(label, bool | np.bool_) for label in labels
        ):
            labels = list(np.flatnonzero(labels))
    else:
        labels, is_bag = [answer], False
    known = [
        isinstance(label, int | np.integer)
        and not isinstance(label, bool)
        and 0 <= label < len(rows)
        for label in labels
    ]
    if not all(known) or len(set(labels)) < len(labels):
        raise ValueError(
            f"{OWNER}: select must return some of the rows that it got, their labels "
            f"from 0 to {len(rows) - 1}, or None, got {type(answer).__name__} with "
            f"{known.count(False)} unknown or repeated labels."
        )
    return rows[np.array(labels, dtype=np.intp)], is_bag


def _attributes(
    cases: pd.DataFrame, column: str, counts: dict[str, Any]
) -> dict[Any, Any]:
    """Return the attributes of the cases, with the counts of links."""
    links = {**cases.attrs.get(ATTRIBUTE, {}), column: counts}
    found: dict[Any, Any] = {**cases.attrs, ATTRIBUTE: links}
    flow = found.get(FLOW)
    if flow:
        parts = {**flow["parts"], f"with {column}": counts["cases"]["linked"]}
        found[FLOW] = {**flow, "parts": parts}
    return found


# -- report ---------------------------------------------------------------------------


def _counts(finder: Finder, has: np.ndarray, near: int) -> dict[str, Any]:
    seen = finder.seen
    n_patients = int(
        max(seen.patient.max(initial=-1), seen.case_patient.max(initial=-1))
    )
    size = n_patients + 1
    listed = np.zeros(size + 1, dtype=bool)  # the last one is of unknown patients
    timed = listed.copy()
    listed[seen.patient[seen.text != ""]] = True
    timed[seen.patient[finder.rows]] = True
    listed[-1] = timed[-1] = False
    sees = finder.single(last=True) >= 0
    before, after = finder.nearest()
    patient = seen.case_patient
    reasons = {
        "linked": has,
        "no_key": ~finder.has_key,
        "no_image": ~listed[patient],
        "unknown_time": ~timed[patient],
        "too_late": before < 0,
        "too_early": ~sees,
        "not_selected": np.ones(len(has), dtype=bool),
    }
    left = np.ones(len(has), dtype=bool)
    cases = {}
    for reason in CASES:
        part = reasons[reason] & left
        cases[reason], left = int(part.sum()), left & ~part
    several, studies = _several(finder)
    also = {
        "several": several,
        "several_studies": studies,
        "near_before": int(((before >= 0) & (before <= near)).sum()),
        "near_after": int(((after >= 0) & (after <= near)).sum()),
    }
    images = {key: seen.unused[key] for key in IMAGES}
    return {"cases": cases, "images": images, "also": also, "shared": seen.n_shared}


def _several(finder: Finder) -> tuple[int, int | None]:
    """Return how many cases see several images, and several studies."""
    n_cases = len(finder.seen.index)
    several = np.zeros(n_cases, dtype=bool)
    studies = several.copy()
    study = finder.seen.study
    for case, place in finder.pairs():
        first = np.diff(case, prepend=-1) != 0
        several[case[~first]] = True
        if study is not None:
            of_image = study[finder.rows[place]]
            of_first = np.repeat(
                of_image[first], np.diff([*np.flatnonzero(first), len(case)])
            )
            studies[case[of_image != of_first]] = True
    return int(several.sum()), None if study is None else int(studies.sum())


def _warn(seen: Seen, counts: dict[str, Any], delay: Any) -> None:
    leaks, losses = [], []
    if seen.n_assumed and delay is None:
        leaks.append(
            f"{seen.n_assumed} of {len(seen.patient)} images have no time of "
            "availability, and count from their acquisition on. Set reporting_delay to "
            "the time until an image can be used, '0h' if it is none."
        )
    if seen.n_shared:
        leaks.append(
            f"{seen.n_shared} paths are listed for several patients. Keep the right "
            "one, or one id per patient."
        )
    if leaks:
        warn_user(f"{OWNER}: {' '.join(leaks)}", LeakageWarning)
    cases, images = counts["cases"], counts["images"]
    lost = [
        f"{images[key]} {text}"
        for key, text in IMAGES.items()
        if images[key] and key not in ("of_cases", "of_others")
    ]
    if lost:
        losses.append(f"of {len(seen.patient)} images, left out {', '.join(lost)}.")
    if cases["no_key"]:
        losses.append(
            f"{cases['no_key']} of {len(seen.index)} cases have no patient or index "
            "time, and no image."
        )
    if len(seen.index) and len(seen.patient) and not images["of_cases"]:
        losses.append(
            "no image is of a patient with a case. Check that both columns have the "
            "same kind of id."
        )
    if losses:
        warn_user(f"{OWNER}: {' '.join(losses)}", DataWarning)
