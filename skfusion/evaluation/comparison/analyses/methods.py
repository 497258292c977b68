"""Methods of a comparison for its secondary analyses, which need no new claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.comparison.analyses.curves import (
    precision_recall_table,
    roc_table,
)
from skfusion.evaluation.comparison.analyses.held_out import held_out_sets
from skfusion.evaluation.comparison.analyses.learning_curves import (
    check_fractions,
    learning_table,
)
from skfusion.evaluation.comparison.analyses.levels import variables_of
from skfusion.evaluation.comparison.analyses.missing_modalities import (
    Removal,
    missing_table,
)
from skfusion.evaluation.comparison.analyses.operating_points import (
    find_rule,
    operating_table,
)
from skfusion.evaluation.comparison.analyses.subgroups import Predicted, subgroup_table
from skfusion.evaluation.comparison.analyses.table_one import (
    Strata,
    default_columns,
    table_one,
)
from skfusion.evaluation.comparison.analyses.weighted_scores import weighted_score
from skfusion.evaluation.comparison.running import Context
from skfusion.evaluation.metrics import Metric, resolve_metrics
from skfusion.evaluation.statistics.disclosure import MIN_CELL

__all__ = ["SecondaryAnalyses"]


class SecondaryAnalyses:
    """Secondary analyses of a `FusionComparison`, from its tables or by new fits."""

    predictions_: pd.DataFrame
    strategies_: pd.DataFrame
    tests_: pd.DataFrame
    metrics_: list[Metric]
    cohort_: dict[str, Any]
    settings_: dict[str, Any]
    context_: Context | None

    def roc_curve(self, strategy: str) -> pd.DataFrame:
        """Return the ROC curve of the held-out probabilities of a strategy.

        Parameters
        ----------
        strategy : str
            Name of the strategy, as in `strategies_`.

        Returns
        -------
        DataFrame of shape (101, 4)
            ``false_positive_rate`` from 0 to 1, ``sensitivity``, and ``low`` and
            ``high`` (pointwise 95% band, NaN for held-out sites).

        Raises
        ------
        ValueError
            If the outcome does not have two classes, or the strategy does not exist.

        Notes
        -----
        The curve is the mean of the curves of the test sets of all repetitions at the
        same false positive rate, weighted by their patients. The area under it is
        therefore the AUROC in `scores_`. The band is on the logit scale, with the
        standard error of a bootstrap of patients. The models are not fitted again, so
        it does not contain the variation over training sets. Where the sensitivity is 1
        or 0 on all test sets, the limits are those of Clopper and Pearson for the
        patients with an event.

        Examples
        --------
        >>> import pandas as pd
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(200, random_state=0)
        >>> result = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
        ...     strategies=("single", "late"), random_state=0)
        >>> curve = result.roc_curve("late")
        >>> list(curve.columns)
        ['false_positive_rate', 'sensitivity', 'low', 'high']
        """
        positive = self._positive_class("roc_curve")
        self._check_strategy(strategy, "roc_curve")
        return roc_table(
            held_out_sets(self.predictions_, strategy, positive),
            equal_weights=self.settings_["design"] == "sites",
            seed=self.settings_["seed"],
        )

    def precision_recall_curve(self, strategy: str) -> pd.DataFrame:
        """Return the precision-recall curve of the held-out probabilities.

        Parameters
        ----------
        strategy : str
            Name of the strategy, as in `strategies_`.

        Returns
        -------
        DataFrame of shape (100, 5)
            ``recall`` from 0.01 to 1, ``precision``, ``low`` and ``high`` (pointwise
            95% band, NaN for held-out sites), and ``prevalence`` (the precision of
            random predictions).

        Raises
        ------
        ValueError
            If the outcome does not have two classes, or the strategy does not exist.

        Notes
        -----
        The precision is that of the highest threshold that has at least the recall,
        without interpolation. The curve is the mean of the curves of the test sets as
        in `roc_curve`, so its mean is close to the average precision in `scores_`.
        Precision depends on the prevalence. It does not apply to other populations. The
        positive class is the second one in ``cohort_["classes"]``.
        """
        positive = self._positive_class("precision_recall_curve")
        self._check_strategy(strategy, "precision_recall_curve")
        return precision_recall_table(
            held_out_sets(self.predictions_, strategy, positive),
            equal_weights=self.settings_["design"] == "sites",
            seed=self.settings_["seed"],
        )

    def operating_point(
        self,
        sensitivity: float | None = None,
        specificity: float | None = None,
        cost: float | None = None,
    ) -> pd.DataFrame:
        """Return sensitivity, specificity and predictive values at a chosen threshold.

        Parameters
        ----------
        sensitivity : float or None, default=None
            Least sensitivity. The threshold is the highest one that has it.
        specificity : float or None, default=None
            Least specificity. The threshold is the lowest one that has it.
        cost : float or None, default=None
            Cost of a false negative, where that of a false positive is 1. The threshold
            has the least total cost. Exactly one of the three must be given.

        Returns
        -------
        DataFrame
            One row per strategy: ``strategy``, ``rule`` and ``target`` (what was asked
            for), ``threshold`` (median over the folds), ``threshold_low`` and
            ``threshold_high`` (their range), ``sensitivity``, ``specificity``, ``ppv``
            and ``npv``, each with ``_low`` and ``_high`` (95% confidence interval by
            patient), ``unit`` (``"row"`` or ``"patient"``, what the rates are of),
            ``n_rows``, ``n_event_rows`` (rows with an event), ``n_patients``,
            ``n_events`` (patients with a row with an event) and ``reason`` (why a rate
            is NaN).

        Raises
        ------
        ValueError
            If not exactly one argument is given, it is out of range, the outcome does
            not have two classes, it is not known which of them is positive, or the
            comparison has one test set only.

        Notes
        -----
        The threshold of a test fold is chosen on the held-out probabilities of the
        other folds of the same repetition, so that no case chooses its own threshold.
        Hence the target is not met exactly. A case is positive from the threshold on.
        The rates are of rows: with several rows per patient, such as one per lesion,
        the sensitivity is the share of the ``n_event_rows`` rows that are found, and
        not of the ``n_events`` patients. For rates of patients, compare a table with
        one row per patient. The predictions of all folds and repetitions are pooled.
        Predictive values are
        those at the prevalence of the cohort. Intervals are on the logit scale, with
        the larger of two variances by patient: that of a bootstrap that chooses the
        thresholds again, and that of a ratio at these thresholds. The models are not
        fitted again. Held-out sites have no intervals.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(200, random_state=0)
        >>> result = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
        ...     strategies=("single", "late"), random_state=0)
        >>> table = result.operating_point(sensitivity=0.9).set_index("strategy")
        >>> table.loc["late", ["sensitivity", "specificity"]].astype(float).round(2)
        sensitivity    0.89
        specificity    0.26
        Name: late, dtype: float64
        """
        positive = self._positive_class("operating_point")
        self._check_positive_is_known("operating_point")
        rule = find_rule(sensitivity, specificity, cost)
        return operating_table(
            [str(name) for name in self.strategies_.index],
            lambda name: held_out_sets(self.predictions_, name, positive),
            rule,
            design=self.settings_["design"],
            seed=self.settings_["seed"],
        )

    def by_group(
        self, columns: Any, score: str | None = None, *, min_cell: int = MIN_CELL
    ) -> pd.DataFrame:
        """Return the scores in subgroups of patients, and whether the gain differs.

        Parameters
        ----------
        columns : column label, list of column labels, DataFrame or dict of arrays
            Variables that define the subgroups: columns of the cohort, or arrays with
            one entry per row. Numbers with more than 5 distinct values are divided at
            their terciles. Missing values are a level.
        score : str or None, default=None
            ``"roc_auc"``, ``"average_precision"``, ``"brier"`` or ``"log_loss"``, of a
            numeric outcome ``"mae"``, ``"mse"``, ``"rmse"`` or ``"r2"``. None uses the
            first of these among the metrics of the comparison.
        min_cell : int, default=10
            Smallest count that is shown. Counts from 1 to 9 are ``"<10"``. Others are
            ``"withheld"`` where they would reveal such a count. With 0, all are shown.

        Returns
        -------
        DataFrame
            One row per variable, level and strategy: ``variable``, ``level``,
            ``strategy``, ``n_patients``, ``n_shared`` (those of them who also have rows
            in other levels), ``n_rows``, ``n_events`` (patients with a row with an
            event), ``metric``, ``estimate``, ``low``, ``high`` and ``n_test_sets`` (on
            which the score is defined, of all repetitions). Of fusions also
            ``reference`` (the best single modality of all patients), ``difference``
            from it in this level, and ``interaction`` (this difference minus that of
            all other levels), each with ``_low`` and ``_high`` (95% confidence
            interval). ``reason`` says why a number is NaN.

        Raises
        ------
        ValueError
            If the outcome does not have two classes and is not numeric, a variable is
            unknown, has another length or more than 20 levels, or the score is unknown
            or depends on which class is positive and this is not known.

        Notes
        -----
        A patient with rows in several levels, such as lesions of several regions,
        counts as a patient of each of them (``n_shared``), so that the patients of the
        levels can add up to more than those of the cohort. Scores are of rows.

        Below 10 patients with or 10 without an event there is no estimate. Scores are
        computed within each test set and averaged as in `scores_`. Test sets on which a
        score is undefined are left out. Standard errors are from a jackknife of
        patients with the fitted models, multiplied as in
        `cross_validated_auroc_interval`. Intervals are not adjusted and there are no
        p-values, because subgroups are descriptive. A difference in one level only is
        no evidence that the levels differ. The interval of the interaction shows this.
        Held-out sites have no intervals.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(200, random_state=0)
        >>> result = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
        ...     strategies=("single", "late"), random_state=0)
        >>> sex = ["f", "m"] * 97 + ["f"] * 6
        >>> table = result.by_group({"sex": sex})
        >>> table.loc[table["strategy"] == "late", ["level", "n_patients"]]
          level n_patients
        2     f        103
        5     m         97
        """
        predicted = self._predicted(score, None, "by_group")
        context = self.context_
        variables = variables_of(
            columns,
            None if context is None else context.study.X,
            self.cohort_["n_rows"],
            "FusionComparison.by_group",
        )
        return subgroup_table(predicted, variables, min_cell=min_cell)

    def missing_curve(
        self,
        modality: str,
        rates: Any = (0.0, 0.25, 0.5, 0.75, 1.0),
        mechanism: str = "mcar",
        *,
        n_repeats: int = 5,
        driver: Any = None,
        score: str | None = None,
        strategies: Any = None,
    ) -> pd.DataFrame:
        """Return the scores as a modality is taken away from the predicted rows.

        The models of the first repetition are fitted again and predict their test sets
        without the modality in some of the rows. The training sets are not changed.

        Parameters
        ----------
        modality : str
            Name of the modality.
        rates : array-like of shape (n_rates,), default=(0, 0.25, 0.5, 0.75, 1)
            Shares of the rows with the modality that lose it. Rows that lack it
            already are not counted, see ``absent``.
        mechanism : {"mcar", "mar", "mnar"}, default="mcar"
            Mechanism by which the rows are drawn, as in `skfusion.datasets.
            drop_modality`.
        n_repeats : int, default=5
            Number of draws of the rows for each rate between 0 and 1. The scores of the
            draws are averaged.
        driver : column label, array-like of shape (n_samples,) or None, default=None
            Variable that the loss depends on, as in `drop_modality`.
        score : str or None, default=None
            Score as in `by_group`.
        strategies : list of str or None, default=None
            Strategies to predict with. None uses the fusions and the single modalities.

        Returns
        -------
        DataFrame
            One row per strategy and rate: ``modality``, ``mechanism``, ``strategy``,
            ``rate``, ``absent`` (share of all predicted rows without the modality,
            those that lacked it already included), ``metric``, ``estimate``, ``low``,
            ``high``, ``change`` (from a rate of 0) with ``change_low`` and
            ``change_high`` (95% confidence intervals by patient), and ``reason`` (why
            a number is NaN, and the remedy).

        Raises
        ------
        ValueError
            If the modality, the score or a strategy is unknown, a rate is out of range,
            or the comparison does not have its estimators and cohort.

        Notes
        -----
        A strategy has no estimate if its model was never trained with the modality
        absent, refuses such rows, or does not say whether it supports them. Early
        fusion learns absences with ``absence_copies=1.0``, joint fusion with
        `modality_dropout`, and late fusion needs neither. ``absent`` is the mean over
        draws: on one test set, the draw of a row can differ from it. The single
        modality itself predicts the average for rows without it. Single modalities that
        do not use the modality do not change. The intervals are those of `by_group`,
        and do not contain the variation over draws of the rows.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(200, random_state=0)
        >>> result = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
        ...     strategies=("single", "late"), random_state=0)
        >>> curve = result.missing_curve("image", [0, 1])
        >>> curve[["strategy", "rate", "estimate"]].round(2)
                strategy  rate  estimate
        0  image in late   0.0      0.74
        1  image in late   1.0      0.50
        2    ehr in late   0.0      0.55
        3    ehr in late   1.0      0.55
        4           late   0.0      0.76
        5           late   1.0      0.55
        """
        context = self._context()
        removal = Removal.of(modality, rates, mechanism, driver, n_repeats, context)
        predicted = self._predicted(score, strategies, "missing_curve")
        return missing_table(
            removal, context, predicted, self.predictions_, self._positive_or_none()
        )

    def learning_curve(
        self,
        fractions: Any = (0.2, 0.4, 0.6, 0.8, 1.0),
        *,
        score: str | None = None,
        strategies: Any = None,
    ) -> pd.DataFrame:
        """Return the scores of strategies that are trained on fewer patients.

        Each training set of the first repetition is reduced to a share of its patients,
        of each class alike. The test sets stay the same.

        Parameters
        ----------
        fractions : array-like of shape (n_fractions,), default=(0.2, ..., 1.0)
            Shares of the training patients. The patients of a share are also in larger
            shares. 1 uses the predictions of the comparison.
        score : str or None, default=None
            Score as in `by_group`.
        strategies : list of str or None, default=None
            Strategies to fit. None uses the fusions and the single modalities.

        Returns
        -------
        DataFrame
            One row per strategy and fraction: ``strategy``, ``fraction``, ``n_train``
            (mean number of training patients, or rows without patients), ``metric``,
            ``estimate``, ``low``, ``high`` (95% confidence interval by patient), and
            ``reason`` (why a number is NaN, such as a fit that failed).

        Raises
        ------
        ValueError
            If a fraction is out of range, the score or a strategy is unknown, or the
            comparison does not have its estimators and cohort.

        Warns
        -----
        UserWarning
            Warnings of the fits, each kind once with its number.

        Notes
        -----
        The intervals are those of `by_group`. The curve of one cohort extrapolates
        poorly to more patients than it has. For the size of a study,
        `skfusion.evaluation.patients_for_gain` starts from the gain that this
        comparison can detect, and `skfusion.evaluation.patients_for_model` from the
        number of parameters.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(200, random_state=0)
        >>> result = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
        ...     strategies=("single", "late"), random_state=0)
        >>> curve = result.learning_curve([0.5, 1], strategies=["late"])
        >>> curve[["fraction", "n_train", "estimate"]].round(2)
           fraction  n_train  estimate
        0       0.5     80.0      0.70
        1       1.0    160.0      0.76
        """
        context = self._context()
        shares = check_fractions(fractions)
        predicted = self._predicted(score, strategies, "learning_curve")
        return learning_table(
            shares, context, predicted, self.predictions_, self._positive_or_none()
        )

    def table_one(
        self,
        columns: Any = None,
        labels: Mapping[str, str] | None = None,
        *,
        min_cell: int = MIN_CELL,
    ) -> pd.DataFrame:
        """Describe the cohort by outcome, as in the first table of a paper.

        Parameters
        ----------
        columns : column label, list, DataFrame, dict of arrays or None, default=None
            Variables, as in `by_group`. None uses the columns of the modalities, except
            images, identifiers, columns of text with more than 20 levels, and
            modalities with more than 30 columns.
        labels : dict of str to str or None, default=None
            Names to show for variables.
        min_cell : int, default=10
            Smallest count that is shown, as in `by_group`.

        Returns
        -------
        DataFrame
            Text with one row per number, and one per level of a category:
            ``variable``, ``level``, ``missing`` (number of missing values),
            ``overall``, a column for each class, and ``smd`` (standardised mean
            difference of two classes as a number). The first row has the number of
            patients.

        Raises
        ------
        ValueError
            If a variable is unknown, has another length or more than 20 levels, or the
            comparison does not have its cohort and no arrays are given.

        Warns
        -----
        DataWarning
            If `columns` is None and columns are left out.

        Notes
        -----
        There is one unit per patient: the first row describes a patient, who has an
        event if any row has one (the last of the classes of the rows). Without
        patients, units are rows. The outcome of a survival analysis is the event.

        Numbers with more than 5 distinct values are described by mean (SD), or by
        median [Q1, Q3] if their skewness is above 1 or below -1. Others are described
        by n (%) of each level among units without missing values. If the number of
        missing values is suppressed, the percentages are of all units. The standardised
        mean difference of numbers is the difference of the means over the root of the
        mean variance. That of categories is the Mahalanobis distance of Yang and Dalton
        [1]_. It is NaN where a count is suppressed, because it would reveal the count.

        References
        ----------
        .. [1] Yang D, Dalton JE (2012). A unified approach to measuring the effect size
           between two groups using SAS. SAS Global Forum, paper 335.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(200, random_state=0)
        >>> result = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
        ...     strategies=("single", "late"), random_state=0)
        >>> table = result.table_one("ehr_1", {"ehr_1": "CRP"})
        >>> table.drop(columns="level").round(2)
                 variable missing    overall          0          1   smd
        0               n                200        139         61   NaN
        1  CRP, mean (SD)       0  0.0 (1.0)  0.0 (1.0)  0.0 (1.0)  0.05
        """
        context = self.context_
        if columns is None:
            columns = default_columns(self._context())
        variables = variables_of(
            columns,
            None if context is None else context.study.X,
            self.cohort_["n_rows"],
            "FusionComparison.table_one",
        )
        return table_one(
            variables, self._strata(), dict(labels or {}), min_cell=min_cell
        )

    # -- what the methods share -------------------------------------------------------

    def _context(self) -> Context:
        if self.context_ is None:
            raise ValueError(
                "This comparison was made or loaded without its estimators and cohort, "
                "so nothing can be fitted again."
            )
        return self.context_

    def _strata(self) -> Strata:
        """Return the patients and their classes, from the cohort or the predictions."""
        kind, classes = self.cohort_["task"], self.cohort_.get("classes", [])
        names = [str(each["label"]) for each in classes]
        if kind == "survival":
            names = ["censored", "event"]
        table = self.predictions_[self.predictions_["repeat"] == 0]
        table = table.drop_duplicates("row").sort_values("row")
        context = self.context_
        if context is None and len(table) < self.cohort_["n_rows"]:
            raise ValueError(
                "FusionComparison.table_one: the comparison does not have its cohort, "
                f"and {len(table)} of {self.cohort_['n_rows']} rows were predicted, so "
                "the outcome of the others is not known."
            )
        if context is not None:
            study = context.study
            strata = study.task.strata(study.y)
            groups = study.groups
            if strata is None and groups is None:
                strata = np.zeros(len(study.y), dtype=np.int64)
            return Strata.of(strata, names, groups)
        ids = table["group"].to_numpy()
        codes: np.ndarray = np.zeros(len(table), dtype=np.int64)
        if kind == "survival":
            codes = table["event"].to_numpy(dtype=np.int64)
        elif classes:
            numbers = {name: number for number, name in enumerate(names)}
            codes = table["y"].astype(str).map(numbers).to_numpy(dtype=np.int64)
        return Strata.of(codes, names, None if (ids < 0).all() else ids)

    def _positive_or_none(self) -> str | None:
        is_binary = self.cohort_["task"] == "binary"
        return str(self.cohort_["classes"][1]["label"]) if is_binary else None

    def _predicted(self, score: str | None, strategies: Any, method: str) -> Predicted:
        """Return the held-out predictions of some strategies with a score."""
        task = self.cohort_["task"]
        name, function = weighted_score(score, self.metrics_, task, method)
        if name == "average_precision":
            self._check_positive_is_known(method)
        names = list(strategies) if strategies is not None else []
        for strategy in names:
            self._check_strategy(strategy, method)
        if not names:
            roles = self.strategies_["role"]
            names = [str(strategy) for strategy in roles.index[roles != "without"]]
        return Predicted.of(
            self.predictions_,
            names,
            self._references(),
            resolve_metrics(name, 2 if task == "binary" else None)[0],
            function,
            self._positive_or_none(),
            self.settings_,
        )

    def _references(self) -> dict[str, str]:
        """Return the best single modality of each fusion."""
        if not len(self.tests_):
            return {}
        pairs = self.tests_[["strategy", "reference"]].to_numpy()
        return {str(fusion): str(reference) for fusion, reference in pairs}

    def _positive_class(self, method: str) -> str:
        if self.cohort_["task"] != "binary":
            raise ValueError(
                f"FusionComparison.{method} needs an outcome of two classes, but the "
                f"outcome is {self.cohort_['task']}."
            )
        return str(self.cohort_["classes"][1]["label"])

    def _check_positive_is_known(self, method: str) -> None:
        if not self.settings_.get("positive_is_known", True):
            first, second = (each["label"] for each in self.cohort_["classes"])
            raise ValueError(
                f"FusionComparison.{method} depends on which class is positive, and "
                f"the classes are {first!r} and {second!r}. Pass pos_label= to "
                "compare_fusion."
            )

    def _check_strategy(self, strategy: str, method: str) -> None:
        if strategy not in self.strategies_.index:
            raise ValueError(
                f"FusionComparison.{method}: {strategy!r} is not one of the strategies "
                f"{list(self.strategies_.index)}."
            )
