"""Windows, statistics and codes as a user says them in; columns of features out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skfusion._validation import did_you_mean
from skfusion.ehr.point_in_time.visibility import ALL, Windows
from skfusion.ehr.windows.kernel import COUNTS, STATISTICS

__all__ = ["Feature", "FeaturePlan", "parse_feature"]

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
