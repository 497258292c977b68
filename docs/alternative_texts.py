"""Alternative texts of the pictures of the gallery, for readers who do not see them.

`conf.py` writes them into the pages, and stops the build at a picture without one. The
key is the name of the script, and the texts are in the order of its pictures.
"""

from __future__ import annotations

TEXTS = {
    "plot_0_tutorial": (
        "Outlines of six lung nodules, one positive and five negative",
        "Embeddings of the nodules in two dimensions: most positive ones lie "
        "apart from the dense group of negative ones",
        "Differences in AUROC with intervals: fusion minus the image is above 0, "
        "fusion minus the ratings is not clearly so",
        "Contributions to the AUROC with intervals: ratings 0.21, image 0.18",
    ),
    "plot_calibration": (
        "Observed share against predicted risk: the mean of the members is too "
        "cautious, and follows the diagonal after final calibration",
    ),
    "plot_compare_strategies": (
        "AUROCs of single modalities and fusions in two cohorts: equal fusions "
        "where the modalities are independent, early fusion best where they share "
        "a nuisance",
    ),
    "plot_contributions": (
        "Share of each modality in the predictions and its contribution to the "
        "AUROC, with intervals: the scan is first, then the laboratory, then the "
        "history",
        "Contribution of each modality in each case, by outcome: those of the "
        "scan vary most",
        "Triangle of the shares of three modalities in each case: most cases lie "
        "near the corner of the scan",
        "Matrix of contributions and interactions: large on the diagonal, near 0 below",
        "Waterfall of one case: the scan raises the log-odds by 10, the other "
        "modalities by less than 1",
        "Mean absolute contributions of two laboratory values: CRP 0.67, sodium 0.08",
        "A noisy scan with a bright corner, and the map of occlusion, which marks "
        "this corner",
    ),
    "plot_ct_window": (
        "The same slice of a drawn chest CT in the default window and those for "
        "lung, soft tissue and bone",
    ),
    "plot_enough_patients": (
        "AUROC on new patients rises with the patients in training: early and "
        "late fusion approach the optimum, the record alone stays low",
    ),
    "plot_find_leakage": (
        "Value of a careless feature against its time: for 58 of 60 patients the "
        "time is after the index time",
    ),
    "plot_is_it_real": (
        "Differences in AUROC between late fusion and each modality in a small "
        "cohort: both intervals include 0",
        "The same differences in a large cohort: both intervals are above 0",
    ),
    "plot_late_when": (
        "AUROC against the correlation of image and record: that of late fusion "
        "falls below that of early fusion",
    ),
    "plot_missing_modality": (
        "AUROC against the share of missing images: all three strategies fall "
        "from near the optimum of both modalities to that of the record",
    ),
    "plot_reading_images": (
        "A film converted to 8 bits is white, with stored values it is inverted, "
        "and read_image shows it as a radiologist would see it",
        "A drawn chest CT in three windows, with the share of saturated pixels",
    ),
    "plot_reviewed_studies": (
        "Timeline of 16 reviewed studies from 2017 to 2019 by strategy: ten "
        "early, four joint and three late fusions, one study in two of them",
    ),
    "plot_survival": (
        "Predicted survival over ten years of three patients with low, middle and "
        "high risk, with their observed times",
    ),
    "plot_what_a_scan_becomes": (
        "A slice of a CT of the head in four windows, with the shares of pixels "
        "below and above",
        "Six planes of an MR of the head, from one side to the other",
        "The five slices that a network receives from two CTs and an MR of the head",
    ),
    "plot_which_rule": (
        "AUROCs of five aggregation rules in three situations: no rule is best in "
        "all, and stacking is near the best in each",
    ),
    "plot_window_timeline": (
        "Samples of three patients over time: those in the window before the "
        "index time are used, one reported after it is not",
    ),
}
