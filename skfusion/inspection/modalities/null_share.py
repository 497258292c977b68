"""Null share: reliance on a modality that was shuffled among patients before the fit.

A model that overfits relies on noise as well. How much is measured by fitting it again
on training rows in which one modality belongs to other patients, and by explaining
cases that are shuffled in the same way.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from skfusion._fitting.metadata import fit_with_metadata
from skfusion._fitting.modality_warnings import run_parallel
from skfusion._validation import check_number
from skfusion.exceptions import DataWarning, warn_user
from skfusion.fusion.inner_estimators import seed
from skfusion.inspection.modalities.coalitions import (
    Cases,
    coalition_table,
    prepare,
    shuffled_order,
)
from skfusion.inspection.modalities.patients import table_of
from skfusion.inspection.models import OWNER, FusionModel, TableModel
from skfusion.inspection.shapley import CoalitionPlan
from skfusion.inspection.wrapped import WrappedFusion

__all__ = ["NullCases", "null_values"]


@dataclass(frozen=True)
class NullCases:
    """Rows of one kind, training rows or cases to explain.

    Attributes
    ----------
    X : DataFrame or ndarray of shape (n, n_columns)
        The rows.
    y : array-like of n rows or None
        Their outcome.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each row.
    """

    X: Any
    y: Any
    patients: np.ndarray | None

    def shuffled(self, columns: tuple[Any, ...], rng: np.random.RandomState) -> Any:
        """Return the table with some columns taken from other patients."""
        table = table_of(self.X)
        frame = pd.DataFrame(table)
        frame = frame.copy(deep=False)
        patients = self.patients
        if patients is not None:
            patients = np.unique(patients, return_inverse=True)[1]
        order = shuffled_order(len(frame), patients, rng)
        labels = list(frame.columns)
        for place in [labels.index(column) for column in columns]:
            frame.isetitem(place, frame.iloc[:, place].array.take(order))
        return frame if hasattr(table, "iloc") else frame.to_numpy()


def null_values(
    estimator: Any,
    model: FusionModel | TableModel,
    train: NullCases,
    cases: NullCases,
    ask_of: Callable[[Any], Any],
    *,
    modalities: Mapping[str, Any] | None,
    n_shuffles: int,
    random_state: int,
    n_jobs: int | None,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Compute the contributions of each modality in models that learned it shuffled.

    Parameters
    ----------
    estimator : estimator
        What the user gave, of which clones are fitted.
    model : FusionModel or TableModel
        The same, as a model with modalities.
    train, cases : NullCases
        Training rows, which are also the background, and the cases to explain.
    ask_of : callable
        Returns the function of encoded modalities that is explained, from a model.
    modalities : dict of str to list of column labels, or None
        The columns of each modality. None for a fusion.
    n_shuffles : int
        Number of shuffles of each modality.
    random_state : int
        Seed of the shuffles, and of estimators without a seed.
    n_jobs : int or None
        Number of models fitted in parallel.
    **options : any
        Further arguments of `skfusion.inspection.modalities.coalitions.prepare`.

    Returns
    -------
    dict of str to ndarray of shape (n_shuffles, n, M, C)
        By shuffled modality, the contributions of all modalities. A modality that
        shares a column with another one is left out.

    Raises
    ------
    ValueError
        If a part of the estimator is frozen, a step before a fusion changes the table,
        or a fit fails.

    Warns
    -----
    DataWarning
        If a modality shares a column with another one.
    """
    check_number(n_shuffles, "n_shuffles", OWNER, low=1, integer=True)
    _refuse_frozen(estimator)
    columns = _own_columns(model, cases.X)
    jobs = [
        (
            estimator,
            names,
            train,
            cases,
            ask_of,
            modalities,
            [random_state, j, k],
            options,
        )
        for j, names in enumerate(columns.values())
        for k in range(n_shuffles)
    ]
    try:
        found = run_parallel(_play, jobs, n_jobs)
    except ValueError as error:
        raise ValueError(
            f"{OWNER}: a model cannot be fitted or explained with a modality that is "
            f"shuffled among patients, so there is no null share: {error}"
        ) from error
    each = iter(found)
    return {name: np.stack([next(each) for _ in range(n_shuffles)]) for name in columns}


def _play(
    estimator: Any,
    columns: tuple[Any, ...],
    train: NullCases,
    cases: NullCases,
    ask_of: Callable[[Any], Any],
    modalities: Mapping[str, Any] | None,
    numbers: list[int],
    options: dict[str, Any],
) -> np.ndarray:
    """Return the contributions (n, M, C) after one shuffle."""
    rng = np.random.RandomState(numbers)
    table = train.shuffled(columns, rng)
    with warnings.catch_warnings():
        # The model and the game without a shuffle have warned of the same cases.
        warnings.simplefilter("ignore")
        again = seed(clone(estimator), np.random.RandomState(numbers[0]))
        fit_with_metadata(again, table, train.y, {"groups": train.patients})
        found: tuple[Cases, CoalitionPlan] = prepare(
            cases.shuffled(columns, rng),
            again,
            modalities,
            background=table,
            rng=np.random.RandomState(numbers[0]),
            **options,
        )
    encoded, plan = found
    values = plan.shapley(coalition_table(encoded, plan, ask_of(encoded.model)))
    return np.moveaxis(values, 0, 1)


def _refuse_frozen(estimator: Any) -> None:
    parts = [estimator, *estimator.get_params(deep=True).values()]
    if any(isinstance(part, FrozenEstimator) for part in parts):
        raise ValueError(
            f"{OWNER}: a frozen estimator cannot be fitted again, so there is no null "
            "share. Pass the estimator without FrozenEstimator."
        )


def _own_columns(model: FusionModel | TableModel, X: Any) -> dict[str, tuple[Any, ...]]:
    """Return the columns of each modality in the table of the user."""
    if not model.receives_table:
        raise ValueError(
            f"{OWNER}: a step before the fusion changes the table, so the columns of "
            "one modality cannot be shuffled in it. Pass the fusion alone, with the "
            "transformed cases."
        )
    columns: dict[str, list[Any]]
    if isinstance(model, WrappedFusion):
        columns = model.columns_by_modality()
    else:
        if isinstance(model, TableModel):
            specs = model.read(X)[0]
        else:
            specs = model.estimator.modality_specs()
        columns = {spec.name: list(spec.columns) for spec in specs}
    shared = [
        name
        for name, own in columns.items()
        if any(set(own) & set(rest) for other, rest in columns.items() if other != name)
    ]
    if shared:
        warn_user(
            f"{OWNER}: {len(shared)} of {len(columns)} modalities have a column that "
            f"another modality has as well, {shared[:5]}, so that neither can be "
            "shuffled alone. Their null share is NaN. Give each modality columns of "
            "its own, also where they are equal.",
            DataWarning,
        )
    return {name: tuple(own) for name, own in columns.items() if name not in shared}
