"""Where the cases come from: training rows, new rows, or rows of unknown origin."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.fusion.base import BaseFusion
from skfusion.fusion.training_rows import TrainingRows
from skfusion.inspection.models import OWNER, FusionModel, TableModel

__all__ = ["Provenance", "find_provenance"]

# From this share on, the cases are called training rows without further words.
MOSTLY = 0.9
# Rows can be equal by chance, especially with few columns.
CHANCE_EQUALS = 0.05


@dataclass(frozen=True)
class Provenance:
    """Known origin of the cases.

    Attributes
    ----------
    n_cases : int
        Number of cases.
    n_training : int or None
        Number of cases that are equal to rows that the model was fitted on. None if the
        model does not know its training rows.
    by_chance : float
        Share of the training rows that are equal to another one. About as many new rows
        are equal to a training row by chance.
    is_certain : bool
        Whether a case that is not equal to a training row is a new row. It is not if
        steps before the fusion change the rows of `fit` and of a prediction in
        different ways.
    n_in_background : int
        Number of cases that are equal to a background case, if cases were passed as
        background.
    """

    n_cases: int
    n_training: int | None
    by_chance: float = 0.0
    is_certain: bool = True
    n_in_background: int = 0

    @property
    def are_training_rows(self) -> bool:
        """Whether nearly all cases are known to be training rows."""
        return (self.n_training or 0) >= MOSTLY * self.n_cases

    @property
    def words(self) -> str:
        """Name of the cases in a sentence."""
        if self.n_training is None:
            return "these cases"
        if self.are_training_rows:
            return "training rows"
        if self.n_training == 0:
            return "new rows" if self.is_certain else "these cases"
        return (
            f"these cases ({self.n_training} of {self.n_cases} are equal to training "
            "rows)"
        )

    def pitfall(self) -> str | None:
        """Return a warning of training rows among the cases, None without any."""
        n_training = self.n_training or 0
        if n_training > self.by_chance * self.n_cases:
            return (
                f"{n_training} of {self.n_cases} cases are equal to rows that the "
                "model was fitted on. On training rows, the reliance on overfitted "
                "noise and every score are too high. Explain held-out cases."
            )
        if self.n_training is None and (
            self.n_in_background > CHANCE_EQUALS * self.n_cases
        ):
            return (
                f"{self.n_in_background} of {self.n_cases} cases are also in the "
                "background. If the background is training data, these are training "
                "rows, on which the reliance on overfitted noise is highest. Explain "
                "held-out cases."
            )
        return None

    def warn(self) -> None:
        """Warn of cases that are training rows."""
        pitfall = self.pitfall()
        if pitfall is not None:
            warn_user(f"{OWNER}: {pitfall}", LeakageWarning)


def find_provenance(
    model: FusionModel | TableModel, X: Any, background: Any
) -> Provenance:
    """Compare the cases with the training rows and the background.

    Parameters
    ----------
    model : FusionModel or TableModel
        The fitted model.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases, as the model receives them.
    background : DataFrame, ndarray or None
        All background cases, as the model receives them. None if there are none.

    Returns
    -------
    Provenance
    """
    n_cases = len(X)
    with warnings.catch_warnings():
        # The encoding of the cases has warned of them.
        warnings.simplefilter("ignore", UserWarning)
        known = model.training_rows(X)
    if known is not None:
        return Provenance(
            n_cases, int(known.sum()), model.repeated_rows, model.receives_table
        )
    readable = isinstance(model, TableModel) or isinstance(model.estimator, BaseFusion)
    if background is None or not readable:
        return Provenance(n_cases, None)
    tables = [_read(model, table) for table in (background, X)]
    rows = TrainingRows(tables[0][0], tables[0][1])
    found = rows.found(*tables[1])
    return Provenance(n_cases, None, n_in_background=int(found.sum()))


def _read(model: FusionModel | TableModel, table: Any) -> tuple[Any, pd.DataFrame]:
    if isinstance(model, TableModel):
        return model.read(table)
    frame = model.estimator.read_cohort(table)
    return model.estimator.modality_specs(), frame.reset_index(drop=True)
