"""Names and column layout of the features of `EventWindows`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from skfusion._validation import did_you_mean
from skfusion.ehr.point_in_time.visibility import ALL, Windows
from skfusion.ehr.windows.kernel import COUNTS, STATISTICS

__all__ = ["Feature", "FeaturePlan", "code_groups", "feature_plan", "parse_feature"]

EVERY = "*"  # Code of the statistics over all codes.
TOTALS = ("count", "n_codes", "history")


class Feature(NamedTuple):
    """Parts of a feature name: the code (``"*"`` for all), window and statistic."""

    code: str
    window: str
    statistic: str


def parse_feature(name: str) -> Feature:
    """Split the name of a feature into code, window and statistic.

    Parameters
    ----------
    name : str
        Name of a feature, such as ``"LAB//creatinine__30d__mean"``.

    Returns
    -------
    Feature

    Raises
    ------
    ValueError
        If `name` is not the name of a feature of `EventWindows`.

    Examples
    --------
    >>> from skfusion.ehr import parse_feature
    >>> parse_feature("LAB//creatinine__30d__mean")
    Feature(code='LAB//creatinine', window='30d', statistic='mean')
    """
    parts = name.rsplit("__", 2)
    if len(parts) < 3 or parts[2] not in {*STATISTICS, *TOTALS}:
        raise ValueError(
            "The name of an event feature must be <code>__<window>__<statistic>, got a "
            f"name of {len(parts)} parts."
        )
    return Feature(*parts)


def check_statistics(
    names: Any, parameter: str, known: Sequence[str]
) -> tuple[str, ...]:
    """Validate names of statistics and return them without duplicates, in order."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(
            f"EventWindows: {parameter} must be a tuple of statistics, got {names!r}."
        )
    for name in names:
        if name not in known:
            raise ValueError(
                f"EventWindows: got an unknown statistic {name!r} in {parameter}. The "
                f"options are {', '.join(known)}.{did_you_mean(name, known)}"
            )
    return tuple(name for name in known if name in names)


class FeaturePlan:
    """Mapping of codes, windows and statistics to the columns of the output.

    Parameters
    ----------
    codes : sequence of str
        The codes, in the order of the columns.
    windows : Windows
        The windows.
    aggs : sequence of str
        Statistics of each code.
    aggs_by_prefix : mapping of str to sequence of str or None
        Code prefix -> statistics that replace `aggs`. The longest prefix wins.
    totals : sequence of str
        Statistics over all codes.

    Attributes
    ----------
    names : list of str
        Names of the columns.
    statistics : tuple of str
        All statistics that are needed for any code.
    place : ndarray of int32 of shape (n_codes, n_windows, n_statistics)
        The output column, or -1.
    n_of_codes : int
        Number of columns of single codes. The columns over all codes follow.
    is_regular : bool
        Whether all codes have the same statistics, in consecutive columns.
    empty : ndarray of float32 of shape (n_columns,)
        Value of each column for a row without events: 0 for counts, else NaN.
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
        if self.totals and EVERY in codes:
            raise ValueError(
                f"EventWindows: got a code {EVERY!r}, which names the statistics over "
                "all codes. Rename it with EventStore.map_codes, exclude it with "
                "exclude=('[*]',), or pass totals=()."
            )
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


def feature_plan(
    codes: Sequence[str],
    windows: Any,
    nested: bool,
    aggs: Any,
    aggs_by_prefix: Mapping[str, Any] | None,
    totals: Any,
) -> FeaturePlan:
    """Return the plan of some parameters, which is kept for the next call.

    Rows are often transformed one by one, and their features take less time than the
    names of all columns.

    Parameters
    ----------
    codes, aggs, aggs_by_prefix, totals : any
        As in `FeaturePlan`.
    windows : sequence of str, timedelta or None
        Lengths of the windows.
    nested : bool
        Whether each window contains the shorter ones.

    Returns
    -------
    FeaturePlan
        Do not change it, because later calls return it again.

    Raises
    ------
    ValueError
        If a parameter is invalid.
    """
    by_prefix = aggs_by_prefix and tuple(
        (start, _as_key(names)) for start, names in aggs_by_prefix.items()
    )
    names = _as_key(windows), nested, _as_key(aggs), by_prefix, _as_key(totals)
    key = tuple(codes), *names
    try:
        hash(key)
    except TypeError:  # A parameter of a wrong type, which the plan refuses.
        return _new_plan(*key)
    return _kept_plan(*key)


def _as_key(names: Any) -> Any:
    return tuple(names) if isinstance(names, list) else names


def _new_plan(
    codes: tuple[str, ...],
    windows: Any,
    nested: bool,
    aggs: Any,
    by_prefix: Any,
    totals: Any,
) -> FeaturePlan:
    parsed = Windows.parse(windows, nested)
    return FeaturePlan(list(codes), parsed, aggs, dict(by_prefix or ()), totals)


_kept_plan = lru_cache(maxsize=8)(_new_plan)


@lru_cache(maxsize=8)
def code_groups(chosen: tuple[str, ...], codes: tuple[str, ...]) -> np.ndarray:
    """Return the position of each code of a store among the chosen codes, or -1.

    Parameters
    ----------
    chosen, codes : tuple of str
        The codes of a plan, and those of a store.

    Returns
    -------
    ndarray of int of shape (n_codes,)
        It cannot be written, because later calls return it again.
    """
    group = pd.Index(chosen).get_indexer(pd.Index(codes))
    group.flags.writeable = False
    return group


def _for_code(
    code: str, default: tuple[str, ...], special: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    matching = [start for start in special if code.startswith(start)]
    return special[max(matching, key=len)] if matching else default
