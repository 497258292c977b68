"""Comparison of single modalities and fusion strategies.

`compare_fusion` checks its arguments, runs all arms on the same splits and returns the
results.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skfusion._validation import check_number
from skfusion.evaluation.comparison import strategies as builders
from skfusion.evaluation.comparison.checkpoint import Checkpoint
from skfusion.evaluation.comparison.collecting import collect
from skfusion.evaluation.comparison.design import (
    Design,
    make_design,
    warn_of_small_sites,
)
from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.results import FusionComparison
from skfusion.evaluation.comparison.running import Context, Request, run_arms
from skfusion.evaluation.comparison.study import (
    OWNER,
    Study,
    as_frame,
    find_patients,
    find_task,
    warn_of_copies,
)
from skfusion.evaluation.metrics import Metric, resolve_metrics
from skfusion.exceptions import DataWarning, warn_user
from skfusion.modality import Modality, presence_mask

__all__ = ["FusionComparison", "compare_fusion"]


def compare_fusion(
    modalities_or_estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    n_repeats: Any = "auto",
    test: Any = None,
    sites: Any = None,
    time: Any = None,
    scoring: Any = None,
    strategies: Iterable[str] | None = None,
    baselines: Any = "matched",
    search: Any = None,
    primary: str | None = None,
    smallest_gain: float | None = None,
    margin: float | None = None,
    quick: bool = False,
    task: str = "auto",
    pos_label: Any = None,
    description: str | None = None,
    checkpoint: Any = None,
    random_state: Any = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> FusionComparison:
    """Compare early, late and joint fusion with each modality alone.

    All strategies are fitted and scored on identical splits. No patient is in both the
    training and the test set of a split. Each fusion is tested against every single
    modality, first of all in its own learner, as recommended for studies of fusion
    in [1]_.

    Parameters
    ----------
    modalities_or_estimators : list of (str, estimator, columns), "auto" or dict
        Modalities as in the fusion estimators, or a dict of name to estimator. The
        estimators of a dict are compared without changes. Those with one modality are
        single modalities.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        Cohort with one row per case.
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Target values, a table of labels of 0 and 1, or a structured array of events and
        times.
    groups : str, int, array-like of shape (n_samples,) or None, default=None
        Name of the column with patient ids, or the ids. They are also passed to the
        estimators for their inner splits. None uses the column that the estimators
        name, or a column that looks like a patient id and repeats, with a warning. Pass
        ``range(len(X))`` for independent rows.
    cv : int, splitter, iterable of (train, test) or None, default=None
        Folds of the cross-validation. None uses 5 folds, or 3 if test sets would have
        fewer than 5 patients of a class. An int gives shuffled folds, which are grouped
        by patient if there are groups and stratified by class or event.
    n_repeats : int, "auto" or dict of str to int, default="auto"
        Number of repetitions of the cross-validation, each with other folds and seeds.
        ``"auto"`` uses 10 repetitions, 5 if a repetition takes more than two minutes,
        and 3 for strategies that train a network. A dict gives the number for some
        fusions and their single modalities, such as ``{"joint": 1}``, and ``"auto"``
        for the others.
    test : float, str, array-like or None, default=None
        One test set in place of folds: a fraction by patient, ``"after:DATE"`` for
        cases from a date on, a boolean mask or row positions. The statement is then
        about the fitted models.
    sites : str, int, array-like of shape (n_samples,) or None, default=None
        Column of hospitals, scanners or other sites, or the sites. One site is held out
        at a time. There is no p-value below six sites.
    time : str, int or None, default=None
        Column of the index time for ``test="after:DATE"``. None uses the only column
        with dates.
    scoring : str, list of str, callable, dict or None, default=None
        Names of scikit-learn scorers, or ``"brier"``, ``"log_loss"``, ``"mae"``,
        ``"rmse"``. The first score is the primary metric, which determines the verdict.
        The others are descriptive. None uses AUROC, average precision and Brier score,
        R² and mean absolute error for a regression, or concordance and integrated
        Brier score for a survival analysis.
    strategies : sequence of {"single", "early", "late", "joint"} or None, default=None
        Strategies to compare. None compares all four, without joint fusion if torch is
        not installed, with a warning. Without ``"single"``, no baselines are added.
    baselines : {"matched", "default"}, list of str or None, default="matched"
        Single modalities. ``"matched"`` adds each fusion restricted to one modality,
        with the same learner, settings and search, and without one modality if it has
        three or more. ``"default"`` adds each modality in a late fusion of the default
        learner. A list names the estimators of a dict that are the baselines.
    search : dict of str to dict or None, default=None
        Parameter grid by strategy, searched in the training set of each split. Matched
        single modalities are searched with the same grid.
    primary : str or None, default=None
        Fusion of which alone a claim is made, declared before the comparison. Its
        p-value is not adjusted.
    smallest_gain : float or None, default=None
        Smallest gain of the primary metric that matters. If it could not be found with
        these patients, the verdict says how many are needed.
    margin : float or None, default=None
        Margin of equivalence, declared before the comparison. Without it, no statement
        of equality is made.
    quick : bool, default=False
        Whether to run one repetition only, without p-values and verdict.
    task : {"auto", "classification", "regression", "survival"}, default="auto"
        Type of the target. With ``"auto"``, fractional values, and integers with more
        than 20 distinct values, are treated as a regression.
    pos_label : label or None, default=None
        Positive class of two classes. None uses 1 or True. Other labels need it for
        scores such as the average precision.
    description : str or None, default=None
        Caveat about the data that the results repeat. None uses ``X.attrs["caveat"]``
        if it exists.
    checkpoint : str, PathLike or None, default=None
        Folder in which finished fits are kept. A run that was interrupted continues
        with the fits that are missing.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every estimator.
    n_jobs : int or None, default=None
        Number of fits that run in parallel. None uses 1. The result does not depend on
        this parameter.
    verbose : int, default=0
        If not 0, the number of fits, the estimated time and the progress are printed to
        standard error.

    Returns
    -------
    FusionComparison
        Scores with confidence intervals, differences, tests, predictions and a verdict.
        Its methods include ``summary()``, ``plot()``, ``to_html(path)``,
        ``final_estimator(strategy)`` and ``validate(X, y)``.

    Raises
    ------
    ValueError
        If the target or a patient id is missing in a row, or there are too few patients
        or cases for the splits. Also if a class is missing from the training or test
        set of a split, a score needs to know the positive class, or the modalities,
        strategies or scores are invalid.
    TypeError
        If an argument has the wrong type.

    Warns
    -----
    LeakageWarning
        If rows are copies of other rows and there are no groups.
    DataWarning
        If a column of patients was found, rows have no modality, or sites are small.

    See Also
    --------
    skfusion.LateFusionClassifier : Estimator of a single modality.
    skfusion.ModalityImportance : Contribution of each modality to one model.

    Notes
    -----
    The singles of a late fusion are its members. Those of other fusions are fitted. If
    the modality is absent in a row, the prediction of a single is the class frequencies
    (or the mean) of the training rows. `notes_` reports the number of these rows.

    Under cross-validation, the statement is about models that are trained in this way.
    Scores are computed within each test set and averaged, weighted by the number of
    test patients. Standard errors are those of Nadeau and Bengio [2]_ for overlapping
    training sets, with sizes in patients. The claim that a fusion helps is tested
    against all single modalities at once (intersection-union test [3]_) and adjusted
    over the fusions by Holm's method. With one test set, the statement is about the
    fitted models, tested by DeLong's method, or by Obuchowski's for repeated patients.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.
    .. [2] Nadeau C, Bengio Y (2003). Inference for the generalization error. Machine
       Learning 52:239-281.
    .. [3] Berger RL (1982). Multiparameter hypothesis testing and acceptance sampling.
       Technometrics 24:295-300.

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
    0  image in late  roc_auc      0.79  0.73  0.84
    1    ehr in late  roc_auc      0.77  0.71  0.83
    2           late  roc_auc      0.90  0.86  0.93
    >>> result.verdict_.outcome
    'helps'
    """
    plan = plan_comparison(
        modalities_or_estimators,
        X,
        y,
        groups=groups,
        cv=cv,
        n_repeats=n_repeats,
        test=test,
        sites=sites,
        time=time,
        scoring=scoring,
        strategies=strategies,
        baselines=baselines,
        search=search,
        primary=primary,
        smallest_gain=smallest_gain,
        margin=margin,
        quick=quick,
        task=task,
        pos_label=pos_label,
        description=description,
        random_state=random_state,
    )
    return _carry_out(plan, n_jobs=n_jobs, verbose=verbose, checkpoint=checkpoint)


@dataclass(frozen=True)
class Plan:
    """Checked arguments of `compare_fusion`, resolved before the first fit.

    Attributes
    ----------
    strategies : list of Strategy
        Arms of the comparison.
    modalities : list of Modality
        Modalities of the cohort.
    study : Study
        Checked cohort.
    design : Design
        Splits.
    metrics : list of Metric
        Metrics to compute.
    claims : Claims
        What was declared.
    seed : int
        Seed of the folds and the estimators.
    quick : bool
        Whether p-values are left out.
    warnings : list of (str, type of Warning)
        Warnings to issue before the first fit.
    notes : list of str
        Caveats of the data.
    """

    strategies: list[builders.Strategy]
    modalities: list[Modality]
    study: Study
    design: Design
    metrics: list[Metric]
    claims: Claims
    seed: int
    quick: bool = False
    warnings: list[tuple[str, type[Warning]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def plan_comparison(
    modalities_or_estimators: Any,
    X: Any,
    y: Any,
    *,
    groups: Any = None,
    cv: Any = None,
    n_repeats: Any = "auto",
    test: Any = None,
    sites: Any = None,
    time: Any = None,
    scoring: Any = None,
    strategies: Iterable[str] | None = None,
    baselines: Any = "matched",
    search: Any = None,
    primary: str | None = None,
    smallest_gain: float | None = None,
    margin: float | None = None,
    quick: bool = False,
    task: str = "auto",
    pos_label: Any = None,
    description: str | None = None,
    random_state: Any = None,
) -> Plan:
    """Check the arguments of `compare_fusion` without fitting an estimator.

    Parameters
    ----------
    modalities_or_estimators, X, y : any
        As in `compare_fusion`, as are the other parameters.
    groups, cv, n_repeats, test, sites, time, scoring, strategies, baselines : any
        Splits, scores and arms.
    search, primary, smallest_gain, margin, quick, task, pos_label : any
        Searches, claims and target.
    description, random_state : any
        Caveat and seed.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError, TypeError
        As in `compare_fusion`, before the first fit.
    """
    given = modalities_or_estimators
    frame = as_frame(X)
    seed = _draw_seed(random_state)
    with _collected() as caught:
        target, kind = find_task(y, len(frame), task, given, pos_label)
        patients = find_patients(frame, groups, given)
        study = Study(frame, target, kind, patients.numbers, patients.column)
        metrics = _metrics(scoring, study)
        arms, modalities = _arms(
            given,
            study,
            patients.column,
            strategies=strategies,
            baselines=baselines,
            search=search,
            metric=metrics[0],
        )
        builders.check_arm_names(arms)
        claims = _claims(arms, primary, smallest_gain, margin)
        _check_names_of_repeats(n_repeats, arms)
        design = make_design(
            study,
            cv=cv,
            n_repeats=n_repeats,
            test=test,
            sites=sites,
            time=time,
            quick=quick,
            seed=seed,
        )
        _warn_before(study, design, modalities)
    caveat = description or _caveat(X)
    return Plan(
        arms,
        modalities,
        study,
        design,
        metrics,
        claims,
        seed,
        quick,
        [(str(warning.message), warning.category) for warning in caught],
        [caveat] if caveat else [],
    )


def context_of(plan: Plan, n_jobs: int | None = None) -> Context:
    """Return what fits the arms of a plan again.

    Parameters
    ----------
    plan : Plan
        The plan.
    n_jobs : int or None, default=None
        Number of parallel fits.

    Returns
    -------
    Context
    """
    request = Request(
        labels=any(metric.needs_labels for metric in plan.metrics),
        survival=any(metric.name == "integrated_brier" for metric in plan.metrics),
    )
    return Context(
        plan.strategies,
        plan.study,
        request,
        plan.seed,
        n_jobs,
        plan.modalities,
        plan.design,
    )


def _carry_out(
    plan: Plan, *, n_jobs: int | None, verbose: int, checkpoint: Any
) -> FusionComparison:
    """Fit the arms of a plan and collect the result."""
    for message, category in plan.warnings:
        warn_user(message, category)
    context = context_of(plan, n_jobs)
    request = context.request
    run = run_arms(
        plan.strategies,
        plan.study,
        plan.design,
        request,
        random_state=plan.seed,
        n_jobs=n_jobs,
        verbose=verbose,
        checkpoint=Checkpoint.of(checkpoint, plan.study, request),
    )
    result = collect(
        plan.strategies,
        run,
        plan.metrics,
        plan.modalities,
        plan.study,
        plan.design.first(max(run.n_repeats.values())),
        plan.claims,
        seed=plan.seed,
        quick=plan.quick,
        notes=plan.notes,
        warned=plan.warnings,
    )
    settings = {**result.settings_, "caveat": " ".join(plan.notes)}
    return replace(result, context_=context, settings_=settings)


@contextmanager
def _collected() -> Iterator[list[warnings.WarningMessage]]:
    """Collect warnings, so that the result can repeat them."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def _caveat(X: Any) -> str:
    return str(getattr(X, "attrs", {}).get("caveat", ""))


