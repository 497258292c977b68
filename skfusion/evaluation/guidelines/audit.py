"""Audit of a cohort for leakage before any model is fitted, `audit_cohort`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_number, check_option
from skfusion.cohort import column_of_role, column_or_ids, repeated_ids
from skfusion.ehr import EventWindows, LeakageAudit
from skfusion.ehr.naming import stores_of
from skfusion.evaluation.comparison.study import (
    Patients,
    as_frame,
    column_of_estimators,
    find_patients,
)
from skfusion.evaluation.guidelines import column_checks, image_checks, row_checks
from skfusion.evaluation.guidelines.cases import (
    Cases,
    Outcome,
    as_estimators,
    find_outcomes,
    kind_of,
    read_cases,
)
from skfusion.evaluation.guidelines.column_checks import ColumnSet
from skfusion.evaluation.guidelines.dependence import why_not
from skfusion.evaluation.guidelines.findings import SEVERITIES, Finding, Findings
from skfusion.evaluation.guidelines.row_checks import Folds
from skfusion.evaluation.statistics.disclosure import MIN_CELL
from skfusion.modality import Modality, find_column_roles
from skfusion.splits import unchecked_folds

__all__ = ["CohortAudit", "audit_cohort"]


OWNER = "audit_cohort"
_COLUMNS = ["check", "severity", "columns", "n_rows", "n_patients", "found", "remedy"]
_CHECK_COLUMNS = ["check", "done", "reason", "n_findings"]
#: Rows of which the events are audited.
EVENT_ROWS = 100


@dataclass(frozen=True)
class CohortAudit:
    """Result of `audit_cohort`.

    Attributes
    ----------
    findings : list of Finding
        The findings, errors first.
    checks : DataFrame
        One row per check, with ``check``, ``done``, ``reason`` (why it was not done)
        and ``n_findings``.
    n_rows : int
        Number of rows.
    n_patients : int or None
        Number of patients, None if they are not known.
    n_columns : int
        Number of columns.

    Examples
    --------
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion.evaluation import audit_cohort
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> audit = audit_cohort(cohort.data, cohort.target, "patient_id")
    >>> audit.n_rows, audit.n_patients, [finding.check for finding in audit.findings]
    (150, 150, [])
    """

    __module__ = "skfusion.evaluation"

    findings: list[Finding]
    checks: pd.DataFrame
    n_rows: int
    n_patients: int | None
    n_columns: int

    @property
    def passed(self) -> bool:
        """Whether no finding is an error."""
        return not any(one.severity == "error" for one in self.findings)

    def of_severity(self, severity: str) -> list[Finding]:
        """Return the findings that are errors, warnings or notes.

        Parameters
        ----------
        severity : {"error", "warning", "note"}
            Severity.

        Returns
        -------
        list of Finding
        """
        check_option(severity, "severity", SEVERITIES, "CohortAudit")
        return [one for one in self.findings if one.severity == severity]

    def to_frame(self) -> pd.DataFrame:
        """Return the findings, errors first.

        Returns
        -------
        DataFrame
            ``check``, ``severity``, ``columns`` (names, with commas between them),
            ``n_rows``, ``n_patients`` (text, ``"<10"`` for small counts), ``found`` and
            ``remedy``. The attribute `findings` has the names of columns one by one.
        """
        table = pd.DataFrame(
            [[getattr(one, name) for name in _COLUMNS] for one in self.findings],
            columns=_COLUMNS,
            dtype=object,
        )
        table["columns"] = [", ".join(one.columns) for one in self.findings]
        return table

    def to_dict(self) -> dict[str, Any]:
        """Return the result as numbers and text, as JSON can hold them."""
        return {
            "passed": self.passed,
            "n_rows": self.n_rows,
            "n_patients": self.n_patients,
            "n_columns": self.n_columns,
            "findings": [
                {name: getattr(one, name) for name in _COLUMNS}
                | {"columns": list(one.columns)}
                for one in self.findings
            ],
            "checks": self.checks.to_dict("records"),
            "thresholds": thresholds(),
        }

    def to_markdown(self) -> str:
        """Return the result as a table in Markdown."""
        lines = [f"**{self._head()}**", ""]
        if self.findings:
            lines += [
                "| severity | check | columns | rows | patients | found | remedy |"
            ]
            lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
        for one in self.findings:
            cells = (
                *(one.severity, one.check, ", ".join(one.columns), one.n_rows),
                *(one.n_patients, one.found, one.remedy),
            )
            lines.append("| " + " | ".join(map(_markdown_cell, cells)) + " |")
        if self.findings:
            lines.append("")
        lines += [f"- {line}" for line in self._of_checks()]
        return "\n".join(lines).rstrip() + "\n"

    def _head(self) -> str:
        counts = [
            f"{len(self.of_severity(name))} {name}"
            + ("" if len(self.of_severity(name)) == 1 else "s")
            for name in SEVERITIES
        ]
        patients = f"{self.n_patients} patients"
        if self.n_patients is None:
            patients = "patients unknown"
        return (
            f"CohortAudit: {', '.join(counts)} ({self.n_rows} rows, {patients}, "
            f"{self.n_columns} columns)"
        )

    def __str__(self) -> str:
        lines = [self._head()]
        for one in self.findings:
            lines.append(
                f"  {one.severity.upper()}: {one.check} [{', '.join(one.columns)}]"
            )
            lines.append(f"    {one.found}")
            lines.append(f"    -> {one.remedy}")
        lines += [f"  {line}" for line in self._of_checks()]
        return "\n".join(lines)

    def _of_checks(self) -> list[str]:
        """Return what was checked without a finding, and what was not checked."""
        done = self.checks["done"].astype(bool)
        clean = self.checks.loc[done & (self.checks["n_findings"] == 0), "check"]
        lines = [f"Checked, nothing found: {', '.join(clean)}."] if len(clean) else []
        for part in self.checks[~done].to_dict("records"):
            lines.append(f"Not checked: {part['check']} ({part['reason']}).")
        return lines

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(index=False)


def _markdown_cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def thresholds() -> dict[str, float]:
    """Return the thresholds of the checks by name.

    Examples
    --------
    >>> from skfusion.evaluation.guidelines.audit import thresholds
    >>> thresholds()["single_column_auroc"]
    0.95
    """
    return {
        "single_column_auroc": column_checks.SINGLE_COLUMN_AUROC,
        "suspicious_auroc": column_checks.SUSPICIOUS_AUROC,
        "missing_auroc": column_checks.MISSING_AUROC,
        "site_auroc": column_checks.SITE_AUROC,
        "trend_auroc": column_checks.TREND_AUROC,
        "largest_pvalue": column_checks.LARGEST_PVALUE,
        "fewest_rows": column_checks.FEWEST_ROWS,
        "pure_share": column_checks.PURE_SHARE,
        "near_distance": image_checks.NEAR_DISTANCE,
        "chance_pairs": row_checks.CHANCE_PAIRS,
    }


def audit_cohort(
    X: Any,
    y: Any,
    groups: Any = None,
    cv: Any = None,
    modalities: Any = None,
    *,
    images: Iterable[Any] | None = None,
    sites: Any = None,
    index_time: Any = None,
    events: Any = None,
    model: Any = None,
    decode_images: bool | str = "auto",
    task: str = "auto",
    pos_label: Any = None,
    min_cell: int = MIN_CELL,
    random_state: int = 0,
    verbose: int = 0,
) -> CohortAudit:
    """Search a cohort for leakage before any model is fitted.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        Cohort with one row per case.
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Outcome, as in `compare_fusion`. Of several classes or labels, each is compared
        with the others. Numbers are compared at their median, and survival times by
        their events.
    groups : str, int, array-like of shape (n_samples,) or None, default=None
        Name of the column with patient ids, or the ids. None takes the column that
        the estimators in `modalities` name. Without any, a column that looks like a
        patient id and repeats is a finding.
    cv : int, splitter, iterable of (train, test) or None, default=None
        Folds that are to be used. None checks no folds. An int gives the folds of
        `compare_fusion`.
    modalities : list of (str, estimator, columns), "auto", dict, estimator or None, \
