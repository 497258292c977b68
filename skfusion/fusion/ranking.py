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
    """Scores seen in training, and how many there are up to each.

    Attributes
    ----------
    scores : list of ndarray of shape (n_scores,)
        Sorted scores of each output.
    weight : list of ndarray of shape (n_scores + 1,)
        Weight of the first 0, 1, 2 ... of them; without weights, their number.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.ranking import RankTable
    >>> table = RankTable.learn(np.array([[10.0], [20.0], [20.0], [40.0]]))
    >>> table.ranks(np.array([[10.0], [20.0], [30.0], [99.0]])).ravel().tolist()
    [0.2, 0.5, 0.7, 0.9]
    """

    scores: list[np.ndarray]
    weight: list[np.ndarray]

    @classmethod
    def learn(
        cls, scores: np.ndarray, sample_weight: np.ndarray | None = None
    ) -> RankTable:
        """Make the table of scores of shape (n_samples, n_outputs)."""
        weights = np.ones(len(scores)) if sample_weight is None else sample_weight
        order = np.argsort(scores, axis=0, kind="stable")
        running = np.cumsum(weights[order], axis=0)
        running = np.vstack([np.zeros(scores.shape[1]), running])
        return cls(list(np.take_along_axis(scores, order, axis=0).T), list(running.T))

    def ranks(self, scores: np.ndarray) -> np.ndarray:
        """Return mid-rank shares, above 0 and below 1.

        Half of the ties count as smaller, and the case itself as its own tie, so that
        one beyond all that was seen is not certain.
        """
        columns = []
        for column, known, weight in zip(
            scores.T, self.scores, self.weight, strict=True
        ):
            below = weight[np.searchsorted(known, column, side="left")]
            up_to = weight[np.searchsorted(known, column, side="right")]
            columns.append((below + up_to + 1) / (2 * weight[-1] + 2))
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
