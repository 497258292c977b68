"""Networks of torchxrayvision, whose published files are read without executing code.

torchxrayvision unpickles its downloads without restriction. Here it only provides the
architecture and the file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from torch import nn

from skfusion._dependencies import require
from skfusion._validation import examples_of
from skfusion.image.networks.preprocessing import Preprocessing
from skfusion.image.networks.sources.pickled import load_pickled_network
from skfusion.image.networks.sources.weights import (
    had_weights,
    reproducible_random,
)

__all__ = ["load_xrv"]


# Layers of the networks of torchxrayvision, the only classes that a file may contain.
_LAYERS = (
    *(nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Linear),
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout),
)
_BLOCKS = ("DenseNet", "_DenseLayer", "_DenseBlock", "_Transition")


def load_xrv(
    name: str,
    wanted: str,
    weights: str | os.PathLike[str] | None,
    size: tuple[int | None, int | None],
    final: bool,
) -> tuple[nn.Module, Preprocessing]:
    """Build a network of torchxrayvision.

    Parameters
    ----------
    name, wanted : str
        Name with and without the prefix.
    weights : "DEFAULT", path or None
        The published weights, a file with a state dict or a published file, or None for
        random weights.
    size : (input_size, depth)
        In pixels and slices.
    final : bool
        Whether to keep the final classification layer.

    Returns
    -------
    module : torch.nn.Module
    preprocessing : Preprocessing

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If the name is unknown, the weights are not available, or their file contains
        more than the layers of a network.
    """
    xrv = require("torchxrayvision", "xrv")
    known = xrv.models.model_urls
    if wanted not in known:
        raise ValueError(
            f"Unknown backbone {name!r}; torchxrayvision has {len(known)} sets of "
            f"weights, e.g. {examples_of(list(known), wanted)}."
        )
    labels = known[wanted].get("labels") if isinstance(known[wanted], dict) else None
    n_labels = len(labels or xrv.datasets.default_pathologies)
    is_resnet = wanted.startswith("resnet")
    with reproducible_random():
        if is_resnet:
            module: nn.Module = _resnet(wanted.partition("-")[0], n_labels)
        else:
            module = xrv.models.DenseNet(weights=None, num_classes=n_labels)
    if weights is not None:
        path = weights if weights != "DEFAULT" else _published_file(xrv, name, wanted)
        blocks = [vars(xrv.models).get(key) for key in _BLOCKS]
        kinds = [kind for kind in blocks if isinstance(kind, type)]
        last = "fc" if is_resnet else "classifier"
        ignore = None if final or weights == "DEFAULT" else last
        load_pickled_network(module, path, name, (*_LAYERS, *kinds), ignore=ignore)
    side = (512 if "res512" in wanted else 224) if size[0] is None else size[0]
    # torchxrayvision expects pixels in [-1024, 1024].
    preprocessing = Preprocessing(int(side), mean=(0.5,), std=(1 / 2048,))
    if not is_resnet:
        return _FeaturesOf(module, final), preprocessing
    if not final:
        module.fc = nn.Identity()
    return module, preprocessing


def _published_file(xrv: Any, name: str, wanted: str) -> str:
    """Return the path of a downloaded file, which the package keeps in its cache."""

    def fetch() -> Any:
        with contextlib.redirect_stdout(sys.stderr):  # it prints its progress
            return xrv.models.get_weights(wanted)

    return str(had_weights(name, fetch))


def _resnet(architecture: str, n_labels: int) -> nn.Module:
    """Return the residual network with one channel that torchxrayvision trained."""
    models = require("torchvision.models", "torch")
    network: nn.Module = models.get_model(
        architecture, weights=None, num_classes=n_labels
    )
    network.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return network


class _FeaturesOf(nn.Module):
    """Features of a torchxrayvision network, without its output normalisation."""

    def __init__(self, module: nn.Module, final: bool) -> None:
        super().__init__()
        self.net = module
        self.final = final

    def forward(self, images: Any) -> Any:
        net: Any = self.net
        features = net.features(images)
        if features.ndim == 4:
            features = nn.functional.relu(features).mean(dim=(2, 3))
        return net.classifier(features) if self.final else features