default=None
        Modalities whose columns are the features. A dict has estimators, or the columns
        of each modality. None takes all columns as features, except images, patients
        and columns with names of ids.
    images : iterable of column labels or None, default=None
        Columns of images. None recognises them by their cells.
    sites : str, list of column labels or None, default=None
        Columns of hospitals, scanners, views and the like. None recognises them by
        their names.
    index_time : str, int or None, default=None
        Column with the time of the prediction. None takes the column ``"index_time"``
        if there is one.
    events : EventStore or None, default=None
        Events that are audited with default windows. The events of modalities are
        always audited.
    model : estimator, dict of str to estimator or None, default=None
        Fitted fusions, e.g. the source of a fine-tuned encoder. Rows on which they were
        trained are found among the test rows of `cv`, or among all rows. Fusions in a
        `FrozenEstimator` of a modality are always checked.
    decode_images : bool or "auto", default="auto"
        Whether to decode the pixels, to find recoded and similar images. ``"auto"``
        decodes up to 5,000 images a column. Equal files are always found.
    task : {"auto", "classification", "regression", "survival"}, default="auto"
        Kind of the task.
    pos_label : label or None, default=None
        Positive class of a binary outcome.
    min_cell : int, default=10
        Smallest count that is printed, except 0.
    random_state : int, default=0
        Seed of the folds and of the audit of events.
    verbose : int, default=0
        Whether to show the progress on standard error.

    Returns
    -------
    CohortAudit

    Raises
    ------
    ValueError, TypeError
        If the cohort, the outcome, the patients, the folds or the modalities are
        invalid.

    See Also
    --------
    skfusion.ehr.LeakageAudit : Look-ahead leakage of event features.

    Notes
    -----
    An error leaks the outcome, or a patient, into a test set. A warning needs the
    judgement of somebody who knows how the data were recorded. An audit without a
    finding is not a proof.

    The thresholds are named constants of `skfusion.evaluation.guidelines`. All p-values
    are computed by patient and must be below 0.001.

    - A single column has an AUROC of at least 0.95 (error) or 0.90 (warning).
      Categories are scored by their outcome rate among other patients.
    - The missing values of a column or modality have an AUROC of at least 0.65
      (warning) or 0.95 (error).
    - A site, scanner or view, or the order of rows or ids, has an AUROC of at least
      0.65 (warning).
    - One value, the missing values or one end of the order has at least 10 patients, of
      whom at least 95 % have the same outcome (warning).
    - An image was acquired at or after the index time (error), by the time in its bag,
      or else in its DICOM header, or by the column ``f"{column}_time"`` that
      `~skfusion.cohorts.link_images` makes. Keep this column in `X` for images without
      a header, such as PNG files.
    - At most 4 of 64 bits of the perceptual hashes of two images differ (note).
    - Fewer than 0.01 pairs of rows are expected to be equal by chance (error for
      different patients or across folds).

    Counts from 1 to 9 are printed as ``"<10"``. No cell of the cohort is printed.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skfusion.evaluation import audit_cohort
    >>> rng = np.random.default_rng(0)
    >>> y = np.arange(200) % 2
    >>> X = pd.DataFrame({"age": rng.normal(60, 9, 200), "discharge_code": y * 3.0})
    >>> print(audit_cohort(X, y, groups=np.arange(200)).to_frame()[
    ...     ["severity", "check", "columns"]].to_string(index=False))
    severity                    check        columns
       error column tells the outcome discharge_code
    """
    check_number(min_cell, "min_cell", OWNER, low=1, integer=True)
    if not isinstance(decode_images, bool):
        check_option(decode_images, "decode_images", ("auto",), OWNER)
    frame = as_frame(X, OWNER)
    patients = _patients(frame, groups, modalities)
    cases = read_cases(
        modalities,
        frame,
        y,
        groups,
        owner=OWNER,
        task=task,
        pos_label=pos_label,
        patients=patients,
    )
    auditor = _Auditor(
        cases,
        Findings(cases, min_cell),
        find_outcomes(cases.y, cases.task),
        _folds(cv, cases, random_state),
        _columns(cases, images, index_time),
        random_state,
        verbose,
    )
    auditor.check_patients()
    auditor.check_images(decode_images, _index_time(frame, index_time))
    auditor.check_columns(sites, groups)
    auditor.check_events(events, index_time)
    auditor.check_model(model)
    return CohortAudit(
        auditor.findings.sorted(),
        pd.DataFrame(auditor.checks, columns=_CHECK_COLUMNS),
        cases.n_rows,
        cases.n_patients() if cases.known_patients else None,
        frame.shape[1],
    )


def _patients(frame: pd.DataFrame, groups: Any, modalities: Any) -> Patients:
    """Return the patients that are given, but none that are guessed."""
    estimators = as_estimators(modalities)
    if groups is None and column_of_estimators(estimators, OWNER) is None:
        return Patients(None, None)
    return find_patients(frame, groups, estimators, OWNER)


def _folds(cv: Any, cases: Cases, random_state: int) -> Folds | None:
    if cv is None:
        return None
    strata = cases.task.strata(cases.y)
    folds = unchecked_folds(
        cv,
        cases.y if strata is None else strata,
        cases.patients if cases.known_patients else None,
        classifier=strata is not None,
        random_state=random_state,
        owner=OWNER,
    )
    positions = np.arange(cases.n_rows)  # which masks and negative positions choose of
    return [(positions[train], positions[test]) for train, test in folds]


def _columns(cases: Cases, images: Any, index_time: Any) -> ColumnSet:
    """Return the columns by their role."""
    frame = cases.frame
    aside = [] if cases.id_column is None else [cases.id_column]
    time = _index_time(frame, index_time)
    aside += [] if time is None else [time]
    roles = find_column_roles(frame, aside)
    given = roles.images
    if images is not None:
        several = [images] if isinstance(images, str) else list(images)
        given = [column_of_role(c, "images", frame, OWNER) for c in several]
    if not cases.modalities:
        known = {*roles.ehr, *roles.vectors} - {*given}
        features = [column for column in frame.columns if column in known]
        return ColumnSet(features, roles.identifiers, given, False)
    features = []
    for modality in cases.modalities:
        if kind_of(modality, frame) != "events":
            features += [c for c in modality.columns if c not in given]
    left = [c for c in roles.identifiers if c not in features]
    return ColumnSet(list(dict.fromkeys(features)), left, given, True)


def _index_time(frame: pd.DataFrame, index_time: Any) -> Any:
    if index_time is not None:
        return column_of_role(index_time, "index_time", frame, OWNER)
    return "index_time" if "index_time" in frame.columns else None


@dataclass
class _Auditor:
    """Checks of one audit, and whether they were done."""

    cases: Cases
    findings: Findings
    outcomes: list[Outcome]
    folds: Folds | None
    columns: ColumnSet
    random_state: int
    verbose: int

    def __post_init__(self) -> None:
        self.checks: list[tuple[str, bool, str, int]] = []

    def done(self, check: str, reason: str = "", n_findings: int | None = None) -> None:
        """Note a check after its findings, and why it was not done.

        None counts the findings since the check before.
        """
        if n_findings is None:
            n_findings = len(self.findings.found) - sum(n for *_, n in self.checks)
        self.checks.append((check, not reason, reason, n_findings))

    # -- rows -------------------------------------------------------------------------

    def check_patients(self) -> None:
        """Check patients across folds and rows that are copies."""
        cases = self.cases
        if cases.known_patients:
            if self.folds is None:
                self.done("patients across folds", "no cv was given")
            else:
                row_checks.check_patients_apart(self.findings, self.folds)
                self.done("patients across folds")
        else:
            repeated = [
                column
                for column in repeated_ids(cases.frame)
                if not column_checks.is_site_name(column)
            ]
            row_checks.check_repeated_ids(self.findings, repeated, self.folds)
            reason = "" if repeated else "no groups were given"
            self.done("patients across folds", reason)
        row_checks.check_rows_twice(self.findings, self.columns.features, self.folds)
        self.done("rows twice")

    # -- images -----------------------------------------------------------------------

    def check_images(self, decode_images: bool | str, time: Any) -> None:
        """Check each column of images, also against the column of the index time."""
        if not self.columns.images:
            self.done("duplicate images", "there is no column of images")
        for column in self.columns.images:
            cells = list(self.cases.frame[column])
            decode = decode_images is True or (
                decode_images == "auto" and len(cells) <= image_checks.MOST_DECODED
            )
            keys = image_checks.read_image_keys(
                cells, decode=decode, title=f"Audit {column!r}", verbose=self.verbose
            )
            n_known = len(self.findings.found)
            image_checks.check_images(
                column, keys, self.findings, self.folds, self.outcomes
            )
            new = [one.check for one in self.findings.found[n_known:]]
            n_similar = new.count("similar images")
            self.done(f"duplicate images of {column}", "", len(new) - n_similar)
            reason = "" if decode else "the pixels were not decoded"
            self.done(f"similar images of {column}", reason, n_similar)
            reason = "no index time was given"
            if time is not None:
                frame = self.cases.frame
                # Whichever columns the modalities use, since it is no feature.
                linked = frame.get(image_checks.time_column(column))
                reason = image_checks.check_image_times(
                    column, keys, self.findings, frame[time], linked
                )
            self.done(f"times of images of {column}", reason)

    # -- columns ----------------------------------------------------------------------

    def check_columns(self, sites: Any, groups: Any) -> None:
        """Check identifiers and everything that tells the outcome."""
        column_checks.check_identifiers(self.columns, self.findings)
        self.done("identifiers")
        for name, check in (
            ("missing values", column_checks.check_missing_values),
            ("single columns", column_checks.check_single_columns),
            ("values of columns", column_checks.check_pure_values),
        ):
            check(self.columns, self.findings, self.outcomes)
            self.done(name)
        self._check_sites(sites)
        column_checks.check_trends(self._numbers(groups), self.findings, self.outcomes)
        self.done("order of rows and ids")

    def _check_sites(self, sites: Any) -> None:
        frame, given = self.cases.frame, None
        if sites is not None:
            several = sites if isinstance(sites, list | tuple) else [sites]
            given = [column_of_role(c, "sites", frame, OWNER) for c in several]
        chosen = [c for c in frame.columns if c != self.cases.id_column]
        checked = column_checks.check_sites(chosen, self.findings, self.outcomes, given)
        reason = "" if checked else "no column has the name of a site or scanner"
        self.done("sites, scanners and views", reason)

    def _numbers(self, groups: Any) -> dict[str, np.ndarray]:
        """Return the number of each row and the numbers in its ids."""
        cases = self.cases
        numbers = {column_checks.ROW_ORDER: np.arange(cases.n_rows, dtype=np.float64)}
        ids = {str(c): cases.frame[c] for c in self.columns.identifiers}
        if cases.id_column is not None:
            ids[str(cases.id_column)] = cases.frame[cases.id_column]
        elif cases.known_patients and column_or_ids(groups)[1] is not None:
            ids["groups"] = pd.Series(np.asarray(groups).reshape(-1))
        for name, values in ids.items():
            found = column_checks.number_in_id(values)
            if found is not None:
                numbers[name] = found
        return numbers

    # -- what was known too early -----------------------------------------------------

    def check_events(self, events: Any, index_time: Any) -> None:
        """Check times and events after the index time."""
        time = _index_time(self.cases.frame, index_time)
        if time is None:
            self.done("times after the index time", "no index time was given")
        else:
            row_checks.check_times(
                self.findings, self.columns.features, self.cases.frame[time]
            )
            self.done("times after the index time")
        found = [m for m in self.cases.modalities if stores_of(m.transformer)]
        if events is not None:
            found.append(self._windows_of(events, time))
        if not found:
            self.done("events after the index time", "no modality has events")
        for modality in found:
            self._check_store(modality)

    def _windows_of(self, events: Any, time: Any) -> Modality:
        """Return a modality of default windows of a store."""
        if time is None or "subject_id" not in self.cases.frame.columns:
            raise ValueError(
                f"{OWNER}: events need the columns 'subject_id' and index_time in X. "
                "Pass a modality with EventWindows, which names other columns."
            )
        windows = EventWindows(events, time=str(time))
        return Modality("events", windows, ("subject_id", time))

    def _check_store(self, modality: Modality) -> None:
        """Run the audit of look-ahead leakage on the events of a modality."""
        check = f"events after the index time of {modality.name}"
        audit = LeakageAudit(
            n_rows=EVENT_ROWS, random_state=self.random_state, verbose=self.verbose
        )
        target = self.cases.y if self.cases.task.kind == "binary" else None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # those of every fit on fewer rows
                report = audit.run(
                    modality.transformer,
                    self.cases.frame[list(modality.columns)],
                    target,
                )
        except Exception as error:  # noqa: BLE001 - a transformer of the user
            self.done(check, why_not("the audit of events failed", error))
            return
        changed = report.changes[report.changes["n_features"] > 0]
        rows = np.ones(self.cases.n_rows, dtype=bool)
        if len(changed):
            n_features = int(changed["n_features"].max())
            self.findings.add(
                "events after the index time",
                "error",
                [modality.name],
                rows,
                f"{n_features} of {report.n_features} features "
                "change if events that were not available before the index time are "
                f"{', '.join(changed['change'])}.",
                "Compute features from events before the index time only, as "
                "EventWindows does. LeakageAudit names the features.",
            )
        if len(report.suspects):
            self.findings.add(
                "events tell the outcome",
                "error",
                [modality.name],
                rows,
                f"{len(report.suspects)} of {report.n_features} features tell the "
                "outcome alone, or are of codes of death, discharge or billing.",
                "Leave out these codes. LeakageAudit names the features.",
            )
        self.done(check)

    # -- models -----------------------------------------------------------------------

    def check_model(self, model: Any) -> None:
        """Check rows that a fitted model, or a frozen encoder, has seen."""
        given = {} if model is None else {"model": model}
        for modality in self.cases.modalities:
            frozen = row_checks.frozen_parts(modality.transformer)
            if frozen:
                given[modality.name] = dict(enumerate(frozen))
        if not given:
            self.done("rows seen by a model", "no fitted model was given")
        for name, one in given.items():
            reason = row_checks.check_training_rows(
                self.findings, name, one, self.folds
            )
            self.done(f"rows seen by {name}", reason)
