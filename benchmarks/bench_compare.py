"""Claim: a comparison costs a fifth of separate cross-validations of the same models.

Early and late fusion of photos and clinical columns (PAD-UFES-20), each with its single
modalities in the same learner, on the same patients and with the same repetitions.
Timed in turns in CPU seconds on one thread:

- ours: `compare_fusion` from an empty store, which embeds each photo once and takes the
  single modalities of late fusion from its fits;
- plain: one `cross_validate` of scikit-learn for each model and repetition, of a
  pipeline of `ColumnTransformer` and learner. It embeds the photos in each fit.

With ``--joint``, joint fusion and its single modalities are compared too, with a frozen
trunk, and the goal is 2. The plain side is the same network without a store, which
still runs the trunk once per photo and fit. The ratio grows with the share of photos
and with the repetitions. The default is a subset of the photos and two repetitions.

The photos are read from ``pad_ufes_20_subset`` of SKFUSION_DATA. Without it, nothing is
measured.

Run: python benchmarks/bench_compare.py [--rows 100] [--repeats 2] [--joint]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils import Bunch

import skfusion
from skfusion import (
    EarlyFusionClassifier,
    EmbeddingStore,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
    compare_fusion,
)
from skfusion.datasets import load_pad_ufes_20
from skfusion.fusion.inner_estimators import default_learner, default_member

GOAL, GOAL_WITH_JOINT = 5.0, 2.0
SCORES = ["roc_auc", "average_precision", "neg_brier_score"]
EPOCHS = 10
Parts = list[tuple[str, Any, Any]]


def parts_of(cohort: Bunch, store: Any) -> Parts:
    """Return the modalities, with embeddings that are kept in a store or nowhere."""
    return [
        ("image", ImageEmbedder(store=store), list(cohort.image_columns)),
        ("ehr", TabularEncoder(), list(cohort.ehr_columns)),
    ]


def joint_fusion(parts: Parts) -> JointFusionClassifier:
    """Return joint fusion with a frozen trunk."""
    return JointFusionClassifier(parts, max_epochs=EPOCHS, random_state=0)


def ours(
    cohort: Bunch, folder: str, n_folds: int, n_repeats: int, joint: bool
) -> dict[str, float]:
    """Compare the fusions from an empty store and return the AUROC of each arm."""
    parts = parts_of(cohort, EmbeddingStore(folder))
    # Rows that are repeated without a modality are no part of the plain pipelines.
    early = EarlyFusionClassifier(parts, absence_copies=0, random_state=0)
    models: dict[str, Any] = {
        "early": early,
        "late": LateFusionClassifier(parts, random_state=0),
    }
    if joint:
        models["joint"] = joint_fusion(parts)
    result = compare_fusion(
        models,
        cohort.data,
        cohort.target,
        groups=cohort.groups,
        cv=n_folds,
        n_repeats=n_repeats,
        random_state=0,
    )
    table = result.scores_[result.scores_["metric"] == "roc_auc"]
    return dict(zip(table["strategy"], table["estimate"], strict=True))


def plain_models(cohort: Bunch, joint: bool) -> dict[str, Any]:
    """Return the arms as plain pipelines."""
    parts = parts_of(cohort, None)

    def pipeline(chosen: Parts, learner: Any) -> Pipeline:
        return Pipeline([("features", ColumnTransformer(chosen)), ("learner", learner)])

    boosting = default_learner("classes").set_params(random_state=0)
    members = [(part[0], pipeline([part], default_member("classes"))) for part in parts]
    models: dict[str, Any] = {
        "early": pipeline(parts, boosting),
        "late": VotingClassifier(members, voting="soft"),
    }
    for part, (name, member) in zip(parts, members, strict=True):
        models[f"{name} in early"] = pipeline([part], boosting)
        models[f"{name} in late"] = member
    if joint:
        models["joint"] = joint_fusion(parts)
        for part in parts:
            models[f"{part[0]} in joint"] = joint_fusion([part])
    return models


def plain(cohort: Bunch, n_folds: int, n_repeats: int, joint: bool) -> dict[str, float]:
    """Cross-validate each model by itself and return its AUROC."""
    found = {}
    for name, model in plain_models(cohort, joint).items():
        scores = [
            cross_validate(
                model,
                cohort.data,
                cohort.target,
                groups=cohort.groups,
                cv=StratifiedGroupKFold(n_folds, shuffle=True, random_state=repeat),
                scoring=SCORES,
            )["test_roc_auc"]
            for repeat in range(n_repeats)
        ]
        found[name] = float(np.mean(scores))
    return found


def subset(cohort: Bunch, n_rows: int) -> Bunch:
    """Return the photos of randomly drawn patients."""
    rng = np.random.default_rng(0)
    patients = rng.permutation(np.unique(cohort.groups))
    order = pd.Series(np.arange(len(patients)), index=patients)
    rows = np.sort(np.argsort(order[cohort.groups].to_numpy(), kind="stable")[:n_rows])
    return Bunch(
        data=cohort.data.iloc[rows].reset_index(drop=True),
        target=np.asarray(cohort.target)[rows],
        groups=np.asarray(cohort.groups)[rows],
        image_columns=cohort.image_columns,
        ehr_columns=cohort.ehr_columns,
    )


def timed(work: Callable[[], dict[str, float]]) -> tuple[float, dict[str, float]]:
    """Measure a call in CPU seconds."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--joint", action="store_true")
    arguments = parser.parse_args()
    data = Path(os.environ.get("SKFUSION_DATA", "")) / "pad_ufes_20_subset"
    if "SKFUSION_DATA" not in os.environ or not data.is_dir():
        print("skipped: SKFUSION_DATA has no pad_ufes_20_subset")
        return 0
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, scikit-learn {sklearn.__version__}")
    cohort = subset(load_pad_ufes_20(data), arguments.rows)
    settings = (arguments.folds, arguments.repeats, arguments.joint)
    print(
        f"{len(cohort.target)} photos of {len(np.unique(cohort.groups))} patients, "
        f"{arguments.repeats} x {arguments.folds} folds, CPU seconds of "
        f"{arguments.rounds} round(s) in turns",
        flush=True,
    )
    warnings.simplefilter("ignore", UserWarning)  # small folds
    ImageEmbedder(store=None).fit_transform(cohort.data[cohort.image_columns][:2])
    seconds: dict[str, list[float]] = {"compare_fusion": [], "cross_validate": []}
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as folder:
            spent, scores = timed(lambda f=folder: ours(cohort, f, *settings))
        seconds["compare_fusion"].append(spent)
        spent, others = timed(lambda: plain(cohort, *settings))
        seconds["cross_validate"].append(spent)
    for name, score in scores.items():
        print(f"{name:16s} AUROC {score:.3f}, plain {others[name]:.3f}")
    middle = {name: median(values) for name, values in seconds.items()}
    for name, value in middle.items():
        print(f"{name:16s} {value:8.1f} s")
    ratio = middle["cross_validate"] / middle["compare_fusion"]
    goal = GOAL_WITH_JOINT if arguments.joint else GOAL
    print(f"compare: ratio {ratio:.1f} (goal {goal:.0f})")
    return 0 if ratio >= goal else 1


if __name__ == "__main__":
    sys.exit(main())
