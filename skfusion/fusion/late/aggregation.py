"""The rules of late fusion: predictions of the members in, one prediction out.

Pure functions on arrays. ``P`` has shape (n_samples, n_members, n_outputs):
probabilities of the classes, or one number (a prediction, a risk) each. ``present`` is
the boolean mask (n_samples, n_members); entries of absent members are ignored, whatever
they hold. Every row must have at least one member. A row is combined by itself: no rule
looks at the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "RankTable",
    "ballots",
    "bayes",
    "log_odds",
    "maximum",
    "mean",
    "median",
    "minimum",
    "normalised",
    "product",
    "rank_average",
    "vote",
    "weighted_mean",
    "weighted_vote",
]


# Probabilities of 0 and 1 have no finite logarithm; float32 models do give them.
SMALLEST_PROBABILITY = 1e-6


def mean(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Average the members that are present.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import mean
    >>> P = np.array([[[0.2, 0.8], [0.6, 0.4]], [[0.2, 0.8], [np.nan, np.nan]]])
    >>> mean(P, np.array([[True, True], [True, False]])).round(2).tolist()
    [[0.4, 0.6], [0.2, 0.8]]
    """
    return weighted_mean(P, present, np.ones(P.shape[1]))


def weighted_mean(
    P: np.ndarray, present: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Average the members that are present, weighted; weights are renormalised.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.
    weights : ndarray of shape (n_members,)
        Weights, 0 or more. In a row whose present members all have weight 0, they
        count equally.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import weighted_mean
    >>> P = np.array([[[0.0], [10.0]]])
    >>> weighted_mean(P, np.array([[True, True]]), np.array([3.0, 1.0])).tolist()
    [[2.5]]
    """
    shares = present * np.asarray(weights, dtype=np.float64)
    idle = shares.sum(axis=1) == 0
    shares[idle] = present[idle]
    shares /= shares.sum(axis=1, keepdims=True)
    return np.einsum("nm,nmc->nc", shares, np.where(present[:, :, None], P, 0.0))


def maximum(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Take each output's largest prediction.

    Of probabilities, each class's largest one is taken and the row is divided by its
    sum: the most probable class is that of the surest member. No class is special. Of
    two classes the second gets ``max(p) / (max(p) + 1 - min(p))``, with `p` the
    members' probabilities of it; that is not ``max(p)``, "as soon as one member says
    so", which would depend on which class is called the second.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    References
    ----------
    Kittler, Hatef, Duin and Matas, On combining classifiers, IEEE Transactions on
    Pattern Analysis and Machine Intelligence 20:226-239, 1998: the max, min, median,
    product and sum rule.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import maximum
    >>> P = np.array([[[0.1, 0.9], [0.7, 0.3]]])
    >>> maximum(P, np.array([[True, True]])).round(4).tolist()
    [[0.4375, 0.5625]]
    """
    return normalised(np.where(present[:, :, None], P, -np.inf).max(axis=1))


def minimum(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Take each output's smallest prediction.

    Of probabilities, each class's smallest one is taken and the row is divided by its
    sum; where every class has a member that rules it out, all are equally probable.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import minimum
    >>> P = np.array([[[0.1, 0.9], [0.7, 0.3]]])
    >>> minimum(P, np.array([[True, True]])).round(4).tolist()
    [[0.25, 0.75]]
    """
    return normalised(np.where(present[:, :, None], P, np.inf).min(axis=1))


def median(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Take each output's median prediction; probabilities are divided by their sum.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import median
    >>> P = np.array([[[1.0], [2.0], [60.0]]])
    >>> median(P, np.array([[True, True, True]])).tolist()
    [[2.0]]
    """
    return normalised(np.nanmedian(np.where(present[:, :, None], P, np.nan), axis=1))


def product(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Multiply the members' probabilities and divide by their sum.

    Each member brings the shares of the classes with it, so that with M members the
    prior counts M times; `bayes` takes the M - 1 superfluous ones out.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import product
    >>> P = np.array([[[0.2, 0.8], [0.4, 0.6]]])
    >>> product(P, np.array([[True, True]])).round(3).tolist()
    [[0.143, 0.857]]
    """
    return bayes(P, present, np.ones(P.shape[2]))


def bayes(P: np.ndarray, present: np.ndarray, prior: np.ndarray) -> np.ndarray:
    r"""Multiply the members' evidence as Bayes' rule does.

    The probability of class c is proportional to
    :math:`\prod_m p_{mc} / \pi_c^{M - 1}`, with M the members that are present in the
    row; for two classes that is
    :math:`\mathrm{logit}\, p = \sum_m \mathrm{logit}\, p_m
    - (M - 1)\, \mathrm{logit}\, \pi`. It is exact where the members are calibrated and
    the modalities independent given the class; where they are not, shared evidence is
    counted twice.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.
    prior : ndarray of shape (n_classes,) or (n_samples, n_classes)
        Share of each class in the data that the members learned from.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import bayes
    >>> P = np.array([[[0.8, 0.2], [0.8, 0.2]]])
    >>> bayes(P, np.array([[True, True]]), np.array([0.8, 0.2])).round(3).tolist()
    [[0.8, 0.2]]
    """
    surplus = present.sum(axis=1, keepdims=True) - 1
    logs = np.where(present[:, :, None], _safe_log(P), 0.0).sum(axis=1)
    logs = logs - surplus * _safe_log(np.asarray(prior))
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def vote(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Majority vote: the share of the present members that choose each class.

    Where several classes have the most votes, their votes are shared out among them
    by their mean probability, which breaks the tie.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities, or 1 for the chosen class and 0 for the others.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import vote
    >>> P = np.array([[[0.6, 0.4], [0.55, 0.45], [0.1, 0.9]],
    ...               [[0.6, 0.4], [0.1, 0.9], [np.nan, np.nan]]])
    >>> vote(P, np.array([[True, True, True], [True, True, False]])).round(2).tolist()
    [[0.67, 0.33], [0.35, 0.65]]
    """
    return weighted_vote(P, present, np.ones(P.shape[1]))


def weighted_vote(
    P: np.ndarray, present: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Weighted vote: the weight of the present members that choose each class.

    Ties are broken as in `vote`, by the weighted mean of the probabilities.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities, or 1 for the chosen class and 0 for the others.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.
    weights : ndarray of shape (n_members,)
        Weights, as in `weighted_mean`.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Rows sum to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import weighted_vote
    >>> P = np.array([[[0.6, 0.4], [0.55, 0.45], [0.1, 0.9]]])
    >>> weighted_vote(P, np.array([[True] * 3]), np.array([1.0, 1.0, 3.0])).tolist()
    [[0.4, 0.6]]
    """
    shares = weighted_mean(ballots(P, present), present, weights)
    leading = np.isclose(shares, shares.max(axis=1, keepdims=True))
    tied = leading.sum(axis=1) > 1
    averages = np.where(leading, weighted_mean(P, present, weights), 0.0)
    pot = np.where(leading, shares, 0.0).sum(axis=1, keepdims=True)
    split = averages / averages.sum(axis=1, keepdims=True) * pot
    return np.where(tied[:, None] & leading, split, shares)


def ballots(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return 1 for the most probable class of each member and 0 for the others.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities.
    present : ndarray of bool of shape (n_samples, n_members)
        Which member predicted.

    Returns
    -------
    ndarray of shape (n_samples, n_members, n_classes)

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import ballots
    >>> ballots(np.array([[[0.6, 0.4], [0.1, 0.9]]]), np.array([[True, True]])).tolist()
    [[[1.0, 0.0], [0.0, 1.0]]]
    """
    filled = np.where(present[:, :, None], P, 0.0)
    return np.eye(P.shape[2])[filled.argmax(axis=2)]


def log_odds(P: np.ndarray) -> np.ndarray:
    """Turn probabilities into log-odds, the scale on which evidence adds up.

    Parameters
    ----------
    P : ndarray of shape (..., n_classes)
        Probabilities.

    Returns
    -------
    ndarray of shape (..., 1) or (..., n_classes)
        For two classes the log-odds of the second; for more, each class's own.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import log_odds
    >>> log_odds(np.array([[0.5, 0.5], [0.1, 0.9]])).round(3).tolist()
    [[0.0], [2.197]]
    """
    low = SMALLEST_PROBABILITY
    clipped = np.clip(P[..., 1:] if P.shape[-1] == 2 else P, low, 1 - low)
    return np.log(clipped) - np.log1p(-clipped)


def _safe_log(P: np.ndarray) -> np.ndarray:
    return np.log(np.clip(P, SMALLEST_PROBABILITY, None))


def normalised(scores: np.ndarray) -> np.ndarray:
    """Divide probabilities by their sum; one number a row stays what it is.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_outputs)
        Numbers of 0 or more, or one number a row.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        Where all are 0, every class gets the same.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import normalised
    >>> normalised(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    if scores.shape[1] == 1:
        return scores
    totals = scores.sum(axis=1, keepdims=True)
    even = np.full_like(scores, 1.0 / scores.shape[1])
    return np.divide(scores, totals, out=even, where=totals > 0)


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
    >>> from skfusion.fusion.late.aggregation import RankTable
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
    >>> from skfusion.fusion.late.aggregation import RankTable, rank_average
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
