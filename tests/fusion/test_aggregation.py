"""Rules of late fusion, against values worked out by hand or by another library."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from scipy.special import logit
from sklearn.metrics import log_loss

from skfusion.fusion import aggregation as rules


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


def test_learned_weights_match_nonnegative_least_squares():
    rng = np.random.default_rng(1)
    y = rng.normal(size=400)
    members = np.column_stack([y + rng.normal(0, s, 400) for s in (0.5, 1.0, 3.0)])
    found = rules.learn_weights(members[:, :, None], np.ones((400, 3), dtype=bool), y)
    # nnls with a heavily weighted row that asks the weights to sum to 1
    heavy = 1e4
    expected, _ = nnls(
        np.vstack([members, heavy * np.ones(3)]), np.append(y, heavy), maxiter=1000
    )
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_learned_weights_have_the_least_log_loss_of_a_grid():
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 500)
    scores = [1 / (1 + np.exp(-(y - 0.5) * s - rng.normal(0, 1, 500))) for s in (3, 1)]
    P = np.stack([np.column_stack([1 - s, s]) for s in scores], axis=1)
    found = rules.learn_weights(P, np.ones((500, 2), dtype=bool), y)
    grid = np.linspace(0, 1, 201)
    losses = [log_loss(y, w * scores[0] + (1 - w) * scores[1]) for w in grid]
    assert abs(found[0] - grid[np.argmin(losses)]) < 0.01


def test_row_weights_count_when_weights_are_learned():
    y = np.array([0.0, 0.0, 1.0, 1.0])
    P = np.stack([np.array([0.0, 0.0, 0.0, 0.0]), y], axis=1)[:, :, None]
    P[0, 1] = 1.0  # the second member errs in the first row only
    present = np.ones((4, 2), dtype=bool)
    trusting = rules.learn_weights(P, present, y, np.array([0.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(trusting, [0, 1], atol=1e-4)
    even = rules.learn_weights(P, present, y, np.ones(4))
    # least squares by hand: minimise w^2 + 2 (1 - w)^2
    np.testing.assert_allclose(even, [1 / 3, 2 / 3], atol=1e-4)
