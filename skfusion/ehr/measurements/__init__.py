"""Values and units of laboratory tests and vital signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
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

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
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
    },
)
