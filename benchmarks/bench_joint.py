"""Claim: fine-tuning the last block of a CNN in joint fusion costs its last block only.

ResNet-18 on images of 224 pixels and two clinical columns; its last stage (``layer4``)
and the joint head are trained for 20 epochs. Timed in turns, from files to trained net:

- ours: `JointFusionClassifier`, from an empty store: the frozen trunk is run once per
  image, every epoch computes the rest;
- plain skorch: the same net with ``requires_grad=False`` on the frozen part, which is
  run for every image in every epoch.

Both begin with the same weights and the same state of torch's generator, and must end
with the same weights. By count of operations an epoch costs 2.1 times less. The ratio
is of CPU seconds on one thread (medians), which other work on the machine hardly
touches.

Run: python benchmarks/bench_joint.py [--images 64] [--size 224] [--epochs 20]
"""

from __future__ import annotations

import argparse
import copy
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skorch
import torch
from PIL import Image
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import Dataset
from skorch.helper import predefined_split
from torch import nn

import skfusion
from skfusion import ImageEmbedder, JointFusionClassifier, TabularEncoder, read_image
from skfusion.fusion import TrainingSettings
from skfusion.image.networks.backbones import build_backbone
from skfusion.image.networks.freezing.cut import split_backbone

GOAL = 2.1
BACKBONE = {"backbone": "resnet18", "weights": None}
TRAINABLE = ["layer4"]
Frozen = tuple[dict[str, Any], Any]  # the backbone and what of it is trained
RATES = {"lr": 1e-3, "encoder": 1e-4, "weight_decay": 1e-2}


class Start(Callback):
    """Keep the untrained network and the data of a fit, for the other way to begin."""

    def on_train_begin(self, net, X=None, **kwargs):
        """Copy what training begins with."""
        Start.network = copy.deepcopy(net.module_)
        Start.generator = torch.get_rng_state()
        Start.fitted, Start.held_out = X, net.get_split_datasets(X, None)[1]


