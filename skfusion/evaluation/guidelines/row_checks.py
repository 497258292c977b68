"""Checks of rows: patients across folds, copies and rows that a model has seen."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.frozen import FrozenEstimator

from skfusion.evaluation.comparison.study import comparable_columns
from skfusion.evaluation.guidelines.association import Folds, as_numbers
from skfusion.evaluation.guidelines.findings import Findings
from skfusion.fusion.restriction import fusions_within

__all__ = [
    "as_times",
    "check_patients_apart",
    "check_repeated_ids",
    "check_rows_twice",
    "check_times",
    "check_training_rows",
    "frozen_parts",
    "rows_across_folds",
]


#: Expected number of pairs of rows that are equal by chance, below which equal rows are
#: copies.
CHANCE_PAIRS = 0.01
#: Rank correlation of two columns above which only one of them counts as evidence.
SAME_COLUMN = 0.9
# Decimals beyond which a number is as recorded by a computer.
MOST_DIGITS = 8
# Columns whose evidence is summed.
MOST_EVIDENCE = 50
# A value of a larger share of the rows is no evidence.
FREQUENT = 0.2
# Levels of a category at most, and the evidence of all categories together.
MOST_LEVELS, MOST_OF_LEVELS = 30, 5.0
# Share of the rows with a repeated number that are no copies.
MOST_APART = 0.1

# Share of the cells that must be dates for a column to be one of times.
SHARE_OF_DATES = 0.9
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:\D|$)")


def rows_across_folds(keys: np.ndarray, folds: Folds) -> np.ndarray:
    """Return the test rows whose key is also among the training rows of a fold.

    Parameters
    ----------
    keys : ndarray of int of shape (n_samples,)
        Key of each row, such as the number of its patient. Negative keys are equal to
        no other.
    folds : list of (ndarray, ndarray)
        Row positions of the training and test part of each fold.

    Returns
    -------
    ndarray of bool of shape (n_samples,)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.guidelines.row_checks import rows_across_folds
    >>> folds = [(np.array([0, 1]), np.array([2, 3]))]
    >>> rows_across_folds(np.array([5, 6, 5, -1]), folds).tolist()
    [False, False, True, False]
    """
    found = np.zeros(len(keys), dtype=bool)
    for train, test in folds:
        shared = np.isin(keys[test], keys[train]) & (keys[test] >= 0)
        found[np.asarray(test)[shared]] = True
    return found


def check_patients_apart(findings: Findings, folds: Folds) -> None:
    """Find patients with rows in the training and the test part of a fold."""
    cases = findings.cases
    if not cases.known_patients:
        return
    rows = rows_across_folds(cases.patients, folds)
    if rows.any():
        findings.add(
            "patients across folds",
            "error",
            ["cv"],
            rows,
            "{rows} test rows are of {patients} patients who also have rows in the "
            "training part of the same fold.",
            "Use StratifiedGroupKFold and pass groups, or pass cv as a number.",
        )


def check_repeated_ids(
    findings: Findings, repeated: list[Any], folds: Folds | None
) -> None:
    """Find columns that look like patient ids and repeat, without groups."""
    cases = findings.cases
    for column in repeated[:1]:
        keys = pd.factorize(cases.frame[column].map(repr))[0]
        keys[cases.frame[column].isna().to_numpy()] = -1
        several = np.bincount(keys[keys >= 0])[np.maximum(keys, 0)] > 1
        rows = several & (keys >= 0)
        across = None if folds is None else rows_across_folds(keys, folds)
        if across is not None and across.any():
            rows = across
        is_error = across is not None and across.any()
        findings.add(
            "patients across folds" if is_error else "patients not given",
            "error" if is_error else "warning",
            [column],
            rows,
            "The column looks like a patient id and repeats, but no groups were given"
            + (
                ". {rows} test rows have an id that is also in the training part."
                if is_error
                else f": {{rows}} of {cases.n_rows} rows share their id with another."
            ),
            f"Pass groups={str(column)!r}.",
        )


# -- copies ---------------------------------------------------------------------------


def check_rows_twice(
    findings: Findings, columns: Iterable[Any], folds: Folds | None
) -> None:
    """Find rows that are equal in all features, more than chance explains."""
    cases = findings.cases
    part = comparable_columns(cases.frame, columns)
    if part.shape[1] == 0:
        return
    codes = np.column_stack(
        [pd.factorize(part[column], use_na_sentinel=True)[0] for column in part]
    )
    _, keys = np.unique(codes, axis=0, return_inverse=True)
    keys = keys.reshape(-1)
    twice = np.bincount(keys)[keys] > 1
    twice &= _evidence(part, codes, keys) > np.log(len(keys) ** 2 / 2 / CHANCE_PAIRS)
    if not twice.any():
        return
    keys = np.where(twice, keys, -1)
    others = _of_several_patients(keys, cases.patients)
    across = None if folds is None else rows_across_folds(keys, folds)
    if cases.known_patients:
        _add_copies(findings, twice & others, "of different patients", "error")
        within = twice & ~others
    else:
        within = twice
    is_across = across is not None and (across & within).any()
    if is_across:
        _add_copies(findings, across & within, "in both parts of a fold", "error")
    elif cases.known_patients:
        _add_copies(findings, within, "of the same patient", "note")
    else:
        _add_copies(findings, within, "with unknown patients", "warning")


def _add_copies(
    findings: Findings, rows: np.ndarray, words: str, severity: str
) -> None:
    if not rows.any():
        return
    findings.add(
        "rows twice",
        severity,
        ["all features"],
        rows,
        f"{{rows}} rows {words} are equal to another row in all features, which chance "
        "does not explain.",
        "Remove the copies, or give copies of one case the same patient id.",
    )


def _evidence(part: pd.DataFrame, codes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return how improbable the values of each row are, as a sum of logarithms.

    Frequent and missing values are no evidence, because they come together. Categories
    are little evidence, because diagnoses do as well. Of columns that nearly rank the
    rows alike, and of equal numbers in a row, only the first one counts. The digits of
    a number are evidence only if hardly any other rows than copies have it in common.
    """
    copied = np.bincount(keys)[keys] > 1
    fine, coarse = np.zeros(len(codes)), np.zeros(len(codes))
    n_levels = codes.max(axis=0) + 1
    ranked: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for place in np.argsort(-n_levels, kind="stable"):
        if len(ranked) == MOST_EVIDENCE:  # more columns only add evidence
            break
        code, column = codes[:, place], part.iloc[:, place]
        numbers = as_numbers(column)
        ranks = _ranks(code if numbers is None else numbers, code < 0)
        if any(abs(float(ranks @ other)) > SAME_COLUMN for other in ranked):
            continue
        ranked.append(ranks)
        surprise = _surprise(code, copied, numbers if part.shape[1] > 1 else None)
        if numbers is not None:
            for other in values:
                surprise[numbers == other] = 0.0
            values.append(numbers)
        target = fine if n_levels[place] > MOST_LEVELS else coarse
        target += surprise
    return fine + np.minimum(coarse, MOST_OF_LEVELS)


