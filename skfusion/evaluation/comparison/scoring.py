"""Scores of all arms with confidence intervals, and their paired contrasts.

The design decides how both are computed: corrected resampling for repeated folds,
DeLong's test or a bootstrap of patients for one test set, sites as units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion.evaluation.comparison.design import Design
from skfusion.evaluation.comparison.inference import (
    Claims,
    Contrast,
    difference_table,
    judge_fusions,
    pairs_to_contrast,
)
from skfusion.evaluation.comparison.running import Run
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import OWNER, Study
from skfusion.evaluation.metrics import Metric, Predictions
from skfusion.evaluation.statistics.auroc import (
    auroc_interval,
    cross_validated_auroc_interval,
    delong_test,
)
from skfusion.evaluation.statistics.bootstrap import (
    BootstrapEstimate,
    patient_bootstrap,
)
from skfusion.evaluation.statistics.resampling import (
    corrected_resampled_interval,
    corrected_resampled_ttest,
)

__all__ = [
    "Results",
    "Scored",
    "fold_table",
    "prediction_table",
    "score_and_test",
]


FEWEST_SPLITS = 5
FEWEST_SITES = 6
# With more sites, not all sign changes are enumerated.
MOST_ENUMERATED = 14
N_RESAMPLES = 2000
# A smaller width of an interval is 0.
ROUNDING = 1e-12
# Scores that are 0 if the score of each case is the least possible one.
PROPORTIONS = ("brier", "accuracy", "balanced_accuracy", "f1")


def fold_table(
    arms: Sequence[Strategy],
    run: Run,
    metrics: Sequence[Metric],
    study: Study,
    design: Design,
) -> pd.DataFrame:
    """Return the score of each arm on each split by each metric.

    Raises
    ------
    ValueError
        If a score is undefined on a split.
    """
    rows = []
    sizes = {
        (s.repeat, s.fold): (study.n_patients(s.train), study.n_patients(s.test))
        for s in design.splits
    }
    for arm in arms:
        for split in design.splits:
            fit = run.fits.get((arm.name, split.repeat, split.fold))
            if fit is None:
                continue
            n_train, n_test = sizes[split.repeat, split.fold]
            for metric in metrics:
                score = metric.score(
                    fit.predictions,
                    study.X.iloc[split.test],
                    study.y[split.test],
                    study.task.classes,
                )
                if not np.isfinite(score):
                    raise ValueError(
                        f"{OWNER}: {metric.label} of {arm.name!r} is {score} on fold "
                        f"{split.fold + 1} of {design.n_folds} ({len(split.test)} test "
                        "rows), so its mean is undefined. Use fewer folds or another "
                        "score."
                    )
                row = {
                    "strategy": arm.name,
                    "repeat": split.repeat,
                    "fold": split.fold,
                    "metric": metric.name,
                    "score": score,
                    "n_train": len(split.train),
                    "n_test": len(split.test),
                    "patients_train": n_train,
                    "patients_test": n_test,
                    "seconds": fit.seconds,
                }
                rows.append({**row, "site": split.site} if split.site else row)
    return pd.DataFrame(rows)


def prediction_table(
    arms: Sequence[Strategy], run: Run, study: Study, design: Design
) -> pd.DataFrame:
    """Return the predictions of all arms for the held-out rows of each repetition."""
    parts = [
        pd.DataFrame({"row": s.test, "repeat": s.repeat, "fold": s.fold})
        for s in design.splits
    ]
    table = pd.concat(parts, ignore_index=True)
    rows = table["row"].to_numpy()
    table["group"] = -1 if study.groups is None else study.groups[rows]
    table = table.assign(**_outcome_columns(study, rows))
    for arm in arms:
        found = [
            _prediction_columns(arm.name, fit.predictions, study)
            if (fit := run.fits.get((arm.name, s.repeat, s.fold))) is not None
            else pd.DataFrame(index=range(len(s.test)))
            for s in design.splits
        ]
        columns = pd.concat(found, ignore_index=True)
        table = pd.concat([table, columns], axis=1)
    order = ["repeat", "row", "fold"]
    return table.sort_values(order, kind="stable").reset_index(drop=True)


def _outcome_columns(study: Study, rows: np.ndarray) -> dict[str, np.ndarray]:
    y = study.y[rows]
    if study.task.kind == "survival":
        return {"event": y["event"], "time": y["time"]}
    if study.task.kind == "multilabel":
        return {f"y__{n}": y[:, j] for j, n in enumerate(study.task.labels)}
    return {"y": y}


def _prediction_columns(
    name: str, predictions: Predictions, study: Study
) -> pd.DataFrame:
    scores, task = predictions.scores, study.task
    if scores.ndim == 1:
        return pd.DataFrame({name: scores})
    if task.kind == "binary":
        return pd.DataFrame({name: scores[:, 1]})
    assert task.classes is not None
    names = task.labels if task.kind == "multilabel" else task.classes
    return pd.DataFrame({f"{name}__{c}": scores[:, j] for j, c in enumerate(names)})


@dataclass(frozen=True)
class Scored:
    """Scores of the arms of a comparison.

    Attributes
    ----------
    arms : list of Strategy
        Arms.
    metrics : list of Metric
        Metrics, of which the first one is the primary metric.
    study : Study
        Cohort.
    design : Design
        Splits.
    run : Run
        Fits.
    folds : DataFrame
        Result of `fold_table`.
    seed : int
        Seed of the bootstrap.
    quick : bool
        Whether p-values are left out.
    """

    arms: Sequence[Strategy]
    metrics: Sequence[Metric]
    study: Study
    design: Design
    run: Run
    folds: pd.DataFrame
    seed: int
    quick: bool

    @cached_property
    def _by_arm(self) -> dict[tuple[str, str], pd.Series]:
        """Scores by (repeat, fold) of each arm and metric."""
        return {
            (str(name), str(metric)): part.set_index(["repeat", "fold"])["score"]
            for (name, metric), part in self.folds.groupby(
                ["strategy", "metric"], sort=False
            )
        }

    @cached_property
    def _sizes(self) -> pd.DataFrame:
        """Patients of the training and the test set by (repeat, fold)."""
        columns = ["patients_train", "patients_test"]
        return self.folds.groupby(["repeat", "fold"])[columns].first()

    def _counts(self, splits: pd.Index) -> dict[str, Any]:
        sizes = self._sizes.loc[splits]
        tested = sizes["patients_test"].to_numpy()
        # Sites count equally, because a statement about sites has them as units.
        equal = self.design.kind == "sites"
        return {
            "n_train": sizes["patients_train"].to_numpy(),
            "n_test": tested,
            "weights": np.ones(len(tested)) if equal else tested,
        }

    # -- scores -----------------------------------------------------------------------

    def score_table(self) -> pd.DataFrame:
        """Return the score of each arm by each metric with a confidence interval."""
        rows = []
        for arm, metric in product(self.arms, self.metrics):
            values = self._by_arm[arm.name, metric.name]
            estimate = self._mean(values)
            low, high = self._limits(arm, metric, values)
            if self.design.kind != "sites" and not high - low > ROUNDING:
                low, high = self._limits_at_the_bound(metric, estimate, (low, high))
            rows.append(
                {
                    "strategy": arm.name,
                    "metric": metric.name,
                    "estimate": estimate,
                    "low": metric.clip(low),
                    "high": metric.clip(high),
                    "n_repeats": self.run.n_repeats[arm.name],
                    "n_folds": len(values),
                }
            )
        return pd.DataFrame(rows)

    def means(self, metric: Metric) -> dict[str, float]:
        """Return the score of each arm by a metric."""
        return {
            arm.name: self._mean(self._by_arm[arm.name, metric.name])
            for arm in self.arms
        }

    def _mean(self, values: pd.Series) -> float:
        """Return the mean over test sets, weighted by their patients."""
        weights = self._counts(values.index)["weights"]
        return float(np.average(values, weights=weights))

    def _limits(
        self, arm: Strategy, metric: Metric, values: pd.Series
    ) -> tuple[float, float]:
        is_auroc = self.has_delong(metric)
        if self.design.kind == "sites":
            return np.nan, np.nan
        if self.design.kind == "test":
            if is_auroc:
                positive, scores, groups = self._on_test_set(arm)
                found = auroc_interval(positive, scores, groups=groups)
                return found.low, found.high
            result = self._bootstrapped[metric.name]
            place = [other.name for other in self.arms].index(arm.name)
            return result.low[place], result.high[place]
        if is_auroc:
            return self._cross_validated_limits(arm)
        if len(values) < 2:
            return np.nan, np.nan
        found = corrected_resampled_interval(values, **self._counts(values.index))
        return found.low, found.high

    def _limits_at_the_bound(
        self, metric: Metric, estimate: float, limits: tuple[float, float]
    ) -> tuple[float, float]:
        """Return limits of a score that is the best or worst one on all test sets.

        They are those of Clopper and Pearson for the patients of the rarest class.
        Other limits stay as they are.
        """
        rows = np.unique(np.concatenate([split.test for split in self.design.splits]))
        strata = self.study.task.strata(self.study.y)
        of_class = [rows]
        if strata is not None:
            of_class = [rows[strata[rows] == k] for k in np.unique(strata[rows])]
        fewest = min(self.study.n_patients(part) for part in of_class)
        bound = 0.025 ** (1.0 / fewest)
        if metric.highest == 1.0 and estimate > 1.0 - ROUNDING:
            return bound, 1.0
        if metric.name in PROPORTIONS and estimate < ROUNDING:
            return 0.0, 1.0 - bound
        return limits

    def _cross_validated_limits(self, arm: Strategy) -> tuple[float, float]:
        """Return limits of the AUROC from the placements within the test sets."""
        study = self.study
        n_repeats, n_rows = self.run.n_repeats[arm.name], len(study.y)
        scores = np.full((n_repeats, n_rows), np.nan)
        folds = np.full((n_repeats, n_rows), -1)
        for split in self.design.splits:
            if split.repeat < n_repeats:
                fit = self.run.fits[arm.name, split.repeat, split.fold]
                scores[split.repeat, split.test] = fit.predictions.scores[:, 1]
                folds[split.repeat, split.test] = split.fold
        held_out = (folds >= 0).any(axis=0)  # own folds can leave rows out
        found = cross_validated_auroc_interval(
            study.task.numbers(study.y)[held_out],
            scores[:, held_out],
            folds[:, held_out],
            groups=None if study.groups is None else study.groups[held_out],
        )
        return found.low, found.high

    def _on_test_set(self, arm: Strategy) -> tuple[Any, np.ndarray, Any]:
        """Return outcome, scores and patients of a binary test set."""
        (split,) = self.design.splits
        study = self.study
        groups = None if study.groups is None else study.groups[split.test]
        scores = self.run.fits[arm.name, 0, 0].predictions.scores[:, 1]
        return study.task.numbers(study.y[split.test]), scores, groups

    def spread_table(self) -> pd.DataFrame:
        """Return the spread of the primary score over folds, repetitions and seeds."""
        metric = self.metrics[0]
        rows = []
        for arm in self.arms:
            values = self._by_arm[arm.name, metric.name]
            by_repeat = values.groupby("repeat")
            of_folds = np.sqrt(by_repeat.var(ddof=1).mean())
            means = by_repeat.mean()
            rows.append(
                {
                    "strategy": arm.name,
                    "sd_folds": float(of_folds),
                    "sd_repeats": float(means.std(ddof=1)),
                    "sd_seeds": self._sd_over_seeds(arm, metric),
                    "n_repeats": len(means),
                }
            )
        return pd.DataFrame(rows)

    def _sd_over_seeds(self, arm: Strategy, metric: Metric) -> float:
        """Return the standard deviation over seeds on the first split."""
        others = self.run.other_seeds.get(arm.name, [])
        if not others:
            return np.nan
        test = self.design.splits[0].test
        scores = [
            metric.score(
                fit.predictions,
                self.study.X.iloc[test],
                self.study.y[test],
                self.study.task.classes,
            )
            for fit in [self.run.fits[arm.name, 0, 0], *others]
        ]
        return float(np.std(scores, ddof=1))

    # -- contrasts --------------------------------------------------------------------

    def contrast(self, a: Strategy, b: Strategy, metric: Metric) -> Contrast:
        """Return the paired difference of two arms by a metric."""
        first = self._by_arm[a.name, metric.name]
        second = self._by_arm[b.name, metric.name]
        splits = first.index.intersection(second.index)
        first, second = first.loc[splits], second.loc[splits]
        if self.design.kind == "test":
            return self._test_set_contrast(a, b, metric)
        if self.design.kind == "sites":
            return _site_contrast((first - second).to_numpy())
        return self._fold_contrast(first, second)

    def _fold_contrast(self, first: pd.Series, second: pd.Series) -> Contrast:
        if len(first) < 2:
            only = float((first - second).iloc[0])
            return Contrast(only, np.nan, np.nan, np.nan, reason="there is one fold")
        found = corrected_resampled_ttest(first, second, **self._counts(first.index))
        reason, p = found.reason, found.pvalue
        if self.quick:
            reason, p = "one quick repetition has no test", np.nan
        elif not reason and np.isnan(p):
            reason = "the variance over folds cannot be estimated"
        return Contrast(
            found.difference,
            found.low,
            found.high,
            p,
            found.standard_error,
            found.df,
            reason,
        )

    def _test_set_contrast(self, a: Strategy, b: Strategy, metric: Metric) -> Contrast:
        if self.has_delong(metric):
            positive, first, groups = self._on_test_set(a)
            _, second, _ = self._on_test_set(b)
            found = delong_test(positive, first, second, groups=groups)
            low, high = found.interval
            return Contrast(
                found.difference,
                low,
                high,
                found.pvalue,
                found.standard_error,
                reason=found.reason,
            )
        names = [arm.name for arm in self.arms]
        place = len(names) * (1 + names.index(a.name)) + names.index(b.name)
        result = self._bootstrapped[metric.name]
        estimate, error = result.estimate[place], result.standard_error[place]
        if not error:
            return Contrast(
                estimate, estimate, estimate, 1.0 if not estimate else np.nan
            )
        reach = norm.ppf(0.975) * error
        p = 2.0 * norm.sf(abs(estimate) / error)
        return Contrast(estimate, estimate - reach, estimate + reach, float(p), error)

    def has_delong(self, metric: Metric) -> bool:
        """Return whether DeLong's test compares a metric on a test set."""
        return metric.name == "roc_auc" and self.study.task.kind == "binary"

    @cached_property
    def _bootstrapped(self) -> dict[str, BootstrapEstimate]:
        """Scores of all arms and all their differences on a test set, by metric."""
        (split,) = self.design.splits
        study = self.study
        groups = None if study.groups is None else study.groups[split.test]
        return {
            metric.name: patient_bootstrap(
                partial(self._scores_and_differences, metric),
                np.arange(len(split.test)),
                groups=groups,
                n_resamples=N_RESAMPLES,
                random_state=self.seed,
            )
            for metric in self.metrics
            if not self.has_delong(metric)
        }

    def _scores_and_differences(self, metric: Metric, rows: np.ndarray) -> np.ndarray:
        """Return the scores on rows of the test set, and all differences of two."""
        (split,) = self.design.splits
        chosen = split.test[rows]
        X, y = self.study.X.iloc[chosen], self.study.y[chosen]
        scores = np.array(
            [
                metric.score(
                    _rows_of(self.run.fits[arm.name, 0, 0].predictions, rows),
                    *(X, y, self.study.task.classes),
                )
                for arm in self.arms
            ]
        )
        return np.concatenate([scores, (scores[:, None] - scores).ravel()])


