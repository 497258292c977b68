"""Cases of a study, with index times, outcomes and counted exclusions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._validation import check_option, did_you_mean, ids_of
from skfusion.cohorts.flow import ATTRIBUTE
from skfusion.cohorts.image_table import as_frame, patient_ids
from skfusion.cohorts.instants import UNKNOWN, duration_of, instants_of
from skfusion.cohorts.link_search import count_before
from skfusion.ehr.cases import cases_from_stays
from skfusion.ehr.events.columns import NO_TIME
from skfusion.ehr.events.reader import event_table
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.sources.stays.vocabulary import HOSPITAL_KINDS, KINDS, of_kind
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["make_cases"]


OWNER = "make_cases"
DEATH = "MEDS_DEATH"
STAYS, DIED, STAYED = "stays", "died", "stay"
WHICH = ("first", "all")
UNOBSERVED = ("negative", "drop")
OPEN = ("drop", "keep")
_DAY = pd.Timedelta(1, "D")
# Columns of the result that a given table of index times cannot keep.
_WRITTEN = ("stay_id", "kind", "end", "died", "outcome")
UNKNOWN_OUTCOME = "have an unknown outcome"


def make_cases(
    events: Any,
    index: Any = STAYS,
    after: Any = None,
    *,
    at_least: Any = None,
    kind: str | Iterable[str] = "hospital",
    which: str = "first",
    outcome: str | Iterable[str] | None = DIED,
    horizon: Any = None,
    prior: str = "keep",
    unobserved: str = "negative",
    exclude: Mapping[str, Callable[[pd.DataFrame], Any]] | None = None,
    first_only: bool = False,
    open_stays: str = "drop",
) -> pd.DataFrame:
    """Return cases with an index time and an outcome, and count who is left out.

    The same lines work for stores of MIMIC, OMOP and FHIR, whose stays have the same
    kinds.

    Parameters
    ----------
    events : EventStore, or DataFrame of stays
        A store. Without outcomes from events, a table of stays is enough.
    index : "stays", str, list of str or DataFrame, default="stays"
        Where index times come from. ``"stays"`` takes the start of each stay of `kind`.
        Patterns of codes, such as ``"PROCEDURE//*"``, take the time at which a matching
        event was available. A table has the columns ``subject_id`` and ``index_time``,
        and others that are kept.
    after : str, timedelta, timedelta64 or None, default=None
        Time between the start of the stay, or the event, and the index time. None is
        ``"24h"`` for stays and 0 otherwise.
    at_least : str, timedelta, timedelta64 or None, default=None
        Smallest length of a stay, see `~skfusion.ehr.cases_from_stays`.
    kind : str or iterable of str, default="hospital"
        Kinds of stays, see `EventStore.stays`. For other index times, the stay of this
        kind in which the index time is.
    which : {"first", "all"}, default="first"
        Whether the first matching event of a subject, or every one, is an index event.
    outcome : str, iterable of str or None, default="died"
        What is to be predicted, one or several of which one is enough. ``"died"`` is a
        death in the stay or, with `horizon`, within that time, also after discharge if
        the source has such deaths. ``"stay"`` is a stay that lasts longer than
        `horizon` after the index time. Alone, it counts early deaths as short stays,
        with a warning. Use ``["died", "stay"]``, or leave them out with `exclude`.
        Everything else is a pattern of codes of events from the index time on. None
        makes no outcome.
    horizon : str, timedelta, timedelta64 or None, default=None
        Time after the index time in which the outcome counts, without its end. It is
        not counted from admission: with ``after="24h"``, stays of more than seven days
        are those of ``horizon="6d"``. None is the whole stay for ``"died"``, and any
        time for codes.
    prior : {"keep", "drop"}, default="keep"
        Treatment of cases that had an event of the outcome before the index time.
    unobserved : {"negative", "drop"}, default="negative"
        Treatment of cases without the outcome whose record ends before the horizon
        does. ``"negative"`` takes a record that ends as one without the outcome.
        ``"drop"`` leaves out cases without the outcome only, most of whom were
        discharged as a rule, so that the rate of the outcome becomes higher.
    exclude : mapping of str to callable or None, default=None
        Further exclusions, in this order: the reason, such as ``"are minors"``, and a
        function of the cases that returns which ones to leave out.
    first_only : bool, default=False
        Whether to keep only the first case of each patient.
    open_stays : {"drop", "keep"}, default="drop"
        Treatment of stays without an end.

    Returns
    -------
    DataFrame
        One row per case, by subject and index time, with the columns ``subject_id``,
        ``stay_id``, ``kind``, ``index_time``, for stays the columns of
        `~skfusion.ehr.cases_from_stays`, and ``outcome`` (bool). `flow_chart` returns
        the flow chart of the table, whose counts are in its ``attrs``.

    Raises
    ------
    ValueError
        If no case remains, a parameter is unknown, an outcome needs `horizon` or
        events, or no code matches.
    TypeError
        If `events` or `index` has the wrong type, or subjects are text in one and
        numbers in the other.

    Warns
    -----
    DataWarning
        With the numbers of cases whose outcome is unknown, of those whose record ends
        before the horizon does, of deaths that count as short stays, and of given index
        times of subjects without events.
        Also if `at_least` is longer than `after`, or columns of `index` are replaced.
        Exclusions that were asked for are counted in the flow chart only.

    See Also
    --------
    flow_chart : Counts of the exclusions as a figure.
    link_images : Images of the cases.

    Notes
    -----
    All columns apart from ``subject_id`` and ``index_time`` are known later than the
    index time. Do not use them as features.

    An event at the index time is not visible to a model, and counts as an outcome. The
    outcome is unknown, and the case is left out, if the source does not say whether a
    patient died, or a stay is open. With `horizon`, this concerns the stay of the case
    and later ones in a hospital that ended before the horizon does, of patients without
    a known time of death.

    A patient with several cases must be in one fold, see
    :class:`~sklearn.model_selection.StratifiedGroupKFold`, or use `first_only`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore
    >>> from skfusion.cohorts import make_cases
    >>> events = pd.DataFrame({
    ...     "subject_id": [7, 7, 9, 9],
    ...     "time": pd.to_datetime(["2024-03-01 08:00", "2024-03-02 10:00",
    ...                             "2024-03-01 09:00", "2024-05-01 09:00"]),
    ...     "code": ["LAB//d-dimer", "DIAGNOSIS//I26", "LAB//d-dimer", "LAB//d-dimer"]})
    >>> make_cases(EventStore.from_frame(events), "LAB//d-dimer", after="1h",
    ...            outcome="DIAGNOSIS//I26*", horizon="30d")[
    ...     ["subject_id", "index_time", "outcome"]]
       subject_id          index_time  outcome
    0           7 2024-03-01 09:00:00     True
    1           9 2024-03-01 10:00:00    False
    """
    for value, name, allowed in (
        (which, "which", WHICH),
        (prior, "prior", ("keep", "drop")),
        (unobserved, "unobserved", UNOBSERVED),
        (open_stays, "open_stays", OPEN),
    ):
        check_option(value, name, allowed, OWNER)
    wait = duration_of("24h" if after is None else after, "after", OWNER)
    within = None if horizon is None else duration_of(horizon, "horizon", OWNER)
    is_stays = isinstance(index, str) and index == STAYS
    if is_stays:
        found = _from_stays(events, wait, at_least, kind, open_stays)
    else:
        if at_least is not None:
            raise ValueError(f"{OWNER}: at_least is for index='stays' only.")
        shift = pd.Timedelta(0) if after is None else wait
        found = _from_index(events, index, shift, kind, which)
    table, flow = found
    if outcome is not None:
        outcome = [outcome] if isinstance(outcome, str) else list(outcome)
        aims = _Outcomes(events, outcome, within, is_stays)
        table = _with_outcome(table, flow, aims, prior, unobserved)
    for reason, function in (exclude or {}).items():
        mask = _mask(function(table.copy()), table, reason)
        flow.leave_out(mask, reason)
        table = table[~mask]
    if first_only:
        later = table.duplicated("subject_id").to_numpy(bool)
        flow.leave_out(later, "are later cases of a patient")
        table = table[~later]
    return _finished(table, flow, outcome, within)


class _Flow:
    """Boxes of a flow chart, while cases are made."""

    def __init__(self, text: str, n: int, n_patients: int) -> None:
        self.steps = [_step(text, n, n_patients)]
        #: Whether the record of each case ends before the horizon does.
        self.short: pd.Series | None = None

    def leave_out(self, mask: np.ndarray, reason: str) -> None:
        """Count rows that are left out."""
        if mask.any():
            left_out = self.steps[-1]["left_out"]
            left_out[reason] = left_out.get(reason, 0) + int(mask.sum())

    def box(self, text: str, table: pd.DataFrame) -> None:
        """Add a box with what remains."""
        self.steps.append(_step(text, len(table), table["subject_id"].nunique()))


def _step(text: str, n: int, n_patients: int) -> dict[str, Any]:
    return {"text": text, "n": n, "n_patients": n_patients, "left_out": {}}


def _mask(answer: Any, table: pd.DataFrame, reason: str) -> np.ndarray:
    is_labelled = isinstance(answer, pd.Series) and answer.index.is_unique
    if is_labelled and answer.index.isin(table.index).all():
        answer = answer.reindex(table.index)  # which may be in another order
    try:
        mask = pd.array(np.atleast_1d(np.asarray(answer)), dtype="boolean")
    except (TypeError, ValueError):
        raise TypeError(
            f"{OWNER}: the function of exclude[{reason!r}] must return True or False "
            f"for each of the {len(table)} cases, got {type(answer).__name__} of other "
            "values."
        ) from None
    if len(mask) != len(table) or mask.isna().any():
        raise ValueError(
            f"{OWNER}: the function of exclude[{reason!r}] must return True or False "
            f"for each of the {len(table)} cases, got {len(mask)} values with "
            f"{int(mask.isna().sum())} nulls."
        )
    return mask.to_numpy(bool)


# -- index times ----------------------------------------------------------------------


def _from_stays(
    events: Any, wait: pd.Timedelta, at_least: Any, kind: Any, open_stays: str
) -> tuple[pd.DataFrame, _Flow]:
    with warnings.catch_warnings():
        # What it says is in the flow chart and in the warning of this function.
        warnings.simplefilter("ignore", DataWarning)
        cases = cases_from_stays(
            events, wait, at_least=at_least, kind=kind, open_stays=open_stays
        )
    all_of_kind = of_kind(_stays_of(events), kind, OWNER)
    flow = _Flow(
        f"{_name_of(kind)} stays",
        len(all_of_kind),
        all_of_kind["subject_id"].nunique(),
    )
    flow.steps[0]["left_out"].update(cases.attrs.pop("left_out"))
    if at_least is not None and duration_of(at_least, "at_least", OWNER) > wait:
        warn_user(
            f"{OWNER}: at_least is longer than after, so that cases are selected by a "
            "future that is not known at the index time.",
            DataWarning,
        )
    return cases, flow


def _name_of(kind: Any) -> str:
    return kind if isinstance(kind, str) else " or ".join(kind)


def _stays_of(events: Any) -> pd.DataFrame:
    if isinstance(events, EventStore):
        return events.stays()
    return as_frame(events, "events", OWNER).assign(
        kind=lambda table: table.get("kind", "hospital")
    )


def _from_index(
    events: Any, index: Any, shift: pd.Timedelta, kind: Any, which: str
) -> tuple[pd.DataFrame, _Flow]:
    if not isinstance(events, EventStore):
        raise TypeError(
            f"{OWNER}: events must be an EventStore unless index is 'stays', got "
            f"{type(events).__name__}."
        )
    if isinstance(index, str | list | tuple):
        patterns = [index] if isinstance(index, str) else list(index)
        rows = _events_of(events, patterns, "index")
        known = rows.get("available_time", rows["time"])
        table = pd.DataFrame({"subject_id": rows["subject_id"], "index_time": known})
        flow_text = "index events"
    else:
        table = as_frame(index, "index", OWNER).copy()
        missing = [c for c in ("subject_id", "index_time") if c not in table]
        if missing:
            names = list(map(str, table))
            raise ValueError(
                f"{OWNER}: index must have the columns {missing}, got {names}."
                f"{did_you_mean(missing[0], names)}"
            )
        table = _checked_index(table)
        which, flow_text = "all", "rows of the given table"
    flow = _Flow(flow_text, len(table), table["subject_id"].nunique())
    unknown = table[["subject_id", "index_time"]].isna().any(axis=1).to_numpy(bool)
    flow.leave_out(unknown, "have no subject or time")
    table = table[~unknown].sort_values(["subject_id", "index_time"], kind="stable")
    table["subject_id"] = patient_ids(table["subject_id"], "subject_id", OWNER)
    _check_subjects(table["subject_id"], events)
    if which == "first":
        later = table.duplicated("subject_id").to_numpy(bool)
        flow.leave_out(later, "are later events of a patient")
        table = table[~later]
    table = table.assign(index_time=_times(table["index_time"], events) + shift)
    return _with_stays(table.reset_index(drop=True), events, kind), flow


def _checked_index(table: pd.DataFrame) -> pd.DataFrame:
    """Return a given table with nulls for unknown subjects, after a look at its names.

    Raises
    ------
    ValueError
        If a column is repeated.

    Warns
    -----
    DataWarning
        With the columns that are replaced.
    """
    repeated = list(table.columns[table.columns.duplicated()])
    if repeated:
        raise ValueError(
            f"{OWNER}: index has the columns {repeated} more than once. Rename them."
        )
    replaced = [name for name in table.columns if name in _WRITTEN]
    if replaced:
        warn_user(
            f"{OWNER}: the columns {replaced} of index are replaced by those of "
            "the result. Rename them to keep them.",
            DataWarning,
        )
    subjects = ids_of(table["subject_id"]).set_axis(table.index)
    return table.assign(subject_id=subjects)


def _check_subjects(ids: pd.Series, store: EventStore) -> None:
    """Compare the subjects of index times with those of the events.

    Raises
    ------
    TypeError
        If they are numbers in one table and text in the other.

    Warns
    -----
    DataWarning
        With the number of index times of subjects without events.
    """
    if len(ids) and (ids.dtype == np.int64) != pd.api.types.is_integer_dtype(
        store.subjects
    ):
        words = ("integers", "text") if ids.dtype == np.int64 else ("text", "integers")
        raise TypeError(
            f"{OWNER}: subjects are {words[0]} in index and {words[1]} in the events, "
            "so that none would match. Convert one, e.g. with astype(str)."
        )
    n_strange = int((~ids.isin(store.subjects)).sum())
    if n_strange:
        warn_user(
            f"{OWNER}: {n_strange} of {len(ids)} rows of index are of subjects without "
            "events, of whom no outcome can be seen. Check that subject_id is the same "
            "id in both.",
            DataWarning,
        )


def _times(column: pd.Series, store: EventStore) -> pd.Series:
    read = instants_of(column, "index_time", OWNER, dates_end=False)
    if read.has_zone is not None and read.has_zone != store.has_time_zone:
        one, other = ("a", "none") if read.has_zone else ("no", "one")
        raise ValueError(
            f"{OWNER}: index_time has {one} time zone, and the events have {other}. "
            "Convert the index times, or the store with EventStore.with_time_zone."
        )
    times = pd.Series(read.numbers.view("datetime64[us]"), index=column.index)
    return times.dt.tz_localize("UTC") if read.has_zone else times


def _with_stays(cases: pd.DataFrame, store: EventStore, kind: Any) -> pd.DataFrame:
    """Add the stay in which each index time is, null without one."""
    columns = ["stay_id", "kind", "end", "died"]
    cases = cases.drop(columns=[c for c in columns if c in cases])
    try:
        stays = of_kind(store.stays(), kind, OWNER)
    except ValueError:
        if isinstance(kind, str) and kind not in KINDS:
            raise
        stays = None  # the store has none
    cases = cases.copy()
    if stays is None or stays.empty:
        nothing = pd.array([pd.NA] * len(cases), dtype="boolean")
        return cases.assign(stay_id=None, kind=None, end=None, died=nothing)
    known = stays.sort_values("start", kind="stable").reset_index(drop=True)
    starts = known["start"].astype(cases["index_time"].dtype)
    order = cases[["subject_id", "index_time"]].reset_index(names="row")
    joined = pd.merge_asof(
        order.sort_values("index_time", kind="stable"),
        known[["subject_id"]].assign(start=starts, place=np.arange(len(known))),
        left_on="index_time",
        right_on="start",
        by="subject_id",
    )
    place = np.full(len(cases), -1)
    place[joined["row"]] = joined["place"].fillna(-1).astype(int)
    ends = _numbers(known["end"])[place]
    inside = (place >= 0) & ((ends == UNKNOWN) | (ends > _numbers(cases["index_time"])))
    nothing = ~inside
    for name in columns:
        column = known[name].iloc[place].set_axis(cases.index)
        if pd.api.types.is_integer_dtype(column):
            column = column.astype("Int64")  # which can be null
        cases[name] = column.mask(nothing)
    for name in ("stay_id", "kind"):
        if cases[name].dtype == object:
            cases[name] = cases[name].where(inside, None)
    return cases


# -- events ---------------------------------------------------------------------------


def _events_of(store: EventStore, patterns: list[str], name: str) -> pd.DataFrame:
    """Return the events of codes that match."""
    if not all(isinstance(pattern, str) for pattern in patterns) or not patterns:
        raise TypeError(
            f"{OWNER}: {name} must be patterns of codes such as 'LAB//*', got "
            f"{patterns!r}."
        )
    matched = [
        any(fnmatchcase(code, pattern) for pattern in patterns) for code in store.codes
    ]
    if not any(matched):
        near = did_you_mean(patterns[0], store.codes)
        raise ValueError(
            f"{OWNER}: {name}={patterns!r} matches none of the {len(store.codes)} codes"
            f" of the store.{near}"
        )
    code = np.asarray(store.files.column("code"))
    time = np.asarray(store.files.column("time"))
    wanted = np.isin(code, np.flatnonzero(matched)) & (time != NO_TIME)
    return event_table(store.files, np.flatnonzero(wanted))


class _Hits(NamedTuple):
    """Whether each case has an outcome, and whether that is known."""

    positive: np.ndarray
    unknown: np.ndarray
    before: np.ndarray


class _Outcomes:
    """Outcomes of cases, of which one is enough."""

    def __init__(
        self,
        events: Any,
        outcome: list[str],
        within: pd.Timedelta | None,
        is_stays: bool,
    ) -> None:
        self.names = outcome
        self.events, self.within, self.is_stays = events, within, is_stays
        self.patterns = [name for name in self.names if name not in (DIED, STAYED)]
        if not self.names:
            raise ValueError(f"{OWNER}: outcome must not be empty. None makes none.")
        if STAYED in self.names and within is None:
            raise ValueError(
                f"{OWNER}: outcome 'stay' needs horizon, the time after the index time "
                "that a stay must exceed."
            )
        needs = bool(self.patterns) or (DIED in self.names and within is not None)
        if needs and not isinstance(events, EventStore):
            raise TypeError(
                f"{OWNER}: outcome {self.names!r} with horizon={within} needs an "
                f"EventStore, got {type(events).__name__}."
            )

    def of(self, cases: pd.DataFrame) -> _Hits:
        """Return the outcome of each case."""
        parts = []
        if DIED in self.names:
            parts.append(self._died(cases))
        if STAYED in self.names:
            parts.append(self._stayed(cases))
        if self.patterns:
            rows = _events_of(self.events, self.patterns, "outcome")
            hits, before = self._within(cases, rows)
            parts.append(_Hits(hits, np.zeros(len(cases), dtype=bool), before))
        positive = np.logical_or.reduce([part.positive for part in parts])
        unknown = np.logical_or.reduce([part.unknown for part in parts]) & ~positive
        return _Hits(
            positive, unknown, np.logical_or.reduce([part.before for part in parts])
        )

    def _died(self, cases: pd.DataFrame) -> _Hits:
        none = np.zeros(len(cases), dtype=bool)
        if self.within is None:
            died = cases["died"].astype("boolean").fillna(False).to_numpy(bool)
            unknown = cases["died"].isna().to_numpy(bool) | _is_open(cases)
            return _Hits(died, unknown & ~died, none)
        stays = self._stays()
        deaths = self._deaths(stays)
        if deaths is None:
            return _Hits(none, ~none, none)
        hits, before = self._within(cases, deaths)
        has_time = cases["subject_id"].isin(deaths["subject_id"]).to_numpy(bool)
        unknown = ~has_time & self._ends_unknown(cases, stays)
        return _Hits(hits, unknown, before)

    def _stays(self) -> pd.DataFrame | None:
        try:
            return self.events.stays()
        except ValueError:
            return None  # the store has none

    def _deaths(self, stays: pd.DataFrame | None) -> pd.DataFrame | None:
        """Return times of death, None if the source records none.

        The end of a stay is one of patients whose death is no event.
        """
        store = self.events
        parts = []
        if DEATH in store.codes:
            parts.append(_events_of(store, [DEATH], "outcome"))
        if stays is not None and stays["died"].notna().any():
            ended = stays[stays["died"].fillna(False).astype(bool)]
            ended = ended[ended["end"].notna()].rename(columns={"end": "time"})
            if parts:
                ended = ended[~ended["subject_id"].isin(parts[0]["subject_id"])]
            parts.append(ended)
        if not parts:
            return None
        return pd.concat([part[["subject_id", "time"]] for part in parts])

    def _ends_unknown(
        self, cases: pd.DataFrame, stays: pd.DataFrame | None
    ) -> np.ndarray:
        """Return which cases have a stay of which a death in the horizon is unknown.

        It is the stay of the case, or a later one in a hospital.
        """
        assert self.within is not None
        end = cases.get("end")
        if end is None:
            is_late = (cases["remaining_days"] >= self.within / _DAY).to_numpy(bool)
        else:
            is_late = (end >= cases["index_time"] + self.within).to_numpy(bool)
        own = cases["died"].isna().to_numpy(bool) & ~is_late | _is_open(cases)
        own &= cases["stay_id"].notna().to_numpy(bool)
        if stays is None:
            return own
        later = stays[stays["kind"].isin(HOSPITAL_KINDS)]
        undated = later["end"].isna() & later["died"].eq(True).fillna(False)
        time = later["end"].mask(undated.astype(bool), later["start"])
        later = later.assign(time=time)[later["died"].isna() | undated.astype(bool)]
        return own | self._within(cases, later[later["time"].notna()])[0]

    def _stayed(self, cases: pd.DataFrame) -> _Hits:
        none = np.zeros(len(cases), dtype=bool)
        within = pd.Timedelta(0) if self.within is None else self.within
        end = cases.get("end")
        if end is None:
            length = cases["remaining_days"].to_numpy(float)
            limit = within / _DAY
            return _Hits(length > limit, np.isnan(length), none)
        late = (end > cases["index_time"] + within).to_numpy(bool)
        return _Hits(late, end.isna().to_numpy(bool), none)

    def _within(
        self, cases: pd.DataFrame, rows: pd.DataFrame
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which cases have an event in the horizon, and which had one before."""
        index = _numbers(cases["index_time"])
        limit = np.full(len(index), np.iinfo(np.int64).max)
        if self.within is not None:
            limit = index + self.within // pd.Timedelta(1, "us")
        known = cases["subject_id"].astype(object)
        codes = pd.factorize(pd.concat([known, rows["subject_id"].astype(object)]))[0]
        of_case, of_row = codes[: len(cases)], codes[len(cases) :]
        time = _numbers(rows["time"])
        order = np.lexsort((time, of_row))
        of_row, time = of_row[order], time[order]
        at = count_before(of_case, index, of_row, time)
        to = count_before(of_case, limit, of_row, time)
        start = np.searchsorted(of_row, of_case)
        return to > at, at > start

    def observed_until(self, cases: pd.DataFrame) -> np.ndarray:
        """Return the last time in the record of each case, in microseconds."""
        store = self.events
        if not isinstance(store, EventStore):
            return np.full(len(cases), UNKNOWN)
        offsets = np.asarray(store.files.offsets)
        times = np.asarray(store.files.column("time"))
        last = np.full(len(offsets), UNKNOWN)
        has = np.flatnonzero(np.diff(offsets))
        last[has] = np.maximum.reduceat(times, offsets[has]) if len(has) else UNKNOWN
        place = store.subjects.get_indexer(pd.Index(cases["subject_id"]))
        return np.where(place >= 0, last[place], UNKNOWN)


