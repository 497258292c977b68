"""Vocabulary of codes and value bounds, learned from events visible in training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

import numpy as np

from skfusion._fitting.pipelines import warn_of_modality
from skfusion._validation import did_you_mean
from skfusion.ehr.events.columns import NO_TIME
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.coverage import coverage
from skfusion.ehr.point_in_time.visibility import Sight, first_times, row_chunks
from skfusion.exceptions import DataWarning, LeakageWarning

__all__ = [
    "KINDS_OF_CODES",
    "chosen_codes",
    "count_subjects",
    "is_outcome",
    "learn_bounds",
    "learn_codes",
]


# Parts of a code (between "//") that reveal the outcome of a stay, or are assigned for
# billing afterwards. A part is compared as a whole, without letter case, and with "_"
# for spaces and hyphens.
OUTCOME_CODES = (
    *("DIED", "DEAD", "EXPIRED", "EXPIRE_FLAG", "HOSPITAL_EXPIRE_FLAG"),
    *("HOSPITAL_EXPIRED", "PATIENT_EXPIRED", "PATIENT_DIED", "DISCHARGE", "DISCHARGED"),
    *("HOSPITAL_DISCHARGE", "HOSP_DISCHARGE", "INPATIENT_DISCHARGE"),
    *("DISCHARGE_LOCATION", "DISCHARGE_DISPOSITION", "DISCHARGE_STATUS"),
    *("DISCHARGE_TYPE", "DISCHARGE_DATE", "DISCHARGE_TIME", "DISCHARGE_TO"),
    *("DISCHARGED_TO", "DISCHTIME", "DEATHTIME", "BILLING", "BILLING_CODE"),
    *("DRG", "MS_DRG", "MSDRG", "APR_DRG", "APRDRG", "DRG_CODE", "HCFA_DRG"),
)
# Words that reveal the outcome anywhere in a part without spaces: IN_HOSPITAL_DEATH.
_OUTCOME_WORDS = ("DEATH", "DECEASED", "MORTALITY", "BILLING")
OUTCOMES = "outcomes"


def is_outcome(code: str) -> bool:
    """Return whether a code reveals an outcome, as in `OUTCOME_CODES`.

    Parameters
    ----------
    code : str
        A code, whose parts are separated by ``"//"``.

    Returns
    -------
    bool

    Examples
    --------
    >>> from skfusion.ehr.point_in_time.vocabulary import is_outcome
    >>> is_outcome("discharge//home"), is_outcome("DX//VAGINAL DISCHARGE")
    (True, False)
    """
    for part in code.upper().split("//"):
        name = part.strip().replace(" ", "_").replace("-", "_")
        if name in OUTCOME_CODES:
            return True
        if " " not in part.strip() and set(name.split("_")) & set(_OUTCOME_WORDS):
            return True
    return False


#: Patterns of kinds of codes, of which a store rarely has all.
KINDS_OF_CODES: dict[str, tuple[str, ...]] = {
    "stays": ("VISIT//*", "VISIT_END//*", "ICU//*", "ICU_END//*", "SERVICE//*"),
    "observations": ("OBSERVATION//*", "CHART//*"),
}


def chosen_codes(estimator: Any, codes: Sequence[str]) -> np.ndarray:
    """Return which codes match `include` and do not match `exclude`.

    Parameters
    ----------
    estimator : estimator
        Estimator with the parameters ``include`` and ``exclude``. Patterns are such as
        ``"LAB//*"``. Without `include`, all codes are included. "outcomes" in `exclude`
        means the codes that reveal an outcome, as in `is_outcome`.
    codes : sequence of str
        All codes.

    Returns
    -------
    ndarray of bool of shape (n_codes,)

    Raises
    ------
    ValueError
        If `include` or `exclude` is a single pattern.
    """
    included, outcomes, others = _matches(estimator, codes)
    return included & ~outcomes & ~others


def _matches(
    estimator: Any, codes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which codes are included, outcomes to exclude, and otherwise excluded."""
    include, exclude = estimator.include, estimator.exclude
    out = (OUTCOMES,) if isinstance(exclude, str) and exclude == OUTCOMES else exclude
    for name, patterns in (("include", include), ("exclude", out)):
        if isinstance(patterns, str):
            raise ValueError(
                f"{type(estimator).__name__}: {name} must be a tuple of patterns such "
                f"as ('LAB//*',), got {patterns!r}."
            )
    patterns = tuple(pattern for pattern in out or () if pattern != OUTCOMES)
    by_rule = OUTCOMES in (out or ())
    included = None if include is None else tuple(include)
    table = _matching(tuple(codes), included, by_rule, patterns)
    return table[:, 0], table[:, 1], table[:, 2]