def _rows_of(predictions: Predictions, rows: np.ndarray) -> Predictions:
    labels, survival = predictions.labels, predictions.survival
    return Predictions(
        predictions.scores[rows],
        None if labels is None else labels[rows],
        None if survival is None else survival[rows],
        predictions.times,
    )


def _site_contrast(differences: np.ndarray) -> Contrast:
    """Return the mean difference over sites, with a test from six sites on.

    Under the null hypothesis, the sign of the difference of a site is random. With five
    sites, the smallest possible p-value is 0.06.
    """
    mean, n_sites = float(differences.mean()), len(differences)
    by_site = tuple(float(value) for value in differences)
    if n_sites < FEWEST_SITES:
        reason = f"{n_sites} sites are too few for a test, which needs {FEWEST_SITES}"
        return Contrast(mean, np.nan, np.nan, np.nan, reason=reason, by_site=by_site)
    if n_sites <= MOST_ENUMERATED:
        signs = np.array(list(product([-1.0, 1.0], repeat=n_sites)))
    else:
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (20_000, n_sites))
        signs[0] = 1.0
    changed = np.abs(signs @ differences)
    p = float((changed >= abs(differences.sum()) - 1e-12).mean())
    return Contrast(mean, np.nan, np.nan, p, by_site=by_site)


