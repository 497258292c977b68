"""Rules of late fusion that combine the predictions of the members.

The rules are pure functions of arrays. ``P`` of shape (n_samples, n_members, n_outputs)
contains class probabilities, or one number (a prediction or a risk) per member.
``present`` is a boolean mask of shape (n_samples, n_members). Entries of absent members
are ignored. Every row must have at least one member that is present. The result of a
row does not depend on the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = [
    "RankTable",
    "ballots",
    "bayes",
    "log_odds",
    "matching_offsets",
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


# Probabilities of 0 and 1 have no finite log-odds, and float32 models return them.
SMALLEST_PROBABILITY = 1e-6
# Rounds over the classes, of which a few suffice.
MOST_ROUNDS = 20


def mean(P: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Return the mean prediction of the members that are present.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.

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
    """Return the weighted mean of the members present, with renormalised weights.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.
    weights : ndarray of shape (n_members,)
        Weights, 0 or more. If all members present in a row have weight 0, they count
        equally.

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
    """Return the largest prediction of each output.

    The largest probability of each class is divided by the sum over the classes. The
    most probable class is that of the most confident member, and all classes are
    treated alike. With two classes, the second has the probability
    ``max(p) / (max(p) + 1 - min(p))``, where `p` are the members' probabilities of it.
    A plain ``max(p)`` would depend on the order of the classes.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)

    References
    ----------
    Kittler, Hatef, Duin and Matas, On combining classifiers, IEEE Transactions on
    Pattern Analysis and Machine Intelligence 20:226-239, 1998, for the max, min,
    median, product and sum rules.

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
    """Return the smallest prediction of each output.

    The smallest probability of each class is divided by the sum over the classes. If
    each class has probability 0 by some member, all classes are equally probable.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.

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
    """Return the median prediction of each output, with probabilities normalised.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Predictions.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.

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
    """Return the normalised product of the members' probabilities.

    The probabilities of each member include the class prior, so the product of M
    members counts the prior M times. `bayes` divides by the prior M - 1 times.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.

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
    r"""Return the product of the members' evidence by Bayes' rule.

    The probability of class c is proportional to
    :math:`\prod_m p_{mc} / \pi_c^{M - 1}`, where M is the number of members present in
    the row. With two classes, it is given by
    :math:`\mathrm{logit}\, p = \sum_m \mathrm{logit}\, p_m
    - (M - 1)\, \mathrm{logit}\, \pi`. The rule is exact if the members are calibrated
    and the modalities are independent given the class. Otherwise, shared evidence is
    counted more than once.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.
    prior : ndarray of shape (n_classes,) or (n_samples, n_classes)
        Share of each class in the training data.

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
    """Return the majority vote, the share of the members that choose each class.

    If several classes have the most votes, these votes are divided among them in
    proportion to their mean probability, which breaks the tie.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities, or 1 for the predicted class and 0 for the others.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Shares of the votes. Rows sum to 1.

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
    """Return the weighted vote, the weight of the members that choose each class.

    Ties are broken as in `vote`, by the weighted mean of the probabilities.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_classes)
        Probabilities, or 1 for the predicted class and 0 for the others.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.
    weights : ndarray of shape (n_members,)
        Weights, as in `weighted_mean`.

    Returns
    -------
    ndarray of shape (n_samples, n_classes)
        Shares of the votes. Rows sum to 1.

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
        Which members are present.

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
    """Return the log-odds of probabilities, on which independent evidence is additive.

    Parameters
    ----------
    P : ndarray of shape (..., n_classes)
        Probabilities.

    Returns
    -------
    ndarray of shape (..., 1) or (..., n_classes)
        Log-odds of the second of two classes, or of each of three or more classes.

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
    """Divide probabilities by their sum, and return a single column unchanged.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_outputs)
        Numbers of 0 or more, or one number per row.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        Normalised probabilities. If all are 0, all classes are equally probable.

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
    """Empirical distribution of training scores, from which ranks are computed.

    Attributes
    ----------
    scores : list of ndarray of shape (n_scores,)
        Sorted scores of each output.
    weight : list of ndarray of shape (n_scores + 1,)
        Cumulative weight of the first 0, 1, 2 and so on of the sorted scores. Without
        sample weights, this is their number.

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
        """Return the table of scores of shape (n_samples, n_outputs)."""
        weights = np.ones(len(scores)) if sample_weight is None else sample_weight
        order = np.argsort(scores, axis=0, kind="stable")
        running = np.cumsum(weights[order], axis=0)
        running = np.vstack([np.zeros(scores.shape[1]), running])
        return cls(list(np.take_along_axis(scores, order, axis=0).T), list(running.T))

    def ranks(self, scores: np.ndarray) -> np.ndarray:
        """Return relative mid-ranks, above 0 and below 1.

        Half of the tied scores count as smaller. The case counts as tied with itself,
        so that a score beyond all training scores has a rank between 0 and 1.
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
    """Return the mean rank of the members' scores, which depends on their order only.

    Parameters
    ----------
    P : ndarray of shape (n_samples, n_members, n_outputs)
        Probabilities, or one score per member.
    present : ndarray of bool of shape (n_samples, n_members)
        Which members are present.
    tables : list of RankTable
        Table of each member.
    weights : ndarray of shape (n_members,) or None, default=None
        Weights of the members. None gives equal weights.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        Mean rank in [0, 1]. It is not a probability. A rank of 0.5 is an average case
        for any class prevalence.

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


