"""Cross-validated comparison of single modalities and fusion strategies.

`compare_fusion` checks its arguments, runs all strategies on the same folds and returns
the results.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import column_or_1d

from skfusion._validation import check_option
from skfusion.cohort import (
    as_pandas,
    check_groups,
    column_of_role,
    column_or_ids,
    warn_repeated_ids,
)
from skfusion.evaluation.comparison import strategies as builders
from skfusion.evaluation.comparison.collecting import collect
from skfusion.evaluation.comparison.results import FusionComparison
from skfusion.evaluation.comparison.running import Study, run_strategies
from skfusion.evaluation.metrics import Metric, resolve_metrics
from skfusion.exceptions import DataWarning, warn_user
from skfusion.fusion.targets import check_labels
from skfusion.modality import Modality, presence_mask
from skfusion.splits import outer_folds

__all__ = ["FusionComparison", "compare_fusion"]


# An integer target with more distinct values than this is treated as a regression.
MOST_CLASSES = 20


def compare_fusion(
    modalities_or_estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    strategies: Iterable[str] | None = None,
    task: str = "auto",
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> FusionComparison:
    """Compare each modality alone with early, late and joint fusion.

    All strategies are fitted and scored on identical folds. No patient is in both the
    training and the test set of a fold. Each fusion strategy is tested against the best
    single modality, as recommended for studies of fusion in [1]_.

    Parameters
    ----------
    modalities_or_estimators : list of (str, estimator, columns), "auto" or dict
        Modalities as in the fusion estimators, or a dict of name to estimator. The
        estimators of a dict are compared without changes. Those with one modality are
        the baselines. If there is no baseline, each modality alone is added.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        Cohort with one row per case.
    y : array-like of shape (n_samples,)
        Target values.
    groups : str, int, array-like of shape (n_samples,) or None, default=None
        Name of the column with patient ids, or the ids. They are also passed to the
        estimators for their inner splits.
    cv : int, splitter, iterable of (train, test) or None, default=None
        Cross-validation folds. None uses 5 folds. An int gives shuffled folds, which
        are grouped by patient if `groups` is given and stratified for classification.
    scoring : str, list of str, callable, dict or None, default=None
        Names of scikit-learn scorers, or ``"brier"``, ``"log_loss"``, ``"mae"``,
        ``"rmse"``. The first score determines the verdict. None uses AUROC, average
        precision and Brier score, or R² and mean absolute error for a regression.
    strategies : sequence of {"single", "early", "late", "joint"} or None, default=None
        Strategies to compare. None compares all four, without joint fusion if torch is
        not installed, with a warning. With a dict of estimators, only ``"single"`` has
        an effect: missing baselines are added.
    task : {"auto", "classification", "regression"}, default="auto"
        Type of the target. With ``"auto"``, fractional values, and integers with more
        than 20 distinct values, are treated as a regression.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every estimator.
    n_jobs : int or None, default=None
        Number of fits that run in parallel. None uses 1. The result does not depend on
        this parameter.
    verbose : int, default=0
        If not 0, progress is printed to standard error.

    Returns
    -------
    FusionComparison
        Scores with confidence intervals, differences with tests, out-of-fold
        predictions and a verdict. Its methods include ``summary()``, ``plot()`` and
        ``to_html(path)``.

    Raises
    ------
    ValueError
        If the target or a patient id is missing in a row, or there are too few patients
        or cases for the folds. Also if a class is missing from the training or test set
        of a fold, or the modalities, strategies or scores are invalid.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    skfusion.LateFusionClassifier : Estimator of a single modality.

    Notes
    -----
    A single modality is fitted as a late fusion of one modality. It is the same model
    as the member of this modality in late fusion, so the baselines are not weakened. If
    the modality is absent in a row, the prediction is the class frequencies (or the
    mean) of the training rows with this modality. `notes_` reports the number of these
    rows.

    Confidence intervals and tests use the correction of Nadeau and Bengio [2]_ for
    overlapping training sets. The sizes are those of the actual folds, in patients if
    the folds are grouped. The best single modality is selected on the same folds, which
    favours it slightly. The tests are therefore mildly conservative for fusion. A
    held-out test set is better evidence for a claim.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.
    .. [2] Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine
       Learning 52:239-281.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import compare_fusion
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(300, 2)), columns=["lesion_mm", "age"])
    >>> y = (X.sum(axis=1) + rng.normal(size=300) > 0).astype(int)
    >>> result = compare_fusion(
    ...     [("image", StandardScaler(), ["lesion_mm"]),
    ...      ("ehr", StandardScaler(), ["age"])],
    ...     X, y, scoring="roc_auc", strategies=("single", "late"), random_state=0,
    ... )
    >>> result.scores_.round(2).iloc[:, :5]
      strategy   metric  estimate   low  high
    0    image  roc_auc      0.79  0.70  0.89
    1      ehr  roc_auc      0.78  0.68  0.88
    2     late  roc_auc      0.90  0.86  0.95
    >>> result.verdict_.outcome
    'helps'
    """
    plan = plan_comparison(
        modalities_or_estimators,
        X,
        y,
        groups=groups,
        cv=cv,
        scoring=scoring,
        strategies=strategies,
        task=task,
        random_state=random_state,
    )
    _warn_before(plan.study, plan.modalities)
    outcomes = run_strategies(
        plan.strategies,
        plan.study,
        labels=any(metric.needs_labels for metric in plan.metrics),
        n_jobs=n_jobs,
        verbose=verbose,
    )
    return collect(
        plan.strategies,
        outcomes,
        plan.metrics,
        plan.modalities,
        plan.study,
        cv=cv,
        seed=plan.seed,
    )


@dataclass(frozen=True)
class Plan:
    """Checked arguments of `compare_fusion`, resolved before the first fit.

    Attributes
    ----------
    strategies : list of Strategy
        Strategies to compare.
    modalities : list of Modality
        Modalities of the cohort.
    study : Study
        Checked cohort and folds.
    metrics : list of Metric
        Metrics to compute.
    seed : int
        Seed of the folds and the estimators.
    """

    strategies: list[builders.Strategy]
    modalities: list[Modality]
    study: Study
    metrics: list[Metric]
    seed: int


def plan_comparison(
    modalities_or_estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    strategies: Iterable[str] | None = None,
    task: str = "auto",
    random_state: Any = None,
) -> Plan:
    """Check the arguments of `compare_fusion` without fitting an estimator.

    Parameters
    ----------
    modalities_or_estimators, X, y, groups, cv, scoring, strategies, task, random_state
        As in `compare_fusion`.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, TypeError
        As in `compare_fusion`, before the first fit.
    """
    frame = _as_frame(X)
    target = _check_target(y, len(frame))
    patients = None
    column, ids = column_or_ids(groups)
    if groups is not None:
        patients = check_groups(ids, frame, column=column, owner="compare_fusion")
    if column is not None:
        column = column_of_role(column, "groups", frame, "compare_fusion")
    given = modalities_or_estimators
    classifier = _is_classification(task, target, given)
    classes = np.unique(target) if classifier else None
    if classes is not None and len(classes) < 2:
        raise ValueError(
            f"compare_fusion: y contains one class only in all {len(target)} rows, so "
            "there is nothing to classify. Check the target column."
        )
    if not classifier:
        target = target.astype(np.float64)
    metrics = resolve_metrics(scoring, None if classes is None else len(classes))
    seed = _draw_seed(random_state)
    built, modalities = _build(
        given, frame, strategies, classifier=classifier, groups=column, seed=seed
    )
    folds = outer_folds(cv, target, patients, classifier=classifier, random_state=seed)
    study = Study(frame, target, classes, patients, folds)
    return Plan(built, modalities, study, metrics, seed)


def _as_frame(X: Any) -> pd.DataFrame:
    frame = as_pandas(X, "compare_fusion")
    if frame is None:
        array = np.asarray(X)
        if array.ndim != 2:
            raise TypeError(
                "compare_fusion: X must be a table with one row per case (a DataFrame "
                f"or a 2-D array), got {type(X).__name__} with {array.ndim} dimensions."
            )
        frame = pd.DataFrame(array)
    if len(frame) == 0:
        raise ValueError("compare_fusion: X has 0 rows.")
    return frame


def _check_target(y: Any, n_rows: int) -> np.ndarray:
    given = np.asarray(y)
    if given.dtype.names or (given.ndim == 2 and given.shape[1] > 1):
        found = "events and times" if given.dtype.names else f"{given.shape[1]} columns"
        raise ValueError(
            f"compare_fusion: y must be one column of classes or numbers, got {found}"
            ". Score the fusion estimators with sklearn.model_selection.cross_validate "
            "instead, or compare one outcome at a time."
        )
    values = np.asarray(column_or_1d(y, warn=True))
    check_labels(values, "compare_fusion")
    if len(values) != n_rows:
        raise ValueError(
            f"compare_fusion: y has {len(values)} entries but X has {n_rows} rows. "
            "Pass one outcome per row."
        )
    unknown = pd.isna(pd.Series(values)).to_numpy()
    if values.dtype.kind == "f":
        unknown = unknown | np.isinf(values)
    rows = np.flatnonzero(unknown)
    if len(rows):
        raise ValueError(
            f"compare_fusion: y is NaN, missing or infinite in {len(rows)} of {n_rows} "
            f"rows, first at row position(s) {rows[:5].tolist()}. Remove rows with an "
            "unknown outcome."
        )
    return values


def _is_classification(task: str, y: np.ndarray, given: Any) -> bool:
    check_option(
        task, "task", ("auto", "classification", "regression"), "compare_fusion"
    )
    if isinstance(given, Mapping) and given:
        kinds = {builders.kind_of(name, part) for name, part in given.items()}
        if len(kinds) > 1:
            raise ValueError(
                "compare_fusion: the estimators must all be classifiers or all be "
                f"regressors, got {sorted(kinds)}."
            )
        if task != "auto" and (task == "classification") != (kinds == {"classifier"}):
            raise ValueError(
                f"compare_fusion: task={task!r}, but the estimators are {kinds.pop()}s."
            )
        return kinds == {"classifier"}
    if task != "auto":
        if task == "regression" and y.dtype.kind not in "biuf":
            raise ValueError(
                "compare_fusion: y must be numeric for a regression, got dtype "
                f"{y.dtype}."
            )
        return task == "classification"
    if y.dtype.kind not in "biuf":
        return True
    few = len(np.unique(y)) <= MOST_CLASSES
    return few and type_of_target(y) in ("binary", "multiclass")


def _draw_seed(random_state: Any) -> int:
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _build(
    given: Any,
    frame: pd.DataFrame,
    strategies: Iterable[str] | None,
    *,
    classifier: bool,
    groups: Any,
    seed: int,
) -> tuple[list[builders.Strategy], list[Modality]]:
    if isinstance(given, Mapping):
        return builders.from_estimators(
            given,
            frame,
            baselines=strategies is None or "single" in set(strategies),
            classifier=classifier,
            groups=groups,
            random_state=seed,
        )
    modalities = builders.find_modalities(given, frame, groups=groups)
    built = builders.standard(
        modalities,
        strategies,
        classifier=classifier,
        groups=groups,
        random_state=seed,
    )
    return built, modalities


def _warn_before(study: Study, modalities: list[Modality]) -> None:
    """Warn once before the first fit about problems that every fit would report."""
    if study.groups is None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_repeated_ids(study.X, "compare_fusion")
        for warning in caught:
            warn_user(str(warning.message), warning.category)
    if not modalities:
        return
    present = presence_mask(modalities, study.X)
    nothing = np.flatnonzero(~present.any(axis=1))
    if len(nothing):
        warn_user(
            f"compare_fusion: {len(nothing)} of {len(present)} rows have no modality "
            f"at all, first at row position(s) {nothing[:5].tolist()}. "
            "They contribute nothing to training, and their prediction is the average "
            "of the training rows. Remove them if they are not cases of the study.",
            DataWarning,
        )
