"""Backbones: networks that embed images, with preprocessing and fingerprint.

A *backbone* maps a batch of images to one vector per image. It includes the
preprocessing that its weights expect.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skfusion._validation import check_number, check_option
from skfusion.exceptions import FallbackWarning, warn_user
from skfusion.image.networks._torchvision import prepare_torchvision
from skfusion.image.networks.description import Description, describe_module
from skfusion.image.networks.inference import lay_out
from skfusion.image.networks.layers import ENDS, cut_at
from skfusion.image.networks.outputs import (
    Entry,
    Pooled,
    channels_are_last,
    codes_of,
    entry_of,
    relative_difference,
    run,
)
from skfusion.image.networks.preprocessing import Preprocessing, VolumePreprocessing
from skfusion.image.networks.process_state import (
    ForkSafeLock,
    kept_random_state,
    ordinary_modes,
)
from skfusion.image.networks.resizing import RESIZE_MODES
from skfusion.image.networks.sources import pretrained
from skfusion.image.networks.sources.hubs import is_hub_name, load_from_hub
from skfusion.image.networks.sources.weights import load_weights_file
from skfusion.image.networks.stated import (
    refused_calls,
    stated_preprocessing,
    with_resize,
)
from skfusion.image.networks.tokens import (
    TOKEN_POOLINGS,
    TokenPooled,
    n_prefix_tokens,
    with_tokens,
)

__all__ = [
    "Backbone",
    "Preprocessing",
    "backbone_with_weights",
    "build_backbone",
    "make_backbone",
]


prepare_torchvision()  # at import, so that it runs wherever an embedder is unpickled

POOLINGS = ("mean", "max", *TOKEN_POOLINGS)
# Parts of the fingerprints of named networks and of modules. Increment them when the
# same arguments give other vectors.
_FINGERPRINT_VERSION = "skfusion-backbone-2"
_MODULE_VERSION = "skfusion-module-3"
_HUB_VERSION = "skfusion-hub-1"
# Relative differences of outputs that are rounding, in the same and in another batch.
# The latter includes the kernels of reduced precision that a forward may select.
_SAME_BATCH, _OTHER_BATCH = 1e-5, 2e-2

_Size = tuple[int | None, int | None, str]  # of the input, number of slices, resizing
_CACHE_SIZE = 8  # networks per process, each up to some hundred megabytes
_cache: dict[tuple[Any, ...], Backbone] = {}
_cache_lock = ForkSafeLock()


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
        `skfusion.image.networks.freezing.cut.split_backbone`.
    preprocessing : Preprocessing
        Conversion of images to the batches that `module` expects.
    n_features : int
        Length of an embedding.
    fingerprint : str
        SHA-256 of architecture, weights, layer, pooling, preprocessing and precision.
        For a module, it includes all that its forward refers to, and the rounded output
        for a fixed batch. Equal fingerprints imply equal embeddings.
    not_stored : str
        Reason why the embeddings must not be stored: the output of a module is not a
        function of the image, or the module contains something that cannot be part of
        the fingerprint. Empty if they may be stored.
    notes : tuple of str
        Warnings about guesses and about `not_stored`.
    other_fingerprints : tuple of str
        Fingerprints that another machine may compute for the same network, because it
        rounds the output for the fixed batch differently.
    kept_frozen : tuple of str
        Names of the parameters that do not require gradients in the module that was
        passed. They are never trained.
    """

    __module__ = "skfusion.image.networks"

    name: str
    module: nn.Module
    preprocessing: Preprocessing | VolumePreprocessing
    n_features: int
    fingerprint: str
    not_stored: str = ""
    notes: tuple[str, ...] = ()
    other_fingerprints: tuple[str, ...] = ()
    kept_frozen: tuple[str, ...] = ()


