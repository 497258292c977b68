"""Claim: a warm search over images costs at most 3 times one on a ready matrix.

A search of 12 candidates in 5 folds over images and EHR columns, whose embeddings are
all in the store, so that every fit and prediction looks them up. The rival is the same
search of the same learner on the matrix of embeddings and EHR columns, made beforehand,
in turns, in CPU seconds of this process with one thread. Both find the same scores. The
last line is the ratio.

Run: python benchmarks/bench_lookup.py [--images 240] [--repeats 7]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sklearn
import torch
from bench_grid_search import CANDIDATES, early_fusion, learner, make_cohort
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from threadpoolctl import threadpool_limits

import skfusion
from skfusion.store.tables import SETTLING_SECONDS

GOAL = 3.0
SIZE = 224  # Pixels.


def search(model, parameter: str, X, y: np.ndarray, groups: np.ndarray):
    """Return the CPU seconds of a search, and its scores."""
    cv, how = StratifiedGroupKFold(5), {"scoring": "roc_auc", "n_jobs": 1}
    found = GridSearchCV(model, {parameter: CANDIDATES}, cv=cv, **how)
    start = time.process_time()
    found.fit(X, y, groups=groups)
    return time.process_time() - start, found.cv_results_["mean_test_score"]


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, 1 thread")
    print(f"skfusion {skfusion.__version__}, scikit-learn {sklearn.__version__}")
    warm, ready = [], []
    with tempfile.TemporaryDirectory() as name, threadpool_limits(1):
        X, y = make_cohort(arguments.images, Path(name))
        time.sleep(SETTLING_SECONDS)  # digests of files just written are not kept
        model = early_fusion(Path(name) / "store", SIZE).set_params(absence_copies=0)
        images = model.modalities[0][1]
        parts = images.fit_transform(X["scan"]), X[["age", "crp"]]
        matrix = np.hstack(parts).astype(np.float32)
        ours = model, "estimator__logisticregression__C"
        rival = learner(), "logisticregression__C"
        search(*ours, X, y, X["patient_id"])
        for _ in range(arguments.repeats):
            spent, scores = search(*ours, X, y, X["patient_id"])
            warm.append(spent)
            spent, wanted = search(*rival, matrix, y, X["patient_id"])
            ready.append(spent)
    same = np.abs(scores - wanted).max()
    print(f"warm search    {statistics.median(warm):8.3f} CPU s")
    print(f"ready matrix   {statistics.median(ready):8.3f}")
    print(f"largest difference of scores {same:.1e}")
    ratio = statistics.median(a / b for a, b in zip(warm, ready, strict=True))
    print(f"lookup: ratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio <= GOAL and same < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
