"""Parallel fits of all arms on all splits, with progress and counted warnings."""

from __future__ import annotations

import builtins
import re
import sys
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from inspect import signature
from operator import itemgetter
from typing import Any, Protocol

import numpy as np
import pandas as pd
import sklearn.exceptions
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.base import clone

import skfusion.exceptions
from skfusion._fitting.metadata import fit_with_metadata
from skfusion._progress import progress
from skfusion.evaluation.comparison.checkpoint import Checkpoint, Fit
from skfusion.evaluation.comparison.design import Design, Split
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import OWNER, Study
from skfusion.evaluation.metrics import Predictions
from skfusion.exceptions import warn_user
from skfusion.fusion.class_weights import class_weight_of_rows
from skfusion.fusion.inner_estimators import seed
from skfusion.modality import Modality, presence_mask

__all__ = [
    "Context",
    "Request",
    "Run",
    "add_members",
    "fit_arm",
    "fit_on",
    "fit_split",
    "most_fits",
    "predict",
    "predict_members",
    "run_arms",
    "seeded",
    "seeds_of_repeats",
    "tell_once",
]


# `compare_fusion` issues these warnings once before the first fit. For a single, "no
# modality at all" only means that its modality is absent, and notes count such rows.
SAID_BEFORE = ("no modality at all", "looks like a patient id and repeats")
REPEATS_OF_NETWORKS = 3
N_OTHER_SEEDS = 2
REPEATS_IF_SLOW = 5
SLOW_SECONDS = 120.0
N_TIMES = 50


@dataclass(frozen=True)
class Run:
    """All fits of a comparison.

    Attributes
    ----------
    fits : dict of (str, int, int) to Fit
        Fits by name of the arm, repetition and fold.
    n_repeats : dict of str to int
        Number of repetitions of each arm.
    warnings : list of (type of Warning, str)
        Category and one line for each kind of warning of the fits.
    notes : list of str
        How many repetitions were chosen, and why.
    other_seeds : dict of str to list of Fit
        Fits of the first split with other seeds, of fusions that train a network.
    """

    fits: dict[tuple[str, int, int], Fit]
    n_repeats: dict[str, int]
    warnings: list[tuple[type[Warning], str]]
    notes: list[str]
    other_seeds: dict[str, list[Fit]] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """Kinds of predictions that the metrics need.

    Attributes
    ----------
    labels : bool
        Whether predicted classes are needed in addition to probabilities.
    survival : bool
        Whether survival probabilities are needed in addition to risks.
    """

    labels: bool
    survival: bool


@dataclass(frozen=True)
class Context:
    """Estimators and cohort of a comparison, to fit its arms again.

    Attributes
    ----------
    arms : list of Strategy
        Arms of the comparison.
    study : Study
        Cohort.
    request : Request
        Predictions that the metrics need.
    seed : int
        Seed of the estimators.
    n_jobs : int or None
        Number of parallel fits.
    modalities : list of Modality
        Modalities of the cohort, empty if they are not known.
    design : Design or None
        Splits of the comparison.
    """

    arms: list[Strategy]
    study: Study
    request: Request
    seed: int
    n_jobs: int | None
    modalities: list[Modality] = field(default_factory=list)
    design: Design | None = None

    @property
    def splits(self) -> list[Split]:
        """Splits of the first repetition, empty without a design."""
        return [] if self.design is None else self.design.first(1).splits


