"""What modalities say together, beyond what each says alone: two more matrices.

Values of coalitions in; Möbius terms and interaction indices of pairs out. Read next:
`skfusion.inspection.explanation`.
"""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np

from skfusion.inspection.shapley import all_coalitions

__all__ = ["interaction_matrix", "moebius_matrix", "player_pairs"]


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
    >>> from skfusion.inspection.interactions import moebius_matrix
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
    >>> from skfusion.inspection.interactions import interaction_matrix
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
