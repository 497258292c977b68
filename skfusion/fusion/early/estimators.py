"""Early fusion: one model learns from the joined features of all modalities.

How is in `skfusion.fusion.early.base`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, clone
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skfusion.cohort import TrainingData
from skfusion.fusion.early.base import BaseEarlyFusion
from skfusion.fusion.survival import SurvivalFusion
from skfusion.fusion.targets import ClassifierTarget, RegressorTarget
from skfusion.splits import inner_folds

__all__ = ["EarlyFusionClassifier", "EarlyFusionRegressor", "EarlyFusionSurvival"]


def _gives_probabilities(model: Any) -> bool:
    estimator = getattr(model, "estimator_", model.estimator)
    return estimator is None or hasattr(estimator, "predict_proba")


class EarlyFusionClassifier(ClassifierTarget, ClassifierMixin, BaseEarlyFusion):
    """Classify from the joined features of all modalities (early fusion).

    Each modality's transformer turns its columns into a block of features; the blocks
    are joined into one vector, from which one estimator learns [1]_. An absent modality
    is a block of NaN, which a join leaves out, plus a presence flag.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    estimator : classifier or None, default=None
        Learns from the joined vector; None is XGBoost (200 trees of depth 4,
        64 bins). Where it does not take NaN, gaps are filled with the training means.
    join : {"concat", "pool", "gated"} or join object, default="concat"
        What becomes of the blocks: ``"concat"`` puts them side by side; ``"pool"``
        pools equally wide blocks feature by feature over the modalities present;
        ``"gated"`` learns a gated multimodal unit, by torch. An object with the
        methods of `skfusion.fusion.early.joins.Pool` is a join of your own.
    join_params : dict or None, default=None
        Options of the join: ``pooling`` ("mean", or "max", "min", "sum") of
        ``"pool"``; ``n_units`` (16), ``weight_decay`` (0.01) and ``max_iter`` (200) of
        ``"gated"``.
    balance : {"scale", "replicate"} or None, default=None
        Against blocks of unlike width: multiply each by one number, so that all have
        the total variance of the one that varies most; or put copies of a narrow block
        side by side until it is about as wide as the widest. Trees, and the gated unit,
        are indifferent to the scale.
    absence_copies : float or "auto", default="auto"
        Weight, relative to that of their row, of two copies of each training row that
        share its modalities between them, so that the model learns to do without; 0
        for none. ``"auto"`` is 1 for an estimator that takes NaN, unless it splits its
        rows again (``cv``, ``early_stopping``), and 0 for others.
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
    fusion_type_ : {"I", "II"}
        Early fusion type I if only original features are joined: every feature bears
        the name of a column (scaled, filled, chosen, encoded). Type II if some were
        extracted: components, embeddings, measurements, a model's predictions.
    join_ : join object
        The fitted join.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent or
        hidden in some training row, and ``missing="auto"``.
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
        join: Any = "concat",
        join_params: Any = None,
        balance: str | None = None,
        absence_copies: Any = "auto",
        class_weight: Any = None,
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.join = join
        self.join_params = join_params
        self.balance = balance
        self.absence_copies = absence_copies
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


