"""The EHR side: tables in, numeric features out. Read next: `skfusion.ehr.tabular`."""

from __future__ import annotations

import importlib
from typing import Any

# public name -> the module that defines it, imported on first use
_EXPORTS = {
    "CHARLSON": "skfusion.ehr.comorbidity",
    "CodeMap": "skfusion.ehr.codes",
    "ComorbidityEncoder": "skfusion.ehr.comorbidity_encoder",
    "DOMAINS": "skfusion.ehr.domains",
    "Demographics": "skfusion.ehr.demographics",
    "ELIXHAUSER": "skfusion.ehr.comorbidity",
    "EventGrid": "skfusion.ehr.event_grid",
    "EventStore": "skfusion.ehr.events",
    "EventWindows": "skfusion.ehr.windows",
    "LeakageAudit": "skfusion.ehr.audit",
    "ObservedScaler": "skfusion.ehr.observed",
    "TabularEncoder": "skfusion.ehr.tabular",
    "Units": "skfusion.ehr.units",
    "domain_modalities": "skfusion.ehr.domains",
    "parse_feature": "skfusion.ehr.window_plan",
    "parse_values": "skfusion.ehr.values",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.ehr' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
