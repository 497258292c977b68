"""compare_fusion: a cohort and its modalities in, an honest comparison out.

Every strategy is fitted and scored on the same folds.
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
from skfusion.cohort import as_pandas, check_groups, warn_repeated_ids
from skfusion.evaluation.comparison import strategies as builders
from skfusion.evaluation.comparison.collecting import collect
from skfusion.evaluation.comparison.results import FusionComparison
from skfusion.evaluation.comparison.running import Study, run_strategies
from skfusion.evaluation.metrics import Metric, resolve_metrics
from skfusion.modality import Modality, presence_mask
from skfusion.splits import outer_folds

__all__ = ["FusionComparison", "compare_fusion"]


# Whole numbers of more values than this are taken for a quantity, not for classes.
MOST_CLASSES = 20


def compare_fusion(
    modalities_or_estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    scoring: Any = None,
    strategies: Iterable[str] = builders.STRATEGIES,
    task: str = "auto",
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> FusionComparison:
    """Compare each modality alone with early, late and joint fusion.

    All strategies are fitted and scored on identical folds, which keep every patient
    on one side. Each fusion is tested against the best single modality, as [1]_ asks
    of every study of fusion.

    Parameters
    ----------
    modalities_or_estimators : list of (str, estimator, columns), "auto" or dict
        The modalities, as the fusion estimators take them; or a dict of name to
        estimator, which is compared as given. Estimators of a dict with one modality
        are the baselines; if there is none, each modality alone is added.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        The cohort, one row per case.
    y : array-like of shape (n_samples,)
        The target.
    groups : str, array-like of shape (n_samples,) or None, default=None
        Column with patient ids, or the ids. They are handed to the estimators too,
        for their inner splits.
    cv : int, splitter, iterable of (train, test) or None, default=None
        The folds; None is 5. A number gives shuffled folds, grouped by patient if
        there are groups and stratified for classes.
    scoring : str, list of str, callable, dict or None, default=None
        Names of scikit-learn's scorers, or ``"brier"``, ``"log_loss"``, ``"mae"``,
        ``"rmse"``. The first one decides the verdict. None: AUROC, average precision
        and Brier score; R² and mean absolute error for a regression.
    strategies : sequence of {"single", "early", "late", "joint"}
        What to compare, all four by default. Of a dict, only ``"single"`` matters: it
        lets baselines be added.
    task : {"auto", "classification", "regression"}, default="auto"
        What the target is. Fractions, and whole numbers of more than 20 values, are
        taken for a regression.
    random_state : int, RandomState or None, default=None
        Seeds the folds and every estimator.
    n_jobs : int or None, default=None
        Fits at a time; None is 1. The result does not depend on it.
    verbose : int, default=0
        Not 0: progress on standard error.

    Returns
    -------
    FusionComparison
        Scores with intervals, differences with tests, out-of-fold predictions, a
        verdict; ``summary()``, ``plot()`` and ``to_html(path)``.

    Raises
    ------
    ValueError
        If the target or a patient id is missing in a row, there are too few patients
        or cases for the folds, a class is missing from a part of a fold, or the
        modalities, strategies or scores cannot be used.
    TypeError
        If an argument is of the wrong kind.

    See Also
    --------
    skfusion.LateFusionClassifier : What a modality alone is compared as.

    Notes
    -----
    A modality alone is a late fusion of that one modality: the very member that late
    fusion would have, so that the baselines are not weak. Rows that lack the modality
    get the class shares (or the mean) of the training rows; `notes_` counts them.

    Intervals and tests use the correction of Nadeau and Bengio [2]_ for overlapping
    training parts, with the actual sizes of the folds (in patients, if grouped). The
    best single modality is chosen on the same folds, which flatters it a little, so
    that the tests are mildly conservative for fusion. A held-out test set is better
    evidence for a claim.

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
    """Everything that `compare_fusion` decides before the first fit.

    Attributes
    ----------
    strategies : list of Strategy
        What is compared.
    modalities : list of Modality
        What the cohort consists of.
    study : Study
        The checked cohort and the folds.
    metrics : list of Metric
        What is scored.
    seed : int
        Of the folds and the estimators.
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
    strategies: Iterable[str] = builders.STRATEGIES,
    task: str = "auto",
    random_state: Any = None,
) -> Plan:
    """Check the arguments of `compare_fusion`, which describes them; fit nothing.

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
        As `compare_fusion`, before anything costly has begun.
    """
    frame = _as_frame(X)
    target = _check_target(y, len(frame))
    patients = None
    if groups is not None:
        column, ids = (groups, None) if isinstance(groups, str) else (None, groups)
        patients = check_groups(ids, frame, column=column, owner="compare_fusion")
    given = modalities_or_estimators
    classifier = _is_classification(task, target, given)
    classes = np.unique(target) if classifier else None
    if classes is not None and len(classes) < 2:
        raise ValueError(
            f"compare_fusion: y holds one class only in all {len(target)} rows, so "
            "there is nothing to tell apart. Check the target column."
        )
    if not classifier:
        target = target.astype(np.float64)
    metrics = resolve_metrics(scoring, None if classes is None else len(classes))
    seed = _draw_seed(random_state)
    column = groups if isinstance(groups, str) else None
    built, modalities = _build(
        given, frame, strategies, classifier=classifier, groups=column, seed=seed
    )
    folds = outer_folds(cv, target, patients, classifier=classifier, random_state=seed)
    study = Study(frame, target, classes, patients, folds)
    return Plan(built, modalities, study, metrics, seed)


def _as_frame(X: Any) -> pd.DataFrame:
    frame = as_pandas(X)
    if frame is None:
        array = np.asarray(X)
        if array.ndim != 2:
            raise TypeError(
                "compare_fusion: X must be a table with one row per case (a DataFrame "
                f"or a 2-D array), got {type(X).__name__} of {array.ndim} dimensions."
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
            ". Score the fusion estimators by sklearn.model_selection.cross_validate "
            "instead, or compare one outcome at a time."
        )
    values = np.asarray(column_or_1d(y, warn=True))
    if len(values) != n_rows:
        raise ValueError(
            f"compare_fusion: y has {len(values)} entries but X has {n_rows} rows. "
            "Give one outcome per row."
        )
    unknown = pd.isna(pd.Series(values)).to_numpy()
    if values.dtype.kind == "f":
        unknown = unknown | np.isinf(values)
    rows = np.flatnonzero(unknown)
    if len(rows):
        raise ValueError(
            f"compare_fusion: y is NaN, missing or infinite in {len(rows)} of {n_rows} "
            f"rows, first at row position(s) {rows[:5].tolist()}. Drop rows whose "
            "outcome is unknown."
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
                "compare_fusion: the estimators must all be classifiers, or all "
                f"regressors; got {sorted(kinds)}."
            )
        if task != "auto" and (task == "classification") != (kinds == {"classifier"}):
            raise ValueError(
                f"compare_fusion: task={task!r}, but the estimators are {kinds.pop()}s."
            )
        return kinds == {"classifier"}
    if task != "auto":
        if task == "regression" and y.dtype.kind not in "biuf":
            raise ValueError(
                f"compare_fusion: y must hold numbers for a regression, got {y.dtype}."
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
    strategies: Iterable[str],
    *,
    classifier: bool,
    groups: str | None,
    seed: int,
) -> tuple[list[builders.Strategy], list[Modality]]:
    if isinstance(given, Mapping):
        return builders.from_estimators(
            given,
            frame,
            baselines="single" in set(strategies),
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
    """Say once, before the first fit, what each of them would say."""
    if study.groups is None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_repeated_ids(study.X, "compare_fusion")
        for warning in caught:
            warnings.warn(str(warning.message), warning.category, stacklevel=3)
    if not modalities:
        return
    present = presence_mask(modalities, study.X)
    nothing = np.flatnonzero(~present.any(axis=1))
    if len(nothing):
        warnings.warn(
            f"compare_fusion: {len(nothing)} of {len(present)} rows have no modality "
            f"at all, first at row position(s) {nothing[:5].tolist()}. "
            "They teach nothing, and are predicted as the training rows on average; "
            "leave them out if they are no cases of the study.",
            UserWarning,
            stacklevel=3,
        )
