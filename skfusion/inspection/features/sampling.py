"""Shapley values of the columns of one modality, for any fitted model.

Columns outside the coalition take the values of background cases. The other modalities
keep the values of the case and are encoded once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils import check_random_state

from skfusion.cohort import as_pandas
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.inspection.features.closed_form import Contributions
from skfusion.inspection.models import (
    class_log_odds,
    log_odds,
    predicts_risks,
    rows_with_modality,
    scale_of_risk,
)
from skfusion.inspection.shapley import exact_plan, sampled_plan
from skfusion.inspection.wrapped import WrappedFusion

__all__ = ["ColumnGame", "explain_columns", "mix_rows"]


OWNER = "explain_features"
MAX_EXACT = 8  # number of columns, for 2**8 coalitions
N_PERMUTATIONS = 10  # each with its reverse
MAX_ROWS = 20_000

Score = Callable[[pd.DataFrame, int], np.ndarray]


class ColumnGame(NamedTuple):
    """Shapley values of the columns of one modality.

    Attributes
    ----------
    found : Contributions
        Shapley values (n_explained, n_columns_m[, n_outputs]), with a base value for
        each case.
    cells : ndarray of shape (n_explained, n_columns_m)
        Cells of the columns.
    rows : ndarray of int of shape (n_explained,)
        Row positions of the cases that have the modality.
    scale : str
        The scale of the explained output.
    """

    found: Contributions
    cells: np.ndarray
    rows: np.ndarray
    scale: str


def explain_columns(
    estimator: Any,
    X: Any,
    background: Any,
    name: str,
    columns: Sequence[Any],
    n_background: int,
    random_state: Any,
) -> ColumnGame:
    """Compute Shapley values of the columns of one modality, for any model.

    Parameters
    ----------
    estimator : estimator or WrappedFusion
        A fitted estimator, or one around fusions.
    X, background : DataFrame or ndarray of n_samples and any number of rows
        The cases to explain, and the cases whose values replace unknown columns.
    name : str
        Name of the modality.
    columns : sequence of column labels
        The columns of the modality, which are the players.
    n_background : int
        Number of background cases that are used, drawn at random.
    random_state : int, RandomState or None
        Seed of the random draws.

    Returns
    -------
    ColumnGame
        Contributions in the cases that have the modality.
    """
    rng = check_random_state(random_state)
    if isinstance(estimator, BaseFusion):
        rows, cases = rows_with_modality(estimator, X, name)
        _, others = rows_with_modality(estimator, background, name)
    elif isinstance(estimator, WrappedFusion):
        rows, cases = _with_modality(estimator, X, name)
        _, others = _with_modality(estimator, background, name)
    else:
        cases, others = pd.DataFrame(X), pd.DataFrame(background)
        rows = np.arange(len(cases))
    if len(others) > n_background:
        chosen = np.sort(rng.choice(len(others), n_background, replace=False))
        others = others.iloc[chosen]
    others = others.reset_index(drop=True)
    as_array = not hasattr(X, "columns")
    score = _score_of(estimator, cases, name, columns, as_array)
    if len(columns) <= MAX_EXACT:
        plan = exact_plan(len(columns))
    else:
        plan = sampled_plan(len(columns), N_PERMUTATIONS, rng)
    found = [
        _worth(score, cases, others, list(columns), plan.coalitions, i)
        for i in range(len(cases))
    ]
    values = np.stack([plan.shapley(worth) for worth in found])
    base = np.stack([worth[0] for worth in found])  # value of the empty coalition
    if values.shape[-1] == 1:
        values, base = values[..., 0], base[..., 0]
    cells = pd.DataFrame(X)[list(columns)].iloc[rows].to_numpy()
    return ColumnGame(Contributions(values, base), cells, rows, _scale_of(estimator))


def _with_modality(
    model: WrappedFusion, X: Any, name: str
) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the rows in which a modality is present, and their cases."""
    frame = as_pandas(X, OWNER)
    frame = pd.DataFrame(np.asarray(X)) if frame is None else frame
    present = model.presence(X)[:, model.modalities.index(name)]
    rows = np.flatnonzero(present)
    if len(rows) == 0:
        raise ValueError(
            f"Modality {name!r} is absent in all {len(frame)} rows, so it cannot be "
            "explained. Leave it out, or pass rows in which it is present."
        )
    return rows, frame.iloc[rows].reset_index(drop=True)


def _scale_of(estimator: Any) -> str:
    """Return the scale of the output that `_score_of` returns."""
    if isinstance(estimator, WrappedFusion):  # of which none predicts risks
        survival, proba = False, estimator.kind in ("classes", "labels")
    elif isinstance(estimator, BaseFusion):
        kind = estimator.target_.kind
        survival = kind == "survival"
        proba = kind in ("classes", "labels")
    else:
        survival = predicts_risks(estimator)
        proba = hasattr(estimator, "predict_proba")
        if not proba and is_classifier(estimator):
            return "decision function"
    if survival:
        return scale_of_risk(estimator)
    return "log-odds" if proba else "prediction (unit of y)"


