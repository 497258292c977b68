"""The game whose players are modalities: values of coalitions in, contributions out.

A *coalition* is a set of modalities that a prediction may use; its value is
any number: a log-odds, an AUROC. The Shapley value of a modality is what it adds,
averaged over all orders in which modalities can join.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

__all__ = [
    "CoalitionPlan",
    "all_coalitions",
    "check_efficiency",
    "exact_plan",
    "interaction_matrix",
    "moebius_matrix",
    "player_pairs",
    "sampled_plan",
    "shapley_matrix",
    "shapley_values",
]


# Beyond rounding errors of sums of 2^8 terms
EFFICIENCY_TOLERANCE = 1e-9


def all_coalitions(n_players: int) -> np.ndarray:
    """Return every set of players, the empty one first and that of all last.

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of bool of shape (2**M, M)
        Player j is in coalition number r where bit j of r is set.

    Examples
    --------
    >>> from skfusion.inspection.shapley import all_coalitions
    >>> all_coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    numbers = np.arange(2**n_players)
    return (numbers[:, None] >> np.arange(n_players)) % 2 == 1


def shapley_matrix(n_players: int) -> np.ndarray:
    r"""Return the matrix that turns values of coalitions into Shapley values.

    .. math:: \phi_m = \sum_{S \not\ni m} \frac{|S|!\,(M-|S|-1)!}{M!}
              \left(v(S \cup m) - v(S)\right)

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of shape (M, 2**M)
        Columns in the order of `all_coalitions`.

    References
    ----------
    Shapley LS (1953). A value for n-person games. Contributions to the Theory of
    Games II, 307-317.

    Examples
    --------
    The glove game: player 0 has a left glove, 1 and 2 a right one; a pair is worth 1.

    >>> from skfusion.inspection.shapley import all_coalitions, shapley_matrix
    >>> left, *right = all_coalitions(3).T
    >>> worth = left & (right[0] | right[1])
    >>> (shapley_matrix(3) @ worth).round(4).tolist()
    [0.6667, 0.1667, 0.1667]
    """
    member = all_coalitions(n_players)
    size = member.sum(axis=1)
    fact = np.array([factorial(k) for k in range(n_players + 1)], dtype=np.float64)
    joining = fact[np.maximum(size - 1, 0)] * fact[n_players - size]
    missing = fact[size] * fact[np.maximum(n_players - size - 1, 0)]
    return np.where(member.T, joining, -missing) / fact[n_players]


@dataclass(frozen=True, eq=False)
class CoalitionPlan:
    """Which coalitions a game asks for, and what it makes of their values.

    Attributes
    ----------
    coalitions : ndarray of bool of shape (n_coalitions, M)
        The empty one first, that of all players last.
    weights : ndarray of shape (M, n_coalitions)
        Shapley values are ``weights @ values``.
    joins : ndarray of int of shape (n_pairs, 2, M, 2) or None
        Of a sampled game: for each permutation, its reverse, and each player, the
        coalitions before and after it joins. None where all coalitions are asked.
    """

    coalitions: np.ndarray
    weights: np.ndarray
    joins: np.ndarray | None = None

    @property
    def is_exact(self) -> bool:
        """Whether every coalition is asked, so that nothing is sampled."""
        return self.joins is None

    def shapley(self, values: np.ndarray) -> np.ndarray:
        """Return Shapley values.

        Parameters
        ----------
        values : ndarray of shape (n_coalitions, ...)
            Values of the coalitions.

        Returns
        -------
        ndarray of shape (M, ...)
            They sum to ``values[-1] - values[0]``.
        """
        return np.tensordot(self.weights, values, axes=1)

    def standard_errors(self, values: np.ndarray) -> np.ndarray | None:
        """Return what the sampling of permutations leaves uncertain.

        Parameters
        ----------
        values : ndarray of shape (n_coalitions, ...)
            Values of the coalitions.

        Returns
        -------
        ndarray of shape (M, ...) or None
            Standard errors over the pairs of permutations; None where all coalitions
            were asked.
        """
        if self.joins is None:
            return None
        n_pairs = len(self.joins)
        total = np.zeros((self.coalitions.shape[1], *values.shape[1:]))
        squares = np.zeros_like(total)
        mean = self.shapley(values)
        for pair in self.joins:  # one at a time: a table of all would be large
            added = (values[pair[..., 1]] - values[pair[..., 0]]).mean(axis=0)
            total += added
            squares += (added - mean) ** 2
        return np.sqrt(squares / (n_pairs - 1) / n_pairs)


