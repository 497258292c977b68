"""One learner per label or per number, for learners of a single output."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.utils._param_validation import HasMethods

from skfusion.fusion.early_stopping import Evaluation, evaluation_arguments

__all__ = ["ClassifierPerLabel", "RegressorPerNumber"]


class ClassifierPerLabel(MultiOutputClassifier):
    """One classifier per label, and a constant for a label with one value.

    It is the `MultiOutputClassifier` of scikit-learn with two additions. A label that
    has one value in all rows does not end the fit of the others. Classifiers that stop
    early get the rows for validation.

    Parameters
    ----------
    estimator : classifier
        Classifier of one label.
    n_jobs : int or None, default=None
        Number of labels that are fitted at a time, by joblib.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skfusion.fusion.per_output import ClassifierPerLabel
    >>> X, Y = np.arange(4.0)[:, None], np.array([[0, 0], [0, 0], [1, 0], [1, 0]])
    >>> ClassifierPerLabel(LogisticRegression()).fit(X, Y).predict([[3.0]])
    array([[1, 0]])
    """

    estimators_: list[Any]
    # An unfitted StackingClassifier without a final estimator has no method predict.
    _parameter_constraints = {  # noqa: RUF012
        **MultiOutputClassifier._parameter_constraints,
        "estimator": [HasMethods("fit")],
    }

    def fit(
        self,
        X: Any,
        Y: Any,
        sample_weight: Any = None,
        evaluation: Evaluation | None = None,
        **fit_params: Any,
    ) -> ClassifierPerLabel:
        """Fit one classifier per label.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        Y : array-like of shape (n_samples, n_labels)
            Indicator matrix.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        evaluation : Evaluation or None, default=None
            Rows for validation of classifiers that stop early.
        **fit_params : any
            Passed to the `fit` of each classifier.

        Returns
        -------
        self
            The fitted estimator.
        """
        Y = np.asarray(Y)
        varying = np.flatnonzero(np.ptp(Y, axis=0) > 0).tolist()
        fitted: list[Any] = []
        if evaluation is not None:
            fitted = [
                _fit_output(self, X, Y, j, sample_weight, evaluation, fit_params)
                for j in varying
            ]
        elif len(varying):
            super().fit(X, Y[:, varying], sample_weight=sample_weight, **fit_params)
            fitted = self.estimators_
        learned = dict(zip(varying, fitted, strict=True))
        self.estimators_ = [
            learned[j] if j in learned else _constant(X, Y[:, j])
            for j in range(Y.shape[1])
        ]
        self.classes_ = [estimator.classes_ for estimator in self.estimators_]
        return self


class RegressorPerNumber(MultiOutputRegressor):
    """One regressor per number, with rows for validation if they stop early.

    Parameters
    ----------
    estimator : regressor
        Regressor of one number.
    n_jobs : int or None, default=None
        Number of regressors that are fitted at a time, by joblib.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LinearRegression
    >>> from skfusion.fusion.per_output import RegressorPerNumber
    >>> X = np.arange(4.0)[:, None]
    >>> model = RegressorPerNumber(LinearRegression()).fit(X, np.hstack([X, 2 * X]))
    >>> model.predict([[5.0]]).round(6)
    array([[ 5., 10.]])
    """

    _parameter_constraints = {  # noqa: RUF012
        **MultiOutputRegressor._parameter_constraints,
        "estimator": [HasMethods("fit")],
    }

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        evaluation: Evaluation | None = None,
        **fit_params: Any,
    ) -> RegressorPerNumber:
        """Fit one regressor per number.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples, n_outputs)
            Numbers.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows.
        evaluation : Evaluation or None, default=None
            Rows for validation of regressors that stop early.
        **fit_params : any
            Passed to the `fit` of each regressor.

        Returns
        -------
        self
            The fitted estimator.
        """
        if evaluation is None:
            super().fit(X, y, sample_weight=sample_weight, **fit_params)
            return self
        y = np.asarray(y)
        self.estimators_ = [
            _fit_output(self, X, y, j, sample_weight, evaluation, fit_params)
            for j in range(y.shape[1])
        ]
        return self


def _fit_output(
    multiple: Any,
    X: Any,
    Y: np.ndarray,
    j: int,
    sample_weight: Any,
    evaluation: Evaluation,
    fit_params: dict[str, Any],
) -> Any:
    estimator = clone(multiple.estimator)
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    arguments = evaluation_arguments(estimator, evaluation.output(j))
    return estimator.fit(X, Y[:, j], **weights, **fit_params, **arguments)


def _constant(X: Any, y: np.ndarray) -> DummyClassifier:
    return DummyClassifier(strategy="constant", constant=y[0]).fit(X, y)