def build_backbone(
    backbone: str | nn.Module = "efficientnet_lite0",
    *,
    weights: str | os.PathLike[str] | None = "DEFAULT",
    layer: str = "pool",
    pooling: str = "mean",
    input_size: int | None = None,
    resize: str = "auto",
    depth: int | None = None,
    backbone_params: Mapping[str, Any] | None = None,
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

        Published encoders of hubs and folders are ``"hf:ORG/NAME"``, ``"hf:FOLDER"``,
        ``"timm:hf-hub:ORG/NAME"``, ``"timm:local-dir:FOLDER"``,
        ``"open_clip:MODEL/TAG"``, ``"open_clip:hf-hub:ORG/NAME"`` and
        ``"open_clip:local-dir:FOLDER"``, with ``"@REVISION"`` after the name of a
        repository. The cache is asked before the hub.

        A module is deep-copied. Its output is the embedding, pooled over positions or
        tokens if it has them. The ``image_embeds``, ``pooler_output`` or
        ``last_hidden_state`` of a Hugging Face network is used. Weights in half
        precision are converted to float32.

        The images are prepared as the module states: by its attribute ``preprocessing``
        (a `skfusion.image.Preprocessing`, an image processor of Hugging Face, a dict
        with mean, std, size and interpolation, or an evaluation transform of
        torchvision), by the ``pretrained_cfg`` of timm or the ``preprocess_cfg`` of
        open_clip, or as torchxrayvision expects them. Where nothing is stated, the mean
        and standard deviation of ImageNet are used, or grey pixels in [-1, 1] if the
        first convolution has a single channel, with a warning.
    weights : str, path or None, default="DEFAULT"
        ``"DEFAULT"`` uses the best published weights of a named backbone, and the
        existing weights of a module. Another name, e.g. ``"IMAGENET1K_V1"``, selects
        weights of torchvision. A path is the file of a state dict, read without
        executing code. None uses the same random weights every time (named backbones
        only).

        Downloaded weights are read without executing code (safetensors, or
        ``torch.load`` with ``weights_only=True``), also those of torchxrayvision, which
        itself unpickles them without restriction. The path of a published file of
        torchxrayvision is accepted as well. MONAI downloads nothing here.
    layer : str, default="pool"
        ``"pool"`` is the input of the final classification layer of a named
        backbone, or the output of a module. ``"logits"`` is the output of that layer.
        ``"block1"`` to ``"block4"`` are the last layers at a stride of 4, 8, 16 and 32
        pixels, the stages of most networks. Plain vision transformers have no such
        stages. The dotted name of a submodule selects its output. Layers after the
        selected layer are not computed.
    pooling : {"mean", "max", "cls", "cls+mean"}, default="mean"
        Pooling of an output with positions (B, C, H, W) or tokens (B, N, C) to a
        vector of length C. An output that is a vector is left as it is by ``"mean"``.
        ``"cls"`` is the class token of a vision transformer, and ``"cls+mean"`` also
        the mean of its patch tokens, of length 2 C. Register tokens are left out. Both
        use the tokens before the network's own pooling.
    input_size : int or None, default=None
        Height and width in pixels of the network's input. None uses the size that the
        weights were trained with, for a module the stated one, or 224 (112 with
        `depth`).
    resize : {"auto", "squash", "crop", "pad"}, default="auto"
        ``"auto"`` prepares images as stated: encoders of timm, hubs and folders, and
        modules, mostly resize the shorter edge and crop the centre. The whole image is
        resized for the other named networks. ``"squash"`` resizes the whole image to a
        square, ``"crop"`` its shorter edge, and ``"pad"`` its longer edge, with black
        borders or those stated.
    depth : int or None, default=None
        Number of slices of a network for volumes. This is a video network of
        torchvision (``torchvision.models.list_models(torchvision.models.video)``), or
        a module that takes (B, 3, depth, H, W). None builds a network for images.
    backbone_params : mapping or None, default=None
        Further arguments for an encoder of timm, of a hub or of a folder, e.g.
        ``{"init_values": 1e-5, "dynamic_img_size": True}``. Its code is not executed
        unless they say so.

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
        If `backbone` is neither a name nor a module, or its attribute ``preprocessing``
        is not understood.

    Warns
    -----
    FallbackWarning
        If a module does not state its preprocessing, or its embeddings cannot be
        stored.

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
    built = make_backbone(
        backbone,
        weights=weights,
        layer=layer,
        pooling=pooling,
        input_size=input_size,
        resize=resize,
        depth=depth,
        backbone_params=backbone_params,
    )
    for note in built.notes:
        warn_user(note, FallbackWarning)
    return built


@ordinary_modes()
def make_backbone(
    backbone: str | nn.Module,
    *,
    weights: str | os.PathLike[str] | None = "DEFAULT",
    layer: str = "pool",
    pooling: str = "mean",
    input_size: int | None = None,
    resize: str = "auto",
    depth: int | None = None,
    backbone_params: Mapping[str, Any] | None = None,
) -> Backbone:
    """Build a network as `build_backbone`, without issuing its warnings."""
    _check_arguments(backbone, layer, pooling, input_size)
    check_option(resize, "resize", ("auto", *RESIZE_MODES), "build_backbone")
    size = (input_size, depth, resize)
    is_hub = isinstance(backbone, str) and is_hub_name(backbone)
    takes_params = is_hub or (
        isinstance(backbone, str) and backbone.startswith("timm:")
    )
    if backbone_params and not takes_params:
        raise ValueError(
            "backbone_params are for encoders of timm, of a hub or of a folder, e.g. "
            "'timm:NAME' or 'hf:ORG/NAME', got the backbone "
            f"{_label_of(backbone)}."
        )
    if isinstance(backbone, nn.Module):
        return _build_passed(backbone, weights, layer, pooling, size)
    params = repr(sorted((backbone_params or {}).items()))
    key = (backbone, _weights_key(weights), layer, pooling, *size, params)
    with _cache_lock:
        if key in _cache:
            return _cache[key]
    # Random weights are drawn in a section that reserves the generator. Every thread
    # must take the two locks in the same order, and a training holds the first one.
    with kept_random_state(), _cache_lock:
        if key not in _cache:
            while len(_cache) >= _CACHE_SIZE:  # first in, first out
                del _cache[next(iter(_cache))]
            if is_hub:
                module = load_from_hub(backbone, weights, backbone_params)
                _cache[key] = _build_hub(backbone, module, layer, pooling, size)
                return _cache[key]
            module, preprocessing = pretrained.load(
                backbone,
                weights,
                *size[:2],
                keep_final=layer == "logits",
                params=backbone_params,
            )
            if backbone_params:  # they may change more than the weights tell
                _cache[key] = _build_hub(backbone, module, layer, pooling, size)
                return _cache[key]
            preprocessing = with_resize(preprocessing, resize)
            _cache[key] = _build_named(backbone, module, preprocessing, layer, pooling)
        return _cache[key]


@ordinary_modes()
def backbone_with_weights(
    name: str,
    state: Mapping[str, Tensor],
    described: Backbone,
    *,
    layer: str = "pool",
    pooling: str = "mean",
    input_size: int | None = None,
    depth: int | None = None,
) -> Backbone:
    """Build a named backbone from its weights, which need not be installed.

    Parameters
    ----------
    name : str
        Name of the backbone, none of a hub.
    state : mapping of str to Tensor
        State dict of the module of the backbone.
    described : Backbone
        The same backbone, of which the preprocessing and the notes are taken.
    layer, pooling, input_size, depth
        As in `build_backbone`.

    Returns
    -------
    Backbone
        The fingerprint is computed from these weights.

    Raises
    ------
    ValueError
        If the weights do not fit the network.
    """
    with kept_random_state(), _cache_lock:
        module, _ = pretrained.load(
            name, None, input_size, depth, keep_final=layer == "logits"
        )
        module.eval().requires_grad_(False)
        net, output, axes = _complete(
            module, described.preprocessing, layer, pooling, name
        )
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"The weights do not fit the network {name}, whose layers have other names "
            "or shapes."
        ) from error
    lay_out(net)
    settings = (_FINGERPRINT_VERSION, name, layer, pooling, described.preprocessing)
    digest = _digest_of((*settings, "float32"), net, axes)
    return Backbone(
        name,
        net,
        described.preprocessing,
        output.shape[1],
        digest,
        notes=described.notes,
    )