def exact_plan(n_players: int) -> CoalitionPlan:
    """Plan a game in which every coalition is asked for its value.

    Parameters
    ----------
    n_players : int
        Number of players, M; 2**M values are needed.

    Returns
    -------
    CoalitionPlan

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.shapley import exact_plan
    >>> exact_plan(2).shapley(np.array([1.0, 2.0, 4.0, 9.0])).tolist()
    [3.0, 5.0]
    """
    return CoalitionPlan(all_coalitions(n_players), shapley_matrix(n_players))


def sampled_plan(
    n_players: int, n_permutations: int, rng: np.random.RandomState
) -> CoalitionPlan:
    """Plan a game in which players join in random orders and their reverses.

    An order and its reverse are a pair (antithetic sampling): what is too much in the
    one tends to be too little in the other [1]_.

    Parameters
    ----------
    n_players : int
        Number of players, M.
    n_permutations : int
        Number of pairs, 2 or more; about ``2 * (M - 1)`` values each.
    rng : RandomState
        Draws the orders.

    Returns
    -------
    CoalitionPlan
        Coalitions that several orders share stand in it once.

    Raises
    ------
    ValueError
        If there are fewer than two pairs.

    References
    ----------
    .. [1] Mitchell R et al. (2022). Sampling permutations for Shapley value
       estimation. Journal of Machine Learning Research 23(43):1-46.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.shapley import sampled_plan
    >>> plan = sampled_plan(10, 5, np.random.RandomState(0))
    >>> sizes = plan.coalitions.sum(axis=1)
    >>> plan.shapley(sizes * 1.0).round(6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    if n_permutations < 2:
        raise ValueError(
            f"n_permutations must be 2 or more, got {n_permutations}: one pair of "
            "permutations says nothing about its error."
        )
    orders = np.array([rng.permutation(n_players) for _ in range(n_permutations)])
    orders = np.stack([orders, orders[:, ::-1]], axis=1)  # (pairs, 2, M)
    place = np.argsort(orders, axis=-1)  # when player m joins
    # before[..., m, :] are the players that joined before m
    before = place[..., None, :] < place[..., :, None]
    after = before | np.eye(n_players, dtype=bool)
    met = np.stack([before, after], axis=-2).reshape(-1, n_players)
    coalitions, number = np.unique(met, axis=0, return_inverse=True)
    joins = number.reshape(n_permutations, 2, n_players, 2)
    weights = np.zeros((n_players, len(coalitions)))
    for player in range(n_players):
        np.add.at(weights[player], joins[:, :, player, 1], 1.0)
        np.add.at(weights[player], joins[:, :, player, 0], -1.0)
    # np.unique sorts: the empty coalition is first and that of all players last
    return CoalitionPlan(coalitions, weights / (2 * n_permutations), joins)


def shapley_values(
    value: Callable[[np.ndarray], np.ndarray],
    n_players: int,
    random_state: Any = None,
    *,
    max_exact: int = 8,
    n_permutations: int = 50,
) -> tuple[np.ndarray, np.ndarray]:
    """Play a game: exactly where there are few players, else by random orders.

    Parameters
    ----------
    value : callable
        Takes coalitions, an ndarray of bool of shape (n_coalitions, M); returns their
        values, an ndarray of shape (n_coalitions, ...).
    n_players : int
        Number of players, M.
    random_state : int, RandomState or None, default=None
        Seed of the orders.
    max_exact : int, default=8
        Most players for which all 2**M coalitions are asked.
    n_permutations : int, default=50
        Pairs of orders beyond.

    Returns
    -------
    shapley : ndarray of shape (M, ...)
        Shapley values.
    empty : ndarray of shape (...)
        Value of the empty coalition.

    Examples
    --------
    >>> from skfusion.inspection.shapley import shapley_values
    >>> phi, empty = shapley_values(lambda s: 1.0 + 2 * s[:, 0] * s[:, 1], 2)
    >>> phi.tolist(), float(empty)
    ([1.0, 1.0], 1.0)
    """
    if n_players <= max_exact:
        plan = exact_plan(n_players)
    else:
        rng = check_random_state(random_state)
        plan = sampled_plan(n_players, n_permutations, rng)
    values = np.asarray(value(plan.coalitions), dtype=np.float64)
    return plan.shapley(values), values[0]


def check_efficiency(shapley: np.ndarray, empty: np.ndarray, full: np.ndarray) -> float:
    """Check that contributions add up to what is to be explained.

    Parameters
    ----------
    shapley : ndarray of shape (M, ...)
        Shapley values.
    empty, full : ndarray of shape (...)
        Values of the empty coalition and of that of all players.

    Returns
    -------
    float
        The largest gap, in the unit of the values.

    Raises
    ------
    ValueError
        If a value is not finite.
    ArithmeticError
        If the gap is more than a rounding error.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.shapley import check_efficiency
    >>> check_efficiency(np.array([3.0, 5.0]), np.array(1.0), np.array(9.0))
    0.0
    """
    gap = np.abs(empty + shapley.sum(axis=0) - full)
    if not np.isfinite(gap).all():
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(gap))} of {gap.size} values to explain "
            "are not finite. Check what the estimator, or output=, returns."
        )
    largest = float(gap.max(initial=0.0))
    scale = max(1.0, float(np.abs(full).max(initial=0.0)))
    if largest > EFFICIENCY_TOLERANCE * scale:
        raise ArithmeticError(
            f"The contributions miss the prediction by up to {largest:.1e}, which is "
            "more than rounding: the estimator gives different answers to equal input."
        )
    return largest


def player_pairs(n_players: int) -> list[tuple[int, int]]:
    """Return all pairs of players, the order of the rows of `interaction_matrix`."""
    return list(combinations(range(n_players), 2))


def moebius_matrix(n_players: int) -> np.ndarray:
    r"""Return the matrix that turns values of coalitions into Möbius terms.

    The term of a set is what the set adds beyond all its subsets,
    :math:`m(S) = \sum_{T \subseteq S} (-1)^{|S|-|T|} v(T)`; the value of a coalition
    is the sum of the terms of its subsets.

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of shape (2**M, 2**M)
        Rows and columns in the order of `all_coalitions`.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.shapley import moebius_matrix
    >>> (moebius_matrix(2) @ np.array([1.0, 2.0, 4.0, 9.0])).tolist()
    [1.0, 1.0, 3.0, 4.0]
    """
    one_player = np.array([[1.0, 0.0], [-1.0, 1.0]])
    matrix = np.ones((1, 1))
    for _ in range(n_players):
        matrix = np.kron(one_player, matrix)
    return matrix


def interaction_matrix(n_players: int) -> np.ndarray:
    r"""Return the matrix that turns values into Shapley interaction indices of pairs.

    .. math:: I_{ij} = \sum_{S \not\ni i, j} \frac{|S|!\,(M-|S|-2)!}{(M-1)!}
              \left(v(S \cup ij) - v(S \cup i) - v(S \cup j) + v(S)\right)

    Above 0 the two say more together than apart, below 0 they repeat each other.

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of shape (M * (M - 1) / 2, 2**M)
        Rows in the order of `player_pairs`, columns in that of `all_coalitions`.

    References
    ----------
    Grabisch M, Roubens M (1999). An axiomatic approach to the concept of interaction
    among players in cooperative games. International Journal of Game Theory
    28:547-565.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.shapley import interaction_matrix
    >>> (interaction_matrix(2) @ np.array([1.0, 2.0, 4.0, 9.0])).tolist()
    [4.0]
    """
    member = all_coalitions(n_players)
    fact = [factorial(k) for k in range(n_players + 1)]
    pairs = player_pairs(n_players)
    matrix = np.zeros((len(pairs), len(member)))
    for row, (i, j) in enumerate(pairs):
        others = member.sum(axis=1) - member[:, i] - member[:, j]
        weight = [fact[s] * fact[n_players - s - 2] for s in others]
        sign = np.where(member[:, i] == member[:, j], 1.0, -1.0)
        matrix[row] = sign * np.array(weight) / fact[n_players - 1]
    return matrix
