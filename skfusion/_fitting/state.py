"""State of estimators during `fit`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

__all__ = ["undone_on_failure"]

Fit = TypeVar("Fit", bound=Callable[..., Any])


def undone_on_failure(fit: Fit) -> Fit:
    """Return a `fit` that leaves the estimator unchanged if it fails or is interrupted.

    A first fit that fails leaves the estimator unfitted. A later one leaves the
    attributes of the fit before, so that predictions stay those of one model.
    Attributes must be replaced in `fit` and not changed in place.

    The context variables are also as before, e.g. the modality that warnings name. A
    ``with`` block cannot ensure that, because an interrupt may come within its exit.

    Parameters
    ----------
    fit : callable
        Method ``fit(self, X, y, ...)`` or ``fit_transform(self, X, y, ...)``.

    Returns
    -------
    callable
        The method, with the same signature.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> from skfusion._fitting.state import undone_on_failure
    >>> class Mean(BaseEstimator):
    ...     @undone_on_failure
    ...     def fit(self, X, y=None):
    ...         self.n_rows_ = len(X)
    ...         self.mean_ = sum(X) / len(X)
    ...         return self
    >>> mean = Mean().fit([1.0, 3.0])
    >>> try:
    ...     mean.fit([1.0, "a", 2.0])
    ... except TypeError:
    ...     print(mean.n_rows_, mean.mean_)
    2 2.0
    """

    @functools.wraps(fit)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(self.__dict__)
        try:
            return copy_context().run(fit, self, *args, **kwargs)
        except BaseException:
            self.__dict__ = before
            raise

    return wrapped  # type: ignore[return-value]
