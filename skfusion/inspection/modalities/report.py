"""Report of the three games: tables, figures, interpretation and pitfalls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from skfusion._dependencies import require
from skfusion.evaluation.statistics.auroc import estimate_aurocs
from skfusion.inspection.modalities.coalitions import (
    Cases,
    coalition_table,
    permuted,
    take_parts,
)
from skfusion.inspection.modalities.provenance import Provenance
from skfusion.inspection.modalities.results import (
    ADDITIVE,
    CONDITIONAL_ON,
    ModalityExplanation,
    ModalityScores,
)
from skfusion.inspection.modalities.scoring import (
    Scoring,
    ask_for,
    least_error,
    percentile_interval,
    rarest_count,
    resampled_rows,
)
from skfusion.inspection.modalities.sentences import describe
from skfusion.inspection.models import OWNER, make_output
from skfusion.inspection.shapley import CoalitionPlan, moebius_matrix

__all__ = ["ModalityReport", "Pitfall", "find_pitfalls", "make_report"]


# Correlation within outcome classes above which single modalities are a pitfall.
CORRELATED = 0.3
FEW_PATIENTS = 30
FEW_OF_A_CLASS = 10
# Cases on which the scales of the output are compared.
CASES_OF_SCALES = 50


class Pitfall(str):
    """Sentences about a pitfall, and its kind.

    Attributes
    ----------
    kind : {"chance", "absences", "correlated", "few", "undefined", "scale"}
        Kind of the pitfall, which is the same for several models.

    Examples
    --------
    >>> from skfusion.inspection.modalities.report import Pitfall
    >>> Pitfall("There are only 12 cases.", "few").kind
    'few'
    """

    kind: str

    def __new__(cls, text: str, kind: str = "") -> Pitfall:
        """Return the text with its kind, which a copy sets afterwards."""
        made = super().__new__(cls, text)
        made.kind = kind
        return made


def find_pitfalls(
    cases: Cases,
    scoring: Scoring,
    reliance: ModalityExplanation,
    performance: ModalityScores,
    patients: np.ndarray | None,
) -> list[str]:
    """Return descriptions of known pitfalls that apply to the results.

    Parameters
    ----------
    cases : Cases
        The cases that were explained.
    scoring : Scoring
        The score.
    reliance, performance
        Results of the games.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case.

    Returns
    -------
    list of str
        One or more sentences for each pitfall.
    """
    found = [
        *_chance(scoring, performance),
        *_absences(performance),
        *_correlated(reliance, scoring, patients),
        *_few(scoring, patients),
    ]
    undefined = np.isnan(performance.low) | np.isnan(performance.high)
    if undefined.any():
        text = (
            f"{undefined.sum()} of {len(undefined)} intervals are undefined, because a "
            "class or a modality has too few cases."
        )
        found.append(Pitfall(text, "undefined"))
    return found


def _chance(scoring: Scoring, performance: ModalityScores) -> list[str]:
    limits = performance.whole_limits
    if not scoring.is_auroc or limits is None or limits[0] > 0.5:
        return []
    value = performance.coalition_scores.iloc[-1]
    return [
        Pitfall(
            f"The {scoring.name} of the model is {value:.3f} ({limits[0]:.3f} to "
            f"{limits[1]:.3f}), which is not shown to be above chance. What the model "
            "relies on then need not be related to the outcome.",
            "chance",
        )
    ]


def _absences(performance: ModalityScores) -> list[str]:
    if performance.n_present is None:
        return []
    counts = ", ".join(
        f"{name} in {count}"
        for name, count in zip(
            performance.modalities, performance.n_present, strict=True
        )
        if count < (performance.n_cases or 0)
    )
    if not counts:
        return []
    return [
        Pitfall(
            f"Not every modality is present in all {performance.n_cases} cases: "
            f"{counts}. Shares, contributions and scores are those of all cases, with "
            "and without it.",
            "absences",
        )
    ]


def _few(scoring: Scoring, patients: np.ndarray | None) -> list[str]:
    n_patients = len(scoring.y) if patients is None else len(np.unique(patients))
    n_rarest = rarest_count(scoring, slice(None), patients)
    if n_patients >= FEW_PATIENTS and n_rarest >= FEW_OF_A_CLASS:
        return []
    what = "cases" if patients is None else "patients"
    return [
        Pitfall(
            f"There are only {n_patients} {what}, and {n_rarest} of the rarest class "
            "or event. The intervals hold for large samples and can be too narrow "
            "here.",
            "few",
        )
    ]


def _correlated(
    reliance: ModalityExplanation, scoring: Scoring, patients: np.ndarray | None
) -> list[str]:
    """Return the pairs of modalities that are correlated given the outcome.

    Two modalities that both predict the outcome are always correlated, also where
    neither says anything of the other beyond it. Only what the outcome leaves is.
    """
    values, names = reliance.coalition_values, reliance.modalities
    residuals = _residuals_of(scoring)
    n_units = len(scoring.y) if patients is None else len(np.unique(patients))
    if values is None or residuals is None or n_units < FEW_OF_A_CLASS:
        return []
    flat = residuals(values.reshape(len(values), -1)).reshape(*values.shape[:2], -1)
    found: list[str] = []
    for i in range(len(names)):
        for j in range(i):
            columns = zip(flat[:, 2**i].T, flat[:, 2**j].T, strict=True)
            strongest = max((_correlation(a, b) for a, b in columns), key=abs)
            low, high = _fisher_limits(strongest, n_units)
            if min(abs(low), abs(high)) > CORRELATED and low * high > 0:
                text = (
                    f"Given the outcome, the predictions from {names[j]} alone and "
                    f"from {names[i]} alone are correlated (r = {strongest:.2f}, "
                    f"{low:.2f} to {high:.2f}). Withholding one of them creates "
                    "combinations that may not occur. Interpret the retrain game and "
                    "the interactions, not the effect of withholding one alone."
                )
                found.append(Pitfall(text, "correlated"))
    return found


def _residuals_of(scoring: Scoring) -> Any:
    """Return the function that takes the outcome from columns, None if unknown."""
    y = scoring.y
    if y.ndim > 1 or y.dtype.names is not None:
        return None
    if y.dtype.kind == "f" and scoring.positive is None:
        design = np.column_stack([np.ones(len(y)), y])
    else:
        design = (y[:, None] == np.unique(y)).astype(np.float64)

    def residuals(columns: np.ndarray) -> np.ndarray:
        return columns - design @ np.linalg.lstsq(design, columns, rcond=None)[0]

    return residuals


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    spread = a.std() * b.std()
    if spread < 1e-12:
        return 0.0
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread)


def _fisher_limits(r: float, n_units: int) -> tuple[float, float]:
    """Return the 95 % limits of a correlation, by Fisher's transformation."""
    middle = np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))
    reach = 1.96 / np.sqrt(max(n_units - 3, 1))
    return float(np.tanh(middle - reach)), float(np.tanh(middle + reach))


