"""Claim: embedding 20,000 images takes at most 150 MB beside its result.

20,000 PNG files of 32 x 32 pixels are embedded by resnet18 at 32 pixels, without a
store, with an empty one, and from the store. What is measured is the peak of resident
memory above that of the process once the network is built and has run on a first batch,
less the matrix of the embeddings. The rival is keeping all pixels that the network is
shown, as reading a cohort at once does.

Run: python benchmarks/bench_embedding_memory.py [--images 20000]
"""

from __future__ import annotations

import argparse
import platform
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import skfusion
from skfusion import ImageEmbedder

GOAL_MB = 150


def peak_mb() -> float:
    """Give the peak of resident memory so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 thread")
    print(f"skfusion {skfusion.__version__}, torch {torch.__version__}")
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in range(arguments.images):
            path = Path(folder, f"{number}.png")
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            paths.append(str(path))
        base = ImageEmbedder("resnet18", weights=None, input_size=32, store=None)
        base.fit(paths[:1]).transform(paths[:64])
        before = peak_mb()
        store = Path(folder, "store")
        ways = {"no store": None, "an empty store": store, "the full store": store}
        for way, place in ways.items():
            embedder = ImageEmbedder(
                "resnet18", weights=None, input_size=32, store=place
            ).fit(paths[:1])
            found = embedder.transform(paths)
            more = peak_mb() - before - found.nbytes / 1e6
            print(f"{len(found)} images with {way}: {more:.0f} MB beside the result")
            del found
    all_pixels = arguments.images * 3 * 32 * 32 * 4 / 1e6
    print(f"all pixels at once would take {all_pixels:.0f} MB")
    print(f"embedding_memory: ratio {more / GOAL_MB:.2f} (goal 1.00)")
    return 0 if more <= GOAL_MB else 1


if __name__ == "__main__":
    sys.exit(main())
