"""Public names by subject, for the pages of the API reference.

`conf.py` writes the tables of `api.md` from it. A name stands with the package from
which it is imported, a test requires that each public name is listed once.
"""

from __future__ import annotations

from typing import NamedTuple


class Section(NamedTuple):
    """A subject: its title, what it is for, and names as ``package: names``."""

    title: str
    text: str
    names: dict[str, str]


SECTIONS = (
    Section(
        "Early fusion",
        "One estimator on the joined features of all modalities.",
        {
            "skfusion": "EarlyFusionClassifier EarlyFusionRegressor",
            "skfusion.survival": "EarlyFusionSurvival XGBoostSurvival",
            "skfusion.fusion": "ModelFeatures",
        },
    ),
    Section(
        "Joint fusion",
        "One network for all modalities, whose encoders are trained together, and the "
        "encoders and settings that it takes.",
        {
            "skfusion": "JointFusionClassifier JointFusionRegressor",
            "skfusion.survival": "JointFusionSurvival",
            "skfusion.fusion": "TorchEncoder GRUDEncoder SequenceTransformer "
            "ImageAugmentation TrainingSettings",
        },
    ),
    Section(
        "Late fusion",
        "One estimator for each modality, whose predictions are combined.",
        {
            "skfusion": "LateFusionClassifier LateFusionRegressor",
            "skfusion.survival": "LateFusionSurvival",
        },
    ),
    Section(
        "Images",
        "Images to features: embeddings of pretrained networks and radiomics, and the "
        "reader behind them.",
        {
            "skfusion": "ImageEmbedder EmbeddingStore read_image",
            "skfusion.image": "RadiomicsEncoder MedicalImage read_metadata "
            "Preprocessing VolumePreprocessing ImageReadError",
            "skfusion.store": "default_store_path StoreWarning",
        },
    ),
    Section(
        "Notes and vectors",
        "Texts to embeddings, and embeddings that already exist.",
        {
            "skfusion": "TextEmbedder VectorColumns read_embeddings",
            "skfusion.ehr": "EventNotes",
        },
    ),
    Section(
        "Records: tables",
        "Columns of a record to features: numbers, categories, dates, codes and units.",
        {
            "skfusion": "TabularEncoder",
            "skfusion.ehr": "ObservedScaler ComorbidityEncoder ComorbidityIndex "
            "CHARLSON ELIXHAUSER CodeMap Units parse_values ANALYTES Analyte "
            "BASE_UNITS UNIT_SPELLINGS Tally bare_code expand_codes conversion "
            "plain_unit",
        },
    ),
    Section(
        "Records: timed events",
        "Events before an index time to features, without later information.",
        {
            "skfusion": "EventStore EventWindows",
            "skfusion.ehr": "EventGrid Demographics has_demographics "
            "cases_from_stays with_events domain_modalities DOMAINS FURTHER_DOMAINS "
            "prepare_modalities windows_grid parse_feature readable_names LeakageAudit",
        },
    ),
    Section(
        "Hospital formats",
        "Exports of hospital databases to an event store.",
        {"skfusion.ehr": "read_omop read_fhir read_mimic read_meds"},
    ),
    Section(
        "Feature selection",
        "Selectors of features, as in studies of the review.",
        {"skfusion.feature_selection": "GiniSelector MRMRSelector GeneticSelector"},
    ),
    Section(
        "Comparison",
        "Strategies against each modality alone, with intervals, tests and a report.",
        {
            "skfusion": "compare_fusion",
            "skfusion.evaluation": "FusionComparison ComparisonPlots load_comparison "
            "ExternalValidation",
        },
    ),
    Section(
        "Guidelines and audit",
        "The guidelines of the review as code, before any model is fitted.",
        {
            "skfusion.evaluation": "advise Advice describe_cohort CohortDescription "
            "strategy_properties audit_cohort CohortAudit",
        },
    ),
    Section(
        "Modality importance",
        "What each modality contributes to predictions and to the score.",
        {
            "skfusion": "ModalityImportance explain_features explain_images",
            "skfusion.inspection": "ModalityExplanation ModalityScores ModalityReport "
            "FoldImportance ImageSaliency ModalityDisplay ModalityScoresDisplay "
            "FoldImportanceDisplay SaliencyDisplay",
        },
    ),
    Section(
        "Statistics: discrimination",
        "Estimates and tests of AUROCs and of other scores.",
        {
            "skfusion.evaluation": "auroc_interval cross_validated_auroc_interval "
            "estimate_aurocs AurocEstimates delong_test DeLongTest mcnemar_test "
            "McNemarTest patient_bootstrap BootstrapEstimate "
            "corrected_resampled_interval corrected_resampled_ttest ResampledTest "
            "Interval holm_adjust",
        },
    ),
    Section(
        "Statistics: equivalence and sample size",
        "Claims other than a difference, and how many patients they need.",
        {
            "skfusion.evaluation": "equivalence_test EquivalenceTest "
            "noninferiority_test NoninferiorityTest intersection_union "
            "minimum_detectable_difference "
            "patients_for_gain patients_for_model",
        },
    ),
    Section(
        "Statistics: calibration and net benefit",
        "Agreement of probabilities with outcomes, and what decisions gain by them.",
        {
            "skfusion.evaluation": "calibration_summary CalibrationSummary "
            "CalibrationEstimate calibration_curve_data CalibrationCurve brier_scores "
            "brier_decomposition BrierDecomposition net_benefit NetBenefit "
            "net_benefit_difference NetBenefitDifference",
        },
    ),
    Section(
        "Statistics: survival",
        "Discrimination and calibration of survival curves under censoring.",
        {
            "skfusion.evaluation": "censored_concordance integrated_brier_score "
            "calibration_at_time CalibrationAtTime d_calibration DCalibration "
            "SurvivalCalibrationDisplay",
        },
    ),
    Section(
        "Cohorts",
        "Cases with an index time and an outcome, and the images that were available.",
        {
            "skfusion.cohorts": "make_cases scan_images read_mimic_cxr "
            "read_omop_images read_fhir_images link_images link_report LinkReport "
            "flow_chart FlowChart",
        },
    ),
    Section(
        "Models in files",
        "Models saved without pickle, inspected and loaded elsewhere.",
        {
            "skfusion.persistence": "save load inspect_model ModelDescription "
            "ModelFileError UntrustedTypesError",
        },
    ),
    Section(
        "Several processes and machines",
        "Embedding and transforming by parts, on the workers of Dask or one by one.",
        {"skfusion.distributed": "embed embed_part EmbeddingRun transform"},
    ),
    Section(
        "Data sets and literature",
        "Real and made cohorts, and the studies of the review as a table.",
        {
            "skfusion.datasets": "load_lidc_nodules load_pad_ufes_20 "
            "make_fusion_cohort make_multimodal_cohort drop_modality studies_frame "
            "Study Fact REVIEWED_STUDIES",
        },
    ),
    Section(
        "Own estimators, and warnings",
        "Checks for fusions that you write, and the categories of all warnings.",
        {
            "skfusion.testing": "check_fusion_estimator fusion_checks_generator "
            "parametrize_with_fusion_checks",
            "skfusion.exceptions": "DataWarning LostImagesWarning FallbackWarning "
            "LeakageWarning",
        },
    ),
)

#: Packages whose exports are the public names, without repetitions.
FACES = tuple(dict.fromkeys(face for section in SECTIONS for face in section.names))
