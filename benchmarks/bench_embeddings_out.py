"""Claim: a million embeddings go from the store to a file in at most 1 GB of memory.

Each embedding has 1,280 numbers, 5.1 GB in all. The images are arrays of 2 x 2 pixels,
all different, so that their embeddings are put into the store without a network, as
segments. `ImageEmbedder.transform(X, out=path)` then writes the file. Memory is the
anonymous one of the whole process (RssAnon). Beside the claim stand the times and the
bytes for a million images.

Run: python benchmarks/bench_embeddings_out.py [--images 1000000]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

import skfusion
from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.image.embedding.lookup import look_up

GOAL, WIDTH, PART = 1000, 1280, 20_000


def anonymous() -> float:
    """Return the anonymous memory of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith("RssAnon")) / 1024


class Peak(threading.Thread):
    """Largest memory while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.largest, self.ends = 0.0, threading.Event()

    def run(self) -> None:
        """Look every few milliseconds."""
        while not self.ends.wait(0.02):
            self.largest = max(self.largest, anonymous())


def image(number: int) -> np.ndarray:
    """Return an image that differs from all others."""
    return np.frombuffer(number.to_bytes(4, "little"), np.uint8).reshape(2, 2)


def write(folder: Path, n_images: int) -> None:
    """Put an embedding of each image into the store, and print the time and size."""
    store = EmbeddingStore(folder / "store", segments=True)
    embedder = ImageEmbedder(input_size=32, store=store).fit([image(0)])
    rng = np.random.default_rng(0)
    start = time.process_time()
    for first in range(0, n_images, PART):
        found = look_up(
            [image(n) for n in range(first, min(first + PART, n_images))],
            embedder.fingerprint_,
            store=store,
            reading=embedder.reading,
        )
        rows = rng.normal(size=(len(found.rows_of), WIDTH)).astype(np.float32)
        store.put_many(dict(zip(found.rows_of, rows, strict=True)))
    seconds = time.process_time() - start
    size = sum(path.stat().st_size for path in folder.rglob("*.segment"))
    print(f"written: {seconds:.0f} s, {size / 1e9:.2f} GB", flush=True)


def main() -> int:
    """Measure, print the claim, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--write", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(Path(options.write), options.images)
        return 0
    print(f"skfusion {skfusion.__version__}, {options.images:,} images")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own, whose memory is not counted.
        command = [sys.executable, __file__, "--write", name]
        subprocess.run([*command, "--images", str(options.images)], check=True)
        store = EmbeddingStore(folder / "store", segments=True)
        embedder = ImageEmbedder(input_size=32, store=store).fit([image(0)])
        cells = [image(number) for number in range(options.images)]
        before, peak = anonymous(), Peak()
        peak.start()
        start = time.process_time()
        values = embedder.transform(cells, out=folder / "vectors.npy")
        seconds = time.process_time() - start
        peak.ends.set()
        peak.join()
        assert np.isfinite(values[:: max(len(cells) // 1000, 1)]).all()
        print(f"read: {seconds:.0f} s, {values.nbytes / 1e9:.2f} GB")
        print(
            f"anonymous memory: {before:.0f} MB before, {peak.largest:.0f} MB at most"
        )
    print(f"embeddings_out: ratio {peak.largest / GOAL:.2f} (goal 1)")
    return int(peak.largest > GOAL)


if __name__ == "__main__":
    sys.exit(main())
