"""Concordance and Cox's model with a ridge penalty, against scikit-survival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sksurv.linear_model import CoxPHSurvivalAnalysis
from sksurv.metrics import concordance_index_censored

from skfusion.fusion.late.combination import default_meta_model
from skfusion.fusion.survival import SURVIVAL_DTYPE, CoxRidge, concordance


def outcome(event, time):
    y = np.empty(len(event), dtype=SURVIVAL_DTYPE)
    y["event"], y["time"] = event, time
    return y


def follow_up(n=2000, *, seed=0, n_times=40, n_features=3):
    """Features and tied, partly censored times that depend on the first of them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features)) * rng.uniform(0.2, 5, n_features) + 1
    time = rng.exponential(np.exp(-X[:, 0] / 2))
    time = np.ceil(time / np.quantile(time, 0.95) * n_times)
    return X, outcome(rng.random(n) < 0.6, time)


def by_pairs(y, risk):
    """The definition, one pair at a time."""
    score, pairs = 0.0, 0
    for i in np.flatnonzero(y["event"]):
        for j in range(len(y)):
            same = y["time"][i] == y["time"][j] and not y["event"][j]
            if y["time"][i] < y["time"][j] or same:
                pairs += 1
                is_tied = abs(risk[j] - risk[i]) <= 1e-8
                score += 0.5 if is_tied else float(risk[i] > risk[j])
    return score / pairs


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_equals_scikit_survival(seed, dtype):
    X, y = follow_up(seed=seed)
    for risk in (X[:, 0] * 10, X[:, 0].round(), np.zeros(len(X))):
        risk = risk.astype(dtype)
        expected = concordance_index_censored(y["event"], y["time"], risk)[0]
        assert concordance(y, risk) == pytest.approx(expected, abs=1e-10)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(2, 40))
@pytest.mark.long
def test_equals_the_definition_and_scikit_survival(data, n):
    def drawn(values):
        return np.array(data.draw(st.lists(values, min_size=n, max_size=n)))

    y = outcome(drawn(st.booleans()), drawn(st.integers(1, 6)))
    # steps around the tolerance of 1e-8, at which ties are no equivalence relation
    near = st.integers(-4, 4).map(lambda k: k * 5e-9)
    far = st.floats(-1e3, 1e3, allow_subnormal=False)
    risk = drawn(st.one_of(near, far, st.sampled_from([0.0, 1.0])))
    # an event before the last time, or beside a censored row
    last = y["time"].max()
    at_last = y["event"][y["time"] == last]
    assume(y["event"][y["time"] < last].any() or (at_last.any() and not at_last.all()))
    expected = concordance_index_censored(y["event"], y["time"], risk)[0]
    assert concordance(y, risk) == pytest.approx(expected, abs=1e-10)
    assert concordance(y, risk) == pytest.approx(by_pairs(y, risk), abs=1e-10)


def test_a_perfect_and_a_reversed_order():
    y = outcome([True, True, False, True], [1.0, 2.0, 2.0, 5.0])
    risk = np.array([4.0, 3.0, 2.0, 1.0])
    assert concordance(y, risk) == 1.0
    assert concordance(y, -risk) == 0.0
    assert concordance(y, np.ones(4)) == 0.5


