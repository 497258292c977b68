"""Loaders of real cohorts and generators of synthetic cohorts with known truth.

Each function returns a `sklearn.utils.Bunch` with ``data`` (a frame, one row per case),
``target``, ``groups`` and the columns of each modality. `drop_modality` removes
modalities from a share of the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.datasets.lidc import load_lidc_nodules as load_lidc_nodules
    from skfusion.datasets.missingness import drop_modality as drop_modality
    from skfusion.datasets.multimodal import (
        make_multimodal_cohort as make_multimodal_cohort,
    )
    from skfusion.datasets.pad_ufes import load_pad_ufes_20 as load_pad_ufes_20
    from skfusion.datasets.reviewed_studies import (
        REVIEWED_STUDIES as REVIEWED_STUDIES,
        Fact as Fact,
        Study as Study,
        studies_frame as studies_frame,
    )
    from skfusion.datasets.synthetic import make_fusion_cohort as make_fusion_cohort

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.datasets.lidc": ["load_lidc_nodules"],
        "skfusion.datasets.missingness": ["drop_modality"],
        "skfusion.datasets.multimodal": ["make_multimodal_cohort"],
        "skfusion.datasets.pad_ufes": ["load_pad_ufes_20"],
        "skfusion.datasets.reviewed_studies": [
            "Fact",
            "REVIEWED_STUDIES",
            "Study",
            "studies_frame",
        ],
        "skfusion.datasets.synthetic": ["make_fusion_cohort"],
    },
)
