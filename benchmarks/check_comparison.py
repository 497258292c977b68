"""Check: how often the verdict of a comparison contradicts the truth, and its power.

Cohorts are simulated and each one is compared by 10 x 5 folds. The estimators are
linear models in numpy, fitted on all folds at once. Splits, scores of folds, contrasts,
claims and verdict are those of `compare_fusion`. The true score of an arm is its mean
AUROC over the cohorts, of models trained on four fifths of a cohort, on large test
sets.

- A claim ("helps", "worse", "unmatched") is an error if the true differences contradict
  it. Differences within two Monte Carlo standard errors of 0 count as 0, so that any
  claim about their sign is an error. In a cohort, one error of any fusion counts.
- Power is the share of verdicts "helps" where fusion does help, beside that of the same
  rules with z tests that know the standard deviation of each difference.
- Coverage is that of the 95% interval of the AUROC of the first fusion.

Errors must stay below 8 % plus two Monte Carlo standard errors in each situation and
below 5 % on average, and power must reach 80 % of that of the z tests.

Run: python benchmarks/check_comparison.py [--seeds 400] [--designs exch-100 noise-200]
"""

from __future__ import annotations

import argparse
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit
from scipy.stats import norm

from skfusion.evaluation.comparison.design import Design, make_design
from skfusion.evaluation.comparison.inference import (
    Claims,
    Contrast,
    judge_fusions,
    pairs_to_contrast,
)
from skfusion.evaluation.comparison.running import Fit, Run
from skfusion.evaluation.comparison.scoring import score_and_test
from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.comparison.study import Study, Task
from skfusion.evaluation.comparison.verdict import facts_of, judge
from skfusion.evaluation.metrics import Metric, Predictions, resolve_metrics

MOST_ERRORS, MEAN_ERRORS, LEAST_POWER = 8.0, 5.0, 0.8
N_TEST = 4000  # cases of the large test set of each cohort
N_MODELS = 2  # models of each arm that it tests
WITHIN = 0.8  # correlation of the rows of a patient


# -- situations -----------------------------------------------------------------------


