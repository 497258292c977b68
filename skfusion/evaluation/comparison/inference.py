"""Paired contrasts of the arms of a comparison, and what follows for each fusion.

"Fusion helps" is an intersection-union test: each paired test against a single modality
must reject (Berger 1982). "Worse than a single modality" is adjusted by Holm's method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion.evaluation.comparison.strategies import Strategy
from skfusion.evaluation.metrics import Metric
from skfusion.evaluation.statistics.equivalence import (
    equivalence_test,
    noninferiority_test,
)
from skfusion.evaluation.statistics.multiplicity import (
    holm_adjust,
    intersection_union,
)
from skfusion.evaluation.statistics.power import (
    minimum_detectable_difference,
    patients_for_gain,
)

__all__ = ["Claims", "Contrast", "difference_table", "judge_fusions"]


ALPHA = 0.05


@dataclass(frozen=True)
class Contrast:
    """Paired difference of two arms.

    Attributes
    ----------
    estimate : float
        Score of the first arm minus score of the second arm.
    low, high : float
        95% confidence interval, NaN if there is none.
    p : float
        Two-sided p-value, NaN if there is no test.
    standard_error : float
        Standard error of the estimate, NaN if there is none.
    df : float
        Degrees of freedom, infinite for a normal approximation.
    reason : str
        Why there is no test. Empty if there is one.
    by_site : tuple of float
        Differences of held-out sites.
    """

    estimate: float
    low: float
    high: float
    p: float
    standard_error: float = np.nan
    df: float = np.inf
    reason: str = ""
    by_site: tuple[float, ...] = ()


@dataclass(frozen=True)
class Claims:
    """Claims that the user has declared before the comparison.

    Attributes
    ----------
    primary : str or None
        The fusion of which alone a claim is made.
    smallest_gain : float or None
        Smallest gain of the primary metric that matters.
    margin : float or None
        Margin of equivalence and non-inferiority.
    """

    primary: str | None = None
    smallest_gain: float | None = None
    margin: float | None = None


def pairs_to_contrast(arms: Sequence[Strategy]) -> list[tuple[Strategy, Strategy, str]]:
    """Return the fusions with their references and how these are related.

    Parameters
    ----------
    arms : list of Strategy
        Arms of the comparison.

    Returns
    -------
    list of (Strategy, Strategy, {"matched", "other", "without"})
        Each fusion with every single modality, and with itself without a modality.
    """
    pairs = []
    for fusion in (arm for arm in arms if arm.role == "fusion"):
        for arm in arms:
            if arm.role == "single":
                matched = arm.fusion == fusion.name or arm.fusion == ""
                pairs.append((fusion, arm, "matched" if matched else "other"))
            elif arm.role == "without" and arm.fusion == fusion.name:
                pairs.append((fusion, arm, "without"))
    return pairs


def difference_table(
    arms: Sequence[Strategy],
    metrics: Sequence[Metric],
    contrasts: Mapping[tuple[str, str, str], Contrast],
) -> pd.DataFrame:
    """Return the contrasts as a table with one row per fusion, reference and metric."""
    rows = []
    for metric in metrics:
        for fusion, arm, relation in pairs_to_contrast(arms):
            found = contrasts[fusion.name, arm.name, metric.name]
            rows.append(
                {
                    "strategy": fusion.name,
                    "reference": arm.name,
                    "relation": relation,
                    "metric": metric.name,
                    "estimate": found.estimate,
                    "low": found.low,
                    "high": found.high,
                    # Other scores than the primary one are descriptive.
                    "p": found.p if metric is metrics[0] else np.nan,
                }
            )
    columns = ["strategy", "reference", "relation", "metric"]
    return pd.DataFrame(rows, columns=[*columns, "estimate", "low", "high", "p"])


def judge_fusions(
    arms: Sequence[Strategy],
    metric: Metric,
    scores: Mapping[str, float],
    contrasts: Mapping[tuple[str, str, str], Contrast],
    claims: Claims,
    *,
    n_patients: int,
) -> pd.DataFrame:
    """Return what the comparison shows for each fusion by the primary metric.

    Parameters
    ----------
    arms : list of Strategy
        Arms of the comparison.
    metric : Metric
        Primary metric.
    scores : dict of str to float
        Score of each arm.
    contrasts : dict of (str, str, str) to Contrast
        Contrasts by fusion, reference and metric.
    claims : Claims
        What was declared before.
    n_patients : int
        Number of patients of the comparison.

    Returns
    -------
    DataFrame
        One row per fusion, as in `FusionComparison.tests_`.
    """
    pairs = pairs_to_contrast(arms)
    rows = []
    for fusion in (arm for arm in arms if arm.role == "fusion"):
        own = [
            (arm, relation, contrasts[fusion.name, arm.name, metric.name])
            for paired, arm, relation in pairs
            if paired is fusion and arm.role == "single"
        ]
        if own:
            rows.append(_one_fusion(fusion.name, own, metric, scores))
    table = pd.DataFrame(rows)
    if not len(table):
        return table
    tested = table.index
    if claims.primary is not None:
        tested = table.index[table["strategy"] == claims.primary]
    for name in ("p_helps", "p_matched", "p_worse"):
        table[f"{name}_holm"] = np.nan
        table.loc[tested, f"{name}_holm"] = holm_adjust(table.loc[tested, name])
    return _with_outcomes(table, metric, claims, len(tested), n_patients)


def _one_fusion(
    name: str,
    own: list[tuple[Strategy, str, Contrast]],
    metric: Metric,
    scores: Mapping[str, float],
) -> dict[str, Any]:
    sign = 1.0 if metric.greater_is_better else -1.0
    best_arm, _, best = max(own, key=lambda found: sign * scores[found[0].name])
    matched = [found for _, relation, found in own if relation == "matched"]
    names = [arm.name for arm, relation, _ in own if relation == "matched"]
    worse_than, p_worse = _worse(names, matched, sign)
    reasons = [found.reason for _, _, found in own if found.reason]
    return {
        "strategy": name,
        "reference": best_arm.name,
        "estimate": best.estimate,
        "low": best.low,
        "high": best.high,
        "standard_error": best.standard_error,
        "df": best.df,
        "p_helps": _above_each([found for _, _, found in own], sign),
        "p_matched": _above_each(matched, sign) if matched else np.nan,
        "p_worse": p_worse,
        "worse_than": worse_than,
        "n_matched": len(matched),
        "reason": reasons[0] if reasons else "",
        "by_site": best.by_site,
        # A claim needs a gain over each single, so the least certain one limits it.
        "limit": max(
            ((one.standard_error, one.df) for _, _, one in own if not one.reason),
            default=(np.nan, np.nan),
        ),
    }


def _above_each(found: list[Contrast], sign: float) -> float:
    """Return the p-value of the claim that the fusion is above each reference."""
    gains = [sign * contrast.estimate for contrast in found]
    return float(intersection_union([contrast.p for contrast in found], gains))


def _worse(names: list[str], matched: list[Contrast], sign: float) -> tuple[str, float]:
    """Return the matched single that beats the fusion most clearly, and its p-value."""
    if not matched:
        return "", np.nan
    adjusted = holm_adjust([contrast.p for contrast in matched])
    below = [
        (p, name)
        for p, name, contrast in zip(adjusted, names, matched, strict=True)
        if sign * contrast.estimate < 0 and np.isfinite(p)
    ]
    if below:
        p, name = min(below)
        return name, float(p)
    return "", np.nan if np.isnan(adjusted).any() else 1.0


def _with_outcomes(
    table: pd.DataFrame,
    metric: Metric,
    claims: Claims,
    n_tested: int,
    n_patients: int,
) -> pd.DataFrame:
    """Add what could be detected, equivalence, and the outcome of each fusion."""
    sign = 1.0 if metric.greater_is_better else -1.0
    added = []
    for record in table.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        detectable = needed = equivalent = noninferior = np.nan
        error, df = row["standard_error"], row["df"]
        widest, its_df = row.pop("limit")
        if error > 0 and widest > 0:
            detectable = minimum_detectable_difference(
                widest, None if np.isinf(its_df) else its_df, alpha=ALPHA / n_tested
            )
            if claims.smallest_gain is not None:
                needed = patients_for_gain(n_patients, detectable, claims.smallest_gain)
            if claims.margin is not None:
                known = None if np.isinf(df) else df
                gain, margin = sign * row["estimate"], claims.margin
                equivalent = equivalence_test(gain, error, known, margin=margin).pvalue
                noninferior = noninferiority_test(
                    gain, error, known, margin=margin
                ).pvalue
        row |= {
            "detectable": detectable,
            "n_needed": needed,
            "p_equivalent": equivalent,
            "p_noninferior": noninferior,
        }
        added.append(row)
    found = pd.DataFrame(added)
    tested = found["p_helps_holm"].notna()
    for name in ("p_equivalent", "p_noninferior"):
        found.loc[tested, name] = holm_adjust(found.loc[tested, name])
    found["outcome"] = [
        _outcome({str(name): value for name, value in row.items()}, claims)
        for row in found.to_dict("records")
    ]
    return found


def _outcome(row: dict[str, Any], claims: Claims) -> str:
    if np.isnan(row["p_helps"]):
        return "untested"
    if np.isnan(row["p_helps_holm"]):
        return "secondary"  # another fusion was declared as primary
    if row["p_helps_holm"] < ALPHA:
        return "helps" if row["n_matched"] else "unmatched"
    # A fusion that is above all singles, but not clearly so, is not below another
    # learner. The p-value is 1 only if a difference is 0 or less.
    if row["p_matched_holm"] < ALPHA and row["p_helps"] == 1.0:
        return "unmatched"
    if row["p_worse_holm"] < ALPHA:
        return "worse"
    if row["p_equivalent"] < ALPHA:
        return "equivalent"
    if row["p_noninferior"] < ALPHA:
        return "noninferior"
    gain = claims.smallest_gain
    if gain is not None and row["detectable"] > gain:
        return "too few"
    return "unclear"
