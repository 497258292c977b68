"""Results of `compare_fusion` as tables, text, figures and an HTML report."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from skfusion._lazy import provided
from skfusion._paths import write_whole
from skfusion._validation import check_number
from skfusion.evaluation.comparison.analyses.archive import read_archive, write_archive
from skfusion.evaluation.comparison.analyses.methods import SecondaryAnalyses
from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.probabilities import (
    calibration_table,
    curve_of,
    held_out,
    net_benefit_table,
    risk_distribution,
)
from skfusion.evaluation.comparison.running import Context, fit_on, seeded
from skfusion.evaluation.comparison.validation import (
    Development,
    ExternalValidation,
    validate,
)
from skfusion.evaluation.comparison.verdict import Verdict, deciding_difference
from skfusion.evaluation.metrics import Metric, format_p
from skfusion.fusion.restriction import restricted_to

if TYPE_CHECKING:
    from skfusion.evaluation.report.figures.plots import ComparisonPlots

__all__ = ["FusionComparison", "load_comparison"]


@dataclass(frozen=True, eq=False, repr=False)
class FusionComparison(SecondaryAnalyses):
    """Result of `compare_fusion`.

    Attributes
    ----------
    scores_ : DataFrame
        One row per strategy and metric: ``strategy``, ``metric``, ``estimate`` (mean
        over the test sets, weighted by their patients), ``low`` and ``high`` (95%
        confidence interval, NaN for held-out sites), ``n_repeats``, ``n_folds`` (test
        sets of all repetitions).
    differences_ : DataFrame
        Each fusion minus each single modality, and minus itself without a modality:
        ``strategy``, ``reference``, ``relation`` (``"matched"`` for the same learner,
        ``"other"`` or ``"without"``), ``metric``, ``estimate``, ``low``, ``high`` (95%
        confidence interval, not adjusted), ``p`` (two-sided and not adjusted, only for
        the primary metric).
    tests_ : DataFrame
        One row per fusion, for the primary metric: ``strategy``, ``reference`` (the
        best single modality), ``estimate``, ``low``, ``high``, ``standard_error``,
        ``df``. P-values ``p_helps`` (above each single modality), ``p_matched`` (above
        each single modality of the same learner) and ``p_worse`` (below one of the
        same learner, ``worse_than``), each with ``*_holm`` (adjusted over the
        fusions). ``n_matched``, ``detectable`` (the gain over each single
        modality that is found with a probability of 80%, from the difference with the
        largest standard error), ``n_needed`` (patients to find `smallest_gain` over
        each single modality), ``p_equivalent`` and ``p_noninferior`` (adjusted over
        the fusions), ``outcome``, ``reason`` (why there is no test), ``by_site``
        (differences of held-out sites).
    folds_ : DataFrame
        One row per strategy, test set and metric: ``strategy``, ``repeat``, ``fold``,
        ``metric``, ``score``, ``n_train``, ``n_test`` (rows), ``patients_train``,
        ``patients_test``, ``seconds``, and ``site`` for held-out sites.
    predictions_ : DataFrame
        Predictions of the test sets, one row per row and repetition: ``row`` (position
        in `X`), ``repeat``, ``fold``, ``group`` (number of the patient in order of
        appearance, -1 without groups) and ``y``. One column per strategy contains the
        probability of the positive class, the predicted value or the risk. With more
        classes or labels, each has a column ``strategy__class``.
    chosen_ : DataFrame
        Parameters that searches have chosen: ``strategy``, ``repeat``, ``fold``,
        ``parameter``, ``value``.
    spread_ : DataFrame
        Standard deviation of the primary score, one row per strategy: ``sd_folds``
        (within a repetition), ``sd_repeats`` (of the means of the repetitions),
        ``sd_seeds`` (of three seeds on the first fold, for fusions that train a
        network).
    strategies_ : DataFrame
        One row per strategy: ``label``, ``role`` (``"fusion"``, ``"single"`` or
        ``"without"``), ``single``, ``modality``, ``fusion`` (of which it is a
        restriction), ``estimator`` (class name), ``learner`` (class of
        what learns inside it), ``n_repeats``.
    metrics_ : list of Metric
        Metrics, of which the first one determines the verdict.
    verdict_ : Verdict
        Statement whether fusion helps.
    cohort_ : dict
        Description of the cohort, in counts.
    settings_ : dict
        Design, splits, claims, seed and the caveat of the data.
    notes_ : list of str
        Caveats of the data, absent modalities, changes of the design, and all warnings.
    context_ : object
        Estimators, cohort and splits, for `final_estimator`, `validate` and
        `importance`.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion import compare_fusion
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> result = compare_fusion(
    ...     modalities, cohort.data, cohort.target, strategies=("single", "late"), cv=3,
    ...     n_repeats=1, scoring="roc_auc", random_state=0)
    >>> result.scores_["strategy"].tolist()
    ['image in late', 'ehr in late', 'late']
    """

    __module__ = "skfusion.evaluation"

    scores_: pd.DataFrame
    differences_: pd.DataFrame
    tests_: pd.DataFrame
    folds_: pd.DataFrame
    predictions_: pd.DataFrame
    chosen_: pd.DataFrame
    spread_: pd.DataFrame
    strategies_: pd.DataFrame
    metrics_: list[Metric]
    verdict_: Verdict
    cohort_: dict[str, Any]
    settings_: dict[str, Any]
    notes_: list[str] = field(default_factory=list)
    context_: Context | None = None

    def to_frame(self) -> pd.DataFrame:
        """Return the scores as a table with one row per strategy.

        Returns
        -------
        DataFrame of shape (n_strategies, 3 * n_metrics)
            Columns ``(metric, "estimate" | "low" | "high")``.
        """
        wide = self.scores_.pivot(
            index="strategy", columns="metric", values=["estimate", "low", "high"]
        ).swaplevel(axis=1)
        names = [metric.name for metric in self.metrics_]
        columns = [
            (name, part) for name in names for part in ("estimate", "low", "high")
        ]
        return wide.loc[self.strategies_.index, columns]

    def summary(self) -> str:
        """Return the scores, the differences and the verdict as text.

        Returns
        -------
        str
        """
        facts = self.cohort_
        units = f"{facts['n_rows']} rows"
        if facts["n_patients"] is not None:
            units += f" of {facts['n_patients']} patients"
        lines = [f"{units}. {self.settings_['folds']}. Seed {self.settings_['seed']}."]
        lines += ["", *_aligned(self._score_rows())]
        if len(self.differences_):
            primary = self.metrics_[0]
            lines += ["", f"Differences in {primary.label} (95% confidence interval):"]
            lines += _aligned(self._difference_rows())
        lines += ["", self.verdict_.text]
        lines += [
            note if note.startswith("Warning: ") else f"Note: {note}"
            for note in self.notes_
        ]
        return "\n".join(lines)

    def final_estimator(self, strategy: str) -> Any:
        """Fit a strategy on all rows of the comparison.

        Parameters
        ----------
        strategy : str
            Name of the strategy, as in `strategies_`.

        Returns
        -------
        estimator
            The fitted estimator. No score of the comparison is about it, because it
            was trained on all rows.

        Raises
        ------
        ValueError
            If the strategy does not exist.
        """
        context = self._context()
        known = {arm.name: arm for arm in context.arms}
        self._check_strategy(strategy, "final_estimator")
        arm = known[strategy]
        estimator = arm.estimator
        if estimator is None:  # a member of a late fusion
            late = known[str(arm.fusion)].estimator
            estimator = restricted_to(late, [str(arm.modality)])
        every_row = np.arange(len(context.study.y))
        return fit_on(seeded(estimator, context.seed), context.study, every_row)

    def validate(self, X: Any, y: Any, *, groups: Any = None) -> ExternalValidation:
        """Fit the fusions and single modalities on all rows and test other cases.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns)
            External cohort with the columns of the comparison.
        y : array-like of shape (n_samples,)
            Its outcome.
        groups : str, array-like of shape (n_samples,) or None, default=None
            Its patients. None uses the column of the comparison if it exists.

        Returns
        -------
        ExternalValidation
            Scores with confidence intervals, differences of the fitted models,
            calibration with and without recalibration, and in ``gains_`` the gain of
            each fusion here beside that of the comparison.
        """
        settings = self.settings_
        return validate(
            self._context(),
            X,
            y,
            groups=groups,
            metrics=self.metrics_,
            labels=dict(self.strategies_["label"]),
            claims=Claims(
                settings["primary"], settings["smallest_gain"], settings["margin"]
            ),
            development=Development(self.differences_, self.tests_),
        )

    def importance(
        self,
        X: Any = None,
        y: Any = None,
        *,
        groups: Any = None,
        strategies: Any = None,
        scoring: Any = None,
        n_repeats: int = 1,
        kind: str = "centred_abs",
        null_share: bool = False,
        n_jobs: int | None = None,
        **parameters: Any,
    ) -> Any:
        """Return the importance of the modalities over the models of the folds.

        Each fusion is fitted again on the training set of each fold, as it was in the
        comparison. The model explains and scores the held-out rows of this fold, with
        its training rows as the background. The importance of one fitted model depends
        on its training set and its seed. Its range over the models shows how much. A
        modality without information has a share above 0 as well: ``null_share=True``
        shows which share it has by chance.

        Parameters
        ----------
        X : DataFrame or ndarray of shape (n_samples, n_columns) or None, default=None
            Cases that every model explains. None explains the held-out rows of each
            fold by the model of this fold.
        y : array-like of shape (n_samples,) or None, default=None
            Outcome of `X`. None leaves out the contributions to the score.
        groups : str, array-like of shape (n_samples,) or None, default=None
            Patients of `X`. None uses the column of the comparison if it exists.
        strategies : list of str, str or None, default=None
            Names of the fusions, as in `strategies_`. None selects all fusions.
        scoring : str, callable or None, default=None
            Score of the contributions, as in `skfusion.ModalityImportance.score`. None
            is the primary metric of the comparison. For survival times and for several
            labels, it is the concordance and the mean AUROC.
        n_repeats : int, default=1
            Number of repetitions whose models are fitted again.
        kind : str, default="centred_abs"
            Quantity that is compared in a share, as in
            `skfusion.inspection.ModalityExplanation.share`.
        null_share : bool, default=False
            Whether to compute the share of each modality if it is shuffled among the
            patients before the fit. This needs a further fit per modality and fold.
        n_jobs : int or None, default=None
            Number of models that are fitted in parallel.
        **parameters : any
            Further parameters of `skfusion.ModalityImportance`, such as
            ``n_background``.

        Returns
        -------
        FoldImportance
            A frame, with the mean and the range over the models, and a figure.

        Raises
        ------
        ValueError
            If a strategy is no fusion, `n_repeats` is larger than in the comparison, or
            a fold has a single held-out row.

        Warns
        -----
        LeakageWarning
            If cases of `X` are rows or patients of the comparison.
        DataWarning
            If a score is not defined in some folds.

        Examples
        --------
        >>> from sklearn.preprocessing import StandardScaler
        >>> from skfusion import compare_fusion
        >>> from skfusion.datasets import make_fusion_cohort
        >>> cohort = make_fusion_cohort(n_samples=150, random_state=0)
        >>> comparison = compare_fusion(
        ...     [("image", StandardScaler(), cohort.image_columns),
        ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
        ...     cohort.data, cohort.target, strategies=("single", "late"), cv=3,
        ...     n_repeats=1, scoring="roc_auc", random_state=0)
        >>> found = comparison.importance(n_background=20)
        >>> found
        FoldImportance(late, 2 modalities, 3 models)
        >>> found.to_frame()["share"].round(1).to_dict()
        {('late', 'image'): 0.7, ('late', 'ehr'): 0.3}
        """
        repeats = self.strategies_["n_repeats"].to_dict()
        return provided("importance_of_folds")(
            self._context(),
            X,
            y,
            groups=groups,
            strategies=strategies,
            scoring=scoring,
            metric=self.metrics_[0],
            repeats_of=repeats,
            n_repeats=n_repeats,
            kind=kind,
            null_share=null_share,
            n_jobs=n_jobs,
            **parameters,
        )

    def calibration(self) -> pd.DataFrame:
        """Return how well the held-out probabilities of two classes are calibrated.

        Returns
        -------
        DataFrame
            One row per strategy: ``strategy``, ``intercept``, ``slope``,
            ``in_the_large`` (intercept at a slope of 1), ``observed_expected`` (ratio
            of the number of events to the sum of the probabilities), each with
            ``_low`` and ``_high`` (95% confidence interval by patient), ``brier``,
            ``n_clipped`` and ``reason`` (why an estimate is NaN).

        Raises
        ------
        ValueError
            If the outcome does not have two classes.

        Notes
        -----
        The predictions of all test sets and repetitions are pooled, because a shift of
        the probabilities of a fold is an error of calibration. Standard errors are
        clustered by patient, which also accounts for the repetitions.
        """
        positive = self._positive_class("calibration")
        names = list(self.strategies_.index)
        return calibration_table(
            names, [held_out(self.predictions_, name, positive) for name in names]
        )

    def calibration_curve(self, strategy: str) -> Any:
        """Return the calibration curve of a strategy for two classes.

        Parameters
        ----------
        strategy : str
            Name of the strategy, as in `strategies_`.

        Returns
        -------
        CalibrationCurve
            Curve of the held-out probabilities of the first repetition. It is empty,
            with a reason, below 100 patients with and 100 without an event.

        Raises
        ------
        ValueError
            If the outcome does not have two classes, or the strategy does not exist.
        """
        positive = self._positive_class("calibration_curve")
        self._check_strategy(strategy, "calibration_curve")
        found = held_out(self.predictions_, strategy, positive, first=True)
        return curve_of(*found, random_state=self.settings_["seed"])

    def risk_distribution(self, strategy: str, *, n_bins: int = 20) -> pd.DataFrame:
        """Count the held-out probabilities of a strategy in bins, by outcome.

        Parameters
        ----------
        strategy : str
            Name of the strategy, as in `strategies_`.
        n_bins : int, default=20
            Number of bins of equal width from 0 to 1.

        Returns
        -------
        DataFrame of shape (n_bins, 4)
            ``low`` and ``high`` (edges of the bin), ``events`` and ``others`` (cases
            with and without the event in the first repetition). Counts from 1 to 9 are
            NaN, so that no patient can be recognised.

        Raises
        ------
        ValueError
            If the outcome does not have two classes, the strategy does not exist, or
            `n_bins` is not positive.
        """
        positive = self._positive_class("risk_distribution")
        self._check_strategy(strategy, "risk_distribution")
        check_number(
            n_bins, "n_bins", "FusionComparison.risk_distribution", low=1, integer=True
        )
        y, p, _ = held_out(self.predictions_, strategy, positive, first=True)
        return risk_distribution(y, p, n_bins)

    def net_benefit(
        self, thresholds: Any = None, prevalence: float | None = None
    ) -> pd.DataFrame:
        """Return the net benefit of each fusion and of the best single modality.

        Parameters
        ----------
        thresholds : array-like of shape (n_thresholds,) or None, default=None
            Risks from which a patient would be treated. Choose the range in which
            clinicians decide before the comparison. None uses 0.05 to 0.5.
        prevalence : float or None, default=None
            Prevalence in the target population, for case-control samples. None uses
            that of the cohort.

        Returns
        -------
        DataFrame
            One row per fusion and threshold: ``strategy``, ``reference`` (the single
            modality in `tests_`), ``threshold``, ``net_benefit``,
            ``net_benefit_reference``, ``treat_all``, ``difference`` with ``low`` and
            ``high`` (pointwise 95% confidence interval from a bootstrap of patients),
            ``prevalence`` and ``thresholds_given`` (whether `thresholds` is not None;
            whether they were chosen before the results, only the authors know).

        Raises
        ------
        ValueError
            If the outcome does not have two classes, there is no fusion with a single
            modality, or a threshold is not in [0, 1).

        Notes
        -----
        The held-out probabilities of the first repetition are used. There are no
        p-values, because a difference along a curve is not one hypothesis.
        """
        positive = self._positive_class("net_benefit")
        if not len(self.tests_):
            raise ValueError(
                "FusionComparison.net_benefit needs a fusion and a single modality, "
                f"got the strategies {list(self.strategies_.index)}."
            )
        pairs = dict(
            zip(self.tests_["strategy"], self.tests_["reference"], strict=True)
        )
        return net_benefit_table(
            self.predictions_,
            pairs,
            positive,
            thresholds,
            prevalence=prevalence,
            random_state=self.settings_["seed"],
        )

    @property
    def plot(self) -> ComparisonPlots:
        """Figures of the comparison, such as ``plot()`` and ``plot.roc()``.

        ``plot(kind="roc")`` is the same as ``plot.roc()``. The kinds are ``scores``
        (default), ``differences``, ``forest``, ``roc``, ``pr``, ``calibration``,
        ``decision``, ``subgroups``, ``missing`` and ``learning``.

        Returns
        -------
        ComparisonPlots
            An object to call, with a method for each kind of figure.
        """
        from skfusion.evaluation.report.figures.plots import ComparisonPlots

        return ComparisonPlots(self)

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        title: str | None = None,
        table_one: pd.DataFrame | None = None,
        operating_point: pd.DataFrame | None = None,
        thresholds: Any = None,
        subgroups: Any = None,
        missing: Any = None,
        learning: Any = None,
        importance: Any = None,
        audit: Any = None,
    ) -> None:
        """Write the comparison to a self-contained HTML page.

        Parameters
        ----------
        path : str or PathLike
            Output file. The page contains counts, scores and the names of strategies,
            columns and classes, but no values of patients.
        title : str or None, default=None
            Heading of the page.
        table_one : DataFrame or None, default=None
            Result of `table_one`. None computes it if the comparison has its cohort.
        operating_point : DataFrame or None, default=None
            Result of `operating_point`.
        thresholds : array-like of shape (n_thresholds,) or None, default=None
            Thresholds of the decision curves, which were chosen before the comparison.
            None shows those from 0.01 to 0.5 and says so.
        subgroups : DataFrame, list of column labels, dict of arrays or None
            Result of `by_group`, or its parameter ``columns``.
        missing : DataFrame, list of DataFrame or None, default=None
            Results of `missing_curve`, one per modality.
        learning : DataFrame or None, default=None
            Result of `learning_curve`.
        importance : object or None, default=None
            Importance of the modalities, with the methods ``to_frame()`` and
            ``plot()``, such as the result of `importance` or of
            `ModalityImportance.report`.
        audit : object or None, default=None
            Findings about the cohort, with the method ``to_frame()``, such as the
            result of `audit_cohort`.

        Raises
        ------
        ImportError
            If jinja2 is not installed.
        TypeError
            If `importance` or `audit` lacks a method.
        ValueError
            If one of their frames has more than 200 rows, which is no summary.
        """
        from skfusion.evaluation.report.report import render

        page = render(
            self,
            title=title,
            table_one=table_one,
            operating_point=operating_point,
            thresholds=thresholds,
            subgroups=subgroups,
            missing=missing,
            learning=learning,
            importance=importance,
            audit=audit,
        )
        content = page.encode("utf-8")
        write_whole(path, lambda file: file.write(content), is_private=False)

    def to_markdown(self) -> str:
        """Return the verdict, the notes, the tables and the methods as Markdown.

        Returns
        -------
        str
            Text without predictions and without values of patients. Counts from 1 to 9
            are ``"<10"``, and those from which they would follow ``"withheld"``.
        """
        from skfusion.evaluation.report.export import as_markdown

        return as_markdown(self)

    def to_json(self) -> str:
        """Return the verdict, the tables and the settings as JSON.

        Returns
        -------
        str
            An object without predictions and without values of patients. A number that
            is not defined is null. Counts from 1 to 9 are the text ``"<10"``, and those
            from which they would follow are ``"withheld"``.
        """
        from skfusion.evaluation.report.export import as_json

        return as_json(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the results to a file, which `load_comparison` reads.

        Parameters
        ----------
        path : str or PathLike
            File, by convention with the ending ``.zip``. An existing file is replaced.

        Raises
        ------
        TypeError
            If a value is neither text nor a number, such as class labels that are
            dates.

        Notes
        -----
        The file is a zip archive of JSON and arrays. It has no pickles. It contains the
        predictions and the outcome of each row, so it is as confidential as the cohort.
        It does not contain the estimators and the columns of the cohort. To pass
        results on, use `to_json`, which has no predictions and no small counts.
        """
        write_archive(self, path)

    def _repr_html_(self) -> str:
        """Return the verdict and the scores for a notebook."""
        verdict = self.verdict_
        labels = dict(self.strategies_["label"])
        scores = self.to_frame().rename(index=labels).round(3)
        return (
            f"<p><b>{escape(verdict.headline)}.</b> {escape(verdict.details)}</p>"
            f"{scores.to_html()}"
        )

    def __repr__(self) -> str:
        fusions = self.strategies_.index[self.strategies_["role"] == "fusion"]
        names = ", ".join(fusions if len(fusions) else self.strategies_.index)
        return (
            f"<FusionComparison of {names}, {self.settings_['splits']}: "
            f"{self.verdict_.outcome}>"
        )

    def _score_rows(self) -> list[list[str]]:
        table = self.to_frame()
        rows = [["", *(metric.heading for metric in self.metrics_)]]
        for name, label in dict(self.strategies_["label"]).items():
            row = [label]
            for metric in self.metrics_:
                values = table.loc[name, metric.name].to_numpy(dtype=np.float64)
                row.append(_with_interval(metric, *values))
            rows.append(row)
        return rows

    def _difference_rows(self) -> list[list[str]]:
        labels = dict(self.strategies_["label"])
        primary = self.metrics_[0]
        rows = [["", "minus", "difference", "p, not adjusted"]]
        for row in self._shown_differences().to_dict("records"):
            values = (row["estimate"], row["low"], row["high"])
            rows.append(
                [
                    labels[row["strategy"]],
                    labels[row["reference"]],
                    _with_interval(primary, *values, signed=True),
                    format_p(row["p"]) if np.isfinite(row["p"]) else "",
                ]
            )
        return rows

    def _shown_differences(self) -> pd.DataFrame:
        """Return differences in the primary metric that the verdict may name.

        Of those from other learners, these are the best and the one that decides.
        """
        metric = self.metrics_[0]
        table = self.differences_
        table = table[table["metric"] == metric.name]
        best = self.tests_.set_index("strategy")["reference"]
        is_best = table["reference"] == table["strategy"].map(best)
        deciding = [deciding_difference(name, table, metric)[0] for name in best.index]
        is_shown = is_best | table.index.isin(deciding)
        return table[(table["relation"] != "other") | is_shown]


def load_comparison(path: str | os.PathLike[str]) -> FusionComparison:
    """Load the results of a comparison that `FusionComparison.save` has saved.

    Parameters
    ----------
    path : str or PathLike
        File.

    Returns
    -------
    FusionComparison
        All results. Its ``context_`` is None, so methods that fit again raise an error:
        ``final_estimator``, ``validate``, ``missing_curve`` and ``learning_curve``.
        ``by_group`` and ``table_one`` need arrays in place of names of columns.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    ValueError
        If the file is of another kind or a newer version, or is damaged.

    Notes
    -----
    No code of the file is executed. The digests in the file find damage. They do not
    prove who has written it.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import compare_fusion
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion.evaluation import load_comparison
    >>> cohort = make_fusion_cohort(200, random_state=0)
    >>> result = compare_fusion(
    ...     [("image", StandardScaler(), cohort.image_columns),
    ...      ("ehr", StandardScaler(), cohort.ehr_columns)],
    ...     cohort.data, cohort.target, scoring="roc_auc", n_repeats=1,
    ...     strategies=("single", "late"), random_state=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(Path(folder) / "comparison.zip")
    ...     again = load_comparison(Path(folder) / "comparison.zip")
    >>> again.summary() == result.summary()
    True
    """
    return FusionComparison(**read_archive(path))


def _with_interval(
    metric: Metric, estimate: float, low: float, high: float, *, signed: bool = False
) -> str:
    text = metric.text(estimate, signed=signed)
    if np.isnan(low):
        return text
    limits = (metric.text(value, signed=signed) for value in (low, high))
    return f"{text} [{', '.join(limits)}]"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[j]) for row in rows) for j in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
