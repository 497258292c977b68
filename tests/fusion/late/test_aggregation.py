"""Rules of late fusion, against values worked out by hand or by another library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from skfusion.fusion.late import aggregation as rules


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(3), size=(50, 4))  # (n, M, C)
    present = rng.random((50, 4)) < 0.7
    present[~present.any(axis=1), 0] = True
    P[~present] = np.nan
    return P, present


def test_mean_is_the_mean_of_those_present(predictions):
    P, present = predictions
    np.testing.assert_allclose(rules.mean(P, present), np.nanmean(P, axis=1))


def test_weights_are_renormalised_over_those_present(predictions):
    P, present = predictions
    weights = np.array([4.0, 3.0, 2.0, 1.0])
    expected = [
        np.average(P[i, present[i]], axis=0, weights=weights[present[i]])
        for i in range(len(P))
    ]
    np.testing.assert_allclose(rules.weighted_mean(P, present, weights), expected)


def test_members_of_weight_zero_count_equally_where_there_is_no_other():
    P = np.array([[[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]]])
    present = np.array([[True, True, False]])
    fused = rules.weighted_mean(P, present, np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(fused, [[0.3, 0.7]])


def test_vote_counts_choices_and_sums_to_one(predictions):
    P, present = predictions
    shares = rules.vote(P, present)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    for i in range(len(P)):
        votes = np.bincount(P[i, present[i]].argmax(axis=1), minlength=3)
        top = np.flatnonzero(votes == votes.max())
        assert shares[i].argmax() in top
        if len(top) > 1:
            means = np.nanmean(P[i], axis=0)
            assert shares[i].argmax() == top[means[top].argmax()]
        else:
            np.testing.assert_allclose(shares[i], votes / votes.sum())


def test_log_odds_matches_scipy_and_stays_finite():
    p = np.array([0.0, 1e-3, 0.5, 0.999, 1.0])
    odds = rules.log_odds(np.column_stack([1 - p, p]))[:, 0]
    np.testing.assert_allclose(odds[1:-1], logit(p[1:-1]))
    assert np.isfinite(odds).all()
    assert odds[0] == pytest.approx(-odds[-1])
    assert odds[-1] > odds[-2]


def by_row(P, present, rule):
    """Apply a rule to the present members of each row, one row at a time."""
    fused = np.array([rule(P[i, present[i]]) for i in range(len(P))])
    return fused / fused.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("ours", "by_hand"),
    [
        (rules.maximum, lambda rows: rows.max(axis=0)),
        (rules.minimum, lambda rows: rows.min(axis=0)),
        (rules.median, lambda rows: np.median(rows, axis=0)),
        (rules.product, lambda rows: rows.prod(axis=0)),
    ],
)
def test_rules_of_kittler_by_hand(predictions, ours, by_hand):
    P, present = predictions
    np.testing.assert_allclose(ours(P, present), by_row(P, present, by_hand))


@pytest.mark.parametrize("rule", [rules.maximum, rules.minimum, rules.median])
def test_one_number_a_row_is_not_divided_by_itself(rule):
    P = np.array([[[3.0], [5.0], [100.0]], [[-1.0], [np.nan], [-4.0]]])
    found = rule(P, ~np.isnan(P[:, :, 0]))[:, 0].tolist()
    expected = {"maximum": [100, -1], "minimum": [3, -4], "median": [5, -2.5]}
    assert found == expected[rule.__name__]


def test_of_two_classes_the_surest_member_decides_whichever_class_it_chooses():
    P = np.array([[[0.05, 0.95], [0.6, 0.4]], [[0.95, 0.05], [0.4, 0.6]]])
    fused = rules.maximum(P, np.ones((2, 2), dtype=bool))
    np.testing.assert_allclose(fused[:, 1], [0.95 / 1.55, 0.6 / 1.55])
    np.testing.assert_allclose(fused[0], fused[1, ::-1])  # no class is special


def test_minimum_where_every_class_is_ruled_out():
    P = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    fused = rules.minimum(P, np.ones((1, 2), dtype=bool))
    np.testing.assert_array_equal(fused, [[0.5, 0.5]])


def test_bayes_adds_log_odds_and_takes_out_the_surplus_prior():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, (40, 3))
    present = rng.random((40, 3)) < 0.6
    present[~present.any(axis=1), 0] = True
    fused = rules.bayes(np.stack([1 - p, p], axis=2), present, np.array([0.7, 0.3]))
    n_members = present.sum(axis=1)
    odds = (logit(p) * present).sum(axis=1) - (n_members - 1) * logit(0.3)
    np.testing.assert_allclose(fused[:, 1], expit(odds))


def test_bayes_recovers_the_posterior_of_independent_signals():
    """Three classes, two signals: the posterior is known, the members are exact."""
    prior = np.array([0.5, 0.3, 0.2])
    likelihoods = np.random.default_rng(1).dirichlet(np.ones(4), size=(2, 3))
    first, second = np.meshgrid(range(4), range(4), indexing="ij")
    joint = prior * likelihoods[0].T[first.ravel()] * likelihoods[1].T[second.ravel()]
    posterior = joint / joint.sum(axis=1, keepdims=True)
    members = []
    for signal, values in zip(likelihoods, (first, second), strict=True):
        alone = prior * signal.T[values.ravel()]
        members.append(alone / alone.sum(axis=1, keepdims=True))
    P = np.stack(members, axis=1)
    fused = rules.bayes(P, np.ones((16, 2), dtype=bool), prior)
    np.testing.assert_allclose(fused, posterior)


@pytest.mark.parametrize("rule", [rules.product, rules.minimum, rules.maximum])
def test_certain_members_do_not_break_a_rule(rule):
    P = np.array([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [1.0, 0.0]]])
    fused = rule(P, np.ones((2, 2), dtype=bool))
    np.testing.assert_allclose(fused[0], [0.5, 0.5])
    assert fused[1, 0] > 0.999


def test_weighted_vote_sums_weights_by_hand(predictions):
    P, present = predictions
    weights = np.array([0.4, 0.3, 0.2, 0.15])  # no two sets of them sum to the same
    shares = rules.weighted_vote(P, present, weights)
    for i in range(len(P)):
        choices = P[i, present[i]].argmax(axis=1)
        own = weights[present[i]]
        expected = np.bincount(choices, own / own.sum(), minlength=3)
        np.testing.assert_allclose(shares[i], expected)


def test_members_that_only_decide_can_tie():
    P = np.array([[[1.0, 0.0], [0.0, 1.0]]])
    shares = rules.vote(P, np.ones((1, 2), dtype=bool))
    np.testing.assert_array_equal(shares, [[0.5, 0.5]])
