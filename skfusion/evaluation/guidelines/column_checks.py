"""Checks of columns: identifiers, missing values and columns that tell the outcome."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import get_tags

from skfusion._fitting.metadata import nested_estimators
from skfusion.cohort import is_partition
from skfusion.evaluation.guidelines.association import (
    Association,
    absent_cells,
    as_numbers,
    best_association,
    bins_of,
    categories_of,
    out_of_fold_rates,
    pvalue_of_purity,
)
from skfusion.evaluation.guidelines.cases import Cases, Outcome
from skfusion.evaluation.guidelines.findings import Findings
from skfusion.modality import cell_presence, find_column_roles

__all__ = [
    "ColumnSet",
    "check_identifiers",
    "check_missing_values",
    "check_pure_values",
    "check_single_columns",
    "check_sites",
    "check_trends",
]


#: AUROC of one column alone, at or above which it is an error.
SINGLE_COLUMN_AUROC = 0.95
#: AUROC of one column alone, at or above which it is a warning.
SUSPICIOUS_AUROC = 0.90
#: AUROC of the missing values of a column, at or above which they are reported.
MISSING_AUROC = 0.65
#: AUROC of a site, scanner or view alone, at or above which it is reported.
SITE_AUROC = 0.65
#: AUROC of the row number or the number in an id, at or above which it is reported.
TREND_AUROC = 0.65
#: Name of the order of the rows among the numbers of rows and ids.
ROW_ORDER = "order of the rows"
#: P-value below which an association is reported, together with its AUROC.
LARGEST_PVALUE = 0.001
#: Fewest rows with a value, and without it, for a statement about the value.
FEWEST_ROWS = 10
#: Share of the patients with a value, at least ten, who have the same outcome.
PURE_SHARE = 0.95
#: Share of the rows in which an id is equal exactly for equal patients.
NEARLY_PATIENT = 0.9
# Share by row below which the share by patient is not computed.
PURE_BY_ROW = 0.8
# Whole numbers that several patients have, per patient, in an id with errors.
MOST_SHARED = 0.01
#: Whole numbers that are all distinct are a counter if their range is at most so many
#: times their number. Those of a measurement would repeat.
COUNTER_RANGE = 20
FEWEST_OF_COUNTER = 50
MANY_PAIRS = 6.0
#: Share of distinct values above which a column of text is no category.
DISTINCT_TEXT = 0.9
#: Columns of numbers with more distinct values are also read in tenths.
MOST_LEVELS = 50

#: Numbers of the first and last rows, or ids, that must not all have one outcome.
END_SIZES = (10, 20, 30, 50, 100)

# Words in the name of a column that tell where or how an image was made.
SITE_WORDS = frozenset(
    (
        *("site", "hospital", "center", "centre", "clinic", "institution"),
        *("institute", "scanner", "manufacturer", "vendor", "model", "device"),
        *("machine", "station", "camera", "protocol", "view", "viewposition"),
        *("projection", "source", "department", "ward", "kvp"),
    )
)


@dataclass(frozen=True)
class ColumnSet:
    """Columns of a cohort by what the checks do with them.

    Attributes
    ----------
    features : list of column labels
        Columns that a model may learn from, without images and event keys.
    identifiers : list of column labels
        Columns with the name of an id that are not among the features.
    images : list of column labels
        Columns of images.
    declared : bool
        Whether modalities declare the features.
    """

    features: list[Any]
    identifiers: list[Any]
    images: list[Any]
    declared: bool


def check_identifiers(columns: ColumnSet, findings: Findings) -> None:
    """Find features that are ids, or that are equal exactly for equal patients."""
    cases = findings.cases
    names = set(find_column_roles(cases.frame.iloc[:0]).identifiers)
    texts = _columns_of_text(cases)
    for column in columns.features:
        values = cases.frame[column]
        filled = cell_presence(values)
        kind = _kind_of_id(values, filled, cases, column in names)
        if kind == "text" and column in texts:
            kind = None  # free text, which an encoder of texts reads
        if kind is None and column in names and columns.declared:
            kind = "name"
        if kind is not None:
            check, severity, found, remedy = _ID_FINDINGS[kind]
            findings.add(check, severity, [column], filled, found, remedy)
    if not columns.declared and columns.identifiers:
        findings.add(
            "identifier",
            "note",
            columns.identifiers,
            np.ones(cases.n_rows, dtype=bool),
            "Columns with names of ids. modalities='auto' leaves them out.",
            "Do not add them to a modality.",
        )


def _columns_of_text(cases: Cases) -> set[Any]:
    """Return the columns that an encoder of texts reads."""
    found: set[Any] = set()
    for modality in cases.modalities:
        for part in nested_estimators(modality.transformer):
            given = part.estimator.get_params(deep=False).get("text", ())
            found |= set(modality.columns).intersection(given)  # TabularEncoder
            tags = get_tags(part.estimator).input_tags
            if tags.string and not tags.two_d_array:  # TextEmbedder, TfidfVectorizer
                found |= set(modality.columns)
    return found


_ID_FINDINGS = {
    "patient": (
        "column is the patient",
        "error",
        "One value for each patient and a different one for every patient, so the "
        "column is an id of the patient.",
        "Leave the column out of the modality.",
    ),
    "perhaps": (
        "column is the patient",
        "warning",
        "One whole number for each patient and a different one for every patient, as "
        "an id has, or a measurement of so few patients.",
        "Leave the column out of the modality if it is an id.",
    ),
    "nearly": (
        "column is the patient",
        "warning",
        "In nearly all rows, one value for each patient and a different one for every "
        "patient, as an id with some errors has.",
        "Leave the column out of the modality if it is an id.",
    ),
    "counter": (
        "identifier",
        "warning",
        "Whole numbers that are all distinct and close together, as the numbers of "
        "records are.",
        "Leave the column out of the modality if it numbers cases.",
    ),
    "text": (
        "identifier",
        "warning",
        "Nearly every row has a text of its own, as ids and free text have.",
        "Leave the column out, or encode it as text.",
    ),
    "name": (
        "identifier",
        "warning",
        "The column has the name of an id and belongs to a modality.",
        "Leave it out of the modality, or rename it if it is a measurement.",
    ),
}


def _kind_of_id(
    values: pd.Series, filled: np.ndarray, cases: Cases, has_name: bool
) -> str | None:
    """Return by which rule a column is an id, None if it is not."""
    if cases.known_patients and 1 < cases.n_patients() < cases.n_rows:
        if _is_patient(values, filled, cases.patients):
            by_chance = not has_name and _distinct_by_chance(values[filled])
            return "perhaps" if by_chance else "patient"
        if _nearly_patient(values, filled, cases.patients):
            return "nearly"
    if _is_counter(values[filled]):
        return "counter"
    return "text" if _is_distinct_text(values[filled]) else None


def _is_patient(values: pd.Series, filled: np.ndarray, patients: np.ndarray) -> bool:
    """Return whether the cells that are filled are equal exactly for equal patients."""
    some = patients[filled]
    n_patients = len(np.unique(some))
    if n_patients < FEWEST_ROWS or n_patients == len(some):
        return False
    return is_partition(values[filled], some)


def _distinct_by_chance(values: pd.Series) -> bool:
    """Return whether measurements of a few patients can all be different."""
    numbers = as_numbers(values)
    if numbers is None:
        return False
    distinct = np.unique(numbers)
    # Twice the number of pairs that would be equal in values drawn from the range.
    n_pairs = len(distinct) ** 2 / max(float(np.ptp(distinct)), 1.0)
    return len(distinct) < FEWEST_OF_COUNTER and n_pairs < MANY_PAIRS


def _nearly_patient(
    values: pd.Series, filled: np.ndarray, patients: np.ndarray
) -> bool:
    """Return whether cells are equal for equal patients in all but a few rows."""
    numbers = as_numbers(values)
    if numbers is not None and (numbers[filled] != np.floor(numbers[filled])).any():
        return False
    codes = categories_of(values)
    if codes is None or not filled.any():
        return False
    table = pd.DataFrame({"value": codes[filled], "patient": patients[filled]})
    several = table.groupby("patient")["value"].transform("size") > 1
    if table.loc[several, "patient"].nunique() < FEWEST_ROWS:
        return False
    shared = (table.groupby("value")["patient"].nunique() > 1).sum()
    if numbers is not None and shared > MOST_SHARED * table["patient"].nunique():
        return False  # a measurement, which patients can have in common
    pairs = table.groupby(["value", "patient"]).size().sort_values(ascending=False)
    index = pairs.index.to_frame(index=False)
    # The most frequent value of a patient, which has no other most frequent patient.
    first = ~(index["value"].duplicated() | index["patient"].duplicated()).to_numpy()
    chosen = pairs.index[first]
    whole = pd.MultiIndex.from_frame(table[["value", "patient"]]).isin(chosen)
    return bool(whole.mean() >= NEARLY_PATIENT <= whole[several.to_numpy()].mean())


def _is_counter(values: pd.Series) -> bool:
    """Return whether values are whole numbers that count records."""
    numbers = as_numbers(values)
    if numbers is None or len(numbers) < FEWEST_OF_COUNTER or not _is_plain(values):
        return False
    if not np.isfinite(numbers).all() or (numbers != np.floor(numbers)).any():
        return False
    distinct = np.unique(numbers)
    is_close = np.ptp(numbers) <= COUNTER_RANGE * len(numbers)
    return len(distinct) == len(numbers) and bool(is_close)


def _is_plain(values: pd.Series) -> bool:
    types = pd.api.types
    return not (
        types.is_datetime64_any_dtype(values) or types.is_timedelta64_dtype(values)
    )


def _is_distinct_text(values: pd.Series) -> bool:
    if len(values) < 2 * FEWEST_ROWS or not all(
        isinstance(cell, str) for cell in values
    ):
        return False
    return as_numbers(values) is None and values.nunique() > DISTINCT_TEXT * len(values)


# -- columns that tell the outcome ----------------------------------------------------


def check_missing_values(
    columns: ColumnSet, findings: Findings, outcomes: list[Outcome]
) -> None:
    """Find columns and modalities whose missing values tell the outcome.

    Columns that are missing in nearly the same rows are one finding.
    """
    cases = findings.cases
    absent = {column: absent_cells(cases.frame[column]) for column in _all(columns)}
    for place, modality in enumerate(cases.modalities):
        if len(modality.columns) > 1:
            absent[f"modality {modality.name}"] = ~cases.presence[:, place]
    for names, mask in _patterns(absent, findings.min_cell):
        found = best_association(
            outcomes, mask.astype(float), cases.patients, least=MISSING_AUROC
        )
        tells = found.auroc >= MISSING_AUROC and found.pvalue < LARGEST_PVALUE
        pure = None if tells else _purity(mask, cases, outcomes, len(absent))
        if pure is not None:
            findings.add(
                "missing values tell the outcome",
                "warning",
                names,
                mask,
                "Missing in {rows} rows of {patients} patients, of which nearly all or "
                f"nearly none are {pure.outcome} ({_p(pure.pvalue)}, adjusted).",
                _WHY_MISSING,
            )
        if tells:
            findings.add(
                "missing values tell the outcome",
                "error" if found.auroc >= SINGLE_COLUMN_AUROC else "warning",
                names,
                mask,
                f"Missing in {{rows}} rows of {{patients}} patients, and whether a "
                f"value is missing has an AUROC of {_cut(found.auroc)} for rows "
                f"{found.outcome} ({_p(found.pvalue)}).",
                _WHY_MISSING,
            )


_WHY_MISSING = (
    "Find out why it is missing. If a test was done because of the outcome or its "
    "suspicion, leave the columns out, or restrict the cohort to cases in whom all "
    "were to be measured."
)


def _patterns(
    absent: dict[Any, np.ndarray], min_cell: int
) -> list[tuple[list[Any], np.ndarray]]:
    """Return columns with nearly the same missing rows, and the rows of the first one.

    Patterns that differ in a few rows are joined, because the difference of two counts
    would be a small count.
    """
    found: list[tuple[list[Any], np.ndarray]] = []
    for name, mask in absent.items():
        n_absent = int(mask.sum())
        if min(n_absent, len(mask) - n_absent) < FEWEST_ROWS:
            continue
        for names, other in found:
            if np.count_nonzero(mask ^ other) < min_cell:
                names.append(name)
                break
        else:
            found.append(([name], mask))
    return found


def _all(columns: ColumnSet) -> list[Any]:
    return [*columns.features, *columns.images]


def check_single_columns(
    columns: ColumnSet, findings: Findings, outcomes: list[Outcome]
) -> None:
    """Find columns that tell the outcome alone."""
    cases = findings.cases
    for column in columns.features:
        found = column_association(cases.frame[column], findings, outcomes)
        if found is None or not found.auroc >= SUSPICIOUS_AUROC:
            continue
        if found.pvalue >= LARGEST_PVALUE:
            continue
        findings.add(
            "column tells the outcome",
            "error" if found.auroc >= SINGLE_COLUMN_AUROC else "warning",
            [column],
            cell_presence(cases.frame[column]),
            f"This column alone has an AUROC of {_cut(found.auroc)} for rows "
            f"{found.outcome}.",
            "Check when it is recorded. Leave it out if it is the outcome, follows "
            "from it, or is known only after the index time.",
        )


def column_association(
    values: pd.Series,
    findings: Findings,
    outcomes: list[Outcome],
    least: float = SUSPICIOUS_AUROC,
) -> Association | None:
    """Return the association of a column with the outcome, in its best form.

    Numbers are read as they are and in tenths, categories by the outcome rate among
    other patients. Missing values are below all numbers, and a category.

    Parameters
    ----------
    values : Series of shape (n_samples,)
        The column.
    findings : Findings
        Findings on the cohort.
    outcomes : list of Outcome
        The outcomes.
    least : float, default=0.9
        AUROC below which the p-value is not computed, and is 1.

    Returns
    -------
    Association or None
        None for a column whose cells cannot be compared.
    """
    cases = findings.cases
    numbers = as_numbers(values)
    found: list[Association] = []
    if numbers is not None:
        there = np.isfinite(numbers)
        if not there.any():
            return None
        low = numbers[there].min() - 1.0
        score = np.where(there, numbers, low)
        found.append(best_association(outcomes, score, cases.patients, least=least))
        several = len(np.unique(numbers[there])) > MOST_LEVELS
        codes = bins_of(numbers) if several else categories_of(values)
    else:
        codes = categories_of(values)
        if codes is not None and _is_distinct_text(values.dropna()):
            codes = None
    if codes is not None:
        found += _by_rates(codes, findings, outcomes, least)
    found = [one for one in found if not np.isnan(one.auroc)]
    return max(found, key=lambda one: one.auroc) if found else None


def _by_rates(
    codes: np.ndarray, findings: Findings, outcomes: list[Outcome], least: float
) -> list[Association]:
    """Return the association of the outcome rates of categories, for each outcome."""
    found = []
    for outcome in outcomes:
        folds = findings.folds_of(outcome)
        if folds is not None:
            rates = out_of_fold_rates(codes, outcome, folds)
            one = best_association(
                [outcome],
                rates,
                findings.cases.patients,
                directed=True,
                least=least,
            )
            pvalue = min(1.0, one.pvalue * len(outcomes))
            found.append(Association(one.auroc, pvalue, one.outcome))
    return found


def check_pure_values(
    columns: ColumnSet, findings: Findings, outcomes: list[Outcome]
) -> None:
    """Find values, such as one category, whose rows nearly all have one outcome."""
    cases = findings.cases
    known = {
        name
        for one in findings.found
        for name in one.columns
        if one.check == "column tells the outcome"
    }
    levels: list[tuple[Any, np.ndarray]] = []
    n_levels = 0
    sites = [c for c in cases.frame.columns if is_site_name(c)]
    for column in dict.fromkeys([*columns.features, *sites]):
        codes = categories_of(cases.frame[column])
        if codes is None or str(column) in known or column == cases.id_column:
            continue
        counts = np.bincount(codes)
        counts[0] = 0  # missing cells, which `check_missing_values` reports
        frequent = (counts >= FEWEST_ROWS) & (counts < len(codes))
        n_levels += int(frequent.sum())
        one_sided = frequent & _may_be_pure(codes, counts, outcomes)
        levels += [(column, codes == code) for code in np.flatnonzero(one_sided)]
    worst: dict[Any, tuple[Association, np.ndarray]] = {}
    for column, rows in levels:
        found = _purity(rows, cases, outcomes, n_levels)
        if found is None:
            continue
        if column not in worst or found.pvalue < worst[column][0].pvalue:
            worst[column] = (found, rows)
    for column, (found, rows) in worst.items():
        findings.add(
            "value determines the outcome",
            "warning",
            [column],
            rows,
            f"In {{rows}} rows of {{patients}} patients with one value of this column, "
            f"nearly all or nearly none are {found.outcome} ({_p(found.pvalue)}, "
            "adjusted).",
            "Check whether the value is recorded before the outcome is known, and "
            "whether it decides who can have the outcome.",
        )


def _may_be_pure(
    codes: np.ndarray, counts: np.ndarray, outcomes: list[Outcome]
) -> np.ndarray:
    """Return which values can have one outcome by patient, by a look at the rows."""
    found = np.zeros(len(counts), dtype=bool)
    for outcome in outcomes:
        events = np.bincount(codes, outcome.positive, minlength=len(counts))
        share = events / np.maximum(counts, 1)
        found |= np.maximum(share, 1 - share) >= PURE_BY_ROW
    return found


def _purity(
    rows: np.ndarray, cases: Cases, outcomes: list[Outcome], n_tests: int
) -> Association | None:
    """Return how one-sided the outcome is in some rows, None if chance explains it."""
    if cases.n_patients(rows) < FEWEST_ROWS:
        return None
    found = [
        Association(share, min(1.0, pvalue * n_tests * len(outcomes)), outcome.name)
        for outcome in outcomes
        for share, pvalue in [pvalue_of_purity(outcome, rows, cases.patients)]
    ]
    pure = [o for o in found if o.auroc >= PURE_SHARE and o.pvalue < LARGEST_PVALUE]
    return min(pure, key=lambda one: one.pvalue, default=None)


# -- where and in which order cases were recorded -------------------------------------


def check_sites(
    columns: Iterable[Any],
    findings: Findings,
    outcomes: list[Outcome],
    given: Any = None,
) -> list[Any]:
    """Find columns of sites, scanners or views that tell the outcome.

    Parameters
    ----------
    columns : iterable of column labels
        Columns among which those of sites are recognised by their names.
    findings : Findings
        The findings.
    outcomes : list of Outcome
        The outcomes.
    given : list of column labels or None, default=None
        Columns of sites, in place of the recognised ones.

    Returns
    -------
    list of column labels
        Columns that were checked.
    """
    cases = findings.cases
    chosen = [c for c in columns if is_site_name(c)] if given is None else list(given)
    for column in chosen:
        codes = categories_of(cases.frame[column])
        if codes is None:
            continue
        add_site_finding(column, codes, findings, outcomes)
    return chosen


def add_site_finding(
    name: Any, codes: np.ndarray, findings: Findings, outcomes: list[Outcome]
) -> None:
    """Add a finding if the categories of a site tell the outcome."""
    cases = findings.cases
    found = _by_rates(codes, findings, outcomes, SITE_AUROC)
    if not found:
        return
    best = max(found, key=lambda one: one.auroc)
    if best.auroc >= SITE_AUROC and best.pvalue < LARGEST_PVALUE:
        findings.add(
            "site tells the outcome",
            "warning",
            [name],
            np.ones(cases.n_rows, dtype=bool),
            "Where or how a case was recorded has an AUROC of "
            f"{_cut(best.auroc)} for rows {best.outcome} ({_p(best.pvalue)}). Images "
            "show the scanner, so a model can learn the site in place of the disease.",
            "Report scores within sites, and hold out whole sites, "
            "compare_fusion(..., sites=).",
        )


def is_site_name(column: Any) -> bool:
    """Return whether a column has the name of a site, scanner or view.

    Examples
    --------
    >>> from skfusion.evaluation.guidelines.column_checks import is_site_name
    >>> is_site_name("ViewPosition"), is_site_name("scanner_model"), is_site_name("age")
    (True, True, False)
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(column)).lower()
    parts = set(re.split(r"[^a-z]+", words))
    return bool(parts & SITE_WORDS)