def run_arms(
    arms: list[Strategy],
    study: Study,
    design: Design,
    request: Request,
    *,
    random_state: int,
    n_jobs: int | None,
    verbose: int,
    checkpoint: Checkpoint,
) -> Run:
    """Fit every arm on the training set of every split and predict the test set.

    Parameters
    ----------
    arms : list of Strategy
        Arms of the comparison.
    study : Study
        Cohort.
    design : Design
        Splits. Arms with a network use the first repetitions only.
    request : Request
        Predictions that the metrics need.
    random_state : int
        Seed, from which each repetition has its own seed of the estimators.
    n_jobs : int or None
        Number of fits that run in parallel.
    verbose : int
        If not 0, progress is printed to standard error.
    checkpoint : Checkpoint
        Finished fits of an interrupted run.

    Returns
    -------
    Run
    """
    fitted = [arm for arm in arms if arm.estimator is not None]
    seeds = seeds_of_repeats(random_state, design.n_repeats)
    pool = Parallel(n_jobs=n_jobs, return_as="generator")

    def run(
        tasks: list[tuple[Strategy, Split, int]],
        title: str,
        seconds: Sequence[float] = (),
    ) -> list[Fit]:
        order = _longest_first(tasks, seconds)
        ordered = [tasks[place] for place in order]
        results = pool(
            delayed(fit_arm)(arm, study, split, request, seed, checkpoint)
            for arm, split, seed in ordered
        )
        steps = [_step(arm, split, design) for arm, split, _ in ordered]
        expected = [seconds[place] for place in order] if len(seconds) else []
        done = _with_progress(results, steps, title, expected, verbose)
        return [
            fit for _, fit in sorted(zip(order, done, strict=True), key=itemgetter(0))
        ]

    first, later = _phases(fitted, design)
    tasks = [(arm, split, random_state) for arm, split in first]
    if verbose > 0:
        _announce(len(first), len(later))
    fits = _by_place(tasks, run(tasks, "Compare, first fold"))
    n_repeats, notes = _repeats(fitted, design, fits)
    tasks = [
        (arm, split, int(seeds[split.repeat]))
        for arm, split in later
        if split.repeat < n_repeats[arm.name]
    ]
    if verbose > 0 and tasks:
        _announce_time(tasks, fits, n_jobs)
    expected = [fits[arm.name, 0, 0].seconds for arm, _, _ in tasks]
    fits |= _by_place(tasks, run(tasks, "Compare", expected) if tasks else [])
    again = _with_other_seeds(fitted, design, random_state)
    found = run(again, "Compare, other seeds") if again else []
    other_seeds: dict[str, list[Fit]] = {}
    for (arm, _, _), fit in zip(again, found, strict=True):
        other_seeds.setdefault(arm.name, []).append(fit)
    add_members(arms, fits, n_repeats)
    return Run(fits, n_repeats, tell_once(arms, fits), notes, other_seeds)


def _longest_first(
    tasks: Sequence[tuple[Strategy, Split, int]], seconds: Sequence[float]
) -> list[int]:
    """Return the order of fits: long ones first, so that no worker waits for the last.

    Fits whose seconds are not known begin with those that train a network. joblib
    compares the memory of a worker with that after its first fit, and replaces the
    process if it has grown by 300 MB, which a network does.
    """

    def length(place: int) -> tuple[float, ...]:
        if len(seconds):
            return (seconds[place],)
        arm = tasks[place][0]
        return arm.trains_network, arm.role == "fusion"

    return sorted(range(len(tasks)), key=length, reverse=True)


def _with_progress(
    results: Iterable[Fit],
    steps: list[str],
    title: str,
    seconds: Sequence[float],
    verbose: int,
) -> list[Fit]:
    """Return fits as they are done, with the expected seconds of each."""
    done = []
    with progress(
        len(steps),
        verbose=verbose,
        title=title,
        unit="fit",
        steps=steps,
        seconds=seconds,
    ) as advance:
        for fit in results:
            advance(1)
            done.append(fit)
    return done


def seeds_of_repeats(random_state: int, n_repeats: int) -> np.ndarray:
    """Return the seed of the estimators in each repetition, the user's in the first."""
    rng = np.random.RandomState(random_state)
    seeds = rng.randint(np.iinfo(np.int32).max, size=n_repeats)
    seeds[0] = random_state
    return seeds


def _by_place(
    tasks: list[tuple[Strategy, Split, int]], fits: list[Fit]
) -> dict[tuple[str, int, int], Fit]:
    return {
        (arm.name, split.repeat, split.fold): fit
        for (arm, split, _), fit in zip(tasks, fits, strict=True)
    }


