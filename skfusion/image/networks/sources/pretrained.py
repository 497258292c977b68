"""Construction of named networks with published, local or random weights.

The default is efficientnet_lite0, whose weights are installed as a package. The other
networks are those of torchvision, timm, torchxrayvision and MONAI. To add a source of
networks, extend `load`.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skfusion._dependencies import require
from skfusion._validation import examples_of
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    Preprocessing,
    VolumePreprocessing,
)
from skfusion.image.networks.sources.efficientnet_lite import DEFAULT, load_lite
from skfusion.image.networks.sources.hubs import (
    WEIGHTS_OF_TIMM,
    cached_file,
    why_offline,
)
from skfusion.image.networks.sources.weights import (
    had_weights,
    load_weights_file,
    reproducible_random,
)
from skfusion.image.networks.sources.xrv import load_xrv
from skfusion.image.networks.stated import stated_preprocessing

__all__ = ["CATALOGUES", "load", "load_from_catalogue"]


# By default torchvision warns about the weight initialisation of these two networks,
# and adds the auxiliary classifiers for training.
_BUILD_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": True, "aux_logits": False},
    "inception_v3": {"init_weights": True, "aux_logits": False},
}
_HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")


def load(
    name: str,
    weights: str | os.PathLike[str] | None,
    input_size: int | None,
    depth: int | None = None,
    *,
    keep_final: bool = False,
    params: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, Preprocessing | VolumePreprocessing]:
    """Build a named network without its final classification layer.

    Parameters
    ----------
    name : str
        ``"efficientnet_lite0"`` or the name of a classification network of
        torchvision.
    weights : str, path or None
        ``"DEFAULT"``, the name of weights of torchvision, the path of a file, or None
        for random weights.
    input_size : int or None
        Size of the input in pixels. None uses the size of the weights.
    depth : int or None, default=None
        Number of slices, for the video networks of torchvision.
    keep_final : bool, default=False
        Whether to keep the final classification layer.
    params : mapping or None, default=None
        Further arguments of ``timm.create_model``.

    Returns
    -------
    module : torch.nn.Module
        Maps (B, 3[, depth], H, W) to the input of the removed final layer, (B, d).
    preprocessing : Preprocessing
        Preprocessing that the weights expect.

    Raises
    ------
    ValueError
        If the name or the weights are unknown, or the weights are not available.
    ImportError
        If a package with the network or its weights is not installed.

    Examples
    --------
    >>> from skfusion.image.networks.sources.pretrained import load
    >>> module, preprocessing = load("resnet18", weights=None, input_size=None)
    >>> preprocessing.input_size
    224
    """
    if name == DEFAULT and depth is None:
        return load_lite(weights, input_size, keep_final=keep_final)
    if name.partition(":")[0] in CATALOGUES:
        return load_from_catalogue(
            name, weights, (input_size, depth), keep_final=keep_final, params=params
        )
    return _load_torchvision(name, weights, (input_size, depth), keep_final)


def _load_torchvision(
    name: str,
    weights: str | os.PathLike[str] | None,
    size: tuple[int | None, int | None],
    keep_final: bool,
) -> tuple[nn.Module, Preprocessing | VolumePreprocessing]:
    prepare_torchvision()
    models = require("torchvision.models", "torch")
    _check_name(models, name, size[1])
    published = models.get_model_weights(name)
    chosen, path = _choose_weights(name, weights, published)
    preprocessing = _torchvision_preprocessing(chosen or published.DEFAULT, *size)
    if chosen is not None:
        _fetch_weights(name, chosen)
        module = models.get_model(name, weights=chosen, progress=False)
    else:
        options = dict(_BUILD_OPTIONS.get(name, {}))
        if name.startswith("vit_"):  # its position embeddings depend on the size
            options["image_size"] = preprocessing.input_size
        with reproducible_random():
            module = models.get_model(name, weights=None, **options)
    final = _final_layer(module, name)
    if path is not None:
        load_weights_file(module, path, name, ignore=None if keep_final else final)
    if keep_final:
        return module, preprocessing
    parent, _, child = final.rpartition(".")
    setattr(module.get_submodule(parent), child, nn.Identity())
    return module, preprocessing


def _classification_names(models: Any) -> list[str]:
    """List the classification networks, including those registered by users."""
    tasks = ("detection", "optical_flow", "quantization", "segmentation", "video")
    others = {
        name for task in tasks for name in models.list_models(getattr(models, task))
    }
    return [name for name in models.list_models() if name not in others]


def _check_name(models: Any, name: str, depth: int | None) -> None:
    if depth is None:
        names, kind = _classification_names(models), "classification"
        first = f"{DEFAULT!r}, a torch.nn.Module, or one"
    else:
        names, kind = models.list_models(models.video), "3-D (volume='3d')"
        first = "a torch.nn.Module, or one"
    if name not in names:
        raise ValueError(
            f"Unknown backbone {name!r}. Expected {first} of the {len(names)} {kind} "
            f"networks of torchvision, e.g. {examples_of(names, name)}, or a network "
            f"of {', '.join(CATALOGUES)} with a prefix such as 'timm:NAME'."
        )


def _choose_weights(
    name: str, weights: str | os.PathLike[str] | None, published: Any
) -> tuple[Any, str | os.PathLike[str] | None]:
    """Return the selected published weights, or the path of a file."""
    if weights is None:
        return None, None
    if isinstance(weights, str) and weights in published.__members__:
        return published[weights], None
    if isinstance(weights, str) and not Path(weights).is_file():
        raise ValueError(
            f"weights={weights!r} is neither a file nor the name of published weights "
            f"of {name}; expected one of {', '.join(published.__members__)}, the path "
            "of a state dict, or None for random weights."
        )
    return None, weights


def _torchvision_preprocessing(
    weights: Any, input_size: int | None, depth: int | None
) -> Preprocessing | VolumePreprocessing:
    settings = weights.transforms()
    if depth is not None:
        size = settings.crop_size[0] if input_size is None else input_size
        return VolumePreprocessing(
            int(size), int(depth), tuple(settings.mean), tuple(settings.std)
        )
    crop = getattr(settings, "crop_size", [224])
    interpolation = getattr(settings, "interpolation", None)
    return Preprocessing(
        input_size=int(crop[0]) if input_size is None else int(input_size),
        mean=tuple(getattr(settings, "mean", IMAGENET_MEAN)),
        std=tuple(getattr(settings, "std", IMAGENET_STD)),
        interpolation=getattr(interpolation, "value", "bilinear"),
    )


def _fetch_weights(name: str, weights: Any) -> None:
    """Ensure that torchvision's cache contains an undamaged file of the weights."""
    filename = weights.url.rpartition("/")[2]
    folder = Path(torch.hub.get_dir(), "checkpoints")
    match = _HASH_IN_NAME.search(filename)
    prefix = "" if match is None else match.group(1)
    path = folder / filename
    if path.is_file() and not _sha256(path).startswith(prefix):
        raise ValueError(
            f"The weights file {str(path)!r} of {name} is damaged: its SHA-256 does "
            f"not start with {prefix}. Delete it to download it again."
        )
    try:
        # torchvision would unpickle the file without restriction. This call loads
        # tensors only. The progress bar must not use the caller's standard output.
        with contextlib.redirect_stdout(sys.stderr):
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, full disk, wrong hash, damaged file
        raise ValueError(
            f"The weights {weights.name} of {name} are not on this machine and cannot "
            f"be downloaded ({type(error).__name__}: {error}). Expected the file "
            f"{filename} in {str(folder)!r}"
            + (f", with a SHA-256 that starts with {prefix}" if prefix else "")
            + f". Download it elsewhere from {weights.url} and copy it there, pass its "
            "path as weights=..., use weights=None for random weights, or use the "
            f"backbone {DEFAULT!r}, which needs no download."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _final_layer(module: nn.Module, name: str) -> str:
    """Return the name of the final layer: the last one with weights."""
    layers = [
        key
        for key, part in module.named_modules()
        if key and isinstance(part, nn.Linear | nn.Conv2d | nn.Conv3d)
    ]
    if not layers:
        raise ValueError(
            f"The network {name} has no linear or convolutional layer, so its final "
            "layer is unknown. Pass the network itself as backbone."
        )
    return layers[-1]


Built = tuple[nn.Module, Preprocessing | VolumePreprocessing]
Weights = str | os.PathLike[str] | None
Size = tuple[int | None, int | None]

#: Prefix of a name -> package that provides the network.
CATALOGUES = {"timm": "timm", "xrv": "torchxrayvision", "monai": "monai"}


def load_from_catalogue(
    name: str,
    weights: Weights,
    size: Size,
    *,
    keep_final: bool = False,
    params: Mapping[str, Any] | None = None,
) -> Built:
    """Build a network of timm, torchxrayvision or MONAI.

    Parameters
    ----------
    name : str
        ``"timm:NAME"``, ``"xrv:WEIGHTS"`` (e.g. ``"xrv:densenet121-res224-all"``), or
        ``"monai:CLASS"`` of `monai.networks.nets` (e.g. ``"monai:DenseNet121"``).
    weights : "DEFAULT", path or None
        ``"DEFAULT"`` for the published weights (downloaded for timm and
        torchxrayvision, not available for MONAI), a file, or None for random weights.
    size : (input_size, depth)
        In pixels and slices. None uses the default of the network. Only MONAI has
        networks with a depth.
    keep_final : bool, default=False
        Whether to keep the final classification layer.
    params : mapping or None, default=None
        Further arguments of ``timm.create_model``.

    Returns
    -------
    module : torch.nn.Module
    preprocessing : Preprocessing or VolumePreprocessing

    Raises
    ------
    ImportError
        If the package is not installed.
    ValueError
        If the name is unknown, or the weights are not available.
    """
    prefix, _, wanted = name.partition(":")
    prepare_torchvision()
    if prefix == "timm" and size[1] is None:
        return _timm(name, wanted, weights, size, keep_final, dict(params or {}))
    load = _monai if prefix == "monai" else load_xrv
    if size[1] is not None and prefix != "monai":
        raise ValueError(
            f"The backbone {name!r} takes images, but volume='3d' needs a network for "
            "volumes, e.g. 'r3d_18' of torchvision or 'monai:DenseNet121'."
        )
    return load(name, wanted, weights, size, keep_final)


def _timm(
    name: str,
    wanted: str,
    weights: Weights,
    size: Size,
    final: bool,
    params: dict[str, Any],
) -> Built:
    timm = require("timm", "timm")
    known = timm.list_models()
    if wanted.partition(".")[0] not in known:
        raise ValueError(
            f"Unknown backbone {name!r}; timm has {len(known)} networks, e.g. "
            f"{examples_of(known, wanted)}."
        )
    is_published = weights == "DEFAULT"
    options: dict[str, Any] = {} if final else {"num_classes": 0}
    options |= _input_of_timm(timm, wanted, size[0]) | params
    with reproducible_random():
        module = had_weights(
            name,
            lambda: _create_timm(timm, wanted, is_published, options),
        )
    if weights is not None and not is_published:
        head = module.pretrained_cfg.get("classifier")
        load_weights_file(module, weights, name, ignore=None if final else head)
    return module, stated_preprocessing(module, size[0], None)[0]


def _input_of_timm(timm: Any, wanted: str, side: int | None) -> dict[str, Any]:
    """Return the argument for another input size, for networks of one size.

    timm resamples the position embeddings of pretrained weights.
    """
    config = timm.get_pretrained_cfg(wanted)
    if side is None or not getattr(config, "fixed_input_size", False):
        return {}
    return {} if config.input_size[-1] == side else {"img_size": int(side)}


def _create_timm(
    timm: Any, wanted: str, is_published: bool, options: dict[str, Any]
) -> nn.Module:
    """Create a network of timm, with weights from the cache of the hub at first."""
    config = timm.get_pretrained_cfg(wanted) if is_published else None
    repository = getattr(config, "hf_hub_id", None)
    if repository:
        stated = getattr(config, "hf_hub_filename", None)
        path = cached_file(repository, (stated,) if stated else WEIGHTS_OF_TIMM)
        if path:  # in the format of timm, also where the original is in another
            options = options | {
                "pretrained_cfg_overlay": {"file": path, "custom_load": False}
            }
        elif reason := why_offline():
            raise OSError(reason)
    module: nn.Module = timm.create_model(wanted, pretrained=is_published, **options)
    return module


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
            f"The backbone {name!r} has no published weights. Pass the path of a state "
            "dict, or weights=None for random weights."
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
