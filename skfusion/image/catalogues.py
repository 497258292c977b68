"""Networks of timm, torchxrayvision and MONAI, where these are installed.

None of them is a dependency: a name such as ``"timm:convnext_tiny"`` asks for one. Read
next: `skfusion.image.pretrained`.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

from torch import nn

from skfusion._dependencies import require
from skfusion.image._torchvision import prepare_torchvision
from skfusion.image.layers import examples_of
from skfusion.image.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    Preprocessing,
    VolumePreprocessing,
)
from skfusion.image.weights import load_weights_file, reproducible_random

__all__ = ["CATALOGUES", "load_from_catalogue"]

Built = tuple[nn.Module, Preprocessing | VolumePreprocessing]
Weights = str | os.PathLike[str] | None
Size = tuple[int | None, int | None]

#: Prefix of a name -> the package that has the network.
CATALOGUES = {"timm": "timm", "xrv": "torchxrayvision", "monai": "monai"}


def load_from_catalogue(
    name: str, weights: Weights, size: Size, *, keep_final: bool = False
) -> Built:
    """Build a network of another package.

    Parameters
    ----------
    name : str
        ``"timm:NAME"``; ``"xrv:WEIGHTS"``, e.g. ``"xrv:densenet121-res224-all"``;
        ``"monai:CLASS"`` of `monai.networks.nets`, e.g. ``"monai:DenseNet121"``.
    weights : "DEFAULT", path or None
        The published weights (those of timm and torchxrayvision are downloaded, MONAI
        has none), a file, or random ones.
    size : (input_size, depth)
        In pixels and slices, None for what the network is made for. Only MONAI has
        networks with a depth.
    keep_final : bool, default=False
        Whether the final classification layer stays.

    Returns
    -------
    module : torch.nn.Module
    preprocessing : Preprocessing or VolumePreprocessing

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If the name is unknown, or the weights cannot be had.
    """
    prefix, _, wanted = name.partition(":")
    prepare_torchvision()
    load = {"timm": _timm, "xrv": _xrv, "monai": _monai}[prefix]
    if size[1] is not None and prefix != "monai":
        raise ValueError(
            f"The backbone {name!r} takes images; volume='3d' needs a network for "
            "volumes, e.g. 'r3d_18' of torchvision or 'monai:DenseNet121'."
        )
    return load(name, wanted, weights, size, keep_final)


def _timm(name: str, wanted: str, weights: Weights, size: Size, final: bool) -> Built:
    timm = require("timm", "timm")
    known = timm.list_models()
    if wanted.partition(".")[0] not in known:
        raise ValueError(
            f"Unknown backbone {name!r}; timm has {len(known)} networks, e.g. "
            f"{examples_of(known, wanted)}."
        )
    is_published = weights == "DEFAULT"
    options: dict[str, Any] = {} if final else {"num_classes": 0}
    with reproducible_random():
        module = _had(
            name,
            lambda: timm.create_model(wanted, pretrained=is_published, **options),
        )
    if weights is not None and not is_published:
        head = module.pretrained_cfg.get("classifier")
        load_weights_file(module, weights, name, ignore=None if final else head)
    config = timm.data.resolve_model_data_config(module)
    side = config["input_size"][-1] if size[0] is None else size[0]
    interpolation = config["interpolation"]
    return module, Preprocessing(
        int(side),
        tuple(config["mean"]),
        tuple(config["std"]),
        interpolation if interpolation in ("bilinear", "bicubic") else "bilinear",
    )


def _xrv(name: str, wanted: str, weights: Weights, size: Size, final: bool) -> Built:
    xrv = require("torchxrayvision", "xrv")
    known = list(xrv.models.model_urls)
    if wanted not in known:
        raise ValueError(
            f"Unknown backbone {name!r}; torchxrayvision has {len(known)} sets of "
            f"weights, e.g. {examples_of(known, wanted)}."
        )
    family = xrv.models.ResNet if wanted.startswith("resnet50") else xrv.models.DenseNet
    if family is xrv.models.ResNet and weights != "DEFAULT":
        raise ValueError(
            f"The backbone {name!r} has published weights only; pass weights='DEFAULT'."
        )
    chosen = wanted if weights == "DEFAULT" else None
    with reproducible_random():
        module = _had(name, lambda: family(weights=chosen))
    if weights is not None and weights != "DEFAULT":
        load_weights_file(module, weights, name, ignore="classifier")
    side = (512 if "res512" in wanted else 224) if size[0] is None else size[0]
    # the package takes pixels in [-1024, 1024]
    preprocessing = Preprocessing(int(side), mean=(0.5,), std=(1 / 2048,))
    return _FeaturesOf(module, final), preprocessing


class _FeaturesOf(nn.Module):
    """torchxrayvision's features, without its normalisation of the answers."""

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


def _monai(name: str, wanted: str, weights: Weights, size: Size, final: bool) -> Built:
    nets = require("monai.networks.nets", "monai")
    kind: Any = getattr(nets, wanted, None)
    known = [key for key in dir(nets) if key.startswith(("DenseNet", "SEResN"))]
    if not (inspect.isclass(kind) and wanted in known):
        raise ValueError(
            f"Unknown backbone {name!r}; expected one of these networks of MONAI: "
            f"{', '.join(known)}."
        )
    side, depth = size
    n_axes = 2 if depth is None else 3
    classes = "out_channels" if wanted.startswith("DenseNet") else "num_classes"
    with reproducible_random():
        build: Any = kind
        module: nn.Module = build(spatial_dims=n_axes, in_channels=3, **{classes: 2})
    if weights == "DEFAULT":
        raise ValueError(
            f"The backbone {name!r} has no published weights; pass the path of a state "
            "dict, or weights=None for random ones."
        )
    layer = "class_layers.out" if wanted.startswith("DenseNet") else "last_linear"
    if weights is not None:
        load_weights_file(module, weights, name, ignore=None if final else layer)
    if not final:
        parent, _, child = layer.rpartition(".")
        setattr(module.get_submodule(parent), child, nn.Identity())
    if depth is None:
        return module, Preprocessing(int(side or 224), IMAGENET_MEAN, IMAGENET_STD)
    return module, VolumePreprocessing(
        int(side or 112), int(depth), KINETICS_MEAN, KINETICS_STD
    )


def _had(name: str, build: Any) -> Any:
    """Build with downloaded weights; say what to do where there is no network."""
    try:
        return build()
    except Exception as error:  # each client has errors of its own
        raise ValueError(
            f"The weights of {name!r} are not on this machine and cannot be downloaded "
            f"({type(error).__name__}). Download them elsewhere and pass their path as "
            "weights=..., or use weights=None for random weights."
        ) from error
