"""Claim: an encoder of timm by name is as fast as timm's own loop over batches.

A ViT-S/14 of timm (extra ``timm``) with random weights embeds photographs at 224
pixels, read from PNG files. The rival opens the files with Pillow, applies timm's
evaluation transform, and runs the same network in batches of 32 under
``inference_mode``. The two take turns, so that a change of the machine's speed meets
both. Their vectors are compared. The ratio is the median time of ours by that of the
rival.

Run: python benchmarks/bench_timm_vit.py [--images 64] [--repeats 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from skfusion import ImageEmbedder
from skfusion.image.networks._torchvision import prepare_torchvision

prepare_torchvision()
GOAL = 1.05
NAME, SIZE, BATCH = "vit_small_patch14_dinov2", 224, 32


def save_images(folder: Path, n_images: int) -> list[str]:
    """Save colour images of 300 x 400 pixels with structure at several scales."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(n_images):
        coarse = rng.integers(0, 256, (15, 20, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((400, 300), Image.Resampling.BICUBIC)
        noise = rng.integers(-8, 9, (300, 400, 3))
        pixels = np.clip(np.asarray(image, np.int16) + noise, 0, 255).astype(np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path, compress_level=1)
        paths.append(str(path))
    return paths


def make_rival(network: torch.nn.Module):
    """Return timm's own way from paths to vectors, with the weights of a network."""
    import timm

    options = {"num_classes": 0, "img_size": SIZE}
    model = timm.create_model(NAME, pretrained=False, **options).eval()
    model.load_state_dict(network.state_dict())
    config = timm.data.resolve_model_data_config(model) | {
        "input_size": (3, SIZE, SIZE)
    }
    transform = timm.data.create_transform(**config, is_training=False)

    def embed(paths: list[str]) -> np.ndarray:
        found = []
        for start in range(0, len(paths), BATCH):
            images = [
                transform(Image.open(path).convert("RGB"))
                for path in paths[start : start + BATCH]
            ]
            with torch.inference_mode():
                found.append(model(torch.stack(images)).numpy())
        return np.concatenate(found)

    return embed


def main() -> int:
    """Measure, print and compare with the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    embedder = ImageEmbedder(f"timm:{NAME}", weights=None, input_size=SIZE, store=None)
    rival = make_rival(embedder.build().module)
    with tempfile.TemporaryDirectory() as folder:
        paths = save_images(Path(folder), given.images)
        ways = {"skfusion": embedder.fit(paths).transform, "timm": rival}
        vectors = {name: way(paths[:BATCH]) for name, way in ways.items()}  # warm up
        times: dict[str, list[float]] = {name: [] for name in ways}
        for repeat in range(given.repeats):
            order = list(ways) if repeat % 2 else list(ways)[::-1]
            for name in order:
                start = time.perf_counter()
                ways[name](paths)
                times[name].append(time.perf_counter() - start)
    difference = float(np.abs(vectors["skfusion"] - vectors["timm"]).max())
    for name, found in times.items():
        rate = given.images / statistics.median(found)
        print(f"{name}: {rate:.1f} images/s, runs {[round(t, 2) for t in found]}")
    print(f"largest difference of a feature: {difference:.1e}")
    ratio = statistics.median(times["skfusion"]) / statistics.median(times["timm"])
    print(f"timm_vit: ratio {ratio:.3f} (goal {GOAL})")
    return int(ratio > GOAL or difference > 1e-4)


if __name__ == "__main__":
    sys.exit(main())
