"""Texts of timed events before an index time, with `EventNotes`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._durations import as_microseconds
from skfusion._fitting.pipelines import warn_of_modality
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import check_number
from skfusion.ehr.events.columns import DAY
from skfusion.ehr.events.store import EventStore, as_store
from skfusion.ehr.point_in_time.cases import (
    CHOICES,
    Cases,
    EventTransformer,
    Seen,
    check_choices,
    ids_of,
)
from skfusion.ehr.point_in_time.visibility import (
    UNBOUNDED,
    Sight,
    Windows,
    row_chunks,
    visible_events,
)
from skfusion.ehr.point_in_time.vocabulary import (
    chosen_codes,
    warn_of_early,
    warn_of_outcomes,
    warn_of_unmatched,
)
from skfusion.exceptions import DataWarning

__all__ = ["EventNotes"]

OWNER = "EventNotes"


class EventNotes(EventTransformer):
    """Transformer that lists the texts of events before an index time.

    Each row of `X` is a case, i.e. a subject and an index time. Only texts available
    strictly before the index time are listed. The result is a column of lists of texts,
    which `skfusion.TextEmbedder` embeds.

    Parameters
    ----------
    events : EventStore or path, default=None
        The events, with texts in the column ``text_value``. Clones and processes share
        the same store on disk.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X` with the subject and the index time.
    include : tuple of str or None, default=None
        Patterns of codes to include, such as ``"NOTE//*"``. None includes all codes
        with texts, also results such as "POSITIVE".
    exclude : tuple of str, "outcomes" or None, default="outcomes"
        Patterns of codes to exclude, as in `EventWindows`.
    window : str, timedelta or None, default=None
        Look-back length. None is the whole history.
    max_notes : int or None, default=10
        Maximum number of texts of a row, the newest ones. None lists all.
    with_times : bool, default=False
        Whether the lists contain pairs (text, time), as
        ``TextEmbedder(bag_pooling="recent")`` takes them.
    closed : {"left", "right"}, default="left"
        Left: the window is ``[end - length, end)``, and a text must be available before
        the end. Right: the window is ``(end - length, end]``, and a text available
        exactly at the end is visible.
    gap : str or timedelta, default="0h"
        Time between the end of the window and the index time.
    unknown_subject : {"error", "empty"}, default="error"
        Treatment of subjects that are not in the store.
    shared_subjects : {"warn", "ignore"}, default="warn"
        Whether `transform` warns about rows of training subjects at other index times.
        Such rows indicate a split that does not group by patient.

    Attributes
    ----------
    codes_ : list of str
        Codes with a text that is visible in a training row.
    n_rows_without_notes_ : int
        Number of training rows without a visible text.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Names of the columns of `X`.

    See Also
    --------
    skfusion.TextEmbedder : Embeddings of the texts.
    EventWindows : Statistics of numeric values and counts of events.

    Notes
    -----
    Nothing is learned from the texts. A code that occurs in no training row is listed
    in other rows. Texts of the same time are listed in the reverse order of the source.
    A discharge summary describes the outcome of its stay, and is often stored with the
    time of admission. Set its ``available_time`` to the time when it was written, e.g.
    with `EventStore.with_lags`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore
    >>> from skfusion.ehr import EventNotes
    >>> events = EventStore.from_frame(pd.DataFrame({
    ...     "subject_id": [1, 1, 1],
    ...     "time": pd.to_datetime(["2024-05-01 09:00", "2024-05-09 09:30",
    ...                             "2024-05-10 12:00"]),
    ...     "code": "NOTE//radiology",
    ...     "text_value": ["No effusion.", "Small effusion.", "Drained."],
    ... }))
    >>> X = pd.DataFrame({"subject_id": [1],
    ...                   "index_time": pd.to_datetime(["2024-05-10 12:00"])})
    >>> EventNotes(events, include=["NOTE//*"]).fit_transform(X)[0, 0]
    ['Small effusion.', 'No effusion.']
    """

    __module__ = "skfusion.ehr"

    def __init__(
        self,
        events: EventStore | str | os.PathLike[str] | None = None,
        *,
        subject: str = "subject_id",
        time: str = "index_time",
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | str | None = "outcomes",
        window: Any = None,
        max_notes: int | None = 10,
        with_times: bool = False,
        closed: str = "left",
        gap: Any = "0h",
        unknown_subject: str = "error",
        shared_subjects: str = "warn",
    ) -> None:
        self.events = events
        self.subject = subject
        self.time = time
        self.include = include
        self.exclude = exclude
        self.window = window
        self.max_notes = max_notes
        self.with_times = with_times
        self.closed = closed
        self.gap = gap
        self.unknown_subject = unknown_subject
        self.shared_subjects = shared_subjects

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the parameters, and find the codes with texts in the training rows.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times.
        y : ignored
            Present for API consistency.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is invalid, no event of the store has a text, or for the
            reasons given in `transform`.

        Warns
        -----
        DataWarning
            If no text is visible in any row, or most index times are before all events.
            Also if codes are left out because they reveal an outcome, or a pattern of
            `include` matches no code.
        LeakageWarning
            If a pattern of `exclude` matches no code.
        """
        self._check()
        store = as_store(self.events, OWNER)
        if "text" not in store.files.columns:
            raise ValueError(
                f"{OWNER}: no event of the store has a text, of {store.files.n_events} "
                "events. Write the texts into the column text_value of the events "
                "(EventStore.from_frame)."
            )
        cases = self._training_cases(X, store)
        warn_of_outcomes(self, store.codes)
        warn_of_unmatched(self, store.codes)
        none = np.ones(len(cases.end), dtype=bool)
        seen = np.zeros(len(store.codes), dtype=bool)
        for start, found in self._visible(store, cases):
            none[start + found.row] = False
            seen[found.code] = True
        warn_of_early(store.files, cases, none, self.closed, OWNER)
        if none.all():
            warn_of_modality(
                "no notes",
                f"{OWNER}: no text is visible in any of the {len(none)} rows. Check "
                "include, window and the index times.",
                DataWarning,
            )
        self.codes_ = [store.codes[i] for i in np.flatnonzero(seen)]
        self.n_rows_without_notes_ = int(none.sum())
        self._seen = Seen(ids_of(X, self.subject, OWNER), cases.end)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """List the texts that each row may see, the newest first.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times.

        Returns
        -------
        ndarray of object of shape (n_samples, 1)
            Lists of at most `max_notes` texts, empty for rows without a visible text.
            With `with_times`, lists of pairs (text, time). Times with a zone are in
            UTC.

        Raises
        ------
        ValueError
            If a column or an index time is missing, time zones are mixed, subjects are
            unknown (see `unknown_subject`), or the events changed.
        TypeError
            If ids or times are of another dtype than in the events.
        """
        check_is_fitted(self)
        validate_data(self, X, reset=False, skip_check_array=True)
        store = as_store(self.events, OWNER)
        cases = self._cases(X, store)
        if self.shared_subjects == "warn":
            self._seen.warn_of_shared(ids_of(X, self.subject, OWNER), cases.end, OWNER)
        notes: list[list[Any]] = [[] for _ in range(len(cases.end))]
        if "text" in store.files.columns:
            words = store.files.words("text")
            for start, found in self._visible(store, cases):
                rows = start + found.row
                kept = _newest(rows, self.max_notes)
                texts: list[Any] = [words[i] for i in found.text[kept]]
                if self.with_times:
                    ahead = np.rint(found.ahead[kept] * DAY).astype(np.int64)
                    times = self._times(cases.end[rows[kept]] - ahead, store)
                    texts = list(zip(texts, times, strict=True))
                for row, text in zip(rows[kept], texts, strict=True):
                    notes[row].append(text)
        result = np.empty((len(notes), 1), dtype=object)
        for row, found_notes in enumerate(notes):
            result[row, 0] = found_notes
        return result

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the name of the column of texts, ``"notes"``.

        Parameters
        ----------
        input_features : ignored
            Present for API consistency.

        Returns
        -------
        ndarray of str of shape (1,)
        """
        check_is_fitted(self)
        return np.array(["notes"], dtype=object)

    def _visible(self, store: EventStore, cases: Cases) -> Iterator[tuple[int, Any]]:
        """Yield the position of the first row of a chunk, and its visible texts."""
        allowed = chosen_codes(self, store.codes)
        sight = Sight(self._windows(), self.closed, allowed, days=False, texts=True)
        for rows in row_chunks(store.files, cases.subject):
            part = Cases(cases.subject[rows], cases.end[rows])
            for found in visible_events(store.files, part, sight):
                yield rows.start, found

    def _windows(self) -> Windows:
        if self.window is None:
            return Windows(np.array([UNBOUNDED]), ("all",), nested=True)
        length = as_microseconds(self.window)
        if length <= 0:
            raise ValueError(
                f"{OWNER}: window must be a positive time such as '30d', or None for "
                f"the whole history, got {self.window!r}."
            )
        return Windows(np.array([length], dtype=np.int64), ("window",), nested=True)

    @staticmethod
    def _times(times: np.ndarray, store: EventStore) -> list[pd.Timestamp]:
        found = pd.DatetimeIndex(times.view("datetime64[us]"))
        return list(found.tz_localize("UTC") if store.has_time_zone else found)

    def _check(self) -> None:
        check_choices(self, CHOICES)
        if self.max_notes is not None:
            check_number(self.max_notes, "max_notes", OWNER, low=1, integer=True)
        self._windows()


def _newest(rows: np.ndarray, limit: int | None) -> np.ndarray:
    """Return the positions of the newest events of each row, the newest first.

    Parameters
    ----------
    rows : ndarray of int of shape (n_events,)
        Row of each event, in order of rows and then of time.
    limit : int or None
        Maximum number of events of a row.

    Returns
    -------
    ndarray of int
    """
    order = np.arange(len(rows))[::-1]
    if limit is None:
        return order
    last = np.searchsorted(rows, rows, "right")
    return order[(last - np.arange(len(rows)))[order] <= limit]
