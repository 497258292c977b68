"""Association of a column, or of its missing values, with the outcome, by patient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, mannwhitneyu, norm

from skfusion._fitting.patient_folds import kind_of_folds
from skfusion._image_cells.recognition import may_hold_objects
from skfusion._validation import first_unhashable
from skfusion.ehr.audit import aurocs_by_rank
from skfusion.ehr.tabular.understanding import understood
from skfusion.ehr.tabular.words import NULL_WORDS
from skfusion.evaluation.guidelines.cases import Outcome
from skfusion.evaluation.statistics.auroc import estimate_aurocs
from skfusion.modality import cell_presence

__all__ = [
    "Association",
    "absent_cells",
    "as_numbers",
    "associate",
    "best_association",
    "categories_of",
    "folds_of_rates",
    "out_of_fold_rates",
    "pvalue_of_purity",
]


Folds = list[tuple[np.ndarray, np.ndarray]]
N_FOLDS = 5
MOST_STRATIFIED = 2_000  # patients
# Rows of the average that are added to those of a category, because the rate of a
# category with one or two rows is chance.
PRIOR_ROWS = 2.0
# Share of text cells that must be numbers for a column to be one of numbers.
SHARE_OF_NUMBERS = 0.9
_NUMBER_OR_TEXT = (str, int, float, np.number)
# Words and numbers that are written in place of a missing value.
_NO_VALUE = NULL_WORDS | {
    *("unknown", "unk", "not known", "missing", "not recorded", "not done"),
    *("not tested", "not available", "not measured", "not applicable"),
}
_CODES = frozenset((-1.0, -9.0, -99.0, -999.0, -9999.0, 999.0, 9999.0, 99999.0))
N_BINS = 10


@dataclass(frozen=True)
class Association:
    """Association of a score with the outcome.

    Attributes
    ----------
    auroc : float
        AUROC of the score, NaN if a class is missing.
    pvalue : float
        Two-sided p-value of an AUROC of 0.5. It is the larger one of a test with the
        variance between patients, and of a rank test with one value per patient and
        class.
    outcome : str
        Words for the positive rows.
    """

    auroc: float
    pvalue: float
    outcome: str


def associate(
    outcome: Outcome,
    score: np.ndarray,
    patients: np.ndarray,
    *,
    directed: bool = False,
    least: float = 0.0,
) -> Association:
    """Measure how well a score tells the outcome.

    Parameters
    ----------
    outcome : Outcome
        The outcome.
    score : ndarray of shape (n_samples,)
        Score without missing values.
    patients : ndarray of int of shape (n_samples,)
        Number of the patient of each row.
    directed : bool, default=False
        Whether only larger scores can mean the outcome. Otherwise the AUROC is that
        of the better direction.
    least : float, default=0.0
        AUROC below which the p-value is not computed, and is 1.

    Returns
    -------
    Association

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.guidelines.association import associate
    >>> from skfusion.evaluation.guidelines.cases import Outcome
    >>> y = np.arange(40) % 4 == 0
    >>> found = associate(Outcome("of class 1", y), ~y * 1.0, np.arange(40))
    >>> found.auroc, bool(found.pvalue < 0.001)
    (1.0, True)
    """
    positive = outcome.positive
    if positive.all() or not positive.any() or len(np.unique(patients)) < 2:
        return Association(np.nan, 1.0, outcome.name)
    ranked = float(aurocs_by_rank(positive, score[:, None])[0])
    ranked = ranked if directed else max(ranked, 1 - ranked)
    if ranked < least:
        return Association(ranked, 1.0, outcome.name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few patients of a class: see the rank test
        found = estimate_aurocs(positive, score[None], patients)
    auroc = float(found.values[0])
    error = float(np.sqrt(max(found.covariance[0, 0], 0.0)))
    by_variance = 1.0 if auroc == 0.5 else 0.0
    if error > 0:
        by_variance = 2 * float(norm.sf(abs(auroc - 0.5) / error))
    pvalue = max(by_variance, _rank_test(positive, score, patients))
    return Association(ranked, pvalue, outcome.name)


def _rank_test(positive: np.ndarray, score: np.ndarray, patients: np.ndarray) -> float:
    """Return the p-value of a rank test with one mean per patient and class."""
    units, places = np.unique(2 * patients + positive, return_inverse=True)
    means = np.bincount(places, score) / np.bincount(places)
    if np.ptp(means) == 0:
        return 1.0
    cases, others = means[units % 2 == 1], means[units % 2 == 0]
    return float(mannwhitneyu(cases, others, method="asymptotic").pvalue)


def best_association(
    outcomes: Sequence[Outcome],
    score: np.ndarray,
    patients: np.ndarray,
    *,
    directed: bool = False,
    least: float = 0.0,
) -> Association:
    """Return the strongest association of a score, with an adjusted p-value.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Outcomes, e.g. one for each class. P-values are multiplied by their number.
    score, patients, directed, least : any
        As in `associate`.

    Returns
    -------
    Association
    """
    found = [
        associate(one, score, patients, directed=directed, least=least)
        for one in outcomes
    ]
    best = max(found, key=lambda one: -1.0 if np.isnan(one.auroc) else one.auroc)
    return Association(best.auroc, min(1.0, best.pvalue * len(found)), best.outcome)


# -- columns as scores ----------------------------------------------------------------


def as_numbers(column: pd.Series) -> np.ndarray | None:
    """Return a column as float64, None if it is not one of numbers or times.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.evaluation.guidelines.association import as_numbers
    >>> as_numbers(pd.Series(["1.5", None, "2"])).tolist()
    [1.5, nan, 2.0]
    """
    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        ticks = (
            column.to_numpy(
                "datetime64[ns]"
                if types.is_datetime64_any_dtype(column)
                else "timedelta64[ns]"
            )
            .astype("i8")
            .astype(np.float64)
        )
        ticks[column.isna().to_numpy()] = np.nan
        return ticks
    if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    mixed = understood(column.astype(object)).column
    if types.is_numeric_dtype(mixed):
        return mixed.to_numpy(dtype=np.float64, na_value=np.nan)
    return _numbers_in_text(mixed)


def _numbers_in_text(column: pd.Series) -> np.ndarray | None:
    """Return numbers that are all text, or all objects, None if most are no numbers."""
    filled = column[column.notna()]
    if filled.map(lambda cell: not isinstance(cell, _NUMBER_OR_TEXT)).any():
        return None
    if filled.map(lambda cell: isinstance(cell, bool)).any():
        return None
    text = column.map(
        lambda c: c.strip().lstrip("<>=~≤≥ ") if isinstance(c, str) else c
    )
    numbers = pd.to_numeric(text, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_word = filled.map(lambda c: isinstance(c, str) and c.casefold() in _NO_VALUE)
    n_there = len(filled) - int(is_word.sum())
    enough = np.isfinite(numbers).sum() >= SHARE_OF_NUMBERS * max(n_there, 1)
    return numbers if enough else None


def absent_cells(column: pd.Series) -> np.ndarray:
    """Return which cells are missing, or hold a word or number for a missing value.

    Parameters
    ----------
    column : Series of shape (n_samples,)
        The column.

    Returns
    -------
    ndarray of bool of shape (n_samples,)

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.evaluation.guidelines.association import absent_cells
    >>> absent_cells(pd.Series(["yes", "Unknown", None, "n/a"])).tolist()
    [False, True, True, True]
    >>> absent_cells(pd.Series([70.5, -999.0, 64.0])).tolist()
    [False, True, False]
    """
    absent = ~cell_presence(column)
    if may_hold_objects(column):
        words = [
            isinstance(c, str) and c.strip().casefold() in _NO_VALUE for c in column
        ]
        absent |= np.array(words, dtype=bool)
    numbers = as_numbers(column) if _may_hold_codes(column) else None
    if numbers is not None and np.isfinite(numbers).any():
        for limit in (np.nanmin(numbers), np.nanmax(numbers)):
            if limit in _CODES:
                absent |= numbers == limit
    return absent


def _may_hold_codes(column: pd.Series) -> bool:
    types = pd.api.types
    times = types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column)
    return not times and not types.is_bool_dtype(column)


def categories_of(column: pd.Series) -> np.ndarray | None:
    """Return the number of the category of each cell, with one for missing cells.

    Returns None for cells that cannot be compared, such as lists.
    """
    if first_unhashable(column.dropna()) is not None:
        return None
    try:
        return pd.factorize(column.astype(object), use_na_sentinel=True)[0] + 1
    except TypeError:
        return None


def bins_of(numbers: np.ndarray) -> np.ndarray:
    """Return the tenth of the values in which each one is, 0 for missing values."""
    bins = np.zeros(len(numbers), dtype=np.intp)
    there = np.isfinite(numbers)
    if there.any():
        edges = np.unique(np.quantile(numbers[there], np.linspace(0, 1, N_BINS + 1)))
        bins[there] = 1 + np.searchsorted(edges[1:-1], numbers[there], side="right")
    return bins


def folds_of_rates(outcome: Outcome, patients: np.ndarray) -> Folds | None:
    """Return folds of whole patients for `out_of_fold_rates`.

    Returns None if there are too few patients or rows of a class.
    """
    positive = outcome.positive
    n_folds = min(N_FOLDS, len(np.unique(patients)))
    if n_folds < 2 or min(positive.sum(), (~positive).sum()) < n_folds:
        return None
    # Stratified folds take long to find, and change little with many patients.
    stratified = len(np.unique(patients)) <= MOST_STRATIFIED
    splitter = kind_of_folds(True, stratified)(n_folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a class with fewer patients than folds
        return list(splitter.split(np.zeros((len(positive), 1)), positive, patients))


def out_of_fold_rates(
    categories: np.ndarray, outcome: Outcome, folds: Folds
) -> np.ndarray:
    """Return the outcome rate of the category of each row among other patients.

    Parameters
    ----------
    categories : ndarray of int of shape (n_samples,)
        Number of the category of each row.
    outcome : Outcome
        The outcome.
    folds : list of (ndarray, ndarray)
        Result of `folds_of_rates`.

    Returns
    -------
    ndarray of shape (n_samples,)
        Rate in the training part of the fold of the row minus the rate of all training
        rows, 0 for an unknown category.
    """
    positive = outcome.positive.astype(np.float64)
    score = np.zeros(len(positive))
    size = int(categories.max()) + 1
    for train, test in folds:
        average = positive[train].mean()
        n_rows = np.bincount(categories[train], minlength=size)
        events = np.bincount(categories[train], positive[train], minlength=size)
        rates = (events + PRIOR_ROWS * average) / (n_rows + PRIOR_ROWS)
        score[test] = rates[categories[test]] - average
    return score


def pvalue_of_purity(
    outcome: Outcome, rows: np.ndarray, patients: np.ndarray
) -> tuple[float, float]:
    """Test whether the outcome is the same in some rows by chance.

    Parameters
    ----------
    outcome : Outcome
        The outcome.
    rows : ndarray of bool of shape (n_samples,)
        The rows.
    patients : ndarray of int of shape (n_samples,)
        Number of the patient of each row.

    Returns
    -------
    share : float
        Share of the more frequent outcome among the rows, counted by patient.
    pvalue : float
        Probability of so many of them in a random choice of patients.
    """
    units = 2 * patients + outcome.positive
    every, chosen = np.unique(units), np.unique(units[rows])
    n_units, n_chosen = len(every), len(chosen)
    among = int((chosen % 2).sum())
    value = among >= n_chosen - among
    n_class = int((every % 2 == value).sum())
    n_same = among if value else n_chosen - among
    pvalue = float(hypergeom.sf(n_same - 1, n_units, n_class, n_chosen))
    return n_same / n_chosen, pvalue
