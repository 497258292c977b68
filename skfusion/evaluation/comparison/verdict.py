"""Verdict of a comparison in sentences.

Each sentence names what it is about, has an interval for what it claims, and says
nothing beyond the run. `docs/comparison.md` lists the sentences.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from skfusion.evaluation.comparison.inference import Claims
from skfusion.evaluation.comparison.scoring import Results
from skfusion.evaluation.metrics import Metric, format_p
from skfusion.exceptions import LeakageWarning

__all__ = ["Facts", "Verdict", "deciding_difference", "facts_of", "judge"]


HEADLINES = {
    "helps": "Fusion helps",
    "unmatched": "No evidence that fusion helps: the learner makes the difference",
    "worse": "Fusion is worse",
    "equivalent": "Equivalent within the declared margin",
    "noninferior": "Not inferior by more than the declared margin",
    "too few": "Too few patients to tell",
    "unclear": "No evidence that fusion helps",
    "untested": "Not tested whether fusion helps",
}


@dataclass(frozen=True)
class Verdict:
    """Verdict of a comparison about fusion.

    Attributes
    ----------
    outcome : str
        ``"helps"``, ``"unmatched"``, ``"worse"``, ``"equivalent"``, ``"noninferior"``,
        ``"too few"``, ``"unclear"`` or ``"untested"``, for the primary metric at a
        family-wise error rate of 5%.
    headline : str
        Outcome in words.
    details : str
        Estimates, intervals and what they are about.
    """

    outcome: str
    headline: str
    details: str

    @property
    def text(self) -> str:
        """Headline and details in one text."""
        return f"{self.headline}. {self.details}"


@dataclass(frozen=True)
class Facts:
    """Design and names of a comparison, for its sentences.

    Attributes
    ----------
    metric : Metric
        Primary metric.
    labels : dict of str to str
        Name of each arm in the text.
    kind : {"folds", "test", "sites"}
        Design.
    n_patients : int
        Patients of the comparison, or of the test set.
    n_trained : int
        Average number of patients in a training set.
    unit : {"patients", "rows"}
        What is counted.
    splits : str
        Such as ``"10 x 5 folds by patient"``.
    clustered : bool
        Whether patients have several rows.
    claims : Claims
        What was declared before.
    has_delong : bool
        Whether a test set was tested by DeLong's method.
    leaks : sequence of str
        Warnings of information that a prediction cannot have.
    """

    metric: Metric
    labels: Mapping[str, str]
    kind: str
    n_patients: int
    n_trained: int
    unit: str
    splits: str
    clustered: bool
    claims: Claims
    has_delong: bool = False
    leaks: Sequence[str] = ()

    def signed(self, value: float) -> str:
        """Return a difference of scores with its sign."""
        return self.metric.text(value, signed=True)

    def size(self, value: float) -> str:
        """Return the size of a difference of scores."""
        return self.metric.text(abs(value))

    def interval(self, row: Mapping[str, Any], *, of_gain: bool = False) -> str:
        """Return the interval of a row, as the gain or as the difference."""
        if len(row.get("by_site", ())):
            values = row["by_site"]
            return (
                f"{self.signed(min(values))} to {self.signed(max(values))} over "
                f"{len(values)} sites, above 0 in {sum(v > 0 for v in values)}"
            )
        if np.isnan(row["low"]):
            return "no interval"
        low, high = row["low"], row["high"]
        if not of_gain:
            return f"{self.signed(low)} to {self.signed(high)}"
        if not self.metric.greater_is_better:
            low, high = -high, -low
        return f"{self.metric.text(low)} to {self.metric.text(high)}"


def facts_of(
    found: Results,
    labels: Mapping[str, str],
    claims: Claims,
    told: Sequence[tuple[str, type[Warning]]],
    *,
    splits: str,
    n_trained: int,
) -> Facts:
    """Return the facts that the sentences about results need.

    Parameters
    ----------
    found : Results
        Scores and tests.
    labels : dict of str to str
        Name of each arm in the text.
    claims : Claims
        What was declared before.
    told : sequence of (str, type of Warning)
        Warnings of the comparison.
    splits : str
        Splits in a few words.
    n_trained : int
        Average number of patients in a training set.

    Returns
    -------
    Facts
    """
    scored, groups = found.scored, found.scored.study.groups
    return Facts(
        metric=scored.metrics[0],
        labels=labels,
        kind=scored.design.kind,
        n_patients=found.n_patients,
        n_trained=n_trained,
        unit="rows" if groups is None else "patients",
        splits=splits,
        clustered=groups is not None and len(np.unique(groups)) < len(groups),
        claims=claims,
        has_delong=scored.has_delong(scored.metrics[0]),
        leaks=[text for text, kind in told if issubclass(kind, LeakageWarning)],
    )


def judge(tests: pd.DataFrame, differences: pd.DataFrame, facts: Facts) -> Verdict:
    """Return the verdict of a comparison.

    Parameters
    ----------
    tests : DataFrame
        Table as in `FusionComparison.tests_`, empty without a fusion or a single.
    differences : DataFrame
        Table as in `FusionComparison.differences_`.
    facts : Facts
        Design and names.

    Returns
    -------
    Verdict
    """
    if not len(tests):
        return _verdict(
            "untested",
            "The test requires at least one fusion strategy and at least one single "
            "modality in the comparison.",
        )
    rows: list[Mapping[str, Any]] = [
        {str(name): value for name, value in record.items()}
        for record in tests.to_dict("records")
        if record["outcome"] != "secondary"
    ]
    sign = 1 if facts.metric.greater_is_better else -1
    rows.sort(key=lambda row: -sign * row["estimate"])
    outcome, leading = _overall(rows)
    sentences = [_SENTENCES[outcome](leading, rows, differences, facts)]
    if outcome in ("unclear", "too few", "unmatched"):
        sentences.append(_detectable(leading, facts))
    if outcome == "helps":
        sentences += _also(rows, leading, "helps", "Also above each single modality")
    if outcome != "worse":
        sentences += [
            _worse(row, rows, differences, facts)
            for row in rows
            if row["outcome"] == "worse"
        ]
    sentences.append(_about(facts))
    sentences += [f"Warned of a possible leak: {text}" for text in facts.leaks]
    return _verdict(outcome, " ".join(part for part in sentences if part))


def _verdict(outcome: str, details: str) -> Verdict:
    return Verdict(outcome, HEADLINES[outcome], details)


def _overall(rows: Sequence[Mapping[str, Any]]) -> tuple[str, Mapping[str, Any]]:
    """Return the outcome of the comparison and the fusion that it rests on."""
    order = ["helps", "equivalent", "noninferior", "unmatched"]
    if all(row["outcome"] == "worse" for row in rows):
        return "worse", rows[0]
    for outcome in order:
        found = [row for row in rows if row["outcome"] == outcome]
        if found:
            return outcome, found[0]
    if all(row["outcome"] == "untested" for row in rows):
        return "untested", rows[0]
    for outcome in ("too few", "unclear"):
        found = [row for row in rows if row["outcome"] == outcome]
        if found:
            return outcome, found[0]
    return "unclear", rows[0]


# -- sentences ------------------------------------------------------------------------


def _helps(row: Any, rows: Any, differences: Any, facts: Facts) -> str:
    label = facts.labels[row["strategy"]]
    adjusted = f" after Holm adjustment over {len(rows)} fusions"
    weakest, _ = _least_certain(row, differences, facts)
    other = ""
    if weakest["reference"] != row["reference"]:
        other = (
            f"; the least certain of these differences is from "
            f"{facts.labels[weakest['reference']]}, {facts.size(weakest['estimate'])} "
            f"({facts.interval(weakest, of_gain=True)})"
        )
    return (
        f"By {facts.metric.label}, {label} is {_better(facts)} each single modality in "
        "the same learner"
        f"{' and in the other learners' if _has_others(row, differences) else ''}; "
        f"{_better(facts)} the best of them, {facts.labels[row['reference']]}, by "
        f"{facts.size(row['estimate'])} ({facts.interval(row, of_gain=True)}){other}, "
        f"{format_p(row['p_helps_holm'])}{adjusted if len(rows) > 1 else ''}."
    )


def _least_certain(
    row: Any, differences: pd.DataFrame, facts: Facts
) -> tuple[dict[str, Any], float]:
    """Return the difference from a single that decides the claim, and its p-value."""
    label, p = deciding_difference(row["strategy"], differences, facts.metric)
    weakest = differences.loc[label]
    return {str(name): value for name, value in weakest.items()}, p


def deciding_difference(
    strategy: str, differences: pd.DataFrame, metric: Metric
) -> tuple[Any, float]:
    """Return the difference from a single modality that decides a claim.

    Parameters
    ----------
    strategy : str
        Fusion.
    differences : DataFrame
        Table of differences, with those of the fusion from single modalities.
    metric : Metric
        Primary metric.

    Returns
    -------
    label : object
        Label of the row with the largest p-value for a gain, of the first row if there
        are no p-values.
    p : float
        The p-value, 1 if the fusion is not better.
    """
    sign = 1.0 if metric.greater_is_better else -1.0
    found = differences[
        (differences["strategy"] == strategy)
        & (differences["metric"] == metric.name)
        & (differences["relation"] != "without")
    ]
    p = found["p"].where(sign * found["estimate"] > 0, 1.0)
    return p.fillna(-1.0).idxmax(), float(p.max())


def _better(facts: Facts) -> str:
    return "above" if facts.metric.greater_is_better else "below"


def _has_others(row: Any, differences: pd.DataFrame) -> bool:
    own = differences["strategy"] == row["strategy"]
    return bool((own & (differences["relation"] == "other")).any())


def _unclear(row: Any, rows: Any, differences: Any, facts: Facts) -> str:
    return (
        f"By {facts.metric.label}, {facts.labels[row['strategy']]} minus "
        f"{facts.labels[row['reference']]}, the best single modality: "
        f"{facts.signed(row['estimate'])} ({facts.interval(row)})."
    ) + _not_above(row, rows, differences, facts)


def _not_above(row: Any, rows: Any, differences: pd.DataFrame, facts: Facts) -> str:
    """Return which test fails if the interval against the best single is above 0."""
    sign = 1.0 if facts.metric.greater_is_better else -1.0
    is_above = min(sign * row["low"], sign * row["high"]) > 0
    if np.isnan(row["p_helps_holm"]) or not is_above:
        return ""
    weakest, p = _least_certain(row, differences, facts)
    adjusted = (
        f"; {format_p(row['p_helps_holm'])} after Holm adjustment over {len(rows)} "
        "fusions"
    )
    return (
        " A claim that fusion helps requires a gain over each single modality: minus "
        f"{facts.labels[weakest['reference']]}, the difference is "
        f"{facts.signed(weakest['estimate'])} ({facts.interval(weakest)}), "
        f"{format_p(p)}{adjusted if len(rows) > 1 else ''}."
    )


def _too_few(row: Any, rows: Any, differences: Any, facts: Facts) -> str:
    gain = facts.claims.smallest_gain
    assert gain is not None
    return (
        f"To find a gain of {facts.size(gain)} over each single modality takes about "
        f"{int(row['n_needed']):,} {facts.unit} like these; here are "
        f"{facts.n_patients:,}. " + _unclear(row, rows, differences, facts)
    )


def _unmatched(row: Any, rows: Any, differences: pd.DataFrame, facts: Facts) -> str:
    label = facts.labels[row["strategy"]]
    if not row["n_matched"]:
        return (
            f"By {facts.metric.label}, {label} is {_better(facts)} each single "
            "modality of the comparison, but none of them is in the same learner, so "
            f"the difference from {facts.labels[row['reference']]} of "
            f"{facts.signed(row['estimate'])} ({facts.interval(row)}) can be due to "
            "the learner."
        )
    return (
        f"By {facts.metric.label}, {label} is {_better(facts)} its own single "
        f"modalities but not {_better(facts)} {facts.labels[row['reference']]} "
        f"({facts.signed(row['estimate'])}, {facts.interval(row)}): the learner, not "
        "fusion, makes the difference."
    )


def _worse(row: Any, rows: Any, differences: pd.DataFrame, facts: Facts) -> str:
    found = differences[
        (differences["strategy"] == row["strategy"])
        & (differences["reference"] == row["worse_than"])
        & (differences["metric"] == facts.metric.name)
    ].iloc[0]
    return (
        f"{_capital(facts.labels[row['strategy']])} is worse than "
        f"{facts.labels[row['worse_than']]}: in this learner, the other modalities "
        f"changed {facts.metric.label} by {facts.signed(found['estimate'])} "
        f"({facts.interval(found)}), {format_p(row['p_worse_holm'])} after Holm "
        "adjustment. At this number of patients their columns cost more than they "
        "tell. No statement about what they hold."
    )


def _within_margin(row: Any, rows: Any, differences: Any, facts: Facts) -> str:
    name = row["strategy"]
    low, high = _limits_90(row)
    words = {
        "equivalent": "are equivalent",
        "noninferior": "differ by less in disfavour of fusion",
    }[row["outcome"]]
    return (
        f"Within the margin of {facts.size(facts.claims.margin or 0.0)} of "
        f"{facts.metric.label} that was declared beforehand, {facts.labels[name]} and "
        f"{facts.labels[row['reference']]} {words} (difference "
        f"{facts.signed(row['estimate'])}, 90% interval {facts.signed(low)} to "
        f"{facts.signed(high)})."
    )


def _limits_90(row: Any) -> tuple[float, float]:
    of = norm if np.isinf(row["df"]) else t(row["df"])
    reach = float(of.ppf(0.95)) * row["standard_error"]
    return row["estimate"] - reach, row["estimate"] + reach


def _untested(row: Any, rows: Any, differences: Any, facts: Facts) -> str:
    reason = _as_clause(row["reason"] or "a test is undefined")
    return f"There is no test, because {reason}. " + _unclear(
        row, rows, differences, facts
    )


def _as_clause(reason: str) -> str:
    """Return the first sentence of a reason as the end of another sentence."""
    first = reason.split(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:]


_SENTENCES = {
    "helps": _helps,
    "unmatched": _unmatched,
    "worse": _worse,
    "equivalent": _within_margin,
    "noninferior": _within_margin,
    "too few": _too_few,
    "unclear": _unclear,
    "untested": _untested,
}


def _detectable(row: Any, facts: Facts) -> str:
    if np.isnan(row["detectable"]):
        return ""
    return (
        f"A gain smaller than {facts.size(row['detectable'])} over each single "
        "modality had less than an 80% chance of being found with these "
        f"{facts.n_patients:,} {facts.unit}."
    )


def _also(rows: Any, leading: Any, outcome: str, words: str) -> list[str]:
    others = [r for r in rows if r["outcome"] == outcome and r is not leading]
    if not others:
        return []
    listed = ", ".join(
        f"{row['strategy']} ({format_p(row['p_helps_holm'])})" for row in others
    )
    return [f"{words}: {listed}."]


def _about(facts: Facts) -> str:
    """Return what the statement is about."""
    if facts.kind == "test":
        way = "DeLong" if facts.has_delong else "bootstrap of patients"
        clustered = ", clustered by patient" if facts.clustered else ""
        unseen = "" if facts.leaks else " that none of them saw"
        return (
            f"About these fitted models, on {facts.n_patients:,} {facts.unit}{unseen} "
            f"({way}{clustered})."
        )
    if facts.kind == "sites":
        return (
            f"About models trained on the other sites and tested on one ({facts.splits}"
            "). Each site counts equally, and the range is not a confidence interval."
        )
    return (
        f"About models trained in this way on about {facts.n_trained:,} {facts.unit} "
        f"like these ({facts.splits}, Nadeau-Bengio); not about other hospitals and "
        "not about one fitted model."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
