"""Shapley values, interaction indices and Möbius terms of a cooperative game.

A *coalition* is a set of players, such as modalities. Its value is any number, such as
a log-odds or an AUROC. The Shapley value of a player is its marginal contribution,
averaged over all orders in which the players can join.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skfusion._validation import check_number

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


# Larger than the rounding errors of sums of 2^8 terms.
EFFICIENCY_TOLERANCE = 1e-9


def all_coalitions(n_players: int) -> np.ndarray:
    """Return all coalitions, from the empty one to that of all players.

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of bool of shape (2**M, M)
        Coalition r contains player j if bit j of r is set.

    Examples
    --------
    >>> from skfusion.inspection.shapley import all_coalitions
    >>> all_coalitions(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    numbers = np.arange(2**n_players)
    return (numbers[:, None] >> np.arange(n_players)) % 2 == 1


def shapley_matrix(n_players: int) -> np.ndarray:
    r"""Return the matrix that maps values of coalitions to Shapley values.

    .. math:: \phi_m = \sum_{S \not\ni m} \frac{|S|!\,(M-|S|-1)!}{M!}
              \left(v(S \cup m) - v(S)\right)

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of shape (M, 2**M)
        The columns are in the order of `all_coalitions`.

    References
    ----------
    Shapley LS (1953). A value for n-person games. Contributions to the Theory of
    Games II, 307-317.

    Examples
    --------
    In the glove game, player 0 has a left glove and players 1 and 2 each have a right
    one. A pair has the value 1.

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
    """Coalitions that a game evaluates, and the weights of their values.

    Attributes
    ----------
    coalitions : ndarray of bool of shape (n_coalitions, M)
        The first is empty, and the last contains all players.
    weights : ndarray of shape (M, n_coalitions)
        Shapley values are ``weights @ values``.
    joins : ndarray of int of shape (n_pairs, 2, M, 2) or None
        For a sampled game, indices of the coalitions before and after each player
        joins, for each permutation and its reverse. None if all coalitions are
        evaluated.
    """

    coalitions: np.ndarray
    weights: np.ndarray
    joins: np.ndarray | None = None

    @property
    def is_exact(self) -> bool:
        """Whether all coalitions are evaluated, without sampling."""
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
            Shapley values, which sum to ``values[-1] - values[0]``.
        """
        return np.tensordot(self.weights, values, axes=1)

    def standard_errors(self, values: np.ndarray) -> np.ndarray | None:
        """Return the standard errors that result from sampling permutations.

        Parameters
        ----------
        values : ndarray of shape (n_coalitions, ...)
            Values of the coalitions.

        Returns
        -------
        ndarray of shape (M, ...) or None
            Standard errors over the pairs of permutations. None if all coalitions are
            evaluated.
        """
        if self.joins is None:
            return None
        n_pairs = len(self.joins)
        total = np.zeros((self.coalitions.shape[1], *values.shape[1:]))
        squares = np.zeros_like(total)
        mean = self.shapley(values)
        for pair in self.joins:  # one pair at a time, to save memory
            added = (values[pair[..., 1]] - values[pair[..., 0]]).mean(axis=0)
            total += added
            squares += (added - mean) ** 2
        return np.sqrt(squares / (n_pairs - 1) / n_pairs)


def exact_plan(n_players: int) -> CoalitionPlan:
    """Plan an exact game, which evaluates all coalitions.

    Parameters
    ----------
    n_players : int
        Number of players, M. The game needs 2**M values.

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
    """Plan a game that samples joining orders (permutations) and their reverses.

    An order and its reverse are an antithetic pair, whose errors tend to have opposite
    signs [1]_.

    Parameters
    ----------
    n_players : int
        Number of players, M.
    n_permutations : int
        Number of pairs, at least 2. Each needs about ``2 * (M - 1)`` values.
    rng : RandomState
        Random state of the orders.

    Returns
    -------
    CoalitionPlan
        Coalitions that occur in several orders are included once.

    Raises
    ------
    ValueError
        If `n_permutations` is less than 2.

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
    # A standard error cannot be estimated from one pair of permutations.
    check_number(
        n_permutations, "n_permutations", "ModalityImportance", low=2, integer=True
    )
    orders = np.array([rng.permutation(n_players) for _ in range(n_permutations)])
    orders = np.stack([orders, orders[:, ::-1]], axis=1)  # (pairs, 2, M)
    place = np.argsort(orders, axis=-1)  # position of player m in the order
    # before[..., m, :] marks the players that join before player m
    before = place[..., None, :] < place[..., :, None]
    after = before | np.eye(n_players, dtype=bool)
    met = np.stack([before, after], axis=-2).reshape(-1, n_players)
    coalitions, number = np.unique(met, axis=0, return_inverse=True)
    joins = number.reshape(n_permutations, 2, n_players, 2)
    weights = np.zeros((n_players, len(coalitions)))
    for player in range(n_players):
        np.add.at(weights[player], joins[:, :, player, 1], 1.0)
        np.add.at(weights[player], joins[:, :, player, 0], -1.0)
    # np.unique sorts, so the empty coalition is first and that of all players is last.
    return CoalitionPlan(coalitions, weights / (2 * n_permutations), joins)


def shapley_values(
    value: Callable[[np.ndarray], np.ndarray],
    n_players: int,
    random_state: Any = None,
    *,
    max_exact: int = 8,
    n_permutations: int = 50,
) -> tuple[np.ndarray, np.ndarray]:
    """Compute Shapley values, exactly for few players and by sampling for more.

    Parameters
    ----------
    value : callable
        Maps coalitions, an ndarray of bool of shape (n_coalitions, M), to their values,
        an ndarray of shape (n_coalitions, ...).
    n_players : int
        Number of players, M.
    random_state : int, RandomState or None, default=None
        Seed of the sampled orders.
    max_exact : int, default=8
        Maximum number of players for which all 2**M coalitions are evaluated.
    n_permutations : int, default=50
        Number of pairs of orders that are sampled for more than `max_exact` players.

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
    """Check that the contributions sum to the value that is explained.

    Parameters
    ----------
    shapley : ndarray of shape (M, ...)
        Shapley values.
    empty, full : ndarray of shape (...)
        Values of the empty coalition and of that of all players.

    Returns
    -------
    float
        The largest absolute difference, in the unit of the values.

    Raises
    ------
    ValueError
        If a value is not finite.
    ArithmeticError
        If the difference is larger than a rounding error.

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
            "are not finite. Check the values that the estimator, or output=, returns."
        )
    largest = float(gap.max(initial=0.0))
    scale = max(1.0, float(np.abs(full).max(initial=0.0)))
    if largest > EFFICIENCY_TOLERANCE * scale:
        raise ArithmeticError(
            f"The contributions differ from the prediction by up to {largest:.1e}, "
            "which is more than a rounding error. The estimator returns different "
            "answers to equal input."
        )
    return largest


def player_pairs(n_players: int) -> list[tuple[int, int]]:
    """Return all pairs of players, in the row order of `interaction_matrix`."""
    return list(combinations(range(n_players), 2))


def moebius_matrix(n_players: int) -> np.ndarray:
    r"""Return the matrix that maps values of coalitions to Möbius terms.

    The term of a coalition is its contribution beyond all its subsets,
    :math:`m(S) = \sum_{T \subseteq S} (-1)^{|S|-|T|} v(T)`. The value of a coalition
    is the sum of the terms of its subsets.

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of shape (2**M, 2**M)
        The rows and columns are in the order of `all_coalitions`.

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
    r"""Return the matrix that maps values to Shapley interaction indices of pairs.

    .. math:: I_{ij} = \sum_{S \not\ni i, j} \frac{|S|!\,(M-|S|-2)!}{(M-1)!}
              \left(v(S \cup ij) - v(S \cup i) - v(S \cup j) + v(S)\right)

    The index is positive for synergistic players and negative for redundant players.

    Parameters
    ----------
    n_players : int
        Number of players, M.

    Returns
    -------
    ndarray of shape (M * (M - 1) / 2, 2**M)
        Rows are in the order of `player_pairs`, columns in that of `all_coalitions`.

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
