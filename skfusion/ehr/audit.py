"""Look-ahead leakage tests for event features, with `LeakageAudit`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.stats import rankdata
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skfusion._fitting.pipelines import is_passthrough
from skfusion._progress import progress
from skfusion._validation import check_number, check_option
from skfusion.blocks import located_errors
from skfusion.ehr.events.labels import readable_names
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.naming import stores_of
from skfusion.ehr.point_in_time.vocabulary import is_outcome
from skfusion.exceptions import DataWarning, warn_user
from skfusion.modality import Modality, check_modalities, presence_mask
from skfusion.store.working_folders import temporary_folder

__all__ = [
    "CHANGES",
    "LeakageAudit",
    "LeakageReport",
    "aurocs_by_rank",
    "changed",
    "rows_as_subjects",
]


#: Changes of events that were not available before the index time.
CHANGES = ("deleted", "perturbed", "inserted", "inserted late")
N_INSERTED = 5  # Inserted events per row.
# Codes that are not inserted: the event of each row that keeps its subject in the
# store if all others are deleted, and births, which cannot follow an index time.
KEPT = "LEAKAGE_AUDIT"
NOT_INSERTED = (KEPT, "MEDS_BIRTH")
LONGEST = pd.Timedelta(days=365)


def rows_as_subjects(store: EventStore, subjects: pd.Series) -> pd.DataFrame:
    """Return copies of the events of each row's subject, with one subject per row.

    Parameters
    ----------
    store : EventStore
        The events.
    subjects : Series of shape (n,)
        Subject of each row. Subjects that are not in the store get no events.

    Returns
    -------
    DataFrame
        Events whose ``subject_id`` is the position of the row.

    Raises
    ------
    ValueError
        If none of the rows has an event.
    """
    known = subjects[subjects.isin(store.subjects)]
    if known.empty:
        raise ValueError(
            "LeakageAudit: got rows without a subject that has events in the store."
        )
    events = store.of_subjects(known.unique())
    rows = pd.DataFrame(
        {"subject_id": subjects.to_numpy(), "row": np.arange(len(subjects))}
    )
    copies = rows.merge(events, on="subject_id").drop(columns="subject_id")
    if "available_time" not in copies:
        copies["available_time"] = copies["time"]
    copies["available_time"] = copies["available_time"].fillna(copies["time"])
    return copies.rename(columns={"row": "subject_id"})


def changed(
    events: pd.DataFrame,
    times: pd.Series,
    change: str,
    closed: str,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Return a copy of the events with a change of those that no row may see.

    Parameters
    ----------
    events : DataFrame
        Events as returned by `rows_as_subjects`.
    times : Series of shape (n,)
        Index time of each row.
    change : str
        One of `CHANGES`.
    closed : {"left", "right"}
        Whether an event that becomes available exactly at the index time is visible
        ("right") or not ("left").
    rng : RandomState
        Random number generator of the changes.

    Returns
    -------
    DataFrame
    """
    index_time = pd.DatetimeIndex(times)
    limit = pd.Series(index_time[events["subject_id"]], index=events.index)
    available = events["available_time"]
    future = available > limit if closed == "right" else available >= limit
    future &= events["time"].notna()
    if change == "deleted":
        return events[~future]
    if change == "perturbed":
        return _perturbed(events, future.to_numpy(), rng)
    return pd.concat(
        [events, _inserted(events, index_time, change, closed, rng)], ignore_index=True
    )


def _perturbed(
    events: pd.DataFrame, future: np.ndarray, rng: np.random.RandomState
) -> pd.DataFrame:
    """Return events with random values and permuted codes in the future."""
    events = events.copy()
    places = np.flatnonzero(future)
    codes = events["code"].to_numpy(dtype=object).copy()
    codes[places] = codes[rng.permutation(places)]
    events["code"] = codes
    if "numeric_value" in events:
        values = events["numeric_value"].to_numpy(dtype=float, na_value=np.nan).copy()
        values[places] = 1000 * rng.standard_normal(len(places))
        events["numeric_value"] = values
    return events


