"""Backbones: networks that embed images, with preprocessing and fingerprint.

A *backbone* maps a batch of images to one vector per image. It includes the
preprocessing that its weights expect.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from skfusion._validation import check_number, check_option
from skfusion.image.networks import pretrained
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.inference import fast_layout
from skfusion.image.networks.layers import ENDS, cut_at
from skfusion.image.networks.preprocessing import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    KINETICS_MEAN,
    KINETICS_STD,
    Preprocessing,
    VolumePreprocessing,
)
from skfusion.image.networks.weights import load_weights_file

__all__ = ["Backbone", "Preprocessing", "build_backbone"]


prepare_torchvision()  # at import, so that it runs wherever an embedder is unpickled

POOLINGS = ("mean", "max")
# Part of every fingerprint. Increment it when the same arguments give other vectors.
_FINGERPRINT_VERSION = "skfusion-backbone-2"

_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
_CACHE_SIZE = 8  # networks per process, each up to some hundred megabytes
_cache: dict[tuple[Any, ...], Backbone] = {}
_cache_lock = threading.RLock()


@dataclass(frozen=True)
class Backbone:
    """Network that embeds images, with its preprocessing and fingerprint.

    Attributes
    ----------
    name : str
        Name of the architecture, or the class name of a module that was passed.
    module : torch.nn.Module
        Network in evaluation mode that maps images (B, 3, H, W) to embeddings
        (B, n_features). It is shared by all users of the same named backbone. Do not
        train it in place, use a copy from
        `skfusion.image.networks.freezing.split_backbone`.
    preprocessing : Preprocessing
        Conversion of images to the batches that `module` expects.
    n_features : int
        Length of an embedding.
    fingerprint : str
        SHA-256 of architecture, weights, layer, pooling, preprocessing and precision.
        Equal fingerprints imply equal embeddings.
    """

    __module__ = "skfusion.image.networks"

    name: str
    module: nn.Module
    preprocessing: Preprocessing | VolumePreprocessing
    n_features: int
    fingerprint: str


def build_backbone(
    backbone: str | nn.Module = "efficientnet_lite0",
    *,
    weights: str | os.PathLike[str] | None = "DEFAULT",
    layer: str = "pool",
    pooling: str = "mean",
    input_size: int | None = None,
    depth: int | None = None,
) -> Backbone:
    """Build a network that embeds images or volumes.

    Named backbones are built once per process and shared.

    Parameters
    ----------
    backbone : str or torch.nn.Module, default="efficientnet_lite0"
        ``"efficientnet_lite0"`` [1]_, whose ImageNet weights are installed as a package
        and need no download, or the name of any classification network of torchvision
        (``torchvision.models.list_models()``). Networks of other installed packages
        are ``"timm:..."``, ``"xrv:..."`` (torchxrayvision, trained on chest
        radiographs) and ``"monai:..."`` (DenseNet and SEResNet classes).

        A module is deep-copied. Its output is the embedding, pooled over positions or
        tokens if it has them. If the module has an attribute ``preprocessing`` (a
        `Preprocessing`), it is used. Otherwise, if its first convolution has a single
        input channel, the input is grey pixels in [-1, 1]. The input of all other
        modules is normalised with the mean and standard deviation of ImageNet.
    weights : str, path or None, default="DEFAULT"
        ``"DEFAULT"`` uses the best published weights of a named backbone, and the
        existing weights of a module. Another name, e.g. ``"IMAGENET1K_V1"``, selects
        weights of torchvision. A path is the file of a state dict, read without
        executing code. None uses the same random weights every time (named backbones
        only).
    layer : str, default="pool"
        ``"pool"`` is the input of the final classification layer of a named
        backbone, or the output of a module. ``"logits"`` is the output of that layer.
        ``"block1"`` to ``"block4"`` are the last layers at a stride of 4, 8, 16 and 32
        pixels, the stages of most networks. The dotted name of a submodule selects
        its output. Layers after the selected layer are not computed.
    pooling : {"mean", "max"}, default="mean"
        Pooling of an output with positions (B, C, H, W) or tokens (B, N, C) to a
        vector of length C.
    input_size : int or None, default=None
        Height and width in pixels of the network's input. None uses the size that the
        weights were trained with, or 224 for a module (112 with `depth`).
    depth : int or None, default=None
        Number of slices of a network for volumes. This is a video network of
        torchvision (``torchvision.models.list_models(torchvision.models.video)``), or
        a module that takes (B, 3, depth, H, W). None builds a network for images.

    Returns
    -------
    Backbone
        The network in evaluation mode, with its preprocessing and fingerprint.

    Raises
    ------
    ValueError
        If the name, the weights, the layer or the pooling is unknown, if the weights
        file does not match the network, or if the network does not accept images of
        size `input_size`.
    TypeError
        If `backbone` is neither a name nor a module.

    References
    ----------
    .. [1] M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional
       Neural Networks", ICML 2019. The Lite variants have neither squeeze-and-excite
       blocks nor swish.

    Examples
    --------
    >>> from skfusion.image.networks.backbones import build_backbone
    >>> backbone = build_backbone("mobilenet_v3_small", weights=None, input_size=64)
    >>> backbone.n_features
    1024
    """
    _check_arguments(backbone, layer, pooling, input_size)
    if isinstance(backbone, nn.Module):
        return _build_passed(backbone, weights, layer, pooling, (input_size, depth))
    key = (backbone, _weights_key(weights), layer, pooling, input_size, depth)
    with _cache_lock:
        if key not in _cache:
            while len(_cache) >= _CACHE_SIZE:  # first in, first out
                del _cache[next(iter(_cache))]
            module, preprocessing = pretrained.load(
                backbone, weights, input_size, depth, keep_final=layer == "logits"
            )
            _cache[key] = _finish(
                backbone, module, preprocessing, layer, pooling, described=backbone
            )
        return _cache[key]


def _check_arguments(
    backbone: object, layer: object, pooling: object, input_size: object
) -> None:
    if not isinstance(backbone, str | nn.Module):
        raise TypeError(
            "backbone must be a name or a torch.nn.Module, got "
            f"{type(backbone).__name__}."
        )
    if not isinstance(layer, str) or not layer:
        raise ValueError(
            f"layer must be 'pool' or the name of a submodule, got {layer!r}."
        )
    check_option(pooling, "pooling", POOLINGS, "build_backbone")
    if input_size is not None:
        check_number(
            input_size, "input_size", "build_backbone", low=1, integer=True, also="None"
        )


def _weights_key(weights: str | os.PathLike[str] | None) -> tuple[Any, ...]:
    """Return a cache key for weights, for files including size and change time."""
    if weights is None or not Path(weights).is_file():
        return (str(weights),)
    status = os.stat(weights)
    return (os.path.realpath(weights), status.st_mtime_ns, status.st_size)


def _build_passed(
    backbone: nn.Module,
    weights: str | os.PathLike[str] | None,
    layer: str,
    pooling: str,
    size: tuple[int | None, int | None],
) -> Backbone:
    name = type(backbone).__name__
    module = copy.deepcopy(backbone)
    if weights is None or (weights == "DEFAULT" and isinstance(weights, str)):
        if weights is None:
            raise ValueError(
                f"weights=None requests random weights, but the module {name} already "
                "has weights. Use weights='DEFAULT' to keep them."
            )
    else:
        load_weights_file(module, weights, name)
    preprocessing = _passed_preprocessing(backbone, *size)
    described = _describe_architecture(backbone)
    return _finish(name, module, preprocessing, layer, pooling, described=described)


def _passed_preprocessing(
    module: nn.Module, input_size: int | None, depth: int | None
) -> Preprocessing | VolumePreprocessing:
    own: Any = getattr(module, "preprocessing", None)
    if depth is None:
        if not isinstance(own, Preprocessing):
            first = next((p for p in module.modules() if type(p) is nn.Conv2d), None)
            is_grey = first is not None and first.in_channels == 1
            own = Preprocessing(224, *(((0.5,), (0.5,)) if is_grey else _IMAGENET))
    elif isinstance(own, VolumePreprocessing):
        own = replace(own, depth=int(depth))
    else:
        own = VolumePreprocessing(112, int(depth), KINETICS_MEAN, KINETICS_STD)
    return own if input_size is None else replace(own, input_size=int(input_size))


def _finish(
    name: str,
    module: nn.Module,
    preprocessing: Preprocessing | VolumePreprocessing,
    layer: str,
    pooling: str,
    *,
    described: str,
) -> Backbone:
    """Cut the network at the layer, add pooling and compute the fingerprint."""
    module.eval().requires_grad_(False)
    if layer not in ENDS:
        module = cut_at(module, layer, name, preprocessing.blank(1))
    shape = _output_shape(module, preprocessing, name)
    if len(shape) > 1:
        module = _Pooled(module, pooling, ndim=len(shape) + 1)
    elif pooling != "mean":
        raise ValueError(
            f"pooling={pooling!r} has no effect: the output of {name} at "
            f"layer={layer!r} is already one vector per image. Choose a layer with "
            "positions or tokens, or use pooling='mean'."
        )
    cast(Any, module.eval()).to(memory_format=fast_layout(module))
    digest = hashlib.sha256()
    settings = (_FINGERPRINT_VERSION, described, layer, pooling, preprocessing)
    digest.update(repr((*settings, "float32")).encode())
    for key, tensor in sorted(module.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().tobytes())
    n_features = shape[-1] if len(shape) == 2 else shape[0]
    return Backbone(name, module, preprocessing, n_features, digest.hexdigest())


class _Pooled(nn.Module):
    """Network with pooling over positions (B, C[, D], H, W) or tokens (B, N, C)."""

    def __init__(self, body: nn.Module, pooling: str, *, ndim: int) -> None:
        super().__init__()
        self.body = body
        self.pooling = pooling
        self.dims = (1,) if ndim == 3 else tuple(range(2, ndim))

    def forward(self, images: Tensor) -> Tensor:
        pool = torch.mean if self.pooling == "mean" else torch.amax
        return pool(self.body(images), dim=self.dims)  # (B, C)


def _output_shape(
    module: nn.Module, preprocessing: Preprocessing | VolumePreprocessing, name: str
) -> tuple[int, ...]:
    """Return the output shape of one image, computed with two black images."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    blank = preprocessing.blank(2).to(device)
    try:
        with torch.inference_mode():
            output = module(blank)
    except Exception as error:
        kind = "images" if blank.ndim == 4 else "volumes"
        raise ValueError(
            f"The backbone {name} fails on {kind} of shape {tuple(blank.shape[1:])}: "
            f"{error}. Set input_size to the size that it expects, and use a network "
            "for this number of channels. Networks for volumes need volume='3d', "
            "others volume='slices'."
        ) from error
    if not isinstance(output, Tensor):
        raise ValueError(
            f"The backbone {name} returns {type(output).__name__}; expected a tensor "
            "(images, features), (images, channels, height, width) or (images, "
            "tokens, features). Wrap it so that it returns one tensor."
        )
    if output.ndim not in (2, 3, 4, 5) or output.shape[0] != 2:
        raise ValueError(
            f"The backbone {name} returns an output of shape {tuple(output.shape)} for "
            "2 images; expected (2, features), (2, channels, height, width) or "
            "(2, tokens, features)."
        )
    return tuple(output.shape[1:])


