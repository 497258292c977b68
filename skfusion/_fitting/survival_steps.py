"""Target of the steps of a survival fusion: times, or a number per row.

Most transformers that learn from `y` were written for classes and numbers. They would
take each pair of event and time for a class of its own. They get martingale residuals,
and estimators written for survival analysis get the times.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from skfusion._dependencies import loaded
from skfusion._fitting.metadata import nested_estimators
from skfusion._fitting.parameters import own_params

__all__ = [
    "check_parts",
    "is_survival",
    "martingale_residuals",
    "target_of_step",
    "takes_survival_times",
]

DECLARATION = "takes_survival_times"
FUNCTIONS_OF_CLASSES = ("chi2", "f_classif", "mutual_info_classif")


def is_survival(y: Any) -> bool:
    """Return whether a target is a structured array, i.e. times to an event."""
    return bool(getattr(getattr(y, "dtype", None), "names", None))


def takes_survival_times(estimator: Any) -> bool:
    """Return whether an estimator, or one inside it, is written for times to an event.

    Estimators of scikit-survival and those that declare it by an attribute
    ``takes_survival_times = True`` are. So is an estimator with such a function among
    its parameters, e.g. as `score_func`.

    Parameters
    ----------
    estimator : estimator
        Transformer, selector or learner, fitted or not.

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.feature_selection import SelectFromModel
    >>> from sklearn.linear_model import Lasso
    >>> from skfusion._fitting.survival_steps import takes_survival_times
    >>> from skfusion.survival import XGBoostSurvival
    >>> [takes_survival_times(SelectFromModel(model))
    ...  for model in (XGBoostSurvival(), Lasso())]
    [True, False]
    """
    return any(_declares(part) for part in _parts(estimator))


def _parts(estimator: Any) -> Iterator[Any]:
    """Yield an estimator, those inside it, and the functions in their parameters."""
    yield estimator
    for part in nested_estimators(estimator):
        if part.estimator is not estimator:
            yield part.estimator
        if hasattr(part.estimator, "get_params"):
            params = own_params(part.estimator)
            yield from (_unwrapped(v) for v in params.values() if callable(v))


def _unwrapped(part: Any) -> Any:
    """Return the function of a partial, and anything else as it is."""
    while isinstance(part, partial):
        part = part.func
    return part


def _declares(part: Any) -> bool:
    if bool(getattr(part, DECLARATION, False)):
        return True
    kinds = [part] if isinstance(part, type) else type(part).__mro__
    return any(kind.__module__.partition(".")[0] == "sksurv" for kind in kinds)


def martingale_residuals(
    y: np.ndarray, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    r"""Return the martingale residuals of a model without features.

    The residual of a row is :math:`e - H(t)` for its event indicator :math:`e`, its
    time :math:`t` and the Nelson-Aalen estimate :math:`H` of the cumulative hazard. It
    is greater where the event came sooner than expected. To first order, its covariance
    with a feature is the score of Cox's model [1]_.

    Parameters
    ----------
    y : structured ndarray of shape (n_samples,)
        Fields ``event`` and ``time``.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.

    Returns
    -------
    ndarray of float64 of shape (n_samples,)
        At most 1. Their weighted sum is 0.

    References
    ----------
    .. [1] Therneau TM, Grambsch PM, Fleming TR (1990). Martingale-based residuals for
       survival models. Biometrika 77:147-160.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion._fitting.survival_steps import martingale_residuals
    >>> y = np.array([(True, 1.0), (False, 2.0), (True, 3.0)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> martingale_residuals(y).round(3)
    array([ 0.667, -0.333, -0.333])
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    times, place = np.unique(y["time"], return_inverse=True)
    events = np.bincount(place, weight * y["event"], minlength=len(times))
    at_risk = np.cumsum(np.bincount(place, weight, minlength=len(times))[::-1])[::-1]
    jumps = np.divide(events, at_risk, out=np.zeros(len(times)), where=events > 0)
    return y["event"] - np.cumsum(jumps)[place]


def target_of_step(step: Any, y: Any, sample_weight: np.ndarray | None = None) -> Any:
    """Return the target on which a step of a fusion is fitted.

    Parameters
    ----------
    step : transformer
        Unfitted step.
    y : ndarray of n_samples rows, or None
        Encoded target of the fusion.
    sample_weight : ndarray of shape (n_samples,) or None, default=None
        Weights of the rows.

    Returns
    -------
    ndarray of n_samples rows, or None
        Martingale residuals if `y` contains times and the step is not written for
        them, else `y`.

    Raises
    ------
    ValueError
        If the step needs classes, or parts of it need times and others numbers.
    """
    if not is_survival(y):
        return y
    check_parts(step)
    if takes_survival_times(step):
        return y
    return martingale_residuals(y, sample_weight)


def check_parts(step: Any) -> None:
    """Raise an error if a step or a part of it cannot use the target of its fusion.

    Raises
    ------
    ValueError
        If a part needs classes, or needs a number per row where another part gets the
        times.
    """
    takes_times = takes_survival_times(step)
    remedy = (
        "Use a selector of skfusion.feature_selection, "
        "SelectKBest(sklearn.feature_selection.f_regression), or a step that declares "
        f"{DECLARATION} = True."
    )
    for part in _parts(step):
        name = getattr(part, "__name__", type(part).__name__)
        known = loaded("sklearn.feature_selection", *FUNCTIONS_OF_CLASSES)
        of_classes = any(part is function for function in known)
        if of_classes or (_has_tags(part) and is_classifier(part)):
            raise ValueError(
                f"{type(step).__name__}: {name} needs classes, but y contains times "
                f"to an event. {remedy}"
            )
        if takes_times and _learns_from_y(part) and not takes_survival_times(part):
            raise ValueError(
                f"{type(step).__name__}: {name} inside it learns from a number or "
                "class per row, but another part needs the times to an event, and "
                "both get the same y. Make them steps of a Pipeline in the modality, "
                f"or put each into a modality of its own. {remedy}"
            )


def _has_tags(part: Any) -> bool:
    return hasattr(part, "__sklearn_tags__") and not isinstance(part, type)


def _learns_from_y(part: Any) -> bool:
    if isinstance(part, Pipeline) or not _has_tags(part):
        return False
    # The filters of scikit-learn, e.g. SelectKBest, do not say that they need y.
    return hasattr(part, "score_func") or bool(get_tags(part).target_tags.required)
