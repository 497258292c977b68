"""Which tables of the OMOP Common Data Model 5 hold events, and in which columns.

Read next: `skfusion.ehr.sources.omop`.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["CLINICAL_TABLES", "INPATIENT_VISITS", "ClinicalTable"]

# concepts of visits: inpatient, emergency, both, intensive care, inpatient hospital
INPATIENT_VISITS = frozenset({9201, 9203, 262, 32037, 8717})


class ClinicalTable(NamedTuple):
    """Where a table says what happened, when, and what was found.

    `after_visit` are codes that are assigned when a visit ends.
    """

    domain: str
    stem: str  # what the columns of concepts begin with
    start: str  # what the columns of the time begin with
    after_visit: bool = False
    with_value: bool = False
    text: str | None = None


CLINICAL_TABLES = {
    "condition_occurrence": ClinicalTable(
        "DIAGNOSIS", "condition", "condition_start", after_visit=True
    ),
    "procedure_occurrence": ClinicalTable(
        "PROCEDURE", "procedure", "procedure", after_visit=True
    ),
    "drug_exposure": ClinicalTable("MEDICATION", "drug", "drug_exposure_start"),
    "measurement": ClinicalTable(
        "LAB", "measurement", "measurement", with_value=True, text="value_source_value"
    ),
    "observation": ClinicalTable(
        "OBSERVATION",
        "observation",
        "observation",
        with_value=True,
        text="value_as_string",
    ),
    "device_exposure": ClinicalTable("DEVICE", "device", "device_exposure_start"),
}