def _worth(
    score: Score,
    cases: pd.DataFrame,
    others: pd.DataFrame,
    columns: list[Any],
    coalitions: np.ndarray,
    i: int,
) -> np.ndarray:
    """Return the mean scores (n_coalitions, n_outputs) of a case over the background.

    The coalitions are evaluated in chunks, to limit the memory for their rows.
    """
    step = max(1, MAX_ROWS // len(others))
    worth = []
    for start in range(0, len(coalitions), step):
        part = coalitions[start : start + step]
        scores = score(mix_rows(cases.iloc[[i]], others, columns, part), i)
        worth.append(scores.reshape(len(part), len(others), -1).mean(axis=1))
    return np.concatenate(worth)


def mix_rows(
    case: pd.DataFrame,
    others: pd.DataFrame,
    columns: Sequence[Any],
    coalitions: np.ndarray,
) -> pd.DataFrame:
    """Return copies of a case with the columns outside each coalition replaced.

    Parameters
    ----------
    case : DataFrame of shape (1, n_columns)
        The case.
    others : DataFrame of shape (K, n_columns)
        The background cases.
    columns : sequence of d column labels
        The players. All other columns keep the values of the case.
    coalitions : ndarray of bool of shape (n_coalitions, d)
        Whether a column keeps the value of the case.

    Returns
    -------
    DataFrame of shape (n_coalitions * K, n_columns)
        K rows for each coalition, in the order of `coalitions`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion.inspection.features.sampling import mix_rows
    >>> case = pd.DataFrame({"age": [60], "sex": ["f"]})
    >>> others = pd.DataFrame({"age": [40, 50], "sex": ["m", "m"]})
    >>> mixed = mix_rows(case, others, ["age", "sex"], np.array([[True, False]]))
    >>> mixed.to_numpy().tolist()
    [[60, 'm'], [60, 'm']]
    """
    n_others = len(others)
    n_rows = len(coalitions) * n_others
    mixed = case.iloc[np.zeros(n_rows, dtype=int)].reset_index(drop=True)
    # Position n_others of the pool is the case itself.
    pool = pd.concat([others, case], ignore_index=True)
    borrowed = np.tile(np.arange(n_others), len(coalitions))
    for j, column in enumerate(columns):
        own = np.repeat(coalitions[:, j], n_others)
        positions = np.where(own, n_others, borrowed)
        mixed[column] = pool[column].take(positions).reset_index(drop=True)
    return mixed


def _score_of(
    estimator: Any,
    cases: pd.DataFrame,
    name: str,
    columns: Sequence[Any],
    as_array: bool,
) -> Score:
    """Return a function that scores mixed rows of case `i` (log-odds or numbers)."""
    if isinstance(estimator, WrappedFusion):
        return _score_of_wrapped(estimator, cases, name, columns)
    if not isinstance(estimator, BaseFusion):
        # The type of X is kept, to avoid warnings about feature names.
        return lambda rows, i: _ask(estimator, rows.to_numpy() if as_array else rows)
    target = estimator.target_

    def finish(answers: np.ndarray) -> np.ndarray:
        answers = answers.reshape(len(answers), -1)
        if target.kind == "classes":
            return target.informative(class_log_odds(answers))
        return log_odds(answers) if target.kind == "labels" else answers

    if isinstance(estimator, BaseLateFusion):
        return lambda rows, i: finish(_encode_alone(estimator, rows, columns)[name])
    encoded = estimator.encode_modalities(cases)

    def score(rows: pd.DataFrame, i: int) -> np.ndarray:
        own = _encode_alone(estimator, rows, columns)[name]
        Z = {key: np.repeat(part[[i]], len(rows), 0) for key, part in encoded.items()}
        return finish(estimator.predict_encoded({**Z, name: own}))

    return score


def _score_of_wrapped(
    model: WrappedFusion, cases: pd.DataFrame, name: str, columns: Sequence[Any]
) -> Score:
    """Return the function that scores mixed rows by the whole estimator."""
    encoded, _ = model.encode(cases)
    is_binary = model.kind == "classes" and model.n_outputs == 2

    def score(rows: pd.DataFrame, i: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # as in `_encode_alone`
            own = model.encode(_alone(rows, columns))[0][name]
        Z = {key: np.repeat(part[[i]], len(rows), 0) for key, part in encoded.items()}
        answers = model.margins({**Z, name: own})
        return answers[:, 1:] if is_binary else answers

    return score


def _encode_alone(
    estimator: BaseFusion, rows: pd.DataFrame, columns: Sequence[Any]
) -> dict[str, np.ndarray]:
    """Encode one modality only, with all other modalities removed to save time."""
    with warnings.catch_warnings():
        # Warnings about absent modalities are expected for these intermediate rows.
        warnings.simplefilter("ignore", UserWarning)
        return estimator.encode_modalities(_alone(rows, columns))


def _alone(rows: pd.DataFrame, columns: Sequence[Any]) -> pd.DataFrame:
    alone = rows.copy()
    for column in alone.columns.difference(list(columns)):
        alone[column] = np.full(len(alone), None, dtype=object)
    return alone


def _ask(model: Any, X: Any) -> np.ndarray:
    if hasattr(model, "predict_proba"):
        answers = class_log_odds(np.asarray(model.predict_proba(X)))
        return answers[:, 1:] if answers.shape[1] == 2 else answers
    ask = model.decision_function if is_classifier(model) else model.predict
    answers = np.asarray(ask(X), dtype=np.float64)
    return answers.reshape(len(X), -1)
