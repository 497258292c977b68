"""Sequences of timed events on a regular time grid, with `EventGrid`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._durations import as_microseconds
from skfusion._fitting.state import undone_on_failure
from skfusion._validation import did_you_mean
from skfusion.ehr.events.reader import EventFiles
from skfusion.ehr.events.store import EventStore, as_store
from skfusion.ehr.point_in_time.cases import (
    Cases,
    EventTransformer,
    Seen,
    check_settings,
    ids_of,
)
from skfusion.ehr.point_in_time.other_events import learned_units
from skfusion.ehr.point_in_time.visibility import (
    Sight,
    Windows,
    row_chunks,
    visible_events,
)
from skfusion.ehr.point_in_time.vocabulary import (
    chosen_codes,
    count_subjects,
    learn_codes,
)

__all__ = ["CHANNELS", "EventGrid", "GridEvents", "bin_events", "events_on_grids"]


CHANNELS = ("value", "observed", "since")
CHUNK = 512  # Rows in a chunk, to limit the memory of 64-bit intermediate arrays.


class GridEvents(NamedTuple):
    """Events on the grids of some rows, in order of time.

    Attributes
    ----------
    row : ndarray of int of shape (n_events,)
        Row of each event.
    step : ndarray of int of shape (n_events,)
        Time step, 0 for the earliest.
    code : ndarray of int of shape (n_events,)
        Position of the code on the grid.
    value : ndarray of float of shape (n_events,)
        Numeric value, or NaN.
    """

    row: np.ndarray
    step: np.ndarray
    code: np.ndarray
    value: np.ndarray


def events_on_grids(
    files: EventFiles, cases: Cases, sight: Sight, group: np.ndarray
) -> Iterator[tuple[int, GridEvents]]:
    """Yield the events on the grids of the rows, in chunks of rows.

    Parameters
    ----------
    files : EventFiles
        The events.
    cases : Cases
        The rows.
    sight : Sight
        The visibility rules. Each band of the windows is a step of the grid.
    group : ndarray of int of shape (n_codes,)
        Position on the grid of each code of the store.

    Yields
    ------
    int
        Position of row 0 among all rows.
    GridEvents
        Events of at most `CHUNK` rows.
    """
    last_step = len(sight.windows.lengths) - 1
    for rows in row_chunks(files, cases.subject):
        for start in range(rows.start, rows.stop, CHUNK):
            some = slice(start, min(start + CHUNK, rows.stop))
            part = Cases(cases.subject[some], cases.end[some])
            for seen in visible_events(files, part, sight):
                step = last_step - seen.band
                yield start, GridEvents(seen.row, step, group[seen.code], seen.value)


def bin_events(
    events: GridEvents,
    shape: tuple[int, int, int],
    aggregation: str = "mean",
    counted: np.ndarray | None = None,
) -> np.ndarray:
    """Aggregate events into the cells of grids.

    Parameters
    ----------
    events : GridEvents
        The events.
    shape : (int, int, int)
        Number of rows, of steps T and of codes C.
    aggregation : {"mean", "last"}, default="mean"
        Aggregation of several values of one code in one step.
    counted : ndarray of bool of shape (C,) or None, default=None
        Codes without numeric values, whose value is the number of events. For other
        codes, events without a numeric value are ignored.

    Returns
    -------
    ndarray of float32 of shape (n_rows, T, 3, C)
        The value (0 if missing), an indicator of an observed value, and the time since
        the last observed value as a fraction of T (0 in the first step).

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.event_grid import GridEvents, bin_events
    >>> events = GridEvents(*np.array([[0, 0], [0, 0], [0, 0]]), np.array([1.0, 3.0]))
    >>> bin_events(events, (1, 2, 1))[0, :, :, 0]
    array([[2. , 1. , 0. ],
           [0. , 0. , 0.5]], dtype=float32)
    """
    n_rows, n_steps, n_codes = shape
    if counted is None:
        counted = np.zeros(n_codes, dtype=bool)
    is_counted = counted[events.code]
    told = is_counted | ~np.isnan(events.value)
    row, step, code, value = (part[told] for part in events)
    value = np.where(is_counted[told], 1.0, value)
    cell = (row * n_steps + step) * n_codes + code
    size = n_rows * n_steps * n_codes
    number = np.bincount(cell, minlength=size)
    total = np.bincount(cell, weights=value, minlength=size)
    averaged = total / np.maximum(number, 1)
    if aggregation == "last":
        averaged[cell] = value  # With repeated indices, NumPy keeps the last value.
    counts = np.tile(counted, n_rows * n_steps)
    grid = np.zeros((n_rows, n_steps, len(CHANNELS), n_codes), dtype=np.float32)
    grid[:, :, 0] = np.where(counts, total, averaged).reshape(shape)
    grid[:, :, 1] = (number > 0).reshape(shape)
    for t in range(1, n_steps):
        before = grid[:, t - 1]
        grid[:, t, 2] = np.where(before[:, 1] > 0, 0.0, before[:, 2]) + 1 / n_steps
    return grid


class EventGrid(EventTransformer):
    """Transformer that puts events before an index time on a regular time grid.

    Each cell of the grid has three channels: the value (standardised on the training
    rows, 0 if missing), an indicator of an observed value, and the time since the last
    observed value as a fraction of the grid. `skfusion.fusion.GRUDEncoder` and
    ``SequenceTransformer`` encode such grids in joint fusion with images.

    Parameters
    ----------
    events : EventStore or path, default=None
        The events. Clones and processes share the same store on disk.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X` with the subject and the index time.
    horizon, step : str or timedelta, default="48h" and "1h"
        Look-back length of the grid and length of a step. The horizon must be a
        multiple of the step.
    codes : sequence of str or None, default=None
        Codes of the grid. None selects the codes visible in most training subjects.
    include : tuple of str or None, default=None
        Patterns of codes to include, such as ``"LAB//*"``. None includes all codes.
    exclude : tuple of str, "outcomes" or None, default="outcomes"
        Patterns of codes to exclude, as in `EventWindows`.
    min_subjects : int or float, default=10
        Minimum number of training subjects in which a code must be visible, or a share
        of them between 0 and 1. If no code is left, `fit` warns and there are no
        features, as in `EventWindows`.
    max_codes : int or None, default=50
        Maximum number of codes.
    aggregation : {"mean", "last"}, default="mean"
        Aggregation of several values of one code in one step. For codes without
        numeric values in the training rows, the value is the number of events.
    closed : {"left", "right"}, default="left"
        Left: steps are ``[start, end)``, and an event must be available before the end
        of the grid. Right: steps are ``(start, end]``, and an event available exactly
        at the end is visible.
    gap : str or timedelta, default="0h"
        Time between the end of the grid and the index time.
    unknown_subject : {"error", "empty"}, default="error"
        Treatment of subjects that are not in the store.
    shared_subjects : {"warn", "ignore"}, default="warn"
        Whether `transform` warns about rows of training subjects at other index times.

    Attributes
    ----------
    codes_ : list of str
        The codes, in the order of the grid.
    counted_ : ndarray of bool of shape (n_codes,)
        Whether a code has no numeric values and is counted.
    mean_, scale_ : ndarray of shape (n_codes,)
        Mean and standard deviation for the standardisation of the values.
    n_steps_ : int
        Number of time steps.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns of `X`.

    Notes
    -----
    A row without a visible event is NaN, which fusion estimators treat as an absent
    modality.

    Examples
    --------
    >>> from functools import partial
    >>> from sklearn.pipeline import make_pipeline
    >>> from skfusion.ehr import EventGrid
    >>> from skfusion.fusion import TorchEncoder
    >>> from skfusion.fusion import GRUDEncoder
    >>> def labs_modality(store):
    ...     grid = EventGrid(store, horizon="48h", step="2h")
    ...     encoder = TorchEncoder(partial(GRUDEncoder, n_steps=24))
    ...     return "labs", make_pipeline(grid, encoder), ["subject_id", "index_time"]
    """

    __module__ = "skfusion.ehr"

    def __init__(
        self,
        events: EventStore | str | os.PathLike[str] | None = None,
        *,
        subject: str = "subject_id",
        time: str = "index_time",
        horizon: Any = "48h",
        step: Any = "1h",
        codes: Sequence[str] | None = None,
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | str | None = "outcomes",
        min_subjects: float = 10,
        max_codes: int | None = 50,
        aggregation: str = "mean",
        closed: str = "left",
        gap: Any = "0h",
        unknown_subject: str = "error",
        shared_subjects: str = "warn",
    ) -> None:
        self.events = events
        self.subject = subject
        self.time = time
        self.horizon = horizon
        self.step = step
        self.codes = codes
        self.include = include
        self.exclude = exclude
        self.min_subjects = min_subjects
        self.max_codes = max_codes
        self.aggregation = aggregation
        self.closed = closed
        self.gap = gap
        self.unknown_subject = unknown_subject
        self.shared_subjects = shared_subjects

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn codes, means and standard deviations from the visible events.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times.
        y : ignored
            Present for API consistency.

        Returns
        -------
        self
            The fitted grid.

        Raises
        ------
        ValueError
            If a parameter is invalid, one of `codes` is not in the store, or for the
            reasons given in `transform`.

        Warns
        -----
        DataWarning
            As in `EventWindows.fit`.
        """
        check_settings(self, aggregation=("mean", "last"))
        windows = self._windows()
        store = as_store(self.events, "EventGrid")
        cases = self._training_cases(X, store)
        self.n_steps_ = len(windows.lengths)
        self.codes_ = self._choose_codes(store, cases, windows)
        self._units = learned_units(store, self.codes_)
        numbers = np.zeros(len(self.codes_), dtype=np.int64)
        for _, events in self._events(store, cases):
            known = events.code[~np.isnan(events.value)]
            numbers += np.bincount(known, minlength=len(numbers))
        self.counted_ = numbers == 0
        totals = np.zeros((3, len(self.codes_)))
        for _, grid in self._grids(store, cases):
            value, seen = grid[:, :, 0].astype(np.float64), grid[:, :, 1]
            totals += [(part * seen).sum(axis=(0, 1)) for part in (1, value, value**2)]
        number = np.maximum(totals[0], 1)
        self.mean_ = totals[1] / number
        spread = np.sqrt(np.maximum(totals[2] / number - self.mean_**2, 0))
        # Rounding errors give constant values a tiny standard deviation.
        self.scale_ = np.where(spread > 1e-6 * np.abs(self.mean_), spread, 1.0)
        # Counts are not centred, because a count that is always 1 would become 0.
        self.mean_ = np.where(self.counted_, 0.0, self.mean_)
        self._seen = Seen(ids_of(X, self.subject, "EventGrid"), cases.end)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the flattened grid of each row.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times.

        Returns
        -------
        ndarray of float32 of shape (n_samples, n_steps * 3 * n_codes)
            Grids in order of time steps, with values, indicators and times since.

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
        store = as_store(self.events, "EventGrid")
        cases = self._cases(X, store)
        if self.shared_subjects == "warn":
            subjects = ids_of(X, self.subject, "EventGrid")
            self._seen.warn_of_shared(subjects, cases.end, "EventGrid")
        width = self.n_steps_ * len(CHANNELS) * len(self.codes_)
        result = np.full((len(cases.end), width), np.nan, dtype=np.float32)
        for rows, grid in self._grids(store, cases):
            seen = grid[:, :, 1]
            grid[:, :, 0] = (grid[:, :, 0] - self.mean_) / self.scale_ * seen
            there = seen.any(axis=(1, 2))
            result[rows][there] = grid[there].reshape(-1, width)
        return result

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the feature names ``<code>__<steps before the end>__<channel>``.

        Parameters
        ----------
        input_features : ignored
            Present for API consistency.

        Returns
        -------
        ndarray of str of shape (n_features,)
        """
        check_is_fitted(self)
        names = [
            f"{code}__{self.n_steps_ - 1 - step}__{channel}"
            for step in range(self.n_steps_)
            for channel in CHANNELS
            for code in self.codes_
        ]
        return np.asarray(names, dtype=object)

    def _windows(self) -> Windows:
        """Return a band for each step, ordered from the end of the grid backwards."""
        horizon, step = as_microseconds(self.horizon), as_microseconds(self.step)
        if not 0 < step <= horizon or horizon % step:
            raise ValueError(
                "EventGrid: horizon must be a positive multiple of "
                f"step={self.step!r}, got {self.horizon!r}."
            )
        lengths = np.arange(step, horizon + 1, step)
        return Windows(lengths, tuple(map(str, range(len(lengths)))), nested=False)

    def _choose_codes(
        self, store: EventStore, cases: Cases, windows: Windows
    ) -> list[str]:
        known = store.codes
        if self.codes is not None:
            absent = sorted(set(self.codes) - set(known))
            if absent:
                raise ValueError(
                    f"EventGrid: got {len(absent)} of {len(self.codes)} codes that are "
                    f"not among the {len(known)} codes of the events, the first is "
                    f"{absent[0]!r}.{did_you_mean(absent[0], known)}"
                )
            return list(self.codes)
        allowed = chosen_codes(self, known)
        sight = Sight(windows, self.closed, allowed, days=False)
        counts, no_events = count_subjects(store.files, cases, sight)
        chosen = learn_codes(self, store, cases, counts, no_events)
        return [known[i] for i in chosen]

    def _events(
        self, store: EventStore, cases: Cases
    ) -> Iterator[tuple[int, GridEvents]]:
        group = pd.Index(self.codes_).get_indexer(pd.Index(store.codes))
        sight = Sight(self._windows(), self.closed, group >= 0, days=False)
        return events_on_grids(store.files, cases, sight, group)

    def _grids(
        self, store: EventStore, cases: Cases
    ) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield rows with visible events, and their grids of shape (n, T, 3, C)."""
        for start, events in self._events(store, cases):
            if not len(events.row):
                continue
            first, last = int(events.row[0]), int(events.row[-1]) + 1
            part = events._replace(row=events.row - first)
            shape = last - first, self.n_steps_, len(self.codes_)
            grid = bin_events(part, shape, self.aggregation, self.counted_)
            yield slice(start + first, start + last), grid
