"""Late fusion for censored times: risks of the members in, one risk out.

The strategy is that of `skfusion.fusion.late_base`; risks, curves and concordance are
in `skfusion.fusion.survival_target`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from skfusion.fusion.cohort import TrainingData
from skfusion.fusion.combination import cross_combine
from skfusion.fusion.folds import Fold
from skfusion.fusion.late_base import BaseLateFusion
from skfusion.fusion.survival_target import SurvivalFusion
from skfusion.modality import Modality

__all__ = ["LateFusionSurvival", "RiskScale"]


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
    >>> from skfusion import LateFusionSurvival
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

    _rules = ("mean", "weighted", "max", "min", "median", "rank", "stacking")

    def __init__(
        self,
        modalities: Any = "auto",
        *,
        estimator: Any = None,
        aggregation: Any = "mean",
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
