"""Correlation of modalities within the classes of the outcome."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion.evaluation.comparison.running import Request, fit_on, predict, seeded
from skfusion.evaluation.comparison.strategies import default_singles
from skfusion.evaluation.comparison.study import Study
from skfusion.evaluation.guidelines.cases import Cases
from skfusion.modality import Modality
from skfusion.splits import outer_folds

__all__ = ["Dependence", "measure_dependence", "residual_correlation", "why_not"]


N_PERMUTATIONS = 999
#: Fewest patients of a class, with both modalities, for a correlation.
FEWEST_PATIENTS = 20
N_FOLDS = 5
# Probabilities of 0 and 1 have no finite log-odds.
EPSILON = 1e-6


@dataclass(frozen=True)
class Dependence:
    """Correlation of two modalities within the classes of the outcome.

    Attributes
    ----------
    first, second : str
        Names of the modalities.
    correlation : float
        Residual correlation, NaN if it was not computed.
    low, high : float
        Limits of its 95 % confidence interval.
    pvalue : float
        P-value of a permutation of patients within classes.
    n_patients : int
        Number of patients with both modalities.
    reason : str
        Why it was not computed, empty if it was.
    """

    first: str
    second: str
    correlation: float = np.nan
    low: float = np.nan
    high: float = np.nan
    pvalue: float = np.nan
    n_patients: int = 0
    reason: str = ""


def measure_dependence(
    cases: Cases, skipped: dict[str, str], random_state: int
) -> list[Dependence]:
    """Measure the residual correlation of each pair of modalities.

    Each modality alone predicts the outcome of held-out patients, by the late fusion of
    one modality that `compare_fusion` uses. What the predictions of two modalities have
    in common within a class of the outcome is no information on the outcome.

    Parameters
    ----------
    cases : Cases
        The cohort.
    skipped : dict of str to str
        Why a modality is not encoded, by name.
    random_state : int
        Seed of folds, learners and permutations.

    Returns
    -------
    list of Dependence
    """
    pairs = list(itertools.combinations([m.name for m in cases.modalities], 2))
    if cases.task.kind in ("survival", "multilabel"):
        reason = f"not defined for a {cases.task.kind} outcome"
        return [Dependence(a, b, reason=reason) for a, b in pairs]
    predicted: dict[str, np.ndarray] = {}
    reasons = dict(skipped)
    fold = np.zeros(cases.n_rows, dtype=np.intp)
    try:
        folds = _folds(cases, random_state)
    except ValueError:
        reason = "too few patients of a class for folds"
        return [Dependence(a, b, reason=reason) for a, b in pairs]
    for number, (_, test) in enumerate(folds):
        fold[test] = number
    for modality in cases.modalities if pairs else []:
        if modality.name in reasons:
            continue
        try:
            predicted[modality.name] = _held_out(modality, cases, folds, random_state)
        except Exception as error:  # noqa: BLE001 - an encoder of the user
            reasons[modality.name] = why_not("it cannot be fitted", error)
    found = []
    for place, (a, b) in enumerate(pairs):
        lacking = [name for name in (a, b) if name not in predicted]
        if lacking:
            reason = f"{lacking[0]}: {reasons[lacking[0]]}"
            found.append(Dependence(a, b, reason=reason))
            continue
        places = [_place(cases, a), _place(cases, b)]
        both = np.asarray(cases.presence[:, places].all(axis=1))
        rng = np.random.default_rng([random_state, place])
        found.append(_of_pair(a, b, predicted, both, cases, fold, rng))
    return found


def why_not(words: str, error: Exception) -> str:
    """Return words with the message of an error, or only its kind.

    The message of an encoder of the user could name a patient. Those of skfusion do
    not, and have the remedy.
    """
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    module = "" if place is None else str(place.tb_frame.f_globals.get("__name__"))
    if module.partition(".")[0] == "skfusion" or isinstance(error, ImportError):
        return f"{words}: {error}".rstrip(".")
    return f"{words} ({type(error).__name__})"


def _place(cases: Cases, name: str) -> int:
    return [m.name for m in cases.modalities].index(name)


def _folds(cases: Cases, random_state: int) -> list[tuple[np.ndarray, np.ndarray]]:
    strata = cases.task.strata(cases.y)
    return outer_folds(
        N_FOLDS,
        cases.y if strata is None else strata,
        cases.patients,
        classifier=strata is not None,
        random_state=random_state,
        owner="describe_cohort",
    )


def _held_out(
    modality: Modality,
    cases: Cases,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    random_state: int,
) -> np.ndarray:
    """Return held-out log-odds or predicted values, one column per output."""
    groups = cases.patients if cases.known_patients else None
    study = Study(cases.frame, cases.y, cases.task, groups)
    (arm,) = default_singles([modality.as_triple()], cases.task, None)
    parts: dict[int, np.ndarray] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of encoders, which compare_fusion issues
        for train, test in folds:
            fitted = fit_on(seeded(arm.estimator, random_state), study, train)
            X = cases.frame.iloc[test]
            scores = predict(fitted, X, study, train, Request(False, False)).scores
            parts |= dict(zip(test.tolist(), _link(scores, cases), strict=True))
    return np.array([parts[row] for row in range(cases.n_rows)])


def _link(scores: np.ndarray, cases: Cases) -> np.ndarray:
    if scores.ndim == 1:
        return scores[:, None]
    logs = np.log(np.clip(scores, EPSILON, 1 - EPSILON))
    if cases.task.kind == "binary":
        return logs[:, 1:] - logs[:, :1]
    return logs - logs.mean(axis=1, keepdims=True)


def _of_pair(
    a: str,
    b: str,
    predicted: dict[str, np.ndarray],
    both: np.ndarray,
    cases: Cases,
    fold: np.ndarray,
    rng: np.random.Generator,
) -> Dependence:
    rows = np.flatnonzero(both)
    strata = cases.task.strata(cases.y)
    strata = np.zeros(cases.n_rows, dtype=np.intp) if strata is None else strata
    n_patients = len(np.unique(cases.patients[rows]))
    sizes = [
        len(np.unique(cases.patients[rows][strata[rows] == one]))
        for one in np.unique(strata)
    ]
    if min(sizes) < FEWEST_PATIENTS:
        reason = f"fewer than {FEWEST_PATIENTS} patients of a class have both"
        return Dependence(a, b, n_patients=n_patients, reason=reason)
    units = [
        _units(predicted[name][rows], cases, rows, strata, fold) for name in (a, b)
    ]
    correlation, pvalue = residual_correlation(
        units[0].to_numpy(),
        units[1].to_numpy(),
        units[0].index.get_level_values("stratum").to_numpy(),
        rng,
    )
    if np.isnan(correlation):
        reason = "a modality predicts the same for all patients"
        return Dependence(a, b, n_patients=n_patients, reason=reason)
    half = norm.ppf(0.975) / np.sqrt(max(len(units[0]) - len(sizes) - 3, 1))
    centre = np.arctanh(np.clip(correlation, -1 + EPSILON, 1 - EPSILON))
    low, high = np.tanh([centre - half, centre + half])
    return Dependence(a, b, correlation, low, high, pvalue, n_patients)


def _units(
    values: np.ndarray,
    cases: Cases,
    rows: np.ndarray,
    strata: np.ndarray,
    fold: np.ndarray,
) -> pd.DataFrame:
    """Return residuals within fold and class, as the mean of each patient and class."""
    table = pd.DataFrame(values)
    keys = pd.DataFrame(
        {"fold": fold[rows], "stratum": strata[rows], "patient": cases.patients[rows]}
    )
    cells = [keys["fold"], keys["stratum"]]
    residuals = table - table.groupby(cells).transform("mean")
    if cases.task.kind == "regression":
        y = pd.Series(cases.y[rows].astype(np.float64))
        y = y - y.groupby(cells).transform("mean")
        centred = y.to_numpy()
        slope = centred @ residuals.to_numpy() / max(centred @ centred, EPSILON)
        residuals = residuals - np.outer(centred, slope)
    return residuals.groupby([keys["stratum"], keys["patient"]]).mean()


def residual_correlation(
    first: np.ndarray, second: np.ndarray, strata: np.ndarray, rng: np.random.Generator
) -> tuple[float, float]:
    """Compute the correlation within strata, and its p-value by permutation.

    Parameters
    ----------
    first, second : ndarray of shape (n_units, n_columns)
        Predictions by two modalities, one row per patient. The correlation is the mean
        over the columns.
    strata : ndarray of shape (n_units,)
        Class of each row, within which rows are permuted.
    rng : Generator
        Random number generator.

    Returns
    -------
    correlation, pvalue : float
        NaN if a column is constant within the strata.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.guidelines.dependence import residual_correlation
    >>> rng = np.random.default_rng(0)
    >>> x, strata = rng.normal(size=(60, 1)), np.arange(60) % 2
    >>> residual_correlation(x, 2 * x + 1, strata, rng)
    (1.0, 0.001)
    """
    a, b = _standardised(first, strata), _standardised(second, strata)
    if not (np.abs(a).sum(axis=0).all() and np.abs(b).sum(axis=0).all()):
        return np.nan, np.nan
    observed = float((a * b).sum(axis=0).mean())
    places = [np.flatnonzero(strata == one) for one in np.unique(strata)]
    n_above = 0
    order = np.arange(len(a))
    for _ in range(N_PERMUTATIONS):
        for part in places:
            order[part] = rng.permutation(part)
        permuted = float((a[order] * b).sum(axis=0).mean())
        n_above += abs(permuted) >= abs(observed) - 1e-12
    return round(observed, 12), (1 + n_above) / (1 + N_PERMUTATIONS)


def _standardised(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return columns with a mean of 0 in each stratum and a length of 1."""
    table = pd.DataFrame(np.asarray(values, dtype=np.float64))
    centred = (table - table.groupby(strata).transform("mean")).to_numpy()
    lengths = np.sqrt((centred**2).sum(axis=0))
    scale = 1e-9 * np.sqrt(len(table)) * np.maximum(np.abs(table.to_numpy()).max(0), 1)
    return np.where(lengths > scale, centred / np.where(lengths, lengths, 1.0), 0.0)
