"""Claim: a first prediction from stored embeddings costs little beside plain XGBoost.

A fitted early fusion of images and a record is unpickled in a new process and predicts
one row whose embedding is stored. The rival is a pipeline of scikit-learn and XGBoost,
fitted on the ready matrix, in a process of its own. Both are started in turns. The last
line is the ratio of the median CPU seconds of the processes, imports included. torch
and the learners of scikit-learn must not be imported. Modules are compiled before, as
they are by an installation.

Run: python benchmarks/bench_start.py [--repeats 7]
"""

from __future__ import annotations

import argparse
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBClassifier

import skfusion
from skfusion import EarlyFusionClassifier, ImageEmbedder, TabularEncoder

GOAL = 1.15
PREDICT = """
import os, pickle, sys
with open(sys.argv[1], "rb") as file:
    model, row = pickle.load(file)
model.predict_proba(row)
for name in ("torch", "sklearn.ensemble", "sklearn.linear_model"):
    assert name not in sys.modules, f"{name} was imported"
times = os.times()
print(times.user + times.system)
"""


def make_models(folder: Path) -> dict[str, Path]:
    """Fit and pickle both models with one row of their input."""
    rng = np.random.default_rng(0)
    paths = [str(folder / f"{i}.png") for i in range(40)]
    for path in paths:
        Image.fromarray(rng.integers(0, 255, (64, 64), dtype=np.uint8)).save(path)
    X = pd.DataFrame({"scan": paths, "age": rng.normal(size=40)})
    y = np.tile([0, 1], 20)
    embedder = ImageEmbedder(store=folder / "store")
    fusion = EarlyFusionClassifier(
        [("image", embedder, "scan"), ("ehr", TabularEncoder(), ["age"])]
    ).fit(X, y)
    names = [f"x{i}" for i in range(1_281)]
    ready = pd.DataFrame(rng.normal(size=(40, 1_281)), columns=names)
    plain = make_pipeline(StandardScaler(), XGBClassifier(n_jobs=1)).fit(ready, y)
    found = {}
    for name, pair in (("fusion", (fusion, X[:1])), ("plain", (plain, ready[:1]))):
        found[name] = folder / f"{name}.pkl"
        found[name].write_bytes(pickle.dumps(pair))
    return found


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(f"skfusion {skfusion.__version__}, pandas {pd.__version__}")
    taken: dict[str, list[float]] = {"fusion": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(Path(folder))
        compiled = {**os.environ, "PYTHONPYCACHEPREFIX": str(Path(folder) / "pyc")}
        compiled.pop("PYTHONDONTWRITEBYTECODE", None)
        for repeat in range(arguments.repeats + 1):
            for name, path in models.items():
                command = [sys.executable, "-c", PREDICT, str(path)]
                done = subprocess.run(
                    command, check=True, capture_output=True, env=compiled
                )
                if repeat:  # the first one compiles
                    taken[name].append(float(done.stdout))
    for name, values in taken.items():
        print(f"{name:7s} {statistics.median(values):.2f} CPU s")
    ratio = statistics.median(taken["fusion"]) / statistics.median(taken["plain"])
    print(f"start: ratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
