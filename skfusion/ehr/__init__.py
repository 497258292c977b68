"""The EHR side: tables and timed events as numeric features."""

from __future__ import annotations

import importlib
from typing import Any

# public name -> the module that defines it, imported on first use
_EXPORTS = {
    "CHARLSON": "skfusion.ehr.codes.comorbidity",
    "CodeMap": "skfusion.ehr.codes.code_map",
    "ComorbidityEncoder": "skfusion.ehr.tabular.comorbidity_encoder",
    "DOMAINS": "skfusion.ehr.domains",
    "Demographics": "skfusion.ehr.demographics",
    "ELIXHAUSER": "skfusion.ehr.codes.comorbidity",
    "EventGrid": "skfusion.ehr.event_grid",
    "EventStore": "skfusion.ehr.events.store",
    "EventWindows": "skfusion.ehr.windows.event_windows",
    "LeakageAudit": "skfusion.ehr.audit",
    "ObservedScaler": "skfusion.ehr.tabular.observed",
    "TabularEncoder": "skfusion.ehr.tabular.encoder",
    "Units": "skfusion.ehr.measurements.units",
    "domain_modalities": "skfusion.ehr.domains",
    "parse_feature": "skfusion.ehr.windows.plan",
    "parse_values": "skfusion.ehr.measurements.text_values",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'skfusion.ehr' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)
