"""Claim: finding an embedding among 100,000 costs at most 0.5 % of computing it.

The store holds 100,000 embeddings of 512 numbers. What is timed is what a second search
does for every image: tell from the file's name whether it has changed, and fetch its
embedding, all in one call as `ImageEmbedder` does. Beside it, in turns, stands
computing the embedding of one image of 224 pixels by resnet18, decoded and resized
already. What it costs to hash files that are new to the store is printed as well. CPU
seconds on one thread; the store lies in a temporary folder.

Run: python benchmarks/bench_store.py [--entries 100000] [--files 1000]
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import skfusion
from skfusion import EmbeddingStore
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.inference import Network
from skfusion.store.tables import SETTLING_SECONDS

GOAL = 0.005
FILE_BYTES = 300_000  # of a JPEG of 1024 pixels
N_IMAGES = 8


def fill(store: EmbeddingStore, n_entries: int) -> None:
    """Put arrays under keys of the length that the embedder makes."""
    rng = np.random.default_rng(0)
    for start in range(0, n_entries, 5000):
        rows = rng.random((min(5000, n_entries - start), 512), dtype=np.float32)
        store.put_many(
            {f"{'f' * 64} auto {start + i:064d}": r for i, r in enumerate(rows)}
        )


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 thread")
    print(
        f"skfusion {skfusion.__version__}, sqlite {sqlite3.sqlite_version}, "
        f"torch {torch.__version__}"
    )
    backbone = build_backbone("resnet18", weights=None)
    example = backbone.preprocessing.example(2)
    network = Network(backbone.module, torch.device("cpu"), 4, example=example)
    pixels = torch.rand(N_IMAGES, 3, 224, 224)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddingStore(Path(folder, "store"))
        fill(store, arguments.entries)
        paths = []
        for number in range(arguments.files):
            path = Path(folder, f"{number}.jpg")
            path.write_bytes(rng.bytes(FILE_BYTES))
            paths.append(path)
        time.sleep(SETTLING_SECONDS)  # digests of files just written are not kept
        start = time.process_time()
        first = [store.digest_file(path) for path in paths]
        hashing = (time.process_time() - start) / len(paths)
        wanted = rng.choice(arguments.entries, len(paths), replace=False)
        keys = [f"{'f' * 64} auto {number:064d}" for number in wanted]
        found, computed = [], []
        for _ in range(arguments.repeats):
            start = time.process_time()
            again = [store.digest_file(path) for path in paths]
            arrays = store.get_many(keys)
            between = time.process_time()
            for batch in pixels.split(network.batch_size):
                network(batch)
            computed.append((time.process_time() - between) / N_IMAGES)
            found.append((between - start) / len(paths))
            assert again == first
            assert len(arrays) == len(keys)
        n_entries = store.info()["entries"]
    print(f"{n_entries} entries, {arguments.files} files of {FILE_BYTES} bytes")
    print(f"find     {1e6 * statistics.median(found):8.1f} CPU us an image")
    print(f"compute  {1e6 * statistics.median(computed):8.1f}")
    print(f"hash a new file {1e6 * hashing:.1f} (once)")
    pairs = zip(found, computed, strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"store: ratio {ratio:.4f} (goal {GOAL})")
    return 0 if ratio <= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
