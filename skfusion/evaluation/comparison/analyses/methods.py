"""Methods of a comparison for its secondary analyses, which need no new claims."""

from __future__ import annotations

from typing import Any

import pandas as pd

from skfusion.evaluation.comparison.analyses.curves import (
    precision_recall_table,
    roc_table,
)
from skfusion.evaluation.comparison.analyses.held_out import held_out_sets
from skfusion.evaluation.comparison.analyses.levels import variables_of
from skfusion.evaluation.comparison.analyses.operating_points import (
    find_rule,
    operating_table,
)
from skfusion.evaluation.comparison.analyses.subgroups import Predicted, subgroup_table
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
        therefore the AUROC in `scores_`. The band is from a bootstrap of patients with
        the fitted models, so it does not contain the variation over training sets.
        Where the sensitivity is 1 or 0 on all test sets, the limits are those of
        Clopper and Pearson for the patients with an event.

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
        Precision depends on the prevalence. It does not apply to other populations.
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
            patient), ``n_patients``, ``n_events`` (patients with an event) and
            ``reason`` (why a rate is NaN).

        Raises
        ------
        ValueError
            If not exactly one argument is given, it is out of range, the outcome does
            not have two classes, or the comparison has one test set only.

        Notes
        -----
        The threshold of a test fold is chosen on the held-out probabilities of the
        other folds of the same repetition, so that no case chooses its own threshold.
        Hence the target is not met exactly. A case is positive from the threshold on.
        The predictions of all folds and repetitions are pooled. Predictive values are
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
            ``strategy``, ``n_patients``, ``n_rows``, ``n_events`` (patients with an
            event), ``metric``, ``estimate``, ``low``, ``high``. Of fusions also
            ``reference`` (the best single modality of all patients), ``difference``
            from it in this level, and ``interaction`` (this difference minus that of
            all other levels), each with ``_low`` and ``_high`` (95% confidence
            interval). ``reason`` says why a number is NaN.

        Raises
        ------
        ValueError
            If the outcome does not have two classes and is not numeric, a variable is
            unknown, has another length or more than 20 levels, or the score is unknown.

        Notes
        -----
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
        name, function = weighted_score(
            score, self.metrics_, self.cohort_["task"], "by_group"
        )
        is_binary = self.cohort_["task"] == "binary"
        context = self.context_
        owner = "FusionComparison.by_group"
        variables = variables_of(
            columns,
            None if context is None else context.study.X,
            self.cohort_["n_rows"],
            owner,
        )
        roles = self.strategies_["role"]
        predicted = Predicted.of(
            self.predictions_,
            list(roles.index[roles != "without"]),
            self._references(),
            resolve_metrics(name, 2 if is_binary else None)[0],
            function,
            self._positive_class("by_group") if is_binary else None,
            self.settings_,
        )
        return subgroup_table(predicted, variables, min_cell=min_cell)

    # -- what the methods share -------------------------------------------------------

    def _context(self) -> Context:
        if self.context_ is None:
            raise ValueError(
                "This comparison was made without its estimators and cohort, so "
                "nothing can be fitted again."
            )
        return self.context_

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

    def _check_strategy(self, strategy: str, method: str) -> None:
        if strategy not in self.strategies_.index:
            raise ValueError(
                f"FusionComparison.{method}: {strategy!r} is not one of the strategies "
                f"{list(self.strategies_.index)}."
            )
