"""Electronic health records: numeric features from tables and timed events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.ehr.audit import LeakageAudit as LeakageAudit
    from skfusion.ehr.cases import cases_from_stays as cases_from_stays
    from skfusion.ehr.codes.code_map import CodeMap as CodeMap
    from skfusion.ehr.codes.comorbidity import (
        CHARLSON as CHARLSON,
        ELIXHAUSER as ELIXHAUSER,
        ComorbidityIndex as ComorbidityIndex,
        bare_code as bare_code,
        expand_codes as expand_codes,
    )
    from skfusion.ehr.demographics import (
        Demographics as Demographics,
        has_demographics as has_demographics,
    )
    from skfusion.ehr.domains import (
        DOMAINS as DOMAINS,
        FURTHER_DOMAINS as FURTHER_DOMAINS,
        domain_modalities as domain_modalities,
    )
    from skfusion.ehr.event_grid import EventGrid as EventGrid
    from skfusion.ehr.event_notes import EventNotes as EventNotes
    from skfusion.ehr.events.labels import readable_names as readable_names
    from skfusion.ehr.events.store import EventStore as EventStore
    from skfusion.ehr.measurements.analytes import (
        ANALYTES as ANALYTES,
        BASE_UNITS as BASE_UNITS,
        UNIT_SPELLINGS as UNIT_SPELLINGS,
        Analyte as Analyte,
    )
    from skfusion.ehr.measurements.text_values import parse_values as parse_values
    from skfusion.ehr.measurements.units import (
        Tally as Tally,
        Units as Units,
        conversion as conversion,
        plain_unit as plain_unit,
    )
    from skfusion.ehr.rebinding import with_events as with_events
    from skfusion.ehr.searching import (
        prepare_modalities as prepare_modalities,
        windows_grid as windows_grid,
    )
    from skfusion.ehr.sources.fhir import read_fhir as read_fhir
    from skfusion.ehr.sources.meds import read_meds as read_meds
    from skfusion.ehr.sources.mimic import read_mimic as read_mimic
    from skfusion.ehr.sources.omop import read_omop as read_omop
    from skfusion.ehr.tabular.comorbidity_encoder import (
        ComorbidityEncoder as ComorbidityEncoder,
    )
    from skfusion.ehr.tabular.encoder import TabularEncoder as TabularEncoder
    from skfusion.ehr.tabular.observed import ObservedScaler as ObservedScaler
    from skfusion.ehr.windows.event_windows import EventWindows as EventWindows
    from skfusion.ehr.windows.plan import parse_feature as parse_feature

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.audit": ["LeakageAudit"],
        "skfusion.ehr.cases": ["cases_from_stays"],
        "skfusion.ehr.codes.code_map": ["CodeMap"],
        "skfusion.ehr.codes.comorbidity": [
            "CHARLSON",
            "ComorbidityIndex",
            "ELIXHAUSER",
            "bare_code",
            "expand_codes",
        ],
        "skfusion.ehr.demographics": ["Demographics", "has_demographics"],
        "skfusion.ehr.domains": [
            "DOMAINS",
            "FURTHER_DOMAINS",
            "domain_modalities",
        ],
        "skfusion.ehr.event_grid": ["EventGrid"],
        "skfusion.ehr.event_notes": ["EventNotes"],
        "skfusion.ehr.events.labels": ["readable_names"],
        "skfusion.ehr.events.store": ["EventStore"],
        "skfusion.ehr.measurements.analytes": [
            "ANALYTES",
            "Analyte",
            "BASE_UNITS",
            "UNIT_SPELLINGS",
        ],
        "skfusion.ehr.measurements.text_values": ["parse_values"],
        "skfusion.ehr.measurements.units": [
            "Tally",
            "Units",
            "conversion",
            "plain_unit",
        ],
        "skfusion.ehr.rebinding": ["with_events"],
        "skfusion.ehr.searching": ["prepare_modalities", "windows_grid"],
        "skfusion.ehr.sources.fhir": ["read_fhir"],
        "skfusion.ehr.sources.meds": ["read_meds"],
        "skfusion.ehr.sources.mimic": ["read_mimic"],
        "skfusion.ehr.sources.omop": ["read_omop"],
        "skfusion.ehr.tabular.comorbidity_encoder": ["ComorbidityEncoder"],
        "skfusion.ehr.tabular.encoder": ["TabularEncoder"],
        "skfusion.ehr.tabular.observed": ["ObservedScaler"],
        "skfusion.ehr.windows.event_windows": ["EventWindows"],
        "skfusion.ehr.windows.plan": ["parse_feature"],
    },
    submodules=["codes", "events", "measurements", "sources", "tabular", "windows"],
)
