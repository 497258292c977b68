"""Cohorts to learn and to test with: two of real patients, one of known truth.

Each function returns a `sklearn.utils.Bunch` with ``data`` (a frame, one row per
case), ``target``, ``groups``, and the columns of each modality. Read next:
`skfusion.datasets.lidc`, real data that needs no download.
"""

from __future__ import annotations

from skfusion.datasets.lidc import load_lidc_nodules
from skfusion.datasets.pad_ufes import load_pad_ufes_20
from skfusion.datasets.synthetic import make_fusion_cohort

__all__ = ["load_lidc_nodules", "load_pad_ufes_20", "make_fusion_cohort"]
