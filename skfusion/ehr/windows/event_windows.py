"""EventWindows: rows with a subject and an index time in, statistics of events out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.cases import EventTransformer, Seen, check_settings
from skfusion.ehr.point_in_time.visibility import Sight, Windows
from skfusion.ehr.point_in_time.vocabulary import (
    chosen_codes,
    learn_bounds,
    learn_codes,
)
from skfusion.ehr.windows.backends import Source, open_source
from skfusion.ehr.windows.engines import ENGINES
from skfusion.ehr.windows.output import DenseOutput, SparseOutput, warn_of_size
from skfusion.ehr.windows.plan import FeaturePlan
from skfusion.ehr.windows.prepared import Preparation, PreparedWindows

__all__ = ["EventWindows"]


class EventWindows(EventTransformer):
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
        billing: `skfusion.ehr.point_in_time.vocabulary.OUTCOME_CODES`.
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
    A feature can be NaN in all training rows, such as a slope in a short window:
    XGBoost takes that, HistGradientBoosting of scikit-learn 1.9 does not;
    `ObservedScaler` makes it 0.

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
        self._check()
        source = self._source()
        store = source.store
        validate_data(self, X, skip_check_array=True)
        cases = self._cases(X, store)
        if not len(cases.end):
            raise ValueError("EventWindows: X has no rows, at least one is needed.")
        windows = Windows.parse(self.windows, self.nested)
        codes = store.codes
        allowed = chosen_codes(codes, self.include, self.exclude)
        sight = Sight(windows, self.closed, allowed, days=False)
        counts, blind = source.count(cases, sight)
        self.n_rows_without_events_ = int(blind.sum())
        chosen = learn_codes(self, store, cases, counts, blind)
        self.codes_ = [codes[i] for i in chosen]
        self.code_counts_ = counts[chosen]
        if self.clip is not None:
            bounds = learn_bounds(store.files, cases, sight, chosen, self.clip)
            self.clip_bounds_ = bounds
        self._seen = Seen(X[self.subject], cases.end)
        if self.output == "dense":
            warn_of_size(len(cases.end), self._plan())
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
        source = self._source()
        cases = self._cases(X, source.store)
        if self.shared_subjects == "warn":
            self._seen.warn_of_shared(X[self.subject], cases.end, "EventWindows")
        kind = SparseOutput if self.output == "sparse" else DenseOutput
        plan = self._plan()
        output = kind(len(cases.end), plan)
        sight, group = self._sight(source.store, plan)
        for block in source.features(cases, sight, group, plan, output.matrix):
            output.add(block)
        return output.finish()

    def prepare(
        self,
        X: Any,
        *,
        windows: Sequence[Any] | None = None,
        aggs: Sequence[str] = (),
        path: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Compute what a search tries once, for all its settings and folds.

        What is computed of a row depends on its own events alone. What is learned,
        which codes there are, stays in the folds.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            All rows of the search. Others can be transformed too, and are computed.
        windows : tuple of str, timedelta or None, default=None
            Windows that the search tries, beside those of the transformer.
        aggs : tuple of str, default=()
            Statistics that it tries, beside those of the transformer.
        path : str or PathLike or None, default=None
            Folder to write. None takes one below ``$SKFUSION_CACHE`` (or the user's
            cache folder), named by the content: the same is computed once.

        Returns
        -------
        EventWindows
            A clone whose `events` are a handle to what was computed. It may vary
            `windows`, `aggs`, `aggs_by_prefix`, `totals`, `min_subjects`, `max_codes`,
            `include` and `exclude` as far as they were prepared, and refuses others.
            Its numbers are those of this transformer within float32 rounding.

        Raises
        ------
        ValueError
            If `clip` is given, or `windows` where they are disjoint.

        Examples
        --------
        >>> import pandas as pd
        >>> from skfusion import EventStore, EventWindows
        >>> store = EventStore.from_frame(pd.DataFrame({
        ...     "subject_id": [1, 1, 2],
        ...     "time": pd.to_datetime(["2024-05-01", "2024-05-09", "2024-05-02"]),
        ...     "code": "crp",
        ...     "numeric_value": [40.0, 10.0, 99.0],
        ... }), date_only=None)
        >>> X = pd.DataFrame({"subject_id": [1, 2],
        ...                   "index_time": pd.Timestamp("2024-05-10")})
        >>> windows = EventWindows(store, windows=("30d",), min_subjects=1)
        >>> prepared = windows.prepare(X, windows=("7d", "30d", "90d"))
        >>> prepared.set_params(windows=("7d", "90d")).fit_transform(X).shape
        (2, 19)
        """
        self._check()
        source = self._source()
        store = source.store
        cases = self._cases(X, store)
        union = Windows.parse(self.windows, self.nested)
        if windows is not None:
            union = union.union(Windows.parse(windows, self.nested))
        by_prefix = (self.aggs_by_prefix or {}).values()
        names = [*aggs, *self.aggs, *(name for some in by_prefix for name in some)]
        codes = chosen_codes(store.codes, self.include, self.exclude)
        what = Preparation(union, names, codes, self.closed)
        how = {"engine": self.engine, "n_jobs": self.n_jobs}
        handle = PreparedWindows.write(store, cases, what, path, **how)
        return clone(self).set_params(events=handle)

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

    def _check(self) -> None:
        check_settings(self, output=("dense", "sparse"), engine=ENGINES)

    def _source(self) -> Source:
        return open_source(
            self.events, clip=self.clip, engine=self.engine, n_jobs=self.n_jobs
        )

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