def _announce(n_first: int, n_later: int) -> None:
    print(
        f"{OWNER}: {n_first + n_later} fits at most. The time is estimated after the "
        f"first {n_first}.",
        file=sys.stderr,
    )


def _announce_time(
    tasks: list[tuple[Strategy, Split, int]],
    fits: dict[tuple[str, int, int], Fit],
    n_jobs: int | None,
) -> None:
    seconds = sum(fits[arm.name, 0, 0].seconds for arm, _, _ in tasks)
    minutes = seconds / effective_n_jobs(n_jobs) / 60
    print(
        f"{OWNER}: {len(tasks)} fits are left, about {max(minutes, 0.1):.1f} minutes.",
        file=sys.stderr,
    )


def _with_other_seeds(
    arms: list[Strategy], design: Design, random_state: int
) -> list[tuple[Strategy, Split, int]]:
    """Return fits of the first split that show how much a network depends on its seed.

    The folds and the seeds change together over repetitions.
    """
    if design.kind != "folds" or design.n_repeats == 1:
        return []
    seeds = np.random.RandomState([random_state, 1]).randint(
        np.iinfo(np.int32).max, size=N_OTHER_SEEDS
    )
    return [
        (arm, design.splits[0], int(seed))
        for arm in arms
        if arm.trains_network
        and arm.role == "fusion"
        and _most_repeats(arm, design) > 1
        for seed in seeds
    ]


def _step(arm: Strategy, split: Split, design: Design) -> str:
    where = f"fold {split.fold + 1} of {design.n_folds}"
    if design.n_repeats > 1:
        where += f", repetition {split.repeat + 1}"
    return f"{arm.label}, {where}"


def most_fits(arms: Sequence[Strategy], design: Design) -> int:
    """Return the largest number of fits of a comparison.

    Parameters
    ----------
    arms : sequence of Strategy
        Arms of the comparison.
    design : Design
        Splits.

    Returns
    -------
    int
        Number without those of a search. There are fewer if the number of repetitions
        is automatic and a repetition is slow.
    """
    fitted = [arm for arm in arms if arm.estimator is not None]
    first, later = _phases(fitted, design)
    return len(first) + len(later) + len(_with_other_seeds(fitted, design, 0))


def _phases(
    arms: list[Strategy], design: Design
) -> tuple[list[tuple[Strategy, Split]], list[tuple[Strategy, Split]]]:
    """Return the fits of the first fold, whose time is measured, and the others."""
    tasks = [
        (arm, split)
        for arm in arms
        for split in design.splits
        if split.repeat < _most_repeats(arm, design)
    ]
    first = [task for task in tasks if task[1].repeat == 0 and task[1].fold == 0]
    later = [task for task in tasks if task[1].repeat or task[1].fold]
    return first, later


def _most_repeats(arm: Strategy, design: Design) -> int:
    chosen = design.repeats_of.get(arm.fusion or arm.name)
    if chosen is not None:
        return min(chosen, design.n_repeats)
    if design.is_automatic and arm.trains_network:
        return min(REPEATS_OF_NETWORKS, design.n_repeats)
    return design.n_repeats


def _repeats(
    arms: list[Strategy], design: Design, fits: dict[Any, Fit]
) -> tuple[dict[str, int], list[str]]:
    """Choose the number of repetitions of each arm before any score is computed."""
    n_repeats = {arm.name: _most_repeats(arm, design) for arm in arms}
    if not design.is_automatic or design.n_repeats == 1:
        return n_repeats, []
    notes = []
    seconds = sum(fits[arm.name, 0, 0].seconds for arm in arms)
    per_repeat = seconds * design.n_folds
    if per_repeat > SLOW_SECONDS:
        n_repeats = {k: min(n, REPEATS_IF_SLOW) for k, n in n_repeats.items()}
        notes.append(
            f"The folds were repeated {REPEATS_IF_SLOW} times at most, because the "
            "first fits suggested that one repetition takes about "
            f"{per_repeat / 60:.0f} minutes of computing. A set number of repetitions "
            "(n_repeats, --repeats) does not depend on the machine."
        )
    for name, number in design.repeats_of.items():
        label = next(arm.label for arm in arms if arm.name == name)
        notes.append(
            f"{label.capitalize()} and its single modalities use {number} repetition"
            f"{'s' * (number != 1)}, as declared. Each difference uses the repetitions "
            "that both strategies have."
        )
    networks = [
        arm.label
        for arm in arms
        if arm.trains_network and (arm.fusion or arm.name) not in design.repeats_of
    ]
    if networks:
        notes.append(
            f"Strategies that train a network use {REPEATS_OF_NETWORKS} repetitions. "
            "Each difference uses the repetitions that both strategies have."
        )
    return n_repeats, notes