def _scales(
    cases: Cases, plan: CoalitionPlan, reliance: ModalityExplanation
) -> list[str]:
    """Return whether the interactions come from the scale of the output.

    Log-odds are the additive scale of a logistic model, probabilities that of late
    fusion by the mean. Which one it is for this model is measured.
    """
    values, model = reliance.coalition_values, cases.model
    if (
        reliance.scale not in SCALES
        or values is None
        or model.kind not in ("classes", "labels")
        or min(len(cases), len(reliance.modalities)) < 2
    ):
        return []
    rows = np.linspace(0, len(cases) - 1, min(len(cases), CASES_OF_SCALES)).astype(int)
    part = replace(
        cases,
        parts=take_parts(cases.parts, rows),
        presence=cases.presence.iloc[rows],
    )
    other = "proba" if reliance.scale == "link" else "link"
    chosen = None if reliance.cases is None else reliance.cases.pos_label
    asked = coalition_table(part, plan, make_output(model, other, chosen).ask)
    own = _interaction_share(
        np.moveaxis(values[rows].reshape(*values[rows].shape[:2], -1), 1, 0)
    )
    theirs = _interaction_share(asked)
    if not (own > ADDITIVE and theirs < 0.5 * own):
        return []
    return [
        Pitfall(
            f"{SCALES[reliance.scale].capitalize()} were explained. Interactions make "
            f"up {own:.3f} of the variance on this scale and {theirs:.3f} on that of "
            f"{SCALES[other]} ({len(rows)} cases), so that most of them come from the "
            f"scale. Use output={other!r}, on which this model is closer to additive.",
            "scale",
        )
    ]


