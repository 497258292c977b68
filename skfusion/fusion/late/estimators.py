"""Late fusion: one model per modality, their predictions combined.

How is in `skfusion.fusion.late.base`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from skfusion.cohort import TrainingData
from skfusion.fusion.late.base import BaseLateFusion
from skfusion.fusion.late.combination import cross_combine
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


class LateFusionClassifier(ClassifierTarget, ClassifierMixin, BaseLateFusion):
    """Classify by combining one classifier per modality (late fusion).

    Each modality has a model of its own, fitted on the rows that have the modality;
    a rule or a meta-model combines their probabilities [1]_. It predicts from any
    modalities that are there.

    Parameters
    ----------
    modalities : list of (str, estimator, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. A transformer is followed by a clone
        of `estimator`; an entry that ends in a classifier is used as it is, so each
        modality can have a different one, or be a late fusion itself. With ``"auto"``,
        each column of images is a modality and the other columns are one EHR modality.
    estimator : classifier or None, default=None
        Model of the modalities whose entry is a transformer; None is a standardised
        logistic regression with C=0.01, for which gaps are filled and flagged.
    aggregation : str or callable, default="mean"
        How the members' probabilities become one. Notes says what each rule does:
        ``"mean"``, ``"weighted"``, ``"max"``, ``"min"``, ``"median"``, ``"product"``,
        ``"bayes"``, ``"vote"``, ``"weighted_vote"``, ``"rank"``, ``"stacking"``, or a
        function ``rule(P, present)``.
    aggregation_params : dict or None, default=None
        Keyword arguments of a callable `aggregation`. Named rules have none.
    weights : dict, array-like of shape (n_modalities,), str, callable or None, \
            default=None
        For ``"weighted"`` and ``"weighted_vote"``: the weights, or how they are learned
        out of fold. None: the least log-loss; the name of a scikit-learn scorer, such
        as ``"roc_auc"``, or a scorer: the highest score. They are renormalised over
        the members that are present.
    final_estimator : classifier or None, default=None
        Meta-model for ``aggregation="stacking"``; None is a logistic regression.
    calibration : {"sigmoid", "isotonic", "temperature"}, dict or None, default=None
        Calibrates each member's probabilities before they are combined, by its
        out-of-fold predictions; a dict names the modalities that want it, such as
        ``{"cxr": "isotonic"}``. What is then learned from them gets cross-fitted ones.
    final_calibration : {"sigmoid", "isotonic", "temperature"} or None, default=None
        Calibrates the fused probabilities, by out-of-fold ones. The mean of calibrated
        members is not calibrated itself: it is too timid where they know different
        things.
    cv : int or splitter, default=5
        Inner folds for whatever is learned from the members' predictions. With groups
        given, every patient is on one side of each fold.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, turned into sample weights.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: its member is left out and the others count
        more, an error, or its row is dropped in `fit` with a warning (and refused in
        prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Members and folds fitted at a time; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds the folds and every part that has chance in it and no seed of its own.
    verbose : int, default=0
        Not 0: log what is fitted.

    Attributes
    ----------
    modalities_ : list of (str, fitted estimator, columns)
        The members, fitted on all rows that have the modality.
    weights_ : ndarray of shape (n_modalities,)
        The weights, for ``aggregation="weighted"`` and ``"weighted_vote"``.
    final_estimator_ : classifier
        The fitted meta-model, for ``aggregation="stacking"``.
    calibrators_ : dict of str to Calibrator
        By modality, where `calibration` asks for some; has a method ``predict``.
    final_calibrator_ : Calibrator
        That of the fused prediction, where `final_calibration` asks for it.
    classes_ : ndarray of shape (n_classes,)
        The class labels.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: always with
        ``missing="auto"`` and two or more members.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionClassifier : One model on the joined features.
    JointFusionClassifier : One network, encoders fine-tuned together.

    Notes
    -----
    The rules, on the members that are present in the row; each predicts from any of
    them, and a row alone decides about itself:

    - ``"mean"``, ``"weighted"``: the (weighted) mean of the probabilities.
    - ``"max"``, ``"min"``, ``"median"``: that of each class's probabilities, divided by
      the row's sum. With ``"max"`` the surest member decides, whichever class it
      chooses.
    - ``"product"``: the product of the probabilities, divided by its sum.
    - ``"bayes"``: the same less the surplus prior,
      ``logit p = sum(logit p_m) - (M - 1) logit prior`` with M members and the class
      shares of the training data: exact for calibrated members of modalities that are
      independent given the class.
    - ``"vote"``, ``"weighted_vote"``: the share (or weight) of the members that choose
      the class; ties go by the mean probability. Members need no ``predict_proba``.
    - ``"rank"``: the mean of the ranks that the probabilities have among out-of-fold
      ones. It orders cases of members with unlike scales; it is no probability, and
      0.5 is an average case.
    - ``"stacking"``: `final_estimator` on the members' out-of-fold log-odds. Where a
      member is absent in training rows, its log-odds are NaN if `final_estimator`
      accepts that, else their mean with a flag beside.
    - a function: gets ``P`` of shape (n_samples, n_members, n_classes), NaN where
      absent, and the mask ``present`` of shape (n_samples, n_members); returns
      probabilities of shape (n_samples, n_classes).

    Of several labels each is such a question of two classes; the weights are shared.

    A meta-model on probabilities alone is late fusion; a model on the probabilities of
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
            A cohort; modalities may be absent.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            For votes their shares, for ``aggregation="rank"`` mean ranks.
        """
        return self._combine(self._predict_members(X))

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
        proba = self.predict_proba(X)
        return self._target.decide(proba)


class LateFusionRegressor(RegressorTarget, RegressorMixin, BaseLateFusion):
    """Predict a number by combining one regressor per modality (late fusion).

    Each modality has a model of its own, fitted on the rows that have the modality;
    a rule or a meta-model combines their predictions [1]_. It predicts from any
    modalities that are there.

    Parameters
    ----------
    modalities : list of (str, estimator, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. A transformer is followed by a clone
        of `estimator`; an entry that ends in a regressor is used as it is. With
        ``"auto"``, each column of images is a modality and the other columns are one
        EHR modality.
    estimator : regressor or None, default=None
        Model of the modalities whose entry is a transformer; None is a standardised
        ridge regression.
    aggregation : str or callable, default="mean"
        ``"mean"``, ``"weighted"``, ``"max"``, ``"min"``, ``"median"`` of the
        predictions that are there; ``"stacking"``: a meta-model on out-of-fold
        predictions; or a function that gets ``P`` of shape (n_samples, n_members, 1),
        NaN where absent, and the mask ``present`` of shape (n_samples, n_members), and
        returns an array of shape (n_samples, 1).
    aggregation_params : dict or None, default=None
        Keyword arguments of a callable `aggregation`. Named rules have none.
    weights : dict, array-like of shape (n_modalities,), str, callable or None, \
            default=None
        For ``"weighted"``: the weights, or how they are learned out of fold. None: the
        least squared error; the name of a scikit-learn scorer, such as
        ``"neg_median_absolute_error"``, or a scorer: the highest score.
    final_estimator : regressor or None, default=None
        Meta-model for ``aggregation="stacking"``; None is a ridge regression.
    cv : int or splitter, default=5
        Inner folds for whatever is learned from the members' predictions. With groups
        given, every patient is on one side of each fold.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: its member is left out and the others count
        more, an error, or its row is dropped in `fit` with a warning (and refused in
        prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Members and folds fitted at a time; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds the folds and every part that has chance in it and no seed of its own.
    verbose : int, default=0
        Not 0: log what is fitted.

    Attributes
    ----------
    modalities_ : list of (str, fitted estimator, columns)
        The members, fitted on all rows that have the modality.
    weights_ : ndarray of shape (n_modalities,)
        The weights, for ``aggregation="weighted"``.
    final_estimator_ : regressor
        The fitted meta-model, for ``aggregation="stacking"``.
    supports_missing_ : dict of str to bool
        Whether the model has learned to do without the modality: always with
        ``missing="auto"`` and two or more members.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionRegressor : One model on the joined features.
    JointFusionRegressor : One network, encoders fine-tuned together.

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
        return self._combine(self._predict_members(X))


@dataclass(frozen=True)
class RiskScale:
    """Shift and scale the risks of a member; models of risk have no common unit.

    Attributes
    ----------
    mean, spread : float
        Mean and standard deviation of the member's out-of-fold risks.
    """

    mean: float
    spread: float

    @classmethod
    def learn(cls, risk: np.ndarray, sample_weight: np.ndarray | None) -> RiskScale:
        """Take mean and standard deviation from risks (n_samples, 1), NaN left out."""
        known = ~np.isnan(risk[:, 0])
        weight = None if sample_weight is None else sample_weight[known]
        mean = np.average(risk[known, 0], weights=weight)
        variance = np.average((risk[known, 0] - mean) ** 2, weights=weight)
        return cls(float(mean), float(np.sqrt(variance)) or 1.0)

    def predict(self, risk: np.ndarray) -> np.ndarray:
        """Return standardised risks."""
        return (risk - self.mean) / self.spread


class LateFusionSurvival(SurvivalFusion, BaseLateFusion):
    """Predict censored times by combining one survival model per modality.

    Late fusion [1]_ whose target is a time to an event. Each member's risk is
    standardised by its mean and standard deviation out of fold, then the rule combines
    those of the members that are there. `predict` gives a risk, greater where the event
    is expected sooner; survival curves come from Cox's model of out-of-fold risks.

    Parameters
    ----------
    modalities : list of (str, estimator, columns) or "auto", default="auto"
        The modalities, as in `ColumnTransformer`. A transformer is followed by a clone
        of `estimator`; an entry that ends in a survival model is used as it is.
    estimator : survival estimator or None, default=None
        Model of the modalities whose entry is a transformer: anything whose `fit` takes
        scikit-survival's structured `y` and whose `predict` gives a risk. None is
        `XGBoostSurvival`.
    aggregation : {"mean", "weighted", "max", "min", "median", "rank", "stacking"} or \
            callable, default="mean"
        How standardised risks are combined. ``"rank"`` averages their ranks among the
        out-of-fold risks; ``"stacking"`` fits a meta-model to them. A callable takes
        risks (n_samples, n_members, 1) and presence (n_samples, n_members) and returns
        (n_samples, 1).
    aggregation_params : dict or None, default=None
        Keyword arguments of a callable `aggregation`. Named rules have none.
    weights : dict, array-like of shape (n_modalities,) or None, default=None
        Weights for ``aggregation="weighted"``; None learns those with the best
        concordance out of fold. They are renormalised over the members present.
    final_estimator : survival estimator or None, default=None
        Meta-model for ``aggregation="stacking"``; None is scikit-survival's Cox model,
        which takes no weights.
    cv : int or splitter, default=5
        Inner folds for the risks that scales, rule and curves are learned from. With
        groups given, every patient is on one side of each fold.
    missing : {"auto", "error", "complete_case"}, default="auto"
        What an absent modality does: its member is left out and the others count
        more, an error, or its row is dropped in `fit` with a warning (and refused in
        prediction).
    groups : str or None, default=None
        Name of the column with patient ids; it is no feature.
    n_jobs : int or None, default=None
        Members and folds fitted at a time; None is 1.
    random_state : int, RandomState or None, default=None
        Seeds the folds and every part that has chance in it and no seed of its own.
    verbose : int, default=0
        Not 0: log what is fitted.

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
        Whether the model has learned to do without the modality: always with
        ``missing="auto"`` and two or more members.
    n_features_in_ : int
        Number of columns that the modalities use.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names.

    See Also
    --------
    EarlyFusionSurvival : One model on the joined features.
    JointFusionSurvival : One network, encoders fine-tuned together.

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
        return self._combine(self._predict_members(X))

    def _check_members(self, members: list[Modality]) -> dict[str, str]:
        if isinstance(self.weights, str) or callable(self.weights):
            raise ValueError(
                f"{type(self).__name__}: weights must be numbers, or None for those "
                f"with the best concordance; got {self.weights!r}."
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
