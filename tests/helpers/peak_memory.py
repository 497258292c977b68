"""Peak memory of reading one image, in a process of its own.

Run as ``python peak_memory.py PATH SCALING``. It prints the bytes of the array that is
returned, and the memory above that of the idle process at its peak, in bytes.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from skfusion import read_image
from skfusion.image.reading.read import ReadOptions, read_bytes_image

PACKAGES = ("pydicom", "nibabel", "tifffile", "SimpleITK", "simplejpeg", "openjpeg")


def status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None
    for package in PACKAGES:  # their own memory is not that of reading
        try:
            __import__(package)
        except ImportError:
            continue
    read_image(np.zeros((9, 9), np.uint8))
    path, scaling = sys.argv[1:]
    before = status("VmRSS")
    if scaling == "bytes":
        options = ReadOptions(max_pixels=10**9)
        image = read_bytes_image(path, window=None, scaling="auto", options=options)
    else:
        image = read_image(path, scaling=scaling, max_pixels=10**9)
    print(image.array.nbytes, status("VmHWM") - before)
