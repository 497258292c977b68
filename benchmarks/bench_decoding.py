"""Claim: decoding and resizing a JPEG is 2.2 times as fast as with Pillow.

Photographs of 1024 x 1024 pixels become tensors of 224 x 224 on [0, 1], by the reader
and the preprocessing of `ImageEmbedder`, and by Pillow (open, convert, resize with its
antialiased bilinear filter) with numpy's division. The pixels must agree within one
grey level. CPU seconds on one thread, each file in turn by both.

Run: python benchmarks/bench_decoding.py [--files 32] [--repeats 5]
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
import PIL
import torch
from photographs import jpegs
from PIL import Image

import skfusion
from skfusion.image.cells.volumes import Reading
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
)

GOAL = 2.2
SIZE = 224


def by_pillow(path: Path) -> np.ndarray:
    """Decode and resize as most code does; (3, 224, 224) in [0, 1]."""
    with Image.open(path) as image:
        small = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(small).transpose(2, 0, 1).astype(np.float32) / 255


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    reading = Reading()
    preprocessing = Preprocessing(SIZE, IMAGENET_MEAN, IMAGENET_STD)
    try:
        import simplejpeg

        decoder = f"simplejpeg {simplejpeg.__version__}"
    except ImportError:
        decoder = "no simplejpeg"
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 thread")
    print(
        f"skfusion {skfusion.__version__}, Pillow {PIL.__version__}, {decoder}, "
        f"torch {torch.__version__}"
    )
    seconds: dict[str, list[float]] = {"ours": [], "Pillow": []}
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        paths, said = jpegs(Path(folder), arguments.files, 1024)
        print(said)
        for repeat in range(arguments.repeats + 1):  # the first one warms up
            spent = dict.fromkeys(seconds, 0.0)
            for path in paths:
                start = time.process_time()
                ours = preprocessing.resize(reading.planes(path)[0]).numpy()
                between = time.process_time()
                theirs = by_pillow(path)
                spent["ours"] += between - start
                spent["Pillow"] += time.process_time() - between
                worst = max(worst, float(np.abs(ours - theirs).max() * 255))
            if repeat:
                for name, value in spent.items():
                    seconds[name].append(value / len(paths))
    for name, values in seconds.items():
        print(f"{name:7s} {1000 * statistics.median(values):6.2f} CPU ms an image")
    print(f"greatest difference: {worst:.2f} grey levels")
    pairs = zip(seconds["Pillow"], seconds["ours"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"decoding: ratio {ratio:.2f} (goal {GOAL:.1f})")
    return 0 if ratio >= GOAL and worst < 1.01 else 1


if __name__ == "__main__":
    sys.exit(main())
