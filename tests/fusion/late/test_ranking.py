"""Ranks among scores seen in training, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import percentileofscore, rankdata

from skfusion.fusion.late.aggregation import RankTable, rank_average


@pytest.fixture
def seen():
    return np.random.default_rng(0).integers(0, 8, (50, 2)).astype(float)  # ties


def test_ranks_of_training_scores_are_mid_ranks(seen):
    ranks = RankTable.learn(seen).ranks(seen)
    np.testing.assert_allclose(ranks, rankdata(seen, axis=0) / 51)


def test_ranks_of_new_scores(seen):
    new = np.linspace(-1, 9, 21)
    ranks = RankTable.learn(seen).ranks(np.column_stack([new, new]))
    for c in range(2):
        share = percentileofscore(seen[:, c], new, kind="mean") / 100
        np.testing.assert_allclose(ranks[:, c], (share * 50 + 0.5) / 51)
    assert ranks.min() > 0
    assert ranks.max() < 1


def test_a_weight_of_two_is_the_row_twice(seen):
    weights = np.arange(50) % 3
    weighted = RankTable.learn(seen, weights.astype(float)).ranks(seen)
    repeated = RankTable.learn(seen.repeat(weights, axis=0)).ranks(seen)
    np.testing.assert_allclose(weighted, repeated)


def test_only_the_order_of_a_member_counts(seen):
    P = np.stack([seen, seen[::-1]], axis=1)
    present = np.ones((50, 2), dtype=bool)
    present[::7, 1] = False
    fused = [
        rank_average(Q, present, [RankTable.learn(Q[:, j]) for j in range(2)])
        for Q in (P, np.stack([np.exp(P[:, 0]), P[:, 1] ** 3], axis=1))
    ]
    np.testing.assert_allclose(*fused)
    tables = [RankTable.learn(P[:, j]) for j in range(2)]
    np.testing.assert_allclose(fused[0][::7], tables[0].ranks(seen[::7]))


def test_one_risk_score_per_member_and_weights(seen):
    P = seen[:, :, None]  # two members, one output each
    tables = [RankTable.learn(P[:, j]) for j in range(2)]
    present = np.ones((50, 2), dtype=bool)
    fused = rank_average(P, present, tables, np.array([3.0, 1.0]))
    ranks = rankdata(seen, axis=0) / 51
    np.testing.assert_allclose(fused[:, 0], ranks @ [0.75, 0.25])