@dataclass(frozen=True)
class Results:
    """Scores, differences and tests of the arms of a design.

    Attributes
    ----------
    scored : Scored
        Scores of the arms.
    contrasts : dict of (str, str, str) to Contrast
        Paired differences by fusion, reference and metric.
    differences : DataFrame
        Table as in `FusionComparison.differences_`.
    tests : DataFrame
        Table as in `FusionComparison.tests_`.
    n_patients : int
        Number of patients, or rows without patients, in the test sets.
    """

    scored: Scored
    contrasts: Mapping[tuple[str, str, str], Contrast]
    differences: pd.DataFrame
    tests: pd.DataFrame
    n_patients: int


def score_and_test(
    arms: Sequence[Strategy],
    run: Run,
    metrics: Sequence[Metric],
    study: Study,
    design: Design,
    claims: Claims,
    *,
    seed: int,
    quick: bool = False,
) -> Results:
    """Score all arms, compare each fusion with its references, and test the claims.

    Parameters
    ----------
    arms : list of Strategy
        Arms of the comparison.
    run : Run
        Fits.
    metrics : list of Metric
        Metrics, of which the first one is the primary metric.
    study : Study
        Cohort of the test sets.
    design : Design
        Splits.
    claims : Claims
        What was declared before.
    seed : int
        Seed of the bootstrap.
    quick : bool, default=False
        Whether p-values are left out.

    Returns
    -------
    Results

    Raises
    ------
    ValueError
        If a score is undefined on a split.
    """
    folds = fold_table(arms, run, metrics, study, design)
    scored = Scored(arms, metrics, study, design, run, folds, seed, quick)
    contrasts = {
        (a.name, b.name, metric.name): scored.contrast(a, b, metric)
        for a, b, _ in pairs_to_contrast(arms)
        for metric in metrics
    }
    tested = np.unique(np.concatenate([split.test for split in design.splits]))
    n_patients = study.n_patients(tested)
    tests = judge_fusions(
        arms,
        metrics[0],
        scored.means(metrics[0]),
        contrasts,
        claims,
        n_patients=n_patients,
    )
    differences = difference_table(arms, metrics, contrasts)
    return Results(scored, contrasts, differences, tests, n_patients)
