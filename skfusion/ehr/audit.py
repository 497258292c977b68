"""Audit features of events for leakage: `LeakageAudit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.utils import check_random_state

from skfusion._validation import check_option
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.point_in_time.vocabulary import OUTCOME_CODES
from skfusion.ehr.windows.prepared import PreparedWindows

__all__ = ["CHANGES", "LeakageAudit", "LeakageReport", "changed", "rows_as_subjects"]


#: What is done to events that were not available before the index time.
CHANGES = ("deleted", "perturbed", "inserted", "inserted late")
N_INSERTED = 5  # events for each row
LONGEST = pd.Timedelta(days=365)


def rows_as_subjects(store: EventStore, subjects: pd.Series) -> pd.DataFrame:
    """Copy the events of each row's subject under the number of the row.

    Parameters
    ----------
    store : EventStore
        The events.
    subjects : Series of shape (n,)
        The subject of each row; those that the store does not have get no events.

    Returns
    -------
    DataFrame
        Events, of which ``subject_id`` is the position of the row.

    Raises
    ------
    ValueError
        If none of the rows has an event.
    """
    known = subjects[subjects.isin(store.subjects)]
    if known.empty:
        raise ValueError(
            "LeakageAudit: the store has no events of any of the rows' subjects."
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
    """Change what no row may see.

    Parameters
    ----------
    events : DataFrame
        As `rows_as_subjects` gives them.
    times : Series of shape (n,)
        Index time of each row.
    change : str
        One of `CHANGES`.
    closed : {"left", "right"}
        Whether what becomes available at the index time itself is in the future.
    rng : RandomState
        Draws the changes.

    Returns
    -------
    DataFrame
    """
    index_time = pd.to_datetime(times).to_numpy()
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
    """Give events of the future other values and each other's codes."""
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
    index_time: np.ndarray,
    change: str,
    closed: str,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Make events of known codes: after the index time, or known only after it."""
    rows = np.repeat(np.arange(len(index_time)), N_INSERTED)
    # the first of each row becomes available at the index time, or right behind it
    seconds = rng.uniform(0, LONGEST.total_seconds(), len(rows))
    ahead = (1e6 * seconds).astype("timedelta64[us]")
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
        "code": rng.choice(events["code"].unique(), len(rows)),
        "numeric_value": 1000 * rng.standard_normal(len(rows)),
    }
    frame = pd.DataFrame(made)
    for name in ("time", "available_time"):
        frame[name] = frame[name].astype(events[name].dtype)
    return frame


N_SHOWN = 5
SMALLEST_CLASS = 10  # rows of a class below which an AUROC says nothing


@dataclass(frozen=True)
class LeakageReport:
    """What an audit found.

    Attributes
    ----------
    changes : DataFrame of one row per kind of change
        ``change``, ``n_rows`` (rows whose features changed), ``n_features`` (features
        that changed) and ``features`` (their names).
    suspects : DataFrame of one row per suspicious feature
        ``feature``, ``auroc`` (alone, of the direction that is better) and ``reason``.
    n_rows : int
        Rows that were looked at.
    n_features : int
        Features of each.
    """

    changes: pd.DataFrame
    suspects: pd.DataFrame
    n_rows: int
    n_features: int

    @property
    def passed(self) -> bool:
        """Whether no change had an effect, and no feature is suspicious."""
        return bool((self.changes["n_features"] == 0).all()) and self.suspects.empty

    def to_frame(self) -> pd.DataFrame:
        """List what was found, one row per change and per suspicious feature."""
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
                "check": "feature " + self.suspects["feature"].astype(str),
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
                shown = ", ".join(map(str, part["features"][:N_SHOWN]))
                more = ", ..." if part["n_features"] > N_SHOWN else ""
                lines.append(
                    f"  events after the index time {part['change']}: "
                    f"{part['n_features']} features of {part['n_rows']} rows changed "
                    f"({shown}{more})"
                )
        for part in self.suspects.head(N_SHOWN).to_dict("records"):
            lines.append(f"  {part['feature']}: {part['reason']}")
        if len(self.suspects) > N_SHOWN:
            lines.append(f"  ... and {len(self.suspects) - N_SHOWN} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False)


class LeakageAudit:
    """Try whether features of events see past the prediction time.

    For each row, what was not available before its index time is deleted, changed or
    added to, the features are fitted and computed again, and must not change by a bit.
    Features that tell the outcome almost alone, and codes that say how a stay ended,
    are named as well.

    Parameters
    ----------
    threshold : float, default=0.95
        AUROC of a single feature above which it is suspicious.
    n_rows : int, default=300
        Rows that are drawn for the audit, where there are more.
    closed : {"left", "right"}, default="left"
        Whether events that become available exactly at the index time may count
        ("right") or not.
    subject, time : str, default="subject_id" and "index_time"
        Columns of `X`: whose events, and the moment of prediction. Steps with
        parameters of these names, such as `EventWindows`, use their own.
    random_state : int, RandomState or None, default=None
        Draws the rows and the changes.

    See Also
    --------
    EventWindows : Passes by construction.

    Notes
    -----
    Every row becomes a subject of its own in the copies that are compared, so that a
    later row of a patient may see what an earlier one must not. Passing is no proof:
    it says that nothing was found in the rows that were drawn.

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

    def __init__(
        self,
        *,
        threshold: float = 0.95,
        n_rows: int = 300,
        closed: str = "left",
        subject: str = "subject_id",
        time: str = "index_time",
        random_state: Any = None,
    ) -> None:
        self.threshold = threshold
        self.n_rows = n_rows
        self.closed = closed
        self.subject = subject
        self.time = time
        self.random_state = random_state

    def run(
        self, features: Any, X: pd.DataFrame, y: Any = None, *, events: Any = None
    ) -> LeakageReport:
        """Audit features.

        Parameters
        ----------
        features : estimator or callable
            A transformer, a `Pipeline` or a fusion with parameters that are an
            `EventStore`; or a function of (`EventStore`, `X`) that gives a table.
        X : DataFrame of shape (n, n_columns)
            The rows.
        y : array-like of shape (n,) or None, default=None
            A binary outcome, for the search of features that tell it alone.
        events : EventStore or None, default=None
            The events that a function is given.

        Returns
        -------
        LeakageReport

        Raises
        ------
        ValueError
            If no events are found, or the parameters make no sense.
        """
        self._check(features, X, events)
        rng = check_random_state(self.random_state)
        chosen = np.arange(len(X))
        if len(X) > self.n_rows:
            chosen = np.sort(rng.choice(len(X), self.n_rows, replace=False))
        X = X.iloc[chosen].reset_index(drop=True)
        y = None if y is None else np.asarray(y)[chosen]
        compute, stores, keys = self._takes(features, events)
        subject, time = keys
        tables = {name: rows_as_subjects(s, X[subject]) for name, s in stores.items()}
        audited = X.assign(**{subject: np.arange(len(X))})
        with TemporaryDirectory(prefix="skfusion-audit-") as folder:

            def features_of(given: dict[str, pd.DataFrame], label: str) -> pd.DataFrame:
                written = _written(given, Path(folder, label))
                return _table(compute(written, audited, y))

            plain = features_of(tables, "as it is")
            rows = []
            for change in CHANGES:
                other = {
                    name: changed(table, X[time], change, self.closed, rng)
                    for name, table in tables.items()
                }
                differs = _differences(plain, features_of(other, change))
                names = list(differs.columns[differs.any(axis=0)])
                n_changed = int(differs.any(axis=1).sum())
                rows.append((change, n_changed, len(names), names))
        columns = ["change", "n_rows", "n_features", "features"]
        return LeakageReport(
            changes=pd.DataFrame(rows, columns=columns),
            suspects=self._suspects(plain, y),
            n_rows=len(X),
            n_features=plain.shape[1],
        )

    def _check(self, features: Any, X: Any, events: Any) -> None:
        if not isinstance(X, pd.DataFrame):
            raise ValueError(
                f"LeakageAudit: X must be a DataFrame, got {type(X).__name__}."
            )
        check_option(self.closed, "closed", ("left", "right"), "LeakageAudit")
        if not 0.5 < self.threshold <= 1:
            raise ValueError(
                "LeakageAudit: threshold must be above 0.5 and at most 1, got "
                f"{self.threshold!r}."
            )
        is_function = callable(features) and not hasattr(features, "get_params")
        if is_function and not isinstance(events, EventStore):
            raise ValueError(
                "LeakageAudit: a function needs events=, an EventStore; got "
                f"{type(events).__name__}."
            )

    def _takes(
        self, features: Any, events: Any
    ) -> tuple[Callable[..., Any], dict[str, EventStore], tuple[str, str]]:
        """Say how features are computed, of which stores, by which columns."""
        if not hasattr(features, "get_params"):
            return (
                lambda stores, X, _y: features(stores["events"], X),
                {"events": events},
                (self.subject, self.time),
            )
        parameters = features.get_params(deep=True)
        stores = {
            k: v.store if isinstance(v, PreparedWindows) else v
            for k, v in parameters.items()
            if isinstance(v, EventStore | PreparedWindows)
        }
        if not stores:
            raise ValueError(
                f"LeakageAudit: {type(features).__name__} has no parameter that is an "
                "EventStore; expected one such as EventWindows(events=store)."
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
                f"LeakageAudit: the steps take their subjects and times from different "
                f"columns ({sorted(keys)}); audit them one by one."
            )

        def compute(given: dict[str, EventStore], X: pd.DataFrame, y: Any) -> Any:
            model = clone(features).set_params(**given)
            return _features_of(model, X, y)

        subject, time = keys.pop()
        return compute, stores, (str(subject), str(time))

    def _suspects(self, table: pd.DataFrame, y: Any) -> pd.DataFrame:
        found = []
        for name in table.columns:
            code = str(name).upper()
            if any(fnmatchcase(code, f"*{p.strip('*')}*") for p in OUTCOME_CODES):
                reason = "its code says how a stay ended, or is written for the bill"
                found.append((name, np.nan, reason))
        labels, counts = np.unique([] if y is None else y, return_counts=True)
        if len(labels) == 2 and counts.min() >= SMALLEST_CLASS:
            target = y == labels[1]
            for name in table.columns:
                auroc = _auroc(target, table[name].to_numpy(dtype=float))
                if auroc > self.threshold:
                    reason = f"tells the outcome alone (AUROC {auroc:.3f})"
                    found.append((name, auroc, reason))
        return pd.DataFrame(found, columns=["feature", "auroc", "reason"])


