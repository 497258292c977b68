"""Brier scores and concordance of censored times: by loops, by another package."""

from __future__ import annotations

import numpy as np
import pytest

from skfusion.evaluation import (
    brier_scores,
    censored_concordance,
    integrated_brier_score,
)
from skfusion.evaluation.statistics.survival_scores import KaplanMeier

DTYPE = [("event", bool), ("time", float)]
CENSORING = {
    "none": lambda rng, n: np.full(n, np.inf),
    "administrative": lambda rng, n: np.ones(n),
    "uniform": lambda rng, n: rng.uniform(0, 2.5, n),
    "exponential": lambda rng, n: rng.exponential(0.8, n),
}


def outcome(event, time):
    y = np.empty(len(time), dtype=DTYPE)
    y["event"], y["time"] = event, time
    return y


def cohort(n=200, censoring="uniform", seed=0, step=None):
    """Exponential times whose rate depends on x, rounded up to steps if given."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    time, last = rng.exponential(np.exp(-x)), CENSORING[censoring](rng, n)
    if step:
        time, last = np.ceil(time / step) * step, np.ceil(last / step) * step
    return x, outcome(time <= last, np.minimum(time, last)), time


def curves(x, times):
    return np.exp(-np.outer(np.exp(0.7 * x), times))


def probability(y, time, *, event, including):
    """Kaplan-Meier by hand: no event (or no censoring) before a time, or up to it."""
    result = 1.0
    for s in sorted(set(y["time"])):
        if s > time or (s == time and not including):
            break
        here, later = y[y["time"] == s], y[y["time"] > s]
        n_events, n_censored = here["event"].sum(), (~here["event"]).sum()
        if event:
            result *= 1 - n_events / (len(here) + len(later))
        elif n_censored:
            result *= 1 - n_censored / (n_censored + len(later))
    return result


def brier_by_loop(y, survival, time, known):
    total = 0.0
    for (event, until), p in zip(y, survival, strict=True):
        if event and until <= time:
            total += p**2 / probability(known, until, event=False, including=False)
        elif until > time or (until == time and not event):
            g = probability(known, time, event=False, including=False)
            total += (1 - p) ** 2 / g
    return total / len(y)


@pytest.mark.parametrize("step", [None, 0.25])
@pytest.mark.parametrize("censoring", CENSORING)
def test_kaplan_meier_by_hand(censoring, step):
    _, y, _ = cohort(60, censoring, step=step)
    at = np.r_[0.0, np.unique(y["time"])[::5], 0.33, 5.0]
    for of_censoring in (False, True):
        found = KaplanMeier(y, of_censoring=of_censoring)
        for method, including in ((found.at, True), (found.before, False)):
            by_hand = [
                probability(y, t, event=not of_censoring, including=including)
                for t in at
            ]
            np.testing.assert_allclose(method(at), by_hand, atol=1e-12)


@pytest.mark.parametrize("step", [None, 0.25])
@pytest.mark.parametrize("censoring", CENSORING)
def test_brier_scores_by_loop(censoring, step):
    x, y, _ = cohort(80, censoring, step=step)
    _, train, _ = cohort(100, censoring, seed=1, step=step)
    times = np.array([0.1, 0.25, 0.5, 1.0])
    for known, given in ((y, None), (train, train)):
        found = brier_scores(y, curves(x, times), times, censoring=given)
        by_loop = [
            brier_by_loop(y, p, t, known)
            for p, t in zip(curves(x, times).T, times, strict=True)
        ]
        np.testing.assert_allclose(found, by_loop, atol=1e-12)


def test_without_censoring_it_is_the_plain_brier_score():
    x, y, time = cohort(100, "none")
    times = [0.2, 0.9]
    survival = curves(x, times)
    plain = ((survival - (time[:, None] > times)) ** 2).mean(axis=0)
    np.testing.assert_allclose(brier_scores(y, survival, times), plain, atol=1e-14)


@pytest.mark.parametrize("censoring", CENSORING)
def test_agrees_with_scikit_survival(censoring):
    sksurv = pytest.importorskip("sksurv.metrics", reason="an oracle of this test")
    x, y, _ = cohort(200, censoring)
    _, train, _ = cohort(300, censoring, seed=1)
    times = np.linspace(0.05, 0.9, 20)
    survival = curves(x, times)
    _, theirs = sksurv.brier_score(train, y, survival, times)
    ours = brier_scores(y, survival, times, censoring=train)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)
    assert integrated_brier_score(y, survival, times, censoring=train) == pytest.approx(
        sksurv.integrated_brier_score(train, y, survival, times)
    )
    assert censored_concordance(y, x) == pytest.approx(
        sksurv.concordance_index_censored(y["event"], y["time"], x)[0]
    )
    for tau in (0.5, 0.9):
        ours = censored_concordance(y, x, method="uno", tau=tau, censoring=train)
        theirs = sksurv.concordance_index_ipcw(train, y, x, tau=tau)[0]
        assert ours == pytest.approx(theirs)


def test_unos_index_by_loop():
    x, y, _ = cohort(60, "uniform", step=0.25)
    risk = x.round(1)
    pairs = np.zeros(2)
    for (event, time), mine in zip(y, risk, strict=True):
        if not event or time >= 1.5:
            continue
        weight = probability(y, time, event=False, including=False) ** -2
        for (other_event, other_time), other in zip(y, risk, strict=True):
            if other_time > time or (other_time == time and not other_event):
                won = (mine > other) + 0.5 * (mine == other)
                pairs += weight * np.array([won, 1.0])
    found = censored_concordance(y, risk, method="uno", tau=1.5)
    assert found == pytest.approx(pairs[0] / pairs[1], abs=1e-12)


@pytest.mark.parametrize("step", [None, 0.25])
@pytest.mark.parametrize("censoring", ["administrative", "uniform", "exponential"])
def test_scores_do_not_depend_on_the_censoring(censoring, step):
    """With rounded times, weights of the wrong side of a tie would give a bias."""
    times = np.array([0.25, 0.5, 0.75, 1.0])
    errors, differences = [], []
    for seed in range(100):
        x, y, time = cohort(400, censoring, seed, step)
        survival = curves(x, times)
        plain = ((survival - (time[:, None] > times)) ** 2).mean(axis=0)
        errors.append(brier_scores(y, survival, times) - plain)
        full = outcome(np.ones(len(x), bool), time)
        differences.append(
            censored_concordance(y, x, method="uno", tau=1.0)
            - censored_concordance(full, x, tau=1.0)
        )
    errors, differences = np.array(errors), np.array(differences)
    assert np.abs(errors.mean(axis=0)).max() < 0.003
    assert abs(differences.mean()) < max(4 * differences.std() / 10, 1e-3)


def test_the_true_curves_have_the_best_score():
    x, y, _ = cohort(4000)
    times = np.linspace(0.05, 1.5, 20)
    true = np.exp(-np.outer(np.exp(x), times))
    best = integrated_brier_score(y, true, times)
    marginal = np.tile(KaplanMeier(y).at(times), (len(x), 1))
    for other in (curves(x, times), true**2, np.sqrt(true), marginal):
        assert integrated_brier_score(y, other, times) > best


def test_at_the_end_of_the_study_everybody_is_known():
    """Rows that are censored at the end of the study survived until then."""
    x, y, time = cohort(300, "administrative")
    survival = curves(x, [1.0])
    plain = ((survival[:, 0] - (time > 1.0)) ** 2).mean()
    assert brier_scores(y, survival, [1.0])[0] == pytest.approx(plain)


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.5, 0.5], "rising times"),
        ([0.6, 0.5], "rising times"),
        ([], "rising times"),
        ([[0.5]], "rising times"),
        ([-1.0], "0 or more"),
        ([0.5, 99.0], "1 of 2 times are after the end of the follow-up.*up to"),
        ([0.5], r"survival must have shape \(50, 1\).*got shape \(50, 2\)"),
    ],
)
def test_times_that_are_refused(times, message):
    _, y, _ = cohort(50)
    y["event"][np.argmax(y["time"])] = False
    n_columns = 2 if "shape" in message else max(len(times), 1)
    with pytest.raises(ValueError, match=message):
        brier_scores(y, np.full((50, n_columns), 0.5), times)


def test_risks_are_not_probabilities():
    x, y, _ = cohort(50)
    with pytest.raises(ValueError, match="of 50 values of survival.*not risks"):
        brier_scores(y, x[:, None], [0.5])
    with pytest.raises(ValueError, match="survival is NaN or infinite in 50 of 50"):
        brier_scores(y, np.full((50, 1), np.nan), [0.5])
    with pytest.raises(ValueError, match="at least two, got 1. Use brier_scores"):
        integrated_brier_score(y, curves(x, [0.5]), [0.5])


def test_concordance_with_parameters_that_are_refused():
    x, y, _ = cohort(50)
    with pytest.raises(ValueError, match="must be one of"):
        censored_concordance(y, x, method="unos")
    with pytest.raises(ValueError, match="does not use censoring"):
        censored_concordance(y, x, censoring=y)
    with pytest.raises(ValueError, match="no two"):
        censored_concordance(y, x, tau=1e-9)
    early = y.copy()
    early["time"] /= 4
    early["event"][np.argmax(early["time"])] = False
    with pytest.raises(ValueError, match="events are after the last.*Set tau to"):
        censored_concordance(y, x, method="uno", censoring=early)
    with pytest.raises(ValueError, match="tau"):
        censored_concordance(y, x, tau=-1)
