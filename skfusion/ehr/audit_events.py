"""The events of some rows in, the same with another future out.

Read next: `skfusion.ehr.audit`, which compares what is made of them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from skfusion.ehr.events import EventStore

__all__ = ["CHANGES", "changed", "rows_as_subjects"]

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
