"""Reading of damaged images in a process with limited memory.

Run as ``python fuzz_images.py SEED N_CASES``. It prints a JSON object with the counts,
the slowest case in CPU seconds, the peak memory in MB and the unexpected errors.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import skimage
import tifffile
from dicom_files import as_bytes, dataset, plane
from PIL import Image, features

from skfusion import read_image
from skfusion.image import read_metadata
from skfusion.image.reading.files import ImageReadError

ADDRESS_SPACE = 4 << 30
LARGEST_SEED = 600_000
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 4096, (12, 9)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)
VOXELS = RNG.integers(-9, 99, (3, 4, 5)).astype(np.int16)


def real_files() -> dict[str, bytes]:
    """Files that other packages ship, and those of SKFUSION_DATA."""
    folders = [
        Path(pydicom.__file__).parent / "data" / "test_files",
        Path(nibabel.__file__).parent / "nicom" / "tests" / "data",
        Path(nibabel.__file__).parent / "tests" / "data",
        Path(skimage.__file__).parent / "data",
    ]
    if os.environ.get("SKFUSION_DATA"):
        folders.append(Path(os.environ["SKFUSION_DATA"], "images", "dicom_series"))
    found = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.stat().st_size <= LARGEST_SEED:
                content = path.read_bytes()
                with warnings.catch_warnings(), contextlib.suppress(ImageReadError):
                    warnings.simplefilter("ignore")
                    read_image(content, volume_index=None)
                    found[str(path)] = content
    return found


def made_files() -> dict[str, bytes]:
    """Small files of every format and of the variants that have code of their own."""
    files = {
        "slice": as_bytes(plane(3, 1.0, WindowCenter=40, WindowWidth=400)),
        "film": as_bytes(dataset(np.zeros((2, 6, 7), np.uint8), "MONOCHROME1")),
        "NIfTI": nibabel.Nifti1Image(VOXELS, np.eye(4)).to_bytes(),
        "NIfTI-2": nibabel.Nifti2Image(VOXELS, np.eye(4)).to_bytes(),
        "MGH": nibabel.MGHImage(VOXELS, np.eye(4)).to_bytes(),
        "PGM": b"P5\n9 12\n4095\n" + GREY.astype(">u2").tobytes(),
    }
    for name in ("NIfTI", "MGH", "slice"):
        files[f"{name}.gz"] = gzip.compress(files[name])
    for name in ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000", "AVIF"):
        if name == "AVIF" and "avif" not in features.get_supported():
            continue
        file = io.BytesIO()
        Image.fromarray(COLOUR).save(file, name)
        files[name] = file.getvalue()
    file = io.BytesIO()
    Image.fromarray(GREY).save(file, "JPEG2000")
    files["JPEG2000 16"] = file.getvalue()
    for name, values, options in (
        ("16-bit colours", GREY[..., None].repeat(3, 2), {"photometric": "rgb"}),
        ("stack", VOXELS, {"compression": "zlib"}),
        ("ImageJ", VOXELS, {"imagej": True}),
        ("float64", GREY.astype(float), {}),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, values, **options)
        files[name] = file.getvalue()
    file = io.BytesIO()
    np.save(file, VOXELS)
    files["NPY"] = file.getvalue()
    return files | itk_files()


def itk_files() -> dict[str, bytes]:
    try:
        import SimpleITK as sitk
    except ImportError:
        return {}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.mha", "a.nrrd"):
            path = Path(folder, name)
            sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path), True)
            found[name] = path.read_bytes()
    return found


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


def peak_megabytes() -> float:
    """Return the largest memory of this process so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def fuzz(seed: int, n_cases: int) -> dict:
    """Read damaged files, and collect what is not as documented."""
    seeds = real_files() | made_files()
    names, rng = list(seeds), np.random.default_rng(seed)
    counts = {"read": 0, "refused": 0}
    slowest, unexpected = (0.0, ""), []
    for case in range(n_cases):
        name = names[int(rng.integers(len(names)))]
        content = damaged(seeds[name], rng)
        start = time.process_time()
        try:
            if case % 7 == 0:
                read_metadata(content)
            else:
                read_image(content, nan="min")
            counts["read"] += 1
        except ImageReadError:
            counts["refused"] += 1
        except Exception as error:
            unexpected.append(f"{Path(name).name} case {case}: {error!r}"[:300])
        slowest = max(slowest, (time.process_time() - start, Path(name).name))
    return counts | {
        "n_seeds": len(seeds),
        "slowest": slowest,
        "peak": peak_megabytes(),
        "unexpected": unexpected,
    }


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    warnings.simplefilter("ignore")
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]))))