def _label_of(backbone: object) -> str:
    return repr(backbone) if isinstance(backbone, str) else type(backbone).__name__


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
    size: _Size,
) -> Backbone:
    name = type(backbone).__name__
    original = getattr(backbone, "_orig_mod", backbone)  # of torch.compile
    module = copy.deepcopy(original)
    if weights is None or (weights == "DEFAULT" and isinstance(weights, str)):
        if weights is None:
            raise ValueError(
                f"weights=None requests random weights, but the module {name} already "
                "has weights. Use weights='DEFAULT' to keep them."
            )
    else:
        load_weights_file(module, weights, name)
    _to_float32(module)
    module.eval()
    frozen = {id(p) for p in module.parameters() if not p.requires_grad}
    for parameter in module.parameters():
        if parameter.is_leaf:  # not so in scripted modules
            parameter.requires_grad_(False)
    preprocessing, notes = stated_preprocessing(module, *size)
    with kept_random_state():  # a module may draw from it
        before = describe_module(module)
        with refused_calls(module):
            net, output, axes = _complete(module, preprocessing, layer, pooling, name)
        problem = _problem_of(net, output, preprocessing, name)
        after = describe_module(module)
    lay_out(net)
    if not problem and before.unknown:
        problem = (
            f"contains {', '.join(before.unknown[:3])}, which cannot be part of the "
            "key of the store"
        )
    elif problem:
        notes += (_note_on(problem, before, name),)
    settings = (_MODULE_VERSION, layer, pooling, preprocessing, axes, "float32")
    text = repr((*settings, before.digest(before.changes(after))))
    codes = [()] if problem else itertools.product(*codes_of(output))
    digests = [hashlib.sha256(f"{text} {code}".encode()).hexdigest() for code in codes]
    return Backbone(
        name,
        net,
        preprocessing,
        output.shape[1],
        digests[0],
        not_stored=f"the module {name} {problem}" if problem else "",
        notes=notes,
        other_fingerprints=tuple(digests[1:]),
        kept_frozen=tuple(key for key, p in net.named_parameters() if id(p) in frozen),
    )


