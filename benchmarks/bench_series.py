"""Claim: a DICOM series is read in 0.6 times the time of bare pydicom.

A series of CT slices of 512 x 512 pixels of 16 bits with a rescale, each in its own
file, in the page cache. Timed in processor seconds, interleaved, medians of several
rounds; the memory is the peak of a fresh process above that before the read:

- ours: `read_image` of the folder, sorted, in Hounsfield units, scaled to [0, 1];
- by hand: `pydicom.dcmread` of every file, its `pixel_array` rescaled, sorted by
  position and stacked as float32.

The compressed series is JPEG-LS, whose decoding takes almost all of the time. NIfTI
files of the same volume are compared with `get_fdata(dtype=float32)` of nibabel.

Run: python benchmarks/bench_series.py [--slices 300] [--rounds 5]
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless

import skfusion
from skfusion import read_image

SIDE = 512
GOALS = {"uncompressed": 0.6, "compressed": 1.1, ".nii": 2.5, ".nii.gz": 1.1}
MOST_MEMORY = 1.2  # times the float32 volume


def written(folder: Path, n_slices: int, *, compress: bool) -> Path:
    """Write a series of CT slices and return its folder."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 60, (SIDE, SIDE)).astype(np.int16)
    down, across = np.indices((SIDE, SIDE))
    body = (np.hypot(down - 256, across - 256) < 180) * np.int16(1000)
    for number in range(n_slices):
        part = pydicom.Dataset()
        part.file_meta = FileMetaDataset()
        part.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        part.file_meta.MediaStorageSOPClassUID = part.SOPClassUID = CTImageStorage
        uid = f"1.2.3.{number + 1}"
        part.file_meta.MediaStorageSOPInstanceUID = part.SOPInstanceUID = uid
        part.SeriesInstanceUID, part.Modality = "1.2.3", "CT"
        part.Rows = part.Columns = SIDE
        part.SamplesPerPixel, part.PhotometricInterpretation = 1, "MONOCHROME2"
        part.BitsAllocated = part.BitsStored = 16
        part.HighBit, part.PixelRepresentation = 15, 1
        part.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        part.ImagePositionPatient = [-180, -180, 1.25 * number]
        part.PixelSpacing, part.SliceThickness = [0.7, 0.7], 1.25
        part.RescaleSlope, part.RescaleIntercept = 1, -1024
        part.InstanceNumber = n_slices - number
        part.PixelData = (body + np.roll(noise, number, axis=0)).tobytes()
        if compress:
            part.compress(JPEGLSLossless)
        part.save_as(folder / f"IM{number:04d}", enforce_file_format=True)
    return folder


def by_hand(folder: Path) -> np.ndarray:
    """Read a series as one would without a library around pydicom."""
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    slices.sort(key=lambda part: part.ImagePositionPatient[2])
    planes = [
        part.pixel_array * part.RescaleSlope + part.RescaleIntercept for part in slices
    ]
    return np.stack(planes).astype(np.float32)


def seconds(work: Callable[[], object]) -> float:
    """Time one call in processor seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ratio(ours: Callable[[], object], theirs: Callable[[], object], n: int) -> float:
    """Return the ratio of the medians of interleaved rounds, and print them."""
    ours(), theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(n)]
    mine, bare = (median(column) for column in zip(*times, strict=True))
    print(f"  {mine:.3f} s, by hand {bare:.3f} s: {mine / bare:.2f} times")
    return mine / bare


def peak(folder: Path) -> float:
    """Return the peak of memory of a read in a fresh process, in bytes."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(folder)],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def child(folder: str) -> None:
    """Print how much memory a read takes beyond that of the process before it."""
    first = sorted(Path(folder).iterdir())[0]
    read_image(first)  # imports what is needed
    before = peak_of_process()
    read_image(folder)
    print((peak_of_process() - before) * 1024)


def peak_of_process() -> int:
    """Return the peak of the memory of this process in kB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def niftis(folder: Path, n_slices: int, rounds: int) -> dict[str, float]:
    """Compare NIfTI files with nibabel; return the ratio by suffix."""
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 1000, (SIDE, SIDE, n_slices)).astype(np.int16)
    voxels[rng.random(voxels.shape) < 0.7] = -1000
    image = nibabel.Nifti1Image(voxels, np.diag([-0.7, -0.7, 1.25, 1]))
    found = {}
    for suffix in (".nii", ".nii.gz"):
        path = folder / f"volume{suffix}"
        nibabel.save(image, path)
        print(f"{suffix}, against get_fdata(dtype=float32):")
        found[suffix] = ratio(
            lambda path=path: read_image(path, scaling="none"),
            lambda path=path: nibabel.load(path).get_fdata(dtype=np.float32),
            rounds,
        )
    return found


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child")
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.child)
        return 0
    n_slices = arguments.slices
    print(f"{platform.processor() or platform.machine()}")
    print(f"skfusion {skfusion.__version__}, pydicom {pydicom.__version__}")
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind, n in (("uncompressed", n_slices), ("compressed", n_slices // 5)):
            folder = written(Path(name) / kind, n, compress=kind == "compressed")
            print(f"{kind}, {n} slices, against bare pydicom:")
            found[kind] = ratio(
                lambda folder=folder: read_image(folder),
                lambda folder=folder: by_hand(folder),
                arguments.rounds,
            )
        series = Path(name) / "uncompressed"
        gap = np.abs(read_image(series, scaling="none").array - by_hand(series)).max()
        memory = peak(series) / (4 * SIDE * SIDE * n_slices)
        found |= niftis(Path(name), max(1, n_slices // 3), arguments.rounds)
    for kind, most in GOALS.items():
        print(f"{kind}: ratio {found[kind]:.2f} (goal {most})")
    print(f"memory: {memory:.2f} times the volume (at most {MOST_MEMORY})")
    print(f"largest difference to pydicom: {gap:g}")
    kept = all(found[kind] <= most for kind, most in GOALS.items())
    return 0 if kept and memory <= MOST_MEMORY and gap == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
