"""Cohorts: images of hospitals, linked to cases by what was available in time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.cohorts.cases import make_cases as make_cases
    from skfusion.cohorts.fhir_images import read_fhir_images as read_fhir_images
    from skfusion.cohorts.flow import FlowChart as FlowChart, flow_chart as flow_chart
    from skfusion.cohorts.links import link_images as link_images
    from skfusion.cohorts.mimic_cxr import read_mimic_cxr as read_mimic_cxr
    from skfusion.cohorts.omop_images import read_omop_images as read_omop_images
    from skfusion.cohorts.reports import (
        LinkReport as LinkReport,
        link_report as link_report,
    )
    from skfusion.cohorts.scan import scan_images as scan_images

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.cohorts.cases": ["make_cases"],
        "skfusion.cohorts.fhir_images": ["read_fhir_images"],
        "skfusion.cohorts.flow": ["FlowChart", "flow_chart"],
        "skfusion.cohorts.links": ["link_images"],
        "skfusion.cohorts.mimic_cxr": ["read_mimic_cxr"],
        "skfusion.cohorts.omop_images": ["read_omop_images"],
        "skfusion.cohorts.reports": ["LinkReport", "link_report"],
        "skfusion.cohorts.scan": ["scan_images"],
    },
)
