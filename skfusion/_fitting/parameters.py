"""Parameters of estimators, without a look at the signature of a class at each call."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from sklearn.base import BaseEstimator

__all__ = ["all_params", "declared_params", "own_params"]

_names: WeakKeyDictionary[type, tuple[str, ...]] = WeakKeyDictionary()
_plain: WeakKeyDictionary[type, bool] = WeakKeyDictionary()


def own_params(estimator: Any) -> dict[str, Any]:
    """Return the result of ``estimator.get_params(deep=False)``.

    scikit-learn reads the signature of the constructor at each call. A fit looks at the
    parameters of each nested estimator several times, which takes long beside the fit
    of a linear model.

    Parameters
    ----------
    estimator : estimator
        Any object with `get_params`. A `get_params` that is not scikit-learn's is
        called.

    Returns
    -------
    dict of str to any

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion._fitting.parameters import own_params
    >>> own_params(StandardScaler())
    {'copy': True, 'with_mean': True, 'with_std': True}
    """
    kind = type(estimator)
    if kind not in _plain:
        _plain[kind] = _is_plain(kind)
    if _plain[kind]:
        return declared_params(estimator)
    params: dict[str, Any] = estimator.get_params(deep=False)
    return params


def declared_params(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that the constructor declares.

    Parameters
    ----------
    estimator : BaseEstimator
        Estimator whose ``get_params(deep=False)`` is scikit-learn's or calls this
        function.

    Returns
    -------
    dict of str to any

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion._fitting.parameters import declared_params
    >>> declared_params(StandardScaler(with_std=False))
    {'copy': True, 'with_mean': True, 'with_std': False}
    """
    kind = type(estimator)
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = tuple(kind._get_param_names())
    return {name: getattr(estimator, name) for name in names}


def all_params(estimator: Any) -> dict[str, Any]:
    """Return the result of ``estimator.get_params(deep=True)``.

    Parameters
    ----------
    estimator : estimator
        Any object with `get_params`. It is called if a parameter is an estimator.

    Returns
    -------
    dict of str to any

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion._fitting.parameters import all_params
    >>> sorted(all_params(make_pipeline(StandardScaler())))[:4]
    ['memory', 'standardscaler', 'standardscaler__copy', 'standardscaler__with_mean']
    """
    if getattr(type(estimator), "get_params", None) is BaseEstimator.get_params:
        params = own_params(estimator)
        if not any(hasattr(value, "get_params") for value in params.values()):
            return params
    params = estimator.get_params(deep=True)
    return params


def _is_plain(kind: type) -> bool:
    """Return whether the own parameters are the attributes of the constructor."""
    # scikit-learn's other methods, e.g. that of `Pipeline`, differ in nested ones only.
    method = getattr(kind, "get_params", None)
    root = getattr(method, "__module__", "").partition(".")[0]
    return issubclass(kind, BaseEstimator) and root == "sklearn"