def fit_arm(
    arm: Strategy,
    study: Study,
    split: Split,
    request: Request,
    random_state: int,
    checkpoint: Checkpoint,
    external: pd.DataFrame | None = None,
) -> Fit:
    """Fit an arm on a split and predict its test set, or read the finished fit.

    Parameters
    ----------
    arm : Strategy
        Arm of the comparison.
    study : Study
        Cohort.
    split : Split
        Training and test rows.
    request : Request
        Predictions that the metrics need.
    random_state : int
        Seed of the estimator.
    checkpoint : Checkpoint
        Finished fits.
    external : DataFrame or None, default=None
        Rows of another cohort to predict in place of the test set.

    Returns
    -------
    Fit
    """
    key = checkpoint.key(arm, split, random_state)
    with warnings.catch_warnings(record=True) as of_file:
        warnings.simplefilter("always")
        stored = checkpoint.read(key)
    if stored is not None:
        return stored
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        try:
            estimator = seeded(arm.estimator, random_state)
            fit_on(estimator, study, split.train)
            held_out = study.X.iloc[split.test] if external is None else external
            predictions = predict(estimator, held_out, study, split.train, request)
            members = predict_members(arm, estimator, held_out, study, split.train)
        except (ValueError, TypeError) as error:
            where = f"{arm.name!r}, {_where(split)}"
            error.args = (f"{OWNER}, {where}: {error}",)
            raise
    chosen = getattr(estimator, "best_params_", None)
    fit = Fit(
        predictions,
        time.perf_counter() - start,
        _told(caught),
        members,
        None if chosen is None else {k: _shown(v) for k, v in chosen.items()},
    )
    checkpoint.write(key, fit)
    # The file is whole now, so it does not repeat that it was damaged.
    return replace(fit, warnings=_told(of_file) + fit.warnings)


def _told(caught: Sequence[warnings.WarningMessage]) -> list[tuple[str, str]]:
    """Return category and message of warnings that were not issued before."""
    return [
        (warning.category.__name__, str(warning.message))
        for warning in caught
        if not any(part in str(warning.message) for part in SAID_BEFORE)
    ]


def _where(split: Split) -> str:
    return f"fold {split.fold + 1}" + (
        f" of repetition {split.repeat + 1}" if split.repeat else ""
    )


def _shown(value: Any) -> str:
    return " ".join(str(value).split())[:80]


def seeded(estimator: Any, random_state: int) -> Any:
    """Return a clone whose seeds that are None are set from `random_state`."""
    ready = clone(estimator)
    # A matched single gets the seed of its fusion at this level.
    if ready.get_params(deep=False).get("random_state", 0) is None:
        ready.set_params(random_state=random_state)
    return seed(ready, np.random.RandomState(random_state))


def fit_on(estimator: Any, study: Study, rows: np.ndarray) -> Any:
    """Fit an estimator on rows of the cohort, with patients for all of its splits."""
    X, y = study.X.iloc[rows], study.y[rows]
    groups = None if study.groups is None else study.groups[rows]
    fit_with_metadata(estimator, X, y, {"groups": groups})
    return estimator


def fit_split(arm: Strategy, context: Context, split: Split) -> Any:
    """Return the model of an arm for a split, fitted as it was in the comparison."""
    seeds = seeds_of_repeats(context.seed, split.repeat + 1)
    estimator = seeded(arm.estimator, int(seeds[split.repeat]))
    return fit_on(estimator, context.study, split.train)


