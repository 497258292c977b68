"""Which codes are vital signs."""

from __future__ import annotations

__all__ = ["VITAL_SIGNS"]

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
