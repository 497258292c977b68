"""
What your scan becomes
======================

From the files of a scanner to the pixels that a network is shown: units, windows,
planes, and several images of one patient.
"""

# %%
# The scans
# ---------
# Two series of the folder that the environment variable ``SKFUSION_DATA`` names: a CT
# of the head with a tilted gantry, and a sagittal MR of the head. Without this folder,
# the page uses two single slices that pydicom ships.

import os
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from pydicom.data import get_testdata_file

from skfusion import ImageEmbedder, read_image
from skfusion.image import read_metadata

folder = Path(os.environ.get("SKFUSION_DATA", "."), "images", "dicom_series")
if folder.is_dir():
    ct, mr = folder / "ct_head_ge", folder / "mr_t1_sagittal_supine"
else:
    ct, mr = get_testdata_file("CT_small.dcm"), get_testdata_file("MR_small.dcm")
fields = ["modality", "rows", "columns", "n_frames", "slice_thickness", "spacing_x"]
read_metadata([ct, mr])[fields]

# %%
# The distances between the slices of the CT vary, which is reported once. The metadata
# contain the position of every slice, and resampling uses them.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    scan = read_image(ct)
for warning in caught:
    print(warning.message)
print("axes", scan.axes, "of", scan.array.shape, "in", scan.metadata["unit"])
print("steps in mm:", np.diff(scan.metadata.get("slice_positions", ())).round(1))

# %%
# Windows
# -------
# By default, the whole range of CT is kept and nothing is clipped. Soft tissue then
# covers a small part of it. Each question has its window. The share of pixels outside
# of the window is in the metadata.


def middle(image):
    """Return the plane in the middle of a volume, or the plane itself."""
    return image.array[len(image.array) // 2] if image.axes[0] == "Z" else image.array


warnings.simplefilter("ignore")  # the steps of the CT, which were reported above
figure, axes = plt.subplots(1, 4, figsize=(10, 3.1), layout="constrained")
for ax, window in zip(axes, (None, "brain", "bone", (40, 400)), strict=True):
    shown = read_image(ct, window=window)
    below, above = shown.metadata["saturated"]
    ax.imshow(middle(shown), cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"window={window!r}\n{below:.0%} below, {above:.0%} above", fontsize=9)
    ax.set_axis_off()
plt.show()

# %%
# Planes
# ------
# The planes are those of the acquisition, in radiological display, whatever the order
# of the files and the position of the patient. The sagittal planes of the MR run from
# left to right, with the head on top and the face to the left. The same scan as NIfTI
# has the same planes. NIfTI does not state that a scan is a CT: pass
# ``scaling="hounsfield"``.

volume = read_image(mr)
planes = volume.array if volume.axes[0] == "Z" else volume.array[None]
numbers = np.linspace(0, len(planes) - 1, 6).round().astype(int)
figure, axes = plt.subplots(1, 6, figsize=(10, 2.2), layout="constrained")
for ax, number in zip(axes, numbers, strict=True):
    ax.imshow(planes[number], cmap="gray", vmin=0, vmax=1)
    ax.set_title(f"plane {number}", fontsize=9)
    ax.set_axis_off()
plt.show()

# %%
# What the network is shown
# -------------------------
# `ImageEmbedder` selects slices evenly, and resizes each to the square that the weights
# expect. With ``voxel_size``, the volume is resampled to cubes before, at the positions
# of its slices. The vectors of the slices are pooled to one.

rows = {
    "CT, brain": (ct, ImageEmbedder(window="brain", n_slices=5, store=None)),
    "CT, brain, 3 mm": (
        ct,
        ImageEmbedder(window="brain", n_slices=5, voxel_size=3.0, store=None),
    ),
    "MR": (mr, ImageEmbedder(n_slices=5, store=None)),
}
if not folder.is_dir():
    del rows["CT, brain, 3 mm"]
preprocessing = ImageEmbedder(store=None).build().preprocessing
figure, axes = plt.subplots(
    len(rows), 5, figsize=(8, 1.75 * len(rows)), layout="constrained", squeeze=False
)
for line, (name, (cell, embedder)) in zip(axes, rows.items(), strict=True):
    inputs = embedder.reading.planes(cell)
    for ax in line:
        ax.set_axis_off()
    for ax, plane in zip(line, inputs, strict=False):
        ax.imshow(preprocessing.resize(plane)[0], cmap="gray", vmin=0, vmax=1)
    line[0].set_title(f"{name}: {len(inputs)} inputs", fontsize=9, loc="left")
plt.show()

# %%
# Several images of one patient
# -----------------------------
# A list in a cell is a bag. Each image is embedded, and the vectors are pooled. A cell
# without an image gives NaN, the sign for an absent modality.

embedder = ImageEmbedder(n_slices=4, bag_count=True, store=None)
one, both, nothing = embedder.fit_transform([[ct], [ct, mr], []])
print("images:", one[-1], both[-1], nothing[-1])
other = embedder.transform([[mr]])[0]
print("mean of both:", np.allclose(both[:-1], (one + other)[:-1] / 2, atol=1e-5))
