"""Findings of an audit, with counts of fewer than ten cases hidden."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skfusion.evaluation.guidelines.association import Folds, folds_of_rates
from skfusion.evaluation.guidelines.cases import Cases, Outcome
from skfusion.evaluation.statistics.disclosure import MIN_CELL, count_text

__all__ = ["SEVERITIES", "Finding", "Findings"]


#: From the worst to the mildest.
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One finding of an audit.

    Attributes
    ----------
    check : str
        Name of the check.
    severity : {"error", "warning", "note"}
        An error leaks the outcome or a patient into a test set. A warning must be
        explained by somebody who knows the data. A note is for information.
    columns : tuple of str
        Columns, modalities or roles that are affected.
    n_rows, n_patients : str
        Counts as text, ``"<10"`` if small. The number of patients is ``"unknown"`` if
        they are not known.
    found : str
        What was found.
    remedy : str
        What to do.
    """

    check: str
    severity: str
    columns: tuple[str, ...]
    n_rows: str
    n_patients: str
    found: str
    remedy: str


@dataclass
class Findings:
    """Findings that the checks of one audit add.

    Attributes
    ----------
    cases : Cases
        The cohort.
    min_cell : int
        Smallest count that is printed, except 0.
    found : list of Finding
        The findings so far.
    """

    cases: Cases
    min_cell: int = MIN_CELL
    found: list[Finding] = field(default_factory=list)
    _folds: dict[str, Folds | None] = field(default_factory=dict, repr=False)

    def folds_of(self, outcome: Outcome) -> Folds | None:
        """Return the folds in which outcome rates are estimated, made once."""
        if outcome.name not in self._folds:
            self._folds[outcome.name] = folds_of_rates(outcome, self.cases.patients)
        return self._folds[outcome.name]

    def count(self, rows: np.ndarray) -> tuple[str, str]:
        """Return the number of rows of a mask, and of their patients, as text.

        The second text is ``"unknown"`` if the patients are not known.
        """
        cases = self.cases
        n_rows = count_text(int(rows.sum()), cases.n_rows, self.min_cell)
        if not cases.known_patients:
            return n_rows, "unknown"
        n_patients = cases.n_patients(rows) if rows.any() else 0
        return n_rows, count_text(n_patients, cases.n_patients(), self.min_cell)

    def add(
        self,
        check: str,
        severity: str,
        columns: Iterable[Any],
        rows: np.ndarray,
        found: str,
        remedy: str,
    ) -> None:
        """Add a finding.

        Parameters
        ----------
        check, severity, columns, found, remedy : any
            Attributes of the finding. ``{rows}`` and ``{patients}`` in `found` are
            replaced by the counts.
        rows : ndarray of bool of shape (n_samples,)
            Rows that are affected.
        """
        n_rows, n_patients = self.count(np.asarray(rows, dtype=bool))
        if not self.cases.known_patients:
            found = found.replace(" of {patients} patients", "")
        self.found.append(
            Finding(
                check,
                severity,
                tuple(str(column) for column in columns),
                n_rows,
                n_patients,
                found.replace("{rows}", n_rows).replace("{patients}", n_patients),
                remedy,
            )
        )

    def sorted(self) -> list[Finding]:
        """Return the findings, the worst first."""
        return sorted(self.found, key=lambda one: SEVERITIES.index(one.severity))
