"""Counts of a comparison as they are shown: none of 1 to 9 patients or rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from skfusion.evaluation.statistics.disclosure import (
    MIN_CELL,
    WITHHELD,
    count_text,
    shown_counts,
    without_small_counts,
)

__all__ = ["as_text", "disclosed", "shown_cohort", "shown_settings", "shown_sizes"]


# Sizes of a test set and of its training set, which adds up to the cohort.
SIZES = (("n_test", "n_train"), ("patients_test", "patients_train"))


def disclosed(result: Any) -> Any:
    """Return a comparison whose verdict, notes and design have no small counts.

    Parameters
    ----------
    result : Comparison
        Comparison.

    Returns
    -------
    Comparison
    """
    verdict = result.verdict_
    texts = {
        name: without_small_counts(text)
        for name, text in result.settings_.items()
        if name in ("folds", "splits", "caveat")
    }
    return replace(
        result,
        settings_=result.settings_ | texts,
        verdict_=replace(verdict, details=without_small_counts(verdict.details)),
        notes_=[without_small_counts(note) for note in result.notes_],
    )


def as_text(count: int | str) -> str:
    """Return a shown count with thousands separators.

    Examples
    --------
    >>> from skfusion.evaluation.report.counts import as_text
    >>> as_text(1234), as_text("<10")
    ('1,234', '<10')
    """
    return count if isinstance(count, str) else f"{count:,}"


def _part(n: int, total: int) -> int | str:
    """Return a count of which the remainder is protected too."""
    text = count_text(n, total)
    return n if text == f"{n:,}" else text


def shown_cohort(cohort: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a cohort with text in place of small counts.

    Parameters
    ----------
    cohort : dict
        Description as in `FusionComparison.cohort_`.

    Returns
    -------
    dict

    Examples
    --------
    >>> from skfusion.evaluation.report.counts import shown_cohort
    >>> cohort = {"n_rows": 120, "n_patients": None, "modalities": [
    ...     {"name": "image", "n_present": 115}]}
    >>> shown_cohort(cohort)["modalities"]
    [{'name': 'image', 'n_present': '>110'}]
    """
    n_rows = cohort["n_rows"]
    found = dict(cohort)
    found["n_rows"] = shown_counts([n_rows])[0]
    if cohort["n_patients"] is not None:
        found["n_patients"] = shown_counts([cohort["n_patients"]])[0]
    found["modalities"] = [
        {**modality, "n_present": _part(modality["n_present"], n_rows)}
        for modality in cohort["modalities"]
    ]
    if "n_events" in cohort:
        found["n_events"] = _part(cohort["n_events"], n_rows)
    if "labels" in cohort:  # labels overlap, so they have no common total
        found["labels"] = [
            {**label, "n": _part(label["n"], n_rows)} for label in cohort["labels"]
        ]
    if "classes" in cohort:
        counts = shown_counts([each["n"] for each in cohort["classes"]])
        found["classes"] = [
            {**each, "n": n} for each, n in zip(cohort["classes"], counts, strict=True)
        ]
    return found


def shown_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with text in place of small numbers of patients."""
    found = dict(settings)
    for name in ("n_trained", "n_tested"):
        if 0 < settings[name] < MIN_CELL:
            found[name] = f"<{MIN_CELL}"
    return found


def shown_sizes(folds: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of test sets with text in place of small sizes.

    Parameters
    ----------
    folds : DataFrame
        Table as in `FusionComparison.folds_`.

    Returns
    -------
    DataFrame
        The size of a training set is withheld where that of the test set is, because
        both add up to the cohort.
    """
    found = folds.copy()
    places = folds.drop_duplicates(["repeat", "fold"])
    for test, train in SIZES:
        shown: dict[tuple[int, int], int | str] = {}
        for repeat in places["repeat"].unique():
            part = places[places["repeat"] == repeat]
            counts = shown_counts(part[test].tolist())
            keys = [(int(repeat), int(fold)) for fold in part["fold"]]
            shown |= dict(zip(keys, counts, strict=True))
        pairs = list(zip(folds["repeat"], folds["fold"], strict=True))
        sizes = [shown[int(repeat), int(fold)] for repeat, fold in pairs]
        found[test] = pd.Series(sizes, index=folds.index, dtype=object)
        rests = [
            WITHHELD if isinstance(size, str) else shown_counts([int(rest)])[0]
            for size, rest in zip(sizes, folds[train], strict=True)
        ]
        found[train] = pd.Series(rests, index=folds.index, dtype=object)
    return found
