"""
Choose a CT window
==================

Which part of the Hounsfield scale should a network see?
"""

# %%
# A drawn slice of the chest, with air, lung, a nodule, soft tissue, an artery with
# contrast and bone.

import matplotlib.pyplot as plt
import numpy as np

from skfusion import read_image

rng = np.random.default_rng(0)
y, x = np.mgrid[-1:1:200j, -1:1:200j]
ct = np.full((200, 200), -1000.0)
ct[(x / 0.95) ** 2 + (y / 0.7) ** 2 < 1] = 40
for side in (-0.45, 0.45):
    ct[((x - side) / 0.34) ** 2 + (y / 0.52) ** 2 < 1] = -850
ct[(x - 0.5) ** 2 + (y - 0.1) ** 2 < 0.004] = 20
ct[x**2 + (y + 0.15) ** 2 < 0.012] = 320
ct[x**2 + (y - 0.5) ** 2 < 0.02] = 700
ct = (ct + rng.normal(0, 15, ct.shape)).astype(np.int16)

# %%
# The default keeps the whole scale, equally for each scan. A window spends all grey
# levels on one question. ``saturated`` gives the shares of pixels below and above it.

images = {"default": read_image(ct, scaling="hounsfield")}
images |= {name: read_image(ct, window=name) for name in ("lung", "soft", "bone")}
for name, image in images.items():
    below, above = image.metadata["saturated"]
    print(f"{name}: {below:.0%} of the pixels are black, {above:.0%} white")

# %%
# The nodule shows in the lung window only, the artery in the soft-tissue window.

fig, axes = plt.subplots(1, 4, figsize=(8, 2.4), layout="constrained")
for ax, (name, image) in zip(axes, images.items(), strict=True):
    ax.imshow(image.array, cmap="gray", vmin=0, vmax=1)
    ax.set_title(name)
    ax.axis("off")
plt.show()
