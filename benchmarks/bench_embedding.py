"""Claim: embedding, decoding included, is 1.5 times as fast as the usual loop.

The usual loop opens a JPEG with Pillow, converts, resizes, normalises, and runs a
resnet18 of torchvision on it alone, under `torch.inference_mode`. Ours is
`ImageEmbedder` with the same weights and without a store. Beside the claim stands how
near the whole comes to its serial bound 1 / (1 / decoding + 1 / inference), and which
share of the processor's speed inference reaches. That speed is the best of a product of
matrices and of convolutions with kernels of 1 and 3 pixels, which can be twice as fast.
Random weights: time does not depend on them. CPU seconds on one thread, in turns; the
embeddings are compared on images that need no resizing, where both see the same pixels.

Run: python benchmarks/bench_embedding.py [--files 64] [--repeats 5]
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import jpegs
from PIL import Image
from torch import nn

import skfusion
from skfusion import ImageEmbedder
from skfusion.image.cells.volumes import Reading
from skfusion.image.networks.inference import Network

GOAL, BOUND = 1.5, 0.97
SIZE = 224


def usual_loop(paths: list[Path], net: nn.Module, preprocessing: Any) -> np.ndarray:
    """Embed one image after the other, as most code does."""
    mean, std = (
        torch.tensor(values)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    rows = []
    with torch.inference_mode():
        for path in paths:
            with Image.open(path) as image:
                small = image.convert("RGB").resize((SIZE, SIZE))
            pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255
            rows.append(net(((pixels - mean) / std)[None])[0].numpy())
    return np.stack(rows)


def timed(function: Callable[[], Any]) -> float:
    """Measure a call in CPU seconds."""
    start = time.process_time()
    function()
    return time.process_time() - start


def ceilings() -> dict[str, float]:
    """Return the best speed of products of matrices and of convolutions, in GFLOP/s."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    found = {"matmul": 2 * 1024**3 / min(timed(lambda: a @ b) for _ in range(10)) / 1e9}
    # As in the middle of a network, in the layout and the batches of inference.
    images = torch.rand(4, 256, 28, 28).to(memory_format=torch.channels_last)
    for size in (1, 3):
        layer = nn.Conv2d(256, 256, size, padding=size // 2, bias=False)
        layer = layer.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            spent = min(timed(lambda layer=layer: layer(images)) for _ in range(10))
        n_operations = 2 * 4 * 28 * 28 * 256 * 256 * size**2
        found[f"convolution of {size} x {size}"] = n_operations / spent / 1e9
    return found


def n_flops(net: nn.Module) -> float:
    """Multiplications and additions of one image, counted at the convolutions."""
    total = 0.0

    def count(module: Any, inputs: Any, output: Any) -> None:
        nonlocal total
        kernel = np.prod(module.kernel_size) * module.in_channels / module.groups
        total += 2 * kernel * output[0].numel()

    convolutions = [part for part in net.modules() if isinstance(part, nn.Conv2d)]
    handles = [part.register_forward_hook(count) for part in convolutions]
    with torch.inference_mode():
        net(torch.zeros(1, 3, SIZE, SIZE))
    for handle in handles:
        handle.remove()
    return total


def main() -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--backbone", default="resnet18")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    embedder = ImageEmbedder(
        arguments.backbone, weights=None, store=None, input_size=SIZE, device="cpu"
    ).fit(["x.jpg"])
    backbone = embedder.build()
    # as torchvision gives it, before it is laid out and folded
    net = copy.deepcopy(backbone.module).to(memory_format=torch.contiguous_format)
    example = backbone.preprocessing.example(2)
    network = Network(backbone.module, torch.device("cpu"), 32, example=example)
    print(f"{platform.machine()}, Python {platform.python_version()}, 1 thread")
    print(f"skfusion {skfusion.__version__}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        same, _ = jpegs(Path(folder), 4, SIZE)
        theirs = usual_loop(same, net, backbone.preprocessing)
        gap = np.linalg.norm(embedder.transform(same) - theirs) / np.linalg.norm(theirs)
        paths, said = jpegs(Path(folder), arguments.files, 1024)
        print(f"{said}, {arguments.backbone} at {SIZE} pixels")
        pixels = backbone.preprocessing([Reading().planes(p)[0] for p in paths])
        batches = pixels.split(network.batch_size)
        parts: dict[str, Callable[[], Any]] = {
            "usual loop": lambda: usual_loop(paths, net, backbone.preprocessing),
            "ours": lambda: embedder.transform(paths),
            "decoding": lambda: [
                backbone.preprocessing(Reading().planes(path)) for path in paths
            ],
            "inference": lambda: [network(batch) for batch in batches],
        }
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for repeat in range(arguments.repeats + 1):  # the first one warms up
            for name, function in parts.items():
                spent = timed(function) / len(paths)
                if repeat:
                    seconds[name].append(spent)
    rates = {name: 1 / statistics.median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        print(f"{name:10s} {rate:7.1f} images per CPU second")
    triples = zip(
        seconds["decoding"], seconds["inference"], seconds["ours"], strict=True
    )
    share = statistics.median((d + i) / o for d, i, o in triples)
    print(f"share of the serial bound: {share:.3f} (goal {BOUND})")
    speed = rates["inference"] * n_flops(backbone.module) / 1e9
    speeds = ceilings()
    print(", ".join(f"{name}: {value:.0f} GFLOP/s" for name, value in speeds.items()))
    best = max(speeds.values())
    print(f"inference: {speed:.0f} GFLOP/s, {speed / best:.0%} of the best of them")
    print(f"relative difference of embeddings: {gap:.1e}")
    pairs = zip(seconds["usual loop"], seconds["ours"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"embedding: ratio {ratio:.2f} (goal {GOAL:.1f})")
    return 0 if ratio >= GOAL and share >= BOUND and gap < 1e-4 else 1


if __name__ == "__main__":
    sys.exit(main())
