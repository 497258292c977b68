"""JPEG files for the benchmarks of images: real photographs, enlarged."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images


def jpegs(folder: Path, n_files: int, side: int) -> tuple[list[Path], str]:
    """Write JPEGs of `side` pixels and quality 90; say what they show.

    The photographs of PAD-UFES-20 in SKFUSION_DATA, enlarged, else crops of the two
    photographs that come with scikit-learn: both have the detail of photographs and the
    size of clinical ones.
    """
    data = os.environ.get("SKFUSION_DATA")
    found = sorted(Path(data, "pad_ufes_20_subset", "images").glob("*")) if data else []
    if found:
        pictures = [Image.open(path).convert("RGB") for path in found[:n_files]]
        said = "photographs of PAD-UFES-20, enlarged"
    else:
        rng = np.random.default_rng(0)
        samples = [Image.fromarray(array) for array in load_sample_images().images]
        corners = rng.integers(0, 200, (n_files, 2))
        pictures = [
            samples[i % 2].crop((x, y, x + 220, y + 220))
            for i, (x, y) in enumerate(corners)
        ]
        said = "crops of scikit-learn's sample photographs, enlarged"
    paths = []
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.jpg"
        picture.resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
    return paths, f"{len(paths)} JPEGs of {side} x {side} pixels ({said})"