# -- predictions ----------------------------------------------------------------------


def predict(
    estimator: Any,
    X: pd.DataFrame,
    study: Study,
    train: np.ndarray | None,
    request: Request,
) -> Predictions:
    """Predict rows in the form that the metrics need.

    Parameters
    ----------
    estimator : estimator
        Fitted estimator.
    X : DataFrame of shape (n_test, n_columns)
        Rows to predict.
    study : Study
        Cohort, for the classes and the times of a survival analysis.
    train : ndarray of int or None
        Training rows, None for all rows.
    request : Request
        Predictions that the metrics need.

    Returns
    -------
    Predictions

    Raises
    ------
    TypeError
        If a classifier has no probabilities.
    ValueError
        If a prediction is missing, or a probability is outside of [0, 1].
    """
    task = study.task
    if task.kind == "regression":
        return Predictions(_finite(estimator.predict(X)))
    if task.kind == "survival":
        return _predict_survival(estimator, X, study, train, request)
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"{type(estimator).__name__} has no predict_proba, which the comparison "
            "needs. Wrap it in sklearn.calibration.CalibratedClassifierCV."
        )
    scores = estimator.predict_proba(X)
    if isinstance(scores, list):  # one table of two classes per label
        scores = np.column_stack([part[:, -1] for part in scores])
    scores = _finite(scores)
    outside = int(((scores < -1e-9) | (scores > 1 + 1e-9)).any(axis=1).sum())
    if outside:
        raise ValueError(
            f"predict_proba of {type(estimator).__name__} is outside of [0, 1] in "
            f"{outside} of {len(scores)} rows. Calibrate it, or return probabilities."
        )
    if task.classes is not None and task.kind != "multilabel":
        scores = scores[:, np.argsort(np.argsort(task.classes))]
    return Predictions(scores, estimator.predict(X) if request.labels else None)


def _finite(values: Any) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    bad = int((~np.isfinite(array)).reshape(len(array), -1).any(axis=1).sum())
    if bad:
        raise ValueError(f"The prediction is missing or infinite in {bad} rows.")
    return array


def _predict_survival(
    estimator: Any,
    X: pd.DataFrame,
    study: Study,
    train: np.ndarray | None,
    request: Request,
) -> Predictions:
    risk = _finite(estimator.predict(X))
    if not request.survival or not hasattr(estimator, "predict_survival_function"):
        return Predictions(risk)
    times = _times_to_score(study.y if train is None else study.y[train])
    if "times" in signature(estimator.predict_survival_function).parameters:
        curves = estimator.predict_survival_function(X, times=times)
    else:  # as in scikit-survival, one function per row
        curves = [f(times) for f in estimator.predict_survival_function(X)]
    return Predictions(risk, None, np.asarray(np.vstack(list(curves))), times)


def _times_to_score(y: np.ndarray) -> np.ndarray:
    """Return times between the 10th and the 90th percentile of the event times."""
    events = y["time"][y["event"]]
    low, high = np.quantile(events, [0.1, 0.9])
    return np.unique(np.linspace(low, high, N_TIMES))


def predict_members(
    arm: Strategy, estimator: Any, X: pd.DataFrame, study: Study, train: np.ndarray
) -> dict[str, Predictions]:
    """Return the predictions of the members of a late fusion, by modality.

    The result is empty for other estimators.
    """
    if arm.role != "fusion" or not hasattr(estimator, "aggregation"):
        return {}
    found = {}
    encoded = estimator.encode_modalities(X)
    for modality in estimator.modality_specs():
        scores = np.array(encoded[modality.name], dtype=np.float64)
        absent = np.isnan(scores).all(axis=1)
        if absent.any():
            scores[absent] = _average_with(modality, estimator, study, train)
        result = np.asarray(estimator.target_.result(scores))
        found[modality.name] = _member_predictions(result, study, estimator)
    return found


