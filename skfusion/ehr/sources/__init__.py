"""Hospital formats in, chunks of MEDS-shaped events out.

Each reader is a generator of tables with the columns of `skfusion.EventStore`. Read
next: `skfusion.ehr.sources.meds`, the shortest, then `shaping`, what all share.
"""

from __future__ import annotations

import importlib
from typing import Any

# public name -> the module that defines it, imported on first use
_EXPORTS = {
    "read_fhir": "skfusion.ehr.sources.fhir",
    "read_meds": "skfusion.ehr.sources.meds",
    "read_mimic": "skfusion.ehr.sources.mimic",
    "read_omop": "skfusion.ehr.sources.omop",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.ehr.sources' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
