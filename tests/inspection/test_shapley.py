"""The game: against definitions by brute force, hand values and shapiq."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from skfusion.inspection.shapley import (
    all_coalitions,
    check_efficiency,
    exact_plan,
    interaction_matrix,
    moebius_matrix,
    player_pairs,
    sampled_plan,
    shapley_matrix,
    shapley_values,
)


def table(n_players, seed=0):
    values = np.random.default_rng(seed).normal(size=2**n_players)
    return {
        frozenset(np.flatnonzero(members).tolist()): value
        for members, value in zip(all_coalitions(n_players), values, strict=True)
    }, values


@pytest.mark.parametrize("n_players", [1, 2, 3, 4, 5])
def test_shapley_is_the_mean_over_all_orders(n_players):
    game, values = table(n_players)
    expected = np.zeros(n_players)
    orders = list(permutations(range(n_players)))
    for order in orders:
        for place, player in enumerate(order):
            before = frozenset(order[:place])
            expected[player] += game[before | {player}] - game[before]
    np.testing.assert_allclose(
        shapley_matrix(n_players) @ values, expected / len(orders), atol=1e-12
    )


@pytest.mark.parametrize("n_players", [1, 2, 3, 4])
def test_moebius_terms_of_subsets_sum_to_the_value(n_players):
    game, values = table(n_players)
    terms = moebius_matrix(n_players) @ values
    sets = list(game)
    for members, value in game.items():
        inside = [t for t, other in zip(terms, sets, strict=True) if other <= members]
        assert sum(inside) == pytest.approx(value, abs=1e-12)


def test_shapley_splits_each_moebius_term_evenly():
    # Harsanyi: the dividend of a set is shared by its members
    _, values = table(5, seed=1)
    terms, member = moebius_matrix(5) @ values, all_coalitions(5)
    size = np.maximum(member.sum(axis=1), 1)
    np.testing.assert_allclose(
        shapley_matrix(5) @ values, (member * (terms / size)[:, None]).sum(0)
    )


def test_pair_index_shares_each_term_over_its_pairs_and_beyond():
    # Grabisch and Roubens: I_ij = sum over S containing i, j of m(S) / (|S| - 1)
    _, values = table(5, seed=2)
    terms, member = moebius_matrix(5) @ values, all_coalitions(5)
    size = member.sum(axis=1)
    expected = [
        sum(
            term / (n - 1)
            for term, n, s in zip(terms, size, member, strict=True)
            if s[i] and s[j]
        )
        for i, j in combinations(range(5), 2)
    ]
    np.testing.assert_allclose(interaction_matrix(5) @ values, expected, atol=1e-12)


def test_agrees_with_shapiq():
    shapiq = pytest.importorskip("shapiq", reason="shapiq is an oracle of this test")
    from shapiq.game_theory.exact import ExactComputer

    _, values = table(4, seed=3)
    numbers = 2 ** np.arange(4)

    def game(coalitions):
        return values[np.asarray(coalitions) @ numbers]

    exact = ExactComputer(n_players=4, game=game)
    sv = exact("SV", order=1)
    ours = shapley_matrix(4) @ values
    for j in range(4):
        assert sv[(j,)] == pytest.approx(ours[j], abs=1e-12)
    sii, pairs = exact("SII", order=2), interaction_matrix(4) @ values
    for pair, value in zip(player_pairs(4), pairs, strict=True):
        assert sii[pair] == pytest.approx(value, abs=1e-12)
    terms, found = moebius_matrix(4) @ values, exact("Moebius", order=4)
    for members, term in zip(all_coalitions(4), terms, strict=True):
        key = tuple(np.flatnonzero(members).tolist())
        if key:
            assert found[key] == pytest.approx(term, abs=1e-12)
    assert shapiq is not None


def test_sampling_finds_the_exact_values_within_its_error():
    n_players = 6
    _, values = table(n_players, seed=4)
    lookup = 2 ** np.arange(n_players)
    exact = shapley_matrix(n_players) @ values
    plan = sampled_plan(n_players, 400, np.random.RandomState(0))
    asked = values[plan.coalitions @ lookup]
    errors = plan.standard_errors(asked)
    z = (plan.shapley(asked) - exact) / errors
    assert np.abs(z).max() < 3.5
    assert 0.3 < np.sqrt((z**2).mean()) < 2.0
    # efficiency holds in every sample, whatever the number of permutations
    few = sampled_plan(n_players, 2, np.random.RandomState(0))
    asked = values[few.coalitions @ lookup]
    assert few.shapley(asked).sum() == pytest.approx(asked[-1] - asked[0], abs=1e-12)


def test_antithetic_pairs_are_exact_where_pairs_interact():
    # an order and its reverse together average over both orders of each pair
    def value(s):
        return 2.0 * s[:, 0] + 4.0 * (s[:, 0] & s[:, 3]) - 2.0 * (s[:, 1] & s[:, 2])

    phi, empty = shapley_values(value, 10, 0, n_permutations=2)
    np.testing.assert_allclose(phi[:4], [4.0, -1.0, -1.0, 2.0], atol=1e-12)
    np.testing.assert_allclose(phi[4:], 0.0, atol=1e-12)
    assert empty == 0.0


def test_sampling_is_reproducible_and_says_when_it_is_too_little():
    draw = [sampled_plan(9, 5, np.random.RandomState(7)).weights for _ in range(2)]
    np.testing.assert_array_equal(*draw)
    with pytest.raises(ValueError, match="2 or more"):
        sampled_plan(9, 1, np.random.RandomState(0))
    assert exact_plan(3).standard_errors(np.zeros(8)) is None


def test_efficiency_is_checked():
    with pytest.raises(ArithmeticError, match="different answers to equal input"):
        check_efficiency(np.array([1.0, 2.0]), np.array(0.0), np.array(4.0))
    with pytest.raises(ValueError, match="not finite"):
        check_efficiency(np.array([1.0, np.nan]), np.array(0.0), np.array(4.0))
