"""A length of time as a user says it in, a Timedelta out."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

__all__ = ["as_duration", "as_microseconds"]


def as_duration(length: Any) -> pd.Timedelta:
    """Return a length of time.

    Parameters
    ----------
    length : str, timedelta or timedelta64
        Such as ``"30d"``; days may be written with a small or a capital letter, of
        which pandas 3 no longer takes the small one.

    Returns
    -------
    Timedelta

    Raises
    ------
    ValueError, TypeError
        If it is none.

    Examples
    --------
    >>> from skfusion._durations import as_duration
    >>> as_duration("30d") == as_duration("720h")
    True
    """
    if isinstance(length, str):
        length = re.sub(r"(?<=[\d\s])d(?![a-z])", "D", length)
    duration = pd.Timedelta(length)
    if pd.isna(duration):
        raise ValueError("NaT is no length of time")
    return duration


def as_microseconds(length: Any) -> int:
    """Return a length of time in microseconds; see `as_duration`."""
    return as_duration(length) // pd.Timedelta(1, "us")


DAY = 86_400_000_000.0  # in microseconds
HOUR = 1 / 24  # in days
