"""Description of a cohort by outcome, with small counts suppressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.comparison.analyses.levels import (
    MISSING,
    MOST_LEVELS,
    is_numeric,
    levels_of,
)
from skfusion.evaluation.comparison.running import Context
from skfusion.evaluation.statistics.disclosure import WITHHELD, shown_counts
from skfusion.exceptions import DataWarning, warn_user
from skfusion.modality import find_column_roles

__all__ = ["Strata", "default_columns", "table_one"]


OWNER = "FusionComparison.table_one"
# Above this skewness, a number is described by its median.
SKEWED = 1.0
MOST_COLUMNS = 30  # of a modality, such as the features of an image
RESERVED = ("variable", "level", "missing", "overall", "smd")


@dataclass(frozen=True)
class Strata:
    """Patients of a cohort and their class.

    Attributes
    ----------
    rows : ndarray of int of shape (n_units,)
        Row position that describes each unit, the first one of a patient.
    codes : ndarray of int of shape (n_units,)
        Class of each unit.
    names : list of str
        Names of the classes, empty without classes.
    unit : {"patients", "rows"}
        Units that are counted.
    """

    rows: np.ndarray
    codes: np.ndarray
    names: list[str]
    unit: str

    @classmethod
    def of(
        cls, strata: np.ndarray | None, names: Sequence[str], groups: np.ndarray | None
    ) -> Strata:
        """Return the units of a cohort.

        Parameters
        ----------
        strata : ndarray of int of shape (n_rows,) or None
            Class of each row. A patient has the highest one.
        names : sequence of str
            Names of the classes.
        groups : ndarray of int of shape (n_rows,) or None
            Patient of each row.
        """
        n_rows = len(groups if strata is None else strata)  # type: ignore[arg-type]
        codes = np.zeros(n_rows, dtype=np.int64) if strata is None else strata
        if groups is None:
            return cls(np.arange(n_rows), codes, list(names), "rows")
        _, rows, place = np.unique(groups, return_index=True, return_inverse=True)
        highest = np.zeros(len(rows), dtype=np.int64)
        np.maximum.at(highest, place, codes)
        order = np.argsort(rows)
        return cls(rows[order], highest[order], list(names), "patients")

    @property
    def columns(self) -> list[str]:
        """Names of the columns of the classes."""
        return [f"class {name}" if name in RESERVED else name for name in self.names]

    @property
    def masks(self) -> list[np.ndarray]:
        """Units of each class."""
        return [self.codes == number for number in range(len(self.names))]


def default_columns(context: Context) -> list[Any]:
    """Return the columns of the modalities that can be described.

    Warns
    -----
    DataWarning
        If columns are left out, because a modality has many, or a column has many
        levels.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    X = context.study.X
    roles = find_column_roles(X, aside=[context.study.id_column])
    chosen: dict[Any, None] = {}
    n_left_out = 0
    for modality in context.modalities:
        own = [column for column in modality.columns if column in roles.ehr]
        few = len(own) <= MOST_COLUMNS
        kept = [column for column in own if few and _can_be_described(X[column])]
        n_left_out += len(own) - len(kept)
        chosen |= dict.fromkeys(kept)
    if n_left_out:
        warn_user(
            f"{OWNER}: {n_left_out} columns of the modalities are left out, because a "
            f"modality has more than {MOST_COLUMNS} columns or a column has more than "
            f"{MOST_LEVELS} levels. Pass columns= to choose.",
            DataWarning,
        )
    if not chosen:
        raise ValueError(
            f"{OWNER}: no modality has a column that can be described, such as with "
            "images or events only. Pass columns= of the table, or a DataFrame with a "
            "row for each case, such as of age and sex."
        )
    return list(chosen)


def _can_be_described(values: pd.Series) -> bool:
    try:
        return is_numeric(values) or int(values.nunique()) <= MOST_LEVELS
    except TypeError:  # cells that are arrays
        return False


