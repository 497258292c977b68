"""Claim: embedding on two workers of Dask has .9 of the gain of two bare processes.

Both embed the same JPEG files by `ImageEmbedder` (resnet18, random weights) into an
empty `EmbeddingStore` on this machine: `skfusion.distributed.embed` on a local cluster
of two workers, and two processes that each take every other file. All workers have one
thread, have imported everything and have built the network before the clock starts.
Wall-clock seconds, in turns; the gain is the time of one process over the time of two.
The vectors of both stores are compared.

Run: python benchmarks/bench_dask.py [--files 400] [--repeats 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from distributed import Client, LocalCluster
from photographs import jpegs

import skfusion
from skfusion import EmbeddingStore, ImageEmbedder
from skfusion.distributed import embed

GOAL = 0.9


def embedder(folder: Path) -> ImageEmbedder:
    """Return the embedder, with a store in a folder."""
    return ImageEmbedder("resnet18", weights=None, store=EmbeddingStore(folder))


def embed_all(paths: list[str], folder: Path) -> None:
    """Embed files in this process."""
    torch.set_num_threads(1)
    embedder(folder).fit_transform(paths)


def warm_up(paths: list[str], folder: Path) -> None:
    """Import everything and build the network."""
    embed_all(paths[:2], folder)
    time.sleep(0.5)  # so that the other process gets the other call


def main() -> int:
    """Measure, print the claim, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(
        f"skfusion {skfusion.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} CPUs"
    )
    seconds: dict[str, list[float]] = {"one": [], "bare": [], "dask": []}
    with (
        tempfile.TemporaryDirectory() as name,
        ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool,
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        root = Path(name)
        (root / "files").mkdir()
        files, said = jpegs(root / "files", options.files, 512)
        print(said)
        paths = [str(path) for path in files]
        warm_up(paths, root / "warm")
        list(pool.map(warm_up, [paths] * 2, [root / "warm0", root / "warm1"]))
        client.run(warm_up, paths, root / "warm2")
        for repeat in range(options.repeats):
            folders = {kind: root / f"{kind}{repeat}" for kind in seconds}
            start = time.perf_counter()
            embed_all(paths, folders["one"])
            seconds["one"].append(time.perf_counter() - start)
            start = time.perf_counter()
            list(pool.map(embed_all, [paths[::2], paths[1::2]], [folders["bare"]] * 2))
            seconds["bare"].append(time.perf_counter() - start)
            start = time.perf_counter()
            embed(embedder(folders["dask"]), paths, client, chunk_size=25)
            seconds["dask"].append(time.perf_counter() - start)
            print({kind: round(times[-1], 2) for kind, times in seconds.items()})
        values = [embedder(folder).fit_transform(paths) for folder in folders.values()]
        computed = EmbeddingStore(folders["dask"]).info()["computed"]
        assert computed == len(paths), computed
        for other in values[1:]:
            np.testing.assert_allclose(other, values[0], rtol=1e-4, atol=1e-4)
    gain = {
        kind: statistics.median(
            one / two for one, two in zip(seconds["one"], times, strict=True)
        )
        for kind, times in seconds.items()
    }
    print(f"gain of two bare processes {gain['bare']:.2f}, of Dask {gain['dask']:.2f}")
    ratio = gain["dask"] / gain["bare"]
    print(f"dask: ratio {ratio:.2f} (goal {GOAL})")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