def _to_float32(module: nn.Module) -> None:
    """Convert weights of another precision, because images are float32."""
    kinds = {p.dtype for p in module.parameters() if p.is_floating_point()}
    if kinds - {torch.float32}:
        module.float()


def _note_on(problem: str, description: Description, name: str) -> str:
    note = f"The module {name} {problem}. Its embeddings are not reproducible."
    if description.foreign_training:
        note += (
            f" It refers to a {description.foreign_training[0]} that is in training "
            "mode and not one of its submodules, e.g. in a lambda. Call eval() on it, "
            "or use a bound method such as net.forward = net.forward_features, which "
            "is copied with the module."
        )
    return note


def _problem_of(
    net: nn.Module,
    output: Tensor,
    preprocessing: Preprocessing | VolumePreprocessing,
    name: str,
) -> str:
    """Return why the output of a module is not a function of the image, or nothing."""
    images = preprocessing.example(2).to(_device_of(net))
    again, alone = run(net, images), run(net, images[:1])
    if alone.shape != output[:1].shape:
        raise ValueError(
            f"The backbone {name} returns an output of shape {tuple(alone.shape)} for "
            f"one image and {tuple(output.shape)} for two; expected one row per image. "
            "A squeeze() without an axis removes the axis of the images."
        )
    if relative_difference(again, output) > _SAME_BATCH:
        return "gives another output for the same images in each call"
    if relative_difference(alone, output[:1]) > _OTHER_BATCH:
        return "gives an image another output in another batch"
    return ""


def _build_named(
    name: str,
    module: nn.Module,
    preprocessing: Preprocessing | VolumePreprocessing,
    layer: str,
    pooling: str,
) -> Backbone:
    module.eval().requires_grad_(False)
    net, output, axes = _complete(module, preprocessing, layer, pooling, name)
    lay_out(net)
    settings = (_FINGERPRINT_VERSION, name, layer, pooling, preprocessing)
    # The axes are empty unless it was pooled differently before.
    digest = _digest_of((*settings, "float32"), net, axes)
    return Backbone(name, net, preprocessing, output.shape[1], digest)


def _build_hub(
    name: str,
    module: nn.Module,
    layer: str,
    pooling: str,
    size: _Size,
) -> Backbone:
    """Build an encoder of a hub, which is the same in each folder and cache.

    Its code is that of an installed package, whose release may change the output. The
    output for a fixed batch is therefore part of the fingerprint, as for a module.
    """
    _to_float32(module)
    module.eval().requires_grad_(False)
    preprocessing, notes = stated_preprocessing(module, *size)
    for part in module.modules():
        if "preprocessing" in vars(part):  # it has been read
            del part.preprocessing
    with kept_random_state():
        net, output, axes = _complete(module, preprocessing, layer, pooling, name)
        problem = _problem_of(net, output, preprocessing, name)
    lay_out(net)
    kind = f"{type(module).__module__}.{type(module).__qualname__}"
    settings = (_HUB_VERSION, kind, layer, pooling, preprocessing, "float32")
    codes = [()] if problem else itertools.product(*codes_of(output))
    digests = [_digest_of((*settings, code), net, axes) for code in codes]
    return Backbone(
        name,
        net,
        preprocessing,
        output.shape[1],
        digests[0],
        not_stored=f"the encoder {name} {problem}" if problem else "",
        notes=notes,
        other_fingerprints=tuple(digests[1:]),
    )


