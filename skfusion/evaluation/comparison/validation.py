"""External validation of the strategies of a comparison.

All strategies are fitted once on the whole cohort and tested on another cohort. The
statement is about these fitted models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from skfusion.cohort import check_groups, column_or_ids
from skfusion.evaluation.comparison.checkpoint import Checkpoint, Fit
from skfusion.evaluation.comparison.design import Design, Split
from skfusion.evaluation.comparison.inference import (
    Claims,
    difference_table,
    judge_fusions,
    pairs_to_contrast,
)
from skfusion.evaluation.comparison.running import Context, Run, fit_arm, tell_once
from skfusion.evaluation.comparison.scoring import (
    Scored,
    all_contrasts,
    fold_table,
    prediction_table,
)
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import Study, as_frame, find_task
from skfusion.evaluation.comparison.verdict import Facts, Verdict, judge
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.statistics.calibration import calibration_summary
from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.splits import inner_folds

__all__ = ["ExternalValidation", "calibration_table", "validate"]


OWNER = "FusionComparison.validate"
CLIP = 1e-6
N_FOLDS = 5


@dataclass(frozen=True, repr=False)
class ExternalValidation:
    """Result of `FusionComparison.validate`.

    Attributes
    ----------
    scores_ : DataFrame
        One row per strategy and metric: ``strategy``, ``metric``, ``estimate``,
        ``low``, ``high``.
    differences_ : DataFrame
        Each fusion minus each single modality, as in `FusionComparison`. The tests are
        those of DeLong for the AUROC and a bootstrap of patients for other scores.
    tests_ : DataFrame
        One row per fusion, as in `FusionComparison`.
    calibration_ : DataFrame
        Of two classes, one row per strategy and ``method``: ``"none"`` for the
        predictions as they are, and ``"intercept"`` and ``"intercept and slope"`` for
        predictions that were recalibrated on the other folds of the external cohort.
        Columns ``intercept``, ``slope``, ``in_the_large`` and ``observed_expected``,
        each with ``_low`` and ``_high``, and ``brier``.
    predictions_ : DataFrame
        Predictions of the external cohort.
    verdict_ : Verdict
        Statement about these fitted models on this cohort.
    n_rows, n_patients : int
        Size of the external cohort.
    notes_ : list of str
        Notes.
    """

    __module__ = "skfusion.evaluation"

    scores_: pd.DataFrame
    differences_: pd.DataFrame
    tests_: pd.DataFrame
    calibration_: pd.DataFrame
    predictions_: pd.DataFrame
    verdict_: Verdict
    n_rows: int
    n_patients: int
    notes_: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        return (
            f"<ExternalValidation on {self.n_rows} rows of {self.n_patients} patients: "
            f"{self.verdict_.outcome}>"
        )


def validate(
    context: Context,
    X: Any,
    y: Any,
    *,
    groups: Any,
    metrics: Sequence[Metric],
    labels: Mapping[str, str],
    claims: Claims,
) -> ExternalValidation:
    """Fit all strategies on the cohort of a comparison and test another cohort.

    Parameters
    ----------
    context : Context
        Estimators and cohort of the comparison.
    X, y : DataFrame of shape (n_samples, n_columns), array-like of shape (n_samples,)
        External cohort.
    groups : str, array-like of shape (n_samples,) or None
        Its patients.
    metrics : sequence of Metric
        Metrics of the comparison.
    labels : dict of str to str
        Name of each arm in the text.
    claims : Claims
        What was declared before the comparison.

    Returns
    -------
    ExternalValidation

    Raises
    ------
    ValueError
        If the outcome has other classes, or a class is missing.
    """
    external = _external_study(context.study, X, y, groups)
    notes = _seen_before(context.study, external)
    arms = context.arms
    run = _run(arms, context, external)
    rows = np.arange(len(external.y))
    design = Design(
        "test", [Split(0, 0, np.arange(0), rows)], 1, 1, "an external cohort"
    )
    folds = fold_table(arms, run, metrics, external, design)
    scored = Scored(arms, metrics, external, design, run, folds, context.seed, False)
    contrasts = all_contrasts(scored, pairs_to_contrast(arms))
    differences = difference_table(arms, metrics, contrasts)
    n_patients = external.n_patients(rows)
    tests = judge_fusions(
        arms,
        metrics[0],
        scored.means(metrics[0]),
        contrasts,
        claims,
        n_patients=n_patients,
    )
    facts = Facts(
        metric=metrics[0],
        labels=labels,
        kind="test",
        n_patients=n_patients,
        n_trained=context.study.n_patients(np.arange(len(context.study.y))),
        unit="rows" if external.groups is None else "patients",
        splits=design.text,
        clustered=external.groups is not None and n_patients < len(rows),
        claims=claims,
    )
    return ExternalValidation(
        scored.score_table().drop(columns=["n_repeats", "n_folds"]),
        differences,
        tests,
        _recalibrated(arms, run, external, context.seed),
        prediction_table(arms, run, external, design),
        judge(tests, differences, facts),
        len(rows),
        n_patients,
        [*notes, *(f"Warning: {line}" for _, line in run.warnings)],
    )


def _seen_before(study: Study, external: Study) -> list[str]:
    """Warn of external rows that are copies of rows of the comparison."""
    columns = [c for c in study.X.columns if _is_simple(study.X[c], external.X.get(c))]
    if not columns:
        return []
    known = pd.util.hash_pandas_object(study.X[columns].astype(str), index=False)
    found = pd.util.hash_pandas_object(external.X[columns].astype(str), index=False)
    n_seen = int(np.isin(found, known).sum())
    if not n_seen:
        return []
    note = (
        f"{n_seen} of {len(found)} external rows are copies of rows of the comparison, "
        "which the models were trained on."
    )
    warn_user(f"{OWNER}: {note} Leave them out.", LeakageWarning)
    return [f"Warning: {note}"]


def _is_simple(column: Any, other: Any) -> bool:
    """Return whether both cohorts have the column with numbers, dates or text."""
    if other is None or column.ndim != 1:
        return False
    kind = pd.api.types.infer_dtype(column, skipna=True)
    return kind not in ("mixed", "unknown-array")


def _external_study(study: Study, X: Any, y: Any, groups: Any) -> Study:
    frame = as_frame(X)
    kinds = {"binary": "classification", "multiclass": "classification"}
    kind = kinds.get(study.task.kind, study.task.kind)
    kind = "auto" if kind == "multilabel" else kind
    target, task = find_task(y, len(frame), kind, None, None)
    if study.task.classes is not None and study.task.kind != "multilabel":
        unknown = np.setdiff1d(target, study.task.classes)
        if len(unknown) or task.kind != study.task.kind:
            raise ValueError(
                f"{OWNER}: y must have the {len(study.task.classes)} classes of the "
                f"comparison, got {len(np.unique(target))} classes, {len(unknown)} of "
                "them unknown. Map the labels, or use a cohort with all classes."
            )
    column, ids = column_or_ids(groups)
    patients = check_groups(ids, frame, column=column, owner=OWNER)
    return Study(frame, target, study.task, patients)


def _run(arms: Sequence[Strategy], context: Context, external: Study) -> Run:
    """Fit each arm on the whole cohort of the comparison."""
    n_rows = len(context.study.y)
    # The external rows follow the rows of the comparison.
    both = Study(
        pd.concat([context.study.X, external.X], ignore_index=True),
        np.concatenate([context.study.y, external.y]),
        context.study.task,
        None,
    )
    patients = context.study.groups
    if patients is not None:
        unknown = np.full(len(external.y), -1)  # the test set needs no patients
        both = Study(both.X, both.y, both.task, np.r_[patients, unknown])
    split = Split(0, 0, np.arange(n_rows), np.arange(n_rows, len(both.y)))
    fitted = [arm for arm in arms if arm.estimator is not None]
    fits = Parallel(n_jobs=context.n_jobs)(
        delayed(fit_arm)(arm, both, split, context.request, context.seed, Checkpoint())
        for arm in fitted
    )
    found: dict[tuple[str, int, int], Fit] = {
        (arm.name, 0, 0): fit for arm, fit in zip(fitted, fits, strict=True)
    }
    for arm in arms:
        if arm.estimator is None:
            members = found[str(arm.fusion), 0, 0].members
            found[arm.name, 0, 0] = Fit(members[str(arm.modality)], 0.0, [])
    return Run(found, {arm.name: 1 for arm in arms}, tell_once(arms, found), [])


# -- calibration ----------------------------------------------------------------------


def _recalibrated(
    arms: Sequence[Strategy], run: Run, external: Study, seed: int
) -> pd.DataFrame:
    if external.task.kind != "binary":
        return pd.DataFrame()
    y = external.task.numbers(external.y)
    groups = external.groups
    rows = []
    for arm in arms:
        p = run.fits[arm.name, 0, 0].predictions.scores[:, 1]
        rows.append(_calibration_row(arm.name, "none", y, p, groups))
        for method in ("intercept", "intercept and slope"):
            again = _cross_fitted(y, p, groups, seed, slope=method != "intercept")
            rows.append(_calibration_row(arm.name, method, y, again, groups))
    return pd.DataFrame(rows)


def calibration_table(
    names: Sequence[str], y: np.ndarray, probabilities: Any, groups: Any
) -> pd.DataFrame:
    """Return the calibration of several strategies, one row each.

    Parameters
    ----------
    names : sequence of str
        Names of the strategies.
    y : ndarray of shape (n,)
        Outcome of 0 and 1.
    probabilities : sequence of ndarray of shape (n,)
        Predicted probabilities of each strategy.
    groups : ndarray of shape (n,) or None
        Patients.

    Returns
    -------
    DataFrame
    """
    return pd.DataFrame(
        [
            _calibration_row(name, "none", y, p, groups)
            for name, p in zip(names, probabilities, strict=True)
        ]
    ).drop(columns="method")


def _calibration_row(
    name: str, method: str, y: np.ndarray, p: np.ndarray, groups: Any
) -> dict[str, Any]:
    found = calibration_summary(y, p, groups=groups)
    row: dict[str, Any] = {"strategy": name, "method": method}
    for part in ("intercept", "slope", "in_the_large", "observed_expected"):
        value = getattr(found, part)
        row |= {part: value.estimate, f"{part}_low": value.low}
        row[f"{part}_high"] = value.high
    row["brier"] = float(np.mean((p - y) ** 2))
    row["n_clipped"] = found.n_clipped
    return row | {"reason": found.reason}


def _cross_fitted(
    y: np.ndarray, p: np.ndarray, groups: Any, seed: int, *, slope: bool
) -> np.ndarray:
    """Return probabilities that were recalibrated on the other folds."""
    odds = np.log(np.clip(p, CLIP, 1 - CLIP) / np.clip(1 - p, CLIP, 1 - CLIP))
    folds = inner_folds(
        N_FOLDS, y, groups, n_rows=len(y), random_state=seed, owner=OWNER
    )
    again = np.empty(len(y))
    for train, test in folds:
        if slope:
            model = LogisticRegression(C=np.inf).fit(odds[train, None], y[train])
            again[test] = model.predict_proba(odds[test, None])[:, 1]
        else:
            again[test] = _shifted(odds, y, train, test)
    return again


def _shifted(
    odds: np.ndarray, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> np.ndarray:
    """Return probabilities whose mean over the training rows is the observed share."""
    shift = 0.0
    for _ in range(50):  # Newton's method on a strictly increasing function
        q = 1.0 / (1.0 + np.exp(-(odds[train] + shift)))
        step = (y[train].mean() - q.mean()) / max((q * (1 - q)).mean(), 1e-9)
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return 1.0 / (1.0 + np.exp(-(odds[test] + shift)))
