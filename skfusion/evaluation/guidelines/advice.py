"""Order in which to try the strategies of fusion in a cohort, `advise`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skfusion._validation import check_number
from skfusion.evaluation.guidelines.cases import Cases
from skfusion.evaluation.guidelines.dependence import Dependence
from skfusion.evaluation.guidelines.description import Facts, facts_of, rarer_words
from skfusion.evaluation.guidelines.properties import CITATION
from skfusion.evaluation.statistics.disclosure import MIN_CELL, count_text
from skfusion.fusion.inner_estimators import ends_in_predictor

__all__ = ["Advice", "advise"]


OWNER = "advise"
#: Share of rows that lack a modality, from which modalities are often missing.
OFTEN_MISSING = 0.20
#: Patients of the rarer class below which a cohort is small.
SMALL_COHORT = 100
#: Patients, and patients of the rarer class, from which joint fusion comes second.
JOINT_PATIENTS, JOINT_RARER = 1_000, 200
#: Correlation within classes below which modalities are nearly independent, if both
#: limits of the interval are closer to 0, and above which they depend on each other.
NEARLY_INDEPENDENT, DEPENDENT = 0.20, 0.10
#: Largest p-value of a dependence.
LARGEST_PVALUE = 0.01
#: Patients of the rarer class per feature below which features must be reduced.
FEW_PER_FEATURE = 10.0
#: Ratio of the numbers of features of two modalities that is an imbalance.
IMBALANCE = 10.0

_REVIEW, _TOOLKIT = "Huang et al. 2020", "skfusion"
_ATTEMPTS = {
    "single": "Each modality alone",
    "early": "Early fusion",
    "late": "Late fusion",
    "joint": "Joint fusion",
    "compare": "All of them on the same splits",
}
_GUIDELINES = {
    "single": (
        "A fusion is of use only if it is better than each modality alone, with the "
        "same learner and on the same splits.",
        _TOOLKIT,
    ),
    "early": (
        "The review supports early fusion as an initial strategy. It can model "
        "interactions between features of different modalities, and does not "
        "necessarily require meticulous design (Table 2).",
        _REVIEW,
    ),
    "late": (
        "Late fusion can predict when not all modalities are present, and does not "
        "necessarily require a large amount of training data. It cannot model "
        "interactions between features of different modalities (Table 2).",
        _REVIEW,
    ),
    "joint": (
        "Joint fusion can learn features of each modality that are more compatible, "
        "but may require a large amount of training data and meticulous design "
        "(Table 2).",
        _REVIEW,
    ),
    "compare": (
        "An order of attempts is not a ranking. Only a comparison with intervals tells "
        "which strategy is better in a cohort, if any.",
        _TOOLKIT,
    ),
}
_COLUMNS = ["rank", "strategy", "attempt", "reason", "guideline", "source"]


@dataclass(frozen=True)
class Advice:
    """Result of `advise`.

    Attributes
    ----------
    order : DataFrame of one row per attempt
        ``rank`` (from 1), ``strategy`` (``"single"``, ``"early"``, ``"late"``,
        ``"joint"`` or ``"compare"``), ``attempt`` (words), ``reason`` (from this
        cohort), ``guideline`` and ``source`` (of the guideline).
    cautions : list of str
        What to take care of in this cohort, whichever strategy is tried.
    citation : str
        Reference of the guidelines.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion.evaluation import advise
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> advice = advise(modalities, cohort.data, cohort.target, random_state=0)
    >>> advice.order["strategy"].iloc[0], advice.order["rank"].tolist()[:2]
    ('single', [1, 2])
    """

    __module__ = "skfusion.evaluation"

    order: pd.DataFrame
    cautions: list[str]
    citation: str = CITATION

    @property
    def strategies(self) -> list[str]:
        """Names of the strategies in the order of the attempts."""
        return list(self.order["strategy"])

    def to_frame(self) -> pd.DataFrame:
        """Return the order of attempts."""
        return self.order.copy()

    def to_dict(self) -> dict[str, Any]:
        """Return the advice as numbers and text, as JSON can hold them."""
        records = self.order.to_dict("records")
        return {
            "order": [{**row, "rank": int(row["rank"])} for row in records],
            "cautions": list(self.cautions),
            "citation": self.citation,
        }

    def to_markdown(self) -> str:
        """Return the advice as a list in Markdown."""
        lines = ["**Order of attempts, not a ranking**", ""]
        for row in self.order.to_dict("records"):
            lines.append(f"{row['rank']}. **{row['attempt']}.** {row['reason']}")
            lines.append(f"   *{row['guideline']}* ({row['source']})")
        if self.cautions:
            lines += ["", "**In this cohort**", "", *(f"- {c}" for c in self.cautions)]
        return "\n".join([*lines, "", self.citation]) + "\n"

    def __str__(self) -> str:
        lines = ["Order of attempts, not a ranking"]
        for row in self.order.to_dict("records"):
            lines.append(f"  {row['rank']}. {row['attempt']}")
            lines.append(f"     Here: {row['reason']}")
            lines.append(f"     Guideline: {row['guideline']} ({row['source']})")
        if self.cautions:
            lines += ["In this cohort", *(f"  - {text}" for text in self.cautions)]
        return "\n".join([*lines, self.citation])

    def _repr_html_(self) -> str:
        return self.order.to_html(index=False)


def advise(
    modalities: Any,
    X: Any,
    y: Any,
    groups: Any = None,
    *,
    encode: bool | str = "auto",
    task: str = "auto",
    pos_label: Any = None,
    min_cell: int = MIN_CELL,
    random_state: int = 0,
) -> Advice:
    """Return the order in which to try strategies of fusion, with reasons.

    The order follows the guidelines of the review [1]_ and the diagnostics of this
    cohort. It never names a winner, which only a comparison can.

    Parameters
    ----------
    modalities : list of (str, estimator, columns), "auto", dict or estimator
        At least two modalities, as in `describe_cohort`.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        Cohort with one row per case.
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Outcome, as in `compare_fusion`.
    groups : str, int, array-like of shape (n_samples,) or None, default=None
        Name of the column with patient ids, or the ids, as in `compare_fusion`.
    encode : bool or "auto", default="auto"
        Whether images and events are encoded, as in `describe_cohort`.
    task : {"auto", "classification", "regression", "survival"}, default="auto"
        Kind of the task.
    pos_label : label or None, default=None
        Positive class of a binary outcome.
    min_cell : int, default=10
        Smallest count that is printed, except 0.
    random_state : int, default=0
        Seed of folds, learners and permutations.

    Returns
    -------
    Advice

    Raises
    ------
    ValueError, TypeError
        If the cohort, the outcome, the patients or the modalities are invalid, or there
        is one modality only.

    See Also
    --------
    describe_cohort : The diagnostics.
    strategy_properties : Table 2 of the review.
    compare_fusion : Comparison of the strategies.

    Notes
    -----
    The modalities alone come first. Early fusion is the first fusion, unless

    - at least 20 % of the rows lack a modality,
    - the rarer class has fewer than 100 patients, or
    - all pairs of modalities are nearly independent within the classes of the outcome:
      the 95 % interval of their residual correlation is within 0.2 of 0.

    Then late fusion is. Joint fusion comes second, after early fusion, in cohorts of at
    least 1,000 patients with 200 of the rarer class, and last otherwise. The limits are
    rules of thumb of skfusion, and not of the review.

    References
    ----------
    .. [1] Huang SC, Pareek A, Seyyedi S, Banerjee I, Lungren MP (2020). Fusion of
       medical imaging and electronic health records using deep learning: a systematic
       review and implementation guidelines. npj Digital Medicine 3:136.

    Examples
    --------
    >>> from skfusion.datasets import make_multimodal_cohort
    >>> from skfusion.evaluation import advise
    >>> cohort = make_multimodal_cohort(
    ...     300, {"mri": 20, "ehr": 5}, missing_rate={"mri": 0.4}, random_state=0
    ... )
    >>> advise(
    ...     cohort.columns, cohort.data, cohort.target, groups="patient_id"
    ... ).strategies
    ['single', 'late', 'early', 'joint', 'compare']
    """
    check_number(min_cell, "min_cell", OWNER, low=1, integer=True)
    cases, facts = facts_of(
        modalities,
        X,
        y,
        groups,
        encode=encode,
        task=task,
        pos_label=pos_label,
        random_state=random_state,
        owner=OWNER,
    )
    if len(cases.modalities) < 2:
        raise ValueError(
            f"{OWNER}: {len(cases.modalities)} modality was given or found "
            f"({cases.modalities[0].name!r}), but fusion needs at least two."
        )
    signs = _Signs(cases, facts, min_cell)
    rows = []
    for rank, strategy in enumerate(["single", *signs.order(), "compare"], start=1):
        guideline, source = _GUIDELINES[strategy]
        attempt = _ATTEMPTS[strategy]
        rows.append(
            (rank, strategy, attempt, signs.reason(strategy), guideline, source)
        )
    return Advice(pd.DataFrame(rows, columns=_COLUMNS), signs.cautions())


@dataclass(frozen=True)
class _Signs:
    """What of a cohort decides the order, and the sentences on it."""

    cases: Cases
    facts: Facts
    min_cell: int

    @property
    def often_missing(self) -> bool:
        return self.facts.share_incomplete >= OFTEN_MISSING

    @property
    def small(self) -> bool:
        return self.facts.n_patients_rarer < SMALL_COHORT

    @property
    def large(self) -> bool:
        facts = self.facts
        enough = facts.n_patients_rarer >= JOINT_RARER
        return facts.n_patients >= JOINT_PATIENTS and enough

    @property
    def measured(self) -> list[Dependence]:
        return [d for d in self.facts.dependence if not np.isnan(d.correlation)]

    @property
    def independent(self) -> bool:
        known = self.measured
        near = [max(-d.low, d.high) < NEARLY_INDEPENDENT for d in known]
        return len(known) == len(self.facts.dependence) and all(near)

    @property
    def dependent(self) -> list[Dependence]:
        return [
            d
            for d in self.measured
            if abs(d.correlation) >= DEPENDENT and d.pvalue < LARGEST_PVALUE
        ]

    @property
    def predictors(self) -> list[str]:
        return [
            m.name for m in self.cases.modalities if ends_in_predictor(m.transformer)
        ]

    def order(self) -> list[str]:
        """Return the fusions in the order of the attempts."""
        if self.predictors:
            return ["late"]
        if self.often_missing or self.small or self.independent:
            return ["late", "early", "joint"]
        if self.large:
            return ["early", "joint", "late"]
        return ["early", "late", "joint"]

    # -- sentences --------------------------------------------------------------------

    def reason(self, strategy: str) -> str:
        """Return why an attempt has its place in this cohort."""
        sentences = {
            "single": self._of_single,
            "early": self._of_early,
            "late": self._of_late,
            "joint": self._of_joint,
            "compare": self._of_comparison,
        }
        return sentences[strategy]()

    def _of_single(self) -> str:
        names = _and([m.name for m in self.cases.modalities])
        return (
            f"{names} are the yardstick of every fusion. If one of them alone already "
            "answers the question, no fusion is needed."
        )

    def _of_early(self) -> str:
        first = self.order()[0] == "early"
        parts = []
        if first:
            parts.append(f"{self._complete()} {self._size()}")
            if self.dependent:
                parts.append(
                    f"{self._depend()} One model of all features can use that."
                )
        else:
            parts.append(
                "It comes after late fusion, to see whether interactions of features "
                "of different modalities add anything."
            )
        if self._few_per_feature():
            parts.append(
                "Reduce the wide modality in the pipeline of each fold, because there "
                f"are {self._per_feature()}."
            )
        return " ".join(parts)

    def _of_late(self) -> str:
        parts = []
        if self.often_missing:
            parts.append(
                f"{self.facts.share_incomplete:.0%} of the rows lack a modality, and "
                "each has a model that works without the others."
            )
        if self.small:
            parts.append(
                f"{self._size()} A small model of each modality has few parameters."
            )
        if self.independent:
            parts.append(
                f"{self._correlations()}. Then little is lost by combining predictions "
                "in place of features, unless features that say nothing alone interact."
            )
        if self.predictors:
            parts.append(
                f"{_and(self.predictors)} end in a predictor, whose predictions only "
                "late fusion combines."
            )
        if parts:
            return " ".join(parts)
        if self.dependent:
            return (
                f"{self._depend()} Late fusion combines predictions only, and does not "
                "model that."
            )
        return (
            "It costs little once the single modalities are fitted, and shows whether "
            "interactions matter."
        )

    def _of_joint(self) -> str:
        if self.large:
            text = f"{self._size()} That may be enough to train encoders together."
        else:
            text = (
                f"{self._size()} By a rule of thumb of skfusion ({JOINT_PATIENTS:,} "
                f"patients, {JOINT_RARER} of the rarer outcome), that is little to "
                "train encoders together. Freeze encoders of images, or leave it out."
            )
        if self.often_missing:
            text += " The network must be trained with modalities left out."
        return text

    def _of_comparison(self) -> str:
        return (
            "compare_fusion fits all of them on the same splits of "
            f"{self._patients()} and tests each fusion against the single modalities."
        )

    def _patients(self) -> str:
        what = "patients" if self.cases.known_patients else "rows"
        return f"{self.facts.n_patients:,} {what}"

    def _size(self) -> str:
        rarer = count_text(self.facts.n_patients_rarer, None, self.min_cell)
        words = rarer_words(self.cases)
        if not words:
            return f"There are {self._patients()}."
        if self.cases.n_rows > self.facts.n_patients:
            # Patients can be in both classes, so the words are not of a share.
            has = words.replace("with", "have", 1)
            return f"{rarer} of {self._patients()} {has}."
        return f"There are {self._patients()}, {rarer} of them {words}."

    def _complete(self) -> str:
        lost = count_text(self.facts.n_lost, self.facts.n_rows, self.min_cell)
        if not self.facts.n_lost:
            return "Every row has all modalities."
        return f"Only {lost} of {self.facts.n_rows:,} rows lack a modality."

    def _depend(self) -> str:
        worst = max(self.dependent, key=lambda d: abs(d.correlation))
        return (
            f"Within the classes of the outcome, {worst.first} and {worst.second} are "
            f"correlated ({_limits(worst)})."
        )

    def _correlations(self) -> str:
        worst = max(self.measured, key=lambda d: max(-d.low, d.high))
        pairs = "the modalities are" if len(self.measured) == 1 else "all pairs are"
        return (
            f"Within the classes of the outcome, {pairs} nearly independent (largest "
            f"correlation {_limits(worst)})"
        )

    def _few_per_feature(self) -> bool:
        facts = self.facts
        return facts.n_patients_rarer < FEW_PER_FEATURE * max(facts.n_columns, 1)

    def _per_feature(self) -> str:
        facts = self.facts
        rarer = count_text(facts.n_patients_rarer, None, self.min_cell)
        what = f"patients {rarer_words(self.cases)}".strip()
        more = "at least " if facts.unknown_width else ""
        return f"{rarer} {what} for {more}{facts.n_columns:,} features"

    def cautions(self) -> list[str]:
        """Return what to take care of, whichever strategy is tried."""
        facts, found = self.facts, []
        if not self.cases.known_patients:
            found.append(
                "No patients were given, so every row counts as a patient. Pass groups "
                "if patients have several rows."
            )
        caveat = self.cases.frame.attrs.get("caveat")
        if caveat:
            found.append(str(caveat))
        if facts.n_lost:
            lost = count_text(facts.n_lost, facts.n_rows, self.min_cell)
            found.append(
                f"An analysis of complete cases would lose {lost} of "
                f"{facts.n_rows:,} rows. Keep them, with a fusion that predicts "
                "without a modality, and report scores by what is present."
            )
        if facts.informative_gaps:
            found.append(
                f"Whether {_and(facts.informative_gaps)} is missing goes with the "
                "outcome (p < 0.05). A model can learn the gap in place of the "
                "modality. Run audit_cohort, and find out why it is missing."
            )
        found += self._of_width()
        for one in facts.dependence:
            if one.reason:
                found.append(
                    f"The dependence of {one.first} and {one.second} is not known "
                    f"({one.reason})."
                )
        undecided = [d for d in self.measured if d not in self.dependent]
        if undecided and not self.independent:
            names = _and([f"{d.first} with {d.second}" for d in undecided])
            found.append(
                f"Whether the modalities are independent within classes is open for "
                f"{names}, because the interval is wide or the correlation is small."
            )
        return found

    def _of_width(self) -> list[str]:
        facts, found = self.facts, []
        sizes = {name: width for name, (width, why) in facts.widths.items() if not why}
        if len(sizes) > 1:
            wide, narrow = (
                max(sizes, key=sizes.__getitem__),
                min(sizes, key=sizes.__getitem__),
            )
            if sizes[wide] >= IMBALANCE * max(sizes[narrow], 1):
                found.append(
                    f"{wide} has {sizes[wide]:,} features and {narrow} has "
                    f"{sizes[narrow]:,}. Reduce or scale the blocks before joining "
                    "them, so that the wide one does not drown the other."
                )
        if self._few_per_feature():
            found.append(
                f"There are {self._per_feature()}. Prefer strong penalties, and select "
                "features inside the folds only."
            )
        return found


def _limits(one: Dependence) -> str:
    return f"{one.correlation:.2f}, {one.low:.2f} to {one.high:.2f}"


def _and(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