@dataclass(frozen=True)
class Arm:
    """An arm with its learner.

    Attributes
    ----------
    strategy : Strategy
        Arm of the comparison.
    learner : {"logistic", "lda", "products", "mean"}
        Ridge logistic regression, linear discriminant, ridge logistic regression with
        products of all columns, or mean of the log-odds of other arms.
    parts : tuple of str
        Modalities, or arms whose log-odds are averaged.
    """

    strategy: Strategy
    learner: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Situation:
    """A population and the arms that are compared in it.

    Attributes
    ----------
    name : str
        Name on the command line.
    n_patients : int
        Patients of a cohort.
    columns : dict of str to int
        Number of columns of each modality.
    signal : dict of str to float
        Standard deviation of the contribution of a modality to the log-odds, which is
        the sum of its first four columns.
    arms : list of Arm
        Arms.
    interaction : float
        Factor of the product of the first two columns of the record in the log-odds.
    intercept : float
        Intercept of the log-odds.
    rows_per_patient : int
        Rows of each patient. Columns and outcome go together within a patient.
    at_par : bool
        Whether all true differences are 0 by symmetry.
    """

    name: str
    n_patients: int
    columns: Mapping[str, int]
    signal: Mapping[str, float]
    arms: Sequence[Arm]
    interaction: float = 0.0
    intercept: float = 0.0
    rows_per_patient: int = 1
    at_par: bool = False

    def draw(
        self, rng: np.random.Generator, n_patients: int
    ) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Draw the columns of each modality and the outcome of patients."""
        n_rows = n_patients * self.rows_per_patient
        blocks = {
            name: self._normal(rng, n_patients, n_columns)
            for name, n_columns in self.columns.items()
        }
        odds = np.full(n_rows, float(self.intercept))
        for name, size in self.signal.items():
            odds += 0.5 * size * blocks[name][:, :4].sum(axis=1)
        if self.interaction:
            odds += self.interaction * blocks["record"][:, :2].prod(axis=1)
        if self.rows_per_patient > 1:
            odds += np.repeat(rng.normal(size=n_patients), self.rows_per_patient)
        return blocks, (rng.random(n_rows) < expit(odds)).astype(int)

    def _normal(
        self, rng: np.random.Generator, n_patients: int, n_columns: int
    ) -> np.ndarray:
        if self.rows_per_patient == 1:
            return rng.normal(size=(n_patients, n_columns))
        of_patient = rng.normal(size=(n_patients, n_columns))
        of_patient = np.repeat(of_patient, self.rows_per_patient, axis=0)
        of_row = rng.normal(size=of_patient.shape)
        return np.sqrt(WITHIN) * of_patient + np.sqrt(1 - WITHIN) * of_row


def single(modality: str, fusion: str, learner: str, *parts: str) -> Arm:
    """Return an arm that a fusion is compared with."""
    name = f"{modality} in {fusion}"
    strategy = Strategy(name, name, "single", None, modality, fusion)
    return Arm(strategy, learner, parts or (modality,))


def early(names: Sequence[str], learner: str = "logistic") -> list[Arm]:
    """Return early fusion and its single modalities."""
    fusion = Arm(Strategy("early", "early", "fusion", None), learner, tuple(names))
    return [*(single(name, "early", learner) for name in names), fusion]


def late(names: Sequence[str]) -> list[Arm]:
    """Return late fusion and its members, which are linear discriminants."""
    members = [single(name, "late", "lda") for name in names]
    parts = tuple(member.strategy.name for member in members)
    return [*members, Arm(Strategy("late", "late", "fusion", None), "mean", parts)]


def situations() -> list[Situation]:
    """Return the situations of the check."""
    pair = ("record", "image")
    both = [*early(pair), *late(pair)]
    six = [f"noise_{number}" for number in range(6)]
    # The record with one of two blocks of noise: equal by symmetry.
    exchanged = [
        single("record", "early", "logistic", "record", "noise_b"),
        Arm(
            Strategy("early", "early", "fusion", None),
            "logistic",
            ("record", "noise_a"),
        ),
    ]
    small = {"record": 8, "noise_a": 8, "noise_b": 8}
    large = {"record": 8, "noise_a": 100, "noise_b": 100}
    eights = {"record": 8, "image": 8}
    quads = {"record": 4, "image": 4}
    trees = Arm(
        Strategy("record, products", "record, products", "single", None, "record"),
        "products",
        ("record",),
    )
    one = {"record": 1.05}
    equal = {"record": 0.84, "image": 0.84}
    unequal = {"record": 1.17, "image": 0.86}
    small_gain = {"record": 1.1, "image": 0.45}
    return [
        Situation("exch-100", 100, small, one, exchanged, at_par=True),
        Situation("exch-200", 200, small, one, exchanged, at_par=True),
        Situation("exch-600", 600, small, one, exchanged, at_par=True),
        Situation("exch-rare-400", 400, small, one, exchanged, 0, -2.0, 1, at_par=True),
        Situation("exch-60x4", 60, small, one, exchanged, 0, 0, 4, at_par=True),
        Situation("hd-100", 100, large, one, exchanged, at_par=True),
        Situation("hd-200", 200, large, one, exchanged, at_par=True),
        Situation("noise-100", 100, eights, one, early(pair)),
        Situation("noise-200", 200, eights, one, early(pair)),
        Situation(
            "six-noise-200",
            200,
            dict.fromkeys(six, 4),
            {},
            [*early(six), *late(six)],
            at_par=True,
        ),
        Situation("null-200", 200, eights, {}, both, at_par=True),
        Situation("null-60x4", 60, eights, {}, both, 0, 0, 4, at_par=True),
        Situation("record-noise-200", 200, eights, one, both),
        Situation(
            "interaction-400",
            400,
            quads,
            {},
            [*early(pair, "products"), *late(pair)],
            2,
        ),
        Situation(
            "learner-400",
            400,
            quads,
            {"record": 0.9, "image": 0.9},
            [*late(pair), trees],
            2,
        ),
        Situation("equal-200", 200, eights, equal, both),
        Situation("gain-055-200", 200, eights, unequal, both),
        Situation("gain-017-1000", 1000, eights, small_gain, both),
        Situation("equal-one-200", 200, eights, equal, early(pair)),
        Situation("gain-055-one-200", 200, eights, unequal, early(pair)),
        Situation("gain-017-one-1000", 1000, eights, small_gain, early(pair)),
    ]


# -- learners -------------------------------------------------------------------------


def expanded(columns: np.ndarray, learner: str) -> np.ndarray:
    """Return columns, their products if the learner has them, and a constant."""
    parts = [columns]
    if learner == "products":
        first, second = np.triu_indices(columns.shape[1], 1)
        parts.append(columns[:, first] * columns[:, second])
    return np.hstack([*parts, np.ones((len(columns), 1))])


def logistic(X: np.ndarray, y: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Fit ridge logistic regressions (C = 1) on several training sets by Newton steps.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_columns)
        Columns, of which the last is constant and not penalised.
    y : ndarray of shape (n_rows,)
        Outcome.
    trained : ndarray of bool of shape (n_fits, n_rows)
        Rows of each training set.

    Returns
    -------
    ndarray of shape (n_fits, n_columns)
    """
    penalty = np.ones(X.shape[1])
    penalty[-1] = 1e-8
    weights = np.zeros((len(trained), X.shape[1]))
    for _ in range(8):
        p = expit(weights @ X.T)
        gradient = (trained * (y - p)) @ X - penalty * weights
        curvature = trained * p * (1 - p)
        hessian = (X.T * curvature[:, None, :]) @ X + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
        weights += step
        if np.abs(step).max() < 1e-3:
            break
    return weights


