"""Probabilities in, margins out: the scale on which effects add up."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logit

__all__ = ["class_margins", "class_margins_of_logits", "log_odds"]

SMALLEST = 1e-12  # a probability of 0 has no log-odds


def log_odds(probabilities: np.ndarray) -> np.ndarray:
    """Return log-odds, of probabilities cut to [1e-12, 1 - 1e-12].

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.margins import log_odds
    >>> log_odds(np.array([[0.5], [0.75]])).round(4).tolist()
    [[0.0], [1.0986]]
    """
    clipped = np.clip(np.asarray(probabilities, np.float64), SMALLEST, 1 - SMALLEST)
    return logit(clipped)


def class_margins(probabilities: np.ndarray) -> np.ndarray:
    """Return margins, on which what a model adds up stays a sum.

    Parameters
    ----------
    probabilities : ndarray of shape (n_samples, n_classes)
        Of classes that exclude each other.

    Returns
    -------
    ndarray of float64 of shape (n_samples, n_classes)
        Of two classes the log-odds of each; of more, the logarithms of the
        probabilities less their mean over the classes.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.margins import class_margins
    >>> class_margins(np.array([[0.25, 0.75]])).round(4).tolist()
    [[-1.0986, 1.0986]]
    """
    if probabilities.shape[1] == 2:
        return log_odds(probabilities)
    return class_margins_of_logits(np.log(np.maximum(probabilities, SMALLEST)))


def class_margins_of_logits(logits: Any) -> Any:
    """Return the same of the inputs (n_samples, n_classes) of a softmax."""
    if logits.shape[1] == 2:
        return logits - logits[:, [1, 0]]
    return logits - logits.mean(1)[:, None]
