"""Features from timed events in windows before an index time, with `EventWindows`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted, validate_data

from skfusion._fitting.pipelines import warn_of_modality
from skfusion._fitting.state import undone_on_failure
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.events.transforms import unmatched_prefixes
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
    subject_order,
)
from skfusion.ehr.point_in_time.vocabulary import (
    chosen_codes,
    learn_bounds,
    learn_codes,
)
from skfusion.ehr.windows.backends import Source, check_unclipped, open_source
from skfusion.ehr.windows.engines import ENGINES
from skfusion.ehr.windows.output import DenseOutput, SparseOutput, warn_of_size
from skfusion.ehr.windows.plan import FeaturePlan, code_groups, feature_plan
from skfusion.ehr.windows.prepared import Preparation, PreparedWindows
from skfusion.exceptions import DataWarning

__all__ = ["EventWindows"]


class EventWindows(EventTransformer):
    """Transformer that computes statistics of events in windows before an index time.

    Each row of `X` is a case, i.e. a subject and an index time. Only events available
    strictly before the index time enter the features of a row. The codes that become
    features are learned in `fit` from the events visible to the training rows.

    Parameters
    ----------
    events : EventStore or path, default=None
        The events. Clones and processes share the same store on disk.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X` with the subject and the index time.
    windows : tuple of str, timedelta or None, default=("1d", "30d", "365d", None)
        Look-back lengths of the windows. None is the whole history.
    nested : bool, default=True
        Whether each window contains the shorter ones. False gives disjoint bands, with
        names such as ``"1d-30d"``.
    aggs : tuple of str
        Statistics of each code and window. The options are ``present``, ``count``,
        ``n_days`` (days with an event), ``last``, ``first``, ``mean``, ``min``,
        ``max``, ``range``, ``std`` (n - 1), ``slope``, ``since_last``,
        ``since_first`` (days before the end of the window) and ``delta``
        (last - mean). The slope is the least-squares slope per day. It is defined if
        the values span at least an hour and 1 % of the window. Default: count, last,
        mean, min, max, slope and since_last.
    aggs_by_prefix : mapping of str to tuple of str, default=None
        Code prefix -> statistics that replace `aggs` for matching codes, such as
        ``{"DIAGNOSIS//": ("present", "since_last")}``.
    totals : tuple of str, default=("count", "n_codes", "history")
        Statistics over all codes: the number of events and of distinct codes in each
        window, and the days since the first event.
    include : tuple of str or None, default=None
        Patterns of codes to include, such as ``"LAB//*"``. None includes all codes.
    exclude : tuple of str, "outcomes" or None, default="outcomes"
        Patterns of codes to exclude. "outcomes", also among the patterns, excludes
        codes of death, discharge and billing with a warning. These are codes of which a
        whole part between ``//`` has such a name, without letter case:
        `skfusion.ehr.point_in_time.vocabulary.OUTCOME_CODES`.
    min_subjects : int or float, default=10
        Minimum number of training subjects in which a code must be visible. A float
        between 0 and 1 is a share of the training subjects. If no code is left, `fit`
        warns and there are no features, also not those of `totals`. A fusion estimator
        treats the modality as absent in every row.
    max_codes : int or None, default=None
        Maximum number of codes. The codes visible in most subjects are kept.
    closed : {"left", "right"}, default="left"
        Left: windows are ``[end - length, end)``, and an event must be available
        before the end. Right: windows are ``(end - length, end]``, and an event
        available exactly at the end is visible.
    gap : str or timedelta, default="0h"
        Time between the end of the windows and the index time.
    clip : (float, float) or None, default=None
        Quantiles of the values of each code, learned in `fit`, to which values are
        clipped.
    unknown_subject : {"error", "empty"}, default="error"
        Treatment of subjects that are not in the store.
    shared_subjects : {"warn", "ignore"}, default="warn"
        Whether `transform` warns about rows of training subjects at other index times.
        Such rows indicate a split that does not group by patient.
    output : {"dense", "sparse"}, default="dense"
        Dense: an array with NaN for unknown values. Sparse: a CSR array that stores
        only known values, including observed zeros. `ObservedScaler` and XGBoost treat
        unstored cells as missing. Other estimators treat them as 0, so do not pass a
        sparse output to a fusion estimator without `ObservedScaler`.
    engine : {"auto", "numpy", "numba"}, default="auto"
        Implementation of the statistics. All engines give bitwise identical results.
        "auto" uses numba (extra ``fast``) for at least five million events, if it is
        installed. The first use compiles for some seconds, and the result is cached.
    n_jobs : int or None, default=None
        Number of threads.

    Attributes
    ----------
    codes_ : list of str
        The selected codes, in the order of the columns.
    code_counts_ : ndarray of int of shape (n_codes,)
        Number of training subjects in which each code is visible.
    clip_bounds_ : ndarray of float32 of shape (2, n_codes)
        Bounds to which values are clipped. Only with `clip`.
    n_rows_without_events_ : int
        Number of training rows without a visible event.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Names of the columns of `X`.

    See Also
    --------
    EventGrid : Sequences of the same events on a regular time grid.

    Notes
    -----
    Features are named ``<code>__<window>__<statistic>``, with the code ``*`` for
    statistics over all codes. `skfusion.ehr.parse_feature` parses such a name. Events
    with the same time keep the order of the source. Static events (without time) are
    in no window. A feature can be NaN in all training rows, such as a slope in a short
    window. XGBoost supports this, HistGradientBoosting of scikit-learn 1.9 does not,
    and `ObservedScaler` sets it to 0.

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

    __module__ = "skfusion.ehr"

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
        min_subjects: float = 10,
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

    @undone_on_failure
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the vocabulary of codes from the events visible to the training rows.

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
            If a parameter is invalid, or for the reasons given in `transform`.

        Warns
        -----
        DataWarning
            If no code is visible in enough subjects, if codes are left out because they
            reveal an outcome, if most index times are before all events, or if no code
            begins with a prefix of `aggs_by_prefix`.
        """
        self._check()
        source = self._source()
        store = source.store
        cases = self._training_cases(X, store)
        windows = Windows.parse(self.windows, self.nested)
        codes = store.codes
        unmatched = unmatched_prefixes(self.aggs_by_prefix or (), codes)
        if unmatched:
            warn_of_modality(
                "aggs_by_prefix",
                f"EventWindows: no code of the store begins with {unmatched}, so these "
                "entries of aggs_by_prefix have no effect.",
                DataWarning,
            )
        allowed = chosen_codes(self, codes)
        sight = Sight(windows, self.closed, allowed, days=False)
        counts, no_events = source.count(cases, sight)
        self.n_rows_without_events_ = int(no_events.sum())
        chosen = learn_codes(self, store, cases, counts, no_events)
        self.codes_ = [codes[i] for i in chosen]
        self.code_counts_ = counts[chosen]
        self._units = learned_units(store, self.codes_)
        if self.clip is not None:
            bounds = learn_bounds(store.files, cases, sight, chosen, self.clip)
            self.clip_bounds_ = bounds
        self._seen = Seen(ids_of(X, self.subject, "EventWindows"), cases.end)
        plan = self._plan()
        if self.output == "dense":
            warn_of_size(len(cases.end), plan)
        return self

    def transform(self, X: Any) -> Any:
        """Compute the statistics of each row.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            Cohort table with a column of subjects and one of index times. Rows may be
            repeated.

        Returns
        -------
        ndarray or CSR array of float32 of shape (n_samples, n_features)

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
        source = self._source()
        cases = self._cases(X, source.store)
        if self.shared_subjects == "warn":
            subjects = ids_of(X, self.subject, "EventWindows")
            self._seen.warn_of_shared(subjects, cases.end, "EventWindows")
        kind = SparseOutput if self.output == "sparse" else DenseOutput
        plan = self._plan()
        order = subject_order(cases.subject)
        output = kind(len(cases.end), plan, order)
        matrix = output.matrix
        if order is not None:
            # Rows of a subject one after another, because they share sums.
            cases, matrix = Cases(cases.subject[order], cases.end[order]), None
        sight, group = self._sight(source.store, plan)
        for block in source.features(cases, sight, group, plan, matrix):
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
        """Compute features once for all settings and folds of a search.

        The prepared features of a row depend on its events only. The vocabulary of
        codes is still learned in each fold.

        Parameters
        ----------
        X : DataFrame of shape (n_samples, n_columns)
            All rows of the search. Other rows are computed when they are transformed.
        windows : tuple of str, timedelta or None, default=None
            Windows of the search, in addition to those of the transformer.
        aggs : tuple of str, default=()
            Statistics of the search, in addition to those of the transformer.
        path : str or PathLike or None, default=None
            Folder to write. None uses a folder below ``$SKFUSION_CACHE`` (or the user's
            cache folder), named by the content, so that equal content is computed once.

        Returns
        -------
        EventWindows
            A clone whose `events` are a handle to the prepared features. Its
            parameters `windows`, `aggs`, `aggs_by_prefix`, `totals`, `min_subjects`,
            `max_codes`, `include` and `exclude` may vary within the prepared settings.
            Other values raise an error. Its features equal those of this transformer
            within float32 rounding.

        Raises
        ------
        ValueError
            If `clip` is given, or `windows` for disjoint windows.

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
        check_unclipped(self.clip)
        source = self._source()
        store = source.store
        cases = self._cases(X, store)
        union = Windows.parse(self.windows, self.nested)
        if windows is not None:
            union = union.union(Windows.parse(windows, self.nested))
        by_prefix = (self.aggs_by_prefix or {}).values()
        names = [*aggs, *self.aggs, *(name for some in by_prefix for name in some)]
        codes = chosen_codes(self, store.codes)
        what = Preparation(union, names, codes, self.closed)
        how = {"engine": self.engine, "n_jobs": self.n_jobs}
        handle = PreparedWindows.write(store, cases, what, path, **how)
        return clone(self).set_params(events=handle)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the feature names ``<code>__<window>__<statistic>``.

        Parameters
        ----------
        input_features : ignored
            Present for API consistency.

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
        """Return the visibility rules and the column group of each code."""
        codes = store.codes
        group = code_groups(tuple(self.codes_), tuple(codes))
        allowed = group >= 0
        if plan.totals:
            allowed = chosen_codes(self, codes)
        bounds = None
        if self.clip is not None:
            bounds = np.full((2, len(codes)), np.nan, dtype=np.float32)
            bounds[:, group >= 0] = self.clip_bounds_[:, group[group >= 0]]
        windows = Windows.parse(self.windows, self.nested)
        days = "n_days" in plan.statistics
        return Sight(windows, self.closed, allowed, bounds, days), group

    def _plan(self) -> FeaturePlan:
        totals = self.totals if self.codes_ else ()
        how = self.aggs, self.aggs_by_prefix, totals
        return feature_plan(self.codes_, self.windows, self.nested, *how)