def _average_with(
    modality: Modality, estimator: Any, study: Study, train: np.ndarray
) -> np.ndarray:
    """Return the average of the training rows with a modality.

    A fusion of this modality alone predicts it for rows without the modality.
    """
    present = presence_mask([modality], study.X.iloc[train])[:, 0]
    target = copy(estimator.target_)
    y = target.encode(study.y[train])
    y = y[present] if present.any() else y
    class_weight = getattr(estimator, "class_weight", None)
    weights = None
    if class_weight is not None:
        weights = class_weight_of_rows(
            class_weight,
            y,
            None,
            classes=estimator.classes_ if target.kind == "classes" else None,
            owner=OWNER,
        )
    target.summarise(y, weights)
    return np.asarray(target.fallback)


def _member_predictions(
    result: np.ndarray, study: Study, estimator: Any
) -> Predictions:
    task = study.task
    if task.kind in ("regression", "survival"):
        return Predictions(result.reshape(len(result)))
    if task.kind == "multilabel" or task.classes is None:
        return Predictions(result)
    labels = np.asarray(estimator.classes_)[result.argmax(axis=1)]
    return Predictions(result[:, np.argsort(np.argsort(task.classes))], labels)


def add_members(
    arms: Sequence[Strategy],
    fits: dict[tuple[str, int, int], Fit],
    n_repeats: dict[str, int],
) -> None:
    """Add the fits of singles that are members of a late fusion."""
    for arm in arms:
        if arm.estimator is not None:
            continue
        n_repeats[arm.name] = n_repeats[str(arm.fusion)]
        for (name, repeat, fold), fit in list(fits.items()):
            if name == arm.fusion:
                member = fit.members[str(arm.modality)]
                fits[arm.name, repeat, fold] = Fit(member, 0.0, [])


# -- warnings -------------------------------------------------------------------------


class _Told(Protocol):
    """What has warned."""

    @property
    def warnings(self) -> list[tuple[str, str]]: ...


def tell_once(
    arms: Sequence[Strategy], fits: Mapping[tuple[str, int, int], _Told]
) -> list[tuple[type[Warning], str]]:
    """Issue the warnings of the fits once, also those that differ in numbers only.

    Parameters
    ----------
    arms : sequence of Strategy
        Arms, in the order of the result.
    fits : mapping of (str, int, int) to Fit
        Fits, or other results with warnings, by name of the arm, repetition and fold.

    Returns
    -------
    list of (type of Warning, str)
        Category and one line for each kind of warning.
    """
    seen: dict[tuple[str, str], list[tuple[str, str]]] = {}
    n_fits = dict.fromkeys((arm.name for arm in arms), 0)
    order = {arm.name: number for number, arm in enumerate(arms)}
    for (arm, *_), fit in sorted(
        fits.items(), key=lambda item: (order[item[0][0]], *item[0][1:])
    ):
        n_fits[arm] += 1
        for of_kind, text in fit.warnings:
            kind = re.sub(r"\d+", "#", text)
            seen.setdefault((of_kind, kind), []).append((arm, text))
    lines = []
    for (of_kind, _), told in seen.items():
        names = list(dict.fromkeys(name for name, _ in told))
        who = ", ".join(map(repr, names[:4])) + (", ..." if len(names) > 4 else "")
        total = sum(n_fits[name] for name in names)
        times = f"{len(told)} times in {total} fits, first warning: "
        line = f"{who} warned {times if len(told) > 1 else ''}{_in_a_line(told[0][1])}"
        category = _category(of_kind)
        warn_user(f"{OWNER}, {line}", category)
        lines.append((category, line))
    return lines


def _in_a_line(text: str) -> str:
    """Return a warning without the traceback that scikit-learn adds to some."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 3:
        lines = [lines[0], lines[-1]]
    return " ".join(lines)


def _category(name: str) -> type[Warning]:
    """Return the category of a warning by its name, UserWarning if it is not known."""
    for module in (skfusion.exceptions, sklearn.exceptions, builtins):
        found = getattr(module, name, None)
        if isinstance(found, type) and issubclass(found, Warning):
            return found
    return UserWarning
