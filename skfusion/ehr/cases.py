"""Cases for a study, one per stay, with an index time and the outcome of the stay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from skfusion._durations import as_duration
from skfusion._validation import check_option
from skfusion.ehr.events.stay_table import checked_stays
from skfusion.ehr.events.store import EventStore
from skfusion.ehr.sources.stays.vocabulary import (
    HOSPITAL_KINDS,
    of_kind,
    parents_of,
)
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["cases_from_stays"]


DAY = 86_400  # A day in seconds.
OWNER = "cases_from_stays"


def cases_from_stays(
    stays: Any,
    after: Any = "24h",
    *,
    at_least: Any = None,
    kind: str | Iterable[str] = "hospital",
    first_only: bool = False,
    open_stays: str = "drop",
) -> pd.DataFrame:
    """Return cases, one per stay, with an index time and the outcomes of the stay.

    A case is a patient who is still in the stay at the index time, which is a duration
    after its start. Stays that ended before, also by death, are left out, since their
    outcome would be in the past.

    Parameters
    ----------
    stays : EventStore or DataFrame
        A store with stays, or a table such as `EventStore.stays` returns, of which the
        columns ``stay_id``, ``subject_id``, ``start`` and ``end`` are required.
    after : str, timedelta or timedelta64, default="24h"
        Time between the start of a stay and the index time.
    at_least : str, timedelta, timedelta64 or None, default=None
        Smallest length of a stay. None takes all stays that are longer than `after`. A
        longer one selects by the future, which is not known at the index time.
    kind : str or iterable of str, default="hospital"
        Kinds of stays, see `EventStore.stays`. ``"hospital"`` includes observation.
    first_only : bool, default=False
        Whether to keep only the first case of each patient.
    open_stays : {"drop", "keep"}, default="drop"
        Treatment of stays without an end. Their outcome is not known, so that they are
        of use for predictions only. Their index time may be in the future.

    Returns
    -------
    DataFrame
        One row per case, by subject and time, with the columns ``subject_id``,
        ``stay_id``, ``kind``, ``index_time`` and the outcomes: ``died`` (in the stay),
        ``died_in_hospital`` (the same, or in the hospital stay of which an ICU stay is
        a part), ``discharged_to`` and ``remaining_days`` (between the index time and
        the end of the stay). ``attrs["left_out"]`` is a dict of the reason and the
        number of stays.

    Raises
    ------
    ValueError
        If no case remains, a duration is negative, `at_least` is shorter than `after`,
        a stay is repeated or ends before it starts, or a parameter is unknown.
    TypeError
        If `stays` is neither a store nor a table, or a column has the wrong dtype.

    Warns
    -----
    DataWarning
        With the numbers of stays that are left out, of cases with an unknown outcome,
        and if `at_least` is longer than `after`.

    See Also
    --------
    skfusion.EventStore.stays : Stays of the subjects of a store.

    Notes
    -----
    The outcomes are known at the end of the stay. Do not use them as features: pass
    `X[["subject_id", "index_time"]]` to estimators that select columns by themselves.

    The columns of deaths have the dtype bool if they are known for all cases, and can
    be used as a target. Otherwise they are nullable columns, of which the missing rows
    must be dropped. A patient with several stays has several cases. Split them by
    groups, e.g. with :class:`~sklearn.model_selection.StratifiedGroupKFold`, or use
    `first_only`.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.ehr import cases_from_stays
    >>> stays = pd.DataFrame({
    ...     "stay_id": [100, 101], "subject_id": [7, 9],
    ...     "start": pd.to_datetime(["2024-03-01 06:00", "2024-03-02 09:00"]),
    ...     "end": pd.to_datetime(["2024-03-04 18:00", "2024-03-06 09:00"]),
    ...     "died": [False, True],
    ... })
    >>> cases = cases_from_stays(stays, after="24h")
    >>> cases[["subject_id", "index_time", "died", "remaining_days"]]
       subject_id          index_time   died  remaining_days
    0           7 2024-03-02 06:00:00  False             2.5
    1           9 2024-03-03 09:00:00   True             3.0
    """
    check_option(open_stays, "open_stays", ("drop", "keep"), OWNER)
    wait = _duration(after, "after")
    least = None if at_least is None else _duration(at_least, "at_least")
    if least is not None and least < wait:
        raise ValueError(
            f"{OWNER}: at_least must not be shorter than after={after!r}, got "
            f"{at_least!r}. A stay that ends before its index time is no case."
        )
    if isinstance(stays, EventStore):
        table = stays.stays()
    elif isinstance(stays, pd.DataFrame) or hasattr(stays, "to_pandas"):
        table = checked_stays(stays, OWNER)
    else:
        raise TypeError(
            f"{OWNER}: stays must be an EventStore or a table of stays, got "
            f"{type(stays).__name__}."
        )
    table = table.assign(died_in_hospital=_died_in_hospital(table))
    chosen = of_kind(table, kind, OWNER)
    index_time = chosen["start"] + wait
    reasons = _reasons(chosen, index_time, least, open_stays)
    cases = _as_cases(chosen, index_time)[reasons.isna()]
    left_out = {str(reason): int(n) for reason, n in reasons.value_counts().items()}
    cases = cases.sort_values(["subject_id", "index_time"], kind="stable")
    if first_only:
        is_later = cases.duplicated("subject_id")
        if is_later.any():
            left_out["are later cases of a patient"] = int(is_later.sum())
        cases = cases[~is_later]
    if cases.empty:
        kinds = ", ".join(f"{k} {n}" for k, n in table["kind"].value_counts().items())
        raise ValueError(
            f"{OWNER}: got no stay of kind {kind!r} that is a case"
            f"{_listed(left_out)}. The store has the stays: {kinds or 'none'}."
        )
    cases = cases.reset_index(drop=True)
    cases.attrs["left_out"] = left_out
    _warn(cases, len(chosen), left_out, wait, least, open_stays)
    for name in ("died", "died_in_hospital"):
        if cases[name].notna().all():
            cases[name] = cases[name].astype(bool)
    return cases


def _duration(given: Any, name: str) -> pd.Timedelta:
    try:
        length = as_duration(given)
    except (ValueError, TypeError):
        raise ValueError(
            f"{OWNER}: {name} must be a duration such as '24h' or '2d', got {given!r}."
        ) from None
    if length < pd.Timedelta(0):
        raise ValueError(
            f"{OWNER}: {name} must not be negative, got {given!r}. A stay is not known "
            "before it starts."
        )
    return length


def _died_in_hospital(stays: pd.DataFrame) -> pd.Series:
    """Return whether the patient died in each stay or in that of which it is a part."""
    parents = parents_of(stays)
    # A death in an outpatient visit is none in a hospital, and survival says nothing.
    own = stays["died"].where(stays["kind"].isin(HOSPITAL_KINDS))
    above = stays["died"].iloc[parents].set_axis(stays.index)
    return above.where(parents >= 0, own)


def _reasons(
    stays: pd.DataFrame,
    index_time: pd.Series,
    least: pd.Timedelta | None,
    open_stays: str,
) -> pd.Series:
    """Return why each stay is left out, null for a case."""
    reasons = pd.Series(None, index=stays.index, dtype=object)
    ended = stays["end"].notna() & (stays["end"] <= index_time)
    died = stays["died"].fillna(False).astype(bool)
    reasons[ended & ~died] = "ended before the index time"
    reasons[ended & died] = "ended by death before the index time"
    if least is not None:
        is_short = (stays["end"] - stays["start"] < least) & ~ended
        reasons[is_short] = "are shorter than at_least"
    if open_stays == "drop":
        reasons[stays["end"].isna()] = "have no end"
    return reasons


def _as_cases(stays: pd.DataFrame, index_time: pd.Series) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "subject_id": stays["subject_id"],
            "stay_id": stays["stay_id"],
            "kind": stays["kind"],
            "index_time": index_time,
            "died": stays["died"],
            "died_in_hospital": stays["died_in_hospital"],
            "discharged_to": stays["discharged_to"],
            "remaining_days": (stays["end"] - index_time).dt.total_seconds() / DAY,
        }
    )


def _listed(left_out: dict[str, int]) -> str:
    listed = ", ".join(f"{n:,} {reason}" for reason, n in left_out.items())
    return f" ({listed})" if listed else ""


def _warn(
    cases: pd.DataFrame,
    n_stays: int,
    left_out: dict[str, int],
    wait: pd.Timedelta,
    least: pd.Timedelta | None,
    open_stays: str,
) -> None:
    """Tell in one warning who is left out and whose outcome is not known."""
    sentences = []
    if left_out:
        n_lost = sum(left_out.values())
        sentences.append(
            f"left out {n_lost:,} of {n_stays:,} stays{_listed(left_out)}."
        )
    n_unknown = int(cases["died"].isna().sum())
    if n_unknown:
        sentences.append(
            f"The source does not say whether the patient died in {n_unknown:,} of "
            f"{len(cases):,} cases. Drop them before you use died as a target."
        )
    if least is not None and least > wait:
        sentences.append(
            "at_least is longer than after, so that cases are selected by a future "
            "that is not known at the index time."
        )
    if sentences:
        warn_user(f"{OWNER}: {' '.join(sentences)}", DataWarning)
