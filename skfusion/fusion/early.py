"""Early fusion: one model learns from the joined features of all modalities.

Read next: `skfusion.fusion.late`, then `skfusion.fusion.joint`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.impute import SimpleImputer
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skfusion.blocks import ModalityBlocks
from skfusion.fusion.base import BaseFusion, with_transformers
from skfusion.fusion.cohort import TrainingData
from skfusion.fusion.learners import (
    accepts_nan,
    default_learner,
    fit_learner,
    scores_of,
    seed,
    seeded,
)
from skfusion.fusion.targets import ClassifierTarget, RegressorTarget

__all__ = ["EarlyFusionClassifier", "EarlyFusionRegressor"]


def _gives_probabilities(model: Any) -> bool:
    estimator = getattr(model, "estimator_", model.estimator)
    return estimator is None or hasattr(estimator, "predict_proba")


class _EarlyFusion(BaseFusion):
    """Join the blocks of all modalities and fit one estimator on them."""

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> _EarlyFusion:
        """Fit the transformers, join their blocks, fit the estimator.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            The cohort, one row per case.
        y : array-like of shape (n_samples,)
            The target.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weights, handed to the estimator.
        groups : array-like of shape (n_samples,) or None, default=None
            Patient ids; they override the column named by the parameter `groups`.
            Handed to the estimator if its `fit` takes them.

        Returns
        -------
        self
            The fitted estimator.
        """
        data = self._start_fit(X, y, sample_weight, groups)
        rng = check_random_state(self.random_state)
        self._blocks = ModalityBlocks(seeded(self._modalities, rng))
        blocks = self._blocks.fit_transform(
            data.X, data.y, data.sample_weight, data.groups
        )
        # Unreadable images count as absent, which only the transformers find out.
        kept = self._usable_rows(blocks.presence)
        varies = np.asarray(~blocks.presence.all(axis=0))
        self._flagged = np.flatnonzero(varies)
        self._set_support(varies)
        self._log(
            "; ".join(f"{k}: {v.shape[1]} features" for k, v in blocks.arrays.items())
        )
        joined = self._join(blocks.arrays, blocks.presence)[kept]
        data = data.rows(kept)
        self._target.summarise(data.y, data.sample_weight)
        estimator = self._new_estimator()
        self._imputer = None
        if not accepts_nan(estimator):
            self._imputer = SimpleImputer(keep_empty_features=True).fit(joined)
            joined = self._imputer.transform(joined)
        self.estimator_ = fit_learner(
            self._target.adapt(seed(estimator, rng)),
            joined,
            data.y,
            sample_weight=data.sample_weight,
            groups=data.groups,
        )
        self.modalities_ = with_transformers(
            self._blocks.modalities_, lambda modality: modality.transformer
        )
        self._n_features_out = joined.shape[1]
        self._finish_fit(data, joined)
        return self

    def _finish_fit(self, data: TrainingData, joined: np.ndarray) -> None:
        """Learn what a task needs beside the estimator: nothing for most."""

    def transform(self, X: Any) -> np.ndarray:
        """Return the joined features, as the estimator is given them.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            The blocks side by side, then a 0/1 presence flag for each modality that
            was absent in some training row.
        """
        arrays, presence = self._encode(X)
        return self._joined(arrays, presence)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the joined features.

        Parameters
        ----------
        input_features : ignored
            The names are known from `fit`.

        Returns
        -------
        ndarray of str of shape (n_features,)
            ``modality__feature``, then ``modality__present``.
        """
        check_is_fitted(self, "modalities_")
        names = [
            f"{name}__{feature}"
            for name, features in self._blocks.feature_names_.items()
            for feature in features
        ]
        flags = [f"{self._modalities[j].name}__present" for j in self._flagged]
        return np.asarray(names + flags, dtype=object)

    def encode_modalities(self, X: Any) -> dict[str, np.ndarray]:
        """Return the block of each modality, the costly half of a prediction.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort.

        Returns
        -------
        dict of str to ndarray of shape (n_samples, n_features_m)
            Rows where the modality is absent are NaN.
        """
        return self._encode(X)[0]

    def predict_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Predict from the blocks that `encode_modalities` gave.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_features_m)
            One block per modality; an all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples, n_classes) or (n_samples,)
            What ``predict_proba`` (classifier) or ``predict`` (regressor) gives.
        """
        check_is_fitted(self, "modalities_")
        arrays = {name: np.asarray(Z[name]) for name in self._blocks.feature_names_}
        presence = np.column_stack(
            [~np.isnan(block).all(axis=1) for block in arrays.values()]
        )
        return self._scores(arrays, presence)

    def _encode(self, X: Any) -> tuple[dict[str, np.ndarray], np.ndarray]:
        cohort = self._read_cohort(X)
        blocks = self._blocks.transform(cohort)
        self._warn_untrained(blocks.presence)
        return blocks.arrays, blocks.presence

    def _scores(
        self, arrays: dict[str, np.ndarray], presence: np.ndarray
    ) -> np.ndarray:
        nothing = self._check_predictable(presence)
        joined = self._joined(arrays, presence)
        scores = scores_of(self.estimator_, joined, self._target)
        scores[nothing] = self._target.fallback
        return self._target.result(scores)

    def _joined(
        self, arrays: dict[str, np.ndarray], presence: np.ndarray
    ) -> np.ndarray:
        joined = self._join(arrays, presence)
        return joined if self._imputer is None else self._imputer.transform(joined)

    def _join(self, arrays: dict[str, np.ndarray], presence: np.ndarray) -> np.ndarray:
        return np.hstack([*arrays.values(), presence[:, self._flagged]])

    def _new_estimator(self) -> Any:
        if self.estimator is not None:
            return clone(self.estimator)
        return default_learner(self._target.kind, n_jobs=self.n_jobs)


class EarlyFusionClassifier(ClassifierTarget, ClassifierMixin, _EarlyFusion):
    """Classify from the joined features of all modalities (early fusion).

    Each modality's transformer turns its columns into a block of features; the blocks
    are concatenated into one vector, from which one estimator learns [1]_. An absent
    modality is a block of NaN plus a presence flag.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    estimator : classifier or None, default=None
        Learns from the joined vector; None is XGBoost (200 trees of depth 4). Where it
        does not take NaN, gaps are filled with the training means.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, turned into sample weights.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: NaN block and flag, an error, or its row is
        dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Threads of the default estimator; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds every part that has chance in it and no seed of its own.
    verbose : int, default=0
        Not 0: log what is fitted.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    estimator_ : classifier
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent in some
        training row, and ``missing="auto"``.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    LateFusionClassifier : One model per modality, predictions combined.
    JointFusionClassifier : One network, encoders fine-tuned together.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import EarlyFusionClassifier
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = EarlyFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     estimator=LogisticRegression(),
    ... ).fit(cohort.data, cohort.target)
    >>> model.predict_proba(cohort.data).shape
    (400, 2)
    """

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        class_weight: Any = None,
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.class_weight = class_weight
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    @available_if(_gives_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return self._scores(*self._encode(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self, "modalities_")
        if hasattr(self.estimator_, "predict_proba"):
            return self._target.decide(self.predict_proba(X))
        predicted = self.estimator_.predict(self.transform(X))
        return self.classes_[predicted] if predicted.ndim == 1 else predicted


class EarlyFusionRegressor(RegressorTarget, RegressorMixin, _EarlyFusion):
    """Predict a number from the joined features of all modalities (early fusion).

    Each modality's transformer turns its columns into a block of features; the blocks
    are concatenated into one vector, from which one estimator learns [1]_. An absent
    modality is a block of NaN plus a presence flag.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    estimator : regressor or None, default=None
        Learns from the joined vector; None is XGBoost (200 trees of depth 4). Where it
        does not take NaN, gaps are filled with the training means.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: NaN block and flag, an error, or its row is
        dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Threads of the default estimator; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds every part that has chance in it and no seed of its own.
    verbose : int, default=0
        Not 0: log what is fitted.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    estimator_ : regressor
        The fitted estimator.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent in some
        training row, and ``missing="auto"``.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    LateFusionRegressor : One model per modality, predictions combined.
    JointFusionRegressor : One network, encoders fine-tuned together.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import EarlyFusionRegressor
    >>> X = pd.DataFrame({"lesion_mm": [4.0, 9.0, 6.0, 12.0],
    ...                   "age": [60.0, 40.0, 45.0, 50.0]})
    >>> model = EarlyFusionRegressor(
    ...     [("image", StandardScaler(), ["lesion_mm"]),
    ...      ("ehr", StandardScaler(), ["age"])],
    ...     estimator=LinearRegression(),
    ... ).fit(X, [64.0, 49.0, 51.0, 62.0])
    >>> model.predict(X).round(1).tolist()
    [64.0, 49.0, 51.0, 62.0]
    """

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> np.ndarray:
        """Predict the target of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
        """
        return self._scores(*self._encode(X))