def discriminant(X: np.ndarray, y: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Fit linear discriminants on several training sets, as `logistic` does."""
    columns = X[:, :-1]
    means, covariance, sizes = [], 0.0, []
    for label in (0, 1):
        rows = trained * (y == label)
        size = rows.sum(axis=1)
        mean = rows @ columns / size[:, None]
        moment = (columns.T * rows[:, None, :]) @ columns
        covariance += moment - size[:, None, None] * mean[:, :, None] * mean[:, None, :]
        means.append(mean)
        sizes.append(size)
    covariance = covariance / (sizes[0] + sizes[1] - 2)[:, None, None]
    # A column can be constant in a training set.
    covariance = covariance + 1e-6 * np.eye(columns.shape[1])
    difference = means[1] - means[0]
    slopes = np.linalg.solve(covariance, difference[:, :, None])[:, :, 0]
    middle = ((means[0] + means[1]) / 2 * slopes).sum(axis=1)
    intercept = np.log(sizes[1] / sizes[0]) - middle
    return np.hstack([slopes, intercept[:, None]])


def log_odds(
    arms: Sequence[Arm],
    blocks: Mapping[str, np.ndarray],
    y: np.ndarray,
    trained: np.ndarray,
    fresh: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return log-odds of all rows by each fit, and of fresh cases by the first fits."""
    inside: dict[str, np.ndarray] = {}
    outside: dict[str, np.ndarray] = {}
    for arm in arms:
        name = arm.strategy.name
        if arm.learner == "mean":
            for found in (inside, outside):
                found[name] = np.mean([found[part] for part in arm.parts], axis=0)
            continue
        X, new = (
            expanded(np.hstack([of[part] for part in arm.parts]), arm.learner)
            for of in (blocks, fresh)
        )
        fit = discriminant if arm.learner == "lda" else logistic
        weights = fit(X, y, trained)
        inside[name] = weights @ X.T
        outside[name] = weights[:N_MODELS] @ new.T
    return inside, outside


def auroc(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUROC of a small test set by its pairs."""
    pairs = scores[y == 1][:, None] - scores[y == 0]
    return float(0.5 + 0.5 * np.sign(pairs).mean())


def auroc_of_many(y: np.ndarray, scores: np.ndarray) -> float:
    """Return the AUROC of a large test set by ranks, without ties."""
    ranks = np.empty(len(y))
    ranks[np.argsort(scores)] = np.arange(len(y))
    n = int(y.sum())
    return float((ranks[y == 1].sum() - n * (n - 1) / 2) / (n * (len(y) - n)))


# -- one cohort -----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What the comparison of one cohort says.

    Attributes
    ----------
    tests : DataFrame
        Claims by fusion.
    verdict : str
        Outcome of the verdict.
    means : dict of str to float
        Estimated score of each arm.
    contrasts : dict of (str, str, str) to Contrast
        Contrasts.
    truth : dict of str to float
        AUROC of each arm on fresh cases.
    limits : (float, float)
        Interval of the AUROC of the first fusion.
    """

    tests: pd.DataFrame
    verdict: str
    means: Mapping[str, float]
    contrasts: Mapping[tuple[str, str, str], Contrast]
    truth: Mapping[str, float]
    limits: tuple[float, float]


# The same number as scikit-learn's, which takes most of the time on small folds.
AUROC: Metric = replace(
    resolve_metrics("roc_auc", 2)[0],
    score=lambda predictions, X, y, classes: auroc(y, predictions.scores[:, 1]),
)


def compare(situation: Situation, seed: int) -> Outcome:
    """Draw a cohort and compare its arms as `compare_fusion` does."""
    rng = np.random.default_rng([zlib.crc32(situation.name.encode()), seed])
    while True:  # folds of 5 patients of each class, or of 3
        blocks, y = situation.draw(rng, situation.n_patients)
        if min(y.sum(), (1 - y).sum()) >= 15 * situation.rows_per_patient:
            break
    groups = None
    if situation.rows_per_patient > 1:
        numbers = np.arange(situation.n_patients)
        groups = np.repeat(numbers, situation.rows_per_patient)
    fresh = situation.draw(rng, N_TEST // situation.rows_per_patient)
    return judged(situation.arms, blocks, y, groups, seed, fresh)


def judged(
    arms: Sequence[Arm],
    blocks: Mapping[str, np.ndarray],
    y: np.ndarray,
    groups: np.ndarray | None,
    seed: int,
    fresh: tuple[Mapping[str, np.ndarray], np.ndarray] | None = None,
    n_repeats: int | str = "auto",
) -> Outcome:
    """Fit the arms on the folds of `compare_fusion`, and judge them as it does.

    Parameters
    ----------
    arms : list of Arm
        Arms.
    blocks : dict of str to ndarray of shape (n_rows, n_columns)
        Columns of each modality.
    y : ndarray of shape (n_rows,)
        Outcome, 0 or 1.
    groups : ndarray of int of shape (n_rows,) or None
        Patients.
    seed : int
        Seed of the folds.
    fresh : (dict of str to ndarray, ndarray) or None, default=None
        Columns and outcome of a large test set.
    n_repeats : int or "auto", default="auto"
        Repetitions of the folds. ``"auto"`` is 10.

    Returns
    -------
    Outcome
    """
    task = Task("binary", np.array([0, 1]))
    study = Study(pd.DataFrame(index=range(len(y))), y, task, groups)
    nothing = {"cv": None, "test": None, "sites": None, "time": None}
    design = make_design(study, **nothing, n_repeats=n_repeats, quick=False, seed=seed)
    trained = np.zeros((len(design.splits), len(y)), dtype=bool)
    for row, split in zip(trained, design.splits, strict=True):
        row[split.train] = True
    new, labels = fresh or ({name: block[:0] for name, block in blocks.items()}, y[:0])
    inside, outside = log_odds(arms, blocks, y, trained, new)
    truth = {
        name: float(np.mean([auroc_of_many(labels, row) for row in odds]))
        for name, odds in outside.items()
        if fresh is not None
    }
    strategies = [arm.strategy for arm in arms]
    return _from_fits(strategies, study, design, inside, truth)


def _from_fits(
    arms: list[Strategy],
    study: Study,
    design: Design,
    inside: Mapping[str, np.ndarray],
    truth: Mapping[str, float],
) -> Outcome:
    """Call what `compare_fusion` calls after the fits."""
    fits = {}
    for name, odds in inside.items():
        for row, split in zip(odds, design.splits, strict=True):
            p = expit(row[split.test])
            fit = Fit(Predictions(np.column_stack([1 - p, p])), 0.0, [])
            fits[name, split.repeat, split.fold] = fit
    run = Run(fits, {arm.name: design.n_repeats for arm in arms}, [], [])
    found = score_and_test(arms, run, [AUROC], study, design, Claims(), seed=0)
    facts = facts_of(
        found,
        {arm.name: arm.label for arm in arms},
        Claims(),
        [],
        splits=f"{design.n_repeats} x {design.n_folds} folds",
        n_trained=round(np.mean([study.n_patients(s.train) for s in design.splits])),
    )
    verdict = judge(found.tests, found.differences, facts)
    scored, folds = found.scored, found.scored.folds
    first = next(arm for arm in arms if arm.role == "fusion")
    own = folds[folds["strategy"] == first.name]
    row = replace(scored, arms=[first], folds=own).score_table().iloc[0]
    limits = (float(row["low"]), float(row["high"]))
    means = scored.means(AUROC)
    return Outcome(found.tests, verdict.outcome, means, found.contrasts, truth, limits)


# -- all cohorts of a situation -------------------------------------------------------


@dataclass(frozen=True)
class Summary:
    """Result of a situation, shares in per cent.

    Attributes
    ----------
    name, n : str, int
        Situation and number of its patients.
    n_cohorts : int
        Number of cohorts.
    gains : dict of str to float
        True difference of each fusion from the best single modality.
    errors, error_se : float
        Cohorts with a claim that contradicts the truth.
    claims : dict of str to float
        Cohorts in which a fusion has the claim.
    power, oracle : float
        Verdicts "helps", and those of z tests. NaN where no fusion helps.
    pair, pair_oracle : float
        Rejections of the best fusion against the best single modality, and those of z
        tests.
    coverage : float
        Coverage of the interval of the AUROC.
    """

    name: str
    n: int
    n_cohorts: int
    gains: Mapping[str, float]
    errors: float
    error_se: float
    claims: Mapping[str, float]
    power: float
    oracle: float
    pair: float
    pair_oracle: float
    coverage: float


CLAIMS = ("helps", "worse", "unmatched")


def true_differences(
    situation: Situation, outcomes: Sequence[Outcome]
) -> dict[tuple[str, str], float]:
    """Return the true differences of the pairs, 0 if they cannot be told from 0."""
    found = {}
    for a, b, _ in pairs_to_contrast([arm.strategy for arm in situation.arms]):
        values = np.array([o.truth[a.name] - o.truth[b.name] for o in outcomes])
        error = values.std(ddof=1) / np.sqrt(len(values))
        is_zero = situation.at_par or abs(values.mean()) < 2 * error
        found[a.name, b.name] = 0.0 if is_zero else float(values.mean())
    return found


def is_wrong(
    row: Mapping[str, Any], arms: Sequence[Strategy], truth: Mapping[Any, float]
) -> bool:
    """Return whether a claim about a fusion contradicts the true differences."""
    name = row["strategy"]
    pairs = [pair for pair in pairs_to_contrast(arms) if pair[0].name == name]
    above = {b.name: truth[name, b.name] > 0 for _, b, _ in pairs}
    matched = [above[b.name] for _, b, relation in pairs if relation == "matched"]
    if row["outcome"] == "helps":
        return not all(above.values())
    if row["outcome"] == "worse":
        return truth[name, row["worse_than"]] >= 0
    if row["outcome"] == "unmatched":
        # "Above its own single modalities", and "the learner makes the difference".
        return not all(matched) or all(above.values())
    return False


def with_known_sd(
    situation: Situation, outcomes: Sequence[Outcome]
) -> Iterator[tuple[Outcome, Mapping[tuple[str, str, str], Contrast], pd.DataFrame]]:
    """Judge each cohort again by z tests that know the standard deviations."""
    arms = [arm.strategy for arm in situation.arms]
    sd = {
        key: float(np.std([o.contrasts[key].estimate for o in outcomes], ddof=1))
        for key in outcomes[0].contrasts
    }
    for outcome in outcomes:
        known = {
            key: replace(
                contrast, p=float(2 * norm.sf(abs(contrast.estimate) / sd[key]))
            )
            for key, contrast in outcome.contrasts.items()
        }
        n_patients = situation.n_patients
        tests = judge_fusions(
            arms, AUROC, outcome.means, known, Claims(), n_patients=n_patients
        )
        yield outcome, known, tests


def summarise(situation: Situation, outcomes: Sequence[Outcome]) -> Summary:
    """Return the shares of a situation."""
    arms = [arm.strategy for arm in situation.arms]
    truth = true_differences(situation, outcomes)
    wrong = np.array(
        [
            any(is_wrong(row, arms, truth) for row in o.tests.to_dict("records"))
            for o in outcomes
        ]
    )
    share = float(wrong.mean())
    fusions = [arm.name for arm in arms if arm.role == "fusion"]
    gains = {
        name: min(d for (a, _), d in truth.items() if a == name) for name in fusions
    }
    best = max(gains, key=lambda name: gains[name])
    power = oracle = pair = pair_oracle = np.nan
    if gains[best] > 0:
        others = {b: d for (a, b), d in truth.items() if a == best}
        key = (best, min(others, key=lambda name: others[name]), "roc_auc")
        power = 100 * np.mean([o.verdict == "helps" for o in outcomes])
        judged = list(with_known_sd(situation, outcomes))
        oracle = 100 * np.mean([(t["outcome"] == "helps").any() for *_, t in judged])
        pair = 100 * np.mean([o.contrasts[key].p < 0.05 for o in outcomes])
        pair_oracle = 100 * np.mean([known[key].p < 0.05 for _, known, _ in judged])
    level = np.mean([o.truth[fusions[0]] for o in outcomes])
    if situation.at_par and not situation.signal:
        level = 0.5
    covered = [o.limits[0] <= level <= o.limits[1] for o in outcomes]
    return Summary(
        situation.name,
        situation.n_patients,
        len(outcomes),
        gains,
        100 * share,
        100 * float(np.sqrt(max(share, 1 / len(wrong)) * (1 - share) / len(wrong))),
        {
            name: 100 * np.mean([(o.tests["outcome"] == name).any() for o in outcomes])
            for name in CLAIMS
        },
        power,
        oracle,
        pair,
        pair_oracle,
        100 * float(np.mean(covered)),
    )


HEADER = (
    f"{'situation':17s} {'n':>5s}  {'true gain over best single':28s} "
    f"{'errors % (SE)':>13s}  {'helps':>5s} {'worse':>5s} {'unmat.':>6s}  "
    f"{'power':>5s} {'z':>5s}  {'pair':>5s} {'z':>5s}  {'cover':>5s}"
)


def line(found: Summary) -> str:
    """Return the line of the table of a situation."""
    gains = ", ".join(f"{name} {gain:+.3f}" for name, gain in found.gains.items())

    def percent(value: float, width: int = 5) -> str:
        return f"{'-' if np.isnan(value) else format(value, '.1f'):>{width}s}"

    claims = [percent(found.claims[name]) for name in CLAIMS]
    return (
        f"{found.name:17s} {found.n:5d}  {gains:28s} "
        f"{found.errors:7.1f} ({found.error_se:.1f})  {claims[0]} {claims[1]} "
        f"{claims[2]:>6s}  {percent(found.power)} {percent(found.oracle)}  "
        f"{percent(found.pair)} {percent(found.pair_oracle)}  {percent(found.coverage)}"
    )


def failures(found: Sequence[Summary]) -> list[str]:
    """Return which limits are not kept."""
    failed = [
        f"{s.name}: {s.errors:.1f} % of cohorts have an error"
        for s in found
        if s.errors > MOST_ERRORS + 2 * s.error_se
    ]
    failed += [
        f"{s.name}: power {s.power:.1f} %, of the z tests {s.oracle:.1f} %"
        for s in found
        if s.power < LEAST_POWER * s.oracle
    ]
    mean = np.mean([s.errors for s in found])
    if mean > MEAN_ERRORS:
        failed.append(f"{mean:.1f} % of cohorts have an error on average")
    return failed


def check_scores(situation: Situation) -> None:
    """Compare the scores of a cohort with those of scikit-learn's scorer."""
    global AUROC
    fast, own = AUROC, compare(situation, 0).means
    AUROC = resolve_metrics("roc_auc", 2)[0]
    try:
        slow = compare(situation, 0).means
    finally:
        AUROC = fast
    worst = max(abs(own[name] - slow[name]) for name in own)
    assert worst < 1e-12, f"AUROC differs from scikit-learn's by {worst}"


def main() -> int:
    """Simulate, print the table, and return 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    everything = {situation.name: situation for situation in situations()}
    parser.add_argument("--seeds", type=int, default=400)
    parser.add_argument(
        "--designs", nargs="+", choices=list(everything), metavar="NAME"
    )
    arguments = parser.parse_args()
    chosen = [everything[name] for name in arguments.designs or everything]
    print(
        f"{arguments.seeds} cohorts each, 10 x 5 folds, 5 % level, shares in per cent"
    )
    print(HEADER, flush=True)
    found = []
    start = time.process_time()
    for situation in chosen:
        check_scores(situation)
        outcomes = [compare(situation, seed) for seed in range(arguments.seeds)]
        found.append(summarise(situation, outcomes))
        print(line(found[-1]), flush=True)
    seconds = time.process_time() - start
    print(f"{seconds:.0f} CPU seconds")
    failed = failures(found)
    for text in failed:
        print(f"not kept: {text}")
    mean = np.mean([summary.errors for summary in found])
    worst = max(summary.errors for summary in found)
    print(
        f"check_comparison: errors {mean:.1f} % on average (limit {MEAN_ERRORS:g} %), "
        f"at most {worst:.1f} % (limit {MOST_ERRORS:g} % + 2 SE)"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
