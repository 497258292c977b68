"""Scale of the output that contributions of features add up to."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.base import is_classifier

from skfusion.inspection.features.closed_form import Contributions
from skfusion.inspection.models import predicts_risks, scale_of_risk

__all__ = ["choose_class", "scale_of"]


TOLERANCE = 1e-4  # trees add up in single precision


def scale_of(learner: Any, X: Any, found: Contributions) -> str:
    """Return what contributions add up to, by comparison with the predictions.

    Parameters
    ----------
    learner : estimator
        The fitted learner.
    X : ndarray or DataFrame of shape (n_samples, n_features)
        Its input.
    found : Contributions
        Contributions of the features of X.

    Returns
    -------
    str
        Such as ``"log-odds"``, ``"probability"`` or ``"prediction (unit of y)"``.
        ``"output of the learner"`` if it is none of the known scales.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion.inspection.features.closed_form import learner_contributions
    >>> from skfusion.inspection.features.scales import scale_of
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = LogisticRegression().fit(X, [0, 1, 0, 1])
    >>> scale_of(model, X, learner_contributions(model, X, X))
    'log-odds'
    """
    total = found.base + found.values.sum(axis=1)
    if predicts_risks(learner):
        return scale_of_risk(learner)
    if hasattr(learner, "predict_proba"):
        return _scale_of_classes(learner.predict_proba(X), total)
    if is_classifier(learner):
        return "decision function"
    predicted = np.asarray(learner.predict(X), dtype=np.float64).reshape(total.shape)
    if _equal(total, predicted):
        return "prediction (unit of y)"
    logarithm = (predicted > 0).all() and _equal(total, np.log(predicted))
    return "log of the prediction" if logarithm else "output of the learner"


def _scale_of_classes(probabilities: Any, total: np.ndarray) -> str:
    P = np.asarray(probabilities, dtype=np.float64)
    own = P[:, 1] if P.ndim == 2 and total.ndim == 1 and P.shape[1] == 2 else P
    if own.shape != total.shape:
        return "output of the learner"
    if _equal(total, own):
        return "probability"
    if _equal(expit(total), own):
        return "log-odds"
    if total.ndim == 2 and _equal(softmax(total, axis=1), own):
        return "score before softmax"
    return "output of the learner"


def _equal(total: np.ndarray, other: np.ndarray) -> bool:
    return np.allclose(total, other, rtol=TOLERANCE, atol=TOLERANCE)


def choose_class(
    found: Contributions, classes: list[Any] | None, number: int | None, scale: str
) -> tuple[Contributions, list[str] | None]:
    """Return the contributions to the explained class, or the names of all.

    Parameters
    ----------
    found : Contributions
        Contributions to the second of two classes, or to each of several.
    classes : list or None
        The classes. None for numbers.
    number : int or None
        Number of the class that is explained alone.
    scale : str
        The scale, as in `scale_of`.

    Returns
    -------
    found : Contributions
    names : list of str or None
        Names of the outputs. None for a single output.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.inspection.features.closed_form import Contributions
    >>> from skfusion.inspection.features.scales import choose_class
    >>> second = Contributions(np.array([[0.2]]), np.array([0.5]))
    >>> first, _ = choose_class(second, ["ill", "well"], 0, "probability")
    >>> first.values.tolist(), first.base.tolist()
    ([[-0.2]], [0.5])
    """
    values, base = found
    if values.ndim == 2:
        if number == 0 and classes is not None and len(classes) == 2:
            # Log-odds and scores change their sign, and probabilities are 1 - P.
            base = 1.0 - base if scale == "probability" else -base
            return Contributions(-values, base), None
        return found, None
    if number is not None:
        return Contributions(values[..., number], base[..., number]), None
    known = classes is not None and len(classes) == values.shape[2]
    names = classes if known and classes is not None else range(values.shape[2])
    return found, [str(name) for name in names]