def _digest_of(settings: tuple[Any, ...], net: nn.Module, axes: str) -> str:
    """Return the SHA-256 of settings and of all tensors of a network."""
    digest = hashlib.sha256()
    digest.update(repr(settings).encode())
    for key, tensor in sorted(net.state_dict().items()):
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().tobytes())
    digest.update(axes.encode())
    return digest.hexdigest()


def _complete(
    module: nn.Module,
    preprocessing: Preprocessing | VolumePreprocessing,
    layer: str,
    pooling: str,
    name: str,
) -> tuple[nn.Module, Tensor, str]:
    """Cut a network at the layer and add pooling.

    Returns
    -------
    net : torch.nn.Module
        Network from images to embeddings.
    output : torch.Tensor of shape (2, n_features)
        Its output for ``preprocessing.example(2)``.
    axes : str
        Description of an unusual order of axes, otherwise empty.
    """
    if layer not in ENDS:
        blank = preprocessing.blank(1).to(_device_of(module))
        module = cut_at(module, layer, name, blank)
    output = _output_of(module, preprocessing, name)
    if pooling in TOKEN_POOLINGS:
        return _complete_tokens(module, preprocessing, output, pooling, name)
    entry = entry_of(output)
    if entry is not None:
        is_item = isinstance(output, Mapping)
        module = Entry(module, entry, is_item=is_item).eval()
        output = _output_of(module, preprocessing, name)
    _check_output(output, name)
    ndim = output.ndim
    if ndim == 2:
        if pooling != "mean":
            raise ValueError(
                f"pooling={pooling!r} has no effect: the output of {name} at "
                f"layer={layer!r} is already one vector per image. Choose a layer with "
                "positions or tokens, or use pooling='mean'."
            )
        return module, output, ""
    is_last = ndim == 3 and entry is not None
    is_last = is_last or channels_are_last(
        module, tuple(output.shape), preprocessing, name
    )
    module = Pooled(module, pooling, ndim=ndim, channels_last=is_last)
    module.eval()
    output = run(module, preprocessing.example(2).to(_device_of(module)))
    # Tokens (B, N, C) and maps (B, C, H, W) are the usual case.
    axes = "" if is_last == (ndim == 3) else f"{ndim} axes, channels last: {is_last}"
    return module, output, axes


def _complete_tokens(
    module: nn.Module,
    preprocessing: Preprocessing | VolumePreprocessing,
    output: Any,
    pooling: str,
    name: str,
) -> tuple[nn.Module, Tensor, str]:
    """Add the pooling of class and patch tokens, as `_complete`."""
    blank = preprocessing.blank(1).to(_device_of(module))
    body, norm = with_tokens(module, output, name, blank)
    tokens = _output_of(body, preprocessing, name)
    _check_output(tokens, name)
    side = preprocessing.input_size
    n_prefix = n_prefix_tokens(module, tuple(tokens.shape), side, name)
    with_mean = pooling == "cls+mean"
    net = TokenPooled(body, n_prefix, with_mean=with_mean, norm=norm).eval()
    return net, _output_of(net, preprocessing, name), f"{n_prefix} prefix tokens"


def _device_of(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


def _output_of(
    module: nn.Module, preprocessing: Preprocessing | VolumePreprocessing, name: str
) -> Any:
    """Return the output for two example images, or raise an error with the remedy."""
    images = preprocessing.example(2).to(_device_of(module))
    try:
        return run(module, images)
    except Exception as error:
        kind = "images" if images.ndim == 4 else "volumes"
        raise ValueError(
            f"The backbone {name} fails on {kind} of shape {tuple(images.shape[1:])}: "
            f"{error}. Set input_size to the size that it expects, and use a network "
            "for this number of channels. Networks for volumes need volume='3d', "
            "others volume='slices'."
        ) from error


def _check_output(output: object, name: str) -> None:
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