def check_trends(
    numbers: dict[str, np.ndarray], findings: Findings, outcomes: list[Outcome]
) -> None:
    """Find numbers of rows or ids that rise or fall with the outcome.

    Parameters
    ----------
    numbers : dict of str to ndarray of shape (n_samples,)
        Number of each row by the name of the id, NaN where there is none.
    findings : Findings
        The findings.
    outcomes : list of Outcome
        The outcomes.
    """
    cases = findings.cases
    for name, values in numbers.items():
        is_order = name == ROW_ORDER
        number = "the number of a row" if is_order else "the last number in each id"
        there = np.isfinite(values)
        if there.sum() < 2 * FEWEST_ROWS:
            continue
        some = [Outcome(o.name, o.positive[there]) for o in outcomes]
        found = best_association(some, values[there], cases.patients[there])
        tells = found.auroc >= TREND_AUROC and found.pvalue < LARGEST_PVALUE
        words = f"{number.capitalize()} has an AUROC of {_cut(found.auroc)}"
        rows = there
        if not tells:
            pure = _pure_end(values, cases, outcomes)
            if pure is None:
                continue
            found, rows = pure
            ends = (
                "first or last rows" if is_order else "lowest or highest last numbers"
            )
            words = f"Of the {ends}, nearly all or nearly none are"
        findings.add(
            "order tells the outcome",
            "warning",
            [name],
            rows,
            f"{words}{' for rows' if tells else ''} {found.outcome} "
            f"({_p(found.pvalue)}), so cases with the outcome were recorded earlier or "
            "later, or come from another source.",
            f"Never use {number} as a feature. Check that cases with and without the "
            "outcome are of the same time and source. Do not split by the order of the "
            "rows: shuffled folds, the default of compare_fusion and of skfusion "
            "compare, are not affected by the order itself.",
        )


