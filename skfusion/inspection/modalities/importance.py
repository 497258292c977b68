"""Importance of the modalities of a fitted model, by three cooperative games.

The modules `coalitions`, `performance` and `retrain` implement the games.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_consistent_length, check_random_state

from skfusion._validation import check_confidence_level
from skfusion.cohort import column_or_ids
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.inspection.modalities.coalitions import (
    Cases,
    coalition_table,
    make_plan,
    prepare,
)
from skfusion.inspection.modalities.comparison import share_table
from skfusion.inspection.modalities.null_share import NullCases, null_values
from skfusion.inspection.modalities.patients import (
    UNKNOWN,
    Patients,
    find_patients,
    table_of,
)
from skfusion.inspection.modalities.performance import play_scores
from skfusion.inspection.modalities.report import ModalityReport, make_report
from skfusion.inspection.modalities.results import (
    ExplainedCases,
    ModalityExplanation,
    ModalityScores,
    make_explanation,
)
from skfusion.inspection.modalities.retrain import (
    FitsFailedError,
    refit_scores,
    seed_of,
)
from skfusion.inspection.modalities.scoring import ask_for, make_scoring
from skfusion.inspection.models import OWNER, make_output, warn_of_alphabet
from skfusion.inspection.plots.display import ModalityDisplay
from skfusion.inspection.shapley import CoalitionPlan
from skfusion.inspection.wrapped import find_any_model

__all__ = ["ModalityImportance", "explain_and_score"]


class ModalityImportance:
    """Shapley values of the modalities of a fitted model.

    The modalities are the players of a cooperative game. Three games answer three
    different questions. `explain` computes the *reliance*: the contribution of each
    modality to each prediction. `score` computes the *performance*: the contribution of
    each modality to the score on held-out cases. `refit` computes the *retrain* game:
    the contribution to the score of models that are retrained on each set of
    modalities. `report` combines the three games.

    Parameters
    ----------
    estimator : estimator
        A fitted early, late or joint fusion, an estimator around one or several (a
        search, `Pipeline`, calibrated, thresholded, frozen, voting or stacked model),
        or any fitted scikit-learn estimator of a table.
    modalities : dict of str to list of column labels or positions, or None, \
            default=None
        The columns of each modality. None for a fusion, which defines its modalities.
    output : {"link", "proba"} or callable, default="link"
        The output that `explain` explains. ``"link"`` is the log-odds. For more than
        two classes, it is the log-odds of each class against all others. Numeric
        predictions (in the unit of y) and risks (such as the log hazard of Cox's model)
        are not transformed. ``"proba"`` is the probability. A callable maps the result
        of ``predict_proba`` or ``predict`` from (n, n_outputs) to (n,) or (n, C).
    pos_label : class label or None, default=None
        The class that `explain` explains, alone. None explains the second of two
        classes, and each of several classes or labels. If the two classes are text,
        None follows the alphabet, with a warning. It is also the positive class of
        scores that depend on it, such as the average precision.
    removal : {"background", "native"}, default="background"
        How a modality is withheld. ``"background"`` replaces it by the values of
        background cases and averages the output over them. ``"native"`` leaves it out,
        for a fusion that was trained with the modality absent
        (``supports_missing_``).
    background : DataFrame or ndarray of shape (n, n_columns) or None, default=None
        Cases that replace the withheld modalities, preferably the training data. None
        uses the cases to explain.
    n_background : int, default=100
        Number of background cases that are used, drawn at random.
    n_permutations : int or None, default=None
        Number of pairs of joining orders that are sampled, for any number of
        modalities, with standard errors. None computes exact Shapley values, for at
        most `max_exact` modalities.
    max_exact : int, default=8
        Largest number M of modalities for which all 2**M sets are evaluated.
    random_state : int, RandomState or None, default=0
        Seed of the random draws.
    n_jobs : int or None, default=None
        Number of models that `refit` fits in parallel.

    See Also
    --------
    skfusion.explain_images : Saliency maps of the image regions.

    Notes
    -----
    A fusion encodes every case once (each image, each row of the record), for any
    number of background cases. Sets of modalities are mixed from the encoded
    modalities in chunks of 64 MB.

    The sum of the absolute Shapley values of a modality's *columns* is a different
    quantity. For pure noise in 128 columns and a signal in 20 columns, it assigns 48 to
    55 % to the noise (12 draws, XGBoost). The reason is that absolute values of many
    noisy columns add up, while their signs would cancel.

    References
    ----------
    .. [1] Lundberg S M, Lee S-I (2017). A unified approach to interpreting model
       predictions. NeurIPS 30.
    .. [2] Covert I, Lundberg S, Lee S-I (2020). Understanding global feature
       contributions with additive importance measures. NeurIPS 33.
    .. [3] Soenksen L R et al. (2022). Integrated multimodal artificial intelligence
       framework for healthcare applications. npj Digital Medicine 5:149.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier, ModalityImportance
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(n_samples=400, random_state=0)
    >>> train, test = cohort.data[:200], cohort.data[200:]
    >>> model = LateFusionClassifier(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ... ).fit(train, cohort.target[:200])
    >>> importance = ModalityImportance(model, background=train)
    >>> importance.explain(test).share()["share"].round(1).to_dict()
    {'image': 0.7, 'ehr': 0.3}
    >>> importance.score(test, cohort.target[200:]).to_frame().round(1)
              estimate  low_this_model  high_this_model  n_present
    modality
    image          0.3             0.2              0.3        200
    ehr            0.1             0.0              0.1        200
    """

    __module__ = "skfusion.inspection"

    def __init__(
        self,
        estimator: Any,
        *,
        modalities: Any = None,
        output: Any = "link",
        pos_label: Any = None,
        removal: str = "background",
        background: Any = None,
        n_background: int = 100,
        n_permutations: int | None = None,
        max_exact: int = 8,
        random_state: Any = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.output = output
        self.pos_label = pos_label
        self.removal = removal
        self.background = background
        self.n_background = n_background
        self.n_permutations = n_permutations
        self.max_exact = max_exact
        self.random_state = random_state
        self.n_jobs = n_jobs

    def __call__(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: Any = None,
        null_from: Any = None,
        n_shuffles: int = 3,
    ) -> Any:
        """Explain predictions, with a `shap.Explanation` as the result.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            The cases to explain, as in `explain`.
        y : array-like of n rows or None, default=None
            The outcome, which is stored for figures.
        groups : str, int, array-like of shape (n,) or None, default=None
            Patient ids, or the column that contains them, for intervals by patient.
        null_from, n_shuffles : tuple or None, int
            Training cases for the null share, as in `explain`.

        Returns
        -------
        ModalityShapExplanation
            A subclass of `shap.Explanation` whose features are the modalities:
            ``explain(X, y, groups=groups).to_shap()``. The functions of ``shap.plots``
            draw it.

        Raises
        ------
        ImportError
            If shap is not installed.
        """
        given = {"null_from": null_from, "n_shuffles": n_shuffles}
        return self.explain(X, y, groups=groups, **given).to_shap()

    def explain(
        self,
        X: Any,
        y: Any = None,
        *,
        groups: Any = None,
        null_from: Any = None,
        n_shuffles: int = 3,
    ) -> ModalityExplanation:
        """Compute the contribution of each modality to each prediction (reliance).

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            The cases to explain, preferably held-out cases. Modalities may be absent.
            The contribution of an absent modality is the effect of its absence.
        y : array-like of n rows or None, default=None
            The outcome, which is stored for figures.
        groups : str, int, array-like of shape (n,) or None, default=None
            Patient ids, or the column that contains them. None takes the column that a
            fusion has as its parameter `groups`, also inside a pipeline, a search or a
            calibrated model. They are used for intervals of shares.
        null_from : tuple (X, y) or (X, y, groups), or None, default=None
            Training cases, from which the null share is computed: the estimator is
            fitted again for each modality with this modality shuffled among the
            patients, and explained for cases in which it is shuffled too. Their
            patients are found as those of the cases, also in a column that `groups`
            names. None leaves out the null share, which needs
            ``n_shuffles * n_modalities`` fits.
        n_shuffles : int, default=3
            Number of shuffles of each modality, over which the null share is averaged.

        Returns
        -------
        ModalityExplanation

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a column is missing, the background has only one case or none with a
            modality, or there are more than `max_exact` modalities without sampling.
            Also if ``removal="native"`` leaves out
            a modality and the model was not trained with it absent. If `null_from` is
            given and the estimator cannot be fitted again, such as a frozen one.

        Warns
        -----
        LeakageWarning
            If cases to explain are training rows, which a fusion recognises, or are in
            `background`. The reliance on noise is highest on training rows. Also if
            nobody knows the patients and a column of ids repeats.
        DataWarning
            If a modality is absent in all of several cases, or the two classes are text
            and `pos_label` is None. If `null_from` is given and modalities share a
            column, which have no null share.
        """
        patients = find_patients(groups, X, self.estimator)
        cases, plan = self._prepare(X, patients)
        nulls = None
        if null_from is not None:
            train = _with_groups(null_from, groups)
            nulls = self._null_values(cases, X, patients, train, n_shuffles)
        return self._reliance(cases, plan, y, X, patients, nulls)

    def table(
        self,
        X: Any,
        *,
        estimators: Mapping[str, Any],
        groups: Any = None,
        kind: str = "centred_abs",
    ) -> pd.DataFrame:
        """Compute the shares of the modalities in several models, on one scale.

        All models are explained for the same cases, with the same background cases.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            The cases to explain, as in `explain`.
        estimators : dict of str to estimator
            Fitted estimators of the same modalities, by name. If `estimator` is not
            among them, it is the first row, under the name of its class.
        groups : str, int, array-like of shape (n,) or None, default=None
            Patient ids, or the column that contains them, for intervals by patient.
        kind : str, default="centred_abs"
            The quantity that is compared, as in `ModalityExplanation.share`.

        Returns
        -------
        DataFrame of shape (n_models * M, 7)
            By model and modality: ``share`` with ``low`` and ``high``, the mean
            absolute contribution ``mean_abs`` in the unit of ``output``, ``n_present``
            and ``n_patients``. Shares are comparable between models. Mean absolute
            contributions are only comparable if the ``output`` is the same.

        Raises
        ------
        ValueError
            As in `explain`, or if the models differ in their modalities or classes.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import EarlyFusionClassifier, LateFusionClassifier
        >>> from skfusion import ModalityImportance
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(n_samples=300, random_state=0)
        >>> train, test, y = cohort.data[:200], cohort.data[200:], cohort.target[:200]
        >>> modalities = [("image", StandardScaler(), cohort.image_columns),
        ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
        >>> models = {"early": EarlyFusionClassifier(modalities, random_state=0),
        ...           "late": LateFusionClassifier(modalities, random_state=0)}
        >>> models = {name: model.fit(train, y) for name, model in models.items()}
        >>> importance = ModalityImportance(models["early"], background=train)
        >>> table = importance.table(test, estimators=models)
        >>> table["share"].unstack("model").round(1).to_dict("index")
        {'image': {'early': 0.6, 'late': 0.7}, 'ehr': {'early': 0.4, 'late': 0.3}}
        """
        models = dict(estimators)
        if not any(model is self.estimator for model in models.values()):
            models = {type(self.estimator).__name__: self.estimator, **models}
        # One seed for all models, so that they get the same background cases.
        rng = check_random_state(self.random_state)
        settings = {
            **vars(self),
            "random_state": int(rng.randint(np.iinfo(np.int32).max)),
        }
        del settings["estimator"]
        explanations = {
            name: type(self)(model, **settings).explain(X, groups=groups)
            for name, model in models.items()
        }
        return share_table(explanations, kind)

    def score(
        self,
        X: Any,
        y: Any,
        *,
        scoring: Any = None,
        groups: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
    ) -> ModalityScores:
        """Compute the contribution of each modality to the score (performance).

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Held-out cases.
        y : array-like of n rows
            The outcome of the cases.
        scoring : str, callable or None, default=None
            A name or a scorer as in `compare_fusion`. None is the AUROC (one-vs-rest),
            R², or the concordance of censored times. For a loss, contributions are
            decreases of the loss.
        groups : str, int, array-like of shape (n,) or None, default=None
            Patient ids, or the column that contains them. None takes the column that a
            fusion has as its parameter `groups`, also inside a pipeline, a search or a
            calibrated model. The confidence intervals
            account for the correlation of cases of the same patient.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        n_resamples : int, default=1000
            Number of bootstrap samples for scores other than the AUROC. The intervals
            of the AUROC are computed from the covariance of the AUROCs of all sets
            (DeLong, or Obuchowski with `groups`).

        Returns
        -------
        ModalityScores
            The empty set of modalities has the score of chance: an AUROC of 0.5, or the
            score of a constant prediction.

        Raises
        ------
        ValueError
            As in `explain`, or if `y` has only one value, all cases belong to one
            patient, or the score depends on which of two classes is positive and
            neither `pos_label` nor labels of 0 and 1 say it.
        """
        check_confidence_level(confidence_level, OWNER)
        patients = find_patients(groups, X, self.estimator).check_several()
        check_consistent_length(table_of(X), y)
        cases, plan = self._prepare(X, patients)
        scored = make_scoring(cases.model, y, scoring, self.pos_label)
        return play_scores(
            cases,
            plan,
            scored,
            patients.numbers,
            confidence_level,
            n_resamples,
            check_random_state(self.random_state),
        )

    def refit(
        self,
        X: Any,
        y: Any,
        *,
        cv: Any = 5,
        groups: Any = None,
        scoring: Any = None,
        confidence_level: float = 0.95,
    ) -> ModalityScores:
        """Compute the contribution of each modality to retrained models (retrain).

        The estimator is fitted on every set of modalities in every fold, and scored on
        the test set of the fold. Embeddings are read from the store of the embedder.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Cases for training and testing by cross-validation.
        y : array-like of n rows
            The outcome of the cases.
        cv : int or splitter, default=5
            Cross-validation folds. Folds contain whole patients if `groups` is given.
        groups : str, int, array-like of shape (n,) or None, default=None
            Patient ids, or the column that contains them. None takes the column that a
            fusion has as its parameter `groups`, also inside a pipeline, a search or a
            calibrated model.
        scoring : str, callable or None, default=None
            As in `score`.
        confidence_level : float, default=0.95
            Confidence level of the intervals, which are corrected for the overlap of
            the training sets (Nadeau and Bengio).

        Returns
        -------
        ModalityScores

        Raises
        ------
        ValueError
            If there are more than 8 modalities without sampling, or a fold has too few
            cases to fit or score the model.
        """
        check_confidence_level(confidence_level, OWNER)
        patients = find_patients(groups, X, self.estimator, harm="split")
        patients.check_several()
        check_consistent_length(table_of(X), y)
        table = self._features(X, patients)
        model, (inside,) = find_any_model(self.estimator, self.modalities, table)
        rng = check_random_state(self.random_state)
        plan = make_plan(
            len(model.modalities),
            self.n_permutations,
            rng,
            "one fit in every fold",
            self.max_exact,
        )
        return refit_scores(
            self.estimator,
            model,
            table,
            y,
            plan,
            make_scoring(model, y, scoring, self.pos_label),
            cv=cv,
            groups=patients.numbers,
            confidence_level=confidence_level,
            n_jobs=self.n_jobs,
            random_state=seed_of(self.random_state, rng),
            presence=model.presence(inside),
        )

    def report(
        self,
        X: Any,
        y: Any,
        *,
        groups: Any = None,
        scoring: Any = None,
        cv: Any = 5,
        train: Any = None,
        confidence_level: float = 0.95,
        n_resamples: int = 1000,
        n_repeats: int = 10,
        margin: float | None = None,
        null_share: bool = False,
        n_shuffles: int = 3,
    ) -> ModalityReport:
        """Compute all three games and interpret their results together.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Held-out cases.
        y : array-like of n rows
            The outcome of the cases.
        groups : str, int, array-like of shape (n,) or None, default=None
            Patient ids, or the column that contains them. None takes the column that a
            fusion has as its parameter `groups`, also inside a pipeline, a search or a
            calibrated model.
        scoring : str, callable or None, default=None
            As in `score`.
        cv : int, splitter or None, default=5
            Cross-validation folds of the retrain game. None omits the game.
        train : tuple (X, y) or (X, y, groups), or None, default=None
            Cases of the retrain game. None uses the held-out cases. Their patients are
            found as those of the held-out cases, also in a column that `groups` names.
        confidence_level : float, default=0.95
            Confidence level of the intervals.
        n_resamples : int, default=1000
            Number of bootstrap samples for scores other than the AUROC.
        n_repeats : int, default=10
            Number of permutations of each modality between patients.
        margin : float or None, default=None
            Largest difference of the score that is of no importance. None never says
            that a modality makes no difference.
        null_share : bool, default=False
            Whether to compute the share of each modality if it is shuffled among the
            patients of `train` before the fit, as in `explain`.
        n_shuffles : int, default=3
            Number of shuffles of each modality.

        Returns
        -------
        ModalityReport
            A report, to be printed or converted by ``to_frame()``.

        Raises
        ------
        ValueError
            As in `score`, if the folds of the retrain game are invalid, or if
            `null_share` is True and `train` is None.

        Warns
        -----
        LeakageWarning, DataWarning
            As in `explain`. The pitfalls of the report contain these warnings.
        FallbackWarning
            If a model of the retrain game cannot be fitted or scored. The report has
            the other games then, and the error among its pitfalls.
        """
        check_confidence_level(confidence_level, OWNER)
        check_consistent_length(table_of(X), y)
        if null_share and train is None:
            raise ValueError(
                f"{OWNER}: null_share=True fits models again, for which it needs the "
                "training cases. Pass train=(X_train, y_train)."
            )
        patients, cases, plan, noticed = self._prepare_noticing(X, groups)
        scored = make_scoring(cases.model, y, scoring, self.pos_label)
        nulls = None
        if null_share:
            given = _with_groups(train, groups)
            nulls = self._null_values(cases, X, patients, given, n_shuffles)
        reliance = self._reliance(cases, plan, y, X, patients, nulls)
        performance = play_scores(
            cases,
            plan,
            scored,
            patients.numbers,
            confidence_level,
            n_resamples,
            check_random_state(self.random_state),
        )
        retrain, failed = None, ""
        if cv is not None:
            again = (X, y, groups) if train is None else _with_groups(train, groups)
            how = {"scoring": scoring, "confidence_level": confidence_level}
            retrain, failed = self._refit_or_reason(*again, cv=cv, **how)
        report = make_report(
            cases,
            plan,
            scored,
            reliance,
            performance,
            retrain,
            patients=patients.numbers,
            n_repeats=n_repeats,
            n_resamples=n_resamples,
            margin=margin,
            rng=check_random_state(self.random_state),
            noticed=noticed,
        )
        report.pitfalls.extend([failed] if failed else [])
        return report

    # -- steps that the games share -----------------------------------------------

    def _refit_or_reason(
        self, X: Any, y: Any, groups: Any, **options: Any
    ) -> tuple[ModalityScores | None, str]:
        """Return the retrain game, or why a fit failed."""
        try:
            return self.refit(X, y, groups=groups, **options), ""
        except FitsFailedError as error:  # The other games are of value alone.
            failed = f"The retrain game is left out, because a fit failed: {error}"
            warn_user(f"{OWNER}: {failed}", FallbackWarning)
            return None, failed

    def _features(self, table: Any, patients: Patients) -> Any:
        # A fusion finds its columns itself. Another model was fitted without the ids.
        return table if self.modalities is None else patients.without_ids(table)

    def _prepare_noticing(
        self, X: Any, groups: Any
    ) -> tuple[Patients, Cases, CoalitionPlan, list[str]]:
        """Return what `_prepare` does, with the patients and the warnings issued."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            patients = find_patients(groups, X, self.estimator).check_several()
            cases, plan = self._prepare(X, patients)
        for warning in caught:
            warn_user(str(warning.message), warning.category)
        return patients, cases, plan, [str(warning.message) for warning in caught]

    def _prepare(
        self, X: Any, patients: Patients = UNKNOWN
    ) -> tuple[Cases, CoalitionPlan]:
        return prepare(
            self._features(X, patients),
            self.estimator,
            self.modalities,
            removal=self.removal,
            background=self._features(self.background, patients),
            n_background=self.n_background,
            n_permutations=self.n_permutations,
            max_exact=self.max_exact,
            rng=check_random_state(self.random_state),
        )

    def _reliance(
        self,
        cases: Cases,
        plan: CoalitionPlan,
        y: Any,
        X: Any,
        patients: Patients,
        null_values: dict[str, np.ndarray] | None = None,
    ) -> ModalityExplanation:
        if y is not None:
            check_consistent_length(cases.presence, y)
        output = make_output(cases.model, self.output, self.pos_label)
        if output.scale != "custom" and cases.model.kind == "classes":
            warn_of_alphabet(cases.model.labels, self.pos_label, OWNER)
        table = coalition_table(cases, plan, output.ask)
        source = ExplainedCases(
            self.estimator,
            self._features(X, patients),
            self._features(self.background, patients),
            self.modalities,
            self.pos_label,
            self.random_state,
        )
        return make_explanation(
            cases,
            plan,
            output,
            table,
            y,
            patients=patients.numbers,
            null_values=null_values,
            source=source,
        )

    def _null_values(
        self, cases: Cases, X: Any, patients: Patients, train: Any, n_shuffles: int
    ) -> dict[str, np.ndarray]:
        """Return the values of models that learned a shuffled modality."""
        X_train, y_train, ids = train
        check_consistent_length(table_of(X_train), y_train)
        known = find_patients(ids, X_train, self.estimator, harm="split")
        return null_values(
            self.estimator,
            cases.model,
            NullCases(self._features(X_train, known), y_train, known.repeated),
            NullCases(self._features(X, patients), None, patients.repeated),
            partial(_ask_of, output=self.output, pos_label=self.pos_label),
            modalities=self.modalities,
            n_shuffles=n_shuffles,
            random_state=seed_of(
                self.random_state, check_random_state(self.random_state)
            ),
            n_jobs=self.n_jobs,
            removal=self.removal,
            n_background=self.n_background,
            n_permutations=self.n_permutations,
            max_exact=self.max_exact,
        )


@dataclass(frozen=True)
class Contributions:
    """Contributions of the modalities to a score, without intervals.

    Attributes
    ----------
    name : str
        Name of the score.
    shapley : ndarray of shape (M,)
        Contributions.
    whole, chance : float
        Score of all modalities, and of none.
    """

    name: str
    shapley: np.ndarray
    whole: float
    chance: float


def explain_and_score(
    importance: ModalityImportance,
    X: Any,
    outcome: Any,
    rows: np.ndarray,
    groups: Any,
    scoring: Any,
    *,
    train: Any = None,
    n_shuffles: int = 1,
) -> tuple[ModalityExplanation, Contributions | None]:
    """Explain cases and score them, which are encoded once for both.

    Parameters
    ----------
    importance : ModalityImportance
        The model and its background.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    outcome : array-like of any number of rows, or None
        Outcome of a cohort. None gives no contributions to a score.
    rows : ndarray of int of shape (n,)
        Positions of the cases in the cohort.
    groups : str, int or array-like of shape (n,)
        Their patients.
    scoring : str, callable, Metric or None
        The score.
    train : tuple (X, y, groups) or None, default=None
        Training cases for the null share.
    n_shuffles : int, default=1
        Number of shuffles for the null share.

    Returns
    -------
    explanation : ModalityExplanation
    contributions : Contributions or None
        NaN if the score is not defined for these cases, as for a single class.
    """
    patients = find_patients(groups, X, importance.estimator)
    cases, plan = importance._prepare(X, patients)
    nulls = None
    if train is not None:
        nulls = importance._null_values(cases, X, patients, train, n_shuffles)
    explanation = importance._reliance(cases, plan, None, X, patients, nulls)
    if outcome is None:
        return explanation, None
    scored = make_scoring(cases.model, outcome, scoring, importance.pos_label)
    table = coalition_table(cases, plan, ask_for(cases.model, scored))
    values = np.array([scored.score(part, rows) for part in table])
    found = Contributions(
        scored.name, plan.shapley(values), float(values[-1]), float(values[0])
    )
    return explanation, found


def _ask_of(model: Any, output: Any, pos_label: Any) -> Any:
    return make_output(model, output, pos_label).ask


def _with_groups(train: Any, groups: Any) -> tuple[Any, Any, Any]:
    """Return the cases of the retrain game with their patients, if they are given."""
    X, y, *ids = train
    if ids:
        return X, y, ids[0]
    column, _ = column_or_ids(groups)  # the ids themselves belong to other rows
    is_there = column in pd.DataFrame(table_of(X)).columns or isinstance(column, int)
    return X, y, column if is_there else None


def _display_from_estimator(
    cls: type[ModalityDisplay],
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    kind: str = "share",
    case: int = 0,
    case_label: str | None = None,
    output: Any = None,
    groups: Any = None,
    ax: Any = None,
    **parameters: Any,
) -> ModalityDisplay:
    """Explain cases and plot the contributions of the modalities.

    Parameters
    ----------
    estimator : estimator
        A fitted estimator, see `skfusion.ModalityImportance`.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases to explain.
    y : array-like of shape (n,) or None, default=None
        The outcome, shown by the markers of ``"beeswarm"`` and ``"outcome"``.
    kind, case, case_label, output, ax
        See `plot`.
    groups : str, int, array-like of shape (n,) or None, default=None
        See `skfusion.ModalityImportance.explain`.
    **parameters : any
        Parameters of `skfusion.ModalityImportance`, such as ``background``.

    Returns
    -------
    ModalityDisplay
    """
    importance = ModalityImportance(estimator, **parameters)
    # The explanation knows the patients, so that the plot need not be told.
    explanation = importance.explain(X, y, groups=groups)
    return cls(explanation).plot(
        kind, case=case, case_label=case_label, output=output, ax=ax
    )


# The method is attached here, because the display module is imported by this module.
ModalityDisplay.from_estimator = classmethod(  # type: ignore[attr-defined]
    _display_from_estimator
)
