"""Comparison of fusion strategies, metrics, tests, report, advice and audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from skfusion._lazy import lazy_exports

if TYPE_CHECKING:
    from skfusion.evaluation.comparison.comparison import (
        compare_fusion as compare_fusion,
    )
    from skfusion.evaluation.comparison.results import (
        FusionComparison as FusionComparison,
        load_comparison as load_comparison,
    )
    from skfusion.evaluation.comparison.validation import (
        ExternalValidation as ExternalValidation,
    )
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
    from skfusion.evaluation.report.figures.plots import (
        ComparisonPlots as ComparisonPlots,
    )
    from skfusion.evaluation.report.figures.survival_display import (
        SurvivalCalibrationDisplay as SurvivalCalibrationDisplay,
    )
    from skfusion.evaluation.statistics.auroc import (
        AurocEstimates as AurocEstimates,
        DeLongTest as DeLongTest,
        auroc_interval as auroc_interval,
        cross_validated_auroc_interval as cross_validated_auroc_interval,
        delong_test as delong_test,
        estimate_aurocs as estimate_aurocs,
    )
    from skfusion.evaluation.statistics.bootstrap import (
        BootstrapEstimate as BootstrapEstimate,
        patient_bootstrap as patient_bootstrap,
    )
    from skfusion.evaluation.statistics.calibration import (
        CalibrationCurve as CalibrationCurve,
        CalibrationEstimate as CalibrationEstimate,
        CalibrationSummary as CalibrationSummary,
        calibration_curve_data as calibration_curve_data,
        calibration_summary as calibration_summary,
    )
    from skfusion.evaluation.statistics.classification import (
        BrierDecomposition as BrierDecomposition,
        McNemarTest as McNemarTest,
        brier_decomposition as brier_decomposition,
        mcnemar_test as mcnemar_test,
        patients_for_model as patients_for_model,
    )
    from skfusion.evaluation.statistics.decision import (
        NetBenefit as NetBenefit,
        NetBenefitDifference as NetBenefitDifference,
        net_benefit as net_benefit,
        net_benefit_difference as net_benefit_difference,
    )
    from skfusion.evaluation.statistics.equivalence import (
        EquivalenceTest as EquivalenceTest,
        NoninferiorityTest as NoninferiorityTest,
        equivalence_test as equivalence_test,
        noninferiority_test as noninferiority_test,
    )
    from skfusion.evaluation.statistics.multiplicity import (
        holm_adjust as holm_adjust,
        intersection_union as intersection_union,
    )
    from skfusion.evaluation.statistics.power import (
        minimum_detectable_difference as minimum_detectable_difference,
        patients_for_gain as patients_for_gain,
    )
    from skfusion.evaluation.statistics.resampling import (
        Interval as Interval,
        ResampledTest as ResampledTest,
        corrected_resampled_interval as corrected_resampled_interval,
        corrected_resampled_ttest as corrected_resampled_ttest,
    )
    from skfusion.evaluation.statistics.survival_calibration import (
        CalibrationAtTime as CalibrationAtTime,
        DCalibration as DCalibration,
        calibration_at_time as calibration_at_time,
        d_calibration as d_calibration,
    )
    from skfusion.evaluation.statistics.survival_scores import (
        brier_scores as brier_scores,
        censored_concordance as censored_concordance,
        integrated_brier_score as integrated_brier_score,
    )

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "skfusion.evaluation.comparison.comparison": ["compare_fusion"],
        "skfusion.evaluation.comparison.results": [
            "FusionComparison",
            "load_comparison",
        ],
        "skfusion.evaluation.comparison.validation": ["ExternalValidation"],
        "skfusion.evaluation.guidelines.advice": ["Advice", "advise"],
        "skfusion.evaluation.guidelines.audit": ["CohortAudit", "audit_cohort"],
        "skfusion.evaluation.guidelines.description": [
            "CohortDescription",
            "describe_cohort",
        ],
        "skfusion.evaluation.guidelines.properties": ["strategy_properties"],
        "skfusion.evaluation.statistics.auroc": [
            "AurocEstimates",
            "DeLongTest",
            "auroc_interval",
            "cross_validated_auroc_interval",
            "delong_test",
            "estimate_aurocs",
        ],
        "skfusion.evaluation.statistics.bootstrap": [
            "BootstrapEstimate",
            "patient_bootstrap",
        ],
        "skfusion.evaluation.statistics.calibration": [
            "CalibrationCurve",
            "CalibrationEstimate",
            "CalibrationSummary",
            "calibration_curve_data",
            "calibration_summary",
        ],
        "skfusion.evaluation.statistics.classification": [
            "BrierDecomposition",
            "McNemarTest",
            "brier_decomposition",
            "mcnemar_test",
            "patients_for_model",
        ],
        "skfusion.evaluation.statistics.decision": [
            "NetBenefit",
            "NetBenefitDifference",
            "net_benefit",
            "net_benefit_difference",
        ],
        "skfusion.evaluation.statistics.equivalence": [
            "EquivalenceTest",
            "NoninferiorityTest",
            "equivalence_test",
            "noninferiority_test",
        ],
        "skfusion.evaluation.statistics.multiplicity": [
            "holm_adjust",
            "intersection_union",
        ],
        "skfusion.evaluation.statistics.power": [
            "minimum_detectable_difference",
            "patients_for_gain",
        ],
        "skfusion.evaluation.statistics.resampling": [
            "Interval",
            "ResampledTest",
            "corrected_resampled_interval",
            "corrected_resampled_ttest",
        ],
        "skfusion.evaluation.report.figures.plots": ["ComparisonPlots"],
        "skfusion.evaluation.report.figures.survival_display": [
            "SurvivalCalibrationDisplay"
        ],
        "skfusion.evaluation.statistics.survival_calibration": [
            "CalibrationAtTime",
            "DCalibration",
            "calibration_at_time",
            "d_calibration",
        ],
        "skfusion.evaluation.statistics.survival_scores": [
            "brier_scores",
            "censored_concordance",
            "integrated_brier_score",
        ],
    },
    submodules=["comparison", "guidelines", "report", "statistics"],
)