def _is_open(cases: pd.DataFrame) -> np.ndarray:
    """Return which cases have a stay without an end."""
    end = cases["end"] if "end" in cases else cases["remaining_days"]
    return (end.isna() & cases["stay_id"].notna()).to_numpy(bool)


def _numbers(times: pd.Series) -> np.ndarray:
    return instants_of(times, "index_time", OWNER, dates_end=False).numbers


# -- result ---------------------------------------------------------------------------


def _with_outcome(
    table: pd.DataFrame, flow: _Flow, aims: _Outcomes, prior: str, unobserved: str
) -> pd.DataFrame:
    hits = aims.of(table)
    left = hits.unknown
    flow.leave_out(left, UNKNOWN_OUTCOME)
    if prior == "drop":
        had = hits.before & ~left
        flow.leave_out(had, "had the outcome before the index time")
        left = left | had
    if aims.within is not None:
        end = _numbers(table["index_time"]) + aims.within // pd.Timedelta(1, "us")
        short = ~hits.positive & ~left & (aims.observed_until(table) < end)
        if isinstance(aims.events, EventStore) and set(aims.names) != {STAYED}:
            if unobserved == "drop":
                flow.leave_out(short, "are not observed until the horizon")
                left = left | short
            else:
                flow.short = pd.Series(short, index=table.index)
    return table.assign(outcome=hits.positive)[~left]


