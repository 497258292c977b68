"""Comparison of other events with those that a transformer was fitted on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from skfusion.ehr.events.store import EventStore
from skfusion.ehr.measurements.units import plain_unit, states_no_unit
from skfusion.ehr.point_in_time.vocabulary import chosen_codes
from skfusion.exceptions import DataWarning, warn_user

__all__ = [
    "learned_units",
    "units_of_codes",
    "warn_of_other_codes",
    "warn_of_other_units",
]

Units = Mapping[str, tuple[str, ...]]
Part = tuple[str, Any, EventStore]
N_SHOWN = 5
N_EVENTS_AT_ONCE = 1 << 20


@lru_cache(maxsize=8)
def units_of_codes(store: EventStore) -> Units:
    """Return the units of the numeric values of each code, the most frequent first.

    Parameters
    ----------
    store : EventStore
        The events.

    Returns
    -------
    mapping of str to tuple of str
        Code -> units, in their plain spelling. Codes whose values have no unit are left
        out.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion import EventStore
    >>> from skfusion.ehr.point_in_time.other_events import units_of_codes
    >>> store = EventStore.from_frame(pd.DataFrame({
    ...     "subject_id": 1, "time": pd.Timestamp("2024-01-10"), "code": "LAB//crp",
    ...     "numeric_value": [1.0, 2.0, 3.0], "unit": ["mg/L", "mg/l", "mg/dL"],
    ... }))
    >>> units_of_codes(store)
    {'LAB//crp': ('mg/l', 'mg/dl')}
    """
    files = store.files
    if "unit" not in files.columns:
        return {}
    code, unit, value = (files.column(name) for name in ("code", "unit", "value"))
    words = [str(word) for word in files.words("unit")]
    counts: dict[int, int] = {}
    for start in range(0, len(code), N_EVENTS_AT_ONCE):
        some = slice(start, start + N_EVENTS_AT_ONCE)
        there = (unit[some] >= 0) & ~np.isnan(value[some])
        pairs = code[some][there].astype(np.int64) * len(words) + unit[some][there]
        for pair, n in zip(*np.unique(pairs, return_counts=True), strict=True):
            counts[int(pair)] = counts.get(int(pair), 0) + int(n)
    by_code: dict[int, dict[str, int]] = {}
    for pair, n in counts.items():
        word = words[pair % len(words)]
        if not states_no_unit(word):
            of_code = by_code.setdefault(pair // len(words), {})
            of_code[plain_unit(word)] = of_code.get(plain_unit(word), 0) + n
    codes = files.words("code")
    return {
        codes[place]: tuple(sorted(found, key=lambda word: (-found[word], word)))
        for place, found in sorted(by_code.items())
    }


def learned_units(store: EventStore, codes: Iterable[str]) -> Units:
    """Return the units of the values of some codes, as `units_of_codes`."""
    units = units_of_codes(store)
    return {code: units[code] for code in codes if code in units}


def warn_of_other_units(parts: Iterable[Part], owner: str) -> None:
    """Warn about codes whose values have another unit than in training.

    Parameters
    ----------
    parts : iterable of (str, transformer, EventStore)
        Names and transformers, with their other events. Transformers that have learned
        no units are left out.
    owner : str
        Beginning of the message.
    """
    changed: dict[str, str] = {}
    n_compared: set[str] = set()
    for _, part, store in parts:
        learned: Units = getattr(part, "_units", {})
        found = units_of_codes(store) if learned else {}
        for code in learned.keys() & found.keys():
            n_compared.add(code)
            if found[code][0] not in learned[code]:
                changed[code] = f"{code!r} ({learned[code][0]}, now {found[code][0]})"
    if changed:
        shown = ", ".join(changed[code] for code in sorted(changed)[:N_SHOWN])
        more = f" and {len(changed) - N_SHOWN} more" if len(changed) > N_SHOWN else ""
        warn_user(
            f"{owner}: the values of {len(changed)} of {len(n_compared)} codes have "
            f"another unit than in training: {shown}{more}. The model reads the "
            "numbers as they are. Convert the events with EventStore.convert_units, as "
            "those of the training.",
            DataWarning,
        )


def warn_of_other_codes(parts: Iterable[Part], owner: str) -> None:
    """Warn about events that have none of the codes that transformers have learned.

    Events of one subject may lack the codes of a modality. A warning is due if they
    have other codes in their place, or none of the codes of any modality.

    Parameters
    ----------
    parts : iterable of (str, transformer, EventStore)
        Names and transformers, with their other events. Several of one name, e.g. those
        of the folds of a calibration, count as one.
    owner : str
        Beginning of the message.
    """
    learned: dict[str, set[str]] = {}
    fitted: dict[str, tuple[Any, list[str]]] = {}
    for name, part, store in parts:
        if len(getattr(part, "codes_", ())):
            learned.setdefault(name, set()).update(part.codes_)
            fitted[name] = part, list(store.codes)
    lacking = [name for name in fitted if learned[name].isdisjoint(fitted[name][1])]
    for name in lacking:
        part, codes = fitted[name]
        others = np.flatnonzero(chosen_codes(part, codes))
        everywhere = len(lacking) == len(fitted)
        if not len(codes) or not (len(others) or everywhere):
            continue
        shown = [codes[place] for place in others] or codes
        warn_user(
            f"{owner}: none of the {len(learned[name])} codes that {name} has learned, "
            f"such as {min(learned[name])!r}, is among the {len(codes)} codes of the "
            f"other events, such as {min(shown)!r}. It takes no events from them. "
            "Check vocabularies and spellings, or map the codes with "
            "EventStore.map_codes.",
            DataWarning,
        )