def _inserted(
    events: pd.DataFrame,
    index_time: pd.DatetimeIndex,
    change: str,
    closed: str,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Return new events of known codes that become available after the index time."""
    codes = [code for code in events["code"].unique() if code not in NOT_INSERTED]
    rows = np.repeat(np.arange(len(index_time) if codes else 0), N_INSERTED)
    # The first event of each row becomes available at the index time or right after it.
    seconds = rng.uniform(0, LONGEST.total_seconds(), len(rows))
    ahead = pd.to_timedelta((1e6 * seconds).astype(np.int64), unit="us").to_numpy()
    ahead = ahead.astype("timedelta64[us]")
    ahead[::N_INSERTED] = np.timedelta64(1 if closed == "right" else 0, "us")
    available = index_time[rows] + ahead
    time = available
    if change == "inserted late":
        seconds = rng.uniform(1, 864_000, len(rows))
        time = index_time[rows] - (1e6 * seconds).astype("timedelta64[us]")
    made = {
        "subject_id": rows,
        "time": time,
        "available_time": available,
        "code": rng.choice(codes, len(rows)),
        "numeric_value": 1000 * rng.standard_normal(len(rows)),
    }
    frame = pd.DataFrame(made)
    for name in ("time", "available_time"):
        frame[name] = frame[name].astype(events[name].dtype)
    return frame


def with_kept(
    events: pd.DataFrame, n_rows: int, times: pd.Series, column: pd.Series
) -> pd.DataFrame:
    """Return events with one more for each row, long after all index times.

    The subject of a row is then known, even if all its events are deleted.

    Parameters
    ----------
    events : DataFrame
        Events of the rows.
    n_rows : int
        Number of rows.
    times : Series of shape (n_rows,)
        Index time of each row.
    column : Series
        Times of the events, whose dtype is used.

    Returns
    -------
    DataFrame
    """
    # Nanoseconds end in 2262, and dates that were shifted for privacy are after 2100.
    ends = pd.DatetimeIndex(times).as_unit("us")
    last = ends.take(np.full(n_rows, ends.argmax()))
    moment = pd.Series(last + pd.Timedelta(36_525, "D").as_unit("us"))
    if column.dt.tz is None and moment.dt.tz is not None:
        moment = moment.dt.tz_localize(None)
    kept = pd.DataFrame({"subject_id": np.arange(n_rows), "code": KEPT})
    kept["time"] = kept["available_time"] = moment.astype(column.dtype)
    return pd.concat([events, kept], ignore_index=True)


N_SHOWN = 5
SMALLEST_CLASS = 10  # Rows of a class below which an AUROC is not informative.
N_RANKED = 256  # Features whose ranks are computed at a time.


@dataclass(frozen=True)
class LeakageReport:
    """Result of a leakage audit.

    Attributes
    ----------
    changes : DataFrame of one row per kind of change
        ``change``, ``n_rows`` (rows whose features changed), ``n_features`` (features
        that changed) and ``features`` (their names).
    suspects : DataFrame of one row per suspicious feature
        ``feature``, ``auroc`` (of the single feature, in the better direction) and
        ``reason``.
    n_rows : int
        Number of audited rows.
    n_features : int
        Number of features.
    labels : mapping of str to str
        Names of codes, with which features are shown in `to_frame` and as text.
    """

    changes: pd.DataFrame
    suspects: pd.DataFrame
    n_rows: int
    n_features: int
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Return whether no change had an effect and no feature is suspicious."""
        return bool((self.changes["n_features"] == 0).all()) and self.suspects.empty

    def to_frame(self) -> pd.DataFrame:
        """Return the findings, with one row per change and suspicious feature."""
        changes = pd.DataFrame(
            {
                "check": "events after the index time " + self.changes["change"],
                "found": [
                    f"{part['n_features']} features of {part['n_rows']} rows changed"
                    for part in self.changes.to_dict("records")
                ],
                "passed": self.changes["n_features"] == 0,
            }
        )
        suspects = pd.DataFrame(
            {
                "check": [
                    f"feature {name}"
                    for name in readable_names(self.suspects["feature"], self.labels)
                ],
                "found": self.suspects["reason"],
                "passed": False,
            }
        )
        parts = [part for part in (changes, suspects) if len(part)]
        return pd.concat(parts, ignore_index=True)

    def __str__(self) -> str:
        head = "passed" if self.passed else "LEAKAGE FOUND"
        lines = [
            f"LeakageAudit: {head} ({self.n_rows} rows, {self.n_features} features)"
        ]
        for part in self.changes.to_dict("records"):
            if part["n_features"]:
                some = part["features"][:N_SHOWN]
                shown = ", ".join(readable_names(some, self.labels))
                more = ", ..." if part["n_features"] > N_SHOWN else ""
                lines.append(
                    f"  events after the index time {part['change']}: "
                    f"{part['n_features']} features of {part['n_rows']} rows changed "
                    f"({shown}{more})"
                )
        for part in self.suspects.head(N_SHOWN).to_dict("records"):
            (shown,) = readable_names([part["feature"]], self.labels)
            lines.append(f"  {shown}: {part['reason']}")
        if len(self.suspects) > N_SHOWN:
            lines.append(f"  ... and {len(self.suspects) - N_SHOWN} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False)


class LeakageAudit:
    """Test event features for look-ahead leakage.

    For each row, events that were not available before its index time are deleted,
    perturbed or inserted. The features are fitted and computed again, and must be
    bitwise identical. The audit also lists features that predict the outcome almost
    alone, and codes that reveal the end of a stay.

    Parameters
    ----------
    threshold : float, default=0.95
        AUROC of a single feature above which it is suspicious.
    n_rows : int, default=300
        Maximum number of rows in the audit, drawn at random.
    closed : {"left", "right"}, default="left"
        Whether an event that becomes available exactly at the index time is visible
        ("right") or not ("left").
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X` with the subject and the index time. Steps with parameters of
        these names, such as `EventWindows`, use their own values.
    random_state : int, RandomState or None, default=None
        Seed of the drawn rows and changes.
    verbose : int, default=0
        Whether to show the progress on standard error, with the estimated time that is
        left after the first of the five rounds.

    See Also
    --------
    EventWindows : Features without look-ahead leakage by construction.

    Notes
    -----
    In the compared copies, every row is a separate subject. A later row of a patient
    may therefore see events that an earlier row must not see. A passed audit is not a
    proof. It means that no leakage was found in the drawn rows. If fewer rows are drawn
    than `X` has, the parameter ``min_subjects`` of the steps is lowered by the same
    share, so that rare codes are audited too.

    The cost is that of five rounds on at most `n_rows` rows: one for the events as they
    are and one for each change. In each round, the events of the rows are written once
    for each store, and each transformer of events is fitted once and transforms once.
    Of a fusion, other modalities, such as images, are encoded in the first round only,
    and no learner is fitted, because it receives no events. Other estimators are fitted
    in each round.

    Static events (without time) are always visible to estimators that use them, such
    as `Demographics`, and are not changed. A code that reveals the outcome and has no
    time is therefore found only with `y`, if it predicts the outcome almost alone.
    Texts and units are deleted and inserted with their events, but not perturbed.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import EventStore, EventWindows, LeakageAudit
    >>> events = pd.DataFrame({
    ...     "subject_id": [1, 1, 2, 2],
    ...     "time": pd.to_datetime(["2026-01-02 08:00", "2026-01-09 09:00",
    ...                             "2026-01-03 10:00", "2026-01-08 11:00"]),
    ...     "code": "LAB//crp", "numeric_value": [3.0, 90.0, 5.0, 70.0],
    ... })
    >>> X = pd.DataFrame({
    ...     "subject_id": [1, 2], "index_time": pd.Timestamp("2026-01-05"),
    ... })
    >>> store = EventStore.from_frame(events)
    >>> windows = EventWindows(store, windows=("30d",), min_subjects=1)
    >>> print(LeakageAudit(random_state=0).run(windows, X))
    LeakageAudit: passed (2 rows, 10 features)
    """

    __module__ = "skfusion.ehr"

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        n_rows: int = 300,
        closed: str = "left",
        subject: str = "subject_id",
        time: str = "index_time",
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.threshold = threshold
        self.n_rows = n_rows
        self.closed = closed
        self.subject = subject
        self.time = time
        self.random_state = random_state
        self.verbose = verbose

    def run(
        self, features: Any, X: pd.DataFrame, y: Any = None, *, events: Any = None
    ) -> LeakageReport:
        """Audit features for look-ahead leakage.

        Parameters
        ----------
        features : estimator or callable
            A transformer, a `Pipeline` or a fusion estimator with an `EventStore` among
            its parameters. Of a fitted search, its best estimator is audited.
            Alternatively a function of (`EventStore`, `X`) that returns a table.
        X : DataFrame of shape (n, n_columns)
            The rows.
        y : array-like of shape (n,) or None, default=None
            A binary outcome, to find features that predict it alone.
        events : EventStore or None, default=None
            The events passed to a function.

        Returns
        -------
        LeakageReport

        Raises
        ------
        ValueError
            If no events are found, or a parameter is invalid.

        Warns
        -----
        DataWarning
            If there are no features, or as the fits warn, once of each.
        """
        # A fitted search is audited as the model that predicts, not searched again.
        features = getattr(features, "best_estimator_", features)
        self._check(features, X, events)
        rng = check_random_state(self.random_state)
        chosen = self._choose_rows(len(X), rng)
        share = len(chosen) / len(X)
        X = X.iloc[chosen].reset_index(drop=True)
        y = None if y is None else np.asarray(y)[chosen]
        compute, stores, keys = self._takes(features, events, share)
        subject, time = keys
        # The events of a store that several modalities share are changed once.
        distinct = {store.fingerprint: store for store in stores.values()}
        tables = {key: rows_as_subjects(s, X[subject]) for key, s in distinct.items()}
        zones = {key: store.files.zone_name for key, store in distinct.items()}
        audited = X.assign(**{subject: np.arange(len(X))})
        rows: list[tuple[str, int, int, list[Any]]] = []
        with (
            _warnings_once(),
            temporary_folder() as folder,
            self._progress() as advance,
        ):

            def features_of(given: dict[str, pd.DataFrame], label: str) -> pd.DataFrame:
                kept = {
                    key: with_kept(table, len(X), X[time], table["time"])
                    for key, table in given.items()
                }
                written = _written(kept, zones, Path(folder, label))
                used = {name: written[s.fingerprint] for name, s in stores.items()}
                found = _table(compute(used, audited, y))
                advance(1)
                return found

            plain = features_of(tables, "as it is")
            for change in CHANGES:
                other = {
                    key: changed(table, X[time], change, self.closed, rng)
                    for key, table in tables.items()
                }
                differs = _differences(plain, features_of(other, change))
                names = list(differs.columns[differs.any(axis=0)])
                n_changed = int(differs.any(axis=1).sum())
                rows.append((change, n_changed, len(names), names))
        _warn_of_nothing(plain)
        columns = ["change", "n_rows", "n_features", "features"]
        return LeakageReport(
            changes=pd.DataFrame(rows, columns=columns),
            suspects=self._suspects(plain, y),
            n_rows=len(X),
            n_features=plain.shape[1],
            labels={k: v for s in distinct.values() for k, v in s.files.labels.items()},
        )

    def _progress(self) -> Any:
        steps = [f"events {word}" for word in ("as they are", *CHANGES)]
        return progress(
            len(steps),
            verbose=self.verbose,
            title="LeakageAudit",
            unit="round",
            steps=steps,
        )

    def _choose_rows(self, n_rows: int, rng: np.random.RandomState) -> np.ndarray:
        """Return the sorted positions of the rows that are audited."""
        if n_rows <= self.n_rows:
            return np.arange(n_rows)
        return np.sort(rng.choice(n_rows, self.n_rows, replace=False))

    def _check(self, features: Any, X: Any, events: Any) -> None:
        if not isinstance(X, pd.DataFrame):
            raise ValueError(
                f"LeakageAudit: X must be a DataFrame, got {type(X).__name__}."
            )
        check_option(self.closed, "closed", ("left", "right"), "LeakageAudit")
        check_number(
            self.threshold,
            "threshold",
            "LeakageAudit",
            low=0.5,
            high=1,
            exclude_low=True,
        )
        is_function = callable(features) and not hasattr(features, "get_params")
        if is_function and not isinstance(events, EventStore):
            raise ValueError(
                "LeakageAudit: events must be an EventStore if features is a function, "
                f"got {type(events).__name__}."
            )

    def _takes(
        self, features: Any, events: Any, share: float
    ) -> tuple[Callable[..., Any], dict[str, EventStore], tuple[str, str]]:
        """Return a function that computes the features, its stores and its columns."""
        if not hasattr(features, "get_params"):
            return (
                lambda stores, X, _y: features(stores["events"], X),
                {"events": events},
                (self.subject, self.time),
            )
        parameters = features.get_params(deep=True)
        # Fewer rows have fewer subjects, so that rare codes would not be audited.
        fewer = {
            name: max(1, int(value * share))
            for name, value in parameters.items()
            if name.rpartition("__")[2] == "min_subjects"
            and isinstance(value, int)
            and share < 1
        }
        stores = stores_of(features)
        if not stores:
            raise ValueError(
                f"LeakageAudit: got {type(features).__name__} without an EventStore "
                "among its parameters. Expected one such as EventWindows(events=store)."
            )
        keys = {
            tuple(
                parameters.get(name.rpartition("events")[0] + key, default)
                for key, default in (("subject", self.subject), ("time", self.time))
            )
            for name in stores
        }
        if len(keys) > 1:
            raise ValueError(
                "LeakageAudit: got steps with different columns of subjects and times "
                f"({sorted(keys)}). Audit them separately."
            )

        encoded: dict[str, pd.DataFrame] = {}  # Modalities without events.

        def compute(given: dict[str, EventStore], X: pd.DataFrame, y: Any) -> Any:
            model = clone(features).set_params(**given, **fewer)
            return _features_of(model, X, y, encoded)

        subject, time = keys.pop()
        return compute, stores, (str(subject), str(time))

    def _suspects(self, table: pd.DataFrame, y: Any) -> pd.DataFrame:
        found = []
        for name in table.columns:
            if any(is_outcome(part) for part in str(name).split("__")):
                reason = "code of death, discharge or billing, which leaks the outcome"
                found.append((name, np.nan, reason))
        labels, counts = np.unique([] if y is None else y, return_counts=True)
        if len(labels) == 2 and counts.min() >= SMALLEST_CLASS:
            target = y == labels[1]
            aurocs = _aurocs(target, table.to_numpy(dtype=float))
            for place in np.flatnonzero(aurocs > self.threshold):
                auroc = float(aurocs[place])
                reason = f"predicts the outcome alone (AUROC {auroc:.3f})"
                found.append((table.columns[int(place)], auroc, reason))
        return pd.DataFrame(found, columns=["feature", "auroc", "reason"])


def _warn_of_nothing(plain: pd.DataFrame) -> None:
    """Warn if there are no features."""
    if not plain.shape[1]:
        warn_user(
            f"LeakageAudit: got no features of the {len(plain)} audited rows, so that "
            "nothing was audited. Pass more rows or a higher n_rows, or check the "
            "codes of the model.",
            DataWarning,
        )


@contextmanager
def _warnings_once() -> Iterator[None]:
    """Issue each warning of the fits once."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for text, kind in {(str(one.message), one.category): None for one in caught}:
        warn_user(text, kind)


def _features_of(
    model: Any, X: Any, y: Any, encoded: dict[str, pd.DataFrame] | None = None
) -> Any:
    """Fit a model and return its features, or else its predictions.

    `encoded` has the features of modalities of a fusion that read no events. They are
    added, and used again.
    """
    if hasattr(model, "encode_modalities") and not isinstance(model.modalities, str):
        return _features_of_fusion(model, X, y, {} if encoded is None else encoded)
    if isinstance(model, Pipeline) and hasattr(model[-1], "encode_modalities"):
        before, fusion = model[:-1], model[-1]
        if len(before):
            X = before.fit_transform(X, y)
        return _features_of(fusion, X, y, None if stores_of(before) else encoded)
    if isinstance(model, Pipeline) and not hasattr(model[-1], "transform"):
        model = model[:-1]
    if hasattr(model, "transform"):
        values = model.fit(X, y).transform(X)
        names = _names_of(model)
        if isinstance(values, pd.DataFrame) or names is None:
            return values
        dense = _dense(values)
        fits = len(names) == dense.shape[1]
        return pd.DataFrame(dense, columns=names) if fits else dense
    return model.fit(X, y).predict(X)


def _names_of(transformer: Any) -> list[Any] | None:
    """Return the names of the features, or None if a step has none."""
    try:
        return list(transformer.get_feature_names_out())
    except (AttributeError, ValueError):
        return None


def _features_of_fusion(
    model: Any, X: Any, y: Any, encoded: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the features of all modalities, without fitting the learners."""
    frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(np.asarray(X))
    owner = type(model).__name__
    parts = []
    for modality in check_modalities(model.modalities, frame, owner=owner, reserved=()):
        part = encoded.get(modality.name)
        if part is None:
            part = _features_of_modality(modality, frame, y)
            if not stores_of(modality.transformer):
                encoded[modality.name] = part
        parts.append(part.add_prefix(f"{modality.name}__"))
    return pd.concat(parts, axis=1)


def _features_of_modality(modality: Modality, X: pd.DataFrame, y: Any) -> pd.DataFrame:
    """Return the features of one modality, NaN in rows in which it is absent."""
    rows = np.flatnonzero(presence_mask([modality], X)[:, 0])
    if not len(rows):
        return pd.DataFrame(index=X.index)
    part = modality.select(X.iloc[rows])
    if is_passthrough(modality.transformer):
        table = pd.DataFrame(part)
    else:
        target = None if y is None else y[rows]
        with located_errors(modality, rows):
            table = _table(_features_of(modality.transformer, part, target))
    return table.set_axis(X.index[rows]).reindex(X.index)


def _dense(values: Any) -> np.ndarray:
    """Return a dense array in which unstored cells of a sparse array are NaN."""
    if not sp.issparse(values):
        return np.asarray(values)
    stored = sp.coo_array(values)
    dense = np.full(stored.shape, np.nan)
    dense[stored.coords] = stored.data
    return dense


def _table(values: Any) -> pd.DataFrame:
    table = values if isinstance(values, pd.DataFrame) else pd.DataFrame(_dense(values))
    return table.reset_index(drop=True)


def _written(
    tables: dict[str, pd.DataFrame], zones: dict[str, str | None], folder: Path
) -> dict[str, EventStore]:
    return {
        name: EventStore.from_frame(
            table,
            folder / str(number),
            no_time="static",
            date_only=None,
            time_zone=zones[name],
        )
        for number, (name, table) in enumerate(tables.items())
    }


def _differences(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Return which cells differ bitwise, including features of one table only."""
    names = [*before.columns, *after.columns.difference(before.columns)]
    same = {}
    for name in names:
        if name not in before.columns or name not in after.columns:
            same[name] = np.zeros(len(before), dtype=bool)
            continue
        first, second = before[name].to_numpy(), after[name].to_numpy()
        both_missing = pd.isna(first) & pd.isna(second)
        same[name] = np.asarray(first == second, dtype=bool) | both_missing
    return ~pd.DataFrame(same)


def _aurocs(target: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the AUROC of each feature or its missingness, in either direction.

    Ranks are computed of many features at a time, because thousands of calls of
    `roc_auc_score` would take longer than the rounds of the audit.
    """
    found = [np.zeros(0)]
    for start in range(0, values.shape[1], N_RANKED):
        part = values[:, start : start + N_RANKED]
        missing = np.isnan(part)
        filled = (np.where(missing, fill, part) for fill in (-np.inf, np.inf))
        scores = np.array([aurocs_by_rank(target, some) for some in (missing, *filled)])
        found.append(np.maximum(scores, 1 - scores).max(axis=0))
    return np.concatenate(found)


def aurocs_by_rank(target: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the AUROC of each column, which is the Mann-Whitney statistic.

    Parameters
    ----------
    target : ndarray of bool of shape (n,)
        The outcome, with both classes.
    scores : ndarray of shape (n, n_columns)
        Scores without missing values.

    Returns
    -------
    ndarray of shape (n_columns,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.ehr.audit import aurocs_by_rank
    >>> target = np.array([False, True, True])
    >>> aurocs_by_rank(target, np.array([[1, 2], [2, 1], [3, 3]])).tolist()
    [1.0, 0.5]
    """
    n_cases = np.count_nonzero(target)
    ranks = rankdata(scores, axis=0)[target].sum(axis=0)
    pairs = n_cases * (len(target) - n_cases)
    return (ranks - n_cases * (n_cases + 1) / 2) / pairs
