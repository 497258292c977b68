"""Association of a column, or of its missing values, with the outcome, by patient."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import hypergeom, mannwhitneyu, norm

from skfusion._fitting.patient_folds import kind_of_folds
from skfusion._validation import first_unhashable
from skfusion.evaluation.guidelines.cases import Outcome
from skfusion.evaluation.statistics.auroc import estimate_aurocs

__all__ = [
    "Association",
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
# Rows of the average that are added to those of a category, because the rate of a
# category with one or two rows is chance.
PRIOR_ROWS = 2.0
# Share of text cells that must be numbers for a column to be one of numbers.
SHARE_OF_NUMBERS = 0.9
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
    outcome: Outcome, score: np.ndarray, patients: np.ndarray, *, directed: bool = False
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
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few patients of a class: see the rank test
        found = estimate_aurocs(positive, score[None], patients)
    auroc = float(found.values[0])
    error = float(np.sqrt(max(found.covariance[0, 0], 0.0)))
    by_variance = 1.0 if auroc == 0.5 else 0.0
    if error > 0:
        by_variance = 2 * float(norm.sf(abs(auroc - 0.5) / error))
    pvalue = max(by_variance, _rank_test(positive, score, patients))
    return Association(
        auroc if directed else max(auroc, 1 - auroc), pvalue, outcome.name
    )


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
) -> Association:
    """Return the strongest association of a score, with an adjusted p-value.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Outcomes, e.g. one for each class. P-values are multiplied by their number.
    score, patients, directed : any
        As in `associate`.

    Returns
    -------
    Association
    """
    found = [associate(o, score, patients, directed=directed) for o in outcomes]
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
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(object)
    values = column.dropna()
    if not len(values) or not all(
        isinstance(cell, str | int | float) for cell in values
    ):
        return None
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    enough = np.isfinite(numbers).sum() >= SHARE_OF_NUMBERS * len(values)
    return numbers if enough else None


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
    splitter = kind_of_folds(True, True)(n_folds, shuffle=True, random_state=0)
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