def test_many_rows_need_little_memory():
    import tracemalloc

    rng = np.random.default_rng(0)
    n = 100_000
    y = outcome(rng.random(n) < 0.5, rng.integers(1, 3000, n))
    tracemalloc.start()
    value = concordance(y, rng.normal(size=n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert abs(value - 0.5) < 0.01
    assert peak < 50e6  # bytes; n**2 would be 10 GB


@pytest.mark.parametrize(
    ("risk", "words"),
    [
        ([0.1, np.nan, 0.3], r"1 of 3 risks are NaN.*position\(s\) \[1\]"),
        ([0.1, 0.2, np.inf], r"1 of 3 risks are NaN or infinite.*\[2\]"),
        ([0.1, 0.2], r"shape \(3,\) of y.*got \(2,\)"),
        ([[0.1], [0.2], [0.3]], r"got \(3, 1\)"),
    ],
)
def test_risks_that_are_refused(risk, words):
    y = outcome([True, False, True], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=words):
        concordance(y, np.array(risk))


@pytest.mark.parametrize(
    ("event", "time"),
    [
        ([False, False], [1.0, 2.0]),
        ([True, True], [2.0, 2.0]),
        ([False, True], [1.0, 2.0]),
        ([True], [1.0]),
    ],
)
def test_without_comparable_rows(event, time):
    with pytest.raises(ValueError, match="no two of the . rows are comparable"):
        concordance(outcome(event, time), np.zeros(len(event)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("alpha", [0, 1e-3, 1.0, 100.0])
@pytest.mark.parametrize("n_features", [1, 6])
def test_coefficients_of_scikit_survival(seed, alpha, n_features):
    X, y = follow_up(500, seed=seed, n_features=n_features)
    reference = CoxPHSurvivalAnalysis(alpha=alpha, tol=1e-13).fit(X, y)
    model = CoxRidge(alpha).fit(X, y)
    np.testing.assert_allclose(model.coef_, reference.coef_, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(model.predict(X), reference.predict(X), rtol=1e-5)
    assert model.score(X, y) == pytest.approx(reference.score(X, y), abs=1e-10)
    assert model.n_features_in_ == n_features


def test_constant_and_collinear_features():
    X, y = follow_up(300)
    X = np.column_stack([X[:, 0], X[:, 0], np.zeros(300)])
    coef = CoxRidge().fit(X, y).coef_
    assert coef[0] == pytest.approx(coef[1], rel=1e-6)
    assert coef[2] == pytest.approx(0, abs=1e-10)
    alone = CoxRidge(5e-4).fit(X[:, :1], y).coef_  # half the penalty on the sum
    assert coef[0] + coef[1] == pytest.approx(alone[0], rel=1e-6)


def test_a_perfect_order_has_finite_coefficients():
    # hazards span e to the power of some 10,000
    x = np.sort(np.random.default_rng(0).standard_t(2, size=400))[:, None]
    y = outcome(np.ones(400, dtype=bool), np.arange(400, 0, -1))
    coef = CoxRidge(1e-3).fit(x, y).coef_
    assert np.ptp(x) * coef[0] > 1000
    # the slope of the likelihood there, one event at a time
    slope = 0.0
    for i in range(400):
        share = np.exp(coef[0] * (x[: i + 1, 0] - x[i, 0]))
        slope += x[i, 0] - share @ x[: i + 1, 0] / share.sum()
    assert slope == pytest.approx(1e-3 * coef[0], rel=1e-6)


def test_the_meta_model_of_stacked_risks():
    model = default_meta_model("survival")
    assert isinstance(model, CoxRidge)
    assert clone(model).get_params() == {"alpha": 1e-3}
    with pytest.raises(NotFittedError):
        model.predict(np.zeros((2, 1)))


@pytest.mark.parametrize("alpha", [-1.0, np.nan, np.inf, "1", True, None])
def test_penalties_that_are_refused(alpha):
    X, y = follow_up(50)
    with pytest.raises(ValueError, match="alpha must be a number of 0 or more"):
        CoxRidge(alpha).fit(X, y)


def test_inputs_that_are_refused():
    X, y = follow_up(50)
    with pytest.raises(ValueError, match="numbers of samples, got 50 and 49"):
        CoxRidge().fit(X, y[:49])
    with pytest.raises(ValueError, match="NaN"):
        CoxRidge().fit(np.where(X > 1, np.nan, X), y)
    with pytest.raises(ValueError, match="all 50 rows of y are censored"):
        CoxRidge().fit(X, outcome(np.zeros(50, dtype=bool), y["time"]))


def test_features_beyond_the_precision_say_so():
    x = np.sort(np.random.default_rng(0).standard_t(1.5, size=500))[:, None] * 1e6
    y = outcome(np.ones(500, dtype=bool), np.arange(500, 0, -1))
    with pytest.warns(ConvergenceWarning, match="Standardise the features"):
        CoxRidge().fit(x, y)
