"""Methods of a comparison for its secondary analyses, which need no new claims."""

from __future__ import annotations

from typing import Any

import pandas as pd

from skfusion.evaluation.comparison.analyses.curves import (
    precision_recall_table,
    roc_table,
)
from skfusion.evaluation.comparison.analyses.held_out import held_out_sets
from skfusion.evaluation.comparison.running import Context

__all__ = ["SecondaryAnalyses"]


class SecondaryAnalyses:
    """Secondary analyses of a `FusionComparison`, from its tables or by new fits."""

    predictions_: pd.DataFrame
    strategies_: pd.DataFrame
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

    # -- what the methods share -------------------------------------------------------

    def _context(self) -> Context:
        if self.context_ is None:
            raise ValueError(
                "This comparison was made without its estimators and cohort, so "
                "nothing can be fitted again."
            )
        return self.context_

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