def table_one(
    variables: Mapping[str, pd.Series],
    strata: Strata,
    labels: Mapping[str, str],
    *,
    min_cell: int,
) -> pd.DataFrame:
    """Return the description of each variable, overall and by class.

    Parameters
    ----------
    variables : dict of str to Series of shape (n_rows,)
        Variables.
    strata : Strata
        Units and classes.
    labels : dict of str to str
        Names to show for variables.
    min_cell : int
        Smallest count that is shown.

    Returns
    -------
    DataFrame
    """
    counts = [int(mask.sum()) for mask in strata.masks]
    shown = shown_counts(counts, min_cell)
    total = shown_counts([len(strata.rows)], min_cell)[0]
    first = {
        "variable": "n",
        "level": strata.unit,
        "missing": "",
        "overall": str(total),
    }
    first |= dict(zip(strata.columns, map(str, shown), strict=True))
    rows: list[dict[str, Any]] = [first | {"smd": np.nan}]
    hidden = [isinstance(n, str) for n in shown]
    for name, values in variables.items():
        own = values.iloc[strata.rows].reset_index(drop=True)
        label = labels.get(name, name)
        if is_numeric(own):
            rows.append(_number(label, own, strata, hidden, min_cell))
        else:
            rows += _category(label, name, own, strata, hidden, min_cell)
    return pd.DataFrame(rows)


# -- numbers --------------------------------------------------------------------------


def _number(
    label: str, values: pd.Series, strata: Strata, hidden: Sequence[bool], min_cell: int
) -> dict[str, Any]:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    known = ~np.isnan(numbers)
    skewness: Any = pd.Series(numbers).skew()
    is_skewed = abs(skewness) > SKEWED
    parts = [numbers[mask & known] for mask in strata.masks]
    small = [
        0 < len(part) < min_cell or hide
        for part, hide in zip(parts, hidden, strict=True)
    ]
    decimals = _decimals(numbers[known], is_skewed=is_skewed)
    texts = [
        f"<{min_cell}" if is_small else _summary(part, decimals, is_skewed=is_skewed)
        for part, is_small in zip(parts, small, strict=True)
    ]
    overall = _summary(numbers[known], decimals, is_skewed=is_skewed)
    if any(small):  # that of the small class would follow
        overall = WITHHELD
    statistic = "median [Q1, Q3]" if is_skewed else "mean (SD)"
    row = {
        "variable": f"{label}, {statistic}",
        "level": "",
        "missing": _missing(int((~known).sum()), len(known), min_cell),
        "overall": overall,
    }
    row |= dict(zip(strata.columns, texts, strict=True))
    smd = np.nan if any(small) or len(parts) != 2 else _smd_of_numbers(*parts)
    return row | {"smd": smd}


def _missing(n: int, total: int, min_cell: int) -> str:
    return str(shown_counts([n, total - n], min_cell)[0])


def _decimals(numbers: np.ndarray, *, is_skewed: bool) -> int:
    """Return the decimals with which the spread has two digits, at least one."""
    if len(numbers) < 2:
        return 1
    spread = float(np.std(numbers, ddof=1))
    if is_skewed:
        spread = float(np.subtract(*np.quantile(numbers, [0.75, 0.25])))
    if not spread > 0:
        return 1
    return int(np.clip(1 - np.floor(np.log10(spread)), 1, 12))


def _summary(numbers: np.ndarray, decimals: int, *, is_skewed: bool) -> str:
    if not len(numbers):
        return ""
    if is_skewed:
        quartiles = np.quantile(numbers, [0.25, 0.5, 0.75])
        low, middle, high = (_rounded(value, decimals) for value in quartiles)
        return f"{middle} [{low}, {high}]"
    spread = np.std(numbers, ddof=1) if len(numbers) > 1 else np.nan
    return f"{_rounded(numbers.mean(), decimals)} ({_rounded(spread, decimals)})"


def _rounded(value: float, decimals: int) -> str:
    # A value that is rounded to zero has no sign.
    return f"{round(float(value), decimals) + 0.0:.{decimals}f}"


