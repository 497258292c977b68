"""Net benefit and calibration of a comparison against other packages."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from comparison_cohorts import LATE, make_cohort, modalities

from skfusion import compare_fusion

THRESHOLDS = [0.1, 0.25, 0.4, 0.6]
# dca of dcurves 1.1.7, at the prevalence of the cases and at 10 %
DCURVES = {
    "late": [0.32592592592592595, 0.2611111111111111, 0.18472222222222223, 0.170833333],
    "image in late": [0.319444444, 0.2041666667, 0.0541666667, -0.01875],
    "all": [0.3194444444444444, 0.18333333333333335, -0.02083333333333337, -0.53125],
}
DCURVES_AT_TEN = {
    "late": [0.009523809523809518, -0.08571428571428572, -0.117204301, 0.0440860215],
    "image in late": [0.0, -0.1290103138, -0.2282861531709458, -0.1789664253],
    "all": [0.0, -0.2, -0.5, -1.25],
}


def made_up():
    """Predictions by arithmetic, as a comparison of 120 patients with two rows."""
    X, y = make_cohort()
    result = compare_fusion(
        modalities(),
        X,
        y,
        groups="patient_id",
        strategies=LATE,
        cv=2,
        n_repeats=1,
        scoring="roc_auc",
        random_state=0,
    )
    k = np.arange(240)
    y = ((k * 7919) % 13 < 5).astype(int)
    table = {
        "row": k,
        "repeat": 0,
        "fold": k // 2 % 2,
        "group": k // 2,
        "y": y,
        "late": np.round(0.05 + 0.54 * ((k * 104729) % 997) / 996 + 0.27 * y, 6),
        "image in late": np.round(0.1 + 0.6 * ((k * 1299709) % 991) / 990 + 0.1 * y, 6),
        "ehr in late": 0.4,
    }
    tests = result.tests_.assign(reference="image in late")
    return replace(result, predictions_=pd.DataFrame(table), tests_=tests)


@pytest.fixture(scope="module")
def result():
    return made_up()


@pytest.mark.parametrize(
    ("prevalence", "expected"), [(None, DCURVES), (0.1, DCURVES_AT_TEN)]
)
def test_net_benefit_is_that_of_dcurves(result, prevalence, expected):
    found = result.net_benefit(THRESHOLDS, prevalence)
    assert found["threshold"].tolist() == THRESHOLDS
    own, other = np.array(expected["late"]), np.array(expected["image in late"])
    np.testing.assert_allclose(found["net_benefit"], own, atol=1e-9)
    np.testing.assert_allclose(found["net_benefit_reference"], other, atol=1e-9)
    np.testing.assert_allclose(found["treat_all"], expected["all"], atol=1e-9)
    np.testing.assert_allclose(found["difference"], own - other, atol=1e-9)


def test_calibration_is_that_of_statsmodels(result):
    sm = pytest.importorskip("statsmodels.api", reason="statsmodels is an oracle here")
    table = result.predictions_
    odds = np.log(table["late"] / (1 - table["late"]))
    clusters = {"cov_type": "cluster", "cov_kwds": {"groups": table["group"]}}
    family = sm.families.Binomial()
    both = sm.GLM(table["y"], sm.add_constant(odds), family=family).fit(**clusters)
    alone = sm.GLM(table["y"], np.ones((240, 1)), offset=odds, family=family)
    large = alone.fit(**clusters)
    found = result.calibration().set_index("strategy").loc["late"]
    expected = {
        "intercept": (both.params.iloc[0], *both.conf_int().iloc[0]),
        "slope": (both.params.iloc[1], *both.conf_int().iloc[1]),
        "in_the_large": (large.params.iloc[0], *large.conf_int().iloc[0]),
    }
    for name, values in expected.items():
        numbers = [found[name], found[f"{name}_low"], found[f"{name}_high"]]
        # other packages correct the variance for few clusters in another way
        np.testing.assert_allclose(numbers, values, rtol=0.02, atol=0.005)
        assert numbers[0] == pytest.approx(values[0], abs=1e-6)
