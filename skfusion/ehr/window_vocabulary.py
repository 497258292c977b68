"""What the training rows may see in; how often each code is seen, its quantiles out.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from skfusion.ehr.event_files import EventFiles
from skfusion.ehr.window_kernel import WindowEvents
from skfusion.ehr.window_rows import Cases, Sight, row_chunks, visible_events

__all__ = ["choose_codes", "count_subjects", "learn_bounds"]


def choose_codes(
    codes: list[str],
    counts: np.ndarray,
    *,
    min_subjects: int,
    max_codes: int | None,
    n_subjects: int,
    blind: tuple[int, int],
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
    blind : (int, int)
        How many rows see no event, of how many.

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
            f"EventWindows: of {(counts > 0).sum()} codes that the training rows may "
            f"see none is of at least min_subjects={min_subjects} of their "
            f"{n_subjects} subjects; {blind[0]} of {blind[1]} rows see no event. Check "
            "index times, include and exclude, or lower min_subjects."
        )
    ranked = sorted(often, key=lambda i: (-counts[i], codes[i]))
    return np.array(sorted(ranked[:max_codes], key=lambda i: codes[i]))


def count_subjects(
    files: EventFiles, cases: Cases, sight: Sight
) -> tuple[np.ndarray, int]:
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
    int
        How many rows see nothing.
    """
    n_codes = len(sight.codes)
    counts = np.zeros(n_codes, dtype=np.int64)
    n_seeing = 0
    for subject, parts in _by_subject(files, cases, sight):
        pairs = np.unique(
            np.concatenate([subject[part.row] * n_codes + part.code for part in parts])
        )
        counts += np.bincount(pairs % n_codes, minlength=n_codes)
        n_seeing += sum(len(np.unique(part.row)) for part in parts)
    return counts, len(cases.end) - n_seeing


def _by_subject(
    files: EventFiles, cases: Cases, sight: Sight
) -> Iterator[tuple[np.ndarray, list[WindowEvents]]]:
    """Yield subjects of some rows and what they see; no subject is in two parts."""
    order = np.argsort(cases.subject, kind="stable")
    subject, end = cases.subject[order], cases.end[order]
    for rows in row_chunks(files, subject):
        part = Cases(subject[rows], end[rows])
        seen = list(visible_events(files, part, sight))
        if seen:
            yield part.subject, seen


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