def _pure_end(
    values: np.ndarray, cases: Cases, outcomes: list[Outcome]
) -> tuple[Association, np.ndarray] | None:
    """Return the lowest or highest numbers if nearly all have one outcome."""
    order = np.argsort(np.where(np.isfinite(values), values, np.inf), kind="stable")
    order = order[: int(np.isfinite(values).sum())]
    sizes = [size for size in END_SIZES if 2 * size <= len(order)]
    best: tuple[Association, np.ndarray] | None = None
    for size in sizes:
        for end in (order[:size], order[-size:]):
            rows = np.zeros(len(values), dtype=bool)
            rows[end] = True
            found = _purity(rows, cases, outcomes, 2 * len(sizes))
            if found and (best is None or found.pvalue < best[0].pvalue):
                best = (found, rows)
    return best


def number_in_id(values: pd.Series) -> np.ndarray | None:
    """Return the last number in each id, None if most ids have none.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.evaluation.guidelines.column_checks import number_in_id
    >>> number_in_id(pd.Series(["PAT_7", "PAT_12"])).tolist()
    [7.0, 12.0]
    """
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    digits = values.astype(object).map(lambda cell: re.findall(r"\d+", str(cell)))
    numbers = digits.map(lambda found: float(found[-1]) if found else np.nan)
    found = numbers.to_numpy(dtype=np.float64).copy()
    found[values.isna().to_numpy()] = np.nan
    return found if np.isfinite(found).mean() >= 0.9 else None


def _cut(auroc: float) -> str:
    """Return an AUROC with two decimals, never rounded up."""
    return f"{np.floor(100 * auroc + 1e-9) / 100:.2f}"


def _p(pvalue: float) -> str:
    return "p < 0.001" if pvalue < LARGEST_PVALUE else f"p = {pvalue:.3f}"
