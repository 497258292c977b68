"""Hospital formats in, chunks of MEDS-shaped events out.

Each reader is a generator of tables with the columns of `skfusion.EventStore`. Read
next: `skfusion.ehr.sources.meds`, the shortest, then `shaping`, what all share.
"""

from __future__ import annotations

from skfusion.ehr.sources.fhir import read_fhir
from skfusion.ehr.sources.meds import read_meds
from skfusion.ehr.sources.mimic import read_mimic
from skfusion.ehr.sources.omop import read_omop

__all__ = ["read_fhir", "read_meds", "read_mimic", "read_omop"]
