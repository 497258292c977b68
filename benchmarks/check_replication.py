"""Check: what helps in one half of the patients has the same sign in the other half.

LIDC and PAD-UFES-20 are halved by patient at random, and both halves are compared by
repeated folds. Of the fusions that "help" in one half, the share is reported whose
difference from the same reference is positive in the other half. The goal is 95 %.

The image is represented by its 20 first principal components of the default embedding,
computed once over all rows and without outcomes. The learners are those of
`check_comparison`: ridge logistic regression for early fusion, linear discriminants for
late fusion.

PAD-UFES-20 is read from ``pad_ufes_20_subset`` of SKFUSION_DATA, and left out, with a
word, without it.

Run: python benchmarks/check_replication.py [--halves 200] [--repeats 10]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from check_comparison import Outcome, early, judged, late
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Bunch

from skfusion import ImageEmbedder, TabularEncoder
from skfusion.datasets import load_lidc_nodules, load_pad_ufes_20

GOAL = 0.95
N_COMPONENTS = 20


def cohorts() -> dict[str, Bunch]:
    """Load the cohorts that are there."""
    found = {"LIDC": load_lidc_nodules()}
    folder = Path(os.environ.get("SKFUSION_DATA", "")) / "pad_ufes_20_subset"
    if "SKFUSION_DATA" in os.environ and folder.is_dir():
        found["PAD-UFES-20"] = load_pad_ufes_20(folder)
    else:
        print("PAD-UFES-20 is left out: SKFUSION_DATA has no pad_ufes_20_subset")
    return found


def columns_of(cohort: Bunch) -> dict[str, np.ndarray]:
    """Return standardised columns of both modalities."""
    images = ImageEmbedder().fit_transform(cohort.data[cohort.image_columns])
    reduced = PCA(N_COMPONENTS, random_state=0).fit_transform(np.asarray(images))
    table = TabularEncoder().fit_transform(cohort.data[cohort.ehr_columns])
    record = np.nan_to_num(StandardScaler().fit_transform(np.asarray(table, float)))
    varies = record.std(axis=0) > 0
    return {"image": reduced / reduced.std(axis=0), "record": record[:, varies]}


def compare_half(
    blocks: Mapping[str, np.ndarray],
    y: np.ndarray,
    groups: np.ndarray,
    rows: np.ndarray,
    seed: int,
    n_repeats: int,
) -> Outcome:
    """Compare early and late fusion in a part of the rows."""
    # A constant column has no linear discriminant.
    half = {
        name: block[rows][:, block[rows].std(axis=0) > 0.02]
        for name, block in blocks.items()
    }
    arms = [*early(("record", "image")), *late(("record", "image"))]
    _, numbers = np.unique(groups[rows], return_inverse=True)
    return judged(arms, half, y[rows], numbers, seed, n_repeats=n_repeats)


def replicate(cohort: Bunch, n_halves: int, n_repeats: int) -> tuple[int, int, int]:
    """Return how many fusions were judged, helped, and were above in the other half."""
    blocks, y = columns_of(cohort), np.asarray(cohort.target)
    groups = np.asarray(cohort.groups)
    patients = np.unique(groups)
    n_judged = n_helps = n_confirmed = 0
    for seed in range(n_halves):
        drawn = np.random.default_rng(seed).permutation(patients)[: len(patients) // 2]
        inside = np.isin(groups, drawn)
        halves = [
            compare_half(blocks, y, groups, np.flatnonzero(rows), seed, n_repeats)
            for rows in (inside, ~inside)
        ]
        for half, other in (halves, halves[::-1]):
            for row in half.tests.to_dict("records"):
                n_judged += 1
                if row["outcome"] == "helps":
                    key = (row["strategy"], row["reference"], "roc_auc")
                    n_helps += 1
                    n_confirmed += other.contrasts[key].estimate > 0
    return n_judged, n_helps, n_confirmed


def main() -> int:
    """Print the shares, and return 1 if one is below the goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--halves", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    print(
        f"{arguments.halves} random halves by patient, {arguments.repeats} x 5 folds",
        flush=True,
    )
    shares = []
    for name, cohort in cohorts().items():
        start = time.process_time()
        n_judged, n_helps, n_confirmed = replicate(
            cohort, arguments.halves, arguments.repeats
        )
        seconds = time.process_time() - start
        shares.append(n_confirmed / n_helps if n_helps else 1.0)
        print(
            f"{name}: {n_helps} of {n_judged} judgements were 'helps', "
            f"{n_confirmed} of these ({shares[-1]:.1%}) had a positive difference in "
            f"the other half ({seconds:.0f} CPU seconds)",
            flush=True,
        )
    print(f"check_replication: least share {min(shares):.3f} (goal {GOAL})")
    return int(min(shares) < GOAL)


if __name__ == "__main__":
    sys.exit(main())
