"""Backbones: a name or a torch module in, a network that embeds images out.

A *backbone* turns a batch of images into one vector per image, together with the
preprocessing that its weights expect.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import numbers
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, fx, nn

from skfusion._validation import check_option
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


prepare_torchvision()  # here, so that every process that unpickles an embedder has it

POOLINGS = ("mean", "max")
# Part of every fingerprint: raise it when the same arguments give other vectors.
_FINGERPRINT_VERSION = "skfusion-backbone-2"

_IMAGENET = (IMAGENET_MEAN, IMAGENET_STD)
_CACHE_SIZE = 8  # networks per process; a large one holds some hundred megabytes
_cache: dict[tuple[Any, ...], Backbone] = {}
_cache_lock = threading.RLock()


@dataclass(frozen=True)
class Backbone:
    """A network that embeds images, and how it wants them.

    Attributes
    ----------
    name : str
        Name of the architecture, or the class name of a module that was passed.
    module : torch.nn.Module
        In evaluation mode; maps images (B, 3, H, W) to embeddings (B, n_features).
        Shared by all who ask for the same named backbone: never train it in place,
        `skfusion.image.networks.freezing.split_backbone` gives a copy for that.
    preprocessing : Preprocessing
        What turns images into the batches that `module` was trained on.
    n_features : int
        Length of an embedding.
    fingerprint : str
        SHA-256 over architecture, weights, layer, pooling, preprocessing and
        precision: equal fingerprints give equal embeddings.
    """

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
    """Build a network that embeds images, or volumes.

    Named backbones are built once per process and shared.

    Parameters
    ----------
    backbone : str or torch.nn.Module, default="efficientnet_lite0"
        ``"efficientnet_lite0"`` [1]_, whose ImageNet weights are a package and need
        no download, or the name of any classification network that torchvision
        knows (``torchvision.models.list_models()``); or of another package that is
        installed: ``"timm:..."``, ``"xrv:..."`` (torchxrayvision's weights, trained on
        films of the chest), ``"monai:..."`` (its DenseNet and SEResNet classes). A
        module is deep-copied; its
        output is the embedding, pooled over positions or tokens where it has them.
        A module with an attribute ``preprocessing`` (a `Preprocessing`) is fed
        accordingly, one whose first convolution takes a single channel with grey
        pixels in [-1, 1], any other with ImageNet's mean and standard deviation.
    weights : str, path or None, default="DEFAULT"
        ``"DEFAULT"`` takes the best published weights of a named backbone and the
        own weights of a module; another name, e.g. ``"IMAGENET1K_V1"``, one of
        torchvision's; a path, a file of the state dict, read without executing
        code; None, random weights, the same ones every time (named backbones only).
    layer : str, default="pool"
        ``"pool"`` is the input of the final classification layer of a named
        backbone, the output of a module; ``"logits"`` is the output of that layer.
        ``"block1"`` to ``"block4"`` are the last layers at a stride of 4, 8, 16 and 32
        pixels, the stages of most networks. The dotted name of a submodule takes its
        output instead. Nothing behind the layer is computed.
    pooling : {"mean", "max"}, default="mean"
        How an output with positions (B, C, H, W) or tokens (B, N, C) becomes a
        vector of length C.
    input_size : int or None, default=None
        Height and width in pixels of the network's input; None takes the size that
        the weights were trained for, 224 for a module (112 with `depth`).
    depth : int or None, default=None
        Number of slices of a network for volumes: one of torchvision's for films
        (``torchvision.models.list_models(torchvision.models.video)``), or a module
        that takes (B, 3, depth, H, W). None asks for a network for images.

    Returns
    -------
    Backbone
        The network in evaluation mode, with its preprocessing and fingerprint.

    Raises
    ------
    ValueError
        If the name, the weights, the layer or the pooling is unknown, the file of
        weights does not fit, or the network cannot take images of `input_size`.
    TypeError
        If `backbone` is neither a name nor a module.

    References
    ----------
    .. [1] M. Tan and Q. Le, "EfficientNet: Rethinking Model Scaling for Convolutional
       Neural Networks", ICML 2019; the Lite variants have neither squeeze-and-excite
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
            while len(_cache) >= _CACHE_SIZE:  # the one built first goes first
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
    is_integer = isinstance(input_size, numbers.Integral)
    if input_size is not None and not (is_integer and int(cast(int, input_size)) > 0):
        raise ValueError(
            "input_size must be a positive number of pixels or None, got "
            f"{input_size!r}."
        )


def _weights_key(weights: str | os.PathLike[str] | None) -> tuple[Any, ...]:
    """Identify weights; a file by its state, since it can be written anew."""
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
                f"weights=None asks for random weights, but the module {name} brings "
                "its own. Leave weights='DEFAULT' to use those."
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
    """Cut at the layer, pool, and take the fingerprint."""
    module.eval().requires_grad_(False)
    if layer not in ENDS:
        module = cut_at(module, layer, name, preprocessing.blank(1))
    shape = _output_shape(module, preprocessing, name)
    if len(shape) > 1:
        module = _Pooled(module, pooling, ndim=len(shape) + 1)
    elif pooling != "mean":
        raise ValueError(
            f"pooling={pooling!r} has nothing to pool: the output of {name} at "
            f"layer={layer!r} is one vector per image already. Choose a layer with "
            "positions or tokens, or leave pooling='mean'."
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
    """A network, then pooling over positions (B, C[, D], H, W) or tokens (B, N, C)."""

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
    """Shape of one image's output, found by embedding two black images."""
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    blank = preprocessing.blank(2).to(device)
    try:
        with torch.inference_mode():
            output = module(blank)
    except Exception as error:
        kind = "images" if blank.ndim == 4 else "volumes"
        raise ValueError(
            f"The backbone {name} fails on {kind} of shape {tuple(blank.shape[1:])}: "
            f"{error}. Set input_size to the size that it was made for; it must take "
            "these channels. Networks for volumes need volume='3d', others "
            "volume='slices'."
        ) from error
    if not isinstance(output, Tensor):
        raise ValueError(
            f"The backbone {name} returns {type(output).__name__}; expected a tensor "
            "(images, features), (images, channels, height, width) or (images, "
            "tokens, features). Wrap it so that it returns one tensor."
        )
    if output.ndim not in (2, 3, 4, 5) or output.shape[0] != 2:
        raise ValueError(
            f"The backbone {name} turns 2 images into an output of shape "
            f"{tuple(output.shape)}; expected (2, features), (2, channels, height, "
            "width) or (2, tokens, features)."
        )
    return tuple(output.shape[1:])


def _describe_architecture(module: nn.Module) -> str:
    """Describe what a module computes, apart from its tensors, as text.

    The settings of every submodule (strides, probabilities, ...) and the source of
    classes that are not torch's count: an edited forward is another backbone.
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
        return ""  # an upgrade of these is no other architecture
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # typed at a prompt, or generated
        code = getattr(getattr(kind, "forward", None), "__code__", None)
        return "" if code is None else code.co_code.hex()
