"""Early fusion estimators for classification, regression and survival analysis."""

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
from skfusion.fusion.inner_estimators import scores_of
from skfusion.fusion.survival import SurvivalFusion
from skfusion.fusion.targets import ClassifierTarget, RegressorTarget
from skfusion.splits import inner_folds

__all__ = ["EarlyFusionClassifier", "EarlyFusionRegressor", "EarlyFusionSurvival"]


def _gives_probabilities(model: Any) -> bool:
    estimator = getattr(model, "estimator_", model.estimator)
    return estimator is None or hasattr(estimator, "predict_proba")


def _has_decision_function(model: Any) -> bool:
    estimator = getattr(model, "estimator_", model.estimator)
    return hasattr(estimator, "decision_function")


class EarlyFusionClassifier(ClassifierTarget, ClassifierMixin, BaseEarlyFusion):
    """Early fusion classifier, fitted on the joined features of all modalities.

    The transformer of each modality turns its columns into a block of features. The
    blocks are joined into one vector per row, on which one estimator is fitted [1]_. An
    absent modality is a block of NaN, which a join ignores, plus a presence flag.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    estimator : classifier or None, default=None
        Estimator that is fitted on the joined features. None is XGBoost (200 trees of
        depth 4, 64 bins). Each tree sees half of the columns, but at least 16 or all of
        fewer. The parameters of this default can be set by name, e.g.
        ``estimator__max_depth``. If the estimator does not support NaN, missing values
        are imputed with the training means.
    join : {"concat", "pool", "gated"} or join object, default="concat"
        Method that joins the blocks. ``"concat"`` concatenates them. ``"pool"`` pools
        equally wide blocks feature by feature over the modalities present. ``"gated"``
        fits a gated multimodal unit with torch. A custom join is an object with the
        methods of `skfusion.fusion.early.joins.Pool`.
    join_params : dict or None, default=None
        Options of a named join. ``"pool"`` has ``pooling`` ("mean" by default, or
        "max", "min", "sum"). ``"gated"`` has ``n_units`` (16), ``weight_decay`` (0.01)
        and ``max_iter`` (200).
    balance : {"scale", "replicate"} or None, default=None
        Method that gives blocks of different width equal weight. ``"scale"`` multiplies
        each block by one factor, so that all have the largest total variance.
        ``"replicate"`` repeats a narrow block until it is about as wide as the widest.
        Trees and the gated unit do not depend on the scale.
    absence_copies : float or "auto", default="auto"
        Weight of two additional copies of each training row, relative to the row. Each
        modality of the row is present in only one of the two copies, so that the model
        is trained with absent modalities. A weight of 0 adds no copies. ``"auto"`` is 1
        for an estimator that supports NaN, unless it or a part of it holds out rows
        (``cv``, ``oob_score``, early stopping), and 0 for others.
    validation_fraction : float, default=0.1
        Share of the rows, or of the patients if groups are given, that are held out
        from each fit of a learner that stops early (``early_stopping_rounds`` of
        XGBoost and CatBoost, ``early_stopping_round`` of LightGBM). It is not used
        otherwise. The held-out rows are not fitted on. With 0, or with too few rows,
        the learner is fitted without early stopping.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes by label, which multiply the sample weights. Classes that
        a dict omits have weight 1. ``"balanced"`` weights each class by the inverse of
        its share of the sample weights.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Handling of absent modalities. ``"auto"`` uses NaN blocks and presence flags.
        ``"error"`` raises an error. ``"complete_case"`` drops their rows in `fit` with
        a warning and raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted at a time, by joblib. The
        threads of the default learner are `estimator__n_jobs`.
    random_state : int, RandomState or None, default=None
        Seed of every nested estimator whose `random_state` is None.
    verbose : int, default=0
        If positive, print progress to standard error.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities used, including inferred ones.
    estimator_ : classifier
        The fitted estimator.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    fusion_type_ : {"I", "II"}
        Fusion type I if only original features are joined, i.e. scaled, imputed,
        selected or encoded columns. Fusion type II if some features were extracted,
        e.g. components, embeddings, measurements or predictions of a model.
    join_ : join object
        The fitted join.
    supports_missing_ : dict of str to bool
        Whether the model was trained with the modality absent. This requires
        ``missing="auto"`` and a training row, or a copy of one, without the modality.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    LateFusionClassifier : One model per modality with combined predictions.
    JointFusionClassifier : One network with jointly fine-tuned encoders.

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

    __module__ = "skfusion.fusion"

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        join: Any = "concat",
        join_params: Any = None,
        balance: str | None = None,
        absence_copies: Any = "auto",
        validation_fraction: float = 0.1,
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
        self.validation_fraction = validation_fraction
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
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities of the classes, in the order of `classes_`.
        """
        return self._scores(*self._encode(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        check_is_fitted(self, "modalities_")
        if hasattr(self.estimator_, "predict_proba"):
            return self._target.decide(self.predict_proba(X))
        arrays, presence = self._encode(X)
        self._check_predictable(presence)
        joined = self._as_input(self._joined(arrays, presence))
        predicted = self._target.decisions(self.estimator_, joined)
        return self.classes_[predicted] if predicted.ndim == 1 else predicted

    @available_if(_has_decision_function)
    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the decision function of the estimator on the joined features.

        It is available if the estimator has one, as in a `Pipeline`.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Scores in the order of `classes_`. For two classes, positive scores predict
            the second. Rows without any modality have the logits of the class
            frequencies, or the score of the mean features if the estimator has no
            probabilities.
        """
        check_is_fitted(self, "modalities_")
        return self._decide(*self._encode(X))

    def decision_encoded(self, Z: dict[str, np.ndarray]) -> np.ndarray:
        """Compute the decision function from the blocks of `encode_modalities`.

        Parameters
        ----------
        Z : dict of str to ndarray of shape (n_samples, n_features_m)
            One block per modality, where an all-NaN row is an absent modality.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        return self._decide(*self._read_encoded(Z))

    def _decide(
        self, arrays: dict[str, np.ndarray], presence: np.ndarray
    ) -> np.ndarray:
        nothing = self._check_predictable(presence)
        joined = self._as_input(self._joined(arrays, presence))
        scores = self._target.ordered(
            self.estimator_, np.asarray(self.estimator_.decision_function(joined))
        )
        if nothing.any() and hasattr(self.estimator_, "predict_proba"):
            usual = self._target.logits(self._target.fallback[None])
            if usual.shape[1:] == scores.shape[1:]:  # not one score per pair of classes
                scores[nothing] = usual
        return scores


class EarlyFusionRegressor(RegressorTarget, RegressorMixin, BaseEarlyFusion):
    """Early fusion regressor, fitted on the joined features of all modalities.

    The transformer of each modality turns its columns into a block of features. The
    blocks are joined into one vector per row, on which one estimator is fitted [1]_. An
    absent modality is a block of NaN, which a join ignores, plus a presence flag.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    estimator : regressor or None, default=None
        Estimator that is fitted on the joined features. None is XGBoost (200 trees of
        depth 4, 64 bins). Each tree sees half of the columns, but at least 16 or all of
        fewer. The parameters of this default can be set by name, e.g.
        ``estimator__max_depth``. If the estimator does not support NaN, missing values
        are imputed with the training means.
    join : {"concat", "pool", "gated"} or join object, default="concat"
        Method that joins the blocks. ``"concat"`` concatenates them. ``"pool"`` pools
        equally wide blocks feature by feature over the modalities present. ``"gated"``
        fits a gated multimodal unit with torch. A custom join is an object with the
        methods of `skfusion.fusion.early.joins.Pool`.
    join_params : dict or None, default=None
        Options of a named join. ``"pool"`` has ``pooling`` ("mean" by default, or
        "max", "min", "sum"). ``"gated"`` has ``n_units`` (16), ``weight_decay`` (0.01)
        and ``max_iter`` (200).
    balance : {"scale", "replicate"} or None, default=None
        Method that gives blocks of different width equal weight. ``"scale"`` multiplies
        each block by one factor, so that all have the largest total variance.
        ``"replicate"`` repeats a narrow block until it is about as wide as the widest.
        Trees and the gated unit do not depend on the scale.
    absence_copies : float or "auto", default="auto"
        Weight of two additional copies of each training row, relative to the row. Each
        modality of the row is present in only one of the two copies, so that the model
        is trained with absent modalities. A weight of 0 adds no copies. ``"auto"`` is 1
        for an estimator that supports NaN, unless it or a part of it holds out rows
        (``cv``, ``oob_score``, early stopping), and 0 for others.
    validation_fraction : float, default=0.1
        Share of the rows, or of the patients if groups are given, that are held out
        from each fit of a learner that stops early (``early_stopping_rounds`` of
        XGBoost and CatBoost, ``early_stopping_round`` of LightGBM). It is not used
        otherwise. The held-out rows are not fitted on. With 0, or with too few rows,
        the learner is fitted without early stopping.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Handling of absent modalities. ``"auto"`` uses NaN blocks and presence flags.
        ``"error"`` raises an error. ``"complete_case"`` drops their rows in `fit` with
        a warning and raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted at a time, by joblib. The
        threads of the default learner are `estimator__n_jobs`.
    random_state : int, RandomState or None, default=None
        Seed of every nested estimator whose `random_state` is None.
    verbose : int, default=0
        If positive, print progress to standard error.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities used, including inferred ones.
    estimator_ : regressor
        The fitted estimator.
    fusion_type_ : {"I", "II"}
        Fusion type I if only original features are joined, i.e. scaled, imputed,
        selected or encoded columns. Fusion type II if some features were extracted,
        e.g. components, embeddings, measurements or predictions of a model.
    join_ : join object
        The fitted join.
    supports_missing_ : dict of str to bool
        Whether the model was trained with the modality absent. This requires
        ``missing="auto"`` and a training row, or a copy of one, without the modality.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    LateFusionRegressor : One model per modality with combined predictions.
    JointFusionRegressor : One network with jointly fine-tuned encoders.

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

    __module__ = "skfusion.fusion"

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        join: Any = "concat",
        join_params: Any = None,
        balance: str | None = None,
        absence_copies: Any = "auto",
        validation_fraction: float = 0.1,
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
        self.validation_fraction = validation_fraction
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
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
        """
        return self._scores(*self._encode(X))


class EarlyFusionSurvival(SurvivalFusion, BaseEarlyFusion):
    """Early fusion survival estimator, fitted on the joined features of all modalities.

    The target of this early fusion [1]_ is a censored time to an event. `predict`
    returns a risk, which is greater where the event is expected sooner. Cox's model of
    the out-of-fold risks gives the survival curves.

    Parameters
    ----------
    modalities : list of (str, transformer, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    estimator : survival estimator or None, default=None
        Estimator that is fitted on the joined features. Its `fit` takes the structured
        `y` of scikit-survival, and its `predict` returns a risk. None is
        `XGBoostSurvival`, whose trees see half of the columns, but at least 16 or all
        of fewer. The parameters of this default can be set by name, e.g.
        ``estimator__max_depth``. If the estimator does not support NaN, missing values
        are imputed with the training means.
    join : {"concat", "pool", "gated"} or join object, default="concat"
        Method that joins the blocks. ``"concat"`` concatenates them. ``"pool"`` pools
        equally wide blocks feature by feature over the modalities present. ``"gated"``
        fits a gated multimodal unit with torch. A custom join is an object with the
        methods of `skfusion.fusion.early.joins.Pool`.
    join_params : dict or None, default=None
        Options of a named join. ``"pool"`` has ``pooling`` ("mean" by default, or
        "max", "min", "sum"). ``"gated"`` has ``n_units`` (16), ``weight_decay`` (0.01)
        and ``max_iter`` (200).
    balance : {"scale", "replicate"} or None, default=None
        Method that gives blocks of different width equal weight. ``"scale"`` multiplies
        each block by one factor, so that all have the largest total variance.
        ``"replicate"`` repeats a narrow block until it is about as wide as the widest.
        Trees and the gated unit do not depend on the scale.
    absence_copies : float or "auto", default="auto"
        Weight of two additional copies of each training row, relative to the row. Each
        modality of the row is present in only one of the two copies, so that the model
        is trained with absent modalities. A weight of 0 adds no copies. ``"auto"`` is 1
        for an estimator that supports NaN, unless it or a part of it holds out rows
        (``cv``, ``oob_score``, early stopping), and 0 for others.
    validation_fraction : float, default=0.1
        Share of the rows, or of the patients if groups are given, that are held out
        from each fit of a learner that stops early (``early_stopping_rounds`` of
        XGBoost and CatBoost, ``early_stopping_round`` of LightGBM). It is not used
        otherwise. The held-out rows are not fitted on. With 0, or with too few rows,
        the learner is fitted without early stopping.
    cv : int, splitter or None, default=5
        Cross-validation folds for the out-of-fold risks on which the survival curves
        are fitted. The whole model is fitted again in each fold. The folds are
        patient-grouped if groups are given. None uses the risks of the training rows,
        which saves these fits but gives over-confident curves.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Handling of absent modalities. ``"auto"`` uses NaN blocks and presence flags.
        ``"error"`` raises an error. ``"complete_case"`` drops their rows in `fit` with
        a warning and raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of modalities whose transformers are fitted at a time, by joblib. The
        threads of the default learner are `estimator__n_jobs`.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every nested estimator whose `random_state` is None.
    verbose : int, default=0
        If positive, print progress to standard error.

    Attributes
    ----------
    modalities_ : list of (str, fitted transformer, columns)
        The modalities used, including inferred ones.
    estimator_ : survival estimator
        The fitted estimator.
    fusion_type_ : {"I", "II"}
        Fusion type I if only original features are joined, i.e. scaled, imputed,
        selected or encoded columns. Fusion type II if some features were extracted,
        e.g. components, embeddings, measurements or predictions of a model.
    join_ : join object
        The fitted join.
    supports_missing_ : dict of str to bool
        Whether the model was trained with the modality absent. This requires
        ``missing="auto"`` and a training row, or a copy of one, without the modality.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    LateFusionSurvival : One model per modality with combined risks.
    JointFusionSurvival : One network with jointly fine-tuned encoders.

    Notes
    -----
    Transformers that learn from `y` get martingale residuals instead of the times: a
    number per row, greater where the event came sooner than expected. This suits steps
    such as ``SelectKBest(f_regression)``. `GiniSelector`, `MRMRSelector`,
    `GeneticSelector`, estimators of scikit-survival and estimators that contain them
    get the times. So do estimators with the attribute ``takes_survival_times = True``,
    which declares that their `fit` reads a structured `y` with the fields ``event`` and
    ``time``. A step that needs classes is refused.

    All rows are at risk from time 0 on, because `y` has no entry time. With delayed
    entry (left truncation), e.g. if only patients who survived up to a later visit were
    recruited, the early hazards are underestimated. Count the times from the entry.

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

    __module__ = "skfusion.survival"

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
        validation_fraction: float = 0.1,
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
        self.validation_fraction = validation_fraction
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
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of float64 of shape (n_samples,)
            Risks, greater where the event is expected sooner.
        """
        return self._scores(*self._encode(X))

    def _finish_fit(self, data: TrainingData, joined: np.ndarray) -> None:
        if self.cv is None:
            risk = scores_of(self.estimator_, self._as_input(joined), self._target)
            risk = risk[:, 0]
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
            names=self._target.names_of_strata(),
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
                # The fit on all rows has already issued the same warnings.
                warnings.simplefilter("ignore", UserWarning)
                model.fit(part.X, part.y, part.sample_weight, part.groups)
                risk[test] = model.predict(data.X.iloc[test])
        return risk
