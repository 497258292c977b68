"""Readers of hospital data formats, which yield events in MEDS columns.

Each reader is a generator of tables with the columns of `skfusion.EventStore`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.ehr.sources.fhir import read_fhir as read_fhir
    from skfusion.ehr.sources.meds import read_meds as read_meds
    from skfusion.ehr.sources.mimic import read_mimic as read_mimic
    from skfusion.ehr.sources.omop import read_omop as read_omop

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.sources.fhir": ["read_fhir"],
        "skfusion.ehr.sources.meds": ["read_meds"],
        "skfusion.ehr.sources.mimic": ["read_mimic"],
        "skfusion.ehr.sources.omop": ["read_omop"],
    },
)
