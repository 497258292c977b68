"""Guidelines: properties of the strategies, advice on a cohort and its audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.evaluation.guidelines.advice import (
        Advice as Advice,
        advise as advise,
    )
    from skfusion.evaluation.guidelines.audit import (
        CohortAudit as CohortAudit,
        audit_cohort as audit_cohort,
    )
    from skfusion.evaluation.guidelines.description import (
        CohortDescription as CohortDescription,
        describe_cohort as describe_cohort,
    )
    from skfusion.evaluation.guidelines.properties import (
        strategy_properties as strategy_properties,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.evaluation.guidelines.advice": ["Advice", "advise"],
        "skfusion.evaluation.guidelines.audit": ["CohortAudit", "audit_cohort"],
        "skfusion.evaluation.guidelines.description": [
            "CohortDescription",
            "describe_cohort",
        ],
        "skfusion.evaluation.guidelines.properties": ["strategy_properties"],
    },
)
