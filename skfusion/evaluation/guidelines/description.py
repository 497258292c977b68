"""Diagnostics of a cohort that decide which fusion to try, `describe_cohort`."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skfusion._fitting.passthrough import Passthrough
from skfusion._validation import check_number, check_option
from skfusion.evaluation.guidelines.association import best_association
from skfusion.evaluation.guidelines.cases import (
    Cases,
    Outcome,
    find_outcomes,
    kind_of,
    read_cases,
)
from skfusion.evaluation.guidelines.dependence import (
    Dependence,
    measure_dependence,
    why_not,
)
from skfusion.evaluation.statistics.disclosure import MIN_CELL, count_text
from skfusion.fusion.inner_estimators import ends_in_predictor
from skfusion.modality import Modality

__all__ = ["CohortDescription", "Facts", "describe_cohort", "facts_of"]


OWNER = "describe_cohort"
#: Images, or rows of a table of events, up to which a modality is encoded.
MOST_ENCODED = 2_000
# Rows on which the encoder of a table is fitted to learn its width.
MOST_FITTED = 5_000


@dataclass(frozen=True)
class Facts:
    """Numbers of a cohort from which advice follows. They are not printed.

    Attributes
    ----------
    n_rows, n_patients, n_patients_rarer, n_columns : int
        Rows, patients, patients of the rarer class (with an event in a survival
        analysis, all patients of a regression) and features of all modalities.
    unknown_width : bool
        Whether the number of features of a modality is not known.
    widths : dict of str to (int, str)
        Number of features, and why they are not those after encoding, if so.
    share_incomplete : float
        Share of the rows that lack a modality.
    informative_gaps : list of str
        Modalities whose absence goes with the outcome.
    dependence : list of Dependence
        Residual correlation of each pair of modalities.
    n_lost : int
        Number of rows without a modality.
    """

    n_rows: int
    n_patients: int
    n_patients_rarer: int
    n_columns: int
    unknown_width: bool
    widths: dict[str, tuple[int, str]]
    share_incomplete: float
    informative_gaps: list[str]
    dependence: list[Dependence]
    n_lost: int


@dataclass(frozen=True)
class CohortDescription:
    """Result of `describe_cohort`.

    Counts from 1 to 9, and rates from which they could be computed, are hidden.

    Attributes
    ----------
    summary : DataFrame of one row per quantity
        ``quantity`` and ``value`` (text).
    modalities : DataFrame of one row per modality
        ``modality``, ``kind``, ``n_columns``, ``n_features`` (after encoding, or None),
        ``present``, ``absent`` (rows), ``rate_present``, ``rate_absent`` (of the
        outcome), ``auroc`` (of the absence alone), ``p_value`` (by patient)
        and ``reason`` (why the number of features is not known).
    dependence : DataFrame of one row per pair of modalities
        ``first``, ``second``, ``correlation`` (within the classes of the outcome),
        ``low``, ``high``, ``p_value``, ``patients`` and ``reason`` (why it was not
        computed).
    complete_cases : DataFrame of one row per group of rows
        ``group`` (complete, lost), ``rows``, ``patients``, ``rate`` and ``p_value`` (of
        the association of incomplete rows with the outcome, by patient).

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skfusion.datasets import make_fusion_cohort
    >>> from skfusion.evaluation import describe_cohort
    >>> cohort = make_fusion_cohort(150, random_state=0)
    >>> modalities = [("image", StandardScaler(), cohort.image_columns),
    ...               ("ehr", StandardScaler(), cohort.ehr_columns)]
    >>> found = describe_cohort(modalities, cohort.data, cohort.target, random_state=0)
    >>> found.modalities["n_features"].tolist()
    [40, 8]
    """

    __module__ = "skfusion.evaluation"

    summary: pd.DataFrame
    modalities: pd.DataFrame
    dependence: pd.DataFrame
    complete_cases: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return the description as numbers and text, as JSON can hold them."""
        summary = self.summary.set_index("quantity")["value"].to_dict()
        return {"summary": summary} | {
            name: _records(getattr(self, name))
            for name in ("modalities", "dependence", "complete_cases")
        }

    def __str__(self) -> str:
        lines = ["Cohort"]
        lines += [
            f"  {quantity}: {value}"
            for quantity, value in self.summary.itertuples(index=False)
        ]
        for title, table in (
            ("Modalities", self.modalities),
            ("Correlation within classes of the outcome", self.dependence),
            ("Analysis of complete cases", self.complete_cases),
        ):
            if len(table):
                narrow = table.drop(columns="reason", errors="ignore")
                text = _shown(narrow).to_string(index=False)
                lines += ["", title, *(f"  {line}" for line in text.splitlines())]
                lines += _reasons(table)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        tables = (self.summary, self.modalities, self.dependence, self.complete_cases)
        return "".join(_shown(table).to_html(index=False) for table in tables)


