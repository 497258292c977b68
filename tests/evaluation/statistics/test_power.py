"""Detectable differences against simulation, scipy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from skfusion.evaluation.statistics.power import (
    minimum_detectable_difference,
    patients_for_gain,
)


def test_hand_values():
    # 1.959964 + .841621 and, with 10 degrees of freedom, 2.228139 + .879058
    assert minimum_detectable_difference(1.0) == pytest.approx(2.801585, abs=1e-6)
    assert minimum_detectable_difference(0.1, 10) == pytest.approx(0.3107197, abs=1e-6)
    found = minimum_detectable_difference(2.0, alpha=0.05 / 3, power=0.9)
    quantiles = stats.norm.ppf(1 - 0.05 / 6) + stats.norm.ppf(0.9)
    assert found == pytest.approx(2 * quantiles, rel=1e-12)


@pytest.mark.parametrize("df", [10, 49, 400])
@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_power_of_the_t_test_at_the_detectable_difference(df, power):
    shift = minimum_detectable_difference(1.0, df, power=power)
    critical = stats.t.ppf(0.975, df)
    found = stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift)
    assert found == pytest.approx(power, abs=0.025)
    exact = shift * (1 + np.linspace(-0.05, 0.05, 201))
    powers = stats.nct.sf(critical, df, exact)
    nearest = exact[np.argmin(np.abs(powers - power))]
    assert shift == pytest.approx(nearest, rel=0.03 if df < 20 else 0.01)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_agrees_with_statsmodels(alpha, power):
    package = pytest.importorskip(
        "statsmodels.stats.power", reason="statsmodels is an oracle here"
    )
    # The effect of a z-test that 100 patients can find, at a standard deviation of 1.
    effect = package.NormalIndPower().solve_power(
        nobs1=100, alpha=alpha, power=power, ratio=0
    )
    found = minimum_detectable_difference(0.1, alpha=alpha, power=power)
    assert found == pytest.approx(effect, rel=1e-5)
    # Half of the effect takes four times the patients.
    needed = package.NormalIndPower().solve_power(
        effect_size=effect / 2, alpha=alpha, power=power, ratio=0
    )
    assert patients_for_gain(100, found, effect / 2) == pytest.approx(needed, abs=1.01)
    t_effect = package.TTestPower().solve_power(nobs=50, alpha=alpha, power=power)
    found = minimum_detectable_difference(50**-0.5, 49, alpha=alpha, power=power)
    assert found == pytest.approx(t_effect, rel=0.01)


def test_patients_for_gain_rounds_up():
    assert patients_for_gain(200, 0.05, 0.05) == 200
    assert patients_for_gain(100, 0.3, 0.1) == 900  # 900.0000000000002 in floats
    assert patients_for_gain(100, 0.301, 0.1) == 907
    assert patients_for_gain(200, 0.01, 0.1) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minimum_detectable_difference(0), "standard_error must be .* above 0"),
        (lambda: minimum_detectable_difference(np.nan), "standard_error must be"),
        (lambda: minimum_detectable_difference(1, 0.5), "df must be .* or None"),
        (lambda: minimum_detectable_difference(1, alpha=5), "alpha must be .* below 1"),
        (lambda: minimum_detectable_difference(1, power=80), "power must be"),
        (lambda: patients_for_gain(10.5, 1, 1), "n_patients must be an integer"),
        (lambda: patients_for_gain(10, 1, 0), "gain must be a number above 0"),
        (lambda: patients_for_gain(10, np.nan, 1), "detectable must be"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
