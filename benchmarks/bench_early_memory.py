"""Claim: early fusion holds its joined features once, in float32.

A cohort of 1,280 columns of float32, as embeddings have, and 8 of float64, in two
modalities without transformers. The learner does nothing, so that only what fusion
itself takes is measured: the peak of resident memory above that with the cohort in it,
each in a process of its own, relative to the float32 matrix of the cohort. With copies
of absent modalities, which make three rows of one, the limit is 3.5, without them 1.3,
and in a prediction 1.5. The rival stacks the same rows as with copies by hand. The last
line shows the greatest of the three, relative to its limit.

Run: python benchmarks/bench_early_memory.py [--rows 20000]
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from xgboost import XGBClassifier

import skfusion
from skfusion import EarlyFusionClassifier

WIDTH = 1_280
LIMITS = {"with copies": 3.5, "without copies": 1.3, "prediction": 1.5}


class Nothing(XGBClassifier):
    """Learner of float32 that only looks at its input."""

    classes_ = np.array([0, 1])

    def fit(self, X, y, sample_weight=None):
        """Check that the input is float32, and learn nothing."""
        if X.dtype != np.float32:
            raise TypeError(f"expected float32, got {X.dtype}")
        return self

    def predict_proba(self, X):
        """Return equal probabilities."""
        return np.full((len(X), 2), 0.5)


def status_mb(name: str) -> float:
    """Return a line of the memory of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1e3


def cohort(n_rows: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the cohort and a target."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((n_rows, WIDTH), dtype=np.float32)
    X = pd.DataFrame(wide, columns=[f"emb{i}" for i in range(WIDTH)], copy=False)
    ehr = rng.normal(size=(n_rows, 8))
    X[[f"lab{i}" for i in range(8)]] = ehr
    return X, rng.integers(0, 2, n_rows)


def run(what: str, n_rows: int) -> None:
    """Print how much memory a step takes, in units of the float32 matrix."""
    names = list(cohort(20)[0].columns)
    modalities = [
        ("image", "passthrough", names[:WIDTH]),
        ("ehr", "passthrough", names[WIDTH:]),
    ]
    copies = 1.0 if what == "with copies" else 0.0
    model = EarlyFusionClassifier(
        modalities, estimator=Nothing(), absence_copies=copies
    )
    model.fit(*cohort(20))  # what is loaded at a first fit is not counted
    model.predict_proba(cohort(20)[0])
    X, y = cohort(n_rows)
    before = status_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again
    if what == "rival":
        stacked = np.empty((3 * n_rows, X.shape[1]), dtype=np.float32)
        for part in range(3):
            stacked[part * n_rows : (part + 1) * n_rows] = X.to_numpy(np.float32)
    elif what == "prediction":
        model.predict_proba(X)
    else:
        model.fit(X, y)
    print((status_mb("VmHWM") - before) / (n_rows * WIDTH * 4 / 1e6))


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--run", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run(arguments.run, arguments.rows)
        return 0
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, {arguments.rows:,} rows")
    print(f"skfusion {skfusion.__version__}, pandas {pd.__version__}")
    found = {}
    for what in (*LIMITS, "rival"):
        command = [sys.executable, __file__, "--rows", str(arguments.rows), "--run"]
        done = subprocess.run([*command, what], check=True, capture_output=True)
        found[what] = float(done.stdout)
        print(f"{what:15s} {found[what]:6.2f} times the float32 matrix of the cohort")
    worst = max(found[what] / limit for what, limit in LIMITS.items())
    print(f"early_memory: ratio {worst:.2f} (goal 1.0)")
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