SCALES = {"link": "log-odds", "proba": "probabilities"}


def _interaction_share(table: np.ndarray) -> float:
    """Return the share of interactions in the variance of the Möbius terms."""
    n_players = int(np.log2(len(table)))
    sizes = np.tensordot(moebius_matrix(n_players), table, 1).var(axis=1).sum(axis=1)
    several = np.array([bin(number).count("1") > 1 for number in range(len(table))])
    total = sizes[1:].sum()
    return float(sizes[several].sum() / total) if total > 0 else 0.0


@dataclass(frozen=True, eq=False)
class ModalityReport:
    """Report of modality importance by three games and two simpler measures.

    Attributes
    ----------
    reliance : ModalityExplanation
        Contribution of each modality to each prediction.
    performance : ModalityScores
        Contribution of each modality to the score on held-out cases.
    retrain : ModalityScores or None
        Contribution of each modality to the score of retrained models. None if the
        game was omitted.
    shares : DataFrame of shape (M, 3) or (M, 4)
        ``estimate``, ``low`` and ``high`` of the shares of the reliance. The limits
        describe the sampling of patients, for this model and background. Also
        ``null_share``, if it was computed.
    permutation : DataFrame of shape (M, 3)
        Mean decrease of the score when the modality is permuted between patients, and
        its limits for this model.
    provenance : Provenance
        What is known of the origin of the cases.
    sentences : dict of str to str
        Interpretation of the results, by modality.
    pitfalls : list of str
        Known pitfalls that apply to the results.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion import LateFusionClassifier, ModalityImportance
    >>> from skfusion.datasets import make_fusion_cohort
    >>> cohort = make_fusion_cohort(300, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> late = LateFusionClassifier(
    ...     modalities, estimator=LogisticRegression(), random_state=0)
    >>> X, y = cohort.data, cohort.target
    >>> importance = ModalityImportance(late.fit(X[:150], y[:150]), background=X[:150])
    >>> report = importance.report(X[150:], y[150:])
    >>> report.shares.index.tolist(), report.retrain.game
    (['image', 'ehr'], 'retrain')
    """

    __module__ = "skfusion.inspection"

    reliance: ModalityExplanation
    performance: ModalityScores
    retrain: ModalityScores | None
    shares: pd.DataFrame
    permutation: pd.DataFrame
    provenance: Provenance
    sentences: dict[str, str] = field(default_factory=dict)
    pitfalls: list[str] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return all measures, by modality.

        Returns
        -------
        DataFrame of shape (M, n_measures)
            Columns with two levels. The first are ``reliance``, ``performance`` and
            ``retrain`` (games), ``drop_one``, ``retrain_drop_one`` and ``permutation``
            (decreases of the score), and ``cases``. The second are ``share``,
            ``estimate`` or ``fall``, the limits, named by what they are conditional on
            (``low_this_model``, ``low_refits``), ``null_share`` if it was computed, and
            ``n_present``, the number of cases with the modality.
        """
        shares = _renamed(self.shares, "share", "this_model")
        parts = {
            "reliance": shares,
            "performance": _without_counts(self.performance.to_frame()),
            "drop_one": _falls(self.performance),
            "permutation": self.permutation,
        }
        if self.retrain is not None:
            parts["retrain"] = _without_counts(self.retrain.to_frame())
            parts["retrain_drop_one"] = _falls(self.retrain)
        present = self.reliance.presence.sum().to_numpy()
        parts["cases"] = pd.DataFrame({"n_present": present}, index=shares.index)
        return pd.concat(parts, axis=1)

    def plot(self) -> Any:
        """Plot the games side by side.

        Returns
        -------
        matplotlib.figure.Figure
            Panels of the reliance, the performance and, if computed, the retrain game.
        """
        pyplot = require("matplotlib.pyplot", "report")
        games = [g for g in (self.performance, self.retrain) if g is not None]
        n_panels, n_rows = 1 + len(games), len(self.permutation)
        figure, axes = pyplot.subplots(
            1,
            n_panels,
            figsize=(4.6 * n_panels, 1.1 + 0.5 * n_rows),
            sharey=True,
            layout="constrained",
        )
        displays = [self.reliance.plot("share", ax=axes[0])]
        displays += [
            game.plot(ax=axis) for axis, game in zip(axes[1:], games, strict=True)
        ]
        for display in displays:
            display.fit_label()
        return figure

    def __str__(self) -> str:
        found = self.performance
        low, high = found.whole_limits or (np.nan, np.nan)
        counted = f"{found.n_cases} cases"
        if found.n_patients is not None:
            counted += f" of {found.n_patients} patients"
        lines = [
            f"{found.scoring} of all modalities on {self.provenance.words}: "
            f"{found.coalition_scores.iloc[-1]:.3f} ({low:.3f} to {high:.3f}), chance "
            f"{found.coalition_scores.iloc[0]:.3f}. {counted}. Confidence intervals "
            f"{found.confidence_level:.0%}, {found.method}",
            "",
            self._long().to_string(float_format=lambda value: f"{value:.3f}"),
            "",
            *(f"- {sentence}" for sentence in self.sentences.values()),
        ]
        if self.pitfalls:
            lines += ["", "Pitfalls:", *(f"- {pitfall}" for pitfall in self.pitfalls)]
        return "\n".join(lines)

    def _long(self) -> pd.DataFrame:
        """Return one row for each measure and modality."""
        wide = self.to_frame()
        parts = {}
        for measure in wide.columns.unique(0).drop("cases"):
            part = wide[measure].drop(columns="null_share", errors="ignore")
            given = part.columns[1].removeprefix("low_").replace("_", " ")
            part = part.set_axis(["estimate", "low", "high"], axis=1)
            present = wide["cases"]["n_present"]
            if given == "refits" and self.retrain is not None:
                present = self.retrain.to_frame()["n_present"]
            parts[measure] = part.assign(n_present=present, given=given)
            if "null_share" in wide[measure]:
                parts["null_share"] = pd.DataFrame(
                    {
                        "estimate": wide[measure]["null_share"],
                        "low": np.nan,
                        "high": np.nan,
                        "n_present": present,
                        "given": "refits",
                    }
                )
        return pd.concat(parts, names=["measure"])


def _renamed(table: pd.DataFrame, estimate: str, given: str) -> pd.DataFrame:
    names = {"estimate": estimate, "low": f"low_{given}", "high": f"high_{given}"}
    return table.rename(columns=names)


def _without_counts(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns="n_present", errors="ignore")


def _falls(game: ModalityScores) -> pd.DataFrame:
    return _without_counts(game.drop_one_frame()).rename(columns={"estimate": "fall"})


def make_report(
    cases: Cases,
    plan: CoalitionPlan,
    scoring: Scoring,
    reliance: ModalityExplanation,
    performance: ModalityScores,
    retrain: ModalityScores | None,
    *,
    patients: np.ndarray | None,
    n_repeats: int,
    n_resamples: int,
    margin: float | None,
    rng: np.random.RandomState,
    noticed: list[str],
) -> ModalityReport:
    """Combine the games with permutation importance, an interpretation and pitfalls.

    Parameters
    ----------
    cases : Cases
        The held-out cases.
    plan : CoalitionPlan
        The coalitions of modalities.
    scoring : Scoring
        The score.
    reliance, performance, retrain
        Results of the games.
    patients : ndarray of int of shape (n,) or None
        Number of the patient of each case.
    n_repeats : int
        Number of permutations of each modality.
    n_resamples : int
        Number of bootstrap samples.
    margin : float or None
        Largest difference of the score that is of no importance.
    rng : RandomState
        Random state of the permutations.
    noticed : list of str
        Warnings about the cases.

    Returns
    -------
    ModalityReport
    """
    level = performance.confidence_level
    shares = _shares(reliance, patients, level, n_resamples)
    report = ModalityReport(
        reliance,
        performance,
        retrain,
        shares,
        _permutation(cases, scoring, patients, n_repeats, n_resamples, level, rng),
        cases.provenance,
    )
    report.sentences.update(
        describe(shares, performance, retrain, cases.provenance, margin=margin)
    )
    report.pitfalls.extend(text.removeprefix(f"{OWNER}: ") for text in noticed)
    report.pitfalls.extend(
        find_pitfalls(cases, scoring, reliance, performance, patients)
    )
    report.pitfalls.extend(_scales(cases, plan, reliance))
    return report


SHARE_COLUMNS = ("share", "low", "high", "null_share")


def _shares(
    reliance: ModalityExplanation,
    patients: np.ndarray | None,
    level: float,
    n_resamples: int,
) -> pd.DataFrame:
    """Return the shares with limits, NaN for modalities that no case has."""
    kind = "centred_abs" if len(reliance.values) > 1 else "abs"
    found = reliance.share(
        kind, groups=patients, confidence_level=level, n_resamples=n_resamples
    )
    kept = [name for name in SHARE_COLUMNS if name in found]
    shares = found[kept].rename(columns={"share": "estimate"})
    absent = ~reliance.presence.any().to_numpy()
    return shares.mask(np.repeat(absent[:, None], shares.shape[1], axis=1))


def _permutation(
    cases: Cases,
    scoring: Scoring,
    patients: np.ndarray | None,
    n_repeats: int,
    n_resamples: int,
    level: float,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    """Return the decrease of the score when a modality is permuted, with limits."""
    ask = ask_for(cases.model, scoring)
    whole = ask(cases.parts)
    found = {}
    for name in cases.model.modalities:
        table = np.stack(
            [whole]
            + [ask(permuted(cases, name, patients, rng)) for _ in range(n_repeats)]
        )
        if scoring.is_auroc:
            found[name] = _fall_of_auroc(table, scoring, patients, level)
            continue
        found[name] = _fall_of_score(table, scoring, patients, level, n_resamples, rng)
    given = CONDITIONAL_ON["performance"]
    columns = ["fall", f"low_{given}", f"high_{given}"]
    falls = pd.DataFrame.from_dict(found, orient="index", columns=columns)
    absent = ~cases.presence.any().to_numpy()
    return falls.mask(np.repeat(absent[:, None], 3, axis=1)).rename_axis("modality")


def _fall_of_score(
    table: np.ndarray,
    scoring: Scoring,
    patients: np.ndarray | None,
    level: float,
    n_resamples: int,
    rng: np.random.RandomState,
) -> tuple[float, float, float]:
    """Return the fall of a score and its limits, by a bootstrap."""
    rows = np.arange(table.shape[1])
    scores = np.array([scoring.score(part, rows) for part in table])
    n_repeats = len(table) - 1
    draws = resampled_rows(len(rows), patients, n_resamples, rng)
    falls = [
        scoring.score(table[0][drawn], drawn)
        - scoring.score(table[1 + k % n_repeats][drawn], drawn)
        for k, drawn in enumerate(draws)
    ]
    fall = float(scores[0] - scores[1:].mean())
    floor = least_error(scoring, scores, slice(None), patients)
    low, high = percentile_interval(np.array(falls), level)
    if not high - low > 1e-9 * floor:
        return fall, fall - 1.96 * floor, fall + 1.96 * floor
    return fall, float(low), float(high)


def _fall_of_auroc(
    table: np.ndarray, scoring: Scoring, patients: np.ndarray | None, level: float
) -> tuple[float, float, float]:
    """Return the fall of the AUROC and its limits, given the permutations."""
    positive = scoring.positive
    assert positive is not None  # noqa: S101 - true of AUROCs
    scores = table[..., -1] if positive.ndim == 1 else table
    found = estimate_aurocs(positive, scores, patients)
    weights = np.r_[1.0, np.full(len(table) - 1, -1.0 / (len(table) - 1))]
    fall = float(weights @ found.values)
    floor = least_error(scoring, found.values, slice(None), patients)
    # A variance of 0 can be rounded to a negative number.
    variance = max(float(weights @ found.covariance @ weights), 0.0)
    error = max(float(np.sqrt(variance)), floor)
    reach = norm.ppf(0.5 + level / 2.0) * error
    return fall, max(fall - reach, -1.0), min(fall + reach, 1.0)
