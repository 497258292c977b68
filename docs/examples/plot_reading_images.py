"""
What the reader does to a film
==============================

A film of the chest holds 12 bits, may be stored with small values for bright parts, and
is padded where the collimator was. Most code takes a picture with 8 bits for granted.
"""

# %%
# A made film: 4096 levels, stored as ``MONOCHROME1`` (small values are bright), with
# the window that the scanner proposes in its header.

import io

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from skfusion import read_image

rows, columns = np.mgrid[-1:1:256j, -1:1:256j]
lungs = sum(
    np.exp(-((((columns - side) / 0.3) ** 2 + (rows / 0.6) ** 2) ** 2))
    for side in (-0.42, 0.42)
)
ribs = 0.12 * lungs * (np.sin(18 * (rows + 0.5 * columns**2)) > 0.55)
nodule = 0.15 * np.exp(-(((columns - 0.45) / 0.06) ** 2 + ((rows + 0.3) / 0.06) ** 2))
exposure = 0.1 + 0.75 * lungs - ribs - nodule
noise = np.random.default_rng(0).normal(0, 0.01, exposure.shape)
stored = np.clip((exposure + noise) * 4095, 1, 4095).astype(np.uint16)
stored[:, :12] = 0  # what the collimator hides


def film(pixels):
    """Write pixels as a DICOM file, in memory."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = (
        DigitalXRayImageStorageForPresentation
    )
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    header.Modality, header.PhotometricInterpretation = "DX", "MONOCHROME1"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
    header.PixelPaddingValue = 0
    header.WindowCenter, header.WindowWidth = 1900, 3400
    header.PixelData = pixels.tobytes()
    header["PixelData"].VR = "OW"
    file = io.BytesIO()
    header.save_as(file, enforce_file_format=True)
    return file.getvalue()


content = film(stored)

# %%
# The usual conversion clips at 255. What is dark should be bright, and the padding is
# black and moves the scale.

clipped = np.asarray(Image.fromarray(stored).convert("L"))
image = read_image(content)
pictures = {
    "8 bits, as Pillow converts": clipped,
    "stored values, min to max": stored,
    "read_image": image.array,
}
figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
for ax, (title, picture) in zip(axes, pictures.items(), strict=True):
    ax.imshow(picture, cmap="gray")
    ax.set_title(f"{title}\n{np.unique(picture).size} levels", fontsize=10)
    ax.set_axis_off()
white = (clipped == 255).mean()
figure.suptitle(f"Pillow turns {white:.0%} of the film white")
plt.show()

# %%
# The metadata say what was done: the window, and which share of the pixels lies
# beyond it.

{key: image.metadata[key] for key in ("mode", "scaling", "limits", "saturated")}

# %%
# Windows of CT
# -------------
# CT is in Hounsfield units, and no window shows everything. By default the whole range
# is kept. A question needs its own window.

body = np.where(lungs > 0.45, -850.0, 40.0) + 120 * (nodule > 0.08)
body[(columns**2 + (rows - 0.75) ** 2) < 0.02] = 700  # the spine
body[np.hypot(columns, rows / 1.1) > 0.97] = -1000
ct = (body + np.random.default_rng(1).normal(0, 12, body.shape)).astype(np.int16)
figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
for ax, window in zip(axes, (None, "lung", "soft"), strict=True):
    found = read_image(ct, window=window)
    below, above = found.metadata["saturated"]
    ax.imshow(found.array, cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"window={window!r}\n{below + above:.0%} saturated", fontsize=10)
    ax.set_axis_off()
plt.show()