def _finished(
    table: pd.DataFrame,
    flow: _Flow,
    outcome: list[str] | None,
    within: pd.Timedelta | None,
) -> pd.DataFrame:
    left_out = flow.steps[-1]["left_out"]
    listed = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    if table.empty:
        raise ValueError(
            f"{OWNER}: no case remains of {flow.steps[0]['n']:,} "
            f"{flow.steps[0]['text']}{f' ({listed})' if listed else ''}. Change the "
            "index, after or the exclusions."
        )
    names = outcome or []
    sentences = []
    if UNKNOWN_OUTCOME in left_out:
        sentences.append(
            f"left out {left_out[UNKNOWN_OUTCOME]:,} cases whose outcome the source "
            "does not state."
        )
    if names and within is not None:
        sentences += _doubts(table, flow.short, names, within)
    table = table.drop(columns=[c for c in ("end",) if c in table])
    first = ["subject_id", "stay_id", "kind", "index_time"]
    table = table[first + [c for c in table if c not in first]]
    table = table.sort_values(["subject_id", "index_time"], kind="stable")
    table = table.reset_index(drop=True)
    flow.box("cases", table)
    parts = {}
    if outcome is not None:
        text = _outcome_text(names, within, table["kind"])
        parts[f"outcome: {text}"] = int(table["outcome"].sum())
    table.attrs = {ATTRIBUTE: {"steps": flow.steps, "parts": parts}}
    if sentences:
        warn_user(f"{OWNER}: {' '.join(sentences)}", DataWarning)
    return table