class EarlyFusionRegressor(RegressorTarget, RegressorMixin, BaseEarlyFusion):
    """Predict a number from the joined features of all modalities (early fusion).

    Each modality's transformer turns its columns into a block of features; the blocks
    are joined into one vector, from which one estimator learns [1]_. An absent modality
    is a block of NaN, which a join leaves out, plus a presence flag.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    estimator : regressor or None, default=None
        Learns from the joined vector; None is XGBoost (200 trees of depth 4,
        64 bins). Where it does not take NaN, gaps are filled with the training means.
    join : {"concat", "pool", "gated"} or join object, default="concat"
        What becomes of the blocks: ``"concat"`` puts them side by side; ``"pool"``
        pools equally wide blocks feature by feature over the modalities present;
        ``"gated"`` learns a gated multimodal unit, by torch. An object with the
        methods of `skfusion.fusion.early.joins.Pool` is a join of your own.
    join_params : dict or None, default=None
        Options of the join: ``pooling`` ("mean", or "max", "min", "sum") of
        ``"pool"``; ``n_units`` (16), ``weight_decay`` (0.01) and ``max_iter`` (200) of
        ``"gated"``.
    balance : {"scale", "replicate"} or None, default=None
        Against blocks of unlike width: multiply each by one number, so that all have
        the total variance of the one that varies most; or put copies of a narrow block
        side by side until it is about as wide as the widest. Trees, and the gated unit,
        are indifferent to the scale.
    absence_copies : float or "auto", default="auto"
        Weight, relative to that of their row, of two copies of each training row that
        share its modalities between them, so that the model learns to do without; 0
        for none. ``"auto"`` is 1 for an estimator that takes NaN, unless it splits its
        rows again (``cv``, ``early_stopping``), and 0 for others.
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
    fusion_type_ : {"I", "II"}
        Early fusion type I if only original features are joined: every feature bears
        the name of a column (scaled, filled, chosen, encoded). Type II if some were
        extracted: components, embeddings, measurements, a model's predictions.
    join_ : join object
        The fitted join.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: it was absent or
        hidden in some training row, and ``missing="auto"``.
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
        join: Any = "concat",
        join_params: Any = None,
        balance: str | None = None,
        absence_copies: Any = "auto",
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.join = join
        self.join_params = join_params
        self.balance = balance
        self.absence_copies = absence_copies
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


class EarlyFusionSurvival(SurvivalFusion, BaseEarlyFusion):
    """Predict censored times from the joined features of all modalities.

    Early fusion [1]_ whose target is a time to an event. `predict` gives a risk,
    greater where the event is expected sooner; survival curves come from Cox's model
    of out-of-fold risks.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. With ``"auto"``, each column of
        images is a modality and the other columns are one EHR modality.
    estimator : survival estimator or None, default=None
        Learns from the joined vector: anything whose `fit` takes scikit-survival's
        structured `y` and whose `predict` gives a risk. None is `XGBoostSurvival`.
    join : {"concat", "pool", "gated"} or join object, default="concat"
        What becomes of the blocks: ``"concat"`` puts them side by side; ``"pool"``
        pools equally wide blocks feature by feature over the modalities present;
        ``"gated"`` learns a gated multimodal unit, by torch. An object with the
        methods of `skfusion.fusion.early.joins.Pool` is a join of your own.
    join_params : dict or None, default=None
        Options of the join: ``pooling`` ("mean", or "max", "min", "sum") of
        ``"pool"``; ``n_units`` (16), ``weight_decay`` (0.01) and ``max_iter`` (200) of
        ``"gated"``.
    balance : {"scale", "replicate"} or None, default=None
        Against blocks of unlike width: multiply each by one number, so that all have
        the total variance of the one that varies most; or put copies of a narrow block
        side by side until it is about as wide as the widest. Trees, and the gated unit,
        are indifferent to the scale.
    absence_copies : float or "auto", default="auto"
        Weight, relative to that of their row, of two copies of each training row that
        share its modalities between them, so that the model learns to do without; 0
        for none. ``"auto"`` is 1 for an estimator that takes NaN, unless it splits its
        rows again (``cv``, ``early_stopping``), and 0 for others.
    cv : int, splitter or None, default=5
        Folds in which the whole model is fitted again for the risks that the curves
        are learned from; whole patients where groups are given. None takes the risks
        of the training rows themselves: one fit instead of six, but curves that are
        too sure of themselves.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: NaN block and flag, an error, or its row is
        dropped in `fit` with a warning (and refused in prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Threads of the default estimator; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds the folds and every part that has chance in it and no seed of its own.
    verbose : int, default=0
        Not 0: log what is fitted.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities that are used, inferred ones included.
    estimator_ : survival estimator
        The fitted estimator.
    fusion_type_ : {"I", "II"}
        Early fusion type I if only original features are joined: every feature bears
        the name of a column (scaled, filled, chosen, encoded). Type II if some were
        extracted: components, embeddings, measurements, a model's predictions.
    join_ : join object
        The fitted join.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    LateFusionSurvival : One model per modality, risks combined.
    JointFusionSurvival : One network, encoders fine-tuned together.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.survival import EarlyFusionSurvival
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(200, task="regression", random_state=0)
    >>> y = np.array([(True, time) for time in np.exp(-cohort.target)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> model = EarlyFusionSurvival(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     cv=2, random_state=0,
    ... ).fit(cohort.data, y)
    >>> model.predict_survival_function(cohort.data, times=[0.5, 1, 2]).shape
    (200, 3)
    """

    _task = "survival"

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        join: Any = "concat",
        join_params: Any = None,
        balance: str | None = None,
        absence_copies: Any = "auto",
        cv: Any = 5,
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.join = join
        self.join_params = join_params
        self.balance = balance
        self.absence_copies = absence_copies
        self.cv = cv
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> np.ndarray:
        """Predict the risk of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
            Greater where the event is expected sooner.
        """
        return self._scores(*self._encode(X))

    def _finish_fit(self, data: TrainingData, joined: np.ndarray) -> None:
        if self.cv is None:
            risk = self._target.ask(self.estimator_, joined)[:, 0]
        else:
            risk = self._out_of_fold_risk(data)
        self._set_curves(risk, data.y, data.sample_weight)

    def _out_of_fold_risk(self, data: TrainingData) -> np.ndarray:
        seed = check_random_state(self.random_state).randint(np.iinfo(np.int32).max)
        folds = inner_folds(
            self.cv,
            self._target.strata(data.y),
            data.groups,
            n_rows=len(data.y),
            random_state=int(seed),
            owner=type(self).__name__,
        )
        risk = np.empty(len(data.y))
        for train, test in folds:
            part = data.rows(train)
            model = clone(self).set_params(
                cv=None,
                groups=None,
                modalities=self.modalities_,
                random_state=int(seed),
            )
            with warnings.catch_warnings():
                # the fit on all rows has already said what there is to say
                warnings.simplefilter("ignore", UserWarning)
                model.fit(part.X, part.y, part.sample_weight, part.groups)
                risk[test] = model.predict(data.X.iloc[test])
        return risk
