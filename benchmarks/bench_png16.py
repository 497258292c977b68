"""Claim: reading a PNG of 16 bits costs at most 1.15 times Pillow and numpy.

Grey images of 1024 x 1024 pixels with 16 bits become float32 on [0, 1] between their
own least and greatest value: by `skfusion.image.read_image`, and by Pillow's decoder
with numpy's subtraction and division. The values must agree within 1e-6. CPU seconds on
one thread, each file in turn by both.

Run: python benchmarks/bench_png16.py [--files 12] [--repeats 7]
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
from photographs import jpegs
from PIL import Image

import skfusion
from skfusion.image import read_image

GOAL = 1.15
SIDE = 1024


def write_files(folder: Path, n_files: int) -> tuple[list[Path], str]:
    """Write the photographs in grey with 16 bits, with noise in the lower ones."""
    rng = np.random.default_rng(0)
    photographs, said = jpegs(folder, n_files, SIDE)
    paths = []
    for photograph in photographs:
        grey = np.asarray(Image.open(photograph).convert("L")).astype(np.uint16)
        deep = 200 * grey + rng.integers(0, 200, grey.shape, dtype=np.uint16)
        paths.append(photograph.with_suffix(".png"))
        Image.fromarray(deep).save(paths[-1])
    return paths, said.replace("JPEGs", "PNGs of 16 bits")


def by_pillow(path: Path) -> np.ndarray:
    """Decode and scale as most code does."""
    with Image.open(path) as image:
        values = np.asarray(image).astype(np.float32)
    low, high = values.min(), values.max()
    values -= low
    values /= high - low
    return values


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 thread")
    print(f"skfusion {skfusion.__version__}, Pillow {PIL.__version__}")
    seconds: dict[str, list[float]] = {"ours": [], "Pillow": []}
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        paths, said = write_files(Path(folder), arguments.files)
        print(said)
        for repeat in range(arguments.repeats + 1):  # the first one warms up
            spent = dict.fromkeys(seconds, 0.0)
            for path in paths:
                start = time.process_time()
                ours = read_image(path).array
                between = time.process_time()
                theirs = by_pillow(path)
                spent["ours"] += between - start
                spent["Pillow"] += time.process_time() - between
                worst = max(worst, float(np.abs(ours - theirs).max()))
            if repeat:
                for name, value in spent.items():
                    seconds[name].append(value / len(paths))
    for name, values in seconds.items():
        print(f"{name:7s} {1000 * statistics.median(values):6.2f} CPU ms an image")
    print(f"greatest difference: {worst:.1e}")
    pairs = zip(seconds["ours"], seconds["Pillow"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"png16: ratio {ratio:.2f} (goal {GOAL})")
    return 0 if ratio <= GOAL and worst < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
