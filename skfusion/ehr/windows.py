"""EventWindows: rows with a subject and an index time in, statistics of events out.

Read next: `skfusion.ehr.window_rows`, which events a row may see, then
`skfusion.ehr.window_kernel`, what is computed of them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral
from typing import Any, Self

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion.ehr.events import EventStore
from skfusion.ehr.window_cases import Seen, read_cases
from skfusion.ehr.window_fast import ENGINES, uses_numba
from skfusion.ehr.window_features import row_features
from skfusion.ehr.window_output import DenseOutput, SparseOutput
from skfusion.ehr.window_plan import FeaturePlan, Windows, chosen_codes
from skfusion.ehr.window_rows import Cases, Sight, events_of, row_chunks
from skfusion.ehr.window_vocabulary import count_subjects, learn_bounds

__all__ = ["EventWindows"]

LARGE = 2**30  # bytes of a dense result that are worth a warning
CHOICES: dict[str, tuple[Any, ...]] = {
    "closed": ("left", "right"),
    "unknown_subject": ("error", "empty"),
    "shared_subjects": ("warn", "ignore"),
    "output": ("dense", "sparse"),
    "engine": ENGINES,
}


class EventWindows(TransformerMixin, BaseEstimator):
    """Compute statistics of each code in windows that end at an index time.

    Each row of `X` is a case: a subject and the moment of prediction. An event enters
    its features if it was available strictly before that moment; nothing later can.
    Which codes become features is learned in `fit`, from what the training rows may
    see.

    Parameters
    ----------
    events : EventStore or path, default=None
        The events: a handle, which clones and processes share.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X`: whose events, and the moment of prediction.
    windows : tuple of str, timedelta or None, default=("1d", "30d", "365d", None)
        How far windows reach back; None is the whole history.
    nested : bool, default=True
        Whether each window holds the shorter ones. False gives bands beside one
        another, named such as ``"1d-30d"``.
    aggs : tuple of str
        Statistics, of ``present``, ``count``, ``n_days`` (days with an event),
        ``last``, ``first``, ``mean``, ``min``, ``max``, ``range``, ``std`` (n - 1),
        ``slope`` (per day, by least squares; only where the numbers span an hour and
        1 % of the window), ``since_last``, ``since_first`` (days before the end of the
        window), ``delta`` (last - mean). Default: count, last, mean, min, max, slope
        and since_last.
    aggs_by_prefix : mapping of str to tuple of str, default=None
        What a code begins with -> its statistics instead, such as
        ``{"DIAGNOSIS//": ("present", "since_last")}``.
    totals : tuple of str, default=("count", "n_codes", "history")
        Statistics over all codes: events and different codes in each window, and days
        since the first event.
    include : tuple of str or None, default=None
        Patterns of codes such as ``"LAB//*"``; None takes all.
    exclude : tuple of str, "outcomes" or None, default="outcomes"
        Patterns of codes left out. "outcomes" are codes of death, discharge and
        billing: `skfusion.ehr.window_plan.OUTCOME_CODES`.
    min_subjects : int, default=10
        Of how many subjects of the training rows a code must be seen.
    max_codes : int or None, default=None
        Most codes; those of most subjects are taken.
    closed : {"left", "right"}, default="left"
        Left: windows hold ``[end - length, end)``, and an event must be available
        before the end. Right: ``(end - length, end]``, and at the end is early enough.
    gap : str or timedelta, default="0h"
        Windows end this long before the index time.
    clip : (float, float) or None, default=None
        Quantiles of each code's numbers, learned in `fit`, that they are clipped to.
    unknown_subject : {"error", "empty"}, default="error"
        What becomes of subjects that the store does not have.
    shared_subjects : {"warn", "ignore"}, default="warn"
        Whether to warn when rows to transform are of subjects of the training rows, at
        other index times: a sign that a split cuts patients in two.
    output : {"dense", "sparse"}, default="dense"
        Dense: NaN where nothing is known. Sparse: a CSR array that does not store it,
        and stores measured zeros; `ObservedScaler` and XGBoost read it so, other
        estimators (and a fusion, to which it must not be given as it is) take 0.
    engine : {"auto", "numpy", "numba"}, default="auto"
        What computes; the numbers are the same, to the bit. Auto takes numba (extra
        ``fast``) from five million events on, if it is installed; it compiles for some
        seconds once, and keeps that.
    n_jobs : int or None, default=None
        Threads.

    Attributes
    ----------
    codes_ : list of str
        The codes, in the order of the columns.
    code_counts_ : ndarray of int of shape (n_codes,)
        Of how many subjects of the training rows each was seen.
    clip_bounds_ : ndarray of float32 of shape (2, n_codes)
        What numbers are clipped to; only with `clip`.
    n_rows_without_events_ : int
        How many training rows see no event at all.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Their names.

    See Also
    --------
    EventGrid : The same events on a grid of time, for nets.

    Notes
    -----
    Features are named ``<code>__<window>__<statistic>``, those over all codes have the
    code ``*``; `skfusion.ehr.parse_feature` reads a name back. Events with the same
    time are in the order of the source. Static events (without time) are in no window.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore, EventWindows
    >>> events = pd.DataFrame({
    ...     "subject_id": [1, 1, 1],
    ...     "time": pd.to_datetime(["2024-05-01 09:00", "2024-05-09 09:30",
    ...                             "2024-05-10 12:00"]),
    ...     "code": ["crp", "crp", "crp"],
    ...     "numeric_value": [40.0, 10.0, 99.0],
    ... })
    >>> X = pd.DataFrame({"subject_id": [1],
    ...                   "index_time": pd.to_datetime(["2024-05-10 12:00"])})
    >>> windows = EventWindows(EventStore.from_frame(events), windows=("7d", "30d"),
    ...                        aggs=("count", "mean"), totals=(), min_subjects=1)
    >>> windows.set_output(transform="pandas").fit_transform(X)
       crp__7d__count  crp__7d__mean  crp__30d__count  crp__30d__mean
    0             1.0           10.0              2.0            25.0
    """

    def __init__(
        self,
        events: EventStore | str | os.PathLike[str] | None = None,
        *,
        subject: str = "subject_id",
        time: str = "index_time",
        windows: Sequence[Any] = ("1d", "30d", "365d", None),
        nested: bool = True,
        aggs: Sequence[str] = (
            *("count", "last", "mean", "min", "max", "slope", "since_last"),
        ),
        aggs_by_prefix: Mapping[str, Sequence[str]] | None = None,
        totals: Sequence[str] = ("count", "n_codes", "history"),
        include: Sequence[str] | None = None,
        exclude: Sequence[str] | str | None = "outcomes",
        min_subjects: int = 10,
        max_codes: int | None = None,
        closed: str = "left",
        gap: Any = "0h",
        clip: tuple[float, float] | None = None,
        unknown_subject: str = "error",
        shared_subjects: str = "warn",
        output: str = "dense",
        engine: str = "auto",
        n_jobs: int | None = None,
    ) -> None:
        self.events = events
        self.subject = subject
        self.time = time
        self.windows = windows
        self.nested = nested
        self.aggs = aggs
        self.aggs_by_prefix = aggs_by_prefix
        self.totals = totals
        self.include = include
        self.exclude = exclude
        self.min_subjects = min_subjects
        self.max_codes = max_codes
        self.closed = closed
        self.gap = gap
        self.clip = clip
        self.unknown_subject = unknown_subject
        self.shared_subjects = shared_subjects
        self.output = output
        self.engine = engine
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn which codes there are, from what the training rows may see.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            With a column of subjects and one of index times.
        y : ignored
            Present for the API.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter makes no sense, or no code is seen of enough subjects, or
            see `transform`.
        """
        self._check_parameters()
        store = self._store()
        validate_data(self, X, skip_check_array=True)
        cases = self._cases(X, store)
        if not len(cases.end):
            raise ValueError("EventWindows: X has no rows, at least one is needed.")
        windows = Windows.parse(self.windows, self.nested)
        allowed = chosen_codes(store.codes, self.include, self.exclude)
        sight = Sight(windows, self.closed, allowed, days=False)
        files = store.files
        counts, self.n_rows_without_events_ = count_subjects(files, cases, sight)
        self._choose_codes(store.codes, counts, cases)
        if self.clip is not None:
            numbers = np.array([store.codes.index(code) for code in self.codes_])
            bounds = learn_bounds(files, cases, sight, numbers, self.clip)
            self.clip_bounds_ = bounds
        self._seen = Seen(X[self.subject], cases.end)
        self._warn_of_size(len(cases.end), self._plan())
        return self

    def transform(self, X: Any) -> Any:
        """Compute the statistics.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            With a column of subjects and one of index times; a row may be there more
            than once.

        Returns
        -------
        ndarray or CSR array of float32 of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If a column or an index time is missing, time zones are mixed, subjects are
            unknown (see `unknown_subject`), or the events changed.
        TypeError
            If ids or times are of another kind than in the events.
        """
        check_is_fitted(self)
        validate_data(self, X, reset=False, skip_check_array=True)
        store = self._store()
        cases = self._cases(X, store)
        if self.shared_subjects == "warn":
            self._seen.warn_of_shared(X[self.subject], cases.end, "EventWindows")
        kind = SparseOutput if self.output == "sparse" else DenseOutput
        plan, files = self._plan(), store.files
        output = kind(len(cases.end), plan)
        compiled = uses_numba(self.engine, events_of(files, cases.subject).sum())
        work = partial(row_features, files, *self._sight(store, plan), plan, compiled)
        chunks = row_chunks(files, cases.subject)
        tasks = ((rows, Cases(cases.subject[rows], cases.end[rows])) for rows in chunks)
        if self.n_jobs in (None, 1):
            blocks = (block for task in tasks for block in work(*task))
        else:
            threads = Parallel(self.n_jobs, prefer="threads", return_as="generator")
            lists = threads(delayed(_listed)(work, *task) for task in tasks)
            blocks = (block for each in lists for block in each)
        for block in blocks:
            output.add(block)
        return output.finish()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names ``<code>__<window>__<statistic>``.

        Parameters
        ----------
        input_features : ignored
            Present for the API.

        Returns
        -------
        ndarray of str of shape (n_features,)
        """
        check_is_fitted(self)
        return np.asarray(self._plan().names, dtype=object)

    def _check_parameters(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"EventWindows: {name} must be one of {allowed}, got "
                    f"{getattr(self, name)!r}."
                )
        for name in ("min_subjects", "max_codes"):
            value = getattr(self, name)
            if value is None and name == "max_codes":
                continue
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(
                    f"EventWindows: {name} must be a whole number of at least 1, got "
                    f"{value!r}."
                )

    def _store(self) -> EventStore:
        if isinstance(self.events, EventStore):
            return self.events
        if isinstance(self.events, str | os.PathLike):
            return EventStore(self.events)
        raise TypeError(
            "EventWindows: events must be an EventStore or the path of one, got "
            f"{type(self.events).__name__}. Make one of a table with "
            "EventStore.from_frame(table)."
        )

    def _cases(self, X: Any, store: EventStore) -> Cases:
        return read_cases(
            X,
            store,
            subject=self.subject,
            time=self.time,
            gap=self.gap,
            unknown_subject=self.unknown_subject,
            owner="EventWindows",
        )

    def _choose_codes(self, codes: list[str], counts: np.ndarray, cases: Cases) -> None:
        often = np.flatnonzero(counts >= self.min_subjects)
        if not len(often):
            raise ValueError(
                f"EventWindows: of {(counts > 0).sum()} codes that the training rows "
                f"may see none is of at least min_subjects={self.min_subjects} of "
                f"their {len(np.unique(cases.subject))} subjects; "
                f"{self.n_rows_without_events_} of {len(cases.end)} rows see no event. "
                "Check index times, include and exclude, or lower min_subjects."
            )
        ranked = sorted(often, key=lambda i: (-counts[i], codes[i]))
        chosen = sorted(ranked[: self.max_codes], key=lambda i: codes[i])
        self.codes_ = [codes[i] for i in chosen]
        self.code_counts_ = counts[chosen]

    def _sight(self, store: EventStore, plan: FeaturePlan) -> tuple[Sight, np.ndarray]:
        """Return what is seen, and the column group of each code of the store."""
        codes = store.codes
        group = pd.Index(self.codes_).get_indexer(pd.Index(codes))
        allowed = group >= 0
        if plan.totals:
            allowed = chosen_codes(codes, self.include, self.exclude)
        bounds = None
        if self.clip is not None:
            bounds = np.full((2, len(codes)), np.nan, dtype=np.float32)
            bounds[:, group >= 0] = self.clip_bounds_[:, group[group >= 0]]
        windows = Windows.parse(self.windows, self.nested)
        days = "n_days" in plan.statistics
        return Sight(windows, self.closed, allowed, bounds, days), group

    def _plan(self) -> FeaturePlan:
        windows = Windows.parse(self.windows, self.nested)
        chosen = self.aggs, self.aggs_by_prefix, self.totals
        return FeaturePlan(self.codes_, windows, *chosen)

    def _warn_of_size(self, n_rows: int, plan: FeaturePlan) -> None:
        size = 4 * n_rows * len(plan.names)
        if self.output == "dense" and size > LARGE:
            warnings.warn(
                f"EventWindows: {len(self.codes_)} codes give {len(plan.names)} "
                f"features, for {n_rows} rows {size / 2**30:.1f} GiB. Raise "
                "min_subjects, pass max_codes, or output='sparse' with a learner that "
                "takes it.",
                stacklevel=3,
            )

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def _listed(work: Any, *task: Any) -> list[Any]:
    return list(work(*task))
