"""Learned weights, against least squares, a grid and hand-made cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.metrics import log_loss, make_scorer, roc_auc_score

from skfusion.fusion.late.weights import learn_weights, score_function, search_weights


def test_learned_weights_match_nonnegative_least_squares():
    rng = np.random.default_rng(1)
    y = rng.normal(size=400)
    members = np.column_stack([y + rng.normal(0, s, 400) for s in (0.5, 1.0, 3.0)])
    found = learn_weights(members[:, :, None], np.ones((400, 3), dtype=bool), y)
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
    found = learn_weights(P, np.ones((500, 2), dtype=bool), y)
    grid = np.linspace(0, 1, 201)
    losses = [log_loss(y, w * scores[0] + (1 - w) * scores[1]) for w in grid]
    assert abs(found[0] - grid[np.argmin(losses)]) < 0.01


def test_row_weights_count_when_weights_are_learned():
    y = np.array([0.0, 0.0, 1.0, 1.0])
    P = np.stack([np.array([0.0, 0.0, 0.0, 0.0]), y], axis=1)[:, :, None]
    P[0, 1] = 1.0  # the second member errs in the first row only
    present = np.ones((4, 2), dtype=bool)
    trusting = learn_weights(P, present, y, np.array([0.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(trusting, [0, 1], atol=1e-4)
    even = learn_weights(P, present, y, np.ones(4))
    # least squares by hand: minimise w^2 + 2 (1 - w)^2
    np.testing.assert_allclose(even, [1 / 3, 2 / 3], atol=1e-4)


def simplex(step: int, n_members: int):
    """Return all weights that are multiples of 1/step."""
    counts = np.indices((step + 1,) * n_members).reshape(n_members, -1).T
    return counts[counts.sum(axis=1) == step] / step


@pytest.mark.parametrize("n_members", [2, 3])
@pytest.mark.long
def test_searched_weights_reach_the_best_auroc_of_a_grid(n_members):
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 300)
    p = 1 / (1 + np.exp(-rng.normal(size=(300, n_members)) - 0.7 * y[:, None]))
    p **= np.arange(1, n_members + 1)  # members of unlike scales
    P = np.stack([1 - p, p], axis=2)
    present = np.ones(p.shape, dtype=bool)
    auroc = score_function("roc_auc", "classes", np.arange(2))
    found = learn_weights(P, present, y, score=lambda fused: auroc(fused, y))
    best = max(roc_auc_score(y, p @ weights) for weights in simplex(40, n_members))
    assert roc_auc_score(y, p @ found) >= best - 5e-4
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    again = learn_weights(P, present, y, score=lambda fused: auroc(fused, y))
    np.testing.assert_array_equal(found, again)


def test_weights_of_one_score_stay_equal():
    np.testing.assert_array_equal(search_weights(lambda w: 1.0, 4), [0.25] * 4)


def test_scorers_of_every_task():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (60, 3))
    P = np.clip(labels + rng.normal(0, 0.6, labels.shape), 0.01, 0.99)
    found = score_function("roc_auc", "labels", np.arange(3))(P, labels)
    assert found == pytest.approx(roc_auc_score(labels, P))
    found = score_function("accuracy", "labels", np.arange(3))(P, labels)
    assert found == pytest.approx(((P > 0.5) == labels).all(axis=1).mean())
    numbers = rng.normal(size=(60, 1))
    found = score_function("neg_mean_absolute_error", "numbers")(numbers, labels[:, 0])
    assert found == pytest.approx(-np.abs(numbers[:, 0] - labels[:, 0]).mean())
    weights = rng.uniform(size=60)
    two = np.column_stack([1 - P[:, 0], P[:, 0]])
    scorer = make_scorer(roc_auc_score, response_method="predict_proba")
    found = score_function(scorer, "classes", np.arange(2))(two, labels[:, 0], weights)
    expected = roc_auc_score(labels[:, 0], P[:, 0], sample_weight=weights)
    assert found == pytest.approx(expected)


def test_a_scorer_that_does_not_suit_the_task():
    three = score_function("roc_auc", "classes", np.arange(3))
    with pytest.raises(ValueError, match="weights='roc_auc' cannot score.*Use a"):
        three(np.full((6, 3), 1 / 3), np.tile([0, 1, 2], 2))