def _reasons(table: pd.DataFrame) -> list[str]:
    """Return a line for each row that has a reason."""
    rows = table.to_dict("records") if "reason" in table else []
    return [
        f"  {' and '.join(str(row[n]) for n in _KEYS if n in row)}: {row['reason']}."
        for row in rows
        if row["reason"]
    ]


_KEYS = ("modality", "first", "second")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    clean = table.astype(object).where(table.notna(), None)
    return [
        {
            str(name): v.item() if isinstance(v, np.generic) else v
            for name, v in row.items()
        }
        for row in clean.to_dict("records")
    ]


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table as text, with rounded numbers."""

    def text(value: Any, name: str) -> str:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return "-"
        if name == "p_value" and value < 0.001:
            return "<0.001"
        return f"{value:.3f}" if isinstance(value, float) else str(value)

    return pd.DataFrame(
        {name: [text(v, name) for v in table[name]] for name in table.columns}
    )


def describe_cohort(
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
) -> CohortDescription:
    """Describe a cohort by what decides which fusion to try.

    Parameters
    ----------
    modalities : list of (str, estimator, columns), "auto", dict or estimator
        Modalities as in the fusion estimators, a dict of estimators as in
        `compare_fusion`, a dict of the columns of each modality, or an estimator with
        modalities.
    X : DataFrame or ndarray of shape (n_samples, n_columns)
        Cohort with one row per case.
    y : array-like of shape (n_samples,) or (n_samples, n_labels)
        Outcome, as in `compare_fusion`.
    groups : str, int, array-like of shape (n_samples,) or None, default=None
        Name of the column with patient ids, or the ids, as in `compare_fusion`.
    encode : bool or "auto", default="auto"
        Whether images and events are encoded to measure the correlation of modalities.
        ``"auto"`` does so if at most 2,000 rows have them. Tables are always encoded.
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
    CohortDescription

    Raises
    ------
    ValueError, TypeError
        If the cohort, the outcome, the patients or the modalities are invalid.

    See Also
    --------
    advise : Order in which to try strategies in this cohort.
    audit_cohort : Leakage in a cohort.

    Notes
    -----
    The correlation of two modalities is that of their held-out predictions within the
    classes of the outcome. Each modality predicts alone, by the late fusion of one
    modality of `compare_fusion`, in five folds of whole patients. The predictions are
    centred within fold and class and averaged by patient. The p-value is that of 999
    permutations of patients within classes. A correlation of 0 is what late fusion
    assumes. The marginal correlation of two good modalities is never small, and is
    therefore not shown. Interactions of features that predict nothing alone are not
    seen. Embeddings are kept in the store of the encoder, for later fits.

    Examples
    --------
    >>> from skfusion.datasets import make_multimodal_cohort
    >>> from skfusion.evaluation import describe_cohort
    >>> cohort = make_multimodal_cohort(200, {"mri": 20, "ehr": 5}, random_state=0)
    >>> found = describe_cohort(
    ...     cohort.columns, cohort.data, cohort.target, groups="patient_id"
    ... )
    >>> found.modalities[["modality", "n_features", "present", "absent"]]
      modality n_features present absent
    0      mri         20     200      0
    1      ehr          5     200      0
    """
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
    check_number(min_cell, "min_cell", OWNER, low=1, integer=True)
    outcomes = find_outcomes(cases.y, cases.task)
    return CohortDescription(
        _summary(cases, facts, outcomes, min_cell),
        _modality_table(cases, facts, outcomes, min_cell),
        _dependence_table(facts, min_cell),
        _complete_cases(cases, outcomes, min_cell),
    )


def facts_of(
    modalities: Any,
    X: Any,
    y: Any,
    groups: Any,
    *,
    encode: bool | str,
    task: str,
    pos_label: Any,
    random_state: int,
    owner: str,
) -> tuple[Cases, Facts]:
    """Check a cohort and return it with the numbers from which advice follows.

    Parameters
    ----------
    modalities, X, y, groups, encode, task, pos_label, random_state : any
        As in `describe_cohort`.
    owner : str
        Name of the function, used in messages.

    Returns
    -------
    cases : Cases
    facts : Facts
    """
    if not isinstance(encode, bool):
        check_option(encode, "encode", ("auto",), owner)
    cases = read_cases(
        modalities, X, y, groups, owner=owner, task=task, pos_label=pos_label
    )
    skipped = _not_encoded(cases, encode)
    widths = {
        m.name: _width(m, cases, place, m.name not in skipped)
        for place, m in enumerate(cases.modalities)
    }
    outcomes = find_outcomes(cases.y, cases.task)
    incomplete = ~cases.presence.all(axis=1)
    gaps = [
        m.name
        for place, m in enumerate(cases.modalities)
        if _gap_pvalue(cases, place, outcomes) < 0.05
    ]
    return cases, Facts(
        cases.n_rows,
        cases.n_patients(),
        _rarer(cases, outcomes),
        sum(width for width, _ in widths.values()),
        any(reason for _, reason in widths.values()),
        widths,
        float(incomplete.mean()),
        gaps,
        measure_dependence(cases, skipped, random_state),
        int(incomplete.sum()),
    )


def _not_encoded(cases: Cases, encode: bool | str) -> dict[str, str]:
    """Return why modalities are not encoded, by name."""
    skipped = {}
    for place, modality in enumerate(cases.modalities):
        if kind_of(modality, cases.frame) == "table" or encode is True:
            continue
        n_present = int(cases.presence[:, place].sum())
        if isinstance(modality.transformer, Passthrough):
            skipped[modality.name] = "the encoder of images needs torch"
        elif encode is False:
            skipped[modality.name] = "not encoded, because encode=False"
        elif n_present > MOST_ENCODED:
            skipped[modality.name] = (
                f"not encoded, because more than {MOST_ENCODED} rows have it "
                "(encode=True encodes it)"
            )
    return skipped


def _width(
    modality: Modality, cases: Cases, place: int, encode: bool
) -> tuple[int, str]:
    """Return the number of features of a modality, and why it is not after encoding."""
    n_columns = len(modality.columns)
    encoder = _encoder(modality.transformer)
    rows = np.flatnonzero(cases.presence[:, place])
    kind = kind_of(modality, cases.frame)
    if encoder is None:
        return n_columns, "it is a predictor"
    if not len(rows):
        return n_columns, "no row has it"
    if kind == "events" and not encode:
        return n_columns, "events were not encoded"
    if kind == "image" and isinstance(encoder, Passthrough):
        return n_columns, "the encoder of images needs torch"
    rows = rows[: 1 if kind == "image" else MOST_FITTED]
    target = cases.y[rows] if cases.y.dtype.names is None else None
    part = modality.select(cases.frame.iloc[rows])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # issued again by the fits of a user
            fitted = clone(encoder).fit(part, target)
            width = getattr(fitted, "n_features_out_", None)
            if width is None:
                width = np.shape(fitted.transform(part))[1]
    except Exception as error:  # noqa: BLE001 - of the user, on a part of the rows
        return n_columns, why_not("it cannot be encoded", error)
    return int(width), ""


def _encoder(transformer: Any) -> Any:
    """Return the steps of a modality before its predictor, None if there are none."""
    if not ends_in_predictor(transformer):
        return transformer
    if isinstance(transformer, Pipeline) and len(transformer.steps) > 1:
        return transformer[:-1]
    return None


def rarer_words(cases: Cases) -> str:
    """Return words for the patients who limit a model, empty in a regression.

    A patient with several rows counts if one of them has the outcome.
    """
    kind = cases.task.kind
    if kind == "regression":
        return ""
    several = cases.n_rows > cases.n_patients()
    if kind == "survival":
        return "with at least one row with an event" if several else "with an event"
    return (
        "with at least one row of the rarer class"
        if several
        else "with the rarer outcome"
    )


def _rarer(cases: Cases, outcomes: list[Outcome]) -> int:
    """Return the number of patients with the rarer outcome, of the rarest class."""
    if cases.task.kind == "regression":
        return cases.n_patients()
    if cases.task.kind == "survival":
        return cases.n_patients(outcomes[0].positive)
    sides = [side for o in outcomes for side in (o.positive, ~o.positive)]
    return min(cases.n_patients(side) if side.any() else 0 for side in sides)


def _gap_pvalue(cases: Cases, place: int, outcomes: list[Outcome]) -> float:
    absent = ~cases.presence[:, place]
    if absent.all() or not absent.any():
        return 1.0
    return best_association(outcomes, absent.astype(float), cases.patients).pvalue


# -- tables ---------------------------------------------------------------------------


def _summary(
    cases: Cases, facts: Facts, outcomes: list[Outcome], min_cell: int
) -> pd.DataFrame:
    def events(outcome: Outcome) -> str:
        n_events = int(outcome.positive.sum())
        shown = count_text(n_events, cases.n_rows, min_cell)
        rate = rate_text(outcome.positive, min_cell)
        patients = count_text(
            cases.n_patients(outcome.positive), cases.n_patients(), min_cell
        )
        return f"{shown} rows ({rate}) of {patients} patients"

    several = np.bincount(pd.factorize(cases.patients)[0]) > 1
    rows = [
        ("rows", f"{cases.n_rows:,}"),
        ("patients", _patients_text(cases)),
        ("rows a patient", f"{cases.n_rows / cases.n_patients():.2f} on average"),
        (
            "patients with several rows",
            count_text(int(several.sum()), len(several), min_cell),
        ),
    ]
    if cases.task.kind == "regression":
        rows.append(("outcome", "a number"))
    else:
        rows += [(f"rows {o.name}", events(o)) for o in outcomes]
    unknown = " or more, because a modality was not encoded"
    rows.append(
        ("features", f"{facts.n_columns:,}" + (unknown if facts.unknown_width else ""))
    )
    per_feature = facts.n_patients_rarer / max(facts.n_columns, 1)
    name = f"patients {rarer_words(cases)}".strip()
    rows.append((f"{name} per feature", _ratio_text(per_feature, facts, min_cell)))
    return pd.DataFrame(rows, columns=["quantity", "value"])


def _patients_text(cases: Cases) -> str:
    if cases.known_patients:
        return f"{cases.n_patients():,}"
    return f"{cases.n_patients():,} (one a row, because no groups were given)"


def _ratio_text(ratio: float, facts: Facts, min_cell: int) -> str:
    if 0 < facts.n_patients_rarer < min_cell:
        return f"<{min_cell / max(facts.n_columns, 1):.2g}"
    return f"{ratio:.2g}"


def rate_text(positive: np.ndarray, min_cell: int = MIN_CELL) -> str:
    """Return a share as per cent, hidden if a small count follows from it.

    Examples
    --------
    >>> import numpy as np
    >>> from skfusion.evaluation.guidelines.description import rate_text
    >>> rate_text(np.arange(200) < 50), rate_text(np.arange(200) < 3)
    ('25.0 %', '<5.0 %')
    """
    n, n_positive = len(positive), int(np.sum(positive))
    if n == 0:
        return "-"
    if n < min_cell:
        return "hidden"
    limit = 100 * min(1.0, min_cell / n)
    if 0 < n_positive < min_cell:
        return f"<{limit:.1f} %"
    if 0 < n - n_positive < min_cell:
        return f">{100 - limit:.1f} %"
    return f"{100 * n_positive / n:.1f} %"


def _modality_table(
    cases: Cases, facts: Facts, outcomes: list[Outcome], min_cell: int
) -> pd.DataFrame:
    rows = []
    for place, modality in enumerate(cases.modalities):
        present = cases.presence[:, place]
        width, reason = facts.widths[modality.name]
        gap = None
        if present.any() and not present.all():
            gap = best_association(outcomes, (~present).astype(float), cases.patients)
        rows.append(
            {
                "modality": modality.name,
                "kind": kind_of(modality, cases.frame),
                "n_columns": len(modality.columns),
                "n_features": None if reason else width,
                "present": count_text(int(present.sum()), cases.n_rows, min_cell),
                "absent": count_text(int((~present).sum()), cases.n_rows, min_cell),
                "rate_present": _rates(outcomes, present, min_cell),
                "rate_absent": _rates(outcomes, ~present, min_cell),
                "auroc": np.nan if gap is None else gap.auroc,
                "p_value": np.nan if gap is None else gap.pvalue,
                "reason": reason,
            }
        )
    table = pd.DataFrame(rows)
    # Objects, because numbers would become floats beside one that is not known.
    table["n_features"] = pd.Series([row["n_features"] for row in rows], dtype=object)
    return table


def _rates(outcomes: list[Outcome], rows: np.ndarray, min_cell: int) -> str:
    """Return the rate of the outcome in some rows, of each of several classes."""
    rates = [rate_text(one.positive[rows], min_cell) for one in outcomes]
    return " | ".join(rates)


_PAIR = [
    *("first", "second", "correlation", "low", "high", "p_value", "patients"),
    "reason",
]


def _dependence_table(facts: Facts, min_cell: int) -> pd.DataFrame:
    rows = [
        {
            "first": one.first,
            "second": one.second,
            "correlation": one.correlation,
            "low": one.low,
            "high": one.high,
            "p_value": one.pvalue,
            "patients": count_text(one.n_patients, facts.n_patients, min_cell)
            if one.n_patients
            else None,
            "reason": one.reason,
        }
        for one in facts.dependence
    ]
    return pd.DataFrame(rows, columns=_PAIR)


def _complete_cases(
    cases: Cases, outcomes: list[Outcome], min_cell: int
) -> pd.DataFrame:
    complete = np.asarray(cases.presence.all(axis=1))
    rows = []
    pvalue = np.nan
    if complete.any() and not complete.all():
        score = (~complete).astype(np.float64)
        pvalue = best_association(outcomes, score, cases.patients).pvalue
    for name, chosen in (("complete", complete), ("lost", ~complete)):
        n_patients = cases.n_patients(chosen) if chosen.any() else 0
        rows.append(
            {
                "group": name,
                "rows": count_text(int(chosen.sum()), cases.n_rows, min_cell),
                "patients": count_text(n_patients, cases.n_patients(), min_cell),
                "rate": _rates(outcomes, chosen, min_cell),
                "p_value": pvalue if name == "lost" else np.nan,
            }
        )
    return pd.DataFrame(rows)