def _describe_architecture(module: nn.Module) -> str:
    """Describe the computation of a module, apart from its tensors, as text.

    The text includes the settings of every submodule (strides, probabilities, ...) and
    the source code of classes outside of torch. A changed forward therefore changes
    the fingerprint.
    """
    lines = []
    classes: dict[type, None] = {}
    for name, part in module.named_modules():
        classes[type(part)] = None
        settings = {
            key: value
            for key, value in sorted(vars(part).items())
            if key != "training" and not key.startswith("_") and _is_plain(value)
        }
        code = part.code if isinstance(part, fx.GraphModule) else ""
        kind = f"{type(part).__module__}.{type(part).__qualname__}"
        lines.append(f"{name} {kind} {settings} {code}")
    lines += [_source_of(kind) for kind in classes]
    return "\n".join(lines)


def _is_plain(value: object) -> bool:
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(_is_plain(item) for item in value)
    plain = (bool, int, float, str, bytes, np.generic, type(None))
    return isinstance(value, (*plain, Preprocessing, VolumePreprocessing))


def _source_of(kind: type) -> str:
    if kind.__module__.partition(".")[0] in ("torch", "torchvision"):
        return ""  # an upgrade of these packages does not change the architecture
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # entered at a prompt, or generated
        code = getattr(getattr(kind, "forward", None), "__code__", None)
        return "" if code is None else code.co_code.hex()