def _outcome_text(
    names: list[str], within: pd.Timedelta | None, kinds: pd.Series
) -> str:
    """Return the outcome in words, e.g. ``"died within 6 days"``."""
    events = " or ".join(name for name in names if name != STAYED)
    if within is None:
        return events
    days = f"{within / _DAY:g} {'day' if within == _DAY else 'days'}"
    if STAYED not in names:
        return f"{events} within {days}"
    place = "hospital" if kinds.dropna().isin(HOSPITAL_KINDS).all() else "the stay"
    stayed = f"still in {place} after"
    return f"{events} within, or {stayed}, {days}" if events else f"{stayed} {days}"


def _doubts(
    table: pd.DataFrame, short: pd.Series | None, names: list[str], within: pd.Timedelta
) -> list[str]:
    """Return sentences about cases without the outcome that are not surely so."""
    found = []
    end = table.get("end")
    if end is None:
        ended = table["remaining_days"] <= within / _DAY
    elif end.notna().any():
        ended = end <= table["index_time"] + within
    else:  # a column without times cannot be compared
        ended = pd.Series(False, index=table.index)
    died = table["died"].astype("boolean").fillna(False).astype(bool)
    n_dead = int((ended & died & ~table["outcome"]).sum())
    if STAYED in names and DIED not in names and n_dead:
        found.append(
            f"{n_dead:,} cases died in the stay within the horizon, and count as cases "
            "without a long stay. Use outcome=['died', 'stay'], or exclude={'died "
            "early': lambda c: c['died'].fillna(False) & ~c['outcome']}."
        )
    is_short = None if short is None else short.reindex(table.index)
    if is_short is None or not is_short.any():
        return found
    later = " or ".join(
        ["a death"] * (DIED in names)
        + ["an event of the outcome"] * bool({*names} - {DIED, STAYED})
    )
    left = int((is_short & ended & ~died).sum())
    known = "the length of the stay is known, and " * (STAYED in names)
    discharged = (
        f"{left:,} of them were discharged within the horizon, of whom {known}only "
        f"{later} after discharge is unknown. "
    )
    found.append(
        f"{int(is_short.sum()):,} cases without the outcome have no event after the "
        "horizon, so that it may be missing rather than absent. "
        f"{discharged if left else ''}unobserved='drop' leaves out all of them, which "
        "are cases without the outcome only, and so raises its rate."
    )
    return found
