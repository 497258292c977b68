"""Clinical codes: code groups and comorbidity indices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.ehr.codes.code_map import CodeMap as CodeMap
    from skfusion.ehr.codes.comorbidity import (
        CHARLSON as CHARLSON,
        ELIXHAUSER as ELIXHAUSER,
        ComorbidityIndex as ComorbidityIndex,
        bare_code as bare_code,
        expand_codes as expand_codes,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.codes.code_map": ["CodeMap"],
        "skfusion.ehr.codes.comorbidity": [
            "CHARLSON",
            "ComorbidityIndex",
            "ELIXHAUSER",
            "bare_code",
            "expand_codes",
        ],
    },
)
