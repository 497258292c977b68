"""Claim: a scan of DICOM headers is as fast as a plain loop of pydicom, or faster.

The folder has made files, each with the header of a CT slice (some 100 elements) and
few pixels. In turns, `scan_images` and a loop of ``pydicom.dcmread(path,
stop_before_pixels=True)`` read all files in two processes. The loop reads no attribute
and makes no table. A scan with an index file, and one that is resumed from it, are
printed as well. Wall seconds, of which the best of the repeats counts.

Run: python benchmarks/bench_scan.py [--files 100000] [--processes 2] [--repeats 3]
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from joblib import Parallel, delayed
from pydicom.data import get_testdata_file

import skfusion
from skfusion.cohorts import scan_images

CHUNK = 500  # files, as in a scan
PLACE = "ID000000"  # of the number of a file in its header


def make_files(folder: Path, n_files: int) -> None:
    """Write files that differ in their patient and time only."""
    made = pydicom.dcmread(get_testdata_file("CT_small.dcm", read=False))
    made.PatientID = PLACE
    made.Rows = made.Columns = 8
    made.PixelData = np.zeros((8, 8), dtype=np.int16).tobytes()
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    for number in range(n_files):
        if number % 1000 == 0:
            place = folder / f"{number // 1000:04}"
            place.mkdir()
        changed = content.replace(PLACE.encode(), f"ID{number:06}".encode())
        (place / f"{number}.dcm").write_bytes(changed)


def read_plainly(paths: Sequence[str]) -> int:
    """Read the headers of some files with pydicom."""
    for path in paths:
        pydicom.dcmread(path, stop_before_pixels=True)
    return len(paths)


def plain_loop(folder: Path, n_jobs: int) -> int:
    """Read all headers with pydicom in several processes."""
    paths = [
        os.path.join(root, name)
        for root, _, names in sorted(os.walk(folder))
        for name in sorted(names)
    ]
    parts = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    return sum(Parallel(n_jobs=n_jobs)(delayed(read_plainly)(part) for part in parts))


def seconds_of(work: Callable[[], object]) -> float:
    """Return the wall seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    n_jobs = arguments.processes
    warnings.simplefilter("ignore")
    print(
        f"{platform.machine()}, Python {platform.python_version()}, {n_jobs} processes"
    )
    print(f"skfusion {skfusion.__version__}, pydicom {pydicom.__version__}")
    with tempfile.TemporaryDirectory() as temporary:
        folder, index = Path(temporary, "files"), Path(temporary, "index.jsonl")
        folder.mkdir()
        make_files(folder, arguments.files)
        plain_loop(folder, n_jobs)  # starts the processes, and fills the disk cache
        ours, plain = [], []
        for _ in range(arguments.repeats):
            ours.append(seconds_of(lambda: scan_images(folder, n_jobs=n_jobs)))
            plain.append(seconds_of(lambda: plain_loop(folder, n_jobs)))
        noted = seconds_of(lambda: scan_images(folder, n_jobs=n_jobs, index=index))
        again = seconds_of(lambda: scan_images(folder, n_jobs=n_jobs, index=index))
        size = index.stat().st_size / 1e6
    print(f"{arguments.files:,} files, best of {arguments.repeats}")
    print(f"scan_images            {min(ours):8.2f} s")
    print(f"plain loop of pydicom  {min(plain):8.2f} s")
    print(f"scan with an index     {noted:8.2f} s ({size:.0f} MB)")
    print(f"resumed from it        {again:8.2f} s")
    holds = min(ours) <= min(plain)
    print(f"scan / plain = {min(ours) / min(plain):.2f}")
    print("holds" if holds else "FAILS")
    return not holds


if __name__ == "__main__":
    sys.exit(main())
