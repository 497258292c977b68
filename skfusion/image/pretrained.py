"""Networks by name: an architecture and its published weights in, a module out.

The default is efficientnet_lite0, whose weights are a package; the others come from
torchvision, through its own registry of weights. To add a source of networks, add it
to `load`. Read next: `skfusion.image.weights` (files) and `skfusion.image.backbones`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from skfusion._dependencies import require
from skfusion.image._torchvision import prepare_torchvision
from skfusion.image.catalogues import CATALOGUES, load_from_catalogue
from skfusion.image.layers import examples_of
from skfusion.image.lite import DEFAULT, load_lite
from skfusion.image.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Preprocessing,
    VolumePreprocessing,
)
from skfusion.image.weights import load_weights_file, reproducible_random

__all__ = ["load"]

# torchvision warns about these two unless told how to draw their weights, and builds
# the auxiliary classifiers of training into them.
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
) -> tuple[nn.Module, Preprocessing | VolumePreprocessing]:
    """Build a named network without its final classification layer.

    Parameters
    ----------
    name : str
        ``"efficientnet_lite0"`` or the name of a classification network of
        torchvision.
    weights : str, path or None
        ``"DEFAULT"``, a name of torchvision's weights, a file, or None for random.
    input_size : int or None
        Size of the input in pixels; None takes that of the weights.
    depth : int or None, default=None
        Number of slices, for a network of torchvision for films.
    keep_final : bool, default=False
        Whether the final classification layer stays.

    Returns
    -------
    module : torch.nn.Module
        Maps (B, 3[, depth], H, W) to the input of what was the final layer, (B, d).
    preprocessing : Preprocessing
        What the weights expect.

    Raises
    ------
    ValueError
        If the name or the weights are unknown or cannot be had.
    ImportError
        If a package that holds the network or its weights is not installed.

    Examples
    --------
    >>> from skfusion.image.pretrained import load
    >>> module, preprocessing = load("resnet18", weights=None, input_size=None)
    >>> preprocessing.input_size
    224
    """
    if name == DEFAULT and depth is None:
        return load_lite(weights, input_size, keep_final=keep_final)
    if name.partition(":")[0] in CATALOGUES:
        return load_from_catalogue(
            name, weights, (input_size, depth), keep_final=keep_final
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
    """List the networks that classify images, those registered by others included."""
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
            f"networks of torchvision, e.g. {examples_of(names, name)}; or a network "
            f"of {', '.join(CATALOGUES)} as 'timm:NAME' and the like."
        )


def _choose_weights(
    name: str, weights: str | os.PathLike[str] | None, published: Any
) -> tuple[Any, str | os.PathLike[str] | None]:
    """Return the published weights that are meant, or the path of a file."""
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
    """See to it that a sound file of the weights lies where torchvision looks."""
    filename = weights.url.rpartition("/")[2]
    folder = Path(torch.hub.get_dir(), "checkpoints")
    match = _HASH_IN_NAME.search(filename)
    prefix = "" if match is None else match.group(1)
    path = folder / filename
    if path.is_file() and not _sha256(path).startswith(prefix):
        raise ValueError(
            f"The weights file {str(path)!r} of {name} is damaged: its SHA-256 does "
            f"not start with {prefix}. Delete it, so that it is downloaded again."
        )
    try:
        # torchvision itself would unpickle the file without restriction; what loads
        # here is known to hold tensors only. Standard output belongs to the caller.
        with contextlib.redirect_stdout(sys.stderr):
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, full disk, wrong hash, damaged file
        raise ValueError(
            f"The weights {weights.name} of {name} are not on this machine and cannot "
            f"be downloaded ({type(error).__name__}: {error}). Expected the file "
            f"{filename} in {str(folder)!r}"
            + (f", with a SHA-256 that starts with {prefix}" if prefix else "")
            + f". Download it elsewhere from {weights.url} and put it there, pass its "
            "path as weights=..., use weights=None for random weights, or the "
            f"backbone {DEFAULT!r}, which needs no download."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _final_layer(module: nn.Module, name: str) -> str:
    """Name the layer that gives the class scores: the last one with weights."""
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
