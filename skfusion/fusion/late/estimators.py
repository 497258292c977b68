"""Late fusion estimators for classification, regression and survival analysis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if

from skfusion.cohort import TrainingData
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.fusion.late.combination import VOTES, cross_combine
from skfusion.fusion.survival import SurvivalFusion
from skfusion.fusion.targets import ClassifierTarget, RegressorTarget
from skfusion.modality import Modality
from skfusion.splits import Fold

__all__ = [
    "LateFusionClassifier",
    "LateFusionRegressor",
    "LateFusionSurvival",
    "RiskScale",
]


def _combines_probabilities(model: Any) -> bool:
    return model.aggregation not in (*VOTES, "rank")


class LateFusionClassifier(ClassifierTarget, ClassifierMixin, BaseLateFusion):
    """Late fusion classifier, which combines one classifier per modality.

    Each modality has a separate model, the member. It is fitted on the rows in which
    the modality is present. A rule or a meta-model combines the probabilities of the
    members [1]_. A prediction uses the members whose modality is present.

    Parameters
    ----------
    modalities : list of (str, estimator, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. A transformer is followed by a clone of
        `estimator`. An entry that ends in a classifier is used unchanged, so each
        modality can have a different one, e.g. a nested late fusion. With ``"auto"``,
        each column of images or vectors is one modality and all other columns are one
        EHR modality.
    estimator : classifier or None, default=None
        Model of the modalities whose entry is a transformer. None is a logistic
        regression with C=0.01 on standardised features, with missing values imputed
        and flagged. It has the steps ``scale``, ``impute`` and ``model``, whose
        parameters can be set by name, e.g. ``estimator__model__C``.
    aggregation : str or callable, default="mean"
        Rule that combines the probabilities of the members: ``"mean"``,
        ``"weighted"``, ``"max"``, ``"min"``, ``"median"``, ``"product"``, ``"bayes"``,
        ``"vote"``, ``"weighted_vote"``, ``"rank"``, ``"stacking"``, or a callable
        ``rule(P, present)``. The section Notes defines each rule.
    aggregation_params : dict or None, default=None
        Keyword arguments of a callable `aggregation`. Named rules accept none.
    weights : dict, array-like of shape (n_modalities,), str, callable or None, \
            default=None
        Weights of the members for ``"weighted"`` and ``"weighted_vote"``, or the
        criterion by which they are fitted to out-of-fold predictions. None minimises
        the log-loss. A scorer of scikit-learn or its name, e.g. ``"roc_auc"``, is
        maximised. A scorer receives the labels of `y`. For a name, the second of two
        classes is the positive one. The weights are renormalised over the members
        present. A Series with an index of names is read as a dict.
    final_estimator : classifier or None, default=None
        Meta-model for ``aggregation="stacking"``. None is a logistic regression, whose
        parameters can be set by name, e.g. ``final_estimator__C``.
    calibration : {"sigmoid", "isotonic", "temperature"}, dict or None, default=None
        Method that calibrates the probabilities of each member before they are
        combined, fitted to its out-of-fold predictions. A dict selects modalities, e.g.
        ``{"cxr": "isotonic"}``. Weights, ranks and meta-models are fitted to
        cross-fitted calibrated probabilities.
    final_calibration : {"sigmoid", "isotonic", "temperature"} or None, default=None
        Method that calibrates the fused probabilities, fitted to out-of-fold ones.
        Averages of calibrated probabilities are under-confident when members carry
        independent information. Ranks need ``"sigmoid"`` or ``"isotonic"``.
    cv : int or splitter, default=5
        Inner folds for the out-of-fold predictions of the members. The folds are
        patient-grouped if groups are given.
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
        Handling of absent modalities. ``"auto"`` combines the members of the other
        modalities. ``"error"`` raises an error. ``"complete_case"`` drops their rows in
        `fit` with a warning and raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of fits (members and inner folds) at a time, by joblib.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every nested estimator whose `random_state` is None.
    verbose : int, default=0
        If positive, print progress to standard error.

    Attributes
    ----------
    modalities_ : list of (str, fitted estimator, columns)
        The members, fitted on all rows that have the modality.
    weights_ : ndarray of shape (n_modalities,)
        The weights, for ``aggregation="weighted"`` and ``"weighted_vote"``.
    final_estimator_ : classifier
        The fitted meta-model, for ``aggregation="stacking"``.
    calibrators_ : dict of str to Calibrator
        The calibrator of each calibrated member, by modality. Only if `calibration` is
        given.
    final_calibrator_ : Calibrator
        The calibrator of the fused probabilities. Only if `final_calibration` is given.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    supports_missing_ : dict of str to bool
        Whether the model supports the absence of the modality. This is True with
        ``missing="auto"`` and two or more members.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    EarlyFusionClassifier : One model on the joined features.
    JointFusionClassifier : One network with jointly fine-tuned encoders.

    Notes
    -----
    Each rule combines the members that are present in a row. The result of a row does
    not depend on the other rows of `X`.

    - ``"mean"``, ``"weighted"``: the (weighted) mean of the probabilities.
    - ``"max"``, ``"min"``, ``"median"``: the maximum, minimum or median of the
      probabilities of each class, divided by their sum over the classes. With
      ``"max"``, the most confident member decides.
    - ``"product"``: the product of the probabilities, divided by its sum over the
      classes.
    - ``"bayes"``: the product with the prior counted once,
      ``logit p = sum(logit p_m) - (M - 1) logit prior``. M is the number of members
      present, and the prior is the class frequencies of the training data. The rule is
      exact for calibrated members of modalities that are independent given the class.
    - ``"vote"``, ``"weighted_vote"``: the share (or weight) of the members that choose
      the class. Ties are broken by the mean probability. Members do not need
      ``predict_proba``.
    - ``"rank"``: the mean rank of the probabilities among the out-of-fold ones. It
      orders cases if the members have different scales. It is not a probability, and
      0.5 is an average case. `predict` therefore does not choose the class with the
      largest rank: its thresholds give each class, or each label, the share that it has
      among the training rows, by out-of-fold ranks. With `final_calibration`, the
      fused prediction is a probability, and the most probable class is predicted.
    - ``"stacking"``: `final_estimator`, fitted on the out-of-fold log-odds of the
      members. If a member is absent in training rows, its log-odds are NaN there if
      `final_estimator` supports NaN. Otherwise they are imputed with their mean, and a
      presence flag is added.
    - a callable: it takes ``P`` of shape (n_samples, n_members, n_classes), NaN where
      absent, and the mask ``present`` of shape (n_samples, n_members). It returns
      probabilities of shape (n_samples, n_classes).

    With several labels, each label is combined as a target of two classes. All labels
    share the same weights.

    A meta-model on probabilities alone is late fusion. A model on the probabilities of
    one modality and the features of another is early fusion of type II [1]_.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> model = LateFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     aggregation="stacking", random_state=0,
    ... ).fit(cohort.data, cohort.target)
    >>> model.final_estimator_.coef_.shape
    (1, 2)
    """

    __module__ = "skfusion.fusion"

    _rules = (
        "mean",
        "weighted",
        "max",
        "min",
        "median",
        "product",
        "bayes",
        "vote",
        "weighted_vote",
        "rank",
        "stacking",
    )

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        aggregation: Any = "mean",
        aggregation_params: Any = None,
        weights: Any = None,
        final_estimator: Any = None,
        calibration: Any = None,
        final_calibration: str | None = None,
        cv: Any = 5,
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
        self.aggregation = aggregation
        self.aggregation_params = aggregation_params
        self.weights = weights
        self.final_estimator = final_estimator
        self.calibration = calibration
        self.final_calibration = final_calibration
        self.cv = cv
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.missing = missing
        self.groups = groups
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def predict_proba(self, X: Any) -> np.ndarray:
        """Predict the probability of each class.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Probabilities of the classes, in the order of `classes_`. Votes give shares
            of the votes, and ``aggregation="rank"`` gives mean ranks.
        """
        return self._combine(self._predict_members(X))

    def predict(self, X: Any) -> np.ndarray:
        """Predict the class of each case.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            The most probable class, or the labels with a probability above 0.5. With
            ``aggregation="rank"`` and no `final_calibration`, the decision thresholds
            are such that the predicted classes have the (weighted) shares of the
            training classes.
        """
        scores = self._scores_to_decide(self._predict_members(X))
        return self._target.decide(scores)

    @available_if(_combines_probabilities)
    def decision_function(self, X: Any) -> np.ndarray:
        """Compute the logits of the fused probabilities.

        It is available if `aggregation` combines probabilities, i.e. neither votes nor
        ranks.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            Cohort, one row per case. Modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Log-odds of the second of two classes. Log-probabilities of three or more
            classes, in the order of `classes_`. Log-odds of each of several labels.
        """
        proba = self.predict_proba(X)
        return self._target.logits(proba)


class LateFusionRegressor(RegressorTarget, RegressorMixin, BaseLateFusion):
    """Late fusion regressor, which combines one regressor per modality.

    Each modality has a separate model, the member. It is fitted on the rows in which
    the modality is present. A rule or a meta-model combines the predictions of the
    members [1]_. A prediction uses the members whose modality is present.

    Parameters
    ----------
    modalities : list of (str, estimator, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. A transformer is followed by a clone of
        `estimator`. An entry that ends in a regressor is used unchanged, so each
        modality can have a different one, e.g. a nested late fusion. With ``"auto"``,
        each column of images or vectors is one modality and all other columns are one
        EHR modality.
    estimator : regressor or None, default=None
        Model of the modalities whose entry is a transformer. None is a ridge regression
        with alpha=10 on standardised features, with missing values imputed and flagged.
        It has the steps ``scale``, ``impute`` and ``model``, whose parameters can be
        set by name, e.g. ``estimator__model__alpha``.
    aggregation : str or callable, default="mean"
        Rule that combines the predictions of the members present: ``"mean"``,
        ``"weighted"``, ``"max"``, ``"min"``, ``"median"``, ``"stacking"``, or a
        callable. ``"stacking"`` fits a meta-model to out-of-fold predictions. A
        callable takes ``P`` of shape (n_samples, n_members, 1), NaN where absent, and
        the mask ``present`` of shape (n_samples, n_members). It returns an array of
        shape (n_samples, 1).
    aggregation_params : dict or None, default=None
        Keyword arguments of a callable `aggregation`. Named rules accept none.
    weights : dict, array-like of shape (n_modalities,), str, callable or None, \
            default=None
        Weights of the members for ``"weighted"``, or the criterion by which they are
        fitted to out-of-fold predictions. None minimises the squared error. A scorer of
        scikit-learn or its name, e.g. ``"neg_median_absolute_error"``, is maximised.
        The weights are renormalised over the members present.
        A Series with an index of names is read as a dict.
    final_estimator : regressor or None, default=None
        Meta-model for ``aggregation="stacking"``. None is a ridge regression on
        standardised predictions, whose parameters can be set by name, e.g.
        ``final_estimator__ridgecv__alphas``.
    cv : int or splitter, default=5
        Inner folds for the out-of-fold predictions of the members. The folds are
        patient-grouped if groups are given.
    validation_fraction : float, default=0.1
        Share of the rows, or of the patients if groups are given, that are held out
        from each fit of a learner that stops early (``early_stopping_rounds`` of
        XGBoost and CatBoost, ``early_stopping_round`` of LightGBM). It is not used
        otherwise. The held-out rows are not fitted on. With 0, or with too few rows,
        the learner is fitted without early stopping.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Handling of absent modalities. ``"auto"`` combines the members of the other
        modalities. ``"error"`` raises an error. ``"complete_case"`` drops their rows in
        `fit` with a warning and raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of fits (members and inner folds) at a time, by joblib.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every nested estimator whose `random_state` is None.
    verbose : int, default=0
        If positive, print progress to standard error.

    Attributes
    ----------
    modalities_ : list of (str, fitted estimator, columns)
        The members, fitted on all rows that have the modality.
    weights_ : ndarray of shape (n_modalities,)
        The weights, for ``aggregation="weighted"``.
    final_estimator_ : regressor
        The fitted meta-model, for ``aggregation="stacking"``.
    supports_missing_ : dict of str to bool
        Whether the model supports the absence of the modality. This is True with
        ``missing="auto"`` and two or more members.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    EarlyFusionRegressor : One model on the joined features.
    JointFusionRegressor : One network with jointly fine-tuned encoders.

    References
    ----------
    .. [1] Huang S-C et al. (2020). Fusion of medical imaging and electronic health
       records using deep learning. npj Digital Medicine 3:136.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> from skfusion import LateFusionRegressor
    >>> X = pd.DataFrame({"lesion_mm": [4.0, 9.0, 6.0, 12.0],
    ...                   "age": [40.0, 90.0, 60.0, None]})
    >>> model = LateFusionRegressor(
    ...     [("image", LinearRegression(), ["lesion_mm"]),
    ...      ("ehr", LinearRegression(), ["age"])]
    ... ).fit(X, [8.0, 18.0, 12.0, 24.0])
    >>> model.predict(X).round(1).tolist()
    [8.0, 18.0, 12.0, 24.0]
    """

    __module__ = "skfusion.fusion"

    _rules = ("mean", "weighted", "max", "min", "median", "stacking")

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        aggregation: Any = "mean",
        aggregation_params: Any = None,
        weights: Any = None,
        final_estimator: Any = None,
        cv: Any = 5,
        validation_fraction: float = 0.1,
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.aggregation = aggregation
        self.aggregation_params = aggregation_params
        self.weights = weights
        self.final_estimator = final_estimator
        self.cv = cv
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
        return self._combine(self._predict_members(X))


@dataclass(frozen=True)
class RiskScale:
    """Standardisation of the risks of a member, because risks have no common unit.

    Attributes
    ----------
    mean, spread : float
        Mean and standard deviation of the member's out-of-fold risks.
    """

    mean: float
    spread: float

    @classmethod
    def learn(cls, risk: np.ndarray, sample_weight: np.ndarray | None) -> RiskScale:
        """Compute mean and standard deviation of risks (n_samples, 1), ignoring NaN."""
        known = ~np.isnan(risk[:, 0])
        weight = None if sample_weight is None else sample_weight[known]
        mean = np.average(risk[known, 0], weights=weight)
        variance = np.average((risk[known, 0] - mean) ** 2, weights=weight)
        return cls(float(mean), float(np.sqrt(variance)) or 1.0)

    def predict(self, risk: np.ndarray) -> np.ndarray:
        """Return standardised risks."""
        return (risk - self.mean) / self.spread


class LateFusionSurvival(SurvivalFusion, BaseLateFusion):
    """Late fusion survival estimator, which combines one survival model per modality.

    The target of this late fusion [1]_ is a censored time to an event. Each modality
    has a separate model, the member. Its risk is standardised by the mean and standard
    deviation of its out-of-fold risks. A rule or a meta-model combines the standardised
    risks of the members whose modality is present. `predict` returns a risk, which is
    greater where the event is expected sooner. Cox's model of the out-of-fold risks
    gives the survival curves.

    Parameters
    ----------
    modalities : list of (str, estimator, columns) or "auto", default="auto"
        Modalities as triples, in the form of `ColumnTransformer`, with integers as
        positions of columns. ``"passthrough"`` uses numeric columns as they are, and
        ``"drop"`` leaves a modality out. A transformer is followed by a clone of
        `estimator`. An entry that ends in a survival model is used unchanged, so each
        modality can have a different one. With ``"auto"``, each column of images or
        vectors is one modality and all other columns are one EHR modality.
    estimator : survival estimator or None, default=None
        Model of the modalities whose entry is a transformer. Its `fit` takes the
        structured `y` of scikit-survival, and its `predict` returns a risk. None is
        `XGBoostSurvival`. The parameters of this default can be set by name, e.g.
        ``estimator__max_depth``.
    aggregation : {"mean", "weighted", "max", "min", "median", "rank", "stacking"} or \
            callable, default="mean"
        Rule that combines the standardised risks of the members present. ``"rank"``
        averages their ranks among the out-of-fold risks. ``"stacking"`` fits a
        meta-model to the out-of-fold risks. A callable takes ``P`` of shape
        (n_samples, n_members, 1), NaN where absent, and the mask ``present`` of shape
        (n_samples, n_members). It returns an array of shape (n_samples, 1).
    aggregation_params : dict or None, default=None
        Keyword arguments of a callable `aggregation`. Named rules accept none.
    weights : dict, array-like of shape (n_modalities,) or None, default=None
        Weights of the members for ``"weighted"``. None maximises the concordance of the
        out-of-fold risks. The weights are renormalised over the members present.
        A Series with an index of names is read as a dict.
    final_estimator : survival estimator or None, default=None
        Meta-model for ``aggregation="stacking"``. None is Cox's model with a small
        ridge penalty (`CoxRidge`), which takes no weights. The parameters of this
        default can be set by name, e.g. ``final_estimator__alpha``.
    cv : int or splitter, default=5
        Inner folds for the out-of-fold risks, on which the standardisation, the rule
        and the survival curves are fitted. The folds are patient-grouped if groups are
        given.
    validation_fraction : float, default=0.1
        Share of the rows, or of the patients if groups are given, that are held out
        from each fit of a learner that stops early (``early_stopping_rounds`` of
        XGBoost and CatBoost, ``early_stopping_round`` of LightGBM). It is not used
        otherwise. The held-out rows are not fitted on. With 0, or with too few rows,
        the learner is fitted without early stopping.
    missing : {"auto", "error", "complete_case"}, default="auto"
        Handling of absent modalities. ``"auto"`` combines the members of the other
        modalities. ``"error"`` raises an error. ``"complete_case"`` drops their rows in
        `fit` with a warning and raises an error in prediction.
    groups : str, int or None, default=None
        Name or position of the column with patient ids, which is not a feature.
    n_jobs : int or None, default=None
        Number of fits (members and inner folds) at a time, by joblib.
    random_state : int, RandomState or None, default=None
        Seed of the folds and of every nested estimator whose `random_state` is None.
    verbose : int, default=0
        If positive, print progress to standard error.

    Attributes
    ----------
    modalities_ : list of (str, fitted estimator, columns)
        The members, fitted on all rows that have the modality.
    calibrators_ : dict of str to RiskScale
        Mean and standard deviation of each member's out-of-fold risks.
    weights_ : ndarray of shape (n_modalities,)
        The weights, for ``aggregation="weighted"``.
    final_estimator_ : survival estimator
        The fitted meta-model, for ``aggregation="stacking"``.
    supports_missing_ : dict of str to bool
        Whether the model supports the absence of the modality. This is True with
        ``missing="auto"`` and two or more members.
    n_features_in_ : int
        Number of columns of `X` in `fit`, including those that no modality uses.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Names of these columns, if all are strings.

    See Also
    --------
    EarlyFusionSurvival : One model on the joined features.
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
    >>> from skfusion.survival import LateFusionSurvival
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(200, task="regression", random_state=0)
    >>> y = np.array([(True, time) for time in np.exp(-cohort.target)],
    ...              dtype=[("event", bool), ("time", float)])
    >>> model = LateFusionSurvival(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     aggregation="weighted", cv=2, random_state=0,
    ... ).fit(cohort.data, y)
    >>> model.weights_.sum().round(6)
    np.float64(1.0)
    """

    __module__ = "skfusion.survival"

    _task = "survival"

    _rules = ("mean", "weighted", "max", "min", "median", "rank", "stacking")

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        aggregation: Any = "mean",
        aggregation_params: Any = None,
        weights: Any = None,
        final_estimator: Any = None,
        cv: Any = 5,
        validation_fraction: float = 0.1,
        missing: str = "auto",
        groups: str | None = None,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.modalities = modalities
        self.estimator = estimator
        self.aggregation = aggregation
        self.aggregation_params = aggregation_params
        self.weights = weights
        self.final_estimator = final_estimator
        self.cv = cv
        self.validation_fraction = validation_fraction
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
        return self._combine(self._predict_members(X))

    def _check_members(self, members: list[Modality]) -> dict[str, str]:
        if isinstance(self.weights, str) or callable(self.weights):
            raise ValueError(
                f"{type(self).__name__}: weights must be numbers, or None for those "
                f"with the best concordance, got {self.weights!r}."
            )
        return dict.fromkeys([member.name for member in members], "scale")

    def _calibrate(self, *arguments: Any, what: str) -> tuple[RiskScale, np.ndarray]:
        _, risk, _, _, sample_weight = arguments
        scale = RiskScale.learn(risk, sample_weight)
        return scale, scale.predict(risk)

    def _finish_learning(
        self, P: np.ndarray, data: TrainingData, folds: list[Fold]
    ) -> None:
        fused = cross_combine(self._combination, P, data, folds)
        self._set_curves(fused[:, 0], data.y, data.sample_weight)
