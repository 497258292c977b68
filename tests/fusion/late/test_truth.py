"""Late fusion against what theory says, on cohorts whose truth has a closed form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.special import logit
from scipy.stats import norm
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfusion import EarlyFusionClassifier, LateFusionClassifier
from skfusion.datasets import make_fusion_cohort

# three standard errors of an AUROC of 0.8 with 12,000 + 28,000 test rows
TOLERANCE = 0.008
FLAT = LogisticRegression(C=1e300, max_iter=1000)


def members(cohort, estimator):
    return [
        ("image", estimator, cohort.image_columns),
        ("ehr", estimator, cohort.ehr_columns),
    ]


def calibration_line(y, p):
    """Return slope and intercept of the outcome on the predicted log-odds."""
    odds = logit(np.clip(p, 1e-6, 1 - 1e-6))
    line = LogisticRegression(C=1e300, tol=1e-8).fit(odds[:, None], y)
    return line.coef_[0, 0], line.intercept_[0]


def auroc_of_the_sum_of_both_discriminants(correlation: float) -> float:
    """Return the AUROC of Bayes' rule as if independent, worked out by hand.

    The scores are the members' discriminants, their sum is what the rule ranks by;
    its distribution within the classes follows from the design of the cohort.
    """
    shift, direction = np.zeros(48), np.zeros(48)
    shift[:10], shift[10:20], shift[44:] = 0.35, 0.25, 0.25
    direction[:10], direction[40:44] = 1 / np.sqrt(10), 1 / 2
    ratio = correlation / (1 - correlation)
    covariance = np.eye(48) + ratio * np.outer(direction, direction)
    b = np.zeros(48)
    for part in (slice(0, 40), slice(40, 48)):
        b[part] = np.linalg.solve(covariance[part, part], shift[part])
    return norm.cdf(b @ shift / np.sqrt(2 * b @ covariance @ b))


@pytest.mark.parametrize("correlation", [0.0, 0.474, 0.643, 0.730])
def test_bayes_loses_to_the_joint_optimum_exactly_what_dependence_costs(correlation):
    cohort, test = (
        make_fusion_cohort(40_000, correlation=correlation, random_state=seed)
        for seed in (0, 1)
    )
    expected = auroc_of_the_sum_of_both_discriminants(correlation)
    # Here no rule on the two scores is better: the EHR's own score is free of the
    # nuisance, and so independent of the image's given the outcome.
    assert expected == pytest.approx(cohort.truth["late"], abs=1e-6)
    model = LateFusionClassifier(
        members(cohort, LinearDiscriminantAnalysis()), aggregation="bayes"
    ).fit(cohort.data, cohort.target)
    p = model.predict_proba(test.data)[:, 1]
    found = roc_auc_score(test.target, p)
    assert found == pytest.approx(expected, abs=TOLERANCE)
    # the same rows for both: the difference is far more exact than each
    joint = roc_auc_score(
        test.target,
        test.data[cohort.image_columns + cohort.ehr_columns] @ cohort.weights["joint"],
    )
    loss = cohort.truth["joint"] - expected
    assert joint - found == pytest.approx(loss, abs=0.003)
    if correlation == 0:
        assert loss == pytest.approx(0, abs=1e-6)
    slope, intercept = calibration_line(test.target, p)
    assert slope == pytest.approx(1, abs=0.05)
    assert intercept == pytest.approx(0, abs=0.05)


@pytest.mark.long
def test_bayes_counts_shared_evidence_twice():
    """Of one modality given twice the log-odds double, and the slope is a half."""
    cohort, test = (make_fusion_cohort(20_000, random_state=seed) for seed in (0, 1))
    lda = LinearDiscriminantAnalysis()
    twice = [(name, lda, cohort.image_columns) for name in ("one", "other")]
    slopes = {}
    for aggregation in ("bayes", "mean", "stacking"):
        model = LateFusionClassifier(twice, aggregation=aggregation, random_state=0)
        model.fit(cohort.data, cohort.target)
        p = model.predict_proba(test.data)[:, 1]
        slopes[aggregation] = calibration_line(test.target, p)[0]
    assert slopes["bayes"] == pytest.approx(0.5, abs=0.03)
    assert slopes["mean"] == pytest.approx(1, abs=0.06)
    assert slopes["stacking"] == pytest.approx(1, abs=0.06)


def mean_slope(n_samples: int, correlation: float, n_seeds: int, **settings) -> float:
    test = make_fusion_cohort(20_000, correlation=correlation, random_state=999)
    slopes = []
    for seed in range(n_seeds):
        cohort = make_fusion_cohort(
            n_samples, correlation=correlation, random_state=seed
        )
        model = LateFusionClassifier(members(cohort, FLAT), random_state=0, **settings)
        model.fit(cohort.data, cohort.target)
        p = model.predict_proba(test.data)[:, 1]
        slopes.append(calibration_line(test.target, p)[0])
    return float(np.mean(slopes))


@pytest.mark.long
def test_the_mean_is_too_timid_and_only_its_own_calibration_mends_it():
    # 1,000 cases and no penalty: the members are too bold, their mean still too timid
    assert 1.5 < mean_slope(1000, 0.73, 6) < 1.8
    assert mean_slope(1000, 0.73, 6, calibration="sigmoid") > 2
    mended = mean_slope(1000, 0.73, 6, final_calibration="sigmoid")
    assert mended == pytest.approx(1, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("correlation", [0.0, 0.474, 0.643, 0.730])
def test_final_calibration_of_a_large_cohort(correlation):
    assert mean_slope(40_000, correlation, 1) > 2
    for method in ("sigmoid", "isotonic"):
        slope = mean_slope(40_000, correlation, 1, final_calibration=method)
        assert slope == pytest.approx(1, abs=0.1)


def test_no_rule_learns_an_exclusive_or_across_modalities():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(-1, 1, (4000, 2)), columns=["image", "ehr"])
    y = ((X["image"] > 0) != (X["ehr"] > 0)).astype(int).to_numpy()
    tree = DecisionTreeClassifier(min_samples_leaf=50, random_state=0)
    parts = [(name, tree, [name]) for name in X]
    old, new = slice(0, 2000), slice(2000, 4000)
    for aggregation in LateFusionClassifier._rules:
        model = LateFusionClassifier(parts, aggregation=aggregation, random_state=0)
        p = model.fit(X[old], y[old]).predict_proba(X[new])[:, 1]
        # four standard errors of an AUROC of 0.5 with 1,000 + 1,000 rows
        assert abs(roc_auc_score(y[new], p) - 0.5) < 0.052, aggregation
    both = EarlyFusionClassifier(
        [(name, StandardScaler(), [name]) for name in X],
        estimator=DecisionTreeClassifier(max_leaf_nodes=64, random_state=0),
    )
    p = both.fit(X[old], y[old]).predict_proba(X[new])[:, 1]
    assert roc_auc_score(y[new], p) > 0.95


@pytest.mark.long
def test_grouped_stacking_beats_in_sample_stacking_on_patient_fingerprints():
    gains = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        patient = np.repeat(np.arange(300), 4)
        label = rng.integers(0, 2, 300)
        identity = rng.normal(size=(300, 16))  # says who it is, and nothing else
        images = identity[patient] + rng.normal(0, 0.1, (1200, 16))
        age = (0.9 * label + rng.normal(size=300))[patient]
        X = pd.DataFrame(images, columns=[f"i{j}" for j in range(16)])
        X["age"], X["patient_id"] = age, patient
        y, old = label[patient], patient < 150
        pixels = [f"i{j}" for j in range(16)]
        parts = [
            ("image", DecisionTreeClassifier(random_state=0), pixels),
            ("ehr", LogisticRegression(), ["age"]),
        ]
        ours = LateFusionClassifier(
            parts, aggregation="stacking", groups="patient_id", random_state=0
        ).fit(X[old], y[old])
        # by hand: the meta-model learns from what the members say of their own rows
        fitted = [part.fit(X.loc[old, cols], y[old]) for _, part, cols in parts]

        def odds(rows, fitted=fitted, X=X, parts=parts):
            return np.column_stack(
                [
                    logit(
                        np.clip(
                            m.predict_proba(X.loc[rows, cols])[:, 1], 1e-6, 1 - 1e-6
                        )
                    )
                    for m, (_, _, cols) in zip(fitted, parts, strict=True)
                ]
            )

        in_sample = LogisticRegression().fit(odds(old), y[old])
        scores = [
            roc_auc_score(y[~old], p[:, 1])
            for p in (ours.predict_proba(X[~old]), in_sample.predict_proba(odds(~old)))
        ]
        gains.append(scores[0] - scores[1])
    assert min(gains) > 0
    assert np.mean(gains) > 0.05
