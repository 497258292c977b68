"""Cohorts to learn and to test with: real patients, and drawn ones of known truth.

Each function that makes or loads a cohort returns a `sklearn.utils.Bunch` with ``data``
(a frame, one row per case), ``target``, ``groups``, and the columns of each modality;
`drop_modality` takes modalities away again. Read next: `skfusion.datasets.lidc`, real
data that needs no download.
"""

from __future__ import annotations

from skfusion.datasets.lidc import load_lidc_nodules
from skfusion.datasets.missingness import drop_modality
from skfusion.datasets.multimodal import make_multimodal_cohort
from skfusion.datasets.pad_ufes import load_pad_ufes_20
from skfusion.datasets.synthetic import make_fusion_cohort

__all__ = [
    "drop_modality",
    "load_lidc_nodules",
    "load_pad_ufes_20",
    "make_fusion_cohort",
    "make_multimodal_cohort",
]