def _surprise(
    code: np.ndarray, copied: np.ndarray, numbers: np.ndarray | None
) -> np.ndarray:
    """Return minus the logarithm of the frequency of each value of a column."""
    there = code >= 0
    counts = np.bincount(code[there], minlength=1)
    share = counts[code] / max(there.sum(), 1)
    surprise = -np.log(np.where(there, share, 1.0))
    repeated = there & (counts[code] > 1)
    apart = (repeated & ~copied).sum() <= MOST_APART * repeated.sum()
    if numbers is not None and apart:
        surprise = np.maximum(surprise, _evidence_of_digits(numbers))
    return np.where(there & (share <= FREQUENT), surprise, 0.0)


def _evidence_of_digits(numbers: np.ndarray) -> float:
    """Return how improbable an equal number is, by the digits that are recorded.

    The values of a few rows cannot show how rare each one is, but their resolution
    does. Columns with many repeated numbers, such as counts, have no such evidence.
    """
    values = numbers[np.isfinite(numbers)]
    if len(values) < 2 or len(np.unique(values)) < 0.5 * len(values):
        return 0.0
    spread = float(np.subtract(*np.quantile(values, [0.75, 0.25])))
    for digits in range(MOST_DIGITS):
        scaled = values * 10.0**digits
        if np.abs(scaled - np.round(scaled)).max() < 1e-4:
            return float(np.log(max(spread * 10.0**digits, 1.0)))
    return float(np.log(10.0) * MOST_DIGITS)


