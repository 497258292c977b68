"""Claim: the DeLong covariance of eight models costs at most three sorts of each.

The structural components of DeLong are numbers of cases below each case, which one sort
gives. Timed interleaved, medians of several rounds, one thread:

- ours: `estimate_aurocs` for 8 scores of 200,000 cases: AUROCs and their covariance;
- the rival: `numpy.argsort` of the same 8 scores, and nothing else.

The scores of half of the models have ties. The AUROCs are compared with
`sklearn.metrics.roc_auc_score` before the timing.

Run: python benchmarks/bench_delong.py [--cases 200000] [--rounds 7]
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import sklearn
from sklearn.metrics import roc_auc_score

import skfusion
from skfusion.evaluation import estimate_aurocs

GOAL = 3.0
MODELS = 8


def cohort(n_cases: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an outcome and the scores of the models, every other with ties."""
    rng = np.random.default_rng(0)
    y = rng.random(n_cases) < 0.2
    scores = rng.normal(size=(MODELS, n_cases)) + y
    scores[1::2] = np.round(scores[1::2], 2)
    return y, scores


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}")
    print(
        f"skfusion {skfusion.__version__}, numpy {np.__version__}, scikit-learn "
        f"{sklearn.__version__}"
    )
    print(
        f"{arguments.cases} cases, {MODELS} models, medians of {arguments.rounds} "
        "interleaved rounds"
    )
    y, scores = cohort(arguments.cases)
    expected = [roc_auc_score(y, score) for score in scores]
    np.testing.assert_allclose(estimate_aurocs(y, scores).values, expected, atol=1e-12)

    def sorts() -> None:
        for score in scores:
            np.argsort(score)

    tasks: dict[str, Callable[[], object]] = {
        "estimate_aurocs": lambda: estimate_aurocs(y, scores),
        f"{MODELS} sorts": sorts,
    }
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for work in tasks.values():  # imports and caches
        work()
    for _ in range(arguments.rounds):
        for name, work in tasks.items():
            times[name].append(seconds(work))
    middle = {name: median(values) for name, values in times.items()}
    for name, spent in middle.items():
        print(f"{name:26s} {1000 * spent:7.1f} ms")
    ratio = middle["estimate_aurocs"] / middle[f"{MODELS} sorts"]
    print(f"delong: ratio {ratio:.2f} (goal {GOAL:g})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
