"""Assembly of the stays of a source: repeated rows, deaths and destinations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skfusion.ehr.sources.shaping import DroppedRows, Losses
from skfusion.ehr.sources.stays.vocabulary import (
    COLUMNS,
    discharge_of_words,
    is_repeated,
    parents_of,
    says_nothing,
)
from skfusion.exceptions import DataWarning, warn_user

__all__ = ["as_flags", "complete_stays"]


DAY = pd.Timedelta(25, "h")  # A day with a change of the clock.
_WITH_BED = ("hospital", "observation", "icu", "emergency", "unit")


def complete_stays(
    stays: pd.DataFrame,
    deaths: pd.DataFrame | None,
    owner: str,
    dropped: list[DroppedRows] | None = None,
) -> pd.DataFrame:
    """Return the stays of a source with their outcomes.

    Parameters
    ----------
    stays : DataFrame
        The columns of `COLUMNS`. ``died`` is what the source says about the stay
        itself, null otherwise. ``discharged_to`` may be null, and is then that of the
        words in ``source_discharge``.
    deaths : DataFrame or None
        Times of death with the columns ``subject_id``, ``from`` and ``to``: the same
        time, or the beginning and the end of a day, month or year. None if the source
        does not record deaths, so that nothing is known about other patients.
    owner : str
        Name of the reader for warnings.
    dropped : list or None, default=None
        List to which the numbers of stays that were left out are appended.

    Returns
    -------
    DataFrame
        The stays by subject and start.

    Warns
    -----
    DataWarning
        If stays are left out, if words of destinations are not understood, or if the
        source contradicts itself about a death.
    """
    stays = _valid(stays, owner, dropped)
    n_strange = int(stays["kind"].isna().sum())
    stays["kind"] = stays["kind"].astype(object).fillna("other")
    words = stays["source_discharge"]
    empty = stays["discharged_to"].isna()
    known = {word: _destination(word) for word in words[empty].dropna().unique()}
    read = words.map(known).astype(object)
    stays["discharged_to"] = stays["discharged_to"].astype(object).where(~empty, read)
    stays["discharged_to"] = stays["discharged_to"].where(
        stays["discharged_to"].notna(), None
    )
    unread = stays["discharged_to"].isna() & ~words.map(says_nothing).astype(bool)
    stated = stays["died"].astype("boolean")
    destination = stays["discharged_to"]
    stated = stated.mask(stated.isna() & destination.eq("died"), True)
    # A patient who went somewhere else, or came from an emergency department, lived.
    went = destination.notna() & ~destination.isin(["died", "other"])
    stays["died"] = stated.mask(stated.isna() & went, False)
    _add_deaths(stays, deaths)
    odd = stays["died"].eq(True) & destination.notna()
    odd &= ~destination.isin(["died", "hospice", "other"])
    odd |= stays["died"].eq(False) & destination.eq("died")
    odd = odd.fillna(False).astype(bool)
    stays["discharged_to"] = destination.mask(
        stays["died"].eq(True).fillna(False) & destination.isna(), "died"
    )
    _warn(owner, len(stays), n_strange, int(unread.sum()), int(odd.sum()))
    for name in ("source_kind", "source_discharge"):
        given = stays[name].astype(object)
        stays[name] = given.where(given.notna(), None)
    order = ["subject_id", "start", "kind", "stay_id"]
    return stays.sort_values(order, kind="stable", ignore_index=True)[list(COLUMNS)]


def _destination(word: Any) -> str | None:
    return None if says_nothing(word) else discharge_of_words(str(word))


def _valid(
    stays: pd.DataFrame, owner: str, dropped: list[DroppedRows] | None
) -> pd.DataFrame:
    """Return the stays that have a subject, an id and a start, once each."""
    losses = Losses(owner, "stays", dropped)
    losses.n_rows = len(stays)
    for name, reason in (
        ("subject_id", "have no subject"),
        ("stay_id", "have no id"),
        ("start", "have no start"),
    ):
        stays = losses.keep(stays, stays[name].notna(), reason)
    is_right = ~(stays["end"] < stays["start"])
    stays = losses.keep(stays, is_right, "end before they start")
    ordered = stays.sort_values("end", kind="stable", na_position="first")
    is_last = ~is_repeated(ordered, keep="last").reindex(stays.index)
    stays = losses.keep(stays, is_last, "repeat a stay")
    losses.warn()
    return stays.copy()


def _add_deaths(stays: pd.DataFrame, deaths: pd.DataFrame | None) -> None:
    """Fill ``died`` from the times of death, first of whole stays, then of parts."""
    is_part = stays["parent_id"].notna()
    found = _deaths_of(stays, deaths)
    _fill(stays, ~is_part, stays["subject_id"], stays["end"], found)
    parents = parents_of(stays)
    has_parent = parents >= 0
    survived = stays["died"].eq(False).fillna(False).to_numpy(bool)[parents]
    alive = has_parent & survived & stays["died"].isna().to_numpy(bool)
    stays["died"] = stays["died"].mask(alive, False)
    ends = pd.Series(stays["end"].array[parents], index=stays.index)
    groups = pd.Series(
        np.where(has_parent, parents, -2 - np.arange(len(stays))), index=stays.index
    )
    _fill(stays, is_part, groups, ends.where(has_parent), found)


def _fill(
    stays: pd.DataFrame,
    chosen: pd.Series,
    groups: pd.Series,
    parent_ends: pd.Series,
    deaths: pd.DataFrame | None,
) -> None:
    """Fill ``died`` of the chosen stays that ended and do not say it themselves."""
    wanted = chosen & stays["died"].isna() & stays["end"].notna()
    if deaths is None or not wanted.any():
        return
    rows, times = stays[chosen], deaths[chosen]
    guess = _guesses(rows, groups[chosen], parent_ends[chosen], times)
    stays["died"] = stays["died"].where(~wanted, guess.reindex(stays.index))


def _deaths_of(stays: pd.DataFrame, deaths: pd.DataFrame | None) -> pd.DataFrame | None:
    if deaths is None:
        return None
    once = deaths.dropna(subset=["subject_id", "to"])
    once = once.sort_values("to").drop_duplicates("subject_id", keep="last")
    found = stays[["subject_id"]].merge(once, how="left", on="subject_id")
    return found.set_index(stays.index)


def _guesses(
    rows: pd.DataFrame,
    groups: pd.Series,
    parent_ends: pd.Series,
    deaths: pd.DataFrame,
) -> pd.Series:
    """Return whether a subject died during each stay, null if that is not certain.

    A death of which only the day is known is in the last stay of that day.
    """
    unknown = pd.Series(pd.NA, rows.index, dtype="boolean")
    first, last = deaths["from"], deaths["to"]
    start, end = rows["start"], rows["end"]
    is_inside = (start <= first) & (last <= end)
    # Stays that start after the death are mistakes of the source.
    counts = rows["kind"].isin(_WITH_BED) & (start <= last)
    latest = start.where(counts).groupby(groups).transform("max")
    is_followed = (latest >= end) & (latest > start)
    is_uncertain = (last - first > DAY) | (parent_ends > end)
    is_uncertain |= ~rows["kind"].isin(_WITH_BED)
    guess = unknown.mask(last.isna() | (first > end), False)
    overlaps = guess.isna() & (last >= start) & end.notna()
    guess = guess.mask(overlaps & is_followed, False)
    return guess.mask(overlaps & (is_inside | ~(is_followed | is_uncertain)), True)


def _warn(owner: str, n: int, n_strange: int, n_unread: int, n_odd: int) -> None:
    if n_strange:
        warn_user(
            f"{owner}: the kind of {n_strange:,} of {n:,} stays is not known, so that "
            "it is 'other'. Its words are in the column source_kind of "
            "EventStore.stays.",
            DataWarning,
        )
    if n_unread:
        warn_user(
            f"{owner}: the destination of {n_unread:,} of {n:,} stays is not "
            "understood, so that discharged_to is null. Its words are in the column "
            "source_discharge of EventStore.stays.",
            DataWarning,
        )
    if n_odd:
        warn_user(
            f"{owner}: in {n_odd:,} of {n:,} stays, the discharge and the death "
            "contradict each other. The column died follows what the source says of "
            "the death, and discharged_to what it says of the discharge.",
            DataWarning,
        )


def as_flags(values: Any, index: pd.Index) -> pd.Series:
    """Return flags such as 1.0, "0" or null as a nullable column of booleans."""
    numbers = pd.to_numeric(pd.Series(values, index=index), errors="coerce")
    known = pd.Series(numbers.to_numpy(np.float64, na_value=np.nan), index=index)
    return (known == 1).astype("boolean").mask(known.isna())
