"""Transformations of event columns: lags, code groups, units and text values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from skfusion._durations import as_microseconds
from skfusion._validation import did_you_mean
from skfusion.ehr.events.columns import (
    NO_TIME,
    EventColumns,
    Labels,
    as_labels,
    as_series,
    as_values,
)
from skfusion.ehr.measurements.units import Tally, Units
from skfusion.exceptions import DataWarning, LeakageWarning, warn_user

__all__ = [
    "Change",
    "UnitChange",
    "grouping",
    "groups_of",
    "lagging",
    "measurements",
    "parsing",
    "unmatched_prefixes",
    "warn_of_no_match",
]


Change = Callable[[EventColumns], EventColumns]


def unmatched_prefixes(prefixes: Iterable[str], codes: Sequence[str]) -> str:
    """Return the prefixes with which no code begins, as a part of a message.

    Examples
    --------
    >>> from skfusion.ehr.events.transforms import unmatched_prefixes
    >>> unmatched_prefixes(["LAB//", "LABS//"], ["LAB//sodium", "ICU//MICU"])
    "'LABS//' (did you mean 'LAB//'?)"
    """
    kinds = sorted({code.partition("//")[0] + "//" for code in codes if "//" in code})
    found = []
    for start in prefixes:
        if any(code.startswith(start) for code in codes):
            continue
        hint = did_you_mean(start, kinds).strip()
        hint = f" ({hint[0].lower()}{hint[1:]})" if hint else ""
        found.append(f"{start!r}{hint}")
    return ", ".join(found)


def lagging(codes: Sequence[str], lags: Mapping[str, Any]) -> Change:
    """Return a function that delays the time at which events become available.

    Parameters
    ----------
    codes : sequence of str
        Vocabulary of the integer codes.
    lags : mapping of str to timedelta or str
        Code prefix -> delay until an event becomes available.

    Raises
    ------
    ValueError
        If a lag is negative.

    Warns
    -----
    LeakageWarning
        If no code begins with a prefix.
    """
    unmatched = unmatched_prefixes(lags, codes)
    if unmatched:
        warn_user(
            f"EventStore: no code of the store begins with {unmatched}, so these lags "
            "delay no event.",
            LeakageWarning,
        )
    wait = np.zeros(len(codes), dtype=np.int64)
    for start in sorted(lags, key=len):
        lag = as_microseconds(lags[start])
        if lag < 0:
            raise ValueError(
                f"EventStore: the lag of {start!r} must not be negative, got "
                f"{lags[start]!r}. Events are not available before they happen."
            )
        wait[[code.startswith(start) for code in codes]] = lag

    def change(events: EventColumns) -> EventColumns:
        timed = events.time != NO_TIME
        known = events.time + wait[events.code.numbers] * timed
        if events.available is not None:
            known = np.maximum(known, events.available)
        return replace(events, available=known)

    return change


def grouping(groups: Sequence[Sequence[str]]) -> Change:
    """Return a function that replaces the code of each event by its groups.

    Parameters
    ----------
    groups : sequence of sequence of str
        The groups of each integer code, as returned by `groups_of`.
    """
    words = list(dict.fromkeys(group for each in groups for group in each))
    number = {word: i for i, word in enumerate(words)}
    targets = np.array([number[g] for each in groups for g in each], dtype=np.int32)
    n_groups = np.array([len(each) for each in groups], dtype=np.int64)
    first = np.concatenate([[0], n_groups.cumsum()])

    def change(events: EventColumns) -> EventColumns:
        old = events.code.numbers
        row = np.repeat(np.arange(len(old)), n_groups[old])
        before = np.concatenate([[0], n_groups[old].cumsum()])
        place = np.arange(len(row)) - before[row] + first[old[row]]
        return replace(take(events, row), code=Labels(targets[place], words))

    return change


def measurements(events: EventColumns) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return code, value and unit of each event, as the inputs of `Units`."""
    value = pd.Series(events.value.astype(np.float64))
    return as_series(events.code), value, _words(events.unit, len(value))


