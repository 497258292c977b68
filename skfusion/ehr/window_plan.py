"""Windows, statistics and codes as a user says them in; columns of features out.

Read next: `skfusion.ehr.windows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import numpy as np

from skfusion._validation import did_you_mean
from skfusion.ehr.durations import as_duration, as_microseconds
from skfusion.ehr.window_kernel import COUNTS, STATISTICS

__all__ = ["OUTCOME_CODES", "Feature", "FeaturePlan", "Windows", "parse_feature"]

# what says how a stay ended, or is written down after it for the bill
OUTCOME_CODES = (
    *("*DEATH*", "*EXPIRE*", "*DECEASED*", "*DISCHARGE*"),
    *("DRG*", "*//DRG//*", "*BILLING*"),
)
UNBOUNDED = np.iinfo(np.int64).max
MANY = 8  # windows from which on a binary search is faster than comparing with each
ALL = "all"  # the window without a beginning
EVERY = "*"  # the code of what is counted over all codes
TOTALS = ("count", "n_codes", "history")


class Feature(NamedTuple):
    """What a feature is of: a code (``"*"`` for all), a window and a statistic."""

    code: str
    window: str
    statistic: str


def parse_feature(name: str) -> Feature:
    """Read the name of a feature back.

    Parameters
    ----------
    name : str
        Such as ``"LAB//creatinine__30d__mean"``.

    Returns
    -------
    Feature

    Raises
    ------
    ValueError
        If it is no such name.

    Examples
    --------
    >>> from skfusion.ehr import parse_feature
    >>> parse_feature("LAB//creatinine__30d__mean")
    Feature(code='LAB//creatinine', window='30d', statistic='mean')
    """
    parts = name.rsplit("__", 2)
    if len(parts) < 3 or parts[2] not in {*STATISTICS, *TOTALS}:
        raise ValueError(
            "A feature of events is named <code>__<window>__<statistic>, got a name "
            f"of {len(parts)} parts."
        )
    return Feature(*parts)


@dataclass(frozen=True)
class Windows:
    """Windows that reach back from an end, ordered by length.

    Attributes
    ----------
    lengths : ndarray of int64 of shape (n_windows,)
        Their lengths in microseconds.
    labels : tuple of str
        Their names.
    nested : bool
        Whether each holds those before it, or they are bands beside one another.
    """

    lengths: np.ndarray
    labels: tuple[str, ...]
    nested: bool

    @classmethod
    def parse(cls, windows: Any, nested: bool) -> Windows:
        """Check what a user gave.

        Raises
        ------
        ValueError
            If there is none, one is no positive time, or two are the same.
        """
        if isinstance(windows, str) or not isinstance(windows, Sequence) or not windows:
            raise ValueError(
                "EventWindows: windows must be a tuple of lengths such as ('1d', "
                f"'30d', None), got {windows!r}."
            )
        pairs = sorted((_length(window), _label(window)) for window in windows)
        lengths = np.array([length for length, _ in pairs], dtype=np.int64)
        if len(np.unique(lengths)) < len(lengths):
            raise ValueError(
                f"EventWindows: windows={windows!r} has the same length twice."
            )
        labels = [label for _, label in pairs]
        if not nested:
            labels[1:] = [f"{a}-{b}" for a, b in zip(labels, labels[1:], strict=False)]
        return cls(lengths, tuple(labels), nested)

    def union(self, other: Windows) -> Windows:
        """Return all windows of both, which must be nested.

        Raises
        ------
        ValueError
            If they are disjoint.
        """
        if not self.nested:
            raise ValueError(
                "EventWindows: where windows are disjoint, each depends on the others, "
                "so that they are prepared one setting at a time; pass windows=None."
            )
        labels = dict(zip(other.lengths.tolist(), other.labels, strict=True))
        labels |= dict(zip(self.lengths.tolist(), self.labels, strict=True))
        lengths = sorted(labels)
        names = tuple(labels[length] for length in lengths)
        return Windows(np.array(lengths, dtype=np.int64), names, self.nested)

    @property
    def days(self) -> np.ndarray:
        """Return the lengths in days, infinite for a whole history."""
        days = self.lengths / 86_400_000_000
        return np.where(self.lengths == UNBOUNDED, np.inf, days)

    @property
    def widths(self) -> np.ndarray:
        """Return how many days each one covers."""
        return self.days if self.nested else np.diff(self.days, prepend=0.0)

    def band(self, ahead: np.ndarray, closed: str) -> np.ndarray:
        """Return which band lies that many microseconds before the end."""
        if len(self.lengths) > MANY:
            side: Literal["left", "right"] = "left" if closed == "left" else "right"
            return np.searchsorted(self.lengths[:-1], ahead, side)
        band = np.zeros(len(ahead), dtype=np.intp)
        for length in self.lengths[:-1]:
            band += ahead > length if closed == "left" else ahead >= length
        return band


def _length(window: Any) -> int:
    if window is None:
        return int(UNBOUNDED)
    try:
        length = as_microseconds(window)
    except (ValueError, TypeError):
        length = 0
    if length <= 0:
        raise ValueError(
            f"EventWindows: window {window!r} must be a positive time such as '30d' "
            "or '6h', or None for the whole history."
        )
    return length


def _label(window: Any) -> str:
    if window is None:
        return ALL
    if isinstance(window, str):
        return window.strip()
    return as_duration(window).isoformat()


def check_statistics(
    names: Any, parameter: str, known: Sequence[str]
) -> tuple[str, ...]:
    """Return names of statistics, each known, once and in their order."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(
            f"EventWindows: {parameter} must be a tuple of statistics, got {names!r}."
        )
    for name in names:
        if name not in known:
            raise ValueError(
                f"EventWindows: there is no statistic {name!r} in {parameter}; there "
                f"are {', '.join(known)}.{did_you_mean(name, known)}"
            )
    return tuple(name for name in known if name in names)


