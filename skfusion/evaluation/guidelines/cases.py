"""Checked cohort of the guidelines: modalities in any form, outcomes and patients."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._fitting.passthrough import Passthrough
from skfusion._image_cells.recognition import inspect_cells
from skfusion.ehr import TabularEncoder
from skfusion.ehr.naming import stores_of
from skfusion.evaluation.comparison.study import (
    Patients,
    Task,
    as_frame,
    find_patients,
    find_task,
)
from skfusion.fusion.base import default_modalities
from skfusion.fusion.restriction import fusions_within
from skfusion.modality import (
    Modality,
    check_modalities,
    infer_modality_columns,
    presence_mask,
)
from skfusion.vectors.columns import VectorColumns

__all__ = [
    "Cases",
    "Outcome",
    "as_estimators",
    "find_modalities",
    "find_outcomes",
    "kind_of",
    "read_cases",
]


@dataclass(frozen=True)
class Outcome:
    """Binary view of the outcome.

    Attributes
    ----------
    name : str
        Words for the positive rows, e.g. ``"class 2"`` or ``"above the median"``.
    positive : ndarray of bool of shape (n_samples,)
        Rows with the outcome.
    """

    name: str
    positive: np.ndarray


@dataclass(frozen=True)
class Cases:
    """Checked cohort.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    y : ndarray of n_samples rows
        Checked outcome.
    task : Task
        Kind of the outcome.
    patients : ndarray of int of shape (n_samples,)
        Number of the patient of each row, a different one for each row if the patients
        are not known.
    known_patients : bool
        Whether the patients are known.
    id_column : column label or None
        Column with the patient ids.
    modalities : list of Modality
        Modalities, M in number.
    presence : ndarray of bool of shape (n_samples, M)
        Presence of each modality in each row.
    """

    frame: pd.DataFrame
    y: np.ndarray
    task: Task
    patients: np.ndarray
    known_patients: bool
    id_column: Any
    modalities: list[Modality]
    presence: np.ndarray

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.frame)

    def n_patients(self, rows: np.ndarray | None = None) -> int:
        """Count the patients of rows, or of all rows."""
        chosen = self.patients if rows is None else self.patients[rows]
        return len(np.unique(chosen))


def read_cases(
    modalities: Any,
    X: Any,
    y: Any,
    groups: Any,
    *,
    owner: str,
    task: str = "auto",
    pos_label: Any = None,
    patients: Patients | None = None,
) -> Cases:
    """Check a cohort and resolve its modalities, outcome and patients.

    Parameters
    ----------
    modalities : list of (str, estimator, columns), "auto", dict, estimator or None
        Modalities as in the fusion estimators. A dict has estimators, as in
        `compare_fusion`, or the columns of each modality. None is no modality.
    X, y, groups : any
        Cohort, outcome and patients.
    owner : str
        Name of the function, used in messages.
    task : str, default="auto"
        Kind of the task, as in `compare_fusion`.
    pos_label : label or None, default=None
        Positive class of a binary outcome.
    patients : Patients or None, default=None
        Patients that are already resolved.

    Returns
    -------
    Cases

    Raises
    ------
    ValueError, TypeError
        If the cohort, the outcome, the patients or the modalities are invalid.
    """
    frame = as_frame(X, owner)
    values, kind = find_task(y, len(frame), task, None, pos_label, owner)
    if patients is None:
        patients = find_patients(frame, groups, as_estimators(modalities), owner)
    numbers = patients.numbers
    found = find_modalities(modalities, frame, patients.column, owner)
    return Cases(
        frame,
        values,
        kind,
        np.arange(len(frame)) if numbers is None else numbers,
        numbers is not None,
        patients.column,
        found,
        presence_mask(found, frame),
    )


def as_estimators(modalities: Any) -> Any:
    """Return estimators as the dict in which `find_patients` looks for groups."""
    if isinstance(modalities, Mapping):
        is_fit = [hasattr(part, "fit") for part in modalities.values()]
        return modalities if is_fit and all(is_fit) else None
    return {"model": modalities} if hasattr(modalities, "get_params") else None


def find_modalities(
    given: Any, frame: pd.DataFrame, id_column: Any, owner: str
) -> list[Modality]:
    """Resolve modalities in any form that fusions and comparisons accept.

    Parameters
    ----------
    given : list of (str, estimator, columns), "auto", dict, estimator or None
        Modalities. Those of estimators are the modalities of the fusions in them.
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    id_column : column label or None
        Column of the patients, which is not used as a feature.
    owner : str
        Name of the function, used in messages.

    Returns
    -------
    list of Modality
    """
    if given is None:
        return []
    if isinstance(given, str) and given == "auto":
        given = _inferred(frame, id_column, owner)
    estimators = as_estimators(given)
    if estimators is not None:
        return _of_estimators(estimators, frame, id_column, owner)
    if isinstance(given, Mapping):
        given = [
            (name, _default_encoder(frame, columns), columns)
            for name, columns in given.items()
        ]
    return check_modalities(given, frame, owner=owner, reserved=())


def _of_estimators(
    estimators: Mapping[str, Any], frame: pd.DataFrame, id_column: Any, owner: str
) -> list[Modality]:
    known: dict[str, Modality] = {}
    for name, estimator in estimators.items():
        fusions = fusions_within(estimator)
        if not fusions:
            raise TypeError(
                f"{owner}: {name!r} ({type(estimator).__name__}) has no modalities. "
                "Pass a fusion estimator, an estimator with one inside, or triples "
                "(name, transformer, columns)."
            )
        for fusion in fusions.values():
            for part in find_modalities(fusion.modalities, frame, id_column, owner):
                known.setdefault(part.name, part)
    return list(known.values())


def _inferred(frame: pd.DataFrame, id_column: Any, owner: str) -> list[Any]:
    """Return the modalities that ``"auto"`` finds, also if torch is not installed."""
    aside = () if id_column is None else (id_column,)
    try:
        return default_modalities(frame, aside, owner)
    except ImportError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # issued by the first attempt
            found = infer_modality_columns(frame, aside=aside, estimator_name=owner)
        return [
            (name, Passthrough(), columns[0])
            if kind == "image"
            else (name, VectorColumns(), columns[0])
            if kind == "vector"
            else (name, TabularEncoder(), columns)
            for name, (kind, columns) in found.items()
        ]


def _default_encoder(frame: pd.DataFrame, columns: Any) -> Any:
    """Return the encoder that ``"auto"`` uses for columns, given by their labels."""
    several = isinstance(columns, list | tuple) and len(columns) > 1
    label = columns[0] if isinstance(columns, list | tuple) and columns else columns
    known = not several and isinstance(label, str) and label in frame.columns
    if known and inspect_cells(frame[str(label)]).is_image_column:
        triples = _inferred(frame[[label]], None, "modalities")
        return triples[0][1]
    return TabularEncoder()


def kind_of(modality: Modality, frame: pd.DataFrame) -> str:
    """Return ``"events"``, ``"image"`` or ``"table"``, by the encoder and the cells.

    Parameters
    ----------
    modality : Modality
        The modality.
    frame : DataFrame of shape (n_samples, n_columns)
        The cohort.
    """
    if stores_of(modality.transformer):
        return "events"
    images = [
        inspect_cells(frame.loc[:, column]).is_image_column
        for column in modality.columns
    ]
    return "image" if any(images) else "table"


def find_outcomes(y: np.ndarray, task: Task) -> list[Outcome]:
    """Return the outcome as one or more binary outcomes.

    Parameters
    ----------
    y : ndarray of n_samples rows
        Checked outcome.
    task : Task
        Kind of the outcome.

    Returns
    -------
    list of Outcome
        The positive class of a binary outcome, each of several classes or labels,
        events of a survival analysis, and values above the median of a regression.
    """
    if task.kind == "survival":
        return [Outcome("with an event", y["event"].astype(bool))]
    if task.kind == "regression":
        return [Outcome("above the median", y > np.median(y))]
    if task.kind == "multilabel":
        return [
            Outcome(f"with label {name}", y[:, place] == 1)
            for place, name in enumerate(task.labels)
        ]
    assert task.classes is not None
    numbers = task.numbers(y)
    first = 1 if task.kind == "binary" else 0
    return [
        Outcome(f"of class {label}", numbers == place)
        for place, label in enumerate(task.classes)
        if place >= first
    ]
