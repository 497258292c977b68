"""Names of code systems in, the beginning of a code out; which codes are vital signs.

Read next: `skfusion.ehr.sources.fhir_resources`.
"""

from __future__ import annotations

__all__ = ["FHIR_SYSTEMS", "VITAL_SIGNS"]

# the vocabularies have the names of OMOP's, in all readers
FHIR_SYSTEMS = {
    "http://loinc.org": "LOINC",
    "http://snomed.info/sct": "SNOMED",
    "http://hl7.org/fhir/sid/icd-10-cm": "ICD10CM",
    "http://hl7.org/fhir/sid/icd-10": "ICD10",
    "http://hl7.org/fhir/sid/icd-9-cm": "ICD9CM",
    "http://www.cms.gov/Medicare/Coding/ICD10": "ICD10PCS",
    "http://www.nlm.nih.gov/research/umls/rxnorm": "RxNorm",
    "http://hl7.org/fhir/sid/ndc": "NDC",
    "http://hl7.org/fhir/sid/cvx": "CVX",
    "http://www.whocc.no/atc": "ATC",
    "http://www.ama-assn.org/go/cpt": "CPT4",
    "http://unitsofmeasure.org": "UCUM",
}

# those of the FHIR profile of vital signs, and their concepts in SNOMED CT
VITAL_SIGNS = frozenset(
    f"LOINC//{code}"
    for code in (
        *("8867-4", "9279-1", "8310-5", "8302-2", "29463-7", "39156-5", "9843-4"),
        *("8480-6", "8462-4", "8478-0", "85354-9", "85353-1", "2708-6", "59408-5"),
    )
) | frozenset(
    f"SNOMED//{code}"
    for code in (
        *("364075005", "86290005", "386725007", "50373000", "27113001", "60621009"),
        *("271649006", "271650006", "75367002", "431314004"),
    )
)