@lru_cache(maxsize=32)
def _matching(
    codes: tuple[str, ...],
    include: tuple[str, ...] | None,
    by_rule: bool,
    patterns: tuple[str, ...],
) -> np.ndarray:
    """Return a table of the three arrays, found once per process.

    A search for one row takes longer than the features of the row otherwise.
    """
    found = [
        (
            include is None or any(fnmatchcase(code, p) for p in include),
            by_rule and is_outcome(code),
            any(fnmatchcase(code, p) for p in patterns),
        )
        for code in codes
    ]
    table = np.array(found, dtype=bool).reshape(len(codes), 3)
    table.flags.writeable = False
    return table


def warn_of_unmatched(estimator: Any, codes: Sequence[str]) -> None:
    """Warn about patterns of `include` and `exclude` that match no code.

    Parameters
    ----------
    estimator : estimator
        Estimator with the parameters ``include`` and ``exclude``.
    codes : sequence of str
        All codes.
    """
    owner = type(estimator).__name__
    include = tuple(estimator.include or ())
    if include in KINDS_OF_CODES.values():
        include = ()
    exclude = () if isinstance(estimator.exclude, str) else estimator.exclude or ()
    exclude = tuple(pattern for pattern in exclude if pattern != OUTCOMES)
    for name, patterns, effect, category in (
        ("include", include, "include no code", DataWarning),
        ("exclude", exclude, "leave out no code", LeakageWarning),
    ):
        unmatched = [p for p in patterns if not any(fnmatchcase(c, p) for c in codes)]
        # A transformer without any code warns of this.
        if not unmatched or (name == "include" and len(unmatched) == len(include)):
            continue
        kinds = sorted({code.partition("//")[0] + "//*" for code in codes})
        hint = did_you_mean(unmatched[0], [*kinds, *codes])
        warn_of_modality(
            f"unmatched {name}",
            f"{owner}: no code of the store matches {len(unmatched)} of "
            f"{len(patterns)} patterns in {name}, which therefore {effect}: "
            f"{', '.join(map(repr, unmatched[:N_SHOWN]))}.{hint}",
            category,
        )


N_SHOWN = 10


def warn_of_outcomes(estimator: Any, codes: Sequence[str]) -> None:
    """Warn about included codes that are left out because they reveal an outcome.

    Parameters
    ----------
    estimator : estimator
        Estimator with the parameters ``include`` and ``exclude``.
    codes : sequence of str
        All codes.
    """
    included, outcomes, others = _matches(estimator, codes)
    places = np.flatnonzero(included & outcomes & ~others)
    if not len(places):
        return
    shown = ", ".join(repr(codes[i]) for i in places[:N_SHOWN])
    more = f" and {len(places) - N_SHOWN} more" if len(places) > N_SHOWN else ""
    warn_of_modality(
        "outcomes",
        f"{type(estimator).__name__}: left out {len(places)} of {included.sum()} "
        f"codes, which reveal an outcome: {shown}{more}. They are no features, so "
        "nothing leaks. Name them beside 'outcomes' in exclude to confirm it, as in "
        f"exclude=('outcomes', {codes[places[0]]!r}).",
        DataWarning,
    )