def matching_offsets(
    scores: np.ndarray, shares: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Return what is added to scores so that their argmax has given class shares.

    Ranks know no prevalence, so the largest of them decides for each class about
    equally often. With two classes, the offsets are a threshold: the quantile of the
    scores that the share of the second class exceeds.

    Parameters
    ----------
    scores : ndarray of shape (n_samples, n_classes)
        Scores of the training rows.
    shares : ndarray of shape (n_classes,)
        Share of each class, of sum 1.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.

    Returns
    -------
    ndarray of shape (n_classes,)
        The shares are matched as closely as ties of the scores permit.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.fusion.late.aggregation import matching_offsets
    >>> second = np.arange(0.1, 1.0, 0.1)
    >>> scores = np.column_stack([1 - second, second])
    >>> offsets = matching_offsets(scores, np.array([2 / 3, 1 / 3]))
    >>> (scores + offsets).argmax(axis=1).tolist()
    [0, 0, 0, 0, 0, 0, 1, 1, 1]
    """
    weight = np.ones(len(scores)) if sample_weight is None else sample_weight
    offsets = np.zeros(scores.shape[1])
    for _ in range(MOST_ROUNDS):
        before = offsets.copy()
        for output in range(1, len(offsets)):
            shifted = scores + offsets
            shifted[:, output] = -np.inf
            margins = scores[:, output] - shifted.max(axis=1)
            offsets[output] = -_cut(margins, float(shares[output]), weight)
        if len(offsets) == 2 or np.allclose(offsets, before, rtol=0, atol=1e-9):
            break
    return offsets


def _cut(values: np.ndarray, share: float, weight: np.ndarray) -> float:
    """Return the threshold above which a weighted share of the values lies."""
    distinct, inverse = np.unique(values, return_inverse=True)
    above = np.cumsum(np.bincount(inverse, weight)[::-1])[::-1] / weight.sum()
    # Shares above a cut below all values, between two of them, and above all.
    reached = np.append(above, 0.0)
    cuts = np.r_[distinct[0] - 1, (distinct[:-1] + distinct[1:]) / 2, distinct[-1]]
    # Of two cuts that are equally near, the higher one calls fewer rows positive.
    gaps = np.abs(reached - share)
    return float(cuts[np.flatnonzero(gaps <= gaps.min() + 1e-12)[-1]])