def _smd_of_numbers(first: np.ndarray, second: np.ndarray) -> float:
    """Return the difference of the means over the root of the mean variance."""
    if min(len(first), len(second)) < 2:
        return np.nan
    variance = (first.var(ddof=1) + second.var(ddof=1)) / 2.0
    return (
        float((second.mean() - first.mean()) / np.sqrt(variance))
        if variance
        else np.nan
    )


# -- categories -----------------------------------------------------------------------


def _category(
    label: str,
    name: str,
    values: pd.Series,
    strata: Strata,
    hidden: Sequence[bool],
    min_cell: int,
) -> list[dict[str, Any]]:
    codes, levels = levels_of(values, name, OWNER)
    n_missing = 0
    if levels and levels[-1] == MISSING and values.isna().any():
        n_missing = int((codes == len(levels) - 1).sum())
        levels = levels[:-1]
    table = np.array(
        [
            [int((codes[mask] == k).sum()) for mask in strata.masks]
            for k in range(len(levels))
        ]
    ).reshape(len(levels), len(strata.names))
    overall = np.array([int((codes == k).sum()) for k in range(len(levels))])
    cells, totals = _hide(table, overall, n_missing, hidden, min_cell)
    is_hidden = 0 < n_missing < min_cell
    sizes = [int(mask.sum()) for mask in strata.masks]
    n_class = sizes if is_hidden else [int(n) for n in table.sum(axis=0)]
    n_all = len(codes) if is_hidden else int(overall.sum())
    any_hidden = any(isinstance(cell, str) for row in [*cells, totals] for cell in row)
    smd = np.nan
    if len(strata.names) == 2 and not any_hidden:
        smd = _smd_of_shares(*(table / np.maximum(table.sum(axis=0), 1)).T)
    rows = []
    for number, level in enumerate(levels):
        row: dict[str, Any] = {"variable": f"{label}, n (%)", "level": level}
        row["missing"] = _missing(n_missing, len(codes), min_cell) if not number else ""
        row["overall"] = _share(totals[number], n_all)
        for column, cell, n in zip(strata.columns, cells[number], n_class, strict=True):
            row[column] = _share(cell, n)
        rows.append(row | {"smd": smd if not number else np.nan})
    return rows


def _hide(
    table: np.ndarray,
    overall: np.ndarray,
    n_missing: int,
    hidden: Sequence[bool],
    min_cell: int,
) -> tuple[list[list[int | str]], list[int | str]]:
    """Return the cells by level and class, and those of all, as they are shown.

    A row with a small or withheld cell is hidden as a whole, because the sum of its
    cells may be known from elsewhere, such as from `by_group`.
    """
    columns = [shown_counts(column.tolist(), min_cell) for column in table.T]
    totals = shown_counts([*overall.tolist(), n_missing], min_cell)[:-1]
    cells = []
    for number, row in enumerate(table.tolist()):
        shown = [column[number] for column in columns]
        is_hidden = any(isinstance(cell, str) for cell in [*shown, totals[number]])
        # The number of a hidden class would follow from its levels.
        shown = [
            _hidden(n, min_cell) if is_hidden or of_class else n
            for n, of_class in zip(row, hidden, strict=True)
        ]
        if is_hidden:
            totals[number] = _hidden(int(overall[number]), min_cell)
        cells.append(shown)
    return cells, totals


def _hidden(n: int, min_cell: int) -> int | str:
    """Return the text of a count that is not shown. A count of 0 is shown."""
    if n == 0:
        return n
    return f"<{min_cell}" if n < min_cell else WITHHELD


def _share(cell: int | str, n: int) -> str:
    if isinstance(cell, str):
        return cell
    return f"{cell} ({100.0 * cell / n:.1f})" if n else f"{cell}"


def _smd_of_shares(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Mahalanobis distance of the shares of the levels but the first."""
    if len(first) < 2:
        return np.nan
    a, b = first[1:], second[1:]
    covariance = sum(np.diag(p) - np.outer(p, p) for p in (a, b)) / 2.0
    try:
        distance = (b - a) @ np.linalg.solve(covariance, b - a)
    except np.linalg.LinAlgError:  # a level is in neither class
        return np.nan
    return float(np.sqrt(distance)) if distance >= 0 else np.nan
