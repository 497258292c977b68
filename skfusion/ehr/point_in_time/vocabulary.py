"""What the training rows may see in; how often each code is seen, its quantiles out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from skfusion.ehr.events.columns import NO_TIME
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.cases import Cases
from skfusion.ehr.point_in_time.visibility import (
    Sight,
    WindowEvents,
    first_times,
    row_chunks,
    visible_events,
)

__all__ = ["count_subjects", "learn_bounds", "learn_codes"]


# what says how a stay ended, or is written down after it for the bill
OUTCOME_CODES = (
    *("*DEATH*", "*EXPIRE*", "*DECEASED*", "*DISCHARGE*"),
    *("DRG*", "*//DRG//*", "*BILLING*"),
)


def chosen_codes(
    codes: Sequence[str], include: Sequence[str] | None, exclude: Any
) -> np.ndarray:
    """Tell which codes may be used.

    Parameters
    ----------
    codes : sequence of str
        All codes.
    include : sequence of str or None
        Patterns such as ``"LAB//*"``; None includes all.
    exclude : sequence of str, "outcomes" or None
        Patterns that are left out; "outcomes" stands for `OUTCOME_CODES`.

    Returns
    -------
    ndarray of bool of shape (n_codes,)
    """
    out = (
        OUTCOME_CODES if isinstance(exclude, str) and exclude == "outcomes" else exclude
    )
    for name, patterns in (("include", include), ("exclude", out)):
        if isinstance(patterns, str):
            raise ValueError(
                f"EventWindows: {name} must be a tuple of patterns such as ('LAB//*',)"
                f", got {patterns!r}."
            )
    return np.array(
        [
            (include is None or any(fnmatchcase(code, p) for p in include))
            and not any(fnmatchcase(code, p) for p in out or ())
            for code in codes
        ],
        dtype=bool,
    )


USUAL = 0.5  # of the rows may be of patients of whom nothing is known yet


def learn_codes(
    estimator: Any,
    store: EventStore,
    cases: Cases,
    counts: np.ndarray,
    blind: np.ndarray,
) -> np.ndarray:
    """Choose the codes of an estimator, after a look at rows that see nothing.

    Parameters
    ----------
    estimator : estimator
        With the parameters ``closed``, ``min_subjects`` and ``max_codes``.
    store : EventStore
        The events.
    cases : Cases
        The training rows.
    counts, blind : ndarray
        As `count_subjects` returns them.

    Returns
    -------
    ndarray of int of shape (n_chosen,)
        As `choose_codes`.
    """
    owner = type(estimator).__name__
    warn_of_early(store.files, cases, blind, estimator.closed, owner)
    return choose_codes(
        store.codes,
        counts,
        min_subjects=estimator.min_subjects,
        max_codes=estimator.max_codes,
        n_subjects=len(np.unique(cases.subject)),
        blind=blind,
        owner=owner,
    )


def choose_codes(
    codes: list[str],
    counts: np.ndarray,
    *,
    min_subjects: int,
    max_codes: int | None,
    n_subjects: int,
    blind: np.ndarray,
    owner: str,
) -> np.ndarray:
    """Choose codes that are seen often.

    Parameters
    ----------
    codes : list of str
        All codes.
    counts : ndarray of int of shape (n_codes,)
        Of how many subjects each is seen.
    min_subjects : int
        Of how many it must be.
    max_codes : int or None
        How many codes are taken at most.
    n_subjects : int
        How many subjects there are.
    blind : ndarray of bool of shape (n_rows,)
        Which rows see no event.
    owner : str
        Who asks, for the message.

    Returns
    -------
    ndarray of int of shape (n_chosen,)
        Their places, in the order of their names.

    Raises
    ------
    ValueError
        If there is none.
    """
    often = np.flatnonzero(counts >= min_subjects)
    if not len(often):
        raise ValueError(
            f"{owner}: of {(counts > 0).sum()} codes that the training rows may "
            f"see none is of at least min_subjects={min_subjects} of their "
            f"{n_subjects} subjects; {blind.sum()} of {len(blind)} rows see no event. "
            "Check index times, include and exclude, or lower min_subjects."
        )
    ranked = sorted(often, key=lambda i: (-counts[i], codes[i]))
    return np.array(sorted(ranked[:max_codes], key=lambda i: codes[i]))


def count_subjects(
    files: EventFiles, cases: Cases, sight: Sight
) -> tuple[np.ndarray, np.ndarray]:
    """Count of how many subjects each code is seen.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The training rows.
    sight : Sight
        What they may see.

    Returns
    -------
    ndarray of int of shape (n_codes,)
        Number of subjects.
    ndarray of bool of shape (n_rows,)
        Which rows see nothing.
    """
    n_codes = len(sight.codes)
    counts = np.zeros(n_codes, dtype=np.int64)
    blind = np.ones(len(cases.end), dtype=bool)
    for rows, parts in _by_subject(files, cases, sight):
        pairs = np.unique(
            np.concatenate(
                [cases.subject[rows[part.row]] * n_codes + part.code for part in parts]
            )
        )
        counts += np.bincount(pairs % n_codes, minlength=n_codes)
        for part in parts:
            blind[rows[part.row]] = False
    return counts, blind


def warn_of_early(
    files: EventFiles, cases: Cases, blind: np.ndarray, closed: str, owner: str
) -> None:
    """Warn where the index times of most rows are before all their subjects' events.

    A new patient has no past, but most of a cohort rarely is new: ids, index times or
    time zones are wrong then.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The training rows.
    blind : ndarray of bool of shape (n_rows,)
        Which of them see nothing.
    closed : {"left", "right"}
        Whether an event at the end is seen ("right") or not.
    owner : str
        Who asks, for the message.
    """
    if blind.sum() <= USUAL * len(blind):
        return
    blind_rows = np.flatnonzero(blind & (cases.subject >= 0))
    n_early = 0
    for rows in row_chunks(files, cases.subject[blind_rows]):
        some = blind_rows[rows]
        subject, end = cases.subject[some], cases.end[some]
        first = first_times(files, subject)
        late = first >= end if closed == "left" else first > end
        n_early += int((late & (first != NO_TIME)).sum())
    if n_early > USUAL * len(blind):
        warnings.warn(
            f"{owner}: the index times of {n_early} of {len(blind)} training rows are "
            "before all events of their subjects, so that nothing is known of them. "
            "Check ids, index times and time zones.",
            stacklevel=4,
        )


def _by_subject(
    files: EventFiles, cases: Cases, sight: Sight
) -> Iterator[tuple[np.ndarray, list[WindowEvents]]]:
    """Yield some rows and what they see; no subject is in two parts."""
    order = np.argsort(cases.subject, kind="stable")
    subject, end = cases.subject[order], cases.end[order]
    for rows in row_chunks(files, subject):
        part = Cases(subject[rows], end[rows])
        seen = list(visible_events(files, part, sight))
        if seen:
            yield order[rows], seen


def learn_bounds(
    files: EventFiles,
    cases: Cases,
    sight: Sight,
    codes: np.ndarray,
    quantiles: tuple[float, float],
) -> np.ndarray:
    """Learn quantiles of the numbers of each code.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The training rows.
    sight : Sight
        What they may see; an event that several rows see counts for each.
    codes : ndarray of int of shape (n_codes,)
        Of which codes, by their numbers in the store.
    quantiles : (float, float)
        The lower and the upper one, from 0 to 1.

    Returns
    -------
    ndarray of float32 of shape (2, n_codes)
        NaN where a code has no number.

    Raises
    ------
    ValueError
        If the quantiles are not in order between 0 and 1.
    """
    low, high = quantiles
    if not 0 <= low < high <= 1:
        raise ValueError(
            f"EventWindows: clip={quantiles!r} must be two quantiles, the lower one "
            "first, from 0 to 1."
        )
    place = np.full(len(sight.codes), -1)
    place[codes] = np.arange(len(codes))
    numbers, values = [], []
    for _, parts in _by_subject(files, cases, sight):
        for part in parts:
            wanted = (place[part.code] >= 0) & ~np.isnan(part.value)
            numbers.append(place[part.code[wanted]])
            values.append(part.value[wanted])
    number, value = np.concatenate(numbers), np.concatenate(values)
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(codes) + 1))
    bounds = np.full((2, len(codes)), np.nan, dtype=np.float32)
    for i in range(len(codes)):
        some = value[order[starts[i] : starts[i + 1]]]
        if len(some):
            bounds[:, i] = np.quantile(some, [low, high])
    return bounds