def _draw_seed(random_state: Any) -> int:
    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def _metrics(scoring: Any, study: Study) -> list[Metric]:
    task = study.task
    n_classes = len(task.classes) if task.strata_are_classes else None  # type: ignore[arg-type]
    return resolve_metrics(
        scoring,
        n_classes,
        kind="classes" if task.strata_are_classes else task.kind,
        unclear_classes=None if task.positive_is_known else task.classes,
    )


def _arms(
    given: Any,
    study: Study,
    column: Any,
    *,
    strategies: Iterable[str] | None,
    baselines: Any,
    search: Any,
    metric: Metric,
) -> tuple[list[builders.Strategy], list[Modality]]:
    names = [strategies] if isinstance(strategies, str) else strategies
    names = None if names is None else list(names)
    if isinstance(given, Mapping):
        arms, modalities = builders.from_estimators(given, study.X, groups=column)
    else:
        modalities = builders.find_modalities(given, study.X, groups=column)
        arms = builders.standard(modalities, names, task=study.task, groups=column)
    if search is not None:
        arms = builders.with_searches(
            arms,
            search,
            metric,
            task=study.task,
            has_groups=study.groups is not None,
        )
    if names is not None and "single" not in names:
        return arms, modalities
    arms = builders.with_baselines(
        arms, modalities, baselines, task=study.task, groups=column
    )
    return arms, modalities


