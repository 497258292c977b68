"""Out-of-fold predictions of a model as input features: `ModelFeatures`."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
import scipy.sparse
from scipy.special import logit
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.utils import Tags, check_random_state, get_tags
from sklearn.utils.validation import (
    check_consistent_length,
    check_is_fitted,
    validate_data,
)

from skfusion._fitting.modality_warnings import run_parallel
from skfusion._fitting.pipelines import count_rows, take_rows
from skfusion._fitting.state import undone_on_failure
from skfusion._fitting.survival_steps import takes_survival_times
from skfusion._validation import check_option, check_weights
from skfusion.cohort import check_groups
from skfusion.fusion.early_stopping import EarlyStopping
from skfusion.fusion.inner_estimators import (
    default_member,
    fit_on_target,
    scores_of,
    seed,
    target_for,
)
from skfusion.fusion.targets import Classes, Labels, Target
from skfusion.splits import inner_folds

__all__ = ["ModelFeatures"]


METHODS = ("auto", "predict_proba", "log_odds", "predict")
# Share of the rows held out from each fit of an estimator that stops early.
VALIDATION_FRACTION = 0.1
SMALLEST = 1e-6  # least probability, which keeps the log-odds finite


class ModelFeatures(TransformerMixin, BaseEstimator):
    """Transformer of columns into out-of-fold predictions of a model.

    Early fusion of type II joins the predicted probabilities of one modality with the
    features of another [1]_. Predictions of training rows are over-optimistic, so an
    estimator fitted on them would give them too much weight. `fit_transform` therefore
    returns out-of-fold predictions. Each comes from a model that was not fitted on the
    row or, with groups, on any row of the same patient. `transform` uses the model that
    was fitted on all rows.

    Parameters
    ----------
    estimator : classifier, regressor, Pipeline or None, default=None
        Model of the columns, which may begin with an `ImageEmbedder`. None is a
        regularised linear model on standardised features.
    cv : int, splitter or iterable, default=5
        Cross-validation folds. An integer gives folds stratified by class. They are
        patient-grouped if groups are passed to `fit`.
    method : {"auto", "predict_proba", "log_odds", "predict"}, default="auto"
        Kind of prediction: probabilities, log-odds of probabilities clipped to
        [1e-6, 1 - 1e-6], or predicted numbers. ``"auto"`` is probabilities for a
        classifier and numbers for a regressor.
    n_jobs : int or None, default=None
        Number of folds fitted at a time, by joblib. It does not change the result.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every nested estimator whose `random_state` is None.

    Attributes
    ----------
    estimator_ : estimator
        The model fitted on all rows.
    classes_ : ndarray of shape (n_classes,)
        The class labels, for a classifier.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of the columns, if all are strings.

    See Also
    --------
    skfusion.LateFusionClassifier : Combines only the predictions of all modalities.

    Notes
    -----
    ``fit(X, y).transform(X)`` and ``fit_transform(X, y)`` have different results, as in
    `sklearn.preprocessing.TargetEncoder`.

    A tenth of the rows, or of the patients, is held out from each fit of an estimator
    that stops early (``early_stopping_rounds`` of XGBoost).

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skfusion.fusion import ModelFeatures
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(200, 2)), rng.integers(0, 2, 200)  # y is random
    >>> features = ModelFeatures(DecisionTreeClassifier(), random_state=0)
    >>> held_out = features.fit_transform(X, y)
    >>> ((held_out[:, 0] > 0.5) == y).mean().round(2)
    np.float64(0.56)
    >>> ((features.transform(X)[:, 0] > 0.5) == y).mean()  # memorised
    np.float64(1.0)
    """

    __module__ = "skfusion.fusion"

    # Metadata routing passes `groups` without `set_fit_request`, because every split
    # must keep patients together.
    __metadata_request__fit = {"groups": True}

    def __init__(
        self,
        estimator: Any = None,
        *,
        cv: Any = 5,
        method: str = "auto",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.method = method
        self.n_jobs = n_jobs
        self.random_state = random_state

    @property
    def takes_survival_times(self) -> bool:
        """Whether the model is fitted on times to an event in a survival fusion."""
        return self.estimator is None or takes_survival_times(self.estimator)

    @undone_on_failure
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit the model on all rows.

        Parameters
        ----------
        X : array-like of n_samples rows
            Input of the estimator, e.g. one column of images.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, passed to the estimator.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids, passed to the estimator if its `fit` accepts them. They also
            define the folds of `fit_transform`.

        Returns
        -------
        self
            The fitted transformer.

        Raises
        ------
        ValueError
            If a parameter is out of range.
        """
        self._fit(X, y, sample_weight, groups, held_out=False)
        return self

    @undone_on_failure
    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None, groups: Any = None
    ) -> np.ndarray:
        """Fit the model on all rows and return out-of-fold predictions.

        Parameters
        ----------
        X : array-like of n_samples rows
            Input of the estimator, e.g. one column of images.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights of the rows, passed to the estimator.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids. Every fold keeps the rows of a patient on one side.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_features)
            Out-of-fold predictions, NaN in rows that the estimator cannot read.

        Raises
        ------
        ValueError
            If a parameter is out of range, or there are too few rows or patients.
        """
        scores = self._fit(X, y, sample_weight, groups, held_out=True)
        return self._features(scores)

    def transform(self, X: Any) -> np.ndarray:
        """Predict with the model that was fitted on all rows.

        Parameters
        ----------
        X : array-like of n_samples rows
            Input of the estimator, as in `fit`, with rows of other patients.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_features)
            Predictions, NaN in rows that the estimator cannot read.
        """
        check_is_fitted(self, "estimator_")
        X = self._check_X(X, reset=False)
        return self._features(scores_of(self.estimator_, X, self._target))

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the predictions.

        Parameters
        ----------
        input_features : ignored
            Not used, because `fit` sets the names.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``proba_<class>`` (with two classes only the second), ``log_odds_<class>``
            or ``prediction``.
        """
        check_is_fitted(self, "estimator_")
        names = self._target.output_names
        if self._probabilities:
            prefix = "log_odds" if self.method == "log_odds" else "proba"
            names = [f"{prefix}_{name}" for name in names]
        return np.asarray(names, dtype=object)

    # -- fitting ------------------------------------------------------------------

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, held_out: bool
    ) -> np.ndarray:
        """Fit on all rows and return the out-of-fold scores if `held_out` is True."""
        owner = type(self).__name__
        X = self._check_X(X, reset=True)
        n_rows = count_rows(X)
        encoded = self._check_target(X, y)
        weights = None
        if sample_weight is not None:
            weights = check_weights(sample_weight, n_rows, owner)
        patients = None
        if groups is not None:
            rows = pd.DataFrame(index=range(n_rows))
            patients = check_groups(groups, rows, column=None, owner=owner)
        rng = check_random_state(self.random_state)
        estimator = seed(self._new_estimator(), rng)
        everything = np.arange(n_rows)
        tasks = [(everything, everything[:0])]
        if held_out:
            tasks += inner_folds(
                self.cv,
                self._target.strata(encoded),
                patients,
                n_rows=n_rows,
                random_state=int(rng.randint(np.iinfo(np.int32).max)),
                owner=owner,
                labels=self._target.labels(encoded),
                names=self._target.names_of_strata(),
            )
        stopping = EarlyStopping.of(VALIDATION_FRACTION, [estimator], rng, owner)
        shared = (self._target, stopping)
        results = run_parallel(
            _fit_part,
            (
                (estimator, X, encoded, weights, patients, train, test, *shared)
                for train, test in tasks
            ),
            self.n_jobs,
        )
        self.estimator_ = results[0][0]
        scores = np.full((n_rows, self._target.n_outputs), np.nan)
        for (_, test), (_, found) in zip(tasks, results, strict=True):
            scores[test] = found
        return scores

    def _check_X(self, X: Any, *, reset: bool) -> Any:
        if scipy.sparse.issparse(X):
            X = X.tocsr()  # other sparse formats cannot be indexed by row
        elif not hasattr(X, "iloc") and not isinstance(X, list):
            X = np.asarray(X)
        if getattr(X, "ndim", 1) == 2:
            validate_data(self, X, skip_check_array=True, reset=reset)
        elif reset:
            self.n_features_in_ = 1
        return X

    def _check_target(self, X: Any, y: Any) -> np.ndarray:
        owner = type(self).__name__
        if y is None:
            raise ValueError(
                f"{owner} requires y to be passed, but the target y is None."
            )
        check_consistent_length(X, y)
        if self.estimator is not None and not hasattr(self.estimator, "get_params"):
            raise TypeError(
                f"{owner}: estimator must be a scikit-learn estimator or None, got "
                f"{type(self.estimator).__name__}."
            )
        self._target: Target = target_for(self.estimator, y, owner)
        encoded = self._target.encode(y)
        if self.estimator is not None:
            self._target.check_learner(self.estimator, owner)
        self._probabilities = self._target.kind in ("classes", "labels")
        known = METHODS[:3] if self._probabilities else METHODS[::3]
        check_option(
            self.method, "method", known, f"{owner} (target of {self._target.kind})"
        )
        if isinstance(self._target, (Classes, Labels)):
            self.classes_ = self._target.classes
        return encoded

    def _new_estimator(self) -> Any:
        estimator = (
            default_member(self._target.kind)
            if self.estimator is None
            else clone(self.estimator)
        )
        return self._target.adapt(estimator)

    def _features(self, scores: np.ndarray) -> np.ndarray:
        kept = self._target.informative(scores)
        if self.method != "log_odds":
            return kept
        return logit(np.clip(kept, SMALLEST, 1 - SMALLEST))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        if self.estimator is None:
            # as `default_member` does
            tags.input_tags.allow_nan = tags.input_tags.sparse = True
        elif hasattr(self.estimator, "__sklearn_tags__"):
            tags.input_tags = get_tags(self.estimator).input_tags
        tags.transformer_tags.preserves_dtype = []
        return tags


def _fit_part(
    estimator: Any,
    X: Any,
    y: np.ndarray,
    weights: np.ndarray | None,
    patients: np.ndarray | None,
    train: np.ndarray,
    test: np.ndarray,
    target: Target,
    stopping: EarlyStopping | None,
) -> tuple[Any, np.ndarray]:
    """Fit on the training rows and return the model and the scores of the test rows."""
    fitted = fit_on_target(
        clone(estimator),
        take_rows(X, train),
        y[train],
        target,
        sample_weight=None if weights is None else weights[train],
        groups=None if patients is None else patients[train],
        stopping=stopping,
    )
    if not len(test):
        return fitted, np.empty((0, target.n_outputs))
    return fitted, scores_of(fitted, take_rows(X, test), target)
