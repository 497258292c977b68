"""Scores in, their rank among scores seen in training out.

The ranks are those of a table that is learned in `fit`, never those within the batch
that is predicted: a case has the same rank whoever is asked about beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skfusion.fusion.aggregation import weighted_mean

__all__ = ["RankTable", "rank_average"]


@dataclass(frozen=True)
class RankTable:
    """Scores seen in training, and the share of them up to each.

    Attributes
    ----------
    scores : list of ndarray of shape (n_scores,)
        Sorted scores of each output.
    shares : list of ndarray of shape (n_scores + 1,)
        Weight of the first 0, 1, 2 ... of them, as shares of the whole weight.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.ranking import RankTable
    >>> table = RankTable.learn(np.array([[10.0], [20.0], [20.0], [40.0]]))
    >>> table.ranks(np.array([[10.0], [20.0], [30.0], [99.0]])).ravel().tolist()
    [0.125, 0.5, 0.75, 1.0]
    """

    scores: list[np.ndarray]
    shares: list[np.ndarray]

    @classmethod
    def learn(
        cls, scores: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> RankTable:
        """Make the table of scores of shape (n_samples, n_outputs)."""
        weights = np.ones(len(scores)) if sample_weight is None else sample_weight
        order = np.argsort(scores, axis=0, kind="stable")
        running = np.cumsum(weights[order], axis=0)
        running = np.vstack([np.zeros(scores.shape[1]), running]) / running[-1]
        return cls(list(np.take_along_axis(scores, order, axis=0).T), list(running.T))

    def ranks(self, scores: np.ndarray) -> np.ndarray:
        """Return mid-rank shares in [0, 1]: half of the ties count as smaller."""
        columns = []
        for column, known, shares in zip(
            scores.T, self.scores, self.shares, strict=True
        ):
            below = shares[np.searchsorted(known, column, side="left")]
            up_to = shares[np.searchsorted(known, column, side="right")]
            columns.append((below + up_to) / 2)
        return np.column_stack(columns)


def rank_average(
    P: np.ndarray,
    present: np.ndarray,
    tables: list[RankTable],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Average the ranks of the members' scores, so that only their order counts.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Probabilities, or one score each.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.
    tables : list of RankTable
        One per member.
    weights : ndarray of shape (n_members,) or None, default=None
        Weights of the members; None counts them equally.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        Mean rank in [0, 1]. A rank of 0.5 is an average case, whatever share of the
        cases has the class: it is no probability.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.ranking import RankTable, rank_average
    >>> tables = [RankTable.learn(np.arange(4.0)[:, None] * 10 ** j) for j in (0, 3)]
    >>> P = np.array([[[3.0], [0.0]]])
    >>> rank_average(P, np.array([[True, True]]), tables).tolist()
    [[0.5]]
    """
    ranks = np.zeros_like(P, dtype=np.float64)
    for j, table in enumerate(tables):
        rows = present[:, j]
        ranks[rows, j] = table.ranks(P[rows, j])
    if weights is None:
        weights = np.ones(P.shape[1])
    return weighted_mean(ranks, present, weights)