def _claims(
    arms: list[builders.Strategy], primary: Any, smallest_gain: Any, margin: Any
) -> Claims:
    fusions = [arm.name for arm in arms if arm.role == "fusion"]
    if primary is not None and primary not in fusions:
        raise ValueError(
            f"{OWNER}: primary={primary!r} is not a fusion. The fusions are {fusions}."
        )
    for name, value in (("smallest_gain", smallest_gain), ("margin", margin)):
        if value is not None:
            check_number(value, name, OWNER, low=0, exclude_low=True, also="None")
    return Claims(primary, smallest_gain, margin)


def _check_names_of_repeats(n_repeats: Any, arms: list[builders.Strategy]) -> None:
    fusions = [arm.name for arm in arms if arm.role == "fusion"]
    named = list(n_repeats) if isinstance(n_repeats, Mapping) else []
    unknown = [name for name in named if name not in fusions]
    if unknown:
        raise ValueError(
            f"{OWNER}: n_repeats names {unknown}, which are no fusions. The fusions "
            f"are {fusions}."
        )


def _warn_before(study: Study, design: Design, modalities: list[Modality]) -> None:
    """Warn before the first fit about problems that every fit would report."""
    if design.kind == "sites":
        warn_of_small_sites(design, study)
    if not modalities:
        return
    if study.groups is None:
        warn_of_copies(study.X, [c for m in modalities for c in m.columns])
    present = presence_mask(modalities, study.X)
    nothing = np.flatnonzero(~present.any(axis=1))
    if len(nothing):
        warn_user(
            f"{OWNER}: {len(nothing)} of {len(present)} rows have no modality "
            f"at all, first at row position(s) {nothing[:5].tolist()}. "
            "They contribute nothing to training, and their prediction is the average "
            "of the training rows. Remove them if they are not cases of the study.",
            DataWarning,
        )
