"""What each modality contributes, in three games over the same modalities.

The games are in the modules `coalitions`, `performance` and `retrain`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils import check_consistent_length, check_random_state

from skfusion.inspection.modalities.coalitions import (
    Cases,
    check_level,
    coalition_table,
    find_patients,
    make_plan,
    prepare,
    table_of,
)
from skfusion.inspection.modalities.performance import play_scores
from skfusion.inspection.modalities.report import ModalityReport, make_report
from skfusion.inspection.modalities.results import (
    ModalityExplanation,
    ModalityScores,
    make_explanation,
)
from skfusion.inspection.modalities.retrain import refit_scores
from skfusion.inspection.modalities.scoring import make_scoring
from skfusion.inspection.models import find_model, make_output
from skfusion.inspection.plots.display import ModalityDisplay
from skfusion.inspection.shapley import CoalitionPlan

__all__ = ["ModalityImportance"]


class ModalityImportance:
    """Tell what each modality contributes to a fitted model.

    The modalities are the players of an exact game. Three questions are three games,
    and their answers differ: `explain` (*reliance*: how far each modality moves each
    prediction), `score` (*performance*: what it adds to the score on held-out cases)
    and `refit` (*retrain*: what it adds when the model is fitted again on each set of
    modalities). `report` puts them side by side.

    Parameters
    ----------
    estimator : estimator
        A fitted early, late or joint fusion, a search or `Pipeline` around one, or any
        fitted scikit-learn estimator of a table.
    modalities : dict of str to list of column labels or positions, or None, \
            default=None
        The columns of each modality; None for a fusion, which knows its own.
    output : {"link", "proba"} or callable, default="link"
        What `explain` explains: log-odds (for more than two classes the logarithms of
        the probabilities less their mean), on which what a model adds up stays a sum;
        probabilities; or a function of what ``predict_proba`` or ``predict`` gives,
        from (n, n_outputs) to (n,) or (n, C). Numbers and risks are taken as they are.
    removal : {"background", "native"}, default="background"
        How a modality is withheld: replaced by those of background cases, over which
        the output is averaged; or left out, for a fusion that was trained to do
        without (``supports_missing_``).
    background : DataFrame or ndarray of shape (n, n_columns) or None, default=None
        Cases that stand for what is withheld, best the training data: then cases that
        were trained on are recognised too. None takes those to explain.
    n_background : int, default=100
        How many of them are used, drawn at random.
    n_permutations : int or None, default=None
        None plays exactly, for 8 modalities at most; a number samples that many pairs
        of joining orders, for any number of modalities, with standard errors.
    random_state : int, RandomState or None, default=0
        Seed of the draws.
    n_jobs : int or None, default=None
        Models that `refit` fits at a time.

    See Also
    --------
    skfusion.explain_images : What region of the image a prediction rests on.

    Notes
    -----
    A fusion encodes every case once (each image, each row of the record), whatever the
    number of background cases; sets of modalities are mixed from what was encoded, in
    chunks of 64 MB.

    The sum of the absolute Shapley values of a modality's *columns* says something
    else: of pure noise in 128 columns beside a signal in 20 it makes 48 to 55 % (12
    draws, XGBoost), because noise in many columns adds up where its signs would cancel.

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
    >>> importance.explain(test).share().round(1).to_dict()
    {'image': 0.7, 'ehr': 0.3}
    >>> importance.score(test, cohort.target[200:]).to_frame().round(1)
              estimate  low  high
    modality
    image          0.3  0.2   0.3
    ehr            0.1  0.0   0.1
    """

    def __init__(
        self,
        estimator: Any,
        *,
        modalities: Any = None,
        output: Any = "link",
        removal: str = "background",
        background: Any = None,
        n_background: int = 100,
        n_permutations: int | None = None,
        random_state: Any = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.estimator = estimator
        self.modalities = modalities
        self.output = output
        self.removal = removal
        self.background = background
        self.n_background = n_background
        self.n_permutations = n_permutations
        self.random_state = random_state
        self.n_jobs = n_jobs

    def explain(self, X: Any, y: Any = None) -> ModalityExplanation:
        """Tell how far each modality moves each prediction.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            The cases to explain, best held out; modalities may be absent, and what an
            absent one adds is what its absence changes.
        y : array-like of n rows or None, default=None
            The outcome, kept beside the values for figures.

        Returns
        -------
        ModalityExplanation

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a column is missing, the background has one case only, there are more
            than 8 modalities and none are sampled, or the model was not trained to do
            without a modality that ``removal="native"`` leaves out.

        Warns
        -----
        UserWarning
            If cases that are explained are in the background given: a model relies on
            noise most where it was fitted.
        """
        cases, plan = self._prepare(X)
        return self._reliance(cases, plan, y)

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
        """Tell what each modality adds to the score of the model.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Held-out cases.
        y : array-like of n rows
            Their outcome.
        scoring : str, callable or None, default=None
            None is the AUROC (one against the rest), R², or the concordance of
            censored times. Else a name or scorer as in `compare_fusion`; of a loss, the
            contributions are what it is lowered by.
        groups : str, array-like of shape (n,) or None, default=None
            Patient ids, or the column that holds them: intervals are about patients.
        confidence_level : float, default=0.95
            Coverage of the intervals.
        n_resamples : int, default=1000
            Bootstrap draws for scores other than the AUROC, whose intervals come from
            the covariance of the sets' AUROCs (DeLong; Obuchowski with groups).

        Returns
        -------
        ModalityScores
            No modality at all is worth what chance is: an AUROC of 0.5, or the score of
            the same answer to all.

        Raises
        ------
        ValueError
            As in `explain`; if `y` has one value only, or all cases are of one patient.
        """
        check_level(confidence_level)
        patients, X = find_patients(groups, X, self.modalities)
        check_consistent_length(table_of(X), y)
        cases, plan = self._prepare(X)
        scored = make_scoring(cases.model, y, scoring)
        return play_scores(
            cases,
            plan,
            scored,
            patients,
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
        """Tell what each modality adds when the model is fitted again without others.

        The estimator is fitted on every set of modalities in every fold, and scored on
        the part held out. Embeddings come from the store of the embedder.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Cases to fit and score on, in turn.
        y : array-like of n rows
            Their outcome.
        cv : int or splitter, default=5
            The folds; of whole patients where groups are given.
        groups : str, array-like of shape (n,) or None, default=None
            Patient ids, or the column that holds them.
        scoring : str, callable or None, default=None
            As in `score`.
        confidence_level : float, default=0.95
            Coverage of the intervals, which are corrected for the overlap of the
            training parts (Nadeau and Bengio).

        Returns
        -------
        ModalityScores

        Raises
        ------
        ValueError
            If there are more than 8 modalities and none are sampled, or a fold has too
            little to fit or score on.
        """
        check_level(confidence_level)
        patients, X = find_patients(groups, X, self.modalities)
        check_consistent_length(table_of(X), y)
        model, (inside,) = find_model(self.estimator, self.modalities, X)
        rng = check_random_state(self.random_state)
        plan = make_plan(
            len(model.modalities), self.n_permutations, rng, "one fit in every fold"
        )
        return refit_scores(
            model,
            inside,
            y,
            plan,
            make_scoring(model, y, scoring),
            cv=cv,
            groups=patients,
            confidence_level=confidence_level,
            n_jobs=self.n_jobs,
            random_state=int(rng.randint(np.iinfo(np.int32).max)),
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
    ) -> ModalityReport:
        """Play all three games, and say what their answers mean together.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n, n_columns)
            Held-out cases.
        y : array-like of n rows
            Their outcome.
        groups : str, array-like of shape (n,) or None, default=None
            Patient ids, or the column that holds them.
        scoring : str, callable or None, default=None
            As in `score`.
        cv : int, splitter or None, default=5
            Folds of the retrain game; None leaves it out.
        train : tuple (X, y) or (X, y, groups), or None, default=None
            Cases to fit again on, in turn; None takes the held-out ones.
        confidence_level : float, default=0.95
            Coverage of the intervals.
        n_resamples : int, default=1000
            Bootstrap draws for scores other than the AUROC.
        n_repeats : int, default=10
            How often each modality is shuffled between cases.

        Returns
        -------
        ModalityReport
            ``print`` it, or take its ``to_frame()``.

        Raises
        ------
        ValueError
            As in `score` and `refit`.
        """
        check_level(confidence_level)
        patients, cohort = find_patients(groups, X, self.modalities)
        check_consistent_length(table_of(X), y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            cases, plan = self._prepare(cohort)
        scored = make_scoring(cases.model, y, scoring)
        reliance = self._reliance(cases, plan, y)
        performance = play_scores(
            cases,
            plan,
            scored,
            patients,
            confidence_level,
            n_resamples,
            check_random_state(self.random_state),
        )
        retrain = None
        if cv is not None:
            again = (X, y, groups) if train is None else (*train, None)[:3]
            retrain = self.refit(
                again[0],
                again[1],
                cv=cv,
                groups=again[2],
                scoring=scoring,
                confidence_level=confidence_level,
            )
        return make_report(
            cases,
            scored,
            reliance,
            performance,
            retrain,
            patients=patients,
            n_repeats=n_repeats,
            rng=check_random_state(self.random_state),
            noticed=[str(warning.message) for warning in caught],
        )

    # -- what the games share -----------------------------------------------------

    def _prepare(self, X: Any) -> tuple[Cases, CoalitionPlan]:
        return prepare(
            X,
            self.estimator,
            self.modalities,
            removal=self.removal,
            background=self.background,
            n_background=self.n_background,
            n_permutations=self.n_permutations,
            rng=check_random_state(self.random_state),
        )

    def _reliance(
        self, cases: Cases, plan: CoalitionPlan, y: Any
    ) -> ModalityExplanation:
        if y is not None:
            check_consistent_length(cases.presence, y)
        output = make_output(cases.model, self.output)
        table = coalition_table(cases, plan, output.ask)
        return make_explanation(cases, plan, output, table, y)


def _display_from_estimator(
    cls: type[ModalityDisplay],
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    kind: str = "share",
    case: int = 0,
    output: Any = None,
    groups: Any = None,
    ax: Any = None,
    **parameters: Any,
) -> ModalityDisplay:
    """Explain cases and draw what was found.

    Parameters
    ----------
    estimator : estimator
        Fitted, see `skfusion.ModalityImportance`.
    X : DataFrame or ndarray of shape (n, n_columns)
        The cases.
    y : array-like of shape (n,) or None, default=None
        The outcome, told apart by the marks of ``"beeswarm"`` and ``"outcome"``.
    kind, case, output, groups, ax
        As in `plot`.
    **parameters : any
        Those of `skfusion.ModalityImportance`, such as ``background``.

    Returns
    -------
    ModalityDisplay
    """
    explanation = ModalityImportance(estimator, **parameters).explain(X, y)
    return cls(explanation).plot(kind, case=case, output=output, groups=groups, ax=ax)


# Here and not in the class, because the display is below `ModalityImportance`.
ModalityDisplay.from_estimator = classmethod(  # type: ignore[attr-defined]
    _display_from_estimator
)