USUAL = 0.5  # Maximum fraction of rows before all events of their subjects.


def learn_codes(
    estimator: Any,
    store: EventStore,
    cases: Cases,
    counts: np.ndarray,
    no_events: np.ndarray,
) -> np.ndarray:
    """Select the codes of an estimator and warn about rows before all events.

    Parameters
    ----------
    estimator : estimator
        Estimator with the parameters ``closed``, ``min_subjects`` and ``max_codes``.
    store : EventStore
        The events.
    cases : Cases
        The training rows.
    counts, no_events : ndarray
        Counts and rows without visible events, as returned by `count_subjects`.

    Returns
    -------
    ndarray of int of shape (n_chosen,)
        Positions of the selected codes, as returned by `choose_codes`.
    """
    owner = type(estimator).__name__
    warn_of_outcomes(estimator, store.codes)
    warn_of_unmatched(estimator, store.codes)
    warn_of_early(store.files, cases, no_events, estimator.closed, owner)
    return choose_codes(
        store.codes,
        counts,
        min_subjects=estimator.min_subjects,
        max_codes=estimator.max_codes,
        n_subjects=len(np.unique(cases.subject)),
        no_events=no_events,
        owner=owner,
    )


def choose_codes(
    codes: list[str],
    counts: np.ndarray,
    *,
    min_subjects: float,
    max_codes: int | None,
    n_subjects: int,
    no_events: np.ndarray,
    owner: str,
) -> np.ndarray:
    """Select the codes that are visible in enough subjects.

    Parameters
    ----------
    codes : list of str
        All codes.
    counts : ndarray of int of shape (n_codes,)
        Number of subjects in which each code is visible.
    min_subjects : int or float
        Minimum number of subjects of a selected code, or a share between 0 and 1.
    max_codes : int or None
        Maximum number of selected codes.
    n_subjects : int
        Total number of subjects.
    no_events : ndarray of bool of shape (n_rows,)
        Rows without a visible event.
    owner : str
        Name of the estimator for the error message.

    Returns
    -------
    ndarray of int of shape (n_chosen,)
        Positions of the selected codes, sorted by code name.

    Warns
    -----
    DataWarning
        If no code is visible in enough subjects.
    """
    least = min_subjects
    if least < 1:  # A share.
        least = max(1, math.ceil(round(least * n_subjects, 9)))
    often = np.flatnonzero(counts >= least)
    if not len(often):
        share = "" if least == min_subjects else f" ({min_subjects:.1%})"
        warn_of_modality(
            "no codes",
            f"{owner}: got {(counts > 0).sum()} codes visible to the training rows, "
            f"but none of them in at least min_subjects={least}{share} of their "
            f"{n_subjects} subjects. {no_events.sum()} of {len(no_events)} rows have "
            "no visible event. There are no features, so that a modality is absent in "
            "every row. Check index times, include and exclude, or lower min_subjects.",
            DataWarning,
        )
        return np.zeros(0, dtype=np.int64)
    ranked = sorted(often, key=lambda i: (-counts[i], codes[i]))
    return np.array(sorted(ranked[:max_codes], key=lambda i: codes[i]))


def count_subjects(
    files: EventFiles, cases: Cases, sight: Sight
) -> tuple[np.ndarray, np.ndarray]:
    """Count the subjects in which each code is visible.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The training rows.
    sight : Sight
        The visibility rules.

    Returns
    -------
    ndarray of int of shape (n_codes,)
        Number of subjects.
    ndarray of bool of shape (n_rows,)
        Rows without a visible event.
    """
    n_codes = len(sight.codes)
    counts = np.zeros(n_codes, dtype=np.int64)
    no_events = np.ones(len(cases.end), dtype=bool)
    for part in coverage(files, cases, sight):
        seen = part.n_rows > 0
        pairs = np.unique(part.subject[seen] * n_codes + part.code[seen])
        counts += np.bincount(pairs % n_codes, minlength=n_codes)
        no_events[part.rows] = ~part.sees
    return counts, no_events