def chosen_codes(
    codes: Sequence[str], include: Sequence[str] | None, exclude: Any
) -> np.ndarray:
    """Tell which codes may be used.

    Parameters
    ----------
    codes : sequence of str
        All codes.
    include : sequence of str or None
        Patterns such as ``"LAB//*"``; None includes all.
    exclude : sequence of str, "outcomes" or None
        Patterns that are left out; "outcomes" stands for `OUTCOME_CODES`.

    Returns
    -------
    ndarray of bool of shape (n_codes,)
    """
    out = (
        OUTCOME_CODES if isinstance(exclude, str) and exclude == "outcomes" else exclude
    )
    for name, patterns in (("include", include), ("exclude", out)):
        if isinstance(patterns, str):
            raise ValueError(
                f"EventWindows: {name} must be a tuple of patterns such as ('LAB//*',)"
                f", got {patterns!r}."
            )
    return np.array(
        [
            (include is None or any(fnmatchcase(code, p) for p in include))
            and not any(fnmatchcase(code, p) for p in out or ())
            for code in codes
        ],
        dtype=bool,
    )


class FeaturePlan:
    """Which statistic of which code and window stands in which column.

    Parameters
    ----------
    codes : sequence of str
        The codes, in the order of the columns.
    windows : Windows
        The windows.
    aggs : sequence of str
        Statistics of all codes.
    aggs_by_prefix : mapping of str to sequence of str or None
        What a code begins with -> its statistics in place of those; the longest counts.
    totals : sequence of str
        Statistics over all codes.

    Attributes
    ----------
    names : list of str
        Names of the columns.
    statistics : tuple of str
        All statistics that are needed.
    place : ndarray of int32 of shape (n_codes, n_windows, n_statistics)
        The column; -1 for none.
    n_of_codes : int
        How many columns are of single codes; those over all codes follow.
    is_regular : bool
        Whether all codes have the same statistics, side by side.
    empty : ndarray of float32 of shape (n_columns,)
        What stands in each column where nothing happened: 0 for counts, else NaN.
    """

    def __init__(
        self,
        codes: Sequence[str],
        windows: Windows,
        aggs: Any,
        aggs_by_prefix: Mapping[str, Any] | None,
        totals: Any,
    ) -> None:
        default = check_statistics(aggs, "aggs", STATISTICS)
        special = {
            start: check_statistics(names, f"aggs_by_prefix[{start!r}]", STATISTICS)
            for start, names in (aggs_by_prefix or {}).items()
        }
        self.totals = check_statistics(totals, "totals", TOTALS)
        wanted = [_for_code(code, default, special) for code in codes]
        used = {name for names in wanted for name in names}
        self.statistics = tuple(name for name in STATISTICS if name in used)
        shape = len(codes), len(windows.labels), len(self.statistics)
        self.place = np.full(shape, -1, dtype=np.int32)
        self.names: list[str] = []
        counts: list[bool] = []
        for c, code in enumerate(codes):
            kinds = [self.statistics.index(name) for name in wanted[c]]
            ends = [f"{w}__{name}" for w in windows.labels for name in wanted[c]]
            first = len(self.names)
            columns = np.arange(first, first + len(ends)).reshape(shape[1], -1)
            self.place[c, :, kinds] = columns.T
            self.names += [f"{code}__{end}" for end in ends]
            counts += [name in COUNTS for name in wanted[c]] * shape[1]
        self.n_of_codes = len(self.names)
        self.is_regular = self.n_of_codes == self.place.size
        for name in self.totals:
            labels = (ALL,) if name == "history" else windows.labels
            self.names += [f"{EVERY}__{label}__{name}" for label in labels]
            counts += [name != "history"] * len(labels)
        self.empty = np.where(counts, np.float32(0), np.float32(np.nan))


def _for_code(
    code: str, default: tuple[str, ...], special: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    matching = [start for start in special if code.startswith(start)]
    return special[max(matching, key=len)] if matching else default
