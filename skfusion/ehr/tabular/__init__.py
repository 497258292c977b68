"""Static EHR columns as numeric features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.ehr.tabular.comorbidity_encoder import (
        ComorbidityEncoder as ComorbidityEncoder,
    )
    from skfusion.ehr.tabular.encoder import TabularEncoder as TabularEncoder
    from skfusion.ehr.tabular.observed import ObservedScaler as ObservedScaler

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.ehr.tabular.comorbidity_encoder": ["ComorbidityEncoder"],
        "skfusion.ehr.tabular.encoder": ["TabularEncoder"],
        "skfusion.ehr.tabular.observed": ["ObservedScaler"],
    },
)
