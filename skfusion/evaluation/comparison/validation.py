"""External validation of the strategies of a comparison.

All strategies are fitted once on the whole cohort and tested on another cohort. The
statement is about these fitted models.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

from skfusion.evaluation.comparison.checkpoint import Checkpoint, Fit
from skfusion.evaluation.comparison.design import Design, Split
from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.probabilities import calibration_row
from skfusion.evaluation.comparison.running import (
    Context,
    Run,
    add_members,
    fit_arm,
    tell_once,
)
from skfusion.evaluation.comparison.scoring import prediction_table, score_and_test
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import (
    Study,
    as_frame,
    comparable_columns,
    find_patients,
    find_task,
    is_fine,
)
from skfusion.evaluation.comparison.verdict import Facts, Verdict, facts_of, judge
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.statistics.disclosure import without_small_counts
from skfusion.exceptions import LeakageWarning, warn_user
from skfusion.splits import inner_folds

__all__ = [
    "Development",
    "ExternalValidation",
    "external_study",
    "gain_table",
    "validate",
    "warn_of_seen",
]


OWNER = "FusionComparison.validate"
CLIP = 1e-6
N_FOLDS = 5


GAIN_COLUMNS = [
    *("strategy", "reference", "best_in", "metric"),
    *("development", "development_low", "development_high"),
    *("external", "external_low", "external_high"),
]


@dataclass(frozen=True)
class Development:
    """Differences of the comparison whose models are validated.

    Attributes
    ----------
    differences, tests : DataFrame
        Tables as in `FusionComparison`.
    """

    differences: pd.DataFrame
    tests: pd.DataFrame


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
    gains_ : DataFrame
        The difference of each fusion from a single modality in the comparison and in
        the external cohort, by the primary metric: ``strategy``, ``reference``,
        ``best_in`` (where this single modality is the best one: ``"both"``,
        ``"external"`` or ``"comparison"``, with a row of its own for each if they
        differ), ``metric``, and ``development`` and ``external``, each with ``_low``
        and ``_high``.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion import compare_fusion
    >>> cohort = make_fusion_cohort(300, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> X, y = cohort.data, cohort.target
    >>> result = compare_fusion(
    ...     modalities, X[:150], y[:150], strategies=("single", "late"), cv=3,
    ...     n_repeats=1, scoring="roc_auc", random_state=0)
    >>> external = result.validate(X[150:], y[150:])
    >>> external.n_rows, external.scores_.shape
    (150, (3, 5))
    >>> external.gains_[["strategy", "reference", "best_in"]]
      strategy      reference best_in
    0     late  image in late    both
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
    gains_: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __repr__(self) -> str:
        return (
            f"<ExternalValidation on {self.n_rows} rows of {self.n_patients} patients: "
            f"{self.verdict_.outcome}>"
        )

    def __str__(self) -> str:
        lines = [repr(self), self.verdict_.text]
        if len(self.gains_):
            shown = self.gains_.round(3)
            lines += ["", "In the comparison and in the external cohort:"]
            lines.append(shown.to_string(index=False))
        return "\n".join([*lines, *map(without_small_counts, self.notes_)])


def validate(
    context: Context,
    X: Any,
    y: Any,
    *,
    groups: Any,
    metrics: Sequence[Metric],
    labels: Mapping[str, str],
    claims: Claims,
    development: Development,
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
    development : Development
        Differences of the comparison.

    Returns
    -------
    ExternalValidation

    Raises
    ------
    ValueError
        If the outcome has other classes, or a class is missing.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        external = external_study(context.study, X, y, groups)
        warn_of_seen(context, external)
    for warning in caught:
        warn_user(str(warning.message), warning.category)
    told = [(str(warning.message), warning.category) for warning in caught]
    arms = context.arms
    run = _run(arms, context, external)
    rows = np.arange(len(external.y))
    design = Design(
        "test", [Split(0, 0, np.arange(0), rows)], 1, 1, "an external cohort"
    )
    found = score_and_test(
        arms, run, metrics, external, design, claims, seed=context.seed
    )
    facts = facts_of(
        found,
        labels,
        claims,
        told,
        splits=design.text,
        n_trained=context.study.n_patients(np.arange(len(context.study.y))),
    )
    gains = gain_table(found.differences, found.tests, development)
    verdict = judge(found.tests, found.differences, facts)
    other = _other_references(gains, labels, facts)
    return ExternalValidation(
        found.scored.score_table().drop(columns=["n_repeats", "n_folds"]),
        found.differences,
        found.tests,
        _recalibrated(arms, run, external, context.seed),
        prediction_table(arms, run, external, design),
        replace(verdict, details=" ".join([verdict.details, *other])),
        len(rows),
        found.n_patients,
        [f"Warning: {line}" for line, _ in told]
        + [f"Warning: {line}" for _, line in run.warnings],
        gains,
    )


# -- gains in both cohorts ------------------------------------------------------------


def gain_table(
    differences: pd.DataFrame, tests: pd.DataFrame, development: Development
) -> pd.DataFrame:
    """Return the gains over the best single modalities of both cohorts.

    Parameters
    ----------
    differences, tests : DataFrame
        Tables of the external cohort, as in `FusionComparison`.
    development : Development
        Those of the comparison.

    Returns
    -------
    DataFrame
        As `ExternalValidation.gains_`. The best single modality of the external cohort
        is the first row of a fusion.
    """
    rows: list[dict[str, Any]] = []
    if not len(tests) or not len(development.tests):
        return pd.DataFrame(rows, columns=GAIN_COLUMNS)
    metric = differences["metric"].iloc[0]  # the primary one is the first
    known = development.tests.set_index("strategy")["reference"]
    for fusion, here in tests[["strategy", "reference"]].itertuples(index=False):
        there = known.get(fusion, here)
        places = {here: "both"}
        if here != there:
            places = {here: "external", there: "comparison"}
        for reference, place in places.items():
            row: dict[str, Any] = {"strategy": fusion, "reference": reference}
            row["best_in"] = place
            row["metric"] = metric
            for name, table in (
                ("development", development.differences),
                ("external", differences),
            ):
                row |= _difference(name, table, fusion, reference, metric)
            rows.append(row)
    return pd.DataFrame(rows, columns=GAIN_COLUMNS)


def _difference(
    name: str, table: pd.DataFrame, fusion: str, reference: str, metric: str
) -> dict[str, float]:
    own = (table["strategy"] == fusion) & (table["reference"] == reference)
    found = table.loc[own & (table["metric"] == metric), ["estimate", "low", "high"]]
    values = found.iloc[0] if len(found) else [np.nan] * 3
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _other_references(
    gains: pd.DataFrame, labels: Mapping[str, str], facts: Facts
) -> list[str]:
    """Return a sentence for each fusion whose best single modality is another one."""
    found = []
    for row in gains[gains["best_in"] == "comparison"].to_dict("records"):
        interval = {"low": row["external_low"], "high": row["external_high"]}
        fusion = labels[row["strategy"]]
        found.append(
            f"The best single modality of the comparison was another one, "
            f"{labels[row['reference']]}: from it, {fusion} differs by "
            f"{facts.signed(row['external'])} ({facts.interval(interval)}) here and by "
            f"{facts.signed(row['development'])} in the comparison."
        )
    return found


def warn_of_seen(context: Context, external: Study, owner: str = OWNER) -> None:
    """Warn of external rows and patients that the models were trained on.

    Parameters
    ----------
    context : Context
        Cohort of the comparison.
    external : Study
        External cohort.
    owner : str
        Name of the method, for the message.

    Warns
    -----
    LeakageWarning
        If a row or a patient of the comparison is in the external cohort.
    """
    study = context.study
    columns = [c for m in context.modalities for c in m.columns] or list(study.X)
    columns = [c for c in columns if c in external.X and c != study.id_column]
    known = comparable_columns(study.X, columns)
    found = comparable_columns(external.X, known.columns)
    known = known[found.columns]
    n_seen = 0
    if is_fine(known):
        # numpy 2.0 compares by a table, which overflows at hashes of 64 bits.
        n_seen = int(np.isin(_keys(found), _keys(known), kind="sort").sum())
    notes = []
    if n_seen:
        notes.append(
            f"{n_seen} of {len(found)} external rows are copies of rows of the "
            "comparison, which the models were trained on."
        )
    column = study.id_column
    if column is not None and column == external.id_column:
        ids = pd.Series(external.X[column].unique())
        shared = int(ids.isin(study.X[column]).sum())
        if shared:
            notes.append(
                f"{shared} of {len(ids)} external patients have the id of a patient of "
                "the comparison."
            )
    for note in notes:
        warn_user(f"{owner}: {note} Leave them out.", LeakageWarning)


def _keys(part: pd.DataFrame) -> np.ndarray:
    """Return a number for each row, equal for equal cells of other dtypes."""
    texts = part.columns.difference(part.select_dtypes("number").columns)
    part = part.astype(dict.fromkeys(texts, str))
    return np.asarray(pd.util.hash_pandas_object(part, index=False))


def external_study(
    study: Study, X: Any, y: Any, groups: Any, owner: str = OWNER
) -> Study:
    """Check an external cohort for the outcome of a comparison.

    Parameters
    ----------
    study : Study
        Cohort of the comparison.
    X, y : DataFrame of shape (n_samples, n_columns), array-like of shape (n_samples,)
        External cohort.
    groups : str, array-like of shape (n_samples,) or None
        Its patients. None uses the column of the comparison if it exists.
    owner : str
        Name of the method, for messages.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        If the outcome has other classes, or a class is missing.
    """
    frame = as_frame(X)
    kinds = {"binary": "classification", "multiclass": "classification"}
    kind = kinds.get(study.task.kind, study.task.kind)
    kind = "auto" if kind == "multilabel" else kind
    target, task = find_task(y, len(frame), kind, None, None)
    if study.task.classes is not None and study.task.kind != "multilabel":
        unknown = np.setdiff1d(target, study.task.classes)
        if len(unknown) or task.kind != study.task.kind:
            raise ValueError(
                f"{owner}: y must have the {len(study.task.classes)} classes of the "
                f"comparison, got {len(np.unique(target))} classes, {len(unknown)} of "
                "them unknown. Map the labels, or use a cohort with all classes."
            )
    if groups is None and study.id_column in frame.columns:
        groups = study.id_column
    patients = find_patients(frame, groups, None)
    return Study(frame, target, study.task, patients.numbers, patients.column)


def _run(arms: Sequence[Strategy], context: Context, external: Study) -> Run:
    """Fit each arm on the whole cohort of the comparison."""
    split = Split(0, 0, np.arange(len(context.study.y)), np.arange(0))
    fitted = [arm for arm in arms if arm.estimator is not None]
    fits = Parallel(n_jobs=context.n_jobs)(
        delayed(fit_arm)(
            arm,
            context.study,
            split,
            context.request,
            context.seed,
            Checkpoint(),
            external.X,
        )
        for arm in fitted
    )
    found: dict[tuple[str, int, int], Fit] = {
        (arm.name, 0, 0): fit for arm, fit in zip(fitted, fits, strict=True)
    }
    n_repeats = {arm.name: 1 for arm in arms}
    add_members(arms, found, n_repeats)
    return Run(found, n_repeats, tell_once(arms, found), [])


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
        rows.append(_calibration_by(arm.name, "none", y, p, groups))
        for method in ("intercept", "intercept and slope"):
            again = _cross_fitted(y, p, groups, seed, slope=method != "intercept")
            rows.append(_calibration_by(arm.name, method, y, again, groups))
    return pd.DataFrame(rows)


def _calibration_by(
    name: str, method: str, y: np.ndarray, p: np.ndarray, groups: Any
) -> dict[str, Any]:
    row = calibration_row(name, y, p, groups)
    return {"strategy": row.pop("strategy"), "method": method, **row}


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
            # No penalty. scikit-learn 1.8 warns of an infinite C.
            model = LogisticRegression(C=1e300).fit(odds[train, None], y[train])
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
