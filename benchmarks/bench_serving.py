"""Claim: one case costs little more than the decoding of its image and the network.

A saved model is loaded and predicts one row at a time, as a service does: early, late
and joint fusion of a photograph (a JPEG of 800 x 600 pixels) and 20 clinical columns,
with the default backbone at its own input size. With a new image, the bound is what
nobody can save: Pillow decodes and resizes it, and torch runs the same network. Without
one, the embedding is in the store, or the row has no image. Bound and models are timed
in turns on one thread.

The goals are a median of CPU seconds within 25 % of the bound with a new image, and
within 10 ms of nothing without one. The last lines are the greatest of each. Wall times
are printed beside them. They are longer where other programs use the processor. A
stored image costs joint fusion its trained layers, which are a part of the bound.

Run: python benchmarks/bench_serving.py [--requests 100]
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skfusion
from skfusion import (
    EarlyFusionClassifier,
    ImageEmbedder,
    JointFusionClassifier,
    LateFusionClassifier,
    TabularEncoder,
)

RATIO, MILLISECONDS = 1.25, 10.0
COLUMNS = [f"x{i}" for i in range(20)]
N_TRAIN = 24


def photograph(rng: np.random.Generator) -> bytes:
    """Return a JPEG that no store has seen."""
    coarse = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC)
    image.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def cohort(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Return rows with a photograph each, except for every fifth one."""
    X = pd.DataFrame(rng.normal(size=(n, len(COLUMNS))), columns=COLUMNS)
    X["photo"] = [photograph(rng) if i % 5 else None for i in range(n)]
    return X


def saved_and_loaded(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    """Return the models, as another process would load them."""
    X, y = cohort(rng, N_TRAIN), np.arange(N_TRAIN) % 2
    modalities = [
        ("photo", ImageEmbedder(store=folder / "store"), "photo"),
        ("ehr", TabularEncoder(), COLUMNS),
    ]
    learner = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    fitted = {
        "early": EarlyFusionClassifier(modalities, estimator=learner),
        "late": LateFusionClassifier(modalities, estimator=learner),
        "joint": JointFusionClassifier(modalities, max_epochs=1, random_state=0),
    }
    loaded = {}
    for name, model in fitted.items():
        skfusion.save(model.fit(X, y), folder / f"{name}.skfusion")
        loaded[name] = skfusion.load(
            folder / f"{name}.skfusion", store=folder / "store"
        )
    return loaded


def bound_of_an_image() -> Callable[[bytes], Any]:
    """Return what decodes an image, resizes it and runs the network, and no more."""
    backbone = ImageEmbedder().build()
    size = backbone.preprocessing.input_size
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (backbone.preprocessing.mean, backbone.preprocessing.std)
    )

    def run(content: bytes) -> Any:
        image = Image.open(io.BytesIO(content)).convert("RGB")
        image = image.resize((size, size), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
        with torch.inference_mode():
            batch = (pixels.float() / 255 - mean) / std
            return backbone.module(batch.to(memory_format=torch.channels_last))

    return run


def seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Return the CPU seconds and the wall seconds of a call."""
    start, begin = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - start, time.perf_counter() - begin


def measure(
    models: dict[str, Any], rng: np.random.Generator, n_requests: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Return the seconds of each request, by model and kind of row."""
    bound = bound_of_an_image()
    times: dict[tuple[str, str], list[tuple[float, float]]] = {}

    def note(key: tuple[str, str], call: Callable[[], Any]) -> None:
        times.setdefault(key, []).append(seconds(call))

    known = cohort(rng, 2).iloc[[1]]
    for model in models.values():
        model.predict_proba(known)
    for _ in range(n_requests):
        for name, model in models.items():
            row = cohort(rng, 2).iloc[[1]]  # each model gets its own, or it is stored
            content = row["photo"].iloc[0]
            note(("bound", "new image"), lambda c=content: bound(c))
            note((name, "new image"), lambda m=model, r=row: m.predict_proba(r))
            note((name, "stored image"), lambda m=model: m.predict_proba(known))
            blind = known.assign(photo=None)
            note((name, "no image"), lambda m=model, r=blind: m.predict_proba(r))
    return times


def main() -> int:
    """Print percentiles, and return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        models = saved_and_loaded(Path(folder), rng)
        times = measure(models, rng, arguments.requests)
    print(f"{'':24}{'CPU ms':^20}{'wall ms':^20}")
    print(f"{'model':8}{'row':16}" + f"{'p50':>10}{'p99':>10}" * 2)
    medians = {}
    for (name, kind), values in times.items():
        middle, last = 1000 * np.quantile(values, [0.5, 0.99], axis=0)
        medians[name, kind] = float(middle[0])
        numbers = (middle[0], last[0], middle[1], last[1])
        print(f"{name:8}{kind:16}" + "".join(f"{n:10.1f}" for n in numbers))
    bound = medians["bound", "new image"]
    ratio = max(medians[name, "new image"] for name in models) / bound
    kinds = ("stored image", "no image")
    rest = max(medians[name, kind] for name in models for kind in kinds)
    print(f"new image, greatest ratio to the bound: {ratio:.2f} (goal {RATIO})")
    print(f"no new image, greatest median: {rest:.1f} ms (goal {MILLISECONDS:.0f})")
    return int(ratio > RATIO or rest > MILLISECONDS)


if __name__ == "__main__":
    sys.exit(main())