class PlainNet(nn.Module):
    """The joint network with its frozen trunk inside."""

    def __init__(self, network: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(network)
        encoder = self.network.encoders["x_cxr"]
        encoder.backbone = nn.Sequential(copy.deepcopy(trunk), encoder.backbone)
        encoder.backbone[0].requires_grad_(False)

    def forward(self, cxr, ehr, present):
        """Return the log-odds of the classes."""
        return self.network({"cxr": cxr, "ehr": ehr}, present)


class Begin(Callback):
    """Put torch's generator where it was when our fit began to train."""

    def on_train_begin(self, net, **kwargs):
        """Restore its state."""
        torch.set_rng_state(Start.generator)


def make_cohort(n_images: int, folder: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Write grey JPEG files of 512 pixels with a bright disc; return the cohort."""
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], n_images // 2 + 1)[:n_images]
    rows, columns = np.mgrid[:512, :512]
    paths = []
    for i, label in enumerate(y):
        inside = np.hypot(rows - 256, columns - 256) < 60 + 40 * label
        pixels = rng.normal(80, 20, (512, 512)) + 90 * inside
        paths.append(str(folder / f"{i}.jpg"))
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(paths[-1])
    ehr = {"age": rng.normal(60, 10, n_images), "crp": rng.lognormal(1, 1, n_images)}
    return pd.DataFrame({"scan": paths, **ehr}), y


def ours(
    X: pd.DataFrame, y: np.ndarray, size: int, epochs: int, frozen: Frozen
) -> nn.Module:
    """Fit the joint estimator from an empty store."""
    parameters, trainable = frozen
    with tempfile.TemporaryDirectory() as store:
        embedder = ImageEmbedder(
            **parameters, input_size=size, trainable=trainable, store=store
        )
        model = JointFusionClassifier(
            [("cxr", embedder, "scan"), ("ehr", TabularEncoder(), ["age", "crp"])],
            max_epochs=epochs,
            training=TrainingSettings(
                patience=epochs,
                encoder_lr_factor=RATES["encoder"] / RATES["lr"],
                weight_decay=RATES["weight_decay"],
                callbacks=[("start", Start())],
            ),
            lr=RATES["lr"],
            random_state=0,
        )
        return model.fit(X, y).network_


def plain(
    X: pd.DataFrame, y: np.ndarray, size: int, epochs: int, frozen: Frozen
) -> nn.Module:
    """Train the same net on skorch, trunk and all, from where ours began."""
    parameters, trainable = frozen
    backbone = build_backbone(**parameters, input_size=size)
    trunk = split_backbone(backbone.module, trainable).trunk
    pixels = backbone.preprocessing([read_image(path) for path in X["scan"]]).numpy()
    # which rows ours held out, told by their clinical values; they are encoded alike
    parts = {}
    ages = (X["age"] - X["age"].mean()) / X["age"].std(ddof=0)
    for name, rows in (("fitted", Start.fitted), ("held out", Start.held_out)):
        ehr = rows.inputs.arrays["ehr"]
        order = np.abs(ages.to_numpy()[None] - ehr[:, :1]).argmin(axis=1)
        inputs = {"cxr": pixels[order], "ehr": ehr, "present": rows.inputs.presence}
        parts[name] = Dataset(inputs, y[order])
    plain_net = PlainNet(Start.network, trunk)
    rates = [("*.backbone.1.*", {"lr": RATES["encoder"]})]
    # Biases and norms do not decay. The first pattern that fits a name holds.
    for name, weights in reversed(list(plain_net.named_parameters())):
        if weights.ndim < 2:
            rate = RATES["encoder" if ".backbone.1." in name else "lr"]
            rates.insert(0, (name, {"lr": rate, "weight_decay": 0.0}))
    best = EarlyStopping(
        patience=epochs, load_best=True, threshold=0.0, threshold_mode="abs"
    )
    net = NeuralNet(
        plain_net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        optimizer__weight_decay=RATES["weight_decay"],
        optimizer__param_groups=rates,
        lr=RATES["lr"],
        max_epochs=epochs,
        batch_size=32,
        iterator_train__shuffle=True,
        train_split=predefined_split(parts["held out"]),
        callbacks=[Begin(), best],
        verbose=0,
    )
    return net.fit(parts["fitted"], y=None).module_.network


def difference(first: nn.Module, second: nn.Module) -> float:
    """Return the greatest difference of two networks' trained weights."""
    second_weights = dict(second.named_parameters())
    gaps = []
    for name, weights in first.named_parameters():
        other = name.replace(".backbone.", ".backbone.1.")
        gaps.append((weights - second_weights[other]).abs().max().item())
    return max(gaps)


def measure(name: str, description: str, frozen: Frozen, goal: float) -> int:
    """Measure, print, and return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, Python {platform.python_version()}, 1 thread")
    print(
        f"skfusion {skfusion.__version__}, skorch {skorch.__version__}, "
        f"torch {torch.__version__}"
    )
    print(
        f"{arguments.images} images at {arguments.size} px, {arguments.epochs} epochs, "
        f"{arguments.repeats} times in turns"
    )
    cpu: dict[str, list[float]] = {"ours": [], "plain skorch": []}
    wall: dict[str, list[float]] = {"ours": [], "plain skorch": []}
    gaps = []
    with tempfile.TemporaryDirectory() as folder:
        X, y = make_cohort(arguments.images, Path(folder))
        build_backbone(**frozen[0], input_size=arguments.size)
        for _ in range(arguments.repeats):
            networks = {}
            for what, train in (("ours", ours), ("plain skorch", plain)):
                start = time.process_time(), time.perf_counter()
                networks[what] = train(X, y, arguments.size, arguments.epochs, frozen)
                cpu[what].append(time.process_time() - start[0])
                wall[what].append(time.perf_counter() - start[1])
            gaps.append(difference(networks["ours"], networks["plain skorch"]))
    for what in cpu:
        print(
            f"{what:14s} {statistics.median(cpu[what]):8.1f} CPU s "
            f"{statistics.median(wall[what]):8.1f} s"
        )
    print(f"greatest difference of a trained weight: {max(gaps):g}")
    ratio = statistics.median(cpu["plain skorch"]) / statistics.median(cpu["ours"])
    print(f"{name}: ratio {ratio:.2f} (goal {goal:.1f})")
    return 0 if ratio >= goal and max(gaps) == 0 else 1


if __name__ == "__main__":
    sys.exit(measure("joint", __doc__, (BACKBONE, TRAINABLE), GOAL))