def _features_of(model: Any, X: pd.DataFrame, y: Any) -> Any:
    """Fit, and give what is learned from."""
    if isinstance(model, Pipeline) and not hasattr(model[-1], "transform"):
        model = model[:-1]
    if hasattr(model, "encode_modalities"):
        encoded = model.fit(X, y).encode_modalities(X)
        return pd.concat(
            [
                pd.DataFrame(np.asarray(v)).add_prefix(f"{k}__")
                for k, v in encoded.items()
            ],
            axis=1,
        )
    if hasattr(model, "transform"):
        values = model.fit(X, y).transform(X)
        if not isinstance(values, pd.DataFrame) and hasattr(
            model, "get_feature_names_out"
        ):
            names = list(model.get_feature_names_out())
            return pd.DataFrame(_dense(values), columns=names)
        return values
    return model.fit(X, y).predict(X)


def _dense(values: Any) -> np.ndarray:
    """Make a table dense: what it does not store is missing, zeros were measured."""
    if not sp.issparse(values):
        return np.asarray(values)
    stored = sp.coo_array(values)
    dense = np.full(stored.shape, np.nan)
    dense[stored.coords] = stored.data
    return dense


def _table(values: Any) -> pd.DataFrame:
    table = values if isinstance(values, pd.DataFrame) else pd.DataFrame(_dense(values))
    return table.reset_index(drop=True)


def _written(tables: dict[str, pd.DataFrame], folder: Path) -> dict[str, EventStore]:
    return {
        name: EventStore.from_frame(
            table, folder / str(number), no_time="static", date_only=None
        )
        for number, (name, table) in enumerate(tables.items())
    }


def _differences(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Tell which features of which rows are not the same bits; absent ones differ."""
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


def _auroc(target: np.ndarray, values: np.ndarray) -> float:
    """AUROC of a feature alone, as it is or missing, of the better direction."""
    missing = np.isnan(values)
    found = [roc_auc_score(target, missing)]
    for fill in (-np.inf, np.inf):
        ranked = pd.Series(np.where(missing, fill, values)).rank()
        found.append(roc_auc_score(target, ranked))
    return float(max(max(score, 1 - score) for score in found))
