"""Conversion of durations given by the user."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

__all__ = ["as_duration", "as_microseconds"]


def as_duration(length: Any) -> pd.Timedelta:
    """Return a duration as a `Timedelta`.

    Parameters
    ----------
    length : str, timedelta or timedelta64
        Duration such as ``"30d"``. Days can be written as ``d`` or ``D``, although
        pandas 3 no longer accepts ``d``.

    Returns
    -------
    Timedelta

    Raises
    ------
    ValueError, TypeError
        If `length` is not a duration.

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
        raise ValueError("NaT is not a duration")
    return duration


def as_microseconds(length: Any) -> int:
    """Return a duration in microseconds, see `as_duration`."""
    return as_duration(length) // pd.Timedelta(1, "us")


DAY = 86_400_000_000.0  # in microseconds
HOUR = 1 / 24  # in days
