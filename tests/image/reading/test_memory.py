"""A read takes at most six times the memory of the array that it returns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import as_bytes, dataset, plane
from PIL import Image

CHILD = Path(__file__).parents[2] / "helpers" / "peak_memory.py"
FACTOR, OVERHEAD = 6, 100 * 2**20

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs the peak memory of Linux"
)


def plane_of(side: int) -> np.ndarray:
    down, across = np.indices((side, side), dtype=np.uint16)
    return (down + across) % 4096


def volume_of(depth: int) -> np.ndarray:
    values = (np.arange(512 * 512 * depth) % 3000 - 1000).astype(np.int16)
    return values.reshape(depth, 512, 512)


def png(path: Path, side: int, depth: int) -> None:
    Image.fromarray((plane_of(side) >> 4).astype("u1")).save(
        path, "PNG", compress_level=1
    )


def deep_png(path: Path, side: int, depth: int) -> None:
    Image.fromarray(plane_of(side)).save(path, "PNG", compress_level=1)


def colour_png(path: Path, side: int, depth: int) -> None:
    grey = (plane_of(side) >> 4).astype(np.uint8)
    Image.fromarray(np.dstack([grey] * 4)).save(path, "PNG", compress_level=1)


def jpeg(path: Path, side: int, depth: int) -> None:
    grey = (plane_of(side) >> 4).astype(np.uint8)
    Image.fromarray(np.dstack([grey] * 3)).save(path, "JPEG")


def deep_tiff(path: Path, side: int, depth: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    colours = np.dstack([plane_of(side)] * 3)
    tifffile.imwrite(path, colours, photometric="rgb", compression="zlib")


def stack_tiff(path: Path, side: int, depth: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    tifffile.imwrite(path, volume_of(depth), compression="zlib")


def jpeg_2000(path: Path, side: int, depth: int) -> None:
    Image.fromarray(plane_of(side)).save(path, "JPEG2000")


def pgm(path: Path, side: int, depth: int) -> None:
    head = f"P5 {side} {side} 65535\n".encode()
    path.write_bytes(head + plane_of(side).astype(">u2").tobytes())


def nifti(path: Path, side: int, depth: int) -> None:
    values = volume_of(depth).transpose(2, 1, 0)
    path.write_bytes(nibabel.Nifti1Image(values, np.diag([1, 1, 2, 1])).to_bytes())


def sagittal_nifti(path: Path, side: int, depth: int) -> None:
    """Doubles, stored along other axes than they are shown."""
    values = volume_of(depth).astype(np.float64)
    path.write_bytes(nibabel.Nifti1Image(values, np.diag([3, 1, 1, 1])).to_bytes())


def packed_mgh(path: Path, side: int, depth: int) -> None:
    image = nibabel.MGHImage(volume_of(depth).transpose(2, 1, 0), np.eye(4))
    nibabel.save(image, path.with_suffix(".mgz"))
    path.with_suffix(".mgz").rename(path)


def meta_image(path: Path, side: int, depth: int) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(volume_of(depth))
    sitk.WriteImage(image, str(path.with_suffix(".mha")), True)
    path.with_suffix(".mha").rename(path)


def npy(path: Path, side: int, depth: int) -> None:
    with open(path, "wb") as handle:
        np.save(handle, volume_of(depth))


def film(path: Path, side: int, depth: int) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1024, "PixelPaddingValue": 0}
    pixels = plane_of(side).astype(np.int16)
    path.write_bytes(as_bytes(dataset(pixels, **tags)))


def frames(path: Path, side: int, depth: int) -> None:
    made = dataset(volume_of(depth), RescaleSlope=2, RescaleIntercept=-1024)
    made.compress("1.2.840.10008.1.2.5")  # RLE
    path.write_bytes(as_bytes(made))


def series(path: Path, side: int, depth: int) -> None:
    path.mkdir()
    for number, pixels in enumerate(volume_of(depth)):
        made = plane(number, 1.5 * number, PixelPaddingValue=-1000)
        made.Rows = made.Columns = 512
        made.PixelData = pixels.tobytes()
        (path / f"{number}").write_bytes(as_bytes(made))


FORMATS = [
    *(png, deep_png, colour_png, jpeg, deep_tiff, stack_tiff, jpeg_2000, pgm, nifti),
    *(sagittal_nifti, packed_mgh, meta_image, npy, film, frames, series),
]


def check(write, path: Path, side: int, depth: int, scaling: str) -> None:
    write(path, side, depth)
    paths = [".", str(CHILD.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    found = subprocess.run(
        [sys.executable, CHILD, path, scaling],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert found.returncode == 0, found.stderr[-2000:]
    n_bytes, peak = map(int, found.stdout.split())
    assert n_bytes > 10**7
    assert peak <= FACTOR * n_bytes + OVERHEAD
    assert peak > n_bytes / 2  # otherwise something else was measured


@pytest.mark.slow
@pytest.mark.parametrize("write", [colour_png, sagittal_nifti])
def test_peak_memory(write, tmp_path):
    check(write, tmp_path / "x", 3000, 60, "auto")


@pytest.mark.slow
@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("scaling", ["auto", "zscore", "percentile", "bytes"])
def test_peak_memory_of_every_format(write, scaling, tmp_path):
    """At 100 megapixels, or 512 x 512 x 400 voxels."""
    check(write, tmp_path / "x", 10_000, 400, scaling)