def _ranks(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Return centred ranks of length 1, so that their product is a correlation."""
    ranks = pd.Series(np.where(missing, np.nan, values)).rank().to_numpy()
    centred = np.nan_to_num(ranks - np.nanmean(ranks) if (~missing).any() else ranks)
    length = float(np.sqrt(centred @ centred))
    return centred / length if length else centred


def _of_several_patients(keys: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """Return rows whose key another patient has as well."""
    table = pd.DataFrame({"key": keys, "patient": patients})
    several = table.groupby("key")["patient"].transform("nunique") > 1
    return several.to_numpy() & (keys >= 0)


# -- what was known too early ---------------------------------------------------------


def check_times(
    findings: Findings, columns: Iterable[Any], index_time: pd.Series
) -> list[Any]:
    """Find times among the features that lie after the index time.

    Returns
    -------
    list of column labels
        Columns of times that were checked.
    """
    cases = findings.cases
    checked: list[Any] = []
    at = as_times(index_time)
    if at is None:
        return checked
    for column in columns:
        times = as_times(cases.frame[column])
        if times is None:
            continue
        checked.append(column)
        late = (times > at).to_numpy()
        if late.any():
            findings.add(
                "times after the index time",
                "error",
                [column],
                late,
                "In {rows} rows of {patients} patients, this time lies after the index "
                "time, at which the prediction is made.",
                "Leave the column out, and everything that was recorded with it.",
            )
    return checked


def as_times(values: pd.Series) -> pd.Series | None:
    """Return times or dates, also those written as text, None for other columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from skfusion.evaluation.guidelines.row_checks import as_times
    >>> as_times(pd.Series(["2026-01-05", None])).notna().tolist()
    [True, False]
    >>> as_times(pd.Series(["low", "high"])) is None
    True
    """
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.to_datetime(values, utc=True)
    cells = values.dropna()
    is_date = cells.map(lambda cell: hasattr(cell, "isoformat") or _is_date_text(cell))
    if not len(cells) or is_date.mean() < SHARE_OF_DATES:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a format was guessed
        times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
        if times.notna().sum() < SHARE_OF_DATES * len(cells):
            times = pd.to_datetime(values, utc=True, errors="coerce")
    return times if times.notna().sum() >= SHARE_OF_DATES * len(cells) else None


def _is_date_text(cell: Any) -> bool:
    return isinstance(cell, str) and _DATE.match(cell.strip()) is not None


def check_training_rows(
    findings: Findings, name: str, model: Any, folds: Folds | None
) -> str:
    """Find rows on which a fitted fusion, such as a fine-tuned encoder, was trained.

    Parameters
    ----------
    findings : Findings
        The findings.
    name : str
        Name of the model, used in the finding.
    model : estimator or dict of str to estimator
        Fitted estimators with a fusion inside.
    folds : list of (ndarray, ndarray) or None
        Folds. Without them, every row is one that will be scored.

    Returns
    -------
    str
        Why rows could not be compared, empty if they were.
    """
    cases = findings.cases
    known = [fusion.training_rows(cases.frame) for fusion in _fitted_fusions(model)]
    if not any(rows is not None for rows in known):
        return "it is not fitted, or does not know its training rows"
    seen = np.any([rows for rows in known if rows is not None], axis=0)
    tested = np.ones(cases.n_rows, dtype=bool)
    if folds is not None:
        tested = np.zeros(cases.n_rows, dtype=bool)
        tested[np.concatenate([test for _, test in folds])] = True
    rows = seen & tested
    text = "are training rows of this fitted model."
    if not rows.any():
        rows = np.isin(cases.patients, cases.patients[seen]) & tested
        text = "are of patients of whom this fitted model has seen another row."
    if rows.any():
        findings.add(
            "rows seen by the model",
            "error",
            [name],
            rows,
            f"{{rows}} rows of {{patients}} patients that are to be scored {text}",
            "Score only patients whom the model has not seen, or fit it again in the "
            "training part of each fold.",
        )
    return ""


def frozen_parts(transformer: Any) -> list[Any]:
    """Return the fitted estimators in a transformer that a fit leaves as they are.

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.evaluation.guidelines.row_checks import frozen_parts
    >>> fitted = StandardScaler().fit([[0.0], [1.0]])
    >>> frozen_parts(make_pipeline(FrozenEstimator(fitted)))
    [StandardScaler()]
    """
    if isinstance(transformer, FrozenEstimator):
        return [transformer.estimator]
    if not hasattr(transformer, "get_params"):
        return []
    values = transformer.get_params(deep=True).values()
    return [one.estimator for one in values if isinstance(one, FrozenEstimator)]


def _fitted_fusions(model: Any) -> list[Any]:
    """Return the fitted fusions in a model, its steps and its fitted parts."""
    models = list(model.values()) if isinstance(model, dict) else [model]
    found: list[Any] = []
    while models:
        one = models.pop()
        inner = [f for f in fusions_within(one).values() if hasattr(f, "modalities_")]
        if inner:
            found += inner
            continue
        models += [
            part
            for name in ("best_estimator_", "estimator_", "calibrated_classifiers_")
            for part in _as_list(getattr(one, name, None))
        ]
        models += _as_list(getattr(one, "estimator", None))
    return found


def _as_list(value: Any) -> list[Any]:
    if value is None or isinstance(value, str):
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