def warn_of_early(
    files: EventFiles, cases: Cases, no_events: np.ndarray, closed: str, owner: str
) -> None:
    """Warn if most index times are before all events of their subjects.

    A new patient has no history, but most rows of a cohort rarely belong to new
    patients. Wrong ids, index times or time zones are the usual cause.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The training rows.
    no_events : ndarray of bool of shape (n_rows,)
        Rows without a visible event.
    closed : {"left", "right"}
        Whether an event exactly at the end is visible ("right") or not ("left").
    owner : str
        Name of the estimator for the warning.
    """
    if no_events.sum() <= USUAL * len(no_events):
        return
    rows_without_events = np.flatnonzero(no_events & (cases.subject >= 0))
    n_early = 0
    for rows in row_chunks(files, cases.subject[rows_without_events]):
        some = rows_without_events[rows]
        subject, end = cases.subject[some], cases.end[some]
        first = first_times(files, subject)
        late = first >= end if closed == "left" else first > end
        n_early += int((late & (first != NO_TIME)).sum())
    if n_early > USUAL * len(no_events):
        warn_of_modality(
            "early",
            f"{owner}: got {n_early} of {len(no_events)} training rows with an index "
            "time before all events of their subjects, so that they have no visible "
            "event. Check ids, index times and time zones.",
            DataWarning,
        )


def learn_bounds(
    files: EventFiles,
    cases: Cases,
    sight: Sight,
    codes: np.ndarray,
    quantiles: tuple[float, float],
) -> np.ndarray:
    """Return quantiles of the numeric values of each code.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The training rows.
    sight : Sight
        The visibility rules. An event visible to several rows counts once for each.
    codes : ndarray of int of shape (n_codes,)
        Positions of the codes in the store.
    quantiles : (float, float)
        Lower and upper quantile, from 0 to 1.

    Returns
    -------
    ndarray of float32 of shape (2, n_codes)
        NaN for a code without numeric values.

    Raises
    ------
    ValueError
        If the quantiles are not in order between 0 and 1.
    """
    low, high = quantiles
    if not 0 <= low < high <= 1:
        raise ValueError(
            "EventWindows: clip must be two increasing quantiles from 0 to 1, got "
            f"{quantiles!r}."
        )
    place = np.full(len(sight.codes), -1)
    place[codes] = np.arange(len(codes))
    numbers, values, repeats = [[np.zeros(0, dtype=int)] for _ in range(3)]
    for part in coverage(files, cases, sight):
        number = place[part.code]
        wanted = (number >= 0) & (part.n_rows > 0) & ~np.isnan(part.value)
        numbers.append(number[wanted])
        values.append(part.value[wanted])
        repeats.append(part.n_rows[wanted])
    number = np.concatenate(numbers)
    value = np.concatenate(values, dtype=np.float32, casting="unsafe")
    n_times = np.concatenate(repeats)
    order = np.lexsort((value, number))
    starts = np.searchsorted(number[order], np.arange(len(codes) + 1))
    bounds = np.full((2, len(codes)), np.nan, dtype=np.float32)
    for i in range(len(codes)):
        some = order[starts[i] : starts[i + 1]]
        if len(some):
            bounds[:, i] = [
                _quantile(value[some], n_times[some], level) for level in (low, high)
            ]
    return bounds


def _quantile(values: np.ndarray, n_times: np.ndarray, level: float) -> np.floating:
    """Return `numpy.quantile` of sorted values that are repeated."""
    last = np.cumsum(n_times) - 1  # position of the last one of each value
    position = level * last[-1]
    below = np.searchsorted(last, math.floor(position))
    above = np.searchsorted(last, min(math.floor(position) + 1, last[-1]))
    pair = values[[below, above]]
    found: np.floating = np.quantile(pair, position - math.floor(position))
    return found
