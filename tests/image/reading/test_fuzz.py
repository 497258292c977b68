"""Damaged files of every format give an image or ImageReadError, nothing else."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from dicom_files import as_bytes, dataset, plane
from PIL import Image

from skfusion import read_image
from skfusion.image.reading.files import ImageReadError
from skfusion.image.reading.metadata import read_metadata

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)
DICOM = [
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_rle_2frame.dcm",
    "dicomdirtests/77654033/CR1/6154",
    "dicomdirtests/98892003/MR1/15820",
    "rtdose.dcm",
]


def seeds() -> dict[str, bytes]:
    """Real and made files, small ones."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    files = {name: (folder / name).read_bytes() for name in DICOM}
    files["slice"] = as_bytes(plane(3, 1.0, WindowCenter=40, WindowWidth=400))
    files["film"] = as_bytes(dataset(np.zeros((2, 6, 7), np.uint8), "MONOCHROME1"))
    for name in ("PNG", "JPEG", "TIFF", "WEBP", "BMP"):
        file = io.BytesIO()
        Image.fromarray(COLOUR).save(file, name)
        files[name] = file.getvalue()
    values = RNG.integers(-9, 99, (3, 4, 5)).astype(np.int16)
    files["NIfTI"] = nibabel.Nifti1Image(values, np.eye(4)).to_bytes()
    files["NIfTI-2"] = nibabel.Nifti2Image(values, np.eye(4)).to_bytes()
    files["NIfTI.gz"] = gzip.compress(files["NIfTI"])
    return files


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, repeat, drop or overwrite; the header more often than the rest."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        end = len(data) if rng.random() < 0.5 else min(len(data), 1500)
        at = int(rng.integers(0, max(end, 1)))
        length = int(rng.integers(1, 9))
        kind = rng.integers(6)
        if kind == 0:
            data[at : at + 1] = bytes([rng.integers(256)])
        elif kind == 1:
            data[at : at + length] = rng.bytes(length)
        elif kind == 2:
            data[at : at + length] = b"\xff" * length
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length]
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def fuzz(n_cases: int, seed: int) -> tuple[int, int]:
    """Read damaged files; count those that are read and those that are refused."""
    files, rng = list(seeds().values()), np.random.default_rng(seed)
    n_read = n_refused = 0
    for case in range(n_cases):
        content = damaged(files[case % len(files)], rng)
        read = read_metadata if case % 7 == 0 else read_image
        options = {} if read is read_metadata else {"max_pixels": 200_000}
        try:
            read(content, **options)
        except ImageReadError:
            n_refused += 1
        else:
            n_read += 1
    return n_read, n_refused


@pytest.mark.filterwarnings("ignore")  # of tags that the damage has hit
def test_damaged_files():
    n_read, n_refused = fuzz(600, seed=0)
    assert n_read > 100
    assert n_refused > 100


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_damaged_files(seed):
    n_read, n_refused = fuzz(6000, seed)
    assert n_read + n_refused == 6000