class UnitChange:
    """Conversion of values to other units, as in `EventStore.convert_units`."""

    def __init__(self, units: Callable[..., pd.DataFrame]) -> None:
        self._units = units
        self._tally = Tally()
        #: Each code -> the codes that replace it, in the pieces so far.
        self.moves: dict[str, list[str]] = {}

    def __call__(self, events: EventColumns) -> EventColumns:
        """Convert the values of some events."""
        given = measurements(events)
        if isinstance(self._units, Units):  # Merged into one warning for all parts.
            table, tally = self._units.convert(*given)
            self._tally = self._tally.join(tally)
        else:
            table = self._units(*given)
        code = as_labels(table["code"], "code")
        self._note(events.code, code)
        return replace(
            events,
            code=code,
            value=as_values(_floats(table["numeric_value"]), "EventStore"),
            unit=as_labels(table["unit"], "unit"),
        )

    def _note(self, before: Labels, after: Labels) -> None:
        """Note which codes were replaced by which."""
        n = len(after.words) + 1  # The last one is of null.
        pairs = before.numbers.astype(np.int64) * n + after.numbers % n
        for pair in np.unique(pairs):
            old, new = before.words[pair // n], pair % n
            known = self.moves.setdefault(old, [])
            if new < n - 1 and after.words[new] not in known:
                known.append(after.words[new])

    def warn(self) -> None:
        """Warn about conversion problems in all parts."""
        if isinstance(self._units, Units):
            self._units.warn(self._tally)


def parsing(parser: Callable[..., pd.DataFrame]) -> Change:
    """Return a function that parses text values, as in `EventStore.read_text`."""

    def change(events: EventColumns) -> EventColumns:
        if events.text is None:
            return events
        table = parser(pd.Series(events.text.words, dtype=object))
        found_values = as_values(_floats(table["numeric_value"]), "EventStore")
        numbers = np.append(found_values, np.float32(np.nan))
        read = numbers[events.text.numbers]
        unknown = np.isnan(events.value)
        value = np.where(unknown, read, events.value).astype(np.float32)
        if "unit" not in table:
            return replace(events, value=value)
        words = table["unit"].astype(object).where(table["unit"] != "", None)
        found = np.array([*words, None], dtype=object)[events.text.numbers]
        unit = _words(events.unit, len(value)).to_numpy(object)
        unit = np.where(unknown & pd.isna(unit), found, unit)
        return replace(events, value=value, unit=as_labels(pd.Series(unit), "unit"))

    return change


def _floats(column: pd.Series) -> np.ndarray:
    return column.to_numpy(np.float64, na_value=np.nan)


def take(events: EventColumns, rows: np.ndarray) -> EventColumns:
    """Return the columns of selected rows."""
    optional: dict[str, Any] = {
        name: None if column is None else Labels(column.numbers[rows], column.words)
        for name, column in (("unit", events.unit), ("text", events.text))
    }
    return replace(
        events,
        subject=events.subject[rows],
        time=events.time[rows],
        code=Labels(events.code.numbers[rows], events.code.words),
        value=events.value[rows],
        clock=events.clock[rows],
        available=None if events.available is None else events.available[rows],
        available_clock=None,
        **optional,
    )


def _words(labels: Labels | None, n: int) -> pd.Series:
    if labels is None:
        return pd.Series([None] * n, dtype=object)
    return as_series(labels)


def warn_of_no_match(codes: Sequence[str], mapping: Any, method: str) -> None:
    """Warn if no code of a store is a key of a mapping, which then has no effect.

    Parameters
    ----------
    codes : sequence of str
        The codes of the store.
    mapping : any
        Nothing is known of a callable, or of an empty mapping.
    method : str
        Name of the method of `EventStore`.
    """
    if not isinstance(mapping, Mapping) or not mapping or not len(codes):
        return
    if not any(code in mapping for code in codes):
        first = next(iter(mapping))
        warn_user(
            f"EventStore.{method}: none of the {len(codes)} codes of the store is "
            f"among the {len(mapping)} codes to change, such as {first!r}, so nothing "
            f"changes.{did_you_mean(first, codes)}",
            DataWarning,
        )


def groups_of(codes: Sequence[str], mapping: Any) -> list[Sequence[str]]:
    """Return the groups of each code.

    Parameters
    ----------
    codes : sequence of str
        The codes.
    mapping : mapping, object with a method ``table``, or callable
        See `EventStore.map_codes`.
    """
    column = pd.Series(list(codes), dtype=object)
    if hasattr(mapping, "table"):
        table = mapping.table(column)
        found = table.groupby("code", sort=False)["group"].agg(list)
        return [found.get(code, []) for code in codes]
    if isinstance(mapping, Mapping):
        return [_as_list(mapping.get(code, code)) for code in codes]
    return [_as_list(group) for group in mapping(column)]


def _as_list(group: Any) -> Sequence[str]:
    if group is None or isinstance(group, float):  # NaN means no group.
        return []
    return [group] if isinstance(group, str) else list(group)
